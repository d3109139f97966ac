"""Generators as starts of spaces: weights, refusals, and generators that fail."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import ValidationError

from invdesign.candidate import Genome
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces import sampler
from invdesign.spaces.crystal.space import CrystalSpace

FOREIGN = "tests.plugins.generators:RockSalts"


def make_space(generator: Any, **fields: Any) -> CrystalSpace:
    """Space of MgO with a generator."""
    settings = {
        "kind": "crystal",
        "formula": "MgO",
        "formula_units": [1, 2],
        "generators": [generator],
        **fields,
    }
    made: CrystalSpace = load("spaces", settings, trust_code=True)
    return made


def start(space: CrystalSpace, name: str, seed: int) -> Genome | None:
    """A genome of the start operator `name`."""
    return space.operators()[name].apply((), rng_for(seed, 0, "start"))


def test_generated_starts_are_of_the_space() -> None:
    """Every start builds, is canonical, and depends on the generator of random numbers alone."""
    space = make_space("prototypes")
    for seed in range(5):
        genome = start(space, "prototypes", seed)
        assert genome is not None
        assert space.canonical(genome) == genome
        assert space.build(genome).composition.reduced_formula == "MgO"
        assert genome == start(make_space("prototypes"), "prototypes", seed)


def test_one_crystal_is_one_genome() -> None:
    """Crystals that are drawn again are the same genomes, so a search never relaxes one twice; others come in their turn."""
    space = make_space({"kind": "prototypes", "temperature": 0.0})
    genomes = [start(space, "prototypes", seed) for seed in range(16)]
    assert all(genomes)
    assert 1 < len({str(genome) for genome in genomes}) <= 4


def test_weights_and_names() -> None:
    """A weight stands beside the settings; two of a kind have two names; settings survive JSON."""
    settings = {
        "kind": "crystal",
        "formula": "MgO",
        "generators": [{"kind": "prototypes", "weight": 0.25}, {"kind": "prototypes", "temperature": 2.0}],
    }
    space = load("spaces", settings)
    operators = space.operators()
    assert operators["prototypes"].share == 0.25
    assert operators["prototypes 2"].share == 1.0
    assert load("spaces", space.model_dump(mode="json")) == space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"formula": "MgOg"}, "holds no crystal with Og"),
        ({"generators": [{"kind": "prototypes", "weight": 0}]}, "greater than 0"),
        ({"generators": ["prototype"]}, "there is no generator 'prototype'.*prototypes"),
        ({"formula_units": 4, "cell": [4.2, 4.2, 4.2, 90, 90, 90]}, "leave them or 'cell' out"),
    ],
)
def test_impossible_generators_are_refused_before_a_run(fields: dict[str, Any], message: str) -> None:
    """An unknown element, a weight of 0, a typo, and a fixed cell."""
    settings = {"kind": "crystal", "formula": "MgO", "generators": ["prototypes"], **fields}
    with pytest.raises(ValidationError, match=message):
        load("spaces", settings)


@pytest.mark.parametrize("kind", ["substitution", "ordering", "crystal_sites"])
def test_other_spaces_recognise_generated_crystals(kind: str) -> None:
    """Spaces on known sites take the crystals that stand on them."""
    settings: dict[str, dict[str, Any]] = {
        "substitution": {"parent": "rocksalt", "sites": {"M": ["Mg", "Ca"], "X": ["O", "S"]}},
        "ordering": {
            "parent": "rocksalt",
            "sites": {"M": {"Mg": 0.5, "Ca": "rest"}, "X": ["O"]},
            "cell": [2, 1, 1],
        },
        "crystal_sites": {"formula": "MgO", "formula_units": 1, "space_groups": [225, 221]},
    }
    space = load("spaces", {"kind": kind, **settings[kind], "generators": ["prototypes"]})
    operator = space.operators()["prototypes"]
    found = [operator.apply((), rng_for(seed, 0, "start")) for seed in range(8)]
    for genome in filter(None, found):
        assert space.canonical(genome) == genome
    if kind == "crystal_sites":
        assert any(found)


@pytest.mark.parametrize("fault", ["raise", "nothing", "exit", "hang"])
def test_a_failing_generator_costs_its_turn_alone(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises, gives nothing, ends its process or hangs: the start gives none, with a warning, and others go on."""
    monkeypatch.setattr(sampler, "SECONDS", 1.0)
    monkeypatch.setattr(sampler, "LOAD_SECONDS", 2.0 if fault == "hang" else 60.0)
    monkeypatch.setattr(sampler, "MAX_FAILURES", 2)
    space = make_space({"kind": FOREIGN, "fault": fault})
    with caplog.at_level(logging.WARNING):
        assert start(space, "RockSalts", 0) is None
    assert start(space, "symmetric", 0) is not None
    if fault != "nothing":
        assert any("made no crystal" in record.message for record in caplog.records)


def test_foreign_generators_run_in_their_own_process() -> None:
    """A generator of the user's own code makes the same starts there as anywhere."""
    space = make_space(FOREIGN)
    first, second = start(space, "RockSalts", 1), start(space, "RockSalts", 1)
    assert first is not None
    assert first == second
