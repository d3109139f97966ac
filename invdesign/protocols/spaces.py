"""Contracts of search spaces, and the questions that the package asks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json
from invdesign.rng import Rng
from invdesign.settings import Settings

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Distance beyond a variable's limits, in ranges, within which models learn from candidates made outside the space (chosen).
# Farther off, a stationary model tells nothing about the space, and would learn lengthscales that are not the space's.
LEARNING_REACH = 1.0


class Operator(Protocol):
    """Makes a genome from `arity` others: start (0), mutation (1), crossover (2)."""

    @property
    def arity(self) -> int:
        """Number of parents."""
        ...

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Make a canonical genome of the space; None if none is found.

        Args:
            parents: `arity` genomes, left unchanged.
            rng: the only source of randomness.
        """
        ...


@runtime_checkable
class SearchSpace(Protocol):
    """All candidates that may be proposed."""

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name; at least one has arity 0."""
        ...

    def build(self, genome: Genome) -> Design:
        """Build the design of a `genome`, always the same one.

        Raises:
            Infeasible: the genome has no design that can be evaluated.
        """
        ...

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Features of `genomes` for models, shape (n, d)."""
        ...

    def canonical(self, genome: Genome) -> Genome:
        """Genome that stands for every way to write the same candidate.

        Args:
            genome: written in any of these ways.

        Raises:
            Infeasible: the genome is malformed.
        """
        ...

    def count(self) -> int | None:
        """Number of genomes if they can be enumerated (a `FiniteSpace`); else None."""
        ...

    def size(self) -> int | None:
        """Number of genomes, also of a space too large to enumerate.

        None where it is infinite or unknown.
        """
        ...


class SpaceSettings(Settings):
    """Base class of search spaces, with the defaults of the contract."""

    def canonical(self, genome: Genome) -> Genome:
        """Return a copy of `genome`: each candidate is written in one way."""
        return dict(genome)

    def count(self) -> int | None:
        """Return None: the space cannot be enumerated."""
        return None

    def size(self) -> int | None:
        """Return the number that `count` gives."""
        return self.count()


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of a vector space.

    Attributes:
        kind: `real`, `integer`, `ordinal` (choices in an order) or `categorical` (choices in none).
        low, high: bounds, inclusive, for real and integer.
        choices: options of an ordinal or categorical dimension.
        periodic: True for a real dimension whose ends are one point: `decode` gives the same genome at both, and `encode`
            a coordinate below 1.
    """

    name: str
    kind: Literal["real", "integer", "ordinal", "categorical"]
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()
    periodic: bool = False


@dataclass(frozen=True, slots=True)
class LinearRule:
    """Linear constraint on points of the unit cube.

    The sum of weight * x[column] is at most `limit`, or equals it.

    Attributes:
        weights: (column, weight), for the columns in the sum.
        equal: True if the sum must equal the limit.
    """

    weights: tuple[tuple[int, float], ...]
    limit: float
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """Dimensions of a vector space, and the constraints its points satisfy.

    The constraints tell a search where genomes lie, so that it can go there directly. A space may leave some out: `decode`
    repairs every point anyway.

    Attributes:
        dimensions: in the order of the columns.
        rules: linear constraints that the points of all canonical genomes satisfy, to rounding.
        sparse: groups of columns of which only some may be above 0, such as at most 4 of 15.
        least: (column, smallest coordinate above 0), for columns of `sparse` that are 0 or at least that much.
        conditional: columns of dimensions that some genomes lack; their coordinate then means nothing.
        climbable: True if near points are similar candidates: models then learn from the points, and a search climbs in them.
            False where points are only a way to write down a structure.
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

    def domain(self) -> Domain:
        """Dimensions and constraints."""
        ...

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points of `genomes`, shape (n, d), within [0, 1]."""
        ...

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Canonical genomes at points `x` (n, d), repaired where necessary.

        `decode(encode(g)) == g` for a canonical g.
        """
        ...


@runtime_checkable
class StructureSpace(SearchSpace, Protocol):
    """A space that recognises a structure as one of its own."""

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """Genome of a structure; None if the structure is not in this space.

        Args:
            structure: relaxed, seeded or generated, in any setting and cell.
            parent: genome that the structure was made from; None where there is none.
        """
        ...


@runtime_checkable
class InheritingSpace(StructureSpace, Protocol):
    """A space whose genomes are geometries: children inherit what relaxation made of their parents.

    `adopt` then gives the relaxed genome. It raises `Infeasible` with the reason where the structure is none of the space's.
    """

    @property
    def inherits_from(self) -> tuple[str, ...]:
        """Roles of structures that are adopted, the preferred one last: `relaxed`, `dft`."""
        ...


@runtime_checkable
class ReferencedSpace(SearchSpace, Protocol):
    """A space whose designs hold reference structures beside `initial`, such as the two solids of an interface.

    `initial` is the last structure of a design, since it is the candidate's own.
    """

    @property
    def reference_structures(self) -> tuple[str, ...]:
        """Roles of the reference structures: `("substrate_bulk", "film_bulk")`."""
        ...


@runtime_checkable
class RecognisingSpace(SearchSpace, Protocol):
    """A space that recognises different genomes as one crystal."""

    @property
    def alike(self) -> float:
        """Euclidean distance of fingerprints below which two genomes are one crystal."""
        ...

    def fingerprints(self, genomes: Sequence[Genome]) -> FloatArray:
        """Fingerprints of `genomes`, shape (n, d).

        They do not depend on the rotation, the origin, the order of atoms or the choice of the cell.
        """
        ...

    def niche(self, genome: Genome) -> str:
        """Name of the composition of a `genome`.

        Crystals of different ones take no place from each other.
        """
        ...


