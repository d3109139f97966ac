"""Contract of potentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from invdesign import registry
from invdesign.arrays import FloatArray
from invdesign.settings import Settings

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, slots=True)
class Forces:
    """What a potential says of one arrangement of n atoms.

    Attributes:
        energy: eV, whole cell.
        forces: shape (n, 3), eV/Å.
        stress: shape (3, 3), eV/Å^3, ASE's sign (positive is under tension); None where not asked for.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None


class Potential(Protocol):
    """Energy, forces and stress of atoms."""

    @property
    def fingerprint(self) -> str:
        """Name, version and a hash of the weights: energies of different fingerprints never meet."""
        ...

    @property
    def label(self) -> str:
        """Name for people: `CHGNet 0.3.0`."""
        ...

    def prepare(self) -> None:
        """Load what `compute` needs (weights); called once per worker, before any deadline runs."""
        ...

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """One answer per arrangement; `want` holds `energy`, `forces`, `stress`."""
        ...


class PotentialSettings(Settings):
    """A convenient base for potentials: the defaults of the contract."""

    @property
    def label(self) -> str:
        return registry.name_of(type(self))

    def prepare(self) -> None:
        """Nothing to load."""


def potential_of(plugin: Settings) -> Potential:
    """The potential that a setting of the type `PotentialField` holds.

    Args:
        plugin: loaded from the group `potentials` alone, where the registry checks the contract.
    """
    return cast("Potential", plugin)
