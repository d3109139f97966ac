"""Corrections of a potential's energies: coefficients, the potential they were fitted to, and their left-out error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, ValidationError

from invdesign.errors import InvdesignError, nearest
from invdesign.settings import Frozen
from surrogates.potentials.oxygen import (
    BOND_SOFTNESS,
    BOND_STRETCH,
    COVALENT_RADII,
    COVALENT_STATES,
    Valence,
    oxygen_valences,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from ase import Atoms

FORMAT: Final = "invdesign-correction-1"
CORRECTION_SUFFIX = ".correction.json"
CORRECTION_SEPARATOR = "+"
"""Joins the name of a reference set, or the fingerprint of a potential, and that of a correction."""


class Correction(Frozen):
    """Energy added for every oxygen that is covalently bonded.

    An oxygen that gets the valences v_e from the elements e, V together, is raised by
    `quadratic` V^2 + sum_e v_e `linear`[e].
    """

    format: Literal["invdesign-correction-1"] = FORMAT
    name: str
    title: str
    potential: str
    """Fingerprint of the potential whose energies it was fitted to."""
    potential_label: str
    quadratic: float = Field(allow_inf_nan=False)
    """eV per oxygen and squared unit of valence."""
    linear: dict[str, float]
    """eV per oxygen and unit of valence, by element."""
    n: int
    """Number of compounds it was fitted to."""
    error_per_oxygen: float
    """eV, root mean square over the compounds, each left out of the fit."""
    error_per_atom: float
    """eV/atom, the same error by all atoms."""
    source: str

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change whenever an energy may.

        They hash the base, the coefficients and the rule of bonding.
        """
        rule = [BOND_STRETCH, BOND_SOFTNESS, COVALENT_RADII, COVALENT_STATES]
        text = json.dumps([FORMAT, self.potential, self.quadratic, self.linear, rule], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the corrected potential: its base's, with the correction's name and digest."""
        return f"{self.potential}{CORRECTION_SEPARATOR}{self.name}-{self.digest}"

    @property
    def label(self) -> str:
        """Name of the corrected potential for people: `CHGNet 0.3.0 with covalent-oxygen`."""
        return f"{self.potential_label} with {self.name}"

    def added_energy(self, atoms: Atoms) -> float:
        """Energy to add for an arrangement, eV per cell.

        Args:
            atoms: periodic where their cell is; the energy is constant while no bond to oxygen forms or breaks.
        """
        return sum(self.added_energy_of_oxygen(valence) for valence in oxygen_valences(atoms))

    def added_energy_of_oxygen(self, valence: Valence) -> float:
        """Energy to add for one oxygen, eV.

        Args:
            valence: of this oxygen by covalently bonded element, from `oxygen_valences`.
        """
        total = sum(valence.values())
        return self.quadratic * total**2 + sum(share * self.linear[e] for e, share in valence.items())

    def require_base(self, fingerprint: str, label: str) -> None:
        """Refuse any potential but the one the correction was fitted to.

        Args:
            fingerprint: of the potential whose energies are to be corrected.
            label: its name, for the message.

        Raises:
            InvdesignError: it is another one.
        """
        if fingerprint != self.potential:
            raise InvdesignError(
                f"the correction '{self.name}' was fitted to energies of {self.potential_label} ({self.potential}), "
                f"and these are of {label} ({fingerprint}): on another scale it means nothing. Use "
                f"{self.potential_label}, or leave the correction out"
            )


def _corrections_folder() -> Traversable:
    return files("surrogates").joinpath("corrections")


def correction_names() -> tuple[str, ...]:
    """Names of the package's corrections, sorted."""
    names = (item.name for item in _corrections_folder().iterdir())
    return tuple(
        sorted(name.removesuffix(CORRECTION_SUFFIX) for name in names if name.endswith(CORRECTION_SUFFIX))
    )


@lru_cache(maxsize=8)
def load_correction(name: str) -> Correction:
    """Load the correction `name` of the package.

    Raises:
        InvdesignError: there is none of that name, or its file is damaged.
    """
    known = correction_names()
    if name not in known:
        hint = f"{nearest(name, known)} Known: {', '.join(known) or 'none'}.".strip()
        raise InvdesignError(f"there is no correction '{name}'. {hint}")
    text = _corrections_folder().joinpath(name + CORRECTION_SUFFIX).read_text(encoding="utf-8")
    try:
        found = Correction.model_validate_json(text)
    except ValidationError as error:
        raise InvdesignError(f"the file of the correction '{name}' is damaged: {error}") from error
    missing = sorted(COVALENT_STATES.keys() - found.linear.keys())
    if missing:
        raise InvdesignError(f"the correction '{name}' has no coefficients of {', '.join(missing)}")
    return found


def find_correction(fingerprint: str) -> Correction | None:
    """Find the correction contained in a potential's `fingerprint`.

    Returns None if it has none.
    """
    for name in correction_names():
        found = load_correction(name)
        if found.fingerprint == fingerprint:
            return found
    return None


def write_correction(correction: Correction) -> str:
    """Write a `correction` as the JSON text of its file."""
    fields: Mapping[str, object] = correction.model_dump(mode="json")
    return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
