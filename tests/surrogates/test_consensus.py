"""Two potentials judge one candidate: stages with a suffix, a reference set each, and what they agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.candidate import Candidate, Design, Input, Proposal
from invdesign.errors import CampaignError
from invdesign.properties import describe_property, words_beside
from invdesign.run.run import Run
from invdesign.settings import load
from invdesign.suffixed import Suffixed
from invdesign.testing import check_evaluator
from surrogates.consensus import Consensus
from surrogates.relaxation.relax import Relax
from surrogates.stability.reference import RelaxationRecord
from surrogates.stability.reference_build import build_reference
from surrogates.stability.reference_sources import read_structures
from tests.support import finished, here

EMT = {"kind": "ase", "calculator": "emt"}
# Copper's distance and cohesion, for all pairs: another opinion on the same crystals.
LJ = {
    "kind": "ase",
    "calculator": "lj",
    "arguments": {"sigma": 2.3, "epsilon": 0.4, "rc": 6.0, "smooth": True},
}
LIMITS = {"fmax": 0.05, "smax": 0.2}


def layered(kinds: str, a: float = 3.85) -> Atoms:
    """Four atoms on fcc sites: `CuCuAuAu` is L1_0."""
    names = [kinds[place : place + 2] for place in range(0, 8, 2)]
    return Atoms(
        names,
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[a] * 3,
        pbc=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alloys to judge, and the reference set of each potential, built from the same phases."""
    folder = tmp_path_factory.mktemp("consensus")
    for name, atoms in {
        "phases": {"Cu": bulk("Cu", cubic=True), "Au": bulk("Au", cubic=True), "CuAu": layered("CuCuAuAu")},
        "alloys": {
            "Cu3Au": layered("CuCuCuAu"),
            "CuAu3": layered("CuAuAuAu", 4.0),
            "CuAu": layered("CuAuCuAu"),
        },
    }.items():
        (folder / name).mkdir()
        for key, item in atoms.items():
            item.write(folder / name / f"{key}.cif")
    for name, potential in (("emt", EMT), ("lj", LJ)):
        built = build_reference(
            read_structures(folder / "phases"),
            load("potentials", potential),
            name=name,
            relaxation=RelaxationRecord(fmax=0.05, smax=0.2, steps=300),
        )
        (folder / f"{name}.json").write_text(built.to_json(), encoding="utf-8")
    return folder


def stages(*, on_demand: bool = False) -> list[Any]:
    """The funnel: one potential, the other one with a suffix, and what both say."""
    later: dict[str, Any] = {"on_demand": True} if on_demand else {}
    return [
        {"relax": {"potential": EMT, **LIMITS}},
        {"decomposition_energy": {"reference": "emt.json"}},
        {"relax": {"potential": LJ, **LIMITS, "structure": "initial", "suffix": "lj", **later}},
        {"decomposition_energy": {"reference": "lj.json", "suffix": "lj", **later}},
        {
            "consensus": {
                "of": ["decomposition_energy", "volume_per_atom"],
                "suffixes": ["lj"],
                "systematic": {"decomposition_energy": 0.05},
                **later,
            }
        },
    ]


def judged(folder: Path, evaluate: list[Any] | None = None, **changes: Any) -> Campaign:
    """A pool of alloys, ranked by the first potential."""
    data = {
        "version": 1,
        "name": "two potentials",
        "space": {"kind": "pool", "source": "alloys"},
        "evaluate": stages() if evaluate is None else evaluate,
        "objectives": [{"minimize": "decomposition_energy"}],
        "optimizer": "random",
        "budget": {"candidates": 3},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }
    return campaign_from(data, folder=folder)


# --- the evaluator ---


def comparing(**changes: Any) -> Consensus:
    made: Consensus = load(
        "evaluators", {"kind": "consensus", "of": ["oxidation_limit"], "suffixes": ["7net", "dft"], **changes}
    )
    return made


