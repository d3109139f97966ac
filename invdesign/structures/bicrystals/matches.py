"""Matches of two slabs: superlattices of both that fall together, one of each symmetric set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.bicrystals.lattices import (
    adjugate,
    determinant,
    hermite_form,
    is_coincidence_cell,
    list_superlattices,
    list_unimodular,
    reduce_basis,
    turn_to_x,
)
from invdesign.structures.bicrystals.slabs import Slab
from invdesign.structures.bicrystals.solids import are_same_crystal

Strained = Literal["film", "substrate", "both"]

# Turning a film over reverses y: its frame looks up from its surface, which then looks down.
TURNED_OVER = np.diag([1.0, -1.0])
# Names give the film's vectors as a and -b, which have the hand of a and b once the film is turned over.
SEEN_FROM_BELOW = np.diag([1, -1])
LOOSER = (1.25, 1.5, 2.0, 3.0)  # multiples of the limits among which the nearest match is looked for; chosen
MAX_LOOSE_STRAIN = 0.25  # beyond it nothing is called a match; chosen


@dataclass(frozen=True, eq=False)
class Match:
    """Two slabs whose superlattices are brought together by a strain.

    The vectors of the common cell are those of both superlattices: matrices[0] @ substrate's surface lattice @ maps[0]
    = matrices[1] @ film's surface lattice @ maps[1] = cell.

    Attributes:
        name: both slabs and both superlattices: `(110)1|(010)3 2x1|1x1`; a superlattice that is no multiple of the surface vectors
            is written as its matrix, `(2 1;0 3)`; the film's vectors are a and -b, as they are seen once it is turned over.
        substrate: slab below the plane.
        film: slab above it, turned over.
        matrices: shape (2, 2) each, of substrate and film; whole numbers, rows of the superlattice in the surface lattice.
        maps: shape (2, 2) each; takes rows of coordinates in the plane from the slab's frame to that of the bicrystal.
        cell: shape (2, 2), common cell in Å, a along x.
        strained: side that bears the mismatch.
        strain: largest principal strain of a side, absolute.
    """

    name: str
    substrate: Slab
    film: Slab
    matrices: tuple[IntArray, IntArray]
    maps: tuple[FloatArray, FloatArray]
    cell: FloatArray
    strained: Strained
    strain: float

    @cached_property
    def area(self) -> float:
        """Area of the common cell, Å²."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def multiples(self) -> tuple[int, int]:
        """Number of surface cells of substrate and film in the common cell."""
        return abs(determinant(self.matrices[0])), abs(determinant(self.matrices[1]))

    @property
    def atoms(self) -> int:
        """Number of atoms of the bicrystal."""
        below, above = self.multiples
        return below * len(self.substrate) + above * len(self.film)


@dataclass(frozen=True)
class MatchLimits:
    """Limits on matches.

    Attributes:
        max_area: Å².
        max_strain: largest principal strain of a side, 0.05 for 5 %.
        max_atoms: of the bicrystal; None for any number.
        strained: side that bears the mismatch.
    """

    max_area: float
    max_strain: float
    max_atoms: int | None = None
    strained: Strained = "film"

    def __post_init__(self) -> None:
        """Refuse limits that no match can meet.

        Raises:
            InvdesignError: one is none.
        """
        if not 0 < self.max_area < math.inf:
            raise InvdesignError(f"max_area is an area in Å² above 0, got {self.max_area}")
        if not 0 < self.max_strain <= MAX_LOOSE_STRAIN:
            raise InvdesignError(
                f"max_strain is a share between 0 and {MAX_LOOSE_STRAIN}, 0.05 for 5 %; got {self.max_strain}"
            )
        if self.max_atoms is not None and self.max_atoms < 2:
            raise InvdesignError(f"a bicrystal has at least 2 atoms, got max_atoms {self.max_atoms}")
        if self.strained not in {"film", "substrate", "both"}:
            raise InvdesignError(f"strained is film, substrate or both, got '{self.strained}'")


class NoMatchError(InvdesignError):
    """No match of two solids is within the limits."""


