"""Optimizers on shifted and rotated functions: how near to the optimum 5,000 evaluations come.

Run it with `python benchmarks/continuous.py`; it prints a table and writes `benchmarks/results/continuous.json`.
Our optimizers run behind `ask` and `tell`, on a `parameters` space of ten reals, with default settings; the peers
run on the same functions with theirs. A seed fixes the shift, the rotation and the method's own randomness.

Nothing is tuned to these three functions: `--tune` takes other functions, with other seeds, and writes nothing.
`python benchmarks/continuous.py --tune --functions griewank levy --methods invdesign_swarm --seeds 5`
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

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.rng import rng_for
from invdesign.testing import MemoryHistory

DIMENSIONS = 10
EVALUATIONS = 5_000
SEEDS = 20
TUNING = 100_000  # the first seed of tuning runs: far from those of the benchmark
INSIDE = 0.8  # optima lie in the middle 80 % of every side of the box


def rastrigin(z: FloatArray) -> float:
    return float(np.sum(z**2 - 10.0 * np.cos(2.0 * np.pi * z) + 10.0))


def ackley(z: FloatArray) -> float:
    radius = np.sqrt(np.mean(z**2))
    return float(20.0 + np.e - 20.0 * np.exp(-0.2 * radius) - np.exp(np.mean(np.cos(2.0 * np.pi * z))))


def rosenbrock(z: FloatArray) -> float:
    y = z + 1.0
    return float(np.sum(100.0 * (y[1:] - y[:-1] ** 2) ** 2 + (1.0 - y[:-1]) ** 2))


def griewank(z: FloatArray) -> float:
    return float(1.0 + np.sum(z**2) / 4000.0 - np.prod(np.cos(z / np.sqrt(np.arange(1, len(z) + 1)))))


def schwefel(z: FloatArray) -> float:
    """Schwefel's function 2.26, continued outside its range as in CEC 2014 (Liang, Qu & Suganthan, report 2013)."""
    y = z + 420.9687462275036
    folded = np.where(y > 500.0, 500.0 - y % 500.0, np.where(y < -500.0, np.abs(y) % 500.0 - 500.0, y))
    excess = np.where(np.abs(y) > 500.0, (np.abs(y) - 500.0) ** 2 / (1e4 * len(z)), 0.0)
    return float(418.9828872724338 * len(z) - np.sum(folded * np.sin(np.sqrt(np.abs(folded))) - excess))


def levy(z: FloatArray) -> float:
    w = 1.0 + z / 4.0
    inner = np.sum((w[:-1] - 1.0) ** 2 * (1.0 + 10.0 * np.sin(np.pi * w[:-1] + 1.0) ** 2))
    last = (w[-1] - 1.0) ** 2 * (1.0 + np.sin(2.0 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + inner + last)


def zakharov(z: FloatArray) -> float:
    weighted = 0.5 * np.sum(np.arange(1, len(z) + 1) * z)
    return float(np.sum(z**2) + weighted**2 + weighted**4)


def ellipsoid(z: FloatArray) -> float:
    return float(np.sum(10.0 ** (6.0 * np.arange(len(z)) / (len(z) - 1)) * z**2))


FUNCTIONS: dict[str, tuple[Callable[[FloatArray], float], float, float]] = {
    "rastrigin": (rastrigin, -5.12, 5.12),
    "ackley": (ackley, -32.768, 32.768),
    "rosenbrock": (rosenbrock, -5.0, 10.0),
    "griewank": (griewank, -600.0, 600.0),
    "schwefel": (schwefel, -500.0, 500.0),
    "levy": (levy, -10.0, 10.0),
    "zakharov": (zakharov, -5.0, 10.0),
    "ellipsoid": (ellipsoid, -5.0, 5.0),
}
"""Function of the distance z (d,) from its optimum, where it is 0; low and high side of the box."""
BENCHMARK = ("rastrigin", "ackley", "rosenbrock")
FOR_TUNING = tuple(name for name in FUNCTIONS if name not in BENCHMARK)


@dataclass(frozen=True)
class Task:
    """A shifted and rotated function: f(R (x - shift)), 0 at the shift; both are drawn from the seed."""

    name: str
    seed: int
    dimensions: int = DIMENSIONS

    def __post_init__(self) -> None:
        _, low, high = FUNCTIONS[self.name]
        rng = rng_for(self.seed, 0, f"benchmark {self.name}")
        middle, half = (low + high) / 2.0, INSIDE * (high - low) / 2.0
        shift = rng.uniform(middle - half, middle + half, self.dimensions)
        q, r = np.linalg.qr(rng.standard_normal((self.dimensions, self.dimensions)))
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "rotation", q * np.sign(np.diag(r)))  # uniform over the orthogonal group
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def __call__(self, x: FloatArray) -> float:
        """The value at x (d,), in the box's own units."""
        function = FUNCTIONS[self.name][0]
        return function(self.rotation @ (x - self.shift))  # type: ignore[attr-defined]


