"""Regions where every evaluation fails and the best values would be: how many failures, and what is found beside them.

Run it with `OMP_NUM_THREADS=1 python benchmarks/failing_region.py`; it prints a table and writes
`benchmarks/results/failing_region.json`. It can be run in pieces: `--tasks`, `--methods`, `--seeds`, `--seed-from` and
`--cache FILE.jsonl`, which collects what single seeds brought.

Four variables in [0, 1], 40 trials one after the other; a bowl whose bottom, drawn anew for every seed, lies where
evaluations fail. `half_space`: they fail where x0 > 0.5. `disc`: within 0.3 of a place in the plane of x0 and x1.
`oblique`: where x0 + x1 + x2 > 1.5. `category`: with one of the four options of a categorical variable, the best one.
`failures_in_last_20` counts them among trials 21 to 40; `regret_at_40` is how far the best value found is above the best
that can be evaluated.

Optuna and Ax are told failures as failed trials; `optuna_tpe_penalty` is told the value 10 instead. Ax is no
dependency: where it is not installed, it is left out. It takes half a minute per run and is measured on `half_space`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import (
    Record,
    Records,
    Row,
    driven,
    measured,
    merge_results,
    one_thread,
    piecewise,
    print_table,
    row_of,
)

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.problem import Objective, Problem

Point = Mapping[str, Any]

TRIALS = 40
LAST = 20
SEEDS = 20
NAMES = ("x0", "x1", "x2", "x3")
OPTIONS = {"a": 0.0, "b": 0.3, "c": 0.45, "d": 0.6}  # what an option adds; the first fails
PENALTY = 10.0  # far above all values


@dataclass(frozen=True)
class Task:
    """One bowl with its failing region.

    Attributes:
        bottom: shape (4,), where the values are lowest, within the region.
        fails: whether the evaluation of a point fails.
        lowest: the lowest value outside the region.
        options: whether there is a categorical variable `c`.
    """

    bottom: FloatArray
    fails: Callable[[Point], bool]
    lowest: float
    options: bool = False

    def value(self, point: Point) -> float | None:
        """Squared distance from the bottom, and what the option adds; None where it fails."""
        if self.fails(point):
            return None
        x = np.array([point[name] for name in NAMES])
        return float(np.square(x - self.bottom).sum()) + (OPTIONS[point["c"]] if self.options else 0.0)


def half_space(rng: np.random.Generator) -> Task:
    bottom = np.append(rng.uniform(0.65, 0.95), rng.uniform(0.2, 0.8, 3))
    return Task(bottom, lambda point: point["x0"] > 0.5, float(bottom[0] - 0.5) ** 2)


def disc(rng: np.random.Generator) -> Task:
    centre, angle, off = rng.uniform(0.35, 0.65, 2), rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.15)
    inside = centre + off * np.array([np.cos(angle), np.sin(angle)])
    bottom = np.append(inside, rng.uniform(0.2, 0.8, 2))

    def fails(point: Point) -> bool:
        return bool(np.hypot(point["x0"] - centre[0], point["x1"] - centre[1]) < 0.3)

    return Task(bottom, fails, float(0.3 - off) ** 2)


def oblique(rng: np.random.Generator) -> Task:
    bottom = np.append(rng.uniform(0.6, 0.8, 3), rng.uniform(0.2, 0.8))
    beyond = float(bottom[:3].sum()) - 1.5
    return Task(bottom, lambda point: point["x0"] + point["x1"] + point["x2"] > 1.5, beyond**2 / 3.0)


def category(rng: np.random.Generator) -> Task:
    return Task(rng.uniform(0.2, 0.8, 4), lambda point: point["c"] == "a", OPTIONS["b"], options=True)


TASKS: dict[str, Callable[[np.random.Generator], Task]] = {
    "half_space": half_space,
    "disc": disc,
    "oblique": oblique,
    "category": category,
}


def task_of(name: str, seed: int) -> Task:
    """The task of a seed: the same for every method."""
    return TASKS[name](np.random.default_rng([seed, 40]))


Trials = list[float | None]  # values in the order of evaluation, None where it failed
OURS: dict[str, Mapping[str, object]] = {
    "invdesign": {"kind": "bayesian", "batch": 1, "initial": 10},
    "invdesign_genetic": {"kind": "genetic", "population": 10, "offspring": 1},
    "invdesign_screened": {"kind": "genetic", "population": 10, "offspring": 1, "prescreen": {}},
    "random": {"kind": "random"},
}


def ours(task: Task, method: str, seed: int) -> Trials:
    """What one of our optimizers evaluated."""
    parameters: dict[str, object] = {name: {"real": [0.0, 1.0]} for name in NAMES}
    if task.options:
        parameters["c"] = {"categorical": list(OPTIONS)}
    space = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    given = dict(json.loads(method)) if method.startswith("{") else OURS[method]
    found: Trials = []

    def evaluate(genome: Point) -> Mapping[str, float] | None:
        found.append(task.value(genome))
        return None if found[-1] is None else {"value": found[-1]}

    problem = Problem((Objective("value", "minimize"),))
    driven(settings.load("optimizers", given), space, problem, evaluate, TRIALS, seed)
    return found


def optuna_with(sampler: str, penalty: float | None = None) -> Callable[[Task, int], Trials]:
    """An Optuna study; a failure is a failed trial, or a penalty where one is given."""

    def run(task: Task, seed: int) -> Trials:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        found: Trials = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its experimental parts
            study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
            for _ in range(TRIALS):
                trial = study.ask()
                point: dict[str, Any] = {name: trial.suggest_float(name, 0.0, 1.0) for name in NAMES}
                if task.options:
                    point["c"] = trial.suggest_categorical("c", list(OPTIONS))
                found.append(task.value(point))
                told = penalty if found[-1] is None else found[-1]
                state = optuna.trial.TrialState.FAIL if told is None else optuna.trial.TrialState.COMPLETE
                study.tell(trial, told, state=state)
        return found

    return run


def ax(task: Task, seed: int) -> Trials:
    """Ax with its defaults; a trial that fails is reported as failed."""
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    logging.disable(logging.CRITICAL)  # a line per trial from loggers that set their own levels
    client = Client(random_seed=seed)
    axes: list[Any] = [RangeParameterConfig(name=n, bounds=(0.0, 1.0), parameter_type="float") for n in NAMES]
    if task.options:
        values = list(OPTIONS)
        axes.append(ChoiceParameterConfig(name="c", values=values, parameter_type="str", is_ordered=False))
    client.configure_experiment(parameters=axes)
    client.configure_optimization(objective="-value")
    found: Trials = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        while len(found) < TRIALS:
            for index, point in client.get_next_trials(max_trials=1).items():
                found.append(task.value(point))
                if found[-1] is None:
                    client.mark_trial_failed(trial_index=index)
                else:
                    client.complete_trial(trial_index=index, raw_data={"value": found[-1]})
    return found


PEERS: dict[str, Callable[[Task, int], Trials]] = {
    "optuna_tpe": optuna_with("TPESampler"),
    "optuna_tpe_penalty": optuna_with("TPESampler", PENALTY),
    "optuna_gp": optuna_with("GPSampler"),
    "ax": ax,
}


def run(name: str, method: str, seed: int) -> Mapping[str, object]:
    """What one seed of one method evaluated."""
    task = task_of(name, seed)
    return {"values": PEERS[method](task, seed) if method in PEERS else ours(task, method, seed)}


def regret(name: str, record: Record) -> float:
    """How far the best value found lies above the lowest that can be evaluated; of nothing found, the penalty."""
    found = [value for value in record["values"] if value is not None]
    return (min(found) if found else PENALTY) - task_of(name, record["seed"]).lowest


def rows_of(name: str, method: str, found: list[Record]) -> list[Row]:
    failures = [float(record["values"][-LAST:].count(None)) for record in found]
    regrets = [regret(name, record) for record in found]
    return [
        row_of("failing_region", name, method, "failures_in_last_20", failures, "trials"),
        row_of("failing_region", name, method, "regret_at_40", regrets, ""),
    ]


def main() -> None:
    arguments = piecewise(__doc__, list(TASKS), SEEDS).parse_args()
    one_thread()
    records = Records(arguments.cache, arguments.fresh)
    figures: list[Row] = []
    for name in arguments.tasks:
        for method in arguments.methods or [*OURS, *PEERS]:
            if method == "ax" and not arguments.methods and name != "half_space":
                continue
            if method == "ax" and importlib.util.find_spec("ax") is None:
                print("ax is not installed and left out (pip install ax-platform)")
                continue
            for seed in range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS)):
                if not arguments.only_table:
                    measured(records, (name, method, seed), lambda: run(name, method, seed))  # noqa: B023 - called at once
        for method in records.methods(name):
            figures += rows_of(name, method, records.of(name, method))
    print_table(figures)
    kept = [row for row in figures if row.n >= SEEDS and not row.method.startswith("{")]
    if kept:
        merge_results("failing_region", kept)


if __name__ == "__main__":
    main()
