"""The particle swarm, beyond what the contract checks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import Genome, Proposal, Status
from invdesign.optimizers import archive
from invdesign.optimizers.swarm import Swarm
from invdesign.optimizers.swarm_backend import Flock, Rules, move_flock
from invdesign.optimizers.swarm_schedules import constriction_factor, schedule_weights
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import MemoryHistory, check_optimizer

SINGLE = Problem((Objective("height", "minimize"),))
DOUBLE = Problem((Objective("left", "minimize"), Objective("right", "minimize")))
BOUNDARIES = ("nearest", "reflective", "periodic", "random", "intermediate", "shrink")
Fate = Callable[[Genome], tuple[dict[str, float], Status]]


def space(**parameters: Any) -> ParameterSpace:
    fields = parameters or {f"x{number}": {"real": [-5, 5]} for number in range(4)}
    found: ParameterSpace = load("spaces", {"kind": "parameters", "parameters": fields})
    return found


def bowl(genome: Genome) -> tuple[dict[str, float], Status]:
    return {"height": sum((float(str(value)) - 1.0) ** 2 for value in genome.values())}, Status.COMPLETE


class Loop:
    """Ask and tell as the loop does, overlap included."""

    def __init__(
        self, swarm: Swarm, where: ParameterSpace, problem: Problem = SINGLE, *, seed: int = 1
    ) -> None:
        self.swarm, self.where, self.problem, self.seed = swarm, where, problem, seed
        self.history = MemoryHistory(problem)
        self.event = 0
        self.seeds: tuple[Genome, ...] = ()
        self.state: Any = swarm.start(self.context())
        self.waves: list[list[int]] = []

    def context(self) -> Context:
        self.event += 1
        return Context(self.where, self.problem, self.history, self.seed, self.event, self.seeds)

    def ask(self, n: int | None = None) -> list[int]:
        proposals, self.state = self.swarm.ask(self.context(), self.state, n or self.swarm.batch)
        return [self.history.add(proposal) for proposal in proposals]

    def finish(self, ids: list[int], fate: Fate = bowl) -> None:
        for id in ids:
            properties, status = fate(self.history.candidate(id).genome)
            self.history.finish(id, properties, status=status)
        self.state = self.swarm.tell(self.context(), self.state, ids)

    def run(self, candidates: int, fate: Fate = bowl) -> Loop:
        while len(self.history) < candidates:
            while len(self.waves) < self.swarm.overlap:
                self.waves.append(self.ask())
            self.finish(self.waves.pop(0), fate)
        return self


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"topology": "global"},
        {"mode": "asynchronous"},
        {"schedule": "linear", "inertia": 0.9},
        {"schedule": "constriction"},
        {"schedule": "adaptive", "inertia": 0.9, "frame": "axes"},
        {"schedule": "chaotic", "inertia": 0.9, "frame": "random"},
        *({"boundary": name} for name in BOUNDARIES),
        *({"velocity": name} for name in ("unmodified", "adjust", "zero")),
    ],
    ids=str,
)
def test_every_variant_finds_the_bottom_of_a_bowl(fields: dict[str, Any]) -> None:
    """Whatever the topology, schedule and handlers, 400 candidates come much nearer than random ones (about 4)."""
    loop = Loop(
        load("optimizers", {"kind": "swarm", "particles": 20, "horizon": 400, **fields}), space()
    ).run(400)
    assert np.nanmin(loop.history.column("height")) < 1.0


def test_a_turned_valley_is_followed() -> None:
    """Principal axes find the bottom of a narrow valley that lies across the axes sooner than the axes do."""

    def valley(genome: Genome) -> tuple[dict[str, float], Status]:
        x = np.array([float(str(value)) for value in genome.values()]) - 1.0
        along = x.sum() / 2.0
        return {"height": float(1e4 * (x @ x - along**2) + along**2)}, Status.COMPLETE

    def best(frame: str, seed: int) -> float:
        loop = Loop(load("optimizers", {"kind": "swarm", "frame": frame}), space(), seed=seed).run(
            1500, valley
        )
        return float(np.nanmin(loop.history.column("height")))

    assert np.median([best("principal", seed) for seed in range(3)]) < 0.2 * np.median(
        [best("axes", seed) for seed in range(3)]
    )


def test_positions_are_kept_unrounded() -> None:
    """A particle glides between whole numbers: its memo holds where it is, the genome where it was met."""
    loop = Loop(Swarm(particles=5), space(x={"real": [0, 1]}, n={"integer": [0, 3]})).run(40)
    moves = [loop.history.candidate(id).proposal for id in range(40)]
    glided = [item for item in moves if item.operator == "move"]
    assert glided
    cells = [(item.memo["x"][0] * 4) % 1 for item in glided]  # type: ignore[index, call-overload]
    assert len({round(cell, 6) for cell in cells}) > len(glided) / 2
    assert all(int(item.memo["x"][0] * 4) == item.genome["n"] for item in glided)  # type: ignore[index, call-overload, arg-type]


def test_a_failure_is_never_a_best_place() -> None:
    """Where the best region always fails, no particle is drawn there, and the best of the rest is found."""

    def cliff(genome: Genome) -> tuple[dict[str, float], Status]:
        if float(str(genome["x0"])) > 0.0:
            return {}, Status.FAILED
        return bowl(genome)

    loop = Loop(Swarm(particles=20), space()).run(600, cliff)
    for id in loop.state["best"]:
        assert id < 0 or loop.history.trial(id).status == Status.COMPLETE
    assert np.nanmin(loop.history.column("height")) < 1.5  # 1 at the edge of the cliff
    failed = sum(loop.history.trial(id).status == Status.FAILED for id in range(400, 600))
    assert failed < 140


def test_feasible_places_beat_lower_ones_that_violate() -> None:
    """Constraints come before objectives."""
    problem = Problem(SINGLE.objectives, (Constraint("height", min=2.0),))
    loop = Loop(Swarm(particles=10), space(), problem).run(300)
    assert min(loop.history.column("height")[loop.state["best"]]) >= 2.0


def test_what_others_found_leads() -> None:
    """A better trial of another optimizer takes the place of the worst best place; a worse one does not."""
    loop = Loop(Swarm(particles=4), space()).run(12)
    good = loop.history.add(Proposal({f"x{number}": 1.0 for number in range(4)}, operator="foreign"))
    poor = loop.history.add(Proposal({f"x{number}": -5.0 for number in range(4)}, operator="foreign"))
    loop.finish([good, poor])
    assert good in loop.state["best"]
    assert poor not in loop.state["best"]
    loop.run(40)
    led = [id for id in range(14, len(loop.history)) if good in loop.history.candidate(id).proposal.parents]
    assert led


def test_seeds_come_first_and_lead() -> None:
    """The user's genomes are proposed before any particle starts, and are places like any other."""
    loop = Loop(Swarm(particles=6), space())
    loop.seeds = ({f"x{number}": 1.0 for number in range(4)},)
    ids = loop.ask(3)
    assert [loop.history.candidate(id).proposal.operator for id in ids] == ["seed", "start", "start"]
    loop.finish(ids)
    assert ids[0] in loop.state["best"]


