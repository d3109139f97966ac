"""Known tables replayed: how many evaluations find the best row, beside random search, Optuna, a forest and BoTorch.

Run it with `OMP_NUM_THREADS=1 python benchmarks/pool.py --data FOLDER`; it prints a table and writes
`benchmarks/results/pool.json`. FOLDER holds `obelix/train.csv`, `redoxmers/molecules.csv`,
`redoxmers/descriptors.csv` and `barriers/literature.csv`; a task whose files are not there is left out.
It can be run in pieces: `--tasks`, `--methods`, `--seeds`, `--seed-from` and `--cache FILE.jsonl`, which collects what
single seeds brought; the table is made of all that the cache holds.

obelix: lithium conductivities at room temperature, maximised as log10(S/cm). A value below a limit of detection (`<1E-10`)
counts as the limit. Rows of one composition become one candidate with the mean of their logarithms. Found is what lies
within 0.3 of the best.
redoxmers: molecules of options on four sites, the lowest reduction potential sought, the very best. `invdesign` sees a
pool with the options' descriptors as columns; `invdesign_sites` four categorical parameters with the same descriptors.
barriers: the lowest migration barrier of each composition; found when the best three were. A migrating ion that is named
beside its host, as in VOPO4(Li), counts as one atom in the formula; names of phases are left away.

Ours proposes one candidate at a time after 10 of its own choice. Peers begin with the same 10 random rows of a seed, and
are told one row at a time. Optuna suggests a point (12 principal components of the features), which stands for the
nearest row not yet evaluated, or an option per site. `forest_ucb` is scikit-learn's random forest with mean + 1.96
standard deviations of its trees; `botorch` is SingleTaskGP with LogEI over all rows, `botorch_pca` the same on the 12
components. Every method may use 150 evaluations; random search goes on to the end, so that its median is a number.
A seed that did not find it within 150 counts as 151. Runs end with the very best row; of peers that take a second per
evaluation, when enough was found, so that in obelix their regret stays at what it was then.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from common import Records, Row, driven, measured, merge_results, one_thread, piecewise, print_table, row_of
from numpy.typing import NDArray

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.problem import Objective, Problem

CAP = 150
INITIAL = 10
SEEDS = 50
PEER_SEEDS = 20  # of peers that take a minute per run
WRITTEN_FROM = 20  # seeds: fewer are a quick look and stay out of the results
COMPONENTS = 12
REGRET_AT = tuple(range(10, CAP + 1, 10))
NEAR_BEST = 0.3  # log units, the scatter between laboratories
DETERMINED = re.compile(r"^<?\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)$")


@dataclass(frozen=True)
class Task:
    """A table of n rows.

    Attributes:
        values: shape (n,), to be minimised.
        targets: rows that are sought.
        wanted: how many of them have to be found.
        pool: settings of the space of our optimizer; row i of the table is its row i + 1.
        sites: option of each row on each site, where rows are combinations.
        descriptors: numbers by site, option and name.
    """

    name: str
    values: FloatArray
    targets: frozenset[int]
    wanted: int
    pool: Mapping[str, object]
    sites: Sequence[Mapping[str, str]] = ()
    descriptors: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def space(self) -> Any:
        """The pool as our optimizers see it."""
        return settings.load("spaces", dict(self.pool))

    @cached_property
    def features(self) -> FloatArray:
        """Shape (n, d), in [0, 1]: what every method learns from."""
        found = [block for _, block in self.space.blocks(len(self))]
        return np.vstack(found)

    @cached_property
    def components(self) -> FloatArray:
        """Shape (n, 12): principal components of the standardised features."""
        standard = (self.features - self.features.mean(axis=0)) / self.features.std(axis=0)
        left, sizes, _ = np.linalg.svd(standard, full_matrices=False)
        scores: FloatArray = (left * sizes)[:, :COMPONENTS]
        return scores

    def evaluations(self, rows: Sequence[int]) -> int:
        """After how many evaluations enough targets were found; one more than allowed where they were not."""
        found = 0
        for number, row in enumerate(rows, start=1):
            found += row in self.targets
            if found >= self.wanted:
                return number
        return max(CAP, len(rows)) + 1

    def regret(self, rows: Sequence[int], evaluations: int) -> float:
        """How far the best of the first evaluations is above the best of all."""
        return float(self.values[list(rows[:evaluations])].min() - self.values.min())

    def found(self, rows: Sequence[int]) -> bool:
        """Whether enough targets were found."""
        return len(self.targets.intersection(rows)) >= self.wanted

    def done(self, rows: Sequence[int]) -> bool:
        """Whether nothing more can change: enough targets, and the very best."""
        return self.found(rows) and self.regret(rows, len(rows)) <= 0.0


# Tables


def obelix(data: Path, work: Path) -> Task:
    """Distinct compositions with the mean of log10 conductivity."""
    from pymatgen.core import Composition

    logs: dict[str, list[float]] = defaultdict(list)
    for row in read(data / "obelix" / "train.csv"):
        formula = Composition(row["True Composition"]).reduced_formula
        logs[formula].append(math.log10(number_in(row["Ionic conductivity (S cm-1)"])))
    source = work / "obelix.csv"
    write(source, [{"formula": formula} for formula in logs])
    values = np.array([-float(np.mean(found)) for found in logs.values()])
    targets = np.flatnonzero(values <= values.min() + NEAR_BEST)
    pool = {"kind": "pool", "source": str(source), "composition": "formula"}
    return Task("obelix", values, frozenset(map(int, targets)), 1, pool)


def redoxmers(data: Path, work: Path) -> Task:
    """Combinations of options on four sites; the lowest reduction potential."""
    described: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in read(data / "redoxmers" / "descriptors.csv"):
        site = row["site"].removesuffix("_label")
        described[site][row["option"]][row["descriptor"]] = float(row["value"])
    molecules = read(data / "redoxmers" / "molecules.csv")
    sites = [{site: row[site] for site in described} for row in molecules]
    rows = [
        {f"{site} {name}": value for site in described for name, value in described[site][row[site]].items()}
        for row in molecules
    ]
    source = work / "redoxmers.csv"
    write(source, [{"number": number, **row} for number, row in enumerate(rows, start=1)])
    values = np.array([float(row["reduction_potential"]) for row in molecules])
    pool = {"kind": "pool", "source": str(source), "id": "number", "columns": list(rows[0])}
    return Task("redoxmers", values, frozenset([int(values.argmin())]), 1, pool, sites, described)


def barriers(data: Path, work: Path) -> Task:
    """Distinct compositions with their lowest migration barrier; names that are no formulas are left out."""
    from pymatgen.core import Composition

    from invdesign.errors import InvdesignError
    from invdesign.structures.formulas import parse_composition

    lowest: dict[str, float] = {}
    for row in read(data / "barriers" / "literature.csv"):
        try:
            composition = parse_composition(plain_formula(row["COMPOSITION"]))
        except InvdesignError:
            continue
        formula = Composition(composition).reduced_formula
        lowest[formula] = min(lowest.get(formula, math.inf), float(row["MIGRATION BARRIER(eV)"]))
    source = work / "barriers.csv"
    write(source, [{"formula": formula} for formula in lowest])
    values = np.array(list(lowest.values()))
    pool = {"kind": "pool", "source": str(source), "composition": "formula"}
    return Task("barriers", values, frozenset(map(int, values.argsort(kind="stable")[:3])), 3, pool)


ELEMENT = "(?:Li|Na|K|Mg|Ca|Zn|Al|Sr|Ba|Rb|Cs|Ag|Cu|Y)"
TAG = re.compile(
    r"\((?:mono|hex|tri|mv|dv|MV|DV|in-plane|out-of_plane|Pmn21|Pbn21|[A-Z][a-z]?[a-z0-9/]*\d)\)"
)
PHASE = re.compile(r"^(?:[a-z]+\d?|[OP]\d?)-")
ION_BEFORE = re.compile(rf"^({ELEMENT})-(?=[A-Z])")
ION_AFTER = re.compile(rf"_({ELEMENT})$")
MISSPELT = {"Po4": "PO4", "LIMn": "LiMn"}


def plain_formula(name: str) -> str:
    """`b-VOPO4(Na)` as `VOPO4(Na)`, `VOF2_Na` as `VOF2(Na)`, `Li-Fe(CN)4` as `Fe(CN)4(Li)`."""
    text = name.strip()
    for wrong, right in MISSPELT.items():
        text = text.replace(wrong, right)
    text = ION_BEFORE.sub(r"\1", PHASE.sub("", TAG.sub("", text)))
    return ION_AFTER.sub(r"(\1)", text)


def number_in(cell: str) -> float:
    """A conductivity; of one below a limit of detection, the limit."""
    found = DETERMINED.match(cell.strip())
    if found is None:
        raise ValueError(f"'{cell}' is no conductivity")
    return float(found.group(1))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


TASKS: dict[str, Callable[[Path, Path], Task]] = {
    "obelix": obelix,
    "redoxmers": redoxmers,
    "barriers": barriers,
}


# Ours


def our_settings(method: str) -> Mapping[str, object]:
    """The optimizer a method's name, or the JSON of its settings, stands for."""
    if method.startswith("{"):
        return dict(json.loads(method))
    return OURS[method]


