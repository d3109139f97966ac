"""Materials from the rows of a table: formulas, electrodes, cells and crystals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.structures.formulas import parse_composition
from invdesign.structures.reading.raw import LIMITS
from invdesign.structures.reading.read import check_ordered
from invdesign.tables.cells import Cell, is_missing_number, parse_number, suggest_remedy
from invdesign.tables.units import find_factor, split_heading
from surrogates.regression.crystals import CrystalFiles, open_crystals, read_crystal
from surrogates.regression.features.contract import Need
from surrogates.regression.material import Cell as UnitCell
from surrogates.regression.material import Material
from surrogates.regression.sheet import Mistakes, Sheet

if TYPE_CHECKING:
    from pymatgen.core import Structure

EDGES, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "charged": ("formula_charge", "formula_charged", "charged_formula", "charged"),
    "formula": (
        "formula_discharge",
        "formula_discharged",
        "discharged_formula",
        "discharged",
        "reduced composition",
        "formula",
        "composition",
        "pretty_formula",
        "formula_pretty",
        "reduced_formula",
    ),
    "space_group": ("space group #", "space group number", "spacegroup.number", "space group", "spacegroup"),
    "formula_units": ("Z",),
    "crystal": ("structure", "cif"),
    "identifier": ("ID", "name", "material_id", "mp_id", "file"),
}
"""Headings that are understood where a column is not named, in the order of preference."""
PASSED_OVER = "its crystal was passed over: "  # begins a remark on a crystal that is not needed
COMPOSITION_TOLERANCE = (
    0.02  # of a fraction, between formula and crystal; chosen: refined occupancies are rounded
)
HOST_TOLERANCE = (
    0.02  # relative, between the hosts of two formulas; chosen: amounts are rounded to two digits
)
_DEUTERIUM = re.compile(r"D(?![a-z])")
_WATER = re.compile(r"[(\u00b7\u22c5*.]\s*\d*(?:\.\d+)?\s*H2O(?!\d)")


@dataclass(frozen=True)
class Columns:
    """Columns that describe a material; None for those that are found by their usual names, or missing.

    Attributes:
        formula: formulas; of electrodes those with the most working ions.
        charged: formulas of the same electrodes with fewer working ions.
        space_group: international numbers.
        formula_units: number of formulas in the cell.
        crystal: structures, as text of a file or as JSON.
        identifier: names, which are those of structure files too.
        cell: a, b, c, alpha, beta, gamma; empty if they are missing.
    """

    formula: str | None = None
    charged: str | None = None
    space_group: str | None = None
    formula_units: str | None = None
    crystal: str | None = None
    identifier: str | None = None
    cell: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """Mistake in one row, at a column, with the remedy."""

    column: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.column}: {self.message}", self.hint)))


@dataclass
class ReadRow:
    """Material of one row, with what was found on the way.

    Attributes:
        name: identifier or formula.
        formula: as it is written.
        material: None where a fault stands against it.
        faults: mistakes.
        remarks: sentences on parts that were passed over or not taken literally.
    """

    name: str
    formula: str = ""
    material: Material | None = None
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_columns(sheet: Sheet, wanted: Columns, mistakes: Mistakes) -> Columns:
    """Find the headings of the columns that describe materials.

    Args:
        sheet: the table.
        wanted: columns that the user names.
        mistakes: gets those that are missing.
    """
    found: dict[str, str | None] = {}
    for part, usual in USUAL_NAMES.items():
        named = getattr(wanted, part)
        found[part] = mistakes.find_column(named, part) if named else sheet.pick_heading(usual)
    if wanted.space_group is None and not _holds_numbers(sheet, found["space_group"]):
        found["space_group"] = None  # symbols
    cell = wanted.cell or tuple(filter(None, (sheet.pick_heading([name]) for name in (*EDGES, *ANGLES))))
    if wanted.cell:
        cell = tuple(filter(None, (mistakes.find_column(name, "cell") for name in wanted.cell)))
        if len(wanted.cell) != 6:
            mistakes.add("cell", None, f"6 columns are needed, a, b, c, alpha, beta, gamma; got {len(cell)}")
    return Columns(**found, cell=cell if len(cell) == 6 else ())


def _holds_numbers(sheet: Sheet, heading: str | None) -> bool:
    """True if the first cell of a column that is not empty holds a number."""
    cells = sheet.columns[heading] if heading is not None else ()
    first = next((cell for cell in cells if not is_missing_number(cell)), None)
    return first is not None and parse_number(first) is not None


@dataclass(frozen=True)
class RowReader:
    """Reads the material of each row.

    Attributes:
        sheet: the table.
        columns: headings.
        crystals: structure files beside it.
        needs: parts that every material must have.
        ion: working ion of electrodes, as `Li`.
        ordered: refuse partly occupied sites.
        remove_ions: make the charged electrode of rows without one by removing the ion.
    """

    sheet: Sheet
    columns: Columns
    crystals: CrystalFiles | None = None
    needs: Collection[Need] = ()
    ion: str = "Li"
    ordered: bool = False
    remove_ions: bool = False

    def read(self, place: int) -> ReadRow:
        """Read the material of the row at position `place`; a fault is recorded, never raised."""
        formula = str(self._cell("formula", place) or "").strip()
        identifier = str(self._cell("identifier", place) or "").strip()
        row = ReadRow(identifier or formula or f"{self.sheet.row_word} {self.sheet.rows[place]}", formula)
        crystal = self._read_crystal(place, identifier, row)
        amounts = self._read_formula("formula", place, row)
        if crystal is not None and not amounts and not row.faults:
            amounts = crystal.composition.get_el_amt_dict()
            row.formula = crystal.composition.reduced_formula
        if not amounts:
            if not row.faults:
                why = row.remarks[0].removeprefix(PASSED_OVER) if row.remarks else "is empty"
                row.faults.append(
                    Fault(self.columns.formula or "formula", f"{why}.", "Give a formula, or a crystal")
                )
            return row
        if crystal is not None and not _are_alike(amounts, crystal.composition.get_el_amt_dict()):
            row.remarks.append("the formula and the crystal differ")
        cell = self._read_cell(place, amounts, row)
        name = row.name if row.formula in {"", row.name} else f"{row.formula} ({row.name})"
        material = Material(name, amounts, cell, crystal)
        charged = self._read_charged(place, amounts, row)
        if charged is not None:
            material = replace(material, charged=charged)
        self._check_needs(material, row)
        row.material = None if row.faults else material
        return row

    def _cell(self, part: str, place: int) -> Cell:
        heading = getattr(self.columns, part)
        return None if heading is None else self.sheet.columns[heading][place]

    def _read_formula(self, part: str, place: int, row: ReadRow) -> dict[str, float]:
        """Read the amounts of a formula; empty where there is none, or it is a fault."""
        cell = self._cell(part, place)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return {}
        heading = getattr(self.columns, part)
        if not isinstance(cell, str):
            row.faults.append(Fault(heading, f"'{cell!s:.40}' is no formula: it is no text"))
            return {}
        try:
            found = parse_composition(cell).get_el_amt_dict()
        except InvdesignError as error:
            row.faults.append(Fault(heading, str(error)))
            return {}
        if _DEUTERIUM.search(cell):
            row.remarks.append("deuterium was read as hydrogen")
        if _WATER.search(cell):
            row.remarks.append("the formula holds water, which was read as part of the material")
        return {symbol: float(amount) for symbol, amount in found.items() if amount > 0}

    def _read_crystal(self, place: int, identifier: str, row: ReadRow) -> Structure | None:
        """Read the crystal of a row; None where there is none.

        One that cannot be read is a fault where crystals are needed, else a remark.
        """
        cell = self._cell("crystal", place)
        heading = self.columns.crystal or "crystal"
        try:
            if self.crystals is not None:
                heading = self.crystals.place
                reading = self.crystals.read(identifier)
            else:
                reading = read_crystal(cell, row.name) if cell not in (None, "") else None
            if reading is None:
                return None
            if self.ordered:
                check_ordered(reading.structure, row.name)
        except InvdesignError as error:
            if "crystal" in self.needs or ("cell" in self.needs and not self.columns.cell):
                row.faults.append(Fault(heading, str(error)))
            else:
                row.remarks.append(f"{PASSED_OVER}{error}")
            return None
        row.remarks += reading.remarks
        return reading.structure

    def _read_cell(self, place: int, amounts: Mapping[str, float], row: ReadRow) -> UnitCell | None:
        """Read edges, angles, space group and number of atoms of a row; None where they are missing."""
        if not self.columns.cell:
            return None
        lengths = [self._read_number(heading, place, LIMITS.length, row) for heading in self.columns.cell[:3]]
        angles = [self._read_number(heading, place, LIMITS.angle, row) for heading in self.columns.cell[3:]]
        units = self._read_number(self.columns.formula_units, place, (1e-3, 1e4), row)
        group = self._read_number(self.columns.space_group, place, (1, 230), row)
        a, b, c, alpha, beta, gamma = (*lengths, *angles)
        if a is None or b is None or c is None or alpha is None or beta is None or gamma is None:
            return None
        if group is not None and group != int(group):
            row.faults.append(
                Fault(self.columns.space_group or "", f"a space group is a whole number, got {group:g}")
            )
        atoms = None if units is None else units * sum(amounts.values())
        return UnitCell(None if group is None else int(group), (a, b, c), (alpha, beta, gamma), atoms)

    def _read_number(
        self, heading: str | None, place: int, limits: tuple[float, float], row: ReadRow
    ) -> float | None:
        """Read a number within limits; None where it is missing or a fault."""
        cell = self.sheet.columns[heading][place] if heading is not None else None
        if heading is None or is_missing_number(cell):
            return None
        value = parse_number(cell)
        if value is None:
            row.faults.append(Fault(heading, f"'{cell!s:.40}' is no number.", suggest_remedy(cell)))
            return None
        if not limits[0] <= value <= limits[1]:
            row.faults.append(
                Fault(heading, f"must be between {limits[0]:g} and {limits[1]:g}, got {value:g}")
            )
            return None
        return value

    def _read_charged(
        self, place: int, amounts: Mapping[str, float], row: ReadRow
    ) -> Mapping[str, float] | None:
        """Read the charged electrode of a row, on the scale of `amounts`; None where there is none."""
        before = len(row.faults)
        charged = self._read_formula("charged", place, row)
        if len(row.faults) > before:
            return None
        try:
            if charged:
                return scale_charged(amounts, charged, self.ion)
            return remove_ion(amounts, self.ion) if self.remove_ions else None
        except InvdesignError as error:
            row.faults.append(Fault(self.columns.charged or self.columns.formula or "formula", str(error)))
        return None

    def _check_needs(self, material: Material, row: ReadRow) -> None:
        """Record the parts that a material lacks."""
        if "crystal" in self.needs and material.crystal is None and not row.faults:
            row.faults.append(
                Fault(
                    self.columns.crystal or "crystal",
                    "there is no crystal, and the features need one.",
                    "Give structures, choose features that need none, or leave such rows out",
                )
            )
        if "cell" in self.needs and material.cell is None and material.crystal is None and not row.faults:
            row.faults.append(
                Fault(
                    ", ".join(self.columns.cell) or "cell",
                    "there is no cell, and the features need one.",
                    "Give a, b, c, alpha, beta, gamma, leave such rows out, or take features of compositions alone",
                )
            )
        if "electrode" in self.needs and material.charged is None and not row.faults:
            row.faults.append(
                Fault(
                    self.columns.charged or "charged",
                    "there is no formula of the charged electrode, and the features need one",
                )
            )


def choose_crystals(
    crystals: str | Path | None, sheet: Sheet, columns: Columns
) -> tuple[CrystalFiles | None, Columns]:
    """Open the structure files, or name the column that `crystals` stands for.

    Args:
        crystals: folder or archive of structure files, or a column; None for neither.
        sheet: the table.
        columns: columns that the user names.

    Raises:
        InvdesignError: there is no such folder, or it holds no structure files.
    """
    if crystals is None:
        return None, columns
    if isinstance(crystals, str) and crystals in sheet.headings:
        return None, replace(columns, crystal=crystals)
    return open_crystals(Path(crystals)), columns


def check_doubled(mistakes: Mistakes) -> None:
    """Add a mistake for each heading of more than one column."""
    for heading in mistakes.sheet.doubled:
        mistakes.add(heading, None, "is the heading of more than one column;", "rename all but one")


def check_cell_units(columns: Columns, mistakes: Mistakes) -> None:
    """Add a mistake for each cell column whose heading names another unit than Å or degrees."""
    for heading, unit in zip(columns.cell, ["Å"] * 3 + ["°"] * 3, strict=False):
        written = split_heading(heading)[1]
        same = written in {None, "", "deg", "degree", "degrees"} if unit == "°" else written in {None, ""}
        if not same and find_factor(written or "", unit) != 1.0:
            mistakes.add(
                heading, None, f"is in {written} by its heading, expected {unit}: convert the numbers"
            )


def remove_ion(amounts: Mapping[str, float], ion: str) -> dict[str, float]:
    """Host of an electrode: all but its working ion.

    Args:
        amounts: of the electrode, by element.
        ion: symbol of the working ion.

    Raises:
        InvdesignError: there is no such ion, or nothing else.
    """
    host = {symbol: amount for symbol, amount in amounts.items() if symbol != ion}
    if len(host) == len(amounts):
        raise InvdesignError(
            f"it holds no {ion}, which is the working ion; elements are {', '.join(amounts)}"
        )
    if not host:
        raise InvdesignError(f"it holds nothing but {ion}: there is no host")
    return host


def scale_charged(
    discharged: Mapping[str, float], charged: Mapping[str, float], ion: str
) -> dict[str, float]:
    """Scale the formula of a charged electrode to the host of the discharged one.

    Args:
        discharged: amounts with the most working ions.
        charged: amounts with fewer of them, on any scale.
        ion: symbol of the working ion.

    Raises:
        InvdesignError: the hosts differ, or the charged formula does not hold fewer ions.
    """
    host = remove_ion(discharged, ion)
    other = {symbol: amount for symbol, amount in charged.items() if symbol != ion}
    if set(host) != set(other):
        raise InvdesignError(
            f"without {ion} both formulas must have the same elements, got {'-'.join(sorted(host))} discharged and "
            f"{'-'.join(sorted(other)) or 'none'} charged"
        )
    scale = sum(host.values()) / sum(other.values())
    apart = [symbol for symbol in host if abs(other[symbol] * scale / host[symbol] - 1) > HOST_TOLERANCE]
    if apart:
        raise InvdesignError(
            f"without {ion} both formulas must be of one composition; they differ in {', '.join(apart)}"
        )
    left = charged.get(ion, 0.0) * scale
    if left >= discharged[ion]:
        raise InvdesignError(
            f"the charged electrode must hold fewer {ion} than the discharged one, got {left:.4g} and "
            f"{discharged[ion]:.4g} per host; are the columns exchanged?"
        )
    return {**host, **({ion: left} if left > 0 else {})}


def _are_alike(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """True if two compositions have nearly the same fractions."""
    totals = sum(first.values()), sum(second.values())
    return all(
        abs(first.get(symbol, 0.0) / totals[0] - second.get(symbol, 0.0) / totals[1]) <= COMPOSITION_TOLERANCE
        for symbol in {*first, *second}
    )
