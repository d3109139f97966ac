"""Functions in campaign files: read without being run, trusted before they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import load_campaign, read_campaign
from invdesign.campaign.model import Campaign
from invdesign.campaign.schema import build_campaign_schema
from invdesign.errors import CampaignChangedError, CampaignError, RunError
from invdesign.functions import FitnessFunction
from invdesign.run.run import Run
from invdesign.run.status import RunStatus
from tests.plugins import functions as module
from tests.run.test_kill import killed_at_statements
from tests.support import ROOT, here
from tests.test_plugin_pages import blocks

CAMPAIGN = """\
version: 1
name: mine
seed: 3
space:
  kind: parameters
  parameters:
    x: {real: [0, 1]}
    y: {real: [0, 1]}
evaluate:
  - my_scores:hardness: {gate: {hardness: {min: 0.1}}, timeout: 20}
  - my_scores:plain: {provides: {cost: EUR}, batch: 3}
objectives:
  - maximize: hardness
  - minimize: cost
optimizer: {kind: genetic, population: 6}
budget: {candidates: 24}
"""
MODULE = """\
from pathlib import Path

Path(__file__).with_name("imported").touch()
import invdesign
from my_constants import SCALE


@invdesign.fitness(provides={"hardness": "GPa"})
def hardness(candidate):
    x = candidate.parameters["x"]
    if x > 0.9:
        raise ValueError("no atoms")
    return SCALE * x, 0.01


def plain(candidates):
    return [c.properties["hardness"] + c.parameters["y"] ** 2 for c in candidates]


class Plugin:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign with a module that leaves a mark when it is imported."""
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    (tmp_path / "my_scores.py").write_text(MODULE)
    (tmp_path / "my_constants.py").write_text("SCALE = 2.0\n")
    return tmp_path


def loaded(folder: Path, *, trust_code: bool = False) -> Campaign:
    return load_campaign(folder / "campaign.yaml", trust_code=trust_code)


def worked(folder: Path, name: str, workers: int = 0) -> Run:
    """A run of the campaign, at its end."""
    run = Run.create(loaded(folder, trust_code=True), folder / name)
    run.use_workers(workers)
    assert run.execute().state == "finished"
    return run


def go_on(folder: Path, candidates: int) -> RunStatus:
    """The run with a larger budget, trusted, at its end."""
    run = Run.open(folder, trust_code=True)
    run.change(budget={"candidates": candidates})
    run.use_workers(0)
    return run.execute()


def functions(campaign: Campaign) -> list[FitnessFunction]:
    found = [stage.evaluator for stage in campaign.stages]
    assert all(isinstance(item, FitnessFunction) for item in found)
    return found  # type: ignore[return-value]  # just checked


@pytest.mark.parametrize("trust_code", [False, True])
def test_validating_imports_nothing(trust_code: bool, folder: Path) -> None:
    """Names, units and batches come from the module's text; what a function requires is all there is before it."""
    first, second = functions(loaded(folder, trust_code=trust_code))
    assert (first.name, dict(first.provides), first.batch.size) == ("hardness", {"hardness": "GPa"}, 1)
    assert (dict(second.provides), second.batch.size) == ({"cost": "EUR"}, 3)
    assert (first.requires, second.requires) == ({"parameters"}, {"parameters", "hardness"})
    assert set(first.source) == {"my_scores.py", "my_constants.py"}
    said = here("validate", folder / "campaign.yaml", *["--trust-code"] * trust_code)
    assert said.returncode == 0
    if not trust_code:
        assert "hardness is a function of" in said.stdout
        assert "its text was read, nothing of it ran" in said.stdout
    assert said.stdout.endswith(f"Run it with: invdesign run {folder / 'campaign.yaml'} --trust-code\n")
    assert not (folder / "imported").exists()


def test_a_campaign_travels_without_its_functions(folder: Path) -> None:
    """Its dump is plain JSON, and the same campaign again; where the file lies is no part of what it is."""
    campaign = loaded(folder)
    dump = json.loads(json.dumps(campaign.dump()))
    assert dump["code"] == []
    again = Campaign.from_dump(dump)
    assert (again, again.fingerprint) == (campaign, campaign.fingerprint)
    moved = folder / "moved"
    moved.mkdir()
    for name in ("campaign.yaml", "my_scores.py", "my_constants.py"):
        (moved / name).write_text((folder / name).read_text())
    assert campaign.changes(loaded(moved)) == []
    assert loaded(moved).fingerprint == campaign.fingerprint


def test_running_needs_trust(folder: Path) -> None:
    """The message names functions and file, and says what to type; nothing is made before."""
    path = folder / "campaign.yaml"
    said = here("run", path, "--run-dir", folder / "run")
    assert said.returncode == 3
    assert said.stderr.splitlines()[-1] == (
        f"the campaign calls 'hardness', 'plain' of {folder / 'my_scores.py'}, and to import a file is to run it. "
        f"If you trust the code, say so: invdesign run {path} --trust-code"
    )
    assert not (folder / "run").exists()
    assert not (folder / "imported").exists()


