"""CIF files are read as the crystal they state, or refused with what contradicts what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from invdesign.structures.reading.cif import read_cif
from invdesign.structures.reading.raw import LIMITS, Limits, StructureFileError
from tests.structures.reading.crystals import count_atoms
from tests.structures.reading.texts import LAYERED, ROCK_SALT, make_cif, read_one

SALT = "Na1 0 0 0\nF1 .5 .5 .5"
FORMULA = "_chemical_formula_sum "


@pytest.mark.parametrize("written", [".", "?", "1", "1.0", "1.000(4)", "0.9991", "1.0009", "'.'"])
def test_occupancy_one(written: str) -> None:
    """An occupancy that is left out, unknown, or one within rounding is one; no atom is lost."""
    crystal = read_one(
        make_cif(ROCK_SALT, f"Na1 0 0 0 1\nF1 .5 .5 .5 {written}", name="F m -3 m", columns=["occupancy"])
    )
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert all(site.occupancies in ({"Na": 1.0}, {"F": 1.0}) for site in crystal.sites)
    assert ("unknown occupancies ('?') were taken as 1: F1" in crystal.remarks) == (written == "?")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("Na1 0 0 0 -0.2\nF1 .5 .5 .5 1", "site Na1: occupancy -0.2 is negative; give a number from 0 to 1"),
        ("Na1 0 0 0 nan\nF1 .5 .5 .5 1", "site Na1: occupancy 'nan' is not a number"),
        ("Na1 0 0 0 1.3\nF1 .5 .5 .5 1", "site Na1 has occupancy 1.3, at most 1 is possible"),
        (
            "Na1 0 0 0 .7\nK1 0 0 0 .5\nF1 .5 .5 .5 1",
            "sites Na1 and K1 share one position with occupancies of 1.2",
        ),
        (
            "Na1 0 0 0 .5\nF1 .5 .5 .5 1\nNa2 0 .5 .5 .8",
            "sites Na1 and Na2 are the same position.*1.3 together",
        ),
    ],
)
def test_occupancies_refused(rows: str, match: str) -> None:
    """Impossible occupancies are refused with the sites and the sum."""
    with pytest.raises(StructureFileError, match=match):
        read_one(make_cif(ROCK_SALT, rows, name="F m -3 m", columns=["occupancy"]))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("Na1 0 0 0 .333\nK1 0 0 0 .667", {"Na": 0.333, "K": 0.667}),
        ("Na1 0 0 0 .33\nK1 0 0 0 .33\nLi1 0 0 0 .33", {"Na": 1 / 3, "K": 1 / 3, "Li": 1 / 3}),
        ("Na1 0 0 0 .5\nNa2 0 0 0 .5", {"Na": 1.0}),
        ("Na1 0 0 0 .5\nK1 0 .5 .5 .3", {"Na": 0.5, "K": 0.3}),
        ("Na1 0 0 0 .99", {"Na": 0.99}),
        ("Na1 0 0 0 1.02(2)", {"Na": 1.0}),
    ],
)
def test_position_shared(rows: str, expected: dict[str, float]) -> None:
    """Species at one position, also an equivalent one, share a site; sums of rounded occupancies are one."""
    crystal = read_one(make_cif(ROCK_SALT, f"{rows}\nF1 .5 .5 .5 1", name="F m -3 m", columns=["occupancy"]))
    shared = [site for site in crystal.sites if "F" not in site.occupancies]
    assert len(shared) == 4
    assert dict(shared[0].occupancies) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("formula", "match"),
    [
        (
            "'Na1 F1 H1'",
            r"hydrogen \(H\) has no positions: _chemical_formula_sum is 'Na1 F1 H1', the sites give 'F Na'",
        ),
        ("'Na2 F'", "_chemical_formula_sum is 'Na2 F', the sites give 'F Na'; correct the sites"),
        ("'Na F0.9'", "the sites give 'F Na'"),
        ("'Na1 D2 F1'", "hydrogen"),
        ("Na", "the sites give 'F Na'"),
    ],
)
def test_formula_contradicts(formula: str, match: str) -> None:
    """A formula sum that the sites do not give is refused, with both formulas."""
    with pytest.raises(StructureFileError, match=match):
        read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=FORMULA + formula))


@pytest.mark.parametrize(
    "formula", ["'F Na'", "'Na4 F4'", "'(Na F)2'", "NaF", "'Na1.0 F1.0'", "'Na F, Na F'", "'?'", "?"]
)
def test_formula_agrees(formula: str) -> None:
    """The same ratio in any spelling is the same formula."""
    crystal = read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=FORMULA + formula))
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert crystal.remarks == ()


def test_formula_rounded() -> None:
    """Amounts of a disordered crystal agree within the digits that the formula has."""
    rows = "Na1 0 0 0 0.6667\nK1 0 0 0 0.3333\nF1 .5 .5 .5 1"
    crystal = read_one(
        make_cif(ROCK_SALT, rows, name="F m -3 m", columns=["occupancy"], head=FORMULA + "'F K0.33 Na0.67'")
    )
    assert crystal.remarks == ()


def test_formula_unreadable() -> None:
    """A formula with variables is not compared, and the crystal says so."""
    crystal = read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=FORMULA + "'Na1-x F'"))
    assert crystal.remarks == ("the formula sum 'Na1-x F' is not understood and was not compared",)


def test_moiety_compared() -> None:
    """Where there is no sum, another formula tells of missing hydrogen."""
    head = "_chemical_formula_moiety 'Na 1+, H2 F 1-'"
    with pytest.raises(StructureFileError, match=r"hydrogen.*_chemical_formula_moiety is 'Na 1\+, H2 F 1-'"):
        read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=head))


def test_hydrogens_attached() -> None:
    """Hydrogen that a site carries without a position is refused."""
    with pytest.raises(StructureFileError, match=r"site F1: 2 attached hydrogen atoms have no positions"):
        read_one(
            make_cif(ROCK_SALT, "Na1 0 0 0 0\nF1 .5 .5 .5 2", name="F m -3 m", columns=["attached_hydrogens"])
        )


def test_wrong_units_remarked() -> None:
    """A wrong Z alone is a remark, since the ratio agrees."""
    head = "_chemical_formula_sum 'Na F'\n_cell_formula_units_Z 3"
    crystal = read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=head))
    assert crystal.remarks == ("the file states Z = 3, the cell holds 4 formula units",)


def test_density_contradicts() -> None:
    """Without a formula, a density far from that of the cell is a contradiction."""
    with pytest.raises(StructureFileError, match=r"states a density of 1.03 g/cm³, the cell has 2.05"):
        read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head="_exptl_crystal_density_diffrn 1.03"))


@pytest.mark.parametrize(
    ("symbol", "element"),
    [
        ("Li1+", "Li"),
        ("Li+1", "Li"),
        ("Li0+", "Li"),
        ("LI", "Li"),
        ("li", "Li"),
        ("7Li", "Li"),
        ("Li3", "Li"),
        ("D", "H"),
    ],
)
def test_type_symbols(symbol: str, element: str) -> None:
    """Charges, isotopes and case do not matter; deuterium is hydrogen."""
    crystal = read_one(
        make_cif(ROCK_SALT, f"X1 0 0 0 {symbol}\nF1 .5 .5 .5 F1-", name="F m -3 m", columns=["type_symbol"])
    )
    assert count_atoms(crystal) == {element: 4, "F": 4}
    assert crystal.remarks == ()


@pytest.mark.parametrize("symbol", ["Wat", "OH", "M", "Cp", "X", "T", "Va", "CN", "NO", "12", "Li/Na"])
def test_unknown_symbols(symbol: str) -> None:
    """Symbols that are no element are refused with the site."""
    with pytest.raises(
        StructureFileError, match=f"site S1: the type symbol '{symbol}' is no element; name its element"
    ):
        read_one(
            make_cif(ROCK_SALT, f"S1 0 0 0 {symbol}\nF1 .5 .5 .5 F", name="F m -3 m", columns=["type_symbol"])
        )


@pytest.mark.parametrize(
    ("label", "formula", "element"),
    [
        ("Ca1", "", "Ca"),
        ("Ca(1)", "", "Ca"),
        ("Ni1A", "", "Ni"),
        ("O1W", "", "O"),
        ("OW1", "", "O"),
        ("K1", "", "K"),
        ("CO1", "'Co F'", "Co"),
        ("CO1", "'C F'", "C"),
        ("HO1", "'H F'", "H"),
        ("CA", "'Ca F'", "Ca"),
        ("Cu2", "", "Cu"),
        ("MG1", "", "Mg"),
    ],
)
def test_labels_alone(label: str, formula: str, element: str) -> None:
    """Without type symbols, labels name the element, by the formula where two can be meant."""
    head = FORMULA + formula if formula else ""
    crystal = read_one(make_cif(ROCK_SALT, f"{label} 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head=head))
    assert set(count_atoms(crystal)) == {element, "F"}


@pytest.mark.parametrize("label", ["CO1", "CA1", "NI", "HO1", "Wat1", "Cp1", "M1", "1"])
def test_labels_unclear(label: str) -> None:
    """A label that can mean two elements, or none, is refused and asks for the element."""
    with pytest.raises(StructureFileError, match=rf"site {label}: the label .*_atom_site_type_symbol"):
        read_one(make_cif(ROCK_SALT, f"{label} 0 0 0\nF1 .5 .5 .5", name="F m -3 m"))


def test_label_and_type_differ() -> None:
    """A type symbol outweighs the label, with a remark where no formula settles it."""
    rows = "K1 0 0 0 Na\nF1 .5 .5 .5 F"
    crystal = read_one(make_cif(ROCK_SALT, rows, name="F m -3 m", columns=["type_symbol"]))
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert "type symbols were used: K1 (Na)" in crystal.remarks[0]
    head = FORMULA + "'K F'"
    with pytest.raises(StructureFileError, match="K has no positions"):
        read_one(make_cif(ROCK_SALT, rows, name="F m -3 m", columns=["type_symbol"], head=head))


@pytest.mark.parametrize("label", ["OH1", "OW", "Ow2", "O1W", "O(3)H"])
def test_labels_tell_of_hydrogen(label: str) -> None:
    """Oxygen of water or hydroxyl without any hydrogen is remarked where no formula tells."""
    crystal = read_one(make_cif(ROCK_SALT, f"Mg1 0 0 0\n{label} .5 .5 .5", name="F m -3 m"))
    assert count_atoms(crystal) == {"Mg": 4, "O": 4}
    assert crystal.remarks == (f"labels tell of hydrogen, which has no sites: {label}",)


def test_cell_with_units() -> None:
    """Units after the numbers of the cell are understood."""
    text = (
        make_cif(ROCK_SALT, SALT, name="F m -3 m")
        .replace("a 5.14", "a 5.14 Å")
        .replace("gamma 90", "gamma '90 deg'")
    )
    assert count_atoms(read_one(text)) == {"Na": 4, "F": 4}


def test_angles_left_out() -> None:
    """A cell without any angle has right ones, the default of CIF, with a remark."""
    text = make_cif(ROCK_SALT, SALT, name="F m -3 m")
    crystal = read_one("\n".join(line for line in text.splitlines() if "angle" not in line))
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert "taken as 90°" in crystal.remarks[0]


def test_labels_in_capitals() -> None:
    """Where other labels can only be symbols in capitals, so are all of them, with a remark."""
    crystal = read_one(make_cif(LAYERED, "LI1 0 0 .5\nCO1 0 0 0\nO1 0 0 .26", name="R -3 m"))
    assert count_atoms(crystal) == {"Li": 3, "Co": 3, "O": 6}
    assert crystal.remarks == ("labels in capitals were read as symbols of two letters: CO1",)


@pytest.mark.parametrize("value", ["?", ".", "abc", "1e400", "nan", "0,5", "9999"])
def test_coordinates_refused(value: str) -> None:
    """A position that is unknown or no number is refused with the site."""
    with pytest.raises(StructureFileError, match=r"made\.cif: site Na1: coordinate "):
        read_one(make_cif(ROCK_SALT, f"Na1 0 0 {value}\nF1 .5 .5 .5", name="F m -3 m"))


def test_dummies_left_out() -> None:
    """Sites flagged as dummies are no atoms."""
    rows = "Na1 0 0 0 d\nF1 .5 .5 .5 d\nCnt1 .25 .25 .25 dum"
    crystal = read_one(make_cif(ROCK_SALT, rows, name="F m -3 m", columns=["calc_flag"]))
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert crystal.remarks == ("dummy sites were left out: Cnt1",)


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ("Na1 0 0 0 . .\nF1 .5 .5 .5 A 1\nF1B .5 .5 .42 A 2", True),
        ("Na1 0 0 0 . .\nF1 .5 .5 .5 . 1\nF1B .5 .5 .42 . 2", True),
        ("Na1 0 0 0 A 1\nF1 .5 .5 .5 A 1", False),
        ("Na1 0 0 0 A 1\nF1 .5 .5 .5 B 2", False),
    ],
)
def test_alternatives_without_occupancies(rows: str, refused: bool) -> None:
    """Groups of a disorder that exclude each other cannot all be fully occupied."""
    text = make_cif(ROCK_SALT, rows, name="P 1", columns=["disorder_assembly", "disorder_group"])
    if refused:
        with pytest.raises(StructureFileError, match=r"sites F1, F1B are alternatives of a disorder"):
            read_one(text)
        text = text.replace("_disorder_group\n", "_disorder_group\n_atom_site_occupancy\n")
        read_one(text.replace(". .\n", ". . 1\n").replace(" 1\nF1B", " 1 .6\nF1B").replace(" 2\n", " 2 .4\n"))
    else:
        assert count_atoms(read_one(text)) == {"Na": 1, "F": 1}


def test_cartesian_coordinates() -> None:
    """Cartesian coordinates, also in the spelling of mmCIF, are the same crystal."""
    text = make_cif(LAYERED, "Li1 0 0 7.025\nCo1 0 0 0\nO1 0 0 3.653", name="R -3 m")
    text = text.replace("_atom_site_fract_", "_atom_site.Cartn_").replace("_cell_length_", "_cell.length_")
    crystal = read_one(text)
    assert count_atoms(crystal) == {"Li": 3, "Co": 3, "O": 6}
    assert crystal.sites[0].position == pytest.approx((0, 0, 0.5))
    assert any("Cartesian" in remark for remark in crystal.remarks)


def _write_transform(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> str:
    """Lines of a matrix and a vector from fractional to Cartesian coordinates."""
    entries = [
        f"_atom_sites_Cartn_tran_matrix_{r}{c} {value!r}"
        for r, row in enumerate(matrix, 1)
        for c, value in enumerate(row, 1)
    ]
    shifts = [f"_atom_sites_Cartn_tran_vector_{r} {value!r}" for r, value in enumerate(vector, 1)]
    return "\n".join([*entries, *shifts])


@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (0.7, -1.3, 2.1)])
def test_cartesian_coordinates_by_the_files_matrix(vector: Sequence[float]) -> None:
    """Cartesian = matrix x fractional + vector, as the core dictionary defines them."""
    cell = (3.1, 4.2, 5.3, 90, 90, 100)
    a, b, gamma = 3.1, 4.2, np.radians(100)
    edges = np.array([[a, b * np.cos(gamma), 0], [0, b * np.sin(gamma), 0], [0, 0, 5.3]])
    turn, tilt = np.radians(25), np.radians(40)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ (
        np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    )
    matrix = rotation @ edges
    places = {"Na1": (0.1, 0.2, 0.3), "F1": (0.62, 0.71, 0.84)}
    rows = "\n".join(
        " ".join([label, *(f"{x:.9f}" for x in matrix @ place + vector)]) for label, place in places.items()
    )
    head = _write_transform(matrix.tolist(), vector)
    text = make_cif(cell, rows, name="P 1", head=head).replace("_atom_site_fract_", "_atom_site_Cartn_")
    crystal = read_one(text)
    assert not any("Cartesian" in remark for remark in crystal.remarks)
    for site, place in zip(crystal.sites, places.values(), strict=True):
        assert site.position == pytest.approx(place, abs=1e-7)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0, 0.0, 0.0]] * 3,
        [[5.14, 0.0, 0.0], [0.0, 5.14, 0.0], [5.14, 5.14, 0.0]],
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
        [[1e-320, 0.0, 0.0], [0.0, 1e-320, 0.0], [0.0, 0.0, 1e-320]],
    ],
)
def test_singular_matrices_refused(matrix: Sequence[Sequence[float]]) -> None:
    """A matrix that has no inverse gives no fractional coordinates."""
    text = make_cif(ROCK_SALT, SALT, name="P 1", head=_write_transform(matrix, (0.0, 0.0, 0.0)))
    with pytest.raises(
        StructureFileError, match=r"made\.cif: _atom_sites_cartn_tran_matrix_\.\.\.: singular"
    ):
        read_one(text.replace("_atom_site_fract_", "_atom_site_Cartn_"))


def test_magnetic_cif() -> None:
    """A magnetic CIF gives its positions, by operations and centrings, with a remark on the moments."""
    head = (
        "loop_\n_space_group_symop_magn_operation.id\n_space_group_symop_magn_operation.xyz\n"
        "1 x,y,z,+1\n2 -x,-y,-z,+1\n"
        "loop_\n_space_group_symop_magn_centering.id\n_space_group_symop_magn_centering.xyz\n"
        "1 x,y,z,+1\n2 x+1/2,y+1/2,z,-1\n"
        "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nMn1 3.1"
    )
    crystal = read_one(make_cif(ROCK_SALT, "Mn1 0 0 0\nO1 .5 0 .25", head=head))
    assert count_atoms(crystal) == {"Mn": 2, "O": 4}
    assert crystal.remarks == ("magnetic moments were left out; the positions were read",)


@pytest.mark.parametrize("line", ["_cell_modulation_dimension 1", "_space_group_ssg_name 'P n m a(0b0)'"])
def test_modulation_refused(line: str) -> None:
    """A modulated structure is no crystal of one cell."""
    with pytest.raises(StructureFileError, match=r"modulated structure.*commensurate approximant"):
        read_one(make_cif(ROCK_SALT, SALT, name="F m -3 m", head=line))


def test_several_crystals() -> None:
    """Each block that lists sites is a crystal of its own, named by its block; headers are none."""
    header = "data_global\n_journal_year 2020\n"
    first = make_cif(ROCK_SALT, SALT, name="F m -3 m")
    second = make_cif(ROCK_SALT, "K1 0 0 0\nF1 .5 .5 .5", name="F m -3 m").replace("data_made", "data_other")
    crystals = read_cif(header + first + second, "two.cif")
    assert [crystal.name for crystal in crystals] == ["two.cif, data_made", "two.cif, data_other"]
    assert [count_atoms(crystal) for crystal in crystals] == [{"Na": 4, "F": 4}, {"K": 4, "F": 4}]


def test_header_holds_formula() -> None:
    """What a header says of the only crystal is compared with it."""
    with pytest.raises(StructureFileError, match="hydrogen"):
        read_one("data_global\n_chemical_formula_sum 'Na F H'\n" + make_cif(ROCK_SALT, SALT, name="F m -3 m"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "neither a cell nor atoms"),
        ("data_a\n_cell_length_a 4\n", "a cell but no atoms"),
        (
            make_cif(ROCK_SALT, SALT).replace("_cell_length_b 5.14\n", ""),
            "has no _cell_length_b; give the cell's three",
        ),
        (make_cif((0.1, 5, 5, 90, 90, 90), SALT), "_cell_length_a is 0.1 Å, allowed are 0.5 to 1000 Å"),
        (make_cif((5, 5, 5, 90, 90, 179), SALT), "_cell_angle_gamma is 179 °, allowed are 5 to 175 °"),
        (make_cif((5, 5, 5, 60, 60, 130), SALT), "no cell has the angles 60, 60, 130"),
        (make_cif(ROCK_SALT, SALT).replace("a 5.14", "a 1e999"), "'1e999' is not a finite number"),
        (
            make_cif(ROCK_SALT, SALT).replace("_atom_site_fract_z", "_atom_site_u"),
            "has no column _atom_site_fract_z",
        ),
    ],
)
def test_incomplete_files(text: str, match: str) -> None:
    """Without atoms or a possible cell there is no crystal, and the message says what is wanting."""
    with pytest.raises(StructureFileError, match=match):
        read_cif(text, "made.cif")


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (Limits(bytes=100), "files of up to 100 are read"),
        (Limits(atoms=7), "has 8 atoms in its cell; up to 7 are read"),
        (Limits(atoms=1), "lists 2 sites; files of up to 1 sites are read"),
        (Limits(operations=1), "2 symmetry operations are listed, at most 1 are read"),
    ],
)
def test_limits_kept(limits: Limits, match: str) -> None:
    """What is larger than allowed is refused before it is computed."""
    head = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z" if limits.operations == 1 else ""
    with pytest.raises(StructureFileError, match=match):
        read_cif(make_cif(ROCK_SALT, SALT, name="" if head else "F m -3 m", head=head), "made.cif", limits)


def _many(rows: Sequence[str]) -> str:
    return make_cif((60, 60, 60, 90, 90, 90), "\n".join(rows), name="F m -3 m")


def test_many_atoms_refused() -> None:
    """Atoms after symmetry are bounded too, and so are sites at one place."""
    general = [f"Na{k} .{k + 1000} .2{k + 1000} .3{k + 1000}" for k in range(600)]
    with pytest.raises(StructureFileError, match=f"more than {LIMITS.atoms} atoms after symmetry"):
        read_cif(_many(general), "made.cif")
    with pytest.raises(StructureFileError, match="3000 sites have the position of Na0; list each site once"):
        read_cif(_many([f"Na{k} 0 0 0" for k in range(3000)]), "made.cif")
