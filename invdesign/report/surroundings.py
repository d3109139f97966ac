"""Surroundings of point defects before and after relaxation.

Neighbours with distances, and a picture of whole polyanions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.report.bicrystals import ring_of
from invdesign.report.structure import BOND_FACTOR, HOLE_RADIUS, Marks, Ring, Scene, ball_radius, find_bonds
from invdesign.structures.exchanges import element_of
from invdesign.structures.site_labels import DEFECT, HOST, NATIVE, SIDE, read_labels

if TYPE_CHECKING:
    from pymatgen.core import Structure

REACH = 4.0  # Å around a defect that is drawn; chosen
LISTED_REACH = 3.0  # Å up to which neighbours are listed; chosen: above the bonds of all ions, 1.5 to 2.7 Å
MAX_LISTED = 8  # neighbours in the list of one defect; chosen
COMPLEX_REACH = 6.0  # Å between defects that are drawn in one picture; chosen
MAX_DRAWN = 250  # atoms of the surroundings; chosen
VIEWS = 200  # directions of which the view is chosen; chosen
SAME_PLACE = 1e-6  # Å, below which an atom is the defect itself; chosen: rounding
WHOLE_STEPS = 5  # bonds from an atom within reach, along which a polyanion is completed; chosen: two joined groups are whole


@dataclass(frozen=True, slots=True)
class Centre:
    """A point defect.

    Attributes:
        kind: `N on O`, `interstitial Li` or `vacancy O`.
        site: index of its atom; None for a vacancy.
        place: shape (3,), fractions, of the atom or of the host's site.
    """

    kind: str
    site: int | None
    place: FloatArray


@dataclass(frozen=True, slots=True)
class Environment:
    """Neighbours of one defect in words, before and after relaxation; `after` is empty where nothing was relaxed."""

    kind: str
    before: str
    after: str
    moved: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Defects of one candidate.

    Attributes:
        rows: one per defect.
        before, after: scenes of the largest complex in one frame; None where it is too large, or nothing was relaxed.
        complexes: number of groups of near defects; the largest is drawn.
    """

    rows: Sequence[Environment]
    before: Scene | None
    after: Scene | None
    complexes: int


def is_defective(structure: Structure) -> bool:
    """True if the labels of a `structure` are those of a crystal with defects."""
    labels = read_labels(structure)
    return NATIVE in labels and bool(set(labels.get(SIDE, ())) & {HOST, DEFECT})


def find_centres(structure: Structure, host: Structure | None) -> list[Centre]:
    """Find the point defects of a structure as it was built.

    Args:
        structure: with labels of sites.
        host: the perfect crystal in the same cell; None where it is unknown, and then no vacancies are found.
    """
    natives = [str(native) for native in read_labels(structure)[NATIVE]]
    found = []
    for k, (site, native) in enumerate(zip(structure, natives, strict=True)):
        symbol = element_of(site)
        if symbol != native:
            kind = f"{symbol} on {native}" if native else f"interstitial {symbol}"
            found.append(Centre(kind, k, np.array(site.frac_coords)))
    if host is not None:
        found += [
            Centre(f"vacancy {element_of(host[k])}", None, np.array(host[k].frac_coords))
            for k in find_vacancies(structure, natives, host)
        ]
    return found


def find_vacancies(structure: Structure, natives: Sequence[str], host: Structure) -> list[int]:
    """Numbers of the host's sites that hold no atom.

    Those left over when atoms are assigned to sites, nearest first.
    """
    from scipy.optimize import linear_sum_assignment

    missing: list[int] = []
    elements = [element_of(site) for site in host]
    for element in sorted(set(elements)):
        sites = [k for k, symbol in enumerate(elements) if symbol == element]
        atoms = [k for k, native in enumerate(natives) if native == element]
        if len(atoms) >= len(sites):
            continue
        taken: set[int] = set()
        if atoms:
            distances = host.lattice.get_all_distances(host.frac_coords[sites], structure.frac_coords[atoms])
            taken = set(linear_sum_assignment(distances)[0].tolist())
        missing += [site for place, site in enumerate(sites) if place not in taken]
    return sorted(missing)