def test_a_particle_without_success_starts_anew() -> None:
    """After `patience` moves on a plateau every particle but the first is drawn afresh; with null none ever is."""

    def plateau(genome: Genome) -> tuple[dict[str, float], Status]:
        return {"height": float(bool(loop.event > 12))}, Status.COMPLETE

    for patience, more in ((3, True), (None, False)):
        loop = Loop(Swarm(particles=5, patience=patience), space())
        loop.run(60, plateau)
        starts = [loop.history.candidate(id).proposal.operator for id in range(60)].count("start")
        assert (starts > 5) == more


def test_asynchronous_runs_move_one_at_a_time() -> None:
    """A particle moves as soon as its last result is told, while others are under way."""
    loop = Loop(Swarm(particles=6, mode="asynchronous", in_flight=4), space()).run(30)
    assert (loop.swarm.batch, loop.swarm.overlap) == (1, 4)
    numbers = [loop.history.candidate(id).proposal.memo["particle"] for id in range(30)]  # type: ignore[index, call-overload]
    assert all(len(set(numbers[k : k + 4])) == 4 for k in range(26))


def test_more_asks_than_particles_give_fewer_proposals() -> None:
    """A particle has one candidate under way; when all have, there is nothing to propose until one is told."""
    loop = Loop(Swarm(particles=5), space())
    first = loop.ask(8)
    assert len(first) == 5
    assert loop.ask(8) == []
    loop.finish(first[:2])
    assert len(loop.ask(8)) == 2


