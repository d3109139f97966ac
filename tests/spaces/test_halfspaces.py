"""Flat, thin and badly scaled bodies: their points are found, and they are empty exactly where no point is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from invdesign.arrays import FloatArray
from invdesign.rng import rng_for
from invdesign.spaces.linear import LinearConstraint, build_feasible_polytope
from invdesign.spaces.mixture.polytope import Region, Rules
from invdesign.spaces.polytope import Polytope, build_polytope

Row = tuple[FloatArray, float]

INSIDE = 1e-9  # of a row's range
NEARLY = (
    1e-7  # by which another point may be nearer than the one found: bodies taken as flat are up to so wide
)
THICKNESSES = (0.0, 0.0, 1e-13, 1e-11, 1e-10, 1e-9, 3e-9, 1e-8, 1e-6)


@dataclass(frozen=True)
class System:
    """Bounds (n, 2), rows a x <= b, equations a x = b, and a point that keeps them all, where there is one."""

    bounds: FloatArray
    rows: list[Row]
    equal: list[Row]
    point: FloatArray

    @property
    def body(self) -> Polytope:
        names = [f"v{i}" for i in range(len(self.bounds))]

        def named(rows: list[Row]) -> list[tuple[dict[str, float], float]]:
            return [(dict(zip(names, a.tolist(), strict=True)), b) for a, b in rows]

        return build_polytope(
            names, [tuple(pair) for pair in self.bounds.tolist()], named(self.rows), named(self.equal)
        )

    @property
    def region(self) -> Region:
        matrix = np.array([a for a, _ in self.rows + self.equal]).reshape(-1, len(self.bounds))
        high = np.array([b for _, b in self.rows + self.equal])
        low = np.concatenate([np.full(len(self.rows), -np.inf), high[len(self.rows) :]])
        return Region(Rules(self.bounds[:, 0], self.bounds[:, 1], matrix, low, high))

    @property
    def feasible(self) -> bool:
        """What a plain linear program says."""
        body = self.body
        answer = linprog(
            np.zeros(len(self.bounds)),
            A_ub=body.frame.a if len(body.b) else None,
            b_ub=body.b if len(body.b) else None,
            A_eq=body.frame.a_eq if len(body.b_eq) else None,
            b_eq=body.b_eq if len(body.b_eq) else None,
            bounds=self.bounds,
        )
        return bool(answer.status == 0)


def degenerate(seed: int, gap: float = 0.0) -> System:
    """A random system in 1 to 6 variables whose inequalities together force equalities, once or twice.

    Args:
        gap: by how much the inequalities miss each other: 0 leaves a point that keeps them all.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    lower = rng.choice([0.0, -1.0, 0.3, -7.0], n)
    width = rng.choice([0.0, 0.5, 1.0, 3.0], n, p=[0.05, 0.35, 0.4, 0.2])
    point = lower + rng.choice([0.0, 0.25, 0.5, 1.0], n) * width
    span = np.where(width > 0.0, width, 1.0)
    thickness = float(rng.choice(THICKNESSES))
    rows: list[Row] = []

    def add(a: FloatArray, room: float) -> None:
        scale = 10.0 ** int(rng.integers(-6, 7)) if rng.random() < 0.5 else 1.0
        if a.any():
            rows.append((scale * a, scale * float(a @ point + room * np.linalg.norm(a * span))))

    def directions(count: int) -> FloatArray:
        return (
            rng.integers(-3, 4, (count, n)).astype(float)
            if rng.random() < 0.6
            else rng.normal(size=(count, n))
        )

    for _ in range(int(rng.integers(1, 3))):  # a_1 + ... + a_k + a_(k+1) = 0: all of them are tight together
        several = directions(int(rng.integers(1, n + 1)))
        for a in several:
            add(a, thickness)
        add(-(rng.random(len(several)) + 0.1) @ several, thickness - gap)
    forced = list(rows)
    for a in directions(int(rng.integers(0, 4))):  # some that are not, or only at the point
        add(a, float(rng.choice([0.0, rng.random()])))
    equal = []
    if rng.random() < 0.4 and forced:
        equal = [forced[int(rng.integers(len(forced)))]] if thickness == gap == 0.0 else []
        equal += [(a, float(a @ point)) for a in directions(1) if a.any()]
    if rng.random() < 0.4 and rows:  # nearly the same once more
        a, b = rows[int(rng.integers(len(rows)))]
        factor = float(rng.choice([3.0, 1e-3, 1.0 / 3.0, 1.0 + 1e-9]))
        rows.append((factor * a, factor * b))
    return System(np.column_stack([lower, lower + width]), rows, equal, point)


