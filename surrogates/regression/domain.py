"""Domain of a model: distance to its training data in its own features, elements that it knows, and how many of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray, IntArray
from surrogates.regression.blocks import Blocks
from surrogates.regression.material import Material
from surrogates.regression.scores import rank_area
from surrogates.regression.splits import Fold

NEIGHBOURS = (3, 5, 10, 20)  # training groups whose mean distance may count; the training chooses (chosen)
INSIDE_SHARE = 0.9
"""Share of distances between folds that lie within the domain (chosen; at 0.95 most rows of left-out families do, too)."""
LARGEST_SCALED = 3.0  # deviations at which a scaled feature is cut, so that a rare one does not rule (chosen)
COMPONENTS = 48  # principal components kept at most, which bounds the artifact (chosen)
NEGLIGIBLE = 1e-9  # relative spread of a column, or share of a component, that is rounding (chosen)
ROWS_AT_ONCE = 2000  # whose distances are held in memory (chosen)

NONMETALS = frozenset(
    ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Sb", "Te", "I")
)
"""Nonmetals and metalloids, which make the anions of compounds."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Scaled features as coordinates, in which distances are taken.

    Every feature set has the same weight, whatever the number of its columns. Principal components keep the artifact
    small; the part of a row that they do not span still adds to its distance.

    Attributes:
        sets: names of the feature sets.
        centre, spread: shape (d,), mean and standard deviation of the columns in training.
        weight: shape (d,), of the scaled columns; 0 for those that are constant in training.
        axes: shape (d, p), orthonormal.
    """

    sets: tuple[str, ...]
    centre: FloatArray
    spread: FloatArray
    weight: FloatArray
    axes: FloatArray

    def project(self, blocks: Blocks) -> tuple[FloatArray, FloatArray]:
        """Coordinates (n, p), and squared lengths (n,) of the rest outside their span."""
        x = self.scale_features(blocks)
        points = x @ self.axes
        return points, np.maximum((x**2).sum(axis=1) - (points**2).sum(axis=1), 0.0)

    def scale_features(self, blocks: Blocks) -> FloatArray:
        """Scaled features, shape (n, d); unknown ones lie at the centre, far ones are cut."""
        scaled = np.nan_to_num((blocks.stack_sets(self.sets) - self.centre) / self.spread, nan=0.0)
        return np.clip(scaled, -LARGEST_SCALED, LARGEST_SCALED) * self.weight


def fit_embedding(sets: Sequence[str], blocks: Blocks) -> Embedding:
    """Fit the embedding of training rows.

    Args:
        sets: names of the feature sets of the model.
        blocks: features of the training rows.
    """
    x = blocks.stack_sets(sets)
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, x, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (x - centre) ** 2, 0.0).sum(axis=0) / count)
    varied = spread > NEGLIGIBLE * np.maximum(np.abs(centre), NEGLIGIBLE)
    weight = np.zeros(len(spread))
    start = 0
    for name in sets:
        part = slice(start, start + blocks.values[name].shape[1])
        weight[part] = varied[part] / np.sqrt(max(int(varied[part].sum()), 1))
        start = part.stop
    embedding = Embedding(
        tuple(sets), centre, np.where(varied, spread, 1.0), weight, np.zeros((len(spread), 0))
    )
    scaled = embedding.scale_features(blocks)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)  # ascending; their signs do not matter for distances
    kept = int((values > NEGLIGIBLE * max(float(values[-1]), NEGLIGIBLE)).sum())
    axes = np.ascontiguousarray(vectors[:, ::-1][:, : min(COMPONENTS, kept)])
    return replace(embedding, axes=axes)


def neighbour_distances(
    points: FloatArray, rest: FloatArray, training: FloatArray, groups: IntArray, most: int
) -> FloatArray:
    """Mean distances of each row to its nearest training groups, shape (q, most).

    The distance to a group is that to its nearest row: a series of one publication counts once, as a single compound does.

    Args:
        points, rest: shapes (q, p) and (q,), of the rows, as `Embedding.project` gives them.
        training: shape (n, p), points of the training rows.
        groups: shape (n,), number of the group of each training row.
        most: number of groups; column k holds the mean over the nearest k + 1, or over all if there are fewer.
    """
    order = np.argsort(groups, kind="stable")
    training = training[order]
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    count = min(most, len(starts))
    found = np.empty((len(points), most))
    lengths = (training**2).sum(axis=1)
    for start in range(0, len(points), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        squares = (points[part] ** 2).sum(axis=1)[:, None] + lengths - 2.0 * points[part] @ training.T
        nearest = np.minimum.reduceat(squares, starts, axis=1)
        nearest = np.sort(np.partition(nearest, count - 1, axis=1)[:, :count], axis=1)
        distances = np.sqrt(np.maximum(nearest, 0.0) + rest[part, None])
        found[part, :count] = np.cumsum(distances, axis=1) / np.arange(1, count + 1)
    found[:, count:] = found[:, count - 1 : count]
    return found


def distances_between_folds(
    points: FloatArray, rest: FloatArray, groups: IntArray, folds: Sequence[Fold]
) -> FloatArray:
    """Distances of every row to the training rows of its fold, shape (n, max(NEIGHBOURS)); see `neighbour_distances`."""
    found = np.empty((len(points), max(NEIGHBOURS)))
    for train, test in folds:
        found[test] = neighbour_distances(
            points[test], rest[test], points[train], groups[train], max(NEIGHBOURS)
        )
    return found


@dataclass(frozen=True, eq=False)
class Metric:
    """Distance that was chosen for a domain.

    Attributes:
        embedding: features as coordinates.
        neighbours: number of nearest training groups whose mean distance counts.
        between: shape (n,), distances of training rows between folds.
        left: the same with regions left out; None without regions.
        area: probability that a row is farther when its region is left out than when it is not, ties half; None without regions.
    """

    embedding: Embedding
    neighbours: int
    between: FloatArray
    left: FloatArray | None
    area: float | None


def choose_metric(
    options: Sequence[Sequence[str]],
    blocks: Blocks,
    groups: IntArray,
    folds: Sequence[Fold],
    apart: Sequence[Fold],
    shared: BoolArray,
) -> Metric:
    """Choose the feature sets and the number of neighbours that tell left-out regions best.

    Args:
        options: lists of feature sets; the first one is the default.
        blocks: features of the training rows.
        groups: shape (n,), number of the group of each row.
        folds: that leave groups out.
        apart: folds that leave regions out; empty without regions.
        shared: shape (n,), True where `folds` leave other rows of the same region among the training rows.
    """
    best: Metric | None = None
    for sets in options:
        embedding = fit_embedding(sets, blocks)
        points, rest = embedding.project(blocks)
        between = distances_between_folds(points, rest, groups, folds)
        if not apart or not shared.any():
            return Metric(embedding, NEIGHBOURS[0], between[:, NEIGHBOURS[0] - 1], None, None)
        left = distances_between_folds(points, rest, groups, apart)
        for neighbours in NEIGHBOURS:
            own = between[:, neighbours - 1]
            area = rank_area(left[shared, neighbours - 1], own[shared])
            if best is None or best.area is None or area > best.area:
                best = Metric(embedding, neighbours, own, left[:, neighbours - 1], area)
    if best is None:
        raise ValueError("a metric needs at least one list of feature sets")
    return best


def list_elements(material: Material) -> frozenset[str]:
    """Elements of a material, those of its charged composition included."""
    return frozenset(material.composition) | frozenset(material.charged or ())


def find_main_anion(material: Material) -> str:
    """Most abundant nonmetal of a material, of equal ones the first in the alphabet; empty for a metal."""
    amounts = {name: amount for name, amount in material.composition.items() if name in NONMETALS}
    return max(sorted(amounts), key=lambda name: amounts[name], default="")


@dataclass(frozen=True)
class ElementCounts:
    """Range of the number of elements of training rows.

    Near a binary compound in all features, a ternary one is still beyond what a model of binaries has seen.

    Attributes:
        fewest, most: elements of one row.
    """

    fewest: int
    most: int

    def find_reason(self, count: int) -> str:
        """Reason why a material of `count` elements is outside; empty within."""
        if self.fewest <= count <= self.most:
            return ""
        return f"it has {count} element{'s' * (count > 1)}, and every training row has {self.range}"

    @property
    def range(self) -> str:
        """Range in words: `2`, or `2 to 5`."""
        return str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"


def count_elements(materials: Sequence[Material]) -> ElementCounts:
    """Range of the number of elements of materials."""
    counts = [len(list_elements(material)) for material in materials]
    return ElementCounts(min(counts), max(counts))


@dataclass(frozen=True, eq=False)
class Domain:
    """Limits within which a model was judged.

    Attributes:
        embedding: features as coordinates.
        points: shape (n, p), of the training rows.
        groups: shape (n,), number of the group of each training row.
        neighbours: number of nearest groups whose mean distance counts.
        limit: distance beyond which a material is outside.
        typical: median distance between folds, as a unit of distance.
        elements: of the training rows.
        anion_groups: number of training groups by their most abundant nonmetal.
        least_anion_groups: number of such groups that a material needs; 0 for no such rule.
        counts: how many elements training rows have; None if that is not known, as in artifacts of older versions.
    """

    embedding: Embedding
    points: FloatArray
    groups: IntArray
    neighbours: int
    limit: float
    typical: float
    elements: frozenset[str]
    anion_groups: Mapping[str, int] = field(default_factory=dict)
    least_anion_groups: int = 0
    counts: ElementCounts | None = None

    def measure_distances(self, blocks: Blocks) -> FloatArray:
        """Distance of each row to its nearest training rows, shape (n,)."""
        points, rest = self.embedding.project(blocks)
        return neighbour_distances(points, rest, self.points, self.groups, self.neighbours)[:, -1]

    def find_reasons(self, materials: Sequence[Material], distances: FloatArray) -> tuple[str, ...]:
        """Reason why each material is outside the domain; empty within it.

        Args:
            materials: n materials.
            distances: shape (n,), as `measure_distances` gives them.
        """
        return tuple(
            self._find_reason(material, float(distance))
            for material, distance in zip(materials, distances, strict=True)
        )

    def _find_reason(self, material: Material, distance: float) -> str:
        reasons = []
        elements = list_elements(material)
        unknown = sorted(elements - self.elements)
        if unknown:
            reasons.append(f"no training row holds {', '.join(unknown)}")
        anion = find_main_anion(material)
        count = self.anion_groups.get(anion, 0)
        if count < self.least_anion_groups:
            reasons.append(
                f"mostly {anion or 'metals'}, as {count} training group{'s' if count != 1 else ''} of the "
                f"{self.least_anion_groups} that are needed"
            )
        if self.counts and (words := self.counts.find_reason(len(elements))):
            reasons.append(words)
        if distance > self.limit:
            reasons.append(
                f"farther from the training rows than {INSIDE_SHARE:.0%} of left-out rows "
                f"(distance {distance:.3g}, limit {self.limit:.3g})"
            )
        return "; ".join(reasons)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, for an artifact."""
        return {
            "centre": self.embedding.centre,
            "spread": self.embedding.spread,
            "weight": self.embedding.weight,
            "axes": self.embedding.axes.astype(np.float32),
            "points": self.points.astype(np.float32),
            "groups": self.groups.astype(np.int32),
        }

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON that, with the arrays, rebuilds the domain."""
        return {
            "sets": list(self.embedding.sets),
            "neighbours": self.neighbours,
            "limit": self.limit,
            "typical": self.typical,
            "elements": sorted(self.elements),
            "anion_groups": dict(sorted(self.anion_groups.items())),
            "least_anion_groups": self.least_anion_groups,
            "counts": None if self.counts is None else [self.counts.fewest, self.counts.most],
        }

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a domain from its configuration and arrays."""
        embedding = Embedding(
            tuple(config["sets"]),
            arrays["centre"],
            arrays["spread"],
            arrays["weight"],
            arrays["axes"].astype(np.float64),
        )
        counts = config.get("counts")
        return cls(
            embedding,
            arrays["points"].astype(np.float64),
            arrays["groups"].astype(np.int64),
            int(config["neighbours"]),
            float(config["limit"]),
            float(config["typical"]),
            frozenset(config["elements"]),
            {str(name): int(count) for name, count in config.get("anion_groups", {}).items()},
            int(config.get("least_anion_groups", 0)),
            None if counts is None else ElementCounts(*counts),
        )


