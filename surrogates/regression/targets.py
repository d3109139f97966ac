"""Targets of property models: units, logarithms, limits and thresholds in the columns of tables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.properties import describe_property
from invdesign.tables.cells import Cell, is_missing_number, parse_number, suggest_remedy
from invdesign.tables.units import find_factor, is_unit, split_heading
from surrogates.regression.material import Target
from surrogates.regression.sheet import Mistakes, Sheet

_BELOW, _ABOVE = "<\u2264\u2a7d", ">\u2265\u2a7e"
_BOUND = re.compile(rf"(?P<sign>[{_BELOW}{_ABOVE}])\s*=?\s*(?P<number>\S.*)")
_ABOUT = re.compile(r"(?:~|\u2248|\u223c|ca\.?|approx\.?)\s*\S.*", re.IGNORECASE)
_LOGARITHM = re.compile(r"log(?:10|\u2081\u2080)?\s*\((?P<unit>.*)\)", re.IGNORECASE)


@dataclass(frozen=True)
class TargetColumn:
    """Column of a table that a model learns, and its meaning.

    Attributes:
        column: heading, with or without its unit.
        name: of the property; made from the heading where it is None.
        unit: of the numbers, where the heading names none; empty for pure numbers, None if it is not said.
        log10: learn the logarithm.
        threshold: value from which a material is good, in the unit of the numbers; None for none.
        into: unit that is learnt, before a logarithm; None for the vocabulary's, or else that of the numbers.
    """

    column: str
    name: str | None = None
    unit: str | None = None
    log10: bool = False
    threshold: float | None = None
    into: str | None = None


@dataclass(frozen=True)
class Scale:
    """Way from the numbers of a table to the values that are learnt.

    Attributes:
        target: property, unit and threshold that are learnt.
        factor: of the numbers, before a logarithm.
        log10: take the logarithm.
        unit: of the numbers, for messages.
        remarks: sentences on a conversion.
    """

    target: Target
    factor: float
    log10: bool
    unit: str
    remarks: tuple[str, ...] = ()

    def convert(self, number: float) -> float:
        """Convert a number of the table; it must be above 0 for a logarithm."""
        return math.log10(number * self.factor) if self.log10 else number * self.factor


def find_scale(target: TargetColumn, heading: str, mistakes: Mistakes) -> Scale | None:
    """Find unit, factor and property of the target; None where a mistake stands against it."""
    stated = split_heading(heading)[1]
    brackets = stated
    if stated is not None and not is_unit(stated) and not _LOGARITHM.fullmatch(stated):
        stated = None  # brackets with a remark
    unit = stated if stated is not None else target.unit
    if unit is None:
        mistakes.add(
            heading,
            None,
            f"'{brackets}' in its heading is no unit that is known." if brackets else "its unit is not said.",
            "Write it into the heading, as in 'conductivity (S/cm)', or give the unit (--unit); an empty one for pure numbers",
        )
        return None
    if target.log10 and _LOGARITHM.fullmatch(unit):
        mistakes.add(heading, None, f"is in {unit} already;", "do not ask for the logarithm again")
        return None
    name = target.name or _name_property(heading, log10=target.log10)
    if not name.isidentifier():
        mistakes.add(
            heading, None, f"a property is called like band_gap, got '{name:.40}'", "Name the property"
        )
        return None
    wanted = _find_wanted_unit(target, name, unit, log10=target.log10)
    logarithm, inner = split_logarithm(unit)
    factor = find_factor(inner, wanted) if unit.strip() != wanted.strip() else 1.0
    if factor is None:
        what = f"{name} is in {_write_unit(wanted, target.log10 or logarithm)}"
        mistakes.add(
            heading,
            None,
            f"is in {unit or 'no unit'}, and {what};",
            "convert the numbers, or name another property",
        )
        return None
    remarks = (
        () if factor == 1.0 else (f"{heading}: converted from {unit} to {_write_unit(wanted, logarithm)}",)
    )
    scale = Scale(
        Target(name, _write_unit(wanted, target.log10 or logarithm)), factor, target.log10, inner, remarks
    )
    if logarithm and factor != 1.0:
        mistakes.add(
            heading, None, f"is in {unit}, and {name} is in {scale.target.unit};", "convert the numbers"
        )
        return None
    return _with_threshold(scale, target, heading, mistakes)


def _with_threshold(scale: Scale, target: TargetColumn, heading: str, mistakes: Mistakes) -> Scale | None:
    """Add the threshold to a scale, converted as the numbers are."""
    if target.threshold is None:
        return scale
    if scale.log10 and not target.threshold > 0:
        mistakes.add(
            heading,
            None,
            f"the threshold is in {scale.unit} and must be > 0 for a logarithm, got {target.threshold:g}",
        )
        return None
    found = scale.convert(target.threshold)
    return replace(scale, target=replace(scale.target, threshold=found))


def split_logarithm(unit: str) -> tuple[bool, str]:
    """Split `log10(S/cm)` into true and `S/cm`."""
    found = _LOGARITHM.fullmatch(unit.strip())
    return (True, found["unit"]) if found else (False, unit)


def _write_unit(unit: str, logarithm: bool) -> str:
    return f"log10({unit or '1'})" if logarithm else unit


def _find_wanted_unit(target: TargetColumn, name: str, unit: str, *, log10: bool) -> str:
    """Unit of the numbers before a logarithm that a model of the property has.

    It is the vocabulary's, else the one that the user gives, else that of the heading.
    """
    if target.into is not None:
        return target.into
    inner = split_logarithm(unit)[1]
    listed = describe_property(name, "?").unit
    if listed != "?":
        logarithm, own = split_logarithm(listed)
        return own if logarithm == (log10 or split_logarithm(unit)[0]) else listed
    if target.unit is not None:
        return split_logarithm(target.unit)[1]
    return inner


def _name_property(heading: str, *, log10: bool) -> str:
    """Make the name of a property from a heading: `Band gap (eV)` becomes `band_gap`."""
    words = re.sub(r"\W+", "_", split_heading(heading)[0].lower()).strip("_")
    return f"log10_{words}" if log10 and not words.startswith("log") else words


@dataclass(frozen=True)
class Values:
    """Values of all rows of a table.

    Attributes:
        y: shape (n,), NaN where there is none, or it is a mistake; of a limit the limit.
        censoring: shape (n,), -1 where the true value is below `y`, 1 where it is above.
        present: shape (n,), True where the cell is not empty.
    """

    y: FloatArray
    censoring: IntArray
    present: NDArray[np.bool_]


def read_values(sheet: Sheet, heading: str, scale: Scale, mistakes: Mistakes) -> Values:
    """Read the values of the target, with limits."""
    y = np.full(len(sheet), math.nan)
    censoring = np.zeros(len(sheet), dtype=np.int64)
    present = np.zeros(len(sheet), dtype=np.bool_)
    for place, cell in enumerate(sheet.columns[heading]):
        if is_missing_number(cell):
            continue
        present[place] = True
        found = _parse_value(cell)
        if isinstance(found, str):
            mistakes.add(heading, place, f"'{cell!s:.40}' is no number.", found)
            continue
        number, side = found
        if scale.log10 and not number > 0:
            mistakes.add(
                heading,
                place,
                f"must be > 0 {scale.unit} for a logarithm, got {number:g}.".replace("  ", " "),
                "Write a value below the limit of detection as a limit, such as <1e-10, or leave the cell empty",
            )
            continue
        y[place], censoring[place] = scale.convert(number), side
    return Values(y, censoring, present)


def _parse_value(cell: Cell) -> tuple[float, int] | str:
    """Parse a number and the side of a limit; a remedy where it is neither."""
    text = cell.strip() if isinstance(cell, str) else ""
    bound = _BOUND.fullmatch(text)
    number = parse_number(bound["number"] if bound else cell)
    if number is not None and math.isfinite(number):
        return number, 0 if bound is None else (-1 if bound["sign"] in _BELOW else 1)
    if _ABOUT.fullmatch(text):
        return "An approximate value is not used: write the number alone if it is as good as the others, or leave the cell empty."
    return suggest_remedy(bound["number"] if bound else cell)
