"""Batches: files of candidates to measure, with empty cells for the results."""

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
from invdesign.properties import STRUCTURE_PREFIX as STRUCTURES
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

AMOUNT_DIGITS = 6  # significant ones in a batch; chosen: more than a balance shows
BatchRow = dict[str, Any]  # cell by heading, None where it is to be filled in
_RESULT_COLUMNS = frozenset({"value", "noise", FAILURE, LABEL, NOTE})  # kinds and names of columns left empty


def batch_rows(
    run: Run, ids: Sequence[int], *, units: bool = True, files: Mapping[int, str] | None = None
) -> list[BatchRow]:
    """Rows of a batch, one per candidate, all with the same headings.

    Args:
        run: with the candidates.
        ids: their numbers.
        units: add units to the headings of properties.
        files: name of the structure file by candidate.
    """
    empty = _empty_cells(Layout.of_campaign(run.campaign), units=units)
    genomes = [dict(run.history.candidate(id).genome) for id in ids]
    made = design_rows(run, ids, files)
    return [{**row, **empty, GENOME: genome} for row, genome in zip(made, genomes, strict=True)]


def design_rows(run: Run, ids: Sequence[int], files: Mapping[int, str] | None = None) -> list[BatchRow]:
    """Rows with number, stage, formula and design of each candidate.

    The stage is left out if the campaign has a single external one.

    Args:
        run: with the candidates.
        ids: their numbers.
        files: name of the structure file by candidate.
    """
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
    """Stage at which each candidate waits, by number."""
    return {id: stage for stage, ids in run.waiting().items() for id in ids}


def _design_cells(run: Run, id: int, layout: Layout) -> BatchRow:
    """Cells of a design: columns of the space, then other parameters."""
    genome, space = run.history.candidate(id).genome, run.campaign.space
    written = dict(space.to_cells(genome)) if isinstance(space, TabledSpace) else {}
    if isinstance(space, TabledSpace):
        written = {name: written.get(name, "") for name in space.table_columns()}
    cells = {**written, **{n: v for n, v in run.design(id).parameters.items() if n not in written}}
    return {layout.design_heading(name): _round_amount(value) for name, value in cells.items()}


def _round_amount(value: float | str) -> float | str:
    """Round an amount to a weighable number of digits; the genome keeps all."""
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
    """Refuse to overwrite anything but a batch without results.

    Args:
        campaign: of the batch.
        path: to write.

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
    """Write candidates to a CSV or JSON file, with their structures beside it.

    Args:
        run: with the candidates.
        ids: their numbers.
        path: the file, JSON if it ends so; structures are CIF files in a folder beside it.

    Returns:
        The structure files.

    Raises:
        OutputError: it cannot be written there, or would replace results.
    """
    path = Path(path)
    check_output(run.campaign, path)
    as_json = path.suffix.lower() == ".json"
    files = _write_structures(run, ids, path)
    names = {id: file.relative_to(path.parent).as_posix() for id, file in files.items()}
    rows = batch_rows(run, ids, units=not as_json, files=names)
    text = json.dumps(rows, ensure_ascii=False, indent=1) + "\n" if as_json else _to_csv(rows)
    with replace_file(path) as temporary:
        # Spreadsheets recognise UTF-8 by its byte order mark; ASCII needs none.
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
    """Write CIF files of the candidates with a structure; return them by number."""
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
    """Structure that the stage requires, or else the candidate's last one."""
    evaluator = run.campaign.evaluators.get(stage)
    requires = evaluator.requires if evaluator is not None else ()
    roles = [name.removeprefix(STRUCTURES) for name in sorted(requires) if name.startswith(STRUCTURES)]
    return run.structure(id, roles[0] if roles else "")
