"""The door: formats by name and by content, one structure or several, order, frames of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.settings import load
from invdesign.structures.reading.frames import find_frames
from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.reading.read import find_format, read_structure, read_structures
from tests.structures.reading.samples import SULFIDE, XYZ, refusal, same_crystal

PLAIN = read_structure(SULFIDE, "POSCAR").structure
XSF = """# a comment
CRYSTAL
PRIMVEC
 0.0 2.85 2.85
 2.85 0.0 2.85
 2.85 2.85 0.0
CONVVEC
5.7 0 0
0 5.7 0
0 0 5.7
PRIMCOORD
3 1
16 0 0 0
Li 1.425 1.425 1.425 0.1 0.1 0.1
3 4.275 4.275 4.275
"""
RES = """TITL sulfide-1 0.0 46.3 -12.5 0 0 3 (Fm-3m) n - 1
CELL 1.54180 4.030508653 4.030508653 4.030508653 60 60 60
LATT -1
SFAC S Li
S 1 0 0 0 1.0
Li 2 .25 .25 .25 1.0
Li 2 .75 .75 .75 11.00000 0.05
END
"""
GEN = """3 F
S Li
1 1 0 0 0
2 2 .25 .25 .25
3 2 .75 .75 .75
0 0 0
0.0 2.85 2.85
2.85 0.0 2.85
2.85 2.85 0.0
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xsf", XSF),
        ("a.axsf", XSF),
        ("forces", XSF),
        ("a.gen", GEN),
        ("a.GEN", GEN.replace("3 F", "3 f")),
        ("b.gen", "# by a program\n" + GEN.replace("3 F\n", "3 F\n# the elements\n")),
    ],
)
def test_cells_of_other_programs(name: str, text: str) -> None:
    """XSF and GEN give the same crystal as the POSCAR."""
    assert same_crystal(read_structure(text, name).structure, PLAIN)


def test_grids_are_passed_over() -> None:
    """Grids of data hide nothing that follows them."""
    grid = (
        XSF
        + "BEGIN_BLOCK_DATAGRID_3D\nrho\nBEGIN_DATAGRID_3D\n 2 2 2\nEND_DATAGRID_3D\nEND_BLOCK_DATAGRID_3D\n"
    )
    assert same_crystal(read_structure(grid, "rho.xsf").structure, PLAIN)
    assert "announces 1 structures (PRIMCOORD) and holds 2" in refusal(grid + XSF, "rho.xsf")


def test_an_animation_holds_several() -> None:
    """Each step of an XSF animation is a structure of its own; a missing one is told."""
    atoms = "PRIMCOORD" + XSF.split("PRIMCOORD")[1]
    moved = atoms.replace("16 0 0 0", "16 0.1 0 0")
    assert [item.name for item in read_structures("ANIMSTEPS 2\n" + XSF + moved, "a.xsf")] == [
        "a.xsf#1",
        "a.xsf#2",
    ]
    assert "announces 3 structures (PRIMCOORD) and holds 2" in refusal("ANIMSTEPS 3\n" + XSF + moved, "a.xsf")


