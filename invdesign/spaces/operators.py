"""Operators on genomes, built from functions on genomes or on a space's own codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from invdesign.candidate import Genome
from invdesign.rng import Rng

Code = TypeVar("Code")
Rules = TypeVar("Rules")


@dataclass(frozen=True, slots=True)
class GenomeOperator:
    """An `Operator` from a function.

    Attributes:
        arity: number of parents.
        make: their child, a canonical genome; None where it finds none.
        share: how often it is used at first, against others of its kind.
    """

    arity: int
    make: Callable[[Sequence[Genome], Rng], Genome | None]
    share: float = 1.0

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        return self.make(parents, rng)


@dataclass(frozen=True, slots=True)
class FromCodes(Generic[Code]):
    """Function on genomes, built from a function on their codes.

    It is an object, so that a space with its operators can be pickled.

    Attributes:
        make: the code of a child, from those of its parents; None where it finds none.
        read: the code of a genome.
        write: the canonical genome of a code.
    """

    make: Callable[[Sequence[Code], Rng], Code | None]
    read: Callable[[Genome], Code]
    write: Callable[[Code], Genome]

    def __call__(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        child = self.make([self.read(parent) for parent in parents], rng)
        return None if child is None else self.write(child)


@dataclass(frozen=True, slots=True)
class WithRules(Generic[Code, Rules]):
    """A function on codes that needs the rules of its space, with these rules.

    It is an object, so that a space with its operators can be pickled.
    """

    maker: Callable[[Sequence[Code], Rules, Rng], Code | None]
    rules: Rules

    def __call__(self, parents: Sequence[Code], rng: Rng) -> Code | None:
        return self.maker(parents, self.rules, rng)


def find_settled(drawn: Iterable[Code | None], settle: Callable[[Code], Code | None]) -> Code | None:
    """First of the drawn codes that settles; None if none does.

    Args:
        drawn: codes in the order of trying, None for a try without one; an iterator is not drawn from further than needed.
        settle: makes a code canonical, or gives None where it breaks a rule of the space.
    """
    settled = (settle(code) for code in drawn if code is not None)
    return next((code for code in settled if code is not None), None)


def operators_on_codes(
    makers: Mapping[str, tuple[int, Callable[[Sequence[Code], Rng], Code | None]]],
    read: Callable[[Genome], Code],
    write: Callable[[Code], Genome],
) -> dict[str, GenomeOperator]:
    """Build operators by name from functions on codes.

    Args:
        makers: (arity, function on codes) by name.
        read: the code of a genome.
        write: the canonical genome of a code.
    """
    return {
        name: GenomeOperator(arity, FromCodes(make, read, write)) for name, (arity, make) in makers.items()
    }
