"""Bicrystals: two solids that meet at a plane, with every match, surface and symmetry."""

from invdesign.structures.bicrystals.assembly import Bicrystal, Boundary, build_bicrystal
from invdesign.structures.bicrystals.checks import check_bicrystal, check_region
from invdesign.structures.bicrystals.matches import Match, NoMatchError, Strained, list_matches
from invdesign.structures.bicrystals.pairs import PairOperation, PairSymmetry
from invdesign.structures.bicrystals.slabs import Slab, list_slabs
from invdesign.structures.bicrystals.solids import Solid, make_solid
from invdesign.structures.bicrystals.turning import drop_turned_sandwiches
from invdesign.structures.site_labels import Side

__all__ = [
    "Bicrystal",
    "Boundary",
    "Match",
    "NoMatchError",
    "PairOperation",
    "PairSymmetry",
    "Side",
    "Slab",
    "Solid",
    "Strained",
    "build_bicrystal",
    "check_bicrystal",
    "check_region",
    "drop_turned_sandwiches",
    "list_matches",
    "list_slabs",
    "make_solid",
]
