"""Every mistake of a campaign file at once: where, what was found, what is allowed, the nearest name, what to type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import campaign_from, load_campaign, read_campaign
from invdesign.campaign.model import Campaign
from invdesign.errors import CampaignError
from tests.support import FAULTS, ROOT, STEPS, campaign, funnel, toy


def read(text: str, folder: Path = ROOT, *, trust_code: bool = False) -> Campaign:
    return read_campaign(parse_yaml(text, "my.yaml"), folder, trust_code=trust_code)


def mistakes(text: str, folder: Path = ROOT, *, trust_code: bool = False) -> list[str]:
    """What is wrong with the campaign, one line each, as the user reads it."""
    with pytest.raises(CampaignError) as caught:
        read(text, folder, trust_code=trust_code)
    first, *lines = str(caught.value).splitlines()
    count = len(caught.value.mistakes)
    assert first == f"my.yaml: {count} mistake{'s' if count > 1 else ''}"
    assert lines.pop() == "Then check it again with: invdesign validate my.yaml"
    return [line.strip().removeprefix("my.yaml:") for line in lines]


EVERYTHING_WRONG = """\
version: 2
name: ''
seeed: 4
seed: 4.7
space:
  kind: parameters
  parameters:
    x: {real: [0, 1]}
    y: {reel: [0, 1]}
    z: {integer: [0, 1.5]}
evaluate:
  - landscpe: {function: zdt2}
  - landscape: {functon: zdt2, delay: fast}
  - landscape: {function: zdt9, name: two words, gate: {f1: {mx: 3}}, timeout: -1}
  - landscape: {function: dtlz2}
  - 7
objectives:
  - minimise: f1
  - minimize: ff1
constraints:
  - f1: {min: 3, max: 1}
  - f2: {}
