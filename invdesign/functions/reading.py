"""Read a function's declaration from its module's text, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from invdesign.errors import PluginError, nearest
from invdesign.functions.modules import parse_module

ARGUMENTS = ("provides", "requires", "batch", "name", "version")
Kind = Literal["function", "class", "other"]


@dataclass(frozen=True, slots=True)
class ReadFunction:
    """Declaration of a name in a module's text.

    Attributes:
        kind: `other` for a name that is assigned or imported: it may be anything.
        decorated: true if it is decorated with `fitness(...)`.
        settings: arguments of the decorator.
        unread: arguments that are computed rather than written out.
        line: line of the module.
    """

    kind: Kind
    decorated: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    line: int = 0


def read_function(file: Path, name: str) -> ReadFunction:
    """Read the declaration of `name` in the module at `file`.

    Raises:
        PluginError: the file is not Python, or has no such name.
    """
    tree = parse_module(file)
    aliases = _fitness_aliases(tree)
    found: ReadFunction | None = None
    known: list[str] = []
    for node in _top_statements(tree.body):
        names = _bound_names(node)
        known += [] if isinstance(node, ast.ImportFrom) else names
        if name in names:  # the last one counts, as when the module is run
            found = _read_statement(node, aliases)
    if found is None:
        functions = [item for item in known if not item.startswith("_")]
        hint = nearest(name, functions) or (
            f"It has: {', '.join(functions)}." if functions else "It has none."
        )
        raise PluginError(f"{file} has no function '{name}'. {hint}")
    return found


def _top_statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements of a module, also those under `if`, `try`, `with`."""
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                for item in getattr(node, inner, []):
                    yield from _top_statements(item.body if isinstance(item, ast.ExceptHandler) else [item])


def _bound_names(node: ast.stmt) -> list[str]:
    """Names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [item.id for target in node.targets for item in ast.walk(target) if isinstance(item, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []


def _fitness_aliases(tree: ast.Module) -> set[str]:
    """Names under which a module imports `invdesign.fitness`."""
    found = {"fitness"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "invdesign":
            found.update(alias.asname or alias.name for alias in node.names if alias.name == "fitness")
    return found


def _read_statement(node: ast.stmt, aliases: set[str]) -> ReadFunction:
    if isinstance(node, ast.ClassDef):
        return ReadFunction("class", line=node.lineno)
    if isinstance(node, ast.AsyncFunctionDef):
        raise PluginError(
            f"'{node.name}' (line {node.lineno}) is async: a fitness function returns its answer"
        )
    if not isinstance(node, ast.FunctionDef):
        return ReadFunction("other", line=node.lineno)
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and _is_fitness(decorator.func, aliases):
            settings, unread = _read_arguments(decorator)
            return ReadFunction("function", True, settings, unread, node.lineno)
    return ReadFunction("function", line=node.lineno)


def _is_fitness(called: ast.expr, aliases: set[str]) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr == "fitness"
    return isinstance(called, ast.Name) and called.id in aliases


def _read_arguments(call: ast.Call) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments that are written out, and names of computed ones."""
    given = dict(zip(ARGUMENTS, call.args, strict=False))
    given.update({word.arg: word.value for word in call.keywords if word.arg is not None})
    settings: dict[str, Any] = {}
    unread = (
        ["provides"] if any(word.arg is None for word in call.keywords) and "provides" not in given else []
    )
    for name, node in given.items():
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            unread.append(name)
            continue
        settings[name] = sorted(value) if isinstance(value, set | frozenset) else value
    return settings, tuple(unread)
