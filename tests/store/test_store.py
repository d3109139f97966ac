"""The store is whole or says what is wrong with it; what is found in it does not depend on when it was written."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from invdesign.candidate import Candidate, Failure, Proposal, Status, genome_key
from invdesign.errors import InvdesignError, StoreError
from invdesign.history import RunHistory
from invdesign.problem import Objective, Problem
from invdesign.run.run import Run
from invdesign.steps import Built, Finished, PlannedTask, StageResult, Step
from invdesign.store import schema
from invdesign.store.store import STORE_FILE, Store
from tests.support import cli, finished, funnel, seal

BLOB = b"structure"
HASH = hashlib.blake2b(BLOB, digest_size=16).hexdigest()
PROBLEM = Problem((Objective("height", "minimize"),))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finished(funnel(36), folder).close()
    return folder


def copied(whole: Path, folder: Path) -> Path:
    """A copy of its store, to be maltreated."""
    folder.mkdir()
    path = folder / STORE_FILE
    path.write_bytes((whole / STORE_FILE).read_bytes())
    return path


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def candidate(id: int) -> Candidate:
    genome = {"x": float(id)}
    return Candidate(
        id, genome_key(genome), Proposal(genome, parents=(0,), operator="mutate", memo={"v": [id]})
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    Store.create(tmp_path / STORE_FILE, {"campaign": "{}"})
    return Store.open(tmp_path / STORE_FILE)


# Damage.


def read_and_work(folder: Path) -> None:
    """Everything a user may do with a run."""
    run = Run.open(folder, trust_code=True)
    run.use_workers(0)
    run.status()
    run.top()
    run.change(budget={"candidates": 48})
    run.execute()
    run.digest()
    run.close()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"garbage " * 700, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_store(content: bytes, tmp_path: Path) -> None:
    """Empty, zeros or garbage under a store's name is one clear message; the file stays as it is."""
    path = tmp_path / STORE_FILE
    path.write_bytes(content)
    for attempt in (lambda: Run.open(tmp_path), lambda: Store.open(path)):
        with pytest.raises(
            StoreError, match=r"is damaged, or is no run store \(.*\)\. Keep a copy .* doctor .* \.recover"
        ):
            attempt()
    if content:
        assert path.read_bytes() == content


def test_another_database(tmp_path: Path) -> None:
    """A database of something else is told apart."""
    execute(tmp_path / STORE_FILE, "create table meta (key text, value text)")
    with pytest.raises(StoreError, match=r"is no run store \(its schema version is ''"):
        Run.open(tmp_path)


@pytest.mark.parametrize("seed", range(16))
def test_a_truncated_store(seed: int, whole: Path, tmp_path: Path) -> None:
    """Cut off anywhere, a store is whole or damaged, never a stack trace; reading it does not change it."""
    path = copied(whole, tmp_path / "run")
    content = path.read_bytes()
    cut = content[: random.Random(seed).randrange(len(content))]
    path.write_bytes(cut)
    try:
        read_and_work(path.parent)
    except StoreError as error:
        assert "Keep a copy of the folder" in str(error)  # noqa: PT017 - where the cut hits free space, nothing is lost
        assert path.read_bytes() == cut


@pytest.mark.parametrize("seed", range(30))
def test_a_lost_sector(seed: int, whole: Path, tmp_path: Path) -> None:
    """A sector of noise or zeros anywhere is harmless or a message, never another exception."""
    path = copied(whole, tmp_path / "run")
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    start = 512 * rng.randrange(len(content) // 512)
    content[start : start + 512] = rng.randbytes(512) if seed % 2 else bytes(512)
    path.write_bytes(content)
    try:
        read_and_work(path.parent)
    except InvdesignError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


def test_damage_on_the_command_line(whole: Path, tmp_path: Path) -> None:
    """Exit code 3 and what to do."""
    path = copied(whole, tmp_path / "run")
    path.write_bytes(path.read_bytes()[:20_000])
    done = cli("status", path.parent, "--trust-code")
    assert done.returncode == 3
    assert f"sqlite3 {path} .recover" in done.stderr


def test_an_unclean_end_is_checked(whole: Path, tmp_path: Path) -> None:
    """Damage that no reading meets is found when the last session did not end cleanly, and not looked for otherwise."""
    path = copied(whole, tmp_path / "run")
    with closing(sqlite3.connect(path)) as connection:
        query = "select rootpage, (select page_size from pragma_page_size) from sqlite_master where name = ?"
        page, size = connection.execute(query, ["evaluations_cache_key"]).fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : (page - 1) * size + 200] = b"\xff" * 200
    path.write_bytes(content)
    Store.open(path).close()
    execute(path, "update sessions set ended = null")
    with pytest.raises(StoreError, match="is damaged"):
        Store.open(path)
    Store.open(path, writable=False).close()  # looking on stays possible


