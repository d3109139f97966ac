"""Non-dominated trials that lead a swarm where there are several objectives: a bounded set, and whom to follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import History
from invdesign.rng import Rng


def extend_archive(history: History, members: Sequence[int], new: Sequence[int], size: int) -> list[int]:
    """Ids, ascending, of the feasible non-dominated trials among both; the most crowded go where there are too many.

    Crowded ones go one at a time, so that the rest stay spread; what the history says now of earlier members counts.
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
    """Rows of `values` (n, m) to follow, (followers,): each the less crowded of two drawn at random.

    Source:
        Raquel & Naval, Proc. GECCO 2005, 257; Coello, Pulido & Lechuga, IEEE Trans. Evol. Comput. 8, 256 (2004).
    """
    room = pareto.crowding_distance(values)
    pairs = rng.integers(len(values), size=(followers, 2))
    return np.where(room[pairs[:, 0]] >= room[pairs[:, 1]], pairs[:, 0], pairs[:, 1])


def choose_by_sigma(values: FloatArray, own: FloatArray) -> IntArray:
    """Rows of `values` (n, m) to follow, (k,): for each row of `own` (k, m) the one that lies in its direction.

    Objectives are scaled to the archive's extent first. Unknown values (NaN) follow the first member.

    Source:
        Mostaghim & Teich, Proc. IEEE Swarm Intelligence Symposium 2003, 26 (the sigma method).
    """
    low, high = values.min(axis=0), values.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    members, followers = _sigma_vectors((values - low) / width), _sigma_vectors((own - low) / width)
    distance = np.linalg.norm(followers[:, None] - members[None], axis=2)
    return np.asarray(np.argmin(np.nan_to_num(distance, nan=np.inf), axis=1), dtype=np.int64)


def _sigma_vectors(scaled: FloatArray) -> FloatArray:
    """Differences of the squares of all pairs of objectives over the sum of squares, (n, m (m - 1) / 2)."""
    squares = scaled**2
    first, second = np.triu_indices(squares.shape[1], 1)
    total = np.maximum(squares.sum(axis=1, keepdims=True), 1e-300)
    directions: FloatArray = (squares[:, first] - squares[:, second]) / total
    return directions


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is no worse than b in any minimised value, and better in one."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)
