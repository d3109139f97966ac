"""Parts of a recommendation: plain values for JSON, terminals and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

from invdesign.candidate import Json
from invdesign.learning.calibration import DEVIATIONS_95, Calibration
from invdesign.learning.importance import Importance


@dataclass(frozen=True, slots=True)
class Estimate:
    """Measured value and model estimate of one property of a candidate.

    Attributes:
        property, unit: of the property.
        measured: value from the evaluators, None if there is none.
        noise: standard deviation of repeating the evaluation, as an evaluator or experiment gave it.
        systematic: standard deviation of its method, common to a chemistry: no part of the model's interval.
        mean, deviation: of the value itself, without the noise of one evaluation; None without a model. Of a measured
            candidate never further from the measurement than its noise; a value without noise is met exactly.
        words: beside the measured value; see `words_beside`.
    """

    property: str
    unit: str
    measured: float | None
    noise: float | None
    systematic: float | None
    mean: float | None
    deviation: float | None
    words: str = ""

    def is_exact(self) -> bool:
        """True if the measured value has no noise, so that a model adds nothing."""
        return self.deviation == 0.0 and self.measured is not None

    def interval(self) -> tuple[float, float] | None:
        """Central 95 % interval of the model; None without a model."""
        if self.mean is None or self.deviation is None:
            return None
        return self.mean - DEVIATIONS_95 * self.deviation, self.mean + DEVIATIONS_95 * self.deviation


@dataclass(frozen=True, slots=True)
class Member:
    """A recommended candidate.

    Attributes:
        estimates: objectives first, then properties of constraints.
        desirability: of the means, between 0 and 1; None where the objectives have no scale.
        measured_best: whether it is also among the best by measured values alone.
    """

    candidate: int
    formula: str
    estimates: tuple[Estimate, ...]
    desirability: float | None
    measured_best: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Recommended candidates of a run.

    Attributes:
        objectives: in words.
        best: the evaluated candidate with the best mean; None if several objectives leave a choice.
        measured_best: the candidate with the best measured value, if `best` is another.
        front: with several objectives, the members that no other dominates by its means, at most 50, evenly chosen.
            Else the best, at most 10 candidates it cannot be told from, and the best by measured value.
        front_size: number of such candidates in all.
        learned_from: number of candidates the models learned from.
        calibration, importance: by property.
        words: sentences to read first: properties without a model and the reason, and a measured best that the models
            overrule.
        notes: of the optimizer.
    """

    objectives: tuple[str, ...]
    best: Member | None
    measured_best: int | None
    front: tuple[Member, ...]
    front_size: int
    learned_from: int
    calibration: tuple[Calibration, ...]
    importance: tuple[Importance, ...]
    words: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Json]:
        """Convert to plain JSON; every estimate with its 95 % interval."""
        found = _to_json(self)
        assert isinstance(found, dict)
        return found


def _to_json(value: object) -> Json:
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, Estimate):
            found["interval"] = _to_json(value.interval())
        return found
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a recommendation holds plain values only, got {type(value).__name__}")
