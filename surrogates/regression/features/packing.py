"""Features of crystals from distances: packing, coordination, and the dimensions of the network of bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.descriptors import FULL_OCCUPANCY, element_property_table
from surrogates.regression.features.composition import HEAVIEST_ELEMENT
from surrogates.regression.features.contract import (
    Column,
    FeatureError,
    Need,
    describe_each,
    require_crystal,
)
from surrogates.regression.features.mixtures import MixedSites, mix_sites
from surrogates.regression.features.networks import find_thresholds
from surrogates.regression.material import Material

REACHES = (6.0, 12.0)  # Å, within which neighbours are sought; the second if the first has too few; chosen
BOND_RATIO = 1.2  # length over the sum of covalent radii at which a bond counts half; chosen
BOND_WIDTH = 0.06  # of the step there; chosen
FARTHEST_RATIO = 3.0  # in place of all that is longer, as across the vacuum around a layer; chosen
SHELL_WIDTH = 0.15  # relative width of the first shell of neighbours; chosen
ALTERNATIVE_RATIO = 0.75  # partly occupied sites this close are alternatives, not neighbours; chosen
CUBIC_ANGSTROM = 0.6022140762  # volume of an atom, Å^3, in cm^3/mol; CODATA 2018
SPREAD = ("mean", "deviation", "min", "max")
PACKING_COLUMNS = (
    Column("log_volume_per_atom", "ln(Å^3)"),
    Column("packing_fraction"),
    Column("log_valence_density", "ln(1/Å^3)"),
    Column("volume_over_elements"),
    *(Column(f"{statistic}_nearest_distance", "Å") for statistic in SPREAD),
    *(Column(f"{statistic}_nearest_ratio") for statistic in SPREAD),
    *(Column(f"{statistic}_shell_coordination") for statistic in SPREAD),
    *(Column(f"{statistic}_bonded_coordination") for statistic in SPREAD),
    Column("like_bonds"),
    *(Column(f"first_{name}_ratio") for name in ("chain", "layer", "framework")),
    *(Column(f"last_{name}_ratio") for name in ("chain", "layer", "framework")),
)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """Pairs of sites within reach, both directions, without alternatives of each other.

    Attributes:
        bonds: shape (b, 2), site and neighbour.
        images: shape (b, 3), cell of the neighbour.
        distances: shape (b,), Å.
        ratios: shape (b,), distances over the sums of the covalent radii.
    """

    bonds: IntArray
    images: IntArray
    distances: FloatArray
    ratios: FloatArray


@dataclass(frozen=True)
class Packing:
    """Volume, distances, coordination, and the lengths of bonds at which they form chains, layers and a framework.

    Lengths are relative to the sums of covalent radii. Partly occupied sites enter as mixtures and count by their occupancy.
    """

    name: str = "packing"
    needs: Need = "crystal"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`PACKING_COLUMNS`."""
        return PACKING_COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 27).

        Raises:
            FeatureError: a material has no crystal, or one with atoms too far apart.

        Source:
            Covalent radii: Cordero et al., Dalton Trans. 2832 (2008). Dimensions of networks: Larsen et al., Phys. Rev.
            Materials 3, 034003 (2019), of which this keeps the lengths at which dimensions change.
        """
        rows = describe_each(materials, lambda material: _describe(mix_sites(require_crystal(material))))
        return np.array(rows).reshape(len(materials), len(PACKING_COLUMNS))


def _describe(sites: MixedSites) -> FloatArray:
    """Features of one crystal, as `PACKING_COLUMNS`."""
    from ase.data import covalent_radii

    occupancies = sites.shares.sum(axis=1)
    mixtures = sites.shares / occupancies[:, None]
    weights = occupancies / occupancies.sum()
    own = covalent_radii[1 : HEAVIEST_ELEMENT + 1]
    for reach in REACHES:
        found = _find_neighbours(sites, mixtures @ own, reach)
        thresholds = find_thresholds(len(occupancies), found.bonds, found.images, found.ratios)
        if not np.isnan(thresholds).any():
            break
    if len(np.unique(found.bonds[:, 0])) < len(occupancies):
        raise FeatureError(
            f"it has atoms without a neighbour within {REACHES[-1]:g} Å; check its cell and positions, or use features "
            f"of the composition"
        )
    thresholds = np.fmin(thresholds, FARTHEST_RATIO)
    site, neighbour = found.bonds.T
    near = np.full(len(occupancies), np.inf)
    np.minimum.at(near, site, found.distances)
    near_ratio = np.full(len(occupancies), np.inf)
    np.minimum.at(near_ratio, site, found.ratios)
    there = occupancies[neighbour]
    shell = there * np.exp(-(((found.ratios / near_ratio[site] - 1.0) / SHELL_WIDTH) ** 2))
    bonded = there / (1.0 + np.exp((found.ratios - BOND_RATIO) / BOND_WIDTH))
    pairs = bonded * occupancies[site]
    like = np.einsum("bk,bk->b", mixtures[site], mixtures[neighbour])
    volume = abs(float(np.linalg.det(sites.lattice))) / occupancies.sum()
    names, table = element_property_table()
    mean = weights @ mixtures @ table[1 : HEAVIEST_ELEMENT + 1]
    numbers = [
        np.log(volume),
        4.0 / 3.0 * np.pi * float(weights @ mixtures @ own**3) / volume,
        np.log(mean[names.index("valence_electrons")] / volume),
        volume * CUBIC_ANGSTROM / mean[names.index("molar_volume")],
        *_summarise(near, weights),
        *_summarise(near_ratio, weights),
        *_summarise(_sum_by_site(site, shell, len(weights)), weights),
        *_summarise(_sum_by_site(site, bonded, len(weights)), weights),
        float(pairs @ like / max(pairs.sum(), np.finfo(float).tiny)),
        *thresholds.ravel().tolist(),
    ]
    return np.round(np.array(numbers), 6) + 0.0


def _summarise(values: FloatArray, weights: FloatArray) -> list[float]:
    """Statistics over sites, as `SPREAD`."""
    mean = float(weights @ values)
    deviation = float(weights @ (values - mean) ** 2) ** 0.5
    return [mean, deviation, float(values.min()), float(values.max())]


def _sum_by_site(site: IntArray, values: FloatArray, sites: int) -> FloatArray:
    """Sum the values (b,) of the bonds of each site, shape (sites,)."""
    total = np.zeros(sites)
    np.add.at(total, site, values)
    return total


def _find_neighbours(sites: MixedSites, radii: FloatArray, reach: float) -> _Neighbours:
    """Find pairs of sites within `reach`, Å, given the covalent radius of each."""
    from pymatgen.core import Lattice, Structure

    bare = Structure(Lattice(sites.lattice), ["H"] * len(radii), sites.positions)
    first, second, images, distances = bare.get_neighbor_list(reach, exclude_self=True)
    ratios = distances / (radii[first] + radii[second])
    partial = sites.shares.sum(axis=1) < FULL_OCCUPANCY
    kept = ~(partial[first] & partial[second] & (ratios < ALTERNATIVE_RATIO))
    return _Neighbours(
        np.stack([first, second], axis=1)[kept],
        np.round(images[kept]).astype(np.int64),
        distances[kept],
        ratios[kept],
    )
