"""Building a reference set: published crystals in, phases relaxed by one potential out; interruptible."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from invdesign.registry import require_extra
from invdesign.settings import Settings
from surrogates.reference import (
    ENERGY_DIGITS,
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    RelaxationRecord,
    Skipped,
    make_reference,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from surrogates.relaxation import OptimizerName, Relaxation

PARTIAL_FORMAT = "invdesign-reference-partial-1"
PACKAGES = ("invdesign", "ase", "chgnet", "numpy", "pymatgen", "torch")
KEY = "MP_API_KEY"
NEAR_HULL = (
    0.1  # eV/atom: farther up in the Materials Project no phase competes, even after another relaxation
)

OPTIMIZERS: tuple[OptimizerName, ...] = ("bfgs", "fire")
"""Tried in this order: molecular crystals are so soft that BFGS may overshoot, and FIRE does not."""

RELAXATION = RelaxationRecord(fmax=0.01, smax=0.05, steps=500)
"""Tighter than a candidate's, since every candidate is measured against it."""


@dataclass(frozen=True, slots=True)
class Published:
    """A crystal before its relaxation."""

    name: str
    formula: str
    structure: Structure
    source: str
    title: str = ""

    @property
    def key(self) -> str:
        """Tells whether an interrupted build has done exactly this crystal."""
        text = json.dumps([self.name, Cell.of(self.structure).model_dump(mode="json")])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of one crystal.

    Attributes:
        number, total: from 1.
        result: the relaxed phase, or why there is none.
        seconds: what it took; 0 where an interrupted build had done it.
    """

    number: int
    total: int
    result: Phase | Skipped
    seconds: float


# --- where crystals come from ------------------------------------------------------------------------------


def read_structures(path: Path) -> list[Published]:
    """The crystals in a folder of CIF files, a crystallography YAML or an ASE database.

    Args:
        path: a folder, a file that ends with .yaml or .yml, or one that ends with .db.

    Raises:
        InvdesignError: nothing there, or a crystal that cannot be read; the message names it.
    """
    if path.is_dir():
        found = list(_from_folder(path))
    elif not path.is_file():
        raise InvdesignError(f"there is no file or folder '{path}'")
    elif path.suffix in {".yaml", ".yml"}:
        found = list(_from_crystallography(path))
    elif path.suffix == ".db":
        found = list(_from_ase_database(path))
    else:
        raise InvdesignError(
            f"'{path}' is neither a folder of CIF files, nor crystallography (.yaml), nor an ASE database (.db)"
        )
    if not found:
        raise InvdesignError(f"'{path}' holds no structures")
    return _with_unique_names(found)


def _from_folder(folder: Path) -> Iterator[Published]:
    from invdesign.structures.reading.read import read_structure, read_structure_bytes

    for file in sorted(folder.glob("*.cif")):
        structure = read_structure(read_structure_bytes(file), file.name).ordered
        yield Published(file.stem, structure.composition.reduced_formula, structure, source=file.name)


def _from_crystallography(file: Path) -> Iterator[Published]:
    from ruamel.yaml.error import YAMLError

    from invdesign.structures.crystallography import read_crystals
    from invdesign.structures.reading.overlaps import check_overlaps

    try:
        crystals = read_crystals(file)
    except (ValidationError, YAMLError, TypeError) as error:
        raise InvdesignError(f"{file} is no list of crystals: {error}") from error
    for crystal in crystals.values():
        structure = crystal.structure(primitive=True)
        check_overlaps(structure, crystal.name)
        yield Published(crystal.name, crystal.formula, structure, crystal.source, crystal.title)


def _from_ase_database(file: Path) -> Iterator[Published]:
    """Numbers, cell and positions of every row; calculators, constraints and other objects stay unread."""
    from invdesign.structures.reading.databases import open_database
    from invdesign.structures.reading.gate import check_crystal
    from invdesign.structures.reading.raw import current_limits
    from invdesign.structures.reading.read import make_reading

    limits = current_limits()
    for row in open_database(file, limits).rows():
        raw = row.crystal(f"{file.name}, row {row.id}", limits)
        structure = make_reading(check_crystal(raw, limits)).structure
        name = str(row.pairs.get("name") or f"{structure.composition.reduced_formula}-{row.id}")
        yield Published(name, structure.composition.reduced_formula, structure, f"{file.name}, row {row.id}")


def _with_unique_names(found: Sequence[Published]) -> list[Published]:
    seen: set[str] = set()
    for item in found:
        if item.name in seen:
            raise InvdesignError(f"two structures are named '{item.name}'; give each its own name")
        seen.add(item.name)
    return list(found)


def from_materials_project(system: str) -> list[Published]:
    """Everything within 0.1 eV/atom of the Materials Project's hull in a chemical system and its subsystems.

    Args:
        system: elements joined by hyphens: `Li-O-Cl`.

    Raises:
        PluginError: the `mp-api` extra is not installed.
        InvdesignError: no key, no network, or nothing found.
    """
    require_extra("mp_api.client", "mp-api", "Structures from the Materials Project")
    if not os.environ.get(KEY):
        raise InvdesignError(
            f"structures from the Materials Project need a key: set the environment variable {KEY} "
            "(https://next-gen.materialsproject.org/api gives one), or use --structures with files of your own"
        )
    from invdesign.structures.reading.documents import crystal_in
    from invdesign.structures.reading.gate import check_crystal
    from invdesign.structures.reading.raw import current_limits
    from invdesign.structures.reading.read import make_reading

    limits = current_limits()
    found = []
    for document in _ask_materials_project(_subsystems(system)):
        name, structure = str(document["material_id"]), document["structure"]
        if isinstance(structure, dict):
            structure = make_reading(check_crystal(crystal_in(structure, name, limits), limits)).ordered
        found.append(
            Published(
                f"{structure.composition.reduced_formula} {name}",
                structure.composition.reduced_formula,
                structure,
                source=f"Materials Project {name} (CC BY 4.0)",
            )
        )
    if not found:
        raise InvdesignError(f"the Materials Project has nothing in the system '{system}'")
    return found


def _subsystems(system: str) -> list[str]:
    from itertools import combinations

    from pymatgen.core import Element

    elements = sorted(set(system.split("-")))
    unknown = [element for element in elements if not Element.is_valid_symbol(element)]
    if unknown:
        raise InvdesignError(
            f"'{system}' is no chemical system: {', '.join(unknown)} is no element (write Li-O-Cl)"
        )
    return ["-".join(part) for n in range(1, len(elements) + 1) for part in combinations(elements, n)]


def _ask_materials_project(systems: list[str]) -> list[dict[str, Any]]:
    from mp_api.client import MPRester
    from mp_api.client.core import MPRestError
    from requests import RequestException

    try:
        with MPRester(os.environ[KEY], mute_progress_bars=True, use_document_model=False) as client:
            documents = client.materials.summary.search(
                chemsys=systems,
                energy_above_hull=(0.0, NEAR_HULL),
                all_fields=False,
                fields=["material_id", "structure"],
            )
    except (MPRestError, RequestException, OSError) as error:
        raise InvdesignError(f"the Materials Project could not be asked: {error}") from error
    return cast("list[dict[str, Any]]", documents)


# --- relaxing them -----------------------------------------------------------------------------------------


def build_reference(
    crystals: Sequence[Published],
    potential: Settings,
    *,
    name: str,
    title: str = "",
    relaxation: RelaxationRecord = RELAXATION,
    partial: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> ReferenceSet:
    """Relax every crystal, atoms and cell, and put the phases into a reference set.

    A crystal that cannot be relaxed (an isolated atom, an element the potential does not know, no convergence)
    is left out, reported, and listed in the set with its reason.

    Args:
        crystals: starts; several polymorphs of a compound are welcome, the hull takes the lowest.
        potential: of the `potentials` group.
        name: of the set.
        title: a line for people.
        relaxation: limits on what forces and stress may be left.
        partial: a file to which every finished phase is added at once, and from which an interrupted build
            goes on.
        report: told of every crystal.

    Raises:
        InvdesignError: nothing could be relaxed, or `partial` belongs to another potential or relaxation.
    """
    record = potential_record(potential)
    journal = _Journal(partial, record, relaxation)
    results: list[Phase | Skipped] = []
    for number, crystal in enumerate(crystals, start=1):
        began = time.perf_counter()
        known = journal.done.get(crystal.key)
        result = known or _relaxed(crystal, cast("Potential", potential), relaxation)
        if known is None:
            journal.add(crystal.key, result)
        results.append(result)
        report(Progress(number, len(crystals), result, 0.0 if known else time.perf_counter() - began))
    phases = [result for result in results if isinstance(result, Phase)]
    if not phases:
        raise InvdesignError("no structure could be relaxed; the lines above say why")
    return make_reference(
        name=name,
        title=title,
        potential=record,
        relaxation=relaxation,
        phases=phases,
        versions=_versions(),
        skipped=[result for result in results if isinstance(result, Skipped)],
    )


def potential_record(potential: Settings) -> PotentialRecord:
    """What a reference set remembers of its potential; the device it ran on is not part of it."""
    settings = _without_device(potential.model_dump(mode="json"))
    label = str(getattr(potential, "label", settings["kind"]))
    return PotentialRecord(label=label, fingerprint=potential.fingerprint, settings=settings)


def _without_device(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a potential, and of the one it corrects, without the device it runs on."""
    return {
        key: _without_device(value) if key == "potential" else value
        for key, value in settings.items()
        if key != "device"
    }


