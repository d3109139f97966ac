"""Crystals that the tests of metrics share; they are made once and not to be changed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

# Made by `benchmarks/generator_metric_tables.py`, which names the versions of matminer and SMACT.
REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data" / "generator_metrics.json").read_text()
)


@cache
def rock_salt(cation: str = "Na", anion: str = "Cl", edge: float = 5.64) -> Structure:
    """Conventional cell of rock salt; edge in Å."""
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


@cache
def caesium_chloride(cation: str = "Na", anion: str = "Cl", edge: float = 3.5) -> Structure:
    """Cell of the structure of CsCl; edge in Å."""
    return Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


@cache
def zinc_blende(cation: str = "Zn", anion: str = "S", edge: float = 5.41) -> Structure:
    """Conventional cell of zinc blende; edge in Å."""
    return Structure.from_spacegroup(
        "F-43m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )


def reference_crystals() -> list[Structure]:
    """Ten crystals of the Materials Project with recorded fingerprints."""
    return [
        Structure(Lattice(entry["lattice"]), entry["species"], entry["coordinates"])
        for entry in REFERENCE["crystals"]
    ]


def shake(structure: Structure, size: float, seed: int = 0) -> Structure:
    """Displace all atoms at random by up to a size in Å along each axis."""
    moved = structure.copy()
    rng = np.random.default_rng(seed)
    for place in range(len(moved)):
        moved.translate_sites([place], rng.uniform(-size, size, 3), frac_coords=False)
    return moved
