"""Descent of atoms and cell together: a quasi-Newton method for short ways and costly potentials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.protocols import Forces, Potential
from invdesign.structures.cells import find_normal

if TYPE_CHECKING:
    from ase import Atoms
    from ase.filters import Filter

FreeCell = bool | Literal["normal"]
"""Freedom of the cell: all of it, none, or only its length along the normal of the plane of a and b."""
ALL_QUANTITIES = frozenset({"energy", "forces", "stress"})
FIRST_CURVATURE = 5.0
"""eV/Å^2, the first guess of every second derivative. ASE's 70 suits covalent bonds; the ionic and molecular
crystals searched here are softer, and 4 to 6 needs a third of the calls of 70 (docs/evaluators.md)."""
MIN_CURVATURE = 0.3  # eV/Å^2, assumed along softer directions; chosen
LONGEST_STEP = 0.2  # Å, of an atom or a cell coordinate in one move; chosen
# Least curvature believed along a move, as a fraction of the expected one; Powell (1978).
POWELL_DAMPING = 0.2


@dataclass(frozen=True, slots=True)
class Freedom:
    """Coordinates that a relaxation may change.

    Attributes:
        cell: freedom of the cell.
        held: shape (n,), True for atoms that keep their place in the cell; None if all move.
    """

    cell: FreeCell
    held: BoolArray | None = None

    @property
    def moving(self) -> slice | BoolArray:
        """Index of the atoms that move."""
        return slice(None) if self.held is None else ~self.held

    def find_residual_stress(self, stress: FloatArray, lattice: FloatArray) -> float:
        """Largest component of the `stress` that a free cell would relax.

        Args:
            stress: shape (3, 3), any unit.
            lattice: rows, Å.
        """
        if self.cell != "normal":
            return float(np.abs(stress).max())
        normal = find_normal(lattice)
        return abs(float(normal @ stress @ normal))


def quasi_newton(atoms: Atoms, potential: Potential, freedom: Freedom) -> Iterator[Forces]:
    """Move `atoms` downhill without end.

    Yield the potential's answer at every step. The first answer is that of the start. The coordinates are the
    atoms' positions, carried along by the cell, and a symmetric strain of the present cell times the square
    root of the number of atoms: then a strain is about as stiff as an atom's displacement (both about volume
    times elastic constant per atom) whatever the size of the cell. Each strain starts from the cell as it is,
    so the stress is its exact gradient, and the cell cannot turn. Atoms that are held are no coordinates, and the strain
    carries them along. A cell that is free along its normal has one strain, which leaves a and b as they are.

    Args:
        atoms: changed in place.
        potential: gives forces and, for a free cell, stress.
        freedom: coordinates that may change.

    Source:
        BFGS with damping: Powell, Lecture Notes in Mathematics 630, 144 (1978); Nocedal and Wright, Numerical
            Optimization, 2nd ed., procedure 18.2.
    """
    want = ALL_QUANTITIES if freedom.cell else ALL_QUANTITIES - {"stress"}
    (found,) = potential.compute([atoms], want)
    yield found
    gradient = _energy_gradient(atoms, found, freedom)
    hessian = FIRST_CURVATURE * np.eye(len(gradient))
    while True:
        step = _newton_step(hessian, gradient)
        _move_atoms(atoms, step, freedom)
        (found,) = potential.compute([atoms], want)
        yield found
        before, gradient = gradient, _energy_gradient(atoms, found, freedom)
        hessian = _update_hessian(hessian, step, gradient - before)


def fire(atoms: Atoms, potential: Potential, freedom: Freedom) -> Iterator[Forces]:
    """Move `atoms` downhill by ASE's FIRE.

    Yield the answer at every step, as `quasi_newton` does. It takes three to five times the calls, and has no
    second derivatives that could mislead it.

    Args:
        atoms: changed in place.
        potential: gives forces and, for a free cell, stress.
        freedom: coordinates that may change.

    Source:
        Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006); cell through the exponential map, as in ASE's
        `FrechetCellFilter`.
    """
    from ase.optimize import FIRE

    from surrogates.potentials.calculator import PotentialCalculator

    atoms.calc = PotentialCalculator(potential, stress=bool(freedom.cell))
    algorithm = FIRE(_filter_atoms(atoms, freedom), logfile=None, maxstep=LONGEST_STEP)
    while True:
        stress = atoms.get_stress(voigt=False) if freedom.cell else None
        yield Forces(float(atoms.get_potential_energy()), atoms.get_forces(), stress)
        algorithm.step()


def _filter_atoms(atoms: Atoms, freedom: Freedom) -> Atoms | Filter:
    """Coordinates of `atoms` in the form of ASE's optimisers, without those that are held."""
    from ase.filters import Filter, FrechetCellFilter

    if not freedom.cell:
        return atoms if freedom.held is None else Filter(atoms, mask=~freedom.held)

    class FreeCoordinates(FrechetCellFilter):  # type: ignore[misc]  # ASE has no types
        """ASE's cell filter without forces on held coordinates, so that these never move."""

        def get_forces(self) -> FloatArray:
            forces = np.array(super().get_forces())
            if freedom.held is not None:
                forces[:-3][freedom.held] = 0.0
            if freedom.cell == "normal":
                normal = find_normal(np.asarray(self.orig_cell))
                forces[-3:] = np.outer(normal, normal) * (normal @ forces[-3:] @ normal)
            return forces

    return FreeCoordinates(atoms, exp_cell_factor=len(atoms) ** 0.5)


