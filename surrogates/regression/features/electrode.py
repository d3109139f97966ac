"""Features of insertion electrodes: host, working ion, and oxidation states before and after its removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols
from invdesign.structures.descriptors import element_property_table
from invdesign.structures.ions import is_group_1_or_2_metal, is_metal
from surrogates.regression.features.composition import (
    PROPERTY_UNITS,
    find_fractions,
    name_statistics,
    property_table,
    summarise_properties,
)
from surrogates.regression.features.contract import Column, FeatureError, Need, describe_each
from surrogates.regression.features.oxidation_states import find_states
from surrogates.regression.material import Material

HOST_TOLERANCE = 0.01  # relative difference of the hosts of one electrode; chosen: formulas are rounded
REDOX_PROPERTIES = (
    "electronegativity",
    "ionization_energy",
    "group",
    "row",
    "atomic_radius",
    "d_valence",
    "mendeleev_number",
)
PAIR_COLUMNS = (
    Column("ion_fraction_discharged"),
    Column("ion_fraction_charged"),
    Column("ions_per_host_atom"),
    Column("charge_imbalance_discharged", "e/atom"),
    Column("charge_imbalance_charged", "e/atom"),
    Column("redox_fraction"),
    Column("redox_elements"),
    Column("nonmetal_redox_share"),
    Column("redox_state_discharged", "e"),
    Column("redox_state_charged", "e"),
    Column("redox_change", "e"),
    Column("ions_per_redox_atom"),
    Column("valence_electrons_discharged"),
    Column("valence_electrons_charged"),
    *(Column(f"redox_{name}", PROPERTY_UNITS.get(name, "")) for name in REDOX_PROPERTIES),
)


@dataclass(frozen=True, eq=False)
class Pair:
    """Electrode with and without its working ions.

    Attributes:
        ion: symbol of the working ion.
        host: shape (95,), fractions of the host's atoms by atomic number, without the ion.
        discharged: ions per atom of the host, with the most ions.
        charged: ions per atom of the host, with the fewest.
    """

    ion: str
    host: FloatArray
    discharged: float
    charged: float

    def count_amounts(self, ions: float) -> dict[str, float]:
        """Amounts by element with a number of `ions` per atom of the host."""
        amounts = {element_symbols()[z - 1]: float(self.host[z]) for z in np.flatnonzero(self.host).tolist()}
        return {**amounts, self.ion: ions} if ions > 0 else amounts


def find_pair(discharged: Mapping[str, float], charged: Mapping[str, float]) -> Pair:
    """Find the working ion and the host of an electrode.

    Args:
        discharged: amounts by element, on any scale.
        charged: amounts of the electrode after ions have left, on any scale.

    Raises:
        FeatureError: the two do not differ by the amount of one metal of the first two groups, less of it in `charged`.
    """
    full, empty = find_fractions(discharged), find_fractions(charged)
    for number in np.flatnonzero(full).tolist():
        symbol = element_symbols()[number - 1]
        rest = 1.0 - full[number], 1.0 - empty[number]
        if not is_group_1_or_2_metal(symbol) or min(rest) <= 0:
            continue
        hosts = [np.where(np.arange(len(full)) == number, 0.0, row) for row in (full, empty)]
        first, second = hosts[0] / rest[0], hosts[1] / rest[1]
        ions = float(full[number] / rest[0]), float(empty[number] / rest[1])
        if np.abs(first - second).max() <= HOST_TOLERANCE * first.max() and ions[0] > ions[1]:
            return Pair(symbol, first, *ions)
    raise FeatureError(
        "the charged formula is not the discharged one with fewer ions of one metal of group 1 or 2; "
        "check both formulas, or their order"
    )


@dataclass(frozen=True)
class Electrode:
    """Statistics of the host, content of the working ion, and states of the redox elements before and after.

    Redox elements are those whose formal states differ, weighted by the electrons they give.
    """

    name: str = "electrode"
    needs: Need = "electrode"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Statistics of the host, then `PAIR_COLUMNS`."""
        return (*name_statistics("host_"), *PAIR_COLUMNS)

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 101); NaN where no element changes its state.

        Raises:
            FeatureError: a material has no charged composition, or one of another host.
        """
        pairs = describe_each(materials, _require_pair)
        if not pairs:
            return np.empty((0, len(self.columns)))
        host = summarise_properties(np.array([pair.host for pair in pairs]), property_table())
        return np.hstack([host, np.array([_describe_pair(pair) for pair in pairs])])


def _require_pair(material: Material) -> Pair:
    if not material.charged:
        raise FeatureError(
            "its charged composition is needed; give the formula of the electrode without its working ions"
        )
    return find_pair(material.composition, material.charged)


def _describe_pair(pair: Pair) -> FloatArray:
    """Features of a pair, as `PAIR_COLUMNS`."""
    before = find_states(pair.count_amounts(pair.discharged))
    after = find_states(pair.count_amounts(pair.charged))
    moved = pair.discharged - pair.charged
    numbers = [pair.discharged / (1 + pair.discharged), pair.charged / (1 + pair.charged), moved]
    numbers += [np.nan if found is None else float(found.imbalance) for found in (before, after)]
    electrons: dict[str, float] = {}
    if before is not None and after is not None:
        for symbol, amount in pair.count_amounts(0.0).items():
            given = amount * abs(float(after.states[symbol] - before.states[symbol]))
            if given > 0:
                electrons[symbol] = given
    if before is None or after is None or not electrons:
        missing = np.full(len(PAIR_COLUMNS) - len(numbers), np.nan)
        return np.round(np.append(numbers, missing), 9)
    symbols = list(electrons)
    weights = np.array(list(electrons.values())) / sum(electrons.values())
    places = [element_symbols().index(symbol) + 1 for symbol in symbols]
    present = float(pair.host[places].sum())
    low = float(weights @ [float(before.states[symbol]) for symbol in symbols])
    high = float(weights @ [float(after.states[symbol]) for symbol in symbols])
    names, table = element_property_table()
    own = weights @ table[places]
    valence = float(own[names.index("valence_electrons")])
    numbers += [
        present,
        float(len(symbols)),
        float(weights @ [not is_metal(symbol) for symbol in symbols]),
        low,
        high,
        high - low,
        moved / present,
        valence - low,
        valence - high,
        *(float(own[names.index(name)]) for name in REDOX_PROPERTIES),
    ]
    return np.round(np.array(numbers), 9) + 0.0
