"""Breeding of the genetic algorithm: operators, parents and recorded descent."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, cast

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, Json
from invdesign.optimizers.common import inherited_genome
from invdesign.optimizers.rates import match_probabilities
from invdesign.optimizers.vectors import (
    CENTRAL_OPERATORS,
    MIN_PARENTS,
    OPERATORS,
    Move,
    Points,
    Steps,
    movable_dimensions,
)
from invdesign.periodic import periodic_mask
from invdesign.protocols import Context, InheritingSpace, Operator, RecognisingSpace, SearchSpace, VectorSpace
from invdesign.rng import Rng

CACHE_ENTRIES = 1000  # entries of a cache, and more for a larger population (chosen)
# Of crossover: what operators on the unit cube are set to at most where there are several objectives.
MAX_VECTOR_SHARE = 1 / 3
MUTATION_PROBABILITY = 0.5  # probability that a child of the space's crossover is mutated, too (chosen)
MAX_PARENTS = (
    20  # recorded of one child at most: descent through many virtual generations stays readable (chosen)
)


@dataclass(frozen=True, slots=True)
class Offspring:
    """A bred genome, or an individual to breed from.

    Attributes:
        genome: canonical genome of the space.
        operator: name of the operator that made it; empty where that does not matter.
        parents: numbers of the asked candidates it descends from, the one it competes with first.
        id: number of the candidate where it was asked; None where it is only an idea.
        memo: what the operator notes for the day it succeeds.
    """

    genome: Genome
    operator: str = ""
    parents: tuple[int, ...] = ()
    id: int | None = None
    memo: Json = None


Encode = Callable[[Sequence[Offspring]], FloatArray]


class OperatorKit:
    """Operators of a space: its own, and those on the unit cube.

    Args:
        vectors: whether operators on the unit cube are used.
        single: whether there is one objective; with several, operators on the unit cube find fronts less often
            than the space's own do, and one that searches around the middle of the population none at all.
    """

    def __init__(self, space: SearchSpace, *, vectors: bool = True, single: bool = True) -> None:
        self.space = space
        self.own: dict[str, Operator] = dict(sorted(space.operators().items()))
        dimensions = movable_dimensions(space) if vectors else ()
        self.single = single
        useful = [name for name in OPERATORS if single or name not in CENTRAL_OPERATORS]
        self.on_vectors = [name for name in useful if name not in self.own] if dimensions else []
        self.categorical = np.array([item.kind == "categorical" for item in dimensions], dtype=np.bool_)
        self.periodic = periodic_mask(dimensions)
        self.starts = [name for name, operator in self.own.items() if operator.arity == 0]
        self.weights = {name: float(getattr(operator, "share", 1.0)) for name, operator in self.own.items()}
        # Relaxation changes a crystal enough (chosen).
        relaxed = isinstance(space, InheritingSpace)
        self.mutates = not relaxed and any(operator.arity == 1 for operator in self.own.values())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Operators that need parents."""
        return (*(name for name, operator in self.own.items() if operator.arity > 0), *self.on_vectors)

    def encode_members(self, members: Sequence[Offspring]) -> FloatArray:
        """Encode `members` on the unit cube, shape (n, d)."""
        return cast("VectorSpace", self.space).encode([member.genome for member in members])

    def parents_needed(self, name: str) -> int:
        """Number of parents that the operator `name` needs."""
        return self.own[name].arity if name in self.own else MIN_PARENTS

    def operator_shares(self, crossover: float, parents: int) -> dict[str, float]:
        """Share of each operator, summing to 1.

        Args:
            crossover: share of children with two parents or more.
            parents: number of parents there are.
        """
        usable = [name for name in self.names if self.parents_needed(name) <= parents]
        moving = [name for name in self.on_vectors if name in usable]
        crossing = [name for name in usable if self.parents_needed(name) > 1 and name not in moving]
        mutating = [name for name in usable if self.parents_needed(name) == 1]
        part = len(moving) / max(len(moving) + len(crossing), 1)
        if crossing and not self.single:
            part = min(part, MAX_VECTOR_SHARE)
        groups = (
            (moving, crossover * part),
            (crossing, crossover * (1.0 - part)),
            (mutating, 1.0 - crossover),
        )
        weights = {
            name: share * self.weights.get(name, 1.0) / sum(self.weights.get(other, 1.0) for other in group)
            for group, share in groups
            for name in group
        }
        total = sum(weights.values())
        if total == 0.0:  # of the kind that is wanted there is none
            return dict.fromkeys(usable, 1.0 / max(len(usable), 1))
        return {name: weights[name] / total for name in usable}


