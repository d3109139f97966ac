"""Constraints between parameters: every proposal meets them, and what cannot be met is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import to_json
from invdesign.errors import Infeasible
from invdesign.protocols import is_finite
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import check_space

UNIT = {"real": [0, 1]}
DIGIT = {"integer": [0, 9]}


def space(constraints: Any, **parameters: Any) -> ParameterSpace:
    """A space as a campaign file says it."""
    fields = {"kind": "parameters", "parameters": parameters, "constraints": list(constraints)}
    built: ParameterSpace = load("spaces", fields)
    return built


SLURRY = space(
    [
        "active + binder + carbon = 1",
        "binder + carbon <= 0.2",
        {"sum": {"binder": 1, "carbon": -2}, "max": 0},
    ],
    active={"real": [0.7, 0.98]},
    binder={"real": [0.005, 0.1]},
    carbon={"real": [0.005, 0.15]},
    solids={"real": [0.3, 0.8]},
)
WINDOW = space(
    ["temperature * log(time) <= 2000", "solvent != 'EC' or temperature <= 700"],
    temperature={"real": [300, 1200]},
    time={"real": [1, 100], "log": True},
    solvent={"categorical": ["EC", "DMC"]},
)
WHOLE = space(["2*a + 3*b + 5*c = 40", "a <= b"], a=DIGIT, b={"integer": [0, 30]}, c=DIGIT, x=UNIT)
MIXED = space(
    ["n + x <= 5.5", "0.1*n + y + z = 1", "n + m >= 3", "o + x >= 1"],
    n=DIGIT, m=DIGIT, x=UNIT, y=UNIT, z=UNIT, o={"ordinal": [0.25, 0.5, 2]},
)  # fmt: skip
FINITE = space(
    ["a + b <= 6", "c != 'u' or a > 1"], a=DIGIT, b={"integer": [0, 5]}, c={"categorical": ["u", "v"]}
)
SPACES = {"slurry": SLURRY, "window": WINDOW, "whole": WHOLE, "mixed": MIXED, "finite": FINITE}
everywhere = pytest.mark.parametrize("one", SPACES.values(), ids=SPACES)


@everywhere
def test_constrained_spaces_keep_the_contract(one: ParameterSpace) -> None:
    """Operators, decoding and counting stay within the constraints."""
    check_space(one)


@everywhere
def test_every_proposal_meets_all_constraints(one: ParameterSpace) -> None:
    """Whatever it is made by and from: `build` refuses none, and points anywhere decode."""
    pool: list[Any] = [one.operators()["start"].apply((), rng_for(1, i, "start")) for i in range(20)]
    for number in range(60):
        for name, operator in one.operators().items():
            parents = [pool[(number + 7 * k) % len(pool)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(1, number, name))
            if child is not None:
                assert child not in parents
                pool.append(child)
    pool += one.decode(rng_for(1, 0, "points").uniform(-0.3, 1.3, (60, len(one.domain().dimensions))))
    for genome in pool:
        one.build(genome)


def test_linear_constraints_are_met_to_the_last_digit() -> None:
    """Sums of decimals are exact to 1e-15, and limits are never passed by more than that."""
    for genome in SLURRY.decode(rng_for(0, 0, "exact").random((300, 4))):
        values = {name: float(str(value)) for name, value in genome.items()}
        assert abs(math.fsum((values["active"], values["binder"], values["carbon"])) - 1.0) < 1e-15
        assert values["binder"] + values["carbon"] <= 0.2 + 1e-15
        assert values["binder"] - 2 * values["carbon"] <= 1e-15


def test_whole_numbers_stay_whole() -> None:
    """An equality of whole numbers is met by whole numbers, also where the nearest ones do not."""
    found = set()
    for i in range(200):
        genome = WHOLE.operators()["start"].apply((), rng_for(0, i, "start"))
        assert genome is not None
        a, b, c = (genome[name] for name in "abc")
        assert isinstance(a, int)
        assert isinstance(b, int)
        assert isinstance(c, int)
        assert 2 * a + 3 * b + 5 * c == 40
        assert a <= b
        found.add((a, b, c))
    everything = {
        (a, b, c) for a in range(10) for b in range(31) for c in range(10) if 2 * a + 3 * b + 5 * c == 40 and a <= b
    }  # fmt: skip
    assert found <= everything
    assert len(found) > 0.7 * len(everything)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_mixed_spaces_are_repaired_from_anywhere(point: list[float]) -> None:
    """Reals make up for whole numbers and levels; a repaired genome is its own repair."""
    (genome,) = MIXED.decode(np.array([point]))
    MIXED.build(genome)
    assert to_json(MIXED.decode(MIXED.encode([genome]))[0]) == to_json(genome)


def test_repair_is_small() -> None:
    """A point just outside moves just inside; what is feasible does not move."""
    one = space(["x + y <= 1"], x=UNIT, y=UNIT)
    assert one.decode(np.array([[0.6, 0.5]])) == [{"x": 0.55, "y": 0.45}]
    assert one.decode(np.array([[0.6, 0.3]])) == [{"x": 0.6, "y": 0.3}]


def test_a_curve_is_approached_from_the_feasible_side() -> None:
    """Where an expression is broken, the genome lies near the edge, not far inside."""
    one = space(["x**2 + y**2 <= 0.25"], x=UNIT, y=UNIT)
    for genome in one.decode(np.array([[0.9, 0.9], [0.1, 0.9], [1.0, 0.0]])):
        assert 0.15 < float(str(genome["x"])) ** 2 + float(str(genome["y"])) ** 2 <= 0.25


def test_starts_spread_over_the_feasible_part() -> None:
    """Uniform where constraints are linear: a triangle's centre, and a third of it in each third of its corners."""
    one = space(["x + y <= 1"], x=UNIT, y=UNIT)
    points = np.array(
        [
            [float(str(genome[name])) for name in "xy"]
            for i in range(1500)
            if (genome := one.operators()["start"].apply((), rng_for(0, i, "start")))
        ]
    )
    assert np.allclose(points.mean(axis=0), 1 / 3, atol=0.02)
    assert np.allclose(points.var(axis=0), 1 / 18, atol=0.006)


