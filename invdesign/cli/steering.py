"""Commands that steer a run, also while another process works on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.options import COUNT, NUMBER, AsJson, RunDir, TrustCode, Wait, number_parser
from invdesign.errors import RunError
from invdesign.wording import count_noun, list_first

if TYPE_CHECKING:
    from invdesign.candidate import Json
    from invdesign.run.fork import Fork
    from invdesign.run.run import Run

Reason = Annotated[str, typer.Option(help="Why, in a sentence; the run keeps it.")]
MAX_LISTED = 5  # numbers in a sentence (chosen)


class Take(StrEnum):
    """Finished candidates that a fork evaluates first."""

    all = "all"
    front = "front"
    none = "none"


def stop(run_dir: RunDir, wait: Wait = 30.0) -> None:
    """Ask the process that works on a run to stop in good order."""
    from invdesign.run import steering

    stopped = steering.stop_run(run_dir, wait)
    if stopped is None:
        typer.echo(f"No process works on {run_dir}.")
        return
    if not stopped:
        raise RunError(
            f"{run_dir} was asked to stop and has not yet, after {wait:g} s. It stops as soon as it sees the request; "
            f"look with: invdesign status {run_dir}"
        )
    typer.echo(f"Stopped; everything finished is kept. Go on with: invdesign resume {run_dir}")


def budget(
    run_dir: RunDir,
    candidates: Annotated[int | None, typer.Option(parser=COUNT, help="Candidates proposed.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(parser=COUNT, help="Candidates that entered the last stage.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(parser=number_parser(1e-6), help="Hours of work, over all sessions.")
    ] = None,
    wait: Wait = 30.0,
    trust_code: TrustCode = False,
) -> None:
    """Change the budget of a run, also while it works; other limits stay."""
    from invdesign.run import steering
    from invdesign.run.budgets import format_budget
    from invdesign.run.run import Run

    limits = {"candidates": candidates, "evaluations": evaluations, "hours": hours}
    given = {name: value for name, value in limits.items() if value is not None}
    if not given:
        raise typer.BadParameter("say which limit: --candidates, --evaluations or --hours")
    outcome = steering.leave_or_apply(run_dir, "budget", given, wait=wait, trust_code=trust_code)
    if outcome.state == "waiting":
        typer.echo(_describe_request(run_dir, "change the budget", live=True))
        return
    opened = Run.open(run_dir, trust_code=trust_code)
    typer.echo(f"Budget: {format_budget(opened.campaign.budget)}")
    for line in _budget_warnings(opened):
        typer.echo(line)
    if outcome.state == "applied":
        typer.echo(f"Go on with: invdesign resume {run_dir}")


def _budget_warnings(run: Run) -> list[str]:
    """Warnings about a budget that is used up already."""
    limits = run.campaign.budget
    status = run.status()
    searched = [stage.name for stage in run.campaign.funnel if not stage.on_demand]
    entered = next(stage.entered for stage in status.stages if stage.name == searched[-1])
    done = {
        "candidates": (limits.candidates, status.counts["asked"], "were asked already"),
        "evaluations": (limits.evaluations, entered, "entered the last stage already"),
    }
    lines = [
        f"{count} candidates {what}: those under way are seen through, and no more are asked."
        for limit, count, what in done.values()
        if limit is not None and count >= limit
    ]
    if limits.hours is not None and status.elapsed >= 3600 * limits.hours:
        lines.append(f"{status.elapsed / 3600:.3g} hours were worked already: no more candidates are asked.")
    return lines


def add(
    run_dir: RunDir,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Structure files, tables (.csv) of parameters or genomes, JSON lists of genomes.",
        ),
    ],
    until: Annotated[str, typer.Option(metavar="STAGE", help="Last stage to run; by default all.")] = "",
    wait: Wait = 30.0,
    trust_code: TrustCode = False,
) -> None:
    """Add candidates for a run to evaluate next, also while it works."""
    from invdesign.run import steering
    from invdesign.run.run import Run
    from invdesign.sheets.additions import read_candidates

    opened = Run.open(run_dir, trust_code=trust_code)
    stages = list(opened.campaign.evaluators)
    if until and until not in stages:
        raise typer.BadParameter(f"there is no stage '{until}'; stages: {', '.join(stages)}")
    genomes = read_candidates(files, opened.campaign)
    new, known = steering.split_new_genomes(opened, genomes, until)
    opened.close()
    if known:
        typer.echo(f"{count_noun(len(known), 'candidate')} known already: {list_first(known, MAX_LISTED)}")
    if not new:
        typer.echo("Nothing to add.")
        return
    detail: dict[str, Json] = {"genomes": [dict(genome) for genome in new], "until": until or None}
    outcome = steering.leave_for_holder(run_dir, "add", detail, wait=wait)
    what = count_noun(len(new), "candidate")
    if outcome.state == "taken":
        numbers = steering.find_numbers(Run.open(run_dir, trust_code=trust_code), new)
        typer.echo(f"Added {what}: {list_first(numbers, MAX_LISTED)}")
    else:
        typer.echo(_describe_request(run_dir, f"add {what}", live=outcome.live))


def withdraw(
    run_dir: RunDir,
    candidates: Annotated[
        list[int] | None, typer.Argument(parser=NUMBER, metavar="[NUMBER]...", help="Numbers of candidates.")
    ] = None,
    reason: Reason = "",
    again: Annotated[
        bool, typer.Option("--again", help="Evaluate them anew; else they count no more.")
    ] = False,
    measurement: Annotated[
        list[int] | None,
        typer.Option(
            parser=NUMBER,
            metavar="NUMBER",
            help="Take back this measurement only (see: invdesign measurements).",
        ),
    ] = None,
    wait: Wait = 30.0,
    trust_code: TrustCode = False,
) -> None:
    """Withdraw results of candidates, also while the run works."""
    from invdesign.run import steering
    from invdesign.run.run import Run

    ids, measurements = list(candidates or ()), list(measurement or ())
    if not ids and not measurements:
        raise typer.BadParameter("say which: numbers of candidates, or --measurement")
    if not reason.strip():
        raise typer.BadParameter("give a --reason: readers of the run must know why")
    opened = Run.open(run_dir, trust_code=trust_code)
    for id in ids:
        opened.trial(id)
    apply = steering.is_quick_withdrawal(opened, ids, measurements, again=again)
    opened.close()
    detail: dict[str, Json] = {
        "ids": [*ids],
        "reason": reason.strip(),
        "again": again,
        "measurements": [*measurements],
    }
    if apply:
        outcome = steering.leave_or_apply(run_dir, "withdraw", detail, wait=wait, trust_code=trust_code)
    else:
        outcome = steering.leave_for_holder(run_dir, "withdraw", detail, wait=wait)
    if outcome.state == "waiting":
        typer.echo(_describe_request(run_dir, "withdraw", live=outcome.live))
        return
    typer.echo(_describe_withdrawal(ids, measurements, again=again, applied=outcome.state == "applied"))


def _describe_withdrawal(ids: list[int], measurements: list[int], *, again: bool, applied: bool) -> str:
    numbers, word = (measurements, "measurement") if measurements else (ids, "candidate")
    each = "it" if len(numbers) == 1 else "they"
    if again:  # what has to be evaluated would have waited, and not been applied here
        follows = f"{each} will be {'measured again' if applied else 'evaluated anew'}"
    else:
        follows = f"{each} {'counts' if each == 'it' else 'count'} no more"
    return f"Withdrawn: {count_noun(len(numbers), word)} ({list_first(numbers, MAX_LISTED)}); {follows}."


def fork(
    run_dir: RunDir,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of the new run.")],
    campaign_file: Annotated[
        Path | None,
        typer.Option("--campaign", metavar="FILE", help="The changed campaign; by default the same."),
    ] = None,
    take: Annotated[
        Take,
        typer.Option(help="Which finished candidates the new run evaluates first; they count in its budget."),
    ] = Take.all,
    top: Annotated[int | None, typer.Option(parser=COUNT, help="Take only the n best.")] = None,
    candidates: Annotated[
        int | None, typer.Option(parser=COUNT, help="Budget of candidates of the new run.")
    ] = None,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Start a run under a changed campaign that reuses these evaluations."""
    from invdesign.campaign.load import load_campaign
    from invdesign.run import fork as forking

    if take is not Take.all and top is not None:
        raise typer.BadParameter("--take and --top say the same: give one of them")
    campaign = load_campaign(campaign_file, trust_code=trust_code) if campaign_file else None
    made = forking.fork(
        run_dir, new, campaign, take=take.value, top=top, candidates=candidates, trust_code=trust_code
    )
    if json_:
        typer.echo(json.dumps(_fork_facts(made), ensure_ascii=False))
    else:
        for line in _fork_lines(made, run_dir, new):
            typer.echo(line)
    made.run.close()


