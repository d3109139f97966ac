"""Candidates that are interfaces.

Values by number of exchanges and by match, beside the unmixed ones as their control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.problem import Merit
from invdesign.protocols import DescribedSpace
from invdesign.report.bicrystals import is_bicrystal
from invdesign.report.controls import MIN_SAMPLE, compare_samples
from invdesign.report.figures import (
    BLUE,
    FAINT,
    INK,
    Figure,
    base_layout,
    marker_style,
    pick_evenly,
    point_trace,
    robust_range,
    round_for_json,
    titled_axis,
)
from invdesign.report.structure import last_structure
from invdesign.report.tables import Facts
from invdesign.report.text import format_number, pretty_unit, with_unit
from invdesign.structures.exchanges import count_exchanges
from invdesign.structures.site_labels import read_labels
from invdesign.wording import count_noun

if TYPE_CHECKING:
    from pymatgen.core import Structure

ENERGY = "interface_energy"
MATCH = "match"  # gene that names how the two solids lie on each other
MAX_READ = 2500  # structures that are read, 3 ms each; chosen
MAX_KINDS = 6  # kinds of exchange with a figure; chosen
MAX_MATCHES = 40  # rows and columns of matches; chosen
JITTER = 0.22  # of points of one column, so that they are seen beside each other; chosen
UNMIXED, MIXED, OTHERS_TOO = "unmixed (control)", "with exchanges", "with other exchanges too"
BEST, MEDIAN = "best", "median"
NO_CONTROL = (
    "No candidate without exchanges is complete, so there is no control: values may be due to registry and termination alone. Add "
    "unmixed candidates to the run and continue it."
)


@dataclass(frozen=True, slots=True)
class Interface:
    """A complete candidate that is an interface.

    Attributes:
        id: number of the candidate.
        match: name of its match; empty where its genome has none.
        exchanges: number by kind, `{"Co/P": 2}`; empty where it is unmixed.
        value: of the compared property.
    """

    id: int
    match: str
    exchanges: Mapping[str, int]
    value: float


@dataclass(frozen=True, slots=True)
class Interfaces:
    """All interfaces of a run that are compared.

    Attributes:
        name: of the compared property.
        rows: best first.
        left_out: complete candidates that violate a constraint, became another structure, or have no such value.
        unread: further complete candidates, of which every n-th one is read.
        sign: 1 where smaller values are better, -1 where larger are.
    """

    name: str
    rows: Sequence[Interface]
    left_out: int
    unread: int
    sign: float

    @property
    def unmixed(self) -> list[Interface]:
        """Candidates without exchanges: the control."""
        return [row for row in self.rows if not row.exchanges]

    @property
    def mixed(self) -> list[Interface]:
        """Candidates with exchanges."""
        return [row for row in self.rows if row.exchanges]

    @property
    def kinds(self) -> list[str]:
        """Kinds of exchange, the most frequent first."""
        counts: dict[str, int] = {}
        for row in self.rows:
            for kind in row.exchanges:
                counts[kind] = counts.get(kind, 0) + 1
        return sorted(counts, key=lambda kind: (-counts[kind], kind))

    @property
    def matches(self) -> list[str]:
        """Names of the matches, the one with the best value first."""
        return list(dict.fromkeys(row.match for row in self.rows))

    def best_of(self, rows: Sequence[Interface]) -> Interface:
        """Best of `rows`."""
        return min(rows, key=lambda row: (self.sign * row.value, row.id))


def read_interfaces(facts: Facts) -> Interfaces | None:
    """Read the complete candidates that are interfaces.

    None if the best one carries no labels of an interface.
    """
    if not len(facts.ranking) or not _has_bicrystal(facts, int(facts.ranking[0])):
        return None
    name, sign = _choose_property(facts)
    values = facts.columns[name]
    sound = [
        id
        for id in facts.ranking.tolist()
        if not np.isnan(values[id])
        and facts.scores.merit[id] == Merit.FEASIBLE
        and not facts.describe_fate(id)[0]
    ]
    ids = pick_evenly(np.array(sorted(sound), dtype=np.int64), MAX_READ)
    rows = []
    for id in ids.tolist():
        crystal = _read_structure(facts, id)
        if crystal is not None and is_bicrystal(read_labels(crystal)):
            match = facts.run.history.candidate(id).genome.get(MATCH)
            rows.append(
                Interface(
                    id, match if isinstance(match, str) else "", count_exchanges(crystal), float(values[id])
                )
            )
    rows.sort(key=lambda row: (sign * row.value, row.id))
    return Interfaces(name, rows, len(facts.ranking) - len(sound), len(sound) - len(ids), sign)


def _read_structure(facts: Facts, id: int) -> Structure | None:
    try:
        return last_structure(facts.run, id)[0]
    except InvdesignError:  # a space that cannot build here; its card says so
        return None


def _has_bicrystal(facts: Facts, id: int) -> bool:
    crystal = _read_structure(facts, id)
    return crystal is not None and is_bicrystal(read_labels(crystal))


def _choose_property(facts: Facts) -> tuple[str, float]:
    """Name of the compared property, and 1 where smaller values are better, else -1.

    The interface energy where it is known, else the first objective that is minimised or maximised.
    """
    for item in facts.objectives:
        if item.property == ENERGY and item.direction in {"minimize", "maximize"}:
            return ENERGY, -1.0 if item.direction == "maximize" else 1.0
    if ENERGY in facts.columns:
        return ENERGY, 1.0
    for item in facts.objectives:
        if item.direction in {"minimize", "maximize"}:
            return item.property, -1.0 if item.direction == "maximize" else 1.0
    return facts.objectives[0].property, 1.0


# The control in sentences.


def describe_control(facts: Facts, found: Interfaces) -> list[str]:
    """Sentences on what unmixed candidates reached, and on how far exchanges reach beyond it.

    Args:
        facts: of the run.
        found: its interfaces.
    """
    mixed, unmixed = found.mixed, found.unmixed
    if not mixed:
        return []
    unit = pretty_unit(facts.units[found.name])
    if not unmixed:
        return [NO_CONTROL]
    said = [
        f"{words}: {count_noun(len(rows), 'candidate')}, best {with_unit(format_number(found.best_of(rows).value), unit)} "
        f"(#{found.best_of(rows).id}), median {with_unit(format_number(_median(rows)), unit)}."
        for words, rows in (("Control, unmixed", unmixed), ("With exchanges", mixed))
    ]
    return [" ".join(said), _describe_comparison(found, unit, mixed, unmixed)]


def _describe_comparison(
    found: Interfaces, unit: str, mixed: Sequence[Interface], unmixed: Sequence[Interface]
) -> str:
    larger = ""
    if len(unmixed) < len(mixed):
        larger = (
            f"The control is smaller than the mixed sample ({len(unmixed)} against {len(mixed)}), and a larger sample reaches lower by "
            "chance alone. "
        )
    one, other = (found.sign * np.array([row.value for row in rows]) for rows in (mixed, unmixed))
    compared = compare_samples(one, other)
    if compared is None:
        return f"{larger}A comparison needs {MIN_SAMPLE} candidates of each; the differences say nothing yet."
    sign, gain = found.sign, compared.gain
    direction = "lower" if gain * sign > 0 else "higher"
    ends = sorted((sign * compared.control.low, sign * compared.control.high))
    first = (
        f"{larger}So equal numbers are compared: the best of {compared.drawn} drawn at random is "
        if larger
        else f"The best of {compared.drawn} drawn at random is "
    )
    first += (
        f"{with_unit(format_number(sign * compared.control.median), unit)} of the control (two thirds of the draws: "
        f"{format_number(ends[0])} to {format_number(ends[1])}) and {with_unit(format_number(sign * compared.sample.median), unit)} "
        "with exchanges"
    )
    spread = compared.control.spread
    amount = with_unit(format_number(abs(gain)), unit)
    beside = with_unit(format_number(spread), unit)
    if not compared.is_beyond(1):
        return (
            f"{first}. The difference, {amount}, is within the spread of the control ({beside}), so these candidates do not show that "
            "exchanges matter."
        )
    times = f", {abs(gain) / spread:.1f} times the spread of the control ({beside})" if spread > 0 else ""
    return f"{first}: {amount} {direction}{times}." + (
        "" if compared.is_beyond(2) else " Below twice the spread this is a hint, no more."
    )


def _median(rows: Sequence[Interface]) -> float:
    return float(np.median([row.value for row in rows]))


# Tables.


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Candidates of one group in words.

    Attributes:
        words: cells before the numbers.
        count: number of candidates; `best` and `median` of their values, `id` the best candidate.
        alone: number of those with no other kind of exchange.
    """

    words: tuple[str, ...]
    count: int
    best: str
    median: str
    id: int
    alone: int = 0


