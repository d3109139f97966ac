"""Generators of crystals: `prototypes` and `crystal_vae` beside a plain rule, pyxtal and the known crystals themselves.

    python benchmarks/generators.py --train --models MODELS     # minutes; learns from the split's part alone
    python benchmarks/generators.py --models MODELS --cache rows.jsonl --tasks formula unconditional

Everything is of one split (`generator_data.split`): 6,000 crystals of MP-20's binary and ternary compounds to learn from, with the
crystals of MPTS-52 whose formula is not tested, and the rest to test on. Methods: `invdesign` is the default generator
(`prototypes` with learnt distances of elements), `crystal_vae` the network, `prototypes` the plain rule (frameworks of the 6,000,
nearest first by tabulated properties of elements), `pyxtal` random crystals of a formula, `known` the crystals of the first file to learn from.
Records go to the cache, so that a run can be cut short and continued; rows go to `results/generators.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Records, Row, measured, merge_results, one_thread, print_table, row_of
from generator_data import FILES, MINUTES, Record, read_rows, split

from invdesign.errors import InvdesignError
from invdesign.generators.metrics.distinct import KnownCrystals, find_symmetries, match_at_k
from invdesign.generators.metrics.evaluate import evaluate_structures, list_rows
from invdesign.generators.metrics.intervals import measure_share
from invdesign.generators.prototypes.learning import learn_scale
from invdesign.generators.prototypes.library import Library, Template, collect_library
from invdesign.generators.prototypes.writing import write_library
from invdesign.protocols import Condition, Generator, Samples
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.structures.conditions import find_breach, make_condition
from invdesign.structures.guard_rails import draw_gated, find_symmetry, list_symbols, read_crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

TASKS = ("formula", "unconditional", "conditions", "sampling")
METHODS = ("invdesign", "crystal_vae", "prototypes")
TRIES = (1, 5, 20)
FORMULAS = 500
SAMPLES = {"crystal_vae": 10_000, "known": 2_000, "pyxtal": 1_000}  # without a condition; 2,000 of others
SAMPLED = 1_000  # crystals that are timed
DRAWS = 10_000  # crystals that are asked for under each kind of condition
CONDITION_SIZE = 10  # crystals per request under a condition
WISHED = ("Li3PS4", "Li2ZrO3", "Li3YCl6")
SYSTEMS = (("Li", "P", "S"), ("Li", "Zr", "O"), ("Li", "Y", "Cl"))


# Models of the split.


def train_models(folder: Path, minutes: float, seeds: int) -> None:
    """Train all methods on the part to learn from, the network once for each seed; say how long each took."""
    learn, _ = split()
    first = [record for record in learn if record.source == FILES[0]]
    began = time.process_time()
    rule = make_library(first)
    write_library(folder / "rule", rule, learn_scale(rule, epochs=0), "", {})
    print(f"rule: {time.process_time() - began:.0f} s CPU", flush=True)
    began = time.process_time()
    library = make_library(learn)
    write_library(folder / "prototypes", library, learn_scale(library), "", {})
    print(f"prototypes: {time.process_time() - began:.0f} s CPU", flush=True)
    for seed in range(seeds):
        train_network(folder / f"crystal_vae_{seed}", learn, minutes, seed)


def make_library(records: Sequence[Record]) -> Library:
    """Library of crystals of the split."""
    rows = read_rows(records)
    return collect_library(
        [
            Template(row.elements, row.sited, record.material_id, record.e_above_hull)
            for record, row in zip(records, rows, strict=True)
            if row is not None
        ]
    )


def train_network(folder: Path, learn: Sequence[Record], minutes: float, seed: int) -> None:
    """Train the network on crystals of the split."""
    from generator_network import ABOUT, make_lessons, make_settings

    from invdesign.generators.network.train import train_model

    began = time.process_time()
    about = ABOUT.format(files="the shared crystals", part=f"{len(learn)} crystals to learn from")
    train_model(make_lessons(learn), folder, make_settings(minutes, seed), about, print)
    print(f"crystal_vae_{seed}: {time.process_time() - began:.0f} s CPU", flush=True)


@cache
def load_method(name: str, models: Path, seed: int = 0, **settings: Any) -> Generator:
    """Generator of a method, with its model of the split; the network's of the same seed."""
    kind = "crystal_vae" if name == "crystal_vae" else "prototypes"
    folder = {"invdesign": "prototypes", "crystal_vae": f"crystal_vae_{seed}", "prototypes": "rule"}[name]
    made: Generator = load("generators", {"kind": kind, "model": str(models / folder), **settings})
    made.prepare()
    return made


# Formulas.


