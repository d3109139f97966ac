"""Extended XYZ."""

from __future__ import annotations

import io

import pytest
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from invdesign.structures.reading.extxyz import find_frame_offsets
from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.reading.read import read_structure, read_structures
from tests.structures.reading.samples import XYZ, crystals, refusal, same_crystal


def _written(*frames: Structure) -> str:
    text = io.StringIO()
    atoms = [frame.to_ase_atoms() for frame in frames]
    for number, item in enumerate(atoms):
        item.info["energy_guess"] = -1.5 * number
        item.info["label"] = f"a {number}"
    write(text, atoms, format="extxyz")
    return text.getvalue()


@settings(max_examples=15, deadline=None)
@given(st.lists(crystals(), min_size=1, max_size=3))
def test_what_ase_writes_is_read(frames: list[Structure]) -> None:
    """All frames come back, each at the bytes that are found without reading it, as ASE itself reads them."""
    text = _written(*frames)
    found = read_structures(text, "set.xyz")
    spans = find_frame_offsets(text.encode())
    assert spans is not None
    assert len(found) == len(spans) == len(frames)
    for reading, (start, end), frame in zip(found, spans, frames, strict=True):
        assert same_crystal(reading.structure, frame, 1e-6)
        alone = read_structure(text.encode()[start:end], "one.xyz").structure
        assert same_crystal(alone, frame, 1e-6)
        again = read(io.StringIO(text[start:end]), format="extxyz")
        assert again.get_chemical_symbols() == [site.specie.symbol for site in alone]


def test_the_line_of_the_cell() -> None:
    """What it says beside the cell is kept as numbers and text; further columns are passed over."""
    found = read_structure(XYZ, "a.xyz")
    assert found.structure.composition.reduced_formula == "CsCl"
    assert found.properties == {"energy": -7.25, "step": 3, "source": "a b"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('pbc="T T T"', ""),
        ('pbc="T T T"', "pbc=[True, true, T]"),
        ('"4.02 0 0 0 4.02 0 0 0 4.02"', "[[4.02, 0, 0], [0, 4.02, 0], [0, 0, 4.02]]"),
        ('"4.02 0 0 0 4.02 0 0 0 4.02"', "{4.02 0 0 0 4.02 0 0 0 4.02}"),
        ("Lattice=", "lattice = "),
        ("species:S:1:pos:R:3:forces:R:3", "species:S:1:pos:R:3:Z:I:1:forces:R:2"),
        ("Cs 0 0 0 0.1", "55 0 0 0 0.1"),
        ("source='a b'", 'source="say \\"a=b\\"" flag'),
        ("source='a b'", "file=a[1]=x"),
        ("\n", "\r\n"),
    ],
)
def test_ways_to_write_the_same(old: str, new: str) -> None:
    """Brackets, braces, atomic numbers, a missing pbc."""
    text = XYZ.replace(old, new)
    if "Z:I:1" in new:
        text = text.replace("0.1 0 0\n", "55 0 0\n").replace("-55 0 0", "17 0 0")
    assert same_crystal(
        read_structure(text.encode(), "a.xyz").structure, read_structure(XYZ, "a.xyz").structure
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('pbc="T T T"', 'pbc="T T F"', 'says pbc="T T F": it is a slab'),
        ('pbc="T T T"', 'pbc="F F F"', 'write pbc="T T T" and its cell'),
        ('pbc="T T T"', 'pbc="1 T"', "pbc must be three of T and F"),
        ('Lattice="4.02 0 0 0 4.02 0 0 0 4.02"', "", "has no cell (Lattice)"),
        ("0 0 0 4.02 0 0 0 4.02", "0 0", "not the 9 of three vectors"),
        ('"4.02', '"nan', "'nan' is no finite number"),
        ("Lattice=", 'Lattice="1 0 0 0 1 0 0 0 1" Lattice=', "'lattice' is said twice"),
        ("pos:R:3", "pos:R:2", "positions must be three real numbers"),
        ("pos:R:3", "place:R:3", "must name species and positions"),
        ("species:S:1", "species:S:0", "Properties cannot be read"),
        ("Cs 0 0 0", "Cx 0 0 0", "names no element"),
        ("Cs 0 0 0", "Cs 0 0", "has 6 columns, Properties name 7"),
        ("Cl 2.01", "Cl __import__('os')", "is no finite number"),
        ("2\nLattice", "3\nLattice", "3 atoms are announced"),
        ("2\nLattice", "1\nLattice", "the number of atoms of the next frame"),
        ("2\nLattice", "two\nLattice", "the number of atoms of the next frame"),
        ("2\nLattice", "99999999\nLattice", "at most 20000 are read"),
        ("source='a b'", "source='a b", "cannot be read as key=value"),
    ],
)
def test_what_cannot_be_believed_is_refused(old: str, new: str, message: str) -> None:
    """Slabs and molecules, wrong counts, unknown elements, numbers that are none."""
    assert old in XYZ
    assert message in refusal(XYZ.replace(old, new, 1), "a.xyz")


def test_one_of_several_frames_is_not_chosen() -> None:
    """Where one structure is needed, two frames are refused; the name of a bad frame says which it is."""
    with pytest.raises(StructureFileError, match=r"a\.xyz holds 2 structures"):
        read_structure(XYZ + XYZ, "a.xyz")
    assert refusal(XYZ + XYZ.replace("T T T", "T F T"), "a.xyz").startswith('a.xyz#2 says pbc="T F T"')


def test_plain_xyz_is_a_molecule() -> None:
    """A comment is no cell."""
    assert "has no cell" in refusal("1\nmade by hand, energy -3\nLi 0 0 0\n", "a.xyz")
