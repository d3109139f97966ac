"""Ionic radii."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from invdesign.structures.charges import check_element

# Anions that Shannon does not tabulate: L. Pauling, The Nature of the Chemical Bond, 3rd ed., Cornell (1960).
PAULING_RADII: Mapping[tuple[str, int], float] = {
    ("C", -4): 2.60,
    ("Si", -4): 2.71,
    ("Ge", -4): 2.72,
    ("Sn", -4): 2.94,
    ("P", -3): 2.12,
    ("As", -3): 2.22,
    ("Sb", -3): 2.45,
}
# In Shannon's frame: half the lattice constant of NaH (rocksalt, a = 4.88 Å), less the 1.02 Å of Na+.
HYDRIDE_RADIUS = 1.42
DEFAULT_RADIUS = 1.5  # Å, for elements without any known crystal; chosen
# Coordination numbers, octahedral first, then outwards from it.
COORDINATION_ORDER = (
    "VI",
    "IV",
    "V",
    "VII",
    "VIII",
    "IVSQ",
    "IVPY",
    "IX",
    "X",
    "XII",
    "XI",
    "XIV",
    "III",
    "IIIPY",
    "II",
    "I",
)


@cache
def ionic_radius(element: str, state: float) -> float:
    """Ionic radius in Å, six-coordinate and high-spin where tabulated.

    Args:
        element: symbol.
        state: oxidation state, also a mean one. Between two tabulated states the radius is interpolated; beyond
            them it is that of the nearest state of the same sign, and without any the atomic radius.

    Raises:
        ValueError: `element` is no element.

    Source:
        Shannon, Acta Crystallogr. A 32, 751 (1976), through pymatgen; anions he lacks after Pauling (1960).
    """
    from pymatgen.core import Element

    found = Element(check_element(element))
    if element == "H" and state < 0:
        return HYDRIDE_RADIUS
    radii = {known: value for (name, known), value in PAULING_RADII.items() if name == element}
    # pymatgen's table has one radius of europium under an empty state.
    tabulated = {known: sites for known, sites in (found.data.get("Shannon radii") or {}).items() if known}
    radii |= {int(known): _pick_radius(sites) for known, sites in tabulated.items()}
    same_sign = sorted(known for known in radii if known * state > 0)
    if same_sign:
        return float(np.interp(state, same_sign, [radii[known] for known in same_sign]))
    atomic = found.data.get("Atomic radius") or found.data.get("Van der waals radius")
    return float(atomic) if isinstance(atomic, int | float) else DEFAULT_RADIUS


def _pick_radius(sites: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """Pick one radius among those tabulated by coordination and spin."""
    coordination = min(
        sites, key=lambda name: COORDINATION_ORDER.index(name) if name in COORDINATION_ORDER else 99
    )
    spins = sites[coordination]
    spin = next((name for name in ("High Spin", "") if name in spins), next(iter(spins)))
    return float(spins[spin]["ionic_radius"])
