"""Which inputs models have, and where the best candidates are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from invdesign import settings
from invdesign.candidate import SEED, Proposal, Status, genome_key
from invdesign.optimizers.bayesian.candidates import FiniteSearch, breed_best
from invdesign.optimizers.bayesian.frame import collect_trials, group_columns, make_frame
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.rng import rng_for
from invdesign.testing import MemoryHistory
from tests.examples import SPACES

PROBLEM = Problem((Objective("f", "minimize"),))
NAMES = ("mass", "charge", "radius")
OWN = {"size": (0, 2), "electronic": (1,)}


def space_of(kind: str, number: int = 0) -> Any:
    """An example space."""
    return settings.load("spaces", {"kind": kind, **SPACES[kind][number]})


class Sum:
    """A value that grows with every input."""

    differentiable = False

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x.sum(axis=1))

    def evaluate_tensor(self, x: Any) -> Any:
        return x.sum(dim=-1)


@pytest.mark.parametrize(
    ("kind", "number", "way"),
    [
        ("parameters", 0, "climbed"),
        ("parameters", 1, "listed"),
        ("mixture", 0, "climbed"),
        ("pool", 0, "listed"),
        ("substitution", 0, "listed"),
    ],
)
def test_every_space_has_its_way(kind: str, number: int, way: str) -> None:
    """What can be gone through is; points of the cube are climbed; the rest is bred."""
    frame = make_frame(space_of(kind, number))
    if kind == "substitution" and frame.finite is None:
        way = "bred"
    found = "listed" if frame.finite is not None else "bred" if frame.points is None else "climbed"
    assert found == way
    assert frame.inputs.cube == (way == "climbed")
    assert sorted(column for _, columns in frame.inputs.groups for column in columns) == list(
        range(len(frame.inputs))
    )


def test_groups_as_asked_for() -> None:
    """A group names columns or groups of the space; the others stay as they are."""
    assert group_columns(NAMES, OWN, {"heavy": ("mass", "electronic")}) == (("heavy", (0, 1)), ("size", (2,)))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"a": ("colour",)}, "names 'colour'.*size, electronic"),
        ({"a": ("size",), "b": ("mass",)}, "another group has already"),
    ],
)
def test_groups_that_cannot_be(asked: dict[str, tuple[str, ...]], message: str) -> None:
    """What does not exist, and what two groups claim, is refused by name."""
    with pytest.raises(ValueError, match=message):
        group_columns(NAMES, OWN, asked)


def test_a_listed_space_gives_its_best_new_genome() -> None:
    """The highest value that was not asked before; None when nothing is left."""
    space = space_of("pool")
    history = MemoryHistory(PROBLEM)
    frame = make_frame(space)
    context = Context(space, PROBLEM, history, 0)
    x = space.features([space.genome(number) for number in range(len(space))])
    order = np.argsort(-x.sum(axis=1), kind="stable")
    best = genome_key(space.genome(int(order[0])))
    listed = FiniteSearch(frame, context)
    found = listed.find_best(Sum(), lambda genome: genome_key(genome) != best)
    assert found is not None
    assert x.sum(axis=1)[order[1]] == pytest.approx(frame.encode_genomes([found]).sum())
    assert FiniteSearch(frame, context).find_best(Sum(), lambda _: False) is None


def test_breeding_climbs() -> None:
    """Generations of a space's own operators end higher than its starts."""
    space = space_of("substitution")
    frame, rng = make_frame(space), rng_for(0, 0, "test")
    start = next(op for _, op in sorted(space.operators().items()) if op.arity == 0)
    drawn = [genome for genome in (start.apply((), rng) for _ in range(20)) if genome is not None]
    found = breed_best(frame, Sum(), drawn, lambda _: True, rng, 0.3)
    assert found is not None
    assert frame.encode_genomes([found]).sum() >= frame.encode_genomes(drawn).sum(axis=1).max()


def test_a_seed_that_makes_no_sense_teaches_nothing() -> None:
    """A genome the user gave and the space does not know is left out of what is known."""
    space = space_of("parameters", 1)
    history = MemoryHistory(PROBLEM)
    for genome, operator in (({"no such key": 1}, SEED), (space.genome(0), "random")):
        history.add(Proposal(genome, operator=operator))
    history.finish(0, status=Status.INFEASIBLE, depth=0)
    history.finish(1, {"f": 1.0})
    known = collect_trials(Context(space, PROBLEM, history, 0), make_frame(space))
    assert known.ids.tolist() == [1]
    assert len(known.pending) == 0
