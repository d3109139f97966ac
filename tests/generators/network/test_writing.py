"""Each crystal is written in one way, whatever its setting."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from invdesign.errors import Infeasible
from invdesign.generators.network.canonical import write_crystal
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.examples import make_example, read_cell, write_cell
from invdesign.generators.network.positions import find_key, list_maps
from invdesign.generators.network.reading import count_atoms, measure_volume, write_structure
from invdesign.generators.network.refine import list_sites, perturb
from invdesign.generators.network.refine_training import place_written
from invdesign.structures.wyckoff import find_space_group, list_equivalent_settings
from tests.generators.network.conftest import make_structures


@pytest.mark.parametrize("number", range(12))
def test_a_crystal_written_and_built_is_the_same(number: int) -> None:
    structure = make_structures()[number]
    symbols, sited = place_written(write_structure(structure))
    atoms = sited.crystal
    built = Structure(atoms.cell, [symbols[kind] for kind in atoms.species], atoms.positions)
    assert StructureMatcher().fit(built, structure)


@pytest.mark.parametrize("number", range(12))
def test_origin_and_cell_make_no_difference(number: int) -> None:
    structure = make_structures()[number]
    moved = structure.copy()
    moved.translate_sites(list(range(len(moved))), [0.21, 0.13, 0.37])
    moved = moved.get_reduced_structure("niggli")
    one, two = write_structure(structure), write_structure(moved)
    assert (one.group, one.sites) == (two.group, two.sites)
    assert one.cell == pytest.approx(two.cell, abs=1e-3)
    assert np.concatenate(one.coordinates) == pytest.approx(np.concatenate(two.coordinates), abs=1e-3)


def test_disordered_crystals_are_refused() -> None:
    structure = Structure(Lattice.cubic(4.0), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(Infeasible, match="shared by several elements"):
        write_structure(structure)


@pytest.mark.parametrize(("number", "letter"), [(62, "c"), (14, "e"), (225, "e"), (166, "c"), (15, "f")])
def test_all_representatives_of_an_orbit_have_one_key(number: int, letter: str) -> None:
    position = find_space_group(number).positions[letter]
    free = np.array([0.137, 0.271, 0.423])[: position.free]
    rows, offsets = list_maps(number, letter)
    keys = [
        find_key(number, letter, one @ free + offset)[0] for one, offset in zip(rows, offsets, strict=True)
    ]
    assert keys == pytest.approx([keys[0]] * len(keys), abs=1e-5)
    assert len(rows) > 1


@pytest.mark.parametrize("group", [12, 15, 21, 63, 65, 67])
def test_equivalent_settings_keep_the_centring(group: int) -> None:
    primitive = find_space_group(group).primitive
    for axes, _ in list_equivalent_settings(group):
        lattice = primitive @ axes.T @ np.linalg.inv(primitive)
        assert lattice == pytest.approx(np.round(lattice), abs=1e-9)


@pytest.mark.parametrize("group", [2, 14, 62, 139, 166, 225])
def test_a_cell_reads_as_it_was_written(group: int) -> None:
    system = find_space_group(group).system
    cell = (*(4.0 + number for number in range(system.free_lengths)), *[95.0] * system.free_angles)
    numbers = write_cell(group, cell, 60.0)
    assert read_cell(group, numbers, 60.0) == pytest.approx(cell)


def test_examples_hold_what_the_crystal_holds() -> None:
    written = write_structure(make_structures()[5])
    example = make_example(written, list_elements(), {})
    assert count_atoms(written) == {"Sr": 1, "Ti": 1, "O": 3}
    assert example.counts.tolist() == [1, 1, 3]
    assert measure_volume(written) == pytest.approx(3.905**3, rel=1e-6)


def test_the_way_back_leads_to_the_known_crystal() -> None:
    symbols, sited = place_written(write_structure(make_structures()[8]))
    sites = list_sites(symbols, sited)
    cell, points, back, strain, _ = perturb(sites, np.random.default_rng(3))
    clean = sites.frame @ sited.conventional
    returned = points + back @ np.linalg.inv(cell)
    assert returned == pytest.approx(sites.place_atoms(sites.free), abs=1e-9)
    straight = cell @ (np.eye(3) + strain)
    assert straight @ straight.T == pytest.approx(clean @ clean.T, rel=1e-9)


def test_writing_is_repeatable() -> None:
    symbols, sited = place_written(write_structure(make_structures()[8]))
    again = write_crystal(symbols, sited, list_elements())
    assert np.concatenate(again.coordinates) == pytest.approx(
        np.concatenate(write_structure(make_structures()[8]).coordinates), abs=1e-5
    )


def test_a_sheared_monoclinic_cell_makes_no_difference() -> None:
    lattice = Lattice.from_parameters(6.1, 4.0, 7.3, 90, 104, 90)
    structure = Structure.from_spacegroup(
        14, lattice, ["Ca", "O", "O"], [[0.12, 0.2, 0.3], [0.41, 0.1, 0.77], [0, 0, 0]]
    )
    sheared = structure.make_supercell([[1, 0, 2], [0, 1, 0], [0, 0, 1]], in_place=False)
    one, two = write_structure(structure), write_structure(sheared)
    assert (one.group, one.sites) == (two.group, two.sites)
    assert one.cell == pytest.approx(two.cell, abs=1e-3)
    assert one.cell[3] >= 90.0
    assert np.concatenate(one.coordinates) == pytest.approx(np.concatenate(two.coordinates), abs=1e-3)
