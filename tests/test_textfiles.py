"""Files of users as text: what is never read, and the encodings that are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from invdesign.diskfiles import replace_atomically
from invdesign.textfiles import UnreadableFileError, decode, read_bytes, read_text

TEXT = "Li₂O, 25 °C\nzweite Zeile\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_and_without_a_mark(encoding: str) -> None:
    """What Excel, editors and instruments save is the same text."""
    assert decode(TEXT.replace("\n", "\r\n").encode(encoding), "a.csv") == TEXT


def test_latin1_is_read_or_refused() -> None:
    """A degree sign in Latin-1 is read where names matter to nobody, and refused with its line elsewhere."""
    data = "a\n25 °C".encode("latin-1")
    assert decode(data, "a.cif") == "a\n25 °C"
    with pytest.raises(UnreadableFileError, match=r"a\.cif is no UTF-8 text at line 2"):
        decode(data, "a.cif", fallback=None)


def test_zero_bytes_are_no_text() -> None:
    """A binary file is refused as one."""
    with pytest.raises(UnreadableFileError, match="holds zero bytes"):
        decode(b"ab\0c", "a.cif")


def test_pipes_devices_and_folders_are_never_read(tmp_path: Path) -> None:
    """None of them ends, or holds anything; no reader waits for a writer."""
    pipe = tmp_path / "pipe.cif"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UnreadableFileError, match="a pipe or a device"):
            read_bytes(path, 10)
    with pytest.raises(UnreadableFileError, match="is a folder"):
        read_bytes(tmp_path, 10)


def test_size_is_bounded(tmp_path: Path) -> None:
    """The limit is named, and never more than that is read."""
    file = tmp_path / "big.csv"
    file.write_bytes(b"x" * 2_000_001)
    with pytest.raises(UnreadableFileError, match=r"too large: 2\.000001 MB, at most 2 MB"):
        read_text(file, 2_000_000)
    assert len(read_bytes(file, 2_000_001)) == 2_000_001


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says where it was looked for."""
    with pytest.raises(UnreadableFileError, match="there is no such file"):
        read_text(tmp_path / "none.csv", 10)


def test_windows_adds_to_latin1() -> None:
    """Dashes, quotation marks and the euro sign of Windows are read as such."""
    assert decode("“fine” – 3 €".encode("cp1252"), "a.csv", letters=True) == "“fine” – 3 €"


@pytest.mark.parametrize(
    ("word", "encoding"),
    [("正极材料", "gbk"), ("катод", "cp1251"), ("正極", "shift_jis"), ("κάθοδος", "cp1253")],
)
def test_letters_of_other_encodings_are_refused(word: str, encoding: str) -> None:
    """Where words are looked at, they are not read as letters of another alphabet; in comments they may be."""
    data = f"name\n{word}".encode(encoding)
    with pytest.raises(
        UnreadableFileError, match=r"a\.csv is no UTF-8 text, and in line 2 .* save it as UTF-8"
    ):
        decode(data, "a.csv", letters=True)
    assert decode(data, "a.cif").startswith("name\n")
    assert decode(f"name\n{word}".encode(), "a.csv", letters=True) == f"name\n{word}"


@pytest.mark.parametrize("place", ["/dev/null", "/dev/stdout", "/proc/self/fd/1", "pipe"])
def test_devices_and_pipes_are_never_replaced(tmp_path: Path, place: str) -> None:
    """An output named so is refused; for a privileged user the device would be gone for all processes."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / place  # an absolute place stands for itself
    before = path.lstat()
    with pytest.raises(OSError, match=r"belongs to the system|it is a pipe"), replace_atomically(path):
        pytest.fail("a file was opened")
    assert path.lstat().st_mode == before.st_mode
