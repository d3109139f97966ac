"""Contracts of search spaces, and how the package asks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome
from invdesign.rng import Rng
from invdesign.settings import Settings

if TYPE_CHECKING:
    from pymatgen.core import Structure

LEARNING_REACH = 1.0  # ranges of a variable beyond its limits from which models still learn; farther off, a stationary model
# says nothing of the space, and the scales it would learn are not the space's (chosen)


class Operator(Protocol):
    """Makes a genome from `arity` others: start (0), mutation (1), crossover (2)."""

    @property
    def arity(self) -> int: ...
    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """A canonical genome of the space, or None where it finds none."""
        ...


@runtime_checkable
class SearchSpace(Protocol):
    """Everything that may be proposed."""

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name; at least one has arity 0."""
        ...

    def build(self, genome: Genome) -> Design:
        """What the genome stands for; a pure function of it.

        Raises:
            Infeasible: the genome stands for nothing that can be evaluated.
        """
        ...

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d): numbers a model can learn from."""
        ...

    def canonical(self, genome: Genome) -> Genome:
        """The genome that stands for every way to write the same candidate.

        Raises:
            Infeasible: the genome is malformed.
        """
        ...

    def count(self) -> int | None:
        """Number of genomes, where the space can be counted through (a `FiniteSpace`); else None."""
        ...

    def size(self) -> int | None:
        """Number of genomes, also where there are too many to be counted through; None where it is unknown or infinite."""
        ...


class SpaceSettings(Settings):
    """A convenient base for spaces: the defaults of the contract."""

    def canonical(self, genome: Genome) -> Genome:
        """The genome itself: there is one way to write each candidate."""
        return dict(genome)

    def count(self) -> int | None:
        """None: the space cannot be counted through."""
        return None

    def size(self) -> int | None:
        """The number that `count` gives."""
        return self.count()


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of a vector space.

    Attributes:
        kind: `real`, `integer`, `ordinal` (choices in an order) or `categorical` (choices in none).
        low, high: bounds, inclusive, for real and integer.
        choices: options of an ordinal or categorical dimension.
    """

    name: str
    kind: Literal["real", "integer", "ordinal", "categorical"]
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinearRule:
    """What points of the unit cube keep: sum(weight * x[column]) <= limit, or == limit.

    Attributes:
        weights: (column, weight), for the columns it is about.
        equal: whether the sum must be the limit.
    """

    weights: tuple[tuple[int, float], ...]
    limit: float
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """The dimensions of a vector space, in the order of its columns, and what is known of its genomes' codes.

    The rules and choices tell a search where genomes lie, so that it can go there directly. A space may say less
    than all: what it leaves out is a matter of `decode`.

    Attributes:
        rules: what the codes of all canonical genomes keep, to rounding.
        sparse: groups of columns of which some are 0 (absent) and which those are is a choice: at most 4 of 15.
        least: (column, smallest coordinate above 0), for columns of `sparse` that are 0 or at least so much.
        conditional: columns of dimensions that not every genome has; where it is lacking, the coordinate says nothing.
        climbable: whether points near each other stand for similar candidates, so that models learn from the points
            themselves and a search climbs in them; False where points are only a way to write a structure down.
    """

    dimensions: tuple[Dimension, ...]
    rules: tuple[LinearRule, ...] = ()
    sparse: tuple[tuple[int, ...], ...] = ()
    least: tuple[tuple[int, float], ...] = ()
    conditional: tuple[int, ...] = ()
    climbable: bool = True


@runtime_checkable
class VectorSpace(SearchSpace, Protocol):
    """A space whose genomes are points of the unit cube."""

    def domain(self) -> Domain: ...
    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d), within [0, 1]."""
        ...

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Canonical genomes for points (n, d); repairs. `decode(encode(g)) == g` for canonical g."""
        ...


@runtime_checkable
class StructureSpace(SearchSpace, Protocol):
    """A space that recognises a structure as one of its own."""

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """The genome a relaxed, seeded or generated structure stands for, or None where it is none of ours."""
        ...


class FiniteSpace(SearchSpace, Protocol):
    """A space small enough to be counted through: `count` gives a number. `is_finite` tells."""

    def __len__(self) -> int:
        """The number that `count` gives."""
        ...

    def genome(self, index: int) -> Genome: ...
    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """(index of the first row, features (<= size, d)), streamed."""
        ...


def is_finite(space: SearchSpace) -> TypeGuard[FiniteSpace]:
    """True if the space can be counted through; depends on its settings, not on its class."""
    return space.count() is not None


@runtime_checkable
class TypedSpace(SearchSpace, Protocol):
    """A space whose structures are all of one type."""

    @property
    def structure_type(self) -> str:
        """Name of the type, for people: `argyrodite`; empty where it has none."""
        ...


