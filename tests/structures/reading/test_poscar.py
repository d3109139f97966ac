"""POSCAR and CONTCAR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from pymatgen.core import Structure

from invdesign.structures.reading.read import read_structure
from tests.structures.reading.samples import SULFIDE, crystals, refusal, same_crystal

PLAIN = read_structure(SULFIDE, "POSCAR").structure


@settings(max_examples=20, deadline=None)
@given(crystals())
def test_what_is_written_is_read(crystal: Structure) -> None:
    """A crystal written as POSCAR comes back, site by site."""
    grouped = crystal.get_sorted_structure()
    if np.linalg.det(grouped.lattice.matrix) < 0:  # pymatgen writes the inverted cell then
        grouped = Structure(-grouped.lattice.matrix, grouped.species, grouped.frac_coords)
    assert same_crystal(read_structure(grouped.to(fmt="poscar"), "POSCAR").ordered, grouped)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.0\n", "-46.29825\n"),  # the volume of the cell
        ("1.0\n0.0 2.85 2.85\n2.85 0.0 2.85\n2.85 2.85 0.0", "2.85\n0 1 1\n1 0 1\n1 1 0"),
        (
            "1.0\n0.0 2.85 2.85\n2.85 0.0 2.85\n2.85 2.85 0.0",
            "2.0 1.0 0.5\n0 2.85 5.7\n1.425 0 5.7\n1.425 2.85 0",
        ),
        ("S Li\n1 2", "S Li Li\n1 1 1"),
        ("S Li", "S/1a2b Li_sv/9f"),
        ("S Li", "S Li_pv ! with semicore states"),
        ("S Li", "S2- Li+"),
        ("Direct", "Selective dynamics\nDirect"),
        ("Direct\n0.0 0.0 0.0", "Selective dynamics\nDirect\n0.0 0.0 0.0 T F T"),
        ("Direct", "direct lattice coordinates"),
        ("0.25 0.25 0.25\n0.75 0.75 0.75", "1.25 0.25 -0.75\n2.5d-1 -2.5D-1 1.75 Li"),
        ("0.25 0.25 0.25\n0.75 0.75 0.75", "0.25 0.25 0.25 Li\n0.75 0.75 0.75 Li"),
        (
            "Direct\n0.0 0.0 0.0\n0.25 0.25 0.25\n0.75 0.75 0.75",
            "Cartesian\n0 0 0\n1.425 1.425 1.425\n4.275 4.275 4.275",
        ),
        ("0.75 0.75 0.75\n", "0.75 0.75 0.75\n\n0.1 0.1 0.1\n0.2 0.2 0.2\n0.3 0.3 0.3\n"),  # velocities
        ("0.75 0.75 0.75\n", "0.75 0.75 0.75\nCartesian\n0.1 0.1 0.1\n"),
    ],
)
def test_ways_to_write_the_same(old: str, new: str) -> None:
    """Scales, symbols of pseudopotentials, flags and velocities change nothing of the crystal."""
    assert old in SULFIDE
    found = read_structure(SULFIDE.replace(old, new), "CONTCAR").ordered
    assert found.composition == PLAIN.composition
    if "1.75" not in new:
        assert same_crystal(found, PLAIN, 1e-3)


def test_the_other_hand_is_kept() -> None:
    """A cell whose vectors are left-handed is read as it is."""
    found = read_structure(SULFIDE.replace("2.85 2.85 0.0", "-2.85 -2.85 0.0"), "POSCAR").structure
    assert found.lattice.volume == pytest.approx(PLAIN.volume)


def test_elements_are_never_guessed() -> None:
    """Without a line of elements the file is refused, whatever its comment says, and the line to add is shown."""
    text = SULFIDE.replace("S Li\n", "").replace("lithium sulfide, primitive", "S Li")
    assert "names no elements (a POSCAR of VASP 4)" in refusal(text, "POSCAR")
    assert "before '1 2'" in refusal(text, "POSCAR")
    flags = text.replace("0.0 0.0 0.0", "0 0 0 T T F").replace("0.25 0.25 0.25", "0.25 0.25 0.25 T T T")
    assert "names no elements" in refusal(flags.replace("0.75 0.75 0.75", "0.75 0.75 0.75 F F F"), "POSCAR")


def test_elements_at_the_ends_of_rows_are_read_with_a_remark() -> None:
    """They stand in the file: nothing is guessed."""
    text = SULFIDE.replace("S Li\n", "").replace("0.0 0.0 0.0\n0.25", "0.0 0.0 0.0 S\n0.25")
    text = text.replace("0.25 0.25 0.25", "0.25 0.25 0.25 Li").replace("0.75 0.75 0.75", "0.75 0.75 0.75 Li")
    found = read_structure(text, "POSCAR")
    assert same_crystal(found.structure, PLAIN)
    assert found.remarks == ("POSCAR has no line of elements; they were read from the ends of the rows",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 2", "1 1", "more rows of coordinates follow"),
        ("1 2", "1 3", "atom 4 of 4 should follow"),
        ("1 2", "1 2 0", "2 elements and 3 numbers"),
        ("1 2", "0 0", "there are no atoms"),
        ("1 2", "1 two", "a whole number, got 'two'"),
        ("S Li", "S Lx", "'Lx' is no element"),
        ("S Li", "S li", "'li' is no element"),
        ("S Li", "H.75 Li", "'H.75' is no element"),
        ("1.0\n", "0.0\n", "scaling factor that is not 0"),
        ("1.0\n", "1 2\n", "one scaling factor"),
        ("1.0\n", "-1 -1 -1\n", "three above 0"),
        ("Direct", "0.0 0.0 0.0", "expected 'Direct' or 'Cartesian'"),
        ("0.25 0.25 0.25", "0.25 0.25", "atom 2 of 3 should stand here"),
        ("0.25 0.25 0.25", "0.25 nan 0.25", "'nan' is no finite number"),
        ("0.25 0.25 0.25", "0.25 1e999 0.25", "'1e999' is no finite number"),
        ("0.25 0.25 0.25\n", "\n0.25 0.25 0.25\n", "the counts and the rows disagree"),
        ("0.75 0.75 0.75\n", "0.75 0.75 0.75\nDirect configuration= 2\n0 0 0\n", "several configurations"),
        ("0.25 0.25 0.25", "0.25 0.25 0.25 S", ""),  # one row alone names an element: it may be a comment
    ],
)
def test_what_does_not_agree_is_refused(old: str, new: str, message: str) -> None:
    """The message names line and remedy; nothing is left out or filled in silently."""
    assert old in SULFIDE
    assert message in refusal(SULFIDE.replace(old, new, 1), "POSCAR")


@pytest.mark.parametrize("elements", ["S Li\n", ""])
def test_a_second_structure_is_never_left_out(elements: str) -> None:
    """Structures that follow each other in one file are refused; velocities and further blocks of VASP are not."""
    second = SULFIDE.replace("S Li\n", elements)
    assert "holds several structures" in refusal(SULFIDE + second, "POSCARS")
    block = (
        "Lattice velocities and vectors\n  1\n"
        + "0.0 0.0 0.0\n" * 3
        + "0 2.85 2.85\n2.85 0 2.85\n2.85 2.85 0\n"
    )
    velocities = "Cartesian\n" + "-0.1E-02 0.2E-02 0.0\n" * 3
    corrector = "\n  1\n  0.1E+01\n 0.1E+01 0.0 0.0 0.0\n" + "0.1 0.2 0.3\n" * 9
    for tail in (velocities, "\n" + velocities.split("\n", 1)[1], block + velocities + corrector, corrector):
        assert same_crystal(read_structure(SULFIDE + tail, "CONTCAR").structure, PLAIN)


def test_rows_that_name_other_elements_are_refused() -> None:
    """The elements at the ends of all rows must be those of the counts."""
    text = SULFIDE.replace(
        "0.0 0.0 0.0\n0.25 0.25 0.25\n0.75 0.75 0.75", "0 0 0 Li\n.25 .25 .25 S\n.75 .75 .75 Li"
    )
    assert "atom 1 is S by the lines of elements and counts, and Li at the end" in refusal(text, "POSCAR")
