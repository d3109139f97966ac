"""The evaluator `surrogate`: a model of one's own in a campaign."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign import Run, load_campaign
from invdesign.campaign.schema import build_campaign_schema
from invdesign.errors import CampaignError
from invdesign.properties import describe_property, words_beside
from invdesign.settings import load
from invdesign.testing.evaluators import example_inputs
from surrogates.regression.evaluator import Surrogate, describe_model
from surrogates.regression.material import Dataset, Material, Source, Target
from surrogates.regression.models.contract import Candidate
from surrogates.regression.needs import describe_inputs
from surrogates.regression.predicting import load_predictor
from surrogates.regression.training import Recipe, train
from tests.surrogates.regression.salts import MODEL

CAMPAIGN = """\
version: 1
name: salts
seed: 3
space:
  kind: substitution
  parent: antiperovskite
  sites: {A: [Li, Na], B: [O, S, Te], X: [Cl, Br, I]}
evaluate:
  - surrogate: mine
objectives:
  - minimize: metal_content
optimizer: {kind: random}
budget: {candidates: 12}
"""


def make(model: Path | str, **settings: Any) -> Surrogate:
    found: Surrogate = load("evaluators", {"kind": "surrogate", "model": str(model), **settings})
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with a campaign, and the model `mine` beside it."""
    shutil.copytree(MODEL, tmp_path / "mine")
    (tmp_path / "salts.yaml").write_text(CAMPAIGN, encoding="utf-8")
    return tmp_path


def test_values_are_those_of_the_model(folder: Path) -> None:
    """With the deviation as systematic error, the interval, a probability, and a flag with the reason."""
    evaluator = make(folder / "mine")
    inputs = example_inputs(evaluator)
    assert evaluator.requires == {"composition"}
    found = evaluator.evaluate(inputs)
    materials = [Material("", item.composition.get_el_amt_dict()) for item in inputs]
    expected = load_predictor(str(folder / "mine")).model.predict(materials)
    for place, item in enumerate(found):
        assert item.properties["metal_content"] == pytest.approx(expected.mean[place])
        assert item.systematic["metal_content"] == pytest.approx(expected.deviation[place])
        assert item.properties["metal_content_lower"] == pytest.approx(expected.lower[place])
        assert item.properties["metal_content_extrapolated"] == float(expected.outside[place])
        assert 0 <= item.properties["metal_content_probability"] <= 1


def test_a_campaign_uses_a_model_of_ones_own(folder: Path) -> None:
    """Named by one word; it travels with the run, which goes on where the folder of the model is gone."""
    campaign = load_campaign(folder / "salts.yaml")
    run = Run.create(campaign, folder / "run")
    run.use_workers(0)
    run.execute()
    table = run.table()
    assert len(table) == 12
    assert table["metal_content"].notna().all()
    outside = table["metal_content_extrapolated"] == 1
    assert set(table["formula"][outside]) == {name for name in table["formula"] if "Te" in name}
    assert all("no training row holds Te" in words for words in table["metal_content_detail"][outside])
    run.close()
    shutil.rmtree(folder / "mine")
    shutil.move(folder / "run", folder / "elsewhere")
    resumed = Run.open(folder / "elsewhere")
    assert resumed.table()["metal_content"].tolist() == table["metal_content"].tolist()
    stored = resumed.campaign.stages[-1].evaluator
    assert isinstance(stored, Surrogate)
    assert stored.evaluate(example_inputs(stored))[0].failure is None
    resumed.close()


def test_extrapolations_are_marked_in_reports() -> None:
    """Also of properties that the vocabulary does not list."""
    assert words_beside("metal_content", {"metal_content_extrapolated": 1.0}.get) == "by extrapolation"
    assert not words_beside("metal_content", {"metal_content_extrapolated": 0.0}.get)
    assert not words_beside("metal_content", {}.get)
    assert describe_property("log10_conductivity").unit == "log10(S/cm)"


def test_notes_tell_error_probability_and_limits() -> None:
    """Reports repeat what the card says of the model, so that nobody has to open it."""
    card = make(MODEL).model.card
    about = {"not_for": "alloys", "figures": {"figures": [{"metric": "mae", "value": 51.13, "unit": "g/kg"}]}}
    config = {**card, "about": {**card["about"], **about}}
    told = " ".join(describe_model("salts", config))
    assert "mean error of metal_content for groups of materials left out of the training: 51 g/kg" in told
    assert "metal_content_probability is that of 500 g/kg or more" in told
    assert "salts: not for: alloys" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("surrogate: yours", "'yours' is neither a shipped model"),
        ("surrogate: {model: mine, structure: 3}", "structure"),
        ("surrogate: [mine]", "expected settings as 'key: value'"),
    ],
)
def test_mistakes_are_told_with_their_place(folder: Path, change: str, words: str) -> None:
    """No such model, wrong settings."""
    text = CAMPAIGN.replace("surrogate: mine", change)
    (folder / "salts.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CampaignError, match=words):
        load_campaign(folder / "salts.yaml")


def test_a_damaged_model_is_refused(folder: Path) -> None:
    """By its hash, or since it holds a pickle, before a campaign runs."""
    weights = folder / "mine" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CampaignError, match="does not match its card"):
        load_campaign(folder / "salts.yaml")
    weights.write_bytes(good)
    (folder / "mine" / "extra.pt").write_bytes(b"")
    with pytest.raises(CampaignError, match="is a pickle by its name"):
        load_campaign(folder / "salts.yaml")


