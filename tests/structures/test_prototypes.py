"""The library of prototypes, checked against what crystallography and chemistry ask of them."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign.errors import InvdesignError
from invdesign.settings import load
from invdesign.structures.charges import charge_imbalance, is_neutral, oxidation_states
from invdesign.structures.prototypes import find_prototype, list_prototype_names
from invdesign.structures.symmetry import symmetry_dataset

# Shortest cation-anion, anion-anion and cation-cation distances (Å) that any of them may have: P-O is 1.52,
# O-O in PO4 2.42 (strained tavorite), Li-Li in Li3N 2.1.
SHORTEST = {(-1, 1): 1.5, (-1, -1): 2.4, (1, 1): 2.05}
# Pairs that share electrons: B-H 1.22, H-H in BH4 1.96, C-C 1.44.
SHORTEST_COVALENT = {("B", "H"): 1.15, ("H", "H"): 1.9, ("C", "C"): 1.4}
# Mean distances to the nearest neighbours: element, coordination number, neighbour, Å.
BONDS = [
    ("olivine", "T", 4, "O", 1.54),
    ("olivine", "M", 6, "O", 2.16),
    ("tavorite", "T", 4, "O", 1.55),
    ("nasicon", "M", 6, "O", 1.95),
    ("spinel", "M", 6, "O", 1.96),
    ("spinel", "A", 4, "O", 1.97),
    ("layered", "M", 6, "O", 1.92),
    ("layered", "A", 6, "O", 2.09),
    ("lithium_rich_layered", "M", 6, "O", 1.91),
    ("garnet", "M", 6, "O", 2.11),
    ("argyrodite", "T", 4, "S", 2.05),
    ("argyrodite", "A", 3, "S", 2.28),
    ("antiperovskite", "B", 6, "Li", 1.955),
    ("antiperovskite", "X", 12, "Li", 2.765),
    ("Na3YCl6", "M", 6, "Cl", 2.66),
    ("silicate", "T", 4, "O", 1.66),
    ("lithium_phosphate", "T", 4, "O", 1.56),
    ("Li3PS4", "T", 4, "S", 2.05),
    ("Li7P3S11", "T1", 4, "S", 2.07),
    ("Li10GeP2S12", "T1", 4, "S", 2.24),
    ("Li3YCl6", "M1", 6, "Cl", 2.67),  # calculated, 0.03 Å longer than measured bonds
    ("Li3InCl6", "M", 6, "Cl", 2.55),  # the same
    ("Li2ZrCl6", "M1", 6, "Cl", 2.50),
    ("layered_sulfide", "M", 6, "S", 2.42),
    ("LiBH4", "T", 4, "H", 1.22),
    ("Li3PS4_gamma", "T", 4, "S", 2.01),  # measured, 0.04 Å shorter than in the beta form as calculated
    ("LiNbO3", "M", 6, "O", 2.04),  # calculated, 0.04 Å longer than measured bonds
    ("Li3P", "X", 5, "Li", 2.47),
    ("lithium", "A", 8, "Li", 3.04),
]


def test_the_families_batteries_are_made_of_are_there() -> None:
    """Every family that the documentation names is in the library."""
    assert {
        "antiperovskite", "olivine", "spinel", "layered", "garnet", "argyrodite", "tavorite", "antifluorite",
        "rocksalt", "nasicon",
    } <= set(list_prototype_names())  # fmt: skip


@pytest.mark.parametrize("name", list_prototype_names())
class TestEvery:
    """Rules for every prototype."""

    def test_symmetry_is_the_published_one(self, name: str) -> None:
        """The atoms that one position per orbit generates have the stated space group."""
        crystal = find_prototype(name)
        structure = crystal.build_structure()
        found = symmetry_dataset(structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        assert found.number == crystal.spacegroup

    def test_orbits_are_orbits(self, name: str) -> None:
        """Each label is one set of equivalent sites, of the stated multiplicity and Wyckoff letter's size."""
        crystal = find_prototype(name)
        structure = crystal.build_structure()
        found = symmetry_dataset(structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        labels = np.array(structure.site_properties["label"])
        for site in crystal.sites:
            orbit = set(found.crystallographic_orbits[labels == site.label])
            assert len(orbit) == 1, site.label
            assert (labels == site.label).sum() == int(site.wyckoff[:-1])

    def test_charges_balance(self, name: str) -> None:
        """The formal charges sum to zero; sites without one (mixed valence) can make up the rest."""
        counts: dict[str, int] = {}
        states: dict[str, tuple[int, ...]] = {}
        if (
            is_neutral(find_prototype(name).build_structure().composition.get_el_amt_dict())
            and name == "LiC6"
        ):
            return  # six carbon atoms share one electron: a unit, no states
        for site in find_prototype(name).sites:
            known = site.oxidation_state
            counts[site.label] = int(site.wyckoff[:-1])
            states[site.label] = (known,) if known is not None else oxidation_states(site.element, 1)
        assert charge_imbalance(counts, states) == 0

    def test_no_atoms_are_too_close(self, name: str) -> None:
        """Distances are those of bonds: a wrong origin choice puts oxygen 0.3 Å from oxygen."""
        structure = find_prototype(name).build_structure()
        signs = np.sign([state or 3 for state in structure.site_properties["oxidation_state"]])
        first, second, _, distance = structure.get_neighbor_list(3.0)
        for a, b, d in zip(first, second, distance, strict=True):
            elements = tuple(sorted((structure[a].specie.symbol, structure[b].specie.symbol)))
            least = SHORTEST_COVALENT.get(elements, SHORTEST[tuple(sorted((int(signs[a]), int(signs[b]))))])
            assert d > least, (structure[a], structure[b])

    def test_it_names_its_source_and_labels_its_sites_once(self, name: str) -> None:
        """Labels are unique, and none is the symbol of another element of the crystal."""
        crystal = find_prototype(name)
        labels = [site.label for site in crystal.sites]
        elements = {site.element for site in crystal.sites}
        assert len(crystal.source) > 15
        assert len(set(labels)) == len(labels)
        assert not set(labels) & elements

    def test_the_primitive_cell_keeps_labels_and_formula(self, name: str) -> None:
        """Reducing a centred cell divides every orbit alike."""
        crystal = find_prototype(name)
        whole, reduced = crystal.build_structure(), crystal.build_structure(primitive=True)
        assert reduced.composition.reduced_formula == whole.composition.reduced_formula
        share = len(whole) / len(reduced)
        for site in crystal.sites:
            count = reduced.site_properties["label"].count(site.label)
            assert count * share == int(site.wyckoff[:-1])


@pytest.mark.parametrize(("name", "label", "coordination", "neighbour", "length"), BONDS)
def test_bond_lengths_are_those_known(
    name: str, label: str, coordination: int, neighbour: str, length: float
) -> None:
    """Coordination and mean bond length of key sites are those of the literature, within 0.02 Å."""
    structure = find_prototype(name).build_structure()
    site = structure[structure.site_properties["label"].index(label)]
    near = sorted(structure.get_neighbors(site, 4.0), key=lambda other: other.nn_distance)[:coordination]
    assert {other.specie.symbol for other in near} == {neighbour}
    assert np.mean([other.nn_distance for other in near]) == pytest.approx(length, abs=0.02)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    """A typo lists what there is."""
    with pytest.raises(InvdesignError, match=r"no prototype 'olivin'. Did you mean 'olivine'\? Known: anti"):
        find_prototype("olivin")
    with pytest.raises(InvdesignError, match=r"no prototype 'zzz'. Known"):
        find_prototype("zzz")


def test_a_former_name_is_still_understood() -> None:
    """Stored campaigns say `halide`; new files are told what it is called now."""
    assert find_prototype("halide") == find_prototype("Na3YCl6")
    assert "halide" not in list_prototype_names()
    space = load("spaces", {"kind": "substitution", "parent": "halide", "sites": {"M": ["Y", "Er"]}})
    assert (
        space.size()
        == load("spaces", {"kind": "substitution", "parent": "Na3YCl6", "sites": {"M": ["Y", "Er"]}}).size()
    )
    (remark,) = space.remarks
    assert remark == "the prototype 'halide' is called 'Na3YCl6' now; write so in new files"
