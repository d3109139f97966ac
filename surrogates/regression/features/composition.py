"""Features of compositions: fractions of elements, and statistics of their properties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import check_element, element_symbols
from invdesign.structures.descriptors import STATISTICS, element_property_table
from surrogates.regression.features.contract import Column, FeatureError, Need, describe_each
from surrogates.regression.material import Material

HEAVIEST_ELEMENT = 94  # plutonium: of heavier elements most properties are unknown
PROPERTY_UNITS: Mapping[str, str] = {
    "atomic_mass": "u",
    "atomic_radius": "Å",
    "melting_point": "K",
    "boiling_point": "K",
    "ionization_energy": "eV",
    "electron_affinity": "eV",
    "molar_volume": "cm^3/mol",
    "van_der_waals_radius": "Å",
    "bulk_modulus": "GPa",
    "thermal_conductivity": "W/(m K)",
}
ISOTOPES = {"D": "H", "T": "H"}
DIGITS = 9  # means of equal compositions agree to 1e-15 of their scale and no better; chosen


def find_fractions(amounts: Mapping[str, float]) -> FloatArray:
    """Atomic fractions by atomic number, shape (95,); the first is 0.

    Deuterium and tritium count as hydrogen.

    Args:
        amounts: by element symbol, on any scale.

    Raises:
        FeatureError: a symbol or an amount is not allowed, or there are none.
    """
    fractions = np.zeros(HEAVIEST_ELEMENT + 1)
    for symbol, amount in amounts.items():
        name = ISOTOPES.get(symbol, symbol)
        try:
            number = _number_elements()[check_element(name)]
        except ValueError as error:
            raise FeatureError(f"{error}") from None
        if number > HEAVIEST_ELEMENT:
            raise FeatureError(
                f"{symbol} is heavier than plutonium, the heaviest element that features describe; leave this material out"
            )
        if not math.isfinite(amount) or amount < 0:
            raise FeatureError(f"the amount of {symbol} is {amount:g}; it must be a number above 0")
        fractions[number] += amount
    total = fractions.sum()
    if not total > 0:
        raise FeatureError("the composition has no atoms; give at least one element an amount above 0")
    normalised: FloatArray = fractions / total
    return normalised


@cache
def _number_elements() -> Mapping[str, int]:
    return {symbol: number for number, symbol in enumerate(element_symbols(), start=1)}


def compute_fractions(materials: Sequence[Material]) -> FloatArray:
    """Atomic fractions of the compositions of n materials, shape (n, 95).

    Raises:
        FeatureError: a composition is not allowed; all such materials are named.
    """
    rows = describe_each(materials, lambda material: find_fractions(material.composition))
    return np.array(rows).reshape(len(materials), HEAVIEST_ELEMENT + 1)


def summarise_properties(fractions: FloatArray, table: FloatArray) -> FloatArray:
    """Mean, standard deviation, least and largest value of properties over the elements of compositions.

    The variance is the sum over pairs of elements f_i f_j (p_i - p_j)^2.

    Args:
        fractions: shape (n, m), atomic fractions, sums 1.
        table: shape (m, p), properties.

    Returns:
        Shape (n, 4 p): the statistics of the first property, then those of the second.
    """
    # The largest fractions come first; the zeros after the richest composition are left out.
    width = max(int((fractions > 0).sum(axis=1).max(initial=1)), 1)
    order = np.argsort(-fractions, axis=1, kind="stable")[:, :width]
    shares = np.take_along_axis(fractions, order, axis=1)
    values = table[order]  # (n, k, p)
    present = (shares > 0)[..., None]
    mean = np.einsum("nk,nkp->np", shares, values)
    variance = np.einsum("nk,nkp->np", shares, (values - mean[:, None, :]) ** 2)
    least = np.where(present, values, np.inf).min(axis=1)
    largest = np.where(present, values, -np.inf).max(axis=1)
    statistics = np.stack([mean, np.sqrt(variance), least, largest], axis=2)
    return np.round(statistics.reshape(len(fractions), -1), DIGITS) + 0.0


@dataclass(frozen=True)
class ElementFractions:
    """Atomic fraction of each element, hydrogen to plutonium."""

    name: str = "element_fractions"
    needs: Need = "composition"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """One per element."""
        return tuple(Column(f"fraction_{symbol}") for symbol in element_symbols()[:HEAVIEST_ELEMENT])

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute fractions, shape (n, 94)."""
        return compute_fractions(materials)[:, 1:]


@dataclass(frozen=True)
class ElementStatistics:
    """Mean, standard deviation, least and largest value of twenty properties of the elements."""

    name: str = "element_statistics"
    needs: Need = "composition"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Four per property of `element_property_table`."""
        return name_statistics("")

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute statistics, shape (n, 80)."""
        return summarise_properties(compute_fractions(materials), property_table())


def property_table() -> FloatArray:
    """Properties of the elements up to plutonium by atomic number, shape (95, p)."""
    return element_property_table()[1][: HEAVIEST_ELEMENT + 1]


def name_statistics(prefix: str) -> tuple[Column, ...]:
    """Columns of `summarise_properties` over `property_table`, their names after `prefix`."""
    return tuple(
        Column(f"{prefix}{statistic}_{name}", PROPERTY_UNITS.get(name, ""))
        for name in element_property_table()[0]
        for statistic in STATISTICS
    )
