"""Slabs of a solid.

Every distinct surface of a plane, facing up, with the symmetry of the finite slab.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.bicrystals.lattices import SAME_LENGTH, complete_basis, reduce_basis
from invdesign.structures.bicrystals.solids import Solid, number_elements
from invdesign.structures.symmetry import SYMPREC, symmetry_dataset

# Å between two atomic planes that a cut may separate, as pymatgen's CoherentInterfaceBuilder has it (`termination_ftol`).
PLANE_TOLERANCE = 0.25
SAME_HEIGHT = 0.05  # Å; cuts that symmetry maps onto each other differ by less; chosen
POLAR_DIPOLE = (
    1e-3  # e/Å, dipole of one period per area above which a slab is polar, as in pymatgen's `Slab.is_polar`
)
SLAB_VACUUM = (
    15.0  # Å above a slab while its symmetry is sought, so that no operation mixes its sides; chosen
)
SIDES = (1, -1)


@dataclass(frozen=True, eq=False)
class SlabOperation:
    """An operation that maps a slab onto itself.

    Atom i at p moves to the place of atom `sites[i]`, moved by the surface lattice's vector `offsets[i]`.

    Attributes:
        matrix: shape (2, 2), whole numbers; acts on rows of coefficients of the surface lattice from the right.
        translation: shape (2,), Å in the plane.
        flips: the operation exchanges the slab's two surfaces.
        sites: shape (n,).
        offsets: shape (n, 2), whole numbers.
    """

    matrix: IntArray
    translation: FloatArray
    flips: bool
    sites: IntArray
    offsets: IntArray


@dataclass(frozen=True, eq=False)
class Slab:
    """A slab of one surface cell, in its own frame.

    Its a is along x, its b in the plane, and the surface that faces the other solid on top.

    Attributes:
        solid: the crystal.
        plane: Miller indices in the parent's cell.
        termination: number of the surface, from 1: surfaces on the side of the plane's normal first, by their height above the
            parent's origin, then those on the other side; of symmetric ones the first is listed.
        label: plane and termination, `(110)1`; with an `s` at the end for a slab with two equal surfaces that holds no whole
            formula units.
        surface_lattice: shape (2, 2), reduced basis of all translations in the plane, Å.
        stack: shape (3,), Å, lattice vector from one period to the next one above.
        thickness: Å between the highest and the lowest atom.
        layers: number of periods; rounded up where a slab ends within one.
        elements: n symbols, by depth.
        positions: shape (n, 3), Å; z is 0 for the highest atom, negative below.
        unit_sites: shape (n,), site of the parent.
        period: number of atoms in one period: the first ones are one.
        polar: formal charges give each period a dipole; None where charges are unknown.
        stoichiometric: the composition is that of whole formula units.
    """

    solid: Solid
    plane: tuple[int, int, int]
    termination: int
    label: str
    surface_lattice: FloatArray
    stack: FloatArray
    thickness: float
    layers: int
    elements: tuple[str, ...]
    positions: FloatArray
    unit_sites: IntArray
    period: int
    polar: bool | None
    stoichiometric: bool

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def area(self) -> float:
        """Area of the surface cell, Å²."""
        return abs(float(np.linalg.det(self.surface_lattice)))

    @property
    def symmetric(self) -> bool:
        """True if the two surfaces are images of each other."""
        return any(operation.flips for operation in self.operations)

    @cached_property
    def operations(self) -> tuple[SlabOperation, ...]:
        """Symmetry of the finite slab, the identity first."""
        return _find_operations(self)

    @cached_property
    def atomic_layers(self) -> IntArray:
        """Number of each atom's layer from the surface, from 1, shape (n,)."""
        order = np.argsort(-self.positions[:, 2], kind="stable")
        heights = self.positions[order, 2]
        numbers = 1 + np.concatenate([[0], np.cumsum(-np.diff(heights) > PLANE_TOLERANCE)])
        found = np.empty(len(self), dtype=np.int64)
        found[order] = numbers
        return found

    def bulk_cell(self) -> tuple[FloatArray, IntArray]:
        """Oriented unit cell.

        Vectors as rows (3, 3) in Å, the third from period to period, and its atoms in the slab.
        """
        cell = np.zeros((3, 3))
        cell[:2, :2] = self.surface_lattice
        cell[2] = self.stack
        return cell, np.arange(self.period)


