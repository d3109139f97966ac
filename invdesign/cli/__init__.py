"""The command line. It stays light: a command imports what it needs when it runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `invdesign` command."""
    try:
        from invdesign.cli.app import app

        app(prog_name="invdesign")
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported
        sys.exit(130)
