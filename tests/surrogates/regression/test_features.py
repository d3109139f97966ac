"""Features of materials: their definitions, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.core.operations import SymmOp

from invdesign.structures.descriptors import element_property_table
from surrogates.potentials.chgnet import build_graph, load_network
from surrogates.regression.features.contract import FeatureError
from surrogates.regression.features.mixtures import mix_sites
from surrogates.regression.features.networks import GrowingNetwork
from surrogates.regression.features.registry import (
    FEATURE_SETS,
    compute_features,
    find_feature_set,
    list_columns,
)
from surrogates.regression.material import Cell, Material

COMPOSITION_SETS = [name for name, found in FEATURE_SETS.items() if found.needs == "composition"]
TRAINED = [Element.from_Z(number).symbol for number in (*range(1, 84), *range(89, 95))]
compositions = st.dictionaries(st.sampled_from(TRAINED), st.integers(1, 12), min_size=1, max_size=5)


def of(formula: str) -> Material:
    """Material of a formula."""
    return Material(formula, Composition(formula).get_el_amt_dict())


def named(names: list[str], material: Material) -> dict[str, float]:
    """Features of one material by column."""
    row = compute_features(names, [material])[0]
    return dict(zip((column.name for column in list_columns(names)), row.tolist(), strict=True))


def test_columns_match_and_are_named_once() -> None:
    """Every set gives as many numbers as it names, and no two sets share a name."""
    for name in COMPOSITION_SETS:
        assert compute_features([name], [of("LiFePO4"), of("Li2O")]).shape == (2, len(list_columns([name])))
    everything = [column.name for column in list_columns(list(FEATURE_SETS))]
    assert len(everything) == len(set(everything))


@given(compositions, st.floats(0.01, 50.0))
def test_the_scale_of_a_formula_has_no_effect(amounts: dict[str, float], scale: float) -> None:
    """LiCl and Li3.3Cl3.3 are one material, for every set of features of compositions."""
    scaled = Material("scaled", {name: amount * scale for name, amount in amounts.items()})
    found = compute_features(COMPOSITION_SETS, [Material("plain", amounts), scaled])
    np.testing.assert_allclose(found[0], found[1], atol=2e-6, rtol=1e-8)


@given(compositions)
def test_the_variance_is_a_sum_over_pairs(amounts: dict[str, float]) -> None:
    """The deviation of each property follows from fractions and differences between pairs of elements."""
    found = named(["element_statistics"], Material("x", amounts))
    names, table = element_property_table()
    fractions = np.array(list(amounts.values())) / sum(amounts.values())
    values = table[[Element(symbol).Z for symbol in amounts]]
    for name, own in zip(names, values.T, strict=True):
        variance = float(fractions @ (own[:, None] - own[None, :]) ** 2 @ fractions) / 2
        assert found[f"deviation_{name}"] == pytest.approx(variance**0.5, rel=1e-6, abs=1e-6)
        assert found[f"min_{name}"] == pytest.approx(own.min(), abs=1e-8)


def test_every_element_has_every_property() -> None:
    """An unknown value is the mean of the element's group."""
    names, table = element_property_table()
    assert table.shape == (119, len(names))
    assert np.isfinite(table).all()
    radius = table[:, names.index("atomic_radius")]
    group = [Element.from_Z(number) for number in range(1, 104) if Element.from_Z(number).group == 3]
    known = [float(e.atomic_radius_calculated) for e in group if e.atomic_radius_calculated]
    assert radius[57] == pytest.approx(np.mean(known))


def test_deuterium_counts_as_hydrogen() -> None:
    """LiD has the features of LiH."""
    heavy = Material("LiD", {"Li": 1.0, "D": 1.0})
    np.testing.assert_array_equal(*compute_features(COMPOSITION_SETS, [heavy, of("LiH")]))


