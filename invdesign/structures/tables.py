"""Structures in the cells of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.settings import InputFile
from invdesign.structures.files import parse_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure


def structure_in(text: str, name: str) -> Structure:
    """The structure in a cell: CIF, POSCAR or pymatgen's JSON, told apart by what they begin with.

    Args:
        text: the cell.
        name: what the structure is called in messages.

    Raises:
        InvdesignError: unreadable, unknown elements, partial occupancies, or atoms closer than 0.5 Å.
    """
    suffix = ".json" if text.lstrip().startswith("{") else ".cif" if "_cell_length_a" in text else ".poscar"
    try:
        return parse_structure(InputFile(name=f"{name}{suffix}", text=text))
    except InvdesignError as error:
        raise InvdesignError(str(error).replace(f"{name}{suffix}", name)) from error
