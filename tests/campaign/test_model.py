"""A campaign as plain JSON and back; which changes make it another campaign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.campaign.load import campaign_from, load_campaign
from invdesign.campaign.model import Campaign
from tests.support import ROOT, STEPS, campaign, funnel

NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6)
NAMES = st.text("abcxyz", min_size=1, max_size=3)


def parameters() -> st.SearchStrategy[dict[str, Any]]:
    real = st.tuples(NUMBERS, st.floats(0.1, 1e6)).map(lambda b: {"real": [b[0], b[0] + b[1]]})
    whole = st.tuples(st.integers(-9, 9), st.integers(0, 9)).map(lambda b: {"integer": [b[0], b[0] + b[1]]})
    words = st.lists(NAMES, min_size=2, max_size=3, unique=True).map(lambda c: {"categorical": c})
    return st.dictionaries(NAMES, st.one_of(real, whole, words), min_size=1, max_size=3)


def bounds() -> st.SearchStrategy[dict[str, float]]:
    both = st.tuples(NUMBERS, st.floats(0, 10)).map(lambda b: {"min": b[0], "max": b[0] + b[1]})
    return st.one_of(
        both, st.fixed_dictionaries({"min": st.integers(-5, 5)}), st.fixed_dictionaries({"max": NUMBERS})
    )


def objectives(name: str) -> st.SearchStrategy[dict[str, Any]]:
    plain = st.sampled_from(["minimize", "maximize"]).map(lambda word: {word: name})
    target = NUMBERS.map(lambda value: {"target": {name: value}})
    return st.one_of(plain, target, bounds().map(lambda limits: {"window": {name: limits}}))


@st.composite
def toys(draw: st.DrawFn) -> dict[str, Any]:
    """Campaign files in every shape the toy evaluators allow."""
    stages = []
    for number in range(draw(st.integers(1, 3))):
        options: dict[str, Any] = {
            "function": draw(st.sampled_from(["sphere", "zdt1", "ackley"])),
            "name": f"s{number}",
        }
        if draw(st.booleans()):
            options["timeout"] = draw(st.one_of(st.integers(1, 99), st.floats(0.5, 99)))
        if draw(st.booleans()):
            options["gate"] = {"f1" if options["function"] == "zdt1" else "height": draw(bounds())}
        stages.append({"landscape": options})
    provided = sorted({"f1" if s["landscape"]["function"] == "zdt1" else "height" for s in stages})
    chosen = draw(st.lists(st.sampled_from(provided), min_size=1, unique=True))
    data = {
        "version": 1,
        "name": draw(
            st.text(min_size=1, max_size=5).filter(lambda t: t.encode(errors="ignore").decode() == t)
        ),
        "description": draw(st.sampled_from(["", "Ünicode: «what»?\n"])),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "space": {"kind": "parameters", "parameters": draw(parameters())},
        "evaluate": stages,
        "objectives": [draw(objectives(name)) for name in chosen],
        "constraints": [
            {draw(st.sampled_from(provided)): draw(bounds() | bounds().map(lambda b: {**b, "scale": 0.5}))}
            for _ in range(draw(st.integers(0, 2)))
        ],
        "optimizer": draw(
            st.sampled_from(["random", "genetic", {"kind": "genetic", "population": 7, "fresh": 0.2}])
        ),
        "budget": draw(st.sampled_from([{"candidates": 3}, {"evaluations": 9, "hours": 0.5}])),
        "max_failure_rate": draw(st.sampled_from([0.5, 1])),
    }
    if draw(st.booleans()):
        space: Any = campaign_from(data).space
        u = draw(st.lists(st.floats(0, 1), min_size=len(space.parameters), max_size=len(space.parameters)))
        data["seeds"] = [dict(genome) for genome in space.decode([u, u])]
    return data


@settings(deadline=None)
@given(toys())
def test_a_dump_is_the_campaign(data: dict[str, Any]) -> None:
    """What the store keeps gives an equal campaign on any machine, and dumps to the same text again."""
    first = campaign_from(data)
    text = json.dumps(first.dump())
    again = Campaign.from_dump(json.loads(text))
    assert again == first
    assert json.dumps(again.dump()) == text
    assert again.fingerprint == first.fingerprint
    assert again.changes(first) == []


def test_dumps_of_trusted_code() -> None:
    """Plug-ins without entry point are dumped by their path, with the folder they come from."""
    first = campaign(funnel())
    dump: Any = first.dump()
    assert dump["space"] == {"kind": f"{STEPS}:Picky"}
    assert dump["code"] == [str(ROOT)]
    assert Campaign.from_dump(dump) == first


FREE = {
    "budget": {"hours": 1.0},
    "engine": {"kind": "local", "workers": 7},
    "description": "x",
    "max_failure_rate": 0.1,
}
BOUND = {
    "name": "other",
    "seed": 12,
    "objectives": [{"maximize": "density"}],
    "constraints": [],
    "optimizer": {"kind": "genetic", "population": 13},
    "seeds": [{"x": 0.5, "y": 0.5, "n": 0}],
}


@pytest.mark.parametrize("key", FREE)
def test_what_may_change(key: str) -> None:
    """Budget, engine, description and tolerated failures decide nothing of what is found: the campaign stays itself."""
    first, other = campaign(funnel()), campaign(funnel(**{key: FREE[key]}))
    assert first != other
    assert first.fingerprint == other.fingerprint
    assert first.changes(other) == []


@pytest.mark.parametrize("key", BOUND)
def test_what_may_not_change(key: str) -> None:
    """Anything else makes it another campaign, and the difference names the place."""
    first, other = campaign(funnel()), campaign(funnel(**{key: BOUND[key]}))
    assert first.fingerprint != other.fingerprint
    assert all(line.startswith(key) for line in first.changes(other))
    assert first.changes(other)


@pytest.mark.parametrize(
    ("place", "settings", "line"),
    [
        (0, {"delay": 0.5}, "stages[0].evaluator.delay: 0.0 -> 0.5"),
        (0, {"gate": {"height": {"max": 1.8}}}, "stages[0].gates[0][2]: 1.7 -> 1.8"),
        (2, {"timeout": 5}, "stages[2].timeout: 600.0 -> 5.0"),
        (2, {"name": "D"}, "stages[2].name: Density -> D"),
    ],
)
def test_differences_of_stages(place: int, settings: dict[str, Any], line: str) -> None:
    """A changed setting of a stage is found, and shown as a person would say it."""
    data = funnel()
    ((kind, options),) = data["evaluate"][place].items()
    data["evaluate"][place] = {kind: {**options, **settings}}
    assert campaign(funnel()).changes(campaign(data)) == [line]


def test_a_stage_more() -> None:
    """An added stage is a difference of everything in it."""
    data = funnel()
    data["evaluate"].append({"landscape": {"function": "sphere"}})
    lines = campaign(funnel()).changes(campaign(data))
    assert "stages[3].name: (nothing) -> landscape" in lines


def test_whole_numbers_and_reals() -> None:
    """`max: 1` and `max: 1.0` are one campaign, in constraints as in gates."""
    whole, real = funnel(), funnel()
    whole["constraints"], real["constraints"] = [{"edge": {"max": 4}}], [{"edge": {"max": 4.0}}]
    assert campaign(whole).fingerprint == campaign(real).fingerprint


def test_files_travel_with_the_campaign(tmp_path: Path) -> None:
    """The quickstart's dump holds what its files held: it can be read where they are not."""
    path = ROOT / "campaigns" / "antiperovskite_electrolyte.yaml"
    first = load_campaign(path)
    text = json.dumps(first.dump())
    assert str(path.parent) not in text
    assert Campaign.from_dump(json.loads(text)).fingerprint == first.fingerprint


def test_units() -> None:
    """Every provided property has its unit."""
    assert campaign(funnel()).units()["density"] == "g/cm^3"