def test_oxidation_states_of_a_phosphate() -> None:
    """LiFePO4 has Li+, Fe2+, P5+ and O2-."""
    found = named(["oxidation_states"], of("LiFePO4"))
    assert found["charge_imbalance"] == 0
    assert (found["min_cation_state"], found["max_cation_state"]) == (1, 5)
    assert found["mean_cation_state"] == pytest.approx(8 / 3)
    assert found["mean_anion_state"] == -2
    assert found["anion_fraction_O"] == 1
    assert found["positive_nonmetal_fraction"] == pytest.approx(1 / 7)


def test_every_material_that_cannot_be_described_is_named() -> None:
    """One message names all of them, with what was found; the others can go on."""
    bad = Material("LiXx", {"Li": 1.0, "Xx": 1.0})
    negative = Material("LiO", {"Li": 1.0, "O": -1.0})
    with pytest.raises(FeatureError, match="'Xx' is not an element") as caught:
        compute_features(["element_statistics"], [bad, of("Li2O"), negative])
    assert set(caught.value.complaints) == {0, 2}
    with pytest.raises(FeatureError, match="amount of O is -1"):
        compute_features(["element_fractions"], [negative])
    with pytest.raises(FeatureError, match="no atoms"):
        compute_features(["element_fractions"], [Material("nothing", {})])
    with pytest.raises(FeatureError, match="was not trained on Ra"):
        compute_features(["element_vectors"], [of("RaCl2")])
    with pytest.raises(FeatureError, match="heavier than plutonium"):
        compute_features(["element_fractions"], [of("CmO2")])


def test_an_unknown_set_brings_a_suggestion() -> None:
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(FeatureError, match="Did you mean 'element_statistics'"):
        find_feature_set("element_statistic")


@given(st.floats(0.1, 20.0), st.floats(0.1, 20.0))
def test_the_scales_of_both_formulas_have_no_effect(first: float, second: float) -> None:
    """Each formula of a pair may be on its own scale."""
    full, empty = of("LiMn2O4").composition, of("Mn2O4").composition
    scaled = Material(
        "scaled",
        {name: amount * first for name, amount in full.items()},
        charged={name: amount * second for name, amount in empty.items()},
    )
    rows = compute_features(["redox_couples"], [Material("plain", full, charged=empty), scaled])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.parametrize("charged", ["LiCoO2", "FePO4", "Li2CoO2", "Li"])
def test_a_pair_of_different_hosts_is_refused(charged: str) -> None:
    """The charged formula must be the same host with fewer ions."""
    with pytest.raises(FeatureError, match="LiCoO2: the charged formula is not the discharged one"):
        compute_features(
            ["redox_couples"], [Material("LiCoO2", of("LiCoO2").composition, charged=of(charged).composition)]
        )


def test_the_part_of_a_material_that_is_needed_is_asked_for() -> None:
    """A formula alone has neither pair nor cell nor crystal; each message says what to give."""
    for name, need in (
        ("redox_couples", "charged composition"),
        ("cell", "lengths, angles"),
        ("chgnet", "structure file"),
    ):
        with pytest.raises(FeatureError, match=f"Li2O: .*{need}"):
            compute_features([name], [of("Li2O")])


SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SPINEL = Structure.from_spacegroup(
    "Fd-3m",
    Lattice.cubic(8.24),
    ["Li", "Mn", "O"],
    [[0.125, 0.125, 0.125], [0.5, 0.5, 0.5], [0.263, 0.263, 0.263]],
).get_primitive_structure()


def crystal(structure: Structure) -> Material:
    """Material of a crystal."""
    return Material("crystal", structure.composition.get_el_amt_dict(), crystal=structure)


def turned(structure: Structure, angle: float) -> Structure:
    """The crystal rotated about an axis."""
    copy = structure.copy()
    copy.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], angle))
    return copy


