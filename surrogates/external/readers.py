"""Numbers and structures from a program's output files: by regular expression, from JSON, or by ASE."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, JsonValue, model_validator
from pydantic_core import CoreSchema

from invdesign.candidate import Evaluation
from invdesign.errors import nearest
from invdesign.settings import Frozen
from invdesign.wording import list_first
from surrogates.external.folders import OWN_FILES, JobError
from surrogates.relaxation.relax import GPA

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

MAX_OUTPUT_BYTES = 500_000_000  # chosen
LISTED_NAMES = 12  # names in a message; chosen
DALTON = 1.66053906660  # g/cm^3 per u/Å^3


def _check_file_name(name: str) -> str:
    parts = Path(name).parts
    if not name or Path(name).is_absolute() or ".." in parts or name in OWN_FILES:
        raise ValueError(f"names a file in the candidate's folder, as in out/log.txt, got '{name}'")
    return name


class Value(Frozen):
    """Place of a number in a file.

    A plain string is the place alone.
    """

    at: Annotated[str, Field(min_length=1)]
    """Regular expression, path in JSON, or a quantity ASE knows."""
    scale: float = 1.0
    """Factor that converts the number to the property's unit."""
    noise: str | None = None
    """Place of one standard deviation of repeating the job, given in the same way; scaled too."""
    systematic: str | None = None
    """Place of one standard deviation of the method, given in the same way; scaled too."""

    @model_validator(mode="before")
    @classmethod
    def _accept_place_alone(cls, value: object) -> object:
        if isinstance(value, str):
            return {"at": value}
        if isinstance(value, Mapping) and "uncertainty" in value and "noise" not in value:
            return {("noise" if key == "uncertainty" else key): held for key, held in value.items()}
        return value  # earlier versions called the noise `uncertainty`

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    @property
    def places(self) -> Sequence[str]:
        """Places of the number and of its errors, where these are given."""
        return [place for place in (self.at, self.noise, self.systematic) if place is not None]


Values = dict[str, Value]


class Result(Frozen):
    """A file the program writes, and the values read from it.

    They are read in one of three ways: `regex`, `json` or `format`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    file: str
    """The file, in the candidate's folder; `stdout.txt` and `stderr.txt` hold what the program printed."""
    contains: str = ""
    """Text that the file of a finished job contains; without it in the file the job failed."""
    regex: Values = Field(default={})
    """Regular expression by property; its group is the number. Of several matches the last counts."""
    json_: Values = Field(default={}, alias="json")
    """Path by property: `energy.total`, `steps.-1.energy` (the last of a list)."""
    format: str | None = None
    """Format of the file, of those that ASE reads: `extxyz`, `vasp-out`, `espresso-out`, `lammps-dump-text`, ..."""
    properties: Values = Field(default={})
    """With `format`: quantity by property, of those ASE knows: `energy`, `energy_per_atom`, `max_force`,
    `volume`, `info.NAME`, ..."""
    structure: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] | None = None
    """With `format`: role of the structure in the file for later stages: `relaxed`."""
    index: int = -1
    """With `format`: number of the structure in a file with several; the last where not given."""
    options: dict[str, JsonValue] = Field(default={})
    """With `format`: arguments of ASE's reader: `{specorder: [Li, Cl]}`."""

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        _check_file_name(self.file)
        by_ase = bool(self.properties or self.structure)
        if by_ase and self.format is None:
            raise ValueError("say the format 'properties' and 'structure' are read from: {format: extxyz}")
        if self.format is not None and not by_ase:
            raise ValueError("say what is read from the format: 'properties', 'structure', or both")
        ways = [bool(self.regex), bool(self.json_), by_ase]
        if sum(ways) > 1 or not (any(ways) or self.contains):
            raise ValueError(
                "give one of 'regex', 'json' and 'format'; a file that is read in two ways is listed twice"
            )
        for name, value in self.regex.items():
            for place in value.places:
                _check_pattern(name, place)
        for name, value in self.properties.items():
            for place in value.places:
                _check_quantity(name, place)
        return self

    @property
    def values(self) -> Values:
        """Places of all properties, by property."""
        return {**self.regex, **self.json_, **self.properties}


