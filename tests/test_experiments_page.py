"""The page about experiments is true: every command on it runs, on the files it shows, and prints what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import campaign_from
from invdesign.settings import load
from tests.support import ROOT, here

PAGE = ROOT / "docs" / "experiments.md"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
EXPECTED = "2026-05-06 07:08"


def blocks() -> Iterator[tuple[str, str, str]]:
    """(language, name of a file, content) of every block of the page, in order."""
    text = PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def printed(commands: str, folder: Path) -> str:
    """What commands print, one after the other."""
    done = [here(*shlex.split(line)[1:], cwd=folder) for line in commands.splitlines()]
    return "".join(TIME.sub(EXPECTED, item.stdout + item.stderr) for item in done)


def test_the_days_of_the_page(tmp_path: Path) -> None:
    """Commands print what stands below them; files are those shown."""
    (tmp_path / "campaigns").mkdir()
    shutil.copy(ROOT / "campaigns" / "slurry.yaml", tmp_path / "campaigns")
    said = ""
    for language, name, content in blocks():
        if language == "csv":
            (tmp_path / name).write_text(content, encoding="utf-8")
        elif language == "sh":
            said = printed(content, tmp_path)
        elif language == "text":
            assert said == content
    assert "Nothing was recorded." in said


def test_the_python_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script."""
    (tmp_path / "campaigns").mkdir()
    text = (ROOT / "campaigns" / "slurry.yaml").read_text(encoding="utf-8")
    (tmp_path / "campaigns" / "slurry.yaml").write_text(
        text + "engine: {kind: local, workers: 0}\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    (code,) = [content for language, _, content in blocks() if language == "python"]
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["run"].handed_out() == names["ids"][2:]  # type: ignore[attr-defined,index]


def test_the_settings_of_the_page() -> None:
    """The fragment shown is accepted, and the table has every setting."""
    (shown,) = [content for language, _, content in blocks() if language == "yaml"]
    data = parse_yaml(shown).value
    assert isinstance(data, dict)
    shipped = parse_yaml((ROOT / "campaigns" / "slurry.yaml").read_text(encoding="utf-8")).value
    assert isinstance(shipped, dict)
    campaign_from({**shipped, **data})
    evaluator = load("evaluators", {"kind": "experiment", **data["evaluate"][0]["experiment"]})
    for name, field in type(evaluator).model_fields.items():
        assert f"| `{field.alias or name}` |" in PAGE.read_text(encoding="utf-8")
