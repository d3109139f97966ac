"""Frameworks derived from those of other ratios: an element on several slots, or two elements on one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb, gcd

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.generators.prototypes.candidates import Candidate, assign_elements
from invdesign.generators.prototypes.library import Family, Library, Template, atomic_numbers
from invdesign.generators.prototypes.ranking import ElementScale
from invdesign.protocols import Condition
from invdesign.structures.geometry import Crystal
from invdesign.structures.sites import find_sites
from invdesign.structures.symmetry import site_permutations

# Logarithms of how much less likely a derived framework is than a known one of the same score; chosen on formulas held out of the
# data to learn from.
MERGED_PENALTY = 3.0
SPLIT_PENALTY = 3.0
DISLIKE = (
    0.5  # weight of the distance of two elements on one slot, in that of a slot (chosen on the same formulas)
)
MAX_DERIVED = 12  # templates of each kind (chosen)
MAX_ORDERINGS = 4  # orderings of two elements on one slot, of one template (chosen)
MAX_ARRANGEMENTS = 1_000  # ways to place two elements on a slot that are looked through (chosen)
MAX_MULTIPLE = 2  # formula units whose atoms are divided over one slot more (chosen)

Amounts = list[tuple[str, int]]


@dataclass(frozen=True, eq=False)
class Parent:
    """A template for a formula of other ratios.

    Attributes:
        score: as of any template, less the penalty.
        family: of the template.
        row, order: of the template in its family.
        symbols: in the order of the family's ratios.
    """

    score: float
    family: Family
    row: int
    order: int
    symbols: tuple[str, ...]

    @property
    def template(self) -> Template:
        return self.family.templates[self.row]

    @cached_property
    def atoms(self) -> tuple[str, ...]:
        """Symbols in the order of the template's atoms."""
        elements = assign_elements(self.family, self.row, self.order, self.symbols)
        return tuple(elements[kind] for kind in self.template.sited.crystal.species.tolist())


def list_derived(
    condition: Condition, library: Library, scale: ElementScale, normaliser: float
) -> Iterator[Candidate]:
    """Iterate over candidates with derived frameworks.

    Args:
        condition: with a formula.
        library: known crystals.
        scale: of the elements.
        normaliser: logarithm of the sum of the votes of known frameworks.
    """
    formula = list(condition.formula)
    for parent in _list_merged(formula, library, scale):
        crystal = parent.template.sited.crystal
        yield from _make_candidate(parent, crystal, parent.atoms, parent.score - normaliser, condition, scale)
    for parent, mixed in _list_split(formula, library, scale):
        for place, (crystal, atoms) in enumerate(_order_elements(parent, mixed)):
            score = parent.score - normaliser - float(np.log1p(place))
            yield from _make_candidate(parent, crystal, atoms, score, condition, scale)


def _make_candidate(
    parent: Parent,
    crystal: Crystal,
    atoms: Sequence[str],
    score: float,
    condition: Condition,
    scale: ElementScale,
) -> Iterator[Candidate]:
    """Make the candidate of a template with other atoms, if the condition allows its size and space group.

    Args:
        parent: the template.
        crystal: its cell, or repeats of it, with n atoms.
        atoms: n symbols, in the order of the crystal's atoms.
        score: logarithm of its probability.
        condition: to be kept.
        scale: of the elements.
    """
    names = tuple(sorted(set(atoms)))
    known = parent.template
    repeats = len(atoms) / sum(known.counts)
    before = repeats * scale.estimate_volume(dict(zip(known.elements, known.counts, strict=True)))
    stretch = (scale.estimate_volume(Counter(atoms)) / before) ** (1.0 / 3.0)
    try:
        sited = find_sites(crystal.cell * stretch, crystal.positions, [names.index(name) for name in atoms])
    except InvdesignError:  # atoms of a changed cell may overlap
        return
    template = Template(names, sited, known.source, known.e_above_hull)
    size, group = sum(template.counts), sited.combination.group
    if condition.allows_atoms(size) and condition.allows_group(group):
        yield Candidate(template, names, score, derived_from=known.formula)