def test_features_of_a_crystal_do_not_depend_on_its_description() -> None:
    """Supercell, rotation, origin and order of the sites have no effect on the network's features."""
    shuffled = Structure.from_sites(list(SPINEL)[::-1])
    shifted = SPINEL.copy().translate_sites(range(len(SPINEL)), [0.1, 0.23, 0.4])
    same = [SPINEL, SPINEL * (2, 1, 1), turned(SPINEL, 71.0), shuffled, shifted]
    rows = compute_features(["chgnet"], [crystal(structure) for structure in same])
    np.testing.assert_allclose(rows[1:], np.repeat(rows[:1], len(same) - 1, axis=0), atol=1e-4)
    cells = compute_features(["cell"], [crystal(structure) for structure in same])
    np.testing.assert_allclose(cells[1:], np.repeat(cells[:1], len(same) - 1, axis=0), atol=1e-3)


def test_a_fully_occupied_crystal_equals_the_ordered_one() -> None:
    """Sites with an occupancy of one, beside a disordered crystal in the batch, or as halves of one element."""
    species = [{"Li+": 0.5, "Li": 0.5} if site.specie.symbol == "Li" else {"Cl": 1.0} for site in SALT]
    halves = Structure(SALT.lattice, species, SALT.frac_coords)
    mixed = SALT.copy()
    mixed.replace_species({"Li": {"Li": 0.5, "Na": 0.5}})
    rows = compute_features(["chgnet"], [crystal(SALT), crystal(halves), crystal(mixed)])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)
    assert np.abs(rows[2] - rows[0]).max() > 0.01


