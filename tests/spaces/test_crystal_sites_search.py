"""Every optimizer searches crystals on occupied sites, and children inherit what relaxation made of their parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invdesign
from invdesign.candidate import Evaluation, Input
from invdesign.properties import STRUCTURE_PREFIX, Unit
from invdesign.protocols import EvaluatorSettings
from invdesign.roles import INITIAL
from invdesign.settings import load

BOND = 1.96  # Å, of titanium and oxygen in rutile
VOLUME = 10.4  # Å³ per atom of rutile
RUTILE = {"space_group": 136, "sites": {"Ti": ["a"], "O": ["f"]}}
COTUNNITE = {"space_group": 62, "sites": {"Ti": ["c"], "O": ["c", "c"]}}
MANY = {"kind": "crystal_sites", "formula": "TiO2", "sites": [RUTILE, COTUNNITE]}
ONE = {"kind": "crystal_sites", "formula": "TiO2", "sites": [RUTILE]}


class Breathe(EvaluatorSettings):
    """Stands for a relaxation: gives a cell the volume of rutile; bonds of titanium cost what they miss."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({STRUCTURE_PREFIX + INITIAL})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"energy": "eV/atom", STRUCTURE_PREFIX + "relaxed": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._relax(item) for item in inputs]

    def _relax(self, item: Input) -> Evaluation:
        structure = item.structures[INITIAL].copy()
        structure.scale_lattice(VOLUME * len(structure))
        metal = [number for number, site in enumerate(structure) if site.specie.symbol == "Ti"]
        oxygen = [number for number, site in enumerate(structure) if site.specie.symbol == "O"]
        repeated = structure.get_neighbor_list(5.0)
        cost = 0.0
        for atom in metal:
            own = (repeated[0] == atom) & np.isin(repeated[1], oxygen)
            cost += float(((np.sort(repeated[3][own])[:6] - BOND) ** 2).sum())
        return Evaluation({"energy": cost / len(metal)}, structures={"relaxed": structure})


def search(space: Mapping[str, Any], optimizer: Any, budget: int, folder: Path) -> invdesign.Run:
    return invdesign.optimize(
        space,
        Breathe(),
        minimize="energy",
        optimizer=optimizer,
        budget=budget,
        workers=0,
        run_dir=folder / "run",
    )


@pytest.mark.parametrize(
    ("optimizer", "budget"),
    [("swarm", 120), ("cma", 120), ("genetic", 150), ({"kind": "bayesian", "effort": 0.2}, 30)],
    ids=["swarm", "cma", "genetic", "bayesian"],
)
def test_optimizers_find_rutile(optimizer: Any, budget: int, tmp_path: Path) -> None:
    """c/a and the place of oxygen are found: each of the six bonds misses its length by less than 0.1 Å."""
    energies = search(ONE, optimizer, budget, tmp_path).table()["energy"].dropna()
    assert len(energies) > 0.7 * budget
    assert energies.min() < 6 * 0.1**2


@pytest.mark.parametrize("optimizer", ["swarm", "genetic"])
def test_choice_of_sites_is_searched(optimizer: Any, tmp_path: Path) -> None:
    """Both combinations are tried, and rutile's is the best."""
    table = search(MANY, optimizer, 60, tmp_path).table()
    assert table["energy"].notna().sum() > 40
    assert table["energy"].min() < 1.0


def test_children_inherit_the_relaxed_volume(tmp_path: Path) -> None:
    """Relaxed genomes are stored with the volume that relaxation gave, on the sites of the asked genome."""
    run = search(MANY, "genetic", 40, tmp_path)
    space = load("spaces", MANY)
    history = run.history
    inherited = {id: history.relaxed_genome(id) for id in range(len(history))}
    kept = {id: genome for id, genome in inherited.items() if genome is not None}
    assert len(kept) > 0.8 * len(inherited)
    for id, genome in kept.items():
        structure = space.build(genome).structures[INITIAL]
        assert structure.volume / len(structure) == pytest.approx(VOLUME, rel=1e-4)
        assert genome["sites"] == history.candidate(id).genome["sites"]
