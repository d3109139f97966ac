"""First path of a hop: an interpolation that keeps atoms apart."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.cells import match_points
from surrogates.pairs import find_pairs

PAIR_REACH = 5.0  # Å; chosen: weights fall with the fourth power, so pairs beyond it hardly count
MAX_MOVES = 200  # chosen: most paths need some 30
FLAT_FORCE = 0.02  # 1/Å^3, of the objective; chosen: a path of a tenth of this is the same to 0.01 Å
BLOCKED_DISTANCE = (
    1.2  # Å between the ion and an atom on its straight path, below which it goes around; chosen
)
DETOUR_SIZES = (0.5, 1.0, 1.5, 2.0)  # Å
DETOUR_ANGLES = 24  # directions across the hop
DETOUR_POINTS = 15  # of a path, at which its room is measured; chosen
LONGEST_MOVE = 0.05  # Å of an atom in one move; chosen


def choose_detour(start: FloatArray, end: FloatArray, cell: FloatArray) -> FloatArray:
    """Choose the way around an atom that the straight path of the ion would run into.

    Args:
        start, end: shape (n, 3), Å, the moving ion last.
        cell: shape (3, 3), rows in Å.

    Returns:
        Shape (3,), Å, across the hop: the offset of the ion in its middle that leaves it most room; zero where the
        straight path has enough.
    """
    way = end[-1] - start[-1]
    shares = np.linspace(0.0, 1.0, DETOUR_POINTS)
    straight = start[-1] + shares[:, None] * way
    others = (start[:-1] + end[:-1]) / 2
    if _measure_room(straight, others, cell) >= BLOCKED_DISTANCE:
        return np.zeros(3)
    # Two directions across the way.
    across = np.linalg.svd(way[None])[2][1:]
    angles = np.arange(DETOUR_ANGLES) * 2 * np.pi / DETOUR_ANGLES
    offsets = [
        size * (np.cos(angle) * across[0] + np.sin(angle) * across[1])
        for size in DETOUR_SIZES
        for angle in angles
    ]
    bend = np.sin(np.pi * shares)[:, None]
    rooms = [round(_measure_room(straight + bend * offset, others, cell), 2) for offset in offsets]
    best: FloatArray = offsets[int(np.argmax(rooms))]
    return best


def _measure_room(points: FloatArray, others: FloatArray, cell: FloatArray) -> float:
    """Shortest distance of any of `points` (p, 3) from any of `others` (n, 3), Å."""
    return float(match_points(points, others, cell)[1].min())


def interpolate_path(
    start: FloatArray, end: FloatArray, cell: FloatArray, images: int, detour: FloatArray | None = None
) -> FloatArray:
    """Interpolate between two arrangements of the same atoms, keeping atoms apart.

    The distances of all near pairs are interpolated, rather than the positions: each image is moved, across the
    path, to where its distances fit them best. Pairs keep their periodic images along the whole path, so no
    distance jumps as an atom passes the middle between two images.

    Args:
        start, end: shape (n, 3), Å, positions that are not wrapped: atoms move straight from one to the other.
        cell: shape (3, 3), rows in Å.
        images: number of arrangements between.
        detour: shape (3,), Å, offset of the last atom in the middle of the straight path.

    Returns:
        Shape (images + 2, n, 3), Å.

    Source:
        Smidstrup, Pedersen, Stokbro and Jónsson, J. Chem. Phys. 140, 214106 (2014).
    """
    share = np.linspace(0.0, 1.0, images + 2)[:, None, None]
    path = start + share * (end - start)
    if detour is not None:
        path[:, -1] += np.sin(np.pi * share[:, 0]) * detour
    pairs = _near_pairs(path, cell)
    first = np.linalg.norm(_pair_vectors(start[None], pairs, cell)[0], axis=1)
    last = np.linalg.norm(_pair_vectors(end[None], pairs, cell)[0], axis=1)
    wanted = first + share[1:-1, :, 0] * (last - first)
    inner = path[1:-1].copy()
    velocity = np.zeros_like(inner)
    for _ in range(MAX_MOVES):
        force = _pair_forces(inner, pairs, cell, wanted)
        full = np.concatenate([start[None], inner, end[None]])
        across = full[2:] - full[:-2]
        across /= np.linalg.norm(across, axis=(1, 2), keepdims=True)
        force -= (force * across).sum(axis=(1, 2), keepdims=True) * across
        if np.linalg.norm(force, axis=2).max(initial=0.0) < FLAT_FORCE:
            break
        # Velocities along the force alone are kept: quick minimisation, as for the band in the source.
        along = (velocity * force).sum(axis=(1, 2), keepdims=True)
        size = (force**2).sum(axis=(1, 2), keepdims=True)
        velocity = np.where(along > 0, along * force / np.maximum(size, 1e-300), 0.0) + force
        longest = np.linalg.norm(velocity, axis=2).max(axis=1)[:, None, None]
        inner += velocity * np.minimum(1.0, LONGEST_MOVE / np.maximum(longest, 1e-300))
    return np.concatenate([start[None], inner, end[None]])


Pairs = tuple[IntArray, IntArray, IntArray]


def _near_pairs(path: FloatArray, cell: FloatArray) -> Pairs:
    """Pairs within reach in some arrangement.

    Both atoms and the cell of the second, each pair once.
    """
    rows = []
    for positions in path:
        first, second, cells, _ = find_pairs(positions, cell, PAIR_REACH)
        rows.append(np.column_stack([first, second, cells]))
    every = np.unique(np.concatenate(rows), axis=0).astype(np.int64)
    back = np.column_stack([every[:, 1], every[:, 0], -every[:, 2:]])
    once = np.array(
        [tuple(a) < tuple(b) for a, b in zip(every.tolist(), back.tolist(), strict=True)], dtype=bool
    )
    kept = every[once & (every[:, 0] != every[:, 1])]
    return kept[:, 0], kept[:, 1], kept[:, 2:]


def _pair_vectors(images: FloatArray, pairs: Pairs, cell: FloatArray) -> FloatArray:
    """Vectors of all pairs in each image, shape (m, p, 3), Å."""
    first, second, cells = pairs
    vectors: FloatArray = images[:, second] + cells @ cell - images[:, first]
    return vectors


def _pair_forces(images: FloatArray, pairs: Pairs, cell: FloatArray, wanted: FloatArray) -> FloatArray:
    """Forces of sum (wanted - d)^2 / d^4 on the atoms of each image, shape (m, n, 3)."""
    first, second, _ = pairs
    vectors = _pair_vectors(images, pairs, cell)
    apart = np.maximum(np.linalg.norm(vectors, axis=2), 0.1)
    misfit = wanted - apart
    slope = -2 * misfit * (apart + 2 * misfit) / apart**5
    pull = (slope / apart)[:, :, None] * vectors
    forces = np.zeros_like(images)
    for k in range(len(images)):
        np.add.at(forces[k], first, pull[k])
        np.add.at(forces[k], second, -pull[k])
    return forces
