"""The funnel behind a list of evaluators: before each, the ones that give what it requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invdesign import registry
from invdesign.campaign.load import DESIGN
from invdesign.protocols import Evaluator, is_evaluator
from invdesign.settings import load


@dataclass
class Entry:
    """One stage of the funnel, given or added.

    Attributes:
        label: the argument it came from.
        item: as a campaign file writes it.
        made: the evaluator itself, where one was given.
        evaluator: what it says of itself; None where its settings are wrong.
    """

    label: str
    item: dict[str, Any]
    made: Evaluator | None = None
    evaluator: Evaluator | None = None

    @property
    def kind(self) -> str:
        """Name of the evaluator, and of the stage if it has no other."""
        return next(iter(self.item), "")

    @property
    def settings(self) -> Any:
        """Settings of the stage, as in a campaign file."""
        return self.item.get(self.kind)


def complete_stages(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Complete `entries` by stages they need, with a sentence on each.

    A stage that was given stays in its place, even where it comes too late: the campaign's own check reports that.
    """
    given = {name for entry in entries for name in provided_units(entry.evaluator)}
    stages: list[Entry] = []
    sentences: list[str] = []
    for entry in entries:
        if any(stage.item == entry.item and stage.made is None for stage in stages) and not entry.settings:
            continue  # a property of an evaluator that is there already
        known = {name for stage in stages for name in provided_units(stage.evaluator)}
        stages += [*_missing_providers(entry, known | given, sentences), entry]
    return stages, sentences


def _missing_providers(entry: Entry, known: set[str], sentences: list[str]) -> list[Entry]:
    """Evaluators that provide what an entry lacks; none if there is a choice."""
    found: list[Entry] = []
    if entry.evaluator is None:
        return found
    for name in sorted(entry.evaluator.requires - DESIGN - known):
        able = find_makers(name, entry.evaluator.potential_id)
        have = {other for stage in found for other in provided_units(stage.evaluator)}
        if len(able) != 1 or name in have:
            continue
        kind, evaluator = able[0]
        maker = Entry("", {kind: {}}, None, evaluator)
        found += [*_missing_providers(maker, known | have, sentences), maker]
        sentences.append(f"{kind} was put before {entry.kind}, which needs its {name}.")
    return found


def try_evaluator(settings: Mapping[str, Any]) -> Evaluator | None:
    """Evaluator of an entry, to ask it; None if its settings are wrong."""
    try:
        evaluator: Evaluator = load("evaluators", settings, folder=Path.cwd())
    except Exception:  # noqa: BLE001 - a mistake or a plug-in's fault: the campaign's own check tells of it
        return None
    return evaluator


def find_makers(name: str, potential: str | None = None) -> list[tuple[str, Evaluator]]:
    """Installed evaluators that provide a property or structure by default.

    Args:
        name: of the property or structure.
        potential: fingerprint of the potential whose energies are needed; None for any.
    """
    found = []
    for kind in registry.names("evaluators"):
        evaluator = try_evaluator({"kind": kind})
        if evaluator is None or evaluator.external or name not in evaluator.provides:
            continue
        if potential is None or evaluator.potential_id in {None, potential}:
            found.append((kind, evaluator))
    return found


def provided_units(evaluator: object) -> dict[str, str]:
    """Unit by property of an `evaluator`; empty if it is none."""
    return dict(evaluator.provides) if is_evaluator(evaluator) else {}
