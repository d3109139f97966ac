"""The same campaign gives the same run: on any number of workers, in one go or in pieces, never under another campaign."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from invdesign.errors import CampaignChangedError, RunError, RunLockedError, StoreError
from invdesign.run.loop import BUDGET_REACHED, EXHAUSTED, STOPPED
from invdesign.run.run import Run, run_status
from invdesign.run.status import RunStatus
from invdesign.store.lock import lock_run
from invdesign.store.schema import events
from tests.support import FAULTS, PATIENCE, STEPS, campaign, finished, funnel, seal


def open_run(folder: Path) -> Run:
    return Run.open(folder, trust_code=True)


def test_workers_do_not_matter(tmp_path: Path) -> None:
    """In this process, on one worker or on two: equal digests, though tasks end in another order."""
    runs = [finished(funnel(48, delay=0.005), tmp_path / str(workers), workers) for workers in (0, 1, 2)]
    assert len({run.digest() for run in runs}) == 1
    counts = runs[0].status().counts
    assert min(counts["complete"], counts["gated"], counts["infeasible"], counts["failed"]) > 0, counts


OVERLAPPING = {"kind": f"{STEPS}:OverlappingSearch", "batch": 4}


def test_overlapping_asks_do_not_depend_on_who_is_first(tmp_path: Path) -> None:
    """With several asks under way an optimizer sees told results alone, in order: any number of workers gives one run."""
    data = funnel(46, delay=0.005, optimizer=OVERLAPPING)
    runs = [finished(data, tmp_path / str(workers), workers) for workers in (0, 1, 2)]
    assert len({run.digest() for run in runs}) == 1
    status = runs[2].status()
    assert (status.counts["asked"], status.counts["pending"]) == (46, 0)
    kinds = [row.kind for row in runs[0].store.read_rows(events)]
    assert kinds[:7] == ["start", "ask", "ask", "ask", "tell", "ask", "tell"]
    assert kinds[-3:] == ["tell"] * 3


@pytest.mark.parametrize("budget", [{"evaluations": 20}, {"candidates": 30, "evaluations": 90}])
def test_overlapping_asks_keep_the_budget(budget: dict[str, int], tmp_path: Path) -> None:
    """What is under way counts against the budget until it has ended."""
    status = finished(funnel(budget=budget, optimizer=OVERLAPPING), tmp_path / "run").status()
    assert status.reason == BUDGET_REACHED
    assert status.stages[-1].entered <= budget["evaluations"]
    if budget["evaluations"] == 20:
        assert status.stages[-1].entered == 20
    else:
        assert status.counts["asked"] == 30


def test_overlapping_asks_stopped_and_gone_on(tmp_path: Path) -> None:
    """Stopped with asks under way, the run shows what was found of them, and goes on to the same end."""
    data = funnel(40, delay=0.01, optimizer=OVERLAPPING)
    run = Run.create(campaign(data), tmp_path / "run")
    run.use_workers(2)

    def watch(status: RunStatus) -> None:
        if status.counts["asked"] - status.counts["pending"] > 5:
            run.stop()

    assert run.execute(watch).state == "stopped"
    again = open_run(tmp_path / "run")
    assert [repr(again.trial(id)) for id in range(len(again.history))] == [
        repr(run.trial(id)) for id in range(len(run.history))
    ]
    again.use_workers(1)
    assert again.execute().state == "finished"
    assert again.digest() == finished(data, tmp_path / "whole").digest()


def test_a_leak_of_the_order_is_seen(tmp_path: Path) -> None:
    """The test above can fail: a number that counts evaluations in its process differs between workers."""
    data = funnel(24, delay=0.1)  # so long that the second worker is up before the first has done everything
    data["evaluate"][0][f"{STEPS}:Height"]["leak"] = "order of completion"
    assert finished(data, tmp_path / "0").digest() != finished(data, tmp_path / "2", 2).digest()


def test_the_seed_matters(tmp_path: Path) -> None:
    """Another seed is another run."""
    assert (
        finished(funnel(12), tmp_path / "a").digest()
        != finished(funnel(12, seed=12), tmp_path / "b").digest()
    )


def test_history_is_the_same_when_read_again(tmp_path: Path) -> None:
    """What an optimizer sees of a trial does not tell whether the run was resumed, down to the order of names."""
    run = finished(funnel(36), tmp_path / "run")
    again = open_run(tmp_path / "run")
    again.use_workers(0)
    again.change(budget={"candidates": 48})
    again.execute()
    live = [repr(again.trial(id)) for id in range(len(again.history))]
    fresh = open_run(tmp_path / "run")
    assert [repr(fresh.trial(id)) for id in range(len(fresh.history))] == live
    assert [repr(run.trial(id)) for id in range(len(run.history))] == live[:36]
    assert fresh.history.property_names() == again.history.property_names()


# Budget.


def test_an_enlarged_budget_goes_on(tmp_path: Path) -> None:
    """A run to 36 enlarged to 60 equals a run to 60, where 36 is whole generations of 12."""
    run = finished(funnel(36), tmp_path / "run")
    assert run.status().reason == BUDGET_REACHED
    again = open_run(tmp_path / "run")
    again.change(budget={"candidates": 60})
    again.use_workers(0)
    assert again.execute().counts["asked"] == 60
    assert again.digest() == finished(funnel(60), tmp_path / "whole").digest()
    assert open_run(tmp_path / "run").campaign.budget.candidates == 60


def test_a_smaller_budget_ends_at_once(tmp_path: Path) -> None:
    """A budget that is used up already ends the run without a candidate more."""
    before = finished(funnel(36), tmp_path / "run").digest()
    again = open_run(tmp_path / "run")
    again.change(budget={"candidates": 5})
    status = again.execute()
    assert (status.state, status.reason, status.counts["asked"]) == ("finished", BUDGET_REACHED, 36)
    assert again.digest() == before


def test_budget_of_evaluations(tmp_path: Path) -> None:
    """It counts candidates that entered the last stage, and is never exceeded."""
    run = finished(funnel(budget={"evaluations": 20}), tmp_path / "run")
    status = run.status()
    last = status.stages[-1]
    assert (status.reason, last.entered) == (BUDGET_REACHED, 20)
    assert status.counts["asked"] > 20


def test_budget_of_hours(tmp_path: Path) -> None:
    """Time counts over all sessions; a wave under way is finished."""
    run = finished(funnel(budget={"hours": 1e-5}, optimizer={"kind": "random", "batch": 4}), tmp_path / "run")
    status = run.status()
    assert status.reason == BUDGET_REACHED
    assert status.counts["pending"] == 0
    assert status.elapsed >= 0.036


def test_exhausted_space(tmp_path: Path) -> None:
    """When everything was proposed the run ends and says so, with the budget left over."""
    space = {"kind": "parameters", "parameters": {"x": {"integer": [0, 4]}, "n": {"integer": [0, 1]}}}
    for kind in ("random", "genetic"):
        data = funnel(50, space=space, optimizer={"kind": kind})
        status = finished(data, tmp_path / kind).status()
        assert (status.state, status.reason, status.counts["asked"]) == ("finished", EXHAUSTED, 10)


def test_an_optimizer_that_repeats_itself(tmp_path: Path) -> None:
    """Proposals asked before, or twice in one answer, cost no evaluation."""
    data = funnel(12, optimizer={"kind": f"{STEPS}:RepeatingSearch"})
    data["space"] = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}}}
    status = finished(data, tmp_path / "run").status()
    assert (status.reason, status.counts["asked"]) == (EXHAUSTED, 1)


# Stopping.


def test_stop_and_go_on(tmp_path: Path) -> None:
    """Stopped from another thread the run is whole, says it was stopped, and goes on to the same end."""
    data = funnel(36, delay=0.01)
    run = Run.create(campaign(data), tmp_path / "run")
    run.use_workers(0)

    def watch(status: RunStatus) -> None:
        if status.counts["asked"] - status.counts["pending"] > 5:
            run.stop()

    status = run.execute(watch)
    assert (status.state, status.reason) == ("stopped", STOPPED)
    assert 5 < status.counts["asked"] - status.counts["pending"] < 36
    assert run_status(tmp_path / "run", trust_code=True).state == "stopped"
    again = open_run(tmp_path / "run")
    again.use_workers(1)
    assert again.execute().state == "finished"
    assert again.digest() == finished(data, tmp_path / "whole").digest()


def test_in_a_thread(tmp_path: Path) -> None:
    """A notebook may work on a run in a thread: signals are left alone there."""
    run = Run.create(campaign(funnel(12)), tmp_path / "run")
    run.use_workers(0)
    thread = threading.Thread(target=run.execute)
    thread.start()
    thread.join(PATIENCE)
    assert run.status().state == "finished"


def test_states(tmp_path: Path) -> None:
    """New, interrupted, finished: what became of a run can be read off its store."""
    run = Run.create(campaign(funnel(12)), tmp_path / "run")
    assert run.status().state == "new"
    with closing(sqlite3.connect(tmp_path / "run" / "run.sqlite")) as connection, connection:
        connection.execute("insert into sessions (started, seconds, environment) values ('now', 1.5, '{}')")
    seal(tmp_path / "run" / "run.sqlite")
    assert run.status().state == "interrupted"
    run.use_workers(0)
    run.execute()
    rows = run.store.session_rows()
    assert [row["reason"] for row in rows] == ["did not end cleanly", BUDGET_REACHED]
    assert run.status().state == "finished"
    assert run.status().elapsed >= 1.5


def test_sessions_remember_their_environment(tmp_path: Path) -> None:
    """Each session keeps versions, machine and process: outside the digest, for the report."""
    run = finished(funnel(12), tmp_path / "run")
    (row,) = run.store.session_rows()
    assert row["environment"]["packages"]["numpy"]
    assert row["environment"]["host"]
    assert row["seconds"] > 0


# What is refused.


def test_another_campaign_is_refused(tmp_path: Path) -> None:
    """Going on under a changed campaign is refused with the difference; nothing of the run is touched."""
    run = finished(funnel(12), tmp_path / "run")
    before = run.digest()
    changed = funnel(24, seed=12, optimizer={"kind": "genetic", "population": 6})
    with pytest.raises(
        CampaignChangedError, match=r"optimizer\.population: 12 -> 6\n  seed: 28 -> 12\n"
    ) as caught:
        open_run(tmp_path / "run").change(campaign(changed))
    assert "only budget and engine may change" in str(caught.value)
    assert open_run(tmp_path / "run").campaign.budget.candidates == 12
    assert open_run(tmp_path / "run").digest() == before


def test_budget_and_engine_may_change(tmp_path: Path) -> None:
    """A campaign file with a new budget, engine and tolerance is taken up, and kept."""
    finished(funnel(12), tmp_path / "run")
    new = funnel(24, engine={"kind": "local", "workers": 0}, max_failure_rate=0.5)
    open_run(tmp_path / "run").change(campaign(new))
    again = open_run(tmp_path / "run")
    assert again.campaign == campaign(new)
    assert again.execute().counts["asked"] == 24


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    """A folder with a run in it is refused; what to type instead is said."""
    finished(funnel(12), tmp_path / "run")
    with pytest.raises(RunError, match=r"holds a run already\. Go on with it: invdesign resume"):
        Run.create(campaign(funnel(12)), tmp_path / "run")


def test_one_process_holds_a_run(tmp_path: Path) -> None:
    """Whoever comes second is told host and process, whatever it wants to write; reading is always possible."""
    run = finished(funnel(12), tmp_path / "run")
    with lock_run(tmp_path / "run"):
        assert run.status().state == "running"
        for attempt in (run.execute, lambda: run.change(budget={"candidates": 20})):
            with pytest.raises(
                RunLockedError, match=r"is in use by process \d+ on .+\. Look at it with: invdesign status"
            ):
                attempt()
        with pytest.raises(RunLockedError, match="is in use by process"):
            Run.create(campaign(funnel(12)), tmp_path / "run")
        assert len(open_run(tmp_path / "run").top(3)) == 3
    assert run.status().state == "finished"


def test_code_of_a_run_needs_trust(tmp_path: Path) -> None:
    """A run that names code is not opened, and its code not imported, before the user says so."""
    folder = tmp_path / "run"
    run = finished(funnel(12), folder)
    data = json.loads(run.store.read_entry("campaign"))
    run.close()
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    data |= {"code": [str(tmp_path)], "optimizer": {"kind": "evil:Search"}}
    with closing(sqlite3.connect(folder / "run.sqlite")) as connection, connection:
        connection.execute("update meta set value = ? where key = 'campaign'", [json.dumps(data)])
    seal(folder / "run.sqlite")
    for reading in (Run.open, run_status):
        with pytest.raises(RunError, match=r"imports code from .*and importing it runs it.*--trust-code"):
            reading(folder)
    assert not (tmp_path / "ran").exists()


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    """A folder without a run says so."""
    with pytest.raises(StoreError, match=r"holds no run \(run\.sqlite is missing\)"):
        Run.open(tmp_path)
    with pytest.raises(StoreError, match=r"holds no run"):
        run_status(tmp_path / "nowhere")


def test_a_campaign_of_another_version(tmp_path: Path) -> None:
    """A stored campaign that this version cannot read is an error with both versions, not a stack trace."""
    run = finished(funnel(12), tmp_path / "run")
    data = json.loads(run.store.read_entry("campaign"))
    run.close()
    data["optimizer"]["populaton"] = 3
    with closing(sqlite3.connect(tmp_path / "run" / "run.sqlite")) as connection, connection:
        connection.execute("update meta set value = ? where key = 'campaign'", [json.dumps(data)])
        connection.execute("update meta set value = '9.9' where key = 'created_by'")
    seal(tmp_path / "run" / "run.sqlite")
    with pytest.raises(
        StoreError, match=r"cannot be read by invdesign .* \(it was made by 9\.9\)(.|\n)*populaton"
    ):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["a b", "50%41", "q?mode=memory", "h#sh", "ümläut", "it's", "-"])
def test_odd_folder_names(name: str, tmp_path: Path) -> None:
    """Any name a file system takes is a name for a run."""
    finished(funnel(12), tmp_path / name)
    assert (tmp_path / name / "run.sqlite").is_file()
    assert open_run(tmp_path / name).status().counts["asked"] == 12


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is found under the name it was given."""
    monkeypatch.chdir(tmp_path)
    finished(funnel(12), Path("runs/one"))
    assert open_run(Path("runs") / "one").status().counts["asked"] == 12