def list_matches(
    substrates: Sequence[Slab],
    films: Sequence[Slab],
    *,
    max_area: float,
    max_strain: float,
    max_atoms: int | None = None,
    strained: Strained = "film",
) -> list[Match]:
    """List all matches of substrates with films, one of each symmetric set, the fewest atoms first.

    A match is listed in its smallest cell only; larger cells of one bicrystal are the same bicrystal.

    Args:
        substrates: slabs of one solid.
        films: slabs of the other.
        max_area: Å², of the common cell.
        max_strain: largest principal strain of a side, 0.05 for 5 %.
        max_atoms: of the bicrystal.
        strained: side that bears the mismatch; `both` share it.

    Raises:
        NoMatchError: there is none; the message names the nearest one and the limits to raise.
        InvdesignError: a limit is none, or both solids are the same crystal.
    """
    limits = MatchLimits(max_area, max_strain, max_atoms, strained)
    if not substrates or not films:
        raise InvdesignError("a match needs slabs of a substrate and of a film; one list is empty")
    substrate, film = substrates[0].solid, films[0].solid
    if are_same_crystal(substrate, film):
        raise InvdesignError(
            f"substrate ({substrate.name}) and film ({film.name}) are the same crystal; a boundary within one solid is not built. "
            "Check which of the two is meant"
        )
    found = _search(substrates, films, limits)
    if not found:
        raise NoMatchError(_describe_nearest(substrates, films, limits))
    return found


def _search(substrates: Sequence[Slab], films: Sequence[Slab], limits: MatchLimits) -> list[Match]:
    """List matches within limits, sorted by atoms, strain and name."""
    known: dict[bytes, list[tuple[IntArray, IntArray]]] = {}
    found: list[Match] = []
    for substrate in substrates:
        for film in films:
            key = substrate.surface_lattice.tobytes() + film.surface_lattice.tobytes()
            if key not in known:
                known[key] = list(pair_superlattices(substrate, film, limits))
            found += _list_distinct(substrate, film, known[key], limits)
    return sorted(found, key=lambda match: (match.atoms, round(match.strain, 6), match.name))


def _list_distinct(
    substrate: Slab, film: Slab, pairs: Sequence[tuple[IntArray, IntArray]], limits: MatchLimits
) -> Iterator[Match]:
    """List the distinct matches among pairs of superlattices of two slabs."""
    mirrors = substrate.solid.space_group.achiral or film.solid.space_group.achiral
    below = point_group(substrate)
    above = point_group(film)
    seen = set()
    for first, second in pairs:
        below_size, above_size = determinant(first), determinant(second)
        if limits.max_atoms is not None and (
            abs(below_size) * len(substrate) + abs(above_size) * len(film) > limits.max_atoms
        ):
            continue
        # The film's frame is turned over, so a map of positive determinant is a mirror image.
        if below_size * above_size > 0 and not mirrors:
            continue
        key = canonical_map(adjugate(second) @ first, above_size, below, above)
        if key not in seen:
            seen.add(key)
            yield _make_match(substrate, film, key, limits.strained)


def point_group(slab: Slab) -> IntArray:
    """Matrices (g, 2, 2) of the slab's operations that keep its surface on top."""
    kept = {
        operation.matrix.tobytes(): operation.matrix for operation in slab.operations if not operation.flips
    }
    return np.array([kept[key] for key in sorted(kept)], dtype=np.int64)


Key = tuple[int, tuple[int, ...]]  # a rational matrix: denominator, and the numerators


