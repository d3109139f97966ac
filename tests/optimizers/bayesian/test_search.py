"""The search for the highest value of an acquisition function over a vector space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, genome_key, to_json
from invdesign.optimizers.bayesian.layout import Layout
from invdesign.optimizers.bayesian.polish import LinearRules, climb
from invdesign.optimizers.bayesian.search import search_vector
from invdesign.optimizers.bayesian.trust import Box
from invdesign.protocols import Context, VectorSpace
from invdesign.rng import rng_for
from invdesign.settings import load
from tests.examples import SPACES

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # on importing BoTorch


class Landscape:
    """A value made of a torch function of codes (q, d)."""

    def __init__(self, function: Callable[[Tensor], Tensor], *, differentiable: bool = True) -> None:
        self.function = function
        self.differentiable = differentiable
        self.judged = 0

    def evaluate(self, x: FloatArray) -> FloatArray:
        self.judged += len(x)
        found: FloatArray = self.function(torch.tensor(x)).numpy()
        return found

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        assert self.differentiable
        return self.function(x)


def hill(top: FloatArray, scale: float = 1.0) -> Callable[[Tensor], Tensor]:
    """The negative squared distance from a point (d,)."""
    return lambda x: -scale * ((x - torch.tensor(top)) ** 2).sum(dim=1)


def real(d: int) -> VectorSpace:
    return space({"kind": "parameters", "parameters": {f"x{i}": {"real": [0.0, 1.0]} for i in range(d)}})


def space(fields: Mapping[str, Any]) -> VectorSpace:
    return cast("VectorSpace", load("spaces", dict(fields)))


def context(own: VectorSpace) -> Context:
    return Context(own, cast("Any", None), cast("Any", None), seed=0)


def found_in(
    own: VectorSpace, value: Landscape, anchors: Sequence[Genome] | None = None, seed: int = 0, **options: Any
) -> list[tuple[Genome, float]]:
    box = options.pop("box", None)
    return search_vector(context(own), own, value, anchors or [], box, rng_for(seed, 0, "search"), **options)


SEVERAL: dict[str, Mapping[str, Any]] = {
    **{f"mixture {n}": {"kind": "mixture", **fields} for n, fields in enumerate(SPACES["mixture"])},
    **{f"parameters {n}": {"kind": "parameters", **fields} for n, fields in enumerate(SPACES["parameters"])},
}


@pytest.mark.parametrize("differentiable", [True, False])
@pytest.mark.parametrize("name", list(SEVERAL))
def test_it_answers_with_genomes_of_the_space(name: str, differentiable: bool) -> None:
    """On every vector space: canonical genomes that build, all different, best first, judged at their own code."""
    own = space(SEVERAL[name])
    width = len(own.domain().dimensions)
    value = Landscape(hill(np.linspace(0.2, 0.6, width)), differentiable=differentiable)
    answers = found_in(own, value, keep=5)
    genomes = [genome for genome, _ in answers]
    assert answers
    assert len({genome_key(genome) for genome in genomes}) == len(genomes)
    for genome in genomes:
        own.build(genome)
    codes = own.encode(genomes)
    assert [to_json(genome) for genome in own.decode(codes)] == [to_json(genome) for genome in genomes]
    values = [found for _, found in answers]
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose(values, value.evaluate(codes), rtol=1e-12)


@pytest.mark.parametrize("name", ["mixture 0", "mixture 1", "parameters 3"])
def test_the_same_generator_gives_the_same_answers(name: str) -> None:
    """A search is a function of its arguments; the context's cache changes nothing."""
    own = space(SEVERAL[name])
    value = Landscape(hill(np.full(len(own.domain().dimensions), 0.3)))
    shared = context(own)
    first, second = (search_vector(shared, own, value, [], None, rng_for(3, 0, "search")) for _ in range(2))
    assert first == second == found_in(own, value, seed=3)


def test_the_global_generators_are_left_alone() -> None:
    """Neither torch's nor numpy's generator moves."""
    before = torch.get_rng_state(), cast("Any", np.random.get_state())[1].copy()  # noqa: NPY002 - the legacy state is the point
    found_in(real(3), Landscape(hill(np.full(3, 0.4))))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], cast("Any", np.random.get_state())[1])  # noqa: NPY002


@pytest.mark.parametrize("d", [1, 3, 12])
def test_it_climbs_to_the_top_of_a_box(d: int) -> None:
    """Inside and on the border, to many digits."""
    own = real(d)
    top = np.linspace(-0.2, 0.9, d) if d > 1 else np.array([0.37])
    genome, value = found_in(own, Landscape(hill(top)))[0]
    np.testing.assert_allclose(own.encode([genome])[0], np.clip(top, 0.0, 1.0), atol=1e-5)
    assert value == pytest.approx(-float((np.minimum(top, 0.0) ** 2).sum()), abs=1e-9)


