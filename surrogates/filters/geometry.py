"""Filter by geometry: distances of atoms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import StructureEvaluator

if TYPE_CHECKING:
    from pymatgen.core import Structure


BATCH_SIZE = 32  # candidates in a task; chosen
FIRST_REACH = 1.2  # first search radius, in units of the largest sum of radii; chosen
FULL_OCCUPANCY = 1.0 - 1e-6  # a site with fewer atoms is occupied in part; chosen


def minimum_distance_ratio(structure: Structure) -> float:
    """Smallest distance of two atoms, relative to the sum of their covalent radii.

    Periodic images count as atoms.

    Args:
        structure: with at least one atom. Two sites that are both occupied in part are alternatives and may be
            at any distance; a shared site counts as its smallest element.

    Returns:
        About 1 for bonded atoms; 0 for atoms on top of each other.

    Source:
        Radii: Cordero et al., Dalton Trans. 2832 (2008), through ASE.
    """
    from ase.data import covalent_radii

    radii = np.array([min(covalent_radii[element.Z] for element in site.species) for site in structure])
    whole = np.array([site.species.num_atoms > FULL_OCCUPANCY for site in structure])
    reach = FIRST_REACH * 2 * float(radii.max())
    while True:
        first, second, _, distance = structure.get_neighbor_list(reach, exclude_self=True)
        ratios = distance / (radii[first] + radii[second])
        kept = ratios[whole[first] | whole[second]] if whole.any() else ratios
        # Pairs beyond reach have a larger ratio than this, whatever they are.
        best = float(kept.min(initial=np.inf))
        if best <= reach / (2 * float(radii.max())):
            return best
        reach *= 2


class MinimumDistance(StructureEvaluator):
    """Refuses candidates whose atoms overlap, before costly stages."""

    scale: Annotated[float, Field(gt=0, le=2)] = 0.6
    """Smallest distance allowed, as a fraction of the sum of the two covalent radii."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The smallest ratio of distance to covalent radii."""
        return {"minimum_distance_ratio": ""}

    @property
    def gates(self) -> Sequence[Constraint]:
        """The ratio, at least `scale`."""
        return (Constraint("minimum_distance_ratio", min=self.scale),)

    @property
    def batch(self) -> Batch:
        """Many candidates: one costs less than its transfer to a worker."""
        return Batch(BATCH_SIZE)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the smallest ratio of each of `inputs`."""
        return [self._evaluate_structure(self.structure_of(item)) for item in inputs]

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        began = time.perf_counter()
        ratio = minimum_distance_ratio(structure)
        return Evaluation({"minimum_distance_ratio": ratio}, cost={"seconds": time.perf_counter() - began})
