"""Schedules of a swarm's inertia."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "chaotic", "adaptive", "constriction"]
Weights = tuple[float, float, float]  # inertia, cognitive, social


def schedule_weights(
    schedule: Schedule,
    inertia: tuple[float, float],
    pulls: tuple[float, float],
    *,
    progress: float,
    improving: float,
    chaos: float,
) -> Weights:
    """Weights of a move: inertia, cognitive, social.

    Args:
        schedule: which law.
        inertia: first and final.
        pulls: cognitive and social.
        progress: share of the horizon that is over, in [0, 1].
        improving: share of particles whose last move found a better place.
        chaos: a number of the logistic map, in [0, 1].

    Source:
        Shi & Eberhart, Proc. IEEE CEC 1998, 69 (linear); Feng et al., Proc. ICICIC 2007, 475 (chaotic descending);
        Nickabadi et al., Appl. Soft Comput. 11, 3658 (2011) (adaptive, by the share of successes).
    """
    first, final = inertia
    cognitive, social = pulls
    if schedule == "linear":
        return first + (final - first) * progress, cognitive, social
    if schedule == "chaotic":
        return (first - final) * (1.0 - progress) + final * chaos, cognitive, social
    if schedule == "adaptive":
        return final + (first - final) * improving, cognitive, social
    if schedule == "constriction":
        factor = constriction_factor(cognitive + social)
        return factor, factor * cognitive, factor * social
    return first, cognitive, social


def constriction_factor(pull: float) -> float:
    """Constriction factor for a total `pull` above 4.

    It keeps the swarm from flying apart.

    Source:
        Clerc & Kennedy, IEEE Trans. Evol. Comput. 6, 58 (2002), with kappa = 1.
    """
    return 2.0 / abs(2.0 - pull - math.sqrt(pull * pull - 4.0 * pull))
