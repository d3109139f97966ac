"""Pictures of crystals: what is drawn, where, and that the drawing is sound."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from ase.data import atomic_numbers
from ase.data.colors import jmol_colors
from pymatgen.core import Lattice, Structure

from invdesign.report import structure as pictures


def rocksalt(a: float = 5.0, shift: float = 0.0) -> Structure:
    """The conventional cell of LiCl-like rocksalt."""
    faces = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(a), ["Li"] * 4 + ["Cl"] * 4, np.concatenate([faces, faces + 0.5]) + shift)


@pytest.mark.parametrize("shift", [0.0, 1e-3, -1e-3])
def test_atoms_on_the_border_are_drawn_on_all_of_it(shift: float) -> None:
    """A cubic cell shows 14 corner and face atoms and 13 on edges and in the middle, also when slightly off."""
    drawn = pictures.build_scene(rocksalt(shift=shift))
    assert drawn is not None
    assert drawn.symbols.count("Li") == 14
    assert drawn.symbols.count("Cl") == 13


def test_neighbours_of_unlike_kind_are_bonded() -> None:
    """Every contact of cation and anion in the drawn cell, and none between like atoms."""
    drawn = pictures.build_scene(rocksalt())
    assert drawn is not None
    assert len(drawn.bonds) == 54
    assert all({drawn.symbols[a], drawn.symbols[b]} == {"Li", "Cl"} for a, b in drawn.bonds)


def test_the_cell_has_twelve_edges() -> None:
    """Each as long as its lattice vector."""
    lattice = Lattice.from_parameters(3, 4, 5, 80, 95, 110)
    drawn = pictures.build_scene(Structure(lattice, ["Li"], [[0.5, 0.5, 0.5]]))
    assert drawn is not None
    lengths = np.linalg.norm(drawn.edges[:, 1] - drawn.edges[:, 0], axis=1)
    assert sorted(lengths.round(6).tolist()) == [3.0] * 4 + [4.0] * 4 + [5.0] * 4


@pytest.mark.parametrize("cell", [(4, 4, 8), (8, 4, 4), (4, 8, 4), (3, 3, 30), (5, 5, 5)])
def test_the_drawing_is_well_formed_and_fits(cell: tuple[float, float, float]) -> None:
    """Every ball lies within the picture, each atom is one, and the longest axis lies flat."""
    crystal = Structure(Lattice.orthorhombic(*cell), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    drawn = pictures.build_scene(crystal)
    assert drawn is not None
    root = ET.fromstring(pictures.draw_svg(drawn, "c1", "a <title> & more"))
    balls = [{key: float(ball.attrib[key]) for key in ("cx", "cy", "r")} for ball in root.iter("circle")]
    assert len(balls) == len(drawn.symbols)
    for ball in balls:
        assert ball["r"] <= ball["cx"] <= pictures.WIDTH - ball["r"]
        assert ball["r"] <= ball["cy"] <= pictures.HEIGHT - ball["r"]
    view = pictures.view_axes(drawn.lattice)
    longest = drawn.lattice[int(np.argmax(cell))]
    assert abs(longest @ view[0]) > 0.8 * max(cell)
    assert root.findtext("title") == "a <title> & more"


def test_the_view_is_a_rotation() -> None:
    """Nothing is stretched or mirrored on the way to the eye."""
    view = pictures.view_axes(np.array([[3.0, 0.2, 0], [0.5, 4.0, 0.1], [0, 1.0, 6.0]]))
    assert np.allclose(view @ view.T, np.eye(3))
    assert np.linalg.det(view) == pytest.approx(1.0)


def test_the_same_crystal_gives_the_same_picture() -> None:
    """Reports of one run can be compared."""
    first, second = pictures.build_scene(rocksalt()), pictures.build_scene(rocksalt())
    assert first is not None
    assert second is not None
    assert pictures.draw_svg(first, "c", "t") == pictures.draw_svg(second, "c", "t")
    assert pictures.scene_figure(first) == pictures.scene_figure(second)


def test_colours_are_jmols() -> None:
    """The legend names each element once, by atomic number, in ASE's colours."""
    drawn = pictures.build_scene(rocksalt())
    assert drawn is not None
    expected = []
    for symbol in ("Li", "Cl"):
        red, green, blue = np.rint(255 * jmol_colors[atomic_numbers[symbol]]).astype(int)
        expected.append((symbol, f"#{red:02x}{green:02x}{blue:02x}"))
    assert pictures.element_legend(drawn) == expected


def test_hydrogen_is_seen() -> None:
    """Hydride and hydroxide have sticks, a ball of some size, and a colour that is not that of the page."""
    cubic = Structure(
        Lattice.cubic(3.9),
        ["Li", "Li", "Li", "H", "Cl"],
        [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 0, 0], [0.5] * 3],
    )
    drawn = pictures.build_scene(cubic)
    assert drawn is not None
    assert {"Li", "H"} in [{drawn.symbols[a], drawn.symbols[b]} for a, b in drawn.bonds]
    red, green, blue = (int(dict(pictures.element_legend(drawn))["H"][at : at + 2], 16) for at in (1, 3, 5))
    assert max(red, green, blue) < 215
    water = Structure(
        Lattice.cubic(8), ["O", "H", "O"], [[4, 4, 4], [4.97, 4, 4], [6.8, 4, 4]], coords_are_cartesian=True
    )
    hydrogen_bond = pictures.build_scene(water)
    assert hydrogen_bond is not None
    assert len(hydrogen_bond.bonds) == 1


def test_too_many_atoms_are_not_drawn() -> None:
    """The caller says so instead."""
    assert pictures.build_scene(rocksalt().make_supercell(6, in_place=False)) is None


def test_a_mixed_site_is_drawn_as_what_is_on_it_most() -> None:
    """Disorder does not break a picture, nor does an element without an electronegativity."""
    mixed = Structure(
        Lattice.cubic(4), [{"O": 0.3, "S": 0.7}, "He", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]
    )
    drawn = pictures.build_scene(mixed)
    assert drawn is not None
    assert set(drawn.symbols) == {"S", "He", "Li"}
