"""A run that one process works on does what others ask of it, exactly, also where it is killed meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from invdesign.candidate import Status
from invdesign.errors import RunError
from invdesign.run.requests import waiting_requests, write_request
from invdesign.run.run import Run
from invdesign.run.steering import leave_or_apply
from invdesign.run.told import Told
from invdesign.sheets.additions import CandidatesError, read_candidates
from tests.run.test_kill import tasks_done
from tests.support import (
    PATIENCE,
    ROOT,
    campaign,
    cli,
    finished,
    funnel,
    here,
    scripted,
    started,
    wait_until,
    written,
)

TRUST = ("--trust-code", "--wait", 120)
GENOMES: list[Any] = [
    {"x": 0.1, "y": 0.9, "n": 1},
    {"x": 0.5, "y": 0.25, "n": 0},
    {"x": 0.7, "y": 0.7, "n": 1},
]
NEVER_DONE = 100_000


@pytest.fixture
def live(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works on `tmp_path / "run"`, which has a budget it will never reach."""
    path = written(funnel(NEVER_DONE, delay=0.05, population=6), tmp_path / "campaign.yaml")
    process = started("run", path, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 1)
    try:
        assert wait_until(lambda: tasks_done(tmp_path / "run") >= 8 or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def test_a_live_run_is_steered(live: subprocess.Popen[str], tmp_path: Path) -> None:
    """Candidates are added, known ones withdrawn, the budget changed, the run stopped, each by another process."""
    folder = tmp_path / "run"
    file = tmp_path / "more.json"
    file.write_text(json.dumps(GENOMES), encoding="utf-8")
    added = cli("add", folder, file, *TRUST)
    assert added.returncode == 0, added.stderr
    assert "Added 3 candidates: " in added.stdout
    assert "3 candidates known already" in here("add", folder, file, *TRUST).stdout

    first, second = added.stdout.split(": ")[1].split(", ")[:2]
    again = here("withdraw", folder, first, "--reason", "wrong cell", "--again", *TRUST)
    assert f"Withdrawn: 1 candidate ({first}); it will be evaluated anew." in again.stdout
    whole = here("withdraw", folder, second, "--reason", "wrong cell", *TRUST)
    assert "it counts no more" in whole.stdout
    refused = here("withdraw", folder, "--measurement", 77, "--reason", "wrong cell", *TRUST)
    assert refused.returncode == 3
    assert "there is no measurement 77" in refused.stderr
    assert len(list((folder / "requests" / "refused").iterdir())) == 1

    forked = here("fork", folder, tmp_path / "fork", "--top", 2, "--trust-code")
    assert "evaluated first: 2 candidates" in forked.stdout
    Run.open(tmp_path / "fork", trust_code=True).close()

    said = here("budget", folder, "--candidates", NEVER_DONE - 1, *TRUST).stdout
    assert f"Budget: {NEVER_DONE - 1} candidates" in said
    assert live.poll() is None
    stopped = here("stop", folder, "--wait", 120)
    assert "Stopped; everything finished is kept." in stopped.stdout
    assert live.wait(PATIENCE) == 130
    assert not waiting_requests(folder)
    assert "No process works on" in here("stop", folder).stdout

    run = Run.open(folder, trust_code=True)
    assert run.trial(int(second)).status is Status.WITHDRAWN
    assert run.status().state == "stopped"
    done = len(run.history)
    run.close()
    lower = here("budget", folder, "--candidates", 5, "--trust-code").stdout
    assert f"{done} candidates were asked already: those under way are seen through, and no more" in lower
    here("budget", folder, "--candidates", done + 6, "--trust-code")
    run = Run.open(folder, trust_code=True)
    run.use_workers(0)
    assert run.execute().state == "finished"
    assert len(run.history) == done + 6
    assert run.trial(int(first)).status is not Status.WITHDRAWN


def _leave_all(folder: Path) -> None:
    """What users want of the run, left before it begins: under the same names in every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"genome": {"x": 0.3, "y": 0.3, "n": 0}, "properties": {"height": 0.5}, "stage": "Height"}
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("add", {"genomes": GENOMES, "until": None}),
        ("withdraw", {"ids": [0], "reason": "wrong cell", "again": True}),
        ("tell", {"results": [told], "replace": False}),
        ("withdraw", {"ids": [1], "reason": "wrong cell", "again": False}),
        ("withdraw", {"ids": [99], "reason": "nobody"}),
        ("budget", {"candidates": 26}),
        (
            "add",
            {"genomes": [{"x": 0.2, "y": 0.2, "n": 0}, {"x": 0.7, "y": 0.2, "n": 0}], "until": "Crystal"},
        ),
    ]
    for number, (kind, detail) in enumerate(wanted):
        write_request(folder, kind, detail, id=f"{number:020d}-wanted")


@pytest.mark.parametrize("overlapping", [False, True])
def test_requests_survive_kills(overlapping: bool, tmp_path: Path) -> None:
    """Killed at any statement, also between the commit of a request and its removal, none is lost or done twice."""
    changes = (
        {"optimizer": {"kind": "tests.plugins.steps:OverlappingSearch", "batch": 3}} if overlapping else {}
    )
    data = funnel(40, **changes)
    path = written(data, tmp_path / "campaign.yaml")
    _leave_all(tmp_path / "killed")
    report = scripted("tests.plugins.killing", path, tmp_path / "killed", 5, 100)
    assert report["deaths"] > 10

    _leave_all(tmp_path / "whole")
    whole = finished(data, tmp_path / "whole")
    assert len(whole.history) == 26
    assert whole.trial(1).status is Status.WITHDRAWN
    assert [m.properties["height"] for m in whole.measurements()] == [0.5]
    assert report["digest"] == whole.digest()
    for name in ("killed", "whole"):
        assert not waiting_requests(tmp_path / name)
        assert [path.name[:20] for path in (tmp_path / name / "requests" / "refused").iterdir()] == [
            f"{4:020d}"
        ]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that is looked at and given requests that are refused, or wait."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    finished(funnel(12, population=6), folder).close()
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["withdraw", "RUN", 1], 2, "give a --reason"),
        (["withdraw", "RUN", "--reason", "a"], 2, "say which"),
        (["withdraw", "RUN", 99, "--reason", "a"], 3, "there is no candidate 99; this run has 12"),
        (["withdraw", "RUN", 1, "--measurement", 4, "--reason", "a"], 3, "there is no measurement 4"),
        (["budget", "RUN"], 2, "say which limit"),
        (["budget", "RUN", "--candidates", 0], 2, "--candidates"),
        (["add", "RUN", "nowhere.csv"], 2, "there is no such file"),
        (["add", "RUN", "nowhere.csv", "--until", "Hight"], 2, "there is no stage 'Hight'"),
        (["stop", "RUN"], 0, "No process works on"),
        (["stop", "NOWHERE"], 3, "holds no run"),
        (["add", "NOWHERE", "nowhere.csv"], 3, "holds no run"),
        (["budget", "NOWHERE", "--candidates", 4], 3, "holds no run"),
    ],
)
def test_mistakes_of_a_command(arguments: list[Any], code: int, says: str, run_folder: Path) -> None:
    """Each is a sentence and an exit code, and leaves nothing behind."""
    names = {"RUN": run_folder, "NOWHERE": run_folder / "nowhere"}
    trust = [] if arguments[0] == "stop" else ["--trust-code"]
    done = here(*[names.get(str(argument), argument) for argument in arguments], *trust)
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert (done.returncode, says in said) == (code, True), said
    assert not waiting_requests(run_folder)


def test_a_run_nobody_works_on_is_steered_too(tmp_path: Path) -> None:
    """What needs no evaluation is done at once; the rest comes first when the run goes on."""
    folder = tmp_path / "run"
    finished(funnel(12, population=6), folder).close()
    file = tmp_path / "more.csv"
    file.write_text('genome,note\n"{""x"": 0.5, ""y"": 0.25, ""n"": 1}",mine\n', encoding="utf-8")
    assert "taken up first when the run goes on" in here("add", folder, file, "--trust-code").stdout
    assert "it counts no more" in here("withdraw", folder, 0, "--reason", "a", "--trust-code").stdout
    outcome = leave_or_apply(folder, "withdraw", {"ids": [1], "reason": "a"}, trust_code=True)
    assert outcome.state == "applied"
    with pytest.raises(RunError, match=r"infeasible|withdrawn: there is nothing to take back"):
        leave_or_apply(folder, "withdraw", {"ids": [1], "reason": "a"}, trust_code=True)
    assert len(waiting_requests(folder)) == 1
    assert (
        "12 candidates were asked already"
        in here("budget", folder, "--candidates", 12, "--trust-code").stdout
    )
    run = Run.open(folder, trust_code=True)
    run.use_workers(0)
    run.execute()
    assert [run.trial(id).status for id in (0, 1)] == [Status.WITHDRAWN] * 2
    assert (len(run.history), run.trial(12).genome) == (13, {"n": 1, "x": 0.5, "y": 0.25})
    assert not waiting_requests(folder)


def test_a_stop_nobody_saw_is_forgotten(tmp_path: Path) -> None:
    """One left for a process that was killed before it looked does not stop the next one."""
    run = Run.create(campaign(funnel(8, population=4)), tmp_path / "run")
    write_request(run.folder, "stop", {})
    run.use_workers(0)
    assert run.execute().state == "finished"
    assert not waiting_requests(run.folder)


def test_what_needs_no_evaluation_is_withdrawn_at_once(tmp_path: Path) -> None:
    """A measurement to be made again is waited for at once; only evaluations wait until the run goes on."""
    outside = {"evaluate": ["tests.plugins.steps:Outside"], "objectives": [{"maximize": "strength"}]}
    data = funnel(30, **outside, constraints=[], optimizer="random", engine={"kind": "local", "workers": 0})
    run = Run.create(campaign(data), tmp_path / "run")
    ids = [id for id in run.ask(8) if run.trial(id).status is Status.PENDING][:2]
    run.tell([Told(id, properties={"strength": 1.0}) for id in ids])
    run.close()
    said = here("withdraw", run.folder, ids[0], "--reason", "a", "--again", "--trust-code").stdout
    assert "it will be measured again" in said
    file = tmp_path / "more.json"
    file.write_text(json.dumps(GENOMES[:1]), encoding="utf-8")
    assert "when the run goes on" in here("add", run.folder, file, "--trust-code").stdout
    run = Run.open(run.folder, trust_code=True)
    waited = run.ask(20)
    assert ids[0] in waited
    assert GENOMES[0] in [run.trial(id).genome for id in waited]


# Candidates in files.

PARAMETERS = {
    "kind": "parameters",
    "parameters": {"x": {"real": [0.0, 1.0]}, "n": {"integer": [0, 3]}, "c": {"categorical": ["a", "b"]}},
}


def _table(text: str, folder: Path, name: str = "more.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_candidates_in_tables_and_lists(tmp_path: Path) -> None:
    """Columns of parameters, genomes as JSON, 1 for 1.0: one candidate once, however it is written."""
    known = campaign(funnel(space=PARAMETERS))
    columns = _table("x,n,c,note\n1,2,a,mine\n0.25,0,b,\n", tmp_path)
    listed = _table(
        '[{"x": 1, "n": 2, "c": "a"}, {"genome": {"x": 0.5, "n": 1, "c": "b"}}]', tmp_path, "more.json"
    )
    found = read_candidates([columns, listed], known)
    assert found == [
        {"c": "a", "n": 2, "x": 1.0},
        {"c": "b", "n": 0, "x": 0.25},
        {"c": "b", "n": 1, "x": 0.5},
    ]


def test_all_mistakes_in_files_at_once(tmp_path: Path) -> None:
    """Every row and entry that is none of the space is named with its line, and nothing is added."""
    known = campaign(funnel(space=PARAMETERS))
    files = [
        _table("x,n,c\n2,0,a\n0.5,0,a\n0.5,0,z\n", tmp_path, "a.csv"),
        _table("x,n,height\n0.5,0,1\n", tmp_path, "b.csv"),
        _table("name\nfirst\n", tmp_path, "c.csv"),
        _table('[{"x": 0.5}, 3]', tmp_path, "d.json"),
        _table('[{"x": 0.5}, {"y": 1}]', tmp_path, "e.json"),
        _table("{", tmp_path, "f.json"),
        _table("NaCl", tmp_path, "POSCAR"),
        tmp_path / "g.csv",
    ]
    with pytest.raises(CandidatesError) as error:
        read_candidates(files, known)
    said = str(error.value)
    for part in (
        "a.csv:2: row: parameter 'x' must be a number in [0, 1], got 2",
        "a.csv:4: row: parameter 'c' must be",
        "b.csv:1: height: this is a result; candidates with their results are taken by invdesign tell",
        "c.csv:1: name: no column of this run's files is called so",
        "d.json: file: expected a list of genomes",
        "e.json: entry 1: the genome lacks the parameter",
        "e.json: entry 2: the genome lacks the parameter",
        "f.json: file: this is no JSON",
        "POSCAR: file: candidates of this run are no structures",
        "g.csv: file: there is no such file",
        "Nothing was added.",
    ):
        assert part in said
    assert "a.csv:3" not in said


def test_candidates_in_structure_files(tmp_path: Path) -> None:
    """A CIF, a POSCAR and pymatgen's JSON of a decoration are that decoration, once; another structure is refused."""
    from invdesign.campaign.load import load_campaign

    known = load_campaign(ROOT / "campaigns" / "antiperovskite_electrolyte.yaml")
    (operator,) = [found for found in known.space.operators().values() if found.arity == 0][:1]
    import numpy as np

    genome = operator.apply((), np.random.default_rng(3))
    assert genome is not None
    structure = known.space.build(genome).structures["initial"]
    files = [tmp_path / name for name in ("a.cif", "POSCAR", "a.json")]
    for file, fmt in zip(files, ("cif", "poscar", "json"), strict=True):
        file.write_text(structure.to(fmt=fmt), encoding="utf-8")
    (found,) = read_candidates(files, known)
    assert found == known.space.canonical(genome)  # type: ignore[attr-defined]  # a substitution space has it
    structure.replace_species({structure[0].species_string.rstrip("+-0123456789"): "U"})
    other = _table(structure.to(fmt="cif"), tmp_path, "other.cif")
    with pytest.raises(CandidatesError, match=r"not one of this run's search space|unknown"):
        read_candidates([other], known)
