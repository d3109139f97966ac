"""Parts of a recommendation: plain values for JSON, terminals and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal

from invdesign.candidate import Json

DEVIATIONS_95 = (
    1.959963984540054  # standard deviations on either side that hold 95 % of a normal distribution
)

Verdict = Literal[
    "well calibrated",
    "intervals too wide",
    "intervals too narrow",
    "too few to tell",
    "no better than the mean",
]


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
class LeftOut:
    """Leave-one-out prediction of a candidate; the deviation includes its noise."""

    candidate: int
    measured: float
    predicted: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Accuracy of a model's leave-one-out predictions.

    Attributes:
        property, unit: of the property.
        rows: the predictions.
        rmse: root mean square error, in the property's unit.
        r2: share of the variance it predicts, relative to the mean of the other rows; negative where it is worse.
        rank_correlation: Spearman's; None if the predictions do not vary.
        inside_68, inside_95: share of values inside the central 68 % and 95 % of their predictions.
        log_density: mean negative logarithm of the predicted density at the values; smaller is better.
        mean_log_density: the same for a normal distribution with the mean and spread of the other rows.
        widen: factor by which intervals must be widened so that those of 95 % hold 95 %.
        verdict: in a few words; `words` in a sentence or two.
        best_span: range of the best quarter of the values, in the property's unit; None if the property is no
            objective, or with few values.
    """

    property: str
    unit: str
    rows: tuple[LeftOut, ...]
    rmse: float
    r2: float
    rank_correlation: float | None
    inside_68: float
    inside_95: float
    log_density: float
    mean_log_density: float
    widen: float
    verdict: Verdict
    words: str
    best_span: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Importance of a variable or a group to the model of a property.

    Attributes:
        name, group: of the variable.
        effect: share of the model's variance that is lost with it, among the candidates that were evaluated.
        relevance: by the model's own lengthscales, normalised to the sum 1; None for groups.
        trend: rank correlation of the variable with the model's means, from -1 to 1; None for groups and categories.
    """

    name: str
    group: str
    effect: float
    relevance: float | None = None
    trend: float | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """Contribution of a group to the predictions of an additive model.

    Attributes:
        group: its name.
        spread: standard deviation of its contributions over the evaluated candidates, in the property's unit.
        share: of the variances of all groups.
        of_best: its contribution to the best candidate beyond its mean; None if no candidate is the best.
    """

    group: str
    spread: float
    share: float
    of_best: float | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """Importance of variables and groups to one property, largest effects first.

    Attributes:
        property: its name.
        variables, groups: their effects.
        contributions: of the groups if the model is a sum over them; else empty.
    """

    property: str
    variables: tuple[Share, ...]
    groups: tuple[Share, ...]
    contributions: tuple[Contribution, ...] = ()


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
