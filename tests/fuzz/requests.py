"""Random requests in the folders of runs: valid, mutated and hostile ones, late ones and duplicates.

`python -m tests.fuzz.requests FOLDER SEED FILES SEQUENCES` prints a line per kind of finding, and nothing where all is well.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invdesign.candidate import genome_key
from invdesign.errors import RunError
from invdesign.run import requests, steering
from invdesign.run.requests import Seen
from invdesign.run.run import Run
from invdesign.run.steering import leave_or_apply
from invdesign.run.told import Told
from tests.support import STEPS, Data, campaign, funnel

REALS = {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in ("x", "y")}}
PER_ROUND = 25  # files left at once
NASTY: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        2**63,
        -(2**63),
        10**400,
        0.5,
        -0.0,
        1e308,
        "",
        " ",
        "\ud800",
        "a\x00b",
        "x" * 10**5,
    ),
    *([], {}, [[]], {"": 0}, [True], ["0"], [2**70], {"x": {"y": [1]}}, "NaN", float("nan"), float("inf")),
]


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


# Runs to leave requests in.


def measured() -> Data:
    """Candidates that are measured, and then computed."""
    return funnel(
        40,
        space=REALS,
        evaluate=[f"{STEPS}:Outside", f"{STEPS}:Height"],
        optimizer="random",
        objectives=[{"maximize": "strength"}],
        constraints=[],
        engine={"kind": "local", "workers": 0},
    )


def computed(candidates: int) -> Data:
    """A short search, all of it computed."""
    return funnel(
        candidates,
        population=4,
        evaluate=[f"{STEPS}:Height"],
        objectives=[{"minimize": "height"}],
        constraints=[],
    )


def make_states(folder: Path) -> list[Path]:
    """Runs in several states: new, begun, measured, finished."""
    made = []

    def run(name: str, data: Data) -> Run:
        made.append(folder / name)
        found = Run.create(campaign(data), folder / name)
        found.use_workers(0)
        return found

    run("new", measured()).close()
    begun = run("begun", measured())
    begun.ask(5)
    begun.close()
    told = run("told", measured())
    told.tell([Told(id, properties={"strength": float(id)}) for id in told.ask(6)[:4]])
    told.withdraw([1], "a leak")
    told.tell([Told(2, properties={"strength": 9.0})], replace=True)
    told.close()
    run("fresh", computed(6)).close()
    finished = run("finished", computed(8))
    finished.execute()
    finished.change(budget={"candidates": 10})
    finished.close()
    return made


def go_on(folder: Path) -> str:
    """Go on with a run as its user would; its digest."""
    run = Run.open(folder, trust_code=True)
    run.use_workers(0)
    if run.campaign.measured_outside:
        run.ask(1)
    else:
        run.execute()
    run.close()
    found = Run.open(folder, trust_code=True)
    found.close()
    return f"{found.digest()} {found.campaign.budget.model_dump()}"


# Requests.


def valid(rng: random.Random) -> dict[str, Any]:
    """A request that is one, whether or not this run can meet it."""
    kind = rng.choice(["add", "tell", "withdraw", "budget"])
    if kind == "add":
        genomes = [
            {"x": round(rng.random(), 3), "y": round(rng.random(), 3)} for _ in range(rng.randint(1, 3))
        ]
        detail: dict[str, Any] = {"genomes": genomes, "until": None}
    elif kind == "tell":
        rows = [
            {
                "candidate": rng.randint(0, 7),
                "properties": {"strength": rng.randint(0, 3)},
                "stage": "Outside",
            }
            for _ in range(rng.randint(1, 2))
        ]
        detail = {"results": rows, "replace": rng.random() < 0.4}
    elif kind == "withdraw":
        detail = {"ids": [rng.randint(0, 7)], "reason": "a doubt", "again": rng.random() < 0.5}
        if rng.random() < 0.3:
            detail["measurements"] = [rng.randint(0, 6)]
    else:
        detail = {"candidates": rng.randint(10, 40)}
    content = {"kind": kind, "detail": detail}
    if rng.random() < 0.3:
        content["seen"] = {"event": rng.randint(-1, 12), "budget": "", "waiting": []}
    return content


def replaced(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """The same with something nasty at a random place."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {**value, rng.choice(["", "\udfff", "detail", "x" * 10**4]): rng.choice(NASTY)}
        return {**value, name: replaced(rng, value[name], depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], replaced(rng, value[place], depth + 1), *value[place + 1 :]]
    return deep(rng.choice([65, 900])) if rng.random() < 0.1 else rng.choice(NASTY)


