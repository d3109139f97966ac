"""Reader of CIF: every crystal of a file, or a refusal that names the contradiction."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from invdesign.structures.reading.cif_evidence import (
    Evidence,
    are_same_crystal,
    find_density_fault,
    find_formula_fault,
    find_geometry_fault,
    find_multiplicity_fault,
    find_units_fault,
)
from invdesign.structures.reading.cif_formula import Formula, parse_formula, write_formula
from invdesign.structures.reading.cif_numbers import parse_number
from invdesign.structures.reading.cif_rows import RowReader, has_sites, list_names
from invdesign.structures.reading.cif_settings import find_settings, is_hall
from invdesign.structures.reading.cif_sites import Contents, SiteError, SiteRow, expand_rows
from invdesign.structures.reading.cif_symmetry import (
    METRIC_TOLERANCE,
    Array,
    Setting,
    SymmetryError,
    combine_operations,
    contains_setting,
    describe_settings,
    measure_misfit,
    read_operations,
)
from invdesign.structures.reading.cif_syntax import Block, parse_blocks
from invdesign.structures.reading.raw import LIMITS, Limits, RawCrystal, StructureFileError

_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC = "_space_group_symop_magn_operation_xyz"
_CENTRINGS = "_space_group_symop_magn_centering_xyz"
_NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_ref",
    "_symmetry_space_group_name_h-m_alt",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_full",
)
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_CODES = ("_space_group_it_coordinate_system_code",)
_FORMULAS = ("_chemical_formula_sum", "_chemical_formula_moiety", "_chemical_formula_structural")
_DENSITIES = ("_exptl_crystal_density_diffrn", "_exptl_crystal_density_meas")
_EDGES = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_UNIT = re.compile(r"\s+(?:Å|A|Ang\.?|Angstroms?|°|deg\.?|degrees?)$", re.IGNORECASE)
_LIST_THEM = "list the operations (_space_group_symop_operation_xyz)"


def read_cif(text: str, name: str, limits: Limits = LIMITS) -> list[RawCrystal]:
    """Read all crystals of a CIF and apply symmetry.

    There is one for each data block with sites.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on sizes and numbers.

    Raises:
        StructureFileError: there is no crystal, one is incomplete, or one has several possible readings.
    """
    if len(text) > limits.bytes:
        raise StructureFileError(f"{name} has {len(text)} characters; files of up to {limits.bytes} are read")
    blocks = parse_blocks(text, name)
    crystals = [block for block in blocks if has_sites(block)]
    if not crystals:
        cell = any(block.find_value(*_EDGES) for block in blocks)
        found = "a cell but no atoms" if cell else "neither a cell nor atoms"
        raise StructureFileError(
            f"{name} has {found}: it needs a loop with _atom_site_label and _atom_site_fract_x, _y, _z"
        )
    if len(crystals) > limits.frames:
        raise StructureFileError(f"{name} holds {len(crystals)} crystals; up to {limits.frames} are read")
    several = len(crystals) > 1
    titles = _name_blocks(crystals)
    if not several:
        crystals = [_add_headers(crystals[0], blocks)]
    return [
        _BlockReader(block, f"{name}, {title}" if several else name, limits).read_crystal()
        for block, title in zip(crystals, titles, strict=True)
    ]


def _name_blocks(blocks: list[Block]) -> list[str]:
    """Names of blocks for messages, numbered where several are the same."""
    names = [f"data_{block.name[:60]}" for block in blocks]
    if len(set(names)) == len(names):
        return names
    return [f"{name} (crystal {k + 1})" for k, name in enumerate(names)]


def _add_headers(crystal: Block, blocks: list[Block]) -> Block:
    """Add the items of header blocks to a file's only crystal."""
    columns = dict(crystal.columns)
    for block in blocks:
        if not has_sites(block) and block.find_value(*_EDGES) is None:
            for tag, values in block.columns.items():
                columns.setdefault(tag, values)
    return replace(crystal, columns=columns)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of a block in a setting."""

    setting: Setting
    contents: Contents | None
    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class _BlockReader:
    """Reader of the crystal of one block."""

    def __init__(self, block: Block, name: str, limits: Limits) -> None:
        self.block = block
        self.name = name
        self.limits = limits
        self.remarks = list(block.remarks)

    def read_crystal(self) -> RawCrystal:
        """Read cell, sites and symmetry, and choose the reading without contradictions."""
        self._refuse_modulation()
        lattice = self._read_cell()
        evidence = self._read_evidence()
        elements = evidence.formula.amounts if evidence.formula else None
        rows, remarks = RowReader(self.block, self.name, lattice, elements, self.limits).read_rows()
        self.remarks += remarks
        reading = self._choose_reading(self._list_settings(lattice), rows, lattice, evidence)
        contents = reading.contents
        assert contents is not None
        if not contents.sites:
            raise StructureFileError(f"{self.name} has no atoms: all of its sites have occupancy 0")
        if len(contents.sites) > self.limits.atoms:
            raise StructureFileError(
                f"{self.name} has {len(contents.sites)} atoms in its cell; up to {self.limits.atoms} are read"
            )
        self.remarks += [*contents.remarks, *reading.remarks, *reading.soft]
        if contents.merged:
            self.remarks.append(_describe_merging(contents))
        a, b, c = ((row[0], row[1], row[2]) for row in lattice.tolist())
        return RawCrystal(self.name, (a, b, c), contents.sites, remarks=tuple(dict.fromkeys(self.remarks)))

    def _refuse_modulation(self) -> None:
        """Refuse modulated structures; remark on magnetic moments that are left out."""
        dimension = self.block.find_value("_cell_modulation_dimension")
        superspace = any("_ssg_" in tag and self.block.find_value(tag) for tag in self.block.columns)
        if superspace or (dimension is not None and dimension.strip("0") != ""):
            raise StructureFileError(
                f"{self.name} is a modulated structure, which no single cell holds; "
                "give a commensurate approximant as a supercell"
            )
        if any(
            tag.startswith(("_atom_site_moment", "_space_group_magn", "_space_group_symop_magn"))
            for tag in self.block.columns
        ):
            self.remarks.append("magnetic moments were left out; the positions were read")

    # ---- cell

    def _read_cell(self) -> Array:
        """Read edges and angles, and compare the stated volume."""
        lengths = [self._read_cell_number(tag, self.limits.length, "Å") for tag in _EDGES]
        if all(self.block.find_value(tag) is None for tag in _ANGLES):
            self.remarks.append(
                "no angles of the cell are stated; they were taken as 90°, the default of CIF"
            )
            angles = [90.0] * 3
        else:
            angles = [self._read_cell_number(tag, self.limits.angle, "°") for tag in _ANGLES]
        lattice = build_lattice(lengths, angles)
        if lattice is None:
            raise StructureFileError(
                f"{self.name}: no cell has the angles {angles[0]:g}, {angles[1]:g}, {angles[2]:g}; correct them"
            )
        volume = self._read_optional("_cell_volume")
        own = abs(float(np.linalg.det(lattice)))
        if volume is not None and volume > 0 and abs(own / volume - 1) > 0.02:
            self.remarks.append(f"_cell_volume says {volume:g} Å³, edges and angles give {own:.6g} Å³")
        return lattice

    def _read_cell_number(self, tag: str, bounds: tuple[float, float], unit: str) -> float:
        text = self.block.find_value(tag)
        if text is None:
            raise StructureFileError(
                f"{self.name} has no {tag}; give the cell's three edges and three angles"
            )
        try:
            value = parse_number(_UNIT.sub("", text)).value
        except ValueError as error:
            raise StructureFileError(f"{self.name}: {tag} {text[:30]!r} is {error}; correct it") from None
        if not bounds[0] <= value <= bounds[1]:
            raise StructureFileError(
                f"{self.name}: {tag} is {value:g} {unit}, allowed are {bounds[0]:g} to {bounds[1]:g} {unit}; correct it"
            )
        return value

    def _read_optional(self, *tags: str) -> float | None:
        """Read an optional number; None where it is no number."""
        text = self.block.find_value(*tags)
        try:
            return None if text is None else parse_number(text).value
        except ValueError:
            return None

    # ---- evidence

    def _read_evidence(self) -> Evidence:
        """Read formula, Z and density."""
        units = self._read_optional("_cell_formula_units_z")
        density = self._read_optional(*_DENSITIES)
        formula, tag = self._read_formula()
        return Evidence(formula, tag, units if units and units > 0 else None, density)

    def _read_formula(self) -> tuple[Formula | None, str]:
        for tag in _FORMULAS:
            text = self.block.find_value(tag)
            formula = parse_formula(text) if text is not None else None
            if formula is not None:
                return formula, tag
            if text is not None and tag == _FORMULAS[0]:
                self.remarks.append(f"the formula sum {text[:60]!r} is not understood and was not compared")
        return None, _FORMULAS[0]

    # ---- symmetry

    def _list_settings(self, lattice: Array) -> list[Setting]:
        """List the possible settings of the file.

        There is mostly one if the file lists operations.
        """
        try:
            listed = self._read_listed()
        except SymmetryError as fault:
            raise StructureFileError(
                f"{self.name}: {fault}; correct the list, and quote operations that hold blanks"
            ) from None
        if listed is not None:
            self._check_metric(listed, lattice)
            return [listed, *self._find_larger(listed, lattice)]
        named = self._find_named(lattice)
        if named:
            return named
        self.remarks.append("no symmetry is stated; the sites were taken as all of the cell (P 1)")
        return [read_operations(["x,y,z"], 1)]

    def _read_listed(self) -> Setting | None:
        """Read the listed operations; None where the file lists none."""
        for tag in _OPERATIONS:
            texts = self.block.find_column(tag)
            if texts is not None:
                return read_operations(texts, self.limits.operations)
        magnetic = self.block.find_column(_MAGNETIC)
        if magnetic is not None:
            centrings = self.block.find_column(_CENTRINGS) or ["x,y,z"]
            return combine_operations(magnetic, centrings, self.limits.operations)
        return None

    def _check_metric(self, setting: Setting, lattice: Array) -> None:
        """Refuse operations that do not fit the cell."""
        misfit = measure_misfit(setting, lattice)
        if misfit > METRIC_TOLERANCE:
            raise StructureFileError(
                f"{self.name}: {setting.name} and the cell {describe_cell(lattice)} do not fit; "
                "correct the cell or the operations"
            )

    def _find_larger(self, listed: Setting, lattice: Array) -> list[Setting]:
        """Find settings with more than the listed operations.

        They show that the list may be incomplete.
        """
        try:
            tiers = self._list_named()
        except SymmetryError:
            return []
        fitting = [s for tier in tiers for s in tier if measure_misfit(s, lattice) <= METRIC_TOLERANCE]
        if any(len(setting) <= len(listed) for setting in fitting):
            return []
        return [setting for setting in fitting if contains_setting(setting, listed)]

    def _list_named(self) -> list[list[Setting]]:
        """List the settings of the space group's name, number or Hall symbol."""
        name = self.block.find_value(*_NAMES)
        hall = self.block.find_value(*_HALL)
        if hall is not None and not is_hall(hall) and (name or self.block.find_value(*_NUMBERS)):
            self.remarks.append(f"the Hall symbol {hall[:40]!r} is not known and was left out")
            hall = None
        number = self._read_optional(*_NUMBERS)
        return find_settings(
            name,
            round(number) if number is not None and abs(number) < 1e6 else None,
            hall,
            self.block.find_value(*_CODES),
        )

    def _find_named(self, lattice: Array) -> list[Setting]:
        """Find the settings of the named group that fit the cell."""
        try:
            tiers = self._list_named()
        except SymmetryError as fault:
            raise StructureFileError(f"{self.name}: {fault}, or {_LIST_THEM}") from None
        for tier in tiers:
            fitting = [setting for setting in tier if measure_misfit(setting, lattice) <= METRIC_TOLERANCE]
            if fitting:
                if len(fitting) < len(tier) and "hexagonal" not in fitting[0].name:
                    self.remarks.append(f"the cell shows the setting of the space group: {fitting[0].name}")
                return fitting
        if tiers:
            named = describe_settings([setting for tier in tiers for setting in tier])
            raise StructureFileError(
                f"{self.name}: the space group ({named}) does not fit the cell {describe_cell(lattice)}; "
                f"correct the cell or the space group, or {_LIST_THEM}"
            )
        return []

    # ---- choice

    def _choose_reading(
        self, settings: list[Setting], rows: list[SiteRow], lattice: Array, evidence: Evidence
    ) -> _Reading:
        """Choose the setting without contradictions; refuse if several give different crystals."""
        several = len(settings) > 1
        readings = [self._judge_setting(s, rows, lattice, evidence, several=several) for s in settings]
        if not several:
            if readings[0].hard:
                raise StructureFileError(f"{self.name}: {readings[0].hard[0]}")
            return readings[0]
        clean = [reading for reading in readings if not reading.hard and not reading.soft]
        possible = clean or [reading for reading in readings if not reading.hard]
        first = possible[0] if possible else None
        if first is None or first.contents is None:
            raise self._contradiction_error(readings)
        for other in possible[1:]:
            if other.contents is None or not are_same_crystal(first.contents, other.contents):
                raise self._ambiguity_error(possible)
        if len(possible) > 1 or first.setting.listed:
            return first
        if settings[0].listed:
            raise self._contradiction_error(readings)
        remark = f"of {len(settings)} settings only {first.setting.name} fits the file, and was used"
        return replace(first, remarks=(*first.remarks, remark))

    def _judge_setting(
        self, setting: Setting, rows: list[SiteRow], lattice: Array, evidence: Evidence, *, several: bool
    ) -> _Reading:
        """Expand the atoms in one setting and collect contradictions.

        Hard faults refuse the setting, soft ones are remarks.
        """
        try:
            contents = expand_rows(rows, setting, lattice, self.limits)
            fault = find_formula_fault(evidence, contents)
            if fault and contents.merged:
                literal = expand_rows(rows, setting, lattice, self.limits, exact=True)
                if not find_formula_fault(evidence, literal):
                    contents, fault = literal, ""
        except SiteError as error:
            return _Reading(setting, None, (str(error),))
        hard, remarks = [fault] if fault else [], []
        multiplicity = find_multiplicity_fault(rows, contents)
        if multiplicity and evidence.formula is not None and not fault and not several:
            remarks.append(multiplicity.partition(";")[0])
        elif multiplicity:
            hard.append(multiplicity)
        units = find_units_fault(evidence, contents)
        density = find_density_fault(evidence, contents, abs(float(np.linalg.det(lattice))))
        soft = [statement for statement in (units, density) if statement]
        if density and (units or evidence.formula is None) and not several:
            # One wrong number is a slip. Two mean another crystal, and so does one if no formula outweighs it.
            hard.append(" and ".join(soft) + "; correct the sites, the symmetry or these numbers")
        if several and (geometry := find_geometry_fault(contents, lattice)):
            hard.append(geometry)
        return _Reading(setting, contents, tuple(hard), tuple(soft), tuple(remarks))

    def _contradiction_error(self, readings: list[_Reading]) -> StructureFileError:
        reasons = "; ".join(
            f"{reading.setting.name}: {(reading.hard or reading.soft or ('fits',))[0].partition(';')[0]}"
            for reading in readings
        )
        if readings[0].setting.listed:
            return StructureFileError(
                f"{self.name}: the listed operations contradict the file ({reasons}); "
                "list all operations of the space group, or correct the sites"
            )
        return StructureFileError(
            f"{self.name}: no setting of the space group fits the file ({reasons}); "
            f"correct the space group's setting, the sites or the cell, or {_LIST_THEM}"
        )

    def _ambiguity_error(self, readings: list[_Reading]) -> StructureFileError:
        ways = "; ".join(
            f"{reading.setting.name}: {write_formula(reading.contents.amounts)}, {len(reading.contents.sites)} sites"
            for reading in readings
            if reading.contents is not None
        )
        remedy = f"name the setting (such as ':1', ':2', ':H' or ':R' after the space group), or {_LIST_THEM}"
        if readings[0].setting.listed:
            remedy = "list all operations of the space group, or correct its name to that of the listed ones"
        return StructureFileError(
            f"{self.name}: the file can be read in several ways that give different crystals ({ways}); {remedy}"
        )


