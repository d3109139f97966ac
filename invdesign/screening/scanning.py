"""Scan of one work unit: scores, refusals, a histogram and the best, in a worker process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.candidate import Input, to_json
from invdesign.errors import InvdesignError
from invdesign.problem import Problem
from invdesign.protocols import CompositionScorer, Evaluator, FiniteSpace, Judgement, SearchSpace
from invdesign.registry import FOREIGN_ERRORS
from invdesign.screening.best import Best, Kept, round_scores
from invdesign.screening.streams import CompositionStream, make_input
from invdesign.screening.tiers import Tier, judge_values
from invdesign.spaces.composition.space import CompositionSpace
from invdesign.wording import shorten_text
from invdesign.worker import evaluate_inputs

COMPOSITION = "composition"  # that an evaluator requires
VALUES = 65_536  # scores computed at once, half a megabyte (chosen)
REASON_LENGTH = 200  # characters of a reason (chosen)
MOST_REASONS = 1_000  # counted apart in a unit; the others are counted together (chosen)
OTHER_REASONS = "other reasons"
BINS = 100  # over twice the range of the sample, to be widened to a plain number (chosen)
SAMPLED_SETS = 64  # evenly spaced element sets that set the range of the histogram (chosen)
SAMPLED = 512  # evenly spaced candidates, where they are scored one by one (chosen)


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of a histogram: `number` of equal width from `low`, and one at either end for what lies beyond."""

    low: float
    width: float
    number: int

    def count(self, scores: FloatArray) -> IntArray:
        """Count `scores` (n,) by bin, shape (number + 2,)."""
        places = np.clip((scores - self.low) * (1.0 / self.width), -1.0, float(self.number))
        return np.bincount((places + 1.0).astype(np.int64), minlength=self.number + 2)

    @classmethod
    def around(cls, low: float, high: float) -> Bins:
        """Bins of a plain width, over twice the range from `low` to `high`."""
        span = high - low if high > low else max(abs(low), 1.0) * 1e-3
        width = _find_plain_width(2 * span / BINS)
        start = math.floor((low - span / 2) / width)
        end = math.ceil((high + span / 2) / width)
        return cls(start * width, width, end - start)


