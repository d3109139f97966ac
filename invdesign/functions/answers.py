"""Return values of fitness functions: what is allowed, and how it becomes an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from invdesign.candidate import Evaluation, Failure
from invdesign.properties import Unit, is_structure
from invdesign.wording import shorten_text

MAX_SHOWN_CHARACTERS = 80  # of a value in a message (chosen)


class BadAnswerError(Exception):
    """A fitness function returned something it may not return.

    Attributes:
        kind: kind of the failure: `error` or `not_finite`.
    """

    def __init__(self, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.kind = kind


def parse_answer(answer: Any, provides: Mapping[str, Unit]) -> Evaluation:
    """Turn the return value for one candidate into an evaluation.

    Args:
        answer: a number, a mapping from property to number, or an `Evaluation`; `(number, standard deviation)` may stand
            for a number.
        provides: unit by property that the function declares.

    Returns:
        The evaluation; a failure where `answer` is not what the function declared.
    """
    try:
        return _read_answer(answer, [name for name in provides if not is_structure(name)], provides)
    except BadAnswerError as error:
        return Evaluation(failure=Failure(error.kind, "", str(error)))


def parse_batch_answer(answer: Any, provides: Mapping[str, Unit], count: int) -> list[Evaluation]:
    """Turn the return value for a batch into evaluations.

    Args:
        answer: a sequence with an entry per candidate, or a mapping from property to an array.
        provides: unit by property that the function declares.
        count: number of candidates in the batch.

    Raises:
        BadAnswerError: `answer` cannot be split by candidate.
    """
    if isinstance(answer, Mapping):
        names = _check_names(answer, [name for name in provides if not is_structure(name)])
        columns = {name: _split_by_candidate(answer[name], count, f" for {name}") for name in names}
        rows: Sequence[Any] = [{name: column[n] for name, column in columns.items()} for n in range(count)]
    else:
        rows = _split_by_candidate(answer, count, "")
    return [parse_answer(row, provides) for row in rows]


def _read_answer(answer: Any, names: Sequence[str], provides: Mapping[str, Unit]) -> Evaluation:
    if isinstance(answer, Evaluation):
        return answer
    if len(names) < len(provides):
        structures = ", ".join(name for name in provides if is_structure(name))
        raise BadAnswerError(
            f"returned {describe_value(answer)}, expected an Evaluation, since it provides {structures}"
        )
    if isinstance(answer, Mapping):
        found = {name: _split_deviation(answer[name], name) for name in _check_names(answer, names)}
    elif len(names) == 1:
        found = {names[0]: _split_deviation(answer, names[0])}
    else:
        raise BadAnswerError(f"returned {describe_value(answer)}, expected a mapping with {', '.join(names)}")
    return Evaluation(
        properties={name: value for name, (value, _) in found.items()},
        noise={name: error for name, (_, error) in found.items() if error is not None},
    )


def _check_names(answer: Mapping[Any, Any], names: Sequence[str]) -> Sequence[str]:
    missing = [name for name in names if name not in answer]
    extra = [name for name in answer if name not in names]
    if missing or extra:
        raise BadAnswerError(f"returned {describe_value(answer)}, expected a mapping with {', '.join(names)}")
    return names


def _split_deviation(value: Any, name: str) -> tuple[float, float | None]:
    """Split a value into number and standard deviation.

    None where it has none.
    """
    if hasattr(value, "nominal_value") and hasattr(value, "std_dev"):
        value = (value.nominal_value, value.std_dev)
    if isinstance(value, tuple) and len(value) == 2:
        error = None if value[1] is None else _to_float(value[1], f"the standard deviation of {name}")
        if error is not None and error < 0:
            raise BadAnswerError(f"the standard deviation of {name} is {error:g}, must not be negative")
        return _to_float(value[0], name), error
    return _to_float(value, name), None


def _to_float(value: Any, name: str) -> float:
    plain = value
    if getattr(value, "shape", None) == () and bool(getattr(value, "mask", False)):
        raise BadAnswerError(f"{name} is masked, not a number", "not_finite")
    if not isinstance(plain, Real) and getattr(plain, "shape", None) == () and hasattr(plain, "item"):
        plain = plain.item()  # of numpy, torch and their kin
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise BadAnswerError(f"returned {describe_value(value)}, expected a number for {name}")
    try:
        number = float(plain)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadAnswerError(f"{name} is {number}, not a finite number", "not_finite")
    return number


def _split_by_candidate(answer: Any, count: int, what: str) -> Sequence[Any]:
    """Split an answer into one entry per candidate."""
    expected = f"one entry for each of the {count} candidates of the batch{what}"
    if isinstance(answer, tuple) and len(answer) == 2 and all(map(_is_series, answer)):
        values, errors = (_split_by_candidate(part, count, what) for part in answer)
        return list(zip(values, errors, strict=True))
    if not _is_series(answer):
        raise BadAnswerError(f"returned {describe_value(answer)}, expected {expected}")
    entries = list(answer)
    if len(entries) != count or len(getattr(answer, "shape", (count,))) != 1:
        raise BadAnswerError(f"returned {describe_value(answer)}, expected {expected}")
    return entries


def _is_series(value: Any) -> bool:
    if isinstance(value, str | bytes | Mapping | set | frozenset):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__iter__") and getattr(value, "shape", None) != ()


def describe_value(value: Any) -> str:
    """Describe a returned `value` in words, the same in every process."""
    if value is None:
        return "None (is there no `return`?)"
    if isinstance(value, str):
        return f"the text {shorten_text(repr(value), MAX_SHOWN_CHARACTERS)}"
    if isinstance(value, bool | Real | complex):
        return shorten_text(repr(value), MAX_SHOWN_CHARACTERS)
    if getattr(value, "shape", None) is not None:
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping with {shorten_text(', '.join(map(str, value)), MAX_SHOWN_CHARACTERS) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "__await__") or hasattr(value, "__next__"):
        return f"a {type(value).__name__}, which is still to be worked through"
    return f"an object of type {type(value).__name__}"
