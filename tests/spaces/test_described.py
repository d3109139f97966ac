"""What features are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign import settings
from invdesign.protocols import DescribedSpace, Descriptor, descriptors_of
from invdesign.spaces.described import rename_duplicates
from tests.examples import ANIONS, LITHIUM_PHASES


def described(kind: str, **fields: Any) -> list[Descriptor]:
    """Descriptors of a space of the package."""
    space = settings.load("spaces", {"kind": kind, **fields})
    assert isinstance(space, DescribedSpace)
    return list(space.descriptors())


def test_choices_and_conditions_of_parameters_are_columns_of_their_group() -> None:
    """Columns of one parameter share its group, and say which choice or descriptor they are."""
    found = described(
        "parameters",
        parameters={
            "t": {"real": [0, 1]},
            "salt": {"categorical": ["a", "b"]},
            "solvent": {"categorical": ["EC", "DMC"], "descriptors": {"EC": {"e": 89.8}, "DMC": {"e": 3.1}}},
            "n": {"integer": [1, 3], "when": {"salt": "a"}},
        },
    )
    assert [(item.name, item.group) for item in found] == [
        ("n", "n"),
        ("n exists", "n"),
        ("salt=a", "salt"),
        ("salt=b", "salt"),
        ("solvent.e", "solvent"),
        ("t", "t"),
    ]


def test_fractions_are_named_by_mixture_where_components_repeat() -> None:
    """A component of two mixtures carries the mixture's name, and the mixture is the group."""
    found = described("mixture", mixtures={"a": {"components": ["u", "v"]}, "b": {"components": ["v", "w"]}})
    assert [(item.name, item.group) for item in found] == [
        ("u", "a"),
        ("a.v", "a"),
        ("b.v", "b"),
        ("w", "b"),
    ]


def test_elements_are_told_by_size_electronic_structure_and_cohesion() -> None:
    """Statistics over the elements of a mixture fall into groups a chemist would add up."""
    found = described("mixture", mixtures={"X": {"components": ["Cl", "Br"]}}, fixed={"Li": 1})
    groups = {item.name: item.group for item in found}
    assert groups["mean electronegativity"] == "electronic"
    assert groups["deviation of atomic radius"] == "size"
    assert set(groups.values()) == {"X", "size", "electronic", "cohesion"}


def test_site_groups_are_groups() -> None:
    """What sits on a site group is one group; how unlike neighbours are is another."""
    found = described("substitution", parent="antiperovskite", sites={"B": ANIONS, "X": ANIONS})
    assert {item.group for item in found} == {"B", "X", "neighbours"}
    assert found[0].name == "electronegativity on B"


def test_clusters_are_named_by_their_size() -> None:
    """Points, pairs, triplets and electrostatics are groups; a pair says its distance."""
    found = described(
        "ordering", parent="layered", cell=[2, 2, 1], sites={"A": {"Li": 0.5, "vacancy": "rest"}}
    )
    assert list(dict.fromkeys(item.group for item in found)) == [
        "points",
        "pairs",
        "triplets",
        "electrostatics",
    ]
    assert found[1].name == "pair 1 at 2.82 Å"


def test_constant_features_of_a_pool_are_not_described() -> None:
    """Only the columns of a pool that vary are features."""
    found = described("pool", source=LITHIUM_PHASES, composition="formula", repeated="first")
    assert "min group" not in {item.name for item in found}  # all hold lithium
    assert {item.group for item in found} == {"stoichiometry", "size", "electronic", "cohesion"}


class Plain:
    """A space of a third party."""

    def operators(self) -> Any:
        return {}

    def build(self, genome: Any) -> Any:
        return genome

    def features(self, genomes: Any) -> Any:
        return np.zeros((len(genomes), 2))

    def canonical(self, genome: Any) -> Any:
        return genome

    def count(self) -> int | None:
        return None

    def size(self) -> int | None:
        return None


class Wrong(Plain):
    """One that describes another number of features."""

    def descriptors(self) -> Any:
        return [Descriptor("x", "x")]


def test_features_without_a_description_are_numbered() -> None:
    """A space that says nothing has numbered features, each a group."""
    assert descriptors_of(Plain(), 2) == (
        Descriptor("feature 1", "feature 1"),
        Descriptor("feature 2", "feature 2"),
    )


def test_a_wrong_number_of_descriptors_is_told() -> None:
    """A description that does not fit the features is a mistake of the space."""
    with pytest.raises(ValueError, match="Wrong has 2 features and describes 1"):
        descriptors_of(Wrong(), 2)


@given(st.lists(st.sampled_from(["a", "a (2)", "b", "b (2) (2)"])))
def test_names_become_distinct(names: list[str]) -> None:
    """Whatever the names, none is left twice, and those that stood alone stay."""
    found = [item.name for item in rename_duplicates(Descriptor(name, "g") for name in names)]
    assert len(set(found)) == len(names)
    assert all(new.startswith(old) for new, old in zip(found, names, strict=True))
