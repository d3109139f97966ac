"""Contract of generators as code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.protocols import ORIGIN, Condition, LatentGenerator, Samples
from invdesign.rng import rng_for
from invdesign.structures.conditions import find_breach, make_condition
from invdesign.structures.files import structure_from_json, structure_to_json
from invdesign.structures.guard_rails import find_symmetry, list_symbols, read_crystal
from invdesign.testing.common import check_settings, expect, expect_untouched_globals, reload_plugin

if TYPE_CHECKING:
    from pymatgen.core import Structure

STRANGE = "Og"  # an element of no crystal
SAME = 1e-9  # largest difference of equal coordinates (chosen)


def example_conditions() -> tuple[Condition, ...]:
    """Conditions that a generator of inorganic crystals can keep, if it knows their elements."""
    return (
        Condition(),
        make_condition(elements=("Li", "O", "P"), required=("Li", "O"), neutral=True),
        make_condition(formula="Li2O"),
        make_condition(formula="MgAl2O4", atoms=(1, 14)),
        make_condition(elements=("Mg", "O"), space_groups=("195-230",), atoms=(1, 8)),
    )


def check_generator(
    generator: Any, conditions: Sequence[Condition] | None = None, *, n: int = 6, seed: int = 0
) -> None:
    """Check that `generator` keeps the contract of `Generator`, and of `LatentGenerator` where it is one.

    Args:
        generator: a plug-in of the group `generators`.
        conditions: under which it is tried; `example_conditions()` where not given. One of them must give crystals.
        n: crystals asked for under each.
        seed: of the samples.

    Raises:
        AssertionError: a rule is broken; the message names it.

    Examples:
        >>> from invdesign.settings import load
        >>> check_generator(load("generators", "prototypes"))
    """
    name = type(generator).__name__
    check_settings("generators", generator)
    generator.prepare()
    other = reload_plugin("generators", generator)
    other.prepare()
    total = 0
    for condition in conditions or example_conditions():
        total += _check_condition(generator, other, condition, n, seed)
    expect(total, f"{name} must make a crystal under at least one of the conditions")
    refusal = generator.refusal(make_condition(formula=f"Li{STRANGE}"))
    expect(
        isinstance(refusal, str) and STRANGE in refusal,
        f"{name}.refusal must name an element it does not know, {STRANGE}; got {refusal!r}",
    )
    if isinstance(generator, LatentGenerator):
        _check_codes(generator, other, n, seed)


def _check_condition(generator: Any, other: Any, condition: Condition, n: int, seed: int) -> int:
    """Check samples under one condition; return their number."""
    name = type(generator).__name__
    refusal = generator.refusal(condition)
    expect(isinstance(refusal, str), f"{name}.refusal must give text, got {refusal!r}")
    with expect_untouched_globals(f"{name}.sample"):
        found = generator.sample(rng_for(seed, 0, "check"), n, condition)
    expect(isinstance(found, Samples), f"{name}.sample must give Samples, got {type(found).__name__}")
    expect(len(found) <= n, f"{name}.sample gave {len(found)} crystals, at most {n} were asked for")
    expect(
        not refusal or not len(found), f"{name} refuses a condition under which it makes crystals: {refusal}"
    )
    expect(
        len(found) == n or found.reason,
        f"{name}.sample must say by `reason` why it gave {len(found)} crystals instead of {n}",
    )
    for structure in found:
        _check_crystal(structure, condition, name)
    generator.sample(rng_for(seed + 1, 0, "between"), 2, condition)
    for again, who in ((generator, "asked again"), (other, "built anew from its settings")):
        repeated = again.sample(rng_for(seed, 0, "check"), n, condition)
        expect(
            _are_equal(found, repeated),
            f"{name}.sample must depend on its arguments alone; {who}, it gave others",
        )
    return len(found)


def _check_crystal(structure: Structure, condition: Condition, name: str) -> None:
    """Check that a crystal is ordered, finite, says where it comes from, and keeps the condition."""
    expect(structure.is_ordered and len(structure), f"{name} must make ordered crystals")
    expect(
        np.isfinite(structure.lattice.matrix).all(), f"{name} made a cell with numbers that are not finite"
    )
    origin = structure.properties.get(ORIGIN)
    expect(
        isinstance(origin, dict) and origin,
        f"{name}: properties['{ORIGIN}'] of a crystal must say where it comes from, got {origin!r}",
    )
    again = structure_from_json(structure_to_json(structure))
    expect(len(again) == len(structure), f"{name}: a crystal changed on its way through JSON")
    elements = list_symbols(structure)
    crystal = read_crystal(structure, elements)
    symmetry = None if crystal is None else find_symmetry(crystal)
    if crystal is None or symmetry is None:
        return  # the guard rails refuse it
    group, cells = symmetry
    counts = dict(zip(elements, (crystal.count_species(len(elements)) // cells).tolist(), strict=True))
    breach = find_breach(counts, group, condition)
    expect(not breach, f"{name} made a crystal that {breach}")


def _are_equal(first: Sequence[Structure], second: Sequence[Structure]) -> bool:
    """True if two sequences hold the same crystals in the same order."""
    return len(first) == len(second) and all(
        a.species == b.species
        and np.allclose(a.lattice.matrix, b.lattice.matrix, atol=SAME)
        and np.allclose(a.frac_coords, b.frac_coords, atol=SAME)
        for a, b in zip(first, second, strict=True)
    )


def _check_codes(generator: LatentGenerator, other: LatentGenerator, n: int, seed: int) -> None:
    """Check codes: shapes, repeatable decoding, rows that do not depend on each other."""
    name = type(generator).__name__
    condition = Condition()
    codes = rng_for(seed, 0, "codes").standard_normal((n, generator.dimension))
    made = generator.decode(codes, condition)
    expect(len(made) == n, f"{name}.decode must give one crystal or None per code, got {len(made)} of {n}")
    alone = [generator.decode(codes[place : place + 1], condition)[0] for place in range(n)]
    anew = other.decode(codes, condition)
    for first, second, third in zip(made, alone, anew, strict=True):
        kept = [crystal for crystal in (first, second, third) if crystal is not None]
        expect(
            len(kept) in (0, 3) and all(_are_equal(kept[:1], [crystal]) for crystal in kept),
            f"{name}.decode must give the same crystal for one code, whatever stands beside it",
        )
    structures = [crystal for crystal in made if crystal is not None]
    encoded = np.asarray(generator.encode(structures))
    expect(
        encoded.shape == (len(structures), generator.dimension),
        f"{name}.encode must have the shape (n, {generator.dimension}), got {encoded.shape}",
    )
