"""Components as chemistry: ions, elements and formulas, their charges, and charge balance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.charges import check_element, oxidation_states
from invdesign.structures.formulas import parse_composition

VACANCY = "vacancy"
_ION_PATTERN = re.compile(r"^([A-Z][a-z]?)(\d*)([+-])$")


@dataclass(frozen=True)
class Species:
    """One unit of a component: its atoms and its charge.

    Attributes:
        elements: atoms by element; none for a vacancy.
        charge: in elementary charges; None where the name does not give it.
    """

    name: str
    elements: Mapping[str, float]
    charge: float | None

    @property
    def element(self) -> str | None:
        """Its element where it is a single atom; None for a vacancy."""
        return next(iter(self.elements), None)


def is_ion(name: str) -> bool:
    """True if `name` is an element in an oxidation state: `La3+`, `Cl-`."""
    return _ION_PATTERN.match(name) is not None


@lru_cache(maxsize=1_000)
def parse_species(name: str) -> Species:
    """Parse the `name` of an ion, element, formula or vacancy.

    Examples are `La3+`, `La`, `Li2S` and `vacancy`.

    Raises:
        ValueError: it is none of these.
    """
    if name == VACANCY:
        return Species(name, {}, 0.0)
    ion = _ION_PATTERN.match(name)
    if ion:
        element = check_element(ion[1])
        return Species(name, {element: 1.0}, float(ion[3] + (ion[2] or "1")))
    return _parse_formula(name)


def _parse_formula(name: str) -> Species:
    try:
        amounts = parse_composition(name).get_el_amt_dict()
    except InvdesignError as error:
        raise ValueError(f"'{name}' is no ion such as La3+, element or formula: {error}") from error
    alone = len(amounts) == 1 and next(iter(amounts.values())) == 1.0
    return Species(name, amounts, None if alone else 0.0)


def parse_site_atom(name: str, site: float | None) -> Species:
    """Parse the atom or vacancy of a component on a crystal site.

    Args:
        name: `Cl-`, `Cl` or `vacancy`.
        site: formal charge of the site in the parent, which decides between the states of a plain element.

    Raises:
        ValueError: it is no single atom, or its state is not clear.
    """
    found = parse_species(name)
    if found.elements and (len(found.elements) > 1 or sum(found.elements.values()) != 1.0):
        raise ValueError(f"'{name}' is no single atom; a crystal site holds an element, an ion or a vacancy")
    element = found.element
    if found.charge is not None or element is None or not site:
        return found
    states = oxidation_states(element, 1 if site > 0 else -1)
    if len(states) == 1 or site in states:
        return Species(name, found.elements, float(site if site in states else states[0]))
    options = ", ".join(f"{element}{abs(s) if abs(s) > 1 else ''}{'+' if s > 0 else '-'}" for s in states)
    hint = f"write one of {options}" if options else f"it has none of the sign of the site ({site:+g})"
    raise ValueError(f"the oxidation state of {name} is not clear; {hint}")


def check_mixed_valence(element: str, states: Sequence[int]) -> None:
    """Refuse `states` of an `element` that are not adjacent and of one sign.

    Raises:
        ValueError: in words.
    """
    check_element(element)
    low, high = states
    known = oxidation_states(element)
    between = [state for state in known if low < state < high]
    adjacent = high - low == 1 or (low in known and high in known and not between)
    if low >= high or low * high <= 0 or not adjacent:
        listed = ", ".join(f"{state:+d}" for state in known)
        raise ValueError(
            f"mixed valence is between two adjacent states of one sign, lower first, got {list(states)} for "
            f"{element}; its common states are {listed}"
        )


@dataclass(frozen=True)
class Neutrality:
    """Balance of charges: `low @ x + fixed_low <= 0 <= high @ x + fixed_high`.

    Attributes:
        low, high: shape (n,), charge per unit of each fraction with the mixed-valent element in its lower and
            in its upper state; equal without one.
        fixed_low, fixed_high: the same for the fixed species.
    """

    low: FloatArray
    high: FloatArray
    fixed_low: float
    fixed_high: float

    @property
    def rows(self) -> list[tuple[FloatArray, float, float]]:
        """(weights (n,), least, most) of the linear rules."""
        if self.fixed_low == self.fixed_high and (self.low == self.high).all():
            return [(self.low, -self.fixed_low, -self.fixed_low)]
        return [(self.low, -np.inf, -self.fixed_low), (self.high, -self.fixed_high, np.inf)]


def build_neutrality(
    amounts: Sequence[tuple[Species, float]],
    fixed: Sequence[tuple[Species, float]],
    mixed: Mapping[str, Sequence[int]],
) -> Neutrality:
    """Build the rule that charges balance.

    Args:
        amounts: (component, atoms per unit of its fraction), n of them.
        fixed: (component, atoms) of the fixed species.
        mixed: lower and upper state of at most one element, whose components are written without a state.

    Raises:
        ValueError: a component has no charge.
    """

    def charge_in_state(species: Species, upper: int) -> float:
        if species.charge is not None:
            return species.charge
        if species.name in mixed:
            return float(mixed[species.name][upper])
        raise ValueError(
            f"charges cannot balance without the charge of {species.name}: write it as an ion, such as "
            f"{species.name}2+, give its states in mixed_valence, or set neutral: false"
        )

    sides = [np.array([n * charge_in_state(species, upper) for species, n in amounts]) for upper in (0, 1)]
    totals = [float(sum(n * charge_in_state(species, upper) for species, n in fixed)) for upper in (0, 1)]
    return Neutrality(sides[0], sides[1], totals[0], totals[1])
