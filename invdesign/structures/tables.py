"""What the cells of a table stand for: numbers, formulas, structures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.errors import InvdesignError
from invdesign.structures.charges import check_element
from invdesign.structures.reading.read import format_in, read_structure

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

FloatArray = NDArray[np.float64]
Cell = object  # str, int, float, bool or None; a structure where the source holds structures
NO_NUMBER = frozenset(
    {"", "nan", "na", "n/a", "null", "none"}
)  # how tables say that there is none, in lower case
SEPARATORS = (",", ";", "\t")


def separator_of(header: str) -> str:
    """What separates the columns of a text table: the comma, semicolon or tab its header has most of."""
    return max(SEPARATORS, key=header.count)


def is_blank(cell: Cell) -> bool:
    """Whether a cell holds nothing."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or (isinstance(cell, str) and not cell.strip())


def no_number(cell: Cell) -> bool:
    """Whether a cell of a column of numbers says that there is none."""
    return is_blank(cell) or (isinstance(cell, str) and cell.strip().lower() in NO_NUMBER)


def number_in(cell: Cell) -> float | None:
    """The number a cell holds; None where it holds something else, or nothing. Infinities are numbers."""
    if not isinstance(cell, str | int | float):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(value) else value


def numbers_in(cells: Sequence[Cell]) -> tuple[FloatArray, list[int]]:
    """The numbers of a column.

    Returns:
        Shape (n,), NaN where a cell says that there is none; and the positions of cells that hold something that is
        no finite number.
    """
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))  # type: ignore[arg-type]  # what is none raises
    except (ValueError, TypeError, OverflowError):
        found = [number_in(cell) for cell in cells]
        values = np.array([math.nan if value is None else value for value in found])
        wrong = [k for k, cell in enumerate(cells) if found[k] is None and not no_number(cell)]
    else:
        wrong = []
    infinite = np.flatnonzero(np.isinf(values)).tolist()
    values[infinite] = math.nan
    return values, sorted({*wrong, *infinite})


def composition_in(text: str) -> Composition:
    """The composition a formula stands for: `Li3OCl`, `Li(Ni0.8Co0.1Mn0.1)O2`.

    Raises:
        InvdesignError: it is no formula, or names what is no element.
    """
    from pymatgen.core import Composition

    try:
        composition = Composition(text.strip())
        symbols = list(composition.get_el_amt_dict())
        for symbol in symbols:
            check_element(symbol)
    except Exception as error:  # the parser raises anything, from KeyError to its own
        raise InvdesignError(f"'{text:.60}' is not a formula: {_one_line(error)}") from error
    if not symbols:
        raise InvdesignError(f"'{text:.60}' is not a formula: it names no element")
    return composition


def structure_in(text: str, name: str) -> Structure:
    """The ordered structure in a cell: CIF, POSCAR, extended XYZ or JSON, told apart by what they begin with.

    Args:
        text: the cell.
        name: what the structure is called in messages.

    Raises:
        StructureFileError: it cannot be read, is no crystal, is disordered, or atoms overlap.
    """
    return read_structure(text, name, fmt=format_in(text)).ordered


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
