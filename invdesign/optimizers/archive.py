"""Archive of non-dominated trials that lead a swarm with several objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import History
from invdesign.rng import Rng


def extend_archive(history: History, members: Sequence[int], new: Sequence[int], size: int) -> list[int]:
    """Extend an archive of feasible non-dominated trials.

    Args:
        history: the run's.
        members: numbers of the trials in the archive.
        new: numbers of new trials.
        size: largest size; beyond it the most crowded trials are dropped.

    Returns:
        Numbers of the trials, ascending.
    """
    ids = sorted({*members, *new})
    if not ids:
        return []
    scores = history.scores(ids)
    front = scores.front()
    values, chosen = scores.values[front], scores.ids[front]
    while len(chosen) > size:
        out = int(np.argmin(pareto.crowding_distance(values)))
        values, chosen = np.delete(values, out, axis=0), np.delete(chosen, out)
    found: list[int] = chosen.tolist()
    return found


def choose_by_crowding(values: FloatArray, followers: int, rng: Rng) -> IntArray:
    """Choose leaders: for each follower the less crowded of two random members.

    Args:
        values: shape (n, m), minimised values of the members.
        followers: number of followers.
        rng: draws the pairs.

    Returns:
        Rows of `values`, shape (followers,).

    Source:
        Raquel & Naval, Proc. GECCO 2005, 257; Coello, Pulido & Lechuga, IEEE Trans. Evol. Comput. 8, 256 (2004).
    """
    room = pareto.crowding_distance(values)
    pairs = rng.integers(len(values), size=(followers, 2))
    return np.where(room[pairs[:, 0]] >= room[pairs[:, 1]], pairs[:, 0], pairs[:, 1])


def choose_by_sigma(values: FloatArray, own: FloatArray) -> IntArray:
    """Choose leaders: for each follower the member in its own direction.

    Args:
        values: shape (n, m), minimised values of the members.
        own: shape (k, m), values of the followers.

    Returns:
        Rows of `values`, shape (k,).

    Source:
        Mostaghim & Teich, Proc. IEEE Swarm Intelligence Symposium 2003, 26 (the sigma method).
    """
    low, high = values.min(axis=0), values.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    members, followers = _sigma_vectors((values - low) / width), _sigma_vectors((own - low) / width)
    distance = np.linalg.norm(followers[:, None] - members[None], axis=2)
    return np.asarray(np.argmin(np.nan_to_num(distance, nan=np.inf), axis=1), dtype=np.int64)


def _sigma_vectors(scaled: FloatArray) -> FloatArray:
    """Sigma vectors of scaled values, shape (n, m (m - 1) / 2).

    Differences of the squares of all pairs of objectives, over the sum of squares.
    """
    squares = scaled**2
    first, second = np.triu_indices(squares.shape[1], 1)
    total = np.maximum(squares.sum(axis=1, keepdims=True), 1e-300)
    directions: FloatArray = (squares[:, first] - squares[:, second]) / total
    return directions


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """True if `a` is nowhere worse than `b` and somewhere better (minimised values)."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)
