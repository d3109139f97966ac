"""Linear models on statistics of elemental properties, evaluated for whole blocks of compositions.

Compositions of one class share their atomic fractions, whatever the elements are. For a set of elements the least and
largest value of a property are constants, the mean is linear in the fractions, and the variance is the sum over pairs
f_i f_j (p_i - p_j)^2: a product of two small matrices. So each composition costs one square root per property.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.charges import element_symbols
from surrogates.regression.members import Member
from surrogates.regression.models.contract import FittedModel
from surrogates.regression.models.linear import LinearModel

STATISTICS_SET, FRACTIONS_SET = "element_statistics", "element_fractions"  # feature sets with a fast form
ROWS_IN_CACHE = (
    4_096  # compositions at a time: 20 properties in doubles take 0.6 MB, of 1 MB of cache; chosen
)


@dataclass(frozen=True, eq=False)
class StatisticsModel:
    """A linear function of elemental statistics and fractions of a composition.

    Attributes:
        elements: e symbols.
        table: shape (e, p), properties of the elements, finite.
        mean, deviation, least, largest: shape (p,), weights of the statistics of each property.
        fractions: shape (e,), weights of the atomic fractions.
        intercept: value where all of these are 0.
    """

    elements: tuple[str, ...]
    table: FloatArray
    mean: FloatArray
    deviation: FloatArray
    least: FloatArray
    largest: FloatArray
    fractions: FloatArray
    intercept: float

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Row of the table by symbol."""
        return {symbol: place for place, symbol in enumerate(self.elements)}

    @cached_property
    def slopes(self) -> FloatArray:
        """Contribution of each element per atomic fraction, shape (e,)."""
        return self.table @ self.mean + self.fractions

    @cached_property
    def spread(self) -> tuple[FloatArray, FloatArray]:
        """Properties whose deviation counts, shape (e, q), and the weights of their deviations, shape (q,)."""
        used = np.flatnonzero(self.deviation)
        return np.ascontiguousarray(self.table[:, used]), np.ascontiguousarray(self.deviation[used])

    def prepare_counts(self, elements: Sequence[str], counts: IntArray) -> StatisticsBlock:
        """Prepare a block.

        Args:
            elements: symbols that sets of elements are taken from.
            counts: shape (m, k), atoms of each element.
        """
        return StatisticsBlock(self, np.array([self.places.get(name, -1) for name in elements]), counts)

    def score(self, compositions: Sequence[Mapping[str, float]]) -> FloatArray:
        """Value of each composition, shape (n,), one after the other: the plain form of the blocks."""
        return np.array([self._score_one(composition) for composition in compositions])

    def _score_one(self, composition: Mapping[str, float]) -> float:
        rows = self.table[[self.places[symbol] for symbol in composition]]
        amounts = np.array(list(composition.values()), dtype=np.float64)
        shares = amounts / amounts.sum()
        mean = shares @ rows
        deviation = np.sqrt(shares @ (rows - mean) ** 2)
        own = shares @ self.fractions[[self.places[symbol] for symbol in composition]]
        value = (
            mean @ self.mean
            + deviation @ self.deviation
            + rows.min(0) @ self.least
            + rows.max(0) @ self.largest
        )
        return float(value + own + self.intercept)


