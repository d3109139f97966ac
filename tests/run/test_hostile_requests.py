"""Requests of strangers, late ones and duplicates: a run goes on, and each wish of its user has its effect once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign import strictjson
from invdesign.campaign.load import load_campaign
from invdesign.errors import CampaignChangedError, RefusedError, RunError
from invdesign.run import requests, steering
from invdesign.run.requests import Seen, read_refusal, remove_leftovers, waiting_requests, write_request
from invdesign.run.run import Run
from invdesign.run.steering import leave_or_apply
from invdesign.spaces.pool.space import _load_pool
from tests.fuzz.requests import computed, deep, fuzz_files, fuzz_sequences, measured
from tests.support import campaign, finished, here, written

# What fuzzers find.


def test_random_files_do_no_harm(tmp_path: Path) -> None:
    """Hostile ones are set aside, and the run ends as one that got the others alone."""
    found = fuzz_files(tmp_path, seed=11, files=25)
    assert dict(found.kinds) == {}


def test_late_and_repeated_requests_have_no_effect(tmp_path: Path) -> None:
    """Whatever is killed, typed again, or comes back: what counts is what a model says."""
    assert fuzz_sequences(tmp_path, seed=12, sequences=3) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_many_random_files_do_no_harm(seed: int, tmp_path: Path) -> None:
    """The same of 10,000 files in all."""
    found = fuzz_files(tmp_path, seed=seed, files=2500)
    assert dict(found.kinds) == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_late_and_repeated_requests_have_no_effect(tmp_path: Path) -> None:
    """The same of 500 sequences."""
    assert fuzz_sequences(tmp_path, seed=1, sequences=500) == []


# One by one.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of which three candidates wait for a measurement."""
    data = measured()
    data["evaluate"] = data["evaluate"][:1]
    run = Run.create(campaign(data), tmp_path / "run")
    run.ask(3)
    run.close()
    return tmp_path / "run"


def told(id: int, value: float) -> dict[str, Any]:
    return {"candidate": id, "properties": {"strength": value}, "stage": "Outside"}


def counting(folder: Path) -> list[float]:
    run = Run.open(folder, trust_code=True)
    run.close()
    return [item.properties["strength"] for item in run.measurements() if item.withdrawn is None]


def again(id: int) -> dict[str, Any]:
    return {"ids": [id], "reason": "a leak", "again": True, "measurements": []}


