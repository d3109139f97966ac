"""Requests to a run, also to one that another process works on: files left in its folder.

Only the process that holds a run writes its store. Others leave a request, a small JSON file, and the holder takes it
up between two steps, in the order they were left. The event that it becomes names the request, so none is taken up
twice; and a request says what its author had seen, so that one which comes late, or a second time, undoes nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, cast

import psutil

from invdesign import strictjson
from invdesign.candidate import Json
from invdesign.errors import RefusedError
from invdesign.store.database import unwritable_error
from invdesign.store.lock import holding_session
from invdesign.textfiles import UnreadableFileError, decode, read_bytes
from invdesign.wording import shorten_text

FOLDER = "requests"
REFUSED = "refused"  # within it
LIMIT = 50 * 10**6  # bytes of one request; chosen: 100,000 genomes of 500 bytes
SENTENCE = 10_000  # characters of one reason, remark or name; chosen
SHOWN = 2_000  # characters of a reason for a refusal
ABANDONED = (
    3600.0  # seconds after which an unfinished file of a writer elsewhere is taken for left behind; chosen
)
LOGGER = logging.getLogger("invdesign.run")
Kind = Literal["add", "tell", "withdraw", "budget", "stop"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_NUMBER = re.compile(r"\d{20,40}(?=-|$)")
_UNFINISHED = re.compile(r"\..+\.json\.(?:(?P<host>[0-9a-f]{8})-(?P<process>\d{1,10})-)?[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Seen:
    """State of the run for which a request was made.

    Attributes:
        event: number of the last event; -1 before the first.
        budget: name of the last change of the budget; empty before the first.
        waiting: ids of the requests that were to be taken up before it.
    """

    event: int = -1
    budget: str = ""
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A user's request to a run.

    Attributes:
        id: unique; its first 20 digits are in the order of leaving.
        detail: what `kind` needs; `add`: genomes and until; `tell`: results, replace and takes; `withdraw`: ids,
            reason, again, measurements and takes; `budget`: limits by name; `stop`: the session that is meant.
            `takes` are numbers of the measurements that it takes back.
        seen: what its author knew of the run; None where that is not known, and nothing is checked.
    """

    id: str
    kind: Kind
    detail: Mapping[str, Json] = field(default_factory=dict)
    seen: Seen | None = None


def new_request(kind: str, detail: Mapping[str, Json]) -> Request:
    """Make a request of a `kind` with its `detail`, not written anywhere yet.

    Raises:
        RefusedError: its kind or detail is none.
    """
    try:
        return _parse_request(_new_id(), _file_content(kind, detail, None))
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedError(f"{error}. Nothing was changed.") from error


def write_request(
    folder: Path, kind: str, detail: Mapping[str, Json], id: str = "", seen: Seen | None = None
) -> Request:
    """Write a request into the run's folder, in one piece.

    Args:
        folder: the run's.
        kind: what is wanted.
        detail: what `kind` needs.
        id: where it must be the same whenever it is left again; by default a new one, after all that wait.
        seen: state of the run it is made for.

    Raises:
        ValueError: it is no request: its kind or detail is none, or too large.
        StoreError: the folder cannot be written.
    """
    inbox = folder / FOLDER
    content = _file_content(kind, detail, seen)
    try:
        request = _parse_request(id or _new_id(inbox), content)
        inbox.mkdir(exist_ok=True)
        _write_file(inbox / f"{request.id}.json", content)
    except OSError as error:
        raise unwritable_error(inbox, error, "Nothing was changed; make room, and type it again.") from error
    return request


def waiting_requests(folder: Path, skip: Collection[str] = ()) -> list[Request]:
    """Requests that were not applied yet, oldest first.

    A file that is no request is moved to `requests/refused`, with the reason beside it, and logged.

    Args:
        folder: the run's.
        skip: ids that are left out, unread.
    """
    found = []
    for path in _request_files(folder / FOLDER):
        if path.stem in skip:
            continue
        try:
            request = _read_request(path)
        except (ValueError, RecursionError, UnreadableFileError, OSError) as error:
            if os.path.lexists(path):  # else taken up meanwhile, by the process that holds the run
                _move_aside(path, f"this is no request: {error}")
            continue
        if read_refusal(folder, request):  # killed between the note of the refusal and this
            remove_request(folder, request)
        else:
            found.append(request)
    return found


def remove_request(folder: Path, request: Request) -> None:
    """Remove a `request` that was committed from the run's `folder`."""
    try:
        _request_path(folder, request).unlink(missing_ok=True)
    except OSError as error:  # what is not removed is known by its id: it is not taken up again
        _warn_once(f"{_request_path(folder, request)} was taken up and cannot be removed: {error.strerror}")


