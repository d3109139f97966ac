"""Inputs of property models: tables, structure files, and folders or archives of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from invdesign.errors import InvdesignError
from invdesign.structures.reading.read import is_structure_name, read_structure_bytes
from invdesign.wording import list_first
from surrogates.regression.crystals import CrystalFiles, is_archive_name, open_crystals
from surrogates.regression.features.contract import Need
from surrogates.regression.material import Material
from surrogates.regression.rows import (
    Columns,
    ReadRow,
    RowReader,
    check_cell_units,
    check_doubled,
    choose_crystals,
    find_columns,
)
from surrogates.regression.sheet import Mistakes, Sheet, is_table_name, read_sheet

LISTED = 10  # rows in a message; chosen


def read_inputs(
    path: str | Path,
    *,
    columns: Columns | None = None,
    crystals: str | Path | None = None,
    needs: Collection[Need] = (),
    ion: str = "Li",
    ordered: bool = False,
) -> list[ReadRow]:
    """Read materials whose property is to be predicted; rows that cannot be read keep their reason.

    The charged form of an electrode is its host without working ions, where the file names none.

    Args:
        path: table, structure file, or folder or archive of structure files.
        columns: columns that describe the materials, where they do not have usual names.
        crystals: folder or archive of structure files with the names of the rows' identifiers, or a column of structures.
        needs: parts that every material must have.
        ion: working ion of electrodes.
        ordered: refuse partly occupied sites.

    Raises:
        InvdesignError: the file cannot be read, or has no column with formulas or structures.
    """
    place = Path(path)
    remove_ions = "electrode" in needs
    single = place.is_file() and is_structure_name(place.name) and not _is_table(place)
    if place.is_dir() or single or is_archive_name(place.name):
        files = _open_single(place) if single else open_crystals(place)
        names = tuple(files.files)
        sheet = Sheet(place.name, "", ("file",), {"file": names}, tuple(range(1, len(names) + 1)), False)
        return _read_all(
            RowReader(sheet, Columns(identifier="file"), files, needs, ion, ordered, remove_ions)
        )
    sheet = read_sheet(place)
    mistakes = Mistakes(sheet)
    check_doubled(mistakes)
    beside, wanted = choose_crystals(crystals, sheet, columns or Columns())
    found = find_columns(sheet, wanted, mistakes)
    check_cell_units(found, mistakes)
    if found.formula is None and found.crystal is None and beside is None and not mistakes.found:
        has = list_first(sheet.headings, 20)
        mistakes.add(
            "formula",
            None,
            f"there is no column with formulas or structures; it has {has}.",
            "Name the column 'formula', or say which it is with --formula",
        )
    if not len(sheet):
        mistakes.add("rows", None, "there are none; expected one per material")
    mistakes.raise_any()
    return _read_all(RowReader(sheet, found, beside, needs, ion, ordered, remove_ions))


def _read_all(reader: RowReader) -> list[ReadRow]:
    return [reader.read(number) for number in range(len(reader.sheet))]


def _open_single(path: Path) -> CrystalFiles:
    """Structure file as the only one of its folder."""
    return CrystalFiles(path.name, {path.stem: (path.name, read_structure_bytes(path))})


def _is_table(path: Path) -> bool:
    """True if a JSON file is a list of several objects, and no structure."""
    if not is_table_name(path.name) or path.suffix.lower() != ".json":
        return False
    with path.open("rb") as stream:
        start = stream.read(64).lstrip()
    return start.startswith(b"[")


def read_materials(path: str | Path, *, needs: Collection[Need] = (), ion: str = "Li") -> list[Material]:
    """Read materials; see `read_inputs`.

    Raises:
        InvdesignError: a row cannot be read; all of them are named.
    """
    rows = read_inputs(path, needs=needs, ion=ion)
    wrong = [f"{row.name}: {fault}" for row in rows for fault in row.faults]
    if wrong:
        raise InvdesignError(f"{Path(path).name}: {list_first(wrong, LISTED, '; ')}")
    return [row.material for row in rows if row.material is not None]
