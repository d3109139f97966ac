"""One reader of tables: pools, the evaluator `table`, priors and told results read the same cells, or refuse alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.campaign.load import campaign_from
from invdesign.errors import InvdesignError
from invdesign.sheets.additions import CandidatesError, read_candidates
from invdesign.tables import records
from invdesign.tables.cells import (
    is_blank,
    is_missing_number,
    looks_like_number,
    parse_number,
    parse_numbers,
    suggest_remedy,
)
from invdesign.tables.guard import guard_cell, unguard_cell
from invdesign.tables.records import TableError
from invdesign.tables.text import find_separator, open_table, parse_table
from invdesign.tables.units import is_same_unit, is_unit, split_heading
from tests.fuzz.tables import NAMES, Reader, all_readers, run_fuzzer
from tests.fuzz.tables import campaign as told_campaign

KINDS = ("pool", "table", "prior", "tell")
every_reader = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    """The readers of (name, x) by kind."""
    with all_readers(tmp_path_factory.mktemp("readers")) as found:
        yield found


def write(folder: Path, content: str | bytes) -> Path:
    """A table as a file."""
    path = folder / "cells.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(reader: Reader, path: Path) -> str:
    """What a reader says of a table it does not read."""
    with pytest.raises((InvdesignError, ValidationError)) as caught:
        reader(path)
    return str(caught.value)


# All readers.

DIALECTS: dict[str, bytes] = {
    "plain": b"name,x\na,1.5\nb,2\n",
    "mark": b"\xef\xbb\xbfname,x\na,1.5\nb,2\n",
    "spreadsheet": b"\xef\xbb\xbfname;x\r\na;1.5\r\n;\r\nb;2\r\n;;;\r\n",
    "unicode text": "name\tx\r\na\t1.5\r\nb\t2\r\n".encode("utf-16"),
    "big-endian": b"\xfe\xff" + "name,x\na,1.5\nb,2".encode("utf-16-be"),
    "old line ends": b"name,x\ra,1.5\rb,2\r",
    "separator said": b"sep=;\nname;x\na;1.5\nb;2",
    "separator said by a tab": b"sep=\t\nname\tx\na\t1.5\nb\t2",
    "blank lines": b"\n \n,\nname,x\n\na,1.5\n  ,\n\nb,2\n\n",
    "empty columns": b"name,x,,\na,1.5,,\nb,2\n",
    "numbers of rows": b",name,x\n0,a,1.5\n1,b,2\n",
    "a comment": b"# rig 2, May, after service\nname,x\na,1.5\nb,2\n",
    "quotes": b'"name","x"\n"a","1.5"\n"b",2\n',
    "signs": b"name,x\na,+1.5\nb,2.\n",
    "a unit in the heading": b"name,x [S/cm]\na,1.5\nb,2\n",
    "a unit in words": "name,x (S cm\u207b\u00b9)\na,1.5\nb,2\n".encode(),
    "a unit behind a slash": b"name,x / S cm-1\na,1.5\nb,2\n",
    "a line break in the heading": b'name,"x\n(S/cm)"\na,1.5\nb,2\n',
}


@every_reader
@pytest.mark.parametrize("dialect", DIALECTS)
def test_how_people_save_tables(readers: dict[str, Reader], kind: str, dialect: str, tmp_path: Path) -> None:
    """Encodings, separators, line ends, blank rows, comments and units in headings change nothing."""
    assert readers[kind](write(tmp_path, DIALECTS[dialect])) == [("a", 1.5), ("b", 2.0)]


@every_reader
def test_names_with_accents(readers: dict[str, Reader], kind: str, tmp_path: Path) -> None:
    """Text in Latin-1, which says no encoding, keeps its letters."""
    assert readers[kind](write(tmp_path, "name,x\n\u00e9,3\n".encode("latin-1"))) == [("\u00e9", 3.0)]


REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a title above": ("Series 4 of May\n\nname,x\na,1\n", ("'Series 4 of May', which looks like a title",)),
    "a title with commas": ("Series 4,\nname,x\na,1\n", ("looks like a title above the headings",)),
    "units below": ("name,x\n,S/cm\na,1\n", ("units (S/cm) stand in a row of their own", "NAME [S/cm]")),
    "spaces between columns": (
        "name x  y\na  1.5  2\n",
        ("separated by spaces", "Separate them with commas"),
    ),
    "a range": ("name,x\na,0.2-0.4\nb,1\n", ("A range is no number", "_noise")),
    "a range with a dash": ("name,x\na,1e-4\u20131e-3\nb,1\n", ("A range is no number",)),
    "a fraction": ("name,x\na,2/3\nb,1\n", ("Write 0.666667.",)),
    "headings of two lines": ("name,,x\nof,it,x\na,1,2\n", ("has no heading", "write them in one")),
    "a decimal comma": ("name;x\na;0,75\nb;1\n", ("'0,75'", "Write 0.75, with a decimal point")),
    "decimal commas alone": ("name;x\na;0,75\nb;1,5e-3\n", ("'0,75'", "Write 0.75, with a decimal point")),
    "a comma of either kind": ("name;x\na;1,250\nb;1\n", ("Write 1.250 or 1250",)),
    "spaces between thousands": ("name,x\na,12 500\nb,1\n", ("Write 12500",)),
    "a narrow space": ("name,x\na,12\u202f500\nb,1\n", ("Write 12500",)),
    "underscores": ("name,x\na,12_500\nb,1\n", ("Write 12500",)),
    "per cent": ("name,x\na,7 %\nb,1\n", ("Units stand in the heading",)),
    "a unit in a cell": ("name,x\na,7 mS/cm\nb,1\n", ("Units stand in the heading",)),
    "a bound": ("name,x\na,<3e-9\nb,1\n", ("A bound is no number: leave the cell empty", "column failure")),
    "another bound": (
        "name,x\na,\u2265 4\nb,1\n",
        ("A bound is no number: leave the cell empty", "column failure"),
    ),
    "not detected": ("name,x\na,n.d.\nb,1\n", ("not determined or not detected",)),
    "infinity": ("name,x\na,1e999\nb,1\n", ("It is infinite",)),
    "an error of a formula": ("name,x\na,#DIV/0!\nb,1\n", ("an error of a formula in the spreadsheet",)),
    "powers of ten": ("name,x\na,1.2\u00d710\u207b\u00b3\nb,1\n", ("Write 1.2e-3",)),
    "a spread": ("name,x\na,5 \u00b1 1\nb,1\n", ("a column of its own",)),
    "digits of another script": ("name,x\na,\u0661\u0662\nb,1\n", ("digits 0 to 9",)),
    "too many cells": (
        "name,x\na,1\nb,0,5\n",
        ("3", "has 3 cells, and there are 2 headings", "decimal comma"),
    ),
    "too few cells": ("name,note,x\na,,1\nb\n", ("3", "has 1 cell, and there are 3 headings")),
    "one heading twice": ("name,x,x\na,1,2\n", ("more than one column",)),
    "cells without a heading": ("name,x,,\na,1,,dry\n", ("column 4", "'dry' and has no heading")),
    "an open quotation": ('name,x\na,1\nb,"2\nc,3\n', ("3", "a quotation mark that is never closed")),
    "text after a quotation": ('name,x\na,"1"0\n', ("2", "A quotation mark that is not closed?")),
    "nothing": (" \n", ("empty",)),
    "zero bytes": ("name,x\na,1\0\n", ("not a text file",)),
}


@every_reader
@pytest.mark.parametrize("name", REFUSED)
def test_slips_are_refused_with_a_remedy(
    readers: dict[str, Reader], kind: str, name: str, tmp_path: Path
) -> None:
    """No slip becomes text or nothing: each reader says the same, with the place and what to write."""
    content, expected = REFUSED[name]
    said = refusal(readers[kind], write(tmp_path, content))
    assert [part for part in expected if part not in said] == [], said


@pytest.mark.parametrize("word", ["", " ", "nan", "N/A", "n.a.", "#N/A", "none", "-", "\u2014"])
def test_words_for_no_value(readers: dict[str, Reader], word: str, tmp_path: Path) -> None:
    """Tables and priors have no value there; a pool wants to be told; a result that is told wants an empty cell."""
    path = write(tmp_path, f"name,x\na,{word}\nb,1\n")
    assert readers["table"](path) == readers["prior"](path) == [("b", 1.0)]
    assert "values are missing: x in 1 row (a)" in refusal(readers["pool"], path)
    if word.strip():
        assert "Leave the cell empty where nothing was measured" in refusal(readers["tell"], path)
    else:
        assert readers["tell"](path) == [("b", 1.0)]


@every_reader
def test_text_that_was_marked(readers: dict[str, Reader], kind: str, tmp_path: Path) -> None:
    """The mark that keeps a spreadsheet from running a name is no part of the name."""
    assert readers[kind](write(tmp_path, "name,x\n'=e,1\n'f,2\n")) == [("=e", 1.0), ("'f", 2.0)]


def test_candidates_to_add_are_read_alike(tmp_path: Path) -> None:
    """In the encodings of spreadsheets, with units of parameters in headings; a decimal comma is told what to write."""
    space = {
        "kind": "parameters",
        "parameters": {"t": {"real": [0, 9]}, "name": {"categorical": list(NAMES)}},
    }
    campaign = campaign_from({**told_campaign(), "space": space})
    path = write(tmp_path, "name;t [mm];note\r\n\u00e9;1.5;\r\n;;\r\n'=e;2;dry\r\n".encode("utf-16"))
    assert read_candidates([path], campaign) == [{"name": "\u00e9", "t": 1.5}, {"name": "=e", "t": 2.0}]
    with pytest.raises(
        CandidatesError, match=r"cells.csv:2: row: .*got '1,5'\. Write 1\.5, with a decimal point"
    ):
        read_candidates([write(tmp_path, "name;t\na;1,5\n")], campaign)


@pytest.mark.parametrize("kind", ["table", "tell"])
def test_another_unit_is_refused(readers: dict[str, Reader], kind: str, tmp_path: Path) -> None:
    """Where the unit is known, a heading in another one is refused, and nothing is converted."""
    said = refusal(readers[kind], write(tmp_path, "name,x [mS/cm]\na,1\n"))
    assert "is in mS/cm by its heading" in said
    assert "x [S/cm]" in said


def test_random_slips_are_refused_or_read_alike(tmp_path: Path) -> None:
    """Damaged tables in all dialects: words, or the same values from every reader."""
    accepted = run_fuzzer(100, tmp_path)
    assert min(accepted.values()) > 10


@pytest.mark.slow
def test_many_random_slips_are_refused_or_read_alike(tmp_path: Path) -> None:
    """The same with other seeds and more of them."""
    accepted = run_fuzzer(10_000, tmp_path, seed=1)
    assert min(accepted.values()) > 1000


# Cells.

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\ufeff'"), max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Rows under two to four headings, none of them blank."""
    width = draw(st.integers(2, 4))
    cell = TEXT | st.sampled_from(
        ["a,b", "a;b", "a\tb", '"', 'say "x"', "\n", "# no comment", "sep=;", "0,5"]
    )
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=6))
    return [[f"h{k}" for k in range(width)], *(row for row in rows if any(map(str.strip, row)))]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=tables(),
    encoding=st.sampled_from(ENCODINGS),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    rows_per_block=st.integers(1, 3),
)
def test_every_table_comes_back(
    tmp_path: Path,
    rows: list[list[str]],
    encoding: str,
    separator: str,
    end: str,
    quoting: int,
    rows_per_block: int,
) -> None:
    """Whatever the encoding, separator, line ends and quotation marks: in blocks, and row by row."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n", quoting=quoting).writerows(rows)  # type: ignore[arg-type]  # csv's constants are numbers
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().replace("\n", end).encode(encoding))
    head, *body = rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_ROWS", rows_per_block)
        table = open_table(path)
        blocks = list(table.read_blocks(head))
    assert list(table.headings) == head
    found = [list(row) for block in blocks for row in zip(*(block.cells[name] for name in head), strict=True)]
    assert found == body
    places = np.concatenate([np.zeros(0, dtype=np.int64), *(block.places for block in blocks)])
    assert [list(table.fetch_row(int(place), head).values()) for place in places] == body
    assert [cells for _, cells in parse_table("t.csv", text.getvalue()).read_lines()] == body


def test_lines_are_those_of_the_file() -> None:
    """Blank rows, comments and cells of several lines are counted."""
    table = parse_table("t.csv", '\n# made by hand\na,b\n1,"x\ny"\n,\n2,z\n')
    assert [line for line, _ in table.read_lines()] == [4, 7]
    assert table.read_columns(["b"]) == ({"b": ["x\ny", "z"]}, [4, 7])
    assert table.remarks == ("line '# made by hand' before the headings is a comment",)


def test_quotation_marks_within_cells() -> None:
    """Inches are no quotation, wherever they stand; the rows stay apart."""
    text = 'size,note\n5" pipe,"a\nb"\n6" pipe,c\n"7"" pipe",d" e\n'
    assert parse_table("t.csv", text).read_columns(["size"])[0]["size"] == ['5" pipe', '6" pipe', '7" pipe']


@pytest.mark.parametrize(
    ("header", "following", "separator"),
    [
        ("a,b;c,d", "", ","),
        ("a;b", "", ";"),
        ("a\tb", "", "\t"),
        ("a", "", ","),
        ('"a, b, c";d', "", ";"),
        ("t, s, T (K);y", "1;2", ";"),
        ("a;b", "1;2,5", ";"),
    ],
)
def test_separator(header: str, following: str, separator: str) -> None:
    """The headings tell what separates columns; where they hold several marks, the line after them helps."""
    assert find_separator(header, following) == separator


@pytest.mark.parametrize("start", ["#name,x\n", "# c\n#name,x\n"])
def test_headings_behind_a_hash(start: str) -> None:
    """A line with as many cells as the rows holds the headings, also where it begins as a comment does."""
    assert parse_table("t.csv", f"{start}a,1\n").headings == ("#name", "x")


def test_a_workbook_is_no_table(tmp_path: Path) -> None:
    """The message says how to save it."""
    (tmp_path / "t.csv").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(
        TableError, match=r"workbook or an archive\. In the spreadsheet, save it as 'CSV UTF-8'"
    ):
        open_table(tmp_path / "t.csv")


def test_a_line_of_data_is_no_line_of_headings() -> None:
    """No table has as many columns as that, and no message could name them."""
    with pytest.raises(TableError, match="has 20001 columns; at most 16384 are read"):
        parse_table("t.csv", "x" + ",x" * 20_000)


def test_large_files_in_other_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are held in memory, and so may not be larger than that allows."""
    monkeypatch.setattr(records, "MAX_RECODED_BYTES", 20)
    (tmp_path / "t.csv").write_bytes("name,x\na,1\n".encode("utf-16"))
    with pytest.raises(TableError, match=r"too large to be read as another.*Save it as UTF-8"):
        open_table(tmp_path / "t.csv")


