"""Display of a run in Python: a panel in notebooks, lines on terminals, else nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import escape_control_characters
from invdesign.run.card import live_html
from invdesign.wording import format_duration, join_words

if TYPE_CHECKING:
    from invdesign.run.status import RunStatus

LINE_EVERY = 10.0  # seconds between lines (chosen)
PANEL_EVERY = (
    0.4  # between two pictures of the panel: a notebook keeps every message it is sent until it is drawn
)
Observer = Callable[["RunStatus"], None]


def is_notebook() -> bool:
    """True in a notebook's kernel; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def default_observer(folder: Path) -> Observer | None:
    """Observer of a run by default: a panel in notebooks, lines on terminals.

    Args:
        folder: the run's.
    """
    if is_notebook():
        return Panel(folder)
    return line_observer() if sys.stderr.isatty() else None


class Panel:
    """Observer that keeps one output of a notebook cell up to date."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._last = -PANEL_EVERY
        self._handle: Any = None

    def __call__(self, status: RunStatus) -> None:
        """Draw the status, at intervals and at the end."""
        now = time.monotonic()
        if status.state == "running" and now - self._last < PANEL_EVERY:
            return
        self._last = now
        display = import_module("IPython.display")
        picture = display.HTML(live_html(status, self._folder))
        if self._handle is None:
            self._handle = display.display(picture, display_id=True)
        else:
            self._handle.update(picture)


def line_observer() -> Observer:
    """Observer that writes a line to stderr at intervals, and each note once."""
    last, said = [-LINE_EVERY], [""]
    notes: set[str] = set()

    def show_line(status: RunStatus) -> None:
        for note in status.notes:
            if note not in notes:
                notes.add(note)
                _write_line(f"note: {note}")
        now = time.monotonic()
        line = status_line(status)
        if status.state == "running" and (now - last[0] < LINE_EVERY or line == said[0]):
            return
        last[0], said[0] = now, line
        _write_line(line)

    return show_line


def _write_line(line: str) -> None:
    sys.stderr.write(f"{escape_control_characters(line)}\n")
    sys.stderr.flush()


def status_line(status: RunStatus) -> str:
    """Write the `status` of a run in one line."""
    counts = status.counts
    done = counts["asked"] - counts["pending"]
    total = status.budget.get("candidates")
    parts = [f"{done}/{int(total) if total else counts['asked']} candidates"]
    parts += [
        join_words(best.property, f"{best.value:.4g}", best.unit, best.words)
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
        parts.append(f"about {format_duration(status.time_left)} left")
    return f"{status.name}: {'; '.join(parts)}".replace("\n", "\\n")
