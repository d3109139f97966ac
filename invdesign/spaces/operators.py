"""Operators made from functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from invdesign.candidate import Genome
from invdesign.rng import Rng

T = TypeVar("T")  # what a space makes of a genome: codes of species on sites, for instance


@dataclass(frozen=True, slots=True)
class GenomeOperator:
    """An operator made from a function on genomes."""

    arity: int
    make: Callable[[Sequence[Genome], Rng], Genome | None]

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        return self.make(parents, rng)


@dataclass(frozen=True, slots=True)
class CodeOperator(Generic[T]):
    """An operator made from a function on the codes of genomes.

    Attributes:
        make: gives the codes of a new canonical genome, or None where it finds none.
        read: canonical codes of a genome.
        write: the genome of canonical codes.
    """

    arity: int
    make: Callable[[Sequence[T], Rng], T | None]
    read: Callable[[Genome], T]
    write: Callable[[T], Genome]

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """A canonical genome other than the parents', or None where it finds none."""
        codes = self.make([self.read(parent) for parent in parents], rng)
        return None if codes is None else self.write(codes)
