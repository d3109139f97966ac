"""Every built-in plug-in keeps its contract, by the checks that are offered to others."""

from __future__ import annotations

from typing import Any

import pytest

from invdesign import registry
from invdesign.settings import load
from invdesign.testing import check_evaluator, check_generator, check_optimizer, check_space
from invdesign.testing.optimizers import ONE_OBJECTIVE, TWO_OBJECTIVES
from tests.examples import BY_GROUP, OPTIMIZERS, SLOW, SPACES, Example, examples, make_inputs

REFUSED = {
    ("cma", "composition"),
    ("cma", "crystal"),
    ("cma", "ordering"),
    ("cma", "pool"),
    ("cma", "substitution"),
    ("swarm", "crystal"),
}


# Optimizers whose asks take a while: fewer of them, and a short search for each candidate.
COSTLY: dict[str, Example] = {
    "bayesian": {"kind": "bayesian", "batch": 2, "initial": 6, "effort": 0.2},
    "portfolio": {"kind": "portfolio"},
    "auto": {"kind": "auto"},
}
FEW = {"rounds": 3, "trials": 100}


def cases(group: str) -> list[Any]:
    """One pytest parameter per example; slow ones are marked."""
    found = []
    for number, (kind, example) in enumerate(examples(group)):
        slow = kind in SLOW or (kind == "bayesian" and example != COSTLY[kind])
        found.append(pytest.param(example, id=f"{kind}-{number}", marks=[pytest.mark.slow] if slow else []))
    return found


@pytest.mark.parametrize("group", list(BY_GROUP))
def test_every_plugin_has_an_example(group: str) -> None:
    """A plug-in that is registered is checked here: none is forgotten, none is left over."""
    assert sorted(BY_GROUP[group]) == sorted(registry.names(group))


@pytest.mark.parametrize("example", cases("spaces"))
def test_spaces_keep_their_contract(example: Example) -> None:
    """Operators, building, features, vectors and counting are as `SearchSpace` and its kin promise."""
    check_space(load("spaces", example))


@pytest.mark.parametrize("example", cases("generators"))
def test_generators_keep_their_contract(example: Example) -> None:
    """Crystals keep every condition, are repeatable, and say where they come from."""
    check_generator(load("generators", example))


@pytest.mark.parametrize("example", cases("optimizers"))
def test_optimizers_keep_their_contract(example: Example) -> None:
    """On mixed parameters and on a small finite space: repeatable, resumable, bounded, exhaustive."""
    check_optimizer(load("optimizers", example), **(FEW if example["kind"] in COSTLY else {}))


PAIRS = [(optimizer, kind) for optimizer in sorted(OPTIMIZERS) for kind in sorted(SPACES)]
DECODED = [(optimizer, "latent") for optimizer in OPTIMIZERS]  # half a minute each
CASES = [
    pytest.param(*pair, id="-".join(pair), marks=[pytest.mark.slow] if pair in DECODED else [])
    for pair in PAIRS
]


@pytest.mark.parametrize(("optimizer", "kind"), CASES)
def test_every_optimizer_searches_every_space(optimizer: str, kind: str) -> None:
    """Each pairing keeps the contract, for two objectives or one; what cannot work says so before anything runs."""
    plugin = load("optimizers", COSTLY.get(optimizer, optimizer))
    spaces = [load("spaces", {"kind": kind, **example}) for example in SPACES[kind]]
    problems = (TWO_OBJECTIVES, ONE_OBJECTIVE)
    searched = [space for space in spaces if not all(plugin.refusal(space, problem) for problem in problems)]
    assert (not searched) == ((optimizer, kind) in REFUSED)
    for space in searched[:1]:
        check_optimizer(plugin, space, **(FEW if optimizer in COSTLY else {"rounds": 6, "trials": 60}))


@pytest.mark.parametrize("example", cases("evaluators"))
def test_evaluators_keep_their_contract(example: Example) -> None:
    """What is promised is given, whatever the batch, and caches can trust the fingerprint."""
    check_evaluator(load("evaluators", example, trust_code=True), make_inputs(example["kind"]))
