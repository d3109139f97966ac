"""Labels of sites that travel with structures: side, layer, depth and the element that the perfect crystal has there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SIDE = "side"
LAYER = "layer"
INNER = "inner"
NATIVE = "native"

SITE_LABELS: Mapping[str, type] = MappingProxyType({SIDE: str, LAYER: int, INNER: bool, NATIVE: str})
"""Type of each label by its name, as a property of pymatgen's sites.

`side`: `substrate` or `film` of an interface, `host` or `defect` of a defective crystal. `layer`: number of the atom's layer on its
side, 1 at the plane. `inner`: True for atoms deeper than the region in which species may change. `native`: element that the perfect
crystal has on this site, empty for a void; another element there is an exchanged or foreign atom.
"""
