"""Conductivities with and without CHGNet's atom features, on the rows that have a crystal.

`python benchmarks/surrogate_networks.py DATA`: rows of the recipe `conductivity` whose crystals are in the archive, partly occupied sites
as mixtures of element vectors. The recipe stands beside the same one with the network's features as a further block of every candidate, and
beside these features alone. Folds, shuffles and figures are those of `surrogate_models.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common import Records, Row, merge_results, print_table
from surrogate_models import OURS, TREES, Split, judge_method, list_rows

from surrogates.regression.blocks import compute_blocks
from surrogates.regression.recipe_file import CandidateEntry, RecipeFile, read_recipe

TASK, NETWORK = "conductivity_crystals", "chgnet"
CRYSTALS = "obelix/train_cifs.tar.gz"


def make_files() -> Mapping[str, RecipeFile]:
    """Recipes by the name of the method."""
    plain = read_recipe("conductivity").model_copy(update={"crystals": CRYSTALS, "drop_incomplete": True})
    added = [entry.model_copy(update={"features": (*entry.features, NETWORK)}) for entry in plain.candidates]
    alone = [entry.model_copy(update={"features": (NETWORK,)}) for entry in plain.candidates[1:]]
    return {
        f"{OURS} with CHGNet's atom features": replace_candidates(plain, added),
        "CHGNet's atom features alone": replace_candidates(plain, _drop_equal(alone)),
        OURS: plain,
    }


def replace_candidates(file: RecipeFile, candidates: Sequence[CandidateEntry]) -> RecipeFile:
    """Recipe with other candidates."""
    return file.model_copy(update={"candidates": tuple(candidates)})


def _drop_equal(candidates: Sequence[CandidateEntry]) -> list[CandidateEntry]:
    kept: list[CandidateEntry] = []
    for candidate in candidates:
        if candidate not in kept:
            kept.append(candidate)
    return kept


def main() -> None:
    """Run all methods and write `results/surrogates.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of data sets")
    parser.add_argument("--cache", type=Path, help="file with a JSON line per finished fold")
    parser.add_argument("--no-write", action="store_true", help="print the table alone")
    options = parser.parse_args()
    records, files = Records(options.cache), make_files()
    richest = next(iter(files.values()))
    data = richest.read_data(options.data)
    sets = (*richest.make_recipe().feature_sets, "element_statistics")
    blocks = compute_blocks(tuple(dict.fromkeys(sets)), data.materials)
    rows: list[Row] = []
    for method, file in {**files, TREES: richest}.items():
        own = OURS if method != TREES else TREES  # the recipe of a file, or the baseline
        every = judge_method(records, f"{TASK} {method}", own, file, data, blocks, Split())
        found = list_rows(TASK, own, file, data, every, Split())
        rows += [replace(row, method=method) for row in found]
    print_table(rows)
    if not options.no_write:
        merge_results("surrogates", rows)


if __name__ == "__main__":
    main()
