"""The command line is a contract that scripts rely on: spellings, JSON, exit codes, and messages without stack traces."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from invdesign.cli.starter import SHIPPED_ELEMENTS, SHIPPED_SET
from invdesign.run.run import Run
from surrogates.stability.reference import load_shipped_set
from tests.support import cli, command, environment, funnel, here, toy, written


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign file and a finished run of it, made by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "toy.yaml").write_text(toy(20), encoding="utf-8")
    done = cli("run", "toy.yaml", "--run-dir", "one", "--workers", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"Finished: budget reached. Report: {Path('one') / 'report.html'}" in done.stdout
    assert "Best candidates: invdesign top one" in done.stdout
    assert "toy: 20/20 candidates; f1 " in done.stderr  # plain lines where there is no terminal
    return folder


def test_validate(folder: Path) -> None:
    """A valid file is described, with what to type next; a program gets it as JSON."""
    done = here("validate", "toy.yaml", cwd=folder)
    assert done.returncode == 0
    assert "stages: build -> landscape" in done.stdout
    assert done.stdout.endswith("toy.yaml is valid. Run it with: invdesign run toy.yaml\n")
    facts = json.loads(here("validate", "toy.yaml", "--json", cwd=folder).stdout)
    assert facts["valid"] is True
    assert facts["campaign"]["budget"]["candidates"] == 20


def test_validate_counts_a_finite_space(tmp_path: Path) -> None:
    """The size of a countable space is printed, and a budget larger than it is remarked, also by `run`."""
    text = (
        toy(20)
        .replace("x: {real: [0, 1]}", "x: {integer: [0, 2]}")
        .replace("y: {real: [0, 1]}", "y: {integer: [0, 1]}")
    )
    (tmp_path / "small.yaml").write_text(
        text.replace("zdt2", "sphere").replace("f1", "height").replace("  - minimize: f2\n", "")
    )
    done = here("validate", "small.yaml", cwd=tmp_path)
    assert "6 distinct candidates" in done.stdout
    assert "The budget of 20 candidates is larger than the space of 6" in done.stdout
    done = here("run", "small.yaml", "--run-dir", "r", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0
    assert "larger than the space of 6" in done.stderr
    assert "Finished: space exhausted" in done.stdout


def test_mistakes(tmp_path: Path) -> None:
    """Exit code 2, every mistake with its line, and the command to type again."""
    (tmp_path / "bad.yaml").write_text(toy().replace("seed:", "sead:").replace("zdt2", "zdt9"))
    for subcommand in ("validate", "run"):
        done = here(subcommand, "bad.yaml", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[:2] == [
            "bad.yaml: 2 mistakes",
            "  bad.yaml:3: sead: unknown key. Did you mean 'seed'?",
        ]
        assert done.stderr.splitlines()[-1] == "Then check it again with: invdesign validate bad.yaml"
    assert not (tmp_path / "runs").exists()


def test_a_missing_campaign(folder: Path) -> None:
    """The files that are there are named."""
    done = here("run", "tyo.yaml", cwd=folder)
    assert done.returncode == 2
    assert "there is no such file. In .: toy.yaml." in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["run"], ["run", "toy.yaml", "--wrokers", "2"], ["run", "toy.yaml", "--workers", "-1"], ["top", "one", "-n", "0"], ["export", "one", "--format", "pdf", "-o", "x"], ["show", "one", "first"]],
)  # fmt: skip
def test_wrong_commands(arguments: list[str], folder: Path) -> None:
    """A typo in the command itself is exit code 2."""
    done = here(*arguments, cwd=folder)
    assert done.returncode == 2
    assert "--help" in done.stderr


def test_status(folder: Path) -> None:
    """Where a run stands, for a person and for a program."""
    done = here("status", "one", cwd=folder)
    assert done.returncode == 0
    assert "finished (budget reached)" in done.stdout
    assert "20 asked, 20 complete, 0 gated, 0 not built, 0 failed; budget 20 candidates" in done.stdout
    status = json.loads(here("status", "one", "--json", cwd=folder).stdout)
    assert status["state"] == "finished"
    assert status["counts"] == {
        "asked": 20,
        "pending": 0,
        "complete": 20,
        "gated": 0,
        "infeasible": 0,
        "failed": 0,
        "withdrawn": 0,
    }
    assert [stage["name"] for stage in status["stages"]] == ["build", "landscape"]
    assert {
        "name",
        "reason",
        "budget",
        "best",
        "front_size",
        "failures",
        "elapsed",
        "candidates_per_hour",
        "time_left",
    } < status.keys()


def test_top(folder: Path) -> None:
    """The best candidates as a table, and as JSON with everything a program needs."""
    done = here("top", "one", "-n", 3, cwd=folder)
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["rank", "candidate", "formula"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert here("top", "one", "--top", 3, cwd=folder).stdout == done.stdout
    rows = json.loads(here("top", "one", "--json", cwd=folder).stdout)
    assert len(rows) == 10
    assert rows[0].keys() >= {
        "rank",
        "candidate",
        "formula",
        "properties",
        "noise",
        "genome",
        "parents",
        "operator",
        "on_front",
    }


def test_recommend(folder: Path) -> None:
    """The front with intervals, the models' calibration and what matters; a program gets the same as JSON."""
    done = here("recommend", "one", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith("The front (minimize f1, minimize f2); in brackets")
    assert "Models, each candidate predicted from all others:" in done.stdout
    assert "What matters to f1 (share of the variance lost with it):\n  x  ####" in done.stdout
    found = json.loads(here("recommend", "one", "--json", "--properties", "f2", cwd=folder).stdout)
    assert [item["property"] for item in found["calibration"]] == ["f2"]
    assert found["best"] is None
    assert len(found["front"]) == found["front_size"]


def test_recommend_of_an_unknown_property(folder: Path) -> None:
    """A mistake in the command names what there is."""
    done = here("recommend", "one", "--properties", "f1,f3", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("the run has no property 'f3'. It has f1, f2.")


def test_show(folder: Path) -> None:
    """One candidate in full; a number there is not names those there are."""
    done = here("show", "one", 3, cwd=folder)
    assert done.stdout.startswith("candidate 3: ")
    assert "genome: {'x': " in done.stdout
    assert json.loads(here("show", "one", 3, "--json", cwd=folder).stdout)["candidate"] == 3
    done = here("show", "one", 99, cwd=folder)
    assert done.returncode == 3
    assert "there is no candidate 99; this run has 20 (0 to 19)" in done.stderr


def test_export(folder: Path) -> None:
    """The contract's spelling writes the file it names; a place that cannot be written is a message."""
    done = here("export", "one", "--format", "csv", "--output", "all.csv", cwd=folder)
    assert done.returncode == 0
    assert done.stdout == "Wrote 20 candidates to all.csv\n"
    assert len((folder / "all.csv").read_text().splitlines()) == 21
    done = here("export", "one", "--format", "csv", "--output", "toy.yaml/all.csv", cwd=folder)
    assert done.returncode != 0
    assert "toy.yaml" in done.stderr


def test_report(folder: Path) -> None:
    """The contract's spelling writes one HTML file."""
    done = here("report", "one", "--output", "r.html", cwd=folder)
    assert done.returncode == 0
    assert done.stdout == "r.html\n"
    assert (folder / "r.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_resume(folder: Path) -> None:
    """A finished run is finished; with a larger budget it goes on, by an option or by the campaign file."""
    done = here("resume", "one", cwd=folder)
    assert done.returncode == 0
    assert "Finished: budget reached" in done.stdout
    assert here("resume", "one", "--candidates", 30, "--workers", 0, cwd=folder).returncode == 0
    (folder / "more.yaml").write_text(toy(40))
    assert here("resume", "one", "--campaign", "more.yaml", "--workers", 0, cwd=folder).returncode == 0
    assert Run.open(folder / "one").status().counts["asked"] == 40
    (folder / "other.yaml").write_text(toy(40).replace("seed: 1", "seed: 2"))
    done = here("resume", "one", "--campaign", "other.yaml", cwd=folder)
    assert done.returncode == 2
    assert "the campaign was changed since one was started:\n  seed: 1 -> 2\n" in done.stderr


def test_run_again(folder: Path) -> None:
    """A folder with a run in it is not started anew: exit code 3 and what to type."""
    done = here("run", "toy.yaml", "--run-dir", "one", cwd=folder)
    assert done.returncode == 3
    assert "one holds a run already. Go on with it: invdesign resume one" in done.stderr


@pytest.mark.parametrize("subcommand", ["resume", "status", "top", "report"])
def test_no_run(subcommand: str, tmp_path: Path) -> None:
    """A folder without a run is exit code 3."""
    done = here(subcommand, "nowhere", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere holds no run (run.sqlite is missing)" in done.stderr


def test_trust(tmp_path: Path) -> None:
    """Code beside a campaign runs only with --trust-code, for every command that would import it."""
    path = written(funnel(12), tmp_path / "c.yaml")
    done = here("run", path, "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "If you trust it, say so with --trust-code." in done.stderr
    assert here("run", path, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0).returncode == 0
    for arguments in (
        ["resume"],
        ["status", "--json"],
        ["top"],
        ["show", "0"],
        ["report"],
        ["export", "--format", "csv", "-o", "x.csv"],
    ):
        done = here(arguments[0], tmp_path / "run", *arguments[1:])
        assert done.returncode == 3
        assert "importing it runs it. If you trust it, say so with --trust-code." in done.stderr
    assert here("status", tmp_path / "run", "--trust-code").returncode == 0


def test_init(tmp_path: Path) -> None:
    """The file it writes is valid, names its schema, and is not overwritten unasked."""
    done = here("init", "mine.yaml", "--parent", "rocksalt", cwd=tmp_path)
    assert "charge_neutrality: {metallic: allow}" in (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert done.returncode == 0
    assert done.stdout == "Wrote mine.yaml. Check it with: invdesign validate mine.yaml\n"
    assert here("validate", "mine.yaml", cwd=tmp_path).returncode == 0
    again = here("init", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 3
    assert "mine.yaml exists already; choose another name or say --force" in again.stderr
    wrong = here("init", "other.yaml", "--parent", "rocksalz", cwd=tmp_path)
    assert wrong.returncode != 0
    assert "Did you mean 'rocksalt'?" in wrong.stderr
    assert not (tmp_path / "other.yaml").exists()
    assert "No such file or directory" in here("init", "no/such/folder.yaml", cwd=tmp_path).stderr


def test_init_ranks_stability_where_it_can(tmp_path: Path) -> None:
    """Against the shipped reference set where it has all elements; else the file says what is needed, and ranks none."""
    assert load_shipped_set(SHIPPED_SET).elements == SHIPPED_ELEMENTS
    for parent, ranks in (("antiperovskite", True), ("olivine", False)):
        done = here("init", f"{parent}.yaml", "--parent", parent, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / f"{parent}.yaml").read_text(encoding="utf-8")
        assert ("\n  - minimize: decomposition_energy" in text) == ranks
        assert "minimize: energy_per_atom" not in text
        assert here("validate", f"{parent}.yaml", cwd=tmp_path).returncode == 0


def test_schema(tmp_path: Path) -> None:
    """Printed or written, it is a JSON Schema that accepts a valid campaign."""
    printed = here("schema")
    assert printed.returncode == 0
    schema = json.loads(printed.stdout)
    Draft202012Validator.check_schema(schema)
    done = here("schema", "--output", "s.json", cwd=tmp_path)
    assert "# yaml-language-server: $schema=s.json" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text()) == schema
    assert here("schema", "--output", "no/s.json", cwd=tmp_path).returncode == 1


def test_doctor(tmp_path: Path) -> None:
    """Every finding has a subject, a verdict and a message; here there is no problem."""
    done = here("doctor", "--json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert {finding["verdict"] for finding in findings} <= {"fine", "note", "problem"}
    subjects = {finding["subject"] for finding in findings}
    assert {
        "Python",
        "numpy",
        "torch",
        "SQLite",
        "cores",
        "memory",
        "disk",
        "locks",
        "optimizers",
    } <= subjects
    problems = [finding for finding in findings if finding["verdict"] == "problem"]
    assert done.returncode == (1 if problems else 0), problems
    assert problems == []


def test_version_and_help() -> None:
    """Both answer, and the exit codes are documented where one looks for them."""
    assert cli("--version").stdout.startswith("invdesign 0.")
    text = " ".join(cli("--help").stdout.split())
    assert (
        "Exit codes: 0 done; 1 error; 2 mistake in a command or campaign; 3 run or store cannot be used"
        in text
    )
    for name in (
        "init",
        "validate",
        "run",
        "resume",
        "status",
        "top",
        "show",
        "export",
        "report",
        "reference",
        "schema",
        "doctor",
    ):
        assert name in text
    assert cli().returncode == 2


def test_the_installed_command() -> None:
    """`invdesign` and `python -m invdesign` are the same."""
    script = Path(command()[0]).parent / "invdesign"
    done = subprocess.run(
        [script, "--version"], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == cli("--version").stdout


def in_shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A line of a shell, run in a folder."""
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, cwd=cwd, env=environment(), check=False
    )


@pytest.mark.parametrize(
    "arguments", [("top", "one"), ("--help",), ("doctor", "one"), ("validate", "toy.yaml")]
)
def test_no_output(folder: Path, arguments: tuple[str, ...]) -> None:
    """Without a standard output a command does its work; where the output cannot be written, it says so."""
    words = shlex.join(command(*arguments))
    for ending, code in ((">&-", 0), (">&- 2>&-", 0), ("> /dev/full", 1)):
        done = in_shell(f"{words} {ending}", folder)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert done.returncode == code, (ending, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names that are text")
@pytest.mark.parametrize("name", [b"old\xff", b"file:a?mode=memory&%41#"])
def test_names_of_folders(folder: Path, tmp_path: Path, name: bytes) -> None:
    """A folder is worked on whatever its name, also where that is no text, or could be an address of SQLite's."""
    run = Path(os.fsdecode(name))
    shutil.copytree(folder / "one", tmp_path / run)
    for arguments in (
        ("status", run, "--json"),
        ("report", run, "--no-model", "-o", tmp_path / "report.html"),
        ("fork", run, f"{run}.fork", "--candidates", 64),
        ("resume", f"{run}.fork", "--workers", 0),
        ("doctor", f"{run}.fork"),
    ):
        done = here(*arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {run.name, f"{run.name}.fork", "report.html"}


@pytest.mark.parametrize("arguments", [("export", "--format", "csv"), ("report", "--no-model")])
def test_output_to_what_is_no_file(folder: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A pipe or device named as output (`-o /dev/null`) stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name, *rest = arguments
    done = here(name, folder / "one", *rest, "-o", pipe)
    assert done.returncode == 1
    assert "it is a pipe, a device or a folder" in done.stderr
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_working_folder_that_is_gone(folder: Path, tmp_path: Path) -> None:
    """A run is looked at from anywhere; what needs the working folder says what is wrong with it."""
    gone = tmp_path / "gone"
    for words, code in ((command("top", folder / "one"), 0), (command("doctor"), 1)):
        gone.mkdir()
        done = in_shell(f"rmdir {shlex.quote(str(gone))}; {shlex.join(words)}", gone)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
    assert "the working folder was deleted" in done.stderr


def test_a_closed_pipe(folder: Path) -> None:
    """`invdesign top DIR | head -1` is no mistake."""
    shell = f"{' '.join(command('top', 'one', '-n', 1000))} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=folder, env=environment(), check=False
    )
    assert done.stdout.startswith("rank")
    assert done.stderr == ""
    assert done.returncode == 0
