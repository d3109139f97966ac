"""Sites of the working ion in a host.

Those it holds, and the empty ones it could enter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.charges import assign_oxidation_states, is_metallic
from invdesign.structures.distances import covalent_radius
from invdesign.structures.formulas import write_formula
from invdesign.structures.radii import ionic_radius
from invdesign.structures.symmetry import symmetry_dataset
from invdesign.structures.voids import find_voronoi_corners, list_atom_images

if TYPE_CHECKING:
    from pymatgen.core import Structure

REACH = 7.0  # Å around the cell within which atoms count; chosen: no void of a host is as wide
SOFTNESS = 0.3  # Å, decay of the repulsion between ions: Born and Mayer, Z. Phys. 75, 1 (1932), 0.345 Å for alkali halides
PROBE_REACH = (
    6.0  # Å from a place within which atoms repel; chosen: farther ones add less than 1e-5 of the repulsion
)
PROBE_SLOPE = 1e-6  # 1/Å, of the logarithm of the repulsion at a minimum; chosen
LARGEST_STEP, LEAST_BEND, MAX_PROBE_STEPS = 0.1, 0.1, 100  # Å, 1/Å^2, and a number of Newton steps; chosen
LARGEST_GAIN = 0.3  # Å, by which a descent widens the room at most; chosen
# Share of the ion's radius that an empty site must leave free; chosen: a host widens when it takes ions up.
FREE_SHARE = 0.5
MERGED = 0.75  # Å; nearer empty sites are one; chosen, half of the shortest distance of two ions
OWN_SITE = 1.0  # Å; a void nearer to an ion is its own site; chosen
MAX_DENOMINATOR = 24  # of shares of ions; chosen
SHARE_TOLERANCE = 1e-3  # of a share: 0.333 is a third; chosen
MAX_ATOMS = 240  # of a supercell; chosen: a relaxation with CHGNet then takes minutes


class InsertionError(InvdesignError):
    """A working ion cannot be removed from a structure, or inserted into it, as asked."""


@dataclass(frozen=True, eq=False)
class IonSites:
    """A host with m sites of the working ion.

    Attributes:
        host: all but the working ion.
        ion: symbol.
        positions: shape (m, 3), fractional: the sites that hold an ion first.
        occupied: number of sites that hold an ion in the given structure.
    """

    host: Structure
    ion: str
    positions: FloatArray
    occupied: int

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def host_amounts(self) -> dict[str, float]:
        """Atoms of the host by element."""
        return {str(k): float(n) for k, n in self.host.composition.get_el_amt_dict().items()}

    @property
    def unit_count(self) -> int:
        """Number of ions that a share of 1 means.

        It is that of the given structure, or one per formula unit of a host that holds none.
        """
        return self.occupied or int(self.host.composition.get_reduced_composition_and_factor()[1])

    def count_ions(self, share: float) -> Fraction:
        """Number of ions at a `share`, which the cell can hold if it is whole."""
        near = Fraction(share).limit_denominator(MAX_DENOMINATOR)
        exact = (
            near if abs(float(near) - share) <= SHARE_TOLERANCE else Fraction(share).limit_denominator(1000)
        )
        return exact * self.unit_count

    def repeat(self, cells: tuple[int, int, int]) -> IonSites:
        """Repeat the cell along its vectors.

        Args:
            cells: repetitions along each.
        """
        if cells == (1, 1, 1):
            return self
        host = self.host.copy()
        host.make_supercell(cells)
        shifts = np.array(
            [(i, j, k) for i in range(cells[0]) for j in range(cells[1]) for k in range(cells[2])]
        )
        # Site after site within each cell would mix occupied and empty ones, so every site is repeated in its place.
        positions = (self.positions[:, None, :] + shifts[None, :, :]).reshape(-1, 3) / np.array(cells)
        return IonSites(host, self.ion, positions, self.occupied * len(shifts))

    def fill(self, chosen: Sequence[int]) -> Structure:
        """Build the crystal with ions on `chosen` sites; the host's sites come first."""
        from pymatgen.core import Structure

        return Structure(
            self.host.lattice,
            [*self.host.species, *[self.ion] * len(chosen)],
            np.vstack([self.host.frac_coords, self.positions[list(chosen)]]),
        )


