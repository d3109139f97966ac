"""Build decorations from the site options of a campaign."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from invdesign.arrays import IntArray
from invdesign.spaces.substitution.decorations import Decorations, Ion, Variable
from invdesign.structures.charges import oxidation_states
from invdesign.structures.parents import Parent
from invdesign.structures.symmetry import site_permutations

States = Mapping[str, Sequence[int]]

SIGN_NAMES = {1: "cationic", -1: "anionic", 0: "common"}


@dataclass(frozen=True)
class SiteGroup:
    """Sites that share their options.

    Attributes:
        name: as in the campaign.
        sites: of the supercell.
        species: elements allowed on the sites.
        mixed: whether each site chooses for itself.
        states: oxidation states given by element.
    """

    name: str
    sites: tuple[int, ...]
    species: tuple[str, ...]
    mixed: bool = True
    states: States = field(default_factory=dict)


def build_decorations(
    parent: Parent, groups: Sequence[SiteGroup], given: States, *, charge_neutral: bool
) -> Decorations:
    """Build the decorations that site groups allow.

    Sites in no group keep the parent's element.

    Args:
        parent: the framework.
        groups: disjoint, in the order of their names.
        given: oxidation states of the parent's elements where the campaign gives them.
        charge_neutral: whether charges must balance.

    Raises:
        ValueError: a species has no oxidation state of the sign its sites need.
        InvdesignError: the framework's symmetry cannot be determined.
    """
    charges = _ChargeRules(parent, given, charge_neutral)
    options = {group.name: charges.list_options(group) for group in groups}
    order = {ion: i for i, ion in enumerate(dict.fromkeys(ion for ions in options.values() for ion in ions))}
    variables: list[Variable] = []
    chosen = {site: options[group.name][0] for group in groups for site in group.sites}
    for group in groups:
        ions = tuple(sorted(options[group.name], key=order.__getitem__))
        if len(ions) > 1:
            parts = [(site,) for site in group.sites] if group.mixed else [group.sites]
            variables += [Variable(group.name, part, ions) for part in parts]
    moving = {site for variable in variables for site in variable.sites}
    still = {i: chosen.get(i) or charges.find_parent_ion(i) for i in range(len(parent)) if i not in moving}
    return Decorations(
        variables=tuple(variables),
        fixed=tuple(Counter(still.values()).items()),
        permutations=_permute_variables(parent, variables, still),
        charge_neutral=charge_neutral,
    )


@dataclass(frozen=True)
class _ChargeRules:
    """Rules for the oxidation states of a species on a site."""

    parent: Parent
    given: States
    needed: bool

    def find_parent_ion(self, site: int) -> Ion:
        """Ion of the parent's element at `site`.

        It keeps its formal charge, except that transition metals may change theirs when others are exchanged, as they do
        in electrodes.
        """
        element, state = self.parent.elements[site], self.parent.states[site]
        if element in self.given:
            return Ion(element, tuple(sorted(self.given[element])))
        if state is not None and state == round(state) and not _is_redox_active(element):
            return Ion(element, (round(state),))
        formal = {math.floor(state), math.ceil(state)} if state is not None else set()
        return Ion(
            element, tuple(sorted(formal.union(oxidation_states(element, self.find_sign([site]))) - {0}))
        )

    def find_sign(self, sites: Sequence[int]) -> int:
        """Sign of the parent's charges on `sites`; 0 where unknown or mixed.

        +1 for sites of cations, -1 for sites of anions.
        """
        signs: set[int] = set()
        for site in sites:
            known: Sequence[float] = self.given.get(
                self.parent.elements[site], [self.parent.states[site] or 0]
            )
            signs |= {int(np.sign(state)) for state in known}
        return signs.pop() if len(signs) == 1 else 0

    def list_options(self, group: SiteGroup) -> tuple[Ion, ...]:
        """Ions that a `group` of sites may hold."""
        sign = self.find_sign(group.sites)
        return tuple(self._assign_states(element, group, sign) for element in group.species)

    def _assign_states(self, element: str, group: SiteGroup, sign: int) -> Ion:
        """Ion of an element on a group of sites, with its oxidation states.

        The first that applies: states given for the group, the parent's own ion, an inherited state, the common states of the
        sites' sign.
        """
        if element in group.states:
            return Ion(element, tuple(sorted(group.states[element])))
        if {self.parent.elements[site] for site in group.sites} == {element}:
            return self.find_parent_ion(group.sites[0])
        states = self._inherit_state(element, group) or oxidation_states(element, sign)
        if self.needed and not states:
            raise ValueError(
                f"{element} has no {SIGN_NAMES[sign]} oxidation state, which site {group.name} of {self.parent.name} "
                f"needs; give one as oxidation_states: {{{element}: [...]}} in that site's long form"
            )
        return Ion(element, states)

    def _inherit_state(self, element: str, group: SiteGroup) -> tuple[int, ...]:
        """Parent's state on sites of polyatomic ions (S2^2- in FeS2).

        Only elements of the same column of the periodic table inherit it; else empty.
        """
        owners = {(self.parent.elements[site], self.parent.states[site]) for site in group.sites}
        if len(owners) > 1:
            return ()
        own, state = owners.pop()
        if not state or state > 0 or state != round(state) or state in oxidation_states(own):
            return ()
        return (round(state),) if _find_column(own) == _find_column(element) else ()


def _find_column(element: str) -> int:
    from pymatgen.core import Element

    return int(Element(element).group)


def _is_redox_active(element: str) -> bool:
    return len(oxidation_states(element)) > 1 and _is_transition_metal(element)


def _is_transition_metal(element: str) -> bool:
    from pymatgen.core import Element

    return bool(Element(element).is_transition_metal)


def _permute_variables(parent: Parent, variables: Sequence[Variable], still: Mapping[int, Ion]) -> IntArray:
    """Permutations of the variables by the framework's symmetry, shape (g, n).

    No row is repeated.
    """
    owner = {site: v for v, variable in enumerate(variables) for site in variable.sites}
    sites = sorted(owner, key=lambda site: (owner[site], site))
    colours: list[Hashable] = [
        still[i] if i in still else (variables[owner[i]].options, len(variables[owner[i]].sites) > 1)
        for i in range(len(parent))
    ]
    moves = site_permutations(parent.lattice, parent.positions, colours, sites)
    owners = np.asarray([owner[site] for site in sites], dtype=np.int64)
    images = owners[moves]
    first = np.searchsorted(owners, np.arange(len(variables)))
    # Keep only permutations that map every group with a single species onto a whole group.
    whole = (images == images[:, first][:, owners]).all(axis=1)
    return np.unique(images[whole][:, first], axis=0)
