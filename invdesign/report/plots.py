"""Figures of the progress of a run: hypervolume and objectives by candidate, and the funnel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.report.figures import (
    BEST_NAME,
    GREEN,
    INK,
    MERIT_STYLES,
    ORANGE,
    Figure,
    ShownCandidates,
    base_layout,
    count_axis,
    goal_ends,
    goal_shapes,
    marker_style,
    objective_axis,
    point_trace,
    robust_range,
    round_for_json,
    select_complete,
    titled_axis,
)
from invdesign.report.growth import Hypervolume, find_records
from invdesign.report.marks import split_marked
from invdesign.report.tables import Facts, StageRow
from invdesign.report.text import format_number, with_unit


def hypervolume_figure(growth: Hypervolume) -> Figure:
    """Figure of the hypervolume `growth` by number of candidates.

    Hover texts add its share of the box it lies in.
    """
    hover = [
        f"{count} candidates: {escape(with_unit(format_number(float(value)), growth.unit))}{_share_text(value, growth.box)}"
        for count, value in zip(growth.counts, growth.values, strict=True)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": growth.counts.tolist(),
        "y": round_for_json(growth.values),
        "line": {"color": GREEN, "width": 2.5, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": "rgba(15,118,110,0.10)",
        "hoverinfo": "text",
        "hovertext": hover,
        "showlegend": False,
    }
    top = float(growth.values.max()) if len(growth.values) else 0.0
    title = f"Hypervolume ({growth.unit})" if growth.unit else "Hypervolume"
    yaxis = titled_axis(title) | {"range": [0, 1.12 * top or 1.0]}
    return {"data": [line], "layout": base_layout(count_axis("Candidates proposed"), yaxis)}


def _share_text(value: float, box: float) -> str:
    return f" ({format_number(100 * float(value) / box)} % of the box)" if box > 0 else ""


# Convergence.


def convergence_figure(facts: Facts, shown: ShownCandidates, objective: int | None) -> Figure:
    """Figure of an objective's values by candidate number, with the best so far.

    Args:
        facts: of the run.
        shown: candidates in the figure, coloured by standing.
        objective: its place; None shows the desirability.
    """
    if objective is None:
        assert facts.desirability is not None
        values, ends, shapes, shown_names = facts.desirability, np.array([0.0, 1.0]), [], []
        yaxis = titled_axis("Desirability")
    else:
        item = facts.objectives[objective]
        values, ends, shapes = facts.columns[item.property], goal_ends(item), goal_shapes(item, "y")
        yaxis, shown_names = objective_axis(facts, item), [item.property]
    traces: list[Figure] = []
    for merit, name, colour, symbol in MERIT_STYLES:
        ids = shown.ids[(facts.scores.merit[shown.ids] == merit) & ~np.isnan(values[shown.ids])]
        look = marker_style(colour, symbol, 6, 0.55, len(shown.ids))
        draw = partial(_points_by_number, values, name, look)
        traces += split_marked(facts, shown_names, ids, draw) if len(ids) else []
    ids, best = find_records(facts, objective)
    if len(ids):
        traces.append(_best_so_far(ids, best, len(facts)))
    inside = np.concatenate([values[facts.feasible_ids()], ends])
    yaxis |= robust_range(values[select_complete(facts, shown)], inside)
    return {"data": traces, "layout": base_layout(count_axis("Candidate number"), yaxis) | {"shapes": shapes}}


def _points_by_number(values: FloatArray, name: str, look: dict[str, Any], ids: IntArray) -> Figure:
    return point_trace(ids, ids, values[ids], name, look)


def _best_so_far(ids: IntArray, best: FloatArray, count: int) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": BEST_NAME,
        "x": [*ids.tolist(), count - 1],
        "y": [*round_for_json(best), *round_for_json(best[-1:])],
        "line": {"color": INK, "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
    }


# The funnel.


def funnel_figure(rows: Sequence[StageRow]) -> Figure:
    """Bars of candidates passed, gated, failed or under way, by stage (`rows`)."""
    names = [escape(row.name) for row in rows]
    inside = [row.entered - row.passed - row.gated - row.failed for row in rows]
    parts = (
        ("passed", [row.passed for row in rows], GREEN),
        ("gated", [row.gated for row in rows], "#a3a9b4"),
        ("failed", [row.failed for row in rows], ORANGE),
        ("under way", inside, "#bfdbfe"),
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": counts,
            "y": list(range(len(rows))),
            "marker": {"color": colour},
            "hoverinfo": "text",
            "hovertext": [f"{stage}: {count} {name}" for stage, count in zip(names, counts, strict=True)],
        }
        for name, counts, colour in parts
        if any(counts)
    ]
    yaxis = titled_axis("") | {
        "tickvals": list(range(len(rows))),
        "ticktext": names,
        "autorange": "reversed",
        "showgrid": False,
        "automargin": True,
    }
    drawn = base_layout(count_axis("Candidates"), yaxis) | {
        "barmode": "stack",
        "bargap": 0.35,
        "showlegend": True,
    }
    drawn["height"] = 110 + 38 * len(rows)
    drawn["margin"]["t"] = 36
    drawn["legend"]["traceorder"] = "normal"
    return {"data": traces, "layout": drawn}
