"""Bicrystals of twelve pairs of solids: all of them right, none twice, no surface missing; beside pymatgen's builder.

Run it with `python benchmarks/interfaces.py bicrystals`. It prints a table and writes `benchmarks/results/interfaces.json`.

Eight of the pairs have an orthorhombic, monoclinic or triclinic member. Limits are 120 Å² (more where nothing matches) and 5 %.
`planes_with_more_terminations`
counts planes of which `pymatgen` has more surfaces than `invdesign`. `invdesign` lists matches of every pair of surfaces; `pymatgen` is `CoherentInterfaceBuilder` with `label_index=True` and the same area and
tolerance of lengths, at its default of surfaces (`termination_ftol` 0.25 Å), which `invdesign` uses as well.

A bicrystal is right if each side holds whole formula units, as many per area as whole periods of its crystal have at its strain, has no
overlapping atoms and, for `invdesign`, passes `check_bicrystal`, which undoes the strain of each side, compares it with its crystal and
measures cell, gap and map. A
bicrystal is a duplicate if it is congruent with an earlier one of the list at some shift of the film, mirror images included. That is found
by brute force from positions alone: all isometries of the cell in the plane are tried with all shifts that put one atom of the film where
an atom of the other film is. Lists of pymatgen are compared for the first pairs of surfaces only (`COMPARED`), since it lists thousands.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from common import Row, merge_results, print_table, row_of
from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
from pymatgen.analysis.interfaces.zsl import ZSLGenerator
from pymatgen.core import Structure

from invdesign.arrays import FloatArray
from invdesign.structures.bicrystals import (
    Bicrystal,
    Match,
    Slab,
    Solid,
    build_bicrystal,
    check_bicrystal,
    list_matches,
    list_slabs,
    make_solid,
)
from invdesign.structures.distances import SHORTEST_SHARE, covalent_radius

Plane = tuple[int, int, int]

GAP = 2.0
SAME_PLACE = 0.02  # Å; positions of congruent bicrystals
DENSE = 0.02  # share by which a side's density may miss its crystal's at its strain
COMPARED = 200  # of pymatgen's bicrystals of one pair of solids
BUILDS = 20


@dataclass(frozen=True)
class Pair:
    """Two solids with the planes that are tried.

    Attributes:
        substrate: prototype.
        film: prototype.
        substrate_planes: of the substrate.
        film_planes: of the film.
        max_area: Å².
        max_strain: share.
    """

    substrate: str
    film: str
    substrate_planes: tuple[Plane, ...]
    film_planes: tuple[Plane, ...]
    max_area: float = 120.0
    max_strain: float = 0.05

    @property
    def name(self) -> str:
        """Both solids."""
        return f"{self.substrate}|{self.film}"


CUBIC: tuple[Plane, ...] = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
AXES: tuple[Plane, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
LAYERED: tuple[Plane, ...] = ((0, 0, 1), (1, 1, 0), (1, 0, 4))

PAIRS = (
    Pair("lithium", "antifluorite", CUBIC, CUBIC),
    Pair("lithium", "lithium_nitride", CUBIC, ((0, 0, 1), (1, 0, 0), (1, 1, 0))),
    Pair("lithium", "Li3P", CUBIC, ((0, 0, 1), (1, 0, 0), (1, 1, 0))),
    Pair("layered", "LiNbO3", LAYERED, ((0, 0, 1), (0, 1, 2), (1, 1, 0))),
    Pair("layered", "Li3PS4", LAYERED, AXES),
    Pair("lithium", "Li3PS4_gamma", CUBIC, AXES),
    Pair("olivine", "lithium_phosphate", AXES, AXES),
    Pair("lithium_rich_layered", "lithium_phosphate", AXES, AXES, 150.0),
    Pair("layered", "Li3InCl6", LAYERED, AXES),
    Pair("lithium", "LiBH4", CUBIC, AXES),
    Pair("spinel", "Na3YCl6", CUBIC, AXES, 150.0),
    Pair("lithium", "Li7P3S11", CUBIC, AXES, 200.0),
)
"""The first four have no member of low symmetry."""


@dataclass(frozen=True)
class Points:
    """Atoms of one side: x and y, height above or below the plane, and a number for each element and height.

    Attributes:
        places: shape (n, 2), Å.
        kinds: shape (n,).
    """

    places: FloatArray
    kinds: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Sample:
    """A bicrystal as plain points.

    Attributes:
        cell: shape (2, 2), Å.
        below: atoms of the substrate.
        above: atoms of the film.
    """

    cell: FloatArray
    below: Points
    above: Points

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Numbers that congruent bicrystals share: area, and atoms by element and height."""
        return (
            round(abs(float(np.linalg.det(self.cell))), 1),
            tuple(sorted(self.below.kinds)),
            tuple(sorted(self.above.kinds)),
        )


