"""Index and survey of a pool's rows: places, names, and rows left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Json
from invdesign.errors import InvdesignError
from invdesign.protocols import Descriptor
from invdesign.spaces.pool.file import PoolError
from invdesign.spaces.pool.sources import Block, Source, read_structure_cell
from invdesign.structures.descriptors import (
    COMPOSITION_FEATURES,
    COMPOSITION_GROUPS,
    STRUCTURE_FEATURES,
    STRUCTURE_GROUP,
    composition_features,
    structure_features,
)
from invdesign.structures.formulas import describe_likely_slip, list_element_symbols, parse_composition
from invdesign.tables.cells import (
    Cell,
    is_blank,
    is_missing_number,
    looks_like_number,
    parse_numbers,
    suggest_remedy,
)
from invdesign.wording import count_noun, list_first

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from invdesign.structures.reading.read import Reading

Kind = Literal["auto", "number", "text"]

MAX_ROWS_NAMED = 10  # chosen; rows named in a message
MAX_REMARKS = 3  # chosen; remarks shown on how structures were read
MAX_WORDS_CHECKED = 1_000  # chosen; words of a column that are tested for numbers in another form
MAX_SUSPECTS_NAMED = 3  # chosen; formulas with a doubtful element named in a remark


def hash_name(text: bytes) -> int:
    """64-bit hash of a name, given as bytes `text`."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Rows:
    """Places and names of all rows of a source, about 30 bytes each.

    Names are the cells of the identifier column, all whole numbers or all text; without one, the numbers of the
    rows from 1.
    """

    def __init__(self, identifier: str | None) -> None:
        self._identifier = identifier
        self._blocks: list[IntArray] = []
        self._texts: list[bytes] = []
        self._whole = True

    def add_block(self, block: Block) -> None:
        """Add the rows of a `block`."""
        self._blocks.append(block.places)
        if self._identifier:
            cells = block.cells[self._identifier]
            self._whole &= all(isinstance(c, int) and not isinstance(c, bool) for c in cells)
            self._texts += [("" if is_blank(cell) else str(cell).strip()).encode() for cell in cells]

    def build_index(self) -> Rows:
        """Index the names after the last block; return itself."""
        self.places = np.concatenate([np.zeros(0, dtype=np.int64), *self._blocks])
        if self._identifier:
            self._keep_names(self._texts)
        self._blocks, self._texts = [], []
        return self

    def _keep_names(self, texts: Sequence[bytes]) -> None:
        """Store all names in one string, with their hashes sorted for lookup."""
        self._text = b"".join(texts)
        self._ends = np.cumsum([0, *map(len, texts)])
        hashes = np.fromiter(map(hash_name, texts), np.uint64, len(texts))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self.places)

    def read_name(self, row: int) -> int | str:
        """Name of row number `row`, from 0."""
        if self._identifier is None:
            return row + 1
        text = self._text[self._ends[row] : self._ends[row + 1]].decode()
        return int(text) if self._whole else text

    def find_row(self, name: Json) -> int:
        """First row of that `name`, from 0; -1 where there is none."""
        if isinstance(name, bool) or not isinstance(name, int | str):
            return -1
        if self._identifier is None:
            return name - 1 if isinstance(name, int) and 0 < name <= len(self) else -1
        if isinstance(name, int) is not self._whole:
            return -1
        key = np.uint64(hash_name(str(name).encode()))
        start = int(np.searchsorted(self._hashes, key))
        row = int(self._order[start]) if start < len(self) and self._hashes[start] == key else -1
        return row if row >= 0 and self.read_name(row) == name else -1

    def normalize_name(self, name: Json) -> Json:
        """Convert `name` to the pool's type: a whole number or text."""
        if self._identifier is None or self._whole:
            return int(name) if isinstance(name, str) and name.strip().isdecimal() else name
        return str(name) if isinstance(name, int | float) and not isinstance(name, bool) else name

    def find_unnamed(self) -> IntArray:
        """Rows whose identifier is empty."""
        if self._identifier is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(np.diff(self._ends) == 0)

    def find_repeats(self) -> IntArray:
        """Rows with the name of an earlier row, ascending."""
        if self._identifier is None:
            return np.zeros(0, dtype=np.int64)
        return find_later_equals(self._hashes, self._order)


