"""Bottleneck radius: width of an ion's widest path through a rigid crystal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import StructureEvaluator
from invdesign.structures.charges import ElementSymbol, assign_oxidation_states
from invdesign.structures.formulas import write_formula
from invdesign.structures.radii import ionic_radius
from surrogates.transport.frameworks import MissingIonError, check_ionic, mean_counts, split_framework

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_VOXELS = 2_000_000  # chosen: about 1 GB
# Å at a spacing of 0.25 Å, falls with its square; from lattices and salts whose windows are known exactly.
GRID_ERROR = 0.01


def bottleneck_radius(structure: Structure, ion: str, spacing: float = 0.25) -> float:
    """Radius of the largest sphere that can travel through a framework.

    The framework is all but the ions of kind `ion`, as hard spheres of their ionic radii.
    `surrogates.transport.percolation.widest_path` defines travelling, and the error of the grid.

    Args:
        structure: ordered, but for sites of `ion`, which may be occupied in part.
        ion: symbol of the element that moves.
        spacing: longest edge of a voxel, Å.

    Returns:
        Å; negative where the spheres of the framework overlap across every way.

    Raises:
        MissingIonError: there is no such ion, or nothing but it.
        DisorderError: another site is occupied in part.
        NotIonicError: the structure is a metal, or its atoms share their electrons.
        ValueError: the cell has more than two million voxels.

    Source:
        Largest free sphere: Willems et al., Microporous Mesoporous Mater. 149, 134 (2012). Radii: Shannon, Acta
            Crystallogr. A 32, 751 (1976).
    """
    from surrogates.transport.percolation import widest_path

    symbols, positions = split_framework(structure, ion)
    radii = framework_radii(structure)
    if structure.volume / spacing**3 > MAX_VOXELS:
        raise ValueError(
            f"the cell of {write_formula(structure.composition)} needs more than {MAX_VOXELS} voxels; raise 'spacing' "
            f"({spacing:g} Å)"
        )
    return widest_path(
        np.asarray(structure.lattice.matrix, dtype=np.float64),
        positions,
        np.array([radii[symbol] for symbol in symbols]),
        spacing,
    )


def framework_radii(structure: Structure) -> Mapping[str, float]:
    """Ionic radius (Å) of each element of `structure`, in its mean oxidation state.

    Raises:
        NotIonicError: the structure is a metal, or its atoms share their electrons.
    """
    counts = mean_counts(structure)
    states = assign_oxidation_states(counts)
    check_ionic(counts, states)
    return {name: ionic_radius(name, state) for name, state in states.items()}


class BottleneckRadius(StructureEvaluator):
    """Radius of an ion's widest path through a rigid framework.

    It is a cheap hint at mobility.
    """

    version: ClassVar[str] = "3"  # mean states; no numbers where there are no ions

    ion: ElementSymbol
    """The ion that moves: `Li`."""
    spacing: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Longest edge of a grid voxel, Å; the error is about 0.01 Å at 0.25 and falls with its square."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Radius of the largest passing sphere."""
        return {"bottleneck_radius": "Å"}

    @property
    def batch(self) -> Batch:
        """Eight candidates: one takes a tenth of a second."""
        return Batch(8)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the radius for each of `inputs`.

        A candidate without the ion is a failure.
        """
        return [self._evaluate_structure(self.structure_of(item)) for item in inputs]

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        began = time.perf_counter()
        try:
            radius = bottleneck_radius(structure, self.ion, self.spacing)
        except ValueError as error:
            kind = "missing" if isinstance(error, MissingIonError) else "error"
            return Evaluation(failure=Failure(kind, "", str(error)))
        return Evaluation(
            {"bottleneck_radius": radius},
            systematic={"bottleneck_radius": GRID_ERROR * (self.spacing / 0.25) ** 2},
            cost={"seconds": time.perf_counter() - began},
        )
