"""Jobs a user runs himself: what waits at an external stage has its inputs written, and outputs are read and told."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from invdesign.candidate import Evaluation, Input, Status
from invdesign.errors import RunError, nearest
from invdesign.evaluation import Stage
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import JobEvaluator
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.told import Told
from invdesign.worker import WORK_FOLDER

if TYPE_CHECKING:
    from invdesign.run.run import Run

State = Literal["written", "there", "not written", "read", "not there yet", "failed", "unreadable"]


@dataclass(frozen=True, slots=True)
class Job:
    """Job of one candidate at an external stage, with its state.

    Attributes:
        folder: where its files are, or will be.
        state: inputs were `written`, were `there` already, could `not` be `written`; outputs were `read`, are `not there
            yet`, say that the job `failed`, or are `unreadable` (nothing is told then).
        message: why it is so, in a sentence; empty where there is nothing to say.
        told: for outputs that were read, and for failures: what they say of the candidate.
    """

    candidate: int
    stage: str
    folder: Path
    state: State
    message: str = ""
    told: Told | None = field(default=None, compare=False)


def find_stage(run: Run, name: str = "") -> Stage:
    """Stage of a `run` by `name`; by default the only one on demand.

    Raises:
        RunError: there is no such stage, or it is not clear which.
    """
    stages = run.campaign.stages
    names = [stage.name for stage in stages]
    if name:
        found = [stage for stage in stages if stage.name == name]
        hint = f"{nearest(name, names)} Stages: {', '.join(names)}."
        message = f"{run.folder} has no stage '{name}'. {hint}"
    else:
        found = [stage for stage in stages if stage.on_demand]
        listed = ", ".join(stage.name for stage in found) or "none"
        message = f"say which --stage: stages on demand are {listed}, and all stages are {', '.join(names)}"
    if len(found) != 1:
        raise RunError(message.replace("  ", " "))
    return found[0]


def best_candidates(run: Run, n: int) -> list[int]:
    """Numbers of the `n` best complete candidates of a `run`, best first.

    Of a genome that was taken further, it is the later trial.

    What was made outside the space is not among them: nothing evaluates it further.
    """
    status, left_out = run.history.status_by_trial(), {*run.history.superseded(), *run.history.outside()}
    complete = (id for id in run.ranking() if status[id] == Status.COMPLETE and id not in left_out)
    return [id for id, _ in zip(complete, range(n), strict=False)]


def find_promotion(run: Run, id: int, stage: str) -> int | None:
    """Trial of a candidate's genome that went, or is to go, to a stage.

    Args:
        run: to look in.
        id: number of the candidate.
        stage: name of the stage.

    Returns:
        Its number; None if there is none.
    """
    history = run.history
    latest = history.id_of(history.candidate(id).key)
    assert latest is not None  # it has a trial: this one
    names = ["build", *(view.name for view in run.campaign.all_views)]
    trial = history.trial(latest)
    until = trial.candidate.proposal.until
    bound = until in names and names.index(until) >= names.index(stage)
    return latest if bound or trial.depth > names.index(stage) else None


def job_folder(run: Run, stage: str, id: int) -> Path:
    """Folder of a candidate at an external stage: its number and formula.

    Args:
        run: that has the candidate.
        stage: name of the stage.
        id: number of the candidate.
    """
    formula = re.sub(r"[^A-Za-z0-9.]", "", run.store.stored_formula(id)) or run.history.candidate(id).key[:12]
    return run.folder / WORK_FOLDER / stage / f"{id:06d}-{formula}"


def write_inputs(run: Run, stage: str, ids: Sequence[int]) -> list[Job]:
    """Write the inputs of candidates that wait at a stage.

    A folder that exists is left alone.

    Args:
        run: that has the candidates.
        stage: name of the stage.
        ids: numbers of the candidates.
    """
    evaluator = _job_evaluator(run, stage)
    jobs = []
    for id in ids:
        folder = job_folder(run, stage, id)
        if folder.exists():
            jobs.append(Job(id, stage, folder, "there"))
            continue
        try:
            _write_all_inputs(evaluator, run.inputs([id], stage)[0], folder)
            jobs.append(Job(id, stage, folder, "written"))
        except FOREIGN_ERRORS as error:  # an evaluator may raise anything; the others go on
            jobs.append(Job(id, stage, folder, "not written", _join_lines(error)))
    return jobs


def _write_all_inputs(evaluator: JobEvaluator, item: Input, folder: Path) -> None:
    """Write all inputs, or no folder: a folder that is there can be started."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed over it
    fresh.mkdir(parents=True)
    try:
        evaluator.write_inputs(item, fresh)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_outputs(run: Run, stage: str, ids: Sequence[int]) -> list[Job]:
    """Read the outputs of candidates that wait at a stage.

    The run is told nothing yet.

    Args:
        run: that has the candidates.
        stage: name of the stage.
        ids: numbers of the candidates.
    """
    evaluator = _job_evaluator(run, stage)
    return [_read_job(run, evaluator, stage, id) for id in ids]


