"""The space of charge-neutral compositions: what it holds, how it varies, what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.campaign.document import parse_yaml
from invdesign.candidate import genome_key
from invdesign.errors import Infeasible
from invdesign.protocols import find_allowed_elements
from invdesign.rng import rng_for
from invdesign.settings import STORED_FOLDER, load
from invdesign.spaces.composition.space import CompositionSpace
from invdesign.structures.descriptors import composition_features
from tests.support import ROOT, finished

ELEMENTS = {"Li": [1], "Na": [1], "Y": [3], "Fe": [2, 3], "P": [5], "S": [-2], "Cl": [-1], "Br": [-1]}
HERE = {"kind": "local", "workers": 0}


def compositions(**fields: Any) -> CompositionSpace:
    """A space of lithium compounds, as a campaign file says it."""
    data = {"elements": ELEMENTS, "required": ["Li"], "max_atoms": 24, **fields}
    built: CompositionSpace = load("spaces", {"kind": "composition", **data})
    return built


SPACE = compositions()


def refusal(**fields: Any) -> str:
    """All that is said of a space that cannot be."""
    with pytest.raises(ValidationError) as caught:
        compositions(**fields)
    return "; ".join(str(error["msg"]) for error in caught.value.errors())


def test_a_design_has_a_composition_and_no_structure() -> None:
    """The formula is the composition; there are no parameters."""
    design = SPACE.build({"formula": "Li6PS5Cl"})
    assert design.composition is not None
    assert design.composition.as_dict() == {"Li": 6, "P": 1, "S": 5, "Cl": 1}
    assert not design.structures
    assert not design.parameters


@pytest.mark.parametrize("text", ["Li6PS5Cl", "ClLi6PS5", "Li12P2S10Cl2", "Li3P0.5S2.5Cl0.5", "Li₆PS₅Cl"])
def test_one_formula_has_one_genome(text: str) -> None:
    """Order, multiples and fractions of a formula do not matter."""
    assert SPACE.canonical({"formula": text}) == {"formula": "Li6PS5Cl"}


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ({"formula": "Li2O"}, "Li2O is not in the space: O is no allowed element; there are Li, Na"),
        ({"formula": "NaCl"}, "a formula must hold Li"),
        ({"formula": "LiS"}, "never add up to zero; the nearest total is -1"),
        ({"formula": "Li13YS8"}, "the count of Li must lie between 1 and 12, got 13"),
        ({"formula": "Li11YSCl12"}, "a formula must hold 24 atoms at most, got 25"),
        ({"formula": "nonsense"}, "nonsense"),
        ({"formula": 3}, "a genome of compositions is"),
        ({"row": "Li2S"}, "a genome of compositions is"),
    ],
)
def test_other_formulas_are_refused_with_the_reason(genome: dict[str, Any], message: str) -> None:
    """What is not in the space is infeasible, with the rule that excludes it."""
    with pytest.raises(Infeasible, match=message):
        SPACE.build(genome)


def test_a_list_of_elements_takes_the_common_states_and_stores_them() -> None:
    """The stored settings hold the states, so that the number of compositions is a fact."""
    space = load("spaces", {"kind": "composition", "elements": ["Li", "Fe", "O"]})
    stored = space.model_dump(mode="json")
    assert stored["elements"] == {"Li": [1], "Fe": [2, 3], "O": [-2]}
    again = load("spaces", {"kind": "composition", **stored})
    assert again.count() == space.count() == len({genome_key(space.genome(i)) for i in range(len(space))})


def test_states_may_be_filled_in_for_single_elements() -> None:
    """A mapping without a state takes the common ones of that element."""
    space = compositions(elements={"Li": 1, "Fe": None, "O": -2})
    assert space.states == {"Li": (1,), "Fe": (2, 3), "O": (-2,)}


def test_notes_of_reference_sets_know_the_elements() -> None:
    """A reference set is asked about the allowed elements alone."""
    assert find_allowed_elements(SPACE) == set(ELEMENTS)


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        (
            {"elements": ["Li", "He", "Xx"]},
            ["He has no oxidation state; give some", "'Xx' is not an element"],
        ),
        ({"elements": {"Li": [], "S": -2}}, ["Li has no oxidation state"]),
        ({"required": ["K"]}, ["K is required and no allowed element"]),
        (
            {"max_count": 0, "elements_per_formula": [4, 3]},
            ["greater than or equal to 1", "lower bound is above"],
        ),
        ({"elements": {"Li": 1, "Na": 1}}, ["no allowed element has a negative state; add an anion"]),
        (
            {"elements": {"Li": 1, "P": 5, "S": -2}, "elements_per_formula": 3, "max_atoms": 4},
            ["max_atoms 4 excludes all; raise it"],
        ),
    ],
)
def test_bad_settings_are_refused_at_once(fields: dict[str, Any], messages: list[str]) -> None:
    """Every mistake of a field is named, with the remedy."""
    said = refusal(**fields)
    assert all(message in said for message in messages), said


def test_stored_settings_are_not_counted_again() -> None:
    """A worker that only builds designs does not wait for the count."""
    stored = compositions(max_atoms=23).model_dump(mode="json")
    space = load("spaces", stored, folder=STORED_FOLDER)
    space.build({"formula": "Li2S"})
    assert "_listed" not in space.__dict__


def test_starts_are_drawn_evenly() -> None:
    """Every composition of a small space is drawn about as often."""
    space = compositions(elements={"Li": 1, "Y": 3, "S": -2, "Cl": -1}, max_count=4)
    start, rng = space.operators()["start"], rng_for(1, 0, "even")
    drawn = [genome_key(start.apply((), rng)) for _ in range(60 * len(space))]  # type: ignore[arg-type]  # a start gives a genome
    _, numbers = np.unique(drawn, return_counts=True)
    assert len(numbers) == len(space)
    assert np.square(numbers - 60).sum() / 60 < len(space) + 6 * np.sqrt(2 * len(space))  # chi-square


@pytest.mark.parametrize("name", ["counts", "replace", "exchange", "elements", "blend"])
def test_operators_stay_in_the_space_and_change_something(name: str) -> None:
    """Children keep every rule, and are often other compositions than their parents."""
    operator = SPACE.operators()[name]
    changed = 0
    for seed in range(30):
        rng = rng_for(seed, 0, name)
        parents = [SPACE.genome(int(rng.integers(len(SPACE)))) for _ in range(operator.arity)]
        child = operator.apply(parents, rng)
        if child is not None:
            assert SPACE.canonical(child) == child
            changed += child not in parents
    assert changed >= 10


def test_replacing_keeps_the_counts() -> None:
    """An element is replaced by one of a like state."""
    child = SPACE.operators()["replace"].apply([{"formula": "Li6PS5Cl"}], rng_for(0, 0, "replace"))
    assert child == {"formula": "Li6PS5Br"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=len(ELEMENTS), max_size=len(ELEMENTS)))
def test_every_point_stands_for_a_composition(point: list[float]) -> None:
    """Any fractions decode to a composition of the space, which encodes to a point that decodes to itself."""
    (genome,) = SPACE.decode(np.array([point]))
    assert SPACE.canonical(genome) == genome
    assert SPACE.decode(SPACE.encode([genome])) == [genome]


def test_fractions_near_a_composition_decode_to_it() -> None:
    """Small changes of the fractions do not matter."""
    point = SPACE.encode([{"formula": "Li6PS5Cl"}])
    assert SPACE.decode(point + 0.002 * (point > 0)) == [{"formula": "Li6PS5Cl"}]


def test_the_example_of_the_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The Python on the page runs, and its comments are its output."""
    text = (ROOT / "docs" / "spaces" / "composition.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(code, "composition.md", "exec"), {})  # the page's own code
    said = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said
    shown = re.findall(r"exactly ([\d,]+) compositions", text)
    (settings_,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    space = parse_yaml(settings_).value["space"]
    assert [f"{load('spaces', space).count():,}"] == shown


def test_features_are_those_of_compositions() -> None:
    """Arrays of counts and compositions give the same statistics."""
    genomes = [SPACE.genome(index) for index in range(0, len(SPACE), 997)]
    built = [SPACE.build(genome).composition for genome in genomes]
    assert np.allclose(SPACE.features(genomes), composition_features([item for item in built if item]))


@pytest.mark.parametrize(
    "optimizer",
    [
        "random",
        {"kind": "genetic", "population": 6},
        {"kind": "bayesian", "initial": 6, "batch": 4, "effort": 0.05},
    ],
)
def test_campaigns_search_compositions(optimizer: Any, tmp_path: Path) -> None:
    """A filter and a function of the composition judge the candidates; the run ends with values."""
    run = finished(searched(optimizer), tmp_path / "run")
    ends = [run.trial(number) for number in range(len(run.history))]
    assert len(ends) == 14
    assert sum("height" in trial.properties for trial in ends) >= 5


def searched(optimizer: Any) -> dict[str, Any]:
    """A campaign for much lithium."""
    return {
        "version": 1,
        "name": "lithium-rich",
        "seed": 2,
        "space": {"kind": "composition", "elements": ELEMENTS, "required": ["Li"], "max_atoms": 24},
        "evaluate": ["charge_neutrality", "tests.plugins.compositions:height"],
        "objectives": [{"maximize": "height"}],
        "optimizer": optimizer,
        "budget": {"candidates": 14},
        "engine": HERE,
    }
