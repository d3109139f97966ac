"""A run as a notebook shows it: one piece of HTML with its styles inline, readable on a light and a dark page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.errorbars import value_text
from invdesign.problem import Merit
from invdesign.properties import structure_fate, words_beside
from invdesign.run.status import RunStatus, counted_failures
from invdesign.wording import format_duration, shorten_text

if TYPE_CHECKING:
    from invdesign.run.reading import Reading


ACCENT = "#0f9488"
STATES = {  # background and ink of the word
    "finished": ("#ccfbf1", "#115e59"),
    "running": ("#dbeafe", "#1e40af"),
    "stopped": ("#fef3c7", "#854d0e"),
    "interrupted": ("#fef3c7", "#854d0e"),
    "waiting": ("#fef3c7", "#854d0e"),
    "failed": ("#fee2e2", "#991b1b"),
}
SOFT = "opacity:.72"
CELL = "text-align:left;padding:.15em 1.1em .15em 0;border:0;background:none"
NUMBER = f"{CELL};font-variant-numeric:tabular-nums;white-space:nowrap"
WIDTH, HEIGHT = 460, 170  # of the picture, in pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 12, 30  # its margins
MOST_POINTS = 400  # drawn in a plot (chosen)
MOST_COLUMNS = 6  # of the table of best candidates (chosen)
MOST_LETTERS = 70  # of a text in a cell (chosen)


def run_html(run: Reading, best: int = 5) -> str:
    """Card of a `run` as HTML for notebooks.

    State, objectives, counts, the `best` candidates (at most so many), a plot of the search, notes, and how to go on.
    """
    status = run.status()
    parts = [
        status_html(status),
        _objective_line(run),
        _best_table(run, best),
        _search_plot(run),
        _failure_line(run, status),
        _next_steps(run, status),
    ]
    return _frame_html("".join(parts))


def live_html(status: RunStatus, folder: str) -> str:
    """HTML of a `status` while the run in `folder` works."""
    rows = []
    for best in status.best:
        whose = "" if best.candidate is None else f' <span style="{SOFT}">candidate {best.candidate}</span>'
        rows.append(
            f'<td style="{CELL}">{escape(str(best))}</td><td style="{NUMBER}"><b>{escape(best.format_value())}</b>{whose}</td>'
        )
    table = f'<table style="border:0;font-size:inherit;margin:.2em 0">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'
    where = f'<div style="{SOFT}">in {escape(folder)}</div>' if status.state != "running" else ""
    return _frame_html(status_html(status) + table + _note_lines(status) + where)


def status_html(status: RunStatus) -> str:
    """Name, state, progress and counts of a `status` as HTML."""
    ground, ink = STATES.get(status.state, ("#e2e8f0", "#334155"))
    pill = f"background:{ground};color:{ink};border-radius:1em;padding:.05em .6em;font-weight:600"
    reason = status.reason if status.state not in {"stopped", "failed"} else ""
    head = (
        f'<div><b style="font-size:1.1em">{escape(status.name)}</b> <span style="{pill}">{status.state}</span>'
        f' <span style="{SOFT}">{escape(reason)}</span></div>'
    )
    return head + _progress_bar(status) + f"<div>{escape(_count_line(status))}</div>"


def _frame_html(body: str) -> str:
    return f'<div style="max-width:760px;line-height:1.5;margin:.3em 0">{body}</div>'


def _progress_bar(status: RunStatus) -> str:
    total = status.budget.get("candidates")
    if not total:
        return ""
    share = min(1.0, (status.counts["asked"] - status.counts["pending"]) / total)
    return (
        '<div style="background:rgba(128,128,128,.25);border-radius:3px;height:6px;margin:.35em 0;max-width:460px">'
        f'<div style="background:{ACCENT};border-radius:3px;height:6px;width:{100 * share:.1f}%"></div></div>'
    )


def _count_line(status: RunStatus) -> str:
    counts = status.counts
    total = status.budget.get("candidates")
    parts = [f"{counts['asked']} of {total:g} candidates" if total else f"{counts['asked']} candidates"]
    words = {"infeasible": "not built"}
    parts += [
        f"{count} {words.get(word, word)}" for word, count in counts.items() if count and word != "asked"
    ]
    if status.ranked_by > 1:
        parts.append(f"front of {status.front_size}")
    if status.hypervolume is not None and status.hypervolume.value is not None and status.hypervolume.given:
        parts.append(f"hypervolume {status.hypervolume.value:.4g} {status.hypervolume.unit}".rstrip())
    parts.append(f"{format_duration(status.elapsed)} of work")
    if status.state == "running" and status.time_left:
        parts.append(f"about {format_duration(status.time_left)} left")
    return " · ".join(parts)


# What is asked, and the best.


def _objective_line(run: Reading) -> str:
    problem = run.campaign.problem
    wanted = [str(objective) for objective in problem.objectives]
    wanted += [f"{constraint}" for constraint in problem.constraints]
    combined = ", combined to a desirability" if problem.scalarize else ""
    stages = " → ".join(stage.name for stage in run.campaign.funnel)
    words = f"{'; '.join(wanted)}{combined}"
    about = (
        f'<div style="{SOFT}">{escape(run.campaign.description)}</div>' if run.campaign.description else ""
    )
    return f'<div>{escape(words)}</div><div style="{SOFT}">{escape(stages)}</div>{about}'


def _best_table(run: Reading, most: int) -> str:
    rows = run.top(most)
    if not rows:
        return f'<div style="{SOFT}">No candidate is complete yet.</div>'
    units = run.campaign.units()
    names = run.campaign.problem.properties[:MOST_COLUMNS]
    judged = any("desirability" in row for row in rows)
    heads = ["", "candidate", "", *(["desirability"] if judged else [])]
    measured = run.campaign.measured_on
    heads += [", ".join(filter(None, [name, units.get(name), measured.get(name)])) for name in names]
    lines = [_best_row([escape(head) for head in heads], head=True)]
    for row in rows:
        lost, words = structure_fate(row["properties"], row["details"])
        marks = ["outside the space"] * bool(row["outside"]) + [escape(words)] * lost
        mark = f" ({', '.join(marks)})" if marks else ""
        cells = [str(row["rank"]), f"{row['candidate']}{mark}", _candidate_label(row)]
        cells += [_format_number(row.get("desirability"))] if judged else []
        cells += [
            _format_number(
                row["properties"].get(name),
                row["noise"].get(name),
                row["systematic"].get(name),
                units.get(name, ""),
            )
            + escape(f" {words_beside(name, row['properties'].get)}".rstrip())
            for name in names
        ]
        lines.append(_best_row(cells))
    return f'<table style="border:0;border-collapse:collapse;font-size:inherit;margin:.5em 0">{"".join(lines)}</table>'


def _best_row(cells: Sequence[str], *, head: bool = False) -> str:
    style = f"{NUMBER};{SOFT};font-weight:600" if head else NUMBER
    return "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in cells) + "</tr>"


def _candidate_label(row: Mapping[str, Any]) -> str:
    """Formula of the candidate, or else the plain values of its genome."""
    if row["formula"]:
        return re.sub(r"(?<=[A-Za-z)\]])([0-9.]+)", r"<sub>\1</sub>", escape(row["formula"]))
    values = [f"{name} {_format_value(value)}" for name, value in row["genome"].items()]
    return escape(shorten_text(", ".join(values), MOST_LETTERS))


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_number(
    value: float | None, noise: float | None = None, systematic: float | None = None, unit: str = ""
) -> str:
    return "–" if value is None else escape(value_text(value, noise, systematic, unit))


# The picture.


def _search_plot(run: Reading) -> str:
    """Plot of the best value so far, or of the front of two objectives.

    There is none for more objectives.
    """
    problem = run.campaign.problem
    if problem.n_values > 2 or len(run.history) < 2:
        return ""
    scores = run.history.scores()
    feasible = scores.merit == Merit.FEASIBLE
    if feasible.sum() < 2:
        return ""
    ids, units = scores.ids[feasible], run.campaign.units()
    if problem.n_values == 2:
        first, second = (objective.property for objective in problem.objectives)
        front = np.isin(ids, run.front())
        x, y = run.history.column(first)[ids], run.history.column(second)[ids]
        return _draw_points(x, y, (_axis_title(first, units), _axis_title(second, units)), marked=front)
    if problem.scalarize is not None:
        name, values = "desirability", 1.0 - np.minimum(scores.values[feasible, 0], 1.0)
    else:
        name = problem.objectives[0].property
        values = run.history.column(name)[ids]
    ranked = scores.values[feasible, 0]
    best = np.minimum.accumulate(ranked)
    record = np.concatenate([[True], best[1:] < best[:-1]])
    return _draw_points(
        ids.astype(np.float64), values, ("candidate", _axis_title(name, units)), marked=record, steps=True
    )


def _axis_title(name: str, units: Mapping[str, str]) -> str:
    return f"{name}, {units[name]}" if units.get(name) else name


def _draw_points(
    x: FloatArray, y: FloatArray, titles: tuple[str, str], *, marked: NDArray[np.bool_], steps: bool = False
) -> str:
    """Draw points as SVG, marked ones highlighted.

    With `steps` a line goes from record to record.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y, marked = x[known], y[known], marked[known]
    if len(x) < 2:
        return ""
    px, py = _scale_to_plot(x, LEFT, WIDTH - RIGHT), _scale_to_plot(y, HEIGHT - BOTTOM, TOP)
    plain = np.flatnonzero(~marked)
    plain = plain[:: max(1, math.ceil(len(plain) / MOST_POINTS))]
    dots = "".join(f'<circle cx="{px[i]:.1f}" cy="{py[i]:.1f}" r="1.8"/>' for i in plain)
    chosen = np.flatnonzero(marked)
    chosen = chosen if steps else chosen[np.argsort(x[chosen], kind="stable")]
    rings = "".join(f'<circle cx="{px[i]:.1f}" cy="{py[i]:.1f}" r="2.6"/>' for i in chosen[-MOST_POINTS:])
    path = _record_steps(px[chosen], py[chosen]) if steps else ""
    line = f'<polyline points="{path}" fill="none" stroke="{ACCENT}" stroke-width="1.5"/>' if path else ""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" style="max-width:100%;height:auto" '
        f'role="img" aria-label="{escape(titles[1])} by {escape(titles[0])}" font-size="11" fill="currentColor">'
        f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" stroke="currentColor" opacity=".4"/>'
        f'<g opacity=".35">{dots}</g>{line}<g fill="{ACCENT}">{rings}</g>{_draw_axes(x, y, titles)}</svg>'
    )


