"""Docstrings open with a verb or a noun, as far as a first word shows it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

ROOMS = sorted(
    room
    for package in ("invdesign", "surrogates")
    for room in (ROOT / package).iterdir()
    if room.suffix == ".py" or (room / "__init__.py").exists()
)
RELATIVE = re.compile(r"(What|Whether|How|Why|Who|Whom|Whose|Where|Which|Of|Those|That|As)\b")


@pytest.mark.parametrize("room", [str(room.relative_to(ROOT)) for room in ROOMS])
def test_summaries_open_with_a_verb_or_a_noun(room: str) -> None:
    """No docstring opens with a relative clause or a bare preposition."""
    path = ROOT / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for file in files
        for line, text in _docstrings(file)
        if RELATIVE.match(text)
    ]
    assert not found, "\n".join(found)


def _docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring of a module, class or function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text
