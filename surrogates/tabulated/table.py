"""Values looked up in a table: known results, measurements, or a search to judge in retrospect."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from invdesign.arrays import FloatArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.properties import Unit, check_unit
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.settings import Frozen, InputFile, parse_name_list
from invdesign.structures.formulas import describe_likely_slip, list_element_symbols, parse_composition
from invdesign.tables.cells import (
    describe_rows,
    is_blank,
    is_miswritten,
    looks_like_number,
    parse_number,
    parse_numbers,
    suggest_remedy,
)
from invdesign.tables.text import TextTable, parse_table
from invdesign.tables.units import (
    check_heading_unit,
    describe_missing_column,
    find_column,
    is_same_unit,
    split_heading,
)
from invdesign.wording import count_noun

if TYPE_CHECKING:
    from pymatgen.core import Composition

MAX_TABLE_BYTES = 50_000_000  # chosen
KEY_TOLERANCE = 1e-9  # relative difference up to which two numbers of a key are the same; chosen
LISTED_FORMULAS = 10  # formulas named in a message; chosen
LISTED_SUSPECTS = 3  # formulas with a doubtful element named in a remark; chosen
FAILURE_STAGE = "table"

Repeated = Literal["error", "mean", "first", "lowest", "highest"]


class Provided(Frozen):
    """A property with its unit and column.

    A plain string is the unit alone.
    """

    unit: Unit
    """Unit of the numbers; an empty one for pure numbers."""
    column: str | None = None
    """Column it stands in, if that does not have the property's name."""

    @model_validator(mode="before")
    @classmethod
    def _accept_unit_alone(cls, value: object) -> object:
        return {"unit": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _expand_key(value: object) -> object:
    """Expand a column, or a list of them, to a mapping.

    The parameters have the names of the columns.
    """
    if isinstance(value, str):
        return {value: value}
    return {name: name for name in parse_name_list(value)} if isinstance(value, list | tuple) else value


Key = Annotated[
    dict[str, str],
    BeforeValidator(_expand_key),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "object", "additionalProperties": {"type": "string"}},
            ]
        }
    ),
]