def test_another_unit_than_the_vocabulary_s_is_refused(folder: Path) -> None:
    """A voltage is in V everywhere."""
    config = json.loads((folder / "mine" / "config.json").read_text(encoding="utf-8"))
    config["target"] = {"name": "average_voltage", "unit": "mV", "threshold": None}
    (folder / "mine" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValidationError, match="average_voltage is in V everywhere, got 'mV'"):
        make(folder / "mine")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"features": {"element_fractions": {"columns": "0" * 16, "weights": ""}}},
            "other columns of the feature set",
        ),
        ({"features": {"element_fraction": {}}}, "no feature set 'element_fraction'"),
        ({"features": []}, "cannot be used"),
        ({"about": "mine"}, "cannot be used"),
        ({"target": {}}, "cannot be used"),
        ({"target": {"name": "a b", "unit": ""}}, "a property is called like band_gap"),
        ({"kind": "linear"}, "expected is a model folder of the kind 'property_model'"),
        ({"version": 99}, "update invdesign"),
    ],
)
def test_cards_that_do_not_fit_are_refused(folder: Path, change: dict[str, Any], words: str) -> None:
    """Before a campaign runs, with the reason."""
    config = json.loads((folder / "mine" / "config.json").read_text(encoding="utf-8"))
    (folder / "mine" / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(CampaignError, match=words):
        load_campaign(folder / "salts.yaml")


def test_the_fingerprint_follows_the_weights(folder: Path) -> None:
    """The name of the folder makes a difference to people alone, the hash to results."""
    assert make(folder / "mine").fingerprint == make(folder / "mine").fingerprint
    data = _electrodes()
    train(data, Recipe((Candidate(("element_fractions",), "ridge"),))).write(folder / "other")
    assert make(folder / "other").fingerprint != make(folder / "mine").fingerprint


def test_the_schema_knows_the_short_form() -> None:
    """A model may be named by a lone text."""
    items = build_campaign_schema()["properties"]["evaluate"]["items"]["anyOf"]
    forms = items[-1]["properties"]["surrogate"]["anyOf"]
    assert {"type": "string"} in forms


def _electrodes() -> Dataset:
    """Rock-salt-like electrodes; values are the mass of the charged host by that of the discharged one."""
    from pymatgen.core import Composition

    metals = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Mo", "Al")
    pairs = [(f"Li{m}{x}2", f"{m}{x}2") for m in metals for x in ("O", "S")]
    materials = tuple(
        Material(full, Composition(full).get_el_amt_dict(), charged=Composition(empty).get_el_amt_dict())
        for full, empty in pairs
    )
    y = np.array([Composition(empty).weight / Composition(full).weight for full, empty in pairs])
    return Dataset(
        Source("electrodes", "0" * 64),
        Target("host_share", ""),
        materials,
        y,
        np.zeros(len(y), dtype=np.int64),
        np.arange(len(y), dtype=np.int64),
    )


def test_electrodes_are_charged_by_removing_their_ion(folder: Path) -> None:
    """The host of a candidate is the candidate without lithium; without lithium it fails with the reason."""
    data = _electrodes()
    inputs = describe_inputs(data)
    assert (inputs.electrode, inputs.ion) == (True, "Li")
    model = train(data, Recipe((Candidate(("element_fractions",), "ridge"),)))
    model.write(folder / "share")
    evaluator = make(folder / "share")
    items = example_inputs(evaluator)
    found = evaluator.evaluate(items)
    assert [item.failure is None for item in found] == [True, True, False]  # Li3OCl, Li3OBr, Na3OCl
    assert found[2].failure is not None
    assert "it holds no Li, which is the working ion" in found[2].failure.message


def test_models_of_ordered_crystals_refuse_disorder(folder: Path) -> None:
    """A model that saw ordered crystals alone says so, and names the sites."""
    from pymatgen.core import Lattice, Structure

    def rock_salt(a: float, kinds: list[Any]) -> Structure:
        edge = a / 2**0.5
        cell = Lattice.from_parameters(edge, edge, edge, 60, 60, 60)
        return Structure(cell, kinds, [[0, 0, 0], [0.5, 0.5, 0.5]])

    metals, halides = ("Li", "Na", "K", "Rb", "Cs", "Ag"), ("F", "Cl", "Br", "I")
    crystals = [
        rock_salt(4 + 0.3 * i + 0.2 * j, [m, x]) for i, m in enumerate(metals) for j, x in enumerate(halides)
    ]
    data = Dataset(
        Source("salts", "0" * 64),
        Target("packing", ""),
        tuple(Material(c.formula, c.composition.get_el_amt_dict(), crystal=c) for c in crystals),
        np.array([c.density for c in crystals]),
        np.zeros(len(crystals), dtype=np.int64),
        np.arange(len(crystals), dtype=np.int64),
    )
    model = train(data, Recipe((Candidate(("element_fractions", "cell"), "ridge"),)))
    model.write(folder / "packing")
    evaluator = make(folder / "packing", structure="relaxed")
    assert evaluator.requires == {"composition", "structure:relaxed"}
    items = example_inputs(evaluator)
    mixed = rock_salt(5, [{"Li": 0.5, "Na": 0.5}, "Cl"])
    items[0] = replace(items[0], structures={**items[0].structures, "relaxed": mixed})
    found = evaluator.evaluate(items)
    assert [item.failure is None for item in found] == [False, True, True]
    assert found[0].failure is not None
    assert "is disordered, it has partially occupied sites" in found[0].failure.message
