"""Crystals as a file states them, before any library computes with their numbers, and limits."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from invdesign.errors import InvdesignError
from invdesign.structures.site_labels import LabelValue


class StructureFileError(InvdesignError):
    """A structure file is refused.

    The message names the site, the value and the remedy.
    """

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on sizes and numbers of a structure file.

    Attributes:
        bytes: size of the file's text.
        atoms: atoms of the whole cell, after symmetry.
        operations: symmetry operations that a file lists.
        frames: structures that one file may hold.
        volume_per_atom: smallest and largest, Å³; the lightest solid metals have 120, the densest ionic crystals 5.
        length: smallest and largest edge of the cell, Å.
        height: smallest distance of two opposite faces of the cell, Å; neighbour lists look at as many images of the
            cell as fit into their radius, so a flat cell would take forever.
        angle: smallest and largest angle of the cell, degrees.
        coordinate: largest absolute fractional coordinate; unwrapped trajectories have a few cells.
    """

    bytes: int = 200_000_000
    atoms: int = 20_000
    operations: int = 1_024
    frames: int = 1_000_000
    volume_per_atom: tuple[float, float] = (1.0, 1_000.0)
    length: tuple[float, float] = (0.5, 1_000.0)
    height: float = 0.5
    angle: tuple[float, float] = (5.0, 175.0)
    coordinate: float = 1_000.0


LIMITS = Limits()

MAX_BYTES = "INVDESIGN_MAX_STRUCTURE_BYTES"
MAX_ATOMS = "INVDESIGN_MAX_ATOMS"
MAX_OPERATIONS = "INVDESIGN_MAX_OPERATIONS"
MAX_FRAMES = "INVDESIGN_MAX_FRAMES"
MIN_VOLUME = "INVDESIGN_MIN_VOLUME_PER_ATOM"
MAX_VOLUME = "INVDESIGN_MAX_VOLUME_PER_ATOM"
MAX_LENGTH = "INVDESIGN_MAX_CELL_LENGTH"
MAX_COORDINATE = "INVDESIGN_MAX_COORDINATE"
LIMIT_VARIABLES = (
    MAX_BYTES,
    MAX_ATOMS,
    MAX_OPERATIONS,
    MAX_FRAMES,
    MIN_VOLUME,
    MAX_VOLUME,
    MAX_LENGTH,
    MAX_COORDINATE,
)
"""Environment variables that set a limit."""


def current_limits() -> Limits:
    """Return the limits, with those that environment variables set.

    Raises:
        StructureFileError: a variable holds no positive number.
    """
    return _limits_from_texts(tuple(os.environ.get(name, "") for name in LIMIT_VARIABLES))


@lru_cache(maxsize=4)
def _limits_from_texts(texts: tuple[str, ...]) -> Limits:
    """Limits with the values of environment variables, empty where not set."""
    found = {
        name: _parse_positive(name, text) for name, text in zip(LIMIT_VARIABLES, texts, strict=True) if text
    }
    return replace(
        LIMITS,
        bytes=int(found.get(MAX_BYTES, LIMITS.bytes)),
        atoms=int(found.get(MAX_ATOMS, LIMITS.atoms)),
        operations=int(found.get(MAX_OPERATIONS, LIMITS.operations)),
        frames=int(found.get(MAX_FRAMES, LIMITS.frames)),
        volume_per_atom=(
            found.get(MIN_VOLUME, LIMITS.volume_per_atom[0]),
            found.get(MAX_VOLUME, LIMITS.volume_per_atom[1]),
        ),
        length=(LIMITS.length[0], found.get(MAX_LENGTH, LIMITS.length[1])),
        coordinate=found.get(MAX_COORDINATE, LIMITS.coordinate),
    )


def read_positive_variable(name: str, default: float) -> float:
    """Read the positive number in an environment variable.

    Args:
        name: the variable.
        default: value where it is not set.

    Raises:
        StructureFileError: it holds no positive number.
    """
    text = os.environ.get(name, "")
    return _parse_positive(name, text) if text else default


def _parse_positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise StructureFileError(
            f"the environment variable {name} must be a positive number, got '{text:.40}'"
        )
    return value


@dataclass(frozen=True, slots=True)
class RawSite:
    """One site of the whole cell.

    Attributes:
        occupancies: by element symbol, without charges; their sum is at most 1 (the rest is vacant).
        position: three fractional coordinates.
        label: the file's name of the site, or the element.
        labels: our own labels of sites (`site_labels`) where a file has them.
    """

    occupancies: Mapping[str, float]
    position: tuple[float, float, float]
    label: str = ""
    labels: Mapping[str, LabelValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawCrystal:
    """One structure of a file, symmetry applied.

    Attributes:
        name: name of the structure in messages.
        lattice: three rows, Å.
        sites: at least one.
        periodic: along each axis; only crystals periodic in all three are used.
        remarks: sentences on deviations of the reading from the text.
        properties: whole numbers, numbers and text that a frame of a file states beside the structure.
    """

    name: str
    lattice: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    sites: tuple[RawSite, ...]
    periodic: tuple[bool, bool, bool] = (True, True, True)
    remarks: tuple[str, ...] = ()
    properties: Mapping[str, int | float | str] = field(default_factory=dict)
