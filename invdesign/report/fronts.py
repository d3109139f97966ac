"""Figures of the results: ranking, the front of two objectives, parallel coordinates of more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import combinations
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Objective
from invdesign.report.figures import (
    FRONT_NAME,
    GREEN,
    INK,
    MAX_RANKED,
    MERIT_STYLES,
    WINNER_NAME,
    Figure,
    ShownCandidates,
    base_layout,
    count_axis,
    error_bars,
    goal_ends,
    goal_shapes,
    marker_style,
    objective_axis,
    pick_evenly,
    point_trace,
    robust_range,
    round_for_json,
    select_complete,
    titled_axis,
)
from invdesign.report.marks import split_marked
from invdesign.report.results import property_label
from invdesign.report.tables import Facts
from invdesign.report.text import distance_text, goal_text

MAX_PAIRED_OBJECTIVES = 4  # objectives shown in pairs; chosen
MAX_RIMMED_POINTS = 80  # members of a front with a white rim each; chosen
MAX_OTHER_LINES = 120  # candidates off the front in parallel coordinates; chosen


@dataclass(frozen=True, slots=True)
class TitledFigure:
    """A figure with a title, over the whole width or beside others."""

    title: str
    figure: Figure
    wide: bool = False


def front_figures(facts: Facts, shown: ShownCandidates) -> list[TitledFigure]:
    """Figures of the results, by the number of objectives.

    One objective or one score: a ranked strip. Two: a scatter. More: parallel coordinates, and pairs of up to four.

    Args:
        facts: of the run.
        shown: candidates in the figures.
    """
    objectives = facts.objectives
    figures = []
    if facts.ranked_by == 1:
        word = "Desirability" if facts.scalarized else "Best candidates"
        figures.append(TitledFigure(f"{word} in order", ranked_figure(facts), wide=True))
    if len(objectives) > 2:
        figures.append(
            TitledFigure("Parallel coordinates, best at the top", parallel_figure(facts, shown), wide=True)
        )
    if 2 <= len(objectives) <= MAX_PAIRED_OBJECTIVES:
        for first, second in combinations(objectives, 2):
            title = " and ".join(property_label(item.property, facts.units) for item in (second, first))
            figures.append(
                TitledFigure(title, pair_figure(facts, shown, first, second), wide=len(objectives) == 2)
            )
    return figures


def pair_figure(facts: Facts, shown: ShownCandidates, first: Objective, second: Objective) -> Figure:
    """Scatter of two objectives; the best with noise, goals as lines or bands.

    Args:
        facts: of the run.
        shown: candidates in the figure.
        first, second: objectives on the x and y axis.
    """
    pair = (first.property, second.property)
    x, y = (facts.columns[name] for name in pair)
    traces: list[Figure] = []
    for merit, name, colour, symbol in MERIT_STYLES[:2][::-1]:
        ids = np.setdiff1d(shown.ids[facts.scores.merit[shown.ids] == merit], shown.front)
        ids = ids[~(np.isnan(x[ids]) | np.isnan(y[ids]))]
        look = marker_style(colour, symbol, 7, 0.45, len(shown.ids))
        draw = partial(_points_of_pair, x, y, name, look)
        traces += split_marked(facts, pair, ids, draw) if len(ids) else []
    front = shown.front
    # With a target or a window the dominated region has no simple border in the properties themselves.
    bordered = {first.direction, second.direction} <= {"minimize", "maximize"}
    if facts.ranked_by == 2 and bordered and len(front) > 1:
        traces.append(_front_border(x[front], y[front], first))
    if len(front):
        draw = partial(_best_points, facts, len(shown.ids), len(front) <= MAX_RIMMED_POINTS, pair)
        traces += split_marked(facts, pair, front, draw)
    axes = []
    for item, values in ((first, x), (second, y)):
        sigma = np.nan_to_num(facts.noise[item.property][front])
        ends = np.concatenate([values[front] - sigma, values[front] + sigma, goal_ends(item)])
        axes.append(objective_axis(facts, item) | robust_range(values[select_complete(facts, shown)], ends))
    shapes = [*goal_shapes(first, "x"), *goal_shapes(second, "y")]
    return {"data": traces, "layout": base_layout(axes[0], axes[1]) | {"shapes": shapes}}


def _points_of_pair(x: FloatArray, y: FloatArray, name: str, look: dict[str, Any], ids: IntArray) -> Figure:
    return point_trace(ids, x[ids], y[ids], name, look)


def _best_points(facts: Facts, crowd: int, rimmed: bool, pair: tuple[str, str], ids: IntArray) -> Figure:
    """Trace of the front's members, or of the best candidate, with error bars.

    Args:
        facts: of the run.
        crowd: points in the figure.
        rimmed: draw a white rim around each.
        pair: properties on the two axes.
        ids: numbers of the members.
    """
    look = marker_style(GREEN, "circle", 10, 1.0, crowd) | {"opacity": 1.0}
    if rimmed:
        look["line"] = {"color": "#ffffff", "width": 1.2}
    trace = point_trace(
        ids, facts.columns[pair[0]][ids], facts.columns[pair[1]][ids], _best_name(facts), look
    )
    trace |= error_bars("error_x", facts.noise[pair[0]][ids])
    trace |= error_bars("error_y", facts.noise[pair[1]][ids])
    return trace


def _best_name(facts: Facts) -> str:
    return FRONT_NAME if facts.ranked_by > 1 else WINNER_NAME


def _front_border(x: FloatArray, y: FloatArray, first: Objective) -> Figure:
    """Staircase between the front and the dominated region.

    From left to right it is horizontal first where smaller x is better.
    """
    shape = "hv" if first.direction == "minimize" else "vh"
    order = np.argsort(x, kind="stable")
    return {
        "type": "scatter",
        "mode": "lines",
        "x": round_for_json(x[order]),
        "y": round_for_json(y[order]),
        "line": {"color": GREEN, "width": 1.5, "shape": shape, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def ranked_figure(facts: Facts) -> Figure:
    """Best candidates of `facts` in order, by desirability or by their objective."""
    item = facts.objectives[0]
    column, sigma = facts.columns[item.property], facts.noise[item.property]
    drawn = base_layout(count_axis("Rank"), objective_axis(facts, item)) | {"shapes": goal_shapes(item, "y")}
    if facts.scalarized and facts.desirability is not None:
        column, sigma = facts.desirability, np.full(len(facts), np.nan)
        drawn = base_layout(count_axis("Rank"), titled_axis("Desirability"))
    ids = facts.ranking[:MAX_RANKED]
    ids = ids[~np.isnan(column[ids])]
    rank = {int(id): place for place, id in enumerate(ids, 1)}
    names = [] if facts.scalarized else [item.property]
    traces: list[Figure] = []
    for merit, kind, colour, symbol in MERIT_STYLES[:2]:
        chosen = ids[facts.scores.merit[ids] == merit]
        draw = partial(_ranked_points, rank, column, sigma, kind, marker_style(colour, symbol, 9, 0.95))
        traces += split_marked(facts, names, chosen, draw) if len(chosen) else []
    return {"data": traces, "layout": drawn}


def _ranked_points(
    rank: Mapping[int, int],
    column: FloatArray,
    sigma: FloatArray,
    name: str,
    look: dict[str, Any],
    ids: IntArray,
) -> Figure:
    places = np.array([rank[int(id)] for id in ids])
    return point_trace(ids, places, column[ids], name, look) | error_bars("error_y", sigma[ids])


def parallel_figure(facts: Facts, shown: ShownCandidates) -> Figure:
    """Parallel coordinates of all objectives, best at the top.

    Args:
        facts: of the run.
        shown: the front among them is drawn over a sample of the others.
    """
    others = np.setdiff1d(shown.ids[facts.scores.merit[shown.ids] == Merit.FEASIBLE], shown.front)
    ids = np.concatenate([shown.front, pick_evenly(others, MAX_OTHER_LINES)])
    values = facts.minimised[ids]
    m = values.shape[1]
    low = values.min(axis=0) if len(ids) else np.zeros(m)
    high = values.max(axis=0) if len(ids) else np.ones(m)
    heights = 1 - (values - low) / np.where(high > low, high - low, 1.0)
    count = len(shown.front)
    traces = [
        _parallel_lines(ids[count:], heights[count:], "feasible", "rgba(107,114,128,0.28)", 1.0),
        _parallel_lines(ids[:count], heights[:count], _best_name(facts), GREEN, 1.8),
    ]
    notes = [
        _end_annotation(place, height, f"<b>{escape(distance_text(item, float(value)))}</b>", anchor)
        for place, item in enumerate(facts.objectives)
        for height, value, anchor in ((1.0, low[place], "bottom"), (0.0, high[place], "top"))
    ]
    xaxis = titled_axis("") | {
        "tickvals": list(range(m)),
        "ticktext": [_wrap_label(_axis_words(o, facts)) for o in facts.objectives],
        "range": [-0.25, m - 0.75],
        "gridcolor": "#9ca3af",
        "showline": False,
    }
    yaxis = titled_axis("") | {
        "range": [-0.12, 1.12],
        "showticklabels": False,
        "showgrid": False,
        "showline": False,
    }
    drawn = base_layout(xaxis, yaxis) | {"annotations": notes}
    drawn["margin"] = {"l": 20, "r": 28, "t": 24, "b": 60}
    return {"data": [trace for trace in traces if trace["x"]], "layout": drawn}


def _axis_words(item: Objective, facts: Facts) -> str:
    words, goal = facts.property_heading(item.property), goal_text(item)
    return f"{words}, {goal}" if goal else words


def _wrap_label(text: str) -> str:
    """Escape a label and break it into lines of about 22 letters."""
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 22 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(escape(line) for line in lines)


def _end_annotation(x: int, y: float, text: str, anchor: str) -> dict[str, Any]:
    font = {"size": 12, "color": INK}
    return {"x": x, "y": y, "text": text, "showarrow": False, "yanchor": anchor, "font": font}


def _parallel_lines(ids: IntArray, heights: FloatArray, name: str, colour: str, width: float) -> Figure:
    """One trace of many lines, broken between candidates."""
    m = heights.shape[1]
    places = np.tile([*map(float, range(m)), np.nan], len(ids))
    tall = np.concatenate([heights, np.full((len(ids), 1), np.nan)], axis=1).ravel()
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": round_for_json(places),
        "y": round_for_json(tall),
        "customdata": np.repeat(ids, m + 1).tolist(),
        "hoverinfo": "text",
        "line": {"color": colour, "width": width},
        "marker": {"color": colour, "size": 5},
        "connectgaps": False,
    }
