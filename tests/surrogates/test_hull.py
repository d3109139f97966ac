"""The hull of the phases a run finds: known distances, a hull that moves, and what is not known."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import Failure, Status
from invdesign.protocols import Derived, History
from invdesign.steps import Finished
from surrogates.stability import lower_hull
from surrogates.stability.evaluators import UNCERTAINTY
from surrogates.stability.hull import Hull
from tests.hulls import DISTANCE, KNOWN, find, history
from tests.surrogates.references import made

SR2TIO4 = ("Sr2TiO4", -10.57469)  # 33 meV/atom above SrO and SrTiO3


def test_known_distances() -> None:
    """Phases on the hull have 0, Sr2TiO4 and a polymorph of SrTiO3 what is known of them."""
    found = history([*KNOWN, SR2TIO4, ("SrTiO3", -12.08683)]).column(DISTANCE)
    np.testing.assert_array_equal(found[:3], 0.0)
    np.testing.assert_allclose(found[3:], [0.0330, 0.1], atol=1e-4)


def test_compounds_on_one_line() -> None:
    """MgTiO3 is measured against MgO and TiO2, as many elements as there are, and never below the hull."""
    energy = (2 * -8.23160 + 3 * -15.59926) / 5
    below = history([("MgO", -8.23160), ("TiO2", -15.59926), ("MgTiO3", energy - 0.01)])
    assert below.column(DISTANCE).tolist() == [0.0, 0.0, 0.0]
    above = history([("MgO", -8.23160), ("TiO2", -15.59926), ("MgTiO3", energy + 0.01)])
    np.testing.assert_allclose(above.column(DISTANCE), [0.0, 0.0, 0.01], atol=1e-9)
    level = history([("MgO", -8.23160), ("TiO2", -15.59926), ("MgTiO3", energy)])
    assert level.column(DISTANCE).tolist() == [0.0, 0.0, 0.0]


class Counting(Hull):
    """A hull that says what it was asked for."""

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        ASKED.append(list(ids))
        return super().derive(history, ids, memory)


ASKED: list[list[int]] = []


def test_lower_phase_moves_the_hull() -> None:
    """All distances are computed anew when a phase lowers the hull, and only then; the best follow."""
    run = history([*KNOWN, SR2TIO4], [Counting()])
    assert run.update_standing().front.tolist() == [0, 1, 2]
    ASKED.clear()
    find(run, "SrTiO3", -12.0)  # no change
    assert run.column(DISTANCE)[3] == pytest.approx(0.0330, abs=1e-4)
    assert ASKED == [[4]]
    find(run, "SrTiO3", -12.28683)
    found = run.column(DISTANCE)
    assert ASKED == [[4], [5], [0, 1, 2, 3, 4, 5]]
    assert found[1] == pytest.approx(0.1)
    assert found[3] == pytest.approx(0.0330 + 0.1 * 5 / 7, abs=1e-4)
    assert found[5] == 0.0
    assert run.update_standing().front.tolist() == [0, 2, 5]
    assert run.update_standing().feasible == 6


def test_missing_element_is_named() -> None:
    """Without a competing phase of an element the distance is unknown, not 0, and the element is said."""
    run = history([("SrTiO3", -12.18683)])
    assert np.isnan(run.column(DISTANCE)).all()
    assert run.trial(0).details == {DISTANCE: "unknown until competing phases with O, Sr, Ti are found"}
    find(run, "SrO", -6.65983)
    assert np.isnan(run.value_of(DISTANCE, 0))
    assert run.value_of(DISTANCE, 1) == 0.0  # an end of the system, which a mixed compound contains
    assert run.trial(0).details == {DISTANCE: "unknown until competing phases with O, Ti are found"}
    find(run, "TiO2", -15.59926)
    assert run.column(DISTANCE).tolist() == [0.0, 0.0, 0.0]
    assert run.trial(0).details == {}


def test_elements_are_the_ends() -> None:
    """Where compositions are free, a compound without one of its elements is unknown; elements are known."""
    run = history([("Li3Si", -2.0), ("Li", -1.9), ("Li15Si4", -2.1)])
    found = run.column(DISTANCE)
    assert np.isnan(found[0])
    assert found[1] == 0.0
    assert found[2] == 0.0  # a mixture of Li and Li3Si, and lower
    assert run.trial(0).details[DISTANCE] == "unknown until competing phases with Si are found"
    find(run, "Si", -5.4)
    assert np.isfinite(run.column(DISTANCE)).all()
    other = history([("SrO", -6.0), ("SrO2", -5.0)])
    assert np.isnan(other.column(DISTANCE)).all()


def test_named_end_members() -> None:
    """Named ends are known alone; what they do not enclose is not."""
    hull = Hull(end_members=("SrO", "TiO2"))
    run = history([("SrO", -6.65983), ("SrO", -6.5)], [hull])
    np.testing.assert_allclose(run.column(DISTANCE), [0.0, 0.15983])
    find(run, "SrTiO3", -12.18683)
    assert np.isnan(run.value_of(DISTANCE, 2))
    with pytest.raises(ValidationError, match="Xx"):
        Hull(end_members=("Xx2",))


def test_phases_are_complete_trials() -> None:
    """Trials that were stopped or failed are no phases, but are measured against them."""
    run = history(KNOWN)
    gated = find(run, "SrTiO3", -13.0, Status.GATED)
    alone = find(run, "SrTi2O5", -13.0, Status.GATED)
    failed = find(run, "SrTiO3", None, Status.FAILED)
    find(run, "SrTiO3", -14.0, Status.PENDING)
    found = run.column(DISTANCE)
    assert found[:3].tolist() == [0.0, 0.0, 0.0]
    assert found[gated] == pytest.approx(12.18683 - 13.0)
    assert np.isnan(found[[alone, failed, failed + 1]]).all()
    assert run.trial(alone).details[DISTANCE] == "unknown: no complete candidate has its composition"


def test_withdrawn_trial_leaves_the_hull() -> None:
    """What was computed from a trial goes with it; reopened, it comes back."""
    run = history([*KNOWN, SR2TIO4, ("SrTiO3", -13.0)])
    assert run.column(DISTANCE)[1] == pytest.approx(13.0 - 12.18683)
    run.reset_trial(4)
    assert run.column(DISTANCE)[1] == 0.0
    run.finish_trial(Finished(4, Status.WITHDRAWN, 0, Failure("withdrawn", "", "a mistake")))
    assert run.update_standing().front.tolist() == [0, 1, 2]
    assert np.isnan(run.value_of(DISTANCE, 4))
    np.testing.assert_array_equal(run.column(DISTANCE)[:4], history([*KNOWN, SR2TIO4]).column(DISTANCE))


def test_reference_phases_belong_to_the_hull(tmp_path: Path) -> None:
    """Elements and compounds of a set count, lower ones and higher ones, in the candidates' systems."""
    file = tmp_path / "toy.json"
    file.write_text(made({"Li": -2.0, "Si": -5.0, "LiSi": -4.0, "O2": -4.9}).to_json())
    hull = Hull(reference=str(file))
    assert hull.potential_id == "toy"
    run = history([("LiSi", -3.9), ("Li3Si", -3.2), ("LiP", -4.0)], [hull])
    found = run.column(DISTANCE)
    assert found[0] == pytest.approx(0.1)
    assert found[1] == 0.0
    assert np.isnan(found[2])
    assert "with P are found" in run.trial(2).details[DISTANCE]
    assert [(p.formula, p.name, p.candidate) for p in hull.list_phases(run) if p.distance == 0] == [
        ("Li", "Li", None),
        ("Li3Si", "", 1),
        ("LiSi", "LiSi", None),
        ("O2", "O2", None),
        ("Si", "Si", None),
    ]


