"""Energies of reference structures: relaxed once per process, potential and settings, not once per candidate."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from invdesign.rng import rng_for
from invdesign.structures.formulas import write_formula
from surrogates.relaxation.descent import FreeCell
from surrogates.relaxation.relax import relax_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

T = TypeVar("T")

# Of lattices (Å) and fractions in keys; chosen: rounding of files and of transport between processes is below, and no energy
# changes by it.
KEY_DECIMALS = 8
MAX_REFERENCES = 512  # kept per process, those used last; chosen: some 10 MB


class ReferenceStructureError(InvdesignError):
    """A reference structure has no energy; the message names the structure, the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """Relaxation of reference structures.

    Attributes:
        cell: freedom of the cell: all of it, none, or `normal`, at fixed a and b.
        fmax: largest force left, eV/Å.
        smax: largest stress component left, GPa; ignored for a fixed cell.
        steps: most moves.
        rattle: Å, standard deviation of displacements of the start, the same in every process; they leave symmetric places above a
            minimum.
    """

    cell: FreeCell
    fmax: float = 0.05
    smax: float = 0.1
    steps: int = 500
    rattle: float = 0.0


@dataclass(frozen=True, slots=True)
class Reference:
    """A relaxed reference structure.

    Attributes:
        structure: relaxed, sites in their given order, without labels.
        energy: eV, whole cell.
        calls: evaluations of the potential that it took, when it was relaxed.
    """

    structure: Structure
    energy: float
    calls: int

    @property
    def energy_per_atom(self) -> float:
        """eV/atom."""
        return self.energy / len(self.structure)


class Memory(Generic[T]):
    """Results of this process by key, of which those used last are kept.

    Args:
        most: results that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[str, T] = OrderedDict()

    def recall(self, key: str, compute: Callable[[], T]) -> T:
        """Return the result of a `key`, computed by `compute` where it is not there."""
        if key not in self._found:
            self._found[key] = compute()
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]

    def clear(self) -> None:
        """Forget all results."""
        self._found.clear()


_FOUND: Memory[Reference | str] = Memory(MAX_REFERENCES)  # a string is the reason of one that has none


def relax_reference(
    structure: Structure, potential: Potential, treatment: Treatment, name: str = "the reference"
) -> Reference:
    """Relax a reference structure, or return what this process found before.

    The result depends on the structure (rounded to 1e-8), the potential and the treatment alone, so it is the same in every process.
    A reference that fails is not tried again.

    Args:
        structure: ordered; labels of its sites do not matter.
        potential: of all energies it is compared with.
        treatment: freedom of the cell, and limits.
        name: name of the structure in messages: `the bulk of the film`.

    Raises:
        ReferenceStructureError: the relaxation ran away or did not end, or the potential has no answer.
    """
    rounded = _round_structure(structure, name)
    key = hash_reference(rounded, potential, repr(treatment))
    found = _FOUND.recall(key, lambda: _relax(rounded, potential, treatment))
    if isinstance(found, str):
        raise ReferenceStructureError(
            f"{name} ({write_formula(structure.composition)}, {len(structure)} atoms) has no energy: {found}"
        )
    return found


def forget_references() -> None:
    """Empty the cache of this process, as for measurements of time."""
    _FOUND.clear()


def _relax(structure: Structure, potential: Potential, treatment: Treatment) -> Reference | str:
    """Relax a structure; return the reason instead if that fails."""
    from pymatgen.core import Structure

    start = structure
    if treatment.rattle:
        moves = rng_for(0, 0, "reference structures").normal(0.0, treatment.rattle, (len(structure), 3))
        start = Structure(
            structure.lattice, structure.species, structure.cart_coords + moves, coords_are_cartesian=True
        )
    try:
        found = relax_structure(
            start,
            potential,
            fmax=treatment.fmax,
            smax=treatment.smax,
            steps=treatment.steps,
            cell=treatment.cell,
        )
    except InvdesignError as error:
        return str(error)
    if not found.converged:
        stress = f", {found.max_stress:.2g} GPa (limit {treatment.smax:g})" if treatment.cell else ""
        return (
            f"it is not relaxed after {found.steps} steps: {found.max_force:.2g} eV/Å (limit {treatment.fmax:g}){stress} left; "
            "raise 'steps' or 'fmax' of this evaluator"
        )
    return Reference(found.structure, found.energy, found.calls)


def _round_structure(structure: Structure, name: str) -> Structure:
    """Copy a structure with rounded numbers and without labels."""
    from pymatgen.core import Structure

    if not structure.is_ordered:
        raise ReferenceStructureError(
            f"{name} ({write_formula(structure.composition)}) has partly occupied sites, and a potential needs whole atoms: give an "
            "ordered occupation of them"
        )
    lattice = np.round(structure.lattice.matrix, KEY_DECIMALS) + 0.0  # no -0.0, whose bytes differ
    fractions = np.round(structure.frac_coords, KEY_DECIMALS) + 0.0
    return Structure(lattice, [site.specie.symbol for site in structure], fractions)


def hash_reference(structure: Structure, potential: Potential, settings: str) -> str:
    """Hash of a structure, a potential and settings, for results that are kept.

    Args:
        structure: ordered; every digit counts, labels do not.
        potential: of the energies.
        settings: all else that the result depends on.
    """
    symbols = " ".join(site.specie.symbol for site in structure)
    words = f"{potential.fingerprint}|{settings}|{symbols}|"
    numbers = np.concatenate([structure.lattice.matrix.ravel(), structure.frac_coords.ravel()])
    return hashlib.blake2b(words.encode() + numbers.astype("<f8").tobytes(), digest_size=16).hexdigest()