class Recorder:
    """A task that keeps the best value found, and stops counting after the budget."""

    def __init__(self, task: Task, evaluations: int) -> None:
        self.task = task
        self.left = evaluations
        self.best = np.inf

    def __call__(self, x: FloatArray) -> float:
        value = self.task(np.asarray(x, dtype=np.float64))
        if self.left > 0:
            self.left -= 1
            self.best = min(self.best, value)
        return value


def ours(plugin: Any, task: Task, evaluations: int, seed: int) -> float:
    """Best value found by one of our optimizers: asked and told as the loop does, `overlap` included."""
    sides = {"real": [float(task.low), float(task.high)]}  # type: ignore[attr-defined]
    parameters = {f"x{number}": sides for number in range(task.dimensions)}
    space = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    problem = Problem((Objective("f", "minimize"),))
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    record = Recorder(task, evaluations)
    event = 0
    state = plugin.start(Context(space, problem, history, seed, event, (), cache))
    waves: list[list[int]] = []
    while record.left:
        while len(waves) < plugin.overlap and len(history) < evaluations:
            event += 1
            context = Context(space, problem, history, seed, event, (), cache)
            wanted = min(plugin.batch, evaluations - len(history))
            proposals, state = plugin.ask(context, state, wanted)
            waves.append([history.add(proposal) for proposal in proposals])
        ids = waves.pop(0)
        for id in ids:
            genome = history.candidate(id).genome
            history.finish(id, {"f": record(np.array([genome[name] for name in parameters]))})
        event += 1
        state = plugin.tell(Context(space, problem, history, seed, event, (), cache), state, ids)
    return record.best


