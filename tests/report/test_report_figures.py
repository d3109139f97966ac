"""What the figures show: growth of the hypervolume, records, thinning, and runs of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from invdesign import pareto
from invdesign.report import figures, fronts, growth
from invdesign.report.html import write_report
from invdesign.report.tables import build_ancestry, group_failures, operator_rows, read_facts, stage_rows
from invdesign.run.run import Run
from invdesign.store import schema
from invdesign.store.store import STORE_FILE, Store
from tests.report.conftest import crystals, parameters
from tests.support import campaign, finished


def filled(folder: Path, n: int) -> Run:
    """A run of n finished candidates with two objectives, written into its store at once."""
    data = parameters("zdt2", n, constraints=[{"f2": {"max": 4}}])
    Run.create(campaign(data), folder).close()
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(size=(n, 2))) + 1 / (1 + np.arange(n))[:, None]
    store = Store.open(folder / STORE_FILE)
    candidates = [
        {
            "id": id,
            "key": f"{id:032x}",
            "genome": json.dumps({"x": id / n, "y": 0.5}),
            "parents": json.dumps([id // 2] if id > 9 else []),
            "operator": "mutate" if id > 9 else "start",
            "memo": "null",
            "event": 0,
            "status": 1,
            "depth": 2,
        }
        for id in range(n)
    ]
    evaluations = [
        {
            "id": id + 1,
            "candidate": id,
            "stage": "landscape",
            "properties": json.dumps({"f1": a, "f2": b}),
            "noise": "{}",
            "systematic": "{}",
            "details": "{}",
            "structures": "{}",
            "cost": '{"seconds": 0.1}',
        }
        for id, (a, b) in enumerate(values.tolist())
    ]
    with store, store._open_transaction() as writer:
        writer.insert_rows(
            schema.events, [{"id": 0, "kind": "ask", "detail": "{}", "state": "null", "time": 0.0}]
        )
        writer.insert_rows(schema.candidates, candidates)
        writer.insert_rows(schema.evaluations, evaluations)
    return Run.open(folder, trust_code=True)


@pytest.mark.parametrize("n", [12_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_a_large_run_gives_a_small_report(n: int, tmp_path: Path) -> None:
    """Figures are thinned, and say so; the file stays below 12 MB."""
    path = write_report(filled(tmp_path / "run", n), tmp_path / "report.html")
    assert path.stat().st_size < 12e6
    assert f"The figures show 2,500 of {n:,} candidates" in path.read_text(encoding="utf-8")


def test_thinning_keeps_the_front_and_every_record(tmp_path: Path) -> None:
    """However few points are shown, the winners are among them."""
    facts = read_facts(filled(tmp_path / "run", 3000))
    shown = figures.choose_shown(facts, limit=200)
    assert len(shown.ids) <= 200
    assert set(facts.front) <= set(shown.ids)
    for objective in range(2):
        assert set(growth.find_records(facts, objective)[0]) <= set(shown.ids)
    assert "200 of 3,000" in shown.thinning_note(facts)


def test_small_runs_are_shown_whole(crystal_run: Run) -> None:
    """Nothing is left out where there is room, and nothing is said of it."""
    facts = read_facts(crystal_run)
    shown = figures.choose_shown(facts)
    assert shown.ids.tolist() == list(range(len(facts)))
    assert shown.thinning_note(facts) == ""


def test_the_hypervolume_never_shrinks_and_ends_at_that_of_all(tmp_path: Path) -> None:
    """Grown step by step it equals the hypervolume of all feasible candidates at once."""
    facts = read_facts(filled(tmp_path / "run", 2000))
    grown = growth.hypervolume_growth(facts)
    assert grown is not None
    assert len(grown.counts) <= growth.MAX_CHECKPOINTS
    assert (np.diff(grown.values) >= 0).all()
    feasible = facts.scores.values[facts.feasible_ids()]
    assert grown.values[-1] == pytest.approx(pareto.hypervolume(feasible, grown.reference), rel=1e-12)
    assert (feasible < grown.reference).all()


def test_records_are_the_running_best_in_the_sign_of_the_property(crystal_run: Run) -> None:
    """A maximised property's records rise, a minimised one's fall, and the last is the best."""
    facts = read_facts(crystal_run)
    for objective, item in enumerate(crystal_run.campaign.problem.objectives):
        ids, best = growth.find_records(facts, objective)
        assert (np.diff(item.to_minimised(best)) < 0).all()
        assert best.tolist() == facts.columns[item.property][ids].tolist()
        assert best[-1] == crystal_run.status().best[objective].value


@pytest.mark.parametrize("directions", [("minimize", "minimize"), ("maximize", "minimize")])
def test_the_staircase_bounds_what_the_front_dominates(directions: tuple[str, str], tmp_path: Path) -> None:
    """The corner between two members is no better than the front: it goes the worse way round."""
    objectives = [{direction: name} for direction, name in zip(directions, ("f1", "f2"), strict=True)]
    run = finished(parameters("dtlz2", 60, objectives=objectives), tmp_path / "run")
    facts = read_facts(run)
    figure = fronts.pair_figure(facts, figures.choose_shown(facts), *run.campaign.problem.objectives)
    stairs = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    for trace in stairs:
        for (x0, y0), (x1, y1) in zip(
            zip(trace["x"], trace["y"], strict=True),
            list(zip(trace["x"], trace["y"], strict=True))[1:],
            strict=False,
        ):
            corner = {"hv": (x1, y0), "vh": (x0, y1)}[trace["line"]["shape"]]
            signs = [1 if direction == "minimize" else -1 for direction in directions]
            for member in ((x0, y0), (x1, y1)):
                assert all(s * c >= s * m - 1e-12 for s, c, m in zip(signs, corner, member, strict=True))


def test_error_bars_are_the_noise_of_the_front(crystal_run: Run) -> None:
    """One standard deviation on the axis whose evaluator gives it, none on the other."""
    facts = read_facts(crystal_run)
    figure = fronts.pair_figure(facts, figures.choose_shown(facts), *crystal_run.campaign.problem.objectives)
    (front,) = [trace for trace in figure["data"] if trace.get("name") == figures.FRONT_NAME]
    assert front["error_x"]["array"] == [0.01] * len(facts.front)
    assert "error_y" not in front
    assert front["customdata"] == facts.front.tolist()


def test_more_objectives_are_shown_by_parallel_coordinates_and_pairs(tmp_path: Path) -> None:
    """Three objectives: one figure with an axis each, and three pairs; best values at the top."""
    objectives = [
        {"minimize": "decomposition_energy"},
        {"maximize": "lattice_constant"},
        {"minimize": "density"},
    ]
    facts = read_facts(finished(crystals(objectives=objectives), tmp_path / "run"))
    drawn = fronts.front_figures(facts, figures.choose_shown(facts))
    assert len(drawn) == 4
    assert [item.wide for item in drawn] == [True, False, False, False]
    front = next(trace for trace in drawn[0].figure["data"] if trace["name"] == figures.FRONT_NAME)
    heights = np.array(front["y"], dtype=float).reshape(len(facts.front), 4)[:, :3]
    values = facts.scores.values[facts.front]
    assert (heights.argmax(axis=0) == values.argmin(axis=0)).all()


def test_far_values_do_not_squeeze_the_others() -> None:
    """The range leaves a few outliers out, and keeps everything that must be seen."""
    values = np.concatenate([np.linspace(0, 1, 99), [1e6]])
    low, high = figures.robust_range(values, np.array([-3.0, 0.5]))["range"]
    assert low < -3
    assert 1 < high < 2


def test_the_funnel_counts_what_was_evaluated_and_what_was_found_again(crystal_run: Run) -> None:
    """Evaluations and cache hits of a stage add up to what entered it, and every stage loses to the next."""
    rows = stage_rows(read_facts(crystal_run))
    assert [row.name for row in rows] == ["build", "squeeze", "spacing"]
    for row in rows[1:]:
        assert row.evaluated + row.cached == row.entered
        assert row.entered == row.passed + row.gated + row.failed
        assert row.seconds > 0
    assert rows[1].gates == ("density ≤ 5 g/cm³",)


def test_causes_count_every_failure_once(crystal_run: Run) -> None:
    """Grouped by stage and kind, the most frequent first, with numbers of candidates that failed so."""
    found = group_failures(read_facts(crystal_run))
    failures = crystal_run.history.failures_by_trial()
    assert sum(cause.count for cause in found) == len(failures)
    assert [cause.count for cause in found] == sorted((cause.count for cause in found), reverse=True)
    for cause in found:
        assert all(failures[id].kind == cause.kind for id in cause.candidates)


def test_operators_account_for_every_candidate(crystal_run: Run) -> None:
    """What operators proposed adds up, and so does the front."""
    rows = operator_rows(read_facts(crystal_run))
    assert sum(row.proposed for row in rows) == 60
    assert sum(row.front for row in rows) == len(crystal_run.front())
    assert all(row.front <= row.feasible <= row.complete <= row.proposed for row in rows)


def test_a_family_tree_is_bounded_and_repeats_nobody(tmp_path: Path) -> None:
    """Long lineages are cut where they say so; an ancestor met twice is shown once."""
    facts = read_facts(filled(tmp_path / "run", 3000))
    node, generations = build_ancestry(facts, 2999, depth=3), 0
    while node.parents:
        (node,) = node.parents
        generations += 1
    assert generations == 3
    assert node.cut
    assert node.id == 2999 // 8
