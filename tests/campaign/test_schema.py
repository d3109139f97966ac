"""The JSON Schema of campaign files says what the reader says, as far as a schema can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from invdesign import registry
from invdesign.campaign.document import parse_yaml, read_document
from invdesign.campaign.load import read_campaign
from invdesign.campaign.schema import build_campaign_schema
from invdesign.errors import CampaignError
from tests.support import ROOT, STEPS, toy


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return build_campaign_schema()


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    """It keeps the metaschema, every reference in it leads somewhere, and it is plain JSON."""
    Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    assert {reference.removeprefix("#/$defs/") for reference in references} <= schema["$defs"].keys()


@pytest.mark.parametrize("path", sorted((ROOT / "campaigns").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_campaigns_are_accepted(path: Path, validator: Draft202012Validator) -> None:
    """What ships is valid for an editor too."""
    assert [error.message for error in validator.iter_errors(read_document(path).value)] == []


def test_trusted_code_is_accepted(validator: Draft202012Validator) -> None:
    """`module:Class` evaluators are allowed: the schema cannot know their settings."""
    text = toy().replace("  - landscape:", f"  - '{STEPS}:Height': {{delay: 3}}\n  - landscape:")
    assert validator.is_valid(parse_yaml(text).value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("name: toy", "name: 5"),
        ("seed: 1", "seed: 4.7"),
        ("seed: 1", "sead: 1"),
        ("kind: parameters", "kind: parameter"),
        ("x: {real: [0, 1]}", "x: {reel: [0, 1]}"),
        ("x: {real: [0, 1]}", "x: {real: [0, 1, 2]}"),
        ("landscape:", "landscpe:"),
        ("function: zdt2", "function: zdt9"),
        ("function: zdt2", "functon: zdt2"),
        ("delay: 0.0", "delay: -1"),
        ("delay: 0.0", "timeout: fast"),
        ("delay: 0.0", "gate: {f1: {mx: 1}}"),
        ("minimize: f1", "minimise: f1"),
        ("minimize: f1", "{minimize: f1, maximize: f2}"),
        ("kind: genetic", "kind: genetik"),
        ("population: 10", "populaton: 10"),
        ("population: 10", "population: 1"),
        ("candidates: 20", "candidates: 0"),
        ("candidates: 20", "candidate: 20"),
        ("budget:", "engine: {kind: local, workers: -1}\nbudget:"),
        ("budget:", "constraints: [{f1: {mn: 0}}]\nbudget:"),
        ("budget:", "max_failure_rate: 2\nbudget:"),
    ],
)
def test_typos_are_refused(old: str, new: str, validator: Draft202012Validator) -> None:
    """What the reader refuses for its form, the editor underlines as well."""
    document = parse_yaml(toy().replace(old, new, 1))
    assert document.value != parse_yaml(toy()).value
    assert not validator.is_valid(document.value)
    with pytest.raises(CampaignError):
        read_campaign(document, ROOT)


def test_every_plugin_is_described(schema: dict[str, Any]) -> None:
    """Each installed space, evaluator, optimizer and engine is there, with words for an editor to show."""
    for group in ("spaces", "evaluators", "optimizers", "engines"):
        for name in registry.names(group):
            assert f"{group}.{name}" in schema["$defs"], f"{group}.{name}"
            assert schema["$defs"][f"{group}.{name}"].get("description"), (
                f"{group}.{name} says nothing of itself"
            )
    assert schema["properties"]["budget"]


def test_settings_are_described(schema: dict[str, Any]) -> None:
    """Fields carry the words written below them in the code, down to nested ones."""
    genetic = schema["$defs"]["optimizers.genetic"]["properties"]["population"]
    assert "Survivors" in genetic["description"]
    timeout = schema["$defs"]["evaluators.landscape"]["properties"]["timeout"]
    assert timeout["description"] == "Seconds one candidate may take."
