"""A cheap calculator for dynamics: atoms on a grid of sites, the framework bound tightly, the ion loosely.

Every atom sits in a cosine of its fractional coordinates, high for the framework and low for the ion, and atoms that come close
repel each other. So the ion hops among free sites and the framework stays, at the cost of a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

CONTACT, STIFFNESS = 1.5, 20.0  # Å, eV/Å^2


class Hopping(Calculator):
    """Sites at multiples of 1 / `divisions` in fractional coordinates.

    Attributes:
        before_call: called before every energy, with its number from 1; for tests that interrupt.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    before_call: ClassVar[Callable[[int], None] | None] = None
    calls: ClassVar[int] = 0

    def __init__(
        self, mobile: float = 0.05, framework: float = 4.0, divisions: int = 2, ion: str = ""
    ) -> None:
        super().__init__()
        self.barriers, self.divisions, self.ion = (mobile, framework), divisions, ion

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        Hopping.calls += 1
        if Hopping.before_call is not None:
            Hopping.before_call(Hopping.calls)
        energy, forces = self._bind()
        repulsion, pushes = self._repel()
        self.results: dict[str, Any] = {"energy": energy + repulsion, "forces": forces + pushes}

    def _bind(self) -> tuple[float, np.ndarray[Any, Any]]:
        cell = self.atoms.cell.array
        wave = 2 * np.pi * self.divisions
        angle = wave * self.atoms.positions @ np.linalg.inv(cell)
        moves = np.array([symbol in {"Li", "Na", self.ion} for symbol in self.atoms.symbols])
        height = np.where(moves, *self.barriers)[:, None]
        slopes = height / 2 * wave * np.sin(angle)
        return float((height / 2 * (1 - np.cos(angle))).sum()), -slopes @ np.linalg.inv(cell).T

    def _repel(self) -> tuple[float, np.ndarray[Any, Any]]:
        cell = self.atoms.cell.array
        apart = self.atoms.positions[:, None] - self.atoms.positions
        apart -= np.round(apart @ np.linalg.inv(cell)) @ cell
        distance = np.linalg.norm(apart, axis=2) + CONTACT * np.eye(len(apart))
        overlap = np.maximum(CONTACT - distance, 0.0)
        push = (STIFFNESS * overlap / np.maximum(distance, 1e-9))[..., None] * apart
        return float(STIFFNESS / 4 * (overlap**2).sum()), push.sum(axis=1)
