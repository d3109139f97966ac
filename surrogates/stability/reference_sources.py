"""Crystals for a reference set: from CIF files, crystallography, an ASE database or the Materials Project."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError, field_validator

from invdesign.errors import InvdesignError
from invdesign.registry import require_extra
from invdesign.settings import MAX_INPUT_BYTES, Frozen
from invdesign.textfiles import read_text
from surrogates.stability.reference import Cell, Skipped

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.structures.crystallography import Crystal
    from invdesign.structures.reading.databases import DatabaseRow
    from invdesign.structures.reading.raw import Limits

API_KEY_VARIABLE = "MP_API_KEY"
# eV/atom. Chosen: higher phases of the Materials Project do not compete, even after another relaxation.
MAX_HULL_DISTANCE = 0.1
LISTED_CRYSTALS = 5  # crystals in the message that none can be read; chosen


@dataclass(frozen=True, slots=True)
class PublishedCrystal:
    """A crystal before its relaxation."""

    name: str
    formula: str
    structure: Structure
    source: str
    title: str = ""

    @property
    def key(self) -> str:
        """Hash of name and structure, by which an interrupted build finds finished crystals."""
        text = json.dumps([self.name, Cell.from_structure(self.structure).model_dump(mode="json")])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


Source = PublishedCrystal | Skipped
"""A crystal to be relaxed, or one that cannot be read, with its reason."""


class Lacking(Frozen):
    """A phase that is known, and the reason why a list has no structure of it."""

    name: str
    """Formula; the form, if there are several, stands in parentheses after a space: `GeS2 (P2_1/c)`."""
    reason: str

    @property
    def formula(self) -> str:
        """The name without the form."""
        return self.name.partition(" ")[0]


class PhaseList(Frozen):
    """A file of crystallography with what is said of the whole list."""

    systems: tuple[str, ...] = ()
    """Chemical systems that the list is made for: `Li-P-S`."""
    lacking: tuple[Lacking, ...] = ()

    @field_validator("systems")
    @classmethod
    def _check_systems(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for system in value:
            _raise_value_error(split_system, system)
        return value

    @field_validator("lacking")
    @classmethod
    def _check_formulas(cls, value: tuple[Lacking, ...]) -> tuple[Lacking, ...]:
        from invdesign.structures.formulas import parse_composition

        for item in value:
            _raise_value_error(parse_composition, item.formula)
        return value


def _raise_value_error(check: Callable[[str], object], text: str) -> None:
    """Call a check; its error becomes one that pydantic collects with its place."""
    try:
        check(text)
    except InvdesignError as error:
        raise ValueError(str(error)) from error


def split_system(system: str) -> tuple[str, ...]:
    """Split `Li-O-Cl` into its elements, sorted.

    Args:
        system: symbols joined by hyphens.

    Raises:
        InvdesignError: something in it is no element.
    """
    from pymatgen.core import Element

    elements = sorted(set(system.split("-")))
    unknown = [element for element in elements if not Element.is_valid_symbol(element)]
    if unknown:
        raise InvdesignError(
            f"'{system}' is no chemical system: {', '.join(unknown)} is no element (write Li-O-Cl)"
        )
    return tuple(elements)


def read_systems(path: Path) -> tuple[str, ...]:
    """Chemical systems that a file of crystallography says it is made for; none for any other source.

    Args:
        path: as for `read_structures`.
    """
    return _parse_document(path)[0].systems if path.suffix in {".yaml", ".yml"} and path.is_file() else ()


def read_structures(path: Path) -> list[Source]:
    """Read crystals from CIF files, crystallography or an ASE database.

    A file, row or entry that is no ordered crystal (unreadable, partly occupied, overlapping atoms, not
    periodic) stands in the list with its reason, so that one pass names all of them.

    Args:
        path: a folder of CIF files, a file that ends with .yaml or .yml, or one that ends with .db.

    Raises:
        InvdesignError: nothing there, nothing readable, or two crystals of one name.
    """
    if path.is_dir():
        found = list(_read_folder(path))
    elif not path.is_file():
        raise InvdesignError(f"there is no file or folder '{path}'")
    elif path.suffix in {".yaml", ".yml"}:
        found = list(_read_crystallography(path))
    elif path.suffix == ".db":
        found = list(_read_ase_database(path))
    else:
        raise InvdesignError(
            f"'{path}' is neither a folder of CIF files, nor crystallography (.yaml), nor an ASE database (.db)"
        )
    if not found:
        raise InvdesignError(f"'{path}' holds no structures")
    return _check_names(_require_readable(found, str(path)))


def _read_or_skip(name: str, read: Callable[[], PublishedCrystal]) -> Source:
    """Read a crystal, or give the reason why that fails.

    An unforeseen error of a library is a reason too.
    """
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - a fault of one crystal names it and never stops the others
        return Skipped(name=name, reason=_describe_error(error))


def _describe_error(error: Exception) -> str:
    """Describe an error on one line."""
    if isinstance(error, ValidationError):
        return f"no crystal: {_describe_mistake(error)}"
    text = " ".join(str(error).split())
    if isinstance(error, InvdesignError) and text:
        return text
    return f"cannot be read: {text or type(error).__name__}"


def _describe_mistake(error: ValidationError) -> str:
    """Describe the first mistake in a field, with its place."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _read_folder(folder: Path) -> Iterator[Source]:
    for file in sorted(item for item in folder.iterdir() if item.suffix.lower() == ".cif"):
        yield _read_or_skip(file.stem, partial(_read_cif, file))


