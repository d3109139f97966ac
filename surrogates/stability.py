"""Thermodynamic stability against a frozen set of competing phases, and the electrochemical window."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from invdesign import registry
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings, FloatArray
from surrogates.coverage import coverage_notes, require_coverage
from surrogates.reference import ReferenceField, ReferenceSet, phase_diagram

if TYPE_CHECKING:
    from pymatgen.core import Composition

UNCERTAINTY = 0.05
"""eV/atom, one standard deviation given for hull distances by machine-learned potentials: two checkpoints of
CHGNet differ by 21 meV/atom on average over 31 anti-perovskites, and CHGNet 0.3.0 and density functional
theory by 40 to 50 meV/atom for Li3OCl."""

CHARGES = {"Li": 1, "Na": 1, "K": 1, "Mg": 2, "Ca": 2, "Zn": 2, "Al": 3}
Ion = Literal["Li", "Na", "K", "Mg", "Ca", "Zn", "Al"]

ON_HULL = 1e-6  # eV/atom: energies are kept to a millionth of an eV per cell
SLACK = 1e-9  # eV/atom, so that rounding never makes a linear program infeasible
PROBE = 1e-4  # relative change of the ion's amount that shows what forms beyond a limit


def decomposition_energy(reference: ReferenceSet, composition: Composition, energy_per_atom: float) -> float:
    """Energy of a phase against the most stable combination of other phases at its composition.

    Args:
        reference: the competing phases; the candidate is not among them.
        composition: of the candidate.
        energy_per_atom: eV/atom, from the potential that made `reference`.

    Returns:
        eV/atom, signed: negative means more stable than every combination of competing phases. A clamped
        distance ties all stable phases at zero; this one ranks them.

    Raises:
        MissingReferenceError: an element or a binary edge of the candidate is not in `reference`.

    Source:
        Bartel et al., npj Comput. Mater. 6, 97 (2020), for the sign; Ong et al., Chem. Mater. 20, 1798 (2008),
        for the hull.
    """
    diagram = phase_diagram(reference, _symbols(composition))
    return float(energy_per_atom - diagram.get_hull_energy_per_atom(composition))


@dataclass(frozen=True, slots=True)
class Window:
    """Voltages against the ion's metal between which a phase neither takes up nor gives off the ion.

    Attributes:
        reduction: V; below it the phase takes up the ion. 0 where it is stable against the metal.
        oxidation: V; above it the phase gives off the ion.
        of_products: the phase lies above the hull, and this is the window of what it decomposes into.
    """

    reduction: float
    oxidation: float
    of_products: bool

    @property
    def width(self) -> float:
        """V."""
        return self.oxidation - self.reduction


def electrochemical_window(
    reference: ReferenceSet, composition: Composition, energy_per_atom: float, ion: Ion
) -> Window:
    """The interval of voltage without exchange of the ion.

    The chemical potentials mu at which a phase of composition c and energy e coexists with all others form a
    polytope: mu.c = e, and mu.c_i <= e_i for every competing phase i. The two ends of its projection on the
    ion are the limits; V = -(mu - mu0)/z. They equal the slopes of the hull on the line from the phase to the
    pure ion. Below the hull (decomposition energy negative) the phase itself enters with its own energy; above
    it, e is the hull's energy, and the window is the decomposition products'.

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
    symbols = _symbols(composition)
    if ion not in symbols:
        raise ValueError(f"{composition.reduced_formula} has no {ion}: it has no window against {ion} metal")
    if len(symbols) == 1:
        raise ValueError(f"a window needs an element beside the working ion {ion}")
    require_coverage(reference, symbols)
    fractions, energies = _competitors(reference, symbols)
    here = np.array([composition.get_atomic_fraction(symbol) for symbol in symbols])
    hull = -_minimise(-here, fractions, energies)
    energy = min(energy_per_atom, hull)
    rows = np.vstack([fractions, here, -here])
    limits = np.concatenate([energies, [energy, SLACK - energy]])
    axis = np.array([1.0 if symbol == ion else 0.0 for symbol in symbols])
    metal = energies[fractions[:, symbols.index(ion)] == 1.0].min()
    lowest, highest = _minimise(axis, rows, limits), -_minimise(-axis, rows, limits)
    charge = CHARGES[ion]
    return Window(
        reduction=max(0.0, float(metal - highest) / charge),
        oxidation=max(0.0, float(metal - lowest) / charge),
        of_products=bool(energy_per_atom > hull + ON_HULL),
    )


def products(
    reference: ReferenceSet,
    composition: Composition,
    *,
    ion: Ion | None = None,
    change: Literal["none", "oxidised", "reduced"] = "none",
) -> dict[str, float]:
    """What a composition decomposes into, and what forms first where it loses or takes up the ion.

    Args:
        reference: the competing phases; the candidate is not among them.
        composition: of the candidate.
        ion: the working ion, for a change.
        change: `oxidised` looks just above the oxidation limit of the products, `reduced` just below the
            reduction limit.

    Returns:
        Fraction of the atoms in each phase, by the phase's name in the set.
    """
    amounts = composition.get_el_amt_dict()
    if change != "none" and ion is not None:
        amounts[ion] = amounts.get(ion, 0.0) * (1.0 - PROBE if change == "oxidised" else 1.0 + PROBE)
    diagram = phase_diagram(reference, _symbols(composition))
    shares = diagram.get_decomposition(type(composition)(amounts))
    return {item.name: float(share) for item, share in shares.items() if share > ON_HULL}