def _scale_to_plot(values: FloatArray, start: float, end: float) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return start + share * (end - start)


def _record_steps(px: FloatArray, py: FloatArray) -> str:
    """Steps from record to record, level in between, up to the right edge."""
    points = []
    for i in range(len(px)):
        if i:
            points.append(f"{px[i]:.1f},{py[i - 1]:.1f}")
        points.append(f"{px[i]:.1f},{py[i]:.1f}")
    return " ".join([*points, f"{WIDTH - RIGHT},{py[-1]:.1f}"])


def _draw_axes(x: FloatArray, y: FloatArray, titles: tuple[str, str]) -> str:
    foot = HEIGHT - BOTTOM
    written = [
        (LEFT, foot + 13, "start", f"{x.min():.4g}"),
        (WIDTH - RIGHT, foot + 13, "end", f"{x.max():.4g}"),
        ((LEFT + WIDTH - RIGHT) / 2, foot + 25, "middle", titles[0]),
        (LEFT - 5, foot, "end", f"{y.min():.4g}"),
        (LEFT - 5, TOP + 8, "end", f"{y.max():.4g}"),
    ]
    texts = [
        f'<text x="{a}" y="{b}" text-anchor="{anchor}">{escape(word)}</text>'
        for a, b, anchor, word in written
    ]
    middle = (TOP + foot) / 2
    texts.append(
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(titles[1])}</text>'
    )
    return f'<g opacity=".75">{"".join(texts)}</g>'


