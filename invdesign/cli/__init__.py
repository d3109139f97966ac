"""The command line.

It stays light: a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def main() -> None:
    """Entry point of the `invdesign` command."""
    _open_missing_streams()
    try:
        from invdesign.cli.app import app

        app(prog_name="invdesign")
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported
        sys.exit(130)
    except OSError as error:  # of the help text; what commands meet is told by the group of commands
        _report_unwritten(error)
        sys.exit(1)
    finally:
        _flush_output()


def _open_missing_streams() -> None:
    """Open standard streams that the process was started without (`>&-`).

    Otherwise other files would get their places.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process


def _report_unwritten(error: OSError) -> None:
    with suppress(OSError):
        sys.stderr.write(f"what was to be printed cannot be written: {error.strerror or error}\n")


def _flush_output() -> None:
    """Write buffered output; a reader that closed the pipe is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:  # a full disk
        _report_unwritten(error)
        _discard_output()
        sys.exit(1)


def _discard_output() -> None:
    """Redirect output to nowhere, so that Python's own flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
