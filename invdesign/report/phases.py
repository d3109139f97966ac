"""Distinct phases among the best crystals, and candidates whose relaxed crystal breeds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.protocols import RecognisingSpace
from invdesign.report.structure import last_structure
from invdesign.report.tables import MAX_EXAMPLES, Facts
from invdesign.structures.symmetry import call_spglib, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

MAX_COMPARED = 50  # best candidates that are compared with each other; chosen: below a second for 20 atoms
MAX_ROWS = 25  # phases in the table; chosen
MAX_MATCHED_ATOMS = 200  # in a cell: matching larger ones takes seconds (chosen)
SYMPREC = 0.05  # Å, for space groups: relaxed crystals are noisier than published ones (chosen)
# Tighter than pymatgen's (0.2, 0.3, 5), which take two tilts of one perovskite for the same; chosen.
MATCHER_TOLERANCES = {"ltol": 0.1, "stol": 0.1, "angle_tol": 3.0}
MAX_VOLUME_DIFFERENCE = 0.1  # share, above which crystals of one composition are different phases (chosen)
ENERGY = "energy_per_atom"


@dataclass(frozen=True, slots=True)
class DistinctPhase:
    """A phase, with the best of its candidates.

    Attributes:
        id: the best candidate.
        formula: for display.
        space_group: symbol and number; empty if none is found.
        atoms: in the primitive cell.
        cells: values of the best candidate, as the heads of the view.
        found: compared candidates that are this phase.
        others: numbers of the first few other candidates.
    """

    id: int
    formula: str
    space_group: str
    atoms: int
    cells: tuple[str, ...]
    found: int
    others: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PhasesView:
    """Everything the report shows of distinct phases.

    Attributes:
        heads: of the values.
        phases: distinct ones, best first.
        unlisted: number of further ones.
        compared: number of candidates.
        omitted: complete candidates beyond them, or too large to compare.
        tolerance: for space groups, Å.
        barren: number of complete candidates that breed nothing.
        reasons: (candidate, reason) of the first few of them.
    """

    heads: tuple[str, ...]
    phases: Sequence[DistinctPhase]
    unlisted: int
    compared: int
    omitted: int
    barren: int
    reasons: Sequence[tuple[int, str]]
    tolerance: float = SYMPREC


def view_phases(facts: Facts) -> PhasesView | None:
    """View of the distinct phases among the best candidates.

    None if the space does not recognise crystals, or none is complete.
    """
    if not isinstance(facts.run.campaign.space, RecognisingSpace) or not len(facts.ranking):
        return None
    groups = _group_best(facts)
    names = _value_names(facts)
    compared = sum(len(group.ids) for group in groups)
    history = facts.run.history
    barren = [
        (int(id), history.adoption_refusal(int(id)))
        for id in np.sort(facts.ranking)
        if history.adoption_refusal(int(id))
    ]
    return PhasesView(
        heads=tuple(facts.property_heading(name) for name in names),
        phases=[_describe_phase(facts, group, names) for group in groups[:MAX_ROWS]],
        unlisted=max(len(groups) - MAX_ROWS, 0),
        compared=compared,
        omitted=len(facts.ranking) - compared,
        barren=len(barren),
        reasons=barren[:MAX_EXAMPLES],
    )


@dataclass(slots=True)
class _Group:
    """Candidates of one phase, best first, with the primitive cell of the best."""

    primitive: Structure
    ids: list[int] = field(default_factory=list)

    @property
    def volume(self) -> float:
        """Volume per atom, Å³."""
        return float(self.primitive.volume) / len(self.primitive)


def _group_best(facts: Facts) -> list[_Group]:
    """Group the best candidates by phase, with pymatgen's `StructureMatcher`."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(primitive_cell=False, attempt_supercell=False, **MATCHER_TOLERANCES)
    groups: list[_Group] = []
    for id, primitive in _read_best(facts):
        own = _Group(primitive, [id])
        same = next((group for group in groups if _is_same(group, own, matcher)), None)
        if same is None:
            groups.append(own)
        else:
            same.ids.append(id)
    return groups


def _read_best(facts: Facts) -> Iterator[tuple[int, Structure]]:
    """Numbers and reduced primitive cells of the best candidates."""
    for id in facts.ranking[:MAX_COMPARED].tolist():
        try:
            found, _ = last_structure(facts.run, id)
        except InvdesignError:  # a space that cannot build here; its card says so
            continue
        if found is None or not found.is_ordered or len(found) > MAX_MATCHED_ATOMS:
            continue
        yield id, _reduce_structure(found)


def _reduce_structure(structure: Structure) -> Structure:
    """Niggli-reduced primitive cell, atoms unmoved."""
    from pymatgen.core import Structure

    parts = np.array(structure.lattice.matrix), np.array(structure.frac_coords), structure.atomic_numbers
    found = call_spglib("standardize_cell", parts, to_primitive=True, no_idealize=True, symprec=SYMPREC)
    if found is not None:
        lattice, positions, numbers = found
        structure = Structure(lattice, [int(number) for number in numbers], positions)
    return structure.get_reduced_structure()


def _is_same(group: _Group, own: _Group, matcher: StructureMatcher) -> bool:
    """True if two groups are one phase."""
    first, second = group.primitive, own.primitive
    if first.composition.reduced_formula != second.composition.reduced_formula or len(first) != len(second):
        return False
    if abs(group.volume - own.volume) > MAX_VOLUME_DIFFERENCE * group.volume:
        return False
    return bool(matcher.fit(first, second, skip_structure_reduction=True))


def _value_names(facts: Facts) -> list[str]:
    """Properties shown of each phase: those that rank candidates, and the energy."""
    names = list(facts.run.campaign.problem.properties)
    return names + [ENERGY] * (ENERGY in facts.columns and ENERGY not in names)


def _describe_phase(facts: Facts, group: _Group, names: Sequence[str]) -> DistinctPhase:
    id = group.ids[0]
    return DistinctPhase(
        id=id,
        formula=facts.formulas[id],
        space_group=_find_space_group(group.primitive),
        atoms=len(group.primitive),
        cells=tuple(facts.cell_text(name, id) for name in names),
        found=len(group.ids),
        others=tuple(sorted(group.ids[1 : MAX_EXAMPLES + 1])),
    )


def _find_space_group(structure: Structure) -> str:
    """Symbol and number of the space group within `SYMPREC`; empty if none is found."""
    lattice, positions = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    try:
        found = symmetry_dataset(lattice, positions, structure.atomic_numbers, SYMPREC)
    except InvdesignError:
        return ""
    return f"{found.international} ({found.number})"
