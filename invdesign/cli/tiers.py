"""Commands for costly last stages: promote the best, collect results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.options import (
    COUNT,
    AsJson,
    RunDir,
    TrustCode,
    Wait,
    Workers,
    parse_integer,
    quote_argument,
)
from invdesign.wording import count_noun

if TYPE_CHECKING:
    from invdesign.candidate import Json
    from invdesign.evaluation import Stage
    from invdesign.run.jobs import Job
    from invdesign.run.run import Run
    from invdesign.run.told import Taken

DEFAULT_TOP = 10  # candidates promoted where the user gives no number (chosen)
StageName = Annotated[
    str, typer.Option("--stage", metavar="STAGE", help="By default the only one on demand.")
]


def promote(
    run_dir: RunDir,
    top: Annotated[int | None, typer.Option(parser=COUNT, help="The n best; 10 by default.")] = None,
    candidates: Annotated[
        str, typer.Option(metavar="N,N", help="Numbers of candidates, in place of --top.")
    ] = "",
    stage: StageName = "",
    workers: Workers = None,
    wait: Wait = 30.0,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Send the best candidates on to a costly stage.

    The stage is run, or its inputs are written for you to run.
    """
    from invdesign.run import jobs
    from invdesign.run.run import Run

    if candidates and top is not None:
        raise typer.BadParameter("--top and --candidates say the same: give one of them")
    opened = Run.open(run_dir, trust_code=trust_code)
    goal = jobs.find_stage(opened, stage)
    ids = _parse_numbers(candidates) if candidates else jobs.best_candidates(opened, top or DEFAULT_TOP)
    for id in ids:
        opened.trial(id)  # says so where there is none
    there = {id: found for id in ids if (found := jobs.find_promotion(opened, id, goal.name)) is not None}
    new = [id for id in ids if id not in there]
    later = _send_on(opened, new, goal.name, workers, wait, trust_code=trust_code) if new else ""
    opened.close()
    opened = Run.open(run_dir, trust_code=trust_code)
    sent = {id: found for id in new if (found := jobs.find_promotion(opened, id, goal.name)) is not None}
    written = _write_waiting_inputs(opened, goal)
    if sent and not any(opened.history.trial(number).status.name == "PENDING" for number in sent.values()):
        later = ""  # the process that works on the run was quick
    if json_:
        facts = {
            "stage": goal.name,
            "promoted": [{"from": id, **_trial_facts(opened, number)} for id, number in sent.items()],
            "there_already": [{"from": id, **_trial_facts(opened, number)} for id, number in there.items()],
            "inputs": [_job_facts(job) for job in written],
        }
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        for line in _promoted_lines(opened, goal, sent, there, written, later, found=bool(ids)):
            typer.echo(line)
    if any(job.state == "not written" for job in written):
        raise typer.Exit(1)


