"""A disk that is full and a folder that is gone: a run loses nothing it had committed, and says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from invdesign.errors import LostRunError, StoreError
from invdesign.run.run import Run
from invdesign.run.status import RunStatus
from invdesign.store.store import STORE_FILE
from tests.support import ROOT, campaign, environment, finished, funnel, here, mounted_disk, toy

DATA = funnel(18, population=6)


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the run that nothing disturbed."""
    with finished(DATA, tmp_path_factory.mktemp("undisturbed") / "run") as run:
        return run.digest()


SLOW = funnel(18, population=6, delay=0.02)


@pytest.fixture(scope="module")
def slow_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the run that takes its time, where nothing disturbed it."""
    with finished(SLOW, tmp_path_factory.mktemp("undisturbed") / "run") as run:
        return run.digest()


# A full disk.


class FullDisk:
    """The disk is full at the n-th statement that writes, and from then on, as SQLite says it."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def __call__(self, connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.split(maxsplit=1)[0] in {"SELECT", "BEGIN"}:
            return
        self.left -= 1
        if self.left < 0:
            raise OperationalError(statement, None, Exception("database or disk is full"))

    @property
    def met(self) -> bool:
        """Whether the run came that far."""
        return self.left < 0


def created_and_worked(folder: Path) -> Run:
    """Go on with the run in the folder, or make it."""
    with (
        Run.open(folder, trust_code=True)
        if (folder / STORE_FILE).exists()
        else Run.create(campaign(DATA), folder) as run
    ):
        run.use_workers(0)
        run.execute()
        return run


def full_at(writes: int, folder: Path, digest: str) -> bool:
    """Have a run meet a full disk, make room, and have it go on; False where it ended before that."""
    disk = FullDisk(writes)
    event.listen(Engine, "before_cursor_execute", disk)
    try:
        if not disk.met:
            created_and_worked(folder)
    except StoreError as error:
        again = "invdesign resume" if (folder / STORE_FILE).exists() else "start it again"
        assert "full" in str(error)  # noqa: PT017 - either outcome is right
        assert again in str(error)  # noqa: PT017 - see above
    finally:
        event.remove(Engine, "before_cursor_execute", disk)
    if disk.met and not (folder / STORE_FILE).exists():
        assert not folder.exists()
    created_and_worked(folder)
    with Run.open(folder, trust_code=True) as run:
        assert run.digest() == digest
    return disk.met


@pytest.mark.parametrize("writes", [0, 7, 20, 26, 28, 33, 60, 150])
def test_a_full_disk_at_any_write(writes: int, tmp_path: Path, digest: str) -> None:
    """In the making of a run, or in its steps: there is no run, or one that goes on to the same end."""
    assert full_at(writes, tmp_path / "run", digest)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_full_disk_at_every_write(tmp_path: Path, digest: str) -> None:
    """The same at each of them."""
    writes = 0
    while full_at(writes, tmp_path / str(writes), digest):
        writes += 1
    assert writes > 200


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from invdesign.cli.app import app
app(sys.argv[2:])
"""


def limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process whose files cannot grow beyond `size` bytes."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def limited_at(size: int, folder: Path) -> None:
    """Make a run whose files cannot grow beyond a size, then let it go on without the limit."""
    file = folder / "toy.yaml"
    folder.mkdir(exist_ok=True)
    file.write_text(toy(20), encoding="utf-8")
    run = folder / "run"
    done = limited(size, "run", file, "--run-dir", run, "--workers", 0)
    assert done.returncode in {0, 1, 3}, done.stderr
    if (run / STORE_FILE).exists():
        assert here("resume", run, "--workers", 0).returncode == 0
    else:
        assert "make room, and start it again: invdesign run" in done.stderr
        assert here("run", file, "--run-dir", run, "--workers", 0).returncode == 0
    with Run.open(run) as found:
        assert found.status().state == "finished"


@pytest.mark.parametrize("size", [70_000])
def test_files_that_cannot_grow(size: int, tmp_path: Path) -> None:
    """The system's own refusal, met by SQLite itself, in the making of a run and in its work."""
    limited_at(size, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_files_that_cannot_grow_by_steps(tmp_path: Path) -> None:
    """The same from nothing to enough, page by page."""
    for size in range(0, 300_000, 4096):
        limited_at(size, tmp_path / str(size))


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], Path]]:
    """A file system of its own, of as many KiB as it is called with."""
    with mounted_disk(100) as disk:
        yield disk


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize("size", range(16, 260, 12))
def test_a_small_disk(size: int, small_disk: Callable[[int], Path], digest: str) -> None:
    """On a disk of any size, then a larger one."""
    folder = small_disk(size) / "run"
    try:
        created_and_worked(folder)
    except StoreError:
        assert (folder / STORE_FILE).exists() or not folder.exists()
    small_disk(8000)
    created_and_worked(folder)
    with Run.open(folder, trust_code=True) as run:
        assert run.digest() == digest


# A folder that is gone.


