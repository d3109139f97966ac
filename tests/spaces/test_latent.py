"""Latent search: codes of the shipped network as genomes, decoded to crystals that keep the condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.errors import Infeasible
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.latent.space import LatentSpace

SETTINGS: dict[str, Any] = {
    "kind": "latent",
    "generator": "crystal_vae",
    "elements": ["Li", "O", "Cl"],
    "required": ["Li"],
    "atoms": [2, 8],
}


@pytest.fixture(scope="module")
def space() -> LatentSpace:
    """Codes of lithium oxides and chlorides."""
    made: LatentSpace = load("spaces", SETTINGS)
    return made


def test_codes_decode_to_crystals_of_the_condition(space: LatentSpace) -> None:
    """Crystals hold lithium and nothing strange; the same code gives the same crystal."""
    start = space.operators()["start"]
    built = 0
    for seed in range(12):
        genome = start.apply((), rng_for(seed, 0, "start"))
        assert genome is not None
        assert space.canonical(genome) == genome
        try:
            crystal = space.build(genome).structures["initial"]
        except Infeasible:
            continue
        built += 1
        assert {site.specie.symbol for site in crystal} <= {"Li", "O", "Cl"}
        assert "Li" in crystal.composition
        again = space.build(genome).structures["initial"]
        assert np.allclose(crystal.frac_coords, again.frac_coords)
    assert built >= 6


def test_vectors_and_codes_are_one(space: LatentSpace) -> None:
    """Encoding and decoding give the genome back, also far out; the middle of the cube is the mean of the prior."""
    size = len(space.domain().dimensions)
    rng = np.random.default_rng(0)
    genomes = [*space.decode(rng.random((20, size))), *space.decode(np.array([[0.0] * size, [1.0] * size]))]
    assert [dict(genome) for genome in space.decode(space.encode(genomes))] == [dict(g) for g in genomes]
    (middle,) = space.decode(np.full((1, size), 0.5))
    assert set(middle["code"]) == {0.0}  # type: ignore[arg-type]  # numbers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "prototypes"}, "has no codes to search"),
        ({"formula": "LiOg"}, "Og"),
        ({"formula": "Li2O", "elements": ["Li", "Cl"]}, "the formula Li2O holds O"),
        ({"atoms": [9, 4]}, "the lower first"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], message: str) -> None:
    """A generator without codes, an unknown element, a contradiction."""
    with pytest.raises(ValidationError, match=message):
        load("spaces", {**SETTINGS, **changes})


@pytest.mark.parametrize("genome", [{}, {"code": [0.0]}, {"code": ["a"] * 32}, {"code": [float("nan")] * 32}])
def test_malformed_genomes_are_infeasible(space: LatentSpace, genome: dict[str, Any]) -> None:
    """Too short, of text, or not finite."""
    with pytest.raises(Infeasible, match="code"):
        space.canonical(genome)
