"""Constraints written as expressions: what is allowed, what they mean, and that nothing else can happen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.spaces.linear import parse_linear_fields
from invdesign.spaces.parameters.expressions import Expression

NUMBERS = {"x": None, "y": None, "n": None, "solvent": ("EC", "DMC")}
VALUES = {"x": 0.5, "y": 2.0, "n": 3, "solvent": "EC"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("x * y <= 1", True),
        ("x * y < 1", False),
        ("x * y >= 1 and n > 3", False),
        ("x * y >= 1 or n > 3", True),
        ("not n > 3", True),
        ("1 <= y <= 2", True),
        ("0 < x < y < n", True),
        ("x ** 2 + y ** 2 <= 4.25", True),
        ("log(y) * n < 2.1", True),
        ("sqrt(min(x, y, 9)) <= max(x, 0.71)", True),
        ("solvent == 'EC'", True),
        ("solvent != 'EC' or x < 0.4", False),
        ("solvent in ['EC', 'DMC']", True),
        ("n not in [3, 4]", False),
        ("n = 3", True),
        ("abs(-x) == 0.5", True),
        ("exp(x) > pi", False),
        ("-x + +y > 0", True),
    ],
)
def test_expressions_mean_what_they_say(text: str, holds: bool) -> None:
    """Comparisons in the syntax of Python; a single equals sign means equality."""
    expression = Expression(text)
    expression.check_meaning(NUMBERS)
    assert (expression.measure_violation(VALUES) == 0.0) == holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x <=", "cannot be read"),
        ("", "cannot be read"),
        ("x + y", "a value without a comparison"),
        ("x.real <= 3", "Attribute. is not allowed; allowed are numbers, parameters"),
        ("x[0] <= 3", "Subscript. is not allowed"),
        ("__import__('os').system('true') <= 3", "there is no function"),
        ("open('f') <= 3", "there is no function 'open'"),
        ("eval('1') <= 3", "there is no function 'eval'"),
        ("lgo(x) <= 3", "there is no function 'lgo'. Did you mean 'log'"),
        ("log(x, y) <= 3", "log takes one number"),
        ("max(x) <= 3", "max takes two or more numbers"),
        ("log(base=x) <= 3", "is not allowed"),
        ("x ^ 2 <= 3", "BitXor is not allowed; write \\*\\* for a power"),
        ("x % 2 <= 3", "Mod is not allowed"),
        ("(lambda: 3)() <= 3", "there is no function"),
        ("[i for i in [1]] <= 3", "ListComp"),
        ("(x if y else n) <= 3", "IfExp. is not allowed"),
        ("f'{x}' == 'a'", "JoinedStr. is not allowed"),
        ("x is 3", "'Is' is no comparison"),
        ("x <= True", "True is no finite number"),
        ("x <= 1e999", "inf is no finite number"),
        ("x <= None", "None is no finite number"),
        ("x in y", "'in' needs a list on its right"),
        ("x <= [1, 2]", "'in' needs a list on its right"),
        ("x in [y]", "a list holds plain names or numbers"),
        ("(x := 3) <= 4", "cannot be read"),
        ("x <= 3; y <= 4", "cannot be read"),
        ("x <= " + "(" * 500 + "3" + ")" * 500, "cannot be read|nested too deeply"),
        ("x <= " + "-" * 1900 + "3", "nested too deeply|cannot be read"),
        ("x <= " + "1 + " * 600 + "1", "at most 2000 characters"),
    ],
)
def test_what_is_not_allowed_is_refused(text: str, message: str) -> None:
    """With what is allowed instead, before anything is computed."""
    with pytest.raises(ValueError, match=message):
        _ = Expression(text).names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temp <= 3", "names 'temp', which is none of the parameters. There are x, y, n, solvent"),
        ("solvnt == 'EC'", "Did you mean 'solvent'"),
        ("1 <= 2", "mentions no parameter"),
        ("pi <= 4", "mentions no parameter"),
        ("solvent <= 3", "solvent and 3.0 are a name and a number"),
        ("solvent < 'EC'", "only ==, != and in compare"),
        ("solvent == 'PC'", "'solvent' is never 'PC'. It is one of EC, DMC"),
        ("solvent in ['EC', 'DCM']", "'solvent' is never 'DCM'. Did you mean 'DMC'"),
        ("log(solvent) <= 3", "solvent is a name, and log.solvent. needs numbers"),
        ("solvent + 'EC' == 'EC'", "needs numbers"),
        ("x in [1, 'EC']", "are a name and a number"),
    ],
)
def test_what_makes_no_sense_for_the_parameters_is_refused(text: str, message: str) -> None:
    """Unknown names, names as numbers, options that do not exist."""
    with pytest.raises(ValueError, match=message):
        Expression(text).check_meaning(NUMBERS)


@pytest.mark.parametrize(
    "text",
    [
        "log(x - 1) <= 3",
        "1 / (x - x) <= 3",
        "(0 - x) ** 0.5 <= 3",
        "exp(y * 1000) >= 0",
        "(y * 10) ** 99 ** 9 >= 0",
        "x ** 101 <= 1",
    ],
)
def test_what_has_no_value_is_not_met(text: str) -> None:
    """Logarithms of negative numbers, division by zero, overflow: a violation, not an error."""
    assert Expression(text).measure_violation(VALUES) == 1.0


def test_violations_lead_downhill() -> None:
    """Farther from the limit is worse; `and` adds up, `or` takes the least."""
    near, far = ({"x": x, "y": 1.0} for x in (2.0, 5.0))
    assert 0 < Expression("x <= 1").measure_violation(near) < Expression("x <= 1").measure_violation(far) < 1
    both = Expression("x <= 1 and x <= 1.5").measure_violation(near)
    assert (
        both
        > Expression("x <= 1").measure_violation(near)
        > Expression("x <= 1 or x <= 1.5").measure_violation(near)
    )


def test_rounding_does_not_break_a_limit() -> None:
    """0.1 + 0.2 is 0.3, and what is equal is not less."""
    values = {"x": 0.1 + 0.2, "y": 0.3}
    assert Expression("x <= y").measure_violation(values) == 0.0
    assert Expression("x == y").measure_violation(values) == 0.0
    assert Expression("x != y").measure_violation(values) == 1.0
    assert Expression("x < 0.3").measure_violation({"x": 0.3}) > 0.0


def test_a_parameter_may_be_called_pi() -> None:
    """It takes precedence over the constant."""
    assert Expression("pi <= 1").measure_violation({"pi": 0.5}) == 0.0
    Expression("pi <= 1").check_meaning({"pi": None})


@given(st.text(max_size=40))
def test_no_text_does_anything_else(text: str) -> None:
    """Any text is a condition or a ValueError."""
    try:
        expression = Expression(text)
        names = expression.names
    except ValueError:
        return
    assert math.isfinite(expression.measure_violation(dict.fromkeys(names, 1.0)))


@pytest.mark.parametrize(
    "text", ["a + " * 450 + "a < 1", "2*" * 900 + "a < 1", "-" * 1900 + "a < 1", "not " * 450 + "a < 1"]
)
def test_depth_is_bounded(text: str) -> None:
    """What nests deeper than Python's own recursion allows is a mistake, and long sums are no stack trace."""
    with pytest.raises(ValueError, match="nested too deeply"):
        Expression(text).check_meaning({"a": None})
    assert parse_linear_fields(text) is None
