"""The decorator: what it accepts, what it refuses at once, and what it makes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import invdesign
from invdesign import registry
from invdesign.candidate import Candidate, Design, Input, Proposal
from invdesign.errors import CampaignChangedError, PluginError
from invdesign.functions import Decorated, FitnessFunction
from invdesign.settings import load
from invdesign.testing import check_evaluator
from tests.plugins import functions as module
from tests.support import ROOT

KNOWN = {"hardness": "GPa"}


def candidate(**parameters: float) -> Input:
    return Input(Candidate(0, "k", Proposal({})), Design(parameters), {"volume": 3.0}, {}, 7)


def test_it_stays_a_function() -> None:
    """It can be called, is called as before, and has its evaluator."""

    @invdesign.fitness(provides=KNOWN, requires=["parameters"], batch=2, version="b")
    def hardness(candidate: Any) -> float:
        """What it says."""
        return 1.0

    assert hardness(None) == 1.0
    assert (hardness.__name__, hardness.__doc__) == ("hardness", "What it says.")
    evaluator = hardness.evaluator
    assert (evaluator.name, evaluator.path, evaluator.batch.size) == ("hardness", None, 2)
    assert (dict(evaluator.provides), evaluator.requires) == (KNOWN, {"parameters"})
    assert evaluator.own_version == "b"
    assert repr(hardness) == "<fitness function hardness: hardness>"


def test_a_module_holds_it() -> None:
    """A function at the top of a module is known by its path, its folder and the module's text."""
    evaluator = module.height.evaluator
    assert (evaluator.path, evaluator.folder) == ("tests.plugins.functions:height", str(ROOT))
    assert list(evaluator.source) == ["functions.py"]
    plain = load("evaluators", evaluator.model_dump(mode="json"))
    assert plain == evaluator
    assert (plain.function, plain.fingerprint) == (None, evaluator.fingerprint)
    plain.prepare()
    (found,) = plain.evaluate([candidate(x=1.0, y=0.0)])
    assert (found.properties, found.noise) == ({"height": 1.0}, {"height": 0.1})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"provides": lambda c: c}, TypeError, r"write what the function provides, .*@invdesign\.fitness\(provides="),
        ({"provides": "GPa"}, TypeError, "write what the function provides, with units"),
        ({"provides": {}}, PluginError, "score: provides: dictionary should have at least 1 item"),
        ({"provides": {"hard ness": ""}}, PluginError, "a property is called like band_gap, got 'hard ness'"),
        ({"provides": {"hardness": 3}}, PluginError, "provides.hardness: input should be a valid string"),
        ({"provides": {"energy_above_hull": "meV"}}, PluginError, "energy_above_hull is in eV/atom everywhere, got 'meV'"),
        ({"requires": "parameters"}, TypeError, r'requires is a list of names, as \["parameters"\]'),
        ({"requires": []}, PluginError, "a function that requires nothing returns the same for every candidate"),
        ({"requires": ["para meters"]}, PluginError, "'para meters' cannot be required"),
        ({"batch": 0}, PluginError, "score: batch: input should be greater than or equal to 1"),
        ({"batch": 2.5}, PluginError, "score: batch: input should be a valid integer"),
        ({"version": 2}, PluginError, "score: version: input should be a valid string"),
        ({"name": "two words"}, PluginError, "score|two words: name: string should match pattern"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """Before anything is evaluated, with what is allowed."""

    def score(candidate: Any) -> float:
        return 1.0

    with pytest.raises(error, match=message):
        invdesign.fitness(**{"provides": KNOWN, **arguments})(score)


def two(candidate: Any, other: Any) -> float:
    return 1.0


async def later(candidate: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            two,
            TypeError,
            "two must take one candidate and nothing else: missing a required argument: 'other'",
        ),
        (later, TypeError, "later must return its answer: it is async"),
        (
            lambda c: 1.0,
            PluginError,
            r"a function without a name needs one: fitness\(provides=\.\.\., name=\.\.\.\)",
        ),
        (3.0, TypeError, "fitness decorates a function, got float 3.0"),
    ],
)
def test_functions_that_cannot_serve(function: Any, error: type[Exception], message: str) -> None:
    """One that needs more than a candidate, or does not return its answer."""
    with pytest.raises(error, match=message):
        invdesign.fitness(provides=KNOWN)(function)