def pymoo(name: str, task: Task, evaluations: int, seed: int) -> float:
    """Best value found by pymoo's GA or PSO, with its defaults."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.algorithms.soo.nonconvex.pso import PSO
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.optimize import minimize

    record = Recorder(task, evaluations)

    class Adapter(ElementwiseProblem):  # type: ignore[misc]  # pymoo has no types
        def __init__(self) -> None:
            super().__init__(n_var=task.dimensions, n_obj=1, xl=task.low, xu=task.high)  # type: ignore[attr-defined]

        def _evaluate(self, x: FloatArray, out: dict[str, float], *_: object, **__: object) -> None:
            out["F"] = record(x)

    algorithm = {"GA": GA, "PSO": PSO}[name]()
    minimize(Adapter(), algorithm, ("n_eval", evaluations), seed=seed % 2**31, verbose=False)
    return record.best


def nevergrad(name: str, task: Task, evaluations: int, seed: int) -> float:
    """Best value found by an optimizer of nevergrad, told the budget, with its defaults."""
    import nevergrad as ng

    record = Recorder(task, evaluations)
    array = ng.p.Array(shape=(task.dimensions,), lower=task.low, upper=task.high)  # type: ignore[attr-defined]
    array.random_state.seed(seed % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own choices
        optimizer = ng.optimizers.registry[name](parametrization=array, budget=evaluations, num_workers=1)
        optimizer.minimize(record)
    return record.best


def cmaes(name: str, task: Task, evaluations: int, seed: int) -> float:
    """Best value found by the `cmaes` library: in the unit cube, from its centre, sigma 0.3.

    `cmaes` is one run with the library's population; `cmaes-ipop` restarts with twice the population whenever
    the library says it should stop, from a uniformly drawn mean, as the library's own example does.
    """
    from cmaes import CMA

    record = Recorder(task, evaluations)
    width = task.high - task.low  # type: ignore[attr-defined]
    rng = rng_for(seed, 0, "restarts")
    bounds = np.tile([0.0, 1.0], (task.dimensions, 1))
    optimizer = CMA(mean=np.full(task.dimensions, 0.5), sigma=0.3, bounds=bounds, seed=seed % 2**31)
    while record.left:
        solutions = []
        for _ in range(optimizer.population_size):
            x = optimizer.ask()
            solutions.append((x, record(task.low + width * x)))  # type: ignore[attr-defined]
        optimizer.tell(solutions)
        if name == "cmaes-ipop" and optimizer.should_stop():
            optimizer = CMA(
                mean=rng.random(task.dimensions),
                sigma=0.3,
                bounds=bounds,
                seed=int(rng.integers(2**31)),
                population_size=2 * optimizer.population_size,
            )
    return record.best


OURS: dict[str, Mapping[str, object]] = {
    "invdesign": {"kind": "genetic"},
    "invdesign_swarm": {"kind": "swarm"},
    "invdesign_cma": {"kind": "cma"},
    "random": {"kind": "random"},
}
PEERS: dict[str, Callable[[Task, int, int], float]] = {
    "pymoo GA": lambda *run: pymoo("GA", *run),
    "pymoo PSO": lambda *run: pymoo("PSO", *run),
    "nevergrad PSO": lambda *run: nevergrad("PSO", *run),
    "nevergrad RealSpacePSO": lambda *run: nevergrad("RealSpacePSO", *run),
    "nevergrad DE": lambda *run: nevergrad("TwoPointsDE", *run),
    "cmaes": lambda *run: cmaes("cmaes", *run),
    "cmaes IPOP": lambda *run: cmaes("cmaes-ipop", *run),
}


def best_of(method: str, task: Task, evaluations: int, seed: int) -> float:
    """One run of a method: a name of ours, a peer's, or the JSON of one of our optimizers' settings."""
    if method in PEERS:
        return PEERS[method](task, evaluations, seed)
    value = json.loads(method) if method.startswith("{") else OURS[method]
    return ours(settings.load("optimizers", value), task, evaluations, seed)


def measure(function: str, method: str, seeds: int, evaluations: int, first: int) -> tuple[Row, float]:
    """The median over seeds of one method on one function, and the seconds of one run."""
    started = time.perf_counter()
    found = [best_of(method, Task(function, seed), evaluations, seed) for seed in range(first, first + seeds)]
    seconds = (time.perf_counter() - started) / seeds
    return row_of("continuous", function, method, "median_best", found, ""), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs per function and method")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument(
        "--methods", nargs="+", default=[*OURS, *PEERS], help="names, or JSON of an optimizer's settings"
    )
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, help="default: the benchmark's three")
    parser.add_argument(
        "--tune", action="store_true", help="functions and seeds kept apart from the benchmark"
    )
    arguments = parser.parse_args()
    functions = arguments.functions or (FOR_TUNING if arguments.tune else BENCHMARK)
    if arguments.tune and set(functions) & set(BENCHMARK):
        parser.error(f"--tune keeps away from {', '.join(BENCHMARK)}")
    rows: list[Row] = []
    for function in functions:
        for method in arguments.methods:
            row, seconds = measure(
                function, method, arguments.seeds, arguments.evaluations, TUNING if arguments.tune else 0
            )
            rows.append(row)
            print(f"{function:12} {method:40} {row.value:<12.5g} {seconds:.2f} s per run", flush=True)
    print_table(rows)
    complete = functions == BENCHMARK and arguments.methods == [*OURS, *PEERS]
    if complete and arguments.seeds >= SEEDS and arguments.evaluations == EVALUATIONS:
        write_results("continuous", rows)


if __name__ == "__main__":
    main()
