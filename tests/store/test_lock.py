"""One process holds a run, and the lock goes with it however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from invdesign.errors import RunLockedError, StoreError
from invdesign.store.database import is_on_network
from invdesign.store.lock import is_held, lock_run
from tests.support import ROOT, environment

HOLDING = """
import sys, time
from pathlib import Path
from invdesign.store.lock import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """While it lives its number is told; killed, the lock is free although its note is still there."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        with (
            pytest.raises(RunLockedError, match=rf"is in use by process {holder.pid} on "),
            lock_run(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
    assert not is_held(tmp_path)
    with lock_run(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_an_unreadable_note(tmp_path: Path) -> None:
    """A holder without a readable note is still a holder."""
    with lock_run(tmp_path):
        (tmp_path / "run.holder").write_text("{")
        with pytest.raises(RunLockedError, match="is in use by another process"), lock_run(tmp_path):
            pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is held where nothing is; it cannot be locked either."""
    assert not is_held(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be locked: File exists"), lock_run(tmp_path / "file"):
        pass


def test_released_after_an_error(tmp_path: Path) -> None:
    """An exception inside gives the lock back."""
    with pytest.raises(ZeroDivisionError), lock_run(tmp_path):
        raise ZeroDivisionError
    assert not is_held(tmp_path)


def test_a_local_folder_is_no_network(tmp_path: Path) -> None:
    """The test's own folder is on a local disk."""
    assert not is_on_network(tmp_path / "run.sqlite")
