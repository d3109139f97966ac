"""Runs the peers of `structure_search.py`: ase-ga and CrySPY, by the scripts of the shared folder, one seed per process.

It needs nothing of this package, but `pip install numba ase ase-ga csp-cryspy pyxtal`, in an environment of its own:
`OMP_NUM_THREADS=1 python benchmarks/structure_peers.py --rows FILE` adds a JSON line per seed to FILE and never runs one
twice. It goes round: ten seeds of every task first, then more, so that it may be stopped at any time.

The scripts are run as they are but for three things. The seed and the budget come from here. A relaxation is counted, and the
run ended, by the wrapper below, by the same rule as for ours. The reference of TiO2 is the lowest energy known, not rutile's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "bench" / "structure_search"
VARIABLE = "STRUCTURE_SEARCH"
TOLERANCE = 2e-3  # eV/atom above the reference that counts as found
EXPLODED = 100.0  # eV/atom: the shared relaxer gives 1,000 to what ran away
TITANIA = -15.59926  # eV/atom, lowest energy known of TiO2 with the potential `pedone`
RUTILE = -15.59828  # eV/atom, in the script of the shared folder
PHASES = {
    "SrO-TiO2": {"SrO": -6.65983, "SrTiO3": -12.18683, "TiO2": TITANIA},
    "MgO-TiO2": {"MgO": -8.23160, "MgTiO3": -12.66053, "TiO2": TITANIA},
}
LIMIT_S = 7200.0  # wall time of one seed, after which it counts as unsolved
ROUND = 10  # seeds of every task before more of the first
ONE_SEED = ("for seed in range(ns):", "for seed in [ns]:")
RIGHT_TITANIA = (f'"TiO2": {RUTILE}', f'"TiO2": {TITANIA}')


@dataclass(frozen=True)
class Job:
    """A peer on a task.

    Attributes:
        task: name.
        method: name of the peer in the results.
        script: of the shared folder.
        variant: its first argument.
        budget: relaxations of one run.
        seeds: runs.
    """

    task: str
    method: str
    script: str
    variant: str
    budget: int = 300
    seeds: int = 30

    def arguments(self, seed: int) -> list[str]:
        """Arguments of the script."""
        if self.task in PHASES:
            return [self.variant, str(seed), str(self.budget)]
        return [self.variant, str(seed), self.task]


JOBS = (
    Job("MgAl2O4_14", "ase-ga-default", "peer_asega.py", "default", 1200),
    Job("SrO-TiO2", "cryspy-ea-vc", "peer_cryspy_vc.py", "Sr", 400),
    Job("MgO-TiO2", "cryspy-ea-vc", "peer_cryspy_vc.py", "Mg", 800),
    Job("Al2O3_10", "cryspy-ea+r", "peer_cryspy.py", "ea+r"),
    Job("Li2SiO3_12", "cryspy-ea+r", "peer_cryspy.py", "ea+r"),
    Job("SrTiO3_20", "ase-ga-default", "peer_asega.py", "default"),
    Job("TiO2_24", "ase-ga-default", "peer_asega.py", "default"),
    Job("MgAl2O4_14", "cryspy-ea+r", "peer_cryspy.py", "ea+r", 1200, 10),
)


class FinishedError(BaseException):
    """All is found or the budget spent; not an `Exception`, which the peers would catch."""


@dataclass
class Counter:
    """Stands for the shared relaxer: counts, and ends the run."""

    job: Job
    seed: int
    references: dict[str, float]
    rows: Path
    pots: Any
    relax: Any
    relaxations: int = 0
    calls: int = 0
    seconds: float = 0.0
    minima: list[tuple[int, str, float, int]] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.process_time()

    def __call__(self, atoms: Any, calculator: Any, **settings: Any) -> float:
        started, before = time.process_time(), self.pots.COUNT["calls"]
        energy = float(self.relax(atoms, calculator, **settings))
        self.seconds += time.process_time() - started
        self.calls += self.pots.COUNT["calls"] - before
        self.relaxations += 1
        self._note(str(atoms.symbols.formula.reduce()[0].format("metal")), energy / len(atoms), len(atoms))
        solved = self.found.keys() == self.references.keys()
        self.write_row(solved, final=solved or self.relaxations >= self.job.budget)
        return energy

    def _note(self, formula: str, energy: float, atoms: int) -> None:
        known = min((other for _, name, other, _ in self.minima if name == formula), default=EXPLODED)
        if energy < known:
            self.minima.append((self.relaxations, formula, round(energy, 5), atoms))
        if energy < self.references.get(formula, -1e9) + TOLERANCE:
            self.found.setdefault(formula, self.relaxations)

    def write_row(self, solved: bool, *, final: bool) -> None:
        """Write the line of this seed; the one so far lies beside the rows until the run ends.

        Raises:
            FinishedError: the run ends here.
        """
        row = {
            "task": self.job.task,
            "method": self.job.method,
            "seed": self.seed,
            "solved": solved,
            "relax": self.relaxations,
            "calls": self.calls,
            "cpu_s": round(time.process_time() - self._began, 3),
            "relax_cpu_s": round(self.seconds, 3),
            "budget": self.job.budget,
            "found": self.found,
            "reference": self.references,
            "minima": self.minima,
        }
        partial_file(self.rows).write_text(json.dumps(row) + "\n", encoding="utf-8")
        if final:
            append_line(self.rows, row)
            raise FinishedError


def partial_file(rows: Path) -> Path:
    """File of the seed under way."""
    return rows.with_suffix(".partial.json")


def append_line(rows: Path, row: dict[str, Any]) -> None:
    with rows.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def run_seed(job: Job, seed: int, folder: Path, rows: Path) -> None:
    """Run a script of the shared folder for one seed, in this process."""
    sys.path.insert(0, str(folder))
    import pots  # type: ignore[import-not-found]  # of the shared folder
    from ase import Atoms

    cell = Atoms(["Mg", "O"], positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[3, 3, 3], pbc=True)
    pots.relax_crystal(
        cell, pots.PairCrystal("pedone")
    )  # compiles the relaxer, which no seed is charged with
    import tasks  # type: ignore[import-not-found]  # of the shared folder

    if job.task in PHASES:
        references = PHASES[job.task]
    else:
        symbols, potential, energy, volume, _ = tasks.CRYSTALS[job.task]
        formula = Atoms(symbols).symbols.formula.reduce()[0].format("metal")
        references = {str(formula): float(energy)}
        tasks.CRYSTALS[job.task] = (symbols, potential, energy, volume, 10 * job.budget)
    script = folder / job.script
    source = script.read_text(encoding="utf-8")
    for before, after in [RIGHT_TITANIA] if job.task in PHASES else [ONE_SEED]:
        if before not in source:
            raise SystemExit(f"{script} has no {before!r}: it is not the script that this one knows")
        source = source.replace(before, after)
    counter = Counter(job, seed, references, rows, pots, pots.relax_crystal)
    pots.relax_crystal = tasks.relax_crystal = counter
    sys.argv = [str(script), *job.arguments(seed)]
    try:
        exec(compile(source, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})
    except FinishedError:
        return


def finished_seeds(rows: Path) -> set[tuple[str, str, int]]:
    if not rows.is_file():
        return set()
    lines = map(json.loads, rows.read_text(encoding="utf-8").splitlines())
    return {(row["task"], row["method"], row["seed"]) for row in lines}


def spawn_seed(number: int, seed: int, folder: Path, rows: Path) -> None:
    """Run a seed in a process of its own; one that dies or takes too long is unsolved with what it spent."""
    job, started, cause = JOBS[number], time.monotonic(), ""
    partial_file(rows).unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--one", str(number), str(seed)]
    command += ["--folder", str(folder), "--rows", str(rows)]
    with tempfile.TemporaryDirectory() as place:  # CrySPY writes logs where it is started
        try:
            ended = subprocess.run(
                command, stdout=subprocess.DEVNULL, timeout=LIMIT_S, check=False, cwd=place
            )
            cause = f"exit code {ended.returncode}"
        except subprocess.TimeoutExpired:
            cause = f"took more than {LIMIT_S:g} s"
    if (job.task, job.method, seed) not in finished_seeds(rows):
        empty = {
            "task": job.task,
            "method": job.method,
            "seed": seed,
            "solved": False,
            "relax": 0,
            "calls": 0,
        }
        part = partial_file(rows)
        row = json.loads(part.read_text(encoding="utf-8")) if part.is_file() else empty
        append_line(rows, {**row, "cause": cause})
    print(f"{job.task:12} {job.method:16} seed {seed:3d} {time.monotonic() - started:8.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, required=True, help="file with a JSON line per finished seed")
    parser.add_argument(
        "--folder", type=Path, default=Path(os.environ.get(VARIABLE, SHARED)), help="shared tasks"
    )
    parser.add_argument("--tasks", nargs="+", choices=sorted({job.task for job in JOBS}))
    parser.add_argument("--seeds", type=int, help="runs per task and peer")
    parser.add_argument(
        "--one", nargs=2, type=int, metavar=("JOB", "SEED"), help="run one seed in this process"
    )
    arguments = parser.parse_args()
    folder, rows = arguments.folder.resolve(), arguments.rows.resolve()
    if arguments.one:
        run_seed(JOBS[arguments.one[0]], arguments.one[1], folder, rows)
        return
    wanted = {n: job for n, job in enumerate(JOBS) if arguments.tasks is None or job.task in arguments.tasks}
    most = {number: arguments.seeds or job.seeds for number, job in wanted.items()}
    for first in range(0, max(most.values()), ROUND):
        for number, job in wanted.items():
            for seed in range(first, min(first + ROUND, most[number])):
                if (job.task, job.method, seed) not in finished_seeds(rows):
                    spawn_seed(number, seed, folder, rows)


if __name__ == "__main__":
    main()