BAYESIAN = {"kind": "bayesian", "batch": 1, "initial": INITIAL}
OURS: dict[str, Mapping[str, object]] = {
    "invdesign": BAYESIAN,
    "invdesign_sites": BAYESIAN,
    "invdesign_screened": {"kind": "genetic", "population": 10, "offspring": 1, "prescreen": {}},
}


def ours(task: Task, method: str, seed: int) -> list[int]:
    """Rows in the order in which one of our optimizers proposed them."""
    space = space_of_sites(task) if method == "invdesign_sites" else task.space
    number = {tuple(sorted(row.items())): index for index, row in enumerate(task.sites)}
    rows: list[int] = []

    def evaluate(genome: Mapping[str, Any]) -> Mapping[str, float]:
        row = int(genome["row"]) - 1 if "row" in genome else number[tuple(sorted(genome.items()))]
        rows.append(row)
        return {"value": float(task.values[row])}

    plugin = settings.load("optimizers", our_settings(method))
    problem = Problem((Objective("value", "minimize"),))
    driven(plugin, space, problem, evaluate, min(CAP, len(task)), seed, lambda: task.done(rows))
    return rows


def space_of_sites(task: Task) -> Any:
    """One categorical parameter per site, its options described."""
    if task.descriptors is None:
        raise ValueError(f"{task.name} has no sites")
    parameters = {
        site: {"categorical": list(options), "descriptors": {name: dict(d) for name, d in options.items()}}
        for site, options in task.descriptors.items()
    }
    return settings.load("spaces", {"kind": "parameters", "parameters": parameters})