def told(evaluator: Consensus, *values: float) -> Any:
    """What the evaluator makes of values in the order of its sources."""
    names = ("oxidation_limit", "oxidation_limit_7net", "oxidation_limit_dft")
    properties = dict(zip(names, values, strict=True))
    item = Input(Candidate(0, "0", Proposal({})), Design(), properties, {}, 0)
    return evaluator.evaluate([item])[0]


def test_the_contract_is_kept() -> None:
    check_evaluator(comparing())
    check_evaluator(comparing(systematic={"oxidation_limit": 0.1}))


def test_mean_spread_and_extremes_of_three_sources() -> None:
    """The spread is a standard deviation, as the systematic error beside it; the sentence names each source."""
    found = told(comparing(systematic={"oxidation_limit": 0.1}), 2.0, 2.6, 2.3)
    assert found.properties == pytest.approx(
        {
            "oxidation_limit_mean": 2.3,
            "oxidation_limit_spread": 0.3,
            "oxidation_limit_lowest": 2.0,
            "oxidation_limit_highest": 2.6,
        }
    )
    assert found.systematic["oxidation_limit_mean"] == pytest.approx(0.3)
    assert found.systematic["oxidation_limit_lowest"] == 0.1
    assert (
        found.details["oxidation_limit_mean"]
        == "2.000, 2.600 (7net), 2.300 (dft): standard deviation 0.3; systematic error of one 0.1 V"
    )
    assert found.details["oxidation_limit_lowest"] == "that of oxidation_limit"
    assert found.details["oxidation_limit_highest"] == "that of oxidation_limit_7net"


def test_flags_of_sources_are_carried() -> None:
    """In a campaign, those that earlier stages provide: the extreme has the words of its source, the mean those of any."""
    evaluator = comparing(of=["oxidation_limit"]).reading_from(["window_of_products", "oxidation_limit"])
    check_evaluator(evaluator)
    assert evaluator.requires >= {"window_of_products"}
    values = {"oxidation_limit": 2.0, "oxidation_limit_7net": 2.6, "oxidation_limit_dft": 2.3}
    item = Input(Candidate(0, "0", Proposal({})), Design(), {**values, "window_of_products": 1.0}, {}, 0)
    found = evaluator.evaluate([item])[0]
    beside = {
        part: words_beside(f"oxidation_limit_{part}", found.properties.get)
        for part in ("lowest", "mean", "highest")
    }
    words = "of its decomposition products"
    assert beside == {"lowest": words, "mean": words, "highest": ""}
    assert found.details["oxidation_limit_mean"].startswith(f"2 {words}, 2.6 (7net), 2.3 (dft): ")
    assert set(found.properties) == set(evaluator.provides)


def test_a_campaign_reads_the_flags_that_its_stages_provide() -> None:
    """Those of both windows, also when it is read back; none without a campaign."""
    window = {"reference": "lithium-chalcohalides", "ion": "Li"}
    campaign = campaign_from(
        {
            "version": 1,
            "name": "two windows",
            "space": {"kind": "substitution", "parent": "antiperovskite", "sites": {"X": ["Cl", "Br"]}},
            "evaluate": [
                {"relax": {"potential": "chgnet"}},
                {"stability_window": window},
                {"stability_window": {**window, "suffix": "two"}},
                {"consensus": {"of": ["oxidation_limit", "reduction_limit"], "suffixes": ["two"]}},
            ],
            "objectives": [{"maximize": "oxidation_limit_lowest"}],
            "optimizer": "random",
            "budget": {"candidates": 2},
        }
    )
    flags = {"window_of_products", "window_of_products_two"}
    for found in (campaign, Campaign.from_dump(campaign.dump())):
        evaluator = found.stages[-1].evaluator
        assert flags <= evaluator.requires
        assert {f"window_of_products_{part}" for part in ("mean", "lowest", "highest")} <= set(
            evaluator.provides
        )
    assert not flags & comparing().requires


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0, 1))
def test_agreement_never_makes_the_mean_better_than_one_source(values: list[float], own: float) -> None:
    """Sources may err together; and the mean lies between the extremes."""
    found = told(comparing(systematic={"oxidation_limit": own}), *values)
    assert found.systematic["oxidation_limit_mean"] >= own
    low, high = found.properties["oxidation_limit_lowest"], found.properties["oxidation_limit_highest"]
    assert (low, high) == (min(values), max(values))
    assert low - 1e-9 <= found.properties["oxidation_limit_mean"] <= high + 1e-9
    assert found.properties["oxidation_limit_spread"] <= (high - low) / 2**0.5 * 1.0001 + 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suffixes": ["a", "a"]}, "suffixes names one entry twice"),
        ({"systematic": {"reduction_limit": 0.1}}, "names reduction_limit, which is not among 'of'"),
        ({"units": {"oxidation_limit": "eV"}}, "oxidation_limit is in V everywhere"),
        ({"suffixes": ["a_b"]}, "pattern"),
        ({"suffixes": []}, "at least 1"),
    ],
)
def test_mistakes_in_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        comparing(**changes)


