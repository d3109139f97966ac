"""Temporary adapter."""

from __future__ import annotations

import warnings

from invdesign.structures.reading.raw import Limits, RawCrystal, RawSite


def read_cif(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = CifParser.from_str(text).parse_structures(primitive=False)
    return [
        RawCrystal(
            name if len(found) == 1 else f"{name}#{k}",
            tuple(map(tuple, s.lattice.matrix.tolist())),
            tuple(
                RawSite(
                    {e.symbol: float(x) for e, x in site.species.items()},
                    tuple(site.frac_coords.tolist()),
                    site.label,
                )
                for site in s
            ),
        )
        for k, s in enumerate(found, 1)
    ]
