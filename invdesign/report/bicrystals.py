"""Pictures of a bicrystal, seen along its plane: sides tinted, region marked, exchanged atoms ringed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.report.structure import (
    BORDER_DISTANCE,
    MAX_ATOMS,
    Band,
    Marks,
    Ring,
    Scene,
    build_scene,
    find_bonds,
)
from invdesign.structures.cells import VACUUM_WIDTH, find_normal, measure_length_along_normal
from invdesign.structures.exchanges import element_of
from invdesign.structures.site_labels import (
    DEFECT,
    FILM,
    HOST,
    INNER,
    LAYER,
    NATIVE,
    SIDE,
    SUBSTRATE,
    LabelValue,
    read_labels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

SIDE_COLOURS = {SUBSTRATE: "#0b5fa5", FILM: "#b45309"}
VACUUM_MARGIN = 1.5  # Å of it that is drawn; chosen
REGION_MARGIN = 0.6  # Å from the outermost sites of the region to its drawn limit; chosen
# Turn about the normal, so that atoms behind each other are seen apart while the plane stays edge-on; chosen.
TILT = np.radians(7.0)


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A bicrystal with its first plane in the middle, at height 0.

    Attributes:
        heights: shape (n,), Å of each atom above the plane.
        fractions: shape (n, 3), the third ones from the plane.
        film: shape (n,), True for sites of the film.
        bottom, top: Å, ends of the drawn cell.
        length: Å along the normal, of the cell.
    """

    heights: FloatArray
    fractions: FloatArray
    film: BoolArray
    bottom: float
    top: float
    length: float

    @property
    def has_vacuum(self) -> bool:
        """True if a vacuum is left out."""
        return self.top - self.bottom < self.length - 1e-6


def is_bicrystal(labels: Mapping[str, Sequence[LabelValue]]) -> bool:
    """True if `labels` are those of an interface, with layers and native elements."""
    return {SIDE, LAYER, NATIVE} <= labels.keys() and {SUBSTRATE, FILM} == set(labels[SIDE])


def find_upward_normal(lattice: FloatArray) -> FloatArray:
    """Unit vector normal to the plane of the first two vectors, on the side of the third."""
    normal = find_normal(lattice)
    return normal if normal @ lattice[2] > 0 else -normal


def unwrap_bicrystal(structure: Structure, labels: Mapping[str, Sequence[LabelValue]]) -> Unwrapped:
    """Move the first plane of a bicrystal to height 0, the substrate below it and the film above.

    The plane lies midway between the first layers of both sides. Each atom is the image nearest to the middle of its side.
    """
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    length = measure_length_along_normal(lattice)
    fractions = np.array(structure.frac_coords, dtype=np.float64).reshape(-1, 3)
    film = np.array([side == FILM for side in labels[SIDE]], dtype=bool)
    layers = np.array(labels[LAYER], dtype=np.int64)
    first = [_middle(fractions[on_side & (layers == layers[on_side].min()), 2]) for on_side in (~film, film)]
    plane = first[0] + ((first[1] - first[0]) % 1.0) / 2
    heights = np.empty(len(film))
    for on_side, offset in ((~film, -1.0), (film, 0.0)):
        middle = _middle(fractions[on_side, 2])
        apart = fractions[on_side, 2] - middle
        heights[on_side] = (middle - plane) % 1.0 + offset + apart - np.round(apart)
    fractions[:, 2] = heights
    bottom, top = heights.min(), heights.max()
    gap = 1.0 - (top - bottom)
    margin = VACUUM_MARGIN / length if gap * length >= VACUUM_WIDTH else gap / 2
    return Unwrapped(
        heights * length, fractions, film, (bottom - margin) * length, (top + margin) * length, length
    )


def _middle(places: FloatArray) -> float:
    """Mean of fractions on the circle."""
    return float(np.angle(np.exp(2j * np.pi * places).mean()) / (2 * np.pi))


def build_labelled_scene(structure: Structure) -> Scene | None:
    """Build the scene of a structure as its labels ask for.

    A bicrystal is seen along its plane, with the normal to the right. Of a crystal with defects, foreign atoms are ringed.
    Without labels it is `build_scene`.

    Returns:
        None if it has too many atoms.
    """
    labels = read_labels(structure)
    if is_bicrystal(labels):
        return _build_bicrystal_scene(structure, labels)
    drawn = build_scene(structure)
    if drawn is None or not set(labels.get(SIDE, ())) & {HOST, DEFECT} or NATIVE not in labels:
        return drawn
    return replace(drawn, marks=Marks(_ring_repeated(structure, drawn, labels[NATIVE])))


