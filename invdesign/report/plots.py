"""Figures as Plotly's plain JSON, light enough for any number of candidates.

A figure is `{"data": [...], "layout": {...}}`. Points carry the candidate's number as `customdata`; their hover
texts are written once for all figures (`hover_texts`) and joined by the page. Every text is escaped, because
Plotly reads a subset of HTML in labels and hovers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.problem import Merit, Objective
from invdesign.report.growth import Hypervolume, records
from invdesign.report.tables import Facts, StageRow
from invdesign.report.text import axis_label, formula_html, number

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Figure = dict[str, Any]

SHOWN = 2500  # points in a figure; more are thinned evenly
FRONT_SHOWN = 400
RANKED = 60
PAIRS_UP_TO = 4  # objectives shown against each other, besides parallel coordinates
CROWD = 800  # points beyond which they are drawn smaller
SEPARATE = 80  # members of a front with a white rim each
LINES = 120  # candidates that are not on the front, drawn in parallel coordinates
HOVER_LINES = 14

INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREY, GREEN = "#0b5fa5", "#c2410c", "#9ca3af", "#0f766e"
KINDS = (
    (Merit.FEASIBLE, "feasible", BLUE, "circle"),
    (Merit.VIOLATING, "violates a constraint", ORANGE, "diamond-open"),
    (Merit.GATED, "stopped by a gate", GREY, "x-thin-open"),
)
FRONT_NAME, BEST_NAME = "Pareto front", "best so far"
LEGEND_ORDER = (FRONT_NAME, *(name for _, name, _, _ in KINDS), BEST_NAME)
FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK}


@dataclass(frozen=True)
class Shown:
    """Which candidates the figures show.

    Attributes:
        ids: numbers, ascending.
        front: members of the front among them, by the first objective.
    """

    ids: IntArray
    front: IntArray

    def thinned(self, facts: Facts) -> str:
        """A word where not everything is shown."""
        if len(self.ids) == len(facts):
            return ""
        return (
            f"The figures show {len(self.ids):,} of {len(facts):,} candidates, thinned evenly; {len(self.front):,} "
            f"of the front's {len(facts.front):,} members are among them. Lines use every candidate."
        )


def choose_shown(facts: Facts, limit: int = SHOWN) -> Shown:
    """The front and the records of every objective first, then the rest evenly by number."""
    front = _evenly(facts.front, FRONT_SHOWN)
    wanted = [front, facts.ranking[:RANKED], *(records(facts, k)[0] for k in range(_objectives(facts)))]
    kept = np.unique(np.concatenate(wanted))[:limit]
    rest = np.setdiff1d(np.arange(len(facts)), kept)
    ids = np.union1d(kept, _evenly(rest, max(0, limit - len(kept))))
    return Shown(ids.astype(np.int64), front)


def _evenly(values: IntArray, n: int) -> IntArray:
    if len(values) <= n:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, n).round().astype(np.int64))]


def _objectives(facts: Facts) -> int:
    return len(facts.run.campaign.problem.objectives)


def hypervolume_figure(growth: Hypervolume) -> Figure:
    """The dominated share of the box between the reference point and the best value of each objective."""
    share = 100 * growth.values / growth.box
    hover = [
        f"{count} candidates: {number(100 * value / growth.box)} %"
        for count, value in zip(growth.counts, growth.values, strict=True)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": growth.counts.tolist(),
        "y": rounded(share),
        "line": {"color": GREEN, "width": 2.5, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": "rgba(15,118,110,0.10)",
        "hoverinfo": "text",
        "hovertext": hover,
        "showlegend": False,
    }
    top = float(share.max()) if len(share) else 0.0
    yaxis = _axis("Dominated share (%)") | {"range": [0, max(1e-9, 1.12 * top)]}
    return {"data": [line], "layout": _layout(_count_axis("Candidates proposed"), yaxis)}


# Convergence.


def convergence_figure(facts: Facts, shown: Shown, objective: int) -> Figure:
    """One objective's values by candidate number, coloured by standing, with the best so far."""
    item = facts.run.campaign.problem.objectives[objective]
    values = facts.columns[item.property]
    traces = []
    for merit, name, colour, symbol in KINDS:
        ids = shown.ids[(facts.scores.merit[shown.ids] == merit) & ~np.isnan(values[shown.ids])]
        if len(ids):
            traces.append(
                _points(ids, ids, values[ids], name, _marker(colour, symbol, 6, 0.55, len(shown.ids)))
            )
    ids, best = records(facts, objective)
    if len(ids):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": BEST_NAME,
                "x": [*ids.tolist(), len(facts) - 1],
                "y": [*rounded(best), *rounded(best[-1:])],
                "line": {"color": INK, "width": 2, "shape": "hv"},
                "hoverinfo": "skip",
            }
        )
    yaxis = _axis(axis_label(item.property, facts.units[item.property]))
    yaxis |= robust_range(values[_complete(facts, shown)], values[facts.feasible()])
    return {"data": traces, "layout": _layout(_count_axis("Candidate number"), yaxis)}


