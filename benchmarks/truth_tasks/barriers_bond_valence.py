"""Barriers of `migration_barrier` against computed ones of the literature, as built and relaxed with CHGNet.

Which compounds are compared, and with which crystals, says `literature_barriers`. Compared is `migration_barrier_1d`, the
lowest level at which an ion travels without end in some direction, with the lowest barrier published of the compound:
most of those are of single hops by nudged elastic bands, so a compound whose easiest hop leads nowhere is published too
low. Method `unrelaxed` is the crystal as it was found or built, `relaxed` the same after CHGNet 0.3.0 with a free cell, to
0.05 eV/Å and 0.05 GPa. Cells of more than MOST_ATOMS atoms are left out.

Relaxed crystals are kept in `runs/literature_barriers.jsonl`, a line each; `python -m truth_tasks.barriers_bond_valence
--seconds 500` (in `benchmarks`) relaxes until then and can be called again. `measure` uses what is there and relaxes the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Row, one_thread
from literature_barriers import Match, count_rows, match_compounds, read_compounds

from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates.relaxation.relax import relax_structure
from surrogates.transport.bond_valence import migration_barriers

if TYPE_CHECKING:
    from pymatgen.core import Structure

KEPT = Path(__file__).resolve().parents[2] / "runs" / "literature_barriers.jsonl"
MOST_ATOMS = 44
FEWEST = 5  # compounds of a class that has figures of its own
FMAX, SMAX, STEPS = 0.05, 0.05, 300


def relax_matches(matches: Sequence[Match], seconds: float) -> None:
    """Relax crystals that are not kept yet, and keep each as soon as it is done."""
    done = set(relaxed_lines())
    todo = [match for match in matches if match.compound.key not in done]
    if not todo:
        return
    one_thread()
    KEPT.parent.mkdir(exist_ok=True)
    potential = load("potentials", "chgnet")
    potential.prepare()
    began = time.monotonic()
    for match in todo:
        if time.monotonic() - began > seconds:
            break
        line = relaxed_line(match, potential)
        with KEPT.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print({key: value for key, value in line.items() if key != "structure"}, flush=True)


def relaxed_line(match: Match, potential: Any) -> dict[str, Any]:
    """What is kept of a relaxation; without a structure where it failed."""
    started = time.process_time()
    line: dict[str, Any] = {
        "compound": match.compound.key,
        "atoms": len(match.structure),
        "source": match.source,
    }
    try:
        found = relax_structure(match.structure, potential, fmax=FMAX, smax=SMAX, steps=STEPS)
    except InvdesignError as error:
        return {**line, "failure": str(error)}
    seconds = time.process_time() - started
    line |= {"calls": found.calls, "converged": found.converged, "cpu_s": round(seconds, 2)}
    return {**line, "structure": found.structure.as_dict()}


def relaxed_lines() -> dict[str, dict[str, Any]]:
    """Kept lines by key of the compound."""
    if not KEPT.is_file():
        return {}
    lines = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {line["compound"]: line for line in lines}


def barriers_of(matches: Sequence[Match]) -> list[dict[str, Any]]:
    """Published and computed barriers (eV) of all compounds for which both can be had."""
    from pymatgen.core import Structure

    kept = relaxed_lines()
    rows = []
    for match in matches:
        line = kept.get(match.compound.key, {})
        if not line.get("converged"):
            continue
        compound = match.compound
        try:
            unrelaxed = lowest_barrier(match.structure, compound.ion)
            relaxed = lowest_barrier(Structure.from_dict(line["structure"]), compound.ion)
        except ValueError as error:
            print(f"{compound.key}: {error}")
            continue
        rows.append(
            {
                "compound": compound.key,
                "family": compound.family.lower().removesuffix("s"),
                "ion": compound.ion,
                "built": match.built,
                "literature": compound.barrier,
                "unrelaxed": unrelaxed,
                "relaxed": relaxed,
            }
        )
    return rows


def lowest_barrier(structure: Structure, ion: str) -> float:
    """`migration_barrier_1d`, eV."""
    return migration_barriers(structure, ion)[0]


def figures(task: str, rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Rank correlation, mean absolute and root mean square error of both methods over some compounds."""
    from scipy.stats import spearmanr

    published = np.array([row["literature"] for row in rows])
    found = []
    for method, crystal in (("invdesign", "relaxed"), ("unrelaxed", "unrelaxed")):
        here = np.array([row[crystal] for row in rows])
        error = np.abs(here - published)
        low, high = np.percentile(error, [25, 75])
        found += [
            Row("truth", task, method, "spearman", float(spearmanr(here, published)[0]), "", len(rows), 0.0),
            Row("truth", task, method, "mae_ev", float(error.mean()), "eV", len(rows), float(high - low)),
            Row("truth", task, method, "rmse_ev", float(np.sqrt((error**2).mean())), "eV", len(rows), 0.0),
        ]
    return found


def measure() -> list[Row]:
    """Figures over all compounds that can be compared, and over parts of them."""
    everything = match_compounds()
    small = [match for match in everything if len(match.structure) <= MOST_ATOMS]
    relax_matches(small, float("inf"))
    rows = barriers_of(small)
    compounds = read_compounds()
    print(
        f"{count_rows()} barriers in the list, {sum(c.rows for c in compounds)} of them of {len(compounds)} compounds of Li, Na "
        f"and K; {len(everything)} compounds have a crystal, {len(small)} one of at most {MOST_ATOMS} atoms, {len(rows)} are "
        "compared"
    )
    for row in rows:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    return all_figures(rows)


def all_figures(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Figures over all, by origin of the crystal, by ion, and by class where it has enough compounds."""
    parts = {
        "barriers_bond_valence": rows,
        "barriers_bond_valence: built from prototypes": [row for row in rows if row["built"]],
        "barriers_bond_valence: published crystals": [row for row in rows if not row["built"]],
        "barriers_bond_valence: Li": [row for row in rows if row["ion"] == "Li"],
        "barriers_bond_valence: Na, K": [row for row in rows if row["ion"] != "Li"],
    }
    for family in sorted({row["family"] for row in rows}):
        of_it = [row for row in rows if row["family"] == family]
        if len(of_it) >= FEWEST:
            parts[f"barriers_bond_valence: {family}"] = of_it
    return [row for name, part in parts.items() for row in figures(name, part)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=500.0, help="relax until then")
    wanted = [match for match in match_compounds() if len(match.structure) <= MOST_ATOMS]
    relax_matches(wanted, parser.parse_args().seconds)
