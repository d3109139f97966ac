"""Sites of a CIF: the rows of its list, and their images by symmetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from invdesign.structures.reading.cif_numbers import Number
from invdesign.structures.reading.cif_symmetry import Array, Setting
from invdesign.structures.reading.raw import Limits, RawSite
from invdesign.structures.site_labels import LabelValue

Mask = NDArray[np.bool_]
SAME_ATOM_DISTANCE = 0.02  # Å; chosen: closer positions are one atom, whatever the digits
# Å; images farther apart are two atoms. Chosen: H2 has 0.74, split sites of refinements 0.4 and more.
MIN_IMAGE_DISTANCE = 0.4
MIN_REMARKED_DISTANCE = 0.002  # Å; merged images farther apart are worth a remark; chosen
ROUNDING_DISTANCE = 1e-6  # Å; rounding of floating-point numbers; chosen
_IMAGE_CHUNK = 200_000  # images computed at once; chosen
_MAX_SITES_PER_POSITION = 32  # chosen
FULL_OCCUPANCY_SLACK = 0.0010001  # occupancies from 0.999 to 1.001 are 1; chosen


class SiteError(ValueError):
    """Impossible sites.

    The message gives them, the value and the remedy.
    """


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One row of the list of sites.

    Attributes:
        label: label in the file.
        element: symbol.
        position: fractional coordinates.
        units: unit of the last digit of each coordinate; 0 where it is exact.
        occupancy: 1 where none is given.
        multiplicity: stated, or None.
        labels: our own labels of sites (`site_labels`).
    """

    label: str
    element: str
    position: tuple[float, float, float]
    units: tuple[float, float, float]
    occupancy: Number
    multiplicity: int | None
    labels: Mapping[str, LabelValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contents:
    """All atoms of the cell in one reading of the file.

    Attributes:
        sites: sites of the whole cell.
        amounts: atoms by element.
        uncertain: uncertainty of these, from the digits of occupancies.
        multiplicities: number of images of each row.
        stabilizers: number of operations that keep each row's position.
        merged: labels whose images were merged although their digits set them apart, with the distance (Å).
        remarks: remarks on occupancies.
    """

    sites: tuple[RawSite, ...]
    amounts: Mapping[str, float]
    uncertain: Mapping[str, float]
    multiplicities: tuple[int, ...]
    stabilizers: tuple[int, ...]
    merged: Mapping[str, float]
    remarks: tuple[str, ...]


def expand_rows(
    rows: Sequence[SiteRow], setting: Setting, lattice: Array, limits: Limits, *, exact: bool = False
) -> Contents:
    """Apply symmetry to all rows and merge coinciding images.

    Species on one position share it.

    Args:
        rows: rows of the file.
        setting: operations.
        lattice: rows of the cell, shape (3, 3), Å.
        limits: limits on the atoms of the cell.
        exact: merge only images that coincide, whatever the digits written.

    Raises:
        SiteError: there are too many atoms, or positions are occupied more than once.
    """
    positions, owners, stabilizers, merged = _make_orbits(rows, setting, lattice, limits, exact=exact)
    groups = _group_positions(positions, lattice)
    sites: list[RawSite] = []
    amounts: dict[str, float] = {}
    uncertain: dict[str, float] = {}
    remarks: dict[str, None] = {}
    shared: dict[tuple[int, ...], tuple[dict[str, float], dict[str, float], str]] = {}
    for first, members in groups:
        key = tuple(sorted(int(owners[k]) for k in members))
        if key not in shared:
            occupancies, spread, remark = share_position([rows[k] for k in key])
            shared[key] = occupancies, spread, remark
            if remark:
                remarks[remark] = None
        occupancies, spread, _ = shared[key]
        if not occupancies:
            continue
        x, y, z = positions[first].tolist()
        row = rows[int(owners[first])]
        sites.append(RawSite(occupancies, (x, y, z), row.label, row.labels))
        for element, value in occupancies.items():
            amounts[element] = amounts.get(element, 0.0) + value
            uncertain[element] = uncertain.get(element, 0.0) + spread[element]
    counts = np.bincount(owners, minlength=len(rows))
    return Contents(
        tuple(sites), amounts, uncertain, tuple(counts.tolist()), tuple(stabilizers), merged, tuple(remarks)
    )


def share_position(rows: Sequence[SiteRow]) -> tuple[dict[str, float], dict[str, float], str]:
    """Occupancies of the rows at one position.

    Args:
        rows: rows at the position.

    Returns:
        Occupancies by element, their uncertainties, and a remark or an empty text.

    Raises:
        SiteError: the position is occupied more than once.
    """
    total = sum(row.occupancy.value for row in rows)
    digits = max(row.occupancy.decimals for row in rows)
    rounding = 0.5 * len(rows) * 10.0 ** -max(digits, 2)  # occupancies are not rounded to tenths
    uncertainty = float(np.sqrt(sum(row.occupancy.uncertainty**2 for row in rows)))
    names = " and ".join(dict.fromkeys(row.label for row in rows))
    if total - 1 > max(FULL_OCCUPANCY_SLACK, rounding * 1.0001) + 2 * uncertainty:
        raise SiteError(_describe_excess(rows, names, total))
    short = 1 - total
    several = len(rows) > 1
    full = (
        short <= FULL_OCCUPANCY_SLACK
        or (several and short < rounding * 0.9999)
        or (short <= uncertainty and short <= 0.01)
    )
    scale = 1 / total if full and total > 0 else 1.0
    occupancies: dict[str, float] = {}
    spread: dict[str, float] = {}
    for row in rows:
        if row.occupancy.value == 0:
            continue
        occupancies[row.element] = occupancies.get(row.element, 0.0) + row.occupancy.value * scale
        own = 0.5 * min(row.occupancy.unit, 0.01)
        spread[row.element] = spread.get(row.element, 0.0) + own + 2 * row.occupancy.uncertainty
    if len(occupancies) == 1 and full:
        occupancies = dict.fromkeys(occupancies, 1.0)
        spread = dict.fromkeys(occupancies, 0.0)
    if not occupancies:
        return {}, {}, f"{names} has occupancy 0 and was left out"
    remark = (
        f"the occupancies of {names} sum to {total:.6g} and were taken as 1"
        if full and abs(short) > FULL_OCCUPANCY_SLACK
        else ""
    )
    return occupancies, spread, remark


def _describe_excess(rows: Sequence[SiteRow], names: str, total: float) -> str:
    if len(rows) == 1:
        return f"site {names} has occupancy {total:.6g}, at most 1 is possible; correct it"
    if len({row.element for row in rows}) == 1 or len(set(names.split(" and "))) == 1:
        return (
            f"sites {names} are the same position, by symmetry or as written, with occupancies of {total:.6g} together; "
            "remove the repeated site, or list x,y,z as the only operation if all atoms of the cell are listed"
        )
    return (
        f"sites {names} share one position with occupancies of {total:.6g} together, at most 1 is possible; "
        "correct the occupancies or the positions"
    )


def _make_orbits(
    rows: Sequence[SiteRow], setting: Setting, lattice: Array, limits: Limits, *, exact: bool
) -> tuple[Array, NDArray[np.int64], list[int], dict[str, float]]:
    """Positions of all rows by symmetry.

    Returned with row numbers, stabilizers and merging distances.
    """
    size = len(setting)
    if len(rows) * size > 100 * limits.atoms:
        raise SiteError(
            f"{len(rows)} sites with {size} symmetry operations are too many; cells of up to {limits.atoms} atoms are read"
        )
    _refuse_pile(rows)
    orbits: list[Array] = []
    stabilizers: list[int] = []
    merged: dict[str, float] = {}
    total = 0
    step = max(1, _IMAGE_CHUNK // size)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        x = np.array([row.position for row in chunk])
        near, distances, images = _find_near(x, chunk, setting, lattice, 0.0 if exact else 1.0)
        for k, row in enumerate(chunk):
            fits = row.multiplicity is None or row.multiplicity == size or size % row.multiplicity
            if near[k].sum() == 1 and fits:
                orbit, stabilizer = images[k], 1
            else:
                orbit, stabilizer, apart = _make_special(
                    row, setting, lattice, near[k], distances[k], exact=exact
                )
                if apart > MIN_REMARKED_DISTANCE:
                    merged[row.label] = max(apart, merged.get(row.label, 0.0))
            total += len(orbit)
            # Species that share a position count once, so that the exact check comes later.
            if total > limits.atoms * 4:
                raise SiteError(
                    f"the cell has more than {limits.atoms} atoms after symmetry; at most that many are read"
                )
            orbits.append(orbit)
            stabilizers.append(stabilizer)
    owners = np.repeat(np.arange(len(rows)), [len(orbit) for orbit in orbits])
    positions = np.concatenate(orbits) % 1.0
    positions[positions > 1 - 1e-9] = 0.0
    return positions, owners, stabilizers, merged


def _refuse_pile(rows: Sequence[SiteRow]) -> None:
    """Refuse many rows at one position before any computation."""
    position, count = Counter(row.position for row in rows).most_common(1)[0]
    if count > _MAX_SITES_PER_POSITION:
        label = next(row.label for row in rows if row.position == position)
        raise SiteError(f"{count} sites have the position of {label}; list each site once")


def _find_near(
    x: Array, rows: Sequence[SiteRow], setting: Setting, lattice: Array, factor: float
) -> tuple[Mask, Array, Array]:
    """Find operations that keep a position within its digits.

    The error of a rotated coordinate is the sum of the rounding errors it mixes, so x-y of 0.33, 0.67 may be off by
    1.5 units.

    Returns:
        Shape (m, n) for m positions and n operations; distances of the images (Å), same shape; images (m, n, 3).
    """
    rotations = setting.rotations.astype(float)
    images = np.einsum("nij,mj->mni", rotations, x) + setting.translations
    delta = images - x[:, None]
    delta -= np.rint(delta)
    distances = np.linalg.norm(delta @ lattice, axis=-1)
    units = np.array([row.units for row in rows])
    tolerance = (
        0.5 * factor * (np.einsum("nij,mj->mni", np.abs(rotations), units) + units[:, None]) * 1.0001 + 1e-9
    )
    near = ((np.abs(delta) <= tolerance).all(axis=-1) & (distances < MIN_IMAGE_DISTANCE)) | (
        distances < SAME_ATOM_DISTANCE
    )
    return near, distances, images


def _make_special(
    row: SiteRow, setting: Setting, lattice: Array, near: Mask, distances: Array, *, exact: bool
) -> tuple[Array, int, float]:
    """Orbit of one special position.

    Returned with the number of operations that keep it and the largest distance merged (Å).
    """
    x = np.array(row.position)
    found = snap_position(x, setting, lattice, near)
    stated = row.multiplicity
    if stated is not None and len(setting) != stated * found[1].sum() and not exact:
        for factor in (0.0, 3.0):
            other, _, _ = _find_near(x[None], [row], setting, lattice, factor)
            trial = snap_position(x, setting, lattice, other[0])
            if len(setting) == stated * trial[1].sum():
                found = trial
                break
    position, keep = found
    orbit = _list_orbit(position, setting, lattice, len(setting) // int(keep.sum()))
    return orbit, int(keep.sum()), float(distances[keep].max())


def snap_position(x: Array, setting: Setting, lattice: Array, near: Mask) -> tuple[Array, Mask]:
    """Move a position to the mean of its near images.

    That is the special position.

    Args:
        x: position, shape (3,), fractional.
        setting: n operations.
        lattice: rows of the cell, Å.
        near: shape (n,), True for operations with an image near the position.

    Returns:
        The special position, and a mask (n,) of the operations that keep it exactly.
    """
    for _ in range(8):
        moved = x + _shift_images(x, setting)[near].mean(axis=0)
        keep = np.linalg.norm(_shift_images(moved, setting) @ lattice, axis=-1) < ROUNDING_DISTANCE
        if not (near & ~keep).any():
            return moved, keep
        # The near operations are no group yet: one that almost keeps the mean is missing, or one too many is included.
        around = np.linalg.norm(_shift_images(moved, setting) @ lattice, axis=-1)
        near = around <= max(around[near].max() * 0.9, ROUNDING_DISTANCE)
        x = moved if near.sum() > 1 else x
    keep = np.linalg.norm(_shift_images(x, setting) @ lattice, axis=-1) < ROUNDING_DISTANCE
    return x, keep


def _shift_images(x: Array, setting: Setting) -> Array:
    delta = setting.rotations.astype(float) @ x + setting.translations - x
    return np.asarray(delta - np.rint(delta))


def _list_orbit(x: Array, setting: Setting, lattice: Array, count: int) -> Array:
    images = (setting.rotations.astype(float) @ x + setting.translations) % 1.0
    # An odd offset keeps simple fractions away from the edges of the bins.
    keys = np.floor(images * 1e5 + 0.3719) % 100_000
    _, first = np.unique(keys, axis=0, return_index=True)
    if len(first) == count:
        return np.asarray(images[np.sort(first)])
    rest, chosen = images, []
    while len(rest):
        chosen.append(rest[0])
        delta = rest - rest[0]
        delta -= np.rint(delta)
        rest = rest[np.linalg.norm(delta @ lattice, axis=1) > SAME_ATOM_DISTANCE / 2]
    return np.array(chosen)


def _group_positions(positions: Array, lattice: Array) -> list[tuple[int, list[int]]]:
    """Group coinciding positions.

    Each group is its first member and all members.
    """
    from scipy.spatial import cKDTree

    smallest = float(np.linalg.svd(lattice, compute_uv=False).min())
    radius = min(SAME_ATOM_DISTANCE / smallest, 0.49)
    wanted = min(len(positions), _MAX_SITES_PER_POSITION + 1)
    wrapped = np.where(positions >= 1.0, 0.0, positions)
    tree = cKDTree(wrapped, boxsize=1.0)
    _, found = tree.query(wrapped, k=[*range(1, wanted + 1)], distance_upper_bound=radius)
    groups: list[tuple[int, list[int]]] = []
    taken = np.zeros(len(positions), dtype=bool)
    for first in range(len(positions)):
        if taken[first]:
            continue
        if wanted == 1 or found[first, 1] == len(positions):
            groups.append((first, [first]))
            continue
        members = [int(k) for k in found[first] if k < len(positions) and not taken[k]]
        if len(members) > 1:
            delta = positions[members] - positions[first]
            delta -= np.rint(delta)
            close = np.linalg.norm(delta @ lattice, axis=1) < SAME_ATOM_DISTANCE
            members = [k for k, one in zip(members, close, strict=True) if one]
        if len(members) > _MAX_SITES_PER_POSITION:
            raise SiteError(
                f"more than {_MAX_SITES_PER_POSITION} sites share one position; list each site once"
            )
        taken[members] = True
        groups.append((first, sorted(members)))
    return groups