def build_lattice(lengths: list[float], angles: list[float]) -> Array | None:
    """Build a cell; None where no cell has these angles.

    It has c along z and a in the xz plane.

    Args:
        lengths: three lengths, Å.
        angles: three angles, degrees.
    """
    cosines = np.cos(np.radians(angles))
    cosines[np.isclose(angles, 90.0, rtol=0, atol=1e-12)] = 0.0
    alpha, beta, gamma = cosines.tolist()
    sine_alpha, sine_beta = np.sqrt(1 - alpha**2), np.sqrt(1 - beta**2)
    reciprocal = (alpha * beta - gamma) / (sine_alpha * sine_beta)
    if not abs(reciprocal) < 1 - 1e-6:
        return None
    a, b, c = lengths
    sine = np.sqrt(1 - reciprocal**2)
    return np.array(
        [
            [a * sine_beta, 0.0, a * beta],
            [-b * sine_alpha * reciprocal, b * sine_alpha * sine, b * alpha],
            [0.0, 0.0, c],
        ]
    )


def describe_cell(lattice: Array) -> str:
    """Describe edges and angles of a `lattice` for a message."""
    metric = lattice @ lattice.T
    a, b, c = np.sqrt(np.diag(metric))
    cosines = metric / np.outer((a, b, c), (a, b, c))
    alpha, beta, gamma = np.degrees(np.arccos(np.clip((cosines[1, 2], cosines[0, 2], cosines[0, 1]), -1, 1)))
    return f"(a, b, c = {a:.5g}, {b:.5g}, {c:.5g} Å; angles {alpha:.5g}, {beta:.5g}, {gamma:.5g}°)"


def _describe_merging(contents: Contents) -> str:
    names = list_names(list(contents.merged))
    apart = max(contents.merged.values())
    return (
        f"coordinates of {names} are rounded; images up to {apart:.3f} Å apart were taken as one atom "
        "on the special position"
    )
