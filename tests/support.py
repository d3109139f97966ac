"""What tests of runs share: small campaigns, the command line in a subprocess, and looking for lost processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.run.run import Run
from invdesign.store.checksums import COUNTS_ENTRY, count_rows, write_checksums
from invdesign.store.database import connect
from invdesign.store.writing import set_entry

ROOT = Path(__file__).parents[1]
STEPS = "tests.plugins.steps"
FAULTS = "tests.plugins.faults"
CRYSTALS = "tests.plugins.crystals"
WEIGHTS = "tests.plugins.weights"
PATIENCE = 280.0  # seconds until what must happen at last is taken not to: for machines that are slow or busy
Data = dict[str, Any]

TOY = """\
version: 1
name: toy
seed: 1
space:
  kind: parameters
  parameters:
    x: {real: [0, 1]}
    y: {real: [0, 1]}
evaluate:
  - landscape: {function: zdt2, delay: DELAY, batch_size: 1}
objectives:
  - minimize: f1
  - minimize: f2
optimizer: {kind: genetic, population: 10}
budget: {candidates: BUDGET}
"""


def toy(budget: int = 20, delay: float = 0.0) -> str:
    """The text of a valid campaign that needs no trust."""
    return TOY.replace("BUDGET", str(budget)).replace("DELAY", str(delay))


def funnel(candidates: int = 60, *, delay: float = 0.0, population: int = 12, **changes: Any) -> Data:
    """A campaign with everything that makes exact resume hard.

    A space that refuses and breaks, a gate, a structure handed on, a batch whose members change each other's last
    digits, failures, cache keys, and a genetic algorithm that reads it all.
    """
    return {
        "version": 1,
        "name": "funnel",
        "seed": 28,
        "space": f"{STEPS}:Picky",
        "evaluate": [
            {f"{STEPS}:Height": {"delay": delay / 2, "gate": {"height": {"max": 1.7}}}},
            {f"{STEPS}:Crystal": {"delay": delay}},
            {f"{STEPS}:Density": {"batch_size": 4}},
        ],
        "objectives": [{"maximize": "density"}, {"maximize": "height"}],
        "constraints": [{"edge": {"min": 3.1}}],
        "optimizer": {"kind": "genetic", "population": population},
        "budget": {"candidates": candidates},
        **changes,
    }


def promoting(candidates: int = 36, **changes: Any) -> Data:
    """The same with a sketch of the density before all else, and candidates that stop there until they are promoted."""
    data = funnel(candidates, **changes)
    data["evaluate"] = [{f"{STEPS}:Sketch": {}}, *data["evaluate"]]
    data["optimizer"] = {"kind": f"{STEPS}:PromotingSearch", "batch": 6}
    return data


def relaxing(candidates: int = 20, **changes: Any) -> Data:
    """A search of crystals that breeds from what a relaxation made of them; half of the crystals collapse."""
    return {
        "version": 1,
        "name": "relaxing",
        "seed": 1,
        "space": {"kind": "crystal", "formula": "MgO", "formula_units": [1, 2]},
        "evaluate": [{f"{CRYSTALS}:Settling": {"fate": "collapse", "half": True}}],
        "objectives": [{"minimize": "energy_per_atom"}],
        "optimizer": {"kind": "genetic", "population": 4, "founders": 1},
        "budget": {"candidates": candidates},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }


def campaign(data: Mapping[str, Any]) -> Campaign:
    """A campaign that may use the plug-ins of these tests."""
    return campaign_from(data, folder=ROOT, trust_code=True)


def written(data: Mapping[str, Any], path: Path) -> Path:
    """The campaign as a file: YAML is a superset of JSON."""
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    return path


def finished(data: Mapping[str, Any] | Campaign, folder: Path, workers: int = 0) -> Run:
    """A run of the campaign, worked on to its end."""
    run = Run.create(data if isinstance(data, Campaign) else campaign(data), folder)
    run.use_workers(workers)
    run.execute()
    return run


@contextlib.contextmanager
def mounted_disk(kilobytes: int) -> Iterator[Callable[[int], Path]]:
    """A file system of its own; called with another size in KiB it gets that size, and says where it is.

    It lies outside pytest's folders, which pytest removes and where a mount that a killed test left would stop it; it
    is let go of at the end whatever happened, also while something still has files of it open.
    """
    place = Path(tempfile.mkdtemp(prefix="invdesign-disk-"))

    def resized(size: int) -> Path:
        options = f"{'remount,' if os.path.ismount(place) else ''}size={size}k"
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True
            )
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a file system cannot be mounted here")
        return place

    try:
        resized(kilobytes)
        yield resized
    finally:
        if os.path.ismount(place):
            subprocess.run(["umount", "--lazy", place], check=False)
        with contextlib.suppress(OSError):
            place.rmdir()


def seal(path: Path) -> None:
    """Give every row of a store the checksum of what it says now, as whoever forges one would."""
    engine = connect(path, writable=True)
    with engine.begin() as connection:
        set_entry(connection, COUNTS_ENTRY, json.dumps(count_rows(connection)))
        write_checksums(connection)
    engine.dispose()


def command(*arguments: object) -> list[str]:
    """`python -m invdesign ...`."""
    return [sys.executable, "-m", "invdesign", *map(str, arguments)]


def environment() -> dict[str, str]:
    """One numerical thread; the repository importable from any folder."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def cli(*arguments: object, cwd: Path = ROOT, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; no message of it may ever be a stack trace."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def scripted(module: str, *arguments: object, timeout: float = PATIENCE) -> dict[str, Any]:
    """What a script of `tests.plugins` prints, one JSON object, run as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def here(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command line in this process: the same code without half a second of imports."""
    from typer.testing import CliRunner

    from invdesign.cli.app import app

    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, list(map(str, arguments)), prog_name="invdesign")
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return subprocess.CompletedProcess(command(*arguments), done.exit_code, done.stdout, done.stderr)


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command line in the background, in a process group of its own."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # These tests run as a shell's background job, which ignores interrupts and would hand that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
        **options,
    )


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def children(pid: int) -> list[psutil.Process]:
    """Every process the process started, directly or not."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie waits for its parent and does nothing."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
