"""Reactions at the interface of a candidate with other phases: the evaluator, and the functions behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic_core import CoreSchema

from invdesign.candidate import Evaluation
from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.properties import Unit
from invdesign.settings import STORED_FOLDER, Frozen, validation_context
from invdesign.structures.formulas import list_element_symbols, parse_composition
from surrogates.stability.coverage import coverage_notes, require_coverage
from surrogates.stability.evaluators import ReferenceEvaluator, relative_energy_error
from surrogates.stability.known_errors import list_known_errors, name_products
from surrogates.stability.mixing_line import MixingLine
from surrogates.stability.mutual_reaction import MutualReaction, Reactant
from surrogates.stability.phase_arrays import tabulate_phases
from surrogates.stability.reference import ReferenceSet
from surrogates.stability.windows import ON_HULL, TRACE_AMOUNT, Ion, products

if TYPE_CHECKING:
    from pymatgen.core import Composition

MUTUAL: Final = "mutual_reaction_energy"
TOTAL: Final = "interface_reaction_energy"
OPEN_CIRCUIT: Final = "open_circuit"
HIGHEST_VOLTAGE: Final = 10.0  # V; chosen, beyond every electrode
LEAST_CHANGE: Final = 0.0005  # eV/atom, half of the last printed digit of a remark


def find_worst_reaction(
    reference: ReferenceSet,
    first: Reactant,
    second: Reactant,
    *,
    ion: Ion | None = None,
    voltage: float | None = None,
) -> MutualReaction:
    """Find the mixing ratio at which two phases react most strongly.

    At a ratio x of atoms the mixture has the composition x a + (1 - x) b, and its products the energy of the hull there. The
    mutual energy is that of the hull at x, less x times the hull's at a and (1 - x) times that at b. It is convex and
    linear between the ratios at which the products change, which `walk_hull` finds exactly. A phase
    below the hull of the set belongs to the hull. Where nothing reacts mutually, the ratio is 1 or 0: that of the phase which
    loses more energy by decomposing alone.

    At a voltage V the ion is open: each energy is E - N mu with mu = mu0 - z V, where z is the ion's charge and mu0 the
    energy of its metal, and compositions and atoms count without the ion.

    Args:
        reference: the competing phases.
        first, second: the two phases.
        ion: the working ion; needed with a voltage.
        voltage: V against the ion's metal; None for a closed system (open circuit).

    Raises:
        ValueError: a voltage without an ion, or a phase of nothing but the open ion.
        MissingReferenceError: an element or a binary edge of the two together is not in `reference`.

    Source:
        Richards et al., Chem. Mater. 28, 266 (2016); Zhu, He, Mo, J. Mater. Chem. A 4, 3253 (2016); Xiao et al., Nat. Rev.
        Mater. 5, 105 (2020).
    """
    return MixingLine.draw_between(reference, first, second, ion, voltage).find_minimum()


def list_kinks(
    reference: ReferenceSet,
    first: Reactant,
    second: Reactant,
    *,
    ion: Ion | None = None,
    voltage: float | None = None,
) -> tuple[MutualReaction, ...]:
    """List the reactions at all mixing ratios where the products change, and at both ends.

    Between two of them energies and amounts are linear in the ratio. In the order of the ratio, from the second phase alone (0)
    to the first alone (1).

    Args:
        reference: the competing phases.
        first, second: the two phases.
        ion: the working ion; needed with a voltage.
        voltage: V against the ion's metal; None for a closed system.

    Raises:
        ValueError, MissingReferenceError: as `find_worst_reaction`.
    """
    return MixingLine.draw_between(reference, first, second, ion, voltage).list_kinks()


# --- evaluator


class Counterpart(Frozen):
    """A phase that candidates are in contact with."""

    formula: str
    """Of a phase of the reference set; the lowest phase of the composition is taken. A composition that is no phase of the
    set has the energy of the set's hull."""
    energy_per_atom: float | None = Field(default=None, allow_inf_nan=False)
    """eV/atom, from the potential of the reference set; in place of the set's. For a phase that is not in the set, such as a
    candidate of another run."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A formula alone, or with an energy."""
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    @model_validator(mode="before")
    @classmethod
    def _from_formula(cls, value: object) -> object:
        return {"formula": value} if isinstance(value, str) else value

    @field_validator("formula")
    @classmethod
    def _check_formula(cls, value: str) -> str:
        try:
            parse_composition(value)
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return value

    @property
    def composition(self) -> Composition:
        """Composition of the formula unit."""
        return parse_composition(self.formula)

    def to_reactant(self, reference: ReferenceSet) -> Reactant:
        """Look the phase up in the reference set.

        Args:
            reference: the competing phases.

        Raises:
            MissingReferenceError: an element or a binary edge of the phase is missing.
        """
        energy = self.energy_per_atom
        if energy is None:
            energy = self.find_lowest(reference)
        return Reactant(self.composition, energy, self.formula)

    def find_lowest(self, reference: ReferenceSet) -> float | None:
        """Energy of the lowest phase of this composition in the set, eV/atom; None if there is none.

        Args:
            reference: the competing phases.

        Raises:
            MissingReferenceError: an element or a binary edge of the phase is missing.
        """
        composition = self.composition
        phases = tabulate_phases(reference, list_element_symbols(composition))
        return phases.lowest_energy(np.array([composition.get_atomic_fraction(s) for s in phases.symbols]))


