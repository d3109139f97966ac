"""Shared parts of optimizers: drafts of proposals, seeds, and finite spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from invdesign.candidate import SEED, UNASKED, Genome, Json, Proposal, canonical, genome_key
from invdesign.problem import Merit
from invdesign.protocols import (
    Context,
    FiniteSpace,
    InheritingSpace,
    Operator,
    SearchSpace,
    is_finite,
    is_near,
)
from invdesign.rng import Rng, rng_for

State: TypeAlias = dict[str, Any]  # JSON: ids and counters

COUNTABLE = 10_000_000  # larger finite spaces are drawn from, not counted through (chosen)
MAX_TRIES = 100  # draws without a new genome before an optimizer gives up on one proposal (chosen)


class Draft:
    """Proposals of one ask while they are gathered, each new and none twice."""

    def __init__(self, context: Context, n: int) -> None:
        self.context = context
        self.n = n
        self.proposals: list[Proposal] = []
        self._keys: set[str] = set()

    @property
    def missing(self) -> int:
        """Number of proposals still wanted."""
        return self.n - len(self.proposals)

    def would_accept(self, genome: Genome, until: str | None = None) -> bool:
        """True if `genome` could be added to run `until` a stage."""
        return self._accepts_key(genome_key(genome), until)

    def _accepts_key(self, key: str, until: str | None) -> bool:
        return key not in self._keys and self.context.admits(key, until)

    def bar_genomes(self, genomes: Iterable[Genome]) -> None:
        """Refuse these `genomes` from now on: relaxed ones need no second relaxation."""
        self._keys.update(map(genome_key, genomes))

    def add_genome(
        self,
        genome: Genome | None,
        operator: str,
        parents: Iterable[int] = (),
        memo: Json = None,
        until: str | None = None,
    ) -> bool:
        """Add a proposal of `genome` if it is new.

        Args:
            genome: None is not added.
            operator: that made it.
            parents: numbers of its parents.
            memo: the optimizer's own note.
            until: last stage to run; a genome that ended earlier counts as new.

        Returns:
            True if it was added.
        """
        if genome is None:
            return False
        key = genome_key(genome)
        if not self._accepts_key(key, until):
            return False
        self._keys.add(key)
        self.proposals.append(Proposal(genome, tuple(parents), operator, memo, until))
        return True


def operators_by_arity(space: SearchSpace) -> dict[int, list[tuple[str, Operator]]]:
    """Operators of a `space` by arity, as (name, operator), sorted by name."""
    found: dict[int, list[tuple[str, Operator]]] = {}
    for name, operator in sorted(space.operators().items()):
        found.setdefault(operator.arity, []).append((name, operator))
    return found


def draw_operator(operators: Sequence[tuple[str, Operator]], rng: Rng) -> tuple[str, Operator]:
    """Draw one of `operators` by `rng`, each equally often."""
    return operators[int(rng.random() * len(operators))]


def finite_space(space: SearchSpace) -> FiniteSpace | None:
    """The `space` if its genomes can be counted through, else None."""
    return space if is_finite(space) and len(space) <= COUNTABLE else None


def propose_seeds(draft: Draft, position: int) -> int:
    """Propose the user's seeds from `position` on, into a `draft`.

    Returns the position to go on with.
    """
    seeds = draft.context.seeds
    while draft.missing and position < len(seeds):
        draft.add_genome(cast("Genome", canonical(seeds[position])), SEED)
        position += 1
    return position


def propose_unasked(draft: Draft, space: FiniteSpace, position: int) -> int:
    """Propose unasked genomes of a finite space, at random without replacement.

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
    """Random permutation of `size` indices, kept in the cache.

    It takes 4 bytes each, and 0.1 s to make for ten million.
    """
    name = f"order of {size} genomes"
    if name not in context.cache:
        indices = np.arange(size, dtype=np.int32)
        rng_for(context.seed, 0, name).shuffle(indices)
        context.cache[name] = indices
    return cast("NDArray[np.int32]", context.cache[name])


def propose_started(draft: Draft, rng: Rng) -> None:
    """Propose genomes from start operators into a `draft`.

    It ends after `MAX_TRIES` draws by `rng` in a row that gave nothing new.
    """
    starts = operators_by_arity(draft.context.space)[0]
    failures = 0
    while draft.missing and failures < MAX_TRIES:
        name, operator = draw_operator(starts, rng)
        failures = 0 if draft.add_genome(operator.apply((), rng), name) else failures + 1


def inherited_genome(context: Context, id: int) -> Genome | None:
    """Genome that children of trial `id` inherit: the relaxed one, else the one that was asked.

    None where the trial was relaxed and its structure has no genome: it breeds nothing.
    """
    history = context.history
    relaxed = history.relaxed_genome(id)
    if relaxed is not None:
        return relaxed
    if not isinstance(context.space, InheritingSpace):
        return history.candidate(id).genome
    trial = history.trial(id)
    return trial.genome if set(trial.structures).isdisjoint(context.space.inherits_from) else None


def inherited_genomes(draft: Draft, ids: Iterable[int]) -> list[Genome]:
    """Genomes that children of the trials `ids` inherit, without trials that breed nothing.

    The `draft` then refuses the relaxed ones among them.
    """
    found = [(id, genome) for id in ids if (genome := inherited_genome(draft.context, id)) is not None]
    if isinstance(draft.context.space, InheritingSpace):
        history = draft.context.history
        draft.bar_genomes(genome for id, genome in found if genome is not history.candidate(id).genome)
    return [genome for _, genome in found]


def is_training_candidate(context: Context, id: int) -> bool:
    """True if models learn from candidate `id`.

    They do not learn from malformed genomes, nor from those far outside the space of the `context`.
    """
    candidate = context.history.candidate(id)
    if candidate.outside:
        return is_near(context.space, candidate.genome)
    return not is_malformed(context, id)


def is_malformed(context: Context, id: int) -> bool:
    """True if the genome of candidate `id` may be unknown to the space.

    That is a seed by the user that the space of the `context` did not build.
    """
    if context.history.candidate(id).proposal.operator != SEED:
        return False
    return bool(context.history.scores([id]).merit[0] in {Merit.INFEASIBLE, Merit.PENDING})
