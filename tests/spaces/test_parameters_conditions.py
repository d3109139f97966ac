"""Parameters that exist only where others have certain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.candidate import to_json
from invdesign.errors import Infeasible
from invdesign.protocols import is_finite
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import check_space

SALT = {"categorical": ["none", "LiPF6", "LiFSI"]}
UNIT = {"real": [0, 1]}


def space(constraints: Any = (), **parameters: Any) -> ParameterSpace:
    """A space as a campaign file says it."""
    fields = {"kind": "parameters", "parameters": parameters, "constraints": list(constraints)}
    built: ParameterSpace = load("spaces", fields)
    return built


NESTED = space(
    salt=SALT,
    molarity={"real": [0.1, 2], "log": True, "when": {"salt": ["LiPF6", "LiFSI"]}},
    t={"real": [0, 100]},
    steps={"integer": [1, 5], "when": {"t": {"min": 30, "max": 80}, "salt": "LiPF6"}},
    grade={"ordinal": ["low", "middle", "high"], "when": {"steps": {"min": 3}}},
)
LISTED = space(
    salt=SALT,
    n={"integer": [1, 3], "when": {"salt": "LiPF6"}},
    k={"ordinal": [10, 20], "when": {"n": [1, 3]}},
)


@pytest.mark.parametrize("one", [NESTED, LISTED])
def test_conditional_spaces_keep_the_contract(one: ParameterSpace) -> None:
    """Also where existence depends on what itself may not exist."""
    check_space(one, samples=60)


def test_what_does_not_exist_is_absent() -> None:
    """From the genome and from the design; `build` accepts exactly what operators make."""
    for number in range(200):
        genome = NESTED.operators()["start"].apply((), rng_for(0, number, "start"))
        assert genome is not None
        assert ("molarity" in genome) == (genome["salt"] != "none")
        steps = genome["salt"] == "LiPF6" and 30 <= float(str(genome["t"])) <= 80
        assert ("steps" in genome) == steps
        assert ("grade" in genome) == (steps and int(str(genome["steps"])) >= 3)
        assert NESTED.build(genome).parameters == genome


def test_operators_keep_conditions() -> None:
    """Children of any parents have exactly the parameters that exist for them, in natural order."""
    pool: list[Any] = [
        NESTED.operators()["start"].apply((), rng_for(1, number, "start")) for number in range(20)
    ]
    for number in range(300):
        for name, operator in NESTED.operators().items():
            parents = [pool[(number + 7 * k) % len(pool)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(1, number, name))
            if child is not None:
                assert list(NESTED.build(child).parameters) == list(child)
                assert child not in parents
                pool.append(child)
    assert {len(genome) for genome in pool} == {2, 3, 4, 5}


def test_the_cube_has_a_place_for_everything() -> None:
    """What does not exist is encoded in the middle, and its coordinate changes nothing."""
    genome = {"salt": "none", "t": 50.0}
    (point,) = NESTED.encode([genome])
    names = [dimension.name for dimension in NESTED.domain().dimensions]
    assert point[names.index("molarity")] == point[names.index("grade")] == 0.5
    for u in (0.0, 0.3, 1.0):
        point[names.index("molarity")] = u
        assert to_json(NESTED.decode(point[None, :])[0]) == to_json(genome)


def test_features_say_what_exists() -> None:
    """One column more per conditional parameter; what does not exist has the same features whatever was there."""
    features = NESTED.features([{"salt": "none", "t": 50.0}, {"salt": "LiFSI", "t": 50.0, "molarity": 2.0}])
    assert features.shape == (2, 3 + 1 + 3 * 2)
    assert np.array_equal(
        np.flatnonzero(features[0] != features[1]), np.flatnonzero(features[0] - features[1])
    )
    assert (features[0] != features[1]).sum() == 4  # two salts, the molarity, and that it exists


def test_a_small_conditional_space_is_counted() -> None:
    """Each combination that exists once: 2 salts without n, and n = 1, 3 with two k, n = 2 with none."""
    assert is_finite(LISTED)
    assert (LISTED.size(), len(LISTED)) == (7, 7)
    listed = [LISTED.genome(i) for i in range(7)]
    assert len({to_json(genome) for genome in listed}) == 7
    assert {"salt": "LiPF6", "n": 2} in listed
    assert {"salt": "LiPF6", "n": 3, "k": 20} in listed
    assert {"salt": "none"} in listed


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ({"salt": "none", "t": 1.0, "molarity": 1.0}, "'molarity' only exists where 'salt' is LiPF6 or LiFSI, and it is none"),
        ({"salt": "LiPF6", "t": 10.0, "molarity": 1.0, "steps": 3}, "only exists where 't' is 30 to 80, and it is 10"),
        ({"salt": "none", "t": 50.0, "grade": "low"}, "only exists together with 'steps', which does not exist here"),
        ({"salt": "LiPF6", "t": 1.0}, "lacks the parameter 'molarity'"),
    ],
)  # fmt: skip
def test_build_names_what_exists_too_much_or_too_little(genome: dict[str, Any], message: str) -> None:
    """A genome a person wrote is refused with the condition it breaks."""
    with pytest.raises(Infeasible, match=message):
        NESTED.build(genome)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": {**UNIT, "when": {"b": {"min": 0.5}}}, "b": {**UNIT, "when": {"a": {"min": 0.5}}}}, "conditions form a circle: a needs b needs a"),
        ({"a": {**UNIT, "when": {"a": {"min": 0.5}}}}, "conditions form a circle: a needs a"),
        ({"a": {**UNIT, "when": {"slat": "none"}}, "salt": SALT}, "'a' depends on 'slat', which is none of the parameters. Did you mean 'salt'"),
        ({"a": {**UNIT, "when": {"salt": "LiBOB"}}, "salt": SALT}, "'a' asks for salt = 'LiBOB'; it must be one of none, LiPF6, LiFSI"),
        ({"a": {**UNIT, "when": {"salt": {"min": 1}}}, "salt": SALT}, "'a' asks for numbers of 'salt', which has names; list them instead"),
        ({"a": {**UNIT, "when": {"slat": "none"}}, "b": {**UNIT, "when": {"salt": {"min": 1}}}, "salt": SALT}, "'slat'.*; also, 'b' asks for numbers"),
        ({"a": {**UNIT, "when": {"b": [0.2, 0.5]}}, "b": UNIT}, "lists values of the real parameter 'b'; give a range, such as {b: {min: 0.2}}"),
        ({"a": {**UNIT, "when": {"b": {"min": 2}}}, "b": UNIT}, "'a' never exists: it needs 'b' to be at least 2"),
        ({"a": {**UNIT, "when": {"b": {"min": 0.7, "max": 0.3}}}, "b": UNIT}, "min must not exceed max"),
        ({"a": {**UNIT, "when": {"b": {}}}, "b": UNIT}, "a range needs min, max or both"),
        ({"a": {**UNIT, "when": {"n": {"min": 2, "max": 3}}}, "n": {"ordinal": [1, 5]}}, "never exists: it needs 'n' to be 2 to 3"),
        ({"a": {**UNIT, "when": {"b": "x", "salt": "none"}}, "b": {"categorical": ["x", "y"], "when": {"salt": "LiFSI"}}, "salt": SALT}, "'a' never exists: it needs 'salt' to be none and LiFSI"),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    """Circles, unknown names and values, conditions that are never met."""
    with pytest.raises(ValidationError, match=message):
        space(**parameters)


def test_constraints_apply_where_their_parameters_exist() -> None:
    """A sum over a conditional parameter binds only where this exists, and repairs do not change that."""
    one = space(
        ["t + x >= 90", "t * x >= 30 or t < 40"],
        t={"real": [0, 100]},
        x={"real": [0, 60], "when": {"t": {"min": 30}}},
    )
    check_space(one)
    genomes = one.decode(rng_for(0, 0, "points").random((300, 2)))
    low = [genome for genome in genomes if "x" not in genome]
    assert len(low) > 50
    assert all(float(str(g["t"])) < 30 for g in low)
    assert all(float(str(g["t"])) + float(str(g["x"])) >= 90 for g in genomes if "x" in g)
    with pytest.raises(Infeasible, match=r"the constraint is not met: t \+ x >= 90 \(the sum is 80\)"):
        one.build({"t": 40.0, "x": 40.0})
    assert one.build({"t": 20.0}).parameters == {"t": 20.0}


def test_contradictions_that_arise_under_a_condition_are_found() -> None:
    """The bounds within which a parameter exists count."""
    parameters = {"t": {"real": [0, 100]}, "x": {"real": [0, 10], "when": {"t": {"max": 30}}}}
    with pytest.raises(ValidationError, match=r"no values meet t \+ x >= 50, t <= 30 and x <= 10 together"):
        space(["t + x >= 50"], **parameters)
