"""Write `campaigns/data/conductors.csv`: five ordered crystals of lithium conductors for molecular dynamics.

`python benchmarks/conductor_table.py` takes them from the package: the published crystals of the reference set `battery-phases`, and the
prototype Li10GeP2S12. Argyrodites stand in their cubic cell of 52 atoms.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from invdesign.structures.crystallography import Crystal, read_crystals
from invdesign.structures.prototypes import find_prototype

OUTPUT = Path(__file__).parents[1] / "campaigns" / "data" / "conductors.csv"
PHASES = ("Li6PS5Cl-F-43m", "Li6PS5I-F-43m", "Li3N-P6/mmm", "Li3PS4-Pmn2_1")
PROTOTYPE = "Li10GeP2S12"


def list_crystals() -> Iterator[tuple[str, Crystal]]:
    """Names and published crystals."""
    yield PROTOTYPE, find_prototype(PROTOTYPE)
    known = read_crystals(files("surrogates").joinpath("references", "battery-phases.yaml"))
    for name in PHASES:
        yield name, known[name]


def main() -> None:
    """Write the table."""
    with OUTPUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "formula", "source", "cif"])
        for name, crystal in list_crystals():
            structure = crystal.build_structure()
            writer.writerow([name, crystal.formula, crystal.source, structure.to(fmt="cif")])


if __name__ == "__main__":
    main()
