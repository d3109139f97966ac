"""The convex hull of the phases that a run found: a table, and a plot where compositions lie on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.protocols import Phase, PhaseDerivation
from invdesign.report.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    Figure,
    ShownCandidates,
    base_layout,
    marker_style,
    point_trace,
    robust_range,
    round_for_json,
    select_complete,
    titled_axis,
)
from invdesign.report.tables import Facts
from invdesign.report.text import format_number, formula_html, with_unit
from invdesign.structures.formulas import order_formula, parse_composition

MAX_ROWS = 60  # phases in the table; chosen
MAX_ABOVE = 12  # of them above the hull; chosen
ON_HULL = 1e-8  # eV/atom, numerical error of a distance (chosen)
SPAN_TOLERANCE = 1e-7  # of atomic fractions: smaller extents are rounding (chosen)
CANDIDATES, STABLE, REFERENCES = "candidates", "hull of the lowest phases", "reference phases"


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A phase in words.

    Attributes:
        formula: for display.
        energy: eV/atom.
        formation: eV/atom, against the two ends of the line of compositions; empty where there is none.
        distance: to the hull, meV/atom; empty on it.
        origin: its candidate, or its name in the reference set.
    """

    formula: str
    energy: str
    formation: str
    distance: str
    origin: str


@dataclass(frozen=True, slots=True)
class HullView:
    """Everything the report shows of one hull.

    Attributes:
        name: of the property of distances.
        rows: phases on the hull, then the lowest above it.
        stable: number of phases on the hull.
        omitted: number of further phases on or above the hull.
        unknown: (formula, elements without a competing phase).
        error: of the distances, with its unit; empty where it is not known.
        with_reference: True if phases of a reference set are on the hull or above it.
        figure: plot of the energies of formation; None where compositions do not lie on one line.
        label: of the figure.
        ends: compositions at the two ends of the line.
        legend: as `figures.legend_entries`.
    """

    name: str
    rows: Sequence[PhaseRow]
    stable: int
    omitted: int
    unknown: Sequence[tuple[str, str]]
    error: str = ""
    with_reference: bool = False
    figure: Figure | None = None
    label: str = ""
    ends: Sequence[str] = ()
    legend: Sequence[tuple[str, str, str]] = ()


def view_hulls(facts: Facts, shown: ShownCandidates) -> list[HullView]:
    """Views of all hulls of a run.

    Args:
        facts: of the run.
        shown: candidates in the figures.
    """
    derivations = [item for item in facts.run.campaign.derivations if isinstance(item, PhaseDerivation)]
    return [_view_hull(facts, shown, item) for item in derivations]


def _view_hull(facts: Facts, shown: ShownCandidates, derivation: PhaseDerivation) -> HullView:
    phases = _select_searched(derivation.list_phases(facts.run.history))
    known = sorted(
        (phase for phase in phases if not np.isnan(phase.distance)),
        key=lambda phase: (max(phase.distance, ON_HULL), phase.formula),
    )
    stable = sum(phase.distance <= ON_HULL for phase in known)
    listed = known[: min(stable + MAX_ABOVE, MAX_ROWS)]
    line = _find_line(phases)
    name = next(iter(derivation.provides))
    errors = facts.systematic[name]
    largest = float(np.nanmax(errors)) if not np.isnan(errors).all() else np.nan
    view = HullView(
        name=name,
        rows=[_phase_row(phase, line) for phase in listed],
        stable=stable,
        omitted=len(known) - len(listed),
        unknown=[(order_formula(p.formula), ", ".join(p.missing)) for p in phases if np.isnan(p.distance)],
        error=with_unit(format_number(largest), "eV/atom"),
        with_reference=any(phase.candidate is None for phase in known),
    )
    return view if line is None else _add_figure(view, line, facts, shown, derivation.energy_property)


def _select_searched(phases: Sequence[Phase]) -> list[Phase]:
    """Select the phases of chemical systems in which the run has candidates."""
    found = [(phase, _parse_fractions(phase.formula)) for phase in phases]
    systems = {frozenset(parts) for phase, parts in found if phase.candidate is not None}
    return [phase for phase, parts in found if parts and any(parts.keys() <= system for system in systems)]


def _phase_row(phase: Phase, line: _Line | None) -> PhaseRow:
    above = (
        "" if phase.distance <= ON_HULL else f"{1000 * phase.distance:.1f}"
    )  # tenths of a meV, as energies
    origin = phase.name if phase.candidate is None else f"#{phase.candidate}"
    formation = "" if line is None else _format_energy(line.formation_energy(phase))
    return PhaseRow(order_formula(phase.formula), _format_energy(phase.energy), formation, above, origin)


def _format_energy(energy: float) -> str:
    return f"{energy:z.4f}".replace("-", "−")


@lru_cache(maxsize=4096)
def _parse_fractions(formula: str) -> Mapping[str, float]:
    """Atomic fraction by element of a formula; empty if it is none."""
    try:
        amounts = parse_composition(formula).get_el_amt_dict()
    except InvdesignError:
        return {}
    total = sum(amounts.values())
    return {symbol: amount / total for symbol, amount in amounts.items()}


