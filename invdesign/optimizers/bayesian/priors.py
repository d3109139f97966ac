"""Earlier results as data of their own: tables and earlier runs.

Numbers of another functional, another potential or another laboratory differ from those of this run's evaluators.
So every prior is a source of its own, and its agreement with the run is learned along with everything else; a
misleading prior soon gets no weight.

Source:
    Swersky, Snoek & Adams, Adv. Neural Inf. Process. Syst. 26 (2013), multi-task Bayesian optimization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome
from invdesign.errors import InvdesignError, nearest
from invdesign.optimizers.bayesian.tabled import GENOME_COLUMN, RowError, RowReader, build_reader, place_row
from invdesign.properties import HULL_DISTANCES, describe_property
from invdesign.protocols import SearchSpace
from invdesign.settings import Frozen, InputFile
from invdesign.tables.cells import describe_rows, is_miswritten, parse_numbers, suggest_remedy
from invdesign.tables.text import parse_table
from invdesign.tables.units import (
    FoundColumn,
    check_heading_unit,
    describe_missing_column,
    find_column,
    split_heading,
)

# Suffixes of noise columns in exported tables, today and in earlier versions
NOISE_SUFFIXES = ("_noise", "_uncertainty")
STATUS_COLUMN = "status"
COMPLETE_STATUS = "complete"


def _extend_schema(schema: dict[str, Any]) -> None:
    """Allow an earlier run in place of a table in the JSON Schema.

    The run is read together with the campaign file.
    """
    run = {"type": "string", "description": "Folder of an earlier run, relative to the campaign's folder."}
    schema["properties"] = {"run": run, **schema["properties"]}
    schema.pop("required", None)
    schema["oneOf"] = [{"required": ["table"]}, {"required": ["run"]}]


class PriorTable(Frozen):
    """Table of known results.

    Its text travels with the campaign, so a run does not depend on the file.

    In a campaign file `{run: FOLDER}` stands for the finished candidates of an earlier run.
    """

    model_config = ConfigDict(json_schema_extra=_extend_schema)

    table: InputFile
    """CSV: a row per candidate, columns as `invdesign export` writes them, or named as parameters and properties."""
    name: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """Name in notes and reports; the file's name where not given."""
    columns: dict[str, str] = Field(default={})
    """Column by property or parameter, where the table uses another name: `{voltage: "V vs Li (V)"}`."""
    same: bool = False
    """Count the numbers as the run's own: they mean exactly the same as those of its evaluators."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_run(cls, value: object) -> object:
        """Refuse an earlier run that was not made a table."""
        if isinstance(value, Mapping) and "run" in value:
            raise ValueError(
                "an earlier run is read while a campaign file is: in Python, make a table of it with "
                "invdesign.campaign.priors.run_table(folder)"
            )
        return value

    @model_validator(mode="after")
    def _check_readable(self) -> Self:
        """Check that the table is readable and has the named columns."""
        try:
            cells = _read_cells(self.table.name, self.table.text)
            for wanted in self.columns.values():
                if cells.find_heading(wanted) is None:
                    raise ValueError(
                        f"{self.table.name} has no column '{wanted}'. {describe_missing_column(wanted, cells.header)}"
                    )
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def label(self) -> str:
        """Name in notes and reports."""
        return self.name or PurePath(self.table.name).stem


@dataclass(frozen=True, eq=False)
class PriorData:
    """Results of one table for candidates of the space.

    Attributes:
        name: of the table.
        same: True if its numbers count as the run's own.
        genomes: n of them, each known to the space or made not far outside it.
        values: by property, shape (n,), NaN where unknown.
        noise: by property, shape (n,), variance of each value, NaN where unknown.
        note: how many of its rows are used, and why others are not.
    """

    name: str
    same: bool
    genomes: tuple[Genome, ...]
    values: dict[str, FloatArray]
    noise: dict[str, FloatArray]
    note: str


def read_priors(
    priors: Sequence[PriorTable], space: SearchSpace, properties: Iterable[str]
) -> list[PriorData]:
    """Read the results for candidates of a space from tables, in their order.

    A pure function of its arguments; its cost is that of building every row's candidate, crystals excepted.

    Args:
        priors: the tables.
        space: what is searched; rows of which it does not know the genome are left out.
        properties: that objectives and constraints read.

    Raises:
        InvdesignError: a table does not fit; see `explain_refusal`.
    """
    properties = tuple(properties)
    return [_read_prior(prior, space, properties) for prior in priors]


def explain_refusal(priors: Sequence[PriorTable], space: SearchSpace, properties: Iterable[str]) -> str:
    """Explain why tables cannot be used, as in "bayesian REFUSAL"; else empty.

    Args:
        priors: the tables.
        space: what is searched.
        properties: that objectives and constraints read.
    """
    properties = tuple(properties)
    twice = _first_repeated(prior.label for prior in priors)
    if twice:
        return f"is given two priors called '{twice}'; name them: {{table: ..., name: ...}}"
    for prior in priors:
        try:
            _fit_table(prior, space, properties)
        except InvdesignError as error:
            return f"cannot use the prior: {str(error).removesuffix('.')}"
    return ""


def _first_repeated(names: Iterable[str]) -> str:
    """First name that is repeated; empty for none."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