def choose_formulas() -> dict[str, list[Record]]:
    """Formulas of the part to test on, drawn by a fixed seed, each with its known polymorphs."""
    _, test = split()
    by_formula: dict[str, list[Record]] = {}
    for record in test:
        by_formula.setdefault(record.formula, []).append(record)
    names = sorted(by_formula)
    order = rng_for(0, 0, "formulas").permutation(len(names))[:FORMULAS]
    return {names[place]: by_formula[names[place]] for place in order.tolist()}


def run_formula(method: str, seed: int, models: Path) -> dict[str, Any]:
    """Try of each formula that first matches a known polymorph (0: none), and the time of proposals."""
    chosen = choose_formulas()
    proposals, seconds = [], 0.0
    for formula in chosen:
        began = time.process_time()
        proposals.append(propose(method, formula, max(TRIES), seed, models))
        seconds += time.process_time() - began
    targets = [[record.structure for record in records] for records in chosen.values()]
    rates = match_at_k(proposals, targets, TRIES)
    return {
        "formulas": list(chosen),
        "first": rates.first.tolist(),
        "delivered": [len(found) for found in proposals],
        "ms": 1000.0 * seconds / len(chosen),
    }


def propose(method: str, formula: str, n: int, seed: int, models: Path) -> Sequence[Structure]:
    """Proposals of a method for a formula, best first."""
    if method == "pyxtal":
        return propose_pyxtal(formula, n, seed)
    generator = load_method(method, models, seed)
    condition = make_condition(formula=formula)
    found: Samples = draw_gated(generator, rng_for(seed, 0, formula), n, condition)
    return found.structures


def propose_pyxtal(formula: str, n: int, seed: int) -> list[Structure]:
    """Random crystals of a formula by pyxtal, in random space groups, one to four formula units."""
    from pymatgen.core import Composition
    from pyxtal import pyxtal

    amounts = Composition(formula).get_el_amt_dict()
    rng = rng_for(seed, 0, f"pyxtal {formula}")
    found: list[Structure] = []
    for _ in range(10 * n):
        units = int(rng.integers(1, 5))
        crystal = pyxtal()
        counts = [int(units * amount) for amount in amounts.values()]
        try:
            crystal.from_random(
                3, int(rng.integers(2, 231)), list(amounts), counts, random_state=int(rng.integers(2**31))
            )
        except Exception:  # noqa: BLE001 - any group that does not fit
            continue
        if crystal.valid:
            found.append(crystal.to_pymatgen())
        if len(found) == n:
            break
    return found


def tabulate_formula(records: Records) -> list[Row]:
    """Rows of the formulas: shares matched, what the network finds beyond the rule, and times."""
    rows = []
    for method in records.methods("formula"):
        runs = records.of("formula", method)
        for k in TRIES:
            hits = [np.mean([0 < first <= k for first in run["first"]]) * 100.0 for run in runs]
            rows.append(share_row("formula", method, f"match_at_{k}", hits, len(runs[0]["first"])))
        rows.append(
            share_row(
                "formula",
                method,
                "delivered_percent",
                [100.0 * np.mean(np.array(run["delivered"]) > 0) for run in runs],
                len(runs[0]["first"]),
            )
        )
        times = [run["ms"] for run in runs]
        rows.append(row_of("generators", "formula", method, "ms_per_formula", times, "ms"))
    rule, network = records.of("formula", "prototypes"), records.of("formula", "crystal_vae")
    if rule and network:
        missed = [place for place, first in enumerate(rule[0]["first"]) if not first]
        found = [100.0 * np.mean([run["first"][place] > 0 for place in missed]) for run in network]
        rows.append(share_row("formula", "crystal_vae", "found_of_missed_percent", found, len(missed)))
    return rows


def share_row(task: str, method: str, metric: str, values: Sequence[float], n: int) -> Row:
    """Row of a share in percent: the mean over seeds, with Wilson's interval of one seed's number of cases."""
    value = float(np.mean(values))
    figure = measure_share(round(value / 100.0 * n), n)
    return Row(
        "generators",
        task,
        method,
        metric,
        round(value, 2),
        "%",
        n,
        float(np.ptp(values)),
        figure.low,
        figure.high,
    )


# Samples without a condition.


@cache
def known_crystals() -> tuple[KnownCrystals, KnownCrystals]:
    """Crystals to learn from (of the first file and the second), and to test on."""
    learn, test = split()
    return KnownCrystals([record.structure for record in learn]), KnownCrystals(
        [record.structure for record in test]
    )


