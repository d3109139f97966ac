"""Enumeration of charge-neutral compositions, against listing them one by one."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.structures.compositions import CompositionRules, NeutralCompositions, Slot, enumeration
from invdesign.structures.compositions.vectors import iterate_vector_blocks

ELEMENTS = ("Li", "Na", "Mg", "Fe", "P", "S", "O", "Cl")
HALIDES = {"Li": (1,), "Y": (3,), "Zr": (4,), "Fe": (2, 3), "Cl": (-1,), "Br": (-1,), "O": (-2,)}


def list_naively(rules: CompositionRules) -> set[tuple[tuple[str, int], ...]]:
    """All compositions under `rules`, each tried by itself."""
    found = set()
    low, high = rules.elements_per_formula
    for size in range(low, high + 1):
        for names in combinations(rules.elements, size):
            if not all(set(group) & set(names) for group in rules.required):
                continue
            ranges = [rules.counts.get(name, (1, rules.max_count)) for name in names]
            for counts in product(*(range(a, min(b, rules.max_count) + 1) for a, b in ranges)):
                if rules.max_atoms is not None and sum(counts) > rules.max_atoms:
                    continue
                neutral = any(
                    sum(count * state for count, state in zip(counts, chosen, strict=True)) == 0
                    for chosen in product(*(rules.states[name] for name in names))
                )
                if neutral and math.gcd(*counts) == 1:
                    found.add(tuple(sorted(zip(names, counts, strict=True))))
    return found


@st.composite
def composition_rules(draw: st.DrawFn) -> CompositionRules:
    """Small rules of every sort."""
    names = draw(st.lists(st.sampled_from(ELEMENTS), min_size=2, max_size=5, unique=True))
    state = st.integers(-3, 4)
    states = {name: tuple(draw(st.lists(state, min_size=1, max_size=3))) for name in names}
    low = draw(st.integers(1, min(3, len(names))))
    high = draw(st.integers(low, min(4, max(low, len(names)))))
    max_count = draw(st.integers(1, 6))
    counts = {}
    for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        fewest = draw(st.integers(1, max_count))
        counts[name] = (fewest, draw(st.integers(fewest, max_count)))
    groups = draw(st.lists(st.lists(st.sampled_from(names), min_size=1, max_size=2), max_size=1))
    max_atoms = draw(st.one_of(st.none(), st.integers(low, 12)))
    return CompositionRules(states, tuple(map(tuple, groups)), (low, high), max_count, counts, max_atoms)


@settings(max_examples=150, deadline=None)
@given(composition_rules())
def test_each_neutral_reduced_formula_is_listed_once(rules: CompositionRules) -> None:
    """Number, set, order and their inverse agree with trying every composition."""
    expected = list_naively(rules)
    if not expected:
        with pytest.raises(ValueError, match=r"no composition is"):
            NeutralCompositions(rules)
        return
    listed = NeutralCompositions(rules)
    found = [listed.unrank(index) for index in range(listed.count())]
    assert listed.count() == len(expected)
    assert {tuple(sorted(counts.items())) for counts in found} == expected
    assert [listed.rank(counts) for counts in found] == list(range(len(found)))


@settings(max_examples=40, deadline=None)
@given(composition_rules(), st.data())
def test_any_slice_of_the_element_sets_continues_where_it_should(
    rules: CompositionRules, data: st.DataObject
) -> None:
    """Sets carry the number of their first composition, and their counts follow in the order of `unrank`."""
    try:
        listed = NeutralCompositions(rules)
    except ValueError:
        return
    start = data.draw(st.integers(0, listed.n_sets - 1))
    for own in listed.sets(start):
        rows = np.concatenate(list(listed.list_vectors(own.slots)))
        assert len(rows) == own.n_compositions
        for row, counts in enumerate(rows.tolist()):
            assert listed.unrank(own.first + row) == dict(zip(own.elements, counts, strict=True))
    assert own.number == listed.n_sets - 1
    assert own.first + own.n_compositions == listed.count()


@settings(max_examples=60, deadline=None)
@given(
    composition_rules(), st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 7), min_size=1, max_size=4)
)
def test_contains_agrees_with_trying_every_composition(
    rules: CompositionRules, counts: dict[str, int]
) -> None:
    """A composition is contained exactly if the naive list holds it; the reason is given otherwise."""
    expected = list_naively(rules)
    if not expected:
        return
    listed = NeutralCompositions(rules)
    assert listed.contains(counts) == (tuple(sorted(counts.items())) in expected)
    assert bool(listed.rules.explain_exclusion(counts)) != listed.contains(counts)


def test_blocks_are_the_same_in_any_size() -> None:
    """Small and large blocks hold the same counts in the same order."""
    slots = (Slot((2, 3), (1, 6)), Slot((1,), (1, 6)), Slot((-2,), (1, 6)))
    whole = np.concatenate(list(iterate_vector_blocks(slots, 14)))
    small = np.concatenate(list(iterate_vector_blocks(slots, 14, rows=20)))
    assert np.array_equal(whole, small)
    assert [tuple(row) for row in whole.tolist()] == sorted(tuple(row) for row in whole.tolist())


def test_a_large_space_is_counted_before_it_is_listed() -> None:
    """Hundreds of thousands of compositions are counted; drawn ones are found again."""
    rules = CompositionRules(HALIDES, (("Li",),), (3, 5), 15, max_atoms=40)
    listed = NeutralCompositions(rules)
    assert listed.count() == sum(own.n_sets * own.n_vectors for own in listed.classes)
    for index in np.linspace(0, listed.count() - 1, 50).astype(int).tolist():
        counts = listed.unrank(index)
        assert listed.rank(dict(sorted(counts.items()))) == index
        assert listed.contains(counts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": {"Li": (1,), "Xx": (2,)}}, "'Xx' is not an element symbol"),
        ({"states": {"Li": (1,), "Xe": ()}}, "Xe has no oxidation state; give some"),
        ({"states": {"Li": (1,), "O": (-20,)}}, "a state of O must lie between -9 and 9, got -20"),
        ({"required": (("K",),)}, "K is required and no allowed element"),
        ({"elements_per_formula": (3, 2)}, "elements per formula must be a range"),
        (
            {"elements_per_formula": (9, 9)},
            "formulas of 9 or more elements need as many allowed elements, got 7",
        ),
        ({"max_count": 0}, "must lie between 1 and 100, got 0"),
        ({"max_atoms": 1}, "max_atoms 1 allows none"),
        ({"counts": {"Li": (4, 3)}}, "counts of Li must be a range"),
        ({"counts": {"K": (1, 3)}}, "counts are given for K, which is no allowed element"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(change: dict[str, object], message: str) -> None:
    """The message names the value, what is allowed and the remedy."""
    with pytest.raises(ValueError, match=message):
        CompositionRules(**{"states": HALIDES, **change})  # type: ignore[arg-type]  # parametrised


def test_all_mistakes_are_named_at_once() -> None:
    """Two mistakes give one message with both."""
    with pytest.raises(ValueError, match=r"Xe has no oxidation state.*K is required"):
        CompositionRules({"Li": (1,), "Xe": ()}, (("K",),))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (CompositionRules({"Li": (1,), "Na": (1,)}), "no allowed element has a negative state; add an anion"),
        (
            CompositionRules({"Cl": (-1,), "O": (-2,)}),
            "no allowed element has a positive state; add a cation",
        ),
        (
            CompositionRules({"Li": (1,), "Na": (1,), "O": (-2,)}, (("Li",), ("Na",)), (2, 2)),
            "no set of 2 to 2 elements holds Li, Na and charges of both signs",
        ),
        (
            CompositionRules({"Li": (1,), "P": (5,), "S": (-2,)}, elements_per_formula=(3, 3), max_atoms=4),
            "max_atoms 4",
        ),
        (CompositionRules({"P": (5,), "S": (-2,)}, max_count=3), "max_count 3 excludes all"),
        (
            CompositionRules({"P": (5,), "S": (-2,)}, counts={"S": (1, 4)}),
            "counts of single elements exclude all",
        ),
    ],
)
def test_an_empty_space_names_the_rule_that_excludes_all(rules: CompositionRules, message: str) -> None:
    """Rules without any composition are refused with the rule to change."""
    with pytest.raises(ValueError, match=message):
        NeutralCompositions(rules)


def test_a_space_beyond_the_limit_is_refused() -> None:
    """The message states the number and the limit."""
    names = ("Li", "Na", "K", "Rb", "Cs", "Ag", "Tl", "Cu", "Au", "In", "Hg")
    states = dict.fromkeys(names, (1,)) | dict.fromkeys(("F", "Cl", "Br", "I", "H", "At"), (-1,))
    with pytest.raises(ValueError, match=r"allow [\d,]+ compositions, and 10,000,000,000,000 at most"):
        NeutralCompositions(CompositionRules(states, elements_per_formula=(2, 10), max_count=30))


def test_states_that_take_too_long_to_count_are_refused() -> None:
    """The message comes at once, with the remedy."""
    names = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Mo")
    states = {name: (2, 3, 4, 5 + place) for place, name in enumerate(names[:5])}
    states |= {name: (1, 2, 3, 4, 5 + place) for place, name in enumerate(names[5:])} | {"O": (-2,)}
    with pytest.raises(
        ValueError, match=r"combine in too many ways to be counted; give fewer elements several"
    ):
        NeutralCompositions(CompositionRules(states, elements_per_formula=(2, 7), max_count=20))


def test_a_large_class_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compositions of a class too large to keep have the same numbers."""
    rules = CompositionRules(HALIDES, (), (3, 5), 6)
    whole = [NeutralCompositions(rules).unrank(index) for index in range(0, 5_380, 300)]
    monkeypatch.setattr(enumeration, "LISTED_ROWS", 5)
    listed = NeutralCompositions(rules)
    assert [listed.unrank(index) for index in range(0, 5_380, 300)] == whole
    assert [listed.rank(counts) for counts in whole] == list(range(0, 5_380, 300))
