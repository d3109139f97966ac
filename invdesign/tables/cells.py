"""Numbers in the cells of tables: parsed exactly, refused with a remedy, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.tables.units import is_unit
from invdesign.wording import count_noun, list_first

Cell = object  # str, int, float, bool or None; a structure where the source holds structures
MAX_LISTED_ROWS = 10  # rows in a message; chosen
MAX_NUMBER_LENGTH = 60  # characters; chosen: no number is written with more

# Words for a missing number in lower case; a hyphen or dash alone is one of them.
MISSING_WORDS = frozenset(
    {"", "nan", "na", "n/a", "n.a.", "#n/a", "null", "none", "-", "\u2013", "\u2014", "\u2212"}
)
# Errors that spreadsheets leave in the cells of formulas (Excel, LibreOffice). `#N/A` alone means: no value.
_FORMULA_ERROR = re.compile(
    r"#(div/0!|value!|ref!|name\?|num!|null!|spill!|calc!|getting_data)|err:\d+", re.IGNORECASE
)
_UNDETECTED = frozenset(
    {"n.d.", "nd", "n. d.", "bdl", "b.d.l.", "lod", "<lod", "< lod", "loq", "<loq", "< loq", "trace"}
)
_MINUS = "\u2212"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"([+-]?\d*),(\d+)((?:[eE][+-]?\d+)?)", re.ASCII)
# 1,234: a thousand and more, or one and a fraction.
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GROUPED = re.compile(
    r"[+-]?\d{1,3}(?:(?:[ '_\u2019]\d{3})+|(?:,\d{3}){2,}|,\d{3}(?=\.))(?:\.\d+)?", re.ASCII
)
_POINTS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+", re.ASCII)  # 1.234,5
_BOUND = re.compile(
    rf"(?:[<>\u2264\u2265\u2a7d\u2a7e]=?|[<>]\s*=)\s*{_NUMBER}(?P<unit>\s?\S{{0,12}})", re.ASCII
)
_TIMES_TEN = re.compile(r"([+-]?[\d.]+)\s*[x*\u00b7\u22c5\u00d7]\s*10\s*\^?\s*\{?([+-]?\d+)\}?", re.ASCII)
_POWER = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a", "0123456789-+"
)
_SPREAD = re.compile(rf"{_NUMBER}\s*(?:\u00b1|\+/-|\+-)\s*{_NUMBER}|{_NUMBER}\(\d+\)", re.ASCII)
_ABOUT = re.compile(rf"(?:~|\u2248|\u223c|ca\.?|approx\.?)\s*{_NUMBER}", re.ASCII | re.IGNORECASE)
_WITH_UNIT = re.compile(rf"(?P<number>{_NUMBER})(?P<space>\s*)(?P<unit>\D.{{0,15}})", re.ASCII)
_RANGE = re.compile(rf"{_NUMBER}\s*(?:[-\u2010-\u2015~]|to|\.\.+|\u2026)\s*{_NUMBER}", re.ASCII)
_FRACTION = re.compile(r"([+-]?\d{1,9})/([1-9]\d{0,8})", re.ASCII)
_FORTRAN = re.compile(rf"({_NUMBER})[dD]([+-]?\d+)", re.ASCII)
_DASHED = re.compile(r"[\u2010-\u2015]\s?((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
BOUND_HINT = (
    "A bound is no number: leave the cell empty, or, in a file of results, say it in the column failure: "
    "'below detection'."
)


def is_blank(cell: Cell) -> bool:
    """True if a `cell` holds nothing: empty, spaces alone, or NaN."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or (isinstance(cell, str) and not cell.strip())


def is_missing_number(cell: Cell) -> bool:
    """True if a `cell` states that there is no number."""
    return is_blank(cell) or (isinstance(cell, str) and cell.strip().lower() in MISSING_WORDS)


def parse_number(cell: Cell) -> float | None:
    """Parse the number in a `cell`.

    None where it holds none. Infinities are numbers. Text must be a plain decimal number, with a point, without
    separators of thousands and without a unit; the typographic minus counts as one. True and false are no numbers.
    """
    if isinstance(cell, str):
        text = cell.strip().replace(_MINUS, "-")
        return float(text) if _PLAIN.fullmatch(text) or _INFINITE.fullmatch(text) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    try:
        value = float(cell)
    except OverflowError:
        return None
    return None if math.isnan(value) else value


def parse_numbers(cells: Sequence[Cell]) -> tuple[FloatArray, list[int]]:
    """Parse a column of numbers.

    Args:
        cells: n cells.

    Returns:
        Shape (n,), NaN where a cell states that there is no number; and the positions of cells with anything else
        that is no finite number.
    """
    values = _parse_numbers_fast(cells)
    if values is None:
        found = [parse_number(cell) for cell in cells]
        values = np.array([math.nan if value is None else value for value in found], dtype=np.float64)
    absent = np.flatnonzero(np.isnan(values)).tolist()
    wrong = [k for k in absent if not is_missing_number(cells[k])]
    infinite = np.flatnonzero(np.isinf(values)).tolist()
    values[infinite] = math.nan
    return values, sorted([*wrong, *infinite])


