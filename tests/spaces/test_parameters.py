"""Kinds of parameters, and spaces of them without conditions or constraints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import to_json
from invdesign.errors import Infeasible
from invdesign.protocols import is_finite
from invdesign.rng import rng_for
from invdesign.settings import STORED_FOLDER, load
from invdesign.spaces.parameters.kinds import cross_simulated_binary, mutate_polynomially
from invdesign.spaces.parameters.space import (
    MAX_COUNTED,
    ParameterSpace,
    natural_order,
)
from invdesign.testing import check_space

UNIT = st.floats(0.0, 1.0, exclude_max=True)
BOUNDS = st.tuples(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9)).map(lambda b: (b[0], b[0] + b[1]))


def space(**parameters: Any) -> ParameterSpace:
    """A space as a campaign file says it."""
    built: ParameterSpace = load("spaces", {"kind": "parameters", "parameters": parameters})
    return built


MIXED = space(x={"real": [-5, 5]}, n={"integer": [1, 8]}, solvent={"categorical": ["EC", "DMC"]})
FINITE = space(n={"integer": [-1, 3]}, m={"integer": [7, 7]}, solvent={"categorical": ["EC", "DMC", "EMC"]})


@pytest.mark.parametrize(
    "parameters",
    [
        {"x": {"real": [0, 1]}},
        {"x": {"real": [1e-12, 1e-11]}, "y": {"real": [999_999, 1_000_000]}, "z": {"real": [-1e200, 1e200]}},
        {"n": {"integer": [-(2**40), 2**40]}},
        {"n": {"integer": [3, 3]}},
        {"x": {"real": [1e-150, 1e150], "log": True}, "y": {"real": [0.1, 0.2], "log": True}},
        {"n": {"integer": [1, 2**40], "log": True}},
        {"level": {"ordinal": [1000, 10, 0.5]}, "grade": {"ordinal": ["low", "middle", "high"]}},
        {f"x{i}": {"real": [0, 1]} for i in range(30)},
    ],
)
def test_extreme_spaces_keep_the_contract(parameters: dict[str, Any]) -> None:
    """Narrow, wide, large and trivial ranges lose no genome on the way through the unit cube."""
    check_space(space(**parameters))


@settings(max_examples=300)
@given(BOUNDS, UNIT)
def test_reals_survive_the_unit_interval(bounds: tuple[float, float], u: float) -> None:
    """decode(encode(v)) is v for every value decode can give, and lies within the bounds."""
    try:
        one = space(x={"real": bounds})
    except ValidationError:
        return  # narrower than 12 significant digits
    genome = one.decode(np.array([[u]]))[0]
    low, high = one.domain().dimensions[0].low, one.domain().dimensions[0].high
    assert low <= genome["x"] <= high  # type: ignore[operator]
    assert to_json(one.decode(one.encode([genome]))[0]) == to_json(genome)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), UNIT)
def test_integers_survive_the_unit_interval(low: int, width: int, u: float) -> None:
    """Whole numbers come back exactly, however large the range."""
    one = space(n={"integer": [low, low + width]})
    genome = one.decode(np.array([[u]]))[0]
    assert low <= genome["n"] <= low + width  # type: ignore[operator]
    assert one.decode(one.encode([genome]))[0] == genome


def test_uniform_points_are_uniform_values() -> None:
    """Each whole number and each choice gets an equal share of the unit interval."""
    genomes = MIXED.decode(rng_for(0, 0, "uniform").random((8000, 3)))
    whole = np.bincount([int(str(genome["n"])) for genome in genomes], minlength=9)[1:]
    assert whole.min() > 850
    assert abs(sum(genome["solvent"] == "EC" for genome in genomes) - 4000) < 250


def test_points_outside_the_cube_are_moved_to_its_surface() -> None:
    """A swarm that overshoots gets the genomes on the bounds."""
    outside = MIXED.decode(np.array([[-3.0, 9.0, 9.0], [1.0, -0.1, 1.0]]))
    assert outside == [{"n": 1, "solvent": "DMC", "x": 5.0}, {"n": 8, "solvent": "EC", "x": 5.0}]


def test_the_order_in_the_file_does_not_matter() -> None:
    """Two files that list the same parameters differently give equal spaces that behave equally."""
    other = space(solvent={"categorical": ["EC", "DMC"]}, n={"integer": [1, 8]}, x={"real": [-5, 5]})
    assert other == MIXED
    assert other.fingerprint == MIXED.fingerprint
    drawn = [s.operators()["start"].apply((), rng_for(0, 0, "order")) for s in (MIXED, other)]
    assert drawn[0] == drawn[1]


def test_names_are_taken_in_natural_order() -> None:
    """x2 comes before x10, in the cube, in the design and in the features."""
    many = space(**{f"x{i}": {"real": [0, 1]} for i in (10, 2, 1)})
    assert [dimension.name for dimension in many.domain().dimensions] == ["x1", "x2", "x10"]
    assert list(many.build({"x10": 0.1, "x1": 0.2, "x2": 0.3}).parameters) == ["x1", "x2", "x10"]
    assert sorted(["b", "a10b2", "a10b10", "a9"], key=natural_order) == ["a9", "a10b2", "a10b10", "b"]


def test_build_gives_the_parameters() -> None:
    """A whole number written for a real one is taken as a real."""
    design = MIXED.build({"x": 1, "n": 3, "solvent": "EC"})
    assert to_json(dict(design.parameters)) == '{"n":3,"solvent":"EC","x":1.0}'
    assert design.composition is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": 5.1}, r"parameter 'x' must be a number in \[-5, 5\], got 5.1"),
        ({"x": float("nan")}, "must be a number"),
        ({"x": True}, r"parameter 'x' must be a number in \[-5, 5\], got True"),
        ({"n": 0}, r"parameter 'n' must be a whole number in \[1, 8\], got 0"),
        ({"n": 3.0}, r"a whole number in \[1, 8\], got 3.0"),
        ({"solvent": "EMC"}, r"one of EC, DMC. Did you mean 'EC'\?, got 'EMC'"),
        ({"solvent": ["EC"]}, "one of EC, DMC"),
        ({"solvnt": "EC"}, r"no parameter 'solvnt'. Did you mean 'solvent'\?"),
    ],
)
def test_build_refuses_what_is_not_of_the_space(change: dict[str, Any], message: str) -> None:
    """The message names the parameter, what is allowed and what was found."""
    with pytest.raises(Infeasible, match=message):
        MIXED.build({"x": 0.0, "n": 3, "solvent": "EC"} | change)


def test_build_refuses_an_incomplete_genome() -> None:
    """The message names what is missing and what there is."""
    with pytest.raises(Infeasible, match="lacks the parameter 'solvent'; it has n, x"):
        MIXED.build({"n": 1, "x": 0.0})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "at least 1 item"),
        ({"x": {"real": [5, -5]}}, r"low bound must be below the high one, got \[5, -5\]"),
        ({"x": {"real": [1.0, 1.0 + 1e-15]}}, "low bound must be below"),
        ({"x": {"real": [-1.7e308, 1.7e308]}}, "bounds must be finite"),
        ({"x": {"real": ["1", 2]}}, "valid number"),
        ({"x": {"real": [True, 2]}}, "valid number"),
        ({"x": {"real": [1]}}, "Field required"),
        ({"x": {"real": [0, 1], "logarithmic": True}}, "Extra inputs are not permitted"),
        ({"x": {"rael": [0, 1]}}, r"a parameter is \{real: \[low, high\]\}"),
        ({"x": 3}, "a parameter is"),
        ({"n": {"integer": [1, 2.5]}}, "valid integer"),
        ({"n": {"integer": [2, 1]}}, "must not exceed"),
        ({"n": {"integer": [0, 2**60]}}, "use a real parameter"),
        ({"x": {"real": [0, 1], "log": True}}, "log needs a low bound above 0, got 0"),
        ({"x": {"real": [1e-300, 1e300], "log": True}}, "more than 300 decades"),
        ({"n": {"integer": [0, 9], "log": True}}, r"log needs bounds from 1 to 2\^40, got \[0, 9\]"),
        ({"c": {"categorical": []}}, "two or more choices, and the list is empty"),
        (
            {"c": {"categorical": ["a"]}},
            "holds 'a' alone; a value that never changes is no parameter: leave it out",
        ),
        ({"o": {"ordinal": [3]}}, "two or more levels, and the list holds 3 alone"),
        ({"o": {"ordinal": [1, 3, 2]}}, r"numbers must rise or fall from level to level, got \[1, 3, 2\]"),
        ({"o": {"ordinal": [1, "x"]}}, "all numbers or all names"),
        ({"o": {"ordinal": [1, 2, 2]}}, "levels must differ, got more than one of 2"),
        ({"o": {"ordinal": [True, False]}}, "valid"),
        ({"c": {"categorical": ["a", "b", "a"]}}, "more than one of a"),
    ],
)
def test_settings_that_make_no_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    """Each mistake is found when the campaign is read."""
    with pytest.raises(ValidationError, match=message):
        space(**parameters)


def test_a_finite_space_is_counted() -> None:
    """The number of genomes is the product; the last parameter runs fastest."""
    assert is_finite(FINITE)
    assert (FINITE.size(), len(FINITE)) == (15, 15)
    assert FINITE.genome(0) == {"m": 7, "n": -1, "solvent": "EC"}
    assert FINITE.genome(1) == {"m": 7, "n": -1, "solvent": "DMC"}
    assert FINITE.genome(14) == {"m": 7, "n": 3, "solvent": "EMC"}


@pytest.mark.parametrize("index", [-1, 15])
def test_counting_ends(index: int) -> None:
    """Beyond the last genome there is an IndexError with the size."""
    assert is_finite(FINITE)
    with pytest.raises(IndexError, match=f"genome {index} of a space of 15"):
        FINITE.genome(index)


@pytest.mark.parametrize(
    ("parameters", "size", "counted"),
    [
        ({"x": {"real": [0, 1]}}, None, False),
        ({"x": {"real": [0, 1]}, "n": {"integer": [1, 2]}}, None, False),
        ({"n": {"integer": [1, MAX_COUNTED]}}, MAX_COUNTED, True),
        ({"n": {"integer": [1, MAX_COUNTED + 1]}}, MAX_COUNTED + 1, False),
    ],
)
def test_only_what_can_be_counted_is_a_finite_space(
    parameters: dict[str, Any], size: int | None, counted: bool
) -> None:
    """A continuum has no size, a huge space has one; neither can be counted through."""
    built = space(**parameters)
    assert built.size() == size
    assert is_finite(built) == counted
    assert built.model_dump(mode="json")["kind"] == "parameters"


def test_mutation_always_moves_where_it_can() -> None:
    """Every use of `mutate` gives another genome, on the bounds too, with whole numbers one or more apart."""
    corners = [MIXED.decode(np.full((1, 3), u))[0] for u in (0.0, 1.0)]
    for parent in corners:
        for number in range(200):
            child = MIXED.operators()["mutate"].apply([parent], rng_for(1, number, "mutate"))
            assert child != parent


def test_mutation_of_a_single_genome_finds_nothing() -> None:
    """Where every parameter has one value, mutations give None."""
    single = space(n={"integer": [7, 7]})
    parent = {"n": 7}
    assert single.operators()["mutate"].apply([parent], rng_for(1, 0, "m")) is None
    assert single.operators()["reset"].apply([parent], rng_for(1, 0, "m")) is None


def test_crossover_of_categories_takes_from_the_parents() -> None:
    """A child has each category and whole number from one of its parents, and reals near them."""
    a = {"n": 2, "solvent": "EC", "x": -1.0}
    b = {"n": 7, "solvent": "DMC", "x": 1.0}
    children = [
        MIXED.operators()["crossover"].apply([a, b], rng_for(1, number, "crossover")) for number in range(300)
    ]
    assert {child["n"] for child in children if child} == {2, 7}
    assert {child["solvent"] for child in children if child} == {"EC", "DMC"}
    reals = np.array([child["x"] for child in children if child], dtype=np.float64)
    assert abs(reals.mean()) < 0.15
    assert len(np.unique(reals)) > 100


def test_a_hand_written_parent_gives_children_on_the_grid() -> None:
    """A seed with more digits than the range carries still has children that survive the unit cube."""
    wide = space(x={"real": [-5, 5]}, y={"real": [0, 1]})
    parent = {"x": 1.23456789012e-9, "y": 0.5}
    for name in ("mutate", "reset"):
        for number in range(20):
            child = wide.operators()[name].apply([parent], rng_for(1, number, name))
            assert child is not None
            assert wide.decode(wide.encode([child]))[0] == child


@given(st.floats(0.0, 1.0), st.integers(0, 10**6))
def test_polynomial_mutation_is_deaps(u: float, seed: int) -> None:
    """The formula gives what DEAP's operator gives for the same random number."""
    from deap import tools

    random.seed(seed)
    (mutant,) = tools.mutPolynomialBounded([u], eta=20.0, low=0.0, up=1.0, indpb=1.0)
    random.seed(seed)
    random.random()
    assert mutate_polynomially(u, random.random()) == pytest.approx(mutant[0], abs=1e-12)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(0, 10**6))
