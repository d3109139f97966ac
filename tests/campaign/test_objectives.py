"""Objectives in a campaign file: every way to write one, every mistake in one, and their way through JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import read_campaign
from invdesign.campaign.model import Campaign
from invdesign.campaign.objectives import dump_objective, load_objective
from invdesign.errors import CampaignError
from invdesign.problem import Direction, Objective, Problem
from tests.support import ROOT

HEAD = """\
version: 1
name: toy
space: {kind: parameters, parameters: {x: {real: [0, 1]}, y: {real: [0, 1]}}}
evaluate: [landscape: {function: zdt2}]
optimizer: random
budget: {candidates: 8}
"""


def read(objectives: str) -> Campaign:
    return read_campaign(parse_yaml(HEAD + objectives, "my.yaml"), ROOT)


def mistakes(objectives: str) -> list[str]:
    """What is wrong, without the file's name, counting lines from the first of `objectives`."""
    with pytest.raises(CampaignError) as caught:
        read(objectives)
    before = len(HEAD.splitlines())
    return [
        f"{(mistake.line or 0) - before}: {mistake.path}: {mistake.message} {mistake.hint}".rstrip()
        for mistake in caught.value.mistakes
    ]


EVERYTHING = """\
objectives:
  - minimize: f1
    best: 0
    worst: 1.5
    weight: 2
    reference: 1.1
  - window: {f2: {min: 0.25, max: 0.5}}
    tolerance: 0.75
    reference: 2
scalarize: desirability
constraints:
  - f2: {max: 0, scale: 0.05}
"""


def test_everything_an_objective_can_say() -> None:
    """Numbers arrive where they belong, whole ones as real ones."""
    problem = read(EVERYTHING).problem
    assert problem.objectives == (
        Objective("f1", "minimize", best=0.0, worst=1.5, weight=2.0, reference=1.1),
        Objective("f2", "window", min=0.25, max=0.5, tolerance=0.75, reference=2.0),
    )
    assert problem.scalarize == "desirability"
    assert problem.constraints[0].scale == 0.05


def test_a_target_is_a_window_of_one_value() -> None:
    """Both its ends are the value."""
    (target, plain) = read("objectives:\n  - target: {f1: 1}\n  - maximize: f2\n").problem.objectives
    assert (target.direction, target.min, target.max) == ("target", 1.0, 1.0)
    assert plain == Objective("f2", "maximize")


def test_every_mistake_in_its_line() -> None:
    """Each with the key it is about and what to do."""
    text = """\
objectives:
  - minimize: f1
    best: 2
    worst: 1
    tolerance: 3
  - target: {f22: 1.5}
    best: 1
    reference: -1
"""
    assert mistakes(text) == [
        "4: objectives[0].worst: to minimize, best must lie below worst; got best 2 and worst 1",
        "5: objectives[0].tolerance: belongs to target and window; to minimize, give best and worst",
        "6: objectives[1].target.f22: no evaluator of this campaign provides 'f22'. Did you mean 'f2'?",
        "7: objectives[1].best: belongs to minimize and maximize; to a target, give a tolerance",
        "8: objectives[1].reference: of a target is a distance from it and must be > 0, got -1",
    ]


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("{maximize: f1, best: 1, worst: 2}", "objectives[0].worst: to maximize, worst must lie below best"),
        ("{maximize: f1, best: 1, worst: 1}", "objectives[0].worst: to maximize, worst must lie below best"),
        ("{maximize: f1, best: 1}", "objectives[0].best: needs worst beside it"),
        ("{minimize: f1, worst: 1}", "objectives[0].worst: needs best beside it"),
        ("{window: {f1: {min: 2, max: 1}}}", "objectives[0].window.f1: min (2) is above max (1)"),
        ("{window: {f1: {}}}", "objectives[0].window.f1: give min, max or both"),
        ("{window: {f1: {mn: 1}}}", "objectives[0].window.f1.mn: unknown key. Did you mean 'min'?"),
        ("{window: {f1: {min: 0}}, tolerance: 0}", "objectives[0].tolerance: must be greater than 0, got 0"),
        ("{target: f1}", "objectives[0].target: must be written as 'key: value', got \"f1\""),
        ("{target: {f1: high}}", "objectives[0].target.f1: must be a number, got \"high\""),
        ("{window: {}}", "objectives[0].window: needs an entry, got {}"),
        ("{target: {f3: 1}}", "objectives[0].target.f3: no evaluator of this campaign provides 'f3'."),
        ("{minimize: f1, wieght: 1}", "objectives[0].wieght: unknown key. Did you mean 'weight'?"),
        ("{minimize: f1, weight: 2}", "objectives[0].weight: counts in a desirability only"),
        ("{minimize: f2}", "objectives: f2 is an objective twice"),
    ],
)  # fmt: skip
def test_single_mistakes(objective: str, expected: str) -> None:
    """Each mistake alone, beside a second objective that is right."""
    found = mistakes(f"objectives:\n  - {objective}\n  - maximize: f2\n")
    assert len(found) == 1
    assert expected in found[0]


