"""Damage to a store is found when it is read, named, and never handed on; forged values are no stack traces."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from collections import Counter
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import pytest

from invdesign.errors import InvdesignError, StoreError
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE
from invdesign.structures.files import MAX_UNPACKED_BYTES, compress_text, decompress_text
from invdesign.structures.reading.raw import StructureFileError
from tests.fuzz.stores import Fuzzer, resumed, seen
from tests.support import here, seal


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    """A small finished run, and what it says when it is whole."""
    return Fuzzer(tmp_path_factory.mktemp("damage"))


@pytest.fixture
def copy(fuzzer: Fuzzer) -> Path:
    """The folder of a copy of it."""
    return fuzzer.copied("copy")


def execute(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / STORE_FILE)) as connection, connection:
        connection.execute(statement, values)


def look(folder: Path) -> None:
    """Everything a user may look at."""
    for arguments in (
        ("status", folder, "--trust-code", "--json"),
        ("top", folder, "--trust-code"),
        ("show", folder, 1, "--trust-code"),
        ("export", folder, "--format", "csv", "-o", folder / "all.csv", "--trust-code"),
        ("export", folder, "--format", "cif", "-o", folder / "cif", "--trust-code"),
    ):
        done = here(*arguments)
        assert done.returncode in {0, 2, 3}, done.stderr
        done.stdout.encode()


@pytest.mark.parametrize(
    ("lost", "instead"), [("events", "inherited"), ("ix_evaluations_candidate", "ix_measurements_key")]
)
@pytest.mark.parametrize("command", [("ask", "--pending"), ("show", 1), ("status",)])
def test_pages_that_changed_places(copy: Path, lost: str, instead: str, command: tuple[object, ...]) -> None:
    """A table or index that seems to be empty is damage, also where only some of its rows are looked for."""
    with closing(sqlite3.connect(copy / STORE_FILE)) as connection, connection:
        connection.execute("pragma writable_schema = on")
        connection.execute(
            "update sqlite_master set rootpage = (select rootpage from sqlite_master where name = ?) where name = ?",
            (instead, lost),
        )
    name, *rest = command
    done = here(name, copy, *rest, "--trust-code")
    assert done.returncode == 3
    assert "rows, and had" in done.stderr


@pytest.mark.parametrize(
    ("index", "on"),
    [
        ("ix_evaluations_candidate", "evaluations (id)"),
        ("ix_candidates_event", "candidates (depth)"),
    ],
)
def test_an_index_of_other_rows(copy: Path, index: str, on: str) -> None:
    """An index with as many entries as its table has rows, which lead elsewhere, is damage."""
    with closing(sqlite3.connect(copy / STORE_FILE)) as connection, connection:
        connection.execute(f"create index other on {on}")
        connection.execute("pragma writable_schema = on")
        connection.execute(
            "update sqlite_master set rootpage = (select rootpage from sqlite_master where name = 'other') where name = ?",
            (index,),
        )
        connection.execute("delete from sqlite_master where name = 'other'")
    with pytest.raises(StoreError, match=f"the index {index} names other rows than its table has.*doctor"):
        seen(copy)


# What happens by chance.


def test_damage_is_harmless_or_found(fuzzer: Fuzzer) -> None:
    """Bits, sectors, lengths, journals, values and rows: a store says the same as before, or that it is damaged."""
    outcomes = Counter(fuzzer.outcome(seed, resume=False) for seed in range(60))
    assert outcomes["value: found"] > 3
    assert outcomes["length: found"] == 10


def test_a_damaged_run_is_not_resumed(fuzzer: Fuzzer) -> None:
    """Work goes on to the same end as that of a whole run, or not at all."""
    assert {fuzzer.outcome(seed, resume=True) for seed in (4, 5)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [0, 50_000])
def test_damage_is_harmless_or_found_for_long(first: int, fuzzer: Fuzzer) -> None:
    """The same, 10,000 times, now and then going on with the run."""
    outcomes = Counter(fuzzer.outcome(seed, resume=seed % 40 == 39) for seed in range(first, first + 5000))
    assert outcomes.total() == 5000


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("update evaluations set properties = replace(properties, '1', '2') where id = 9", "evaluation 9 "),
        ("update candidates set genome = replace(genome, '1', '2') where id = 3", "candidate 3 "),
        ("update events set state = 'null' where id = 2", "event 2 "),
        ("update meta set value = value || ' ' where key = 'campaign'", "the entry 'campaign' of table meta"),
        ("delete from evaluations where id = 9", "table evaluations has "),
        ("delete from candidates where id = 17", "table candidates has 17 rows, and had 18"),
    ],
)
def test_damage_is_named(statement: str, named: str, copy: Path) -> None:
    """The message says which row it is, and how to learn more; the doctor says it of all that is damaged."""
    execute(copy, statement)
    with pytest.raises(StoreError, match=r"is damaged.*doctor") as caught:
        seen(copy)
    assert named in str(caught.value)
    done = here("doctor", copy)
    assert done.returncode == 3
    assert "problem" in done.stdout
    assert "what to do" in done.stdout


def test_what_nobody_reads_is_checked_before_work(copy: Path) -> None:
    """A damaged task keeps nobody from looking at a run, and is found before work goes on."""
    execute(copy, "update tasks set attempt = attempt + 1 where id = 2")
    with Run.open(copy, trust_code=True) as run:
        run.use_workers(0)
        with pytest.raises(StoreError, match=r"task 2 \(table tasks\) is not as it was written"):
            run.execute()


def test_a_damaged_structure(copy: Path) -> None:
    """A structure whose data changed, or are gone, is not handed out, and not replaced by another one without a word."""
    with Run.open(copy, trust_code=True) as run:
        id = next(id for id in range(18) if run.trial(id).structures)
    for statement, named in (
        ("update structures set data = x'00'", "not as it"),
        ("delete from structures", "missing"),
    ):
        execute(copy, statement)
        with (
            Run.open(copy, trust_code=True) as run,
            pytest.raises(StoreError, match=f"structure .* is {named}"),
        ):
            run.structure(id)
    assert "missing, of candidate" in here("doctor", copy).stdout


def test_a_damaged_run_is_not_forked(copy: Path, tmp_path: Path) -> None:
    """A fork would take the damage along with a checksum of its own."""
    execute(copy, "update evaluations set properties = '{\"height\": 9.5}' where id = 9")
    with pytest.raises(StoreError, match="evaluation 9"):
        fork(copy, tmp_path / "new", trust_code=True)
    assert not (tmp_path / "new").exists()


def test_the_doctor_of_a_whole_run(copy: Path) -> None:
    """Nothing is wrong with it, and nothing was changed."""
    before = (copy / STORE_FILE).read_bytes()
    done = here("doctor", copy, "--json")
    assert done.returncode == 0
    assert [row["verdict"] for row in json.loads(done.stdout)] == ["fine"]
    assert (copy / STORE_FILE).read_bytes() == before


def test_the_doctor_of_no_run(copy: Path) -> None:
    """A folder that is not there, with the one that may be meant."""
    done = here("doctor", copy.with_name("cop"))
    assert done.returncode == 3
    assert "there is no such folder. Did you mean 'copy'?" in done.stderr


# What somebody forges.

DEEP = "[" * 900 + "]" * 900
FORGED = {
    "deep genome": ("candidates", "genome", f'{{"x": {DEEP}}}'),
    "long number": ("candidates", "genome", f'{{"n": {"9" * 400}, "x": 0.5, "y": 0.5}}'),
    "half a character": ("candidates", "genome", '{"n": "\\ud800"}'),
    "deep memo": ("candidates", "memo", DEEP),
    "huge status": ("candidates", "status", 10**15),
    "huge depth": ("candidates", "depth", 2**62),
    "text for a status": ("candidates", "status", "done"),
    "no key": ("candidates", "key", "zz"),
    "failure": ("candidates", "failure", '{"a": 1}'),
    "half a failure": ("candidates", "failure", '["error", "build", "\\udc80"]'),
    "blob": ("candidates", "operator", b"\xff\xfe"),
    "infinite": ("evaluations", "properties", '{"height": 1e999}'),
    "not a number": ("evaluations", "properties", '{"height": NaN}'),
    "long property": ("evaluations", "properties", f'{{"height": {"9" * 400}}}'),
    "list": ("evaluations", "properties", "[1, 2]"),
    "structures": ("evaluations", "structures", '{"relaxed": 7}'),
    "whose": ("evaluations", "candidate", 10**12),
    "deep state": ("events", "state", DEEP),
    "detail": ("events", "detail", '{"first": "x"}'),
    "environment": ("sessions", "environment", DEEP),
    "seconds": ("sessions", "seconds", "long"),
    "campaign": ("meta", "value", DEEP),
    "list for all": ("meta", "value", "[]"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_values(name: str, copy: Path) -> None:
    """Values of another form, whose checksums are right, are a message at most, and cost no more than whole ones."""
    table, column, value = FORGED[name]
    execute(copy, f"update {table} set {column} = ? where rowid = (select max(rowid) from {table})", value)
    seal(copy / STORE_FILE)
    look(copy)


@pytest.mark.parametrize("seed", ["1e999", "9" * 400, '"\\ud800"', "null", DEEP])
def test_a_forged_campaign(seed: str, copy: Path) -> None:
    """The same of the campaign's seed."""
    execute(copy, "update meta set value = json_set(value, '$.seed', 'SEED') where key = 'campaign'")
    execute(copy, "update meta set value = replace(value, '\"SEED\"', ?) where key = 'campaign'", seed)
    seal(copy / STORE_FILE)
    look(copy)
    with pytest.raises(InvdesignError):
        Run.open(copy, trust_code=True).execute()


