"""Ctrl-C, a scheduler's SIGTERM, a full disk, a second process: each is a message and a resumable run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from invdesign.campaign.load import load_campaign
from invdesign.run.run import Run
from tests.run.test_kill import tasks_done
from tests.support import (
    FAULTS,
    PATIENCE,
    ROOT,
    STEPS,
    alive,
    children,
    cli,
    command,
    environment,
    finished,
    funnel,
    mounted_disk,
    started,
    wait_until,
    written,
)

INTERRUPTED = 130


SLOW = funnel(24, delay=0.04)  # a second or two of work


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that can be interrupted."""
    return written(SLOW, tmp_path_factory.mktemp("campaign") / "campaign.yaml")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of its run, never interrupted."""
    return finished(SLOW, tmp_path_factory.mktemp("reference") / "run").digest()


def resumed(folder: Path) -> str:
    """Digest of the run after it was resumed to its end."""
    run = Run.open(folder, trust_code=True)
    run.use_workers(0)
    assert run.execute().state == "finished"
    digest = run.digest()
    run.close()
    return digest


def running(campaign: Path, folder: Path, workers: int = 2, tasks: int = 3) -> subprocess.Popen[str]:
    """The campaign under way, with some tasks done."""
    process = started("run", campaign, "--run-dir", folder, "--trust-code", "--workers", workers)
    assert wait_until(lambda: tasks_done(folder) >= tasks or process.poll() is not None)
    assert process.poll() is None
    return process


def ended(process: subprocess.Popen[str], seconds: float = PATIENCE) -> str:
    """What the process said; it must end in time, without a stack trace, and leave no process behind."""
    workers = children(process.pid)
    output, errors = process.communicate(timeout=seconds)
    assert "Traceback" not in output + errors, errors
    assert wait_until(lambda: not alive(workers))
    return output + errors


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 0)])
def test_one_signal_stops(number: int, workers: int, campaign: Path, reference: str, tmp_path: Path) -> None:
    """Exit code 130, what to type next, no worker left; the resumed run ends as if nothing had been."""
    process = running(campaign, tmp_path / "run", workers)
    process.send_signal(number)
    said = ended(process)
    assert process.returncode == INTERRUPTED
    assert f"Stopped; everything finished is kept. Go on with: invdesign resume {tmp_path / 'run'}" in said
    assert Run.open(tmp_path / "run", trust_code=True).status().state == "stopped"
    assert resumed(tmp_path / "run") == reference


def test_a_signal_to_the_whole_group(campaign: Path, reference: str, tmp_path: Path) -> None:
    """A scheduler's SIGTERM kills the workers too: no candidate is blamed for it."""
    process = running(campaign, tmp_path / "run")
    os.killpg(process.pid, signal.SIGTERM)
    ended(process)
    assert process.returncode == INTERRUPTED
    assert Run.open(tmp_path / "run", trust_code=True).status().failures.get("Crystal: crash") is None
    assert resumed(tmp_path / "run") == reference


def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    """While the first one waits for an evaluation in this process, the second does not; the run goes on later."""
    begun = tmp_path / "begun"
    data = funnel(12, population=4)
    data["evaluate"][0] = {f"{STEPS}:Height": {"delay": 2 * PATIENCE, "mark": str(begun)}}
    path = written(data, tmp_path / "campaign.yaml")
    process = started("run", path, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0)
    assert wait_until(begun.exists)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None  # it lets the evaluation end
    process.send_signal(signal.SIGINT)
    ended(process)
    assert process.returncode == INTERRUPTED
    assert Run.open(tmp_path / "run", trust_code=True).status().state == "interrupted"


def test_two_interrupts_with_workers(campaign: Path, reference: str, tmp_path: Path) -> None:
    """Two at once leave no worker and a run that goes on to the same end."""
    process = running(campaign, tmp_path / "run")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    ended(process)
    assert process.returncode == INTERRUPTED
    assert resumed(tmp_path / "run") == reference


