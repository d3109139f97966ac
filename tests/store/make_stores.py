"""Make the run stores that are kept to test later versions against: `python -m tests.store.make_stores`.

Writes `tests/data/stores/schemaN`, N being the schema of the code that runs it: to be called once, by the last code
of a schema, before the schema is raised. Existing folders are left alone.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.store.checksums import checksum_of
from invdesign.store.schema import SCHEMA_VERSION
from invdesign.store.store import STORE_FILE
from tests.plugins.killing import die_after
from tests.support import Data, campaign

STORES = Path(__file__).parents[1] / "data" / "stores"
STATEMENTS = 163  # of the database, after which the interrupted run is killed
ENGINE = {"kind": "local", "workers": 0}

SEARCH: Data = {
    "version": 1,
    "name": "antiperovskites",
    "seed": 11,
    "space": {
        "kind": "substitution",
        "parent": "antiperovskite",
        "rattle": 0.05,
        "sites": {"A": ["Li", "Na"], "B": ["H", "F", "O", "S"], "X": ["F", "Cl", "Br", "I"]},
    },
    "evaluate": [
        "charge_neutrality",
        {"minimum_distance": {"scale": 0.85}},
        {
            "relax": {
                "potential": {
                    "kind": "ase",
                    "calculator": "lj",
                    "arguments": {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0},
                },
                "fmax": 0.5,
                "unconverged": "keep",
                "steps": 60,
            }
        },
    ],
    "objectives": [{"minimize": "volume_per_atom"}, {"maximize": "minimum_distance_ratio"}],
    "constraints": [{"volume_per_atom": {"max": 20}}],
    "optimizer": {"kind": "genetic", "population": 6},
    "budget": {"candidates": 12},
    "engine": ENGINE,
}
LABORATORY: Data = {
    "version": 1,
    "name": "coatings",
    "seed": 4,
    "space": {
        "kind": "parameters",
        "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}, "grade": {"ordinal": [0.1, 0.4, 0.8]}},
        "constraints": ["x + y <= 1.5"],
    },
    "evaluate": [
        {"landscape": {"function": "zdt2", "gate": {"f2": {"max": 6.5}}}},
        {"experiment": {"provides": {"conductivity": "S/cm"}, "noise": {"conductivity": 0.05}}},
    ],
    "objectives": [{"maximize": "conductivity"}, {"minimize": "f1"}],
    "optimizer": {"kind": "genetic", "mode": "steady_state", "population": 6},
    "budget": {"candidates": 40},
    "engine": ENGINE,
}


def make_finished(folder: Path) -> Run:
    """A search that reached its budget: gated, violating and feasible candidates, with relaxed structures."""
    run = Run.create(campaign(SEARCH), folder)
    run.execute()
    return run


def make_interrupted(folder: Path) -> Run:
    """A fork of the finished search under a larger budget, killed in the middle of a wave."""
    make_finished(folder / "source").close()
    fork(folder / "source", folder / "run", candidates=30).run.close()
    child = os.fork()
    if child == 0:
        _, writer = os.pipe()
        run = Run.open(folder / "run")
        die_after(STATEMENTS, writer)
        run.execute()
        os._exit(1)  # it came to its end: STATEMENTS is too large
    _, status = os.waitpid(child, 0)
    if status != signal.SIGKILL:
        raise SystemExit(f"the run was not killed, but ended with {status}")
    return Run.open(folder / "run")


def make_measured(folder: Path) -> Run:
    """A laboratory's run: repeated, amended, failed and withdrawn measurements, and candidates that still wait."""
    run = Run.create(campaign(LABORATORY), folder)
    first = run.ask(6)
    run.tell(
        [Told(id, properties={"conductivity": 0.1 * id}, label="first", note="a note") for id in first[:4]]
    )
    run.tell(
        [
            Told(
                first[0],
                properties={"conductivity": 0.25},
                noise={"conductivity": 0.1},
                label="second",
            )
        ]
    )
    run.tell([Told(first[1], properties={"conductivity": 0.5})], replace=True)
    run.tell([Told(first[4], failure="cracked while drying")])
    run.tell([Told(genome={"x": 0.25, "y": 0.5, "grade": 0.4}, properties={"conductivity": 0.75})])
    run.withdraw(first[2], "the cell was short-circuited")
    run.ask(3)
    return run


