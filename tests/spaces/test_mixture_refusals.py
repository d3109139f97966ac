"""What cannot be: contradictions are named by their smallest set, and the way out is said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from invdesign.errors import InvdesignError
from invdesign.settings import load

HALIDE = {"parent": "antiperovskite", "cell": {"max_atoms": 10}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"mixtures": {"m": {"components": {"a": [0.6, 1], "b": [0.5, 1], "c": {}, "d": [0, 0.1]}}}},
            "no mixture meets the sum of 'm' = 1, a >= 0.6, b >= 0.5",
        ),
        (
            {"mixtures": {"m": ["a", "b", "c"]}, "constraints": ["a + b <= 0.3", "c <= 0.4", "a <= 0.9"]},
            r"no mixture meets the sum of 'm' = 1, a \+ b <= 0.3 and c <= 0.4 together",
        ),
        ({"mixtures": {"m": ["a"]}}, "a mixture of a alone has nothing to choose"),
        ({"mixtures": {"m": ["a", "b", "a"]}}, "a is named more than once"),
        ({"mixtures": {"m": ["Zz3+", "La3+"]}}, "'Zz' is not an element symbol"),
        (
            {"mixtures": {"m": ["a", "b"]}, "constraints": ["a + bb <= 1"]},
            "names 'bb', which is no component",
        ),
        (
            {"mixtures": {"m": ["a", "b"]}, "constraints": ["a + q <= 1", "z >= 0.1"]},
            "'q', which is no component. There are a, b; also, a constraint names 'z', which is no component",
        ),
        (
            {
                "mixtures": {
                    "A": {"components": {"Li+": [5, 6]}, "total": "free"},
                    "M": {"components": ["Zr4+", "Ta5+"], "multiplicity": 2},
                },
                "fixed": {"La3+": 3, "O2-": 10},
            },
            r"charges cannot balance: within the bounds they add up to between \+2 and \+5 per formula unit",
        ),
        ({"mixtures": {"M": ["Zr4+", "Ta"]}}, r"without the charge of Ta: write it as an ion, such as Ta2\+"),
        (
            {
                "mixtures": {"m": {"components": list("abcd"), "at_most": 2}},
                "constraints": ["a >= 0.2", "b >= 0.2", "c >= 0.1"],
            },
            "not by so few components of 'm'; at_most: 3 for 'm' would do",
        ),
        ({"mixtures": {"m": {"components": ["a", "b"], "step": 0.3}}}, "steps of 0.25 or 0.333333 do"),
        ({"mixtures": {"m": {"components": ["a", "b"], "at_least": 2}}}, "needs present_from"),
        ({"mixtures": {"m": {"components": ["a", "b"], "total": 0.0}}}, "a total is above 0"),
        ({"mixtures": {"m": {"components": {"a": [0.1, 1], "b": [0.1, 1]}, "at_most": 1}}}, "always present"),
        (
            {"mixtures": {"m": {"components": {"a": {"min": 0.2}, "b": {}}, "total": 0.1}}},
            "a has min 0.2, which is more",
        ),
        ({"mixtures": {"m": {"components": {"a": [0.7, 0.2], "b": {}}}}}, "min must not exceed max"),
        ({"mixtures": {"m": {"components": {"a": 0.2, "b": {}, "c": {}}}}}, r"never changes is \[0.2, 0.2\]"),
        (
            {"mixtures": {"X": {"components": {"Cl": [0.3, 0.36], "Br": {}}}}, "structure": HALIDE},
            r"nearest fractions .* are Cl 0.5, Br 0.5 \(cell \[1, 1, 2\]\). .* \[1, 1, 3\] with 15 atoms",
        ),
        (
            {
                "mixtures": {"X": {"components": {"Cl": [0.4, 0.6], "Br": {}}}},
                "structure": {**HALIDE, "cell": {"multiples": [[1, 1, 3]]}},
            },
            r"\[1, 1, 2\] with 10 atoms: add it to the multiples, or widen the bounds",
        ),
        (
            {"mixtures": {"X": {"components": {"Cl": [0.4, 0.45], "Br": [0.55, 0.6]}}}, "structure": HALIDE},
            r"no supercell of at most 10 atoms .* nearest fractions .* are Cl 0.5, Br 0.5 \(cell \[1, 1, 2\]\)",
        ),
        (
            {"mixtures": {"X": ["Cl", "Br"]}, "structure": {**HALIDE, "cell": {"max_atoms": 4}}},
            "the unit cell of antiperovskite has 5 atoms already",
        ),
        (
            {"mixtures": {"X": ["Cl", "Br"]}, "structure": {**HALIDE, "cell": {"max_atoms": 2**63}}},
            r"about 10\^18 cells of 5 atoms are too large \(limit 1000 atoms\)",
        ),
        (
            {
                "mixtures": {"X": ["Cl", "Br"]},
                "structure": {**HALIDE, "cell": {"multiples": [[1, 1, 2], [2**40, 2**40, 1]]}},
            },
            r"cells of 5 atoms are too large",
        ),
        (
            {"mixtures": {"Y": ["Cl", "Br"]}, "structure": HALIDE},
            "antiperovskite has no site 'Y'. Labels: A, B, X",
        ),
        ({"mixtures": {"X": ["Cl", "O"]}, "structure": HALIDE}, "only one mixture keeps all rules"),
        ({"mixtures": {"X": ["Cl", "EC"]}, "structure": HALIDE}, "'EC' is no ion such as La3"),
        ({"mixtures": {"X": ["Cl", "Br"]}, "structure": HALIDE, "fixed": {"Li+": 3}}, "leave `fixed` out"),
        (
            {"mixtures": {"X": ["Cl", "Br"]}, "structure": {**HALIDE, "cell": {}}},
            r"give max_atoms, such as \{max_atoms: 40\}, or multiples",
        ),
        (
            {"mixtures": {"M": ["Fe2+", "Mg2+"]}, "mixed_valence": {"Fe": [2, 3]}, "fixed": {"O2-": 1}},
            "Fe is mixed-valent, but no component is called 'Fe'",
        ),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], words: str) -> None:
    """What was found, what is allowed, and what to do, on loading."""
    with pytest.raises((ValidationError, InvdesignError), match=words):
        load("spaces", {"kind": "mixture", **fields})
