"""Tiers of a screen: the stages of a campaign, and the judgement of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.errors import FileError, Mistake
from invdesign.problem import Constraint, Problem
from invdesign.properties import is_structure
from invdesign.protocols import Evaluator
from invdesign.spaces.composition.space import CompositionSpace

if TYPE_CHECKING:
    from invdesign.campaign.model import Campaign
    from invdesign.evaluation import Stage

MOST_STREAMED = 10**13  # candidates: months at a million per second (chosen)


class ScreenError(FileError):
    """A campaign that cannot be screened; all reasons at once."""


@dataclass(frozen=True)
class Tier:
    """One stage of a screen.

    Attributes:
        name: of the stage.
        evaluator: of the stage.
        conditions: gates of the stage, and the constraints on properties that no later tier provides.
        carried: properties whose values are kept for later tiers and the table.
    """

    name: str
    evaluator: Evaluator
    conditions: tuple[Constraint, ...]
    carried: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """Judgement of n candidates by one tier.

    Attributes:
        scores: shape (n,), smaller is better.
        accepted: shape (n,), False where a candidate is refused; None if none is.
        refused: number of refused candidates, and the position of the first, by reason.
    """

    scores: FloatArray
    accepted: BoolArray | None
    refused: Mapping[str, tuple[int, int]]


def judge_values(
    tier: Tier, problem: Problem, columns: Mapping[str, FloatArray], known: BoolArray | None = None
) -> Judged:
    """Score candidates and refuse those that break a condition.

    Args:
        tier: that made the values.
        problem: objectives of the campaign.
        columns: shape (n,) each, latest values by property.
        known: shape (n,), False for candidates that were refused before, and counted; None for none.
    """
    scores = problem.rank_values(columns.__getitem__)[:, 0]
    accepted, refused = known, dict[str, tuple[int, int]]()
    named = dict.fromkeys((*tier.carried, *problem.properties))
    tests = [
        (f"{name} is not a finite number", np.isfinite(columns[name])) for name in named if name in columns
    ]
    tests += [(f"not {test}", test.violation(columns[test.property]) <= 0) for test in tier.conditions]
    for reason, passed in tests:
        if passed.all():
            continue
        lost = ~passed if accepted is None else ~passed & accepted
        number = int(np.count_nonzero(lost))
        if number:
            refused[reason] = number, int(np.argmax(lost))
            accepted = passed if accepted is None else accepted & passed
    return Judged(scores, accepted, refused)


def list_tiers(campaign: Campaign, source: str) -> tuple[Tier, ...]:
    """Tiers of a campaign, cheap ones first; stages on demand are left out.

    Args:
        campaign: to be screened.
        source: name of its file, for messages.

    Raises:
        ScreenError: it cannot be screened; all reasons.
    """
    stages = [stage for stage in campaign.stages if not stage.on_demand]
    mistakes = [*_find_space_mistakes(campaign), *_find_objective_mistakes(campaign, stages)]
    for number, stage in enumerate(stages):
        mistakes += _find_stage_mistakes(campaign, stage, f"evaluate.{number}")
    if mistakes:
        raise ScreenError(mistakes, source)
    return tuple(_make_tier(campaign.problem, stages, number) for number in range(len(stages)))


def _make_tier(problem: Problem, stages: list[Stage], number: int) -> Tier:
    stage, later = stages[number], stages[number + 1 :]
    evaluator = _evaluator_of(stage)
    provided_later = {name for other in later for name in _evaluator_of(other).provides}
    final = (
        constraint
        for constraint in problem.constraints
        if constraint.property in evaluator.provides and constraint.property not in provided_later
    )
    conditions = tuple(dict.fromkeys((*stage.gates, *final)))
    # A constraint that a later tier judges is not asked for here: fast forms give the objective alone.
    needed = {objective.property for objective in problem.objectives}
    needed |= {condition.property for condition in conditions}
    needed |= {name for other in later for name in _evaluator_of(other).requires}
    return Tier(
        stage.name, evaluator, conditions, tuple(name for name in evaluator.provides if name in needed)
    )


def _evaluator_of(stage: Stage) -> Evaluator:
    assert stage.evaluator is not None  # only the build stage has none, and it is no stage of a campaign
    return stage.evaluator


def _find_space_mistakes(campaign: Campaign) -> list[Mistake]:
    number = campaign.space.size() if isinstance(campaign.space, CompositionSpace) else campaign.space.count()
    if number is None:
        return [
            Mistake(
                "space",
                "a screen goes through all candidates, and those of this space cannot be numbered",
                hint="take the space `composition` or `pool`, or search with: invdesign run",
            )
        ]
    if number == 0:
        return [Mistake("space", "the space holds no candidate", hint="widen its rules")]
    if number > MOST_STREAMED:
        return [
            Mistake(
                "space",
                f"the space holds {number:.3g} candidates, and a screen goes through {MOST_STREAMED:.0e} at most",
                hint="allow fewer elements or lower counts, or search with: invdesign run",
            )
        ]
    return []


def _find_objective_mistakes(campaign: Campaign, stages: list[Stage]) -> list[Mistake]:
    problem = campaign.problem
    found: list[Mistake] = []
    if problem.n_values > 1:
        found.append(
            Mistake(
                "objectives",
                f"a screen ranks by one number, and there are {len(problem.objectives)} objectives",
                hint="say `scalarize: desirability`, or make constraints of all but one",
            )
        )
    first = set(_evaluator_of(stages[0]).provides) if stages else set()
    anywhere = {name for stage in stages for name in _evaluator_of(stage).provides}
    for number, objective in enumerate(problem.objectives):
        if objective.property not in first:
            name = stages[0].name if stages else "no stage"
            where = "only a later stage provides it" if objective.property in anywhere else "no stage does"
            found.append(
                Mistake(
                    f"objectives.{number}",
                    f"the first tier ({name}) must provide {objective.property}, by which it keeps the best; {where}",
                    hint=f"it provides {', '.join(sorted(first)) or 'nothing'}",
                )
            )
    found += [
        Mistake(
            f"constraints.{number}",
            f"no stage provides {constraint.property}",
            hint="leave the constraint out",
        )
        for number, constraint in enumerate(problem.constraints)
        if constraint.property not in anywhere
    ]
    return found


def _find_stage_mistakes(campaign: Campaign, stage: Stage, path: str) -> list[Mistake]:
    evaluator = _evaluator_of(stage)
    found: list[Mistake] = []
    needed = sorted(name for name in evaluator.requires if is_structure(name))
    if needed and isinstance(campaign.space, CompositionSpace):
        found.append(
            Mistake(
                path,
                f"the stage {stage.name} needs {', '.join(needed)}, and compositions have no structure",
                hint="leave it to a run that starts from the best: invdesign run",
            )
        )
    made = sorted(name for name in evaluator.provides if is_structure(name))
    if made:
        found.append(
            Mistake(
                path,
                f"the stage {stage.name} makes {', '.join(made)}, and a screen keeps numbers alone",
                hint="leave it to a run that starts from the best: invdesign run",
            )
        )
    if stage.external:
        found.append(
            Mistake(
                path,
                f"results of the stage {stage.name} come from outside, and a screen waits for none",
                hint="say `on_demand: true`: a screen leaves such stages out",
            )
        )
    return found
