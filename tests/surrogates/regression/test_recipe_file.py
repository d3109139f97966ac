"""Recipe files of shipped models: complete, checked, and the same arrays for the same seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from invdesign.artifacts import Artifact
from invdesign.errors import InvdesignError
from surrogates.regression.errors import TrainingError
from surrogates.regression.predicting import MODELS
from surrogates.regression.property_model import PropertyModel
from surrogates.regression.recipe_file import list_recipes, parse_recipe, read_recipe
from surrogates.regression.training import train

RECIPE: dict[str, Any] = {
    "data": "table/oxides.csv",
    "licence": "CC0",
    "column": "melting point",
    "unit": "K",
    "property": "melting_point",
    "tasks": {"melting": {}},
    "candidates": [
        {"features": ["element_fractions"], "kind": "ridge"},
        {"features": ["element_statistics"], "kind": "extra_trees", "settings": {"trees": 20}},
        {"features": ["element_statistics"], "kind": "gaussian_process", "settings": {"iterations": 10}},
    ],
    "folds": 3,
}


def write_table(folder: Path) -> None:
    """Table of made-up numbers for 40 oxides, which the recipe names."""
    metals = ("Li", "Na", "K", "Mg", "Ca", "Ba", "Al", "Ti", "Fe", "Ni")
    lines = [
        f"{metal}{count}O4,{1000 + 37 * place + 101 * count}"
        for place, metal in enumerate(metals)
        for count in (1, 3, 5, 7)
    ]
    (folder / "table").mkdir()
    (folder / "table" / "oxides.csv").write_text("\n".join(["formula,melting point", *lines]) + "\n")


def read_text(**changes: Any) -> str:
    """Text of the recipe with `changes`."""
    return json.dumps({**RECIPE, **changes})


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_of_a_shipped_model_is_complete(name: str) -> None:
    """Licence and tasks are stated, and the first task is that of the model."""
    recipe = read_recipe(name)
    first = next(iter(recipe.tasks.values()))
    assert recipe.licence
    assert first.groups in (None, recipe.groups)
    assert first.outer is None


@pytest.mark.parametrize("name", MODELS.names())
def test_every_shipped_model_is_that_of_its_recipe(name: str) -> None:
    """A model is made from the recipe of its name, is small, and says where its data come from."""
    artifact, recipe = MODELS.read(name), read_recipe(name)
    model = PropertyModel.from_artifact(artifact)
    about = model.about
    assert about["recipe"] == recipe.make_recipe().config
    assert about["data"]["licence"] == recipe.licence
    assert len(about["data"]["sha256"]) == 64
    assert model.target.name == recipe.property
    assert artifact.size < 10e6
    coverage = next(own for own in about["figures"]["figures"] if own["metric"] == "coverage_90")
    assert 85 <= coverage["value"] <= 95


def test_the_same_seed_gives_the_same_arrays(tmp_path: Path) -> None:
    """Two trainings of one recipe agree in every bit."""
    write_table(tmp_path)
    recipes = [parse_recipe(read_text(seed=3), "recipe.json") for _ in range(2)]
    models = [train(recipe.read_data(tmp_path), recipe.make_recipe()) for recipe in recipes]
    for place, model in enumerate(models):
        model.write(tmp_path / str(place))
    folders = [Artifact.read(tmp_path / str(place)).tensors() for place in range(2)]
    assert folders[0].keys() == folders[1].keys()
    for name, values in folders[0].items():
        assert values.tobytes() == folders[1][name].tobytes(), name
    assert models[0].config == models[1].config


def test_mistakes_of_a_recipe_come_together() -> None:
    """Every wrong entry is named with its place and what is allowed."""
    with pytest.raises(TrainingError, match=r"own\.json: folds.*own\.json: target is unknown"):
        parse_recipe(read_text(folds=1, target="x"), "own.json")
    wrong = [
        {"features": ["element_fraction"], "kind": "ridge", "settings": {"penalti": 1.0}},
        {"features": ["element_statistics"], "kind": "extra_trees", "settings": {"trees": 1}},
    ]
    with pytest.raises(TrainingError, match=r"element_fraction'.*penalti.*trees"):
        parse_recipe(read_text(candidates=wrong), "own.json")
    with pytest.raises(TrainingError, match="not valid JSON"):
        parse_recipe("{", "own.json")
    with pytest.raises(TrainingError, match="neither a recipe"):
        read_recipe("voltag")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """The message says which folder is meant."""
    with pytest.raises(InvdesignError, match=r"there is no file '.*oxides\.csv'"):
        parse_recipe(read_text(), "own.json").read_data(tmp_path)
