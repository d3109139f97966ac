"""Jobs: write the folder, run the program under a supervisor, read its results once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from invdesign.candidate import Evaluation, Failure
from surrogates.external import supervisor
from surrogates.external.folders import MARKER_FILE, STDERR, STDOUT, JobError, JobFolder, Marker

Keep = Literal["failures", "all", "nothing"]
LAST_WORDS_CHARS = 300  # characters of a program's last words in a message; chosen
TAIL_BYTES = 20_000  # bytes at the end of an output searched for them; chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """Description of one job.

    Attributes:
        command: program and arguments.
        write: puts the input files into the folder.
        read: reads the results from the folder; raises `JobError` where there are none.
        stdin: file in the folder that the program reads as its standard input; none by default.
        environment: variables in addition to those of this process.
        success: exit codes that mean success.
        keep: jobs whose folders are kept.
        again: program and arguments that continue a lost job; without it, a lost job begins afresh.
        copy: files of a lost job, and the names the next attempt finds them by.
    """

    command: Sequence[str]
    write: Callable[[Path], None]
    read: Callable[[Path], Evaluation]
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    success: Sequence[int] = (0,)
    keep: Keep = "failures"
    again: Sequence[str] | None = None
    copy: Mapping[str, str] = field(default_factory=dict)


def run_job(folder: JobFolder, plan: Plan) -> Evaluation:
    """Return the job's results, running its program only if needed.

    A job that was done, or had ended, is read and not run again. A job that was lost (its worker or the whole
    run was killed) is continued by `plan.again` where the files that it copies are there. Else it begins
    afresh, with the old files in `attempt-1`, `attempt-2`, ... A failure names its folder.

    Args:
        folder: where the job runs.
        plan: describes the job.
    """
    try:
        with folder.hold_lock() as lock:
            return folder.read_evaluation() or _run_and_read(folder, plan, lock)
    except JobError as error:  # another process holds the folder
        return Evaluation(failure=Failure(error.kind, "", str(error)))


def _run_and_read(folder: JobFolder, plan: Plan, lock: int) -> Evaluation:
    """Run the job if needed, then read and record its results."""
    try:
        if folder.read_marker().state != "ended":
            _run_program(folder, plan, lock)
        _check_exit(folder.read_marker(), plan)
        evaluation = plan.read(folder.path)
    except JobError as error:
        evaluation = Evaluation(failure=Failure(error.kind, "", _describe_failure(folder, plan, error)))
    cost = {"seconds": folder.read_marker().seconds, **evaluation.cost}
    evaluation = replace(evaluation, cost=cost)
    folder.record_evaluation(evaluation)
    failed = evaluation.failure is not None
    if plan.keep == "nothing" or (plan.keep == "failures" and not failed):
        folder.remove_files()
    return evaluation


def _run_program(folder: JobFolder, plan: Plan, lock: int) -> None:
    """Run the program to its end.

    It begins afresh, or from the files of a lost attempt.
    """
    before = folder.read_marker()
    lost = before.state == "running"
    begun = lost and before.pid is not None
    taken_up = begun and plan.again is not None and all(_is_filled(folder.path / name) for name in plan.copy)
    if taken_up:
        for source, target in plan.copy.items():
            shutil.copyfile(folder.path / source, folder.path / target)
    else:
        if lost or folder.settled:
            folder.set_aside()
        else:  # inputs that were written before anything was started
            folder.remove_files()
        plan.write(folder.path)
    command = plan.again if taken_up and plan.again is not None else plan.command
    attempt = before.attempt + 1 if lost else 0
    run_supervised(folder, command, lock, attempt=attempt, plan=plan, append=taken_up)


def _is_filled(path: Path) -> bool:
    """True if the file exists and is not empty."""
    return path.is_file() and path.stat().st_size > 0


def run_supervised(
    folder: JobFolder, command: Sequence[str], lock: int, *, attempt: int, plan: Plan, append: bool
) -> None:
    """Run the command in the folder until it ends.

    The marker then holds its exit code.

    Args:
        folder: the job's folder.
        command: program and arguments.
        lock: file descriptor of the folder's lock, which the program inherits.
        attempt: number of programs started before this one.
        plan: gives environment and standard input.
        append: True to append to the outputs of a lost attempt.

    Raises:
        JobError: the supervisor was killed.
    """
    environment = {**os.environ, **plan.environment}
    order = {
        "command": list(command),
        "program": find_program(command[0], plan.environment, folder.path),
        "environment": {**environment, "PATH": search_path(plan.environment)},
        "stdin": plan.stdin,
        "stdout": STDOUT,
        "stderr": STDERR,
        "append": append,
        "marker": str(folder.path.resolve() / MARKER_FILE),
        "said": {"attempt": attempt, "command": list(command)},
        "parent": os.getpid(),
    }
    folder.write_marker(state="running", attempt=attempt, command=list(command))
    with (folder.path / STDERR).open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own file, by our own interpreter
            [sys.executable, "-I", "-S", supervisor.__file__],
            cwd=folder.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            pass_fds=[lock],
        )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        process.wait()
    finally:  # an interrupt on the way here: the supervisor ends the program when the pipe closes
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    _handle_lost_supervisor(folder, process.returncode)


def _handle_lost_supervisor(folder: JobFolder, code: int) -> None:
    marker = folder.read_marker()
    if marker.state == "ended":
        return
    if marker.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(marker.pid, signal.SIGKILL)
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
    raise JobError(f"the process that watches over the program {how}, and the program with it", "crash")


def search_path(environment: Mapping[str, str]) -> str:
    """Search path of programs.

    It is PATH, and then the folder of this Python, where pip puts programs.

    Args:
        environment: variables of the job; its PATH goes before that of this process.
    """
    path = environment.get("PATH", os.environ.get("PATH", os.defpath))
    return os.pathsep.join([path, str(Path(sys.executable).parent)])


def find_program(name: str, environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Find the file of a program.

    Args:
        name: searched on the search path; with a slash, a path from the job's folder on.
        environment: variables of the job.
        folder: the job's folder; the current one by default.

    Raises:
        JobError: there is none; the message names the places searched.
    """
    path = search_path(environment)
    if "/" in name:
        file = (folder or Path()) / name
        if os.access(file, os.X_OK) and file.is_file():
            return str(file.absolute())
        reason = "is no program (may it be executed?)" if file.exists() else "does not exist"
        raise JobError(f"'{name}' {reason}; name a program by its whole path, or one that is on PATH")
    found = shutil.which(name, path=path)
    if found is None:
        raise JobError(
            f"there is no program '{name}' on PATH ({path}). Install it, load its module before the run is "
            "started, or name it by its whole path"
        )
    return str(Path(found).absolute())


