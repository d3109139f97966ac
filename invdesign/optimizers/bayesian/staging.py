"""Candidate and stage chosen together: what running a candidate to a stage is worth, per cost.

A cheap stage says something of what the last one would say. How much follows from the models: rho(x), the correlation,
given all that is known, of what an evaluation at a stage would say with the value sought. After it the mean of that
value will have moved by rho(x) times its present standard deviation, so the evaluation is worth an acquisition function
of that much narrower a distribution, measured from the best that is believed so far. What counts in the end are values of
the last stage, so an evaluation there is worth what it gains over the best that was really found. The highest value per
cost wins. A candidate known from an earlier stage competes with new ones, at the cost of what it has not run yet; so one
that is believed best, and was never seen at the last stage, gets there once no cheap evaluation promises more per cost.

However good the cheap stages look, they take no more than about half of the cost: see `fidelity.overdue`.

Source:
    Huang, Allen, Notz & Miller, Struct. Multidiscip. Optim. 32, 369 (2006) (augmented expected improvement: correlation
    and cost); Frazier, Powell & Dayanik, INFORMS J. Comput. 21, 599 (2009) (how far the mean moves is what counts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import PROMOTION, Genome, genome_key
from invdesign.optimizers.bayesian.acquisition import BLOCK, Marginal, Outlook
from invdesign.optimizers.bayesian.contracts import Regressor, Value
from invdesign.optimizers.bayesian.fidelity import Fidelities, overdue
from invdesign.optimizers.bayesian.goals import Goals
from invdesign.optimizers.bayesian.kernels import MEAN
from invdesign.optimizers.bayesian.process import GaussianProcess
from invdesign.optimizers.common import Draft
from invdesign.problem import Merit, Scores

LEAST = 1e-10  # variance left of a value that is known
STILL = 2e-5  # least deviation, of values that spread over about 1: GPyTorch knows no variance below 1e-10
New = Callable[[Genome], bool]
Search = Callable[[Value, New, int], Genome | None]
Inputs = Callable[[Sequence[Genome]], FloatArray]


# What an evaluation at a stage would tell.


def agreement(process: GaussianProcess, x: Tensor, source: int) -> Tensor:
    """Correlation, given the rows, of an evaluation at a source (its noise included) with the value of source 0.

    Its square is the share of the value's uncertainty that the evaluation would settle.

    Args:
        process: the model of a property.
        x: shape (q, d).
        source: where the evaluation would take place.

    Returns:
        Shape (q,), with gradients.
    """
    kernel = process.kernel
    prior = kernel.share(source) * kernel.parameters["scale"][0].sum() + MEAN
    target, other = (process.inverse_factor @ process.cross(x, each) for each in (0, source))
    between = prior - (target * other).sum(dim=0)
    first = (kernel.variance(0) - target.square().sum(dim=0)).clamp_min(LEAST)
    second = (kernel.variance(source) - other.square().sum(dim=0)).clamp_min(LEAST)
    found: Tensor = between / (first * (second + process.evaluation_noise(source))).sqrt()
    return found.clamp(-1.0, 1.0)


def sourced(regressors: Mapping[str, Regressor]) -> bool:
    """Whether all models can say what an evaluation at an earlier stage would tell: Gaussian processes can."""
    return all(isinstance(regressor, GaussianProcess) for regressor in regressors.values())


class StageValue:
    """What running a new candidate to one stage is worth per cost, as a logarithm: a `Value`.

    Args:
        value: the acquisition function of the value sought: for the last stage measured from the best that was
            found, for others from the best that is believed.
        readings: by property in the order of the value's, the source that is read there; None for none.
        cost: of the evaluation.
        exact: whether this is the last stage, whose values are what counts.
    """

    def __init__(self, value: Marginal, readings: Sequence[int | None], cost: float, *, exact: bool) -> None:
        self.value = value
        unconstrained = replace(value.goals.problem, constraints=())
        goals = replace(value.goals, problem=unconstrained)
        self.plain = Marginal(
            value.outlook, goals, value.reached, value.measure, beta=value.beta, seed=value.seed
        )
        self.readings = tuple(readings)
        self.log_cost = float(np.log(cost))
        self.exact = exact

    @property
    def differentiable(self) -> bool:
        return self.value.differentiable

    def flat(self, x: FloatArray) -> FloatArray:
        if self.exact:
            whole: FloatArray = self.value.flat(x) - self.log_cost
            return whole
        outlook, found = self.value.outlook, np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), BLOCK):
                part = x[first : first + BLOCK]
                mean, deviation = map(torch.as_tensor, outlook.predicted(self.value.goals.names, part))
                worth = self._of(torch.as_tensor(part), mean, deviation)
                found[first : first + BLOCK] = worth.numpy() + outlook.log_chance(part)
        return np.nan_to_num(found, nan=-np.inf) - self.log_cost

    def tensor(self, x: Tensor) -> Tensor:
        if self.exact:
            return self.value.tensor(x) - self.log_cost
        outlook = self.value.outlook
        worth = self._of(x, *outlook.marginals(self.value.goals.names, x))
        for model in outlook.chances:
            worth = worth + model.log_chance(x)
        return worth - self.log_cost

    def _of(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """The value at x (q, d) with marginals (q, P), without the chance of success and the cost: shape (q,)."""
        value = self.value
        pairs = zip(value.goals.names, self.readings, strict=True)
        settled = torch.stack([self._settled(name, source, x) for name, source in pairs], dim=-1)
        if value.measure not in {"improvement", "hypervolume", "bound"}:
            return value.of(mean, deviation) + settled.square().mean(dim=-1).clamp_min(LEAST).log()
        least = STILL * float(np.min(value.goals.scale))
        moves = torch.maximum(deviation * settled, torch.full_like(deviation, least))
        # The chance that constraints hold is the same before and after, on average.
        return self.plain.of(mean, moves) + value.goals.log_feasible(mean, deviation)

    def _settled(self, name: str, source: int | None, x: Tensor) -> Tensor:
        """|rho| of a property at x (q, d), shape (q,): 0 where the stage does not say it."""
        if source is None:
            return torch.zeros(len(x), dtype=torch.float64)
        return agreement(cast("GaussianProcess", self.value.outlook.regressors[name]), x, source).abs()


# What is under way, and what may be taken further.


def believing(outlook: Outlook, x: FloatArray, levels: Sequence[int], ladder: Fidelities) -> Outlook:
    """The outlook that believes candidates x (k, d), run to these levels, to come out as predicted."""
    found = dict(outlook.regressors)
    for name in tuple(found):
        readings = [ladder.readings[name][level] for level in levels]
        for source in sorted({reading for reading in readings if reading is not None}):
            chosen = x[[reading == source for reading in readings]]
            found[name] = cast("GaussianProcess", found[name]).conditioned(chosen, source=source)
    return replace(outlook, regressors=found)


@dataclass(frozen=True)
class Seen:
    """Finished candidates and how far they got.

    Attributes:
        ids: shape (k,), their numbers.
        x: shape (k, d), their inputs.
        levels: shape (k,), what they have reached; -1 for none of the fidelities.
    """

    ids: IntArray
    x: FloatArray
    levels: IntArray


@dataclass(frozen=True)
class Choice:
    """A candidate and how far it is to run.

    Attributes:
        x: shape (1, d), its inputs.
        rate: logarithm of its value per cost.
        promotes: number of the trial that it takes further; None for a new candidate.
    """

    genome: Genome
    x: FloatArray
    level: int
    rate: float
    promotes: int | None = None


class Staging:
    """The choice of stages within one ask.

    Args:
        ladder: the fidelities.
        draft: of the ask; what it holds already counts as under way.
        scores: of the finished trials.
        x: shape (n, d), their inputs.
        of: makes inputs of genomes.
    """

    def __init__(self, ladder: Fidelities, draft: Draft, scores: Scores, x: FloatArray, of: Inputs) -> None:
        self.ladder = ladder
        self.draft = draft
        self.of = of
        self.short = self._short(scores, x)
        feasible = np.flatnonzero(scores.merit == Merit.FEASIBLE)
        self.counted = Seen(
            np.concatenate([scores.ids[feasible], self.short.ids]),
            np.vstack([x[feasible], self.short.x]),
            np.concatenate([np.full(len(feasible), ladder.target), self.short.levels]),
        )
        history = draft.context.history
        pending = [history.candidate(id).proposal for id in history.pending()]
        proposals = [*pending, *draft.proposals]
        self.under_way = of([proposal.genome for proposal in proposals])
        self.levels = [ladder.level(proposal.until) for proposal in proposals]
        self.whole = overdue(draft.context, ladder)

    def _short(self, scores: Scores, x: FloatArray) -> Seen:
        context = self.draft.context
        ended = (scores.merit == Merit.VIOLATING) & (scores.depth < self.ladder.depths[-1])
        keys = [context.history.candidate(id).key for id in scores.ids[ended].tolist()]
        latest = [
            context.history.id_of(key) == id for key, id in zip(keys, scores.ids[ended].tolist(), strict=True)
        ]
        rows = np.flatnonzero(ended)[np.array(latest, dtype=bool)]
        levels = [self.ladder.reached(depth) for depth in scores.depth[rows].tolist()]
        return Seen(scores.ids[rows], x[rows], np.array(levels, dtype=np.int64))

    def believing(self, outlook: Outlook) -> Outlook:
        """The outlook that believes all that is under way to come out as predicted, at the stage it runs to."""
        return believing(outlook, self.under_way, self.levels, self.ladder)

    @property
    def at_the_end(self) -> FloatArray:
        """Inputs (k, d) of what is under way to the last stage."""
        return self.under_way[[level == self.ladder.target for level in self.levels]]

    @property
    def anywhere(self) -> FloatArray:
        """Inputs (k, d) of what is under way, and of what stopped early."""
        return np.vstack([self.under_way, self.short.x])

    def promising(self, outlook: Outlook, goals: Goals, most: int) -> list[Genome]:
        """Genomes of the finished candidates that are believed best, whichever stage they were seen at; best first."""
        rows = self.counted
        mean, _ = outlook.predicted(goals.names, rows.x)
        values = goals.values(torch.as_tensor(mean)).numpy()
        order = np.lexsort((-values[:, 0], pareto.ranks(-values)))[:most]
        return [self.draft.context.history.candidate(id).genome for id in rows.ids[order].tolist()]

    def choice(self, found: Marginal, believed: Marginal, search: Search) -> Choice | None:
        """The candidate and stage of highest value per cost; None where nothing is left.

        Args:
            found: the acquisition function, measured from values of the last stage.
            believed: the same, measured from the best that is believed, early stages' candidates included.
            search: finds the new genome of highest value for a level.
        """
        options: list[Choice] = []
        for level in range(self.ladder.target if self.whole else 0, len(self.ladder)):
            exact = level == self.ladder.target
            value = found if exact else believed
            readings = [self.ladder.readings[name][level] for name in value.goals.names]
            judged = StageValue(value, readings, self.ladder.cost(level), exact=exact)
            options += self._new(judged, level, search)
            options += self._promotion(judged, level)
        return max(options, key=lambda option: option.rate) if options else None

    def take(self, choice: Choice, operator: str) -> bool:
        """Propose the choice, made by `operator` where it is new; whether it could be."""
        until = self.ladder.until(choice.level)
        made = operator if choice.promotes is None else PROMOTION
        parents = () if choice.promotes is None else (choice.promotes,)
        if not self.draft.add(choice.genome, made, parents, until=until):
            return False
        self.under_way = np.vstack([self.under_way, choice.x])
        self.levels.append(choice.level)
        self.whole = self.whole and choice.level != self.ladder.target
        return True

    def _new(self, judged: StageValue, level: int, search: Search) -> list[Choice]:
        until, history = self.ladder.until(level), self.draft.context.history

        def new(genome: Genome) -> bool:
            return genome_key(genome) not in history and self.draft.accepts(genome, until)

        genome = search(judged, new, level)
        if genome is None:
            return []
        x = self.of([genome])
        return [Choice(genome, x, level, float(judged.flat(x)[0]))]

    def _promotion(self, judged: StageValue, level: int) -> list[Choice]:
        """The known candidate that is best taken to this level, if there is one."""
        rows = np.flatnonzero(self.short.levels < level)
        if not len(rows):
            return []
        costs = [self.ladder.cost(level, reached) for reached in self.short.levels[rows].tolist()]
        rates = judged.flat(self.short.x[rows]) + judged.log_cost - np.log(costs)
        for place in np.argsort(-rates, kind="stable").tolist():
            row = int(rows[place])
            id = int(self.short.ids[row])
            genome = self.draft.context.history.candidate(id).genome
            if self.draft.accepts(genome, self.ladder.until(level)):
                return [Choice(genome, self.short.x[row : row + 1], level, float(rates[place]), id)]
        return []
