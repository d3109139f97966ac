"""One generation of NSGA-II, two objectives, ten variables: ours beside DEAP and pymoo.

Run it with `python benchmarks/generation.py`; it prints a table and writes `benchmarks/results/generation.json`.
`selection_N` is what makes the algorithm NSGA-II: choosing N survivors of 2 N, with their crowding distances.
`generation_N` is everything but the evaluation: breeding N children (simulated binary crossover and polynomial mutation
for the peers) and selection. Ours does more in it: canonical genomes, their keys, no duplicate, lineage and rates.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import Row, print_table, row_of, write_results

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.optimizers.survival import survivors
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.rng import borrowed_globals, rng_for
from invdesign.testing import MemoryHistory

DIMENSIONS = 10
SIZES = (100, 1000)
SEEDS = 20
GENERATIONS = 4  # before the one that is timed: a population is not random then
TWO = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")))


def zdt1(x: FloatArray) -> FloatArray:
    """Values (n, 2) at points (n, d). Zitzler, Deb & Thiele, Evol. Comput. 8, 173 (2000)."""
    g = 1.0 + 9.0 * x[:, 1:].mean(axis=1)
    return np.column_stack([x[:, 0], g * (1.0 - np.sqrt(x[:, 0] / g))])


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of processor time that `work` takes."""
    gc.collect()
    started = time.process_time()
    work()
    return 1000.0 * (time.process_time() - started)


def ours(size: int, seed: int) -> dict[str, float]:
    """Milliseconds of our selection, and of a whole generation, behind `ask` and `tell`."""
    optimizer = settings.load("optimizers", {"kind": "genetic", "population": size, "offspring": size})
    sides = {f"x{n}": {"real": [0, 1]} for n in range(DIMENSIONS)}
    space = settings.load("spaces", {"kind": "parameters", "parameters": sides})
    history = MemoryHistory(TWO)
    cache: dict[str, object] = {}

    def context(event: int) -> Context:
        return Context(space, TWO, history, seed, event, (), cache)

    state = optimizer.start(context(0))
    spent = 0.0
    for event in range(GENERATIONS + 1):
        box: list[Any] = []
        spent = timed(lambda: box.append(optimizer.ask(context(2 * event + 1), state, size)))  # noqa: B023 - used at once
        proposals, state = box[0]
        ids = [history.add(proposal) for proposal in proposals]
        for id, row in zip(ids, zdt1(space.encode([p.genome for p in proposals])).tolist(), strict=True):
            history.finish(id, {"f1": row[0], "f2": row[1]})
        before = [*state["population"], *ids]
        spent += timed(lambda: box.append(optimizer.tell(context(2 * event + 2), state, ids)))  # noqa: B023 - used at once
        state = box[1]
    return {"selection": timed(lambda: survivors(history, before, size)), "generation": spent}


def deap(size: int, seed: int, nd: str) -> dict[str, float]:
    """Milliseconds of DEAP's, as its NSGA-II example has it."""
    from deap import base, tools

    class Fitness(base.Fitness):  # type: ignore[misc]  # deap has no types
        weights = (-1.0, -1.0)

    class Individual(list):  # type: ignore[type-arg]  # as DEAP's creator makes them
        def __init__(self, values: Any) -> None:
            super().__init__(values)
            self.fitness = Fitness()

    def evaluated(group: list[Any]) -> list[Any]:
        for individual, row in zip(group, zdt1(np.array(group)).tolist(), strict=True):
            individual.fitness.values = row
        return group

    def children(parents: list[Any]) -> list[Any]:
        chosen = [Individual(parent) for parent in tools.selTournamentDCD(parents, size)]
        for first, second in zip(chosen[::2], chosen[1::2], strict=True):
            tools.cxSimulatedBinaryBounded(first, second, 20.0, 0.0, 1.0)
            tools.mutPolynomialBounded(first, 20.0, 0.0, 1.0, 1.0 / DIMENSIONS)
            tools.mutPolynomialBounded(second, 20.0, 0.0, 1.0, 1.0 / DIMENSIONS)
        return chosen

    with borrowed_globals(seed):
        points = rng_for(seed, 0, "deap").random((size, DIMENSIONS)).tolist()
        parents = tools.selNSGA2(evaluated([Individual(point) for point in points]), size, nd="log")
        for _ in range(GENERATIONS - 1):
            parents = tools.selNSGA2(parents + evaluated(children(parents)), size, nd="log")
        box: list[Any] = []
        bred = timed(lambda: box.append(children(parents)))
        pool = parents + evaluated(box[0])
        selected = timed(lambda: tools.selNSGA2(pool, size, nd=nd))
    return {"selection": selected, "generation": bred + selected}


def pymoo(size: int, seed: int) -> dict[str, float]:
    """Milliseconds of pymoo's NSGA-II with its defaults: `ask` and `tell`, and of the survival within."""
    from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem as PymooProblem

    problem = PymooProblem(n_var=DIMENSIONS, n_obj=2, xl=0.0, xu=1.0)
    algorithm = NSGA2(pop_size=size)
    algorithm.setup(problem, termination=("n_gen", GENERATIONS + 2), seed=seed, verbose=False)
    spent, pool = 0.0, None
    for _ in range(GENERATIONS + 1):
        box: list[Any] = []
        spent = timed(lambda: box.append(algorithm.ask()))  # noqa: B023 - used at once
        asked = box[0]
        asked.set("F", zdt1(asked.get("X")))
        for individual in asked:
            individual.evaluated.update({"F", "G", "H"})
        pool = asked if algorithm.pop is None else Population.merge(algorithm.pop, asked)
        spent += timed(lambda: algorithm.tell(infills=asked))  # noqa: B023 - used at once
    return {
        "selection": timed(lambda: RankAndCrowding().do(problem, pool, n_survive=size)),
        "generation": spent,
    }


METHODS: dict[str, Callable[[int, int], dict[str, float]]] = {
    "genetic": ours,
    "DEAP log": lambda size, seed: deap(size, seed, "log"),
    "DEAP standard": lambda size, seed: deap(size, seed, "standard"),
    "pymoo": pymoo,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    rows: list[Row] = []
    for size in arguments.sizes:
        for method in arguments.methods:
            METHODS[method](size, 0)  # imports and caches
            found = [METHODS[method](size, seed) for seed in range(arguments.seeds)]
            for part in ("selection", "generation"):
                values = [run[part] for run in found]
                rows.append(row_of("generation", f"{part}_{size}", method, "ms", values, "ms"))
    print_table(rows)
    if arguments.seeds >= SEEDS and arguments.sizes == list(SIZES) and arguments.methods == list(METHODS):
        write_results("generation", rows)


if __name__ == "__main__":
    main()