def find_later_equals(ordered: NDArray[np.uint64], order: IntArray) -> IntArray:
    """Rows that equal an earlier one, ascending.

    Args:
        ordered: sorted keys of the rows.
        order: the stable order that sorted them.
    """
    return np.sort(order[1:][ordered[1:] == ordered[:-1]])


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """Columns that are used, and their purposes.

    Attributes:
        columns: kind of each parameter column.
        composition: column that holds a formula.
        structure: column that holds a structure.
        numbers: columns of numbers that are features.
        features_of: kinds of computed features: "composition", "structure".
        identified: whether an identifier column tells rows apart.
        mobile: element whose own sites may be occupied in part.
    """

    columns: dict[str, Kind]
    composition: str | None
    structure: str | None
    numbers: tuple[str, ...]
    features_of: frozenset[str]
    identified: bool
    mobile: str | None = None

    @property
    def used_columns(self) -> list[str]:
        """All columns that are read, without repeats."""
        single = [name for name in (self.composition, self.structure) if name is not None]
        return list(dict.fromkeys([*self.columns, *self.numbers, *single]))

    @property
    def features(self) -> list[str]:
        """Names of the features, in the order of their columns."""
        names = list(self.numbers)
        names += COMPOSITION_FEATURES if "composition" in self.features_of else ()
        names += STRUCTURE_FEATURES if "structure" in self.features_of else ()
        return names

    def descriptors(self) -> list[Descriptor]:
        """Names of the features with their groups.

        Each column is a group of its own; statistics of the elements follow by group.
        """
        found = [Descriptor(name, name) for name in self.numbers]
        if "composition" in self.features_of:
            both = zip(COMPOSITION_FEATURES, COMPOSITION_GROUPS, strict=True)
            found += [Descriptor(name.replace("_", " "), group) for name, group in both]
        if "structure" in self.features_of:
            found += [Descriptor(name.replace("_", " "), STRUCTURE_GROUP) for name in STRUCTURE_FEATURES]
        return found


@dataclass
class _Column:
    """Observations in a column, by row numbers from 0."""

    blank: list[int] = field(default_factory=list)  # empty cells
    none: list[int] = field(default_factory=list)  # "NA": empty in a column of numbers, else text
    words: list[int] = field(default_factory=list)  # cells that are neither numbers nor empty
    word: str = ""  # text of the first word
    alike: list[int] = field(default_factory=list)  # inspected words that look like numbers
    first_alike: str = ""  # text of the first of these
    numbers: int = 0

    def record_cells(self, cells: Sequence[Cell], first: int, *, numeric: bool) -> FloatArray | None:
        """Record cells; return their numbers if the column is numeric.

        Args:
            cells: of consecutive rows.
            first: number of the first row.
            numeric: whether the cells are to be read as numbers.
        """
        if not numeric:
            self.blank += [first + k for k, cell in enumerate(cells) if is_blank(cell)]
            return None
        values, wrong = parse_numbers(cells)
        if wrong and not self.words:
            self.word = f"{cells[wrong[0]]!s:.40}"
        for k in wrong[: max(MAX_WORDS_CHECKED - len(self.words), 0)]:
            if looks_like_number(cells[k]):
                self.first_alike = self.first_alike or str(cells[k])
                self.alike.append(first + k)
        self.words += [first + k for k in wrong]
        absent = sorted({*np.flatnonzero(np.isnan(values)).tolist()} - {*wrong})
        for k in absent:
            (self.blank if is_blank(cells[k]) or not is_missing_number(cells[k]) else self.none).append(
                first + k
            )
        self.numbers += len(cells) - len(wrong) - len(absent)
        return values

    @property
    def looks_numeric(self) -> bool:
        """True if half the inspected words are numbers in an unknown form."""
        return bool(self.alike) and 2 * len(self.alike) >= min(len(self.words), MAX_WORDS_CHECKED)


