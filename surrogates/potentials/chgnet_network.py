"""CHGNet's forward pass for inference: its weights and its mathematics, half its arithmetic.

The `chgnet` package trains the network, and for that differentiates twice and keeps both graphs. Here the
weights are taken from its checkpoints, without importing it (three seconds, most of them for other things); the
first layer of each message acts on atoms and bonds before they are gathered into pairs and angles, not after
(a linear map commutes with gathering, and there are far fewer atoms and bonds than angles); all forces and the
stress come from one backward pass to the bond vectors; bonds are paired in NumPy. The numbers agree with the
package's within single precision (tests/surrogates/test_potentials.py).

Source: Deng et al., Nat. Mach. Intell. 5, 1031 (2023), Methods, equations 1 to 9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from surrogates.potentials.networks import Device

if TYPE_CHECKING:
    from ase import Atoms
    from torch import Tensor

Weights = Mapping[str, "Tensor"]
SELF_DISTANCE = 1e-8  # Å: a neighbour this close is the atom itself; chosen


@dataclass(frozen=True, slots=True)
class Graph:
    """Graph of n atoms, u bonds, their 2u directions, and a angles.

    Each bond counts once. Several crystals may be joined in one graph.

    Attributes:
        numbers: shape (n,), atomic numbers.
        sizes: atoms of each crystal.
        vectors: shape (u, 3), Å, from the second atom of each bond to the first.
        ends: shape (u, 2), the first and second atom.
        bond_counts: bonds of each crystal.
        directed: shape (2u, 3), central atom, neighbour, bond.
        angles: shape (a, 3), central atom and the two bonds that meet in it.
        signs: shape (a,), -1 where one of the two bonds points to the centre and the other away from it.
    """

    numbers: IntArray
    sizes: tuple[int, ...]
    vectors: FloatArray
    ends: IntArray
    bond_counts: tuple[int, ...]
    directed: IntArray
    angles: IntArray
    signs: FloatArray


def build_crystal_graph(atoms: Atoms, reach: float, bond_reach: float) -> Graph:
    """Build the graph of one crystal.

    Args:
        atoms: periodic where their cell is.
        reach: Å, longest bond between two atoms.
        bond_reach: Å, longest bond that takes part in an angle.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    cell = np.ascontiguousarray(atoms.cell.array, dtype=np.float64)
    pbc = np.ascontiguousarray(atoms.pbc, dtype=np.int64)
    center, neighbor, image, distance = find_points_in_spheres(
        positions, positions, reach, pbc, cell, SELF_DISTANCE
    )
    keep = (center != neighbor) | (distance > SELF_DISTANCE)
    center, neighbor, image, distance = (
        center[keep],
        neighbor[keep],
        image[keep].astype(np.int64),
        distance[keep],
    )

    flipped, code = _orient_bonds(center, neighbor, image)
    _, bond, count = np.unique(code, return_inverse=True, return_counts=True)
    paired = count[bond] == 2  # rounding at the very cutoff can find one direction without the other
    center, neighbor, image, distance = center[paired], neighbor[paired], image[paired], distance[paired]
    flipped = flipped[paired]
    _, first, bond = np.unique(code[paired], return_index=True, return_inverse=True)
    vectors = positions[center[first]] - positions[neighbor[first]] - image[first] @ cell
    left, right = _pair_bonds_at_centre(center, np.flatnonzero(distance <= bond_reach))
    outward = np.where(flipped == flipped[first][bond], 1.0, -1.0)
    return Graph(
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        sizes=(len(atoms),),
        vectors=vectors,
        ends=np.stack([center[first], neighbor[first]], axis=1),
        bond_counts=(len(first),),
        directed=np.stack([center, neighbor, bond], axis=1),
        angles=np.stack([center[left], bond[left], bond[right]], axis=1),
        signs=outward[left] * outward[right],
    )


def _orient_bonds(
    center: IntArray, neighbor: IntArray, image: IntArray
) -> tuple[NDArray[np.bool_], IntArray]:
    """Orient directed bonds (e,) relative to their bond's reference direction.

    Returns:
        (True where a bond runs against it (e,), code that both directions of a bond share (e,)).
    """
    x, y, z = image.T
    backward = (x < 0) | ((x == 0) & ((y < 0) | ((y == 0) & (z < 0))))
    flipped = (center > neighbor) | ((center == neighbor) & backward)
    low, high = np.where(flipped, neighbor, center), np.where(flipped, center, neighbor)
    span = np.int64(2 * np.abs(image).max(initial=0) + 1)
    shift = np.where(flipped[:, None], -image, image) + span // 2
    code = low * (high.max(initial=0) + 1) + high
    for axis in range(3):
        code = code * span + shift[:, axis]
    return flipped, code