def test_alternatives_closer_than_an_angstrom_are_one_site() -> None:
    """Lithium split over two places around its site is lithium on the site; a molecule of H2 stays two atoms."""
    split = Structure(SALT.lattice, [], [])
    for site in SALT:
        if site.specie.symbol == "Cl":
            split.append("Cl", site.frac_coords)
        else:
            for move in (-0.05, 0.05):
                split.append({"Li": 0.5}, np.add(site.frac_coords, [move, 0, 0]))
    assert len(mix_sites(split).positions) == len(SALT)
    rows = compute_features(["chgnet"], [crystal(SALT), crystal(split)])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)
    molecule = Structure(Lattice.cubic(4), ["H", "H"], [[0.99, 0, 0], [0.175, 0, 0]])
    assert len(mix_sites(molecule).positions) == 2


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
def test_atom_features_are_those_of_the_package() -> None:
    """The package gives the features after the third convolution, and the sum of the last ones, normalised."""
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("chgnet.model")
    network = load_network("0.3.0", "cpu")
    theirs = model.CHGNet.load(verbose=False, use_device="cpu")
    (third, fourth), _ = network.describe_atoms(build_graph(network, SPINEL.to_ase_atoms()))
    expected = theirs.predict_structure(SPINEL, task="e", return_atom_feas=True, return_crystal_feas=True)
    np.testing.assert_allclose(third, expected["atom_fea"], atol=1e-4)
    normalised = theirs.readout_norm(torch.tensor(fourth, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(normalised.sum(axis=0), expected["crystal_fea"], rtol=1e-4, atol=1e-3)


def test_a_crystal_without_neighbours_is_named() -> None:
    """An atom alone in a large cell, and a cell that is too small, are refused with a remedy."""
    alone = Structure(Lattice.cubic(20), ["Li"], [[0, 0, 0]])
    tiny = Structure(Lattice.cubic(0.5), ["Li"], [[0, 0, 0]])
    with pytest.raises(FeatureError, match=r"crystal: .*without a neighbour.*check its cell") as caught:
        compute_features(["chgnet"], [crystal(alone), crystal(SALT), crystal(tiny)])
    assert set(caught.value.complaints) == {0, 2}


def test_cell_of_a_disordered_crystal_keeps_its_symmetry() -> None:
    """Equal mixtures are one species: half-occupied rock salt is cubic, with the volume of the atoms there."""
    half = SALT.copy()
    half.replace_species({"Li": {"Li": 0.5}})
    found = named(["cell"], crystal(half.get_primitive_structure()))
    assert (found["space_group"], found["crystal_system"]) == (225, 6)
    assert found["a"] == pytest.approx(5.13)
    assert found["volume_per_atom"] == pytest.approx(5.13**3 / 6)
    assert found["volume_per_lithium"] == pytest.approx(5.13**3 / 2)
    assert named(["cell"], crystal(SALT))["density"] == pytest.approx(float(SALT.density), rel=1e-4)


def test_a_cell_without_positions_gives_what_is_known() -> None:
    """The stated cell gives the numbers of the crystal; without a count of atoms volumes are unknown."""
    stated = Material("LiCl", {"Li": 1, "Cl": 1}, cell=Cell(225, (5.13,) * 3, (90.0,) * 3, atoms=8))
    np.testing.assert_allclose(*compute_features(["cell"], [stated, crystal(SALT)]), rtol=1e-4)
    bare = Material("LiCl", {"Li": 1, "Cl": 1}, cell=Cell(None, (5.13,) * 3, (90.0,) * 3))
    found = named(["cell"], bare)
    assert np.isnan([found["space_group"], found["volume_per_atom"], found["density"]]).all()
    wrong = Material("LiCl", {"Li": 1, "Cl": 1}, cell=Cell(225, (5.13,) * 3, (90.0, 10.0, 150.0)))
    with pytest.raises(FeatureError, match="no cell has the lengths"):
        compute_features(["cell"], [wrong])


def test_packing_does_not_depend_on_the_description() -> None:
    """Supercell, rotation, origin and order of the sites have no effect."""
    shifted = SPINEL.copy().translate_sites(range(len(SPINEL)), [0.1, 0.23, 0.4])
    same = [
        SPINEL,
        SPINEL * (2, 1, 3),
        turned(SPINEL, 71.0),
        Structure.from_sites(list(SPINEL)[::-1]),
        shifted,
    ]
    rows = compute_features(["packing"], [crystal(structure) for structure in same])
    np.testing.assert_allclose(rows[1:], np.repeat(rows[:1], len(same) - 1, axis=0), atol=1e-4)


def test_packing_of_rock_salt() -> None:
    """Six neighbours at half the cell's edge; the first bonds make a framework at once."""
    found = named(["packing"], crystal(SALT))
    assert found["mean_nearest_distance"] == pytest.approx(5.13 / 2)
    assert found["max_shell_coordination"] == pytest.approx(6, abs=0.5)
    ratio = 5.13 / 2 / (1.28 + 1.02)  # covalent radii of lithium and chlorine
    for name in ("first_chain", "last_layer", "last_framework"):
        assert found[f"{name}_ratio"] == pytest.approx(ratio, abs=1e-5)
    assert found["like_bonds"] < 0.1


def test_layers_become_a_framework_by_long_bonds_alone() -> None:
    """Graphite: sheets at the length of its bonds, a framework across the gap; a sheet in vacuum has the upper bound."""
    lattice, positions = (
        Lattice.hexagonal(2.46, 6.7),
        [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25], [0, 0, 0.75], [2 / 3, 1 / 3, 0.75]],
    )
    found = named(["packing"], crystal(Structure(lattice, ["C"] * 4, positions)))
    assert found["last_layer_ratio"] == pytest.approx(2.46 / 3**0.5 / (2 * 0.76), abs=1e-4)
    assert found["first_framework_ratio"] == pytest.approx(3.35 / (2 * 0.76), abs=1e-4)
    sheet = Structure(Lattice.hexagonal(2.46, 30), ["C"] * 2, positions[:2])
    assert named(["packing"], crystal(sheet))["first_framework_ratio"] == 3
    with pytest.raises(FeatureError, match="crystal: it has atoms without a neighbour"):
        compute_features(["packing"], [crystal(Structure(Lattice.cubic(20), ["Li"], [[0, 0, 0]]))])


@given(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=1, max_size=6))
def test_dimensions_are_the_rank_of_the_translations(images: list[tuple[int, int, int]]) -> None:
    """Bonds of one site to its images span a lattice, whose rank is the dimension of the network."""
    network = GrowingNetwork(1)
    for image in images:
        network.add_bond(0, 0, image)
    rank = int(np.linalg.matrix_rank(np.array(images)))
    assert network.measure_dimensions() == (rank, rank)