def test_crossover_of_reals_is_deaps(a: float, b: float, seed: int) -> None:
    """The two children of DEAP's operator are ours near the one parent and near the other."""
    from deap import tools

    random.seed(seed)
    exchanged = random.random() <= 0.5
    r = random.random()
    random.seed(seed)
    theirs = tools.cxSimulatedBinaryBounded([a], [b], eta=20.0, low=0.0, up=1.0)
    ours = [cross_simulated_binary(a, b, r), cross_simulated_binary(b, a, r)] if exchanged else [a, b]
    assert sorted(ours) == pytest.approx(sorted(child[0] for child in theirs), abs=1e-12)


def test_logarithmic_values_vary_by_factors() -> None:
    """Each decade gets an equal share of the unit interval, of reals and of whole numbers."""
    one = space(x={"real": [1e-4, 1.0], "log": True}, n={"integer": [1, 1000], "log": True})
    genomes = one.decode(rng_for(0, 0, "log").random((4000, 2)))
    decades = np.bincount([int(-np.log10(float(str(genome["x"])))) for genome in genomes])
    assert decades[:4].min() > 850
    assert 550 < sum(int(str(genome["n"])) < 3 for genome in genomes) < 1000  # 0.5 to 2.5 of 0.5 to 1000.5
    assert {int(str(genome["n"])) for genome in genomes} >= {1, 2, 3}


