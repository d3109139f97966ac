"""Comparison of a crystal before and after a relaxation: displacements, polyhedra, covalent units, regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.charges import assign_oxidation_states
from invdesign.structures.formulas import write_formula
from surrogates.relaxation.bonding import (
    Bond,
    Ions,
    Neighbour,
    choose_centres,
    count_neighbours,
    find_covalent_bonds,
    has_same_neighbours,
    join_units,
    make_ions,
    select_bonds,
    select_neighbours,
    weigh_neighbours,
)
from surrogates.relaxation.matching import Match, match_sites, match_structures
from surrogates.relaxation.regions import (
    Polyanions,
    Rule,
    Sites,
    Slabs,
    compare_polyanions,
    compare_slabs,
    describe_pairs,
    find_isolated,
    make_rule,
    read_sites,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å. Chosen: above the noise of relaxations and of rattled starts, below most distortions (as for parents).
SYMPREC = 0.1
# Å. Chosen: starts rattled by 0.05 Å are within it of their undisplaced structure. Shown, never judged.
LOOSE_SYMPREC = 0.5
LAST_MONOCLINIC = 15  # last space group of the two systems in which rattled starts are found within SYMPREC


@dataclass(frozen=True, slots=True)
class Polyhedron:
    """An ion with its neighbours before.

    Attributes:
        element: of the ion.
        size: number of neighbours it had.
        kept: True if it has the same ones after, and no others.
    """

    element: str
    size: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """An ion that is not judged, with its neighbours before and after.

    Attributes:
        element: of the ion.
        around: elements of its neighbours before.
        size: number of neighbours it had.
        stayed: number of these that it still has.
        gained: number of new neighbours.
    """

    element: str
    around: frozenset[str]
    size: int
    stayed: int
    gained: int

    @property
    def changed(self) -> bool:
        """True if a neighbour was lost or gained."""
        return self.stayed < self.size or self.gained > 0


@dataclass(frozen=True, slots=True)
class Regions:
    """Comparison by side and region.

    Attributes:
        polyanions: whole units before and after.
        slabs: changes of the two sides of an interface; None for a defect.
        isolated: number of atoms without contact to a slab.
        disorder: Å, root mean square displacement of the inner atoms, the largest of a side; 0 where there are none.
        outside: new bonds between anions outside the sites that are judged, in words.
        dimers: number of new bonds between anions anywhere.
    """

    polyanions: Polyanions
    slabs: Slabs | None
    isolated: int
    disorder: float
    dimers: int
    outside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegionRequest:
    """Comparison by regions that is asked for.

    Attributes:
        interface: True for the two sides of an interface, False for a host and a defect.
        intact: crystals whose polyanions are whole; the structure before where there are none.
    """

    interface: bool
    intact: tuple[Structure, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A crystal before and after a relaxation.

    Attributes:
        displacement: Å, the largest of a site, without drift and strain; of the host's sites where a working ion is named.
        farthest: element of that site.
        ion_displacement: Å, the largest of a working ion's site; 0 where none is named.
        volume_change: %.
        polyhedra: those that define the structure.
        others: the other ions of the same sign of charge, so that every bond is seen from one of its ends.
        units: formula of each covalent unit before, and True if it is there after with the same members.
        pairs: new bonds between anions, as `S-S`, with their length in Å.
        groups: international symbols of the space groups before and after; `?` where none was found.
        numbers: of these space groups; 0 where none was found.
        regions: comparison by side, where it was asked for; then polyhedra, units, pairs and displacement are those of the
            sites that are judged (`regions.Sites.judged`), and units are named by their centre and kept if they are whole.
        intended: symbol of the space group within LOOSE_SYMPREC of a triclinic or monoclinic start: without its
            small random displacements.
    """

    displacement: float
    farthest: str
    volume_change: float
    polyhedra: tuple[Polyhedron, ...]
    others: tuple[Surroundings, ...]
    units: tuple[tuple[str, bool], ...]
    pairs: tuple[tuple[str, float], ...]
    groups: tuple[str, str]
    numbers: tuple[int, int]
    intended: str
    ion_displacement: float = 0.0
    regions: Regions | None = None

    @property
    def coordination_kept(self) -> float:
        """Share of the polyhedra that are kept; 1 if there are none."""
        return _share_kept([item.kept for item in self.polyhedra])

    @property
    def units_kept(self) -> float:
        """Share of the covalent units that are kept; 1 if there are none."""
        return _share_kept([kept for _, kept in self.units])


def _share_kept(kept: Sequence[bool]) -> float:
    return sum(kept) / len(kept) if kept else 1.0