def around(system: System, rng: np.random.Generator) -> FloatArray:
    """A point in the bounds or somewhat outside."""
    width = np.ptp(system.bounds, axis=1)
    return np.asarray(
        system.bounds[:, 0] + (rng.random(len(width)) * 1.6 - 0.3) * np.where(width > 0.0, width, 1.0)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_flat_and_thin_bodies_are_repaired_to_and_drawn_from(seed: int) -> None:
    """Equalities forced by inequalities, in any scale: a nearest point is found, it lies inside, and so does every draw."""
    system, rng = degenerate(seed), np.random.default_rng(seed)
    body = system.body
    assert body.measure_excess(system.point) <= INSIDE
    assert not body.empty
    assert body.contains(body.centre)
    for _ in range(3):
        target = around(system, rng)
        found = body.project_point(target)
        assert found is not None
        assert body.measure_excess(found) <= INSIDE
        drawn = body.draw_point(rng)
        assert body.measure_excess(drawn) <= INSIDE
        far = [float(np.linalg.norm((x - target) / body.frame.width)) for x in (found, drawn, system.point)]
        assert far[0] <= min(far[1:]) + NEARLY
    kept = body.project_point(system.point)
    assert kept is not None
    assert kept == pytest.approx(system.point, abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_flat_and_thin_regions_are_projected_to_and_sampled(seed: int) -> None:
    """The same of mixtures: projections, samples and corners lie inside, whichever is asked for first."""
    system, rng = degenerate(seed), np.random.default_rng(seed)
    body, region = system.body, system.region
    if region.empty:  # its tolerance is an absolute one, and smaller
        assert body.measure_excess(system.point) > 0.0
        return
    asked: list[Callable[[], FloatArray | None]] = [
        lambda: region.project_point(around(system, rng)),
        lambda: region.sample(rng),
        lambda: region.draw_corner(rng),
    ]
    for number in rng.permutation(np.tile(np.arange(3), 3)):
        found = asked[number]()
        assert found is not None
        assert body.measure_excess(found) <= INSIDE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-5, 1e-2]))
def test_bodies_are_empty_where_a_linear_program_finds_no_point(seed: int, gap: float) -> None:
    """Also where the inequalities miss each other by little; nothing is repaired to where there is nothing."""
    system = degenerate(seed, gap)
    body, region = system.body, system.region
    feasible = system.feasible
    target = around(system, np.random.default_rng(seed))
    assert body.empty != feasible
    assert (body.project_point(target) is None) == body.empty
    if gap:
        assert region.empty != feasible
        assert (region.project_point(target) is None) == region.empty


@pytest.mark.parametrize(
    ("bounds", "constraints", "freedom"),
    [
        ({"a": 0.5, "b": 0.5}, ["a <= 0", "a + b <= 0.5", "a + b = 0.5"], 0),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, ["a + b <= 0.3", "b + c <= 0.3", "a + 2*b + c >= 0.6"], 1),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, ["1000000*a - 1000000*b <= 0", "0.000001*b - 0.000001*a <= 0"], 2),
        ({"a": 1.0, "b": 1.0}, ["a + b <= 0.3", "3*a + 3*b >= 0.9"], 1),
        ({"a": 1.0, "b": 1.0}, ["a + b <= 0.3", "a + b >= 0.29999999999"], 1),
        ({"a": 0.0, "b": 1.0}, ["a + b >= 1"], 0),
    ],
)
def test_forced_equalities(bounds: dict[str, float], constraints: list[str], freedom: int) -> None:
    """As a campaign may say them: the freedom that is left is found, and every point is repaired to."""
    ranges = {name: (0.0, high) for name, high in bounds.items()}
    body = build_feasible_polytope(ranges, [LinearConstraint.model_validate(text) for text in constraints])
    assert body.freedom == freedom
    for number in range(20):
        rng = rng_for(number, 0, "targets")
        found = body.project_point(rng.uniform(-0.5, 1.5, len(bounds)))
        assert found is not None
        assert body.contains(found, 1e-12)
        assert body.contains(body.draw_point(rng), 1e-12)
