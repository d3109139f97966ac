"""CHGNet, a pretrained graph network for charge-informed energies (Deng et al., Nat. Mach. Intell. 5, 1031 (2023))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.protocols import Forces, PotentialSettings
from surrogates.potentials.chgnet_network import Graph, Network, build_crystal_graph, join_graphs
from surrogates.potentials.networks import (
    Device,
    check_crystal,
    check_neighbours,
    choose_device,
    find_packaged_checkpoint,
    hash_checkpoint,
    split_into_batches,
)

if TYPE_CHECKING:
    from ase import Atoms

Model = Literal["0.3.0", "0.2.0", "r2scan"]

CHECKPOINTS: dict[str, str] = {
    "0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
HEAVIEST_ELEMENT = 94  # plutonium: the size of the model's embedding
UNTRAINED_ELEMENTS = frozenset({84, 85, 86, 87, 88})  # Po, At, Rn, Fr, Ra: not among the 89 elements of MPtrj
# Bonds in one forward pass, by device: memory against overhead; chosen.
BATCH_BONDS = {"cpu": 10_000, "cuda": 200_000, "mps": 50_000}


class CHGNet(PotentialSettings):
    """CHGNet with a checkpoint of the `chgnet` package.

    Nothing is downloaded.
    """

    model: Model = "0.3.0"
    """Checkpoint. 0.3.0 and 0.2.0 are on the Materials Project's corrected GGA/GGA+U scale, r2scan is
    uncorrected r2SCAN: their energies never meet."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device it runs on; `auto` takes a CUDA device if there is one, else the CPU."""

    @property
    def label(self) -> str:
        """Name for people: `CHGNet 0.3.0`."""
        return f"CHGNet {self.model}"

    @property
    def fingerprint(self) -> str:
        """`chgnet-0.3.0-` and 12 hexadecimal digits of the checkpoint's SHA-256.

        It loads no torch.
        """
        return f"chgnet-{self.model}-{hash_checkpoint(find_checkpoint(self.model))}"

    def prepare(self) -> None:
        """Load the network into this process."""
        load_network(self.model, choose_device(self.device))

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """Compute energy, forces and stress of each arrangement.

        Args:
            atoms: n arrangements, evaluated together.
            want: of `energy`, `forces`, `stress`; if only energy is wanted, forces are zeros.

        Returns:
            Energy in eV per cell, forces in eV/Å, stress in eV/Å^3 with ASE's sign, per arrangement.

        Raises:
            PotentialError: an atom has no neighbour within 6 Å, or an element is unknown to the model.
        """
        network = load_network(self.model, choose_device(self.device))
        graphs = [build_graph(network, item) for item in atoms]
        limit = BATCH_BONDS[network.device] if network.joins else 0
        results: list[Forces] = []
        for chunk in split_into_batches(graphs, limit):
            volumes = [abs(item.get_volume()) for item in atoms[len(results) : len(results) + len(chunk)]]
            results += _predict_forces(network, chunk, volumes, want)
        return results


def find_checkpoint(model: str) -> Path:
    """Find the checkpoint's file without importing chgnet.

    Args:
        model: version, a key of `CHECKPOINTS`.

    Raises:
        PluginError: chgnet is not installed, or lacks this checkpoint.
    """
    return find_packaged_checkpoint(
        "chgnet", f"pretrained/{CHECKPOINTS[model]}", potential="chgnet", model=model, install="chgnet"
    )


@cache
def load_network(name: str, device: Device) -> Network:
    """Load the network, once per process.

    Nothing in the file is executed. On the CPU this sets torch to one thread: two per worker under load were
    measured 20 times slower.
    """
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    state = torch.load(find_checkpoint(name), map_location="cpu", weights_only=True)
    return Network(state["model"], device)


def knows_element(number: int) -> bool:
    """True for atomic numbers that the network was trained on."""
    return number <= HEAVIEST_ELEMENT and number not in UNTRAINED_ELEMENTS


def build_graph(network: Network, atoms: Atoms) -> Graph:
    """Build the crystal's graph.

    Raises:
        PotentialError: the network cannot describe this crystal.
    """
    check_crystal(atoms, "CHGNet", knows_element)
    graph = build_crystal_graph(atoms, network.reach, network.bond_reach)
    check_neighbours(atoms, graph.directed[:, 0], network.reach)
    return graph


def _predict_forces(
    network: Network, graphs: list[Graph], volumes: list[float], want: frozenset[str]
) -> Iterator[Forces]:
    """Predict energy, forces and stress of crystals in one batch.

    It takes one forward pass, and a backward pass if more than energy is wanted.
    """
    graph = join_graphs(graphs)
    energies, slopes = network.evaluate(graph, gradient=not want <= {"energy"})
    forces = np.zeros((len(graph.numbers), 3))
    np.add.at(forces, graph.ends[:, 0], -slopes)
    np.add.at(forces, graph.ends[:, 1], slopes)
    atom = bond = 0
    for size, count, volume in zip(graph.sizes, graph.bond_counts, volumes, strict=True):
        own = slice(bond, bond + count)
        virial = graph.vectors[own].T @ slopes[own] / volume
        yield Forces(
            energy=float(energies[atom : atom + size].sum()),
            forces=forces[atom : atom + size],
            stress=(virial + virial.T) / 2 if "stress" in want else None,
        )
        atom, bond = atom + size, bond + count
