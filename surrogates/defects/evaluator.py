"""Formation energy of point defects in a neutral supercell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from invdesign.candidate import Evaluation, Failure, Input, clean_detail
from invdesign.errors import InvdesignError, MissingReferenceError
from invdesign.properties import Unit
from invdesign.roles import StructureRole, find_structure, required_structure
from invdesign.settings import STORED_FOLDER, validation_context
from invdesign.structures.cells import measure_shortest_translation
from invdesign.structures.charges import is_neutral
from invdesign.structures.site_labels import NATIVE, read_labels
from invdesign.wording import count_noun
from surrogates.defects.conditions import Conditions
from surrogates.defects.exchange import Exchange, Source, find_exchange, list_missing
from surrogates.potentials.evaluator import PotentialEvaluator
from surrogates.relaxation.descent import FreeCell
from surrogates.relaxation.references import Reference, Treatment, relax_reference
from surrogates.stability.evaluators import ENERGY, potential_energy_error
from surrogates.stability.reference import ReferenceField, ReferenceSet

if TYPE_CHECKING:
    from pymatgen.core import Structure

DEFECT_ENERGY: Final = "defect_energy"
SAME_CELL = 1e-4  # Å; chosen: files and transport round lattices below it, relaxations change them by more
LARGEST_SWELLING = 1.5  # change of volume, either way, beyond which a cell is not that of the host; chosen
SHAKE = 0.05  # Å, standard deviation of displacements of the host's second start; chosen, as the rattle of search spaces
LOWER_ENERGY = (
    1e-3  # eV by which the second start must end lower to be told of; forces left cost less; chosen
)

UNBALANCED = (
    "formal charges do not balance, and a potential does not know the energy of an electron more or less"
)


class DefectCellError(InvdesignError):
    """A candidate is no defective cell of its host."""


class DefectEnergy(PotentialEvaluator):
    """Energy to form the defects of a candidate in its perfect host.

    It is the energy of the relaxed cell less that of the host's cell, less the atoms exchanged with the surroundings at their
    chemical potentials. Where nothing is exchanged (Frenkel pairs, exchanged atoms), or whole formula units of the host (Schottky
    sets), no conditions are needed. Cells are neutral, as potentials know no charge.
    """

    host: StructureRole = "host"
    """Role of the perfect supercell: that of the search space `defect`."""
    energy: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = ENERGY
    """Property with the energies of the defective cells, eV/atom, by the same potential."""
    conditions: Conditions | None = None
    """Surroundings that fix the chemical potentials: `{equilibrium_with: [Li2O, Li3N]}`, `{limits: {Li: rich}}` or
    `{ion: Li, voltage: 3.5}`. The host is always in equilibrium with them."""
    reference: ReferenceField = Field(default="battery-phases", validate_default=True)
    """Set with the phases that conditions name and compete with: a shipped one, or a file that `invdesign reference build` wrote;
    relaxed by the same potential."""
    fmax: Annotated[float, Field(gt=0)] = 0.02
    """Largest force left on an atom of the host, eV/Å: that of the stage which relaxes candidates."""
    smax: Annotated[float, Field(gt=0)] = 0.05
    """Largest stress left in a host whose cell may change, GPa."""
    steps: Annotated[int, Field(ge=1)] = 500
    """Most steps of the host's relaxation."""

    @model_validator(mode="after")
    def _check_potentials(self, info: ValidationInfo) -> DefectEnergy:
        """Refuse a set of another potential, and conditions that name phases which the set lacks."""
        if self.conditions is None or validation_context(info)[0] == STORED_FOLDER:
            return self
        if self.reference.potential != self._potential.fingerprint:
            raise ValueError(
                f"the reference set '{self.reference.name}' has energies of {self.reference.potential}, and the potential is "
                f"{self._potential.fingerprint}: energies of two potentials must not meet. Name a set of this potential "
                "('invdesign reference build' makes one), or leave conditions out for defects that exchange nothing"
            )
        try:
            mistakes = list_missing(self.conditions, self.reference.load())
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def requires(self) -> frozenset[str]:
        """Both structures, and the energy of the defective one."""
        return super().requires | {required_structure(self.host), self.energy}

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {DEFECT_ENERGY: "eV"}

    @property
    def potential_id(self) -> str:
        """Fingerprint of the potential, since energies of two never meet."""
        return self._potential.fingerprint

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the settings, the potential's weights and the set's content."""
        return f"{super().fingerprint}-{self.reference.hash}" if self.conditions else super().fingerprint

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Evaluate each of `inputs`.

        One whose exchange is not fixed is a failure with what to add.
        """
        return self._evaluate_inputs(inputs, self._evaluate_candidate)

    def _evaluate_candidate(self, item: Input) -> Evaluation:
        try:
            return self._evaluate_structures(item)
        except MissingReferenceError as error:
            return Evaluation(failure=Failure("missing", "", str(error)))

    def _evaluate_structures(self, item: Input) -> Evaluation:
        structure, perfect = self.structure_of(item), find_structure(item, self.host)
        cell = find_freedom(structure, perfect)
        host, lower = self._relax_host(perfect, cell)
        source = Source.of_crystal(perfect.composition, host.energy)
        change = count_change(structure, perfect)
        exchange = find_exchange(change, source, self.conditions, self._find_set())
        energy = item.properties[self.energy] * len(structure) - host.energy - exchange.energy
        error = potential_energy_error(self._potential.fingerprint) * exchange.n_atoms
        parts = [
            describe_defects(structure, perfect),
            describe_cell(structure, perfect, cell),
            describe_exchange(exchange, self.conditions),
            *exchange.remarks,
        ]
        if lower > LOWER_ENERGY:
            parts.append(
                f"a shaken host ends {lower:.2g} eV lower than the symmetric one, and is the reference"
            )
        return Evaluation(
            properties={DEFECT_ENERGY: energy},
            systematic={DEFECT_ENERGY: error} if error else {},
            details={DEFECT_ENERGY: clean_detail("; ".join(filter(None, parts)))},
        )

    def _find_set(self) -> ReferenceSet | None:
        """Load the reference set, where its energies are those of the potential."""
        return self.reference.load() if self.reference.potential == self._potential.fingerprint else None

    def _relax_host(self, perfect: Structure, cell: FreeCell) -> tuple[Reference, float]:
        """Relax the host from its perfect and from a shaken start.

        Return the lower one, and by how much the shaken one is lower (eV).

        A perfect crystal stays on a saddle that its symmetry keeps, which a defect breaks: the defect would get the difference.
        """
        start, other = (
            relax_reference(
                perfect, self._potential, Treatment(cell, self.fmax, self.smax, self.steps, rattle), name
            )
            for rattle, name in ((0.0, "the host"), (SHAKE, "the shaken host"))
        )
        lower = start.energy - other.energy
        return (other, lower) if lower > LOWER_ENERGY else (start, 0.0)