optimizer: {kind: genetic, populaton: 20}
budget: {}
engine: {kind: local, workers: -1}
max_failure_rate: 2
"""


def test_every_mistake_at_once() -> None:
    """A file with twenty mistakes gets one answer, in the order of its lines, each with its place and remedy."""
    expected = [
        "1: version: expected 1, got 2",
        '2: name: must not be empty, got ""',
        "3: seeed: unknown key. Did you mean 'seed'?",
        "4: seed: must be a whole number, got 4.7",
        "9: space.parameters.y: a parameter is {real: [low, high]}, {integer: [low, high]}, ",
        "10: space.parameters.z.integer[1]: must be a whole number, got 1.5",
        "12: evaluate[0].landscpe: there is no evaluator 'landscpe'. Did you mean 'landscape'? Known: ",
        "13: evaluate[1].landscape.function: this key is required.",
        '13: evaluate[1].landscape.delay: must be a number, got "fast"',
        "13: evaluate[1].landscape.functon: unknown key. Did you mean 'function'?",
        "14: evaluate[2].landscape.name: string should match pattern",
        "14: evaluate[2].landscape.gate.f1.mx: unknown key. Did you mean 'max'?",
        "14: evaluate[2].landscape.timeout: must be greater than 0, got -1",
        "14: evaluate[2].landscape.function: expected 'sphere', 'rastrigin', ",
        "16: evaluate[4]: expected an evaluator, as 'relax' or 'relax: {...}', got 7",
        "18: objectives[0].minimise: unknown key. Did you mean 'minimize'?",
        "19: objectives[1].minimize: no evaluator of this campaign provides 'ff1'. Did you mean 'f1'?",
        "21: constraints[0].f1: min (3) is above max (1)",
        "22: constraints[1].f2: give min, max or both",
        "23: optimizer.populaton: unknown key. Did you mean 'population'?",
        "24: budget: give at least one of candidates, evaluations, hours",
        "25: engine.workers: must be greater than or equal to 0, got -1",
        "26: max_failure_rate: must be less than or equal to 1, got 2",
    ]
    found = mistakes(EVERYTHING_WRONG)
    assert [line for line, start in zip(found, expected, strict=True) if not line.startswith(start)] == []


def test_a_valid_file_is_read() -> None:
    """The same text without mistakes is a campaign."""
    found = read(toy(30))
    assert (found.name, found.seed, found.budget.candidates) == ("toy", 1, 30)
    assert [stage.name for stage in found.funnel] == ["build", "landscape"]
    assert [str(objective) for objective in found.problem.objectives] == ["minimize f1", "minimize f2"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "", "version: this key is required."),
        ("name: toy", "name: 5", "3?.*name: must be text, got 5"),
        ("seed: 1", "seed: '1'", 'seed: must be a whole number, got "1"'),
        ("seed: 1", "seed: true", "seed: must be a whole number, got true"),
        ("seed: 1", "seed: -1", "seed: must be greater than or equal to 0, got -1"),
        ("seed: 1", "seed: 9223372036854775808", "seed: must be less than 9223372036854775808"),
        ("seed: 1", "sead: 1\nsed: 2", "3: sead: unknown key. Did you mean 'seed'?"),
        ("seed: 1", "zzz: 1", "3: zzz: unknown key. Allowed: budget, constraints, derive, description, "),
        (
            "budget: {candidates: 20}",
            "budget: {candidates: 20.0}",
            "budget.candidates: must be a whole number, got 20.0",
        ),
        (
            "budget: {candidates: 20}",
            "budget: {candidate: 20}",
            "budget.candidate: unknown key. Did you mean 'candidates'?",
        ),
        (
            "budget: {candidates: 20}",
            "budget: {candidates: 0}",
            "budget.candidates: must be greater than 0, got 0",
        ),
        ("budget: {candidates: 20}", "budget: 20", "budget: must be written as 'key: value', got 20"),
        (
            "kind: genetic",
            "kind: genetik",
            "optimizer.kind: there is no optimizer 'genetik'. Did you mean 'genetic'? Known: ",
        ),
        (
            "kind: parameters",
            "kind: parameter",
            "space.kind: there is no space 'parameter'. Did you mean 'parameters'? Known: ",
        ),
        (
            "{kind: genetic, population: 10}",
            "[genetic]",
            "optimizer: expected a name or a mapping with 'kind', got [\"genetic\"]. Known: ",
        ),
        (
            "{kind: genetic, population: 10}",
            "{population: 10}",
            "optimizer: expected a name or a mapping with 'kind', got {",
        ),
        (
            "- minimize: f1",
            "- {minimize: f1, maximize: f2}",
            "objectives[0]: an objective has one of minimize, maximize, target, window; this one has minimize and maximize",
        ),
        (
            "- minimize: f1",
            "- {}",
            "objectives[0]: an objective has one of minimize, maximize, target, window;",
        ),
        ("- minimize: f1", "- f1", "objectives[0]: must be written as 'key: value', got \"f1\""),
        ("- minimize: f1", "- minimize: f2", "objectives: f2 is an objective twice"),
        (
            "- minimize: f1",
            "- minimize: energy",
            "objectives[0].minimize: no evaluator of this campaign provides 'energy'. Provided are: f1, f2.",
        ),
        ("evaluate:\n", "evaluate: []\nx:\n", "evaluate: needs an entry, got []"),
        ("evaluate:\n", "evaluate: landscape\nx:\n", 'evaluate: must be a list, got "landscape"'),
        (
            "- landscape: {",
            "- landscape: {name: build, ",
            "there is a stage 'build' already. Give it a name of its own: {name: ...}.",
        ),
        (
            "- landscape: {",
            "- landscape: zdt2\n  - landscape: {",
            "evaluate[0].landscape: expected settings as 'key: value', got \"zdt2\"",
        ),
        (
            "- landscape: {",
            "- landscape: {gate: {f3: {max: 1}}, ",
            "gate on f3, which is not known at landscape.",
        ),
        (
            "- landscape: {",
            "- landscape: {gate: {f1: {}}, ",
            "evaluate[0].landscape.gate.f1: give min, max or both",
        ),
        (
            "x: {real: [0, 1]}",
            "x: {real: [1, 0]}",
            "space.parameters.x.real: the low bound must be below the high one, got [1, 0]",
        ),
        ("budget:", "engine: slurm\nbudget:", "engine: there is no engine 'slurm'. Known: local"),
        (
            "budget:",
            "constraints:\n  - f9: {max: 1}\nbudget:",
            "constraints[0].f9: no evaluator of this campaign provides 'f9'.",
        ),
    ],
)
def test_single_mistakes(old: str, new: str, message: str) -> None:
    """Each mistake alone: its place, what was found, what is allowed or nearest."""
    assert old in toy()
    found = mistakes(toy().replace(old, new, 1))
    assert any(message in line or re.match(message, line) for line in found), found


def test_stage_names() -> None:
    """One evaluator may be used twice under two names; under one name it is refused."""
    twice = toy().replace("objectives:", "  - landscape: {function: sphere}\nobjectives:")
    assert mistakes(twice) == [
        "11: evaluate[1]: there is a stage 'landscape' already. Give it a name of its own: {name: ...}."
    ]
    named = read(twice.replace("sphere", "sphere, name: second"))
    assert [stage.name for stage in named.stages] == ["landscape", "second"]


def test_everything_at_once_includes_what_stages_need() -> None:
    """A mistake in the header hides neither a missing requirement, nor a gate, nor a seed outside the space."""
    data = funnel(seeds=[{"x": 2.0, "y": 0.0, "n": 0}, {"x": 0.5, "y": 0.0, "n": 0}], sead=3)
    data["evaluate"] = [data["evaluate"][1], data["evaluate"][0], {**data["evaluate"][2]}]
    with pytest.raises(CampaignError) as caught:
        campaign(data)
    assert sorted(
        f"{mistake.path}: {mistake.message} {mistake.hint}" for mistake in caught.value.mistakes
    ) == [
        "evaluate[0]: Crystal needs height, which 'Height' provides only later: put Height before it. ",
        "sead: unknown key. Did you mean 'seed'?",
        "seeds[0]: parameter 'x' must be a number in [0, 1], got 2.0 ",
    ]


def test_a_broken_stage_casts_no_doubt_on_others() -> None:
    """What a stage with a typo would have provided is not reported missing as well; a near miss still is."""
    found = mistakes(toy().replace("zdt2", "zdt3"))
    assert len(found) == 1
    assert "landscape.function: expected 'sphere'" in found[0]
    text = toy().replace("objectives:", "  - landscape: {function: dtlz9, name: b}\nobjectives:")
    text = text.replace("minimize: f1", "minimize: f11")
    assert [line.partition(": ")[2][:24] for line in mistakes(text)] == [
        "evaluate[1].landscape.fu",
        "objectives[0].minimize: ",
    ]


def test_what_a_design_lacks_is_told_before_a_run() -> None:
    """A stage that reads structures finds none in a space of parameters; each stage is told."""
    text = toy().replace("  - landscape:", "  - minimum_distance\n  - charge_neutrality\n  - landscape:")
    only = (
        "and candidates of this space have only parameters. Use another evaluator, or let the space give it."
    )
    assert mistakes(text) == [
        f"10: evaluate[0]: minimum_distance needs a structure, {only}",
        f"11: evaluate[1]: charge_neutrality needs a composition, {only}",
    ]
    crystals = campaign_text("antiperovskite", "landscape: {function: sphere}", "height")
    assert (
        "landscape needs parameters, and candidates of this space have only a composition and a structure"
        in (mistakes(crystals)[0])
    )


def campaign_text(parent: str, stage: str, objective: str) -> str:
    return (
        f"version: 1\nname: t\nseed: 1\nspace:\n  kind: substitution\n  parent: {parent}\n"
        f"  sites: {{X: [Cl, Br]}}\nevaluate:\n  - {stage}\nobjectives:\n  - minimize: {objective}\n"
        "optimizer: genetic\nbudget: {candidates: 2}\n"
    )


def test_a_choice_of_forms_is_one_mistake() -> None:
    """What each form of a setting would have to be is told together, and not at all where one of them is meant."""
    space = "space: {kind: mixture, mixtures: {m: {components: [a, b], total: lots}}}\n"
    text = toy().replace("space:\n", f"{space}x:\n", 1)
    assert [line for line in mistakes(text) if "total" in line] == [
        "4: space.mixtures.m.total: must be a number, a list or 'free', got \"lots\""
    ]
    found = mistakes(toy().replace("population: 10", "prescreen: {models: [lineer]}"))
    assert len(found) == 1
    assert "prescreen.models[0]: expected 'gaussian_process'" in found[0]


def test_requirements_name_their_provider() -> None:
    """A stage without what it needs is told which installed evaluator, or which later stage, provides it."""
    text = toy().replace(
        "  - landscape:", "  - decomposition_energy: {reference: lithium-chalcohalides}\n  - landscape:"
    )
    found = mistakes(text)
    assert any(
        "needs energy_per_atom, which no earlier stage provides; 'relax' does." in line for line in found
    ), found
    text = text.replace("objectives:", "  - relax: {potential: chgnet}\nobjectives:")
    found = mistakes(text)
    assert any("which 'relax' provides only later: put relax before it." in line for line in found), found


def energies(*stages: dict[str, Any]) -> dict[str, Any]:
    data = funnel()
    data["evaluate"] = list(stages)
    data["objectives"] = [{"minimize": "decomposition_energy"}]
    del data["constraints"]
    return data


def test_energies_of_two_potentials_never_meet() -> None:
    """A hull of one potential refuses another's energy, naming both; the same potential is accepted."""
    one = energies({f"{STEPS}:Energy": {"potential": "a"}}, {f"{STEPS}:Hull": {"potential": "a"}})
    assert campaign(one).stages[0].gates[0].max == 1.0  # an evaluator's own gate
    two = energies({f"{STEPS}:Energy": {"potential": "a"}}, {f"{STEPS}:Hull": {"potential": "b"}})
    with pytest.raises(
        CampaignError,
        match="Hull works with energies of potential-b, but energy_per_atom comes from "
        "Energy with potential-a: energies of two potentials must not meet",
    ):
        campaign(two)
    later = energies(
        {f"{STEPS}:Energy": {"potential": "b"}},
        {f"{STEPS}:Energy": {"potential": "a", "name": "again"}},
        {f"{STEPS}:Hull": {"potential": "b"}},
    )
    with pytest.raises(CampaignError, match="comes from again with potential-a"):
        campaign(later)