def compare_structures(
    before: Structure,
    after: Structure,
    sites: Sequence[str] = (),
    symprec: float = SYMPREC,
    working_ion: str | None = None,
    regions: RegionRequest | None = None,
) -> Comparison:
    """Compare a crystal before and after a relaxation.

    Args:
        before: ordered.
        after: the same atoms; their order, origin and setting of the cell may differ.
        sites: elements, or labels of sites where the structure before carries them, whose polyhedra are
            compared; the framework's (`bonding.choose_centres`) where none are named.
        symprec: Å, for the space groups.
        working_ion: element whose displacements are told apart from those of the host.
        regions: to compare by side too; the structure before carries labels of its sites.

    Raises:
        DifferentCrystalsError: they hold different atoms.
        RegionError: the labels do not allow a comparison by regions.
        ValueError: a site that is named is not there, or nothing but the working ion is.

    Source:
        Neighbours: R. Hoppe, Z. Kristallogr. 150, 23 (1979). Bonds: see `bonding.find_covalent_bonds`.
    """
    match = match_structures(before, after) if regions is None else match_sites(before, after)
    old = make_ions(before, _oxidation_states(before))
    new = replace(old, lattice=match.after, positions=match.end)
    lengths = find_covalent_bonds(old)
    bonds = find_covalent_bonds(new, lengths)
    groups = [_find_space_group(ions, symprec) for ions in (old, new)]
    moved = match.displacements
    ions = np.array([symbol == working_ion for symbol in old.symbols])
    pairs = list_new_pairs(old, lengths, bonds)
    judged, by_region = np.ones(len(ions), dtype=bool), None
    units, whole = _compare_units(old, lengths, bonds), dict[int, bool]()
    if regions is not None:
        sites_of = read_sites(before, regions.intact, interface=regions.interface)
        judged = sites_of.judged
        rule = make_rule(regions.intact or (before,))
        by_region = _compare_regions(match, old, new, sites_of, ions, rule, regions, pairs)
        # Starts may be distorted or mixed: a polyanion is judged by the intact crystals, not by its neighbours at the start.
        whole = rule.find_whole(new)
        units = tuple((old.symbols[k], kept) for k, kept in whole.items() if judged[k])
        moved = (
            np.where(judged & ~ions, moved, 0.0) if by_region.slabs is None else by_region.slabs.departures
        )
    elif ions.any():
        moved = np.zeros(len(ions))
        moved[~ions] = _find_host_displacements(before, after, ions, str(working_ion))
    farthest = int(moved.argmax())
    centres = np.array([k in whole for k in range(len(ions))], dtype=bool)
    polyhedra, others = _compare_polyhedra(old, new, _find_sites(before, sites), judged & ~centres)
    return Comparison(
        displacement=float(moved.max()),
        farthest=old.symbols[farthest],
        volume_change=100.0 * (float(after.volume / before.volume) - 1.0),
        polyhedra=polyhedra,
        others=others,
        units=units,
        pairs=_name_pairs(old, [(bond, length) for bond, length in pairs if judged[list(bond[:2])].all()]),
        groups=(groups[0][0], groups[1][0]),
        numbers=(groups[0][1], groups[1][1]),
        intended=_find_space_group(old, LOOSE_SYMPREC)[0]
        if 0 < groups[0][1] <= LAST_MONOCLINIC
        else groups[0][0],
        ion_displacement=float(match.displacements[ions].max(initial=0.0)),
        regions=by_region,
    )


def _compare_regions(
    match: Match,
    old: Ions,
    new: Ions,
    sites: Sites,
    mobile: BoolArray,
    rule: Rule,
    regions: RegionRequest,
    pairs: Sequence[tuple[Bond, float]],
) -> Regions:
    """Compare by side and region; `sites` are labels in the order before."""
    slabs = compare_slabs(match, sites, mobile) if regions.interface else None
    polyanions = compare_polyanions(old, new, sites.sides, rule)
    outside = [item for item in pairs if not sites.judged[list(item[0][:2])].all()]
    inner = sites.inner & ~mobile
    if slabs is not None:
        disorder = max(slabs.disorder.values(), default=0.0)
    else:
        moved = match.moved[inner] @ match.after
        left = moved - moved.mean(axis=0) if inner.any() else moved
        disorder = float(np.sqrt((left**2).sum(axis=1).mean())) if inner.any() else 0.0
    return Regions(
        polyanions=polyanions,
        slabs=slabs,
        isolated=len(find_isolated(new, sites.sides)),
        disorder=disorder,
        dimers=len(pairs),
        outside=tuple(describe_pairs(outside, old, sites.sides)),
    )


def _find_host_displacements(
    before: Structure, after: Structure, ions: BoolArray, working_ion: str
) -> FloatArray:
    """Displacements of the host alone, Å: without the working ion, the drift is the host's own.

    Args:
        before, after: of `compare_structures`.
        ions: shape (n,), True for sites of the working ion before.
        working_ion: its symbol.

    Returns:
        Of the sites of the host, in their order before.
    """
    if ions.all():
        raise ValueError(
            f"{write_formula(before.composition)} holds nothing but {working_ion}: it has no host"
        )
    from pymatgen.core import Structure

    hosts = [
        Structure.from_sites([site for site in item if site.specie.symbol != working_ion])
        for item in (before, after)
    ]
    return match_structures(*hosts).displacements