def test_res() -> None:
    """RES gives lengths and angles; the crystal is the same in another orientation."""
    found = read_structure(RES, "a.res").structure
    assert found.composition == PLAIN.composition
    assert found.volume == pytest.approx(PLAIN.volume)
    assert found.get_distance(0, 1) == pytest.approx(PLAIN.get_distance(0, 1))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xsf", XSF.replace("CRYSTAL", "SLAB"), "says SLAB: it is a slab"),
        ("a.xsf", XSF.replace("CRYSTAL", "MOLECULE"), "says MOLECULE"),
        ("a.xsf", XSF.replace("CRYSTAL", "DIM-GROUP\n2 1"), "periodic in 2 directions"),
        ("a.xsf", XSF.replace("3 1\n16", "2 1\n16"), "more atoms follow than were announced"),
        ("a.xsf", XSF.replace("3 1\n16", "4 1\n16"), "where atom 4 of 4 should follow"),
        ("a.xsf", XSF.replace("16 0 0 0", "160 0 0 0"), "atom 1 of 3 should stand here"),
        ("a.xsf", "CRYSTAL\n", "announces 1 structures"),
        ("a.res", RES.replace("LATT -1\n", ""), "has no LATT -1"),
        ("a.res", RES.replace("LATT -1", "LATT 1"), "has no LATT -1"),
        (
            "a.res",
            RES.replace("SFAC", "SYMM -X, Y, -Z\nSFAC"),
            "SYMM: only files that list all atoms",
        ),
        ("a.res", RES.replace("11.00000", "10.50000"), "the occupancy is 10.50000"),
        ("a.res", RES.replace("S 1 0", "S 7 0"), "names no element: SFAC has S, Li"),
        ("a.res", RES + RES, "goes on after END"),
        ("a.res", RES.replace("60 60 60", "60 60 170"), "no cell has the angles"),
        ("a.res", RES.replace("CELL", "REM"), "has no cell"),
        ("a.gen", GEN.replace("3 F", "3 C"), "'C' is a cluster: it is a slab"),
        ("a.gen", GEN.replace("3 F", "2 F"), "the origin"),
        ("a.gen", GEN.replace("3 F", "4 F"), "atom 4 of 4"),
        ("a.gen", GEN.replace("2 2 .25", "2 3 .25"), "names no element"),
        ("a.gen", GEN + "1 1 1\n", "more follows after the cell"),
    ],
)
def test_what_would_be_another_crystal_is_refused(name: str, text: str, message: str) -> None:
    """Slabs, symmetry that adds atoms, partial occupancies, and numbers of atoms that are wrong."""
    assert message in refusal(text, name)


@pytest.mark.parametrize(
    ("name", "text", "fmt"),
    [
        ("a.CIF", "", "CIF"),
        ("POSCAR_relaxed", "", "POSCAR"),
        ("CONTCAR.7", "", "POSCAR"),
        ("row 3", SULFIDE, "POSCAR"),
        ("row 3", XYZ, "extended XYZ"),
        ("row 3", "\n data_x\n_cell_length_a 3", "CIF"),
        ("row 3", ' {"lattice": 1}', "JSON"),
        ("row 3", "TITL a\nREM by a search\nREM\nCELL 1.54 3 3 3 90 90 90\n", "RES"),
        ("row 3", "# steps\nANIMSTEPS 2\nCRYSTAL\n", "XSF"),
        ("row 3", "TITLE of a paper", ""),
        ("row 3", "nothing of the kind", ""),
    ],
)
def test_formats_by_name_and_by_content(name: str, text: str, fmt: str) -> None:
    """The suffix counts; without one that is known, the beginning of the text."""
    assert find_format(name, text) == fmt


@pytest.mark.parametrize("data", ["", "  \n", b"", b"\x00\x01binary", "words\nwords\n", b"\xff\xfe\x00"])
def test_what_is_no_text_of_a_structure(data: str | bytes) -> None:
    """Empty files, binary files, prose."""
    assert refusal(data, "row 1").startswith("row 1")


def test_names_of_files_are_no_structures() -> None:
    """A cell that holds the name of a file says so, and what to do."""
    assert "holds the name of a file, 'cifs/a.cif', not a structure; name the folder" in refusal(
        "cifs/a.cif", "row 3"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str) -> None:
    """As editors save them, with Windows line ends; a comment may hold any letter."""
    data = SULFIDE.replace("lithium", "Lithiumsulfid für 25 °C").replace("\n", "\r\n").encode(encoding)
    assert same_crystal(read_structure(data, "POSCAR").structure, PLAIN)


def test_disorder_is_told_by_site() -> None:
    """Where an ordered structure is needed, the sites are named with occupancies and remedies."""
    lattice = Lattice.hexagonal(2.83, 10.9)
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 0.09], [0, 0, 0.25]]
    mixed = Structure(lattice, [{"Co": 0.7, "Mn": 0.3}, "O", {"Na": 0.25}], sites, labels=["M1", "O1", "Na1"])
    text = mixed.to(fmt="json")
    reading = read_structure(text, "p2.json")
    assert reading.structure.composition.num_atoms == pytest.approx(2.25)
    with pytest.raises(StructureFileError) as caught:
        _ = reading.ordered
    assert str(caught.value).startswith(
        "p2.json is disordered, it has partially occupied sites: M1 Co 0.7 + Mn 0.3, Na1 Na 0.25. Give an ordered structure"
    )
    assert "set occupancies to 1 where the campaign gives amounts" in str(caught.value)


