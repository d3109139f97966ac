"""Electrons that a host can give or take: the largest number of ions that may leave or enter it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from invdesign.structures.charges import is_metallic, scale_to_whole_counts
from invdesign.structures.formulas import write_formula
from invdesign.structures.ions import is_metal, is_metalloid
from invdesign.structures.neutrality import Balance, balance_charges

Amounts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ElectronLimit:
    """Result of counting electrons.

    Attributes:
        allowed: number of ions nearest to the wished one at which charges balance.
        redox: metals that change their charge, with the last one reached: `Mn to +4`; empty where none can.
    """

    allowed: int
    redox: str


def find_electron_limit(host: Amounts, ion: str, given: int, wished: int) -> ElectronLimit | None:
    """Find the limit of ions that electrons set, if it lies before a wished number.

    Charges must balance by the rule of `charge_neutrality`, and only metals may change theirs: anions that give electrons form
    pairs, so that the host is another one.

    Args:
        host: atoms by element, without the ion.
        ion: the working ion.
        given: number of ions in the given structure.
        wished: number of ions asked for.

    Returns:
        None where `wished` is within the limit, or where electrons cannot be counted: a metal, an alloy, carbon, or a
            given structure whose charges do not balance.
    """
    if _shares_electrons(host) or is_metallic(host) or is_metallic(_add_ions(host, ion, max(given, wished))):
        return None
    start = _find_balance(host, ion, given)
    if start is None or start.imbalance:
        return None
    step = 1 if wished > given else -1
    allowed, states = given, start.states
    for count in range(given + step, wished + step, step):
        found = _find_balance(host, ion, count)
        if found is None or found.imbalance or _changed_nonmetals(start, found, ion):
            continue
        allowed, states = count, found.states
    if allowed == wished:
        return None
    moved = [name for name in host if states.get(name) != start.states.get(name)]
    return ElectronLimit(allowed, ", ".join(f"{name} to {float(states[name]):+.3g}" for name in moved))


def describe_electron_limit(host: Amounts, ion: str, given: int, wished: int, limit: ElectronLimit) -> str:
    """Write what was asked of a host, its limit and the remedy.

    Args:
        host: atoms by element, without the ion.
        ion: the working ion.
        given: number of ions in the given structure.
        wished: number of ions asked for.
        limit: of `find_electron_limit`.
    """
    from pymatgen.core import Composition

    formula = write_formula(Composition(_add_ions(host, ion, given)))
    asked, there = abs(wished - given), abs(limit.allowed - given)
    change, verb = ("oxidised", "removed") if wished < given else ("reduced", "inserted")
    by = (
        f"its metals can be {change} by {there} ({limit.redox})"
        if there
        else f"none of its metals can be {change} further"
    )
    return (
        f"more ions {verb} than electrons allow: {asked} {ion} of {formula} need as many electrons, and {by}. Ask for "
        f"{limit.allowed} {ion} in this cell instead of {wished}, or set 'anion_redox: true' to let anions take part"
    )


def _shares_electrons(host: Amounts) -> bool:
    """True for carbon, a metal or a metalloid alone, whose atoms take electrons into bands."""
    return len(host) == 1 and all(name == "C" or is_metal(name) or is_metalloid(name) for name in host)


def _add_ions(host: Amounts, ion: str, count: int) -> dict[str, float]:
    return {**host, ion: float(count)} if count else dict(host)


def _find_balance(host: Amounts, ion: str, count: int) -> Balance | None:
    whole, _ = scale_to_whole_counts(_add_ions(host, ion, count))
    try:
        return balance_charges(whole)
    except ValueError:  # an element without any known state
        return None


def _changed_nonmetals(start: Balance, found: Balance, ion: str) -> bool:
    return any(
        name != ion and not is_metal(name) and state != start.states.get(name, state)
        for name, state in found.states.items()
    )
