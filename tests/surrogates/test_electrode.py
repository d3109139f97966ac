"""Electrodes: ions leave and enter, voltages follow from energies by hand, and impossible exchanges say why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.apps.battery.insertion_battery import InsertionElectrode
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.protocols import Forces, PotentialSettings
from invdesign.settings import load
from invdesign.structures.prototypes import find_prototype
from surrogates.electrode import metals
from surrogates.electrode.capacity import find_capacity
from surrogates.electrode.evaluator import Electrode, find_voltage_errors
from surrogates.electrode.hosts import compare_hosts, find_worse_class
from surrogates.electrode.metals import MetalError, find_metal_energy
from surrogates.electrode.orderings import rank_orderings
from surrogates.electrode.sites import InsertionError, IonSites, choose_supercell, find_ion_sites
from surrogates.electrode.voltage import average_voltage, find_profile
from surrogates.electrode.window import TopotacticWindow
from surrogates.pairs import find_pairs
from surrogates.potentials.ase import ASECalculator
from surrogates.potentials.chgnet import CHGNet

METAL = -1.9  # eV/atom, of the ion's metal
IN_HOST = -5.0  # eV, of an ion in any host
IONS = ("Li", "Na", "K")


class LatticeGas(PotentialSettings):
    """Energies of ions on sites: one per ion, and one per pair of near ions. Nothing moves."""

    pair: float = 0.0
    reach: float = 3.0

    @property
    def label(self) -> str:
        return "lattice gas"

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        return [self.answer(item) for item in atoms]

    def answer(self, atoms: Atoms) -> Forces:
        ions = np.array([symbol in IONS for symbol in atoms.symbols])
        if not ions.any():
            energy = -7.0 * len(atoms)
        elif ions.all():
            energy = METAL * len(atoms)
        else:
            first, *_ = find_pairs(atoms.positions[ions], atoms.cell.array, self.reach)
            energy = IN_HOST * ions.sum() - 7.0 * (~ions).sum() + self.pair * len(first) / 2
        return Forces(float(energy), np.zeros((len(atoms), 3)), np.zeros((3, 3)))


GAS = LatticeGas()
LENNARD_JONES = ASECalculator(calculator="lj", arguments={"epsilon": 0.2, "sigma": 1.8, "rc": 6.0})


def crystal(name: str, **swap: str) -> Structure:
    """Primitive cell of a prototype, with other elements."""
    structure = find_prototype(name).build_structure(primitive=True)
    structure.replace_species(dict(swap))
    return Structure(structure.lattice, structure.species, structure.frac_coords)


def without(structure: Structure, ion: str = "Li") -> Structure:
    """The host alone."""
    host = structure.copy()
    host.remove_species([ion])
    return host


def evaluated(evaluator: Any, structure: Structure) -> Evaluation:
    """Evaluate one structure."""
    held = {"initial": structure}
    item = Input(Candidate(0, "key", Proposal({})), Design(structures=held), {}, held, 0)
    found: Sequence[Evaluation] = evaluator.evaluate([item])
    return found[0]


def electrode(**fields: Any) -> Electrode:
    """Make the evaluator with the lattice gas, small and without displacements."""
    return Electrode.model_validate({"working_ion": "Li", "potential": GAS, "rattle": 0.0, **fields})


def reason(evaluation: Evaluation) -> str:
    """Text of a failure."""
    assert evaluation.failure is not None
    assert not evaluation.properties
    return evaluation.failure.message


# Voltage and capacity.


def test_voltage_and_capacity_of_layered_licoo2() -> None:
    """An ion gains 3.1 eV in the host against the metal; capacities are those of textbooks; both ends are stored."""
    found = evaluated(electrode(), crystal("layered"))
    assert found.failure is None
    values = found.properties
    assert values["average_voltage"] == pytest.approx(METAL - IN_HOST)
    assert values["lowest_voltage"] == values["highest_voltage"] == values["average_voltage"]
    assert values["capacity_per_discharged_mass"] == pytest.approx(273.8, abs=0.1)
    assert values["capacity_per_host_mass"] == pytest.approx(294.7, abs=0.1)
    assert values["energy_per_discharged_mass"] == pytest.approx(3.1 * 273.8, abs=0.5)
    density = 5.05  # g/cm^3, of the cell of the prototype
    assert values["capacity_per_discharged_volume"] == pytest.approx(273.8 * density, rel=0.01)
    assert found.structures["charged"].composition.reduced_formula == "CoO2"
    assert found.structures["discharged"].composition.reduced_formula == "LiCoO2"
    assert "was not measured" in found.details["average_voltage"]
    assert not found.systematic


@pytest.mark.parametrize(
    ("ions", "discharged", "charged", "expected"),
    [
        (1, 157.757, 150.816, (169.9, 177.7)),
        (1, 79.01, 72.066, (339.2, 371.9)),
        (15, 216.46, 112.34, (None, 3579.0)),
    ],
)
def test_capacities_by_mass(
    ions: int, discharged: float, charged: float, expected: tuple[Any, float]
) -> None:
    """LiFePO4 170 mAh/g discharged; LiC6 372 and Li15Si4 3579 mAh/g of the host."""
    found = find_capacity(ions, 1, discharged, charged, 100.0)
    assert found.per_host_mass == pytest.approx(expected[1], rel=1e-3)
    if expected[0]:
        assert found.per_discharged_mass == pytest.approx(expected[0], rel=1e-3)


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=8),
    st.integers(1, 3),
    st.floats(-5, 0),
)
def test_laws_of_profiles(energies: list[float], charge: int, metal: float) -> None:
    """Voltages fall along the profile, their mean is the average, and orderings above the hull change nothing."""
    levels = {count: [energy] for count, energy in enumerate(energies)}
    found = find_profile(levels, metal, charge)
    volts = [step.voltage for step in found.steps]
    assert all(a >= b - 1e-6 for a, b in pairwise(volts))
    sizes = [step.high - step.low for step in found.steps]
    assert sum(sizes) == len(energies) - 1
    assert np.average(volts, weights=sizes) == pytest.approx(found.average, abs=1e-9)
    assert found.average == pytest.approx(
        average_voltage(energies[0], energies[-1], len(energies) - 1, metal, charge)
    )
    worse = {count: [energy, energy + 1.0] for count, (energy,) in levels.items()}
    assert find_profile(worse, metal, charge) == found


def test_the_profile_is_that_of_pymatgen() -> None:
    """Plateaus agree with `InsertionElectrode` over the same energies."""
    host, rng = crystal("olivine"), np.random.default_rng(2)
    sites = find_ion_sites(host, "Li", empty=False)
    energies = {count: -100.0 - 5.0 * count + rng.normal(scale=0.5) for count in range(5)}
    entries = [
        ComputedStructureEntry(sites.fill(range(count)), energy, entry_id=count)
        for count, energy in energies.items()
    ]
    metal = ComputedStructureEntry(Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]]), METAL, entry_id="Li")
    theirs = InsertionElectrode.from_entries(entries, metal)
    ours = find_profile({count: [energy] for count, energy in energies.items()}, METAL)
    np.testing.assert_allclose(
        [step.voltage for step in ours.steps], [pair.voltage for pair in theirs.voltage_pairs], atol=1e-9
    )
    assert ours.average == pytest.approx(theirs.get_average_voltage(), abs=1e-9)


def test_repulsion_of_ions_makes_plateaus() -> None:
    """Ions that repel their neighbours leave early: the first voltage is the highest, and the average is the mean."""
    found = evaluated(electrode(steps=3, potential=LatticeGas(pair=0.1)), crystal("layered"))
    assert found.failure is None
    values = found.properties
    assert values["highest_voltage"] > values["average_voltage"] + 0.1 > values["lowest_voltage"] + 0.2
    assert values["average_voltage"] == pytest.approx(
        METAL - IN_HOST - 0.3
    )  # six neighbours, each shared by two
    assert " V from 0 to 1 Li" in found.details["highest_voltage"]


def test_a_larger_cell_changes_nothing() -> None:
    """Capacity, voltage and host are those of the primitive cell."""
    small, large = crystal("spinel"), crystal("spinel")
    large.make_supercell((1, 1, 2))
    one, two = (evaluated(electrode(), item).properties for item in (small, large))
    assert one == pytest.approx(two)


def test_only_the_measured_potential_has_an_error() -> None:
    """CHGNet 0.3.0 carries 0.33 V, its other checkpoints and other potentials none."""
    capacity = {"capacity_per_discharged_mass": 100.0, "capacity_per_discharged_volume": 300.0}
    found = find_voltage_errors(CHGNet(), capacity)
    assert found["average_voltage"] == 0.33
    assert found["energy_per_discharged_mass"] == pytest.approx(33.0)
    assert not find_voltage_errors(CHGNet(model="r2scan"), capacity)


# Sites and orderings.


@pytest.mark.parametrize("name", ["olivine", "layered", "spinel"])
def test_an_empty_host_takes_its_ions_back(name: str) -> None:
    """Where all ions were taken out, the orderings to try have the sites of the ions that were there."""
    full = crystal(name)
    host = without(full)
    own = np.array([site.frac_coords for site in full if site.specie.symbol == "Li"])
    sites = find_ion_sites(host, "Li", empty=True)
    found = [
        sites.host.lattice.get_all_distances(own, sites.positions[list(chosen)]).min(axis=1).max()
        for chosen in rank_orderings(sites, len(own), 6)
    ]
    assert min(found) < 0.3


def test_more_ions_fill_the_octahedra_of_a_spinel() -> None:
    """LiMn2O4 takes a second lithium: all are on the octahedral sites, which share faces with the others."""
    found = evaluated(electrode(to=2, working_ion="Li"), crystal("spinel"))
    assert found.failure is None
    fuller = found.structures["discharged"]
    assert fuller.composition.reduced_formula == "LiMnO2"
    ions = [k for k, site in enumerate(fuller) if site.specie.symbol == "Li"]
    near = [min(fuller.get_distance(k, j) for j in ions if j != k) for k in ions]
    assert min(near) > 2.5


def test_orderings_are_ranked_by_their_ewald_energy() -> None:
    """Of six ways to take two of four ions three are distinct, in the order of pymatgen's Ewald sums."""
    sites = find_ion_sites(crystal("olivine"), "Li", empty=False)
    ranked = rank_orderings(sites, 2, 10)
    assert len(ranked) == 3

    def ewald(chosen: Sequence[int]) -> float:
        structure = sites.fill(chosen)
        structure.add_oxidation_state_by_element({"Li": 1, "Fe": 2.5, "P": 5, "O": -2})
        return float(EwaldSummation(structure).total_energy)

    energies = [ewald(chosen) for chosen in ranked]
    assert energies == sorted(energies)
    assert energies[0] == pytest.approx(min(map(ewald, combinations(range(4), 2))), abs=1e-3)