def fit_domain(
    metric: Metric,
    blocks: Blocks,
    materials: Sequence[Material],
    groups: IntArray,
    least_anion_groups: int = 0,
) -> Domain:
    """Domain of training rows.

    Args:
        metric: distance, with distances between folds.
        blocks, materials: of the training rows.
        groups: shape (n,), number of the group of each row.
        least_anion_groups: number of groups with the same most abundant nonmetal that a material needs.
    """
    members: dict[str, set[int]] = {}
    for material, group in zip(materials, groups.tolist(), strict=True):
        members.setdefault(find_main_anion(material), set()).add(group)
    # Single precision, as the artifact has it: a loaded model gives the same distances as the one that was trained.
    axes = metric.embedding.axes.astype(np.float32).astype(np.float64)
    embedding = replace(metric.embedding, axes=axes)
    return Domain(
        embedding=embedding,
        points=embedding.project(blocks)[0].astype(np.float32).astype(np.float64),
        groups=groups,
        neighbours=metric.neighbours,
        limit=float(np.quantile(metric.between, INSIDE_SHARE)),
        typical=float(np.median(metric.between)),
        elements=frozenset[str]().union(*(list_elements(material) for material in materials)),
        anion_groups={name: len(found) for name, found in members.items()},
        least_anion_groups=least_anion_groups,
        counts=count_elements(materials),
    )
