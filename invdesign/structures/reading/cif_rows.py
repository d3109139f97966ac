"""Reader of the site list of a CIF, which checks each row."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.structures.reading.cif_numbers import Number, parse_number
from invdesign.structures.reading.cif_sites import FULL_OCCUPANCY_SLACK, SiteRow
from invdesign.structures.reading.cif_species import (
    LabelReader,
    SpeciesError,
    find_stated_element,
    parse_type_symbol,
)
from invdesign.structures.reading.cif_symmetry import Array
from invdesign.structures.reading.cif_syntax import NULL_VALUES, Block
from invdesign.structures.reading.raw import Limits, StructureFileError
from invdesign.structures.site_labels import CIF_PREFIX, SITE_LABELS, LabelValue, parse_word, split_labels
from invdesign.wording import list_first

FRACTIONAL_TAGS = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
CARTESIAN_TAGS = tuple(f"_atom_site_cartn_{axis}" for axis in "xyz")
_MATRIX = "_atom_sites_cartn_tran_matrix_"
_VECTOR = "_atom_sites_cartn_tran_vector_"
# Labels of oxygen in hydroxyl and water.
_HYDROUS = re.compile(r"O[HhWw]|O\d*[Ww]\b|O\(?\d+\)?[HhWw]")
_EXACT_STEP = 1.0 / 8.0  # multiples of it are special positions written in full


def has_sites(block: Block) -> bool:
    """True if the `block` lists coordinates."""
    return any(block.columns.get(tag) for tag in (*FRACTIONAL_TAGS, *CARTESIAN_TAGS))


@dataclass(slots=True)
class RowReader:
    """Reader of the site rows of one block.

    Attributes:
        block: the block.
        name: name of the file in messages.
        lattice: rows of the cell, Å.
        formula: elements of the file's formula, where it has one.
        limits: limits on sizes and numbers.
    """

    block: Block
    name: str
    lattice: Array
    formula: Collection[str] | None
    limits: Limits

    def read_rows(self) -> tuple[list[SiteRow], list[str]]:
        """Read all rows except dummies, with remarks on the reading.

        Raises:
            StructureFileError: a row without a position, an element or a possible occupancy.
        """
        columns, cartesian = self._find_coordinates()
        count = len(columns[0])
        if count > self.limits.atoms:
            raise StructureFileError(
                f"{self.name} lists {count} sites; files of up to {self.limits.atoms} sites are read"
            )
        labels = self._list_labels(count)
        elements, remarks = self._list_elements(labels)
        dummies = self._find_dummies(count)
        occupancies = self._take_column("_atom_site_occupancy", count)
        multiplicities = self._list_multiplicities(count)
        self._check_hydrogens(labels)
        self._check_alternatives(labels, dummies, occupancies)
        invert = self._invert_axes() if cartesian else None
        own = self._list_own_labels(count)
        rows = []
        for k in range(count):
            if dummies[k]:
                continue
            numbers = [
                self._read_coordinate(column[k], labels[k], axis)
                for column, axis in zip(columns, "xyz", strict=True)
            ]
            position, units = _place_site(numbers, invert)
            if max(map(abs, position)) > self.limits.coordinate:
                raise self._site_error(
                    labels[k],
                    f"coordinate {max(position, key=abs):.6g} is far outside the cell",
                    "correct it",
                )
            occupancy = self._read_occupancy(occupancies[k], labels[k])
            rows.append(
                SiteRow(labels[k], elements[k], position, units, occupancy, multiplicities[k], own[k])
            )
        if not rows:
            raise StructureFileError(f"{self.name} has no atoms: all of its sites are dummies")
        return rows, [*remarks, *self._describe_reading(labels, dummies, occupancies, invert)]

    def _site_error(self, label: str, found: str, remedy: str) -> StructureFileError:
        return StructureFileError(f"{self.name}: site {label[:40]}: {found}; {remedy}")

    def _find_coordinates(self) -> tuple[list[Sequence[str]], bool]:
        for tags, cartesian in ((FRACTIONAL_TAGS, False), (CARTESIAN_TAGS, True)):
            columns = [self.block.columns.get(tag) for tag in tags]
            given = [column for column in columns if column]
            if not given or (not cartesian and self._prefers_cartesian(given)):
                continue
            if len(given) < 3:
                absent = next(tag for tag, column in zip(tags, columns, strict=True) if not column)
                raise StructureFileError(
                    f"{self.name} has no column {absent}; give all three coordinates of each site"
                )
            if len({len(column) for column in given}) > 1:
                raise StructureFileError(
                    f"{self.name}: the columns of coordinates have different lengths; list them in one loop"
                )
            return given, cartesian
        raise StructureFileError(
            f"{self.name} has no atoms: it lists no coordinates (_atom_site_fract_x, _y, _z)"
        )

    def _prefers_cartesian(self, given: Sequence[Sequence[str]]) -> bool:
        unknown = all(value in NULL_VALUES for column in given for value in column)
        return unknown and self.block.find_column(CARTESIAN_TAGS[0]) is not None

    def _take_column(self, tag: str, count: int) -> Sequence[str]:
        column = self.block.columns.get(tag)
        if column is None:
            return ["."] * count
        if len(column) != count:
            raise StructureFileError(
                f"{self.name}: {tag} has {len(column)} values for {count} sites; list them in the loop of the coordinates"
            )
        return column

    def _list_labels(self, count: int) -> list[str]:
        for tag in (
            "_atom_site_label",
            "_atom_site_label_atom_id",
            "_atom_site_auth_atom_id",
            "_atom_site_id",
        ):
            if self.block.columns.get(tag):
                column = self._take_column(tag, count)
                return [
                    value if value not in NULL_VALUES else f"number {k + 1}" for k, value in enumerate(column)
                ]
        types = self._take_column("_atom_site_type_symbol", count)
        return [
            f"number {k + 1}" + (f" ({value})" if value not in NULL_VALUES else "")
            for k, value in enumerate(types)
        ]

    def _list_own_labels(self, count: int) -> list[dict[str, LabelValue]]:
        """Labels of sites that our own exports hold, by row."""
        found = {
            label: [parse_word(label, word) for word in self._take_column(CIF_PREFIX + label, count)]
            for label in SITE_LABELS
            if self.block.columns.get(CIF_PREFIX + label)
        }
        return split_labels(found, count, self.name)

    def _list_elements(self, labels: Sequence[str]) -> tuple[list[str], list[str]]:
        types = self._take_column("_atom_site_type_symbol", len(labels))
        reader = LabelReader(labels, self.formula)
        elements: list[str] = []
        by_label: list[str] = []
        differing: list[str] = []
        known: dict[tuple[str, str], str] = {}
        dummies = self._find_dummies(len(labels))
        for label, text, dummy in zip(labels, types, dummies, strict=True):
            if dummy:
                elements.append("")
                continue
            key = (text, label if text in NULL_VALUES else "")
            if key not in known:
                try:
                    known[key] = (
                        reader.find_element(label)
                        if text in NULL_VALUES
                        else parse_type_symbol(text, self.formula)
                    )
                except SpeciesError as fault:
                    raise self._site_error(
                        label, str(fault), "name its element as _atom_site_type_symbol"
                    ) from None
            stated = find_stated_element(label)
            if text in NULL_VALUES:
                by_label.append(label)
            elif not self.formula and stated not in {None, known[key]}:
                differing.append(f"{label} ({known[key]})")
            elements.append(known[key])
        remarks = []
        hydrous = [label for label in labels if _HYDROUS.match(label)]
        if hydrous and not self.formula and "H" not in elements:
            remarks.append(f"labels tell of hydrogen, which has no sites: {list_names(hydrous)}")
        if differing:
            remarks.append(
                f"labels and type symbols name different elements; type symbols were used: {list_names(differing)}"
            )
        if by_label and self.block.columns.get("_atom_site_type_symbol"):
            remarks.append(
                f"elements of sites without a type symbol follow their labels: {list_names(by_label)}"
            )
        if reader.capitalized:
            names = list_names(reader.capitalized)
            remarks.append(f"labels in capitals were read as symbols of two letters: {names}")
        return elements, remarks

    def _find_dummies(self, count: int) -> list[bool]:
        return [value.strip().lower() == "dum" for value in self._take_column("_atom_site_calc_flag", count)]

    def _list_multiplicities(self, count: int) -> list[int | None]:
        for tag in ("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity"):
            if self.block.find_column(tag) is not None:
                values = self._take_column(tag, count)
                return [
                    int(v) if v.isascii() and v.isdigit() and 0 < len(v) < 5 and int(v) else None
                    for v in values
                ]
        letters = self._take_column("_atom_site_wyckoff_symbol", count)
        numbers = [value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") for value in letters]
        return [int(v) if v.isascii() and v.isdigit() and len(v) < 5 and int(v) else None for v in numbers]

    def _check_hydrogens(self, labels: Sequence[str]) -> None:
        for label, text in zip(
            labels, self._take_column("_atom_site_attached_hydrogens", len(labels)), strict=True
        ):
            if text not in {*NULL_VALUES, "0"}:
                raise self._site_error(
                    label,
                    f"{text[:10]} attached hydrogen atoms have no positions",
                    "list every hydrogen as a site of its own and set _atom_site_attached_hydrogens to 0",
                )

    def _check_alternatives(
        self, labels: Sequence[str], dummies: Sequence[bool], occupancies: Sequence[str]
    ) -> None:
        """Refuse alternatives of a disorder that are all fully occupied.

        Their occupancies were left out.
        """
        count = len(labels)
        full: dict[str, dict[str, str]] = {}
        columns = (
            labels,
            dummies,
            occupancies,
            self._take_column("_atom_site_disorder_assembly", count),
            self._take_column("_atom_site_disorder_group", count),
        )
        for label, dummy, text, assembly, group in zip(*columns, strict=True):
            if (
                dummy
                or group in {*NULL_VALUES, "0"}
                or self._read_occupancy(text, label).value < 1 - FULL_OCCUPANCY_SLACK
            ):
                continue
            full.setdefault(assembly, {}).setdefault(group.lstrip("-"), label)
        for groups in full.values():
            if len(groups) > 1:
                raise StructureFileError(
                    f"{self.name}: sites {list_names(list(groups.values()))} are alternatives of a disorder "
                    f"(_atom_site_disorder_group {list_names(list(groups))}), and each is fully occupied; give their "
                    "occupancies, or leave one alternative"
                )

    def _read_coordinate(self, text: str, label: str, axis: str) -> Number:
        try:
            return parse_number(text)
        except ValueError as error:
            found = "is unknown" if text in NULL_VALUES else f"is {error}"
            raise self._site_error(
                label,
                f"coordinate {axis} {text[:30]!r} {found}",
                "give a number, or remove a site that has no position",
            ) from None

    def _read_occupancy(self, text: str, label: str) -> Number:
        if text.strip() in NULL_VALUES:
            return Number(1.0, 0)
        try:
            number = parse_number(text)
        except ValueError as error:
            raise self._site_error(
                label, f"occupancy {text[:30]!r} is {error}", "give a number from 0 to 1"
            ) from None
        if number.value < 0:
            raise self._site_error(label, f"occupancy {text[:30]} is negative", "give a number from 0 to 1")
        return number

    def _invert_axes(self) -> tuple[Array, Array]:
        """Matrix and vector from Cartesian coordinates to fractional ones.

        Those of the file lead from fractional coordinates to Cartesian ones.

        Source:
            CIF core dictionary, `_atom_sites_Cartn_tran_matrix_` and `_atom_sites_Cartn_tran_vector_`.
        """
        try:
            matrix = [[self._read_axis(f"{_MATRIX}{r}{c}") for c in "123"] for r in "123"]
            vector = [self._read_axis(f"{_VECTOR}{r}") or 0.0 for r in "123"]
        except ValueError as error:
            raise StructureFileError(f"{self.name}: {_MATRIX}...: {error}; correct the matrix") from None
        if any(entry is None for row in matrix for entry in row):
            inverse = np.linalg.inv(standard_axes(self.lattice)).T
            return np.asarray(inverse, dtype=np.float64), np.zeros(3)
        given = np.array(matrix, dtype=np.float64)
        inverted = np.full((3, 3), np.nan)
        if np.linalg.matrix_rank(given) == 3:
            inverted = np.asarray(np.linalg.inv(given), dtype=np.float64)
        if not np.isfinite(inverted).all():
            raise StructureFileError(
                f"{self.name}: {_MATRIX}...: singular, so that no fractional coordinates follow; correct the matrix"
            )
        return inverted, -inverted @ np.array(vector, dtype=np.float64)

    def _read_axis(self, tag: str) -> float | None:
        text = self.block.find_value(tag)
        return None if text is None else parse_number(text).value

    def _describe_reading(
        self,
        labels: Sequence[str],
        dummies: Sequence[bool],
        occupancies: Sequence[str],
        invert: tuple[Array, Array] | None,
    ) -> list[str]:
        remarks = []
        left_out = [label for label, dummy in zip(labels, dummies, strict=True) if dummy]
        if left_out:
            remarks.append(f"dummy sites were left out: {list_names(left_out)}")
        unknown = [label for label, text in zip(labels, occupancies, strict=True) if text == "?"]
        if unknown:
            remarks.append(f"unknown occupancies ('?') were taken as 1: {list_names(unknown)}")
        if invert is not None and self.block.find_value(f"{_MATRIX}11") is None:
            remarks.append("Cartesian coordinates were read with a along x and b in the plane of x and y")
        return remarks


def _place_site(
    numbers: Sequence[Number], invert: tuple[Array, Array] | None
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Fractional coordinates of a site and their last-digit units."""
    values = [number.value for number in numbers]
    if invert is None:
        units = [_find_unit(number) for number in numbers]
        return (values[0], values[1], values[2]), (units[0], units[1], units[2])
    matrix, vector = invert
    x, y, z = (matrix @ np.array(values) + vector).tolist()
    u, v, w = (
        np.abs(matrix) @ np.array([number.unit if number.decimals > 1 else 0.0 for number in numbers])
    ).tolist()
    return (x, y, z), (u, v, w)


def _find_unit(number: Number) -> float:
    """Unit of the last digit; 0 for an exact number.

    Multiples of 1/8 in full and numbers with one digit are exact. Zeros at the end of four digits and more are not
    counted: 0.33330 is 1/3 to four digits.
    """
    if number.decimals < 2 or number.decimals >= 15 or (number.value / _EXACT_STEP).is_integer():
        return 0.0
    decimals = number.decimals
    while decimals > 3 and round(number.value, decimals - 1) == number.value:
        decimals -= 1
    return float(10.0**-decimals)


def standard_axes(lattice: Array) -> Array:
    """Rotate a cell with rows `lattice` to standard axes.

    These are a along x and b in the xy plane.
    """
    metric = lattice @ lattice.T
    return np.asarray(np.linalg.cholesky(metric), dtype=np.float64)


def list_names(labels: Sequence[str]) -> str:
    """List the first five `labels`, and the number of the others."""
    return list_first(list(dict.fromkeys(labels)), 5)
