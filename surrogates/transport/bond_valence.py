"""Migration barriers of an alkali ion in its bond-valence site energy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import StructureEvaluator
from invdesign.structures.cells import list_translations, measure_heights
from invdesign.structures.charges import AllowedStates, ElementSymbol, States, assign_oxidation_states
from invdesign.structures.formulas import write_formula
from surrogates.transport.bond_valence_parameters import COVALENT_RADII, PAIR_PARAMETERS
from surrogates.transport.frameworks import (
    MissingIonError,
    check_ionic,
    choose_ion,
    mean_counts,
    split_framework,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

Ion = Literal["Li", "Na", "K"]
Ions = Annotated[tuple[Ion, ...], Field(strict=False, min_length=1)]

COULOMB_CONSTANT = 14.4  # eV Å, of two elementary charges; as rounded by the authors of the parameters
SCREENING_FACTOR = 0.74  # share of the covalent radii over which repulsion is screened; see `site_energies`
PAIR_REACH = 8.0  # Å; chosen: all pairs beyond it change the barriers by less than a meV
MIN_DISTANCE = 0.5  # Å; chosen: nearer to an ion the energy stays constant, so that nothing overflows
MAX_GRID_POINTS = 400_000  # chosen: half a gigabyte of joints between them
# eV above the grid's highest level up to which passes are searched; chosen: grids err by less.
PASS_MARGIN = 0.3
EXPANSION_CHUNK = 64  # points whose derivatives are computed together; chosen
BLOCK_POINTS = 8  # points along each edge of a block that is computed together; chosen
BARRIER_DEVIATION = 0.71
"""eV: root mean square error against the computed barriers of 67 compounds of the literature, each relaxed with CHGNet, over all
their frameworks (`benchmarks/truth_tasks/barriers_bond_valence.py`; mean absolute error 0.49 eV)."""


class UnknownPairError(ValueError):
    """Two ions have no bond-valence parameters."""


def migration_barriers(
    structure: Structure, ion: str, spacing: float = 0.2, states: AllowedStates = ()
) -> tuple[float, float, float]:
    """Migration barriers of an ion in one, two and three directions.

    They are barriers to travel without end in the bond-valence site energy of the ion. All ions of the kind
    that moves are taken out, the others stand still. A barrier is the height of the pass above the deepest
    place of the whole cell; both are found on a grid and then located exactly.

    Args:
        structure: ordered, but for sites of `ion`, which may be occupied in part; charges are those of the mean
            composition.
        ion: `Li`, `Na` or `K`, as a 1+ ion.
        spacing: longest distance of two points of the grid along an axis, Å.
        states: oxidation states of some elements, in place of their common ones.

    Returns:
        eV, ascending.

    Raises:
        MissingIonError: there is no such ion, or nothing but it.
        DisorderError: another site is occupied in part.
        NotIonicError: the structure is a metal, or its atoms share their electrons.
        UnknownPairError: there are no parameters for an ion of the framework.
        ValueError: the cell has more than 400,000 points.

    Source:
        S. Adams and R. P. Rao, Phys. Status Solidi A 208, 1746 (2011); H. Chen, L. L. Wong and S. Adams, Acta
        Crystallogr. B 75, 18 (2019).
    """
    from surrogates.transport.passes import barrier_levels
    from surrogates.transport.pathways import percolation_levels

    cell, images, energies = _map_energies(structure, ion, spacing, states)
    of_grid = percolation_levels(energies)
    lowest, levels = barrier_levels(
        energies, cell, partial(images.expand_energies, cell), of_grid[2] + PASS_MARGIN
    )
    one, two, three = levels or of_grid
    return one - lowest, two - lowest, three - lowest


def site_energies(
    structure: Structure, ion: str, spacing: float = 0.2, states: AllowedStates = ()
) -> FloatArray:
    """Bond-valence site energy of one ion on a grid over the reduced cell.

    E(r) = sum over counter ions of D/2 [(exp((R_min - R)/b) - 1)^2 - 1]
         + sum over like-charged ions of k V V' / (sqrt(n n') R) erfc(R / (f (r + r')))

    with the depth D = k |V V'| b^2 / (2 R_min sqrt(n n')) of elements of the s and p blocks, charges V,
    principal quantum numbers n, covalent radii r, k = 14.4 eV Å and f = 0.74. That D enters by half is the
    convention of BVlain, which this agrees with.

    Args:
        structure, ion, spacing, states: as in `migration_barriers`.

    Returns:
        Shape (n1, n2, n3), eV.

    Raises:
        As `migration_barriers`.
    """
    return _map_energies(structure, ion, spacing, states)[2]


def _map_energies(
    structure: Structure, ion: str, spacing: float, states: AllowedStates
) -> tuple[FloatArray, _Framework, FloatArray]:
    """Map the site energy on a grid over the reduced cell.

    Returns:
        (reduced cell (3, 3), ions within reach of it, energies (n1, n2, n3) in eV).
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    framework = _Framework.from_structure(structure, ion, states)
    cell = np.asarray(minkowski_reduce(structure.lattice.matrix)[0], dtype=np.float64)
    shape = np.maximum(np.ceil(np.linalg.norm(cell, axis=1) / spacing), 3).astype(np.int64)
    if np.prod(shape) > MAX_GRID_POINTS:
        raise ValueError(
            f"the cell of {write_formula(structure.composition)} needs more than {MAX_GRID_POINTS} points; raise "
            f"'spacing' ({spacing:g} Å)"
        )
    images = framework.add_images(cell)
    place = np.indices(shape).reshape(3, -1).T
    energies = np.empty(len(place))
    for block in _group_points(place, shape):
        points = place[block] / shape @ cell
        energies[block] = images.select_near(points).energies_at(points)
    return cell, images, energies.reshape(shape)


def _group_points(place: IntArray, shape: IntArray) -> Iterator[IntArray]:
    """Points of the grid in groups that lie close together."""
    block = place // BLOCK_POINTS
    across = (shape - 1) // BLOCK_POINTS + 1
    code = (block[:, 0] * across[1] + block[:, 1]) * across[2] + block[:, 2]
    order = np.argsort(code, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


@dataclass(frozen=True, slots=True)
class _Framework:
    """Ions of the framework with their pair parameters.

    The pairs are those with the moving ion, by the notation of `site_energies`.

    Attributes:
        positions: shape (n, 3), Å.
        attracts: shape (n,), True for unlike charges.
        depth: shape (n,), eV: depth D of the pair, or strength k V V' / sqrt(n n') of its repulsion in eV Å.
        distance: shape (n,), Å: R_min, or the length f (r + r') of screening.
        softness: shape (n,), Å: b; 1 for repulsion.
    """

    positions: FloatArray
    attracts: NDArray[np.bool_]
    depth: FloatArray
    distance: FloatArray
    softness: FloatArray

    @classmethod
    def from_structure(cls, structure: Structure, ion: str, allowed: AllowedStates) -> _Framework:
        symbols, positions = split_framework(structure, ion)
        counts = mean_counts(structure)
        states = assign_oxidation_states(counts, allowed)
        check_ionic(counts, states)
        pairs = {name: pair_parameters(ion, name, state) for name, state in states.items() if name != ion}
        columns = np.array([pairs[symbol] for symbol in symbols])
        return cls(positions, columns[:, 0] > 0, columns[:, 1], columns[:, 2], columns[:, 3])

    def add_images(self, cell: FloatArray) -> _Framework:
        """Add all periodic images within reach of `cell`."""
        inside = (self.positions @ np.linalg.inv(cell)) % 1.0
        fractional = (inside + list_translations(cell, PAIR_REACH)[:, None, :]).reshape(-1, 3)
        beyond = np.maximum(np.maximum(-fractional, fractional - 1.0), 0.0) * measure_heights(cell)
        which = np.flatnonzero((beyond <= PAIR_REACH).all(axis=1))
        kept = self.select_ions(which % len(inside))
        return _Framework(fractional[which] @ cell, kept.attracts, kept.depth, kept.distance, kept.softness)

    def select_ions(self, which: IntArray) -> _Framework:
        """Select the ions with the indices `which`."""
        return _Framework(
            self.positions[which],
            self.attracts[which],
            self.depth[which],
            self.distance[which],
            self.softness[which],
        )

    def select_near(self, points: FloatArray) -> _Framework:
        """Select the ions within reach of at least one of `points`.

        The points, shape (p, 3), lie close together.
        """
        middle = points.mean(axis=0)
        spread = float(np.linalg.norm(points - middle, axis=1).max())
        return self.select_ions(
            np.flatnonzero(np.linalg.norm(self.positions - middle, axis=1) <= PAIR_REACH + spread)
        )

    def energies_at(self, points: FloatArray) -> FloatArray:
        """Energy of the moving ion at each of `points` (p, 3), eV."""
        from scipy.spatial.distance import cdist
        from scipy.special import erfc

        attract, repel = (
            self.select_ions(np.flatnonzero(self.attracts)),
            self.select_ions(np.flatnonzero(~self.attracts)),
        )
        apart = cdist(points, attract.positions)
        bond = np.exp((attract.distance - np.maximum(apart, MIN_DISTANCE)) / attract.softness)
        morse = np.where(apart <= PAIR_REACH, attract.depth / 2 * (bond * (bond - 2.0)), 0.0)
        apart = cdist(points, repel.positions)
        far = np.maximum(apart, MIN_DISTANCE)
        coulomb = np.where(apart <= PAIR_REACH, repel.depth / far * erfc(far / repel.distance), 0.0)
        total: FloatArray = morse.sum(axis=1) + coulomb.sum(axis=1)
        return total

    def expand_energies(
        self, cell: FloatArray, points: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Energies (p,), gradients (p, 3) and second derivatives (p, 3, 3) at `points`.

        Args:
            cell: shape (3, 3), rows in Å.
            points: shape (p, 3), Å; they may lie outside the cell.
        """
        inside = (points @ np.linalg.inv(cell)) % 1.0 @ cell
        parts = [
            self._expand_chunk(inside[k : k + EXPANSION_CHUNK])
            for k in range(0, len(points), EXPANSION_CHUNK)
        ]
        if not parts:
            return np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3, 3))
        energies, gradients, seconds = (np.concatenate(part) for part in zip(*parts, strict=True))
        return energies, gradients, seconds

    def _expand_chunk(self, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        from scipy.special import erfc

        away = points[:, None] - self.positions
        distance = np.maximum(np.linalg.norm(away, axis=2), MIN_DISTANCE)
        near = distance <= PAIR_REACH
        bond = np.exp(np.where(self.attracts, (self.distance - distance) / self.softness, 0.0))
        outside = erfc(distance / self.distance)
        slope = 2.0 / (np.sqrt(np.pi) * self.distance) * np.exp(-((distance / self.distance) ** 2))
        value = np.where(
            self.attracts, self.depth / 2 * (bond * (bond - 2.0)), self.depth * outside / distance
        )
        first = np.where(
            self.attracts,
            -self.depth / self.softness * bond * (bond - 1.0),
            -self.depth * (outside / distance + slope) / distance,
        )
        second = np.where(
            self.attracts,
            self.depth / self.softness**2 * bond * (2.0 * bond - 1.0),
            2.0 * self.depth * ((outside / distance + slope) / distance**2 + slope / self.distance**2),
        )
        unit = away / distance[..., None]
        round_about = np.where(near, first / distance, 0.0)
        turning = np.where(near, second, 0.0) - round_about
        curvature = np.einsum("pn,pni,pnj->pij", turning, unit, unit, optimize=True)
        curvature += round_about.sum(axis=1)[:, None, None] * np.eye(3)
        gradient = np.einsum("pn,pni->pi", np.where(near, first, 0.0), unit)
        return np.where(near, value, 0.0).sum(axis=1), gradient, curvature


def pair_parameters(ion: str, other: str, state: float) -> tuple[float, float, float, float]:
    """Parameters of a pair of the moving ion and another.

    See `_Framework`.

    Args:
        ion: the moving ion, of charge 1+.
        other: element of the other ion.
        state: oxidation state of that element, which may be a mean.

    Returns:
        (1 if they attract each other and 0 if not, depth or strength, distance, softness).

    Raises:
        UnknownPairError: the pair has none.
    """
    from pymatgen.core import Element

    rows = (Element(ion).row * Element(other).row) ** 0.5
    if state < 0:
        whole = round(state)
        known = PAIR_PARAMETERS[ion].get((other, whole)) if state == whole else None
        if known is None:
            names = ", ".join(_format_ion(*anion) for anion in PAIR_PARAMETERS[ion])
            raise UnknownPairError(
                f"there are no bond-valence parameters for {ion}+ and {_format_ion(other, state)}; there are for {names}"
            )
        distance, softness = known
        return 1.0, COULOMB_CONSTANT * -state * softness**2 / (2 * distance * rows), distance, softness
    if other not in COVALENT_RADII:
        raise UnknownPairError(
            f"there are no bond-valence parameters for {ion}+ and {_format_ion(other, state)}"
        )
    screening = SCREENING_FACTOR * (COVALENT_RADII[ion] + COVALENT_RADII[other])
    return 0.0, COULOMB_CONSTANT * state / rows, screening, 1.0


def _format_ion(element: str, state: float) -> str:
    """Write an ion in chemical notation: `S2-`, `Li+`, `O0.5-`.

    An element without a charge is written alone, `He`.
    """
    size = f"{abs(state):.3g}" if abs(state) not in {0, 1} else ""
    return f"{element}{size}{'+' if state > 0 else '-' if state < 0 else ''}"


class MigrationBarrier(StructureEvaluator):
    """Migration barriers of an alkali ion by bond-valence site energy.

    They are a quick first estimate, no more.
    """

    version: ClassVar[str] = "3"  # mean states; no numbers where there are no ions

    ion: Ion | Ions
    """The ion that moves; of several, `[Li, Na]`, the first that a structure holds."""
    oxidation_states: dict[ElementSymbol, States] = Field(default_factory=dict)
    """States allowed for an element, in place of its common ones: `{S: [4]}` in sulfites."""
    spacing: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    """Longest distance of two points of the grid along an axis, Å."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Barriers to endless travel in one, two and three directions."""
        return {f"migration_barrier_{n}d": "eV" for n in (1, 2, 3)}

    @property
    def batch(self) -> Batch:
        """Four candidates: one takes part of a second."""
        return Batch(4)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return three barriers for each of `inputs`.

        A pair of ions without parameters is a failure that names it.
        """
        return [self._evaluate_structure(self.structure_of(item)) for item in inputs]

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        began = time.perf_counter()
        try:
            barriers = migration_barriers(
                structure,
                choose_ion(structure, self.ion),
                self.spacing,
                tuple(sorted(self.oxidation_states.items())),
            )
        except ValueError as error:
            kind = "missing" if isinstance(error, MissingIonError | UnknownPairError) else "error"
            return Evaluation(failure=Failure(kind, "", str(error)))
        found = dict(zip(self.provides, barriers, strict=True))
        return Evaluation(
            found,
            systematic=dict.fromkeys(found, BARRIER_DEVIATION),
            cost={"seconds": time.perf_counter() - began},
        )
