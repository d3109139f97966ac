"""The evaluator `topotactic_window`: voltages at which the first ion enters or leaves an intact electrolyte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Input
from invdesign.properties import Unit
from invdesign.structures.formulas import write_formula
from surrogates.electrode.exchange import (
    ENERGY_SCATTER,
    ExchangeEvaluator,
    Positive,
    describe_voltage_error,
)
from surrogates.electrode.insertion import Level, Limits, Ordering, compare_level, relax_level
from surrogates.electrode.metals import WorkingIon, find_metal_energy
from surrogates.electrode.sites import (
    MAX_ATOMS,
    InsertionError,
    IonSites,
    find_empty_sites,
    find_ion_sites,
    find_radii,
)
from surrogates.electrode.voltage import average_voltage
from surrogates.potentials.evaluator import find_known_error
from surrogates.relaxation.relax import relax_structure
from surrogates.stability.windows import CHARGES

if TYPE_CHECKING:
    from pymatgen.core import Structure


# Å from the surfaces of ions, which an ion may overlap by so much. Chosen: electrolytes are dense, and relax around it (Li3OCl -0.1).
INTERSTITIAL_ROOM = -0.4
LIMIT_ERRORS = {"chgnet-0.3.0": 0.68}
"""V, by the beginning of the potential's fingerprint: root mean square distance of five limits from the measured plateaus that bound them
(`benchmarks/truth_tasks/topotactic_window.py`)."""


class TopotacticWindow(ExchangeEvaluator):
    """Voltages at which the first ion enters and leaves an electrolyte that stays intact.

    Between them neither happens, however slowly the electrolyte decomposes.
    """

    ion: WorkingIon
    """The ion that moves: Li, Na or K."""
    size: Positive = 8.0
    """Shortest height of the supercell, Å, between an exchanged ion and its images."""
    sites: Annotated[int, Field(ge=1, le=50)] = 2
    """Sites that are tried on each side, those of lowest electrostatic energy."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Both limits, the width, the host's fate, and the two exchanged crystals."""
        return {
            "topotactic_reduction_limit": "V",
            "topotactic_oxidation_limit": "V",
            "topotactic_window_width": "V",
            "host_displacement": "Å",
            "host_changed": "",
            "structure:ion_removed": "",
            "structure:ion_inserted": "",
        }

    @property
    def side_structures(self) -> frozenset[str]:
        """A crystal with an ion less or more is not the candidate."""
        return frozenset({"structure:ion_removed", "structure:ion_inserted"})

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Remove one ion from each of `inputs`, and insert one.

        An electrolyte without the ion, or that changes, is a failure with its reason.
        """
        return self._evaluate_each(inputs, self._evaluate_structure)

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        found = self._exchange_one(structure)
        known = find_known_error(self._potential, LIMIT_ERRORS)
        limits = ("topotactic_reduction_limit", "topotactic_oxidation_limit")
        systematic: dict[str, float] = {}
        if known is not None:
            systematic = {**dict.fromkeys(limits, known), "topotactic_window_width": 2 * known}
        # The intact crystal's scatter is in both limits, with opposite signs.
        volts = ENERGY_SCATTER * math.sqrt(2) * len(found.intact.structure) / CHARGES[self.ion]
        return Evaluation(
            found.properties,
            noise={**dict.fromkeys(limits, volts), "topotactic_window_width": math.sqrt(3) * volts},
            systematic=systematic,
            structures={"ion_removed": found.removed.structure, "ion_inserted": found.inserted.structure},
            cost={"potential_calls": float(found.calls)},
            details=self._write_details(found),
        )

    def _exchange_one(self, structure: Structure) -> _Window:
        own = find_ion_sites(structure, self.ion, empty=False)
        formula = write_formula(structure.composition)
        if not own.occupied:
            raise InsertionError(
                f"{formula} has no {self.ion}: an electrolyte must hold the ion that it conducts; name another 'ion'"
            )
        limits = self._limits
        metal = find_metal_energy(self._potential, self.ion)
        bulk = relax_structure(
            structure, self._potential, fmax=self.fmax, smax=self.smax, steps=self.relaxation_steps
        )
        cells = self._choose_cells(bulk.structure)
        own = find_ion_sites(bulk.structure, self.ion, empty=False).repeat(cells)
        fixed = replace(limits, cell=False)
        size, count = len(own.host), own.occupied
        intact = relax_level(own, count, 1, self._potential, fixed).orderings[0]
        own = IonSites(
            _with_places(own.host, intact.structure), self.ion, intact.structure.frac_coords[size:], count
        )
        removed = compare_level(relax_level(own, count - 1, self.sites, self._potential, fixed), intact, size)
        inserted = compare_level(self._insert_one(own, intact, bulk.structure, cells, fixed), intact, size)
        return _Window(
            intact=intact,
            removed=self._select_ordering(removed),
            inserted=self._select_ordering(inserted),
            metal=metal,
            charge=CHARGES[self.ion],
            calls=bulk.calls + sum(item.calls for item in (intact, *removed.orderings, *inserted.orderings)),
        )

    def _choose_cells(self, structure: Structure) -> tuple[int, int, int]:
        """Repetitions along the cell's vectors, so that no height is below `size`."""
        spacings = structure.lattice.d_hkl
        a, b, c = (
            max(1, math.ceil(self.size / float(spacings(hkl)) - 1e-6))
            for hkl in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        )
        atoms = a * b * c * len(structure)
        if atoms > MAX_ATOMS:
            raise InsertionError(
                f"a supercell of {write_formula(structure.composition)} with heights of {self.size:g} Å has {atoms} atoms (limit "
                f"{MAX_ATOMS}); lower 'size', or give a primitive cell"
            )
        return a, b, c

    def _insert_one(
        self, own: IonSites, intact: Ordering, bulk: Structure, cells: tuple[int, int, int], limits: Limits
    ) -> Level:
        """Insert one ion into the intact crystal, at places between the atoms of its unit cell `bulk`."""
        empty = find_empty_sites(bulk, np.empty((0, 3)), find_radii(bulk, self.ion), INTERSTITIAL_ROOM)
        if not len(empty):
            raise InsertionError(
                f"{write_formula(bulk.composition)} has no place between its atoms for another {self.ion} (room "
                f"{INTERSTITIAL_ROOM:g} Å), so none can enter it intact"
            )
        sites = IonSites(intact.structure, self.ion, empty / np.array(cells), 0)
        level = relax_level(sites, 1, self.sites, self._potential, limits)
        # The intact crystal served as host, its ions included: counted again, host and ions are told apart.
        return Level(
            own.occupied + 1,
            tuple(replace(item, count=own.occupied + 1) for item in level.orderings),
            level.failures,
        )

    def _select_ordering(self, level: Level) -> Ordering:
        found = level.select_orderings(self.host_changed)
        if not found:
            change = level.orderings[0].change
            assert change is not None
            raise InsertionError(
                f"host_changed: in {write_formula(level.orderings[0].structure.composition)} {change.describe()}, so the "
                "electrolyte does not stay intact; set 'host_changed: flag' to see the numbers"
            )
        return found[0]

    def _write_details(self, found: _Window) -> dict[str, str]:
        cell = f"one {self.ion} more or less in {write_formula(found.intact.structure.composition)}, {len(found.intact.structure)} atoms"
        known = find_known_error(self._potential, LIMIT_ERRORS) is not None
        error = "error as measured on five limits of insertion compounds, of no electrolyte" if known else ""
        details = {
            "topotactic_window_width": "; ".join(
                filter(None, [cell, error, describe_voltage_error(self._potential, LIMIT_ERRORS)])
            )
        }
        for name, item in (
            ("topotactic_oxidation_limit", found.removed),
            ("topotactic_reduction_limit", found.inserted),
        ):
            assert item.change is not None
            details[name] = item.change.describe()
        return details


