"""What does it cost to come close to the optimum where a cheap stage says something of what a costly one would say?

`OMP_NUM_THREADS=1 python benchmarks/multi_fidelity.py` runs our Bayesian optimization with both stages and with the
costly one alone, same settings, beside random search and Optuna (whose pruner stops a trial after its cheap stage), and
writes `results/multi_fidelity.json`: per method the cost until a value of the costly stage lies within 5 % of the
optimum, as a share of the distance from the median of random candidates to the optimum; and `cost_ratio`, both stages
over one. Cost is counted in evaluations of the costly stage; a whole candidate pays for both stages.

Tasks:
    augmented_hartmann: BoTorch's AugmentedHartmann in six variables, fidelity 0.5 at a tenth of the cost of fidelity 1
        (the ratio that Sabanza-Gil et al., arXiv:2410.00544, examine as the favourable one).
    antiperovskite_funnel: decomposition energy of the 700 decorations of `antiperovskites.yaml`, of the cell as it is
        built and of the relaxed one, at the costs that were measured. `results/antiperovskite_unrelaxed.json` holds the
        former; `python benchmarks/multi_fidelity.py build` makes it with CHGNet, in about ten CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    RESULTS,
    Records,
    Row,
    Seed,
    measured,
    merge_results,
    one_thread,
    piecewise,
    print_table,
    row_of,
)
from truth_table import TABLE
from truth_table import antiperovskites as campaign_data

from invdesign import settings
from invdesign.campaign.load import campaign_from
from invdesign.candidate import Genome, genome_key
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, StageView
from invdesign.run.run import Run
from invdesign.testing import MemoryHistory

UNRELAXED = RESULTS / "antiperovskite_unrelaxed.json"
TASKS = ("augmented_hartmann", "antiperovskite_funnel")
CLOSE = 0.05  # of the distance from the median of random candidates to the optimum
MOST = 120.0  # evaluations of the costly stage, after which a seed has missed
SEEDS = 20
RELAXED = 24  # relaxations that are timed
ROUGH, WHOLE = "rough", "whole"
OURS = ("invdesign_multi_fidelity", "invdesign_single_fidelity")
SETTINGS = {"kind": "bayesian", "batch": 1}


@dataclass(frozen=True)
class Task:
    """A minimisation with a cheap stage and a costly one.

    Attributes:
        says: value of a genome at a stage.
        costs: of each stage.
        goal: value of the costly stage that is close enough.
    """

    space: Any
    says: Callable[[Genome, str], float]
    costs: Mapping[str, float]
    goal: float


PROPERTY = "value"
PROBLEM = Problem((Objective(PROPERTY, "minimize"),))


def stages_of(names: tuple[str, ...]) -> tuple[StageView, ...]:
    """Stages that all say the property."""
    return tuple(StageView(name, frozenset({PROPERTY})) for name in names)


def close_to(optimum: float, typical: float) -> float:
    """The value that is close enough to the optimum."""
    return optimum + CLOSE * (typical - optimum)


# Augmented Hartmann.


@cache
def hartmann() -> Task:
    """BoTorch's function on the unit cube; the goal from 65,536 Sobol points and its known optimum."""
    import torch
    from botorch.test_functions.multi_fidelity import AugmentedHartmann

    function = AugmentedHartmann()
    names = [f"x{number}" for number in range(1, 7)]
    fidelity = {ROUGH: 0.5, WHOLE: 1.0}

    def values(x: np.ndarray, stage: str) -> np.ndarray:
        points = np.column_stack([x, np.full(len(x), fidelity[stage])])
        found: np.ndarray = function(torch.as_tensor(points, dtype=torch.float64)).numpy()
        return found

    def says(genome: Genome, stage: str) -> float:
        return float(values(np.array([[float(genome[name]) for name in names]]), stage)[0])  # type: ignore[arg-type]  # reals

    engine: Any = torch.quasirandom.SobolEngine
    drawn = engine(6, scramble=True, seed=0).draw(2**16).double().numpy()
    typical = float(np.median(values(drawn, WHOLE)))
    space = settings.load(
        "spaces", {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in names}}
    )
    optimum = float(function.optimal_value)
    return Task(space, says, {ROUGH: 0.1, WHOLE: 1.0}, close_to(optimum, typical))


# Decomposition energies of anti-perovskites.