def test_a_run_is_read_without_trust(folder: Path) -> None:
    """Status, best candidates, one candidate and the report need no code; only going on does."""
    run = worked(folder, "run").folder
    (folder / "imported").unlink()
    for command in (["status", run], ["top", run], ["report", run, "--no-model"], ["show", run, 0]):
        assert here(*command).returncode == 0, command
    before = Run.open(run)
    failures = [failure.message for failure in before.history.failures_by_trial().values()]
    assert failures
    assert set(failures) == {"ValueError: no atoms (line 5 of hardness)"}
    said = here("resume", run, "--candidates", 30)
    assert (said.returncode, said.stderr.splitlines()[-1].partition("say so: ")[2]) == (
        3,
        f"invdesign resume {run} --trust-code",
    )
    assert not (folder / "imported").exists()
    assert go_on(run, 30).counts["asked"] == 30


def test_a_changed_module_is_noticed(folder: Path) -> None:
    """Comments may come and go; a change of the module, or of one it imports, ends the run before it works on."""
    campaign, run = folder / "campaign.yaml", worked(folder, "run").folder
    (folder / "my_scores.py").write_text(MODULE.replace("    x = cand", "    # of x\n    x = cand"))
    assert go_on(run, 26).state == "finished"
    (folder / "my_constants.py").write_text("SCALE = 3.0\n")
    for workers in (0, 1):
        said = here("resume", run, "--candidates", 28, "--trust-code", "--workers", workers)
        assert said.returncode == 2
        assert (
            f"the function 'hardness' of {folder / 'my_scores.py'} has changed since the run began"
            in said.stderr
        )
        assert "changed: my_constants.py. Undo the change, start a new run, or take" in said.stderr
    said = here("resume", run, "--campaign", campaign, "--trust-code")
    assert "stages[0].evaluator: my_constants.py changed" in said.stderr
    assert Run.open(run).status().state == "finished"
    (folder / "my_constants.py").write_text("SCALE = 2.0\n")
    assert go_on(run, 28).state == "finished"
    (folder / "my_scores.py").unlink()
    said = here("resume", run, "--candidates", 29, "--trust-code")
    assert "the module of the function 'hardness', my_scores, is no longer in" in said.stderr


def test_another_process_imports_it(folder: Path) -> None:
    """Workers import the module themselves, with those beside it: the numbers are the same."""
    assert worked(folder, "here").digest() == worked(folder, "there", workers=1).digest()


def mistakes(folder: Path, old: str, new: str, *, trust_code: bool = False) -> str:
    assert old in CAMPAIGN
    with pytest.raises(CampaignError) as caught:
        read_campaign(parse_yaml(CAMPAIGN.replace(old, new), "my.yaml"), folder, trust_code=trust_code)
    return "\n".join(str(caught.value).splitlines()[1:-1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("my_scores:hardness", "my_score:hardness", r"10: evaluate\[0\]\.my_score:hardness: there is no my_score\.py beside the campaign, in .*\. Did you mean 'my_scores'\?"),
        ("my_scores:hardness", "no.such:hardness", r"there is no no/such\.py beside the campaign"),
        ("my_scores:hardness", "my_scores:hardnes", r"10: .*my_scores\.py has no function 'hardnes'\. Did you mean 'hardness'\?"),
        ("{provides: {cost: EUR}, batch: 3}", "{batch: 3}", r"11: .*: 'plain' \(line 16 of my_scores\.py\) does not declare what it provides\. Decorate it with .*, or give it here: \{provides: \{plain: UNIT\}\}"),
        ("batch: 3", "batch: 0", r"11: evaluate\[1\]\.my_scores:plain\.batch: must be greater than or equal to 1, got 0|batch: input should be greater"),
        ("batch: 3", "bach: 3", r"11: evaluate\[1\]\.my_scores:plain\.bach: unknown key\. Did you mean 'batch'\?"),
        ("batch: 3", "source: {}", r"source: unknown key\. Allowed: batch, "),
        ("cost: EUR", "co st: EUR", r"a property is called like band_gap, got 'co st'"),
        ("gate: {hardness: {min: 0.1}}", "provides: {hardness: eV}", r"10: .*its decorator \(line 9 of my_scores\.py\) declares that it provides \{'hardness': 'GPa'\}: leave provides out here"),
        ("gate: {hardness: {min: 0.1}}", "requires: [volume]", r"hardness needs volume, which no earlier stage and no design provides"),
        ("gate: {hardness: {min: 0.1}}", "requires: [composition]", r"hardness needs a composition, and candidates of this space have only parameters"),
        ("my_scores:hardness", "my_scores:Plugin", r"'my_scores:Plugin' is code that is not installed as a plug-in, .* --trust-code"),
        ("my_scores:hardness", "function", r"expected \{path: 'module:function'\}"),
    ],
)  # fmt: skip
def test_mistakes(old: str, new: str, message: str, folder: Path) -> None:
    """Each is told with its line, what is allowed and the nearest name, without running anything."""
    found = mistakes(folder, old, new)
    assert re.search(message, found), found
    assert not (folder / "imported").exists()


