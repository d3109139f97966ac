"""What Bayesian optimization costs: CPU seconds and memory of an ask, beside BoTorch by hand.

Run it with `python benchmarks/bayesian_cost.py`; it prints a table and writes `benchmarks/results/bayesian_cost.json`.
It can be run in pieces: `--tasks`, `--methods`, `--seeds`, `--seed-from` and `--cache FILE.jsonl`. Every measurement runs
in a process of its own with one thread, so that memory is its own. Times are CPU seconds of that process; what it costs to
import torch and BoTorch (reported as `import_cpu_s`) is not in them, and is in the memory.

ask_200, ask_1000, ask_5000: four proposals where so many random points of six variables (Hartmann's function) were told.
`cpu_s` is the first ask of a process, with a fit from nothing; `next_cpu_s` the one after those four were told, as in a run
that goes on. `botorch` fits a SingleTaskGP and optimises qLogEI for four points.
pool_million: four of 1,000,000 rows of 20 features where 1,000 random ones were told; a finite space written in this file
whose features are computed block by block. pool_million_file: the same rows in the package's own pool, read from a
CSV file; `read_cpu_s` is the reading.
simplex_batch: eight mixtures of fifteen components, at most four present, under the two linear constraints of
`mixture.py`, where 40 were told; `largest_violation` of any rule, by that file's own few lines, and `present` at most.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Records, Row, measured, merge_results, one_thread, piecewise, print_table, row_of
from mixture import COMPONENTS, LIMITS, PRESENT, Case, case_of, points_of, space_of
from numpy.typing import NDArray

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Proposal
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, Operator
from invdesign.testing import MemoryHistory

Answer = dict[str, float]

VARIABLES = 6
ROWS = 1_000_000
FEATURES = 20
TOLD_OF_POOL = 1_000
TOLD_OF_SIMPLEX = 40
SEEDS = {
    "ask_200": 20,
    "ask_1000": 5,
    "ask_5000": 3,
    "pool_million": 5,
    "pool_million_file": 3,
    "simplex_batch": 20,
}
UNITS = {
    "cpu_s": "s",
    "next_cpu_s": "s",
    "import_cpu_s": "s",
    "read_cpu_s": "s",
    "rss_mb": "MB",
    "largest_violation": "",
    "present": "components",
}
PROBLEM = Problem((Objective("value", "minimize"),))


def hartmann(x: FloatArray) -> FloatArray:
    """Hartmann's function of six variables at (n, 6). Dixon & Szegö, Towards Global Optimisation 2 (1978)."""
    a = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    p = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    inside = (a * np.square(x[:, None] - p)).sum(axis=2)
    values: FloatArray = -(np.exp(-inside) @ np.array([1.0, 1.2, 3.0, 3.2]))
    return values


# Ours


class Asked:
    """A run of one of our optimizers that begins with genomes somebody else told."""

    def __init__(
        self, space: Any, value: Callable[[Sequence[Genome]], FloatArray], seed: int, batch: int
    ) -> None:
        self._space, self._value, self._seed = space, value, seed
        self._plugin = settings.load("optimizers", {"kind": "bayesian", "batch": batch, "initial": 12})
        self._history, self._cache, self._event = MemoryHistory(PROBLEM), dict[str, object](), 0
        self._state = self._plugin.start(self._context())

    def _context(self) -> Context:
        return Context(self._space, PROBLEM, self._history, self._seed, self._event, (), self._cache)

    def tell(self, proposals: Sequence[Proposal]) -> None:
        """Evaluate proposals and tell their values."""
        ids = [self._history.add(proposal) for proposal in proposals]
        values = self._value([proposal.genome for proposal in proposals])
        for id, value in zip(ids, values, strict=True):
            self._history.finish(id, {"value": float(value)})
        self._event += 1
        self._state = self._plugin.tell(self._context(), self._state, ids)

    def ask(self, n: int) -> tuple[Sequence[Proposal], float]:
        """Proposals, and the CPU seconds they took."""
        self._event += 1
        started = time.process_time()
        proposals, self._state = self._plugin.ask(self._context(), self._state, n)
        return proposals, time.process_time() - started


def imported(seed: int) -> float:
    """CPU seconds of a small ask before the measurement: what is imported and compiled on the way."""
    started = time.process_time()
    space, value = cube()
    small = Asked(space, value, seed, 4)
    small.tell(random_points(space, 16, seed + 1))
    small.ask(4)
    return time.process_time() - started


