"""Validity of generated crystals: distances of atoms, and charges of compositions."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.structures.charges import is_alloy, scale_to_whole_counts
from invdesign.structures.neutrality import balance_charges

if TYPE_CHECKING:
    from pymatgen.core import Structure

OVERLAP = 0.5  # Å, CDVAE's shortest distance
CLOSE = 1.0  # Å; no pair of atoms but those with hydrogen is nearer in any crystal
LEAST_VOLUME = 0.1  # Å3 of the cell, CDVAE's limit
SPARSEST = 1000.0  # Å3 per atom, above which pymatgen would seek neighbours and lattice points without end; caesium has 117 (chosen)
MAX_COMBINATIONS = (
    2_000_000  # of oxidation states before a composition counts as invalid (chosen; 8 elements of 6 states)
)
Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Validity:
    """Validity of one crystal.

    Attributes:
        distance: shortest distance between two atoms, Å; infinite above `CLOSE`, 0 where the cell or the sites are no crystal.
        smact: True if the composition passes the rule of CDVAE.
        neutral: True if the composition passes the rule of this package.
    """

    distance: float
    smact: bool
    neutral: bool

    @property
    def structure(self) -> bool:
        """True if no two atoms overlap."""
        return self.distance >= OVERLAP

    @property
    def spaced(self) -> bool:
        """True if no two atoms are closer than 1 Å."""
        return self.distance >= CLOSE

    @property
    def both(self) -> bool:
        """True if structure and composition are valid, as in CDVAE."""
        return self.structure and self.smact


def check_validity(structure: Structure) -> Validity:
    """Check distances and composition of a crystal.

    Source:
        Xie et al., ICLR 2022 (arXiv:2110.06197): no distance below 0.5 Å, cell of 0.1 Å3 or more, and the rules of SMACT.
    """
    if not len(structure) or not structure.is_ordered:
        return Validity(0.0, smact=False, neutral=False)
    counts = structure.composition.get_el_amt_dict()
    return Validity(find_shortest_distance(structure), passes_smact(counts), is_neutral(counts))


def find_shortest_distance(structure: Structure, limit: float = CLOSE) -> float:
    """Shortest distance between two atoms, images included.

    CDVAE leaves out an atom's own images; here a cell shorter than the limit is invalid too.

    Args:
        structure: crystal.
        limit: Å; distances above it are not sought.

    Returns:
        Å; infinite above the limit, 0 where the cell is not finite or smaller than 0.1 Å3.
    """
    cell = np.asarray(structure.lattice.matrix, dtype=np.float64)
    if not np.isfinite(cell).all() or not np.isfinite(structure.frac_coords).all():
        return 0.0
    if abs(np.linalg.det(cell)) < LEAST_VOLUME:
        return 0.0
    apart = structure.distance_matrix[np.triu_indices(len(structure), 1)]
    # An atom's own images are a lattice vector away; a reduced cell has the shortest one as an edge.
    shortest = min([*structure.lattice.get_lll_reduced_lattice().abc, *apart.tolist()])
    return float(shortest) if shortest <= limit else math.inf


def passes_smact(counts: Mapping[str, float]) -> bool:
    """True if a composition passes the charge rule that CDVAE took from SMACT.

    Elements pass, and so do compositions of metals alone. Others need one oxidation state for each element, from the list of
    SMACT 2.5.5, with which the charges cancel and no cation is as electronegative as an anion. The list matters: later ones are
    shorter. That of SMACT 2.2.1, which CDVAE used, lacks Ir(-3) alone.

    Args:
        counts: atoms by element symbol.

    Source:
        Davies et al., Chem 1, 617 (2016); Xie et al., ICLR 2022, `smact_validity`.
    """
    whole, _ = scale_to_whole_counts(counts)
    common = math.gcd(*whole.values())
    return _passes_smact(tuple(sorted((name, n // common) for name, n in whole.items())))


@lru_cache(maxsize=100_000)
def _passes_smact(counts: Counts) -> bool:
    """Apply the rule to counts without a common divisor."""
    table = _load_smact()
    names = [name for name, _ in counts]
    if len(names) == 1 or table.metals.issuperset(names):
        return True
    if not table.states.keys() >= set(names):
        return False
    # CDVAE takes elements by atomic number; the order decides where an electronegativity is unknown.
    counts = tuple(sorted(counts, key=lambda pair: table.order[pair[0]]))
    states = [table.states[name] for name, _ in counts]
    if math.prod(map(len, states)) > MAX_COMBINATIONS:
        return False
    scale = [n for _, n in counts]
    strengths = [table.electronegativities[name] for name, _ in counts]
    return any(
        sum(n * charge for n, charge in zip(scale, charges, strict=True)) == 0
        and _is_ordered(charges, strengths)
        for charges in itertools.product(*states)
    )


def _is_ordered(charges: Sequence[int], strengths: Sequence[float | None]) -> bool:
    """True if all anions are more electronegative than all cations.

    An element without a value spoils a composition where SMACT compares it in vain, and passes where SMACT fails to compare it:
    CDVAE takes that failure for a pass.
    """
    for (one, first), (other, second) in itertools.combinations(zip(charges, strengths, strict=True), 2):
        if one * other < 0:
            if first is None or second is None:
                return True
            if (first - second) * one >= 0:
                return False
        elif first is None or second is None:
            return False
    return True


def is_neutral(counts: Mapping[str, float]) -> bool:
    """True if a composition is an element, an alloy, or balances its charges by this package's own rule.

    Args:
        counts: atoms by element symbol.
    """
    whole, _ = scale_to_whole_counts(counts)
    try:
        return len(whole) == 1 or is_alloy(whole) or balance_charges(whole).imbalance == 0
    except (ValueError, InvdesignError):
        return False  # an element without known oxidation states, such as neon


@dataclass(frozen=True)
class _SmactTable:
    """Data of SMACT: atomic numbers, oxidation states and electronegativities by element, and its metals."""

    order: Mapping[str, int]
    states: Mapping[str, Sequence[int]]
    electronegativities: Mapping[str, float | None]
    metals: frozenset[str]


@cache
def _load_smact() -> _SmactTable:
    """Load the table of SMACT 2.5.5."""
    text = (files("invdesign.generators.metrics") / "data" / "smact.json").read_text(encoding="utf-8")
    entry = json.loads(text)
    return _SmactTable(
        {name: number for number, name in enumerate(entry["elements"], 1)},
        {name: tuple(states) for name, (states, _) in entry["elements"].items()},
        {name: value for name, (_, value) in entry["elements"].items()},
        frozenset(entry["metals"]),
    )
