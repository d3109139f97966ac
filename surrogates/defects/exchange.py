"""Exchange of atoms with the surroundings of a crystal.

Its energy, and the phases that fix it.

The atoms that a defect takes up come from phases in equilibrium with the host, and those it gives off go there. Where these phases
fix the energy of the exchange, it is that of a reaction: sum of n_i mu_i = sum of x_k e_k, with mu.c_k = e_k for every phase k and
n = sum of x_k c_k. So potentials of single elements are needed only where a limit asks for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.structures.formulas import list_element_symbols, parse_composition, write_formula
from invdesign.wording import count_noun, list_first
from surrogates.defects.conditions import Conditions
from surrogates.stability.coverage import require_coverage
from surrogates.stability.phase_arrays import SAME_COMPOSITION, read_formula_unit
from surrogates.stability.windows import CHARGES, ON_HULL, TRACE_AMOUNT, write_term

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from surrogates.stability.reference import Phase, ReferenceSet

FREE_ENERGY = (
    1e-4  # eV; an exchange whose energy varies by more under the conditions is not fixed by them; chosen
)
# eV/atom by which programs are loosened, since hosts lie on the hull of their set to rounding, and the solver's tolerance is 1e-7;
# energies come from the equations of the phases that are found, so they stay exact.
LOOSENING = 5e-7
ACTIVE = 1e-5  # eV/atom below its limit, within which a phase is in equilibrium; chosen above the loosening
MAX_METASTABLE = 0.1
"""eV/atom above the hull of the set, up to which a host has limits; chosen: beyond it, potentials that keep the host are those of
no real surroundings. Named neighbours have no such limit."""
SUGGESTED = 6  # phases named in a message; chosen


class UndeterminedExchangeError(InvdesignError):
    """The conditions do not fix the energy of an exchange, or contradict each other.

    The message names the remedy.
    """

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Source:
    """A phase, or an element at a voltage, that is in equilibrium with the host.

    Attributes:
        name: formula for people.
        amounts: atoms of each element in a formula unit.
        energy: eV per formula unit.
    """

    name: str
    amounts: Mapping[str, float]
    energy: float

    @property
    def n_atoms(self) -> float:
        """Atoms in a formula unit."""
        return sum(self.amounts.values())

    @classmethod
    def of_phase(cls, phase: Phase) -> Source:
        """Convert a `phase` of a reference set."""
        formula, unit = read_formula_unit(phase)
        share = unit / phase.n_atoms
        amounts = {symbol: count * share for symbol, count in phase.composition.items()}
        return cls(formula, amounts, phase.energy * share)

    @classmethod
    def of_crystal(cls, composition: Composition, energy: float) -> Source:
        """Make the source of a crystal.

        Args:
            composition: of its cell.
            energy: of the cell, eV.
        """
        reduced, factor = composition.get_reduced_composition_and_factor()
        amounts = {symbol: float(n) for symbol, n in reduced.get_el_amt_dict().items()}
        return cls(write_formula(composition), amounts, energy / factor)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Atoms taken from the surroundings, and given to them.

    Attributes:
        energy: eV, sum of n_i mu_i over the atoms that the crystal has more than the host.
        units: formula units taken up by name; negative where they are given off. The host is among them.
        host: name of the host.
        neighbours: phases that fix the potentials, beside the host.
        n_atoms: atoms of the larger side of the exchange, without those of the host.
        remarks: sentences on the conditions.
    """

    energy: float
    units: Mapping[str, float]
    host: str
    neighbours: tuple[str, ...]
    n_atoms: float
    remarks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """Reaction of the cell in words: `takes 2 Li3N, gives 3 Li2O`.

        Empty where nothing is exchanged.
        """
        taken = [write_term(name, amount) for name, amount in self.units.items() if amount > TRACE_AMOUNT]
        given = [write_term(name, -amount) for name, amount in self.units.items() if amount < -TRACE_AMOUNT]
        parts = [f"takes {' + '.join(taken)}"] if taken else []
        return ", ".join([*parts, f"gives {' + '.join(given)}"] if given else parts)


