"""What a function consists of, as hashes by part: its source, and what it captures from around it.

The same in every process: no addresses, no order of sets. It cannot see everything: of an object it knows the type
only, and what a package does is the package's.
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

from invdesign.functions.modules import hashed, is_installed, normalised

Hashes = dict[str, str]
OWN = "its source"
PLAIN = (bool, int, float, complex, str, bytes, type(None), range, type(Ellipsis), np.generic)
CALLED = (FunctionType, BuiltinFunctionType, MethodType, functools.partial, np.ufunc)
DEEPEST = 20


def function_parts(function: Callable[..., Any], seen: MutableMapping[str, str]) -> Hashes:
    """Hash by part of a function that no module holds.

    Args:
        seen: hash by part of what may change while the function works (lists, arrays, names it assigns to), as it
            was first seen; filled in here.
    """
    walk = _Walk(seen)
    walk.function(function, "")
    return dict(sorted(walk.parts.items()))


def differences(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What changed between two sets of parts, in words: "its source", "the captured value 'scale' (new)"."""
    changed = [part for part in recorded if part in now and recorded[part] != now[part]]
    gone = [f"{part} (gone)" for part in recorded if part not in now]
    new = [f"{part} (new)" for part in now if part not in recorded]
    return [*changed, *gone, *new]


def unwrapped(function: Any) -> Any:
    """The function that does the work: within a decorated one, a partial, a method, an object that is called."""
    for _ in range(DEEPEST):
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


class _Walk:
    """Goes from a function to all that it captures."""

    def __init__(self, seen: MutableMapping[str, str]) -> None:
        self.seen = seen
        self.parts: Hashes = {}
        self._visited: set[int] = set()

    def function(self, function: Any, label: str) -> None:
        part = f"the function '{label}'" if label else OWN
        inner = unwrapped(function)
        if id(inner) in self._visited:
            return
        self._visited.add(id(inner))
        if label and is_installed(getattr(inner, "__module__", None) or "builtins"):
            self.parts[part] = hashed(_type_name(inner))
            return
        code = getattr(inner, "__code__", None)
        self.parts[part] = source_hash(code) if code is not None else hashed(_type_name(inner))
        prefix = f"{label}." if label else ""
        self._bound(function, prefix)
        if isinstance(inner, FunctionType):
            self._captured(inner, prefix)

    def _bound(self, function: Any, prefix: str) -> None:
        """What is given to a function beforehand: arguments of a partial, the object of a method."""
        if isinstance(function, functools.partial):
            given = {**{str(n): v for n, v in enumerate(function.args)}, **function.keywords}
            for name, value in given.items():
                self._value(f"the argument '{prefix}{name}'", value, changing=False)
            self._bound(function.func, prefix)
        elif isinstance(function, MethodType):
            self._object(function.__self__, prefix)
        elif not isinstance(function, (*CALLED, type)) and not callable(
            getattr(function, "__wrapped__", None)
        ):
            self._object(function, prefix)

    def _object(self, owner: Any, prefix: str) -> None:
        self.parts[f"the object '{prefix}self'"] = hashed(class_text(type(owner)))

    def _captured(self, function: FunctionType, prefix: str) -> None:
        reads, writes = _names(function.__code__)
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
            self.value(f"{prefix}{name}", value, changing=name in writes)
        for name, value in sorted(_defaults(function).items()):
            self._value(f"the default of '{prefix}{name}'", value, changing=True)

    def value(self, label: str, value: Any, *, changing: bool) -> None:
        """A name the function reads from around it."""
        if isinstance(value, type):
            self.parts[f"the class '{label}'"] = hashed(class_text(value))
        elif isinstance(value, ModuleType):
            self.parts[f"the module '{label}'"] = hashed(value.__name__)
        elif isinstance(value, CALLED) or callable(getattr(value, "__wrapped__", None)):
            self.function(value, label)
        else:
            self._value(f"the captured value '{label}'", value, changing=changing)

    def _value(self, part: str, value: Any, *, changing: bool) -> None:
        if not changing and not _mutable(value):
            self.parts[part] = hashed(_text(value))
            return
        if part not in self.seen:
            self.seen[part] = hashed(_text(value))
        self.parts[part] = self.seen[part]


def _defaults(function: FunctionType) -> dict[str, Any]:
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = function.__defaults__ or ()
    return {
        **dict(zip(positional[len(positional) - len(given) :], given, strict=True)),
        **(function.__kwdefaults__ or {}),
    }


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Names that code reads from around it, and names out there that it assigns to."""
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
            inner_reads, inner_writes = _names(constant)
            reads |= inner_reads
            writes |= inner_writes
    return reads, writes


# Source.


@lru_cache(maxsize=4096)  # a file that is edited while the function lives does not change the function
def source_hash(code: CodeType) -> str:
    """Hash of a function's source without comments, formatting and docstring; of its instructions where there is none."""
    return hashed(_source(code) or _instructions(code))


def _source(code: CodeType) -> str:
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
    return normalised(tree)


def is_fitness(decorator: ast.expr) -> bool:
    """Whether a decorator is `fitness(...)`, under whatever name its module was imported."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(called, ast.Attribute):
        return called.attr == "fitness"
    return isinstance(called, ast.Name) and called.id == "fitness"


def _instructions(code: CodeType) -> str:
    constants = [
        _instructions(item) if isinstance(item, CodeType) else _text(item) for item in code.co_consts
    ]
    names = [code.co_names, code.co_varnames, code.co_freevars]
    return repr([code.co_code.hex(), constants, names])


def class_text(kind: type) -> str:
    """What stands for a class: its source, or its name where that is not to be had or a package's."""
    if is_installed(kind.__module__):
        return _type_name(kind)
    try:
        return normalised(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, TypeError, SyntaxError):
        return _type_name(kind)


def _type_name(kind: Any) -> str:
    module = getattr(kind, "__module__", "")
    return (
        f"{'' if module == '__main__' else module}:{getattr(kind, '__qualname__', type(kind).__qualname__)}"
    )


# Values.


def _mutable(value: Any) -> bool:
    """Whether a value may change in place while the function works."""
    if isinstance(value, tuple):
        return any(map(_mutable, value))
    return not isinstance(value, (*PLAIN, frozenset, Enum))


def _text(value: Any, within: tuple[int, ...] = ()) -> str:
    """The value as text that is the same in every process; of an object its type alone."""
    if isinstance(value, Enum):
        return f"{_type_name(type(value))}.{value.name}"
    if isinstance(value, PLAIN):
        return f"{type(value).__name__}:{value!r}"
    if id(value) in within or len(within) > DEEPEST:
        return "..."
    within = (*within, id(value))
    if isinstance(value, np.ndarray):
        content = (
            _listed(value.ravel().tolist(), within) if value.dtype.hasobject else hashed(value.tobytes())
        )
        return f"array:{value.dtype}:{value.shape}:{content}"
    if isinstance(value, Mapping):
        items = sorted(f"{_text(key, within)}={_text(item, within)}" for key, item in value.items())
        return f"{type(value).__name__}:{{{','.join(items)}}}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}:{{{','.join(sorted(_text(item, within) for item in value))}}}"
    if isinstance(value, list | tuple | bytearray):
        return f"{type(value).__name__}:{_listed(value, within)}"
    return f"object:{class_text(type(value))}"


def _listed(items: Iterable[Any], within: tuple[int, ...]) -> str:
    return f"[{','.join(_text(item, within) for item in items)}]"
