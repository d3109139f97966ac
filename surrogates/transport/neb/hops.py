"""Hops of an ion between neighbouring sites, grouped by symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.cells import match_points
from surrogates.pairs import find_pairs
from surrogates.transport.neb.lattices import Crystal, Operation

# Share by which the squares of two short hops may exceed that of the long one which they replace; chosen: sites
# of a relaxed crystal that form a right angle do so within about a degree.
RIGHT_ANGLE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop from one site to another, or to a periodic image.

    Attributes:
        start, end: numbers of the sites.
        cells: cell of the end seen from the start.
    """

    start: int
    end: int
    cells: tuple[int, int, int]

    @property
    def key(self) -> tuple[int, ...]:
        """The same for either direction."""
        return min(
            (self.start, self.end, *self.cells),
            (self.end, self.start, *(-n for n in self.cells)),
        )


@dataclass(frozen=True, slots=True)
class HopClass:
    """Hops that symmetry maps onto each other.

    Attributes:
        hop: the one that stands for all.
        vector: shape (3,), from its start to its end, Å.
        members: all hops of the class in one cell, each in one direction.
        reversals: numbers of the operations that map the hop onto its own reverse.
    """

    hop: Hop
    vector: FloatArray
    members: tuple[Hop, ...]
    reversals: tuple[int, ...]

    @property
    def length(self) -> float:
        """Distance of the sites, Å."""
        return float(np.linalg.norm(self.vector))


def find_hops(crystal: Crystal, sites: FloatArray, reach: float) -> tuple[HopClass, ...]:
    """Find the symmetry-distinct hops between sites, shortest first.

    A hop is left out where two shorter ones over a site between lead the same way: where that site lies in the
    sphere whose diameter is the hop.

    Args:
        crystal: gives cell and symmetry.
        sites: shape (s, 3), Å; the symmetry maps them onto each other.
        reach: longest hop, Å.

    Source:
        The rule for neighbours is the graph of Gabriel and Sokal, Syst. Zool. 18, 259 (1969).
    """
    first, second, cells, distance = find_pairs(sites, crystal.cell, reach)
    vectors = sites[second] + cells @ crystal.cell - sites[first]
    kept = _are_direct(first, vectors, distance)
    hops: dict[tuple[int, ...], tuple[Hop, FloatArray]] = {}
    for k in np.flatnonzero(kept):
        hop = Hop(int(first[k]), int(second[k]), (int(cells[k, 0]), int(cells[k, 1]), int(cells[k, 2])))
        if hop.key == (hop.start, hop.end, *hop.cells):
            hops[hop.key] = (hop, vectors[k])
    order = sorted(hops.values(), key=lambda pair: (round(float(np.linalg.norm(pair[1])), 3), pair[0].key))
    return _group_hops(crystal, sites, order)


def _are_direct(first: IntArray, vectors: FloatArray, distance: FloatArray) -> np.ndarray:
    """True for each pair without a site in the sphere around its middle, shape (p,)."""
    direct = np.ones(len(first), dtype=np.bool_)
    for site in np.unique(first):
        own = np.flatnonzero(first == site)
        squares = distance[own] ** 2
        # |to|^2 of the site between, and |from|^2 from there to the end
        onwards = ((vectors[own][:, None] - vectors[own]) ** 2).sum(axis=2)
        detour = squares[None, :] + onwards
        between = (onwards > 1e-6) & (detour <= squares[:, None] * (1 + RIGHT_ANGLE_TOLERANCE))
        direct[own] = ~between.any(axis=1)
    return direct


def _group_hops(
    crystal: Crystal, sites: FloatArray, hops: list[tuple[Hop, FloatArray]]
) -> tuple[HopClass, ...]:
    maps = [_map_sites(crystal, sites, operation) for operation in crystal.operations]
    todo = {hop.key: (hop, vector) for hop, vector in hops}
    classes = []
    while todo:
        hop, vector = next(iter(todo.values()))
        members: dict[tuple[int, ...], Hop] = {}
        reversals = []
        for number, (image, cells) in enumerate(maps):
            turned = crystal.operations[number].whole @ np.array(hop.cells)
            there = turned + cells[hop.end] - cells[hop.start]
            moved = Hop(
                int(image[hop.start]), int(image[hop.end]), (int(there[0]), int(there[1]), int(there[2]))
            )
            members.setdefault(moved.key, moved)
            if moved == Hop(hop.end, hop.start, (-hop.cells[0], -hop.cells[1], -hop.cells[2])):
                reversals.append(number)
        held = tuple(found for key, found in members.items() if todo.pop(key, None) is not None)
        classes.append(HopClass(hop, vector, held, tuple(reversals)))
    return tuple(sorted(classes, key=lambda one: (round(one.length, 3), len(one.members))))


def _map_sites(crystal: Crystal, sites: FloatArray, operation: Operation) -> tuple[IntArray, IntArray]:
    """Site onto which an operation moves each site, and the cell that image lies in.

    Returns:
        Shapes (s,) and (s, 3).
    """
    moved = operation.move_points(sites)
    image, _ = match_points(moved, sites, crystal.cell)
    cells = np.rint((moved - sites[image]) @ np.linalg.inv(crystal.cell)).astype(np.int64)
    return image, cells
