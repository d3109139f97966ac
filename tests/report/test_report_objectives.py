"""Targets, windows and combined scores in the report: on their own axes, in the table, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.graph_objects import Figure

from invdesign import pareto
from invdesign.problem import Objective
from invdesign.report import figures, fronts, growth, plots, results
from invdesign.report.html import render_report
from invdesign.report.tables import read_facts
from invdesign.report.text import distance_text, goal_text
from invdesign.run.run import Run
from tests.report.conftest import crystals, parameters
from tests.report.test_report_html import Page
from tests.support import campaign, finished


def aimed(**changes: Any) -> dict[str, Any]:
    """A target and a window with a unit, over crystals."""
    objectives = [
        {"target": {"lattice_constant": 4.8}, "reference": 1.0},
        {"window": {"decomposition_energy": {"min": -0.08, "max": -0.05}}, "reference": 0.05},
    ]
    data = {"objectives": objectives, "constraints": [], "optimizer": {"kind": "random", "batch": 10}}
    return crystals(**(data | changes))


def judged(**changes: Any) -> dict[str, Any]:
    """Three objectives combined to one score, a constraint on a fourth property."""
    objectives = [
        {"minimize": "f1", "best": 0, "worst": 1},
        {"minimize": "f2", "best": 0, "worst": 8, "weight": 2},
        {"window": {"height": {"min": 0.5}}, "tolerance": 0.5},
    ]
    evaluate = [{"landscape": {"function": "zdt1"}}, {"landscape": {"function": "sphere", "name": "second"}}]
    return parameters(
        "zdt1", 40, objectives=objectives, evaluate=evaluate, scalarize="desirability", **changes
    )


@pytest.fixture(scope="module")
def aimed_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with a target and a window."""
    return finished(aimed(), tmp_path_factory.mktemp("aimed") / "run")


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with a combined score."""
    return finished(judged(), tmp_path_factory.mktemp("judged") / "run")


@pytest.mark.parametrize("which", ["aimed_run", "judged_run"])
def test_every_figure_is_one_plotly_accepts(which: str, request: pytest.FixtureRequest) -> None:
    """Lines and bands included."""
    page = Page(render_report(request.getfixturevalue(which)))
    for figure in page.figures()["figures"].values():
        Figure(data=figure["data"], layout=figure["layout"])


def test_goals_are_drawn_where_they_are(aimed_run: Run) -> None:
    """A line at the target on its axis, a band with two ends over the window on the other, both in view."""
    facts = read_facts(aimed_run)
    shown = figures.choose_shown(facts)
    (figure,) = [item.figure for item in fronts.front_figures(facts, shown)]
    line, band, low, high = figure["layout"]["shapes"]
    assert (line["type"], line["x0"], line["x1"], line["yref"]) == ("line", 4.8, 4.8, "paper")
    assert (band["type"], band["y0"], band["y1"], band["xref"]) == ("rect", -0.08, -0.05, "paper")
    assert (low["y0"], high["y0"]) == (-0.08, -0.05)
    assert not [trace for trace in figure["data"] if trace["mode"] == "lines"]
    trace = next(trace for trace in figure["data"] if trace["name"] == figures.FRONT_NAME)
    assert trace["x"] == figures.round_for_json(facts.columns["lattice_constant"][facts.front])
    for place, axis in ((0, "xaxis"), (1, "yaxis")):
        bounds = figure["layout"][axis]["range"]
        assert all(bounds[0] < end < bounds[1] for end in figures.goal_ends(facts.objectives[place]))


def test_half_open_windows_have_a_line_and_no_band() -> None:
    """There is nothing to fill where one end is open."""
    (line,) = figures.goal_shapes(Objective("p", "window", min=0.5), "y")
    assert (line["type"], line["y0"]) == ("line", 0.5)
    assert figures.goal_shapes(Objective("p", "minimize"), "y") == []


def test_the_record_of_a_target_comes_closer(aimed_run: Run) -> None:
    """The line shows the property, from whichever side; each step is closer to the target."""
    facts = read_facts(aimed_run)
    ids, best = growth.find_records(facts, 0)
    assert best.tolist() == facts.columns["lattice_constant"][ids].tolist()
    assert (np.diff(np.abs(best - 4.8)) < 0).all()
    assert best[-1] == aimed_run.status().best[0].value


def test_the_volume_grows_to_that_of_the_run(aimed_run: Run) -> None:
    """With the reference of the campaign, stated as such, in the product of units; each step holds what came before."""
    facts = read_facts(aimed_run)
    grown = growth.hypervolume_growth(facts)
    assert grown is not None
    assert grown.given
    assert grown.unit == "Å × eV/atom"
    assert grown.values[-1] == pytest.approx(aimed_run.hypervolume())
    for count, value in zip(grown.counts, grown.values, strict=True):
        ids = facts.feasible_ids()
        earlier = facts.minimised[ids[ids < count]]
        assert value == pytest.approx(pareto.hypervolume(earlier, grown.reference))
    text = results.growth_text(facts, grown)
    assert text.reference == "lattice_constant 1 off Å, decomposition_energy 0.05 off eV/atom"
    assert "as the campaign gives it" in text.origin


def test_a_reference_nobody_beats_leaves_no_box(tmp_path: Path) -> None:
    """The volume is 0, no share of anything, and the figure has a range."""
    objectives = [{"minimize": "f1", "reference": -1}, {"minimize": "f2", "reference": -1}]
    facts = read_facts(finished(parameters("zdt1", 10, objectives=objectives), tmp_path / "run"))
    grown = growth.hypervolume_growth(facts)
    assert grown is not None
    assert (grown.box, set(grown.values)) == (0.0, {0.0})
    assert results.growth_text(facts, grown).final == "0"
    assert plots.hypervolume_figure(grown)["layout"]["yaxis"]["range"] == [0, 1.0]


def test_the_table_of_the_front(aimed_run: Run) -> None:
    """Every member with its values and how far off each is."""
    facts = read_facts(aimed_run)
    table = results.ranking_table(facts)
    assert table.heads == (
        "Lattice constant (Å, relaxed)",
        "Off target",
        "Decomposition energy (eV/atom, relaxed)",
        "Off window",
    )
    assert [row.id for row in table.rows] == facts.front.tolist()
    assert table.total == len(facts.front)
    assert all(row.cells[0] == facts.value_text("lattice_constant", row.id) for row in table.rows)


def test_a_long_front_is_listed_in_part(tmp_path: Path) -> None:
    """Evenly, first and last member included."""
    data = parameters("dtlz2", 120)
    data["space"]["parameters"]["y"] = {"real": [0.4999, 0.5001]}  # then nearly all lie on the front
    facts = read_facts(finished(data, tmp_path / "run"))
    table = results.ranking_table(facts)
    assert table.total > results.MAX_FRONT_ROWS == len(table.rows)
    assert (table.rows[0].id, table.rows[-1].id) == (facts.front[0], facts.front[-1])


def test_a_score_is_ranked_and_its_objectives_are_shown(judged_run: Run) -> None:
    """The strip is of the desirability; parallel coordinates and pairs of all objectives follow, the best on top."""
    facts = read_facts(judged_run)
    shown = figures.choose_shown(facts)
    drawn = fronts.front_figures(facts, shown)
    assert len(drawn) == 5
    assert facts.desirability is not None
    strip = np.array(drawn[0].figure["data"][0]["y"])
    assert (np.diff(strip) <= 1e-6).all()
    assert strip[0] == pytest.approx(facts.desirability.max(), rel=1e-5)
    names = {trace.get("name") for item in drawn[1:] for trace in item.figure["data"]}
    assert figures.WINNER_NAME in names
    assert figures.FRONT_NAME not in names
    ids, best = growth.find_records(facts, None)
    assert (np.diff(best) >= 0).all()
    assert best[-1] == facts.desirability.max()
    assert growth.find_records(facts, 1)[0].tolist() == ids.tolist()
    assert growth.hypervolume_growth(facts) is None


def test_the_page_of_a_score(judged_run: Run) -> None:
    """Words for what was combined, the desirability in the table, on the cards and in hovers; no front, no volume."""
    page = Page(render_report(judged_run))
    text = " ".join(page.text.split())
    for words in (
        "minimize F2 f2 best 0, worst 8, weight 2",
        "keep Height at 0.5 or more height tolerance 0.5",
        "combined to one score, the desirability",
        "The best candidate by desirability",
        "in order of their desirability",
        "Ranked by feasibility, then desirability.",
    ):
        assert words in text
    assert "Pareto" not in text
    assert "Hypervolume" not in text
    assert all("desirability: " in hover for hover in page.figures()["hover"].values())
    table = results.ranking_table(read_facts(judged_run))
    assert table.heads == ("Desirability", "F1", "F2", "Height", "Off window")
    assert [row.rank for row in table.rows] == list(range(1, results.MAX_BEST_ROWS + 1))
    assert [row.id for row in table.rows] == list(judged_run.ranking())[: results.MAX_BEST_ROWS]


def test_the_page_of_a_target(aimed_run: Run) -> None:
    """Goals with their units, distances in the reference point, dashes in the legend."""
    text = " ".join(Page(render_report(aimed_run)).text.split())
    for words in (
        "bring Lattice constant to 4.8 Å",
        "keep Decomposition energy at −0.08 to −0.05 eV/atom",
        "target or window",
        "as the campaign gives it",
        "Off window",
    ):
        assert words in text


@pytest.mark.parametrize("state", ["new", "nothing feasible", "one"])
def test_a_score_of_a_run_in_any_state(state: str, tmp_path: Path) -> None:
    """Nothing yet, nothing feasible, one candidate: the report can be written."""
    if state == "new":
        run = Run.create(campaign(judged()), tmp_path / "run")
    elif state == "one":
        run = finished(judged(budget={"candidates": 1}), tmp_path / "run")
    else:
        run = finished(judged(constraints=[{"f1": {"max": -1}}]), tmp_path / "run")
    assert "Desirability" in Page(render_report(run)).text


def test_scales_without_a_score_add_a_column(tmp_path: Path) -> None:
    """Objectives that have a scale but are not combined still give a front, with the desirability beside."""
    data = judged()
    del data["scalarize"]
    facts = read_facts(finished(data, tmp_path / "run"))
    assert facts.ranked_by == 3
    assert results.ranking_table(facts).heads[0] == "Desirability"
    assert [row.id for row in results.ranking_table(facts).rows] == facts.front.tolist()


def test_goals_in_words() -> None:
    """With unit and true minus; how far off is said only where it is off."""
    target = Objective("v", "target", min=-1.5, max=-1.5)
    window = Objective("v", "window", min=3.0, max=4.2)
    assert goal_text(target, "V") == "to −1.5 V"
    assert goal_text(window, "g/cm^3") == "at 3 to 4.2 g/cm³"
    assert goal_text(Objective("v", "minimize"), "V") == ""
    assert distance_text(target, 0.25) == "0.25 off"
    assert distance_text(target, 0.0) == "on target"
    assert distance_text(window, 0.0) == "inside"
    assert distance_text(Objective("v", "maximize"), -2.0) == "2"