def _read_cif(file: Path) -> PublishedCrystal:
    from invdesign.structures.reading.read import read_structure, read_structure_bytes

    structure = read_structure(read_structure_bytes(file), file.name).ordered
    return PublishedCrystal(file.stem, structure.composition.reduced_formula, structure, source=file.name)


def _read_crystallography(file: Path) -> Iterator[Source]:
    """Read the crystals of a list, and what it says it lacks."""
    from invdesign.structures.crystallography import Crystal

    head, entries = _parse_document(file)
    for name, found in entries:
        if isinstance(found, Crystal):
            yield _read_or_skip(name, partial(_convert_entry, found))
        else:
            yield Skipped(name=name, reason=_describe_error(found))
    for item in head.lacking:
        yield Skipped(name=item.name, reason=item.reason, formula=item.formula)


def _parse_document(file: Path) -> tuple[PhaseList, list[tuple[str, Crystal | Exception]]]:
    """Parse a list of crystals, or a mapping with the list under `phases` and the fields of a `PhaseList`."""
    from ruamel.yaml.error import YAMLError

    from invdesign.structures.crystallography import parse_document, read_entries

    try:
        document = parse_document(read_text(file, MAX_INPUT_BYTES))
        if not isinstance(document, dict):
            return PhaseList(), list(read_entries(document))
        entries = document.pop("phases", None)
        return PhaseList.model_validate(document), list(read_entries(entries))
    except (YAMLError, TypeError) as error:
        raise InvdesignError(f"{file} is no list of crystals: {error}") from error
    except ValidationError as error:
        raise InvdesignError(f"{file} is no list of crystals: {_describe_mistake(error)}") from error


def _convert_entry(crystal: Crystal) -> PublishedCrystal:
    from invdesign.structures.reading.overlaps import check_overlaps

    structure = crystal.build_structure(primitive=True)
    check_overlaps(structure, crystal.name)
    return PublishedCrystal(crystal.name, crystal.formula, structure, crystal.source, crystal.title)


def _read_ase_database(file: Path) -> Iterator[Source]:
    """Read numbers, cell and positions of every row.

    Calculators, constraints and other objects stay unread.
    """
    from invdesign.structures.reading.databases import open_database
    from invdesign.structures.reading.raw import current_limits

    limits = current_limits()
    for row in open_database(file, limits).read_rows():
        place = f"{file.name}, row {row.id}"
        yield _read_or_skip(
            str(row.pairs.get("name") or f"row {row.id}"), partial(_convert_row, row, place, limits)
        )