def test_descents_find_the_ordering_that_enumeration_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where arrangements are too many to list, the lowest is found all the same."""
    sites = find_ion_sites(crystal("layered"), "Li", empty=False).repeat((3, 2, 2))
    listed = rank_orderings(sites, 6, 1)
    monkeypatch.setattr("surrogates.electrode.orderings.MAX_ENUMERATED", 10)
    assert energy(sites, rank_orderings(sites, 6, 1)[0]) == pytest.approx(energy(sites, listed[0]), abs=1e-6)


def energy(sites: IonSites, chosen: Sequence[int]) -> float:
    """Ewald energy of ions alone, before a uniform background."""
    places = sites.positions[list(chosen)]
    ions = Structure(sites.host.lattice, ["Li+"] * len(chosen), places)
    return float(EwaldSummation(ions).total_energy)


@pytest.mark.parametrize(
    ("shares", "cells"), [((1, 0), 1), ((1, 0.5, 0), 2), ((1, 0.333, 0), 3), ((1, 1 / 6), 6)]
)
def test_supercells_hold_whole_ions(shares: tuple[float, ...], cells: int) -> None:
    """A cell with one ion is repeated until every share is a whole number."""
    sites = find_ion_sites(crystal("layered"), "Li", empty=False)
    repeats = choose_supercell(sites, shares)
    assert np.prod(repeats) == cells
    large = sites.repeat(repeats)
    assert all(large.count_ions(share).denominator == 1 for share in shares)
    distances = large.host.lattice.get_all_distances(large.positions, large.host.frac_coords)
    assert distances.min() > 1.5


# The host.


def test_hosts_that_change() -> None:
    """An atom that moves by more than 1.5 Å, or oxygen that pairs, makes another host; drift and strain do not."""
    full = find_ion_sites(crystal("layered"), "Li", empty=False).repeat((2, 2, 1))
    before, after = full.fill(range(4)), full.fill(())
    size = len(full.host)
    drifted = Structure(Lattice(after.lattice.matrix * 1.05), after.species, after.frac_coords + 0.07)
    kept = compare_hosts(before, drifted, size)
    assert not kept.changed
    assert kept.displacement < 0.01
    oxygen = [k for k, site in enumerate(after) if site.specie.symbol == "O"]
    near = min((j for j in oxygen if j != oxygen[0]), key=lambda j: after.get_distance(oxygen[0], j))
    paired = after.copy()
    _, image = after[oxygen[0]].distance_and_image(after[near])
    apart = after[near].frac_coords + image - after[oxygen[0]].frac_coords
    paired.translate_sites([oxygen[0]], apart * 0.45)
    found = compare_hosts(before, paired, size)
    assert found.changed
    assert re.search(r"new O-O pair of 1\.\d\d Å", found.describe())


@pytest.fixture
def _metal_of_equal_atoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the Lennard-Jones potential a metal, which its small atoms do not form."""
    monkeypatch.setitem(metals._ENERGIES, (LENNARD_JONES.fingerprint, "Li"), METAL)


