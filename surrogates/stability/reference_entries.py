"""Reference sets of computed entries: energies that were made elsewhere, such as a user's own DFT."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import InvdesignError
from invdesign.settings import MAX_INPUT_BYTES
from invdesign.strictjson import unique_keys
from invdesign.structures.formulas import parse_composition
from invdesign.tables.cells import parse_number
from invdesign.tables.records import open_data
from invdesign.tables.text import TextTable
from invdesign.tables.units import FoundColumn, check_heading_unit, describe_missing_column, find_column
from invdesign.textfiles import read_text
from surrogates.stability.reference import (
    ENERGY_DIGITS,
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    Skipped,
    make_reference,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

FUNCTIONAL_KEY = "run_type"  # of pymatgen's entries and the Materials Project: GGA, GGA+U, r2SCAN
# Of the Materials Project, whose corrections make energies with and without U comparable (A. Jain et al., Phys. Rev. B 84,
# 045115 (2011)); without corrections they are not.
MIXED_BY_CORRECTION = frozenset({"GGA", "GGA+U"})
FORMATION_RANGE = (-6.0, 4.0)
"""eV/atom, formation energies that one method gives; chosen: LaF3, among the most stable compounds, has -4.4 (D. D. Wagman et
al., J. Phys. Chem. Ref. Data 11, Suppl. 2 (1982)). Rydberg, hartree or kJ/mol beside eV lead outside."""
LISTED = 5  # entries in a message; chosen


@dataclass(frozen=True, slots=True)
class ComputedPhase:
    """A crystal with an energy computed elsewhere.

    Attributes:
        energy: eV, whole cell, corrections included.
        functional: as the entry names it; empty if it does not.
        corrections: names of the schemes whose corrections are in the energy.
    """

    name: str
    structure: Structure
    energy: float
    functional: str = ""
    corrections: frozenset[str] = frozenset()


Found = ComputedPhase | Skipped


def import_entries(path: Path, *, label: str, name: str = "", title: str = "") -> ReferenceSet:
    """Make a reference set of computed entries; nothing is relaxed.

    Args:
        path: JSON of pymatgen's `ComputedStructureEntry`s, or a table with the columns `structure` (a file beside it) and
            `energy [eV]` or `energy_per_atom [eV/atom]`, and perhaps `name`, `formula` and `functional`.
        label: the method in words, `PBE+U, MP2020`: energies of two labels are never compared.
        name: of the set; the file's name if empty.
        title: a line for people.

    Raises:
        InvdesignError: nothing can be read, functionals or corrections are mixed, or formation energies are those of mixed
            units.
    """
    if not label.strip():
        raise InvdesignError("say which method made the energies: --label 'PBE+U, MP2020'")
    if path.suffix.lower() == ".json":
        found = list(_read_json(path))
    elif path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        found = list(_read_table(path))
    else:
        raise InvdesignError(f"'{path}' is neither JSON (.json) nor a table (.csv, .tsv)")
    phases = _name_apart([item for item in found if isinstance(item, ComputedPhase)])
    skipped = [item for item in found if isinstance(item, Skipped)]
    if not phases:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:LISTED])
        raise InvdesignError(f"'{path}' has no entry that can be used{f': {reasons}' if reasons else ''}")
    functionals = _require_one_method(phases, path.name)
    _require_one_unit(phases, path.name)
    digest = hashlib.sha256(json.dumps([label.strip(), functionals]).encode()).hexdigest()[:12]
    return make_reference(
        name=name or path.stem,
        title=title,
        potential=PotentialRecord(label=label.strip(), fingerprint=f"computed-{digest}", settings={}),
        relaxation=None,
        phases=[_make_phase(item, path.name) for item in phases],
        versions={},
        skipped=skipped,
    )


def _make_phase(item: ComputedPhase, source: str) -> Phase:
    return Phase(
        name=item.name,
        formula=item.structure.composition.reduced_formula,
        energy=round(item.energy, ENERGY_DIGITS),
        source=f"{source}{f', {item.functional}' if item.functional else ''}",
        cell=Cell.from_structure(item.structure),
    )


def _read_or_skip(name: str, read: Callable[[], ComputedPhase]) -> Found:
    """Read an entry, or give the reason why that fails."""
    try:
        return read()
    except InvdesignError as error:
        return Skipped(name=name, reason=" ".join(str(error).split()))


def _name_apart(phases: Sequence[ComputedPhase]) -> list[ComputedPhase]:
    """Number entries of one name."""
    counts = Counter(item.name for item in phases)
    seen: Counter[str] = Counter()
    named = []
    for item in phases:
        seen[item.name] += 1
        named.append(replace(item, name=f"{item.name} #{seen[item.name]}") if counts[item.name] > 1 else item)
    return named


# --- entries of pymatgen -----------------------------------------------------------------------------------


def _read_json(path: Path) -> Iterator[Found]:
    """Read entries as data: class names in the file are compared, and no class is made of them."""
    try:
        # pymatgen writes unknown uncertainties as NaN, which standard JSON does not know.
        content = json.loads(
            read_text(path, MAX_INPUT_BYTES), parse_constant=lambda _: None, object_pairs_hook=unique_keys
        )
    except (ValueError, RecursionError) as error:
        raise InvdesignError(f"'{path}' cannot be read as JSON: {error}") from error
    entries = content.get("entries") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InvdesignError(f"'{path}' is no list of entries: save [entry.as_dict() for entry in entries]")
    for number, entry in enumerate(entries, 1):
        identifier = entry.get("entry_id") if isinstance(entry, dict) else None
        name = str(identifier or f"entry {number}")
        yield _read_or_skip(name, partial(_parse_entry, entry, name))


def _parse_entry(entry: object, name: str) -> ComputedPhase:
    """Parse one `ComputedStructureEntry`.

    Raises:
        InvdesignError: it has no energy or no structure, or they do not belong together.
    """
    from invdesign.structures.reading.documents import parse_crystal
    from invdesign.structures.reading.gate import check_crystal
    from invdesign.structures.reading.raw import current_limits
    from invdesign.structures.reading.read import make_reading

    if not isinstance(entry, dict) or not isinstance(entry.get("structure"), dict):
        raise InvdesignError(
            "it has no structure: a ComputedStructureEntry has one, a ComputedEntry does not"
        )
    limits = current_limits()
    structure = make_reading(check_crystal(parse_crystal(entry["structure"], name, limits), limits)).ordered
    energy, correction = entry.get("energy"), entry.get("correction")
    schemes = _list_schemes(entry.get("energy_adjustments"))
    if correction is None and schemes:
        raise InvdesignError("it has energy adjustments and no sum of them under 'correction'")
    total = _sum_numbers(energy, 0.0 if correction is None else correction)
    if total is None:
        raise InvdesignError(
            f"its energy must be a number in eV per cell, got {energy!r} with {correction!r}"
        )
    _compare_amounts(entry.get("composition"), structure)
    parameters = entry.get("parameters")
    functional = parameters.get(FUNCTIONAL_KEY) if isinstance(parameters, dict) else None
    return ComputedPhase(
        name,
        structure,
        total,
        str(functional or ""),
        schemes if correction else frozenset(),
    )


def _sum_numbers(*values: object) -> float | None:
    """Sum of values; None if one is no number."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and _is_number(value)]
    return sum(numbers) if len(numbers) == len(values) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list_schemes(adjustments: object) -> frozenset[str]:
    """Names of the correction schemes of an entry's energy adjustments."""
    found = set()
    for item in adjustments if isinstance(adjustments, list) else ():
        scheme = item.get("cls") if isinstance(item, dict) else None
        named = scheme.get("@class") if isinstance(scheme, dict) else None
        found.add(str(named or "unnamed"))
    return frozenset(found)


