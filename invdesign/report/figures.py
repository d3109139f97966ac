"""What the figures of a report are made of: which candidates they show, points, axes, goals, hover texts.

A figure is Plotly's plain JSON, `{"data": [...], "layout": {...}}`, light enough for any number of candidates. Points
carry the candidate's number as `customdata`; their hover texts are written once for all figures (`hover_texts`) and
joined by the page. Every text is escaped, because Plotly reads a subset of HTML in labels and hovers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Objective
from invdesign.report.growth import find_records
from invdesign.report.tables import Facts
from invdesign.report.text import format_number, formula_html, shorten_setting

Figure = dict[str, Any]

MAX_POINTS = 2500  # points in a figure; more are thinned evenly
MAX_FRONT_POINTS = 400
MAX_RANKED = 60
CROWDED_FROM = 800  # points beyond which they are drawn smaller
MAX_HOVER_LINES = 14
MAX_DETAIL_LETTERS = 90  # of a detail

INK, FAINT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREY, GREEN = "#0b5fa5", "#c2410c", "#9ca3af", "#0f766e"
MERIT_STYLES = (
    (Merit.FEASIBLE, "feasible", BLUE, "circle"),
    (Merit.VIOLATING, "violates a constraint", ORANGE, "diamond-open"),
    (Merit.GATED, "stopped by a gate", GREY, "x-thin-open"),
)
FRONT_NAME, WINNER_NAME, BEST_NAME = "Pareto front", "best candidate", "best so far"
GOAL_NAME = "target or window"
LEGEND_ORDER = (FRONT_NAME, WINNER_NAME, *(name for _, name, _, _ in MERIT_STYLES), BEST_NAME, GOAL_NAME)
GOAL_LINE, GOAL_FILL = {"color": "#0f766e", "width": 1.2, "dash": "dash"}, "rgba(15,118,110,0.09)"
FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": INK}


@dataclass(frozen=True)
class ShownCandidates:
    """Which candidates the figures show.

    Attributes:
        ids: numbers, ascending.
        front: members of the front among them, by the first objective.
    """

    ids: IntArray
    front: IntArray

    def thinning_note(self, facts: Facts) -> str:
        """A word where not everything is shown."""
        if len(self.ids) == len(facts):
            return ""
        return (
            f"The figures show {len(self.ids):,} of {len(facts):,} candidates, thinned evenly; {len(self.front):,} "
            f"of the {len(facts.front):,} best are among them. Lines use every candidate."
        )


def choose_shown(facts: Facts, limit: int = MAX_POINTS) -> ShownCandidates:
    """The front and the records of every objective first, then the rest evenly by number."""
    front = pick_evenly(facts.front, MAX_FRONT_POINTS)
    objectives = range(len(facts.objectives))
    wanted = [front, facts.ranking[:MAX_RANKED], *(find_records(facts, k)[0] for k in objectives)]
    kept = np.unique(np.concatenate(wanted))[:limit]
    rest = np.setdiff1d(np.arange(len(facts)), kept)
    ids = np.union1d(kept, pick_evenly(rest, max(0, limit - len(kept))))
    return ShownCandidates(ids.astype(np.int64), front)


def pick_evenly(values: IntArray, n: int) -> IntArray:
    """At most n of the values, evenly spaced, the first and the last among them."""
    if len(values) <= n:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, n).round().astype(np.int64))]


def select_complete(facts: Facts, shown: ShownCandidates) -> IntArray:
    """Numbers of the complete candidates among those shown."""
    ids: IntArray = shown.ids[facts.scores.merit[shown.ids] <= Merit.VIOLATING]
    return ids


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
    return {"range": round_for_json(np.array([low - pad, high + pad]))}


def error_bars(key: str, sigma: FloatArray) -> dict[str, Any]:
    """Bars of one standard deviation; none where no candidate has one."""
    if np.isnan(sigma).all():
        return {}
    bars = {"type": "data", "array": round_for_json(sigma), "color": "rgba(15,118,110,0.35)"}
    return {key: bars | {"thickness": 1, "width": 3}}


def objective_axis(facts: Facts, item: Objective) -> dict[str, Any]:
    """An axis of the objective's property, whatever is wanted of it."""
    return titled_axis(facts.property_heading(item.property))


def goal_ends(item: Objective) -> FloatArray:
    """Values of the property that must be in view: the target, or the ends of the window."""
    if item.direction not in {"target", "window"}:
        return np.empty(0)
    return np.array([end for end in (item.min, item.max) if end is not None])


def goal_shapes(item: Objective, side: str) -> list[dict[str, Any]]:
    """A line at the target, or a band over the window, across the axis `side` (`x` or `y`)."""
    ends = goal_ends(item).tolist()
    across = "y" if side == "x" else "x"
    fixed = {f"{across}0": 0, f"{across}1": 1, f"{across}ref": "paper", f"{side}ref": side}
    lines = [
        {"type": "line", f"{side}0": end, f"{side}1": end, **fixed, "layer": "above", "line": GOAL_LINE}
        for end in dict.fromkeys(ends)
    ]
    if len(set(ends)) < 2:
        return lines
    band = {"type": "rect", f"{side}0": ends[0], f"{side}1": ends[1], **fixed, "layer": "below"}
    return [band | {"fillcolor": GOAL_FILL, "line": {"width": 0}}, *lines]


