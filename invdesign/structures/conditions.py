"""Conditions on generated crystals: read from words, checked, and kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import gcd, isfinite

from invdesign.errors import InvdesignError
from invdesign.protocols import Condition, Wish
from invdesign.structures.charges import check_element, is_neutral
from invdesign.structures.formulas import parse_composition
from invdesign.structures.partitions import list_fitting_groups

MAX_ATOMS = 200  # in a primitive cell; chosen: searches from scratch end at some 50
MAX_UNITS = 200  # formula units in a primitive cell (chosen)


def read_formula(text: str) -> dict[str, int]:
    """Atoms by element, sorted, of a formula with whole amounts.

    Raises:
        ValueError: it is no formula, or an amount is not whole.
    """
    try:
        amounts = parse_composition(text).get_el_amt_dict()
    except InvdesignError as error:
        raise ValueError(str(error)) from error
    broken = [f"{name}{amount:g}" for name, amount in amounts.items() if abs(amount - round(amount)) > 1e-8]
    if broken:
        raise ValueError(
            f"formula {text} has {', '.join(broken)}; a cell holds whole atoms: multiply the formula"
        )
    return {name: round(amounts[name]) for name in sorted(amounts) if amounts[name] > 0}


def read_space_groups(values: Iterable[int | str]) -> tuple[int, ...]:
    """International numbers of space groups, ascending.

    Args:
        values: numbers, or ranges such as `195-230`.

    Raises:
        ValueError: a value is neither.
    """
    found: set[int] = set()
    for value in values:
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", str(value), re.ASCII)
        if match is None:
            raise ValueError(f"'{value}' is no number or range of space groups; write 62 or 195-230")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= 230:
            raise ValueError(f"space groups have numbers from 1 to 230, ranges ascend; got {value}")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def write_counts(counts: Mapping[str, int]) -> str:
    """Write atoms by element as a formula, `Al2O3`, in their order."""
    return "".join(f"{name}{count if count > 1 else ''}" for name, count in counts.items())


def make_condition(
    *,
    elements: Iterable[str] = (),
    required: Iterable[str] = (),
    formula: str | None = None,
    formula_units: tuple[int, int] | int | None = None,
    space_groups: Iterable[int | str] = (),
    atoms: tuple[int, int] | int | None = None,
    neutral: bool = False,
    wishes: Sequence[Wish] = (),
) -> Condition:
    """Make a condition, all parts of which can be kept together.

    Args:
        elements: allowed ones; none allows all.
        required: elements that every crystal holds.
        formula: of the crystal; the amounts of `Al4O6` mean the formula unit Al2O3.
        formula_units: in the primitive cell, a number or fewest and most.
        space_groups: international numbers and ranges, `195-230`; none allows all.
        atoms: in the primitive cell, a number or fewest and most.
        neutral: true if charges must balance.
        wishes: soft parts.

    Raises:
        ValueError: a part is malformed, or two parts contradict each other; the message names them.
    """
    counts = {} if formula is None else reduce_counts(read_formula(formula))
    condition = Condition(
        elements=tuple(sorted({check_element(name) for name in elements})),
        required=tuple(sorted({check_element(name) for name in required})),
        formula=tuple(counts.items()),
        formula_units=_read_range(formula_units, "formula_units", MAX_UNITS),
        space_groups=read_space_groups(space_groups),
        atoms=_read_range(atoms, "atoms", MAX_ATOMS),
        neutral=neutral,
        wishes=tuple(wishes),
    )
    contradiction = find_contradiction(condition)
    if contradiction:
        raise ValueError(contradiction)
    return condition


def read_wish(text: str) -> Wish:
    """Read a wish: `band_gap=2.0`, `band_gap=1.5..3`, `formation_energy_per_atom=minimize`.

    Raises:
        ValueError: it is none.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    if value in ("minimize", "maximize"):
        return Wish(name, direction="minimize" if value == "minimize" else "maximize")
    low, dots, high = value.partition("..")
    numbers: tuple[float, ...] = ()
    with suppress(ValueError):
        numbers = (float(low), float(high)) if dots else (float(low),)
    if (
        not name
        or not numbers
        or not all(map(isfinite, numbers))
        or (len(numbers) == 2 and numbers[0] > numbers[1])
    ):
        raise ValueError(f"a wish is NAME=2.0, NAME=1.5..3, NAME=minimize or NAME=maximize, got '{text:.60}'")
    return Wish(name, window=(numbers[0], numbers[1])) if len(numbers) == 2 else Wish(name, target=numbers[0])


