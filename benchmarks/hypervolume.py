"""Fronts of two objectives: the share of the true front's hypervolume after 100 and after 5,000 evaluations.

Run it with `python benchmarks/hypervolume.py`; it prints a table and writes `benchmarks/results/hypervolume.json`.
Six variables in [0, 1]; reference points (2, 2) for ZDT1 and ZDT2, (1.1, 1.1) for DTLZ2. For every method, all points
that it evaluated count. At 100 evaluations `invdesign` is `genetic` with its pre-screen, `invdesign_unscreened` the
same without it, and NSGA-II has a population of 20, too; at 5,000 both are plain, with a population of 100.

Nothing is tuned to these three functions: `--tune` takes others, with other seeds, and writes nothing.
`python benchmarks/hypervolume.py --tune --methods invdesign --evaluations 100 --seeds 5`
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, print_table, row_of, write_results
from numpy.typing import NDArray

from invdesign import settings
from invdesign.pareto import hypervolume
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.testing import MemoryHistory
from surrogates.landscape import dtlz2, zdt1, zdt2

FloatArray = NDArray[np.float64]
Objectives = Callable[[FloatArray], tuple[float, ...]]
BUDGETS = (100, 5_000)
SEEDS = 20
TUNING = 100_000  # the first seed of tuning runs: far from those of the benchmark
ALONG = np.linspace(0.0, 1.0, 20_001)  # places along a front


@dataclass(frozen=True)
class Task:
    """Two objectives of variables in [0, 1], the points (n, 2) of the true front, and the reference point."""

    function: Objectives
    front: FloatArray
    reference: tuple[float, float]
    dimensions: int = 6

    def percent(self, values: FloatArray) -> float:
        """Hypervolume of `values` (n, 2), per cent of the true front's."""
        reference = np.array(self.reference)
        return 100.0 * hypervolume(values, reference) / hypervolume(self.front, reference)


def zdt3(x: FloatArray) -> tuple[float, ...]:
    """A front in five pieces. Zitzler, Deb & Thiele, Evol. Comput. 8, 173 (2000)."""
    g = 1.0 + 9.0 * float(np.mean(x[1:]))
    share = float(x[0]) / g
    return float(x[0]), g * (1.0 - np.sqrt(share) - share * np.sin(10.0 * np.pi * float(x[0])))


def dtlz7(x: FloatArray) -> tuple[float, ...]:
    """A front in two pieces. Deb, Thiele, Laumanns & Zitzler, Proc. CEC 2002, 825, with two objectives."""
    g = 1.0 + 9.0 * float(np.mean(x[1:]))
    f = float(x[0])
    return f, (1.0 + g) * (2.0 - f / (1.0 + g) * (1.0 + np.sin(3.0 * np.pi * f)))


def fonseca(x: FloatArray) -> tuple[float, ...]:
    """Two bells on [-2, 2]. Fonseca & Fleming, Evol. Comput. 3, 1 (1995)."""
    z, shift = 4.0 * x - 2.0, 1.0 / np.sqrt(len(x))
    return 1.0 - float(np.exp(-np.sum((z - shift) ** 2))), 1.0 - float(np.exp(-np.sum((z + shift) ** 2)))


def twisted(x: FloatArray) -> tuple[float, ...]:
    """A quarter circle, reached along rotated axes, over ripples that bend with the place on it."""
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(len(x), len(x))))[0]
    z = ((x - 0.5) @ rotation)[1:]
    ripples = 1.0 - np.cos(6.0 * np.pi * (x[1:] - 0.3 * x[0] - 0.2))
    radius, angle = 1.0 + 6.0 * float(z @ z) + 0.5 * float(ripples.mean()), 0.5 * np.pi * float(x[0])
    return radius * np.cos(angle), radius * np.sin(angle)


_CIRCLE = np.stack([np.cos(0.5 * np.pi * ALONG), np.sin(0.5 * np.pi * ALONG)], axis=1)
_BELLS = np.array([fonseca(np.full(5, 0.5 + (u - 0.5) / (2.0 * np.sqrt(5.0)))) for u in ALONG[::20]])
TASKS = {
    "zdt1": Task(zdt1, np.stack([ALONG, 1.0 - np.sqrt(ALONG)], axis=1), (2.0, 2.0)),
    "zdt2": Task(zdt2, np.stack([ALONG, 1.0 - ALONG**2], axis=1), (2.0, 2.0)),
    "dtlz2": Task(dtlz2, _CIRCLE, (1.1, 1.1)),
}
FOR_TUNING = {
    "zdt3": Task(zdt3, np.array([zdt3(np.eye(8)[0] * u) for u in ALONG]), (2.0, 2.0), 8),
    "dtlz7": Task(dtlz7, np.array([dtlz7(np.eye(6)[0] * u) for u in ALONG]), (1.5, 4.5), 6),
    "fonseca": Task(fonseca, _BELLS, (1.1, 1.1), 5),
    "twisted": Task(twisted, _CIRCLE, (3.0, 3.0), 6),
}


