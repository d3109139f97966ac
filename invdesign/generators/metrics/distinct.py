"""Crystals that are one structure: unique ones among samples, new ones beside known ones, matches of formulas.

Only crystals of one reduced formula and one number of atoms in the primitive cell are compared, since pymatgen's
`StructureMatcher` finds no others equal. Each is reduced to its primitive Niggli cell once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.generators.metrics.intervals import Figure, measure_share
from invdesign.generators.metrics.validity import SPARSEST
from invdesign.structures.framework_labels import label_orbits, read_orbits

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

STRICT: Mapping[str, float] = MappingProxyType({"ltol": 0.2, "stol": 0.3, "angle_tol": 5.0})
"""Tolerances for uniqueness and novelty: the defaults of pymatgen, also those of MatterGen's evaluation."""
LOOSE: Mapping[str, float] = MappingProxyType({"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0})
"""Tolerances for match rates, those of CDVAE and DiffCSP."""
TRIES = (
    1,
    5,
    20,
)  # proposals per formula after which a match rate is stated, as in DiffCSP and the benchmark here
MAX_ASPECT = (
    30.0  # ratio of edges of a reduced cell, above which pymatgen would try too many mappings (chosen)
)
# Of cells that pymatgen cannot reduce or map: no lattice points in reach, singular matrices, no result after many steps.
UNMATCHED = (ValueError, IndexError, ZeroDivisionError, RuntimeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Space group and framework of a crystal.

    Attributes:
        number: of the space group; 0 where none was found.
        label: of the framework; empty where none was found.
    """

    number: int
    label: str


NO_SYMMETRY = Symmetry(0, "")


def find_symmetries(structures: Sequence[Structure]) -> list[Symmetry]:
    """Find the space groups and frameworks of crystals, at a tolerance of 0.1 Å; 6 ms each."""
    return [_find_symmetry(structure) for structure in structures]


def _find_symmetry(structure: Structure) -> Symmetry:
    """Find space group and framework; `NO_SYMMETRY` where spglib finds none."""
    try:
        number, letters = read_orbits(structure)
    except InvdesignError:
        return NO_SYMMETRY
    return Symmetry(number, label_orbits(number, letters.values()))


class Matcher:
    """Comparison of crystals that reduces each of them once.

    Attributes:
        failures: crystals that pymatgen could not reduce, and comparisons it could not make; they count as no match.
    """

    def __init__(self, tolerances: Mapping[str, float] = STRICT) -> None:
        self.tolerances = tolerances
        self.failures = 0
        self._reduced: dict[int, tuple[Structure, Structure | None]] = {}

    @cached_property
    def _matcher(self) -> StructureMatcher:
        from pymatgen.analysis.structure_matcher import StructureMatcher

        return StructureMatcher(**self.tolerances)

    def is_same(self, one: Structure, other: Structure) -> bool:
        """True if two crystals match."""
        first, second = self._reduce(one), self._reduce(other)
        if first is None or second is None or len(first) != len(second):
            return False
        try:
            return bool(self._matcher.fit(first, second, skip_structure_reduction=True))
        except UNMATCHED:
            self.failures += 1
            return False

    def find_match(self, structure: Structure, others: Sequence[Structure]) -> int | None:
        """Place of the first of some crystals that matches, or None."""
        return next((place for place, other in enumerate(others) if self.is_same(structure, other)), None)

    def _reduce(self, structure: Structure) -> Structure | None:
        """Reduce a crystal to its primitive Niggli cell, once; None where pymatgen cannot."""
        known = self._reduced.get(id(structure))
        if known is None:
            # The crystal is kept with its reduced form: its id is not given to another one meanwhile.
            known = self._reduced[id(structure)] = (structure, self._find_reduced(structure))
        return known[1]

    def _find_reduced(self, structure: Structure) -> Structure | None:
        """Reduce a crystal; count a failure where pymatgen cannot, or its cell is too large or too long and thin."""
        try:
            if structure.volume <= SPARSEST * len(structure):
                primitive = structure.get_primitive_structure()
                edges = primitive.lattice.get_lll_reduced_lattice().abc
                if max(edges) <= MAX_ASPECT * min(edges):
                    return primitive.get_reduced_structure(reduction_algo="niggli")
        except UNMATCHED:
            pass
        self.failures += 1
        return None


@dataclass(frozen=True)
class KnownCrystals:
    """Crystals that a generator learned from, ready for comparison.

    Attributes:
        structures: the crystals.
        symmetries: of each, found at first use where they are not given.
    """

    structures: Sequence[Structure]
    given: Sequence[Symmetry] | None = field(default=None, repr=False)

    @cached_property
    def symmetries(self) -> Sequence[Symmetry]:
        """Space groups and frameworks, in order."""
        return find_symmetries(self.structures) if self.given is None else self.given

    @cached_property
    def frameworks(self) -> frozenset[str]:
        """Labels of their frameworks."""
        return frozenset(found.label for found in self.symmetries if found.label)

    @cached_property
    def by_formula(self) -> Mapping[str, Sequence[Structure]]:
        """Crystals by reduced formula."""
        return group_by_formula(self.structures)


def group_by_formula(structures: Sequence[Structure]) -> dict[str, list[Structure]]:
    """Group crystals by reduced formula."""
    groups: dict[str, list[Structure]] = defaultdict(list)
    for structure in structures:
        groups[structure.composition.reduced_formula].append(structure)
    return dict(groups)


def find_unique(structures: Sequence[Structure], matcher: Matcher) -> BoolArray:
    """Mark crystals that match none before them, shape (n,).

    Args:
        structures: n crystals.
        matcher: usually of the `STRICT` tolerances.
    """
    kept: dict[str, list[Structure]] = defaultdict(list)
    unique = np.zeros(len(structures), dtype=np.bool_)
    for place, structure in enumerate(structures):
        earlier = kept[structure.composition.reduced_formula]
        if matcher.find_match(structure, earlier) is None:
            earlier.append(structure)
            unique[place] = True
    return unique


def find_new(structures: Sequence[Structure], known: KnownCrystals, matcher: Matcher) -> BoolArray:
    """Mark crystals that match none of the known ones, shape (n,).

    Args:
        structures: n crystals.
        known: crystals that the generator learned from.
        matcher: usually of the `STRICT` tolerances.
    """
    return np.array(
        [
            matcher.find_match(structure, known.by_formula.get(structure.composition.reduced_formula, ()))
            is None
            for structure in structures
        ],
        dtype=np.bool_,
    )


@dataclass(frozen=True, slots=True)
class MatchRates:
    """Shares of formulas whose known structure was proposed.

    Attributes:
        rates: by number of tries, %.
        first: per formula the try that matched first, from 1; 0 where none did.
        failures: comparisons that pymatgen could not make.
    """

    rates: Mapping[int, Figure]
    first: IntArray
    failures: int


def match_at_k(
    proposals: Sequence[Sequence[Structure]],
    targets: Sequence[Sequence[Structure]],
    ks: Sequence[int] = TRIES,
    tolerances: Mapping[str, float] = LOOSE,
) -> MatchRates:
    """Share of formulas for which one of the first k proposals matches a known polymorph.

    A formula with fewer than k proposals is judged by those it has, and one without any counts as missed.

    Args:
        proposals: crystals per formula, best first.
        targets: known polymorphs per formula.
        ks: numbers of tries.
        tolerances: of pymatgen's `StructureMatcher`.

    Raises:
        InvdesignError: the two sequences are not of one length, or a formula has no target.

    Source:
        Jiao et al., NeurIPS 2023 (DiffCSP, arXiv:2309.04475): match rate with one and twenty samples.
    """
    if len(proposals) != len(targets):
        raise InvdesignError(
            f"proposals for {len(proposals)} formulas and targets for {len(targets)}: give one list each"
        )
    missing = [place for place, known in enumerate(targets) if not known]
    if missing:
        raise InvdesignError(f"formula number {missing[0]} has no known structure to match; leave it out")
    first = np.zeros(len(targets), dtype=np.int64)
    failures = 0
    for place, (tried, known) in enumerate(zip(proposals, targets, strict=True)):
        matcher = Matcher(tolerances)
        by_formula = group_by_formula(known)
        for k, structure in enumerate(tried[: max(ks)], 1):
            if (
                matcher.find_match(structure, by_formula.get(structure.composition.reduced_formula, ()))
                is not None
            ):
                first[place] = k
                break
        failures += matcher.failures
    rates = {k: measure_share(int(((first > 0) & (first <= k)).sum()), len(first)) for k in ks}
    return MatchRates(rates, first, failures)
