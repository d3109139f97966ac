"""Settings of spaces that can be counted through, some always and some for certain settings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from invdesign.candidate import Genome
from invdesign.protocols import SpaceSettings


class CountableSpace(SpaceSettings, ABC):
    """The methods of a `FiniteSpace` that follow from `count`; a space adds `genome_at_index` and `blocks`.

    Where `count` gives None, the space has no length and no numbered genomes.
    """

    @abstractmethod
    def count(self) -> int | None:
        """Number of genomes; None where they cannot be counted through."""

    @abstractmethod
    def genome_at_index(self, index: int) -> Genome:
        """Genome number `index`, which lies within the space."""

    def __len__(self) -> int:
        number = self.count()
        if number is None:
            raise TypeError(f"this {type(self).__name__} cannot be counted through")
        return number

    def __bool__(self) -> bool:
        return True  # a space without a length is no empty space

    def genome(self, index: int) -> Genome:
        """Genome number `index`.

        Raises:
            IndexError: there are not as many.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"genome {index} of a space of {len(self)}")
        return self.genome_at_index(index)