def _symbols(composition: Composition) -> tuple[str, ...]:
    return tuple(sorted(element.symbol for element in composition))


def _competitors(reference: ReferenceSet, symbols: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Atomic fractions (n, m) of the n phases within m elements, and their energies (n,) in eV/atom."""
    phases = reference.within(symbols)
    fractions = np.array([[phase.composition.get(s, 0) / phase.n_atoms for s in symbols] for phase in phases])
    return fractions, np.array([phase.energy_per_atom for phase in phases])


def _minimise(objective: FloatArray, rows: FloatArray, limits: FloatArray) -> float:
    """Least `objective . mu` over all mu with `rows @ mu <= limits`."""
    from scipy.optimize import linprog

    found = linprog(
        objective,
        A_ub=rows,
        b_ub=limits,
        bounds=(None, None),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not found.success:
        raise InvdesignError(f"the chemical potentials could not be bounded: {found.message}")
    return float(found.fun)


# --- evaluators --------------------------------------------------------------------------------------------


class _AgainstReference(EvaluatorSettings, ABC):
    """What the evaluators here share: a reference set, and energies of its potential alone."""

    reference: ReferenceField = Field(default="lithium-chalcohalides", validate_default=True)
    """A shipped reference set (`lithium-chalcohalides`), or a file that `invdesign reference build` wrote. Its
    potential must be the one that relaxes the candidates."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"energy_per_atom", "composition"})

    @property
    def potential_id(self) -> str:
        return self.reference.potential

    @property
    def fingerprint(self) -> str:
        """Follows the set's content, not its name: the same set from a file and from the package is one."""
        fields = self.model_dump(mode="json", exclude={"reference"})
        text = json.dumps(
            [registry.name_of(type(self)), fields, self.reference.hash, self.version], sort_keys=True
        )
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on known compounds that the set does not hold."""
        try:
            return coverage_notes(self.reference.load())
        except InvdesignError:  # another set than the pinned one; evaluating says so
            return ()

    def prepare(self) -> None:
        """Read the set, and import what makes hulls of it."""
        reference = self.reference.load()
        phase_diagram(reference, sorted(reference.elements)[:1])

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._one(item) for item in inputs]

    def _one(self, item: Input) -> Evaluation:
        composition = item.design.composition
        if composition is None:
            return Evaluation(failure=Failure("missing", "", "the design has no composition"))
        try:
            return self._judge(composition, item.properties["energy_per_atom"])
        except MissingReferenceError as error:
            return Evaluation(failure=Failure("missing", "", str(error)))
        except ValueError as error:
            return Evaluation(failure=Failure("error", "", str(error)))

    @abstractmethod
    def _judge(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        """The evaluator's own property of one candidate; ValueError where it has none."""


class DecompositionEnergy(_AgainstReference):
    """Signed energy against the most stable competing phases; negative is stable.

    The hull is that of a frozen, hashed reference set without the candidate, so that stable candidates are
    ranked too and no candidate's value depends on another's. The uncertainty of 0.05 eV/atom is that of
    machine-learned potentials here (see `UNCERTAINTY`).
    """

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"decomposition_energy": "eV/atom"}

    def _judge(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        value = decomposition_energy(self.reference.load(), composition, energy_per_atom)
        return Evaluation(
            properties={"decomposition_energy": value}, uncertainties={"decomposition_energy": UNCERTAINTY}
        )


class EnergyAboveHull(_AgainstReference):
    """Distance to the convex hull of the reference set, zero for whatever lies on it or below.

    For ranking prefer `decomposition_energy`: this one ties all stable candidates.
    """

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"energy_above_hull": "eV/atom"}

    def _judge(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        value = max(0.0, decomposition_energy(self.reference.load(), composition, energy_per_atom))
        return Evaluation(
            properties={"energy_above_hull": value}, uncertainties={"energy_above_hull": UNCERTAINTY}
        )


class StabilityWindow(_AgainstReference):
    """Voltages against the ion's metal between which the ion is neither taken up nor given off.

    A candidate below the hull of the reference set has its own window; one above it gets the window of its
    decomposition products, and `window_of_products` is 1.
    """

    ion: Ion
    """The working ion; a candidate without it fails."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"reduction_limit": "V", "oxidation_limit": "V", "window_width": "V", "window_of_products": ""}

    def _judge(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        window = electrochemical_window(self.reference.load(), composition, energy_per_atom, self.ion)
        return Evaluation(
            properties={
                "reduction_limit": window.reduction,
                "oxidation_limit": window.oxidation,
                "window_width": window.width,
                "window_of_products": float(window.of_products),
            }
        )
