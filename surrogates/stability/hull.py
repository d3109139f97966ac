"""The convex hull that a run builds: distances of its trials to the phases found so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Annotated, cast

import numpy as np
from pydantic import Field, field_validator

from invdesign import registry
from invdesign.arrays import FloatArray
from invdesign.candidate import Status
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import DerivationSettings, Derived, History, Phase
from invdesign.structures.formulas import parse_composition
from surrogates.stability.phases import Composition, PhaseTable, parse_fractions, to_fractions
from surrogates.stability.reference import ReferenceField

ENERGY = "energy_per_atom"
DISTANCE = "distance_to_hull"


class Hull(DerivationSettings):
    """Distance of each trial to the convex hull of all phases that the run found, and of a reference set's.

    The phases are the complete trials. The distance is 0 on the hull, and grows when a lower phase is found. It is unknown
    where no mixture of other phases has the composition, except at the ends of the system, which are the elements. In a
    system of compounds (SrO-TiO2 of fixed charges) they are the compounds: name them as `end_members`, or they are found.
    """

    energy: Annotated[str, Field(min_length=1)] = ENERGY
    """Property with the energies, in eV/atom; of `dft_energy_per_atom` it makes `dft_distance_to_hull`."""
    reference: ReferenceField | None = None
    """A reference set whose phases belong to the hull: a shipped one, or a file that `invdesign reference build` wrote.
    Its potential must be the one that makes the energies."""
    end_members: tuple[str, ...] = ()
    """Compositions at the ends of the system, such as `[SrO, TiO2]`; by default the elements, or compounds that are found to
    be ends."""

    @field_validator("end_members")
    @classmethod
    def _check_formulas(cls, formulas: tuple[str, ...]) -> tuple[str, ...]:
        for formula in formulas:
            try:
                parse_composition(formula)
            except InvdesignError as error:
                raise ValueError(str(error)) from error
        return formulas

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.energy})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {self.distance_property: "eV/atom"}

    @property
    def energy_property(self) -> str:
        """Name of the property that holds the energies."""
        return self.energy

    @property
    def distance_property(self) -> str:
        """Name of the property that holds the distances."""
        if ENERGY in self.energy:
            return self.energy.replace(ENERGY, DISTANCE)
        return f"{self.energy}_{DISTANCE}"

    @property
    def potential_id(self) -> str | None:
        return None if self.reference is None else self.reference.potential

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and of the reference set's content; its name and place do not count."""
        fields = self.model_dump(mode="json", exclude={"reference"})
        content = None if self.reference is None else self.reference.hash
        text = json.dumps([registry.name_of(type(self)), fields, content, self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def prepare(self) -> None:
        """Read the reference set."""
        if self.reference is not None:
            self.reference.load()

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        table = cast("PhaseTable", memory.setdefault("phases", None) or self._start_table())
        memory["phases"] = table
        rows = np.asarray(ids, dtype=np.int64)
        energies = history.column(self.energy)[rows]
        complete = history.status_by_trial()[rows] == Status.COMPLETE
        compositions = [parse_fractions(history.formula_of(id)) for id in ids]
        for id, found, energy, counts in zip(ids, compositions, energies.tolist(), complete, strict=True):
            if counts and found is not None and not np.isnan(energy):
                table.add_phase(found, history.formula_of(id), energy, int(id))
        whole = table.update_hull()
        places = [-1 if found is None else table.place_of(found) for found in compositions]
        distances = _measure_distances(table, energies, places)
        distances = np.where(complete, np.maximum(distances, 0.0), distances)
        details = [
            _describe_unknown(table, place) if np.isnan(distance) and not np.isnan(energy) else ""
            for place, distance, energy in zip(places, distances, energies, strict=True)
        ]
        name = self.distance_property
        return Derived({name: distances}, {name: details}, whole)

    def _start_table(self) -> PhaseTable:
        """Table of the reference set's phases."""
        ends = (to_fractions(parse_composition(text).get_el_amt_dict()) for text in self.end_members)
        table = PhaseTable(found for found in ends if found is not None)
        if self.reference is not None:
            for phase in self.reference.load().phases:
                fractions = to_fractions(phase.composition)
                if fractions is not None:
                    table.add_phase(fractions, phase.formula, phase.energy_per_atom, None, phase.name)
            table.update_hull()
        return table

    def list_phases(self, history: History) -> Sequence[Phase]:
        """Lowest phases of all compositions in `history`, by formula."""
        memory: dict[str, object] = {}
        ended = np.flatnonzero(history.status_by_trial() != Status.PENDING)
        self.derive(history, ended.tolist(), memory)
        table = cast("PhaseTable", memory["phases"])
        found = [
            Phase(
                formula=row.formula,
                energy=row.energy,
                distance=float(row.energy - hull),
                candidate=row.candidate,
                name=row.name,
                missing=row.missing,
            )
            for row, hull in zip(table.rows, table.hull, strict=True)
        ]
        return sorted(found, key=lambda phase: phase.formula)


def _measure_distances(table: PhaseTable, energies: FloatArray, places: Sequence[int]) -> FloatArray:
    """Distances to the hull, shape (n,), eV/atom; NaN where it is not known.

    Args:
        table: of the phases, up to date.
        energies: shape (n,), eV/atom.
        places: row of each composition in the table; -1 for none.
    """
    hull = np.append(table.hull, np.nan)  # which -1 reads
    return np.asarray(energies - hull[np.asarray(places, dtype=np.int64)], dtype=np.float64)


def _describe_unknown(table: PhaseTable, place: int) -> str:
    """Reason why the distance of a trial with a known energy is unknown."""
    if place < 0:
        return "unknown: no complete candidate has its composition"
    missing: tuple[Composition, ...] | tuple[str, ...] = table.rows[place].missing
    return f"unknown until competing phases with {', '.join(map(str, missing))} are found"