# Peers


class Chooser(Protocol):
    """Names the next row; `rows` were evaluated, in that order."""

    def __call__(self, rows: Sequence[int]) -> int: ...


def peer(task: Task, method: str, seed: int) -> list[int]:
    """Rows in the order in which a peer evaluated them."""
    first = np.random.default_rng([seed, 1]).permutation(len(task))
    if method == "random":
        ranked = [int(row) for row in first]
        return ranked[: max(CAP, task.evaluations(ranked))]
    choose = PEERS[method](task, seed)
    rows = [int(row) for row in first[:INITIAL]]
    enough = task.found if method in SLOW else task.done
    while len(rows) < min(CAP, len(task)) and not enough(rows):
        rows.append(choose(rows))
    return rows


def left(task: Task, rows: Sequence[int]) -> NDArray[np.int64]:
    """Rows not yet evaluated."""
    mask = np.ones(len(task), dtype=bool)
    mask[list(rows)] = False
    return np.flatnonzero(mask)


def optuna_of(sampler: Callable[[int], Any]) -> Callable[[Task, int], Chooser]:
    """An Optuna study whose points stand for rows."""

    def started(task: Task, seed: int) -> Chooser:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its experimental parts
            study = optuna.create_study(sampler=sampler(seed))
        return Sites(task, study) if task.sites else Snapped(task, study)

    return started


