"""Pipes, devices and links in the places of files: named, and never read without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from invdesign.campaign.document import read_document
from invdesign.errors import CampaignError, InvdesignError
from invdesign.functions.reading import read_function
from invdesign.settings import InputFile
from invdesign.spaces.pool.file import PoolFile
from tests.support import here, toy

CIF = "data_x\n_cell_length_a 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of structures, and files that are none."""
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "a.cif").write_text(CIF)
    (tmp_path / "elsewhere.cif").write_text(CIF + "#\n")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe.csv", "is a pipe or a device"),
        ("endless.csv", "is a pipe or a device"),
        ("loop.csv", "is no path|no file or folder"),
        ("gone.csv", "there is no file or folder 'gone.csv'"),
        ("a" * 400 + ".csv", "no file or folder|is no path"),
        ("~nobody-here/x.csv", "is no path"),
    ],
)
def test_strange_files_as_a_pool(
    folder: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that is no regular file is a mistake, told at once."""
    monkeypatch.chdir(folder)
    with pytest.raises(ValidationError, match=message):
        PoolFile.read(name)
    with pytest.raises(ValidationError):
        InputFile.read(name)


@pytest.mark.parametrize("strange", ["pipe", "device", "dangling", "loop"])
def test_strange_files_in_a_pool(folder: Path, strange: str) -> None:
    """What is no file in a folder of structures is named; a link to a file elsewhere is read as that file."""
    pool = folder / "pool"
    (pool / "b.cif").symlink_to(folder / "elsewhere.cif")
    assert PoolFile.read(pool).bytes == 2 * len(CIF) + 2
    if strange == "pipe":
        os.mkfifo(pool / "strange.cif")
    else:
        target = {"device": "/dev/zero", "dangling": "nowhere.cif", "loop": "strange.cif"}[strange]
        (pool / "strange.cif").symlink_to(target)
    with pytest.raises(ValidationError, match=r"a broken link or a pipe: strange\.cif\. Remove them"):
        PoolFile.read(pool)


def test_a_pool_that_became_a_device(folder: Path) -> None:
    """A pool whose file is replaced by a device or pipe after the campaign was read is refused, not read."""
    table = folder / "table.csv"
    table.write_text("x\n1\n")
    found = PoolFile.read(table)
    table.unlink()
    table.symlink_to("/dev/zero")
    with pytest.raises(InvdesignError, match="only regular files are read"):
        found.verify_content()


def test_a_pool_of_any_size_it_claims(folder: Path) -> None:
    """A sparse file that claims terabytes is refused by its size."""
    with (folder / "sparse.csv").open("wb") as stream:
        stream.truncate(2 * 10**12)
    with pytest.raises(ValidationError, match="has 2000 GB; a pool has 50 GB at most"):
        PoolFile.read(folder / "sparse.csv")


@pytest.mark.parametrize("name", ["pipe.csv", "endless.csv", "loop.csv", "pool"])
def test_strange_files_as_a_campaign(folder: Path, name: str) -> None:
    """A campaign is a regular file of bounded size."""
    with pytest.raises(CampaignError, match=r"pipe or a device|is a folder|cannot be read"):
        read_document(folder / name)
    assert here("validate", folder / name).returncode == 2


def test_modules_are_read_with_a_limit(folder: Path) -> None:
    """A module that nests without end is a mistake, not a stack trace."""
    module = folder / "deep.py"
    module.write_text("x = " + "(" * 5000 + ")" * 5000 + "\ndef price(candidate): return 1\n")
    with pytest.raises(InvdesignError, match=r"deep\.py.*(nested too deeply|is not Python)"):
        read_function(module, "price")


def test_campaigns_name_strange_files(folder: Path) -> None:
    """The command line answers with exit code 2 whatever a path leads to."""
    text = toy().replace("genetic, population: 10", "bayesian, prior: [{table: endless.csv}]")
    (folder / "toy.yaml").write_text(text)
    done = here("validate", "toy.yaml", cwd=folder)
    assert done.returncode == 2
    assert "pipe or a device" in done.stderr
