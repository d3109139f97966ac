"""Potentials as ASE calculators, for ASE's optimisers, NEB and dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from invdesign.protocols import Potential

ALL_QUANTITIES = frozenset({"energy", "forces", "stress"})


class PotentialCalculator(Calculator):  # type: ignore[misc]  # ase ships no types
    """ASE calculator that wraps a potential and counts its calls.

    Attributes:
        calls: number of arrangements computed.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, potential: Potential, *, stress: bool = True) -> None:
        super().__init__()
        self.potential = potential
        self.want = ALL_QUANTITIES if stress else ALL_QUANTITIES - {"stress"}
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),  # all come from one pass
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy, forces and stress in one pass.

        ASE requests them one after the other.

        Args:
            atoms: the arrangement; the last one if None.
            properties: requested by ASE; all are computed.
            system_changes: changes since the last call, as ASE lists them.
        """
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        found = self.potential.compute([self.atoms], self.want)[0]
        results: dict[str, Any] = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.forces,
        }
        if found.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(found.stress)
        self.results = results
