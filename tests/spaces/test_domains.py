"""What vector spaces say of their codes: linear rules, choices of components, dimensions that may lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from invdesign.protocols import Dimension, Domain, LinearRule, VectorSpace
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.mixture.space import MixtureSpace
from invdesign.testing import check_space


def space(fields: Mapping[str, Any]) -> VectorSpace:
    return cast("VectorSpace", load("spaces", dict(fields)))


def mixture(mixtures: Mapping[str, Any], **others: Any) -> VectorSpace:
    return space({"kind": "mixture", "mixtures": dict(mixtures), **others})


def parameters(fields: Mapping[str, Any], *constraints: Any) -> VectorSpace:
    return space({"kind": "parameters", "parameters": dict(fields), "constraints": list(constraints)})


def excess(domain: Domain, codes: np.ndarray[Any, Any]) -> float:
    """By how much any of the codes (n, d) breaks any rule."""
    found = [0.0]
    for rule in domain.rules:
        columns, weights = [pair[0] for pair in rule.weights], np.array([pair[1] for pair in rule.weights])
        over = codes[:, columns] @ weights - rule.limit
        found.append(float((np.abs(over) if rule.equal else over).max()))
    return max(found)


def drawn(own: VectorSpace, n: int = 30) -> np.ndarray[Any, Any]:
    """Codes (n, d) of genomes from all start operators."""
    starts = [operator for _, operator in sorted(own.operators().items()) if operator.arity == 0]
    rng = rng_for(0, 0, "drawn")
    made = [starts[number % len(starts)].apply((), rng) for number in range(n)]
    return own.encode([genome for genome in made if genome is not None])


def test_a_mixture_tells_its_sum() -> None:
    """In coordinates of the cube, where bounds are 0 and 1."""
    domain = mixture({"m": {"components": {"a": [0.2, 0.7], "b": [0.0, 0.5], "c": [0.0, 0.8]}}}).domain()
    (rule,) = domain.rules
    assert rule.equal
    assert [column for column, _ in rule.weights] == [0, 1, 2]
    assert [weight / rule.limit for _, weight in rule.weights] == pytest.approx([0.5 / 0.8, 0.5 / 0.8, 1.0])
    assert domain.sparse == ()


def test_fractions_that_never_change_move_the_limit() -> None:
    """They are no columns, and count all the same."""
    domain = mixture({"m": {"components": {"a": [0.25, 0.25], "b": [0, 1], "c": [0, 1]}}}).domain()
    (rule,) = domain.rules
    assert rule == LinearRule(((0, 1.0), (1, 1.0)), 0.75, equal=True)


def test_totals_with_a_range_are_two_rules_and_idle_ones_none() -> None:
    """What the bounds keep anyway is left out."""
    ranged = mixture({"m": {"components": {"a": [0, 1], "b": [0, 1]}, "total": [0.5, 1.5]}}).domain()
    assert [(rule.limit, rule.equal) for rule in ranged.rules] == [(1.5, False), (-0.5, False)]
    free = mixture({"m": {"components": {"a": [0, 1], "b": [0, 1]}, "total": "free"}}).domain()
    assert free.rules == ()


def test_counted_components_are_a_choice() -> None:
    """Those that may be absent, in the mixtures that count; with their smallest amount."""
    domain = mixture(
        {
            "m": {
                "components": {"a": [0.1, 1], "b": [0, 1], "c": [0, 0.5]},
                "at_most": 2,
                "present_from": 0.05,
            },
            "s": ["x", "y"],
        }
    ).domain()
    assert domain.sparse == ((1, 2),)
    assert dict(domain.least) == pytest.approx({1: 0.05, 2: 0.1})


def test_the_balance_of_charges_is_a_rule() -> None:
    """With fixed oxidation states an equation, with a mixed-valent element two bounds."""
    garnet = {
        "A": {"components": {"Li+": [5.5, 7.2]}, "total": "free"},
        "M": {"components": ["Zr4+", "Ta5+"], "multiplicity": 2},
    }
    fixed = mixture(garnet, fixed={"La3+": 3, "O2-": 12}).domain()
    assert [rule.equal for rule in fixed.rules] == [True, True]
    mixed = mixture(
        {"A": {"components": {"Li+": [0, 1]}, "total": "free"}, "M": ["Fe", "Mg2+"]},
        fixed={"P5+": 1, "O2-": 4},
        mixed_valence={"Fe": [2, 3]},
    ).domain()
    assert [rule.equal for rule in mixed.rules].count(False) >= 1


@given_settings(max_examples=25, deadline=None)
@given(
    bounds=st.lists(st.tuples(st.floats(0.0, 0.2), st.floats(0.5, 1.0)), min_size=2, max_size=6),
    total=st.sampled_from([1.0, 1000.0, 0.01]),
    at_most=st.integers(2, 6),
)
def test_codes_of_mixtures_keep_the_rules(
    bounds: list[tuple[float, float]], total: float, at_most: int
) -> None:
    """Whatever the bounds and the unit, to rounding."""
    components = {f"c{i}": [low / len(bounds) * total, high * total] for i, (low, high) in enumerate(bounds)}
    required = sum(low > 0 for low, _ in components.values())
    own = mixture(
        {"m": {"components": components, "total": total, "at_most": max(min(at_most, len(bounds)), required)}}
    )
    assert excess(own.domain(), drawn(own)) <= 1e-9


def test_linear_constraints_between_parameters_are_rules() -> None:
    """Reals and whole numbers, in coordinates of the cube; equations too."""
    own = parameters(
        {"x": {"real": [0.0, 4.0]}, "y": {"real": [1.0, 3.0]}, "n": {"integer": [0, 9]}},
        "x + y <= 5",
        "y + 0.1*n = 2.5",
    )
    domain = own.domain()
    assert [item.name for item in domain.dimensions] == ["n", "x", "y"]
    assert [rule.equal for rule in domain.rules] == [False, True]
    (_, x), (_, y) = domain.rules[0].weights
    assert x / y == pytest.approx(2.0)
    assert domain.rules[0].limit / y == pytest.approx(4.0 / 2.0)
    assert excess(domain, drawn(own)) <= 1e-9


@pytest.mark.parametrize("constraint", ["x * y <= 2", "x + lx <= 5", "x + o <= 5", "x + z <= 5", "x + y < 5"])
def test_other_constraints_are_a_matter_of_decode(constraint: str) -> None:
    """Products, logarithmic and listed parameters, those with conditions, and strict limits."""
    own = parameters(
        {
            "x": {"real": [0.0, 4.0]},
            "y": {"real": [1.0, 3.0]},
            "lx": {"real": [0.1, 10.0], "log": True},
            "o": {"ordinal": [1, 2, 5]},
            "z": {"real": [0.0, 4.0], "when": {"o": [1]}},
        },
        constraint,
    )
    assert own.domain().rules == ()


def test_parameters_with_a_condition_are_named() -> None:
    """Their columns may say nothing."""
    own = parameters({"a": {"real": [0, 1], "when": {"c": ["p"]}}, "c": {"categorical": ["p", "q"]}})
    assert own.domain().conditional == (0,)


class Lying(MixtureSpace):
    """A mixture that says something else of its codes."""

    says: str = "rule"

    def domain(self) -> Domain:
        """One of several lies."""
        honest = super().domain()
        lies = {
            "rule": replace(honest, rules=(LinearRule(((0, 1.0),), 0.1),)),
            "column": replace(honest, rules=(LinearRule(((7, 1.0),), 0.1),)),
            "least": replace(honest, sparse=((0, 1, 2),), least=((0, 0.9),)),
            "lone": replace(honest, least=((0, 0.0),)),
            "twice": replace(honest, sparse=((0, 1), (1, 2))),
        }
        return lies[self.says]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("rule", "must keep LinearRule"),
        ("column", r"speaks of columns \[7\]; it has 3"),
        ("least", "column 0 is 0 or at least 0.9"),
        ("lone", "must be in a group of `Domain.sparse`"),
        ("twice", "in one group of `Domain.sparse` only"),
    ],
)
def test_the_contract_is_checked(says: str, words: str) -> None:
    """`check_space` names what codes do not keep."""
    own = Lying.model_validate({"mixtures": {"m": ["a", "b", "c"]}, "says": says})
    with pytest.raises(AssertionError, match=words):
        check_space(own)


def test_a_domain_needs_to_say_nothing() -> None:
    """Dimensions alone make a domain: all else is optional."""
    domain = Domain((Dimension("x", "real"),))
    assert (domain.rules, domain.sparse, domain.least, domain.conditional) == ((), (), (), ())
