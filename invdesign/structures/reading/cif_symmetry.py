"""Symmetry of a CIF: the operations it lists, checked, or the settings its space-group name can mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import gemmi
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
METRIC = 0.02  # relative to the edges: 1 % of a length, 1.1° of an angle; files round, relaxed cells drift
_DENOMINATOR = 48  # translations are multiples of 1/24 in the tables, of 1/48 in doubled cells
_TERM = re.compile(r"([+-]?)(\d*\.?\d*(?:/\d+)?)\*?([xyz]?)")


class SymmetryError(ValueError):
    """Operations or names that state no symmetry; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """Operations of a space group in one setting, on fractional coordinates.

    Attributes:
        name: for messages.
        rotations: shape (n, 3, 3), whole numbers.
        translations: shape (n, 3), in [0, 1).
    """

    name: str
    rotations: NDArray[np.int64]
    translations: Array

    def __len__(self) -> int:
        return len(self.rotations)


def read_operations(texts: Iterable[str], limit: int) -> Setting:
    """Operations listed as triplets such as -y,x-y,z+1/3; repeated ones count once.

    Raises:
        SymmetryError: too many, unreadable, or no group.
    """
    triplets = _join_triplets(texts)
    if len(triplets) > limit:
        raise SymmetryError(f"{len(triplets)} symmetry operations are listed, at most {limit} are read")
    operations = dict.fromkeys(parse_operation(triplet) for triplet in triplets)
    return _close_operations(list(operations))


def combine_operations(texts: Iterable[str], centrings: Iterable[str], limit: int) -> Setting:
    """Products of operations and centring translations, as magnetic CIFs list them apart.

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
    return _close_operations(list(products))


Rotation = tuple[tuple[int, int, int], ...]
Translation = tuple[Fraction, ...]


def parse_operation(text: str) -> tuple[Rotation, Translation]:
    """Rotation and translation of one triplet; a fourth entry (time reversal) is left out.

    Raises:
        SymmetryError: unreadable, or its rotation does not keep the lattice.
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
    row, shift, position = [0, 0, 0], Fraction(0), 0
    while position < len(part):
        match = _TERM.match(part, position)
        if match is None or match.end() == position or not (match[2] or match[3]):
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
    if not any(row) or any(abs(entry) > 1 for entry in row):
        raise SymmetryError(f"the symmetry operation {text[:60]!r} does not map the lattice onto itself")
    return (row[0], row[1], row[2]), _snap_translation(shift, text)


def _snap_translation(shift: Fraction, text: str) -> Fraction:
    """Nearest simple fraction of a translation written in decimals."""
    simple = shift.limit_denominator(_DENOMINATOR)
    if abs(simple - shift) > Fraction(1, 250):
        raise SymmetryError(f"the symmetry operation {text[:60]!r} has no translation by a simple fraction")
    coarse = shift.limit_denominator(12)
    return (coarse if abs(coarse - shift) <= Fraction(1, 1500) else simple) % 1


def _join_triplets(texts: Iterable[str]) -> list[str]:
    """Triplets; those written without quotes but with blanks arrive in pieces."""
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


def _close_operations(operations: list[tuple[Rotation, Translation]]) -> Setting:
    """A setting of these operations, the identity added where only it is missing.

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
    return Setting(f"the {len(operations)} listed operations", rotations, shifts / denominator)


def _find_missing_product(
    rotations: NDArray[np.int64], shifts: NDArray[np.int64], denominator: int
) -> tuple[int, int] | None:
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
    """One whole number per operation; entries of rotations beyond -1, 0, 1 get -1 (no listed one has them)."""
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
    """Largest change of a scalar product of two edges under a rotation, relative to the edges' lengths."""
    metric = lattice @ lattice.T
    lengths = np.sqrt(np.diag(metric))
    rotations = setting.rotations.astype(float)
    moved = np.einsum("nji,jk,nkl->nil", rotations, metric, rotations)
    return float(np.abs((moved - metric) / np.outer(lengths, lengths)).max())


# ---- names


