"""A network of pairs of atoms that moves a drawn geometry towards those of known crystals.

It is trained as a denoiser: known crystals are displaced along their free coordinates and strained within their lattice system,
and the network says the way back. It depends on distances alone, so symmetry is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.network.chemistry import describe_elements, list_elements
from invdesign.rng import Rng
from invdesign.settings import Frozen
from invdesign.structures.sited import SitedCrystal, round_sited

REACH = 5.0  # Å, of pairs (chosen)
WAVES = 20  # Gaussians over distances (chosen)
IMAGES: FloatArray = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)
NOISE = (0.03, 0.7)  # Å, between which the standard deviation of displacements is drawn (chosen)
STRAIN = 0.25  # standard deviation of strains, per Å of displacement (chosen)
LONGEST = 0.5  # Å, most that an atom moves in a step (chosen)
MOST_STRAIN = 0.1  # of a step (chosen)
COLLISION = 0.5  # Å, of two atoms in one place: distances are no less (chosen)


class RefinerSizes(Frozen):
    """Sizes of the refiner."""

    width: int = 64
    """Numbers per atom."""
    layers: int = 2
    """Exchanges between atoms."""


@dataclass(frozen=True, eq=False)
class Sites:
    """A crystal as atoms that depend on free numbers.

    Attributes:
        crystal: the crystal.
        elements: place of each atom's element, shape (n,).
        linear: shape (n, 3, f), fractional coordinates in the reduced cell per free coordinate.
        constant: shape (n, 3).
    """

    crystal: SitedCrystal
    elements: IntArray
    linear: FloatArray
    constant: FloatArray

    @cached_property
    def free(self) -> FloatArray:
        """Free coordinates, shape (f,)."""
        return self.crystal.coordinates

    @cached_property
    def frame(self) -> FloatArray:
        """Reduced vectors in those of the conventional cell, shape (3, 3)."""
        return np.linalg.inv(self.crystal.basis) @ self.crystal.combination.space_group.primitive

    def place_atoms(self, free: FloatArray) -> FloatArray:
        """Fractional coordinates in the reduced cell, shape (n, 3)."""
        placed: FloatArray = self.linear @ free + self.constant
        return placed


def list_sites(symbols: Sequence[str], crystal: SitedCrystal) -> Sites:
    """List the atoms of a crystal with what they depend on.

    Args:
        symbols: of its species.
        crystal: with a cell of some volume.

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume.
    """
    combination = crystal.combination
    total = combination.size
    linear, constant = np.zeros((total, 3, combination.free)), np.zeros((total, 3))
    start = 0
    for position, column in zip(combination.positions, combination.columns, strict=True):
        rows = slice(start, start + position.primitive_multiplicity)
        linear[rows, :, column] = position.linear
        constant[rows] = position.constant
        start += position.primitive_multiplicity
    basis = crystal.basis.astype(np.float64)
    order = list_elements()
    places = np.array([order.index(name) for name in symbols])
    turned = np.einsum("nif,ij->njf", linear, basis)
    return Sites(crystal, places[crystal.species], turned, constant @ basis)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Atoms of several crystals with their pairs.

    Attributes:
        elements: shape (n,).
        owner: crystal of each atom, shape (n,).
        first, second: atoms of each pair, shape (p,).
        distance: shape (p,), Å.
        direction: unit vector from the second to the first atom, shape (p, 3).
        sizes: atoms per crystal, shape (b,).
    """

    elements: Tensor
    owner: Tensor
    first: Tensor
    second: Tensor
    distance: Tensor
    direction: Tensor
    sizes: Tensor


