"""Genomes from the rows of a table, and their place in a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from invdesign import strictjson
from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, canonical
from invdesign.errors import InvdesignError, nearest
from invdesign.protocols import (
    OpenSpace,
    Placement,
    PreparedSpace,
    RowSpace,
    SearchSpace,
    StructureSpace,
    TabledSpace,
    VectorSpace,
    is_near,
    place_genome,
)
from invdesign.tables.cells import is_blank
from invdesign.tables.units import find_column

GENOME_COLUMN = "genome"  # of an exported table
# Exceptions of a space given a genome of another space; a plug-in may raise any of these.
SPACE_ERRORS = (InvdesignError, LookupError, TypeError, ValueError, AttributeError, AssertionError)
Row = Mapping[str, str]


@dataclass(frozen=True)
class WrittenGenome:
    """Genome from a row, with the rounding of its numbers.

    Attributes:
        genome: of the row.
        rounding: by column, largest rounding error of its number as written.
    """

    genome: Genome
    rounding: Mapping[str, float] = field(default_factory=dict)


MakeGenome = Callable[[Row], WrittenGenome]


class RowError(Exception):
    """Row without a genome of the space; the message gives the reason."""


@dataclass(frozen=True)
class RowReader:
    """Conversion of rows to genomes.

    Attributes:
        names: keys that `renamed` may have.
        make_genome: a row to its genome; raises `RowError`.
        numbers: headings of the columns that hold numbers.
    """

    names: tuple[str, ...]
    make_genome: MakeGenome
    numbers: tuple[str, ...] = ()


def build_reader(space: SearchSpace, header: Sequence[str], renamed: Mapping[str, str]) -> RowReader | str:
    """Build the reader of a table's rows, or return the reason against it.

    A column `genome` with JSON, as exported tables have it; else columns that are named as the space's parameters,
    the components of its mixtures, or the key of its genomes (`row`, or a pool's own identifier).

    Args:
        space: the space.
        header: the columns there are.
        renamed: column by what it stands for, where that differs.
    """
    genome = renamed.get(GENOME_COLUMN, GENOME_COLUMN)
    if genome in header:
        return RowReader(tuple(renamed), lambda row: WrittenGenome(_parse_genome(row[genome])))
    if not isinstance(space, TabledSpace) or isinstance(space, StructureSpace):
        return f"has no column '{GENOME_COLUMN}', without which rows are no candidates of this space. It has {', '.join(header)}"
    cells = _cells_for(space)
    wanted = {name: _find_column(space, name, header, renamed) for name in cells.required}
    absent = [column for column in wanted.values() if column not in header]
    if absent:
        hint = nearest(absent[0], header)
        return (
            f"has no column '{absent[0]}', which candidates of this space need, and no column '{GENOME_COLUMN}'. "
            f"{hint + ' ' if hint else ''}It has {', '.join(header)}"
        )
    return RowReader(
        cells.required,
        lambda row: cells.make_genome({name: row[column].strip() for name, column in wanted.items()}),
        tuple(column for name, column in wanted.items() if name in cells.numbers),
    )


def _find_column(space: SearchSpace, name: str, header: Sequence[str], renamed: Mapping[str, str]) -> str:
    """Column of a parameter; a pool's own identifier does for `row`."""
    column = renamed.get(name, name)
    found = find_column(column, header, "the table", f"Say which with 'columns: {{{name}: ...}}'")
    if found is not None:
        return found.heading
    own = space.id if name == "row" and isinstance(space, RowSpace) else None
    return column if own is None else own


def _parse_genome(text: str) -> Genome:
    """Parse a genome from JSON text."""
    try:
        genome = strictjson.loads(text)
    except ValueError as error:
        raise RowError(f"its genome is no JSON: {error}") from error
    if not isinstance(genome, dict):
        raise RowError(f"its genome must be written as {{...}}, got {text:.40}")
    return cast("Genome", genome)


@dataclass(frozen=True)
class _GenomeCells:
    """Genomes from the cells of a tabled space.

    Attributes:
        space: which reads the cells.
        required: columns that the table must have.
        numbers: required columns that hold numbers.
        fixed: cells of the columns that do not vary.
    """

    space: TabledSpace
    required: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)

    def make_genome(self, row: Row) -> WrittenGenome:
        """Make the genome of a `row`.

        An empty cell stands for nothing, as an amount of zero or a parameter that does not exist.
        """
        cells = {**self.fixed, **{name: cell for name, cell in row.items() if not is_blank(cell)}}
        rounding = self.space.rounding(cells) if isinstance(self.space, OpenSpace) else {}
        return WrittenGenome(self.space.from_cells(cells), rounding)


def _cells_for(space: TabledSpace) -> _GenomeCells:
    """Cells of a space's genomes.

    Those that vary in a vector space with a column per dimension, else all columns of its table.
    """
    columns = tuple(space.table_columns())
    if not isinstance(space, VectorSpace):
        return _GenomeCells(space, columns)
    dimensions = space.domain().dimensions
    varied = tuple(item.name for item in dimensions)
    if not set(varied) <= set(columns):
        return _GenomeCells(space, columns)
    sample = space.to_cells(space.decode(np.full((1, len(varied)), 0.5))[0])
    return _GenomeCells(
        space,
        varied,
        tuple(item.name for item in dimensions if item.kind in {"real", "integer"}),
        {name: str(value) for name, value in sample.items() if name not in varied},
    )


# Genomes inside and outside a space.


def place_row(space: SearchSpace, written: WrittenGenome) -> Placement:
    """Place a row's genome inside or outside the space, in canonical form.

    Crystals and rows of a pool are not built: their features decide. Others are checked as candidates are.

    Args:
        space: the space.
        written: genome of the row.

    Raises:
        RowError: the space does not know it, or it lies too far outside to be informative.
    """
    try:
        placement = _place_genome(space, written)
        found = cast("Genome", canonical(placement.genome))
        features: FloatArray = np.asarray(space.features([found]), dtype=np.float64)
        near = not placement.outside or is_near(space, found)
    except SPACE_ERRORS as error:
        raise RowError(
            " ".join(str(error).split()) or f"the space does not know it ({type(error).__name__})"
        ) from error
    if features.shape[0] != 1:
        raise RowError("the space does not describe it")
    if not near:
        raise RowError(f"it lies far outside the space: {placement.outside}")
    return Placement(found, placement.outside)


def _place_genome(space: SearchSpace, written: WrittenGenome) -> Placement:
    """Place a genome; crystals and rows of a pool lie inside."""
    if isinstance(space, StructureSpace | PreparedSpace):
        return Placement(space.canonical(written.genome))
    return place_genome(space, cast("Genome", canonical(written.genome)), written.rounding)
