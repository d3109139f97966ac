"""Periodic axes: no optimizer and no model sees where their ends are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, Status
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.gaussian.process import build_process, fit_hyperparameters
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.layout import Layout
from invdesign.optimizers.bayesian.success import build_success_model, fit_success
from invdesign.optimizers.bayesian.trust import Box
from invdesign.optimizers.cma import CMA
from invdesign.optimizers.cma_library import Cube
from invdesign.optimizers.swarm_backend import Flock, Rules, move_flock
from invdesign.optimizers.vectors import OPERATORS, Points, Steps
from invdesign.periodic import nearest_images, take_shortest_way, wrap_into_cube
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, Dimension, Domain
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import MemoryHistory, check_optimizer, check_space

MASK = np.array([True, True, False])
SHIFTS = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # on importing BoTorch


class RingSpace(ParameterSpace):
    """Two angles, whose ends are one point, and a length."""

    def domain(self) -> Domain:
        """Make the angles periodic."""
        found = super().domain()
        dimensions = [replace(item, periodic=item.name.startswith("angle")) for item in found.dimensions]
        return replace(found, dimensions=tuple(dimensions))

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Write the end of an angle as its beginning."""
        return wrap_into_cube(super().encode(genomes), MASK)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Read the end of an angle as its beginning."""
        return super().decode(wrap_into_cube(x, MASK))


def ring() -> RingSpace:
    parameters: dict[str, Any] = {name: {"real": [0, 1]} for name in ("angle a", "angle b", "length")}
    return RingSpace.model_validate({"parameters": parameters})


def moved(x: FloatArray, shift: float) -> FloatArray:
    """Points in another origin of the angles."""
    return wrap_into_cube(np.where(MASK, x + shift, x), MASK)


def same(a: FloatArray, b: FloatArray) -> bool:
    return bool((np.abs(take_shortest_way(a - b, MASK)) < 1e-9).all())


def points(n: int, stream: str) -> FloatArray:
    return rng_for(0, 0, stream).random((n, 3))


@given(x=st.floats(-1e3, 1e3), reference=st.floats(0.0, 1.0))
def test_images_differ_by_whole_periods(x: float, reference: float) -> None:
    """A place in the cube is below 1, and the nearest image is at most half a period away."""
    one = np.array([True])
    inside = wrap_into_cube(np.array([x]), one)
    assert 0.0 <= inside[0] < 1.0
    image = nearest_images(np.array([x]), np.array([reference]), one)
    assert abs(image[0] - reference) <= 0.5 + 1e-9
    assert abs(take_shortest_way(image - inside, one)[0]) < 1e-9


@given(shift=SHIFTS)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("boundary", ["nearest", "reflective", "shrink", "intermediate"])
def test_a_flock_moves_alike_from_any_origin(boundary: Any, shift: float) -> None:
    """Moving the origin of the angles moves the flock, and changes nothing else."""
    start, best, leader = (points(6, name) for name in ("start", "best", "leader"))
    velocity = points(6, "velocity") - 0.5
    rules = Rules(0.6, 1.4, 1.4, boundary=boundary, periodic=MASK)
    here, speed = move_flock(Flock(start, velocity, best, leader), rules, seed=1)
    there, same_speed = move_flock(
        Flock(moved(start, shift), velocity, moved(best, shift), moved(leader, shift)), rules, seed=1
    )
    assert same(moved(here, shift), there)
    # At half a period both ways are equally short, and rounding decides.
    assert same(speed, same_speed)
    assert ((here >= 0.0) & (here <= 1.0)).all()


def test_a_particle_crosses_the_end_of_an_axis() -> None:
    """Its leader beyond the end is near."""
    at, leader = np.array([[0.95, 0.5, 0.95]]), np.array([[0.05, 0.5, 0.05]])
    rules = Rules(0.0, 0.0, 1.0, periodic=MASK)
    place, speed = move_flock(Flock(at, np.zeros((1, 3)), at, leader), rules, seed=3)
    assert 0.0 < speed[0, 0] < 0.1
    assert place[0, 0] > 0.95 or place[0, 0] < 0.05
    assert speed[0, 2] < 0.0  # the length has no way round


@given(shift=SHIFTS)
@settings(max_examples=20, deadline=None)
def test_operators_on_vectors_do_not_see_the_origin(shift: float) -> None:
    """Differential, gaussian and simplex children move with the origin."""
    x = points(8, "population")
    none = np.zeros(3, dtype=np.bool_)
    for name, operator in OPERATORS.items():
        here = operator(Points(x, none, MASK), Steps(), 2, rng_for(1, 0, name))
        there = operator(Points(moved(x, shift), none, MASK), Steps(), 2, rng_for(1, 0, name))
        assert same(moved(here.x, shift), there.x)
        assert here.parents == there.parents
        assert ((there.x >= 0.0) & (there.x <= 1.0)).all()


@pytest.mark.parametrize("separable", [False, True])
def test_a_cma_distribution_crosses_the_end_of_an_axis(separable: bool) -> None:
    """Its samples lie in the cube, those told around its mean; its mean comes back into the cube."""
    axes = [Dimension(name, "real", periodic=bool(own)) for name, own in zip("abc", MASK, strict=True)]
    cube = Cube.from_dimensions(axes, separable=separable)
    model = cube.new_model([0.98, 0.5, 0.5], 0.1, 8)
    model.reseed_rng(2)
    for _ in range(6):
        drawn = [cube.sample_point(model) for _ in range(8)]
        assert all(((place >= 0.0) & (place <= 1.0)).all() for place, _ in drawn)
        mean = np.array(cube.save_model(model)["_mean"])
        assert all((np.abs(told - model.mean)[:2] <= 0.5 + 1e-9).all() for _, told in drawn)
        # The best lie across the end: at 0.1.
        apart = [abs(take_shortest_way(place - np.array([0.1, 0.5, 0.5]), MASK)).sum() for place, _ in drawn]
        model.tell([(told, value) for (_, told), value in zip(drawn, apart, strict=True)])
        model = cube.restore_model(cube.save_model(model), 0.1, 8)
        model.reseed_rng(3)
    mean = np.array(cube.save_model(model)["_mean"])
    assert ((mean >= 0.0) & (mean < 1.0)).all()
    assert abs(take_shortest_way(mean[:1] - 0.1, MASK[:1])[0]) < 0.1


def wave(x: FloatArray) -> FloatArray:
    """Values that are smooth across the ends of the angles."""
    found: FloatArray = np.cos(2 * np.pi * (x[:, 0] - 0.02)) + np.sin(2 * np.pi * x[:, 1]) * x[:, 2]
    return found


INPUTS = Inputs(("a", "b", "c"), ("number",) * 3, (("all", (0, 1, 2)),), cube=True, periodic=(0, 1))


@pytest.mark.parametrize("warp", [False, True])
def test_a_gaussian_process_does_not_see_the_origin(warp: bool) -> None:
    """Fits and predictions are those of the moved rows, and smooth across the ends."""
    x, others = points(24, "rows"), points(10, "others")
    y, noise = wave(x), np.full(24, np.nan)
    chosen = GaussianSettings(warp=warp)
    found = []
    for shift in (0.0, 0.37):
        rows = Rows(moved(x, shift), y, noise)
        process = build_process(rows, INPUTS, chosen, fit_hyperparameters(rows, INPUTS, chosen))
        found.append(np.concatenate(process.predict(moved(others, shift))))
        ends = process.predict(np.array([[0.0, 0.3, 0.5], [1.0, 0.3, 0.5]]))
        assert ends[0][0] == pytest.approx(ends[0][1], abs=1e-9)
        assert ends[1][0] == pytest.approx(ends[1][1], abs=1e-7)
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_additive_groups_hold_both_columns_of_an_angle() -> None:
    """With a group per column, the contributions of an angle are the same at both its ends."""
    x = points(24, "rows")
    inputs = replace(INPUTS, groups=(("a", (0,)), ("b", (1,)), ("c", (2,))))
    chosen = GaussianSettings(kernel="additive")
    rows = Rows(x, wave(x), np.full(24, np.nan))
    process = build_process(rows, inputs, chosen, fit_hyperparameters(rows, inputs, chosen))
    parts = process.group_contributions(np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5]]))
    assert parts[0] == pytest.approx(parts[1], abs=1e-9)
    assert abs(parts[0, 0]) > 0.1


def test_the_success_model_is_one_at_both_ends() -> None:
    """Failures on one side of an end tell of the other."""
    x = points(40, "rows")
    succeeded = np.abs(take_shortest_way(x - np.array([0.0, 0.5, 0.5]), MASK))[:, 0] > 0.15
    model = build_success_model(x, succeeded, INPUTS, fit_success(x, succeeded, INPUTS))
    ends = model.predict_probability(np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5], [0.5, 0.5, 0.5]]))
    assert ends[0] == pytest.approx(ends[1], abs=1e-9)
    assert ends[0] < ends[2]


@given(shift=SHIFTS)
@settings(max_examples=20, deadline=None)
def test_a_region_lies_across_the_end_of_an_axis(shift: float) -> None:
    """The same points are inside, and points outside come to the same places, from any origin."""
    low, high = np.array([0.8, 0.1, 0.2]), np.array([1.2, 0.5, 0.6])
    x = points(20, "points")
    offset = np.where(MASK, shift, 0.0)
    domain = ring().domain()
    here, there = Layout(domain, Box(low, high)), Layout(domain, Box(low + offset, high + offset))
    assert here.is_inside(x).tolist() == there.is_inside(moved(x, shift)).tolist()
    brought = here.bring_inside(x)
    assert here.is_inside(brought).all()
    assert ((brought >= 0.0) & (brought <= 1.0)).all()
    far = np.abs(take_shortest_way(x - 0.5 * (low + high), MASK))[:, :2].max(axis=1) < 0.49
    assert same(moved(brought[far], shift), there.bring_inside(moved(x, shift))[far])


def distance(genome: Genome) -> float:
    """Squared distance from a point at an end of both angles."""
    x = np.array([float(str(value)) for value in genome.values()])
    off = take_shortest_way(x - np.array([0.0, 0.99, 0.3]), MASK)
    return float(off @ off)


@pytest.mark.parametrize(
    ("optimizer", "trials"),
    [
        ({"kind": "swarm", "particles": 12}, 200),
        ({"kind": "cma"}, 200),
        ({"kind": "genetic", "population": 20}, 300),
        ({"kind": "bayesian"}, 25),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_optimizers_find_the_best_at_an_end(optimizer: Any, trials: int) -> None:
    """The best lies at an end of both angles, where half of its surroundings is across."""
    problem = Problem((Objective("distance", "minimize"),))
    space, history = ring(), MemoryHistory(problem)
    chosen = load("optimizers", optimizer)
    state = chosen.start(Context(space, problem, history, 1, 0))
    event = 0
    while len(history) < trials:
        event += 1
        proposals, state = chosen.ask(
            Context(space, problem, history, 1, event), state, min(chosen.batch, 12)
        )
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            value = distance(history.candidate(id).genome)
            history.finish(id, {"distance": value}, status=Status.COMPLETE)
        state = chosen.tell(Context(space, problem, history, 1, event + 1), state, ids)
        event += 1
    assert float(np.nanmin(history.column("distance"))) < 0.01


def test_the_space_and_its_optimizers_keep_their_contracts() -> None:
    """A space with periodic axes is a space like any other."""
    check_space(ring())
    one = Problem((Objective("distance", "minimize"),))
    check_optimizer(CMA(), ring(), problem=one)
    check_optimizer(load("optimizers", {"kind": "swarm", "particles": 6}), ring(), problem=one)