def _fork_facts(made: Fork) -> dict[str, Any]:
    return {
        "folder": str(made.run.folder),
        "reused": dict(made.reused),
        "evaluations": made.evaluations,
        "measurements": made.measurements,
        "taken": list(made.taken),
        "left_out": dict(made.left_out),
        "unmeasured": dict(made.unmeasured),
    }


def _fork_lines(made: Fork, source: Path, new: Path) -> list[str]:
    lines = [f"Forked {source} to {new}."]
    for name, same in made.reused.items():
        said = "results are reused where what it reads is the same" if same else "evaluated anew"
        lines.append(f"  stage {name}: {said}")
    found = [count_noun(made.evaluations, "evaluation")]
    found += [count_noun(made.measurements, "measurement")] if made.measurements else []
    lines.append(f"  taken along: {', '.join(found)}")
    lines.append(f"  evaluated first: {count_noun(len(made.taken), 'candidate')}")
    lines += [f"  left out: {line}" for line in _group_reasons("candidate", made.left_out)]
    lines += [f"  left out: {line}" for line in _group_reasons("measured genome", made.unmeasured)]
    measured = made.run.campaign.measured_outside
    lines.append(f"Go on with: invdesign {'ask' if measured else 'resume'} {new}")
    return lines


def _group_reasons(what: str, reasons: Mapping[Any, str]) -> list[str]:
    """A line per kind of reason; details of single candidates are dropped."""
    kinds = {id: reason.partition(", got ")[0] for id, reason in reasons.items()}
    lines = [
        f"{count_noun(number, what)} ({list_first([id for id in kinds if kinds[id] == kind], MAX_LISTED)}): {kind}"
        for kind, number in Counter(kinds.values()).most_common()
    ]
    more = len(lines) - MAX_LISTED
    return lines[:MAX_LISTED] + ([f"and for {count_noun(more, 'other reason')}"] if more > 0 else [])


def _describe_request(folder: Path, what: str, *, live: bool) -> str:
    if live:
        return (
            f"{folder} is worked on; the request to {what} is taken up when the candidates under way have ended. "
            f"Look with: invdesign status {folder}"
        )
    return f"The request to {what} is taken up first when the run goes on: invdesign resume {folder}"