@pytest.mark.usefixtures("_metal_of_equal_atoms")
def test_a_host_that_changes_fails_or_is_flagged() -> None:
    """An anti-perovskite of equal atoms collapses without an ion; flagged, it has numbers and the reason beside them."""
    ions = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    start = Structure(Lattice.cubic(3.91), ["O", "Cl", "Li", "Li", "Li"], [[0.5, 0.5, 0.5], [0, 0, 0], *ions])
    fields = {"to": 2 / 3, "potential": LENNARD_JONES, "anion_redox": True, "rattle": 0.1}
    failed = evaluated(electrode(**fields), start)
    assert re.search(
        r"host_changed: in Li2OCl new Cl-.* pair of 1\.\d\d Å.*'host_changed: flag'", reason(failed)
    )
    flagged = evaluated(electrode(**fields, host_changed="flag"), start)
    assert flagged.properties["host_changed"] == 1
    assert "new Cl-" in flagged.details["host_changed"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (crystal("spinel", Mn="Ti"), "titanate"),
        (crystal("layered"), "layered cobalt oxide"),
        (crystal("layered", Co="Ni"), ""),
        (crystal("layered", O="S", Co="Ti"), "van der Waals layers"),
        (crystal("spinel"), ""),
        (crystal("olivine"), ""),
    ],
)
def test_classes_with_larger_errors(host: Structure, expected: str) -> None:
    """Titanates, layered cobalt oxides and layers without oxygen are told apart from all others."""
    assert find_worse_class(without(host)) == expected


