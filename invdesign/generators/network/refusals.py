"""Conditions that a network cannot meet, found before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.examples import MOST_COUNT, MOST_ELEMENTS, MOST_UNITS
from invdesign.generators.network.rooms import list_units
from invdesign.protocols.generators import Condition
from invdesign.structures.conditions import find_contradiction, write_counts

Patterns = frozenset[tuple[int, ...]]


def find_refusal(
    condition: Condition, known: Sequence[str], properties: Sequence[str], patterns: Callable[[], Patterns]
) -> str:
    """Find the reason why a network can make nothing under a condition, in words; empty if there is none.

    Args:
        condition: what crystals must be.
        known: elements of the training data.
        properties: that can be predicted.
        patterns: loads the reduced formulas without elements, where they are needed.
    """
    return (
        find_contradiction(condition)
        or _refuse_elements(condition, known)
        or _refuse_wishes(condition, properties)
        or (_refuse_formula(condition) if condition.formula else _refuse_sizes(condition, patterns))
    )


def _refuse_elements(condition: Condition, known: Sequence[str]) -> str:
    """Refuse elements that the training data lacks."""
    needed = [*condition.required, *(name for name, _ in condition.formula)]
    strange = [name for name in needed if name not in known]
    if not strange and condition.elements and not set(condition.elements) & set(known):
        strange = list(condition.elements)
    if strange:
        return f"the model was trained on no crystal with {', '.join(strange)}"
    if len(condition.required) > MOST_ELEMENTS:
        return f"required names {len(condition.required)} elements; crystals of the model have at most {MOST_ELEMENTS}"
    return ""


def _refuse_wishes(condition: Condition, properties: Sequence[str]) -> str:
    """Refuse wishes for properties that the model does not predict."""
    strange = [wish.property for wish in condition.wishes if wish.property not in properties]
    if strange:
        return (
            f"the model does not predict {strange[0]}; it predicts {', '.join(properties) or 'no property'}"
        )
    return ""


def _refuse_formula(condition: Condition) -> str:
    """Refuse formulas that are too large, or that no group holds."""
    formula = dict(condition.formula)
    if len(formula) > MOST_ELEMENTS or max(formula.values()) > MOST_COUNT:
        return (
            f"{write_counts(formula)} is too large for the model: at most {MOST_ELEMENTS} elements and {MOST_COUNT} atoms "
            "of each in a formula unit"
        )
    counts = [formula[name] for name in sorted(formula, key=list_elements().index)]
    if not list_units(counts, condition, MOST_UNITS):
        return f"no allowed space group holds 1 to {MOST_UNITS} formula units of {write_counts(formula)}"
    return ""


def _refuse_sizes(condition: Condition, patterns: Callable[[], Patterns]) -> str:
    """Refuse numbers of atoms and groups that no composition of the training data fits."""
    if not (condition.atoms or condition.space_groups):
        return ""
    most = len(condition.elements) or MOST_ELEMENTS
    fewest = max(1, len(condition.required))
    for pattern in sorted(patterns(), key=lambda counts: (sum(counts), counts)):
        if fewest <= len(pattern) <= most and list_units(pattern, condition, MOST_UNITS):
            return ""
    return "no composition of the training data fits the allowed atoms and space groups"
