"""Folders of jobs, one per job, with a marker of how far the job came.

`work/STAGE/000012-3fa9c2d41b07` in a run's folder: the candidate's number, and a hash of the evaluator's
fingerprint and of all the evaluator may read. It holds the job's files and a marker, `job.json`, which is only
ever replaced whole:

- `running`: a program was started. If no process holds the lock any more, the program was lost.
- `ended`: it ended by itself; its results may not have been read.
- `done`: the results were read, and stand in the marker. The run may not have stored them yet.

When the run has stored them and the candidate has ended, the run removes the folder, or renames its marker to
`job.settled.json` where files were kept: an evaluation after that (of a result that was withdrawn) is a new
one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import Evaluator
from invdesign.structures.files import structure_from_json, structure_to_json

MARKER_FILE, SETTLED_FILE, LOCK_FILE, ATTEMPT_PREFIX = "job.json", "job.settled.json", "job.lock", "attempt-"
STDOUT, STDERR = "stdout.txt", "stderr.txt"
OWN_FILES = frozenset({MARKER_FILE, f"{MARKER_FILE}.new", SETTLED_FILE, LOCK_FILE})
LOCK_PATIENCE = 20.0  # seconds; chosen: a supervisor ends its program within one when its worker was killed


class JobError(InvdesignError):
    """A job gave no result.

    `kind` is that of the candidate's failure.
    """

    def __init__(self, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Marker:
    """State of a job, as its marker file holds it.

    Attributes:
        state: empty (nothing was started), `running`, `ended` or `done`.
        attempt: number of programs started before the last one.
        code: exit code of the last program, negative for a signal; None if it could not be started.
        error: reason why it could not be started.
        seconds: run time.
        pid: process id.
        evaluation: results, as `record_evaluation` wrote them.
    """

    state: str = ""
    attempt: int = 0
    code: int | None = None
    error: str = ""
    seconds: float = 0.0
    pid: int | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def job_key(evaluator: Evaluator, item: Input) -> str:
    """Hash of the evaluator's fingerprint and of all inputs it requires.

    Args:
        evaluator: names the values it requires.
        item: the candidate's values.

    Returns:
        Twelve hexadecimal digits.
    """
    values = {name: _input_value(item, name) for name in sorted(evaluator.requires)}
    text = json.dumps([evaluator.fingerprint, values], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _input_value(item: Input, name: str) -> object:
    if name == "parameters":
        return dict(item.parameters)
    if name == "composition":
        return item.composition.formula
    if is_structure(name):
        return structure_to_json(item.structures[name.removeprefix(STRUCTURE_PREFIX)])
    return item.properties[name]


class JobFolder:
    """The folder of one candidate's job.

    Args:
        path: it need not exist.
        temporary: True if the folder can go once the results are read.
    """

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self.path = path
        self.temporary = temporary

    @classmethod
    def for_candidate(cls, base: Path | None, evaluator: Evaluator, item: Input) -> JobFolder:
        """Return the folder of one candidate's job.

        Args:
            base: `work/STAGE` in the run's folder; None for a temporary folder.
            evaluator: runs the job.
            item: the candidate's values.
        """
        name = f"{item.id:06d}-{job_key(evaluator, item)}"
        if base is None:
            return cls(Path(tempfile.mkdtemp(prefix=f"invdesign-{name}-")), temporary=True)
        return cls(base / name)

    @property
    def shown(self) -> str:
        """Path for messages, from the run's folder on.

        A run's results do not depend on its place.
        """
        return str(self.path) if self.temporary else "/".join(self.path.parts[-3:])

    @contextmanager
    def hold_lock(self) -> Iterator[int]:
        """Lock the folder, making it if missing, and yield the lock's file descriptor.

        The program inherits the descriptor, and the lock is released when all processes that have the file open
        have ended: two programs never run in one folder, even if a coordinator and its workers were killed and
        the next one starts at once.

        Raises:
            JobError: another process still works there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + LOCK_PATIENCE
            while not _try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise JobError(
                        f"another process works in {self.shown}, perhaps one of an earlier session that would not "
                        f"end (process {self.read_marker().pid}); end it and evaluate the candidate again"
                    )
                time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)
            if self.temporary and self.read_marker().state == "done" and not self.list_files():
                shutil.rmtree(self.path, ignore_errors=True)

    def read_marker(self) -> Marker:
        """Read the job's marker.

        An unreadable one counts as empty.
        """
        try:
            data = json.loads((self.path / MARKER_FILE).read_text(encoding="utf-8"))
            names = Marker.__dataclass_fields__
            return Marker(**{name: value for name, value in data.items() if name in names})
        except (OSError, ValueError, TypeError, AttributeError):
            return Marker()

    def write_marker(self, **fields: Any) -> None:
        """Replace the marker by one with these `fields`, atomically and durably."""
        fresh = self.path / f"{MARKER_FILE}.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / MARKER_FILE)

    def list_files(self) -> list[Path]:
        """List the job's files, sorted: all but marker, lock and earlier attempts."""
        return sorted(
            path
            for path in self.path.iterdir()
            if path.name not in OWN_FILES and not path.name.startswith(ATTEMPT_PREFIX)
        )

    @property
    def settled(self) -> bool:
        """True if the files are of an earlier evaluation that the run has finished."""
        return (self.path / SETTLED_FILE).exists()

    def set_aside(self) -> None:
        """Move the files of an earlier attempt into `attempt-1`, `attempt-2`, ..."""
        numbers = [path.name.removeprefix(ATTEMPT_PREFIX) for path in self.path.glob(f"{ATTEMPT_PREFIX}*")]
        last = max((int(number) for number in numbers if number.isdecimal()), default=0)
        aside = self.path / f"{ATTEMPT_PREFIX}{last + 1}"
        aside.mkdir()
        for path in self.list_files():
            path.replace(aside / path.name)
        (self.path / SETTLED_FILE).unlink(missing_ok=True)

    def remove_files(self) -> None:
        """Remove everything but marker and lock."""
        for path in [*self.list_files(), *self.path.glob(f"{ATTEMPT_PREFIX}*")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()

    # Results.

    def record_evaluation(self, evaluation: Evaluation) -> None:
        """Store `evaluation` in the marker, before any file is removed.

        A run that is killed afterwards need not run the job again.
        """
        failure = evaluation.failure
        data = {
            "properties": dict(evaluation.properties),
            "noise": dict(evaluation.noise),
            "systematic": dict(evaluation.systematic),
            "details": dict(evaluation.details),
            "structures": {role: structure_to_json(s) for role, s in evaluation.structures.items()},
            "cost": dict(evaluation.cost),
            "failure": [failure.kind, failure.message] if failure is not None else None,
        }
        marker = self.read_marker()
        self.write_marker(
            state="done",
            attempt=marker.attempt,
            code=marker.code,
            seconds=marker.seconds,
            evaluation=data,
        )

    def read_evaluation(self) -> Evaluation | None:
        """Return the recorded evaluation.

        Returns None if no results were read yet.
        """
        marker = self.read_marker()
        if marker.state != "done":
            return None
        data = marker.evaluation
        failure = data["failure"]
        return Evaluation(
            properties=data["properties"],
            noise=data.get("noise", data.get("uncertainties", {})),  # the name in earlier versions
            systematic=data.get("systematic", {}),
            details=data.get("details", {}),
            structures={role: structure_from_json(text) for role, text in data["structures"].items()},
            cost=data["cost"],
            failure=Failure(failure[0], "", failure[1]) if failure else None,
        )


def _try_lock(descriptor: int) -> bool:
    """Lock the open file if no other process holds it.

    True if that succeeded.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
