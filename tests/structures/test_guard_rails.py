"""Guard rails of generated crystals: one place for every generator, with a count of what was refused."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.protocols import ORIGIN, Condition
from invdesign.rng import rng_for
from invdesign.structures import guard_rails
from invdesign.structures.conditions import make_condition
from invdesign.structures.guard_rails import GuardRails, Passed, draw_gated, find_fault
from tests.plugins.generators import RockSalts


def rock_salt(edge: float = 4.2, names: tuple[str, str] = ("Mg", "O")) -> Structure:
    """Conventional cell of a rock salt."""
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), names, [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("structure", "fault"),
    [
        (rock_salt(), ""),
        (rock_salt(2.6), guard_rails.WRONG_VOLUME),
        (rock_salt(7.0), guard_rails.WRONG_VOLUME),
        (Structure(Lattice.cubic(2.8), ["Mg", "O"], [[0, 0, 0], [0.1, 0, 0]]), guard_rails.TOO_CLOSE),
        (Structure(Lattice([[40, 0, 0], [0, 1.1, 0], [0, 0, 1.1]]), ["Mg"], [[0, 0, 0]]), guard_rails.FLAT),
        (rock_salt(names=("Mg", "S")), guard_rails.BREACH),
    ],
)
def test_faults_are_found(structure: Structure, fault: str) -> None:
    """Distances, volumes, flat cells and the condition itself."""
    assert find_fault(structure, Condition(elements=("Mg", "O")), GuardRails()) == fault


def test_symmetry_and_size_are_found_anew() -> None:
    """A conventional cell counts as its primitive cell, and the origin gets the space group that is found."""
    crystal = rock_salt()
    crystal.properties[ORIGIN] = {"generator": "hand", "space_group": 1}
    assert find_fault(crystal, make_condition(formula="MgO", atoms=2, space_groups=[225]), GuardRails()) == ""
    assert crystal.properties[ORIGIN]["space_group"] == 225
    assert find_fault(crystal, make_condition(atoms=8), GuardRails()) == guard_rails.BREACH


def test_duplicates_are_refused_in_any_cell() -> None:
    """The same crystal in another cell, shifted and turned, is a duplicate."""
    passed = Passed(Condition(), GuardRails())
    other = rock_salt().get_primitive_structure()
    other.translate_sites(range(len(other)), [0.1, 0.2, 0.3])
    assert passed.add(rock_salt())
    assert not passed.add(other)
    assert passed.add(rock_salt(names=("Ca", "O"), edge=4.8))
    assert passed.refused == {guard_rails.DUPLICATE: 1}


def test_what_is_left_out_is_counted() -> None:
    """A generator that makes one crystal again and again says how many are missing, and why."""
    found = draw_gated(RockSalts(fault="same"), rng_for(0, 0, "test"), 5, Condition())
    assert len(found) < 5
    assert found.reason
    assert found.refused[guard_rails.DUPLICATE] > 0
    assert found.tried >= len(found) + found.refused[guard_rails.DUPLICATE]
    refused = draw_gated(RockSalts(fault="overlap"), rng_for(0, 0, "test"), 3, Condition())
    assert len(refused) == 0
    assert refused.refused


def test_samples_do_not_depend_on_the_rails_of_others() -> None:
    """The same generator, seed and condition give the same crystals."""
    first, second = (draw_gated(RockSalts(), rng_for(1, 0, "test"), 2, Condition()) for _ in range(2))
    assert [s.volume for s in first] == [s.volume for s in second]
    assert all(np.isfinite(s.lattice.matrix).all() for s in first)
