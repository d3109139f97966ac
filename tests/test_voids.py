"""Empty places of crystals."""

import numpy as np
import pytest

from invdesign.structures.cells import match_points
from invdesign.structures.parents import Parent, build_parent
from invdesign.structures.symmetry import LOOSE_SYMPREC, symmetry_dataset
from invdesign.structures.voids import Voids, find_voids


def _find(parent: Parent, **settings: float) -> Voids:
    numbers = parent.build_structure().atomic_numbers
    return find_voids(parent.lattice, parent.positions, numbers, **settings)


def test_the_voids_of_rock_salt_are_its_eight_tetrahedral_places() -> None:
    parent = build_parent("rocksalt", (1, 1, 1), primitive=False)
    voids = _find(parent)
    assert voids.multiplicities.tolist() == [8]
    assert np.allclose(np.mod(voids.fractions * 4, 2), 1.0)
    edge = parent.lattice[0, 0]
    assert np.allclose(voids.room, np.sqrt(3) / 4 * edge)


@pytest.mark.parametrize("name", ["lithium_phosphate", "layered", "lithium_nitride", "Li10GeP2S12"])
def test_voids_are_roomy_apart_and_closed_under_the_symmetry(name: str) -> None:
    parent = build_parent(name, (1, 1, 1), primitive=False)
    voids = _find(parent, room=1.4, apart=0.8)
    assert (voids.room >= 1.4).all()
    for k in range(len(voids)):
        others = np.delete(voids.points, k, axis=0)
        assert match_points(voids.points[k : k + 1], others, voids.cell)[1][0] > 0.8
    numbers = parent.build_structure().atomic_numbers
    group = symmetry_dataset(parent.lattice, parent.positions, numbers, LOOSE_SYMPREC)
    for rotation, shift in zip(group.rotations, group.translations, strict=True):
        moved = (voids.fractions @ rotation.T + shift) @ voids.cell
        image, distance = match_points(moved, voids.points, voids.cell)
        assert distance.max() < 0.01
        assert (voids.orbits[image] == voids.orbits).all()
        assert np.allclose(voids.room[image], voids.room, atol=0.02)


def test_wider_places_come_first_and_a_dense_crystal_may_have_none() -> None:
    voids = _find(build_parent("lithium_phosphate", (1, 1, 1), primitive=False))
    assert (np.diff(voids.room[voids.distinct]) <= 1e-3).all()
    assert len(_find(build_parent("rocksalt", (1, 1, 1), primitive=False), room=3.0)) == 0
