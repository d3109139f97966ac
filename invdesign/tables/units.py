"""Units in the headings of tables: parsed and compared; converted only where a caller asks for the factor."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from invdesign.errors import InvdesignError, nearest
from invdesign.wording import list_first

# `name (unit)`, `name [unit]`, and `name / unit` of the SI Brochure (9th ed., section 5.4.1), a space on both sides.
# A unit may hold one pair of brackets itself: `[log10(S/cm)]`.
_HEADING = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>(?:[^\[\]()]|\([^\[\]()]*\))*)[\])]")
_SLASHED = re.compile(r"(?P<name>.*?\S)\s+/\s+(?P<slashed>\S.*)")
_FACTOR = re.compile(r"(?P<symbol>[^\d^+-]+?)(?:\^?\{?(?P<power>[+-]?\d+)\}?)?")
_POWER = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a", "0123456789-+"
)
_PREFIXES = ("", "k", "M", "G", "T", "c", "m", "d", "h", "\u03bc", "u", "n", "p", "f", "da")
_PREFIXABLE_UNITS = frozenset(
    [
        "m",
        "g",
        "s",
        "A",
        "K",
        "mol",
        "V",
        "eV",
        "S",
        "Ω",
        "Ohm",
        "ohm",
        "Pa",
        "bar",
        "J",
        "W",
        "Wh",
        "Ah",
        "C",
        "F",
        "N",
        "Hz",
        "M",
        "L",
        "l",
        "T",
        "H",
        "B",
        "cal",
        "atm",
        "Torr",
        "psi",
        "rpm",
        "Ha",
        "Ry",
        "e",
        "lm",
    ]
)
_UNPREFIXED_UNITS = frozenset(
    [
        "%",
        "‰",
        "ppm",
        "ppb",
        "°",
        "°C",
        "degC",
        "Å",
        "Å",
        "Ang",
        "angstrom",
        "min",
        "h",
        "hr",
        "hrs",
        "d",
        "day",
        "days",
        "wt%",
        "mol%",
        "at%",
        "vol%",
        "wt.%",
        "at.%",
        "mol.%",
        "vol.%",
        "atom",
        "f.u.",
        "fu",
        "cell",
        "site",
        "kcal",
        "mmHg",
        "µm",
        "EUR",
        "USD",
        "a.u.",
        "Ångstrom",
    ]
)

_POWERS_OF_TEN = {
    "k": 3, "M": 6, "G": 9, "T": 12, "c": -2, "m": -3, "d": -1, "h": 2, "\u03bc": -6, "u": -6, "n": -9, "p": -12, "f": -15,
    "da": 1,
}  # fmt: skip
# Units in others: factor, unit, and its power. The electronvolt is exact since the SI of 2019.
_IN_OTHERS: Mapping[str, tuple[float, str, int]] = {
    "Ohm": (1.0, "S", -1),
    "ohm": (1.0, "S", -1),
    "\u03a9": (1.0, "S", -1),
    "bar": (1e5, "Pa", 1),
    "eV": (1.602176634e-19, "J", 1),
    "\u00c5": (1e-10, "m", 1),
    "Ang": (1e-10, "m", 1),
}


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column with its heading, and the unit in that.

    None where it names none.
    """

    heading: str
    unit: str | None


def describe_heading_fault(name: str) -> str:
    """Describe the fault of a `name` as a heading.

    Empty where any table can hold it.
    """
    if not name:
        return "a name must not be empty"
    if not name.isprintable():
        return f"a name must not hold control characters, tabs or line ends, got {name!a}"
    if name != " ".join(name.split()):
        return f"a name must not begin or end with a blank, or hold two in a row, got '{name}'"
    return ""


def split_heading(heading: str) -> tuple[str, str | None]:
    """Split a `heading` into name and unit.

    The unit is None where there is none.
    """
    found = _HEADING.fullmatch(heading)
    if found:
        return found["name"], found["unit"].strip()
    slashed = _SLASHED.fullmatch(heading)
    if slashed and is_unit(slashed["slashed"]):
        return slashed["name"], slashed["slashed"].strip()
    return heading, None


def find_column(name: str, headings: Sequence[str], table: str, remedy: str) -> FoundColumn | None:
    """Find a column by name; None if missing.

    Its heading may have a unit.

    Args:
        name: the whole heading, or the heading without its unit.
        headings: all headings of the table.
        table: name of the table in messages.
        remedy: what to do if several columns match.

    Raises:
        InvdesignError: several columns match.
    """
    wanted = " ".join(name.split())
    if wanted in headings:
        return FoundColumn(wanted, split_heading(wanted)[1])
    meant = [heading for heading in headings if heading and split_heading(heading)[0] == wanted]
    if len(meant) > 1:
        raise InvdesignError(
            f"{table} has several columns that may be '{name}': {', '.join(meant)}. {remedy}"
        )
    return FoundColumn(meant[0], split_heading(meant[0])[1]) if meant else None