def _check_pattern(name: str, pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{name}: '{pattern}' is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(
            f"{name}: '{pattern}' has {groups} groups; put the number, and it alone, in parentheses: "
            r"'Energy = (\S+)'; others are written (?:...)"
        )


def read_results(
    results: Sequence[Result], folder: Path, elements: frozenset[str] | None = None
) -> Evaluation:
    """Read properties with their errors, and structures, from the files in `folder`.

    Args:
        results: the files, and the values in them.
        folder: where the program ran.
        elements: symbols that a structure may hold; any where not given.

    Raises:
        JobError: a file is missing or broken, or a value is missing, no number or not finite.
    """
    properties: dict[str, float] = {}
    errors: dict[str, dict[str, float]] = {"noise": {}, "systematic": {}}
    structures: dict[str, Structure] = {}
    for result in results:
        file = _require_file(folder, result)
        look_up, structure = _open_result(file, result, elements)
        for name, value in result.values.items():
            properties[name] = _parse_number(look_up(value.at), value, name, result.file)
            for kind, place in (("noise", value.noise), ("systematic", value.systematic)):
                if place is not None:
                    errors[kind][name] = abs(_parse_number(look_up(place), value, name, result.file))
        if structure is not None and result.structure is not None:
            structures[result.structure] = structure
    return Evaluation(properties, errors["noise"], errors["systematic"], structures)


def _require_file(folder: Path, result: Result) -> Path:
    file = folder / result.file
    if not file.is_file():
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        there = [name for name in there if name not in OWN_FILES]
        raise JobError(
            f"the program wrote no {result.file}; there are {list_first(there, LISTED_NAMES) or 'no files'}",
            "missing",
        )
    size = file.stat().st_size
    if size == 0:
        raise JobError(f"{result.file} is empty", "missing")
    if size > MAX_OUTPUT_BYTES:
        raise JobError(
            f"{result.file} has {size / 1e6:.0f} MB, more than the {MAX_OUTPUT_BYTES / 1e6:.0f} MB that are read"
        )
    if result.contains and result.contains not in _read_text(file):
        raise JobError(
            f"{result.file} does not contain '{result.contains}', so the job did not come to its end",
            "missing",
        )
    return file


def _read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


LookUp = Callable[[str], object]


def _open_result(
    file: Path, result: Result, elements: frozenset[str] | None
) -> tuple[LookUp, Structure | None]:
    """Open a result file.

    Returns:
        A function that looks up a value by its place, and the structure if requested.
    """
    if result.format is not None:
        atoms = read_atoms(file, result.format, result.index, result.options)
        structure = None if result.structure is None else to_structure(atoms, result.file, elements)
        return lambda place: read_quantity(atoms, place, result.file), structure
    if result.json_:
        data = _parse_json(file, result.file)
        return lambda place: _find_in_json(data, place, result.file), None
    text = _read_text(file) if result.regex else ""
    return lambda place: _last_match(text, place, result.file), None


def _last_match(text: str, pattern: str, name: str) -> str:
    found = None
    for match in re.finditer(pattern, text, re.MULTILINE):
        if match.group(1) is not None:
            found = match.group(1)
    if found is None:
        raise JobError(f"nothing in {name} matches '{pattern}'", "missing")
    return found


def _parse_json(file: Path, name: str) -> object:
    try:
        return json.loads(_read_text(file))
    except ValueError as error:
        raise JobError(f"{name} is no whole JSON: {error}") from error


def _find_in_json(data: object, path: str, name: str) -> object:
    """Return the value at `energy.total` or `steps.-1.energy`.

    A key with dots may be given whole.
    """
    here, passed = data, ""
    steps = [path] if isinstance(data, dict) and path in data else path.split(".")
    for step in steps:
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and re.fullmatch(r"-?\d+", step) and -len(here) <= int(step) < len(here):
            here = here[int(step)]
        else:
            raise JobError(
                f"{name} has no '{path}': {_name_place(passed)} {_describe_value(here, step)}", "missing"
            )
        passed = f"{passed}.{step}" if passed else step
    return here


def _name_place(passed: str) -> str:
    return f"'{passed}'" if passed else "it"


def _describe_value(value: object, step: str) -> str:
    if isinstance(value, dict):
        keys = ", ".join(list(value)[:LISTED_NAMES])
        return f"has {keys or 'no keys'}, not '{step}'. {nearest(step, value)}".rstrip()
    return f"is a list of {len(value)}" if isinstance(value, list) else f"is {value!r:.60}"


_FORTRAN_EXPONENT = re.compile(r"[dD](?=[+-]?\d+$)")


def _parse_number(value: object, where: Value, name: str, file: str) -> float:
    """Parse the value as a finite number in the property's unit."""
    number: float
    if isinstance(value, str):
        try:
            number = float(_FORTRAN_EXPONENT.sub("e", value.strip()))
        except ValueError:
            raise JobError(f"{name} in {file} is '{value:.60}', not a number") from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        raise JobError(f"{name} in {file} is {value!r:.60}, not a number")
    number *= where.scale
    if not math.isfinite(number):
        raise JobError(f"{name} in {file} is {number}, not a finite number", "not_finite")
    return number


# By ASE.


def read_atoms(file: Path, fmt: str, index: int = -1, options: Mapping[str, Any] | None = None) -> Atoms:
    """Read one structure by ASE, with its energy and forces.

    Args:
        file: path of the file.
        fmt: ASE's name of its format.
        index: number of the structure in the file; -1 is the last.
        options: arguments of ASE's reader.

    Raises:
        JobError: ASE cannot read it; the message gives the reason.
    """
    import ase.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # readers comment on how they read; the values are checked
            found: Any = ase.io.read(file, index=index, format=fmt, **(options or {}))
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise JobError(
            f"{file.name} cannot be read as {fmt} (half a file, or another format?): {type(error).__name__}: {cause}"
        ) from error
    return found


def _per_atom(atoms: Atoms, number: float) -> float:
    return number / len(atoms)


def _hydrostatic_pressure(atoms: Atoms) -> float:
    return -float(atoms.get_stress(voigt=False).trace()) / 3 * GPA


def _cell_length(axis: int) -> Callable[[Atoms], float]:
    return lambda atoms: float(atoms.cell.lengths()[axis])


def _cell_angle(axis: int) -> Callable[[Atoms], float]:
    return lambda atoms: float(atoms.cell.angles()[axis])


def _max_force(atoms: Atoms) -> float:
    return float((atoms.get_forces(apply_constraint=False) ** 2).sum(axis=1).max() ** 0.5)


def _mass_density(atoms: Atoms) -> float:
    return float(atoms.get_masses().sum() / atoms.get_volume() * DALTON)


QUANTITIES: Mapping[str, Callable[[Atoms], float]] = {
    "energy": lambda atoms: atoms.get_potential_energy(),
    "energy_per_atom": lambda atoms: _per_atom(atoms, atoms.get_potential_energy()),
    "free_energy": lambda atoms: atoms.get_potential_energy(force_consistent=True),
    "max_force": _max_force,
    "max_stress": lambda atoms: float(abs(atoms.get_stress(voigt=False)).max() * GPA),
    "pressure": _hydrostatic_pressure,
    "magnetic_moment": lambda atoms: atoms.get_magnetic_moment(),
    "volume": lambda atoms: atoms.get_volume(),
    "volume_per_atom": lambda atoms: _per_atom(atoms, atoms.get_volume()),
    "density": _mass_density,
    "atoms": len,
    **{name: _cell_length(axis) for axis, name in enumerate(("a", "b", "c"))},
    **{name: _cell_angle(axis) for axis, name in enumerate(("alpha", "beta", "gamma"))},
}
"""Energies in eV, forces in eV/Å, stress and pressure in GPa, volumes in Å^3, moments in Bohr magnetons, density in g/cm^3."""


def _check_quantity(name: str, quantity: str) -> None:
    if quantity not in QUANTITIES and not re.fullmatch(r"info\.\S+", quantity):
        hint = nearest(quantity, QUANTITIES)
        raise ValueError(
            f"{name}: there is no quantity '{quantity}'. {hint + ' ' if hint else ''}Known: {', '.join(QUANTITIES)}, "
            "info.NAME"
        )


def read_quantity(atoms: Atoms, name: str, file: str) -> object:
    """Return a quantity of `QUANTITIES`, or `info.NAME`.

    The latter stands in the comment line of an extended XYZ file.

    Args:
        atoms: as ASE read them.
        name: of the quantity.
        file: name of the file, for messages.

    Raises:
        JobError: the file does not hold it.
    """
    if name not in QUANTITIES:
        key = name.removeprefix("info.")
        if key not in atoms.info:
            raise JobError(
                f"{file} has no '{key}' in its info; it has {', '.join(map(str, atoms.info)) or 'none'}",
                "missing",
            )
        value = atoms.info[key]
        return value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else value
    try:
        return float(QUANTITIES[name](atoms))
    except Exception as error:
        raise JobError(
            f"{file} does not say {name}: {' '.join(str(error).split())[:200]}", "missing"
        ) from error


def to_structure(atoms: Atoms, file: str, elements: frozenset[str] | None = None) -> Structure:
    """Convert ASE's atoms to a crystal.

    Args:
        atoms: as ASE read them.
        file: name of the file, for messages.
        elements: symbols that may occur; any where not given.

    Raises:
        JobError: there is no cell, positions are not finite, or other elements occur.
    """
    import numpy as np

    from invdesign.structures.reading.raw import StructureFileError
    from invdesign.structures.reading.read import make_crystal

    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise JobError(f"the structure in {file} has positions that are not finite numbers", "not_finite")
    if atoms.cell.rank < 3:
        raise JobError(f"the structure in {file} has no cell in three dimensions")
    if atoms.pbc.any() and not atoms.pbc.all():  # many formats do not hold pbc, and ASE then gives F F F
        raise JobError(f"the structure in {file} is periodic in some directions only, and so is no crystal")
    symbols = atoms.get_chemical_symbols()
    strange = sorted(set(symbols) - elements) if elements is not None else []
    if strange:
        raise JobError(
            f"the structure in {file} has {', '.join(strange)}, which the candidate has not: the file may number kinds of "
            "atoms and not name them. Let the program write element names, or say the order: "
            "options: {specorder: [Li, Cl]}"
        )
    try:
        return make_crystal(atoms.cell.array, symbols, atoms.positions, f"the structure in {file}")
    except StructureFileError as error:
        raise JobError(str(error)) from error