def test_logarithmic_whole_numbers_are_counted() -> None:
    """Each once, although their shares of the unit interval differ."""
    one = space(n={"integer": [1, 5], "log": True}, c={"categorical": ["a", "b"]})
    check_space(one)
    assert is_finite(one)
    assert [one.genome(i)["n"] for i in range(5)] == [1, 2, 3, 4, 5]


@settings(max_examples=200)
@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e15), UNIT)
def test_logarithmic_reals_survive_the_unit_interval(low: float, factor: float, u: float) -> None:
    """decode(encode(v)) is v over any number of decades."""
    one = space(x={"real": [low, low * factor], "log": True})
    genome = one.decode(np.array([[u]]))[0]
    assert to_json(one.decode(one.encode([genome]))[0]) == to_json(genome)


@settings(max_examples=200)
@given(BOUNDS, st.lists(UNIT, min_size=1, max_size=5))
def test_many_points_are_decoded_as_one_is(bounds: tuple[float, float], places: list[float]) -> None:
    """Arrays give the values that single numbers give, to the last bit."""
    try:
        one = space(x={"real": bounds}, n={"integer": [-3, 1000]}, o={"ordinal": [1, 5, 9]})
    except ValidationError:
        return  # narrower than 12 significant digits
    kinds = [parameter for _, parameter in one._ordered_parameters]
    for genome, u in zip(one.decode(np.array([[u] * 3 for u in places])), places, strict=True):
        assert to_json(genome) == to_json({n: k.decode(u) for n, k in zip(one._names, kinds, strict=True)})
    again = one.encode([genome, genome])
    assert again.tolist() == [one._to_point(genome)] * 2  # type: ignore[arg-type]


