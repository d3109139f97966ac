"""The report lists distinct phases with their space groups, and why candidates breed nothing."""

from __future__ import annotations

import re

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.cli.describe import describe_candidate
from invdesign.report.html import render_report
from invdesign.report.phases import MAX_COMPARED, SYMPREC, view_phases
from invdesign.report.structure import last_structure
from invdesign.report.tables import Facts, read_facts
from invdesign.run.run import Run
from invdesign.structures.symmetry import symmetry_dataset
from tests.support import campaign, finished, relaxing

CHLORIDE = Structure(Lattice.cubic(2.6), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of which half of the crystals collapse when they are relaxed."""
    return finished(relaxing(30), tmp_path_factory.mktemp("relaxing") / "run")


@pytest.fixture(scope="module")
def facts(run: Run) -> Facts:
    return read_facts(run)


def words(page: str) -> str:
    """Text of a page, without tags and scripts."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition('<script type="application/json"')[0]).split())


def test_every_compared_candidate_is_in_one_phase(facts: Facts) -> None:
    """Phases come best first, each by its best candidate, and no candidate is lost or counted twice."""
    view = view_phases(facts)
    assert view is not None
    ids = [id for phase in view.phases for id in (phase.id, *phase.others)]
    assert len(ids) == len(set(ids))
    assert view.compared == len(facts.ranking[:MAX_COMPARED])
    assert view.compared + view.omitted == len(facts.ranking)
    ranks = {int(id): rank for rank, id in enumerate(facts.ranking)}
    best = [ranks[phase.id] for phase in view.phases]
    assert best == sorted(best)
    for phase in view.phases:
        assert all(ranks[phase.id] < ranks[other] for other in phase.others)
        crystal, role = last_structure(facts.run, phase.id)
        assert crystal is not None
        assert role == "relaxed"
        found = symmetry_dataset(crystal.lattice.matrix, crystal.frac_coords, crystal.atomic_numbers, SYMPREC)
        assert phase.space_group == f"{found.international} ({found.number})"


def test_one_phase_in_two_cells(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rock salt in the cubic cell and in the primitive one is one phase; the structure of CsCl is another."""
    primitive = SALT.get_primitive_structure()
    folder = tmp_path_factory.mktemp("seeds")
    for name, structure in (("cubic", SALT), ("primitive", primitive), ("chloride", CHLORIDE)):
        structure.to(str(folder / f"{name}.cif"))
    data = relaxing(
        3,
        space={"kind": "crystal", "formula": "MgO", "formula_units": [1, 4]},
        evaluate=[{"tests.plugins.crystals:Settling": {}}],
        seeds=[str(folder / f"{name}.cif") for name in ("cubic", "primitive", "chloride")],
    )
    view = view_phases(read_facts(finished(data, folder / "run")))
    assert view is not None
    assert sorted((phase.space_group, phase.atoms, phase.found) for phase in view.phases) == [
        ("Fm-3m (225)", 2, 2),
        ("Pm-3m (221)", 2, 1),
    ]


def test_what_breeds_nothing_is_listed_with_its_reason(facts: Facts) -> None:
    """The section, the card and `show` give the reason; the others say nothing of it."""
    view = view_phases(facts)
    assert view is not None
    assert 0 < view.barren < len(facts)
    id, reason = view.reasons[0]
    assert facts.run.history.relaxed_genome(id) is None
    text = words(render_report(facts.run, model=False))
    assert f"{view.barren} complete candidates breed nothing" in text
    assert f"#{id}: {reason}" in text
    assert f"  breeds nothing: {reason}" in describe_candidate(facts.run, id)
    sound = next(i for i in range(len(facts)) if facts.run.history.relaxed_genome(i) is not None)
    assert not any("breeds nothing" in line for line in describe_candidate(facts.run, sound))


def test_cards_show_one_candidate_per_phase(facts: Facts) -> None:
    """Pictures are of different phases, with their places in the ranking."""
    view = view_phases(facts)
    assert view is not None
    page = render_report(facts.run, model=False)
    shown = [int(id) for id in re.findall(r"<p>candidate (\d+)", page)]
    assert shown == [phase.id for phase in view.phases[: len(shown)]]
    assert "the best one of each phase" in page


def test_other_spaces_have_no_such_section(number_run: Run) -> None:
    """Parameters are no phases."""
    assert view_phases(read_facts(number_run)) is None
    assert 'id="phases"' not in render_report(number_run, model=False)


def test_a_run_without_results(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing to compare: the report is written all the same."""
    run = Run.create(campaign(relaxing(4)), tmp_path_factory.mktemp("new") / "run")
    assert view_phases(read_facts(run)) is None
    assert "Distinct phases" not in words(render_report(run, model=False))