def test_gates() -> None:
    """A gate may be on what this or an earlier stage provides, with its bounds kept as numbers."""
    data = funnel()
    data["evaluate"][1] = {f"{STEPS}:Crystal": {"gate": {"height": {"min": 0, "max": 2}, "edge": {"min": 1}}}}
    found = campaign(data).stages[1].gates
    assert [(gate.property, gate.min, gate.max) for gate in found] == [
        ("height", 0.0, 2.0),
        ("edge", 1.0, None),
    ]
    data["evaluate"][1] = {f"{STEPS}:Crystal": {"gate": {"density": {"min": 1}, "edgy": {"min": 1}}}}
    with pytest.raises(CampaignError, match=r"gate on density(.|\n)*gate on edgy.* Did you mean 'edge'\?"):
        campaign(data)


def test_elements_are_text(tmp_path: Path) -> None:
    """Nobelium on a site list stays "No", all the way into the validated campaign."""
    text = toy().replace("x: {real: [0, 1]}", "x: {categorical: [No, Li, Y, On]}")
    space: Any = read(text).space
    assert space.parameters["x"].categorical == ("No", "Li", "Y", "On")


def test_numbers_of_a_file() -> None:
    """1e-3 is a float, and a whole number is accepted where a real one is expected, never the other way round."""
    text = toy().replace("delay: 0.0", "delay: 1e-3, timeout: 5")
    stage = read(text).stages[0]
    assert stage.timeout == 5.0
    assert stage.evaluator.model_dump()["delay"] == 0.001  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["5", "[1, 2]", "campaign", "~"])
