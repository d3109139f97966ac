"""Write the table of the campaign `coating_screen`: lithium compounds that may coat a cathode, as they were published.

`python benchmarks/coating_table.py` writes `campaigns/data/coatings.csv` from the lists of the shipped reference sets, which are in
`surrogates/references`. It relaxes nothing.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from invdesign.structures.crystallography import Crystal, read_crystals

OUTPUT = Path(__file__).parents[1] / "campaigns" / "data" / "coatings.csv"
LISTS = ("lithium-chalcohalides.yaml", "battery-phases.yaml")
COATINGS = (
    "Li3PO4-Pmn2_1", "Li4P2O7-P-1", "LiCoPO4-Pnma", "LiAlO2-P4_12_12", "LiAlO2-R-3m", "Li2ZrO3-C2/c", "LiNbO3-R3c",
    "Li3NbO4-I-43m", "Li6PClO5-F-43m", "LiAlS2-Pna2_1", "LiAl(PS3)2-C2/c", "LiZr2S4-P2/m", "Li3PS4-Pmn2_1",
    "Li5CoO4-Aea2", "LiCl", "Li2O", "Li2S", "Li2SO4",
)  # fmt: skip
"""Names in the lists."""


def read_phases() -> dict[str, Crystal]:
    """Published crystals of the shipped sets, by name."""
    folder = files("surrogates").joinpath("references")
    return {name: crystal for file in LISTS for name, crystal in read_crystals(folder.joinpath(file)).items()}


def write_coatings(path: Path) -> None:
    """Write the coatings as a table for the space `pool`, in primitive cells.

    Args:
        path: of the table.
    """
    phases = read_phases()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "formula", "source", "cif"])
        for name in COATINGS:
            crystal = phases[name]
            structure = crystal.build_structure(primitive=True)
            structure.remove_oxidation_states()
            writer.writerow([name, crystal.formula, crystal.source, structure.to(fmt="cif")])


if __name__ == "__main__":
    write_coatings(OUTPUT)