def tpe(seed: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=INITIAL)


def gp(seed: int) -> Any:
    import optuna

    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=INITIAL, deterministic_objective=True)


class Snapped:
    """Points among the principal components: the nearest row not yet evaluated is evaluated, and told at the point."""

    def __init__(self, task: Task, study: Any) -> None:
        import optuna

        self._task, self._study, self._told = task, study, 0
        low, high = task.components.min(axis=0), task.components.max(axis=0)
        self._axes = {
            f"x{axis}": optuna.distributions.FloatDistribution(float(low[axis]), float(high[axis]))
            for axis in range(task.components.shape[1])
        }

    def __call__(self, rows: Sequence[int]) -> int:
        import optuna

        for row in rows if not self._told else ():
            values = map(float, self._task.components[row])
            params = dict(zip(self._axes, values, strict=True))
            found = float(self._task.values[row])
            self._study.add_trial(
                optuna.trial.create_trial(params=params, distributions=self._axes, value=found)
            )
        trial = self._study.ask(self._axes)
        point = np.array([trial.params[name] for name in self._axes])
        free = left(self._task, rows)
        row = int(free[np.square(self._task.components[free] - point).sum(axis=1).argmin()])
        self._study.tell(trial, float(self._task.values[row]))
        self._told += 1
        return row


class Sites:
    """An option per site. A combination that was evaluated is told again and not counted; after 30, a random row."""

    def __init__(self, task: Task, study: Any) -> None:
        import optuna

        self._task, self._study, self._told = task, study, 0
        names = sorted(task.sites[0])
        self._axes = {
            site: optuna.distributions.CategoricalDistribution(sorted({row[site] for row in task.sites}))
            for site in names
        }
        self._number = {tuple(row[site] for site in names): index for index, row in enumerate(task.sites)}

    def __call__(self, rows: Sequence[int]) -> int:
        import optuna

        for row in rows if not self._told else ():
            found, params = float(self._task.values[row]), dict(self._task.sites[row])
            self._study.add_trial(
                optuna.trial.create_trial(params=params, distributions=self._axes, value=found)
            )
        self._told += 1
        known = set(rows)
        for _ in range(30):
            trial = self._study.ask(self._axes)
            row = self._number[tuple(trial.params[site] for site in self._axes)]
            self._study.tell(trial, float(self._task.values[row]))
            if row not in known:
                return row
        return int(np.random.default_rng(len(rows)).choice(left(self._task, rows)))


def forest_ucb(task: Task, seed: int) -> Chooser:
    """Random forest, mean and standard deviation over its trees."""
    from sklearn.ensemble import RandomForestRegressor

    def choose(rows: Sequence[int]) -> int:
        forest = RandomForestRegressor(n_estimators=100, random_state=seed, n_jobs=1)
        forest.fit(task.features[list(rows)], task.values[list(rows)])
        free = left(task, rows)
        trees = np.array([tree.predict(task.features[free]) for tree in forest.estimators_])
        return int(free[(trees.mean(axis=0) - 1.96 * trees.std(axis=0)).argmin()])

    return choose