def test_a_file_without_keys(text: str) -> None:
    """A file that is no mapping is told what a campaign begins with."""
    assert mistakes(text)[0].startswith(
        "1: (top level): expected keys such as name, space and evaluate, got "
    )


# Seeds.

SEEDS = toy().replace("budget:", "seeds: SEEDS\nbudget:")


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ("{x: 2.0, y: 0.5}", "parameter 'x' must be a number in [0, 1], got 2.0"),
        ("{x: abc, y: 0.5}", "parameter 'x' must be a number in [0, 1], got 'abc'"),
        ("{x: 0.5}", "the genome lacks the parameter 'y'; it has x"),
        ("{x: 0.5, y: 0.5, z: 0.5}", "the space has no parameter 'z'"),
        ("absent.cif", "there is no file 'absent.cif' (looked for "),
        ("wrong.cif", "wrong.cif cannot be read as CIF"),
        ("lithium.cif", "the structure in lithium.cif is not one of this search space"),
        ("5", "expected a structure file, or a genome as 'key: value', got 5"),
    ],
)
def test_seeds_that_are_none(seed: str, message: str, tmp_path: Path) -> None:
    """A seed outside the space, a missing or unreadable file: each is named with its line."""
    (tmp_path / "wrong.cif").write_text("nonsense\n")
    (tmp_path / "lithium.cif").write_text(LITHIUM)
    found = mistakes(SEEDS.replace("SEEDS", f"\n  - {{x: 0.5, y: 0.5}}\n  - {seed}"), tmp_path)
    assert len(found) == 1
    assert found[0].startswith("17: seeds[1]: ")
    assert message in found[0]


