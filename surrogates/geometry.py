"""Judgements by geometry alone: atoms too close, and how wide an ion's way through the crystal is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import StructureEvaluator
from invdesign.structures.charges import check_element, whole_counts
from invdesign.structures.formulas import write_formula
from invdesign.structures.neutrality import balance_charges
from invdesign.structures.radii import ionic_radius
from surrogates.frameworks import MissingIonError, check_ionic, mean_counts, split_framework

if TYPE_CHECKING:
    from pymatgen.core import Structure

ElementSymbol = Annotated[str, AfterValidator(check_element)]

BATCH = 32
ENOUGH = 1.2  # times the largest sum of radii: how far pairs are looked for at first
FULL = 1.0 - 1e-6  # atoms on a site, above which it is not occupied in part
MOST_VOXELS = 2_000_000  # about 1 GB
GRID_ERROR = 0.01  # Å at a spacing of 0.25 Å, falls with its square: lattices and salts whose windows are known exactly


def minimum_distance_ratio(structure: Structure) -> float:
    """The smallest distance of two atoms over the sum of their covalent radii; images count as atoms.

    Args:
        structure: with at least one atom. Two sites that are both occupied in part are alternatives and may be at any
            distance; a shared site counts as its smallest element.

    Returns:
        About 1 for bonded atoms; 0 for atoms on top of each other.

    Source:
        Radii: Cordero et al., Dalton Trans. 2832 (2008), through ASE.
    """
    from ase.data import covalent_radii

    radii = np.array([min(covalent_radii[element.Z] for element in site.species) for site in structure])
    whole = np.array([site.species.num_atoms > FULL for site in structure])
    reach = ENOUGH * 2 * float(radii.max())
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
    """Refuses candidates whose atoms overlap, before anything costly is asked of them."""

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
        """Many: one costs less than its trip to a worker."""
        return Batch(BATCH)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """One number each."""
        return [self._evaluate(self.structure_of(item)) for item in inputs]

    def _evaluate(self, structure: Structure) -> Evaluation:
        began = time.perf_counter()
        ratio = minimum_distance_ratio(structure)
        return Evaluation({"minimum_distance_ratio": ratio}, cost={"seconds": time.perf_counter() - began})


def bottleneck_radius(structure: Structure, ion: str, spacing: float = 0.25) -> float:
    """Radius of the largest sphere that can travel through `structure` without its ions of kind `ion`.

    The others are hard spheres of their ionic radii. See `surrogates.percolation.widest_path` for what counts as
    travelling and for the error of the grid.

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
    from surrogates.percolation import widest_path

    symbols, positions = split_framework(structure, ion)
    radii = framework_radii(structure)
    if structure.volume / spacing**3 > MOST_VOXELS:
        raise ValueError(
            f"the cell of {write_formula(structure.composition)} needs more than {MOST_VOXELS} voxels; raise 'spacing' "
            f"({spacing:g} Å)"
        )
    return widest_path(
        np.asarray(structure.lattice.matrix, dtype=np.float64),
        positions,
        np.array([radii[symbol] for symbol in symbols]),
        spacing,
    )


def framework_radii(structure: Structure) -> Mapping[str, float]:
    """Ionic radius (Å) of each element of `structure`, in the mean state that suits its composition.

    Raises:
        NotIonicError: the structure is a metal, or its atoms share their electrons.
    """
    counts = mean_counts(structure)
    states = likely_states(counts)
    check_ionic(counts, states)
    return {name: ionic_radius(name, state) for name, state in states.items()}


Allowed = tuple[tuple[str, tuple[int, ...]], ...]


@lru_cache(maxsize=10_000)
def likely_states(counts: tuple[tuple[str, float], ...], allowed: Allowed = ()) -> Mapping[str, float]:
    """Mean oxidation state of each element, by the rule of `charge_neutrality`: 3.5 for Mn in LiMn2O4.

    Of states that balance equally well those are taken that are frequent in the ICSD, then those in which the
    electronegative elements are negative: V3+ and P5+ in LiVPO4F, not V5+ and P3+.

    Args:
        counts: atoms by element.
        allowed: states of some elements, in place of those of the rule.

    Raises:
        ValueError: no oxidation state of an element is known.
    """
    whole, _ = whole_counts(dict(counts))
    states = balance_charges(whole, dict(allowed)).states
    return {name: float(states[name]) for name, _ in counts}


class BottleneckRadius(StructureEvaluator):
    """How wide the widest way for an ion is, with everything else standing still: a cheap hint at mobility."""

    version: ClassVar[str] = "3"  # mean states; no numbers where there are no ions

    ion: ElementSymbol
    """The ion that moves: `Li`."""
    spacing: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Longest edge of a grid voxel, Å; the error is about 0.01 Å at 0.25 and falls with its square."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The radius of the largest sphere that can pass."""
        return {"bottleneck_radius": "Å"}

    @property
    def batch(self) -> Batch:
        """Some: one takes a tenth of a second."""
        return Batch(8)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """One number each; a candidate without the ion is a failure that says so."""
        return [self._evaluate(self.structure_of(item)) for item in inputs]

    def _evaluate(self, structure: Structure) -> Evaluation:
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
