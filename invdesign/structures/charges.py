"""Oxidation states and whether charges can balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from functools import cache, lru_cache
from itertools import pairwise
from math import lcm

# States that battery electrodes pass through on charge and discharge and that pymatgen's list of common states
# lacks: Ti3+ in Li2Ti2O4, V3+ and V4+ in LiVPO4F, Mn3+ in LiMnO2, Co4+ in CoO2, Ni3+ and Ni4+ in LiNiO2 and NiO2,
# Cu+ in Li2CuO2's products, Nb4+ and Mo5+ in reduced niobates and molybdates, Ru5+ in Li2RuO3.
ELECTRODE_STATES: Mapping[str, tuple[int, ...]] = {
    "Ti": (3,),
    "V": (2, 3, 4),
    "Cr": (2, 4, 5),
    "Mn": (3,),
    "Co": (4,),
    "Ni": (3, 4),
    "Cu": (1,),
    "Nb": (3, 4),
    "Mo": (3, 5),
    "Ru": (5,),
    "W": (5,),
}


@cache
def element_symbols() -> tuple[str, ...]:
    """Symbols of all elements, by atomic number."""
    from pymatgen.core import Element

    plain = [e for e in Element if e.value not in {"D", "T"}]
    return tuple(e.symbol for e in sorted(plain, key=lambda e: e.Z))


def check_element(symbol: str) -> str:
    """`symbol` itself where it is an element's.

    Raises:
        ValueError: it is none; the message names the nearest ones.
    """
    if symbol in element_symbols():
        return symbol
    close = get_close_matches(str(symbol).capitalize(), element_symbols(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    raise ValueError(f"'{symbol}' is not an element symbol.{hint}")


@cache
def oxidation_states(element: str, sign: int = 0) -> tuple[int, ...]:
    """Oxidation states `element` commonly has in solids, ascending.

    Args:
        element: symbol.
        sign: +1 for cationic states only, -1 for anionic ones, 0 for both.

    Returns:
        Common states by pymatgen, with those of `ELECTRODE_STATES`; where the element has no common state, all
        known ones; (0,) for an element without any (helium), or () where none has the sign asked for.

    Raises:
        ValueError: `element` is no element, or `sign` is none of -1, 0, 1.
    """
    from pymatgen.core import Element

    if sign not in {-1, 0, 1}:
        raise ValueError(f"sign must be -1, 0 or 1, got {sign}")
    found = Element(check_element(element))
    common = {*found.common_oxidation_states, *ELECTRODE_STATES.get(element, ())} - {0}
    states = sorted(int(state) for state in common or set(found.oxidation_states) - {0})
    if sign == 0:
        return tuple(states) or (0,)
    return tuple(state for state in states if state * sign > 0)


@cache
def _is_kind(element: str, kind: str) -> bool:
    """True if pymatgen counts the element among `kind`: `metal` or `metalloid`."""
    from pymatgen.core import Element

    return bool(getattr(Element(check_element(element)), f"is_{kind}"))


def is_metallic(counts: Mapping[str, float]) -> bool:
    """True for metals and alloys: compositions without ions.

    Such a composition has a metal and, besides metals, metalloids at most (B, Si, Ge, As, Sb, Te, Po), and its
    charges cannot balance: lithium, LiAl and Li15Si4 are metallic, Li2Te, Mg2Si and Li3Sb are not.

    Args:
        counts: amounts by element symbol, fractions included; zero counts are ignored.
    """
    present = {name: Fraction(float(n)).limit_denominator(1000) for name, n in counts.items() if n > 0}
    metals = [name for name in present if _is_kind(name, "metal")]
    if not metals or not all(name in metals or _is_kind(name, "metalloid") for name in present):
        return False
    scale = lcm(*(n.denominator for n in present.values()))
    whole = {name: int(n * scale) for name, n in present.items()}
    return charge_imbalance(whole, {name: oxidation_states(name) for name in whole}) > 0


def charge_imbalance(counts: Mapping[str, int], states: Mapping[str, Sequence[int]]) -> int:
    """How far a composition is from charge balance, at best.

    Every element takes one of its states; at most one element is mixed-valent, between two states of one sign
    that are neighbours in its list (Fe2+ and Fe3+ in Fe3O4, Mn3+ and Mn4+ in LiMn2O4). Without that limit nearly
    every composition could be balanced.

    Args:
        counts: number of atoms by name; zero counts are ignored.
        states: oxidation states by the same names.

    Returns:
        The smallest possible |total charge|; 0 where the charges balance.

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
    return _imbalance(tuple(sorted(key)))


@lru_cache(maxsize=200_000)
def _imbalance(atoms: tuple[tuple[int, tuple[int, ...]], ...]) -> int:
    plain, mixed = {0}, {0}  # total charges reachable without, and with at most one, mixed-valent element
    for count, states in atoms:
        own = {count * state for state in states}
        between = _mixed(count, states)
        mixed = {a + b for a in mixed for b in own} | {a + b for a in plain for b in between}
        plain = {a + b for a in plain for b in own}
    return min(abs(total) for total in mixed)


@lru_cache(maxsize=20_000)
def _mixed(count: int, states: tuple[int, ...]) -> frozenset[int]:
    """Total charges of `count` atoms spread over two neighbouring states of one sign."""
    ordered = sorted(set(states))
    totals: set[int] = set()
    for low, high in pairwise(ordered):
        if low * high > 0:
            totals.update(range(count * low, count * high + 1, high - low))
    return frozenset(totals)