def test_the_store_is_one_file_when_a_session_ends(tmp_path: Path) -> None:
    """Copying run.sqlite copies the run: no journal holds a part of it."""
    run = finished(funnel(24), tmp_path / "run")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "run.sqlite").write_bytes((tmp_path / "run" / "run.sqlite").read_bytes())
    assert open_run(tmp_path / "copy").digest() == run.digest()


def test_seeds_come_first(tmp_path: Path) -> None:
    """The user's genomes are evaluated before anything else, in their order."""
    seeds = [{"x": 0.25, "y": 0.5, "n": 1}, {"x": 0.125, "y": 0.25, "n": 0}]
    run = finished(funnel(12, seeds=seeds), tmp_path / "run")
    assert [dict(run.trial(id).genome) for id in (0, 1)] == seeds
    assert [run.trial(id).candidate.proposal.operator for id in (0, 1)] == ["seed", "seed"]


def test_a_third_partys_plugin_that_died_is_no_traceback(tmp_path: Path) -> None:
    """Evaluators that cannot be set up in this process end the run with one message."""
    run = Run.create(campaign(unprepared("raises")), tmp_path / "run")
    run.use_workers(0)
    with pytest.raises(
        RunError, match=r"the evaluators cannot be set up: FileNotFoundError: there is no weights\.pt"
    ):
        run.execute()
    assert run.status().state == "failed"


def unprepared(how: str) -> dict[str, Any]:
    return funnel(
        12,
        evaluate=[{f"{FAULTS}:Unprepared": {"how": how}}],
        objectives=[{"maximize": "health"}],
        constraints=[],
    )
