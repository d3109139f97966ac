"""Symmetry of a pair of slabs.

How it moves the shift of the film and permutes the sites of a bicrystal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.bicrystals.lattices import (
    conjugate,
    determinant,
    hermite_form,
    list_cosets,
    number_cosets,
    reduce_basis,
    sum_lattice,
)
from invdesign.structures.bicrystals.matches import Match
from invdesign.structures.bicrystals.slabs import Slab, SlabOperation

SAME_SHIFT = 1e-6  # fraction of the displacement cell; shifts that differ less are equal, chosen
SHIFT_DECIMALS = 9  # of a canonical shift; far below any difference of energies, chosen


@dataclass(frozen=True, eq=False)
class PairOperation:
    """An operation that makes the same bicrystal from another shift and other sites.

    The bicrystal of shift s with element e[i] on site i is congruent to that of shift `rotation` @ s + `translation` with element
    e[i] on site `permutation[i]`, at equal gap. Shifts are columns of fractions of the displacement cell. Equal shifts are those that
    differ by a vector of the bicrystal's own cell: a whole number of displacement cells alone permutes sites too, so it is an operation.

    Attributes:
        rotation: shape (2, 2), whole numbers.
        translation: shape (2,), fractions of the displacement cell.
        permutation: shape (n,), site i moves to permutation[i].
        swaps_planes: both slabs are turned over, so the two planes of a sandwich are exchanged.
    """

    rotation: IntArray
    translation: FloatArray
    permutation: IntArray
    swaps_planes: bool

    def move_shift(self, shift: FloatArray) -> FloatArray:
        """Shift (2,) of the image of a bicrystal."""
        return self.rotation @ np.asarray(shift, dtype=np.float64) + self.translation


@dataclass(frozen=True, eq=False)
class PairSymmetry:
    """All operations of a bicrystal.

    One for each pair of slab operations and each vector of the displacement lattice.

    Operation number `point * len(moves) + move` is the point operation followed by the translation.

    Attributes:
        displacement_cell: shape (2, 2), Å.
        rotations: shape (k, 2, 2), of the point operations on columns of fractions.
        translations: shape (k, 2).
        permutations: shape (k, n).
        swaps: shape (k,), true where the planes are exchanged.
        moves: shape (t, 2), vectors of the displacement lattice in its cell, one for each class modulo the bicrystal's cell.
        move_permutations: shape (t, n).
        supercell: shape (2, 2), the bicrystal's cell in displacement cells, in Hermite's form.
    """

    displacement_cell: FloatArray
    rotations: IntArray
    translations: FloatArray
    permutations: IntArray
    swaps: np.ndarray
    moves: IntArray
    move_permutations: IntArray
    supercell: IntArray

    def __len__(self) -> int:
        return len(self.rotations) * len(self.moves)

    @cached_property
    def operations(self) -> tuple[PairOperation, ...]:
        """All operations, the identity first."""
        return tuple(self.get_operation(index) for index in range(len(self)))

    def get_operation(self, index: int) -> PairOperation:
        """Operation of a number."""
        point, move = divmod(index, len(self.moves))
        return PairOperation(
            self.rotations[point],
            self.translations[point] + self.moves[move],
            self.move_permutations[move][self.permutations[point]],
            bool(self.swaps[point]),
        )

    def canonical_shift(self, shift: FloatArray, *, swaps: bool = True) -> tuple[FloatArray, tuple[int, ...]]:
        """Find the canonical one of all shifts that give the same bicrystal.

        Args:
            shift: shape (2,), fractions of the displacement cell.
            swaps: also use operations that exchange the planes of a sandwich.

        Returns:
            Canonical shift (2,) in [0, 1), and the numbers of all operations that lead from `shift` to it.
        """
        kept = np.flatnonzero(~self.swaps | swaps)
        images = self.rotations[kept] @ np.asarray(shift, dtype=np.float64) + self.translations[kept]
        whole = np.floor(images + SAME_SHIFT)
        rest = np.maximum(images - whole, 0.0)
        # Compared in steps of the tolerance, so that rounding does not choose between equal images.
        steps = np.round(rest / SAME_SHIFT).astype(np.int64)
        best = min(steps.tolist())
        chosen = np.flatnonzero(np.abs(steps - best).max(axis=1) <= 1)
        numbers = number_cosets(self.supercell, -whole[chosen].astype(np.int64))
        found = np.round(rest[chosen[0]], SHIFT_DECIMALS) + 0.0
        operations = (
            int(kept[point] * len(self.moves) + move)
            for point, move in zip(chosen, self._move_numbers[numbers], strict=True)
        )
        return found, tuple(operations)

    @cached_property
    def _move_numbers(self) -> IntArray:
        """Number of the move of each class of displacement vectors, shape (t,)."""
        found = np.empty(len(self.moves), dtype=np.int64)
        found[number_cosets(self.supercell, self.moves)] = np.arange(len(self.moves))
        return found


def find_displacement_cell(match: Match) -> tuple[FloatArray, IntArray]:
    """Find the cell of displacements that give different bicrystals.

    Its lattice is spanned by both surface lattices, as strained: a shift by a vector of either gives the same bicrystal.

    Returns:
        Reduced cell (2, 2) in Å, and the bicrystal's cell (2, 2) in its vectors, whole numbers.
    """
    basis, size = sum_lattice(*match.matrices)
    cell, change = reduce_basis(basis @ match.cell / size)
    if np.linalg.det(cell) < 0:
        cell[1], change[1] = -cell[1], -change[1]
    inverse = np.linalg.inv(change @ basis) * size
    return cell, np.round(inverse).astype(np.int64)


def find_pair_symmetry(match: Match, *, flips: bool) -> PairSymmetry:
    """Find the operations that both slabs of a match have in common.

    Args:
        match: the match.
        flips: also find operations that turn both slabs over, as a sandwich allows.
    """
    cell, supercell = find_displacement_cell(match)
    below, above = _Sites(match, 0), _Sites(match, 1)
    count = below.count
    rotations, translations, permutations, swaps = [], [], [], []
    for first, second, common in _list_common(match, flips):
        to_fractions = np.linalg.inv(cell)
        turn = np.linalg.inv(match.cell) @ common @ match.cell  # acts on rows in Å
        rotations.append(np.round((cell @ turn @ to_fractions).T).astype(np.int64))
        moved = first.translation @ match.maps[0] - second.translation @ match.maps[1]
        translations.append(moved @ to_fractions)
        permutations.append(np.concatenate([below.permute(first), count + above.permute(second)]))
        swaps.append(first.flips)
    moves, move_permutations = _list_moves(match, supercell, below, above)
    return PairSymmetry(
        cell,
        np.array(rotations),
        close_translations(np.array(rotations), np.array(translations)),
        np.array(permutations),
        np.array(swaps, dtype=np.bool_),
        moves,
        move_permutations,
        hermite_form(supercell),
    )


def close_translations(rotations: IntArray, translations: FloatArray) -> FloatArray:
    """Remove noise from the translations of a group, so that products of its operations are again its operations.

    For any S of a group of g operations t(RS) = t(R) + R t(S) modulo 1. The sum over all S gives g t(R) = (1 - R) T modulo 1 with
    T the sum of all t. From the origin T / g every translation is therefore a whole multiple of 1/g, to which it is rounded.

    Args:
        rotations: shape (g, 2, 2), of a group; acting on columns.
        translations: shape (g, 2), in cells.

    Returns:
        Shape (g, 2); modulo 1 as close to those given as these are to a group's.
    """
    order = len(rotations)
    origin = translations.sum(axis=0) / order
    moved = (np.eye(2) - rotations) @ origin
    return np.asarray(np.round((translations - moved) * order) / order + moved, dtype=np.float64)


def _list_common(match: Match, flips: bool) -> Iterator[tuple[SlabOperation, SlabOperation, IntArray]]:
    """List pairs of slab operations with one rotational part, and that part (2, 2) in the common cell."""
    lower, upper = match.matrices
    by_part: dict[tuple[bytes, bool], list[tuple[SlabOperation, IntArray]]] = {}
    for operation in match.film.operations:
        part = conjugate(upper, operation.matrix)
        if part is not None:
            by_part.setdefault((part.tobytes(), operation.flips), []).append((operation, part))
    for operation in match.substrate.operations:
        part = conjugate(lower, operation.matrix)
        if part is None or (operation.flips and not flips):
            continue
        for other, common in by_part.get((part.tobytes(), operation.flips), []):
            yield operation, other, common


class _Sites:
    """Sites of one side of a bicrystal.

    Each surface cell of the supercell holds the slab's atoms in their order.
    """

    def __init__(self, match: Match, side: int) -> None:
        self.slab: Slab = (match.substrate, match.film)[side]
        self.matrix = match.matrices[side]
        self.cells = list_cosets(self.matrix)
        self.count = len(self.cells) * len(self.slab)

    def permute(self, operation: SlabOperation) -> IntArray:
        """Site to which each site moves, shape (n,)."""
        moved = (self.cells @ operation.matrix)[:, None, :] + operation.offsets[None, :, :]
        cells = number_cosets(self.matrix, moved)
        return np.asarray(cells * len(self.slab) + operation.sites[None, :], dtype=np.int64).ravel()

    def translate(self, vector: IntArray) -> IntArray:
        """Site to which each site moves by a vector (2,) of the surface lattice, shape (n,)."""
        cells = number_cosets(self.matrix, self.cells + vector)
        return np.asarray(
            cells[:, None] * len(self.slab) + np.arange(len(self.slab))[None, :], dtype=np.int64
        ).ravel()


def _list_moves(match: Match, supercell: IntArray, below: _Sites, above: _Sites) -> tuple[IntArray, IntArray]:
    """List vectors of the displacement lattice modulo the bicrystal's cell, with the permutations they stand for.

    A shift by a sum of a substrate's vector u and a film's vector v leaves the bicrystal as it is if the elements of the substrate's
    sites move by u and those of the film's by -v; u and v are unique modulo the bicrystal's cell.
    """
    lower, upper = match.matrices
    size_below, size_above = abs(determinant(lower)), abs(determinant(upper))
    denominator = size_below * size_above
    in_cell = np.round(np.linalg.inv(supercell) * denominator).astype(np.int64)  # displacement vectors
    first = np.round(np.linalg.inv(lower) * denominator).astype(np.int64)
    second = np.round(np.linalg.inv(upper) * denominator).astype(np.int64)
    numbers: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}
    for u in below.cells:
        for v in above.cells:
            place = (u @ first + v @ second) % denominator
            numbers[int(place[0]), int(place[1])] = u, v
    moves = list_cosets(supercell)
    permutations = []
    for move in moves:
        place = (move @ in_cell) % denominator
        u, v = numbers[int(place[0]), int(place[1])]
        permutations.append(np.concatenate([below.translate(u), below.count + above.translate(-v)]))
    return moves, np.array(permutations)