# Cells.


@dataclass(frozen=True)
class _TableCells:
    """Table of text: n rows under a header, each with its line."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column_cells(self, name: str) -> list[str]:
        """Cells (n,) of the column `name`."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def find_heading(self, name: str) -> FoundColumn | None:
        """Find the column `name`, with or without a unit in its heading.

        Raises:
            InvdesignError: several may be meant.
        """
        return find_column(name, self.header, self.name, f"Say which with 'columns: {{{name}: ...}}'")

    def describe_places(self, places: Sequence[int]) -> str:
        """Describe the rows at `places` by their lines."""
        return describe_rows([self.lines[place] for place in places])


@lru_cache(maxsize=8)
def _read_cells(name: str, text: str) -> _TableCells:
    """Read the table in a text.

    Raises:
        InvdesignError: it is no table, or has columns of the same name or rows of another length.
    """
    table = parse_table(name, text)
    header = tuple(filter(None, table.headings))
    columns, lines = table.read_columns(header)
    return _TableCells(name, header, tuple(zip(*columns.values(), strict=True)), tuple(lines))


@dataclass(frozen=True)
class _FittedTable:
    """Table as it is read for one search: values and deviations by property."""

    cells: _TableCells
    reader: RowReader
    values: dict[str, FloatArray]
    deviations: dict[str, FloatArray]


def _fit_table(prior: PriorTable, space: SearchSpace, properties: Sequence[str]) -> _FittedTable:
    """Read the columns of a table for one search.

    Raises:
        InvdesignError: it has none of the properties, no candidates of the space, or cells that are no numbers.
    """
    name, cells = prior.table.name, _read_cells(prior.table.name, prior.table.text)
    present = _find_properties(cells, prior, properties)
    if not present:
        raise InvdesignError(
            f"{name} has no column of {' or '.join(properties)}. {describe_missing_column(properties[0], cells.header)}; say which is "
            f"meant with 'columns: {{{properties[0]}: ...}}'"
        )
    reader = build_reader(space, cells.header, prior.columns)
    if isinstance(reader, str):
        raise InvdesignError(f"{name} {reader}")
    for column in reader.numbers:
        _check_written(cells, column)
    named = (*properties, *(item + suffix for suffix in NOISE_SUFFIXES for item in properties), *reader.names)
    strange = [key for key in prior.columns if key not in named]
    if strange:
        hint = nearest(strange[0], named)
        raise InvdesignError(
            f"'columns' of {name} names '{strange[0]}', which is no property of the objectives and constraints and "
            f"no parameter of the space. {hint or 'Known: ' + ', '.join(named)}"
        )
    values = {item: _parse_column(cells, column, name) for item, column in present.items()}
    deviations = {}
    for item, column in present.items():
        bare = split_heading(column)[0]
        said = [prior.columns.get(item + suffix) for suffix in NOISE_SUFFIXES]
        said += [name + suffix for suffix in _noise_suffixes(item) for name in (column, bare)]
        spread = next(filter(None, (cells.find_heading(heading) for heading in said if heading)), None)
        if spread is not None:
            deviations[item] = _parse_column(cells, spread.heading, name)
            _refuse_negative(deviations[item], spread.heading, cells)
    return _FittedTable(cells, reader, values, deviations)


def _noise_suffixes(item: str) -> Sequence[str]:
    """Suffixes of a property's noise columns.

    Earlier versions wrote the error of the method beside hull distances.
    """
    return NOISE_SUFFIXES[:1] if item in HULL_DISTANCES else NOISE_SUFFIXES


def _parse_column(cells: _TableCells, column: str, name: str) -> FloatArray:
    """Parse a column of numbers; refuse cells that are none."""
    values, wrong = parse_numbers(cells.column_cells(column))
    if wrong:
        shown = cells.column_cells(column)[wrong[0]]
        raise InvdesignError(
            f"{name}: column '{column}' holds no plain number in {cells.describe_places(wrong)}, first '{shown:.40}'. "
            f"{suggest_remedy(shown)} Mend the cells, or empty those that have no value"
        )
    return values


