"""Training chooses between folds, calibrates on new groups, and says what it cannot do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surrogates.regression.blocks import compute_blocks
from surrogates.regression.errors import TrainingError
from surrogates.regression.evaluating import cross_validate, measure_importances, trace_learning_curve
from surrogates.regression.members import choose_weights, weigh_best
from surrogates.regression.probability import fit_calibration, label_rows
from surrogates.regression.training import Recipe, baseline_recipe, label_regions, train
from tests.surrogates.regression.synthetic import LINEAR, RECIPE, TREES, censor_below, make_data


def test_the_candidate_that_knows_the_law_wins() -> None:
    model = train(make_data(), RECIPE)
    weights = model.about["choice"]["weights"]
    assert weights[0] >= 0.5
    assert model.about["choice"]["error"] <= min(model.about["choice"]["errors"])
    new = make_data(seed=1)
    errors = np.abs(model.predict(new.materials).mean - new.y)
    assert errors.mean() < 0.5 * np.abs(new.y - new.y.mean()).mean()


def test_a_mean_is_taken_only_where_it_helps() -> None:
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    high, low, bad = truth + 0.2, truth - 0.3, truth + 5.0

    def loss(mean: np.ndarray) -> float:
        return float(np.abs(mean - truth).mean())

    assert choose_weights(np.array([bad, high, low]), loss, 2).tolist() == [0.0, 0.5, 0.5]
    assert choose_weights(np.array([truth, high, bad]), loss, 5).tolist() == [1.0, 0.0, 0.0]
    assert choose_weights(np.array([bad, high, low]), loss, 1).tolist() == [0.0, 1.0, 0.0]


def test_intervals_cover_new_groups_of_cross_validation() -> None:
    figures = cross_validate(make_data(40, 4), Recipe((LINEAR,)), folds=4, shuffles=2)
    assert 85 <= figures["coverage_90"] <= 95
    assert figures["mae"] < figures["rmse"] < 0.6
    row = next(row for row in figures.rows() if row["metric"] == "mae")
    assert row["low"] < row["value"] < row["high"]
    assert row["unit"] == "GPa"
    assert {family.family for family in figures.families} >= {"Na", "Mg"}
    assert sum(family.rows for family in figures.families) == 160


def test_larger_groups_can_be_left_out_of_a_model_of_smaller_ones() -> None:
    data = make_data(40, 3)
    regions, name = label_regions(data)
    assert name == "families"
    figures = cross_validate(data, Recipe((LINEAR,)), folds=3, shuffles=1, outer=regions)
    assert figures.split.startswith(f"3 folds by {len(set(data.families))} larger groups, 1 shuffle,")
    assert figures["outside_percent"] > cross_validate(data, Recipe((LINEAR,)), 3, 1)["outside_percent"]


def test_censored_rows_teach_and_are_scored() -> None:
    whole = make_data(40, 3, threshold=0.0)
    data = censor_below(whole, float(np.quantile(whole.y, 0.2)))
    figures = cross_validate(data, Recipe((LINEAR, TREES), (TREES,)), folds=3, shuffles=1)
    assert figures["c_index"] > 0.8
    assert figures["auc"] > 0.8
    assert figures["crps"] < figures["mae"]
    model = train(data, Recipe((LINEAR,)))
    low = data.censoring < 0
    found = model.predict([material for material, own in zip(data.materials, low, strict=True) if own])
    assert found.mean.mean() < data.y.min() + 0.1
    assert found.probability is not None
    assert found.probability.mean() < 0.2


def test_probabilities_order_materials_by_the_threshold() -> None:
    model = train(make_data(threshold=0.5), replace(RECIPE, classifiers=(LINEAR,)))
    new = make_data(seed=2)
    found = model.predict(new.materials).probability
    assert found is not None
    assert found[new.y >= 0.5].mean() > found[new.y < 0.5].mean() + 0.3
    assert ((found > 0) & (found < 1)).all()


def test_a_limit_on_the_wrong_side_of_the_threshold_has_no_class() -> None:
    labels, known = label_rows(np.array([1.0, 3.0, 3.0, 1.0, 2.0]), np.array([-1, -1, 1, 1, 0]), 2.0)
    assert known.tolist() == [True, False, True, False, True]
    assert labels[known].tolist() == [0.0, 1.0, 1.0]


def test_calibration_pulls_overconfident_probabilities_in() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(2000)
    labels = (rng.random(2000) < true).astype(float)
    bold = 1.0 / (1.0 + (1.0 / true - 1.0) ** 2)
    slope, offset = fit_calibration(labels, bold)
    assert slope == pytest.approx(0.5, abs=0.08)
    assert offset == pytest.approx(0.0, abs=0.1)


def test_left_out_families_widen_intervals_outside() -> None:
    model = train(make_data(), RECIPE)
    assert model.about["regions"]["name"] == "families"
    assert model.intervals.beyond > 0
    zeros = np.zeros(1)
    inside, outside = (model.intervals.half_widths(zeros, zeros, np.array([flag])) for flag in (False, True))
    assert outside[0] == max(model.intervals.beyond, inside[0])


@pytest.mark.parametrize("families", [(), ("one",) * 90])
def test_without_families_and_with_one_anion_chemistry_nothing_is_left_out(families: tuple[str, ...]) -> None:
    model = train(replace(make_data(), families=families), Recipe((LINEAR,)))
    assert model.about["regions"] is None
    assert model.intervals.beyond > 0


def test_anion_chemistries_are_regions_of_data_without_families() -> None:
    data = replace(make_data(4), families=())
    swapped = [
        replace(material, composition={"S" if el == "O" else el: n for el, n in material.composition.items()})
        for material in data.materials[:5]
    ]
    regions, name = label_regions(replace(data, materials=(*swapped, *data.materials[5:])))
    assert name == "anion chemistries"
    assert regions.tolist() == [0] * 5 + [1] * 7


def test_importances_and_the_learning_curve_follow_the_law() -> None:
    data = make_data()
    model = train(data, Recipe((LINEAR,)))
    sets, columns = measure_importances(model, data)
    assert sets[0].name == "element_fractions"
    assert sets[0].share > 0.9
    shares = {effect.name.rsplit(": ", 1)[-1]: effect.share for effect in columns}
    assert min(shares["fraction_Zn"], shares["fraction_Na"]) > max(
        shares["fraction_K"], shares["fraction_Ca"]
    )
    curve = trace_learning_curve(data, Recipe((TREES,)), folds=3, shares=(0.01, 0.4, 1.0))
    assert [point.rows for point in curve] == [24, 60]
    assert curve[1].mae < curve[0].mae


def test_constant_targets_are_refused() -> None:
    data = make_data()
    with pytest.raises(
        TrainingError, match=r"hardness is 1 in all rows of synthetic.csv: there is nothing to learn"
    ):
        train(replace(data, y=np.ones(len(data))), RECIPE)


def test_a_threshold_that_no_row_reaches_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"stays below the threshold 99 .* take one between"):
        train(make_data(threshold=99.0), RECIPE)


def test_fewer_groups_than_folds_are_refused() -> None:
    data = make_data()
    with pytest.raises(TrainingError, match="form 2 groups, fewer than the 3 folds"):
        train(replace(data, groups=np.arange(len(data)) % 2), RECIPE)


def test_few_rows_and_empty_recipes_are_refused() -> None:
    data = make_data()
    with pytest.raises(TrainingError, match="has 6 rows with a known value"):
        train(data.select_rows(range(6)), RECIPE)
    with pytest.raises(TrainingError, match="names no candidate"):
        train(data, Recipe(()))


def test_infinite_features_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from surrogates.regression.features import registry

    def compute(names: tuple[str, ...], materials: tuple[object, ...]) -> np.ndarray:
        x = np.zeros((len(materials), len(registry.list_columns(names))))
        x[1, 0] = np.inf
        return x

    monkeypatch.setattr(registry, "compute_features", compute)
    data = make_data(2)
    with pytest.raises(TrainingError, match=rf"infinite values: .* of {data.materials[1].name}; correct"):
        compute_blocks(("element_fractions",), data.materials)


def test_the_baseline_is_trees_on_element_statistics() -> None:
    recipe = baseline_recipe(classify=True)
    assert recipe.feature_sets == ("element_statistics",)
    assert [candidate.kind for candidate in (*recipe.candidates, *recipe.classifiers)] == ["extra_trees"] * 2


def test_the_mean_of_the_best_models_has_equal_weights() -> None:
    """The best few count alike, whatever their errors; of fewer candidates all do."""
    assert weigh_best(np.array([0.3, 0.1, 0.2, 0.2]), 2).tolist() == [0.0, 0.5, 0.5, 0.0]
    assert weigh_best(np.array([0.3, 0.1]), 5).tolist() == [0.5, 0.5]
