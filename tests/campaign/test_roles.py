"""On which of a candidate's structures stages work, and what a campaign says of it."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.cli.describe import describe_candidate, format_table
from invdesign.errors import CampaignChangedError, CampaignError
from invdesign.report.html import render_report
from invdesign.run.run import Run
from tests.support import Data

LJ = {"kind": "ase", "calculator": "lj", "arguments": {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0}}
RELAX: Data = {"relax": {"potential": LJ, "fmax": 0.5, "steps": 20, "unconverged": "keep"}}
RADIUS: Data = {"bottleneck_radius": {"ion": "Li"}}
DFT: Data = {
    "espresso": {
        "name": "dft",
        "pseudopotentials": {"Li": "Li.UPF", "O": "O.UPF", "Cl": "Cl.UPF", "Br": "Br.UPF"},
        "ecutwfc": 40,
    }
}
READERS: dict[str, Data] = {
    "minimum_distance": {},
    "bottleneck_radius": {"ion": "Li"},
    "migration_barrier": {"ion": "Li"},
    "relax": {"potential": LJ},
    "vasp": {},
    "espresso": {"pseudopotentials": {"Li": "Li.UPF"}, "ecutwfc": 40},
}


def campaign(*stages: Any, **changes: Any) -> Campaign:
    """A campaign on anti-perovskites whose only objective is the radius of the last stage that gives it."""
    data = {
        "version": 1,
        "name": "roles",
        "space": {
            "kind": "substitution",
            "parent": "antiperovskite",
            "rattle": 0.1,
            "sites": {"X": ["Cl", "Br"]},
        },
        "evaluate": list(stages),
        "objectives": [{"maximize": "bottleneck_radius"}],
        "optimizer": "random",
        "budget": {"candidates": 2},
        "engine": {"kind": "local", "workers": 0},
    }
    return campaign_from({**data, **changes})


def stored(made: Campaign, number: int) -> Data:
    """The settings of a stage as a store has them."""
    dump: Any = made.dump()
    evaluator: Data = dump["stages"][number]["evaluator"]
    return evaluator


@pytest.mark.parametrize("kind", READERS)
def test_the_latest_structure_is_the_default(kind: str) -> None:
    """Every evaluator that looks at a structure takes the one made last before it, and the stored campaign names it."""
    settings = READERS[kind]
    alone = campaign({kind: {**settings, "name": "one"}}, RADIUS | {}, name="alone")
    assert alone.stages[0].evaluator.structure == "initial"  # type: ignore[union-attr]  # an evaluator of a structure
    after = campaign(RELAX, RADIUS, {kind: {**settings, "name": "one"}})
    role = "initial" if kind == "relax" else "relaxed"  # what it makes itself it does not start from
    assert after.stages[2].evaluator.structure == role  # type: ignore[union-attr]  # as above
    assert stored(after, 2).get("structure", "initial") == role
    assert "structure:latest" not in after.stages[2].evaluator.requires  # type: ignore[union-attr]  # as above
    named = campaign(RELAX, RADIUS, {kind: {**settings, "name": "one", "structure": "initial"}})
    assert named.stages[2].evaluator.structure == "initial"  # type: ignore[union-attr]  # as above


def test_a_command_writes_the_latest_structure() -> None:
    """The file of an outside program, a setting within a setting, follows the funnel as well."""
    job: Data = {
        "run": "cat POSCAR",
        "structure": {"file": "POSCAR", "format": "vasp"},
        "results": [{"file": "stdout.txt", "regex": {"height": "([0-9]+)"}}],
        "provides": {"height": ""},
    }
    made = campaign(RELAX, RADIUS, {"command": job})
    assert stored(made, 2)["structure"]["role"] == "relaxed"
    assert "structure:relaxed" in made.stages[2].evaluator.requires  # type: ignore[union-attr]  # it writes it


def test_a_relaxation_starts_from_what_a_costlier_one_left() -> None:
    """After a stage that makes `dft`, that is the latest structure for a relaxation and for what follows it."""
    made = campaign(DFT, RELAX, RADIUS)
    assert [stored(made, n)["structure"] for n in range(3)] == ["initial", "dft", "relaxed"]


def test_what_is_not_the_candidate_is_not_its_latest_structure() -> None:
    """A saddle, also one with a suffix, and a crystal with an ion less are read only where a stage names them."""
    band: Data = {"neb_barrier": {"ion": "Li", "potential": LJ, "suffix": "neb"}}
    window: Data = {"topotactic_window": {"ion": "Li", "potential": LJ}}
    made = campaign(RELAX, band, window, RADIUS)
    assert [stored(made, n)["structure"] for n in (2, 3)] == ["relaxed", "relaxed"]
    assert made.measured_on["topotactic_oxidation_limit"] == "relaxed"
    named = campaign(RELAX, band, {"bottleneck_radius": {"ion": "Li", "structure": "saddle_neb"}})
    assert stored(named, 2)["structure"] == "saddle_neb"


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("before", "role", "message"),
    [
        (
            [],
            "relaxd",
            "one needs the structure 'relaxd', which nothing before it makes. Structures before it: initial.",
        ),
        ([RELAX], "relaxd", "makes. Did you mean 'relaxed'? Structures before it: initial, relaxed."),
    ],
)
def test_a_role_that_nothing_makes_is_refused(kind: str, before: list[Data], role: str, message: str) -> None:
    """By name and with the roles there are, in the same words for every evaluator."""
    stage = {kind: {**READERS[kind], "structure": role, "name": "one"}}
    with pytest.raises(CampaignError, match=re.escape(message)) as caught:
        campaign(*before, RADIUS, stage)
    assert f"evaluate[{len(before) + 1}].{kind}.structure: " in str(caught.value)


def test_a_role_that_comes_later_is_refused() -> None:
    """The stage that makes it is named, and so is one that could where none does."""
    late = {"bottleneck_radius": {"ion": "Li", "structure": "relaxed"}}
    with pytest.raises(CampaignError, match="which 'relax' provides only later: put relax before it"):
        campaign(late, RELAX)
    with pytest.raises(
        CampaignError, match=r"nothing before it makes\. 'relax' makes it\. Structures before it: initial"
    ):
        campaign(late)


def test_mixed_geometries_are_told() -> None:
    """Objectives of the crystal as built beside objectives of the relaxed one are a note of the campaign."""
    objectives = [{"maximize": "bottleneck_radius"}, {"minimize": "volume_per_atom"}]
    (note,) = campaign(RADIUS, RELAX, objectives=objectives).notes
    assert "bottleneck_radius on 'initial' and volume_per_atom on 'relaxed'" in note
    assert not campaign(RELAX, RADIUS, objectives=objectives).notes


@given(st.permutations([RADIUS, RELAX, {"minimum_distance": {}}]))
def test_properties_speak_of_one_structure_each(stages: list[Data]) -> None:
    """Of the one their stage makes, or else of the latest made before it."""
    made = campaign(*stages)
    names = [next(iter(stage)) for stage in stages]
    for kind, name in (
        ("bottleneck_radius", "bottleneck_radius"),
        ("minimum_distance", "minimum_distance_ratio"),
    ):
        expected = "relaxed" if names.index("relax") < names.index(kind) else "initial"
        assert made.measured_on[name] == expected
    assert made.measured_on["volume_per_atom"] == "relaxed"
    assert "charge_imbalance" not in campaign("charge_neutrality", RADIUS).measured_on


def test_stages_on_demand_change_no_label() -> None:
    """What the search measures again on demand, on a structure of its own, keeps the structure of the search's stage."""
    again = {"bottleneck_radius": {"name": "again", "ion": "Li", "structure": "initial", "on_demand": True}}
    made = campaign(RELAX, RADIUS, again)
    assert made.measured_on["bottleneck_radius"] == "relaxed"


