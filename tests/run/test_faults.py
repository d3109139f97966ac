"""Sickness of one candidate stays its own; sickness of all stops the run with one clear message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invdesign.candidate import Status
from invdesign.errors import RunError
from invdesign.run.run import Run
from tests.plugins.faults import HEALTHY, SICKNESSES
from tests.support import FAULTS, campaign, finished

EXPECTED = {
    "raises": ("error", "ValueError: no atoms, no fun"),
    "nan": ("not_finite", "health is nan, not a finite number"),
    "infinite": ("not_finite", "health is -inf, not a finite number"),
    "half_known": ("not_finite", "health is nan, not a finite number"),
    "text": ("not_finite", "health is '1.0', not a finite number"),
    "none": ("not_finite", "health is None, not a finite number"),
    "nothing": ("error", "AttributeError: 'NoneType' object has no attribute 'cost'"),
    "misnamed": ("error", "did not return health"),
    "talkative": ("error", "returned wealth, which it does not declare"),
    "surrogate": ("error", "cannot read ?"),
    "refuses": ("missing", "no reference for Xe"),
    "system_exit": ("error", "SystemExit: the library gave up"),
    "sleeps": ("timeout", "not done after 4 s"),
    "spins": ("timeout", "not done after 4 s"),
    "exits": ("crash", "the worker exited with code 3"),
    "killed": ("crash", "the worker was killed by SIGKILL, often the system's out-of-memory killer"),
    "eats": (
        "memory",
        "Unable to allocate 191. MiB for an array with shape (25000000,) and data type float64",
    ),
}
DEADLY = {"sleeps", "spins", "exits", "killed", "eats"}  # not to be met outside a worker process


def hospital(words: list[str], evaluator: str = "Sick", **settings: Any) -> dict[str, Any]:
    """A campaign whose candidates are `words`, in this order."""
    genomes = [{"sickness": word, "n": n} for n, word in enumerate(words)]
    return {
        "version": 1,
        "name": "hospital",
        "space": {
            "kind": "parameters",
            "parameters": {
                "sickness": {"categorical": sorted({*SICKNESSES, "forgotten"})},
                "n": {"integer": [0, 999]},
            },
        },
        "evaluate": [{f"{FAULTS}:{evaluator}": {"timeout": 4.0, **settings}}],
        "objectives": [{"maximize": "health"}],
        "optimizer": {"kind": "random", "batch": len(words)},
        "seeds": genomes,
        "budget": {"candidates": len(words)},
        "engine": {"kind": "local", "memory": 0.7},
    }


def causes(run: Run, words: list[str]) -> dict[str, tuple[str, str]]:
    """Kind and message of every failed candidate, by its word; the healthy ones must all be complete."""
    found = {}
    for id, word in enumerate(words):
        trial = run.trial(id)
        assert trial.genome["sickness"] == word
        if word == HEALTHY:
            assert trial.status is Status.COMPLETE, trial.failure
            assert trial.properties == {"health": 1.0}
        else:
            assert trial.status is Status.FAILED
            assert trial.properties == {}
            assert trial.failure is not None
            assert trial.failure.stage == "Sick"
            found[word] = (trial.failure.kind, trial.failure.message)
    return found


def among_healthy(sick: list[str]) -> list[str]:
    """Every sick word with a healthy neighbour on either side."""
    return [HEALTHY, *(word for pair in zip(sick, [HEALTHY] * len(sick), strict=True) for word in pair)]


def test_every_sickness_is_covered() -> None:
    """No sickness of the test evaluator is without an expectation."""
    assert EXPECTED.keys() == SICKNESSES.keys() - {HEALTHY}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_sick_and_the_healthy(batch_size: int, tmp_path: Path) -> None:
    """Evaluators that raise, lie, hang, die or eat memory, one candidate each: every other one is evaluated.

    Alone in their task, or sharing it with healthy ones.
    """
    words = among_healthy(list(EXPECTED))
    run = finished(hospital(words, batch_size=batch_size), tmp_path / "run", workers=2)
    assert causes(run, words) == EXPECTED
    status = run.status()
    assert (status.state, status.counts["complete"], status.counts["failed"]) == ("finished", 18, 17)
    assert sum(status.failures.values()) == 17
    assert status.failures["Sick: timeout"] == 2


def test_in_this_process(tmp_path: Path) -> None:
    """Without worker processes, what a candidate can do short of ending the process is its own fault as well."""
    words = among_healthy([word for word in EXPECTED if word not in DEADLY])
    run = finished(hospital(words, batch_size=4), tmp_path / "run", workers=0)
    assert causes(run, words) == {word: cause for word, cause in EXPECTED.items() if word not in DEADLY}


def test_lost_tasks_are_recorded(tmp_path: Path) -> None:
    """A task that lost its worker is bisected until the culprit is alone, and the store tells the tale."""
    words = [HEALTHY, HEALTHY, HEALTHY, "exits"]
    run = finished(hospital(words, batch_size=4), tmp_path / "run", workers=1)
    assert causes(run, words) == {"exits": EXPECTED["exits"]}
    from invdesign.store.schema import tasks

    rows = [
        (row.members, row.status, row.attempt) for row in run.store.read_rows(tasks) if row.stage == "Sick"
    ]
    assert rows == [
        ("[0,1,2,3]", "lost", 0),
        ("[0,1]", "done", 1),
        ("[2,3]", "lost", 1),
        ("[2]", "done", 2),
        ("[3]", "lost", 2),
    ]


def test_a_lone_crash_is_tried_twice(tmp_path: Path) -> None:
    """A worker that died over one candidate may have been the machine's fault: it gets one more try, a timeout none."""
    run = finished(hospital(["exits", "sleeps"]), tmp_path / "run", workers=1)
    from invdesign.store.schema import tasks

    rows = [
        (row.members, row.status, row.attempt) for row in run.store.read_rows(tasks) if row.stage == "Sick"
    ]
    assert sorted(rows) == [("[0]", "lost", 0), ("[0]", "lost", 1), ("[1]", "lost", 0)]


