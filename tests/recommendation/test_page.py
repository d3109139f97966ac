"""The page on recommendations is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recommendation.md"


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied into a script, it prints the best with its interval, the verdict and the variables."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(code, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ [0-9.e-]+ \(", printed[0])
    assert printed[1].startswith("It predicts unseen candidates")
    assert {line.split()[0] for line in printed[2:]} == {"x", "y"}