def test_an_unclean_end_without_damage(whole: Path, tmp_path: Path) -> None:
    """A whole store passes the check, and the session that was killed is noted."""
    path = copied(whole, tmp_path / "run")
    execute(path, "update sessions set ended = null, reason = null")
    seal(path)
    store = Store.open(path)
    store.begin_session({})
    assert store.session_rows()[0]["reason"] == "did not end cleanly"
    store.end_session("stopped")
    store.close()


def test_a_store_without_permission(whole: Path, tmp_path: Path) -> None:
    """A folder in place of the file is a message too."""
    (tmp_path / STORE_FILE).mkdir()
    with pytest.raises(StoreError, match="holds no run"):
        Store.open(tmp_path / STORE_FILE)


# Versions.


def test_a_newer_store_is_refused(whole: Path, tmp_path: Path) -> None:
    """What a later version wrote is not touched; the remedy is to upgrade."""
    path = copied(whole, tmp_path / "run")
    execute(path, "update meta set value = '999' where key = 'schema_version'")
    with pytest.raises(
        StoreError, match=r"has schema version 999, this invdesign knows \d+: upgrade invdesign"
    ):
        Run.open(path.parent, trust_code=True)


def test_an_older_store_is_migrated(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements of every version in between run in one transaction when the store is opened for writing."""
    path = copied(whole, tmp_path / "run")
    found = schema.SCHEMA_VERSION
    steps = {
        found: ("alter table meta add column note text", "update meta set note = 'one'"),
        found + 1: ("update meta set note = note || ', two'",),
    }
    for module in ("store", "migration"):
        monkeypatch.setattr(f"invdesign.store.{module}.SCHEMA_VERSION", found + 2)
    monkeypatch.setattr("invdesign.store.migration.MIGRATIONS", steps)
    Store.open(path, writable=False).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select value from meta where key = 'schema_version'").fetchone() == (
            str(found),
        )
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select distinct note from meta").fetchall() == [("one, two",)]
        version = connection.execute("select value from meta where key = 'schema_version'").fetchone()
    assert version == (str(found + 2),)
    assert Run.open(path.parent, trust_code=True).status().counts["asked"] == 36


def as_version_1(path: Path) -> None:
    """Make the store what the first version wrote: a key of one candidate only."""
    with closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("select sql from sqlite_master where name = 'candidates'").fetchone()
        old = text.replace("TABLE candidates", "TABLE old").replace(
            "PRIMARY KEY (id)", "PRIMARY KEY (id), UNIQUE (key)"
        )
        assert "UNIQUE (key)" in old
        connection.execute(old)
        connection.execute("insert into old select * from candidates")
        connection.execute("drop table candidates")
        connection.execute("alter table old rename to candidates")
        connection.execute("create index ix_candidates_event on candidates (event)")
        for column in (
            "events drop column task",
            "events drop column request",
            "evaluations drop column withdrawn",
            "evaluations rename column noise to uncertainties",
            "evaluations drop column systematic",
            "evaluations drop column details",
            "evaluations drop column relaxed_genome",
            "evaluations drop column adoption_refused",
        ):
            connection.execute(f"alter table {column}")
        for table in ("meta", "sessions", "events", "candidates", "tasks", "evaluations"):
            connection.execute(f"alter table {table} drop column checksum")
        connection.execute("drop table measurements")
        connection.execute("drop table inherited")
        connection.execute("delete from meta where key = 'rows'")
        connection.execute("update meta set value = '1' where key = 'schema_version'")


def test_stores_of_the_first_version_take_promotions(whole: Path, tmp_path: Path) -> None:
    """A run of before reads as it did, goes on, and one genome may then have several candidates."""
    path = copied(whole, tmp_path / "run")
    before = Run.open(path.parent, trust_code=True).digest()
    as_version_1(path)
    assert Run.open(path.parent, trust_code=True).digest() == before  # only read: not migrated
    store = Store.open(path)
    assert store.read_entry("schema_version") == str(schema.SCHEMA_VERSION)
    assert store.digest() == before
    known = next(iter(store.read_rows(schema.candidates)))
    store.write_event(10**6, "ask", None, "null", [Candidate(10**6, known.key, Proposal({}))])
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        tables = "select name, sql from sqlite_master where name like '%candidates%' order by name"
        migrated = connection.execute(tables).fetchall()
        assert connection.execute("pragma foreign_key_check").fetchall() == []
    assert [name for name, _ in migrated] == ["candidates", "ix_candidates_event"]


def test_a_run_of_the_first_version_goes_on(whole: Path, tmp_path: Path) -> None:
    """Resumed under a larger budget it ends as a run of that budget does."""
    path = copied(whole, tmp_path / "run")
    as_version_1(path)
    run = Run.open(path.parent, trust_code=True)
    run.change(budget={"candidates": 48})
    run.use_workers(0)
    run.execute()
    assert run.digest() == finished(funnel(48), tmp_path / "other").digest()


def test_a_migration_that_fails_changes_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or none: the version stays, and the old program can still read the store."""
    path = copied(whole, tmp_path / "run")
    found = schema.SCHEMA_VERSION
    steps = {found: ("update meta set value = 'x' where key = 'created'", "update nowhere set a = 1")}
    for module in ("store", "migration"):
        monkeypatch.setattr(f"invdesign.store.{module}.SCHEMA_VERSION", found + 1)
    monkeypatch.setattr("invdesign.store.migration.MIGRATIONS", steps)
    with pytest.raises(StoreError):
        Store.open(path)
    monkeypatch.undo()
    store = Store.open(path)
    assert store.read_entry("created") != "x"
    store.close()


# Writing and reading.


def test_creation_is_whole_or_nothing(tmp_path: Path) -> None:
    """What a killed creation left behind is no run, and not in the way of the next."""
    (tmp_path / "run.new").write_bytes(b"half a store")
    (tmp_path / "run.new-wal").write_bytes(b"its journal")
    assert not (tmp_path / STORE_FILE).exists()
    Store.create(tmp_path / STORE_FILE, {"campaign": "{}"})
    assert Store.open(tmp_path / STORE_FILE).read_entry("campaign") == "{}"
    assert not (tmp_path / "run.new").exists()


def test_entries(store: Store) -> None:
    """What belongs to the run as a whole is kept by name."""
    assert store.read_entry("missing") == ""
    store.set_entry("budget", "Ünïcode")
    store.set_entry("budget", "two")
    assert store.read_entry("budget") == "two"


def full(store: Store) -> None:
    """A wave of three: one complete, one failed, one under way."""
    asked = [candidate(id) for id in range(3)]
    store.write_event(0, "start", None, "null")
    store.write_event(
        1,
        "ask",
        {"n": 3, "first": 0, "count": 3, "told": 0},
        '{"a":1}',
        asked,
        Step(planned=[PlannedTask(1, "build", (0, 1, 2))]),
    )
    store.write_step(
        Step(
            built=[Built(id, "LiCl", {"parameters": f"h{id}"}) for id in range(3)],
            results=[
                StageResult(
                    0,
                    "s",
                    {"height": 2.5},
                    {"height": 0.1},
                    {"height": 0.3},
                    {"height": "at its edge"},
                    {"relaxed": HASH},
                    {HASH: BLOB},
                    None,
                    {},
                    "key-0",
                ),
                StageResult(1, "s", failure=Failure("error", "s", "broken"), cache_key="key-1"),
            ],
            finished=[
                Finished(0, Status.COMPLETE, 2),
                Finished(1, Status.FAILED, 1, Failure("error", "s", "broken")),
            ],
            planned=[PlannedTask(2, "s", (2,), attempt=1)],
            done=[1],
        )
    )


def test_history_comes_back(store: Store) -> None:
    """Every trial is as it was written: status, depth, values, uncertainty, structures, cause, lineage."""
    full(store)
    history = store.load_history(RunHistory(PROBLEM, store.load_candidate))
    first, second, third = (history.trial(id) for id in range(3))
    assert (first.status, first.depth, dict(first.properties), first.structures) == (
        Status.COMPLETE,
        2,
        {"height": 2.5},
        ("relaxed",),
    )
    assert dict(first.noise) == {"height": 0.1}
    assert dict(first.systematic) == {"height": 0.3}
    assert dict(first.details) == {"height": "at its edge"}
    assert (second.status, second.failure) == (Status.FAILED, Failure("error", "s", "broken"))
    assert third.status is Status.PENDING
    assert history.pending() == [2]
    assert [history.candidate(id) for id in range(3)] == [candidate(id) for id in range(3)]
    assert store.load_structure(0, "relaxed") == BLOB
    assert store.load_structure(0, "charged") is None
    assert store.display_formula(0) == "LiCl"


def test_the_wave_under_way_comes_back(store: Store) -> None:
    """What was asked, built, found and planned is known after an interruption, with the structures' data."""
    full(store)
    (rest,) = store.load_unfinished()
    assert [c.id for c in rest.asked] == [0, 1, 2]
    assert rest.designs[2] == {"parameters": "h2"}
    assert [(r.candidate, r.blobs) for r in rest.results] == [(0, {HASH: BLOB}), (1, {})]
    assert [ending.candidate for ending in rest.finished] == [0, 1]
    assert [task.id for task in rest.tasks] == [1, 2]
    assert rest.planned == {2}
    assert rest.tasks[1] == PlannedTask(2, "s", (2,), 1)


def test_the_cache_knows_earlier_waves_only(store: Store) -> None:
    """Successful evaluations of earlier candidates are found by key; failures never, and the wave's own neither."""
    full(store)
    assert store.find_cached(["key-0", "key-1"], before=3).keys() == {"key-0"}
    assert store.find_cached(["key-0"], before=3)["key-0"].blobs == {HASH: BLOB}
    assert store.find_cached(["key-0"], before=0) == {}


def test_an_event_is_all_or_nothing(store: Store) -> None:
    """An event whose candidates cannot be written leaves no trace of itself."""
    full(store)
    with pytest.raises(StoreError, match="UNIQUE constraint failed"):
        store.write_event(2, "ask", None, "null", [candidate(3), candidate(0)])
    last = store.last_event()
    assert last is not None
    assert last[0] == 1
    assert len(store.load_history(RunHistory(PROBLEM, store.load_candidate))) == 3


def test_the_digest_sees_what_was_found(tmp_path: Path) -> None:
    """Any value, status, state or lineage is in it; times, sessions, costs and the way tasks were cut are not."""

    def made(name: str) -> Path:
        path = tmp_path / name / STORE_FILE
        Store.create(path, {"campaign": name})
        full(Store.open(path))
        return path

    def digest(path: Path) -> str:
        return Store.open(path, writable=False).digest()

    reference = digest(made("reference"))
    outside = {
        "sessions": "insert into sessions (started, seconds, environment) values ('now', 5, '{}')",
        "times": "update events set time = 1",
        "finished": "update candidates set finished = 1",
        "cost": "update evaluations set cost = '{\"seconds\": 9}'",
        "source": "update evaluations set source = 1",
        "tasks": "update tasks set members = '[1]', attempt = 7",
        "meta": "update meta set value = 'x' where key = 'campaign'",
    }
    inside = {
        "value": "update evaluations set properties = '{\"height\": 2.5000000000000004}' where candidate = 0",
        "noise": "update evaluations set noise = '{}'",
        "systematic": "update evaluations set systematic = '{\"height\": 1.0}'",
        "detail": 'update evaluations set details = \'{"height": "else"}\'',
        "structure": 'update evaluations set structures = \'{"relaxed": "l"}\' where candidate = 0',
        "failure": "update candidates set failure = null where id = 1",
        "status": "update candidates set status = 2 where id = 0",
        "genome": "update candidates set genome = '{\"x\": 1}' where id = 0",
        "lineage": "update candidates set parents = '[1]' where id = 2",
        "operator": "update candidates set operator = 'start' where id = 2",
        "memo": "update candidates set memo = 'null' where id = 2",
        "state": "update events set state = '{\"a\": 2}' where id = 1",
        "event": "delete from events where id = 0",
    }
    for name, statement in (outside | inside).items():
        path = made(name)
        execute(path, statement)
        seal(path)
        assert (digest(path) == reference) == (name in outside), name


def test_reading_while_writing(store: Store) -> None:
    """A reader sees whole steps while the writer goes on."""
    reader = Store.open(store.path, writable=False)
    full(store)
    assert len(reader.load_history(RunHistory(PROBLEM, reader.load_candidate))) == 3
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        reader.set_entry("a", "b")


def test_odd_text_is_kept(store: Store) -> None:
    """Quotes, line breaks and any Unicode in a genome or a message come back as they were."""
    word = 'it\'s; "drop" table\n— Ω 你好 \U0001f50b \x00'
    genome = {"x": word}
    asked = Candidate(0, genome_key(genome), Proposal(genome))
    store.write_event(0, "ask", word, "null", [asked])
    store.write_step(Step(finished=[Finished(0, Status.FAILED, 0, Failure("error", "s", word))]))
    history = store.load_history(RunHistory(PROBLEM, store.load_candidate))
    assert history.trial(0).failure == Failure("error", "s", word)
    assert history.candidate(0) == asked
