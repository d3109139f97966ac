"""Words that belong to some values of a property stand beside them wherever they stand."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from invdesign.cli.advice import format_recommendation
from invdesign.cli.describe import describe_candidate, describe_status, format_table
from invdesign.properties import sentence_beside, words_beside
from invdesign.report import figures, fronts, plots
from invdesign.report.advice import build_advice
from invdesign.report.export import export_run
from invdesign.report.html import render_report
from invdesign.report.marks import MARKED_SYMBOLS, own_value_sentences
from invdesign.report.tables import read_facts
from invdesign.run.notebook import status_line
from invdesign.run.run import Run
from tests.report.conftest import PLUGINS, parameters
from tests.support import finished

WORDS = "of its decomposition products"


@pytest.fixture(scope="module")
def limits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run whose best oxidation limits are of decomposition products."""
    data = parameters(
        candidates=12,
        evaluate=[{f"{PLUGINS}:Limits": {"name": "limits"}}],
        objectives=[{"maximize": "oxidation_limit"}],
    )
    return finished(data, tmp_path_factory.mktemp("limits") / "run")


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two objectives with a front of both kinds of limits."""
    data = parameters(
        candidates=40,
        evaluate=[{f"{PLUGINS}:Limits": {"name": "limits"}}, {"landscape": {"function": "zdt1"}}],
        objectives=[{"maximize": "oxidation_limit"}, {"minimize": "f1"}],
        constraints=[{"f2": {"max": 4}}],
    )
    return finished(data, tmp_path_factory.mktemp("pair") / "run")


def test_words_follow_their_flag() -> None:
    """Only where the flag is set, and only beside properties that have a mark."""
    assert words_beside("oxidation_limit", {"window_of_products": 1.0}.get) == WORDS
    assert not words_beside("oxidation_limit", {"window_of_products": 0.0}.get)
    assert not words_beside("oxidation_limit", {"window_of_products": float("nan")}.get)
    assert not words_beside("oxidation_limit", {}.get)
    assert not words_beside("energy_per_atom", {"window_of_products": 1.0}.get)
    assert sentence_beside("oxidation_limit", {"window_of_products": 1.0}.get, "why") == f"{WORDS}; why"


def test_words_stand_in_every_text(limits_run: Run) -> None:
    """Ranking, candidate, status, progress, recommendation and notebook."""
    rows = limits_run.top(12)
    best = rows[0]["candidate"]
    assert rows[0]["words"] == {"oxidation_limit": WORDS}
    assert rows[-1]["words"] == {}
    lines = format_table(rows, limits_run.campaign)
    assert re.search(rf"± 0.1 \(method\) {WORDS}", lines[1])
    assert WORDS not in lines[len(rows)]
    shown = next(line for line in describe_candidate(limits_run, best) if "oxidation_limit:" in line)
    assert shown.endswith(f"V {WORDS}")
    assert f"V {WORDS} (candidate {best})" in "\n".join(describe_status(limits_run.status()))
    assert f"V {WORDS}" in status_line(limits_run.status())
    assert WORDS in limits_run._repr_html_()
    assert WORDS in "\n".join(format_recommendation(limits_run.recommend()))


def test_words_stand_in_the_report(limits_run: Run) -> None:
    """Beside the best value, in the ranking, on the cards and in what is said of points."""
    page = render_report(limits_run, model=False)
    cards = page[page.index('class="candidates"') :]
    assert f"<b>{WORDS}</b>" in cards
    assert page.count(WORDS) > cards.count(WORDS)


def test_marked_points_are_hollow(pair_run: Run) -> None:
    """In every scatter the flag alone decides the symbol, and no candidate is drawn twice or lost."""
    facts = read_facts(pair_run)
    shown = figures.choose_shown(facts)
    drawn = [
        fronts.pair_figure(facts, shown, *facts.objectives),
        fronts.ranked_figure(facts),
        plots.convergence_figure(facts, shown, 0),
    ]
    for figure in drawn:
        traces = [trace for trace in figure["data"] if "customdata" in trace]
        ids = [id for trace in traces for id in trace["customdata"]]
        assert len(ids) == len(set(ids)) == len(facts)
        for trace in traces:
            marked = facts.columns["window_of_products"][trace["customdata"]] > 0
            assert marked.all() if "meta" in trace else not marked.any()
            assert (trace["marker"]["symbol"] in set(MARKED_SYMBOLS.values())) == ("meta" in trace)
        assert [symbol for words, _, symbol in figures.legend_entries([figure]) if WORDS in words] == ["ring"]
    assert not any("meta" in trace for trace in plots.convergence_figure(facts, shown, 1)["data"])


def test_marked_predictions_are_hollow(limits_run: Run) -> None:
    """The parity plot of the recommendation draws them hollow too, with an entry in its own legend."""
    facts, drawn = read_facts(limits_run), {}
    build_advice(facts, limits_run.recommend(), drawn)
    traces = drawn["parity0"]["data"]
    assert f"hollow: {WORDS}" in [trace.get("name") for trace in traces]
    for trace in (trace for trace in traces if "customdata" in trace):
        marked = facts.columns["window_of_products"][trace["customdata"]] > 0
        assert trace["marker"]["symbol"] == np.where(marked, "circle-open", "circle").tolist()
    Figure(drawn["parity0"])


def test_the_candidates_own_values_are_counted(pair_run: Run, number_run: Run) -> None:
    """Of all complete candidates and of the front, with the marks' own words; nothing where there is no mark."""
    facts = read_facts(pair_run)
    flags = facts.columns["window_of_products"]
    own, front = int((flags == 0).sum()), int((flags[facts.front] == 0).sum())
    (sentence,) = own_value_sentences(facts)
    assert sentence == (
        f"Oxidation limit: {own} of {len(facts)} values are the candidates' own ({front} of {len(facts.front)} "
        "on the front); the others are those of their decomposition products."
    )
    page = render_report(pair_run, model=False)
    assert html.escape(sentence, quote=False) in page[: page.index('id="asked"')].replace("&#39;", "'")
    assert own_value_sentences(read_facts(number_run)) == []


def test_words_stand_in_the_table(limits_run: Run, tmp_path: Path) -> None:
    """In the column of details, before what the evaluator said."""
    export_run(limits_run, "csv", tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    theirs = table["window_of_products"] == 1.0
    assert table["oxidation_limit_detail"].str.startswith(f"{WORDS}; Li2O").tolist() == theirs.tolist()
    assert 0 < theirs.sum() < len(table)


def test_flags_are_said_as_yes_or_no(limits_run: Run) -> None:
    """What is 1 or 0 is a statement in the table of a candidate."""
    page = render_report(limits_run, model=False)
    table = page[page.index('id="best"') :]
    assert "The window is that of the decomposition products" in table
    assert '<td class="num">yes' in table
    assert "1 where the window" not in table[: table.index('id="funnel"')]