def _read_job(run: Run, evaluator: JobEvaluator, stage: str, id: int) -> Job:
    folder = job_folder(run, stage, id)
    try:
        found = evaluator.read_outputs(run.inputs([id], stage)[0], folder) if folder.is_dir() else None
    except FOREIGN_ERRORS as error:  # an unreadable folder says nothing of the candidate
        return Job(id, stage, folder, "unreadable", _join_lines(error))
    if found is None:
        return Job(id, stage, folder, "not there yet", _list_files(folder))
    note = f"collected from {folder.relative_to(run.folder)}"
    if found.failure is not None:
        told = Told(candidate=id, failure=found.failure.message, stage=stage, note=note)
        return Job(id, stage, folder, "failed", found.failure.message, told)
    broken = _describe_mismatch(found, evaluator)
    if broken:
        return Job(id, stage, folder, "unreadable", broken)
    told = Told(
        candidate=id,
        properties=found.properties,
        noise=found.noise,
        systematic=found.systematic,
        details=found.details,
        structures=found.structures,
        stage=stage,
        note=note,
    )
    return Job(id, stage, folder, "read", told=told)


def _list_files(folder: Path) -> str:
    """List the files in a job's folder, for a message that a result is missing."""
    if not folder.is_dir():
        return "its inputs are not written"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"in its folder: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def _describe_mismatch(found: Evaluation, evaluator: JobEvaluator) -> str:
    promised = {name for name in evaluator.provides if not is_structure(name)}
    roles = {name.removeprefix(STRUCTURE_PREFIX) for name in evaluator.provides if is_structure(name)}
    if set(found.properties) != promised or set(found.structures) != roles:
        given = ", ".join(sorted([*found.properties, *found.structures])) or "nothing"
        return f"the evaluator read {given}, and promises {', '.join(sorted(promised | roles))}"
    odd = [name for name, value in found.properties.items() if not math.isfinite(float(value))]
    return f"{odd[0]} is no finite number" if odd else ""


def job_stages(run: Run, name: str = "") -> list[Stage]:
    """Stages of a `run` whose jobs the user runs: all, or the one called `name`.

    Raises:
        RunError: there is none.
    """
    found = [find_stage(run, name)] if name else list(run.campaign.stages)
    found = [stage for stage in found if stage.external and isinstance(stage.evaluator, JobEvaluator)]
    if not found:
        what = f"stage {name} of {run.folder}" if name else f"no stage of {run.folder}"
        raise RunError(
            f"{what} {'is none' if name else 'is one'} whose jobs you run yourself (vasp or espresso without a command): "
            "there is nothing to collect"
        )
    return found


def _job_evaluator(run: Run, stage: str) -> JobEvaluator:
    return cast("JobEvaluator", run.campaign.evaluators[stage])


def _join_lines(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
