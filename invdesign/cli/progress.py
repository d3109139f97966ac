"""Live progress: a display that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from invdesign.cli.describe import describe_status, duration

if TYPE_CHECKING:
    from invdesign.run.status import RunStatus

LINE_EVERY = 10.0  # seconds between plain lines
Observer = Callable[["RunStatus"], None]


@contextmanager
def display(folder: Path) -> Iterator[Observer]:
    """An observer that shows a run's status until the block ends."""
    if sys.stderr.isatty():
        with _live(folder) as observer:
            yield observer
    else:
        yield _plain()


@contextmanager
def _live(folder: Path) -> Iterator[Observer]:
    from rich.console import Console
    from rich.live import Live
    from rich.panel import Panel
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=5, transient=False) as live:

        def show(status: RunStatus) -> None:
            body = Text("\n".join(describe_status(status)[1:]))
            live.update(Panel(body, title=status.name, subtitle=f"{folder} - Ctrl-C stops, resume goes on"))

        yield show


def _plain() -> Observer:
    last, said = [-LINE_EVERY], [""]
    notes: set[str] = set()

    def show(status: RunStatus) -> None:
        for note in status.notes:
            if note not in notes:
                notes.add(note)
                typer.echo(f"note: {note}", err=True)
        now = time.monotonic()
        line = one_line(status)
        if status.state == "running" and (now - last[0] < LINE_EVERY or line == said[0]):
            return
        last[0], said[0] = now, line
        typer.echo(line, err=True)

    return show


def one_line(status: RunStatus) -> str:
    """A run's status in one line."""
    counts = status.counts
    done = counts["asked"] - counts["pending"]
    total = status.budget.get("candidates")
    parts = [f"{done}/{int(total) if total else counts['asked']} candidates"]
    parts += [
        f"{best.property} {best.value:.4g} {best.unit}".rstrip()
        for best in status.best
        if best.value is not None
    ]
    if status.ranked_by > 1:
        parts.append(f"front {status.front_size}")
    volume = status.hypervolume
    if volume is not None and volume.given and volume.value is not None:  # else it moves with the reference
        parts.append(f"hypervolume {volume.value:.4g}")
    parts.append(f"gated {counts['gated']}, failed {counts['failed']}")
    if status.time_left is not None and status.state == "running":
        parts.append(f"about {duration(status.time_left)} left")
    return f"{status.name}: {'; '.join(parts)}"