@dataclass(frozen=True, eq=False)
class _Plane:
    """A plane of a solid: lattice and atoms of one period.

    Attributes:
        indices: Miller indices without a common divisor.
        spacing: Å between planes of these indices in the parent's cell.
        step: period along the normal in units of `spacing`.
        basis: shape (3, 3), primitive vectors in Å: two in the plane, one from period to period.
        normal: shape (3,).
        heights: shape (p,), of the primitive cell's atoms, in units of `spacing`.
        cuts: heights between atomic planes, ascending in [0, step).
    """

    indices: tuple[int, int, int]
    spacing: float
    step: float
    basis: FloatArray
    normal: FloatArray
    heights: FloatArray
    cuts: FloatArray

    @property
    def period(self) -> float:
        """Period along the normal, Å."""
        return self.step * self.spacing


def list_slabs(
    solid: Solid,
    plane: Sequence[int],
    *,
    layers: int | None = None,
    thickness: float | None = None,
    excess: bool = False,
) -> list[Slab]:
    """List slabs for every distinct surface of a plane.

    A surface is distinct if no symmetry of the crystal maps it onto another one. Both sides of the plane are listed: an
    asymmetric slab may face the other solid with either surface.

    Args:
        solid: the crystal.
        plane: Miller indices h, k, l in the parent's cell.
        layers: number of periods along the normal; or:
        thickness: Å, at least so many periods.
        excess: also list slabs with two equal surfaces that are not stoichiometric.

    Raises:
        InvdesignError: the indices are none, or neither or both of layers and thickness are given.
    """
    indices = _check_plane(plane)
    if (layers is None) == (thickness is None):
        raise InvdesignError("give either the number of layers or the thickness of a slab")
    if (layers is not None and layers < 1) or (thickness is not None and not 0 < thickness < math.inf):
        raise InvdesignError(
            f"a slab needs at least one layer, got {layers if thickness is None else thickness}"
        )
    found = _find_plane(solid, indices)
    periods = layers if layers is not None else math.ceil((thickness or 0.0) / found.period - SAME_LENGTH)
    slabs = []
    classes = _list_surfaces(solid, found)
    for number, members in enumerate(classes, start=1):
        cut, side = members[0]
        slabs.append(_build_slab(solid, found, number, side, float(found.cuts[cut]), periods * found.step))
        if excess:
            slabs += _list_equal_sided(solid, found, number, members, periods)
    return slabs