def botorch_on(of: Callable[[Task], FloatArray]) -> Callable[[Task, int], Chooser]:
    """SingleTaskGP and LogEI as BoTorch's tutorials have them, over all rows not yet evaluated."""

    def started(task: Task, seed: int) -> Chooser:
        import torch
        from botorch.acquisition import LogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        raw = of(task)
        span = raw.max(axis=0) - raw.min(axis=0)
        x = torch.tensor((raw - raw.min(axis=0)) / span)

        def choose(rows: Sequence[int]) -> int:
            y = -torch.tensor(task.values[list(rows)])[:, None]
            torch.manual_seed(seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fits that had to be tried again
                model = SingleTaskGP(x[list(rows)], y)
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
                free = left(task, rows)
                with torch.no_grad():
                    gain = LogExpectedImprovement(model, best_f=y.max())(x[free][:, None])
            return int(free[int(gain.argmax())])

        return choose

    return started


PEERS: dict[str, Callable[[Task, int], Chooser]] = {
    "optuna_tpe": optuna_of(tpe),
    "optuna_gp": optuna_of(gp),
    "forest_ucb": forest_ucb,
    "botorch": botorch_on(lambda task: task.features),
    "botorch_pca": botorch_on(lambda task: task.components),
}
SLOW = {"optuna_gp", "botorch", "botorch_pca", "forest_ucb"}


# Figures


def methods_of(task: str) -> list[str]:
    """Every method of a task: barriers beside random search and Optuna alone."""
    own = ["invdesign", "invdesign_sites", "invdesign_screened"]
    if task != "redoxmers":
        own.remove("invdesign_sites")
    peers = ["optuna_tpe", "optuna_gp"] if task == "barriers" else list(PEERS)
    return [*own, "random", *peers]


def rows_of(task: Task, method: str, found: Sequence[Sequence[int]]) -> list[Row]:
    """Figures of one method from the rows of every seed."""
    needed = [float(task.evaluations(rows)) for rows in found]
    missed = [100.0 * (number > CAP) for number in needed]
    figures = [row_of("pool", task.name, method, "median_evaluations_to_best", needed, "evaluations")]
    figures.append(share_of(task.name, method, missed))
    for evaluations in REGRET_AT:
        regrets = [task.regret(rows, evaluations) for rows in found]
        unit = {"obelix": "log10(S/cm)", "redoxmers": "V", "barriers": "eV"}[task.name]
        figures.append(row_of("pool", task.name, method, f"regret_at_{evaluations}", regrets, unit))
    return figures


def share_of(task: str, method: str, missed: Sequence[float]) -> Row:
    """Per cent of the seeds that found nothing within 150 evaluations, with its bootstrap interval."""
    draws = np.random.default_rng(0).choice(np.asarray(missed), size=(10_000, len(missed))).mean(axis=1)
    low, high = map(float, np.percentile(draws, [2.5, 97.5]))
    share = float(np.mean(missed))
    return Row("pool", task, method, "missed", share, "% of seeds", len(missed), 0.0, low, high)


def run(task: Task, method: str, seed: int) -> Mapping[str, object]:
    """What one seed of one method evaluated, in its order."""
    own = method in OURS or method.startswith("{")
    return {"rows": ours(task, method, seed) if own else peer(task, method, seed)}


def main() -> None:
    parser = piecewise(__doc__, list(TASKS), SEEDS)
    default = Path(os.environ.get("INVDESIGN_BENCHMARK_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder with the tables")
    arguments = parser.parse_args()
    one_thread()
    records = Records(arguments.cache, arguments.fresh)
    figures: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.tasks:
            try:
                task = TASKS[name](arguments.data, Path(folder))
            except FileNotFoundError as error:
                print(f"{name} is left out: {error.filename} is not there; name its folder with --data")
                continue
            print(
                f"{name}: {len(task)} candidates, {task.features.shape[1]} features, {len(task.targets)} sought"
            )
            for method in arguments.methods or methods_of(name):
                count = arguments.seeds or (PEER_SEEDS if method in SLOW else SEEDS)
                for seed in range(arguments.seed_from, arguments.seed_from + count):
                    if not arguments.only_table:
                        measured(records, (name, method, seed), lambda: run(task, method, seed))  # noqa: B023 - called at once
            for method in records.methods(name):
                figures += rows_of(task, method, [record["rows"] for record in records.of(name, method)])
    print_table([row for row in figures if not row.metric.startswith("regret")])
    kept = [row for row in figures if row.n >= WRITTEN_FROM and not row.method.startswith("{")]
    if kept:
        merge_results("pool", kept)


if __name__ == "__main__":
    main()