def find_freedom(structure: Structure, perfect: Structure) -> FreeCell:
    """Find the freedom of the cell with which a candidate was relaxed, so that its host is relaxed alike.

    Args:
        structure: the relaxed candidate.
        perfect: the host as it was built.

    Returns:
        False where both have one cell, `normal` where only the third vector differs along the normal, else True.

    Raises:
        DefectCellError: the volumes differ too much to be of one supercell.
    """
    ratio = structure.volume / perfect.volume
    if not 1 / LARGEST_SWELLING < ratio < LARGEST_SWELLING:
        raise DefectCellError(
            f"the cell of the candidate ({structure.volume:.0f} Å^3) is not that of the host ({perfect.volume:.0f} Å^3): both must be "
            "the same supercell; name the host's structure ('host')"
        )
    own, other = structure.lattice.matrix, perfect.lattice.matrix
    if np.abs(own - other).max() < SAME_CELL:
        return False
    in_plane = np.abs(own[:2] - other[:2]).max() < SAME_CELL
    normal = np.cross(other[0], other[1])
    along = np.abs(np.cross(own[2] - other[2], normal / np.linalg.norm(normal))).max() < SAME_CELL
    return "normal" if in_plane and along else True


def count_change(structure: Structure, perfect: Structure) -> dict[str, float]:
    """Count the atoms that a candidate has more than its host, by element.

    Negative where it has fewer.
    """
    own = Counter(site.specie.symbol for site in structure)
    own.subtract(Counter(site.specie.symbol for site in perfect))
    return {symbol: float(n) for symbol, n in sorted(own.items()) if n}


def describe_defects(structure: Structure, perfect: Structure) -> str:
    """Describe the defects of a candidate: `2 N on O, 1 O vacant, 1 Li interstitial`.

    Without labels of its sites only the atoms more or fewer are known.

    Args:
        structure: the candidate.
        perfect: the host.
    """
    natives = read_labels(structure).get(NATIVE)
    if natives is None:
        change = count_change(structure, perfect)
        return ", ".join(f"{n:+.0f} {symbol}" for symbol, n in change.items()) or "no atoms exchanged"
    found: Counter[str] = Counter()
    left = Counter(site.specie.symbol for site in perfect)
    for site, native in zip(structure, natives, strict=True):
        symbol = site.specie.symbol
        left[str(native)] -= 1
        if not native:
            found[f"{symbol} interstitial"] += 1
        elif symbol != native:
            found[f"{symbol} on {native}"] += 1
    found.update({f"{symbol} vacant": n for symbol, n in left.items() if symbol and n > 0})
    return ", ".join(f"{n} {words}" for words, n in sorted(found.items())) or "no defect"


def describe_cell(structure: Structure, perfect: Structure, cell: FreeCell) -> str:
    """Describe the supercell: its atoms, distance of images, freedom, and charge.

    Args:
        structure: the candidate.
        perfect: the host.
        cell: freedom of the cell in relaxations.
    """
    shortest = measure_shortest_translation(np.asarray(perfect.lattice.matrix))
    freedom = {False: "fixed cell", True: "free cell", "normal": "cell free along its normal"}[cell]
    words = f"{freedom} of {count_noun(len(structure), 'atom')}, images {shortest:.1f} Å apart, neutral"
    charged = is_neutral(_count_elements(perfect)) and not is_neutral(_count_elements(structure))
    return words + (f" ({UNBALANCED})" if charged else "")


def _count_elements(structure: Structure) -> dict[str, float]:
    return {symbol: float(n) for symbol, n in structure.composition.get_el_amt_dict().items()}


def describe_exchange(exchange: Exchange, conditions: Conditions | None) -> str:
    """Describe the phases that fix the chemical potentials, and what is exchanged with them.

    Args:
        exchange: of the candidate.
        conditions: of the surroundings.
    """
    if not exchange.units:
        return "no chemical potential needed"
    if not exchange.neighbours or set(exchange.units) == {exchange.host}:
        return f"{exchange} (formula units of the host; no chemical potential needed)"
    return f"{exchange}; potentials fixed by {', '.join((exchange.host, *exchange.neighbours))}" + (
        f" ({conditions})" if conditions and conditions.limits else ""
    )
