"""Status of a run, as numbers for people and programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from invdesign import pareto
from invdesign.campaign.model import Campaign
from invdesign.candidate import Failure, Status
from invdesign.diskfiles import replace_atomically
from invdesign.errorbars import value_text
from invdesign.history import RunHistory
from invdesign.problem import Merit, Problem, describe_objective
from invdesign.properties import words_beside
from invdesign.standing import Standing
from invdesign.store.store import Store
from invdesign.store.values import parse_bounded_json, translate_value_errors
from invdesign.wording import join_words, list_first

FILE = "status.json"
LISTED = 10  # candidates that a note names (chosen)
WITHDRAWN = "withdrawn"  # kind of failure of what a user took back


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Counts of one stage: candidates entered, passed, gated, failed."""

    name: str
    entered: int
    passed: int
    gated: int
    failed: int


@dataclass(frozen=True, slots=True)
class Best:
    """Best feasible value of one objective, or of the desirability.

    Where there is a desirability, the values are those of the candidate with the best one.

    Attributes:
        goal: what is wanted of a target or window, in numbers; empty for the others.
        value: of the property itself, whatever the direction; None while there is none.
        candidate: the one with that value; None while there is none.
        words: that must stand beside the value; see `words_beside`.
        noise, systematic: one standard deviation each, as in `Evaluation`; None where unknown.
    """

    property: str
    direction: str
    unit: str
    value: float | None
    candidate: int | None
    goal: str = ""
    words: str = ""
    noise: float | None = None
    systematic: float | None = None

    def __str__(self) -> str:
        return describe_objective(self.direction, self.property, self.goal)

    def format_value(self) -> str:
        """The value with errors, unit and words; `none yet` without a value."""
        if self.value is None:
            return "none yet"
        return join_words(
            value_text(self.value, self.noise, self.systematic, self.unit), self.unit, self.words
        )