def test_a_sharp_peak_near_an_anchor_is_found() -> None:
    """Where the value is flat all over, and high within a hundredth of the best trial."""
    own = real(6)
    top = np.array([0.21, 0.83, 0.44, 0.67, 0.12, 0.95])
    value = Landscape(lambda x: torch.exp(-((x - torch.tensor(top)) ** 2).sum(dim=1) / 0.01**2))
    anchor = own.decode(top[None] + 0.015)[0]
    assert found_in(own, value, [anchor])[0][1] > 0.999
    assert found_in(own, value, [])[0][1] < 0.5


def test_only_new_genomes_are_answers() -> None:
    """What the predicate refuses is left out, the next best comes up."""
    own = space({"kind": "parameters", "parameters": {"n": {"integer": [0, 9]}, "m": {"integer": [0, 9]}}})
    value = Landscape(hill(np.array([0.55, 0.55])))
    first = found_in(own, value, keep=2)
    assert first[0][0] == {"m": 5, "n": 5}
    second = found_in(own, value, keep=1, new=lambda genome: genome != {"m": 5, "n": 5})
    assert second[0][0] == first[1][0]
    assert second[0][1] == pytest.approx(first[1][1])


def test_nothing_new_gives_no_answers() -> None:
    """Not an error: the caller decides what to propose then."""
    assert found_in(real(2), Landscape(hill(np.zeros(2))), new=lambda _: False) == []


def test_answers_are_not_nearly_the_same() -> None:
    """Climbs that end at one top give one answer, not one each."""
    own = real(4)
    codes = own.encode([genome for genome, _ in found_in(own, Landscape(hill(np.full(4, 0.5))), keep=8)])
    gaps = [np.abs(a - b).max() for a, b in combinations(codes, 2)]
    assert min(gaps) >= 1e-6


def test_a_value_that_is_not_finite_is_never_an_answer() -> None:
    """A model may break down somewhere; the rest of the space remains."""
    own = real(2)
    value = Landscape(lambda x: torch.where(x[:, 0] > 0.5, torch.nan, x[:, 0]))
    genome, best = found_in(own, value)[0]
    assert 0.49 < best <= 0.5
    assert own.encode([genome])[0, 0] <= 0.5


@pytest.mark.parametrize("best", ["q", "t"])
def test_categories_and_whole_numbers_are_chosen_with_the_rest(best: str) -> None:
    """Every category has its own top, and the highest is found whichever it is."""
    names = ["p", "q", "r", "s", "t"]
    fields = {
        "c": {"categorical": names},
        "n": {"integer": [1, 500], "log": True},
        "m": {"integer": [0, 9]},
        "x": {"real": [0.0, 1.0]},
        "y": {"real": [0.0, 1.0]},
    }
    own = space({"kind": "parameters", "parameters": fields})
    wanted: Genome = {"c": best, "n": 37, "m": 4, "x": 0.3, "y": 0.8}
    top = own.encode([wanted])[0]
    columns = [column for column, item in enumerate(own.domain().dimensions) if item.name == "c"]

    def function(x: Tensor) -> Tensor:
        away = (x - torch.tensor(top)) ** 2
        wrong = (away[:, columns[0]] > 1e-6).double()
        away = away.clone()
        away[:, columns[0]] = 0.0
        return -away.sum(dim=1) - 0.1 * wrong

    genome, _ = found_in(own, Landscape(function))[0]
    assert {name: genome[name] for name in ("c", "n", "m")} == {"c": best, "n": 37, "m": 4}
    assert genome["x"] == pytest.approx(0.3, abs=1e-4)


def crowded(components: int, at_most: int) -> VectorSpace:
    """A mixture of a few of many components, under two linear rules."""
    fields = {
        "kind": "mixture",
        "mixtures": {"m": {"components": [f"c{i}" for i in range(components)], "at_most": at_most}},
        "constraints": ["c0 + 2*c1 + c2 >= 0.2", "c3 - c4 + 0.5*c5 <= 0.3"],
    }
    return space(fields)


def bowl(d: int) -> Callable[[Tensor], Tensor]:
    """A concave function with a price for each component."""
    rng = np.random.default_rng(0)
    prices, tops = rng.normal(size=d), rng.random(d)
    return lambda x: x @ torch.tensor(prices) - ((x - 0.5 * torch.tensor(tops)) ** 2).sum(dim=1)


