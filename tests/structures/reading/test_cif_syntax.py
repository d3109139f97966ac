"""CIF text as programs and people write it: well-formed, or sloppy in one meaning only."""

from __future__ import annotations

import pytest

from invdesign.structures.reading.cif_numbers import parse_number
from invdesign.structures.reading.cif_syntax import Block, _LineReader, parse_blocks
from invdesign.structures.reading.raw import StructureFileError
from tests.fuzz.cif import SEEDS
from tests.structures.reading.crystals import count_atoms
from tests.structures.reading.texts import ROCK_SALT, make_cif, read_one

SALT = make_cif(ROCK_SALT, "Na1 0 0 0\nF1 .5 .5 .5", name="F m -3 m", head="_chemical_formula_sum 'Na F'")


def test_lists_of_cif_2_are_one_value() -> None:
    """Lists and tables in brackets are passed over, also in the loop of the sites."""
    text = make_cif(
        ROCK_SALT, "Na1 0 0 0 [1 [2 3]]\nF1 .5 .5 .5 [4 5]", name="F m -3 m", columns=["my_tensor"]
    )
    text = "#\\#CIF_2.0\n" + text.replace("_cell_length_a", "_my_table {'a':1 'b':2}\n_cell_length_a", 1)
    assert count_atoms(read_one(text)) == {"Na": 4, "F": 4}


@pytest.mark.parametrize(
    "text",
    [
        SALT.replace("data_made\n", "# exported\n"),
        "Sodium fluoride, cubic\n\n" + SALT,
        SALT.replace("'F m -3 m'", "F m -3 m"),
        SALT.replace("'Na F'", "Na F"),
        SALT.replace("'F m -3 m'", "'F m -3 m"),
        SALT.replace("_cell_length_a", "_publ_section_title A study of salt\n_cell_length_a"),
        SALT.replace("_cell_length_a", "_journal_name_full [J. Cryst.\n_cell_length_a"),
        SALT.replace("data_made\n", "_chemical_name_common salt\ndata_made\n"),
        SALT + "loop_\n_geom_bond_distance\n_geom_bond_publ_flag\n2.57\n",
        SALT + "\x1a",
    ],
)
def test_sloppy_text(text: str) -> None:
    """Text with one meaning is read although the grammar refuses it, with a remark."""
    crystal = read_one(text)
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert text.endswith("\x1a") or "not well-formed" in crystal.remarks[0]


@pytest.mark.parametrize(
    "text",
    [
        SALT.replace("\n", "\r\n"),
        "\ufeff" + SALT,
        SALT.upper().replace("'NA F'", "'Na F'"),
        SALT.replace("_cell_length_a 5.14", "_cell_length_a\n5.14(2)"),
        SALT.replace("'Na F'", "\n;Na F\n;"),
        SALT.replace("_cell_length_a", "_publ_author_name 'O'Neill, J.'\n_cell_length_a"),
        SALT.replace("data_made", "data_"),
        "#\\#CIF_1.1\n" + SALT + "\n\n# end",
        SALT + "_cell_length_a 5.14\n",
    ],
)
def test_well_formed_text(text: str) -> None:
    """Line ends, marks, case and layout do not matter."""
    crystal = read_one(text)
    assert count_atoms(crystal) == {"Na": 4, "F": 4}
    assert crystal.remarks == ()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (SALT.replace("F1 .5 .5 .5", "F1 .5 .5"), r"line \d+ has 3 values, its loop has 4 columns"),
        (SALT + "_cell_length_a 6\n", "_cell_length_a is given twice in data_made, as '5.14' and as '6'"),
        (SALT + "_publ_text\n;never closed\n", r"begins with ';' on line \d+ has no end"),
        ("just a letter\nto a friend\n", "cannot be read as CIF: line 1"),
        ("<html><body>404</body></html>", "cannot be read as CIF"),
    ],
)
def test_unreadable_text(text: str, match: str) -> None:
    """Text that could mean several things is refused with its line."""
    with pytest.raises(StructureFileError, match=match):
        read_one(text)


@pytest.mark.parametrize("text", [*SEEDS, SALT])
def test_readers_agree(text: str) -> None:
    """Reading line by line gives the same blocks as the grammar where both can read."""
    by_grammar = parse_blocks(text, "made.cif")
    by_lines = _LineReader("made.cif", "no fault").read_lines(text.splitlines())
    assert [_plain(block) for block in by_lines] == [_plain(block) for block in by_grammar]


def _plain(block: Block) -> tuple[str, dict[str, list[str]]]:
    return block.name, {tag: list(values) for tag, values in block.columns.items()}


@pytest.mark.parametrize(
    ("text", "value", "decimals", "uncertainty"),
    [
        ("0.3333(2)", 0.3333, 4, 0.0002),
        ("90.(0)", 90.0, 0, 0.0),
        ("-.5", -0.5, 1, 0.0),
        ("1.25E-1", 0.125, 3, 0.0),
        ("12(3)", 12.0, 0, 3.0),
        ("2/3", 2 / 3, 17, 0.0),
        ("+3.14(1", 3.14, 2, 0.01),
    ],
)
def test_numbers(text: str, value: float, decimals: int, uncertainty: float) -> None:
    """A number keeps its digits and its uncertainty."""
    number = parse_number(text)
    assert (number.value, number.decimals) == (value, decimals)
    assert number.uncertainty == pytest.approx(uncertainty)


@pytest.mark.parametrize(
    "text", ["", "?", "1e400", "nan", "inf", "0,5", "1.2.3", "1/0", "0x1", "1_0", "9" * 100, "1 2", "²", "٣"]
)
def test_no_numbers(text: str) -> None:
    """Whatever is no finite number is refused."""
    with pytest.raises(ValueError, match=r"number|division"):
        parse_number(text)
