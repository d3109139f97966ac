"""Choose a candidate and its stage together, by value per cost.

An evaluation at a cheap stage tells something about the value at the last stage. How much follows from the models:
rho(x) is the correlation, given the training rows, of an evaluation at the stage with the value sought. After the
evaluation the mean of that value will have moved by rho(x) times its present standard deviation. So the evaluation is
worth an acquisition function of that much narrower a distribution, measured from the best value believed so far. In the
end only values of the last stage count, so an evaluation there is worth its gain over the best value really found. The
highest value per cost wins. A candidate known from an earlier stage competes with new ones, at the cost of the stages it
has not run yet. So one that is believed best and was never seen at the last stage gets there once no cheap evaluation
promises more per cost.

However good the cheap stages look, they take no more than about half of the cost: see `fidelity.is_whole_due`.

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
from invdesign.learning.contracts import Regressor
from invdesign.learning.gaussian.kernels import MEAN_VARIANCE
from invdesign.learning.gaussian.process import GaussianProcess
from invdesign.optimizers.bayesian.acquisition import CANDIDATES_PER_BLOCK, MarginalAcquisition, ModelSet
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction
from invdesign.optimizers.bayesian.fidelity import Fidelities, is_whole_due
from invdesign.optimizers.bayesian.goals import Goals
from invdesign.optimizers.common import Draft, inherited_genomes
from invdesign.problem import Merit, Scores

VARIANCE_FLOOR = 1e-10  # of a known value (chosen)
DEVIATION_FLOOR = 2e-5  # for values that spread over about 1: GPyTorch raises variances to 1e-10
IsNew = Callable[[Genome], bool]
SearchLevel = Callable[[AcquisitionFunction, IsNew, int], Genome | None]
MakeInputs = Callable[[Sequence[Genome]], FloatArray]


# Value of an evaluation at a stage.


def source_correlation(process: GaussianProcess, x: Tensor, source: int) -> Tensor:
    """Posterior correlation of an evaluation at a source with the value of source 0.

    The evaluation includes its noise. The square of the correlation is the share of the value's variance that the
    evaluation would remove.

    Args:
        process: the model of a property.
        x: shape (q, d).
        source: of the evaluation.

    Returns:
        Shape (q,), with gradients.
    """
    kernel = process.kernel
    prior = kernel.source_share(source) * kernel.parameters["scale"][0].sum() + MEAN_VARIANCE
    target, other = (process.inverse_factor @ process.cross_covariance(x, each) for each in (0, source))
    between = prior - (target * other).sum(dim=0)
    first = (kernel.prior_variance(0) - target.square().sum(dim=0)).clamp_min(VARIANCE_FLOOR)
    second = (kernel.prior_variance(source) - other.square().sum(dim=0)).clamp_min(VARIANCE_FLOOR)
    found: Tensor = between / (first * (second + process.evaluation_noise(source))).sqrt()
    return found.clamp(-1.0, 1.0)


def can_relate_sources(regressors: Mapping[str, Regressor]) -> bool:
    """True if all `regressors` are Gaussian processes, which relate stages."""
    return all(isinstance(regressor, GaussianProcess) for regressor in regressors.values())


class StageAcquisition:
    """Log value per cost of running a new candidate to one stage.

    Args:
        value: the acquisition function of the value sought: for the last stage measured from the best found value,
            for others from the best believed value.
        readings: by property in the order of the value's, the source that is read there; None for none.
        cost: of the evaluation.
        exact: True for the last stage, whose values are what counts.
    """

    def __init__(
        self, value: MarginalAcquisition, readings: Sequence[int | None], cost: float, *, exact: bool
    ) -> None:
        self.value = value
        unconstrained = replace(value.goals.problem, constraints=())
        goals = replace(value.goals, problem=unconstrained)
        self.unconstrained = MarginalAcquisition(
            value.model_set, goals, value.incumbents, value.measure, beta=value.beta, seed=value.seed
        )
        self.readings = tuple(readings)
        self.log_cost = float(np.log(cost))
        self.exact = exact

    @property
    def differentiable(self) -> bool:
        """True if the acquisition function is differentiable."""
        return self.value.differentiable

    def evaluate(self, x: FloatArray) -> FloatArray:
        """Values at `x` (q, d), shape (q,), without gradients, in blocks."""
        if self.exact:
            whole: FloatArray = self.value.evaluate(x) - self.log_cost
            return whole
        model_set, found = self.value.model_set, np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), CANDIDATES_PER_BLOCK):
                part = x[first : first + CANDIDATES_PER_BLOCK]
                mean, deviation = map(torch.as_tensor, model_set.predict(self.value.goals.names, part))
                worth = self._evaluate_marginals(torch.as_tensor(part), mean, deviation)
                found[first : first + CANDIDATES_PER_BLOCK] = worth.numpy() + model_set.log_success_weight(
                    part
                )
        return np.nan_to_num(found, nan=-np.inf) - self.log_cost

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Values at `x` (q, d), shape (q,), with gradients."""
        if self.exact:
            return self.value.evaluate_tensor(x) - self.log_cost
        model_set = self.value.model_set
        worth = self._evaluate_marginals(x, *model_set.predict_with_gradients(self.value.goals.names, x))
        for model in model_set.success_models:
            worth = worth + model.log_success_weight(x)
        return worth - self.log_cost

    def _evaluate_marginals(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Value at x (q, d), shape (q,), before success weight and cost."""
        value = self.value
        pairs = zip(value.goals.names, self.readings, strict=True)
        settled = torch.stack([self._settled_share(name, source, x) for name, source in pairs], dim=-1)
        if value.measure not in {"improvement", "hypervolume", "bound"}:
            return (
                value.evaluate_marginals(mean, deviation)
                + settled.square().mean(dim=-1).clamp_min(VARIANCE_FLOOR).log()
            )
        least = DEVIATION_FLOOR * float(np.min(value.goals.scale))
        moves = torch.maximum(deviation * settled, torch.full_like(deviation, least))
        # On average an evaluation does not change the feasibility probability.
        return self.unconstrained.evaluate_marginals(mean, moves) + value.goals.log_feasibility(
            mean, deviation
        )

    def _settled_share(self, name: str, source: int | None, x: Tensor) -> Tensor:
        """Absolute correlation of a property at x (q, d), shape (q,).

        0 if the stage does not provide the property.
        """
        if source is None:
            return torch.zeros(len(x), dtype=torch.float64)
        return source_correlation(
            cast("GaussianProcess", self.value.model_set.regressors[name]), x, source
        ).abs()


# Pending candidates and promotions.


def condition_on_stages(
    model_set: ModelSet, x: FloatArray, levels: Sequence[int], ladder: Fidelities
) -> ModelSet:
    """Condition the models on their predictions at candidates, at the stages these run to.

    Args:
        model_set: the models; all Gaussian processes.
        x: shape (k, d), inputs of the candidates.
        levels: k levels they run to.
        ladder: the fidelities.
    """
    found = dict(model_set.regressors)
    for name in tuple(found):
        readings = [ladder.readings[name][level] for level in levels]
        for source in sorted({reading for reading in readings if reading is not None}):
            chosen = x[[reading == source for reading in readings]]
            found[name] = cast("GaussianProcess", found[name]).condition_on(chosen, source=source)
    return replace(model_set, regressors=found)


@dataclass(frozen=True)
class SeenCandidates:
    """Finished candidates with the levels they reached.

    Attributes:
        ids: shape (k,), their numbers.
        x: shape (k, d), their inputs.
        levels: shape (k,), levels reached; -1 for none of the fidelities.
    """

    ids: IntArray
    x: FloatArray
    levels: IntArray


@dataclass(frozen=True)
class StageChoice:
    """Candidate with the level it is to run to.

    Attributes:
        genome: of the candidate.
        x: shape (1, d), its inputs.
        level: to run to.
        rate: logarithm of its value per cost.
        promotes: number of the trial that it takes further; None for a new candidate.
    """

    genome: Genome
    x: FloatArray
    level: int
    rate: float
    promotes: int | None = None


class StageChooser:
    """Choice of candidates and stages within one ask.

    Args:
        ladder: the fidelities.
        draft: of the ask; proposals it holds already count as pending.
        scores: of the finished trials.
        x: shape (n, d), their inputs.
        of: makes inputs of genomes.
    """

    def __init__(
        self, ladder: Fidelities, draft: Draft, scores: Scores, x: FloatArray, of: MakeInputs
    ) -> None:
        self.ladder = ladder
        self.draft = draft
        self.of = of
        self.stopped_early = self._find_stopped_early(scores, x)
        feasible = np.flatnonzero(scores.merit == Merit.FEASIBLE)
        self.finished = SeenCandidates(
            np.concatenate([scores.ids[feasible], self.stopped_early.ids]),
            np.vstack([x[feasible], self.stopped_early.x]),
            np.concatenate([np.full(len(feasible), ladder.target), self.stopped_early.levels]),
        )
        history = draft.context.history
        pending = [history.candidate(id).proposal for id in history.pending()]
        proposals = [*pending, *draft.proposals]
        self.pending_x = of([proposal.genome for proposal in proposals])
        self.pending_levels = [ladder.level_of(proposal.until) for proposal in proposals]
        self.only_whole = is_whole_due(draft.context, ladder)

    def _find_stopped_early(self, scores: Scores, x: FloatArray) -> SeenCandidates:
        """Find finished candidates that stopped before the last stage.

        Of each genome only the latest trial counts.
        """
        context = self.draft.context
        ended = (scores.merit == Merit.VIOLATING) & (scores.depth < self.ladder.depths[-1])
        keys = [context.history.candidate(id).key for id in scores.ids[ended].tolist()]
        latest = [
            context.history.id_of(key) == id for key, id in zip(keys, scores.ids[ended].tolist(), strict=True)
        ]
        rows = np.flatnonzero(ended)[np.array(latest, dtype=bool)]
        levels = [self.ladder.level_at_depth(depth) for depth in scores.depth[rows].tolist()]
        return SeenCandidates(scores.ids[rows], x[rows], np.array(levels, dtype=np.int64))

    def condition_on_pending(self, model_set: ModelSet) -> ModelSet:
        """Condition the models `model_set` on all pending candidates, at their stages."""
        return condition_on_stages(model_set, self.pending_x, self.pending_levels, self.ladder)

    @property
    def pending_whole(self) -> FloatArray:
        """Inputs (k, d) of pending candidates that run to the last stage."""
        return self.pending_x[[level == self.ladder.target for level in self.pending_levels]]

    @property
    def pending_or_stopped(self) -> FloatArray:
        """Inputs (k, d) of pending candidates, and of those that stopped early."""
        return np.vstack([self.pending_x, self.stopped_early.x])

    def rank_finished(self, model_set: ModelSet, goals: Goals, most: int) -> list[Genome]:
        """Rank genomes of finished candidates by predicted values, best first.

        Whichever stage they were seen at.

        Args:
            model_set: the models.
            goals: objectives to rank by.
            most: number of genomes.
        """
        rows = self.finished
        mean, _ = model_set.predict(goals.names, rows.x)
        values = goals.objective_values(torch.as_tensor(mean)).numpy()
        order = np.lexsort((-values[:, 0], pareto.ranks(-values)))[:most]
        return inherited_genomes(self.draft, rows.ids[order].tolist())

    def choose_stage(
        self, found: MarginalAcquisition, believed: MarginalAcquisition, search: SearchLevel
    ) -> StageChoice | None:
        """Choose the candidate and stage of highest value per cost; None if nothing is left.

        Args:
            found: the acquisition function, measured from values of the last stage.
            believed: the same, measured from the best believed value, early stages' candidates included.
            search: finds the new genome of highest value for a level.
        """
        options: list[StageChoice] = []
        for level in range(self.ladder.target if self.only_whole else 0, len(self.ladder)):
            exact = level == self.ladder.target
            value = found if exact else believed
            readings = [self.ladder.readings[name][level] for name in value.goals.names]
            judged = StageAcquisition(value, readings, self.ladder.cost_to_reach(level), exact=exact)
            options += self._best_new(judged, level, search)
            options += self._best_promotion(judged, level)
        return max(options, key=lambda option: option.rate) if options else None

    def propose_choice(self, choice: StageChoice, operator: str) -> bool:
        """Propose the choice; False if the draft refuses it.

        Args:
            choice: candidate and level.
            operator: of a new candidate; a known one is a promotion.
        """
        until = self.ladder.until_stage(choice.level)
        made = operator if choice.promotes is None else PROMOTION
        parents = () if choice.promotes is None else (choice.promotes,)
        if not self.draft.add_genome(choice.genome, made, parents, until=until):
            return False
        self.pending_x = np.vstack([self.pending_x, choice.x])
        self.pending_levels.append(choice.level)
        self.only_whole = self.only_whole and choice.level != self.ladder.target
        return True

    def _best_new(self, judged: StageAcquisition, level: int, search: SearchLevel) -> list[StageChoice]:
        """Best new candidate for a level, if there is one."""
        until, history = self.ladder.until_stage(level), self.draft.context.history

        def is_new(genome: Genome) -> bool:
            """True if the history lacks the genome and the draft accepts it."""
            return genome_key(genome) not in history and self.draft.would_accept(genome, until)

        genome = search(judged, is_new, level)
        if genome is None:
            return []
        x = self.of([genome])
        return [StageChoice(genome, x, level, float(judged.evaluate(x)[0]))]

    def _best_promotion(self, judged: StageAcquisition, level: int) -> list[StageChoice]:
        """Best known candidate to take further to a level, if there is one."""
        rows = np.flatnonzero(self.stopped_early.levels < level)
        if not len(rows):
            return []
        costs = [
            self.ladder.cost_to_reach(level, reached) for reached in self.stopped_early.levels[rows].tolist()
        ]
        rates = judged.evaluate(self.stopped_early.x[rows]) + judged.log_cost - np.log(costs)
        for place in np.argsort(-rates, kind="stable").tolist():
            row = int(rows[place])
            id = int(self.stopped_early.ids[row])
            genome = self.draft.context.history.candidate(id).genome
            if self.draft.would_accept(genome, self.ladder.until_stage(level)):
                return [
                    StageChoice(genome, self.stopped_early.x[row : row + 1], level, float(rates[place]), id)
                ]
        return []
