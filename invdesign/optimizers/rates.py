"""Adaptive rates of the genetic algorithm: shares of operators, and step sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.optimizers.vectors import Steps

CREDIT_EXPONENT = (
    2.0  # exponent of the credit: on a front, where most are equal, mean rewards differ little (chosen)
)
MIN_SHARE = 0.2  # of an operator's share as set: what it keeps however little its children are worth (chosen)
CREDIT_RATE = (
    0.06  # weight of one child in the credit of its operator: some sixteen children are remembered (chosen)
)
CREDIT_OFFSET = 0.01  # where all credit is near zero, shares go back to those that are set (chosen)
STEP_RATE = 0.05  # weight of one success in `length` and `mixing`; Zhang & Sanderson: 0.1 a generation
WIDTH_RATE = 0.12  # change of the logarithm of `width` by one child (chosen)
TARGET_SUCCESS = (
    0.3  # share of drawn children that are to be better than the median of the population (chosen)
)
MIN_WIDTH, MAX_WIDTH = 0.3, 4.0
STATE_DIGITS = 6  # of credit and steps in the state: plain, short JSON (chosen)


@dataclass(frozen=True, slots=True)
class Child:
    """A finished trial, as evidence for its operator.

    Attributes:
        operator: name of the operator that made it.
        better_than: share of the population it came into that is worse than it; 0 where it failed.
        won: whether it is better than the parent it descends from.
        memo: what the operator noted.
    """

    operator: str
    better_than: float
    won: bool
    memo: object = None


def match_probabilities(set_shares: Mapping[str, float], credit: Mapping[str, float]) -> dict[str, float]:
    """Probability of each operator: probability matching with a floor.

    Args:
        set_shares: shares as set, by operator; they sum to 1.
        credit: mean reward of late, by operator; 1 where nothing is known.

    Source:
        Fialho, PhD thesis, Université Paris-Sud XI (2010), section 4.3 (probability matching; rank-based credit).
    """
    weights = {
        name: share * (credit.get(name, 1.0) + CREDIT_OFFSET) ** CREDIT_EXPONENT
        for name, share in set_shares.items()
    }
    total = sum(weights.values())
    return {
        name: MIN_SHARE * share + (1.0 - MIN_SHARE) * weights[name] / total
        for name, share in set_shares.items()
    }


def update_credit(
    credit: Mapping[str, float], children: Iterable[Child], known: Sequence[str]
) -> dict[str, float]:
    """Update the credit of operators by these children.

    A child is worth the square of the share of the population it is better than: one among the best is worth much more
    than one that just survives, whatever the scale of the objectives.

    Args:
        credit: mean reward by operator.
        children: finished trials.
        known: names of the operators.
    """
    new = {name: credit.get(name, 1.0) for name in known}
    for child in children:
        if child.operator in new:
            new[child.operator] += CREDIT_RATE * (child.better_than**2 - new[child.operator])
    return {name: round(value, STATE_DIGITS) for name, value in new.items()}


def update_steps(steps: Steps, children: Sequence[Child]) -> Steps:
    """Update step sizes by these children.

    They move towards those of differential children that won, and to a fair share of successes.

    Args:
        steps: so far.
        children: finished trials.

    Source:
        Zhang & Sanderson, IEEE Trans. Evol. Comput. 13, 945 (2009), section III (`length` by the Lehmer mean,
        `mixing` by the mean); Kern et al., Nat. Comput. 3, 77 (2004), section 2 (`width` by the rate of success).
    """
    length, mixing, width = steps.length, steps.mixing, steps.width
    won = [child.memo for child in children if child.operator == "differential" and child.won]
    memos = np.array([memo for memo in won if isinstance(memo, list) and len(memo) == 2], dtype=np.float64)
    if len(memos):
        weight = 1.0 - (1.0 - STEP_RATE) ** len(memos)
        f, cr = memos.T
        length += weight * (float(f @ f) / float(f.sum()) - length)
        mixing += weight * (float(cr.mean()) - mixing)
    drawn = [child.better_than > 0.5 for child in children if child.operator == "gaussian"]
    width *= math.exp(WIDTH_RATE * (sum(drawn) - TARGET_SUCCESS * len(drawn)))
    width = min(max(width, MIN_WIDTH), MAX_WIDTH)
    return Steps(round(length, STATE_DIGITS), round(mixing, STATE_DIGITS), round(width, STATE_DIGITS))
