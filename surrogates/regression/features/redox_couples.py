"""Features of insertion electrodes from their redox couples, filled with electrons in the order of their energies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import oxidation_states
from invdesign.structures.ions import electronegativity, is_group_1_or_2_metal
from surrogates.regression.features.contract import Column, Need, describe_each
from surrogates.regression.features.electrode import Pair, require_pair
from surrogates.regression.material import Material

# Potential (V) at a cation, per unit of its charge, in rock salt of point charges: Madelung constant, times e² / (4 pi epsilon_0)
# in eV Å, over the distance between metal and oxygen, which is near 2.1 Å in NiO and MgO (chosen).
SITE_POTENTIAL = 1.74756 * 14.3996 / 2.1
CENTRE_METALLOIDS = frozenset(("B", "Si", "Ge", "As"))
"""Metalloids that are the centres of oxoanions and keep their highest state, like phosphorus."""
TOP_ENERGY, REST_ENERGY = 42.0, -7.0  # eV, chosen: above and below all couples
# Electrons that an anion and a redox atom can give or take beyond the couples; chosen: more than any electrode moves.
ANION_ELECTRONS, REST_ELECTRONS = 2.0, 20.0
SPECTATOR_STATES: Mapping[str, int] = {
    **dict.fromkeys(("O", "S", "Se", "Te"), -2),
    **dict.fromkeys(("F", "Cl", "Br", "I"), -1),
    "H": 1,
    "N": -3,
    "B": 3,
    "Si": 4,
    "C": 4,
    "Ge": 4,
    "P": 5,
    "As": 5,
}
OXOANION_OXYGEN = (
    3  # oxygen atoms per atom of S, Se, N, Cl, Br or I from which these are the centres of oxoanions
)
SULFATE_OXYGEN = 3.5  # per atom of S or Se, between sulfite (3) and sulfate (4)
PERIODATE_OXYGEN = 3.5  # per atom of Cl, Br or I, between iodate (3) and perchlorate (4)
TELLURATE_OXYGEN = 2  # per atom of Te, as in TeO2
PHOSPHATE_PARTNERS = (
    2.4  # O, F, S and Se per atom of P or As, below PO3-, PS3- and P2S6 4- and above oxide phosphides
)
CARBONATE_OXYGEN = 1.5  # per atom of C, below oxalate (2)
RATIO_SLACK = 1 - 1e-6  # amounts are rounded fractions
CENTRES = ("P", "S", "Si", "B", "C", "As", "H", "W", "Mo")
ANIONS = ("O", "F", "S", "Cl", "Se")
EV = "eV"

COLUMNS = (
    Column("couple_energy", EV),
    Column("first_couple_energy", EV),
    Column("last_couple_energy", EV),
    Column("couple_energy_above", EV),
    Column("couple_energy_below", EV),
    Column("couple_ionization_energy", EV),
    Column("couple_upper_state", "e"),
    Column("couple_electronegativity"),
    Column("couple_row"),
    Column("couple_group"),
    Column("couple_mendeleev_number"),
    Column("couple_ionic_radius", "Å"),
    Column("couple_d_electrons"),
    Column("anion_redox_share"),
    Column("rest_redox_share"),
    Column("excess_charge", "e/atom"),
    Column("electrons_per_redox_atom"),
    Column("mean_redox_state_charged", "e"),
    Column("mean_redox_state_discharged", "e"),
    Column("redox_electronegativity"),
    Column("redox_mixing"),
    Column("redox_elements"),
    Column("redox_atoms_per_anion"),
    Column("ions_per_atom_charged"),
    Column("ions_per_atom_discharged"),
    Column("ions_per_atom_mean"),
    Column("ions_per_atom_moved"),
    Column("ions_per_anion_charged"),
    Column("ions_per_anion_discharged"),
    Column("ions_per_redox_atom_charged"),
    Column("ions_per_redox_atom_discharged"),
    *(Column(f"anion_share_{symbol}") for symbol in ANIONS),
    *(Column(f"centres_per_anion_{symbol}") for symbol in CENTRES),
    Column("other_cation_charge_per_anion", "e"),
    Column("other_cation_electronegativity"),
    Column("inductive_effect", "e"),
    Column("electropositive_per_anion"),
    Column("anion_electronegativity"),
    Column("host_electronegativity"),
    Column("inactive_electronegativity"),
)


@dataclass(frozen=True, slots=True)
class Level:
    """Electrons that the atoms of one element take at one energy.

    Attributes:
        element: symbol; empty for the levels of anions and of the rest.
        upper: oxidation state before the electron.
        energy: of the couple, eV; see `find_couples`.
        count: electrons per atom of the host.
    """

    element: str
    upper: int
    energy: float
    count: float


@dataclass(frozen=True, eq=False)
class Ladder:
    """Levels of a host, falling in energy, with the electrons they hold.

    Attributes:
        levels: the first is that of the anions, the last that of the rest.
        charged, discharged: electrons in each level; below 0 in the first one if anions have given some.
        charge_charged, charge_discharged: sum of the redox elements' charges, per atom of the host.
    """

    levels: tuple[Level, ...]
    charged: FloatArray
    discharged: FloatArray
    charge_charged: float
    charge_discharged: float


@cache
def find_couples(element: str) -> tuple[int, tuple[float, ...]]:
    """Couples of an element by one electron each, from its highest state in solids down to the atom.

    The energy of a couple is the ionisation energy of the lower state, less that of the electron in the potential of the other
    ions. This follows the charge: the ion before and after has (2 n - 1) / 2 charges on average. Where a couple would lie above that
    of the next higher state, the state between both disproportionates, and the couples share their mean.

    Args:
        element: symbol.

    Returns:
        Highest state; energies (eV), which do not rise. (0, ()) for an element with one cationic state alone, for nonmetals, and for
        metals of groups 1 and 2.

    Source:
        Ionisation energies of NIST and states of the ICSD, as pymatgen tabulates them.
    """
    from pymatgen.core import Element

    found = Element(element)
    fixed = not (found.is_metal or found.is_metalloid) or is_group_1_or_2_metal(element)
    states = {state for state in (*found.icsd_oxidation_states, *oxidation_states(element)) if state > 0}
    if fixed or element in CENTRE_METALLOIDS or len(states) < 2:
        return 0, ()
    top = max(states)
    energies = [_find_ionization_energy(element, n) - SITE_POTENTIAL * (n - 0.5) for n in range(top, 0, -1)]
    return top, _share_rising(energies)


def _share_rising(energies: Sequence[float]) -> tuple[float, ...]:
    """Nearest sequence that does not rise: means of rising parts (pool adjacent violators)."""
    parts: list[tuple[float, int]] = []
    for energy in energies:
        mean, count = energy, 1
        while parts and mean > parts[-1][0]:
            other, size = parts.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        parts.append((mean, count))
    return tuple(mean for mean, count in parts for _ in range(count))


def _is_redox(element: str) -> bool:
    return bool(find_couples(element)[1])


def find_spectator_states(host: Mapping[str, float]) -> dict[str, int]:
    """Find formal states of elements that keep theirs, as a host takes up ions.

    Elements with couples are left out. A rule by ratios of atoms instead of `balance_charges`: that tries all forms of all
    elements, which takes a hundred times as long; both agree on usual electrodes.

    Args:
        host: amounts by element, without the working ion.
    """
    oxygen = host.get("O", 0.0) / RATIO_SLACK
    partners = oxygen + sum(host.get(name, 0.0) for name in ("F", "S", "Se"))
    states: dict[str, int] = {}
    for name, amount in host.items():
        if _is_redox(name) and not (name == "Te" and oxygen < TELLURATE_OXYGEN * amount):
            continue
        oxoanion = oxygen >= OXOANION_OXYGEN * amount
        state = SPECTATOR_STATES.get(name)
        if state is None:
            state = max(oxidation_states(name))
        elif name in {"S", "Se"} and oxoanion:
            state = 6 if oxygen >= SULFATE_OXYGEN * amount else 4
        elif name == "N" and oxoanion:
            state = 5
        elif name in {"Cl", "Br", "I"} and oxoanion and _is_only_centre(name, host):
            state = 7 if oxygen >= PERIODATE_OXYGEN * amount else 5
        elif name in {"P", "As"} and partners < PHOSPHATE_PARTNERS * amount:
            state = -3
        elif name == "C" and oxygen < CARBONATE_OXYGEN * amount:
            state = 2 if "N" in host else -4
        elif name == "H" and not {"O", "N", "F", "S", "Cl"} & set(host):
            state = -1
        states[name] = state
    return states


def _is_only_centre(halogen: str, host: Mapping[str, float]) -> bool:
    """True if a halogen may be the centre of an oxoanion: iodine beside metals, or any without redox elements.

    Chlorine and bromine beside redox elements are chloride and bromide of oxychlorides.
    """
    return halogen == "I" or not any(map(_is_redox, host))


def fill_ladder(pair: Pair, states: Mapping[str, int], ion_state: int) -> Ladder:
    """Fill the couples of a host with electrons, from the highest energy down, to both charges.

    Args:
        pair: host and contents of the working ion.
        states: of the spectators.
        ion_state: charge of the working ion.
    """
    host = _list_host(pair)
    redox = {name: amount for name, amount in host.items() if name not in states}
    anions = [name for name in host if states.get(name, 0) < 0]
    # Higher of two equal energies: by symbol, so that the order of a formula's elements does not matter.
    levels = sorted(
        (
            Level(name, find_couples(name)[0] - place, energy, amount)
            for name, amount in redox.items()
            for place, energy in enumerate(find_couples(name)[1])
        ),
        key=lambda level: (-level.energy, level.element),
    )
    top = sum(amount * find_couples(name)[0] for name, amount in redox.items())
    spectators = sum(amount * states[name] for name, amount in host.items() if name in states)
    charges = [-spectators - ion_state * content for content in (pair.charged, pair.discharged)]
    ends = (
        Level("", 0, TOP_ENERGY, ANION_ELECTRONS * sum(host[name] for name in anions)),
        Level("", 0, REST_ENERGY, REST_ELECTRONS * sum(redox.values())),
    )
    counts = np.array([level.count for level in levels])
    below = np.concatenate([[0.0], np.cumsum(counts)])
    filled = []
    for charge in charges:
        electrons = top - charge
        taken = np.clip(electrons - below[:-1], 0.0, counts)
        filled.append(np.array([min(electrons, 0.0), *taken, max(electrons - below[-1], 0.0)]))
    return Ladder((ends[0], *levels, ends[1]), filled[0], filled[1], charges[0], charges[1])


def describe_couples(pair: Pair) -> FloatArray:
    """Features of a pair, as `COLUMNS`; NaN where there is no redox element or no anion.

    Args:
        pair: host and contents of the working ion.
    """
    host = _list_host(pair)
    states = find_spectator_states(host)
    ion_state = max(oxidation_states(pair.ion))
    ladder = fill_ladder(pair, states, ion_state)
    redox = {name: amount for name, amount in host.items() if name not in states}
    anions = {name: amount for name, amount in host.items() if states.get(name, 0) < 0}
    others = {name: amount for name, amount in host.items() if states.get(name, 0) > 0}
    metals, bound = sum(redox.values()) or math.nan, sum(anions.values()) or math.nan
    others_charge = sum(amount * states[name] for name, amount in others.items())
    inductive = sum(
        amount * states[name] * (electronegativity(name) - 1.0) for name, amount in others.items()
    )
    active = {level.element for level, share in _share_electrons(ladder)}
    inactive = {name: amount for name, amount in host.items() if name not in active}
    moved = pair.discharged - pair.charged
    shares = {name: amount / metals for name, amount in redox.items()}
    cations = redox | others
    numbers = [
        *_describe_energies(ladder),
        *_describe_active(ladder),
        max(0.0, -float(ladder.charged[0])),
        ion_state * moved / metals,
        ladder.charge_charged / metals,
        ladder.charge_discharged / metals,
        _average(electronegativity, redox),
        -sum(share * math.log(share) for share in shares.values()),
        float(len(redox)),
        metals / bound,
        pair.charged,
        pair.discharged,
        (pair.charged + pair.discharged) / 2,
        moved,
        pair.charged / bound,
        pair.discharged / bound,
        pair.charged / metals,
        pair.discharged / metals,
        *(anions.get(name, 0.0) / bound for name in ANIONS),
        *(cations.get(name, 0.0) / bound for name in CENTRES),
        others_charge / bound,
        _average(electronegativity, {name: n * states[name] for name, n in others.items()}, empty=0.0),
        inductive / bound,
        sum(amount for name, amount in others.items() if is_group_1_or_2_metal(name)) / bound,
        _average(electronegativity, anions),
        _average(electronegativity, host),
        _average(electronegativity, inactive),
    ]
    return np.round(np.array(numbers, dtype=float), 9) + 0.0


def _list_host(pair: Pair) -> dict[str, float]:
    return pair.count_amounts(0.0)


def _share_electrons(ladder: Ladder) -> list[tuple[Level, float]]:
    """Levels that take electrons on discharge, with their shares of them."""
    given = ladder.discharged - ladder.charged
    total = float(given.sum())
    return [
        (level, float(n) / total) for level, n in zip(ladder.levels, given, strict=True) if n > 1e-9 * total
    ]


def _describe_energies(ladder: Ladder) -> list[float]:
    """Average, first and last energy of the electrons, and those of the nearest levels beside them."""
    moved = _share_electrons(ladder)
    energies = [level.energy for level, _ in moved]
    inner = range(1, len(ladder.levels) - 1)
    held = [ladder.levels[i].energy for i in inner if ladder.charged[i] > 1e-9]
    free = [ladder.levels[i].energy for i in inner if ladder.discharged[i] < ladder.levels[i].count - 1e-9]
    return [
        sum(level.energy * share for level, share in moved),
        max(energies),
        min(energies),
        min(held, default=TOP_ENERGY),
        max(free, default=REST_ENERGY),
    ]


def _describe_active(ladder: Ladder) -> list[float]:
    """Averages of the couples that take electrons, then the shares of anions and of the rest."""
    moved = _share_electrons(ladder)
    couples = [(level, share) for level, share in moved if level.element]
    found = [_average_couples(_COUPLE_PROPERTIES[name], couples) for name in _COUPLE_PROPERTIES]
    anion = sum(share for level, share in moved if level is ladder.levels[0])
    rest = sum(share for level, share in moved if level is ladder.levels[-1])
    return [*found, anion, rest]


def _average_couples(read: Callable[[str, int], float], couples: Iterable[tuple[Level, float]]) -> float:
    known = [(read(level.element, level.upper), share) for level, share in couples]
    known = [(value, share) for value, share in known if not math.isnan(value)]
    total = sum(share for _, share in known)
    return sum(value * share for value, share in known) / total if total > 0 else math.nan


def _average(read: Callable[[str], float], amounts: Mapping[str, float], empty: float = math.nan) -> float:
    total = sum(amounts.values())
    return sum(read(name) * amount for name, amount in amounts.items()) / total if total > 0 else empty


@cache
def _read_element(symbol: str) -> Mapping[str, float]:
    """Numbers of an element that the features average."""
    from pymatgen.core import Element

    element = Element(symbol)
    return {
        "electronegativity": electronegativity(symbol),
        "row": float(element.row),
        "group": float(element.group),
        "mendeleev_number": float(element.mendeleev_no),
        "ionic_radius": float(element.average_ionic_radius),
    }


@cache
def _find_ionization_energy(symbol: str, state: int) -> float:
    """Energy (eV) that turns the ion one below `state` into `state`."""
    from pymatgen.core import Element

    energies = Element(symbol).ionization_energies
    known = 0 < state <= len(energies) and energies[state - 1] is not None
    return float(energies[state - 1]) if known else math.nan


@cache
def _count_d_electrons(symbol: str, state: int) -> float:
    from pymatgen.core import Element

    element = Element(symbol)
    return float(element.group - state) if element.is_transition_metal else 0.0


_COUPLE_PROPERTIES: Mapping[str, Callable[[str, int], float]] = {
    "ionization_energy": _find_ionization_energy,
    "upper_state": lambda _, state: float(state),
    "electronegativity": lambda symbol, _: _read_element(symbol)["electronegativity"],
    "row": lambda symbol, _: _read_element(symbol)["row"],
    "group": lambda symbol, _: _read_element(symbol)["group"],
    "mendeleev_number": lambda symbol, _: _read_element(symbol)["mendeleev_number"],
    "ionic_radius": lambda symbol, _: _read_element(symbol)["ionic_radius"],
    "d_electrons": _count_d_electrons,
}


@dataclass(frozen=True)
class RedoxCouples:
    """Couples that take the electrons of an electrode on discharge, their energies, and what surrounds them."""

    name: str = "redox_couples"
    needs: Need = "electrode"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`COLUMNS`."""
        return COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 52); NaN where there is no redox element or no anion.

        Raises:
            FeatureError: a material has no charged composition, or one of another host.
        """
        rows = describe_each(materials, _describe_material)
        return np.array(rows).reshape(len(materials), len(COLUMNS))


def _describe_material(material: Material) -> FloatArray:
    return describe_couples(require_pair(material))