def mutated(rng: random.Random) -> bytes:
    """Bytes of a request with something changed: at times it is one still."""
    if rng.random() < 0.6:
        return json.dumps(replaced(rng, valid(rng)), ensure_ascii=rng.random() < 0.9).encode(
            "utf-8", "surrogatepass"
        )
    data = bytearray(json.dumps(valid(rng)).encode())
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data))
        change = rng.randrange(3)
        if change == 0:
            data[place] = rng.randrange(256)
        elif change == 1:
            del data[place : place + rng.randint(1, 8)]
        else:
            data[place:place] = rng.choice(
                [b"\xff", b"\x00", b"[", b"}", b'"', b"\\ud800", b"9" * 5000, b"-"]
            )
        data = data or bytearray(b"{")
    return bytes(data)


_TEXTS: list[Callable[[random.Random], bytes]] = [
    lambda rng: b"[" * rng.choice([100, 900, 10**5]),
    lambda rng: json.dumps({"kind": "add", "detail": {"genomes": [{"x": deep(900)}]}}).encode(),
    lambda rng: b'{"kind": "withdraw", "detail": {"ids": [1], "reason": "\\ud800"}}',
    lambda rng: (
        b'{"kind": "withdraw", "detail": {"ids": ['
        + b"9" * rng.choice([20, 400, 5000])
        + b'], "reason": "a"}}'
    ),
    lambda rng: b'{"kind": "budget", "detail": {"candidates": ' + b"9" * rng.choice([20, 400]) + b"}}",
    lambda rng: b'{"kind": "budget", "detail": {"hours": 1e999}}',
    lambda rng: b'{"kind": "budget", "detail": {"hours": NaN}}',
    lambda rng: b'{"kind": "budget", "kind": "stop", "detail": {}}',
    lambda rng: rng.randbytes(rng.randint(0, 200)) + b"\xff",
    lambda rng: b'{"kind": "withdraw", "detail": {"ids": [true], "reason": "a"}}',
    lambda rng: b'{"kind": "withdraw", "detail": {"ids": [1], "reason": "' + b"a" * 10**6 + b'"}}',
    lambda rng: b'{"kind": "\xff\xfe", "detail": {}}',
    lambda rng: b"",
]


def leave_hostile(rng: random.Random, inbox: Path, name: str) -> str:
    """Leave something that is no request; the name it has."""
    path = inbox / f"{name}.json"
    what = rng.randrange(8)
    if what == 0:
        os.mkfifo(path)
    elif what == 1:
        path.mkdir()
        if rng.random() < 0.5:
            (path / "inner.json").write_text("{}")
    elif what == 2:
        path.symlink_to(rng.choice(["/dev/zero", "nowhere", path.name, "/etc/hostname", str(inbox)]))
    elif what == 3:
        odd = rng.choice(["a b", "ü", "-rf", "x" * 240, "new\nline", os.fsdecode(b"\xff\xfe"), "%s%n"])
        path = inbox / f"{name[-6:] if odd != '-rf' else ''}{odd}.json"
        path = (
            path
            if len(os.fsencode(path.name)) < 255 and not path.name.startswith(".")
            else inbox / f"é{name}.json"
        )
        path.write_text(json.dumps(valid(rng)))
    elif what == 4 and rng.random() < 0.02:
        with path.open("wb") as file:
            file.truncate(requests.LIMIT + 1)
    else:
        path.write_bytes(rng.choice(_TEXTS)(rng))
    return path.name


