"""Features of compositions seen as ions: mobile lithium, cations of the framework, anions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.structures.ions import electronegativity
from invdesign.structures.radii import ionic_radius
from surrogates.regression.features.composition import ISOTOPES, find_fractions
from surrogates.regression.features.contract import Column, Need, describe_each
from surrogates.regression.features.oxidation_states import find_states
from surrogates.regression.material import Material

MOBILE = "Li"  # the mobile ion
CHARGES = (1, 2, 3, 4, 5, 6)  # formal charges of cations; higher ones count as the last
ANION_KINDS = ("O", "S", "Se", "N", "F", "Cl", "Br", "I")
LITHIUM_OFFSET = 0.01  # added to fractions before their logarithm: compounds without lithium; chosen
LARGEST_RATIO = 20.0  # lithium per cation, beyond which compounds have no framework of cations; chosen
DIGITS = 9  # means of equal compositions agree to 1e-15 of their scale and no better; chosen

ION_COLUMNS = (
    Column("lithium_fraction"),
    Column("log10_lithium_fraction"),
    Column("lithium_per_anion"),
    Column("cations_per_anion"),
    Column("lithium_per_cation"),
    Column("mean_anion_electronegativity"),
    Column("mean_cation_electronegativity"),
    Column("electronegativity_difference"),
    Column("mean_anion_radius", "Å"),
    Column("mean_cation_radius", "Å"),
    Column("mean_cation_charge", "e"),
    Column("mixing_entropy", "k_B"),
    Column("cation_mixing_entropy", "k_B"),
    Column("anion_mixing_entropy", "k_B"),
    Column("elements"),
    Column("cation_elements"),
    Column("anion_elements"),
    Column("unbalanced_charge", "e/atom"),
    Column("phosphorus_per_anion"),
    Column("hydrogen_fraction"),
    *(Column(f"mostly_{symbol}") for symbol in ANION_KINDS),
    *(Column(f"{symbol}_share_of_anions") for symbol in ANION_KINDS),
)


@dataclass(frozen=True, eq=False)
class Ions:
    """Ions of a composition, in the best charge balance of its elements.

    Attributes:
        symbols: k elements.
        fractions: shape (k,), of the atoms.
        states: shape (k,), mean oxidation states; 0 where none is known.
        imbalance: |total charge| per atom; NaN where states are unknown.
    """

    symbols: tuple[str, ...]
    fractions: FloatArray
    states: FloatArray
    imbalance: float

    @property
    def anions(self) -> NDArray[np.bool_]:
        """Shape (k,), True for anions."""
        return self.states < 0

    @property
    def cations(self) -> NDArray[np.bool_]:
        """Shape (k,), True for cations that are not the mobile ion."""
        return (self.states > 0) & ~self.mobile

    @property
    def mobile(self) -> NDArray[np.bool_]:
        """Shape (k,), True for the mobile ion."""
        return np.array([symbol == MOBILE for symbol in self.symbols])

    def share(self, part: NDArray[np.bool_]) -> float:
        """Fraction of the atoms that belong to a part of the ions."""
        return float(self.fractions[part].sum())

    def average(self, values: FloatArray, part: NDArray[np.bool_]) -> float:
        """Mean of `values` (k,) over a part of the ions; NaN where it has none."""
        return float(np.average(values[part], weights=self.fractions[part])) if part.any() else math.nan

    def ratio(self, part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
        """Ions of one part per ion of another; NaN where that has none."""
        return self.share(part) / self.share(whole) if whole.any() else math.nan

    def is_element(self, symbol: str) -> NDArray[np.bool_]:
        """Shape (k,), True for one element."""
        return np.array([own == symbol for own in self.symbols])

    @property
    def radii(self) -> FloatArray:
        """Ionic radii, shape (k,), Å."""
        return np.array(
            [
                ionic_radius(symbol, float(state))
                for symbol, state in zip(self.symbols, self.states, strict=True)
            ]
        )


def find_ions(amounts: Mapping[str, float]) -> Ions:
    """Find the ions of a composition.

    Args:
        amounts: by element symbol, on any scale.

    Raises:
        FeatureError: a symbol or an amount is not allowed, or there are none.
    """
    find_fractions(amounts)  # refuses what is no composition
    merged: dict[str, float] = {}
    for symbol, amount in amounts.items():
        if amount > 0:
            name = ISOTOPES.get(symbol, symbol)
            merged[name] = merged.get(name, 0.0) + amount
    total = sum(merged.values())
    return _find_ions(tuple(sorted((name, round(amount / total, 12)) for name, amount in merged.items())))


@lru_cache(maxsize=50_000)
def _find_ions(fractions: tuple[tuple[str, float], ...]) -> Ions:
    shares = dict(fractions)
    balance = find_states(shares)
    states = [0.0 if balance is None else float(balance.states[symbol]) for symbol in shares]
    return Ions(
        tuple(shares),
        np.array(list(shares.values())),
        np.array(states),
        math.nan if balance is None else float(balance.imbalance),
    )


@dataclass(frozen=True)
class CationCharges:
    """Amounts of the cations of each formal charge per anion, lithium aside.

    Mixed-valent cations count with both whole charges.
    """

    name: str = "cation_charges"
    needs: Need = "composition"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """One per charge."""
        return tuple(Column(f"cations_{charge}_per_anion") for charge in CHARGES)

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute amounts, shape (n, 6); NaN without anions."""
        rows = describe_each(materials, lambda material: count_charges(find_ions(material.composition)))
        return np.array(rows).reshape(len(materials), len(CHARGES))


