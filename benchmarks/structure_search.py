"""How many relaxations does a search for the ground state of a crystal take? Tasks with known answers, beside peers.

The tasks, their potentials and the relaxer come from a shared folder (`--folder`, else the environment's
`STRUCTURE_SEARCH`, else `../shared/bench/structure_search`), and need numba there. Ours run through `invdesign.optimize`
with that relaxer as the evaluator. Peers run in an environment of their own by `structure_peers.py`, through the same
relaxer; `--peers FILE` names the lines it wrote.

`OMP_NUM_THREADS=1 python benchmarks/structure_search.py` runs all and prints the figures so far. It can be run in pieces:
`--tasks`, `--methods`, `--seeds`, `--seed-from`; `--cache` collects what single seeds brought, one JSON line each, and nothing
is run twice. `--only-table` runs nothing and writes `results/structure_search.json` from all that the cache holds.

A crystal is found if its energy is within 2 meV/atom of the lowest one known; of a chemical system, if each of its phases is.
Where two runs of anybody found a lower one, that is the reference for everybody. ERT is the number of relaxations of all seeds,
over the number of seeds that found it (Hansen et al., COCO); its interval is a 95 % bootstrap over seeds. `overhead` is the
CPU time of the search beside its relaxations. `invdesign` is `genetic` in the space `crystal` with no settings; `asked genomes` is
the same where children inherit nothing of the relaxation; `sites, ...` searches the space `crystal_sites`.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Record,
    Records,
    Row,
    measured,
    merge_results,
    one_thread,
    piecewise,
    print_table,
    spread_of,
)
from structure_figures import BENCHMARK, lowest_energies, rows_of
from structure_relaxer import (
    ENERGY,
    CountedRelax,
    Ledger,
    Perturber,
    SharedRelaxer,
    compile_relaxer,
    import_shared,
    open_ledger,
)

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "STRUCTURE_SEARCH"
SHARED = ROOT.parent / "shared" / "bench" / "structure_search"
CACHE = ROOT / "runs" / BENCHMARK / "rows.jsonl"
LOWER = (
    1e-4  # eV/atom below a reference from which on an energy replaces it: far above the relaxer's convergence
)
CANDIDATES_PER_RELAXATION = (
    5  # candidates of a run's own budget: some are refused before they are relaxed (chosen)
)
MANY, SOME, FEW = 200, 40, 5  # seeds


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        optimizer: its settings.
        space: kind of the search space.
        role: of the relaxed structure; any other than `relaxed` is inherited by no child.
    """

    optimizer: Mapping[str, Any]
    space: str = "crystal"
    role: str = "relaxed"


OURS = "invdesign"
ASKED = "invdesign, asked genomes"
SITES = tuple(f"invdesign, sites, {kind}" for kind in ("swarm", "bayesian", "genetic"))
METHODS: Mapping[str, Method] = {
    OURS: Method({"kind": "genetic"}),
    ASKED: Method({"kind": "genetic"}, role="ended"),
    **{name: Method({"kind": name.rpartition(" ")[2]}, "crystal_sites") for name in SITES},
}


@dataclass(frozen=True)
class Task:
    """Something to find.

    Attributes:
        space: settings without the kind.
        shared: name of the task in the shared folder that gives potential and reference.
        potential: of the shared folder, or `chgnet`; that of the shared task where it is empty.
        references: lowest energy known by reduced formula, eV/atom; those of the shared task where empty.
        budget: relaxations of one run.
        seeds: runs per method.
        methods: those that are run by default.
    """

    space: Mapping[str, Any]
    shared: str = ""
    potential: str = ""
    references: Mapping[str, float] | None = None
    budget: int = 300
    seeds: int = MANY
    methods: tuple[str, ...] = (OURS,)

    @property
    def hull(self) -> bool:
        """True if several phases are sought."""
        return "elements" in self.space


def _formula(formula: str, units: int | tuple[int, int]) -> dict[str, Any]:
    return {"formula": formula, "formula_units": units if isinstance(units, int) else list(units)}


