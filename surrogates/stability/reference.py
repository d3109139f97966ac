"""Frozen, hashed sets of competing phases, all energies of one set from one potential."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, ValidationInfo, WithJsonSchema, model_validator

from invdesign.errors import InvdesignError, MissingReferenceError, nearest
from invdesign.settings import MAX_INPUT_BYTES, Frozen, InputFile, validation_context
from invdesign.textfiles import read_text
from surrogates.potentials.correction import CORRECTION_SEPARATOR, correction_names, load_correction

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from pymatgen.core import Structure

FORMAT: Final = "invdesign-reference-3"
"""Of sets written today. The first format had neither `starts` nor `starts_apart`, the second no `start`, no `systems` and no formulas of
phases left out; their files are read as before."""

HASH_RULE: Final = "invdesign-reference-1"  # first word of the hashed text; another rule gets another word
REFERENCE_SUFFIX = ".json"
ENERGY_DIGITS = 6  # eV per cell; potentials compute in single precision
LENGTH_DIGITS = 6  # Å, and fractional coordinates; chosen

Vector = tuple[float, float, float]


class Cell(Frozen):
    """A relaxed structure, rounded to six decimals.

    That is a millionth of an Å, and of a cell edge.
    """

    lattice: tuple[Vector, Vector, Vector]
    """Å, one row per vector."""
    species: tuple[str, ...]
    positions: tuple[Vector, ...]
    """Fractional."""

    @model_validator(mode="after")
    def _check_positions(self) -> Cell:
        if not self.species or len(self.species) != len(self.positions):
            raise ValueError(f"{len(self.species)} species for {len(self.positions)} positions")
        return self

    @classmethod
    def from_structure(cls, structure: Structure) -> Cell:
        """Return the cell of an ordered `structure`."""

        def round_rows(array: Any) -> tuple[Any, ...]:
            return tuple(tuple(round(float(x), LENGTH_DIGITS) + 0.0 for x in row) for row in array)

        species = tuple(site.specie.symbol for site in structure)
        return cls(
            lattice=round_rows(structure.lattice.matrix),
            species=species,
            positions=round_rows(structure.frac_coords),
        )

    def build_structure(self) -> Structure:
        """Build the pymatgen structure.

        The numbers are checked, since files are not trusted.

        Raises:
            StructureFileError: the numbers are those of no crystal.
        """
        from invdesign.structures.reading.gate import check_crystal, to_structure
        from invdesign.structures.reading.raw import RawCrystal, RawSite, current_limits

        sites = (RawSite({s: 1.0}, place) for s, place in zip(self.species, self.positions, strict=True))
        return to_structure(
            check_crystal(RawCrystal("a reference phase", self.lattice, tuple(sites)), current_limits())
        )


class Phase(Frozen):
    """One competing phase."""

    name: str
    """Unique within the set."""
    formula: str
    """As people write it."""
    title: str = ""
    energy: float = Field(allow_inf_nan=False)
    """eV, whole cell, relaxed by the set's potential; the lowest, where it was relaxed from several starts."""
    starts_apart: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """eV/atom from the lowest to the highest energy that the starts led to; None where only one was relaxed."""
    source: str
    """Where the structure was published."""
    start: str | None = None
    """Key of the published crystal that was relaxed; a set that is built again relaxes no crystal twice."""
    cell: Cell

    @cached_property
    def composition(self) -> Mapping[str, int]:
        """Atoms of each element in the cell."""
        return dict(Counter(self.cell.species))

    @property
    def n_atoms(self) -> int:
        """Atoms in the cell."""
        return len(self.cell.species)

    @property
    def energy_per_atom(self) -> float:
        """eV/atom."""
        return self.energy / self.n_atoms


class PotentialRecord(Frozen):
    """The potential of a set's energies.

    Energies are never mixed with those of another fingerprint.
    """

    label: str
    fingerprint: str
    settings: dict[str, Any]


class RelaxationRecord(Frozen):
    """Settings of the relaxation of every phase."""

    fmax: float
    """eV/Å, largest force left."""
    smax: float
    """GPa, largest stress left."""
    steps: int
    """At most."""
    starts: Annotated[int, Field(ge=1)] = 1
    """Starts per phase: the crystal as it is published, then strained and rattled ones; the lowest is kept."""


class Skipped(Frozen):
    """A phase that was left out of the set, and the reason."""

    name: str
    reason: str
    formula: str = ""
    """Empty where it is not known."""


