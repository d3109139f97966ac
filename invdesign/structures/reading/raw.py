"""A crystal as a file states it, before any library computes with its numbers, and the limits it must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from invdesign.errors import InvdesignError


class StructureFileError(InvdesignError):
    """A structure file is refused; the message names the site, the value and the remedy."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and numbers that a structure file may have.

    Attributes:
        bytes: of the file's text.
        atoms: of the whole cell, after symmetry.
        operations: of symmetry that a file lists.
        frames: structures that one file may hold.
        volume_per_atom: smallest and largest, Å³; the lightest solid metals have 120, the densest ionic crystals 5.
        length: smallest and largest edge of the cell, Å.
        angle: smallest and largest angle of the cell, degrees.
        coordinate: largest absolute fractional coordinate; unwrapped trajectories have a few cells.
    """

    bytes: int = 200_000_000
    atoms: int = 20_000
    operations: int = 1_024
    frames: int = 1_000_000
    volume_per_atom: tuple[float, float] = (1.0, 1_000.0)
    length: tuple[float, float] = (0.5, 1_000.0)
    angle: tuple[float, float] = (5.0, 175.0)
    coordinate: float = 1_000.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class RawSite:
    """One site of the whole cell.

    Attributes:
        occupancies: by element symbol, without charges; they sum to 1 at most (a vacancy is what is missing).
        position: three fractional coordinates.
        label: the file's name of the site, or the element.
    """

    occupancies: Mapping[str, float]
    position: tuple[float, float, float]
    label: str = ""


@dataclass(frozen=True, slots=True)
class RawCrystal:
    """One structure of a file: all sites of its cell, symmetry applied.

    Attributes:
        name: what messages call it.
        lattice: three rows, Å.
        sites: at least one.
        periodic: along each axis; only crystals periodic in all three are used.
        remarks: sentences on how the file was read, where it was not read as it is written.
        properties: whole numbers, numbers and text that a frame of a file states beside the structure.
    """

    name: str
    lattice: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    sites: tuple[RawSite, ...]
    periodic: tuple[bool, bool, bool] = (True, True, True)
    remarks: tuple[str, ...] = ()
    properties: Mapping[str, int | float | str] = field(default_factory=dict)
