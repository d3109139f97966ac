"""Numbers of a CIF: value, unit of the last digit, and standard uncertainty."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_NUMBER = re.compile(
    r"(?P<mantissa>[+-]?(?:\d+\.?(?P<decimals>\d*)|\.(?P<only>\d+)))(?:[eEdD](?P<power>[+-]?\d{1,4}))?(?:\((?P<su>\d{0,9})\)?)?",
    re.ASCII,
)
_FRACTION = re.compile(r"([+-]?\d{1,6})/(\d{1,6})", re.ASCII)
_MAX_LENGTH = 60  # characters; chosen: 17 digits hold all of a double


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written.

    Attributes:
        value: finite.
        decimals: digits after the point, trailing zeros included; 17 for an exact fraction.
        uncertainty: standard uncertainty, 0 where none is given.
    """

    value: float
    decimals: int
    uncertainty: float = 0.0

    @property
    def unit(self) -> float:
        """One unit of the last digit."""
        return 10.0**-self.decimals


def parse_number(text: str) -> Number:
    """Parse a number such as 0.3333(2) or 1/3.

    Args:
        text: the number, with or without a standard uncertainty in brackets.

    Raises:
        ValueError: it is no number, or it is not finite.
    """
    text = text.strip()
    if len(text) > _MAX_LENGTH:
        raise ValueError("too long for a number")
    if fraction := _FRACTION.fullmatch(text):
        if int(fraction[2]) == 0:
            raise ValueError("division by zero")
        return Number(int(fraction[1]) / int(fraction[2]), 17)
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError("not a number" + ("; decimals have a point" if "," in text else ""))
    power = int(match["power"] or 0)
    value = float(f"{match['mantissa']}e{power}")
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    decimals = max(0, min(len(match["decimals"] or match["only"] or "") - power, 300))
    return Number(value, decimals, float(match["su"] or 0) * 10.0**-decimals)
