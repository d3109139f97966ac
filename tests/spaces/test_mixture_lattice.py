"""Mixtures in steps: all are found, and only those that keep the rules."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import genome_key
from invdesign.protocols import is_finite
from invdesign.rng import rng_for
from invdesign.settings import load


def space(**fields: Any) -> Any:
    """A mixture space."""
    return load("spaces", {"kind": "mixture", **fields})


def test_all_lattice_points_of_a_simplex_are_listed() -> None:
    """Five components in steps of 0.1: C(14, 4) mixtures, every one different and exact."""
    found = space(mixtures={"m": {"components": list("abcde"), "step": 0.1}})
    assert len(found) == comb(14, 4)
    keys = {genome_key(found.genome(i)) for i in range(len(found))}
    assert len(keys) == len(found)
    assert all(sum(round(10 * v) for v in found.genome(i)["m"].values()) == 10 for i in range(len(found)))


def test_listing_agrees_with_brute_force() -> None:
    """Bounds, different steps, counts, smallest fractions and a constraint across two mixtures."""
    fields = {
        "mixtures": {
            "m": {
                "components": {"a": [0, 0.6], "b": {"step": 0.1}, "c": {}},
                "step": 0.2,
                "at_most": 2,
                "present_from": 0.3,
            },
            "n": {"components": {"x": {}, "y": {}}, "step": 0.25},
        },
        "constraints": ["a + 2*x <= 1.5"],
    }
    found = space(**fields)
    wanted = set()
    for a, b, c, x, y in product(range(4), range(11), range(6), range(5), range(5)):
        m = (2 * a, b, 2 * c)
        present = [v for v in m if v]
        whole = sum(m) == 10 and x + y == 4
        if whole and len(present) <= 2 and min(present) >= 3 and 0.2 * a + 0.5 * x <= 1.5 + 1e-12:
            wanted.add((2 * a, b, 2 * c, x, y))
    listed = set()
    for i in range(len(found)):
        genome = found.genome(i)
        tenths = tuple(round(10 * genome["m"].get(name, 0.0)) for name in "abc")
        listed.add((*tenths, *(round(4 * genome["n"].get(name, 0.0)) for name in "xy")))
    assert listed == wanted


def test_a_fraction_without_steps_may_follow_from_the_charges() -> None:
    """Lithium balances tantalum in steps: the space is finite, and lithium takes what value it must."""
    found = space(
        mixtures={
            "A": {"components": {"Li+": [6, 7]}, "total": "free"},
            "M": {"components": ["Zr4+", "Ta5+"], "multiplicity": 2, "step": 0.1},
        },
        fixed={"La3+": 3, "O2-": 12},
    )
    assert len(found) == 6
    for i in range(6):
        genome = found.genome(i)
        assert genome["A"]["Li+"] == pytest.approx(7 - 2 * genome["M"].get("Ta5+", 0.0), abs=1e-11)


def test_one_component_without_any_rule_is_listed() -> None:
    """From nothing to its greatest amount."""
    assert len(space(mixtures={"m": {"components": {"a": [0, 0.5]}, "total": "free", "step": 0.1}})) == 6


@pytest.mark.parametrize("balanced", [False, True])
def test_lattices_too_large_to_list_are_kept_to(balanced: bool) -> None:
    """All operators give multiples of the step that add up exactly, also where charges must balance."""
    names = ["Zr4+", "Ti4+", "Hf4+", "Ta5+", "Nb5+", "Y3+", "Sc3+", "In3+", "Al3+", "Ga3+"]
    found = space(
        mixtures={
            "A": {"components": {"Li+": {"max": 4}}, "total": "free", "step": 0.01},
            "M": {"components": names, "multiplicity": 2, "step": 0.01, "at_most": 5},
        },
        fixed={"O2-": 5.5},
        neutral=balanced,
    )
    assert not is_finite(found)
    starts = [found.operators()["start"].apply((), rng_for(0, n, "s")) for n in range(5)]
    made = list(starts)
    for name, operator in found.operators().items():
        made += [
            operator.apply([starts[n], starts[n - 1]][: operator.arity], rng_for(0, n, name))
            for n in range(4)
        ]
    genomes = [genome for genome in made if genome is not None]
    assert len(genomes) > 20
    for genome in genomes:
        hundredths = [100 * value for value in genome["M"].values()]
        assert np.allclose(hundredths, np.rint(hundredths), atol=1e-9)
        assert sum(map(round, hundredths)) == 100
        found.build(genome)
    assert list(found.decode(found.encode(genomes))) == genomes
