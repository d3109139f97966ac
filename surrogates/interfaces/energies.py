"""Evaluators of energies of an interface: `interface_energy` and `work_of_adhesion`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from invdesign import registry
from invdesign.candidate import Evaluation, Input, clean_detail
from invdesign.properties import Unit
from invdesign.protocols import Potential
from invdesign.roles import INITIAL, required_structure
from invdesign.settings import Frozen
from invdesign.structures.site_labels import SIDES
from surrogates.electrode.metals import WorkingIon, find_metal_energy
from surrogates.interfaces.balance import Balance, BalanceError, Solid, balance_atoms
from surrogates.interfaces.planes import Planes, find_planes, has_equal_surfaces
from surrogates.potentials.evaluator import PotentialEvaluator
from surrogates.relaxation.descent import FreeCell
from surrogates.relaxation.references import Reference, Treatment, relax_reference
from surrogates.stability.interface import HIGHEST_VOLTAGE
from surrogates.stability.windows import CHARGES

if TYPE_CHECKING:
    from pymatgen.core import Structure

ENERGY = "energy_per_atom"
INTERFACE, STRAIN, EXCESS, ADHESION = (
    "interface_energy",
    "interface_strain_energy",
    "interface_excess",
    "work_of_adhesion",
)
JOULE_PER_SQUARE_METRE = 16.021766208  # in one eV/Å^2
SQUARE_NANOMETRE = 100.0  # Å^2
BULKS = {side: f"{side}_bulk" for side in SIDES}
SLABS = {side: f"{side}_slab" for side in SIDES}
SOLIDS = {side: f"{side}_solid" for side in SIDES}
SAME_ENERGY = 1e-4  # J/m^2, below which a strain energy is not spoken of; chosen


class OpenIon(Frozen):
    """A working ion that an electrode's reservoir takes and gives at a voltage."""

    ion: WorkingIon
    """Li, Na or K."""
    voltage: Annotated[float, Field(ge=0.0, le=HIGHEST_VOLTAGE, allow_inf_nan=False)]
    """V against the ion's metal."""

    def find_potential(self, potential: Potential) -> float:
        """Chemical potential mu = E(metal) - z V of the ion, eV/atom.

        Args:
            potential: that relaxes the metal.

        Raises:
            MetalError: the potential has no answer for the metal.
        """
        return find_metal_energy(potential, self.ion) - CHARGES[self.ion] * self.voltage


@dataclass(frozen=True, slots=True)
class Strained:
    """Bulk of one side, per formula unit.

    Attributes:
        energy: eV, at the strain it has in the interface, relaxed along the normal.
        strain: eV, what that is above the fully relaxed bulk.
    """

    energy: float
    strain: float


class InterfaceEvaluator(PotentialEvaluator, ABC):
    """Base of evaluators that compare the energy of an interface with references of its two sides.

    The references are structures of the design. They are relaxed once per match and process (solids without strain once per process),
    by the potential of the candidates.
    """

    fmax: Annotated[float, Field(gt=0)] = 0.05
    """Largest force left on an atom of a reference, eV/Å."""
    smax: Annotated[float, Field(gt=0)] = 0.1
    """Largest stress component left in a bulk, GPa; of one at fixed plane, along the normal."""
    steps: Annotated[int, Field(ge=1)] = 500
    """Most moves of the relaxation of a reference."""

    @property
    def requires(self) -> frozenset[str]:
        """The structure with its energy, the structure as it was built, and the references."""
        roles = (self.structure, INITIAL, *self._references)
        return frozenset({ENERGY, *map(required_structure, roles)})

    @property
    @abstractmethod
    def _references(self) -> tuple[str, ...]:
        """Roles of the reference structures."""

    @property
    def potential_id(self) -> str:
        """Fingerprint of the potential: energies of references and candidates are its own."""
        return self._potential.fingerprint

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Evaluate each of `inputs`.

        A failure says which atoms do not balance, or which reference has no energy.
        """
        return self._evaluate_inputs(inputs, self._evaluate_interface)

    @abstractmethod
    def _evaluate_interface(self, item: Input) -> Evaluation:
        """Compute the energies of one candidate."""

    def _relax(self, structure: Structure, cell: FreeCell, name: str) -> Reference:
        """Relax a reference at some freedom of its cell."""
        treatment = Treatment(cell, self.fmax, self.smax if cell else 0.0, self.steps)
        return relax_reference(structure, self._potential, treatment, name)

    def _relax_slabs(self, item: Input) -> dict[str, Reference]:
        """Relax each side's slab alone in vacuum, at the plane of the interface."""
        return {
            side: self._relax(item.structures[role], False, f"the slab of the {side}")
            for side, role in SLABS.items()
        }