def _complete(facts: Facts, shown: Shown) -> IntArray:
    return shown.ids[facts.scores.merit[shown.ids] <= Merit.VIOLATING]


def robust_range(values: FloatArray, inside: FloatArray) -> dict[str, Any]:
    """A fixed range, so that a few values far off do not squeeze all others; every value `inside` stays in view."""
    values = values[~np.isnan(values)]
    if len(values) < 10:
        return {}
    low, high = np.quantile(values, [0.03, 0.97])
    if len(inside):
        low, high = min(low, inside.min()), max(high, inside.max())
    if high <= low:
        return {}
    pad = 0.08 * (high - low)
    return {"range": rounded(np.array([low - pad, high + pad]))}


# Fronts.


def front_figures(facts: Facts, shown: Shown) -> list[Figure]:
    """One objective: a ranked strip. Two: a scatter. Up to four: every pair, and parallel coordinates."""
    objectives = facts.run.campaign.problem.objectives
    if len(objectives) == 1:
        return [ranked_figure(facts)]
    if len(objectives) == 2:
        return [pair_figure(facts, shown, *objectives)]
    figures = [parallel_figure(facts, shown)]
    if len(objectives) <= PAIRS_UP_TO:
        figures += [pair_figure(facts, shown, a, b) for a, b in combinations(objectives, 2)]
    return figures


def pair_figure(facts: Facts, shown: Shown, first: Objective, second: Objective) -> Figure:
    """Two objectives against each other, the front on top with its uncertainties."""
    x, y = facts.columns[first.property], facts.columns[second.property]
    traces = []
    for merit, name, colour, symbol in KINDS[:2][::-1]:
        ids = np.setdiff1d(shown.ids[facts.scores.merit[shown.ids] == merit], shown.front)
        ids = ids[~(np.isnan(x[ids]) | np.isnan(y[ids]))]
        if len(ids):
            traces.append(
                _points(ids, x[ids], y[ids], name, _marker(colour, symbol, 7, 0.45, len(shown.ids)))
            )
    front = shown.front
    two = len(facts.run.campaign.problem.objectives) == 2
    if two and len(front) > 1:
        traces.append(_staircase(x[front], y[front], first))
    if len(front):
        marker = _marker(GREEN, "circle", 10, 1.0, len(shown.ids)) | {"opacity": 1.0}
        if len(front) <= SEPARATE:
            marker["line"] = {"color": "#ffffff", "width": 1.2}
        trace = _points(front, x[front], y[front], FRONT_NAME, marker)
        trace |= _error_bars("error_x", facts.uncertainties[first.property][front])
        trace |= _error_bars("error_y", facts.uncertainties[second.property][front])
        traces.append(trace)
    axes = [_axis(axis_label(o.property, facts.units[o.property])) for o in (first, second)]
    for place, (values, item) in enumerate(((x, first), (y, second))):
        sigma = np.nan_to_num(facts.uncertainties[item.property][front])
        ends = np.concatenate([values[front] - sigma, values[front] + sigma])
        axes[place] |= robust_range(values[_complete(facts, shown)], ends)
    return {"data": traces, "layout": _layout(*axes)}


