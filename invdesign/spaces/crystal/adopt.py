"""Crystals from structures: relaxed, seeded or generated ones that a space takes as its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import IntArray
from invdesign.errors import Infeasible
from invdesign.spaces.crystal.rules import CrystalRules, find_fault, normalise
from invdesign.spaces.crystal.supercells import repeat_axis
from invdesign.structures.geometry import Crystal, make_crystal, to_lower_triangle
from invdesign.structures.symmetry import call_spglib

if TYPE_CHECKING:
    from pymatgen.core import Structure

PRIMITIVE_TOLERANCE = 0.05  # Å, of translations that make a cell smaller (chosen)
MAX_PRIMITIVE_ATOMS = 500  # atoms of a structure whose primitive cell is sought (chosen)
# By argument of pymatgen's `Lattice.find_mapping`: relative lengths and degrees by which a cell may miss the fixed one (chosen).
FIXED_CELL_TOLERANCES = {"ltol": 1e-3, "atol": 0.1}


def adopt_structure(structure: Structure, parent: Crystal | None, rules: CrystalRules) -> Crystal:
    """Normal crystal of a structure.

    Args:
        structure: relaxed, seeded or generated, in any cell.
        parent: the crystal it was relaxed from; None where there is none.
        rules: of the space.

    Raises:
        Infeasible: the structure is none of the space's, with the reason.
    """
    crystal = _read_structure(structure, rules)
    if parent is not None:
        _check_atoms_kept(crystal, parent, rules)
    try:
        fitted = normalise(_fit_cell(_fit_size(crystal, rules), rules), rules)
    except np.linalg.LinAlgError as error:
        raise Infeasible("the cell of the structure collapsed, or cannot be reduced") from error
    fault = find_fault(fitted, rules)
    if fault:
        raise Infeasible(fault)
    return fitted


def _read_structure(structure: Structure, rules: CrystalRules) -> Crystal:
    """Cell, species and positions of an ordered structure, as they are."""
    if not len(structure):
        raise Infeasible("the structure has no atoms")
    if not structure.is_ordered:
        raise Infeasible("the structure has partly occupied sites; a crystal needs one element on each site")
    symbols = [site.specie.symbol for site in structure]
    strange = sorted(set(symbols) - set(rules.elements))
    if strange:
        raise Infeasible(
            f"the structure holds {', '.join(strange)}; the space has {', '.join(rules.elements)} alone"
        )
    cell = np.array(structure.lattice.matrix, dtype=np.float64)
    positions = np.array(structure.frac_coords, dtype=np.float64)
    if not np.isfinite(cell).all() or not np.isfinite(positions).all():
        raise Infeasible("the structure holds numbers that are not finite")
    numbers = {name: number for number, name in enumerate(rules.elements)}
    return make_crystal(cell, [numbers[name] for name in symbols], positions)


def _check_atoms_kept(crystal: Crystal, parent: Crystal, rules: CrystalRules) -> None:
    """Refuse a change of the formula; another size of the cell is none."""
    counts, before = rules.count_atoms(crystal), rules.count_atoms(parent)
    if (counts * before.sum() != before * counts.sum()).any():
        raise Infeasible(
            f"the atoms changed: {rules.write_counts(before)} became {rules.write_counts(counts)}"
        )


def _fit_size(crystal: Crystal, rules: CrystalRules) -> Crystal:
    """Describe a crystal in a cell of a size that the space allows: its own, a multiple, or one of the primitive cell.

    Raises:
        Infeasible: no such cell is found.
    """
    counts = rules.count_atoms(crystal)
    if rules.compositions.allows(counts):
        return crystal
    if rules.cell is None:
        candidates = [crystal]
        if len(crystal) <= MAX_PRIMITIVE_ATOMS:
            candidates += filter(None, [_find_primitive(crystal)])
        for candidate in candidates:
            repeats = _find_repeats(rules.count_atoms(candidate), rules)
            if repeats:
                return repeat_cell(candidate, repeats)
    raise Infeasible(f"the space does not allow {rules.write_counts(counts)} in a cell, nor multiples of it")


def _find_repeats(counts: IntArray, rules: CrystalRules) -> int:
    """Smallest multiple of a composition that the space allows; 0 if there is none."""
    most = int(rules.compositions.rows.sum(axis=1).max()) // int(counts.sum())
    return next((n for n in range(1, most + 1) if rules.compositions.allows(n * counts)), 0)


def _find_primitive(crystal: Crystal) -> Crystal | None:
    found = call_spglib(
        "standardize_cell",
        (crystal.cell, crystal.positions, crystal.species + 1),
        to_primitive=True,
        no_idealize=True,
        symprec=PRIMITIVE_TOLERANCE,
    )
    if found is None:
        return None
    cell, positions, numbers = found
    return make_crystal(cell, np.asarray(numbers, dtype=np.int64) - 1, positions)


def repeat_cell(crystal: Crystal, times: int) -> Crystal:
    """Repeat a cell; each prime factor of `times` goes along the edge that is then shortest."""
    for factor in _factorise(times):
        crystal = repeat_axis(crystal, int(np.linalg.norm(crystal.cell, axis=1).argmin()), factor)
    return crystal


def _factorise(number: int) -> list[int]:
    """Prime factors of a number, large ones first."""
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found[::-1]


def _fit_cell(crystal: Crystal, rules: CrystalRules) -> Crystal:
    """Describe a crystal in the fixed cell, if there is one.

    Raises:
        Infeasible: its cell is another one.
    """
    if rules.cell is None:
        return crystal
    turned = to_lower_triangle(crystal)
    slack = FIXED_CELL_TOLERANCES["ltol"] * float(np.linalg.norm(rules.cell, axis=1).max())
    if np.abs(turned.cell - rules.cell).max() <= slack:
        return Crystal(rules.cell, turned.species, turned.positions)
    from pymatgen.core import Lattice

    found = Lattice(rules.cell).find_mapping(Lattice(turned.cell), **FIXED_CELL_TOLERANCES)
    mapping = (
        None
        if found is None
        else Lattice(turned.cell).find_mapping(Lattice(rules.cell), **FIXED_CELL_TOLERANCES)
    )
    if mapping is None:
        raise Infeasible("the cell of the structure is not the fixed one of the space")
    # Rows of the mapping are the fixed cell's vectors in those of the structure's.
    positions = turned.positions @ np.linalg.inv(mapping[2].astype(np.float64))
    return make_crystal(rules.cell, turned.species, positions)