@dataclass
class Findings:
    """What went wrong, by kind, with the number of inputs."""

    inputs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def leave_many(rng: random.Random, folder: Path, count: int) -> tuple[dict[str, bytes], set[str]]:
    """Leave requests of all sorts; content by name of the regular ones that may be met, and names of hostile ones."""
    inbox = folder / requests.FOLDER
    inbox.mkdir(exist_ok=True)
    kept: dict[str, bytes] = {}
    hostile = set()
    for number in range(count):
        name = f"{number:020d}-fuzz"
        sort = rng.random()
        if sort < 0.3:
            hostile.add(leave_hostile(rng, inbox, name))
            continue
        data = json.dumps(valid(rng)).encode() if sort < 0.65 else mutated(rng)
        (inbox / f"{name}.json").write_bytes(data)
        kept[f"{name}.json"] = data
    return kept, hostile


def try_files(rng: random.Random, state: Path, work: Path, findings: Findings) -> None:
    """One round: leave files in a copy of a run and go on; then only those in another that were not set aside."""
    crowd, alone = work / "crowd", work / "alone"
    for folder in (crowd, alone):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(state, folder)
    kept, hostile = leave_many(rng, crowd, PER_ROUND)
    findings.inputs += PER_ROUND
    began = time.monotonic()
    found = go_on(crowd)
    findings.slowest = max(findings.slowest, time.monotonic() - began)
    inbox = crowd / requests.FOLDER
    aside = {path.name for path in (inbox / requests.REFUSED).glob("*")}
    for name in hostile - aside:
        if f"{requests._name_hash(name)}.json" not in aside:
            findings.kinds[f"not set aside: {name!a}"] += 1
    left = [path.name for path in inbox.iterdir() if path.name != requests.REFUSED]
    findings.kinds["left in the inbox"] += len(left)
    (alone / requests.FOLDER).mkdir(exist_ok=True)
    for name, data in kept.items():
        if name not in aside:
            (alone / requests.FOLDER / name).write_bytes(data)
    findings.kinds["another state"] += go_on(alone) != found


def fuzz_files(folder: Path, seed: int, files: int) -> Findings:
    """Leave so many files in runs of all states."""
    rng, findings = random.Random(seed), Findings()
    states = make_states(folder / "states")
    for _ in range(math.ceil(files / PER_ROUND)):
        try_files(rng, rng.choice(states), folder, findings)
    findings.kinds += Counter()  # without zeros
    return findings


# Late ones and duplicates.


@dataclass
class Model:
    """Results that count, by candidate, and the budget: each action of the user has its effect once, in order."""

    results: dict[int, list[float]] = field(default_factory=dict)
    genomes: set[str] = field(default_factory=set)
    budget: int = 40

    def act(self, kind: str, detail: dict[str, Any]) -> None:
        """Do what a user wants."""
        if kind == "tell":
            for row in detail["results"]:
                values = self.results.setdefault(row["candidate"], [])
                value = row["properties"]["strength"]
                if detail["replace"]:
                    values[:] = [value]
                elif value not in values:
                    values.append(value)
        elif kind == "withdraw":
            for id in detail["ids"]:
                self.results[id] = []
        elif kind == "add":
            self.genomes |= {genome_key(genome) for genome in detail["genomes"]}
        else:
            self.budget = detail["candidates"]


