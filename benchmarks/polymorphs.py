"""Simple structure types of the lithium salts of the shipped reference set: which of them the potential puts lowest.

`python benchmarks/polymorphs.py` relaxes LiX as CsCl, NiAs, zincblende and wurtzite, and Li2X as anticotunnite and Ni2In, at the
limits of the set, and prints meV/atom above the form of ambient conditions (rocksalt, antifluorite). What comes out lower belongs
into `surrogates/references/lithium-chalcohalides.yaml`. Ideal positions: R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (1963).
About two minutes on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import cast

from pymatgen.core import Lattice, Structure

from invdesign.protocols import Potential
from invdesign.settings import load
from surrogates.stability.coverage import FORMER_SETS
from surrogates.stability.reference import find_earlier_set
from surrogates.stability.reference_build import DEFAULT_RELAXATION, relax_from_start

SHORTER = 0.94  # bond of four neighbours over that of six; a start
LONGER = 1.04  # bond of eight neighbours over that of six; a start
DENSER = 0.92  # volume of anticotunnite over antifluorite; a start


def make_salts(anion: str, bond: float) -> Iterator[tuple[str, Structure]]:
    """LiX in four structure types, from the bond length of rocksalt (Å)."""
    species = ["Li", anion]
    cube = 2 * LONGER * bond / sqrt(3)
    yield "CsCl", Structure(Lattice.cubic(cube), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
    edge = sqrt(2) * bond
    places = [[0, 0, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    yield "NiAs", Structure(Lattice.hexagonal(edge, 1.55 * edge), ["Li", "Li", anion, anion], places)
    half = 2 * SHORTER * bond / sqrt(3)
    faces = [[0, half, half], [half, 0, half], [half, half, 0]]
    yield "zincblende", Structure(Lattice(faces), species, [[0, 0, 0], [0.25, 0.25, 0.25]])
    edge = SHORTER * bond * sqrt(8 / 3)
    places = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.375], [2 / 3, 1 / 3, 0.875]]
    lattice = Lattice.hexagonal(edge, edge * sqrt(8 / 3))
    yield "wurtzite", Structure(lattice, ["Li", "Li", anion, anion], places)


def make_chalcogenides(anion: str, volume: float) -> Iterator[tuple[str, Structure]]:
    """Li2X in two structure types, from the volume of antifluorite (Å^3 per formula unit)."""
    species = [anion, "Li", "Li"]
    places = [[0.246, 0.25, 0.096], [0.86, 0.25, 0.07], [0.48, 0.25, 0.84]]
    cotunnite = Structure.from_spacegroup("Pnma", Lattice.orthorhombic(7.62, 4.53, 9.05), species, places)
    yield "anticotunnite", cotunnite.scale_lattice(4 * DENSER * volume)
    places = [[1 / 3, 2 / 3, 0.25], [0, 0, 0], [1 / 3, 2 / 3, 0.75]]
    nickel_indium = Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(1, 1.25), species, places)
    yield "Ni2In", nickel_indium.scale_lattice(2 * DENSER * volume)


def relax_energy(structure: Structure, potential: Potential) -> float:
    """eV/atom of the relaxed crystal; NaN where no optimizer gets to an end."""
    found = relax_from_start(structure, potential, DEFAULT_RELAXATION)
    return float("nan") if isinstance(found, str) else found.energy / len(structure)


def compare_types() -> None:
    """Print every salt with its types, against its form of ambient conditions."""
    potential = cast("Potential", load("potentials", "chgnet"))
    (hash,) = FORMER_SETS
    ambient = find_earlier_set(
        "lithium-chalcohalides", hash
    )  # one start each: rocksalt and antifluorite stay what they are
    assert ambient is not None
    for phase in ambient.phases:
        volume = phase.cell.build_structure().volume  # Å^3; primitive cells, one formula unit each
        if phase.name in {"LiH", "LiF", "LiCl", "LiBr", "LiI"}:
            types = make_salts(phase.name.removeprefix("Li"), (volume / 2) ** (1 / 3))
        elif phase.name in {"Li2O", "Li2S", "Li2Se", "Li2Te"}:
            types = make_chalcogenides(phase.name.removeprefix("Li2"), volume)
        else:
            continue
        for kind, structure in types:
            above = 1000 * (relax_energy(structure, potential) - phase.energy_per_atom)
            print(f"{phase.name:6} {kind:14} {above:7.1f} meV/atom", flush=True)


if __name__ == "__main__":
    compare_types()
