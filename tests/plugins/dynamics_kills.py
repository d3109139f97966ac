"""Evaluate a diffusivity in forked processes that are killed (SIGKILL) again and again, until one comes to its end.

`python -m tests.plugins.dynamics_kills FOLDER SEED KILLS` evaluates anew until so many processes were killed. It prints one JSON
object: deaths by kind (a call of the potential, or a file operation in the folder), how many evaluations differed by one bit or
more from one without a kill, and the names of all files left in the folders.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from tests.plugins.hopping import Hopping

FILE_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.chmod"})
CALLS, FILE_OPERATIONS = 500, 40  # up to which a process may live: a third of what an evaluation takes
SETTINGS: dict[str, Any] = {
    "kind": "diffusivity",
    "ion": "Li",
    "temperatures": [700.0, 900.0, 1100.0],
    "duration": 0.8,
    "equilibration": 0.1,
    "timestep": 2.0,
    "supercell": 7.0,
    "potential": {
        "kind": "ase",
        "calculator": "tests.plugins.hopping:Hopping",
        "arguments": {"divisions": 4},
    },
}


def crystal() -> Structure:
    """Lithium and chlorine in a cubic cell with free sites between them."""
    return Structure(Lattice.cubic(4.0), ["Li", "Cl"], [(0.5, 0.5, 0.5), (0, 0, 0)])


def evaluate(folder: Path | None, structure: Structure | None = None, **changes: Any) -> Evaluation:
    """Evaluate with a fresh evaluator, as a new worker does; checkpoints are kept in `folder`."""
    evaluator = load("evaluators", {**SETTINGS, **changes}, trust_code=True)
    if folder is not None:
        evaluator.use_folder(folder)
    held = {"initial": structure or crystal()}
    item = Input(Candidate(7, "key", Proposal({})), Design(structures=held), {}, held, 11)
    (found,) = evaluator.evaluate([item])
    return found


def as_text(found: Evaluation) -> str:
    """Everything of an evaluation but its cost; floats keep every bit."""
    failure = found.failure and [found.failure.kind, found.failure.message]
    return json.dumps(
        [dict(found.properties), dict(found.noise), dict(found.systematic), dict(found.details), failure]
    )


def die_at(number: int, folder: Path, report: int, *, files: bool) -> None:
    """Kill this process before its call, or its file operation, of that number."""
    left = [number]

    def count(what: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.write(report, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and any(str(folder) in str(argument) for argument in arguments[:2]):
            count(event)

    if files:
        sys.addaudithook(watch)
    else:
        Hopping.before_call = lambda _: count("call")


def attempt(work: Callable[[], Evaluation], number: int, folder: Path, *, files: bool) -> tuple[str, str]:
    """Work in a child; (at what it died, its result), of which one is empty."""
    died, wrote = os.pipe()
    result, told = os.pipe()
    child = os.fork()
    if child == 0:
        die_at(number, folder, wrote, files=files)
        os.write(told, as_text(work()).encode())
        os._exit(0)
    os.close(wrote)
    os.close(told)
    with os.fdopen(died) as end, os.fdopen(result) as answer:
        found = end.read(), answer.read()
    _, status = os.waitpid(child, 0)
    if status not in {0, signal.SIGKILL}:
        raise SystemExit(f"a child ended with {status}")
    return found


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    expected = as_text(evaluate(None))
    deaths: Counter[str] = Counter()
    differences, left = 0, []
    while deaths.total() < kills:
        place = folder / str(deaths.total())
        place.mkdir(parents=True)
        at = "start"
        while at:
            files = rng.random() < 0.5
            number = rng.randint(1, FILE_OPERATIONS if files else CALLS)
            at, found = attempt(partial(evaluate, place), number, place, files=files)
            deaths.update([at] if at else [])
        differences += found != expected
        left += [path.name for path in place.rglob("*") if path.is_file()]
    print(json.dumps({"deaths": deaths, "differences": differences, "left": sorted(set(left))}))  # noqa: T201


if __name__ == "__main__":
    main()