def _pair_bonds_at_centre(center: IntArray, short: IntArray) -> tuple[IntArray, IntArray]:
    """All ordered pairs of different directed bonds among `short` with the same centre."""
    short = short[np.argsort(center[short], kind="stable")]
    owner = center[short]
    begin = np.searchsorted(owner, owner, side="left")
    count = np.searchsorted(owner, owner, side="right") - begin
    left = np.repeat(np.arange(len(short)), count)
    before = np.repeat(np.cumsum(count) - count, count)
    right = np.repeat(begin, count) + np.arange(len(left)) - before
    different = left != right
    return short[left[different]], short[right[different]]


def join_graphs(graphs: Sequence[Graph]) -> Graph:
    """Join `graphs` of crystals that do not touch into one."""
    if len(graphs) == 1:
        return graphs[0]
    atoms = np.cumsum([0, *(len(g.numbers) for g in graphs)])
    bonds = np.cumsum([0, *(len(g.vectors) for g in graphs)])
    return Graph(
        numbers=np.concatenate([g.numbers for g in graphs]),
        sizes=tuple(size for g in graphs for size in g.sizes),
        vectors=np.concatenate([g.vectors for g in graphs]),
        ends=np.concatenate([g.ends + atom for g, atom in zip(graphs, atoms, strict=False)]),
        bond_counts=tuple(count for g in graphs for count in g.bond_counts),
        directed=np.concatenate(
            [g.directed + np.array([a, a, b]) for g, a, b in zip(graphs, atoms, bonds, strict=False)]
        ),
        angles=np.concatenate(
            [g.angles + np.array([a, b, b]) for g, a, b in zip(graphs, atoms, bonds, strict=False)]
        ),
        signs=np.concatenate([g.signs for g in graphs]),
    )


class _Linears:
    """Linear maps with SiLU between them (chgnet's `MLP`).

    They are those of the checkpoint under one prefix.
    """

    def __init__(self, weights: Weights, prefix: str) -> None:
        numbers = sorted(
            int(key.split(".")[-2]) for key in weights if re.fullmatch(rf"{prefix}\.\d+\.weight", key)
        )
        self.maps = [(weights[f"{prefix}.{k}.weight"], weights.get(f"{prefix}.{k}.bias")) for k in numbers]

    def __call__(self, values: Tensor, start: int = 0) -> Tensor:
        from torch.nn.functional import linear, silu

        for k, (weight, bias) in enumerate(self.maps[start:]):
            values = linear(silu(values) if k else values, weight, bias)
        return values