def find_settings(
    name: str | None, number: int | None, hall: str | None, code: str | None
) -> list[list[Setting]]:
    """Settings that a space group's name, number or Hall symbol can mean, the likeliest group of them first.

    Args:
        name: Hermann-Mauguin symbol, as ICSD, COD or programs write it.
        number: of the International Tables.
        hall: Hall symbol.
        code: of the coordinate system, such as `2` or `h`.

    Raises:
        SymmetryError: unknown, or they contradict each other.
    """
    by_hall = _find_hall(hall) if hall else None
    if name is None and number is None:
        return [[by_hall]] if by_hall else []
    tiers = _find_names(name, code) if name is not None else _find_number(number, code)
    numbers = {entry.number for tier in tiers for entry in tier}
    if number is not None and number not in numbers:
        raise SymmetryError(
            f"the space group {name!r} is number {min(numbers)} of the International Tables, "
            f"the file says {number}; correct one of them"
        )
    if by_hall is None:
        return [[_make_setting(entry) for entry in tier] for tier in tiers]
    named = [entry for tier in tiers for entry in tier]
    if not any(_are_equal(by_hall, _make_setting(entry)) for entry in named):
        raise SymmetryError(
            f"the Hall symbol {hall!r} is not of the space group "
            f"{name if name is not None else number}; correct one of them"
        )
    return [[by_hall]]


def _find_hall(hall: str) -> Setting | None:
    entry = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall)) if _is_hall(hall) else None
    if entry is not None:
        return _make_setting(entry)
    if not _is_hall(hall):
        raise SymmetryError(f"the Hall symbol {hall[:40]!r} is not known")
    return _from_group(f"Hall symbol {hall}", gemmi.symops_from_hall(hall))


def _is_hall(hall: str) -> bool:
    if len(hall) > 40:
        return False
    try:
        return len(gemmi.symops_from_hall(hall)) > 0
    except (RuntimeError, ValueError):
        return False


def _make_setting(entry: gemmi.SpaceGroup) -> Setting:
    return _from_group(describe_entry(entry), entry.operations())


def _from_group(name: str, group: gemmi.GroupOps) -> Setting:
    operations = list(group)
    rotations = np.array([operation.rot for operation in operations], dtype=np.int64) // gemmi.Op.DEN
    translations = np.array([operation.tran for operation in operations], dtype=float) / gemmi.Op.DEN % 1.0
    return Setting(name, rotations, translations)


def describe_entry(entry: gemmi.SpaceGroup) -> str:
    """Name of a setting with its origin or axes in words."""
    words = {
        "1": ", origin choice 1",
        "2": ", origin choice 2",
        "H": ", hexagonal axes",
        "R": ", rhombohedral axes",
    }
    return entry.hm + words.get(entry.ext, "")


def _are_equal(one: Setting, two: Setting) -> bool:
    return len(one) == len(two) and set(_list_codes(one)) == set(_list_codes(two))


def contains_setting(larger: Setting, smaller: Setting) -> bool:
    """True if all operations of `smaller` are among those of `larger`."""
    return set(_list_codes(smaller)) <= set(_list_codes(larger))


def _list_codes(setting: Setting) -> list[int]:
    scale = 5040  # a multiple of all denominators up to 10, and of 12, 24, 48
    shifts = np.rint(setting.translations * scale).astype(np.int64) % scale
    return [int(code) for code in _encode_operations(setting.rotations, shifts, scale)]


Entries = list[gemmi.SpaceGroup]


def _find_number(number: int | None, code: str | None) -> list[Entries]:
    entries = [entry for entry in gemmi.spacegroup_table() if entry.number == number]
    if not entries:
        raise SymmetryError(
            f"there is no space group number {number}; the International Tables have 1 to 230"
        )
    usual = next((entry for entry in entries if entry.is_reference_setting()), entries[0])
    return [_choose_extension([entry for entry in entries if entry.hm == usual.hm], code, str(number))]


def _find_names(name: str, code: str | None) -> list[Entries]:
    base, suffix = _split_suffix(name)
    for key, extension in _list_spellings(base, suffix):
        tiers = [tier for keys in _key_tables() if (tier := keys.get(key))]
        if tiers:
            wanted = extension or code
            chosen = [_choose_extension(tier, wanted, name) for tier in tiers]
            return [tier for tier in chosen if tier]
    entry = gemmi.find_spacegroup_by_name(base) if len(base) < 60 else None
    if entry is None:
        raise SymmetryError(f"the space group {name[:60]!r} is not known")
    return [
        _choose_extension([e for e in gemmi.spacegroup_table() if e.hm == entry.hm], suffix or code, name)
    ]