def _convert_row(row: DatabaseRow, place: str, limits: Limits) -> PublishedCrystal:
    from invdesign.structures.reading.gate import check_crystal
    from invdesign.structures.reading.read import make_reading

    structure = make_reading(check_crystal(row.build_crystal(place, limits), limits)).ordered
    name = str(row.pairs.get("name") or f"{structure.composition.reduced_formula}-{row.id}")
    return PublishedCrystal(name, structure.composition.reduced_formula, structure, place)


def _require_readable(found: Sequence[Source], place: str) -> Sequence[Source]:
    """Refuse sources without any readable crystal."""
    skipped = [item for item in found if isinstance(item, Skipped)]
    if len(skipped) < len(found):
        return found
    named = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:LISTED_CRYSTALS])
    more = f"; and {len(skipped) - LISTED_CRYSTALS} more" if len(skipped) > LISTED_CRYSTALS else ""
    raise InvdesignError(f"nothing in '{place}' is a crystal that can be relaxed: {named}{more}")


def _check_names(found: Sequence[Source]) -> list[Source]:
    seen: set[str] = set()
    for item in found:
        if item.name in seen and isinstance(item, PublishedCrystal):
            raise InvdesignError(f"two structures are named '{item.name}'; give each its own name")
        if isinstance(item, PublishedCrystal):
            seen.add(item.name)
    return list(found)


def fetch_crystals(system: str) -> list[Source]:
    """Fetch all crystals within 0.1 eV/atom of the Materials Project's hull.

    Args:
        system: elements joined by hyphens: `Li-O-Cl`; its subsystems are included.

    Raises:
        PluginError: the `mp-api` extra is not installed.
        InvdesignError: no key, no network, or nothing found.
    """
    require_extra("mp_api.client", "mp-api", "Structures from the Materials Project")
    if not os.environ.get(API_KEY_VARIABLE):
        raise InvdesignError(
            f"structures from the Materials Project need a key: set the environment variable {API_KEY_VARIABLE} "
            "(https://next-gen.materialsproject.org/api gives one), or use --structures with files of your own"
        )
    found = [
        _read_or_skip(str(document["material_id"]), partial(_convert_document, document))
        for document in _query_materials_project(_list_subsystems(system))
    ]
    if not found:
        raise InvdesignError(f"the Materials Project has nothing in the system '{system}'")
    return list(_require_readable(found, f"the Materials Project's {system}"))


def _convert_document(document: Mapping[str, Any]) -> PublishedCrystal:
    from invdesign.structures.reading.documents import parse_crystal
    from invdesign.structures.reading.gate import check_crystal
    from invdesign.structures.reading.raw import current_limits
    from invdesign.structures.reading.read import make_reading

    limits = current_limits()
    name, structure = str(document["material_id"]), document["structure"]
    if isinstance(structure, dict):
        structure = make_reading(check_crystal(parse_crystal(structure, name, limits), limits)).ordered
    formula = structure.composition.reduced_formula
    return PublishedCrystal(
        f"{formula} {name}", formula, structure, source=f"Materials Project {name} (CC BY 4.0)"
    )


def _list_subsystems(system: str) -> list[str]:
    from itertools import combinations

    elements = split_system(system)
    return ["-".join(part) for n in range(1, len(elements) + 1) for part in combinations(elements, n)]


def _query_materials_project(systems: list[str]) -> list[dict[str, Any]]:
    from mp_api.client import MPRester
    from mp_api.client.core import MPRestError
    from requests import RequestException

    try:
        with MPRester(
            os.environ[API_KEY_VARIABLE], mute_progress_bars=True, use_document_model=False
        ) as client:
            documents = client.materials.summary.search(
                chemsys=systems,
                energy_above_hull=(0.0, MAX_HULL_DISTANCE),
                all_fields=False,
                fields=["material_id", "structure"],
            )
    except (MPRestError, RequestException, OSError) as error:
        raise InvdesignError(f"the Materials Project could not be asked: {error}") from error
    return cast("list[dict[str, Any]]", documents)
