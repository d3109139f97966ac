"""What a recommendation consists of: plain values that go to JSON, to a terminal and into a report."""

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
    """A property of one candidate: what was measured, and what the model makes of all measurements together.

    Attributes:
        measured: the value the evaluators gave, None where they gave none.
        noise: standard deviation of repeating the evaluation, as an evaluator or experiment said it.
        systematic: standard deviation of its method, common to a chemistry: no part of the model's interval.
        mean, deviation: of the value itself, without the noise of one evaluation; None without a model. Of a measured
            candidate never further from the measurement than its noise; a value without noise is met exactly.
        words: that belong beside the measured value; see `words_beside`.
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
        """True of a value without noise, which no model has anything to add to."""
        return self.deviation == 0.0 and self.measured is not None

    def interval(self) -> tuple[float, float] | None:
        """The central 95 % of what the model believes; None without a model."""
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
    """A candidate as the model predicts it from all others; the deviation includes the noise of one evaluation."""

    candidate: int
    measured: float
    predicted: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a model predicts each of its rows from the others.

    Attributes:
        rmse: root mean square error, in the property's unit.
        r2: share of the variance it predicts, beside the mean of the other rows; negative where it is worse.
        rank_correlation: Spearman's; None where the predictions do not vary.
        inside_68, inside_95: share of values inside the central 68 % and 95 % of their predictions.
        log_density: mean negative logarithm of the predicted density at the values; smaller is better.
        mean_log_density: the same of a normal distribution with the mean and spread of the other rows.
        widen: by how much intervals must be widened so that those of 95 % hold 95 %.
        verdict: in a few words; `words` in a sentence or two.
        best_span: what the best quarter of the values spans, in the property's unit; None of a property that is no
            objective, and of few values.
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
    """How much a variable, or a group of them, matters to the model of a property.

    Attributes:
        effect: share of the model's variance that is lost with it, among the candidates that were evaluated.
        relevance: by the model's own length scales, all variables' sum is 1; None of groups.
        trend: rank correlation of the variable with the model's means, from -1 to 1; None of groups and categories.
    """

    name: str
    group: str
    effect: float
    relevance: float | None = None
    trend: float | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a group adds to the predictions of an additive model.

    Attributes:
        spread: standard deviation of what it adds, over the evaluated candidates, in the property's unit.
        share: of the variances of all groups.
        of_best: what it adds to the best candidate beyond its mean; None where no candidate is the best.
    """

    group: str
    spread: float
    share: float
    of_best: float | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """What matters to one property, largest effects first.

    Attributes:
        contributions: of the groups where the model is a sum over them; else empty.
    """

    property: str
    variables: tuple[Share, ...]
    groups: tuple[Share, ...]
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to take from a run.

    Attributes:
        best: the candidate with the best mean of those evaluated; None where several objectives leave a choice.
        measured_best: the candidate with the best measured value, where `best` is another.
        front: of several objectives, the members that no other dominates by its means, at most 50, evenly chosen.
            Else the best and at most 10 it cannot be told from, and the best by measured value.
        front_size: how many there are in all.
        learned_from: how many candidates the models know.
        words: what a reader must know first: what could not be modelled and why, where the model overrules a value.
        notes: what the optimizer had to say of its own doing.
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
        """Plain JSON; every estimate with its 95 % interval."""
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