_WORDS = (
    (re.compile(r"[\[(,;]?\s*origin\s*(?:choice|at)?\s*([12])\s*[\])]?", re.IGNORECASE), r":\1"),
    (re.compile(r"[\[(,;]?\s*hex(?:agonal)?\.?\s*(?:axes|setting)\s*[\])]?", re.IGNORECASE), ":h"),
    (re.compile(r"[\[(,;]?\s*rhomb(?:ohedral)?\.?\s*(?:axes|setting)\s*[\])]?", re.IGNORECASE), ":r"),
    (re.compile(r"\(\s*(?:no\.?|#|nr\.?)?\s*\d{2,3}\s*\)", re.IGNORECASE), ""),
    (re.compile(r"\(?\s*(?:no\.|#|nr\.)\s*\d{1,3}\s*\)?", re.IGNORECASE), ""),
    (re.compile(r"(?<=[2346])\(([1-5])\)|(?<=[2346])_\{?([1-5])\}?"), r"\1\2"),
)


def _split_suffix(name: str) -> tuple[str, str]:
    """Name without blanks and ornaments, in lower case, and the setting stated after a colon."""
    text = name.strip()[:100]
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    text = text.replace("_", " ").replace("−", "-").replace("–", "-").replace("$", "").replace("\\bar", "-")
    text = " ".join(_shorten_full_symbol(text.split()))
    base, _, suffix = text.lower().replace(" ", "").partition(":")
    return base, suffix


def _shorten_full_symbol(words: list[str]) -> list[str]:
    """Short symbol of a full one: P 21/n 21/m 21/a is P n m a, F 4/m -3 2/m is F m -3 m."""
    if len(words) == 2 and words[1].count("/") == 3:
        words = [words[0], *re.findall(r"2\d?/[a-e mn]", words[1])]
    axes = words[1:4]
    if len(axes) < 2 or "1" in axes or not any("/" in axis for axis in axes[1:]):
        return words
    short = [axes[0], *(re.sub(r"^2[1]?/", "", axis) for axis in axes[1:])]
    if axes[1].startswith(("2", "-3")) and (
        (len(axes) > 2 and not axes[0].startswith(("4", "6"))) or axes[1] == "-3"
    ):
        short[0] = re.sub(r"^[24]\d?/", "", short[0])
    return [words[0], *short, *words[4:]]


def _list_spellings(base: str, suffix: str) -> list[tuple[str, str]]:
    spellings = [(base, suffix)]
    if not suffix:
        endings = ("rs", "hs", "h", "r", "s", "z", "1", "2")
        spellings += [
            (base.removesuffix(ending), ending)
            for ending in endings
            if base.endswith(ending) and len(base) > len(ending) + 1
        ]
    return spellings


_TABLES: list[dict[str, Entries]] = []


def _key_tables() -> list[dict[str, Entries]]:
    """Settings by compact name: full symbols; short ones of the unique axis b; short ones of other axes; old ones."""
    if not _TABLES:
        full: dict[str, Entries] = {}
        short: dict[str, Entries] = {}
        other: dict[str, Entries] = {}
        old: dict[str, Entries] = {}
        for entry in gemmi.spacegroup_table():
            words = entry.hm.lower().split()
            full.setdefault("".join(words), []).append(entry)
            if 3 <= entry.number <= 15:
                key = "".join(word for word in words if word != "1") or "".join(words)
                (short if words[1] == "1" and words[-1] == "1" else other).setdefault(key, []).append(entry)
            if entry.number >= 195:
                old.setdefault("".join(words).replace("-3", "3"), []).append(entry)
        _TABLES.extend((full, short, other, old))
    return _TABLES


def _choose_extension(entries: Entries, wanted: str | None, name: str) -> Entries:
    """Settings of one symbol that a suffix or code means; all where none is stated.

    Raises:
        SymmetryError: the suffix means nothing for this group.
    """
    if not wanted or wanted.strip() in {"?", "."}:
        return list(entries)
    key = wanted.lower().strip().lstrip("-")
    extensions = {entry.ext for entry in entries}
    if "R" in extensions:
        key = {"rs": "r", "s": "r", "hs": "h", "z": "h"}.get(key, key)
    elif "2" in extensions:
        key = {"s": "1", "z": "2"}.get(key, key)
    chosen = [e for e in entries if key in {e.ext.lower(), e.qualifier.lower()}]
    if chosen:
        return chosen
    if key in {"1", "h"} and extensions == {"\0"}:  # programs append them where there is no other choice
        return list(entries)
    raise SymmetryError(f"the setting {wanted[:20]!r} of {name[:40]!r} is not known for this space group")


def describe_settings(settings: Sequence[Setting]) -> str:
    """Names of settings for a message."""
    return "; ".join(setting.name for setting in settings)
