"""The table of Wyckoff positions agrees with an independent one, and its maps are the images of a point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from invdesign.errors import InvdesignError
from invdesign.structures.symmetry import call_spglib
from invdesign.structures.wyckoff import (
    CENTRING,
    GROUPS,
    build_cell,
    draw_cell,
    find_lattice_system,
    find_space_group,
    fit_parameters,
    list_equivalent_settings,
    list_relabellings,
    parse_coordinates,
)
from invdesign.structures.wyckoff_build import build_group

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "wyckoff_positions.json").read_text())
FREE = np.array([0.1357, 0.2719, 0.4231])
SAMPLED = (2, 15, 39, 70, 88, 141, 148, 167, 199, 205, 216, 227)  # every centring and crystal system


@pytest.mark.parametrize("number", GROUPS)
def test_positions_are_those_of_an_independent_table(number: int) -> None:
    """Multiplicity and free parameters of every letter agree, and the other table's point is one of ours."""
    group = find_space_group(number)
    assert len(group.positions) == len(REFERENCE[str(number)])
    for position, entry in zip(group.positions.values(), REFERENCE[str(number)], strict=True):
        multiplicity, coordinates = entry.split()
        rows, offset = parse_coordinates(coordinates)
        assert (position.multiplicity, position.free) == (int(multiplicity), int(rows.any(axis=0).sum()))
        assert position.primitive_multiplicity * group.centring == position.multiplicity
        point = (rows @ FREE + offset) @ np.linalg.inv(group.primitive)
        parameters, distance = fit_parameters(position, point, np.eye(3))
        assert distance < 1e-6, f"{position.letter}: {coordinates} is no image of {position.coordinates}"
        images = position.place_images(parameters)
        apart = images - point
        assert np.abs(apart - np.round(apart)).max(axis=1).min() < 1e-6


def test_letters_differ_by_their_points() -> None:
    """A point of one letter without free parameters is none of another such letter."""
    group = find_space_group(221)
    point = group.positions["a"].place_images(np.empty(0))[0]
    assert fit_parameters(group.positions["b"], point, np.eye(3))[1] > 0.5


@pytest.mark.parametrize("number", SAMPLED)
def test_images_are_mapped_onto_each_other_by_the_group(number: int) -> None:
    """Every operation of spglib maps the images of each position onto images, in the primitive cell too."""
    group = find_space_group(number)
    known = call_spglib("get_symmetry_from_database", group.hall)
    assert len(known["rotations"]) == group.order
    shifts = np.array(CENTRING[group.symbol[0]])
    for position in group.positions.values():
        images = position.place_images(FREE[: position.free]) @ group.primitive
        whole = (images[:, None] + shifts).reshape(-1, 3)
        moved = np.einsum("nij,kj->nki", known["rotations"], whole) + known["translations"][:, None]
        apart = moved[:, :, None] - whole
        assert (np.abs(apart - np.round(apart)).max(axis=-1).min(axis=-1) < 1e-6).all()


@pytest.mark.parametrize("number", [1, 15, 70, 160, 227])
def test_shipped_table_is_what_the_construction_gives(number: int) -> None:
    path = Path(__file__).parents[2] / "invdesign" / "structures" / "wyckoff.json"
    assert json.loads(path.read_text())[str(number)] == build_group(number)


@pytest.mark.parametrize("number", GROUPS[::7])
def test_random_cells_keep_the_symmetry_of_the_lattice(number: int) -> None:
    """The metric of a random cell is invariant under the group's rotations, and its volume is the one asked for."""
    group = find_space_group(number)
    cell = draw_cell(number, 150.0, np.random.default_rng(number))
    metric = cell @ cell.T
    for rotation in group.rotations:
        assert_allclose(rotation.T @ metric @ rotation, metric, atol=1e-6)
    assert_allclose(np.linalg.det(cell), 150.0)
    lengths = np.linalg.norm(cell, axis=1)
    assert lengths.max() / lengths.min() <= 2.0 + 1e-9
    assert_allclose(np.linalg.det(group.primitive) * group.centring, 1.0)


def test_free_parameters_of_a_cell() -> None:
    system = find_lattice_system(62)
    assert (system.name, system.free_lengths, system.free_angles) == ("orthorhombic", 3, 0)
    assert_allclose(system.build_cell([3.0, 4.0, 5.0]), np.diag([3.0, 4.0, 5.0]), atol=1e-12)
    assert (find_lattice_system(14).free_angles, find_lattice_system(2).free_angles) == (1, 3)
    assert np.isnan(build_cell([1.0, 1.0, 1.0], [60.0, 60.0, 170.0])[2, 2])


@pytest.mark.parametrize("number", [0, 231, -3])
def test_unknown_number_is_refused(number: int) -> None:
    with pytest.raises(InvdesignError, match=f"from 1 to 230, got {number}"):
        find_space_group(number)


@pytest.mark.parametrize("number", [5, 12, 15, 20, 21, 38, 65, 67])
def test_other_settings_keep_the_centred_lattice(number: int) -> None:
    """Axes that move the centre of a face to another face are no setting of the group."""
    group = find_space_group(number)
    for axes, _ in list_equivalent_settings(number):
        moved = group.primitive @ axes.T @ np.linalg.inv(group.primitive)
        assert np.abs(moved - np.round(moved)).max() < 1e-9
    assert all(set(found.letters.values()) == set(group.positions) for found in list_relabellings(number))