HULLS: Data = {
    "version": 1,
    "name": "hulls",
    "seed": 2,
    "space": {
        "kind": "substitution",
        "parent": "antiperovskite",
        "sites": {"A": ["Li"], "B": ["O", "S", "Se"], "X": ["F", "Cl", "Br", "I"]},
    },
    "evaluate": [
        {
            "experiment": {
                "provides": {"energy_per_atom": "eV/atom"},
                "noise": {"energy_per_atom": 0.002},
            }
        },
        {"decomposition_energy": {"reference": "lithium-chalcohalides"}},
    ],
    "objectives": [{"minimize": "decomposition_energy"}],
    "optimizer": "random",
    "budget": {"candidates": 6},
    "engine": ENGINE,
}


def make_hulls(folder: Path) -> Run:
    """Told energies against a hull, in a fork that inherits some of them: errors of two kinds."""
    with closing(Run.create(campaign(HULLS), folder / "source")) as source:
        source.tell([Told(id, properties={"energy_per_atom": -4.0 - 0.01 * id}) for id in source.ask(2)])
    run = fork(folder / "source", folder / "run", candidates=6).run
    ids = run.waiting().get("experiment") or run.ask(2)
    run.tell([Told(id, properties={"energy_per_atom": -4.1}) for id in ids])
    id = run.ask(1)[0]
    run.tell([Told(id, properties={"energy_per_atom": -4.2}, noise={"energy_per_atom": 0.01})])
    told = {"decomposition_energy": 0.25}
    run.tell([Told(id, properties=told, noise={"decomposition_energy": 0.03})], replace=True)
    return run


KINDS = {
    "hulls": make_hulls,
    "finished": make_finished,
    "interrupted": make_interrupted,
    "measured": make_measured,
}


def described(run: Run) -> dict[str, Any]:
    """What a reader of the run is told, to be compared with later."""
    trials = [run.trial(id) for id in range(len(run.history))]
    return {
        "candidates": [
            {
                "genome": trial.genome,
                "parents": list(trial.candidate.proposal.parents),
                "status": trial.status.name,
                "properties": dict(trial.properties),
                "structures": list(trial.structures),
            }
            for trial in trials
        ],
        "front": list(run.front()),
        "waiting": {stage: list(ids) for stage, ids in run.waiting().items()},
        "measurements": [dict(item.properties) for item in run.measurements()],
        "sessions": len(run.store.session_rows()),
    }


def packed(path: Path) -> bytes:
    """The store as one small file, without what tells of the machine it was made on."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        for id, text in connection.execute("select id, environment from sessions").fetchall():
            kept = json.dumps({**json.loads(text), "host": "somewhere", "platform": "Linux", "git": None})
            connection.execute("update sessions set environment = ? where id = ?", (kept, id))
            values = connection.execute("select * from sessions where id = ?", (id,)).fetchone()[:-1]
            connection.execute("update sessions set checksum = ? where id = ?", (checksum_of(values), id))
        connection.commit()
        connection.execute("vacuum")
    return gzip.compress(path.read_bytes(), mtime=0)


def write_stores(folder: Path, kinds: Mapping[str, Any] = KINDS) -> None:
    """Write one store of each kind, and what is to be found in it."""
    for name, make in kinds.items():
        with tempfile.TemporaryDirectory() as place:
            run = make(Path(place) / "made")
            expected = described(run)
            path = run.folder / STORE_FILE
            run.close()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
            (folder / f"{name}.sqlite.gz").write_bytes(packed(path))


if __name__ == "__main__":
    goal = STORES / f"schema{SCHEMA_VERSION}"
    if goal.exists():
        raise SystemExit(f"{goal} exists; stores that are kept are never made anew")
    write_stores(goal)
