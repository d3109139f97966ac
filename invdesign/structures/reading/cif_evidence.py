"""Evidence of a CIF beside its sites, and checks of a reading against it.

The evidence is formula, Z, density and multiplicities; distances are checked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np

from invdesign.structures.reading.cif_formula import Formula, compare_formula, write_formula
from invdesign.structures.reading.cif_sites import Contents, SiteRow
from invdesign.structures.reading.cif_symmetry import Array
from invdesign.structures.reading.raw import RawSite

# Relative; chosen: measured densities and deuterated samples differ by less, wrong settings by a factor.
DENSITY_TOLERANCE = 0.15
# Of the sum of two covalent radii (Cordero et al., Dalton Trans. 2832 (2008)); chosen: C=O has 0.79, U=O 0.67.
MIN_BOND_SHARE = 0.6
MIN_ATOM_VOLUME = 4.0  # Å³ per atom without hydrogen; chosen: diamond has 5.7
_DIATOMIC = {"H", "N", "O", "F", "Cl", "Br", "I"}  # Z may count molecules
_SEARCH_RADIUS = 3.0  # Å: no implausible pair is farther apart
_MAX_COMPARED_ATOMS = 3_000  # atoms of a cell whose distances are compared to choose between settings; chosen
_DALTON_DENSITY = 1.66053906660  # g/cm³ of one dalton per Å³


@dataclass(frozen=True, slots=True)
class Evidence:
    """Statements of one block about its crystal.

    Attributes:
        formula: formula sum, or another formula where there is no sum.
        tag: tag of the formula.
        units: formula units in the cell.
        density: g/cm³.
    """

    formula: Formula | None
    tag: str
    units: float | None
    density: float | None


def find_formula_fault(evidence: Evidence, contents: Contents) -> str:
    """Contradiction between formula and cell, or an empty text.

    Args:
        evidence: statements of the file.
        contents: atoms of the cell.
    """
    formula = evidence.formula
    if formula is None:
        return ""
    comparison = compare_formula(formula, contents.amounts, contents.uncertain)
    if comparison.agrees:
        return ""
    found = write_formula(contents.amounts)
    if comparison.missing:
        names = " and ".join("hydrogen (H)" if element == "H" else element for element in comparison.missing)
        return (
            f"{names} has no positions: {evidence.tag} is {formula.text!r}, the sites give {found!r}; "
            f"add the missing sites, or correct or remove {evidence.tag} if it is wrong"
        )
    return (
        f"{evidence.tag} is {formula.text!r}, the sites give {found!r}; "
        f"correct the sites, their occupancies or the symmetry, or correct or remove {evidence.tag}"
    )


def find_units_fault(evidence: Evidence, contents: Contents) -> str:
    """Contradiction between Z and cell, or an empty text.

    Args:
        evidence: statements of the file.
        contents: atoms of the cell.
    """
    if evidence.formula is None or evidence.units is None:
        return ""
    comparison = compare_formula(evidence.formula, contents.amounts, contents.uncertain)
    # pymatgen writes the sum of the whole cell beside the Z of the reduced formula.
    units = [comparison.units, comparison.units * evidence.formula.divisor]
    if len(contents.amounts) == 1 and contents.amounts.keys() <= _DIATOMIC:
        units.append(units[1] / 2)
    if not comparison.agrees or any(abs(number / evidence.units - 1) < 0.05 for number in units):
        return ""
    return f"the file states Z = {evidence.units:g}, the cell holds {comparison.units:.4g} formula units"


def find_density_fault(evidence: Evidence, contents: Contents, volume: float) -> str:
    """Contradiction between stated density and cell, or an empty text.

    Args:
        evidence: statements of the file.
        contents: atoms of the cell.
        volume: volume of the cell, Å³.
    """
    if evidence.density is None or evidence.density <= 0:
        return ""
    mass = sum(gemmi.Element(element).weight * count for element, count in contents.amounts.items())
    density = mass / volume * _DALTON_DENSITY
    if abs(density / evidence.density - 1) < DENSITY_TOLERANCE:
        return ""
    return f"the file states a density of {evidence.density:g} g/cm³, the cell has {density:.3g}"


def find_multiplicity_fault(rows: Sequence[SiteRow], contents: Contents) -> str:
    """Contradiction between stated and found multiplicities, or an empty text.

    SHELXL-97 wrote the order of the site symmetry in the column of multiplicities.

    Args:
        rows: rows of the file.
        contents: atoms of the cell, from the same rows.
    """
    stated = [
        (row, row.multiplicity, found, order)
        for row, found, order in zip(rows, contents.multiplicities, contents.stabilizers, strict=True)
        if row.multiplicity is not None
    ]
    wrong = [(row, value, found) for row, value, found, _ in stated if value != found]
    if not wrong or all(value == order for _, value, _, order in stated):
        return ""
    row, value, found = wrong[0]
    return (
        f"site {row.label}: the file states multiplicity {value}, its coordinates give {found}; "
        "correct the coordinates, the multiplicity or the symmetry"
    )


def find_geometry_fault(contents: Contents, lattice: Array) -> str:
    """Describe an implausible volume or distance.

    Empty if there is none.

    Args:
        contents: atoms of the cell.
        lattice: rows of the cell, Å.
    """
    volume = abs(float(np.linalg.det(lattice)))
    heavy = sum(count for element, count in contents.amounts.items() if element != "H")
    if heavy and volume / heavy < MIN_ATOM_VOLUME:
        return f"{volume / heavy:.2f} Å³ per atom are too few"
    if len(contents.sites) > _MAX_COMPARED_ATOMS:
        return ""
    return _find_close_pair(contents.sites, lattice)


def _find_close_pair(sites: Sequence[RawSite], lattice: Array) -> str:
    """Describe the worst pair of sites that are too close.

    Empty if there is none.
    """
    from scipy.spatial import cKDTree

    positions = np.array([site.position for site in sites])
    radii = np.array([_mean_radius(site.occupancies) for site in sites])
    filled = np.array([sum(site.occupancies.values()) for site in sites])
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")).reshape(3, -1).T
    images = (positions[None] + shifts[:, None]).reshape(-1, 3) @ lattice
    tree = cKDTree(images)
    distances, neighbours = tree.query(
        positions @ lattice, k=range(2, 10), distance_upper_bound=_SEARCH_RADIUS
    )
    worst, message = MIN_BOND_SHARE, ""
    for k, (row, found) in enumerate(zip(distances, neighbours, strict=True)):
        for distance, index in zip(row, found, strict=True):
            other = int(index) % len(sites)
            # Partly occupied sites that are never filled together may be close.
            if not np.isfinite(distance) or filled[k] + filled[other] <= 1.001:
                continue
            ratio = float(distance / (radii[k] + radii[other]))
            if ratio < worst:
                worst = ratio
                message = f"{sites[k].label} and {sites[other].label} would be {distance:.2f} Å apart"
    return message


def _mean_radius(occupancies: Mapping[str, float]) -> float:
    total = sum(occupancies.values())
    return sum(gemmi.Element(element).covalent_r * value for element, value in occupancies.items()) / total


def are_same_crystal(one: Contents, two: Contents) -> bool:
    """True if `one` and `two` differ at most by a shift of origin."""
    from scipy.spatial import cKDTree

    if len(one.sites) != len(two.sites) or write_formula(one.amounts) != write_formula(two.amounts):
        return False
    kinds_one, kinds_two = ([_describe_site(site) for site in c.sites] for c in (one, two))
    if sorted(kinds_one) != sorted(kinds_two):
        return False
    rarest = min(set(kinds_one), key=kinds_one.count)
    first = np.array([s.position for s in one.sites])
    second = np.array([s.position for s in two.sites])
    kinds = np.array([sorted(set(kinds_one)).index(kind) for kind in kinds_two])
    expected = np.array([sorted(set(kinds_one)).index(kind) for kind in kinds_one])
    tree = cKDTree(second % 1.0 % 1.0, boxsize=1.0)
    anchor = first[kinds_one.index(rarest)]
    for k, kind in enumerate(kinds_two):
        if kind != rarest:
            continue
        moved = (first + second[k] - anchor) % 1.0 % 1.0
        distances, found = tree.query(moved)
        if (
            distances.max() < 1e-3
            and len(set(found.tolist())) == len(found)
            and (kinds[found] == expected).all()
        ):
            return True
    return False


def _describe_site(site: RawSite) -> str:
    return " ".join(f"{element}{value:.4f}" for element, value in sorted(site.occupancies.items()))
