"""Measures of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.structures.cells import list_translations, measure_shortest_translation, shorten_vectors

whole = st.integers(-4, 4)


@given(
    a=st.floats(1.0, 20.0),
    b=st.floats(1.0, 20.0),
    c=st.floats(1.0, 20.0),
    shear=st.tuples(whole, whole, whole),
)
def test_the_nearest_image_does_not_depend_on_the_vectors_of_a_lattice(
    a: float, b: float, c: float, shear: tuple[int, int, int]
) -> None:
    skewed = np.array([[1, shear[0], shear[1]], [0, 1, shear[2]], [0, 0, 1]]) @ np.diag([a, b, c])
    assert measure_shortest_translation(skewed) == pytest.approx(min(a, b, c))


@given(vector=st.tuples(*[st.floats(-50.0, 50.0)] * 2), shear=st.floats(-3.0, 3.0))
def test_shortened_vectors_differ_by_a_translation_and_stay_within_half_a_cell(
    vector: tuple[float, float], shear: float
) -> None:
    cell = np.array([[3.0, 0.0], [shear, 4.0]])
    back = np.linalg.inv(cell)
    found = shorten_vectors(np.array(vector), cell)
    assert np.abs(found @ back).max() <= 0.5 + 1e-9
    steps = (np.array(vector) - found) @ back
    assert np.abs(steps - np.round(steps)).max() < 1e-9


def test_translations_of_a_plane_reach_further_cells_where_asked() -> None:
    cell = np.diag([3.0, 4.0])
    assert list_translations(cell, 3.5).max(axis=0).tolist() == [2, 1]
    assert list_translations(cell, 3.5, beyond=1).max(axis=0).tolist() == [3, 2]
    assert len(list_translations(cell, 3.5)) == 5 * 3
