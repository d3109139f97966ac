"""Descent of atoms and cell together: a quasi-Newton method for short ways and costly potentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.protocols import Forces, Potential

if TYPE_CHECKING:
    from ase import Atoms

ALL_QUANTITIES = frozenset({"energy", "forces", "stress"})
FIRST_CURVATURE = 5.0
"""eV/Å^2, the first guess of every second derivative. ASE's 70 suits covalent bonds; the ionic and molecular
crystals searched here are softer, and 4 to 6 needs a third of the calls of 70 (docs/evaluators.md)."""
MIN_CURVATURE = 0.3  # eV/Å^2, assumed along softer directions; chosen
LONGEST_STEP = 0.2  # Å, of an atom or a cell coordinate in one move; chosen
# Least curvature believed along a move, as a fraction of the expected one; Powell (1978).
POWELL_DAMPING = 0.2


def quasi_newton(atoms: Atoms, potential: Potential, *, cell: bool) -> Iterator[Forces]:
    """Move `atoms` downhill without end.

    Yield the potential's answer at every step. The first answer is that of the start. The coordinates are the
    atoms' positions, carried along by the cell, and a symmetric strain of the present cell times the square
    root of the number of atoms: then a strain is about as stiff as an atom's displacement (both about volume
    times elastic constant per atom) whatever the size of the cell. Each strain starts from the cell as it is,
    so the stress is its exact gradient, and the cell cannot turn.

    Args:
        atoms: changed in place.
        potential: gives forces and, for a free cell, stress.
        cell: True if the cell may change.

    Source:
        BFGS with damping: Powell, Lecture Notes in Mathematics 630, 144 (1978); Nocedal and Wright, Numerical
            Optimization, 2nd ed., procedure 18.2.
    """
    want = ALL_QUANTITIES if cell else ALL_QUANTITIES - {"stress"}
    (found,) = potential.compute([atoms], want)
    yield found
    gradient = _energy_gradient(atoms, found, cell)
    hessian = FIRST_CURVATURE * np.eye(len(gradient))
    while True:
        step = _newton_step(hessian, gradient)
        _move_atoms(atoms, step)
        (found,) = potential.compute([atoms], want)
        yield found
        before, gradient = gradient, _energy_gradient(atoms, found, cell)
        hessian = _update_hessian(hessian, step, gradient - before)


def fire(atoms: Atoms, potential: Potential, *, cell: bool) -> Iterator[Forces]:
    """Move `atoms` downhill by ASE's FIRE.

    Yield the answer at every step, as `quasi_newton` does. It takes three to five times the calls, and has no
    second derivatives that could mislead it.

    Args:
        atoms: changed in place.
        potential: gives forces and, for a free cell, stress.
        cell: True if the cell may change.

    Source:
        Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006); cell through the exponential map, as in ASE's
        `FrechetCellFilter`.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    from surrogates.potentials.calculator import PotentialCalculator

    atoms.calc = PotentialCalculator(potential, stress=cell)
    target = FrechetCellFilter(atoms, exp_cell_factor=len(atoms) ** 0.5) if cell else atoms
    algorithm = FIRE(target, logfile=None, maxstep=LONGEST_STEP)
    while True:
        stress = atoms.get_stress(voigt=False) if cell else None
        yield Forces(float(atoms.get_potential_energy()), atoms.get_forces(), stress)
        algorithm.step()


def _energy_gradient(atoms: Atoms, found: Forces, cell: bool) -> FloatArray:
    """Gradient of the energy by positions and scaled strain.

    Shape (3n,), or (3n + 9,) with a free cell, eV/Å.
    """
    downhill = -found.forces.ravel()
    if not cell or found.stress is None:
        return downhill
    virial = found.stress * abs(atoms.get_volume()) / len(atoms) ** 0.5
    return np.concatenate([downhill, virial.ravel()])


def _newton_step(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """Newton step, downhill also along negative curvature, shortened to `LONGEST_STEP`."""
    curvature, modes = np.linalg.eigh(hessian)
    step = -modes @ ((modes.T @ gradient) / np.maximum(np.abs(curvature), MIN_CURVATURE))
    longest = np.linalg.norm(step.reshape(-1, 3), axis=1).max()
    shortened: FloatArray = step * min(1.0, LONGEST_STEP / longest) if longest > 0 else step
    return shortened


def _move_atoms(atoms: Atoms, step: FloatArray) -> None:
    """Displace the atoms, then strain cell and atoms.

    The strain acts by its exponential.
    """
    n = len(atoms)
    atoms.positions += step[: 3 * n].reshape(-1, 3)
    if len(step) == 3 * n:
        return
    strain = step[3 * n :].reshape(3, 3) / n**0.5
    values, axes = np.linalg.eigh((strain + strain.T) / 2)
    stretch = (axes * np.exp(values)) @ axes.T
    atoms.set_cell(atoms.cell.array @ stretch, scale_atoms=False)
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
