"""Descriptors for models: statistics of elemental properties, and simple geometry of structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure


STATISTICS = ("mean", "deviation", "min", "max")
# Name here, and attribute of pymatgen's Element; units cancel in models.
ELEMENT_PROPERTIES: Mapping[str, str] = {
    "mendeleev_number": "mendeleev_no",
    "atomic_mass": "atomic_mass",
    "group": "group",
    "row": "row",
    "electronegativity": "X",
    "atomic_radius": "atomic_radius_calculated",
    "melting_point": "melting_point",
}
VALENCE_SHELLS = "spdf"  # valence electrons in each
SHELL_PLACES = (2, 6, 10, 14)  # electrons that each holds
# Further properties, for models trained on hundreds of materials and more.
FURTHER_PROPERTIES: Mapping[str, str] = {
    "boiling_point": "boiling_point",
    "ionization_energy": "ionization_energy",
    "electron_affinity": "electron_affinity",
    "molar_volume": "molar_volume",
    "van_der_waals_radius": "van_der_waals_radius",
    "bulk_modulus": "bulk_modulus",
    "thermal_conductivity": "thermal_conductivity",
}

COMPOSITION_FEATURES = (
    "elements",
    "fraction_norm",
    *(
        f"{statistic}_{name}"
        for name in (*ELEMENT_PROPERTIES, *(f"{shell}_valence" for shell in VALENCE_SHELLS))
        for statistic in STATISTICS
    ),
)
# Groups of elemental properties with similar information, for models that are sums over groups.
PROPERTY_GROUPS: Mapping[str, str] = {
    "mendeleev_number": "electronic",
    "atomic_mass": "size",
    "group": "electronic",
    "row": "size",
    "electronegativity": "electronic",
    "atomic_radius": "size",
    "melting_point": "cohesion",
    **{f"{shell}_valence": "electronic" for shell in VALENCE_SHELLS},
}
COMPOSITION_GROUPS = (
    "stoichiometry",
    "stoichiometry",
    *(PROPERTY_GROUPS[name] for name in PROPERTY_GROUPS for _ in STATISTICS),
)
STRUCTURE_GROUP = "packing"
STRUCTURE_FEATURES = ("density", "volume_per_atom", "packing_fraction", "shortest_distance")


def composition_features(compositions: Sequence[Composition]) -> FloatArray:
    """Features of compositions, shape (n, d).

    They do not depend on the size of the formula. The columns are named by `COMPOSITION_FEATURES`: the number of
    elements, the 2-norm of their fractions, and for every elemental property the mean, the mean absolute deviation
    from it, the least and the largest value, weighted by the fractions.

    Args:
        compositions: n compositions.

    Source:
        Ward, Agrawal, Choudhary & Wolverton, npj Comput. Mater. 2, 16028 (2016): the statistics of equations 1
        and 2 over a part of the paper's elemental properties, with pymatgen's values for them.
    """
    width = max((len(composition) for composition in compositions), default=1)
    fractions = np.zeros((len(compositions), width))
    elements = np.zeros((len(compositions), width), dtype=np.int64)
    for row, composition in enumerate(compositions):
        amounts = composition.get_el_amt_dict()
        numbers = [_atomic_numbers()[symbol] for symbol in amounts]
        elements[row, : len(numbers)] = numbers
        fractions[row, : len(numbers)] = list(amounts.values())
    fractions /= fractions.sum(axis=1, keepdims=True)
    return summarise_fractions(fractions, elements)


def summarise_fractions(fractions: FloatArray, elements: NDArray[np.int64]) -> FloatArray:
    """Features of compositions that are given as arrays; see `composition_features`.

    Args:
        fractions: shape (n, k); 0 where a row has fewer than k elements.
        elements: shape (n, k), atomic numbers.
    """
    values = elemental_properties()[elements]  # (n, k, p)
    present = (fractions > 0)[..., None]
    mean = np.einsum("nk,nkp->np", fractions, values)
    deviation = np.einsum("nk,nkp->np", fractions, np.abs(values - mean[:, None, :]))
    least = np.where(present, values, np.inf).min(axis=1)
    largest = np.where(present, values, -np.inf).max(axis=1)
    statistics = np.stack([mean, deviation, least, largest], axis=2).reshape(len(fractions), -1)
    # Means of equal compositions agree to 1e-15 and no better (LiCl, Li2Cl2): digits beyond 1e-12 mean nothing.
    whole = [present.sum(axis=(1, 2))[:, None], np.linalg.norm(fractions, axis=1)[:, None], statistics]
    return np.round(np.hstack(whole), 9) + 0.0


@cache
def _atomic_numbers() -> Mapping[str, int]:
    """Atomic number by symbol; deuterium and tritium count as hydrogen."""
    numbers = {symbol: number for number, symbol in enumerate(element_symbols(), start=1)}
    return {**numbers, "D": 1, "T": 1}


@cache
def elemental_properties() -> FloatArray:
    """Elemental properties by atomic number, shape (119, p).

    Row 0 is unused. The columns are `ELEMENT_PROPERTIES`, then valence electrons by shell. An unknown value (the
    electronegativity of neon) is replaced by the mean over the elements with a known one.
    """
    table = _read_properties(tuple(ELEMENT_PROPERTIES.values()))
    unknown = np.isnan(table[1:])
    table[1:][unknown] = np.broadcast_to(np.nanmean(table[1:], axis=0), unknown.shape)[unknown]
    return table


@cache
def element_property_table() -> tuple[tuple[str, ...], FloatArray]:
    """Names of all elemental properties, shape (p,), and their values by atomic number, shape (119, p).

    They are those of `elemental_properties`, then `FURTHER_PROPERTIES`, `valence_electrons` and `valence_holes`, the
    places left in shells that hold valence electrons. Row 0 is unused. An unknown value is replaced by the mean over
    the elements of the same group with a known one (lanthanides and actinides are in group 3), and where there are
    none by the mean over all.
    """
    table = _read_properties((*ELEMENT_PROPERTIES.values(), *FURTHER_PROPERTIES.values()))
    plain, known = len(ELEMENT_PROPERTIES), len(ELEMENT_PROPERTIES) + len(FURTHER_PROPERTIES)
    shells = table[:, known:]
    holes = np.where(shells > 0, np.array(SHELL_PLACES) - shells, 0.0).sum(axis=1)
    table = np.hstack([table[:, :plain], shells, table[:, plain:known]])
    table = np.column_stack(
        [table, shells.sum(axis=1), np.where(np.isnan(shells).any(axis=1), np.nan, holes)]
    )
    table[0] = np.nan
    groups = table[:, list(ELEMENT_PROPERTIES).index("group")].copy()
    for column in table.T:
        given = ~np.isnan(column)
        for number in np.flatnonzero(~given):
            like = given & (groups == groups[number])
            column[number] = column[like if like.any() else given].mean()
    table[0] = 0.0
    names = (
        *ELEMENT_PROPERTIES,
        *(f"{shell}_valence" for shell in VALENCE_SHELLS),
        *FURTHER_PROPERTIES,
        "valence_electrons",
        "valence_holes",
    )
    return names, table


def _read_properties(attributes: Sequence[str]) -> FloatArray:
    """Read properties of elements from pymatgen, then valence electrons by shell; NaN where unknown.

    Args:
        attributes: a attributes of pymatgen's Element.

    Returns:
        Shape (119, a + 4); row 0 is zero.
    """
    import warnings

    from pymatgen.core import Element

    table = np.full((len(element_symbols()) + 1, len(attributes) + len(VALENCE_SHELLS)), np.nan)
    with warnings.catch_warnings():
        # pymatgen warns of every unknown property; they are filled in by the callers.
        warnings.simplefilter("ignore")
        for number, symbol in enumerate(element_symbols(), start=1):
            element = Element(symbol)
            with suppress(KeyError):  # of the heaviest elements hardly anything is known
                table[number, len(attributes) :] = _count_valence_electrons(element.electronic_structure)
            for column, attribute in enumerate(attributes):
                with suppress(KeyError):
                    value = getattr(element, attribute, None)
                    table[number, column] = np.nan if value is None else float(value)
    table[0] = 0.0
    return table


def _count_valence_electrons(electrons: str) -> list[float]:
    """Count electrons by shell outside the noble-gas core.

    `[Ar].3d6.4s2` has 2, 0, 6, 0; full d and f shells count.
    """
    counts = dict.fromkeys(VALENCE_SHELLS, 0.0)
    for part in electrons.split("."):
        if len(part) > 2 and part[0].isdigit() and part[1] in counts:
            counts[part[1]] += float(part[2:])
    return list(counts.values())


FULL_OCCUPANCY = 1.0 - 1e-6  # atoms on a site above which it is fully occupied; chosen


def structure_features(structure: Structure) -> FloatArray:
    """Features of a crystal, shape (d,), for any cell.

    They are named by `STRUCTURE_FEATURES`, in g/cm^3, Å^3, a fraction and Å.

    Args:
        structure: ordered or disordered.

    Source:
        Packing fraction of spheres with covalent radii: Cordero et al., Dalton Trans. 2832 (2008).
    """
    from ase.data import covalent_radii

    held = [(element.Z, share) for site in structure for element, share in site.species.items()]
    radii, shares = covalent_radii[[number for number, _ in held]], np.array([share for _, share in held])
    spheres = float(4.0 / 3.0 * np.pi * np.sum(shares * radii**3))
    full = np.array([site.species.num_atoms > FULL_OCCUPANCY for site in structure])
    reach = 3.0
    while True:
        first, second, _, distance = structure.get_neighbor_list(reach, exclude_self=True)
        # Sites occupied in part may be as close as they like: they are alternatives.
        kept = distance[full[first] & full[second]] if full.any() else distance
        if len(kept):
            break
        reach *= 2.0
    shortest = float(kept.min())
    numbers = [
        float(structure.density),
        structure.volume / float(shares.sum()),
        spheres / structure.volume,
        shortest,
    ]
    return np.round(np.array(numbers), 6)