# --- stages with a suffix ---


def test_a_suffix_changes_names_and_nothing_else() -> None:
    """Values, structures and errors are those of the evaluator itself; its weights are in the fingerprint."""
    plain = Relax(potential=load("potentials", EMT), fmax=0.2)
    suffixed = Suffixed(suffix="two", evaluator=plain)
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=1)
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(copper)
    item = Input(Candidate(0, "0", Proposal({})), Design(), {}, {"initial": structure}, 0)
    one, other = plain.evaluate([item])[0], suffixed.evaluate([item])[0]
    assert other.properties == {f"{name}_two": value for name, value in one.properties.items()}
    assert list(other.structures) == ["relaxed_two"]
    assert other.structures["relaxed_two"] == one.structures["relaxed"]
    assert suffixed.provides["energy_per_atom_two"] == "eV/atom"
    assert suffixed.potential_id == plain.potential_id
    assert suffixed.fingerprint not in {
        plain.fingerprint,
        suffixed.model_copy(update={"suffix": "three"}).fingerprint,
        suffixed.model_copy(
            update={"evaluator": Relax(potential=load("potentials", LJ), fmax=0.2)}
        ).fingerprint,
    }


def test_a_suffixed_evaluator_keeps_the_contract() -> None:
    made = load("evaluators", {"kind": "suffixed", "suffix": "two", "evaluator": "charge_neutrality"})
    assert [gate.property for gate in made.gates] == ["charge_imbalance_two"]
    check_evaluator(made)
    reading = load(
        "evaluators",
        {
            "kind": "suffixed",
            "suffix": "two",
            "evaluator": "decomposition_energy",
            "reads": ["energy_per_atom"],
        },
    )
    check_evaluator(reading)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ({"kind": "experiment", "provides": {"capacity": "mAh/g"}}, "its results are files or measurements"),
        ({"kind": "vasp"}, "its results are files or measurements"),
        ({"kind": "suffixed", "suffix": "a", "evaluator": "relax"}, "it names its properties itself"),
        (
            {"kind": "function", "name": "f", "provides": {"x": ""}, "requires": ["parameters"]},
            "it names its properties",
        ),
    ],
)
def test_what_takes_no_suffix(evaluator: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "suffixed", "suffix": "two", "evaluator": evaluator})


def test_a_listed_property_with_a_suffix_keeps_label_and_caveat() -> None:
    found = describe_property("reduction_limit_7net", "V")
    assert (found.label, found.unit) == ("Reduction limit (7net)", "V")
    assert found.mark is not None
    assert found.mark.flag == "window_of_products_7net"
    assert describe_property("decomposition_energy_highest", "eV/atom").caveat
    assert describe_property("cycle_life", "h").label == "Cycle life"


# --- campaigns ---