class Survey:
    """One pass over the used cells of a source: problems and features."""

    def __init__(self, source: Source, wanted: ColumnUse, identifier: str | None, name: str) -> None:
        self._wanted, self._name = wanted, name
        self._columns: dict[str, _Column] = {column: _Column() for column in wanted.used_columns}
        self._unreadable: dict[int, str] = {}
        self._remarks: dict[int, str] = {}
        self._hashes: list[int] = []
        self._raw: list[FloatArray] = []
        self._elements: set[str] = set()
        self._suspects: dict[str, None] = {}
        self.rows = Rows(identifier)
        first = 0
        for block in source.blocks(
            list(dict.fromkeys([*wanted.used_columns, *([identifier] if identifier else [])]))
        ):
            self.rows.add_block(block)
            self._record_block(block, first, identifier)
            first += len(block.places)
        self.rows.build_index()

    def _record_block(self, block: Block, first: int, identifier: str | None) -> None:
        wanted = self._wanted
        raw = np.full((len(block.places), len(wanted.features)), np.nan)
        self._raw.append(raw)
        for name, column in self._columns.items():
            numeric = wanted.columns.get(name) in {"auto", "number"} or name in wanted.numbers
            values = column.record_cells(block.cells[name], first, numeric=numeric)
            if values is not None and name in wanted.numbers:
                raw[:, wanted.numbers.index(name)] = values
        if not wanted.identified:
            cells = [block.cells[name] for name in wanted.used_columns]
            self._hashes += [
                hash_name("\x1f".join(map(str, row)).encode()) for row in zip(*cells, strict=True)
            ]
        if wanted.composition or wanted.structure:
            names = block.cells[identifier] if identifier else range(first + 1, first + 1 + len(block.places))
            self._record_materials(block, first, names, raw)

    def _record_materials(self, block: Block, first: int, names: Sequence[Cell], raw: FloatArray) -> None:
        """Read formulas and structures; write their features into `raw`."""
        read: list[int] = []
        compositions: list[Composition] = []
        for k, name in enumerate(names):
            try:
                composition, reading = self._read_material(block, k, str(name).strip())
            except InvdesignError as error:
                self._unreadable[first + k] = str(error)
                continue
            if composition is None:
                continue
            self._elements |= list_element_symbols(composition)
            if self._wanted.composition and (
                doubt := describe_likely_slip(str(block.cells[self._wanted.composition][k]))
            ):
                self._suspects.setdefault(doubt)
            read.append(k)
            compositions.append(composition)
            if reading is None:
                continue
            if reading.remarks:
                self._remarks[first + k] = "; ".join(reading.remarks)
            if "structure" in self._wanted.features_of:
                raw[k, -len(STRUCTURE_FEATURES) :] = structure_features(reading.structure)
        if "composition" in self._wanted.features_of and read:
            start = len(self._wanted.numbers)
            found = composition_features(compositions)
            raw[read, start : start + found.shape[1]] = found

    def _read_material(self, block: Block, k: int, name: str) -> tuple[Composition | None, Reading | None]:
        cells = block.cells
        formula = cells[self._wanted.composition][k] if self._wanted.composition else None
        held = cells[self._wanted.structure][k] if self._wanted.structure else None
        return read_material(formula, held, name, self._wanted.mobile)

    def describe_content(self, headings: Mapping[str, str]) -> tuple[str, ...]:
        """Sentences on rows, columns with their kinds, elements, and doubtful formulas.

        Args:
            headings: heading by name of columns that are named without their unit.
        """
        rows = f"{self._name}: {count_noun(len(self.rows), 'row')} read"
        columns = [
            f"{name} ({self._describe_kind(name)}{f', headed {headings[name]!r}' if name in headings else ''})"
            for name in dict.fromkeys([*self._wanted.columns, *self._wanted.numbers])
        ]
        parts = [
            rows,
            f"columns {list_first(columns, MAX_ROWS_NAMED)}" if columns else "",
            self._describe_elements(),
        ]
        doubts = list(self._suspects)
        return ("; ".join(filter(None, parts)), *doubts[:MAX_SUSPECTS_NAMED])

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of all elements in formulas and structures."""
        return frozenset(self._elements)

    def _describe_kind(self, name: str) -> str:
        return "number" if self._is_number_column(name) or self._columns[name].numbers else "text"

    def _describe_elements(self) -> str:
        return f"elements {', '.join(sorted(self._elements))}" if self._elements else ""

    def select_rows(self, *, drop: bool, first: bool) -> tuple[IntArray, FloatArray, dict[str, int]]:
        """Select the rows that stay, and count those left out.

        Args:
            drop: leave out rows that lack a value or cannot be read, instead of refusing the pool.
            first: of rows that repeat each other, keep the first, instead of refusing the pool.

        Returns:
            (rows (n,), features (n, d), number of rows left out by reason).

        Raises:
            PoolError: all problems with the rows.
        """
        lacking = self._find_incomplete()
        out = np.zeros(len(self.rows), dtype=bool)
        out[[row for rows in lacking.values() for row in rows] + list(self._unreadable)] = True
        repeated = self._find_repeats(~out)
        problems = list(self._describe_mixed_columns())
        if lacking and not drop:
            parts = [f"{column} in {self._name_rows(rows)}" for column, rows in lacking.items()]
            problems.append(
                f"values are missing: {'; '.join(parts)}. Complete them, or leave such rows out with "
                "'missing: drop'"
            )
        if self._unreadable and not drop:
            problems.append(
                f"{len(self._unreadable)} of {len(self.rows)} rows cannot be read (mend them, or leave them out with "
                f"'missing: drop'): {list_first([why.removesuffix('.') for why in self._unreadable.values()], MAX_ROWS_NAMED, '; ')}"
            )
        if len(repeated) and not first:
            problems.append(self._describe_repeats(repeated))
        if problems:
            raise PoolError(f"{self._name}: " + ". Also, ".join(problems))
        counts = {"lack a value or cannot be read": int(out.sum())}
        counts["repeat an earlier row"] = int((~out[repeated]).sum())
        out[repeated] = True
        left = np.flatnonzero(~out)
        if not len(left):
            usable = " that can be used" if len(out) else ""
            why = next(iter(self._unreadable.values()), "")
            raise PoolError(f"{self._name} has no rows{usable}{f'; the first: {why}' if why else ''}")
        return (
            left,
            np.concatenate(self._raw)[left],
            {reason: count for reason, count in counts.items() if count},
        )

    def describe_reading(self, kept: IntArray) -> tuple[str, ...]:
        """Sentences on how rows were read, and on rows left out as unreadable.

        Args:
            kept: numbers of the rows that stay, ascending.
        """
        found = []
        stay = np.zeros(len(self.rows), dtype=np.bool_)
        stay[kept] = True
        staying = [row for row in self._remarks if stay[row]]
        if staying:
            shown = "; ".join(self._remarks[row].removesuffix(".") for row in staying[:MAX_REMARKS])
            more = f"; and {len(staying) - MAX_REMARKS} more" if len(staying) > MAX_REMARKS else ""
            were = "was read with a remark" if len(staying) == 1 else "were read with remarks"
            found.append(f"{len(staying)} of {len(kept)} structures {were}: {shown}{more}")
        if self._unreadable:
            rows = list(self._unreadable)
            were = "was left out because it" if len(rows) == 1 else "were left out because they"
            found.append(
                f"{self._name_rows(rows)} {were} cannot be read; the first: {self._unreadable[rows[0]].removesuffix('.')}"
            )
        return tuple(found)

    def _find_incomplete(self) -> dict[str, list[int]]:
        """Rows without a value by column; columns without such rows are left out."""
        unnamed = self.rows.find_unnamed().tolist()
        found = {"the identifier": unnamed} if unnamed else {}
        for name, column in self._columns.items():
            rows = column.blank + (column.none if column.numbers or self._is_number_column(name) else [])
            if rows:
                found[name] = sorted(rows)
        return found

    def _is_number_column(self, name: str) -> bool:
        return self._wanted.columns.get(name) == "number" or name in self._wanted.numbers

    def _describe_mixed_columns(self) -> Iterator[str]:
        """Describe columns of mixed kinds, or not of the expected kind."""
        for name, column in self._columns.items():
            if not column.words:
                continue
            where = f"{self._name_rows(column.words)}, first '{column.word}'"
            if self._is_number_column(name):
                remedies = [f"set columns: {{{name}: text}}"] if name in self._wanted.columns else []
                remedies += ["choose other features"] if name in self._wanted.numbers else []
                yield (
                    f"column '{name}' must hold numbers but holds something else in {where}. {suggest_remedy(column.word)} "
                    f"Mend it, or {' and '.join(remedies)}"
                )
            elif column.numbers:
                yield (
                    f"column '{name}' holds numbers in {count_noun(column.numbers, 'row')}, and something else in {where}. "
                    f"{suggest_remedy(column.word)} Mend these, or say that all are text: columns: {{{name}: text}}"
                )
            elif column.looks_numeric:
                yield (
                    f"column '{name}' seems to hold numbers, and they cannot be read in {self._name_rows(column.alike)}, "
                    f"first '{column.first_alike}'. {suggest_remedy(column.first_alike)} Mend these, or say that all are text: "
                    f"columns: {{{name}: text}}"
                )

    def _find_repeats(self, whole: NDArray[np.bool_]) -> IntArray:
        """Rows that repeat an earlier one.

        Without identifiers, only rows that are `whole` (n,) are compared. A name always refers to the first row that has it,
        whole or not: so rows are found by name without a survey.
        """
        if self._wanted.identified:
            return np.setdiff1d(self.rows.find_repeats(), self.rows.find_unnamed(), assume_unique=True)
        rows = np.flatnonzero(whole)
        hashes = np.array(self._hashes, dtype=np.uint64)[rows]
        order = np.argsort(hashes, kind="stable")
        return rows[find_later_equals(hashes[order], order)]

    def _describe_repeats(self, repeated: IntArray) -> str:
        if self._wanted.identified:
            names = list(dict.fromkeys(str(self.rows.read_name(row)) for row in repeated[:1000].tolist()))
            return (
                f"{count_noun(len(repeated), 'row')} with the identifier of an earlier one: {list_first(names, MAX_ROWS_NAMED)}. Make them differ, or "
                "keep the first of each with 'repeated: first'"
            )
        return (
            f"{self._name_rows(repeated.tolist())} the same as an earlier one in all used columns. Keep the first of each with 'repeated: first', or name a column "
            "that tells them apart with 'id'"
        )

    def _name_rows(self, rows: Sequence[int]) -> str:
        """Count and names of rows, up to ten: `3 rows (5, 8, 13)`."""
        names = [str(self.rows.read_name(row)) or f"number {row + 1}" for row in rows[:MAX_ROWS_NAMED]]
        more = f" and {len(rows) - MAX_ROWS_NAMED} more" if len(rows) > MAX_ROWS_NAMED else ""
        return f"{count_noun(len(rows), 'row')} ({', '.join(names)}{more})"


def read_material(
    formula: Cell, held: Cell, name: str, mobile: str | None = None
) -> tuple[Composition | None, Reading | None]:
    """Read composition and structure of a row; None for blank cells.

    Args:
        formula: cell with the formula.
        held: cell with the structure.
        name: of the row, for messages.
        mobile: element whose own sites may be occupied in part.

    Raises:
        InvdesignError: one cannot be read, or the two are of different compositions.
    """
    reading = None if is_blank(held) else read_structure_cell(held, name, mobile)
    composition = reading.structure.composition if reading is not None else None
    if not is_blank(formula):
        try:
            written = parse_composition(str(formula))
        except InvdesignError as error:
            raise PoolError(f"{name}: {error}") from error
        if composition is not None and not written.reduced_composition.almost_equals(
            composition.reduced_composition, rtol=0.01, atol=1e-3
        ):
            raise PoolError(
                f"{name}: its formula is {written.reduced_formula}, its structure {composition.reduced_formula}"
            )
        composition = composition if composition is not None else written
    return composition, reading
