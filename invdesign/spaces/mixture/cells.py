"""Mixtures as crystals: supercells that hold the fractions, and arrangements of the atoms in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.settings import Frozen
from invdesign.spaces.mixture.charges import VACANCY, Species, parse_site_atom
from invdesign.spaces.mixture.settings import Cells, Mixture
from invdesign.structures.electrostatics import Electrostatics, Filling
from invdesign.structures.parents import Parent, ParentSource, build_parent, check_supercell_size
from invdesign.structures.quasirandom import Sublattice
from invdesign.structures.radii import ionic_radius

if TYPE_CHECKING:
    from pymatgen.core import Structure

Multiple = tuple[int, int, int]

WHOLE_TOLERANCE = 1e-6  # distance of a count of atoms from a whole number (chosen)


class Realised(Frozen):
    """The crystal that a mixture is realised in."""

    parent: ParentSource
    """A prototype's name, or a CIF, POSCAR or pymatgen JSON file (relative to the campaign)."""
    cell: Cells
    """Supercells to choose from; the smallest that holds the fractions exactly is taken."""
    sites: dict[str, str] = Field(default={})
    """Mixture by label, Wyckoff site or element of the parent, where a mixture is not named after its sites."""
    primitive: bool = False
    """Start from the primitive cell of a centred parent instead of the conventional one."""
    arrange: Literal["electrostatics", "quasirandom"] = "electrostatics"
    """Arrangement of atoms on the sites: lowest electrostatic energy, equal charges quasi-randomly; or all
    quasi-randomly, as in a random alloy."""
    oxidation_states: dict[str, float] = Field(default={})
    """Formal charges of the parent's own elements, where they differ from the prototype's or the guessed ones."""
    scale_lattice: bool = True
    """True if the lattice follows the ionic radii of the species put in."""
    rattle: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of random displacements, Å, so that symmetric starts can leave their saddle."""


@dataclass(frozen=True)
class Sites:
    """The sites of one mixture in a cell.

    Attributes:
        mixture: its name.
        members: their numbers.
        atoms: the species of its components, and a vacancy for the rest.
    """

    mixture: str
    members: tuple[int, ...]
    atoms: tuple[Species, ...]


@dataclass(frozen=True, eq=False)
class Framework:
    """A parent crystal with its mixed sites, in the supercells allowed.

    Attributes:
        options: the settings.
        unit: the unit cell.
        sites: per mixture, in the order of the mixtures, its sites in the unit cell.
        mixed: states of a mixed-valent element, whose mean charge balances the others.
    """

    options: Realised
    unit: Parent
    sites: tuple[Sites, ...]
    mixed: Mapping[str, Sequence[int]]
    _kept: dict[Multiple, Supercell] = field(default_factory=dict)

    @cached_property
    def fixed_species(self) -> tuple[Species, ...]:
        """Species with charges on the unit cell's sites that are not mixed."""
        mixed = {member for sites in self.sites for member in sites.members}
        return tuple(
            Species(element, {element: 1.0}, self.formal_charge(i))
            for i, element in enumerate(self.unit.elements)
            if i not in mixed
        )

    def formal_charge(self, site: int) -> float | None:
        """Formal charge in the parent of `site` of the unit cell.

        Returns None where unknown or mixed-valent.
        """
        if self.unit.elements[site] in self.mixed:
            return None
        return self.options.oxidation_states.get(self.unit.elements[site], self.unit.states[site])

    @cached_property
    def multiples(self) -> tuple[Multiple, ...]:
        """The supercells allowed, smallest first.

        There are none where even the unit cell is too large.
        """
        cells = self.options.cell
        if cells.max_atoms is None:
            return tuple(sorted(set(cells.multiples), key=lambda multiple: (np.prod(multiple), multiple)))
        most = cells.max_atoms // len(self.unit)
        return tuple(self.find_compact_multiple(count) for count in range(1, most + 1))

    def find_compact_multiple(self, count: int) -> Multiple:
        """Find the most compact supercell of `count` unit cells."""
        lengths = np.linalg.norm(self.unit.lattice, axis=1)
        options = [
            (a, b, count // (a * b))
            for a in range(1, count + 1)
            if count % a == 0
            for b in range(1, count // a + 1)
            if (count // a) % b == 0
        ]
        return min(options, key=lambda m: (round(float(np.ptp(lengths * m)), 6), m))

    def count_sites(self, multiple: Multiple, columns: Sequence[int]) -> list[int]:
        """Count, per column, the sites of its mixture in a supercell.

        Args:
            multiple: the supercell.
            columns: number of columns of each mixture.
        """
        count = int(np.prod(multiple))
        return [
            count * len(sites.members)
            for sites, own in zip(self.sites, columns, strict=True)
            for _ in range(own)
        ]

    def cached_supercell(self, multiple: Multiple) -> Supercell:
        """Supercell `multiple`, built once and kept with its computed parts."""
        if multiple not in self._kept:
            self._kept[multiple] = Supercell(self, multiple)
        return self._kept[multiple]


def build_framework(
    options: Realised, mixtures: Mapping[str, Mixture], mixed: Mapping[str, Sequence[int]]
) -> Framework:
    """Build the parent with the sites of each mixture.

    Args:
        options: settings of the crystal.
        mixtures: by name.
        mixed: states of at most one mixed-valent element.

    Raises:
        ValueError: a mixture has no site, two share one, a total exceeds the sites, or a state is not clear.
    """
    unit = build_parent(options.parent, (1, 1, 1), primitive=options.primitive)
    check_supercell_size((options.cell.max_atoms or 0) // len(unit), len(unit))
    for multiple in options.cell.multiples:
        check_supercell_size(math.prod(multiple), len(unit))
    unknown = sorted(set(options.sites.values()) - set(mixtures))
    if unknown:
        raise ValueError(
            f"the structure's sites name the mixture '{unknown[0]}'; there are {', '.join(mixtures)}"
        )
    strange = sorted(set(options.oxidation_states) - set(unit.elements))
    if strange:
        raise ValueError(
            f"{unit.name} holds no {strange[0]}; states of a component belong to its name: {strange[0]}2+"
        )
    found: list[Sites] = []
    taken: dict[int, str] = {}
    for name, mixture in mixtures.items():
        labels = [label for label, own in options.sites.items() if own == name] or [name]
        members = tuple(sorted({site for label in labels for site in unit.find_sites(label)}))
        for member in members:
            if member in taken:
                raise ValueError(
                    f"the mixtures '{taken[member]}' and '{name}' share a site; give each its own"
                )
            taken[member] = name
        found.append(_build_sites(name, mixture, members, unit, options, mixed))
    return Framework(options, unit, tuple(found), mixed)


def _build_sites(
    name: str,
    mixture: Mixture,
    members: tuple[int, ...],
    unit: Parent,
    options: Realised,
    mixed: Mapping[str, Sequence[int]],
) -> Sites:
    """Build the sites of one mixture, with the species of its components."""
    if mixture.multiplicity is not None:
        raise ValueError(f"the multiplicity of '{name}' follows from the structure; leave it out")
    if mixture.range[1] > 1.0 and mixture.total != "free":
        raise ValueError(
            f"the fractions of '{name}' fill its sites: their total is 1 at most, got {mixture.total}"
        )
    element = unit.elements[members[0]]
    state = options.oxidation_states.get(element, unit.states[members[0]])
    atoms = tuple(parse_site_atom(name, None if name in mixed else state) for name in mixture.components)
    return Sites(name, members, (*atoms, Species(VACANCY, {}, 0.0)))


class Supercell:
    """One supercell: sites, electrostatics, and arrangements."""

    def __init__(self, framework: Framework, multiple: Multiple) -> None:
        self.framework = framework
        self.multiple = multiple
        options = framework.options
        self.parent = build_parent(options.parent, multiple, primitive=options.primitive)
        self.count = int(np.prod(multiple))
        # The images of a site of the unit cell follow each other.
        self.groups = tuple(
            tuple(self.count * member + image for member in sites.members for image in range(self.count))
            for sites in framework.sites
        )

    @cached_property
    def electrostatics(self) -> Electrostatics:
        """Electrostatics of all sites."""
        return Electrostatics(self.parent.lattice, self.parent.positions)

    @cached_property
    def parent_charges(self) -> FloatArray:
        """Shape (n,): formal charges of the parent, 0 where unknown."""
        states = [self.framework.formal_charge(site) or 0.0 for site in range(len(self.framework.unit))]
        return np.repeat(states, self.count)

    def build_structure(self, counts: Sequence[Sequence[int]], rng: Rng) -> Structure:
        """Build the crystal with given numbers of atoms of each component.

        Args:
            counts: per mixture, atoms of each component and vacancies.
            rng: of the arrangement and of the displacements.
        """
        from pymatgen.core import Structure

        charges, oxidation = self._assign_charges(counts)
        arranged = self._arrange_components(counts, charges, oxidation, rng)
        elements: list[str | None] = list(self.parent.elements)
        for sites, members, own, codes in zip(
            self.framework.sites, self.groups, charges, arranged, strict=True
        ):
            for member, code in zip(members, codes.tolist(), strict=True):
                elements[member] = sites.atoms[code].element
                oxidation[member] = own[code]
        lattice = self.parent.lattice * (
            self._lattice_scale(elements, oxidation) if self.framework.options.scale_lattice else 1
        )
        kept = [i for i, element in enumerate(elements) if element is not None]
        positions = self.parent.positions[kept]
        if self.framework.options.rattle:
            moves = rng.normal(scale=self.framework.options.rattle, size=positions.shape)
            positions = positions + moves @ np.linalg.inv(lattice)
        return Structure(lattice, [elements[i] for i in kept], positions)

    def _assign_charges(self, counts: Sequence[Sequence[int]]) -> tuple[list[list[float]], FloatArray]:
        """Charges of each mixture's components, and of the parent's sites (n,).

        A mixed-valent element has the mean charge that balances all others; unknown charges are 0. Sites of mixtures keep the
        parent's charge in the second.
        """
        mixed = self.framework.mixed
        grouped = {member for members in self.groups for member in members}
        charges = self.parent_charges.copy()
        alike = [i for i, element in enumerate(self.parent.elements) if element in mixed and i not in grouped]
        total = sum(float(q) for i, q in enumerate(charges) if i not in grouped)
        unknown = len(alike)
        for sites, own in zip(self.framework.sites, counts, strict=True):
            for atom, count in zip(sites.atoms, own, strict=True):
                total += count * (atom.charge or 0.0)
                unknown += count if atom.charge is None and atom.name in mixed else 0
        mean = -total / unknown if unknown else 0.0
        charges[alike] = mean
        found = [
            [
                mean if atom.charge is None and atom.name in mixed else atom.charge or 0.0
                for atom in sites.atoms
            ]
            for sites in self.framework.sites
        ]
        return found, charges

    def _arrange_components(
        self, counts: Sequence[Sequence[int]], charges: Sequence[Sequence[float]], fixed: FloatArray, rng: Rng
    ) -> list[IntArray]:
        """Arrange the components.

        Returns, per mixture, shape (k,), the component's number on each site.
        """
        blocks = [_group_by_charge(own, many) for own, many in zip(charges, counts, strict=True)]
        if self.framework.options.arrange == "quasirandom":
            blocks = [[[code for block in own for code in block]] for own in blocks]
        places = self._arrange_blocks(blocks, counts, charges, fixed.copy(), rng)
        found = []
        for members, own, many, place in zip(self.groups, blocks, counts, places, strict=True):
            codes = np.zeros(len(members), dtype=np.int64)
            for number, block in enumerate(own):
                here = np.flatnonzero(place == number)
                if len(block) == 1:
                    codes[here] = block[0]
                elif len(here):
                    sublattice = self._sublattices(tuple(members[i] for i in here))
                    codes[here] = np.asarray(block)[
                        sublattice.anneal_species([many[code] for code in block], rng)
                    ]
            found.append(codes)
        return found

    def _arrange_blocks(
        self,
        blocks: Sequence[Sequence[Sequence[int]]],
        counts: Sequence[Sequence[int]],
        charges: Sequence[Sequence[float]],
        fixed: FloatArray,
        rng: Rng,
    ) -> list[IntArray]:
        """Arrange blocks of equal charge by electrostatics.

        Returns, per mixture, shape (k,), the block of each site.
        """
        fillings = []
        for members, own, many, values in zip(self.groups, blocks, counts, charges, strict=True):
            if len(own) > 1:
                sizes = tuple(sum(many[code] for code in block) for block in own)
                fillings.append(Filling(members, sizes, tuple(values[block[0]] for block in own)))
            else:
                fixed[list(members)] = values[own[0][0]]
        arranged = iter(
            self.electrostatics.arrange_species(fillings, rng, fixed=fixed).species if fillings else ()
        )
        return [
            next(arranged) if len(own) > 1 else np.zeros(len(members), dtype=np.int64)
            for own, members in zip(blocks, self.groups, strict=True)
        ]

    @cached_property
    def _sublattices(self) -> _Sublattices:
        return _Sublattices(self.parent)

    def _lattice_scale(self, elements: Sequence[str | None], charges: FloatArray) -> float:
        """Ratio of mean bond lengths by ionic radii, over the remaining bonds."""
        first, second = self.parent.bonds
        given = self.framework.options.oxidation_states
        # Where the parent's state is not known, atomic radii are compared instead of ionic ones.
        states = [given.get(e, own) for e, own in zip(self.parent.elements, self.parent.states, strict=True)]
        old = [ionic_radius(e, round(own or 0)) for e, own in zip(self.parent.elements, states, strict=True)]
        new = [
            0.0 if e is None else ionic_radius(e, 0 if own is None else round(charge))
            for e, own, charge in zip(elements, states, charges.tolist(), strict=True)
        ]
        kept = np.array([element is not None for element in elements])
        both = kept[first] & kept[second]
        before, after = np.array(old), np.array(new)
        length = float((before[first] + before[second])[both].sum())
        return float((after[first] + after[second])[both].sum()) / length if length > 0 else 1.0


class _Sublattices:
    """Cache of the pairs between some sites of a cell."""

    def __init__(self, parent: Parent) -> None:
        def build_sublattice(members: tuple[int, ...]) -> Sublattice:
            return Sublattice(parent.lattice, parent.positions[list(members)])

        self._made = lru_cache(maxsize=64)(build_sublattice)

    def __call__(self, members: tuple[int, ...]) -> Sublattice:
        return self._made(members)


def _group_by_charge(charges: Sequence[float], counts: Sequence[int]) -> list[list[int]]:
    """Group the components that are there by equal charge.

    There is at least one group.
    """
    found: dict[float, list[int]] = {}
    for code, (charge, count) in enumerate(zip(charges, counts, strict=True)):
        if count > 0:
            found.setdefault(round(charge, 9), []).append(code)
    return list(found.values()) or [[0]]
