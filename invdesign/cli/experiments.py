"""Commands for experiments: hand out candidates, read results back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.options import COUNT, NUMBER, AsJson, RunDir, TrustCode, Workers
from invdesign.errors import INTERRUPTED, RunError
from invdesign.wording import align_columns, count_noun, list_first

if TYPE_CHECKING:
    from invdesign.measurements import Measurement
    from invdesign.run.run import Run
    from invdesign.run.told import Taken
    from invdesign.sheets.results import Results

MAX_LISTED = 12  # numbers in a sentence (chosen)


def ask(
    run_dir: RunDir,
    n: Annotated[int, typer.Option("-n", "--number", parser=COUNT, help="How many candidates.")] = 4,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to fill in: .csv, or .json for programs; by default printed."
        ),
    ] = None,
    campaign_file: Annotated[
        Path | None,
        typer.Option("--campaign", metavar="FILE", help="Start a run of this campaign where DIR holds none."),
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="No new ones: all that were handed out and have no result yet.")
    ] = False,
    workers: Workers = None,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Hand out candidates to measure, as a file to fill in."""
    from invdesign.sheets.batch import batch_rows, write_batch

    opened = _open_or_create(run_dir, campaign_file, workers, output, trust_code=trust_code)
    ids = opened.handed_out() if pending else opened.ask(n)
    reason = "" if pending else opened.ask_ended
    if reason == "stopped":
        typer.echo("Stopped; nothing was handed out, everything finished is kept.", err=True)
        raise typer.Exit(INTERRUPTED)
    files = write_batch(opened, ids, output) if output is not None and ids else []
    if json_:
        rows = batch_rows(opened, ids, units=False) if ids else []
        typer.echo(json.dumps({"candidates": rows, "ended": reason}, ensure_ascii=False))
        return
    for line in _ask_lines(opened, ids, output, files, reason=reason, pending=pending, wanted=n):
        typer.echo(line)


def _open_or_create(
    run_dir: Path, campaign_file: Path | None, workers: int | None, output: Path | None, *, trust_code: bool
) -> Run:
    """Open a run, or create it from the campaign if there is none.

    A batch that cannot be written to `output` is refused before anything is made, changed or handed out.
    """
    from invdesign.campaign.load import load_campaign
    from invdesign.run.run import Run
    from invdesign.sheets.batch import check_output
    from invdesign.store.store import STORE_FILE

    campaign = load_campaign(campaign_file, trust_code=trust_code) if campaign_file else None
    if (run_dir / STORE_FILE).exists():
        opened = Run.open(run_dir, trust_code=trust_code)
        if output is not None:
            check_output(opened.campaign, output)
        if campaign is not None:
            opened.change(campaign)
    elif campaign is None:
        raise RunError(f"{run_dir} holds no run. Start one with: invdesign ask {run_dir} --campaign FILE")
    elif not campaign.measured_outside:
        raise RunError(
            f"nothing of {campaign_file} is measured: ask hands out candidates of campaigns with a stage whose "
            f"results come from outside, such as experiment. Run it with: invdesign run {campaign_file}"
        )
    else:
        if output is not None:
            check_output(campaign, output)
        opened = Run.create(campaign, run_dir)
    _set_workers(opened, workers)
    return opened


def _set_workers(opened: Run, workers: int | None) -> None:
    """Set the number of workers; none if there is nothing to compute."""
    from invdesign.protocols import StructureSpace

    idle = all(stage.external for stage in opened.campaign.stages)
    if workers is not None:
        opened.use_workers(workers)
    elif idle and not isinstance(opened.campaign.space, StructureSpace):
        opened.use_workers(0)


def _ask_lines(
    opened: Run,
    ids: Sequence[int],
    output: Path | None,
    files: Sequence[Path],
    *,
    reason: str,
    pending: bool,
    wanted: int,
) -> list[str]:
    folder = opened.folder
    if not ids:
        return _nothing_lines(opened, reason, pending=pending)
    lines = []
    if output is None:
        lines += [*_batch_table(opened, ids), ""]
        lines.append(f"As a file to fill in: invdesign ask {folder} --pending --output batch.csv")
    else:
        beside = f", structures in {files[0].parent}" if files else ""
        lines.append(f"Wrote {_name_candidates(ids)} to {output}{beside}.")
        lines.append(f"Fill in what you measure, and bring it back: invdesign tell {folder} {output}")
    lines += _work_lines(opened, ids)
    if len(ids) < wanted and not pending:
        lines.append(f"Fewer than {wanted}: {_ending_reason(opened, reason)}")
    return lines