def find_pairs(
    elements: Sequence[IntArray], cells: Sequence[FloatArray], points: Sequence[FloatArray]
) -> Pairs:
    """Find pairs of atoms within `REACH` in several crystals.

    Args:
        elements: places of elements per crystal.
        cells: reduced cells, vectors as rows, Å.
        points: fractional coordinates.
    """
    firsts, seconds, vectors = [], [], []
    start = 0
    for cell, own in zip(cells, points, strict=True):
        apart = own[:, None] - own[None]
        apart -= np.round(apart)
        moved = (apart[:, :, None] + IMAGES) @ cell
        squared = (moved**2).sum(-1)
        number = np.arange(len(own))
        squared[number, number, len(IMAGES) // 2] = np.inf
        one, two, image = np.nonzero(squared < REACH**2)
        firsts.append(one + start)
        seconds.append(two + start)
        vectors.append(moved[one, two, image])
        start += len(own)
    vector = torch.from_numpy(np.concatenate(vectors)).float()
    distance = vector.norm(dim=1)
    sizes = torch.tensor([len(own) for own in points])
    return Pairs(
        torch.from_numpy(np.concatenate(elements)),
        torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        torch.from_numpy(np.concatenate(firsts)),
        torch.from_numpy(np.concatenate(seconds)),
        distance,
        vector / distance.clamp(min=COLLISION).unsqueeze(1),
        sizes,
    )


class Refiner(nn.Module):
    """Displacements of atoms and strains of cells from pairs of atoms."""

    _elements: Tensor
    _centres: Tensor

    def __init__(self, sizes: RefinerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        features = torch.from_numpy(describe_elements(list_elements())).float()
        self.register_buffer("_elements", features, persistent=False)
        self.register_buffer("_centres", torch.linspace(0.5, REACH, WAVES), persistent=False)
        self.atoms = nn.Linear(features.shape[1], width)
        self.names = nn.Embedding(len(features), width)
        nn.init.normal_(self.names.weight, std=0.1)
        self.gates = nn.ModuleList(nn.Linear(WAVES, width) for _ in range(sizes.layers))
        self.sends = nn.ModuleList(nn.Linear(width, width) for _ in range(sizes.layers))
        self.takes = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(sizes.layers)
        )
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)
        self.waves = nn.Linear(WAVES, width)
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Displacements (n, 3) in Å and symmetric strains (b, 3, 3)."""
        width = REACH / WAVES
        waves = torch.exp(-0.5 * ((pairs.distance.unsqueeze(1) - self._centres) / width) ** 2)
        fade = 0.5 * (1.0 + torch.cos(torch.pi * pairs.distance / REACH)).unsqueeze(1)
        waves = waves * fade
        atoms = self.atoms(self._elements)[pairs.elements] + self.names(pairs.elements)
        for gate, send, take in zip(self.gates, self.sends, self.takes, strict=True):
            sent = gate(waves) * send(atoms)[pairs.second] * fade
            gathered = torch.zeros_like(atoms).index_add(0, pairs.first, sent)
            atoms = atoms + take(gathered * 0.2)
        hidden = self.one(atoms)[pairs.first] + self.two(atoms)[pairs.second] + self.waves(waves)
        push, pull = (self.last(hidden) * fade).unbind(1)
        moves = torch.zeros(len(atoms), 3).index_add(0, pairs.first, push.unsqueeze(1) * pairs.direction)
        outer = pairs.direction.unsqueeze(2) * pairs.direction.unsqueeze(1)
        strain = torch.zeros(len(pairs.sizes), 3, 3)
        strain = strain.index_add(0, pairs.owner[pairs.first], pull[:, None, None] * outer)
        return moves, strain / pairs.sizes[:, None, None]


def perturb(sites: Sites, rng: Rng) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, float]:
    """Displace a crystal along its free numbers.

    Returns:
        (reduced cell (3, 3), positions (n, 3), way back of the atoms in Å (n, 3), strain back (3, 3), size of the noise in Å).
    """
    size = float(np.exp(rng.uniform(*np.log(NOISE))))
    crystal = sites.crystal
    system = crystal.combination.space_group.system
    lengths = np.array(crystal.cell[: system.free_lengths])
    angles = np.array(crystal.cell[system.free_lengths :])
    spread = STRAIN * size
    lengths = lengths * np.exp(rng.normal(0.0, 0.6 * spread) + rng.normal(0.0, 0.6 * spread, len(lengths)))
    angles = angles + np.degrees(rng.normal(0.0, 0.6 * spread, len(angles)))
    clean = sites.frame @ crystal.conventional
    cell = sites.frame @ system.build_cell(lengths.tolist(), angles.tolist())
    if not np.isfinite(cell).all():
        cell = clean
    scale = np.linalg.norm(np.einsum("njf,jk->nfk", sites.linear, clean), axis=2).max(axis=0, initial=1e-3)
    change = size * rng.normal(size=len(scale)) / scale
    points = sites.place_atoms(sites.free + change)
    back = -np.einsum("njf,f->nj", sites.linear, change) @ cell
    ratio = np.linalg.solve(cell, clean)
    values, vectors = np.linalg.eigh(ratio @ ratio.T)
    strain = (vectors * np.sqrt(values)) @ vectors.T - np.eye(3)
    return cell, points, back, strain, size


def measure_refiner(network: Refiner, batch: Sequence[Sites], rng: Rng) -> Tensor:
    """Loss of a batch of crystals with fresh noise."""
    cells, points, backs, strains, sizes = zip(*(perturb(sites, rng) for sites in batch), strict=True)
    pairs = find_pairs([sites.elements for sites in batch], cells, points)
    moves, strain = network(pairs)
    weight = 1.0 / (torch.tensor(sizes).float() + NOISE[0])
    back = torch.from_numpy(np.concatenate(backs)).float()
    error = ((moves - back) ** 2).sum(1).add(1e-4).sqrt() * weight[pairs.owner] / pairs.sizes[pairs.owner]
    wanted = torch.from_numpy(np.array(strains)).float()
    bent = ((strain - wanted) ** 2).sum((1, 2)).add(1e-5).sqrt() * weight / STRAIN
    return torch.div(error.sum() + bent.sum(), len(batch))


@torch.no_grad()
def refine(
    network: Refiner, batch: Sequence[Sites], steps: int, share: float
) -> tuple[list[Sites], FloatArray]:
    """Move geometries towards those of known crystals.

    Args:
        network: trained.
        batch: crystals.
        steps: number of moves.
        share: of the way back that is gone in a step.

    Returns:
        (crystals after the moves, size of the move that the network would still make per crystal, Å).
    """
    current = list(batch)
    left = np.zeros(len(current))
    for step in range(steps + 1):
        cells = [sites.frame @ sites.crystal.conventional for sites in current]
        points = [sites.place_atoms(sites.free) for sites in current]
        pairs = find_pairs([sites.elements for sites in current], cells, points)
        moves, strain = (part.numpy().astype(np.float64) for part in network(pairs))
        ends = np.cumsum([0, *(len(own) for own in points)])
        if step == steps:
            for row, (start, end) in enumerate(itertools.pairwise(ends)):
                bent = float(np.abs(strain[row]).max()) / STRAIN
                left[row] = float(np.sqrt((moves[start:end] ** 2).sum(1).mean())) + bent
            break
        current = [
            _move(sites, cell, moves[start:end] * share, strain[row] * share)
            for row, (sites, cell, (start, end)) in enumerate(
                zip(current, cells, itertools.pairwise(ends), strict=True)
            )
        ]
    return current, left


def _move(sites: Sites, cell: FloatArray, moves: FloatArray, strain: FloatArray) -> Sites:
    """Move a crystal along its free numbers as near to the asked moves as they allow."""
    crystal = sites.crystal
    group = crystal.combination.space_group
    largest = float(np.linalg.norm(moves, axis=1).max())
    moves = moves * min(1.0, LONGEST / max(largest, 1e-9))
    bent = float(np.abs(strain).max())
    strain = strain * min(1.0, MOST_STRAIN / max(bent, 1e-9))
    free = sites.free
    if len(free):
        columns = np.einsum("njf,jk->nkf", sites.linear, cell).reshape(-1, len(free))
        free = free + np.linalg.lstsq(columns, moves.ravel(), rcond=1e-6)[0]
    conventional = np.linalg.solve(sites.frame, cell @ (np.eye(3) + strain))
    metric = conventional @ conventional.T
    symmetric = (group.rotations.transpose(0, 2, 1) @ metric @ group.rotations).mean(axis=0)
    moved = group.system.read_cell(np.linalg.cholesky(symmetric))
    changed = round_sited(crystal.combination, moved, free)
    return Sites(changed, sites.elements, *_follow(sites, changed))


def _follow(sites: Sites, changed: SitedCrystal) -> tuple[FloatArray, FloatArray]:
    """Coordinates of the atoms in the reduced cell of the changed crystal, as `Sites` has them."""
    turn = np.linalg.solve(sites.crystal.basis.astype(np.float64), changed.basis.astype(np.float64))
    return np.einsum("nif,ij->njf", sites.linear, turn), sites.constant @ turn
