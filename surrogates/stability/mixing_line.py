"""The line of mixtures of two phases: energy of the products, its kinks and its minimum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from surrogates.stability.hull_walk import walk_hull
from surrogates.stability.mutual_reaction import MutualReaction, Reactant
from surrogates.stability.phase_arrays import SAME_COMPOSITION, PhaseArrays, tabulate_phases
from surrogates.stability.reference import ReferenceSet
from surrogates.stability.windows import CHARGES, ENERGY_ROUNDING, TRACE_AMOUNT, Ion

STRAIGHT = 1e-8  # eV/atom; a smaller bend of the energy along the line is rounding; chosen


@dataclass(frozen=True, eq=False)
class AtomCount:
    """Atoms and energies as they count: without an open ion, against the elements.

    Attributes:
        place: column of the open ion; None in a closed system.
        potential: eV, chemical potential of the open ion.
        elements: shape (m,), energies of the other elements, eV/atom.
    """

    place: int | None
    potential: float
    elements: FloatArray

    @classmethod
    def for_system(cls, phases: PhaseArrays, ion: Ion | None, voltage: float | None) -> AtomCount:
        """Count for a closed system, or for one that is open to the ion at a voltage.

        Args:
            phases: of the system.
            ion: the open ion; None in a closed system.
            voltage: V against the ion's metal; None in a closed system.
        """
        pure = np.eye(len(phases.symbols))
        elements = np.array(
            [phases.energies[phases.fractions @ one > 1 - TRACE_AMOUNT].min() for one in pure]
        )
        if ion is None or voltage is None:
            return cls(None, 0.0, elements)
        place = phases.symbols.index(ion)
        metal = float(elements[place])
        return cls(place, metal - CHARGES[ion] * voltage, np.delete(elements, place))

    def count_atoms(
        self, fractions: FloatArray, energies: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Convert phases that are not the open ion alone.

        Args:
            fractions: shape (n, m), of all atoms.
            energies: shape (n,), eV/atom.

        Returns:
            Fractions of the counted atoms; energies, eV per counted atom; open ions per counted atom.
        """
        if self.place is None:
            return fractions, energies - fractions @ self.elements, np.zeros(len(energies))
        open_share = fractions[:, self.place]
        counted = 1 - open_share
        others = np.delete(fractions, self.place, axis=1) / counted[:, None]
        grand = (energies - open_share * self.potential) / counted
        return others, grand - others @ self.elements, open_share / counted

    def is_open(self, fractions: FloatArray) -> NDArray[np.bool_]:
        """Find the phases of nothing but the open ion, shape (n,).

        Args:
            fractions: shape (n, m), of all atoms.
        """
        if self.place is None:
            return np.zeros(len(fractions), dtype=bool)
        return np.asarray(fractions[:, self.place] > 1 - TRACE_AMOUNT)