def _relaxed(crystal: Published, potential: Potential, relaxation: RelaxationRecord) -> Phase | Skipped:
    reason = ""
    for optimizer in OPTIMIZERS:
        found = _attempt(crystal.structure, potential, relaxation, optimizer)
        if not isinstance(found, str):
            return Phase(
                name=crystal.name,
                formula=crystal.formula,
                title=crystal.title,
                energy=round(found.energy, ENERGY_DIGITS),
                source=crystal.source,
                cell=Cell.of(found.structure),
            )
        reason = found
    return Skipped(name=crystal.name, reason=reason)


def _attempt(
    structure: Structure, potential: Potential, relaxation: RelaxationRecord, optimizer: OptimizerName
) -> Relaxation | str:
    """The relaxed crystal, or why there is none."""
    from surrogates.relaxation import relax_structure

    try:
        found = relax_structure(
            structure,
            potential,
            fmax=relaxation.fmax,
            smax=relaxation.smax,
            steps=relaxation.steps,
            optimizer=optimizer,
        )
    except InvdesignError as error:
        return str(error)
    if found.converged:
        return found
    return (
        f"not relaxed after {relaxation.steps} steps: {found.max_force:.3f} eV/Å (limit {relaxation.fmax:g}) and "
        f"{found.max_stress:.3f} GPa (limit {relaxation.smax:g}) are left"
    )


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(slots=True)
class _Journal:
    """Finished phases of a build under way: a header line, then one line per crystal."""

    file: Path | None
    potential: PotentialRecord
    relaxation: RelaxationRecord
    done: dict[str, Phase | Skipped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is None:
            return
        if not self.file.exists():
            self._write(self._header())
            return
        lines = self.file.read_text(encoding="utf-8").split("\n")
        if _read(lines[0]) != self._header():
            raise InvdesignError(
                f"{self.file} was left by a build with another potential or other limits; finish that one with "
                "its own command, or remove the file"
            )
        for line in lines[1:]:
            item = _read(line)
            if item is None:
                continue
            kind = Phase if "energy" in item["result"] else Skipped
            self.done[item["key"]] = kind.model_validate_json(json.dumps(item["result"]))
        # A killed build may leave half a line; what comes next must not be glued to it.
        if lines[-1]:
            self._write_text("\n")

    def _header(self) -> dict[str, Any]:
        return {
            "format": PARTIAL_FORMAT,
            "potential": self.potential.fingerprint,
            "relaxation": self.relaxation.model_dump(mode="json"),
        }

    def add(self, key: str, result: Phase | Skipped) -> None:
        if self.file is not None:
            self._write({"key": key, "result": result.model_dump(mode="json")})

    def _write(self, item: dict[str, Any]) -> None:
        self._write_text(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n")

    def _write_text(self, text: str) -> None:
        assert self.file is not None
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(text)


def _read(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
