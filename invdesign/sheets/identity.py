"""The candidate that a row of results is about: by number, genome, design columns or a structure file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from invdesign import strictjson
from invdesign.candidate import Design, Genome, canonical, genome_key, to_json
from invdesign.errors import InvdesignError, candidates_text
from invdesign.protocols import OpenSpace, SearchSpace, StructureSpace, TabledSpace, place_genome
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.run import Run
from invdesign.run.told import describe_outside
from invdesign.settings import InputFile
from invdesign.sheets.columns import CANDIDATE, FAILURE, GENOME, LABEL, STRUCTURE, Layout
from invdesign.sheets.table import Row, Table
from invdesign.structures.files import parse_structure
from invdesign.tables.cells import Cell, parse_number
from invdesign.wording import shorten_text

RELATIVE_TOLERANCE = 1e-5  # of a cell's number to a candidate's; chosen
COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
MAX_LISTED = 5  # candidates in a message; chosen
_DIFFERENT_HINT = "If something else was made, clear the cells candidate and genome: then the row is a candidate of its own."


@dataclass
class SortedCells:
    """Filled cells of a row, by the kind of their column."""

    reserved: dict[str, Cell] = field(default_factory=dict)
    values: dict[str, Cell] = field(default_factory=dict)
    noise: dict[str, Cell] = field(default_factory=dict)
    design: dict[str, Cell] = field(default_factory=dict)


@dataclass
class RowIdentifier:
    """Identifies the candidate of each row; collects mistakes in the table.

    Attributes:
        run: with the candidates.
        table: with the rows.
        layout: of its columns.
        folder: of the file, for paths to structures.
        remarks: on matched rows and rows outside the space.
    """

    run: Run
    table: Table
    layout: Layout
    folder: Path
    remarks: list[str] = field(default_factory=list)

    def identify_row(self, row: Row, cells: SortedCells) -> dict[str, Any] | None:
        """Identify the candidate of a `row` from its `cells`.

        Returns:
            `candidate` or `genome` of a `Told`; None or empty, after a recorded mistake, if the candidate is unknown.
        """
        if CANDIDATE in cells.reserved:
            id = self._candidate_number(row, cells.reserved[CANDIDATE])
            if id is None:
                return None
            genome = self.run.history.candidate(id).genome
            if GENOME in cells.reserved:
                self._check_genome(row, cells.reserved[GENOME], genome, f"candidate {id}")
            self._check_design(row, cells.design, genome, f"candidate {id}")
            return {"candidate": id}
        asked = self._match_design(row, cells)
        if asked is not None:
            return asked
        found = self._read_genome(row, cells)
        return None if found is None else {"genome": found}

    # By the design.

    def _match_design(self, row: Row, cells: SortedCells) -> dict[str, Any] | None:
        """Find the asked candidate with the design in the cells.

        Cells may have fewer digits than the design.

        Returns:
            `genome` of a `Told`; None without a match; empty, after a recorded mistake, with several.
        """
        space = self.run.campaign.space
        if GENOME in cells.reserved or not isinstance(space, OpenSpace):
            return None
        columns = self._space_cells(cells)
        if not columns:
            return None
        rounding = space.rounding(columns)
        alike = [id for id in self._waiting_ids if self._matches_design(id, columns, rounding)]
        exact = [id for id in alike if self._matches_design(id, columns, {})]
        if len(exact) == 1:
            return self._candidate_genome(exact[0])
        measured = [id for id in self._measured_ids if self._matches_design(id, columns, rounding)]
        known = next((id for id in measured if self._has_same_result(id, cells)), None)
        if known is not None:
            return self._candidate_genome(known)
        alike += [id for id in measured if alike and self._matches_design(id, columns, {})]
        if len(alike) > 1:
            listed = ", ".join(map(str, alike[:MAX_LISTED])) + (
                " and more" if len(alike) > MAX_LISTED else ""
            )
            message = f"with so few digits, this may be any of the candidates {listed}."
            self.table.add_mistake(
                row, "design", message, f"Say which in column {CANDIDATE}, or write more digits."
            )
            return {}
        if alike:
            self._add_remark(row, f"its design, as far as it is written, is that of candidate {alike[0]}.")
            return self._candidate_genome(alike[0])
        return None

    def _candidate_genome(self, id: int) -> dict[str, Any]:
        return {"genome": dict(self.run.history.candidate(id).genome)}

    def _space_cells(self, cells: SortedCells) -> dict[str, str]:
        """Cells of a row that the space reads, as text."""
        space = self.run.campaign.space
        own = set(space.table_columns()) if isinstance(space, TabledSpace) else set()
        return {name: str(cell) for name, cell in cells.design.items() if name in own}

    @cached_property
    def _waiting_ids(self) -> list[int]:
        return sorted(id for ids in self.run.waiting().values() for id in ids)

    def _matches_design(self, id: int, columns: Mapping[str, str], rounding: Mapping[str, float]) -> bool:
        """True if the cells agree with a candidate's design.

        Amounts without a cell must be 0.
        """
        space = self.run.campaign.space
        assert isinstance(space, OpenSpace)
        expected = dict(space.to_cells(self.run.history.candidate(id).genome))
        names = dict.fromkeys([*columns, *(name for name, value in expected.items() if value != 0.0)])
        return all(
            name in columns and _cell_agrees(columns[name], expected.get(name), rounding.get(name, 0.0))
            for name in names
        )

    def _has_same_result(self, id: int, cells: SortedCells) -> bool:
        """True if the candidate already has the result in this row."""
        failure = " ".join(str(cells.reserved.get(FAILURE, "")).split())
        values = {name: parse_number(cell) for name, cell in cells.values.items()}
        return any(
            item.withdrawn is None
            and item.label == " ".join(str(cells.reserved.get(LABEL, "")).split())
            and (item.failure.message if item.failure else "") == failure
            and {name: item.properties.get(name) for name in values} == values
            for item in self.run.measurements(id)
        )

    @cached_property
    def _measured_ids(self) -> list[int]:
        """Numbers of the candidates with measurements."""
        keys = {item.key for item in self.run.measurements() if item.withdrawn is None}
        ids = [self.run.history.id_of(key) for key in sorted(keys)]
        return sorted(id for id in ids if id is not None)

    def _add_remark(self, row: Row, sentence: str) -> None:
        self.remarks.append(f"{self.table.row_place(row)}: {sentence}")

    def _candidate_number(self, row: Row, cell: Cell) -> int | None:
        number = None if isinstance(cell, bool) else parse_number(cell)
        count = len(self.run.history)
        if number is None or not number.is_integer():
            self.table.add_mistake(
                row, CANDIDATE, f"must be the number of a candidate, got {quote_cell(cell)}."
            )
            return None
        if not 0 <= number < count:
            hint = "A candidate that was not asked for has no number: leave the cell empty and fill in what it is."
            self.table.add_mistake(
                row, CANDIDATE, f"there is no candidate {number:g}; {candidates_text(count)}.", hint
            )
            return None
        return int(number)

    def _check_genome(self, row: Row, cell: Cell, genome: Genome, who: str) -> None:
        found = self._parse_genome(row, cell)
        if found is not None and not self._is_same_genome(found, genome):
            message = f"is not that of {who}, which is {to_json(genome):.200}."
            self.table.add_mistake(row, GENOME, message, _DIFFERENT_HINT)

    def _is_same_genome(self, found: Genome, genome: Genome) -> bool:
        """True if two genomes are the same candidate, however written."""
        if genome_key(found) == genome_key(genome):
            return True
        try:
            return genome_key(normalise_genome(self.run.campaign.space, found)) == genome_key(genome)
        except FOREIGN_ERRORS:  # a space may raise anything for a malformed genome
            return False

    def _parse_genome(self, row: Row, cell: Cell) -> Genome | None:
        try:
            found = strictjson.loads(cell) if isinstance(cell, str) else cell
            if not isinstance(found, dict):
                raise ValueError("it is no object")  # noqa: TRY004, TRY301 - becomes a mistake below
            return cast("Genome", canonical(found))
        except (ValueError, TypeError, RecursionError) as error:
            self.table.add_mistake(
                row, GENOME, f"must be the JSON of a genome, got {quote_cell(cell)}: {error}."
            )
            return None

    def _check_design(self, row: Row, cells: Mapping[str, Cell], genome: Genome, who: str) -> None:
        """Check that design cells agree with the candidate."""
        if not cells:
            return
        expected, space = self._expected_cells(genome), self.run.campaign.space
        rounding = (
            space.rounding(self._space_cells(SortedCells(design=dict(cells))))
            if isinstance(space, OpenSpace)
            else {}
        )
        for name, cell in cells.items():
            if not _cell_agrees(cell, expected.get(name), rounding.get(name, 0.0)):
                has = f"and {who} has {expected[name]}" if name in expected else f"and {who} has none"
                heading = self.layout.design_heading(name)
                point = str(cell).replace(",", ".")
                comma = COMMA_NUMBER.fullmatch(str(cell)) and _cell_agrees(point, expected.get(name))
                advice = f"Write {point}, with a decimal point." if comma else _DIFFERENT_HINT
                self.table.add_mistake(row, heading, f"is {quote_cell(cell)} here, {has}.", advice)

    def _expected_cells(self, genome: Genome) -> dict[str, float | str]:
        space = self.run.campaign.space
        written = dict(space.to_cells(genome)) if isinstance(space, TabledSpace) else {}
        if set(self.layout.design) - written.keys():
            written = {**self._build_design(genome).parameters, **written}
        return written

    def _build_design(self, genome: Genome) -> Design:
        space = self.run.campaign.space
        return space.build_made(genome) if isinstance(space, OpenSpace) else space.build(genome)

    def _read_genome(self, row: Row, cells: SortedCells) -> Genome | None:
        """Read the genome of a row without number: JSON, columns or structure."""
        space = self.run.campaign.space
        genome: Genome | None = None
        if GENOME in cells.reserved:
            genome = self._parse_genome(row, cells.reserved[GENOME])
        elif isinstance(space, TabledSpace) and cells.design.keys() & set(space.table_columns()):
            own = {n: str(cell) for n, cell in cells.design.items() if n in space.table_columns()}
            genome = space.from_cells(own)
        elif STRUCTURE in cells.reserved and isinstance(space, StructureSpace):
            genome = self._adopt_structure(row, space, str(cells.reserved[STRUCTURE]))
        else:
            self.table.add_mistake(
                row, CANDIDATE, f"is empty, and nothing says what was measured. {self._identification_hint()}"
            )
        return None if genome is None else self._place_genome(row, cells, genome)

    def _identification_hint(self) -> str:
        space = self.run.campaign.space
        ways = ["its number"]
        if isinstance(space, TabledSpace):
            ways.append(
                f"its design in the columns {', '.join(map(self.layout.design_heading, self.layout.design))}"
            )
        if isinstance(space, StructureSpace):
            ways.append(f"a structure file in column {STRUCTURE}")
        return f"Give {', or '.join(ways)}, or its genome as JSON in column {GENOME}."

    def _place_genome(self, row: Row, cells: SortedCells, genome: Genome) -> Genome | None:
        space = self.run.campaign.space
        columns = {} if GENOME in cells.reserved else self._space_cells(cells)
        try:
            rounding = space.rounding(columns) if isinstance(space, OpenSpace) else {}
            placement = place_genome(space, normalise_genome(space, genome), rounding)
        except FOREIGN_ERRORS as error:  # a space may raise anything
            comma = any(COMMA_NUMBER.fullmatch(str(cell)) for cell in cells.design.values())
            hint = "Write numbers with a decimal point." if comma else ""
            self.table.add_mistake(
                row, "design", f"is none of this run's space: {str(error).removesuffix('.')}.", hint
            )
            return None
        found = cast("Genome", canonical(placement.genome))
        rest = {name: cell for name, cell in cells.design.items() if name not in columns}
        self._check_design(row, rest, found, "the genome")
        if placement.outside and genome_key(found) not in self.run.history:
            said = f"made outside the space ({placement.outside}): {describe_outside(space, found)}"
            self._add_remark(row, said)
        return found

    def _adopt_structure(self, row: Row, space: StructureSpace, name: str) -> Genome | None:
        try:
            file = InputFile.model_validate(name, context={"folder": self.folder})
            genome = space.adopt(parse_structure(file), None)
        except (InvdesignError, ValueError) as error:
            self.table.add_mistake(row, STRUCTURE, _error_line(error))
            return None
        if genome is None:
            self.table.add_mistake(row, STRUCTURE, f"the structure in {name} is none of this run's space.")
        return genome


def normalise_genome(space: SearchSpace, genome: Genome) -> Genome:
    """Write a `genome` in the one form that its `space` uses.

    To JSON, 1 and 1.0 differ, although they are the same amount.
    """
    written = space.canonical(genome)
    if isinstance(space, TabledSpace) and written.keys() <= set(space.table_columns()):
        whole = {name: str(value) for name, value in written.items() if type(value) is int}
        return {**written, **space.from_cells(whole)} if whole else written
    return written


def _cell_agrees(cell: Cell, expected: float | str | None, rounding: float = 0.0) -> bool:
    """True if a cell agrees with a value to a spreadsheet's digits.

    Args:
        cell: as read.
        expected: number or text; None stands for an absent amount.
        rounding: largest rounding error of the number as written.
    """
    if expected is None:
        return parse_number(cell) == 0.0
    if isinstance(expected, str):
        return str(cell) == expected.strip()
    number = parse_number(cell)
    near = rounding * (1.0 + 1e-9) + 1e-12  # with the error of decimals in binary floating point
    return number is not None and math.isclose(number, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=near)


def quote_cell(cell: Cell) -> str:
    """Quote a `cell` for a message, shortened."""
    return f"'{shorten_text(cell if isinstance(cell, str) else json.dumps(cell), 60)}'"


def _error_line(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
    return " ".join(str(error).split())
