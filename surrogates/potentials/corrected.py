"""Potential whose energies are corrected by the bonding of each oxygen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from invdesign.errors import InvdesignError
from invdesign.protocols import Forces, Potential, PotentialSettings, potential_of
from invdesign.settings import PotentialField
from surrogates.potentials.correction import Correction, load_correction

if TYPE_CHECKING:
    from ase import Atoms


class Corrected(PotentialSettings):
    """A potential with a correction that was fitted to it.

    For example `covalent-oxygen` for CHGNet 0.3.0.
    """

    correction: str = "covalent-oxygen"
    """Name of a correction of the package."""
    potential: PotentialField = Field(default="chgnet", validate_default=True)
    """The potential it was fitted to; any other is refused."""

    @model_validator(mode="after")
    def _check_base(self) -> Self:
        try:
            self._correction.require_base(self._base.fingerprint, self._base.label)
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def _correction(self) -> Correction:
        return load_correction(self.correction)

    @property
    def _base(self) -> Potential:
        return potential_of(self.potential)

    @property
    def label(self) -> str:
        """Name for people: `CHGNet 0.3.0 with covalent-oxygen`."""
        return self._correction.label

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the base, with the correction's name and digest."""
        return self._correction.fingerprint

    def prepare(self) -> None:
        """Load the base potential, if it can be loaded in advance."""
        self._base.prepare()

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """Compute the base's answers, with the correction added to each energy.

        The correction is constant while no bond to oxygen forms or breaks, so forces and stress are the base's.

        Args:
            atoms: n arrangements.
            want: of `energy`, `forces`, `stress`.

        Raises:
            PotentialError: the base has no answer.
        """
        correction = self._correction
        return [
            replace(found, energy=found.energy + correction.added_energy(item))
            for item, found in zip(atoms, self._base.compute(atoms, want), strict=True)
        ]
