"""Barriers of `neb_barrier` with CHGNet 0.3.0 against computed ones of the literature.

Which compounds are compared, and with which crystals, says `literature_barriers`. Each crystal is relaxed with a free cell to
0.05 eV/Å and 0.05 GPa, and the percolating barrier of a vacancy in one direction (`migration_barrier_1d`) computed in it with
the settings below. Most published barriers are single hops by nudged elastic bands on density-functional theory. Compared are compounds
of which one hop is published, not counting those of pairs of vacancies: a percolating barrier is no single hop of several. `all of the
list` compares every compound with its lowest published barrier. The reach is the shortest of REACHES at which the sites of the
ion are joined without end.

Every finished compound is a line of `benchmarks/results/barriers_neb.jsonl`; `python -m truth_tasks.barriers_neb --seconds 500` (in
`benchmarks`) computes those that have none, until then, and can be called again. The classes take turns, the cheapest compounds of
each first. `measure` computes nothing. To compute all anew, delete the file.

Besides the rank correlation and the mean absolute error, `slope` is that of a line through the origin, computed against
published barriers: below 1 where the potential is too soft.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Row, one_thread
from literature_barriers import OTHER_TYPES, Match, match_compounds, read_compounds

from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates.relaxation.relax import relax_structure
from surrogates.transport.neb.barriers import Method, find_migration_barriers
from surrogates.transport.neb.hops import find_hops
from surrogates.transport.neb.lattices import Crystal, list_cells, smallest_supercell
from surrogates.transport.passes import find_percolation_heights

if TYPE_CHECKING:
    from pymatgen.core import Structure

KEPT = Path(__file__).resolve().parents[1] / "results" / "barriers_neb.jsonl"
MOST_ATOMS = 44  # of the crystal's cell, as for the bond-valence barriers
MOST_SUPERCELL_ATOMS = 100
FEWEST = 3  # compounds of a class that has figures of its own
REACHES = (4.5, 5.0, 6.5)  # Å
GROWTH = 0.3  # Å that a hop may grow as the crystal relaxes
METHOD = Method(directions=1, hops=6)
FMAX, SMAX, STEPS = 0.05, 0.05, 300
RESAMPLES = 10_000


def plan(matches: Sequence[Match]) -> list[tuple[Match, float]]:
    """Compounds that can be computed with their reach: classes in turn, the cheapest of each first."""
    costs = []
    for match in matches:
        if len(match.structure) > MOST_ATOMS or match.compound.family in OTHER_TYPES:
            continue
        reach, hops, atoms = survey(match.structure, match.compound.ion)
        if reach and atoms <= MOST_SUPERCELL_ATOMS:
            costs.append((atoms * min(hops, METHOD.hops), match, reach))
    costs.sort(key=lambda item: item[0])
    turn: dict[str, int] = {}
    order = []
    for cost, match, reach in costs:
        turn[match.compound.family] = turn.get(match.compound.family, 0) + 1
        order.append((turn[match.compound.family], cost, match, reach))
    order.sort(key=lambda item: item[:2])
    return [(match, reach) for *_, match, reach in order]


def survey(structure: Structure, ion: str) -> tuple[float, int, int]:
    """Reach at which the ion's sites are joined without end (0 for none), distinct hops, atoms of the supercell."""
    from pymatgen.core import Element

    crystal = Crystal.from_structure(structure)
    sites = crystal.positions[crystal.numbers == Element(ion).Z]
    for reach in REACHES:
        classes = find_hops(crystal, sites, reach)
        edges = [(0.0, hop.start, hop.end, np.array(hop.cells)) for one in classes for hop in one.members]
        if np.isfinite(find_percolation_heights(edges)[0]):
            supercell = smallest_supercell(crystal, max(METHOD.supercell, reach + GROWTH + 0.1))
            return reach + GROWTH, len(classes), len(list_cells(supercell)) * len(structure)
    return 0.0, 0, 0


def compute(seconds: float) -> None:
    """Compute compounds that are not kept yet, and keep each as soon as it is done."""
    one_thread()
    potential = load("potentials", "chgnet")
    potential.prepare()
    done = {line["compound"] for line in kept_lines()}
    began = time.monotonic()
    for match, reach in plan(match_compounds()):
        if match.compound.key in done:
            continue
        if time.monotonic() - began > seconds:
            break
        line = computed_line(match, reach, potential)
        with KEPT.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(line, flush=True)


