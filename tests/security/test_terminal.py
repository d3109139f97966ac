"""Names from files are shown on a terminal, and never obeyed by it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.cli.output import VisibleStream, visible_output
from invdesign.errors import InvdesignError, escape_control_characters
from tests.support import here, toy

NAME = "t\x1b[31moy\x9b2J\u202e [red]x[/red]\nstate   finished"
SHOWN = r"t\x1b[31moy\u009b2J\u202e [red]x[/red]\nstate   finished"


def is_harmless(text: str) -> bool:
    """True if nothing in the text moves a cursor or turns the direction of text."""
    return not any(
        (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2066\u200f" for c in text
    )


@given(st.text())
def test_visible_text_is_harmless_and_stays(text: str) -> None:
    """No control character is left, and what was visible already stays as it is."""
    shown = escape_control_characters(text)
    assert is_harmless(shown)
    assert escape_control_characters(shown) == shown
    shown.encode()


def test_messages_are_visible() -> None:
    """The text of an error can be shown anywhere."""
    assert str(InvdesignError("no \x1b]0;title\x07 here")) == r"no \x1b]0;title\x07 here"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a campaign whose names hold escapes and markup."""
    folder = tmp_path_factory.mktemp("terminal")
    text = toy(10).replace("name: toy", f"name: {json.dumps(NAME)}").replace("    x:", '    "x[bold red]":')
    (folder / "own.yaml").write_text(text)
    done = here("run", "own.yaml", "--run-dir", "r", "--workers", 0, cwd=folder)
    assert done.returncode == 0
    assert is_harmless(done.stdout + done.stderr)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [("validate", "own.yaml"), ("status", "r"), ("top", "r"), ("show", "r", 1), ("status", "r", "--json")],
)
def test_commands_show_escapes(folder: Path, arguments: tuple[object, ...]) -> None:
    """Escapes of names are printed as text, markup literally, and JSON stays JSON."""
    done = here(*arguments, cwd=folder)
    assert done.returncode == 0
    assert is_harmless(done.stdout + done.stderr)
    if "--json" in arguments:
        assert json.loads(done.stdout)["name"] == NAME
    elif arguments[0] in {"validate", "status"}:
        assert done.stdout.splitlines()[0] == SHOWN


def test_mistakes_show_escapes(tmp_path: Path) -> None:
    """Keys and values with escapes are quoted in mistakes as text, each mistake on one line."""
    (tmp_path / "bad.yaml").write_text(
        toy().replace("seed:", '"se\\e[2Ja\\nd":').replace("zdt2", '"z\\e[1m"')
    )
    done = here("validate", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert is_harmless(done.stderr)
    assert r"se\x1b[2Ja\nd: unknown key" in done.stderr


def test_a_terminal_without_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an encoding lacks is written as an escape instead of raising."""
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    VisibleStream(plain).write("3 Å\x07")
    plain.flush()
    assert plain.buffer.getvalue() == b"3 \\xc5\\x07"  # type: ignore[attr-defined]  # a BytesIO


def test_streams_are_given_back() -> None:
    """After a command the streams are those of before."""
    import sys

    before = sys.stdout, sys.stderr
    with visible_output():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


def test_live_progress_is_literal(folder: Path) -> None:
    """The panel of a terminal shows names with markup and escapes as text."""
    from rich.console import Console

    from invdesign.cli.progress import draw_panel
    from invdesign.run.run import run_status

    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(draw_panel(run_status(folder / "r"), Path("r")))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "[red]x[/red]" in shown
    assert is_harmless(shown)
