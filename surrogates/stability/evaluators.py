"""Evaluators of thermodynamic stability and of the electrochemical window, against a reference set."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from invdesign import registry
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings
from surrogates.potentials.correction import find_correction
from surrogates.stability.coverage import coverage_notes
from surrogates.stability.hulls import phase_diagram
from surrogates.stability.known_errors import write_limit_remarks
from surrogates.stability.reference import ReferenceField, ReferenceSet
from surrogates.stability.windows import (
    CHARGES,
    ON_HULL,
    Ion,
    Reaction,
    Window,
    electrochemical_window,
    products,
    window_deviations,
)

if TYPE_CHECKING:
    from pymatgen.core import Composition

__all__ = [
    "CHARGES",
    "ON_HULL",
    "UNCERTAINTY",
    "DecompositionEnergy",
    "EnergyAboveHull",
    "Reaction",
    "StabilityWindow",
    "Window",
    "decomposition_energy",
    "electrochemical_window",
    "products",
    "relative_energy_error",
]  # fmt: skip

ENERGY = "energy_per_atom"
UNCERTAINTY = 0.05
LEAST_SHOWN = 5e-5  # eV/atom; less is written as zero
"""eV/atom, one standard deviation given for hull distances by machine-learned potentials: two checkpoints of
CHGNet differ by 21 meV/atom on average over 31 anti-perovskites, and CHGNet 0.3.0 and density functional
theory by 40 to 50 meV/atom for Li3OCl."""


def relative_energy_error(reference: ReferenceSet) -> float:
    """Systematic error of energies in one reference set, eV/atom: that of the potential."""
    return potential_energy_error(reference.potential.fingerprint)


def potential_energy_error(fingerprint: str) -> float:
    """Systematic error of the energies of one potential against one another, eV/atom.

    A corrected potential has the error that its correction leaves in compounds it was not fitted to.

    Args:
        fingerprint: of the potential.
    """
    correction = find_correction(fingerprint)
    return UNCERTAINTY if correction is None else correction.error_per_atom


def decomposition_energy(reference: ReferenceSet, composition: Composition, energy_per_atom: float) -> float:
    """Energy of a phase against the most stable combination of others.

    Args:
        reference: the competing phases; the candidate is not among them.
        composition: of the candidate; the combination has it too.
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
    diagram = phase_diagram(reference, _list_symbols(composition))
    return float(energy_per_atom - diagram.get_hull_energy_per_atom(composition))


def _list_symbols(composition: Composition) -> tuple[str, ...]:
    return tuple(sorted(element.symbol for element in composition))


# --- evaluators --------------------------------------------------------------------------------------------


