"""What spaces that can be counted through share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from invdesign.candidate import Genome


class Counted(ABC):
    """Length and bounds of a `FiniteSpace`; a space adds which genome has which number, and `blocks`."""

    @abstractmethod
    def size(self) -> int | None:
        """How many genomes there are; None where nobody counted them."""

    @abstractmethod
    def numbered(self, index: int) -> Genome:
        """Genome number `index`, which lies within the space."""

    def __len__(self) -> int:
        size = self.size()
        assert size is not None  # only countable spaces have this class
        return size

    def genome(self, index: int) -> Genome:
        """Genome number `index`.

        Raises:
            IndexError: there are not as many.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"genome {index} of a space of {len(self)}")
        return self.numbered(index)
