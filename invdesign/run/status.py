"""Where a run stands, as numbers a person or a program may read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from invdesign.campaign.model import Campaign
from invdesign.candidate import Status
from invdesign.history import RunHistory
from invdesign.problem import Merit

FILE = "status.json"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Counts of one stage: what came in, what went on, what was stopped."""

    name: str
    entered: int
    passed: int
    gated: int
    failed: int


@dataclass(frozen=True, slots=True)
class Best:
    """The best feasible value of one objective; None while there is none."""

    property: str
    direction: str
    unit: str
    value: float | None
    candidate: int | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A snapshot of a run.

    Attributes:
        state: `new`, `running`, `finished`, `stopped`, or `interrupted` (killed; resume goes on).
        reason: why it is not running.
        counts: trials by status (`pending`, `complete`, `gated`, `infeasible`, `failed`), and `asked`.
        elapsed: seconds of work over all sessions.
        failures: trials by cause.
        time_left: seconds, from the pace of this session; None where the budget does not tell.
    """

    name: str
    state: str
    reason: str
    counts: Mapping[str, int]
    budget: Mapping[str, float | None]
    stages: Sequence[StageStatus]
    best: Sequence[Best]
    front_size: int
    failures: Mapping[str, int]
    elapsed: float
    candidates_per_hour: float
    time_left: float | None

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def write(self, folder: Path) -> None:
        """Replace the status file at once, so that a reader on a network file system never sees half of it."""
        temporary = folder / f"{FILE}.{os.getpid()}"
        temporary.write_text(self.to_json() + "\n", encoding="utf-8")
        temporary.replace(folder / FILE)


def read_status(folder: Path) -> RunStatus:
    """The snapshot last written by the process that holds the run."""
    data = json.loads((folder / FILE).read_text(encoding="utf-8"))
    data["stages"] = [StageStatus(**row) for row in data["stages"]]
    data["best"] = [Best(**row) for row in data["best"]]
    return RunStatus(**data)


def snapshot(
    campaign: Campaign,
    history: RunHistory,
    *,
    state: str,
    reason: str = "",
    elapsed: float = 0.0,
    now_in: Sequence[int] | None = None,
) -> RunStatus:
    """The status of a run from its history.

    Args:
        elapsed: seconds of work over all sessions.
        now_in: candidates now in each stage of the funnel.
    """
    finished = int((history.status() != Status.PENDING).sum())
    pace = finished / elapsed if elapsed > 0 else 0.0
    by_status = np.bincount(history.status(), minlength=len(Status))
    counts = {status.name.lower(): int(by_status[status]) for status in Status}
    best, front_size = _best(campaign, history)
    return RunStatus(
        name=campaign.name,
        state=state,
        reason=reason,
        counts={"asked": len(history), **counts},
        budget=campaign.budget.model_dump(),
        stages=stage_counts(campaign, history, now_in),
        best=best,
        front_size=front_size,
        failures=failure_counts(history),
        elapsed=elapsed,
        candidates_per_hour=3600 * pace,
        time_left=_time_left(campaign, finished, pace, elapsed),
    )


def failure_counts(history: RunHistory) -> dict[str, int]:
    """Trials by stage and kind of failure, most frequent first."""
    return dict(Counter(f"{f.stage}: {f.kind}" for f in history.failures().values()).most_common())


def stage_counts(
    campaign: Campaign, history: RunHistory, now_in: Sequence[int] | None = None
) -> list[StageStatus]:
    """Counts of every stage, the build stage first."""
    funnel = campaign.funnel
    status, depth = history.status(), history.depth()
    size = len(funnel) + 1

    def at(*wanted: Status) -> np.ndarray:
        return np.bincount(depth[np.isin(status, wanted)], minlength=size)

    gated, failed = at(Status.GATED), at(Status.FAILED, Status.INFEASIBLE)
    ended_after = at(Status.COMPLETE)
    inside = np.zeros(size, dtype=np.int64)
    inside[: len(funnel)] = now_in if now_in is not None else 0
    passed = [
        int((gated + failed + inside)[n + 1 :].sum() + ended_after[n + 1 :].sum()) for n in range(len(funnel))
    ]
    return [
        StageStatus(
            stage.name,
            passed[n] + int(gated[n] + failed[n] + inside[n]),
            passed[n],
            int(gated[n]),
            int(failed[n]),
        )
        for n, stage in enumerate(funnel)
    ]


def _best(campaign: Campaign, history: RunHistory) -> tuple[list[Best], int]:
    scores = history.scores()
    feasible = np.flatnonzero(scores.merit == Merit.FEASIBLE)
    units = campaign.units()
    rows = []
    for number, objective in enumerate(campaign.problem.objectives):
        value = candidate = None
        if len(feasible):
            at = feasible[int(np.argmin(scores.values[feasible, number]))]
            candidate = int(scores.ids[at])
            value = float(history.value(objective.property, candidate))
        unit = units.get(objective.property, "")
        rows.append(Best(objective.property, objective.direction, unit, value, candidate))
    return rows, len(scores.front())


def _time_left(campaign: Campaign, finished: int, pace: float, elapsed: float) -> float | None:
    limits = []
    if campaign.budget.candidates is not None and pace > 0:
        limits.append(max(0.0, campaign.budget.candidates - finished) / pace)
    if campaign.budget.hours is not None:
        limits.append(max(0.0, 3600 * campaign.budget.hours - elapsed))
    return min(limits) if limits else None
