"""Comparison by side and region: polyanions, slabs, gap, shear and mixing of labelled structures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.cells import VACUUM_WIDTH, find_normal, list_slices, measure_length_along_normal
from invdesign.structures.site_labels import DEFECT, FILM, HOST, INNER, SIDE, SUBSTRATE, read_labels
from surrogates.relaxation.bonding import Bond, Ions, find_covalent_bonds, make_ions

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from surrogates.relaxation.matching import Match

# Å beyond the sum of covalent radii up to which an atom is bonded in a whole unit: 1.98 Å for P-O (1.54), 2.37 Å for P-S (2.05).
# Chosen between the lengths at which a bond counts as lost (SAME_BOND_STRETCH) for oxides and for sulfides.
WHOLE_TOLERANCE = 0.25
# Share of an element's centres from which a number of neighbours is one of whole units (chosen: BO3 and BO4 of one borate both
# count, two broken units of eight do not).
MIN_SHARE = 0.3
# Å from an atom of the other side within which an atom is at a plane, or at a defect. Chosen: above the bonds, 1.5 to 2.7 Å, of ions and their
# neighbours, about the distance of the next shell.
PLANE_REACH = 3.5
SAME_CELL = 1e-3  # Å; chosen: a candidate and its host are built in one cell
# Å from every atom from which a site of the host is empty. Chosen: above the distortions that starts have, below bonds.
VACANT_REACH = 1.2
# Å beyond the sum of covalent radii up to which an atom is no isolated one; Li-Li of the metal has 0.5, Li-S 0.1. Chosen.
CONTACT_TOLERANCE = 1.0


class RegionError(InvdesignError):
    """The labels of a structure do not allow the comparison."""


@dataclass(frozen=True, slots=True)
class Sites:
    """Labels of n sites.

    Attributes:
        sides: of each site.
        inner: shape (n,), True for sites deeper than the region that may change, and far from the other side.
        judged: shape (n,), True for sites whose surroundings must stay: the inner ones, or of a defect without such sites those of the
            host far from it.
    """

    sides: tuple[str, ...]
    inner: BoolArray
    judged: BoolArray

    def on_side(self, side: str) -> BoolArray:
        """True for sites of `side`, shape (n,)."""
        return np.array([name == side for name in self.sides], dtype=bool)


def read_sites(structure: Structure, intact: Sequence[Structure] = (), *, interface: bool) -> Sites:
    """Read the labels that the comparison needs.

    Sites deeper than the region may lie at the second plane of a cell without vacuum: within `PLANE_REACH` of the other side they
    are no inner ones. Sites of a host that near to an atom of a defect, or to an empty site of the intact host, are not judged.

    Args:
        structure: with labels of sites.
        intact: of a defect, the host in the same cell, which tells of vacancies; others are no help.
        interface: True if there must be the two sides of an interface.

    Raises:
        RegionError: there are none, or the sides are others.
    """
    labels = read_labels(structure)
    if SIDE not in labels:
        raise RegionError(
            "the structure has no sides on its sites: 'regions' is for spaces of interfaces and defects; leave it out here"
        )
    sides = tuple(str(side) for side in labels[SIDE])
    missing = [side for side in (SUBSTRATE, FILM) if side not in sides]
    if interface and missing:
        there = ", ".join(f"'{name}'" for name in dict.fromkeys(sides))
        raise RegionError(
            f"an interface has the sides '{SUBSTRATE}' and '{FILM}', this structure has {there}; set 'regions: defect' for "
            "defects"
        )
    inner = np.array([bool(flag) for flag in labels.get(INNER, [False] * len(sides))], dtype=bool)
    first, second, *_ = structure.get_neighbor_list(PLANE_REACH)
    names = np.array(sides)
    at_plane = first[names[first] != names[second]]
    if interface:
        inner[at_plane] = False
    judged = inner.copy() if interface or inner.any() else names == HOST
    judged[at_plane] = False
    for host in intact if not interface else ():
        if np.allclose(host.lattice.matrix, structure.lattice.matrix, atol=SAME_CELL):
            apart = structure.lattice.get_all_distances(structure.frac_coords, host.frac_coords)
            empty = apart.min(axis=0) > VACANT_REACH
            judged[(apart[:, empty] < PLANE_REACH).any(axis=1)] = False
    return Sites(sides, inner, judged)


# Polyanions.


@dataclass(frozen=True, slots=True)
class Rule:
    """Numbers of neighbours of whole units, by the element of their centre.

    Each number is a pair: more electronegative neighbours, and other nonmetals.
    """

    numbers: Mapping[str, frozenset[tuple[int, int]]]

    def find_whole(self, ions: Ions) -> dict[int, bool]:
        """True for each centre whose unit is whole, by number of its site."""
        counts = count_ligands(ions)
        return {
            k: counts[k] in self.numbers[symbol]
            for k, symbol in enumerate(ions.symbols)
            if symbol in self.numbers
        }


def make_rule(structures: Sequence[Structure]) -> Rule:
    """Make the rule of whole polyanions from intact crystals.

    A centre is a nonmetal with more electronegative nonmetals around it: P of PO4 and PS4, S of SO4, C of CO3. Its unit is whole
    if it has as many of them as centres of its element have in an intact crystal, whatever their elements: phosphorus with four
    neighbours is whole, be they four O, three O and one N, or two N that bridge to other units.

    Args:
        structures: each has its own commonest numbers; numbers that a smaller share than `MIN_SHARE` has do not count.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for structure in structures:
        ions = make_ions(structure, {})
        counts = count_ligands(ions)
        for symbol in set(ions.symbols) - {"H"}:
            own = Counter(counts[k] for k, name in enumerate(ions.symbols) if name == symbol)
            (common, _), *_ = own.most_common(1)
            if common[0] == 0:
                continue
            limit = MIN_SHARE * own.total()
            found.setdefault(symbol, set()).update(
                number for number, count in own.items() if count >= limit and number[0] > 0
            )
    return Rule({symbol: frozenset(numbers) for symbol, numbers in found.items()})


