"""Symmetry operations of a CIF: parsed, and checked to be a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Relative to the edges; chosen: 1 % of a length, 1.1° of an angle, since files round and relaxed cells drift.
METRIC_TOLERANCE = 0.02
# Of translations: those of the tables first, then those of enlarged cells.
_DENOMINATORS = (1, 2, 3, 4, 6, 8, 12, 24, 5, 10, 7, 9, 16, 18, 36, 48)
_MAX_DECIMAL_ERROR = Fraction(1, 100)  # chosen: decimals stand for a simple fraction from two digits on
_TERM = re.compile(r"([+-]?)(\d*\.?\d*(?:/\d+)?)\*?([xyz]?)", re.ASCII)


class SymmetryError(ValueError):
    """Operations or names without a valid symmetry."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Operations of a space group in one setting, on fractional coordinates.

    Attributes:
        name: name for messages.
        rotations: shape (n, 3, 3), whole numbers.
        translations: shape (n, 3), in [0, 1).
        listed: True if the file lists these operations.
    """

    name: str
    rotations: NDArray[np.int64]
    translations: Array
    listed: bool = False

    def __len__(self) -> int:
        return len(self.rotations)


def read_operations(texts: Iterable[str], limit: int) -> Setting:
    """Read operations listed as triplets such as -y,x-y,z+1/3.

    Args:
        texts: the triplets; repeated ones count once.
        limit: largest number of triplets.

    Raises:
        SymmetryError: too many, unreadable, or no group.
    """
    triplets = _join_triplets(texts)
    if len(triplets) > limit:
        raise SymmetryError(f"{len(triplets)} symmetry operations are listed, at most {limit} are read")
    operations = dict.fromkeys(parse_operation(triplet) for triplet in triplets)
    return _build_setting(list(operations))


def combine_operations(texts: Iterable[str], centrings: Iterable[str], limit: int) -> Setting:
    """Multiply operations and centring translations, as magnetic CIFs list them apart.

    Args:
        texts: triplets of the operations.
        centrings: triplets of the centring translations.
        limit: largest number of products.

    Raises:
        SymmetryError: too many, unreadable, or no group.
    """
    first, second = _join_triplets(texts), _join_triplets(centrings)
    if len(first) * len(second) > limit:
        raise SymmetryError(
            f"{len(first) * len(second)} symmetry operations are listed, at most {limit} are read"
        )
    operations = [parse_operation(triplet) for triplet in first]
    shifts = [parse_operation(triplet)[1] for triplet in second]
    products = {
        (rotation, tuple((a + b) % 1 for a, b in zip(moved, shift, strict=True)))
        for rotation, moved in operations
        for shift in shifts
    }
    return _build_setting(list(products))


Rotation = tuple[tuple[int, int, int], ...]
Translation = tuple[Fraction, ...]


def parse_operation(text: str) -> tuple[Rotation, Translation]:
    """Parse rotation and translation of one triplet.

    Args:
        text: the triplet; a fourth entry (time reversal) is left out.

    Raises:
        SymmetryError: it is unreadable, or its rotation does not keep the lattice.
    """
    parts = text.lower().replace(" ", "").replace("\t", "").strip("'\"").split(",")
    if len(parts) not in {3, 4} or len(text) > 100:
        raise SymmetryError(f"the symmetry operation {text[:60]!r} is not of the form x,y,z")
    rows = [_parse_component(part, text) for part in parts[:3]]
    rotation = tuple(row for row, _ in rows)
    if abs(round(float(np.linalg.det(np.array(rotation, dtype=float))))) != 1:
        raise SymmetryError(f"the symmetry operation {text[:60]!r} does not map the lattice onto itself")
    return rotation, tuple(shift for _, shift in rows)


def _parse_component(part: str, text: str) -> tuple[tuple[int, int, int], Fraction]:
    row, shift, slack, position = [0, 0, 0], Fraction(0), Fraction(0), 0
    while position < len(part):
        match = _TERM.match(part, position)
        if (
            match is None
            or match.end() == position
            or not (match[2] or match[3])
            or (position and not match[1])
        ):
            raise SymmetryError(f"the symmetry operation {text[:60]!r} is not of the form x,y,z")
        position = match.end()
        sign = -1 if match[1] == "-" else 1
        try:
            number = Fraction(match[2]) if match[2] else Fraction(1)
        except (ValueError, ZeroDivisionError):
            raise SymmetryError(f"the symmetry operation {text[:60]!r} has the number {match[2]!r}") from None
        if match[3]:
            if number not in {1, 0}:
                raise SymmetryError(f"the symmetry operation {text[:60]!r} scales {match[3]} by {match[2]}")
            row["xyz".index(match[3])] += sign * int(number)
        else:
            shift += sign * number
            slack += Fraction(1, 10 ** len(match[2].partition(".")[2])) if "." in match[2] else 0
    if not any(row) or any(abs(entry) > 1 for entry in row):
        raise SymmetryError(f"the symmetry operation {text[:60]!r} does not map the lattice onto itself")
    return (row[0], row[1], row[2]), _snap_translation(shift, min(slack, _MAX_DECIMAL_ERROR), text)


def _snap_translation(shift: Fraction, slack: Fraction, text: str) -> Fraction:
    """Replace a decimal translation by a simple fraction.

    The decimals may be off by `slack`. A fraction stays.
    """
    if slack == 0 or shift.denominator in _DENOMINATORS:
        return shift % 1
    for denominator in _DENOMINATORS:
        simple = Fraction(round(shift * denominator), denominator)
        if abs(simple - shift) <= slack:
            return simple % 1
    raise SymmetryError(f"the symmetry operation {text[:60]!r} has no translation by a simple fraction")


def _join_triplets(texts: Iterable[str]) -> list[str]:
    """Join the pieces of triplets with unquoted blanks."""
    whole: list[str] = []
    pending = ""
    for text in texts:
        if not pending and text.strip() in {"", "?", "."}:
            continue
        pending += text
        if pending.count(",") >= 2 and not pending.rstrip().endswith(","):
            whole.append(pending)
            pending = ""
    return [*whole, pending] if pending else whole


def _build_setting(operations: list[tuple[Rotation, Translation]]) -> Setting:
    """Build a setting of these operations, and add a missing identity.

    Raises:
        SymmetryError: products of listed operations are not listed.
    """
    identity = (((1, 0, 0), (0, 1, 0), (0, 0, 1)), (Fraction(0),) * 3)
    if identity not in operations:
        operations = [identity, *operations]
    else:
        operations.remove(identity)
        operations.insert(0, identity)
    rotations = np.array([rotation for rotation, _ in operations], dtype=np.int64)
    denominator = lcm(*(shift.denominator for _, shifts in operations for shift in shifts))
    if denominator > 10_000:  # simple fractions of one lattice share a small denominator
        raise SymmetryError("the translations of the symmetry operations have no common fraction")
    shifts = np.array([[int(s * denominator) for s in t] for _, t in operations], dtype=np.int64)
    missing = _find_missing_product(rotations, shifts, denominator)
    if missing:
        first, second = (_write_triplet(rotations[k], shifts[k], denominator) for k in missing)
        raise SymmetryError(
            f"the {len(operations)} symmetry operations are no complete group: the product of {first} and {second} "
            "is not among them"
        )
    name = f"the listed operation{'s' if len(operations) > 1 else ''} ({len(operations)})"
    return Setting(name, rotations, shifts / denominator, listed=True)


def _find_missing_product(
    rotations: NDArray[np.int64], shifts: NDArray[np.int64], denominator: int
) -> tuple[int, int] | None:
    """Find two operations with a product that is not among them.

    None if all products are.
    """
    codes = _encode_operations(rotations, shifts, denominator)
    known = np.sort(codes)
    for k in range(len(rotations)):
        product = _encode_operations(
            rotations[k] @ rotations, (shifts @ rotations[k].T + shifts[k]) % denominator, denominator
        )
        found = known[np.minimum(np.searchsorted(known, product), len(known) - 1)] == product
        if not found.all():
            return k, int(np.argmin(found))
    return None


def _encode_operations(
    rotations: NDArray[np.int64], shifts: NDArray[np.int64], denominator: int
) -> NDArray[np.int64]:
    """Encode each operation as one whole number.

    Rotations with entries beyond -1, 0, 1 get -1 (no listed one has them).
    """
    flat = rotations.reshape(len(rotations), 9)
    code = (flat + 1) @ (3 ** np.arange(9, dtype=np.int64))
    code = code * denominator**3 + shifts @ np.array([denominator**2, denominator, 1], dtype=np.int64)
    return np.where((np.abs(flat) > 1).any(axis=1), -1, code)


def _write_triplet(rotation: NDArray[np.int64], shift: NDArray[np.int64], denominator: int) -> str:
    rows = []
    for row, moved in zip(rotation, shift, strict=True):
        terms = "".join(f"{'+' if n > 0 else '-'}{axis}" for n, axis in zip(row, "xyz", strict=True) if n)
        fraction = Fraction(int(moved), denominator)
        rows.append(terms.removeprefix("+") + (f"+{fraction}" if fraction else ""))
    return ",".join(rows)


def measure_misfit(setting: Setting, lattice: Array) -> float:
    """Misfit of a cell to the symmetry of a setting.

    It is the largest change of a scalar product of two edges under a rotation.

    Args:
        setting: operations.
        lattice: rows of the cell, Å.

    Returns:
        The change relative to the edges' lengths; 0 where the cell has the symmetry.
    """
    metric = lattice @ lattice.T
    lengths = np.sqrt(np.diag(metric))
    rotations = setting.rotations.astype(float)
    moved = np.einsum("nji,jk,nkl->nil", rotations, metric, rotations)
    return float(np.abs((moved - metric) / np.outer(lengths, lengths)).max())


def have_same_operations(one: Setting, two: Setting) -> bool:
    """True if the settings `one` and `two` have the same operations."""
    return len(one) == len(two) and set(_list_codes(one)) == set(_list_codes(two))


def contains_setting(larger: Setting, smaller: Setting) -> bool:
    """True if all operations of `smaller` are among those of `larger`."""
    return set(_list_codes(smaller)) <= set(_list_codes(larger))


def _list_codes(setting: Setting) -> list[int]:
    """Codes of all operations of a setting, comparable between settings."""
    scale = 5040  # a multiple of all denominators up to 10, and of 12, 24, 48
    shifts = np.rint(setting.translations * scale).astype(np.int64) % scale
    return [int(code) for code in _encode_operations(setting.rotations, shifts, scale)]


def describe_settings(settings: Sequence[Setting]) -> str:
    """List the names of `settings` for a message."""
    return "; ".join(setting.name for setting in settings)
