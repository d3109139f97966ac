"""Numbers are checked before any library computes with them, and sizes before anything is made of them."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from invdesign.settings import InputFile
from invdesign.structures.parents import DEFAULT_PARENT_ATOMS, MAX_PRIMITIVE_SEARCH_ATOMS, build_parent
from invdesign.structures.prototypes import find_prototype, list_prototype_names
from invdesign.structures.reading.gate import check_crystal
from invdesign.structures.reading.overlaps import find_overlaps, smallest_distance
from invdesign.structures.reading.raw import LIMIT_VARIABLES, LIMITS, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.read import make_crystal, read_structure, read_structures
from tests.structures.reading.samples import SULFIDE, refusal

CUBE = ((4.0, 0.0, 0.0), (0.0, 4.0, 0.0), (0.0, 0.0, 4.0))
IRON = RawCrystal(
    "iron", CUBE, (RawSite({"Fe": 1.0}, (0.0, 0.0, 0.0)), RawSite({"Fe": 1.0}, (0.5, 0.5, 0.5), "Fe2"))
)
CIF = "data_x\n" + "".join(f"_cell_length_{axis} 4.1\n" for axis in "abc")
CIF += "".join(f"_cell_angle_{name} 90\n" for name in ("alpha", "beta", "gamma"))
CIF += "loop_\n_atom_site_label\n_atom_site_type_symbol\n" + "".join(
    f"_atom_site_fract_{axis}\n" for axis in "xyz"
)
CIF += "Cs1 Cs 0 0 0\nCl1 Cl 0.5 0.5 0.5\n"


def poscar(atoms: int, edge: float, element: str = "Na") -> str:
    """Atoms on a cubic grid."""
    size = int(np.ceil(atoms ** (1 / 3)))
    points = [(i, j, k) for i in range(size) for j in range(size) for k in range(size)][:atoms]
    rows = "".join(f"{i / size:.6f} {j / size:.6f} {k / size:.6f}\n" for i, j, k in points)
    return f"grid\n{edge}\n1 0 0\n0 1 0\n0 0 1\n{element}\n{atoms}\nDirect\n{rows}"


def refused(crystal: RawCrystal) -> str:
    """The message with which a crystal is refused."""
    with pytest.raises(StructureFileError) as caught:
        check_crystal(crystal, LIMITS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (((np.nan, 0, 0), CUBE[1], CUBE[2]), "numbers that are not finite"),
        (((1e300, 0, 0), CUBE[1], CUBE[2]), "absurdly large"),
        (((4000, 0, 0), CUBE[1], CUBE[2]), "edge a is 4000 Å long.*INVDESIGN_MAX_CELL_LENGTH"),
        (((0.1, 0, 0), CUBE[1], CUBE[2]), "edge a is 0.1 Å long"),
        (((4, 0, 0), (4, 0.1, 0), CUBE[2]), "angle gamma is 1.43"),
        (((4, 0, 0), (0, 4, 0), (4, 4, 0.05)), "flat, two of its faces"),
        (((4, 0, 0), (0, 4, 0), (4, 4, 0)), "flat, two of its faces"),
        (((40, 0, 0), (0, 40, 0), (0, 0, 40)), "3.2e.04 Å³ per atom.*INVDESIGN_MAX_VOLUME_PER_ATOM"),
        (((1, 0, 0), (0, 1, 0), (0, 0, 1)), "0.5 Å³ per atom.*INVDESIGN_MIN_VOLUME_PER_ATOM"),
    ],
)
def test_cells_that_no_crystal_has(rows: tuple[tuple[float, float, float], ...], message: str) -> None:
    """The value, the limit and the variable that sets it are named."""
    a, b, c = rows
    with pytest.raises(StructureFileError, match=f"iron: .*{message}"):
        check_crystal(replace(IRON, lattice=(a, b, c)), LIMITS)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (RawSite({"Fe": 1.0}, (0.5, np.inf, 0.5)), "atom 1 has coordinates that are not finite"),
        (
            RawSite({"Fe": 1.0}, (0.5, 1e6, 0.5)),
            r"atom 1 lies at \(0.5, 1e\+06, 0.5\).*INVDESIGN_MAX_COORDINATE",
        ),
        (
            RawSite({"Fe": 0.8, "Co": 0.7}, (0.5, 0.5, 0.5), "M1"),
            "site M1 is occupied more than once: Fe 0.8 . Co 0.7",
        ),
        (RawSite({"Fe": -0.5}, (0.5, 0.5, 0.5)), "site 1 has the occupancy -0.5"),
        (RawSite({"Fe": np.nan}, (0.5, 0.5, 0.5)), "site 1 has the occupancy nan"),
        (RawSite({"Qq": 1.0}, (0.5, 0.5, 0.5)), "holds 'Qq', which is no element"),
        (RawSite({}, (0.5, 0.5, 0.5)), "all its sites are empty"),
    ],
)
def test_sites_that_no_crystal_has(site: RawSite, message: str) -> None:
    """Positions far outside, occupancies beyond 1, things that are no element."""
    with pytest.raises(StructureFileError, match=message):
        check_crystal(replace(IRON, sites=(site,)), LIMITS)


def test_rounded_and_empty_sites() -> None:
    """An occupancy of 0.9995 is 1; a site that nothing occupies is left out with a remark."""
    sites = (*IRON.sites, RawSite({"O": 0.0}, (0.5, 0.0, 0.0), "O9"), RawSite({"O": 0.9995}, (0.5, 0.5, 0.0)))
    found = check_crystal(replace(IRON, sites=sites), LIMITS)
    assert [dict(site.occupancies) for site in found.sites] == [{"Fe": 1.0}, {"Fe": 1.0}, {"O": 1.0}]
    assert found.remarks == ("iron: 1 site with occupancy 0 left out (O9)",)
    assert "periodic along ab of its axes only" in refused(replace(IRON, periodic=(True, True, False)))


@pytest.mark.parametrize("fmt", ["POSCAR", "a.cif", "a.json", "a.xyz"])
def test_too_many_atoms_are_refused_at_once(fmt: str) -> None:
    """100,000 atoms are counted, not computed with; the limit is named with the variable that sets it."""
    many = 100_000
    text = {
        "POSCAR": f"x\n1\n200 0 0\n0 200 0\n0 0 200\nLi\n{many}\nDirect\n" + "0 0 0\n" * 10,
        "a.cif": CIF + "".join(f"Li{k} Li 0 0 0.{k:06}\n" for k in range(many)),
        "a.json": '{"lattice": [[9,0,0],[0,9,0],[0,0,9]], "species": ['
        + '"Li",' * (many - 1)
        + '"Li"], "positions": ['
        + "[0,0,0]," * (many - 1)
        + "[0,0,0]]}",
        "a.xyz": f'{many}\nLattice="200 0 0 0 200 0 0 0 200"\n' + "Li 0 0 0\n" * 10,
    }[fmt]
    message = refusal(text, fmt)
    assert f"{many}" in message or f"{many + 2}" in message
    assert "20000" in message


def test_too_many_operations_are_refused_at_once() -> None:
    """A list of 20,000 operations is counted, not applied."""
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(
        f"'x+{k}/20000,y,z'\n" for k in range(20_000)
    )
    assert "20000 symmetry operations" in refusal(
        CIF.replace("loop_\n_atom", operations + "loop_\n_atom", 1), "a.cif"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("_cell_length_a 4.1", "_cell_length_a nan"),
        ("_cell_length_a 4.1", "_cell_length_a 1e9"),
        ("Cs1 Cs 0", "Cs1 Cs 1e6"),
        ("_cell_length_a 4.1", "_cell_length_a inf"),
        ("_cell_angle_alpha 90", "_cell_angle_alpha 0.01"),
    ],
)
def test_absurd_numbers_in_a_cif(old: str, new: str) -> None:
    """They are refused by name, before symmetry or neighbours are looked for."""
    assert refusal(CIF, "a.cif") == ""
    assert refusal(CIF.replace(old, new), "a.cif").startswith("a.cif")


def test_atoms_in_one_place_are_refused_before_their_pairs_are_listed() -> None:
    """Thousands of sites within an Ångström would fill the memory with pairs."""
    rows = "".join(f"0.{k:06} 0 0\n" for k in range(0, 20_000, 2))
    text = f"x\n40\n1 0 0\n0 1 0\n0 0 1\nCs\n10000\nDirect\n{rows}"
    assert "sites lie within about 1 Å of each other" in refusal(text, "POSCAR")


def test_limits_are_set_by_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a variable; what is no positive number is refused by its name."""
    monkeypatch.setenv("INVDESIGN_MAX_ATOMS", "2")
    assert "3 atoms, at most 2 are read" in refusal(SULFIDE, "POSCAR")
    monkeypatch.setenv("INVDESIGN_MAX_ATOMS", "3")
    assert refusal(SULFIDE, "POSCAR") == ""
    monkeypatch.setenv("INVDESIGN_MAX_STRUCTURE_BYTES", "50")
    assert "at most 5e-05 MB are read; set the environment variable INVDESIGN_MAX_STRUCTURE_BYTES" in refusal(
        SULFIDE, "POSCAR"
    )
    for name in LIMIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in LIMIT_VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, "many")
            assert f"{name} must be a positive number, got 'many'" in refusal(SULFIDE, "POSCAR")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device without end and a folder are refused, not waited for."""
    os.mkfifo(tmp_path / "pipe.cif")
    assert stat.S_ISFIFO((tmp_path / "pipe.cif").stat().st_mode)
    (tmp_path / "folder.cif").mkdir()
    for path, message in (
        (tmp_path / "pipe.cif", "pipe"),
        (Path("/dev/zero"), "device"),
        (tmp_path / "folder.cif", "folder"),
    ):
        with pytest.raises(ValueError, match=message):
            InputFile.read(path)


def test_large_parents_are_refused() -> None:
    """The search for symmetry and for a primitive cell grows fast; both are bounded."""
    with pytest.raises(
        StructureFileError,
        match=f"symmetry of at most {DEFAULT_PARENT_ATOMS} is searched.*INVDESIGN_MAX_PARENT_ATOMS",
    ):
        build_parent(
            InputFile(name="POSCAR", text=poscar(DEFAULT_PARENT_ATOMS + 1, 37.0)), (1, 1, 1), primitive=False
        )
    with pytest.raises(StructureFileError, match=f"among at most {MAX_PRIMITIVE_SEARCH_ATOMS}"):
        build_parent(
            InputFile(name="POSCAR", text=poscar(MAX_PRIMITIVE_SEARCH_ATOMS + 1, 22.0)),
            (1, 1, 1),
            primitive=True,
        )


# Overlaps.


@pytest.mark.parametrize(
    ("first", "second", "bond"),
    [
        ("H", "H", 0.74),
        ("O", "H", 0.75),
        ("N", "N", 1.10),
        ("C", "O", 1.13),
        ("C", "H", 0.93),
        ("Cr", "Cr", 1.83),
        ("U", "O", 1.75),
        ("O", "O", 1.21),
        ("Li", "H", 1.6),
        ("P", "O", 1.43),
        ("Mn", "O", 1.59),
    ],
)
def test_the_shortest_bonds_pass(first: str, second: str, bond: float) -> None:
    """H2, water and C-H as X-rays see them, N2, CO, a quadruple bond, uranyl, O2, LiH, phosphate, permanganate (Å)."""
    crystal = Structure(np.eye(3) * 6, [first, second], [[0, 0, 0], [bond / 6, 0, 0]])
    assert read_structure(crystal.to(fmt="poscar"), "POSCAR").structure.num_sites == 2


def test_prototypes_have_no_overlaps() -> None:
    """All crystals of the package, primitive and conventional."""
    for name in list_prototype_names():
        assert find_overlaps(find_prototype(name).build_structure(primitive=True)) == []


def test_overlaps_are_named() -> None:
    """Both sites with their labels, the distance, the limit of their elements and the remedy."""
    message = refusal(CIF.replace("Cl 0.5 0.5 0.5", "Cl 0.4 0 0"), "a.cif")
    assert (
        f"Cs1 (Cs) and Cl1 (Cl) are 1.64 Å apart (limit {smallest_distance(55, 17):.2f} Å). Check the coordinates"
        in message
    )
    small = poscar(1, 2.1, "K")
    assert "K (site 1) and its image in the next cell are 2.10 Å apart (limit 2.44 Å)" in refusal(
        small, "POSCAR"
    )


def test_alternatives_may_be_close() -> None:
    """Partially occupied sites are not occupied together; of a parent, neither are sites of one element, with a remark."""
    half = CIF.replace("_atom_site_fract_z\n", "_atom_site_fract_z\n_atom_site_occupancy\n")
    half = half.replace(
        "Cs1 Cs 0 0 0\nCl1 Cl 0.5 0.5 0.5\n", "Li1 Li 0 0 0 .6\nLi2 Li 0.1 0 0 .6\nCl1 Cl 0.5 0.5 0.5 1\n"
    )
    assert refusal(half, "a.cif") == ""
    full = half.replace(".6", "1")
    assert "Li1 (Li) and Li2 (Li) are 0.41 Å apart" in refusal(full, "a.cif")
    apart = full.replace("0.1 0 0", "0.3 0 0")
    assert "Li1 (Li) and Li2 (Li) are 1.23 Å apart" in refusal(apart, "a.cif")
    (found,) = read_structures(apart, "a.cif", alternatives=True)
    assert any("are alternatives, of which one at most is occupied" in remark for remark in found.remarks)
    with pytest.raises(StructureFileError, match=r"0\.41 Å apart"):
        read_structures(full, "a.cif", alternatives=True)


def test_charges_of_many_elements_are_not_guessed() -> None:
    """Trying all combinations for a dozen metals would take hours; their charges are unknown instead."""
    metals = "Mn Fe Co Ni Cr V Ti Nb Mo W Ru Re".split()  # noqa: SIM905 - as a file writes it
    rows = "".join(f"{k % 4 / 4} {k // 4 / 6} {z}\n" for z in (0, 0.5) for k in range(24))
    text = f"alloy\n1\n12 0 0\n0 18 0\n0 0 6\n{' '.join(metals)} O\n{'1 ' * 12}36\nDirect\n{rows}"
    parent = build_parent(InputFile(name="POSCAR", text=text), (1, 1, 1), primitive=False)
    assert set(parent.states) == {None}
    assert build_parent(InputFile(name="POSCAR", text=SULFIDE), (1, 1, 1), primitive=False).states == (
        -2.0,
        1.0,
        1.0,
    )


def test_outputs_of_programs_pass_the_gate() -> None:
    """Atoms may be closer than in a file, since a calculation may begin anywhere, but not in one place or without an end."""
    cell = np.eye(3) * 4.0
    assert len(make_crystal(cell, ["Li", "O"], [[0, 0, 0], [0.9, 0, 0]], "the output")) == 2
    for symbols, points, message in (
        (["Li", "O"], [[0, 0, 0], [0.2, 0, 0]], r"0\.20 Å apart \(limit 0\.50 Å\)"),
        (["Li", "O"], [[0, 0, 0], [np.nan, 0, 0]], "not finite"),
        (["Li", "X"], [[0, 0, 0], [2, 2, 2]], "'X', which is no element"),
        ([], [], "has no atoms"),
    ):
        with pytest.raises(StructureFileError, match=f"the output.*{message}"):
            make_crystal(cell, symbols, points, "the output")