def _parse_numbers(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(parse_integer(part) for part in text.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"expected numbers as 3,17, got {quote_argument(text)}") from error


def _send_on(
    opened: Run, ids: Sequence[int], stage: str, workers: int | None, wait: float, *, trust_code: bool
) -> str:
    """Promote candidates, here or by the process that works on the run.

    Returns:
        A sentence on what is still to come; empty if nothing is.
    """
    from invdesign.run import steering
    from invdesign.run.run import Run

    def open_run(folder: Path) -> Run:
        run = Run.open(folder, trust_code=trust_code)
        if workers is not None:
            run.use_workers(workers)
        return run

    genomes: list[Json] = [dict(opened.trial(id).genome) for id in ids]
    detail: dict[str, Json] = {"genomes": genomes, "until": stage}
    outcome = steering.leave_or_apply(opened.folder, "add", detail, wait=wait, open_run=open_run)
    if outcome.state == "waiting":
        return "another process works on the run, and takes the request up when the candidates under way have ended"
    return "another process works on the run, and sends them on" if outcome.state == "taken" else ""


def _write_waiting_inputs(opened: Run, goal: Stage) -> list[Job]:
    """Write inputs of all candidates waiting at a stage whose jobs the user runs."""
    from invdesign.protocols import JobEvaluator
    from invdesign.run import jobs

    if not goal.external or not isinstance(goal.evaluator, JobEvaluator):
        return []
    return jobs.write_inputs(opened, goal.name, opened.waiting().get(goal.name, []))


def _trial_facts(opened: Run, id: int) -> dict[str, Any]:
    row = opened.row(id)
    return {key: row[key] for key in ("candidate", "formula", "status", "properties", "failure")}


def _job_facts(job: Job) -> dict[str, Any]:
    facts = {"candidate": job.candidate, "stage": job.stage, "folder": str(job.folder), "state": job.state}
    values = dict(job.told.properties) if job.told is not None else {}
    return {**facts, "message": job.message, "properties": values}


def _promoted_lines(
    opened: Run,
    goal: Stage,
    sent: Mapping[int, int],
    there: Mapping[int, int],
    written: Sequence[Job],
    later: str,
    *,
    found: bool,
) -> list[str]:
    if not found:
        return [
            f"No candidate is complete yet: nothing can be promoted. Go on with: invdesign resume {opened.folder}"
        ]
    lines = [f"Promoted to {goal.name}: {count_noun(len(sent), 'candidate')}."] if sent or not there else []
    lines += [f"  {_candidate_line(opened, number)}" for number in sent.values()]
    lines += [f"At {goal.name} already: {count_noun(len(there), 'candidate')}."] if there else []
    lines += [f"  {_candidate_line(opened, number)}" for number in there.values()]
    lines += [f"Not all is done: {later}."] if later else []
    return lines + _next_lines(opened, goal, written)


def _next_lines(opened: Run, goal: Stage, written: Sequence[Job]) -> list[str]:
    if not written:
        waiting = goal.external and opened.waiting().get(goal.name)
        return (
            [f"They wait for what you measure: invdesign tell {opened.folder} results.csv"] if waiting else []
        )
    ready = [job for job in written if job.state != "not written"]
    lines = (
        [f"Inputs of {count_noun(len(ready), 'candidate')} are in {ready[0].folder.parent}:"] if ready else []
    )
    lines += [f"  {job.folder.name}{'' if job.state == 'written' else ' (there already)'}" for job in ready]
    lines += [
        f"  candidate {job.candidate}: not written: {job.message}"
        for job in written
        if job.state == "not written"
    ]
    if ready:
        lines.append(
            "Run the jobs in these folders, here or elsewhere (HOW_TO_RUN.txt in each says how), and bring the "
            f"outputs back into them. Then: invdesign collect {opened.folder}"
        )
    return lines


def _candidate_line(opened: Run, id: int) -> str:
    trial = opened.history.trial(id)
    parents = trial.candidate.proposal.parents
    origin = f"from {parents[0]}" if parents else "itself"
    word = trial.status.name.lower()
    if trial.failure is not None:
        word = f"{word}: {trial.failure.message}"
    elif word == "pending":
        word = "waiting"
    return f"{id} ({origin}) {opened.store.display_formula(id) or ''} {word}".replace("  ", " ")


def collect(
    run_dir: RunDir,
    stage: Annotated[
        str,
        typer.Option("--stage", metavar="STAGE", help="Only this one; by default all whose jobs you run."),
    ] = "",
    wait: Wait = 30.0,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Read the outputs of jobs you ran yourself, as far as they are there."""
    from invdesign.run import jobs
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    names = [found.name for found in jobs.job_stages(opened, stage)]
    _apply_requests(opened)
    waiting = opened.waiting()
    for name in names:
        jobs.write_inputs(opened, name, waiting.get(name, []))  # a promotion that was killed over it
    found = [job for name in names for job in jobs.read_outputs(opened, name, waiting.get(name, []))]
    taken, later = _tell_results(opened, found, wait, trust_code=trust_code)
    if json_:
        ended = {} if taken is None else {str(id): said for id, said in taken.ended.items()}
        typer.echo(
            json.dumps({"jobs": [_job_facts(job) for job in found], "ended": ended}, ensure_ascii=False)
        )
        return
    for line in _collected_lines(opened, found, later):
        typer.echo(line)


def _apply_requests(opened: Run) -> None:
    """Apply quick requests that were left, unless another process works on the run."""
    from invdesign.errors import RunLockedError
    from invdesign.run import steering

    with suppress(RunLockedError):  # the process that holds it takes them up
        steering.apply_quick_requests(opened)


def _tell_results(
    opened: Run, found: Sequence[Job], wait: float, *, trust_code: bool
) -> tuple[Taken | None, str]:
    """Tell the run the results, here or by the process that works on it.

    Returns:
        The outcome, and a sentence on what is still to come.
    """
    from invdesign.run import steering
    from invdesign.run.changes import write_tell_detail
    from invdesign.run.told import Taken

    results = [job.told for job in found if job.told is not None]
    if not results:
        return None, ""
    detail = write_tell_detail(results, replace=False)
    outcome = steering.leave_or_apply(opened.folder, "tell", detail, wait=wait, trust_code=trust_code)
    if outcome.state == "waiting":
        return None, (
            "another process works on the run, and takes the results up when the candidates under way have ended"
        )
    return outcome.answer if isinstance(outcome.answer, Taken) else None, ""


def _collected_lines(opened: Run, found: Sequence[Job], later: str) -> list[str]:
    folder = opened.folder
    if not found:
        return [f"Nothing waits for outputs. Send candidates on with: invdesign promote {folder}"]
    units = opened.campaign.units()
    lines = [_collected_line(job, opened.store.display_formula(job.candidate), units) for job in found]
    read, failed = (sum(job.state == state for job in found) for state in ("read", "failed"))
    left = len(found) - read - failed
    lines.append(f"Read {read}, failed {failed}, not there yet {left}.")
    lines += [f"Not taken up yet: {later}."] if later else []
    if failed:
        number = next(job.candidate for job in found if job.state == "failed")
        lines.append(
            f"To calculate one anew: invdesign withdraw {folder} {number} --again --reason WHY, "
            "and collect when its outputs are new"
        )
    return lines


def _collected_line(job: Job, formula: str, units: Mapping[str, str]) -> str:
    head = f"  {job.candidate} {formula}".rstrip()
    if job.state != "read" or job.told is None:
        return f"{head}: {job.state}{f': {job.message}' if job.state != 'not there yet' else f' ({job.message})'}"
    values = [
        f"{name} {value:.5g} {units.get(name, '')}".rstrip() for name, value in job.told.properties.items()
    ]
    return f"{head}: read: {', '.join(values)}"