@dataclass(frozen=True, slots=True)
class Volume:
    """Hypervolume that the front dominates.

    Attributes:
        value: in the product of the objectives' units; None where the front is too large to measure in passing.
        unit: that product.
        reference: coordinate by property, in its unit; of a target or window the distance.
        given: whether the campaign gives the reference point; else it follows the worst feasible values found,
            and moves as the run goes on.
    """

    value: float | None
    unit: str
    reference: Mapping[str, float]
    given: bool


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Snapshot of a run.

    Attributes:
        state: `new`, `running`, `finished`, `stopped`, `waiting` (for results from outside), `failed` (by an
            error), or `interrupted` (killed; resume goes on).
        reason: why it is not running.
        counts: trials by status (`pending`, `complete`, `gated`, `infeasible`, `failed`, `withdrawn`), and `asked`.
        best: the desirability first where the objectives are combined to one, then every objective.
        hypervolume: of several objectives with a feasible trial; else None.
        ranked_by: how many values candidates are ranked by: one per objective, or the one they are combined to.
        elapsed: seconds of work over all sessions.
        failures: failed and infeasible trials by cause (`STAGE: KIND`), most frequent first.
        time_left: seconds to the first limit, from the hours left and the pace over all sessions; None where the budget
            does not tell.
        notes: of the campaign, on the run it was forked from, of the optimizer (a fallback, what it chose and why), and on
            candidates made outside the space.
        waiting: how many candidates wait for results from outside, by stage.
        feasible: complete candidates that meet every constraint; None where there is no constraint.
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
    hypervolume: Volume | None = None
    ranked_by: int = 1
    notes: tuple[str, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    feasible: int | None = None

    def to_json(self) -> str:
        """Write the status as one JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def write(self, folder: Path) -> None:
        """Replace the status file in `folder` at once.

        A reader on a network file system never sees half of it.
        """
        with replace_atomically(folder / FILE) as temporary:
            temporary.write_text(self.to_json() + "\n", encoding="utf-8")


def read_status(folder: Path) -> RunStatus:
    """Read the status last written into `folder` by the process that holds the run."""
    path = folder / FILE
    with translate_value_errors(path, "the status file"):
        data = parse_bounded_json(path.read_text(encoding="utf-8").strip(), finite=False)
        data["stages"] = [StageStatus(**row) for row in data["stages"]]
        data["best"] = [Best(**row) for row in data["best"]]
        data["hypervolume"] = Volume(**data["hypervolume"]) if data.get("hypervolume") else None
        data["notes"] = tuple(data.get("notes", ()))
        return RunStatus(**data)


def describe_origin(store: Store) -> tuple[str, ...]:
    """Sentence on the run this one was forked from, if any.

    Args:
        store: the run's.
    """
    text = store.read_entry("forked_from")
    with translate_value_errors(store.path, "the entry 'forked_from' of table meta"):
        return (str(parse_bounded_json(text)["note"]),) if text else ()


def take_snapshot(
    campaign: Campaign,
    history: RunHistory,
    *,
    state: str,
    reason: str = "",
    elapsed: float = 0.0,
    now_in: Sequence[int] | None = None,
    notes: tuple[str, ...] = (),
    waiting: Mapping[str, int] | None = None,
) -> RunStatus:
    """Status of a run from its history, in milliseconds even for large runs.

    Args:
        campaign: of the run.
        history: of the run.
        state: see `RunStatus`.
        reason: why it is not running.
        elapsed: seconds of work over all sessions.
        now_in: candidates now in each stage of the funnel.
        notes: the optimizer's (`protocols.collect_notes` its state); the campaign's own come before them.
        waiting: candidates that wait for results from outside, by stage; they are in it.
    """
    if now_in is None and waiting:
        now_in = [waiting.get(stage.name, 0) for stage in campaign.funnel]
    finished = int((history.status_by_trial() != Status.PENDING).sum())
    pace = finished / elapsed if elapsed > 0 else 0.0
    by_status = np.bincount(history.status_by_trial(), minlength=len(Status))
    counts = {status.name.lower(): int(by_status[status]) for status in Status}
    standing = history.update_standing()
    return RunStatus(
        name=campaign.name,
        state=state,
        reason=reason,
        counts={"asked": len(history), **counts},
        budget=campaign.budget.model_dump(),
        stages=stage_counts(campaign, history, now_in),
        best=_best_values(campaign, history, standing),
        front_size=len(standing.front),
        failures=failure_counts(history),
        elapsed=elapsed,
        candidates_per_hour=3600 * pace,
        time_left=_time_left(campaign, finished, pace, elapsed),
        hypervolume=_front_volume(campaign, standing),
        ranked_by=campaign.problem.n_values,
        notes=(*campaign.notes, *notes, *outside_notes(history, campaign.problem, standing)),
        waiting=dict(waiting or {}),
        feasible=standing.feasible if campaign.problem.constraints else None,
    )


def outside_notes(history: RunHistory, problem: Problem, standing: Standing) -> list[str]:
    """Sentences on candidates made outside the space.

    One says so where some are better than all within it.

    Args:
        history: of the run.
        problem: its objectives and constraints.
        standing: front and extremes of the candidates within the space.
    """
    status = history.status_by_trial()
    ids = [id for id in history.outside() if status[id] not in {Status.PENDING, Status.WITHDRAWN}]
    if not ids:
        return []
    what = "it is" if len(ids) == 1 else "they are"
    rest = f"{what} data for the models, never a proposal or a parent, and not among the best"
    found = [f"{_list_candidates(ids)} {'was' if len(ids) == 1 else 'were'} made outside the space: {rest}"]
    scores = history.outside_scores()
    feasible = scores.select_rows(np.flatnonzero(scores.merit == Merit.FEASIBLE))
    # On the joint front, and not the equal of a member within the space.
    joint = np.vstack([standing.values.reshape(-1, problem.n_values), feasible.values])
    ahead = pareto.front(joint)
    ahead = ahead[ahead >= len(standing.values)] - len(standing.values)
    equal = [bool((standing.values == feasible.values[row]).all(axis=1).any()) for row in ahead.tolist()]
    better = [int(feasible.ids[row]) for row, same in zip(ahead.tolist(), equal, strict=True) if not same]
    if better:
        word = "is" if len(better) == 1 else "are"
        than = "the best within it" if problem.n_values == 1 else "the front within it, or beside it"
        found.append(
            f"{_list_candidates(better)}, outside the space, {word} better than {than}: to search there, widen the space and go "
            "on with invdesign fork"
        )
    return found


def _list_candidates(ids: Sequence[int]) -> str:
    return f"candidate{'' if len(ids) == 1 else 's'} {list_first(ids, LISTED)}"


def failure_counts(history: RunHistory) -> dict[str, int]:
    """Failures in a `history` by stage and kind, most frequent first.

    Infeasible trials count as failures, withdrawn ones do not.
    """
    failures = counted_failures(history).values()
    return dict(Counter(f"{f.stage}: {f.kind}" for f in failures).most_common())


def counted_failures(history: RunHistory) -> dict[int, Failure]:
    """Causes in a `history` by number of the trial, for failed and infeasible ones."""
    return {id: f for id, f in history.failures_by_trial().items() if f.kind != WITHDRAWN}


def stage_counts(
    campaign: Campaign, history: RunHistory, now_in: Sequence[int] | None = None
) -> list[StageStatus]:
    """Counts of every stage, the build stage first.

    Args:
        campaign: of the run.
        history: of the run.
        now_in: candidates now in each stage.
    """
    funnel = campaign.funnel
    status, depth = history.status_by_trial(), history.depth_by_trial()
    size = len(funnel) + 1

    def count_at(*wanted: Status) -> np.ndarray:
        return np.bincount(depth[np.isin(status, wanted)], minlength=size)

    gated, failed = count_at(Status.GATED), count_at(Status.FAILED, Status.INFEASIBLE)
    ended_after = count_at(Status.COMPLETE)
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


def _best_values(campaign: Campaign, history: RunHistory, standing: Standing) -> list[Best]:
    problem, units = campaign.problem, campaign.units()
    found = standing.best_ids.tolist() or [None] * problem.n_values
    rows = []
    if problem.scalarize is not None:
        value = None if found[0] is None else max(0.0, 1.0 - float(standing.best[0]))
        rows.append(Best("desirability", "maximize", "", value, found[0]))
        # Of a combined score what counts is what its best candidate is like, not each objective's own best.
        found = found * len(problem.objectives)
    for objective, candidate in zip(problem.objectives, found, strict=True):
        name = objective.property
        value = None if candidate is None else history.value_of(name, candidate)
        words = "" if candidate is None else _words_of_trial(history, name, candidate)
        errors = (None, None) if candidate is None else history.errors_of(name, candidate)
        unit = units.get(name, "")
        rows.append(
            Best(name, objective.direction, unit, value, candidate, objective.goal_text(), words, *errors)
        )
    return rows


def _words_of_trial(history: RunHistory, name: str, id: int) -> str:
    """Words beside a property of a trial."""
    return words_beside(name, lambda flag: history.value_of(flag, id))


def _front_volume(campaign: Campaign, standing: Standing) -> Volume | None:
    problem = campaign.problem
    reference = problem.reference if problem.reference is not None else standing.reference_point()
    if problem.n_values < 2 or reference is None:
        return None
    return Volume(
        value=standing.hypervolume(reference),
        unit=volume_unit(problem, campaign.units()),
        reference=problem.to_property_units(reference),
        given=problem.reference is not None,
    )


def volume_unit(problem: Problem, units: Mapping[str, str]) -> str:
    """Product of the units of `problem`'s objectives."""
    return " × ".join(filter(None, (units.get(o.property, "") for o in problem.objectives)))


def _time_left(campaign: Campaign, finished: int, pace: float, elapsed: float) -> float | None:
    limits = []
    if campaign.budget.candidates is not None and pace > 0:
        limits.append(max(0.0, campaign.budget.candidates - finished) / pace)
    if campaign.budget.hours is not None:
        limits.append(max(0.0, 3600 * campaign.budget.hours - elapsed))
    return min(limits) if limits else None
