"""The registry checks the contract of a plug-in once, when it loads the class."""

from __future__ import annotations

import pytest

from invdesign import registry
from invdesign.protocols import EvaluatorSettings, PotentialSettings, SpaceSettings, is_evaluator
from invdesign.settings import Settings


class Bare(Settings):
    """Has the methods that tell a group, and nothing else."""

    def build(self) -> None: ...
    def evaluate(self) -> None: ...
    def compute(self) -> None: ...


class Fielded(Bare):
    """Gives two members as fields without a default, which pydantic keeps out of the class."""

    external: bool
    needs_trust: bool


@pytest.mark.parametrize(
    ("group", "plugin", "missing"),
    [
        ("spaces", Settings, "it has no build()."),
        ("spaces", Bare, "it has no 'canonical'; a class derived from invdesign.protocols.SpaceSettings has one."),
        ("evaluators", Bare, "it has no 'external'; a class derived from invdesign.protocols.EvaluatorSettings has one."),
        ("potentials", Bare, "it has no 'label'; a class derived from invdesign.protocols.PotentialSettings has one."),
        ("evaluators", Fielded, ""),
        ("engines", Bare, "it has no open()."),
        ("commands", Bare, ""),
    ],
)  # fmt: skip
def test_a_missing_member_is_named(group: str, plugin: type, missing: str) -> None:
    """The first member that a class lacks is named, with the base class that has it."""
    assert registry.describe_missing_member(group, plugin) == missing


def test_base_classes_have_all_other_members() -> None:
    """A plug-in derived from its base class needs the method that tells its group, and no more by the registry."""
    bases = {"spaces": SpaceSettings, "evaluators": EvaluatorSettings, "potentials": PotentialSettings}
    for group, base in bases.items():
        first = registry.CONTRACT[group][0]
        whole = type("Whole", (base,), {first: lambda self: None, "__module__": __name__})
        assert registry.describe_missing_member(group, whole) == ""
        assert registry.BASES[group] == f"invdesign.protocols.{base.__name__}"


def test_an_evaluator_is_no_class() -> None:
    """Settings with `evaluate` are an evaluator, their class is none."""
    assert is_evaluator(Bare())
    assert not is_evaluator(Bare)
    assert not is_evaluator(Settings())