class ReferenceEvaluator(EvaluatorSettings, ABC):
    """Base of evaluators with a reference set, for energies of its potential alone."""

    reference: ReferenceField = Field(default="lithium-chalcohalides", validate_default=True)
    """A shipped reference set (`lithium-chalcohalides`, `battery-phases`), or a file that `invdesign reference build` wrote; either with
    a correction (`lithium-chalcohalides+covalent-oxygen`). Its potential must be the one that relaxes the
    candidates."""
    energy: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = ENERGY
    """Property with the candidates' energies, eV/atom: `dft_energy_per_atom` with a set of your own DFT."""

    @model_serializer(mode="wrap")
    def _omit_usual_energy(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the energies' property if it is the usual one, as before there was a choice.

        So stored campaigns keep the fingerprint they had.
        """
        fields: dict[str, Any] = {"kind": registry.name_of(type(self)), **handler(self)}
        return {name: value for name, value in fields.items() if (name, value) != ("energy", ENERGY)}

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.energy, "composition"})

    @property
    def potential_id(self) -> str:
        return self.reference.potential

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and of the set's content.

        Its name and place do not count.
        """
        fields = self.model_dump(mode="json", exclude={"reference"})
        text = json.dumps(
            [registry.name_of(type(self)), fields, self.reference.hash, self.version], sort_keys=True
        )
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on known compounds that the set lacks."""
        return self.remarks_on(None)

    def remarks_on(self, elements: frozenset[str] | None) -> tuple[str, ...]:
        """Sentences on what the set lacks for candidates of some elements.

        Args:
            elements: of the search space; None for all systems of the set.
        """
        try:
            return coverage_notes(self.reference.load(), elements)
        except InvdesignError:  # not the pinned set; the evaluation fails with the reason
            return ()

    def prepare(self) -> None:
        """Read the set, and import the phase diagrams of pymatgen."""
        reference = self.reference.load()
        phase_diagram(reference, sorted(reference.elements)[:1])

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._evaluate_candidate(item) for item in inputs]

    def _evaluate_candidate(self, item: Input) -> Evaluation:
        composition = item.design.composition
        if composition is None:
            return Evaluation(failure=Failure("missing", "", "the design has no composition"))
        try:
            return self._evaluate_energy(composition, item.properties[self.energy])
        except MissingReferenceError as error:
            return Evaluation(failure=Failure("missing", "", str(error)))
        except ValueError as error:
            return Evaluation(failure=Failure("error", "", str(error)))

    @abstractmethod
    def _evaluate_energy(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        """Evaluate one candidate; ValueError if it has no value."""


class DecompositionEnergy(ReferenceEvaluator):
    """Signed energy against the most stable competing phases.

    Negative is stable. The hull is that of a frozen, hashed reference set without the candidate, so that stable
    candidates are ranked too and no candidate's value depends on another's. The systematic error of 0.05
    eV/atom is that of machine-learned potentials here (see `UNCERTAINTY`).
    """

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"decomposition_energy": "eV/atom"}

    def _evaluate_energy(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        value = decomposition_energy(self.reference.load(), composition, energy_per_atom)
        return Evaluation(
            properties={"decomposition_energy": value},
            systematic={"decomposition_energy": relative_energy_error(self.reference.load())},
        )


class EnergyAboveHull(ReferenceEvaluator):
    """Distance to the hull of the reference set, zero on or below it.

    For ranking prefer `decomposition_energy`: this one ties all stable candidates.
    """

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"energy_above_hull": "eV/atom"}

    def _evaluate_energy(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        value = max(0.0, decomposition_energy(self.reference.load(), composition, energy_per_atom))
        return Evaluation(
            properties={"energy_above_hull": value},
            systematic={"energy_above_hull": relative_energy_error(self.reference.load())},
        )


class StabilityWindow(ReferenceEvaluator):
    """Voltages between which a candidate does not exchange the ion.

    They are measured against the ion's metal. A candidate on the hull of the reference set (within 1 meV/atom)
    or below it has its own window; one above it gets the window of its decomposition products, and
    `window_of_products` is 1. The reaction that sets a limit is its detail. The systematic error of a limit is how far it moves
    when the energies err.
    """

    # 2: phases within 1 meV/atom of the hull are on it; 3: details on oxygen and the hull; 4: bounded errors;
    # 5: details on halides of nonmetals.
    version: ClassVar[str] = "5"

    ion: Ion
    """The working ion; a candidate without it fails."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"reduction_limit": "V", "oxidation_limit": "V", "window_width": "V", "window_of_products": ""}

    def _evaluate_energy(self, composition: Composition, energy_per_atom: float) -> Evaluation:
        reference = self.reference.load()
        window = electrochemical_window(reference, composition, energy_per_atom, self.ion)
        error = relative_energy_error(reference)
        return Evaluation(
            properties={
                "reduction_limit": window.reduction,
                "oxidation_limit": window.oxidation,
                "window_width": window.width,
                "window_of_products": float(window.of_products),
            },
            systematic=window_deviations(reference, composition, window, self.ion, error),
            details=window_details(
                window,
                self.ion,
                write_limit_remarks(reference, composition, energy_per_atom, window, self.ion),
                error,
            ),
        )


def window_details(
    window: Window, ion: Ion, remarks: Mapping[str, str] | None = None, per_atom: float = 0.0
) -> dict[str, str]:
    """Sentence for each number of a window: limiting reactions and decomposition.

    Args:
        window: the limits with their reactions.
        ion: the working ion.
        remarks: on limits, from `write_limit_remarks`.
        per_atom: standard deviation of the energies of the phases against one another, eV/atom.
    """
    fate, remarks = describe_fate(window), remarks or {}
    end = f"; {fate}" if fate else ""
    lower, upper = window.reduction_reaction, window.oxidation_reaction
    reduction = f"{lower} at {window.reduction:.2f} V" if lower else f"stable against {ion} metal"
    oxidation = f"{upper} at {window.oxidation:.2f} V" if upper else f"{ion} metal is there from the start"
    details = {
        "reduction_limit": reduction,
        "oxidation_limit": oxidation,
        "window_width": f"{window.reduction:.2f} to {window.oxidation:.2f} V",
    }
    said = {
        name: f"{text} ({remarks[name]}){end}" if name in remarks else text + end
        for name, text in details.items()
    }
    return {**said, "window_of_products": fate + describe_nearness(window, per_atom)} if fate else said


def describe_fate(window: Window) -> str:
    """Describe the decomposition of the phase of `window`.

    The text is empty on the hull and below it, also within the last digit that energies are written with. A phase less than `ON_HULL` above the hull is described as
    counted as on the hull.
    """
    if window.counted_as_on_hull:
        if window.above_hull < LEAST_SHOWN:
            return ""
        return f"counted as on the hull ({1000 * window.above_hull:.1g} meV/atom above)"
    if not window.of_products:
        return ""
    parts = ", ".join(window.decomposition)
    alone = len(window.decomposition) == 1  # the same compound in another form
    return f"a form of {parts} is more stable" if alone else f"it decomposes into {parts}"


def describe_nearness(window: Window, per_atom: float) -> str:
    """Say that the phase of `window` may be stable, since it lies within the error of the hull; else nothing.

    Args:
        window: of the phase.
        per_atom: standard deviation of the energies of the phases against one another, eV/atom.
    """
    if not window.of_products or window.above_hull >= per_atom:
        return ""
    distance = f"{1000 * window.above_hull:.2g} meV/atom above the hull, within the error"
    return f" ({distance}: if it is stable, its own window is at least as wide)"
