"""Sentences of the report on differences smaller than the errors, and on values without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from invdesign.report.differences import describe_differences, describe_unknown_errors, mask_close
from invdesign.report.html import render_report
from invdesign.report.tables import Facts, read_facts
from invdesign.run.run import Run


def with_errors(run: Run, *, systematic: float = np.nan, noise: float = np.nan) -> Facts:
    """Facts of a run whose first objective has these errors, and all else none."""
    facts = read_facts(run)
    name, none = facts.objectives[0].property, {key: np.full(len(facts), np.nan) for key in facts.columns}
    return replace(
        facts,
        systematic={**none, name: np.full(len(facts), systematic)},
        noise={**none, name: np.full(len(facts), noise)},
    )


@pytest.mark.parametrize(
    ("shared", "expected"), [(True, [True, True, False, False]), (False, [True, True, True, False])]
)
def test_neighbours_closer_than_the_error_are_masked(shared: bool, expected: list[bool]) -> None:
    """The method's error is the larger of two; noise of two values adds up as squares; unknown values and errors count as none."""
    values = np.array([1.0, 1.09, 1.22, np.nan, 5.0])
    errors = np.array([0.1, 0.1, 0.1, 0.1, np.nan])
    assert mask_close(values, errors, np.array([0, 1, 2, 3]), shared=shared).tolist() == expected
    assert not mask_close(values, errors, np.array([4, 0]), shared=shared).any()


def test_members_of_the_front_within_the_error_are_counted(crystal_run: Run) -> None:
    """One sentence for the method's error, which says that compounds share it; another one for noise; none without errors."""
    size = len(read_facts(crystal_run).front)
    (sentence,) = describe_differences(with_errors(crystal_run, systematic=100.0))
    counted = f"Of the {size} members of the front, {size} (in Decomposition energy) differ from another one by less than"
    assert sentence.startswith(f"{counted} the method's error. Similar compounds share a part of that error")
    (sentence,) = describe_differences(with_errors(crystal_run, noise=100.0))
    assert sentence == f"{counted} the noise of an evaluation."
    assert describe_differences(with_errors(crystal_run, systematic=1e-12)) == []
    assert describe_differences(with_errors(crystal_run)) == []


def test_candidates_within_the_error_of_the_best_are_counted(number_run: Run) -> None:
    """With one objective the best is what others are compared with."""
    facts = read_facts(number_run)
    values = np.sort(facts.columns["height"])
    limit = float(values[3] - values[0]) * 1.001
    (sentence,) = describe_differences(with_errors(number_run, systematic=limit))
    assert sentence.startswith(
        "3 further candidates differ from the best by less than the method's error in Height."
    )
    assert describe_differences(with_errors(number_run)) == []


def test_ranked_values_without_an_error_are_named(crystal_run: Run) -> None:
    """Beside others that have one, since a missing error reads as none; nothing where no value has any."""
    told = describe_unknown_errors(with_errors(crystal_run, systematic=0.05))
    assert told == "No error is known of: Lattice constant."
    assert describe_unknown_errors(with_errors(crystal_run)) == ""


def test_the_sentences_stand_with_the_result_and_the_front(
    crystal_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both sections of the page."""
    monkeypatch.setattr(
        "invdesign.report.html.read_facts", lambda run: with_errors(run, systematic=100.0, noise=np.nan)
    )
    page = render_report(crystal_run, model=False)
    summary, front = page.index('id="summary"'), page.index('id="front"')
    sentence = "(in Decomposition energy) differ from another one by less than the method"
    assert sentence in page[summary : page.index('id="asked"')]
    assert sentence in page[front:]
    assert "No error is known of: Lattice constant." in page[front:]