def _check_written(cells: _TableCells, column: str) -> None:
    """Refuse numbers of a candidate in an unreadable form.

    Otherwise their rows would be left out silently.
    """
    held = cells.column_cells(column)
    wrong = [place for place, cell in enumerate(held) if is_miswritten(cell)]
    if wrong:
        first = held[wrong[0]]
        raise InvdesignError(
            f"{cells.name}: column '{column}' holds no plain number in {cells.describe_places(wrong)}, first '{first:.40}'. "
            f"{suggest_remedy(first)}"
        )


def _refuse_negative(deviations: FloatArray, column: str, cells: _TableCells) -> None:
    """Refuse negative standard deviations."""
    wrong = np.flatnonzero(deviations < 0.0).tolist()
    if wrong:
        raise InvdesignError(
            f"{cells.name}: column '{column}' holds standard deviations, and they are negative in {cells.describe_places(wrong)}"
        )


def _find_properties(cells: _TableCells, prior: PriorTable, properties: Sequence[str]) -> dict[str, str]:
    """Heading by property, of the properties the table has.

    Raises:
        InvdesignError: several columns may be meant, or one is in another unit than the vocabulary's by its heading.
    """
    present = {}
    for item in properties:
        column = prior.columns.get(item, item)
        found = cells.find_heading(column)
        if found is None:
            continue
        unit = describe_property(item).unit
        if unit:  # only evaluators know the units of other properties
            check_heading_unit(found, unit, item, cells.name, named=column == found.heading)
        present[item] = found.heading
    return present


# Rows.


@dataclass
class _SkippedRows:
    """Counts of skipped rows by reason, and of used rows outside the space.

    Attributes:
        outside: used rows whose candidate lies outside the space.
        blank: skipped, without a value.
        unfinished: skipped, of candidates that did not come to their end.
        strange: skipped, unknown to the space.
        first: description of the first of these.
    """

    outside: int = 0
    blank: int = 0
    unfinished: int = 0
    strange: int = 0
    first: str = field(default="")

    def describe_reasons(self) -> list[str]:
        """Part of a sentence for each reason."""
        found = []
        if self.unfinished:
            found.append(f"{self.unfinished} of candidates that did not come to their end")
        if self.blank:
            found.append(f"{self.blank} without a value")
        if self.strange:
            found.append(f"{self.strange} that the space does not know (first, {self.first})")
        return found


def _read_prior(prior: PriorTable, space: SearchSpace, properties: Sequence[str]) -> PriorData:
    """Read one table into `PriorData`."""
    fitting = _fit_table(prior, space, properties)
    cells, count = fitting.cells, _SkippedRows()
    exported = GENOME_COLUMN in cells.header and STATUS_COLUMN in cells.header
    status = cells.column_cells(STATUS_COLUMN) if exported else [COMPLETE_STATUS] * len(cells.rows)
    stated = np.isfinite(np.stack(list(fitting.values.values()))).sum(axis=0)
    kept: list[int] = []
    genomes: list[Genome] = []
    for number, row in enumerate(cells.rows):
        if status[number].strip() != COMPLETE_STATUS:
            count.unfinished += 1
        elif stated[number] == 0:
            count.blank += 1
        else:
            try:
                placement = place_row(
                    space, fitting.reader.make_genome(dict(zip(cells.header, row, strict=True)))
                )
            except RowError as error:
                count.first = count.first or f"line {cells.lines[number]}: {error}"
                count.strange += 1
                continue
            kept.append(number)
            genomes.append(placement.genome)
            count.outside += bool(placement.outside)
    rows = np.array(kept, dtype=np.int64)
    return PriorData(
        prior.label,
        prior.same,
        tuple(genomes),
        {name: values[rows] for name, values in fitting.values.items()},
        {name: deviations[rows] ** 2 for name, deviations in fitting.deviations.items()},
        _usage_note(prior, len(rows), len(cells.rows), count),
    )


def _usage_note(prior: PriorTable, used: int, rows: int, count: _SkippedRows) -> str:
    """Note for the user on the rows used and skipped."""
    role = "as the run's own" if prior.same else "as a source of its own"
    note = f"prior {prior.label}: {used} of {rows} rows are used, {role}"
    if count.outside:
        note += f" ({count.outside} of them {'was' if count.outside == 1 else 'were'} made outside the space)"
    reasons = count.describe_reasons()
    return f"{note}; not used are {', '.join(reasons)}" if reasons else note