def run_unconditional(method: str, seed: int, models: Path) -> dict[str, Any]:
    """Metrics of raw samples without a condition."""
    known, kept = known_crystals()
    if method == "known":
        first = [
            record.structure for record in split()[0] if record.source == FILES[0]
        ]  # as the part to test on
        places = rng_for(seed, 0, "known").choice(len(first), SAMPLES["known"], replace=False)
        structures = [first[place] for place in places]
    elif method == "pyxtal":
        structures = draw_pyxtal(seed)
    else:
        raw = {"checked": False} if method == "crystal_vae" else {}
        generator = load_method(method, models, seed, **raw)
        condition = Condition(neutral=method != "crystal_vae")
        structures = list(
            generator.sample(rng_for(seed, 0, "unconditional"), SAMPLES.get(method, 2_000), condition)
        )
    found = list_rows(evaluate_structures(structures, known, kept, coverage_samples=1_000))
    rows = {row.metric: [row.value, row.low, row.high, row.n, row.unit] for row in found}
    return {**rows, "new_frameworks_mp20_percent": count_new_frameworks(structures)}


@cache
def list_first_frameworks() -> frozenset[str]:
    """Labels of the frameworks of the first file to learn from."""
    (learn, _), (known, _) = split(), known_crystals()
    return frozenset(
        found.label
        for record, found in zip(learn, known.symmetries, strict=True)
        if record.source == FILES[0] and found.label
    )


def count_new_frameworks(structures: Sequence[Structure]) -> list[Any]:
    """Share of crystals whose framework is in none of the first file alone, as a row of metrics."""
    known = list_first_frameworks()
    labels = [found.label for found in find_symmetries(structures) if found.label]
    share = measure_share(sum(label not in known for label in labels), len(labels))
    return [share.value, share.low, share.high, share.n, "%"]


def draw_pyxtal(seed: int) -> list[Structure]:
    """Random crystals of formulas to learn from, by pyxtal, one of each."""
    learn, _ = split()
    rng = rng_for(seed, 0, "pyxtal formulas")
    first = [record.formula for record in learn if record.source == FILES[0]]
    names = [first[place] for place in rng.permutation(len(first)).tolist()]
    found = (propose_pyxtal(name, 1, seed) for name in names)
    return [structures[0] for structures in islice(filter(None, found), SAMPLES["pyxtal"])]


def tabulate_metrics(task: str, records: Records) -> list[Row]:
    """Rows of metrics: means over seeds, with the interval of the first seed."""
    rows = []
    for method in records.methods(task):
        runs = records.of(task, method)
        for metric, (_, low, high, n, unit) in ((k, v) for k, v in runs[0].items() if isinstance(v, list)):
            values = [run[metric][0] for run in runs]
            rows.append(
                Row(
                    "generators",
                    task,
                    method,
                    metric,
                    round(float(np.mean(values)), 4),
                    unit,
                    n,
                    float(np.ptp(values)),
                    low,
                    high,
                )
            )
    return rows


# Conditions.


def list_conditions(seed: int, draws: int) -> dict[str, list[Condition]]:
    """Conditions by kind: chemical systems, formulas, space groups and numbers of atoms of crystals to test on."""
    _, test = split()
    rows = read_rows(test)
    rng = rng_for(seed, 0, "conditions")
    found: dict[str, list[Condition]] = {"system": [], "formula": [], "space_group": [], "atoms": []}
    count = draws // CONDITION_SIZE
    for place in rng.choice(len(test), count).tolist():
        row = rows[place]
        size = sum(row.sited.combination.count_atoms(len(row.elements)))
        found["system"].append(make_condition(elements=row.elements, required=row.elements))
        found["formula"].append(make_condition(formula=test[place].formula, atoms=(1, max(20, size))))
        found["space_group"].append(make_condition(space_groups=[row.sited.combination.group]))
        found["atoms"].append(make_condition(atoms=(size, size)))
    return found


def run_conditions(method: str, seed: int, models: Path, draws: int = DRAWS) -> dict[str, Any]:
    """Violations and deliveries by kind of condition; names the formulas that were asked for by hand."""
    generator = load_method(method, models, seed)
    result: dict[str, Any] = {}
    for kind, conditions in list_conditions(seed, draws).items():
        violations = delivered = crystals = 0
        for number, condition in enumerate(conditions):
            found = generator.sample(rng_for(seed, number, kind), CONDITION_SIZE, condition)
            delivered += bool(len(found))
            crystals += len(found)
            violations += sum(breaks(structure, condition) for structure in found)
        result[kind] = [violations, crystals, delivered, len(conditions)]
    for formula in WISHED:
        result[formula] = len(
            generator.sample(rng_for(seed, 0, formula), CONDITION_SIZE, make_condition(formula=formula))
        )
    for system in SYSTEMS:
        condition = make_condition(elements=system, required=system)
        found = generator.sample(rng_for(seed, 0, "-".join(system)), 100, condition)
        result["-".join(system)] = [len(found), sum(len(s.composition) == len(system) for s in found)]
    return result


