"""What a function may return, and what is said of everything else."""

from __future__ import annotations

import math
from collections import UserDict
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Evaluation
from invdesign.functions.answers import BadAnswerError, parse_answer, parse_batch_answer

ONE = {"hardness": "GPa"}
TWO = {"hardness": "GPa", "cost": ""}


class Uncertain:
    """As the package uncertainties has it."""

    def __init__(self, value: float, error: float) -> None:
        self.nominal_value = value
        self.std_dev = error


def torch_scalar() -> Any:
    import torch

    return torch.tensor(1.5, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("answer", "value", "error"),
    [
        (1.5, 1.5, None),
        (2, 2.0, None),
        (np.float32(1.5), 1.5, None),
        (np.int64(2), 2.0, None),
        (np.array(1.5), 1.5, None),
        (torch_scalar, 1.5, None),
        ((1.5, 0.1), 1.5, 0.1),
        ((1.5, None), 1.5, None),
        (Uncertain(1.5, 0.1), 1.5, 0.1),
        ({"hardness": 1.5}, 1.5, None),
        ({"hardness": (1.5, np.float64(0.1))}, 1.5, 0.1),
        (UserDict({"hardness": Uncertain(1.5, 0.0)}), 1.5, 0.0),
        (Evaluation({"hardness": 1.5}, {"hardness": 0.1}), 1.5, 0.1),
    ],
)
def test_what_may_be_returned(answer: Any, value: float, error: float | None) -> None:
    """Plain numbers come out, with the uncertainty where there is one."""
    found = parse_answer(answer() if answer is torch_scalar else answer, ONE)
    assert found.failure is None
    assert dict(found.properties) == {"hardness": value}
    assert type(found.properties["hardness"]) is float
    assert dict(found.noise) == ({} if error is None else {"hardness": error})


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (None, "error", "returned None (is there no `return`?), expected a number for hardness"),
        ("1.5", "error", "returned the text '1.5', expected a number for hardness"),
        (True, "error", "returned True, expected a number for hardness"),
        (np.bool_(True), "error", "expected a number for hardness"),
        (1j, "error", "returned 1j, expected a number for hardness"),
        ([1.5], "error", "returned a list of 1, expected a number for hardness"),
        ((1.0, 2.0, 3.0), "error", "returned a tuple of 3, expected a number for hardness"),
        (np.ones(3), "error", "returned an array of shape (3,), expected a number for hardness"),
        (np.ones(1), "error", "returned an array of shape (1,), expected a number for hardness"),
        (object(), "error", "returned an object of type object, expected a number for hardness"),
        (iter([1.5]), "error", "returned a list_iterator, which is still to be worked through, expected"),
        (math.nan, "not_finite", "hardness is nan, not a finite number"),
        (-math.inf, "not_finite", "hardness is -inf, not a finite number"),
        (10**400, "not_finite", "hardness is inf, not a finite number"),
        ((1.5, math.nan), "not_finite", "the standard deviation of hardness is nan, not a finite number"),
        ((1.5, -0.1), "error", "the standard deviation of hardness is -0.1, must not be negative"),
        ((1.5, "0.1"), "error", "returned the text '0.1', expected a number for the standard deviation of"),
        ({}, "error", "returned a mapping with nothing, expected a mapping with hardness"),
        ({"hard": 1.5}, "error", "returned a mapping with hard, expected a mapping with hardness"),
        ({"hardness": 1.5, "x": 2}, "error", "returned a mapping with hardness, x, expected a mapping with"),
        (
            {"hardness": None},
            "error",
            "returned None (is there no `return`?), expected a number for hardness",
        ),
    ],
)
def test_what_may_not(answer: Any, kind: str, message: str) -> None:
    """Anything else is a failure that says what came back and what was expected."""
    failure = parse_answer(answer, ONE).failure
    assert failure is not None
    assert failure.kind == kind
    assert message in failure.message


def test_several_properties_need_their_names() -> None:
    """A tuple of two numbers is no pair of properties, and one property is not two."""
    for answer in ((1.0, 2.0), 1.0, {"hardness": 1.0}):
        failure = parse_answer(answer, TWO).failure
        assert failure is not None
        assert failure.message.endswith("expected a mapping with hardness, cost")
    failure = parse_answer(1.0, {"structure:relaxed": "", "hardness": ""}).failure
    assert failure is not None
    assert failure.message == "returned 1.0, expected an Evaluation, since it provides structure:relaxed"


@pytest.mark.parametrize(
    ("answer", "provides"),
    [
        ([1.0, 2.0], ONE),
        ((1.0, 2.0), ONE),
        (np.array([1.0, 2.0]), ONE),
        (([1.0, 2.0], [0.1, 0.2]), ONE),
        ([(1.0, 0.1), (2.0, 0.2)], ONE),
        ({"hardness": np.array([1.0, 2.0])}, ONE),
        ({"hardness": [1, 2], "cost": (np.zeros(2), np.ones(2))}, TWO),
        ([{"hardness": 1.0, "cost": 0.0}, Evaluation({"hardness": 2.0, "cost": 0.0})], TWO),
    ],
)
def test_batches(answer: Any, provides: dict[str, str]) -> None:
    """One answer per candidate, or an array per property; with uncertainties beside them."""
    found = parse_batch_answer(answer, provides, 2)
    assert [item.properties["hardness"] for item in found] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1.0], "returned a list of 1, expected one entry for each of the 2 candidates of the batch"),
        (np.ones(3), "returned an array of shape (3,), expected one entry for each of the 2 candidates"),
        (np.ones((2, 1)), "returned an array of shape (2, 1), expected one entry for each"),
        (1.0, "returned 1.0, expected one entry for each"),
        ("ab", "returned the text 'ab', expected one entry for each"),
        (None, "returned None (is there no `return`?), expected one entry for each"),
        ({1.0, 2.0}, "returned an object of type set, expected one entry for each"),
        ({"hardness": [1.0]}, "returned a list of 1, expected one entry for each of the 2 candidates of the batch for hardness"),
        ({"hard": [1.0, 2.0]}, "returned a mapping with hard, expected a mapping with hardness"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_told_apart(answer: Any, message: str) -> None:
    """A wrong number of answers is nobody's."""
    with pytest.raises(BadAnswerError) as caught:
        parse_batch_answer(answer, ONE, 2)
    assert message in str(caught.value)


def test_a_member_that_is_wrong() -> None:
    """NaN or a word for one candidate is that candidate's failure."""
    found = parse_batch_answer({"hardness": [1.0, math.nan, "x", 4.0]}, ONE, 4)
    assert [item.failure.kind if item.failure else "" for item in found] == ["", "not_finite", "error", ""]
