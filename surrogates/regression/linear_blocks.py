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
