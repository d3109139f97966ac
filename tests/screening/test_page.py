"""The page about screens is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invdesign.campaign.document import parse_yaml
from invdesign.screening.screen import Screen
from tests.support import campaign
from tests.test_documents import ROOT, blocks

PAGE = ROOT / "docs" / "screening.md"


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(PAGE, "python")
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "screening.md", "exec"), names)
    assert set(names["outcome"].described[0].amounts) >= {"Li", "B"}


def test_the_campaign_of_the_page_is_screened(tmp_path: Path) -> None:
    """With other models in the place of trained ones, which the page does not ship."""
    (text,) = blocks(PAGE, "yaml")
    data: Any = parse_yaml(text).value
    data["evaluate"] = [{"tests.plugins.scorers:Linear": {}}]
    data["objectives"] = [{"maximize": "value"}]
    screen = Screen(campaign(data), tmp_path / "screen")
    assert screen.size > 10_000
