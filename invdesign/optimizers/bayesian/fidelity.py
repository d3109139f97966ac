"""Stages of a funnel as fidelities: their sources and their costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from invdesign.candidate import SEED
from invdesign.optimizers.common import Draft
from invdesign.problem import Problem
from invdesign.protocols import Context, StageView, count_stages_until

LEAST_COST_SHARE = 1e-4  # least cost of any step, as a share of the cost of all stages (chosen)
PATIENCE = 1.0  # cost of early stages, in whole candidates, after which a whole candidate is due (chosen)
# Candidates of the first design that run all stages: at least 3, else one in 4 (chosen)
FEWEST_WHOLE, DESIGN_PER_WHOLE = 3, 4


@dataclass(frozen=True)
class Fidelities:
    """Stages a candidate may run to, from cheap to costly.

    A level is a position among them.

    Attributes:
        stages: names; the last is the funnel's last stage.
        depths: number of stages passed by a candidate that ran to each, the build stage included.
        costs: of a new candidate that runs to each, cumulative, in any unit.
        readings: by property, the source of its model that a candidate run to each stage has a value of; None where
            it has none.
    """

    stages: tuple[str, ...]
    depths: tuple[int, ...]
    costs: tuple[float, ...]
    readings: Mapping[str, tuple[int | None, ...]]

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def target(self) -> int:
        """Level of the last stage, at which candidates count."""
        return len(self.stages) - 1

    def until_stage(self, level: int) -> str | None:
        """Return the `Proposal.until` that stands for a `level`."""
        return None if level == self.target else self.stages[level]

    def level_of(self, until: str | None) -> int:
        """Level of a proposal by its `until`; the last for any other stage."""
        return self.stages.index(until) if until in self.stages else self.target

    def level_at_depth(self, depth: int) -> int:
        """Level of a candidate that has passed `depth` stages; -1 for none."""
        return sum(depth >= needed for needed in self.depths) - 1

    def cost_to_reach(self, level: int, reached: int = -1) -> float:
        """Cost of taking a candidate to a level.

        Args:
            level: to be reached.
            reached: level that the candidate has reached already; -1 for a new candidate.
        """
        spent = self.costs[reached] if reached >= 0 else 0.0
        return max(self.costs[level] - spent, LEAST_COST_SHARE * self.costs[-1])


def source_stages(stages: Sequence[StageView], name: str) -> tuple[str, ...]:
    """Stages that provide property `name`, the last first: the sources of its model.

    Args:
        stages: the funnel after the build stage.
        name: of the property.
    """
    return tuple(stage.name for stage in reversed(stages) if name in stage.provides)


def fidelity_stages(stages: Sequence[StageView], problem: Problem) -> tuple[str, ...]:
    """Names of the stages a candidate may run to, in order.

    They are the stages that provide an objective's property which a later stage provides again, and the funnel's last
    stage. Empty if there is nothing to choose.

    Args:
        stages: the funnel after the build stage.
        problem: its objectives count.
    """
    names = {objective.property for objective in problem.objectives}
    early = [
        stage.name
        for number, stage in enumerate(stages)
        if any(names & stage.provides & later.provides for later in stages[number + 1 :])
    ]
    return (*early, stages[-1].name) if early else ()


def build_fidelities(
    stages: Sequence[StageView], problem: Problem, costs: Mapping[str, float]
) -> Fidelities | None:
    """Build the fidelities of a funnel; None if there is nothing to choose.

    Args:
        stages: the funnel after the build stage.
        problem: whose properties are modelled.
        costs: of single stages, in any unit; those not named cost nothing.
    """
    chosen = fidelity_stages(stages, problem)
    if not chosen:
        return None
    order = [stage.name for stage in stages]
    spent = np.cumsum([costs.get(name, 0.0) for name in order])
    least = LEAST_COST_SHARE * (float(spent[-1]) or 1.0)
    ends = [order.index(name) for name in chosen]
    return Fidelities(
        stages=chosen,
        depths=tuple(count_stages_until(stages, name) for name in chosen),
        costs=tuple(max(float(spent[end]), least) for end in ends),
        readings={
            name: tuple(_source_at_stage(stages, name, end) for end in ends) for name in problem.properties
        },
    )


def _source_at_stage(stages: Sequence[StageView], name: str, end: int) -> int | None:
    """Source of a candidate's value of a property after stage number `end`."""
    said = [stage.name for stage in stages[: end + 1] if name in stage.provides]
    return source_stages(stages, name).index(said[-1]) if said else None


def stage_costs(context: Context, given: Mapping[str, float]) -> dict[str, float]:
    """Cost of each stage: as given, or else the median of measured seconds.

    Medians are rounded to one significant digit. Empty while the last stage has not been seen to run. Measured costs
    belong in the optimizer's state, so that a resumed run goes on with the numbers it began with.

    Args:
        context: the event.
        given: costs by stage, from the settings; empty to measure.
    """
    names = [stage.name for stage in context.stages]
    if given:
        return {name: float(given.get(name, 0.0)) for name in names}
    took = {name: context.history.seconds(name) for name in names}
    medians = {name: _rounded_median(seconds) for name, seconds in took.items()}
    return medians if names and medians[names[-1]] > 0.0 else {}


def _rounded_median(seconds: np.ndarray) -> float:
    """Median of the finite seconds, to one significant digit; 0 for none."""
    known = seconds[np.isfinite(seconds)]
    return float(f"{np.median(known):.0e}") if len(known) else 0.0


def describe_fidelities(ladder: Fidelities, *, given: bool) -> str:
    """Describe the fidelities and their costs, as a note for the user.

    Args:
        ladder: the fidelities.
        given: True if the user gave the costs.
    """
    unit = "" if given else " s"
    listed = ", ".join(
        f"{name} ({cost:g}{unit})" for name, cost in zip(ladder.stages, ladder.costs, strict=True)
    )
    origin = "as given" if given else "as measured"
    return f"candidates run to the stage that tells most per cost (costs {origin}, of all stages up to it): {listed}"


def stop_early(draft: Draft, stages: tuple[str, ...], first: int, size: int) -> None:
    """Let most candidates of the first design stop at the first stage.

    The design's first quarter runs all stages, at least three candidates, so that costs and the relation between
    stages can be seen; so do the user's own genomes.

    Args:
        draft: its proposals are those of the design.
        stages: of `fidelity_stages`.
        first: number of the candidate that the draft's first proposal becomes.
        size: of the whole design.
    """
    whole = max(FEWEST_WHOLE, size // DESIGN_PER_WHOLE)
    draft.proposals[:] = [
        proposal if number < whole or proposal.operator == SEED else replace(proposal, until=stages[0])
        for number, proposal in enumerate(draft.proposals, start=first)
    ]


def is_whole_due(context: Context, ladder: Fidelities, patience: float = PATIENCE) -> bool:
    """True if early stages have cost so much that a whole candidate is due.

    Counted since the last candidate that ran all stages. So early stages that tell less than they seem to cost a search
    no more than twice its cost without them.

    Args:
        context: the event.
        ladder: the fidelities.
        patience: how many times the cost of a whole candidate may be spent without one.
    """
    spent = 0.0
    for id in range(len(context.history) - 1, -1, -1):
        level = ladder.level_of(context.history.candidate(id).proposal.until)
        if level == ladder.target:
            return False
        spent += ladder.costs[level]
        if spent > patience * ladder.costs[-1]:
            return True
    return False
