"""Runs that search for the phases on a hull: killed and resumed, changed by users, waiting for results, shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invdesign
from invdesign.cli.describe import describe_candidate
from invdesign.errors import CampaignError
from invdesign.report.html import render_report
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.run.told import Told
from surrogates.stability.hull import Hull
from tests.hulls import DISTANCE, OXIDES, oxides
from tests.plugins.oxides import Oxides, lowest_energy
from tests.support import PATIENCE, ROOT, campaign, finished, written

OPTIMIZERS: dict[str, Any] = {
    "genetic": {"kind": "genetic", "population": 8},
    "genetic, overlap 8": {"kind": "genetic", "population": 8, "mode": "steady_state", "in_flight": 8},
    "portfolio": {"kind": "portfolio", "members": [{"kind": "genetic", "population": 8}, "random"]},
}


def distances(run: Run) -> Any:
    return run.history.column(DISTANCE)


def expected(run: Run) -> Any:
    """Distances by the hull of the lowest SrO, SrTiO3 and TiO2, where none but these lie on it."""
    energies = run.history.column("energy_per_atom")
    places = [
        int(g["ti"]) * 3 / (2 * int(g["sr"]) + 3 * int(g["ti"])) if any((g["sr"], g["ti"])) else np.nan
        for g in _genomes(run)
    ]  # type: ignore[arg-type,call-overload]
    x = np.array(places)
    lowest = [np.nanmin(energies[np.isclose(x, at)]) for at in (0.0, 0.6, 1.0)]
    return energies - np.interp(x, [0.0, 0.6, 1.0], lowest)


def _genomes(run: Run) -> list[Any]:
    return [run.trial(id).genome for id in range(len(run.history))]


def test_distances_are_those_of_the_lowest_phases(tmp_path: Path) -> None:
    """Whatever was found when: at the end every distance is that to the final hull."""
    run = finished(oxides(150), tmp_path)
    np.testing.assert_allclose(distances(run), expected(run), atol=1e-8)
    best = {run.store.display_formula(id) for id in run.front()}
    assert best == {"SrO", "SrTiO3", "TiO2"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_killed_anywhere_it_ends_the_same(tmp_path: Path, name: str) -> None:
    """Killed at statement after statement, a run has the digest, distances and ranking of one that was not."""
    data = oxides(40, optimizer=OPTIMIZERS[name], engine={"kind": "local", "workers": 0})
    straight = finished(data, tmp_path / "straight")
    file = written(data, tmp_path / "campaign.json")
    command = [sys.executable, "-m", "tests.plugins.killing", str(file), str(tmp_path / "killed"), "7", "160"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deaths"] > 3
    killed = Run.open(tmp_path / "killed", trust_code=True)
    assert killed.digest() == straight.digest()
    np.testing.assert_array_equal(distances(killed), distances(straight))
    assert killed.ranking() == straight.ranking()
    assert killed.table().equals(straight.table())


def test_the_history_in_memory_is_the_one_that_is_read(tmp_path: Path) -> None:
    """After work, and opened anew: the same properties in the same order, details and standing."""
    run = finished(oxides(60, optimizer=OPTIMIZERS["genetic, overlap 8"]), tmp_path)
    again = Run.open(tmp_path, trust_code=True)
    assert list(run.trial(3).properties) == list(again.trial(3).properties)
    assert run.table().equals(again.table())
    assert run.front() == again.front()
    assert run.history.property_names() == ("energy_per_atom", DISTANCE)


def test_withdrawn_candidate_leaves_the_hull(tmp_path: Path) -> None:
    """Without the lowest SrTiO3 all distances are those to the next one; evaluated again, it is back."""
    run = finished(oxides(80), tmp_path)
    before = distances(run)
    energies = run.history.column("energy_per_atom")
    formulas = np.array([run.store.display_formula(id) for id in range(len(run.history))])
    lowest = int(np.nanargmin(np.where(formulas == "SrTiO3", energies, np.nan)))
    run.withdraw([lowest], "wrong")
    after = distances(run)
    assert np.isnan(after[lowest])
    np.testing.assert_allclose(after, expected(run), atol=1e-8)
    np.testing.assert_array_equal(distances(Run.open(tmp_path, trust_code=True)), after)
    run.withdraw([lowest], "right after all", again=True)
    np.testing.assert_array_equal(distances(run), before)


def test_waiting_candidates_have_no_distance(tmp_path: Path) -> None:
    """Energies that are told from outside enter the hull when they are told."""
    data = oxides(
        20,
        evaluate=[{"experiment": {"provides": {"energy_per_atom": "eV/atom"}}}],
        space={"kind": f"{OXIDES}:Oxides"},
        optimizer="random",
    )
    run = Run.create(campaign(data), tmp_path)
    ids = run.ask(12)
    assert np.isnan(distances(run)).all()
    genomes = {id: run.trial(id).genome for id in ids}
    values = {id: lowest_energy(int(g["sr"]), int(g["ti"])) for id, g in genomes.items()}  # type: ignore[arg-type]
    run.tell([Told(id, properties={"energy_per_atom": value}) for id, value in values.items()])
    told = distances(run)
    np.testing.assert_allclose(told[ids], expected(run)[ids], atol=1e-8)
    np.testing.assert_array_equal(distances(Run.open(tmp_path, trust_code=True)), told)


def test_gated_candidates_are_no_phases(tmp_path: Path) -> None:
    """Stopped candidates neither lower the hull nor rank."""
    run = finished(oxides(60, evaluate=[{f"{OXIDES}:OxideEnergy": {"gate_at": -6.7}}]), tmp_path)
    formulas = {run.store.display_formula(id) for id in run.front()}
    assert "SrO" not in formulas  # -6.66 eV/atom at best: each was stopped
    status = run.history.status_by_trial()
    stopped = [id for id in range(len(status)) if run.store.display_formula(id) == "SrO"]
    assert stopped
    assert np.isnan(distances(run)[stopped]).all()


def test_optimize_takes_derivations(tmp_path: Path) -> None:
    """`derive` by name, with settings, or as an object, and a sentence on every mistake."""
    arguments: dict[str, Any] = {"minimize": DISTANCE, "budget": 8, "workers": 0, "optimizer": "random"}

    @invdesign.fitness(provides={"energy_per_atom": "eV/atom"}, requires={"parameters", "composition"})
    def energy(candidate: Any) -> float:
        return float(candidate.parameters["strain"]) - float(candidate.composition.get_atomic_fraction("Ti"))

    for number, derive in enumerate(("hull", ["hull"], [{"hull": {}}], [Hull()], Hull())):
        run = invdesign.optimize(Oxides(), energy, derive=derive, run_dir=tmp_path / str(number), **arguments)
        assert np.isfinite(distances(run)).any()
    with pytest.raises(
        CampaignError, match=r"derive\[0\]: there is no derivation 'hul'. Did you mean 'hull'"
    ):
        invdesign.optimize(Oxides(), energy, derive=["hul"], run_dir=tmp_path / "a", **arguments)
    with pytest.raises(CampaignError, match=r"derive\[0\]: Hull is a class: give an instance, Hull\(...\)"):
        invdesign.optimize(Oxides(), energy, derive=[Hull], run_dir=tmp_path / "b", **arguments)
    with pytest.raises(CampaignError, match=r"'hull' does: add derive: \[hull\]"):
        invdesign.optimize(Oxides(), energy, run_dir=tmp_path / "c", **arguments)


def test_report_shows_the_hull(tmp_path: Path) -> None:
    """Phases on the hull, those above it, the plot of a line of compositions, and the caveat."""
    run = finished(oxides(120), tmp_path)
    page = render_report(run, model=False)
    assert '<section id="hull">' in page
    section = page[page.index('<section id="hull">') :].partition("</section>")[0]
    assert section.count("on the hull</span>") == 3
    assert "Sr<sub>2</sub>TiO<sub>4</sub>" in section
    assert 'data-figure="hull0"' in section
    figures = json.loads(page.partition('id="figures">')[2].partition("</script>")[0])["figures"]
    line = figures["hull0"]["data"][-1]
    assert line["x"] == [0.0, 0.6, 1.0]
    assert line["y"][0] == line["y"][2] == 0.0
    assert line["y"][1] == pytest.approx(-0.163, abs=0.05)
    assert "distances of two runs are not comparable" in page
    other = render_report(
        finished(oxides(8, derive=[], objectives=[{"minimize": "energy_per_atom"}]), tmp_path / "other"),
        model=False,
    )
    assert '<section id="hull">' not in other


def test_unknown_distance_is_said(tmp_path: Path) -> None:
    """The report and the description of a candidate name the elements that no competing phase holds."""
    data = oxides(6, derive=[{"hull": {"end_members": ["Sr"]}}], optimizer="random")
    run = finished(data, tmp_path)
    section = render_report(run, model=False).partition('<section id="hull">')[2].partition("</section>")[0]
    assert "Unknown distances" in section
    unknown = int(
        np.flatnonzero(np.isnan(distances(run)) & ~np.isnan(run.history.column("energy_per_atom")))[0]
    )
    lines = "\n".join(describe_candidate(run, unknown))
    assert f"{DISTANCE}: unknown until competing phases with" in lines


def test_fork_derives_anew(tmp_path: Path) -> None:
    """A fork takes the energies of its source, and has the distances to its own hull."""
    finished(oxides(30, optimizer="random"), tmp_path / "run")
    fork(tmp_path / "run", tmp_path / "fork", trust_code=True)
    forked = Run.open(tmp_path / "fork", trust_code=True)
    forked.use_workers(0)
    forked.execute()
    np.testing.assert_allclose(distances(forked), expected(forked), atol=1e-8)