class InterfaceEnergy(InterfaceEvaluator):
    """Energy of an interface per plane, against the bulk of each side at the strain it has here.

    The energy of a cell with n planes of area A is

        E = n_s e_s + n_f e_f + mu dN + n A gamma (+ A sigma_s + A sigma_f with vacuum).

    e_s and e_f are energies of the bulks per formula unit, strained in the plane as in the interface and relaxed along the normal. So
    gamma does not grow with the thickness of a strained film; what the strain itself costs is apart (`interface_strain_energy`). The
    numbers of formula units follow from the composition. Where it is no sum of the two solids, only the open ion may be over or
    missing (dN atoms, at mu = E(metal) - z V). sigma are energies of the outer surfaces, half of those of each slab alone. A positive
    gamma is a cost, against two perfect solids; a negative one says that the two would rather mix or react. For a sandwich gamma
    is the mean of its two planes.

    Source:
        Lepley and Holzwarth, Phys. Rev. B 92, 214201 (2015), for the strain apart; Butler, Sai Gautam and Canepa, npj Comput. Mater. 5,
            19 (2019), for interface and surface energies; the open ion as in Zhu, He, Mo, J. Mater. Chem. A 4, 3253 (2016).
    """

    reference: Literal["bulk"] = "bulk"
    """Reference of each side: its `bulk` at the strain it has in the interface."""
    open_ion: OpenIon | None = None
    """Ion with a reservoir, for interfaces with more or fewer ions than the two solids: `{ion: Li, voltage: 3.5}`."""

    @model_serializer(mode="wrap")
    def _omit_closed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the open ion where there is none."""
        fields: dict[str, Any] = {"kind": registry.name_of(type(self)), **handler(self)}
        return {name: value for name, value in fields.items() if (name, value) != ("open_ion", None)}

    @property
    def _references(self) -> tuple[str, ...]:
        return (*BULKS.values(), *SLABS.values(), *SOLIDS.values())

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Interface energy and strain energy per plane, and the excess of the open ion."""
        units: dict[str, Unit] = {INTERFACE: "J/m^2", STRAIN: "J/m^2"}
        if self.open_ion is not None:
            units[EXCESS] = "1/nm^2"
        return units

    def _evaluate_interface(self, item: Input) -> Evaluation:
        structure = self.structure_of(item)
        planes = find_planes(item.structures[INITIAL], structure)
        solids = [Solid.from_structure(side, item.structures[role]) for side, role in BULKS.items()]
        ion = None if self.open_ion is None else self.open_ion.ion
        balance = balance_atoms(structure, solids, ion)
        bulks = [self._find_bulk(item, solid) for solid in solids]
        energy = item.properties[ENERGY] * len(structure)
        energy -= sum(count * bulk.energy for count, bulk in zip(balance.units, bulks, strict=True))
        energy -= self._value_excess(balance.excess)
        said = [f"{balance} between {_describe_planes(planes)}"]
        if planes.boundary == "vacuum":
            surfaces, words = self._find_surfaces(item, solids, bulks)
            energy -= surfaces
            said.append(words)
        strains = [
            count * bulk.strain * JOULE_PER_SQUARE_METRE / planes.total_area
            for count, bulk in zip(balance.units, bulks, strict=True)
        ]
        values = {
            INTERFACE: energy * JOULE_PER_SQUARE_METRE / planes.total_area,
            STRAIN: sum(strains),
        }
        details = {
            INTERFACE: clean_detail("; ".join(said)),
            STRAIN: _describe_strains(solids, bulks, strains),
        }
        if self.open_ion is not None:
            values[EXCESS] = balance.excess * SQUARE_NANOMETRE / planes.total_area
            details[EXCESS] = (
                f"{balance.excess:+g} {ion} in the cell beside {balance}, at {self.open_ion.voltage:g} V"
            )
        return Evaluation(values, details=details)

    def _find_bulk(self, item: Input, solid: Solid) -> Strained:
        """Energies of the bulk of one side per formula unit."""
        name = f"the bulk of the {solid.side}"
        strained = self._relax(
            item.structures[BULKS[solid.side]], "normal", f"{name} at the strain of the interface"
        )
        free = self._relax(item.structures[SOLIDS[solid.side]], True, name)
        return Strained(
            strained.energy_per_atom * solid.atoms,
            (strained.energy_per_atom - free.energy_per_atom) * solid.atoms,
        )

    def _value_excess(self, excess: float) -> float:
        """Energy of the excess ions in their reservoir, eV."""
        if self.open_ion is None or not excess:
            return 0.0
        return excess * self.open_ion.find_potential(self._potential)

    def _find_surfaces(
        self, item: Input, solids: Sequence[Solid], bulks: Sequence[Strained]
    ) -> tuple[float, str]:
        """Energy of the two outer surfaces, half of all four of the slabs alone.

        Returns:
            eV, and words on them.
        """
        total, said = 0.0, []
        slabs = self._relax_slabs(item)
        for solid, bulk in zip(solids, bulks, strict=True):
            slab = slabs[solid.side]
            balance = self._balance_slab(slab.structure, solid)
            excess = self._value_excess(balance.excess)
            surfaces = slab.energy - balance.units[0] * bulk.energy - excess
            total += surfaces / 2.0
            area = find_planes(slab.structure, slab.structure).area
            words = f"{surfaces / 2.0 * JOULE_PER_SQUARE_METRE / area:.2f} J/m² of the {solid.side}"
            if not has_equal_surfaces(item.structures[SLABS[solid.side]]):
                words += " (mean of two unlike surfaces)"
            said.append(words)
        return total, f"without the outer surfaces, {' and '.join(said)}"

    def _balance_slab(self, slab: Structure, solid: Solid) -> Balance:
        ion = None if self.open_ion is None else self.open_ion.ion
        try:
            return balance_atoms(slab, [solid], ion)
        except BalanceError as error:
            raise BalanceError(f"the slab of the {solid.side} has no surface energy: {error}") from error


