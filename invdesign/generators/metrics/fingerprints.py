"""Fingerprints of crystals for coverage: local order of the sites, and statistics of elemental properties.

Both are those of matminer's presets, which CDVAE uses; they are made here with pymatgen, since matminer needs pandas below 3.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.generators.metrics.validity import OVERLAP, SPARSEST, find_shortest_distance

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_COORDINATION = 24  # largest coordination number with an entry of its own
MOTIFS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: ("sgl_bd",),
        2: ("L-shaped", "water-like", "bent 120 degrees", "bent 150 degrees", "linear"),
        3: ("trigonal planar", "trigonal non-coplanar", "T-shaped"),
        4: (
            "square co-planar",
            "tetrahedral",
            "rectangular see-saw-like",
            "see-saw-like",
            "trigonal pyramidal",
        ),
        5: ("pentagonal planar", "square pyramidal", "trigonal bipyramidal"),
        6: ("hexagonal planar", "octahedral", "pentagonal pyramidal"),
        7: ("hexagonal pyramidal", "pentagonal bipyramidal"),
        8: ("body-centered cubic", "hexagonal bipyramidal"),
        9: ("q2", "q4", "q6"),
        10: ("q2", "q4", "q6"),
        11: ("q2", "q4", "q6"),
        12: ("cuboctahedral", "q2", "q4", "q6"),
    }
)
"""Motifs by coordination number; preset `ops` of Zimmermann and Jain, RSC Adv. 10, 6063 (2020), table 1."""
STRUCTURE_SIZE = MAX_COORDINATION + sum(map(len, MOTIFS.values()))
STATISTICS = 6  # minimum, maximum, range, mean, mean absolute deviation, mode
DENSEST = 1.0  # Å3 per atom, below which the neighbours of a site are too many to be found; diamond has 5.7 (chosen)
# Of Voronoi cells and neighbours: no neighbours within reach, points in one plane, a cell without volume.
UNDEFINED = (ValueError, RuntimeError, IndexError, KeyError, ZeroDivisionError, TypeError)


def fingerprint_structures(structures: Sequence[Structure]) -> FloatArray:
    """Mean local order of the sites of crystals.

    Returns:
        Shape (n, 61): per coordination number its weight and its motifs, mean over all sites; rows of NaN where atoms overlap,
        or the neighbours of a site cannot be found.

    Source:
        CrystalNN fingerprint of Zimmermann and Jain, RSC Adv. 10, 6063 (2020); mean over sites as in Xie et al., ICLR 2022.
    """
    rows = np.full((len(structures), STRUCTURE_SIZE), np.nan)
    for row, structure in zip(rows, structures, strict=True):
        if (
            not DENSEST <= structure.volume / len(structure) <= SPARSEST
            or find_shortest_distance(structure) < OVERLAP
        ):
            continue
        try:
            row[:] = _average_sites(structure)
        except UNDEFINED:
            continue
    return rows


def fingerprint_compositions(structures: Sequence[Structure]) -> FloatArray:
    """Statistics of 22 elemental properties of compositions.

    Returns:
        Shape (n, 132): minimum, maximum, range, mean, mean absolute deviation and mode of each property; NaN where an element
        has no value.

    Source:
        Ward et al., npj Comput. Mater. 2, 16028 (2016).
    """
    return np.array([_summarise(structure) for structure in structures]).reshape(
        -1, _load_magpie().shape[1] * STATISTICS
    )


def _average_sites(structure: Structure) -> FloatArray:
    """Mean fingerprint of the sites of a crystal, shape (61,).

    Every site is computed: equivalent ones may differ by 5e-4, since an order parameter depends on the order of the neighbours.
    """
    from pymatgen.analysis.local_env import CrystalNN

    finder = CrystalNN()
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # Radii by element are meant: generated crystals have no oxidation states, and CDVAE gives none.
        warnings.filterwarnings("ignore", "(No oxidation states|CrystalNN: cannot locate)", UserWarning)
        rows = [_describe_site(structure, site, finder) for site in range(len(structure))]
    mean: FloatArray = np.mean(rows, axis=0)
    return mean


def _describe_site(structure: Structure, site: int, finder: Any) -> list[float]:
    """Weights of the coordination numbers of a site, each followed by its motifs times the weight, shape (61,)."""
    found = finder.get_nn_data(structure, site)
    values: list[float] = []
    for number in range(1, MAX_COORDINATION + 1):
        weight = found.cn_weights.get(number, 0.0)
        motifs = MOTIFS.get(number, ())
        values.append(weight)
        if weight == 0.0:
            values.extend([0.0] * len(motifs))
            continue
        around = [neighbour["site"] for neighbour in found.cn_nninfo[number]]
        cluster, places = [structure[site], *around], list(range(1, len(around) + 1))
        for parameter in _load_parameters(number):
            order = parameter.get_order_parameters(cluster, 0, indices_neighs=places)[0]
            values.append(weight * (order or 0.0))  # None where it is undefined
    return values


@cache
def _load_parameters(number: int) -> tuple[Any, ...]:
    """Load an order parameter for each motif of a coordination number, with pymatgen's optimised constants.

    One object for all of them would be faster and gives other values.
    """
    from pymatgen.analysis.local_env import LocalStructOrderParams, cn_opt_params

    known = cn_opt_params.get(number, {})
    entries = [known.get(motif, [motif]) for motif in MOTIFS.get(number, ())]
    return tuple(
        LocalStructOrderParams([entry[0]], parameters=[entry[1] if len(entry) > 1 else None])
        for entry in entries
    )


def _summarise(structure: Structure) -> FloatArray:
    """Statistics of the elemental properties of one composition, shape (132,)."""
    amounts = structure.composition.element_composition
    fractions = np.array(list(amounts.values())) / sum(amounts.values())
    table = _load_magpie()[[element.Z - 1 for element in amounts]]  # shape (elements, properties)
    least, most = table.min(axis=0), table.max(axis=0)
    mean = fractions @ table
    deviation = fractions @ np.abs(table - mean)
    mode = table[np.isclose(fractions, fractions.max())].min(axis=0)
    return np.column_stack([least, most, most - least, mean, deviation, mode]).ravel()


@cache
def _load_magpie() -> FloatArray:
    """Load elemental properties, shape (103, 22), hydrogen first."""
    text = (files("invdesign.generators.metrics") / "data" / "magpie.json").read_text(encoding="utf-8")
    columns = json.loads(text)["properties"].values()
    return np.array([[np.nan if value is None else value for value in column] for column in columns]).T
