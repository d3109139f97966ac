"""Stages on demand: the search stays away, the best are sent on, and outputs are collected however often one looks."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from subprocess import run as run_process
from typing import Any

import numpy as np
import pytest

from invdesign import registry
from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.candidate import Candidate, Proposal, Status, genome_key
from invdesign.cli.describe import describe_campaign
from invdesign.errors import CampaignError, RunError
from invdesign.history import RunHistory
from invdesign.problem import Objective, Problem
from invdesign.protocols import StageView
from invdesign.run.run import Run
from invdesign.steps import Finished, StageResult
from tests.support import ROOT, environment, finished, here, toy, written
from tests.surrogates.dft_outputs import half, vasprun

PAGE = (ROOT / "docs" / "dft.md").read_text(encoding="utf-8")
DEAR = {"landscape": {"name": "dear", "function": "zdt2", "on_demand": True}}  # f1 and f2
pytestmark = pytest.mark.usefixtures("_no_library")


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a library of pseudopotentials."""
    import pymatgen.core

    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def of_the_page(**changes: Any) -> dict[str, Any]:
    """The page's campaign."""
    data = parse_yaml(blocks("yaml")[0]).value
    assert isinstance(data, dict)
    return {**data, "engine": {"kind": "local", "workers": 0}, **changes}


def two_tiers(**changes: Any) -> dict[str, Any]:
    """Parameters, a cheap stage that says height, and a dear one on demand."""
    data = parse_yaml(toy(12)).value
    assert isinstance(data, dict)
    stages = [{"landscape": {"function": "sphere", "name": "cheap"}}, DEAR]
    objectives = [{"minimize": "height"}]
    rest = {"evaluate": stages, "objectives": objectives, "engine": {"kind": "local", "workers": 0}}
    return {**data, **rest, **changes}


