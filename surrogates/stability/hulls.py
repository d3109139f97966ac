"""Convex hulls of reference sets, and the energies of their phases against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from surrogates.stability.coverage import require_coverage
from surrogates.stability.reference import Phase, ReferenceSet

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram


def to_pd_entry(phase: Phase) -> PDEntry:
    """Convert a `phase` to pymatgen's entry, under the phase's name."""
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core import Composition

    return PDEntry(Composition(phase.composition), phase.energy, name=phase.name, attribute=phase.formula)


def phase_diagram(
    reference: ReferenceSet, elements: Iterable[str], extra: Sequence[PDEntry] = ()
) -> PhaseDiagram:
    """Convex hull of all phases in `reference` that consist of `elements`.

    Args:
        reference: the competing phases.
        elements: symbols; each must have an elemental phase.
        extra: entries to add, energies from the same potential; without any, the diagram is cached.

    Raises:
        MissingReferenceError: an element or a binary edge is missing.
    """
    system = frozenset(elements)
    if not extra:
        return _cached_diagram(reference, system)
    return _build_diagram(reference, system, extra)


@lru_cache(maxsize=128)
def _cached_diagram(reference: ReferenceSet, system: frozenset[str]) -> PhaseDiagram:
    return _build_diagram(reference, system, ())


def _build_diagram(reference: ReferenceSet, system: frozenset[str], extra: Sequence[PDEntry]) -> PhaseDiagram:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    require_coverage(reference, system)
    return PhaseDiagram([*(to_pd_entry(phase) for phase in reference.select_phases(system)), *extra])


def formation_energy(reference: ReferenceSet, phase: Phase) -> float:
    """Energy of a `phase` of `reference` against its lowest elemental phases, eV/atom.

    Raises:
        MissingReferenceError: an element or a binary edge of the phase is missing.
    """
    diagram = phase_diagram(reference, phase.composition)
    return float(diagram.get_form_energy_per_atom(to_pd_entry(phase)))


def hull_distance(reference: ReferenceSet, phase: Phase) -> float:
    """Distance of a `phase` of `reference` to the set's own hull.

    In eV/atom, 0 on the hull.

    Raises:
        MissingReferenceError: an element or a binary edge of the phase is missing.
    """
    diagram = phase_diagram(reference, phase.composition)
    return float(diagram.get_e_above_hull(to_pd_entry(phase), on_error="raise"))
