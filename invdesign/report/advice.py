"""The recommendation in the report: tables, parity plots, and bars of importance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from invdesign.learning.calibration import DEVIATIONS_95, Calibration
from invdesign.learning.importance import Contribution, Importance, Share
from invdesign.recommendation.values import Estimate, Member, Recommendation
from invdesign.report.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    Figure,
    base_layout,
    round_for_json,
    titled_axis,
)
from invdesign.report.marks import mark_points
from invdesign.report.results import property_label
from invdesign.report.tables import Facts
from invdesign.report.text import (
    AS_MEASURED,
    axis_label,
    format_interval,
    format_measured,
    format_number,
    pretty_unit,
    with_unit,
)
from invdesign.wording import format_log_density

MAX_BARS = 12  # variables in a figure; chosen
LEAST_EFFECT = 0.005  # smaller effects are not drawn; chosen
CLEAR_TREND = 0.3  # rank correlation from which a bar is coloured; chosen
LEAST_BAR_PLACES = 4  # places on the axis, so that few bars are not too wide; chosen
MAX_NAME_LETTERS = 44  # of a bar's name; chosen


@dataclass(frozen=True, slots=True)
class AdvisedRow:
    """One recommended candidate.

    Attributes:
        cells: by property: the measured value, the model's mean, and its interval.
    """

    id: int
    formula: str
    desirability: str
    cells: tuple[tuple[str, str, str], ...]
    measured_best: bool


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """Calibration of the model of one property."""

    label: str
    cells: tuple[str, ...]
    words: str
    verdict: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """Contents of the section; without rows and models only words.

    Attributes:
        words: sentences to read first.
        notes: of the optimizer.
        several: True if several objectives leave a choice.
        heads: properties of the table with their units.
        judged: True if rows have a desirability.
        front_size: number of recommended candidates, also those not listed.
        learned_from: number of candidates the models learned from.
        models: calibration and figures by property.
    """

    words: tuple[str, ...]
    notes: tuple[str, ...]
    several: bool
    heads: tuple[str, ...]
    judged: bool
    rows: tuple[AdvisedRow, ...]
    front_size: int
    learned_from: int
    models: tuple[JudgedModel, ...]


MODEL_HEADS = ("Rows", "R²", "RMSE", "Rank corr.", "In 68 %", "In 95 %", "−log density", "Of the mean")


def build_advice(facts: Facts, found: Recommendation, figures: dict[str, Figure]) -> Advice:
    """Build the section of the recommendation.

    Args:
        facts: of the run.
        found: the recommendation.
        figures: by name; those of this section are added.
    """
    estimates = found.front[0].estimates if found.front else ()
    importance = {item.property: item for item in found.importance}
    return Advice(
        words=found.words,
        notes=optimizer_notes(facts, found.notes),
        several=found.best is None,
        heads=tuple(
            axis_label(item.property, item.unit, facts.structures.get(item.property, ""))
            for item in estimates
        ),
        judged=bool(found.front) and found.front[0].desirability is not None,
        rows=tuple(_advised_row(member) for member in found.front),
        front_size=found.front_size,
        learned_from=found.learned_from,
        models=tuple(
            _describe_model(facts, item, importance.get(item.property), place, figures)
            for place, item in enumerate(found.calibration)
        ),
    )


def optimizer_notes(facts: Facts, notes: Sequence[str]) -> tuple[str, ...]:
    """Select `notes` of the optimizer; those of the campaign (`facts`) stand elsewhere."""
    own = set(facts.run.campaign.notes)
    return tuple(note for note in notes if note not in own)


def advice_of_notes(notes: Sequence[str]) -> Advice | None:
    """Section without models, holding only `notes`; None without any."""
    if not notes:
        return None
    return Advice(
        (),
        tuple(notes),
        several=False,
        heads=(),
        judged=False,
        rows=(),
        front_size=0,
        learned_from=0,
        models=(),
    )


def _advised_row(member: Member) -> AdvisedRow:
    judged = "" if member.desirability is None else format_number(member.desirability)
    cells = tuple(_estimate_cells(item) for item in member.estimates)
    return AdvisedRow(member.candidate, member.formula, judged, cells, member.measured_best)


def _estimate_cells(item: Estimate) -> tuple[str, str, str]:
    value = np.nan if item.measured is None else item.measured
    noise, systematic = (np.nan if error is None else error for error in (item.noise, item.systematic))
    text = f"{format_measured(value, noise, systematic, item.unit)} {item.words}".rstrip()
    interval = item.interval()
    if interval is None or item.mean is None:
        return text, "", ""
    if item.is_exact():
        return text, AS_MEASURED, ""
    return text, *format_interval(item.mean, *interval)


def _describe_model(
    facts: Facts, item: Calibration, importance: Importance | None, place: int, figures: dict[str, Figure]
) -> JudgedModel:
    named = property_label(item.property, facts.units)
    drawn = [(f"parity{place}", f"{named}: every candidate predicted from all others")]
    figures[f"parity{place}"] = mark_points(facts, item.property, parity_figure(item))
    if importance is not None:
        bars = [("variables", importance.variables, "Share of the variance lost with each variable")]
        if 1 < len(importance.groups) < len(importance.variables):
            bars.append(("groups", importance.groups, "Share of the variance lost with each group"))
        for kind, shares, title in bars:
            if shares and shares[0].effect >= LEAST_EFFECT:
                figures[f"{kind}{place}"] = importance_figure(shares, title)
                drawn.append((f"{kind}{place}", f"{named}: {title.lower()}"))
        if importance.contributions:
            figures[f"added{place}"] = contribution_figure(importance.contributions, item.unit)
            drawn.append((f"added{place}", f"{named}: what each group of descriptors adds"))
    return JudgedModel(named, _statistics_cells(item), item.words, item.verdict, tuple(drawn))


def _statistics_cells(item: Calibration) -> tuple[str, ...]:
    return (
        str(len(item.rows)),
        f"{item.r2:.2f}".replace("-", "−"),
        with_unit(format_number(item.rmse), pretty_unit(item.unit)),
        "" if item.rank_correlation is None else f"{item.rank_correlation:.2f}".replace("-", "−"),
        f"{100 * item.inside_68:.0f} %",
        f"{100 * item.inside_95:.0f} %",
        format_log_density(item.log_density).replace("-", "−"),
        format_log_density(item.mean_log_density).replace("-", "−"),
    )


# Figures.


def parity_figure(item: Calibration) -> Figure:
    """Figure of predicted against measured values, with intervals of 95 %.

    Values outside their interval have another colour.

    Args:
        item: calibration of the property's model.
    """
    values = np.array([row.measured for row in item.rows])
    means = np.array([row.predicted for row in item.rows])
    bars = DEVIATIONS_95 * np.array([row.deviation for row in item.rows])
    inside = np.abs(means - values) <= bars
    ids = np.array([row.candidate for row in item.rows])
    low, high = float(min(values.min(), means.min())), float(max(values.max(), means.max()))
    pad = 0.06 * (high - low) or 1.0
    ends = round_for_json(np.array([low - pad, high + pad]))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": ends,
            "y": ends,
            "line": {"color": INK, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    kinds = ((inside, "within 95 %", BLUE, "11,95,165"), (~inside, "outside 95 %", ORANGE, "194,65,12"))
    for chosen, name, colour, faint in kinds:
        if not chosen.any():
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": round_for_json(values[chosen]),
                "y": round_for_json(means[chosen]),
                "error_y": {
                    "type": "data",
                    "array": round_for_json(bars[chosen]),
                    "color": f"rgba({faint},0.3)",
                    "thickness": 1,
                    "width": 0,
                },
                "customdata": ids[chosen].tolist(),
                "hoverinfo": "text",
                "marker": {"color": colour, "size": 6, "opacity": 0.75},
            }
        )
    unit = f" ({pretty_unit(item.unit)})" if item.unit else ""
    drawn = base_layout(
        titled_axis(f"Measured{unit}") | {"range": ends},
        titled_axis(f"Predicted without it{unit}") | {"range": ends},
    )
    return {"data": traces, "layout": drawn | {"showlegend": True}}


def importance_figure(shares: Sequence[Share], title: str) -> Figure:
    """Bars of the largest effects, coloured by the trend of the property.

    Args:
        shares: by variable or group, largest effect first.
        title: of the axis.
    """
    shown = [share for share in shares if share.effect >= LEAST_EFFECT][:MAX_BARS]
    kinds = (
        ("property rises with it", GREEN, lambda trend: trend is not None and trend >= CLEAR_TREND),
        ("falls with it", ORANGE, lambda trend: trend is not None and trend <= -CLEAR_TREND),
        ("neither", GREY, lambda trend: trend is None or abs(trend) < CLEAR_TREND),
    )
    coloured = any(share.trend is not None and abs(share.trend) >= CLEAR_TREND for share in shown)
    traces = [
        _bar_trace(
            [place for place, share in enumerate(shown) if belongs(share.trend)],
            [(share.effect, _share_hover(share)) for share in shown],
            name,
            colour if coloured else GREEN,
        )
        for name, colour, belongs in kinds
    ]
    drawn = _bar_layout([share.name for share in shown], title)
    drawn["xaxis"] |= {"tickformat": ".0%", "range": [0, min(1.05 * max(s.effect for s in shown), 1.0)]}
    return {"data": [trace for trace in traces if trace["x"]], "layout": drawn | {"showlegend": coloured}}


def _share_hover(share: Share) -> str:
    lines = [f"<b>{escape(share.name)}</b>", f"{100 * share.effect:.1f} % of the variance is lost with it"]
    if share.relevance is not None:
        lines.append(f"{100 * share.relevance:.1f} % by the model's length scales")
    if share.trend is not None:
        lines.append(f"rank correlation with the model {share.trend:+.2f}".replace("-", "−"))
    return "<br>".join(lines)


def contribution_figure(found: Sequence[Contribution], unit: str) -> Figure:
    """Bars of the contributions of groups to an additive model.

    Each bar is a group's spread; a diamond is its contribution to the best candidate.

    Args:
        found: contributions, largest spread first.
        unit: of the property; may be empty.
    """
    shown = list(found)[:MAX_BARS]
    pretty = pretty_unit(unit)
    traces = [
        _bar_trace(
            list(range(len(shown))),
            [
                (
                    item.spread,
                    f"{escape(item.group)}: spread {with_unit(format_number(item.spread), pretty)}, {100 * item.share:.0f} % of all",
                )
                for item in shown
            ],
            "spread over the candidates",
            GREEN,
        )
    ]
    best = [(item.of_best, item.group) for item in shown if item.of_best is not None]
    if best:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "in the best candidate",
                "x": round_for_json(np.array([value for value, _ in best])),
                "y": list(range(len(best))),
                "marker": {"color": INK, "symbol": "diamond", "size": 9},
                "hoverinfo": "text",
                "hovertext": [
                    f"{escape(group)} adds {with_unit(format_number(float(value)), pretty)} to the best beyond its mean"
                    for value, group in best
                ],
            }
        )
    title = f"What each group adds ({pretty})" if unit else "What each group adds"
    return {
        "data": traces,
        "layout": _bar_layout([item.group for item in shown], title) | {"showlegend": True},
    }


def _bar_trace(
    places: Sequence[int], values: Sequence[tuple[float, str]], name: str, colour: str
) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": round_for_json(np.array([values[place][0] for place in places])),
        "y": list(places),
        "marker": {"color": colour, "opacity": 0.85},
        "hoverinfo": "text",
        "hovertext": [values[place][1] for place in places],
    }


def _bar_layout(names: Sequence[str], title: str) -> dict[str, Any]:
    yaxis = titled_axis("") | {
        "tickvals": list(range(len(names))),
        "ticktext": [
            escape(name if len(name) <= MAX_NAME_LETTERS else f"{name[: MAX_NAME_LETTERS - 1]}…")
            for name in names
        ],
        "range": [max(len(names), LEAST_BAR_PLACES) - 0.4, -0.6],
        "showgrid": False,
    }
    drawn = base_layout(titled_axis(title), yaxis) | {"bargap": 0.3, "barmode": "overlay"}
    drawn["margin"]["t"] = 36
    return drawn
