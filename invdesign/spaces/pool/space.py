"""Search space of given candidates: a table, structure files, an ASE database.

The pool stays in its place. Only the place, the name and the features of each row are kept in memory; a row is read
when it is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    WithJsonSchema,
    model_validator,
)

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible, InvdesignError, nearest
from invdesign.protocols import Descriptor, Dimension, Domain, Operator
from invdesign.rng import Rng
from invdesign.settings import Frozen, parse_name_list
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.operators import GenomeOperator
from invdesign.spaces.pool.features import TIE, Points, Scale, draw_rank
from invdesign.spaces.pool.file import PoolError, PoolFile
from invdesign.spaces.pool.index import ColumnUse, Kind, Rows, Survey, read_material
from invdesign.spaces.pool.sources import ROWS_INSPECTED, STRUCTURE_COLUMN, Source, name_columns, open_source
from invdesign.structures.charges import ElementSymbol
from invdesign.tables.cells import Cell, is_blank, is_missing_number, parse_number, suggest_remedy
from invdesign.wording import list_first

ROW_KEY = "row"  # the genome's only key
MAX_BYTES_FOR_REMARKS = 200_000  # chosen; a larger unread pool would take over a second or two to read
MAX_NEIGHBOUR_RANK = 32  # chosen; largest rank of the row that a mutation takes


class Features(Frozen):
    """Properties by which rows are compared."""

    columns: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Columns of numbers."""
    composition: bool = False
    """Statistics of elemental properties over the composition."""
    structure: bool = False
    """Density, volume per atom, packing fraction and shortest distance."""


def _expand_columns(value: object) -> object:
    """Convert a list of columns to a mapping with kind `auto`."""
    if isinstance(value, list | tuple):
        return dict.fromkeys(parse_name_list(value), "auto")
    return value


Columns = Annotated[
    dict[str, Kind],
    BeforeValidator(_expand_columns),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                {"type": "object", "additionalProperties": {"enum": ["auto", "number", "text"]}},
            ]
        }
    ),
]


