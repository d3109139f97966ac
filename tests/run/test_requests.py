"""The inbox of a run: whole or not there, in order, and whatever is no request is set aside with its reason."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import time
from pathlib import Path
from typing import Any

import pytest

from invdesign.run.requests import (
    is_waiting,
    read_refusal,
    remove_leftovers,
    remove_request,
    set_refused,
    waiting_requests,
    write_request,
)
from invdesign.store.lock import holding_session, lock_run

GENOME = {"x": 0.5}


def _leave_many(folder: Path, number: int) -> None:
    for count in range(50):
        write_request(folder, "add", {"genomes": [{"x": number, "y": count}] * 200, "until": None})


def test_requests_are_read_in_the_order_they_were_left(tmp_path: Path) -> None:
    """What is left comes back equal, the oldest first, until it is done."""
    assert waiting_requests(tmp_path) == []
    left = [
        write_request(tmp_path, "add", {"genomes": [GENOME], "until": None}),
        write_request(tmp_path, "budget", {"candidates": 30}),
        write_request(
            tmp_path, "withdraw", {"ids": [3], "reason": "wrong cell", "again": True, "measurements": []}
        ),
        write_request(tmp_path, "stop", {}),
    ]
    assert waiting_requests(tmp_path) == left
    remove_request(tmp_path, left[0])
    remove_request(tmp_path, left[0])  # after a crash once more
    assert waiting_requests(tmp_path) == left[1:]
    assert not is_waiting(tmp_path, left[0])
    assert read_refusal(tmp_path, left[0]) == ""


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    """While two processes leave large requests, every look finds whole ones only, and none is lost or set aside."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_leave_many, args=(tmp_path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    found = 0
    while any(writer.is_alive() for writer in writers):
        found = max(found, len(waiting_requests(tmp_path)))
    assert [writer.exitcode for writer in writers] == [0, 0]
    requests = waiting_requests(tmp_path)
    assert len(requests) == 100 >= found
    for number in range(2):
        counts = [r.detail["genomes"][0]["y"] for r in requests if r.detail["genomes"][0]["x"] == number]  # type: ignore[index,call-overload]
        assert counts == list(range(50))
    assert sorted(path.name for path in (tmp_path / "requests").iterdir()) == [
        f"{r.id}.json" for r in requests
    ]


def test_a_refused_request_keeps_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever left it can read why; so can whoever looks into the folder."""
    request = write_request(tmp_path, "withdraw", {"ids": [99], "reason": "wrong cell"})
    with caplog.at_level(logging.WARNING, "invdesign.run"):
        set_refused(tmp_path, request, "there is no candidate 99; this run has 12 (0 to 11)")
    assert waiting_requests(tmp_path) == []
    assert read_refusal(tmp_path, request) == "there is no candidate 99; this run has 12 (0 to 11)"
    kept = json.loads((tmp_path / "requests" / "refused" / f"{request.id}.json").read_text("utf-8"))
    assert kept["detail"]["ids"] == [99]
    assert "no candidate 99" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no request"),
        ('{"kind": "add", "detail": {"geno', "no request"),
        ("[" * 100_000, "no request"),
        ("[]", "an object of kind and detail"),
        (
            '{"kind": "explode", "detail": {}}',
            "kind must be one of add, tell, withdraw, budget, stop, got 'explode'",
        ),
        ('{"kind": "add", "detail": {"genomes": []}}', "genomes must be a list of genomes, got \\[\\]"),
        ('{"kind": "withdraw", "detail": {"ids": [1], "reason": " "}}', "reason must be a sentence"),
        ('{"kind": "withdraw", "detail": {"ids": [true], "reason": "a"}}', "ids must be a list"),
        (
            '{"kind": "budget", "detail": {"candidates": -1}}',
            "candidates must be a positive whole number, got -1",
        ),
        ('{"kind": "budget", "detail": {"evaluations": 2.5}}', "must be a positive whole number, got 2.5"),
        ('{"kind": "budget", "detail": {"minutes": 3}}', "budget knows no minutes"),
        ('{"kind": "add", "detail": {"genomes": [{"x": NaN}]}}', "NaN is not a finite number"),
        ('{"kind": "add", "detail": {"genomes": [{"x": 1e999}]}}', "1e999 is not a finite number"),
        (b"\xff\xfe", "no request"),
    ],
)
def test_what_is_no_request_is_set_aside(
    text: str | bytes, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file somebody put there by hand does not stop the run; it is moved away with the reason beside it."""
    inbox = tmp_path / "requests"
    inbox.mkdir()
    (inbox / "mine.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    good = write_request(tmp_path, "stop", {})
    with caplog.at_level(logging.WARNING, "invdesign.run"):
        assert waiting_requests(tmp_path) == [good]
    assert (inbox / "refused" / "mine.json").exists()
    said = (inbox / "refused" / "mine.json.reason.txt").read_text("utf-8")
    assert re.search(reason, said)
    assert "mine.json was moved" in caplog.text


def test_a_stop_is_for_the_session_it_was_left_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was not seen does not stop the next session, whatever the clock says; one left for that does."""
    with lock_run(tmp_path):
        write_request(tmp_path, "stop", {"session": holding_session(tmp_path)})
    kept = write_request(tmp_path, "budget", {"candidates": 3})
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # the clock is set back by decades
    with lock_run(tmp_path):
        new = write_request(tmp_path, "stop", {"session": holding_session(tmp_path)})
        remove_leftovers(tmp_path)
        assert waiting_requests(tmp_path) == [kept, new]


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("explode", {}), ("add", {}), ("withdraw", {"ids": [1]}), ("budget", {"hours": "two"})],
)
def test_none_is_left_that_would_be_set_aside(kind: str, detail: dict[str, Any], tmp_path: Path) -> None:
    """A mistake of the caller shows at once."""
    with pytest.raises(ValueError, match="must be"):
        write_request(tmp_path, kind, detail)
    assert not (tmp_path / "requests").exists()