def _nothing_lines(opened: Run, reason: str, *, pending: bool) -> list[str]:
    folder, out = opened.folder, opened.handed_out()
    if pending:
        return [
            f"Nothing is waiting for a result. New candidates: invdesign ask {folder} -n 4 --output batch.csv"
        ]
    lines = [f"No new candidates: {_ending_reason(opened, reason)}"]
    if out:
        lines.append(
            f"Handed out and without result: {list_first(out, MAX_LISTED)}. Bring results: invdesign tell {folder} FILE"
        )
    return lines


def _ending_reason(opened: Run, reason: str) -> str:
    from invdesign.run.loop import BUDGET_REACHED

    if reason == BUDGET_REACHED:
        count = len(opened.history)
        return f"{reason} ({count} candidates). A larger one: invdesign budget {opened.folder} --candidates {2 * count}"
    if opened.handed_out():
        return "all of the space was proposed, or the optimizer waits for results of what is handed out."
    return f"{reason}."


def _work_lines(opened: Run, ids: Sequence[int]) -> list[str]:
    """Properties to measure, by stage, with instructions."""
    from invdesign.protocols import MeasuredEvaluator

    lines = []
    for stage, waiting in opened.waiting().items():
        if not set(ids) & set(waiting):
            continue
        evaluator = opened.campaign.evaluators[stage]
        names = [f"{name} [{unit}]" if unit else name for name, unit in evaluator.provides.items()]
        said = evaluator.instructions if isinstance(evaluator, MeasuredEvaluator) else ""
        lines.append(f"{stage}: {', '.join(names)}. {said}".rstrip())
    return lines


def _batch_table(opened: Run, ids: Sequence[int]) -> list[str]:
    from invdesign.sheets.batch import design_rows

    rows = design_rows(opened, ids)
    head = list(rows[0])
    return align_columns([head, *([_format_cell(row[name]) for name in head] for row in rows)])