def interfered(folder: Path, interfere: Callable[[], object], after: int = 6) -> str:
    """What a run says whose folder was interfered with when some candidates had ended."""
    done: list[object] = []

    def watch(status: RunStatus) -> None:
        if not done and status.counts["asked"] - status.counts["pending"] >= after:
            done.append(interfere())

    with Run.create(campaign(SLOW), folder) as run:
        run.use_workers(0)
        with pytest.raises(LostRunError) as caught:
            run.execute(watch)
    assert caught.value.exit_code == 5
    return str(caught.value)


def went_on(folder: Path) -> tuple[int, str]:
    """How many candidates had ended in the run there, and its digest when it has gone on."""
    with Run.open(folder, trust_code=True) as run:
        ended = run.status().counts["asked"] - run.status().counts["pending"]
        run.use_workers(0)
        run.execute()
        return ended, run.digest()


def test_a_folder_that_is_deleted(tmp_path: Path, slow_digest: str) -> None:
    """It is made anew with all that was committed, and the run goes on there to the same end."""
    folder = tmp_path / "run"
    said = interfered(folder, lambda: shutil.rmtree(folder))
    assert f"{folder / STORE_FILE} was deleted while the run was at work" in said
    assert f"was saved to {folder / STORE_FILE}" in said
    ended, found = went_on(folder)
    assert ended >= 6
    assert found == slow_digest


def test_a_folder_that_is_renamed(tmp_path: Path, slow_digest: str) -> None:
    """The run says where it is now, or where a copy of it is."""
    folder, now = tmp_path / "run", tmp_path / "renamed"
    said = interfered(folder, lambda: folder.rename(now))
    place = now if f"was moved to {now / STORE_FILE}" in said else folder
    ended, found = went_on(place)
    assert ended >= 6
    assert found == slow_digest


@pytest.mark.parametrize("how", ["deleted", "replaced by another file"])
def test_a_store_that_is_gone(how: str, tmp_path: Path, slow_digest: str) -> None:
    """The copy is put beside the folder, in which nothing is overwritten."""
    folder = tmp_path / "run"

    def interfere() -> None:
        if how == "deleted":
            for file in folder.glob(f"{STORE_FILE}*"):
                file.unlink()
        else:
            other = tmp_path / "other"
            other.write_bytes(b"another store")
            other.replace(folder / STORE_FILE)

    said = interfered(folder, interfere)
    rescued = tmp_path / "run.rescued"
    assert f"was {how} while the run was at work" in said
    assert f"go on with: invdesign resume {rescued}" in said
    assert not (folder / STORE_FILE).exists() or (folder / STORE_FILE).read_bytes() == b"another store"
    ended, found = went_on(rescued)
    assert ended >= 6
    assert found == slow_digest


# Media that cannot be written.


LOOKING = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
cd "$2"
for command in "status $1" "top $1" "show $1 0" "export $1 --format csv -o all.csv" \\
    "report $1 --no-model -o report.html"; do
    "$3" -m invdesign $command --trust-code
done
set +e
"$3" -m invdesign resume "$1" --trust-code
echo "resume: $?"
"$3" -m invdesign report "$1" --no-model --trust-code
echo "report: $?"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a folder as Linux does")
@pytest.mark.parametrize("how", ["finished", pytest.param("killed", marks=pytest.mark.slow)])
def test_runs_on_read_only_media(how: str, tmp_path: Path) -> None:
    """A finished run, and one that was killed, can be looked at, exported and reported elsewhere."""
    folder = tmp_path / "run"
    finished(DATA, folder).close()
    if how == "killed":  # its last steps are in the journal still
        with Run.open(folder, trust_code=True) as run, Run.open(folder, trust_code=True) as reader:
            reader.status()
            run.change(budget={"candidates": 24})
            shutil.copytree(folder, tmp_path / "copy")
        assert (tmp_path / "copy" / f"{STORE_FILE}-wal").stat().st_size
        folder = tmp_path / "copy"
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts of its own are not allowed here")  # only such a mount goes with its process
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", LOOKING, "sh", folder, tmp_path, sys.executable],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if "mount:" in done.stderr:
        pytest.skip("a folder cannot be mounted read-only here")
    assert "Traceback" not in done.stderr, done.stderr
    assert f"budget {24 if how == 'killed' else 18} candidates" in done.stdout
    assert "Wrote 18 candidates to all.csv" in done.stdout
    assert (tmp_path / "report.html").exists()
    assert "resume: 3" in done.stdout, done.stderr
    assert "report: 1" in done.stdout, done.stderr


def test_a_folder_without_permission(tmp_path: Path) -> None:
    """Who may only read a folder sees the run in it."""
    folder = tmp_path / "run"
    finished(DATA, folder).close()
    tmp_path.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    code = (
        "import os, sys\nif os.geteuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
        "from invdesign.run.run import Run\nwith Run.open(sys.argv[1], trust_code=True) as run:\n"
        "    print(run.status().state, len(run.top()) > 0)"
    )
    if os.geteuid() == 0 and not all(
        parent.stat().st_mode & 0o005 for parent in (*tmp_path.parents, *ROOT.parents)
    ):
        pytest.skip("another user cannot reach this folder")
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, env=environment(), check=False
    )
    folder.chmod(0o755)
    if "PermissionError" in done.stderr and str(folder) not in done.stderr:
        pytest.skip("another user cannot run this Python")
    assert done.stdout.split() == ["finished", "True"], done.stderr
