"""Which of several optimizers is asked next: what each has lately added to the run, against what others added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray
from invdesign.optimizers import archive
from invdesign.problem import Merit
from invdesign.protocols import History
from invdesign.rng import Rng

Credit = dict[str, list[float]]  # won and lost of late, by name

MAX_FRONT_MEMBERS = 60  # members of the front by which gains of several objectives are measured
RECENT_TRIALS = 40  # trials whose median is the measure of a gain of one objective
REMEMBERED_GAINS = 40  # earlier gains that a new one is compared with
MAX_HYPERVOLUME_OBJECTIVES = 5  # hypervolumes of more take too long at every tell
STATE_DIGITS = 6  # of credit and gains in the state: plain, short JSON


def measure_gain(history: History, known: Sequence[int], new: Sequence[int]) -> float:
    """What new trials add to a run, between 0 (nothing) and 1 (a better class of merit, as the first feasible one).

    With one objective, how far the best has moved, as a share of its new distance to the median of what is known.
    With several, the share of the hypervolume that is new. Both are the same on any scale of the objectives.

    Args:
        history: the run's.
        known: trials that stand for what the run had.
        new: finished trials.
    """
    scores = history.scores([*known, *new])
    old, fresh = np.arange(len(known)), np.arange(len(known), len(scores.ids))
    best = int(scores.merit[fresh].min()) if len(fresh) else int(Merit.PENDING)
    if best >= Merit.INFEASIBLE:
        return 0.0
    before = int(scores.merit[old].min()) if len(old) else int(Merit.PENDING)
    if best != before:
        return float(best < before)
    old, fresh = old[scores.merit[old] == best], fresh[scores.merit[fresh] == best]
    if best != Merit.FEASIBLE or scores.values.shape[1] == 1:
        by = scores.values[:, 0] if best == Merit.FEASIBLE else scores.tie_breakers()
        return _relative_advance(by[old], by[fresh])
    return _new_volume_share(scores.values[old], scores.values[fresh])


def _relative_advance(old: FloatArray, new: FloatArray) -> float:
    """How far the smallest value has moved, as a share of its distance to the old median."""
    moved = float(old.min() - new.min())
    if not moved > 0.0:
        return 0.0
    return float(moved / (moved + np.median(old) - old.min())) if np.isfinite(moved) else 1.0


def _new_volume_share(old: FloatArray, new: FloatArray) -> float:
    """Share of the dominated volume, or of a front of many objectives, that is new."""
    union = np.concatenate([old, new])
    front = pareto.front(union)
    if union.shape[1] > MAX_HYPERVOLUME_OBJECTIVES:
        return float(np.mean(front >= len(old)))
    best, worst = union[front].min(axis=0), union[front].max(axis=0)
    worst = np.where(worst > best, worst, union.max(axis=0))  # a front of one point has no extent of its own
    reference = worst + pareto.REFERENCE_MARGIN * np.where(worst > best, worst - best, 1.0)
    volume = pareto.hypervolume(union[front], reference)
    return max(1.0 - pareto.hypervolume(old, reference) / volume, 0.0) if volume > 0.0 else 0.0


def choose_elite(history: History, members: Sequence[int], new: Sequence[int]) -> list[int]:
    """Trials that stand for what the run has found, `new` ones included: the best, or a front of a bounded size."""
    ids = sorted({*members, *new})
    if not ids:
        return []
    scores = history.scores(ids)
    first = int(scores.order()[0])
    if scores.values.shape[1] == 1 or scores.merit[first] != Merit.FEASIBLE:
        return [int(scores.ids[first])]
    return archive.extend_archive(history, members, new, MAX_FRONT_MEMBERS)


def rank_gain(gained: float, earlier: Sequence[float]) -> float:
    """The place of a gain among earlier ones: 0 for none at all, near 1 for the largest.

    Places are the same whatever the objectives measure, and go on telling members apart where all gains have become
    small. Fialho, PhD thesis, Université Paris-Sud XI (2010), section 4.4 (rank-based credit).
    """
    if gained <= 0.0:
        return 0.0
    below = sum(1.0 if gained > other else 0.5 if gained == other else 0.0 for other in earlier)
    return (below + 0.5) / (len(earlier) + 1.0)


def credit_member(credit: Mapping[str, Sequence[float]], name: str, earned: float, kept: float) -> Credit:
    """Credit after member `name` earned something between 0 and 1; what was before counts `kept` of what it did."""
    new = {member: [kept * won, kept * lost] for member, (won, lost) in credit.items()}
    new[name][0] += earned
    new[name][1] += 1.0 - earned
    return {member: [round(number, STATE_DIGITS) for number in pair] for member, pair in new.items()}


def sample_order(credit: Mapping[str, Sequence[float]], least: float, rng: Rng) -> list[str]:
    """Whom to ask, and whom then, where the first have nothing to propose.

    Thompson sampling: each draws from what its credit leaves possible, and the highest goes first. With a probability
    of `least` for each, one goes first whatever its credit. Credit that is forgotten leaves more possible, so that
    who was not asked for long is tried again.

    Source:
        Thompson, Biometrika 25, 285 (1933); Raj & Kalyani, arXiv:1707.09727 (2017) (discounted).
    """
    names = sorted(credit)  # the store sorts keys, too
    draws = [float(rng.beta(1.0 + credit[name][0], 1.0 + credit[name][1])) for name in names]
    ranked = [names[row] for row in np.argsort(-np.array(draws), kind="stable")]
    chance, pick = float(rng.random()), int(rng.random() * len(names))
    if chance < least * len(names):
        ranked.remove(names[pick])
        ranked.insert(0, names[pick])
    return ranked
