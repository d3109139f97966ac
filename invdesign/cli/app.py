"""Commands and their options; the work is done in the rooms they call."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from invdesign import registry
from invdesign.cli import experiments, generators, steering, tiers
from invdesign.cli import screen as screens
from invdesign.cli.options import COUNT, NUMBER, AsJson, CampaignFile, RunDir, TrustCode, Workers
from invdesign.cli.output import visible_output
from invdesign.errors import INTERRUPTED, InvdesignError, RunError, StoreError
from invdesign.version import __version__

if TYPE_CHECKING:
    from invdesign.run.run import Run
    from invdesign.run.status import RunStatus


class _Group(TyperGroup):
    """Group of commands that shows errors as messages and escapes control characters."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("color", True)  # else escapes in names would be taken out before they can be shown
        with visible_output():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InvdesignError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            raise typer.Exit(0) from None  # the reader of our pipe had enough; `main` clears up
        except (
            UnicodeEncodeError
        ) as error:  # a path whose bytes are no text, in a place where only text can stand
            typer.echo(
                f"{error.object[:200]} is no text in UTF-8: choose another name for the file or folder",
                err=True,
            )
            raise typer.Exit(1) from error
        except OSError as error:
            # A file that cannot be written or read; what foreign code raises inside a run is caught where it runs.
            typer.echo(
                _describe_os_error(error)
                if error.filename is None
                else f"{error.filename}: {error.strerror}",
                err=True,
            )
            raise typer.Exit(1) from error


def _describe_os_error(error: OSError) -> str:
    """Describe an error of the system that names no file."""
    try:
        Path.cwd()
    except OSError:
        return "the working folder was deleted, or may not be looked at: change to another one with cd, and try again"
    return f"the system refused to read or write: {error.strerror or error}"


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Inverse design and global optimization of battery materials: one campaign file, one command.",
    epilog="Exit codes: 0 done; 1 error; 2 mistake in a command or campaign; 3 run or store cannot be used; "
    "4 run in use by another process; 5 run moved or deleted while it worked; 130 stopped by a signal (resume goes on).",
)


class Format(StrEnum):
    """Formats of `invdesign export`."""

    csv = "csv"
    cif = "cif"
    extxyz = "extxyz"
    ase_db = "ase-db"


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"invdesign {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file to write.")] = Path(
        "campaign.yaml"
    ),
    parent: Annotated[
        str, typer.Option(help="Prototype to start from (a wrong name lists them).")
    ] = "antiperovskite",
    force: Annotated[bool, typer.Option(help="Overwrite an existing file.")] = False,
) -> None:
    """Write a campaign file to start from, with comments."""
    from invdesign.cli.starter import write_starter

    if file.exists() and not force:
        raise RunError(f"{file} exists already; choose another name or say --force")
    file.write_text(write_starter(parent, file.stem), encoding="utf-8")
    typer.echo(f"Wrote {file}. Check it with: invdesign validate {file}")


@app.command()
def validate(file: CampaignFile, trust_code: TrustCode = False, json_: AsJson = False) -> None:
    """Check a campaign file and print what it would do."""
    from invdesign.campaign.load import load_campaign
    from invdesign.cli.describe import describe_campaign

    campaign = load_campaign(file, trust_code=trust_code)
    if json_:
        facts = {
            "valid": True,
            "name": campaign.name,
            "size": campaign.count_space(),
            "campaign": campaign.dump(),
        }
        typer.echo(json.dumps(facts))
        return
    for line in describe_campaign(campaign):
        typer.echo(line)
    trust = " --trust-code" if trust_code or campaign.wants_trust else ""
    typer.echo(f"{file} is valid. Run it with: invdesign run {file}{trust}")


@app.command()
def run(
    file: CampaignFile,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Folder for the run; by default runs/NAME-OF-FILE.")
    ] = None,
    workers: Workers = None,
    trust_code: TrustCode = False,
) -> None:
    """Start a run and work on it until its budget is reached."""
    from invdesign.campaign.load import load_campaign
    from invdesign.cli.describe import small_space_warning
    from invdesign.run.run import Run

    campaign = load_campaign(file, trust_code=trust_code)
    warning = small_space_warning(campaign)
    if warning:
        typer.echo(warning, err=True)
    folder = run_dir or Path("runs") / file.stem
    opened = Run.create(campaign, folder)
    _execute_run(opened, workers)