def _oxides(metal: str) -> dict[str, Any]:
    """Settings of the balanced oxides of a metal and titanium, of at most 4, 4 and 8 atoms."""
    counts = {metal: [0, 4], "Ti": [0, 4], "O": [1, 8]}
    return {"elements": counts, "atoms": [2, 16], "oxidation_states": {metal: 2, "Ti": 4, "O": -2}}


# Lowest energies known of the systems, potential `pedone`, eV/atom.
STRONTIUM = {"SrO": -6.65983, "SrTiO3": -12.18683, "TiO2": -15.59926}
MAGNESIUM = {"MgO": -8.23160, "MgTiO3": -12.66053, "TiO2": -15.59926}
# Of the known crystals relaxed with CHGNet 0.3.0 (corundum, R-3c; Li2SiO3, Cmc2_1), eV/atom: no run found a lower one so far.
CHGNET: Mapping[str, Mapping[str, float]] = {
    "Al2O3": {"Al2O3": -7.86216},
    "Li2SiO3": {"Li2SiO3": -6.88758},
}

TASKS: Mapping[str, Task] = {
    "Al2O3_10": Task(_formula("Al2O3", 2), "Al2O3_10", methods=(OURS, *SITES)),
    "Li2SiO3_12": Task(_formula("Li2SiO3", 2), "Li2SiO3_12"),
    "SrTiO3_20": Task(_formula("SrTiO3", 4), "SrTiO3_20", methods=(OURS, *SITES)),
    "TiO2_24": Task(_formula("TiO2", 8), "TiO2_24", methods=(OURS, *SITES)),
    "MgAl2O4_14": Task(_formula("MgAl2O4", 2), "MgAl2O4_14", budget=1200, seeds=SOME, methods=(OURS, ASKED)),
    "Al2O3_Z1-4": Task(_formula("Al2O3", (1, 4)), "Al2O3_10", budget=600),
    "Li2SiO3_Z1-3": Task(_formula("Li2SiO3", (1, 3)), "Li2SiO3_12", budget=600, seeds=SOME),
    "SrO-TiO2": Task(_oxides("Sr"), "", "pedone", STRONTIUM, budget=400),
    "MgO-TiO2": Task(_oxides("Mg"), "", "pedone", MAGNESIUM, budget=800, seeds=SOME),
    "Al2O3_10_chgnet": Task(_formula("Al2O3", 2), "", "chgnet", CHGNET["Al2O3"], budget=200, seeds=FEW),
    "Li2SiO3_12_chgnet": Task(_formula("Li2SiO3", 2), "", "chgnet", CHGNET["Li2SiO3"], budget=200, seeds=FEW),
}
OVERHEAD = {f"overhead_{size}": size for size in (100, 1_000, 10_000)}  # candidates, of MgAl2O4_14
STARTS = {f"starts_{name}": name for name in ("Al2O3_10", "Li2SiO3_12", "SrTiO3_20", "TiO2_24", "MgAl2O4_14")}
DRAWS = 200  # symmetric starts per task
WARM_UP = 20  # candidates of a run before one is timed: imports are not charged
REPETITIONS = 3  # of timings
SYMMETRIC = "symmetric"  # name of the space's operator


def seeds_of(name: str, method: str) -> int:
    """Number of seeds of a method on a task: methods that are only reported have fewer."""
    if name not in TASKS:
        return REPETITIONS
    wanted = TASKS[name].seeds
    return wanted if method == OURS else min(wanted, SOME)


# One run.


def shared_problem(name: str, folder: str) -> tuple[str, dict[str, float]]:
    """Potential and reference of a task of the shared folder.

    Returns:
        Name of the potential, and eV/atom by reduced formula.
    """
    from pymatgen.core import Composition

    symbols, potential, energy, *_ = import_shared("tasks", folder).CRYSTALS[name]
    return potential, {Composition("".join(symbols)).reduced_formula: float(energy)}


def problem_of(task: Task, folder: str) -> tuple[str, dict[str, float]]:
    """Potential and references of a task."""
    if task.shared:
        return shared_problem(task.shared, folder)
    return task.potential, dict(task.references or {})


