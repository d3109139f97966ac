"""Electrochemical windows: their limits, and the reactions that set them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.formulas import write_formula
from surrogates.stability.hulls import phase_diagram
from surrogates.stability.phase_arrays import SAME_COMPOSITION, tabulate_phases
from surrogates.stability.reference import ReferenceSet

if TYPE_CHECKING:
    from pymatgen.core import Composition

CHARGES = {"Li": 1, "Na": 1, "K": 1, "Mg": 2, "Ca": 2, "Zn": 2, "Al": 3}
Ion = Literal["Li", "Na", "K", "Mg", "Ca", "Zn", "Al"]

ON_HULL = 1e-3
"""eV/atom, distance up to which a phase counts as on the hull. Chosen five times the scatter of a relaxation:
cells of one phase that were started differently end within 2e-4 eV/atom of each other."""

ENERGY_ROUNDING = 1e-6  # eV/atom: energies are kept to a millionth of an eV per cell
LP_SLACK = 1e-9  # eV/atom; chosen: rounding then makes no linear program infeasible
TRACE_AMOUNT = 1e-7  # formula units per ion; smaller amounts in a reaction are rounding; chosen
PROBE_CHANGE = 1e-4  # relative change of the ion's amount that shows the phases beyond a limit; chosen
LEAST_DEVIATION = 1e-6  # V; smaller changes of a limit are rounding; chosen
LARGEST_DENOMINATOR = 64  # of coefficients written as fractions; chosen, no published reaction needs more


@dataclass(frozen=True, slots=True)
class Reaction:
    """An exchange of the working ion, per formula unit of the scarcest reactant.

    Attributes:
        reactants, products: formula units by phase, positive; the ion itself is in neither.
        formulas: formula by phase, where it is not the phase's name.
        ion: the working ion.
        ions: ions given off; negative where they are taken up.
        voltage: V against the ion's metal, from the energies of the phases.
    """

    reactants: Mapping[str, float]
    products: Mapping[str, float]
    formulas: Mapping[str, str]
    ion: Ion
    ions: float
    voltage: float

    def __str__(self) -> str:
        """Reaction in chemical notation, `Li2O -> 1/2 Li2O2 + Li`."""
        left = [self._write_term(name, amount) for name, amount in self.reactants.items()]
        right = [self._write_term(name, amount) for name, amount in self.products.items()]
        (left if self.ions < 0 else right).append(write_term(self.ion, abs(self.ions)))
        return f"{' + '.join(left)} -> {' + '.join(right)}"

    def _write_term(self, name: str, amount: float) -> str:
        return write_term(self.formulas.get(name, name), amount)


def write_term(formula: str, amount: float) -> str:
    """Write a `formula` with its coefficient `amount`.

    The coefficient is left out if it is 1, and a fraction if it is one.
    """
    fraction = Fraction(amount).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(fraction) - amount) > 1e-6 * max(amount, 1.0):
        return f"{amount:.3g} {formula}"
    return formula if fraction == 1 else f"{fraction} {formula}"


@dataclass(frozen=True, slots=True)
class Window:
    """Voltages between which a phase does not exchange the ion.

    Attributes:
        reduction: V against the ion's metal; below it the phase takes up the ion. 0 where it is stable against
            the metal.
        oxidation: V; above it the phase gives off the ion.
        of_products: True if the phase lies above the hull, and this is the window of its decomposition products.
        decomposition: formula of each decomposition product; the phase's own alone where it is on the hull.
        reduction_reaction: sets the reduction limit; None where no phase reacts with the metal.
        oxidation_reaction: sets the oxidation limit; None where the decomposition products hold the metal.
        above_hull: eV/atom, distance of the phase to the hull; negative below it.
    """

    reduction: float
    oxidation: float
    of_products: bool
    decomposition: tuple[str, ...] = ()
    reduction_reaction: Reaction | None = None
    oxidation_reaction: Reaction | None = None
    above_hull: float = 0.0

    @property
    def counted_as_on_hull(self) -> bool:
        """True if the phase lies above the hull, and no further than `ON_HULL`."""
        return not self.of_products and self.above_hull > ENERGY_ROUNDING

    @property
    def width(self) -> float:
        """Oxidation less reduction limit, V."""
        return self.oxidation - self.reduction


def electrochemical_window(
    reference: ReferenceSet, composition: Composition, energy_per_atom: float, ion: Ion
) -> Window:
    """Voltages between which a phase does not exchange the ion.

    The chemical potentials mu at which a phase of composition c and energy e coexists with all others form a
    polytope: mu.c = e, and mu.c_i <= e_i for every competing phase i. The two ends of its projection on the ion
    are the limits; V = -(mu - mu0)/z. They equal the slopes of the hull on the line from the phase to the pure
    ion. Below the hull (decomposition energy negative) the phase itself enters with its own energy; above it, e
    is the hull's energy, and the window is the decomposition products'. Up to `ON_HULL` above it the window is
    still called the phase's own; the limits are continuous there.

    Args:
        reference: the competing phases, with the ion's metal.
        composition: of the phase; contains the ion and something else.
        energy_per_atom: eV/atom, from the potential that made `reference`.
        ion: the working ion.

    Raises:
        ValueError: the ion is not in the composition, or nothing else is.
        MissingReferenceError: an element or a binary edge of the candidate is not in `reference`.

    Source:
        Richards et al., Chem. Mater. 28, 266 (2016); Zhu, He, Mo, ACS Appl. Mater. Interfaces 7, 23685 (2015).
    """
    system = _PhaseSystem.gather_phases(reference, composition, ion)
    return system.find_window(system.decompose(), energy_per_atom)


def window_deviations(
    reference: ReferenceSet, composition: Composition, window: Window, ion: Ion, per_atom: float
) -> dict[str, float]:
    """Standard deviations of the limits of a window and of its width, V.

    The energy of the reacting phases is raised and lowered by `per_atom` against all other phases, and the limits are found
    again. Their root mean square change is the deviation. While the same reaction sets a limit, that is `per_atom` times the
    atoms that react, over the charge that is exchanged. Near the hull little charge may be exchanged; the limit then moves
    only as far as the next reaction, or that of the decomposition products, takes over.

    Args:
        reference: the competing phases; all forms of a compound err alike.
        composition: of the phase whose window it is.
        window: from `electrochemical_window`.
        ion: the working ion.
        per_atom: standard deviation of the energies of phases against one another, eV/atom.

    Returns:
        By `reduction_limit`, `oxidation_limit` and `window_width`; without those that do not move.
    """
    system = _PhaseSystem.gather_phases(reference, composition, ion)
    found = (
        system.shift_products(window, per_atom)
        if window.of_products
        else system.shift_phase(window, per_atom)
    )
    return {name: value for name, value in found.items() if value > LEAST_DEVIATION}


def products(
    reference: ReferenceSet,
    composition: Composition,
    energy_per_atom: float | None = None,
    *,
    ion: Ion | None = None,
    change: Literal["none", "oxidised", "reduced"] = "none",
) -> dict[str, float]:
    """Phases a composition decomposes into, or forms first when it exchanges the ion.

    Args:
        reference: the competing phases; the candidate is not among them.
        composition: of the candidate.
        energy_per_atom: of the candidate, eV/atom, for a change; by default it has decomposed.
        ion: the working ion; a change needs it.
        change: `oxidised` is just above the oxidation limit, `reduced` just below the reduction limit: the
            ion's amount has changed by `PROBE_CHANGE`. `Window` has the reactions themselves.

    Returns:
        Fraction of the atoms in each phase, by the phase's name in the set; of a change, with a candidate that
        its energy puts on the hull or below it by its formula, and with the ion's metal where nothing reacts
        with it.

    Raises:
        ValueError: a change without an ion, or of a composition without it.
        MissingReferenceError: an element or a binary edge of the composition is not in `reference`.
    """
    if change == "none":
        diagram = phase_diagram(reference, [element.symbol for element in composition])
        shares = diagram.get_decomposition(composition)
        return {item.name: float(share) for item, share in shares.items() if share > TRACE_AMOUNT}
    if ion is None:
        raise ValueError(f"name the working ion: {write_formula(composition)} is {change} by its exchange")
    system = _PhaseSystem.gather_phases(reference, composition, ion)
    amounts = system.decompose()
    window = system.find_window(amounts, np.inf if energy_per_atom is None else energy_per_atom)
    exchanged = PROBE_CHANGE * float(system.here[system.place])  # ions per atom of the composition
    return system.exchange_ions(window, amounts, exchanged if change == "oxidised" else -exchanged)


@dataclass(frozen=True)
class _PhaseSystem:
    """The phases around a composition, as arrays.

    Attributes:
        here: shape (m,), atomic fractions of the composition in m elements.
        fractions: shape (n, m), of the n competing phases.
        energies: shape (n,), eV/atom.
        names, formulas: of the phases.
        units: shape (n,), atoms in a formula unit of each phase.
        formula, unit: of the composition.
        place: column of the ion.
        ion: the working ion.
    """

    here: FloatArray
    fractions: FloatArray
    energies: FloatArray
    names: Sequence[str]
    formulas: Sequence[str]
    units: FloatArray
    formula: str
    unit: float
    place: int
    ion: Ion

    @classmethod
    def gather_phases(cls, reference: ReferenceSet, composition: Composition, ion: Ion) -> _PhaseSystem:
        """Gather the phases of the set within the elements of a composition.

        Args:
            reference: the competing phases.
            composition: of the candidate.
            ion: the working ion; see `electrochemical_window` for errors.
        """
        symbols = tuple(sorted(element.symbol for element in composition))
        if ion not in symbols:
            raise ValueError(
                f"{write_formula(composition)} has no {ion}: it has no window against {ion} metal"
            )
        if len(symbols) == 1:
            raise ValueError(f"a window needs an element beside the working ion {ion}")
        phases = tabulate_phases(reference, symbols)
        _, factor = composition.get_reduced_formula_and_factor()
        return cls(
            here=np.array([composition.get_atomic_fraction(symbol) for symbol in symbols]),
            fractions=phases.fractions,
            energies=phases.energies,
            names=phases.names,
            formulas=phases.formulas,
            units=phases.units,
            formula=write_formula(composition),
            unit=composition.num_atoms / factor,
            place=symbols.index(ion),
            ion=ion,
        )

    @property
    def metal(self) -> float:
        """Energy of the ion's metal, eV/atom."""
        return float(self.energies[self.fractions[:, self.place] == 1.0].min())

    def decompose(self) -> FloatArray:
        """Decompose the composition: share of the atoms in each phase.

        The phases are those of the most stable combination.

        Returns:
            Shape (n,).
        """
        from scipy.optimize import linprog

        found = linprog(
            self.energies, A_eq=self.fractions.T, b_eq=self.here, bounds=(0, None), method="highs-ds"
        )
        if not found.success:
            raise InvdesignError(f"the phases around {self.formula} have no hull: {found.message}")
        shares = np.asarray(found.x, dtype=float)
        return np.where(shares > TRACE_AMOUNT, shares, 0.0)

    def find_window(self, amounts: FloatArray, energy: float) -> Window:
        """Find the window of a phase.

        Args:
            amounts: of `decompose`, shape (n,).
            energy: of the phase, eV/atom.
        """
        hull = float(amounts @ self.energies)
        own = energy <= hull + ON_HULL
        if energy < hull - ENERGY_ROUNDING:
            limits = [self.find_own_limit(energy, side) for side in (1.0, -1.0)]
        else:
            limits = [self.find_products_limit(amounts, side, own=own) for side in (1.0, -1.0)]
        (oxidation, at_oxidation), (reduction, at_reduction) = limits
        formulas = [self.formulas[j] for j in _nonzero_indices(amounts)]
        return Window(
            reduction=max(0.0, reduction),
            oxidation=max(0.0, oxidation),
            of_products=not own,
            decomposition=(self.formula,) if own else tuple(dict.fromkeys(formulas)),
            reduction_reaction=at_reduction,
            oxidation_reaction=at_oxidation,
            above_hull=energy - hull,
        )

    def shift_phase(self, window: Window, per_atom: float) -> dict[str, float]:
        """Deviations of the limits of a phase of its own, V, when its energy is shifted.

        The width changes by both: a lower energy raises the oxidation limit and lowers the reduction limit.

        Args:
            window: of the phase.
            per_atom: shift of its energy, and of that of other forms of the compound, eV/atom.
        """
        energy = float(self.decompose() @ self.energies) + min(window.above_hull, 0.0)
        same = np.abs(self.fractions - self.here).max(axis=1) < SAME_COMPOSITION
        moved = []
        for shift in (per_atom, -per_atom):
            other = replace(self, energies=np.where(same, self.energies + shift, self.energies))
            moved.append(other.find_window(other.decompose(), energy + shift))
        return {
            "reduction_limit": _root_mean_square(item.reduction - window.reduction for item in moved),
            "oxidation_limit": _root_mean_square(item.oxidation - window.oxidation for item in moved),
            "window_width": _root_mean_square(item.width - window.width for item in moved),
        }

    def shift_products(self, window: Window, per_atom: float) -> dict[str, float]:
        """Deviations of the limits of decomposition products, V, when the energies of those that react are shifted.

        The width's is the sum of both.

        Args:
            window: of the products.
            per_atom: shift of the energies, eV/atom.
        """
        limits = {
            "reduction_limit": (-1.0, window.reduction, window.reduction_reaction),
            "oxidation_limit": (1.0, window.oxidation, window.oxidation_reaction),
        }
        found = {}
        for name, (side, limit, reaction) in limits.items():
            if reaction is None:
                continue
            rows = self.fractions[
                [place for place, phase in enumerate(self.names) if phase in reaction.reactants]
            ]
            apart = np.abs(self.fractions[:, None] - rows[None]).max(axis=2)
            same = (apart < SAME_COMPOSITION).any(axis=1)
            moved = []
            for shift in (per_atom, -per_atom):
                other = replace(self, energies=np.where(same, self.energies + shift, self.energies))
                voltage, _ = other.find_products_limit(other.decompose(), side, own=False)
                moved.append(max(0.0, voltage) - limit)
            found[name] = _root_mean_square(moved)
        return {**found, "window_width": sum(found.values())}

    def name_shares(self, amounts: FloatArray) -> dict[str, float]:
        """Nonzero `amounts` by the phase's name."""
        return {self.names[j]: float(amounts[j]) for j in _nonzero_indices(amounts)}

    def exchange_ions(self, window: Window, amounts: FloatArray, ions: float) -> dict[str, float]:
        """Fraction of the atoms in each phase after a few ions were exchanged.

        Args:
            window: its reactions go on; where there is none, the metal is added.
            amounts: of `decompose`.
            ions: given off per atom, negative where taken up.
        """
        units = dict(zip(self.names, self.units.tolist(), strict=True))
        atoms = self.name_shares(amounts)
        if not window.of_products:
            atoms, units = {self.formula: 1.0}, {**units, self.formula: self.unit}
        reaction = window.oxidation_reaction if ions > 0 else window.reduction_reaction
        if reaction is None:
            metal = self.names[int(np.argmin(np.where(self._not_metal, np.inf, self.energies)))]
            atoms[metal] = atoms.get(metal, 0.0) - ions
        else:
            extent = ions / reaction.ions
            for sign, side in ((-1.0, reaction.reactants), (1.0, reaction.products)):
                for name, amount in side.items():
                    atoms[name] = atoms.get(name, 0.0) + sign * extent * amount * units[name]
        total = sum(atoms.values())
        return {name: amount / total for name, amount in atoms.items()}

    def find_own_limit(self, energy: float, side: float) -> tuple[float, Reaction | None]:
        """Find a limit of a phase below the hull, V, and its reaction.

        Args:
            energy: of the phase, eV/atom.
            side: 1 where the ion is given off, -1 where it is taken up.
        """
        potential, taken, made = self._find_extreme(
            side, self.here[None], np.array([energy]), range(len(self.energies))
        )
        if taken[0] > -TRACE_AMOUNT:  # the metal alone bounds the potential: nothing of the phase reacts
            return self._to_voltage(potential), None
        return self._to_voltage(potential), self._write_reaction(
            side, -float(taken[0]), energy, np.zeros_like(made), made
        )

    def find_products_limit(
        self, amounts: FloatArray, side: float, *, own: bool
    ) -> tuple[float, Reaction | None]:
        """Find a limit of the most stable combination, V, and its reaction.

        Args:
            amounts: of the combination, shape (n,), share of the atoms.
            side: 1 where the ion is given off, -1 where it is taken up.
            own: True to write the reaction for the phase on the hull instead of those it consists of.
        """
        present = _nonzero_indices(amounts)
        absent = _nonzero_indices(amounts == 0)
        potential, changes, made = self._find_extreme(
            side, self.fractions[present], self.energies[present], absent, LP_SLACK
        )
        net = np.zeros(len(self.energies))
        net[present], net[absent] = changes, made
        net[np.abs(net) < TRACE_AMOUNT] = 0.0
        consumed = np.maximum(-net, 0.0)
        if not consumed[self._not_metal].any():
            return self._to_voltage(potential), None
        if not own:
            return self._to_voltage(potential), self._write_reaction(
                side, 0.0, 0.0, consumed, np.maximum(net, 0.0)
            )
        # The least of the phase that supplies all that is consumed; the rest of it stays as it is.
        needed = float((consumed[present] / amounts[present]).max())
        left = np.maximum(net + needed * amounts, 0.0)
        hull = float(amounts @ self.energies)
        return self._to_voltage(potential), self._write_reaction(side, needed, hull, np.zeros_like(net), left)

    @property
    def _not_metal(self) -> NDArray[np.bool_]:
        return self.fractions[:, self.place] < 1.0

    def _to_voltage(self, potential: float) -> float:
        return float(self.metal - potential) / CHARGES[self.ion]

    def _find_extreme(
        self, side: float, equal: FloatArray, levels: FloatArray, others: Sequence[int], slack: float = 0.0
    ) -> tuple[float, FloatArray, FloatArray]:
        """Find an end of the ion's chemical potential, with the multipliers.

        The multipliers are the reaction, per ion and per atom: the change of composition by an ion. Those of
        the phases that are present may have either sign, those of all others are amounts that form.

        Args:
            side: 1 for the lowest potential, -1 for the highest.
            equal: atomic fractions (k, m) of the phases that are present.
            levels: their energies (k,), eV/atom.
            others: numbers of the phases that are absent.
            slack: eV/atom.
        """
        from scipy.optimize import linprog

        objective = np.zeros(len(self.here))
        objective[self.place] = side
        found = linprog(
            objective, A_ub=self.fractions[list(others)], b_ub=self.energies[list(others)] + slack,
            A_eq=equal, b_eq=levels, bounds=(None, None), method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )  # fmt: skip
        if not found.success:
            raise InvdesignError(f"the chemical potentials could not be bounded: {found.message}")
        changes = -np.asarray(found.eqlin.marginals, dtype=float)
        made = -np.asarray(found.ineqlin.marginals, dtype=float)
        return side * float(found.fun), changes, made

    def _write_reaction(
        self, side: float, phase: float, energy: float, consumed: FloatArray, made: FloatArray
    ) -> Reaction | None:
        """Write a reaction from its amounts per ion.

        Returns None if only the metal is left of it.

        Args:
            side: 1 where the ion is given off, -1 where it is taken up.
            phase: atoms of the composition itself that react.
            energy: of the composition, eV/atom.
            consumed: atoms of each phase that react, shape (n,).
            made: atoms of each phase that form, shape (n,).
        """
        metal = self.fractions[:, self.place] == 1.0
        ions = side + float((made - consumed)[metal].sum())
        if abs(ions) < TRACE_AMOUNT:
            return None
        consumed, made = np.where(metal, 0.0, consumed), np.where(metal, 0.0, made)
        change = float((made - consumed) @ self.energies) - phase * energy
        reactants = {self.formula: phase / self.unit} if phase > TRACE_AMOUNT else {}
        reactants |= self._count_formula_units(consumed)
        scale = 1.0 / min(reactants.values())
        used = {
            self.names[j]: self.formulas[j]
            for j in _nonzero_indices((made > TRACE_AMOUNT) | (consumed > TRACE_AMOUNT))
        }
        return Reaction(
            reactants={name: scale * amount for name, amount in reactants.items()},
            products={name: scale * amount for name, amount in self._count_formula_units(made).items()},
            formulas=used,
            ion=self.ion,
            ions=scale * ions,
            voltage=float(change / ions + self.metal) / CHARGES[self.ion],
        )

    def _count_formula_units(self, atoms: FloatArray) -> dict[str, float]:
        """Nonzero formula units of each phase, by its name."""
        return {
            self.names[j]: float(atoms[j] / self.units[j]) for j in _nonzero_indices(atoms > TRACE_AMOUNT)
        }


def _root_mean_square(changes: Iterable[float]) -> float:
    return float(np.sqrt(np.mean(np.square(list(changes)))))


def _nonzero_indices(mask: NDArray[Any]) -> list[int]:
    """Indices of the nonzero elements."""
    return [int(place) for place in np.flatnonzero(mask)]
