"""Runs that earlier versions left behind open, read, export and go on today (`tests/data/stores`)."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Status
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.store import schema
from invdesign.store.database import DamagedError
from invdesign.store.examining import examine_store
from invdesign.store.schema import SCHEMA_VERSION
from invdesign.store.store import STORE_FILE, Store
from tests.store.make_stores import STORES, described, write_stores
from tests.support import here

KEPT = sorted(STORES.glob("schema*/*.sqlite.gz"))
MORE = 5  # candidates


def name_of(file: Path) -> str:
    return f"{file.parent.name}-{file.name.removesuffix('.sqlite.gz')}"


@pytest.fixture(params=KEPT, ids=name_of)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a run as it was left, and what was known of it then."""
    file: Path = request.param
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / STORE_FILE).write_bytes(gzip.decompress(file.read_bytes()))
    expected = json.loads(file.with_name(file.name.replace(".sqlite.gz", ".json")).read_text("utf-8"))
    return folder, expected


def comparable(known: dict[str, Any]) -> Any:
    """The description as it is after its way through JSON."""
    return json.loads(json.dumps(known))


def measure_all(run: Run) -> None:
    """Ask for candidates and measure them, those that wait first, until the budget ends."""
    (stage,) = (stage for stage in run.campaign.stages if stage.external)
    (name,) = run.campaign.evaluators[stage.name].provides
    while ids := [id for found in run.waiting().values() for id in found] or run.ask(3):
        run.tell([Told(id, properties={name: 0.01 * id}) for id in ids])


def test_every_kind_is_kept() -> None:
    """There are stores, of each kind, from every schema that has a folder."""
    kinds = {
        folder: {name_of(file).split("-")[1] for file in KEPT if file.parent == folder}
        for folder in STORES.glob("schema*")
    }
    assert kinds
    assert all(found >= {"finished", "interrupted", "measured"} for found in kinds.values())


def without_checksums(path: Path) -> None:
    """Make a store of schema 4 one of schema 3, which had none."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in schema.CHECKSUMMED_TABLES:
            connection.execute(f"alter table {table.name} drop column checksum")
        connection.execute("delete from meta where key = 'rows'")
        connection.execute("update meta set value = '3' where key = 'schema_version'")


@pytest.mark.parametrize("version", [3, 4])
def test_uncertainties_of_before_are_told_apart(version: int, tmp_path: Path) -> None:
    """Those of hull distances were of the method; those of measurements, of hull distances too, are noise."""
    (tmp_path / STORE_FILE).write_bytes(
        gzip.decompress((STORES / "schema4" / "hulls.sqlite.gz").read_bytes())
    )
    if version == 3:
        without_checksums(tmp_path / STORE_FILE)
    with closing(Run.open(tmp_path)) as run:
        energy, hull = "energy_per_atom", "decomposition_energy"
        computed, told = run.trial(0), run.trial(4)
        assert (computed.noise, computed.systematic) == ({energy: 0.002}, {hull: 0.05})
        assert (told.noise, told.systematic) == ({energy: 0.01, hull: 0.03}, {})
        assert run.history.systematic(hull).tolist()[:4] == [0.05] * 4
        assert np.isnan(run.history.noise(hull)[:4]).all()
    with closing(Store.open(tmp_path / STORE_FILE)) as store:
        inherited = list(store.read_rows(schema.inherited))
        assert {(row.noise, row.systematic) for row in inherited} == {("{}", f'{{"{hull}": 0.05}}')}


def test_damage_of_before_stays_known(tmp_path: Path) -> None:
    """A row that was damaged gets no checksum of its own by the migration; the others do."""
    path = tmp_path / STORE_FILE
    path.write_bytes(gzip.decompress((STORES / "schema4" / "hulls.sqlite.gz").read_bytes()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update evaluations set properties = replace(properties, '0.', '1.') where id = 4")
    with pytest.raises(DamagedError, match=r"evaluation 4 \(table evaluations\) is not as it was written"):
        Run.open(tmp_path)
    assert [(item.table, item.keys) for item in examine_store(path)] == [("evaluations", (4,))]


def test_a_kept_store_reads_as_when_it_was_made(kept: tuple[Path, dict[str, Any]]) -> None:
    """Candidates, values, structures, measurements and sessions are what they were; reading leaves the file as it is."""
    folder, expected = kept
    before = (folder / STORE_FILE).read_bytes()
    with closing(Run.open(folder)) as run:
        assert comparable(described(run)) == expected
        built = [id for id, item in enumerate(expected["candidates"]) if item["structures"]]
        assert all(run.structure(id, "relaxed") is not None for id in built)
    assert (folder / STORE_FILE).read_bytes() == before


def test_commands_read_a_kept_store(kept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Status, top, show, measurements and every export work on it."""
    folder, expected = kept
    last = len(expected["candidates"]) - 1
    relaxed = any(item["structures"] for item in expected["candidates"])
    formats = ("csv", "cif", "extxyz", "ase-db") if relaxed else ("csv",)
    commands: list[tuple[object, ...]] = [
        ("status", folder),
        ("top", folder),
        ("show", folder, last),
        ("measurements", folder),
        *(("export", folder, "--format", format, "-o", tmp_path / format) for format in formats),
    ]
    for command in commands:
        done = here(*command)
        assert done.returncode == 0, (command, done.stderr)
    with (tmp_path / "csv").open(newline="", encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == last + 1


def test_a_kept_run_goes_on(kept: tuple[Path, dict[str, Any]]) -> None:
    """Resumed under a budget of some more candidates it reaches it, in today's schema, and what was known of it still is."""
    folder, expected = kept
    known = expected["candidates"]
    with closing(Run.open(folder)) as run:
        budget = len(known) + MORE
        run.change(budget={"candidates": budget})
        run.execute()
        if run.campaign.measured_outside:
            measure_all(run)
        assert len(run.history) >= budget
        assert not run.history.pending()
        now = comparable(described(run))
    ended = [
        (old, new)
        for old, new in zip(known, now["candidates"], strict=False)
        if old["status"] != Status.PENDING.name
    ]
    assert all(old == new for old, new in ended)
    assert now["measurements"][: len(expected["measurements"])] == expected["measurements"]
    with closing(Store.open(folder / STORE_FILE)) as store:
        assert store.read_entry("schema_version") == str(SCHEMA_VERSION)


@pytest.mark.slow
def test_stores_can_be_made(tmp_path: Path) -> None:
    """The script that makes the stores of a new schema works, and what it describes can be read back."""
    write_stores(tmp_path / "schema")
    assert len(list((tmp_path / "schema").glob("*.sqlite.gz"))) == 4
