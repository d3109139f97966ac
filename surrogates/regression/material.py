"""Materials as feature sets see them, and data sets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class Cell:
    """Conventional cell of a crystal whose positions may be unknown.

    Attributes:
        space_group: international number; None if unknown.
        lengths: a, b, c in Å.
        angles: alpha, beta, gamma in degrees.
        atoms: number of atoms in the cell, partly occupied sites by their occupancy; None if unknown.
    """

    space_group: int | None
    lengths: tuple[float, float, float]
    angles: tuple[float, float, float]
    atoms: float | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """One row of a data set, or one input of a model.

    Attributes:
        name: formula or file, for messages.
        composition: amounts by element symbol, on any scale, more than 0; of an electrode the discharged one.
        cell: cell and space group, where they are known without positions; a crystal gives its own.
        crystal: positions; sites may be partly occupied or shared.
        charged: composition of an electrode without its working ions, on the scale of `composition`.
    """

    name: str
    composition: Mapping[str, float]
    cell: Cell | None = None
    crystal: Structure | None = None
    charged: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Property that a model predicts.

    Attributes:
        name: of the property, as in the vocabulary: `log10_conductivity`.
        unit: of the values that are learnt, as `log10(S/cm)`.
        threshold: value from which a material counts as good; the model gives its probability. None for none.
    """

    name: str
    unit: str
    threshold: float | None = None


@dataclass(frozen=True)
class Source:
    """Origin of a data set.

    Attributes:
        name: of the file.
        sha256: hash of the file.
        licence: as stated by its makers; empty if unknown.
        citation: of the publication; empty if there is none.
    """

    name: str
    sha256: str
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Materials with values of one target.

    Attributes:
        source: origin of the values.
        target: property and unit.
        materials: n materials.
        y: shape (n,), values, finite; of a censored row its limit.
        censoring: shape (n,), -1 where the true value is below `y`, 1 where it is above, 0 where it is `y`.
        groups: shape (n,), number of the group of each row; no group is in two folds.
        group_columns: columns whose union made the groups.
        families: n structure families or other kinds for the table of residuals; empty if unknown.
        rows: n row numbers in the file, for messages.
        remarks: sentences on content of the file that was passed over, converted or doubtful.
    """

    source: Source
    target: Target
    materials: tuple[Material, ...]
    y: FloatArray
    censoring: IntArray
    groups: IntArray
    group_columns: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    rows: tuple[int, ...] = field(default=())
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.materials)

    def select_rows(self, rows: IntArray | Sequence[int]) -> Dataset:
        """Select `rows` by position, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        places = index.tolist()
        return replace(
            self,
            materials=tuple(self.materials[place] for place in places),
            y=self.y[index],
            censoring=self.censoring[index],
            groups=self.groups[index],
            families=tuple(self.families[place] for place in places) if self.families else (),
            rows=tuple(self.rows[place] for place in places) if self.rows else (),
        )
