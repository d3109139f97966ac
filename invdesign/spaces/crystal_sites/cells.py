"""Cell parameters of crystals as coordinates of the unit cube: volume, ratios of lengths, angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.volumes import VolumeRange
from invdesign.structures.wyckoff import LatticeSystem

VOLUME = "volume"
RATIOS = ("b/a", "c/a")
ANGLE_NAMES = ("alpha", "beta", "gamma")
LARGEST_RATIO = 8.0  # of two lengths of the conventional cell, both ways; layered crystals reach 5 (LiCoO2) and 7 (Bi2Te3)
COMMON_RATIO = 2.0  # up to which most of the axis lies (chosen)
ANGLE_BOUNDS = (50.0, 130.0)  # degrees, of free angles (chosen)
# Volumes over the typical one between which most of the axis lies. Chosen: estimates from radii miss by less than 20 %, while the
# bounds are a factor of 7 apart.
COMMON_VOLUMES = (0.75, 1.4)
COMMON_PART = (0.1, 0.9)  # of an axis, where common values lie (chosen)
RATIO_KNOTS = np.log([1.0 / LARGEST_RATIO, 1.0 / COMMON_RATIO, COMMON_RATIO, LARGEST_RATIO])
PLACES = (0.0, *COMMON_PART, 1.0)
# Coordinates of genomes keep this distance from the sides of the cube, so that rounding never takes them outside (chosen).
MARGIN = 1e-5
LEAST_SHAPE = 0.3  # volume of a cell with edges of 1: flatter ones are opened (chosen)
OPENING = 0.9  # factor by which angles of a flat cell approach 90 degrees (chosen)


def list_cell_columns(system: LatticeSystem) -> tuple[str, ...]:
    """Names of the coordinates that the cells of a lattice system have."""
    ratios = RATIOS if system.free_lengths == 3 else RATIOS[1:] if system.free_lengths == 2 else ()
    angles = (name for name, angle in zip(ANGLE_NAMES, system.angles, strict=True) if angle is None)
    return (VOLUME, *ratios, *angles)


@dataclass(frozen=True)
class CellAxes:
    """Scales between cell parameters of one composition and the unit cube.

    Attributes:
        volume: bounds and typical volume of the primitive cell, Å³.
    """

    volume: VolumeRange

    @cached_property
    def _knots(self) -> tuple[FloatArray, list[float]]:
        """Logarithms of volumes and their places on the axis, both ascending."""
        low, typical, high = self.volume.low, self.volume.typical, self.volume.high
        inner = [share * typical for share in COMMON_VOLUMES]
        if low < inner[0] and inner[1] < high:
            return np.log([low, *inner, high]), list(PLACES)
        return np.log([low, high]), [0.0, 1.0]

    def to_point(self, cell: Sequence[float], system: LatticeSystem, centring: int) -> dict[str, float]:
        """Coordinates of a cell by name; outside [0, 1] where it breaks a bound, NaN where it is flat.

        Args:
            cell: free lengths in Å and angles in degrees of the conventional cell.
            system: lattice system.
            centring: lattice points in the conventional cell.
        """
        lengths, angles = cell[: system.free_lengths], cell[system.free_lengths :]
        volume = float(np.prod(np.diag(system.build_cell(lengths, angles)))) / centring
        volumes, places = self._knots
        point = {VOLUME: _interpolate(np.log(volume) if volume > 0 else np.nan, volumes, places)}
        for name, length in zip(list_cell_columns(system)[1:], lengths[1:], strict=False):
            point[name] = _interpolate(float(np.log(length / lengths[0])), RATIO_KNOTS, PLACES)
        for name, angle in zip(list_cell_columns(system)[len(lengths) :], angles, strict=True):
            point[name] = (angle - ANGLE_BOUNDS[0]) / (ANGLE_BOUNDS[1] - ANGLE_BOUNDS[0])
        return point

    def to_cell(self, point: Mapping[str, float], system: LatticeSystem, centring: int) -> tuple[float, ...]:
        """Free cell parameters at coordinates; flat cells are opened.

        Args:
            point: coordinates by name, within [0, 1].
            system: lattice system.
            centring: lattice points in the conventional cell.
        """
        names = list_cell_columns(system)
        volumes, places = self._knots
        volume = centring * float(np.exp(np.interp(point[VOLUME], places, volumes)))
        ratios = [
            float(np.exp(np.interp(point[name], PLACES, RATIO_KNOTS))) for name in names if name in RATIOS
        ]
        low, high = ANGLE_BOUNDS
        angles = [low + (high - low) * point[name] for name in names if name in ANGLE_NAMES]
        angles = open_angles(angles, system)
        lengths = np.array([1.0, *ratios])
        shape = float(np.prod(np.diag(system.build_cell(lengths.tolist(), angles))))
        return (*(lengths * np.cbrt(volume / shape)).tolist(), *angles)


def open_angles(angles: Sequence[float], system: LatticeSystem) -> list[float]:
    """Open the free angles of a flat cell towards 90 degrees."""
    found = list(angles)
    while len(found) == 3 and not system.measure_shape(found) >= LEAST_SHAPE:
        found = [90.0 + OPENING * (angle - 90.0) for angle in found]
    return found


def _interpolate(value: float, knots: FloatArray, places: Sequence[float]) -> float:
    """Interpolate linearly, and extrapolate beyond the ends."""
    if value < knots[0]:
        return places[0] + float(value - knots[0]) / float(knots[1] - knots[0]) * (places[1] - places[0])
    if value > knots[-1]:
        return places[-1] + float(value - knots[-1]) / float(knots[-1] - knots[-2]) * (
            places[-1] - places[-2]
        )
    return float(np.interp(value, knots, places))


def keep_inside(coordinate: float) -> float:
    """Move a coordinate at a side of the cube by `MARGIN` inside.

    Coordinates beyond half the margin stay, so that moved ones stay after rounding.
    """
    if coordinate < 0.5 * MARGIN:
        return MARGIN
    return 1.0 - MARGIN if coordinate > 1.0 - 0.5 * MARGIN else coordinate