# Impossible exchanges.


def mixed() -> Structure:
    """A structure with shared sites."""
    structure = crystal("layered")
    structure[0] = {"Li": 0.5}
    return structure


@pytest.mark.parametrize(
    ("structure", "fields", "words"),
    [
        (crystal("layered"), {"working_ion": "Na"}, r"LiCoO2 has no Na that could be removed .* 'from: 0'"),
        (Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]]), {}, r"Li is nothing but Li: without it no host is left"),
        (mixed(), {}, r"partly occupied sites.*give an ordered occupation"),
        (crystal("lithium_rich_layered"), {}, r"more ions removed than electrons allow: .* none of its metals can be oxidised"),
        (crystal("olivine"), {"to": 2}, r"more ions inserted than electrons allow: 4 Li of LiFePO4 .* 'anion_redox: true'"),
        (crystal("nasicon"), {"to": 8}, r"more ions inserted than electrons allow: .* reduced by 8 \(Ti to \+2\).*Ask for 10 Li"),
        (crystal("layered"), {"to": 0.07}, r"need 100 cells with 400 atoms \(limit 240\)"),
        (crystal("layered"), {"to": 9, "anion_redox": True}, r"there is no room for 9 Li in Co1O2"),
        (crystal("layered"), {"potential": ASECalculator(calculator="emt")}, r"EMT.*gives no energy of Li metal|emt.*no energy of Li metal"),
    ],
)  # fmt: skip
def test_impossible_exchanges_say_why(structure: Structure, fields: dict[str, Any], words: str) -> None:
    """Each is a failed evaluation that names the finding, the limit and the remedy."""
    assert re.search(words, reason(evaluated(electrode(**fields), structure)))


@pytest.mark.usefixtures("_metal_of_equal_atoms")
def test_orderings_that_all_fail_are_a_failure() -> None:
    """Relaxations that reach no minimum in their steps are named once, with the remedy."""
    fields = {"potential": LENNARD_JONES, "relaxation_steps": 0, "rattle": 0.1}
    assert re.search(
        r"the only ordering of LiCoO2 failed: not relaxed after 0 steps.*raise 'relaxation_steps'",
        reason(evaluated(electrode(**fields), crystal("layered"))),
    )