@dataclass(frozen=True, slots=True)
class MatchRow:
    """One match in words.

    Its strain and area, and its candidates without and with exchanges, empty where there are none.
    """

    name: str
    strain: str
    area: str
    unmixed: GroupRow | None
    mixed: GroupRow | None


def list_exchange_rows(found: Interfaces) -> list[GroupRow]:
    """List candidates by number of exchanges of each kind, the unmixed ones first."""
    if not found.mixed:
        return []
    rows = [_group_row(found, found.unmixed, "none (control)", "0")] if found.unmixed else []
    for kind in found.kinds[:MAX_KINDS]:
        for number, members in _by_number(found, kind).items():
            rows.append(_group_row(found, members, kind, str(number)))
    return rows


def _by_number(found: Interfaces, kind: str) -> dict[int, list[Interface]]:
    """Interfaces by number of exchanges of one kind, 0 left out."""
    groups: dict[int, list[Interface]] = {}
    for row in found.rows:
        if kind in row.exchanges:
            groups.setdefault(row.exchanges[kind], []).append(row)
    return dict(sorted(groups.items()))


def _group_row(found: Interfaces, rows: Sequence[Interface], *words: str) -> GroupRow:
    best = found.best_of(rows)
    return GroupRow(
        words,
        len(rows),
        format_number(best.value),
        format_number(_median(rows)),
        best.id,
        sum(len(row.exchanges) == 1 for row in rows),
    )


