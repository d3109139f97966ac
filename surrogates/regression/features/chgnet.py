"""Features of crystals from CHGNet's atom features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.potentials import PotentialError
from surrogates.potentials.chgnet import BATCH_BONDS, CHGNet, build_graph, load_network
from surrogates.potentials.chgnet_network import Graph, Network, join_graphs
from surrogates.potentials.networks import choose_device, split_into_batches
from surrogates.regression.features.contract import (
    Column,
    FeatureError,
    Need,
    raise_complaints,
    require_crystal,
)
from surrogates.regression.features.mixtures import mix_sites
from surrogates.regression.features.vectors import VECTOR_LENGTH, check_trained
from surrogates.regression.material import Material

LAYERS = ("third", "fourth")  # convolutions
CHUNK = 256  # crystals whose graphs are held at once; chosen
DIGITS = 5  # single precision leaves no more; chosen


@dataclass(frozen=True)
class Chgnet:
    """Mean and standard deviation of CHGNet's atom features over a crystal, and its energy.

    One forward pass without gradients. Partly occupied sites enter as mixtures of element vectors and count by their
    occupancy; such sites closer than 1 Å are one.
    """

    name: str = "chgnet"
    needs: Need = "crystal"

    @cached_property
    def weights(self) -> str:
        """Name and hash of the checkpoint."""
        return CHGNet().fingerprint

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Means and deviations of both layers, then the energy."""
        return (
            *(
                Column(f"{statistic}_{layer}_convolution_{place}")
                for layer in LAYERS
                for statistic in ("mean", "deviation")
                for place in range(1, VECTOR_LENGTH + 1)
            ),
            Column("chgnet_energy", "eV/atom"),
        )

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 257).

        Raises:
            FeatureError: a material has no crystal, or one that the network cannot describe.
        """
        network = load_network(CHGNet().model, choose_device("auto"))
        rows: list[FloatArray] = []
        complaints: dict[int, str] = {}
        for start in range(0, len(materials), CHUNK):
            prepared: list[_Prepared] = []
            for place in range(start, min(start + CHUNK, len(materials))):
                try:
                    prepared.append(_prepare(network, materials[place]))
                except FeatureError as error:
                    complaints[place] = f"{materials[place].name}: {error}"
            if not complaints:
                rows += _describe_crystals(network, prepared)
        raise_complaints(complaints)
        return np.array(rows).reshape(len(materials), len(self.columns))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Graph of a crystal whose sites are mixtures.

    Attributes:
        graph: with the most frequent element of each site.
        shares: shape (n, 94), amount of each element on each site.
        ordered: True if the graph says all.
    """

    graph: Graph
    shares: FloatArray
    ordered: bool

    @property
    def vectors(self) -> FloatArray:
        """Vectors of the bonds, by whose number batches are made."""
        return self.graph.vectors


def _prepare(network: Network, material: Material) -> _Prepared:
    """Build the graph of a material's crystal.

    Raises:
        FeatureError: there is no crystal, or the network cannot describe it.
    """
    from ase import Atoms

    sites = mix_sites(require_crystal(material))
    check_trained(np.asarray(sites.shares.sum(axis=0) > 0))
    numbers = sites.shares.argmax(axis=1) + 1
    atoms = Atoms(numbers=numbers, scaled_positions=sites.positions, cell=sites.lattice, pbc=True)
    try:
        graph = build_graph(network, atoms)
    except PotentialError as error:
        raise FeatureError(
            f"{error}; check its cell and positions, or use features of the composition"
        ) from None
    return _Prepared(graph, sites.shares, sites.ordered)


def _describe_crystals(network: Network, prepared: Sequence[_Prepared]) -> Iterator[FloatArray]:
    """Describe crystals in batches, each shape (257,)."""
    for batch in split_into_batches(prepared, BATCH_BONDS[network.device]):
        graph = join_graphs([item.graph for item in batch])
        mixed = not all(item.ordered for item in batch)
        shares = np.vstack([item.shares for item in batch])
        features, energies = network.describe_atoms(graph, shares if mixed else None)
        occupancies = shares.sum(axis=1)
        start = 0
        for size in graph.sizes:
            own = slice(start, start + size)
            weights = occupancies[own] / occupancies[own].sum()
            mean = weights @ features[:, own]  # (2, 64)
            square = (features[:, own] - mean[:, None]) ** 2
            deviation = np.sqrt(np.einsum("n,lnk->lk", weights, square))
            layers = np.stack([mean, deviation], axis=1).reshape(-1)
            yield np.round(np.append(layers, weights @ energies[own]), DIGITS) + 0.0
            start += size
