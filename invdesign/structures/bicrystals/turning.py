"""Slabs turned over: two matches may be the two planes of one sandwich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.bicrystals.lattices import adjugate, determinant, list_unimodular
from invdesign.structures.bicrystals.matches import TURNED_OVER, Key, Match, canonical_map, point_group
from invdesign.structures.bicrystals.slabs import Slab
from invdesign.structures.cells import shorten_vectors

SAME_PLACE = (
    0.05  # Å, positions of atoms of two slabs that are one; chosen: files miss their symmetry by 0.01 Å
)


def drop_turned_sandwiches(matches: Sequence[Match]) -> list[Match]:
    """Drop every match whose sandwich is that of an earlier match turned over.

    A sandwich has two planes. Its second one, seen from the other side, is the first plane of the match of both lower surfaces.

    Args:
        matches: of slabs of two solids.
    """
    slabs = [
        {slab.label: slab for slab in side}
        for side in ([match.substrate for match in matches], [match.film for match in matches])
    ]
    turned = [
        {label: _find_turned(slab, list(side.values())) for label, slab in side.items()} for side in slabs
    ]
    seen: set[tuple[str, str, Key]] = set()
    kept = []
    for match in matches:
        if _name(match.substrate, match.film, _rational(match.matrices)) in seen:
            continue
        kept.append(match)
        below, above = turned[0][match.substrate.label], turned[1][match.film.label]
        if below is not None and above is not None:
            (substrate, first), (film, second) = below, above
            numerators, denominator = _rational(match.matrices)
            sign = determinant(first)
            image = second @ numerators @ adjugate(first) * sign
            seen.add(_name(substrate, film, (image, denominator)))
    return kept


def _rational(matrices: tuple[IntArray, IntArray]) -> tuple[IntArray, int]:
    """Map from the film's lattice to the substrate's, as numerators (2, 2) and their denominator."""
    first, second = matrices
    return adjugate(second) @ first, determinant(second)


def _name(substrate: Slab, film: Slab, rational: tuple[IntArray, int]) -> tuple[str, str, Key]:
    """Labels of both slabs and the simplest image of the map between their lattices."""
    return substrate.label, film.label, canonical_map(*rational, point_group(substrate), point_group(film))


def _find_turned(slab: Slab, others: Sequence[Slab]) -> tuple[Slab, IntArray] | None:
    """Find the slab that another one is once it is turned over.

    Returns:
        The slab, and the whole-number matrix (2, 2) that makes its surface vectors from those of `slab`; None if it is not among
        the others.
    """
    flat = slab.surface_lattice @ TURNED_OVER
    points = slab.positions * [1.0, -1.0, -1.0] - [0.0, 0.0, slab.thickness]
    for other in others:
        if other.plane != slab.plane or len(other) != len(slab):
            continue
        for change, turn in _list_turns(flat, other.surface_lattice):
            moved = np.column_stack([points[:, :2] @ turn, points[:, 2]])
            if _coincide(moved, slab.elements, other):
                return other, change
    return None


def _list_turns(first: FloatArray, second: FloatArray) -> Iterator[tuple[IntArray, FloatArray]]:
    """List isometries (2, 2) from one lattice onto another, each after the change of basis (2, 2) it needs."""
    for change in list_unimodular():
        turn = np.linalg.solve(change @ first, second)
        if np.abs(turn @ turn.T - np.eye(2)).max() < 1e-5:
            yield change, turn


def _coincide(points: FloatArray, elements: Sequence[str], slab: Slab) -> bool:
    """True if points (n, 3) are a slab's atoms, up to a shift in the plane."""
    same = np.array(elements)[:, None] == np.array(slab.elements)[None, :]
    heights = np.abs(points[:, None, 2] - slab.positions[None, :, 2])
    same &= heights < SAME_PLACE
    if not same.any(axis=1).all():
        return False
    rarest = int(same.sum(axis=1).argmin())
    for goal in np.flatnonzero(same[rarest]):
        apart = (
            points[:, None, :2]
            - points[rarest, :2]
            - (slab.positions[None, :, :2] - slab.positions[goal, :2])
        )
        distance = np.linalg.norm(shorten_vectors(apart, slab.surface_lattice), axis=2)
        if (same & (distance < SAME_PLACE)).any(axis=1).all():
            return True
    return False
