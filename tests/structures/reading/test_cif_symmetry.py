"""Operations and names of space groups: taken as they are, checked, or refused with the candidates."""

from __future__ import annotations

import pytest

from invdesign.structures.reading.cif import read_cif
from invdesign.structures.reading.cif_settings import find_settings
from invdesign.structures.reading.cif_symmetry import SymmetryError, parse_operation
from invdesign.structures.reading.raw import StructureFileError
from tests.structures.reading.crystals import count_atoms
from tests.structures.reading.texts import LAYERED, ROCK_SALT, make_cif, read_one

OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n"
NICKELATE = "Li1 .5 .5 .5\nNi1 0 0 0\nO1 .26 .26 .26"
RHOMBOHEDRAL = (5.0, 5.0, 5.0, 33.2, 33.2, 33.2)
ANATASE = (3.784, 3.784, 9.515, 90, 90, 90)
SILICON = (5.43, 5.43, 5.43, 90, 90, 90)


def _names(name: str) -> list[str]:
    return [setting.name for setting in find_settings(name, None, None, None)[0]]


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        (["R -3 c", "R-3c", "r -3 C", "R -3 2/c"], ["R -3 c, hexagonal axes", "R -3 c, rhombohedral axes"]),
        (["R -3 c H", "R -3 c :H", "R-3cH", "R -3 c (hexagonal axes)"], ["R -3 c, hexagonal axes"]),
        (["R -3 c R", "R -3 c :R", "R-3cR", "R -3 c RS", "R -3 c S"], ["R -3 c, rhombohedral axes"]),
        (
            ["F d -3 c", "Fd-3c", "Fd3c", "F d 3 c"],
            ["F d -3 c, origin choice 1", "F d -3 c, origin choice 2"],
        ),
        (
            ["F d -3 c S", "F d -3 c :1", "Fd-3c:1", "F d -3 c (origin choice 1)"],
            ["F d -3 c, origin choice 1"],
        ),
        (["F d -3 c Z", "F d -3 c :2", "Fd-3cZ", "F d -3 c 2", "Fd3c:2"], ["F d -3 c, origin choice 2"]),
        (
            ["P 42/n c m Z", "P 4(2)/n c m :2", "P4_2/ncmZ", "P 42/n 21/c 2/m :2"],
            ["P 42/n c m, origin choice 2"],
        ),
        (["P 1 21/n 1", "P21/n", "P2_1/n", "P 2(1)/n"], ["P 1 21/n 1"]),
        (["P b c n", "Pbcn", "P 21/b 2/c 21/n", "Pbcn (No. 60)", "Pbcn (60)"], ["P b c n"]),
        (["P c m n", "Pcmn"], ["P c m n"]),
        (["C c c e :1", "C c c a :1"], ["C c c a, origin choice 1"]),
        (["P 63/m c m", "P6_3/mcm", "P 63/m 2/c 2/m"], ["P 63/m c m"]),
        (["I a -3", "Ia3", "I 21/a -3", "I2_1/a-3", "Ia3\u0305", "I a \\bar{3}"], ["I a -3"]),
        (["A e m m", "A 2/e 2/m 2/m"], ["A b m m", "A c m m"]),
        (["C m m e", "C2/m2/m2/e"], ["C m m a"]),
    ],
)
def test_names(names: list[str], settings: list[str]) -> None:
    """Names of ICSD, COD and programs mean the same settings."""
    for name in names:
        assert _names(name) == settings, name


@pytest.mark.parametrize(
    "name", ["F q -3 m", "P n m a S", "R -3 m :3", "LiCoO2", "P n m a :xyz", "(", "P" * 200]
)
def test_unknown_names(name: str) -> None:
    """A name or suffix that means nothing is refused, with what helps."""
    with pytest.raises(StructureFileError, match=r"is not known.*list the operations"):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0", name=name))