def _parse_numbers_fast(cells: Sequence[Cell]) -> FloatArray | None:
    """Parse all cells by `float`, where `parse_number` agrees.

    None elsewhere.
    """
    try:
        joined = "\n".join(cells)  # type: ignore[arg-type]  # other types raise
        # Python takes underscores and the digits of all scripts.
        plain = joined.isascii() and "_" not in joined
    except TypeError:
        plain = all(type(cell) is float or type(cell) is int for cell in cells)
    if not plain:
        return None
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))  # type: ignore[arg-type]  # other types raise
    except (ValueError, OverflowError):
        return None


def looks_like_number(cell: Cell) -> bool:
    """True if a `cell` is meant as a number.

    Its form is one that is not read.
    """
    if not isinstance(cell, str):
        return False
    if len(cell) > MAX_NUMBER_LENGTH:
        return False
    text = _normalize_text(cell)
    forms = (_COMMA, _GROUPED, _POINTS, _BOUND, _SPREAD, _ABOUT, _TIMES_TEN)
    return any(form.fullmatch(text) for form in forms) or _find_unit(text) != ""


def is_miswritten(cell: Cell) -> bool:
    """True if a `cell` holds a number in another form.

    Examples are `0,05`, `1 000` and `1.2·10-3`, which can be written plainly.
    """
    if not isinstance(cell, str) or len(cell) > MAX_NUMBER_LENGTH:
        return False
    text = _normalize_text(cell)
    return bool(_suggest_plain_number(text)) and not (_SPREAD.fullmatch(text) or _ABOUT.fullmatch(text))


def suggest_remedy(cell: Cell) -> str:
    """Suggest how to write a `cell` as a number.

    Where it is no number, the sentence tells how to record that.
    """
    if not isinstance(cell, str | float):
        return "Numbers are plain; true, false and lists are none."
    text = _normalize_text(str(cell)[:MAX_NUMBER_LENGTH])
    if text.lower().lstrip("+-") in MISSING_WORDS:
        return "Leave the cell empty where nothing was measured; in a file of results, give the cause in the column failure."
    if _BOUND.fullmatch(text):
        return BOUND_HINT
    if text.lower() in _UNDETECTED:
        return f"'{text}' may mean not determined or not detected. {BOUND_HINT}"
    if _FORMULA_ERROR.fullmatch(text):
        return "This is an error of a formula in the spreadsheet: correct it there, or empty the cell."
    if _INFINITE.fullmatch(text) or _PLAIN.fullmatch(text):
        return (
            "It is infinite, or larger than any number here: leave the cell empty where nothing was measured."
        )
    return _suggest_plain_number(text) or _suggest_other_remedy(text)


def _suggest_plain_number(text: str) -> str:
    """Suggest the plain form of a number.

    Empty where it is none of these forms.
    """
    if _AMBIGUOUS.fullmatch(text):
        return f"Write {text.replace(',', '.')} or {text.replace(',', '')}: it may be either."
    if comma := _COMMA.fullmatch(text):
        return f"Write {comma[1]}.{comma[2]}{comma[3]}, with a decimal point."
    if _GROUPED.fullmatch(text):
        return f"Write {re.sub('[^0-9.+-]', '', text)}, without separators of thousands."
    if _POINTS.fullmatch(text):
        return f"Write {text.replace('.', '').replace(',', '.')}, with a decimal point alone."
    if power := _TIMES_TEN.fullmatch(text):
        return f"Write {power[1]}e{power[2]}."
    if dashed := _DASHED.fullmatch(text):
        return f"Write -{dashed[1]}, with a plain minus."
    if fortran := _FORTRAN.fullmatch(text):
        return f"Write {fortran[1]}e{fortran[2]}."
    if _SPREAD.fullmatch(text):
        return "The standard deviation has a column of its own, with _noise added to the name."
    return "Write one plain number." if _ABOUT.fullmatch(text) else ""


def _suggest_other_remedy(text: str) -> str:
    """Suggest a remedy for fractions, ranges and other text."""
    if fraction := _FRACTION.fullmatch(text):
        return f"Write {int(fraction[1]) / int(fraction[2]):.6g}."
    if _RANGE.fullmatch(text):
        return (
            "A range is no number: write one, and how far it may be off in a column of its own, NAME_noise."
        )
    if not text.isascii() and re.fullmatch(r"[+-]?[\d.]+", text):
        return "Write it in the digits 0 to 9."
    return "Units stand in the heading, remarks in a column of their own; leave the cell empty where there is no value."


def _normalize_text(cell: str) -> str:
    """Replace signs, exponents and spaces by plain ones."""
    return " ".join(cell.replace(_MINUS, "-").translate(_POWER).split())


def _find_unit(text: str) -> str:
    """Find the unit behind a number.

    Empty where there is no number or no unit.
    """
    found = _WITH_UNIT.fullmatch(text)
    if found is None:
        return ""
    unit = found["unit"].strip()
    # One letter without a space names things (2H, 3R) more often than it is a unit.
    apart = bool(found["space"]) or len(unit) > 1 or unit in {"%", "\u2030", "\u00b0"}
    return unit if apart and is_unit(unit) else ""


def describe_rows(rows: Sequence[object], word: str = "line") -> str:
    """Describe rows by count and first ten numbers.

    `2 rows (lines 3, 8)` is an example.

    Args:
        rows: numbers of the rows.
        word: noun before the numbers, in the singular.
    """
    places = f"{word}s" if len(rows) > 1 else word
    return f"{count_noun(len(rows), 'row')} ({places} {list_first(rows, MAX_LISTED_ROWS)})"