@given(st.floats(allow_nan=False))
def test_numbers_survive_being_written(value: float) -> None:
    """A cell holds the number that was written, to the last digit, and infinity is a number."""
    assert parse_number(repr(value)) == value
    assert parse_number(f" {value!r} ".replace("-", "\u2212")) == value


@given(st.text(alphabet="0123456789.,eE+-_ %<'\u00a0\u2212\u0661x", max_size=10))
def test_numbers_are_read_in_one_way(text: str) -> None:
    """A column and a cell agree; what is read is what Python reads; nothing is a number in two forms."""
    number = parse_number(text)
    values, wrong = parse_numbers([text, "1"])
    if number is None:
        assert np.isnan(values[0])
        assert wrong == ([] if is_missing_number(text) else [0])
    else:
        assert number == float(text.replace("\u2212", "-"))
        assert values[0] == number or wrong == [0]
    assert suggest_remedy(text)


@pytest.mark.parametrize("cell", ["", "  ", "\u00a0", None, float("nan")])
def test_blank_cells(cell: object) -> None:
    """Nothing, spaces and NaN are blank, and so no number either."""
    assert is_blank(cell)
    assert is_missing_number(cell)


def test_a_column_tells_missing_from_wrong() -> None:
    """Empty cells are NaN; words, true and false, and infinities are wrong, and told by position."""
    values, wrong = parse_numbers(["1.5", "", "n/a", "abc", "inf", 2, True])
    assert wrong == [3, 4, 6]
    np.testing.assert_array_equal(values, [1.5, np.nan, np.nan, np.nan, np.nan, 2.0, np.nan])