def sample_points(elements: Sequence[str], positions: FloatArray, top: float, sign: int) -> Points:
    """Points of one side whose surface is at height `top`."""
    depths = np.round((positions[:, 2] - top) * sign, 1) + 0.0
    return Points(positions[:, :2], tuple(zip(elements, depths.tolist(), strict=True)))


def sample_ours(bicrystal: Bicrystal) -> Sample:
    """Points of a bicrystal at shift 0."""
    cell, positions = bicrystal.place(np.zeros(2), 0.0)
    below = np.array(bicrystal.side) == "substrate"
    elements = np.array(bicrystal.elements)
    return Sample(
        cell[:2, :2],
        sample_points(elements[below].tolist(), positions[below], 0.0, -1),
        sample_points(elements[~below].tolist(), positions[~below], 0.0, 1),
    )


def sample_pymatgen(structure: Structure) -> Sample:
    """Points of an interface of pymatgen, whose third vector need not be normal."""
    lattice = structure.lattice.matrix
    x = lattice[0] / np.linalg.norm(lattice[0])
    normal = np.cross(lattice[0], lattice[1])
    normal /= np.linalg.norm(normal)
    frame = np.array([x, np.cross(normal, x), normal])
    positions = structure.cart_coords @ frame.T
    below = np.array(structure.site_properties["interface_label"]) == "substrate"
    elements = np.array([site.specie.symbol for site in structure])
    return Sample(
        (lattice @ frame.T)[:2, :2],
        sample_points(elements[below].tolist(), positions[below], positions[below, 2].max(), -1),
        sample_points(elements[~below].tolist(), positions[~below], positions[~below, 2].min(), 1),
    )


def are_congruent(first: Sample, second: Sample) -> bool:
    """True if an isometry of the plane maps one bicrystal onto the other at some shift of the film."""
    if first.fingerprint != second.fingerprint:
        return False
    return any(
        _fits(first.below, second.below, turn, second.cell)
        and _fits(first.above, second.above, turn, second.cell)
        for turn in list_isometries(first.cell, second.cell)
    )


def list_isometries(first: FloatArray, second: FloatArray) -> Iterator[FloatArray]:
    """List orthogonal maps (2, 2) of rows that take one lattice to another."""
    steps = np.array(list(itertools.product(range(-4, 5), repeat=2))) @ second
    lengths = np.linalg.norm(steps, axis=1)
    near = [steps[np.abs(lengths - np.linalg.norm(row)) < SAME_PLACE] for row in first]
    for a, b in itertools.product(*near):
        turn = np.linalg.solve(first, np.array([a, b]))
        if np.abs(turn @ turn.T - np.eye(2)).max() < 2e-3:
            yield turn


def _fits(first: Points, second: Points, turn: FloatArray, cell: FloatArray) -> bool:
    """True if turned points fall on others after some shift, modulo a cell."""
    names, counts = np.unique([str(kind) for kind in first.kinds], return_counts=True)
    rarest = str(names[counts.argmin()])
    own = np.array([str(kind) for kind in first.kinds])
    others = np.array([str(kind) for kind in second.kinds])
    turned = first.places @ turn
    anchor = turned[own == rarest][0]
    back = np.linalg.inv(cell)
    for goal in second.places[others == rarest]:
        moved = turned + goal - anchor
        apart = (moved[:, None] - second.places[None]) @ back
        apart -= np.round(apart)
        distance = np.linalg.norm(apart @ cell, axis=2)
        distance[own[:, None] != others[None, :]] = np.inf
        if (distance.min(axis=1) < SAME_PLACE).all():
            return True
    return False