def view_surroundings(
    before: Structure, after: Structure | None, host: Structure | None
) -> Surroundings | None:
    """View of the defects of a structure; None if it has none.

    Args:
        before: as it was built, with labels.
        after: relaxed, with the same sites in the same order; another one is left out.
        host: the perfect crystal.
    """
    centres = find_centres(before, host)
    if not centres:
        return None
    if after is not None and [site.species for site in before] != [site.species for site in after]:
        after = None
    rows = [
        Environment(
            centre.kind,
            describe_neighbours(before, centre),
            "" if after is None else describe_neighbours(after, centre),
            _describe_move(before, after, centre),
        )
        for centre in centres
    ]
    groups = group_centres(before, centres)
    scenes = [_build_scene(structure, groups[0]) for structure in (before, after) if structure is not None]
    drawn = [scene for scene in scenes if scene is not None]
    if len(drawn) < len(scenes):
        return Surroundings(rows, None, None, len(groups))
    framed = _share_view(drawn)
    return Surroundings(rows, framed[0], framed[1] if len(framed) > 1 else None, len(groups))


def _share_view(scenes: Sequence[Scene]) -> list[Scene]:
    """Turn scenes to the view that shows their defects best, in one frame."""
    view = choose_view(scenes)
    turned = [
        replace(scene, marks=replace(scene.marks, view=view)) for scene in scenes if scene.marks is not None
    ]
    frames = np.array([scene.measure_frame() for scene in turned])
    frame = np.array([frames[:, 0].min(axis=0), frames[:, 1].max(axis=0)])
    return [
        replace(scene, marks=replace(scene.marks, frame=frame)) for scene in turned if scene.marks is not None
    ]


def choose_view(scenes: Sequence[Scene]) -> FloatArray:
    """Choose the view in which the fewest atoms stand before defects, in all scenes together.

    Returns:
        Directions of right, up and towards the eye, as rows.
    """
    views = _list_views()
    hidden = [sum(_count_hiding(scene, view) for scene in scenes) for view in views]
    found: FloatArray = views[int(np.argmin(hidden))]
    return found


def _list_views() -> list[FloatArray]:
    """Views from points spread evenly over the sphere.

    A Fibonacci lattice (Á. González, Math. Geosci. 42, 49 (2010)).
    """
    views = []
    for k in range(VIEWS):
        z = 1.0 - (2 * k + 1) / VIEWS
        turn = np.pi * (3.0 - np.sqrt(5.0)) * k
        eye = np.array([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z])
        right = np.cross(np.eye(3)[int(np.abs(eye).argmin())], eye)
        right /= np.linalg.norm(right)
        views.append(np.array([right, np.cross(eye, right), eye]))
    return views


def _count_hiding(scene: Scene, view: FloatArray) -> float:
    """Sum of the overlaps (Å) of defects with atoms before them, as seen in a view."""
    assert scene.marks is not None
    atoms = scene.positions @ view.T
    radii = np.array([ball_radius(symbol) for symbol in scene.symbols])
    ringed = [k for k, ring in enumerate(scene.marks.rings) if ring]
    places = np.concatenate([atoms[ringed], scene.marks.holes @ view.T])
    sizes = np.concatenate([radii[ringed], np.full(len(scene.marks.holes), HOLE_RADIUS)])
    apart = np.linalg.norm(places[:, None, :2] - atoms[None, :, :2], axis=2)
    before = atoms[None, :, 2] > places[:, None, 2] + SAME_PLACE
    overlap = np.clip(sizes[:, None] + radii[None, :] - apart, 0.0, None)
    return float(overlap[before].sum())


def _place_of(structure: Structure, centre: Centre) -> FloatArray:
    """Fractions of a defect in a structure: those of its atom, or of the vacancy."""
    return centre.place if centre.site is None else np.array(structure[centre.site].frac_coords)


def list_neighbours(structure: Structure, centre: Centre) -> list[tuple[str, float]]:
    """(element, distance in Å) of the neighbours of a defect, nearest first."""
    lattice = structure.lattice
    near = structure.get_sites_in_sphere(
        lattice.get_cartesian_coords(_place_of(structure, centre)), LISTED_REACH
    )
    found = [
        (element_of(site), float(site.nn_distance))
        for site in near
        if not (site.index == centre.site and site.nn_distance < 1e-3)
    ]
    return sorted(found, key=lambda item: (round(item[1], 3), item[0]))[:MAX_LISTED]


def describe_neighbours(structure: Structure, centre: Centre) -> str:
    """Describe the neighbours of a defect: `P 1.62, Li 1.98 2.05`, elements by their nearest atom."""
    groups: dict[str, list[str]] = {}
    for symbol, distance in list_neighbours(structure, centre):
        groups.setdefault(symbol, []).append(f"{distance:.2f}")
    return (
        ", ".join(f"{symbol} {' '.join(distances)}" for symbol, distances in groups.items())
        or f"none within {LISTED_REACH:g} Å"
    )


