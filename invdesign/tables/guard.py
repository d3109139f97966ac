"""Guard against formulas in tables for spreadsheets: marked on writing, unmarked on reading.

A cell that begins with `=`, `+`, `-` or `@` is run as a formula by spreadsheets, so that a name in a table of a
stranger may start a program or send data away. An apostrophe before it makes it text.

Source:
    OWASP, CSV Injection (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import re

from invdesign.tables.cells import parse_number

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")


def guard_cell(cell: object) -> object:
    """Mark a `cell` that a spreadsheet would run as formula.

    Numbers and all other cells stay as they are.
    """
    if not isinstance(cell, str) or not _FORMULA.match(cell) or parse_number(cell) is not None:
        return cell
    return f"'{cell}"


def unguard_cell(cell: str) -> str:
    """Remove the mark of `guard_cell` from a `cell`."""
    return cell[1:] if _GUARDED.match(cell) else cell
