"""Genomes from the rows of a table, and whether a space knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from invdesign import strictjson
from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, Json, canonical
from invdesign.errors import InvdesignError, nearest
from invdesign.protocols import (
    Dimension,
    OpenSpace,
    Placement,
    PreparedSpace,
    SearchSpace,
    StructureSpace,
    VectorSpace,
    is_near,
    place_genome,
)
from invdesign.tables.cells import is_blank, parse_number
from invdesign.tables.units import find_column

GENOME = "genome"  # column of an exported table
CLOSE = 1e-6  # of a dimension's range: fractions nearer than that to a mixture of the space are that mixture
# What a space may raise when it is asked about a genome of another space; a plug-in's may be any of these.
FOREIGN = (InvdesignError, LookupError, TypeError, ValueError, AttributeError, AssertionError)
Row = Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """A genome as a row has it, and by column how far its numbers may be off as they are written."""

    genome: Genome
    rounding: Mapping[str, float] = field(default_factory=dict)


Maker = Callable[[Row], Written]


class RowError(Exception):
    """A row stands for no genome of the space; the message says why."""


@dataclass(frozen=True)
class Reader:
    """How rows become genomes.

    Attributes:
        names: what `renamed` may name.
        make: a row to its genome; raises `RowError`.
        numbers: headings of the columns that hold numbers.
    """

    names: tuple[str, ...]
    make: Maker
    numbers: tuple[str, ...] = ()


def reader_of(space: SearchSpace, header: Sequence[str], renamed: Mapping[str, str]) -> Reader | str:
    """How rows of a table with this header become genomes of `space`; or in words, why they cannot.

    A column `genome` with JSON, as exported tables have it; else columns that are named as the space's parameters,
    the components of its mixtures, or the key of its genomes (`row`, or a pool's own identifier).

    Args:
        space: the space.
        header: the columns there are.
        renamed: column by what it stands for, where that differs.
    """
    genome = renamed.get(GENOME, GENOME)
    if genome in header:
        return Reader(tuple(renamed), lambda row: Written(_parsed(row[genome])))
    if not isinstance(space, VectorSpace) or isinstance(space, StructureSpace):
        return f"has no column '{GENOME}', without which rows are no candidates of this space. It has {', '.join(header)}"
    plain = _plain(space)
    wanted = {name: _column(space, name, header, renamed) for name in plain.required}
    absent = [column for column in wanted.values() if column not in header]
    if absent:
        hint = nearest(absent[0], header)
        return (
            f"has no column '{absent[0]}', which candidates of this space need, and no column '{GENOME}'. "
            f"{hint + ' ' if hint else ''}It has {', '.join(header)}"
        )
    return Reader(
        plain.required,
        lambda row: plain.make({name: row[column].strip() for name, column in wanted.items()}),
        tuple(column for name, column in wanted.items() if name in plain.numbers),
    )


def _column(space: SearchSpace, name: str, header: Sequence[str], renamed: Mapping[str, str]) -> str:
    """The column of a parameter; where a pool's rows have an identifier of their own, its name does for `row`."""
    column = renamed.get(name, name)
    found = find_column(column, header, "the table", f"Say which with 'columns: {{{name}: ...}}'")
    if found is not None:
        return found.heading
    own = getattr(space, "id", None)
    return own if name == "row" and isinstance(own, str) else column


def _parsed(text: str) -> Genome:
    try:
        genome = strictjson.loads(text)
    except ValueError as error:
        raise RowError(f"its genome is no JSON: {error}") from error
    if not isinstance(genome, dict):
        raise RowError(f"its genome must be written as {{...}}, got {text:.40}")
    return cast("Genome", genome)


@dataclass(frozen=True)
class _Plain:
    """Genomes from named cells.

    Attributes:
        required: what must have a column.
        numbers: what of it are numbers.
    """

    required: tuple[str, ...]
    make: Maker
    numbers: tuple[str, ...] = ()


def _plain(space: VectorSpace) -> _Plain:
    """How cells become a genome; what a genome of the space looks like shows one of them."""
    dimensions = space.domain().dimensions
    names = tuple(item.name for item in dimensions)
    if isinstance(space, OpenSpace):
        return _open(space, names)
    sample = space.decode(np.full((1, len(names)), 0.5))[0]
    if set(sample) <= set(names):
        return _parameters(space, dimensions)
    if all(isinstance(value, Mapping) for value in sample.values()):
        return _Plain(names, lambda row: Written(_mixed(space, dimensions, row)), names)
    return _Plain(tuple(sample), lambda row: Written(dict(row)))


def _open(space: VectorSpace, names: tuple[str, ...]) -> _Plain:
    """How cells become a genome of a space that also describes what was made outside it."""
    assert isinstance(space, OpenSpace)
    sample = dict(space.to_cells(space.decode(np.full((1, len(names)), 0.5))[0]))
    never_varied = {name: str(value) for name, value in sample.items() if name not in names}

    def make(row: Row) -> Written:
        cells = {**never_varied, **{name: cell for name, cell in row.items() if not is_blank(cell)}}
        return Written(space.from_cells(cells), space.rounding(cells))

    return _Plain(
        names,
        make,
        tuple(item.name for item in space.domain().dimensions if item.kind in {"real", "integer"}),
    )


def _parameters(space: VectorSpace, dimensions: Sequence[Dimension]) -> _Plain:
    choices = {
        item.name: _choices(space, place, len(dimensions), item)
        for place, item in enumerate(dimensions)
        if item.kind in {"categorical", "ordinal"}
    }
    kinds = {item.name: item for item in dimensions}

    def make(row: Row) -> Written:
        found: dict[str, Json] = {}
        for name, cell in row.items():
            if is_blank(cell):
                continue  # a parameter that does not exist here
            item = kinds[name]
            found[name] = _chosen(choices[name], cell, name) if name in choices else _number(cell, item)
        return Written(found)

    return _Plain(tuple(kinds), make, tuple(name for name in kinds if name not in choices))


def _number(cell: str, item: Dimension) -> Json:
    value = parse_number(cell)
    if value is None:
        raise RowError(f"parameter '{item.name}' must be a number, got '{cell:.40}'")
    return int(value) if item.kind == "integer" and value.is_integer() else value


def _chosen(choices: Mapping[str, Json], cell: str, name: str) -> Json:
    key = _as_text(cell)
    if key not in choices:
        hint = nearest(key, choices)
        raise RowError(
            f"parameter '{name}' must be one of {', '.join(choices)}, got '{cell:.40}'. {hint}".strip()
        )
    return choices[key]


def _as_text(value: Json) -> str:
    """The same text for a number however it is written."""
    number = parse_number(value) if isinstance(value, str | int | float) else None
    return str(value).strip() if number is None else f"{number:.12g}"


def _choices(space: VectorSpace, place: int, width: int, item: Dimension) -> dict[str, Json]:
    """The values of a dimension as genomes hold them, by their text: a level may be a number there."""
    found: dict[str, Json] = {_as_text(choice): choice for choice in item.choices}
    for number in range(len(item.choices)):
        for others in (
            0.5,
            0.01,
            0.99,
        ):  # a parameter with a condition exists only beside some values of others
            point = np.full((1, width), others)
            point[0, place] = (number + 0.5) / len(item.choices)
            value = space.decode(point)[0].get(item.name)
            if value is not None and _as_text(value) in found:
                found[_as_text(value)] = value
                break
    return found


def _mixed(space: VectorSpace, dimensions: Sequence[Dimension], row: Row) -> Genome:
    """The mixture of these fractions; refused where the space has none so near."""
    low = np.array([item.low for item in dimensions])
    span = np.array([item.high for item in dimensions]) - low
    given = np.zeros(len(dimensions))
    for place, item in enumerate(dimensions):
        cell = row[item.name]
        value = 0.0 if is_blank(cell) else parse_number(cell)
        if value is None:
            raise RowError(f"the fraction of '{item.name}' must be a number, got '{cell:.40}'")
        given[place] = value
    genome = space.decode(((given - low) / span)[None, :])[0]
    held = space.encode([genome])[0] * span + low
    off = np.abs(held - given) / span
    if off.max(initial=0.0) > CLOSE:
        worst = int(np.argmax(off))
        raise RowError(
            f"the space has no mixture with {given[worst]:g} of '{dimensions[worst].name}' and the other fractions; "
            f"the nearest has {held[worst]:g}"
        )
    return genome


# What a space knows.


def known(space: SearchSpace, written: Written) -> Placement:
    """A genome as the space writes it, inside the space or outside.

    Crystals and rows of a pool are not built: whether the space can describe them decides. Others are checked as candidates are.

    Raises:
        RowError: the space does not know it, or it lies too far outside to say anything of the space.
    """
    try:
        placement = _placed(space, written)
        found = cast("Genome", canonical(placement.genome))
        features: FloatArray = np.asarray(space.features([found]), dtype=np.float64)
        near = not placement.outside or is_near(space, found)
    except FOREIGN as error:
        raise RowError(
            " ".join(str(error).split()) or f"the space does not know it ({type(error).__name__})"
        ) from error
    if features.shape[0] != 1:
        raise RowError("the space does not describe it")
    if not near:
        raise RowError(f"it lies far outside the space: {placement.outside}")
    return Placement(found, placement.outside)


def _placed(space: SearchSpace, written: Written) -> Placement:
    if isinstance(space, StructureSpace | PreparedSpace):
        return Placement(space.canonical(written.genome))
    return place_genome(space, cast("Genome", canonical(written.genome)), written.rounding)