def legend_entries(figures: Sequence[Figure]) -> list[tuple[str, str, str]]:
    """(name, colour, symbol, `line` or `dash`) of what these figures draw, once for all of them.

    The marked values (`marks.split_marked`) come last, as `hollow: of its decomposition products`.
    """
    found = {}
    for trace in (trace for figure in figures for trace in figure["data"] if "name" in trace):
        marker = trace.get("marker", {})
        found[trace["name"]] = (
            marker.get("color") or trace["line"]["color"],
            "line" if "lines" in trace["mode"] else marker["symbol"].split("-")[0],
        )
    if any(figure["layout"].get("shapes") for figure in figures):
        found[GOAL_NAME] = (GREEN, "dash")
    return [(name, *found[name]) for name in LEGEND_ORDER if name in found] + _marked_legend(figures)


def _marked_legend(figures: Sequence[Figure]) -> list[tuple[str, str, str]]:
    symbols: dict[str, set[str]] = {}
    for trace in (trace for figure in figures for trace in figure["data"] if "meta" in trace):
        symbols.setdefault(trace["meta"], set()).add(trace["marker"]["symbol"])
    looks = {
        words: "hollow" if used == {"circle-open"} else "hollow or crossed" for words, used in symbols.items()
    }
    return [(f"{look}: {words}", FAINT, "ring") for words, look in looks.items()]


def hover_texts(facts: Facts, shown: ShownCandidates) -> dict[str, str]:
    """What is said of each candidate shown, by its number; escaped for Plotly."""
    ids = {int(id) for id in np.concatenate([shown.ids, facts.ranking[:MAX_RANKED]])}
    return {str(id): _hover_text(facts, id) for id in sorted(ids)}


def _hover_text(facts: Facts, id: int) -> str:
    formula = formula_html(facts.formulas[id])
    lines = [f"<b>{formula}</b>  candidate {id}" if formula else f"<b>candidate {id}</b>"]
    known = facts.known_properties(id)
    if facts.desirability is not None and not np.isnan(facts.desirability[id]):
        lines.append(f"desirability: {format_number(float(facts.desirability[id]))}")
    for name in known[:MAX_HOVER_LINES]:
        lines.append(f"{escape(name)}: {escape(facts.full_text(name, id))}")
        if said := facts.detail_text(name, id):
            lines.append(f"<i>{escape(shorten_setting(said, MAX_DETAIL_LETTERS))}</i>")
    if len(known) > MAX_HOVER_LINES:
        lines.append(f"and {len(known) - MAX_HOVER_LINES} more")
    lines += [escape(words) for words in facts.describe_fate(id)[1:] if words]
    lines.append(f"by {escape(facts.operators[id])}")
    return "<br>".join(lines)


def round_for_json(values: FloatArray) -> list[float | None]:
    """Six significant digits, as JSON holds them: enough for a screen, a third of the size; NaN becomes null."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def point_trace(ids: IntArray, x: NDArray[Any], y: FloatArray, name: str, marker: dict[str, Any]) -> Figure:
    """A trace of points that know their candidate."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": round_for_json(x.astype(np.float64)),
        "y": round_for_json(y),
        "customdata": ids.tolist(),
        "hoverinfo": "text",
        "marker": marker,
    }


def marker_style(colour: str, symbol: str, size: int, opacity: float, points: int = 0) -> dict[str, Any]:
    """Smaller and fainter where there are many."""
    if points > CROWDED_FROM:
        size, opacity = size - 2, 0.7 * opacity
    return {"color": colour, "symbol": symbol, "size": size, "opacity": opacity}


def count_axis(title: str) -> dict[str, Any]:
    """An axis of counts."""
    return titled_axis(title) | {"tickformat": ",d"}


def titled_axis(title: str) -> dict[str, Any]:
    """An axis with its title."""
    return {
        "title": {"text": _wrap_title(title), "standoff": 8, "font": {"size": 13}},
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": "#9ca3af",
        "ticks": "",
        "automargin": True,
        "exponentformat": "power",
    }


def _wrap_title(title: str) -> str:
    return escape(title) if len(title) <= 44 else "<br>".join(_split_title(title))


def _split_title(title: str) -> list[str]:
    words = title.split()
    middle = min(
        range(1, len(words)), key=lambda k: abs(len(" ".join(words[:k])) - len(title) / 2), default=1
    )
    return [escape(" ".join(words[:middle])), escape(" ".join(words[middle:]))]


def base_layout(xaxis: dict[str, Any], yaxis: dict[str, Any]) -> dict[str, Any]:
    """What all figures share."""
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
