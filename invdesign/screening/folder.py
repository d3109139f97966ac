"""Folder of a screen: its plan, the state of each pass, and the lock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.arrays import BoolArray
from invdesign.artifacts.contents import MAX_ARTIFACT_BYTES
from invdesign.artifacts.layouts import read_arrays
from invdesign.diskfiles import refuse_links, replace_atomically
from invdesign.errors import ArtifactError, RunError, StoreError
from invdesign.screening.best import Kept
from invdesign.screening.scanning import Bins, Tally
from invdesign.store.lock import hold_lock
from invdesign.strictjson import loads
from invdesign.textfiles import UnreadableFileError, read_bytes
from invdesign.wording import list_first

PLAN_FILE = "plan.json"
LOCK_FILE = "screen.lock"
TOP_FILE = "top.csv"
FACTS_FILE = "screen.json"
PAGE_FILE = "screen.html"
FORMAT = 1
MAX_PLAN_BYTES = 10**8  # chosen
SHOWN_CHANGES = 5  # differences of two campaigns (chosen)


@dataclass(eq=False)
class PassState:
    """State of one pass through candidates.

    Attributes:
        bins: of the histogram.
        done: shape (units,), True for finished work units.
        tally: counts of the finished units.
        kept: the best of the finished units.
        threshold: score that the best reach.
        wall: seconds of work, over all sessions.
    """

    bins: Bins
    done: BoolArray
    tally: Tally
    kept: Kept
    threshold: float
    wall: float = 0.0


def state_file(folder: Path, number: int) -> Path:
    """File of pass `number`, from 0."""
    return folder / f"pass-{number + 1}.npz"


def write_state(path: Path, state: PassState) -> None:
    """Write the state of a pass.

    The old state or the new one is there, never a part.
    """
    facts = {
        "format": FORMAT,
        "bins": [state.bins.low, state.bins.width, state.bins.number],
        "units": len(state.done),
        "seen": state.tally.seen,
        "seconds": state.tally.seconds,
        "refused": {reason: list(found) for reason, found in state.tally.refused.items()},
        "threshold": None if np.isinf(state.threshold) else state.threshold,
        "wall": state.wall,
    }
    with replace_atomically(path, durable=True) as file, file.open("wb") as stream:
        np.savez(
            stream,
            facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
            done=np.packbits(state.done),
            histogram=state.tally.histogram,
            scores=state.kept.scores,
            indices=state.kept.indices,
            values=state.kept.values,
        )


def read_state(path: Path) -> PassState | None:
    """Read the state of a pass; None if there is none.

    Raises:
        StoreError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        arrays = read_arrays(read_bytes(path, MAX_ARTIFACT_BYTES), path.name)
        facts = json.loads(arrays["facts"].tobytes())
        tally = Tally(arrays["histogram"], facts["seen"], seconds=facts["seconds"])
        tally.refused = {reason: (number, example) for reason, (number, example) in facts["refused"].items()}
        return PassState(
            Bins(*facts["bins"]),
            np.unpackbits(arrays["done"], count=facts["units"]).astype(np.bool_),
            tally,
            Kept(arrays["scores"], arrays["indices"], arrays["values"]),
            np.inf if facts["threshold"] is None else facts["threshold"],
            facts["wall"],
        )
    except (ArtifactError, UnreadableFileError, OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it, and start the same command again: "
            "this pass is repeated"
        ) from error


def open_folder(folder: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder of a screen, or check that it holds the same one.

    Args:
        folder: of the screen.
        plan: what decides the results, as JSON.

    Raises:
        RunError: the folder is not empty, or holds another screen.
        StoreError: it holds links or a damaged plan.
    """
    path = folder / PLAN_FILE
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give --output a new folder")
    if not path.is_file():
        held = (
            sorted(item.name for item in folder.iterdir() if item.name != LOCK_FILE)
            if folder.is_dir()
            else []
        )
        if held:
            raise RunError(
                f"{folder} holds no screen, and is not empty ({list_first(held, 3)}); give --output a new folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path, durable=True) as file:
            file.write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    refuse_links([folder / name for name in (PLAN_FILE, LOCK_FILE, TOP_FILE, FACTS_FILE, PAGE_FILE)])
    try:
        stored = loads(read_bytes(path, MAX_PLAN_BYTES).decode())
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}. Give --output a new folder") from error
    _check_plan(folder, dict(stored) if isinstance(stored, dict) else {}, plan)


def _check_plan(folder: Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Check that the plan in the folder is the one at hand."""
    if stored.get("format") != FORMAT:
        raise StoreError(f"{folder} was written by another version of invdesign; give --output a new folder")
    mine, theirs = _flatten(plan), _flatten(stored)
    changed = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
    if changed:
        shown = [f"{name}: {_say(theirs.get(name))} there, {_say(mine.get(name))} now" for name in changed]
        raise RunError(
            f"{folder} holds another screen: {list_first(shown, SHOWN_CHANGES, '; ')}. Give --output a new folder, "
            "or go on with the campaign and options of that screen"
        )


def _say(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}.{number}", item) for number, item in enumerate(value)]
    else:
        return {path: value}
    return {key: found for name, item in items for key, found in _flatten(item, name).items()}


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a screen within the block.

    The system releases it however the process ends.

    Raises:
        RunLockedError: another process holds it.
    """
    refuse_links([folder / LOCK_FILE])
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another process works on the screen in {folder}; wait for its end"
    with hold_lock(folder / LOCK_FILE, lambda: busy):
        yield