def test_a_small_part_of_the_ranges_is_still_reached() -> None:
    """A ring of a hundredth of the square: starts lie all around it."""
    one = space(["0.16 <= (x - 0.5)**2 + (y - 0.5)**2 <= 0.163"], x=UNIT, y=UNIT)
    angles = []
    for i in range(300):
        genome = one.operators()["start"].apply((), rng_for(0, i, "start"))
        assert genome is not None
        angles.append(np.arctan2(float(str(genome["y"])) - 0.5, float(str(genome["x"])) - 0.5))
    assert np.histogram(angles, bins=8, range=(-np.pi, np.pi))[0].min() > 2


def test_constraints_count_what_is_left() -> None:
    """By hand: sums up to 6 of a in 0..9 and b in 0..5; with u only where a > 1."""
    pairs = [(a, b) for a in range(10) for b in range(6) if a + b <= 6]
    assert is_finite(FINITE)
    assert len(FINITE) == FINITE.size() == len(pairs) + sum(a > 1 for a, _ in pairs)
    assert all(FINITE.build(FINITE.genome(i)) for i in range(len(FINITE)))
    larger = space(["a + b <= 60000"], a={"integer": [0, 50_000]}, b={"integer": [0, 50_000]})
    assert larger.size() is None
    assert not is_finite(larger)


@pytest.mark.parametrize(
    ("one", "genome", "message"),
    [
        (SLURRY, {"active": 0.9, "binder": 0.05, "carbon": 0.06, "solids": 0.5}, r"active \+ binder \+ carbon = 1 \(the sum is 1.01\)"),
        (WINDOW, {"temperature": 900.0, "time": 90.0, "solvent": "DMC"}, r"temperature \* log\(time\) <= 2000 \(with temperature = 900.0, time = 90.0\)"),
        (WINDOW, {"temperature": 900.0, "time": 2.0, "solvent": "EC"}, "solvent != 'EC' or temperature <= 700 .with solvent = EC"),
        (FINITE, {"a": 5, "b": 5, "c": "v"}, r"a \+ b <= 6 \(the sum is 10\)"),
    ],
)  # fmt: skip
def test_build_names_the_constraint(one: ParameterSpace, genome: dict[str, Any], message: str) -> None:
    """A genome a person wrote is refused with the constraint it breaks, and by how much."""
    with pytest.raises(Infeasible, match=message):
        one.build(genome)


