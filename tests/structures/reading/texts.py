"""CIF texts for tests."""

from __future__ import annotations

from collections.abc import Sequence

from invdesign.structures.reading.cif import read_cif
from invdesign.structures.reading.raw import RawCrystal

ROCK_SALT = (5.14, 5.14, 5.14, 90, 90, 90)
LAYERED = (2.816, 2.816, 14.05, 90, 90, 120)
TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def make_cif(
    cell: Sequence[float], sites: str, *, name: str = "", head: str = "", columns: Sequence[str] = ()
) -> str:
    """A CIF with one block.

    Args:
        cell: edges (Å) and angles (degrees).
        sites: rows of label, three coordinates, and what `columns` add.
        name: Hermann-Mauguin symbol.
        head: further lines.
        columns: tags after `_atom_site_`.
    """
    lines = ["data_made", *(f"_cell_{tag} {value}" for tag, value in zip(TAGS, cell, strict=True))]
    if name:
        lines.append(f"_symmetry_space_group_name_H-M '{name}'")
    if head:
        lines.append(head)
    tags = ("label", "fract_x", "fract_y", "fract_z", *columns)
    return "\n".join([*lines, "loop_", *(f"_atom_site_{tag}" for tag in tags), sites]) + "\n"


def read_one(text: str) -> RawCrystal:
    """The only crystal of a text."""
    (crystal,) = read_cif(text, "made.cif")
    return crystal