def find_ion_sites(structure: Structure, ion: str, *, empty: bool) -> IonSites:
    """Find the sites of the working ion.

    Args:
        structure: ordered.
        ion: the working ion.
        empty: True to look for empty sites too.

    Raises:
        InsertionError: the structure is disordered, or nothing but the ion.
    """
    from pymatgen.core import Structure

    formula = write_formula(structure.composition)
    if not structure.is_ordered:
        raise InsertionError(
            f"{formula} has partly occupied sites, and ions are removed and inserted one by one: give an ordered occupation"
        )
    own = [k for k, site in enumerate(structure) if site.specie.symbol == ion]
    rest = [k for k in range(len(structure)) if k not in set(own)]
    if not rest:
        raise InsertionError(
            f"{formula} is nothing but {ion}: without it no host is left; give a compound of {ion} with another element"
        )
    host = Structure(
        structure.lattice,
        [structure[k].specie.symbol for k in rest],
        [structure[k].frac_coords for k in rest],
    )
    positions = np.asarray(structure.frac_coords[own], dtype=np.float64).reshape(-1, 3)
    if empty:
        radii = find_radii(structure, ion)
        found = find_empty_sites(host, positions, radii, FREE_SHARE * radii[ion])
        positions = np.vstack([positions, found])
    return IonSites(host, ion, positions, len(own))


def find_radii(structure: Structure, ion: str) -> dict[str, float]:
    """Radius of each element in Å: ionic where there are ions, else covalent.

    Args:
        structure: whose elements are asked for.
        ion: the working ion, whose radius is ionic.
    """
    amounts = {str(k): float(n) for k, n in structure.composition.get_el_amt_dict().items()}
    symbols = {*amounts, ion}
    try:
        states: Mapping[str, float] = assign_oxidation_states(tuple(sorted(amounts.items())))
    except ValueError:  # an element without any known state
        states = {}
    if is_metallic(amounts) or not all(states.get(name) for name in amounts):
        found = {name: covalent_radius(name) for name in symbols}
    else:
        found = {name: ionic_radius(name, states[name]) for name in amounts}
    return {**found, ion: ionic_radius(ion, 1.0)}


