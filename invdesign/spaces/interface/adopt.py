"""Recognise the interface of a relaxed, seeded or generated bicrystal of a known match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.framework import element_at
from invdesign.spaces.interface.cell import InterfaceCell
from invdesign.spaces.interface.genomes import GenomeReader, Placed
from invdesign.spaces.interface.shifts import STEPS, to_steps
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.structures.cells import match_points, shorten_vectors

if TYPE_CHECKING:
    from pymatgen.core import Structure

LENGTH_TOLERANCE = (
    0.03  # largest relative difference of vectors in the plane (chosen; relaxation keeps the plane)
)
ANGLE_TOLERANCE = 2.0  # degrees, of the angle between them, and of the normal (chosen)
LARGEST_MOVE = (
    1.6  # Å from its site for an atom to be taken for its own, beyond the motion of its side (chosen)
)
ROUNDS = 4  # of nearest sites and mean displacements of the sides (chosen)
MOST_ORIGINS = 60  # atoms tried as the origin of a side in a structure of unknown shift (chosen)


@dataclass(frozen=True, eq=False)
class _Bicrystal:
    """Atoms of a structure in the frame of a match.

    Elements, positions (k, 3) in Å, and the cell.
    """

    elements: tuple[str, ...]
    positions: FloatArray
    cell: FloatArray


def recognise_interface(structure: Structure, reader: GenomeReader, parent: Placed | None) -> Placed | None:
    """Match a structure to an interface of the space; None where none fits.

    Args:
        structure: with the plane spanned by its first two vectors, and the normal along the third.
        reader: of the space, with its cells.
        parent: code of the genome that it was made from, tried first.
    """
    numbers = range(len(reader.cells))
    for number in sorted(numbers, key=lambda number: parent is None or number != parent.match):
        cell = reader.cells[number]
        atoms = _read_atoms(structure, cell)
        if atoms is None:
            continue
        if parent is not None and number == parent.match:
            found = _recognise_near(atoms, reader, number, parent.shift, parent.gap)
            if found is not None:
                return found
        start = _find_start(atoms, cell)
        if start is not None:
            found = _recognise_near(atoms, reader, number, *start)
            if found is not None:
                return found
    return None


def _read_atoms(structure: Structure, cell: InterfaceCell) -> _Bicrystal | None:
    """Atoms in the frame of a match.

    None where number of atoms or plane do not fit.
    """
    fewest = sum(bool(name) for name in cell.natives)
    if len(structure) != fewest:  # exchanges and depletions keep the number of atoms
        return None
    lattice = structure.lattice
    plane = cell.bicrystal.match.cell
    lengths = np.linalg.norm(plane, axis=1)
    angle = np.degrees(np.arccos(np.clip(plane[0] @ plane[1] / lengths.prod(), -1.0, 1.0)))
    off = np.abs(np.array(lattice.abc[:2]) / lengths - 1.0)
    tilted = max(abs(lattice.alpha - 90.0), abs(lattice.beta - 90.0), abs(lattice.gamma - angle))
    if off.max() > LENGTH_TOLERANCE or tilted > ANGLE_TOLERANCE:
        return None
    own = np.zeros((3, 3))
    own[:2, :2] = plane
    own[2, 2] = lattice.c
    elements = tuple(element_at(site) for site in structure)
    return _Bicrystal(elements, structure.frac_coords @ own, own)


def _recognise_near(
    atoms: _Bicrystal, reader: GenomeReader, number: int, shift: IntArray, gap: float
) -> Placed | None:
    """Interface of a match near a shift and a gap.

    None where atoms lie far from sites, or two share one.

    The film's mean displacement against the substrate's gives its shift and gap.
    """
    cell = reader.cells[number]
    moves = np.tile(_mean_offset(atoms, cell, shift, gap), (2, 1))  # of substrate and film, Å
    for _ in range(ROUNDS):
        sites = _site_positions(cell, shift, gap, moves)
        chosen, _ = match_points(atoms.positions, sites, atoms.cell)
        away = shorten_vectors(atoms.positions - sites[chosen], atoms.cell)
        for side in (0, 1):
            own = cell.is_film[chosen] == bool(side)
            near = own & (np.linalg.norm(away, axis=1) < LARGEST_MOVE)
            if near.any():
                moves[side] += np.median(away[near], axis=0)
    sites = _site_positions(cell, shift, gap, moves)
    chosen, distance = match_points(atoms.positions, sites, atoms.cell)
    if len(set(chosen.tolist())) < len(chosen) or distance.max() > LARGEST_MOVE:
        return None
    codes = _read_codes(atoms.elements, chosen, cell)
    if codes is None:
        return None
    relative = shorten_vectors(moves[1] - moves[0], atoms.cell)
    steps = to_steps(relative[:2] @ cell.to_shift)
    placed = Placed(
        number,
        cell.shifts.nearest_allowed(shift + steps),
        reader.round_gap(gap + float(relative[2])),
        codes,
    )
    return reader.to_canonical(placed)


def _site_positions(cell: InterfaceCell, shift: IntArray, gap: float, moves: FloatArray) -> FloatArray:
    """Positions of all sites, each side moved as a whole."""
    positions = cell.place(shift, gap)[1].copy()
    positions[~cell.is_film] += moves[0]
    positions[cell.is_film] += moves[1]
    return positions


def _mean_offset(atoms: _Bicrystal, cell: InterfaceCell, shift: IntArray, gap: float) -> FloatArray:
    """Common displacement of a structure against the match's own origin, for structures built from the match.

    Such a structure keeps its origin but for the drift of a relaxation, which is small: nearest sites tell it.
    """
    sites = cell.place(shift, gap)[1]
    chosen, distance = match_points(atoms.positions, sites, atoms.cell)
    near = distance < LARGEST_MOVE
    if not near.any():
        return np.zeros(3)
    away = shorten_vectors(atoms.positions[near] - sites[chosen[near]], atoms.cell)
    found: FloatArray = np.median(away, axis=0)
    return found


def _read_codes(elements: Sequence[str], chosen: IntArray, cell: InterfaceCell) -> IntArray | None:
    """Ordering (n,) of atoms on their sites.

    None where a species is not allowed there, or in such numbers.
    """
    found = [VACANCY] * len(cell.natives)
    for site, element in zip(chosen.tolist(), elements, strict=True):
        found[site] = element
    varying = set(cell.sites.places.tolist())
    for site, native in enumerate(cell.natives):
        if site not in varying and found[site] != (native or VACANCY):
            return None
    codes = np.zeros(len(cell.sites), dtype=np.int64)
    for group in cell.sites.groups:
        for place in range(group.first, group.stop):
            name = found[int(cell.sites.places[place])]
            if name not in group.species:
                return None
            codes[place] = group.species.index(name)
    if len(codes) and cell.sites.find_amounts(codes) is None:
        return None
    return codes


def _find_start(atoms: _Bicrystal, cell: InterfaceCell) -> tuple[IntArray, float] | None:
    """Shift and gap of a structure of unknown origin, from the places of both sides.

    None where a side fits nowhere.
    """
    zero = np.zeros(2, dtype=np.int64)
    sites = cell.place(zero, cell.gap)[1]
    solid = np.array([bool(name) for name in cell.natives])
    offsets: list[FloatArray] = []
    for film in (False, True):
        own = np.flatnonzero(solid & (cell.is_film == film))
        offset = _place_side(atoms, sites[own], [cell.natives[site] for site in own.tolist()])
        if offset is None:
            return None
        offsets.append(offset)
    relative = shorten_vectors(offsets[1] - offsets[0], atoms.cell)
    steps = to_steps(relative[:2] @ cell.to_shift)
    return np.mod(steps, STEPS), cell.gap + float(relative[2])


def _place_side(atoms: _Bicrystal, sites: FloatArray, natives: Sequence[str]) -> FloatArray | None:
    """Displacement (3,) that puts the sites of one side onto atoms of a structure.

    None where nothing fits.

    The rarest element of the side is put onto each of its atoms in turn.
    """
    counts = {name: natives.count(name) for name in dict.fromkeys(natives)}
    rarest = min(counts, key=lambda name: (counts[name], name))
    anchor = sites[natives.index(rarest)]
    origins = [place for place, name in enumerate(atoms.elements) if name == rarest][:MOST_ORIGINS]
    best: tuple[float, FloatArray] | None = None
    for origin in origins:
        offset = atoms.positions[origin] - anchor
        distance = match_points(sites + offset, atoms.positions, atoms.cell)[1]
        cost = float(np.minimum(distance, LARGEST_MOVE).mean())
        if best is None or cost < best[0] - 1e-9:
            best = cost, offset
    return best[1] if best is not None and best[0] < 0.5 * LARGEST_MOVE else None
