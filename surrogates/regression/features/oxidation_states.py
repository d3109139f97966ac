"""Features of compositions from formal oxidation states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.structures.charges import is_alloy, scale_to_whole_counts
from invdesign.structures.ions import is_metal
from invdesign.structures.neutrality import Balance, balance_charges
from surrogates.regression.features.composition import ISOTOPES, find_fractions
from surrogates.regression.features.contract import Column, Need, describe_each
from surrogates.regression.material import Material

ANIONS = ("H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "Te", "I")
STATE_COLUMNS = (
    Column("charge_imbalance", "e/atom"),
    Column("alloy"),
    Column("cation_fraction"),
    Column("mean_cation_state", "e"),
    Column("min_cation_state", "e"),
    Column("max_cation_state", "e"),
    Column("deviation_cation_state", "e"),
    Column("mean_anion_state", "e"),
    Column("min_anion_state", "e"),
    Column("positive_nonmetal_fraction"),
    Column("mixed_valence"),
    *(Column(f"anion_fraction_{symbol}") for symbol in ANIONS),
    Column("anion_fraction_other"),
)


def find_states(amounts: Mapping[str, float]) -> Balance | None:
    """Balance the charges of a composition; the imbalance is per atom of it.

    Args:
        amounts: by element symbol, on any scale, more than 0.

    Returns:
        None where no oxidation state of an element is known.
    """
    merged: dict[str, float] = {}
    for symbol, amount in amounts.items():
        merged[ISOTOPES.get(symbol, symbol)] = merged.get(ISOTOPES.get(symbol, symbol), 0.0) + amount
    least = min(amount for amount in merged.values() if amount > 0)
    # Ratios to the rarest element do not depend on the scale, up to rounding.
    return _balance(tuple(sorted((name, round(n / least, 9)) for name, n in merged.items() if n > 0)))


@lru_cache(maxsize=50_000)
def _balance(ratios: tuple[tuple[str, float], ...]) -> Balance | None:
    counts, _ = scale_to_whole_counts(dict(ratios))
    try:
        found = balance_charges(counts)
    except ValueError:  # an element without any known state
        return None
    return Balance(found.imbalance / sum(counts.values()), found.states)


def describe_states(amounts: Mapping[str, float]) -> FloatArray:
    """Features of the oxidation states of one composition, shape (26,), as `STATE_COLUMNS`.

    They are NaN where states are unknown, and so are the states of cations or anions where there are none.
    """
    balance = find_states(amounts)
    if balance is None:
        return np.full(len(STATE_COLUMNS), np.nan)
    names = list(balance.states)
    merged = dict.fromkeys(names, 0.0)
    for symbol, amount in amounts.items():
        if amount > 0:
            merged[ISOTOPES.get(symbol, symbol)] += amount
    shares = np.array(list(merged.values()))
    shares /= shares.sum()
    states = np.array([float(balance.states[name]) for name in names])
    cations, anions = states > 0, states < 0
    nonmetals = np.array([not is_metal(name) for name in names])
    anion_shares = {name: share for name, share, anion in zip(names, shares, anions, strict=True) if anion}
    total = sum(anion_shares.values()) or 1.0
    kinds = [anion_shares.get(symbol, 0.0) / total for symbol in ANIONS]
    mean = _average(states, shares, cations)
    numbers = [
        float(balance.imbalance),
        float(is_alloy(merged)),
        shares[cations].sum(),
        mean,
        states[cations].min(initial=np.inf),
        states[cations].max(initial=-np.inf),
        _average((states - mean) ** 2, shares, cations) ** 0.5,
        _average(states, shares, anions),
        states[anions].min(initial=np.inf),
        shares[cations & nonmetals].sum(),
        float(any(state.denominator > 1 for state in balance.states.values())),
        *kinds,
        (1.0 - sum(kinds)) * bool(anion_shares),
    ]
    found = np.round(np.array(numbers), 9) + 0.0
    found[~np.isfinite(found)] = np.nan
    return found


def _average(values: FloatArray, shares: FloatArray, kept: NDArray[np.bool_]) -> float:
    """Mean of the kept values; NaN where none is kept."""
    return float(np.average(values[kept], weights=shares[kept])) if kept.any() else float("nan")


@dataclass(frozen=True)
class OxidationStates:
    """Formal oxidation states of cations and anions, and the kinds of the anions."""

    name: str = "oxidation_states"
    needs: Need = "composition"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`STATE_COLUMNS`."""
        return STATE_COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 26)."""
        rows = describe_each(materials, _describe_material)
        return np.array(rows).reshape(len(materials), len(STATE_COLUMNS))


def _describe_material(material: Material) -> FloatArray:
    find_fractions(material.composition)  # refuses what is no composition
    return describe_states(material.composition)
