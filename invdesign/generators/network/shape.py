"""Cells and free coordinates drawn from the network, several per draft, and the best of them by distances."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.network.chemistry import measure_volumes
from invdesign.generators.network.drafts import Draft, build_crystal, draw_masked, to_numpy
from invdesign.generators.network.examples import join_examples
from invdesign.generators.network.model import BINS, CrystalNetwork, list_steps, to_tensors
from invdesign.generators.network.occupy import read_compositions
from invdesign.rng import Rng
from invdesign.structures.distances import covalent_radius
from invdesign.structures.geometry import Crystal
from invdesign.structures.sited import SitedCrystal

IMAGES: FloatArray = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)
COMFORT = 0.80  # of the sum of covalent radii, below which a distance costs (chosen)
OVERLAP_WEIGHT = 200.0  # cost of a squared relative overlap, in nats (chosen)
CELL_SPREAD = 0.5  # share of the cell's standard deviations that is drawn (chosen)


@dataclass(frozen=True, eq=False)
class Shape:
    """A geometry of a draft.

    Attributes:
        cell: numbers of the cell, shape (6,).
        free: free coordinates, orbit by orbit, shape (f,).
        likelihood: log likelihood of the coordinates' bins.
    """

    cell: FloatArray
    free: FloatArray
    likelihood: float


@torch.no_grad()
def draw_shapes(
    network: CrystalNetwork,
    context: Tensor,
    drafts: Sequence[Draft],
    rngs: Sequence[Rng],
    temperatures: Sequence[float],
) -> list[list[Shape]]:
    """Draw geometries.

    Args:
        network: with weights.
        context: shape (b, d).
        drafts: b drafts with occupied positions.
        rngs: one generator per row.
        temperatures: one per geometry of a draft; 0 takes the most likely numbers.

    Returns:
        Per draft one geometry per temperature.
    """
    geometry, words = network.geometry, network.words
    read, pooled = read_compositions(network, drafts)
    batch = to_tensors(join_examples([draft.to_example() for draft in drafts]))
    orbits, whole = geometry.view(words, context + pooled, read, batch)
    weights, means, spreads = (to_numpy(part) for part in geometry.spread_cells(whole))
    times = len(temperatures)
    cells = np.array(
        [
            _draw_cell(weights[row], means[row], np.exp(spreads[row]), rng, temperature)
            for row, rng in enumerate(rngs)
            for temperature in temperatures
        ]
    )
    cells = np.where(np.isnan(np.repeat(batch.cell.numpy(), times, axis=0)), np.nan, cells)
    free, likelihood = _draw_coordinates(
        network,
        orbits.repeat_interleave(times, 0),
        batch.free.repeat_interleave(times, 0),
        cells,
        rngs,
        temperatures,
    )
    shapes = [
        Shape(cell, own, float(value)) for cell, own, value in zip(cells, free, likelihood, strict=True)
    ]
    return [shapes[row * times : (row + 1) * times] for row in range(len(drafts))]


def _draw_cell(
    weights: FloatArray, means: FloatArray, spreads: FloatArray, rng: Rng, temperature: float
) -> FloatArray:
    """Draw the numbers of a cell from a mixture of normal distributions."""
    part, _ = draw_masked(weights, np.ones(len(weights), dtype=bool), rng, temperature)
    drawn: FloatArray = means[part] + CELL_SPREAD * temperature * spreads[part] * rng.normal(
        size=means.shape[1]
    )
    return drawn


def _draw_coordinates(
    network: CrystalNetwork,
    orbits: Tensor,
    free: Tensor,
    cells: FloatArray,
    rngs: Sequence[Rng],
    temperatures: Sequence[float],
) -> tuple[list[FloatArray], FloatArray]:
    """Draw free coordinates one after the other, all rows at once.

    Returns:
        (coordinates per row, log likelihood per row).
    """
    geometry = network.geometry
    steps = list_steps(free)
    most = steps.values.shape[1]
    counts = (~torch.isnan(steps.values)).sum(1).numpy()
    marks = np.concatenate([rng.random((len(temperatures), max(most, 1))) for rng in rngs])
    heat = np.tile(np.asarray(temperatures), len(rngs))
    cell = geometry.word_cell(torch.from_numpy(cells).float())
    before = torch.full((len(cells),), float("nan"))
    state = torch.zeros(1, len(cells), network.sizes.hidden)
    values, likelihood = np.zeros((len(cells), most)), np.zeros(len(cells))
    everyone = torch.arange(len(cells))
    for step in range(most):
        own = orbits[everyone, steps.orbit[:, step]]
        inputs = geometry.describe(own, steps.axis[:, step], before, cell)
        states, state = geometry.step(inputs.unsqueeze(1), state)
        logits, offsets = geometry.choose_bins(states.squeeze(1), own)
        bins, chances = _draw_bins(to_numpy(logits), marks[:, step], heat)
        drawn = ((bins + to_numpy(offsets)[np.arange(len(bins)), bins]) / BINS) % 1.0
        values[:, step] = drawn
        likelihood += np.where(step < counts, chances, 0.0)
        before = torch.from_numpy(drawn).float()
    return [row[:count] for row, count in zip(values, counts, strict=True)], likelihood


def _draw_bins(logits: FloatArray, marks: FloatArray, heat: FloatArray) -> tuple[IntArray, FloatArray]:
    """Draw bins of all rows: (bins (r,), log likelihoods (r,))."""
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    plain = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    weights = np.exp(logits / np.maximum(heat, 1e-3)[:, None]).cumsum(axis=1)
    bins = (weights < (marks * weights[:, -1])[:, None]).sum(axis=1).clip(max=logits.shape[1] - 1)
    bins = np.where(heat <= 0.0, logits.argmax(axis=1), bins)
    return bins, plain[np.arange(len(bins)), bins]


def build_shapes(draft: Draft, shapes: Sequence[Shape], volumes: Mapping[str, float]) -> list[SitedCrystal]:
    """Crystals of a draft's geometries.

    Args:
        draft: with occupied positions.
        shapes: its geometries.
        volumes: fitted volumes of atoms by element, Å³.
    """
    atoms = dict(zip(draft.symbols, draft.atoms, strict=True))
    volume = measure_volumes(atoms, volumes)
    return [build_crystal(draft, shape.cell, shape.free, volume) for shape in shapes]


def measure_overlap(crystal: Crystal, radii: FloatArray) -> tuple[float, float]:
    """Cost of distances that are too short, and the shortest distance.

    Args:
        crystal: in its reduced cell.
        radii: covalent radius per species, Å.

    Returns:
        (sum of squared relative overlaps per atom, shortest distance in Å).
    """
    points = crystal.positions
    apart = points[:, None, None, :] - points[None, :, None, :] + IMAGES
    distance = np.sqrt(((apart @ crystal.cell) ** 2).sum(-1))
    number = np.arange(len(points))
    distance[number, number, len(IMAGES) // 2] = np.inf
    own = radii[crystal.species]
    least = COMFORT * (own[:, None] + own[None, :])
    short = np.maximum(1.0 - distance / least[:, :, None], 0.0)
    return float((short**2).sum() / len(points)), float(distance.min())


def rank_shapes(draft: Draft, shapes: Sequence[Shape], crystals: Sequence[SitedCrystal]) -> list[int]:
    """Order geometries of a draft: those with room first, then by likelihood.

    Args:
        draft: with occupied positions.
        shapes: its geometries.
        crystals: their crystals.

    Returns:
        Numbers of the geometries that have a cell, the best first.
    """
    radii = np.array([covalent_radius(name) for name in sorted(draft.symbols)])
    costs = []
    for number, (shape, crystal) in enumerate(zip(shapes, crystals, strict=True)):
        try:
            overlap, _ = measure_overlap(crystal.crystal, radii)
        except (np.linalg.LinAlgError, ValueError):  # angles that no cell has
            continue
        costs.append((OVERLAP_WEIGHT * overlap - shape.likelihood, number))
    return [number for _, number in sorted(costs)]
