"""SevenNet, equivariant graph networks (Park et al., J. Chem. Theory Comput. 20, 4857 (2024))."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import model_validator

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import PluginError
from invdesign.protocols import Forces, PotentialSettings
from surrogates.pairs import find_pairs
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
    from torch import Tensor

Model = Literal["7net-0", "7net-l3i5", "7net-mf-0"]

CHECKPOINTS: dict[str, str] = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
MODALS: dict[str, tuple[str, ...]] = {"7net-mf-0": ("PBE", "R2SCAN")}
# Bonds in one forward pass, by device: memory against overhead; chosen. On a CPU a batch saves nothing.
BATCH_BONDS = {"cpu": 0, "cuda": 100_000}
# Components of the network's stress: xx, yy, zz, xy, yz, zx.
STRESS_ORDER = ((0, 3, 5), (3, 1, 4), (5, 4, 2))


class SevenNet(PotentialSettings):
    """SevenNet with a checkpoint of the package `sevenn`.

    Nothing is downloaded. Energies are those of the Materials Project's calculations without corrections.
    """

    model: Model = "7net-0"
    """Checkpoint: `7net-0`, `7net-l3i5` (more exact, two to three times slower) or `7net-mf-0` (two functionals)."""
    modal: Literal["PBE", "R2SCAN"] | None = None
    """Functional of a checkpoint that has several (`7net-mf-0`): their energies never meet."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device it runs on; `auto` takes a CUDA device if there is one, else the CPU."""

    @model_validator(mode="after")
    def _check_modal(self) -> Self:
        known = MODALS.get(self.model, ())
        if self.modal is None and known:
            raise ValueError(f"{self.model} has several functionals: give modal, one of {', '.join(known)}")
        if self.modal is not None and not known:
            raise ValueError(f"{self.model} has one functional (PBE): leave modal out")
        return self

    @property
    def label(self) -> str:
        """Name for people: `SevenNet 7net-0`."""
        return f"SevenNet {self._name}"

    @property
    def fingerprint(self) -> str:
        """`sevennet-7net-0-` and 12 hexadecimal digits of the checkpoint's SHA-256; it loads no torch."""
        return f"sevennet-{self._name}-{hash_checkpoint(find_checkpoint(self.model))}"

    @property
    def _name(self) -> str:
        return self.model if self.modal is None else f"{self.model}-{self.modal}"

    def prepare(self) -> None:
        """Load the network into this process."""
        _load_network(self.model, choose_device(self.device))

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """Compute energy, forces and stress of each arrangement.

        Args:
            atoms: n arrangements, evaluated together on a GPU.
            want: of `energy`, `forces`, `stress`; all come from one pass.

        Returns:
            Energy in eV per cell, forces in eV/Å, stress in eV/Å^3 with ASE's sign, per arrangement.

        Raises:
            PotentialError: an atom has no neighbour within 5 Å, or an element is unknown to the model.
        """
        network = _load_network(self.model, choose_device(self.device))
        graphs = [_build_graph(network, item) for item in atoms]
        results: list[Forces] = []
        for chunk in split_into_batches(graphs, BATCH_BONDS[network.device]):
            results += network.evaluate(chunk, self.modal, stress="stress" in want)
        return results


def find_checkpoint(model: str) -> Path:
    """Find the checkpoint's file without importing sevenn.

    Args:
        model: a key of `CHECKPOINTS`.

    Raises:
        PluginError: sevenn is not installed, or lacks this checkpoint.
    """
    return find_packaged_checkpoint(
        "sevenn",
        f"pretrained_potentials/{CHECKPOINTS[model]}",
        potential="sevennet",
        model=model,
        install="'invdesign[sevennet]'",
    )


