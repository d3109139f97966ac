"""The command line. It stays light: a command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the `invdesign` command."""
    try:
        from invdesign.cli.app import app

        app(prog_name="invdesign")
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported
        sys.exit(130)
    finally:
        _flush()


def _flush() -> None:
    """Write what is left; a pipe closed by its reader (`invdesign top DIR | head`) is no mistake."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