def _oxidation_states(structure: Structure) -> Mapping[str, float]:
    """Oxidation state by element.

    A metal has none, so that every atom is a neighbour of any other; the same holds if no state of an element is known.
    """
    counts = sorted((str(name), float(n)) for name, n in structure.composition.get_el_amt_dict().items())
    try:
        return assign_oxidation_states(tuple(counts))
    except ValueError:  # no state of an element is known
        return {}


def _find_sites(structure: Structure, names: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the sites with these labels or elements.

    Raises:
        ValueError: there is no such site.
    """
    labels = structure.site_properties.get("label") or [site.label for site in structure]
    found: list[int] = []
    for name in names:
        own = [k for k, site in enumerate(structure) if name in {labels[k], site.specie.symbol}]
        found += own
    if names and not found:
        held = ", ".join(dict.fromkeys(site.specie.symbol for site in structure))
        raise ValueError(
            f"{write_formula(structure.composition)} has no site {' or '.join(names)}; it holds {held}"
        )
    return tuple(sorted(set(found)))


def _compare_polyhedra(
    old: Ions, new: Ions, named: Sequence[int], judged: BoolArray
) -> tuple[tuple[Polyhedron, ...], tuple[Surroundings, ...]]:
    """Compare the neighbours of judged ions, and of others of their sign."""
    near: dict[int, frozenset[Neighbour]] = {
        centre: select_neighbours(weights)
        for centre, weights in weigh_neighbours(old, range(len(old.symbols))).items()
    }
    found = [k for k in named if near[k]] if named else choose_centres(old, near)
    chosen = [k for k in found if judged[k]]
    signs = {np.sign(old.states[k]) for k in chosen}
    others = [
        k for k in near if near[k] and judged[k] and k not in chosen and np.sign(old.states[k]) in signs
    ]
    weights = weigh_neighbours(new, [*chosen, *others])
    polyhedra = (
        Polyhedron(old.symbols[k], len(near[k]), has_same_neighbours(near[k], weights[k])) for k in chosen
    )
    told = (
        Surroundings(
            old.symbols[k],
            frozenset(old.symbols[name[0]] for name in near[k]),
            len(near[k]),
            *count_neighbours(near[k], weights[k]),
        )
        for k in others
    )
    return tuple(polyhedra), tuple(told)


def _compare_units(
    ions: Ions, lengths: Mapping[Bond, float], bonds: Mapping[Bond, float]
) -> tuple[tuple[str, bool], ...]:
    """Formula of each covalent unit, and True if its bonds stayed."""
    return tuple(
        (
            _write_formula([ions.symbols[k] for k in sorted(unit)]),
            select_bonds(unit, lengths) == select_bonds(unit, bonds),
        )
        for unit in join_units(lengths)
    )


def _write_formula(symbols: Sequence[str]) -> str:
    """Formula with the least electronegative element first: `PO4`, `OH`."""
    from pymatgen.core import Element

    counts = Counter(symbols)
    ordered = sorted(counts, key=lambda name: (name == "H", float(Element(name).data.get("X") or 0.0), name))
    return "".join(f"{name}{counts[name] if counts[name] > 1 else ''}" for name in ordered)


def find_new_pairs(
    ions: Ions, lengths: Mapping[Bond, float], bonds: Mapping[Bond, float]
) -> tuple[tuple[str, float], ...]:
    """(pair of elements, length in Å) of new bonds between anions."""
    return _name_pairs(ions, list_new_pairs(ions, lengths, bonds))


def list_new_pairs(
    ions: Ions, lengths: Mapping[Bond, float], bonds: Mapping[Bond, float]
) -> list[tuple[Bond, float]]:
    """List the new bonds between anions with their lengths in Å."""
    return [
        (bond, length)
        for bond, length in bonds.items()
        if bond not in lengths and ions.states[bond[0]] < 0 and ions.states[bond[1]] < 0
    ]


def _name_pairs(ions: Ions, pairs: Sequence[tuple[Bond, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(
        ("-".join(sorted((ions.symbols[bond[0]], ions.symbols[bond[1]]))), length) for bond, length in pairs
    )


def _find_space_group(ions: Ions, symprec: float) -> tuple[str, int]:
    """Find the space group of the ions.

    Returns:
        (international symbol, number); `?` and 0 if none is found.
    """
    from ase.data import atomic_numbers

    from invdesign.structures.symmetry import symmetry_dataset

    numbers = [atomic_numbers[symbol] for symbol in ions.symbols]
    try:
        found = symmetry_dataset(ions.lattice, ions.positions, numbers, symprec)
    except InvdesignError:
        return "?", 0
    return str(found.international), int(found.number)