@pytest.mark.parametrize("version", ["²", "9" * 5000, "-1", "0", "1e3", ""])
def test_a_forged_version(version: str, copy: Path) -> None:
    """A schema version is a whole number of some digits."""
    execute(copy, "update meta set value = ? where key = 'schema_version'", version)
    with pytest.raises(StoreError, match="its schema version is"):
        Run.open(copy, trust_code=True)


def test_a_forged_structure_that_never_ends(copy: Path) -> None:
    """What decompresses to more than any structure has is refused before it fills the memory."""
    bomb = zlib.compress(b" " * (MAX_UNPACKED_BYTES + 1))
    key = blake2b(bomb, digest_size=16).hexdigest()
    execute(copy, "insert into structures values (?, ?)", key, bomb)
    execute(
        copy,
        "update evaluations set structures = ? where structures != '{}'",
        json.dumps({"relaxed": key, "crystal": key}),
    )
    seal(copy / STORE_FILE)
    with Run.open(copy, trust_code=True) as run:
        id = next(id for id in range(18) if run.trial(id).structures)
        with pytest.raises(StoreError, match=r"longer than 64,000,000 bytes"):
            run.structure(id)


@pytest.mark.parametrize("blob", [b"", b"text", compress_text("text")[:-3]])
def test_what_was_not_packed(blob: bytes) -> None:
    """Anything else than a packed text is an error, never less text."""
    assert decompress_text(compress_text("text")) == "text"
    with pytest.raises(StructureFileError, match=r"the stored structure is (cut off|damaged)"):
        decompress_text(blob)


# Links.


@pytest.mark.parametrize("name", ["run.sqlite", "run.sqlite-wal", "run.lock", "requests", "work"])
def test_nothing_is_written_through_links(name: str, copy: Path, tmp_path: Path) -> None:
    """A link in the place of a file or folder that a run writes is refused, and what it leads to stays as it is."""
    elsewhere = tmp_path / "elsewhere"
    if name == STORE_FILE:
        shutil.move(copy / name, elsewhere)
    else:
        elsewhere.write_bytes(b"precious")
    (copy / name).symlink_to(elsewhere)
    content = elsewhere.read_bytes()
    with pytest.raises(StoreError, match="is a symbolic link to"):
        resumed(copy)
    assert elsewhere.read_bytes() == content


def test_links_that_are_replaced(copy: Path, tmp_path: Path) -> None:
    """The status and the holder's note are files that are replaced: a link goes, and what it leads to stays."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious", encoding="utf-8")
    for name in ("status.json", "run.holder"):
        (copy / name).symlink_to(elsewhere)
    with Run.open(copy, trust_code=True) as run:
        run.use_workers(0)
        run.execute()
    assert elsewhere.read_text(encoding="utf-8") == "precious"
    assert not (copy / "status.json").is_symlink()