@pytest.mark.parametrize("name", ["R -3 m", "R -3 m R", "R-3m:R", "R -3 m RS", "?"])
def test_rhombohedral_cell(name: str) -> None:
    """The cell shows that coordinates have rhombohedral axes, whatever the name leaves open."""
    head = "_space_group_IT_number 166"
    assert count_atoms(read_one(make_cif(RHOMBOHEDRAL, NICKELATE, name=name, head=head))) == {
        "Li": 1,
        "Ni": 1,
        "O": 2,
    }


def test_hexagonal_cell() -> None:
    """The same name with a hexagonal cell means hexagonal axes."""
    assert count_atoms(read_one(make_cif(LAYERED, "Li1 0 0 .5\nNi1 0 0 0\nO1 0 0 .26", name="R -3 m"))) == {
        "Li": 3,
        "Ni": 3,
        "O": 6,
    }


@pytest.mark.parametrize(
    ("cell", "name", "match"),
    [
        (
            (5, 5, 5.4, 90, 90, 90),
            "F m -3 m",
            r"the space group \(F m -3 m\) does not fit the cell.*5, 5, 5.4 Å",
        ),
        (RHOMBOHEDRAL, "R -3 m :H", r"R -3 m, hexagonal axes\) does not fit"),
        ((5, 6, 7, 90, 90, 95), "P 1 21/c 1", "does not fit"),
        ((5, 5, 5, 90, 90, 120), "F d -3 m", "origin choice 1; F d -3 m, origin choice 2"),
    ],
)
def test_cell_contradicts(cell: tuple[float, ...], name: str, match: str) -> None:
    """A cell without the symmetry of the named group is refused."""
    with pytest.raises(StructureFileError, match=match):
        read_one(make_cif(cell, "Na1 .1 .1 .1", name=name))


def test_unique_axis() -> None:
    """A short monoclinic name means the axis that the cell shows."""
    for cell, y in (((5, 6, 7, 90, 95, 90), ".5"), ((5, 6, 7, 95, 90, 90), "0")):
        crystal = read_one(make_cif(cell, f"Na1 0 {y} 0\nF1 .25 .25 .25", name="P 2/m"))
        assert count_atoms(crystal) == {"Na": 1, "F": 4}


@pytest.mark.parametrize(("shift", "choice"), [(("0", "0"), 1), ((".25", ".375"), 2)])
def test_origin_by_distances(shift: tuple[str, str], choice: int) -> None:
    """Where the name leaves the origin open, the only one with possible distances is used, with a remark."""
    y, z = shift
    oxygen = float(z) + 0.2081
    crystal = read_one(make_cif(ANATASE, f"Ti1 0 {y} {z}\nO1 0 {y} {oxygen:.4f}", name="I 41/a m d"))
    assert count_atoms(crystal) == {"Ti": 4, "O": 8}
    assert crystal.remarks == (
        f"of 2 settings only I 41/a m d, origin choice {choice} fits the file, and was used",
    )


@pytest.mark.parametrize(
    ("head", "columns", "extra"),
    [
        ("_exptl_crystal_density_diffrn 2.33", (), ""),
        ("_chemical_formula_sum Si\n_cell_formula_units_Z 8", (), ""),
        ("", ("symmetry_multiplicity",), " 8"),
        ("", ("Wyckoff_symbol",), " 8a"),
    ],
)
def test_origin_by_statements(head: str, columns: tuple[str, ...], extra: str) -> None:
    """Density, Z and multiplicities tell origins apart."""
    for position, choice in (("0 0 0", 1), (".125 .125 .125", 2)):
        crystal = read_one(
            make_cif(SILICON, f"Si1 {position}{extra}", name="F d -3 m", head=head, columns=columns)
        )
        assert count_atoms(crystal) == {"Si": 8}
        assert f"origin choice {choice}" in crystal.remarks[0]


def test_origin_open() -> None:
    """Where nothing tells the origins apart, both crystals are named and neither is taken."""
    with pytest.raises(
        StructureFileError, match=r"origin choice 1: Si, 8 sites; .*origin choice 2: Si, 16 sites.*name the"
    ):
        read_one(make_cif(SILICON, "Si1 0 0 0", name="F d -3 m"))