def _energy_gradient(atoms: Atoms, found: Forces, freedom: Freedom) -> FloatArray:
    """Gradient of the energy by positions and scaled strain, eV/Å.

    Shape (3m,) for m moving atoms, (3m + 9,) with a free cell, (3m + 1,) with one that is free along its normal.
    """
    downhill = -found.forces[freedom.moving].ravel()
    if not freedom.cell or found.stress is None:
        return downhill
    virial = found.stress * abs(atoms.get_volume()) / len(atoms) ** 0.5
    if freedom.cell == "normal":
        normal = find_normal(atoms.cell.array)
        return np.append(downhill, normal @ virial @ normal)
    return np.concatenate([downhill, virial.ravel()])


def _newton_step(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton step, downhill also along negative curvature, shortened to `LONGEST_STEP`."""
    curvature, modes = np.linalg.eigh(hessian)
    step = -modes @ ((modes.T @ gradient) / np.maximum(np.abs(curvature), MIN_CURVATURE))
    rows = step[: len(step) - len(step) % 3].reshape(-1, 3)
    longest = max([*np.linalg.norm(rows, axis=1), *np.abs(step[3 * len(rows) :])])
    shortened: FloatArray = step * min(1.0, LONGEST_STEP / longest) if longest > 0 else step
    return shortened


def _move_atoms(atoms: Atoms, step: FloatArray, freedom: Freedom) -> None:
    """Displace the atoms that move, then strain cell and all atoms.

    The strain acts by its exponential.
    """
    n = len(atoms)
    count = 3 * (n if freedom.held is None else int((~freedom.held).sum()))
    atoms.positions[freedom.moving] += step[:count].reshape(-1, 3)
    if len(step) == count:
        return
    if freedom.cell == "normal":
        _stretch_along_normal(atoms, float(step[-1]) / n**0.5)
        return
    strain = step[count:].reshape(3, 3) / n**0.5
    values, axes = np.linalg.eigh((strain + strain.T) / 2)
    stretch = (axes * np.exp(values)) @ axes.T
    atoms.set_cell(atoms.cell.array @ stretch, scale_atoms=False)
    atoms.positions = atoms.positions @ stretch


def _stretch_along_normal(atoms: Atoms, strain: float) -> None:
    """Stretch cell and atoms by exp(`strain`) along the normal; a and b keep every digit."""
    normal = find_normal(atoms.cell.array)
    stretch = np.eye(3) + np.expm1(strain) * np.outer(normal, normal)
    lattice = atoms.cell.array.copy()
    lattice[2] = lattice[2] @ stretch
    atoms.set_cell(lattice, scale_atoms=False)
    atoms.positions = atoms.positions @ stretch


def _update_hessian(hessian: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """Update the Hessian by the gradient's change along `step`.

    It stays positive definite.
    """
    expected = hessian @ step
    stiffness = float(step @ expected)
    if stiffness <= 0:
        return hessian
    seen = float(step @ change)
    if seen < POWELL_DAMPING * stiffness:
        share = (1 - POWELL_DAMPING) * stiffness / (stiffness - seen)
        change = share * change + (1 - share) * expected
        seen = float(step @ change)
    return hessian + np.outer(change, change) / seen - np.outer(expected, expected) / stiffness