def test_an_interrupt_while_workers_start(campaign: Path, tmp_path: Path) -> None:
    """Ctrl-C, which a terminal sends to the workers too, prints no stack trace while they import their libraries."""
    process = started("run", campaign, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 2)
    assert wait_until(lambda: len(children(process.pid)) > 2)  # and the resource tracker
    os.killpg(process.pid, signal.SIGINT)
    said = ended(process)
    assert process.returncode == INTERRUPTED
    assert "KeyboardInterrupt" not in said
    assert said.count("Stopped;") == 1


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="which libraries are loaded is read from /proc"
)
@pytest.mark.parametrize("library", ["_pydantic_core", "_multiarray_umath", "_sqlite3"])
def test_an_interrupt_while_we_start(library: str, campaign: Path, tmp_path: Path) -> None:
    """Ctrl-C before there is a run ends the command at once, without a stack trace."""
    process = started("run", campaign, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0)
    assert wait_until(lambda: library in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(signal.SIGINT)
    said = ended(process)
    # Python itself may end by the signal, where it came amidst an `exec`: a shell calls that 130 as well.
    assert process.returncode in {INTERRUPTED, -signal.SIGINT}, said


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    """Exit code 4, naming host and process; looking on is possible, and the first is not disturbed."""
    campaign = written(funnel(60, delay=0.6), tmp_path / "campaign.yaml")
    process = running(campaign, tmp_path / "run", workers=0, tasks=1)
    second = cli("resume", tmp_path / "run", "--trust-code")
    assert second.returncode == 4
    assert f"is in use by process {process.pid} on {socket.gethostname()}" in second.stderr
    assert "invdesign status" in second.stderr
    looked = cli("status", tmp_path / "run", "--trust-code", "--json")
    assert '"state": "running"' in looked.stdout
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    ended(process)
    assert process.returncode == INTERRUPTED


# A full disk.


def limited(limit: int) -> list[str]:
    """A command line that may write no file larger than that: what a full disk does to a database."""
    code = (
        "import resource, sys; from invdesign.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); main()"
    )
    return [command()[0], "-c", code]


def run_limited(limit: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*limited(limit), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_no_room_to_write(campaign: Path, reference: str, tmp_path: Path) -> None:
    """Where the store cannot grow the run stops and says so, everything finished is kept, and room lets it go on."""
    arguments = ["--trust-code", "--workers", 0]
    done = run_limited(150_000, "run", campaign, "--run-dir", tmp_path / "run", *arguments)
    assert done.returncode == 3
    assert "run.sqlite cannot be written: " in done.stderr
    assert f"make room, then: invdesign resume {tmp_path / 'run'}" in done.stderr
    before = tasks_done(tmp_path / "run")
    assert before > 0
    again = run_limited(150_000, "resume", tmp_path / "run", *arguments)
    assert again.returncode == 3
    assert tasks_done(tmp_path / "run") >= before
    assert resumed(tmp_path / "run") == reference


@pytest.mark.parametrize("limit", [0, 30_000])
def test_no_room_to_begin(limit: int, campaign: Path, tmp_path: Path) -> None:
    """A run that cannot even be made says so and leaves nothing that would be in the way."""
    done = run_limited(limit, "run", campaign, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0)
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    Run.create(load_campaign(campaign, trust_code=True), tmp_path / "run").close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of two megabytes, where this user may make one."""
    with mounted_disk(2048) as disk:
        yield disk(2048)


def test_a_full_disk(small_disk: Path, reference: str, tmp_path: Path) -> None:
    """The same on a disk that is really full: all that was finished is there when room was made."""
    campaign = written(SLOW, tmp_path / "campaign.yaml")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2**21 - 300_000))
    arguments = ["--trust-code", "--workers", 0]
    done = cli("run", campaign, "--run-dir", small_disk / "run", *arguments)
    assert done.returncode == 3
    assert "disk is full" in done.stderr or "disk I/O error" in done.stderr, done.stderr
    before = tasks_done(small_disk / "run")
    assert before > 0
    assert cli("resume", small_disk / "run", *arguments).returncode == 3
    ballast.unlink()
    assert tasks_done(small_disk / "run") >= before
    assert resumed(small_disk / "run") == reference


def test_failures_of_set_up_are_messages(tmp_path: Path) -> None:
    """A worker that cannot be set up is one line and exit code 3."""
    data = funnel(
        12,
        evaluate=[{f"{FAULTS}:Unprepared": {}}],
        objectives=[{"maximize": "health"}],
        constraints=[],
    )
    path = written(data, tmp_path / "c.yaml")
    done = cli("run", path, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0)
    assert done.returncode == 3
    assert "FileNotFoundError: there is no weights.pt" in done.stderr
