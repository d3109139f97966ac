"""Training of the shipped property models from the data sets.

`python benchmarks/surrogate_training.py NAME DATA`: trains the recipe `surrogates/regression/recipes/NAME.json` on the data set that it
names, and writes `surrogates/regression/shipped/NAME/`. DATA is the shared folder of data sets. The same seed gives the same arrays. The
figures on the card are those of `surrogate_models.py` for the groups of the model, with the learning curve and the importances; with the
same `--cache` finished folds are not run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from common import Records
from surrogate_models import FOLDS, MEAN, OURS, TREES, Split, judge_method, make_recipe

from surrogates.regression.blocks import compute_blocks
from surrogates.regression.evaluating import (
    Figures,
    complete_card,
    join_judgements,
    measure_importances,
    trace_learning_curve,
)
from surrogates.regression.recipe_file import list_recipes, read_recipe
from surrogates.regression.training import train

SHIPPED = Path(__file__).parents[1] / "surrogates" / "regression" / "shipped"
LARGEST_MEGABYTES = 10.0  # of a shipped model (chosen)
NAMED = ("mae", "rmse", "auc")  # figures of baselines on the card


def keep_errors(figures: Figures) -> Figures:
    """Figures that a baseline has too."""
    return replace(figures, figures=tuple(own for own in figures.figures if own.name in NAMED))


def main() -> None:
    """Train one model, judge it, and write its folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list_recipes())
    parser.add_argument("data", type=Path, help="folder of data sets")
    parser.add_argument("--output", type=Path, help="folder to write; that of the package if not given")
    parser.add_argument("--cache", type=Path, help="file with a JSON line per finished fold")
    parser.add_argument("--plain", action="store_true", help="train alone: no figures on the card")
    options = parser.parse_args()
    file = read_recipe(options.name)
    data = file.read_data(options.data)
    recipe = file.make_recipe()
    blocks = compute_blocks(recipe.feature_sets, data.materials)
    model = train(data, recipe, blocks)
    more = {"not_for": file.not_for, "notes": list(file.notes)}
    model = model.with_about(**{name: text for name, text in more.items() if text})
    if not options.plain:
        records = Records(options.cache)
        task = next(iter(file.tasks))
        every = {
            method: judge_method(
                records,
                task,
                method,
                file,
                data,
                blocks
                if method == OURS
                else compute_blocks(make_recipe(method, file).feature_sets, data.materials),
                Split(),
            )
            for method in (OURS, TREES, MEAN)
        }
        found = {
            method: join_judgements(data, make_recipe(method, file), own) for method, own in every.items()
        }
        model = complete_card(
            model,
            found[OURS],
            trace_learning_curve(data, recipe, FOLDS, blocks),
            measure_importances(model, data, blocks),
            {method: keep_errors(found[method]) for method in (TREES, MEAN)},
        )
    output = options.output or SHIPPED / options.name
    output.parent.mkdir(parents=True, exist_ok=True)
    model.write(output)
    size = sum(item.stat().st_size for item in output.iterdir()) / 1e6
    print(f"wrote {output}, {size:.2f} MB")
    if size > LARGEST_MEGABYTES:
        raise SystemExit(
            f"{output} takes {size:.1f} MB, and a shipped model may take {LARGEST_MEGABYTES:g} MB"
        )


if __name__ == "__main__":
    main()