def count_duplicates(samples: Sequence[Sample]) -> int:
    """Count samples that are congruent with an earlier one."""
    groups: dict[tuple[object, ...], list[Sample]] = {}
    found = 0
    for sample in samples:
        earlier = groups.setdefault(sample.fingerprint, [])
        if any(are_congruent(sample, one) for one in earlier):
            found += 1
        else:
            earlier.append(sample)
    return found


def is_sound(sample: Sample, sides: tuple[Solid, Solid], periods: tuple[float, float], strain: float) -> bool:
    """True if both sides hold whole formula units, in whole periods of the crystal, without overlapping atoms."""
    area = abs(float(np.linalg.det(sample.cell)))
    for points, solid, period in zip((sample.below, sample.above), sides, periods, strict=True):
        elements = [element for element, _ in points.kinds]
        units = {elements.count(element) / count for element, count in solid.formula.items()}
        if len(units) > 1 or not next(iter(units)).is_integer():
            return False
        volume = abs(float(np.linalg.det(solid.parent.lattice))) / len(solid.parent) * len(elements)
        layers = volume / area / period
        if abs(layers - max(1, round(layers))) > (2 * strain + DENSE) * max(1, round(layers)):
            return False
        heights = np.array([height for _, height in points.kinds])
        if _overlap(points, heights, sample.cell, elements, strain):
            return False
    return True


def _overlap(
    points: Points, heights: FloatArray, cell: FloatArray, elements: Sequence[str], strain: float
) -> bool:
    """True if two atoms of a side are closer than a share of their radii."""
    radii = np.array([covalent_radius(element) for element in elements])
    apart = (points.places[:, None] - points.places[None]) @ np.linalg.inv(cell)
    apart -= np.round(apart)
    flat = np.linalg.norm(apart @ cell, axis=2)
    distance = np.hypot(flat, heights[:, None] - heights[None, :])
    np.fill_diagonal(distance, np.inf)
    return bool((distance < (1 - strain) * SHORTEST_SHARE * (radii[:, None] + radii[None, :])).any())


def list_surfaces(solid: Solid, planes: Sequence[Plane]) -> list[Slab]:
    """Slabs of one period for all surfaces of some planes."""
    return [slab for plane in planes for slab in list_slabs(solid, plane, layers=1)]


def measure_ours(pair: Pair) -> dict[str, float]:
    """Figures of our matches of a pair."""
    start = time.process_time()
    sides = make_solid(pair.substrate), make_solid(pair.film)
    below, above = (
        list_surfaces(solid, planes)
        for solid, planes in zip(sides, (pair.substrate_planes, pair.film_planes), strict=True)
    )
    matches = list_matches(below, above, max_area=pair.max_area, max_strain=pair.max_strain)
    spent = time.process_time() - start
    right, samples = 0, []
    for match in matches:
        bicrystal = build_bicrystal(match, boundary="vacuum")
        sample = sample_ours(bicrystal)
        faults = check_bicrystal(bicrystal, gap=GAP)
        periods = float(match.substrate.stack[2]), float(match.film.stack[2])
        right += not faults and is_sound(sample, sides, periods, match.strain)
        samples.append(sample)
    return {
        "bicrystals": len(matches),
        "correct_percent": 100 * right / len(matches),
        "duplicates": count_duplicates(samples),
        "enumerate_cpu_s": spent,
        "build_ms": measure_build(matches),
        "terminations": len(below) + len(above),
    }