def test_an_old_withdrawal_takes_no_later_result(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Left and killed, typed again and applied, another result told: the old file is void, and says why."""
    leave_or_apply(folder, "tell", {"results": [told(0, 1.0)], "replace": False}, trust_code=True)
    old = steering.leave_once(folder, "withdraw", again(0))
    kept = (folder / "requests" / f"{old.id}.json").read_bytes()
    assert (
        leave_or_apply(folder, "withdraw", again(0), trust_code=True).request == old
    )  # the same, not a second one
    leave_or_apply(folder, "tell", {"results": [told(0, 2.0)], "replace": False}, trust_code=True)
    late = write_request(folder, "withdraw", {**old.detail}, seen=old.seen)
    (folder / "requests" / f"{old.id}.json").write_bytes(kept)
    leave_or_apply(folder, "tell", {"results": [told(1, 3.0)], "replace": False}, trust_code=True)
    assert counting(folder) == [2.0, 3.0]
    assert "candidate 0 was changed since it was made" in read_refusal(folder, late)
    assert "out of date" in caplog.text
    assert waiting_requests(folder) == []


def test_what_waits_comes_before_a_command(folder: Path) -> None:
    """A result that was left is recorded before it is replaced, and not brought back after that."""
    steering.leave_once(folder, "tell", {"results": [told(0, 1.0)], "replace": False})
    leave_or_apply(folder, "tell", {"results": [told(0, 2.0)], "replace": True}, trust_code=True)
    assert counting(folder) == [2.0]


def test_a_replacement_takes_back_what_its_author_saw(folder: Path) -> None:
    """Not a result that was told since, which is said."""
    leave_or_apply(folder, "tell", {"results": [told(0, 1.0)], "replace": False}, trust_code=True)
    old = steering.leave_once(folder, "tell", {"results": [told(0, 2.0)], "replace": True})
    requests.remove_request(folder, old)
    leave_or_apply(folder, "tell", {"results": [told(0, 3.0)], "replace": False}, trust_code=True)
    late = write_request(folder, "tell", old.detail, seen=old.seen)
    Run.open(folder, trust_code=True).ask(1)
    assert counting(folder) == [1.0, 3.0]
    assert "measurement 2 was told since it was made" in read_refusal(folder, late)


def test_a_result_does_not_bring_back_what_was_withdrawn_since(folder: Path) -> None:
    """Neither the same result, nor a late one of a candidate that was taken back meanwhile."""
    same = steering.leave_once(folder, "tell", {"results": [told(0, 1.0)], "replace": False})
    requests.remove_request(folder, same)
    other = steering.leave_once(folder, "tell", {"results": [told(0, 7.0)], "replace": False})
    requests.remove_request(folder, other)
    leave_or_apply(folder, "tell", {"results": [told(0, 1.0)], "replace": False}, trust_code=True)
    leave_or_apply(folder, "withdraw", {"ids": [0], "reason": "a leak"}, trust_code=True)
    for request in (same, other):
        write_request(folder, "tell", request.detail, id=request.id, seen=request.seen)
    Run.open(folder, trust_code=True).ask(1)
    assert counting(folder) == []
    assert "candidate 0 was changed since" in read_refusal(folder, other)


def test_a_clock_that_is_set_back_reorders_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are taken up in the order they were left."""
    steering.leave_once(folder, "tell", {"results": [told(0, 1.0)], "replace": False})
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    steering.leave_once(folder, "tell", {"results": [told(0, 2.0)], "replace": True})
    steering.leave_once(folder, "budget", {"candidates": 17})
    steering.leave_once(folder, "budget", {"candidates": 19})
    Run.open(folder, trust_code=True).ask(1)
    assert counting(folder) == [2.0]
    assert Run.open(folder, trust_code=True).campaign.budget.candidates == 19


def test_a_refused_budget_stays_refused(tmp_path: Path) -> None:
    """A budget that is refused while a wave runs is not taken up after it, when there are as many events as it saw."""
    data = measured()
    Run.create(campaign(data), tmp_path / "run").close()
    folder = tmp_path / "run"
    for x in (0.2, 0.4, 0.6):
        write_request(folder, "add", {"genomes": [{"x": x, "y": 0.5}], "until": None})
    late = write_request(folder, "budget", {"candidates": 13}, seen=Seen(2, "", ()))
    run = Run.open(folder, trust_code=True)
    run.ask(1)
    run.close()
    assert "made for another run" in read_refusal(folder, late)
    assert run.campaign.budget.candidates == 40
    assert Run.open(folder, trust_code=True).campaign.budget.candidates == 40


def test_an_old_budget_does_not_come_back(folder: Path) -> None:
    """Not even where the run has the budget again that it had when that was asked for."""
    old = steering.leave_once(folder, "budget", {"candidates": 25})
    kept = (folder / "requests" / f"{old.id}.json").read_bytes()
    for count in (25, 30, 40):
        leave_or_apply(folder, "budget", {"candidates": count}, trust_code=True)
    (folder / "requests" / f"{old.id}.json").write_bytes(kept)
    run = Run.open(folder, trust_code=True)
    run.ask(1)
    assert run.campaign.budget.candidates == 40
    assert "the budget was changed since it was made, and is now 40 candidates" in read_refusal(folder, old)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"kind": "add", "detail": {"genomes": [' + "[" * 900 + "]" * 900 + "]}}", "nested more than 64 levels"),
        ('{"kind": "withdraw", "detail": {"ids": [1], "reason": "\\ud800"}}', "half a character"),
        ('{"kind": "withdraw", "detail": {"ids": [' + "9" * 400 + '], "reason": "a"}}', r"400 characters\) is too large"),
        ('{"kind": "budget", "detail": {"candidates": 9223372036854775808}}', "is too large"),
        ('{"kind": "withdraw", "detail": {"ids": [1], "reason": "' + "a" * 10**6 + '"}}', "reason must be a sentence"),
        ('{"kind": "tell", "detail": {"results": [{"candidate": 0, "failure": {"a": 1}}]}}', "results must be a list of results"),
        ('{"kind": "stop", "kind": "add", "detail": {}}', "'kind' is repeated"),
        ('{"kind": "stop", "detail": {}, "mine": 1}', "it knows no mine"),
        ('{"kind": "stop", "detail": {}, "seen": {"event": true}}', "seen must be an object"),
    ],
)  # fmt: skip
def test_hostile_content_is_set_aside(content: str, says: str, tmp_path: Path) -> None:
    """With a reason that can be read, whatever it quotes."""
    inbox = tmp_path / "requests"
    inbox.mkdir()
    (inbox / "mine.json").write_text(content, encoding="utf-8")
    assert waiting_requests(tmp_path) == []
    reason = (inbox / "refused" / "mine.json.reason.txt").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        raise ValueError(reason)


def test_what_is_no_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pipes, folders, links, too large a file, names that are no ids: never opened, never waited for."""
    inbox = tmp_path / "requests"
    inbox.mkdir()
    os.mkfifo(inbox / "pipe.json")
    (inbox / "folder.json").mkdir()
    (inbox / "folder.json" / "inner.json").touch()
    (inbox / "link.json").symlink_to("/dev/zero")
    (inbox / "nowhere.json").symlink_to("nowhere")
    (inbox / os.fsdecode(b"\xff.json")).write_text('{"kind": "stop", "detail": {}}', encoding="utf-8")
    (inbox / f"{'x' * 250}.json").write_text("{}", encoding="utf-8")
    with (inbox / "large.json").open("wb") as file:
        file.truncate(requests.LIMIT + 1)
    assert waiting_requests(tmp_path) == []
    assert [path.name for path in inbox.iterdir()] == ["refused"]
    assert len(list((inbox / "refused").glob("*.reason.txt"))) == 7
    assert "it is a pipe or a device" in caplog.text
    assert "too large" in caplog.text


def test_what_cannot_be_moved_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the place for refused requests is taken, the run goes on without reading it."""
    inbox = tmp_path / "requests"
    inbox.mkdir()
    (inbox / "refused").touch()
    (inbox / "mine.json").touch()
    assert waiting_requests(tmp_path) == []
    assert waiting_requests(tmp_path) == []
    assert caplog.text.count("cannot be moved away") == 1


def test_leftovers_of_killed_writers_are_removed(folder: Path) -> None:
    """Only such ones: of a process that is gone, or old; not those of a writer at work, nor files of others."""
    inbox = folder / "requests"
    inbox.mkdir(exist_ok=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        "gone": f".1.json.{requests._host_hash()}-{gone.pid}-0123abcd",
        "old": ".1.json.0123abcd",
        "elsewhere": ".1.json.00000000-1-0123abcd",
        "at work": f".1.json.{requests._host_hash()}-{os.getpid()}-0123abcd",
        "new": ".2.json.0123abcd",
        "another's": ".notes.txt",
    }
    for name in names.values():
        (inbox / name).touch()
    for name in ("old", "elsewhere"):
        os.utime(inbox / names[name], (0, 0))
    run = Run.open(folder, trust_code=True)
    run.ask(1)
    run.close()
    assert {path.name for path in inbox.iterdir()} == {
        names[name] for name in ("at work", "new", "another's")
    }
    remove_leftovers(folder)


def test_a_mistake_of_a_caller_is_refused(folder: Path) -> None:
    """What a request cannot hold is said at once, in Python too."""
    run = Run.open(folder, trust_code=True)
    detail: Any = {"genomes": [{"x": deep(80)}], "until": None}
    with pytest.raises(RefusedError, match="nested more than 64 levels"):
        requests.new_request("add", detail)
    with pytest.raises(RunError, match="half a character"):
        leave_or_apply(folder, "withdraw", {"ids": [0], "reason": "\ud800"}, trust_code=True)
    with pytest.raises(RefusedError, match=r"no budget: candidates: .* less than"):
        run.change(budget={"candidates": 10**400})
    assert not (folder / "requests").exists() or waiting_requests(folder) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_json_within_bounds_is_read_as_it_was(value: Any) -> None:
    """Escaped or not."""
    assert strictjson.loads(json.dumps(value)) == value
    assert strictjson.loads(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize("levels", [1, 63, 64, 65, 66, 5000])
def test_nesting_is_bounded(levels: int) -> None:
    """To 64 levels, counted from the outermost."""
    text = "[" * levels + "]" * levels
    if levels <= strictjson.MAX_DEPTH:
        strictjson.loads(text)
    else:
        with pytest.raises(ValueError, match="more than 64 levels"):
            strictjson.loads(text)


# Budgets.


def test_a_budget_stands_until_the_file_says_another(tmp_path: Path) -> None:
    """The limits that a command set stay as long as the campaign file does not change them."""
    data = measured()
    file = written(data, tmp_path / "c.yaml")
    folder = tmp_path / "run"

    def asked(**budget: Any) -> dict[str, Any]:
        written({**data, "budget": budget}, file)
        done = here("ask", folder, "--campaign", file, "-n", 1, "--trust-code")
        assert done.returncode == 0, done.stderr
        return Run.open(folder, trust_code=True).campaign.budget.model_dump(exclude_none=True)

    assert asked(candidates=20) == {"candidates": 20}
    here("budget", folder, "--candidates", 30, "--trust-code")
    assert asked(candidates=20) == {"candidates": 30}
    assert asked(candidates=20, hours=5) == {"candidates": 30, "hours": 5}
    assert asked(candidates=25, hours=5) == {"candidates": 25, "hours": 5}
    here("budget", folder, "--hours", 7, "--trust-code")
    assert asked(candidates=26, hours=5) == {"candidates": 26, "hours": 7}


def test_a_refused_command_changes_nothing(tmp_path: Path) -> None:
    """A pool whose file changed: the budget and the state are as they were, and the message names fork."""
    pool = tmp_path / "pool.csv"
    pool.write_text("formula,a,worth\n" + "".join(f"Li{i}O,{i},{i}\n" for i in range(2, 9)), encoding="utf-8")
    data = computed(3)
    data |= {
        "space": {"kind": "pool", "source": str(pool), "composition": "formula", "columns": ["a"]},
        "evaluate": [{"table": {"file": str(pool), "key": ["a"], "provides": {"worth": ""}}}],
        "objectives": [{"maximize": "worth"}],
        "optimizer": "random",
        "engine": {"kind": "local", "workers": 0},
    }  # fmt: skip
    file = written(data, tmp_path / "c.yaml")
    folder = tmp_path / "run"
    finished(load_campaign(file), folder).close()
    whole = pool.read_text(encoding="utf-8")
    pool.write_text(f"{whole}Na2O,20,20\n", encoding="utf-8")
    _load_pool.cache_clear()  # a pool is read once per process
    done = here("resume", folder, "--candidates", 7)
    assert done.returncode == 2
    assert "has changed" in done.stderr
    assert f"invdesign fork {folder} NEW --campaign FILE" in done.stderr
    run = Run.open(folder)
    assert run.campaign.budget.candidates == 3
    assert run.status().state == "finished"
    with pytest.raises(CampaignChangedError, match="invdesign fork"):
        run.change(campaign({**data, "seed": 99}))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["budget", "RUN", "--candidates", "9" * 400], "from 1 to 9223372036854775807"),
        (["budget", "RUN", "--hours", "inf"], "must be a number from 1e-06 on, got 'inf'"),
        (["budget", "RUN", "--hours", "nan"], "must be a number from"),
        (["budget", "RUN", "--hours=-1"], "must be a number from"),
        (["budget", "RUN", "--candidates", "2", "--wait", "inf"], "must be a number from 0 on"),
        (["resume", "RUN", "--candidates", "9" * 5000], "must be a whole number from 1 to"),
        (["ask", "RUN", "-n", "9" * 20], "must be a whole number from 1 to"),
        (["show", "RUN", "9" * 400], "must be a whole number from 0 to"),
        (["show", "RUN", "1.0"], "must be a whole number from 0 to"),
        (["measurements", "RUN", "9" * 400], "must be a whole number from 0 to"),
        (["withdraw", "RUN", "9" * 400, "--reason", "a"], "must be a whole number from 0 to"),
        (
            ["withdraw", "RUN", "1", "--measurement", "true", "--reason", "a"],
            "must be a whole number from 0 to",
        ),
        (["top", "RUN", "-n", "0"], "must be a whole number from 1 to"),
        (["resume", "RUN", "--workers", "5000"], "must be a whole number from 0 to 1024"),
    ],
)
def test_numbers_at_the_command_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    """Each is bounded, and what is allowed is said, before anything is opened."""
    done = here(*[str(tmp_path) if argument == "RUN" else argument for argument in arguments])
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert (done.returncode, says in said) == (2, True), said


def test_seen_travels_with_a_request(tmp_path: Path) -> None:
    """What its author knew is read back as it was left."""
    request = write_request(tmp_path, "budget", {"candidates": 3}, seen=Seen(7, "a", ("b", "c")))
    assert waiting_requests(tmp_path) == [request]


def test_requests_of_an_earlier_run_are_not_for_a_new_one(folder: Path) -> None:
    """Where a run was made anew in its folder, what was wanted of the former one is set aside."""
    old = [
        steering.leave_once(folder, "withdraw", again(0)),
        steering.leave_once(folder, "budget", {"candidates": 7}),
    ]
    (folder / "run.sqlite").unlink()
    data = measured()
    run = Run.create(campaign(data), folder)
    run.ask(1)
    assert all("made for another run in this folder" in read_refusal(folder, request) for request in old)
    assert run.campaign.budget.candidates == 40
