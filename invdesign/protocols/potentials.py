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
    """Answer of a potential for one arrangement of n atoms.

    Attributes:
        energy: eV, whole cell.
        forces: shape (n, 3), eV/Å.
        stress: shape (3, 3), eV/Å^3, ASE's sign (positive is under tension); None where not asked for.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None


class Potential(Protocol):
    """Gives energy, forces and stress of atoms."""

    @property
    def fingerprint(self) -> str:
        """Name, version and hash of the weights.

        Energies of different fingerprints are never compared.
        """
        ...

    @property
    def label(self) -> str:
        """Name for people: `CHGNet 0.3.0`."""
        ...

    def prepare(self) -> None:
        """Load the weights; called once per worker, before any deadline starts."""
        ...

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """Compute energy, forces and stress of each arrangement, in order.

        Args:
            atoms: n arrangements.
            want: what to compute, of `energy`, `forces`, `stress`.
        """
        ...


class PotentialSettings(Settings):
    """Base class of potentials, with the defaults of the contract."""

    @property
    def label(self) -> str:
        return registry.name_of(type(self))

    def prepare(self) -> None:
        """Do nothing: there are no weights to load."""


def potential_of(plugin: Settings) -> Potential:
    """Potential in a setting of the type `PotentialField`.

    Args:
        plugin: loaded from the group `potentials`, where the registry checks the contract.
    """
    return cast("Potential", plugin)