def test_distances_have_the_error_of_their_potential(tmp_path: Path) -> None:
    """That of the stage or of the reference set; a method without a name has none, nor has a distance that is unknown."""
    unnamed = history(KNOWN)
    assert np.isnan(unnamed.systematic(DISTANCE)).all()
    relaxed = history([*KNOWN, ("Li3Si", -3.0)], potential="chgnet-0.3.0-abc")
    np.testing.assert_array_equal(relaxed.systematic(DISTANCE), [UNCERTAINTY] * 3 + [np.nan])
    assert relaxed.errors_of(DISTANCE, 0) == (None, UNCERTAINTY)
    assert relaxed.trial(1).systematic == {DISTANCE: UNCERTAINTY}
    file = tmp_path / "toy.json"
    file.write_text(made({"Sr": -2.0, "Ti": -5.0, "O2": -4.9}).to_json())
    against = history(KNOWN, [Hull(reference=str(file))])
    np.testing.assert_array_equal(against.systematic(DISTANCE), UNCERTAINTY)


def test_hull_of_dft_energies() -> None:
    """The hull of another energy has another name, and reads nothing of the first."""
    hull = Hull(energy="dft_energy_per_atom")
    assert (hull.requires, dict(hull.provides)) == (
        {"dft_energy_per_atom"},
        {"dft_distance_to_hull": "eV/atom"},
    )
    assert np.isnan(history(KNOWN, [hull]).column("dft_distance_to_hull")).all()


