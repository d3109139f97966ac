"""Bandit that decides which of several optimizers is asked next, by recent gains."""

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

MAX_FRONT_MEMBERS = 60  # members of the front by which gains of several objectives are measured (chosen)
RECENT_TRIALS = 40  # trials whose median is the measure of a gain of one objective (chosen)
REMEMBERED_GAINS = 40  # earlier gains that a new one is compared with (chosen)
MAX_HYPERVOLUME_OBJECTIVES = 5  # hypervolumes of more take too long at every tell (chosen)
STATE_DIGITS = 6  # of credit and gains in the state: plain, short JSON (chosen)


def measure_gain(history: History, known: Sequence[int], new: Sequence[int]) -> float:
    """Measure how much new trials improve a run, between 0 and 1.

    A better class of merit, such as the first feasible trial, gains 1.

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
    """Advance of the smallest value, relative to its distance from the old median."""
    moved = float(old.min() - new.min())
    if not moved > 0.0:
        return 0.0
    return float(moved / (moved + np.median(old) - old.min())) if np.isfinite(moved) else 1.0


def _new_volume_share(old: FloatArray, new: FloatArray) -> float:
    """Share of the hypervolume, or of a front of many objectives, that is new."""
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
    """Trials that represent the run's results: the best, or a bounded front.

    Args:
        history: the run's.
        members: numbers of the trials chosen so far.
        new: numbers of new trials.
    """
    ids = sorted({*members, *new})
    if not ids:
        return []
    scores = history.scores(ids)
    first = int(scores.order()[0])
    if scores.values.shape[1] == 1 or scores.merit[first] != Merit.FEASIBLE:
        return [int(scores.ids[first])]
    return archive.extend_archive(history, members, new, MAX_FRONT_MEMBERS)


def rank_gain(gained: float, earlier: Sequence[float]) -> float:
    """Rank a gain among `earlier` ones: 0 for none, near 1 for the largest.

    Args:
        gained: the gain.
        earlier: recent gains.
    """
    if gained <= 0.0:
        return 0.0
    below = sum(1.0 if gained > other else 0.5 if gained == other else 0.0 for other in earlier)
    return (below + 0.5) / (len(earlier) + 1.0)


def credit_member(credit: Mapping[str, Sequence[float]], name: str, earned: float, kept: float) -> Credit:
    """Update the credit after one member earned something.

    Args:
        credit: won and lost, by member.
        name: of the member that was asked.
        earned: between 0 and 1.
        kept: weight of earlier credit.
    """
    new = {member: [kept * won, kept * lost] for member, (won, lost) in credit.items()}
    new[name][0] += earned
    new[name][1] += 1.0 - earned
    return {member: [round(number, STATE_DIGITS) for number in pair] for member, pair in new.items()}


def sample_order(credit: Mapping[str, Sequence[float]], least: float, rng: Rng) -> list[str]:
    """Sample the order in which members are asked (Thompson sampling).

    Each member draws from the distribution of its credit, and the highest draw goes first. With probability `least`
    for each member, it goes first whatever its credit. Forgotten credit widens the distribution, so that members that
    were not asked for long are tried again.

    Args:
        credit: won and lost, by member.
        least: share of turns that each member gets at least.
        rng: for the draws.

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
