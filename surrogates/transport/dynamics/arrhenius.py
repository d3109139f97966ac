"""Arrhenius extrapolation of diffusivities to room temperature, and the conductivity that follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.transport.dynamics.integrator import BOLTZMANN

ROOM_TEMPERATURE = 298.15  # K
ELEMENTARY_CHARGE = 1.602176634e-19  # C; SI
CM3_PER_A3 = 1e-24


@dataclass(frozen=True, slots=True)
class Arrhenius:
    """Activation energy and diffusivity at 298 K, with resamples.

    Attributes:
        activation_energy: eV.
        room: log10 of the diffusivity at 298.15 K in cm^2/s.
        energies: shape (r,), eV, resampled activation energies.
        rooms: shape (r,), resampled values of `room`.
        misfit: largest distance of a point from the line, in its standard deviations.
    """

    activation_energy: float
    room: float
    energies: FloatArray
    rooms: FloatArray
    misfit: float


def fit_arrhenius(
    temperatures: Sequence[float], diffusivities: Sequence[float], samples: Sequence[FloatArray]
) -> Arrhenius:
    """Fit ln D = ln D0 - E / kT, each temperature weighted by the variance of its ln D.

    Resamples of ln D at different temperatures are independent; those that are not positive are left out.

    Args:
        temperatures: two or more, K.
        diffusivities: cm^2/s, positive.
        samples: per temperature, shape (r,), cm^2/s.

    Raises:
        ValueError: a diffusivity is not positive, or less than half of its resamples are.
    """
    if min(diffusivities) <= 0 or min(float((s > 0).mean()) for s in samples) < 0.5:
        raise ValueError("there is no Arrhenius line through a diffusivity that is not positive")
    count = min(int((s > 0).sum()) for s in samples)
    logs = np.log(np.array([s[s > 0][:count] for s in samples]))  # (t, r)
    values = np.log(np.array(diffusivities))
    deviations = np.maximum(logs.std(axis=1), 1e-12)  # exact data have no spread
    inverse = 1.0 / (BOLTZMANN * np.array(temperatures))
    design = np.stack([np.ones_like(inverse), -inverse], axis=1) / deviations[:, None]
    solve = np.linalg.pinv(design) / deviations  # (2, t): linear in ln D
    room = np.array([1.0, -1.0 / (BOLTZMANN * ROOM_TEMPERATURE)])
    parameters, drawn = solve @ values, solve @ logs
    residuals = (values - parameters[0] + parameters[1] * inverse) / deviations
    return Arrhenius(
        activation_energy=float(parameters[1]),
        room=float(room @ parameters) / math.log(10),
        energies=drawn[1],
        rooms=room @ drawn / math.log(10),
        misfit=float(np.abs(residuals).max()),
    )


def nernst_einstein(
    diffusivity: float, density: float, charge: int, temperature: float = ROOM_TEMPERATURE
) -> float:
    """Conductivity of ions that diffuse, S/cm, with a Haven ratio of 1.

    Args:
        diffusivity: cm^2/s.
        density: ions per Å^3.
        charge: of an ion, in elementary charges.
        temperature: K.
    """
    volts = BOLTZMANN * temperature
    return density / CM3_PER_A3 * charge**2 * ELEMENTARY_CHARGE * diffusivity / volts


def interval_of(samples: FloatArray) -> tuple[float, float]:
    """95 % interval of resampled values, by percentiles."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
