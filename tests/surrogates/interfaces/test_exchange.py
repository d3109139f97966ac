"""Exchanges between two bulks: counted by labels, balanced by ions, computed once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.structures.parents import build_parent
from surrogates.interfaces.exchange import (
    Defect,
    ExchangeError,
    Host,
    Kind,
    Method,
    arrange_defects,
    count_exchanges,
    find_exchange_energy,
    forget_exchanges,
)
from surrogates.interfaces.exchange_evaluator import ExchangeEnergy
from surrogates.potentials.ase import ASECalculator
from surrogates.relaxation.references import Treatment, forget_references, relax_reference
from surrogates.relaxation.relax import CallCounter
from tests.surrogates.interfaces.crystals import COPPER, bulk, stack

EMT = ASECalculator(calculator="emt")
GAS = ASECalculator(calculator="ideal_gas")
SMALL = Method(supercell=5.0, fmax=0.01, rattle=0.02)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_references()
    forget_exchanges()


def metal(element: str) -> Structure:
    side = 3.0
    return relax_reference(
        bulk(element, side / 2**0.5 * 1.2, 1.8), EMT, Treatment(True, 0.005, 0.01)
    ).structure


def crystal(name: str) -> Structure:
    return build_parent(name, (1, 1, 1), primitive=False).build_structure()


def replace(structure: Structure, changes: dict[int, str]) -> Structure:
    found = structure.copy()
    for index, element in changes.items():
        found.replace(index, element, properties=found[index].properties)
    return found


# --- labels


def test_exchanges_are_counted_in_pairs() -> None:
    built = stack("Cu", "Ni", (4, 4))
    assert count_exchanges(built) == Counter()
    mixed = replace(built, {0: "Ni", 1: "Ni", 5: "Cu", 7: "Cu"})
    assert count_exchanges(mixed) == Counter({Kind("Cu", "Ni"): 2})


def test_ions_on_voids_are_no_exchange() -> None:
    built = stack("Cu", "Ni", (4, 4))
    built.append("Li", [0.5, 0.0, 0.0], properties={"side": "film", "native": "", "layer": 1})
    assert count_exchanges(built) == Counter()


def test_foreign_atoms_without_counterpart_are_refused() -> None:
    built = replace(stack("Cu", "Ni", (4, 4)), {0: "Ni"})
    with pytest.raises(ExchangeError, match="Ni on Cu of the substrate; the energy of an exchange"):
        count_exchanges(built)


def test_missing_labels_are_refused() -> None:
    with pytest.raises(ExchangeError, match="labels 'side' and 'native'"):
        count_exchanges(bulk("Cu", 2.5, 1.8))


# --- energies


def test_to_exchange_one_crystal_with_itself_costs_nothing() -> None:
    copper = metal("Cu")
    found = find_exchange_energy(copper, copper, Kind("Cu", "Cu"), EMT, SMALL)
    assert found.energy == pytest.approx(0.0, abs=1e-9)


def test_the_two_solids_may_change_sides() -> None:
    copper, gold = metal("Cu"), metal("Au")
    one = find_exchange_energy(copper, gold, Kind("Cu", "Au"), EMT, SMALL)
    other = find_exchange_energy(gold, copper, Kind("Au", "Cu"), EMT, SMALL)
    assert one.energy == pytest.approx(other.energy, abs=1e-9)
    assert abs(one.energy) > 0.05


def test_a_kind_is_computed_once() -> None:
    counted = CallCounter(EMT)
    copper, nickel = metal("Cu"), metal("Ni")
    first = find_exchange_energy(copper, nickel, Kind("Cu", "Ni"), counted, SMALL)
    calls = counted.calls
    assert find_exchange_energy(copper, nickel, Kind("Cu", "Ni"), counted, SMALL) == first
    assert counted.calls == calls > 0


@pytest.mark.parametrize(
    ("compensation", "expected"), [("lowest", [0, 1, 2]), ("always", [2]), ("never", [0])]
)
def test_ions_follow_the_charge_as_far_as_asked(compensation: str, expected: list[int]) -> None:
    method = Method(compensation=compensation, supercell=5.0)  # type: ignore[arg-type]
    found = find_exchange_energy(crystal("layered"), phosphate(), Kind("Co", "P"), GAS, method)
    assert list(found.levels) == expected  # Co3+ for P5+: two Li follow it
    back = find_exchange_energy(phosphate(), crystal("layered"), Kind("P", "Co"), GAS, method)
    assert list(back.levels) == [-number for number in expected]


def phosphate() -> Structure:
    return crystal("lithium_phosphate")


def test_compensated_cells_are_neutral_and_ions_stay_near_the_guest() -> None:
    host = Host.expand("substrate", crystal("layered"), Method(supercell=8.0))
    before = host.structure.composition.get_el_amt_dict()
    starts = arrange_defects(host, Defect("Co", "P", 5.0, -2), Method(tries=4))
    assert len(starts) == 4
    for start in starts:
        counts = start.composition.get_el_amt_dict()
        assert counts["Li"] == before["Li"] - 2
        assert counts["Li"] + 3 * counts["Co"] + 5 * counts["P"] == 2 * counts["O"]
    guest = next(site for site in starts[0] if site.specie.symbol == "P")
    nearest = min(guest.distance(site) for site in host.structure if site.specie.symbol == "Li")
    left = min(guest.distance(site) for site in starts[0] if site.specie.symbol == "Li")
    assert left >= nearest - 1e-6
    taken = [site for site in host.structure if site.specie.symbol == "Li" and site not in starts[0]]
    assert max(guest.distance(site) for site in taken) < 4.0


def test_further_ions_lie_in_voids() -> None:
    host = Host.expand("film", phosphate(), Method(supercell=5.0))
    (start,) = arrange_defects(host, Defect("P", "Co", 3.0, 2), Method(tries=1))
    assert len(start) == len(host.structure) + 2
    distances = np.array(start.distance_matrix)[-2:, :-2]
    assert distances.min() > 1.2


def test_electrons_make_up_where_there_are_no_ions() -> None:
    magnesia = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    titanate = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.91), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    found = find_exchange_energy(magnesia, titanate, Kind("Mg", "Ti"), GAS, SMALL)
    assert list(found.levels) == [0]
    always = Method(compensation="always", supercell=5.0)
    with pytest.raises(ExchangeError, match="neither solid has Li ions to balance it: name another 'ion'"):
        find_exchange_energy(magnesia, titanate, Kind("Mg", "Ti"), GAS, always)


def test_an_element_that_is_not_there_is_named() -> None:
    with pytest.raises(ExchangeError, match="the exchange Cu/Pt has no energy: Ni has no Pt"):
        find_exchange_energy(metal("Cu"), metal("Ni"), Kind("Cu", "Pt"), EMT, SMALL)


# --- evaluator


def test_a_candidate_has_the_sum_of_its_exchanges() -> None:
    solids = {"substrate_solid": bulk("Cu", COPPER / 2**0.5, 1.8), "film_solid": bulk("Ni", 2.46, 1.74)}
    built = stack("Cu", "Ni", (4, 4))
    energies, words = [], ""
    for changes in ({}, {0: "Ni", 5: "Cu"}, {0: "Ni", 1: "Ni", 5: "Cu", 7: "Cu"}):
        found = evaluate(replace(built, changes), solids)
        energies.append(found.properties["bulk_exchange_energy"])
        words = found.details["bulk_exchange_energy"]
    assert energies[0] == 0.0
    assert energies[1] != 0.0
    assert energies[2] == pytest.approx(2 * energies[1])
    assert words.startswith("2 × Cu/Ni at +")


def evaluate(structure: Structure, solids: dict[str, Structure]) -> Evaluation:
    evaluator = ExchangeEnergy(potential=EMT, supercell=5.0)
    structures = {**solids, "initial": structure}
    item = Input(Candidate(0, "key", Proposal({})), Design(structures=structures), {}, structures, 0)
    (found,) = evaluator.evaluate([item])
    assert found.failure is None, found.failure
    return found