def ours(plugin: Any, task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) that one of our optimizers found: asked and told as the loop does."""
    names = [f"x{number}" for number in range(task.dimensions)]
    parameters = {name: {"real": [0.0, 1.0]} for name in names}
    space = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    problem = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")))
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    event = 0

    def context() -> Context:
        return Context(space, problem, history, seed, event, (), cache)

    state = plugin.start(context())
    while len(history) < evaluations:
        event += 1
        wanted = min(plugin.batch, evaluations - len(history))
        proposals, state = plugin.ask(context(), state, wanted)
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            genome = history.candidate(id).genome
            found = task.function(np.array([genome[name] for name in names]))
            history.finish(id, dict(zip(("f1", "f2"), map(float, found), strict=True)))
        event += 1
        state = plugin.tell(context(), state, ids)
    return history.scores().values


def pymoo_nsga2(task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) that pymoo's NSGA-II found, with its defaults but for a small budget's population."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.optimize import minimize

    found: list[tuple[float, ...]] = []

    class Adapter(ElementwiseProblem):  # type: ignore[misc]  # pymoo has no types
        def __init__(self) -> None:
            super().__init__(n_var=task.dimensions, n_obj=2, xl=0.0, xu=1.0)

        def _evaluate(self, x: FloatArray, out: dict[str, object], *_: object, **__: object) -> None:
            out["F"] = task.function(x)
            found.append(task.function(x))

    algorithm = NSGA2(pop_size=population(evaluations))
    minimize(Adapter(), algorithm, ("n_eval", evaluations), seed=seed, verbose=False)
    return np.array(found[:evaluations])


def optuna_tpe(task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) that Optuna's multi-objective TPE found, with its defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = [f"x{number}" for number in range(task.dimensions)]

    def objective(trial: optuna.Trial) -> tuple[float, ...]:
        return task.function(np.array([trial.suggest_float(name, 0.0, 1.0) for name in names]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its experimental parts
        sampler = optuna.samplers.TPESampler(seed=seed)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        study.optimize(objective, n_trials=evaluations)
    return np.array([trial.values for trial in study.trials])


def population(evaluations: int) -> int:
    """What a genetic algorithm is given at this budget, ours and the peer's."""
    return 20 if evaluations <= 500 else 100


def our_settings(method: str, evaluations: int) -> Mapping[str, object]:
    """The optimizer that a method's name, or the JSON of its settings, stands for at this budget."""
    if method.startswith("{"):
        return dict(json.loads(method))
    if method == "random":
        return {"kind": "random"}
    genetic: dict[str, object] = {"kind": "genetic", "population": population(evaluations)}
    if evaluations > 500:
        return genetic
    return genetic | {"offspring": 4} | ({"prescreen": {}} if method == "invdesign" else {})


PEERS: dict[str, Callable[[Task, int, int], FloatArray]] = {
    "pymoo_nsga2": pymoo_nsga2,
    "optuna_tpe": optuna_tpe,
}
METHODS = {
    100: ("invdesign", "invdesign_unscreened", "pymoo_nsga2", "optuna_tpe", "random"),
    5_000: ("invdesign", "pymoo_nsga2", "random"),
}


def found_by(method: str, task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) of one run."""
    if method in PEERS:
        return PEERS[method](task, evaluations, seed)
    return ours(settings.load("optimizers", our_settings(method, evaluations)), task, evaluations, seed)


def measure(name: str, method: str, evaluations: int, seeds: range) -> Row:
    """The median over seeds of one method on one task."""
    task = {**TASKS, **FOR_TUNING}[name]
    started = time.perf_counter()
    percents = [task.percent(found_by(method, task, evaluations, seed)) for seed in seeds]
    seconds = (time.perf_counter() - started) / len(seeds)
    row = row_of("hypervolume", name, method, f"percent_at_{evaluations}", percents, "%")
    print(f"{name:10} {method:24} {row.metric:16} {row.value:8.2f} {seconds:8.2f} s per run", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs per task and method")
    parser.add_argument("--evaluations", type=int, choices=BUDGETS, help="one budget only")
    parser.add_argument("--methods", nargs="+", help="names, or JSON of an optimizer's settings")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS, *FOR_TUNING])
    parser.add_argument(
        "--tune", action="store_true", help="functions and seeds kept apart from the benchmark"
    )
    arguments = parser.parse_args()
    if arguments.tune and set(arguments.tasks or ()) & set(TASKS):
        parser.error(f"--tune keeps away from {', '.join(TASKS)}")
    first = TUNING if arguments.tune else 0
    rows = [
        measure(name, method, evaluations, range(first, first + arguments.seeds))
        for evaluations in ([arguments.evaluations] if arguments.evaluations else BUDGETS)
        for name in arguments.tasks or (FOR_TUNING if arguments.tune else TASKS)
        for method in arguments.methods or METHODS[evaluations]
    ]
    print_table(rows)
    chosen = (arguments.evaluations, arguments.methods, arguments.tasks)
    if not arguments.tune and arguments.seeds >= SEEDS and not any(chosen):
        write_results("hypervolume", rows)


if __name__ == "__main__":
    main()
