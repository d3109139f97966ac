"""Errors, coverage and domain of the shipped property models, beside trees on element statistics and the mean of the data.

`python benchmarks/surrogate_models.py DATA`: every task of every recipe in `surrogates/regression/recipes/`. DATA is the shared folder
of data sets. Rows are split into 5 balanced folds of whole groups, 3 times; the recipe is trained anew on each training part, where it
chooses its models by inner folds of the same groups. The baseline, extra trees on statistics of element properties, is trained on the
same parts. A recipe with features of a network is also trained without these, `without_network`. A task may leave out whole families instead, each alone too, or give the
folds equal numbers of groups (`_random`), so that one may hold most rows. Figures pool the folds of a split and are means over the splits; their intervals come from resampled groups (bootstrap). The
task `inference` times the shipped models on compositions that they have not seen, features included.

With `--cache FILE` finished folds are noted and not run again: the script can be stopped and run in pieces. Features of crystals, which
take minutes, are kept beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import Records, Row, merge_results, print_table, row_of, spread_of

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import rng_for
from surrogates.regression.blocks import Blocks, compute_blocks
from surrogates.regression.evaluating import Figure, Judgement, join_judgements, judge_fold, measure_figures
from surrogates.regression.features.registry import find_feature_set
from surrogates.regression.material import Dataset, Material
from surrogates.regression.models.contract import Candidate
from surrogates.regression.predicting import MODELS, load_predictor
from surrogates.regression.property_model import Predictions
from surrogates.regression.recipe_file import RecipeFile, TaskEntry, list_recipes, read_recipe
from surrogates.regression.splits import split_groups
from surrogates.regression.training import Recipe, baseline_recipe, label_regions

BENCHMARK = "surrogates"
FOLDS, SHUFFLES = 5, 3
OURS, TREES, MEAN = "invdesign", "extra trees on element statistics", "mean of the data"
WITHOUT_NETWORK = "without_network"
OF_MEANS = ("mae", "rmse")  # figures that a constant prediction has
WITH_UNIT = ("mae", "rmse", "crps", "interval_width")  # figures whose names end with the unit
COMPOSITIONS, REPEATS = 10_000, 3  # of the task `inference`
VARIATION = 0.2  # relative change of one amount, for compositions that are not in the data


@dataclass(frozen=True, eq=False)
class Split:
    """Way to split a data set.

    Attributes:
        folds: number of folds.
        shuffles: number of splits.
        balanced: folds hold similar numbers of rows, not of groups.
        outer: shape (n,), groups that the folds leave out whole; None for those of the data.
    """

    folds: int = FOLDS
    shuffles: int = SHUFFLES
    balanced: bool = True
    outer: IntArray | None = None


def make_split(task: TaskEntry, file: RecipeFile, data: Dataset, folder: Path) -> Split:
    """Split of a task; rows without a family are left out with those of the same anion chemistry."""
    outer = None
    if task.outer is not None and task.outer == (file.family,):
        outer = label_regions(data)[0]
    elif task.outer is not None:
        outer = file.read_data(folder, task.outer).groups
    groups = data.groups if outer is None else outer
    return Split(task.folds or len(np.unique(groups)), task.shuffles, task.balanced, outer)


def judge_method(
    records: Records, task: str, method: str, file: RecipeFile, data: Dataset, blocks: Blocks, split: Split
) -> list[list[Judgement]]:
    """Judge one method on all folds of a task; finished ones are read from `records`."""
    recipe = make_recipe(method, file)
    key = describe_run(method, recipe, data, split)
    known = {record["seed"] for record in records.of(task, method) if record["key"] == key}
    folds = split.folds
    for seed in range(split.shuffles * folds):
        if seed in known:
            continue
        began = time.process_time()
        records.add(
            (task, method, seed), {"key": key, **judge_seed(method, recipe, data, blocks, split, seed)}
        )
        print(f"{task:24} {method:36} fold {seed:3d} {time.process_time() - began:9.1f} s CPU", flush=True)
    found = [read_judgement(record) for record in records.of(task, method)]
    return [found[start : start + folds] for start in range(0, split.shuffles * folds, folds)]


def make_recipe(method: str, file: RecipeFile) -> Recipe:
    """Recipe of a method; that of the mean only gives the seed and the level."""
    if method == OURS:
        return file.make_recipe()
    if method == WITHOUT_NETWORK:
        return drop_networks(file.make_recipe())
    baseline = baseline_recipe(file.seed, classify=file.threshold is not None)
    return replace(baseline, level=file.level, folds=file.folds)


def list_methods(file: RecipeFile) -> tuple[str, ...]:
    """Methods to compare; without a network's features only where the recipe has some."""
    recipe = file.make_recipe()
    return (OURS, *([WITHOUT_NETWORK] if drop_networks(recipe) != recipe else []), TREES, MEAN)