SYSTEM = [
    f"Li{a}P{b}S{c}"
    for a in range(4)
    for b in range(4)
    for c in range(4)
    if a + b + c and np.gcd.reduce([a, b, c]) == 1
]
PHASES = st.lists(
    st.tuples(st.sampled_from(SYSTEM), st.floats(-4.0, -2.0)), max_size=25, unique_by=lambda item: item[0]
)


@settings(max_examples=25, deadline=None)
@given(PHASES)
def test_ternary_system_as_pymatgen_has_it(phases: list[tuple[str, float]]) -> None:
    """In three elements distances are those of pymatgen's phase diagram."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    phases = [("Li", -1.9), ("P", -5.4), ("S", -4.1), *phases]
    entries = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in phases]
    diagram = PhaseDiagram(entries)
    expected = [diagram.get_e_above_hull(entry) for entry in entries]
    np.testing.assert_allclose(history(phases).column(DISTANCE), expected, atol=2e-8)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_order_does_not_matter(data: Any) -> None:
    """One by one or at once, in any order, read at any time: the same digits and details."""
    phases = data.draw(PHASES)
    order = data.draw(st.permutations(range(len(phases))))
    at_once, step_by_step = history(phases), history([])
    for place in order:
        find(step_by_step, *phases[place])
        if data.draw(st.booleans()):
            step_by_step.column(DISTANCE)
    there = [order.index(place) for place in range(len(phases))]
    np.testing.assert_array_equal(step_by_step.column(DISTANCE)[there], at_once.column(DISTANCE))
    for place, other in enumerate(there):
        assert at_once.trial(place).details == step_by_step.trial(other).details


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_facets_and_programs_agree(seed: int, dimensions: int) -> None:
    """Both ways to the hull's energies, of which the second serves many elements, give the same."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet(np.ones(dimensions + 1), 20)
    energies = rng.normal(size=20)
    places = lower_hull.project_onto_span(fractions)
    facets = lower_hull._energies_from_facets(places, places, energies)
    programs = lower_hull._energies_from_programs(places, places, energies)
    np.testing.assert_allclose(programs, facets, atol=1e-8)
    hull = lower_hull.hull_energies(fractions, energies)
    assert (hull <= energies).all()
    assert (hull == energies).sum() >= dimensions + 1


def test_many_elements() -> None:
    """Seven elements, and one compound of them all."""
    symbols = ["Li", "Na", "K", "Mg", "Al", "P", "S"]
    run = history([*((symbol, -2.0) for symbol in symbols), ("LiNaKMgAlPS", -1.9), ("LiNaKMgAlPS", -2.1)])
    np.testing.assert_allclose(run.column(DISTANCE), [0.0] * 7 + [0.2, 0.0], atol=1e-8)


def test_failing_derivation_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of a derivation leaves its values unknown, with the reason, and the run goes on."""

    class Broken(Hull):
        def derive(self, *_: Any) -> Derived:
            raise ZeroDivisionError("by nothing")

    run = history(KNOWN, [Broken()])
    assert np.isnan(run.column(DISTANCE)).all()
    assert run.trial(1).details[DISTANCE] == "Broken fails: ZeroDivisionError: by nothing"
    assert len(caplog.records) == 1


def test_unreadable_formula_is_unknown() -> None:
    """Trials without a composition have no distance, and disturb no other."""
    run = history([*KNOWN, ("", -3.0), ("no formula", -99.0)])
    np.testing.assert_array_equal(run.column(DISTANCE), [0.0, 0.0, 0.0, np.nan, np.nan])