def test_cations_are_counted_by_charge() -> None:
    """Per anion, lithium aside; a mixed-valent cation counts with both charges, and a composition alone suffices."""
    found = named(["cation_charges"], of("Li7La3Zr2O12"))
    assert found == pytest.approx(
        {
            f"cations_{charge}_per_anion": share
            for charge, share in zip(range(1, 7), [0, 0, 3 / 12, 2 / 12, 0, 0], strict=True)
        }
    )
    mixed = named(["cation_charges"], of("LiFe2P2O8"))  # Fe2.5+
    assert mixed["cations_2_per_anion"] == pytest.approx(1 / 8) == mixed["cations_3_per_anion"]
    assert mixed["cations_5_per_anion"] == pytest.approx(2 / 8)


@given(compositions)
def test_charges_and_entropies_have_their_limits(amounts: dict[str, float]) -> None:
    """All cations but lithium are counted once; no mixing entropy exceeds that of equal parts."""
    material = Material("x", amounts)
    found = named(["ionic_composition"], material)
    charges = compute_features(["cation_charges"], [material])[0]
    if np.isfinite(charges).all():
        assert charges.sum() == pytest.approx(found["cations_per_anion"], abs=1e-6)
        assert (charges >= 0).all()
    assert 0 <= found["mixing_entropy"] <= np.log(found["elements"]) + 1e-9
    assert found["elements"] >= found["cation_elements"] + found["anion_elements"]


def test_ions_of_an_argyrodite() -> None:
    """Amounts, kinds of anions and charges of Li6PS5Cl."""
    found = named(["ionic_composition"], of("Li6PS5Cl"))
    assert found["lithium_fraction"] == pytest.approx(6 / 13)
    assert found["lithium_per_anion"] == pytest.approx(1.0)
    assert found["lithium_per_cation"] == pytest.approx(6.0)
    assert found["mean_cation_charge"] == pytest.approx(5.0)
    assert found["mostly_S"] == 1.0
    assert found["mostly_Cl"] == 0.0
    assert found["Cl_share_of_anions"] == pytest.approx(1 / 6)
    assert found["mean_anion_radius"] == pytest.approx((5 * 1.84 + 1.81) / 6)
    assert found["unbalanced_charge"] == 0.0


def test_space_group_and_volumes_of_rocksalt() -> None:
    """The group and the system are marked once; volumes are those of the conventional cell, from a crystal as from its cell."""
    crystal = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    cell = Cell(225, (5.13,) * 3, (90.0,) * 3, 8)
    for material in (
        Material("LiCl", {"Li": 1, "Cl": 1}, crystal=crystal.get_primitive_structure()),
        Material("LiCl", {"Li": 1, "Cl": 1}, cell),
    ):
        group = named(["space_group"], material)
        assert {name for name, mark in group.items() if mark} == {"space_group_225", "cubic"}
        volumes = named(["volumes"], material)
        assert volumes["log10_volume_per_lithium"] == pytest.approx(np.log10(5.13**3 / 4), abs=1e-6)
        spheres = 4 / 3 * np.pi * np.array([0.76, 1.81]) ** 3 * 4 / 5.13**3
        assert volumes["ionic_volume_share"] == pytest.approx(spheres.sum(), abs=1e-6)
        assert volumes["framework_volume_share"] == pytest.approx(spheres[1], abs=1e-6)


def test_a_cell_without_group_or_atoms_leaves_features_unknown() -> None:
    """What a table does not state is NaN, not a guess; without any cell the remedy is named."""
    bare = Material("LiCl", {"Li": 1, "Cl": 1}, Cell(None, (5.13,) * 3, (90.0,) * 3))
    assert np.isnan(compute_features(["space_group", "volumes"], [bare])).all()
    for name in ("space_group", "volumes"):
        with pytest.raises(FeatureError, match="model of compositions alone"):
            compute_features([name], [of("LiCl")])
