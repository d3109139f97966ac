"""From the settings of a space of interfaces to the matches and the sites that vary on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from invdesign.spaces.interface.cell import (
    InterfaceCell,
    find_contact_gap,
    list_images_in_plane,
    order_by_depth,
)
from invdesign.spaces.interface.settings import (
    GapRange,
    InterfaceSettings,
    ShiftGrid,
    SolidChoice,
    other_side,
)
from invdesign.spaces.interface.shifts import ShiftRule, count_grid, to_steps
from invdesign.spaces.interface.sites import Sublattice, Transfer, VaryingSites
from invdesign.spaces.interface.symmetry import find_site_symmetry
from invdesign.spaces.interface.table import VOID, SiteTable, place_voids, tabulate_sites
from invdesign.spaces.interface.terminations import describe_slabs, list_side_slabs
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.orderings import SiteGroup
from invdesign.spaces.ordered_sites.supercell import find_named_sites
from invdesign.structures.bicrystals import (
    Bicrystal,
    Match,
    Slab,
    Solid,
    build_bicrystal,
    check_region,
    drop_turned_sandwiches,
    list_matches,
    make_solid,
)
from invdesign.structures.site_labels import FILM, SIDES, SUBSTRATE, Side
from invdesign.wording import list_first

MOST_NAMED_MATCHES = 12  # in a remark (chosen)
SAME_DEPTH = 1e-3  # Å; sites of one layer are on one side of a limit (chosen)
CONTACT_DEPTH = 2.0  # Å below the outermost atoms, up to which atoms may touch the other side (chosen)
LARGEST_CONTACT = 4.0  # Å, above any distance at contact (chosen)


@dataclass(frozen=True, eq=False)
class InterfacePlan:
    """Matches of a space, with the sites that vary on each.

    Attributes:
        cells: one per match.
        remarks: on solids, planes, terminations and matches, for the notes of the campaign.
    """

    cells: tuple[InterfaceCell, ...]
    remarks: tuple[str, ...]


@lru_cache(maxsize=8)
def build_plan(space: InterfaceSettings) -> InterfacePlan:
    """Build the plan of a space; once per process for the same settings.

    Raises:
        ValueError: nothing of what is to vary can, or a plane or name is not there; the message says what to change.
        InvdesignError: a solid cannot be used, or the solids do not fit within the limits.
    """
    choices: Mapping[Side, SolidChoice] = {SUBSTRATE: space.substrate, FILM: space.film}
    solids: Mapping[Side, Solid] = {side: make_solid(choice.source) for side, choice in choices.items()}
    slabs = {side: list_side_slabs(side, choice, solids[side]) for side, choice in choices.items()}
    matches = _list_named_matches(space, slabs)
    sublattices, transfers = _list_sublattices(space, solids)
    for side, own in slabs.items():
        deepest = max((item.deep for item in sublattices if item.side == side), default=0.0)
        for slab in own if deepest else ():
            check_region(slab, deepest, side=side)
    builder = _CellBuilder(space, solids, sublattices, transfers)
    cells = tuple(builder.build(match) for match in matches)
    _check_transfers(cells, transfers, sublattices)
    remarks = [f"{side}: planes refer to the cell of {solids[side].describe_cell()}" for side in SIDES]
    remarks += [describe_slabs(side, slabs[side]) for side in SIDES]
    return InterfacePlan(cells, (*remarks, _describe_matches(cells)))


def _list_named_matches(space: InterfaceSettings, slabs: Mapping[Side, Sequence[Slab]]) -> list[Match]:
    """Matches within the limits, those of the wanted names.

    Raises:
        ValueError: a name is no match's.
        NoMatchError: there are none.
    """
    limits = space.match
    found = list_matches(
        slabs[SUBSTRATE],
        slabs[FILM],
        max_area=limits.max_area,
        max_strain=limits.max_strain,
        max_atoms=limits.max_atoms,
        strained=limits.strained,
    )
    if not limits.names:
        # Mixing takes place at the first plane, so that a sandwich that mixes differs from the one turned over.
        turned_alike = space.boundary == "sandwich" and not (space.exchange or space.deplete)
        return drop_turned_sandwiches(found) if turned_alike else found
    known = {match.name: match for match in found}
    unknown = [name for name in limits.names if name not in known]
    if unknown:
        raise ValueError(
            f"there is no match '{unknown[0]}' within the limits; there are: {list_first(list(known), MOST_NAMED_MATCHES)}"
        )
    return [known[name] for name in limits.names]


# What varies.


def _list_sublattices(
    space: InterfaceSettings, solids: Mapping[Side, Solid]
) -> tuple[tuple[Sublattice, ...], tuple[Transfer, ...]]:
    """Sublattices whose species may change, and the transfers between them.

    Raises:
        ValueError: a sublattice is not there, holds the same element as the other, or overlaps with another.
    """
    table: dict[tuple[Side, str], Sublattice] = {}
    ends: list[tuple[str, int, list[tuple[tuple[Side, str], str]]]] = []
    for item in space.exchange:
        names: Mapping[Side, str] = {SUBSTRATE: item.substrate, FILM: item.film}
        deep = space.region if item.deep is None else item.deep
        elements = {
            side: _find_sublattice(table, side, name, solids[side], deep) for side, name in names.items()
        }
        if elements[SUBSTRATE] == elements[FILM]:
            raise ValueError(
                f"exchange of {item.substrate} and {item.film}: both are {elements['film']}, so nothing would change"
            )
        keys = [((side, names[side]), elements[other_side(side)]) for side in SIDES]
        ends.append((f"{item.substrate}-{item.film}", item.most, keys))
    for loss in space.deplete:
        side, other = loss.taken_from, other_side(loss.taken_from)
        element = _find_sublattice(table, side, loss.ion, solids[side], space.region)
        if element != loss.ion:
            raise ValueError(f"deplete: '{loss.ion}' names sites of {element} in {solids[side].name}")
        voids = (other, "voids")
        if voids not in table:
            table[voids] = Sublattice(f"{other} voids", other, (), (VACANCY,), space.region)
        ends.append((f"{loss.ion} from {side}", loss.most, [((side, loss.ion), VACANCY), (voids, loss.ion)]))
    for side in SIDES:
        find_named_sites(
            solids[side].parent, [name for own, name in table if own == side and name != "voids"]
        )
    order = list(table)
    for _, _, keys in ends:
        for key, foreign in keys:
            known = table[key]
            if foreign not in known.species:
                table[key] = replace(known, species=(*known.species, foreign))
    transfers = []
    for name, most, keys in ends:
        one, other_end = ((order.index(key), table[key].species.index(foreign)) for key, foreign in keys)
        transfers.append(Transfer(name, (one, other_end), most))
    names_used = [item.name for item in transfers]
    if len(set(names_used)) < len(names_used):
        twice = next(name for name in names_used if names_used.count(name) > 1)
        raise ValueError(f"'{twice}' is given twice; keep one, with the larger 'most'")
    return tuple(table[key] for key in order), tuple(transfers)


def _find_sublattice(
    table: dict[tuple[Side, str], Sublattice], side: Side, name: str, solid: Solid, deep: float
) -> str:
    """Add a sublattice of a side to the table; returns its element.

    Raises:
        ValueError: the solid has no such sites, or the depth differs from an earlier one.
    """
    sites = solid.parent.find_sites(name)
    element = solid.parent.elements[sites[0]]
    known = table.get((side, name))
    if known is None:
        table[side, name] = Sublattice(f"{side} {name}", side, sites, (element,), deep)
    elif known.deep != deep:
        raise ValueError(
            f"{name} of the {side} is exchanged {known.deep:g} and {deep:g} Å deep; give one depth"
        )
    return element


def _check_transfers(
    cells: Sequence[InterfaceCell], transfers: Sequence[Transfer], sublattices: Sequence[Sublattice]
) -> None:
    """Refuse a transfer that can take place on no match.

    Raises:
        ValueError: the message names the sublattice without sites, and the depth of its nearest one.
    """
    for number, item in enumerate(transfers):
        if any(cell.sites.amounts[:, number].max() > 0 for cell in cells):
            continue
        for group, _ in item.ends:
            if all(len(cell.sites.groups[group]) == 0 for cell in cells):
                own = sublattices[group]
                where = f"the {own.side} has no {'void' if own.is_void else own.species[0]} within {own.deep:g} Å of the plane"
                raise ValueError(f"{item.name} can take place on no match: {where}; give a larger region")
        raise ValueError(f"{item.name} can take place on no match: no two of its sites lie in one")


# One match.


@dataclass(frozen=True, eq=False)
class _CellBuilder:
    """Builder of the cells of all matches."""

    space: InterfaceSettings
    solids: Mapping[Side, Solid]
    sublattices: tuple[Sublattice, ...]
    transfers: tuple[Transfer, ...]

    def build(self, match: Match) -> InterfaceCell:
        """Build the bicrystal of a match, with its sites and symmetry."""
        space = self.space
        bicrystal = build_bicrystal(match, boundary=space.boundary, vacuum=space.vacuum)
        voids = {item.side: place_voids(bicrystal, item.side) for item in self.sublattices if item.is_void}
        table = tabulate_sites(bicrystal, voids, self.solids)
        sites = self._select_sites(bicrystal, table)
        site_charges = [self._find_charge(name, item) for item in self.sublattices for name in item.species]
        return InterfaceCell(
            bicrystal=bicrystal,
            sites=sites,
            shifts=self._make_shifts(bicrystal),
            symmetry=find_site_symmetry(bicrystal, table, sites),
            gap=self._choose_gap(bicrystal, table),
            natives=table.natives,
            charges=table.charges,
            site_charges=np.asarray(site_charges, dtype=np.float64),
            positions=table.positions,
            is_film=table.is_film,
            layers=table.layers,
            depth=table.depth,
            inner=table.depth > space.region + SAME_DEPTH,
        )

    def _select_sites(self, bicrystal: Bicrystal, table: SiteTable) -> VaryingSites:
        """Sites of every sublattice within its depth, from the plane downwards."""
        lateral = table.positions[:, :2] @ np.linalg.inv(bicrystal.match.cell)
        lateral -= np.floor(lateral + 1e-6)
        groups: list[SiteGroup] = []
        places: list[int] = []
        for item in self.sublattices:
            within = (table.is_film == (item.side == FILM)) & (table.depth <= item.deep + SAME_DEPTH)
            wanted = np.isin(table.unit_sites, item.unit_sites or (VOID,))
            own = order_by_depth(table.depth, lateral, np.flatnonzero(within & wanted).tolist())
            groups.append(SiteGroup(item.name, item.species, len(places), len(places) + len(own)))
            places += own
        chosen = np.asarray(places, dtype=np.int64)
        return VaryingSites(
            self.sublattices, self.transfers, chosen, tuple(groups), table.depth[chosen], lateral[chosen]
        )

    def _find_charge(self, name: str, item: Sublattice) -> float:
        """Formal charge of a species on a sublattice.

        That in its own solid, else that of the solid it came from.
        """
        if name == VACANCY:
            return 0.0
        for side in (item.side, other_side(item.side)):
            parent = self.solids[side].parent
            known = [state for state, own in zip(parent.states, parent.elements, strict=True) if own == name]
            if known:
                return float(np.mean([state or 0.0 for state in known]))
        return 0.0

    def _make_shifts(self, bicrystal: Bicrystal) -> ShiftRule:
        """Allowed shifts of the bicrystal, with its symmetry."""
        pair = bicrystal.symmetry
        translations = to_steps(pair.translations)
        shift = self.space.shift
        if isinstance(shift, ShiftGrid):
            lengths = np.linalg.norm(pair.displacement_cell, axis=1)
            grid = count_grid(lengths, shift.spacing, pair.rotations)
            return ShiftRule(pair.rotations, translations, grid=grid)
        if isinstance(shift, tuple):
            return ShiftRule(pair.rotations, translations, fixed=to_steps(np.mod(shift, 1.0)))
        return ShiftRule(pair.rotations, translations)

    def _choose_gap(self, bicrystal: Bicrystal, table: SiteTable) -> float:
        """Gap of the space, or that at contact."""
        gap = self.space.gap
        if isinstance(gap, float | int):
            return float(gap)
        solid = table.unit_sites != VOID
        near = solid & (table.depth <= CONTACT_DEPTH)
        sides = [
            (table.positions[near & (table.is_film == film)], table.radii[near & (table.is_film == film)])
            for film in (False, True)
        ]
        images = list_images_in_plane(bicrystal.match.cell, LARGEST_CONTACT)
        contact = find_contact_gap(bicrystal.displacement_cell, sides[0], sides[1], images)
        return min(max(contact, gap.min), gap.max) if isinstance(gap, GapRange) else contact


# Remarks.


def _describe_matches(cells: Sequence[InterfaceCell]) -> str:
    """Describe the matches: atoms, area and strain of each, and the gap."""
    parts = [
        f"{cell.name} ({cell.bicrystal.match.atoms} atoms, {cell.area:.0f} Å², strain {100 * cell.strain:.1f} %, gap {cell.gap:g} Å)"
        for cell in cells
    ]
    atoms = [cell.bicrystal.match.atoms for cell in cells]
    number = "1 match" if len(cells) == 1 else f"{len(cells)} matches of {min(atoms)} to {max(atoms)} atoms"
    unlike = sum(cell.bicrystal.boundary == "sandwich" and not cell.bicrystal.planes_alike for cell in cells)
    end = f"; the two planes of {unlike} of them differ, so that energies are means of both" if unlike else ""
    return f"{number}: {list_first(parts, MOST_NAMED_MATCHES)}{end}"
