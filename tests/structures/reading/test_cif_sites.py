"""Positions of few digits are the special positions they stand for; what lies apart stays apart."""

from __future__ import annotations

import pytest

from invdesign.structures.reading.raw import StructureFileError
from tests.structures.reading.crystals import count_atoms
from tests.structures.reading.texts import ROCK_SALT, make_cif, read_one

WURTZITE = (3.25, 3.25, 5.2, 90, 90, 120)
OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n"


@pytest.mark.parametrize(
    "third", ["0.33 0.67", "0.333 0.667", ".333 .666", "0.3333 0.6667", "0.33330 0.66670", "1/3 2/3"]
)
def test_thirds_rounded(third: str) -> None:
    """Thirds of any number of digits are the special position, at its exact place."""
    crystal = read_one(make_cif(WURTZITE, f"Zn1 {third} 0\nO1 {third} .38", name="P 63 m c"))
    assert count_atoms(crystal) == {"Zn": 2, "O": 2}
    assert crystal.sites[0].position == pytest.approx((1 / 3, 2 / 3, 0), abs=1e-9)
    remarked = any("are rounded; images up to" in remark for remark in crystal.remarks)
    assert remarked == (third.startswith((".", "0.33 ", "0.333 ")))


def test_partial_thirds_rounded() -> None:
    """Partly occupied sites on rounded special positions are not split."""
    rows = "Co1 0 0 0 1\nO1 .33 .67 .09 1\nNa1 0 0 .25 .25\nNa2 .67 .33 .25 .45"
    crystal = read_one(
        make_cif((2.83, 2.83, 10.9, 90, 90, 120), rows, name="P 63/m m c", columns=["occupancy"])
    )
    assert count_atoms(crystal) == pytest.approx({"Co": 2, "O": 4, "Na": 1.4})


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ("H1 .43 .43 .43", 8),  # 0.72 Å from its image
        ("H1 .01 0 .5", 12),  # 0 would be written as such
        ("H1 .12 .14 0", 24),
        ("H1 .1 .2 .5", 24),  # one digit is no rounding
    ],
)
def test_near_positions_apart(row: str, count: int) -> None:
    """Positions whose digits set them apart from a special one are general."""
    crystal = read_one(
        make_cif(ROCK_SALT, f"{row} .4\nNa1 .25 .25 .25 1", name="P m -3 m", columns=["occupancy"])
    )
    assert len([site for site in crystal.sites if "H" in site.occupancies]) == count


def test_multiplicity_decides() -> None:
    """A stated multiplicity says whether near images are one atom or several."""
    for stated, count in ((8, 8), (4, 4)):
        rows = f"Na1 .125 .126 .3 {stated}"
        text = make_cif(
            (20, 20, 5, 90, 90, 90),
            rows + "\nF1 .5 .5 .5 1",
            name="P 4 m m",
            columns=["symmetry_multiplicity"],
        )
        assert count_atoms(read_one(text)) == {"Na": count, "F": 1}


def test_formula_decides() -> None:
    """Where the formula agrees only with split sites, the digits are taken as they are."""
    rows = "Na1 .12 .13 .3 .5\nF1 .5 .5 .5 1"
    for formula, count in (("'Na4 F'", 8), ("'Na2 F'", 4)):
        crystal = read_one(
            make_cif(
                (20, 20, 5, 90, 90, 90),
                rows,
                name="P 4 m m",
                head=f"_chemical_formula_sum {formula}",
                columns=["occupancy"],
            )
        )
        assert len(crystal.sites) == count + 1


def test_multiplicity_contradicts() -> None:
    """A multiplicity that no rounding explains is refused with both numbers."""
    rows = "Na1 .2 .3 .4 4\nF1 .5 .5 .5 1"
    with pytest.raises(
        StructureFileError, match="site Na1: the file states multiplicity 4, its coordinates give 8"
    ):
        read_one(make_cif((9, 9, 5, 90, 90, 90), rows, name="P 4 m m", columns=["symmetry_multiplicity"]))


def test_order_of_site_symmetry() -> None:
    """The order of the site symmetry in the column of multiplicities, as SHELXL-97 wrote it, is understood."""
    rows = "Na1 .2 .3 .4 1\nF1 .5 .5 .5 8"
    crystal = read_one(
        make_cif((9, 9, 5, 90, 90, 90), rows, name="P 4 m m", columns=["symmetry_multiplicity"])
    )
    assert count_atoms(crystal) == {"Na": 8, "F": 1}


def test_noise_merged() -> None:
    """Positions whose images are closer than any two atoms are one atom."""
    crystal = read_one(make_cif(ROCK_SALT, "Na1 0.000312345 0 0\nF1 .5 .5 .500212345", name="F m -3 m"))
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert crystal.sites[0].position == (0, 0, 0)


def test_lattice_kept() -> None:
    """The cell has the edges and angles of the file, and c lies along z."""
    crystal = read_one(make_cif((4, 5, 6, 80, 95, 110), "Na1 0 0 0"))
    (_, _, c) = crystal.lattice
    assert c == (0, 0, 6)
    lengths = [sum(x * x for x in row) ** 0.5 for row in crystal.lattice]
    assert lengths == pytest.approx([4, 5, 6])
