"""Outputs of a screen: the table of the best, its facts as JSON, and a page."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from invdesign.diskfiles import replace_atomically
from invdesign.screening.folder import FACTS_FILE, TOP_FILE
from invdesign.screening.known import reduce_formula
from invdesign.screening.scanning import Described
from invdesign.screening.screen import Outcome, PassFacts, Screen
from invdesign.structures.formulas import order_formula
from invdesign.tables.guard import guard_cell
from invdesign.version import __version__

DIGITS = 10  # significant digits of numbers in the table: those by which candidates are compared
SHOWN_REASONS = 100  # in the facts (chosen)
INTERVAL = "90 %"  # of `Judgement`
Row = dict[str, object]


def write_outputs(screen: Screen, outcome: Outcome, known: frozenset[str] | None) -> dict[str, Any]:
    """Write the table and the facts of a finished screen.

    Args:
        screen: that was run.
        outcome: of it.
        known: compounds to be marked, as `reduce_formula` writes them; None without a list.

    Returns:
        The facts, as in the file.
    """
    rows = list(list_rows(screen, outcome, known))
    table = screen.folder / TOP_FILE
    with replace_atomically(table) as file, file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(rows[0] if rows else ["rank", "formula"])
        writer.writerows([guard_cell(cell) for cell in row.values()] for row in rows)
    facts = list_facts(screen, outcome, hashlib.sha256(table.read_bytes()).hexdigest())
    with replace_atomically(screen.folder / FACTS_FILE) as file:
        file.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def list_rows(screen: Screen, outcome: Outcome, known: frozenset[str] | None) -> Iterator[Row]:
    """Rows of the table, best first, by heading."""
    for place, (described, values, score) in enumerate(
        zip(outcome.described, outcome.best.values, outcome.best.scores, strict=True)
    ):
        row: Row = {"rank": place + 1, "formula": write_amounts(described)}
        if screen.stream is None:
            row["genome"] = described.genome
        if screen.campaign.problem.scalarize is not None:
            row["score"] = _write_number(float(score))
        row |= _value_cells(screen, values)
        row |= _judgement_cells(screen, described)
        if known is not None:
            row["known"] = _say(reduce_formula(described.amounts) in known if described.amounts else None)
        yield row


def write_amounts(described: Described) -> str:
    """Formula of a candidate for people; empty without a composition."""
    from pymatgen.core import Composition

    amounts = dict(described.amounts)
    return order_formula(str(Composition(amounts).reduced_formula)) if amounts else ""


def _value_cells(screen: Screen, values: np.ndarray[Any, Any]) -> Row:
    """Values of all tiers by heading; that of the last tier has the plain name."""
    cells: Row = {}
    last = {column.property: column.tier for column in screen.columns}
    order = sorted(range(len(values)), key=lambda place: -screen.columns[place].tier)
    for place in order:
        column = screen.columns[place]
        tier = screen.tiers[column.tier]
        where = "" if last[column.property] == column.tier else f" at {tier.name}"
        heading = _head(f"{column.property}{where}", tier.evaluator.provides[column.property])
        cells[heading] = _write_number(float(values[place]))
    return cells


def _judgement_cells(screen: Screen, described: Described) -> Row:
    """Interval and domain by heading; empty where the last tier states none."""
    judgement, tier = described.judgement, screen.tiers[-1]
    if judgement is None:
        return {}
    cells: Row = {}
    for name in tier.carried:
        unit = tier.evaluator.provides[name]
        for word, ends in (("lower", judgement.lower), ("upper", judgement.upper)):
            if name in ends:
                cells[_head(f"{name} {word} {INTERVAL}", unit)] = _write_number(ends[name])
    cells["outside_domain"] = _say(judgement.outside)
    cells["reasons"] = "; ".join(judgement.reasons)
    cells["in_training"] = _say(judgement.trained)
    return cells


def _head(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _say(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _write_number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{DIGITS}g}"


def list_facts(screen: Screen, outcome: Outcome, table_hash: str) -> dict[str, Any]:
    """Facts of a finished screen, as JSON."""
    plan = json.dumps(screen.plan()["campaign"], sort_keys=True)
    return {
        "format": 1,
        "campaign": screen.campaign.name,
        "campaign_hash": hashlib.sha256(plan.encode()).hexdigest(),
        "invdesign": __version__,
        "candidates": outcome.size,
        "keep": screen.options.keep,
        "top": screen.options.top,
        "objective": [str(objective) for objective in screen.campaign.problem.objectives],
        "passes": [_pass_facts(screen, facts) for facts in outcome.passes],
        "table_sha256": table_hash,
    }


def _pass_facts(screen: Screen, facts: PassFacts) -> dict[str, Any]:
    state, tier = facts.state, screen.tiers[facts.own.tier]
    refused = sorted(state.tally.refused.items(), key=lambda item: (-item[1][0], item[0]))
    return {
        "tier": tier.name,
        "scored_by": "element sets" if facts.own.by_sets else "candidates",
        "seen": state.tally.seen,
        "refused": sum(number for number, _ in state.tally.refused.values()),
        "refused_by_reason": [
            {"reason": reason, "count": number, "example": _name_candidate(screen, example)}
            for reason, (number, example) in refused[:SHOWN_REASONS]
        ],
        "kept": len(state.kept),
        "histogram": _histogram_facts(screen, state.bins, state.tally.histogram),
        "seconds": round(state.wall, 3),
        "worker_seconds": round(state.tally.seconds, 3),
        "candidates_per_second": _rate(state.tally.seen, state.wall),
        "candidates_per_worker_second": _rate(state.tally.seen, state.tally.seconds),
    }


def _rate(number: int, seconds: float) -> float | None:
    return float(f"{number / seconds:.4g}") if seconds > 0 else None


def _name_candidate(screen: Screen, index: int) -> str:
    if screen.stream is None:
        space: Any = screen.campaign.space
        return json.dumps(space.genome(index), sort_keys=True)
    amounts = screen.stream.list_compositions(np.array([index]))[0]
    return write_amounts(Described(amounts, "", None))


def _histogram_facts(screen: Screen, bins: Any, counts: Any) -> dict[str, Any]:
    """Histogram in the unit of the objective; of several or a target, of the score that is minimised."""
    edges = [bins.low + bins.width * place for place in range(bins.number + 1)]
    numbers: Sequence[int] = [int(number) for number in counts]
    problem = screen.campaign.problem
    plain = problem.scalarize is None and problem.objectives[0].direction in {"minimize", "maximize"}
    if plain and problem.objectives[0].direction == "maximize":
        edges, numbers = [-edge for edge in reversed(edges)], numbers[::-1]
    name = problem.objectives[0].property if plain else "score"
    return {
        "of": name,
        "unit": screen.campaign.units().get(name, ""),
        "edges": [float(f"{edge:.6g}") + 0.0 for edge in edges],
        "counts": list(numbers[1:-1]),
        "below": numbers[0],
        "above": numbers[-1],
    }
