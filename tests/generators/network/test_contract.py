"""The networks keep the contract of generators."""

from __future__ import annotations

from pathlib import Path

import pytest

from invdesign.generators.crystal_vae import CrystalGan, CrystalVae
from invdesign.structures.conditions import make_condition
from invdesign.testing import check_generator

CONDITIONS = (
    make_condition(),
    make_condition(formula="SrTiO3"),
    make_condition(elements=["Na", "K", "Cl", "Br"], neutral=True),
    make_condition(required=["Ti"], atoms=(2, 8)),
    make_condition(space_groups=["195-230"]),
)


@pytest.mark.slow  # the shipped models are held to the contract by the default tests
def test_the_autoencoder_keeps_the_contract(generator: CrystalVae) -> None:
    check_generator(generator, CONDITIONS, n=3)


@pytest.mark.slow
def test_the_gan_keeps_the_contract(model_folder: Path) -> None:
    check_generator(CrystalGan.model_validate({"model": str(model_folder)}), CONDITIONS, n=3)