LITHIUM = """\
data_Li
_cell_length_a 3.5
_cell_length_b 3.5
_cell_length_c 3.5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Li1 Li 0 0 0
"""


def test_seeds_are_kept_once(tmp_path: Path) -> None:
    """Seeds keep their order; what differs beyond the 12th digit is one candidate."""
    found = read(
        SEEDS.replace("SEEDS", "[{x: 0.3, y: 0.5}, {y: 0.5, x: 0.30000000000000004}, {x: 0.1, y: 0.5}]")
    )
    assert found.seeds == ({"x": 0.3, "y": 0.5}, {"x": 0.1, "y": 0.5})


# Trust.


def test_code_needs_trust(tmp_path: Path) -> None:
    """`module:Class` imports code: it is refused, and not imported, until the user says so."""
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    text = toy().replace("kind: genetic, population: 10", "kind: 'mine:Search'")
    found = mistakes(text, tmp_path)
    expected = (
        "14: optimizer.kind: 'mine:Search' is code that is not installed as a plug-in, and importing it runs it. "
        "If you trust it, say so with --trust-code."
    )
    assert found == [expected]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_such_module_here:Search", "cannot be loaded: No module named 'no_such_module_here'"),
        (
            f"{STEPS}:NoSuchClass",
            "cannot be loaded: module 'tests.plugins.steps' has no attribute 'NoSuchClass'",
        ),
        (
            f"{STEPS}:NotSettings",
            "is not a plug-in: make it a class derived from invdesign.settings.Settings",
        ),
        (f"{STEPS}:Lossy", "is none of the optimizers: it has no ask()."),
        (f"{STEPS}:Height", "is none of the optimizers: it has no ask()."),
        ("os:system", "is not a plug-in"),
    ],
)
def test_trusted_code_that_is_no_plugin(kind: str, message: str) -> None:
    """Trusted names that lead nowhere, or to something else, are mistakes of the file, not stack traces."""
    text = toy().replace("kind: genetic, population: 10", f"kind: '{kind}'")
    (found,) = mistakes(text, trust_code=True)
    assert f"14: optimizer.kind: '{kind}' {message}" in found