class ReferenceSet(Frozen):
    """Competing phases relaxed by one potential.

    Its hash covers everything their energies depend on.
    """

    format: Literal["invdesign-reference-1", "invdesign-reference-2", "invdesign-reference-3"] = FORMAT
    name: str
    title: str = ""
    systems: tuple[str, ...] = ()
    """Chemical systems that the set was made for (`Li-P-S`), whose gaps are noted; none stands for that of all its elements."""
    hash: str
    """Hash of potential, relaxation and phases (names, energies, structures); not of titles, sources and
    `starts_apart`. The same phases have the same hash in every format."""
    potential: PotentialRecord
    relaxation: RelaxationRecord | None
    """None for energies that were computed elsewhere (`invdesign reference import`)."""
    versions: dict[str, str]
    """Of the packages that built it."""
    skipped: tuple[Skipped, ...] = ()
    phases: tuple[Phase, ...]

    @model_validator(mode="after")
    def _check_content(self) -> ReferenceSet:
        repeated = [name for name, count in Counter(phase.name for phase in self.phases).items() if count > 1]
        if repeated:
            raise ValueError(f"these phases appear more than once: {', '.join(repeated)}")
        found = hash_content(self.potential, self.relaxation, self.phases)
        if found != self.hash:
            raise ValueError(
                f"its content has the hash {found}, and {self.hash} is written in it: it was changed after it "
                "was built. Restore the file, or build the set again with `invdesign reference build`"
            )
        return self

    def __hash__(self) -> int:
        return hash(self.hash)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Elements with an elemental phase in the set."""
        return frozenset(next(iter(p.composition)) for p in self.phases if len(p.composition) == 1)

    @cached_property
    def binaries(self) -> frozenset[frozenset[str]]:
        """Pairs of elements with at least one binary compound in the set."""
        return frozenset(frozenset(p.composition) for p in self.phases if len(p.composition) == 2)

    def select_phases(self, elements: Iterable[str]) -> tuple[Phase, ...]:
        """Phases that consist of `elements` alone."""
        allowed = set(elements)
        return tuple(phase for phase in self.phases if allowed.issuperset(phase.composition))

    def without_phases(self, *names: str) -> ReferenceSet:
        """The same set without the phases of these `names`.

        It has a hash of its own.

        Raises:
            KeyError: there is no phase of that name.
        """
        unknown = set(names) - {phase.name for phase in self.phases}
        if unknown:
            raise KeyError(f"no phase {', '.join(sorted(unknown))} in the reference '{self.name}'")
        phases = [phase for phase in self.phases if phase.name not in names]
        return make_reference(
            name=f"{self.name}, reduced", potential=self.potential, relaxation=self.relaxation, phases=phases,
            versions=self.versions, skipped=self.skipped, systems=self.systems,
        )  # fmt: skip

    def raise_phases(self, shifts: Mapping[str, float]) -> ReferenceSet:
        """The same set with higher energies of some phases.

        It has a hash of its own.

        Args:
            shifts: energy to add by name of the phase, eV/atom.

        Raises:
            KeyError: there is no phase of that name.
        """
        unknown = shifts.keys() - {phase.name for phase in self.phases}
        if unknown:
            raise KeyError(f"no phase {', '.join(sorted(unknown))} in the reference '{self.name}'")
        energies = {
            phase.name: phase.energy + shifts.get(phase.name, 0.0) * phase.n_atoms for phase in self.phases
        }
        return make_reference(
            name=f"{self.name}, raised", potential=self.potential, relaxation=self.relaxation,
            phases=[p.model_copy(update={"energy": round(energies[p.name], ENERGY_DIGITS)}) for p in self.phases],
            versions=self.versions, skipped=self.skipped, systems=self.systems,
        )  # fmt: skip

    def to_json(self) -> str:
        """JSON text with one line per phase.

        Versions of a set can so be compared line by line.
        """
        fields = self.model_dump(mode="json")
        phases = fields.pop("phases")
        head = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)
        lines = (json.dumps(p, ensure_ascii=False, allow_nan=False, separators=(",", ":")) for p in phases)
        return head.removesuffix("\n}") + ',\n "phases": [\n' + ",\n".join(lines) + "\n]}\n"


def hash_content(
    potential: PotentialRecord, relaxation: RelaxationRecord | None, phases: Iterable[Phase]
) -> str:
    """Hash that changes whenever an energy of the set may: 32 hexadecimal digits.

    Args:
        potential: of the energies.
        relaxation: its settings; None where energies come from elsewhere.
        phases: of the set.
    """
    content = [
        HASH_RULE,
        potential.fingerprint,
        # Defaults are left out: a set from one start has the hash it had before there were several.
        None if relaxation is None else relaxation.model_dump(mode="json", exclude_defaults=True),
        [[phase.name, phase.energy, phase.cell.model_dump(mode="json")] for phase in phases],
    ]
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def make_reference(
    *,
    name: str,
    potential: PotentialRecord,
    relaxation: RelaxationRecord | None,
    phases: Sequence[Phase],
    versions: Mapping[str, str],
    title: str = "",
    skipped: Sequence[Skipped] = (),
    systems: Sequence[str] = (),
) -> ReferenceSet:
    """Make a reference set with its hash.

    Args:
        name: of the set.
        potential: of all energies.
        relaxation: settings of the relaxation of every phase; None where energies come from elsewhere.
        phases: of the set, with unique names.
        versions: version by package that built it.
        title: a line for people.
        skipped: phases left out, with reasons.
        systems: chemical systems that the set is made for.
    """
    return ReferenceSet(
        name=name,
        title=title,
        systems=tuple(systems),
        hash=hash_content(potential, relaxation, phases),
        potential=potential,
        relaxation=relaxation,
        versions=dict(versions),
        skipped=tuple(skipped),
        phases=tuple(phases),
    )


# --- finding a set -----------------------------------------------------------------------------------------


def _references_folder() -> Traversable:
    return files("surrogates").joinpath("references")


def find_earlier_set(name: str, hash: str) -> ReferenceSet | None:
    """Find a set that an earlier version of the package shipped.

    Returns None if it is not kept.

    Args:
        name: of the set.
        hash: of its content.
    """
    base, _, correction = name.partition(CORRECTION_SEPARATOR)
    # The name is compared and never opened: stored campaigns are not trusted.
    for file in _references_folder().joinpath("earlier").iterdir():
        if file.name.startswith(f"{base}-"):
            found = parse_reference(file.read_text(encoding="utf-8"), base)
            found = correct_reference(found, correction) if correction else found
            if found.hash == hash:
                return found
    return None


def shipped_names() -> tuple[str, ...]:
    """Names of the package's reference sets, sorted."""
    names = (item.name for item in _references_folder().iterdir())
    return tuple(
        sorted(name.removesuffix(REFERENCE_SUFFIX) for name in names if name.endswith(REFERENCE_SUFFIX))
    )


