"""Fronts of two objectives: the share of the true front's hypervolume after 100 and after 5,000 evaluations.

Run it with `OMP_NUM_THREADS=1 python benchmarks/hypervolume.py`; it prints a table and writes
`benchmarks/results/hypervolume.json`. It can be run in pieces: `--tasks`, `--methods`, `--seeds`, `--seed-from`,
`--evaluations` and `--cache FILE.jsonl`, which collects what single seeds brought; rows that were not measured stay.

Six variables in [0, 1]; reference points (2, 2) for ZDT1 and ZDT2, (1.1, 1.1) for DTLZ2. For every method, all points
that it evaluated count. At 100 evaluations `invdesign` is `bayesian` with 12 initial points and batches of 4,
`invdesign_screened` is `genetic` with its pre-screen and `invdesign_genetic` the same without it; NSGA-II has a population
of 20, too. `botorch` is qLogNEHVI by hand, 12 Sobol points and batches of 4, over 5 seeds: it takes minutes per run. At
5,000 evaluations `invdesign` is `genetic`, plain, with a population of 100 as its peer.

Nothing is tuned to these three functions: `--tune` takes others, with other seeds, and writes nothing.
`python benchmarks/hypervolume.py --tune --methods invdesign --evaluations 100 --seeds 5`
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Records, Row, driven, measured, merge_results, one_thread, piecewise, print_table, row_of

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.pareto import hypervolume
from invdesign.problem import Objective, Problem
from surrogates.tabulated.landscape import dtlz2, zdt1, zdt2

Objectives = Callable[[FloatArray], tuple[float, ...]]
BUDGETS = (100, 5_000)
FEW = 500  # evaluations up to which a genetic algorithm is given a small population
INITIAL = 12
BATCH = 4
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
    """Values (n, 2) that one of our optimizers found."""
    names = [f"x{number}" for number in range(task.dimensions)]
    parameters = {name: {"real": [0.0, 1.0]} for name in names}
    space = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    problem = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")))

    def evaluate(genome: Mapping[str, Any]) -> Mapping[str, float]:
        found = task.function(np.array([genome[name] for name in names]))
        return dict(zip(("f1", "f2"), map(float, found), strict=True))

    return driven(plugin, space, problem, evaluate, evaluations, seed).scores().values


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


def optuna_with(sampler: str) -> Callable[[Task, int, int], FloatArray]:
    """Values (n, 2) that a multi-objective sampler of Optuna found, with its defaults."""

    def run(task: Task, evaluations: int, seed: int) -> FloatArray:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        names = [f"x{number}" for number in range(task.dimensions)]

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            return task.function(np.array([trial.suggest_float(name, 0.0, 1.0) for name in names]))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its experimental parts
            chosen = getattr(optuna.samplers, sampler)(seed=seed)
            study = optuna.create_study(directions=["minimize", "minimize"], sampler=chosen)
            study.optimize(objective, n_trials=evaluations)
        return np.array([trial.values for trial in study.trials])

    return run


def botorch(task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) by hand, as BoTorch's tutorial has it: 12 Sobol points, then qLogNEHVI in batches of 4."""
    import torch
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.sampling import draw_sobol_samples
    from gpytorch.mlls import SumMarginalLogLikelihood

    bounds = torch.stack([torch.zeros(task.dimensions), torch.ones(task.dimensions)]).double()
    x = draw_sobol_samples(bounds, n=INITIAL, q=1, seed=seed).squeeze(1)
    torch.manual_seed(seed)

    def values(points: torch.Tensor) -> torch.Tensor:
        return -torch.tensor(np.array([task.function(point) for point in points.numpy()]))

    y = values(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits and searches that had to be tried again
        while len(x) < evaluations:
            model = ModelListGP(*(SingleTaskGP(x, y[:, [column]]) for column in range(2)))
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=[-value for value in task.reference],
                X_baseline=x,
                sampler=SobolQMCNormalSampler(torch.Size([128]), seed=seed),
                prune_baseline=True,
            )
            found, _ = optimize_acqf(
                acquisition,
                bounds,
                q=min(BATCH, evaluations - len(x)),
                num_restarts=10,
                raw_samples=512,
                options={"batch_limit": 5, "maxiter": 200},
                sequential=True,
            )
            x = torch.cat([x, found])
            y = torch.cat([y, values(found)])
    return -y.numpy()


