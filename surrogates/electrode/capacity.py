"""Capacities and energies of an electrode per mass and volume."""

from __future__ import annotations

from dataclasses import dataclass

FARADAY = 96485.33212  # C/mol, CODATA 2018
AVOGADRO = 6.02214076e23  # 1/mol, exact (SI 2019)
MILLIAMPERE_HOURS = FARADAY / 3.6  # mAh per mole of elementary charges
CM3 = 1e-24  # cm^3 per Å^3


@dataclass(frozen=True, slots=True)
class Capacity:
    """Charge that a cell of an electrode takes up, by its mass and volume.

    Attributes:
        per_discharged_mass: mAh/g of the electrode with all its ions.
        per_host_mass: mAh/g of the electrode with the fewest ions.
        per_discharged_volume: mAh/cm^3 of the crystal with all its ions, without pores.
    """

    per_discharged_mass: float
    per_host_mass: float
    per_discharged_volume: float


def find_capacity(
    ions: float, charge: int, discharged_mass: float, charged_mass: float, discharged_volume: float
) -> Capacity:
    """Find the capacity of one cell, n z F / 3.6 per mass.

    Args:
        ions: number that move in and out.
        charge: of the ion.
        discharged_mass: g/mol of the cell with all ions.
        charged_mass: g/mol of the cell with the fewest.
        discharged_volume: Å^3 of the cell with all ions.
    """
    moved = ions * charge * MILLIAMPERE_HOURS
    return Capacity(
        moved / discharged_mass, moved / charged_mass, moved / (AVOGADRO * CM3 * discharged_volume)
    )
