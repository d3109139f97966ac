"""Random crystals of any space group, and their CIF as programs write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from invdesign.structures.reading.raw import RawCrystal

Array = NDArray[np.float64]
SETTINGS = list(gemmi.spacegroup_table())
ELEMENTS = ("Li", "O", "Fe", "Cl")


@dataclass(frozen=True)
class Crystal:
    """A crystal with its asymmetric unit.

    Attributes:
        setting: of the space group.
        cell: edges (Å) and angles (degrees).
        rows: element and position of each site, on its special position to all digits.
        atoms: element and position of all atoms of the cell.
    """

    setting: gemmi.SpaceGroup
    cell: tuple[float, ...]
    rows: Sequence[tuple[str, Array]]
    atoms: Sequence[tuple[str, Array]]

    @property
    def amounts(self) -> dict[str, int]:
        """Atoms of the cell by element."""
        elements = [element for element, _ in self.atoms]
        return {element: elements.count(element) for element in dict.fromkeys(elements)}


def make_crystal(setting: gemmi.SpaceGroup, seed: int, special: int = 2, general: int = 1) -> Crystal:
    """A random crystal whose atoms are at least 1.7 Å apart, as in real ones."""
    rng = np.random.default_rng(seed)
    operations = list(setting.operations())
    rotations = np.array([op.rot for op in operations]) / gemmi.Op.DEN
    translations = np.array([op.tran for op in operations]) / gemmi.Op.DEN
    cell, lattice = _make_cell(rotations, rng, 6.0 + (60 * len(operations)) ** (1 / 3))
    rows: list[tuple[str, Array]] = []
    atoms: list[tuple[str, Array]] = []
    for k in range(special + general):
        for _ in range(20):
            position = rng.uniform(0.03, 0.97, 3)
            if k < special:
                position = _find_special(position, rotations, translations, rng)
            orbit = _list_images(position, rotations, translations, lattice)
            element = ELEMENTS[k % len(ELEMENTS)]
            if _is_sparse([*[p for _, p in atoms], *orbit], lattice):
                rows.append((element, position))
                atoms += [(element, p) for p in orbit]
                break
    return Crystal(setting, cell, rows, atoms)


def _make_cell(rotations: Array, rng: np.random.Generator, size: float) -> tuple[tuple[float, ...], Array]:
    """A random cell of the symmetry: a random metric, averaged over the rotations."""
    edges = np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))
    metric = np.einsum("nji,jk,nkl->il", rotations, edges @ edges.T, rotations) / len(rotations)
    metric *= (size / np.linalg.det(metric) ** (1 / 6)) ** 2
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))
    cell = tuple(round(float(v), 5) for v in (*lengths, *angles))
    return cell, np.asarray(np.linalg.cholesky(metric))


def _find_special(position: Array, rotations: Array, translations: Array, rng: np.random.Generator) -> Array:
    """The nearest position that a random operation, and all its powers, keep."""
    k = int(rng.integers(len(rotations)))
    points, moved = [position], position
    for _ in range(6):
        moved = rotations[k] @ moved + translations[k]
        moved = moved - np.rint(moved - position)
        points.append(moved)
    mean = position
    for _ in range(60):
        image = rotations[k] @ mean + translations[k]
        image -= np.rint(image - mean)
        mean = (mean + image) / 2
    kept = rotations[k] @ mean + translations[k] - mean
    return mean % 1.0 if np.abs(kept - np.rint(kept)).max() < 1e-9 else position


def _list_images(position: Array, rotations: Array, translations: Array, lattice: Array) -> list[Array]:
    images = (rotations @ position + translations) % 1.0
    delta = images[:, None] - images[None]
    same = np.linalg.norm((delta - np.rint(delta)) @ lattice, axis=-1) < 1e-3
    return list(images[np.argmax(same, axis=1) == np.arange(len(images))])


def _is_sparse(points: Sequence[Array], lattice: Array, least: float = 1.7) -> bool:
    array = np.array(points)
    delta = array[:, None] - array[None]
    distances = np.linalg.norm((delta - np.rint(delta)) @ lattice, axis=-1)
    return bool((distances + 10 * np.eye(len(array)) > least).all())


def write_cif(
    crystal: Crystal,
    *,
    digits: int = 6,
    name: str | None = None,
    operations: bool = True,
    formula: bool = True,
    extra: str = "",
) -> str:
    """CIF of a crystal, coordinates to so many digits, symmetry as operations, as a name, or both."""
    tags = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_made", *(f"_cell_{tag} {value}" for tag, value in zip(tags, crystal.cell, strict=True))]
    if formula:
        lines.append(f"_chemical_formula_sum '{write_sum(crystal.amounts)}'")
    if name is not None:
        lines.append(f"_symmetry_space_group_name_H-M '{name}'")
    if operations:
        triplets = [f"'{op.triplet()}'" for op in crystal.setting.operations()]
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *triplets]
    lines += [
        "loop_",
        "_atom_site_label",
        "_atom_site_type_symbol",
        *(f"_atom_site_fract_{axis}" for axis in "xyz"),
    ]
    for k, (element, position) in enumerate(crystal.rows):
        numbers = " ".join(f"{value:.{digits}f}" for value in position)
        lines.append(f"{element}{k + 1} {element} {numbers}")
    return "\n".join([*lines, extra]) + "\n"


def write_sum(amounts: Mapping[str, float]) -> str:
    """Formula sum."""
    return " ".join(f"{element}{amount:g}" for element, amount in sorted(amounts.items()))


def count_atoms(crystal: RawCrystal) -> dict[str, float]:
    """Amounts of a crystal by element, to six digits."""
    amounts: dict[str, float] = {}
    for site in crystal.sites:
        for element, value in site.occupancies.items():
            amounts[element] = amounts.get(element, 0.0) + value
    return {element: round(value, 6) for element, value in amounts.items()}


def find_deviation(read: RawCrystal, crystal: Crystal) -> float:
    """Largest distance (Å) from an atom that was read to the nearest atom of its element in the crystal."""
    lattice = np.array(read.lattice)
    worst = 0.0
    for site in read.sites:
        (element,) = site.occupancies
        targets = np.array([position for other, position in crystal.atoms if other == element])
        delta = targets - np.array(site.position)
        worst = max(worst, float(np.linalg.norm((delta - np.rint(delta)) @ lattice, axis=1).min()))
    return worst