def _compare_amounts(composition: object, structure: Structure) -> None:
    """Refuse an energy of another number of atoms than the structure has."""
    if not isinstance(composition, Mapping):
        return
    amounts = {str(symbol): float(amount) for symbol, amount in composition.items() if _is_number(amount)}
    own = structure.composition.get_el_amt_dict()
    if set(amounts) != set(own) or any(abs(amounts[symbol] - own[symbol]) > 1e-6 for symbol in own):
        formula = " ".join(f"{symbol}{amount:g}" for symbol, amount in amounts.items())
        raise InvdesignError(
            f"its energy is of {formula}, and its structure has {structure.composition.formula}"
        )


# --- tables ------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> Iterator[Found]:
    """Read a table whose rows name a structure file and give an energy, with its unit in the heading."""
    table = TextTable(open_data(path), path.name)
    table.check_headings()
    found = {name: find_column(name, table.headings, path.name, "Rename all but one") for name in COLUMNS}
    energy, whole = _find_energy(found, path.name, table.headings)
    if found["structure"] is None:
        known = describe_missing_column("structure", table.headings)
        raise InvdesignError(f"{path.name} has no column 'structure' with the structure files. {known}")
    headings = {name: column.heading for name, column in found.items() if column is not None}
    for rows in table.read_blocks(list(headings.values())):
        for number, place in enumerate(rows.places.tolist()):
            cells = {name: rows.cells[heading][number].strip() for name, heading in headings.items()}
            name = cells.get("name") or cells["structure"] or f"line {table.find_line(place)}"
            yield _read_or_skip(
                name, partial(_parse_row, cells, name, cells[energy], path.parent, whole=whole)
            )


COLUMNS = ("name", "formula", "structure", "functional", "energy", "energy_per_atom")