def _staircase(x: FloatArray, y: FloatArray, first: Objective) -> Figure:
    """The border of what the front dominates: from left to right, horizontal first where smaller x is better."""
    shape = "hv" if first.direction == "minimize" else "vh"
    order = np.argsort(x, kind="stable")
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(x[order]),
        "y": rounded(y[order]),
        "line": {"color": GREEN, "width": 1.5, "shape": shape, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _error_bars(key: str, sigma: FloatArray) -> dict[str, Any]:
    if np.isnan(sigma).all():
        return {}
    bars = {"type": "data", "array": rounded(sigma), "color": "rgba(15,118,110,0.35)"}
    return {key: bars | {"thickness": 1, "width": 3}}


def ranked_figure(facts: Facts) -> Figure:
    """The best candidates in order, with their uncertainties."""
    name = facts.run.campaign.problem.objectives[0].property
    ids = facts.ranking[:RANKED]
    ids = ids[~np.isnan(facts.columns[name][ids])]
    rank = {int(id): place for place, id in enumerate(ids, 1)}
    traces = []
    for merit, label, colour, symbol in KINDS[:2]:
        chosen = ids[facts.scores.merit[ids] == merit]
        if len(chosen):
            places = np.array([rank[int(id)] for id in chosen])
            values = facts.columns[name][chosen]
            trace = _points(chosen, places, values, label, _marker(colour, symbol, 9, 0.95))
            traces.append(trace | _error_bars("error_y", facts.uncertainties[name][chosen]))
    return {
        "data": traces,
        "layout": _layout(_count_axis("Rank"), _axis(axis_label(name, facts.units[name]))),
    }


def parallel_figure(facts: Facts, shown: Shown) -> Figure:
    """Every objective on an axis of its own, best at the top; the front over a sample of the others."""
    objectives = facts.run.campaign.problem.objectives
    others = np.setdiff1d(shown.ids[facts.scores.merit[shown.ids] == Merit.FEASIBLE], shown.front)
    ids = np.concatenate([shown.front, _evenly(others, LINES)])
    values = facts.scores.values[ids]
    low = values.min(axis=0) if len(ids) else np.zeros(len(objectives))
    high = values.max(axis=0) if len(ids) else np.ones(len(objectives))
    heights = 1 - (values - low) / np.where(high > low, high - low, 1.0)
    count = len(shown.front)
    traces = [
        _lines(ids[count:], heights[count:], "feasible", "rgba(107,114,128,0.28)", 1.0),
        _lines(ids[:count], heights[:count], FRONT_NAME, GREEN, 1.8),
    ]
    notes = []
    for place, item in enumerate(objectives):
        sign = item.minimised(np.ones(1))[0]
        for height, value in ((1.0, low[place]), (0.0, high[place])):
            text = f"<b>{number(float(sign * value))}</b>"
            anchor = "bottom" if height else "top"
            notes.append(_note(place, height, text, anchor))
    labels = [_wrapped(axis_label(item.property, facts.units[item.property])) for item in objectives]
    xaxis = _axis("") | {
        "tickvals": list(range(len(objectives))),
        "ticktext": labels,
        "range": [-0.25, len(objectives) - 0.75],
        "gridcolor": "#9ca3af",
        "showline": False,
    }
    yaxis = _axis("") | {
        "range": [-0.12, 1.12],
        "showticklabels": False,
        "showgrid": False,
        "showline": False,
    }
    layout = _layout(xaxis, yaxis) | {"annotations": notes}
    layout["margin"] = {"l": 20, "r": 28, "t": 24, "b": 60}
    return {"data": [trace for trace in traces if trace["x"]], "layout": layout}


def _wrapped(label: str) -> str:
    """A long label over two lines, escaped."""
    words, lines = label.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 22 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(escape(line) for line in lines)


def _note(x: int, y: float, text: str, anchor: str) -> dict[str, Any]:
    font = {"size": 12, "color": INK}
    return {"x": x, "y": y, "text": text, "showarrow": False, "yanchor": anchor, "font": font}


def _lines(ids: IntArray, heights: FloatArray, name: str, colour: str, width: float) -> Figure:
    """One trace of many lines, broken between candidates."""
    m = heights.shape[1]
    places = np.tile([*map(float, range(m)), np.nan], len(ids))
    tall = np.concatenate([heights, np.full((len(ids), 1), np.nan)], axis=1).ravel()
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": rounded(places),
        "y": rounded(tall),
        "customdata": np.repeat(ids, m + 1).tolist(),
        "hoverinfo": "text",
        "line": {"color": colour, "width": width},
        "marker": {"color": colour, "size": 5},
        "connectgaps": False,
    }