@pytest.mark.parametrize("leader", ["crowding", "sigma"])
def test_two_objectives_fill_a_front(leader: str) -> None:
    """The archive holds mutually non-dominated trials, no more than allowed, spread over the front."""

    def two(genome: Genome) -> tuple[dict[str, float], Status]:
        x = np.array([float(str(value)) for value in genome.values()])
        return {"left": float(np.sum((x - 1) ** 2)), "right": float(np.sum((x + 1) ** 2))}, Status.COMPLETE

    swarm = load("optimizers", {"kind": "swarm", "archive": 20, "leader": leader})
    loop = Loop(swarm, space(), DOUBLE).run(900, two)
    members = loop.state["archive"]
    values = loop.history.scores(members).values
    assert len(members) == 20
    assert len(loop.history.scores(members).front()) == 20
    assert values.min(axis=0).max() < 2.0  # both ends: 0 at best, 16 apart
    on_front = np.sqrt(values).sum(axis=1)  # the sum of both distances is 4 on the front
    assert np.median(on_front) < 4.6


def test_a_finite_space_smaller_than_the_swarm_is_exhausted() -> None:
    """Particles without a place wait; everything is proposed once, and then nothing."""
    loop = Loop(Swarm(particles=30), space(n={"integer": [0, 3]}, m={"integer": [0, 2]}))
    ids = loop.ask()
    assert len(ids) == 12
    loop.finish(ids)
    assert loop.ask() == []


def test_pyswarms_leaves_nothing_behind(tmp_path: Path) -> None:
    """No report.log, no handlers on the root logger, no variable in the environment, nothing drawn."""
    code = """
import logging, os, random
import numpy as np
before = random.getstate(), np.random.get_state()[1].tobytes()
from invdesign.optimizers.swarm_backend import Flock, Rules, move_flock
x = np.full((3, 2), 0.9)
move_flock(Flock(x, x, x, x), Rules(0.6, 1.4, 1.4), seed=1)
assert before == (random.getstate(), np.random.get_state()[1].tobytes())
assert not logging.root.handlers and logging.root.level == logging.WARNING
assert "LOG_CFG" not in os.environ
assert os.listdir() == [], os.listdir()
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True, env=os.environ.copy()
    )
    assert logging.root is not None


@given(
    st.sampled_from(BOUNDARIES),
    st.sampled_from(("unmodified", "adjust", "invert", "zero")),
    st.integers(1, 5),
    st.floats(0.0, 1e6),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_no_particle_leaves_the_cube(
    boundary: Any, velocity: Any, count: int, speed: float, seed: int
) -> None:
    """However fast it is, in finite time, and as a pure function of what it is given."""
    rng = np.random.default_rng(seed)
    flock = Flock(*(rng.random((count, 3)) * scale for scale in (1.0, speed, 1.0, 1.0)))
    before = [array.copy() for array in (flock.position, flock.velocity, flock.best, flock.leader)]
    rules = Rules(0.7, 1.4, 1.4, boundary, velocity, clamp=None)
    x, v = move_flock(flock, rules, seed)
    again, _ = move_flock(flock, rules, seed)
    assert np.array_equal(x, again)
    assert ((x >= 0) & (x <= 1)).all()
    assert np.isfinite(v).all()
    for array, copy in zip((flock.position, flock.velocity, flock.best, flock.leader), before, strict=True):
        assert np.array_equal(array, copy)


def test_boundary_random_scatters() -> None:
    """Particles that leave together do not meet at one point."""
    x = np.full((4, 3), 0.5)
    places, _ = move_flock(Flock(x, x + 5.0, x, x), Rules(1.0, 0.0, 0.0, "random"), seed=3)
    assert len(np.unique(places.round(9), axis=0)) == 4


def test_velocities_after_the_wall() -> None:
    """Components that met the wall are halved and turned, zeroed, or become the step taken; others go on."""
    x, v = np.array([[0.9, 0.5]]), np.array([[0.4, 0.1]])
    wanted = {"unmodified": [0.4, 0.1], "invert": [-0.2, 0.1], "zero": [0.0, 0.1], "adjust": [0.1, 0.1]}
    for rule, velocity in wanted.items():
        _, found = move_flock(Flock(x, v, x, x), Rules(1.0, 0.0, 0.0, "nearest", rule), seed=1)  # type: ignore[arg-type]
        assert found[0] == pytest.approx(velocity)


def test_places_at_the_wall() -> None:
    """Each boundary as its source defines it, for a particle that would leave by 0.3."""
    x, v = np.array([[0.9, 0.5]]), np.array([[0.4, 0.1]])
    wanted = {
        "nearest": [1.0, 0.6],
        "reflective": [0.7, 0.6],
        "periodic": [0.3, 0.6],
        "intermediate": [0.95, 0.6],
        "shrink": [1.0, 0.525],
    }
    for name, place in wanted.items():
        found, _ = move_flock(Flock(x, v, x, x), Rules(1.0, 0.0, 0.0, name, "unmodified"), seed=1)  # type: ignore[arg-type]
        assert found[0] == pytest.approx(place), name


def test_a_clamp_bounds_every_component() -> None:
    """No component of a velocity is larger."""
    x = np.full((5, 3), 0.5)
    _, v = move_flock(Flock(x, x + 2.0, x, x), Rules(1.0, 1.4, 1.4, velocity="unmodified", clamp=0.1), seed=1)
    assert np.abs(v).max() == pytest.approx(0.1)


def test_schedules() -> None:
    """Linear and chaotic ones end at the horizon, adaptive ones follow success, constriction is Clerc's."""
    common: dict[str, Any] = {"inertia": (0.9, 0.4), "pulls": (2.05, 2.05), "improving": 0.5, "chaos": 0.5}
    assert schedule_weights("constant", progress=0.7, **common) == (0.9, 2.05, 2.05)
    assert schedule_weights("linear", progress=1.0, **common)[0] == pytest.approx(0.4)
    assert schedule_weights("chaotic", progress=1.0, **common)[0] == pytest.approx(0.2)
    assert schedule_weights("adaptive", progress=0.0, **common)[0] == pytest.approx(0.65)
    assert constriction_factor(4.1) == pytest.approx(0.7298, abs=1e-4)
    assert schedule_weights("constriction", progress=0.0, **common) == pytest.approx(
        (0.7298, 1.4961, 1.4961), abs=1e-4
    )