def drop_networks(recipe: Recipe) -> Recipe:
    """Recipe without the features that a network computes from crystals; candidates that become equal count once."""
    networks = {
        name
        for name in recipe.feature_sets
        if find_feature_set(name).weights and find_feature_set(name).needs == "crystal"
    }
    kept: list[Candidate] = []
    for candidate in recipe.candidates:
        features = tuple(name for name in candidate.features if name not in networks)
        fewer = replace(candidate, features=features)
        if features and fewer not in kept:
            kept.append(fewer)
    return replace(recipe, candidates=tuple(kept))


def read_blocks(names: Sequence[str], data: Dataset, cache: Path | None) -> Blocks:
    """Features of a data set; those of crystals are kept in files beside `cache`."""
    found: dict[str, FloatArray] = {}
    for name in names:
        own = find_feature_set(name)
        columns = ",".join(column.name for column in own.columns)
        parts = [
            data.source.sha256,
            [material.name for material in data.materials],
            name,
            columns,
            own.weights,
        ]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        path = (
            cache.with_name(f"features_{name}_{key}.npy")
            if cache and own.needs in ("cell", "crystal")
            else None
        )
        if path is not None and path.is_file():
            found[name] = np.load(path, allow_pickle=False)
            continue
        found[name] = compute_blocks((name,), data.materials).values[name]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found[name], allow_pickle=False)
    return Blocks(found)