def _ring_repeated(structure: Structure, drawn: Scene, natives: Sequence[LabelValue]) -> tuple[Ring, ...]:
    """Rings of drawn atoms, which may be repeated on other faces of the cell."""
    fractions = drawn.positions @ np.linalg.inv(drawn.lattice)
    rings = []
    for symbol, place in zip(drawn.symbols, fractions, strict=True):
        apart = np.asarray(structure.frac_coords) - place
        site = int(np.abs(apart - np.round(apart)).sum(axis=1).argmin())
        rings.append(ring_of(symbol, str(natives[site])))
    return tuple(rings)


def ring_of(symbol: str, native: str) -> Ring:
    """Ring around an atom of element `symbol` where the perfect crystal has `native`."""
    if native == "":
        return "void"
    return "" if native == symbol else "exchanged"


def _build_bicrystal_scene(structure: Structure, labels: Mapping[str, Sequence[LabelValue]]) -> Scene | None:
    found = unwrap_bicrystal(structure, labels)
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    symbols, rings, places = _repeat_in_plane(structure, found, lattice, labels[NATIVE])
    if not 0 < len(symbols) <= MAX_ATOMS:
        return None
    ends = np.array([found.bottom, found.top]) / found.length
    corners = np.array([(a, b, c) for a, b in product((0.0, 1.0), repeat=2) for c in ends])
    edges = [(a @ lattice, b @ lattice) for a, b in combinations(corners, 2) if (a != b).sum() == 1]
    bands = (
        Band(SUBSTRATE, found.bottom, 0.0, SIDE_COLOURS[SUBSTRATE]),
        Band(FILM, 0.0, found.top, SIDE_COLOURS[FILM]),
    )
    positions = places @ lattice
    marks = Marks(
        tuple(rings), bands=bands, limits=_find_region(found, labels), view=view_along_plane(lattice)
    )
    return Scene(tuple(symbols), positions, find_bonds(symbols, positions), np.array(edges), lattice, marks)


def _repeat_in_plane(
    structure: Structure, found: Unwrapped, lattice: FloatArray, natives: Sequence[LabelValue]
) -> tuple[list[str], list[Ring], FloatArray]:
    """Elements, rings and fractions of atoms.

    Those near a side face of the cell also on the opposite one.
    """
    normal = find_upward_normal(lattice)
    near = [
        BORDER_DISTANCE / abs(float(lattice[k] @ _unit(np.cross(normal, lattice[1 - k])))) for k in range(2)
    ]
    symbols: list[str] = []
    rings: list[Ring] = []
    places: list[tuple[float, ...]] = []
    for site, fraction, native in zip(structure, found.fractions, natives, strict=True):
        choices = [
            (x, x + 1.0) if x < limit else (x, x - 1.0) if x > 1.0 - limit else (x,)
            for x, limit in zip((fraction[:2] % 1.0).tolist(), near, strict=True)
        ]
        symbol = element_of(site)
        for place in product(*choices):
            symbols.append(symbol)
            rings.append(ring_of(symbol, str(native)))
            places.append((*place, float(fraction[2])))
    return symbols, rings, np.array(places).reshape(-1, 3)


def _unit(vector: FloatArray) -> FloatArray:
    found: FloatArray = vector / np.linalg.norm(vector)
    return found


def _find_region(found: Unwrapped, labels: Mapping[str, Sequence[LabelValue]]) -> tuple[float, ...]:
    """Heights of both limits of the region in which species may change.

    Empty where it is not known.
    """
    if INNER not in labels:
        return ()
    outer = ~np.array(labels[INNER], dtype=bool)
    if not outer.any() or outer.all():
        return ()
    limits = []
    if (outer & ~found.film).any():
        limits.append(float(found.heights[outer & ~found.film].min()) - REGION_MARGIN)
    if (outer & found.film).any():
        limits.append(float(found.heights[outer & found.film].max()) + REGION_MARGIN)
    return tuple(limits)


def view_along_plane(lattice: FloatArray) -> FloatArray:
    """Directions of right, up and towards the eye, as rows.

    The normal, and nearly along the shorter vector of the plane.
    """
    normal = find_upward_normal(lattice)
    along = min(lattice[:2], key=lambda vector: float(np.linalg.norm(vector)))
    eye = _unit(along - (along @ normal) * normal)
    up = np.cross(eye, normal)
    turned = np.array(
        [normal, np.cos(TILT) * up + np.sin(TILT) * eye, np.cos(TILT) * eye - np.sin(TILT) * up]
    )
    found: FloatArray = turned
    return found