def find_exchange(
    change: Mapping[str, float],
    host: Source,
    conditions: Conditions | None = None,
    reference: ReferenceSet | None = None,
) -> Exchange:
    """Find the energy of the atoms that a crystal has more than its host.

    Args:
        change: atoms more by element; negative where there are fewer.
        host: with its own energy, from the potential of `reference`; in equilibrium with all else.
        conditions: of the surroundings; without any, the host alone counts.
        reference: competing phases; needed with conditions.

    Raises:
        UndeterminedExchangeError: the conditions do not fix the energy, contradict each other, or keep no host.
        MissingReferenceError: a named phase, or an element of a limit, is not in `reference`.

    Source:
        Zhang and Northrup, Phys. Rev. Lett. 67, 2339 (1991), for formation energies at chemical potentials; Freysoldt et al., Rev.
        Mod. Phys. 86, 253 (2014).
    """
    change = {symbol: float(n) for symbol, n in change.items() if n}
    if not change:
        return Exchange(0.0, {}, host.name, (), 0.0)
    conditions = conditions or Conditions()
    if conditions != Conditions() and reference is None:
        raise UndeterminedExchangeError("conditions need a reference set")
    named = _gather_named(conditions, reference)
    system = _System.gather(change, host, named, reference, conditions)
    rows, dropped = system.choose_independent([host, *named])
    system.refuse_contradictions(rows, dropped)
    remarks: list[str] = []
    if conditions.limits:
        neighbours, slack = system.find_neighbours(rows, conditions)
        rows, _ = system.choose_independent([*rows, *neighbours])
        remarks += system.describe_metastable_host(slack)
    elif len(rows) > 1:  # beside the host
        remarks += system.describe_supersaturation(rows)
    shares = system.solve_shares(rows)
    if shares is None:
        raise UndeterminedExchangeError(system.describe_freedom(rows, conditions))
    units = {row.name: float(x) for row, x in zip(rows, shares, strict=True) if abs(x) > TRACE_AMOUNT}
    sides = [
        sum(abs(x) * row.n_atoms for row, x in zip(rows, shares, strict=True) if sign * x > 0 and row is not host)
        for sign in (1, -1)
    ]  # fmt: skip
    return Exchange(
        energy=float(sum(x * row.energy for row, x in zip(rows, shares, strict=True))),
        units=units,
        host=host.name,
        neighbours=tuple(row.name for row in rows if row is not host),
        n_atoms=float(max(sides)),
        remarks=tuple(remarks),
    )


def _gather_named(conditions: Conditions, reference: ReferenceSet | None) -> list[Source]:
    """Look up the named phases and the ion at its voltage, all mistakes at once."""
    if reference is None:
        return []
    if mistakes := list_missing(conditions, reference):
        raise MissingReferenceError("; ".join(mistakes))
    found = []
    for formula in conditions.equilibrium_with:
        composition = parse_composition(formula)
        phase = find_lowest_phase(reference, composition)
        assert phase is not None  # told above
        source = Source.of_phase(phase)
        scale = composition.num_atoms / source.n_atoms
        amounts = {symbol: n * scale for symbol, n in source.amounts.items()}
        found.append(Source(formula, amounts, source.energy * scale))
    if conditions.ion is not None and conditions.voltage is not None:
        metal = find_lowest_phase(reference, parse_composition(conditions.ion))
        assert metal is not None  # told above
        energy = metal.energy_per_atom - CHARGES[conditions.ion] * conditions.voltage
        found.append(Source(f"{conditions.ion} at {conditions.voltage:g} V", {conditions.ion: 1.0}, energy))
    return found


def list_missing(conditions: Conditions, reference: ReferenceSet) -> list[str]:
    """List the phases and elements that conditions name and a set lacks, a sentence each.

    Args:
        conditions: of the surroundings.
        reference: the set.
    """
    mistakes = []
    for formula in conditions.equilibrium_with:
        composition = parse_composition(formula)
        if find_lowest_phase(reference, composition) is None:
            near = reference.select_phases(list_element_symbols(composition))
            names = list(dict.fromkeys(read_formula_unit(item)[0] for item in near))
            mistakes.append(
                f"{formula} is no phase of the reference set '{reference.name}'; of its elements there are "
                f"{list_first(names, SUGGESTED) or 'none'}"
            )
    elements = {element for element, _ in conditions.limits} | ({conditions.ion} if conditions.ion else set())
    mistakes += [
        f"the reference set '{reference.name}' has no elemental phase of {element}"
        for element in sorted(elements - reference.elements)
    ]
    return mistakes