def test_a_wrong_number_of_answers(tmp_path: Path) -> None:
    """An evaluator that answers for fewer than it was asked about fails that batch, and the next one goes on."""
    words = [HEALTHY, HEALTHY, HEALTHY, "forgotten", HEALTHY, HEALTHY, HEALTHY, HEALTHY]
    run = finished(hospital(words, "Miscounts", batch_size=4), tmp_path / "run")
    assert [run.trial(id).status.name for id in range(8)] == ["FAILED"] * 4 + ["COMPLETE"] * 4
    failure = run.trial(0).failure
    assert failure is not None
    assert failure.message == "returned 3 evaluations for 4 inputs"


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    """Past max_failure_rate the run stops, names rate, causes and an example, and stays resumable."""
    words = ["raises"] * 15 + ["nan"] * 7 + [HEALTHY] * 8
    data = hospital(words, max_failure_rate=0.7) | {"max_failure_rate": 0.7}
    del data["evaluate"][0][f"{FAULTS}:Sick"]["max_failure_rate"]
    run = Run.create(campaign(data), tmp_path / "run")
    run.use_workers(0)
    with pytest.raises(
        RunError, match=r"22 of 30 candidates failed, more than max_failure_rate allows \(0\.7\)"
    ) as caught:
        run.execute()
    text = str(caught.value)
    assert (
        "Causes: Sick: error (15), Sick: not_finite (7); for example: ValueError: no atoms, no fun." in text
    )
    assert "invdesign report" in text
    status = Run.open(tmp_path / "run", trust_code=True).status()
    assert (status.state, status.counts["complete"]) == ("failed", 8)
    assert status.reason.startswith("failed: 22 of 30")


def test_a_withdrawn_trial_is_no_example(tmp_path: Path) -> None:
    """Messages on failures show the first trial that failed, not one that was withdrawn before."""
    data = hospital(["raises"] * 30, max_failure_rate=0.7) | {"max_failure_rate": 0.7}
    del data["evaluate"][0][f"{FAULTS}:Sick"]["max_failure_rate"]
    run = finished(data | {"budget": {"candidates": 10}}, tmp_path / "run")
    run.withdraw(0, "wrong cell")
    again = Run.open(tmp_path / "run", trust_code=True)
    assert next(iter(again.history.failures_by_trial())) == 0
    shown = again._repr_html_()
    assert "failed at Sick: error (9); for example candidate 1: ValueError: no atoms, no fun" in shown
    assert "wrong cell" not in shown
    again.change(budget={"candidates": 30})
    again.use_workers(0)
    with pytest.raises(RunError, match="for example: ValueError: no atoms, no fun") as caught:
        again.execute()
    assert "wrong cell" not in str(caught.value)


def test_a_few_failures_do_not(tmp_path: Path) -> None:
    """Up to the rate, and below 20 candidates, a run goes on."""
    few = hospital(["raises"] * 19)
    assert finished(few, tmp_path / "few").status().state == "finished"
    half = hospital(["raises"] * 18 + [HEALTHY] * 2)
    assert finished(half, tmp_path / "half").status().state == "finished"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "no worker can be set up: FileNotFoundError: there is no weights.pt"),
        ("system_exit", "no worker can be set up: SystemExit: the library gave up"),
        ("exits", "no worker can be set up: the worker processes die before they can take a task"),
    ],
)
def test_workers_that_cannot_be_set_up(how: str, message: str, tmp_path: Path) -> None:
    """A model that cannot be loaded, or kills its process, ends the run at once; no candidate is blamed."""
    run = Run.create(campaign(hospital([HEALTHY] * 3, "Unprepared", how=how)), tmp_path / "run")
    run.use_workers(1)
    with pytest.raises(RunError, match=message):
        run.execute()
    again = Run.open(tmp_path / "run", trust_code=True)
    assert again.status().counts == {
        "asked": 3,
        "pending": 3,
        "complete": 0,
        "gated": 0,
        "infeasible": 0,
        "failed": 0,
        "withdrawn": 0,
    }


def test_a_worker_that_dies_while_it_starts(tmp_path: Path) -> None:
    """One killed while it loads (short of memory for a moment) is replaced; nothing is lost and nobody is blamed."""
    data = hospital([HEALTHY] * 5, "UnpreparedOnce", mark=str(tmp_path / "mark"))
    run = finished(data, tmp_path / "run", workers=1)
    assert (tmp_path / "mark").exists()
    assert run.status().counts["complete"] == 5


def test_unloadable_code_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is gone when the workers start is one clear error too."""
    (tmp_path / "leaving.py").write_text(
        "from tests.plugins.faults import Sick as Base\n\n\nclass Sick(Base):\n    pass\n"
    )
    data = hospital([HEALTHY] * 3)
    data["evaluate"] = [{"leaving:Sick": {}}]
    from invdesign.campaign.load import campaign_from

    run = Run.create(campaign_from(data, folder=tmp_path, trust_code=True), tmp_path / "run")
    (tmp_path / "leaving.py").unlink()
    run.use_workers(1)
    with pytest.raises(
        RunError, match="no worker can be set up: PluginError: 'leaving:Sick' cannot be loaded: No module"
    ):
        run.execute()