def find_empty_sites(
    host: Structure, held: FloatArray, radii: Mapping[str, float], room: float
) -> FloatArray:
    """Find the places of a host where an ion has most room.

    Corners of the atoms' Voronoi cells are the starts of descents in the repulsion sum(exp(-(d - r) / 0.3 Å)) of the host's ions;
    its minima are the sites, where there is room.

    Args:
        host: n atoms.
        held: shape (k, 3), fractional: sites that are known, and not given again.
        radii: Å, by element.
        room: Å, least distance to the nearest surface of an atom; negative where ions may overlap.

    Returns:
        Shape (m, 3), fractional, the widest first.
    """
    cell = np.asarray(host.lattice.matrix, dtype=np.float64)
    atoms = list_atom_images(cell, np.asarray(host.frac_coords, dtype=np.float64), REACH)
    sizes = np.tile([radii[site.specie.symbol] for site in host], len(atoms) // len(host))
    found: list[tuple[float, FloatArray]] = []
    for corner in find_voronoi_corners(cell, atoms):
        if _measure_gap(corner, atoms, sizes) < room - LARGEST_GAIN:
            continue
        place = _find_minimum(corner, atoms, sizes)
        if place is not None and (gap := _measure_gap(place, atoms, sizes)) >= room:
            found.append((round(gap, 3), np.mod(np.round(place @ np.linalg.inv(cell), 6), 1.0)))
    found.sort(key=lambda item: (-item[0], *item[1].tolist()))
    kept: list[FloatArray] = []
    for _, place in found:
        for image in _list_symmetric_images(host, place):
            if _is_apart(image, held, cell, OWN_SITE) and _is_apart(image, np.array(kept), cell, MERGED):
                kept.append(image)
    return np.array(kept, dtype=np.float64).reshape(-1, 3)


def _list_symmetric_images(host: Structure, place: FloatArray) -> list[FloatArray]:
    """List the images of a place by the symmetry of the host, itself first.

    Voronoi corners of symmetric crystals are drawn from rounding, so that some images have no start of their own.
    """
    numbers = [site.specie.Z for site in host]
    try:
        group = symmetry_dataset(np.asarray(host.lattice.matrix), np.asarray(host.frac_coords), numbers)
    except InvdesignError:  # no symmetry is found
        return [place]
    moved = np.mod(np.asarray(group.rotations) @ place + np.asarray(group.translations), 1.0)
    return [place, *moved]


def _measure_gap(place: FloatArray, atoms: FloatArray, sizes: FloatArray) -> float:
    """Distance from a place to the nearest surface of an atom, Å."""
    return float((np.linalg.norm(atoms - place, axis=1) - sizes).min())


def _find_minimum(start: FloatArray, atoms: FloatArray, sizes: FloatArray) -> FloatArray | None:
    """Follow the repulsion of the atoms down to its minimum; None where none is reached.

    Newton steps in the logarithm of the repulsion, which is nearly quadratic, along the modes of the second derivatives; downhill
    also where these are negative.
    """
    near = np.linalg.norm(atoms - start, axis=1) < PROBE_REACH
    atoms, sizes = atoms[near], sizes[near]
    place = start
    for _ in range(MAX_PROBE_STEPS):
        apart = place - atoms
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        weights = np.exp(-(distance - sizes) / SOFTNESS)
        weights /= weights.sum()
        units = apart / distance[:, None]
        gradient = -(weights @ units) / SOFTNESS
        bend = weights * (1.0 / SOFTNESS**2 + 1.0 / (SOFTNESS * distance))
        hessian = (units * bend[:, None]).T @ units - np.eye(3) * float(
            (weights / (SOFTNESS * distance)).sum()
        )
        values, modes = np.linalg.eigh(hessian - np.outer(gradient, gradient))
        slopes = modes.T @ gradient
        if np.abs(gradient).max() < PROBE_SLOPE:
            if values[0] > 0:
                return place
            place = place + LARGEST_STEP * modes[:, 0]  # off a saddle, where symmetry holds a start
            continue
        step = -modes @ (slopes / np.maximum(np.abs(values), LEAST_BEND))
        place = place + step * min(1.0, LARGEST_STEP / float(np.linalg.norm(step)))
    return None


def _is_apart(place: FloatArray, others: FloatArray, cell: FloatArray, limit: float) -> bool:
    """True if a place is farther than `limit` (Å) from all others, images included."""
    if not len(others):
        return True
    apart = others - place
    apart -= np.round(apart)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.linalg.norm((apart[:, None, :] + shifts) @ cell, axis=2)
    return bool(distances.min() > limit)


def choose_supercell(sites: IonSites, shares: Sequence[float], most: int = MAX_ATOMS) -> tuple[int, int, int]:
    """Choose the smallest supercell that holds whole numbers of ions.

    Args:
        sites: of one cell.
        shares: of the ions, one for each composition.
        most: atoms that the supercell may have.

    Returns:
        Repetitions along the cell's vectors; of several, those of the most compact cell.

    Raises:
        InsertionError: it would be larger than `most`.
    """
    counts = [sites.count_ions(share) for share in shares]
    cells = math.lcm(*(count.denominator for count in counts))
    size = cells * (len(sites.host) + math.ceil(max(counts)))
    if size > most:
        raise InsertionError(
            f"shares of {', '.join(f'{share:g}' for share in shares)} of {sites.unit_count} {sites.ion} need {cells} cells with "
            f"{size} atoms (limit {most}); choose shares with a smaller common denominator"
        )
    lengths = np.asarray(sites.host.lattice.abc)
    options = [
        (a, b, cells // (a * b))
        for a in range(1, cells + 1)
        for b in range(1, cells + 1)
        if cells % (a * b) == 0
    ]
    return min(options, key=lambda option: (round(float(max(lengths * option)), 3), option))