@runtime_checkable
class NamingSpace(SearchSpace, Protocol):
    """A space that names its candidates for people, where formulas do not tell them apart."""

    def name_candidate(self, genome: Genome) -> str:
        """Name of a candidate in a few words: `(110)1|(100)5, 1 Co/P`.

        Args:
            genome: of the space.
        """
        ...


@runtime_checkable
class HintingSpace(SearchSpace, Protocol):
    """A space that knows which settings of optimizers suit it."""

    def hints(self) -> Mapping[str, Mapping[str, Json]]:
        """Settings by kind of optimizer, for those that the user does not give: `{"genetic": {"population": 20}}`."""
        ...


class FiniteSpace(SearchSpace, Protocol):
    """A space that can be enumerated: its `count` is a number.

    `is_finite` recognises it.
    """

    def __len__(self) -> int:
        """The number that `count` gives."""
        ...

    def genome(self, index: int) -> Genome:
        """Genome number `index`, from 0."""
        ...

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over the features of all genomes in blocks of at most `size` rows.

        Yields:
            (index of the first row, features (<= size, d)).
        """
        ...


def is_finite(space: SearchSpace) -> TypeGuard[FiniteSpace]:
    """True if `space` can be enumerated; that depends on its settings, not its class."""
    return space.count() is not None


@runtime_checkable
class TypedSpace(SearchSpace, Protocol):
    """A space whose structures are all of one type."""

    @property
    def structure_type(self) -> str:
        """Noun for the type with its article, `an argyrodite`; empty if it has none."""
        ...


@runtime_checkable
class RowSpace(SearchSpace, Protocol):
    """A space whose candidates are the rows of a table."""

    @property
    def id(self) -> str | None:
        """Name of the column that identifies rows; None if they are numbered."""
        ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of rows left out, by reason."""
        ...


@runtime_checkable
class PreparedSpace(SearchSpace, Protocol):
    """A space that reads files."""

    def prepare(self) -> None:
        """Read and check the files, once per process.

        An error here ends the run before anything is proposed.
        """
        ...


@runtime_checkable
class TabledSpace(SearchSpace, Protocol):
    """A space whose genomes can be written as rows of a table.

    A column holds an amount or a choice.
    """

    def table_columns(self) -> Sequence[str]:
        """Names of the columns, all different, in reading order."""
        ...

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """Cells of a `genome` by column; columns without a value are left out."""
        ...

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """Genome of a filled row.

        It need not be valid: `build` refuses it then.

        Args:
            cells: text by column.
        """
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """A candidate that was made, placed inside or outside its space.

    Attributes:
        genome: as the space writes it; a rule missed only by rounding is corrected.
        outside: the rules of the space that it breaks, in words; empty inside.
    """

    genome: Genome
    outside: str = ""


@runtime_checkable
class OpenSpace(TabledSpace, Protocol):
    """A tabled space that also describes candidates made outside it.

    A sample often differs from its design. `features`, and `encode` of a vector space, accept such genomes; their coordinates
    may lie beyond [0, 1]. Operators never see them.
    """

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """Rounding error of the number in each cell (`candidate.half_last_digit`), by column.

        Args:
            cells: text by column.
        """
        ...

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Place a genome that was written down.

        Args:
            genome: in any form.
            rounding: rounding errors of its cells, by column; empty for exact numbers.

        Raises:
            Infeasible: it cannot be made: a name is unknown, or a value is missing or no number.
        """
        ...

    def build_made(self, genome: Genome) -> Design:
        """Build the design of a `genome` that `place` gave, inside or outside."""
        ...


def place_genome(
    space: SearchSpace, genome: Genome, rounding: Mapping[str, float] | None = None
) -> Placement:
    """Place a candidate that was made, inside or outside its space.

    Args:
        space: of the run; a closed one has no outside.
        genome: in any form.
        rounding: rounding error of its numbers by column (`OpenSpace.rounding`).

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
    """Design of a candidate.

    Args:
        space: of the run.
        genome: of the candidate.
        outside: True if it was made outside the space (`Candidate.outside`).

    Raises:
        Infeasible: the genome has no design that can be evaluated.
    """
    return space.build_made(genome) if outside and isinstance(space, OpenSpace) else space.build(genome)


def candidate_name(space: SearchSpace, genome: Genome, *, outside: bool = False) -> str:
    """Name of a candidate for people; empty where the space names none.

    Args:
        space: of the run.
        genome: of the candidate.
        outside: True if it was made outside the space.
    """
    return space.name_candidate(genome) if isinstance(space, NamingSpace) and not outside else ""


def is_near(space: SearchSpace, genome: Genome) -> bool:
    """True if models of `space` may learn from a `genome` made outside it.

    Its coordinates then lie within `LEARNING_REACH` of the limits.
    """
    if not isinstance(space, VectorSpace):
        return True
    point = np.asarray(space.encode([genome]), dtype=np.float64)
    return bool(((point >= -LEARNING_REACH) & (point <= 1.0 + LEARNING_REACH)).all())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One column of a space's features.

    Attributes:
        name: unique among the columns.
        group: columns of one group belong together: an additive model has one term per group.
        kind: `category` where values have no order.
    """

    name: str
    group: str
    kind: Literal["number", "category"] = "number"


@runtime_checkable
class DescribedSpace(SearchSpace, Protocol):
    """A space that names its features."""

    def descriptors(self) -> Sequence[Descriptor]:
        """One descriptor per column of `features`, in order, with different names."""
        ...


def descriptors_of(space: SearchSpace, width: int) -> tuple[Descriptor, ...]:
    """Descriptors of the features of a space.

    Args:
        space: one that names no features has `feature 1`, `feature 2` and so on.
        width: number of features.

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