@runtime_checkable
class RowSpace(SearchSpace, Protocol):
    """A space whose candidates are the rows of a table."""

    @property
    def id(self) -> str | None:
        """Name of the column that identifies the rows; None where they are numbered."""
        ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of rows left out, by reason."""
        ...


@runtime_checkable
class PreparedSpace(SearchSpace, Protocol):
    """A space that reads files of its own."""

    def prepare(self) -> None:
        """Read and check them, once per process: what is wrong ends the run before anything is proposed."""
        ...


@runtime_checkable
class TabledSpace(SearchSpace, Protocol):
    """A space whose genomes a person can write as the row of a table: an amount or a choice per column."""

    def table_columns(self) -> Sequence[str]:
        """Names of the columns, in the order a person reads them; no two are the same."""
        ...

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """What stands in the columns; what the genome has no value for is left out."""
        ...

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """The genome that filled cells stand for; what is wrong with it, `build` says."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """A candidate that was made, as its space sees it.

    Attributes:
        genome: as the space writes it; what misses a rule by rounding alone is put right.
        outside: the rules of the space that it breaks, in words; empty where it keeps all.
    """

    genome: Genome
    outside: str = ""


@runtime_checkable
class OpenSpace(TabledSpace, Protocol):
    """A tabled space that describes candidates made outside it: what was made is not what was designed.

    `features`, and `encode` of a vector space, take such genomes too; their coordinates may lie beyond [0, 1].
    Operators never see them.
    """

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """By column, how far the number in a cell may be off as it is written (`candidate.half_last_digit`)."""
        ...

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Where a genome lies that somebody wrote down.

        Args:
            genome: of any form.
            rounding: of the cells it was written in; nothing for a genome of exact numbers.

        Raises:
            Infeasible: it is nothing that can be made: a name is unknown, something is missing or no number.
        """
        ...

    def build_made(self, genome: Genome) -> Design:
        """The design of a genome that `place` gave, inside or outside."""
        ...


def place_genome(
    space: SearchSpace, genome: Genome, rounding: Mapping[str, float] | None = None
) -> Placement:
    """Where a candidate that was made lies: the one place where inside and outside are told apart.

    Args:
        space: of the run; a closed one has no outside.
        genome: of any form.
        rounding: by column, how far its number may be off as it was written (`OpenSpace.rounding`).

    Raises:
        Infeasible: it is no candidate, not even one outside.

    Examples:
        >>> from invdesign.settings import load
        >>> space = load("spaces", {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}})
        >>> place_genome(space, {"x": 0.5})
        Placement(genome={'x': 0.5}, outside='')
        >>> place_genome(space, {"x": 1.5}).outside
        'x must be a number in [0, 1], got 1.5'
    """
    if isinstance(space, OpenSpace):
        return space.place(genome, rounding or {})
    space.build(genome)
    return Placement(space.canonical(genome))


def design_of(space: SearchSpace, genome: Genome, *, outside: bool = False) -> Design:
    """What the genome of a candidate stands for.

    Args:
        space: of the run.
        genome: the candidate's.
        outside: whether it was made outside the space (`Candidate.outside`).

    Raises:
        Infeasible: the genome stands for nothing that can be evaluated.
    """
    return space.build_made(genome) if outside and isinstance(space, OpenSpace) else space.build(genome)


def is_near(space: SearchSpace, genome: Genome) -> bool:
    """Whether models of the space may learn from a genome made outside it: it lies no farther off than `REACH`."""
    if not isinstance(space, VectorSpace):
        return True
    point = np.asarray(space.encode([genome]), dtype=np.float64)
    return bool(((point >= -LEARNING_REACH) & (point <= 1.0 + LEARNING_REACH)).all())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One column of a space's features, as a person knows it.

    Attributes:
        name: of the column, of no other.
        group: columns of one group belong together: what is learned may be a sum over the groups.
        kind: `category` where two different values are only different.
    """

    name: str
    group: str
    kind: Literal["number", "category"] = "number"


@runtime_checkable
class DescribedSpace(SearchSpace, Protocol):
    """A space that says what its features are."""

    def descriptors(self) -> Sequence[Descriptor]:
        """One per column of `features`, in order; their names differ."""
        ...


def descriptors_of(space: SearchSpace, width: int) -> tuple[Descriptor, ...]:
    """What the `width` features of a space are called: `feature 1` and so on where it does not say.

    Raises:
        ValueError: the space describes another number of features.
    """
    if not isinstance(space, DescribedSpace):
        return tuple(Descriptor(f"feature {number}", f"feature {number}") for number in range(1, width + 1))
    found = tuple(space.descriptors())
    if len(found) != width:
        raise ValueError(
            f"{type(space).__name__} has {width} features and describes {len(found)}: `descriptors` gives one each"
        )
    return found