def test_levels_keep_their_order() -> None:
    """Numbers are numbers in the genome and in features by size; names are features by rank."""
    one = space(o={"ordinal": [1, 2, 10]}, g={"ordinal": ["low", "middle", "high"]})
    assert is_finite(one)
    assert one.genome(0) == {"g": "low", "o": 1}
    assert to_json(one.build({"g": "high", "o": 2}).parameters) == '{"g":"high","o":2}'
    assert np.allclose(one.features([{"g": "middle", "o": 2}]), [[0.5, 1 / 9]])
    assert [d.kind for d in one.domain().dimensions] == ["ordinal", "ordinal"]
    assert one.domain().dimensions[1].choices == ("1", "2", "10")
    mixed = space(o={"ordinal": [1, 0.5, 0.25]})
    assert to_json(mixed.decode(np.array([[0.0]]))[0]) == '{"o":1.0}'


def test_levels_mutate_to_neighbours() -> None:
    """Most steps of an ordinal go one level up or down; a category goes anywhere."""
    one = space(o={"ordinal": list(range(20))})
    steps = [
        abs(int(str(child["o"])) - 10)
        for number in range(300)
        if (child := one.operators()["mutate"].apply([{"o": 10}], rng_for(0, number, "m")))
    ]
    assert min(steps) == 1
    assert np.mean(np.array(steps) <= 2) > 0.8


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ({"o": 3, "g": "low"}, "parameter 'o' must be one of 1, 2, 10., got 3"),
        ({"o": "1", "g": "low"}, "parameter 'o' must be one of 1, 2, 10"),
        ({"o": True, "g": "low"}, "parameter 'o' must be one of 1, 2, 10"),
        ({"o": 1, "g": "lo"}, r"one of low, middle, high. Did you mean 'low'\?"),
        ({"o": 1, "g": 1}, "one of low, middle, high"),
    ],
)
def test_build_refuses_what_is_no_level(genome: dict[str, Any], message: str) -> None:
    """The message lists the levels."""
    with pytest.raises(Infeasible, match=message):
        space(o={"ordinal": [1, 2, 10]}, g={"ordinal": ["low", "middle", "high"]}).build(genome)