def as_of_old(made: Campaign) -> Campaign:
    """The campaign as versions before roles were resolved stored it: `initial` wherever nothing was said."""
    text = json.dumps(made.dump()).replace('"structure": "relaxed"', '"structure": "initial"')
    return Campaign.from_dump(json.loads(text))


def test_runs_of_old_keep_their_structure(tmp_path: Path) -> None:
    """A run that stored `initial` goes on with it, also under its campaign file, which names no structure."""
    now = campaign(RELAX, RADIUS, budget={"candidates": 2})
    assert stored(now, 1)["structure"] == "relaxed"
    with closing(Run.create(as_of_old(now), tmp_path / "run")) as run:
        run.execute()
        before = [run.trial(id).properties["bottleneck_radius"] for id in range(2)]
    with closing(Run.open(tmp_path / "run")) as run:
        run.change(campaign(RELAX, RADIUS, budget={"candidates": 2}))
        run.execute()
        assert stored(run.campaign, 1)["structure"] == "initial"
        assert [run.trial(id).properties["bottleneck_radius"] for id in range(2)] == before
        named = campaign(RELAX, {"bottleneck_radius": {"ion": "Li", "structure": "relaxed"}})
        with pytest.raises(CampaignChangedError, match="structure: initial -> relaxed"):
            run.change(named)


def test_relaxations_of_old_are_the_same() -> None:
    """Stored settings without a structure are those of the initial one, and keep their fingerprint."""
    made = campaign(RELAX, RADIUS)
    settings = stored(made, 0)
    assert "structure" not in settings
    again = Campaign.from_dump(json.loads(json.dumps(made.dump())))
    assert again == made
    assert again.stages[0].evaluator.fingerprint == made.stages[0].evaluator.fingerprint  # type: ignore[union-attr]  # relax


def test_the_structure_stands_beside_the_property(tmp_path: Path) -> None:
    """In the table of the best, in what is said of a candidate, and in the report."""
    objectives = [{"maximize": "bottleneck_radius"}, {"minimize": "minimum_distance_ratio"}]
    made = campaign({"minimum_distance": {}}, RELAX, RADIUS, objectives=objectives)
    with closing(Run.create(made, tmp_path / "run")) as run:
        run.execute()
        head = format_table(run.top(2), run.campaign)[0]
        told = "\n".join(describe_candidate(run, 0))
        page = re.sub(r"<[^>]*>", "", render_report(run, model=False).partition("<script")[0])
    assert "bottleneck_radius [Å, relaxed]  minimum_distance_ratio [initial]" in head
    assert re.search(r"bottleneck_radius: [\d.]+ ± 0.01 \(method\) Å \(relaxed\)", told)
    assert re.search(r"minimum_distance_ratio: [\d.]+ \(initial\)", told)
    assert "structure (relaxed): 5 atoms" in told
    assert "Bottleneck radius (Å, relaxed)" in page
    assert "relaxed as stage relax leaves it" in page


def test_a_property_of_a_defect_is_no_property_of_its_host() -> None:
    """The references that a space builds come before what stages make of the candidate."""
    space = {"kind": "defect", "parent": "lithium_nitride", "cell": [2, 2, 2], "defects": {"vacancy Li": 1}}
    space |= {"charge_neutral": False}
    made = campaign(
        RELAX,
        {"defect_energy": {"potential": LJ}},
        space=space,
        objectives=[{"minimize": "defect_energy"}],
    )
    assert made.measured_on["defect_energy"] == "relaxed"