@app.command()
def resume(
    run_dir: RunDir,
    campaign_file: Annotated[
        Path | None,
        typer.Option(
            "--campaign", metavar="FILE", help="The campaign as it reads now: a new budget or engine."
        ),
    ] = None,
    candidates: Annotated[int | None, typer.Option(parser=COUNT, help="New budget of candidates.")] = None,
    workers: Workers = None,
    trust_code: TrustCode = False,
) -> None:
    """Go on with a run that was stopped, killed, or given a larger budget."""
    from invdesign.campaign.load import load_campaign
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    if campaign_file is not None or candidates is not None:
        campaign = load_campaign(campaign_file, trust_code=trust_code) if campaign_file else None
        opened.change(campaign, {"candidates": candidates} if candidates else None)
    _execute_run(opened, workers)


def _execute_run(opened: Run, workers: int | None) -> None:
    from invdesign.cli.progress import show_progress

    if workers is not None:
        opened.use_workers(workers)
    with show_progress(opened.folder) as observer:
        status = opened.execute(observer)
    if status.state == "stopped":
        trust = " --trust-code" if opened.campaign.wants_trust else ""
        typer.echo(
            f"Stopped; everything finished is kept. Go on with: invdesign resume {opened.folder}{trust}",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)
    if status.state == "waiting":
        typer.echo(
            "This campaign is measured by you: ask for candidates, and tell what you found.\n"
            f"  invdesign ask {opened.folder} -n 4 --output batch.csv\n"
            f"  invdesign tell {opened.folder} batch.csv"
        )
        return
    from invdesign.report.files import OutputError
    from invdesign.report.html import write_report

    try:
        report_file = write_report(opened, opened.folder / "report.html")
    except OutputError as error:
        raise OutputError(
            f"Finished: {status.reason}. The run is whole; its report is not written: {error}. "
            f"Write it with: invdesign report {opened.folder}"
        ) from error
    typer.echo(f"Finished: {status.reason}. Report: {report_file}")
    _print_failures(opened, status)
    typer.echo(f"Best candidates: invdesign top {opened.folder}")


def _print_failures(opened: Run, status: RunStatus) -> None:
    """Print the number of failed candidates and the most frequent cause."""
    failed = status.counts["failed"]
    if not failed:
        return
    cause, count = next(iter(status.failures.items()))
    stage, _, kind = cause.partition(": ")
    failures = opened.history.failures_by_trial()
    id = next(id for id in sorted(failures) if (failures[id].stage, failures[id].kind) == (stage, kind))
    typer.echo(
        f"{failed} of {status.counts['asked']} candidates failed, {count} in {stage} ({kind}), as candidate {id}: "
        f"{failures[id].message}"
    )


@app.command()
def status(run_dir: RunDir, trust_code: TrustCode = False, json_: AsJson = False) -> None:
    """Print the state of a run: counts per stage, best so far, failures, pace."""
    from invdesign.cli.describe import describe_status
    from invdesign.run.run import run_status

    found: RunStatus = run_status(run_dir, trust_code=trust_code)
    if json_:
        typer.echo(found.to_json())
        return
    for line in describe_status(found):
        typer.echo(line)