def count_ligands(ions: Ions) -> list[tuple[int, int]]:
    """Count the bonded nonmetals of every site: more electronegative ones, and others."""
    from ase.data import atomic_numbers, covalent_radii
    from pymatgen.core import Element

    strength = {symbol: float(Element(symbol).data.get("X") or 0.0) for symbol in set(ions.symbols)}
    radii = {symbol: float(covalent_radii[atomic_numbers[symbol]]) for symbol in set(ions.symbols)}
    counts = np.zeros((len(ions.symbols), 2), dtype=np.int64)
    for bond, length in find_covalent_bonds(ions).items():
        one, two = ions.symbols[bond[0]], ions.symbols[bond[1]]
        if length > radii[one] + radii[two] + WHOLE_TOLERANCE or "H" in (one, two):
            continue
        counts[bond[0], 0 if strength[two] > strength[one] else 1] += 1
        counts[bond[1], 0 if strength[one] > strength[two] else 1] += 1
    return [(int(a), int(b)) for a, b in counts]


@dataclass(frozen=True, slots=True)
class Polyanions:
    """Whole units before and after.

    Attributes:
        counts: (whole after, all) by (element of the centre, side).
        broken: number of units that were whole before and are not after.
    """

    counts: Mapping[tuple[str, str], tuple[int, int]]
    broken: int

    @property
    def whole(self) -> int:
        """Number of whole units after."""
        return sum(whole for whole, _ in self.counts.values())

    def describe(self) -> str:
        """Describe the units by centre and side.

        An example is `P: 7 of 8 units whole (film 3 of 4, substrate 4 of 4)`.
        """
        parts = []
        for symbol in sorted({symbol for symbol, _ in self.counts}):
            sides = {side: found for (name, side), found in sorted(self.counts.items()) if name == symbol}
            whole, total = (sum(found[k] for found in sides.values()) for k in (0, 1))
            beside = ", ".join(f"{side} {some} of {every}" for side, (some, every) in sides.items())
            parts.append(
                f"{symbol}: {whole} of {total} units whole" + (f" ({beside})" if len(sides) > 1 else "")
            )
        return "; ".join(parts) or "no polyanions"


def compare_polyanions(old: Ions, new: Ions, sides: Sequence[str], rule: Rule) -> Polyanions:
    """Count whole units before and after.

    Args:
        old, new: the same n sites.
        sides: of the sites.
        rule: numbers of neighbours of whole units.
    """
    before, after = rule.find_whole(old), rule.find_whole(new)
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for k, whole in after.items():
        some, every = counts.get((new.symbols[k], sides[k]), (0, 0))
        counts[new.symbols[k], sides[k]] = some + whole, every + 1
    return Polyanions(counts, sum(whole and not after[k] for k, whole in before.items()))


# Slabs.


@dataclass(frozen=True, slots=True)
class Slabs:
    """Changes of the two sides of an interface.

    Attributes:
        departures: shape (n,), Å, displacements of inner atoms without the drift and the strain along the normal of those of their
            side; 0 for other atoms.
        disorder: Å, root mean square of these by side; sides without inner atoms are absent.
        gap: Å, widest slice parallel to the plane without atoms, a vacuum aside.
        shift: Å, displacement of the sides against each other in the plane.
        mixed: number of atoms that lie among the inner atoms of the other side.
    """

    departures: FloatArray
    disorder: Mapping[str, float]
    gap: float
    shift: float
    mixed: int


