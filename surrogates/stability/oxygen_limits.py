"""Limits of a window set by covalently bonded oxygen, and the same limits with its correction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from surrogates.potentials.correction import Correction, correction_names, find_correction, load_correction
from surrogates.potentials.oxygen import oxygen_valences
from surrogates.stability.reference import ReferenceSet, correct_reference
from surrogates.stability.windows import Ion, Reaction, Window, electrochemical_window, products

if TYPE_CHECKING:
    from pymatgen.core import Composition

LEAST_ENERGY = 1e-4  # eV/atom; a smaller correction changes no printed digit; chosen
LEAST_CHANGE = 0.005  # V, half of the last printed digit


def write_oxygen_remarks(
    reference: ReferenceSet, composition: Composition, energy_per_atom: float, window: Window, ion: Ion
) -> dict[str, str]:
    """Write remarks on limits set by covalently bonded oxygen.

    They are for sets without its correction. The corrected limit is that of the whole window, which another
    reaction may set by then. The structure of the candidate is not known here: its oxygen is taken to be bonded
    as in its decomposition products.

    Args:
        reference: the competing phases.
        composition: of the candidate.
        energy_per_atom: of the candidate, eV/atom.
        window: of the candidate in the set as it is.
        ion: the working ion.

    Returns:
        By the name of a limit, `2.63 V with the correction for oxygen; too stable without it: LiIO3`; empty
        where the set is corrected, or no such phase reacts.
    """
    if "O" not in composition or find_correction(reference.potential.fingerprint) is not None:
        return {}
    correction = _find_fitted_correction(reference.potential.fingerprint)
    covalent = (
        list_covalent_phases(reference)
        if correction is None
        else list_corrections(reference, correction.name).keys()
    )
    shares = products(reference, composition)
    names = {
        limit: _name_phases(item, covalent, window, shares) for limit, item in _list_reactions(window).items()
    }
    names = {limit: found for limit, found in names.items() if found}
    if correction is None:
        return {
            limit: f"{found} may be too stable here: no correction for oxygen is known of this potential"
            for limit, found in names.items()
        }
    if not names:
        return {}
    corrected = _correct_window(reference, correction, composition, energy_per_atom, window, shares, ion)
    remarks = {}
    for limit, found in names.items():
        after = _limit_voltage(corrected, limit)
        if abs(after - _limit_voltage(window, limit)) >= LEAST_CHANGE:
            words = f"{after:.2f} V with the correction for oxygen"
            reaction = _list_reactions(corrected).get(limit)
            if str(reaction) != str(_list_reactions(window)[limit]):
                words += f", by {reaction}" if reaction is not None else f", stable against {ion} metal"
            remarks[limit] = f"{words}; too stable without it: {found}"
    return remarks


def _list_reactions(window: Window) -> dict[str, Reaction]:
    """Reaction of each limit that has one."""
    reactions = {"reduction_limit": window.reduction_reaction, "oxidation_limit": window.oxidation_reaction}
    return {limit: item for limit, item in reactions.items() if item is not None}


def _limit_voltage(window: Window, limit: str) -> float:
    return window.reduction if limit == "reduction_limit" else window.oxidation


def _name_phases(
    reaction: Reaction, covalent: Collection[str], window: Window, shares: Mapping[str, float]
) -> str:
    """Formulas of the reacting phases with covalently bonded oxygen.

    Returns an empty text if none.

    Args:
        reaction: of a limit.
        covalent: names of such phases in the set.
        window: whose reaction it is; of a phase of its own, the one reactant is the candidate.
        shares: phases that the candidate decomposes into, by name.
    """
    alike = any(name in covalent for name in shares)
    reactants = [name for name in reaction.reactants if (name in covalent if window.of_products else alike)]
    phases = [*reactants, *(name for name in reaction.products if name in covalent)]
    return " and ".join(dict.fromkeys(reaction.formulas.get(name, name) for name in phases))


def _correct_window(
    reference: ReferenceSet, correction: Correction, composition: Composition, energy: float, window: Window,
    shares: Mapping[str, float], ion: Ion,
) -> Window:  # fmt: skip
    """Window in the corrected set.

    The energy of the candidate (eV/atom) is corrected as its `shares` are.
    """
    raised = list_corrections(reference, correction.name)
    energy += sum(share * raised.get(name, 0.0) for name, share in shares.items())
    energy = float("inf") if window.of_products else energy
    return electrochemical_window(correct_reference(reference, correction.name), composition, energy, ion)


def _find_fitted_correction(fingerprint: str) -> Correction | None:
    """The correction fitted to the potential of this fingerprint.

    Returns None if there is none.
    """
    corrections = map(load_correction, correction_names())
    return next((item for item in corrections if item.potential == fingerprint), None)


@lru_cache(maxsize=16)
def list_corrections(reference: ReferenceSet, correction: str) -> Mapping[str, float]:
    """Energy that a correction adds to each phase with covalently bonded oxygen, eV/atom.

    Args:
        reference: the set, not corrected.
        correction: name of a correction.

    Returns:
        By the phase's name; corrections below `LEAST_ENERGY` are left out.
    """
    pairs = zip(reference.phases, correct_reference(reference, correction).phases, strict=True)
    raised = {phase.name: other.energy_per_atom - phase.energy_per_atom for phase, other in pairs}
    return {name: energy for name, energy in raised.items() if abs(energy) > LEAST_ENERGY}


@lru_cache(maxsize=16)
def list_covalent_phases(reference: ReferenceSet) -> frozenset[str]:
    """Names of the phases of `reference` with covalently bonded oxygen."""
    from surrogates.relaxation.relax import to_atoms

    return frozenset(
        phase.name
        for phase in reference.phases
        if "O" in phase.composition and any(oxygen_valences(to_atoms(phase.cell.build_structure())))
    )
