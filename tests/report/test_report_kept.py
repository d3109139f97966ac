"""Candidates that fell into another structure are shown as such: table, pictures, first section, terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from invdesign.campaign.load import campaign_from
from invdesign.cli.describe import describe_candidate, describe_status, format_table
from invdesign.report.html import render_report
from invdesign.run.run import Run

SPACE = {
    "kind": "substitution",
    "parent": "antiperovskite",
    "rattle": 0.05,
    "sites": {"X": ["F", "Cl", "Br", "I"]},
}
POTENTIAL = {"kind": "ase", "calculator": "lj", "arguments": {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0}}


@pytest.fixture(scope="module", params=[0.01, 2.0], ids=["strict", "lenient"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, bool]]:
    """A finished run, and whether its limit of displacements is so small that nothing counts as kept."""
    limit = request.param
    campaign = campaign_from(
        {
            "version": 1,
            "name": "kept",
            "space": SPACE,
            "evaluate": [
                {"relax": {"potential": POTENTIAL, "fmax": 0.5, "steps": 3, "unconverged": "keep"}},
                {"structure_kept": {"displacement": limit, "coordination": 0}},
            ],
            "objectives": [{"minimize": "volume_per_atom"}],
            "constraints": [{"structure_kept": {"min": 1}}],
            "optimizer": "random",
            "budget": {"candidates": 3},
            "engine": {"kind": "local", "workers": 0},
        }
    )
    with closing(Run.create(campaign, tmp_path_factory.mktemp("kept") / "run")) as made:
        made.execute()
        yield made, limit < 1


def test_the_report_tells_what_became_of_candidates(run: tuple[Run, bool]) -> None:
    """Table, picture and first section say `no longer an anti-perovskite`, or the picture that it still is one."""
    made, lost = run
    page = render_report(made, model=False).partition('<script type="application/json"')[0]
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    if lost:
        assert re.search(r"#\d, violates a constraint, no longer an anti-perovskite", text)
        assert "5 atoms, relaxed, no longer an anti-perovskite" in text
        assert "3 in another structure no longer an anti-perovskite" in text
        assert re.search(r"no longer an anti-perovskite: \w+ moved [\d.]+ Å \(limit 0.01 Å\)", text)
        assert "3 of 4 candidates were asked" in text
        assert "(0 of them feasible)" in "\n".join(describe_status(made.status()))
    else:
        assert "(3 of them feasible)" in "\n".join(describe_status(made.status()))
        assert "5 atoms, relaxed, places kept: still an anti-perovskite" in text
        assert "no longer" not in text


def test_the_terminal_tells_it_too(run: tuple[Run, bool]) -> None:
    """`top` marks what is lost, and `show` has the whole sentence."""
    made, lost = run
    rows = "\n".join(format_table(made.top(3), made.campaign))
    told = "\n".join(describe_candidate(made, 0))
    assert rows.count("no longer an anti-perovskite") == (3 if lost else 0)
    assert ("no longer an anti-perovskite: " in told) == lost
    assert ("still an anti-perovskite; " in told) == (not lost)
