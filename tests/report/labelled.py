"""Labelled bicrystals and defective crystals made by hand."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from invdesign.structures.site_labels import INNER, LAYER, NATIVE, SIDE

SPACING = 2.1  # Å between layers of rocksalt


def bicrystal(exchanges: int = 0, *, moved: int = 0, layers: int = 5, vacuum: float = 0.0) -> Structure:
    """Magnesium oxide below lithium sulfide-like layers in one square cell, the plane at the boundary of the cell.

    Args:
        exchanges: pairs of Mg and Li that changed places at the plane.
        moved: lithium atoms in voids of the substrate.
        layers: of each side.
        vacuum: Å above the film.
    """
    side = 2 * SPACING
    length = 2 * layers * SPACING + vacuum
    rows: list[tuple[str, list[float], str, int, str]] = []
    for name, cation, anion in (("substrate", "Mg", "O"), ("film", "Li", "S")):
        for layer in range(1, layers + 1):
            height = (layer - 0.5) * SPACING * (1 if name == "film" else -1)
            for x in range(2):
                for y in range(2):
                    symbol = cation if (x + y + layer) % 2 else anion
                    rows.append((symbol, [x * SPACING, y * SPACING, height], name, layer, symbol))
    change = {"Mg": "Li", "Li": "Mg"}
    for name in ("substrate", "film"):
        own = [k for k, row in enumerate(rows) if row[2] == name and row[0] in change]
        for k in own[:exchanges]:
            symbol, place, side_name, layer, native = rows[k]
            rows[k] = (change[symbol], place, side_name, layer, native)
    rows += [
        ("Li", [SPACING / 2, SPACING / 2, -(k + 1) * SPACING], "substrate", k + 1, "") for k in range(moved)
    ]
    return Structure(
        Lattice.orthorhombic(side, side, length),
        [row[0] for row in rows],
        [row[1] for row in rows],
        coords_are_cartesian=True,
        to_unit_cell=True,
        site_properties={
            SIDE: [row[2] for row in rows],
            LAYER: [row[3] for row in rows],
            INNER: [row[3] > 2 for row in rows],
            NATIVE: [row[4] for row in rows],
        },
    )


def phosphate() -> Structure:
    """Host of isolated PO4 groups and lithium, all sites labelled."""
    bond = 1.54 / np.sqrt(3)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * bond
    centres = np.array([[2.0, 2.0, 2.0], [6.5, 2.0, 2.0]])
    symbols, places = [], []
    for centre in centres:
        symbols += ["P", "O", "O", "O", "O"]
        places += [centre, *(centre + corner for corner in corners)]
    for x in (2.0, 6.5):
        symbols += ["Li", "Li", "Li"]
        places += [[x, 4.6, 2.0], [x, 2.0, 4.6], [x + 2.2, 2.0, 3.1]]
    return Structure(
        Lattice.orthorhombic(9.0, 6.4, 6.4),
        symbols,
        places,
        coords_are_cartesian=True,
        site_properties={SIDE: ["host"] * len(symbols), NATIVE: symbols},
    )


def nitrided() -> Structure:
    """The host with nitrogen on one oxygen, the oxygen beside it on the other phosphate gone, a further lithium, and the like."""
    host = phosphate()
    sites = [site for k, site in enumerate(host) if k != 8]
    symbols = [site.specie.symbol for site in sites]
    symbols[1] = "N"
    return Structure(
        host.lattice,
        [*symbols, "Li"],
        [*(site.frac_coords for site in sites), [0.5, 0.6, 0.8]],
        site_properties={
            SIDE: ["defect" if k == 1 else "host" for k in range(len(sites))] + ["defect"],
            NATIVE: [site.specie.symbol for site in sites] + [""],
        },
    )