def tell(
    run_dir: RunDir,
    results: Annotated[
        Path, typer.Argument(metavar="FILE", help="Results: a batch file filled in, or your own.")
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="They stand in for what was told of these candidates before; else they count beside it.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    workers: Workers = None,
    trust_code: TrustCode = False,
) -> None:
    """Read results back into a run; a file with a mistake changes nothing."""
    from invdesign.run import steering
    from invdesign.run.changes import write_tell_detail
    from invdesign.run.run import Run
    from invdesign.run.told import Taken
    from invdesign.sheets.results import read_results

    def open_run(folder: Path) -> Run:
        opened = Run.open(folder, trust_code=trust_code)
        _set_workers(opened, workers)
        return opened

    opened = open_run(run_dir)
    found = read_results(opened, results)
    opened.close()
    for remark in found.remarks:
        typer.echo(f"{results.name}, {remark}")
    if dry_run or not found.told:
        said = "and nothing was recorded" if dry_run else "so that nothing was recorded"
        typer.echo(f"{results}: {_summarize_file(found)}, {said}.")
        return
    outcome = steering.leave_or_apply(
        run_dir, "tell", write_tell_detail(found.told, replace=replace), open_run=open_run
    )
    if outcome.state == "waiting":
        typer.echo(f"{run_dir} is worked on: {_summarize_file(found)}, taken up as soon as a step ends.")
        return
    taken = outcome.answer if isinstance(outcome.answer, Taken) else None
    for line in _told_lines(open_run(run_dir), found, taken, replaced=replace):
        typer.echo(line)


def _summarize_file(found: Results) -> str:
    rows = f", {count_noun(found.open, 'row')} without one" if found.open else ""
    return f"{count_noun(len(found.told), 'result')}{rows}"


def _told_lines(opened: Run, found: Results, taken: Taken | None, *, replaced: bool) -> list[str]:
    folder = opened.folder
    if taken is None:  # by another process, which does not say
        return [f"{_summarize_file(found)}: taken up by the process that works on {folder}."]
    lines = [f"Recorded {count_noun(taken.recorded, 'measurement')}{_other_rows(found, taken)}."]
    if taken.added:
        lines.append(f"Not asked for, added to the run: {_name_candidates(taken.added)}.")
    by_status: dict[str, list[int]] = {}
    for id, status in taken.ended.items():
        by_status.setdefault(status, []).append(id)
    lines += [f"{status.capitalize()}: {_name_candidates(ids)}." for status, ids in by_status.items()]
    lines += [f"Candidate {id} did not come so far: {why}." for id, why in taken.stopped.items()]
    repeated = [] if replaced or not taken.recorded else _averaged_candidates(opened, found)
    if repeated:
        lines.append(
            f"More than one measurement counts of {_name_candidates(repeated)}: they are averaged. "
            "If the new one is to replace the older, tell the file again with --replace."
        )
    return [*lines, *_next_lines(opened)]


def _other_rows(found: Results, taken: Taken) -> str:
    parts = [f"{taken.known} told before"] if taken.known else []
    parts += [f"{count_noun(found.open, 'row')} without a result yet"] if found.open else []
    return f" ({', '.join(parts)})" if parts else ""


def _averaged_candidates(opened: Run, found: Results) -> list[int]:
    """Candidates in the file with several measurements at one stage."""
    from invdesign.candidate import genome_key

    counted = Counter((item.key, item.stage) for item in opened.measurements() if item.withdrawn is None)
    keys = {
        genome_key(told.genome)
        if told.genome is not None
        else opened.history.candidate(told.candidate or 0).key
        for told in found.told
    }
    ids = {opened.history.id_of(key) for (key, _), count in counted.items() if count > 1 and key in keys}
    return sorted(id for id in ids if id is not None)


def _next_lines(opened: Run) -> list[str]:
    folder, out = opened.folder, opened.handed_out()
    lines = [f"Handed out and without result: {_name_candidates(out)}."] if out else []
    limit = opened.campaign.budget.candidates
    if limit is not None and len(opened.history) >= limit:
        lines.append(f"The budget of {limit} candidates is used. Best candidates: invdesign top {folder}")
    else:
        lines.append(
            f"Best so far: invdesign top {folder}. New candidates: invdesign ask {folder} -n 4 --output FILE"
        )
    return lines


def measurements(
    run_dir: RunDir,
    candidate: Annotated[
        int | None, typer.Argument(parser=NUMBER, metavar="[NUMBER]", help="Of one candidate only.")
    ] = None,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """List the measurements of a run, including withdrawn ones."""
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    told = opened.measurements(candidate)
    events = _events_by_number(opened) if told else {}
    rows = [_measurement_row(opened, item, events) for item in told]
    if json_:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        whose = f"of candidate {candidate}" if candidate is not None else f"in {run_dir}"
        typer.echo(f"Nothing was told {whose}. Results: invdesign tell {run_dir} FILE")
        return
    names = list(dict.fromkeys(name for row in rows for name in row["properties"]))
    units = opened.campaign.units()
    head = ["number", "candidate", "stage", "told"]
    head += [f"{name} [{units[name]}]" if units.get(name) else name for name in names]
    cells = [
        [
            *(str(row[name]) for name in ("number", "candidate", "stage")),
            row["told"].replace("T", " ")[:16],
            *(_format_value(row, name) for name in names),
            "; ".join(filter(None, [row["measurement"], row["failure"], row["note"], row["withdrawn"]])),
        ]
        for row in rows
    ]
    for line in align_columns([[*head, ""], *cells]):
        typer.echo(line)


def _events_by_number(opened: Run) -> dict[int, Any]:
    """Kind, detail and time of the run's events, by number."""
    from invdesign.store.schema import events

    return {row.id: row for row in opened.store.read_rows(events, ("id", "kind", "detail", "time"))}


def _measurement_row(opened: Run, item: Measurement, events: Mapping[int, Any]) -> dict[str, Any]:
    withdrawn = ""
    if item.withdrawn is not None:
        end = events[item.withdrawn]
        why = json.loads(end.detail).get("reason") or ("replaced" if end.kind == "measure" else "")
        withdrawn = f"taken back {_format_time(end.time).replace('T', ' ')[:16]}{': ' if why else ''}{why}"
    return {
        "number": item.id,
        "candidate": opened.history.id_of(item.key),
        "stage": item.stage,
        # A run that was just forked has measurements and no event yet.
        "told": _format_time(events[item.event].time) if item.event in events else "",
        "properties": dict(item.properties),
        "noise": dict(item.noise),
        "systematic": dict(item.systematic),
        "details": dict(item.details),
        "failure": item.failure.message if item.failure else "",
        "measurement": item.label,
        "note": item.note,
        "counts": item.withdrawn is None,
        "withdrawn": withdrawn,
    }


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _format_value(row: dict[str, Any], name: str) -> str:
    from invdesign.cli.describe import format_property

    return format_property(row, name)


def _format_cell(cell: object) -> str:
    return "-" if cell is None or cell == "" else str(cell)


def _name_candidates(ids: Iterable[int]) -> str:
    ids = list(ids)
    return f"candidate{'' if len(ids) == 1 else 's'} {list_first(ids, MAX_LISTED)}"
