"""Periodic axes of the unit cube, whose ends are one point.

Images, differences, places within the cube.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.protocols import Dimension


def periodic_mask(dimensions: Sequence[Dimension]) -> BoolArray | None:
    """Mask (d,) of the periodic `dimensions`; None where there are none."""
    mask = np.array([item.periodic for item in dimensions], dtype=np.bool_)
    return mask if mask.any() else None


def wrap_into_cube(x: FloatArray, periodic: BoolArray | None) -> FloatArray:
    """Move periodic coordinates of points `x` (…, d) into [0, 1) by whole periods; others stay."""
    if periodic is None:
        return x
    wrapped = np.mod(x, 1.0)
    # The remainder of a tiny negative number rounds to 1.0, which is 0.0.
    wrapped = np.where(wrapped >= 1.0, 0.0, wrapped)
    return np.where(periodic, wrapped, x)


def bring_into_cube(x: FloatArray, periodic: BoolArray | None) -> FloatArray:
    """Move points `x` (…, d) into the cube.

    Periodic coordinates by whole periods, others to the nearest side.
    """
    clipped = np.clip(x, 0.0, 1.0)
    return clipped if periodic is None else np.where(periodic, wrap_into_cube(x, periodic), clipped)


def take_shortest_way(difference: FloatArray, periodic: BoolArray | None) -> FloatArray:
    """Shorten differences (…, d) by whole periods: to at most half a period along periodic axes."""
    if periodic is None:
        return difference
    return np.where(periodic, difference - np.round(difference), difference)


def nearest_images(x: FloatArray, reference: FloatArray, periodic: BoolArray | None) -> FloatArray:
    """Images of points `x` (…, d) that are nearest to `reference`, of a shape that broadcasts."""
    if periodic is None:
        return x
    return np.where(periodic, x + np.round(reference - x), x)
