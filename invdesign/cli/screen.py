"""The command `invdesign screen`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.options import COUNT, AsJson, CampaignFile, TrustCode, Workers
from invdesign.cli.output import plain_stream
from invdesign.wording import format_duration

if TYPE_CHECKING:
    from invdesign.screening.screen import Progress

LINE_SECONDS = 10.0  # between lines of progress that is not shown on a terminal (chosen)
DRAW_SECONDS = 0.2  # between lines on a terminal (chosen)
SHOWN = 5  # candidates printed at the end (chosen)


def screen(
    file: CampaignFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the screen; the same one goes on."),
    ],
    keep: Annotated[
        int | None,
        typer.Option(parser=COUNT, help="Candidates that go on from tier to tier; 1000000 by default."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(parser=COUNT, help="Candidates in the table; 1000 by default.")
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="Text file of known formulas, one a line, to be marked."),
    ] = None,
    workers: Workers = None,
    trust_code: TrustCode = False,
    json_: AsJson = False,
) -> None:
    """Score all candidates of a space by the stages of a campaign, and keep the best.

    The first stage must be cheap: it sees every candidate. The command goes on where it was stopped.
    """
    from invdesign.campaign.load import load_campaign
    from invdesign.screening.known import read_known
    from invdesign.screening.screen import DEFAULT_KEEP, DEFAULT_TOP, Options, Screen
    from invdesign.screening.writing import write_outputs

    campaign = load_campaign(file, trust_code=trust_code)
    listed = read_known(known) if known is not None else None
    options = Options(
        keep=keep or max(DEFAULT_KEEP, top or 0),
        top=top or min(DEFAULT_TOP, keep or DEFAULT_TOP),
        workers=workers,
    )
    found = Screen(campaign, output, options, source=str(file))
    with _show_progress() as observer:
        outcome = found.run(observer)
    facts = write_outputs(found, outcome, listed)
    if json_:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for line in describe_facts(facts, output):
        typer.echo(line)


def describe_facts(facts: dict[str, Any], folder: Path) -> Iterator[str]:
    """Describe a finished screen in a few lines."""
    yield f"Screened {facts['candidates']:,} candidates: {'; '.join(facts['objective'])}."
    for found in facts["passes"]:
        rate = found["candidates_per_second"]
        yield (
            f"  {found['tier']}: {found['seen']:,} scored in {format_duration(found['seconds'], fine=True)}"
            + (f" ({rate:,.0f} per second)" if rate else "")
            + f", {found['refused']:,} refused, {found['kept']:,} kept"
        )
        for reason in found["refused_by_reason"][:SHOWN]:
            yield f"    {reason['count']:,} {reason['reason']} (as {reason['example']})"
    yield f"The best are in {folder / 'top.csv'}, counts and histograms in {folder / 'screen.json'}."


@contextmanager
def _show_progress() -> Iterator[Callable[[Progress], None]]:
    """Observer that shows progress: one line on a terminal, some lines elsewhere."""
    live = sys.stderr.isatty()
    stream = plain_stream(sys.stderr)
    last = [0.0]

    def show(progress: Progress) -> None:
        now = time.monotonic()
        ended = progress.done == progress.total
        if now - last[0] < (DRAW_SECONDS if live else LINE_SECONDS) and not (live and ended):
            return
        last[0] = now
        line = describe_progress(progress)
        stream.write(f"\r{line:<78}" + ("\n" if ended else "") if live else f"{line}\n")
        stream.flush()

    yield show


def describe_progress(progress: Progress) -> str:
    """Describe progress in a line: tier, share, rate and time left."""
    share = 100.0 * progress.done / progress.total if progress.total else 100.0
    text = f"{progress.tier} ({progress.number}/{progress.passes}): {progress.done:,} of {progress.total:,} ({share:.1f} %)"
    if progress.rate == progress.rate:
        text += f", {progress.rate:,.0f} per second, {format_duration(progress.left)} left"
    return text