def cube() -> tuple[Any, Callable[[Sequence[Genome]], FloatArray]]:
    names = [f"x{number}" for number in range(VARIABLES)]
    parameters = {name: {"real": [0.0, 1.0]} for name in names}
    space = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    return space, lambda genomes: hartmann(np.array([[genome[name] for name in names] for genome in genomes]))


def random_points(space: Any, count: int, seed: int) -> list[Proposal]:
    """Distinct genomes that somebody else found."""
    start, rng = space.operators()["start"], np.random.default_rng([seed, 2])
    found: dict[str, Genome] = {}
    while len(found) < count:
        genome = start.apply((), rng)
        found[json.dumps(genome, sort_keys=True)] = genome
    return [Proposal(genome) for genome in found.values()]


def asks(points: int) -> Callable[[int], Answer]:
    """Two asks of 4 with so many points told before."""

    def run(seed: int) -> Answer:
        space, value = cube()
        return two_asks(Asked(space, value, seed, 4), random_points(space, points, seed))

    return run


def two_asks(search: Asked, told: Sequence[Proposal]) -> Answer:
    search.tell(told)
    proposals, first = search.ask(4)
    search.tell(proposals)
    _, following = search.ask(4)
    return {"cpu_s": first, "next_cpu_s": following}


@dataclass(frozen=True)
class Start:
    """Any row, uniformly."""

    rows: int
    arity: int = 0

    def apply(self, parents: Sequence[Genome], rng: np.random.Generator) -> Genome:  # noqa: ARG002 - an operator's signature
        return {"row": int(rng.integers(self.rows))}


class Rows:
    """A finite space whose features need no memory: multiples of irrational numbers, modulo 1."""

    def __init__(self, rows: int = ROWS) -> None:
        self._rows = rows
        primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71]
        self._steps = np.sqrt(np.array(primes[:FEATURES]))

    def at(self, rows: NDArray[np.int64]) -> FloatArray:
        """Features (n, 20) of rows (n,)."""
        found: FloatArray = (rows[:, None] * self._steps) % 1.0
        return found

    def operators(self) -> Mapping[str, Operator]:
        return {"start": Start(self._rows)}

    def build(self, genome: Genome) -> Design:
        return Design(parameters={"row": float(str(genome["row"]))})

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return self.at(np.array([genome["row"] for genome in genomes], dtype=np.int64).reshape(-1))

    def prepare(self) -> None:
        """There is nothing to read. Spaces that can be prepared have their features at hand, as a pool has."""

    def canonical(self, genome: Genome) -> Genome:
        return genome

    def count(self) -> int:
        return self._rows

    def size(self) -> int:
        return self._rows

    def __len__(self) -> int:
        return self._rows

    def genome(self, index: int) -> Genome:
        return {"row": index}

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        for first in range(0, self._rows, size):
            yield first, self.at(np.arange(first, min(first + size, self._rows)))


def worth(features: FloatArray) -> FloatArray:
    """A smooth value of features (n, 20), of which the first six matter."""
    found: FloatArray = hartmann(features[:, :VARIABLES]) + 0.1 * features[:, VARIABLES]
    return found


def pool_million(seed: int) -> Answer:
    """The next four of a million rows."""
    space = Rows()
    search = Asked(space, lambda genomes: worth(space.features(genomes)), seed, 4)
    return two_asks(search, random_points(space, TOLD_OF_POOL, seed))


def pool_million_file(seed: int) -> Answer:
    """The same in the package's own pool."""
    made = Rows()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        names = [f"f{number}" for number in range(FEATURES)]
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            for _, block in made.blocks(10_000):
                writer.writerows([f"{number:.9f}" for number in row] for row in block.tolist())
        started = time.process_time()
        space = settings.load("spaces", {"kind": "pool", "source": str(path), "columns": names})
        reading = time.process_time() - started

        def value(genomes: Sequence[Genome]) -> FloatArray:
            return worth(made.at(np.array([int(str(genome["row"])) - 1 for genome in genomes])))

        search = Asked(space, value, seed, 4)
        return two_asks(search, random_points(space, TOLD_OF_POOL, seed)) | {"read_cpu_s": reading}