def test_a_desirability_needs_every_scale() -> None:
    """Each objective without one is named, with what it lacks; it makes no difference which of them comes first."""
    text = "objectives:\n  - minimize: f1\n  - target: {f2: 1}\nscalarize: desirability\n"
    assert mistakes(text) == [
        "2: objectives[0]: scalarize: desirability needs the best and worst of every objective, and this one has none. Give best and worst.",
        "3: objectives[1]: scalarize: desirability needs the tolerance of every objective, and this one has none. Give tolerance.",
    ]
    text = "objectives:\n  - minimize: f1\n  - {target: {f2: 1}, tolerance: 1}\n"
    assert "A desirability needs the best and worst of every objective" in mistakes(text)[0]


def test_a_reference_point_has_every_coordinate() -> None:
    """A reference of some objectives alone is no point."""
    text = "objectives:\n  - {minimize: f1, reference: 1}\n  - maximize: f2\n"
    assert mistakes(text) == [
        "3: objectives[1]: other objectives have a reference, and this one has none. Give one to this objective too, or take the others out."
    ]


def test_an_unknown_way_to_combine() -> None:
    """There is one."""
    assert mistakes("objectives: [minimize: f1]\nscalarize: sum\n") == [
        "2: scalarize: expected 'desirability', got \"sum\""
    ]


def test_old_dumps_are_read_and_new_ones_like_them() -> None:
    """Plain objectives dump as they always did, and their campaign keeps its hash."""
    campaign = read("objectives: [minimize: f1, maximize: f2]\nconstraints: [f1: {max: 3}]\n")
    dump = campaign.dump()
    assert dump["objectives"] == [["minimize", "f1"], ["maximize", "f2"]]
    assert dump["constraints"] == [["f1", None, 3.0]]
    assert "scalarize" not in dump
    assert Campaign.from_dump(dump) == campaign


def test_a_dump_keeps_every_number() -> None:
    """Through JSON text and back it is the same campaign; another weight is another one."""
    campaign = read(EVERYTHING)
    again = Campaign.from_dump(json.loads(json.dumps(campaign.dump())))
    assert again == campaign
    assert again.fingerprint == campaign.fingerprint
    other = read(EVERYTHING.replace("weight: 2", "weight: 3"))
    assert campaign.changes(other) == ["objectives[0][2].weight: 2.0 -> 3.0"]


PAGE = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
def test_what_the_page_shows_is_accepted(block: str) -> None:
    """Every example is a mistake in nothing but its properties, which the toy evaluator does not provide."""
    with pytest.raises(CampaignError) as caught:
        read(block)
    assert {re.sub("'.*?'", "NAME", mistake.message) for mistake in caught.value.mistakes} == {
        "no evaluator of this campaign provides NAME."
    }


def test_the_python_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied into a script; the toy campaign is made faster for it."""
    (tmp_path / "campaigns").mkdir()
    toy = (ROOT / "campaigns" / "toy.yaml").read_text(encoding="utf-8")
    toy = re.sub(r"delay: [0-9.]+", "delay: 0", toy).replace("candidates: 240", "candidates: 20")
    (tmp_path / "campaigns" / "toy.yaml").write_text(toy + "engine: {kind: local, workers: 0}\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/objectives.md", "exec"), {})


NUMBERS = st.floats(-1e9, 1e9)


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    """Every shape of objective."""
    direction: Direction = draw(st.sampled_from(["minimize", "maximize", "target", "window"]))
    numbers: dict[str, float] = {}
    low = draw(NUMBERS)
    high = low + abs(low) * 0.5 + draw(st.floats(1e-3, 1e3))
    if direction == "target":
        numbers = {"min": low, "max": low}
    elif direction == "window":
        numbers = draw(st.sampled_from([{"min": low}, {"max": high}, {"min": low, "max": high}]))
    elif draw(st.booleans()):
        best, worst = (low, high) if direction == "minimize" else (high, low)
        numbers = {"best": best, "worst": worst}
    if direction in {"target", "window"} and draw(st.booleans()):
        numbers["tolerance"] = draw(st.floats(1e-9, 1e9))
    if draw(st.booleans()):
        numbers |= {"weight": draw(st.floats(1e-3, 1e3)), "reference": draw(st.floats(1e-9, 1e9))}
    return Objective("p", direction, **numbers)


@given(objectives())
def test_every_objective_comes_back_through_json(objective: Objective) -> None:
    """To the last digit."""
    assert load_objective(json.loads(json.dumps(dump_objective(objective)))) == objective
    assert Problem((objective,)).has_scales == (objective.minimised_scale() is not None)