def test_modules_that_cannot_be_read(folder: Path) -> None:
    """A module that is no Python, one called like another, and a decorator that computes what it says."""
    (folder / "statistics.py").write_text(MODULE)
    found = mistakes(folder, "my_scores:plain", "statistics:plain")
    assert "'statistics' is also the name of an installed module, which Python may take instead" in found
    (folder / "computed.py").write_text(MODULE.replace('{"hardness": "GPa"}', "dict(hardness='GPa')"))
    found = mistakes(folder, "my_scores:hardness", "computed:hardness")
    assert "the decorator (line 9 of computed.py) computes provides, and the module" in found
    (folder / "my_scores.py").write_text("def hardness(:\n")
    assert "my_scores.py, line 1 is not Python" in mistakes(folder, "cost: EUR", "cost: EUR ")


def test_the_long_form(folder: Path) -> None:
    """`function` with a path is the same; so is a name alone."""
    text = CAMPAIGN.replace("my_scores:plain: {", "function: {path: 'my_scores:plain', ").replace(
        "my_scores:hardness: {gate: {hardness: {min: 0.1}}, timeout: 20}", "my_scores:hardness"
    )
    campaign = read_campaign(parse_yaml(text), folder)
    assert [stage.name for stage in campaign.stages] == ["hardness", "plain"]
    assert functions(campaign) == functions(loaded(folder))
    from jsonschema import Draft202012Validator

    assert Draft202012Validator(build_campaign_schema()).is_valid(parse_yaml(text).value)


def test_killed_anywhere(folder: Path) -> None:
    """A run with functions from a file ends the same however often it is killed."""
    reference = worked(folder, "reference")
    data: dict[str, Any] = {**json.loads(json.dumps(parse_yaml(CAMPAIGN).value))}
    (folder / "killed").mkdir()
    for name in ("my_scores.py", "my_constants.py"):
        (folder / "killed" / name).write_text((folder / name).read_text())
    report = killed_at_statements(data, folder / "killed", most=150)
    assert report["deaths"] > 2
    assert report["digest"] == reference.digest()


def test_handing_in_what_a_module_holds(tmp_path: Path) -> None:
    """A function of a module that Python has at hand is trusted already; another of its name is refused."""
    data = parse_yaml(
        CAMPAIGN.replace("my_scores:plain: {provides: {cost: EUR}, batch: 3}", "sizes").replace(
            "cost", "width"
        )
    ).value
    assert isinstance(data, dict)
    data["evaluate"] = ["height", "sizes"]
    data["objectives"] = [{"maximize": "height"}, {"minimize": "width"}]
    from invdesign.campaign.document import Document

    made = {
        ("evaluate", 0, "height"): module.height.evaluator,
        ("evaluate", 1, "sizes"): module.sizes.evaluator,
    }
    campaign = read_campaign(Document(data), tmp_path, made=made)
    assert not campaign.trusted
    run = Run.create(campaign, tmp_path / "run")
    run.use_workers(0)
    run.execute()
    assert len(run.history) == 24
    with pytest.raises(RunError, match=r"calls 'height', 'sizes' of .*functions\.py"):
        Run.open(tmp_path / "run").execute()
    run = Run.open(tmp_path / "run", functions=[module.height, module.sizes])
    run.change(budget={"candidates": 30})
    run.use_workers(0)
    assert run.execute().counts["asked"] == 30
    other = module.height.evaluator.model_copy(update={"source": {"functions.py": "x"}})
    with pytest.raises(CampaignChangedError, match=r"changed: functions\.py"):
        Run.open(tmp_path / "run", functions=[other])


def test_the_manual_is_true(tmp_path: Path) -> None:
    """The module and the campaign shown on the page about campaign files run to their end."""
    (module_text,) = blocks("campaign.md", "python")
    (text,) = [text for text in blocks("campaign.md", "yaml") if "my_scores" in text]
    (tmp_path / "my_scores.py").write_text(module_text)
    (tmp_path / "electrolyte.yaml").write_text(text)
    said = here("run", "electrolyte.yaml", cwd=tmp_path)
    shown = (ROOT / "docs" / "campaign.md").read_text(encoding="utf-8")
    assert said.stderr.splitlines()[-1].replace(str(tmp_path), "/home/me") in shown
    run = Run.create(load_campaign(tmp_path / "electrolyte.yaml", trust_code=True), tmp_path / "run")
    run.use_workers(0)
    assert run.execute().counts["complete"] > 15