class StatisticsBlock:
    """Compositions with the same counts of atoms, for any set of elements."""

    def __init__(self, model: StatisticsModel, places: IntArray, counts: IntArray) -> None:
        self._model = model
        self._places = places  # row of the table by place in the list of elements
        shares = counts / counts.sum(axis=1, keepdims=True)
        self._first, self._second = np.triu_indices(counts.shape[1], 1)
        self._shares = np.ascontiguousarray(shares.T)  # (k, m)
        self._pairs = np.ascontiguousarray((shares[:, self._first] * shares[:, self._second]).T)
        width = min(len(counts), ROWS_IN_CACHE)
        self._sets = max(ROWS_IN_CACHE // max(width, 1), 1)
        self._width = width
        self._room = np.empty(self._sets * len(model.spread[1]) * width)

    def score(self, members: IntArray) -> FloatArray:
        """Value of every composition of s element sets, shape (s, m).

        Args:
            members: shape (s, k), places in the list of elements.
        """
        model = self._model
        rows = self._places[members]
        found: FloatArray = model.slopes[rows] @ self._shares
        values = model.table[rows]  # (s, k, p)
        found += (values.min(axis=1) @ model.least + values.max(axis=1) @ model.largest + model.intercept)[
            :, None
        ]
        table, weights = model.spread
        if len(weights) and len(self._first):
            self._add_deviations(table[rows], weights, found)
        return found

    def _add_deviations(self, values: FloatArray, weights: FloatArray, found: FloatArray) -> None:
        """Add weighted deviations.

        Args:
            values: shape (s, k, q), properties of the elements of each set.
            weights: shape (q,), of the deviations.
            found: shape (s, m), added to in place.
        """
        squares = (values[:, self._first] - values[:, self._second]) ** 2  # (s, pairs, q)
        squares = np.ascontiguousarray(squares.transpose(0, 2, 1))  # (s, q, pairs)
        n, q, n_pairs = squares.shape
        for left in range(0, found.shape[1], self._width):
            pairs = self._pairs[:, left : left + self._width]
            width = pairs.shape[1]
            for first in range(0, n, self._sets):
                some = squares[first : first + self._sets]
                room = self._room[: len(some) * q * width].reshape(len(some) * q, width)
                np.matmul(some.reshape(-1, n_pairs), pairs, out=room)
                np.sqrt(room, out=room)
                found[first : first + len(some), left : left + width] += weights @ room.reshape(
                    len(some), q, width
                )


def find_statistics_model(members: Sequence[Member]) -> StatisticsModel | None:
    """Write the mean of members as one linear function of statistics and fractions; None if it is no such function.

    Each member must be linear in its features, without power transforms or compressed values, and these the sets
    `element_statistics` and `element_fractions`.
    """
    from surrogates.regression.features.composition import HEAVIEST_ELEMENT, property_table
    from surrogates.regression.features.registry import find_feature_set

    table = property_table()[1:]
    n_properties = table.shape[1]
    statistics, fractions, intercept = np.zeros(4 * n_properties), np.zeros(HEAVIEST_ELEMENT), 0.0
    for member in members:
        found = _find_slopes(member.model)
        if found is None or not set(member.candidate.features) <= {STATISTICS_SET, FRACTIONS_SET}:
            return None
        slopes, offset = found
        intercept += member.weight * offset
        start = 0
        for name in member.candidate.features:
            end = start + len(find_feature_set(name).columns)
            target = statistics if name == STATISTICS_SET else fractions
            target += member.weight * slopes[start:end]
            start = end
    mean, deviation, least, largest = (np.ascontiguousarray(part) for part in statistics.reshape(-1, 4).T)
    symbols = tuple(element_symbols()[:HEAVIEST_ELEMENT])
    return StatisticsModel(symbols, table, mean, deviation, least, largest, fractions, intercept)


def _find_slopes(model: FittedModel) -> tuple[FloatArray, float] | None:
    """Slope of each feature (d,), and the value where all are 0; None if the model is not linear."""
    if not isinstance(model, LinearModel) or len(model.inputs.powers):
        return None
    outputs, inputs = model.outputs, model.inputs
    if outputs.logistic or outputs.scale.compressed:
        return None
    scaled = model.weights / inputs.spread
    k = len(inputs.kept)
    slopes = np.zeros(len(inputs.fill))
    slopes[inputs.kept] = scaled[:k]  # compositions lack no feature, so that indicators are 0
    scale = outputs.scale
    slope = scale.deviation * scale.width
    score = model.offset - float(scaled @ inputs.centre)
    return slopes * slope, (score * scale.deviation + scale.mean) * scale.width + scale.centre
