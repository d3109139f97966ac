"""Library of known crystals: each as its occupied Wyckoff positions, and all in arrays that pack small."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.charges import element_symbols
from invdesign.structures.combinations import parse_combination
from invdesign.structures.conditions import write_counts
from invdesign.structures.formulas import order_formula
from invdesign.structures.framework_labels import MIRROR_GROUPS, list_letter_exchanges
from invdesign.structures.sited import SitedCrystal
from invdesign.structures.sites import find_structure_sites

if TYPE_CHECKING:
    from pymatgen.core import Structure

STEPS = 65_536  # of a fractional coordinate: 1e-4 Å in a cell of 10 Å (chosen)
CELL_DIGITS = 4  # of lengths (Å) and angles (chosen)
MAX_UNPACKED_BYTES = 200_000_000  # of one array of a library; chosen: some million crystals
UNKNOWN_HULL = -1.0  # eV/atom, stands for an unknown distance to the hull


@dataclass(frozen=True, eq=False)
class Template:
    """A known crystal.

    Attributes:
        elements: symbols, sorted; the species of `sited` are their places.
        sited: space group, occupied positions, cell, free coordinates.
        source: name of the crystal in its source, `mp-1234`.
        e_above_hull: eV/atom; NaN where it is unknown.
    """

    elements: tuple[str, ...]
    sited: SitedCrystal
    source: str
    e_above_hull: float

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Atoms of each element in the primitive cell."""
        return self.sited.combination.count_atoms(len(self.elements))

    @cached_property
    def ratios(self) -> tuple[int, ...]:
        """Atoms of each element in a formula unit."""
        common = gcd(*self.counts)
        return tuple(count // common for count in self.counts)

    @property
    def formula(self) -> str:
        """Formula unit: `Al2O3`."""
        return order_formula(write_counts(dict(zip(self.elements, self.ratios, strict=True))))

    @cached_property
    def letters(self) -> tuple[tuple[str, ...], ...]:
        """Letters of each element's positions, in every equivalent setting, different ones."""
        combination = self.sited.combination
        own: list[str] = ["" for _ in self.elements]
        for species, letter in combination.sites:
            own[species] += letter
        exchanges = list_letter_exchanges(combination.group)
        found = {
            tuple("".join(sorted(exchange[letter] for letter in text)) for text in own)
            for exchange in exchanges
        }
        return tuple(sorted(found))


@dataclass(frozen=True, eq=False)
class Family:
    """Crystals whose formulas have the same ratios.

    A crystal's elements stand in slots, by their number in the formula unit, so that slots of different crystals correspond.

    Attributes:
        ratios: atoms of each slot in the formula unit, ascending.
        templates: m crystals.
        slots: shape (m, k), place of each slot's element among those of the template.
        orders: shape (p, k), permutations of slots with equal numbers, the identity first.
        frameworks: shape (m, p), number of the framework with its slots in each order: equal where two crystals with these elements
            would have one framework.
    """

    ratios: tuple[int, ...]
    templates: tuple[Template, ...]
    slots: IntArray
    orders: IntArray
    frameworks: IntArray

    @cached_property
    def elements(self) -> IntArray:
        """Atomic numbers by slot, shape (m, k)."""
        numbers = atomic_numbers()
        rows = [
            [numbers[template.elements[place]] for place in row]
            for template, row in zip(self.templates, self.slots.tolist(), strict=True)
        ]
        return np.array(rows, dtype=np.int64).reshape(self.slots.shape)

    @cached_property
    def sizes(self) -> IntArray:
        """Atoms in the primitive cell, shape (m,)."""
        return np.array([sum(template.counts) for template in self.templates], dtype=np.int64)

    @cached_property
    def groups(self) -> IntArray:
        """Numbers of the space groups, shape (m,)."""
        return np.array([template.sited.combination.group for template in self.templates], dtype=np.int64)

    @cached_property
    def hulls(self) -> FloatArray:
        """Distances to the hull, eV/atom, 0 where unknown, shape (m,)."""
        return np.nan_to_num([template.e_above_hull for template in self.templates])


def build_family(templates: Sequence[Template]) -> Family:
    """Build a family of crystals that have the same ratios."""
    ratios = tuple(sorted(templates[0].ratios))
    places = range(len(ratios))
    slots = [sorted(places, key=lambda place: (template.ratios[place], place)) for template in templates]
    orders = [
        order
        for order in itertools.permutations(places)
        if all(ratios[order[i]] == ratios[i] for i in places)
    ]
    numbers: dict[object, int] = {}
    frameworks = []
    for template, own in zip(templates, slots, strict=True):
        settings = [[letters[place] for place in own] for letters in template.letters]
        number = template.sited.combination.group
        group = MIRROR_GROUPS.get(number, number)
        names = [(group, min(tuple(row[i] for i in order) for row in settings)) for order in orders]
        frameworks.append([numbers.setdefault(name, len(numbers)) for name in names])
    return Family(
        ratios, tuple(templates), np.array(slots), np.array(orders), np.array(frameworks, dtype=np.int64)
    )


@dataclass(frozen=True, eq=False)
class Library:
    """Known crystals, packed; each is read when it is needed.

    Attributes:
        sites: occupied positions of each crystal: `221: O c, Sr a, Ti b`.
        sources: name of each crystal.
        ratios: atoms of each element in the formula unit, ascending, per crystal: `1 1 3`.
        lengths: shape (n, 2), how many numbers of `cells` and of `coordinates` each crystal has.
        hulls: shape (n,), eV/atom; NaN where unknown.
        cells: free lengths (Å) and angles (degrees) of all crystals, one after the other.
        coordinates: free coordinates of all crystals, one after the other.
    """

    sites: tuple[str, ...]
    sources: tuple[str, ...]
    ratios: tuple[str, ...]
    lengths: IntArray
    hulls: FloatArray
    cells: FloatArray
    coordinates: FloatArray

    def __len__(self) -> int:
        return len(self.sites)

    @cached_property
    def _ends(self) -> IntArray:
        """Ends of the numbers of each crystal, shape (n + 1, 2)."""
        ends: IntArray = np.vstack([np.zeros((1, 2), dtype=np.int64), np.cumsum(self.lengths, axis=0)])
        return ends

    def check(self) -> None:
        """Check that all parts fit each other.

        Raises:
            InvdesignError: they do not.
        """
        sizes = {len(self.sites), len(self.sources), len(self.ratios), len(self.lengths), len(self.hulls)}
        if len(sizes) > 1 or tuple(self._ends[-1].tolist()) != (len(self.cells), len(self.coordinates)):
            raise InvdesignError("the library of prototypes is damaged: its parts do not fit each other")

    def read_template(self, place: int) -> Template:
        """Read the crystal at `place`.

        Raises:
            InvdesignError: it is none.
        """
        text = self.sites[place]
        elements = tuple(entry.split()[0] for entry in text.partition(": ")[2].split(", "))
        try:
            combination = parse_combination(text, elements)
        except ValueError as error:
            raise InvdesignError(f"the library of prototypes is damaged: {error}") from error
        (cell_start, start), (cell_end, end) = self._ends[place : place + 2].tolist()
        system = combination.space_group.system
        if (cell_end - cell_start, end - start) != (
            system.free_lengths + system.free_angles,
            combination.free,
        ):
            raise InvdesignError(
                f"the library of prototypes is damaged: '{text}' has other numbers than it needs"
            )
        cell = tuple(self.cells[cell_start:cell_end].tolist())
        sited = SitedCrystal(combination, cell, self.coordinates[start:end])
        return Template(elements, sited, self.sources[place], float(self.hulls[place]))

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """All crystals.

        Raises:
            InvdesignError: one is none.
        """
        return tuple(self.read_template(place) for place in range(len(self)))

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Symbols of all elements, sorted."""
        names = {
            entry.split()[0] for text in set(self.sites) for entry in text.partition(": ")[2].split(", ")
        }
        return tuple(sorted(names))

    @cached_property
    def _members(self) -> Mapping[str, list[int]]:
        """Places of crystals by their ratios."""
        found: dict[str, list[int]] = {}
        for place, text in enumerate(self.ratios):
            found.setdefault(text, []).append(place)
        return found

    def list_ratios(self) -> list[tuple[int, ...]]:
        """List the ratios of all families, those with most crystals first."""
        order = sorted(self._members, key=lambda text: (-len(self._members[text]), text))
        return [tuple(map(int, text.split())) for text in order]

    @cached_property
    def _families(self) -> dict[str, Family]:
        return {}

    def find_family(self, ratios: Iterable[int]) -> Family | None:
        """Find the crystals whose formula units have these numbers of atoms, in any order; None if there are none."""
        key = write_ratios(ratios)
        if key not in self._members:
            return None
        if key not in self._families:
            self._families[key] = build_family([self.read_template(place) for place in self._members[key]])
        return self._families[key]


def write_ratios(ratios: Iterable[int]) -> str:
    """Write the atoms of a formula unit in ascending order: `1 1 3`."""
    return " ".join(map(str, sorted(ratios)))


def collect_library(templates: Sequence[Template]) -> Library:
    """Collect crystals in a library, with their numbers rounded as `pack_library` rounds them."""
    sited = [template.sited for template in templates]
    cells = [number for crystal in sited for number in crystal.cell]
    coordinates = np.concatenate([np.empty(0), *(crystal.coordinates for crystal in sited)])
    return Library(
        tuple(template.sited.combination.write(template.elements) for template in templates),
        tuple(template.source for template in templates),
        tuple(write_ratios(template.ratios) for template in templates),
        np.array([(len(crystal.cell), len(crystal.coordinates)) for crystal in sited], dtype=np.int64),
        np.array([template.e_above_hull for template in templates], dtype=np.float64),
        np.asarray(np.round(cells, CELL_DIGITS), dtype=np.float64),
        np.round(coordinates * STEPS) % STEPS / STEPS,
    )


def read_template(structure: Structure, source: str, e_above_hull: float = float("nan")) -> Template:
    """Read a crystal as a template.

    Args:
        structure: ordered, in any cell.
        source: its name.
        e_above_hull: eV/atom, where known.

    Raises:
        Infeasible: it is disordered, or no symmetry is found.
    """
    elements, sited = find_structure_sites(structure)
    return Template(elements, sited, source, e_above_hull)


def pack_library(library: Library) -> dict[str, np.ndarray]:
    """Pack a library as small arrays."""
    return {
        "sites": _pack_bytes("\n".join(library.sites).encode()),
        "sources": _pack_bytes("\n".join(library.sources).encode()),
        "ratios": _pack_bytes("\n".join(library.ratios).encode()),
        "lengths": _pack_bytes(library.lengths.astype("<u2").tobytes()),
        "hulls": np.nan_to_num(library.hulls, nan=UNKNOWN_HULL).astype(np.float16),
        "cells": _pack_bytes(library.cells.astype("<f4").tobytes()),
        "coordinates": _pack_bytes(np.round(library.coordinates * STEPS).astype("<u2").tobytes()),
    }


def unpack_library(arrays: Mapping[str, np.ndarray]) -> Library:
    """Unpack the arrays of `pack_library`.

    Raises:
        InvdesignError: they have another form.
    """
    try:
        hulls = np.array(arrays["hulls"], dtype=np.float64)
        cells = np.frombuffer(_unpack_bytes(arrays["cells"]), dtype="<f4").astype(np.float64)
        coordinates = np.frombuffer(_unpack_bytes(arrays["coordinates"]), dtype="<u2").astype(np.float64)
        lengths = np.frombuffer(_unpack_bytes(arrays["lengths"]), dtype="<u2").astype(np.int64)
        sites, sources, ratios = (
            tuple(_unpack_bytes(arrays[name]).decode().split("\n")) for name in ("sites", "sources", "ratios")
        )
        library = Library(
            sites,
            sources,
            ratios,
            lengths.reshape(-1, 2),
            np.where(hulls == UNKNOWN_HULL, np.nan, hulls),
            np.round(cells, CELL_DIGITS),
            coordinates / STEPS,
        )
    except (KeyError, ValueError, TypeError, zlib.error) as error:
        raise InvdesignError(f"the library of prototypes is damaged: {error}") from error
    library.check()
    return library


def _pack_bytes(data: bytes) -> np.ndarray:
    """Compress bytes to an array of them."""
    return np.frombuffer(zlib.compress(data, level=9), dtype=np.uint8)


def _unpack_bytes(packed: np.ndarray) -> bytes:
    """Restore the bytes of `_pack_bytes`.

    Raises:
        ValueError: they are cut off, or more than `MAX_UNPACKED_BYTES`.
    """
    inflating = zlib.decompressobj()
    data = inflating.decompress(np.asarray(packed, dtype=np.uint8).tobytes(), MAX_UNPACKED_BYTES)
    if not inflating.eof:
        raise ValueError("compressed numbers are cut off, or too many")
    return data


@cache
def atomic_numbers() -> Mapping[str, int]:
    """Atomic numbers by symbol."""
    return {symbol: number for number, symbol in enumerate(element_symbols(), 1)}
