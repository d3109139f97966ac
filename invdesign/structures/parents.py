"""Parent crystals of search spaces: a prototype or a user's file, as a supercell with its bonds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError, count_text, nearest
from invdesign.settings import InputFile
from invdesign.structures.charges import scale_to_whole_counts
from invdesign.structures.neutrality import balance_charges
from invdesign.structures.prototypes import FORMER_NAMES, find_prototype, list_prototype_names
from invdesign.structures.reading.raw import StructureFileError, read_positive_variable
from invdesign.structures.reading.read import Reading, is_structure_name, read_structure
from invdesign.structures.symmetry import SYMPREC, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure


SHELL_FACTOR = 1.15  # neighbours within this multiple of the nearest distance are one shell; chosen
MAX_CHARGE_GUESSES = 2_000_000  # combinations of charges, a few seconds; chosen
# Atoms of a reduced formula with charges that can be guessed in under a second; chosen.
MAX_GUESSED_ATOMS = 60
# Chosen: finding the symmetry of so many atoms takes a second, and the time grows with their square.
DEFAULT_PARENT_ATOMS = 1_000
# Chosen: the search takes a second for so many atoms of one element, and minutes for 1,000.
MAX_PRIMITIVE_SEARCH_ATOMS = 200
MAX_PARENT_ATOMS = "INVDESIGN_MAX_PARENT_ATOMS"
# Å; chosen: noise of relaxations and rounded coordinates is below, distortions of crystals mostly above.
NEAR_SYMMETRY_TOLERANCE = 0.1
NEIGHBOUR_REACH = 8.0  # Å; every site of a solid has a neighbour within it; chosen


@dataclass(frozen=True, eq=False)
class Parent:
    """A supercell of n sites before substitution.

    Attributes:
        name: name of the prototype or file.
        lattice: shape (3, 3), rows in Å.
        positions: shape (n, 3), fractional.
        elements: n symbols.
        labels: n names: the prototype's, or the CIF's.
        wyckoff: n Wyckoff sites, `4c`.
        states: n formal charges, averages where an element is mixed-valent; None where unknown.
    """

    name: str
    lattice: FloatArray
    positions: FloatArray
    elements: tuple[str, ...]
    labels: tuple[str, ...]
    wyckoff: tuple[str, ...]
    states: tuple[float | None, ...]

    def __len__(self) -> int:
        return len(self.elements)

    def find_sites(self, name: str) -> tuple[int, ...]:
        """Find the sites with a `name`.

        It is a label, else a Wyckoff site, else an element.

        Raises:
            ValueError: there are none, or the Wyckoff site holds more than one element.
        """
        for names in (self.labels, self.wyckoff, self.elements):
            found = tuple(i for i, own in enumerate(names) if own == name)
            held = _drop_repeats(self.elements[i] for i in found)
            if len(held) > 1:
                use = ", ".join(_drop_repeats(self.labels[i] for i in found))
                raise ValueError(
                    f"'{name}' is ambiguous in {self.name}: it holds {', '.join(held)}. Use a label: {use}"
                )
            if found:
                return found
        labels, orbits, symbols = (
            _drop_repeats(self.labels),
            _drop_repeats(self.wyckoff),
            _drop_repeats(self.elements),
        )
        hint = nearest(name, (*labels, *orbits, *symbols))
        raise ValueError(
            f"{self.name} has no site '{name}'.{' ' + hint if hint else ''} Labels: {', '.join(labels)}; "
            f"elements: {', '.join(symbols)}; Wyckoff sites: {', '.join(orbits)}"
        )

    def build_structure(self) -> Structure:
        """Build the undecorated supercell."""
        from pymatgen.core import Structure

        return Structure(self.lattice, list(self.elements), self.positions)

    @cached_property
    def bonds(self) -> tuple[IntArray, IntArray]:
        """Bonds of each site's nearest shell, as (sites (m,), neighbours (m,)).

        Neighbours are of opposite charge; of any charge where it is unknown.
        """
        return self.find_nearest_shells(range(len(self)), opposite=True)

    def find_nearest_shells(
        self, among: Sequence[int], *, opposite: bool = False
    ) -> tuple[IntArray, IntArray]:
        """Find each site's nearest shell among some sites.

        Args:
            among: the sites.
            opposite: leave out neighbours with a charge of the same sign.

        Returns:
            (sites (m,), neighbours (m,)); each periodic image is a neighbour of its own.
        """
        kept = np.asarray(among, dtype=np.int64)
        part = self.build_structure()
        part.remove_sites(sorted(set(range(len(self))) - set(kept.tolist())))
        first, second, _, distance = part.get_neighbor_list(NEIGHBOUR_REACH, exclude_self=True)
        first, second = kept[first], kept[second]
        if opposite:
            signs = np.array([np.sign(state) if state is not None else 0.0 for state in self.states])
            unlike = signs[first] * signs[second] <= 0
            first, second, distance = first[unlike], second[unlike], distance[unlike]
        closest = np.full(len(self), np.inf)
        np.minimum.at(closest, first, distance)
        near = distance <= SHELL_FACTOR * closest[first]
        return first[near].astype(np.int64), second[near].astype(np.int64)


def _drop_repeats(names: Iterable[str]) -> tuple[str, ...]:
    """Names without repeats, in the order of their first occurrence."""
    return tuple(dict.fromkeys(names))


@lru_cache(maxsize=16)
def build_parent(source: str | InputFile, cell: tuple[int, int, int], *, primitive: bool) -> Parent:
    """Build the supercell of a prototype or structure file.

    Args:
        source: prototype name, or the file's text.
        cell: repeats of the unit cell along its axes.
        primitive: start from the primitive cell instead of the conventional one (or the file's).

    Raises:
        InvdesignError: there is no such prototype, or the file cannot be used.
    """
    unit = (
        _parent_from_prototype(source, primitive)
        if isinstance(source, str)
        else _parent_from_file(source, primitive)
    )
    check_supercell_size(math.prod(cell), len(unit))
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in cell), indexing="ij"), axis=-1).reshape(-1, 3)
    count = len(steps)
    positions = (unit.positions[:, None, :] + steps[None, :, :]) / np.asarray(cell)
    return Parent(
        name=unit.name,
        lattice=unit.lattice * np.asarray(cell)[:, None],
        positions=positions.reshape(-1, 3),
        elements=_repeat_per_cell(unit.elements, count),
        labels=_repeat_per_cell(unit.labels, count),
        wyckoff=_repeat_per_cell(unit.wyckoff, count),
        states=tuple(state for state in unit.states for _ in range(count)),
    )


def _repeat_per_cell(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Repeat each name `count` times, once for each unit cell."""
    return tuple(name for name in names for _ in range(count))


def _parent_from_prototype(name: str, primitive: bool) -> Parent:
    """Build the unit cell of a prototype, with guessed charges where it has none."""
    crystal = find_prototype(name)
    structure = crystal.build_structure(primitive=primitive)
    labels = tuple(structure.site_properties["label"])
    wyckoff = {site.label: site.wyckoff for site in crystal.sites}
    formal = {site.label: site.oxidation_state for site in crystal.sites}
    guessed = _guess_states(structure) if None in formal.values() else {}
    elements = tuple(site.specie.symbol for site in structure)
    states = tuple(
        guessed.get(element) if formal[label] is None else formal[label]
        for element, label in zip(elements, labels, strict=True)
    )
    wyckoffs = tuple(wyckoff[label] for label in labels)
    return Parent(name, structure.lattice.matrix, structure.frac_coords, elements, labels, wyckoffs, states)


@lru_cache(maxsize=16)
def read_parent_file(file: InputFile) -> Reading:
    """Read the structure in a parent's file, with remarks.

    Args:
        file: the file with its text.

    Raises:
        StructureFileError: it cannot be used; the message gives the reason.
    """
    reading = read_structure(file.text, file.name, alternatives=True)
    most = parent_atom_limit()
    if len(reading.ordered) > most:
        raise StructureFileError(
            f"{file.name} has {len(reading.structure)} atoms; the symmetry of at most {most} is searched. Give the primitive "
            f"cell, or set the environment variable {MAX_PARENT_ATOMS}"
        )
    return reading


def check_supercell_size(cells: int, atoms: int) -> None:
    """Refuse a supercell of more atoms than a parent may have.

    Args:
        cells: number of unit cells.
        atoms: number of atoms of a unit cell.

    Raises:
        InvdesignError: it is too large; the message names the limit.
    """
    most = parent_atom_limit()
    if cells * atoms > most:
        raise InvdesignError(
            f"{count_text(cells)} cells of {atoms} atoms are too large (limit {most} atoms); repeat "
            f"the cell less often, or set the environment variable {MAX_PARENT_ATOMS}"
        )


def parent_atom_limit() -> int:
    """Largest number of atoms of a parent or its file."""
    return int(read_positive_variable(MAX_PARENT_ATOMS, DEFAULT_PARENT_ATOMS))


def describe_structure_type(source: str | InputFile) -> str:
    """Name the structure type of a parent: `an anti-perovskite`.

    Args:
        source: prototype name, or a file, for which the answer is `its parent's structure`.
    """
    if not isinstance(source, str):
        return "its parent's structure"
    return find_prototype(source).called or f"the structure {source}"


def list_parent_remarks(source: str | InputFile) -> tuple[str, ...]:
    """List remarks on a parent's file or name.

    For a file they say how it was read, and which higher symmetry it nearly has.

    Args:
        source: prototype name, or the file.
    """
    if isinstance(source, str):
        name = FORMER_NAMES.get(source)
        return (f"the prototype '{source}' is called '{name}' now; write so in new files",) if name else ()
    return (*read_parent_file(source).remarks, *_describe_near_symmetry(source))


@lru_cache(maxsize=16)
def _describe_near_symmetry(file: InputFile) -> tuple[str, ...]:
    """Warn of a higher symmetry that the atoms miss slightly."""
    structure = read_parent_file(file).structure
    try:
        exact, loose = (
            symmetry_dataset(
                structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers, tolerance
            )
            for tolerance in (SYMPREC, NEAR_SYMMETRY_TOLERANCE)
        )
    except InvdesignError:  # at the looser tolerance sites may fall together
        return ()
    if len(loose.rotations) <= len(exact.rotations):
        return ()
    return (
        (
            f"{file.name}: the space group is {exact.international} within {SYMPREC:g} Å, and {loose.international} within "
            f"{NEAR_SYMMETRY_TOLERANCE:g} Å; candidates that are images of each other by the latter count as different. Give the "
            "symmetrised crystal if that is meant"
        ),
    )


def _parent_from_file(file: InputFile, primitive: bool) -> Parent:
    """Build the unit cell of a structure file, with guessed charges."""
    structure = read_parent_file(file).ordered
    if primitive and len(structure) > MAX_PRIMITIVE_SEARCH_ATOMS:
        raise StructureFileError(
            f"{file.name} has {len(structure)} atoms; a primitive cell is looked for among at most {MAX_PRIMITIVE_SEARCH_ATOMS}. Give the "
            "primitive cell itself, and leave out 'primitive'"
        )
    if primitive:
        structure = structure.get_primitive_structure()
    guessed = _guess_states(structure)
    elements = tuple(site.specie.symbol for site in structure)
    return Parent(
        name=file.name,
        lattice=structure.lattice.matrix,
        positions=structure.frac_coords,
        elements=elements,
        labels=tuple(str(site.label) for site in structure),
        wyckoff=_label_wyckoff_sites(structure, file.name),
        states=tuple(guessed.get(element) for element in elements),
    )


def _guess_states(structure: Structure) -> dict[str, float]:
    """Guess the mean charge of each element such that the composition balances.

    Empty if impossible.
    """
    counts, _ = scale_to_whole_counts(structure.composition.get_el_amt_dict())
    balance = balance_charges(counts) if len(counts) > 1 else None
    if balance is not None and not balance.imbalance:
        return {element: float(state) for element, state in balance.states.items()}
    if not _is_guessable(structure):
        return {}
    try:
        guesses = structure.composition.oxi_state_guesses(max_sites=-MAX_GUESSED_ATOMS)
    except ValueError:  # the reduced formula is larger than that
        return {}
    return {str(element): float(state) for element, state in guesses[0].items()} if guesses else {}


def _is_guessable(structure: Structure) -> bool:
    """True if charges have few enough combinations.

    All of them would be tried by pymatgen.
    """
    from pymatgen.core import Element

    ways, combinations = 0, 1
    for symbol, amount in structure.composition.reduced_composition.get_el_amt_dict().items():
        states = Element(symbol).icsd_oxidation_states or Element(symbol).common_oxidation_states or (0,)
        arrangements = math.comb(round(amount) + len(states) - 1, len(states) - 1)
        ways += arrangements
        combinations *= min(arrangements, round(amount) * (max(states) - min(states)) + 1)
    return ways <= MAX_CHARGE_GUESSES and combinations <= MAX_CHARGE_GUESSES


def _label_wyckoff_sites(structure: Structure, name: str) -> tuple[str, ...]:
    """Label each site by its Wyckoff site.

    The multiplicity is that in the conventional cell.
    """
    try:
        dataset = symmetry_dataset(structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    except InvdesignError as error:
        raise InvdesignError(f"{name}: {error}") from error
    orbits = np.asarray(dataset.crystallographic_orbits)
    ratio = len(dataset.std_types) / len(structure)
    counts = [round(float(np.sum(orbits == orbit)) * ratio) for orbit in orbits]
    return tuple(f"{count}{letter}" for count, letter in zip(counts, dataset.wyckoffs, strict=True))


def _load_source(value: object, info: ValidationInfo) -> object:
    """Load a file from its path; keep a prototype's name."""
    if not isinstance(value, str) or value in list_prototype_names():
        return value
    path = Path(value)
    if is_structure_name(path.name) or "/" in value:
        return InputFile.model_validate(value, context=info.context)
    try:
        find_prototype(value)
    except InvdesignError as error:
        raise ValueError(
            f"{error} A structure of your own is given by its file, with .cif or the like."
        ) from error
    return value


def _check_readable(source: str | InputFile) -> str | InputFile:
    """Refuse a source without a readable structure."""
    try:
        build_parent(source, (1, 1, 1), primitive=False)
    except InvdesignError as error:
        raise ValueError(str(error)) from error
    return source


ParentSource = Annotated[str | InputFile, BeforeValidator(_load_source), AfterValidator(_check_readable)]
"""A field that names a crystal: a prototype, or a structure file."""
