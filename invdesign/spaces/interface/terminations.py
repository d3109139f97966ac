"""Terminations of the two solids: which are chosen, and their remarks."""

from __future__ import annotations

from collections.abc import Sequence

from invdesign.spaces.interface.settings import SolidChoice
from invdesign.structures.bicrystals import Slab, Solid, list_slabs
from invdesign.structures.bicrystals.cuts import count_cut_bonds, describe_cut_bonds, describe_slab
from invdesign.structures.site_labels import Side


def list_side_slabs(side: Side, choice: SolidChoice, solid: Solid) -> list[Slab]:
    """Slabs of one side: every plane with its chosen terminations.

    Raises:
        ValueError: a plane has no termination of a chosen number, or all terminations cut bonds that are to be kept.
    """
    found: list[Slab] = []
    for plane in choice.planes:
        slabs = list_slabs(solid, plane, layers=choice.layers, thickness=choice.thickness)
        numbers = [slab.termination for slab in slabs]
        kept = [slab for slab in slabs if not choice.terminations or slab.termination in choice.terminations]
        if not kept:
            raise ValueError(
                f"{side}: the plane ({' '.join(map(str, plane))}) of {solid.name} has the terminations "
                f"{', '.join(map(str, numbers))}, and none of them is chosen"
            )
        found += kept
    whole = [slab for slab in found if not count_cut_bonds(slab)] if choice.keep_bonds else found
    if not whole:
        raise ValueError(
            f"{side}: every chosen termination of {solid.name} cuts bonds ({describe_cut_bonds(found[0])} in {found[0].label}); "
            "choose other planes, or leave out keep_bonds"
        )
    return whole


def describe_slabs(side: Side, slabs: Sequence[Slab]) -> str:
    """Describe the planes and terminations of one side."""
    return f"{side}: terminations {', '.join(map(describe_slab, slabs))}"
