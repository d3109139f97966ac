"""Supercells to be ordered: their sites, contents and properties of an ordering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import IntArray
from invdesign.errors import InvdesignError
from invdesign.rng import Rng
from invdesign.spaces.ordered_sites.amounts import (
    VACANCY,
    SiteChoice,
    combine_fillings,
    list_fillings,
    resolve_amounts,
)
from invdesign.spaces.ordered_sites.charges import (
    FormalCharges,
    OrderingElectrostatics,
    build_electrostatics,
    find_imbalance,
)
from invdesign.spaces.ordered_sites.clusters import ClusterKinds, Correlations, find_cluster_kinds
from invdesign.spaces.ordered_sites.orderings import Orderings, SiteGroup
from invdesign.spaces.ordered_sites.supercell import build_supercell, find_named_sites
from invdesign.structures.parents import Parent
from invdesign.structures.symmetry import site_permutations, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure


MAX_SYMMETRY_IMAGES = 2_000_000  # chosen; symmetry operations times varying sites: about a second and 16 MB


@dataclass(frozen=True, eq=False)
class OrderingPlan:
    """Sites, species and charges to order, independent of the supercell.

    Attributes:
        unit: the crystal.
        choices: by group, in the order of their names.
        formal: charges.
        neutral: whether compositions must balance.
    """

    unit: Parent
    choices: Mapping[str, SiteChoice]
    formal: FormalCharges
    neutral: bool

    @cached_property
    def sites(self) -> Mapping[str, tuple[int, ...]]:
        """Sites of the unit cell by group."""
        return find_named_sites(self.unit, list(self.choices))

    @cached_property
    def varying_groups(self) -> tuple[str, ...]:
        """Groups with more than one species."""
        return tuple(name for name, choice in self.choices.items() if len(choice.species) > 1)

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Species on each site of the unit cell; empty where it varies."""
        found = list(self.unit.elements)
        for name, choice in self.choices.items():
            for site in self.sites[name]:
                found[site] = "" if len(choice.species) > 1 else next(iter(choice.species))
        return tuple(found)

    @cached_property
    def colours(self) -> tuple[Hashable, ...]:
        """Labels of the unit cell's sites, equal where symmetry may exchange them."""
        group = {site: name for name in self.varying_groups for site in self.sites[name]}
        return tuple((group.get(i, ""), content) for i, content in enumerate(self.contents))

    @cached_property
    def classes(self) -> IntArray:
        """Symmetry class of each site of the unit cell, shape (n,).

        -1 for sites that do not vary.
        """
        numbers = [list(dict.fromkeys(self.colours)).index(colour) + 1 for colour in self.colours]
        orbits = symmetry_dataset(self.unit.lattice, self.unit.positions, numbers).equivalent_atoms
        order = [site for name in self.varying_groups for site in self.sites[name]]
        seen = {orbit: i for i, orbit in enumerate(dict.fromkeys(int(orbits[site]) for site in order))}
        classes = np.full(len(self.unit), -1, dtype=np.int64)
        classes[order] = [seen[int(orbits[site])] for site in order]
        return classes

    def find_imbalances(
        self, groups: Sequence[SiteGroup], unit_sites: IntArray, compositions: Iterable[Sequence[int]]
    ) -> list[int]:
        """Find the charge that each composition of a supercell has at least, without its sign.

        0 where charges can balance.

        Args:
            groups: of the supercell.
            unit_sites: shape (N,), the unit cell's site of each of the supercell.
            compositions: atoms of each species of each group.

        Raises:
            ValueError: an element has no known charge.
        """
        fixed = Counter(content for content in (self.contents[i] for i in unit_sites) if content)
        listed = [(group.name, group.species, self.sites[group.name]) for group in groups]
        return [find_imbalance(self.formal, listed, fixed, counts) for counts in compositions]

    def find_cluster_kinds(self, pairs: int, triplets: int) -> ClusterKinds:
        """Kinds of clusters, the same for all supercells.

        Args:
            pairs: number of kinds of pairs.
            triplets: number of kinds of triplets.
        """
        functions: dict[int, int] = {}
        for name in self.varying_groups:
            for site in self.sites[name]:
                functions[int(self.classes[site])] = len(self.choices[name].species) - 1
        return find_cluster_kinds(
            self.unit, self.classes, [functions[i] for i in range(len(functions))], pairs, triplets
        )


