"""Generated crystals as files: CIF with symmetry, and a table with where each came from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.protocols import ORIGIN
from invdesign.structures.files import structure_to_cif
from invdesign.structures.formulas import write_formula
from invdesign.structures.symmetry import quiet_spglib
from invdesign.tables.guard import guard_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

TABLE = "samples.csv"
COLUMNS = ("file", "formula", "atoms", "space_group", "volume_per_atom", "density", "origin")
CIF_SYMPREC = 0.01  # Å, by which atoms may miss the symmetry that a CIF file states (chosen)


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that holds files, which might be overwritten.

    Raises:
        InvdesignError: it holds something, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvdesignError(
            f"{folder} exists and is not empty; name a new folder, so that nothing is overwritten"
        )


def write_samples(structures: Iterable[Structure], folder: Path) -> None:
    """Write crystals to a new folder: a CIF file each, and `samples.csv`.

    Args:
        structures: with `properties["origin"]`, where the generator gave one.
        folder: is made.

    Raises:
        InvdesignError: it holds something.
    """
    check_new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = list(structures)
    width = len(str(len(made)))
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number, structure in enumerate(made, 1):
            formula = write_formula(structure.composition)
            name = f"{number:0{width}d}_{formula}.cif"
            (folder / name).write_text(write_cif(structure), encoding="utf-8")
            table.writerow([guard_cell(cell) for cell in _describe_sample(structure, name, formula)])


def write_cif(structure: Structure) -> str:
    """Write a crystal as CIF with its symmetry; without, where none is found."""
    from pymatgen.io.cif import CifWriter

    try:
        with quiet_spglib():
            return str(CifWriter(structure, symprec=CIF_SYMPREC, significant_figures=8))
    except (TypeError, ValueError, AttributeError):  # spglib finds no symmetry
        return structure_to_cif(structure)


def _describe_sample(structure: Structure, name: str, formula: str) -> list[object]:
    """Cells of the row of a crystal."""
    origin = structure.properties.get(ORIGIN) or {}
    rest = {key: value for key, value in origin.items() if key != "space_group"}
    return [
        name,
        formula,
        len(structure),
        origin.get("space_group", ""),
        f"{structure.volume / len(structure):.3f}",
        f"{float(structure.density):.3f}",
        json.dumps(rest, ensure_ascii=False),
    ]