def _find_energy(
    found: Mapping[str, FoundColumn | None], table: str, headings: Sequence[str]
) -> tuple[str, bool]:
    """Find the column of energies; True if they are of whole cells.

    Raises:
        InvdesignError: there is none or two, or its heading names no unit or another one.
    """
    units = {"energy": "eV", "energy_per_atom": "eV/atom"}
    there = [(name, column) for name in units if (column := found[name]) is not None]
    if len(there) != 1:
        raise InvdesignError(
            f"{table} needs one column of energies, 'energy [eV]' of the whole cell or 'energy_per_atom [eV/atom]', and has "
            f"{'both' if there else 'none'}. {describe_missing_column('energy [eV]', headings)}"
        )
    ((name, column),) = there
    if column.unit is None:
        raise InvdesignError(
            f"{table}: column '{column.heading}' names no unit; head it '{name} [{units[name]}]'"
        )
    check_heading_unit(column, units[name], name, table, named=False)
    return name, name == "energy"


def _parse_row(
    cells: Mapping[str, str], name: str, written: str, folder: Path, *, whole: bool
) -> ComputedPhase:
    """Parse one row of a table.

    Raises:
        InvdesignError: its energy is no number, or its structure cannot be read or has another formula.
    """
    from invdesign.structures.reading.read import read_structure, read_structure_bytes

    energy = parse_number(written)
    if energy is None:
        raise InvdesignError(f"its energy is no number: '{written:.40}'")
    file = (folder / cells["structure"]).resolve()
    if not cells["structure"] or not file.is_file():
        raise InvdesignError(f"there is no structure file '{cells['structure']:.60}' beside the table")
    structure = read_structure(read_structure_bytes(file), file.name).ordered
    formula = cells.get("formula", "")
    if formula and parse_composition(formula).reduced_formula != structure.composition.reduced_formula:
        raise InvdesignError(
            f"its formula is {formula}, and its structure {structure.composition.reduced_formula}"
        )
    total = energy if whole else energy * len(structure)
    return ComputedPhase(name, structure, total, cells.get("functional", ""))


# --- one method --------------------------------------------------------------------------------------------


def _require_one_method(phases: Sequence[ComputedPhase], source: str) -> list[str]:
    """Names of the functionals of a set's energies, which must belong together.

    Raises:
        InvdesignError: functionals are mixed, or corrections of several schemes.
    """
    by_functional = _group_names(phases, lambda item: [item.functional])
    corrected = any(item.corrections for item in phases)
    named = sorted(filter(None, by_functional))
    allowed = len(named) <= 1 or (set(named) <= MIXED_BY_CORRECTION and corrected)
    if not allowed or (named and "" in by_functional):
        listed = "; ".join(
            f"{functional or 'none named'}: {', '.join(names[:LISTED])}{' ...' if len(names) > LISTED else ''}"
            for functional, names in sorted(by_functional.items())
        )
        raise InvdesignError(
            f"{source} mixes functionals, whose energies do not compare ({listed}). Keep the entries of one, or correct GGA and "
            "GGA+U by one scheme (pymatgen's MaterialsProject2020Compatibility) before they are saved"
        )
    schemes = _group_names(phases, lambda item: item.corrections)
    if len(schemes) > 1:
        listed = "; ".join(
            f"{scheme}: {', '.join(names[:LISTED])}" for scheme, names in sorted(schemes.items())
        )
        raise InvdesignError(
            f"{source} mixes corrections of several schemes ({listed}): process all entries by one"
        )
    return named


def _group_names(
    phases: Sequence[ComputedPhase], keys: Callable[[ComputedPhase], Any]
) -> dict[str, list[str]]:
    """Names of the entries by key."""
    found: dict[str, list[str]] = {}
    for item in phases:
        for key in keys(item):
            found.setdefault(key, []).append(item.name)
    return found


def _require_one_unit(phases: Sequence[ComputedPhase], source: str) -> None:
    """Refuse energies that give impossible formation energies: units or methods are mixed.

    Raises:
        InvdesignError: with the phases and their formation energies.
    """
    lowest: dict[str, float] = {}
    for item in phases:
        elements = list(item.structure.composition.get_el_amt_dict())
        if len(elements) == 1:
            own = item.energy / len(item.structure)
            lowest[elements[0]] = min(own, lowest.get(elements[0], own))
    wrong = []
    for item in phases:
        amounts = item.structure.composition.get_el_amt_dict()
        if set(amounts) <= set(lowest):
            formed = item.energy - sum(amount * lowest[symbol] for symbol, amount in amounts.items())
            per_atom = formed / len(item.structure)
            if not FORMATION_RANGE[0] <= per_atom <= FORMATION_RANGE[1]:
                wrong.append(f"{item.name} ({per_atom:.3g} eV/atom)")
    if wrong:
        low, high = FORMATION_RANGE
        more = f" and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
        raise InvdesignError(
            f"{source}: formation energies against the set's own elements go from {low:g} to {high:g} eV/atom where one method in "
            f"one unit made all energies, and here they are otherwise: {', '.join(wrong[:LISTED])}{more}. Give all energies in "
            "eV, of the whole cell or per atom as the column says"
        )
