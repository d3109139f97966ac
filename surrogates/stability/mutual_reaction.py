"""Two phases in contact, and the reaction between them at one mixing ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invdesign.structures.formulas import parse_composition, write_formula
from surrogates.stability.windows import ENERGY_ROUNDING, TRACE_AMOUNT, Ion, write_term

if TYPE_CHECKING:
    from pymatgen.core import Composition


@dataclass(frozen=True, slots=True)
class Reactant:
    """One of the two phases in contact.

    Attributes:
        composition: of the phase.
        energy: eV/atom, from the potential of the reference set; None for the energy of the set's hull.
        formula: for people; by default the reduced formula.
    """

    composition: Composition
    energy: float | None = None
    formula: str = ""

    @property
    def name(self) -> str:
        """Formula for people."""
        return self.formula or write_formula(self.composition)

    @property
    def unit(self) -> Composition:
        """Composition of the formula unit that `name` writes."""
        return parse_composition(self.name)


@dataclass(frozen=True, slots=True)
class MutualReaction:
    """Reaction of two phases at one mixing ratio.

    Energies are per atom of the reactants; where the ion is open, its atoms are not counted.

    Attributes:
        ratio: share of the counted atoms that the first phase brings.
        total: eV/atom, energy of the products less that of the two phases; never positive.
        mutual: eV/atom, part of `total` that needs both phases: without the decomposition of each alone.
        reactants, products: formula units by name, per formula unit of the scarcest reactant; without the open ion.
            Both are empty where nothing reacts.
        formulas: formula by name, where the two differ.
        ion: the open ion; None in a closed system.
        ions: open ions given off; negative where they are taken up.
        voltage: V against the ion's metal; None in a closed system.
        n_atoms: atoms of the reactants, those of the ion included, per counted atom.
    """

    ratio: float
    total: float
    mutual: float
    reactants: Mapping[str, float]
    products: Mapping[str, float]
    formulas: Mapping[str, str]
    ion: Ion | None
    ions: float
    voltage: float | None
    n_atoms: float

    @property
    def is_mutual(self) -> bool:
        """True if the two phases gain energy by reacting with each other."""
        return self.mutual < -ENERGY_ROUNDING

    def energy_deviation(self, per_atom: float) -> float:
        """Standard deviation of the energies, eV per counted atom.

        An error of `per_atom` (eV/atom) in the energy of the reactants against their products is multiplied by
        the atoms of the reactants, and divided by those that count.
        """
        return per_atom * self.n_atoms

    def __str__(self) -> str:
        """Reaction in chemical notation, `Li3PS4 + 8 Li -> Li3P + 4 Li2S`."""
        left = [self._write_term(name, amount) for name, amount in self.reactants.items()]
        right = [self._write_term(name, amount) for name, amount in self.products.items()]
        if self.ion is not None and abs(self.ions) > TRACE_AMOUNT:
            (left if self.ions < 0 else right).append(write_term(self.ion, abs(self.ions)))
        return f"{' + '.join(left)} -> {' + '.join(right)}" if left else ""

    def _write_term(self, name: str, amount: float) -> str:
        return write_term(self.formulas.get(name, name), amount)
