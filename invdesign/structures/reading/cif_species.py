"""Elements from the type symbols and labels of a CIF's sites."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache

import gemmi

_HEAVIEST = 103  # atomic number of lawrencium; no crystal holds anything heavier
_SYMBOL = re.compile(
    r"(?P<mass>\d{1,3})?(?P<letters>[A-Za-z]{1,3})"
    r"(?:\^?\{?(?:\d*\.?\d*[+-]{1,4}|[+-]{1,4}\d*\.?\d*)\}?|\(?\d{0,4}\)?)",
    re.ASCII,
)
# Water's atoms as force fields and databases call them.
_WATER = {"ow": "O", "hw": "H"}
# Scattering factors of valence states in the International Tables, vol. C, table 6.1.1.4.
_VALENCE = {"cval": "C", "siva": "Si", "hiso": "H", "osval": "Os"}


class SpeciesError(ValueError):
    """A symbol or label without a clear element."""


@cache
def list_elements() -> frozenset[str]:
    """Symbols of the elements up to lawrencium."""
    return frozenset(gemmi.Element(number).name for number in range(1, _HEAVIEST + 1))


def find_element(letters: str) -> str | None:
    """Find the element of `letters` in any case.

    Deuterium is hydrogen.
    """
    symbol = letters.capitalize()
    if symbol == "D":
        return "H"
    return symbol if symbol in list_elements() else None


def parse_type_symbol(text: str, formula: Collection[str] | None) -> str:
    """Parse the element of a type symbol.

    Examples are Li, Li1+, O2-, Fe+3, 7Li and CL.

    Args:
        text: the symbol.
        formula: elements of the file's formula, where it has one.

    Raises:
        SpeciesError: it names no element.
    """
    text = "".join(text.split())
    key = text.lower()
    known = _WATER.get(key) or _VALENCE.get(key)
    if known is not None:
        return known
    match = _SYMBOL.fullmatch(text)
    if match is not None and len(match["letters"]) <= 2:
        letters = match["letters"]
        element = find_element(letters)
        if element is not None and (
            letters[1:].islower() or len(letters) == 1 or _means_element(element, formula)
        ):
            return element
    raise SpeciesError(f"the type symbol {text[:20]!r} is no element")


def _means_element(element: str, formula: Collection[str] | None) -> bool:
    """True if two capitals are one element.

    It must be in the formula or, without one, lighter than 99.
    """
    return element in formula if formula else gemmi.Element(element).atomic_number < _HEAVIEST - 4


class LabelReader:
    """Reader of elements from labels alone.

    Labels are Li1, LI1, Ca(1) or O1W. The file's formula decides between two readings; then capitals do: Co1 is
    cobalt. CO1 is cobalt only where the other labels show that the file writes all symbols in capitals, and is
    refused elsewhere.
    """

    def __init__(self, labels: Sequence[str], formula: Collection[str] | None) -> None:
        self.formula = formula
        self.capitalized: list[str] = []  # labels read as two capitals
        starts = [_take_letters(label) for label in labels]
        self.proper = any(len(s) > 1 and s[1].islower() and find_element(s[:2]) for s in starts)
        self.capitals = any(
            len(s) > 1 and s[:2].isupper() and find_element(s[0]) is None and find_element(s[:2])
            for s in starts
        )

    def find_element(self, label: str) -> str:
        """Find the element of one `label`.

        Raises:
            SpeciesError: there is none, or nothing decides between two.
        """
        letters = _take_letters(label)
        if not letters:
            raise SpeciesError(f"the label {label[:20]!r} begins with no element")
        pair = find_element(letters[:2]) if len(letters) > 1 else None
        single = find_element(letters[0])
        if self.formula:
            fitting = [e for e in (pair, single) if e is not None and e in self.formula]
            if len(set(fitting)) == 1:
                return fitting[0]
        return self._decide_by_case(label, letters, pair, single)

    def _decide_by_case(self, label: str, letters: str, pair: str | None, single: str | None) -> str:
        formal = len(letters) > 1 and letters[0].isupper() and letters[1].islower()
        if pair and formal and len(letters) == 2:
            return pair
        if formal and pair is None and letters.lower() in _WATER:
            return _WATER[letters.lower()]
        if len(letters) == 1 and single:
            return single
        if pair and single and letters[:2].isupper() and self.capitals and not self.proper:
            self.capitalized.append(label)
            return pair
        if not formal and pair is None and single and letters.isupper():
            return single
        if pair and single is None and len(letters) == 2:
            return pair
        if pair and formal and letters[2:].isupper():
            return pair
        readings = list(dict.fromkeys(e for e in (pair, single) if e))
        if len(readings) == 2:
            raise SpeciesError(f"the label {label[:20]!r} could mean {' or '.join(readings)}")
        raise SpeciesError(f"the label {label[:20]!r} does not clearly name an element")


def find_stated_element(label: str) -> str | None:
    """Find the element that a `label` states in full.

    Na1 and Fe(2) do; None for other labels.
    """
    match = re.match(r"([A-Z][a-z]?)(?=[\d(])", label)
    return find_element(match[1]) if match else None


def _take_letters(label: str) -> str:
    match = re.match(r"\s*\d{0,3}([A-Za-z]+)", label)
    return match[1] if match else ""