def _check_exit(marker: Marker, plan: Plan) -> None:
    """Refuse a program that did not start or did not succeed."""
    name = Path(plan.command[0]).name
    if marker.error:
        raise JobError(f"{name} {marker.error}")
    code = marker.code
    if code is None or code in plan.success:
        return
    if code < 0:
        hint = ", often the system's out-of-memory killer" if code == -signal.SIGKILL else ""
        raise JobError(f"{name} was killed by {_signal_name(-code)}{hint}", "crash")
    wanted = "" if tuple(plan.success) == (0,) else f" (success is {', '.join(map(str, plan.success))})"
    raise JobError(f"{name} exited with code {code}{wanted}")


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _describe_failure(folder: JobFolder, plan: Plan, error: JobError) -> str:
    """Describe an error on one line.

    The program's last words and the folder of its files follow.
    """
    parts = [" ".join(str(error).split())]
    said = find_last_words(folder.path)
    if said:
        said = said.replace(str(folder.path.resolve()), ".").replace(str(folder.path), ".")
        parts.append(f"its last words: {said[:LAST_WORDS_CHARS]}")
    if plan.keep != "nothing" and folder.list_files():
        parts.append(f"its files are in {folder.shown}")
    return "; ".join(parts)


def find_last_words(folder: Path) -> str:
    """Return the last words of a program from the outputs in `folder`.

    Returns an empty text if none. These are the last line of stderr or stdout that mentions an error, else the
    last line of stderr, else of stdout.
    """
    errors, output = _read_tail(folder / STDERR), _read_tail(folder / STDOUT)
    for lines in (errors, output):
        for line in reversed(lines):
            if "error" in line.lower():
                return line
    return next(iter([*errors[-1:], *output[-1:]]), "")


def _read_tail(file: Path) -> list[str]:
    """Read the nonblank lines at the end of a text file."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - TAIL_BYTES, 0))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if line]