def population(evaluations: int) -> int:
    """What a genetic algorithm is given at this budget, ours and the peer's."""
    return 20 if evaluations <= FEW else 100


def our_settings(method: str, evaluations: int) -> Mapping[str, object]:
    """The optimizer that a method's name, or the JSON of its settings, stands for at this budget."""
    if method.startswith("{"):
        return dict(json.loads(method))
    if method == "random":
        return {"kind": "random"}
    if method == "invdesign" and evaluations <= FEW:
        return {"kind": "bayesian", "batch": BATCH, "initial": INITIAL}
    genetic: dict[str, object] = {"kind": "genetic", "population": population(evaluations)}
    if evaluations > FEW:
        return genetic
    return genetic | {"offspring": BATCH} | ({"prescreen": {}} if method == "invdesign_screened" else {})


PEERS: dict[str, Callable[[Task, int, int], FloatArray]] = {
    "pymoo_nsga2": pymoo_nsga2,
    "optuna_tpe": optuna_with("TPESampler"),
    "optuna_gp": optuna_with("GPSampler"),
    "botorch": botorch,
}
METHODS = {
    100: (
        "invdesign",
        "invdesign_screened",
        "invdesign_genetic",
        "pymoo_nsga2",
        "optuna_tpe",
        "optuna_gp",
        "botorch",
        "random",
    ),
    5_000: ("invdesign", "pymoo_nsga2", "random"),
}
SLOW = {"botorch": 5}  # seeds of a peer that takes minutes per run


def found_by(method: str, task: Task, evaluations: int, seed: int) -> FloatArray:
    """Values (n, 2) of one run."""
    if method in PEERS:
        return PEERS[method](task, evaluations, seed)
    return ours(settings.load("optimizers", our_settings(method, evaluations)), task, evaluations, seed)


def main() -> None:
    parser = piecewise(__doc__, [*TASKS, *FOR_TUNING], SEEDS)
    parser.add_argument("--evaluations", type=int, choices=BUDGETS, help="one budget only")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="functions and seeds kept apart from the benchmark; writes nothing",
    )
    parser.set_defaults(tasks=None)
    arguments = parser.parse_args()
    if arguments.tune and set(arguments.tasks or ()) & set(TASKS):
        parser.error(f"--tune keeps away from {', '.join(TASKS)}")
    one_thread()
    first = arguments.seed_from + (TUNING if arguments.tune else 0)
    records = Records(arguments.cache, arguments.fresh)
    figures: list[Row] = []
    for evaluations in [arguments.evaluations] if arguments.evaluations else BUDGETS:
        for name in arguments.tasks or (FOR_TUNING if arguments.tune else TASKS):
            figures += measure(records, name, evaluations, first, arguments)
    print_table(figures)
    kept = [row for row in figures if row.n >= SLOW.get(row.method, SEEDS) and not row.method.startswith("{")]
    if kept and not arguments.tune:
        merge_results("hypervolume", kept)


def measure(
    records: Records, name: str, evaluations: int, first: int, arguments: argparse.Namespace
) -> list[Row]:
    """Medians over seeds of every method on one task with one budget."""
    task = {**TASKS, **FOR_TUNING}[name]
    place = f"{name}_{evaluations}"

    def run(method: str, seed: int) -> Mapping[str, float]:
        return {"percent": task.percent(found_by(method, task, evaluations, seed))}

    for method in arguments.methods or METHODS[evaluations]:
        count = arguments.seeds or SLOW.get(method, SEEDS)
        for seed in range(first, first + count):
            if not arguments.only_table:
                measured(records, (place, method, seed), lambda: run(method, seed))  # noqa: B023 - called at once
    return [
        row_of(
            "hypervolume",
            name,
            method,
            f"percent_at_{evaluations}",
            [record["percent"] for record in records.of(place, method)],
            "%",
        )
        for method in records.methods(place)
    ]


if __name__ == "__main__":
    main()
