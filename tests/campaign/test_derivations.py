"""Derivations in campaigns: named, checked against the stages and their potential, stored and read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.campaign.schema import build_campaign_schema
from invdesign.errors import CampaignError
from surrogates.stability.hull import Hull
from tests.hulls import DISTANCE, OXIDES, oxides
from tests.support import ROOT
from tests.surrogates.references import made

ENERGY = f"{OXIDES}:OxideEnergy"


def read(data: dict[str, Any], folder: Path = ROOT) -> Campaign:
    return campaign_from(data, folder=folder, trust_code=True)


def mistakes(data: dict[str, Any], folder: Path = ROOT) -> list[str]:
    """Every mistake as place, message and hint."""
    with pytest.raises(CampaignError) as caught:
        read(data, folder)
    return [f"{item.path}: {item.message} {item.hint}" for item in caught.value.mistakes]


@pytest.mark.parametrize(
    "written",
    [
        ["hull"],
        [{"hull": None}],
        [{"hull": {}}],
        [{"hull": {"end_members": ["SrO", "TiO2"]}}],
        ["surrogates.stability.hull:Hull"],
    ],
)
def test_derivations_are_named_like_stages(written: list[Any]) -> None:
    """By name or with settings; the property has a unit, and a dump gives the same campaign."""
    campaign = read(oxides(derive=written))
    assert isinstance(campaign.derivations[0], Hull)
    assert campaign.units()[DISTANCE] == "eV/atom"
    again = Campaign.from_dump(campaign.dump(), trusted=True)
    assert again.derivations == campaign.derivations
    assert again.fingerprint == campaign.fingerprint


def test_campaigns_without_derivations_keep_their_hash() -> None:
    """A dump names derivations only where there are some; with them it is another campaign."""
    with_hull = read(oxides(objectives=[{"minimize": "energy_per_atom"}]))
    without = read(oxides(objectives=[{"minimize": "energy_per_atom"}], derive=[]))
    assert "derive" not in without.dump()
    assert without.fingerprint != with_hull.fingerprint
    assert "derive[0].kind: (nothing) -> hull" in without.changes(with_hull)


def test_property_as_objective_and_constraint() -> None:
    """Objectives and constraints may read what is derived."""
    campaign = read(
        oxides(objectives=[{"minimize": "energy_per_atom"}], constraints=[{DISTANCE: {"max": 0.05}}])
    )
    assert campaign.problem.properties == ("energy_per_atom", DISTANCE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"derive": ["hul"]},
            r"derive\[0\]: there is no derivation 'hul'. Did you mean 'hull'\? Known: hull",
        ),
        ({"derive": "hull"}, r"derive: must be a list, got \"hull\""),
        ({"derive": [{"hull": {}, "other": {}}]}, r"derive\[0\]: expected a derivation, as 'hull' or"),
        ({"derive": [{"hull": 3}]}, r"derive\[0\].hull: expected settings as 'key: value', got 3"),
        (
            {"derive": [{"hull": {"enrgy": "x"}}]},
            r"derive\[0\].hull.enrgy: unknown key. Did you mean 'energy'",
        ),
        (
            {"derive": []},
            r"objectives\[0\].minimize: no evaluator .* 'distance_to_hull'. The derivation 'hull' does",
        ),
        (
            {"derive": [{"hull": {"energy": "energy_per_atm"}}]},
            r"derive\[0\]: hull needs energy_per_atm, which no stage .* provides. Did you mean 'energy_per_atom'",
        ),
        (
            {"derive": ["hull", "hull"]},
            r"derive\[1\]: hull provides distance_to_hull, which another derivation",
        ),
        (
            {
                "evaluate": [
                    {ENERGY: {"on_demand": False}},
                    {ENERGY: {"name": "again", "gate": {DISTANCE: {"max": 1}}}},
                ]
            },
            r"evaluate\[1\]: gate on distance_to_hull, which is derived when candidates have ended. Give a constraint",
        ),
        (
            {"derive": [{"hull": {"reference": "lithium-chalcohalide"}}]},
            r"derive\[0\].hull.reference: there is no reference set 'lithium-chalcohalide'. Did you mean",
        ),
        (
            {"derive": [{"hull": {"reference": "lithium-chalcohalides"}}]},
            r"derive\[0\]: hull works with energies of chgnet.* comes from OxideEnergy with pedone: energies of two",
        ),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    """Each mistake has its place, what was found and what is allowed."""
    found = mistakes(oxides(**changes))
    assert any(re.match(message, line) for line in found), found


def test_one_potential(tmp_path: Path) -> None:
    """A reference set of the energies' own potential is taken, one of another or of none is refused."""
    (tmp_path / "set.json").write_text(made({"Sr": -1.0}, potential="pedone").to_json())
    derive = [{"hull": {"reference": "set.json"}}]
    assert read(oxides(derive=derive), tmp_path).derivations[0].potential_id == "pedone"
    other = oxides(derive=derive, evaluate=[{ENERGY: {"potential": None}}])
    told = "hull works with energies of pedone, but energy_per_atom comes from OxideEnergy, which names no potential"
    assert f"derive[0]: {told}: energies of two potentials must not meet." in mistakes(other, tmp_path)[0]
    (tmp_path / "set.json").write_text(made({"Sr": -1.0}, potential="ma").to_json())
    assert "works with energies of ma, but" in mistakes(oxides(derive=derive), tmp_path)[0]


def test_energies_on_demand_are_refused() -> None:
    """A hull of energies that only promoted candidates have is none."""
    stages = [f"{OXIDES}:OxideVolume", {ENERGY: {"on_demand": True}}]
    data = oxides(evaluate=stages, objectives=[{"minimize": "volume_per_atom"}])
    assert "which only candidates have that you promote to OxideEnergy" in mistakes(data)[0]


def test_schema_knows_derivations() -> None:
    """Editors complete and check what the reader takes."""
    schema = build_campaign_schema()
    good = oxides(space={"kind": "parameters", "parameters": {}}, evaluate=["charge_neutrality"])
    items = {"$defs": schema["$defs"], **schema["properties"]["derive"]}
    for written in (["hull"], [{"hull": {"end_members": ["SrO"]}}], good["derive"]):
        jsonschema.validate(written, items)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"hull": {"ends": []}}], items)