def computed_line(match: Match, reach: float, potential: Any) -> dict[str, Any]:
    """Barriers of a compound, or the reason why there are none."""
    started = time.process_time()
    compound = match.compound
    line: dict[str, Any] = {
        "compound": compound.key,
        "family": compound.family.lower().removesuffix("s"),
        "ion": compound.ion,
        "source": match.source,
        "reach": reach,
    }
    try:
        relaxed = relax_structure(match.structure, potential, fmax=FMAX, smax=SMAX, steps=STEPS)
        if not relaxed.converged:
            return {**line, "failure": "the crystal is not relaxed"}
        found = find_migration_barriers(
            relaxed.structure, compound.ion, potential, replace(METHOD, reach=reach)
        )
    except InvdesignError as error:
        return {**line, "failure": str(error), "cpu_s": round(time.process_time() - started, 1)}
    line |= {
        "barrier": round(found.barriers[0], 4),
        "hops": [
            {
                "length": round(hop.hop.length, 3),
                "state": hop.state,
                "path": [round(float(energy - found.lowest), 4) for energy in hop.energies],
            }
            for hop in found.hops
        ],
        "skipped": found.skipped,
        "atoms": found.atoms,
        "calls": found.calls,
        "images": found.images,
    }
    if found.unconverged:
        line["failure"] = "a band is not converged"
    return {**line, "cpu_s": round(time.process_time() - started, 1)}


def kept_lines() -> Iterator[dict[str, Any]]:
    """Kept lines, in the order they were made."""
    if KEPT.is_file():
        yield from map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())


def figures(task: str, rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Rank correlation, errors and slope over some compounds, with 95 % bootstrap intervals."""
    published = np.array([row["literature"] for row in rows])
    here = np.array([row["barrier"] for row in rows])
    draws = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    measures = {
        "spearman": (_rank_correlation, ""),
        "mae_ev": (lambda a, b: float(np.abs(a - b).mean()), "eV"),
        "rmse_ev": (lambda a, b: float(np.sqrt(((a - b) ** 2).mean())), "eV"),
        "mean_error_ev": (lambda a, b: float((a - b).mean()), "eV"),
        "slope": (lambda a, b: float(a @ b / (b @ b)), ""),
    }
    error = np.abs(here - published)
    spread = float(np.subtract(*np.percentile(error, [75, 25])))
    found = []
    for metric, (measure_of, unit) in measures.items():
        values = [
            measure_of(here[draw], published[draw])
            for draw in draws[: 2000 if metric == "spearman" else None]
        ]
        low, high = np.nanpercentile(values, [2.5, 97.5])
        value = measure_of(here, published)
        found.append(
            Row(
                "truth",
                task,
                "invdesign",
                metric,
                value,
                unit,
                len(rows),
                spread if metric == "mae_ev" else 0.0,
                float(low),
                float(high),
            )
        )
    return found


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(one), rankdata(other)
    if min(np.ptp(rank) for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def measure() -> list[Row]:
    """Figures over all compounds that were computed, and by class."""
    lines = list(kept_lines())
    published = {compound.key: compound for compound in read_compounds()}
    print(
        "| compound | class | published, eV | here, eV | hop, Å | remark |\n| --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for line in lines:
        compound = published[line["compound"]]
        failed = "failure" in line
        hop = (
            f"{compound.hop:.2f}"
            if compound.hop is not None
            else f"{compound.barrier:.2f} (lowest of {compound.rows})"
        )
        here = "" if failed else f"{line['barrier']:.2f}"
        length = "" if failed else f"{line['hops'][0]['length']:.2f}"
        print(
            f"| {compound.key} | {line['family']} | {hop} | {here} | {length} | {line.get('failure', '')} |"
        )
        if not failed:
            rows.append({**line, "literature": compound.barrier, "hop": compound.hop})
    single = [{**row, "literature": row["hop"]} for row in rows if row["hop"] is not None]
    families = sorted({row["family"] for row in single})
    print(
        f"{len(rows)} of {len(lines)} compounds have a barrier; {len(single)} of {len(families)} classes have one published hop"
    )
    found = [*figures("barriers_neb", single), *figures("barriers_neb: all of the list", rows)]
    for family in families:
        of_it = [row for row in single if row["family"] == family]
        if len(of_it) >= FEWEST:
            found += [row for row in figures(f"barriers_neb: {family}", of_it) if row.metric != "spearman"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=500.0, help="begin no compound after that time")
    compute(parser.parse_args().seconds)