def corrected_names() -> tuple[str, ...]:
    """Names of the package's sets with each correction fitted to their potential, sorted."""
    names = shipped_names()
    corrections = [load_correction(name) for name in correction_names()]
    return tuple(
        f"{name}{CORRECTION_SEPARATOR}{correction.name}"
        for name in names
        for correction in corrections
        if load_shipped_set(name).potential.fingerprint == correction.potential
    )


def load_shipped_set(name: str) -> ReferenceSet:
    """Load the package's reference set `name`.

    `NAME+CORRECTION` has corrected energies.

    Raises:
        InvdesignError: there is none of that name, or the correction was fitted to another potential.
    """
    known = shipped_names()
    base, _, correction = name.partition(CORRECTION_SEPARATOR)
    if base in known and correction:
        return correct_reference(load_shipped_set(base), correction)
    if name not in known:
        raise InvdesignError(
            " ".join(
                part
                for part in (
                    f"there is no reference set '{name}'.",
                    nearest(name, (*known, *corrected_names())),
                    f"Known: {', '.join((*known, *corrected_names())) or 'none'}; or name a file that ends with {REFERENCE_SUFFIX}.",
                )
                if part
            )
        )
    return parse_reference(
        _references_folder().joinpath(name + REFERENCE_SUFFIX).read_text(encoding="utf-8"), name
    )


@lru_cache(maxsize=16)
def parse_reference(text: str, source: str) -> ReferenceSet:
    """Parse a reference set from JSON text and check its hash.

    Nothing in it is executed.

    Args:
        text: the file's content.
        source: its name, for messages.

    Raises:
        InvdesignError: not a reference set, of another format, or changed after it was built.
    """
    try:
        return ReferenceSet.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InvdesignError(
            f"{source} is no reference set of the format {FORMAT}: {f'{place}: ' if place else ''}{what}. "
            "`invdesign reference build` makes one."
        ) from error


