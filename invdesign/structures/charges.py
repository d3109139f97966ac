"""Oxidation states of elements, and charge balance of compositions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise
from math import lcm
from typing import Annotated

from pydantic import AfterValidator, Field

from invdesign.structures.ions import (
    electrode_states,
    has_open_shell,
    is_alkali,
    is_group_1_or_2_metal,
    is_metal,
    is_metalloid,
)
from invdesign.structures.neutrality import balance_charges

MAX_DENOMINATOR = 1000  # of fractional amounts; chosen
# Metals with less charge (Sn- in NaSn) share electrons with their like; Bi3- and Sn4- do not.
CLUSTER_CHARGE_LIMIT = -3
INTERSTITIAL_ELEMENTS = frozenset({"H", "C", "N", "P"})


@cache
def element_symbols() -> tuple[str, ...]:
    """Symbols of all elements, by atomic number."""
    from pymatgen.core import Element

    plain = [e for e in Element if e.value not in {"D", "T"}]
    return tuple(e.symbol for e in sorted(plain, key=lambda e: e.Z))


def check_element(symbol: str) -> str:
    """Return `symbol`, if it is an element's.

    Raises:
        ValueError: it is none; the message names the nearest ones.
    """
    if symbol in element_symbols():
        return symbol
    close = get_close_matches(str(symbol).capitalize(), element_symbols(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    raise ValueError(f"'{symbol}' is not an element symbol.{hint}")


ElementSymbol = Annotated[str, AfterValidator(check_element)]
States = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


@cache
def oxidation_states(element: str, sign: int = 0) -> tuple[int, ...]:
    """Common oxidation states of an element in solids, ascending.

    Args:
        element: symbol.
        sign: +1 for cationic states only, -1 for anionic ones, 0 for both.

    Returns:
        Common states by pymatgen, with those that electrodes pass through (`ions.yaml`); where the element has no
        common state, all known ones; (0,) for an element without any (helium), or () where none has the requested
        sign.

    Raises:
        ValueError: `element` is no element, or `sign` is none of -1, 0, 1.
    """
    from pymatgen.core import Element

    if sign not in {-1, 0, 1}:
        raise ValueError(f"sign must be -1, 0 or 1, got {sign}")
    found = Element(check_element(element))
    common = {*found.common_oxidation_states, *electrode_states(element)} - {0}
    states = sorted(int(state) for state in common or set(found.oxidation_states) - {0})
    if sign == 0:
        return tuple(states) or (0,)
    return tuple(state for state in states if state * sign > 0)


def scale_to_whole_counts(amounts: Mapping[str, float]) -> tuple[dict[str, int], int]:
    """Scale amounts to whole numbers; return these and the factor.

    Li0.5CoO2 gives LiCo2O4 and 2.

    Args:
        amounts: by element symbol, with denominators up to 1000; zero amounts are left out.
    """
    exact = {
        name: Fraction(float(n)).limit_denominator(MAX_DENOMINATOR) for name, n in amounts.items() if n > 0
    }
    exact = {name: n for name, n in exact.items() if n}
    scale = lcm(*(n.denominator for n in exact.values()))
    return {name: int(n * scale) for name, n in exact.items()}, scale


def is_metallic(amounts: Mapping[str, float]) -> bool:
    """True for metals and alloys: compositions without ions.

    Such a composition has a metal and, besides metals, at most metalloids (B, Si, Ge, As, Sb, Te, Po). Its
    charges cannot balance, or do so only with clusters and nets of a metal: lithium, LiAl, Li15Si4 and NaSn are
    metallic, Li2Te, Mg2Si and Li3Sb are not.

    Args:
        amounts: by element symbol, fractions included; zero amounts are ignored.

    Raises:
        ValueError: a symbol is no element's.
    """
    counts, _ = scale_to_whole_counts({check_element(name): n for name, n in amounts.items()})
    if not any(map(is_metal, counts)) or not all(is_metal(name) or is_metalloid(name) for name in counts):
        return False
    balance = balance_charges(counts)
    nets = any(is_metal(name) and CLUSTER_CHARGE_LIMIT < state < 0 for name, state in balance.states.items())
    return len(counts) == 1 or balance.imbalance > 0 or nets


def is_alloy(elements: Iterable[str]) -> bool:
    """True for metals, metalloids and interstitial compounds of transition metals.

    Tellurium beside metals of groups 1 and 2 makes salts. Hydrogen, carbon, nitrogen and phosphorus are allowed
    beside a transition metal, lanthanide or actinide if there is no alkali metal (Fe3C, Ni2P, LaNi5H6).

    Args:
        elements: symbols.

    Source:
        Interstitial compounds: G. Haegg, Z. Phys. Chem. B 12, 33 (1931).
    """
    found = set(elements)
    if "Te" in found and any(map(is_group_1_or_2_metal, found)):
        return False
    rest = {name for name in found if not is_metal(name) and not is_metalloid(name)}
    if not rest:
        return True
    return (
        rest <= INTERSTITIAL_ELEMENTS and any(map(has_open_shell, found)) and not any(map(is_alkali, found))
    )


def is_neutral(amounts: Mapping[str, float]) -> bool:
    """True if the charges of a composition balance, or it is an alloy.

    The rule is that of the filter `charge_neutrality`.

    Args:
        amounts: by element symbol, fractions included.
    """
    if is_alloy(amounts):
        return True
    counts, _ = scale_to_whole_counts(amounts)
    try:
        return balance_charges(counts).imbalance == 0
    except ValueError:  # an element without any known state
        return False


def charge_imbalance(counts: Mapping[str, int], states: Mapping[str, Sequence[int]]) -> int:
    """Smallest possible |total charge| of a composition.

    Every element takes one of its states; at most one element is mixed-valent, between two states of one sign
    that are neighbours in its list (Fe2+ and Fe3+ in Fe3O4, Mn3+ and Mn4+ in LiMn2O4). Without that limit nearly
    every composition could be balanced.

    Args:
        counts: number of atoms by name; zero counts are ignored.
        states: oxidation states by the same names.

    Returns:
        0 where the charges balance.

    Raises:
        ValueError: a name with atoms has no state.
    """
    key = []
    for name, count in counts.items():
        if count == 0:
            continue
        if not states.get(name):
            raise ValueError(f"{name} has no oxidation state; give some for it")
        key.append((count, tuple(states[name])))
    return _find_least_charge(tuple(sorted(key)))


@lru_cache(maxsize=200_000)
def _find_least_charge(atoms: tuple[tuple[int, tuple[int, ...]], ...]) -> int:
    """Find the smallest |total charge| with at most one mixed-valent element."""
    plain, mixed = {0}, {0}  # total charges reachable without, and with at most one, mixed-valent element
    for count, states in atoms:
        own = {count * state for state in states}
        between = _list_mixed_totals(count, states)
        mixed = {a + b for a in mixed for b in own} | {a + b for a in plain for b in between}
        plain = {a + b for a in plain for b in own}
    return min(abs(total) for total in mixed)


@lru_cache(maxsize=20_000)
def _list_mixed_totals(count: int, states: tuple[int, ...]) -> frozenset[int]:
    """List total charges of `count` mixed-valent atoms.

    They are spread over two neighbouring states of one sign.
    """
    ordered = sorted(set(states))
    totals: set[int] = set()
    for low, high in pairwise(ordered):
        if low * high > 0:
            totals.update(range(count * low, count * high + 1, high - low))
    return frozenset(totals)


AllowedStates = tuple[tuple[str, tuple[int, ...]], ...]


@lru_cache(maxsize=10_000)
def assign_oxidation_states(
    counts: tuple[tuple[str, float], ...], allowed: AllowedStates = ()
) -> Mapping[str, float]:
    """Assign each element its likeliest mean oxidation state.

    Mn in LiMn2O4 has 3.5. The rule is that of `charge_neutrality`. Among states that balance equally well, frequent
    states in the ICSD are preferred, then negative states of electronegative elements: V3+ and P5+ in LiVPO4F, not
    V5+ and P3+.

    Args:
        counts: atoms by element.
        allowed: states of some elements, in place of those of the rule.

    Raises:
        ValueError: no oxidation state of an element is known.
    """
    whole, _ = scale_to_whole_counts(dict(counts))
    states = balance_charges(whole, dict(allowed)).states
    return {name: float(states[name]) for name, _ in counts}