def simplex_batch(seed: int) -> Answer:
    """Eight mixtures, and by how much any of them breaks a rule."""
    case = case_of(seed, LIMITS["fifteen_components"])
    space = space_of(case)
    target = np.random.default_rng([seed, 3]).dirichlet(np.full(COMPONENTS, 0.3))

    def value(genomes: Sequence[Genome]) -> FloatArray:
        found: FloatArray = np.square(points_of(list(genomes)) - target).sum(axis=1)
        return found

    search = Asked(space, value, seed, 8)
    search.tell(random_points(space, TOLD_OF_SIMPLEX, seed))
    proposals, seconds = search.ask(8)
    points = points_of([proposal.genome for proposal in proposals])
    if len(points) < 8:
        raise ValueError(f"only {len(points)} of 8 mixtures were proposed")
    return {
        "cpu_s": seconds,
        "largest_violation": violation(case, points),
        "present": float((points > 0).sum(axis=1).max()),
    }


def violation(case: Case, points: FloatArray) -> float:
    """By how much the worst of the points (n, 15) breaks a rule; points with too many components by their fractions."""
    beyond = np.sort(points, axis=1)[:, : COMPONENTS - PRESENT].sum(axis=1)
    broken = [
        np.abs(points.sum(axis=1) - 1.0),
        -points.min(axis=1),
        points @ case.first - case.most,
        case.least - points @ case.second,
        beyond,
    ]
    return float(max(0.0, *(rule.max() for rule in broken)))


# BoTorch by hand


def botorch_asks(points: int) -> Callable[[int], Answer]:
    """Four proposals by a SingleTaskGP and qLogEI, as BoTorch's tutorials have it."""

    def run(seed: int) -> Answer:
        import torch

        x = torch.tensor(np.random.default_rng([seed, 2]).random((points, VARIABLES)))
        botorch_ask(x[:16], seed)
        started = time.process_time()
        botorch_ask(x, seed)
        return {"cpu_s": time.process_time() - started}

    return run


def botorch_ask(x: Any, seed: int) -> Any:
    import torch
    from botorch.acquisition import qLogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(seed)
    y = -torch.tensor(hartmann(x.numpy()))[:, None]
    bounds = torch.stack([torch.zeros(VARIABLES), torch.ones(VARIABLES)]).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits and searches that had to be tried again
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([128]), seed=seed)
        acquisition = qLogExpectedImprovement(model, best_f=y.max(), sampler=sampler)
        return optimize_acqf(acquisition, bounds, q=4, num_restarts=10, raw_samples=512, sequential=True)[0]


RUNS: dict[tuple[str, str], Callable[[int], Answer]] = {
    **{(f"ask_{points}", "invdesign"): asks(points) for points in (200, 1_000, 5_000)},
    **{(f"ask_{points}", "botorch"): botorch_asks(points) for points in (200, 1_000)},
    ("pool_million", "invdesign"): pool_million,
    ("pool_million_file", "invdesign"): pool_million_file,
    ("simplex_batch", "invdesign"): simplex_batch,
}


def alone(task: str, method: str, seed: int) -> Answer:
    """A measurement, in this process."""
    one_thread()
    warming = imported(seed) if method == "invdesign" else 0.0
    found = RUNS[task, method](seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    memory = peak / (1024.0**2 if sys.platform == "darwin" else 1024.0)
    return {**found, "rss_mb": memory} | ({"import_cpu_s": warming} if warming else {})


def apart(task: str, method: str, seed: int) -> Answer:
    """A measurement, in a process of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, "--alone", task, method, str(seed)],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{task} of {method} with seed {seed} failed:\n{done.stderr}")
    found: Answer = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(records: Records, task: str, method: str, arguments: argparse.Namespace) -> list[Row]:
    """Medians of one method on one task; its results are kept as they are measured."""
    count = arguments.seeds or SEEDS[task]
    for seed in range(arguments.seed_from, arguments.seed_from + count):
        if not arguments.only_table:
            measured(records, (task, method, seed), lambda: {"found": apart(task, method, seed)})  # noqa: B023 - called at once
    found = [record["found"] for record in records.of(task, method)]
    return [
        row_of("bayesian_cost", task, method, name, [one[name] for one in found], UNITS[name])
        for name in (found[0] if found else ())
    ]


def main() -> None:
    if sys.argv[1:2] == ["--alone"]:
        task, method, seed = sys.argv[2:]
        print(json.dumps(alone(task, method, int(seed))))
        return
    arguments = piecewise(__doc__, list(SEEDS), max(SEEDS.values())).parse_args()
    records = Records(arguments.cache, arguments.fresh)
    rows: list[Row] = []
    for task, method in RUNS:
        if task in arguments.tasks and method in (arguments.methods or [method]):
            rows += measure(records, task, method, arguments)
    print_table(rows)
    kept = [row for row in rows if row.n >= SEEDS[row.task]]
    if kept:
        merge_results("bayesian_cost", kept)


if __name__ == "__main__":
    main()
