"""Fifteen components, at most four present, two linear constraints: feasible proposals, their cost and their spread.

Run it with `python benchmarks/mixture.py [--seeds N]`; it prints a table and writes `benchmarks/results/mixture.json`.
Every seed draws its own two constraints. Feasibility is checked by this file's own few lines, not by the package. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, print_table, row_of, write_results
from numpy.typing import NDArray

from invdesign.arrays import FloatArray

COMPONENTS = 15
PRESENT = 4
PROPOSALS = 10_000
FEW = 20  # plain mixtures of 20,000 that keep both constraints: else there is nothing to compare with
TOLERANCE = 1e-9
COVERING = 1_000  # points whose spread is measured
REFERENCE = 2_000  # uniform points that they are to be near
PEER_POINTS = 1_000
SLOW_POINTS = 10  # of Nevergrad, which draws again for up to a second per point
LIMITS = {"fifteen_components": (0.5, 0.5), "fifteen_components_tight": (0.08, 0.92)}


@dataclass(frozen=True)
class Case:
    """Two constraints on 15 fractions: `first @ x <= most` and `second @ x >= least`."""

    first: FloatArray
    second: FloatArray
    most: float
    least: float

    def feasible(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which of the points (n, 15) keep every rule to 1e-9."""
        kept = np.abs(points.sum(axis=1) - 1.0) <= TOLERANCE
        kept &= (points >= -TOLERANCE).all(axis=1) & ((points > 0).sum(axis=1) <= PRESENT)
        return (
            kept
            & (points @ self.first <= self.most + TOLERANCE)
            & (points @ self.second >= self.least - TOLERANCE)
        )


def case_of(seed: int, limits: tuple[float, float]) -> Case:
    """Weights drawn uniformly; limits at quantiles of what plain mixtures have, some of which must keep both."""
    rng = np.random.default_rng([seed, 15])
    while True:
        first, second = rng.random((2, COMPONENTS))
        plain = plain_mixtures(rng, 20_000)
        most = float(np.quantile(plain @ first, limits[0]))
        least = float(np.quantile(plain @ second, limits[1]))
        case = Case(first, second, most, least)
        if np.count_nonzero(case.feasible(plain)) >= FEW:
            return case


def plain_mixtures(rng: np.random.Generator, count: int) -> FloatArray:
    """Shape (count, 15): four components at random, fractions from the flat Dirichlet distribution."""
    keep = rng.random((count, COMPONENTS)).argsort(axis=1) < PRESENT
    shares = rng.standard_exponential((count, COMPONENTS)) * keep
    return shares / shares.sum(axis=1, keepdims=True)


def by_rejection(case: Case, rng: np.random.Generator, count: int) -> FloatArray:
    """Uniform points of the feasible set, by drawing plain mixtures until enough are feasible."""
    found: list[FloatArray] = []
    while sum(map(len, found)) < count:
        plain = plain_mixtures(rng, 20_000)
        found.append(plain[case.feasible(plain)])
    return np.vstack(found)[:count]


def space_of(case: Case) -> Any:
    from invdesign.settings import load

    names = [f"c{i}" for i in range(COMPONENTS)]
    return load(
        "spaces",
        {
            "kind": "mixture",
            "mixtures": {"m": {"components": names, "at_most": PRESENT}},
            "constraints": [
                {"sum": dict(zip(names, case.first.tolist(), strict=True)), "max": case.most},
                {"sum": dict(zip(names, case.second.tolist(), strict=True)), "min": case.least},
            ],
        },
    )


def points_of(genomes: list[Mapping[str, Any]]) -> FloatArray:
    return np.array([[genome["m"].get(f"c{i}", 0.0) for i in range(COMPONENTS)] for genome in genomes])


def ours(case: Case, seed: int) -> dict[str, list[float]]:
    """Proposals by every operator and by decoding random points, in turn; and the spread of starts."""
    from invdesign.rng import rng_for

    started = time.process_time()
    space = space_of(case)
    operators = sorted(space.operators().items())
    starts = [space.operators()["start"].apply((), rng_for(seed, 0, "first"))]
    prepared = time.process_time() - started
    made: list[Mapping[str, Any]] = starts
    rng = rng_for(seed, 1, "proposals")
    started = time.process_time()
    while len(made) < PROPOSALS:
        name, operator = operators[int(rng.random() * len(operators))]
        parents = [made[int(rng.random() * len(made))] for _ in range(operator.arity)]
        child = operator.apply(parents, rng)
        if child is not None:
            made.append(child)
        if name == "start":
            made += space.decode(rng.random((1, COMPONENTS)))
    seconds = time.process_time() - started
    covering = points_of(
        [space.operators()["start"].apply((), rng_for(seed, n, "cover")) for n in range(COVERING)]
    )
    return {
        "feasible_percent": [100.0 * float(case.feasible(points_of(made)).mean())],
        "ms_per_proposal": [1000.0 * seconds / len(made)],
        "preparation_ms": [1000.0 * prepared],
        "coverage_gap": [gap(case, covering, seed)],
    }


