"""Labels of frameworks: space group and occupied Wyckoff letters, with anonymous elements, in one canonical setting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.structures.symmetry import symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure

LABEL_SYMPREC = 0.1  # Å; the tolerance of the Materials Project's space groups
MIRROR_GROUPS: Mapping[int, int] = MappingProxyType(
    {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212}
)
"""Number of the mirror image of a space group with a screw axis of one hand, ITA chapter 1.4."""
Letters = tuple[str, ...]


def framework_label(structure: Structure, symprec: float = LABEL_SYMPREC) -> str:
    """Label of the framework of a crystal.

    Two crystals have one label if their atoms occupy the same Wyckoff positions of the same space group, up to the names of the
    elements, the setting of the group, the cell, and a mirror image. Free coordinates and the shape of the cell do not count.

    Args:
        structure: ordered crystal.
        symprec: tolerance of spglib, Å.

    Returns:
        Number of the space group and the letters of each element: `225:a|b` is rock salt.

    Raises:
        InvdesignError: spglib finds no symmetry, or a site is partly occupied.
    """
    number, letters = read_orbits(structure, symprec)
    return label_orbits(number, letters.values())


def read_orbits(structure: Structure, symprec: float = LABEL_SYMPREC) -> tuple[int, dict[str, str]]:
    """Read space group and occupied Wyckoff letters of a crystal, as spglib sets them.

    Args:
        structure: ordered crystal.
        symprec: tolerance of spglib, Å.

    Returns:
        (number of the space group, letters of the orbits by element, sorted: {"Mg": "d", "O": "e", "Al": "a"}).

    Raises:
        InvdesignError: spglib finds no symmetry, or a site is partly occupied.
    """
    if not structure.is_ordered:
        raise InvdesignError(
            "a framework needs one element on each site; the structure has partly occupied ones"
        )
    names = [str(site.specie.symbol) for site in structure]
    codes = {name: code for code, name in enumerate(dict.fromkeys(names), 1)}
    dataset = symmetry_dataset(
        np.asarray(structure.lattice.matrix),
        np.asarray(structure.frac_coords),
        [codes[n] for n in names],
        symprec,
    )
    # Sites of one orbit of the primitive cell share a number here even if the given cell breaks the symmetry.
    first = np.unique(dataset.crystallographic_orbits)
    found: dict[str, str] = {}
    for site in first.tolist():
        found[names[site]] = found.get(names[site], "") + dataset.wyckoffs[site]
    return int(dataset.number), {name: "".join(sorted(letters)) for name, letters in found.items()}


def label_orbits(number: int, letters: Iterable[str]) -> str:
    """Label of the framework of occupied Wyckoff positions.

    Args:
        number: of the space group.
        letters: one text per element, a letter for each of its orbits: ("a", "d", "e").

    Returns:
        The label, as in `framework_label`.
    """
    return _label_sorted(number, tuple(sorted("".join(sorted(own)) for own in letters)))


@lru_cache(maxsize=50_000)
def _label_sorted(number: int, elements: Letters) -> str:
    """Smallest writing of the letters in all settings of the group."""
    occupied = "".join(sorted(set("".join(elements))))
    exchanges = {tuple(exchange[letter] for letter in occupied) for exchange in list_letter_exchanges(number)}
    best = min(_exchange(elements, dict(zip(occupied, new, strict=True))) for new in exchanges)
    return f"{MIRROR_GROUPS.get(number, number)}:{'|'.join(map(_write_letters, best))}"


def _exchange(elements: Letters, letters: Mapping[str, str]) -> Letters:
    """Exchange letters; sort those of each element, and the elements."""
    return tuple(sorted("".join(sorted(letters[letter] for letter in own)) for own in elements))


def _write_letters(letters: str) -> str:
    """Write sorted letters with their numbers: `aacc` is `a2c2`, `ab` is `ab`."""
    return "".join(f"{letter}{n if n > 1 else ''}" for letter, n in sorted(Counter(letters).items()))


@cache
def list_letter_exchanges(number: int) -> tuple[Mapping[str, str], ...]:
    """List all exchanges of Wyckoff letters by changes of setting.

    Those of the affine normaliser of the group: with sheared axes where the lattice system allows them. A group that has a
    mirror image of another number is given letters of the lower number.

    Args:
        number: of the space group.

    Returns:
        New letter by old one; for the lower of two mirror images, and every group that is its own, the identity is one.
    """
    letters, *rows = _load_exchanges()[str(number)]
    return tuple(dict(zip(letters, row, strict=True)) for row in rows)


@cache
def _load_exchanges() -> Mapping[str, list[str]]:
    """Load the table that `letter_exchanges_build` writes: by group its letters, then their exchanges."""
    table: Mapping[str, list[str]] = json.loads(
        (files("invdesign.structures") / "letter_exchanges.json").read_text(encoding="utf-8")
    )
    return table