def test_no_origin_fits() -> None:
    """Where both origins are contradicted, the message says by what."""
    head = "_chemical_formula_sum 'Ti O3'"
    with pytest.raises(
        StructureFileError, match=r"no setting of the space group fits .*_chemical_formula_sum is 'Ti O3'"
    ):
        read_one(make_cif(ANATASE, "Ti1 0 0 0\nO1 0 0 .2081", name="I 41/a m d", head=head))


@pytest.mark.parametrize(
    "head",
    [
        "_symmetry_Int_Tables_number 225",
        "_space_group_IT_number 225\n_space_group_name_H-M_alt 'F m -3 m'",
        "_space_group_name_Hall '-F 4 2 3'",
        "_space_group.name_H-M_alt 'Fm-3m'",
        "_symmetry_space_group_name_H-M F_m_-3_m",
    ],
)
def test_group_without_operations(head: str) -> None:
    """A number, a Hall symbol or a name is enough where it means one setting."""
    assert count_atoms(read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", head=head))) == {
        "Na": 4,
        "F": 4,
    }


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ("_symmetry_Int_Tables_number 221", "'F m -3 m' is number 225 .* says 221; correct one of them"),
        ("_space_group_name_Hall '-P 4 2 3'", "Hall symbol '-P 4 2 3' is not of the space group F m -3 m"),
    ],
)
def test_group_contradicts(head: str, match: str) -> None:
    """A name, number and Hall symbol must mean the same group."""
    with pytest.raises(StructureFileError, match=match):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head=head))


def test_unknown_hall_symbol() -> None:
    """A Hall symbol that means nothing is left out beside a name, with a remark, and refused alone."""
    head = "_space_group_name_Hall '-Q 4'"
    crystal = read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head=head))
    assert crystal.remarks == ("the Hall symbol '-Q 4' is not known and was left out",)
    with pytest.raises(StructureFileError, match="Hall symbol '-Q 4' is not known, or list the operations"):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", head=head))


def test_hall_symbol_of_other_axes() -> None:
    """A Hall symbol says which axes the number leaves open."""
    cell, row = (5, 6, 7, 90, 90, 90), "Na1 .1 .25 .2"
    counts = {}
    for hall in ("-P 2ac 2n", "-P 2bc 2a"):
        head = f"_space_group_IT_number 62\n_space_group_name_Hall '{hall}'"
        if hall == "-P 2bc 2a":
            head = f"_space_group_name_Hall '{hall}'"
        counts[hall] = len(read_one(make_cif(cell, row, head=head)).sites)
    assert counts == {"-P 2ac 2n": 4, "-P 2bc 2a": 8}


@pytest.mark.parametrize(
    "lines",
    [
        "_symmetry_equiv_pos_as_xyz 'x,y,z'",
        OPERATIONS + "x,y,z",
        OPERATIONS + "X,Y,Z\n-X,-Y,-Z",
        OPERATIONS + "'x, y, z'\n' -x , -y , -z '",
        OPERATIONS + "x, y, z\n-x, -y, -z",
        "loop_\n_space_group_symop_id\n_space_group_symop_operation_xyz\n1 x,y,z\n2 -x,-y,1/1-z",
    ],
)
def test_operation_spellings(lines: str) -> None:
    """Operations are read with or without quotes and blanks, in a loop or alone."""
    assert count_atoms(read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", head=lines))) == {
        "Na": 1,
        "F": 1,
    }