@pytest.mark.parametrize(
    ("constraints", "parameters", "message"),
    [
        (["x + y >= 3"], {"x": UNIT, "y": UNIT}, r"no values meet x \+ y >= 3, x <= 1 and y <= 1 together; loosen"),
        (["2*n + 2*m = 5"], {"n": DIGIT, "m": DIGIT}, r"2\*n \+ 2\*m = 5 with whole numbers"),
        (["o + y = 1", "y >= 0.95"], {"o": {"ordinal": [0.1, 0.5]}, "y": UNIT}, "y >= 0.95 and o >= 0.1 together"),
        (["o + y = 0.33", "y <= 0.05"], {"o": {"ordinal": [0.1, 0.5]}, "y": UNIT}, r"no values were found that meet o \+ y = 0.33 and y <= 0.05 together, in \d+ tries"),
        (["x * y >= 2"], {"x": UNIT, "y": UNIT}, r"no values were found that meet x \* y >= 2, in \d+ tries; loosen"),
        (["log(x - 2) <= 0"], {"x": UNIT}, "no values were found that meet log"),
        (["x**2 >= 0.5", "x*y >= 0.9 and x < y - 0.2"], {"x": UNIT, "y": UNIT}, "found that meet x.y >= 0.9 and x < y - 0.2, in"),
        (["n > 4", "c == 'u' or n < 3", "c == 'v'"], {"n": DIGIT, "c": {"categorical": ["u", "v"]}}, "no combination of values meets n > 4, c == 'u' or n < 3 and c == 'v' together"),
        (["n > 4 and n < 3"], {"n": DIGIT}, "no combination of values meets n > 4 and n < 3; loosen"),
        (["x + z <= 1"], {"x": UNIT, "y": UNIT}, "names 'z', which is none of the parameters. There are x, y"),
        ([{"sum": {"x": 1, "yy": 1}, "max": 1}], {"x": UNIT, "y": UNIT}, "names 'yy', which is none of the parameters"),
        (["x + z <= 1", "q < 1"], {"x": UNIT, "y": UNIT}, "names 'z', .* There are x, y; also, 'q < 1' names 'q'"),
        ([{"sum": {"x": 1, "c": 1}, "max": 1}], {"x": UNIT, "c": {"categorical": ["u", "v"]}}, "adds up 'c', whose values are names"),
        (["x.y <= 3"], {"x": UNIT}, "is not allowed; allowed are numbers"),
        ([3], {"x": UNIT}, "a constraint is written as 'x . 2.y <= 3' or as"),
    ],
)  # fmt: skip
def test_constraints_that_cannot_be_met_are_refused(
    constraints: list[Any], parameters: dict[str, Any], message: str
) -> None:
    """When the campaign is read, with the smallest set that stands in the way."""
    with pytest.raises(ValidationError, match=message):
        space(constraints, **parameters)


def test_constraints_travel_with_the_space() -> None:
    """A worker or a resumed run has the same constraints, and repeats the same genomes."""
    for one in SPACES.values():
        again = load("spaces", json.loads(json.dumps(one.model_dump(mode="json"))))
        assert again == one
        assert type(again) is type(one)
        for i in range(5):
            drawn = [s.operators()["start"].apply((), rng_for(3, i, "again")) for s in (one, again)]
            assert drawn[0] == drawn[1]


def test_an_infeasible_parent_still_has_feasible_children() -> None:
    """A seed a person wrote may break a constraint; what is bred from it does not."""
    parent = {"temperature": 1200.0, "time": 100.0, "solvent": "EC"}
    for name, operator in WINDOW.operators().items():
        for i in range(20):
            child = operator.apply([parent] * operator.arity, rng_for(0, i, name))
            if child is not None:
                WINDOW.build(child)


@everywhere
def test_spaces_can_be_copied_and_pickled(one: ParameterSpace) -> None:
    """Also once they were used, with all they have worked out."""
    genome = one.operators()["start"].apply((), rng_for(0, 0, "start"))
    assert genome is not None
    one.features([genome])
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert type(again) is type(one)
        assert again.operators()["start"].apply((), rng_for(0, 0, "start")) == genome
        assert again.decode(one.encode([genome])) == [genome]
        again.features([genome])
        assert again == one