def gap(case: Case, points: FloatArray, seed: int) -> float:
    """Mean distance from uniform reference points of the feasible set to the nearest of some points."""
    from scipy.spatial import KDTree

    reference = by_rejection(case, np.random.default_rng([seed, 1]), REFERENCE)
    return float(KDTree(points).query(reference)[0].mean())


def trimmed(points: FloatArray) -> FloatArray:
    """The four largest fractions, made to add up to 1: what one does where a sampler cannot count."""
    rank = (-points).argsort(axis=1).argsort(axis=1)
    kept = np.where(rank < PRESENT, points, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def rejection(case: Case, seed: int) -> FloatArray:
    return by_rejection(case, np.random.default_rng([seed, 2]), COVERING)


def botorch(case: Case, seed: int) -> FloatArray:
    """Hit-and-run in the polytope, which knows sums and constraints and not how many may be present."""
    import torch
    from botorch.utils.sampling import get_polytope_samples

    index = torch.arange(COMPONENTS)
    bounds = torch.stack([torch.zeros(COMPONENTS), torch.ones(COMPONENTS)]).double()
    found = get_polytope_samples(
        n=PEER_POINTS,
        bounds=bounds,
        inequality_constraints=[
            (index, -torch.tensor(case.first), -case.most),
            (index, torch.tensor(case.second), case.least),
        ],
        equality_constraints=[(index, torch.ones(COMPONENTS).double(), 1.0)],
        seed=seed,
        n_burnin=1_000,
        n_thinning=8,
    )
    return trimmed(found.numpy())


def optuna(case: Case, seed: int) -> FloatArray:  # noqa: ARG001 - it cannot be told of the constraints
    """Its documented recipe for a simplex: logarithms of uniform parameters, normalised."""
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    study = library.create_study(sampler=library.samplers.RandomSampler(seed=seed))
    rows = []
    for _ in range(PEER_POINTS):
        trial = study.ask()
        rows.append([-np.log(max(trial.suggest_float(f"c{i}", 0, 1), 1e-300)) for i in range(COMPONENTS)])
        study.tell(trial, 0.0)
    shares = np.array(rows)
    return trimmed(shares / shares.sum(axis=1, keepdims=True))


def nevergrad(case: Case, seed: int) -> FloatArray:
    """Random search with the rules as a cheap constraint, which it tries to keep by drawing again."""
    import nevergrad as library

    array = library.p.Array(shape=(COMPONENTS,), lower=0.0, upper=1.0)
    array.random_state.seed(seed)

    def kept(values: FloatArray) -> bool:
        return bool(case.feasible(trimmed(np.maximum(values, 1e-12)[None]))[0])

    array.register_cheap_constraint(kept)
    optimizer = library.optimizers.RandomSearch(parametrization=array, budget=SLOW_POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of constraints it did not meet; they are counted here
        asked = [np.asarray(optimizer.ask().value) for _ in range(SLOW_POINTS)]
    return trimmed(np.maximum(np.array(asked), 1e-12))


PEERS: Mapping[str, Callable[[Case, int], FloatArray]] = {
    "rejection": rejection,
    "botorch, trimmed": botorch,
    "optuna, trimmed": optuna,
    "nevergrad, trimmed": nevergrad,
}
UNITS = {"feasible_percent": "%", "ms_per_proposal": "ms", "preparation_ms": "ms", "coverage_gap": ""}


def peer(name: str, case: Case, seed: int) -> dict[str, list[float]]:
    started = time.process_time()
    points = PEERS[name](case, seed)
    seconds = time.process_time() - started
    feasible = case.feasible(points)
    found = {
        "feasible_percent": [100.0 * float(feasible.mean())],
        "ms_per_proposal": [1000.0 * seconds / len(points)],
    }
    if feasible.sum() >= COVERING:
        found["coverage_gap"] = [gap(case, points[feasible][:COVERING], seed)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    rows: list[Row] = []
    for task, limits in LIMITS.items():
        values: dict[tuple[str, str], list[float]] = {}
        for seed in range(seeds):
            case = case_of(seed, limits)
            answers = {"invdesign": ours(case, seed)} | {name: peer(name, case, seed) for name in PEERS}
            for method, answer in answers.items():
                for metric, value in answer.items():
                    values.setdefault((method, metric), []).extend(value)
        rows += [
            row_of("mixture", task, method, metric, found, UNITS[metric])
            for (method, metric), found in values.items()
        ]
    print_table(rows)
    write_results("mixture", rows)


if __name__ == "__main__":
    main()