@dataclass(frozen=True, eq=False)
class MixingLine:
    """The line between two compositions, and the phases that may form on it.

    Energies are against the elements. Atoms of the open ion do not count: neither in fractions nor in energies per atom.

    Attributes:
        names, formulas: of the n phases.
        fractions: shape (n, m), of counted atoms.
        energies: shape (n,), eV per counted atom.
        units: shape (n,), counted atoms in a formula unit.
        ions: shape (n,), open ions per counted atom.
        reactants: names of the two.
        ends: shape (2, m), fractions of the two.
        own: shape (2,), their energies, eV per counted atom.
        end_units, end_ions: shape (2,), as `units` and `ions`.
        hull: shape (2,), energy of the hull at the two.
        ion, voltage: None in a closed system.
    """

    names: tuple[str, ...]
    formulas: tuple[str, ...]
    fractions: FloatArray
    energies: FloatArray
    units: FloatArray
    ions: FloatArray
    reactants: tuple[str, str]
    ends: FloatArray
    own: FloatArray
    end_units: FloatArray
    end_ions: FloatArray
    hull: FloatArray
    ion: Ion | None
    voltage: float | None

    @classmethod
    def draw_between(
        cls,
        reference: ReferenceSet,
        first: Reactant,
        second: Reactant,
        ion: Ion | None,
        voltage: float | None,
    ) -> MixingLine:
        """Draw the line between two phases.

        Args:
            reference: the competing phases.
            first, second: the two phases.
            ion: the working ion; needed with a voltage.
            voltage: V against the ion's metal; None for a closed system.

        Raises:
            ValueError, MissingReferenceError: as `find_worst_reaction`.
        """
        if voltage is None:
            ion = None
        elif ion is None:
            raise ValueError(f"a voltage is that of an ion: name the ion that is open at {voltage:g} V")
        elif voltage < 0:
            raise ValueError(
                f"below 0 V the metal of {ion} forms: a voltage must be at least 0, got {voltage:g}"
            )
        pair = (first, second)
        symbols = {e.symbol for part in pair for e in part.composition} | ({ion} if ion else set())
        phases = tabulate_phases(reference, symbols)
        shares = np.array([[p.composition.get_atomic_fraction(s) for s in phases.symbols] for p in pair])
        count = AtomCount.for_system(phases, ion, voltage)
        for part in np.flatnonzero(count.is_open(shares)).tolist():
            raise ValueError(
                f"{pair[part].name} is the open ion itself at an applied voltage: its reactions are those of the "
                "closed system, without a voltage"
            )
        given = np.array([np.nan if part.energy is None else part.energy for part in pair])
        ends, own, end_ions = count.count_atoms(shares, given)
        kept = np.flatnonzero(~count.is_open(phases.fractions)).tolist()
        fractions, energies, ions = count.count_atoms(phases.fractions[kept], phases.energies[kept])
        hull = _hull_at(ends, fractions, energies)
        line = cls(
            names=tuple(phases.names[at] for at in kept),
            formulas=tuple(phases.formulas[at] for at in kept),
            fractions=fractions,
            energies=energies,
            units=phases.units[kept] / (1 + ions),
            ions=ions,
            reactants=(first.name, second.name),
            ends=ends,
            own=np.where(np.isnan(own), hull, own),
            end_units=np.array([part.unit.num_atoms for part in pair]) / (1 + end_ions),
            end_ions=end_ions,
            hull=hull,
            ion=ion,
            voltage=voltage,
        )
        return line.with_stable_ends()

    def with_stable_ends(self) -> MixingLine:
        """Add to the hull what lies below it of the two phases."""
        below = np.flatnonzero(self.own < self.hull - ENERGY_ROUNDING)
        if not len(below):
            return self
        names = tuple(self.reactants[at] for at in below.tolist())
        fractions = np.vstack([self.fractions, self.ends[below]])
        energies = np.append(self.energies, self.own[below])
        return replace(
            self,
            names=(*self.names, *names),
            formulas=(*self.formulas, *names),
            fractions=fractions,
            energies=energies,
            units=np.append(self.units, self.end_units[below]),
            ions=np.append(self.ions, self.end_ions[below]),
            hull=_hull_at(self.ends, fractions, energies),
        )

    def find_minimum(self) -> MutualReaction:
        """Find the reaction at the lowest mutual energy.

        The energy is linear between two kinks, so one of them is lowest.
        """
        kinks = self.list_kinks()
        lowest = min(kinks, key=lambda kink: kink.mutual)
        return lowest if lowest.is_mutual else min(kinks[-1], kinks[0], key=lambda kink: kink.total)

    def list_kinks(self) -> tuple[MutualReaction, ...]:
        """List the reactions at both ends and at every kink between, by the ratio."""
        return tuple(self.write_reaction(ratio, made) for ratio, made in self.follow_hull())

    def follow_hull(self) -> list[tuple[float, FloatArray]]:
        """Ratios at which the energy bends, with the products, and both ends."""
        walked = dict(walk_hull(self.fractions, self.energies, self.ends[1], self.ends[0]))
        bends = _find_bends({ratio: float(made @ self.energies) for ratio, made in walked.items()})
        return [(ratio, walked[ratio]) for ratio in bends]

    def write_reaction(self, ratio: float, made: FloatArray) -> MutualReaction:
        """Write the reaction at a mixing ratio.

        Args:
            ratio: share of the counted atoms from the first phase.
            made: shape (n,), counted atoms in each phase.
        """
        shares = np.array([ratio, 1 - ratio])
        gain = float(made @ self.energies - shares @ self.hull)
        mutual = gain if gain < -STRAIGHT else 0.0
        alone = float(shares @ np.minimum(self.hull - self.own, 0.0))
        ions = float(shares @ self.end_ions - made @ self.ions)
        used, formed = self.take_out_unchanged(shares, made)
        reactants: dict[str, float] = {}
        for name, amount in zip(self.reactants, used / self.end_units, strict=True):
            if amount > TRACE_AMOUNT:
                reactants[name] = reactants.get(name, 0.0) + float(amount)
        products = {
            self.names[at]: float(formed[at] / self.units[at])
            for at in np.flatnonzero(formed > TRACE_AMOUNT).tolist()
        }
        scale = 1.0 / min(reactants.values(), default=1.0)
        formulas = dict(zip(self.names, self.formulas, strict=True))
        return MutualReaction(
            ratio=ratio,
            total=mutual + alone,
            mutual=mutual,
            reactants={name: scale * amount for name, amount in reactants.items()},
            products={name: scale * amount for name, amount in products.items()},
            formulas={name: formulas[name] for name in products},
            ion=self.ion,
            ions=scale * ions,
            voltage=self.voltage,
            n_atoms=float(shares @ (1 + self.end_ions)),
        )

    def take_out_unchanged(self, shares: FloatArray, made: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Take out of both sides the part of a stable phase that takes no part.

        Args:
            shares: shape (2,), counted atoms of the two phases.
            made: shape (n,), counted atoms in each phase of the hull.

        Returns:
            The counted atoms that react, shape (2,), and those that form, shape (n,).
        """
        used, formed = shares.copy(), made.copy()
        for at in (0, 1):
            same = np.abs(self.fractions - self.ends[at]).max(axis=1) < SAME_COMPOSITION
            same &= np.abs(self.ions - self.end_ions[at]) < SAME_COMPOSITION
            same &= self.energies > self.own[at] - ENERGY_ROUNDING  # no more stable form of it
            for column in np.flatnonzero(same).tolist():
                unchanged = min(used[at], formed[column])
                used[at] -= unchanged
                formed[column] -= unchanged
        return used, formed


def _hull_at(ends: FloatArray, fractions: FloatArray, energies: FloatArray) -> FloatArray:
    """Energy of the most stable mixture of phases at both ends, shape (2,), eV per atom.

    Args:
        ends: shape (2, m), fractions.
        fractions: shape (n, m), of the phases.
        energies: shape (n,), of the phases.
    """
    walked = walk_hull(fractions, energies, ends[0], ends[1])
    return np.array([walked[at][1] @ energies for at in (0, -1)])


def _find_bends(energies: Mapping[float, float]) -> list[float]:
    """Ratios at which a convex energy bends, with both ends, sorted.

    Args:
        energies: eV per counted atom by ratio; among them are all bends.
    """
    ratios = sorted(energies)
    bends = ratios[:1]
    for at, right in pairwise(ratios[1:]):
        left = bends[-1]
        chord = (energies[left] * (right - at) + energies[right] * (at - left)) / (right - left)
        if chord - energies[at] > STRAIGHT:
            bends.append(at)
    return [*bends, ratios[-1]]
