"""Profiles of interfaces: width of mixing, exchanged atoms and ions by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.structures.site_labels import set_labels
from surrogates.interfaces.profile import InterfaceProfile, count_ions, find_plane_heights, read_slice

STEP = 2.0  # Å between layers
LAYERS = 4  # of each side


def bicrystal(vacuum: float = 0.0) -> Structure:
    """LiCoO below and LiPS above: layers of three atoms, 2 Å apart, without or with a vacuum above the film."""
    species, places, sides, layers = [], [], [], []
    for number in range(2 * LAYERS):
        film = number >= LAYERS
        for k, symbol in enumerate(("Li", "P", "S") if film else ("Li", "Co", "O")):
            species.append(symbol)
            places.append([2.0 * k, 2.0 * k, STEP * number + 0.5])
            sides.append("film" if film else "substrate")
            layers.append(number - LAYERS + 1 if film else LAYERS - number)
    height = 2 * LAYERS * STEP + vacuum
    structure = Structure(Lattice.orthorhombic(6, 6, height), species, places, coords_are_cartesian=True)
    set_labels(structure, {"side": sides, "layer": layers, "native": species})
    return structure


def slab(side: str) -> Structure:
    """One side alone."""
    return Structure.from_sites([site for site in bicrystal() if site.properties["side"] == side])


def profile(structure: Structure, **fields: Any) -> Evaluation:
    """What the evaluator says of a structure."""
    structures = {"initial": structure, "substrate_slab": slab("substrate"), "film_slab": slab("film")}
    item = Input(Candidate(0, "key", Proposal({})), Design(structures), {}, structures, 0)
    evaluator = InterfaceProfile(**{"structure": "initial", **fields})
    (found,) = evaluator.evaluate([item])
    if found.failure is None:
        assert found.properties.keys() == evaluator.provides.keys()
    return found


def site(structure: Structure, side: str, layer: int, symbol: str) -> int:
    """Number of a site."""
    return next(
        k
        for k, item in enumerate(structure)
        if (item.properties["side"], item.properties["layer"], item.properties["native"])
        == (side, layer, symbol)
    )


@pytest.mark.parametrize("vacuum", [0.0, 12.0])
def test_an_abrupt_interface_is_not_mixed(vacuum: float) -> None:
    """No width, no foreign atom, all lithium in its layers; the planes lie midway between the layers."""
    start = bicrystal(vacuum)
    found = profile(start, ion="Li")
    assert set(found.properties.values()) == {0.0}
    assert "Li by layer from the plane: film 1 of 1, 1 of 1" in found.details["largest_depletion"]
    assert ("second plane" in found.details["mixing_width"]) == (vacuum == 0)
    planes = np.array(find_plane_heights(read_slice(start))) * start.lattice.c
    assert planes[0] == pytest.approx(LAYERS * STEP - 0.5)
    assert planes[1] % start.lattice.c == pytest.approx((start.lattice.c + 14.5 + 0.5) / 2 % start.lattice.c)


def test_the_width_reaches_from_the_deepest_foreign_atom_to_the_other() -> None:
    """Phosphorus 3 Å below the plane and oxygen 1 Å above it make 4 Å; both are exchanged atoms."""
    start = bicrystal()
    below, above = site(start, "substrate", 2, "Co"), site(start, "film", 1, "S")
    labels = dict(start.site_properties)
    start.replace(below, "P", properties=start[below].properties)
    start.replace(above, "O", properties=start[above].properties)
    assert start.site_properties == labels
    found = profile(start)
    assert found.properties == {"mixing_width": pytest.approx(4.0), "foreign_atoms": 2, "exchanged_atoms": 2}
    assert found.details["mixing_width"] == (
        "foreign atoms at the plane: P up to 3.0 Å deep in the substrate, O up to 1.0 Å deep in the film; at the second plane: none"
    )


def test_atoms_that_move_across_are_foreign_without_an_exchange() -> None:
    """Places after the relaxation count, not labels; elements of both sides are nowhere foreign."""
    start = bicrystal(12.0)
    start.translate_sites([site(start, "film", 1, "P")], [0, 0, -2.6], frac_coords=False)
    start.translate_sites([site(start, "film", 1, "Li")], [0, 0, -2.6], frac_coords=False)
    found = profile(start)
    assert found.properties["foreign_atoms"] == 1
    assert found.properties["exchanged_atoms"] == 0
    assert found.properties["mixing_width"] == pytest.approx(1.6)  # the plane is midway to the sulfur left


def test_missing_and_added_ions_are_told_by_layer() -> None:
    """A vacancy depletes its layer, an ion that wanders fills another one, an ion on a void counts where it is."""
    start = bicrystal(12.0)
    start.remove_sites([site(start, "film", 1, "Li")])
    found = profile(start, ion="Li")
    assert found.properties["largest_depletion"] == 1.0
    assert found.properties["ion_transfer"] == -1.0
    assert "film 0 of 1, 1 of 1" in found.details["largest_depletion"]
    start.append(
        "Li",
        [3.0, 0.0, STEP * (LAYERS - 1) + 1.0],
        coords_are_cartesian=True,
        properties={"side": "substrate", "layer": 1, "native": ""},
    )
    found = profile(start, ion="Li")
    assert "substrate 2 of 1" in found.details["largest_depletion"]
    assert found.properties["exchanged_atoms"] == 0
    wandered = bicrystal(12.0)
    wandered.translate_sites([site(wandered, "film", 1, "Li")], [0, 0, -2.0], frac_coords=False)
    assert profile(wandered, ion="Li").properties["ion_transfer"] == -1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_origin_and_order_of_atoms_do_not_matter(seed: int) -> None:
    """A shift along any axis and another order of sites change no number."""
    rng = np.random.default_rng(seed)
    start = bicrystal(float(rng.choice([0.0, 12.0])))
    start.perturb(0.3)
    if rng.integers(2):
        start.remove_sites([int(rng.integers(len(start)))])
    order = rng.permutation(len(start))
    other = Structure.from_sites([start[k] for k in order])
    other.translate_sites(range(len(other)), rng.random(3))
    one, two = profile(start, ion="Li"), profile(other, ion="Li")
    assert {name: pytest.approx(value) for name, value in one.properties.items()} == dict(two.properties)
    assert sum(count_ions(read_slice(other), "Li").values()) == sum(
        item.specie.symbol == "Li" for item in start
    )


def test_structures_without_sides_are_refused() -> None:
    """The failure says which labels are needed, and which sides there are."""
    plain = Structure(Lattice.cubic(4.0), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    failure = profile(plain).failure
    assert failure is not None
    assert "sides here: none" in failure.message
