"""Elements as a network sees them: their order, and numbers that describe them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols, oxidation_states
from invdesign.structures.distances import covalent_radius
from invdesign.structures.volumes import measure_element

INERT = 5.0  # in place of the electronegativity that noble gases lack: they stand last (chosen)
COLUMNS = 18  # of the periodic table
ROWS = 7
STATES = (-4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7)  # oxidation states told apart


@cache
def measure_electronegativity(symbol: str) -> float:
    """Electronegativity after Pauling, `INERT` where there is none."""
    from pymatgen.core import Element

    value = Element(symbol).data.get("X")
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else INERT


def order_elements(symbols: Iterable[str]) -> tuple[str, ...]:
    """Order elements by electronegativity, cations first."""
    return tuple(sorted(set(symbols), key=lambda symbol: (measure_electronegativity(symbol), symbol)))


@cache
def list_elements() -> tuple[str, ...]:
    """All elements, in the order in which a network places them."""
    return order_elements(element_symbols())


@cache
def _describe_element(symbol: str) -> tuple[float, ...]:
    """Numbers that describe an element, each of the size of 1."""
    from pymatgen.core import Element

    element = Element(symbol)
    known = set(oxidation_states(symbol))
    columns = [float(element.group == column) for column in range(1, COLUMNS + 1)]
    rows = [float(element.row == row) for row in range(1, ROWS + 1)]
    numbers = [
        measure_electronegativity(symbol) - 2.0,
        covalent_radius(symbol) - 1.4,
        math.log(measure_element(symbol)) - 2.8,
        math.log(float(element.Z)) - 3.5,
        float(element.data.get("Mendeleev no") or 50) / 50.0 - 1.0,
        float(element.is_lanthanoid),
        float(element.is_actinoid),
        float(element.is_transition_metal),
    ]
    return (*columns, *rows, *numbers, *(float(state in known) for state in STATES))


def describe_elements(symbols: Sequence[str]) -> FloatArray:
    """Describe elements by numbers of the size of 1, shape (k, f)."""
    return np.array([_describe_element(symbol) for symbol in symbols], dtype=np.float64)


def measure_volumes(counts: Mapping[str, int], volumes: Mapping[str, float]) -> float:
    """Sum of fitted atomic volumes, Å³.

    Args:
        counts: atoms by element.
        volumes: fitted volumes by element, Å³; elements without one have that of their solid.
    """
    return sum(number * volumes.get(name, measure_element(name)) for name, number in counts.items())


def fit_volumes(compositions: Sequence[Mapping[str, int]], cells: Sequence[float]) -> dict[str, float]:
    """Fit volumes of atoms by element to those of crystals, by ridge regression towards the solids'.

    Args:
        compositions: atoms by element of each crystal.
        cells: volume of each crystal, Å³.

    Returns:
        Å³ by element, at least `SMALLEST` of the solid's.
    """
    symbols = sorted({name for counts in compositions for name in counts})
    place = {name: number for number, name in enumerate(symbols)}
    shares = np.zeros((len(compositions), len(symbols)))
    for row, counts in enumerate(compositions):
        for name, number in counts.items():
            shares[row, place[name]] = number / sum(counts.values())
    sizes = np.array([sum(counts.values()) for counts in compositions])
    solids = np.array([measure_element(name) for name in symbols])
    missing = np.asarray(cells) / sizes - shares @ solids
    shift = np.linalg.solve(shares.T @ shares + RIDGE * np.eye(len(symbols)), shares.T @ missing)
    return dict(zip(symbols, np.maximum(solids + shift, SMALLEST * solids).tolist(), strict=True))


RIDGE = 1.0  # weight of an element's solid, in crystals (chosen)
SMALLEST = 0.1  # least share of the solid's volume (chosen)
