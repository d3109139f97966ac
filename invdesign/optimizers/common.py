"""What optimizers share: gathering proposals that are new, the user's seeds, and what is left of a finite space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from invdesign.candidate import Genome, Json, Proposal, canonical, genome_key
from invdesign.problem import Merit
from invdesign.protocols import Context, FiniteSpace, Operator, SearchSpace, is_finite, is_near
from invdesign.rng import Rng, rng_for

State: TypeAlias = dict[str, Any]  # JSON: ids and counters

COUNTABLE = 10_000_000  # larger finite spaces are drawn from, not counted through
MAX_TRIES = 100  # draws without a new genome before an optimizer gives up on one proposal
SEED = "seed"  # `Proposal.operator` of a genome the user gave
UNASKED = "unasked"  # `Proposal.operator` of a genome taken from what is left of a finite space


class Draft:
    """The proposals of one ask while they are gathered: each admitted by the context, none twice."""

    def __init__(self, context: Context, n: int) -> None:
        self.context = context
        self.n = n
        self.proposals: list[Proposal] = []
        self._keys: set[str] = set()

    @property
    def missing(self) -> int:
        """How many proposals are still wanted."""
        return self.n - len(self.proposals)

    def would_accept(self, genome: Genome, until: str | None = None) -> bool:
        """Whether `genome` could still be added."""
        key = genome_key(genome)
        return key not in self._keys and self.context.admits(key, until)

    def add_genome(
        self,
        genome: Genome | None,
        operator: str,
        parents: Iterable[int] = (),
        memo: Json = None,
        until: str | None = None,
    ) -> bool:
        """Propose `genome` if it is one, and new or known only from stages before `until`; whether it was."""
        if genome is None or not self.would_accept(genome, until):
            return False
        self._keys.add(genome_key(genome))
        self.proposals.append(Proposal(genome, tuple(parents), operator, memo, until))
        return True


def operators_by_arity(space: SearchSpace) -> dict[int, list[tuple[str, Operator]]]:
    """The space's operators, (name, operator) by arity, in the order of their names."""
    found: dict[int, list[tuple[str, Operator]]] = {}
    for name, operator in sorted(space.operators().items()):
        found.setdefault(operator.arity, []).append((name, operator))
    return found


def draw_operator(operators: Sequence[tuple[str, Operator]], rng: Rng) -> tuple[str, Operator]:
    """Any of `operators`, each equally often."""
    return operators[int(rng.random() * len(operators))]


def finite_space(space: SearchSpace) -> FiniteSpace | None:
    """`space` where its genomes can be counted through, else None."""
    return space if is_finite(space) and len(space) <= COUNTABLE else None


def propose_seeds(draft: Draft, position: int) -> int:
    """Propose the user's genomes from number `position` on; the number to go on with."""
    seeds = draft.context.seeds
    while draft.missing and position < len(seeds):
        draft.add_genome(cast("Genome", canonical(seeds[position])), SEED)
        position += 1
    return position


def propose_unasked(draft: Draft, space: FiniteSpace, position: int) -> int:
    """Propose what was not asked of a finite space, uniformly at random, without replacement.

    The space is walked through in an order that depends on the run's seed alone, so that all there is to
    remember is how far the walk has come, and the last genome is found as fast as the first.

    Args:
        draft: takes the proposals.
        space: the draft's space, countable.
        position: how many genomes of the order are used up; 0 at first.

    Returns:
        The position to go on with; `len(space)` when nothing is left.
    """
    order = _random_order(draft.context, len(space))
    while draft.missing and position < len(order):
        draft.add_genome(space.genome(int(order[position])), UNASKED)
        position += 1
    return position


def _random_order(context: Context, size: int) -> NDArray[np.int32]:
    """A permutation of the `size` indices; 4 bytes each in the cache, 0.1 s to make for ten million."""
    name = f"order of {size} genomes"
    if name not in context.cache:
        indices = np.arange(size, dtype=np.int32)
        rng_for(context.seed, 0, name).shuffle(indices)
        context.cache[name] = indices
    return cast("NDArray[np.int32]", context.cache[name])


def propose_started(draft: Draft, rng: Rng) -> None:
    """Propose genomes from the space's start operators, until `TRIES` draws in a row gave nothing new."""
    starts = operators_by_arity(draft.context.space)[0]
    failures = 0
    while draft.missing and failures < MAX_TRIES:
        name, operator = draw_operator(starts, rng)
        failures = 0 if draft.add_genome(operator.apply((), rng), name) else failures + 1


def is_training_candidate(context: Context, id: int) -> bool:
    """Whether models learn from a candidate: not from a genome that makes no sense, nor one far outside the space."""
    candidate = context.history.candidate(id)
    if candidate.outside:
        return is_near(context.space, candidate.genome)
    return not is_malformed(context, id)


def is_malformed(context: Context, id: int) -> bool:
    """Whether the candidate may be a genome that the space does not know: one the user gave and it did not build."""
    if context.history.candidate(id).proposal.operator != SEED:
        return False
    return bool(context.history.scores([id]).merit[0] in {Merit.INFEASIBLE, Merit.PENDING})
