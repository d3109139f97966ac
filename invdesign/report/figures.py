"""Parts of the report's figures: selection of candidates, points, axes, goals, hover texts.

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
from invdesign.candidate import describe_origin
from invdesign.problem import Merit, Objective
from invdesign.report.growth import find_records
from invdesign.report.tables import Facts
from invdesign.report.text import format_number, formula_html, shorten_setting

Figure = dict[str, Any]

MAX_POINTS = 2500  # points in a figure, others are thinned evenly; chosen
MAX_FRONT_POINTS = 400  # of the front; chosen
MAX_RANKED = 60  # candidates in a ranking; chosen
CROWDED_FROM = 800  # points beyond which markers are smaller; chosen
MAX_HOVER_LINES = 14  # properties in a hover text; chosen
MAX_DETAIL_LETTERS = 90  # of a detail in a hover text; chosen

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
    """Candidates in the figures.

    Attributes:
        ids: numbers, ascending.
        front: members of the front among them, by the first objective.
    """

    ids: IntArray
    front: IntArray

    def thinning_note(self, facts: Facts) -> str:
        """Sentence on the omitted candidates of `facts`; empty if there are none."""
        if len(self.ids) == len(facts):
            return ""
        return (
            f"The figures show {len(self.ids):,} of {len(facts):,} candidates, thinned evenly; {len(self.front):,} "
            f"of the {len(facts.front):,} best are among them. Lines use every candidate."
        )


def choose_shown(facts: Facts, limit: int = MAX_POINTS) -> ShownCandidates:
    """Choose candidates for the figures.

    The front and the records of every objective come first, then the rest evenly by number.

    Args:
        facts: of the run.
        limit: number of candidates.
    """
    front = pick_evenly(facts.front, MAX_FRONT_POINTS)
    objectives = range(len(facts.objectives))
    wanted = [front, facts.ranking[:MAX_RANKED], *(find_records(facts, k)[0] for k in objectives)]
    kept = np.unique(np.concatenate(wanted))[:limit]
    rest = np.setdiff1d(np.arange(len(facts)), kept)
    ids = np.union1d(kept, pick_evenly(rest, max(0, limit - len(kept))))
    return ShownCandidates(ids.astype(np.int64), front)


def pick_evenly(values: IntArray, n: int) -> IntArray:
    """Pick at most `n` of the `values`, evenly spaced, with both ends."""
    if len(values) <= n:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, n).round().astype(np.int64))]


def select_complete(facts: Facts, shown: ShownCandidates) -> IntArray:
    """Numbers of the complete candidates of `facts` among those `shown`."""
    ids: IntArray = shown.ids[facts.scores.merit[shown.ids] <= Merit.VIOLATING]
    return ids


def robust_range(values: FloatArray, inside: FloatArray) -> dict[str, Any]:
    """Axis range that a few extreme values do not stretch.

    Args:
        values: on the axis, NaN where unknown.
        inside: values that stay in view.

    Returns:
        `{"range": ...}`, or an empty dict to leave the choice to Plotly.
    """
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
    """Error bars of one standard deviation; empty if none is known.

    Args:
        key: `error_x` or `error_y`.
        sigma: standard deviations, NaN where unknown.
    """
    if np.isnan(sigma).all():
        return {}
    bars = {"type": "data", "array": round_for_json(sigma), "color": "rgba(15,118,110,0.35)"}
    return {key: bars | {"thickness": 1, "width": 3}}


def objective_axis(facts: Facts, item: Objective) -> dict[str, Any]:
    """Axis of the property of an objective `item`, labelled from `facts`."""
    return titled_axis(facts.property_heading(item.property))


def goal_ends(item: Objective) -> FloatArray:
    """Values of the target or window of `item`, which must stay in view."""
    if item.direction not in {"target", "window"}:
        return np.empty(0)
    return np.array([end for end in (item.min, item.max) if end is not None])


def goal_shapes(item: Objective, side: str) -> list[dict[str, Any]]:
    """Line at the target of `item`, or band over its window, across axis `side`."""
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
    """List legend entries of `figures`, each once.

    The marked values (`marks.split_marked`) come last, as `hollow: of its decomposition products`.

    Returns:
        (name, colour, symbol, or `line` or `dash`) of each.
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
    """Hover text of each candidate, by its number, escaped for Plotly.

    Args:
        facts: of the run.
        shown: candidates in the figures; the best ones are added.
    """
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
    lines.append(escape(describe_origin(facts.operators[id])))
    return "<br>".join(lines)


def round_for_json(values: FloatArray) -> list[float | None]:
    """Round `values` to six significant digits; NaN becomes null.

    That is enough for a screen, and a third of the size.
    """
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def point_trace(ids: IntArray, x: NDArray[Any], y: FloatArray, name: str, marker: dict[str, Any]) -> Figure:
    """Trace of points that carry their candidate's number.

    Args:
        ids: numbers of the candidates, shape (n,).
        x, y: coordinates, shape (n,).
        name: in the legend.
        marker: as of `marker_style`.
    """
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
    """Marker of points, smaller and fainter where there are many.

    Args:
        colour, symbol, size, opacity: as in Plotly.
        points: number of points in the figure.
    """
    if points > CROWDED_FROM:
        size, opacity = size - 2, 0.7 * opacity
    return {"color": colour, "symbol": symbol, "size": size, "opacity": opacity}


def count_axis(title: str) -> dict[str, Any]:
    """Axis of counts with a `title`."""
    return titled_axis(title) | {"tickformat": ",d"}


def titled_axis(title: str) -> dict[str, Any]:
    """Axis with a `title`."""
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
    """Layout that all figures share, with `xaxis` and `yaxis`."""
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