# What went wrong, what the optimizer says, how to go on.


def _failure_line(run: Reading, status: RunStatus) -> str:
    said = ""
    if status.state == "failed":
        said = f'<div style="color:#b91c1c">{escape(status.reason.removeprefix("failed: "))}</div>'
    elif status.failures:
        causes = ", ".join(f"{cause} ({count})" for cause, count in list(status.failures.items())[:3])
        number, failure = next(iter(counted_failures(run.history).items()))
        example = f"candidate {number}: {failure.message}"
        said = f'<div style="{SOFT}">failed at {escape(causes)}; for example {escape(example)}</div>'
    return said + _note_lines(status)


def _note_lines(status: RunStatus) -> str:
    return "".join(f'<div style="{SOFT}">note: {escape(note)}</div>' for note in status.notes)


def _next_steps(run: Reading, status: RunStatus) -> str:
    """Folder of the run, and the command to go on."""
    folder = escape(str(run.folder))
    if status.state == "running":
        return f'<div style="{SOFT}">in {folder}</div>'
    if status.state == "finished":
        return f'<div style="{SOFT}">in {folder}; a larger budget goes on</div>'
    verb = "starts it" if status.state == "new" else "goes on"
    ways = [f"<code>run.execute()</code> {verb}", "the same call of <code>optimize</code>"]
    if status.state == "waiting":
        ways = ["tell it results with <code>run.tell</code>", f"<code>invdesign tell {folder} FILE</code>"]
    elif not run.campaign.notes:
        ways[1] = f"<code>invdesign resume {folder}</code>"
    return f'<div style="{SOFT}">in {folder}; {", or ".join(ways)}</div>'
