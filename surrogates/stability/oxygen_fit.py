"""Fit of the correction for covalently bonded oxygen to measured enthalpies, with its leave-one-out error."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.potentials.correction import Correction
from surrogates.potentials.oxygen import COVALENT_STATES, Valence, oxygen_valences
from surrogates.stability.reference import Phase, ReferenceSet, parse_reference

if TYPE_CHECKING:
    from pymatgen.core import Composition

CORRECTION_NAME = "covalent-oxygen"
COMPOUNDS_FILE = "covalent-oxygen.compounds.json"
ENTHALPIES_FILE = "covalent-oxygen.enthalpies.csv"

KJ_PER_EV = 96.48533212
"""kJ/mol in 1 eV per formula unit (Faraday's constant, CODATA 2018)."""

RIDGE_PENALTY = 0.3
"""Ridge penalty on an element's deviation from the line in electronegativity, in compounds: an element with one
compound keeps most of its own deviation. Chosen; the left-out error is the same from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A compound with a measured enthalpy of formation.

    Attributes:
        name: of its phase in the set of compounds.
        formula: as people write it, the formula unit of both energies.
        n_atoms, n_oxygen: of the formula unit.
        computed: eV per formula unit, from the elements, by the potential.
        measured: eV per formula unit, enthalpy of formation at 298 K.
        source: of the measured value.
        valences: of every oxygen in the cell.
    """

    name: str
    formula: str
    n_atoms: int
    n_oxygen: int
    computed: float
    measured: float
    source: str
    valences: tuple[Valence, ...]

    @property
    def error(self) -> float:
        """Measured less computed energy, eV per oxygen: the target of the correction."""
        return (self.measured - self.computed) / self.n_oxygen

    @property
    def covalent(self) -> bool:
        """True if an oxygen is covalently bonded."""
        return any(self.valences)

    @property
    def elements(self) -> frozenset[str]:
        """Elements that bind its oxygen covalently."""
        return frozenset(element for valence in self.valences for element in valence)


@lru_cache(maxsize=1)
def load_compounds() -> ReferenceSet:
    """Load the relaxed compounds and elements that the shipped correction is fitted to."""
    folder = files("surrogates").joinpath("corrections")
    return parse_reference(folder.joinpath(COMPOUNDS_FILE).read_text(encoding="utf-8"), COMPOUNDS_FILE)


@lru_cache(maxsize=1)
def load_enthalpies() -> Mapping[str, tuple[float, str]]:
    """Load measured enthalpies of formation at 298 K.

    They are those of compounds and of allotropes.

    Returns:
        (kJ/mol, source) by name of the phase.
    """
    folder = files("surrogates").joinpath("corrections")
    lines = csv.DictReader(io.StringIO(folder.joinpath(ENTHALPIES_FILE).read_text(encoding="utf-8")))
    return {line["phase"]: (float(line["kj_per_mol"]), line["source"]) for line in lines}


def make_samples(compounds: ReferenceSet, enthalpies: Mapping[str, tuple[float, str]]) -> tuple[Sample, ...]:
    """Pair computed with measured energies for every oxygen compound that has both.

    Args:
        compounds: with the elements, by one potential.
        enthalpies: (kJ/mol of the formula as written, source) by name of the phase; that of an element is the
            enthalpy of its phase against the standard state.
    """
    from surrogates.relaxation.relax import to_atoms

    elements = find_elements(compounds)
    samples = []
    for phase in compounds.phases:
        if phase.name not in enthalpies or set(phase.composition) <= {"O"} or "O" not in phase.composition:
            continue
        unit = _parse_formula_unit(phase)
        amounts = unit.get_el_amt_dict()
        measured, source = enthalpies[phase.name]
        for symbol, amount in amounts.items():
            measured -= amount * enthalpies.get(elements[symbol].name, (0.0, ""))[0]
        samples.append(
            Sample(
                name=phase.name,
                formula=phase.formula,
                n_atoms=round(unit.num_atoms),
                n_oxygen=round(amounts["O"]),
                computed=formation_of_unit(phase, elements),
                measured=measured / KJ_PER_EV,
                source=source,
                valences=tuple(oxygen_valences(to_atoms(phase.cell.build_structure()))),
            )
        )
    return tuple(samples)


@lru_cache(maxsize=1)
def shipped_samples() -> tuple[Sample, ...]:
    """The samples of the shipped correction."""
    return make_samples(load_compounds(), load_enthalpies())


def find_elements(compounds: ReferenceSet) -> dict[str, Phase]:
    """Lowest elemental phase in `compounds` of every element, by symbol."""
    elements: dict[str, Phase] = {}
    for phase in compounds.phases:
        if len(phase.composition) == 1:
            (symbol,) = phase.composition
            if symbol not in elements or phase.energy_per_atom < elements[symbol].energy_per_atom:
                elements[symbol] = phase
    return elements


def formation_of_unit(phase: Phase, elements: Mapping[str, Phase]) -> float:
    """Energy of formation of a phase, eV per formula unit as written.

    Args:
        phase: of the set.
        elements: elemental phase by symbol.
    """
    unit = _parse_formula_unit(phase)
    bare = sum(amount * elements[symbol].energy_per_atom for symbol, amount in unit.get_el_amt_dict().items())
    return float(phase.energy_per_atom * unit.num_atoms - bare)


def _parse_formula_unit(phase: Phase) -> Composition:
    from pymatgen.core import Composition

    return Composition(phase.formula)


# --- the fit -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of `Correction`: eV per oxygen and (squared) unit of valence."""

    quadratic: float
    linear: Mapping[str, float]

    def predict(self, sample: Sample) -> float:
        """Energy to add to `sample`, eV per oxygen of the compound."""
        squares, *shares = _average_valences(sample, list(self.linear))
        return self.quadratic * squares + sum(
            share * value for share, value in zip(shares, self.linear.values(), strict=True)
        )


def fit_coefficients(samples: Sequence[Sample]) -> Coefficients:
    """Ridge regression of the error per oxygen.

    The coefficient of an element is a line in its Pauling electronegativity plus a deviation of its own, and only
    deviations are penalised: an element without compounds lies on the line.

    Args:
        samples: compounds whose oxygen is covalently bonded; others are passed over.
    """
    from pymatgen.core import Element

    used = [sample for sample in samples if sample.covalent]
    elements = sorted(COVALENT_STATES)
    scale = np.array([Element(element).X for element in elements])
    rows = np.array([_average_valences(sample, elements) for sample in used])
    linear = rows[:, 1:]
    design = np.column_stack([rows[:, 0], linear.sum(axis=1), linear @ scale, linear])
    penalty = np.diag([0.0] * 3 + [RIDGE_PENALTY] * len(elements))
    target = np.array([sample.error for sample in used])
    found = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    own = found[1] + found[2] * scale + found[3:]
    return Coefficients(float(found[0]), dict(zip(elements, own.tolist(), strict=True)))


def _average_valences(sample: Sample, elements: Sequence[str]) -> list[float]:
    """Mean over the oxygens of squared valence and of each element's share."""
    n = len(sample.valences)
    squares = sum(sum(valence.values()) ** 2 for valence in sample.valences) / n
    return [squares, *(sum(v.get(element, 0.0) for v in sample.valences) / n for element in elements)]


Fit = Callable[[Sequence[Sample]], Callable[[Sample], float]]
"""From samples to a prediction, eV per oxygen."""


def fit_prediction(samples: Sequence[Sample]) -> Callable[[Sample], float]:
    """Fit coefficients to `samples` and return the function that predicts with them."""
    return fit_coefficients(samples).predict


def leave_one_out(samples: Sequence[Sample], fit: Fit = fit_prediction) -> FloatArray:
    """Leave-one-out errors of the covalent samples.

    Shape (n,), eV per oxygen.

    Args:
        samples: compounds; those without covalently bonded oxygen are left out.
        fit: makes a prediction from samples.
    """
    used = [sample for sample in samples if sample.covalent]
    return np.array([sample.error - fit([s for s in used if s is not sample])(sample) for sample in used])


def make_correction(samples: Sequence[Sample], compounds: ReferenceSet, source: str) -> Correction:
    """Fit the correction to all samples, with its leave-one-out error.

    Args:
        samples: made from `compounds`.
        compounds: gives the potential.
        source: of enthalpies and structures, for people.
    """
    used = [sample for sample in samples if sample.covalent]
    found = fit_coefficients(used)
    left = leave_one_out(used)
    share = np.array([sample.n_oxygen / sample.n_atoms for sample in used])
    return Correction(
        name=CORRECTION_NAME,
        title="oxygen bonded to H, B, C, N, Si, P, S, Cl, Ge, Se, Br, Te and I",
        potential=compounds.potential.fingerprint,
        potential_label=compounds.potential.label,
        quadratic=round(found.quadratic, 6),
        linear={element: round(value, 6) for element, value in found.linear.items()},
        n=len(used),
        error_per_oxygen=round(float(np.sqrt(np.mean(left**2))), 4),
        error_per_atom=round(float(np.sqrt(np.mean((left * share) ** 2))), 4),
        source=source,
    )