def set_refused(folder: Path, request: Request, reason: str) -> None:
    """Move a request that cannot be met to `requests/refused`.

    Args:
        folder: the run's.
        request: that was refused.
        reason: for the user, written beside it.
    """
    said = reason if len(reason) <= SHOWN else f"{reason[:SHOWN]}..."
    content = {"kind": request.kind, "detail": dict(request.detail), "reason": said}
    refused = folder / FOLDER / REFUSED
    try:
        refused.mkdir(parents=True, exist_ok=True)
        _write_file(
            refused / f"{request.id}.json", content
        )  # first: its author sees the reason, not a success
    except OSError as error:
        _warn_once(f"{refused} cannot be written: {error.strerror}")
    remove_request(folder, request)
    LOGGER.warning("A request to %s was refused: %s", request.kind, said)


def remove_leftovers(folder: Path) -> None:
    """Remove stop requests for other sessions, and unfinished files.

    The writers of such files are gone.

    Args:
        folder: the run's.
    """
    session = holding_session(folder)
    for request in waiting_requests(folder):
        if request.kind == "stop" and not is_meant(request, session):
            remove_request(folder, request)
    for place in (folder / FOLDER, folder / FOLDER / REFUSED):
        for path in _list_folder(place):
            written = _UNFINISHED.fullmatch(path.name)
            if written and _is_abandoned(path, written):
                with suppress(OSError):
                    path.unlink()


def is_meant(request: Request, session: str) -> bool:
    """True if a request to stop is for this session."""
    return request.detail.get("session") == session


def is_waiting(folder: Path, request: Request) -> bool:
    """True if the `request` in `folder` was not applied yet."""
    return os.path.lexists(_request_path(folder, request))


def read_refusal(folder: Path, request: Request) -> str:
    """Reason why a request was refused; empty if it was not.

    Args:
        folder: the run's.
        request: that was left there.
    """
    path = folder / FOLDER / REFUSED / f"{request.id}.json"
    if not path.is_file():
        return ""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, UnreadableFileError):
        return str(json.loads(read_bytes(path, 2 * LIMIT))["reason"])
    return ""


def sort_key(request_id: str) -> tuple[float, str]:
    """Sorting key of a `request_id`: its number; ids without one come last."""
    number = _NUMBER.match(request_id)
    return (int(number[0]) if number else math.inf, request_id)


def _request_path(folder: Path, request: Request) -> Path:
    return folder / FOLDER / f"{request.id}.json"


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _request_files(inbox: Path) -> list[Path]:
    """Files that may be requests, oldest first."""
    found = [p for p in _list_folder(inbox) if p.name.endswith(".json") and not p.name.startswith(".")]
    return sorted(found, key=lambda path: sort_key(path.stem))


def _new_id(inbox: Path | None = None) -> str:
    """New id after all waiting ones, even if the clock was set back."""
    now = time.time_ns()
    for path in _request_files(inbox) if inbox is not None else ():
        number = _NUMBER.match(path.stem)
        now = max(now, int(number[0]) + 1 if number else 0)
    return f"{now:020d}-{uuid.uuid4().hex[:8]}"


def _file_content(kind: str, detail: Mapping[str, Json], seen: Seen | None) -> dict[str, Any]:
    content: dict[str, Any] = {"kind": kind, "detail": dict(detail)}
    if seen is not None:
        content["seen"] = {"event": seen.event, "budget": seen.budget, "waiting": list(seen.waiting)}
    text = json.dumps(content, ensure_ascii=False)
    if len(text) * 4 > LIMIT and len(text.encode("utf-8", "surrogatepass")) > LIMIT:
        raise ValueError(f"it is too large: a request has at most {LIMIT // 10**6} MB")
    return cast("dict[str, Any]", strictjson.loads(text))


