"""Contract of optimizers, and their view of a run."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from pydantic import ValidationError

from invdesign import registry
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Candidate, Genome, Json, Proposal, Status, Trial
from invdesign.problem import Problem, Scores
from invdesign.protocols.spaces import HintingSpace, SearchSpace
from invdesign.rng import Rng, derived_seed, rng_for
from invdesign.settings import Settings


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage of the funnel as an optimizer sees it.

    Attributes:
        provides: names of the properties and structures it gives. Where several stages give the same property, the last
            one's value counts; the others' are `History.column(name, stage)`.
        on_demand: True if only promotions by the user enter it; optimizers see no such stage.
        external: True if its results come from outside: costly, however long they take.
    """

    name: str
    provides: frozenset[str]
    on_demand: bool = False
    external: bool = False


class History(Protocol):
    """All trials of the run, pending ones included."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool:
        """True if a candidate with this `key` was asked."""
        ...

    def id_of(self, key: str) -> int | None:
        """Number of the latest trial with this `key`; None without one.

        A promotion is a later trial of the same genome.
        """
        ...

    def superseded(self) -> Sequence[int]:
        """Numbers, ascending, of trials replaced by a later trial of their genome.

        The later trial has ended, and holds all results of the earlier one.
        """
        ...

    def outside(self) -> Sequence[int]:
        """Numbers, ascending, of candidates made outside the space.

        They were told with their results. Models may learn from their columns. In `scores` they rank as pending ones: none is a
        parent or the best so far, and the optimizer is not told of them.
        """
        ...

    def candidate(self, id: int) -> Candidate:
        """Candidate number `id`; cheaper than the whole trial."""
        ...

    def trial(self, id: int) -> Trial:
        """Trial of candidate number `id`."""
        ...

    def relaxed_genome(self, id: int) -> Genome | None:
        """Genome of the structure that trial `id` became.

        It is that of the last stage of the funnel that gave one; None without one.
        """
        ...

    def formula_of(self, id: int) -> str:
        """Reduced formula of trial `id`; empty while it is pending, and where its design has no composition."""
        ...

    def status_by_trial(self) -> IntArray:
        """`Status` of every trial, shape (n,)."""
        ...

    def pending(self) -> Sequence[int]:
        """Numbers, ascending, of trials that were asked and have not ended."""
        ...

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        """Values of property `name`, shape (n,), NaN where unknown.

        Args:
            name: of the property.
            stage: whose values; by default those of the funnel's last stage that provides the property. A trial that ended before
                that stage then has NaN, whatever earlier stages gave.
        """
        ...

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        """Standard deviation of repeating what `column` gives, shape (n,), NaN where unknown.

        Args:
            name: of the property.
            stage: as in `column`.
        """
        ...

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        """Standard deviation of the method behind `column`, shape (n,), NaN where unknown.

        It is an error that the candidates of a chemistry share. Show it; no model may learn from it.

        Args:
            name: of the property.
            stage: as in `column`.
        """
        ...

    def potential_of(self, name: str) -> str | None:
        """Fingerprint of the potential behind property `name`.

        None where its stage names none, and where the potential is not installed.
        """
        ...

    def seconds(self, stage: str) -> FloatArray:
        """Seconds that `stage` took for each trial, shape (n,).

        NaN where it did not run, or the result came from the cache.
        """
        ...

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        """Scores of all trials, or of `ids` in their order.

        The cost is proportional to the number of scores.
        """
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """Everything an optimizer sees at one event.

    Attributes:
        event: number of the event; randomness comes from `(seed, event, stream)` alone.
        seeds: genomes that the user wants evaluated first.
        cache: may be dropped at any time without changing a result.
        stages: the funnel after the build stage, in order; empty where it is not known.
        budget: number of candidates that the run's budget allows now; None where only hours limit it. It may change at a
            resume, so an optimizer that needs it reads it once and journals its choice.
    """

    space: SearchSpace
    problem: Problem
    history: History
    seed: int
    event: int = 0
    seeds: tuple[Genome, ...] = ()
    cache: MutableMapping[str, object] = field(default_factory=dict)
    stages: tuple[StageView, ...] = ()
    budget: int | None = None

    def admits(self, key: str, until: str | None = None) -> bool:
        """True if a genome may be proposed: a new one, or a promotion.

        A promotion takes a known genome further: its latest trial is complete and ended before `until`. A candidate made outside
        the space is never proposed again.

        Args:
            key: hash of the genome.
            until: last stage to run; None for all.
        """
        if key not in self.history:
            return True
        latest = self.history.id_of(key)
        if latest is None or not self.stages:
            return False
        trial = self.history.trial(latest)
        if trial.candidate.outside:
            return False
        return trial.status is Status.COMPLETE and trial.depth < count_stages_until(self.stages, until)

    def rng(self, stream: str) -> Rng:
        """Random generator for one purpose, named by `stream`, within this event."""
        return rng_for(self.seed, self.event, stream)

    def derived_seed(self, stream: str) -> int:
        """Seed for one purpose, named by `stream`, within this event; for `borrowed_globals`."""
        return derived_seed(self.seed, self.event, stream)


def count_stages_until(stages: Sequence[StageView], until: str | None) -> int:
    """Number of stages a candidate passes, the build stage included.

    Args:
        stages: the funnel after the build stage.
        until: last stage to run; None for all.
    """
    names = [stage.name for stage in stages]
    return names.index(until) + 2 if until in names else len(names) + 1


def collect_notes(state: Json) -> dict[str, str]:
    """Notes for the user in an optimizer's `state`, sentence by code.

    They stand under `notes`. Notes in the states under `members` (a mapping or a list) count too; their codes begin with the
    member's name.
    """
    if not isinstance(state, dict):
        return {}
    own = state.get("notes")
    found = {str(code): str(said) for code, said in own.items()} if isinstance(own, dict) else {}
    members = state.get("members")
    named = (
        members.items()
        if isinstance(members, dict)
        else enumerate(members or ())
        if isinstance(members, list)
        else ()
    )
    for name, member in named:
        found.update({f"{name}.{code}": said for code, said in collect_notes(member).items()})
    return found


S = TypeVar("S", bound=Json)


class Optimizer(Protocol[S]):
    """A frozen configuration that proposes candidates.

    Its state is a JSON value of ids, counters and credit, never of genomes or values. A state that is a mapping may hold
    `notes`: what the user should hear once, a sentence by code (`collect_notes`).
    """

    @property
    def batch(self) -> int:
        """Preferred number of candidates per ask; never depends on the machine."""
        ...

    @property
    def overlap(self) -> int:
        """Number of asks that may be under way at once; 1 is synchronous.

        It never depends on the machine.
        """
        ...

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        """Reason why it cannot search `space` for the objectives of `problem`; empty if it can.

        The words follow the optimizer's name, as in "swarm REFUSAL".
        """
        ...

    def start(self, context: Context) -> S:
        """First state of a run with this `context`."""
        ...

    def ask(self, context: Context, state: S, n: int) -> tuple[Sequence[Proposal], S]:
        """Propose at most n genomes that `context.admits`, no genome twice.

        Args:
            context: the event.
            state: left unchanged.
            n: new candidates and promotions together.

        Returns:
            The proposals and the new state.
        """
        ...

    def tell(self, context: Context, state: S, ids: Sequence[int]) -> S:
        """Learn that trials have ended, and return the new state.

        Args:
            context: the event.
            state: left unchanged.
            ids: numbers of the trials, also of those that another optimizer proposed.
        """
        ...


AnyOptimizer = Optimizer[Any]


class OptimizerSettings(Settings):
    """Base class of optimizers, with the defaults of the contract."""

    @property
    def overlap(self) -> int:
        return 1

    def refusal(self, space: SearchSpace, problem: Problem) -> str:  # noqa: ARG002 - it searches anything
        return ""

    def suit_space(self, space: SearchSpace) -> Self:
        """Copy with the hints of `space` in place of the settings that the user did not give.

        A hint that contradicts a given setting is left out.
        """
        if not isinstance(space, HintingSpace):
            return self
        hints = space.hints().get(registry.name_of(type(self)), {})
        suited = self
        for name, value in hints.items():
            if name not in self.model_fields_set:
                known = {field: getattr(suited, field) for field in type(self).model_fields}
                with suppress(ValidationError):
                    suited = type(self).model_validate({**known, name: value})
        return suited
