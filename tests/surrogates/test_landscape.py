"""The analytic landscapes, against what their authors say of them."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import Candidate, Design, Input, Proposal
from invdesign.settings import load
from surrogates.tabulated import landscape
from surrogates.tabulated.landscape import Landscape

FUNCTIONS = ("sphere", "rastrigin", "rosenbrock", "ackley", "zdt1", "zdt2", "dtlz2")
UNIT = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6)


def at(parameters: dict[str, Any]) -> Input:
    """An input with these parameters."""
    return Input(Candidate(0, "key", Proposal({})), Design(parameters=parameters), {}, {}, 0)


def values(function: str, *x: float) -> list[float]:
    """What the evaluator gives at x."""
    evaluator: Landscape = load("evaluators", {"kind": "landscape", "function": function})
    (evaluation,) = evaluator.evaluate([at({f"x{i}": value for i, value in enumerate(x)})])
    assert evaluation.failure is None
    return list(evaluation.properties.values())


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        ("sphere", (0.0, 0.0, 0.0), [0.0]),
        ("sphere", (1.0, -2.0), [5.0]),
        ("rastrigin", (0.0, 0.0), [0.0]),
        ("rastrigin", (1.0, 1.0), [2.0]),
        ("rosenbrock", (1.0, 1.0, 1.0), [0.0]),
        ("rosenbrock", (-1.2, 1.0), [24.2]),  # the start of Rosenbrock's paper
        ("ackley", (0.0, 0.0), [0.0]),
        ("ackley", (1.0, 1.0), [3.6253849384]),
        ("zdt1", (0.25, 0.0, 0.0), [0.25, 0.5]),
        ("zdt1", (0.0, 1.0, 1.0), [0.0, 10.0]),
        ("zdt2", (0.5, 0.0, 0.0), [0.5, 0.75]),
        ("zdt2", (0.0, 1.0, 1.0), [0.0, 10.0]),
        ("dtlz2", (0.0, 0.5, 0.5), [1.0, 0.0]),
        ("dtlz2", (0.5, 0.5, 0.5), [2**-0.5, 2**-0.5]),
        ("dtlz2", (1.0, 0.0), [0.0, 1.25]),
    ],
)
def test_known_values(function: str, x: tuple[float, ...], expected: list[float]) -> None:
    """Minima and other points where the published functions are known."""
    assert values(function, *x) == pytest.approx(expected, abs=1e-9)


@given(UNIT)
def test_minima_are_minima(x: list[float]) -> None:
    """No point lies below the minimum."""
    for function in ("sphere", "rastrigin", "rosenbrock", "ackley"):
        assert values(function, *x)[0] >= -1e-9


@given(UNIT)
def test_no_point_lies_beyond_the_front(x: list[float]) -> None:
    """The published fronts bound what can be reached."""
    f1, f2 = values("zdt1", *x)
    assert f2 >= 1.0 - np.sqrt(f1) - 1e-9
    f1, f2 = values("zdt2", *x)
    assert f2 >= 1.0 - f1**2 - 1e-9
    f1, f2 = values("dtlz2", *x)
    assert f1**2 + f2**2 >= 1.0 - 1e-9


@pytest.mark.parametrize("function", FUNCTIONS)
def test_properties_are_height_or_f1_and_f2(function: str) -> None:
    """What is provided is what is promised, and every function names its source."""
    evaluator: Landscape = load("evaluators", {"kind": "landscape", "function": function})
    two = function in {"zdt1", "zdt2", "dtlz2"}
    assert list(evaluator.provides) == (["f1", "f2"] if two else ["height"])
    assert any(digit in str(getattr(landscape, function).__doc__) for digit in ("19", "20"))


@pytest.mark.parametrize(
    ("function", "parameters", "kind", "message"),
    [
        ("sphere", {"x": 0.1, "solvent": "EC"}, "missing", "a function of numbers, got solvent = 'EC'"),
        ("sphere", {}, "missing", "needs 1 or more numeric parameters, got 0"),
        ("rosenbrock", {"x": 1.0}, "missing", "needs 2 or more numeric parameters, got 1"),
        ("zdt1", {"x": 0.5, "y": 1.5}, "error", r"defined on \[0, 1\], got y = 1.5"),
        ("rosenbrock", {"x": 1e200, "y": 1.0}, "not_finite", "rosenbrock overflows"),
    ],
)
def test_where_it_has_no_value_it_says_why(
    function: str, parameters: dict[str, Any], kind: str, message: str
) -> None:
    """A failure with its cause, and its neighbours in the batch are evaluated."""
    evaluator = Landscape.model_validate({"function": function})
    failed, fine = evaluator.evaluate([at(parameters), at({"x": 0.5, "y": 0.5})])
    assert failed.failure is not None
    assert failed.failure.kind == kind
    assert not failed.properties
    assert re.search(message, failed.failure.message)
    assert fine.failure is None


def test_integers_are_numbers() -> None:
    """Whole numbers, as integer parameters have them, are taken as they are."""
    (evaluation,) = Landscape(function="sphere").evaluate([at({"n": 3, "x": 0.5})])
    assert evaluation.properties == {"height": 9.25}


def test_delay_is_slept_per_evaluation() -> None:
    """Three evaluations of 10 ms take 30 ms or more, and each says what it cost."""
    start = time.perf_counter()
    found = Landscape(function="sphere", delay=0.01).evaluate([at({"x": 0.0})] * 3)
    assert time.perf_counter() - start >= 0.03
    assert all(evaluation.cost["seconds"] >= 0.01 for evaluation in found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"function": "spere"}, "'sphere', 'rastrigin'"),
        ({}, "Field required"),
        ({"function": "sphere", "delay": -1.0}, "greater than or equal to 0"),
        ({"function": "sphere", "batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is found when the campaign is read."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "landscape", **fields})