class _Norm:
    """Layer normalisation; the identity if the checkpoint has none."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self.pair = (
            (weights[f"{prefix}.weight"], weights[f"{prefix}.bias"])
            if f"{prefix}.weight" in weights
            else None
        )

    def __call__(self, values: Tensor) -> Tensor:
        from torch.nn.functional import layer_norm

        return values if self.pair is None else layer_norm(values, values.shape[-1:], *self.pair)


class _Message:
    """Gated perceptron (chgnet's `GatedMLP`) of concatenated features.

    Its first map is split by feature.
    """

    def __init__(self, weights: Weights, prefix: str) -> None:
        import torch

        self.core = _Linears(weights, f"{prefix}.mlp_core.layers")
        self.gate = _Linears(weights, f"{prefix}.mlp_gate.layers")
        self.core_norm, self.gate_norm = _Norm(weights, f"{prefix}.bn1"), _Norm(weights, f"{prefix}.bn2")
        (core, core_bias), (gate, gate_bias) = self.core.maps[0], self.gate.maps[0]
        self.parts = [part.T.contiguous() for part in torch.split(torch.cat([core, gate]), len(core), dim=1)]
        self.bias = torch.cat([bias for bias in (core_bias, gate_bias) if bias is not None])

    def __call__(self, features: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
        """Messages from one (features, row of each message in them) per part.

        Returns:
            Shape (m, width).
        """
        from torch.nn.functional import silu

        total = self.bias
        for part, (values, rows) in zip(self.parts, features, strict=True):
            mapped = values @ part
            total = total + (mapped if rows is None else mapped.index_select(0, rows))
        core, gate = total.chunk(2, dim=1)
        if len(self.core.maps) > 1:
            core, gate = silu(total).chunk(2, dim=1)
            core, gate = self.core(core, 1), self.gate(gate, 1)
        message: Tensor = silu(self.core_norm(core)) * self.gate_norm(gate).sigmoid()
        return message


class _Radial:
    """Bessel functions of the distance with a smooth cutoff (chgnet's `RadialBessel`)."""

    def __init__(self, frequencies: Tensor, cutoff: float, power: float) -> None:
        self.frequencies, self.cutoff, self.power = frequencies, cutoff, power

    def __call__(self, distance: Tensor) -> Tensor:
        """Shape (u, functions)."""
        import torch

        p = self.power
        x = (distance / self.cutoff)[:, None]
        envelope = (
            1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        )
        envelope = torch.where(x < 1, envelope, torch.zeros_like(x))
        bessel: Tensor = (2 / self.cutoff) ** 0.5 * torch.sin(self.frequencies * x) / distance[:, None]
        return envelope * bessel


class Network:
    """The network of a checkpoint, on one device.

    Attributes:
        device: device of its weights.
        reach, bond_reach: Å, cutoffs of the atom graph and the bond graph.
        elemental: shape (94,), eV, part of the energy that each element has everywhere.
        element_vectors: shape (94, 64), features of each element's atoms before the first convolution.
        joins: True if crystals may share a forward pass. Checkpoint 0.2.0 adds a bias to every bond of a
            crystal that has an angle, so that there a neighbour in the batch would change the energy.
    """

    def __init__(self, checkpoint: Mapping[str, Any], device: Device) -> None:
        """Take the entry `model` of a checkpoint: its `state_dict` and `model_args`."""
        arguments = checkpoint["model_args"]
        w: Weights = {name: value.to(device) for name, value in checkpoint["state_dict"].items()}
        self.weights = w
        self.device: Device = device
        self.reach, self.bond_reach = (
            float(arguments["atom_graph_cutoff"]),
            float(arguments["bond_graph_cutoff"]),
        )
        self.joins = "bond_conv_layers.0.mlp_out.layers.1.bias" not in w
        self.elemental: FloatArray = w["composition_model.fc.weight"][0].double().cpu().numpy()
        self.element_vectors: FloatArray = w["atom_embedding.embedding.weight"].double().cpu().numpy()
        basis, power = "bond_basis_expansion.rbf_expansion_", float(arguments["cutoff_coeff"])
        self.radial = _Radial(w[f"{basis}ag.frequencies"], self.reach, power)
        self.bond_radial = _Radial(w[f"{basis}bg.frequencies"], self.bond_reach, power)
        layers = range(arguments["n_conv"])
        self.atom_messages = [_Message(w, f"atom_conv_layers.{k}.twoBody_atom") for k in layers]
        self.atom_updates = [_Linears(w, f"atom_conv_layers.{k}.mlp_out.layers") for k in layers]
        self.bond_messages = [_Message(w, f"bond_conv_layers.{k}.twoBody_bond") for k in layers[:-1]]
        self.bond_updates = [_Linears(w, f"bond_conv_layers.{k}.mlp_out.layers") for k in layers[:-1]]
        # The checkpoint has one more of these, whose result is not used.
        self.angle_messages = [_Message(w, f"angle_layers.{k}.twoBody_bond") for k in layers[:-2]]
        self.readout_norm, self.readout = _Norm(w, "readout_norm"), _Linears(w, "mlp.layers")

    def evaluate(self, graph: Graph, *, gradient: bool) -> tuple[FloatArray, FloatArray]:
        """Compute the energy of each atom of `graph`.

        Args:
            graph: one or several crystals.
            gradient: True to compute the gradient too; else it is zero.

        Returns:
            (energies, shape (n,), eV; gradient of their sum by the bond vectors, shape (u, 3), eV/Å).
        """
        import torch

        vectors = torch.tensor(graph.vectors, dtype=torch.float32, device=self.device, requires_grad=gradient)
        energies = self._read_energies(self._pass_messages(graph, vectors)[-1])
        slope = torch.zeros_like(vectors)
        if gradient:
            (slope,) = torch.autograd.grad(energies.sum(), vectors)
        atomic = energies.detach().double().cpu().numpy() + self.elemental[graph.numbers - 1]
        return atomic, slope.double().cpu().numpy()

    def describe_atoms(self, graph: Graph, shares: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Compute the features of each atom after the last two convolutions, without gradients.

        Args:
            graph: one or several crystals.
            shares: shape (n, 94), amount of each element on each site, more than 0 together; None where `numbers` of
                the graph say it. A site begins with the mean of its elements' vectors, and what it tells its
                neighbours counts by its occupancy.

        Returns:
            (features, shape (2, n, 64); energies of the atoms, shape (n,), eV).
        """
        import torch

        with torch.inference_mode():
            vectors = torch.tensor(graph.vectors, dtype=torch.float32, device=self.device)
            mixed = None if shares is None else torch.tensor(shares, dtype=torch.float32, device=self.device)
            layers = self._pass_messages(graph, vectors, mixed)
            energies = self._read_energies(layers[-1]).double().cpu().numpy()
            features = torch.stack(layers[-2:]).double().cpu().numpy()
        if shares is None:
            return features, energies + self.elemental[graph.numbers - 1]
        return features, energies + shares @ self.elemental / shares.sum(axis=1)

    def _read_energies(self, atoms: Tensor) -> Tensor:
        """Read the energy of each atom, shape (n,), eV, from its last features."""
        return self.readout(self.readout_norm(atoms)).squeeze(1)

    def _pass_messages(self, graph: Graph, vectors: Tensor, shares: Tensor | None = None) -> list[Tensor]:
        """Pass messages from bonds to atoms and from angles to bonds.

        Args:
            graph: one or several crystals.
            vectors: shape (u, 3), Å, of the bonds.
            shares: shape (n, 94), amount of each element on each site; None where the graph says it.

        Returns:
            Features of the atoms, shape (n, 64), after each convolution.
        """
        import torch

        w = self.weights
        center, neighbor, bond = (torch.tensor(column, device=self.device) for column in graph.directed.T)
        corner, bond_i, bond_j = (torch.tensor(column, device=self.device) for column in graph.angles.T)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        radial = self.radial(lengths)
        embedding = w["atom_embedding.embedding.weight"]
        if shares is None:
            atoms = embedding[torch.tensor(graph.numbers - 1, device=self.device)]
        else:
            occupancies = shares.sum(dim=1)
            atoms = (shares / occupancies[:, None]) @ embedding
        bonds = radial @ w["bond_embedding.weight"].T
        atom_weights = (radial @ w["bond_weights_ag.weight"].T).index_select(0, bond)
        angles = self._angle_features(graph, vectors / lengths[:, None], bond_i, bond_j)
        short = self.bond_radial(lengths) @ w["bond_weights_bg.weight"].T
        angle_weights = short.index_select(0, bond_i) * short.index_select(0, bond_j)
        if shares is not None:
            atom_weights = atom_weights * occupancies.index_select(0, neighbor)[:, None]
            # An angle tells its first bond about the second, whose other end may be vacant.
            ends = torch.tensor(graph.ends, device=self.device)
            outer = ends.index_select(0, bond_j).sum(dim=1) - corner
            angle_weights = angle_weights * occupancies.index_select(0, outer)[:, None]
        layers: list[Tensor] = []
        for k, (message, update) in enumerate(zip(self.atom_messages, self.atom_updates, strict=True)):
            told = message([(atoms, center), (bonds, bond), (atoms, neighbor)]) * atom_weights
            atoms = atoms + update(torch.zeros_like(atoms).index_add(0, center, told))
            layers.append(atoms)
            if k < len(self.bond_messages) and len(graph.angles):
                told = self.bond_messages[k](
                    [(bonds, bond_i), (bonds, bond_j), (angles, None), (atoms, corner)]
                )
                told = told * angle_weights
                bonds = bonds + self.bond_updates[k](torch.zeros_like(bonds).index_add(0, bond_i, told))
            if k < len(self.angle_messages) and len(graph.angles):
                angles = angles + self.angle_messages[k](
                    [(bonds, bond_i), (bonds, bond_j), (angles, None), (atoms, corner)]
                )
        return layers

    def _angle_features(self, graph: Graph, units: Tensor, bond_i: Tensor, bond_j: Tensor) -> Tensor:
        """Fourier features of the angle between each pair of bonds.

        Shape (a, width).
        """
        import torch

        signs = torch.tensor(graph.signs, dtype=units.dtype, device=self.device)
        cosine = (units.index_select(0, bond_i) * units.index_select(0, bond_j)).sum(dim=1) * signs
        # The factor keeps the slope of the arc cosine finite for bonds in a line; it is part of the model.
        angle = torch.acos(cosine * (1 - 1e-6))[:, None]
        waves = self.weights["angle_basis_expansion.fourier_expansion.frequencies"] * angle
        series = torch.cat([torch.full_like(angle, 0.5**0.5), torch.sin(waves), torch.cos(waves)], dim=1)
        features: Tensor = series / math.pi**0.5 @ self.weights["angle_embedding.weight"].T
        return features