def canonical_map(numerators: IntArray, denominator: int, below: IntArray, above: IntArray) -> Key:
    """Simplest image of a map from the film's lattice to the substrate's under the symmetry of both slabs.

    Args:
        numerators: shape (2, 2), whole numbers.
        denominator: of all of them.
        below: shape (g, 2, 2), operations of the substrate's lattice.
        above: shape (h, 2, 2), of the film's.
    """
    images = np.einsum("hij,jk,gkl->hgil", above, numerators, below).reshape(-1, 4)
    images = np.unique(images * (1 if denominator > 0 else -1), axis=0)
    divisor = math.gcd(denominator, *(int(number) for number in images[0]))
    order = min((tuple(int(number) // divisor for number in image) for image in images), key=_rank_image)
    return abs(denominator) // divisor, order


def _rank_image(image: tuple[int, ...]) -> tuple[bool, int, int, tuple[int, ...]]:
    """Rank a map.

    Maps that are no mirror image come first, then those with few numbers off the diagonal and few negative ones, for readable names.
    """
    a, b, c, d = image[0], image[1], *(-number for number in image[2:])
    return a * d - b * c < 0, abs(b) + abs(c), sum(n < 0 for n in (a, b, c, d)), (-a, -b, -c, -d)


def pair_superlattices(
    substrate: Slab, film: Slab, limits: MatchLimits
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pair superlattices that a strain within the limits brings together, as matrices of substrate and film.

    Unlike the algorithm of Zur and McGill, J. Appl. Phys. 55, 378 (1984), which compares one reduced basis of each superlattice, all
    reduced and nearly reduced bases are compared: two bases of equal lengths are two orientations of the film.
    """
    lower, upper = substrate.surface_lattice, film.surface_lattice @ TURNED_OVER
    below, above = point_group(substrate), point_group(film)
    lower_area, upper_area = substrate.area, film.area
    low, high = _stretch_limits(limits)
    most = math.floor(limits.max_area * high**2 / lower_area + 1e-9)
    uppers: dict[int, tuple[IntArray, FloatArray]] = {}
    for size in range(1, most + 1):
        for matrix in _list_reduced(lower, size, below):
            goal = matrix @ lower
            for other in range(
                math.ceil(size * lower_area / (upper_area * high**2) - 1e-9),
                math.floor(size * lower_area / (upper_area * low**2) + 1e-9) + 1,
            ):
                if (
                    other < 1
                    or _common_area(size * lower_area, other * upper_area, limits) > limits.max_area + 1e-6
                ):
                    continue
                if other not in uppers:
                    starts = np.array(_list_reduced(upper, other, above[:1]))
                    changed = (list_unimodular()[None, :] @ starts[:, None]).reshape(-1, 2, 2)
                    uppers[other] = changed, changed @ upper
                matrices, bases = uppers[other]
                fits = _fits(goal, bases, low, high)
                for match in matrices[fits]:
                    if is_coincidence_cell(matrix, match):
                        yield matrix, match


def _stretch_limits(limits: MatchLimits) -> tuple[float, float]:
    """Smallest and largest stretch of the film's lattice onto the substrate's that the limits allow."""
    low, high = 1 - limits.max_strain, 1 + limits.max_strain
    if limits.strained == "film":
        return low, high
    if limits.strained == "substrate":
        return 1 / high, 1 / low
    # Each side takes the square root; the compressed side's limit is the closer one.
    return max(low, 1 / high) ** 2, min(high, 1 / low) ** 2


def _common_area(lower: float, upper: float, limits: MatchLimits) -> float:
    """Area of the common cell of two superlattices of given areas."""
    if limits.strained == "both":
        return math.sqrt(lower * upper)
    return lower if limits.strained == "film" else upper


def _list_reduced(lattice: FloatArray, size: int, group: IntArray) -> list[IntArray]:
    """Reduced matrices of all superlattices of an index, one of each set that the group (g, 2, 2) makes equal."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for form in list_superlattices(size):
        if form in seen:
            continue
        matrix = np.array(form, dtype=np.int64).reshape(2, 2)
        if len(group) > 1:
            seen |= {tuple(int(n) for n in hermite_form(matrix @ one).ravel()) for one in group}
        _, change = reduce_basis(matrix @ lattice)
        found.append(change @ matrix)
    return found


def _fits(goal: FloatArray, bases: FloatArray, low: float, high: float) -> np.ndarray:
    """True for bases (m, 2, 2) that stretches between two limits bring onto a goal (2, 2)."""
    goals = np.linalg.norm(goal, axis=1)
    lengths = np.linalg.norm(bases, axis=2)
    near = ((lengths * low <= goals + 1e-9) & (lengths * high >= goals - 1e-9)).all(axis=1)
    fits = np.zeros(len(bases), dtype=np.bool_)
    stretches = np.linalg.svd(np.linalg.solve(bases[near], np.broadcast_to(goal, bases[near].shape)))[1]
    fits[near] = (stretches[:, 1] >= low - 1e-9) & (stretches[:, 0] <= high + 1e-9)
    return fits


def _make_match(substrate: Slab, film: Slab, key: Key, strained: Strained) -> Match:
    """Make the match of a map from the film's lattice to the substrate's."""
    denominator, numbers = key
    numerators = np.array(numbers, dtype=np.int64).reshape(2, 2)
    # Vectors of the substrate that are also the film's: n @ denominator * inverse(numerators) is whole.
    first = _coincidence(numerators, denominator)
    second = (denominator * first @ adjugate(numerators)) // determinant(numerators)
    lower, upper = substrate.surface_lattice, film.surface_lattice
    stretch = np.linalg.solve(second @ upper @ TURNED_OVER, first @ lower)  # film's plane to the substrate's
    left, sizes, right = np.linalg.svd(stretch)
    # stretch = (symmetric part in the film's plane) @ turn
    turn = left @ right
    share = {"film": 1.0, "substrate": 0.0, "both": 0.5}[strained]
    film_map = left @ np.diag(sizes**share) @ left.T @ turn
    substrate_map = right.T @ np.diag(sizes ** (share - 1.0)) @ right
    _, change = reduce_basis(first @ lower @ substrate_map)
    matrices = change @ first, change @ second
    cell = matrices[0] @ lower @ substrate_map
    if np.linalg.det(cell) < 0:
        matrices = np.diag([1, -1]) @ matrices[0], np.diag([1, -1]) @ matrices[1]
        cell = np.diag([1, -1]) @ cell
    rotation = turn_to_x(cell)
    maps = substrate_map @ rotation, TURNED_OVER @ film_map @ rotation
    return Match(
        name=f"{substrate.label}|{film.label} {_write_matrix(first)}|{_write_matrix(second @ SEEN_FROM_BELOW)}",
        substrate=substrate,
        film=film,
        matrices=matrices,
        maps=maps,
        cell=cell @ rotation,
        strained=strained,
        strain=max(float(np.abs(np.linalg.eigvalsh(_strain_tensor(mapping))).max()) for mapping in maps),
    )


def _coincidence(numerators: IntArray, denominator: int) -> IntArray:
    """Superlattice of the substrate, in Hermite's form, that a rational map makes of vectors of the film's lattice.

    Rows n with n = m @ numerators / denominator for whole m: the film's vectors m form a superlattice of index at most denominator².
    """
    size = denominator
    whole = [
        (i, j) for i in range(size) for j in range(size) if not ((np.array([i, j]) @ numerators) % size).any()
    ]
    rows = np.array([*whole, (size, 0), (0, size)], dtype=np.int64)
    return hermite_form(rows[rows.any(axis=1)] @ numerators // size)


def _strain_tensor(mapping: FloatArray) -> FloatArray:
    """Strain (2, 2) of a map of rows, in the frame it leads to."""
    sizes, vectors = np.linalg.eigh(mapping.T @ mapping)
    tensor: FloatArray = vectors @ np.diag(np.sqrt(sizes) - 1.0) @ vectors.T
    return tensor


def _write_matrix(matrix: IntArray) -> str:
    """Write a superlattice as `2x1`, or as `(2 1;0 3)` where it is no multiple of the surface vectors."""
    (a, b), (c, d) = matrix.tolist()
    return f"{a}x{d}" if b == c == 0 and a > 0 and d > 0 else f"({a} {b};{c} {d})"


def _describe_nearest(substrates: Sequence[Slab], films: Sequence[Slab], limits: MatchLimits) -> str:
    """Say that nothing matches, which match is nearest, and which limits to raise for it."""
    given = f"area {limits.max_area:g} Å², strain {limits.max_strain:g}"
    if limits.max_atoms is not None:
        given += f", {limits.max_atoms} atoms"
    names = f"{substrates[0].solid.name} and {films[0].solid.name}"
    for factor in LOOSER:
        loose = MatchLimits(
            limits.max_area * factor, min(limits.max_strain * factor, MAX_LOOSE_STRAIN), None, limits.strained
        )
        found = _search(substrates, films, loose)
        if found:
            nearest = min(found, key=lambda match: (_excess(match, limits), match.name))
            raises = []
            if nearest.area > limits.max_area:
                raises.append(f"max_area to {math.ceil(nearest.area)}")
            if nearest.strain > limits.max_strain:
                raises.append(f"max_strain to {math.ceil(nearest.strain * 1000) / 1000:g}")
            if limits.max_atoms is not None and nearest.atoms > limits.max_atoms:
                raises.append(f"max_atoms to {nearest.atoms}")
            return (
                f"no planes of {names} match within {given}. The nearest is {nearest.name} ({nearest.area:.0f} Å², strain "
                f"{nearest.strain:.3f}, {nearest.atoms} atoms): raise {' and '.join(raises)}, or choose other planes"
            )
    return f"no planes of {names} match within {given}, nor within {LOOSER[-1]:g} times these limits. Choose other planes"


def _excess(match: Match, limits: MatchLimits) -> float:
    """Product of the factors by which a match is over the limits."""
    atoms = 1.0 if limits.max_atoms is None else max(1.0, match.atoms / limits.max_atoms)
    return max(1.0, match.area / limits.max_area) * max(1.0, match.strain / limits.max_strain) * atoms