def describe_run(method: str, recipe: Recipe, data: Dataset, split: Split) -> str:
    """Hash of everything that a fold depends on but the code."""
    outer = None if split.outer is None else split.outer.tolist()
    parts = [
        method,
        recipe.config,
        data.source.sha256,
        data.groups.tolist(),
        data.y.tolist(),
        split.folds,
        split.balanced,
        outer,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def judge_seed(
    method: str, recipe: Recipe, data: Dataset, blocks: Blocks, split: Split, seed: int
) -> dict[str, Any]:
    """Predictions of one fold as plain JSON."""
    folds, outer = split.folds, split.outer
    shuffle, number = divmod(seed, folds)
    if method != MEAN:
        return write_judgement(
            judge_fold(data, recipe, blocks, folds, shuffle, number, outer, balanced=split.balanced)
        )
    groups = data.groups if outer is None else outer
    rows, test = split_groups(groups, folds, recipe.seed + shuffle, balanced=split.balanced)[number]
    mean = np.full(len(test), data.y[rows][data.censoring[rows] == 0].mean())
    none, inside = np.zeros(len(test)), np.zeros(len(test), dtype=np.bool_)
    return write_judgement(
        Judgement(test, Predictions(mean, mean, mean, none + 1.0, none, inside, ("",) * len(test)), None)
    )


def write_judgement(own: Judgement) -> dict[str, Any]:
    """Plain JSON of the predictions of a fold."""
    found = own.predictions
    return {
        "rows": own.rows.tolist(),
        "area": own.out_of_domain_auc,
        "outside": found.outside.tolist(),
        "probability": None if found.probability is None else round_numbers(found.probability),
        **{
            name: round_numbers(getattr(found, name))
            for name in ("mean", "lower", "upper", "deviation", "distance")
        },
    }


def round_numbers(numbers: FloatArray) -> list[float]:
    """Numbers with eight digits, which keeps the notes small."""
    return [float(f"{number:.8g}") for number in numbers]


def read_judgement(record: dict[str, Any]) -> Judgement:
    """Predictions of a fold from a note."""
    columns = {name: np.array(record[name]) for name in ("mean", "lower", "upper", "deviation", "distance")}
    probability = None if record["probability"] is None else np.array(record["probability"])
    outside = np.array(record["outside"], dtype=np.bool_)
    found = Predictions(**columns, outside=outside, reasons=("",) * len(outside), probability=probability)
    return Judgement(np.array(record["rows"], dtype=np.int64), found, record["area"])


def list_rows(
    task: str, method: str, file: RecipeFile, data: Dataset, every: list[list[Judgement]], split: Split
) -> list[Row]:
    """Rows of the results file for one method on one task, those of compounds of single elements too."""
    figures = join_judgements(data, make_recipe(method, file), every, split.outer)
    data = data if split.outer is None else replace(data, groups=split.outer)
    rows = [
        *make_rows(task, method, file, data, figures.predictions),
        *(
            Row(BENCHMARK, task, method, own.name, own.value, "", own.rows, 0.0)
            for own in figures.figures
            if own.name == "out_of_domain_auc"
        ),
    ]
    for element in file.elements:
        places = np.flatnonzero([element in material.composition for material in data.materials])
        part = [select_predictions(found, places) for found in figures.predictions]
        rows += make_rows(f"{task}_{element}", method, file, data.select_rows(places), part)
    return rows


def select_predictions(found: Predictions, places: np.ndarray) -> Predictions:
    """Predictions of some rows."""
    columns = {
        name: getattr(found, name)[places]
        for name in ("mean", "lower", "upper", "deviation", "distance", "outside")
    }
    probability = None if found.probability is None else found.probability[places]
    return Predictions(**columns, reasons=("",) * len(places), probability=probability)


def make_rows(
    task: str, method: str, file: RecipeFile, data: Dataset, every: Sequence[Predictions]
) -> list[Row]:
    """Rows of figures of merit; `spread` is that between the splits."""
    single = [{own.name: own.value for own in measure_figures(data, [found], file.level)} for found in every]
    return [
        Row(
            BENCHMARK,
            task,
            method,
            name_metric(own, file),
            own.value,
            own.unit,
            own.rows,
            spread_of([values[own.name] for values in single])[1],
            own.low,
            own.high,
        )
        for own in measure_figures(data, every, file.level)
        if method != MEAN or own.name in OF_MEANS
    ]


def name_metric(figure: Figure, file: RecipeFile) -> str:
    """Name of a figure in the results file: `mae_v`, `coverage_90_percent`."""
    if figure.name in WITH_UNIT:
        return "_".join(filter(None, (figure.name, file.suffix)))
    return f"{figure.name}_percent" if figure.name.startswith("coverage") else figure.name


def time_inference(name: str, data: Dataset) -> Row:
    """Seconds of a shipped model for `COMPOSITIONS` materials of its kind, features included."""
    predictor = load_predictor(name)
    predictor.predict_each(data.materials[:10])  # tables of elements are read once
    seconds = []
    for repeat in range(REPEATS):
        materials = vary_materials(data.materials, repeat)  # new ones: charge balances are kept in memory
        began = time.process_time()
        predictor.predict_each(materials)
        seconds.append(time.process_time() - began)
    return row_of(BENCHMARK, "inference", name, "seconds_per_10000", seconds, "s")


def vary_materials(materials: Sequence[Material], seed: int) -> list[Material]:
    """`COMPOSITIONS` materials like those given, each with another composition; crystals stay as they are.

    Of electrodes the contents of ions change, so that the hosts stay those of both forms.
    """
    rng = rng_for(seed, 0, "compositions")
    found = []
    for number in range(COMPOSITIONS):
        material = materials[number % len(materials)]
        amounts = dict(material.composition)
        if material.crystal is None:
            names = [name for name in amounts if material.charged is None or name == "Li"]
            symbol = names[int(rng.integers(len(names)))]
            amounts[symbol] *= 1.0 + VARIATION * rng.random()
        found.append(replace(material, composition=amounts))
    return found


def main() -> None:
    """Run the tasks and write `results/surrogates.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of data sets")
    parser.add_argument("--models", nargs="+", choices=list_recipes(), default=list(list_recipes()))
    parser.add_argument("--tasks", nargs="+", help="of these models; `inference` too")
    parser.add_argument("--cache", type=Path, help="file with a JSON line per finished fold")
    parser.add_argument("--shuffles", type=int, default=SHUFFLES, help="splits at most")
    parser.add_argument("--no-write", action="store_true", help="print the table alone")
    options = parser.parse_args()
    records = Records(options.cache)
    rows: list[Row] = []
    for name in options.models:
        file = read_recipe(name)
        blocks: dict[str, Blocks] = {}
        for task, entry in file.tasks.items():
            if options.tasks and task not in options.tasks:
                continue
            data = file.read_data(options.data, entry.groups)
            split = make_split(entry, file, data, options.data)
            split = replace(split, shuffles=min(split.shuffles, options.shuffles))
            for method in list_methods(file):
                if method not in blocks and method != MEAN:
                    sets = make_recipe(method, file).feature_sets
                    blocks[method] = read_blocks(sets, data, options.cache)
                every = judge_method(records, task, method, file, data, blocks.get(method, Blocks({})), split)
                rows += list_rows(task, method, file, data, every, split)
        if name in MODELS.names() and (not options.tasks or "inference" in options.tasks):
            rows.append(time_inference(name, file.read_data(options.data)))
    print_table(rows)
    if rows and not options.no_write:
        merge_results(BENCHMARK, rows)


if __name__ == "__main__":
    main()
