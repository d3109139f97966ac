"""Inputs of models from genomes, and the trials to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Genome
from invdesign.learning.data import ColumnKind, Inputs
from invdesign.optimizers.common import finite_space, is_training_candidate, operators_by_arity
from invdesign.problem import Merit, Scores
from invdesign.protocols import (
    Context,
    FiniteSpace,
    PreparedSpace,
    SearchSpace,
    VectorSpace,
    descriptors_of,
)
from invdesign.rng import rng_for

# Of a finite space judged whole, unless its features are at hand as those of pools are (chosen)
MOST_LISTED_GENOMES = 20_000
LARGE_SPACE = 100_000  # genomes from which a look at all of them takes minutes (chosen)
GENOMES_PER_BLOCK = 20_000  # chosen
MOST_CACHED_NUMBERS = 4_000_000  # features of a finite space that stay in memory (chosen)
ColumnGroups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Frame:
    """Inputs of the models of a space.

    Attributes:
        space: whose genomes are encoded.
        inputs: description of the columns.
        finite: the space where all of it is judged, else None.
        points: the space where its cube is climbed in, else None; with neither, genomes are bred.
    """

    space: SearchSpace
    inputs: Inputs
    finite: FiniteSpace | None
    points: VectorSpace | None

    def encode_genomes(self, genomes: Sequence[Genome]) -> FloatArray:
        """Inputs (n, d) of `genomes`."""
        if not len(genomes):
            return np.empty((0, len(self.inputs)))
        made = self.space.features(genomes) if self.points is None else self.points.encode(genomes)
        return np.asarray(made, dtype=np.float64)

    def iterate_blocks(self, context: Context) -> Iterator[tuple[int, FloatArray]]:
        """Yield (index of the first, inputs) of all genomes of a finite space, in blocks.

        Args:
            context: its cache keeps the blocks of small spaces.
        """
        assert self.finite is not None
        if len(self.finite) * len(self.inputs) > MOST_CACHED_NUMBERS:
            yield from self.finite.blocks(GENOMES_PER_BLOCK)
            return
        if "bayesian blocks" not in context.cache:
            context.cache["bayesian blocks"] = list(self.finite.blocks(GENOMES_PER_BLOCK))
        yield from cast("list[tuple[int, FloatArray]]", context.cache["bayesian blocks"])


def cached_frame(context: Context, groups: ColumnGroups | None = None) -> Frame:
    """Return the frame of the context's space; kept in its cache.

    Args:
        context: the event.
        groups: names of columns, or of the space's own groups, by group; for additive models.

    Raises:
        ValueError: a group names a column that the space does not have.
    """
    if "bayesian frame" not in context.cache:
        context.cache["bayesian frame"] = make_frame(context.space, groups)
    return cast("Frame", context.cache["bayesian frame"])


def make_frame(space: SearchSpace, groups: ColumnGroups | None = None) -> Frame:
    """Build the frame of a space.

    Args:
        space: any search space.
        groups: names of columns, or of the space's own groups, by group; for additive models.

    Raises:
        ValueError: a group names a column that the space does not have.
    """
    finite = finite_space(space)
    if finite is not None and not isinstance(space, PreparedSpace) and len(finite) > MOST_LISTED_GENOMES:
        finite = None
    if finite is None and isinstance(space, VectorSpace) and (domain := space.domain()).climbable:
        dimensions = domain.dimensions
        names = tuple(item.name for item in dimensions)
        kinds: tuple[ColumnKind, ...] = tuple(
            "category" if item.kind == "categorical" else "number" for item in dimensions
        )
        own = {name: [column] for column, name in enumerate(names)}
        inputs = Inputs(
            names,
            kinds,
            group_columns(names, own, groups),
            cube=True,
            periodic=tuple(column for column, item in enumerate(dimensions) if item.periodic),
        )
        return Frame(space, inputs, None, space)
    found = descriptors_of(space, _count_features(space, finite))
    names = tuple(item.name for item in found)
    # A component per group multiplies the time that a pass over a large pool takes.
    large = finite is not None and len(finite) > LARGE_SPACE
    own = {}
    for column, item in enumerate(found):
        own.setdefault("all" if large else item.group, []).append(column)
    inputs = Inputs(names, tuple(item.kind for item in found), group_columns(names, own, groups))
    return Frame(space, inputs, finite, None)


def _count_features(space: SearchSpace, finite: FiniteSpace | None) -> int:
    """Number of features of the space, from one of its genomes."""
    if finite is not None:
        return int(np.asarray(space.features([finite.genome(0)])).shape[1])
    rng = rng_for(0, 0, "bayesian frame")
    for _, operator in operators_by_arity(space).get(0, []) * 20:
        genome = operator.apply((), rng)
        if genome is not None:
            return int(np.asarray(space.features([genome])).shape[1])
    raise ValueError("the space gives no genome to learn the number of its features from")


def group_columns(
    names: Sequence[str], own: Mapping[str, Sequence[int]], asked: ColumnGroups | None
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Group the columns as asked, and all others as the space groups them.

    Args:
        names: of the columns.
        own: the space's columns by group.
        asked: names of columns or of the space's groups, by group.

    Raises:
        ValueError: a group asked for names neither a column nor a group of the space, or one that another has.
    """
    left = {column: group for group, columns in own.items() for column in columns}
    groups: list[tuple[str, tuple[int, ...]]] = []
    for name, members in (asked or {}).items():
        columns: list[int] = []
        for member in members:
            found = list(own.get(member, ())) or [i for i, column in enumerate(names) if column == member]
            if not found:
                known = ", ".join(dict.fromkeys([*own, *names]))
                raise ValueError(
                    f"group '{name}' names '{member}', which is none of the space's columns: {known:.400}"
                )
            if not set(found) <= left.keys():
                raise ValueError(f"group '{name}' names '{member}', which another group has already")
            for column in found:
                del left[column]
            columns += found
        groups.append((name, tuple(columns)))
    rest: dict[str, list[int]] = {}
    for column, group in sorted(left.items()):
        rest.setdefault(group, []).append(column)
    return (*groups, *((name, tuple(columns)) for name, columns in rest.items()))


