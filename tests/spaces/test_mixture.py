"""Mixture spaces: every proposal keeps every rule, genomes survive the unit cube, designs say what was meant."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.candidate import Genome, canonical, to_json
from invdesign.errors import Infeasible
from invdesign.protocols import VectorSpace, is_finite
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.testing import check_space

GARNET = {
    "mixtures": {
        "A": {"components": {"Li+": [5, 7], "Al3+": [0, 0.4]}, "total": "free"},
        "M": {"components": ["Zr4+", "Ta5+"], "multiplicity": 2},
    },
    "fixed": {"La3+": 3, "O2-": 12},
}
ELECTROLYTE = {
    "mixtures": {
        "solvent": {"components": ["EC", "DMC", "EMC", "FEC"], "at_most": 3, "present_from": 0.05},
        "salt": {"components": {"LiPF6": [0, 1.5], "LiFSI": [0, 1.5]}, "total": [0.8, 1.5]},
    },
    "constraints": ["EC + FEC >= 0.2"],
}


def space(**fields: Any) -> Any:
    """A mixture space."""
    return load("spaces", {"kind": "mixture", **fields})


def proposals(found: Any, count: int, seed: int = 0) -> list[Genome]:
    """Genomes by every operator in turn, from earlier ones."""
    made: list[Genome] = [found.operators()["start"].apply((), rng_for(seed, 0, "first"))]
    operators = sorted(found.operators().items())
    for number in range(count):
        name, operator = operators[number % len(operators)]
        parents = [made[(number * 7 + k) % len(made)] for k in range(operator.arity)]
        child = operator.apply(parents, rng_for(seed, number, name))
        if child is not None:
            made.append(child)
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.integers(1, 4), st.booleans())
def test_every_proposal_keeps_every_rule(seed: int, size: int, most: int, smallest: bool) -> None:
    """Bounds, counts, smallest fractions and two constraints, checked beside the package's own arithmetic."""
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(size)]
    first, second = rng.random((2, size))
    plain = rng.dirichlet(np.ones(min(most, size)), size=400)
    some = np.array([rng.permutation(size)[: plain.shape[1]] for _ in range(400)])
    limit = float(np.quantile((plain * first[some]).sum(axis=1), 0.4))
    kept = (plain * first[some]).sum(axis=1) <= limit
    floor = float(np.quantile((plain * second[some]).sum(axis=1)[kept], 0.4))
    mixture: dict[str, Any] = {"components": names, "at_most": most}
    found = space(
        mixtures={"m": mixture | ({"present_from": 0.02} if smallest else {})},
        constraints=[
            {"sum": dict(zip(names, first.tolist(), strict=True)), "max": limit + 0.05},
            {"sum": dict(zip(names, second.tolist(), strict=True)), "min": floor - 0.05},
        ],
    )
    for genome in proposals(found, 40, seed):
        fractions = genome["m"]
        assert isinstance(fractions, dict)
        values = np.array([fractions.get(name, 0.0) for name in names])
        assert abs(values.sum() - 1.0) < 1e-11
        assert values.min() >= 0.0
        assert len(fractions) <= most
        assert not smallest or min(fractions.values()) >= 0.02 - 1e-11
        assert first @ values <= limit + 0.05 + 1e-10
        assert second @ values >= floor - 0.05 - 1e-10
        assert to_json(genome) == to_json(canonical(genome))


@pytest.mark.parametrize("fields", [GARNET, ELECTROLYTE])
def test_genomes_survive_the_unit_cube(fields: dict[str, Any]) -> None:
    """`decode(encode(g))` is g to the last digit, also after a way through JSON."""
    found = space(**fields)
    assert isinstance(found, VectorSpace)
    made = [json.loads(to_json(genome)) for genome in proposals(found, 60)]
    assert [to_json(g) for g in found.decode(found.encode(made))] == [to_json(g) for g in made]


