"""Screens of charge-neutral compositions of lithium by a linear model of conductivities.

Pieces of the task `conductor`, each of which is run once and noted in `--cache`:

- `rate`: more than 1e9 compositions with least and largest value, mean and deviation of twenty elemental properties and the fractions
  of elements in a ridge regression, by `invdesign screen` with two workers: compositions per second and memory of all its processes.
  The same model is evaluated row by row: features of one composition at a time as the evaluator computes them
  (`ratio_to_row_by_row`), and by ten lines of NumPy for exactly this model (`ratio_to_plain_rows`), per CPU second each.
- `brute_force`: more than 1e8 compositions, whose features are all computed and predicted by the model itself, in blocks: share of the
  thousand best that are the same, in the same order.
- `kill`: the same screen killed (SIGKILL, all processes) `KILLS` times: share of the lines of its table, and of its counts, that are the same.
- `trees`: compositions per second of extra trees on the same features, with two workers.
- `enrichment`: the recipe of `conductivity_composition`, the second tier of `campaigns/conductor_screen.yaml`, on rows of OBELiX that its
  training left out with their publication and formula (5 folds, 3 shuffles). All rows are ranked by these predictions.
  `enrichment_top_1_percent`: share of conductors (1e-4 S/cm or more) among the first percent of the rows, over their share among
  all; `enrichment_possible` is that of a perfect ranking. `false_positives_top_100`: share of rows below 1e-6 S/cm among the first 100;
  `poor_share` is their share among all. Limits count where they decide the side. Means over the shuffles; intervals (95 %) by
  resampled groups.
- `second_tier`: compositions per CPU second of the shipped `conductivity_composition`, features included, one thread.

The models are trained first, on the formulas and conductivities of OBELiX.

    python benchmarks/screening.py --cache /tmp/screening.jsonl
    python benchmarks/screening.py --cache /tmp/screening.jsonl --tasks rate
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import Records, Row, merge_results, print_table

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Json

STATES = {
    **{key: [1] for key in ("Li", "Na", "K")},
    **{key: [2] for key in ("Mg", "Ca", "Sr", "Ba", "Zn", "Ni")},
    **{key: [3] for key in ("Al", "Ga", "In", "Y", "La", "Sc", "B")},
    **{key: [4] for key in ("Zr", "Hf", "Si", "Ge")},
    **{key: [5] for key in ("Nb", "Ta")},
    **{key: [-2] for key in ("O", "S", "Se", "Te")},
    **{key: [-1] for key in ("F", "Cl", "Br", "I")},
    "Ti": [3, 4], "Sn": [2, 4], "P": [3, 5], "As": [3, 5], "Sb": [3, 5], "V": [3, 4, 5], "Mo": [4, 6], "W": [6],
    "Fe": [2, 3], "Mn": [2, 3, 4], "Co": [2, 3], "Cu": [1, 2], "Cr": [3, 6], "N": [-3],
}  # fmt: skip
"""Elements and states; lithium is in every formula."""
LARGE, SMALL = 21, 12  # largest counts: 1.06e9 and 1.05e8 compositions
TOP = 1_000
WORKERS = 2
KILLS = 5
ROWS = 3_000  # evaluated one by one
PIECES = ("rate", "brute_force", "kill", "trees", "enrichment", "second_tier")
SECOND_TIER = "conductivity_composition"
FOLDS, SHUFFLES = 5, 3  # of left-out publications
CONDUCTOR, POOR = -4.0, -6.0  # log10(S/cm): at least, and below
TOP_SHARE, TOP_ROWS = 0.01, 100  # ranked first
RESAMPLES = 1_000  # of groups (chosen)
PROPERTY = "log10_conductivity"
MODELS = {
    "ridge": "element_fractions,element_statistics",
    "extra_trees": "element_fractions,element_statistics",
}
BLOCK = 20_000  # compositions of brute force at a time
Table = list[dict[str, str]]


def data_folder() -> Path:
    """The folder of measured data, which is not part of the project."""
    return Path(os.environ.get("INVDESIGN_BENCHMARK_DATA", Path(__file__).parents[2] / "shared" / "data"))


def train_models(folder: Path) -> None:
    """Train the models of the screens, unless they are there."""
    table = data_folder() / "obelix" / "train.csv"
    for kind, features in MODELS.items():
        if not (folder / kind).exists():
            command = [
                *INVDESIGN,
                "surrogate",
                "train",
                str(table),
                "--target",
                "Ionic conductivity (S cm-1)",
                "--log10",
            ]
            command += ["--formula", "True Composition", "--property", PROPERTY, "--groups", "DOI,formula"]
            command += [
                "--features",
                features,
                "--model",
                kind,
                "--shuffles",
                "0",
                "--output",
                str(folder / kind),
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


INVDESIGN = [sys.executable, "-m", "invdesign"]


def write_campaign(folder: Path, name: str, max_count: int, models: Sequence[str], elements: int = 5) -> Path:
    """Write the campaign of a screen."""
    data: dict[str, Json] = {
        "version": 1,
        "name": name,
        "space": {
            "kind": "composition",
            "elements": {symbol: list(states) for symbol, states in STATES.items()},
            "required": ["Li"],
            "elements_per_formula": [2, elements],
            "max_count": max_count,
        },
        "evaluate": [{"surrogate": {"model": str(folder / model), "name": model}} for model in models],
        "objectives": [{"maximize": PROPERTY}],
        "optimizer": "random",
        "budget": {"candidates": 1},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def screen_command(campaign: Path, output: Path, *options: str) -> list[str]:
    return [
        *INVDESIGN,
        "screen",
        str(campaign),
        "--output",
        str(output),
        "--top",
        str(TOP),
        "--workers",
        str(WORKERS),
        *options,
    ]


def watch_memory(process: subprocess.Popen[bytes]) -> list[float]:
    """Resident memory in MB of a process and its children, once a second until it ends."""
    found: list[float] = []
    while process.poll() is None:
        try:
            own = psutil.Process(process.pid)
            found.append(sum(item.memory_info().rss for item in (own, *own.children(recursive=True))) / 1e6)
        except psutil.NoSuchProcess:
            pass
        time.sleep(1.0)
    return found


def read_outputs(folder: Path) -> tuple[Table, dict[str, Any]]:
    """Table and facts of a finished screen."""
    with (folder / "top.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream)), json.loads((folder / "screen.json").read_text(encoding="utf-8"))


def measure_rate(folder: Path) -> dict[str, float]:
    campaign, output = write_campaign(folder, "rate", LARGE, ["ridge"]), folder / "rate"
    process = subprocess.Popen(screen_command(campaign, output))
    memory = watch_memory(process)
    if process.returncode:
        raise SystemExit(f"the screen ended with {process.returncode}")
    _, facts = read_outputs(output)
    first = facts["passes"][0]
    scan = memory[
        len(memory) // 4 : int(
            len(memory) * first["seconds"] / sum(own["seconds"] for own in facts["passes"])
        )
        - 10
    ]
    rows, plain = row_rates(campaign)
    return {
        "compositions": facts["candidates"],
        "compositions_per_second": first["seen"] / first["seconds"],
        "with_rescoring_per_second": first["seen"] / sum(own["seconds"] for own in facts["passes"]),
        "per_worker_second": first["candidates_per_worker_second"],
        "rows_per_second": rows,
        "ratio_to_row_by_row": first["candidates_per_worker_second"] / rows,
        "ratio_to_plain_rows": first["candidates_per_worker_second"] / plain,
        "rss_mb": max(memory),
        "rss_growth_mb": max(scan[len(scan) // 2 :]) - max(scan[: len(scan) // 2]),  # of the pass through all
    }


def row_rates(campaign: Path) -> tuple[float, float]:
    """Compositions per CPU second, one after the other: by the features and the model, and by plain NumPy."""
    from surrogates.regression.linear_blocks import find_statistics_model

    space, evaluator = load_screen(campaign)
    listed = space.compositions
    rng = random.Random(0)
    chosen = [
        {k: float(v) for k, v in listed.unrank(rng.randrange(listed.count())).items()} for _ in range(ROWS)
    ]
    evaluator.prepare()
    plain = find_statistics_model(evaluator._predictor.model.members)  # noqa: SLF001 - what the screen uses
    assert plain is not None
    rates = []
    for score in (
        lambda own: evaluator.score_compositions([own], (PROPERTY,)),
        lambda own: plain.score([own]),
    ):
        score(chosen[0])
        began = time.process_time()
        for own in chosen:
            score(own)
        rates.append(ROWS / (time.process_time() - began))
    return rates[0], rates[1]


def load_screen(campaign: Path) -> tuple[Any, Any]:
    """Space and evaluator of the first stage."""
    from invdesign.campaign.load import load_campaign

    found = load_campaign(campaign)
    return found.space, found.stages[0].evaluator


def small_screen(folder: Path) -> tuple[Path, Path]:
    """Campaign and outputs of the screen of 1e8 compositions, run if it has not been."""
    campaign, output = write_campaign(folder, "small", SMALL, ["ridge"]), folder / "small"
    subprocess.run(screen_command(campaign, output), check=True, stdout=subprocess.DEVNULL)
    return campaign, output


def compare_brute_force(folder: Path) -> dict[str, float]:
    campaign, output = small_screen(folder)
    space, evaluator = load_screen(campaign)
    evaluator.prepare()
    best, seen = search_all(space.compositions, evaluator._predictor.model)  # noqa: SLF001 - the model itself
    table, facts = read_outputs(output)
    if seen != facts["candidates"]:
        raise SystemExit(f"brute force saw {seen} compositions, the screen {facts['candidates']}")
    same = 0
    for (amounts, value), row in zip(best, table, strict=True):
        found = next(float(text) for name, text in row.items() if name.startswith(f"{PROPERTY} ("))
        same += reduce_formula(row["formula"]) == amounts and abs(found - value) < 1e-8
    return {"compositions": seen, "top_k_equals_brute_force": 100.0 * same / len(table)}


def reduce_formula(formula: str) -> dict[str, int]:
    from pymatgen.core import Composition

    return {str(name): int(n) for name, n in Composition(formula).as_dict().items()}


def search_all(listed: Any, model: Any) -> tuple[list[tuple[dict[str, int], float]], int]:
    """The best of all compositions, whose features are computed and predicted one block after the other."""
    from surrogates.regression.blocks import Blocks
    from surrogates.regression.members import predict_mean

    values, places, seen = np.empty(0), np.empty(0, dtype=np.int64), 0
    for first, blocks in feature_blocks(listed):
        mean = predict_mean(model.members, Blocks(blocks))[0]
        values = np.concatenate(
            [values, np.array([float(f"{value:.10g}") for value in mean[few_best(mean)]])]
        )
        places = np.concatenate([places, first[few_best(mean)]])
        order = np.lexsort((places, -values))[:TOP]
        values, places, seen = values[order], places[order], seen + len(mean)
    return [
        (dict(listed.unrank(place)), value)
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
    ], seen


def few_best(mean: FloatArray) -> IntArray:
    """Positions of the best of a block, and those that may tie with them."""
    if len(mean) <= TOP:
        return np.arange(len(mean))
    return np.flatnonzero(mean >= np.partition(mean, -TOP)[-TOP] - 1e-6)


def feature_blocks(listed: Any) -> Iterator[tuple[IntArray, dict[str, FloatArray]]]:
    """Iterate over numbers of compositions with their features, by the formulas of the feature sets."""
    from invdesign.structures.charges import element_symbols
    from surrogates.regression.features.composition import DIGITS, property_table

    table, number = (
        property_table(),
        {symbol: place for place, symbol in enumerate(element_symbols(), start=1)},
    )
    for own in listed.sets():
        rows = np.array([number[name] for name in own.elements])
        values, first = table[rows], own.first
        for counts in listed.list_vectors(own.slots):
            for start in range(0, len(counts), BLOCK):
                some = counts[start : start + BLOCK].astype(np.float64)
                shares = some / some.sum(axis=1, keepdims=True)
                mean = shares @ values
                variance = ((values[None] - mean[:, None]) ** 2 * shares[:, :, None]).sum(axis=1)
                ends = (
                    np.broadcast_to(values.min(axis=0), mean.shape),
                    np.broadcast_to(values.max(axis=0), mean.shape),
                )
                statistics = np.stack([mean, np.sqrt(variance), *ends], axis=2).reshape(len(some), -1)
                fractions = np.zeros((len(some), len(table) - 1))
                fractions[:, rows - 1] = shares
                blocks = {"element_statistics": np.round(statistics, DIGITS), "element_fractions": fractions}
                yield np.arange(first, first + len(some)), blocks
                first += len(some)


def compare_killed(folder: Path) -> dict[str, float]:
    campaign, whole = small_screen(folder)
    output, rng, kills = folder / "killed", random.Random(1), 0
    while True:
        process = subprocess.Popen(
            screen_command(campaign, output), start_new_session=True, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(6.0, 13.0) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        break
    (table, facts), (other, others) = read_outputs(whole), read_outputs(output)
    counts = [
        [(own["seen"], own["refused"], own["kept"], own["histogram"]) for own in found["passes"]]
        for found in (facts, others)
    ]
    same = sum(row == again for row, again in zip(table, other, strict=True)) if counts[0] == counts[1] else 0
    return {"kills": kills, "identical_after_kill": 100.0 * same / len(table)}


def measure_trees(folder: Path) -> dict[str, float]:
    campaign, output = (
        write_campaign(folder, "trees", 5, ["ridge", "extra_trees"], elements=4),
        folder / "trees",
    )
    subprocess.run(
        screen_command(campaign, output, "--keep", "200000"), check=True, stdout=subprocess.DEVNULL
    )
    _, facts = read_outputs(output)
    return {"trees_per_second": facts["passes"][1]["seen"] / facts["passes"][1]["seconds"]}


def measure_enrichment(folder: Path) -> dict[str, float]:
    """Enrichment of conductors, and share of poor ones, in rankings of left-out publications."""
    from surrogates.regression.blocks import compute_blocks
    from surrogates.regression.evaluating import judge_fold
    from surrogates.regression.recipe_file import read_recipe

    file = read_recipe(SECOND_TIER)
    data, recipe = file.read_data(data_folder()), file.make_recipe()
    blocks, records = compute_blocks(recipe.feature_sets, data.materials), Records(folder / "folds.jsonl")
    predicted = np.full((SHUFFLES, len(data)), np.nan)
    for shuffle in range(SHUFFLES):
        for number in range(FOLDS):
            key = (f"shuffle {shuffle}", SECOND_TIER, number)
            if key not in records:
                own = judge_fold(data, recipe, blocks, FOLDS, shuffle, number)
                records.add(key, {"rows": own.rows.tolist(), "mean": own.predictions.mean.tolist()})
        for record in records.of(f"shuffle {shuffle}", SECOND_TIER):
            predicted[shuffle, record["rows"]] = record["mean"]
    members = [np.flatnonzero(data.groups == group) for group in np.unique(data.groups)]
    rng = np.random.default_rng(0)
    found = score_rankings(data, predicted, np.arange(len(data)))
    drawn = [
        score_rankings(
            data,
            predicted,
            np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))]),
        )
        for _ in range(RESAMPLES)
    ]
    for name in list(found):
        low, high = np.nanquantile([own[name] for own in drawn], [0.025, 0.975])
        found |= {f"{name} low": float(low), f"{name} high": float(high)}
    return found


def score_rankings(data: Any, predicted: FloatArray, rows: IntArray) -> dict[str, float]:
    """Figures of the rankings of `rows`, means over the shuffles.

    Args:
        data: n rows with values.
        predicted: shape (shuffles, n), of models that did not see the row.
        rows: shape (m,), rows that are ranked.
    """
    from surrogates.regression.probability import label_rows

    y, censoring = data.y[rows], data.censoring[rows]
    (good, sure), (fair, decided) = (label_rows(y, censoring, limit) for limit in (CONDUCTOR, POOR))
    enrichment, share = [], float((good[sure] > 0).mean())
    poor = fair <= 0
    false: list[float] = []
    for own in predicted[:, rows]:
        order = np.argsort(-own, kind="stable")
        known = order[sure[order]]
        first = known[: round(np.ceil(TOP_SHARE * len(known)))]
        enrichment.append(float((good[first] > 0).mean()) / share if share else np.nan)
        false.append(100.0 * float(poor[order[decided[order]][:TOP_ROWS]].mean()))
    return {
        "enrichment_top_1_percent": float(np.mean(enrichment)),
        "enrichment_possible": 1.0 / share if share else np.nan,
        "false_positives_top_100": float(np.mean(false)),
        "poor_share": 100.0 * float(poor[decided].mean()),
    }


def measure_second_tier(folder: Path) -> dict[str, float]:
    """Rate of the shipped model on random compositions."""
    from surrogates.regression.evaluator import Surrogate

    space, _ = load_screen(write_campaign(folder, "small", SMALL, ["ridge"]))
    rng, count = random.Random(0), space.compositions.count()
    chosen = [
        {k: float(v) for k, v in space.compositions.unrank(rng.randrange(count)).items()} for _ in range(ROWS)
    ]
    evaluator = Surrogate.model_validate({"model": SECOND_TIER})
    evaluator.prepare()
    evaluator.score_compositions(chosen[:10], (PROPERTY,))
    began = time.process_time()
    evaluator.score_compositions(chosen[10:], (PROPERTY,))
    return {"second_tier_per_cpu_second": (ROWS - 10) / (time.process_time() - began)}


RUNS = {
    "rate": measure_rate,
    "brute_force": compare_brute_force,
    "kill": compare_killed,
    "trees": measure_trees,
    "enrichment": measure_enrichment,
    "second_tier": measure_second_tier,
}
UNITS = {
    "compositions_per_second": "1/s",
    "with_rescoring_per_second": "1/s",
    "per_worker_second": "1/s",
    "rows_per_second": "1/s",
    "ratio_to_row_by_row": "",
    "ratio_to_plain_rows": "",
    "rss_mb": "MB",
    "rss_growth_mb": "MB",
    "top_k_equals_brute_force": "%",
    "identical_after_kill": "%",
    "trees_per_second": "1/s",
    "enrichment_top_1_percent": "",
    "enrichment_possible": "",
    "false_positives_top_100": "%",
    "poor_share": "%",
    "second_tier_per_cpu_second": "1/s",
}


def make_rows(records: Records) -> list[Row]:
    """Rows of all pieces that have been run."""
    found: dict[str, Mapping[str, Any]] = {
        piece: record for piece in PIECES for record in records.of(piece, "invdesign")
    }
    return [
        Row(
            "screening",
            "conductor",
            "invdesign",
            metric,
            float(record[metric]),
            unit,
            1,
            0.0,
            record.get(f"{metric} low"),
            record.get(f"{metric} high"),
        )
        for record in found.values()
        for metric, unit in UNITS.items()
        if metric in record
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument(
        "--cache", type=Path, help="file with a JSON line per finished piece; they are not run again"
    )
    parser.add_argument(
        "--folder", type=Path, help="for models and screens, which go on from there; else a new one"
    )
    arguments = parser.parse_args()
    records = Records(arguments.cache)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for piece in arguments.tasks:
            if (piece, "invdesign", 0) not in records:
                train_models(folder)
                found = RUNS[piece](folder)
                records.add((piece, "invdesign", 0), found)
                print(piece, json.dumps(found), flush=True)
    rows = make_rows(records)
    merge_results("screening", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
