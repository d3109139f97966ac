"""Molecular dynamics in processes that are killed, against one process without a kill.

A child process simulates with checkpoints and is killed (SIGKILL) at a random moment, again and again until one comes to the end;
the same simulation runs once in a process of its own without checkpoints. `difference_after_kill` is the largest difference of any
position, velocity, force, energy or frame: 0 where every bit is the same. EMT: copper, 32 atoms, 1200 K. CHGNet: Li3OCl, five atoms, 900 K,
a few hundred steps.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Row
from numpy.typing import NDArray

SEED = 5
BENCHMARKS = Path(__file__).resolve().parents[1]
CASES: dict[str, dict[str, Any]] = {
    "EMT": {
        "potential": {"kind": "ase", "calculator": "emt"},
        "temperature": 1200.0,
        "steps": 3000,
        "kills": 10,
    },
    "CHGNet 0.3.0": {"potential": "chgnet", "temperature": 900.0, "steps": 400, "kills": 3},
}


def crystal_of(case: str) -> Any:
    """Atoms of a case."""
    from ase import Atoms

    if case == "EMT":
        places = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]) * 3.59
        return Atoms("Cu4", positions=places, cell=[3.59] * 3, pbc=True).repeat(2)
    places = np.array([(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]) * 3.91
    return Atoms("OClLi3", positions=places, cell=[3.91] * 3, pbc=True)


def simulate(case: str, checkpoint: Path | None, output: Path) -> None:
    """Simulate a case, from its checkpoint on if there is one, and write all of the end."""
    from invdesign.settings import load
    from surrogates.transport.dynamics.checkpoint import Checkpoint
    from surrogates.transport.dynamics.integrator import Schedule, run_dynamics
    from surrogates.transport.dynamics.measurement import keep_checkpoints

    plan, atoms = CASES[case], crystal_of(case)
    potential: Any = load("potentials", plan["potential"])
    potential.prepare()
    schedule = Schedule(plan["temperature"], 2.0, plan["steps"] // 4, plan["steps"] - plan["steps"] // 4, 1)
    kept = Checkpoint(checkpoint, case) if checkpoint is not None else None
    restored = kept.read(schedule, len(atoms)) if kept is not None else None
    print(json.dumps(restored.step if restored is not None else 0), flush=True)
    run = run_dynamics(atoms, potential, schedule, SEED, restored, keep_checkpoints(kept, schedule))
    np.savez(output, **run.to_arrays(schedule))  # type: ignore[arg-type]  # numpy's own keyword takes a bool


def start(case: str, checkpoint: Path | None, output: Path) -> subprocess.Popen[str]:
    """Start a process that simulates, from the moment its dynamics begin."""
    arguments = [case, str(output), *([str(checkpoint)] if checkpoint is not None else [])]
    command = [sys.executable, "-m", f"{__package__}.{Path(__file__).stem}", *arguments]
    process = subprocess.Popen(command, cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def read_end(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an end."""
    with np.load(path) as found:
        return dict(found)


def measure_case(case: str, folder: Path) -> Row:
    """Return the largest difference of a case, with the number of kills as n."""
    began = time.monotonic()
    whole, killed = folder / "whole.npz", folder / "killed.npz"
    if start(case, None, whole).wait() != 0:
        raise RuntimeError(f"{case} did not end")
    seconds, deaths, rng = time.monotonic() - began, 0, random.Random(SEED)
    while not killed.exists():
        process = start(case, folder / "checkpoint.npz", killed)
        try:
            patience = rng.uniform(0, seconds / 4) if deaths < CASES[case]["kills"] else None
            if process.wait(patience) != 0:
                raise RuntimeError(f"{case} did not end")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            deaths += 1
    a, b = read_end(whole), read_end(killed)
    difference = max(float(np.abs(a[name] - b[name]).max()) for name in a)
    print(f"{case}: {deaths} kills, {CASES[case]['steps']} steps, difference {difference}", flush=True)
    return Row(
        "truth",
        "diffusivity_resume",
        f"invdesign, {case}",
        "difference_after_kill",
        difference,
        "",
        deaths,
        0.0,
    )


def measure() -> list[Row]:
    """Differences with a cheap potential and with CHGNet."""
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure_case(case, Path(folder)))
    return rows


if __name__ == "__main__":
    place = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    simulate(sys.argv[1], place, Path(sys.argv[2]))
