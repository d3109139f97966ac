"""Labels of frameworks do not depend on the names of elements, the setting, the cell, or the hand of a crystal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from invdesign.errors import InvdesignError
from invdesign.structures.framework_labels import (
    MIRROR_GROUPS,
    framework_label,
    label_orbits,
    list_letter_exchanges,
    read_orbits,
)
from invdesign.structures.letter_exchanges_build import LAST_OBLIQUE, derive_letter_exchanges
from invdesign.structures.wyckoff import GROUPS, draw_cell, find_space_group

# Made with pyxtal 1.1.4: `Group(n).get_alternatives()["Transformed WP"]`, rows that differ, for each group with more than one.
EXCHANGES = json.loads((Path(__file__).parents[1] / "data" / "wyckoff_exchanges.json").read_text())


def place_atoms(number: int, rng: np.random.Generator) -> tuple[Structure, dict[str, str]]:
    """Random crystal of three elements in a space group, and the letters that they occupy.

    Args:
        number: of the space group.
        rng: draws letters, free coordinates and the cell.
    """
    group = find_space_group(number)
    letters = list(group.positions)
    general = letters[-1]
    taken = [general, *(str(letter) for letter in rng.choice(letters, 2))]
    free = [k for k, letter in enumerate(taken) if group.positions[letter].free or letter not in taken[:k]]
    names, species, coordinates = ("Li", "P", "S"), [], []
    for k in free:
        position = group.positions[taken[k]]
        images = position.place_images(rng.random(position.free))
        coordinates.extend(images)
        species.extend([names[k]] * len(images))
    cell = draw_cell(number, 60.0 * len(species) * group.centring, rng)
    return Structure(Lattice(group.primitive @ cell), species, coordinates), {
        names[k]: taken[k] for k in free
    }


def disguise(structure: Structure, rng: np.random.Generator, *, mirror: bool) -> Structure:
    """Write a crystal in another cell, place, order and orientation, with other elements."""
    larger = structure.copy()
    steps = [
        [rng.integers(1, 3), 0, 0],
        [rng.integers(-1, 2), rng.integers(1, 3), 0],
        [*rng.integers(-1, 2, 2), 1],
    ]
    larger.make_supercell(np.array(steps))
    turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix() * (-1.0 if mirror else 1.0)
    others = dict(zip(("Li", "P", "S"), rng.permutation(["Na", "As", "Se"]), strict=True))
    order = rng.permutation(len(larger))
    return Structure(
        Lattice(larger.lattice.matrix @ turn.T),
        [str(others[larger[k].specie.symbol]) for k in order],
        (larger.frac_coords + rng.random(3))[order],
    )


@settings(max_examples=120, deadline=None)
@given(number=st.sampled_from(GROUPS), seed=st.integers(0, 10_000), mirror=st.booleans())
def test_a_label_survives_every_disguise(number: int, seed: int, mirror: bool) -> None:
    """Rotation, mirror, origin, order, supercell and other elements leave the label alone."""
    rng = np.random.default_rng(seed)
    crystal, _ = place_atoms(number, rng)
    assume(crystal.is_valid(tol=0.5))  # Å; closer atoms are one to spglib
    assert framework_label(crystal, 0.01) == framework_label(disguise(crystal, rng, mirror=mirror), 0.01)


@pytest.mark.parametrize("number", GROUPS)
def test_atoms_on_known_positions_have_their_label(number: int) -> None:
    """The label read from atoms is that of the letters they were placed on; a mirror image shares it."""
    for seed in range(10):
        crystal, letters = place_atoms(number, np.random.default_rng(seed))
        if read_orbits(crystal, 0.01)[0] == number:  # atoms on special positions may be more symmetric
            break
    assert framework_label(crystal, 0.01) == label_orbits(number, letters.values())
    mirrored = Structure(Lattice(-crystal.lattice.matrix), crystal.species, crystal.frac_coords)
    assert framework_label(mirrored, 0.01) == label_orbits(number, letters.values())


@pytest.mark.parametrize("number", GROUPS)
def test_exchanges_of_letters_are_those_of_an_independent_table(number: int) -> None:
    """All exchanges of the other table are ours; sheared axes alone add some."""
    letters = list(find_space_group(number).positions)
    ours = {"".join(exchange[letter] for letter in letters) for exchange in list_letter_exchanges(number)}
    theirs = set(EXCHANGES.get(str(number), ["".join(letters)]))
    assert theirs <= ours if number <= LAST_OBLIQUE else theirs == ours


@pytest.mark.parametrize("number", [2, 12, 47, 144, 145, 166, 225])
def test_the_shipped_table_of_exchanges_is_the_derived_one(number: int) -> None:
    """The table that the package reads is what its builder derives from the operations."""
    assert list_letter_exchanges(number) == derive_letter_exchanges(number)


@given(number=st.sampled_from(GROUPS), data=st.data())
@settings(max_examples=150, deadline=None)
def test_one_label_for_all_settings(number: int, data: st.DataObject) -> None:
    """Letters exchanged by another setting, and elements in another order, have one label."""
    letters = list(find_space_group(number).positions)
    occupied = data.draw(
        st.lists(st.text(st.sampled_from(letters), min_size=1, max_size=4), min_size=1, max_size=4)
    )
    exchange = data.draw(st.sampled_from(list_letter_exchanges(number)))
    exchanged = ["".join(exchange[letter] for letter in own) for own in reversed(occupied)]
    assert label_orbits(MIRROR_GROUPS.get(number, number), exchanged) == label_orbits(number, occupied)


def test_known_crystals() -> None:
    """Rock salt, zinc blende and diamond have labels of their own; sheared cells of one crystal do not."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.57), ["C"], [[0, 0, 0]])
    assert [framework_label(each) for each in (salt, blende, diamond)] == ["225:a|b", "216:a|c", "227:a"]
    assert framework_label(salt.get_primitive_structure()) == "225:a|b"


def test_letters_of_several_orbits_are_counted() -> None:
    """A number behind a letter counts its orbits, and a bar parts elements."""
    assert label_orbits(62, ["cdc", "c"]) == "62:c|c2d"


def test_other_axes_of_a_monoclinic_crystal() -> None:
    """Two crystals that differ by the choice of the axes a and c alone are of one framework."""
    points = [[0.5, 0, 0], [0.5, 0, 0.5]]
    labels = {
        framework_label(
            Structure(
                Lattice.monoclinic(5.0, 6.0, 8.0, 100.0), ["Na", "Cl", "F"], [[0, 0.5, 0], [0, 0, 0.5], point]
            )
        )
        for point in points
    }
    assert len(labels) == 1


def test_crystals_without_a_label() -> None:
    """Partly occupied sites and atoms at one place are refused with a reason."""
    mixed = Structure(Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]])
    with pytest.raises(InvdesignError, match="partly occupied"):
        framework_label(mixed)
    twice = Structure(Lattice.cubic(4.0), ["Li", "Li"], [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(InvdesignError, match="overlapping"):
        framework_label(twice)
