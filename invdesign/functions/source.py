"""Hashes of a function by part: its source, and the values it captures.

They are the same in every process: no addresses, no order of sets. Not everything is seen: an object counts by its type
alone, and the content of a package by its name.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from enum import Enum
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from invdesign.functions.modules import hash_text, is_installed, normalize_source

Hashes = dict[str, str]
OWN = "its source"
PLAIN = (bool, int, float, complex, str, bytes, type(None), range, type(Ellipsis), np.generic)
CALLED = (FunctionType, BuiltinFunctionType, MethodType, functools.partial, np.ufunc)
MAX_DEPTH = 20  # of wrappers and of nested values (chosen)


def hash_function(function: Callable[..., Any], seen: MutableMapping[str, str]) -> Hashes:
    """Hash a function that no module holds, by part.

    Args:
        function: any callable.
        seen: hash by part of values that may change while the function works (lists, arrays, names it assigns to), as
            first seen; filled in here.
    """
    walk = _CaptureWalk(seen)
    walk.add_function(function, "")
    return dict(sorted(walk.parts.items()))


def list_differences(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the changed parts in words.

    As "its source", "the captured value 'scale' (new)".

    Args:
        recorded: hash by part, of before.
        now: hash by part.
    """
    changed = [part for part in recorded if part in now and recorded[part] != now[part]]
    gone = [f"{part} (gone)" for part in recorded if part not in now]
    new = [f"{part} (new)" for part in now if part not in recorded]
    return [*changed, *gone, *new]


def unwrap_function(function: Any) -> Any:
    """Find the inner `function` of decorators, partials, methods and callable objects."""
    for _ in range(MAX_DEPTH):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, FunctionType | BuiltinFunctionType | np.ufunc | type):
            break
        elif callable(getattr(function, "__wrapped__", None)):
            function = function.__wrapped__
        else:
            function = type(function).__call__
    return function


class _CaptureWalk:
    """Collect hashes of a function and of all it captures."""

    def __init__(self, seen: MutableMapping[str, str]) -> None:
        self.seen = seen
        self.parts: Hashes = {}
        self._visited: set[int] = set()

    def add_function(self, function: Any, label: str) -> None:
        part = f"the function '{label}'" if label else OWN
        inner = unwrap_function(function)
        if id(inner) in self._visited:
            return
        self._visited.add(id(inner))
        if label and is_installed(getattr(inner, "__module__", None) or "builtins"):
            self.parts[part] = hash_text(_type_name(inner))
            return
        code = getattr(inner, "__code__", None)
        self.parts[part] = source_hash(code) if code is not None else hash_text(_type_name(inner))
        prefix = f"{label}." if label else ""
        self._add_bound(function, prefix)
        if isinstance(inner, FunctionType):
            self._add_captured(inner, prefix)

    def _add_bound(self, function: Any, prefix: str) -> None:
        """Add bound values: arguments of a partial, the object of a method."""
        if isinstance(function, functools.partial):
            given = {**{str(n): v for n, v in enumerate(function.args)}, **function.keywords}
            for name, value in given.items():
                self._add_data(f"the argument '{prefix}{name}'", value, changing=False)
            self._add_bound(function.func, prefix)
        elif isinstance(function, MethodType):
            self._add_object(function.__self__, prefix)
        elif not isinstance(function, (*CALLED, type)) and not callable(
            getattr(function, "__wrapped__", None)
        ):
            self._add_object(function, prefix)

    def _add_object(self, owner: Any, prefix: str) -> None:
        self.parts[f"the object '{prefix}self'"] = hash_text(class_text(type(owner)))

    def _add_captured(self, function: FunctionType, prefix: str) -> None:
        reads, writes = _outer_names(function.__code__)
        values: dict[str, Any] = {}
        for name in reads:
            if name in function.__globals__:
                values[name] = function.__globals__[name]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                values[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        for name, value in sorted(values.items()):
            self.add_value(f"{prefix}{name}", value, changing=name in writes)
        for name, value in sorted(_default_values(function).items()):
            self._add_data(f"the default of '{prefix}{name}'", value, changing=True)

    def add_value(self, label: str, value: Any, *, changing: bool) -> None:
        """Add a `value` that the function reads from outside.

        Args:
            label: name of the value, as the user knows it.
            value: anything.
            changing: true if the function assigns to the name.
        """
        if isinstance(value, type):
            self.parts[f"the class '{label}'"] = hash_text(class_text(value))
        elif isinstance(value, ModuleType):
            self.parts[f"the module '{label}'"] = hash_text(value.__name__)
        elif isinstance(value, CALLED) or callable(getattr(value, "__wrapped__", None)):
            self.add_function(value, label)
        else:
            self._add_data(f"the captured value '{label}'", value, changing=changing)

    def _add_data(self, part: str, value: Any, *, changing: bool) -> None:
        if not changing and not _is_mutable(value):
            self.parts[part] = hash_text(_value_text(value))
            return
        if part not in self.seen:
            self.seen[part] = hash_text(_value_text(value))
        self.parts[part] = self.seen[part]


def _default_values(function: FunctionType) -> dict[str, Any]:
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = function.__defaults__ or ()
    return {
        **dict(zip(positional[len(positional) - len(given) :], given, strict=True)),
        **(function.__kwdefaults__ or {}),
    }


def _outer_names(code: CodeType) -> tuple[set[str], set[str]]:
    """Outside names that code reads, and those it assigns."""
    reads: set[str] = set()
    writes: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            reads.add(str(step.argval))
        elif step.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"} or (
            step.opname in {"STORE_DEREF", "DELETE_DEREF"} and step.argval in code.co_freevars
        ):
            writes.add(str(step.argval))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner_reads, inner_writes = _outer_names(constant)
            reads |= inner_reads
            writes |= inner_writes
    return reads, writes