@app.command()
def top(
    run_dir: RunDir,
    n: Annotated[int, typer.Option("-n", "--number", "--top", parser=COUNT, help="How many.")] = 10,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Print the best candidates, best first."""
    from invdesign.cli.describe import format_table
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    rows = opened.top(n)
    if json_:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for line in format_table(rows, opened.campaign):
        typer.echo(line)


@app.command()
def recommend(
    run_dir: RunDir,
    properties: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Properties whose models are judged; by default objectives and constraints."
        ),
    ] = "",
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Recommend candidates: credible intervals, calibration of the models, importance of variables."""
    from invdesign.cli.advice import format_recommendation
    from invdesign.run.run import Run

    names = [name.strip() for name in properties.split(",") if name.strip()]
    found = Run.open(run_dir, trust_code=trust_code).recommend(names)
    if json_:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    for line in format_recommendation(found):
        typer.echo(line)


@app.command()
def show(
    run_dir: RunDir,
    candidate: Annotated[int, typer.Argument(parser=NUMBER, help="Number of the candidate.")],
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Print everything known of one candidate: properties, lineage, structure or failure."""
    from invdesign.cli.describe import describe_candidate
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    opened.trial(candidate)
    if json_:
        typer.echo(json.dumps(opened.row(candidate), ensure_ascii=False))
        return
    for line in describe_candidate(opened, candidate):
        typer.echo(line)


@app.command()
def export(
    run_dir: RunDir,
    format_: Annotated[
        Format, typer.Option("--format", help="csv takes every candidate; the others structures.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; a folder for cif.")],
    top_: Annotated[
        int | None,
        typer.Option("--top", parser=COUNT, help="Only the n best; by default every complete candidate."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write candidates and their properties for other programs."""
    from invdesign.report.export import export_run
    from invdesign.run.run import Run

    count = export_run(Run.open(run_dir, trust_code=trust_code), format_.value, output, top=top_)
    typer.echo(f"Wrote {count} candidates to {output}")


@app.command()
def report(
    run_dir: RunDir,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file; by default DIR/report.html.")
    ] = None,
    model: Annotated[
        bool, typer.Option("--model/--no-model", help="Whether to fit models for the recommendation.")
    ] = True,
    trust_code: TrustCode = False,
) -> None:
    """Write the report: one HTML file that opens offline."""
    from invdesign.report.html import write_report
    from invdesign.run.run import Run

    opened = Run.open(run_dir, trust_code=trust_code)
    typer.echo(str(write_report(opened, output or run_dir / "report.html", model=model)))


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default printed.")
    ] = None,
) -> None:
    """Print the JSON Schema of campaign files, for completion in editors."""
    from invdesign.campaign.schema import build_campaign_schema

    text = json.dumps(build_campaign_schema(), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
        typer.echo(
            f"Wrote {output}. Name it in the first line of a campaign: # yaml-language-server: $schema={output}"
        )


@app.command()
def doctor(
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of a run, to check its store.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Check this installation, or the store of a run for damage."""
    from invdesign.cli.doctor import examine_machine, examine_run

    findings = examine_machine(Path.cwd()) if run_dir is None else examine_run(run_dir)
    if json_:
        typer.echo(json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(finding.format_line())
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1 if run_dir is None else StoreError.exit_code)


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(experiments.ask, experiments.tell, experiments.measurements),
    *(steering.stop, steering.budget, steering.add, steering.withdraw, steering.fork),
    *(tiers.promote, tiers.collect),
    screens.screen,
)
for _command in _COMMANDS:
    app.command()(_command)


app.add_typer(generators.generator, name="generator")


def _mount_plugins() -> None:
    """Add the commands of plug-ins, such as `invdesign reference`.

    `doctor` names those that cannot be loaded.
    """
    for name in registry.names("commands"):
        if registry.is_built_in("commands", name):
            app.add_typer(registry.load("commands", name), name=name)  # type: ignore[arg-type]  # a typer app, by contract
        else:
            _mount_foreign(name)


def _mount_foreign(name: str) -> None:
    """Add commands of another package, imported only when used."""

    def command(context: typer.Context) -> None:
        plugin = registry.load("commands", name)
        group = typer.main.get_group(plugin)  # type: ignore[arg-type]  # a typer app, by contract
        code = group.main(context.args, f"{context.info_name}", standalone_mode=False, color=context.color)
        if isinstance(code, int) and code:
            raise typer.Exit(code)

    command.__doc__ = f"Commands of {registry.name_distributions('commands', name)}."
    passed_on = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, context_settings=passed_on, add_help_option=False)(command)


_mount_plugins()
