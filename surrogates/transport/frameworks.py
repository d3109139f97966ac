"""The framework past which an ion moves: all other ions, which must be ordered and ionic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import is_metallic
from invdesign.structures.formulas import write_formula

if TYPE_CHECKING:
    from pymatgen.core import Structure

Counts = tuple[tuple[str, float], ...]

MIN_CHARGE_PER_ANION = 0.5
"""Electrons per anion below which atoms share electrons and are no ions: graphite holds 1/6 in LiC6, azide 1/3. Chosen:
superoxide and S4^2-, ions of two and four atoms, have 1/2."""
LISTED_SITES = 4  # sites in a message; chosen


class MissingIonError(ValueError):
    """The structure has no such ion, or nothing else."""


class NotIonicError(ValueError):
    """The structure has no ions with charges and radii of their own."""


class DisorderError(ValueError):
    """Sites of the framework are partly occupied or shared."""


def choose_ion(structure: Structure, named: str | Sequence[str]) -> str:
    """Choose the first of the `named` ions that `structure` holds.

    It is the first of all if the structure holds none.
    """
    ions = (named,) if isinstance(named, str) else named
    held = {element.symbol for element in structure.composition.elements}
    return next((ion for ion in ions if ion in held), ions[0])


def split_framework(structure: Structure, ion: str) -> tuple[list[str], FloatArray]:
    """Split off the sites that do not belong to `ion`.

    Sites of `ion` alone may be occupied in part; all others must be ordered.

    Args:
        structure: the crystal.
        ion: symbol of the element that moves.

    Returns:
        Elements (n) and Cartesian positions (n, 3) in Å of the other sites.

    Raises:
        MissingIonError: there is no such ion, or nothing but it.
        DisorderError: another site is occupied in part, or by several elements.
    """
    formula = write_formula(structure.composition)
    others = [
        number
        for number, site in enumerate(structure)
        if any(element.symbol != ion for element in site.species)
    ]
    if all(element.symbol != ion for element in structure.composition):
        raise MissingIonError(f"{formula} has no {ion}, so there is no way for it to measure")
    if not others:
        raise MissingIonError(f"{formula} is nothing but {ion}: without it no framework is left")
    disordered = list(dict.fromkeys(_describe_partial_sites(structure, others)))
    if disordered:
        more = f"; and {len(disordered) - LISTED_SITES} more" if len(disordered) > LISTED_SITES else ""
        raise DisorderError(
            f"the framework of {formula} is disordered: {', '.join(disordered[:LISTED_SITES])}{more}. Only sites of {ion} alone "
            "may be partly occupied; give an ordered occupation of the others"
        )
    symbols = [structure[number].specie.symbol for number in others]
    return symbols, np.asarray(structure.cart_coords[others], dtype=np.float64)


def _describe_partial_sites(structure: Structure, numbers: list[int]) -> Iterator[str]:
    for number in numbers:
        site = structure[number]
        if not site.is_ordered:
            yield " + ".join(f"{element.symbol} {share:.4g}" for element, share in site.species.items())


def mean_counts(structure: Structure) -> Counts:
    """Atoms of `structure` by element, sorted.

    Occupancies count as fractions of atoms.
    """
    amounts = structure.composition.get_el_amt_dict()
    return tuple(sorted((str(name), float(n)) for name, n in amounts.items()))


def check_ionic(counts: Counts, states: Mapping[str, float]) -> None:
    """Refuse compositions whose atoms are no ions.

    These are metals, alloys, and nets such as graphite that share few electrons.

    Args:
        counts: atoms by element.
        states: oxidation state of each element, those that balance best.

    Raises:
        NotIonicError: with the finding and the remedy.
    """
    from pymatgen.core import Composition

    formula = write_formula(Composition(dict(counts)))
    remedy = "Neither ionic radii nor bond valences hold in it: judge mobility by dynamics with a potential"
    if is_metallic(dict(counts)):
        raise NotIonicError(
            f"{formula} is metallic, so it has no ions. {remedy}, or put the stage 'charge_neutrality' before this one, "
            "which stops alloys whose charges do not balance unless it says 'metallic: allow'"
        )
    positive = sum(n * states[name] for name, n in counts if states[name] > 0)
    anions = [(name, n) for name, n in counts if states[name] < 0]
    charge = positive / sum(n for _, n in anions) if anions else MIN_CHARGE_PER_ANION
    if charge < MIN_CHARGE_PER_ANION:
        names = ", ".join(name for name, _ in anions)
        raise NotIonicError(
            f"{formula} has no ions of {names}: {charge:.2g} electrons per atom of it are shared in bonds or bands. {remedy}"
        )
