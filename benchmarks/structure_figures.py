"""Figures of `structure_search.py` from the lines of single seeds, of ours and of peers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from common import Record, Row, spread_of
from structure_relaxer import TOLERANCE

BENCHMARK = "structure_search"
RESAMPLES = 10_000  # of the bootstrap
FEWEST = 5  # seeds that an interval needs
LOWER = (
    1e-4  # eV/atom below a reference from which on an energy replaces it: far above the relaxer's convergence
)


def lowest_energies(records: Sequence[Record], references: Mapping[str, float]) -> dict[str, float]:
    """References, replaced by lower energies that at least two runs found, eV/atom by formula.

    What one run alone reaches may be a collapse of the potential: atoms that came too close, or a flat cell.
    """
    lowest = dict(references)
    for formula in references:
        reached = sorted(
            min(energies)
            for record in records
            if (energies := [item[2] for item in minima_of(record, references) if item[1] == formula])
        )
        confirmed = [
            energy
            for energy, second in pairwise(reached)
            if second < min(energy + TOLERANCE, lowest[formula])
        ]
        if confirmed and confirmed[0] < lowest[formula] - LOWER:
            lowest[formula] = confirmed[0]
    return lowest


def minima_of(record: Record, references: Mapping[str, float]) -> list[tuple[int, str, float, int]]:
    """Lowest energies of a run as they came: relaxation, formula, eV/atom, atoms.

    Lines of peers may write the one formula otherwise, or not at all.
    """
    only = next(iter(references)) if len(references) == 1 else ""
    found = [
        entry if len(entry) == 4 else (entry[0], only, entry[1], 0) for entry in record.get("minima", [])
    ]
    return [(number, only or formula, energy, atoms) for number, formula, energy, atoms in found]


def relaxations_to_solve(record: Record, references: Mapping[str, float]) -> int | None:
    """Number of relaxations until every reference was reached; None if one was not."""
    if not record.get("minima"):
        return int(record["relax"]) if record["solved"] else None
    found: dict[str, int] = {}
    for number, formula, energy, _ in minima_of(record, references):
        if energy < references.get(formula, -math.inf) + TOLERANCE:
            found.setdefault(formula, number)
    return max(found.values()) if found.keys() == references.keys() else None


def expected_relaxations(
    spent: Sequence[float], solved: Sequence[bool]
) -> tuple[float, float | None, float | None]:
    """ERT with its 95 % bootstrap interval over seeds (percentiles, fixed seed).

    Args:
        spent: relaxations (or calls) of each seed.
        solved: True for each seed that found it, at least one.

    Returns:
        ERT, low, high; no interval of fewer than five seeds, or where some resamples have none that found it.
    """
    total, right = np.asarray(spent, dtype=np.float64), np.asarray(solved, dtype=np.float64)
    chosen = np.random.default_rng(0).integers(len(total), size=(RESAMPLES, len(total)))
    with np.errstate(divide="ignore"):
        ratios = total[chosen].sum(axis=1) / right[chosen].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5], method="nearest")
    ert = float(total.sum() / right.sum())
    return (
        (ert, float(low), float(high)) if math.isfinite(high) and len(total) >= FEWEST else (ert, None, None)
    )


def rows_of(name: str, method: str, records: Sequence[Record], references: Mapping[str, float]) -> list[Row]:
    """Figures of one method on one task."""
    ends = [relaxations_to_solve(record, references) for record in records]
    spent = [
        float(record["relax"] if end is None else end) for record, end in zip(records, ends, strict=True)
    ]
    right, n = [end is not None for end in ends], len(records)
    rows = [Row(BENCHMARK, name, method, "solved_of_seeds", float(sum(right)), "seeds", n, 0.0)]
    if any(right):
        ert, low, high = expected_relaxations(spent, right)
        rows.insert(
            0,
            Row(
                BENCHMARK,
                name,
                method,
                "ert_relaxations",
                ert,
                "relaxations",
                n,
                spread_of(spent)[1],
                low,
                high,
            ),
        )
        calls = [float(record["calls"]) for record in records]
        ert, low, high = expected_relaxations(calls, right)
        rows.append(
            Row(
                BENCHMARK, name, method, "calls_per_solution", ert, "calls", n, spread_of(calls)[1], low, high
            )
        )
    timed = [record for record in records if record.get("relax_cpu_s")]
    if timed:
        beside = sum(record.get("beside_cpu_s", record["cpu_s"] - record["relax_cpu_s"]) for record in timed)
        each = 1000 * beside / sum(record["relax"] for record in timed)
        rows.append(Row(BENCHMARK, name, method, "overhead_ms_per_candidate", each, "ms", len(timed), 0.0))
    return rows
