"""A tiny model, trained for seconds on crystals everybody knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.generators.crystal_vae import CrystalVae
from invdesign.generators.network.layers import Sizes
from invdesign.generators.network.priors import GanSizes
from invdesign.generators.network.reading import write_structure
from invdesign.generators.network.refine_training import RefinerSchedule
from invdesign.generators.network.train import Lesson, TrainingSettings, train_model
from invdesign.generators.network.training import Schedule

ROCK_SALTS = {("Na", "Cl"): 5.64, ("Li", "F"): 4.03, ("Mg", "O"): 4.21, ("K", "Br"): 6.6, ("Ca", "S"): 5.69}
PEROVSKITES = {("Sr", "Ti"): 3.905, ("Ba", "Ti"): 4.0, ("Ca", "Zr"): 4.1}
RUTILES = {("Ti", "O"): (4.594, 2.959, 0.305), ("Mg", "F"): (4.62, 3.05, 0.303)}


def make_structures() -> list[Structure]:
    """Rock salts, perovskites, rutiles, wurtzite and metals."""
    found = [
        Structure.from_spacegroup(225, Lattice.cubic(a), pair, [[0, 0, 0], [0.5, 0, 0]])
        for pair, a in ROCK_SALTS.items()
    ]
    found += [
        Structure.from_spacegroup(
            221, Lattice.cubic(a), [*pair, "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
        )
        for pair, a in PEROVSKITES.items()
    ]
    found += [
        Structure.from_spacegroup(136, Lattice.tetragonal(a, c), pair, [[0, 0, 0], [x, x, 0]])
        for pair, (a, c, x) in RUTILES.items()
    ]
    found.append(
        Structure.from_spacegroup(
            186, Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
        )
    )
    found.append(Structure.from_spacegroup(229, Lattice.cubic(3.3), ["Li"], [[0, 0, 0]]))
    found.append(Structure.from_spacegroup(225, Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25] * 3]))
    return found


def make_lessons() -> list[Lesson]:
    """Crystals with an invented property: the number of their atoms."""
    return [Lesson(write_structure(one), {"size": float(len(one))}) for one in make_structures()]


def make_settings(epochs: int = 12) -> TrainingSettings:
    """Settings of a training of seconds."""
    return TrainingSettings(
        sizes=Sizes(latent=8, width=24, hidden=32, layers=1, heads=2),
        schedule=Schedule(epochs=epochs, batch=6),
        refiner=RefinerSchedule(steps=10, batch=4),
        gan=GanSizes(latent=8, hidden=16, steps=5, batch=8),
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    train_model(make_lessons(), folder, make_settings(), "a dozen textbook crystals")
    return folder


@pytest.fixture(scope="session")
def generator(model_folder: Path) -> CrystalVae:
    """Generator with the tiny model."""
    return CrystalVae.model_validate({"model": str(model_folder)})
