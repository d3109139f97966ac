"""Runs whose candidates are evaluated by outside programs: killed, stopped by a deadline, and taken up again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from invdesign.run.run import Run
from tests.support import PATIENCE, alive, campaign, children, finished, started, wait_until, written

WAITS = """\
import json, os, subprocess, sys, time
with open(LOG, 'a') as log:
    log.write('{{x}}\\n')
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
while not os.path.exists(GATE):
    time.sleep(0.02)
json.dump({'e': {{x}} ** 2}, open('out.json', 'w'))
"""


def programs(folder: Path, **stage: Any) -> dict[str, Any]:
    """A campaign whose jobs note that they began in `folder/log`, and wait for a file `folder/gate`."""
    script = WAITS.replace("LOG", repr(str(folder / "log"))).replace("GATE", repr(str(folder / "gate")))
    return {
        "version": 1,
        "name": "programs",
        "space": {"kind": "parameters", "parameters": {"x": {"integer": [1, 5]}}},
        "evaluate": [
            {
                "command": {
                    "run": f"'{sys.executable}' job.py",
                    "files": [{"name": "job.py", "text": script}],
                    "results": [{"file": "out.json", "json": {"energy": "e"}}],
                    "provides": {"energy": "eV"},
                    **stage,
                }
            }
        ],
        "objectives": [{"minimize": "energy"}],
        "optimizer": {"kind": "random", "batch": 1},
        "budget": {"candidates": 5},
    }


def begun(folder: Path) -> list[str]:
    """What the jobs noted: a line for each time one began."""
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def working(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Everything below the coordinator, once its program has a child of its own."""
    found: list[psutil.Process] = []

    def deep() -> bool:
        found[:] = children(process.pid)
        return any("sleep(600)" in " ".join(p.cmdline()) for p in alive(found))

    assert wait_until(deep)
    return found


def killed(process: subprocess.Popen[str], below: list[psutil.Process]) -> None:
    """SIGKILL, of the coordinator alone: what it had started ends with it."""
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert wait_until(lambda: not alive(below))


def states(folder: Path) -> list[str]:
    """What the jobs' markers say."""
    return [json.loads(path.read_text())["state"] for path in folder.glob("work/command/*/job.json")]


def test_killed_with_programs_running(tmp_path: Path) -> None:
    """Nothing is left running, a lost job begins again, one that had ended is read, and the end is the same."""
    data = programs(tmp_path)
    run = tmp_path / "run"
    file = written(data, tmp_path / "programs.yaml")
    first = started("run", file, "--run-dir", run, "--workers", 0, "--trust-code")
    killed(first, working(first))
    second = started("resume", run, "--workers", 1, "--trust-code")
    assert wait_until(lambda: len(begun(tmp_path)) == 2)
    below = working(second)
    second.send_signal(signal.SIGSTOP)  # so that it cannot write down what its worker reads
    (tmp_path / "gate").touch()
    assert wait_until(lambda: "done" in states(run))
    killed(second, below)
    assert len(set(begun(tmp_path))) == 1
    last = Run.open(run, trust_code=True)
    last.use_workers(0)
    last.execute()
    again = [begun(tmp_path).count(x) for x in begun(tmp_path)]
    assert sorted(again) == [1, 1, 1, 1, 2, 2]  # the first job was lost once, and read once
    assert not (run / "work").exists()
    assert last.digest() == finished(campaign(data), tmp_path / "reference").digest()


def test_a_deadline_ends_the_program(tmp_path: Path) -> None:
    """With all that it started; the candidate has failed, and its files are kept."""
    data = programs(tmp_path, timeout=6.0)
    data["budget"] = {"candidates": 1}
    run = Run.create(campaign(data), tmp_path / "run")
    run.use_workers(1)
    run.execute()
    failure = run.trial(0).failure
    assert failure is not None
    assert failure.kind == "timeout"
    ours = str(tmp_path)
    assert wait_until(
        lambda: not [p for p in psutil.process_iter(["cwd"]) if (p.info["cwd"] or "").startswith(ours)]
    )
    assert len(list(tmp_path.glob("run/work/command/000000-*/job.py"))) == 1
