"""Pre-screening: many offspring are bred on models of the run's own data, and few of them evaluated.

Where an evaluation is costly, a genetic algorithm spends most of its budget on children that a cheap model would
have refused. The algorithm here runs for some generations on the models alone, offspring of offspring included, and
hands back the children that promise most. Of a small finite space nothing needs to be bred: all of it is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import UNASKED, Genome, Status, genome_key
from invdesign.learning.quick import FittedModel, ModelName, fit_best_model
from invdesign.optimizers.breeding import Offspring
from invdesign.optimizers.common import finite_space, is_training_candidate
from invdesign.optimizers.selection import Region, choose_batch, sort_by_merit
from invdesign.problem import Merit, Problem, Scores
from invdesign.protocols import Context, FiniteSpace
from invdesign.rng import Rng
from invdesign.settings import Frozen

Breed = Callable[[Sequence[Offspring], Rng], Offspring | None]

WINDOW = 2000  # newest trials that training rows are taken from: what an ask costs must not grow with the run (chosen)
REFITS = 20  # refits while the number of finished trials doubles, about (chosen)
RARE = 0.02  # least chance of success: a model is never surer than that (chosen)
OPTIMISM = (0.0, 0.5, 1.0, 2.0)  # standard deviations in favour of a candidate, taken in turn (chosen)
TINY = 1e-12  # of a violation (chosen)
HOPELESS = 2  # failures to breed a new child, per child wanted, before a generation ends (chosen)
WHOLE = 2000  # genomes: a space of so few is judged whole, without breeding (chosen)


class Prescreen(Frozen):
    """Pre-screen: models of the properties choose the offspring to evaluate.

    Every property that the objectives and constraints read gets the model that predicts its left-out values best;
    every trial that has the property teaches it. Trials that failed, were refused or gated teach a model of success.
    The fewer of the values the models can predict, the more offspring go unscreened.

    Source:
        Jin, Swarm Evol. Comput. 1, 61 (2011), section 3; selection by hypervolume as in Emmerich, Beume & Naujoks,
        Proc. EMO 2005, 62.
    """

    least: int = Field(default=10, ge=6)
    """Finished trials with a property before the property is modelled; until then nothing is screened."""
    explore: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of offspring that are never screened, so that a wrong model cannot hold the search."""
    generations: int = Field(default=15, ge=1)
    """Generations bred on the models for every ask."""
    children: int = Field(default=60, ge=4)
    """Children in each of them."""
    rows: int = Field(default=300, ge=20)
    """Trials the models learn from at most: the best, and the newest."""
    models: tuple[ModelName, ...] = Field(
        default=("gaussian_process", "cubic", "quadratic", "linear", "trees"), strict=False, min_length=1
    )
    """Models to choose from."""

    def choose_offspring(
        self, context: Context, parents: Sequence[Offspring], breed: Breed, n: int, rng: Rng
    ) -> list[Offspring]:
        """Choose at most `n` new offspring, the most promising first.

        The answer is a function of the history, the arguments and the state of `rng`; the cache only saves work.

        Args:
            context: space, problem and history.
            parents: individuals to breed from.
            breed: makes one child from a pool, whose members may themselves be children.
            n: how many are wanted.
            rng: for everything random, `breed` included.

        Returns:
            Fewer than n where some are to go unscreened; none while there is too little data.
        """
        surrogate = self._cached_surrogate(context)
        if surrogate is None or not parents:
            return []
        # By chance, so that shares come out right for one offspring at a time, too.
        wanted = int(n * (1.0 - self.explore) * surrogate.share + rng.random())
        if wanted == 0:
            return []
        finite = finite_space(context.space)
        if finite is not None and len(finite) <= WHOLE:
            return _Brood(context, surrogate, _whole_space(context, finite)).pick_members(min(wanted, n))
        brood = _Brood(context, surrogate, _Members.from_offspring(context, parents), bred=True)
        for generation in range(self.generations):
            found = brood.grow_generation(breed, self.children, OPTIMISM[generation % len(OPTIMISM)], rng)
            if found < self.children // 4:  # nearly all that the pool can breed is there
                break
        return brood.pick_members(min(wanted, n))

    def _cached_surrogate(self, context: Context) -> Surrogate | None:
        """Surrogate as of the last refit; None if there is too little data."""
        pending = context.history.pending()
        finished = len(context.history) - len(pending)
        step = 1 << max((finished // REFITS).bit_length() - 1, 0)
        upto = finished - finished % step
        ids = np.setdiff1d(np.arange(max(upto - WINDOW, 0), upto), pending)
        if len(ids) < self.least:
            return None
        data = _TrainingData.from_history(context, ids, self.rows)
        name = f"prescreen {self.model_dump_json()}"
        known = cast("tuple[str, Surrogate | None] | None", context.cache.get(name))
        digest = data.hash_rows()
        if known is None or known[0] != digest:
            known = (digest, self._fit_surrogate(context, data))
            context.cache[name] = known
        return known[1]

    def _fit_surrogate(self, context: Context, data: _TrainingData) -> Surrogate | None:
        problem = context.problem
        rows = {name: np.flatnonzero(np.isfinite(column)) for name, column in data.columns.items()}
        known = {name for name, found in rows.items() if len(found) >= self.least}
        if not {objective.property for objective in problem.objectives} <= known:
            return None
        # A constraint of which next to nothing is known yet cannot tell one child from another.
        constraints = tuple(item for item in problem.constraints if item.property in known)
        problem = replace(problem, constraints=constraints)
        x = compute_features(context, [context.history.candidate(int(id)).genome for id in data.ids])
        models = {
            name: fit_best_model(x[rows[name]], data.columns[name][rows[name]], self.models)
            for name in problem.properties
        }
        ended, succeeded = data.ended, data.succeeded[data.ended]
        varied = len(succeeded) > 0 and np.ptp(succeeded) > 0
        success = fit_best_model(x[ended], succeeded, self.models) if varied else None
        base = float(succeeded.mean()) if len(succeeded) else 1.0
        return Surrogate(problem, models, success, base, x, data.scores)


def compute_features(context: Context, genomes: Sequence[Genome]) -> FloatArray:
    """Features that models learn from, shape (n, d).

    Args:
        context: of the run.
        genomes: n of its space.
    """
    return np.asarray(context.space.features(genomes), dtype=np.float64)


@dataclass(frozen=True)
class _TrainingData:
    """Training data of the models: n trials, oldest first."""

    ids: IntArray
    columns: dict[str, FloatArray]
    scores: Scores

    @classmethod
    def from_history(cls, context: Context, ids: IntArray, most: int) -> _TrainingData:
        """Choose `most` of the finished trials `ids`: half the best, half the newest.

        Args:
            context: of the run.
            ids: numbers of finished trials.
            most: number of rows.
        """
        history = context.history
        if len(ids) > most:
            order = history.scores(ids.tolist()).order()
            newest = np.sort(order[most // 2 :])[::-1]
            ids = ids[np.sort(np.concatenate([order[: most // 2], newest[: most - most // 2]]))]
        ids = ids[[is_training_candidate(context, id) for id in ids.tolist()]]
        columns = {name: history.column(name)[ids] for name in context.problem.properties}
        return cls(ids, columns, history.scores(ids.tolist()))

    @property
    def ended(self) -> IntArray:
        """Positions of trials with an informative end.

        Withdrawn trials, and those made outside the space, have none.
        """
        return np.flatnonzero(self.scores.merit != Merit.PENDING)

    @property
    def succeeded(self) -> FloatArray:
        """1 where a trial was complete, else 0, shape (n,)."""
        return (self.scores.merit <= Merit.VIOLATING).astype(np.float64)

    def hash_rows(self) -> str:
        """Hash that changes when a refit is due: with rows, values or standing."""
        parts = [self.ids, self.scores.merit, *self.columns.values()]
        return hashlib.blake2b(b"|".join(part.tobytes() for part in parts), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Surrogate:
    """Models of a problem's properties and of success, with their training rows.

    Attributes:
        models: by property.
        success: chance of becoming a complete trial; None where all rows were complete, or none.
        base: share of the rows that were complete.
        x: shape (n, d), features of the rows.
        scores: of the rows.
    """

    problem: Problem
    models: dict[str, FittedModel]
    success: FittedModel | None
    base: float
    x: FloatArray
    scores: Scores

    @property
    def share(self) -> float:
        """Share of offspring worth screening.

        All where the mean trust in the objectives is a half or more.
        """
        trust = [self.models[objective.property].trust for objective in self.problem.objectives]
        return min(1.0, 2.0 * float(np.mean(trust)))

    def success_probability(self, x: FloatArray) -> FloatArray:
        """Probability of success at features `x` (q, d), shape (q,).

        It is drawn to the mean as far as the model is not trusted.
        """
        if self.success is None:
            return np.ones(len(x))
        said = np.clip(self.success.predict(x)[0], RARE, 1.0)
        return self.base + self.success.trust * (said - self.base)

    def predict_all(self, x: FloatArray) -> Prediction:
        """Predict all properties and success at features `x` (q, d)."""
        return Prediction(
            {name: model.predict(x) for name, model in self.models.items()}, self.success_probability(x)
        )

    def score_predictions(self, prediction: Prediction, optimism: float) -> Scores:
        """Score predictions optimistically, and worse where failure threatens.

        Objectives need not grow or fall with their properties, so each property is shifted both ways and its gain is added. A
        failure counts as a typical trial's value: no likely failure is worth a place among the best.

        Args:
            prediction: of q candidates.
            optimism: standard deviations by which each property is shifted.
        """
        sober = self._score_columns({name: mean for name, (mean, _) in prediction.columns.items()})
        values, violation = sober.values, sober.violation
        for name in self.models if optimism > 0.0 else ():
            up, down = (self._score_shifted(prediction, name, sign * optimism) for sign in (1.0, -1.0))
            values = values + np.minimum(np.minimum(up.values, down.values) - sober.values, 0.0)
            better = np.minimum(up.violation, down.violation)
            violation = violation + np.minimum(better - sober.violation, 0.0)
        judged = np.isfinite(self.scores.values).all(axis=1)
        if self.success is not None and judged.any():
            p = prediction.chance[:, None]
            typical = np.median(self.scores.values[judged], axis=0)
            values = np.where(values < typical, p * values + (1.0 - p) * typical, values)
        violation = np.where(
            violation > TINY, violation, 0.0
        )  # sums of gains do not cancel to the last digit
        merit = np.where(violation > 0.0, int(Merit.VIOLATING), int(Merit.FEASIBLE))
        return replace(sober, values=values, violation=violation, merit=merit)

    def _score_shifted(self, prediction: Prediction, name: str, shift: float) -> Scores:
        columns = {name: mean for name, (mean, _) in prediction.columns.items()}
        mean, deviation = prediction.columns[name]
        return self._score_columns({**columns, name: mean + shift * deviation})

    def _score_columns(self, columns: Mapping[str, FloatArray]) -> Scores:
        n = len(next(iter(columns.values())))
        complete = np.full(n, int(Status.COMPLETE))
        return self.problem.score_trials(
            np.arange(n), columns.__getitem__, complete, np.zeros(n, dtype=np.int64)
        )


@dataclass(frozen=True)
class Prediction:
    """Means and standard deviations (q,) by property, and success probabilities (q,)."""

    columns: dict[str, tuple[FloatArray, FloatArray]]
    chance: FloatArray

    def join_predictions(self, other: Prediction) -> Prediction:
        """Append the predictions of `other`."""
        columns = {
            name: (np.append(mean, other.columns[name][0]), np.append(deviation, other.columns[name][1]))
            for name, (mean, deviation) in self.columns.items()
        }
        return Prediction(columns, np.append(self.chance, other.chance))

    def select_rows(self, index: IntArray) -> Prediction:
        """Predictions at the rows `index`."""
        columns = {name: (mean[index], deviation[index]) for name, (mean, deviation) in self.columns.items()}
        return Prediction(columns, self.chance[index])


@dataclass(frozen=True)
class _Members:
    """Different individuals with their keys and features (n, d)."""

    items: tuple[Offspring, ...]
    keys: tuple[str, ...]
    x: FloatArray

    @classmethod
    def from_offspring(cls, context: Context, items: Sequence[Offspring]) -> _Members:
        """Collect `items`, each genome once.

        Args:
            context: of the run.
            items: individuals.
        """
        unique = {genome_key(item.genome): item for item in items}
        x = compute_features(context, [item.genome for item in unique.values()])
        return cls(tuple(unique.values()), tuple(unique), x)


def _whole_space(context: Context, space: FiniteSpace) -> _Members:
    """All genomes of a small space, kept in the context's cache."""
    name = "prescreen whole space"
    if name not in context.cache:
        items = [Offspring(space.genome(number), UNASKED) for number in range(len(space))]
        context.cache[name] = _Members.from_offspring(context, items)
    return cast("_Members", context.cache[name])


class _Brood:
    """Offspring judged by the models in one ask, and the pool that breeds."""

    def __init__(
        self, context: Context, surrogate: Surrogate, members: _Members, *, bred: bool = False
    ) -> None:
        self.context = context
        # The first members are then trials, whose relaxed genomes are no proposals.
        self.first = len(members.items) if bred else 0
        self.surrogate = surrogate
        self.members = list(members.items)
        self.keys = list(members.keys)
        self.known = set(self.keys)
        self.x = members.x
        self.predictions = surrogate.predict_all(self.x)
        self.pool = np.arange(len(self.members))

    def grow_generation(self, breed: Breed, size: int, optimism: float, rng: Rng) -> int:
        """Breed one generation; the best of pool and children are the next pool.

        Args:
            breed: makes one child from a pool.
            size: number of children, and of the pool.
            optimism: standard deviations in favour of a candidate.
            rng: for the draws.

        Returns:
            Number of new children.
        """
        pool = [self.members[index] for index in self.pool.tolist()]
        children: list[Offspring] = []
        misses = 0
        while len(children) < size and misses < HOPELESS * size:
            child = breed(pool, rng)
            key = None if child is None else genome_key(child.genome)
            if child is None or key is None or key in self.known:
                misses += 1
                continue
            self.known.add(key)
            self.keys.append(key)
            children.append(child)
        if not children:
            return 0
        x = compute_features(self.context, [child.genome for child in children])
        new = np.arange(len(self.members), len(self.members) + len(children))
        self.members += children
        self.x = np.vstack([self.x, x])
        self.predictions = self.predictions.join_predictions(self.surrogate.predict_all(x))
        candidates = np.concatenate([self.pool, new])
        scores = self.surrogate.score_predictions(self.predictions.select_rows(candidates), optimism)
        self.pool = candidates[sort_by_merit(scores)[:size]]
        return len(children)

    def pick_members(self, n: int) -> list[Offspring]:
        """Pick at most `n` members that were never asked, the most promising first."""
        history, surrogate = self.context.history, self.surrogate
        bred = range(self.first, len(self.keys))
        new = np.array([row for row in bred if self.keys[row] not in history], dtype=np.int64)
        if not len(new):
            return []
        predictions = self.predictions.select_rows(new)
        # One candidate at a time, or several: the attitudes take turns over the whole run.
        turn = len(history) % len(OPTIMISM)
        attitudes = [
            surrogate.score_predictions(predictions, each) for each in (*OPTIMISM[turn:], *OPTIMISM[:turn])
        ]
        taken, taken_x = self._predict_pending()
        extent = np.ptp(surrogate.x, axis=0)
        scale = np.where(extent > 0.0, extent, 1.0)
        seen = Region(surrogate.scores, surrogate.x / scale)
        options = [Region(scores, self.x[new] / scale) for scores in attitudes]
        rows = choose_batch(options, seen, taken, taken_x / scale, n)
        return [self.members[new[row]] for row in rows]

    def _predict_pending(self) -> tuple[FloatArray, FloatArray]:
        """Predicted values (k, m) and features (l, d) of pending trials.

        Values are of those predicted feasible, features of all. Their places are taken.
        """
        history = self.context.history
        pending = [id for id in history.pending() if is_training_candidate(self.context, id)]
        if not pending:
            return np.empty((0, self.surrogate.scores.values.shape[1])), np.empty((0, self.x.shape[1]))
        x = compute_features(self.context, [history.candidate(id).genome for id in pending])
        scores = self.surrogate.score_predictions(self.surrogate.predict_all(x), 0.0)
        return scores.values[scores.merit == Merit.FEASIBLE], x