def test_at_most_four_of_fifteen_under_linear_constraints() -> None:
    """All answers keep every rule to 1e-9."""
    own = crowded(15, 4)
    codes = own.encode([genome for genome, _ in found_in(own, Landscape(bowl(15)))])
    assert len(codes) == 8
    assert Layout(own.domain()).rows.largest_violation(codes).max() <= 1e-9
    assert ((codes > 0.0).sum(axis=1) <= 4).all()


def test_the_best_set_of_components_is_found() -> None:
    """No set of three of eight has a higher top: all were climbed."""
    own = crowded(8, 3)
    value, rows = Landscape(bowl(8)), Layout(own.domain()).rows
    starts, free = [], []
    for members in combinations(range(8), 3):
        start = feasible_point(rows, list(members))
        if start is not None:
            starts.append(start)
            free.append(np.isin(np.arange(8), members))
    x = np.array(starts)
    tops = climb(value, x, np.array(free), np.zeros_like(x), np.ones_like(x), rows, 40)
    assert found_in(own, value)[0][1] >= value.evaluate(tops).max() - 1e-6


def feasible_point(rows: LinearRules, members: list[int]) -> FloatArray | None:
    """A point with these components that keeps the rules."""
    from scipy.optimize import linprog

    bounds = [(0.0, 1.0)] * len(members)
    answer = linprog(
        np.zeros(len(members)),
        A_ub=-rows.above[:, members],
        b_ub=-rows.least,
        A_eq=rows.equal[:, members],
        b_eq=rows.sums,
        bounds=bounds,
    )
    if answer.x is None:
        return None
    point = np.zeros(rows.above.shape[1])
    point[members] = answer.x
    return point


def test_what_is_present_has_its_smallest_amount() -> None:
    """The top lies below the smallest fraction a component may have: it gets exactly that, or nothing."""
    own = space({"kind": "mixture", "mixtures": {"m": {"components": ["a", "b", "c"], "present_from": 0.1}}})
    genome, _ = found_in(own, Landscape(hill(np.array([0.07, 0.5, 0.43]))))[0]
    amounts = cast("Mapping[str, float]", genome["m"])
    assert amounts.get("a", 0.0) == pytest.approx(0.1, abs=1e-6)


def test_a_parameter_that_does_not_exist_is_not_climbed_along() -> None:
    """Its coordinate says nothing; the answer is the best of those that exist."""
    fields = {
        "c": {"categorical": ["p", "q"]},
        "x": {"real": [0.0, 1.0], "when": {"c": ["p"]}},
        "y": {"real": [0.0, 1.0]},
    }
    own = space({"kind": "parameters", "parameters": fields})

    def function(x: Tensor) -> Tensor:
        is_q = (x[:, 0] > 0.5).double()
        return is_q * 0.05 - (x[:, 1] - 0.9) ** 2 * (1.0 - is_q) - (x[:, 2] - 0.4) ** 2

    genome, value = found_in(own, Landscape(function))[0]
    assert genome == {"c": "q", "y": pytest.approx(0.4, abs=1e-4)}
    assert value == pytest.approx(0.05, abs=1e-6)


def test_it_goes_along_rules_that_are_not_linear() -> None:
    """The top lies behind a curved border; an answer near the nearest point of the border is found."""
    fields = {"x": {"real": [0.0, 2.0]}, "y": {"real": [0.0, 2.0]}}
    own = space({"kind": "parameters", "parameters": fields, "constraints": ["x * y <= 0.5"]})
    genome, _ = found_in(own, Landscape(hill(np.array([0.5, 0.5]))))[0]
    x, y = cast("float", genome["x"]), cast("float", genome["y"])
    assert x * y <= 0.5 * (1.0 + 1e-9)
    assert x == pytest.approx(0.5**0.5, abs=0.05)
    assert y == pytest.approx(0.5**0.5, abs=0.05)


def test_it_stays_in_the_box() -> None:
    """A trust region bounds every coordinate but categories."""
    fields = {"c": {"categorical": ["p", "q"]}, "x": {"real": [0.0, 1.0]}, "y": {"real": [0.0, 1.0]}}
    own = space({"kind": "parameters", "parameters": fields})
    box = Box(np.array([0.2, 0.4, 0.1]), np.array([0.3, 0.6, 0.3]))
    answers = found_in(own, Landscape(hill(np.array([0.75, 0.9, 0.2]))), box=box)
    codes = own.encode([genome for genome, _ in answers])
    assert (codes[:, 1:] >= box.low[1:] - 1e-9).all()
    assert (codes[:, 1:] <= box.high[1:] + 1e-9).all()
    np.testing.assert_allclose(codes[0], [0.75, 0.6, 0.2], atol=1e-4)