@dataclass(frozen=True, eq=False)
class KnownTrials:
    """Trials of an event that the space understands.

    Those made outside the space have the merit of pending ones.

    Attributes:
        ids: shape (n,), of the finished ones, ascending.
        x: shape (n, d), their inputs.
        scores: of them.
        pending: shape (k, d), inputs of those under way.
    """

    ids: IntArray
    x: FloatArray
    scores: Scores
    pending: FloatArray

    @property
    def feasible(self) -> IntArray:
        """Positions of the trials that meet the constraints."""
        return np.flatnonzero(self.scores.merit == Merit.FEASIBLE)


def collect_trials(context: Context, frame: Frame) -> KnownTrials:
    """Collect the finished and pending trials of an event.

    Args:
        context: the event.
        frame: makes inputs of genomes.
    """
    history = context.history
    under_way = set(history.pending())
    # Of a promoted genome the latest trial holds all values of the earlier ones.
    left_out = under_way | set(history.superseded())
    finished = [id for id in range(len(history)) if id not in left_out and is_training_candidate(context, id)]
    pending = [id for id in sorted(under_way) if is_training_candidate(context, id)]
    x = _trial_inputs(context, frame, [*finished, *pending])
    ids = np.array(finished, dtype=np.int64)
    return KnownTrials(ids, x[: len(finished)], history.scores(finished), x[len(finished) :])


def _trial_inputs(context: Context, frame: Frame, ids: Sequence[int]) -> FloatArray:
    """Inputs (n, d) of trials, cached one by one.

    One at a time, so that no digit depends on which trials were asked for together.
    """
    rows = cast("dict[int, FloatArray]", context.cache.setdefault("bayesian inputs", {}))
    for id in ids:
        if id not in rows:
            rows[id] = frame.encode_genomes([context.history.candidate(id).genome])[0]
    return np.array([rows[id] for id in ids]).reshape(len(ids), len(frame.inputs))
