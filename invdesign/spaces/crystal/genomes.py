"""Genomes of crystals: reading with words for every fault, and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible, nearest
from invdesign.spaces.crystal.rules import CrystalRules, is_fixed_cell, normalise
from invdesign.structures.geometry import Crystal, make_crystal

LOWER_TRIANGLE = ((0, 1, 1, 2, 2, 2), (0, 0, 1, 0, 1, 2))  # rows and columns of a genome's six numbers
KEYS = ("cell", "counts", "positions")
MAX_LENGTH = 1000.0  # Å, of a cell's edge (chosen)
MIN_SHAPE = 1e-6  # volume over the product of edges, below which a cell is flat (chosen)


def read_genome(genome: Genome, rules: CrystalRules) -> Crystal:
    """Read a genome as it is written, neither reduced nor checked against the rules.

    Raises:
        Infeasible: it is malformed; the message names the part.
    """
    wrong = sorted(set(genome) ^ set(KEYS))
    if wrong:
        raise Infeasible(f"a genome has the keys {', '.join(KEYS)}; {wrong[0]!r} is wrong")
    cell = _read_cell(genome["cell"])
    species = _read_counts(genome["counts"], rules)
    positions = _read_positions(genome["positions"], len(species))
    if rules.cell is not None and not is_fixed_cell(cell, rules):
        raise Infeasible("the cell must be the fixed one of the space")
    return make_crystal(cell, species, positions)


def read_canonical(genome: Genome, rules: CrystalRules) -> Crystal:
    """Read a genome in its normal form.

    Raises:
        Infeasible: it is malformed, or its cell is flat.
    """
    try:
        return normalise(read_genome(genome, rules), rules)
    except np.linalg.LinAlgError as error:
        raise Infeasible(f"the cell has no volume, or cannot be reduced: {genome['cell']!r:.200}") from error


def read_known(genome: Genome, rules: CrystalRules) -> Crystal:
    """Read a genome that the space wrote, without a look at its form.

    It takes a tenth of the time of `read_canonical`, which operators would spend on every parent.
    """
    cell = np.zeros((3, 3))
    cell[LOWER_TRIANGLE] = cast("list[float]", genome["cell"])
    counts = cast("Mapping[str, int]", genome["counts"])
    species = np.repeat(np.arange(len(rules.elements)), [counts.get(name, 0) for name in rules.elements])
    return Crystal(cell, species, np.array(genome["positions"], dtype=np.float64).reshape(-1, 3))


def write_genome(crystal: Crystal, rules: CrystalRules) -> dict[str, Json]:
    """Write a normal crystal as a genome."""
    counts = rules.count_atoms(crystal).tolist()
    return {
        "cell": crystal.cell[LOWER_TRIANGLE].tolist(),
        "counts": {name: count for name, count in zip(rules.elements, counts, strict=True) if count},
        "positions": cast("list[Json]", crystal.positions.tolist()),
    }


def build_design(crystal: Crystal, elements: Sequence[str]) -> Design:
    """Build the design of a crystal, with the structure `initial`.

    Args:
        crystal: of the space.
        elements: symbols, in the order of its species numbers.
    """
    from pymatgen.core import Lattice, Structure

    symbols = [elements[number] for number in crystal.species.tolist()]
    structure = Structure(Lattice(crystal.cell), symbols, crystal.positions)
    return Design(composition=structure.composition, structures={"initial": structure})


def _read_cell(value: Json) -> FloatArray:
    if not isinstance(value, list | tuple) or len(value) != 6 or not _are_numbers(value):
        raise Infeasible(f"cell must be six numbers, the lower triangle in Å, got {value!r:.200}")
    cell = np.zeros((3, 3))
    cell[LOWER_TRIANGLE] = np.asarray(value, dtype=np.float64)
    if not np.isfinite(cell).all() or np.abs(cell).max() > MAX_LENGTH:
        raise Infeasible(f"cell must be finite numbers up to {MAX_LENGTH:g} Å, got {value!r:.200}")
    edges = float(np.prod(np.linalg.norm(cell, axis=1)))
    if abs(float(np.prod(np.diag(cell)))) <= MIN_SHAPE * edges:
        raise Infeasible(f"the cell has no volume: {value!r:.200}")
    return cell


def _read_counts(value: Json, rules: CrystalRules) -> IntArray:
    """Species numbers of all atoms, shape (n,), in the order of the elements."""
    if not isinstance(value, Mapping) or not value:
        raise Infeasible(f"counts must be numbers of atoms by element, got {value!r:.200}")
    for name, count in value.items():
        if name not in rules.elements:
            hint = nearest(str(name), rules.elements)
            raise Infeasible(
                f"{name!r:.40} is no element of the space ({', '.join(rules.elements)}). {hint}".strip()
            )
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= rules.most_atoms:
            raise Infeasible(
                f"counts must be whole numbers from 0 to {rules.most_atoms}, got {count!r:.40} of {name}"
            )
    numbers = [value.get(name, 0) for name in rules.elements]
    return np.repeat(np.arange(len(rules.elements)), cast("list[int]", numbers))


def _read_positions(value: Json, size: int) -> FloatArray:
    if not isinstance(value, list | tuple) or len(value) != size:
        found = f"{len(value)}" if isinstance(value, list | tuple) else f"{value!r:.200}"
        raise Infeasible(f"positions must be one per atom: {size}, got {found}")
    for row in value:
        if not isinstance(row, list | tuple) or len(row) != 3 or not _are_numbers(row):
            raise Infeasible(f"a position must be three fractional coordinates, got {row!r:.200}")
    positions = np.asarray(value, dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(positions).all() or np.abs(positions).max(initial=0.0) > MAX_LENGTH:
        raise Infeasible(f"positions must be finite fractional coordinates up to {MAX_LENGTH:g}")
    return positions


def _are_numbers(values: list[Json] | tuple[Json, ...]) -> bool:
    """True if all are numbers of a size that floats hold, not booleans."""
    return all(type(item) is float or (type(item) is int and abs(item) < 10**9) for item in values)
