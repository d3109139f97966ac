"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from tests.support import ROOT

MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("invdesign", "surrogates")
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the shipped campaigns are, in a folder of their own."""
    (tmp_path / "campaigns").symlink_to(ROOT / "campaigns")
    monkeypatch.chdir(tmp_path)
    module = import_module(name)
    result = doctest.testmod(module, extraglobs={"__name__": "example"})
    assert result.attempted
    assert not result.failed
