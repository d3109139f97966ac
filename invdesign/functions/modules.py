"""Modules that hold the user's functions: their files, hashes and import."""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from invdesign.beside import OWN_PACKAGES, import_campaign_module, is_taken, trust_folders
from invdesign.errors import PluginError, nearest
from invdesign.textfiles import UnreadableFileError, read_bytes

MAX_MODULE_BYTES = 10_000_000  # bytes of a module; chosen
_imported_parts: dict[
    str, Mapping[str, str]
] = {}  # what a module's files were when it was imported here, by its file


def hash_text(text: str | bytes) -> str:
    """Hash `text` to 32 hexadecimal digits (BLAKE2b)."""
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def normalize_source(tree: ast.AST) -> str:
    """Source of a syntax `tree` without comments, formatting and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


# Where they are.


def module_file(folder: Path, module: str) -> Path | None:
    """File of a `module` (`name`, `package.name`) below `folder`.

    None if there is none.
    """
    stem = folder.joinpath(*module.split("."))
    for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def list_modules(folder: Path) -> list[str]:
    """Names of the modules in `folder`, for a hint."""
    return sorted(path.stem for path in folder.glob("*.py") if path.stem.isidentifier())


def import_root(module: ModuleType) -> Path | None:
    """Folder from which `module` is imported by its name.

    None if it has no file.
    """
    if not getattr(module, "__file__", None):
        return None
    file = Path(str(module.__file__)).resolve()
    parts = len(module.__name__.split(".")) + (file.name == "__init__.py")
    return file.parents[parts - 1]


def is_installed(name: str) -> bool:
    """True if the module `name` belongs to Python or an installed package.

    The version of such a module says what is in it, so that its source need not be hashed.
    """
    top = name.partition(".")[0]
    if top == "__main__" or name not in sys.modules:
        return False
    if top in OWN_PACKAGES or top in sys.stdlib_module_names:
        return True
    return _is_in_packages(getattr(sys.modules[name], "__file__", None))


def _is_in_packages(file: str | None) -> bool:
    if file is None:
        return True  # built into the interpreter
    path = Path(file)
    homes = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(
        path.is_relative_to(home) for home in homes if home
    )


# What is in them.


def hash_module(file: Path) -> dict[str, str]:
    """Hash a module and those beside it that it imports.

    Args:
        file: of the module. Of an installed module only this file is hashed.

    Raises:
        PluginError: a file cannot be read, or is not Python.
    """
    found: dict[str, str] = {}
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path.name in found:
            continue
        tree = parse_module(path)
        found[path.name] = hash_text(normalize_source(tree))
        waiting += [] if _is_in_packages(str(path)) else sorted(_sibling_imports(tree, path))
    return dict(sorted(found.items()))


def parse_module(file: Path) -> ast.Module:
    """Parse a Python `file` to its syntax tree.

    Raises:
        PluginError: it cannot be read, or is not Python.
    """
    try:
        return ast.parse(read_bytes(file, MAX_MODULE_BYTES), filename=str(file))
    except UnreadableFileError as error:
        raise PluginError(f"{file}: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise PluginError(f"{file} is nested too deeply to be read") from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f"{file}, line {line}" if line else str(file)
        raise PluginError(f"{place} is not Python: {getattr(error, 'msg', error)}") from error


def _sibling_imports(tree: ast.Module, file: Path) -> set[Path]:
    """Files in the same folder that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(alias.name for alias in node.names)
    found = {file.with_name(f"{name.rpartition('.')[2]}.py") for name in names if name}
    return {path for path in found if path != file and path.is_file()}


# Importing.


def import_function(path: str, folder: Path | None) -> Callable[..., Any]:
    """Import the function at `path`, written as `module:function`.

    Args:
        path: `module:function`.
        folder: folder of the module; None if it is installed.

    Raises:
        PluginError: there is no such function, or importing its module fails.
    """
    name, _, attribute = path.partition(":")
    file = module_file(folder, name) if folder is not None else None
    if folder is not None and file is None:
        hint = nearest(name, list_modules(folder)) if folder.is_dir() else ""
        raise PluginError(f"there is no module '{name}' in {folder}. {hint}".strip())
    module = _import_module(name, file, folder)
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = nearest(attribute, names)
        raise PluginError(f"{file or name} has no function '{attribute}'. {hint}".strip())
    function: Callable[..., Any] = found
    return function


def _import_module(name: str, file: Path | None, folder: Path | None) -> ModuleType:
    if file is not None:
        if is_taken(name.partition(".")[0], folder):
            raise PluginError(
                f"{file} has the name of an installed module, which Python takes instead: rename it"
            )
        trust_folders([str(folder)])
        _forget_stale(name, file)
    quiet, sys.dont_write_bytecode = (
        sys.dont_write_bytecode,
        True,
    )  # a compiled file is trusted for a second too long
    try:
        module = import_campaign_module(name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything while it is imported
        raise PluginError(f"{file or name} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = quiet
    if file is not None:
        _imported_parts[str(file)] = hash_module(file)
    return module


def _forget_stale(name: str, file: Path) -> None:
    """Drop a loaded module that has changed or only shares the name."""
    loaded = sys.modules.get(name)
    if loaded is None and "." not in name:
        return
    parts = hash_module(file)
    if (
        loaded is not None
        and Path(str(getattr(loaded, "__file__", ""))) == file
        and _imported_parts.get(str(file)) == parts
    ):
        return
    beside = {str(file.with_name(part)) for part in parts}
    top = name.partition(".")[0]
    root = file.parents[len(name.split(".")) - (file.name != "__init__.py")]
    for key, module in list(sys.modules.items()):
        held = getattr(module, "__file__", None)
        foreign = key.partition(".")[0] == top and held is not None and not Path(held).is_relative_to(root)
        if foreign or (held is not None and held in beside and key != "__main__"):
            del sys.modules[key]
    importlib.invalidate_caches()
