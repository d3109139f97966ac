"""Rules of a space from its settings, with words for settings that leave nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.spaces.crystal.cohesion import find_reach
from invdesign.spaces.crystal.compositions import (
    Compositions,
    describe_bounds,
    list_compositions,
    list_formula_multiples,
    pack_spheres,
)
from invdesign.spaces.crystal.rules import CrystalRules
from invdesign.structures.conditions import MAX_ATOMS, write_counts
from invdesign.structures.distances import (
    MAX_DISTANCE,
    find_shortest_distances,
    find_start_distances,
    split_pair,
)
from invdesign.structures.geometry import DECIMALS
from invdesign.structures.volumes import Volumes, find_charges

# Compositions of which each is checked for packing where that takes an estimate of its volume, half a second (chosen).
MAX_ESTIMATED = 500

States = Mapping[str, Sequence[int]]


def plan_formula(formula: Mapping[str, int], units: tuple[int, int], states: States) -> Compositions:
    """List cells of a formula.

    Raises:
        ValueError: charges do not balance, or a cell is too large.
    """
    size = sum(formula.values())
    if units[1] * size > MAX_ATOMS:
        raise ValueError(
            f"formula_units up to {units[1]} give {units[1] * size} atoms; at most {MAX_ATOMS} are allowed"
        )
    row = np.array(list(formula.values()), dtype=np.int64)
    found = list_formula_multiples(row, units)
    if not states:
        return found
    own = [states[name] for name in formula]
    balanced = [
        len(list_compositions([(n, n) for n in counts], (sum(counts), sum(counts)), own)) > 0
        for counts in found.rows.tolist()
    ]
    if not any(balanced):
        raise ValueError(
            f"the charges of {write_counts(formula)} balance at no number of formula units with "
            f"{_write_states(states)}; correct oxidation_states or leave them out"
        )
    return found.select(np.array(balanced))


def plan_elements(
    counts: Mapping[str, tuple[int, int]], atoms: tuple[int, int], states: States
) -> Compositions:
    """List cells of a chemical system.

    Args:
        counts: least and largest number of atoms by element, sorted.
        atoms: least and largest number of all atoms.
        states: oxidation states by element; empty asks for no balance.

    Raises:
        ValueError: no composition is within the bounds, or none is neutral, or there are too many.
    """
    if atoms[1] > MAX_ATOMS:
        raise ValueError(f"atoms up to {atoms[1]} are too many; at most {MAX_ATOMS} are allowed")
    bounds = describe_bounds(list(counts), counts, atoms)
    least, most = (sum(pair[end] for pair in counts.values()) for end in (0, 1))
    if least > atoms[1] or most < atoms[0]:
        raise ValueError(
            f"no cell has {bounds}: the counts of the elements add up to {least} to {most} atoms"
        )
    own = [states[name] for name in counts] if states else None
    found = list_compositions(list(counts.values()), atoms, own)
    if not len(found):
        raise ValueError(
            f"charges balance at no composition of {bounds} with {_write_states(states)}; "
            "allow other counts or oxidation_states"
        )
    return found


def build_rules(
    elements: tuple[str, ...],
    compositions: Compositions,
    *,
    states: States,
    volume_per_atom: tuple[float, float] | None,
    min_distances: Mapping[str, float],
    cell: FloatArray | None,
    space_groups: tuple[int, ...],
) -> CrystalRules:
    """Build the rules of a space.

    Args:
        elements: k symbols, sorted.
        compositions: allowed numbers of atoms.
        states: oxidation states by element, where given.
        volume_per_atom: bounds in Å³, where given.
        min_distances: Å by pair of elements, where given.
        cell: shape (3, 3), the fixed cell, where there is one.
        space_groups: for symmetric starts.

    Raises:
        ValueError: a pair is none of the elements, or the atoms cannot be packed.
    """
    _check_pairs(elements, min_distances)
    size = None if cell is None else abs(float(np.linalg.det(cell)))
    volumes = Volumes(elements, dict(states), volume_per_atom, size)
    shortest = find_shortest_distances(elements, min_distances)
    kept = _keep_packable(compositions, volumes, shortest)
    charges = _find_common_charges(elements, compositions, states)
    return CrystalRules(
        elements=elements,
        compositions=kept,
        volumes=volumes,
        shortest=shortest,
        room=find_start_distances(elements, shortest, charges),
        reach=find_reach(elements),
        cell=cell,
        space_groups=space_groups,
    )


def _find_common_charges(
    elements: Sequence[str], compositions: Compositions, states: States
) -> Mapping[str, float] | None:
    """Charges of all elements where they are the same in all compositions, else None."""
    if states and all(len(own) == 1 and own[0] for own in states.values()):
        return {name: float(own[0]) for name, own in states.items()}
    if not compositions.is_single:
        return None
    row = compositions.rows[0].tolist()
    return find_charges(dict(zip(elements, row, strict=True)), states)


def _check_pairs(elements: Sequence[str], distances: Mapping[str, float]) -> None:
    taken: dict[frozenset[str], str] = {}
    for pair, distance in distances.items():
        names = split_pair(pair)
        strange = [name for name in names if name not in elements]
        if strange:
            raise ValueError(
                f"min_distances name {strange[0]}, which is none of the elements {', '.join(elements)}"
            )
        if frozenset(names) in taken:
            raise ValueError(f"min_distances give {taken[frozenset(names)]} and {pair}, one pair of elements")
        taken[frozenset(names)] = pair
        if not 0.0 < distance <= MAX_DISTANCE:
            raise ValueError(
                f"min_distances of {pair} must be above 0 and at most {MAX_DISTANCE:g} Å, got {distance:g}"
            )


def _keep_packable(compositions: Compositions, volumes: Volumes, shortest: FloatArray) -> Compositions:
    """Leave out compositions whose atoms cannot be packed into the largest volume.

    Raises:
        ValueError: none can be.
    """
    estimated = volumes.cell is None and volumes.per_atom is None
    rows = compositions.rows
    needed = pack_spheres(rows, shortest)
    if estimated and len(rows) > MAX_ESTIMATED:
        fits = (volumes.estimate_range(row).high >= volume for row, volume in zip(rows, needed, strict=True))
        if any(fits):
            return compositions
        kept = np.zeros(len(rows), dtype=np.bool_)
    else:
        kept = volumes.largest(rows) >= needed
    if kept.any():
        return compositions.select(kept)
    size = rows.sum(axis=1)
    best = int((needed / size).argmin())
    largest = float(volumes.largest(rows[best : best + 1])[0]) / size[best]
    where = "the fixed cell has" if volumes.cell is not None else "the largest volume is"
    raise ValueError(
        f"the atoms cannot be packed: at their smallest distances they need {needed[best] / size[best]:.3g} Å³ per atom "
        f"or more, and {where} {largest:.3g}; lower min_distances or allow larger volumes"
    )


def read_cell(value: Sequence[float] | Sequence[Sequence[float]]) -> FloatArray:
    """Fixed cell as a lower triangle, shape (3, 3), Å.

    Args:
        value: three lengths in Å and three angles in degrees, or three vectors as rows in Å.

    Raises:
        ValueError: it has no volume.
    """
    numbers = np.array(value, dtype=np.float64)
    if numbers.shape == (6,):
        if not ((numbers[:3] > 0.0).all() and ((numbers[3:] > 0.0) & (numbers[3:] < 180.0)).all()):
            raise ValueError(
                f"cell needs lengths above 0 Å and angles between 0 and 180 degrees, got {list(value)}"
            )
        alpha, beta, gamma = np.cos(np.radians(numbers[3:]))
        shape = np.array([[1.0, gamma, beta], [gamma, 1.0, alpha], [beta, alpha, 1.0]])
        metric = shape * numbers[:3, None] * numbers[None, :3]
    else:
        metric = numbers @ numbers.T
    try:
        cell = np.linalg.cholesky(metric)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"cell has no volume: {list(value)}") from error
    if not np.prod(np.diag(cell)) > 1e-3 * np.prod(np.linalg.norm(cell, axis=1)):
        raise ValueError(f"cell is flat: {list(value)}")
    return np.asarray(np.round(cell, DECIMALS) + 0.0, dtype=np.float64)


def _write_states(states: States) -> str:
    """Write oxidation states: `Li +1, O -2`."""
    return ", ".join(
        f"{name} {' or '.join(f'{state:+d}' for state in own)}" for name, own in sorted(states.items())
    )
