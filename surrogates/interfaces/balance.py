"""Balance of atoms: formula units of each solid in a cell, and what is left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.formulas import order_formula
from invdesign.structures.site_labels import NATIVE, SIDE, Side

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME_COUNT = 1e-6  # atoms; chosen: counts are whole numbers, and the rest is rounding


class BalanceError(InvdesignError):
    """The atoms of a cell are no sum of its solids.

    The message says which are over or missing.
    """


@dataclass(frozen=True)
class Solid:
    """A solid that a cell consists of.

    Attributes:
        side: `substrate` or `film`.
        amounts: atoms of each element in a formula unit.
    """

    side: Side
    amounts: Mapping[str, float]

    @classmethod
    def from_structure(cls, side: Side, structure: Structure) -> Solid:
        """Take the reduced formula of a structure.

        Args:
            side: `substrate` or `film`.
            structure: the bulk of this side.
        """
        reduced, _ = structure.composition.get_reduced_composition_and_factor()
        return cls(side, reduced.get_el_amt_dict())

    @cached_property
    def formula(self) -> str:
        """Formula, as chemists write it."""
        return order_formula("".join(f"{symbol}{amount:g}" for symbol, amount in self.amounts.items()))

    @property
    def atoms(self) -> float:
        """Atoms of a formula unit."""
        return sum(self.amounts.values())


@dataclass(frozen=True, slots=True)
class Balance:
    """Result of a balance.

    Attributes:
        solids: k solids.
        units: k numbers of formula units, not always whole.
        excess: atoms of the open ion beyond those of the solids; negative where some are missing.
    """

    solids: tuple[Solid, ...]
    units: tuple[float, ...]
    excess: float = 0.0

    def __str__(self) -> str:
        return " and ".join(
            f"{count:.4g} formula units of {solid.formula}"
            for solid, count in zip(self.solids, self.units, strict=True)
        )


def balance_atoms(structure: Structure, solids: Sequence[Solid], open_ion: str | None = None) -> Balance:
    """Write the composition of a cell as a sum of its solids, with an excess of the open ion alone.

    The formula units n of the solids with compositions C follow from N = C n for all elements but the open ion, whose excess is
    what then remains. Where that leaves a choice (two sides of one composition, lithium metal with open lithium), the solution
    closest to the numbers of labelled sites is taken.

    Args:
        structure: the cell; labels of its sites name their sides.
        solids: one or two.
        open_ion: element with a reservoir; None without one.

    Raises:
        BalanceError: atoms of other elements are over or missing, or the labels that would decide are missing.
    """
    counts = {symbol: float(count) for symbol, count in structure.composition.get_el_amt_dict().items()}
    symbols = sorted({*counts, *(symbol for solid in solids for symbol in solid.amounts)})
    closed = [k for k, symbol in enumerate(symbols) if symbol != open_ion]
    atoms = np.array([counts.get(symbol, 0.0) for symbol in symbols])
    columns = np.array([[solid.amounts.get(symbol, 0.0) for solid in solids] for symbol in symbols])
    guess = _count_labelled_units(structure, solids)
    if guess is None:
        if np.linalg.matrix_rank(columns[closed]) < len(solids):
            names = " and ".join(solid.formula for solid in solids)
            raise BalanceError(
                f"the composition does not tell how much of the cell is {names}, and its sites have no labels '{SIDE}' that would: "
                "take structures of the space 'interface', which have them"
            )
        guess = np.zeros(len(solids))
    units = guess + np.linalg.pinv(columns[closed]) @ (atoms[closed] - columns[closed] @ guess)
    rest = atoms - columns @ units
    if (
        np.abs(rest[closed]).max(initial=0.0) > SAME_COUNT * max(1.0, atoms.sum())
        or units.min() < -SAME_COUNT
    ):
        raise BalanceError(_describe_imbalance(structure, solids, symbols, atoms, columns, guess, open_ion))
    excess = float(rest[symbols.index(open_ion)]) if open_ion in symbols else 0.0
    return Balance(tuple(solids), tuple(map(float, units)), excess if abs(excess) > SAME_COUNT else 0.0)


def _count_labelled_units(structure: Structure, solids: Sequence[Solid]) -> FloatArray | None:
    """Formula units of each solid by the native sites of its side, shape (k,).

    None without labels.
    """
    if len(solids) == 1:
        return np.array([len(structure) / solids[0].atoms])
    sides = [site.properties.get(SIDE) for site in structure if site.properties.get(NATIVE) != ""]
    if None in sides:
        return None
    return np.array([sides.count(solid.side) / solid.atoms for solid in solids])


def _describe_imbalance(
    structure: Structure,
    solids: Sequence[Solid],
    symbols: Sequence[str],
    atoms: FloatArray,
    columns: FloatArray,
    guess: FloatArray,
    open_ion: str | None,
) -> str:
    """Sentence on the atoms that are over or missing, against whole formula units near the labelled ones."""
    units = np.rint(guess)
    rest = atoms - columns @ units
    parts = [
        f"{abs(count):g} {symbol} too {'many' if count > 0 else 'few'}"
        for symbol, count in zip(symbols, rest, strict=True)
        if abs(count) > SAME_COUNT
    ]
    sums = " and ".join(
        f"{count:g} {solid.formula}" for count, solid in zip(units, solids, strict=True) if count
    )
    against = f"beside {sums} " if sums else ""
    remedy = (
        f"only {open_ion} is open"
        if open_ion
        else "where only the working ion is over or missing, name its voltage, as in 'open_ion: {ion: Li, voltage: 3.5}'"
    )
    formula = order_formula(structure.composition.formula.replace(" ", ""))
    return (
        f"the cell {formula} is no sum of {' and '.join(solid.formula for solid in solids)}: {against}it has "
        f"{', '.join(parts) or 'no whole number of either'}; such an energy depends on the chemical potentials of these elements: "
        f"{remedy}; else conserve the composition in the space"
    )
