"""Crystals from a formula or a wish: the call for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from invdesign.errors import InvdesignError
from invdesign.protocols import Generator, Samples, Wish
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.structures.conditions import make_condition
from invdesign.structures.guard_rails import GuardRails, draw_gated


def generate(
    formula: str | None = None,
    n: int = 10,
    *,
    generator: str | Mapping[str, Any] | Generator = "prototypes",
    elements: Iterable[str] = (),
    required: Iterable[str] = (),
    formula_units: tuple[int, int] | int | None = None,
    space_groups: Iterable[int | str] = (),
    atoms: tuple[int, int] | int | None = None,
    neutral: bool | None = None,
    wishes: Sequence[Wish] = (),
    seed: int = 0,
    rails: GuardRails | None = None,
    gated: bool = True,
) -> Samples:
    """Generate crystals that keep a condition, the likeliest first where the generator knows.

    Args:
        formula: `Li3PS4`; without it any formula of the elements.
        n: number of crystals.
        generator: kind of a generator, a mapping with `kind` and settings, or a generator.
        elements: allowed ones; none allows all that the generator knows.
        required: elements that every crystal holds.
        formula_units: in the primitive cell, a number or fewest and most.
        space_groups: international numbers and ranges, `195-230`; none allows all.
        atoms: in the primitive cell, a number or fewest and most.
        neutral: true if charges must balance; by default without a formula.
        wishes: properties that the crystals should have, for generators that know them.
        seed: the same one gives the same crystals.
        rails: limits of distances and volumes.
        gated: false also gives what the guard rails would refuse.

    Returns:
        At most n structures; `reason` says why there are fewer, `refused` how many were left out, and `properties["origin"]`
        of a structure where it came from.

    Raises:
        InvdesignError: the condition is malformed or contradicts itself, or there is no such generator.

    Examples:
        >>> crystals = generate("Li3YCl6", n=3)
        >>> [crystal.composition.reduced_formula for crystal in crystals]
        ['Li3YCl6', 'Li3YCl6', 'Li3YCl6']
    """
    if not 1 <= n <= 1_000_000:
        raise InvdesignError(f"n must be a number of crystals from 1 to 1,000,000, got {n}")
    try:
        condition = make_condition(
            elements=elements,
            required=required,
            formula=formula,
            formula_units=formula_units,
            space_groups=space_groups,
            atoms=atoms,
            neutral=formula is None if neutral is None else neutral,
            wishes=wishes,
        )
    except ValueError as error:
        raise InvdesignError(str(error)) from error
    made = load("generators", generator) if isinstance(generator, str | Mapping) else generator
    made.prepare()
    if not gated:
        return made.sample(rng_for(seed, 0, "generate"), n, condition)
    return draw_gated(made, rng_for(seed, 0, "generate"), n, condition, rails)