@lru_cache(maxsize=16)
def correct_reference(reference: ReferenceSet, correction: str) -> ReferenceSet:
    """Add a correction to the energy of every phase, under the name `SET+CORRECTION`.

    Nothing is relaxed again: the correction leaves forces and stress as they are, so every phase is at a
    minimum of the corrected potential too.

    Args:
        reference: by the potential that the correction was fitted to.
        correction: name of a correction of the package.

    Raises:
        InvdesignError: there is no such correction, or it was fitted to another potential.
    """
    from surrogates.relaxation.relax import to_atoms

    found = load_correction(correction)
    found.require_base(reference.potential.fingerprint, reference.potential.label)
    phases = [
        phase.model_copy(
            update={
                "energy": round(
                    phase.energy + found.added_energy(to_atoms(phase.cell.build_structure())), ENERGY_DIGITS
                )
            }
        )
        for phase in reference.phases
    ]
    settings = {"kind": "corrected", "correction": correction, "potential": reference.potential.settings}
    return make_reference(
        name=f"{reference.name}{CORRECTION_SEPARATOR}{correction}",
        title=f"{reference.title}, corrected" if reference.title else "",
        potential=PotentialRecord(label=found.label, fingerprint=found.fingerprint, settings=settings),
        relaxation=reference.relaxation,
        phases=phases,
        versions=reference.versions,
        skipped=reference.skipped,
        systems=reference.systems,
    )


def load_reference(name_or_path: str | Path) -> ReferenceSet:
    """Load a shipped set by its name, or a set from a file.

    Either may end with `+CORRECTION`.

    Args:
        name_or_path: name of a shipped set, or path of a file that ends with `.json`.

    Raises:
        InvdesignError: neither exists, the file is no reference set, or the correction is not for its potential.
    """
    text, correction = _split_correction(str(name_or_path))
    if not _is_path(text):
        return load_shipped_set(str(name_or_path))
    path = Path(text).expanduser()
    if not path.is_file():
        raise InvdesignError(f"there is no file '{text}'")
    found = parse_reference(read_text(path, MAX_INPUT_BYTES), path.name)
    return correct_reference(found, correction) if correction else found


def _is_path(text: str) -> bool:
    return text.endswith(REFERENCE_SUFFIX) or "/" in text or "\\" in text


def _split_correction(text: str) -> tuple[str, str]:
    """Split `sets/mine.json+covalent-oxygen` into file and correction.

    The latter may be empty.
    """
    base, joint, correction = text.rpartition(REFERENCE_SUFFIX + CORRECTION_SEPARATOR)
    return (base + REFERENCE_SUFFIX, correction) if joint else (text, "")


class Reference(Frozen):
    """A reference set of a campaign, pinned by its hash.

    So a resumed run never meets another set. A shipped set is pinned by name and hash, and a set of an earlier
    version is found by them; a file of the user's travels with the campaign.
    """

    name: str
    hash: str
    potential: str
    """Fingerprint of the potential its energies come from."""
    file: InputFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _pin_by_hash(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        file = None
        text, correction = _split_correction(value)
        if not _is_path(text):
            found = _call_with_value_errors(load_shipped_set, value)
        else:
            folder, _ = validation_context(info)
            file = InputFile.model_validate(text, context={"folder": folder})
            found = _call_with_value_errors(parse_reference, file.text, file.name)
            if correction:
                found = _call_with_value_errors(correct_reference, found, correction)
        return {
            "name": found.name,
            "hash": found.hash,
            "potential": found.potential.fingerprint,
            "file": file,
        }

    def load(self) -> ReferenceSet:
        """Load the set, once per process.

        Raises:
            MissingReferenceError: it is not the pinned one. Checked here and not when a campaign is read, so
                that a run made with an earlier set can still be opened.
        """
        if self.file is None:
            found = load_shipped_set(self.name)
            found = found if found.hash == self.hash else find_earlier_set(self.name, self.hash) or found
        else:
            found = parse_reference(self.file.text, self.file.name)
            correction = self.name.removeprefix(found.name)
            if correction.startswith(CORRECTION_SEPARATOR):
                found = correct_reference(found, correction.removeprefix(CORRECTION_SEPARATOR))
        if found.hash != self.hash:
            raise MissingReferenceError(
                f"the reference set '{self.name}' of the installed version has the hash {found.hash}, and this "
                f"campaign was made with {self.hash}: energies of the two never meet. Install the version that "
                "made it, or start a new run with the set of today"
            )
        return found


ReferenceField = Annotated[
    Reference,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "object"}],
            "examples": ["lithium-chalcohalides", "battery-phases"],
        }
    ),
]
"""A field that names a reference set: a shipped one, or a file that `invdesign reference build` wrote."""


def _call_with_value_errors(function: Any, *arguments: Any) -> ReferenceSet:
    """Call a function and turn its errors into ValueErrors, which pydantic collects."""
    try:
        found: ReferenceSet = function(*arguments)
    except InvdesignError as error:
        raise ValueError(str(error)) from error
    return found