def test_a_space_says_what_the_contract_asks() -> None:
    """A space without `canonical` and `count` is refused as it is read, with the base class that has them."""
    data: Any = parse_yaml(toy()).value
    data["space"] = {"kind": f"{STEPS}:Uncounted"}
    message = r"it has no 'canonical'; a class derived from invdesign\.protocols\.SpaceSettings has one"
    with pytest.raises(CampaignError, match=message):
        campaign_from(data, trust_code=True)


@pytest.mark.parametrize(
    "body", ["1/0", "def broken(:", "raise RuntimeError('no licence')", "import missing_library_x"]
)
def test_trusted_code_that_breaks_when_imported(body: str, tmp_path: Path) -> None:
    """The user's own module may raise anything while it is imported: the message says what."""
    name = f"breaks_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body + "\n")
    text = toy().replace("kind: genetic, population: 10", f"kind: '{name}:Search'")
    (found,) = mistakes(text, tmp_path, trust_code=True)
    assert f"'{name}:Search' cannot be loaded: " in found


def test_the_python_way_is_the_same() -> None:
    """A mapping gives the campaign a file with the same content gives; mistakes have places but no lines."""
    data: Any = parse_yaml(toy()).value
    assert campaign_from(data).fingerprint == read(toy()).fingerprint
    with pytest.raises(
        CampaignError, match=r"campaign: 1 mistake\n  campaign: seed: must be a whole number, got 4\.7"
    ):
        campaign_from({**data, "seed": 4.7})


def test_relative_files_start_from_the_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named in a campaign is looked for beside it, wherever the command is typed."""
    (tmp_path / "c.yaml").write_text(SEEDS.replace("SEEDS", "[lithium.cif]"))
    (tmp_path / "lithium.cif").write_text(LITHIUM)
    monkeypatch.chdir(ROOT)
    with pytest.raises(CampaignError, match=r"lithium\.cif is not one of this search space"):
        load_campaign(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "campaigns").glob("*.yaml"), *(ROOT / "benchmarks" / "literature").glob("*.yaml")]),
    ids=lambda path: path.name,
)
def test_shipped_campaigns_are_valid(path: Path) -> None:
    """Every campaign that ships is read without a mistake; one that needs an extra, where that is installed."""
    if "sevennet" in path.read_text(encoding="utf-8"):
        pytest.importorskip("sevenn", reason="needs the extra sevennet")
    assert load_campaign(path).stages


def test_faults_are_plugins() -> None:
    """The sick evaluators of these tests are reached as a user's code would be."""
    data = funnel(evaluate=[{f"{FAULTS}:Sick": {}}], objectives=[{"maximize": "health"}], constraints=[])
    assert campaign(data).stages[0].name == "Sick"


def test_without_an_optimizer_one_is_chosen() -> None:
    """The key may be left out; `null` is still a mistake."""
    text = re.sub(r"optimizer: .*\n", "", toy())
    assert read(text).optimizer.model_dump(mode="json")["kind"] == "auto"  # type: ignore[attr-defined]  # settings
    assert mistakes(f"{text}optimizer: null\n")[0].startswith("15: optimizer: expected a name or a mapping")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("swam", "optimizer.members[1]: there is no optimizer 'swam'. Did you mean 'swarm'? Known: "),
        (
            "{kind: swarm, particels: 3}",
            "optimizer.members[1].particels: unknown key. Did you mean 'particles'?",
        ),
        (
            "{kind: swarm, particles: 1}",
            "optimizer.members[1].particles: must be greater than or equal to 2, got 1",
        ),
        (
            "{kind: genetic, prescreen: {genrations: 3}}",
            "optimizer.members[1].prescreen.genrations: unknown key. Did you mean 'generations'?",
        ),
        ("5", "optimizer.members[1]: expected a name or a mapping with 'kind', got 5"),
    ],
)
def test_optimizers_within_an_optimizer(member: str, message: str) -> None:
    """A mistake in a member has its place, its line and the nearest name."""
    text = re.sub(r"optimizer: .*", f"optimizer: {{kind: portfolio, members: [genetic, {member}]}}", toy())
    (found,) = mistakes(text)
    assert found.startswith(f"14: {message}")
