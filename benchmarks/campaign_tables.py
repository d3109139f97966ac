"""Write the tables of `coating_screen`, `conductor_dynamics` and `dendrite_screen`, with crystals as they were published.

`python benchmarks/campaign_tables.py` writes `coatings.csv`, `conductors.csv` and `electrolytes.csv` in `campaigns/data` from the lists of the shipped reference
sets, which are in `surrogates/references`, and the prototypes. It relaxes nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from pymatgen.core import Composition

from invdesign.structures.crystallography import Crystal, read_crystals
from invdesign.structures.prototypes import load_prototypes

FOLDER = Path(__file__).parents[1] / "campaigns" / "data"
LISTS = ("lithium-chalcohalides.yaml", "battery-phases.yaml")
COATINGS = (
    "Li3PO4-Pmn2_1", "Li4P2O7-P-1", "LiCoPO4-Pnma", "LiAlO2-P4_12_12", "LiAlO2-R-3m", "Li2ZrO3-C2/c", "LiNbO3-R3c",
    "Li3NbO4-I-43m", "Li6PClO5-F-43m", "LiAlS2-Pna2_1", "LiAl(PS3)2-C2/c", "LiZr2S4-P2/m", "Li3PS4-Pmn2_1",
    "Li5CoO4-Aea2", "LiCl", "Li2O", "Li2S", "Li2SO4",
)  # fmt: skip
"""Lithium compounds that may coat a cathode."""
CONDUCTORS = ("Li10GeP2S12", "Li6PS5Cl-F-43m", "Li6PS5I-F-43m", "Li3N-P6/mmm", "Li3PS4-Pmn2_1")
"""Ordered conductors for molecular dynamics; argyrodites in their cubic cell of 52 atoms."""
ANIONS = frozenset(("H", "N", "P", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"))
REDOX_METALS = frozenset(("Fe", "Mn", "Co", "Ni", "V"))  # of electrodes, which conduct electrons
LARGEST_CELL = 40  # atoms in a primitive cell, to keep the table small (chosen)


def read_known() -> Mapping[str, Crystal]:
    """Prototypes, and published crystals of the shipped sets, by name."""
    folder = files("surrogates").joinpath("references")
    known = dict(load_prototypes())
    for file in LISTS:
        known |= read_crystals(folder.joinpath(file))
    return known


def write_table(path: Path, crystals: Iterable[Crystal], *, primitive: bool) -> None:
    """Write crystals as a table for the space `pool`.

    Args:
        path: of the table.
        crystals: in the order of the rows.
        primitive: write primitive cells.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "formula", "source", "cif"])
        for crystal in crystals:
            structure = crystal.build_structure(primitive=primitive)
            structure.remove_oxidation_states()
            writer.writerow([crystal.name, crystal.formula, crystal.source, structure.to(fmt="cif")])


def find_electrolytes(known: Mapping[str, Crystal]) -> list[Crystal]:
    """Find lithium compounds with an anion and without the metals of electrodes, as separators of lithium metal.

    Of crystals with the same formula and space group the first is taken.
    """
    found: dict[tuple[str, int], Crystal] = {}
    for crystal in known.values():
        elements = {element.symbol for element in Composition(crystal.formula)}
        if "Li" not in elements or elements & REDOX_METALS or not elements & ANIONS:
            continue
        if len(crystal.build_structure(primitive=True)) <= LARGEST_CELL:
            formula = Composition(crystal.formula).reduced_formula
            found.setdefault((formula, crystal.spacegroup), crystal)
    return list(found.values())


def main() -> None:
    """Write the tables."""
    known = read_known()
    write_table(FOLDER / "electrolytes.csv", find_electrolytes(known), primitive=True)
    write_table(FOLDER / "coatings.csv", (known[name] for name in COATINGS), primitive=True)
    write_table(FOLDER / "conductors.csv", (known[name] for name in CONDUCTORS), primitive=False)


if __name__ == "__main__":
    main()