def search(name: str, method: str, seed: int, folder: str) -> dict[str, Any]:
    """Run one seed until everything is found or the budget is spent.

    Args:
        name: of the task.
        method: name, or JSON of an optimizer's settings.
        seed: of the run.
        folder: of the shared tasks.
    """
    task, how = TASKS[name], method_of(method)
    potential, references = problem_of(task, folder)
    evaluator = (
        CountedRelax()
        if potential == "chgnet"
        else SharedRelaxer(folder=folder, potential=potential, role=how.role)  # type: ignore[arg-type]  # named by the shared tasks
    )
    ledger = Ledger(references, task.budget)
    space = {"kind": how.space, **task.space}
    times = execute(space, evaluator, how.optimizer, ledger, seed, hull=task.hull)
    return {
        "solved": ledger.solved,
        "relax": ledger.relaxations,
        "calls": ledger.calls,
        "relax_cpu_s": round(ledger.seconds, 3),
        "beside_cpu_s": round(times.cpu, 3),
        "budget": task.budget,
        "found": ledger.found,
        "reference": references,
        "minima": ledger.minima,
    }


@dataclass(frozen=True)
class Times:
    """Seconds of a run beside its evaluations, by the clock and of CPU."""

    wall: float
    cpu: float


def warm_up(name: str, method: str, folder: str) -> None:
    """Compile the relaxer and import what a run needs, so that no seed is charged with it."""
    potential, _ = problem_of(TASKS[name], folder)
    if potential != "chgnet":
        compile_relaxer(folder, potential)
    how = method_of(method)
    space = {"kind": how.space, **_formula("MgO", 2)}
    execute(space, Perturber(), how.optimizer, Ledger({}, WARM_UP), 0, hull=False)


def method_of(method: str) -> Method:
    """The method of a name, or of JSON of an optimizer's settings."""
    return METHODS[method] if method in METHODS else Method(json.loads(method))