def _with_places(host: Structure, relaxed: Structure) -> Structure:
    """Move the atoms of a host to their places in a relaxed crystal that has them first."""
    from pymatgen.core import Structure

    return Structure(relaxed.lattice, host.species, relaxed.frac_coords[: len(host)])


@dataclass(frozen=True, eq=False)
class _Window:
    """Results of one ion less and one more.

    Attributes:
        intact, removed, inserted: the crystal as it is, with an ion less, and with one more.
        metal: eV/atom, energy of the ion's metal.
        charge: of the ion.
        calls: of the potential.
    """

    intact: Ordering
    removed: Ordering
    inserted: Ordering
    metal: float
    charge: int
    calls: int

    @property
    def properties(self) -> dict[str, float]:
        """Values of all properties by name."""
        oxidation = average_voltage(self.removed.energy, self.intact.energy, 1, self.metal, self.charge)
        reduction = average_voltage(self.intact.energy, self.inserted.energy, 1, self.metal, self.charge)
        changes = [item.change for item in (self.removed, self.inserted) if item.change]
        return {
            "topotactic_reduction_limit": reduction,
            "topotactic_oxidation_limit": oxidation,
            "topotactic_window_width": oxidation - reduction,
            "host_displacement": max(change.displacement for change in changes),
            "host_changed": float(any(change.changed for change in changes)),
        }