def compare_slabs(match: Match, sites: Sites, mobile: BoolArray) -> Slabs:
    """Compare the two sides of an interface before and after a relaxation.

    Args:
        match: the structure before and after; the third axis leads from plane to plane.
        sites: labels, in the order before.
        mobile: shape (n,), True for working ions, which wander and are not judged.
    """
    normal = find_normal(match.after)
    moved = match.moved @ match.after
    departures = np.zeros(len(moved))
    disorder: dict[str, float] = {}
    drift, mixed = {}, 0
    for side in (SUBSTRATE, FILM):
        own = sites.on_side(side) & ~mobile
        inner = own & sites.inner
        anchors = inner if inner.any() else own if own.any() else sites.on_side(side)
        drift[side] = moved[anchors].mean(axis=0)
        if not inner.any():
            continue
        departures[inner] = _measure_departures(moved[inner], match.start[inner], normal)
        disorder[side] = float(np.sqrt((departures[inner] ** 2).mean()))
        start, length = _span(match.start[inner, 2])
        rise = float(np.median(match.moved[inner, 2]))
        foreign = ~sites.on_side(side) & ~mobile
        mixed += int((((match.end[foreign, 2] - rise - start) % 1.0) < length).sum())
    apart = drift[FILM] - drift[SUBSTRATE]
    return Slabs(
        departures,
        disorder,
        gap=_find_widest_gap(match),
        shift=float(np.linalg.norm(apart - (apart @ normal) * normal)),
        mixed=mixed,
    )


def _measure_departures(moved: FloatArray, places: FloatArray, normal: FloatArray) -> FloatArray:
    """Lengths of displacements without their mean and their strain along the normal, shape (k,), Å.

    A slab that keeps its thickness in a cell that grows is strained in fractions of the cell, and not disordered.

    Args:
        moved: shape (k, 3), Å.
        places: shape (k, 3), fractional, before.
        normal: unit vector.
    """
    left = moved - moved.mean(axis=0)
    start, _ = _span(places[:, 2])
    heights = (places[:, 2] - start) % 1.0
    heights = heights - heights.mean()
    if (heights**2).sum() > 1e-12:  # else all atoms are in one layer
        slope = float(heights @ (left @ normal)) / float(heights @ heights)
        left = left - slope * heights[:, None] * normal
    found: FloatArray = np.linalg.norm(left, axis=1)
    return found


def _span(fractions: FloatArray) -> tuple[float, float]:
    """Shortest interval on the circle that holds all `fractions`: (start, length)."""
    ordered = np.sort(fractions % 1.0)
    gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
    widest = int(gaps.argmax())
    start = float(ordered[(widest + 1) % len(ordered)])
    return start - 1e-9, 1.0 - float(gaps[widest]) + 2e-9


def _find_widest_gap(match: Match) -> float:
    """Widest slice without atoms after, Å.

    Slices that hold the middle of a vacuum before do not count.
    """
    limit = VACUUM_WIDTH / measure_length_along_normal(match.before)
    middles = [start + width / 2 for start, width in list_slices(match.start[:, 2]) if width >= limit]
    widths = [
        width
        for start, width in list_slices(match.end[:, 2])
        if not any(((middle - start) % 1.0) < width for middle in middles)
    ]
    return measure_length_along_normal(match.after) * max(widths, default=0.0)


# Atoms on their own.


def find_isolated(ions: Ions, sides: Sequence[str]) -> IntArray:
    """Find the atoms without contact to a slab or crystal, as molecules in a vacuum.

    Contacts are pairs up to the sum of their covalent radii and 1 Å. Pieces with at least half of the atoms of a side are slabs; a
    defect is no side of its own.

    Args:
        ions: n sites at their positions.
        sides: of the sites.

    Returns:
        Numbers of the sites.
    """
    from ase.data import atomic_numbers, covalent_radii
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in ions.symbols])
    first, second, _, distance = ions.find_pairs(2 * float(radii.max()) + CONTACT_TOLERANCE)
    near = distance < radii[first] + radii[second] + CONTACT_TOLERANCE
    size = len(ions.symbols)
    graph = coo_array((np.ones(int(near.sum())), (first[near], second[near])), shape=(size, size))
    _, piece = connected_components(graph, directed=False)
    names = np.array(sides)
    whole: set[int] = set()
    for side in set(sides) - {DEFECT} or set(sides):
        pieces, counts = np.unique(piece[names == side], return_counts=True)
        whole |= {int(name) for name, count in zip(pieces, counts, strict=True) if 2 * count >= counts.sum()}
    return np.flatnonzero(~np.isin(piece, sorted(whole))).astype(np.int64)


def describe_pairs(pairs: Collection[tuple[Bond, float]], ions: Ions, sides: Sequence[str]) -> list[str]:
    """Describe new bonds between anions by their place.

    An example is `new O-S pair of 1.62 Å across the plane`.

    Args:
        pairs: bonds with their lengths, Å.
        ions: the sites.
        sides: of the sites.
    """
    found: dict[tuple[str, str], float] = {}
    for bond, length in pairs:
        name = "-".join(sorted((ions.symbols[bond[0]], ions.symbols[bond[1]])))
        place = (
            f"in the {sides[bond[0]]}"
            if sides[bond[0]] == sides[bond[1]]
            else f"between {' and '.join(sorted((sides[bond[0]], sides[bond[1]])))}"
        )
        found[name, place] = min(length, found.get((name, place), np.inf))
    return [f"new {name} pair of {length:.2f} Å {place}" for (name, place), length in sorted(found.items())]