class Table(EvaluatorSettings):
    """Looks up known values by parameters, by composition, or by both.

    A candidate that the table does not hold fails with that reason: no value is invented.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    file: InputFile
    """Table with a header; commas, semicolons or tabs between the columns. Below 50 MB."""
    key: Key = Field(default={})
    """Columns that parameters of the same names are looked up in; a mapping from parameter to column where names differ."""
    text: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Parameters of the key that are text also where they look like numbers: `007` is not 7 then."""
    composition: str | None = None
    """Column with formulas; compared by composition, not by spelling."""
    provides_: dict[str, Provided] = Field(alias="provides", min_length=1)
    """Unit by property: `{band_gap: eV}`; `{gap: {unit: eV, column: "Gap (eV)"}}` where the column has another name."""
    repeated: Repeated = "error"
    """Rows of one key: an error, their mean, the first, or the one with the lowest or highest first property."""
    censored: Literal["error", "missing"] = "error"
    """Cells that hold no plain number, as `<1e-10`: an error, or as if the cell were empty."""

    @model_validator(mode="after")
    def _check_readable(self) -> Self:
        if len(self.file.text.encode()) > MAX_TABLE_BYTES:
            raise ValueError(
                f"'{self.file.name}' is larger than {MAX_TABLE_BYTES // 10**6} MB; keep the columns that are needed"
            )
        if not self.key and self.composition is None:
            raise ValueError(
                "say what rows are found by: 'key', columns that hold parameters, or 'composition', a column with formulas"
            )
        strange = [name for name in self.text if name not in self.key]
        if strange:
            raise ValueError(
                f"'text' names '{strange[0]}', which is no parameter of the key: {', '.join(self.key) or 'none'}"
            )
        for name, provided in self.provides_.items():
            _check_property(name, provided.unit)
        try:
            _ = self._lookup
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def requires(self) -> frozenset[str]:
        """Parameters, composition, or both: the values that rows are found by."""
        return frozenset(
            {
                *(["parameters"] if self.key else []),
                *(["composition"] if self.composition is not None else []),
            }
        )

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Units of the properties."""
        return {name: provided.unit for name, provided in self.provides_.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the settings and of every byte of the table.

        Computed once.
        """
        text = json.dumps([self.model_dump(mode="json"), self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def batch(self) -> Batch:
        """Many candidates: one costs less than its transfer to a worker."""
        return Batch(64)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on how the table was read.

        They name rows, columns, elements, and doubtful formulas.
        """
        return self._lookup.remarks

    def prepare(self) -> None:
        """Read the table."""
        _ = self._lookup

    @cached_property
    def _lookup(self) -> LookupTable:
        return _read_lookup(self)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the values of the row of each of `inputs`.

        An input without a row, or with a missing value, is a failure.
        """
        return [self._lookup.look_up(item.design.parameters, item.design.composition) for item in inputs]


def _check_property(name: str, unit: Unit) -> None:
    if not name.isidentifier():
        raise ValueError(
            f"a property is called like band_gap, got '{name}'; write {{band_gap: {{unit: {unit or 'eV'}, "
            f'column: "{name}"}}}}'
        )
    check_unit(name, unit)


class Levels:
    """Distinct numbers of a key column.

    Those closer than a billionth of themselves are one.
    """

    def __init__(self, values: FloatArray) -> None:
        """Collect the levels of `values`.

        Shape (n,), NaN where there is none.
        """
        ordered = np.unique(values[~np.isnan(values)])
        apart = np.abs(np.diff(ordered)) > KEY_TOLERANCE * np.abs(ordered[1:])
        self._levels = ordered[np.concatenate([[True], apart])] if len(ordered) else ordered

    def find_level(self, value: float) -> int | None:
        """Number of the level that `value` is on.

        Returns None if it is on none.
        """
        at = int(np.searchsorted(self._levels, value))
        for index in (at - 1, at):
            if 0 <= index < len(self._levels):
                level = float(self._levels[index])
                if math.isclose(level, value, rel_tol=KEY_TOLERANCE, abs_tol=0.0):
                    return index
        return None


@dataclass(frozen=True, slots=True)
class LookupTable:
    """The rows of a table by key."""

    name: str
    columns: Mapping[str, Levels | None]
    by_composition: bool
    rows: Mapping[tuple[Hashable, ...], tuple[float | None, ...]]
    properties: tuple[str, ...]
    remarks: tuple[str, ...]

    def look_up(self, parameters: Mapping[str, float | str], composition: Composition | None) -> Evaluation:
        """Return the values of the matching row, or a failure with the reason.

        Args:
            parameters: of the candidate.
            composition: of the candidate; None if it has none.
        """
        absent = [name for name in self.columns if name not in parameters]
        if absent:
            has = ", ".join(parameters) or "none"
            return _fail_missing(f"the candidate has no parameter '{absent[0]}'; it has {has}")
        if self.by_composition and composition is None:
            return _fail_missing("the candidate has no composition")
        key: list[Hashable] = [_encode_key(parameters[name], levels) for name, levels in self.columns.items()]
        shown = [f"{name} = {parameters[name]}" for name in self.columns]
        if self.by_composition and composition is not None:
            key.append(composition_key(composition))
            shown.append(str(composition.reduced_formula))
        values = self.rows.get(tuple(key))
        if values is None:
            return _fail_missing(f"{self.name} has no row for {', '.join(shown)}")
        found = {
            name: value for name, value in zip(self.properties, values, strict=True) if value is not None
        }
        lacking = [name for name in self.properties if name not in found]
        if lacking:
            return _fail_missing(f"{self.name} has no {', '.join(lacking)} for {', '.join(shown)}")
        return Evaluation(found)


def _fail_missing(message: str) -> Evaluation:
    return Evaluation(failure=Failure("missing", FAILURE_STAGE, message))


def _encode_key(value: float | str, levels: Levels | None) -> Hashable:
    """Encode a value as part of a key.

    Text stays as it is; a number becomes its level, or None if the table has no such number.
    """
    if levels is None:
        return value.strip() if isinstance(value, str) else f"{value:.12g}"
    number = parse_number(value)
    return levels.find_level(number) if number is not None else None


def composition_key(composition: Composition) -> Hashable:
    """Key of a `composition`, independent of its spelling: fractions to nine digits."""
    amounts = composition.get_el_amt_dict()
    total = sum(amounts.values())
    return tuple(sorted((symbol, round(amount / total, 9)) for symbol, amount in amounts.items() if amount))


@dataclass(frozen=True)
class _Cells:
    """The columns of a table that are used, by name.

    Attributes:
        name: of the file.
        headings: heading by name.
        columns: n cells each, by name.
        lines: line of each row, n.
    """

    name: str
    headings: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def describe_rows(self, places: Sequence[int]) -> str:
        """Describe the rows with the indices `places`, in words."""
        return describe_rows([self.lines[place] for place in places])


def _read_lookup(settings: Table) -> LookupTable:
    """Read the table's rows by key.

    Raises:
        InvdesignError: columns are missing, cells cannot be read, or keys repeat.
    """
    table = parse_table(settings.file.name, settings.file.text)
    cells = _select_columns(settings, table)
    keys: list[Sequence[Hashable]] = []
    levels: dict[str, Levels | None] = {}
    for parameter, column in settings.key.items():
        _check_complete(cells, column)
        levels[parameter] = None if parameter in settings.text else _find_levels(cells, parameter, column)
        keys.append([_encode_key(cell, levels[parameter]) for cell in cells.columns[column]])
    compositions: list[Composition] = []
    if settings.composition is not None:
        _check_complete(cells, settings.composition)
        compositions = _parse_compositions(cells, settings.composition)
        keys.append([composition_key(composition) for composition in compositions])
    values_by_row = list(zip(*(_parse_values(settings, p, cells) for p in settings.provides_), strict=True))
    rows: dict[tuple[Hashable, ...], list[int]] = {}
    for row, key in enumerate(zip(*keys, strict=True)):
        rows.setdefault(key, []).append(row)
    if not rows:
        raise InvdesignError(f"{cells.name} has no rows")
    merge = _choose_merge(settings, rows, cells)
    found = {key: merge([values_by_row[row] for row in group]) for key, group in rows.items()}
    remarks = (*table.remarks, *_describe_reading(settings, cells, levels, compositions))
    return LookupTable(
        cells.name, levels, settings.composition is not None, found, tuple(settings.provides_), remarks
    )


def _describe_reading(
    settings: Table, cells: _Cells, levels: Mapping[str, Levels | None], compositions: Sequence[Composition]
) -> list[str]:
    """Sentences on the table as it was read."""
    count = len(cells.lines)
    columns = [
        f"{column} ({'text' if levels[name] is None else 'number'})" for name, column in settings.key.items()
    ]
    columns += [
        f"{name} ({provided.unit or 'no unit'}{_describe_heading(cells, name, provided.column or name)})"
        for name, provided in settings.provides_.items()
    ]
    parts = [f"{cells.name}: {count_noun(count, 'row')} read", f"columns {', '.join(columns)}"]
    elements = sorted(
        {symbol for composition in compositions for symbol in list_element_symbols(composition)}
    )
    parts += [f"elements {', '.join(elements)}"] if elements else []
    mixed = [
        _remark_on_mixed_column(cells, column)
        for name, column in settings.key.items()
        if levels[name] is None and name not in settings.text
    ]
    formulas = cells.columns[settings.composition] if settings.composition is not None else ()
    doubts = list(dict.fromkeys(filter(None, map(describe_likely_slip, formulas))))
    return ["; ".join(parts), *filter(None, mixed), *doubts[:LISTED_SUSPECTS]]


def _remark_on_mixed_column(cells: _Cells, column: str) -> str:
    """Remark that a key column is text because of a few cells.

    The remark is empty if half or more of the cells are no numbers.
    """
    values, wrong = parse_numbers(cells.columns[column])
    count = int((~np.isnan(values)).sum())
    if not wrong or 2 * count <= len(values):
        return ""
    first = cells.columns[column][wrong[0]]
    return (
        f"{cells.name}: column '{column}' is text, although {count} of {len(values)} cells are numbers: "
        f"'{first:.40}' in {cells.describe_rows(wrong)} is none"
    )


def _describe_heading(cells: _Cells, name: str, column: str) -> str:
    heading = cells.headings[column]
    return f", headed '{heading}'" if heading != name else ""


def _suggest_unit_column(settings: Table, column: str, table: TextTable) -> str:
    """Suggest the only column with the requested unit.

    It is for a table that has no column of the property's name.
    """
    provided = settings.provides_.get(column)
    if provided is None or not provided.unit or provided.column is not None:
        return ""
    units = {heading: split_heading(heading)[1] for heading in table.headings}
    same = [
        heading for heading, unit in units.items() if unit is not None and is_same_unit(unit, provided.unit)
    ]
    if len(same) != 1:
        return ""
    return f". If '{same[0]}' is meant, write {column}: {{unit: {provided.unit}, column: \"{same[0]}\"}}"


def _select_columns(settings: Table, table: TextTable) -> _Cells:
    """Select the columns that are used.

    Raises:
        InvdesignError: a column is missing, ambiguous, or in another unit by its heading.
    """
    wanted = [*settings.key.values(), *([settings.composition] if settings.composition is not None else [])]
    wanted += [provided.column or name for name, provided in settings.provides_.items()]
    headings = {}
    for column in wanted:
        found = find_column(column, table.headings, table.name, "Name one in full, with 'column'")
        if found is None:
            hint = f"{describe_missing_column(column, table.headings)}{_suggest_unit_column(settings, column, table)}"
            raise InvdesignError(f"{table.name} has no column '{column}'. {hint}")
        headings[column] = found.heading
    for name, provided in settings.provides_.items():
        column = provided.column or name
        found = find_column(column, table.headings, table.name, "")
        if found is not None:
            named = provided.column is not None and provided.column == found.heading
            check_heading_unit(found, provided.unit, name, table.name, named=named)
    columns, lines = table.read_columns(list(dict.fromkeys(headings.values())))
    return _Cells(table.name, headings, {name: columns[heading] for name, heading in headings.items()}, lines)


def _find_levels(cells: _Cells, parameter: str, column: str) -> Levels | None:
    """Levels of a key column.

    Returns None if it holds text.

    Raises:
        InvdesignError: half or more of its cells that are no number are numbers in an unreadable form.
    """
    values, wrong = parse_numbers(cells.columns[column])
    if not wrong and not np.isnan(values).any():
        return Levels(values)
    odd = [place for place in wrong if looks_like_number(cells.columns[column][place])]
    if odd and 2 * len(odd) >= len(wrong):
        first = cells.columns[column][odd[0]]
        raise InvdesignError(
            f"{cells.name}: column '{column}' is part of the key and seems to hold numbers, and they cannot be read in "
            f"{cells.describe_rows(odd)}, first '{first:.40}'. {suggest_remedy(first)} Mend these, or say that all are text: "
            f"text: [{parameter}]"
        )
    return None


def _check_complete(cells: _Cells, column: str) -> None:
    blank = [place for place, cell in enumerate(cells.columns[column]) if is_blank(cell)]
    if blank:
        raise InvdesignError(
            f"{cells.name}: column '{column}' is part of the key and empty in {cells.describe_rows(blank)}; complete or remove them"
        )


def _parse_compositions(cells: _Cells, column: str) -> list[Composition]:
    found: list[Composition] = []
    wrong: list[str] = []
    for line, cell in zip(cells.lines, cells.columns[column], strict=True):
        try:
            found.append(parse_composition(cell))
        except InvdesignError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        more = f"; and {len(wrong) - LISTED_FORMULAS} more" if len(wrong) > LISTED_FORMULAS else ""
        raise InvdesignError(f"{cells.name}: {'; '.join(wrong[:LISTED_FORMULAS])}{more}")
    return found


def _parse_values(settings: Table, name: str, cells: _Cells) -> list[float | None]:
    """Parse the numbers of a property, None for cells without one."""
    column = settings.provides_[name].column or name
    values, wrong = parse_numbers(cells.columns[column])
    if settings.censored == "missing":
        # A decimal comma is no censored value: a number in another form is never taken for an empty cell.
        wrong = [place for place in wrong if is_miswritten(cells.columns[column][place])]
    if wrong:
        first = cells.columns[column][wrong[0]]
        empty = (
            ""
            if settings.censored == "missing"
            else ", or treat such cells as empty with 'censored: missing'"
        )
        raise InvdesignError(
            f"{cells.name}: column '{column}' holds no plain number in {cells.describe_rows(wrong)}, first '{first:.40}'. "
            f"{suggest_remedy(first)} Mend it{empty}"
        )
    return [None if math.isnan(value) else value for value in values.tolist()]


Values = tuple[float | None, ...]


def _choose_merge(
    settings: Table, rows: Mapping[tuple[Hashable, ...], list[int]], cells: _Cells
) -> Callable[[Sequence[Values]], Values]:
    """Choose the function that merges the rows of one key."""
    repeats = sorted(row for group in rows.values() for row in group[1:])
    if repeats and settings.repeated == "error":
        raise InvdesignError(
            f"{cells.name}: {cells.describe_rows(repeats)} {'has' if len(repeats) == 1 else 'have'} the key of an earlier row. Add a column that tells them "
            "apart to the key, or say what is meant: 'repeated: mean', 'first', 'lowest' or 'highest'"
        )
    choices: dict[Repeated, Callable[[Sequence[Values]], Values]] = {
        "error": lambda group: group[0],
        "first": lambda group: group[0],
        "mean": _average_columns,
        "lowest": lambda group: min(group, key=lambda values: _value_or(values[0], math.inf)),
        "highest": lambda group: max(group, key=lambda values: _value_or(values[0], -math.inf)),
    }
    return choices[settings.repeated]


def _value_or(value: float | None, other: float) -> float:
    return other if value is None else value


def _average_columns(group: Sequence[Values]) -> Values:
    """Average each column over the rows that have a value."""
    columns = ([value for value in column if value is not None] for column in zip(*group, strict=True))
    return tuple(statistics.fmean(column) if column else None for column in columns)