def test_stages_read_what_the_same_potential_made(folder: Path) -> None:
    """The second hull reads the second energy; structures follow the order of the stages, or the role that is named."""
    campaign = judged(folder)
    assert [stage.name for stage in campaign.stages] == [
        "relax", "decomposition_energy", "relax_lj", "decomposition_energy_lj", "consensus",
    ]  # fmt: skip
    hull = campaign.evaluators["decomposition_energy_lj"]
    assert hull.requires == {"energy_per_atom_lj", "composition"}
    assert campaign.measured_on["decomposition_energy"] == "relaxed"
    assert campaign.measured_on["decomposition_energy_lj"] == "relaxed_lj"
    evaluate = [
        *stages()[:2],
        {"relax": {"potential": LJ, "suffix": "lj"}},
        {"bottleneck_radius": {"ion": "Cu"}},
    ]
    after = judged(folder, evaluate)
    assert after.evaluators["relax_lj"].requires == {"structure:relaxed"}
    assert after.evaluators["bottleneck_radius"].requires == {"structure:relaxed_lj"}
    assert Campaign.from_dump(json.loads(json.dumps(campaign.dump()))).fingerprint == campaign.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: [*s[:3], {"decomposition_energy": {"reference": "emt.json", "suffix": "lj"}}], "energies of two potentials"),
        (lambda s: [*s[:2], s[4]], "consensus needs decomposition_energy_lj"),
        (lambda s: [*s[:2], {"relax": {"potential": LJ, "suffix": "a b"}}], "suffix"),
        (lambda s: [*s[:2], {"relax": {"potential": LJ, "suffix": "lj", "structure": "dft"}}], r"evaluate\[2\].relax.structure"),
        (lambda s: [*s[:2], {"vasp": {"suffix": "lj"}}], "'vasp' takes no suffix"),
        (lambda s: [*s, s[2]], "there is a stage 'relax_lj' already"),
    ],
)  # fmt: skip
def test_mistakes_in_campaigns(folder: Path, change: Any, message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        judged(folder, change(stages()))


def test_a_campaign_without_suffixes_is_stored_as_before(folder: Path) -> None:
    """Nothing of it is in the dump, so that stored runs keep their fingerprints."""
    text = json.dumps(judged(folder, stages()[:2]).dump())
    assert "suffix" not in text
    assert '"energy"' not in text


def test_a_search_is_constrained_by_the_worse_of_two_potentials(folder: Path, tmp_path: Path) -> None:
    """Both potentials are asked, each against its own set; the worse one counts."""
    campaign = judged(folder, constraints=[{"decomposition_energy_highest": {"max": 0.0}}])
    run = finished(campaign, tmp_path / "run")
    rows = [run.row(id) for id in range(3)]
    assert {row["status"] for row in rows} == {"complete"}, rows
    for row in rows:
        values = row["properties"]
        both = (values["decomposition_energy"], values["decomposition_energy_lj"])
        assert values["decomposition_energy_highest"] == max(both)
        assert values["decomposition_energy_mean"] == pytest.approx(sum(both) / 2)
        assert row["systematic"]["decomposition_energy_mean"] >= 0.05
        assert "(lj): standard deviation" in row["details"]["decomposition_energy_mean"]
        assert "relaxed_lj" in run.history.trial(row["candidate"]).structures
    # Lennard-Jones holds all alloys of equal atoms for as stable as their elements; EMT does not.
    assert max(abs(row["properties"]["decomposition_energy_lj"]) for row in rows) < 0.01
    assert max(abs(row["properties"]["decomposition_energy"]) for row in rows) > 0.005


def test_the_best_are_sent_on_to_the_second_potential(folder: Path, tmp_path: Path) -> None:
    """The search pays for one potential; `promote` takes the best through the second one to the consensus."""
    run = finished(judged(folder, stages(on_demand=True)), tmp_path / "run")
    best = run.ranking()[0]
    assert "decomposition_energy_lj" not in run.row(int(best))["properties"]
    run.close()
    done = here("promote", Path("run"), "--top", "1", "--stage", "consensus", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [item["from"] for item in facts["promoted"]] == [int(best)]
    again = Run.open(tmp_path / "run")
    found = again.row(3)["properties"]
    assert {"decomposition_energy_lj", "decomposition_energy_mean", "volume_per_atom_spread"} <= found.keys()
