"""What users want of a run, also of one that another process works on: requests left in its folder.

Only the process that holds a run writes its store. Others leave a request, a small JSON file, and the holder takes it
up between two steps. The event that it becomes names the request, so none is taken up twice.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from invdesign.candidate import Json

FOLDER = "requests"
REFUSED = "refused"  # within it
LOGGER = logging.getLogger("invdesign.run")
Kind = Literal["add", "tell", "withdraw", "budget", "stop"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user wants of a run.

    Attributes:
        id: unique, and in the order of time.
        detail: what `kind` needs; `add`: genomes and until; `tell`: results; `withdraw`: ids, reason, again and
            measurements; `budget`: limits by name; `stop`: nothing.
    """

    id: str
    kind: Kind
    detail: Mapping[str, Json] = field(default_factory=dict)


def new_request(kind: str, detail: Mapping[str, Json]) -> Request:
    """A request, not left anywhere yet.

    Raises:
        ValueError: it is none: its kind or detail is none.
    """
    return _parsed(_new_id(), {"kind": kind, "detail": json.loads(json.dumps(dict(detail)))})


def leave(folder: Path, kind: str, detail: Mapping[str, Json], id: str = "") -> Request:
    """Put a request into the run's folder; whoever reads there sees all of it or nothing.

    Args:
        id: where it must be the same whenever it is left again; by default a new one, after all earlier ones.

    Raises:
        ValueError: it is no request: its kind or detail is none.
        OSError: the folder cannot be written.
    """
    request = _parsed(id or _new_id(), {"kind": kind, "detail": _loaded(json.dumps(dict(detail)))})
    inbox = folder / FOLDER
    inbox.mkdir(exist_ok=True)
    _write(inbox / f"{request.id}.json", {"kind": kind, "detail": dict(request.detail)})
    return request


def waiting(folder: Path) -> list[Request]:
    """Requests nobody took up yet, oldest first.

    A file that is no request is moved to `requests/refused`, with the reason beside it, and logged.
    """
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            found.append(_parsed(path.stem, _loaded(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue  # taken up meanwhile, by whoever holds the run
        except (ValueError, RecursionError) as error:
            _set_aside(path, f"this is no request: {error}")
    return found


def done(folder: Path, request: Request) -> None:
    """Remove a request that was committed."""
    _path(folder, request).unlink(missing_ok=True)


def refuse(folder: Path, request: Request, reason: str) -> None:
    """Move a request that cannot be met to `requests/refused`, with the reason."""
    refused = folder / FOLDER / REFUSED
    refused.mkdir(parents=True, exist_ok=True)
    content = {"kind": request.kind, "detail": dict(request.detail), "reason": reason}
    _write(
        refused / f"{request.id}.json", content
    )  # first: whoever waits for it sees the reason, not a success
    done(folder, request)
    LOGGER.warning("A request to %s was refused: %s", request.kind, reason)


def forget_stops(folder: Path, before: int) -> None:
    """Remove requests to stop that were meant for an earlier session, which ended before it saw them.

    Args:
        before: when this session began, in nanoseconds (`time.time_ns`).
    """
    for request in waiting(folder):
        if request.kind == "stop" and request.id < f"{before:020d}":
            done(folder, request)


def is_waiting(folder: Path, request: Request) -> bool:
    """Whether nobody took the request up yet."""
    return _path(folder, request).exists()


def refusal(folder: Path, request: Request) -> str:
    """Why a request was refused; empty where it was not."""
    path = folder / FOLDER / REFUSED / f"{request.id}.json"
    with suppress(FileNotFoundError):
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    return ""


def _path(folder: Path, request: Request) -> Path:
    return folder / FOLDER / f"{request.id}.json"


def _new_id() -> str:
    return f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"


def _write(path: Path, content: Mapping[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _set_aside(path: Path, reason: str) -> None:
    refused = path.parent / REFUSED
    refused.mkdir(exist_ok=True)
    (refused / f"{path.name}.reason.txt").write_text(reason + "\n", encoding="utf-8")
    with suppress(FileNotFoundError):
        path.replace(refused / path.name)
    LOGGER.warning("%s was moved to %s: %s", path.name, refused, reason)


def _loaded(text: str) -> object:
    """JSON as the standard has it: NaN is none, nor is a number without end."""

    def finite(written: str) -> float:
        number = float(written)
        if not math.isfinite(number):
            raise ValueError(f"{written} is not a finite number")
        return number

    return json.loads(text, parse_float=finite, parse_constant=finite)


def _parsed(id: str, content: object) -> Request:
    """The request a file holds.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(content, dict) or not isinstance(content.get("detail"), dict):
        raise ValueError("it must be an object of kind and detail")  # noqa: TRY004 - what a file says, not a type
    kind, detail = str(content.get("kind")), content["detail"]
    if kind not in _DETAILS:
        raise ValueError(f"kind must be one of {', '.join(_DETAILS)}, got {kind!r}")
    for name, (allowed, fits) in _DETAILS[kind].items():
        if not fits(detail.get(name)):
            raise ValueError(f"{kind}: {name} must be {allowed}, got {_short(detail.get(name))}")
    unknown = sorted(set(detail) - set(_DETAILS[kind]))
    if unknown:
        raise ValueError(f"{kind} knows no {', '.join(unknown)}")
    return Request(id, cast("Kind", kind), detail)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _numbers(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    )


def _positive(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)


def _positive_whole(value: object) -> bool:
    return _positive(value) and not isinstance(value, float)


def _flag(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_DETAILS: Mapping[str, Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "add": {
        "genomes": ("a list of genomes", _objects),
        "until": ("the name of a stage", _text),
        "made": (
            "true or false",
            _flag,
        ),  # a fork's: genomes that were made and measured, inside the space or not
    },
    "tell": {"results": ("a list of results", _objects), "replace": ("true or false", _flag)},
    "withdraw": {
        "ids": ("a list of candidates' numbers", _numbers),
        "reason": ("a sentence", _said),
        "again": ("true or false", _flag),
        "measurements": ("a list of measurements' numbers", _numbers),
    },
    "budget": {
        "candidates": ("a positive whole number", _positive_whole),
        "evaluations": ("a positive whole number", _positive_whole),
        "hours": ("a positive number", _positive),
    },
    "stop": {},
}
