"""Linear models on elemental statistics: blocks give the numbers of single compositions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.regression.blocks import Blocks
from surrogates.regression.features.registry import compute_features
from surrogates.regression.linear_blocks import ROWS_IN_CACHE, find_statistics_model
from surrogates.regression.material import Material
from surrogates.regression.members import Member, predict_mean
from surrogates.regression.models.contract import Candidate
from surrogates.regression.models.fitting import fit_model
from tests.plugins.scorers import random_model

ELEMENTS = ("Li", "Na", "Mg", "Al", "Si", "O", "S", "Cl", "U")


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_blocks_give_the_values_of_single_compositions(size: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(seed)
    counts = rng.integers(1, 12, size=(rows, size))
    members = np.array([rng.permutation(len(ELEMENTS))[:size] for _ in range(7)])
    found = model.prepare_counts(ELEMENTS, counts).score(members)
    for row, chosen in zip(found, members.tolist(), strict=True):
        symbols = [ELEMENTS[place] for place in chosen]
        plain = model.score([dict(zip(symbols, amounts, strict=True)) for amounts in counts.tolist()])
        np.testing.assert_allclose(row, plain, rtol=0, atol=1e-10)


def test_large_blocks_are_cut_to_the_cache() -> None:
    model, rng = random_model(1), np.random.default_rng(2)
    counts = rng.integers(1, 12, size=(2 * ROWS_IN_CACHE + 5, 3))
    members = np.array([[0, 3, 5], [8, 1, 6]])
    found = model.prepare_counts(ELEMENTS, counts).score(members)
    parts = [model.prepare_counts(ELEMENTS, counts[[row]]).score(members) for row in (0, ROWS_IN_CACHE, -1)]
    np.testing.assert_allclose(found[:, [0, ROWS_IN_CACHE, -1]], np.hstack(parts), rtol=0, atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"compress": True}, {"power": True}])
def test_a_fitted_ridge_has_its_own_values_or_no_fast_form(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    amounts = [
        dict(zip(rng.permutation(ELEMENTS)[:3].tolist(), rng.integers(1, 9, size=3).tolist(), strict=True))
        for _ in range(60)
    ]
    materials = [Material(str(number), own) for number, own in enumerate(amounts)]
    sets = (("element_fractions", "element_statistics"), ("element_statistics",))
    target = rng.normal(size=60) ** (3 if settings else 1)
    members = [
        Member(
            Candidate(names, "ridge"),
            weight,
            fit_model("ridge", compute_features(names, materials), target, settings=settings, seed=0),
        )
        for names, weight in zip(sets, (0.3, 0.7), strict=True)
    ]
    found = find_statistics_model(members)
    if settings:
        assert found is None
        return
    assert found is not None
    blocks = Blocks({name: compute_features((name,), materials) for name in sets[0]})
    np.testing.assert_allclose(found.score(amounts), predict_mean(members, blocks)[0], rtol=0, atol=1e-7)
