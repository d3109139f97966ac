"""Maximise an acquisition function over a finite space, or by breeding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Genome, genome_key
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction, RoughAcquisition
from invdesign.optimizers.bayesian.frame import LARGE_SPACE, Frame
from invdesign.optimizers.common import draw_operator, operators_by_arity
from invdesign.protocols import Context
from invdesign.rng import Rng

IsNew = Callable[[Genome], bool]

SHORTLIST_SIZE = 2000  # genomes of a finite space kept after a first look at all of them (chosen)
N_GENERATIONS = 12  # bred on one acquisition function (chosen)
CHILDREN_PER_GENERATION = 80  # chosen
N_STARTS = 100  # genomes of the space's own start operators that join the first parents (chosen)
MISSES_PER_CHILD = 3  # failures to breed a new child, per child wanted, before a generation ends (chosen)
TOURNAMENT_SIZE = 3  # chosen


@dataclass
class FiniteSearch:
    """Search of a finite space: judge all genomes once, then a shortlist.

    Every further candidate of an ask is chosen from the shortlist alone.

    Attributes:
        frame: makes inputs of genomes.
        context: of the ask.
        numbers: shape (k,), indices of the shortlisted genomes.
        x: shape (k, d), their inputs.
    """

    frame: Frame
    context: Context
    numbers: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    x: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    def find_best(self, value: AcquisitionFunction, new: IsNew) -> Genome | None:
        """Return the new genome of highest value, or None if none is left.

        Args:
            value: acquisition function.
            new: True for a genome that may be proposed.
        """
        if not len(self.numbers):
            self._shortlist_genomes(value, new)
        finite = self.frame.finite
        assert finite is not None
        values = value.evaluate(self.x)
        for row in np.argsort(-values, kind="stable").tolist():
            genome = finite.genome(int(self.numbers[row]))
            if new(genome):
                return genome
        return None

    def _shortlist_genomes(self, value: AcquisitionFunction, new: IsNew) -> None:
        """Shortlist the new genomes of highest value."""
        finite = self.frame.finite
        assert finite is not None
        # Up to as many genomes as the history has may rank before the new ones.
        wanted = SHORTLIST_SIZE + len(self.context.history)
        large = len(finite) > LARGE_SPACE
        screen = value.evaluate_rough if large and isinstance(value, RoughAcquisition) else value.evaluate
        numbers, parts, values = [], [], []
        for first, x in self.frame.iterate_blocks(self.context):
            found = screen(x)
            rows = np.argsort(-found, kind="stable")[:wanted]
            numbers.append(first + rows)
            parts.append(x[rows])
            values.append(found[rows])
        order = np.argsort(-np.concatenate(values), kind="stable")[:wanted]
        all_numbers, all_x = np.concatenate(numbers)[order], np.concatenate(parts)[order]
        fresh = [row for row, number in enumerate(all_numbers.tolist()) if new(finite.genome(number))]
        self.numbers, self.x = all_numbers[fresh[:SHORTLIST_SIZE]], all_x[fresh[:SHORTLIST_SIZE]]


def breed_best(
    frame: Frame,
    value: AcquisitionFunction,
    anchors: Sequence[Genome],
    new: IsNew,
    rng: Rng,
    effort: float = 1.0,
) -> Genome | None:
    """Breed genomes by the space's operators; return the best new one.

    Args:
        frame: makes inputs of genomes; its space gives the operators.
        value: acquisition function to maximise.
        anchors: the best trials: parents of the first generation, with genomes of the start operators.
        new: True for a genome that may be proposed.
        rng: for everything random.
        effort: relative number of generations, children and starts.
    """
    brood = _Population(frame, value)
    starts = operators_by_arity(frame.space)[0]
    drawn = (draw_operator(starts, rng)[1].apply((), rng) for _ in range(_scale_count(N_STARTS, effort)))
    brood.add_genomes([*anchors, *(genome for genome in drawn if genome is not None)])
    for _ in range(_scale_count(N_GENERATIONS, effort**0.5)):
        children = brood.breed_children(_scale_count(CHILDREN_PER_GENERATION, effort**0.5), rng)
        if not children:
            break
        brood.add_genomes(children)
    for row in np.argsort(-brood.values, kind="stable").tolist():
        genome: Genome = brood.genomes[row]
        if new(genome):
            return genome
    return None


def _scale_count(count: int, effort: float) -> int:
    """Multiply a count by the effort; at least 1."""
    return max(round(effort * count), 1)


class _Population:
    """Distinct genomes with their acquisition values."""

    def __init__(self, frame: Frame, value: AcquisitionFunction) -> None:
        self.frame = frame
        self.value = value
        self.genomes: list[Genome] = []
        self.values = np.empty(0)
        self.keys: set[str] = set()

    def add_genomes(self, genomes: Sequence[Genome]) -> None:
        """Evaluate and add the `genomes` that are not in the population yet."""
        fresh = {genome_key(genome): genome for genome in genomes}
        fresh = {key: genome for key, genome in fresh.items() if key not in self.keys}
        if not fresh:
            return
        self.keys |= fresh.keys()
        self.genomes += fresh.values()
        values = self.value.evaluate(self.frame.encode_genomes(list(fresh.values())))
        self.values = np.concatenate([self.values, values])

    def breed_children(self, count: int, rng: Rng) -> list[Genome]:
        """Breed up to `count` new children from the best members.

        Args:
            count: children wanted; also the number of parents.
            rng: for operators and tournaments.
        """
        order = np.argsort(-self.values, kind="stable")[:count].tolist()
        operators = operators_by_arity(self.frame.space)
        makers = [arity for arity in operators if 0 < arity <= len(order)]
        found: dict[str, Genome] = {}
        tries = 0
        while makers and len(found) < count and tries < MISSES_PER_CHILD * count:
            tries += 1
            arity = makers[int(rng.random() * len(makers))]
            _, operator = draw_operator(operators[arity], rng)
            places = rng.integers(len(order), size=(TOURNAMENT_SIZE, arity)).min(axis=0)
            child = operator.apply([self.genomes[order[place]] for place in places.tolist()], rng)
            if child is None:
                continue
            key = genome_key(child)
            if key not in self.keys and key not in found:
                found[key] = child
        return list(found.values())
