"""Relatives, priors and the parts of the network do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invdesign.generators.network.chemistry import fit_volumes, list_elements, order_elements
from invdesign.generators.network.drafts import draw_masked, order_randomly
from invdesign.generators.network.examples import join_examples, make_example
from invdesign.generators.network.layers import Sizes
from invdesign.generators.network.model import CrystalNetwork, list_steps, to_tensors
from invdesign.generators.network.priors import (
    FAMILIES,
    GanSizes,
    find_family,
    fit_mixture,
    make_labels,
    train_gan,
)
from invdesign.generators.network.reading import write_structure
from invdesign.generators.network.refine import Refiner, RefinerSizes, list_sites, refine
from invdesign.generators.network.refine_training import place_written
from invdesign.generators.network.relatives import learn_similarity
from tests.generators.network.conftest import make_structures

EXAMPLES = [make_example(write_structure(one), list_elements(), {}) for one in make_structures()]


def test_elements_that_share_a_place_are_alike() -> None:
    chances = learn_similarity(EXAMPLES).chances
    place = list_elements().index
    assert chances[place("Sr"), place("Ba")] > 3.0 * chances[place("Sr"), place("O")]
    assert chances[place("Sr"), place("Sr")] == 0.0
    assert chances.sum(axis=1) == pytest.approx(np.ones(len(list_elements())))
    assert chances[:, place("Pu")].max() == 0.0


def test_a_relative_keeps_framework_and_counts() -> None:
    similarity = learn_similarity(EXAMPLES)
    rng = np.random.default_rng(0)
    for example in EXAMPLES:
        relative = similarity.swap(example, rng)
        assert not relative.real
        assert (np.diff(relative.elements) > 0).all()
        assert sorted(relative.counts) == sorted(example.counts)
        assert sorted(relative.letters) == sorted(example.letters)
        pairs = [
            sorted(zip(one.counts[one.species].tolist(), one.letters.tolist(), strict=True))
            for one in (example, relative)
        ]
        assert pairs[0] == pairs[1]


def test_the_order_of_orbits_of_one_element_does_not_change_the_code() -> None:
    torch.manual_seed(0)
    network = CrystalNetwork(Sizes(latent=8, width=24, hidden=32, layers=1, heads=2)).eval()
    batch = join_examples([EXAMPLES[8]])
    turned = batch.take(np.array([0]))
    order = np.arange(turned.position.shape[1])[::-1].copy()
    for values in (turned.position, turned.species, turned.left, turned.free):
        values[:] = values[:, order]
    one, _ = network.encode(to_tensors(batch))
    two, _ = network.encode(to_tensors(turned))
    assert torch.allclose(one, two, atol=1e-5)


def test_losses_are_finite_and_count_every_free_coordinate() -> None:
    torch.manual_seed(0)
    network = CrystalNetwork(Sizes(latent=8, width=24, hidden=32, layers=1, heads=2)).eval()
    batch = to_tensors(join_examples(EXAMPLES))
    losses = network.measure(batch, None)
    assert set(losses) == {"composition", "units", "group", "sites", "cells", "bins", "offsets"}
    assert all(torch.isfinite(part).all() for part in losses.values())
    assert float(losses["sites"][0].detach()) > 0.0
    steps = list_steps(batch.free)
    assert int((~torch.isnan(steps.values)).sum()) == sum(
        int(np.isfinite(one.free).sum()) for one in EXAMPLES
    )


def test_a_mixture_fits_two_clouds() -> None:
    rng = np.random.default_rng(0)
    means = np.concatenate([rng.normal(-3.0, 0.3, (200, 4)), rng.normal(3.0, 0.3, (200, 4))])
    mixture = fit_mixture(means, np.full(means.shape, -6.0), rng, parts=2)
    drawn = mixture.draw(1000, rng)
    assert np.abs(np.abs(drawn[:, 0]) - 3.0).mean() < 1.5
    assert 0.35 < (drawn[:, 0] > 0).mean() < 0.65


def test_a_gan_moves_towards_the_codes() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(2.0, 0.5, (300, 4))
    labels = make_labels(np.zeros(300, dtype=np.int64), np.ones(300))
    gan = train_gan(codes, np.full(codes.shape, -6.0), labels, GanSizes(latent=4, hidden=32, steps=200), 0)
    drawn = gan.draw(labels, rng)
    assert drawn.mean() == pytest.approx(2.0, abs=0.4)
    assert 0.2 < drawn.std() < 1.0


@pytest.mark.parametrize(
    ("symbols", "family"),
    [("Ti O", "oxide"), ("Na Cl", "halide"), ("Al Ni", "intermetallic"), ("Zn S", "chalcogenide")],
)
def test_families_follow_the_anion(symbols: str, family: str) -> None:
    assert FAMILIES[find_family(symbols.split())] == family


def test_volumes_are_those_of_the_data() -> None:
    fitted = fit_volumes([{"Na": 1, "Cl": 1}] * 50 + [{"Na": 1}] * 50, [46.0] * 50 + [37.0] * 50)
    assert fitted["Na"] + fitted["Cl"] == pytest.approx(46.0, abs=2.0)


def test_elements_stand_by_electronegativity() -> None:
    assert order_elements(["O", "Ti", "Sr"]) == ("Sr", "Ti", "O")


def test_only_allowed_choices_are_drawn() -> None:
    rng = np.random.default_rng(0)
    logits, allowed = np.array([5.0, 0.0, 1.0]), np.array([False, True, True])
    drawn = [draw_masked(logits, allowed, rng, 1.0)[0] for _ in range(300)]
    assert set(drawn) == {1, 2}
    assert draw_masked(logits, allowed, rng, 0.0)[0] == 2
    first = [int(order_randomly(logits, rng, 1.0)[0]) for _ in range(300)]
    assert np.mean(np.array(first) == 0) > 0.9


def test_the_refiner_keeps_symmetry_and_special_places() -> None:
    symbols, sited = place_written(write_structure(make_structures()[8]))
    torch.manual_seed(0)
    (moved,), left = refine(Refiner(RefinerSizes()), [list_sites(symbols, sited)], 2, 0.5)
    assert moved.crystal.combination == sited.combination
    assert len(moved.crystal.cell) == len(sited.cell)
    assert np.isfinite(left).all()
