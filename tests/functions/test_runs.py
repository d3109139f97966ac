"""Runs with functions that no module holds: whatever they do, here and in worker processes, and going on with them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invdesign
from invdesign.campaign.document import Document
from invdesign.campaign.load import read_campaign
from invdesign.errors import CampaignChangedError, RunError
from invdesign.run.run import Run
from tests.support import here

SICK = ("healthy", "raises", "text", "none", "array", "nan", "misnamed", "exits", "two lines")


def decorated(say: Callable[[Any], Any], provides: Any = None, **options: Any) -> Any:
    return invdesign.fitness(provides=provides or {"health": ""}, name="score", **options)(say)


def made(function: Any, folder: Path, *, budget: int = len(SICK), words: Any = SICK, **changes: Any) -> Run:
    """A run with one function, over words and a number."""
    data = {
        "version": 1,
        "name": "closures",
        "seed": 4,
        "space": {"kind": "parameters", "parameters": {"word": {"categorical": list(words)}}},
        "evaluate": [{"score": {"timeout": changes.pop("timeout", 60.0)}}],
        "objectives": [{"maximize": next(iter(function.evaluator.provides))}],
        "optimizer": {"kind": "random", "batch": 4},
        "budget": {"candidates": budget},
        "max_failure_rate": 1.0,
        **changes,
    }
    return Run.create(
        read_campaign(Document(data), folder, made={("evaluate", 0, "score"): function.evaluator}), folder
    )


def worked(run: Run, workers: int = 0) -> dict[str, str]:
    """What became of every word: nothing where it was evaluated, or the cause."""
    run.use_workers(workers)
    run.execute()
    trials = [run.trial(id) for id in range(len(run.history))]
    return {
        str(trial.genome["word"]): f"{trial.failure.kind}: {trial.failure.message}" if trial.failure else ""
        for trial in trials
    }


def sick(candidate: Any) -> Any:
    """Does what the word says."""
    word = candidate.parameters["word"]
    if word == "raises":
        raise ValueError("no atoms")
    if word == "exits":
        raise SystemExit("gave up")
    if word == "two lines":
        return float(word.replace(" ", "\n"))
    answers = {"text": "1.0", "none": None, "array": np.ones(2), "nan": math.nan, "misnamed": {"wealth": 1.0}}
    return answers.get(word, 1.0)


EXPECTED = {
    "healthy": "",
    "raises": "error: ValueError: no atoms (line 5 of score)",
    "text": "error: returned the text '1.0', expected a number for health",
    "none": "error: returned None (is there no `return`?), expected a number for health",
    "array": "error: returned an array of shape (2,), expected a number for health",
    "nan": "not_finite: health is nan, not a finite number",
    "misnamed": "error: returned a mapping with wealth, expected a mapping with health",
    "exits": "error: SystemExit: gave up (line 7 of score)",
    "two lines": "error: ValueError: could not convert string to float: 'two\\nlines' (line 9 of score)",
}


def test_whatever_it_returns(tmp_path: Path) -> None:
    """Each fault is a failed evaluation that says what came back; the others have their results."""
    assert worked(made(decorated(sick), tmp_path / "run")) == EXPECTED


def test_whatever_it_returns_of_a_batch(tmp_path: Path) -> None:
    """One member's fault never fails its neighbours; what cannot be told apart fails those it is about."""

    def all_at_once(candidates: Any) -> Any:
        return [sick(candidate) for candidate in candidates]

    def one_short(candidates: Any) -> Any:
        return np.ones(len([c for c in candidates if c.parameters["word"] != "none"]))

    found = worked(made(decorated(all_at_once, batch=4), tmp_path / "all"))
    assert {word: cause.partition(" (line")[0] for word, cause in found.items()} == {
        word: cause.partition(" (line")[0] for word, cause in EXPECTED.items()
    }
    short = worked(made(decorated(one_short, batch=4), tmp_path / "short"))
    cause = (
        "error: returned an array of shape (3,), expected one entry for each of the 4 candidates of the batch"
    )
    failed = [word for word, said in short.items() if said]
    assert "none" in failed  # nobody can say whose number is whose: all of its batch, and no other
    assert {short[word] for word in failed} == {cause}
    assert len(failed) == 4 < len(short)


def test_worker_processes(tmp_path: Path) -> None:
    """A closure travels with what it captures; one that never returns, or kills its process, is a failure of its own."""
    import os

    scale, table = 2.0, {"healthy": 1.0}

    def score(candidate: Any) -> Any:
        word = candidate.parameters["word"]
        while word == "hangs":
            time.sleep(0.01)
        if word == "dies":
            os._exit(3)
        return scale * table[word]

    words = ("healthy", "hangs", "dies", "raises")
    run = made(decorated(score), tmp_path / "run", words=words, budget=4, timeout=3.0)
    assert worked(run, workers=1) == {
        "healthy": "",
        "hangs": "timeout: not done after 3 s",
        "dies": "crash: the worker exited with code 3",
        "raises": "error: KeyError: 'raises' (line 7 of score)",
    }
    (best,) = run.top(1)
    assert best["properties"] == {"health": 2.0}


