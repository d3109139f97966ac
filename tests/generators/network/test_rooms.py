"""The look-ahead is exact."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.generators.network.rooms import (
    Patterns,
    can_hold,
    find_room,
    list_small_patterns,
    list_units,
)
from invdesign.protocols import Condition
from invdesign.structures.partitions import find_partitions

COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple)


@settings(deadline=None, max_examples=200)
@given(group=st.integers(1, 230), counts=COUNTS)
def test_a_group_holds_what_partitions_count(group: int, counts: tuple[int, ...]) -> None:
    assert can_hold(group, counts) == (find_partitions(group, counts).number > 0)


@settings(deadline=None, max_examples=100)
@given(group=st.integers(1, 230), counts=COUNTS, data=st.data())
def test_open_positions_never_lead_into_a_dead_end(
    group: int, counts: tuple[int, ...], data: st.DataObject
) -> None:
    room = find_room(group, counts)
    if not room.is_open:
        return
    used = 0
    for element, count in enumerate(counts):
        left, letter = count, 0
        while left:
            options = room.list_open(element, left, letter, used)
            assert options
            _, left, letter, used = data.draw(st.sampled_from(options))


def test_units_keep_atoms_and_groups() -> None:
    assert list_units((1, 1), Condition(atoms=(4, 8)), 24) == (2, 3, 4)
    assert list_units((1, 2), Condition(space_groups=(225,), atoms=(1, 6)), 24) == (1,)
    assert list_units((1, 1), Condition(formula=(("Cl", 1), ("Na", 1)), formula_units=(2, 3)), 24) == (2, 3)


def test_patterns_are_a_tree() -> None:
    patterns = Patterns(frozenset({(1, 1), (1, 2), (2, 1, 4)}))
    assert patterns.kinds == {2, 3}
    assert patterns.list_counts(2, (1,)) == {1, 2}
    assert patterns.list_counts(3, (2, 1)) == {4}
    assert (2, 2) not in list_small_patterns((2,), 3)
