"""Domain of a model: distance to its training data in its own features, and elements that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from surrogates.regression.blocks import Blocks
from surrogates.regression.material import Material
from surrogates.regression.splits import Fold

NEIGHBOURS = (
    10  # training rows whose mean distance counts: a family that is left out leaves none near (chosen)
)
INSIDE_SHARE = 0.95  # of distances between folds that lie within the domain (chosen)
LARGEST_SCALED = (
    6.0  # standard deviations at which a scaled feature is cut, so that a rare one does not rule (chosen)
)
COMPONENTS = 48  # principal components kept at most, which bounds the artifact (chosen)
NEGLIGIBLE = 1e-9  # relative spread of a column, or share of a component, that is rounding (chosen)
ROWS_AT_ONCE = 2000  # whose distances are held in memory (chosen)


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
    points: FloatArray, rest: FloatArray, training: FloatArray, neighbours: int = NEIGHBOURS
) -> FloatArray:
    """Mean distance of each row to its nearest training rows, shape (q,).

    Args:
        points, rest: shapes (q, p) and (q,), of the rows, as `Embedding.project` gives them.
        training: shape (n, p), points of the training rows.
        neighbours: number of training rows that count, at most n.
    """
    nearest = min(neighbours, len(training))
    found = np.empty(len(points))
    lengths = (training**2).sum(axis=1)
    for start in range(0, len(points), ROWS_AT_ONCE):
        part = points[start : start + ROWS_AT_ONCE]
        squares = (part**2).sum(axis=1)[:, None] + lengths - 2.0 * part @ training.T
        smallest = np.partition(squares, nearest - 1, axis=1)[:, :nearest]
        smallest = np.maximum(smallest, 0.0) + rest[start : start + ROWS_AT_ONCE, None]
        found[start : start + ROWS_AT_ONCE] = np.sqrt(np.sort(smallest, axis=1)).mean(axis=1)
    return found


def distances_between_folds(points: FloatArray, rest: FloatArray, folds: Sequence[Fold]) -> FloatArray:
    """Distance of every row to the training rows of its fold, shape (n,)."""
    found = np.empty(len(points))
    for train, test in folds:
        found[test] = neighbour_distances(points[test], rest[test], points[train])
    return found


def list_elements(material: Material) -> frozenset[str]:
    """Elements of a material, those of its charged composition included."""
    return frozenset(material.composition) | frozenset(material.charged or ())


@dataclass(frozen=True, eq=False)
class Domain:
    """Limits within which a model was judged.

    Attributes:
        embedding: features as coordinates.
        points: shape (n, p), of the training rows.
        limit: distance beyond which a material is outside.
        typical: median distance between folds, as a unit of distance.
        elements: of the training rows.
    """

    embedding: Embedding
    points: FloatArray
    limit: float
    typical: float
    elements: frozenset[str]

    def measure_distances(self, blocks: Blocks) -> FloatArray:
        """Distance of each row to its nearest training rows, shape (n,)."""
        return neighbour_distances(*self.embedding.project(blocks), self.points)

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
        unknown = sorted(list_elements(material) - self.elements)
        if unknown:
            reasons.append(f"no training row holds {', '.join(unknown)}")
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
        }

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON that, with the arrays, rebuilds the domain."""
        return {
            "sets": list(self.embedding.sets),
            "limit": self.limit,
            "typical": self.typical,
            "elements": sorted(self.elements),
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
        return cls(
            embedding,
            arrays["points"].astype(np.float64),
            float(config["limit"]),
            float(config["typical"]),
            frozenset(config["elements"]),
        )


def fit_domain(
    embedding: Embedding, blocks: Blocks, materials: Sequence[Material], between: FloatArray
) -> Domain:
    """Domain of training rows.

    Args:
        embedding: of the features.
        blocks, materials: of the training rows.
        between: shape (n,), distance of each row to those of other folds.
    """
    # Single precision, as the artifact has it: a loaded model gives the same distances as the one that was trained.
    stored = replace(embedding, axes=embedding.axes.astype(np.float32).astype(np.float64))
    points = stored.project(blocks)[0].astype(np.float32).astype(np.float64)
    elements = frozenset[str]().union(*(list_elements(material) for material in materials))
    limit = float(np.quantile(between, INSIDE_SHARE))
    return Domain(stored, points, limit, float(np.median(between)), elements)