def find_lowest_phase(reference: ReferenceSet, composition: Composition) -> Phase | None:
    """Find the phase of lowest energy of a `composition` in a set.

    None if no phase has it.
    """
    from pymatgen.core import Composition

    elements = list_element_symbols(composition)
    same = [
        phase
        for phase in reference.select_phases(elements)
        if set(phase.composition) == elements
        and Composition(phase.composition).fractional_composition.almost_equals(
            composition.fractional_composition, SAME_COMPOSITION
        )
    ]
    return min(same, key=lambda phase: phase.energy_per_atom, default=None)


@dataclass(frozen=True)
class _System:
    """Elements and competing phases of an exchange.

    Attributes:
        symbols: the m elements of host, change and named phases, sorted.
        change: shape (m,), atoms more than in the host.
        host: of the exchange.
        phases: phases of the set of these elements alone, without those of the host's composition.
        reference: the set they are from.
        unchecked: elements without a phase in the set, or pairs without one: a sentence, empty if there are none.
    """

    symbols: tuple[str, ...]
    change: FloatArray
    host: Source
    phases: tuple[Source, ...]
    reference: ReferenceSet | None
    unchecked: str

    @classmethod
    def gather(
        cls,
        change: Mapping[str, float],
        host: Source,
        named: Sequence[Source],
        reference: ReferenceSet | None,
        conditions: Conditions,
    ) -> _System:
        """Gather elements and phases.

        Args:
            change: atoms by element.
            host: of the exchange.
            named: phases of the conditions.
            reference: the set; None without conditions.
            conditions: whose limits name elements too.
        """
        elements = set(change) | set(host.amounts) | {element for element, _ in conditions.limits}
        elements = elements.union(*(row.amounts for row in named))
        symbols, unchecked = tuple(sorted(elements)), ""
        phases: tuple[Source, ...] = ()
        if reference is not None:
            try:
                require_coverage(reference, symbols)
            except MissingReferenceError as error:
                if conditions.limits:
                    raise
                unchecked = str(error)
            else:
                phases = tuple(Source.of_phase(phase) for phase in reference.select_phases(symbols))
        atoms = np.array([change.get(symbol, 0.0) for symbol in symbols])
        found = cls(symbols, atoms, host, phases, reference, unchecked)
        return replace(found, phases=tuple(phase for phase in phases if not found.is_host(phase)))

    def is_host(self, source: Source) -> bool:
        """True if a `source` has the composition of the host."""
        apart = self.to_row(source) / source.n_atoms - self.to_row(self.host) / self.host.n_atoms
        return bool(np.abs(apart).max() < SAME_COMPOSITION)

    def to_row(self, source: Source) -> FloatArray:
        """Amounts of a `source` by element, shape (m,)."""
        return np.array([source.amounts.get(symbol, 0.0) for symbol in self.symbols])

    def tabulate(self, sources: Sequence[Source]) -> tuple[FloatArray, FloatArray]:
        """Atomic fractions (k, m) and energies per atom (k,) of k `sources`."""
        atoms = np.array([source.n_atoms for source in sources])
        rows = np.array([self.to_row(source) for source in sources]).reshape(-1, len(self.symbols))
        return rows / atoms[:, None], np.array([source.energy for source in sources]) / atoms

    def choose_independent(self, sources: Iterable[Source]) -> tuple[list[Source], list[Source]]:
        """Divide `sources` into those of independent composition, in their order, and the rest."""
        kept: list[Source] = []
        dropped: list[Source] = []
        for source in sources:
            fractions = self.tabulate([*kept, source])[0]
            (kept if np.linalg.matrix_rank(fractions, tol=1e-6) > len(kept) else dropped).append(source)
        return kept, dropped

    def refuse_contradictions(self, rows: Sequence[Source], dropped: Sequence[Source]) -> None:
        """Refuse a named phase that reacts with the others.

        Args:
            rows: sources of independent composition.
            dropped: sources whose composition they have together.
        """
        fractions, energies = self.tabulate(rows)
        for source in dropped:
            if self.is_host(source):
                continue  # the host itself: its own energy counts, not that of a phase of the set
            here = self.to_row(source) / source.n_atoms
            shares = np.linalg.lstsq(fractions.T, here, rcond=None)[0]
            gain = source.energy / source.n_atoms - float(shares @ energies)
            if abs(gain) > ON_HULL:
                with_them = ", ".join(
                    row.name for row, x in zip(rows, shares, strict=True) if abs(x) > 1e-6
                )  # fmt: skip
                raise UndeterminedExchangeError(
                    f"{source.name} is in no equilibrium with {with_them} (they differ by {abs(gain):.3f} eV/atom at one composition): "
                    "leave one of them out of the conditions"
                )

    def solve_shares(self, rows: Sequence[Source]) -> FloatArray | None:
        """Solve for the formula units of the rows that make up the change, shape (k,).

        None if there are none.
        """
        matrix = np.array([self.to_row(row) for row in rows]).T
        shares = np.linalg.lstsq(matrix, self.change, rcond=None)[0]
        left = np.abs(matrix @ shares - self.change).max()
        return None if left > 1e-6 else np.asarray(shares)

    def find_neighbours(self, rows: Sequence[Source], conditions: Conditions) -> tuple[list[Source], float]:
        """Find the phases that are in equilibrium with the host at the limits.

        Args:
            rows: sources of independent composition that are in equilibrium anyway.
            conditions: with limits.

        Returns:
            The phases, and how far all competing phases have to be raised to keep the host, eV/atom; their energies are raised.

        Raises:
            UndeterminedExchangeError: no potentials keep the host, or a limit has no end.
        """
        fractions, energies = self.tabulate(self.phases)
        fixed, values = self.tabulate(rows)
        raised = self._find_slack(rows)
        slack = 0.0 if raised is None else raised[0]
        if slack > MAX_METASTABLE:
            raise UndeterminedExchangeError(
                f"{self.host.name} with {conditions} lies {slack:.3f} eV/atom above the hull of the set '{self._set_name}' (limit "
                f"{MAX_METASTABLE:g}): no chemical potentials keep it. Name its neighbours (equilibrium_with), or another host"
            )
        highest = energies + slack + LOOSENING
        for element, end in conditions.limits:
            sign = -1.0 if end == "rich" else 1.0
            goal = np.array([sign if symbol == element else 0.0 for symbol in self.symbols])
            found = _solve(goal, fractions, highest, fixed, values)
            if found is None:
                raise UndeterminedExchangeError(
                    f"{element} has no {end} limit here: its potential may fall without end, since it is not in {self.host.name}; "
                    f"ask for '{element}: rich', or name a phase with it (equilibrium_with)"
                )
            # The limit is fixed from here on.
            fixed = np.vstack([fixed, np.abs(goal)])
            values = np.append(values, float(np.abs(goal) @ found))
        ends = [_solve(sign * self.change, fractions, highest, fixed, values) for sign in (1.0, -1.0)]
        low, high = ends
        if low is None or high is None:
            raise UndeterminedExchangeError(self.describe_freedom(rows, conditions))
        if (free := float(self.change @ (high - low))) > FREE_ENERGY:
            raise UndeterminedExchangeError(
                f"{self.describe_freedom(rows, conditions)} The energy varies by {free:.2f} eV within them."
            )
        active = [
            Source(phase.name, phase.amounts, phase.energy + slack * phase.n_atoms)
            for phase, e, mu in zip(self.phases, highest, fractions @ low, strict=True)
            if e - mu < ACTIVE
        ]
        return active, slack

    def _find_slack(self, rows: Sequence[Source]) -> tuple[float, FloatArray] | None:
        """Find how far all phases must be raised until none is more stable than the `rows`.

        Returns:
            eV/atom, and the potentials then, shape (m,); None where no phase is more stable.
        """
        if not self.phases:
            return None
        fractions, energies = self.tabulate(self.phases)
        fixed, values = self.tabulate(rows)
        found = _solve(
            np.append(np.zeros(len(self.symbols)), 1.0),
            np.vstack(
                [
                    np.hstack([fractions, -np.ones((len(fractions), 1))]),
                    np.append(np.zeros(len(self.symbols)), -1.0),
                ]
            ),
            np.append(energies, 0.0),
            np.hstack([fixed, np.zeros((len(fixed), 1))]),
            values,
        )
        return None if found is None or found[-1] <= ACTIVE else (float(found[-1]), found[:-1])

    def describe_metastable_host(self, slack: float) -> list[str]:
        """Say that the host lies above the hull by `slack` (eV/atom), where it does."""
        if slack <= ON_HULL:
            return []
        return [
            f"{self.host.name} lies {1000 * slack:.0f} meV/atom above the hull of the set, so its neighbours are oversaturated by as much"
        ]

    def describe_supersaturation(self, rows: Sequence[Source]) -> list[str]:
        """Say that a phase of the set is more stable at the potentials of the `rows`, where one is."""
        if self.reference is None:
            return []
        if self.unchecked:
            return [f"not checked if other phases form: {self.unchecked}"]
        raised = self._find_slack(rows)
        if raised is None or raised[0] <= ON_HULL:
            return []
        fractions, energies = self.tabulate(self.phases)
        gains = fractions @ raised[1] - energies
        worst = [self.phases[k].name for k in np.flatnonzero(gains > raised[0] - ACTIVE)]
        names = list_first(list(dict.fromkeys(worst)), SUGGESTED)
        return [
            f"no equilibrium in this set: {names} would form, more stable by {1000 * raised[0]:.0f} meV/atom"
        ]

    @property
    def _set_name(self) -> str:
        return "" if self.reference is None else self.reference.name

    def describe_freedom(self, rows: Sequence[Source], conditions: Conditions) -> str:
        """Describe the potentials that are open, and what would fix them.

        Args:
            rows: sources of independent composition that are in equilibrium.
            conditions: that do not fix the exchange.
        """
        units = np.eye(len(self.symbols))
        limited = {element for element, _ in conditions.limits}
        fixed = np.vstack(
            [self.tabulate(rows)[0], *(units[k] for k, s in enumerate(self.symbols) if s in limited)]
        )
        rank = np.linalg.matrix_rank(fixed, tol=1e-6)

        def is_new(row: FloatArray) -> bool:
            return bool(np.linalg.matrix_rank(np.vstack([fixed, row]), tol=1e-6) > rank)

        open_ones = [
            symbol
            for symbol, n, unit in zip(self.symbols, self.change, units, strict=True)
            if n and is_new(unit)
        ]
        simple = sorted(self.phases, key=lambda phase: (len(phase.amounts), phase.n_atoms))
        helpful = [
            phase.name
            for phase in simple
            if set(phase.amounts) & set(open_ones) and is_new(self.tabulate([phase])[0])
        ]
        names = list_first(list(dict.fromkeys(helpful)), SUGGESTED)
        missing = int(len(self.symbols) - rank)
        limit = next((s for s in [*open_ones, *self.symbols] if s not in limited), open_ones[0])
        return (
            f"the chemical potentials of {', '.join(open_ones)} are not fixed: {self.host.name} {conditions} leaves "
            f"{count_noun(missing, 'degree')} of freedom. Name further phases in 'equilibrium_with'"
            f"{f' (of {names})' if names else ''}, or an element in 'limits', such as '{limit}: rich'."
        )


def _solve(
    goal: FloatArray, rows: FloatArray, limits: FloatArray, fixed: FloatArray, values: FloatArray
) -> FloatArray | None:
    """Minimise goal.x with rows.x <= limits and fixed.x = values.

    None if there is no lowest x.

    Args:
        goal: shape (v,).
        rows, limits: shape (p, v) and (p,).
        fixed, values: shape (q, v) and (q,).

    Raises:
        InvdesignError: the solver failed for another reason than a goal without an end.
    """
    from scipy.optimize import linprog

    # Equalities that follow from earlier ones hold only to rounding, hence twice an inequality with a margin.
    margin = LOOSENING / 5
    found = linprog(
        goal,
        A_ub=np.vstack([rows, fixed, -fixed]),
        b_ub=np.concatenate([limits, values + margin, margin - values]),
        bounds=(None, None),
        method="highs-ds",
    )
    if found.success:
        return np.asarray(found.x)
    if found.status == 3:
        return None
    raise InvdesignError(f"the chemical potentials have no solution: {found.message}")
