"""Groups are unions of columns, and folds keep every group whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.regression.errors import TrainingError
from surrogates.regression.splits import join_groups, measure_groups, split_groups

values = st.sampled_from(["", "a", "b", "c", "d", "e", "f", "g"])
rows = st.lists(st.tuples(values, values), min_size=1, max_size=30)


def test_rows_that_share_any_value_are_one_group() -> None:
    groups = join_groups({"doi": ["x", "x", "y", "z", ""], "formula": ["A", "B", "B", "C", "D"]})
    assert groups.tolist() == [0, 0, 0, 1, 2]


def test_empty_values_join_nothing() -> None:
    assert join_groups({"doi": ["", "", "x", "x"]}).tolist() == [0, 1, 2, 2]


@given(rows)
def test_union_of_columns_is_the_smallest_equivalence(table: list[tuple[str, str]]) -> None:
    columns = {"first": [a for a, _ in table], "second": [b for _, b in table]}
    groups = join_groups(columns)
    n = len(table)
    # Closure of the relation "shares a value", by repeated products of its matrix.
    related = np.eye(n, dtype=bool)
    for name in columns.values():
        related |= np.array([[bool(a) and a == b for b in name] for a in name])
    for _ in range(n.bit_length()):
        related = (related.astype(int) @ related.astype(int)) > 0
    assert np.array_equal(related, groups[:, None] == groups[None, :])


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_no_group_is_in_two_folds_and_every_row_is_tested_once(
    labels: list[int], folds: int, seed: int
) -> None:
    groups = np.array(labels, dtype=np.int64)
    if len(set(labels)) < folds:
        with pytest.raises(TrainingError, match="fewer than the"):
            split_groups(groups, folds, seed)
        return
    split = split_groups(groups, folds, seed)
    assert sorted(np.concatenate([test for _, test in split]).tolist()) == list(range(len(groups)))
    for train, test in split:
        assert len(test)
        assert not set(groups[train].tolist()) & set(groups[test].tolist())
        assert len(train) + len(test) == len(groups)
    sizes = [len(test) for _, test in split]
    assert max(sizes) - min(sizes) <= measure_groups(groups).sizes[0]


def test_folds_depend_on_the_seed_alone() -> None:
    groups = np.repeat(np.arange(20), 2)
    tests = [[test.tolist() for _, test in split_groups(groups, 5, seed)] for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_folds_may_hold_equal_numbers_of_groups() -> None:
    """Unbalanced folds take groups at random, whatever their rows, and keep them whole."""
    groups = np.repeat(np.arange(12), [60, *[1] * 11])
    split = split_groups(groups, 4, 0, balanced=False)
    assert [len(np.unique(groups[test])) for _, test in split] == [3] * 4
    assert sorted(np.concatenate([test for _, test in split]).tolist()) == list(range(len(groups)))
    assert sorted(len(test) for _, test in split) == [3, 3, 3, 62]


def test_a_group_with_most_rows_is_remarked() -> None:
    sizes = measure_groups(np.array([0] * 6 + [1, 2, 3]))
    assert sizes.sizes == (6, 1, 1, 1)
    assert "6 of 9 rows" in sizes.remarks[0]
    assert measure_groups(np.array([0, 0, 1, 1])).remarks == ()


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(TrainingError, match="one value per row"):
        join_groups({"doi": ["a"], "formula": ["A", "B"]})
