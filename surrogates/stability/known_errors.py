"""Known errors of a potential's energies in one kind of phases, and remarks on limits and reactions that such phases set.

Two are known of CHGNet 0.3.0: covalently bonded oxygen, for which there is a correction, and halides of nonmetals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from surrogates.potentials.correction import (
    CORRECTION_SEPARATOR,
    Correction,
    correction_names,
    find_correction,
    load_correction,
)
from surrogates.potentials.oxygen import oxygen_valences
from surrogates.stability.reference import ReferenceSet, correct_reference
from surrogates.stability.windows import Ion, Reaction, Window, electrochemical_window, products

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from surrogates.stability.mutual_reaction import MutualReaction

LEAST_ENERGY = 1e-4  # eV/atom; a smaller correction changes no printed digit; chosen
LEAST_CHANGE = 0.005  # V, half of the last printed digit

HALOGENS = frozenset({"Cl", "Br", "I"})
NONMETALS = HALOGENS | {"C", "N", "P", "S", "Se", "Te"}
"""Elements of the halides in question. Oxygen has an error of its own. Of fluorides, and of halides of hydrogen, boron and silicon, no
solid was compared; by the enthalpies of their gases fluorides err less (SF6 by less than 0.18 eV/atom)."""
HALIDES_RAISED = 0.32
"""eV/atom, by which halides of nonmetals are too low in the mean (docs/truth.md, 'Formation energies of battery phases')."""
HALIDES_COMPARED = 7
HALIDES_POTENTIAL = "chgnet-0.3.0-d14ab7c0f093"
"""Fingerprint of the potential of which this is known, with or without a correction for oxygen."""


@dataclass(frozen=True)
class KnownError:
    """An error of the energies of one kind of phases.

    Attributes:
        phases: names of the phases of the set that have it.
        shifts: energy that takes it out by phase, eV/atom; empty where its size is not known.
        corrected: the set with these energies; None where its size is not known.
        remedy: ends a value without the error: `with the correction for oxygen`.
        blame: goes before the formulas of the phases.
    """

    phases: Collection[str]
    shifts: Mapping[str, float]
    corrected: ReferenceSet | None
    remedy: str
    blame: str

    def shift_mixture(self, shares: Mapping[str, float]) -> float:
        """Energy that takes the error out of a candidate, eV/atom.

        The structure of the candidate is not known here: it errs as its decomposition products do.

        Args:
            shares: fraction of the atoms in each phase that the candidate decomposes into, by `products`.
        """
        return sum(share * self.shifts.get(name, 0.0) for name, share in shares.items())


def list_known_errors(reference: ReferenceSet, elements: Collection[str]) -> tuple[KnownError, ...]:
    """List the errors known of the phases of a set.

    Args:
        reference: the competing phases.
        elements: symbols of the chemical system; an error without a phase there is left out.
    """
    found = []
    if "O" in elements:
        found.append(_find_oxygen_error(reference))
    if HALOGENS.intersection(elements):
        found.append(_find_halide_error(reference))
    return tuple(error for error in found if error is not None)


# --- remarks


def write_limit_remarks(
    reference: ReferenceSet, composition: Composition, energy_per_atom: float, window: Window, ion: Ion
) -> dict[str, str]:
    """Write remarks on limits set by phases with a known error.

    The limit without the error is that of the whole window, which another reaction may set by then.

    Args:
        reference: the competing phases.
        composition: of the candidate.
        energy_per_atom: of the candidate, eV/atom.
        window: of the candidate in the set as it is.
        ion: the working ion.

    Returns:
        By the name of a limit, `2.63 V with the correction for oxygen; too stable without it: LiIO3`; empty
        where no such phase reacts.
    """
    errors = list_known_errors(reference, composition.get_el_amt_dict())
    shares = products(reference, composition) if errors else {}
    remarks: dict[str, list[str]] = {}
    for error in errors:
        names = {
            limit: _name_phases(item, error.phases, window, shares)
            for limit, item in _list_reactions(window).items()
        }
        names = {limit: found for limit, found in names.items() if found}
        if not names:
            continue
        if error.corrected is None:
            for limit, found in names.items():
                remarks.setdefault(limit, []).append(f"{found} {error.blame}")
            continue
        energy = energy_per_atom + error.shift_mixture(shares)
        energy = float("inf") if window.of_products else energy
        corrected = electrochemical_window(error.corrected, composition, energy, ion)
        for limit, found in names.items():
            after = _limit_voltage(corrected, limit)
            if abs(after - _limit_voltage(window, limit)) >= LEAST_CHANGE:
                words = f"{after:.2f} V {error.remedy}"
                reaction = _list_reactions(corrected).get(limit)
                if str(reaction) != str(_list_reactions(window)[limit]):
                    words += f", by {reaction}" if reaction is not None else f", stable against {ion} metal"
                remarks.setdefault(limit, []).append(f"{words}; {error.blame}: {found}")
    return {limit: "; ".join(found) for limit, found in remarks.items()}


def _list_reactions(window: Window) -> dict[str, Reaction]:
    """Reaction of each limit that has one."""
    reactions = {"reduction_limit": window.reduction_reaction, "oxidation_limit": window.oxidation_reaction}
    return {limit: item for limit, item in reactions.items() if item is not None}


def _limit_voltage(window: Window, limit: str) -> float:
    return window.reduction if limit == "reduction_limit" else window.oxidation


def _name_phases(
    reaction: Reaction, erring: Collection[str], window: Window, shares: Mapping[str, float]
) -> str:
    """Formulas of the reacting phases with an error.

    Returns an empty text if none.

    Args:
        reaction: of a limit.
        erring: names of such phases in the set.
        window: whose reaction it is; of a phase of its own, the one reactant is the candidate.
        shares: phases that the candidate decomposes into, by name.
    """
    alike = any(name in erring for name in shares)
    reactants = [name for name in reaction.reactants if (name in erring if window.of_products else alike)]
    phases = [*reactants, *(name for name in reaction.products if name in erring)]
    return _join_words(reaction.formulas.get(name, name) for name in phases)


def name_products(reaction: MutualReaction, error: KnownError) -> str:
    """Formulas of the products of a reaction that have an error; empty if none does.

    Args:
        reaction: between phases of a set.
        error: of phases of this set.
    """
    names = (name for name in reaction.products if name in error.phases)
    return _join_words(reaction.formulas.get(name, name) for name in names)


def _join_words(words: Iterable[str]) -> str:
    """Each of the `words` once: `S2Cl2, S2Br2 and PCl5`."""
    *first, last = dict.fromkeys(words) or ("",)
    return f"{', '.join(first)} and {last}" if first else last


# --- halides of nonmetals


@lru_cache(maxsize=16)
def _find_halide_error(reference: ReferenceSet) -> KnownError | None:
    """The error of halides of nonmetals.

    The potential learned energies to which a correction is added for halogens as anions, which are none here.
    Returns None if nothing is known of the potential, or no such phase is in the set.
    """
    if reference.potential.fingerprint.partition(CORRECTION_SEPARATOR)[0] != HALIDES_POTENTIAL:
        return None
    names = [phase.name for phase in reference.phases if is_nonmetal_halide(phase.composition)]
    if not names:
        return None
    shifts = dict.fromkeys(names, HALIDES_RAISED)
    return KnownError(
        phases=shifts.keys(),
        shifts=shifts,
        corrected=reference.raise_phases(shifts),
        remedy="with halides of nonmetals raised",
        blame=f"too low without it by {HALIDES_RAISED:.2g} eV/atom, the mean error of {HALIDES_COMPARED}",
    )


def is_nonmetal_halide(elements: Collection[str]) -> bool:
    """True for the `elements` of a compound of halogens with each other or with `NONMETALS`."""
    symbols = set(elements)
    return len(symbols) > 1 and bool(symbols & HALOGENS) and symbols <= NONMETALS


# --- covalently bonded oxygen


@lru_cache(maxsize=16)
def _find_oxygen_error(reference: ReferenceSet) -> KnownError | None:
    """The error of phases with covalently bonded oxygen; None in a set that is corrected."""
    fingerprint = reference.potential.fingerprint
    if find_correction(fingerprint) is not None:
        return None
    correction = _find_fitted_correction(fingerprint)
    if correction is None:
        return KnownError(
            phases=_list_covalent_phases(reference),
            shifts={},
            corrected=None,
            remedy="",
            blame="may be too stable here: no correction for oxygen is known of this potential",
        )
    corrected = correct_reference(reference, correction.name)
    pairs = zip(reference.phases, corrected.phases, strict=True)
    raised = {phase.name: other.energy_per_atom - phase.energy_per_atom for phase, other in pairs}
    shifts = {name: energy for name, energy in raised.items() if abs(energy) > LEAST_ENERGY}
    return KnownError(
        phases=shifts.keys(),
        shifts=shifts,
        corrected=corrected,
        remedy="with the correction for oxygen",
        blame="too stable without it",
    )


def _find_fitted_correction(fingerprint: str) -> Correction | None:
    """The correction fitted to the potential of this fingerprint.

    Returns None if there is none.
    """
    corrections = map(load_correction, correction_names())
    return next((item for item in corrections if item.potential == fingerprint), None)


def _list_covalent_phases(reference: ReferenceSet) -> frozenset[str]:
    """Names of the phases of `reference` with covalently bonded oxygen."""
    from surrogates.relaxation.relax import to_atoms

    return frozenset(
        phase.name
        for phase in reference.phases
        if "O" in phase.composition and any(oxygen_valences(to_atoms(phase.cell.build_structure())))
    )
