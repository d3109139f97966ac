"""The page about steering is true: its commands run against a run at work, and print what it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.test_kill import tasks_done
from tests.support import PATIENCE, ROOT, here, started, wait_until

PAGE = ROOT / "docs" / "steering.md"
NUMBERS = re.compile(r"\d+(?:, \d+)*(?: and \d+ more)?")


def blocks() -> Iterator[tuple[str, str, str]]:
    """(language, name of a file, content) of every block of the page, in order."""
    text = PAGE.read_text(encoding="utf-8")
    yield from re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def toy(folder: Path, delay: float, candidates: int) -> None:
    """The toy campaign as the page needs it: slower or faster, and without an end."""
    text = (ROOT / "campaigns" / "toy.yaml").read_text(encoding="utf-8")
    text = text.replace("delay: 0.15", f"delay: {delay}").replace("240", str(candidates))
    (folder / "campaigns").mkdir()
    (folder / "campaigns" / "toy.yaml").write_text(text, encoding="utf-8")


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """Each prints what stands below it, but for the numbers; the first is at work in a process of its own."""
    toy(tmp_path, 0.02, 100_000)
    said, seen, live = "", 0, None
    try:
        for language, name, content in blocks():
            if name:
                (tmp_path / name).write_text(content.replace("delay: 0.15", "delay: 0.02"), encoding="utf-8")
            elif language == "text":
                assert plain(said) == plain(content)
                seen += 1
            elif language == "sh" and live is None:
                campaign, _, folder = shlex.split(content)[2:]
                live = started("run", tmp_path / campaign, "--run-dir", tmp_path / folder, "--workers", 1)
                assert wait_until(lambda: tasks_done(tmp_path / "runs" / "toy") >= 70)
            elif language == "sh":
                arguments = [*shlex.split(content)[1:], *(["--wait", "120"] if "fork" not in content else [])]
                for before, after in renamed(tmp_path).items():
                    arguments = [after if argument == before else argument for argument in arguments]
                done = here(*arguments, cwd=tmp_path)
                assert done.returncode == 0, done.stderr
                said = done.stdout
    finally:
        if live is not None:
            live.kill()
            live.communicate(timeout=PATIENCE)
    assert seen == 7


def plain(text: str) -> str:
    """Without numbers, and whether there are several; reasons why some candidates were left out are not all there."""
    lines = [line for line in NUMBERS.sub("N", text).splitlines() if not line.startswith("  left out")]
    return "\n".join(lines).replace("candidates", "candidate")


def renamed(folder: Path) -> dict[str, str]:
    """Candidates the page withdraws, as they are called in this run."""
    from invdesign.run.run import Run

    run = Run.open(folder / "runs" / "toy")
    ids = [id for id in range(len(run.history)) if run.history.candidate(id).proposal.operator == "user"]
    run.close()
    return dict(zip(("60", "61"), map(str, ids), strict=False))


def test_the_python_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script; the searches are made faster for it."""
    toy(tmp_path, 0, 40)
    path = tmp_path / "campaigns" / "toy.yaml"
    inline = "engine: {kind: local, workers: 0}\n"
    path.write_text(path.read_text(encoding="utf-8") + inline, encoding="utf-8")
    (changed,) = [content for _, name, content in blocks() if name == "changed.yaml"]
    (tmp_path / "changed.yaml").write_text(
        changed.replace("delay: 0.15", "delay: 0") + inline + "optimizer: random\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    (code,) = [content for language, _, content in blocks() if language == "python"]
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert len(names["made"].run.history) == 60  # type: ignore[attr-defined]
    assert names["made"].evaluations >= 40  # type: ignore[attr-defined]