def breaks(structure: Structure, condition: Condition) -> bool:
    """True if a crystal breaks a condition; its symmetry is found anew."""
    elements = list_symbols(structure)
    crystal = read_crystal(structure, elements)
    symmetry = None if crystal is None else find_symmetry(crystal)
    if crystal is None or symmetry is None:
        return False  # no crystal at all: a matter of validity, not of the condition
    group, cells = symmetry
    counts = dict(zip(elements, (crystal.count_species(len(elements)) // cells).tolist(), strict=True))
    return bool(find_breach(counts, group, condition))


def tabulate_conditions(records: Records) -> list[Row]:
    """Rows of conditions: violations and deliveries by kind."""
    rows = []
    for method in records.methods("conditions"):
        runs = records.of("conditions", method)
        kinds = [kind for kind, value in runs[0].items() if isinstance(value, list) and len(value) == 4]
        total = [sum(run[kind][0] for kind in kinds) for run in runs]
        drawn = sum(runs[0][kind][1] for kind in kinds)
        rows.append(
            Row(
                "generators",
                "conditions",
                method,
                "violations",
                float(np.max(total)),
                "",
                drawn,
                float(np.ptp(total)),
            )
        )
        for kind in kinds:
            shares = [100.0 * run[kind][2] / run[kind][3] for run in runs]
            metric = "delivered_percent" if kind == "formula" else f"delivered_percent_{kind}"
            rows.append(share_row("conditions", method, metric, shares, runs[0][kind][3]))
            broken = [float(run[kind][0]) for run in runs]
            rows.append(
                Row(
                    "generators",
                    "conditions",
                    method,
                    f"violations_{kind}",
                    float(np.max(broken)),
                    "",
                    runs[0][kind][1],
                    float(np.ptp(broken)),
                )
            )
    return rows


# Time.


def run_sampling(method: str, seed: int, models: Path) -> dict[str, Any]:
    """CPU milliseconds per gated crystal."""
    generator = load_method(method, models, seed)
    draw_gated(generator, rng_for(seed, 1, "warm"), 16, Condition())
    began = time.process_time()
    found = draw_gated(generator, rng_for(seed, 0, "sampling"), SAMPLED, Condition())
    seconds = time.process_time() - began
    if not found:
        raise InvdesignError(f"{method} made nothing: {found.reason}")
    return {"ms": 1000.0 * seconds / len(found), "tried": found.tried, "refused": dict(found.refused)}


def tabulate_sampling(records: Records) -> list[Row]:
    """Rows of times per gated crystal."""
    return [
        row_of(
            "generators",
            "sampling",
            method,
            "ms_per_crystal",
            [run["ms"] for run in records.of("sampling", method)],
            "ms",
        )
        for method in records.methods("sampling")
    ]


RUN: Mapping[str, Callable[[str, int, Path], dict[str, Any]]] = {
    "formula": run_formula,
    "unconditional": run_unconditional,
    "conditions": run_conditions,
    "sampling": run_sampling,
}
EXTRA = {"formula": ("pyxtal",), "unconditional": ("known", "pyxtal")}


def tabulate(records: Records) -> list[Row]:
    """All rows of the records."""
    return [
        *tabulate_formula(records),
        *tabulate_metrics("unconditional", records),
        *tabulate_conditions(records),
        *tabulate_sampling(records),
    ]


def main() -> None:
    """Train or run what the options name, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="folder of the split's models")
    parser.add_argument("--train", action="store_true", help="train the models")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="CPU minutes of the network's training"
    )
    parser.add_argument("--cache", type=Path, help="file of records")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each kind of condition")
    parser.add_argument("--only-table", action="store_true")
    given = parser.parse_args()
    one_thread()
    if given.train:
        train_models(given.models, given.minutes, given.seeds)
        return
    records = Records(given.cache)
    run = {**RUN, "conditions": partial(run_conditions, draws=given.draws)}
    for task in [] if given.only_table else given.tasks:
        allowed = (*METHODS, *EXTRA.get(task, ()))
        for method in (name for name in given.methods if name in allowed):
            for seed in range(given.seeds):
                measured(
                    records, (task, method, seed), lambda t=task, m=method, s=seed: run[t](m, s, given.models)
                )
    rows = tabulate(records)
    merge_results("generators", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
