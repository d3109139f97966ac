"""Wrapper of pyswarms: moves of particles, and their handling at the boundary of the unit cube.

Only `pyswarms.backend` is used. Importing it, and making a handler, sets up logging to a file in the working
directory unless `LOG_CFG` says otherwise; it draws from the global `numpy.random`; its handlers keep the previous
positions in a `memory` that has to be set by hand; and some of its strategies fail on what a swarm can do. Each of
that is dealt with here, and nowhere else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.periodic import nearest_images, take_shortest_way, wrap_into_cube
from invdesign.rng import borrowed_globals

Boundary = Literal["nearest", "reflective", "periodic", "random", "intermediate", "shrink"]
VelocityRule = Literal["unmodified", "adjust", "invert", "zero"]

LOGGING = "version: 1\nincremental: true\n"  # a configuration that changes nothing
EDGES = (np.zeros(1), np.ones(1))  # of the unit interval, for handlers that work component by component


@dataclass(frozen=True, slots=True)
class Flock:
    """m particles about to move, each array of shape (m, d).

    Attributes:
        position: where they are, within [0, 1].
        velocity: how they got there.
        best: where each did best.
        leader: what each is drawn to.
    """

    position: FloatArray
    velocity: FloatArray
    best: FloatArray
    leader: FloatArray


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules by which a flock moves.

    Attributes:
        inertia, cognitive, social: the weights w, c1 and c2.
        boundary: what becomes of a position outside the unit cube.
        velocity: what becomes of a velocity that led there.
        clamp: largest component of a velocity, None for no limit.
        frame: shape (d, d), orthogonal; the random weights are drawn along its columns. None for the axes.
        periodic: shape (d,), axes whose ends are one point: particles go the shortest way and cross the ends. None if none are.
    """

    inertia: float
    cognitive: float
    social: float
    boundary: Boundary = "reflective"
    velocity: VelocityRule = "invert"
    clamp: float | None = None
    frame: FloatArray | None = None
    periodic: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class _Library:
    """Parts of pyswarms in use; handlers by the name of their strategy."""

    swarm: Any
    compute_velocity: Any
    boundary: Mapping[str, Any]
    velocity: Mapping[str, Any]


def move_flock(flock: Flock, rules: Rules, seed: int) -> tuple[FloatArray, FloatArray]:
    """Move a flock; a pure function.

    Args:
        flock: m particles.
        rules: of the move.
        seed: of the random weights.

    Returns:
        Position and velocity, each of shape (m, d).

    Source:
        Shi & Eberhart, Proc. IEEE CEC 1998, 69 (inertia weight); Helwig, Particle Swarms for Constrained
        Optimization (PhD thesis, Erlangen, 2010), chapter 4 (boundary and velocity handling).
    """
    library = _load_library()
    with borrowed_globals(seed):
        velocity = _new_velocity(library, flock, rules)
        if rules.clamp is not None:
            velocity = library.velocity["unmodified"](velocity, (-rules.clamp, rules.clamp))
        velocity = take_shortest_way(velocity, rules.periodic)
        target = flock.position + velocity
        # A periodic axis has no boundary: for its handlers the particle rests there.
        bounded = target if rules.periodic is None else np.where(rules.periodic, flock.position, target)
        position = np.clip(_apply_boundary(library, rules.boundary, bounded, flock.position), 0.0, 1.0)
        handled = _handle_velocity(library, rules.velocity, velocity, bounded, position - flock.position)
        if rules.periodic is None:
            return position, handled
        return (
            wrap_into_cube(np.where(rules.periodic, target, position), rules.periodic),
            np.where(rules.periodic, velocity, handled),
        )


def _new_velocity(library: _Library, flock: Flock, rules: Rules) -> FloatArray:
    """New velocity: inertia, own best and leader, randomly weighted along the frame."""
    frame = rules.frame
    towards = (nearest_images(place, flock.position, rules.periodic) for place in (flock.best, flock.leader))
    arrays = (flock.position, flock.velocity, *towards)
    position, velocity, best, leader = arrays if frame is None else (array @ frame for array in arrays)
    swarm = library.swarm(
        position=position,
        velocity=velocity,
        pbest_pos=best,
        best_pos=leader,
        options={"w": rules.inertia, "c1": rules.cognitive, "c2": rules.social},
    )
    found: FloatArray = library.compute_velocity(swarm, None, library.velocity["unmodified"])
    return found if frame is None else found @ frame.T


def _apply_boundary(
    library: _Library, boundary: Boundary, target: FloatArray, before: FloatArray
) -> FloatArray:
    """Bring target positions into the unit cube, (m, d)."""
    handler = library.boundary[boundary]
    if boundary == "shrink":  # a particle stops where its path leaves the cube
        cube = (np.zeros(target.shape[1]), np.ones(target.shape[1]))
        with _handler_memory(handler, before):
            found: FloatArray = handler(target.copy(), cube)
        return found
    if boundary == "random":  # one by one: in one call, all that left would meet at one point
        cube = (np.zeros(target.shape[1]), np.ones(target.shape[1]))
        return np.concatenate([handler(row[None].copy(), cube) for row in target])
    if (
        boundary == "reflective"
    ):  # mirroring repeats after two cubes; the handler would mirror far ones for ever
        target = np.where((target < 0.0) | (target > 1.0), np.mod(target, 2.0), target)
    with _handler_memory(handler, before.reshape(-1, 1)):
        found = handler(target.reshape(-1, 1).copy(), EDGES)
    return found.reshape(target.shape)


def _handle_velocity(
    library: _Library, rule: VelocityRule, velocity: FloatArray, target: FloatArray, step: FloatArray
) -> FloatArray:
    """Velocities after the boundary, (m, d).

    Those of components that met it change, or (`adjust`) all become the step that was taken.
    """
    handler = library.velocity[rule]
    if rule == "adjust":
        with _handler_memory(handler, target - velocity):
            found: FloatArray = handler(velocity, None, position=target - velocity + step)
        return found
    column = velocity.reshape(-1, 1).copy()
    found = handler(column, None, position=target.reshape(-1, 1), bounds=EDGES)
    return found.reshape(velocity.shape)


@contextmanager
def _handler_memory(handler: Any, before: FloatArray) -> Iterator[None]:
    """Give a handler the previous positions as its memory within the block."""
    handler.memory = before.copy()
    try:
        yield
    finally:
        handler.memory = None


@cache
def _load_library() -> _Library:
    """Load pyswarms' backend, without its effects on logging and working directory."""
    with _quiet_logging():
        from pyswarms.backend import handlers, operators, swarms

        return _Library(
            swarm=swarms.Swarm,
            compute_velocity=operators.compute_velocity,
            boundary={name: handlers.BoundaryHandler(strategy=name) for name in get_args(Boundary)},
            velocity={name: handlers.VelocityHandler(strategy=name) for name in get_args(VelocityRule)},
        )


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Point `LOG_CFG` at a configuration that changes nothing, within the block."""
    before = os.environ.get("LOG_CFG")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logging.yaml"
        path.write_text(LOGGING, encoding="utf-8")
        os.environ["LOG_CFG"] = str(path)
        try:
            yield
        finally:
            if before is None:
                del os.environ["LOG_CFG"]
            else:
                os.environ["LOG_CFG"] = before
