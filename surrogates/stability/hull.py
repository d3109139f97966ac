"""The convex hull that a run builds: distances of its trials to the phases found so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Annotated, cast

import numpy as np
from pydantic import Field, field_validator

from invdesign import registry
from invdesign.arrays import BoolArray, IntArray
from invdesign.candidate import Status
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import DerivationSettings, Derived, History, Phase
from invdesign.structures.formulas import parse_composition
from surrogates.stability.coverage import coverage_notes
from surrogates.stability.evaluators import potential_energy_error
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

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on known compounds that the reference set lacks."""
        return self.remarks_on(None)

    def remarks_on(self, elements: frozenset[str] | None) -> tuple[str, ...]:
        """Sentences on what the reference set lacks for candidates of some elements.

        Args:
            elements: of the search space; None for all systems of the set.
        """
        try:
            return () if self.reference is None else coverage_notes(self.reference.load(), elements)
        except InvdesignError:  # not the pinned set; `prepare` tells the reason
            return ()

    def prepare(self) -> None:
        """Read the reference set."""
        if self.reference is not None:
            self.reference.load()

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        if "phases" not in memory:
            memory["phases"], memory["seen"] = self._start_table(), _Seen()
        table, seen = cast("PhaseTable", memory["phases"]), cast("_Seen", memory["seen"])
        rows = np.asarray(ids, dtype=np.int64)
        energies = history.column(self.energy)
        complete = history.status_by_trial() == Status.COMPLETE
        for id in rows[seen.mask_new(rows, len(history))].tolist():
            formula = history.formula_of(id)
            found = parse_fractions(formula)
            if found is not None and complete[id] and not np.isnan(energies[id]):
                table.add_phase(found, formula, float(energies[id]), id)
            seen.note_trial(id, found)
        whole = table.update_hull()
        places = seen.find_places(rows, table)
        distances = energies[rows] - np.append(table.hull, np.nan)[places]  # -1 reads the last one
        distances = np.where(complete[rows], np.maximum(distances, 0.0), distances)
        unknown = np.flatnonzero(np.isnan(distances) & ~np.isnan(energies[rows])).tolist()
        details = {int(rows[at]): _describe_unknown(table, int(places[at])) for at in unknown}
        error = self._find_error(history)
        errors = (
            {} if error is None else {self.distance_property: np.where(np.isnan(distances), np.nan, error)}
        )
        return Derived({self.distance_property: distances}, {self.distance_property: details}, whole, errors)

    def _find_error(self, history: History) -> float | None:
        """Systematic error of the distances, eV/atom: that of the potential; None where no potential is named."""
        potential = self.potential_id or history.potential_of(self.energy)
        return None if potential is None else potential_energy_error(potential)

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


class _Seen:
    """Compositions of the trials that a table was told of, so that each formula is read once."""

    def __init__(self) -> None:
        self._numbers: dict[Composition | None, int] = {None: 0}
        self._by_trial: IntArray = np.full(0, -1, dtype=np.int64)

    def mask_new(self, rows: IntArray, count: int) -> BoolArray:
        """Mask of the trials `rows` (n,) that were not noted; the run has `count` trials."""
        if count > len(self._by_trial):
            larger = np.full(max(count, 2 * len(self._by_trial)), -1, dtype=np.int64)
            larger[: len(self._by_trial)] = self._by_trial
            self._by_trial = larger
        return np.asarray(self._by_trial[rows] < 0)

    def note_trial(self, id: int, composition: Composition | None) -> None:
        """Note the composition of trial `id`."""
        self._by_trial[id] = self._numbers.setdefault(composition, len(self._numbers))

    def find_places(self, rows: IntArray, table: PhaseTable) -> IntArray:
        """Rows of a table for the trials `rows` (n,); -1 where no phase has the composition."""
        places = [-1 if found is None else table.place_of(found) for found in self._numbers]
        return np.array(places, dtype=np.int64)[self._by_trial[rows]]


def _describe_unknown(table: PhaseTable, place: int) -> str:
    """Reason why the distance of a trial with a known energy is unknown."""
    if place < 0:
        return "unknown: no complete candidate has its composition"
    return f"unknown until competing phases with {', '.join(table.rows[place].missing)} are found"
