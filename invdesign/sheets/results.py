"""Results from files filled in by hand: all mistakes are found at once, and nothing is guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invdesign.candidate import genome_key
from invdesign.errors import ResultsError, nearest
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.sheets.columns import CANDIDATE, FAILURE, LABEL, NOISE_ENDING, NOTE, STAGE, Column, Layout
from invdesign.sheets.identity import RowIdentifier, SortedCells, quote_cell
from invdesign.sheets.table import Row, Table, read_table
from invdesign.tables.cells import Cell, parse_number, suggest_remedy

MAX_SAMPLED_DESIGNS = 3  # candidates tried for names of parameters if no row has a number; chosen


@dataclass(frozen=True, slots=True)
class Results:
    """Results in a file.

    Attributes:
        told: results in the order of the rows.
        open: number of rows without a result yet.
        remarks: on rows, with their lines: matched to a candidate, or outside the space.
    """

    told: tuple[Told, ...]
    open: int = 0
    remarks: tuple[str, ...] = ()


def read_results(run: Run, path: str | Path) -> Results:
    """Read results from a CSV or JSON file.

    Args:
        run: to tell them to.
        path: a batch file that was filled in, or one made by hand.

    Raises:
        ResultsError: with every mistake, its line, and the remedy.
    """
    path = Path(path)
    table = read_table(path)
    layout = Layout.of_campaign(run.campaign, _design_names(run, table))
    results = _ResultsReader(table, layout, RowIdentifier(run, table, layout, path.parent)).read_rows()
    if table.mistakes:
        raise ResultsError(sorted(table.mistakes, key=lambda mistake: mistake.line or 0), table.source)
    return results


def _design_names(run: Run, table: Table) -> tuple[str, ...]:
    """Names of design parameters beside the columns of the space.

    They are taken from a candidate that a row names, or one of the first.
    """
    numbers = [parse_number(row.cells.get(CANDIDATE)) for row in table.rows]
    asked = [int(number) for number in numbers if number is not None and number.is_integer()]
    for id in (*asked, *range(MAX_SAMPLED_DESIGNS)):
        if 0 <= id < len(run.history):
            try:
                return tuple(run.design(id).parameters)
            except FOREIGN_ERRORS:  # one that the space could not build
                continue
    return ()


@dataclass
class _ResultsReader:
    """Reads one file; mistakes are collected in its table."""

    table: Table
    layout: Layout
    identity: RowIdentifier
    open: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # stage by property without a column
    seen: dict[str, Row] = field(default_factory=dict)  # by content

    def read_rows(self) -> Results:
        """Read the results in all rows; mistakes are recorded in the table."""
        unknown: list[str] = []
        for heading in filter(None, self.table.headings):
            column: Column | str | None = self.layout.find_column(heading)
            if isinstance(column, str):
                self.table.add_mistake(None, heading, column)
                column, _ = self.layout.match_property(
                    heading
                )  # in another unit it does not count as missing
                unknown += [heading] if column is None else []
            if column is not None:
                self._check_once(heading, column)
                self.columns[heading] = column
        told = [told for row in self.table.rows for told in self._read_row(row)]
        for name, stage in self.absent.items():
            if not nearest(name, unknown):  # a misspelt heading was reported already
                message = f"there is no such column, and {stage} gives {self._join_properties(stage)}: a result has all of it."
                self.table.add_mistake(None, self.layout.property_heading(name), message)
        return Results(tuple(told), self.open, tuple(self.identity.remarks))

    def _check_once(self, heading: str, column: Column) -> None:
        """Record a mistake for a second column with the same meaning.

        An example is `conductivity` beside `conductivity [S/cm]`.
        """
        first = next((known for known, other in self.columns.items() if other == column), None)
        if first not in (None, heading):
            self.table.add_mistake(None, heading, f"is the same as column {first}. Leave one of them out.")

    def _add_mistake(self, row: Row, column: str, message: str, hint: str = "") -> None:
        self.table.add_mistake(row, column, message, hint)

    def _join_properties(self, stage: str) -> str:
        return ", ".join(self.layout.stages[stage])

    # A row.

    def _read_row(self, row: Row) -> list[Told]:
        cells = self._sort_cells(row)
        if not cells.values and FAILURE not in cells.reserved:
            for name in cells.noise:
                self._add_mistake(row, name + NOISE_ENDING, f"is given, and {name} itself is not.")
            self.open += not cells.noise
            return []
        known = len(self.table.mistakes)
        who = self.identity.identify_row(row, cells)
        by_stage = self._results_by_stage(row, cells)
        label, note = (" ".join(str(cells.reserved.get(name, "")).split()) for name in (LABEL, NOTE))
        if len(self.table.mistakes) > known or not who:
            return []
        told = [
            Told(**who, **found, stage=stage, label=label, note=note) for stage, found in by_stage.items()
        ]
        return [item for item in told if not self._is_repeated(row, item)]

    def _sort_cells(self, row: Row) -> SortedCells:
        found = SortedCells()
        places = {
            "reserved": found.reserved,
            "value": found.values,
            "noise": found.noise,
            "design": found.design,
        }
        for heading, cell in row.cells.items():
            column = self.columns.get(heading)
            if column is not None:
                places[column.kind][column.name] = cell
        return found

    def _is_repeated(self, row: Row, told: Told) -> bool:
        """True, with a recorded mistake, if an earlier row has the same result."""
        who = told.candidate if told.genome is None else genome_key(told.genome)
        text = repr((who, told.stage, told.label, told.failure, told.properties, told.noise))
        first = self.seen.setdefault(text, row)
        if first is row:
            return False
        self._add_mistake(
            row,
            "row",
            f"says the same as {self.table.row_place(first)}.",
            f"Take it out; or, if it was measured again with the same outcome, give each a name in column {LABEL}.",
        )
        return True

    # Results of a row.

    def _results_by_stage(self, row: Row, cells: SortedCells) -> dict[str, dict[str, Any]]:
        """Fields of a `Told` by stage; a row may hold results of several."""
        named = cells.reserved.get(STAGE)
        if named is not None and named not in self.layout.stages:
            hint = nearest(str(named), self.layout.stages) or f"Stages are: {', '.join(self.layout.stages)}."
            self._add_mistake(row, STAGE, f"there is no stage {quote_cell(named)}.", hint)
            return {}
        if FAILURE in cells.reserved:
            return self._read_failure(row, cells, None if named is None else str(named))
        grouped: dict[str, list[str]] = {}
        for name in dict.fromkeys([*cells.values, *cells.noise]):
            stage = self._choose_stage(row, name, None if named is None else str(named))
            if stage is not None:
                grouped.setdefault(stage, []).append(name)
        return {stage: self._read_values(row, cells, stage) for stage in grouped}

    def _read_failure(self, row: Row, cells: SortedCells, named: str | None) -> dict[str, dict[str, Any]]:
        given = [*cells.values, *cells.noise]
        if given:
            message = f"is filled, and so is {given[0]}: a result is a failure or has values, not both."
            self._add_mistake(row, FAILURE, message, f"A remark goes into the column {NOTE}.")
            return {}
        stages = [named] if named else list(self.layout.external)
        if len(stages) != 1:
            message = f"which stage failed? Say it in a column {STAGE}: {', '.join(self.layout.stages)}."
            self._add_mistake(row, FAILURE, message)
            return {}
        return {stages[0]: {"failure": " ".join(str(cells.reserved[FAILURE]).split())}}

    def _choose_stage(self, row: Row, name: str, named: str | None) -> str | None:
        stages = [stage for stage, units in self.layout.stages.items() if name in units]
        if named is not None:
            if named in stages:
                return named
            self._add_mistake(
                row, name, f"is nothing {named} gives, which is {self._join_properties(named)}."
            )
            return None
        chosen = [stage for stage in stages if stage in self.layout.external] or stages
        if len(chosen) == 1:
            return chosen[0]
        message = f"several stages give it: say in a column {STAGE} whose it is: {', '.join(chosen)}."
        self._add_mistake(row, name, message)
        return None

    def _read_values(self, row: Row, cells: SortedCells, stage: str) -> dict[str, Any]:
        if stage in self.layout.lacking:
            message = f"{stage} also gives {self.layout.lacking[stage]}, which no file of rows can hold."
            self._add_mistake(row, "row", message, "Tell it from Python: run.tell([invdesign.Told(...)]).")
        values: dict[str, float] = {}
        sigmas: dict[str, float] = {}
        headed = {column.name for column in self.columns.values() if column.kind == "value"}
        for name in self.layout.stages[stage]:
            if name in cells.values:
                values[name] = self._read_number(row, name, cells.values[name])
            elif name not in headed:
                self.absent[name] = stage
            else:
                hint = f"Measure it too, or say in column {FAILURE} why there is no result."
                self._add_mistake(
                    row, name, f"is empty, and {stage} gives {self._join_properties(stage)}.", hint
                )
            if name in cells.noise:
                sigmas[name] = self._read_noise(row, name + NOISE_ENDING, cells.noise[name])
        return {"properties": values, "noise": sigmas}

    def _read_noise(self, row: Row, column: str, cell: Cell) -> float:
        sigma = self._read_number(row, column, cell)
        if sigma <= 0:
            message = f"must be a standard deviation above 0, got {quote_cell(cell)}."
            self._add_mistake(row, column, message, "Leave the cell empty where it is not known.")
        return sigma

    def _read_number(self, row: Row, column: str, cell: Cell) -> float:
        """Number in a cell; NaN, with a recorded mistake, if there is none."""
        number = None if isinstance(cell, bool) else parse_number(cell)
        if number is not None and math.isfinite(number):
            return number
        hint = suggest_remedy(cell)
        self._add_mistake(row, column, f"must be a finite number, got {quote_cell(cell)}.", hint)
        return math.nan