def test_anion_redox_lifts_the_limit_of_electrons() -> None:
    """Li2MnO3 gives all its lithium where oxygen may give electrons."""
    found = evaluated(electrode(anion_redox=True), crystal("lithium_rich_layered"))
    assert found.failure is None
    assert found.properties["average_voltage"] == pytest.approx(METAL - IN_HOST)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"working_ion": "Mg"}, "there is no table of truth for Mg.*use one of Li, Na, K"),
        ({"working_ion": "Li", "from": 0.5, "to": 0.5}, "'from' and 'to' must differ, got 0.5"),
        ({"working_ion": "Li", "to": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_are_refused(fields: dict[str, Any], words: str) -> None:
    """Other ions, and exchanges of nothing, are refused when the campaign is read."""
    with pytest.raises(ValidationError, match=words):
        load("evaluators", {"kind": "electrode", **fields})


def test_settings_travel_by_their_names_in_the_campaign() -> None:
    """`from` and `to` come back from plain JSON."""
    first = load("evaluators", {"kind": "electrode", "working_ion": "Na", "from": 0, "to": 1})
    dump = first.model_dump(mode="json")
    assert (dump["from"], dump["to"]) == (0, 1)
    assert load("evaluators", dump) == first


def test_metals_are_relaxed_once() -> None:
    """Bcc lithium has the energy that it relaxes to; elements that a potential does not know are named."""
    wide = ASECalculator(calculator="lj", arguments={"epsilon": 0.2, "sigma": 2.7, "rc": 9.0})
    assert find_metal_energy(wide, "Li") == pytest.approx(
        -8.24 * 0.2, rel=0.1
    )  # -8.24 per epsilon without a cutoff
    with pytest.raises(MetalError, match="gives no energy of K metal"):
        find_metal_energy(ASECalculator(calculator="emt"), "K")


# The window of an intact electrolyte.


def anti_perovskite(ion: str = "Li") -> Structure:
    """Cubic Li3OCl."""
    ions = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.91), ["O", "Cl", ion, ion, ion], [[0.5, 0.5, 0.5], [0, 0, 0], *ions])


def test_limits_of_an_intact_electrolyte() -> None:
    """The first ion leaves eight neighbours; the first to enter finds its own: each limit by hand."""
    potential = LatticeGas(pair=0.05)
    evaluator = TopotacticWindow(ion="Li", size=7.0, sites=1, potential=potential, rattle=0.0)
    found = evaluated(evaluator, anti_perovskite())
    assert found.failure is None
    values = found.properties
    assert found.structures["ion_removed"].composition["Li"] == 23
    inserted = found.structures["ion_inserted"]
    assert inserted.composition["Li"] == 25
    ions = [site for site in inserted[:-1] if site.specie.symbol == "Li"]
    near = sum(site.distance(inserted[-1]) < potential.reach for site in ions)
    assert values["topotactic_oxidation_limit"] == pytest.approx(METAL - IN_HOST - 8 * 0.05)
    assert values["topotactic_reduction_limit"] == pytest.approx(METAL - IN_HOST - near * 0.05)
    assert values["topotactic_window_width"] == pytest.approx((near - 8) * 0.05)


@pytest.mark.parametrize(
    ("structure", "fields", "words"),
    [
        (anti_perovskite("Na"), {}, r"Na3OCl has no Li: an electrolyte must hold the ion"),
        (anti_perovskite(), {"size": 40.0}, r"heights of 40 Å has \d+ atoms \(limit 240\); lower 'size'"),
    ],
)
def test_electrolytes_without_a_window(structure: Structure, fields: dict[str, Any], words: str) -> None:
    """An electrolyte without the ion, or too large a cell, is a failure with its remedy."""
    evaluator = TopotacticWindow(ion="Li", potential=GAS, rattle=0.0, **fields)
    assert re.search(words, reason(evaluated(evaluator, structure)))


@settings(max_examples=10)
@given(st.integers(0, 4), st.integers(1, 4))
def test_arrangements_never_repeat_and_have_their_number(count: int, wanted: int) -> None:
    """Every arrangement fills as many sites as asked, at most as many arrangements as wanted, none twice."""
    sites = find_ion_sites(crystal("olivine"), "Li", empty=False)
    found = rank_orderings(sites, count, wanted)
    assert 1 <= len(found) <= wanted
    assert len({frozenset(chosen) for chosen in found}) == len(found)
    assert all(len(set(chosen)) == count for chosen in found)


def test_too_close_sites_leave_no_room() -> None:
    """Sites that share a face are not filled together."""
    sites = find_ion_sites(crystal("spinel"), "Li", empty=True)
    with pytest.raises(InsertionError, match=r"less than 1\.9 Å apart; ask for a smaller share"):
        rank_orderings(sites, len(sites) - 1, 1)