def execute(
    space: Mapping[str, Any],
    evaluator: Any,
    optimizer: Mapping[str, Any],
    ledger: Ledger,
    seed: int,
    *,
    hull: bool,
) -> Times:
    """Run a search in a folder that is removed afterwards.

    Args:
        space: settings.
        evaluator: counts in the ledger.
        optimizer: settings.
        ledger: stops the run.
        seed: of the run.
        hull: True to minimise the distance to the hull instead of the energy.

    Returns:
        What the loop took beside the evaluator; making the run is left out.
    """
    import invdesign

    derived: dict[str, Any] = {"derive": ["hull"]} if hull else {}
    with tempfile.TemporaryDirectory() as place:
        run = invdesign.optimize(
            space,
            evaluator,
            minimize="distance_to_hull" if hull else ENERGY,
            optimizer=dict(optimizer),
            budget=CANDIDATES_PER_RELAXATION * ledger.budget,
            seed=seed,
            run_dir=Path(place) / "run",
            workers=0,
            max_failure_rate=1.0,
            execute=False,
            **derived,
        )
        ledger.stop = run.stop
        open_ledger(ledger)
        wall, cpu = time.perf_counter(), time.process_time()
        status = run.execute(lambda _status: None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        run.close()
    if status.state == "stopped" and not ledger.ended:
        raise SystemExit("interrupted: this seed is not noted, and will be run again")
    return Times(wall - ledger.seconds, cpu - ledger.seconds)


def time_candidates(size: int, seed: int) -> dict[str, Any]:
    """Time everything but the evaluator over a run of `size` candidates, ms per candidate."""
    space = {"kind": "crystal", **TASKS["MgAl2O4_14"].space}
    optimizer = METHODS[OURS].optimizer
    execute(space, Perturber(), optimizer, Ledger({}, WARM_UP), seed, hull=False)
    ledger = Ledger({}, size)
    times = execute(space, Perturber(), optimizer, ledger, seed, hull=False)
    return {
        "relax": ledger.relaxations,
        "wall_ms": 1000 * times.wall / size,
        "cpu_ms": 1000 * times.cpu / size,
    }


def time_starts(name: str, seed: int) -> dict[str, Any]:
    """Time symmetric starts of a task's space one by one, ms of CPU; `made` is the share that gave a crystal."""
    from invdesign.settings import load

    space = load("spaces", {"kind": "crystal", **TASKS[name].space})
    operators = space.operators()
    if SYMMETRIC not in operators:
        raise SystemExit(f"the space has no operator '{SYMMETRIC}', only {', '.join(operators)}")
    rng = np.random.default_rng(seed)
    made, times = [], []
    for _ in range(DRAWS + WARM_UP):
        started = time.process_time()
        made.append(operators[SYMMETRIC].apply([], rng) is not None)
        times.append(1000 * (time.process_time() - started))
    kept = times[WARM_UP:]
    return {
        "median_ms": float(np.median(kept)),
        "mean_ms": float(np.mean(kept)),
        "made": float(np.mean(made[WARM_UP:])),
    }


# Figures.


def timing_rows(name: str, records: Sequence[Record]) -> list[Row]:
    """Figures of the timings of one size or one task's starts."""
    metrics = (
        {"overhead_ms_per_candidate": "cpu_ms", "wall_ms_per_candidate": "wall_ms"}
        if name in OVERHEAD
        else {"symmetric_start_ms": "median_ms"}
    )
    rows = []
    for metric, key in metrics.items():
        value, spread = spread_of([record[key] for record in records])
        rows.append(Row(BENCHMARK, name, OURS, metric, value, "ms", len(records), spread))
    return rows


def figures(records: Records, peers: Records, folder: str) -> list[Row]:
    """All rows of what the records hold; says where a run found a lower energy than the reference."""
    rows: list[Row] = []
    for name, task in TASKS.items():
        sources = [(records, method) for method in records.methods(name)]
        sources += [(peers, method) for method in peers.methods(name)]
        lines = {method: source.of(name, method) for source, method in sources}
        if not lines:
            continue
        known = problem_of(task, folder)[1]
        references = lowest_energies([record for of in lines.values() for record in of], known)
        for formula, energy in references.items():
            if energy < known.get(formula, math.inf):
                print(f"{name}: {formula} reaches {energy:.5f} eV/atom, reference {known.get(formula)}")
        for method, of in lines.items():
            rows += rows_of(name, method, of, references)
    for name in (*OVERHEAD, *STARTS):
        if records.methods(name):
            rows += timing_rows(name, records.of(name, OURS))
    return rows


def jobs_of(
    name: str, methods: Sequence[str] | None, folder: str
) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Functions of a seed by method."""
    if name in OVERHEAD:
        return {OURS: partial(time_candidates, OVERHEAD[name])}
    if name in STARTS:
        return {OURS: partial(time_starts, STARTS[name])}
    return {method: partial(_search_seed, name, method, folder) for method in methods or TASKS[name].methods}


def _search_seed(name: str, method: str, folder: str, seed: int) -> dict[str, Any]:
    return search(name, method, seed, folder)


def main() -> None:
    every = [*TASKS, *OVERHEAD, *STARTS]
    parser = piecewise(__doc__, every, MANY)
    parser.set_defaults(cache=CACHE)
    parser.add_argument(
        "--folder", type=Path, default=Path(os.environ.get(VARIABLE, SHARED)), help="shared tasks"
    )
    parser.add_argument("--peers", type=Path, help="file with a JSON line per seed of a peer")
    arguments = parser.parse_args()
    folder = str(arguments.folder.resolve())
    records, peers = Records(arguments.cache, arguments.fresh), Records(arguments.peers)
    one_thread()
    for name in [] if arguments.only_table else arguments.tasks:
        for method, job in jobs_of(name, arguments.methods, folder).items():
            wanted = arguments.seeds or seeds_of(name, method)
            left = list(range(arguments.seed_from, arguments.seed_from + wanted))
            left = [seed for seed in left if (name, method, seed) not in records]
            if left and name in TASKS:
                warm_up(name, method, folder)
            for seed in left:
                measured(records, (name, method, seed), partial(job, seed))
    rows = figures(records, peers, folder)
    print_table(rows)
    kept = [row for row in rows if not row.method.startswith("{")]
    if kept and arguments.only_table:
        merge_results(BENCHMARK, kept)


if __name__ == "__main__":
    main()
