"""Live progress: a display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.cli.describe import describe_status
from invdesign.cli.output import plain_stream
from invdesign.errors import escape_control_characters
from invdesign.run.notebook import line_observer

if TYPE_CHECKING:
    from rich.panel import Panel

    from invdesign.run.status import RunStatus

Observer = Callable[["RunStatus"], None]


@contextmanager
def show_progress(folder: Path) -> Iterator[Observer]:
    """Observer that shows the status of the run in `folder`."""
    if sys.stderr.isatty():
        with _show_live(folder) as observer:
            yield observer
    else:
        yield line_observer()


def draw_panel(status: RunStatus, folder: Path) -> Panel:
    """Draw the `status` of the run in `folder` in a frame."""
    from rich.panel import Panel
    from rich.text import Text

    body = Text("\n".join(map(escape_control_characters, describe_status(status)[1:])))
    below = Text(escape_control_characters(f"{folder} - Ctrl-C stops, resume goes on"))
    return Panel(body, title=Text(escape_control_characters(status.name)), subtitle=below)


@contextmanager
def _show_live(folder: Path) -> Iterator[Observer]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=plain_stream(sys.stderr), stderr=True)
    with Live(console=console, refresh_per_second=5, transient=False) as live:
        yield lambda status: live.update(draw_panel(status, folder))
