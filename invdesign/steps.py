"""Parts of a committed step of a run: results, endings, and the tasks that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from invdesign.candidate import Candidate, Failure, Genome, Status
from invdesign.measurements import Measurement


@dataclass(frozen=True, slots=True)
class StageResult:
    """Result of one stage for one candidate, as it is stored.

    Attributes:
        noise, systematic, details: as in `Evaluation`.
        structures: role -> hash; the data of new ones is in `blobs`.
        blobs: hash -> compressed structure.
        relaxed_genome: genome of the structure it made, where the space inherits from it (`InheritingSpace`).
        adoption_refused: reason why that structure has no genome; empty where it has one, or was never to be adopted.
    """

    candidate: int
    stage: str
    properties: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    failure: Failure | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    cache_key: str | None = None
    source: int | None = None
    relaxed_genome: Genome | None = None
    adoption_refused: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """Design of one candidate as hashes, and its formula."""

    candidate: int
    formula: str
    design: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finished:
    """Ending of a candidate."""

    candidate: int
    status: Status
    depth: int
    failure: Failure | None = None
    gate: str = ""


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """Row of a task: its stage, its candidates, and the number of earlier attempts."""

    id: int
    stage: str
    members: tuple[int, ...]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Changes by a user beside new candidates, written together with their event.

    Attributes:
        measurements: new ones; their numbers and event are given as they are written.
        taken_back: numbers of measurements that count no more.
        reopened: (candidate, stages whose results count no more): it is pending again.
        withdrawn: (ending of a candidate, stages whose results count no more).
        request: the request behind the event; empty where there was none.
    """

    measurements: Sequence[Measurement] = ()
    taken_back: Sequence[int] = ()
    reopened: Sequence[tuple[int, Sequence[str]]] = ()
    withdrawn: Sequence[tuple[Finished, Sequence[str]]] = ()
    request: str = ""


@dataclass(slots=True)
class Step:
    """Everything that one commit writes, as a whole or not at all."""

    built: list[Built] = field(default_factory=list)
    results: list[StageResult] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    planned: list[PlannedTask] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    lost: list[tuple[int, Failure]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.built or self.results or self.finished or self.planned or self.done or self.lost)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A wave as the store holds it after an interruption.

    Attributes:
        asked: its candidates, in the order of their numbers.
        told: number of candidates that had been told when it was asked for.
        designs: design hashes of the built candidates.
        results: results of stages, in the order they were committed, with the structures' data.
        finished: endings of candidates.
        tasks: every task of the wave that was planned, done ones included.
        planned: numbers of the tasks without a result: they are submitted again.
        by_user: True if the user added these candidates, not the optimizer.
        parted: True if other candidates of the same wave were told already.
        event: number of the event that started it.
    """

    asked: Sequence[Candidate]
    told: int
    designs: Mapping[int, Mapping[str, str]]
    results: Sequence[StageResult]
    finished: Sequence[Finished]
    tasks: Sequence[PlannedTask]
    planned: frozenset[int]
    by_user: bool = False
    parted: bool = False
    event: int = 0