def reduce_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Reduce atoms by element to the formula unit: Al4O6 to Al2O3."""
    common = gcd(*counts.values())
    return {name: count // common for name, count in counts.items()}


def _read_range(value: tuple[int, int] | int | None, name: str, most: int) -> tuple[int, int] | None:
    """Read a number or a range of whole numbers from 1 to `most`."""
    if value is None:
        return None
    low, high = (value, value) if isinstance(value, int) else value
    if not 1 <= low <= high <= most:
        raise ValueError(
            f"{name} must be whole numbers from 1 to {most}, the lower first, got {low} to {high}"
        )
    return low, high


def find_contradiction(condition: Condition) -> str:
    """Find two parts of a condition that nothing can keep together, in words; empty if there are none."""
    return _contradict_elements(condition) or _contradict_counts(condition) or _contradict_groups(condition)


def _contradict_elements(condition: Condition) -> str:
    """Find a contradiction between the parts that name elements."""
    allowed, formula = condition.elements, dict(condition.formula)
    written = write_counts(formula)
    for name in condition.required:
        if allowed and name not in allowed:
            return f"required names {name}, and elements allow {', '.join(allowed)} alone"
        if formula and name not in formula:
            return f"required names {name}, and the formula {written} holds none"
    strange = [name for name in formula if allowed and name not in allowed]
    if strange:
        return f"the formula {written} holds {strange[0]}, and elements allow {', '.join(allowed)} alone"
    if condition.neutral and formula and not is_neutral(formula):
        return f"the formula {written} is not neutral in any known oxidation states, and neutral crystals are asked for"
    return ""


def _contradict_counts(condition: Condition) -> str:
    """Find a contradiction between the parts that count atoms."""
    formula, atoms, units = dict(condition.formula), condition.atoms, condition.formula_units
    if units is not None and not formula:
        return "formula_units are given without a formula; give the number of atoms instead"
    if atoms is not None and len(condition.required) > atoms[1]:
        return f"required names {len(condition.required)} elements, and atoms allow {atoms[1]} in the primitive cell"
    if formula and atoms is not None and not list_sizes(condition):
        size = sum(formula.values())
        allowed = f"{units[0]} to {units[1]} formula units" if units else "whole formula units"
        return (
            f"atoms allow {atoms[0]} to {atoms[1]} in the primitive cell, and {allowed} of {write_counts(formula)} "
            f"have multiples of {size} atoms"
        )
    return ""


def _contradict_groups(condition: Condition) -> str:
    """Find a contradiction between space groups and the formula."""
    groups, sizes = condition.space_groups, list_sizes(condition)
    if not groups or not sizes:
        return ""
    counts = [count for _, count in condition.formula]
    size = sum(counts)
    for total in sizes:
        if list_fitting_groups([count * (total // size) for count in counts], groups):
            return ""
    shown = ", ".join(map(str, groups[:5])) + (" and others" if len(groups) > 5 else "")
    return (
        f"space_groups allow {shown}, and none of them has positions for {sizes[0] // size} to {sizes[-1] // size} "
        f"formula units of {write_counts(dict(condition.formula))} in the primitive cell"
    )


def list_sizes(condition: Condition) -> list[int]:
    """List the numbers of atoms in the primitive cell that a condition with a formula allows; else none."""
    size = sum(count for _, count in condition.formula)
    most = condition.atoms[1] if condition.atoms else MAX_ATOMS
    return [total for total in range(size, most + 1, size) if condition.allows_atoms(total)] if size else []


def find_breach(counts: Mapping[str, int], group: int, condition: Condition) -> str:
    """Find the first part of a condition that a crystal breaks, in words; empty if it keeps all hard parts.

    Args:
        counts: atoms by element in the primitive cell.
        group: international number of its space group.
        condition: to be kept.
    """
    strange = [name for name in counts if condition.elements and name not in condition.elements]
    missing = [name for name in condition.required if not counts.get(name)]
    total = sum(counts.values())
    if strange:
        return f"holds {strange[0]}, which is not allowed"
    if missing:
        return f"lacks {missing[0]}, which is required"
    if condition.formula and reduce_counts(dict(sorted(counts.items()))) != dict(condition.formula):
        return f"is {write_counts(dict(sorted(counts.items())))}, not {write_counts(dict(condition.formula))}"
    if not condition.allows_atoms(total):
        return f"has {total} atoms in the primitive cell"
    if not condition.allows_group(group):
        return f"has space group {group}"
    if condition.neutral and not is_neutral(counts):
        return "is not neutral"
    return ""