def test_anything_that_can_be_called_serves() -> None:
    """A partial, a method, an object: with a name where they have none."""
    made = invdesign.fitness(provides=KNOWN, requires=["parameters"], name="scaled")(partial(two, other=2))
    assert made.evaluator.path is None
    (found,) = made.evaluator.evaluate([candidate(x=1.0)])
    assert found.properties == {"hardness": 1.0}


def test_it_sees_what_it_requires_and_changes_nothing() -> None:
    """The rest is not there, since the cache would not know of it; structures are copies."""
    from pymatgen.core import Lattice, Structure

    crystal = Structure(Lattice.cubic(3.0), ["Li"], [[0.0, 0.0, 0.0]])
    seen: list[Any] = []

    @invdesign.fitness(provides=KNOWN, requires=["structure:initial"])
    def hardness(candidate: Any) -> float:
        seen.append([dict(candidate.parameters), dict(candidate.properties), set(candidate.structures)])
        candidate.structure.scale_lattice(1.0)
        candidate.design.structures["initial"].append("Na", [0.5, 0.5, 0.5])
        return candidate.structure.volume + candidate.composition.num_atoms

    held = {"initial": crystal, "relaxed": crystal}
    item = Input(
        Candidate(0, "k", Proposal({})), Design({"x": 1.0}, crystal.composition, held), {"v": 1.0}, held, 7
    )
    (found,) = hardness.evaluator.evaluate([item])
    assert seen == [[{}, {}, {"initial"}]]
    assert found.failure is not None
    assert found.failure.message == "LookupError: this candidate has no composition (line 6 of hardness)"
    assert (crystal.volume, len(crystal)) == (pytest.approx(27.0), 1)


def test_its_version_stands_for_the_source() -> None:
    """With a mark of the user's own, a changed source is the same function, and another mark another one."""

    def made(k: float, version: str | None) -> FitnessFunction:
        def hardness(candidate: Any) -> float:
            return k

        return invdesign.fitness(provides=KNOWN, requires=["parameters"], version=version)(hardness).evaluator

    assert made(1.0, "a").fingerprint == made(2.0, "a").fingerprint != made(2.0, "b").fingerprint
    assert made(1.0, None).fingerprint != made(2.0, None).fingerprint
    assert made(1.0, "a").list_changes(made(1.0, "b").source, "b") == ["its version (from a to b)"]


class Entry:
    """An entry point of a package that offers a decorated function."""

    name = "my_height"
    value = "tests.plugins.functions:height"
    dist = None

    def load(self) -> Any:
        return module.height


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed."""
    entries = dict(registry._entries_by_name("evaluators"))
    real = registry._entries_by_name
    monkeypatch.setattr(
        registry,
        "_entries_by_name",
        lambda group: {**entries, "my_height": (Entry(),)} if group == "evaluators" else real(group),
    )
    monkeypatch.setattr(module.height, "_plugin", None)


@pytest.mark.usefixtures("installed")
def test_an_entry_point_may_name_a_decorated_function() -> None:
    """It is a plug-in like any other: by name, with settings, in the schema, and by its dump; a changed one is noticed."""
    from invdesign.campaign.load import campaign_from
    from invdesign.campaign.schema import build_campaign_schema

    plugin = load("evaluators", "my_height")
    check_evaluator(plugin)
    assert (plugin.model_dump()["kind"], plugin.requires) == ("my_height", {"parameters"})
    assert build_campaign_schema()["$defs"]["evaluators.my_height"]["properties"].keys() >= {
        "requires",
        "gate",
    }
    space = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}}
    data = {"version": 1, "name": "n", "space": space, "evaluate": ["my_height"]}
    found = campaign_from({**data, "objectives": [{"maximize": "height"}], "budget": {"candidates": 3}})
    assert found.stages[0].name == "my_height"
    assert not found.code
    found.check_usable("not needed")
    old = load("evaluators", {**plugin.model_dump(mode="json"), "source": {"functions.py": "other"}})
    with pytest.raises(CampaignChangedError, match=r"'height'.* changed: functions\.py\."):
        old.prepare()


def test_the_object_is_told_from_a_class() -> None:
    """What the decorator gives is no class and no plug-in of its own."""
    assert isinstance(module.height, Decorated)
    assert module.sizes.evaluator.batch.size == 4