def _host_hash() -> str:
    return blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _write_file(path: Path, content: Mapping[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{_host_hash()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(content, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_abandoned(path: Path, written: re.Match[str]) -> bool:
    """True if the writer of an unfinished file seems gone."""
    if written["host"] == _host_hash() and int(written["process"]) < 2**31:
        return not psutil.pid_exists(int(written["process"]))
    try:
        return (
            abs(time.time() - path.lstat().st_mtime) > ABANDONED
        )  # in the future, where a clock was set back
    except OSError:
        return False


def _move_aside(path: Path, reason: str) -> None:
    refused = path.parent / REFUSED
    name = path.name if len(os.fsencode(path.name)) <= 200 else f"{_name_hash(path.name)}.json"
    try:
        refused.mkdir(exist_ok=True)
        if os.path.lexists(refused / name):
            name = f"{uuid.uuid4().hex[:8]}-{name}"
        (refused / f"{name}.reason.txt").write_text(
            f"{reason[:SHOWN]}\n", encoding="utf-8", errors="backslashreplace"
        )
        path.replace(refused / name)
    except FileNotFoundError:  # taken away meanwhile
        return
    except OSError as error:
        _warn_once(
            f"{path.name!a} is no request ({reason[:SHOWN]}) and cannot be moved away: {error.strerror}. Remove it."
        )
        return
    LOGGER.warning("%s was moved to %s: %s", ascii(path.name)[1:-1], refused, reason[:SHOWN])


def _name_hash(name: str) -> str:
    return blake2b(os.fsencode(name), digest_size=16).hexdigest()


@cache
def _warn_once(message: str) -> None:
    LOGGER.warning("%s", message)


def _read_request(path: Path) -> Request:
    """Read the request in a file.

    Raises:
        ValueError, UnreadableFileError, OSError: there is none.
    """
    if not _ID.fullmatch(path.stem):
        raise ValueError("its name is no id: up to 120 letters, digits, points and dashes, and .json")
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "a pipe or a device"
        raise ValueError(f"it is {kind}, and requests are regular files")
    text = decode(read_bytes(path, LIMIT), path.name, fallback=None)
    return _parse_request(path.stem, strictjson.loads(text))


def _parse_request(id: str, content: object) -> Request:
    """Parse the request in a file.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(content, dict) or not isinstance(content.get("detail"), dict):
        raise ValueError("it must be an object of kind and detail")  # noqa: TRY004 - what a file says, not a type
    unknown = sorted(set(content) - {"kind", "detail", "seen"})
    if unknown:
        raise ValueError(f"it knows no {_join_names(unknown)}")
    if not _ID.fullmatch(id):
        raise ValueError(f"{id[:60]!a} is no id")
    kind, detail = content.get("kind"), content["detail"]
    if not isinstance(kind, str) or kind not in _DETAILS:
        raise ValueError(
            f"kind must be one of {', '.join(_DETAILS)}, got {_quote_value(kind, quote=chr(39))}"
        )
    for name, (allowed, fits) in _DETAILS[kind].items():
        if not fits(detail.get(name)):
            raise ValueError(f"{kind}: {name} must be {allowed}, got {_quote_value(detail.get(name))}")
    unknown = sorted(set(detail) - set(_DETAILS[kind]))
    if unknown:
        raise ValueError(f"{kind} knows no {_join_names(unknown)}")
    return Request(id, cast("Kind", kind), detail, _parse_seen(content.get("seen")))


def _parse_seen(content: object) -> Seen | None:
    if content is None:
        return None
    if isinstance(content, dict) and set(content) <= {"event", "budget", "waiting"}:
        event, budget = content.get("event", -1), content.get("budget", "")
        behind = content.get("waiting", [])
        if (
            _is_number(event)
            and isinstance(budget, str)
            and isinstance(behind, list)
            and all(isinstance(item, str) for item in behind)
        ):
            return Seen(cast("int", event), budget, tuple(behind))
    raise ValueError(f"seen must be an object of event, budget and waiting, got {_quote_value(content)}")


def _join_names(names: Collection[str]) -> str:
    return ", ".join(name[:60] for name in list(names)[:10])


def _quote_value(value: object, quote: str = "") -> str:
    if isinstance(value, str) and quote:
        return f"{quote}{value[:60]}{quote}"
    return shorten_text(json.dumps(value), 60)


def _is_object_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_result_list(value: object) -> bool:
    texts = ("stage", "failure", "label", "note")
    return _is_object_list(value) and all(
        _is_text(row.get(name)) for row in cast("list[Any]", value) for name in texts
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number_list(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(_is_number(item) for item in value))


def _is_positive(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)


def _is_positive_integer(value: object) -> bool:
    return _is_positive(value) and not isinstance(value, float)


def _is_flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= SENTENCE)


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= SENTENCE


_DETAILS: Mapping[str, Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "add": {
        "genomes": ("a list of genomes", _is_object_list),
        "until": ("the name of a stage", _is_text),
        # Of a fork: genomes that were made and measured, inside the space or not.
        "made": ("true or false", _is_flag),
    },
    "tell": {
        "results": (f"a list of results, with texts of at most {SENTENCE} characters", _is_result_list),
        "replace": ("true or false", _is_flag),
        "takes": ("a list of measurements' numbers", _is_number_list),
    },
    "withdraw": {
        "ids": ("a list of candidates' numbers", _is_number_list),
        "reason": ("a sentence", _is_sentence),
        "again": ("true or false", _is_flag),
        "measurements": ("a list of measurements' numbers", _is_number_list),
        "takes": ("a list of measurements' numbers", _is_number_list),
    },
    "budget": {
        "candidates": ("a positive whole number", _is_positive_integer),
        "evaluations": ("a positive whole number", _is_positive_integer),
        "hours": ("a positive number", _is_positive),
    },
    "stop": {"session": ("the name of a session", _is_text)},
}
