"""Reference sets made up for tests: energies as given, structures that only count atoms."""

from __future__ import annotations

from collections.abc import Mapping

from pymatgen.core import Composition

from surrogates.stability.reference import (
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    RelaxationRecord,
    make_reference,
)

LIMITS = RelaxationRecord(fmax=0.01, smax=0.05, steps=500)


def made(energies: Mapping[str, float], potential: str = "toy") -> ReferenceSet:
    """A set from energies in eV/atom by formula; atoms stand on a line, 2 Å apart."""
    return make_reference(
        name="toy",
        potential=PotentialRecord(label=potential, fingerprint=potential, settings={}),
        relaxation=LIMITS,
        phases=[_phase(formula, energy) for formula, energy in energies.items()],
        versions={},
    )


def _phase(formula: str, energy_per_atom: float) -> Phase:
    amounts = Composition(formula).get_el_amt_dict()
    species = tuple(symbol for symbol, amount in amounts.items() for _ in range(round(amount)))
    n = len(species)
    cell = Cell(
        lattice=((2.0 * n, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 2.0)),
        species=species,
        positions=tuple((number / n, 0.0, 0.0) for number in range(n)),
    )
    return Phase(name=formula, formula=formula, energy=energy_per_atom * n, source="made up", cell=cell)