def test_the_archive_drops_the_most_crowded() -> None:
    """Ends stay, neighbours go first, dominated and failed trials never enter."""
    history = MemoryHistory(DOUBLE)
    rows = [(0.0, 4.0), (1.0, 2.9), (1.1, 2.8), (2.0, 2.0), (4.0, 0.0), (5.0, 5.0)]
    for number, (left, right) in enumerate(rows):
        history.finish(history.add(Proposal({"n": number})), {"left": left, "right": right})
    history.finish(history.add(Proposal({"n": 99})), status=Status.FAILED)
    assert archive.extend_archive(history, [0, 1, 2], [3, 4, 5, 6], 10) == [0, 1, 2, 3, 4]
    smaller = archive.extend_archive(history, [0, 1, 2], [3, 4, 5, 6], 4)
    assert {0, 3, 4} < set(smaller)
    assert archive.extend_archive(history, [], [], 4) == []


def test_sigma_follows_the_own_direction() -> None:
    """A particle near an axis follows the member of the archive near that axis."""
    values = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    own = np.array([[0.1, 3.0], [2.0, 2.0], [3.0, 0.1]])
    assert archive.choose_by_sigma(values, own).tolist() == [0, 1, 2]


def test_contradictions_are_refused() -> None:
    """Settings that cannot work say what would."""
    with pytest.raises(ValidationError, match="cognitive \\+ social above 4, got 2"):
        Swarm(schedule="constriction", cognitive=1.0, social=1.0)
    with pytest.raises(ValidationError, match="must not exceed the number of particles \\(4\\), got 8"):
        Swarm(particles=4, mode="asynchronous", in_flight=8)
    with pytest.raises(ValidationError, match="in_flight is for mode: asynchronous"):
        Swarm(in_flight=8)
    assert Swarm(particles=4, mode="asynchronous").overlap == 4


def test_a_space_without_points_is_refused() -> None:
    """The reason follows the optimizer's name."""

    class Bare:
        operators = build = features = None

    assert Swarm().refusal(Bare(), SINGLE).startswith("needs a space of points")  # type: ignore[arg-type]
    assert Swarm().refusal(space(), DOUBLE) == ""


def test_one_dimension_and_many_particles() -> None:
    """A single real number is searched as well; and the state is ids and counters alone."""
    check_optimizer(Swarm(particles=3), space(x={"real": [0, 1]}), problem=SINGLE, exhausts=False)
    loop = Loop(Swarm(particles=3), space(x={"real": [-5, 5]})).run(30)
    assert all(isinstance(value, int | list | float) for value in loop.state.values())
    assert len(json.dumps(loop.state)) < 300
