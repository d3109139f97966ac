"""Import of modules beside campaigns, never in place of Python's own or installed ones."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

OWN_PACKAGES = frozenset({"invdesign", "surrogates"})
ANY_MODULE = "*"
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_MACHINERY = str(Path(importlib.__file__).parent)


class BesideFinder(MetaPathFinder):
    """Finds modules in trusted folders for certain imports.

    A folder answers for modules that a campaign names, and for imports by code of that folder. Any other import, such as a
    library's search for an optional module, finds nothing there.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.named: list[str] = []  # top-level modules that are being imported

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a top-level module in a trusted folder; a submodule is found by its package.

        Args:
            fullname: dotted name of the module.
            path: folders of the package it is in; None for a top-level module.
            target: the module that is reloaded, if one is.
        """
        if path is not None or not self.folders:
            return None
        folders = (
            self.folders
            if {fullname, ANY_MODULE} & set(self.named)
            else self._folders_around(_importing_file())
        )
        if not folders or is_taken(fullname):
            return None
        return PathFinder.find_spec(fullname, folders, target)

    def _folders_around(self, file: str) -> list[str]:
        return [folder for folder in self.folders if file.startswith(folder.rstrip(os.sep) + os.sep)]


_finder = BesideFinder()


def _importing_file() -> str:
    """File of the code whose import is under way."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - frames alone say who imports
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(("<frozen importlib", _MACHINERY)):
            return file
        frame = frame.f_back
    return ""


def is_taken(top: str, beside: Path | None = None) -> bool:
    """True if Python, this project or an installed package has a module of this name.

    Args:
        top: a module's name up to its first dot.
        beside: a folder that does not count as one of installed packages, though `PYTHONPATH` may name it.
    """
    if top in sys.stdlib_module_names or top in OWN_PACKAGES:
        return True
    own = {*_finder.folders, str(Path.cwd()), str(beside)}
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    homes = [folder for folder in sys.path if _PACKAGES & set(Path(folder).parts)]
    homes += [folder for folder in named if folder and str(Path(folder).resolve()) not in own]
    found = PathFinder.find_spec(top, homes)
    return found is not None and found.loader is not None  # None for a folder without a module


def trust_folders(folders: Sequence[str]) -> None:
    """Let campaigns import modules of these `folders`; the last trusted are searched first."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for folder in reversed(folders):
        if folder in _finder.folders:
            _finder.folders.remove(folder)
        _finder.folders.insert(0, folder)


def list_trusted_folders() -> tuple[str, ...]:
    """List the trusted folders, those searched first at the front."""
    return tuple(_finder.folders)


@contextmanager
def allow_module(module: str) -> Iterator[None]:
    """Let the trusted folders answer for this module within the block.

    Args:
        module: dotted name, or `ANY_MODULE`.
    """
    _finder.named.append(module.partition(".")[0])
    try:
        yield
    finally:
        _finder.named.pop()


def import_campaign_module(module: str) -> ModuleType:
    """Import a `module` named by a campaign.

    Python's own and installed modules come first, then the trusted folders.
    """
    with allow_module(module):
        return importlib.import_module(module)


def import_campaign_object(path: str) -> Any:
    """Import an object named by a campaign; see `import_campaign_module`.

    Args:
        path: `module:name`.
    """
    module, _, attribute = path.partition(":")
    return getattr(import_campaign_module(module), attribute)
