"""Starts, mutations and crossover of crystals on occupied sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.rng import Rng
from invdesign.spaces.crystal.symmetric import STRETCH, make_frame, place_sites
from invdesign.spaces.crystal_sites.vectors import SiteAxes
from invdesign.spaces.operators import WithRules, find_settled
from invdesign.structures.combinations import Combination
from invdesign.structures.sited import SitedCrystal, round_sited
from invdesign.structures.wyckoff import draw_cell

COMBINATIONS_TRIED = 8  # of a start, until a crystal has room (chosen)
CELLS_TRIED = 4  # per combination (chosen)
CHILDREN_TRIED = 8  # until one keeps the rules (chosen)
SHIFTS = (
    0.02,
    0.2,
)  # standard deviations of moved coordinates, in the cell, between which one is drawn (chosen)
STRAIN = 0.08  # standard deviation of a changed cell, in the unit cube (chosen)

Maker = Callable[[Sequence[SitedCrystal], SiteAxes, Rng], SitedCrystal | None]


def draw_start(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Draw a crystal with room: space groups equally often, and the combinations of each.

    Args:
        parents: none.
        axes: of the space.
        rng: the only source of randomness.
    """
    del parents
    for _ in range(COMBINATIONS_TRIED):
        found = draw_crystal(axes.combinations.draw(rng), axes, rng)
        if found is not None:
            return found
    return None


def draw_crystal(
    combination: Combination, axes: SiteAxes, rng: Rng, typical: float | None = None
) -> SitedCrystal | None:
    """Draw cell and coordinates of a combination; None where none of those tried has room.

    Args:
        combination: occupied sites.
        axes: of the space.
        rng: the only source of randomness.
        typical: volume of the primitive cell around which it lies, Å³; by default that of the composition.
    """
    bounds = axes.rules.volume(combination.count_atoms(len(axes.rules.elements)))
    group = combination.space_group
    order = sorted(
        range(len(combination.sites)),
        key=lambda n: (combination.positions[n].free, -combination.positions[n].primitive_multiplicity),
    )
    sites = [(combination.sites[place][0], combination.positions[place]) for place in order]
    for _ in range(CELLS_TRIED):
        volume = float(np.clip((typical or bounds.typical) * rng.uniform(*STRETCH), bounds.low, bounds.high))
        conventional = draw_cell(combination.group, volume * group.centring, rng)
        frame = make_frame(conventional, group, float(axes.rules.room.max()))
        placed = place_sites(sites, frame, axes.rules.room, rng)
        if placed is not None:
            coordinates = np.empty(combination.free)
            for place, parameters in zip(order, placed.parameters, strict=True):
                coordinates[combination.columns[place]] = parameters
            cell = group.system.read_cell(conventional)
            found = axes.settle(round_sited(combination, cell, coordinates))
            if found is not None:
                return found
    return None


def move_sites(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Move free coordinates of one parent, each with probability 1/2, by normal steps."""
    (parent,) = parents
    if not parent.combination.free:
        return None

    def move() -> SitedCrystal:
        size = float(np.exp(rng.uniform(*np.log(SHIFTS))))
        moving = rng.random(parent.combination.free) < 0.5
        moving[int(rng.integers(len(moving)))] = True
        shifted = parent.coordinates + moving * rng.normal(0.0, size, len(moving))
        return round_sited(parent.combination, parent.cell, shifted)

    return find_settled((move() for _ in range(CHILDREN_TRIED)), axes.settle)


def redraw_site(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Draw the coordinates of one site of one parent anew."""
    (parent,) = parents
    columns = [column for column in parent.combination.columns if column.stop > column.start]
    if not columns:
        return None

    def redraw() -> SitedCrystal:
        column = columns[int(rng.integers(len(columns)))]
        coordinates = parent.coordinates.copy()
        coordinates[column] = rng.random(column.stop - column.start)
        return round_sited(parent.combination, parent.cell, coordinates)

    return find_settled((redraw() for _ in range(CHILDREN_TRIED)), axes.settle)


def change_cell(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Change the cell parameters of one parent by normal steps."""
    (parent,) = parents
    cell = axes.measure_cell(parent)

    def change() -> SitedCrystal:
        moved = {
            name: float(np.clip(value + rng.normal(0.0, STRAIN), 0.0, 1.0)) for name, value in cell.items()
        }
        return axes.make_sited(parent.combination, moved, parent.coordinates)

    return find_settled((change() for _ in range(CHILDREN_TRIED)), axes.settle)


def change_sites(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Draw a crystal of another combination with the volume per atom of one parent.

    Half of them keep its space group.
    """
    (parent,) = parents
    if axes.is_single:
        return None
    kinds = len(axes.rules.elements)
    per_atom = parent.crystal.volume / len(parent.crystal)
    own = axes.combinations.by_group[parent.combination.group]
    for _ in range(COMBINATIONS_TRIED):
        keep = rng.random() < 0.5
        chosen = own[int(rng.random() * len(own))] if keep else axes.combinations.draw(rng)
        if chosen == parent.combination:
            continue
        typical = per_atom * sum(chosen.count_atoms(kinds))
        found = draw_crystal(chosen, axes, rng, 2.0 * typical / sum(STRETCH))
        if found is not None:
            return found
    return None


def cross_sites(parents: Sequence[SitedCrystal], axes: SiteAxes, rng: Rng) -> SitedCrystal | None:
    """Cross two parents: sites of the first, each with the coordinates of either where both have the same ones.

    The cell lies between those of both. Where the combinations differ, the coordinates are the first parent's, and the cell
    takes from the second one what both lattice systems have.
    """
    first, second = parents
    near, far = axes.measure_cell(first), axes.measure_cell(second)

    def cross() -> SitedCrystal:
        share = rng.random()
        cell = {name: value + share * (far.get(name, value) - value) for name, value in near.items()}
        coordinates = first.coordinates
        if first.combination == second.combination:
            coordinates = _mix_coordinates(first, second, rng)
        cell = {name: float(np.clip(value, 0.0, 1.0)) for name, value in cell.items()}
        return axes.make_sited(first.combination, cell, coordinates)

    return find_settled((cross() for _ in range(CHILDREN_TRIED)), axes.settle)


def _mix_coordinates(first: SitedCrystal, second: SitedCrystal, rng: Rng) -> FloatArray:
    """Take the coordinates of each site from either parent, or from between them the short way round."""
    mixed = first.coordinates.copy()
    apart = second.coordinates - first.coordinates
    apart -= np.round(apart)
    for column in first.combination.columns:
        share = float(np.clip(rng.uniform(-0.5, 1.5), 0.0, 1.0))
        mixed[column] += share * apart[column]
    return mixed


MAKERS: Mapping[str, tuple[int, Maker]] = {
    "cell": (1, change_cell),
    "crossover": (2, cross_sites),
    "move": (1, move_sites),
    "redraw": (1, redraw_site),
    "sites": (1, change_sites),
    "start": (0, draw_start),
}


def list_makers(axes: SiteAxes) -> dict[str, tuple[int, WithRules[SitedCrystal, SiteAxes]]]:
    """Makers by name with their number of parents, without those that can make nothing."""
    idle = set()
    if axes.is_single:
        idle |= {"sites"}
    if not any(member.free for member in axes.combinations.members):
        idle |= {"move", "redraw"}
    return {
        name: (arity, WithRules(maker, axes)) for name, (arity, maker) in MAKERS.items() if name not in idle
    }