def said(folder: Path, command: str, *arguments: object) -> str:
    """What a command prints where it succeeds."""
    done = here(command, folder, *arguments, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    return done.stdout


def said_by(line: str) -> str:
    """The same of a line on a page."""
    _, command, folder, *arguments = line.split()
    return said(Path(folder).resolve().relative_to(Path.cwd()), command, *arguments)


def in_json(folder: Path, command: str, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(folder, command, *arguments, "--json"))
    return found


def jobs(folder: Path) -> list[Path]:
    return sorted((folder / "work" / "dft").iterdir())


# The campaign.


def test_a_stage_on_demand_is_kept_and_shown() -> None:
    """It travels with the campaign; one without it has the hash it always had; optimizers do not see it."""
    campaign = campaign_from(two_tiers())
    again = Campaign.from_dump(campaign.dump())
    assert [stage.on_demand for stage in again.stages] == [False, True]
    assert [view.name for view in campaign.views] == ["cheap"]
    assert [view.name for view in campaign.all_views] == ["cheap", "dear"]
    assert "  stages: build -> cheap -> dear (on demand)" in describe_campaign(campaign)
    assert (
        "stages: build -> charge_neutrality -> bottleneck_radius -> dft (on demand, external)"
        in "\n".join(describe_campaign(campaign_from(of_the_page())))
    )
    plain = campaign_from(two_tiers(evaluate=[{"landscape": {"function": "sphere", "name": "cheap"}}]))
    assert "on_demand" not in json.dumps(plain.dump())


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "order": (
        {"evaluate": [DEAR, {"landscape": {"function": "zdt2"}}]},
        "landscape comes after dear, which is on demand",
    ),
    "alone": (
        {"evaluate": [DEAR], "objectives": [{"minimize": "f2"}]},
        "the first stage cannot be on demand",
    ),
    "objective": (
        {"objectives": [{"minimize": "f2"}]},
        "'f2' is known only of candidates that you promote to dear",
    ),
    "constraint": ({"constraints": [{"f2": {"max": 1}}]}, "the search cannot go by it"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_search_cannot_depend_on_it(case: str) -> None:
    """What it alone says is no objective, and nothing of the search comes after it."""
    changes, told = MISTAKES[case]
    with pytest.raises(CampaignError, match=re.escape(told)):
        campaign_from(two_tiers(**changes))


def test_the_search_has_the_last_word_on_its_own_properties() -> None:
    """A stage on demand that says an objective too is heard under its own name alone."""
    views = (
        StageView("cheap", frozenset({"e"})),
        StageView("dear", frozenset({"e"}), on_demand=True),
    )
    genome = {"x": 1.0}
    candidate = Candidate(0, genome_key(genome), Proposal(genome))
    history = RunHistory(Problem((Objective("e", "minimize"),)), lambda _: candidate, views)
    history.add_candidate(0, candidate.key, candidate)
    for stage, value in (("cheap", 1.0), ("dear", 2.0)):
        history.record_result(StageResult(0, stage, {"e": value}, cache_key=""))
    history.finish_trial(Finished(0, Status.COMPLETE, 3))
    assert history.column("e").tolist() == [1.0]
    assert history.column("e", "dear").tolist() == [2.0]
    assert history.earlier_values(0) == [("e", "dear", 2.0)]


# Promotions that run here.


def test_the_best_are_sent_on_and_run(tmp_path: Path) -> None:
    """The search never goes there; a promotion does, once; who was promoted stays where the search ranks it."""
    folder = tmp_path / "run"
    run = finished(campaign_from(two_tiers()), folder)
    assert run.status().state == "finished"
    assert run.history.depth_by_trial().max() == 2
    before = [row["genome"] for row in run.top(12)]
    told = in_json(folder, "promote", "--top", 2)
    assert [item["status"] for item in told["promoted"]] == ["complete", "complete"]
    assert [item["candidate"] for item in told["promoted"]] == [12, 13]
    again = in_json(folder, "promote", "--top", 2)
    assert not again["promoted"]
    assert [item["candidate"] for item in again["there_already"]] == [12, 13]
    after = Run.open(folder)
    assert [row["genome"] for row in after.top(12)] == before
    assert np.isfinite(after.history.column("f2")).sum() == 2
    assert after.status().state == "finished"
    origin = after.trial(12).candidate.proposal.parents[0]
    assert "taken further by: candidate 12, complete" in said(folder, "show", origin)
    assert f"origin: taken further; parents: {origin}" in said(folder, "show", 12)
    assert "  f2: " in said(folder, "show", 12)


def test_what_cannot_be_promoted_is_told(tmp_path: Path) -> None:
    """Each with what is there; nothing changes."""
    folder = tmp_path / "run"
    finished(campaign_from(two_tiers()), folder)
    digest = Run.open(folder).digest()
    for arguments, told in (
        (["--stage", "daer"], "has no stage 'daer'. Did you mean 'dear'? Stages: cheap, dear."),
        (["--candidates", "3,x"], "expected numbers as 3,17, got '3,x'"),
        (["--candidates", "99"], "there is no candidate 99"),
        (["--candidates", "1", "--top", "2"], "give one of them"),
    ):
        done = here("promote", folder, *arguments)
        assert done.returncode != 0
        assert told in done.stderr
    assert "At cheap already: 1 candidate" in said(folder, "promote", "--candidates", "3", "--stage", "cheap")
    refused = here("collect", folder)
    assert "whose jobs you run yourself" in refused.stderr
    assert Run.open(folder).digest() == digest
    several = two_tiers(
        evaluate=[*two_tiers()["evaluate"], {"landscape": {**DEAR["landscape"], "name": "b"}}]
    )
    other = finished(campaign_from(several), tmp_path / "other")
    assert "stages on demand are dear, b" in here("promote", other.folder).stderr


# Jobs the user runs.


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands print what it shows, and outputs that are brought back are read."""
    monkeypatch.chdir(tmp_path)
    commands, printed = blocks("")
    first, *others = commands.splitlines()
    assert first == "invdesign run campaign.yaml --run-dir runs/dft"
    finished(campaign_from(of_the_page()), Path("runs/dft"))  # without its report
    shown = ["", *(said_by(line) for line in others)]
    assert shown[1] == printed
    assert (
        shown[2].count("not there yet (in its folder: HOW_TO_RUN.txt, INCAR, KPOINTS, POSCAR, POTCAR.spec)")
        == 3
    )
    folder = tmp_path / "runs" / "dft"
    for job in jobs(folder):
        (job / "vasprun.xml").write_text(vasprun(job, energy=-4.25))
    assert "Read 3, failed 0, not there yet 0." in said(folder, "collect")
    assert "dft_energy_per_atom: -4.2500 eV/atom" in said(folder, "show", 9)
    run = Run.open(folder)
    assert [row["candidate"] for row in run.top(3)] == [9, 10, 11]
    structure = run.structure(9)
    assert structure is not None
    assert structure.volume == pytest.approx(run.design(9).structures["initial"].volume * 1.01**3)
    assert "dft_band_gap" in said(folder, "export", "--format", "csv", "-o", tmp_path / "all.csv") + (
        tmp_path / "all.csv"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["vasp", "espresso"])
def test_the_tables_list_every_setting(kind: str) -> None:
    """A setting that is new or renamed has its row, and a default that is a plain value is the one there is."""
    section = PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    rows = {
        line.split("|")[1].strip(" `"): line.split("|")[2].strip(" `")
        for line in section.splitlines()
        if "|" in line
    }
    for setting, field in registry.load("evaluators", kind).model_fields.items():
        assert setting in rows, f"dft.md does not show {setting}"
        if isinstance(field.default, int | float | str):
            assert rows[setting].lower() == str(field.default).lower()


def test_outputs_come_one_by_one(tmp_path: Path) -> None:
    """Half of one, one of another structure, one that did not converge: told apart, and put right later."""
    folder = tmp_path / "run"
    finished(campaign_from(of_the_page()), folder)
    before = Run.open(folder)
    ranking = [row["genome"] for row in before.top(9)]
    said(folder, "promote", "--top", 4)
    good, torn, wrong, unconverged = jobs(folder)
    text = vasprun(good)
    (good / "vasprun.xml").write_text(text)
    (torn / "vasprun.xml").write_text(half(vasprun(torn)))
    (wrong / "vasprun.xml").write_text(text)
    (unconverged / "vasprun.xml").write_text(vasprun(unconverged, electronic=100))
    told = in_json(folder, "collect")["jobs"]
    assert [job["state"] for job in told] == ["read", "not there yet", "failed", "failed"]
    assert "another candidate's output" in told[2]["message"]
    assert "did not converge within NELM" in told[3]["message"]
    digest = Run.open(folder).digest()
    assert [job["state"] for job in in_json(folder, "collect")["jobs"]] == ["not there yet"]
    assert Run.open(folder).digest() == digest
    # A failed calculation takes nothing away of what the search knows.
    run = Run.open(folder)
    assert [row["genome"] for row in run.top(9)] == ranking
    failed = told[3]["candidate"]
    assert run.trial(failed).status is Status.FAILED
    origin = run.trial(failed).candidate.proposal.parents[0]
    assert f"taken further by: candidate {failed}, failed" in said(folder, "show", origin)
    assert failed in [item["candidate"] for item in in_json(folder, "promote", "--top", 4)["there_already"]]
    # Calculated anew.
    said(folder, "withdraw", failed, "--again", "--reason", "more electronic steps")
    (unconverged / "vasprun.xml").write_text(vasprun(unconverged))
    (torn / "vasprun.xml").write_text(vasprun(torn))
    assert [job["state"] for job in in_json(folder, "collect")["jobs"]] == ["read", "read"]
    assert Run.open(folder).trial(failed).status is Status.COMPLETE
    assert "Nothing waits for outputs" in said(folder, "collect")


def test_inputs_are_whole_and_never_written_over(tmp_path: Path) -> None:
    """A promotion that was killed before it wrote them is completed; a folder that is there is left alone."""
    folder = tmp_path / "run"
    run = finished(campaign_from(of_the_page()), folder)
    promoted = run.promote(run.ranking()[:2], "dft")  # and killed here, in the middle of writing:
    torn = folder / "work" / "dft" / f".{promoted[0]:06d}-Li3SeCl.new"
    torn.mkdir(parents=True)
    (torn / "INCAR").write_text("half")
    assert "not there yet" in said(folder, "collect")
    assert [path.name for path in jobs(folder)] == ["000009-Li3SeCl", "000010-Li3SCl"]
    mine = jobs(folder)[0]
    (mine / "INCAR").write_text("NCORE = 4")
    assert "000009-Li3SeCl (there already)" in said(folder, "promote", "--top", 2)
    assert (mine / "INCAR").read_text() == "NCORE = 4"


def test_one_that_cannot_be_written_holds_up_no_other(tmp_path: Path) -> None:
    """Quantum ESPRESSO without a pseudopotential for an element: the others are ready, and the code is not 0."""
    stage = {"espresso": {"name": "dft", "on_demand": True, "ecutwfc": 30.0}}
    stage["espresso"]["pseudopotentials"] = {el: f"{el}.UPF" for el in ("Li", "O", "S", "Cl", "Br", "I")}
    data = of_the_page(evaluate=[*of_the_page()["evaluate"][:2], stage])
    run = finished(campaign_from(data), tmp_path / "run")
    done = here("promote", run.folder, "--top", 3)
    assert done.returncode == 1
    assert "Inputs of 1 candidate are in" in done.stdout
    assert done.stdout.count("the setting 'pseudopotentials' has no file for Se") == 2
    assert [path.name for path in jobs(run.folder)] == ["000010-Li3SCl"]


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_nothing_happened(tmp_path: Path) -> None:
    """Run, promote and collect, in processes that kill themselves, said again until all is done."""
    data = of_the_page(budget={"candidates": 4})
    file = written(data, tmp_path / "campaign.yaml")
    arguments = [sys.executable, "-m", "tests.plugins.collecting", file, tmp_path / "killed", 3, 250]
    done = run_process(
        list(map(str, arguments)), capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["deaths"] > 3
    from tests.plugins.collecting import work

    work(file, tmp_path / "whole")
    assert found["digest"] == Run.open(tmp_path / "whole", trust_code=True).digest()


def test_nothing_to_promote_yet(tmp_path: Path) -> None:
    """A run that has nobody complete says so."""
    Run.create(campaign_from(two_tiers()), tmp_path / "run")
    assert "No candidate is complete yet" in said(tmp_path / "run", "promote")
    with pytest.raises(RunError):
        Run.open(tmp_path / "run").trial(0)