def action(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Something a user wants of six candidates."""
    kind = rng.choice(["tell", "tell", "withdraw", "withdraw", "budget", "add"])
    id = rng.randrange(3)
    if kind == "tell":
        row = {"candidate": id, "properties": {"strength": float(rng.randint(1, 3))}, "stage": "Outside"}
        return kind, {"results": [row], "replace": rng.random() < 0.4}
    if kind == "withdraw":
        return kind, {"ids": [id], "reason": "a doubt", "again": rng.random() < 0.6, "measurements": []}
    if kind == "budget":
        return kind, {"candidates": rng.randint(20, 60)}
    return kind, {"genomes": [{"x": rng.randint(0, 9) / 10, "y": 0.5}], "until": None}


def try_sequence(rng: random.Random, state: Path, folder: Path) -> str:
    """Actions of a user who is killed, types again, and whose old requests come back; what differs from the model."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(state, folder)
    model, old, said = Model(), [], []
    for _ in range(rng.randint(3, 9)):
        if old and rng.random() < 0.3:
            said.append(_bring_back(rng, folder, rng.choice(old)))
            continue
        kind, detail = action(rng)
        killed = rng.random() < 0.35
        said.append(f"{kind} {detail}{', killed' if killed else ''}")
        before = {path.name for path in (folder / requests.FOLDER).glob("*.json")}
        if kind == "add" or killed:
            steering.leave_once(folder, kind, detail)
            old += _new_files(folder, before)
        else:
            with suppress(RunError):  # as that there is nothing to take back
                leave_or_apply(folder, kind, detail, trust_code=True)
        model.act(kind, detail)
    run = Run.open(folder, trust_code=True)
    run.ask(1)
    run.close()
    run = Run.open(folder, trust_code=True)
    found = {id: sorted(_counting(run, id)) for id in range(3)}
    expected = {id: sorted(model.results.get(id, [])) for id in range(3)}
    keys = {run.history.candidate(id).key for id in range(len(run.history))}
    run.close()
    right = found == expected and run.campaign.budget.candidates == model.budget and model.genomes <= keys
    lines = "\n".join(said)
    return (
        ""
        if right
        else f"{found} {run.campaign.budget.candidates} for {expected} {model.budget} after:\n{lines}"
    )


def _counting(run: Run, id: int) -> list[float]:
    return [item.properties["strength"] for item in run.measurements(id) if item.withdrawn is None]


def _new_files(folder: Path, before: set[str]) -> list[tuple[str, bytes]]:
    inbox = folder / requests.FOLDER
    return [(path.name, path.read_bytes()) for path in inbox.glob("*.json") if path.name not in before]


def _bring_back(rng: random.Random, folder: Path, file: tuple[str, bytes]) -> str:
    """Put an old request back, under its own name or as another one that was left just now."""
    name, data = file
    content = json.loads(data)
    inbox = folder / requests.FOLDER
    if (inbox / name).exists():
        return "an old request waits still"
    if rng.random() < 0.5:
        (inbox / name).write_bytes(data)
    else:
        seen = content["seen"]
        requests.write_request(
            folder,
            content["kind"],
            content["detail"],
            seen=Seen(seen["event"], seen["budget"], tuple(seen["waiting"])),
        )
    return f"an old request comes back: {data.decode()}"


def fuzz_sequences(folder: Path, seed: int, sequences: int) -> list[str]:
    """What differs from the model, over so many sequences."""
    rng = random.Random(seed)
    data = measured()
    data["evaluate"] = data["evaluate"][:1]
    run = Run.create(campaign(data), folder / "state")
    run.ask(6)
    run.close()
    found = [try_sequence(rng, folder / "state", folder / "work") for _ in range(sequences)]
    return [said for said in found if said]


def main() -> None:
    folder, (seed, files, sequences) = Path(sys.argv[1]), map(int, sys.argv[2:5])
    findings = fuzz_files(folder / "files", seed, files)
    different = fuzz_sequences(folder / "sequences", seed, sequences)
    lines = [f"{count} times {kind}" for kind, count in findings.kinds.items()] + different
    lines.append(f"{findings.inputs} files, slowest round {findings.slowest:.2f} s, {sequences} sequences")
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