@pytest.mark.parametrize(
    "text", ["mp-149", "2H", "1,2-dimethoxyethane", "2024-05-01", "LiF", "none", "batch 3"]
)
def test_names_are_no_numbers(text: str) -> None:
    """Polytypes, molecules, dates and identifiers stay text."""
    assert not looks_like_number(text)


# Units.


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("S cm-1", "S/cm"),
        ("S\u00b7cm\u207b\u00b9", "S/cm"),
        ("\u00c53/atom", "\u00c5^3/atom"),
        ("\u00b5m", "\u03bcm"),
        ("-", ""),
    ],
)
def test_one_unit_in_several_forms(written: str, unit: str) -> None:
    """Powers, signs of products, and the several characters of one letter."""
    assert is_same_unit(written, unit)
    assert not is_same_unit(f"m{written}", unit)


def test_headings() -> None:
    """Units stand in brackets or behind a slash; a remark in brackets is no unit."""
    assert split_heading("T / K") == ("T", "K")
    assert split_heading("mass/charge") == ("mass/charge", None)
    assert [is_unit(text) for text in ("mS/cm", "g cm-3", "%", "PBE", "vs Li")] == [
        True,
        True,
        True,
        False,
        False,
    ]


# Marks against formulas.


@given(st.text(alphabet="'=+-@\t\r\n1aE. ", max_size=6) | st.text())
def test_marked_text_comes_back(text: str) -> None:
    """Any text, whatever it begins with; what is marked begins no formula."""
    marked = guard_cell(text)
    assert isinstance(marked, str)
    assert unguard_cell(marked) == text
    assert marked[:1] not in {"=", "+", "-", "@", "\t", "\r"} or parse_number(marked) is not None


@pytest.mark.parametrize("cell", [-1.5, 3, None, True, "-1.5", "+2e3", "Li2O"])
def test_numbers_are_not_marked(cell: object) -> None:
    """Numbers stay numbers, as text too; other text stays as it is."""
    assert guard_cell(cell) == cell
