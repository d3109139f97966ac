"""Contract of optimizers, and what they see of a run."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from invdesign.arrays import FloatArray
from invdesign.candidate import Candidate, Genome, Json, Proposal, Status, Trial
from invdesign.problem import Problem, Scores
from invdesign.protocols.spaces import SearchSpace
from invdesign.rng import Rng, derived_seed, rng_for
from invdesign.settings import Settings


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage of the funnel as an optimizer sees it.

    Attributes:
        provides: names of the properties and structures it gives; where several stages give the same property, the
            last one's is the property's value, and the others' are `History.column(name, stage)`.
        on_demand: whether only promotions by the user enter it; optimizers see no such stage.
        external: whether its results come from outside: costly, however long they take.
    """

    name: str
    provides: frozenset[str]
    on_demand: bool = False
    external: bool = False


class History(Protocol):
    """Every trial of the run, pending ones included."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool:
        """Whether a candidate with this key was asked."""
        ...

    def id_of(self, key: str) -> int | None:
        """Number of the latest trial with this key: of a genome that was taken further, the one that did."""
        ...

    def superseded(self) -> Sequence[int]:
        """Numbers, ascending, of trials whose genome a later trial took further and has ended.

        All they know the later trial knows too, and the genome stands where that one stands.
        """
        ...

    def outside(self) -> Sequence[int]:
        """Numbers, ascending, of candidates that were made outside the space and told with their results.

        Models may learn from their columns. To a search they are as pending ones in `scores`: none is a parent, none
        the best so far; nor is an optimizer told of them.
        """
        ...

    def candidate(self, id: int) -> Candidate:
        """What was proposed under this number: cheaper than the whole trial."""
        ...

    def trial(self, id: int) -> Trial: ...
    def pending(self) -> Sequence[int]:
        """Numbers of trials asked and not finished, ascending."""
        ...

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), NaN where unknown; of the funnel's last stage that provides it, or of `stage`.

        A trial that ended before that last stage has none, whatever earlier stages said.
        """
        ...

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), one standard deviation of repeating what `column` gives, NaN where unknown."""
        ...

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), one standard deviation of the method that gave `column`, NaN where unknown.

        An error that the candidates of a chemistry share: to be shown, never to be learned from.
        """
        ...

    def seconds(self, stage: str) -> FloatArray:
        """Shape (n,), what the stage took for every trial it ran for; NaN where it did not, or the cache knew."""
        ...

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        """Of all trials, or of `ids` in their order: cost proportional to what is asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an optimizer sees at one event.

    Attributes:
        event: number of the event; randomness comes from `(seed, event, stream)` alone.
        seeds: genomes the user wants evaluated first.
        cache: may be dropped at any time without changing a result.
        stages: the funnel after the build stage, in order; empty where nobody says.
        budget: how many candidates the run may hold in all as its budget says now, None where only hours limit it.
            It may change at a resume: who reads it does so once, and journals what followed.
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
        """Whether a genome may be proposed to run until that stage: a new one, or a promotion.

        A promotion takes a known genome further: its latest trial is complete and ended before `until`. What was made
        outside the space is never proposed.
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
        """The generator of one purpose within this event."""
        return rng_for(self.seed, self.event, stream)

    def derived_seed(self, stream: str) -> int:
        """A seed of one purpose within this event, for `borrowed_globals`."""
        return derived_seed(self.seed, self.event, stream)


def count_stages_until(stages: Sequence[StageView], until: str | None) -> int:
    """How many stages, the build stage included, a candidate passes that runs `until` this one; all for None."""
    names = [stage.name for stage in stages]
    return names.index(until) + 2 if until in names else len(names) + 1


def collect_notes(state: Json) -> dict[str, str]:
    """What an optimizer's state has to tell the user, sentence by code.

    They stand under `notes`; those of the states under `members` (a mapping or a list) count too, each with its
    member's name before the code.
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
    """A frozen configuration. Its state is a JSON value: ids, counters and credit, never genomes or values.

    A state that is a mapping may hold `notes`: what the user should hear once, a sentence by code (`collect_notes`).
    """

    @property
    def batch(self) -> int:
        """How many candidates it likes to be asked for at a time; never depends on the machine."""
        ...

    @property
    def overlap(self) -> int:
        """How many asks may be under way at once: 1 is synchronous; never depends on the machine."""
        ...

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        """Why it cannot search this space for these objectives, as in "swarm REFUSAL"; empty where it can."""
        ...

    def start(self, context: Context) -> S: ...
    def ask(self, context: Context, state: S, n: int) -> tuple[Sequence[Proposal], S]:
        """At most n proposals that `context.admits`: new ones, and promotions; no genome twice in one answer."""
        ...

    def tell(self, context: Context, state: S, ids: Sequence[int]) -> S:
        """Take note that these trials finished, whoever asked for them."""
        ...


AnyOptimizer = Optimizer[Any]


class OptimizerSettings(Settings):
    """A convenient base for optimizers: the defaults of the contract."""

    @property
    def overlap(self) -> int:
        return 1

    def refusal(self, space: SearchSpace, problem: Problem) -> str:  # noqa: ARG002 - it searches anything
        return ""