class BreedingPool:
    """Individuals to breed from, best first."""

    def __init__(self, members: Sequence[Offspring], kit: OperatorKit, encode: Encode | None = None) -> None:
        self.members = members
        self._kit = kit
        self._encode = encode or kit.encode_members

    @cached_property
    def points(self) -> Points:
        """Members on the unit cube, encoded when first needed."""
        return Points(self._encode(self.members), self._kit.categorical, self._kit.periodic)

    def select_mates(self, count: int, size: int, rng: Rng) -> list[int]:
        """Select different winners of tournaments.

        Args:
            count: number of winners.
            size: individuals drawn per tournament; the best of them wins.
            rng: for the draws.
        """
        found: list[int] = []
        while len(found) < count:
            winner = int(min(rng.random(size).tolist()) * (len(self.members) - len(found)))
            for taken in sorted(found):
                winner += winner >= taken
            found.append(winner)
        return found


class Breeder:
    """Breeds children: operators by their shares, parents by tournaments.

    Args:
        kit: operators of the space.
        crossover: share of children with two parents or more.
        tournament: individuals a parent must win against, itself included.
        credit: mean reward of late, by operator; None uses the shares as they are set.
        steps: how far operators on vectors go.
    """

    def __init__(
        self,
        kit: OperatorKit,
        crossover: float,
        tournament: int,
        credit: Mapping[str, float] | None,
        steps: Steps,
    ) -> None:
        self.kit = kit
        self.crossover = crossover
        self.tournament = tournament
        self.credit = credit
        self.steps = steps
        self._pool: BreedingPool | None = None
        self._wheels: dict[int, tuple[list[str], list[float]]] = {}

    def breed_child(self, members: Sequence[Offspring], rng: Rng) -> Offspring | None:
        """Breed one child of `members` (best first) by a random operator.

        Args:
            members: individuals to breed from.
            rng: for the draws.

        Returns:
            None if the operator found none.
        """
        pool = self.pool_of(members)
        return self.make_child(self.draw_operator(len(members), rng), pool, rng)

    def pool_of(self, members: Sequence[Offspring]) -> BreedingPool:
        """Pool of `members`, kept as long as it is the same sequence.

        The sequence must not change meanwhile.
        """
        if self._pool is None or self._pool.members is not members:
            self._pool = BreedingPool(members, self.kit)
        return self._pool

    def draw_operator(self, parents: int, rng: Rng) -> str:
        """Draw an operator by its share; a start operator if no other fits.

        Args:
            parents: number of parents there are.
            rng: for the draw.
        """
        names, ends = self._cumulated_shares(parents)
        return names[min(bisect(ends, rng.random() * ends[-1]), len(names) - 1)]

    def _cumulated_shares(self, parents: int) -> tuple[list[str], list[float]]:
        """Operators for that many parents, with cumulated shares."""
        if parents not in self._wheels:
            found = self.kit.operator_shares(self.crossover, parents)
            if not found:  # starts, of which a few are no evidence
                whole = sum(self.kit.weights[name] for name in self.kit.starts)
                found = {name: self.kit.weights[name] / whole for name in self.kit.starts}
            if self.credit is not None:
                found = match_probabilities(found, self.credit)
            self._wheels[parents] = (list(found), list(accumulate(found.values())))
        return self._wheels[parents]

    def make_child(self, name: str, pool: BreedingPool, rng: Rng) -> Offspring | None:
        """Make a child by the operator `name`; None if it finds none.

        Args:
            name: of the operator.
            pool: individuals to breed from.
            rng: for the draws.
        """
        return self.make_children([name], pool, rng)[0]

    def make_children(self, names: Sequence[str], pool: BreedingPool, rng: Rng) -> list[Offspring | None]:
        """Make one child by each operator in `names`; None where one finds none.

        Args:
            names: of the operators.
            pool: individuals to breed from.
            rng: for the draws.
        """
        moves = {
            number: self._move_points(name, pool, rng)
            for number, name in enumerate(names)
            if name not in self.kit.own
        }
        found: list[Offspring | None] = [
            None if number in moves else self._vary_genomes(name, pool, rng)
            for number, name in enumerate(names)
        ]
        if moves:  # decoded together: a space may be much faster with many points than with one
            x = np.array([move.x for move in moves.values()])
            genomes = cast("VectorSpace", self.kit.space).decode(x)
            for (number, move), genome in zip(moves.items(), genomes, strict=True):
                parents = recorded_parents(pool.members, move.parents)
                found[number] = Offspring(genome, names[number], parents, memo=move.memo)
        return found

    def _vary_genomes(self, name: str, pool: BreedingPool, rng: Rng) -> Offspring | None:
        """Make a child by an operator of the space."""
        operator = self.kit.own[name]
        rows = pool.select_mates(operator.arity, self.tournament, rng) if operator.arity else []
        genome = operator.apply([pool.members[row].genome for row in rows], rng)
        if genome is not None and len(rows) > 1 and self._draw_mutation(rng):
            genome = self.kit.own[self.draw_operator(1, rng)].apply([genome], rng) or genome
        return None if genome is None else Offspring(genome, name, recorded_parents(pool.members, rows))

    def _draw_mutation(self, rng: Rng) -> bool:
        """Draw whether a child of a crossover is mutated, too.

        It never is where the user wants crossover alone.
        """
        return self.kit.mutates and self.crossover < 1.0 and rng.random() < MUTATION_PROBABILITY

    def _move_points(self, name: str, pool: BreedingPool, rng: Rng) -> Move:
        """Make a move by an operator on the unit cube."""
        return OPERATORS[name](pool.points, self.steps, int(rng.random() * len(pool.members)), rng)