@dataclass(frozen=True, eq=False)
class OrderedCell:
    """Supercell of N sites, n of which vary.

    Attributes:
        plan: sites, species and charges to order.
        crystal: the supercell.
        unit_sites: shape (N,), the unit cell's site of each.
        sites: shape (n,), the sites that vary, group after group.
        orderings: of these.
    """

    plan: OrderingPlan
    crystal: Parent
    unit_sites: IntArray
    sites: IntArray
    orderings: Orderings

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """Species on all N sites; empty where it varies."""
        return tuple(self.plan.contents[i] for i in self.unit_sites)

    def list_species(self, codes: IntArray) -> list[str]:
        """Species on all N sites in the ordering `codes` (n,), vacancies included."""
        found = list(self.contents)
        species = [group.species for group in self.orderings.groups for _ in range(len(group))]
        for site, options, code in zip(self.sites.tolist(), species, codes.tolist(), strict=True):
            found[site] = options[code]
        return found

    def build_structure(self, codes: IntArray, rattle: float, rng: Rng) -> Structure:
        """Build the crystal of an ordering, without the vacancies.

        Its sites are in the supercell's order.

        Args:
            codes: shape (n,).
            rattle: standard deviation of each coordinate's displacement, Å.
            rng: for the displacements; the mean displacement is taken out.
        """
        from pymatgen.core import Structure

        species = self.list_species(codes)
        kept = [i for i, name in enumerate(species) if name != VACANCY]
        positions = self.crystal.positions[kept]
        if rattle:
            moves = rng.normal(scale=rattle, size=positions.shape)
            positions = positions + (moves - moves.mean(axis=0)) @ np.linalg.inv(self.crystal.lattice)
        return Structure(self.crystal.lattice, [species[i] for i in kept], positions)

    @cached_property
    def electrostatics(self) -> OrderingElectrostatics | None:
        """Electrostatics of the orderings; None where a charge is unknown."""
        return build_electrostatics(
            self.crystal, self.plan.formal, self.orderings, self.sites, self.contents, self.plan.sites
        )

    def build_correlations(self, kinds: ClusterKinds) -> Correlations:
        """Cluster correlations of the orderings, for these `kinds` of clusters."""
        classes = self.plan.classes[self.unit_sites[self.sites]]
        return Correlations(kinds, self.orderings, self.crystal, self.sites, classes)


def build_ordered_cell(plan: OrderingPlan, matrix: IntArray) -> OrderedCell:
    """Build the supercell of a crystal to be ordered.

    Args:
        plan: sites, species and charges to order.
        matrix: shape (3, 3), the supercell's vectors in those of the unit cell.

    Raises:
        ValueError: the amounts do not fit, or no composition balances.
        InvdesignError: the cell or its symmetry is too large.
    """
    crystal, unit_sites = build_supercell(plan.unit, matrix)
    groups, members = _group_sites(plan, unit_sites)
    sites = np.asarray(members, dtype=np.int64)
    compositions = _list_compositions(plan, groups, unit_sites)
    return OrderedCell(
        plan=plan,
        crystal=crystal,
        unit_sites=unit_sites,
        sites=sites,
        orderings=Orderings(groups, _permute_sites(plan, crystal, unit_sites, sites), compositions),
    )


def _group_sites(plan: OrderingPlan, unit_sites: IntArray) -> tuple[tuple[SiteGroup, ...], list[int]]:
    """Groups with a choice, and their sites in the supercell."""
    groups: list[SiteGroup] = []
    members: list[int] = []
    for name in plan.varying_groups:
        own = np.flatnonzero(np.isin(unit_sites, plan.sites[name])).tolist()
        groups.append(
            SiteGroup(name, tuple(plan.choices[name].species), len(members), len(members) + len(own))
        )
        members += own
    return tuple(groups), members


def _list_compositions(plan: OrderingPlan, groups: Sequence[SiteGroup], unit_sites: IntArray) -> IntArray:
    """Compositions that the amounts and the charges allow, shape (c, s)."""
    parts = [
        list_fillings(resolve_amounts(group.name, plan.choices[group.name], len(group)), len(group))
        for group in groups
    ]
    found = combine_fillings(parts)
    if plan.neutral:
        charges = plan.find_imbalances(groups, unit_sites, found)
        found = [counts for counts, charge in zip(found, charges, strict=True) if not charge]
        if not found:
            raise ValueError(
                "charges balance at no composition that the amounts allow; change the amounts or "
                "oxidation_states, or set charge_neutral: false"
            )
    return np.asarray(found, dtype=np.int64)


def _permute_sites(plan: OrderingPlan, crystal: Parent, unit_sites: IntArray, sites: IntArray) -> IntArray:
    """Permutations of the varying sites by the supercell's symmetry, shape (g, n)."""
    colours = [plan.colours[i] for i in unit_sites]
    numbers = [list(dict.fromkeys(colours)).index(colour) + 1 for colour in colours]
    operations = len(symmetry_dataset(crystal.lattice, crystal.positions, numbers).rotations)
    if operations * len(sites) > MAX_SYMMETRY_IMAGES:
        raise InvdesignError(
            f"{operations} symmetry operations on {len(sites)} sites are more than can be gone through "
            f"(limit {MAX_SYMMETRY_IMAGES} for their product); take a smaller cell"
        )
    return site_permutations(crystal.lattice, crystal.positions, colours, sites.tolist())