class PoolSpace(CountableSpace):
    """Given candidates, each proposed at most once.

    A genome is `{"row": ID}`: the identifier of a row, the name of a structure file, or the number of the row from
    1. Points of the unit cube are the rows' features; a point stands for the row nearest to it.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    source: PoolFile
    """A table (.csv, .tsv, .txt, .jsonl, .ndjson, .parquet), a folder of structure files, or an ASE database (.db, .json)."""
    id: str | None = None
    """Column that tells the rows apart; their number where not given, a file's name, an ASE row's number."""
    columns: Columns = Field(default={})
    """Columns that become parameters: a list, or a mapping to `number` or `text` where that is in doubt."""
    composition: str | None = None
    """Column with formulas."""
    structure: str | None = None
    """Column with structures as CIF, POSCAR or pymatgen JSON; folders and databases need none."""
    mobile: ElementSymbol | None = None
    """Ion whose own sites may be occupied in part, as in `Li7La3Zr2O12`; for evaluators that remove it."""
    compared_by: Features | None = Field(default=None, alias="features")  # `features` is a method of spaces
    """Properties by which rows are compared; by default all numeric `columns`, composition and structure."""
    scale: Scale = "range"
    """Scaling of features to the unit interval: by lowest and highest value, or by `ranks`, against outliers."""
    missing: Literal["error", "drop"] = "error"
    """Rows that lack a value or cannot be read: refuse the pool, or leave them out."""
    repeated: Literal["error", "first"] = "error"
    """Rows that repeat another: refuse the pool, or keep the first of each."""

    @model_validator(mode="wrap")
    @classmethod
    def _check_rows(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read and check the whole pool if it is named by its path.

        A pool of a stored campaign is read when it is used.
        """
        space = handler(data)
        if isinstance(data, Mapping) and isinstance(data.get("source"), str):
            try:
                space.prepare()
            except InvdesignError as error:
                raise ValueError(str(error)) from error
        return space

    def prepare(self) -> None:
        """Read the pool and check every row, once per process.

        Raises:
            PoolError: the file is missing or has changed, or rows have problems.
        """
        self._pool.points  # noqa: B018 - read for its side effect

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of rows left out, by reason."""
        return self._pool.left_out

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on how rows were read, and on rows left out as unreadable.

        None of a large pool that was not yet read.
        """
        readable = self._readable_pool
        return readable.remarks if readable is not None else ()

    @property
    def elements(self) -> frozenset[str] | None:
        """Symbols of the elements that the rows hold; None where no row names any, or of a large pool that was not yet read."""
        readable = self._readable_pool
        return (readable.elements or None) if readable is not None else None

    @property
    def _readable_pool(self) -> Pool | None:
        """The pool, read; None where that takes long, or where its file was moved or changed."""
        read = "_pool" in self.__dict__ and self._pool.is_read
        if not read and self.source.bytes > MAX_BYTES_FOR_REMARKS:
            return None
        try:
            _ = self._pool.kept_rows
        except (InvdesignError, OSError):  # building a row raises the error
            return None
        return self._pool

    @cached_property
    def _pool(self) -> Pool:
        fields = self.model_dump(mode="json")
        return _load_pool(json.dumps({key: value for key, value in fields.items() if key != "kind"}))

    def operators(self) -> Mapping[str, Operator]:
        """Operators `start`, `neighbour` and `between`.

        `start` takes any row, `neighbour` one of the nearest rows, `between` the row nearest to a point between two.
        """
        return self._operators

    @cached_property
    def _operators(self) -> dict[str, Operator]:
        return {
            "start": GenomeOperator(0, self._draw_row),
            "neighbour": GenomeOperator(1, self._draw_neighbour),
            "between": GenomeOperator(2, self._draw_between),
        }

    def count(self) -> int:
        """Number of rows, without those left out."""
        return len(self._pool.kept_rows)

    def genome_at_index(self, index: int) -> Genome:
        """Row number `index` of those that stay, in the source's order."""
        return self._pool.write_genome(index)

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)).
        """
        for first in range(0, len(self), size):
            yield first, self._pool.points.features(slice(first, min(first + size, len(self))))

    def build(self, genome: Genome) -> Design:
        """Read the row of `genome` and build its design.

        Parameters are in the order of `columns`; the structure is called `initial`.

        Raises:
            Infeasible: there is no such row, or it lacks a value or cannot be read.
            PoolError: the pool is missing or has changed.
        """
        if set(genome) != {ROW_KEY}:
            raise Infeasible(f"a genome of a pool is {{{ROW_KEY}: ID}}, got {dict(genome)!r:.80}")
        return self._pool.read_design(genome[ROW_KEY])

    def canonical(self, genome: Genome) -> Genome:
        """Write `genome` with the pool's type of identifier.

        `{"row": 17}` becomes `{"row": "17"}` where identifiers are text.

        Raises:
            Infeasible: the row is not in the pool, or was left out.
        """
        if set(genome) != {ROW_KEY}:
            raise Infeasible(f"a genome of a pool is {{{ROW_KEY}: ID}}, got {dict(genome)!r:.80}")
        written = {ROW_KEY: self._pool.rows.normalize_name(genome[ROW_KEY])}
        self._pool.find_position(written)
        return written

    def table_columns(self) -> Sequence[str]:
        """Column with the name of a row."""
        return (ROW_KEY,)

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """Identifier of the row of `genome`, as text unless it is a number."""
        name = genome[ROW_KEY]
        return {ROW_KEY: name if isinstance(name, int | float) else str(name)}

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """Genome of the row that `cells` name."""
        return {ROW_KEY: self._pool.rows.normalize_name(cells.get(ROW_KEY, ""))}

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Features of `genomes`, scaled to [0, 1], shape (n, d)."""
        return self._pool.points.features(self._find_positions(genomes))

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features that vary, with their groups.

        Each column is a group of its own; statistics of the elements are grouped by what they tell (`size`, `cohesion`, ...), and
        those of the structure are one group. Where none varies, there is one for ties.
        """
        all_ = self._pool.wanted.descriptors()
        varied = [all_[column] for column in self._pool.points.columns]
        return rename_duplicates(varied or [Descriptor(TIE, TIE)])

    def domain(self) -> Domain:
        """One real dimension per feature that varies.

        One more for ties where rows agree in all features.
        """
        points = self._pool.points
        return Domain(
            tuple(
                Dimension(name, "real", low, high)
                for name, low, high in zip(points.names, points.low, points.high, strict=True)
            )
        )

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points (n, d) of the unit cube at `genomes`."""
        return self._pool.points.take_points(self._find_positions(genomes))

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes of the rows nearest to points `x` (n, d).

        Points outside the unit cube are moved to its surface.
        """
        return [
            self._pool.write_genome(int(row))
            for row in self._pool.points.find_nearest(np.clip(x, 0.0, 1.0))[:, 0]
        ]

    def _find_positions(self, genomes: Sequence[Genome]) -> IntArray:
        """Index of each genome's row among those that stay, shape (n,)."""
        return np.array([self._pool.find_position(genome) for genome in genomes], dtype=np.int64)

    def _draw_row(self, parents: Sequence[Genome], rng: Rng) -> Genome:  # noqa: ARG002 - an operator's signature
        return self._pool.write_genome(int(rng.integers(len(self))))

    def _draw_neighbour(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Draw one of the nearest rows, near ones more often."""
        if len(self) == 1:
            return None
        row = self._pool.find_position(parents[0])
        rank = draw_rank(float(rng.random()), min(MAX_NEIGHBOUR_RANK, len(self) - 1))
        near = self._pool.points.find_nearest(self._pool.points.take_points(np.array([row])), rank + 1)[0]
        others = near[near != row]
        return self._pool.write_genome(int(others[rank - 1]))

    def _draw_between(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Row nearest to a random point between two parents, and neither of them."""
        rows = self._find_positions(parents)
        share = float(rng.random())
        ends = self._pool.points.take_points(rows)
        near = self._pool.points.find_nearest(share * ends[:1] + (1.0 - share) * ends[1:], 3)[0]
        others = near[~np.isin(near, rows)]
        return self._pool.write_genome(int(others[0])) if len(others) else None


@lru_cache(maxsize=2)
def _load_pool(text: str) -> Pool:
    """Load the pool of a space's settings, given as JSON text.

    The process keeps it, since a run makes its space more than once.
    """
    return Pool(PoolSpace.model_validate_json(text))


class Pool:
    """Source, rows and features of a `PoolSpace`, read on first use."""

    def __init__(self, settings: PoolSpace) -> None:
        self._settings = settings
        self.name = Path(settings.source.path).name
        chosen = settings.compared_by.columns if settings.compared_by else ()
        names = [settings.id, settings.composition, settings.structure, *settings.columns, *chosen]
        self.source, self._headings = name_columns(
            open_source(settings.source.verify_content()), filter(None, names), self.name
        )
        self.wanted = _choose_columns(settings, self.source, self.name)

    @cached_property
    def rows(self) -> Rows:
        """Places and names of all rows.

        A worker that only builds designs reads no more than these.
        """
        if "_survey_result" in self.__dict__:
            return self._survey_result[0]
        rows = Rows(self._identifier)
        for block in self.source.blocks([self._identifier] if self._identifier else []):
            rows.add_block(block)
        return rows.build_index()

    @property
    def _identifier(self) -> str | None:
        return self._settings.id or self.source.identifier

    @cached_property
    def _survey_result(
        self,
    ) -> tuple[Rows, IntArray, Points, dict[str, int], tuple[str, ...], frozenset[str]]:
        """Survey of all rows, as used by the properties below.

        All rows, rows that stay, their points, counts of rows left out, remarks on how rows were read, and their elements.
        """
        settings = self._settings
        survey = Survey(self.source, self.wanted, self._identifier, self.name)
        kept, raw, left_out = survey.select_rows(
            drop=settings.missing == "drop", first=settings.repeated == "first"
        )
        points = Points(raw, self.wanted.features, settings.scale)
        remarks = (
            *self.source.remarks,
            *survey.describe_content(self._headings),
            *survey.describe_reading(kept),
        )
        return survey.rows, kept, points, left_out, remarks, survey.elements

    @property
    def is_read(self) -> bool:
        """True if all rows were read already."""
        return "_survey_result" in self.__dict__

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on how rows were read."""
        return self._survey_result[4]

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements in formulas and structures."""
        return self._survey_result[5]

    @property
    def kept_rows(self) -> IntArray:
        """Numbers of the rows that stay, ascending, shape (n,)."""
        return self._survey_result[1]

    @property
    def points(self) -> Points:
        """Points of the rows that stay, in the unit cube."""
        return self._survey_result[2]

    @property
    def left_out(self) -> dict[str, int]:
        """Number of rows left out, by reason."""
        return self._survey_result[3]

    def write_genome(self, index: int) -> Genome:
        """Genome of row `index` of those that stay."""
        return {ROW_KEY: self.rows.read_name(int(self.kept_rows[index]))}

    def find_position(self, genome: Genome) -> int:
        """Index of the row of `genome` among those that stay.

        Raises:
            Infeasible: there is no such row, or it was left out.
        """
        row = self._find_row(genome.get(ROW_KEY))
        index = int(np.searchsorted(self.kept_rows, row))
        if index == len(self.kept_rows) or self.kept_rows[index] != row:
            raise Infeasible(f"row {genome.get(ROW_KEY)!r} of {self.name} was left out of the pool")
        return index

    def _find_row(self, name: Json) -> int:
        """Number of the row called `name`, from 0.

        Raises:
            Infeasible: there is no such row.
        """
        row = self.rows.find_row(name)
        if row >= 0:
            return row
        written = self.rows.normalize_name(name)
        if self.rows.find_row(written) >= 0:
            raise Infeasible(f"rows of {self.name} are called like {written!r}, got {name!r}")
        if self._identifier is None:
            raise Infeasible(f"{self.name} has rows 1 to {len(self.rows)}, got {name!r}")
        raise Infeasible(f"no row of {self.name} has {self._identifier} {name!r}")

    def read_design(self, name: Json) -> Design:
        """Read the row called `name` from the source and build its design."""
        row = self._find_row(name)
        used = self.wanted.used_columns
        asked = [*used, self._identifier] if self._identifier and self._identifier not in used else used
        cells = self.source.fetch(int(self.rows.places[row]), asked)
        if self._identifier and str(cells[self._identifier]).strip() != str(name):
            raise PoolError(f"the pool {self.name} changed while it was in use; start a new run")
        try:
            return _assemble_design(cells, self.wanted, str(name))
        except Infeasible:
            raise
        except InvdesignError as error:
            raise Infeasible(str(error)) from error


def _assemble_design(cells: Mapping[str, Cell], wanted: ColumnUse, name: str) -> Design:
    parameters = {
        column: _parse_parameter(cells[column], kind, column, name) for column, kind in wanted.columns.items()
    }
    formula = cells[wanted.composition] if wanted.composition else None
    held = cells[wanted.structure] if wanted.structure else None
    composition, reading = read_material(formula, held, name, wanted.mobile)
    structure = None if reading is None else reading.structure
    for column, found in ((wanted.composition, composition), (wanted.structure, structure)):
        if column is not None and found is None:
            raise Infeasible(f"row {name} has nothing in column '{column}'")
    return Design(
        parameters=parameters,
        composition=composition,
        structures={"initial": structure} if structure is not None else {},
    )


def _parse_parameter(cell: Cell, kind: Kind, column: str, name: str) -> float | str:
    """Parse the value of a parameter from its cell.

    In a column without a stated kind each cell decides for itself; the survey has refused mixed columns.
    """
    if is_blank(cell) or (kind == "number" and is_missing_number(cell)):
        raise Infeasible(f"row {name} has nothing in column '{column}'")
    number = parse_number(cell) if kind != "text" else None
    if number is None and kind == "number":
        raise Infeasible(
            f"row {name} has no number in column '{column}', but '{cell!s:.40}'. {suggest_remedy(cell)}"
        )
    if number is not None and not np.isfinite(number):
        raise Infeasible(f"row {name} has an infinite number in column '{column}'")
    return number if number is not None else str(cell).strip()


def _choose_columns(settings: PoolSpace, source: Source, name: str) -> ColumnUse:
    """Choose the columns to use, and their purposes.

    Raises:
        PoolError: there is no such column, or nothing to make a design of.
    """
    structure = STRUCTURE_COLUMN if STRUCTURE_COLUMN in source.columns else settings.structure
    if structure == STRUCTURE_COLUMN and settings.structure is not None:
        raise PoolError(f"the rows of {name} are structures themselves; leave out 'structure'")
    chosen = settings.compared_by
    asked: dict[str, Sequence[str | None]] = {
        "id": [settings.id],
        "columns": [*settings.columns],
        "composition": [settings.composition],
        "structure": [settings.structure],
        "features": [*(chosen.columns if chosen else ())],
    }
    available = [column for column in source.columns if column != STRUCTURE_COLUMN]
    missing = [
        (key, column)
        for key, columns in asked.items()
        for column in columns
        if column is not None and column not in available
    ]
    if missing:
        raise PoolError(_describe_missing(name, missing, available))
    if not settings.columns and settings.composition is None and structure is None:
        raise PoolError(
            f"no column is named to make candidates of: name 'columns' that become parameters, or a column with the "
            f"'composition' or the 'structure'. {name} has {_list_columns(available)}"
        )
    has = {
        "composition": settings.composition is not None or structure is not None,
        "structure": structure is not None,
    }
    if chosen is None:
        numbers = _find_numeric_columns(settings, source)
        features_of = frozenset(kind for kind, present in has.items() if present)
    else:
        numbers = chosen.columns
        features_of = frozenset(kind for kind in has if getattr(chosen, kind))
        for kind in sorted(features_of):
            if not has[kind]:
                raise PoolError(
                    f"features of the {kind} need a column with the {kind} of {name}; name it as '{kind}'"
                )
    identified = settings.id is not None or source.identifier is not None
    return ColumnUse(
        settings.columns,
        settings.composition,
        structure,
        numbers,
        features_of,
        identified,
        settings.mobile,
    )


def _describe_missing(name: str, missing: Sequence[tuple[str, str]], available: Sequence[str]) -> str:
    """Message on all (setting, column) that the file lacks, and its columns."""
    words = []
    for key, column in missing:
        hint = nearest(column, available)
        words.append(f"no column '{column}' ({key}).{f' {hint}' if hint else ''}")
    return f"{name} has {' It has '.join(words)} It has {_list_columns(available)}"


def _list_columns(columns: Sequence[str]) -> str:
    return list_first(columns, 40) or "no columns"


def _find_numeric_columns(settings: PoolSpace, source: Source) -> tuple[str, ...]:
    """Parameter columns of numbers, stated or judged by the first block."""
    unknown = [name for name, kind in settings.columns.items() if kind == "auto"]
    first = next(iter(source.blocks(unknown)), None) if unknown else None
    found = {name for name, kind in settings.columns.items() if kind == "number"}
    for name in unknown:
        cells = first.cells[name][:ROWS_INSPECTED] if first is not None else []
        if cells and all(parse_number(cell) is not None or is_missing_number(cell) for cell in cells):
            found.add(name)
    return tuple(name for name in settings.columns if name in found)
