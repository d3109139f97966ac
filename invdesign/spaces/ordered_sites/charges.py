"""Charge balance and electrostatic energy of orderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.orderings import Orderings
from invdesign.structures.charges import charge_imbalance, oxidation_states
from invdesign.structures.electrostatics import (
    MIN_SWAP_GAIN,
    Electrostatics,
    exchange_cost,
    find_best_exchange,
)
from invdesign.structures.parents import Parent

States = Mapping[str, Sequence[int]]

START_DRAWS = 32  # chosen; random orderings of which an electrostatic start takes one
MAX_CACHED_FORMS = 1_000  # chosen; compositions whose quadratic form is kept
STOP_PROBABILITY = 0.3  # chosen; of stopping before each downhill swap


@dataclass(frozen=True)
class FormalCharges:
    """Formal charges of a crystal's elements and of species put on its sites.

    Attributes:
        unit: the crystal.
        given: states by element, from the campaign.
        by_group: charge by element, by group, from the campaign.
    """

    unit: Parent
    given: States
    by_group: Mapping[str, Mapping[str, int]]

    def list_states(self, element: str, group: str, sites: Sequence[int]) -> tuple[float, ...]:
        """Charges that an element may take on sites of the unit cell.

        Mostly a single charge; empty where it is unknown.

        Args:
            element: symbol, or `vacancy`.
            group: name of the sites' group.
            sites: indices in the unit cell.
        """
        if element == VACANCY:
            return (0.0,)
        if element in self.by_group.get(group, {}):
            return (float(self.by_group[group][element]),)
        if element in self.given:
            return tuple(float(state) for state in sorted(self.given[element]))
        own = [self.unit.states[site] for site in sites if self.unit.elements[site] == element]
        own = own or [s for s, e in zip(self.unit.states, self.unit.elements, strict=True) if e == element]
        if own:
            return () if own[0] is None else (float(own[0]),)
        here = next((s for s in (self.unit.states[site] for site in sites) if s is not None), 0.0)
        common = oxidation_states(element, int(np.sign(here)))
        return (float(min(common, key=lambda state: (abs(state - here), state))),) if common else ()

    def absorbs_charge(self, element: str) -> bool:
        """True if the charge of `element` follows the remainder of all others.

        An element with given states needs several of them; any other must be a transition metal.
        """
        if element == VACANCY:
            return False
        if element in self.given:
            return len(self.given[element]) > 1
        from pymatgen.core import Element

        return bool(Element(element).is_transition_metal)


def find_imbalance(
    formal: FormalCharges,
    groups: Sequence[tuple[str, Sequence[str], Sequence[int]]],
    fixed: Mapping[str, int],
    counts: Sequence[int],
) -> int:
    """Find the charge that a composition has at least, without its sign.

    0 where charges can balance.

    Args:
        formal: the charges.
        groups: (name, species, sites of the unit cell) of each group, in the order of the counts.
        fixed: number of atoms by element on all other sites.
        counts: atoms of each species of each group.

    Raises:
        ValueError: an element has no known charge.
    """
    atoms: dict[str, int] = {}
    states: dict[str, tuple[int, ...]] = {}
    columns = [(name, species, sites) for name, listed, sites in groups for species in listed]
    entries = [(name, species, sites, n) for (name, species, sites), n in zip(columns, counts, strict=True)]
    entries += [("", element, (), n) for element, n in fixed.items()]
    for name, element, sites, number in entries:
        if element == VACANCY or not number:
            continue
        key = f"{element} on {name}" if element in formal.by_group.get(name, {}) else element
        atoms[key] = atoms.get(key, 0) + number
        states[key] = _round_states(formal.list_states(element, name, sites))
    return charge_imbalance(atoms, states)


def _round_states(states: Sequence[float]) -> tuple[int, ...]:
    """Whole charges: both neighbours of an average."""
    return tuple(sorted({int(f(state)) for state in states for f in (np.floor, np.ceil)}))


@dataclass(frozen=True, eq=False)
class QuadraticForm:
    """Electrostatic energy at one composition, quadratic in the varying charges.

    Attributes:
        columns: charge of each species of each group, one group after the other.
        field: shape (n,), potential of the other sites, eV per elementary charge.
        constant: energy of the other sites among themselves, eV.
    """

    columns: FloatArray
    field: FloatArray
    constant: float


@dataclass(frozen=True, eq=False)
class OrderingElectrostatics:
    """Electrostatic energies of a supercell's orderings.

    The residual charge of a composition is spread evenly over the atoms of elements with several given states and of
    transition metals without given ones. Without any, it stays, and a uniform background balances it.

    Attributes:
        electrostatics: of all N sites.
        orderings: of the n that vary.
        sites: shape (n,), indices of these.
        fixed: shape (N,), charges of the others; 0 on varying sites.
        columns: charge of each species of each group, one group after the other.
        metals: shape (N,), 1 on other sites that take up residual charge.
        metal_columns: the same of each species of each group.
    """

    electrostatics: Electrostatics
    orderings: Orderings
    sites: IntArray
    fixed: FloatArray
    columns: FloatArray
    metals: FloatArray
    metal_columns: FloatArray

    @cached_property
    def distinguishes_orderings(self) -> bool:
        """True if orderings of one composition can differ in energy."""
        offsets = self.orderings.offsets
        starts = [int(offsets[group.first]) for group in self.orderings.groups]
        stops = [start + len(g.species) for start, g in zip(starts, self.orderings.groups, strict=True)]
        return any(np.ptp(self.columns[a:b]) > 0 for a, b in zip(starts, stops, strict=True))

    @cached_property
    def _site_matrix(self) -> FloatArray:
        """Electrostatic matrix among the varying sites, shape (n, n)."""
        own: FloatArray = self.electrostatics.matrix[np.ix_(self.sites, self.sites)]
        return own

    @cached_property
    def _exchange_costs(self) -> tuple[FloatArray, ...]:
        """Energy to move one unit of charge between two sites, per group."""
        groups = self.orderings.groups
        return tuple(exchange_cost(self._site_matrix[g.first : g.stop, g.first : g.stop]) for g in groups)

    @cached_property
    def _form_cache(self) -> dict[bytes, QuadraticForm]:
        return {}

    def _find_form(self, counts: IntArray) -> QuadraticForm:
        """Quadratic form of a composition, from the cache if possible."""
        key = counts.tobytes()
        if key not in self._form_cache:
            if len(self._form_cache) >= MAX_CACHED_FORMS:
                self._form_cache.clear()
            self._form_cache[key] = self._build_form(counts)
        return self._form_cache[key]

    def _build_form(self, counts: IntArray) -> QuadraticForm:
        """Quadratic form of a composition, its residual charge spread."""
        over = float(self.fixed.sum() + counts @ self.columns)
        takers = float(self.metals.sum() + counts @ self.metal_columns)
        share = over / takers if takers else 0.0
        fixed = self.fixed - share * self.metals
        # With q on the varying sites, f on the others and M the symmetric matrix of all sites,
        # (q + f) M (q + f) = q M q + 2 (M f) q + f M f: the last two terms are the field and the constant.
        field = self.electrostatics.matrix @ fixed
        return QuadraticForm(
            columns=self.columns - share * self.metal_columns,
            field=2.0 * field[self.sites],
            constant=float(fixed @ field),
        )

    def energies_per_site(self, codes: IntArray) -> FloatArray:
        """Energies of orderings in eV per site of the supercell, shape (m,).

        Rounded to 1e-9.

        Args:
            codes: the orderings, shape (m, n).
        """
        counts = np.stack([self.orderings.count_species(row) for row in codes])
        found = np.empty(len(codes))
        different, which = np.unique(counts, axis=0, return_inverse=True)
        for number, composition in enumerate(different):
            rows = which.ravel() == number
            found[rows] = self._total_energies(self._find_form(composition), codes[rows])
        energies: FloatArray = np.round(found / len(self.electrostatics), 9)
        return energies

    def _total_energies(self, form: QuadraticForm, codes: IntArray) -> FloatArray:
        """Energies (m,) of the whole supercell in eV, for one composition.

        `codes` has shape (m, n).
        """
        charges = form.columns[codes + self.orderings.offsets]
        energies: FloatArray = ((charges @ self._site_matrix + form.field) * charges).sum(
            axis=1
        ) + form.constant
        return energies

    def draw_low_energy(self, counts: IntArray, rng: Rng) -> IntArray:
        """Draw an ordering (n,) of low electrostatic energy, as from a Boltzmann distribution.

        One of `START_DRAWS` random orderings, weighted at a temperature set by the spread of their energies, then goes
        downhill for a random number of swaps: so its energy is low, and results differ.

        Args:
            counts: the composition, shape (s,).
            rng: random generator.
        """
        form = self._find_form(counts)
        drawn = self.orderings.draw_orderings(counts, START_DRAWS, rng)
        energies = self._total_energies(form, drawn)
        temperature = max(0.5 * float(energies.std()), 1e-9)  # chosen; positive where all energies are equal
        # The Gumbel-max trick: the largest of -E/T plus Gumbel noise is a draw with Boltzmann weights.
        chosen = int((rng.gumbel(size=START_DRAWS) - energies / temperature).argmax())
        return self._descend_by_swaps(form, drawn[chosen], int(rng.geometric(STOP_PROBABILITY)) - 1)

    def draw_lowest(self, counts: IntArray, draws: int, rng: Rng) -> IntArray:
        """Lowest in energy of several random orderings, shape (n,).

        Args:
            counts: the composition, shape (s,).
            draws: number of random orderings.
            rng: random generator.
        """
        drawn = self.orderings.draw_orderings(counts, draws, rng)
        chosen: IntArray = drawn[int(self._total_energies(self._find_form(counts), drawn).argmin())]
        return chosen

    def _descend_by_swaps(self, form: QuadraticForm, codes: IntArray, steps: int) -> IntArray:
        """Ordering (n,) after at most `steps` exchanges, the best one each time."""
        codes = codes.copy()
        charges = form.columns[codes + self.orderings.offsets]
        for _ in range(steps):
            potential = 2.0 * (self._site_matrix @ charges) + form.field
            swaps = [
                find_best_exchange(charges[g.first : g.stop], potential[g.first : g.stop], cost)
                for g, cost in zip(self.orderings.groups, self._exchange_costs, strict=True)
            ]
            best = min(range(len(swaps)), key=lambda i: swaps[i][0])
            gain, first, second = swaps[best]
            if gain > -MIN_SWAP_GAIN:
                break
            pair = np.array([first, second]) + self.orderings.groups[best].first
            codes[pair] = codes[pair[::-1]]
            charges[pair] = charges[pair[::-1]]
        return codes


def build_electrostatics(
    crystal: Parent,
    formal: FormalCharges,
    orderings: Orderings,
    sites: IntArray,
    elements: Sequence[str],
    unit_sites: Mapping[str, Sequence[int]],
) -> OrderingElectrostatics | None:
    """Build the electrostatics of a supercell; None where a charge is unknown.

    Args:
        crystal: the supercell, N sites.
        formal: the charges.
        orderings: of its n varying sites.
        sites: shape (n,), indices of these.
        elements: N elements on the other sites; empty on varying sites.
        unit_sites: sites of the unit cell by group.
    """
    fixed, metals = np.zeros(len(crystal)), np.zeros(len(crystal))
    for element in dict.fromkeys(filter(None, elements)):
        here = [i for i, own in enumerate(elements) if own == element]
        charge = _average_states(formal.list_states(element, "", ()))
        if charge is None:
            return None
        fixed[here], metals[here] = charge, formal.absorbs_charge(element)
    columns, takers = [], []
    for group in orderings.groups:
        for species in group.species:
            charge = _average_states(formal.list_states(species, group.name, unit_sites[group.name]))
            if charge is None:
                return None
            columns.append(charge)
            takers.append(float(formal.absorbs_charge(species)))
    electrostatics = Electrostatics(crystal.lattice, crystal.positions)
    return OrderingElectrostatics(
        electrostatics, orderings, sites, fixed, np.array(columns), metals, np.array(takers)
    )


def _average_states(states: Sequence[float]) -> float | None:
    return float(np.mean(states)) if states else None