def _describe_move(before: Structure, after: Structure | None, centre: Centre) -> str:
    """Distance that the atom of a defect moved, Å; empty for a vacancy."""
    if after is None or centre.site is None:
        return ""
    apart = after[centre.site].frac_coords - before[centre.site].frac_coords
    return f"{np.linalg.norm((apart - np.round(apart)) @ after.lattice.matrix):.2f}"


def group_centres(structure: Structure, centres: Sequence[Centre]) -> list[list[Centre]]:
    """Group defects nearer to each other than `COMPLEX_REACH`, the largest group first."""
    places = np.array([centre.place for centre in centres])
    near = structure.lattice.get_all_distances(places, places) < COMPLEX_REACH
    groups: list[list[int]] = []
    for k in range(len(centres)):
        joined = [group for group in groups if near[k, group].any()]
        groups = [group for group in groups if group not in joined]
        groups.append([*(member for group in joined for member in group), k])
    groups = [sorted(group) for group in groups]
    return [[centres[k] for k in group] for group in sorted(groups, key=lambda group: (-len(group), group))]


# The picture.


def _build_scene(structure: Structure, centres: Sequence[Centre]) -> Scene | None:
    """Scene of all atoms within `REACH` of the defects, and of the polyanions that these atoms belong to."""
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    natives = [str(native) for native in read_labels(structure)[NATIVE]]
    symbols = [element_of(site) for site in structure]
    places = _unwrap_centres(structure, centres)
    chosen: dict[tuple[int, ...], FloatArray] = {}
    for place in places:
        for site in structure.get_sites_in_sphere(place @ lattice, REACH):
            chosen[(site.index, *map(int, site.image))] = np.array(site.coords)
    chosen = complete_polyanions(structure, symbols, chosen)
    if not 0 < len(chosen) <= MAX_DRAWN:
        return None
    keys = sorted(chosen)
    drawn = tuple(symbols[key[0]] for key in keys)
    positions = np.array([chosen[key] for key in keys])
    rings: tuple[Ring, ...] = tuple(ring_of(symbols[key[0]], natives[key[0]]) for key in keys)
    holes = np.array(
        [place @ lattice for place, centre in zip(places, centres, strict=True) if centre.site is None]
    ).reshape(-1, 3)
    marks = Marks(rings, holes=holes)
    return Scene(drawn, positions, find_bonds(drawn, positions), np.empty((0, 2, 3)), lattice, marks)


def _unwrap_centres(structure: Structure, centres: Sequence[Centre]) -> list[FloatArray]:
    """Fractions of the defects as images near each other."""
    found = [_place_of(structure, centres[0])]
    for centre in centres[1:]:
        place = _place_of(structure, centre)
        options = []
        for known in found:
            distance, image = structure.lattice.get_distance_and_image(known, place)
            options.append((float(distance), place + image))
        found.append(min(options, key=lambda item: item[0])[1])
    return found


def complete_polyanions(
    structure: Structure, symbols: Sequence[str], chosen: Mapping[tuple[int, ...], FloatArray]
) -> dict[tuple[int, ...], FloatArray]:
    """Add the nonmetals bonded to chosen nonmetals, so that no polyanion is cut.

    Nothing where they are a network.

    Args:
        structure: the whole crystal.
        symbols: elements of its sites.
        chosen: positions in Å by (site, image).
    """
    found, fresh = dict(chosen), dict(chosen)
    for _ in range(WHOLE_STEPS):
        added: dict[tuple[int, ...], FloatArray] = {}
        for key, position in fresh.items():
            own = symbols[key[0]]
            if not _is_nonmetal(own):
                continue
            for site in structure.get_sites_in_sphere(position, 2 * BOND_FACTOR * 1.2):
                other = symbols[site.index]
                place = (site.index, *map(int, site.image))
                if place in found or not _is_nonmetal(other):
                    continue
                if 0 < site.nn_distance < BOND_FACTOR * (_radius(own) + _radius(other)):
                    added[place] = np.array(site.coords)
        found |= added
        fresh = added
        if len(found) > MAX_DRAWN:  # a network has no whole groups
            return dict(chosen)
        if not added:
            break
    return found


@lru_cache(maxsize=256)
def _is_nonmetal(symbol: str) -> bool:
    from pymatgen.core import Element

    return Element.is_valid_symbol(symbol) and not Element(symbol).is_metal


def _radius(symbol: str) -> float:
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])