Voltage = Annotated[float, Field(ge=0.0, le=HIGHEST_VOLTAGE, allow_inf_nan=False)] | Literal["open_circuit"]


class InterfaceReaction(ReferenceEvaluator):
    """Reaction of a candidate with the phases that it touches.

    The worst over all mixing ratios, counterparts and voltages counts. At open circuit the system is closed; at a voltage it is
    open to the ion, whose atoms then do not count. A candidate above the hull enters with its own energy in the total, and with
    that of its decomposition products in the mutual part. The energies' systematic error is that of the potential per atom of
    the reactants.
    """

    version: ClassVar[str] = "2"  # details on products with a known error

    against: Annotated[tuple[Counterpart, ...], Field(min_length=1)]
    """Formulas of the phases in contact with the candidate, such as a charged and a discharged electrode: `[LiCoO2, Li0.5CoO2]`; or
    `{formula: Li6PS5Cl, energy_per_atom: -4.1}` with an energy of your own. The worse counts."""
    voltages: Annotated[tuple[Voltage, ...], Field(min_length=1)] = ("open_circuit",)
    """V against the metal of `ion`, or `open_circuit` for a closed system. The worst counts."""
    ion: Ion | None = None
    """The working ion; needed with voltages."""

    @model_validator(mode="after")
    def _check_partners(self, info: ValidationInfo) -> InterfaceReaction:
        applied = [voltage for voltage in self.voltages if voltage != OPEN_CIRCUIT]
        if applied and self.ion is None:
            raise ValueError(
                f"voltages are those of an ion: name it, as in 'ion: Li' (voltages: {applied[0]:g})"
            )
        metal = [c.formula for c in self.against if list_element_symbols(c.composition) == {self.ion}]
        if applied and metal:
            raise ValueError(
                f"{metal[0]} is the metal of the ion, which is open at an applied voltage: leave it out of `against`, or "
                f"take it at open circuit alone (voltages: [{OPEN_CIRCUIT}])"
            )
        if (
            validation_context(info)[0] != STORED_FOLDER
        ):  # a stored run opens also where its set is no longer here
            self._check_set()
        return self

    def _check_set(self) -> None:
        """Refuse counterparts, and an ion, whose elements the set does not cover."""
        try:
            reference = self.reference.load()
            for counterpart in self.against:
                require_coverage(reference, list_element_symbols(counterpart.composition))
            if self.ion is not None:
                require_coverage(reference, {self.ion})
        except MissingReferenceError as error:
            raise ValueError(str(error)) from error

    @property
    def provides(self) -> Mapping[str, Unit]:
        return dict.fromkeys((MUTUAL, TOTAL), "eV/atom")

    def remarks_on(self, elements: frozenset[str] | None) -> tuple[str, ...]:
        """Sentences on gaps of the set for candidates and counterparts together, and on counterparts that are no phases of it."""
        found = super().remarks_on(elements)
        try:
            reference = self.reference.load()
            if (
                elements is not None
            ):  # the candidates' own gaps stand in the notes of all stages with this set
                joined = elements.union(*(list_element_symbols(item.composition) for item in self.against))
                found = (*found, *coverage_notes(reference, joined, elements))
            absent = [
                item.formula
                for item in self.against
                if item.energy_per_atom is None and item.find_lowest(reference) is None
            ]
        except InvdesignError:  # the evaluation fails with the reason
            return found
        said = (
            f"{formula} is no phase of the reference set '{reference.name}': it is taken at the energy of the set's hull"
            for formula in absent
        )
        return (*found, *said)

    def _evaluate_energy(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        reference = self.reference.load()
        candidate = Reactant(composition, energy_per_atom)
        found = [
            (
                find_worst_reaction(
                    reference,
                    candidate,
                    counterpart.to_reactant(reference),
                    ion=self.ion,
                    voltage=None if voltage == OPEN_CIRCUIT else float(voltage),
                ),
                counterpart,
            )
            for counterpart in self.against
            for voltage in self.voltages
        ]
        worst, counterpart = min(found, key=lambda item: (item[0].mutual, item[0].total))
        deviation = worst.energy_deviation(relative_energy_error(reference))
        said = describe_reaction(
            worst, counterpart.formula, list(dict.fromkeys(c.formula for c in self.against))
        )
        remark = write_reaction_remark(reference, worst, candidate, counterpart, self.ion)
        said += f" ({remark})" if remark else ""
        return Evaluation(
            properties={MUTUAL: worst.mutual, TOTAL: worst.total},
            systematic={MUTUAL: deviation, TOTAL: deviation},
            details={MUTUAL: said, TOTAL: said},
        )


def write_reaction_remark(
    reference: ReferenceSet,
    reaction: MutualReaction,
    candidate: Reactant,
    counterpart: Counterpart,
    ion: Ion | None,
) -> str:
    """Write a remark on a mutual reaction whose products have a known error.

    The energy without the error is that of the worst mixing ratio, which may be another one by then.

    Args:
        reference: the competing phases.
        reaction: the worst one of candidate and counterpart in this set.
        candidate: with its energy.
        counterpart: that it reacts with.
        ion: the working ion; needed with a voltage.

    Returns:
        `mutual -0.012 eV/atom with the correction for oxygen; too stable without it: Li3PO4`; empty where no such product
        forms, or the size of the error is not known.
    """
    if not reaction.is_mutual or candidate.energy is None:
        return ""
    elements = list_element_symbols(candidate.composition) | list_element_symbols(counterpart.composition)
    remarks = []
    for error in list_known_errors(reference, elements):
        found = name_products(reaction, error)
        if not found or error.corrected is None:
            continue
        other = counterpart
        if counterpart.energy_per_atom is not None:
            shift = error.shift_mixture(products(reference, counterpart.composition))
            other = counterpart.model_copy(update={"energy_per_atom": counterpart.energy_per_atom + shift})
        energy = candidate.energy + error.shift_mixture(products(reference, candidate.composition))
        after = find_worst_reaction(
            error.corrected,
            Reactant(candidate.composition, energy),
            other.to_reactant(error.corrected),
            ion=ion,
            voltage=reaction.voltage,
        ).mutual
        if abs(after - reaction.mutual) >= LEAST_CHANGE:
            remarks.append(f"mutual {after:.3f} eV/atom {error.remedy}; {error.blame}: {found}")
    return "; ".join(remarks)


def describe_reaction(
    reaction: MutualReaction, counterpart: str, all_counterparts: Sequence[str] = ()
) -> str:
    """Describe the worst reaction of a candidate in a sentence.

    Args:
        reaction: the candidate is its first phase.
        counterpart: formula of the second phase.
        all_counterparts: formulas of all that were looked at, for a candidate that reacts with none.
    """
    voltage = "" if reaction.voltage is None else f" at {reaction.voltage:g} V"
    if reaction.is_mutual:
        share = f"{100 * reaction.ratio:.0f} % of the atoms from the candidate"
        return f"{reaction}, with {counterpart}{voltage}, {share}"
    words = f"no mutual reaction with {' or '.join(all_counterparts or [counterpart])}"
    if reaction.total > -ON_HULL:
        return words
    alone = "the candidate" if reaction.ratio == 1.0 else counterpart
    forms = {reaction.formulas[name] for name in reaction.products}
    if forms == set(reaction.reactants) and abs(reaction.ions) < TRACE_AMOUNT:
        return f"{words}; a form of {next(iter(forms))} is more stable"
    return f"{words}; {alone} alone decomposes{voltage}: {reaction}"