def _check_plane(plane: Sequence[int]) -> tuple[int, int, int]:
    """Divide Miller indices by their common divisor.

    Raises:
        InvdesignError: they are not three whole numbers, or all are 0.
    """
    numbers = [int(number) for number in plane]
    if len(numbers) != 3 or list(plane) != numbers or not any(numbers):
        raise InvdesignError(f"a plane is three whole numbers h, k, l, not all 0; got {tuple(plane)}")
    divisor = math.gcd(*numbers)
    h, k, l = (number // divisor for number in numbers)  # noqa: E741 - the names of Miller indices
    return h, k, l


def _find_plane(solid: Solid, indices: tuple[int, int, int]) -> _Plane:
    """Find the lattice of a plane and the heights at which it may be cut."""
    group, parent = solid.space_group, solid.parent
    heights_of_basis = group.primitive @ np.array(indices)
    divisor = math.gcd(*(int(number) for number in heights_of_basis))
    chosen = complete_basis([int(number) // divisor for number in heights_of_basis])
    basis = chosen @ group.primitive @ parent.lattice / group.order
    in_plane, _ = reduce_basis(basis[:2])
    step = divisor / group.order
    normal = np.linalg.inv(parent.lattice) @ np.array(indices, dtype=np.float64)
    spacing = 1.0 / float(np.linalg.norm(normal))
    heights = parent.positions[group.sites] @ np.array(indices, dtype=np.float64)
    return _Plane(
        indices,
        spacing,
        step,
        np.array([*in_plane, basis[2]]),
        np.asarray(normal * spacing, dtype=np.float64),
        heights,
        _find_cuts(heights, step, PLANE_TOLERANCE / spacing),
    )


def _find_cuts(heights: FloatArray, step: float, tolerance: float) -> FloatArray:
    """Find the middles of the gaps between atomic planes.

    Where all gaps are smaller than the tolerance, the largest ones are cut.

    Args:
        heights: shape (p,).
        step: period of the heights.
        tolerance: smallest gap that is cut.
    """
    small = 1e-9 * step
    wrapped = np.sort((heights + small) % step - small)
    gaps = np.append(wrapped[1:], wrapped[0] + step) - wrapped
    wide = gaps > min(tolerance, float(gaps.max()) - 1e-3 * step)
    cuts = (wrapped + gaps / 2)[wide] % step
    cuts[step - cuts < 1e-6 * step] = 0.0
    return np.sort(cuts)


def _list_surfaces(solid: Solid, plane: _Plane) -> list[list[tuple[int, int]]]:
    """List distinct surfaces, each with all (number of the cut, side) that symmetry maps onto it, the first as its own."""
    states = [(cut, side) for side in SIDES for cut in range(len(plane.cuts))]
    images = list(_list_height_maps(solid, plane))
    classes: list[list[tuple[int, int]]] = []
    seen: set[tuple[int, int]] = set()
    for state in states:
        if state in seen:
            continue
        members = {state}
        for sign, shift in images:
            cut = _find_cut(plane, sign * float(plane.cuts[state[0]]) + shift)
            if cut is not None:
                members.add((cut, sign * state[1]))
        classes.append([state, *sorted(members - {state}, key=states.index)])
        seen |= members
    return classes


def _list_height_maps(solid: Solid, plane: _Plane) -> Iterator[tuple[int, float]]:
    """List how symmetry maps heights h.

    Each is (sign, shift) of sign h + shift, in units of the plane's spacing.
    """
    indices = np.array(plane.indices)
    seen = set()
    for rotation, translation in zip(
        solid.space_group.rotations, solid.space_group.translations, strict=True
    ):
        image = indices @ rotation
        for sign in SIDES:
            if (image == sign * indices).all():
                shift = float(indices @ translation) % plane.step
                if (sign, round(shift, 6)) not in seen:
                    seen.add((sign, round(shift, 6)))
                    yield sign, shift


def _find_cut(plane: _Plane, height: float) -> int | None:
    """Number of the cut at a height; None if there is none."""
    apart = (plane.cuts - height + plane.step / 2) % plane.step - plane.step / 2
    nearest = int(np.abs(apart).argmin())
    return nearest if abs(apart[nearest]) * plane.spacing < SAME_HEIGHT else None


def _list_equal_sided(
    solid: Solid, plane: _Plane, number: int, members: Sequence[tuple[int, int]], periods: int
) -> Iterator[Slab]:
    """List slabs whose lower surface equals the upper one, if they are not those of whole periods."""
    cut, side = members[0]
    top = side * float(plane.cuts[cut])
    depths = set()
    for other, facing in members:
        if facing != side and other != cut:
            depths.add(round((top - side * float(plane.cuts[other])) % plane.step, 9))
    for depth in sorted(depths):
        slab = _build_slab(
            solid, plane, number, side, float(plane.cuts[cut]), (periods - 1) * plane.step + depth
        )
        if len(slab) >= slab.period and not slab.stoichiometric:
            yield slab


def _build_slab(solid: Solid, plane: _Plane, number: int, side: int, cut: float, depth: float) -> Slab:
    """Build the slab below a cut.

    Args:
        solid: the crystal.
        plane: the plane.
        number: of the termination.
        side: 1, or -1 for the slab above the cut, turned over.
        cut: height, in units of the plane's spacing.
        depth: the same, of the slab.
    """
    parent, group = solid.parent, solid.space_group
    normal = side * plane.normal
    surface, frame = _orient(plane.basis[:2], normal)
    stack = frame @ (side * plane.basis[2])
    # The stack's part in the plane is known up to the surface lattice; the shortest one is taken.
    stack[:2] = _wrap(stack[None, :2], surface, centred=True)[0]
    points = parent.positions[group.sites] @ parent.lattice @ frame.T
    top, period = side * cut * plane.spacing, plane.period
    # Each atom is brought into the period below the cut, then repeated downwards.
    below = np.ceil((points[:, 2] - top) / period - 1e-9)
    points = points - below[:, None] * stack
    repeats = math.ceil(depth / plane.step - 1e-9)
    everything = np.concatenate([points - n * stack for n in range(repeats)])
    sites = np.tile(group.sites, repeats)
    kept = everything[:, 2] > top - depth * plane.spacing - 1e-9
    everything, sites = everything[kept], sites[kept]
    everything[:, :2] = _wrap(everything[:, :2], surface)
    everything[:, 2] -= everything[:, 2].max()
    periods = np.repeat(np.arange(repeats), len(points))[kept]
    order = np.lexsort((*np.round(everything[:, :2].T, 4), sites, -np.round(everything[:, 2], 4), periods))
    positions, sites = everything[order], sites[order]
    elements = tuple(parent.elements[site] for site in sites)
    units = {elements.count(element) / count for element, count in solid.formula.items()}
    whole = len(units) == 1 and next(iter(units)).is_integer()
    h, k, l = plane.indices  # noqa: E741 - the names of Miller indices
    label = f"({_write_indices(h, k, l)}){number}{'' if whole else 's'}"
    return Slab(
        solid=solid,
        plane=plane.indices,
        termination=number,
        label=label,
        surface_lattice=surface,
        stack=stack,
        thickness=float(-positions[:, 2].min()),
        layers=repeats,
        elements=elements,
        positions=positions,
        unit_sites=sites.astype(np.int64),
        period=len(group.sites),
        polar=_is_polar(solid, sites[: len(group.sites)], positions, surface),
        stoichiometric=whole,
    )


def _write_indices(*indices: int) -> str:
    """Write Miller indices as `110`, `1-10`, or with spaces where one has two digits."""
    return (" " if max(map(abs, indices)) > 9 else "").join(map(str, indices))


def _orient(in_plane: FloatArray, normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Surface lattice (2, 2) with a along x and b above it, and the frame (3, 3) whose rows are x, y and the normal."""
    first, second = in_plane
    lengths = np.linalg.norm(in_plane, axis=1)
    x = first / lengths[0]
    frame = np.array([x, np.cross(normal, x), normal])
    along, above = float(second @ frame[0]), float(second @ frame[1])
    if abs(along) < SAME_LENGTH:
        along = 0.0
    if above < 0:
        along, above = -along, -above
    if along < -lengths[0] / 2 + SAME_LENGTH:  # two equal choices: the positive one
        along += lengths[0]
    return np.array([[lengths[0], 0.0], [along, above]]), frame


def _wrap(points: FloatArray, lattice: FloatArray, *, centred: bool = False) -> FloatArray:
    """Move points (m, 2) by vectors of a lattice (2, 2) into its cell, or into the cell about the origin."""
    shares = points @ np.linalg.inv(lattice)
    start = 0.5 if centred else 0.0
    moved: FloatArray = (shares - np.floor(shares + start + 1e-6)) @ lattice
    return moved


def _is_polar(solid: Solid, sites: IntArray, positions: FloatArray, surface: FloatArray) -> bool | None:
    """True if formal charges give one period a dipole along the normal.

    None where charges are unknown.
    """
    states = [solid.parent.states[site] for site in sites]
    known = [state for state in states if state is not None]
    if len(known) < len(states):
        return None
    dipole = float(np.array(known) @ positions[: len(states), 2])
    return abs(dipole) / abs(float(np.linalg.det(surface))) > POLAR_DIPOLE


def _find_operations(slab: Slab) -> tuple[SlabOperation, ...]:
    """Find the operations of a finite slab that keep the plane."""
    height = slab.thickness + SLAB_VACUUM
    cell = np.zeros((3, 3))
    cell[:2, :2], cell[2, 2] = slab.surface_lattice, height
    shares = slab.positions @ np.linalg.inv(cell)
    dataset = symmetry_dataset(cell, shares, number_elements(slab.elements))
    found = []
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        if rotation[2, :2].any() or rotation[:2, 2].any():
            continue
        matrix = np.asarray(rotation[:2, :2].T, dtype=np.int64)
        images = shares @ rotation.T + translation
        apart = images[:, None, :] - shares[None, :, :]
        whole = np.round(apart)
        distance = np.linalg.norm((apart - whole) @ cell, axis=2)
        distance[np.array(slab.elements)[:, None] != np.array(slab.elements)[None, :]] = np.inf
        sites = distance.argmin(axis=1)
        rows = np.arange(len(slab))
        if distance[rows, sites].max() > 10 * SYMPREC or len(set(sites.tolist())) < len(slab):
            continue
        # Translations are refined, so that shifts do not carry the noise of the symmetry search.
        rest = (apart - whole)[rows, sites, :2].mean(axis=0)
        found.append(
            SlabOperation(
                matrix,
                (translation[:2] - rest) @ slab.surface_lattice,
                bool(rotation[2, 2] < 0),
                sites.astype(np.int64),
                whole[rows, sites, :2].astype(np.int64),
            )
        )
    return tuple(found)
