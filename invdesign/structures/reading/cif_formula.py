"""Chemical formulas of a CIF, and their comparison with the contents of its cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

from invdesign.structures.reading.cif_species import find_element

_TOKEN = re.compile(
    r"(?P<element>[A-Z][a-z]?)|(?P<number>\d+\.?\d*(?:\(\d+\))?|\.\d+)|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<blank>\s+)|(?P<part>[,;·*])",
    re.ASCII,
)
_CHARGE = re.compile(r"(?:(?<=[\s,)\]])|^)(?:\d*[+-]|[+-]\d+)(?=$|[\s,;)\]])")
_SIGN = re.compile(r"(?<=[A-Za-z])[+-]+(?=$|[\s,;)\]])")  # of Na+; the 3 of Fe3+ could be an amount
_MAX_LENGTH = 2_000  # characters; chosen
# Relative, chosen; the amount of an element that fills its sites is exact, refined occupancies drift from a formula's digits.
FILLED_TOLERANCE, PARTIAL_TOLERANCE = 1e-6, 0.005


@dataclass(frozen=True, slots=True)
class Formula:
    """Amounts of elements and their half units of rounding.

    Attributes:
        text: the formula as written.
        amounts: by element; deuterium is hydrogen.
        rounding: by element, half a unit of the last digit of an amount that is no whole number.
    """

    text: str
    amounts: Mapping[str, float]
    rounding: Mapping[str, float]

    @property
    def divisor(self) -> int:
        """Greatest common divisor of the amounts.

        1 where they are no whole numbers.
        """
        whole = [round(amount) for amount in self.amounts.values()]
        exact = all(abs(a - b) < 1e-6 for a, b in zip(whole, self.amounts.values(), strict=True))
        return gcd(*whole) if exact else 1


def parse_formula(text: str) -> Formula | None:
    """Parse a formula such as 'C12 H16 O6'.

    '2(C2 H5 O 1-), Zn 2+' is another.

    Args:
        text: the formula; mixed sites such as '(Li0.5 Na0.5) Co O2' are read too.

    Returns:
        The formula, or None where it cannot be read as a whole.
    """
    if len(text) > _MAX_LENGTH:
        return None
    reader = _FormulaReader()
    rest = _SIGN.sub("", _CHARGE.sub(" ", " ".join(text.split())))
    position = 0
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None or not reader.take_token(str(match.lastgroup), match[0]):
            return None
        position = match.end()
    amounts = {key: value for key, value in reader.levels[0].items() if value > 1e-9}
    if len(reader.levels) != 1 or not amounts or max(amounts.values()) > 1e9:
        return None
    return Formula(" ".join(text.split())[:120], amounts, reader.rounding)


@dataclass(slots=True)
class _FormulaReader:
    """Amounts of the tokens read so far.

    Attributes:
        levels: amounts by element, one mapping for each bracket that is open.
        rounding: half units of the last digits, by element.
        factors: number before each open bracket.
        pending: amounts that a following number multiplies.
        leading: number before the present part, such as the 2 of '2H2O'; it holds up to the next comma.
    """

    levels: list[dict[str, float]] = field(default_factory=lambda: [{}])
    rounding: dict[str, float] = field(default_factory=dict)
    factors: list[float] = field(default_factory=list)
    pending: dict[str, float] | None = None
    leading: float | None = None

    def take_token(self, kind: str, token: str) -> bool:
        """Read one token; False where it makes no sense.

        Args:
            kind: group of the token's pattern.
            token: its text.
        """
        if kind == "blank":
            return True
        if kind == "part":
            self.pending, self.leading = None, None
        elif kind == "element":
            return self._take_element(token)
        elif kind == "number":
            return self._take_number(token)
        elif kind == "open":
            self.factors.append(1.0 if self.leading is None else self.leading)
            self.levels.append({})
            self.pending, self.leading = None, None
        else:
            if len(self.levels) == 1:
                return False
            factor = self.factors.pop()
            self.pending = {key: value * factor for key, value in self.levels.pop().items()}
            self.leading = None
            _add_amounts(self.levels[-1], self.pending)
        return True

    def _take_element(self, token: str) -> bool:
        symbol = find_element(token)
        if symbol is None:
            return False
        self.pending = {symbol: 1.0 if self.leading is None else self.leading}
        _add_amounts(self.levels[-1], self.pending)
        return True

    def _take_number(self, token: str) -> bool:
        digits = token.partition("(")[0]
        number = float(digits)
        if self.pending is None:
            at_start = not self.levels[-1] or len(self.levels) == 1
            if self.leading is not None or not at_start:
                return False
            self.leading = number
            return True
        _add_amounts(self.levels[-1], {key: value * (number - 1.0) for key, value in self.pending.items()})
        decimals = len(digits.partition(".")[2])
        for key, value in self.pending.items() if decimals else ():
            self.rounding[key] = self.rounding.get(key, 0.0) + 0.5 * value * 10.0**-decimals
        self.pending, self.leading = None, self.leading if self.leading is not None else 1.0
        return True


def _add_amounts(total: dict[str, float], more: Mapping[str, float]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0.0) + value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Relation of a cell's contents to a formula.

    Attributes:
        agrees: True if the ratios are the same within rounding.
        missing: elements of the formula that no site has.
        units: formula units in the cell, where it agrees.
    """

    agrees: bool
    missing: tuple[str, ...]
    units: float


def compare_formula(
    formula: Formula, contents: Mapping[str, float], uncertain: Mapping[str, float]
) -> Comparison:
    """Compare ratios of amounts.

    Rounding leaves, for each element, an interval for the number of formula units; the formula agrees if all
    intervals share a number.

    Args:
        formula: formula of the file.
        contents: atoms of the cell by element.
        uncertain: uncertainty of these by element, from the digits of the occupancies; 0 where all sites are filled.
    """
    missing = tuple(sorted(set(formula.amounts) - set(contents)))
    low, high = 0.0, float("inf")
    for element, amount in formula.amounts.items():
        count = contents.get(element, 0.0)
        digits = uncertain.get(element, 0.0)
        spread = digits + (PARTIAL_TOLERANCE if digits else FILLED_TOLERANCE) * count
        rounding = formula.rounding.get(element, 0.0)
        low = max(low, (count - spread) / (amount + rounding))
        high = min(high, (count + spread) / (amount - rounding) if amount > rounding else float("inf"))
    agrees = low <= high and high > 0 and not missing and set(contents) <= set(formula.amounts)
    return Comparison(agrees, missing, (low + high) / 2 if agrees and high < float("inf") else low)


def write_formula(amounts: Mapping[str, float]) -> str:
    """Write `amounts` as a formula in alphabetical order.

    It has the smallest whole numbers. Amounts without such numbers are written to four digits.
    """
    counts = {key: value for key, value in sorted(amounts.items()) if value > 1e-9}
    if not counts:
        return "nothing"
    whole = {key: round(value) for key, value in counts.items()}
    if all(abs(whole[key] - value) < 1e-3 and whole[key] for key, value in counts.items()):
        divisor = gcd(*whole.values())
        return " ".join(f"{key}{n // divisor if n != divisor else ''}" for key, n in whole.items())
    return " ".join(f"{key}{value:.4g}" for key, value in counts.items())
