"""The evaluator `electrode`: voltage, capacity, energy and volume change of an insertion electrode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from invdesign.candidate import Evaluation, Input, clean_detail
from invdesign.properties import Unit
from invdesign.protocols import Potential
from invdesign.structures.formulas import write_formula
from surrogates.electrode.capacity import find_capacity
from surrogates.electrode.electrons import describe_electron_limit, find_electron_limit
from surrogates.electrode.exchange import (
    ENERGY_SCATTER,
    VOLTAGE_ERRORS,
    ExchangeEvaluator,
    describe_voltage_error,
)
from surrogates.electrode.hosts import find_worse_class, is_layered
from surrogates.electrode.insertion import Ordering, Series, relax_series
from surrogates.electrode.metals import WorkingIon, find_metal_energy
from surrogates.electrode.sites import InsertionError, IonSites, choose_supercell, find_ion_sites
from surrogates.electrode.voltage import Profile, find_profile
from surrogates.potentials.evaluator import find_known_error
from surrogates.stability.windows import CHARGES

if TYPE_CHECKING:
    from pymatgen.core import Structure

Share = Annotated[float, Field(ge=0, le=12)]


class Electrode(ExchangeEvaluator):
    """Voltage, capacity, energy and volume change of a host that takes an ion up and gives it off.

    The ion is removed from the structure, or inserted into empty sites; both ends are relaxed.
    """

    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    working_ion: WorkingIon
    """The ion that moves: Li, Na or K."""
    start: Share = Field(default=1.0, alias="from")
    """Share of the structure's ions where the exchange begins; 1 is as given. Ions per formula unit of a host without any."""
    end: Share = Field(default=0.0, alias="to")
    """Share where it ends: 0 removes all ions; more than `from` inserts ions into empty sites."""
    steps: Annotated[int, Field(ge=1, le=24)] = 1
    """Equal parts of the way between the ends, for a profile with more than one plateau."""
    orderings: Annotated[int, Field(ge=1, le=100)] = 4
    """Orderings that are relaxed at each composition, those of lowest electrostatic energy."""
    anion_redox: bool = False
    """True if anions may give and take electrons too, so that no limit of ions follows from the metals."""

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"'from' and 'to' must differ, got {self.start:g} for both: no ion would move")
        return self

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Voltages, capacities, energies, volume change, the host's fate, and both ends."""
        return {
            "average_voltage": "V",
            "lowest_voltage": "V",
            "highest_voltage": "V",
            "capacity_per_discharged_mass": "mAh/g",
            "capacity_per_host_mass": "mAh/g",
            "capacity_per_discharged_volume": "mAh/cm^3",
            "energy_per_discharged_mass": "Wh/kg",
            "energy_per_discharged_volume": "Wh/L",
            "insertion_volume_change": "%",
            "host_displacement": "Å",
            "host_changed": "",
            "less_certain_voltage": "",
            "structure:charged": "",
            "structure:discharged": "",
        }

    @property
    def side_structures(self) -> frozenset[str]:
        """The charged host is not the candidate."""
        return frozenset({"structure:charged"})

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Exchange the ions of each of `inputs`.

        A host without the ion, without room or electrons for it, or that changes, is a failure with its reason.
        """
        return self._evaluate_each(inputs, self._evaluate_structure)

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        found = self._exchange_ions(structure)
        return Evaluation(
            found.properties,
            noise=found.noise,
            systematic=find_voltage_errors(self._potential, found.properties),
            structures={"charged": found.charged.structure, "discharged": found.discharged.structure},
            cost={"potential_calls": float(found.series.calls)},
            details={name: clean_detail(text) for name, text in self._write_details(found).items()},
        )

    def _exchange_ions(self, structure: Structure) -> _Exchange:
        shares = np.linspace(self.start, self.end, self.steps + 1).tolist()
        sites = self._find_sites(structure, shares)
        sites = sites.repeat(choose_supercell(sites, shares))
        counts = list(dict.fromkeys(int(sites.count_ions(share)) for share in shares))
        if not self.anion_redox:
            self._require_electrons(sites, counts)
        metal = find_metal_energy(self._potential, self.working_ion)
        series = relax_series(sites, counts, self.orderings, self._potential, self._limits)
        chosen = {count: level.select_orderings(self.host_changed) for count, level in series.levels.items()}
        for count in (counts[0], counts[-1]):
            if not chosen[count]:
                self._refuse_changed_host(series, count)
        energies = {count: [item.energy for item in found] for count, found in chosen.items() if found}
        profile = find_profile(energies, metal, CHARGES[self.working_ion])
        low, high = min(counts[0], counts[-1]), max(counts[0], counts[-1])
        return _Exchange(series, profile, chosen[low][0], chosen[high][0], CHARGES[self.working_ion])

    def _find_sites(self, structure: Structure, shares: Sequence[float]) -> IonSites:
        """Find the sites, of which some must hold an ion where ions are to be removed."""
        ion, formula = self.working_ion, write_formula(structure.composition)
        held = any(element.symbol == ion for element in structure.composition)
        if not held and self.start > 0:
            raise InsertionError(
                f"{formula} has no {ion} that could be removed ('from: {self.start:g}'); name another 'working_ion', or insert "
                "ions with 'from: 0' and 'to: 1', one per formula unit"
            )
        return find_ion_sites(structure, ion, empty=max(shares) > 1 or not held)

    def _require_electrons(self, sites: IonSites, counts: Sequence[int]) -> None:
        for count in (counts[0], counts[-1]):
            limit = find_electron_limit(sites.host_amounts, self.working_ion, sites.occupied, count)
            if limit is not None:
                raise InsertionError(
                    describe_electron_limit(
                        sites.host_amounts, self.working_ion, sites.occupied, count, limit
                    )
                )

    def _refuse_changed_host(self, series: Series, count: int) -> None:
        """Fail a candidate whose host changed in all orderings of a composition."""
        lowest = series.levels[count].orderings[0]
        formula = write_formula(lowest.structure.composition)
        assert lowest.change is not None
        raise InsertionError(
            f"host_changed: in {formula} {lowest.change.describe()}, so the voltage would be that of another reaction; exchange "
            "fewer ions, or set 'host_changed: flag' to see the numbers"
        )

    def _write_details(self, found: _Exchange) -> dict[str, str]:
        ends = " / ".join(
            write_formula(item.structure.composition) for item in (found.charged, found.discharged)
        )
        looked = ", ".join(
            f"{len(level.orderings)} with {count} {self.working_ion}"
            for count, level in sorted(found.series.levels.items())
        )
        remarks = [
            f"{ends} against {self.working_ion} metal",
            f"orderings relaxed: {looked}",
            *found.list_remarks(),
        ]
        profile = found.describe_profile(self.working_ion)
        if self.steps == 1:
            profile += (
                "; only the ends were computed, so plateaus on the way are not seen (steps: 4 looks for them)"
            )
        kind = find_worse_class(found.series.sites.host)
        worse = f"{kind}: CHGNet 0.3.0 errs by 0.25 to 0.61 V in this class" if kind else ""
        unknown = describe_voltage_error(self._potential)
        details = {
            "average_voltage": "; ".join(filter(None, [*remarks, worse, unknown])),
            "highest_voltage": profile,
            "lowest_voltage": profile,
            "host_displacement": found.describe_host(),
        }
        details["insertion_volume_change"] = (
            "layers: a potential without dispersion leaves the charged volume uncertain by 10 %"
            if is_layered(found.series.sites.host)
            else "no error known: not compared with measured volumes"
        )
        if kind:
            details["less_certain_voltage"] = worse
        if found.changed:
            details["host_changed"] = found.describe_host()
        return details


@dataclass(frozen=True, eq=False)
class _Exchange:
    """Result of an exchange of ions.

    Attributes:
        series: all relaxed orderings.
        profile: voltages.
        charged: lowest ordering with the fewest ions.
        discharged: lowest ordering with the most.
        charge: of the ion.
    """

    series: Series
    profile: Profile
    charged: Ordering
    discharged: Ordering
    charge: int

    @property
    def changed(self) -> bool:
        """True if the host is another one at an end."""
        return self.charged.changed or self.discharged.changed

    @cached_property
    def properties(self) -> dict[str, float]:
        ions = self.discharged.count - self.charged.count
        full, empty = self.discharged.structure, self.charged.structure
        capacity = find_capacity(
            ions,
            self.charge,
            float(full.composition.weight),
            float(empty.composition.weight),
            float(full.volume),
        )
        average = self.profile.average
        moved = [item.change.displacement for item in (self.charged, self.discharged) if item.change]
        return {
            "average_voltage": average,
            "lowest_voltage": self.profile.lowest,
            "highest_voltage": self.profile.highest,
            "capacity_per_discharged_mass": capacity.per_discharged_mass,
            "capacity_per_host_mass": capacity.per_host_mass,
            "capacity_per_discharged_volume": capacity.per_discharged_volume,
            "energy_per_discharged_mass": average * capacity.per_discharged_mass,
            "energy_per_discharged_volume": average * capacity.per_discharged_volume,
            "insertion_volume_change": 100.0 * (float(full.volume) / float(empty.volume) - 1.0),
            "host_displacement": max(moved, default=0.0),
            "host_changed": float(self.changed),
            "less_certain_voltage": float(bool(find_worse_class(self.series.sites.host))),
        }

    @property
    def noise(self) -> dict[str, float]:
        """Scatter of the average voltage, and of the energies with it: both ends are relaxed on their own."""
        sizes = np.array([len(self.charged.structure), len(self.discharged.structure)])
        ions = self.discharged.count - self.charged.count
        volts = float(ENERGY_SCATTER * np.linalg.norm(sizes) / (self.charge * ions))
        return {"average_voltage": volts, **_scale_to_energies(volts, self.properties)}

    def list_remarks(self) -> list[str]:
        """Sentences on orderings that failed, were left out or strayed."""
        levels = self.series.levels.values()
        failed = sum(len(level.failures) for level in levels)
        changed = sum(item.changed for level in levels for item in level.orderings)
        held = sum(item.held for level in levels for item in level.orderings)
        strayed = self.charged.strayed + self.discharged.strayed
        return [
            *([f"{failed} orderings could not be relaxed"] if failed else []),
            *([f"{changed} orderings changed the host"] if changed else []),
            *(
                [f"layers of {held} orderings drifted apart without dispersion, so their cell was held"]
                if held
                else []
            ),
            *([f"{strayed} ions left their sites by more than 1 Å"] if strayed else []),
            *self.series.skipped,
        ]

    def describe_profile(self, ion: str) -> str:
        """Write the plateaus: `3.51 V from 0 to 2 Li, 3.02 V from 2 to 4 Li`.

        Args:
            ion: symbol of the working ion.
        """
        return ", ".join(
            f"{step.voltage:.2f} V from {step.low} to {step.high} {ion}" for step in self.profile.steps
        )

    def describe_host(self) -> str:
        """Describe the larger change of the host at the ends."""
        changes = [item.change for item in (self.charged, self.discharged) if item.change]
        return max(changes, key=lambda change: (change.changed, change.displacement)).describe()


def _scale_to_energies(volts: float, properties: Mapping[str, float]) -> dict[str, float]:
    """Deviations of the energies that follow from one of the voltage."""
    return {
        "energy_per_discharged_mass": volts * properties["capacity_per_discharged_mass"],
        "energy_per_discharged_volume": volts * properties["capacity_per_discharged_volume"],
    }


def find_voltage_errors(potential: Potential, properties: Mapping[str, float]) -> dict[str, float]:
    """Systematic errors of an electrode's voltages and energies; none where they were not measured.

    Args:
        potential: of the energies.
        properties: of the electrode.
    """
    error = find_known_error(potential, VOLTAGE_ERRORS)
    if error is None:
        return {}
    voltages = dict.fromkeys(("average_voltage", "lowest_voltage", "highest_voltage"), error)
    return {**voltages, **_scale_to_energies(error, properties)}