@cache
def antiperovskites() -> Task:
    """700 decorations of anti-perovskites: single points and relaxations of CHGNet, from tables."""
    rough = json.loads(UNRELAXED.read_text(encoding="utf-8"))
    unrelaxed = {genome_key(row["genome"]): row["decomposition_energy"] for row in rough["rows"]}
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    relaxed = {genome_key(row["genome"]): row["decomposition_energy"] for row in rows}
    known = {ROUGH: unrelaxed, WHOLE: relaxed}
    values = np.array(list(relaxed.values()))
    unit = rough["seconds"]["relaxed"]
    costs = {ROUGH: rough["seconds"]["unrelaxed"] / unit, WHOLE: 1.0}
    space = campaign_from(campaign_data()).space
    goal = close_to(float(values.min()), float(np.median(values)))
    return Task(space, lambda genome, stage: float(known[stage][genome_key(genome)]), costs, goal)


def build() -> None:
    """Evaluate every decoration as it is built, time some relaxations, and write the file."""
    potential = "chgnet"
    single = [
        "charge_neutrality",
        {"relax": {"name": "single_point", "potential": potential, "steps": 0, "unconverged": "keep"}},
        {"decomposition_energy": {"reference": "lithium-chalcohalides"}},
    ]
    whole = [
        "charge_neutrality",
        {"relax": {"potential": potential, "fmax": 0.02}},
        {"decomposition_energy": {"reference": "lithium-chalcohalides"}},
    ]
    rows, rough = _evaluated(single, "single_point", 1_000_000)
    _, dear = _evaluated(whole, "relax", RELAXED)
    table = [
        {"genome": row["genome"], "decomposition_energy": round(row["properties"]["decomposition_energy"], 6)}
        for row in rows
    ]
    table.sort(key=lambda row: json.dumps(row["genome"], sort_keys=True))
    found = {
        "made_by": "python benchmarks/multi_fidelity.py build",
        "what": "decomposition energy (eV/atom) of the cells as built, CHGNet single points; seconds are medians "
        f"of the evaluations, of {RELAXED} random candidates for the relaxation",
        "seconds": {"unrelaxed": round(rough, 4), "relaxed": round(dear, 4)},
    }
    lines = ",\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in table)
    head = json.dumps(found, ensure_ascii=False, indent=1)[:-2]
    UNRELAXED.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(table)} decorations in {UNRELAXED}")


def _evaluated(stages: list[Any], timed: str, candidates: int) -> tuple[list[dict[str, Any]], float]:
    """(rows of the complete candidates, median seconds of a stage) of a run over this space."""
    data = campaign_data() | {
        "name": "anti-perovskites",
        "evaluate": stages,
        "objectives": [{"minimize": "decomposition_energy"}],
        "constraints": [],
        "optimizer": {"kind": "random", "batch": 20},
        "budget": {"candidates": candidates},
        "engine": {"kind": "local", "workers": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(campaign_from(data), Path(folder) / "run")
        run.execute()
        rows = [run.row(id) for id in range(len(run.history))]
        seconds = float(np.nanmedian(run.history.seconds(timed)))
        run.close()
    return [row for row in rows if row["status"] == "complete"], seconds


MAKERS = {"augmented_hartmann": hartmann, "antiperovskite_funnel": antiperovskites}


# Runs.


class Meter:
    """What a search has spent, and whether it has come close."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cost = 0.0
        self.reached: float | None = None
        self.ran = {ROUGH: 0, WHOLE: 0}

    def value(self, genome: Genome, stage: str) -> float:
        """Evaluate a stage, and pay for it."""
        self.cost += self.task.costs[stage]
        self.ran[stage] += 1
        value = self.task.says(genome, stage)
        if stage == WHOLE and value <= self.task.goal and self.reached is None:
            self.reached = self.cost
        return value

    @property
    def over(self) -> bool:
        return self.reached is not None or self.cost >= MOST

    def record(self) -> dict[str, Any]:
        """What one seed brought."""
        found = self.reached is not None
        return {"cost": self.reached if found else MOST, "missed": not found, **self.ran}


def searched(task: Task, optimizer: Mapping[str, Any], names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """One of our optimizers on a funnel of these stages, asked and told as the loop does."""
    plugin: Any = settings.load("optimizers", dict(optimizer))
    history, meter, cache = MemoryHistory(PROBLEM), Meter(task), dict[str, object]()
    known: dict[str, dict[str, float]] = {}
    stages, event = stages_of(names), 0

    def context() -> Context:
        return Context(task.space, PROBLEM, history, seed, event, (), cache, stages)

    def evaluate(id: int) -> None:
        proposal = history.candidate(id).proposal
        said, seconds = known.setdefault(genome_key(proposal.genome), {}), {}
        depth = 1
        for name in names:
            depth += 1
            if name not in said:  # what a promoted candidate ran before is in the cache
                said[name] = meter.value(proposal.genome, name)
                seconds[name] = task.costs[name]
            if name in (proposal.until, names[-1]):
                break
        by_stage = {name: {PROPERTY: value} for name, value in said.items()}
        history.finish(id, by_stage.get(names[-1], {}), depth=depth, by_stage=by_stage, seconds=seconds)

    state = plugin.start(context())
    while not meter.over:
        event += 1
        proposals, state = plugin.ask(context(), state, plugin.batch)
        if not proposals:
            break
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            evaluate(id)
        event += 1
        state = plugin.tell(context(), state, ids)
    return meter.record()


def pruned(task: Task, seed: int) -> dict[str, Any]:
    """Optuna's TPE, its successive halving told of the cheap stage; of a space of reals."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    meter = Meter(task)
    names = [dimension.name for dimension in task.space.domain().dimensions]

    def objective(trial: Any) -> float:
        genome = {name: trial.suggest_float(name, 0.0, 1.0) for name in names}
        trial.report(meter.value(genome, ROUGH), step=1)
        if trial.should_prune():
            raise optuna.TrialPruned
        return meter.value(genome, WHOLE)

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1),
    )
    while not meter.over:
        study.optimize(objective, n_trials=1)
    return meter.record()


