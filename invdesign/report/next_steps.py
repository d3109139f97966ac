"""Next steps after a finished run, each with its command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from invdesign.report.differences import describe_differences
from invdesign.report.tables import Facts, count_searched, plugin_kind

TAKEN_FURTHER, EXPORTED = 3, 10  # candidates in a suggested command; chosen


@dataclass(frozen=True, slots=True)
class NextStep:
    """One suggestion.

    Attributes:
        words: what it does.
        commands: how to do it; none for one that needs another campaign.
    """

    words: str
    commands: tuple[str, ...] = ()


def list_next_steps(facts: Facts) -> list[NextStep]:
    """Suggest what to do with a finished run: go further, ask more, judge again, take the structures.

    Args:
        facts: of the run.
    """
    if facts.status.state != "finished" or not len(facts.ranking):
        return []
    return [*_list_stages_on_demand(facts), *_ask_more(facts), *_use_structures(facts)]


def _list_stages_on_demand(facts: Facts) -> Iterator[NextStep]:
    folder = shlex.quote(str(facts.run.folder))
    for stage in facts.run.campaign.stages:
        if stage.on_demand:
            kind = plugin_kind(stage.evaluator)
            named = stage.name if kind == stage.name else f"{stage.name} ({kind})"
            yield NextStep(
                f"Take the best further, to the stage {named}, which runs on demand alone:",
                (
                    f"invdesign promote {folder} --top {TAKEN_FURTHER} --stage {stage.name}",
                    f"invdesign resume {folder}",
                ),
            )


def _ask_more(facts: Facts) -> Iterator[NextStep]:
    budget, searched = facts.run.campaign.budget.candidates, count_searched(facts)
    if budget is None or (searched is not None and searched[0] >= searched[1]):
        return
    words = "" if searched is None else f" ({searched[0]:,} of {searched[1]:,} were asked)"
    folder = shlex.quote(str(facts.run.folder))
    yield NextStep(f"Ask more candidates{words}:", (f"invdesign resume {folder} --candidates {2 * budget}",))


def _use_structures(facts: Facts) -> Iterator[NextStep]:
    if not facts.run.history.trial(int(facts.ranking[0])).structures:
        return
    if describe_differences(facts):
        yield NextStep(
            "Judge the best again by another potential (docs/potentials.md) or by DFT (docs/dft.md), since errors of this method do not tell them apart."
        )
    folder = shlex.quote(str(facts.run.folder))
    yield NextStep(
        "Take the structures of the best to another program:",
        (f"invdesign export {folder} --format cif --top {EXPORTED} --output structures",),
    )