def test_a_box_without_a_genome_is_given_up() -> None:
    """Rules may leave nothing in a small box; the whole space is searched then."""
    own = space({"kind": "mixture", "mixtures": {"m": ["a", "b"]}})
    box = Box(np.array([0.1, 0.1]), np.array([0.2, 0.2]))
    assert found_in(own, Landscape(hill(np.array([0.5, 0.5]))), box=box)


def test_neighbours_differ_in_one_choice() -> None:
    """All other categories, the nearest levels, and the next whole numbers of a wide range; reals stay."""
    fields = {
        "c": {"categorical": ["p", "q", "r"]},
        "n": {"integer": [0, 99]},
        "o": {"ordinal": [1, 2, 5, 9]},
        "x": {"real": [0.0, 1.0]},
    }
    own = space({"kind": "parameters", "parameters": fields})
    here: Genome = {"c": "p", "n": 50, "o": 2, "x": 0.5}
    layout = Layout(own.domain())
    others = own.decode(layout.list_neighbours(own.encode([here])[0], np.zeros(4, dtype=np.bool_)))
    changes = {(name, other[name]) for other in others for name in here if other[name] != here[name]}
    assert changes == {
        *(("c", name) for name in "qr"),
        *(("n", number) for number in (47, 49, 51, 53)),
        *(("o", level) for level in (1, 5, 9)),
    }


def test_components_trade_places() -> None:
    """An absent one takes what a present one had: the sum stays, in the units of a cube with bounds."""
    components = {"a": [0.0, 1.0], "b": [0.0, 0.5], "c": [0.0, 1.0]}
    own = space({"kind": "mixture", "mixtures": {"m": {"components": components, "at_most": 2}}})
    layout = Layout(own.domain())
    code = own.encode([{"m": {"a": 0.4, "c": 0.6}}])[0]
    points = layout.list_neighbours(code, np.zeros(3, dtype=np.bool_))
    assert layout.rows.largest_violation(points)[:4].min() <= 1e-9
    assert any(np.allclose(point, [0.0, 0.8, 0.6]) for point in points)


@pytest.mark.parametrize("name", ["mixture 1", "mixture 2", "parameters 3"])
def test_random_steps_stay_in_the_cube(name: str) -> None:
    """Of all lengths, around any genome; categories are changed to others of their places."""
    own = space(SEVERAL[name])
    layout = Layout(own.domain())
    genome = own.operators()["start"].apply((), rng_for(0, 0, "start"))
    assert genome is not None
    code = own.encode([genome])[0]
    points = layout.random_steps(code, np.zeros(len(code), dtype=np.bool_), 50, rng_for(0, 0, "steps"))
    assert ((points >= 0.0) & (points <= 1.0)).all()
    assert len(np.unique(points, axis=0)) > 25
    assert (layout.rows.largest_violation(points) <= 1e-9).sum() >= 25


@settings(max_examples=40, deadline=None)
@given(d=st.integers(2, 7), rules=st.integers(0, 3), seed=st.integers(0, 999))
def test_climbs_keep_every_rule_and_never_end_lower(d: int, rules: int, seed: int) -> None:
    """From any feasible start under any linear rules, equalities included; held coordinates stay."""
    rng = np.random.default_rng(seed)
    starts = rng.dirichlet(np.ones(d), size=3)
    above = rng.normal(size=(rules, d))
    least = (starts @ above.T).min(axis=0) - 0.05 * rng.random(rules)
    rows = LinearRules(above, least, np.ones((1, d)), np.ones(1))
    value = Landscape(hill(rng.normal(size=d), scale=3.0))
    free = np.ones((3, d), dtype=np.bool_)
    free[0, 0] = False
    tops = climb(value, starts, free, np.zeros((3, d)), np.ones((3, d)), rows, 30)
    assert rows.largest_violation(tops).max() <= 1e-9
    assert ((tops >= -1e-9) & (tops <= 1.0 + 1e-9)).all()
    assert tops[0, 0] == starts[0, 0]
    assert (value.evaluate(tops) >= value.evaluate(starts) - 1e-12).all()


def test_climbs_reach_the_top_on_a_face() -> None:
    """The best of a concave function on a simplex with a rule, known by projection."""
    rows = LinearRules(np.array([[1.0, 0.0, 0.0]]), np.array([0.4]), np.ones((1, 3)), np.ones(1))
    starts = np.array([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0]])
    free, low, high = np.ones((2, 3), dtype=np.bool_), np.zeros((2, 3)), np.ones((2, 3))
    tops = climb(Landscape(hill(np.array([0.0, 1.0, 0.5]))), starts, free, low, high, rows, 40)
    np.testing.assert_allclose(tops, [[0.4, 0.55, 0.05]] * 2, atol=1e-5)