def list_match_rows(facts: Facts, found: Interfaces) -> list[MatchRow]:
    """List the matches, the one with the best value first; empty where genomes name none."""
    names = [name for name in found.matches if name][:MAX_MATCHES]
    measured = _measure_matches(facts, found, names)
    rows = []
    for name in names:
        own = [row for row in found.rows if row.match == name]
        groups = [[row for row in own if not row.exchanges], [row for row in own if row.exchanges]]
        unmixed, mixed = (_group_row(found, group) if group else None for group in groups)
        strain, area = measured[name]
        rows.append(
            MatchRow(
                name,
                "" if np.isnan(strain) else f"{100 * strain:.1f} %",
                "" if np.isnan(area) else f"{area:.0f}",
                unmixed,
                mixed,
            )
        )
    return rows


def _measure_matches(facts: Facts, found: Interfaces, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Strain and area (Å²) of each match, from the features of the space.

    NaN where it has none.
    """
    space = facts.run.campaign.space
    known = dict.fromkeys(names, (np.nan, np.nan))
    if not isinstance(space, DescribedSpace) or not names:
        return known
    columns = [descriptor.name for descriptor in space.descriptors()]
    genomes = {row.match: facts.run.history.candidate(row.id).genome for row in reversed(found.rows)}
    try:
        rows = space.features([genomes[name] for name in names])
    except InvdesignError:
        return known
    parts = [
        rows[:, columns.index(word)] if word in columns else [np.nan] * len(rows)
        for word in ("strain", "area")
    ]
    return dict(zip(names, zip(*(map(float, part) for part in parts), strict=True), strict=True))


# Figures.


def draw_exchanges(facts: Facts, found: Interfaces, kind: str) -> Figure:
    """Figure of the compared property by number of exchanges of one kind, unmixed candidates at 0."""
    groups = {0: found.unmixed} | _by_number(found, kind)
    everything = [row for rows in groups.values() for row in rows]
    alone = [row for row in everything if len(row.exchanges) == 1]
    others = [row for row in everything if len(row.exchanges) > 1]
    x = {row.id: number + _jitter(row.id) for number, rows in groups.items() for row in rows}
    traces = [
        _point_group(rows, x, name, colour, symbol, len(everything))
        for rows, name, colour, symbol in (
            (groups[0], UNMIXED, FAINT, "circle"),
            (alone, MIXED, BLUE, "circle"),
            (others, OTHERS_TOO, BLUE, "circle-open"),
        )
        if rows
    ]
    filled = {number: rows for number, rows in groups.items() if rows}
    traces += _summary_traces(found, list(filled), list(filled.values()), joined=True)
    xaxis = titled_axis(_exchange_title(kind)) | {
        "tickformat": ",d",
        "dtick": 1,
        "range": [-0.5, max(groups) + 0.5],
    }
    return _finish_figure(facts, found, everything, traces, xaxis)


def _exchange_title(kind: str) -> str:
    return f"Number of {kind} exchanges" if "/" in kind else kind


def draw_matches(facts: Facts, found: Interfaces) -> Figure:
    """Figure of the compared property by match, unmixed candidates beside those with exchanges."""
    names = [name for name in found.matches if name][:MAX_MATCHES]
    rows = [row for row in found.rows if row.match in names]
    places = {name: number for number, name in enumerate(names)}
    both = bool(found.mixed) and bool(found.unmixed)
    side = JITTER if both else 0.0
    x = {
        row.id: places[row.match] + (side if row.exchanges else -side) + 0.6 * _jitter(row.id) for row in rows
    }
    traces = [
        _point_group(group, x, name, colour, "circle", len(rows))
        for group, name, colour in (
            ([row for row in rows if not row.exchanges], UNMIXED, FAINT),
            ([row for row in rows if row.exchanges], MIXED, BLUE),
        )
        if group
    ]
    for offset, mixed in ((-side, False), (side, True)):
        groups = {
            name: [row for row in rows if row.match == name and bool(row.exchanges) == mixed]
            for name in names
        }
        filled = {name: group for name, group in groups.items() if group}
        if filled:
            at = [places[name] + offset for name in filled]
            traces += _summary_traces(found, at, list(filled.values()), joined=False)
    xaxis = titled_axis("Match") | {
        "tickvals": list(range(len(names))),
        "ticktext": _shorten_names(names),
        "showgrid": False,
        "range": [-0.6, len(names) - 0.4],
        "tickangle": -40 if len(names) > 4 else 0,
    }
    return _finish_figure(facts, found, rows, traces, xaxis)


def _shorten_names(names: Sequence[str]) -> list[str]:
    """Names of matches without their matrices, where planes and terminations alone tell them apart."""
    short = [name.partition(" ")[0] for name in names]
    return [escape(name) for name in (short if len(set(short)) == len(short) else names)]


def _jitter(id: int) -> float:
    """Shift of a point within its column, the same in every report of a run.

    A golden-ratio sequence.
    """
    return JITTER * (2 * ((id * 0.6180339887498949) % 1.0) - 1.0)


def _point_group(
    rows: Sequence[Interface], x: Mapping[int, float], name: str, colour: str, symbol: str, count: int
) -> Figure:
    ids: IntArray = np.array([row.id for row in rows], dtype=np.int64)
    y: FloatArray = np.array([row.value for row in rows])
    return point_trace(
        ids, np.array([x[row.id] for row in rows]), y, name, marker_style(colour, symbol, 7, 0.6, count)
    )


def _summary_traces(
    found: Interfaces, x: Sequence[float], groups: Sequence[Sequence[Interface]], *, joined: bool
) -> list[Figure]:
    """Marks of the best value and the median of each group."""
    best = np.array([found.best_of(rows).value for rows in groups])
    median = np.array([_median(rows) for rows in groups])
    return [
        {
            "type": "scatter",
            "mode": "lines+markers" if joined else "markers",
            "name": name,
            "x": round_for_json(np.array(x, dtype=np.float64)),
            "y": round_for_json(values),
            "line": {"color": INK, "width": 1.5, "dash": dash},
            "marker": {"color": INK, "size": 20, "symbol": "line-ew-open", "line": {"width": width}},
            "hoverinfo": "text",
            "hovertext": [
                f"{name} of {len(rows)}: {format_number(value)}"
                for rows, value in zip(groups, values.tolist(), strict=True)
            ],
        }
        for name, values, width, dash in ((BEST, best, 2.5, "solid"), (MEDIAN, median, 1.5, "dot"))
    ]


def _finish_figure(
    facts: Facts, found: Interfaces, rows: Sequence[Interface], traces: list[Figure], xaxis: dict[str, Any]
) -> Figure:
    values = np.array([row.value for row in rows])
    best = np.array([found.best_of(rows).value])
    yaxis = titled_axis(facts.property_heading(found.name)) | robust_range(values, best)
    return {"data": traces, "layout": base_layout(xaxis, yaxis)}


def list_legend(found: Interfaces) -> list[tuple[str, str, str]]:
    """(name, colour, symbol) of what the figures show."""
    several = any(len(row.exchanges) > 1 for row in found.rows)
    entries = [
        (UNMIXED, FAINT, "circle", bool(found.unmixed)),
        (MIXED, BLUE, "circle", bool(found.mixed)),
        (OTHERS_TOO, BLUE, "ring", several),
        (BEST, INK, "bar", True),
        (MEDIAN, INK, "thinbar", True),
    ]
    return [(name, colour, symbol) for name, colour, symbol, there in entries if there]
