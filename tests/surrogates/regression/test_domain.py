"""The domain ends where distances between folds end, and at elements that no row holds."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.regression.blocks import Blocks
from surrogates.regression.domain import (
    Domain,
    Metric,
    choose_metric,
    fit_domain,
    fit_embedding,
    neighbour_distances,
)
from surrogates.regression.material import Material
from surrogates.regression.splits import split_groups


@pytest.fixture
def blocks() -> Blocks:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(80, 60)) @ rng.normal(size=(60, 60))
    wide[3, 5] = np.nan
    return Blocks({"few": rng.normal(size=(80, 2)) * 1e4, "wide": wide, "constant": np.ones((80, 3))})


SETS = ("few", "wide", "constant")


def test_distances_are_those_of_scaled_features_with_equal_weight_of_the_sets(blocks: Blocks) -> None:
    embedding = fit_embedding(SETS, blocks)
    points, rest = embedding.project(blocks)
    x = embedding.scale_features(blocks)
    direct = np.sort(np.linalg.norm(x[:5, None] - x[None, 10:], axis=2), axis=1)[:, :3].mean(axis=1)
    # components that are left out count for the row, not for the training rows
    found = neighbour_distances(points[:5], rest[:5], points[10:], np.arange(70), 3)
    assert found[:, 2] == pytest.approx(direct, rel=0.1)
    parts = [(x[:, start:stop] ** 2).sum() for start, stop in ((0, 2), (2, 62), (62, 65))]
    assert parts[0] == pytest.approx(parts[1], rel=0.1)
    assert parts[2] == 0


def test_far_rows_and_unknown_elements_are_outside_with_their_reasons(blocks: Blocks) -> None:
    materials = [Material(str(row), {"Li": 1.0, "O": 1.0}) for row in range(80)]
    groups = np.arange(80)
    metric = choose_metric([SETS], blocks, groups, split_groups(groups, 4, 0), (), np.ones(80, dtype=bool))
    domain = fit_domain(metric, blocks, materials, groups)
    far = Blocks({name: block + (8e4 if name == "few" else 0.0) for name, block in blocks.values.items()})
    reasons = domain.find_reasons(materials, domain.measure_distances(far))
    assert all("farther from the training rows" in reason for reason in reasons)
    near = domain.measure_distances(blocks)
    assert sum(map(bool, domain.find_reasons(materials, near))) <= 4
    strange = Material("strange", {"Pu": 1.0}, charged={"Np": 1.0})
    assert domain.find_reasons([strange], near[:1]) == ("no training row holds Np, Pu",)


@pytest.mark.parametrize(
    ("composition", "reason"),
    [
        ({"Li": 3.0, "O": 1.0}, ""),
        ({"Li": 1.0}, "it has 1 element, and every training row has 2"),
        ({"Li": 1.0, "O": 2.0, "S": 1.0}, "it has 3 elements, and every training row has 2"),
    ],
)
def test_another_number_of_elements_is_outside_however_near(
    blocks: Blocks, composition: dict[str, float], reason: str
) -> None:
    """A model of binaries flags every ternary, also one made of known elements at no distance."""
    materials = [
        Material(str(row), {"Li": 1.0, "O": 1.0} if row else {"Li": 1.0, "S": 1.0}) for row in range(80)
    ]
    domain = fit_domain(
        Metric(fit_embedding(SETS, blocks), 3, np.ones(80), None, None), blocks, materials, np.arange(80)
    )
    again = Domain.load(domain.config, domain.arrays)
    for own in (domain, again):
        assert own.find_reasons([Material("x", composition)], np.zeros(1)) == (reason,)


def test_a_group_counts_once_by_its_nearest_row() -> None:
    training, groups = np.array([[1.0], [1.1], [9.0], [3.0]]), np.array([5, 5, 5, 2])
    found = neighbour_distances(np.zeros((1, 1)), np.zeros(1), training, groups, 3)
    assert found.tolist() == [[1.0, 2.0, 2.0]]


def test_the_metric_that_tells_left_out_regions_is_chosen() -> None:
    rng = np.random.default_rng(0)
    region = np.repeat(np.arange(4), 20)
    noise, telling = rng.normal(size=(80, 3)), region[:, None] + 0.1 * rng.normal(size=(80, 1))
    blocks = Blocks({"noise": noise, "telling": telling})
    groups = np.arange(80)
    found = choose_metric(
        [("noise",), ("telling",)],
        blocks,
        groups,
        split_groups(groups, 4, 0),
        split_groups(region, 4, 0),
        np.ones(80, dtype=bool),
    )
    assert found.embedding.sets == ("telling",)
    assert found.area is not None
    assert found.area > 0.95


def test_a_stored_domain_gives_the_same_distances(blocks: Blocks) -> None:
    metric = Metric(fit_embedding(SETS, blocks), 3, np.ones(80), None, None)
    materials = [Material("LiO", {"Li": 1.0, "O": 1.0})] * 80
    domain = fit_domain(metric, blocks, materials, np.arange(80) // 2)
    again = Domain.load(domain.config, domain.arrays)
    assert np.array_equal(again.measure_distances(blocks), domain.measure_distances(blocks))


def test_materials_of_a_rare_anion_are_outside_where_a_recipe_says_so(blocks: Blocks) -> None:
    """Groups count, not rows; the reason names the anion and both numbers, also after storing."""
    anions = ["O"] * 40 + ["Cl"] * 40
    materials = [Material("x", {"Li": 1.0, "O": 0.5, name: 2.0}) for name in anions]
    groups = np.concatenate([np.arange(40), np.full(40, 40)])
    metric = Metric(fit_embedding(SETS, blocks), 3, np.full(80, 1e9), None, None)
    free, strict = (fit_domain(metric, blocks, materials, groups, least) for least in (0, 10))
    near = np.zeros(80)
    assert not any(free.find_reasons(materials, near))
    reasons = Domain.load(strict.config, strict.arrays).find_reasons(materials, near)
    assert not any(reasons[:40])
    assert set(reasons[40:]) == {"mostly Cl, as 1 training group of the 10 that are needed"}
