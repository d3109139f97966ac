"""Structure files of the user's, and structures as JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.errors import InvdesignError
from invdesign.settings import InputFile
from invdesign.structures.files import (
    check_distances,
    compress_text,
    decompress_text,
    parse_structure,
    structure_from_json,
    structure_to_cif,
    structure_to_json,
)

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def file(name: str, text: str) -> InputFile:
    return InputFile(name=name, text=text)


@pytest.mark.parametrize(("name", "fmt"), [("salt.cif", "cif"), ("POSCAR", "poscar"), ("salt.json", "json")])
def test_common_formats_are_read(name: str, fmt: str) -> None:
    """CIF, POSCAR and pymatgen's JSON, told apart by the file's name."""
    found = parse_structure(file(name, SALT.to(fmt=fmt)))
    assert found.composition == SALT.composition
    assert found.volume == pytest.approx(SALT.volume)


def test_a_file_that_is_no_structure_is_refused_in_one_line() -> None:
    """Whatever the parser says, the user sees the file's name and one line."""
    with pytest.raises(InvdesignError, match=r"^notes.cif cannot be read as CIF: [^\n]*$"):
        parse_structure(file("notes.cif", "nothing here"))
    with pytest.raises(InvdesignError, match="POSCAR, line 2: expected a scaling factor"):
        parse_structure(file("POSCAR", "one\ntwo"))


def test_unknown_elements_are_refused() -> None:
    """Left alone, pymatgen would read them as dummy species."""
    head = "data_x\n" + "".join(f"_cell_length_{axis} 4\n" for axis in "abc")
    head += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
    sites = "loop_\n_atom_site_label\n_atom_site_type_symbol\n" + "".join(
        f"_atom_site_fract_{axis}\n" for axis in "xyz"
    )
    with pytest.raises(InvdesignError, match=r"salt\.cif.*Lx"):
        parse_structure(file("salt.cif", head + sites + "A1 Lx 0 0 0\nO1 O 0.5 0.5 0.5\n"))


def test_partial_occupancies_are_refused() -> None:
    """A disordered crystal has no energy of its own; the user is asked for an ordered one."""
    half = Structure(SALT.lattice, [{"Na": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(InvdesignError, match="partially occupied"):
        parse_structure(file("half.cif", half.to(fmt="cif")))


def test_overlapping_atoms_are_refused_by_name_and_distance() -> None:
    """The closest pair is named with the limit and the likely cause."""
    close = Structure(Lattice.cubic(5), ["Li", "O"], [[0, 0, 0], [0.06, 0, 0]])
    with pytest.raises(
        InvdesignError, match=r"Li \(site 1\) and O \(site 2\) are 0.30 Å apart \(limit 1.16 Å\)"
    ):
        parse_structure(file("POSCAR", close.to(fmt="poscar")))
    check_distances(close, "fine with a lower limit", limit=0.2)


def test_json_keeps_every_digit() -> None:
    """What is stored is what is read: floats in their shortest exact form, through compression too."""
    rng = np.random.default_rng(1)
    structure = Structure(rng.normal(size=(3, 3)) * 4, ["Li", "O", "Cl"], rng.random((3, 3)))
    text = structure_to_json(structure)
    again = structure_from_json(decompress_text(compress_text(text)))
    assert np.array_equal(again.lattice.matrix, structure.lattice.matrix)
    assert np.array_equal(again.frac_coords, structure.frac_coords)
    assert [site.species_string for site in again] == ["Li", "O", "Cl"]
    assert structure_to_json(again) == text


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    """A relative path starts in the working directory unless a campaign says otherwise."""
    with pytest.raises(ValueError, match=r"there is no file '.*nowhere\.cif'"):
        InputFile.read(tmp_path / "nowhere.cif")


def test_a_cif_has_every_label_once(recwarn: pytest.WarningsRecorder) -> None:
    """Sites that symmetry made of one row share its label; what is written numbers them, without a warning."""
    cell = Structure(
        Lattice.cubic(4.0),
        ["Na", "Na", "Cl"],
        [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.5]],
        labels=["M", "M", "X1"],
    )
    text = structure_to_cif(cell)
    assert [str(warning.message) for warning in recwarn if "label" in str(warning.message)] == []
    assert [site.label for site in Structure.from_str(text, fmt="cif")] == ["Na1", "Na2", "Cl3"]
    assert [site.label for site in cell] == ["M", "M", "X1"]
