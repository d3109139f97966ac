"""The package's face: the public names, where they live, and the version."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import invdesign
from invdesign.version import __version__
from tests.support import ROOT

MODULES = [file for package in ("invdesign", "surrogates") for file in sorted((ROOT / package).rglob("*.py"))]


def test_one_version() -> None:
    """pyproject.toml and CITATION.cff repeat the version of `invdesign.version`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert project["version"] == __version__
    assert cited
    assert cited[1] == __version__


def test_every_public_name_has_a_home() -> None:
    """`__all__`, the table of homes and the imports for type checkers name the same."""
    homes = invdesign._HOMES
    assert sorted({*homes, "__version__"}) == list(invdesign.__all__) == dir(invdesign)
    typed = {
        name: module
        for module, name in _imports_from(ROOT / "invdesign" / "__init__.py")
        if module.startswith("invdesign.") and name != "__version__"
    }
    assert typed == homes
    for name, home in homes.items():
        assert getattr(invdesign, name) is getattr(import_module(home), name)


def test_no_module_imports_the_face() -> None:
    """Modules import a public name and the version from their homes: through the face, imports would go in a circle."""
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in MODULES
        if file != ROOT / "invdesign" / "__init__.py"
        for module, name in _imports_from(file)
        if module == "invdesign" and (name in invdesign.__all__ or not name)
    ]
    assert not wrong


def _imports_from(file: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a file; the name is empty where a module is imported as a whole."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize("name", ["FloatArray", "depth_until", "notes_of"])
def test_renamed_contracts_warn(name: str) -> None:
    """The old name of a contract works for one version, with a warning that gives the new one."""
    from invdesign import protocols

    with pytest.warns(DeprecationWarning, match=rf"invdesign\.protocols\.{name} is now \w+"):
        assert getattr(protocols, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'notes_off'"):
        _ = protocols.notes_off  # type: ignore[attr-defined]
