"""Settings of spaces whose genomes can be counted, some always and some for certain settings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from invdesign.candidate import Genome
from invdesign.protocols import SpaceSettings


class CountableSpace(SpaceSettings, ABC):
    """Methods of a `FiniteSpace` that follow from `count`.

    A space adds `genome_at_index` and `blocks`. Where `count` gives None, the space has no length and no numbered genomes.
    """

    @abstractmethod
    def count(self) -> int | None:
        """Number of genomes; None where they cannot be counted."""

    @abstractmethod
    def genome_at_index(self, index: int) -> Genome:
        """Build genome number `index`, which lies within the space."""

    def __len__(self) -> int:
        number = self.count()
        if number is None:
            raise TypeError(f"this {type(self).__name__} cannot be counted through")
        return number

    def __bool__(self) -> bool:
        return True  # a space without a length is not empty

    def genome(self, index: int) -> Genome:
        """Build genome number `index`, after a check of its range.

        Raises:
            IndexError: there are not as many.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"genome {index} of a space of {len(self)}")
        return self.genome_at_index(index)