def _find_plain_width(least: float) -> float:
    """Smallest 1, 2 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least * (1 - 1e-12))


@dataclass(eq=False)
class Tally:
    """Counts of candidates.

    Attributes:
        seen: number of candidates.
        refused: number and lowest candidate number, by reason.
        histogram: shape (bins + 2,), of the scores of those not refused.
        seconds: time of the workers.
    """

    histogram: IntArray
    seen: int = 0
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0

    def refuse(self, reason: str, number: int, example: int) -> None:
        """Count refused candidates.

        Args:
            reason: in words.
            number: of candidates.
            example: number of one of them.
        """
        if reason not in self.refused and len(self.refused) >= MOST_REASONS:
            reason = OTHER_REASONS
        before, first = self.refused.get(reason, (0, example))
        self.refused[reason] = (before + number, min(first, example))

    def add(self, other: Tally) -> None:
        """Add the counts of another part of the stream."""
        self.histogram = self.histogram + other.histogram
        self.seen += other.seen
        self.seconds += other.seconds
        for reason, (number, example) in other.refused.items():
            self.refuse(reason, number, example)


@dataclass(frozen=True, eq=False)
class UnitResult:
    """Answer to a work unit: its counts, and its candidates that may be among the best."""

    tally: Tally
    kept: Kept


@dataclass(frozen=True)
class Column:
    """Value that is kept for each candidate: a property, as one tier gives it."""

    tier: int
    property: str


def list_columns(tiers: Sequence[Tier]) -> tuple[Column, ...]:
    """Columns of kept values, tier by tier."""
    return tuple(Column(number, name) for number, tier in enumerate(tiers) for name in tier.carried)


@dataclass(frozen=True, eq=False)
class Described:
    """Description of one candidate.

    Attributes:
        amounts: by element; empty without a composition.
        genome: as JSON, where the space numbers given candidates; else empty.
        judgement: of the model; None without one.
    """

    amounts: Mapping[str, float]
    genome: str
    judgement: Judgement | None


def reads_compositions(evaluator: object) -> bool:
    """True if an evaluator reads nothing of a candidate but its composition."""
    return not cast("Evaluator", evaluator).requires - {COMPOSITION}


class Scanner:
    """Scores candidates of a space by the tiers of a screen.

    Args:
        space: of the campaign.
        problem: objectives and constraints.
        tiers: with prepared evaluators.
    """

    def __init__(self, space: SearchSpace, problem: Problem, tiers: Sequence[Tier]) -> None:
        self.space = space
        self.problem = problem
        self.tiers = tuple(tiers)
        self.columns = list_columns(tiers)
        self.stream = CompositionStream(space.compositions) if isinstance(space, CompositionSpace) else None

    def is_fast(self) -> bool:
        """True if the first tier scores whole element sets."""
        scorer = self.tiers[0].evaluator
        if self.stream is None or not isinstance(scorer, CompositionScorer) or not reads_compositions(scorer):
            return False
        allowed = [
            name for name in self.stream.elements if name not in scorer.refuse_elements(self.stream.elements)
        ]
        counts = np.ones((1, 1), dtype=np.int64)
        return scorer.prepare_counts(allowed, counts, self.tiers[0].carried) is not None

    def sample_scores(self, tier: int, kept: Kept | None) -> tuple[float, float]:
        """Least and largest score of a sample, for the bins of the histogram; NaN without any.

        Args:
            tier: number of the tier.
            kept: candidates it scores; None for all.
        """
        scores: list[float] = []
        for found, accepted in self._iterate_sample(tier, kept):
            known = found if accepted is None else found[accepted]
            if len(known):
                scores += [float(known.min()), float(known.max())]
        return (min(scores), max(scores)) if scores else (math.nan, math.nan)

    def _iterate_sample(self, tier: int, kept: Kept | None) -> Iterator[tuple[FloatArray, BoolArray | None]]:
        tally = Tally(np.zeros(1, dtype=np.int64))
        if kept is None and self.is_fast() and self.stream is not None:
            total = self.stream.listed.n_sets
            for number in np.unique(np.linspace(0, total - 1, SAMPLED_SETS).astype(np.int64)).tolist():
                for values, _, _ in self._iterate_fast(number, number + 1, tally):
                    judged = judge_values(self.tiers[0], self.problem, values)
                    yield judged.scores, judged.accepted
                    break  # one block of each
            return
        length = len(kept) if kept is not None else len(self)
        rows = np.unique(np.linspace(0, length - 1, min(SAMPLED, length)).astype(np.int64))
        some = kept.select(rows) if kept is not None else self._start(rows)
        values, known = self._score_listed(tier, some, tally)
        judged = judge_values(self.tiers[tier], self.problem, values, known)
        yield judged.scores, judged.accepted

    def __len__(self) -> int:
        return len(self.stream) if self.stream is not None else self._space_length()

    def _space_length(self) -> int:
        number = self.space.count()
        assert number is not None  # checked when the campaign was read
        return number

    def _start(self, indices: IntArray) -> Kept:
        """Candidates without values."""
        return Kept(np.zeros(len(indices)), indices, np.full((len(indices), len(self.columns)), np.nan))

    def scan_sets(self, first: int, last: int, bins: Bins, most: int, threshold: float) -> UnitResult:
        """Scan all compositions of a range of element sets by the first tier, whole sets at once.

        Args:
            first: number of the first set.
            last: number of the first set that is left out.
            bins: of the histogram.
            most: number of candidates to keep.
            threshold: score that candidates must reach to be kept.
        """
        began = time.perf_counter()
        tally = Tally(np.zeros(bins.number + 2, dtype=np.int64))
        best = Best(most, len(self.columns), threshold)
        for values, starts, width in self._iterate_fast(first, last, tally):
            tally.seen += len(starts) * width

            def number(places: IntArray, starts: IntArray = starts, width: int = width) -> IntArray:
                found: IntArray = starts[places // width] + places % width
                return found

            self._take(0, values, None, number, None, (tally, bins, best))
        tally.seconds = time.perf_counter() - began
        return UnitResult(tally, best.list_kept())

    def _iterate_fast(
        self, first: int, last: int, tally: Tally
    ) -> Iterator[tuple[dict[str, FloatArray], IntArray, int]]:
        """Iterate over blocks of the first tier.

        Yields:
            (values (s m,) by property, number of the first candidate of each set (s,), m).
        """
        stream, scorer = self.stream, self.tiers[0].evaluator
        assert stream is not None and isinstance(scorer, CompositionScorer)  # noqa: PT018 - see `is_fast`
        reasons = scorer.refuse_elements(stream.elements)
        barred = np.array([name in reasons for name in stream.elements])
        for block in stream.iterate_blocks(first, last):
            m = len(block.counts)
            prepared = scorer.prepare_counts(stream.elements, block.counts, self.tiers[0].carried)
            assert prepared is not None  # it was for other counts
            step = max(VALUES // m, 1)
            for start in range(block.first, block.last, step):
                sets = np.arange(start, min(start + step, block.last), dtype=np.int64)
                members = stream.listed.pick_members(block.own, sets)
                starts = block.own.first + sets * block.own.n_vectors + block.row
                lost = barred[members]
                if lost.any():
                    for chosen, begin, own in zip(
                        members.tolist(), starts.tolist(), lost.tolist(), strict=True
                    ):
                        if any(own):
                            name = stream.elements[chosen[own.index(True)]]
                            tally.refuse(reasons[name], m, begin)
                            tally.seen += m
                    members, starts = members[~lost.any(axis=1)], starts[~lost.any(axis=1)]
                if len(members):
                    found = prepared.score_sets(members)
                    yield {name: values.reshape(-1) for name, values in found.items()}, starts, m

    def scan_range(self, first: int, last: int, bins: Bins, most: int, threshold: float) -> UnitResult:
        """Scan candidates numbered from `first` up to `last` by the first tier, listed one by one.

        Args:
            first: number of the first candidate.
            last: number of the first one that is left out.
            bins, most, threshold: as of `scan_sets`.
        """
        return self.scan_kept(0, self._start(np.arange(first, last, dtype=np.int64)), bins, most, threshold)

    def scan_kept(self, tier: int, kept: Kept, bins: Bins, most: int, threshold: float) -> UnitResult:
        """Scan listed candidates.

        Args:
            tier: number of the tier.
            kept: the candidates, with the values of earlier tiers.
            bins, most, threshold: as of `scan_sets`.
        """
        began = time.perf_counter()
        tally = Tally(np.zeros(bins.number + 2, dtype=np.int64), seen=len(kept))
        best = Best(most, len(self.columns), threshold)
        values, known = self._score_listed(tier, kept, tally)
        self._take(tier, values, known, kept.indices.__getitem__, kept.values, (tally, bins, best))
        tally.seconds = time.perf_counter() - began
        return UnitResult(tally, best.list_kept())

    def _take(
        self,
        tier: int,
        values: Mapping[str, FloatArray],
        known: BoolArray | None,
        number: Callable[[IntArray], IntArray],
        earlier: FloatArray | None,
        target: tuple[Tally, Bins, Best],
    ) -> None:
        """Judge n candidates, count them and keep those that may be among the best.

        Args:
            tier: that made the values.
            values: shape (n,), latest values by property.
            known: shape (n,), False for those that were refused and counted before; None for none.
            number: gives the numbers of candidates by position.
            earlier: shape (n, p), kept values of earlier tiers; None for none.
            target: counts, bins of the histogram, and the best.
        """
        tally, bins, best = target
        judged = judge_values(self.tiers[tier], self.problem, values, known)
        for reason, (count, example) in judged.refused.items():
            tally.refuse(reason, count, int(number(np.array([example]))[0]))
        accepted = None if judged.accepted is None else np.flatnonzero(judged.accepted)
        scores = judged.scores if accepted is None else judged.scores[accepted]
        if not len(scores):
            return
        tally.histogram += bins.count(scores)
        chosen = best.find_candidates(scores)
        rows = chosen if accepted is None else accepted[chosen]
        if not len(rows):
            return
        table = np.full((len(rows), len(self.columns)), np.nan) if earlier is None else earlier[rows].copy()
        for place, column in enumerate(self.columns):
            if column.tier == tier:
                table[:, place] = values[column.property][rows]
        best.add(Kept(round_scores(scores[chosen]), number(rows), table))

    def _latest(self, tier: int, kept: Kept) -> dict[str, FloatArray]:
        """Values of the tiers before `tier`, by property; the last one counts."""
        return {
            column.property: kept.values[:, place]
            for place, column in enumerate(self.columns)
            if column.tier < tier
        }

    def _score_listed(
        self, tier: int, kept: Kept, tally: Tally
    ) -> tuple[dict[str, FloatArray], BoolArray | None]:
        """Values of n listed candidates by property, each shape (n,); False (n,) for those refused, and counted."""
        values = self._latest(tier, kept)
        evaluator = self.tiers[tier].evaluator
        lost: dict[int, str] = {}
        if isinstance(evaluator, CompositionScorer) and reads_compositions(evaluator):
            found = self._score_compositions(evaluator, self.tiers[tier].carried, kept.indices, lost)
        else:
            found = self._evaluate(tier, kept, values, lost)
        for row, reason in lost.items():
            tally.refuse(reason, 1, int(kept.indices[row]))
        accepted = None
        if lost:
            accepted = np.ones(len(kept), dtype=np.bool_)
            accepted[list(lost)] = False
        return values | found, accepted

    def list_compositions(self, indices: IntArray, lost: dict[int, str]) -> list[Mapping[str, float]]:
        """Amounts by element of candidates; reasons are added to `lost` by row where there are none."""
        if self.stream is not None:
            return list(self.stream.list_compositions(indices))
        found: list[Mapping[str, float]] = []
        for row, item in enumerate(self._make_inputs(indices, lost)):
            if item is not None and item.design.composition is None:
                lost[row] = "the candidate has no composition"
            own = None if item is None else item.design.composition
            found.append({} if own is None else {str(name): float(n) for name, n in own.as_dict().items()})
        return found

    def _make_inputs(self, indices: IntArray, lost: dict[int, str]) -> list[Input | None]:
        """Inputs of candidates; None where the space refuses, with the reason in `lost` by row."""
        found: list[Input | None] = []
        for row, index in enumerate(indices.tolist()):
            try:
                found.append(make_input(self.space, index))
            except FOREIGN_ERRORS as error:  # a space may raise anything; the candidate carries the cause
                found.append(None)
                lost[row] = f"not built: {_describe_error(error)}"
        return found

    def _score_compositions(
        self, scorer: CompositionScorer, names: Sequence[str], indices: IntArray, lost: dict[int, str]
    ) -> dict[str, FloatArray]:
        compositions = self.list_compositions(indices, lost)
        reasons = scorer.refuse_elements(sorted({name for amounts in compositions for name in amounts}))
        for row, amounts in enumerate(compositions):
            name = next((name for name in amounts if name in reasons), None) if reasons else None
            if name is not None:
                lost.setdefault(row, reasons[name])
        rows = [row for row in range(len(compositions)) if row not in lost]
        values = {name: np.full(len(compositions), np.nan) for name in names}
        _score_by_halves(scorer, compositions, rows, values, lost)
        return values

    def _evaluate(
        self, tier: int, kept: Kept, earlier: Mapping[str, FloatArray], lost: dict[int, str]
    ) -> dict[str, FloatArray]:
        """Values by the evaluator itself, one batch after the other."""
        own = self.tiers[tier]
        needed = [name for name in earlier if name in own.evaluator.requires]
        inputs = [
            (row, replace(item, properties={name: float(earlier[name][row]) for name in needed}))
            for row, item in enumerate(self._make_inputs(kept.indices, lost))
            if item is not None
        ]
        values = {name: np.full(len(kept), np.nan) for name in own.evaluator.provides}
        size = max(own.evaluator.batch.size, 1)
        for first in range(0, len(inputs), size):
            some = inputs[first : first + size]
            for (row, item), answer in zip(
                some, evaluate_inputs(own.evaluator, [item for _, item in some], own.name), strict=True
            ):
                if answer.failure is not None:
                    lost[row] = _clean_reason(f"{own.name} failed: {answer.failure.message}", item)
                for name, value in answer.properties.items():
                    values[name][row] = value
        return values

    def describe(self, tier: int, indices: IntArray) -> list[Described]:
        """Describe candidates for the table: names, formulas and the judgement of the model.

        Args:
            tier: whose model judges.
            indices: numbers of the candidates.
        """
        lost: dict[int, str] = {}
        compositions = self.list_compositions(indices, lost)
        scorer = self.tiers[tier].evaluator
        judgements: Sequence[Judgement | None] = [None] * len(indices)
        if isinstance(scorer, CompositionScorer) and not lost:
            judgements = list(scorer.judge_compositions(compositions))
        genomes = (
            [""] * len(indices)
            if self.stream is not None
            else [to_json(cast("FiniteSpace", self.space).genome(index)) for index in indices.tolist()]
        )
        return [Described(*item) for item in zip(compositions, genomes, judgements, strict=True)]


def _score_by_halves(
    scorer: CompositionScorer,
    compositions: Sequence[Mapping[str, float]],
    rows: list[int],
    values: dict[str, FloatArray],
    lost: dict[int, str],
) -> None:
    """Score compositions in `rows`; where that raises, score the halves, so that one failure stays its own.

    Args:
        scorer: of the compositions.
        compositions: all of them.
        rows: those to score.
        values: shape (n,) by property, filled in place.
        lost: reasons by row, filled in place.
    """
    if not rows:
        return
    try:
        found = scorer.score_compositions([compositions[row] for row in rows], tuple(values))
        for name, column in values.items():
            column[rows] = found[name]
    except FOREIGN_ERRORS as error:  # an evaluator may raise anything; the candidate carries the cause
        if len(rows) == 1:
            lost[rows[0]] = _describe_error(error)
            return
        middle = len(rows) // 2
        for some in (rows[:middle], rows[middle:]):
            _score_by_halves(scorer, compositions, some, values, lost)


def _describe_error(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if isinstance(error, InvdesignError) and text else f"{type(error).__name__}: {text}"
    return shorten_text(text, REASON_LENGTH)


def _clean_reason(text: str, item: Input) -> str:
    """Reason without the formula of the candidate, so that equal reasons are counted together."""
    own = item.design.composition
    for formula in () if own is None else (own.formula.replace(" ", ""), own.reduced_formula):
        text = text.replace(str(formula), "the composition")
    return shorten_text(" ".join(text.split()), REASON_LENGTH)