def methods(task: str) -> dict[str, Callable[[int], Mapping[str, Any]]]:
    """How every method runs one seed of a task."""
    made = MAKERS[task]()
    found: dict[str, Callable[[int], Mapping[str, Any]]] = {
        OURS[0]: partial(searched, made, SETTINGS, (ROUGH, WHOLE)),
        OURS[1]: partial(searched, made, SETTINGS, (WHOLE,)),
        "random": partial(searched, made, {"kind": "random", "batch": 1}, (WHOLE,)),
    }
    if task == "augmented_hartmann":
        found["optuna_tpe_halving"] = partial(pruned, made)
    return found


def rows_of(task: str, records: Records) -> list[Row]:
    """Figures of a task from what its seeds brought."""
    rows = []
    for method in records.methods(task):
        found = records.of(task, method)
        costs = [record["cost"] for record in found]
        rows.append(row_of("multi_fidelity", task, method, "cost_to_95_percent", costs, "whole evaluations"))
        missed = float(sum(record["missed"] for record in found))
        rows.append(Row("multi_fidelity", task, method, "missed", missed, "seeds", len(found), 0.0))
    both = [{record["seed"]: record["cost"] for record in records.of(task, method)} for method in OURS]
    shared = sorted(both[0].keys() & both[1].keys())
    if shared:
        rows.append(ratio(task, np.array([[costs[seed] for costs in both] for seed in shared])))
    return rows


def ratio(task: str, costs: np.ndarray) -> Row:
    """Median cost with both stages over median cost with one, from costs (n, 2) of the same seeds."""

    def of(rows: np.ndarray) -> np.ndarray:
        medians: np.ndarray = np.median(rows, axis=-2)
        return np.asarray(medians[..., 0] / medians[..., 1])

    drawn = np.random.default_rng(0).integers(len(costs), size=(10_000, len(costs)))
    low, high = np.percentile(of(costs[drawn]), [2.5, 97.5])
    quarters = np.percentile(costs[:, 0] / costs[:, 1], [25, 75])
    spread = float(quarters[1] - quarters[0])
    value = float(of(costs))
    return Row(
        "multi_fidelity",
        task,
        "invdesign",
        "cost_ratio",
        value,
        "",
        len(costs),
        spread,
        float(low),
        float(high),
    )


def main() -> None:
    if sys.argv[1:2] == ["build"]:
        build()
        return
    parser: argparse.ArgumentParser = piecewise(__doc__, TASKS, SEEDS)
    arguments = parser.parse_args()
    one_thread()
    records = Records(arguments.cache, arguments.fresh)
    rows = []
    for task in arguments.tasks:
        known = methods(task)
        for method in [] if arguments.only_table else arguments.methods or known:
            for seed in range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS)):
                if method in known:
                    place: Seed = (task, method, seed)
                    measured(records, place, partial(known[method], seed))
        rows += rows_of(task, records)
    print_table(rows)
    merge_results("multi_fidelity", rows)


if __name__ == "__main__":
    main()
