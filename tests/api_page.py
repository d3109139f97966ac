"""Writes docs/api.md from the docstrings of what the package offers: `python -m tests.api_page`, or `make api`."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import invdesign
from invdesign import protocols, testing
from invdesign.protocols import engines, evaluators, optimizers, potentials, spaces

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
PROTOCOLS = (spaces, optimizers, evaluators, potentials, engines)
WIDTH = 100  # of a signature, which goes on in lines of its own beyond
HEAD = """# Python API

This page is generated from the docstrings: `make api` writes it anew. [The command line and Python](cli.md) shows the names
in use, and [writing a plug-in](plugins.md) the contracts.
"""
LISTS = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises"}
TEXTS = {"Returns": "Returns", "Source": "Source"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def render() -> str:
    """The page as Markdown."""
    names = [name for name in invdesign.__all__ if name != "__version__"]
    contracts = [
        found
        for module in PROTOCOLS
        for found in vars(module).values()
        if (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__ == module.__name__
    ]
    parts = [
        HEAD,
        "## `invdesign`\n\n`invdesign.__version__` is the version, as text.\n",
        *(part for name in names for part in _describe(getattr(invdesign, name))),
        f"## `invdesign.testing`\n\n{inspect.getdoc(testing)}\n",
        *(part for name in testing.__all__ for part in _describe(getattr(testing, name))),
        f"## `invdesign.protocols`\n\n{inspect.getdoc(protocols)}\n",
        *(part for found in contracts for part in _describe(found)),
    ]
    return "\n".join(parts)


def _describe(found: Any) -> Iterator[str]:
    """Heading, signature and docstring of a function, or of a class with its public methods."""
    node = _definitions(found.__module__)[found.__name__]
    yield f"### `{found.__name__}`\n"
    if not isinstance(node, ast.ClassDef):
        yield _code(_signature(node))
        yield _markdown(found)
        return
    head = f"class {node.name}"
    if node.bases:
        head += f"({', '.join(map(ast.unparse, node.bases))})"
    yield _code("\n".join([head, *_fields(found, node)]))
    yield _markdown(found)
    for name, method in _methods(found):
        yield f"#### `{found.__name__}.{name}`\n"
        yield _code(_signature(method))
        if ast.get_docstring(method):
            yield _markdown(vars(_owner(found, name))[name])


@cache
def _definitions(module: str) -> dict[str, Function | ast.ClassDef]:
    """Functions and classes of a module, by name."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, Function | ast.ClassDef)}


def _fields(found: type, node: ast.ClassDef) -> list[str]:
    """Lines of the fields that a data class or a model is made with."""
    if not hasattr(found, "__dataclass_fields__") and not hasattr(found, "model_fields"):
        return []
    fields = [
        item
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not item.target.id.startswith("_")
    ]
    return [f"    {ast.unparse(item)}" for item in fields]


def _methods(found: type) -> Iterator[tuple[str, Function]]:
    """Public methods and properties, those of the bases first."""
    names: dict[str, Function] = {}
    for owner in reversed(_kin(found)):
        node = _definitions(owner.__module__)[owner.__name__]
        assert isinstance(node, ast.ClassDef)
        for item in node.body:
            if isinstance(item, Function) and not item.name.startswith("_"):
                names[item.name] = item
    yield from names.items()


def _owner(found: type, name: str) -> type:
    return next(owner for owner in _kin(found) if name in vars(owner))


def _kin(found: type) -> list[type]:
    """The class, with the bases that its own page does not describe."""
    described = found.__module__.startswith(protocols.__name__)
    bases = (
        [] if described else [base for base in found.__mro__[1:] if base.__module__.startswith("invdesign")]
    )
    return [found, *bases]


def _signature(node: Function) -> str:
    """The line that begins a definition, with its decorators; over several lines where it is long."""
    head = [f"@{ast.unparse(item)}" for item in node.decorator_list]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(node.args)}){returns}"
    if len(line) > WIDTH:
        line = f"def {node.name}(\n{''.join(f'    {item},{chr(10)}' for item in _arguments(node.args))}){returns}"
    return "\n".join([*head, line])


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument as text, with its default."""
    before = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(before) - len(arguments.defaults)) + list(arguments.defaults)
    found = [_argument(item, default) for item, default in zip(before, defaults, strict=True)]
    if arguments.kwonlyargs:
        found.append("*")
    found += [
        _argument(item, default)
        for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return found


def _argument(item: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(item)
    if default is None:
        return text
    return f"{text} = {ast.unparse(default)}" if item.annotation else f"{text}={ast.unparse(default)}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _markdown(found: Any) -> str:
    """A docstring in Google's form as Markdown: lists of arguments and errors, and examples as code."""
    parts = []
    sections = re.split(
        r"^(Args|Attributes|Raises|Returns|Source|Examples):\n",
        inspect.getdoc(found) or "",
        flags=re.MULTILINE,
    )
    parts.append(f"{sections[0].strip()}\n")
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        text = inspect.cleandoc(f"\n{body}")
        if title in LISTS:
            items = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
            parts.append(f"{LISTS[title]}:\n" + "".join(f"\n- {_item(item)}" for item in items) + "\n")
        elif title in TEXTS:
            parts.append(f"{TEXTS[title]}: {text}\n")
        else:
            parts.append(f"```pycon\n{text}\n```\n")
    return "\n".join(parts)


def _item(text: str) -> str:
    """`name: meaning` with the name as code, in one line."""
    name, _, meaning = " ".join(text.split()).partition(": ")
    return f"`{name}`: {meaning}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
