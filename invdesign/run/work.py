"""The files evaluators keep for a run, in `work/STAGE/NUMBER-...` of its folder, once the run knows what came of them.

A folder with a `job.json` is a job's: what an evaluator remembers there of a result saves running the job again where the
run is killed before it has written the result down. When the candidate has ended, it is remembered no more: an evaluation
after that is a new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from invdesign.worker import WORK_FOLDER

MARKER, SETTLED = "job.json", "job.settled.json"
OWN = ("job.", ".job.")  # the second is a file of a job whose process ended before it had its name


def settle_folders(folder: Path, ended: Callable[[int], bool]) -> None:
    """Remove job folders of ended candidates without files; mark the others.

    Args:
        folder: the run's.
        ended: whether the run knows what became of the candidate with this number.
    """
    work = folder / WORK_FOLDER
    for marker in work.glob(f"*/*-*/{MARKER}"):
        number = marker.parent.name.partition("-")[0]
        if number.isdecimal() and ended(int(number)):
            _mark_settled(marker)
    for stage in work.glob("*"):
        with suppress(OSError):  # it holds something
            stage.rmdir()
    with suppress(OSError):
        work.rmdir()


def _mark_settled(marker: Path) -> None:
    job = marker.parent
    if all(path.name.startswith(OWN) for path in job.iterdir()):
        shutil.rmtree(job, ignore_errors=True)
    else:
        with suppress(OSError):  # a folder that became read-only does not stop the run
            marker.replace(job / SETTLED)