def recorded_parents(members: Sequence[Offspring], rows: Sequence[int]) -> tuple[int, ...]:
    """Numbers of the asked candidates that a child descends from, each once.

    Args:
        members: individuals of the pool.
        rows: positions of the child's parents.
    """
    found: dict[int, None] = {}
    for row in rows:
        member = members[row]
        found.update(dict.fromkeys(member.parents if member.id is None else (member.id,)))
    return tuple(found)[:MAX_PARENTS]


def cached_kit(context: Context, *, vectors: bool) -> OperatorKit:
    """Operators for the context's space, kept in its cache.

    Args:
        context: of the run.
        vectors: true to use operators on the unit cube.
    """
    name = f"genetic kit, vectors {vectors}"
    if name not in context.cache:
        context.cache[name] = OperatorKit(
            context.space, vectors=vectors, single=context.problem.n_values == 1
        )
    return cast("OperatorKit", context.cache[name])


class MemberCache:
    """Genomes, points and features of recent members, in the context's cache.

    Most members stay from event to event.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._genomes = self._cached_table("genomes")
        self._members = self._cached_table("members")
        self._points = self._cached_table("points")
        self._features = self._cached_table("features")
        self._fingerprints = self._cached_table("fingerprints")
        self._tables = (self._genomes, self._members, self._points, self._features, self._fingerprints)

    def _cached_table(self, name: str) -> dict[int, Any]:
        return cast("dict[int, Any]", self._context.cache.setdefault(f"genetic {name}", {}))

    def find_breeding(self, ids: Sequence[int]) -> list[int]:
        """Select the trials of `ids` that have a genome to inherit."""
        return [id for id in ids if self._load_genome(id) is not None]

    def _load_genome(self, id: int) -> Genome | None:
        """Genome that children of trial `id` inherit, or None.

        Where it has changed, everything kept of the trial is dropped.
        """
        genome = inherited_genome(self._context, id)
        if len(self._genomes) > CACHE_ENTRIES:
            for table in self._tables:
                table.clear()
        kept = self._genomes.get(id)
        if kept is not genome and kept != genome:
            for table in self._tables:
                table.pop(id, None)
        self._genomes[id] = genome
        return genome

    def load_members(self, ids: Sequence[int]) -> list[Offspring]:
        """Individuals of the trials `ids` that have a genome to inherit."""
        genomes = {id: genome for id in ids if (genome := self._load_genome(id)) is not None}
        return _look_up(
            self._members, list(genomes), lambda new: [Offspring(genomes[id], id=id) for id in new]
        )

    def load_fingerprints(self, ids: Sequence[int]) -> FloatArray:
        """Fingerprints of the trials `ids`, which have genomes to inherit, shape (n, d)."""
        space = cast("RecognisingSpace", self._context.space)
        members = {member.id: member.genome for member in self.load_members(ids)}
        rows = _look_up(self._fingerprints, ids, lambda new: space.fingerprints([members[id] for id in new]))
        return np.array(rows)

    def encode_members(self, members: Sequence[Offspring]) -> FloatArray:
        """Encode asked `members` on the unit cube, shape (n, d)."""
        space = cast("VectorSpace", self._context.space)
        ids = [cast("int", member.id) for member in members]
        genomes = {id: member.genome for id, member in zip(ids, members, strict=True)}
        rows = _look_up(self._points, ids, lambda new: space.encode([genomes[id] for id in new]))
        return np.array(rows)

    def load_features(self, ids: Sequence[int]) -> FloatArray:
        """Features of the trials `ids`, shape (n, d).

        Those that breed nothing have the features of what was asked.
        """
        space, history = self._context.space, self._context.history
        genomes = {id: self._load_genome(id) or history.candidate(id).genome for id in ids}
        rows = _look_up(self._features, ids, lambda new: space.features([genomes[id] for id in new]))
        return np.array(rows)


def _look_up(
    table: dict[int, Any], ids: Sequence[int], made: Callable[[list[int]], Iterable[Any]]
) -> list[Any]:
    """Look up entries of `table`, making those it lacks.

    All entries are dropped once they are too many.
    """
    lacking = [id for id in dict.fromkeys(ids) if id not in table]
    if lacking:
        if len(table) > max(CACHE_ENTRIES, 4 * len(ids)):
            table.clear()
            lacking = list(dict.fromkeys(ids))
        table.update(zip(lacking, made(lacking), strict=True))
    return [table[id] for id in ids]
