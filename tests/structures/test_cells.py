"""Measures of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.structures.cells import measure_shortest_translation

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
