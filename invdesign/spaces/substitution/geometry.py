"""Crystal structure and features of a decoration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Descriptor
from invdesign.rng import Rng
from invdesign.spaces.substitution.decorations import Decorations, Ion
from invdesign.structures.parents import Parent
from invdesign.structures.radii import ionic_radius

if TYPE_CHECKING:
    from pymatgen.core import Structure


SITE_PROPERTIES = ("electronegativity", "radius", "charge", "row", "column")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Framework with radii, charges and elemental properties of every option.

    Attributes:
        parent: n sites.
        decorations: their v variables.
        single: element of every site that the campaign sets to one species.
    """

    parent: Parent
    decorations: Decorations
    single: Mapping[int, str]

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Elements of all sites; on sites that vary, the parent's."""
        return tuple(self.single.get(i, element) for i, element in enumerate(self.parent.elements))

    def list_elements(self, codes: IntArray) -> list[str]:
        """Elements of all n sites in the decoration `codes`, shape (v,)."""
        elements = list(self.elements)
        for variable, code in zip(self.decorations.variables, codes.tolist(), strict=True):
            for site in variable.sites:
                elements[site] = variable.options[code].element
        return elements

    @cached_property
    def _charges(self) -> FloatArray:
        """Charge of each option, shape (v, most options).

        The state nearest to the parent's at that site.
        """
        return self._fill_table(lambda ion, site: _find_nearest_state(ion.states, self.parent.states[site]))

    @cached_property
    def _radii(self) -> FloatArray:
        """Ionic radius of each option in Å, shape (v, most options)."""
        return self._fill_table(self._find_radius)

    def _find_radius(self, ion: Ion, site: int) -> float:
        """Ionic radius (Å) of an option at a site.

        At the parent's charge if the option is the parent's element and its states include that charge.
        """
        formal = self.parent.states[site]
        if ion.element == self.parent.elements[site] and _includes_charge(ion.states, formal):
            return self._site_radius(site, ion.element)
        return ionic_radius(ion.element, round(_find_nearest_state(ion.states, formal)))

    def _fill_table(self, value: Callable[[Ion, int], float]) -> FloatArray:
        """Table of a property by variable and option, shape (v, most options)."""
        variables = self.decorations.variables
        table = np.zeros((len(variables), max(self.decorations.radices)))
        for v, variable in enumerate(variables):
            for code, ion in enumerate(variable.options):
                table[v, code] = value(ion, variable.sites[0])
        return table

    @cached_property
    def _bond_lengths(self) -> tuple[float, float, FloatArray]:
        """Sums of radii over nearest bonds, in Å.

        (Of the parent, of the fixed sites as they are now, shape (v, most options) of each option.)
        """
        first, second = self.parent.bonds
        shell = np.bincount(first, minlength=len(self.parent))
        # The bonds of each site's nearest shell count as one, whatever their number: the length is a sum over sites
        # of mean bond lengths, and each radius enters it with the weight of the bonds it belongs to.
        weights = np.zeros(len(self.parent))
        np.add.at(weights, first, 1.0 / shell[first])
        np.add.at(weights, second, 1.0 / shell[first])
        before = [self._site_radius(i, element) for i, element in enumerate(self.parent.elements)]
        after = [self._site_radius(i, element) for i, element in enumerate(self.elements)]
        loads = np.array([weights[list(v.sites)].sum() for v in self.decorations.variables])
        still = np.ones(len(self.parent), dtype=np.bool_)
        still[[site for variable in self.decorations.variables for site in variable.sites]] = False
        fixed = float((weights * after)[still].sum())
        return float(weights @ np.asarray(before)), fixed, self._radii * loads.reshape(-1, 1)

    def _site_radius(self, site: int, element: str) -> float:
        """Ionic radius (Å) at the parent's charge, which may be an average."""
        return ionic_radius(element, self.parent.states[site] or 0.0)

    def estimate_lattice_scale(self, codes: IntArray) -> float:
        """Ratio of nearest bond lengths, decoration over parent, by ionic radii.

        Args:
            codes: the decoration, shape (v,).
        """
        parent, fixed, table = self._bond_lengths
        length = fixed + float(table[np.arange(len(codes)), codes].sum())
        return length / parent if parent > 0 and length > 0 else 1.0

    def build_structure(self, codes: IntArray, *, scale: bool, rattle: float, rng: Rng) -> Structure:
        """Build the crystal of a decoration, its sites in the parent's order.

        Args:
            codes: shape (v,).
            scale: whether the lattice follows the ionic radii.
            rattle: standard deviation of each coordinate's displacement, Å.
            rng: for the displacements; the mean displacement is taken out.
        """
        from pymatgen.core import Structure

        lattice = self.parent.lattice * (self.estimate_lattice_scale(codes) if scale else 1.0)
        positions = self.parent.positions
        if rattle:
            moves = rng.normal(scale=rattle, size=positions.shape)
            positions = positions + (moves - moves.mean(axis=0)) @ np.linalg.inv(lattice)
        return Structure(lattice, self.list_elements(codes), positions)

    def features(self, codes: IntArray) -> FloatArray:
        """Features (m, d) of decorations, equal for symmetric images.

        Per site group: mean and, where sites differ, standard deviation of each of `SITE_PROPERTIES`. Then the mean squared
        difference of electronegativity and of radius between neighbouring variable sites.

        Args:
            codes: the decorations, shape (m, v).
        """
        rows = np.arange(codes.shape[1])
        values = self._option_properties[rows, codes]  # shape (m, v, properties)
        columns = []
        for members in self._feature_groups:
            columns.append(values[:, members].mean(axis=1))
            if len(members) > 1:
                columns.append(values[:, members].std(axis=1))
        first, second = self._neighbour_pairs
        if len(first):
            columns.append(((values[:, first, :2] - values[:, second, :2]) ** 2).mean(axis=1))
        return np.hstack(columns)

    def descriptors(self) -> list[Descriptor]:
        """Names of the features: a group per site group, and one of neighbours."""
        variables, found = self.decorations.variables, []
        for members in self._feature_groups:
            group = "/".join(sorted({variables[v].group for v in members}))
            statistics = ("mean", "spread of") if len(members) > 1 else ("",)
            found += [
                Descriptor(f"{statistic} {name} on {group}".strip(), group)
                for statistic in statistics
                for name in SITE_PROPERTIES
            ]
        if len(self._neighbour_pairs[0]):
            found += [
                Descriptor(f"unlike {name} of neighbours", "neighbours") for name in SITE_PROPERTIES[:2]
            ]
        return found

    @cached_property
    def _option_properties(self) -> FloatArray:
        """Properties of each option, shape (v, most options, properties)."""
        tables = [
            self._fill_table(lambda ion, _: _read_element_properties(ion.element)[0]),
            self._radii,
            self._charges,
            self._fill_table(lambda ion, _: _read_element_properties(ion.element)[1]),
            self._fill_table(lambda ion, _: _read_element_properties(ion.element)[2]),
        ]
        return np.stack(tables, axis=2)

    @cached_property
    def _feature_groups(self) -> tuple[list[int], ...]:
        """Variables by group; groups that symmetry exchanges are merged."""
        names = [variable.group for variable in self.decorations.variables]
        numbers = np.unique(names, return_inverse=True)[1]
        root = np.arange(len(names))
        images = numbers[self.decorations.permutations]
        moved = np.stack([np.broadcast_to(numbers, images.shape).ravel(), images.ravel()], axis=1)
        for old, new in np.unique(moved, axis=0).tolist():
            root[root == root[new]] = root[old]
        groups: dict[int, list[int]] = {}
        for v, number in enumerate(numbers.tolist()):
            groups.setdefault(int(root[number]), []).append(v)
        return tuple(groups.values())

    @cached_property
    def _neighbour_pairs(self) -> tuple[IntArray, IntArray]:
        """Variables on neighbouring sites: (first (p,), second (p,))."""
        owner = {site: v for v, variable in enumerate(self.decorations.variables) for site in variable.sites}
        if len(self.decorations.variables) < 2:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        first, second = self.parent.find_nearest_shells(sorted(owner))
        variable = np.full(len(self.parent), -1, dtype=np.int64)
        variable[list(owner)] = list(owner.values())
        return variable[first], variable[second]


def _find_nearest_state(states: Sequence[int], formal: float | None) -> float:
    """Oxidation state nearest to the parent's.

    Without a formal charge of the parent, the state of smallest charge, or 0.
    """
    target = 0.0 if formal is None else formal
    return float(min(states, key=lambda state: (abs(state - target), state), default=0))


def _includes_charge(states: Sequence[int], formal: float | None) -> bool:
    """True if a formal charge lies within the range of states."""
    return formal is not None and bool(states) and min(states) <= formal <= max(states)


@cache
def _read_element_properties(element: str) -> tuple[float, float, float]:
    """Pauling electronegativity, row and column of an element.

    The electronegativity is 0 where an element has none.
    """
    from pymatgen.core import Element

    found = Element(element)
    return float(found.data.get("X") or 0.0), float(found.row), float(found.group)
