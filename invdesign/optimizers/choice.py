"""Rules that choose an optimizer for a search, each with its reason.

The rules follow measured runs (`benchmarks/auto.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from invdesign.candidate import Json
from invdesign.errors import PluginError
from invdesign.optimizers.common import finite_space
from invdesign.problem import Problem
from invdesign.protocols import (
    AnyOptimizer,
    InheritingSpace,
    OptimizerSettings,
    SearchSpace,
    VectorSpace,
    is_finite,
)
from invdesign.settings import load

FEW_CANDIDATES = 300  # candidates: models pay whatever an evaluation costs (benchmarks/auto.py)
MANY_CANDIDATES = 2_000  # candidates: models pay where an evaluation is slow (benchmarks/auto.py)
SLOW_SECONDS = (
    10.0  # seconds of one candidate: models that take a second each are a small part of the run (chosen)
)
FRONT_POPULATION = 100  # population that holds a front (benchmarks/auto.py)
SCREENED_GENETIC = {"kind": "genetic", "population": 20, "offspring": 4, "prescreen": {}}
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts on which a choice is based.

    Attributes:
        candidates: how many the run may hold; None if unknown.
        slow: whether a candidate takes `SLOW_SECONDS` or more; None where that is not known.
    """

    space: SearchSpace
    problem: Problem
    candidates: int | None
    slow: bool | None = None

    def __str__(self) -> str:
        count = (
            "no number of candidates given" if self.candidates is None else f"{self.candidates} candidates"
        )
        return f"{count}, {_space_words(self.space)}, {_objective_words(self.problem)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of the chosen optimizer, and its name with the reason."""

    settings: dict[str, Json]
    reason: str


@runtime_checkable
class ChoosingOptimizer(Protocol):
    """An optimizer that chooses another one to search."""

    def foreseen(self, space: SearchSpace, problem: Problem, candidates: int | None) -> Choice | None:
        """Choice for a run of `candidates`; None if their cost decides.

        Args:
            space: what is searched.
            problem: objectives and constraints.
            candidates: of the budget; None where it has no such number.
        """
        ...


Rule = tuple[Mapping[str, Any], str]


def choose_optimizer(facts: Facts) -> Choice:
    """Choose the first optimizer whose rule fits the `facts`."""
    for settings, why in _preferred_optimizers(facts):
        plugin = _load_if_able(settings, facts)
        if plugin is not None:
            dump: dict[str, Json] = plugin.model_dump(mode="json")  # type: ignore[attr-defined]  # settings
            return Choice(dump, f"{settings['kind']}: {facts}; {why}")
    raise AssertionError("the genetic algorithm searches everything")


def depends_on_cost(facts: Facts) -> bool:
    """True if the choice for these `facts` depends on a candidate's cost."""
    options = [
        choose_optimizer(Facts(facts.space, facts.problem, facts.candidates, slow)) for slow in (True, False)
    ]
    return options[0].settings != options[1].settings


def _load_if_able(settings: Mapping[str, Any], facts: Facts) -> AnyOptimizer | None:
    """Load the optimizer; None if it is not installed or refuses the search."""
    try:
        plugin: AnyOptimizer = load("optimizers", settings)
    except PluginError:
        return None
    if isinstance(plugin, OptimizerSettings):
        plugin = cast("AnyOptimizer", plugin.suit_space(facts.space))
    return None if plugin.refusal(facts.space, facts.problem) else plugin


def _preferred_optimizers(facts: Facts) -> Iterator[Rule]:
    """Optimizers in order of preference; the last one can search anything."""
    n, several = facts.candidates, facts.problem.n_values > 1
    if isinstance(facts.space, InheritingSpace) and not isinstance(facts.space, VectorSpace):
        yield {"kind": "genetic"}, "children inherit what relaxation made of their parents"
    few = n is not None and n <= FEW_CANDIDATES
    if few or (facts.slow and (n is None or n <= MANY_CANDIDATES)):
        if several and _is_continuous(facts.space):
            yield (
                SCREENED_GENETIC,
                "over real variables fronts are found soonest where models choose the offspring",
            )
        why = "with so few evaluations" if few else f"where a candidate takes {SLOW_SECONDS:g} s or more,"
        yield {"kind": "bayesian"}, f"{why} models pay"
    if n is None:
        members = [
            {"kind": kind} for kind in ("genetic", "cma", "swarm") if _load_if_able({"kind": kind}, facts)
        ]
        if len(members) > 1:
            yield (
                {"kind": "portfolio", "members": members},
                "with no end to plan for, several optimizers take turns, and who earns most goes on",
            )
    if n is not None and n > FEW_CANDIDATES:
        yield {"kind": "cma"}, "on a continuum it descends fastest"
    if n is not None and n <= MANY_CANDIDATES:
        yield SCREENED_GENETIC, "models choose the offspring, and cost little"
    if several:
        yield (
            {"kind": "genetic", "population": FRONT_POPULATION},
            "evaluations suffice for a population as wide as a front",
        )
    yield {"kind": "genetic"}, "evaluations suffice to breed without models"


def _is_continuous(space: SearchSpace) -> bool:
    """True if all variables are real."""
    if not isinstance(space, VectorSpace) or is_finite(space):
        return False
    return all(dimension.kind == "real" for dimension in space.domain().dimensions)


def _space_words(space: SearchSpace) -> str:
    finite = finite_space(space)
    if isinstance(space, VectorSpace):
        dimensions = space.domain().dimensions
        choices = sum(dimension.kind in {"categorical", "ordinal"} for dimension in dimensions)
        variables = f"{len(dimensions)} variables" if len(dimensions) > 1 else "one variable"
        if choices:
            variables = (
                f"{variables} ({choices} of them choices)"
                if choices < len(dimensions)
                else _count_noun(choices, "choice")
            )
        return variables if finite is None else f"{variables} with {len(finite)} candidates in all"
    return "a space without coordinates" if finite is None else f"{len(finite)} candidates in all"


def _objective_words(problem: Problem) -> str:
    count = len(problem.objectives)
    if problem.n_values == 1 and count > 1:
        return f"one score of {_number_word(count)} objectives"
    return _count_noun(count, "objective")


def _count_noun(count: int, noun: str) -> str:
    return f"{_number_word(count)} {noun}{'' if count == 1 else 's'}"


def _number_word(count: int) -> str:
    return NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else str(count)