# Source.


@lru_cache(maxsize=4096)  # a file that is edited while the function lives does not change the function
def source_hash(code: CodeType) -> str:
    """Hash the source of `code` without comments, formatting and docstring.

    Without a source, its instructions are hashed.
    """
    return hash_text(_source_text(code) or _instruction_text(code))


def _source_text(code: CodeType) -> str:
    if code.co_name == "<lambda>":
        return ""  # its lines hold more than itself
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""
    node = tree.body[0] if tree.body else None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name != code.co_name:
        return ""
    node.decorator_list = [item for item in node.decorator_list if not is_fitness(item)]
    return normalize_source(tree)


def is_fitness(decorator: ast.expr) -> bool:
    """True if a `decorator` is `fitness(...)`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(called, ast.Attribute):
        return called.attr == "fitness"
    return isinstance(called, ast.Name) and called.id == "fitness"


def _instruction_text(code: CodeType) -> str:
    constants = [
        _instruction_text(item) if isinstance(item, CodeType) else _value_text(item)
        for item in code.co_consts
    ]
    names = [code.co_names, code.co_varnames, code.co_freevars]
    return repr([code.co_code.hex(), constants, names])


def class_text(kind: type) -> str:
    """Source of the class `kind`, or its name.

    The name stands for a class of a package, and where there is no source.
    """
    if is_installed(kind.__module__):
        return _type_name(kind)
    try:
        return normalize_source(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, TypeError, SyntaxError):
        return _type_name(kind)


def _type_name(kind: Any) -> str:
    module = getattr(kind, "__module__", "")
    return (
        f"{'' if module == '__main__' else module}:{getattr(kind, '__qualname__', type(kind).__qualname__)}"
    )


# Values.


def _is_mutable(value: Any) -> bool:
    """True if a value may change in place."""
    if isinstance(value, tuple):
        return any(map(_is_mutable, value))
    return not isinstance(value, (*PLAIN, frozenset, Enum))


def _value_text(value: Any, within: tuple[int, ...] = ()) -> str:
    """Write a value as text, the same in every process.

    Of an object, its type alone.
    """
    if isinstance(value, Enum):
        return f"{_type_name(type(value))}.{value.name}"
    if isinstance(value, PLAIN):
        return f"{type(value).__name__}:{value!r}"
    if id(value) in within or len(within) > MAX_DEPTH:
        return "..."
    within = (*within, id(value))
    if isinstance(value, np.ndarray):
        content = (
            _join_items(value.ravel().tolist(), within)
            if value.dtype.hasobject
            else hash_text(value.tobytes())
        )
        return f"array:{value.dtype}:{value.shape}:{content}"
    if isinstance(value, Mapping):
        items = sorted(
            f"{_value_text(key, within)}={_value_text(item, within)}" for key, item in value.items()
        )
        return f"{type(value).__name__}:{{{','.join(items)}}}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}:{{{','.join(sorted(_value_text(item, within) for item in value))}}}"
    if isinstance(value, list | tuple | bytearray):
        return f"{type(value).__name__}:{_join_items(value, within)}"
    return f"object:{class_text(type(value))}"


def _join_items(items: Iterable[Any], within: tuple[int, ...]) -> str:
    return f"[{','.join(_value_text(item, within) for item in items)}]"