class WorkOfAdhesion(InterfaceEvaluator):
    """Ideal work of adhesion per plane.

    Energy to part the two slabs, each relaxed alone in vacuum.

    W = (E_s + E_f - E) / (n A) for n planes of area A. The slabs keep the plane of the interface, so the strain cancels, as do the outer
    surfaces beside vacuum. A positive W is needed to part them. Slabs are not mixed: for a candidate with exchanged species, W also
    holds what the exchange gains. Plastic work is not in it. By Dupré's relation W = sigma_s + sigma_f - gamma.

    Source:
        Finnis, J. Phys.: Condens. Matter 8, 5811 (1996).
    """

    @property
    def _references(self) -> tuple[str, ...]:
        return tuple(SLABS.values())

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Work of adhesion per plane."""
        return {ADHESION: "J/m^2"}

    def _evaluate_interface(self, item: Input) -> Evaluation:
        structure = self.structure_of(item)
        planes = find_planes(item.structures[INITIAL], structure)
        _check_same_atoms(structure, [item.structures[role] for role in SLABS.values()])
        slabs = self._relax_slabs(item)
        apart = sum(slab.energy for slab in slabs.values())
        work = (apart - item.properties[ENERGY] * len(structure)) * JOULE_PER_SQUARE_METRE
        said = f"to part {_describe_planes(planes)} into slabs of {' and '.join(_count_atoms(slabs))} atoms, relaxed alone"
        return Evaluation({ADHESION: work / planes.total_area}, details={ADHESION: said})


def _count_atoms(slabs: Mapping[str, Reference]) -> list[str]:
    return [str(len(slab.structure)) for slab in slabs.values()]


def _check_same_atoms(structure: Structure, slabs: Sequence[Structure]) -> None:
    """Refuse an interface whose atoms are not those of its slabs.

    Raises:
        BalanceError: names the elements that are over or missing.
    """
    counts = structure.composition.get_el_amt_dict()
    apart: dict[str, float] = {}
    for slab in slabs:
        for symbol, count in slab.composition.get_el_amt_dict().items():
            apart[symbol] = apart.get(symbol, 0.0) + count
    over = {symbol: counts.get(symbol, 0.0) - apart.get(symbol, 0.0) for symbol in sorted({*counts, *apart})}
    parts = [
        f"{abs(count):g} {symbol} {'more' if count > 0 else 'less'}"
        for symbol, count in over.items()
        if count
    ]
    if parts:
        raise BalanceError(
            f"the interface has {', '.join(parts)} than its two slabs together, so there is no work of adhesion: conserve the composition "
            "in the space, or use 'interface_energy' with an open ion"
        )


def _describe_planes(planes: Planes) -> str:
    """Say how many planes there are: `two planes of 95.3 Å² each`."""
    if planes.boundary == "sandwich":
        return f"two planes of {planes.area:.1f} Å² each (the value is their mean)"
    return f"one plane of {planes.area:.1f} Å² beside vacuum"


def _describe_strains(solids: Sequence[Solid], bulks: Sequence[Strained], strains: Sequence[float]) -> str:
    """Say what the strain of each side costs, against its fully relaxed bulk."""
    if max(map(abs, strains)) < SAME_ENERGY:
        return "neither side is strained"
    parts = [
        f"{solid.side} {value:.3f} J/m² ({1000.0 * bulk.strain / solid.atoms:.1f} meV/atom)"
        for solid, bulk, value in zip(solids, bulks, strains, strict=True)
    ]
    return f"{', '.join(parts)} above the fully relaxed bulk; grows with the thickness"
