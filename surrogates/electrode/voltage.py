"""Voltages of insertion electrodes from energies: the average, and the profile over the hull of orderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from surrogates.stability.lower_hull import hull_energies


def average_voltage(charged: float, discharged: float, ions: float, metal: float, charge: int = 1) -> float:
    """Mean voltage between two compositions of one host against the ion's metal, V.

    V = -[E(discharged) - E(charged) - n E(metal)] / (z n)

    Args:
        charged: eV, energy of the host with fewer ions.
        discharged: eV, energy of the same host with more ions.
        ions: n, number of ions between the two.
        metal: eV/atom, energy of the ion's metal.
        charge: z, of the ion.

    Source:
        Aydinol et al., Phys. Rev. B 56, 1354 (1997); energies in place of Gibbs energies.
    """
    return -(discharged - charged - ions * metal) / (charge * ions)


@dataclass(frozen=True, slots=True)
class Step:
    """A plateau of the profile.

    Attributes:
        low, high: ions in the cell at its ends.
        voltage: V.
    """

    low: int
    high: int
    voltage: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Voltages of one host between its emptiest and its fullest composition.

    Attributes:
        average: V.
        steps: plateaus from the fewest ions to the most; their voltages fall.
    """

    average: float
    steps: tuple[Step, ...]

    @property
    def lowest(self) -> float:
        """Voltage of the last plateau, V."""
        return min(step.voltage for step in self.steps)

    @property
    def highest(self) -> float:
        """Voltage of the first plateau, V."""
        return max(step.voltage for step in self.steps)


def find_profile(energies: Mapping[int, Sequence[float]], metal: float, charge: int = 1) -> Profile:
    """Find the voltage profile over the lower hull of all orderings.

    Args:
        energies: eV of one cell, of every ordering, by the number of ions in it; two numbers of ions or more.
        metal: eV/atom, energy of the ion's metal.
        charge: of the ion.

    Raises:
        ValueError: there are fewer than two numbers of ions.
    """
    if len(energies) < 2:
        raise ValueError(f"a voltage needs two compositions, got {len(energies)}")
    counts = np.array(sorted(energies))
    lowest = np.array([min(energies[count]) for count in counts.tolist()])
    share = (counts - counts[0]) / (counts[-1] - counts[0])
    # Per cell of the host, whose content does not change, the hull over the share of ions is that of the compositions.
    hull = hull_energies(np.column_stack([share, 1.0 - share]), lowest)
    stable = np.flatnonzero(lowest <= hull)
    steps = tuple(
        Step(
            int(counts[a]),
            int(counts[b]),
            average_voltage(lowest[a], lowest[b], float(counts[b] - counts[a]), metal, charge),
        )
        for a, b in pairwise(stable.tolist())
    )
    mean = average_voltage(lowest[0], lowest[-1], float(counts[-1] - counts[0]), metal, charge)
    return Profile(float(mean), tuple(Step(s.low, s.high, float(s.voltage)) for s in steps))
