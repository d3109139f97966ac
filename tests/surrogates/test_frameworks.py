"""Frameworks past which ions move: partly occupied mobile sites, disorder elsewhere, and crystals without ions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from invdesign.structures.charges import assign_oxidation_states
from invdesign.structures.prototypes import find_prototype
from surrogates.transport.bond_valence import migration_barriers
from surrogates.transport.bottleneck import bottleneck_radius
from surrogates.transport.frameworks import (
    DisorderError,
    NotIonicError,
    check_ionic,
    mean_counts,
    split_framework,
)

STAGES: tuple[Mapping[str, Any], ...] = (
    {"kind": "bottleneck_radius", "ion": "Li"},
    {"kind": "migration_barrier", "ion": "Li", "spacing": 0.4},
)


def lithium_aluminium() -> Structure:
    """LiAl, NaTl type."""
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(6.37), ["Li", "Al"], [(0, 0, 0), (0.5, 0.5, 0.5)])


def lithiated_graphite() -> Structure:
    """LiC6, stage one."""
    ring = [(1 / 3, 0), (0, 1 / 3), (2 / 3, 0), (0, 2 / 3), (1 / 3, 1 / 3), (2 / 3, 2 / 3)]
    return Structure(
        Lattice.hexagonal(4.3, 3.7), ["Li", *["C"] * 6], [(0, 0, 0.5), *((x, y, 0) for x, y in ring)]
    )


def olivine() -> Structure:
    """LiFePO4 without properties of sites."""
    found = find_prototype("olivine").build_structure()
    return Structure(found.lattice, found.species, found.frac_coords)


def with_occupancies(structure: Structure, share: Callable[[int], float], ion: str = "Li") -> Structure:
    """The same crystal, sites of `ion` occupied in part; `share` by their number."""
    number = iter(range(len(structure)))
    species = [
        {ion: share(next(number))} if site.specie.symbol == ion else {site.specie.symbol: 1.0}
        for site in structure
    ]
    return Structure(structure.lattice, species, structure.frac_coords)


def evaluated(fields: Mapping[str, Any], structure: Structure) -> Evaluation:
    """What an evaluator says of a structure."""
    item = Input(
        Candidate(0, "key", Proposal({})),
        Design(structures={"initial": structure}),
        {},
        {"initial": structure},
        0,
    )
    (found,) = load("evaluators", dict(fields)).evaluate([item])
    return found  # type: ignore[no-any-return]  # plug-ins are loaded by name


@pytest.mark.parametrize("fields", STAGES, ids=lambda fields: fields["kind"])
@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (lithium_aluminium(), "LiAl is metallic, .* put the stage 'charge_neutrality' before this one"),
        (lithiated_graphite(), "LiC6 has no ions of C: 0.17 electrons per atom .* by dynamics"),
    ],
    ids=["LiAl", "LiC6"],
)
def test_crystals_without_ions_fail_with_a_word(
    fields: Mapping[str, Any], structure: Structure, message: str
) -> None:
    """A metal and graphite get no number, but what was found, why that is, and what to do."""
    evaluation = evaluated(fields, structure)
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "error"
    assert not evaluation.properties
    with pytest.raises(NotIonicError, match=message):
        raise NotIonicError(evaluation.failure.message)


def test_the_charge_rule_stops_alloys_before_that() -> None:
    """The advice in the message holds."""
    candidate = Candidate(0, "key", Proposal({}))
    (stopped,) = load("evaluators", {"kind": "charge_neutrality"}).evaluate(
        [Input(candidate, Design(composition=lithium_aluminium().composition), {}, {}, 0)]
    )
    assert stopped.properties["charge_imbalance"] > 0


@pytest.mark.parametrize("formula", ["Li", "Li15Si4", "LiIn", "NaSn", "LiC12", "KC8", "LiP7", "NaN3"])
def test_compositions_without_ions(formula: str) -> None:
    """Alloys, Zintl phases, intercalated graphite, and nets or molecules that share an electron between many atoms."""
    counts = tuple(sorted(Composition(formula).get_el_amt_dict().items()))
    with pytest.raises(NotIonicError, match=rf"{formula} (is metallic|has no ions of)"):
        check_ionic(counts, assign_oxidation_states(counts))


@pytest.mark.parametrize(
    "formula",
    [
        "Li3OCl", "LiFePO4", "LiMn2O4", "Li2O2", "KO2", "Na2S4", "Li3Sb", "Li2Te", "Li3P", "LiTi2O4", "Li6.98La3Zr2O12",
        "Na3Zr2Si2PO12", "Li3.9Ge0.95P0.05S4", "LiBH4",
    ],
)  # fmt: skip
def test_compositions_with_ions(formula: str) -> None:
    """Salts, mixed valence, peroxides and superoxides, and amounts rounded to a few digits."""
    counts = tuple(sorted(Composition(formula).get_el_amt_dict().items()))
    check_ionic(counts, assign_oxidation_states(counts))


@settings(max_examples=6, deadline=None)
@given(shares=st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3), away=st.floats(0.01, 0.1))
def test_occupancies_of_the_mobile_ion_change_nothing(shares: list[float], away: float) -> None:
    """Each ion spread over two sites, as refinements write it: all are taken out, and the ways are the same."""
    found = find_prototype("antiperovskite").build_structure()
    ordered = Structure(found.lattice, found.species, found.frac_coords)
    split = with_occupancies(ordered, lambda number: shares[number])
    mobile = [site for site in split if not site.is_ordered]
    for share, site in zip(shares, mobile, strict=True):
        split.append({"Li": 1.0 - share}, np.add(site.frac_coords, (0, 0, away)))
    assert split.composition.reduced_formula == "Li3ClO"
    assert bottleneck_radius(split, "Li", 0.4) == pytest.approx(bottleneck_radius(ordered, "Li", 0.4))
    assert migration_barriers(split, "Li", 0.4) == pytest.approx(migration_barriers(ordered, "Li", 0.4))


def test_charges_are_those_of_the_mean_composition() -> None:
    """Half of the lithium gone, iron is oxidised and smaller, and the way is wider."""
    half = with_occupancies(olivine(), lambda _: 0.5)
    assert mean_counts(half) == (("Fe", 4.0), ("Li", 2.0), ("O", 16.0), ("P", 4.0))
    assert bottleneck_radius(half, "Li") >= bottleneck_radius(olivine(), "Li")


@pytest.mark.parametrize("fields", STAGES, ids=lambda fields: fields["kind"])
def test_a_disordered_framework_is_refused_by_its_sites(fields: Mapping[str, Any]) -> None:
    """Shared and half-empty sites of other elements are named, and so is what may be disordered."""
    shared = olivine()
    shared.replace_species({"Fe": {"Fe": 0.5, "Mn": 0.5}})
    evaluation = evaluated(fields, shared)
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "error"
    assert "is disordered: Fe 0.5 + Mn 0.5. Only sites of Li alone may be partly occupied" in (
        evaluation.failure.message
    )
    together = olivine()
    together.replace_species({"Li": {"Li": 0.9, "Na": 0.1}})
    with pytest.raises(DisorderError, match=r"Li 0.9 \+ Na 0.1"):
        split_framework(together, "Li")


def test_the_first_ion_is_found_in_partly_occupied_sites() -> None:
    """Of several ions named, the one that a disordered crystal holds is taken."""
    sodium = with_occupancies(olivine().copy().replace_species({"Li": "Na"}), lambda _: 0.7, "Na")
    evaluation = evaluated({"kind": "migration_barrier", "ion": ["Li", "Na"], "spacing": 0.4}, sodium)
    assert evaluation.failure is None
    assert set(evaluation.properties) == {f"migration_barrier_{n}d" for n in (1, 2, 3)}