@pytest.mark.parametrize("third", ["1/3", "0.3333", ".33", "0.33333333"])
def test_translations_in_decimals(third: str) -> None:
    """A translation in decimals is the simple fraction it stands for."""
    two = {"1/3": "2/3", "0.3333": "0.6667", ".33": ".67", "0.33333333": "0.66666667"}[third]
    lines = OPERATIONS + f"x,y,z\n-y,x-y,z+{third}\n-x+y,-x,z+{two}"
    crystal = read_one(make_cif(LAYERED, "Na1 0 0 .1", head=lines))
    assert [site.position[2] for site in crystal.sites] == pytest.approx([0.1, 0.1 + 1 / 3, 0.1 + 2 / 3])


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (
            "x,y,z\ny,z,x",
            r"2 symmetry operations are no complete group: the product of y,z,x and y,z,x is not among",
        ),
        ("x,y,z\nx,y", "'x,y' is not of the form x,y,z"),
        ("x,y,z\nx,x,z", "'x,x,z' does not map the lattice onto itself"),
        ("x,y,z\n2x,y,z", "'2x,y,z' scales x by 2"),
        ("x,y,z\nx+1/0,y,z", "has the number '1/0'"),
        ("x,y,z\nx+0.4321,y,z", "no translation by a simple fraction"),
    ],
)
def test_operations_refused(lines: str, match: str) -> None:
    """Operations that are none, or no group, are refused and named."""
    with pytest.raises(StructureFileError, match=match):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0", head=OPERATIONS + lines))


def test_operations_and_cell() -> None:
    """Operations that do not keep the cell are refused."""
    with pytest.raises(StructureFileError, match=r"the listed operations \(3\) and the cell .* do not fit"):
        read_one(make_cif((5, 5, 6, 90, 90, 90), "Na1 0 0 0", head=OPERATIONS + "x,y,z\ny,z,x\nz,x,y"))


def test_operations_overrule_name() -> None:
    """Listed operations hold where the name leaves the setting open or names another one of the group."""
    lines = OPERATIONS + "x,y,z\nz,x,y\ny,z,x\n-y,-x,-z\n-x,-z,-y\n-z,-y,-x"
    crystal = read_one(
        make_cif((4.08, 4.08, 4.08, 89.5, 89.5, 89.5), "S1 .25 .25 .25", name="R 3 2 :H", head=lines)
    )
    assert len(crystal.sites) == 2


def test_operations_incomplete() -> None:
    """A list of x,y,z beside the name of a cubic group is no reason to lose atoms."""
    lines = OPERATIONS + "x,y,z"
    with pytest.raises(StructureFileError, match=r"several ways .*2 sites; F m -3 m: F Na, 8 sites"):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head=lines))
    stated = lines + "\n_chemical_formula_sum 'Na F'\n_cell_formula_units_Z 4"
    with pytest.raises(StructureFileError, match=r"listed operations contradict the file .*Z = 4"):
        read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head=stated))


def test_operations_of_full_cell() -> None:
    """All atoms of the cell with x,y,z are that crystal, whatever symmetry the name states."""
    face = ("0 0 0", "0 .5 .5", ".5 0 .5", ".5 .5 0")
    rows = [f"Na{k} {p}" for k, p in enumerate(face)] + ["F1 .5 .5 .5", "F2 .5 0 0", "F3 0 .5 0", "F4 0 0 .5"]
    for moved in ("0 0 0", ".02 0 0"):
        text = "\n".join([f"Na0 {moved}", *rows[1:]])
        crystal = read_one(make_cif(ROCK_SALT, text, name="F m -3 m", head=OPERATIONS + "x,y,z"))
        assert len(crystal.sites) == 8
        assert crystal.remarks == ()


def test_listed_twice() -> None:
    """Equivalent sites that are listed beside symmetry are refused with both labels."""
    with pytest.raises(
        StructureFileError, match="sites Na1 and Na2 are the same position, by symmetry or as written"
    ):
        read_cif(make_cif(ROCK_SALT, "Na1 0 0 0\nNa2 .5 .5 0\nF1 .5 .5 .5", name="F m -3 m"), "made.cif")


def test_no_symmetry() -> None:
    """Without any symmetry the sites are all of the cell, and the crystal says so."""
    crystal = read_one(make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5"))
    assert len(crystal.sites) == 2
    assert crystal.remarks == ("no symmetry is stated; the sites were taken as all of the cell (P 1)",)


@pytest.mark.parametrize(
    "text", ["x,y,z" * 100, "x,y,", ",,", "x;y;z", "x,y,z,w,v", "x y,z,x", "é,y,z", "x,y,z+1e5"]
)
def test_operations_hostile(text: str) -> None:
    """Whatever is no operation is an error of symmetry."""
    with pytest.raises(SymmetryError):
        parse_operation(text)