def test_frames_are_found_without_reading_them(tmp_path: Path) -> None:
    """A file of one structure keeps its name; several are numbered from 1; a file that cannot be read is one frame."""
    (tmp_path / "one.xyz").write_text(XYZ)
    (tmp_path / "many.xyz").write_text(XYZ.replace("4.02", "4.10") + "\n" + XYZ)
    (tmp_path / "half.xyz").write_text(XYZ + "7\nLattice")
    (tmp_path / "POSCAR").write_text(SULFIDE)
    frames = {name: find_frames(tmp_path / name) for name in ("one.xyz", "many.xyz", "half.xyz", "POSCAR")}
    assert {name: [frame.name for frame in found] for name, found in frames.items()} == {
        "one.xyz": ["one.xyz"],
        "many.xyz": ["many.xyz#1", "many.xyz#2"],
        "half.xyz": ["half.xyz"],
        "POSCAR": ["POSCAR"],
    }
    assert [frame.read().structure.lattice.a for frame in frames["many.xyz"]] == [4.10, 4.02]
    with pytest.raises(StructureFileError, match=r"half\.xyz, line 5"):
        frames["half.xyz"][0].read()


def test_several_structures_in_a_cif_and_a_list(tmp_path: Path) -> None:
    """Data blocks of a CIF, and structures in a list, are frames of their own."""
    (tmp_path / "two.cif").write_text(
        PLAIN.to(fmt="cif") + PLAIN.to(fmt="cif").replace("data_Li2S", "data_again")
    )
    (tmp_path / "two.json").write_text(f"[{PLAIN.to(fmt='json')}, {PLAIN.to(fmt='json')}]")
    for name in ("two.cif", "two.json"):
        frames = find_frames(tmp_path / name)
        assert [frame.name for frame in frames] == [f"{name}#1", f"{name}#2"]
        assert [frame.read().name for frame in frames] == [f"{name}#1", f"{name}#2"]
        assert len(read_structures((tmp_path / name).read_bytes(), name)) == 2


def test_how_a_parent_was_read_is_a_note(tmp_path: Path) -> None:
    """A file that was not read as it is written says so in the notes of the campaign, for every space with a parent."""
    head = "data_s\n" + "".join(f"_cell_length_{axis} 4.0305\n" for axis in "abc")
    head += "".join(f"_cell_angle_{angle} 60\n" for angle in ("alpha", "beta", "gamma"))
    loop = "loop_\n_atom_site_label\n_atom_site_type_symbol\n" + "".join(
        f"_atom_site_fract_{x}\n" for x in "xyz"
    )
    rows = "S1 S 0 0 0\nLi1 Li 0.25 0.25 0.25\nLi2 Li 0.75 0.75 0.75\n"
    (tmp_path / "bare.cif").write_text(head + loop + rows)
    spaces = [
        {"kind": "substitution", "parent": "bare.cif", "sites": {"S": ["S", "Se"]}},
        {
            "kind": "ordering",
            "parent": "bare.cif",
            "sites": {"Li": {"Li": "rest", "vacancy": 2}},
            "cell": [2, 2, 1],
        },
    ]
    for space in spaces:
        found = load("spaces", space, folder=tmp_path)
        assert [remark.split(": ")[0] for remark in found.remarks] == ["bare.cif"]
        assert "no symmetry is stated" in found.remarks[0]
        assert load("spaces", found.model_dump(mode="json")).remarks == found.remarks
    shifted = rows.replace("0.25 0.25 0.25", "0.253 0.25 0.247")
    (tmp_path / "noisy.cif").write_text(head + loop + shifted)
    noisy = load("spaces", {**spaces[0], "parent": "noisy.cif"}, folder=tmp_path).remarks[-1]
    assert re.search(r"noisy\.cif: the space group is \S+ within 0\.01 Å, and Fm-3m within 0\.1 Å", noisy)
    anions = {"kind": "substitution", "parent": "antiperovskite", "sites": {"X": ["Cl", "Br"]}}
    assert load("spaces", anions).remarks == ()