# The plot of a line of compositions.


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of compositions from one end to the other.

    Attributes:
        symbols: elements, in the order of the columns.
        start, step: shape (m,), fractions at its first end, and from there to the other.
        ends: lowest phases at both ends.
        phases: on the line.
    """

    symbols: Sequence[str]
    start: FloatArray
    step: FloatArray
    ends: tuple[Phase, Phase]
    phases: Sequence[Phase]

    def locate(self, formulas: Sequence[str]) -> FloatArray:
        """Shares of atoms of the second end at compositions, shape (n,); NaN off the line."""
        rows = np.array([[_parse_fractions(f).get(s, 0.0) for s in self.symbols] for f in formulas])
        rows = rows.reshape(len(formulas), len(self.symbols))
        shares = (rows - self.start) @ self.step / (self.step @ self.step)
        off = np.abs(rows - self.start - shares[:, None] * self.step).max(axis=1, initial=0.0)
        return np.where(off > 10 * SPAN_TOLERANCE, np.nan, np.clip(shares, 0.0, 1.0))

    def formation_energies(self, shares: FloatArray, energies: FloatArray) -> FloatArray:
        """Energies against the lowest phases at both ends, shape (n,), eV/atom.

        Args:
            shares: shape (n,), of atoms of the second end.
            energies: shape (n,), eV/atom.
        """
        first, second = (phase.energy for phase in self.ends)
        return np.asarray(energies - (1.0 - shares) * first - shares * second, dtype=np.float64)

    def formation_energy(self, phase: Phase) -> float:
        """Energy of a phase of the line against the lowest phases at both ends, eV/atom."""
        return float(self.formation_energies(self.locate([phase.formula]), np.array([phase.energy]))[0])


def _find_line(phases: Sequence[Phase]) -> _Line | None:
    """Line on which the compositions of all phases lie; None if there is none."""
    symbols = sorted({symbol for phase in phases for symbol in _parse_fractions(phase.formula)})
    rows = np.array([[_parse_fractions(phase.formula).get(s, 0.0) for s in symbols] for phase in phases])
    if len(rows) < 2:
        return None
    centred = rows - rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    if (sizes > SPAN_TOLERANCE).sum() != 1:
        return None
    along = centred @ axes[0]
    low, high = sorted((int(along.argmin()), int(along.argmax())), key=lambda row: phases[row].formula)
    return _Line(symbols, rows[low], rows[high] - rows[low], (phases[low], phases[high]), phases)


def _add_figure(view: HullView, line: _Line, facts: Facts, shown: ShownCandidates, energy: str) -> HullView:
    """Add the plot of a line of compositions to a view."""
    ids = select_complete(facts, shown)
    shares = line.locate([facts.formulas[id] for id in ids.tolist()])
    energies = line.formation_energies(shares, facts.columns[energy][ids])
    first, second = (order_formula(phase.formula) for phase in line.ends)
    traces, legend = _draw_traces(line, ids, shares, energies)
    lowest = line.formation_energies(
        line.locate([phase.formula for phase in line.phases]),
        np.array([phase.energy for phase in line.phases]),
    )
    xaxis = titled_axis(f"Share of atoms in {second}, the others in {first}")
    yaxis = titled_axis("Energy of formation (eV/atom)") | robust_range(energies, np.append(lowest, 0.0))
    layout = base_layout(xaxis | {"range": [-0.06, 1.06]}, yaxis)
    return replace(
        view,
        figure={"data": traces, "layout": layout},
        label=f"Energy of formation against composition, from {first} to {second}",
        ends=(first, second),
        legend=legend,
    )


def _draw_traces(
    line: _Line, ids: IntArray, shares: FloatArray, energies: FloatArray
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """Traces of candidates, reference phases and the hull, and their legend.

    Args:
        line: of compositions.
        ids: numbers of the candidates, shape (n,).
        shares: shape (n,), of atoms of the second end.
        energies: shape (n,), of formation, eV/atom.
    """
    look = marker_style(BLUE, "circle", 7, 0.45, len(ids))
    traces = [point_trace(ids, shares, energies, CANDIDATES, look)]
    legend = [(STABLE, GREEN, "line"), (CANDIDATES, BLUE, "circle")]
    references = [phase for phase in line.phases if phase.candidate is None]
    if references:
        traces.append(_phase_trace(line, references, REFERENCES, marker_style(GREY, "diamond-open", 9, 1.0)))
        legend.append((REFERENCES, GREY, "diamond"))
    stable = sorted(
        (phase for phase in line.phases if phase.distance <= ON_HULL or phase in line.ends),
        key=lambda phase: float(line.locate([phase.formula])[0]),
    )
    hull = _phase_trace(line, stable, STABLE, marker_style(GREEN, "circle", 9, 1.0))
    hull |= {"mode": "lines+markers+text", "line": {"color": GREEN, "width": 2}, "cliponaxis": False}
    hull |= {"text": [str(formula_html(order_formula(phase.formula))) for phase in stable]}
    hull |= {"textposition": "bottom center", "textfont": {"size": 12, "color": INK}}
    return [*traces, hull], legend


def _phase_trace(line: _Line, phases: Sequence[Phase], name: str, marker: dict[str, Any]) -> dict[str, Any]:
    """Trace of phases on a line, with their own hover texts."""
    shares = line.locate([phase.formula for phase in phases])
    energies = line.formation_energies(shares, np.array([phase.energy for phase in phases]))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": round_for_json(shares),
        "y": round_for_json(energies),
        "hoverinfo": "text",
        "hovertext": [_hover_text(phase, value) for phase, value in zip(phases, energies, strict=True)],
        "marker": marker,
    }


def _hover_text(phase: Phase, formation: float) -> str:
    origin = escape(phase.name) if phase.candidate is None else f"candidate {phase.candidate}"
    return (
        f"<b>{formula_html(order_formula(phase.formula))}</b>  {origin}<br>energy: {format_number(phase.energy)} eV/atom"
        f"<br>of formation: {format_number(formation)} eV/atom"
    )
