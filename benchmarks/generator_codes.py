"""What the codes of the network `crystal_vae` are worth: predicted properties, priors, and searches among codes.

    python benchmarks/generator_codes.py --models MODELS --cache rows.jsonl --tasks property priors latent latent_battery

`MODELS` is the folder that `generators.py --train --seeds 3` wrote. Every record is kept, so a run can be cut short and continued.
`property`: formation energies of the crystals to test on, predicted from their codes, beside trees on the composition (scikit-learn).
`priors`: raw samples of the three distributions of codes, from a network per seed. `latent`: candidates that an optimizer in the
space `latent` needs for the best of 2,000 codes drawn from the prior; properties are those of lithium salts as decoded, unrelaxed.
`latent_battery`: distance to the hull and channel for lithium in the system Li-O-Cl, relaxed with CHGNet: codes, a crystal space
with generated starts, and the same without, at equal numbers of candidates.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Records, Row, driven, measured, merge_results, one_thread, print_table, row_of
from generator_data import split
from generators import known_crystals, load_method, tabulate_metrics

from invdesign.candidate import Genome
from invdesign.errors import Infeasible
from invdesign.generators.metrics.evaluate import evaluate_structures, list_rows
from invdesign.pareto import hypervolume
from invdesign.problem import Objective, Problem
from invdesign.protocols import Condition
from invdesign.rng import rng_for
from invdesign.settings import load
from surrogates.transport.bottleneck import bottleneck_radius

if TYPE_CHECKING:
    from pymatgen.core import Structure

TASKS = ("property", "priors", "latent", "latent_battery")
PRIORS = ("mixture", "gan", "normal")
PRIOR_SAMPLES = 2_000
RANDOM = 2_000  # codes of the prior whose best is the target
EVALUATIONS = 200  # candidates of a search among codes
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "invdesign": {"kind": "bayesian"},
    "genetic": {"kind": "genetic"},
}
LATENT_SEEDS = 10
SALTS = {
    "elements": ["Li", "Na", "Mg", "Al", "Si", "P", "Y", "Zr", "O", "S", "Cl", "Br"],
    "required": ["Li"],
    "atoms": [2, 20],
}
BATTERY_SEEDS = 3
CANDIDATES = 60  # of each search with CHGNet
REFERENCE = (0.5, 0.0)  # eV/atom above the hull, and Å of the channel: corner of the hypervolume


# Formation energies from codes.


def run_property(method: str, seed: int, models: Path) -> dict[str, Any]:
    """Mean absolute error of formation energies of the crystals to test on."""
    if method == "trees":
        return {"mae": 1000.0 * float(np.mean(np.abs(predict_by_trees(seed)))), "left_out": 0}
    _, test = split()
    generator: Any = load_method("crystal_vae", models, seed)
    codes = generator.encode([record.structure for record in test])
    read = np.isfinite(codes).all(axis=1)
    predicted = generator.predict(codes[read])["formation_energy_per_atom"]
    known = np.array([record.formation_energy_per_atom for record in test])[read]
    return {"mae": 1000.0 * float(np.mean(np.abs(predicted - known))), "left_out": int((~read).sum())}


def predict_by_trees(seed: int) -> np.ndarray[Any, Any]:
    """Errors (n,) in eV/atom of extremely randomised trees on compositions."""
    from sklearn.ensemble import ExtraTreesRegressor

    learn, test = split()
    known = [record for record in learn if np.isfinite(record.formation_energy_per_atom)]
    trees = ExtraTreesRegressor(n_estimators=300, random_state=seed, n_jobs=1)
    trees.fit(
        np.array([describe_composition(record.formula) for record in known]),
        np.array([record.formation_energy_per_atom for record in known]),
    )
    predicted = trees.predict(np.array([describe_composition(record.formula) for record in test]))
    errors: np.ndarray[Any, Any] = predicted - np.array([r.formation_energy_per_atom for r in test])
    return errors


@cache
def describe_composition(formula: str) -> tuple[float, ...]:
    """Shares of elements, and mean, spread, least and largest of some of their properties."""
    from pymatgen.core import Composition

    amounts = Composition(formula).fractional_composition
    shares = np.zeros(100)
    table = []
    for element, share in amounts.items():
        shares[element.Z - 1] = share
        radius = float(element.atomic_radius or 1.5)
        table.append([element.X or 0.0, element.row, element.group, radius, float(element.atomic_mass)])
    values, weights = np.nan_to_num(np.array(table, dtype=float)), np.array(list(amounts.values()))
    mean = weights @ values
    spread = np.sqrt(weights @ (values - mean) ** 2)
    return tuple(np.concatenate([shares, mean, spread, values.min(axis=0), values.max(axis=0)]).tolist())


def tabulate_property(records: Records) -> list[Row]:
    """Rows of the errors of each method."""
    return [
        row_of(
            "generators",
            "property",
            method,
            "mae_mev",
            [run["mae"] for run in records.of("property", method)],
            "meV/atom",
        )
        for method in records.methods("property")
    ]


# Distributions of codes.


def run_prior(method: str, seed: int, models: Path) -> dict[str, Any]:
    """Metrics of raw samples whose codes are drawn from one prior."""
    known, kept = known_crystals()
    generator = load_method("crystal_vae", models, seed, prior=method, checked=False)
    samples = generator.sample(rng_for(seed, 0, "priors"), PRIOR_SAMPLES, Condition(neutral=False))
    found = list_rows(evaluate_structures(list(samples), known, kept, coverage_samples=0))
    return {row.metric: [row.value, row.low, row.high, row.n, row.unit] for row in found}


# Searches among codes.


def measure_density(structure: Structure) -> float:
    """Density in g/cm3."""
    return float(structure.density)


def measure_lithium(structure: Structure) -> float:
    """Lithium in mol/L."""
    return float(structure.composition["Li"]) / structure.volume / 6.02214076e-4


def measure_channel(structure: Structure) -> float:
    """Bottleneck radius of lithium in Å, on a grid of 0.5 Å."""
    return bottleneck_radius(structure, "Li", 0.5)


PROPERTIES: Mapping[str, tuple[str, Callable[[Structure], float]]] = {
    "density": ("minimize", measure_density),
    "lithium": ("maximize", measure_lithium),
    "channel": ("maximize", measure_channel),
}


@cache
def latent_space(models: Path) -> Any:
    """Space of the codes of the network."""
    generator = {"kind": "crystal_vae", "model": str(models / "crystal_vae_0")}
    space = load("spaces", {"kind": "latent", "generator": generator, **SALTS})
    space.prepare()
    return space


def evaluate_code(space: Any, genome: Genome, names: Sequence[str]) -> dict[str, float] | None:
    """Properties of the crystal of a code; None where there is none."""
    try:
        structure = space.build(genome).structures["initial"]
        return {name: PROPERTIES[name][1](structure) for name in names}
    except (Infeasible, ValueError):
        return None


def draw_random(models: Path) -> dict[str, Any]:
    """Properties of codes of the prior."""
    space = latent_space(models)
    start = space.operators()["start"]
    genomes = (space.canonical(start.apply([], rng_for(0, number, "latent"))) for number in range(RANDOM))
    return {"values": [evaluate_code(space, genome, list(PROPERTIES)) for genome in genomes]}


def run_latent(task: str, method: str, seed: int, models: Path) -> dict[str, Any]:
    """Values of the candidates of one search, in their order; None where a code has no crystal."""
    direction, _ = PROPERTIES[task]
    space = latent_space(models)
    problem = Problem((Objective(task, direction),))  # type: ignore[arg-type]  # named above
    plugin = load("optimizers", dict(OPTIMIZERS[method]))
    history = driven(
        plugin, space, problem, lambda genome: evaluate_code(space, genome, [task]), EVALUATIONS, seed
    )
    values = history.column(task)
    return {"values": [float(value) if np.isfinite(value) else None for value in values]}


def tabulate_latent(records: Records) -> list[Row]:
    """Rows of searches among codes: candidates until the best of the prior, and the best after 50, 100 and 200.

    The row of all properties is that of the slowest.
    """
    prior = records.of("latent", "prior")
    if not prior:
        return []
    rows = []
    units = {"density": "g/cm3", "lithium": "mol/L", "channel": "Å"}
    slowest: dict[str, list[float]] = {}
    for name, (direction, _) in PROPERTIES.items():
        task, sign = f"latent, {name}", 1.0 if direction == "minimize" else -1.0
        target = min(sign * found[name] for found in prior[0]["values"] if found is not None)
        rows.append(Row("generators", task, "prior", "best_of_2000", sign * target, units[name], RANDOM, 0.0))
        for method in OPTIMIZERS:
            runs = records.of(task, method)
            if not runs:
                continue
            best = [np.minimum.accumulate(fill_gaps(run["values"], sign)) for run in runs]
            needed = [count_needed(path, target) for path in best]
            rows.append(row_of("generators", task, method, "evaluations", needed, ""))
            slowest[method] = max(needed, slowest.get(method, needed), key=np.median)
            for place in (50, 100, EVALUATIONS):
                values = [sign * float(path[place - 1]) for path in best]
                rows.append(row_of("generators", task, method, f"best_at_{place}", values, units[name]))
    for method, needed in slowest.items():
        rows.append(row_of("generators", "latent", method, "evaluations", needed, ""))
    return rows


def count_needed(path: np.ndarray[Any, Any], target: float) -> float:
    """Candidates until the best value so far (n,) is as low as a target; one more than there are where it never is."""
    return float(np.argmax(path <= target) + 1 if path[-1] <= target else len(path) + 1)


def fill_gaps(values: Sequence[float | None], sign: float) -> np.ndarray[Any, Any]:
    """Values to minimise, infinite where there is none; as many as a whole search has."""
    found = np.full(EVALUATIONS, np.inf)
    found[: len(values)] = [np.inf if value is None else sign * value for value in values]
    return found


# Battery crystals by CHGNet.


def make_battery_space(method: str, models: Path) -> dict[str, Any]:
    """Settings of the space of one way to search the system Li-O-Cl."""
    network = {"kind": "crystal_vae", "model": str(models / "crystal_vae_0")}
    if method == "latent":
        names = ["Li", "O", "Cl"]
        return {
            "kind": "latent",
            "generator": network,
            "elements": names,
            "required": names,
            "atoms": [3, 16],
        }
    crystal: dict[str, Any] = {
        "kind": "crystal",
        "elements": {"Li": [1, 9], "O": [1, 6], "Cl": [1, 6]},
        "atoms": [3, 16],
        "oxidation_states": {"Li": 1, "O": -2, "Cl": -1},
    }
    if method == "invdesign":
        library = {"kind": "prototypes", "model": str(models / "prototypes")}
        crystal["generators"] = [library, {**network, "weight": 0.3}]
    return crystal


def run_battery(method: str, seed: int, models: Path) -> dict[str, Any]:
    """Run one search with CHGNet; distances to the hull and channels of its candidates."""
    from invdesign.campaign.load import campaign_from
    from invdesign.run.run import Run

    data = {
        "version": 1,
        "name": f"battery-{method}",
        "seed": seed,
        "space": make_battery_space(method, models),
        "evaluate": [
            {"relax": {"potential": "chgnet", "fmax": 0.05, "steps": 300, "unconverged": "keep"}},
            {"bottleneck_radius": {"ion": "Li"}},
            {"energy_above_hull": {"reference": "lithium-chalcohalides"}},
        ],
        "objectives": [{"minimize": "energy_above_hull"}, {"maximize": "bottleneck_radius"}],
        "optimizer": {"kind": "genetic", "population": 12},
        "budget": {"candidates": CANDIDATES},
        "engine": {"kind": "local", "workers": 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(campaign_from(data), Path(folder) / "run")
        run.execute()
        hull, channel = (run.history.column(name) for name in ("energy_above_hull", "bottleneck_radius"))
        run.close()
    known = np.isfinite(hull) & np.isfinite(channel)
    return {"hull": hull[known].tolist(), "channel": channel[known].tolist()}


def tabulate_battery(records: Records) -> list[Row]:
    """Rows of hypervolumes and lowest distances to the hull."""
    rows = []
    for method in records.methods("latent_battery"):
        runs = records.of("latent_battery", method)
        volumes, lowest = [], []
        for run in runs:
            points = np.column_stack([run["hull"], np.negative(run["channel"])])
            volumes.append(
                hypervolume(points, np.array([REFERENCE[0], -REFERENCE[1]])) if len(points) else 0.0
            )
            lowest.append(1000.0 * min(run["hull"], default=np.inf))
        rows.append(row_of("generators", "latent_battery", method, "hypervolume", volumes, "eV/atom·Å"))
        rows.append(
            row_of("generators", "latent_battery", method, "lowest_above_hull_mev", lowest, "meV/atom")
        )
    return rows


def main() -> None:
    """Run what is missing, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="folder of the split's models")
    parser.add_argument("--cache", type=Path, help="file of records")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3, help="of property, priors and latent_battery")
    parser.add_argument("--latent-seeds", type=int, default=LATENT_SEEDS)
    parser.add_argument("--only-table", action="store_true")
    given = parser.parse_args()
    one_thread()
    records = Records(given.cache)
    if not given.only_table:
        run_tasks(records, given)
    rows = [
        *tabulate_property(records),
        *tabulate_metrics("priors", records),
        *tabulate_latent(records),
        *tabulate_battery(records),
    ]
    merge_results("generators", rows)
    print_table(rows)


def run_tasks(records: Records, given: argparse.Namespace) -> None:
    """Run the tasks that the options name."""
    single: Mapping[str, tuple[Sequence[str], Callable[[str, int, Path], dict[str, Any]]]] = {
        "property": (("crystal_vae", "trees"), run_property),
        "priors": (PRIORS, run_prior),
        "latent_battery": (("invdesign", "latent", "without generators"), run_battery),
    }
    for task in given.tasks:
        if task == "latent":
            measured(records, ("latent", "prior", 0), lambda: draw_random(given.models))
            for seed in range(given.latent_seeds):
                for name in PROPERTIES:
                    for method in OPTIMIZERS:
                        measured(
                            records,
                            (f"latent, {name}", method, seed),
                            lambda n=name, m=method, s=seed: run_latent(n, m, s, given.models),
                        )
            continue
        methods, run = single[task]
        for seed in range(given.seeds):
            for method in methods:
                measured(records, (task, method, seed), lambda r=run, m=method, s=seed: r(m, s, given.models))


if __name__ == "__main__":
    main()