def count_charges(ions: Ions) -> FloatArray:
    """Cations of each formal charge per anion, shape (6,); NaN without anions."""
    anions = ions.share(ions.anions)
    if not anions > 0:
        return np.full(len(CHARGES), np.nan)
    amounts = np.zeros(len(CHARGES) + 1)  # by charge, from 0
    states = np.minimum(ions.states[ions.cations], CHARGES[-1])
    lower = np.minimum(np.floor(states).astype(np.int64), CHARGES[-1] - 1)
    np.add.at(amounts, lower, ions.fractions[ions.cations] * (lower + 1 - states))
    np.add.at(amounts, lower + 1, ions.fractions[ions.cations] * (states - lower))
    return np.round(amounts[1:] / anions, DIGITS) + 0.0


@dataclass(frozen=True)
class IonicComposition:
    """Amounts, sizes, electronegativities and mixing of lithium, the other cations, and the anions."""

    name: str = "ionic_composition"
    needs: Need = "composition"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`ION_COLUMNS`."""
        return ION_COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 36); NaN where a feature does not apply."""
        rows = describe_each(materials, lambda material: describe_ions(find_ions(material.composition)))
        return np.array(rows).reshape(len(materials), len(ION_COLUMNS))


def describe_ions(ions: Ions) -> FloatArray:
    """Features of the ions of one composition, shape (36,), as `ION_COLUMNS`."""
    mobile, cations, anions = ions.mobile, ions.cations, ions.anions
    everything = np.ones(len(ions.symbols), dtype=np.bool_)
    scale = np.array([electronegativity(symbol) for symbol in ions.symbols])
    of_anions, of_cations = ions.average(scale, anions), ions.average(scale, cations)
    lithium = ions.share(mobile)
    kinds = np.array([ions.share(anions & ions.is_element(symbol)) for symbol in ANION_KINDS])
    amount = ions.share(anions)
    most = ions.symbols[int(np.argmax(np.where(anions, ions.fractions, -1.0)))] if amount > 0 else ""
    shared = kinds / amount if amount > 0 else kinds
    numbers = [
        lithium,
        math.log10(lithium + LITHIUM_OFFSET),
        ions.ratio(mobile, anions),
        ions.ratio(cations, anions),
        min(ions.ratio(mobile, cations), LARGEST_RATIO) if cations.any() else LARGEST_RATIO * bool(lithium),
        of_anions,
        of_cations,
        of_anions - of_cations,
        ions.average(ions.radii, anions),
        ions.average(ions.radii, cations),
        ions.average(ions.states, cations),
        mixing_entropy(ions, everything),
        mixing_entropy(ions, cations),
        mixing_entropy(ions, anions),
        len(ions.symbols),
        cations.sum(),
        anions.sum(),
        ions.imbalance,
        ions.ratio(ions.is_element("P"), anions),
        ions.share(ions.is_element("H")),
        *(float(symbol == most) for symbol in ANION_KINDS),
        *shared,
    ]
    found: FloatArray = np.array([float(number) for number in numbers])
    return np.round(found, DIGITS) + 0.0


def mixing_entropy(ions: Ions, part: NDArray[np.bool_]) -> float:
    """Ideal entropy of mixing of the elements of a part, k_B per ion of it; 0 where it has none."""
    if not part.any():
        return 0.0
    shares = ions.fractions[part] / ions.fractions[part].sum()
    return float(-(shares * np.log(shares)).sum())
