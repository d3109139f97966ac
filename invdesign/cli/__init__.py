"""The command line. It stays light: a command imports what it needs when it runs."""

from __future__ import annotations

from invdesign.cli.app import app


def main() -> None:
    """Entry point of the `invdesign` command."""
    app(prog_name="invdesign")