def test_decoding_keeps_the_largest_components() -> None:
    """A point with five components becomes the nearest mixture of the three it has most of."""
    found = space(mixtures={"m": {"components": list("abcde"), "at_most": 3}})
    (genome,) = found.decode(np.array([[0.5, 0.05, 0.3, 0.1, 0.2]]))
    assert genome["m"] == pytest.approx({"a": 0.5, "c": 0.3, "e": 0.2}, abs=1e-10)


def test_the_mobile_ion_takes_up_what_charge_is_left() -> None:
    """Li7-3x-yAlxLa3Zr2-yTayO12: lithium follows from aluminium and tantalum, within its bounds."""
    found = space(**GARNET)
    for genome in proposals(found, 60):
        dopant, metal = genome["A"], genome["M"]
        assert isinstance(dopant, dict)
        assert isinstance(metal, dict)
        wanted = 7 - 3 * dopant.get("Al3+", 0.0) - 2 * metal.get("Ta5+", 0.0)
        assert dopant["Li+"] == pytest.approx(wanted, abs=1e-9)
        assert 5 <= dopant["Li+"] <= 7


def test_a_mixed_valent_element_is_the_second_slack() -> None:
    """Iron between 2+ and 3+ lets lithium be anywhere up to where all iron is divalent."""
    found = space(
        mixtures={
            "A": {"components": ["Li+"], "total": [0, 1]},
            "M": {"components": ["Fe", "Mg2+"], "present_from": 0.1},
        },
        mixed_valence={"Fe": [2, 3]},
        fixed={"P5+": 1, "O2-": 4},
    )
    lithium = []
    for genome in proposals(found, 80):
        left = 1.0 - genome["A"].get("Li+", 0.0)  # type: ignore[union-attr]  # a mapping of fractions
        assert -1e-9 <= left <= genome["M"].get("Fe", 0.0) + 1e-9  # type: ignore[union-attr, operator]
        lithium.append(1.0 - left)
    assert max(lithium) - min(lithium) > 0.3


def test_designs_hold_fractions_and_composition() -> None:
    """Parameters by component; the composition per formula unit, with what is fixed."""
    found = space(**GARNET)
    design = found.build({"A": {"Li+": 6.2, "Al3+": 0.1}, "M": {"Zr4+": 0.75, "Ta5+": 0.25}})
    assert design.parameters == {"Li+": 6.2, "Al3+": 0.1, "Zr4+": 0.75, "Ta5+": 0.25}
    assert design.composition is not None
    assert design.composition.get_el_amt_dict() == pytest.approx(
        {"Li": 6.2, "Al": 0.1, "La": 3.0, "Zr": 1.5, "Ta": 0.5, "O": 12.0}
    )


def test_names_that_are_no_chemistry_have_no_composition() -> None:
    """PC is propylene carbonate, not a phosphide: formulas are read where a multiplicity says so."""
    names = space(mixtures={"m": ["PC", "VC"]})
    assert names.build({"m": {"PC": 0.5, "VC": 0.5}}).composition is None
    formulas = space(mixtures={"m": {"components": ["Li2S", "P2S5"], "multiplicity": 1}})
    composition = formulas.build({"m": {"Li2S": 0.75, "P2S5": 0.25}}).composition
    assert composition.get_el_amt_dict() == pytest.approx({"Li": 1.5, "P": 0.5, "S": 2.0})  # Li3PS4


def test_components_of_one_name_are_told_apart_by_their_mixture() -> None:
    """Sulfur on two sites has two columns, and constraints can name either."""
    found = space(
        mixtures={"a": ["O", "S"], "b": ["S", "Se"]}, constraints=[{"sum": {"a.S": 1, "b.S": 1}, "max": 0.5}]
    )
    names = [dimension.name for dimension in found.domain().dimensions]
    assert names == ["O", "a.S", "b.S", "Se"]
    with pytest.raises(Exception, match=r"names 'S', of which there are several: a\.S, b\.S"):
        space(mixtures={"a": ["O", "S"], "b": ["S", "Se"]}, constraints=["S <= 0.5"])