def _list_merged(formula: Amounts, library: Library, scale: ElementScale) -> list[Parent]:
    """List templates with one slot more, two of which take the same element, the best first."""
    found: list[Parent] = []
    for place, (name, count) in enumerate(formula):
        rest = [entry for other, entry in enumerate(formula) if other != place]
        for multiple in range(1, MAX_MULTIPLE + 1):
            for part in range(1, count * multiple // 2 + 1):
                amounts = [(other, n * multiple) for other, n in rest]
                amounts += [(name, part), (name, count * multiple - part)]
                if gcd(*(n for _, n in amounts)) == 1:
                    found += _score_parents(amounts, library, scale, MERGED_PENALTY)
    return sorted(found, key=lambda parent: -parent.score)[:MAX_DERIVED]


def _list_split(
    formula: Amounts, library: Library, scale: ElementScale
) -> list[tuple[Parent, tuple[tuple[str, int], tuple[str, int]]]]:
    """List templates with one slot less, which two elements share, the best first.

    The first of the two elements stands for both in the parent's symbols.
    """
    found = []
    for first, second in itertools.combinations(formula, 2):
        rest = [entry for entry in formula if entry not in (first, second)]
        if not rest:
            continue
        raw = [*rest, (first[0], first[1] + second[1])]
        common = gcd(*(n for _, n in raw))
        amounts = [(name, n // common) for name, n in raw]
        numbers = atomic_numbers()
        apart = scale.apart[numbers[first[0]], numbers[second[0]]]
        penalty = SPLIT_PENALTY + DISLIKE * scale.scale * float(apart)
        parents = _score_parents(amounts, library, scale, penalty, {first[0]: [first, second]})
        found += [(parent, (first, second)) for parent in parents]
    return sorted(found, key=lambda entry: -entry[0].score)[:MAX_DERIVED]


def _score_parents(
    amounts: Amounts,
    library: Library,
    scale: ElementScale,
    penalty: float,
    mixed: Mapping[str, Amounts] | None = None,
) -> list[Parent]:
    """Score the templates of other ratios; the best `MAX_DERIVED`.

    Args:
        amounts: symbols with their numbers in the ratios of the templates.
        library: known crystals.
        scale: of the elements.
        penalty: taken off the scores.
        mixed: elements that share a slot, by the symbol that stands for them: the scores are means over them.
    """
    family = library.find_family(n for _, n in amounts)
    if family is None:
        return []
    symbols = tuple(name for name, _ in sorted(amounts, key=lambda entry: (entry[1], entry[0])))
    numbers = atomic_numbers()
    scores: FloatArray = np.zeros(family.frameworks.shape)
    names: Mapping[str, Amounts] = mixed or {symbols[0]: [(symbols[0], 1)]}
    for stand_in, members in names.items():
        total = sum(count for _, count in members)
        for name, count in members:
            target = [numbers[name if symbol == stand_in else symbol] for symbol in symbols]
            scores = scores + count / total * scale.score_templates(np.array(target), family)
    flat = scores.ravel()
    best = np.argsort(-flat, kind="stable")[:MAX_DERIVED].tolist()
    places = [divmod(place, len(family.orders)) for place in best]
    return [Parent(float(scores[row, order]) - penalty, family, row, order, symbols) for row, order in places]


def _order_elements(
    parent: Parent, mixed: tuple[tuple[str, int], tuple[str, int]]
) -> Iterator[tuple[Crystal, list[str]]]:
    """Iterate over orderings of two elements on a slot of a template, as (cell with positions, symbols).

    Where the atoms of the primitive cell cannot be divided, it is repeated along one axis.
    """
    (first, n_first), (second, n_second) = mixed
    crystal, symbols = parent.template.sited.crystal, parent.atoms
    sites = sum(name == first for name in symbols)
    repeats = (n_first + n_second) // gcd(sites * n_first, n_first + n_second)
    if comb(repeats * sites, repeats * sites * n_first // (n_first + n_second)) > MAX_ARRANGEMENTS:
        return
    for axis in range(3 if repeats > 1 else 1):
        cell, atoms = _repeat_atoms(crystal, symbols, axis, repeats)
        yield from _order_cell(cell, atoms, (first, n_first), (second, n_second))


def _repeat_atoms(
    crystal: Crystal, symbols: Sequence[str], axis: int, repeats: int
) -> tuple[Crystal, list[str]]:
    """Repeat a cell along an axis; the species of the result are of no meaning."""
    stretched = crystal.cell.copy()
    stretched[axis] *= repeats
    positions = np.repeat(crystal.positions, repeats, axis=0)
    positions[:, axis] = (positions[:, axis] + np.tile(np.arange(repeats), len(crystal))) / repeats
    atoms = [name for name in symbols for _ in range(repeats)]
    return Crystal(stretched, np.arange(len(atoms)), positions), atoms


def _order_cell(
    crystal: Crystal, symbols: Sequence[str], first: tuple[str, int], second: tuple[str, int]
) -> Iterator[tuple[Crystal, list[str]]]:
    """Iterate over orderings of two elements in one cell, the most symmetric first."""
    sites = [atom for atom, name in enumerate(symbols) if name == first[0]]
    wanted = len(sites) * first[1] // (first[1] + second[1])
    try:
        permutations = site_permutations(crystal.cell, crystal.positions, symbols, sites)
    except InvdesignError:
        return
    for chosen in _list_orderings(len(sites), wanted, permutations)[:MAX_ORDERINGS]:
        ordered = list(symbols)
        for place, atom in enumerate(sites):
            ordered[atom] = first[0] if place in chosen else second[0]
        yield crystal, ordered


def _list_orderings(size: int, wanted: int, permutations: IntArray) -> list[frozenset[int]]:
    """List choices of `wanted` of `size` sites that no permutation (g, size) maps onto each other, the most symmetric first."""
    weights = 1 << np.arange(size)
    seen: set[int] = set()
    found = []
    for chosen in itertools.combinations(range(size), wanted):
        mask = np.zeros(size, dtype=np.int64)
        mask[list(chosen)] = 1
        codes = mask[permutations] @ weights
        smallest = int(codes.min())
        if smallest not in seen:
            seen.add(smallest)
            found.append((-int((codes == mask @ weights).sum()), frozenset(chosen)))
    return [chosen for _, chosen in sorted(found, key=lambda entry: entry[0])]
