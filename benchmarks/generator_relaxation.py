"""Generated crystals relaxed with CHGNet: energy given up, and formulas whose known phase is reached.

    python benchmarks/generator_relaxation.py --models MODELS --cache rows.jsonl --tasks relaxation formula_relaxed

`MODELS` is the folder that `generators.py --train` wrote. Relaxations are those of ASE's FIRE with CHGNet's calculator and a moving
cell, to a largest force of 0.05 eV/Å in at most 120 steps. Every crystal is one record, so a run can be cut short and continued.
`relaxation`: gated, neutral samples of up to 12 atoms without a formula. `formula_relaxed`: formulas of the part to test on, known
phases of up to 12 atoms; the first proposals of each method are relaxed, and the lowest is compared with the known phase, relaxed
in the same way.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Record, Records, Row, measured, merge_results, one_thread, print_table, row_of
from generators import choose_formulas, load_method, propose, share_row

from invdesign.protocols import Condition
from invdesign.rng import rng_for
from invdesign.structures.guard_rails import draw_gated

if TYPE_CHECKING:
    from pymatgen.core import Structure

TASKS = ("relaxation", "formula_relaxed")
METHODS = ("invdesign", "crystal_vae", "prototypes")
SAMPLES = 100
FORMULAS = 100
TRIES = 5  # proposals that are relaxed for each formula
MOST_ATOMS = 12
FMAX, STEPS = 0.05, 120  # eV/Å; as the figures this is compared with
SOLVED = 0.010  # eV/atom above the known phase, at which it counts as reached


@cache
def load_potential() -> Any:
    """CHGNet 0.3.0."""
    from chgnet.model import CHGNet

    return CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)


def relax(structure: Structure) -> dict[str, Any]:
    """Relax a crystal; energies before and after in eV/atom, steps, convergence, and whether it stayed the same crystal."""
    from chgnet.model import StructOptimizer
    from pymatgen.analysis.structure_matcher import StructureMatcher

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        relaxer = StructOptimizer(model=load_potential(), optimizer_class="FIRE", use_device="cpu")
        try:
            found = relaxer.relax(structure, fmax=FMAX, steps=STEPS, relax_cell=True, verbose=False)
        except Exception as error:  # noqa: BLE001 - what a potential makes of a strange crystal
            return {"error": f"{type(error).__name__}: {error}"[:200]}
    path, final = found["trajectory"], found["final_structure"]
    force = float(np.linalg.norm(path.forces[-1], axis=1).max())
    return {
        "before": float(path.energies[0]) / len(structure),
        "after": float(path.energies[-1]) / len(structure),
        "steps": len(path.energies) - 1,
        "converged": force <= FMAX,
        "same": bool(StructureMatcher().fit(structure, final)),
    }


@cache
def draw_samples(method: str, models: Path) -> Sequence[Structure]:
    """Gated, neutral samples of up to 12 atoms."""
    condition = Condition(atoms=(1, MOST_ATOMS), neutral=True)
    if method == "crystal_vae":
        condition = Condition(atoms=(1, MOST_ATOMS))
    generator = load_method(method, models)
    return draw_gated(generator, rng_for(0, 0, "relaxation"), SAMPLES, condition).structures


def run_relaxation(method: str, number: int, models: Path) -> dict[str, Any]:
    """Relax one sample."""
    structures = draw_samples(method, models)
    if number >= len(structures):
        return {"error": "fewer samples than asked for"}
    return {"formula": structures[number].composition.reduced_formula, **relax(structures[number])}


@cache
def small_formulas() -> dict[str, Sequence[Structure]]:
    """Formulas of the part to test on with known phases of up to 12 atoms: the lowest of each."""
    found = {}
    for formula, records in choose_formulas().items():
        small = [record for record in records if len(record.atoms[2]) <= MOST_ATOMS]
        if small:
            found[formula] = [min(small, key=lambda record: record.e_above_hull).structure]
        if len(found) == FORMULAS:
            break
    return found


def run_formula(method: str, number: int, models: Path) -> dict[str, Any]:
    """Relax the first proposals for a formula, or its known phase."""
    formula = list(small_formulas())[number]
    if method == "known":
        return {"formula": formula, **relax(small_formulas()[formula][0])}
    proposals = propose(method, formula, TRIES, 0, models)
    energies = [found.get("after") for found in map(relax, proposals)]
    known = [energy for energy in energies if energy is not None]
    return {"formula": formula, "energies": energies, "lowest": min(known) if known else None}


def tabulate_relaxation(records: Records) -> list[Row]:
    """Rows of the relaxations of each method."""
    rows = []
    for method in records.methods("relaxation"):
        found = [record for record in records.of("relaxation", method) if "after" in record]
        failed = len(records.of("relaxation", method)) - len(found)
        drops = [1000.0 * (record["before"] - record["after"]) for record in found]
        rows.append(row_of("generators", "relaxation", method, "median_drop_mev", drops, "meV/atom"))
        for name, metric in (("converged", "converged_percent"), ("same", "same_structure_percent")):
            share = 100.0 * sum(bool(record[name]) for record in found) / (len(found) + failed)
            rows.append(share_row("relaxation", method, metric, [share], len(found) + failed))
    return rows


def tabulate_formulas(records: Records) -> list[Row]:
    """Rows of formulas whose known phase was reached."""
    known = {
        record["formula"]: record for record in records.of("formula_relaxed", "known") if "after" in record
    }
    rows = []
    for method in (name for name in records.methods("formula_relaxed") if name != "known"):
        found: list[Record] = [
            record for record in records.of("formula_relaxed", method) if record["formula"] in known
        ]
        if not found:
            continue
        solved = [
            record["lowest"] is not None and record["lowest"] <= known[record["formula"]]["after"] + SOLVED
            for record in found
        ]
        share = 100.0 * float(np.mean(solved))
        rows.append(share_row("formula_relaxed", method, "solved_percent", [share], len(found)))
    return rows


def main() -> None:
    """Relax what is missing, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--most", type=int, default=SAMPLES, help="crystals or formulas")
    parser.add_argument("--only-table", action="store_true")
    given = parser.parse_args()
    one_thread()
    records = Records(given.cache)
    runs = {"relaxation": run_relaxation, "formula_relaxed": run_formula}
    for number in (
        [] if given.only_table else range(given.most)
    ):  # number by number: methods stay side by side when cut short
        for task in given.tasks:
            for method in [*(["known"] if task == "formula_relaxed" else []), *given.methods]:
                measured(
                    records,
                    (task, method, number),
                    lambda t=task, m=method, k=number: runs[t](m, k, given.models),
                )
    rows = [*tabulate_relaxation(records), *tabulate_formulas(records)]
    merge_results("generators", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
