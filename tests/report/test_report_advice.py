"""The recommendation in the report: what it shows, and that it never stands in a report's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invdesign.learning.calibration import Calibration, LeftOut
from invdesign.learning.importance import Contribution, Importance, Share
from invdesign.recommendation.values import Recommendation
from invdesign.report.advice import build_advice, contribution_figure, importance_figure, parity_figure
from invdesign.report.html import render_report
from invdesign.report.tables import read_facts
from invdesign.report.text import format_interval
from invdesign.run.run import Run
from tests.report.conftest import EVIL, parameters
from tests.report.test_report_html import Page
from tests.support import campaign


def calibration(**changes: Any) -> Calibration:
    """One good prediction and one bad."""
    rows = (LeftOut(3, 1.0, 1.1, 0.1), LeftOut(7, 2.0, 3.0, 0.1))
    fields: dict[str, Any] = {
        "property": "height",
        "unit": "Å^3",
        "rows": rows,
        "rmse": 0.7,
        "r2": -0.5,
        "rank_correlation": None,
        "inside_68": 0.5,
        "inside_95": 0.5,
        "log_density": 2.0,
        "mean_log_density": 1.0,
        "widen": 5.0,
        "verdict": "intervals too narrow",
        "words": "Do not trust it.",
    }
    return Calibration(**{**fields, **changes})


def test_the_section_shows_best_calibration_and_importance(number_run: Run) -> None:
    """Measured value, mean and interval of the best; R² and coverage; a parity plot and bars of the variables."""
    page = Page(render_report(number_run))
    text = " ".join(page.text.split())
    best = number_run.recommend().best
    assert best is not None
    assert f"#{best.candidate} best measured" in text
    assert "How far to trust the models" in text
    assert number_run.recommend().calibration[0].words in text
    figures = page.figures()["figures"]
    assert {"parity0", "variables0"} <= figures.keys()


def test_a_front_says_which_members_are_on_the_measured_front(crystal_run: Run) -> None:
    """Each property has a parity plot; the page's link to the section is there."""
    page = Page(render_report(crystal_run))
    assert ("a", {"href": "#recommendation"}) in page.tags
    assert "The front by the models' means" in page.text
    assert {"parity0", "parity1"} <= page.figures()["figures"].keys()


def test_without_models_the_section_is_left_out(number_run: Run) -> None:
    """A report of a run whose models take too long is written without them."""
    page = Page(render_report(number_run, model=False))
    assert ("a", {"href": "#recommendation"}) not in page.tags
    assert "parity0" not in page.figures()["figures"]


def test_a_run_without_values_has_words_instead(tmp_path: Path) -> None:
    """A run that was not started gives a section with a reason."""
    run = Run.create(campaign(parameters()), tmp_path / "run")
    assert "No candidate has a value yet, so there is nothing to recommend." in Page(render_report(run)).text


def test_notes_and_words_are_text(number_run: Run) -> None:
    """Nothing that an optimizer or an error says becomes part of the page's code."""
    found = Recommendation(("minimize height",), None, None, (), 0, 0, (), (), (EVIL,), (EVIL,))
    shown = build_advice(read_facts(number_run), found, {})
    assert (shown.words, shown.notes) == ((EVIL,), (EVIL,))
    number_run.recommend()
    kept = number_run._recommended  # what a run keeps is shown: put something dangerous there
    assert kept is not None
    number_run._recommended = (kept[0], found)
    try:
        page = render_report(number_run)
    finally:
        number_run._recommended = kept
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_parity_sets_misses_apart() -> None:
    """Values outside their 95 % bar have a colour of their own; both axes span the same."""
    figure = parity_figure(calibration())
    line, inside, outside = figure["data"]
    assert line["x"] == line["y"] == figure["layout"]["xaxis"]["range"] == figure["layout"]["yaxis"]["range"]
    assert (inside["name"], inside["customdata"]) == ("within 95 %", [3])
    assert (outside["name"], outside["customdata"]) == ("outside 95 %", [7])
    assert inside["error_y"]["array"] == [pytest.approx(0.196, abs=0.001)]
    assert "Å³" in figure["layout"]["xaxis"]["title"]["text"]


def test_bars_say_the_direction_and_escape_names() -> None:
    """Rising, falling and undirected variables differ in colour; a name cannot become markup."""
    shares = (
        Share(EVIL, "g", 0.6, 0.5, 0.9),
        Share("b", "g", 0.3, 0.5, -0.9),
        Share("c", "g", 0.1, None, None),
        Share("d", "g", 0.001),
    )
    figure = importance_figure(shares, "Share")
    assert [trace["name"] for trace in figure["data"]] == [
        "property rises with it",
        "falls with it",
        "neither",
    ]
    assert len(figure["layout"]["yaxis"]["ticktext"]) == 3
    assert "<script" not in str(figure)
    assert "60.0 % of the variance" in figure["data"][0]["hovertext"][0]


def test_contributions_show_spread_and_the_best() -> None:
    """Bars of the spread, a mark for what each group adds to the best candidate."""
    found = (Contribution("size", 0.5, 0.8, -1.0), Contribution("electronic", 0.25, 0.2, 0.1))
    bars, marks = contribution_figure(found, "V")["data"]
    assert bars["x"] == [0.5, 0.25]
    assert marks["x"] == [-1.0, 0.1]
    assert "0.5 V" in bars["hovertext"][0]


def test_figures_of_all_kinds_are_named(number_run: Run) -> None:
    """Groups and contributions are drawn where there are fewer groups than variables."""
    variables = tuple(Share(name, "g" if name != "c" else "h", 0.3, 0.3, 0.5) for name in "abc")
    groups = (Share("g", "g", 0.6), Share("h", "h", 0.3))
    item = Importance("height", variables, groups, (Contribution("g", 1.0, 0.5), Contribution("h", 1.0, 0.5)))
    found = Recommendation((), None, None, (), 0, 2, (calibration(),), (item,), ())
    figures: dict[str, Any] = {}
    (model,) = build_advice(read_facts(number_run), found, figures).models
    assert [name for name, _ in model.figures] == ["parity0", "variables0", "groups0", "added0"]
    assert figures.keys() == {name for name, _ in model.figures}
    assert model.cells[1] == "−0.50"


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((1.23456, 1.2, 1.3), ("1.23", "1.20 to 1.30")),
        ((-20.0, -25.0, -15.0), ("−20", "−25 to −15")),
        ((5.0, 5.0, 5.0), ("5", "5 to 5")),
        ((1e9, 0.9e9, 1.1e9), ("1 × 10⁹", "9 × 10⁸ to 1.1 × 10⁹")),
        ((float("nan"),) * 3, ("", " to ")),
    ],
)
def test_intervals_have_as_many_digits_as_they_need(
    numbers: tuple[float, float, float], texts: tuple[str, str]
) -> None:
    """Mean and ends share a decimal: that at which the width has two digits."""
    assert format_interval(*numbers) == texts
