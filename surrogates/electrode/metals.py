"""Working ions, and the energies of their metals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from surrogates.relaxation.relax import relax_structure
from surrogates.stability.windows import CHARGES

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å, lattice constant of the body-centred cubic metal. A start only: every potential relaxes it to its own. Such constants are
# tabulated in R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (Interscience, New York, 1963).
METAL_CELLS = {"Li": 3.5093, "Na": 4.2906, "K": 5.247}
METAL_FMAX, METAL_SMAX = 0.005, 0.02  # eV/Å and GPa; chosen: leaves 0.1 meV/atom
_ENERGIES: dict[tuple[str, str], float] = {}  # eV/atom, by fingerprint of the potential and metal


class MetalError(InvdesignError):
    """A potential has no energy for the metal of a working ion."""


def _check_working_ion(value: object) -> object:
    """Refuse ions whose voltages were not compared with measured ones."""
    if isinstance(value, str) and value in CHARGES.keys() - METAL_CELLS.keys():
        raise ValueError(f"there is no table of truth for {value}: use one of {', '.join(METAL_CELLS)}")
    return value


WorkingIon = Annotated[Literal["Li", "Na", "K"], BeforeValidator(_check_working_ion)]
"""A field for the ion that moves in and out: Li, Na or K."""


def build_metal(ion: str) -> Structure:
    """Build the primitive cell of the metal of `ion`, body-centred cubic."""
    from pymatgen.core import Lattice, Structure

    half = METAL_CELLS[ion] / 2
    return Structure(
        Lattice([[-half, half, half], [half, -half, half], [half, half, -half]]), [ion], [[0, 0, 0]]
    )


def find_metal_energy(potential: Potential, ion: str) -> float:
    """Energy of an ion's metal, relaxed once per process and potential.

    Args:
        potential: of all energies it is compared with.
        ion: Li, Na or K.

    Returns:
        eV/atom.

    Raises:
        MetalError: the potential has no answer for the metal.
    """
    key = potential.fingerprint, ion
    if key not in _ENERGIES:
        try:
            found = relax_structure(build_metal(ion), potential, fmax=METAL_FMAX, smax=METAL_SMAX)
        except (InvdesignError, NotImplementedError) as error:
            raise MetalError(
                f"the potential {potential.label} gives no energy of {ion} metal, against which voltages are counted "
                f"({error}); use a potential that knows {ion}"
            ) from error
        _ENERGIES[key] = found.energy
    return _ENERGIES[key]
