"""Batches: the candidates that were handed out, as a file to fill in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.campaign.model import Campaign
from invdesign.candidate import to_json
from invdesign.errors import ResultsError
from invdesign.properties import STRUCTURE as STRUCTURES
from invdesign.protocols import TabledSpace
from invdesign.report.files import OutputError, replace_file
from invdesign.run.run import Run
from invdesign.sheets.columns import (
    CANDIDATE,
    FAILURE,
    FORMULA,
    GENOME,
    LABEL,
    NOISE_ENDING,
    NOTE,
    STAGE,
    STRUCTURE,
    Layout,
)
from invdesign.sheets.table import Table, read_table
from invdesign.structures.files import structure_to_cif
from invdesign.tables.guard import guard_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

AMOUNT_DIGITS = 6
BatchRow = dict[str, Any]  # cell by heading, None where somebody is to fill it in
_RESULT_COLUMNS = frozenset({"value", "noise", FAILURE, LABEL, NOTE})  # kinds and names of columns left empty


def batch_rows(
    run: Run, ids: Sequence[int], *, units: bool = True, files: Mapping[int, str] | None = None
) -> list[BatchRow]:
    """A row per candidate: what it is, and empty cells for what is measured; all rows have the same headings.

    Args:
        units: whether headings of properties have their units.
        files: name of the structure file by candidate.
    """
    empty = _empty_cells(Layout.of_campaign(run.campaign), units=units)
    genomes = [dict(run.history.candidate(id).genome) for id in ids]
    made = design_rows(run, ids, files)
    return [{**row, **empty, GENOME: genome} for row, genome in zip(made, genomes, strict=True)]


def design_rows(run: Run, ids: Sequence[int], files: Mapping[int, str] | None = None) -> list[BatchRow]:
    """What candidates are, for whoever makes them: number, stage where there are several, formula, design."""
    layout, stages = Layout.of_campaign(run.campaign), _waiting_stages(run)
    rows = []
    for id in ids:
        head: BatchRow = {CANDIDATE: id}
        if len(layout.external) > 1:
            head[STAGE] = stages.get(id)
        head[FORMULA] = run.store.display_formula(id) or None
        head[STRUCTURE] = (files or {}).get(id)
        rows.append({**head, **_design_cells(run, id, layout)})
    headings = dict.fromkeys(heading for row in rows for heading in row)
    for name in (FORMULA, STRUCTURE):
        if all(row[name] is None for row in rows):
            del headings[name]
    return [{heading: row.get(heading) for heading in headings} for row in rows]


def _waiting_stages(run: Run) -> dict[int, str]:
    """The stage by number of the candidate that waits there."""
    return {id: stage for stage, ids in run.waiting().items() for id in ids}


def _design_cells(run: Run, id: int, layout: Layout) -> BatchRow:
    """What the space writes in columns, then what else the design holds."""
    genome, space = run.history.candidate(id).genome, run.campaign.space
    written = dict(space.to_cells(genome)) if isinstance(space, TabledSpace) else {}
    if isinstance(space, TabledSpace):
        written = {name: written.get(name, "") for name in space.table_columns()}
    cells = {**written, **{n: v for n, v in run.design(id).parameters.items() if n not in written}}
    return {layout.design_heading(name): _round_amount(value) for name, value in cells.items()}


def _round_amount(value: float | str) -> float | str:
    """As many digits as anybody weighs out; the genome has them all."""
    return float(f"{value:.{AMOUNT_DIGITS}g}") if isinstance(value, float) else value


def _empty_cells(layout: Layout, *, units: bool) -> BatchRow:
    headings = []
    for stage in layout.external:
        for name in layout.stages[stage]:
            headings += [
                layout.property_heading(name, None if units else ""),
                layout.property_heading(name + NOISE_ENDING, layout.units[name] if units else ""),
            ]
    return dict.fromkeys([*headings, FAILURE, LABEL, NOTE])


def check_output(campaign: Campaign, path: Path) -> None:
    """Refuse to write a batch over anything but a batch that nobody has begun to fill in.

    Raises:
        OutputError: there is another file, or one with results in it.
    """
    if not path.exists():
        return
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    try:
        table = read_table(path)
    except ResultsError:
        table = Table(path.name)
    if CANDIDATE not in table.headings or GENOME not in table.headings:
        raise OutputError(f"{path} exists and is no batch of candidates; choose another name")
    layout = Layout.of_campaign(campaign)
    for row in table.rows:
        for heading in row.cells:
            column = layout.find_column(heading)
            if not isinstance(column, str) and (
                column.kind in _RESULT_COLUMNS or column.name in _RESULT_COLUMNS
            ):
                raise OutputError(
                    f"{path} is filled in already ({heading}, {table.row_place(row)}). "
                    "Choose another name for this batch, so that nothing is lost"
                )


def write_batch(run: Run, ids: Sequence[int], path: str | Path) -> list[Path]:
    """Write candidates to a CSV file (or JSON, by its ending), with their structures as CIF files beside it.

    Returns:
        The structure files.

    Raises:
        OutputError: it cannot be written there, or would replace results.

    Examples:
        >>> import invdesign
        >>> campaign = invdesign.campaign_from(
        ...     {
        ...         "version": 1,
        ...         "name": "cells",
        ...         "space": {"kind": "parameters", "parameters": {"salt": {"real": [0.2, 2.0]}}},
        ...         "evaluate": [{"experiment": {"provides": {"capacity": "mAh/g"}}}],
        ...         "objectives": [{"maximize": "capacity"}],
        ...         "optimizer": {"kind": "random"},
        ...         "budget": {"candidates": 20},
        ...         "engine": {"kind": "local", "workers": 0},
        ...     }
        ... )
        >>> run = invdesign.Run.create(campaign, "runs/batch")
        >>> invdesign.write_batch(run, run.ask(2), "batch.csv")  # no structures here
        []
        >>> with open("batch.csv") as file:
        ...     file.readline().strip()
        'candidate,salt,capacity [mAh/g],capacity_noise [mAh/g],failure,measurement,note,genome'
    """
    path = Path(path)
    check_output(run.campaign, path)
    as_json = path.suffix.lower() == ".json"
    files = _write_structures(run, ids, path)
    names = {id: file.relative_to(path.parent).as_posix() for id, file in files.items()}
    rows = batch_rows(run, ids, units=not as_json, files=names)
    text = json.dumps(rows, ensure_ascii=False, indent=1) + "\n" if as_json else _to_csv(rows)
    with replace_file(path) as temporary:
        # Spreadsheets take a file for UTF-8 by its mark; where all is ASCII, nobody needs one.
        encoding = "utf-8" if as_json or text.isascii() else "utf-8-sig"
        temporary.write_text(text, encoding=encoding, newline="")
    return list(files.values())


def _to_csv(rows: Sequence[BatchRow]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(map(guard_cell, rows[0]))
    for row in rows:
        cells = [to_json(cell) if heading == GENOME else cell for heading, cell in row.items()]
        writer.writerow(["" if cell is None else guard_cell(cell) for cell in cells])
    return file.getvalue()


def _write_structures(run: Run, ids: Sequence[int], path: Path) -> dict[int, Path]:
    """CIF file by candidate, of those that have a structure."""
    stages = _waiting_stages(run)
    files = {}
    for id in ids:
        structure = _starting_structure(run, id, stages.get(id, ""))
        if structure is None:
            continue
        file = path.parent / f"{path.stem}_structures" / f"{id:06d}.cif"
        with replace_file(file) as temporary:
            temporary.write_text(structure_to_cif(structure), encoding="utf-8")
        files[id] = file
    return files


def _starting_structure(run: Run, id: int, stage: str) -> Structure | None:
    """What the work starts from: the structure its stage requires, or else the last one that was made."""
    evaluator = run.campaign.evaluators.get(stage)
    requires = evaluator.requires if evaluator is not None else ()
    roles = [name.removeprefix(STRUCTURES) for name in sorted(requires) if name.startswith(STRUCTURES)]
    return run.structure(id, roles[0] if roles else "")