@dataclass(frozen=True, slots=True)
class Graph:
    """Atoms and bonds of one crystal.

    Attributes:
        numbers: shape (n,), atomic numbers.
        ends: shape (2, b), first and second atom of each bond; every bond stands in both directions.
        vectors: shape (b, 3), from the first atom to the second, Å.
        volume: Å^3.
    """

    numbers: IntArray
    ends: IntArray
    vectors: FloatArray
    volume: float


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network.

    Attributes:
        model: module of `sevenn`, in evaluation mode for batches.
        cutoff: Å, longest bond.
        elements: atomic numbers it was trained on.
        device: where it runs.
    """

    model: Any
    cutoff: float
    elements: frozenset[int]
    device: Device

    def evaluate(self, graphs: Sequence[Graph], modal: str | None, *, stress: bool) -> Iterator[Forces]:
        """Evaluate crystals in one forward and backward pass.

        Args:
            graphs: of the crystals.
            modal: functional of a network that has several.
            stress: True to give the stress too.
        """
        import sevenn._keys as keys
        from sevenn.atom_graph_data import AtomGraphData

        sizes = [len(graph.numbers) for graph in graphs]
        starts = np.cumsum([0, *sizes[:-1]])
        numbers = self._to_tensor(np.concatenate([graph.numbers for graph in graphs]))
        data = AtomGraphData(x=numbers)
        data[keys.ATOMIC_NUMBERS] = numbers
        data[keys.EDGE_IDX] = self._to_tensor(
            np.concatenate([graph.ends + start for graph, start in zip(graphs, starts, strict=True)], axis=1)
        )
        data[keys.EDGE_VEC] = self._to_tensor(np.concatenate([graph.vectors for graph in graphs]))
        data[keys.CELL_VOLUME] = self._to_tensor(np.array([graph.volume for graph in graphs]))
        data[keys.NUM_ATOMS] = self._to_tensor(np.array(sizes, dtype=np.int64))
        data[keys.BATCH] = self._to_tensor(np.repeat(np.arange(len(graphs)), sizes))
        if modal is not None:
            data[keys.DATA_MODALITY] = [modal] * len(graphs)
        found = self.model(data)
        forces = found[keys.PRED_FORCE].detach().double().cpu().numpy()
        # Atomic energies are summed in double precision: a sum in single precision loses digits in large cells.
        atomic = found[keys.ATOMIC_ENERGY].detach().double().cpu().numpy().reshape(-1)
        tensors = -found[keys.PRED_STRESS].detach().double().cpu().numpy()
        for start, size, tensor in zip(starts, sizes, tensors, strict=True):
            own = slice(start, start + size)
            yield Forces(
                energy=float(atomic[own].sum()),
                forces=forces[own],
                stress=tensor[np.array(STRESS_ORDER)] if stress else None,
            )

    def _to_tensor(self, array: FloatArray | IntArray) -> Tensor:
        """Tensor on the device, of single precision where it holds real numbers."""
        import torch

        found = torch.as_tensor(array, device=self.device)
        return found.to(torch.float32) if found.is_floating_point() else found.to(torch.int64)


@cache
def _load_network(name: str, device: Device) -> Network:
    """Load the network, once per process.

    The checkpoint is read as data: of its classes only tensors and arrays of numbers are made, and nothing in the file is
    executed. `sevenn` itself would unpickle it whole. On the CPU this sets torch to one thread.
    """
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    content = _read_checkpoint(find_checkpoint(name))
    with warnings.catch_warnings():
        # TorchScript, which e3nn compiles its modules with, announces its end.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="The TorchScript type system", category=UserWarning)
        model, config = _build_model(content)
    model.set_is_batch_data(True)
    model.to(device)
    model.train(False)
    return Network(model, float(config["cutoff"]), frozenset(config["_type_map"]), device)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read tensors, arrays of numbers and plain values from a checkpoint.

    Raises:
        PluginError: it holds anything else.
    """
    import pickle

    import torch
    from numpy._core.multiarray import _reconstruct
    from torch.serialization import safe_globals

    arrays: list[Any] = [
        (np.ndarray, "numpy.ndarray"),
        (np.dtype, "numpy.dtype"),
        (_reconstruct, "numpy.core.multiarray._reconstruct"),  # the name that arrays had before NumPy 2
        _reconstruct,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        np.dtypes.Int64DType,
    ]
    try:
        with safe_globals(arrays):
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PluginError(
            f"{path.name} holds objects that are neither tensors nor arrays of numbers, and is not loaded: reading them "
            "would run what they name"
        ) from error
    return content


def _build_model(content: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Build the network of a checkpoint, as `sevenn.checkpoint.SevenNetCheckpoint.build_model` does, without accelerators."""
    from sevenn.checkpoint import _config_cp_routine
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.scripts.backward_compatibility import patch_state_dict_if_old
    from tqdm import tqdm

    # Compiling makes progress bars, whose usual lock is a semaphore of the system: a worker that is ended would leave it behind.
    tqdm.set_lock(threading.RLock())
    config = _config_cp_routine(content["config"])
    config |= {"cuequivariance_config": {"use": False}, "use_flash_tp": False, "use_oeq": False}
    config["_flash_lammps"] = False
    model = build_E3_equivariant_model(config)
    weights = patch_state_dict_if_old(content["model_state_dict"], config, model)
    model.load_state_dict(weights, strict=True)
    return model, config


def _build_graph(network: Network, atoms: Atoms) -> Graph:
    """Build the crystal's graph.

    Raises:
        PotentialError: the network cannot describe this crystal.
    """
    volume = check_crystal(atoms, "SevenNet", network.elements.__contains__)
    first, second, image, _ = find_pairs(atoms.positions, atoms.cell.array, network.cutoff, atoms.pbc)
    check_neighbours(atoms, first, network.cutoff)
    vectors = atoms.positions[second] - atoms.positions[first] + image @ atoms.cell.array
    return Graph(np.asarray(atoms.numbers, dtype=np.int64), np.stack([first, second]), vectors, volume)