SOLVENTS = {
    "EC": {"dielectric": 89.8, "viscosity": 1.9},
    "DMC": {"dielectric": 3.1, "viscosity": 0.6},
    "PC": {"dielectric": 64.9, "viscosity": 2.5},
}


def test_descriptors_are_what_models_see() -> None:
    """One standardised column per descriptor instead of one per choice; the cube and the genome do not change."""
    one = space(s={"categorical": list(SOLVENTS), "descriptors": SOLVENTS})
    features = one.features([{"s": name} for name in SOLVENTS])
    assert features.shape == (3, 2)
    assert np.allclose(features.mean(axis=0), 0.0)
    assert np.allclose(features.std(axis=0), 1.0)
    assert features[0, 0] > features[2, 0] > features[1, 0]
    assert one.decode(one.encode([{"s": "PC"}])) == [{"s": "PC"}]
    check_space(one)


@pytest.mark.parametrize(
    ("descriptors", "message"),
    [
        ({"EC": {"a": 1}}, "descriptors of 'DMC' are missing; give them for every choice"),
        ({"EC": {"a": 1}, "DCM": {"a": 2}}, "'DCM', which is no choice. Did you mean 'DMC'"),
        ({"EC": {"a": 1}, "DMC": {"b": 2}}, "'DMC' differs in a, b"),
        ({"EC": {}, "DMC": {}}, "differs in at least one"),
        ({"EC": {"a": 1}, "DMC": {"a": 1}}, "'a' is the same for every choice"),
        ({"EC": {"a": 1}, "DMC": {"a": float("inf")}}, "must be finite|finite number"),
    ],
)
def test_descriptors_that_say_nothing_are_refused(descriptors: dict[str, Any], message: str) -> None:
    """Missing, unequal, constant or infinite descriptors are found when the campaign is read."""
    with pytest.raises(ValidationError, match=message):
        ParameterSpace.model_validate(
            {"parameters": {"s": {"categorical": ("EC", "DMC"), "descriptors": descriptors}}}
        )


def test_two_choices_with_the_same_descriptors_are_refused() -> None:
    """No model could tell them apart."""
    same = {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 1.0, "y": 2.0}, "c": {"x": 0.0, "y": 1.0}}
    with pytest.raises(ValidationError, match="'a' and 'b' have the same descriptors"):
        space(s={"categorical": ["a", "b", "c"], "descriptors": same})


@pytest.mark.parametrize("name", ["", " x", "x ", "a  b", "a\tb", "a\nb", "a\0b", "\u202ex", "a\u00a0b"])
def test_names_that_no_table_gives_back(name: str) -> None:
    """A name that would come back from a spreadsheet as another one is refused; a run that has it goes on."""
    settings = {"kind": "parameters", "parameters": {name: {"real": [0, 1]}}}
    with pytest.raises(ValidationError, match="a name must not"):
        load("spaces", settings)
    assert load("spaces", settings, folder=STORED_FOLDER).parameters.keys() == {name}