def test_features_weigh_elements_by_their_amounts() -> None:
    """Fractions first; then the mean electronegativity of pure LiCl and of pure LiBr lie at the ends."""
    found = space(mixtures={"X": {"components": ["Cl-", "Br-"], "multiplicity": 1}}, fixed={"Li+": 1})
    genomes: list[Genome] = [{"X": {"Cl-": share, "Br-": 1 - share}} for share in (0.25, 0.5, 0.75)]
    rows = found.features(genomes)
    assert rows[:, :2].tolist() == [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    means = rows[:, 2 : 2 + (rows.shape[1] - 2) // 2]
    assert np.allclose(means[1], 0.5 * (means[0] + means[2]), atol=1e-8)


@pytest.mark.parametrize(
    ("genome", "words"),
    [
        ({"m": {"a": 0.5, "b": 0.6}}, "the fractions of 'm' add up to 1.1, must be 1"),
        ({"m": {"a": 0.9, "b": 0.1}}, r"a must lie in \[0, 0.8\], got 0.9"),
        ({"m": {"a": 0.3, "b": 0.3, "c": 0.4}}, "too many, too few or too little"),
        ({"m": {"a": 0.5, "d": 0.5}}, "'m' has no component 'd'"),
        ({"m": {"a": 0.5, "b": True}}, "the fraction of b must be a number, got True"),
        ({"m": {"b": 0.5, "c": 0.5}}, "b <= 0.4 is broken"),
        ({"n": {}}, "the genome needs fractions of 'm'"),
        ({"m": {"a": 1.0}, "n": {}}, "the space has no mixture 'n'"),
    ],
)
def test_what_is_wrong_with_a_genome_is_said(genome: Genome, words: str) -> None:
    """A seed of the user's that breaks a rule is refused with that rule."""
    found = space(
        mixtures={"m": {"components": {"a": [0, 0.8], "b": {}, "c": {}}, "at_most": 2}},
        constraints=["b <= 0.4"],
    )
    with pytest.raises(Infeasible, match=words):
        found.build(genome)


def test_totals_may_be_any_number_or_a_range() -> None:
    """A slurry in grams, and a salt of 0.8 to 1.5 mol/l: sums are kept in the file's units."""
    slurry = space(
        mixtures={
            "m": {"components": {"active": [800, 980], "carbon": [5, 99], "binder": [5, 99]}, "total": 1000}
        }
    )
    for genome in proposals(slurry, 40):
        assert sum(genome["m"].values()) == pytest.approx(1000, abs=1e-6)  # type: ignore[union-attr, arg-type]
    assert "drop" not in slurry.operators()
    salts = [sum(g["salt"].values()) for g in proposals(space(**ELECTROLYTE), 60)]  # type: ignore[union-attr, arg-type, misc]
    assert min(salts) >= 0.8 - 1e-10
    assert max(salts) <= 1.5 + 1e-10
    assert max(salts) - min(salts) > 0.3


def test_rounding_stays_within_bounds() -> None:
    """A fraction at its greatest value takes none of what rounding left over, so that it survives the unit cube."""
    found = space(
        mixtures={"m": {"components": {"a": [0, 0.7], "b": {}, "c": {}}}}, constraints=["b - 3*c = 0"]
    )
    made = [genome for genome in proposals(found, 80) if genome["m"].get("a") == 0.7]  # type: ignore[union-attr]
    assert made
    assert list(found.decode(found.encode(made))) == made
    for genome in proposals(found, 80):
        assert sum(genome["m"].values()) == pytest.approx(1.0, abs=1e-14)  # type: ignore[union-attr, arg-type]


def test_the_contract_is_kept_with_few_rules_and_with_many() -> None:
    """Operators, vectors, features and counting, as `check_space` checks them."""
    check_space(space(**ELECTROLYTE), samples=8)
    small = space(mixtures={"m": {"components": ["a", "b", "c"], "step": 0.25, "at_most": 2}})
    assert is_finite(small)
    check_space(small, samples=8)
