"""Crystals and structure files that the tests of this folder share."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.reading.read import read_structures

ELEMENTS = ("Li", "O", "Cl", "H", "Fe", "La")
SULFIDE = """lithium sulfide, primitive
1.0
0.0 2.85 2.85
2.85 0.0 2.85
2.85 2.85 0.0
S Li
1 2
Direct
0.0 0.0 0.0
0.25 0.25 0.25
0.75 0.75 0.75
"""
XYZ = """2
Lattice="4.02 0 0 0 4.02 0 0 0 4.02" Properties=species:S:1:pos:R:3:forces:R:3 energy=-7.25 step=3 source='a b' pbc="T T T"
Cs 0 0 0 0.1 0 0
Cl 2.01 2.01 2.01 -0.1 0 0
"""


def pymatgen_json(structure: Structure) -> dict[str, Any]:
    """The structure as pymatgen writes it."""
    found: dict[str, Any] = json.loads(json.dumps(structure.as_dict()))
    return found


def refusal(text: str | bytes, name: str) -> str:
    """The message with which a file is refused; empty where it is read."""
    try:
        read_structures(text, name)
    except StructureFileError as error:
        return str(error)
    return ""


@st.composite
def crystals(draw: st.DrawFn) -> Structure:
    """Crystals of a few atoms on a coarse grid, so that no two are too close, in a skewed cell of either hand."""
    size = draw(st.integers(1, 2))
    elements = draw(st.lists(st.sampled_from(ELEMENTS), min_size=size, max_size=size**3))
    places = draw(st.permutations([(i, j, k) for i in range(size) for j in range(size) for k in range(size)]))
    number = st.floats(-0.4, 0.4, allow_nan=False)
    skew = np.array(draw(st.lists(number, min_size=9, max_size=9))).reshape(3, 3)
    signs = np.diag(draw(st.sampled_from([(1, 1, 1), (1, 1, -1), (-1, 1, 1)])))
    lattice = Lattice((np.eye(3) * 4.6 + skew) @ signs * size)
    shift = draw(st.integers(-2, 2))
    points = [(np.array(place) + 0.25) / size + shift for place in places[: len(elements)]]
    return Structure(lattice, sorted(elements), points)


def same_crystal(first: Structure, second: Structure, tolerance: float = 1e-4) -> bool:
    """True if cell, elements and positions agree, site by site."""
    if [site.species for site in first] != [site.species for site in second]:
        return False
    cells = np.abs(first.lattice.matrix - second.lattice.matrix).max()
    apart = first.frac_coords - second.frac_coords
    return bool(
        cells < tolerance and np.abs((apart - np.round(apart)) @ first.lattice.matrix).max() < tolerance
    )