def check_heading_unit(found: FoundColumn, unit: str, name: str, table: str, *, named: bool) -> None:
    """Refuse a heading with another unit than the expected one.

    Args:
        found: the column.
        unit: expected unit of the numbers.
        name: name of the property in messages.
        table: name of the table in messages.
        named: True if the user named the whole heading, so that its brackets may hold a remark.

    Raises:
        InvdesignError: the heading names another unit.
    """
    if found.unit is None or is_same_unit(found.unit, unit) or (named and not is_unit(found.unit)):
        return
    has = f"in {unit}" if unit else "a number without unit"
    raise InvdesignError(
        f"{table}: column '{found.heading}' is in {found.unit or 'no unit'} by its heading, and {name} is {has}: convert "
        f"the numbers and head the column '{name} [{unit}]'"
        + (
            ""
            if is_unit(found.unit)
            else f", or, if that is no unit, name the column in full: '{found.heading}'"
        )
    )


def describe_missing_column(name: str, headings: Sequence[str]) -> str:
    """Describe a missing column: the nearest headings, and those that exist.

    Args:
        name: name of the column.
        headings: all headings of the table.
    """
    shown = [heading for heading in headings if heading]
    hint = nearest(name, shown)
    comment = (
        ". Its headings begin with #: if that line is a comment, take it out"
        if "".join(shown[:1])[:1] == "#"
        else ""
    )
    return f"{hint + ' ' if hint else ''}It has {list_first(shown, 40) or 'none'}{comment}"


def is_same_unit(written: str, unit: str) -> bool:
    """True if two units are the same in any spelling.

    `S cm-1`, `S/cm` and `S·cm⁻¹` are the same.

    Args:
        written: unit of a table.
        unit: expected unit.
    """
    if not unit.strip():
        return written.strip() in {"", "-", "1", "\u2014", "\u2013"}
    first, second = _parse_factors(written), _parse_factors(unit)
    if first is None or second is None:
        return _normalize_characters(written).replace(" ", "") == _normalize_characters(unit).replace(" ", "")
    return first == second


def find_factor(written: str, unit: str) -> float | None:
    """Find the factor from numbers in one unit to another.

    Args:
        written: unit of the numbers: `mS/cm`.
        unit: wanted unit: `S/cm`.

    Returns:
        0.001 in this example; None where the units measure different things, or one of them is not known here.
    """
    if is_same_unit(written, unit):
        return 1.0
    factors, wanted = _parse_factors(written), _parse_factors(unit)
    if factors is None or wanted is None:
        return None
    (first, units), (second, others) = _reduce_factors(factors), _reduce_factors(wanted)
    return first / second if units == others else None


def _reduce_factors(factors: Mapping[str, int]) -> tuple[float, dict[str, int]]:
    """Reduce powers of symbols to a factor and powers of symbols without prefixes."""
    factor, found = 1.0, dict[str, int]()
    for symbol, power in factors.items():
        scale, bare = _split_prefix(symbol)
        times, base, sign = _IN_OTHERS.get(bare, (1.0, bare, 1))
        factor *= (scale * times) ** power
        found[base] = found.get(base, 0) + sign * power
    return factor, {symbol: power for symbol, power in found.items() if power}


def _split_prefix(symbol: str) -> tuple[float, str]:
    """Split a symbol into the value of its prefix and the unit."""
    if symbol not in _PREFIXABLE_UNITS and symbol not in _UNPREFIXED_PLAIN:
        for prefix, power in _POWERS_OF_TEN.items():
            if symbol.startswith(prefix) and symbol[len(prefix) :] in _PREFIXABLE_UNITS:
                return 10.0**power, symbol[len(prefix) :]
    return 1.0, symbol


def is_unit(text: str) -> bool:
    """True if `text` is a unit of measurement: `mS/cm`, `g cm-3`, `%`."""
    factors = _parse_factors(text)
    return bool(factors) and all(_is_symbol(symbol) for symbol in factors or ())


def _is_symbol(symbol: str) -> bool:
    if symbol in _UNPREFIXED_PLAIN or symbol in _PREFIXABLE_UNITS:
        return True
    return any(
        prefix and symbol.startswith(prefix) and symbol[len(prefix) :] in _PREFIXABLE_UNITS
        for prefix in _PREFIXES
    )


def _normalize_characters(text: str) -> str:
    """Replace variants of characters by one form each.

    Powers become digits; one Å, one µ and one minus remain.
    """
    text = text.translate(_POWER).replace("\u2212", "-")
    return unicodedata.normalize("NFKC", text).strip()


_UNPREFIXED_PLAIN = frozenset(_normalize_characters(symbol) for symbol in _UNPREFIXED_UNITS)


def _parse_factors(text: str) -> dict[str, int] | None:
    """Parse the power of each symbol of a unit.

    None where the text has another form.
    """
    found: dict[str, int] = {}
    for number, part in enumerate(_normalize_characters(text).split("/")):
        for factor in re.split(r"[\s*\u00b7\u22c5]+", part.strip().strip("()")):
            match = _FACTOR.fullmatch(factor)
            if match is None:
                if number == 0 and factor == "1":
                    continue
                return None
            power = int(match["power"] or 1) * (1 if number == 0 else -1)
            found[match["symbol"]] = found.get(match["symbol"], 0) + power
    return {symbol: power for symbol, power in found.items() if power}