def smooth(shift: float) -> Any:
    """A closure over a number, an array and a function."""
    weights = np.array([1.0, 2.0])

    def distance(x: float) -> float:
        return abs(x - shift)

    def score(candidate: Any) -> Any:
        return {"health": (distance(candidate.parameters["x"]) + float(weights.sum()), 0.1), "size": 1.0}

    return decorated(score, provides={"health": "", "size": "nm"})


NUMBERS = {"kind": "parameters", "parameters": {"x": {"real": [0.0, 1.0]}}}


def test_here_and_in_workers(tmp_path: Path) -> None:
    """The same closure gives the same run, to the last digit."""
    runs = [made(smooth(0.3), tmp_path / str(n), space=NUMBERS, budget=12) for n in (0, 1)]
    for workers, run in enumerate(runs):
        run.use_workers(workers)
        run.execute()
    assert runs[0].digest() == runs[1].digest()


def test_in_this_process_it_is_the_very_function(tmp_path: Path) -> None:
    """What it captures is the caller's own: a list it writes to is filled."""
    calls: list[str] = []

    def score(candidate: Any) -> float:
        calls.append(candidate.parameters["word"])
        return float(len(calls))

    function = decorated(score)
    run = made(function, tmp_path / "run")
    worked(run)
    assert sorted(calls) == sorted(SICK)
    Run.open(tmp_path / "run", functions=[function])  # what it wrote down is no change of it


def test_what_cannot_be_sent(tmp_path: Path) -> None:
    """A function over a lock is told at once, with the way out; in this process it works."""
    lock = threading.Lock()

    def score(candidate: Any) -> float:
        with lock:
            return 1.0

    run = made(decorated(score), tmp_path / "run")
    run.use_workers(1)
    with pytest.raises(
        RunError, match=r"the function 'score' cannot be sent to worker processes: .* workers=0"
    ):
        run.execute()
    assert len(worked(run)) == len(SICK)


# Going on.


def test_going_on_needs_the_function(tmp_path: Path) -> None:
    """A closure is handed in again by its name; the run says so, in Python and on the command line."""
    folder = tmp_path / "run"
    run = made(smooth(0.3), folder, space=NUMBERS, budget=8)
    run.use_workers(0)
    run.execute()
    whole = made(smooth(0.3), tmp_path / "whole", space=NUMBERS, budget=12)
    whole.use_workers(0)
    whole.execute()

    opened = Run.open(folder)
    note = "Run.open(FOLDER, functions=[score])"
    assert [note in said for said in opened.status().notes] == [True]
    opened.change(budget={"candidates": 12})
    lines = f"  run = invdesign.Run.open({str(folder)!r}, functions=[score])\n  run.execute()"
    with pytest.raises(RunError, match="not stored with the run") as caught:
        opened.execute()
    assert str(caught.value).endswith(lines)
    for command in ("status", "top"):
        assert here(command, folder).returncode == 0
    assert note in here("status", folder).stdout
    said = here("resume", folder)
    assert (said.returncode, said.stderr.endswith(lines + "\n")) == (3, True)
    assert opened.status().state == "finished"

    again = Run.open(folder, functions=[smooth(0.3)])
    again.use_workers(0)
    again.execute()
    assert again.digest() == whole.digest()


@pytest.mark.parametrize(
    ("functions", "error", "message"),
    [
        (lambda: [smooth(0.4)], CampaignChangedError, r"changed: the captured value 'distance\.shift'\. Undo the change, start a"),
        (lambda: [decorated(lambda c: 1.0, provides={"health": ""})], CampaignChangedError, "changed: what it provides, "),
        (lambda: [decorated(sick, provides={"health": "", "size": "nm"}, batch=2)], CampaignChangedError, r"its batch, where it is \(in no module, now tests\."),
        (lambda: [invdesign.fitness(provides={"a": ""}, name="scores")(sick)], RunError, r"this run has no function 'scores'\. Did you mean 'score'\?"),
        (lambda: [invdesign.fitness(provides={"a": ""}, name="other")(sick)], RunError, r"has no function 'other'\. It has: score\."),
        (lambda: [sick], RunError, r"functions are those decorated with invdesign\.fitness\(\.\.\.\), got 'sick'"),
        (lambda: ["score"], RunError, "functions are those decorated"),
    ],
)  # fmt: skip
def test_what_is_not_the_function(
    functions: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """A changed one is told with what changed; a stranger with the names there are."""
    made(smooth(0.3), tmp_path / "run", space=NUMBERS)
    with pytest.raises(error, match=message):
        Run.open(tmp_path / "run", functions=functions())
