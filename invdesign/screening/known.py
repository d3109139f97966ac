"""Lists of known compounds, one formula a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from invdesign.errors import FileError, InvdesignError, Mistake
from invdesign.structures.formulas import parse_composition
from invdesign.textfiles import read_text
from invdesign.wording import count_noun

MAX_BYTES = 50_000_000  # a million formulas and more (chosen)
HEADINGS = frozenset({"formula", "composition", "reduced_formula"})  # of the first line, if it is no formula
SHOWN = 10  # mistakes listed at once (chosen)


class KnownListError(FileError):
    """All mistakes in a list of known compounds."""


def reduce_formula(amounts: Mapping[str, float]) -> str:
    """Formula by which compositions are compared, in the order of the symbols; empty for none."""
    from pymatgen.core import Composition

    return str(Composition(dict(amounts)).reduced_composition.alphabetical_formula) if amounts else ""


def read_known(path: Path) -> frozenset[str]:
    """Read the formulas in a text file, one a line, as `reduce_formula` writes them.

    Blank lines, lines that begin with # and a heading are passed over.

    Raises:
        KnownListError: lines that are no formulas; the first of them, and their number.
        UnreadableFileError: the file cannot be read.
    """
    lines = read_text(path, MAX_BYTES).splitlines()
    found: set[str] = set()
    mistakes: list[Mistake] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip().strip('"')
        if not text or text.startswith("#") or (number == 1 and text.lower() in HEADINGS):
            continue
        try:
            found.add(
                reduce_formula({str(k): float(v) for k, v in parse_composition(text).as_dict().items()})
            )
        except InvdesignError as error:
            mistakes.append(Mistake("known", str(error), number))
    if mistakes:
        left = len(mistakes) - SHOWN
        more = (
            [Mistake("known", f"and {count_noun(left, 'more line')} that are no formulas")]
            if left > 0
            else []
        )
        raise KnownListError([*mistakes[:SHOWN], *more], path.name)
    return frozenset(found)
