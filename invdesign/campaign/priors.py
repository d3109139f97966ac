"""Earlier runs as prior data: read while a campaign is loaded, and kept in it as tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.campaign.document import Place
from invdesign.campaign.objectives import load_objective
from invdesign.candidate import Status, canonical, to_json
from invdesign.errors import InvdesignError, RunError
from invdesign.history import RunHistory
from invdesign.problem import Problem
from invdesign.settings import InputFile

RELAXED_COLUMN = (
    "relaxed_genome"  # genomes of what the trials became; priors are read by those that were asked
)
PRIOR = "prior"  # the key of an optimizer's settings that lists tables and runs


def embed_priors(value: Any, folder: Path) -> tuple[Any, list[tuple[Place, str]]]:
    """Replace earlier runs in an optimizer's settings by tables.

    Args:
        value: settings as the campaign file has them; any form, since they are checked afterwards.
        folder: where relative paths start.

    Returns:
        The settings; mistakes in the runs they name, as (place within the settings, message).
    """
    mistakes: list[tuple[Place, str]] = []
    return _embed_anywhere(value, folder, (), mistakes), mistakes


def _embed_anywhere(value: Any, folder: Path, place: Place, mistakes: list[tuple[Place, str]]) -> Any:
    if isinstance(value, dict):
        return {
            key: _embed_list(held, folder, (*place, key), mistakes)
            if key == PRIOR and isinstance(held, list)
            else _embed_anywhere(held, folder, (*place, key), mistakes)
            for key, held in value.items()
        }
    if isinstance(value, list):
        return [
            _embed_anywhere(item, folder, (*place, number), mistakes) for number, item in enumerate(value)
        ]
    return value


def _embed_list(items: list[Any], folder: Path, place: Place, mistakes: list[tuple[Place, str]]) -> list[Any]:
    """Replace runs in a list of priors by tables.

    `{run: FOLDER, ...}` becomes `{table: ..., ...}`; unreadable ones are left out and noted in `mistakes`.
    """
    found = []
    for number, item in enumerate(items):
        if not isinstance(item, dict) or "run" not in item:
            found.append(item)
            continue
        try:
            found.append(_embed_run(item, folder))
        except InvdesignError as error:
            mistakes.append(((*place, number, "run"), str(error)))
    return found


def _embed_run(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if "table" in item:
        raise RunError("a prior is a table or a run: give one of them")
    if not isinstance(item["run"], str):
        raise RunError(f"must be the folder of a run, got {item['run']!r:.60}")
    table = run_table(folder / Path(item["run"]).expanduser())
    return {
        **{key: held for key, held in item.items() if key != "run"},
        "table": table.model_dump(mode="json"),
    }


def run_table(folder: str | Path) -> InputFile:
    """Write the complete candidates of a run as a table.

    It has genomes, properties and their noise, and a column `relaxed_genome` where trials have one.

    Args:
        folder: of the run, which may still be working: then its results so far.

    Raises:
        StoreError: there is no run, or it cannot be read.
        RunError: it has no complete candidate.
    """
    from invdesign.store.store import STORE_FILE, Store

    folder = Path(folder).resolve()
    store = Store.open(folder / STORE_FILE, writable=False)
    try:
        objectives = json.loads(store.read_entry("campaign"))["objectives"]
        problem = Problem(tuple(load_objective(row) for row in objectives))
        history = store.load_history(RunHistory(problem, store.load_candidate, (), store.load_relaxed_genome))
        ids = np.flatnonzero(history.status_by_trial() == Status.COMPLETE).tolist()
        if not ids:
            raise RunError(f"the run in {folder} has no complete candidate to learn from")
        columns = {name: history.column(name) for name in history.property_names()}
        for name in history.property_names():
            deviations = history.noise(name)
            if not np.isnan(deviations).all():
                columns[f"{name}_noise"] = deviations
        genomes = {"genome": [to_json(history.candidate(id).genome) for id in ids]}
        relaxed = [history.relaxed_genome(id) for id in ids]
        if any(relaxed):
            genomes[RELAXED_COLUMN] = [
                "" if genome is None else to_json(canonical(genome)) for genome in relaxed
            ]
    finally:
        store.close()
    return InputFile(name=f"{folder.name}.csv", text=_write_csv(genomes, ids, columns))


def _write_csv(genomes: Mapping[str, list[str]], ids: list[int], columns: Mapping[str, Any]) -> str:
    """Write a table as CSV, with numbers in their shortest exact form.

    Args:
        genomes: JSON by column, of n candidates.
        ids: n numbers of the candidates.
        columns: values of all candidates of the run, by column.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*genomes, *columns])
    for texts, id in zip(zip(*genomes.values(), strict=True), ids, strict=True):
        cells = (float(column[id]) for column in columns.values())
        writer.writerow([*texts, *("" if np.isnan(value) else repr(value) for value in cells)])
    return stream.getvalue()