def measure_build(matches: Sequence[Match]) -> float:
    """Milliseconds to build a bicrystal with its symmetry, per 100 atoms, median over some matches."""
    spent = []
    for match in matches[:: max(1, len(matches) // BUILDS)]:
        start = time.perf_counter()
        bicrystal = build_bicrystal(match)
        bicrystal.symmetry  # noqa: B018 - computed on first use
        bicrystal.build_structure(np.zeros(2), GAP)
        spent.append(1e5 * (time.perf_counter() - start) / match.atoms)
    return float(np.median(spent))


def measure_pymatgen(pair: Pair) -> dict[str, float]:
    """Figures of pymatgen's builder for a pair."""
    sides = make_solid(pair.substrate), make_solid(pair.film)
    structures = [solid.parent.build_structure() for solid in sides]
    surfaces: dict[tuple[int, Plane], int] = {}
    ours = {
        (side, plane): list_slabs(solid, plane, layers=1)
        for side, planes in enumerate((pair.substrate_planes, pair.film_planes))
        for solid in sides[side : side + 1]
        for plane in planes
    }
    samples: list[Sample] = []
    right = broken = found = 0
    start = time.process_time()
    for lower, upper in itertools.product(pair.substrate_planes, pair.film_planes):
        zsl = ZSLGenerator(
            max_area=pair.max_area, max_length_tol=pair.max_strain, max_angle_tol=0.03, bidirectional=True
        )
        try:
            builder = CoherentInterfaceBuilder(
                structures[0].copy(), structures[1].copy(), upper, lower, zslgen=zsl, label_index=True
            )
        except (ValueError, IndexError):
            broken += 1
            continue
        periods = float(ours[0, lower][0].stack[2]), float(ours[1, upper][0].stack[2])
        surfaces[0, lower] = len({name for _, name in builder.terminations})
        surfaces[1, upper] = len({name for name, _ in builder.terminations})
        for termination in builder.terminations:
            interfaces = builder.get_interfaces(termination, gap=GAP)
            try:
                for interface in interfaces:
                    found += 1
                    sample = sample_pymatgen(interface)
                    samples.append(sample)
                    right += is_sound(sample, sides, periods, pair.max_strain)
                    if len(samples) >= COMPARED:
                        break
            except (ValueError, ZeroDivisionError):
                broken += bool(builder.zsl_matches)
            if len(samples) >= COMPARED:
                break
        if len(samples) >= COMPARED:
            break
    spent = time.process_time() - start
    figures = {
        "bicrystals": found,
        "duplicates": count_duplicates(samples),
        "lists_broken_off": broken,
        "enumerate_cpu_s": spent,
        "terminations": sum(surfaces.values()),
        "planes_with_more_terminations": sum(count > len(ours[key]) for key, count in surfaces.items()),
    }
    return figures | ({"correct_percent": 100 * right / found} if found else {})


SHOWN = ("bicrystals", "duplicates", "terminations")  # of each pair; the other figures are sums over all
UNITS = {"correct_percent": "%", "enumerate_cpu_s": "s", "build_ms": "ms per 100 atoms"}


def measure_bicrystals(names: Sequence[str]) -> list[Row]:
    """Rows of the task `bicrystals`."""
    rows, totals = [], dict[tuple[str, str], list[float]]()
    for pair in PAIRS:
        if names and pair.name not in names:
            continue
        for method, measure in (("invdesign", measure_ours), ("pymatgen", measure_pymatgen)):
            figures = measure(pair)
            print(
                pair.name, method, {metric: round(value, 3) for metric, value in figures.items()}, flush=True
            )
            for metric, value in figures.items():
                task = f"bicrystals {pair.name}"
                if metric in SHOWN:
                    rows.append(row_of("interfaces", task, method, metric, [value], UNITS.get(metric, "")))
                totals.setdefault((method, metric), []).append(value)
    return rows if names else [*summarise_pairs(totals), *rows]


def summarise_pairs(totals: dict[tuple[str, str], list[float]]) -> list[Row]:
    """Rows over all pairs: sums of counts, the share of right ones among all, the median of times."""
    rows = []
    for (method, metric), values in totals.items():
        if metric == "correct_percent":
            weights = [count for count in totals[method, "bicrystals"] if count]
            total = sum(share * count for share, count in zip(values, weights, strict=True)) / sum(weights)
            rows.append(Row("interfaces", "bicrystals", method, metric, total, "%", len(values), 0.0))
        elif metric in UNITS:
            rows.append(row_of("interfaces", "bicrystals", method, metric, values, UNITS[metric]))
        else:
            rows.append(Row("interfaces", "bicrystals", method, metric, sum(values), "", len(values), 0.0))
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=["bicrystals"])
    parser.add_argument("--pairs", nargs="*", default=[], help="names of pairs: `lithium|antifluorite`")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = measure_bicrystals(arguments.pairs)
    merge_results("interfaces", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
