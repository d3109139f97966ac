"""What one committed step of a run consists of: results, endings, and the tasks they led to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from invdesign.candidate import Candidate, Failure, Status
from invdesign.measurements import Measurement


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage said of one candidate, as it is stored.

    Attributes:
        noise, systematic, details: as in `Evaluation`.
        structures: role -> hash; the data of new ones is in `blobs`.
        blobs: hash -> compressed structure.
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


@dataclass(frozen=True, slots=True)
class Built:
    """What the build stage learned of a candidate."""

    candidate: int
    formula: str
    design: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a candidate ended."""

    candidate: int
    status: Status
    depth: int
    failure: Failure | None = None
    gate: str = ""


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task's row: what was sent out, and how often its members were tried."""

    id: int
    stage: str
    members: tuple[int, ...]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class UserEvent:
    """What a user did to the run, beside new candidates: written with its event, all of it or nothing.

    Attributes:
        measurements: new ones; their numbers and event are given as they are written.
        taken_back: numbers of measurements that count no more.
        reopened: (candidate, stages whose results count no more): it is pending again.
        withdrawn: (how a candidate ended, stages whose results count no more).
        request: the request this takes up; empty where there was none.
    """

    measurements: Sequence[Measurement] = ()
    taken_back: Sequence[int] = ()
    reopened: Sequence[tuple[int, Sequence[str]]] = ()
    withdrawn: Sequence[tuple[Finished, Sequence[str]]] = ()
    request: str = ""


@dataclass(slots=True)
class Step:
    """Everything one commit writes: all of it or nothing."""

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
        told: how many candidates had been told when it was asked for.
        designs: design hashes of those that were built.
        results: what stages said, in the order it was committed, with the structures' data.
        finished: how those that ended did.
        tasks: every task of the wave that was planned, done ones included.
        planned: numbers of the tasks without a result: they go out again.
        by_user: whether somebody else than the optimizer set it on its way.
        parted: whether others that set out with these were told already.
        event: number of the event that set it on its way.
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
