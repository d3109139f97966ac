"""A model moves as a folder, predicts there what it predicted here, and refuses what it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from invdesign.artifacts import Artifact
from invdesign.errors import ArtifactError
from surrogates.regression.errors import TrainingError
from surrogates.regression.evaluating import (
    complete_card,
    cross_validate,
    evaluate_model,
    measure_importances,
    trace_learning_curve,
)
from surrogates.regression.material import Material, Target
from surrogates.regression.property_model import PropertyModel
from surrogates.regression.training import train
from tests.surrogates.regression.synthetic import HELD_BACK, LINEAR, RECIPE, TREES, make_data

DATA = make_data(threshold=0.5)
FULL = replace(RECIPE, classifiers=(TREES,))


@pytest.fixture(scope="module")
def model() -> PropertyModel:
    return train(DATA, FULL)


def reload(model: PropertyModel, folder: Path) -> PropertyModel:
    model.write(folder)
    return PropertyModel.from_artifact(Artifact.read(folder))


def test_a_written_model_predicts_the_same(model: PropertyModel, tmp_path: Path) -> None:
    again = reload(model, tmp_path / "model")
    new = make_data(seed=3)
    before, after = model.predict(new.materials), again.predict(new.materials)
    for name in ("mean", "lower", "upper", "deviation", "distance", "outside", "probability"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert before.reasons == after.reasons
    assert again.formulas == model.formulas
    assert len(again.formulas) > 50
    assert again.target == model.target
    assert (tmp_path / "model" / "config.json").stat().st_size < 200_000


def test_the_same_seed_gives_the_same_arrays(model: PropertyModel) -> None:
    again = train(DATA, FULL)
    assert again.config == model.config
    assert again.arrays.keys() == model.arrays.keys()
    for name, value in model.arrays.items():
        assert value.tobytes() == again.arrays[name].tobytes(), name


def test_intervals_are_symmetric_at_the_level_of_the_model(model: PropertyModel) -> None:
    found = model.predict(DATA.materials[:5])
    assert found.mean == pytest.approx((found.lower + found.upper) / 2)
    assert found.upper - found.mean == pytest.approx(1.6448536 * found.deviation)


def test_an_element_without_training_rows_is_outside_and_widens(model: PropertyModel) -> None:
    known = DATA.materials[0]
    strange = Material("strange", {**known.composition, HELD_BACK: 0.001})
    found = model.predict([known, strange])
    assert found.outside.tolist() == [False, True]
    assert HELD_BACK in found.reasons[1]
    half = found.upper - found.mean
    assert half[1] >= max(half[0], model.intervals.beyond - 1e-12)


def test_the_card_names_data_split_figures_and_domain(model: PropertyModel, tmp_path: Path) -> None:
    figures = cross_validate(DATA, RECIPE, folds=3, shuffles=1)
    told = complete_card(
        model,
        figures,
        trace_learning_curve(DATA, replace(RECIPE, candidates=(LINEAR,)), folds=3, shares=(1.0,)),
        measure_importances(model, DATA),
        {"baseline": figures},
    )
    told.write(tmp_path / "model")
    card = (tmp_path / "model" / "card.md").read_text()
    for part in (
        "0" * 64,
        "CC0",
        "30 groups by series",
        "coverage_90",
        "Learning curve",
        "families left out",
        "GPa",
    ):
        assert part in card, part
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["about"]["figures"]["figures"][0]["metric"] == "mae"


def test_evaluation_says_how_many_formulas_the_model_knows(model: PropertyModel) -> None:
    figures = evaluate_model(model, replace(DATA, target=Target("hardness", "GPa")))
    assert figures.split == "90 rows, of which 90 have a composition of the training data"
    assert figures["auc"] > 0.8
    with pytest.raises(TrainingError, match="the data hold softness in GPa"):
        evaluate_model(model, replace(DATA, target=Target("softness", "GPa")))


def test_other_weights_of_a_network_are_refused(model: PropertyModel) -> None:
    other = replace(model, weights={"element_fractions": "CHGNet 0.2.0 (SHA-256 abc)"})
    with pytest.raises(ArtifactError, match=r"reads features of the network CHGNet 0.2.0 .* has none"):
        other.predict(DATA.materials[:1])


def test_other_columns_of_a_feature_set_are_refused(model: PropertyModel) -> None:
    other = replace(model, columns={**model.columns, "element_fractions": "0"})
    with pytest.raises(ArtifactError, match="other columns of the feature set element_fractions"):
        other.predict(DATA.materials[:1])


def test_damaged_and_foreign_folders_are_refused(model: PropertyModel, tmp_path: Path) -> None:
    model.write(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "version": 99}))
    with pytest.raises(ArtifactError, match="update invdesign"):
        PropertyModel.from_artifact(Artifact.read(tmp_path / "model"))
    del config["intervals"]["factor"]
    path.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="is damaged"):
        PropertyModel.from_artifact(Artifact.read(tmp_path / "model"))