# The funnel.


def funnel_figure(rows: Sequence[StageRow]) -> Figure:
    """How many candidates passed each stage, were gated or failed there, or are in it."""
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
    yaxis = _axis("") | {
        "tickvals": list(range(len(rows))),
        "ticktext": names,
        "autorange": "reversed",
        "showgrid": False,
        "automargin": True,
    }
    layout = _layout(_count_axis("Candidates"), yaxis) | {"barmode": "stack", "bargap": 0.35}
    layout["height"] = 110 + 38 * len(rows)
    layout["margin"]["t"] = 36
    layout |= {"showlegend": True}
    layout["legend"]["traceorder"] = "normal"
    return {"data": traces, "layout": layout}


# Hover texts and the parts figures share.


def legend(figures: Sequence[Figure]) -> list[tuple[str, str, str]]:
    """(name, colour, symbol or `line`) of what these figures draw, once for all of them."""
    found = {}
    for trace in (trace for figure in figures for trace in figure["data"] if "name" in trace):
        marker = trace.get("marker", {})
        found[trace["name"]] = (
            marker.get("color") or trace["line"]["color"],
            "line" if "lines" in trace["mode"] else marker["symbol"].split("-")[0],
        )
    return [(name, *found[name]) for name in LEGEND_ORDER if name in found]


def hover_texts(facts: Facts, shown: Shown) -> dict[str, str]:
    """What is said of each candidate shown, by its number; escaped for Plotly."""
    ids = {int(id) for id in np.concatenate([shown.ids, facts.ranking[:RANKED]])}
    return {str(id): _hover(facts, id) for id in sorted(ids)}


def _hover(facts: Facts, id: int) -> str:
    formula = formula_html(facts.formulas[id])
    lines = [f"<b>{formula}</b>  candidate {id}" if formula else f"<b>candidate {id}</b>"]
    known = facts.known(id)
    lines += [f"{escape(name)}: {escape(facts.text(name, id))}" for name in known[:HOVER_LINES]]
    if len(known) > HOVER_LINES:
        lines.append(f"and {len(known) - HOVER_LINES} more")
    lines.append(f"by {escape(facts.operators[id])}")
    return "<br>".join(lines)


def rounded(values: FloatArray) -> list[float | None]:
    """Six significant digits, as JSON holds them: enough for a screen, a third of the size; NaN becomes null."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _points(ids: IntArray, x: NDArray[Any], y: FloatArray, name: str, marker: dict[str, Any]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": rounded(x.astype(np.float64)),
        "y": rounded(y),
        "customdata": ids.tolist(),
        "hoverinfo": "text",
        "marker": marker,
    }


def _marker(colour: str, symbol: str, size: int, opacity: float, points: int = 0) -> dict[str, Any]:
    """Smaller and fainter where there are many."""
    if points > CROWD:
        size, opacity = size - 2, 0.7 * opacity
    return {"color": colour, "symbol": symbol, "size": size, "opacity": opacity}


def _count_axis(title: str) -> dict[str, Any]:
    return _axis(title) | {"tickformat": ",d"}


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": _wrapped_title(title), "standoff": 8, "font": {"size": 13}},
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": "#9ca3af",
        "ticks": "",
        "automargin": True,
        "exponentformat": "power",
    }


def _wrapped_title(title: str) -> str:
    return escape(title) if len(title) <= 44 else "<br>".join(_halves(title))


def _halves(title: str) -> list[str]:
    words = title.split()
    middle = min(
        range(1, len(words)), key=lambda k: abs(len(" ".join(words[:k])) - len(title) / 2), default=1
    )
    return [escape(" ".join(words[:middle])), escape(" ".join(words[middle:]))]


def _layout(xaxis: dict[str, Any], yaxis: dict[str, Any]) -> dict[str, Any]:
    return {
        "xaxis": xaxis,
        "yaxis": yaxis,
        "font": FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 60, "r": 28, "t": 20, "b": 52},
        "height": 340,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": "#d1d5db",
            "font": FONT | {"size": 12},
            "align": "left",
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12, "color": FAINT},
        },
        "showlegend": False,
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#94a3b8", "activecolor": INK, "orientation": "v"},
    }
