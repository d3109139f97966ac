"""Check of whether a relaxed crystal kept its structure: displacements, polyhedra, covalent units."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from invdesign import registry
from invdesign.arrays import BoolArray, FloatArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import Batch
from invdesign.roles import (
    INITIAL,
    StructureEvaluator,
    StructureRole,
    StructureType,
    find_structure,
    required_structure,
)
from invdesign.structures.charges import ElementSymbol, assign_oxidation_states
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
from surrogates.relaxation.matching import DifferentCrystalsError, match_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å: the limit of topotactic insertion in voltage calculations, as used for host structures.
MAX_DISPLACEMENT = 1.5
# Å. Chosen: above the noise of relaxations and of rattled starts, below most distortions (as for parents).
SYMPREC = 0.1
# Å. Chosen: starts rattled by 0.05 Å are within it of their undisplaced structure. Shown, never judged.
LOOSE_SYMPREC = 0.5
LAST_MONOCLINIC = 15  # last space group of the two systems in which rattled starts are found within SYMPREC
POLYHEDRON_NAMES = {3: "triangle", 4: "tetrahedron", 6: "octahedron", 8: "cube", 12: "cuboctahedron"}
POLYHEDRON_PLURALS = {
    "triangle": "triangles",
    "tetrahedron": "tetrahedra",
    "octahedron": "octahedra",
    "cube": "cubes",
}
POLYHEDRON_PLURALS |= {"cuboctahedron": "cuboctahedra"}
DEFAULT_TYPE = "the structure it started from"


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
) -> Comparison:
    """Compare a crystal before and after a relaxation.

    Args:
        before: ordered.
        after: the same atoms; their order, origin and setting of the cell may differ.
        sites: elements, or labels of sites where the structure before carries them, whose polyhedra are
            compared; the framework's (`bonding.choose_centres`) where none are named.
        symprec: Å, for the space groups.
        working_ion: element whose displacements are told apart from those of the host.

    Raises:
        DifferentCrystalsError: they hold different atoms.
        ValueError: a site that is named is not there, or nothing but the working ion is.

    Source:
        Neighbours: R. Hoppe, Z. Kristallogr. 150, 23 (1979). Bonds: see `bonding.find_covalent_bonds`.
    """
    match = match_structures(before, after)
    old = make_ions(before, _oxidation_states(before))
    new = replace(old, lattice=match.after, positions=match.end)
    lengths = find_covalent_bonds(old)
    bonds = find_covalent_bonds(new, lengths)
    groups = [_find_space_group(ions, symprec) for ions in (old, new)]
    moved = match.displacements
    ions = np.array([symbol == working_ion for symbol in old.symbols])
    if ions.any():
        moved = np.zeros(len(ions))
        moved[~ions] = _find_host_displacements(before, after, ions, str(working_ion))
    farthest = int(moved.argmax())
    polyhedra, others = _compare_polyhedra(old, new, _find_sites(before, sites))
    return Comparison(
        displacement=float(moved.max()),
        farthest=old.symbols[farthest],
        volume_change=100.0 * (float(after.volume / before.volume) - 1.0),
        polyhedra=polyhedra,
        others=others,
        units=_compare_units(old, lengths, bonds),
        pairs=find_new_pairs(old, lengths, bonds),
        groups=(groups[0][0], groups[1][0]),
        numbers=(groups[0][1], groups[1][1]),
        intended=_find_space_group(old, LOOSE_SYMPREC)[0]
        if 0 < groups[0][1] <= LAST_MONOCLINIC
        else groups[0][0],
        ion_displacement=float(match.displacements[ions].max(initial=0.0)),
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
    old: Ions, new: Ions, named: Sequence[int]
) -> tuple[tuple[Polyhedron, ...], tuple[Surroundings, ...]]:
    """Compare the neighbours of judged ions, and of others of their sign."""
    near: dict[int, frozenset[Neighbour]] = {
        centre: select_neighbours(weights)
        for centre, weights in weigh_neighbours(old, range(len(old.symbols))).items()
    }
    chosen = [k for k in named if near[k]] if named else choose_centres(old, near)
    signs = {np.sign(old.states[k]) for k in chosen}
    others = [k for k in near if near[k] and k not in chosen and np.sign(old.states[k]) in signs]
    weights = weigh_neighbours(new, [*chosen, *others])
    judged = (
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
    return tuple(judged), tuple(told)


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
    return tuple(
        ("-".join(sorted((ions.symbols[bond[0]], ions.symbols[bond[1]]))), length)
        for bond, length in bonds.items()
        if bond not in lengths and ions.states[bond[0]] < 0 and ions.states[bond[1]] < 0
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


class StructureKept(StructureEvaluator):
    """Checks whether a relaxed candidate kept its structure, and lists its losses."""

    before: StructureRole = INITIAL
    """The structure to compare with."""
    called: StructureType = None
    """Type of the structure before, with its article: `a spinel`. By default from the search space: `an anti-perovskite`."""
    sites: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), strict=False)
    """Elements whose neighbours must stay: `[V, P]`. By default all ions of the rarer sign of charge with at most six."""
    coordination: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of these ions that must keep their neighbours."""
    displacement: Annotated[float, Field(gt=0)] | None = MAX_DISPLACEMENT
    """Largest displacement allowed, without drift and strain, Å; `null` for no limit."""
    working_ion: ElementSymbol | None = None
    """The mobile ion, `Li`: it may move further than `displacement`, which then limits the host alone."""
    volume_change: Annotated[float, Field(gt=0)] | None = None
    """Largest change of volume allowed, either way, %."""
    symprec: Annotated[float, Field(gt=0, le=1)] = SYMPREC
    """Tolerance of the space groups, Å."""

    @model_serializer(mode="wrap")
    def _omit_no_ion(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the working ion where none is named, as before there was a choice.

        So stored campaigns keep the fingerprint they had.
        """
        fields: dict[str, Any] = {"kind": registry.name_of(type(self)), **handler(self)}
        return {name: value for name, value in fields.items() if (name, value) != ("working_ion", None)}

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence if no stage before this one makes a structure to compare."""
        if self.structure != self.before:
            return ()
        return (f"it compares the structure '{self.before}' with itself: put it after a relaxation",)

    @property
    def requires(self) -> frozenset[str]:
        """The structures before and after."""
        return frozenset({required_structure(self.structure), required_structure(self.before)})

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Measures of the structure's change, and 1 or 0 for kept or not."""
        return {
            "structure_kept": "",
            "coordination_kept": "",
            "polyanions_kept": "",
            "new_anion_dimers": "",
            "largest_displacement": "Å",
            "volume_change": "%",
            "space_group_before": "",
            "space_group_after": "",
        }

    @property
    def batch(self) -> Batch:
        """Eight candidates: one takes a few hundredths of a second."""
        return Batch(8)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return eight numbers for each of `inputs`, and a sentence on losses."""
        return [
            self._compare_candidate(find_structure(item, self.before), self.structure_of(item))
            for item in inputs
        ]

    def _compare_candidate(self, before: Structure, after: Structure) -> Evaluation:
        began = time.perf_counter()
        try:
            found = compare_structures(before, after, self.sites, self.symprec, self.working_ion)
        except (DifferentCrystalsError, ValueError) as error:
            return Evaluation(failure=Failure("error", "", str(error)))
        losses = self.list_losses(found)
        properties = {
            "structure_kept": 0.0 if losses else 1.0,
            "coordination_kept": found.coordination_kept,
            "polyanions_kept": found.units_kept,
            "new_anion_dimers": float(len(found.pairs)),
            "largest_displacement": found.displacement,
            "volume_change": found.volume_change,
            "space_group_before": float(found.numbers[0]),
            "space_group_after": float(found.numbers[1]),
        }
        return Evaluation(
            properties,
            details={"structure_kept": self.write_sentence(found, losses)},
            cost={"seconds": time.perf_counter() - began},
        )

    def list_losses(self, found: Comparison) -> list[str]:
        """List, in words, each difference of structure in the comparison `found`."""
        losses = []
        if found.coordination_kept < self.coordination:
            losses += _describe_polyhedra(found.polyhedra)
        losses += _describe_units(found.units)
        if found.pairs:
            shortest: dict[str, float] = {}
            for name, length in found.pairs:
                shortest[name] = min(length, shortest.get(name, np.inf))
            losses += [f"new {name} pair of {length:.2f} Å" for name, length in sorted(shortest.items())]
        if self.displacement is not None and found.displacement > self.displacement:
            losses.append(
                f"{found.farthest} moved {found.displacement:.2f} Å (limit {self.displacement:g} Å)"
            )
        if self.volume_change is not None and abs(found.volume_change) > self.volume_change:
            losses.append(f"volume changed {found.volume_change:+.0f} % (limit {self.volume_change:g} %)")
        return losses

    def write_sentence(self, found: Comparison, losses: Sequence[str]) -> str:
        """Write a sentence on losses, or on the checks that passed.

        The space groups follow.

        Args:
            found: the comparison.
            losses: from `list_losses`.

        Returns:
            `no longer an anti-perovskite: 2 of 2 Br octahedra lost; space group P1, before P4/mmm`, or `O
            octahedra kept: still an anti-perovskite, but Cl has 6 of 12 Li neighbours; space group P1`.
        """
        called = self.called or DEFAULT_TYPE
        if losses:
            what = f"no longer {called}: {'; '.join(losses)}"
        else:
            others = _join_words(_describe_others(found.others))
            what = f"{self.list_kept(found)} kept: still {called}{f', but {others}' if others else ''}"
        if self.displacement is not None and found.ion_displacement > self.displacement:
            what += f"; {self.working_ion} moved up to {found.ion_displacement:.2f} Å, which is not judged"
        return f"{what}; {_describe_groups(found)}"

    def list_kept(self, found: Comparison) -> str:
        """Name the judged polyhedra of the comparison `found`, else its units, else places.

        For example `O and S octahedra`, `P tetrahedra and V octahedra`.
        """
        kinds: dict[int, set[str]] = {}
        for item in found.polyhedra if self.coordination else ():
            kinds.setdefault(item.size, set()).add(item.element)
        names = [
            f"{_join_words(sorted(elements))} {_name_polyhedra(size, 2)}"
            for size, elements in sorted(kinds.items())
        ]
        if names and found.coordination_kept < 1:
            names = [f"{found.coordination_kept:.0%} of {_join_words(names)}"]
        units = sorted({name for name, _ in found.units})
        rest = "places" if self.displacement is not None else "all that was asked"
        return _join_words(names or [f"{_join_words(units)} units"] * bool(units) or [rest])


def _describe_others(others: Sequence[Surroundings]) -> list[str]:
    """Describe changed neighbours by element and number: `Cl has 6 of 12 Li neighbours`."""
    kinds: dict[tuple[str, int], list[Surroundings]] = {}
    for item in others:
        kinds.setdefault((item.element, item.size), []).append(item)
    found = []
    for (element, size), items in sorted(kinds.items()):
        if not any(item.changed for item in items):
            continue
        low, high = min(item.stayed for item in items), max(item.stayed for item in items)
        around = frozenset().union(*(item.around for item in items))
        name = f"{next(iter(around))} neighbours" if len(around) == 1 else "neighbours"
        gained = max(item.gained for item in items)
        new = f" and {'up to ' * (len(items) > 1)}{gained} new" if gained else ""
        found.append(f"{element} has {low if low == high else f'{low} to {high}'} of {size} {name}{new}")
    return found


def _describe_groups(found: Comparison) -> str:
    """`space group Pnma`, `space group Cm, before P1 (within 0.5 Å P4/mmm)`."""
    before, after = found.groups
    if found.intended != before:
        return f"space group {after}, before {before} (within {LOOSE_SYMPREC:g} Å {found.intended})"
    return f"space group {after}" if after == before else f"space group {after}, before {before}"


def _join_words(words: Sequence[str]) -> str:
    """`O`, `O and S`, `O, S and Se`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _name_polyhedra(size: int, count: int) -> str:
    name = POLYHEDRON_NAMES.get(size, f"{size}-fold site")
    return name if count == 1 else POLYHEDRON_PLURALS.get(name, f"{name}s")


def _describe_polyhedra(polyhedra: Sequence[Polyhedron]) -> list[str]:
    """`2 of 2 Br octahedra lost`, by element and number of neighbours."""
    kinds = Counter((item.element, item.size) for item in polyhedra)
    lost = Counter((item.element, item.size) for item in polyhedra if not item.kept)
    found = []
    for (element, size), count in sorted(lost.items()):
        total = kinds[element, size]
        found.append(f"{count} of {total} {element} {_name_polyhedra(size, total)} lost")
    return found


def _describe_units(units: Sequence[tuple[str, bool]]) -> list[str]:
    kinds = Counter(name for name, _ in units)
    lost = Counter(name for name, kept in units if not kept)
    return [f"{count} of {kinds[name]} {name} units broken" for name, count in sorted(lost.items())]
