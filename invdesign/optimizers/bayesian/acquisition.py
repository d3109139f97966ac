"""Acquisition functions: what evaluating one candidate is worth, by the models of its properties.

Candidates of one ask are chosen one after the other, each under the models that believe the earlier ones and all that
is pending to come out as predicted; so a single candidate's value is all there is to compute, at every place where it
can be computed: on a million rows of a pool, on the children of crystals, and with gradients in the unit cube.

Source:
    Ginsbourger, Le Riche & Carraro, in Computational Intelligence in Expensive Optimization Problems (2010), 131
    (the believer); Ament et al., Adv. Neural Inf. Process. Syst. 36, 20577 (2023) (logarithms and their smoothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.safe_math import log_fatplus, logmeanexp, logsumexp
from gpytorch.distributions import MultivariateNormal
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.optimizers.bayesian.contracts import Regressor
from invdesign.optimizers.bayesian.goals import DEVIATION, Goals

Measure = Literal["improvement", "hypervolume", "bound", "sample", "feasible", "curiosity"]

ALWAYS = frozenset({"bound", "sample", "curiosity"})  # measures that need nothing to compare with
BLOCK = 16_384  # candidates at a time
SAMPLES = 64  # quasi-random samples of the properties
TRADE = 0.1  # of what is lost in other objectives, in their spreads, that an end of the front must be worth
MARGIN = 0.1  # of the front's extent, by which the reference lies behind it
TAU = 1e-3  # smoothing of max(0, x), of values that spread over about 1


class Chance(Protocol):
    """A model of how likely an evaluation succeeds."""

    def probability(self, x: FloatArray) -> FloatArray: ...
    def chance(self, x: FloatArray) -> FloatArray: ...
    def log_chance(self, x: Tensor) -> Tensor: ...


class _Predicted(Model):
    """Means and standard deviations that are known, as a model: its inputs (..., 1, 2) are the two numbers."""

    @property
    def num_outputs(self) -> int:
        return 1

    def posterior(self, X: Tensor, *_: Any, **__: Any) -> GPyTorchPosterior:  # noqa: N803 - BoTorch's name
        variance = DiagLinearOperator(X[..., 1].square())
        return GPyTorchPosterior(MultivariateNormal(X[..., 0], variance))


@dataclass(frozen=True, eq=False)
class Outlook:
    """The models at one event: of every property, and of success.

    Attributes:
        regressors: by property.
        chances: models of success; their product counts.
    """

    regressors: Mapping[str, Regressor]
    chances: tuple[Chance, ...] = ()

    @property
    def differentiable(self) -> bool:
        return all(regressor.differentiable for regressor in self.regressors.values())

    def predicted(
        self, names: Sequence[str], x: FloatArray, *, single: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations (q, P) of some properties at x (q, d)."""
        found = [self.regressors[name].predict(x, single=single) for name in names]
        return np.stack([mean for mean, _ in found], axis=1), np.stack([width for _, width in found], axis=1)

    def marginals(self, names: Sequence[str], x: Tensor) -> tuple[Tensor, Tensor]:
        """The same of x (q, d), with gradients."""
        posteriors = [self._models[name].posterior(x.unsqueeze(-2)) for name in names]
        mean = torch.stack([posterior.mean[..., 0, 0] for posterior in posteriors], dim=-1)
        variance = torch.stack([posterior.variance[..., 0, 0] for posterior in posteriors], dim=-1)
        return mean, variance.clamp_min(1e-30).sqrt()

    @cached_property
    def _models(self) -> dict[str, Any]:
        return {name: regressor.model() for name, regressor in self.regressors.items()}

    def conditioned(self, x: FloatArray) -> Outlook:
        """The outlook that believes candidates (k, d) to come out as predicted."""
        if not len(x):
            return self
        found = {name: regressor.conditioned(x) for name, regressor in self.regressors.items()}
        return Outlook(found, self.chances)

    def probability(self, x: FloatArray) -> FloatArray:
        """Probability of success at x (q, d), shape (q,)."""
        found: FloatArray = np.prod([np.ones(len(x)), *(m.probability(x) for m in self.chances)], axis=0)
        return found

    def log_chance(self, x: FloatArray) -> FloatArray:
        """Logarithm of the weight that the chance of success gives a candidate, at x (q, d), shape (q,)."""
        total = np.zeros(len(x))
        for model in self.chances:
            total += np.log(np.maximum(model.chance(x), 1e-300))
        return total


def inferred_reference(values: FloatArray) -> FloatArray:
    """A reference point (m,) for maximised values (n, m), somewhat below the worst that a good trade-off accepts.

    The best value of one objective counts only as far as it does not cost much in the others: a point that gains next to
    nothing in one and loses all in another would pull the reference away, and the search after it, to the ends of the
    front.

    Source:
        Ishibuchi et al., Evol. Comput. 26, 411 (2018) (a tenth of the range); Miettinen, Nonlinear Multiobjective
        Optimization (1999), section 2.4.2 (estimates of the nadir point and their trouble with such points).
    """
    others = values.sum(axis=1, keepdims=True) - values
    ends = np.argmax(values + TRADE * others / max(values.shape[1] - 1, 1), axis=0)
    nadir, ideal = values[ends].min(axis=0), values.max(axis=0)
    extent = ideal - nadir
    margin = MARGIN * np.where(extent > 0.0, extent, 1.0)
    reference: FloatArray = nadir - margin
    return reference


@dataclass(frozen=True)
class Reached:
    """What has been reached, in the form of `Goals.values`.

    Attributes:
        values: shape (n, m), of the trials that meet the constraints; n may be 0.
        reference: shape (m,), the user's reference point; None infers one.
    """

    values: FloatArray
    reference: FloatArray | None = None


class Marginal:
    """The value of a candidate by the marginal distributions of its properties.

    Args:
        outlook: the models, conditioned on what is pending.
        goals: what is wanted.
        reached: what is there; what is pending counts with its predicted values.
        measure: `improvement` (log EI), `hypervolume` (log EHVI), `bound` (UCB), `sample` (posterior mean of a
            drawn function), `feasible` (chance that constraints hold), `curiosity` (what is not known).
        beta: standard deviations of the upper confidence bound.
        seed: of the quasi-random samples.
        samples: how many of them.
    """

    def __init__(
        self,
        outlook: Outlook,
        goals: Goals,
        reached: Reached,
        measure: Measure,
        *,
        beta: float = 2.0,
        seed: int = 0,
        samples: int = SAMPLES,
    ) -> None:
        self.outlook = outlook
        self.goals = goals
        self.reached = reached
        self.measure = measure if len(reached.values) or measure in ALWAYS else "feasible"
        self.beta = beta
        self.seed = seed
        self.samples = samples

    @property
    def differentiable(self) -> bool:
        return self.outlook.differentiable

    def flat(self, x: FloatArray) -> FloatArray:
        return self._judged(x, single=False)

    def screen(self, x: FloatArray) -> FloatArray:
        """`flat` in single precision: a first look at many candidates."""
        return self._judged(x, single=True)

    def _judged(self, x: FloatArray, *, single: bool) -> FloatArray:
        found = np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), BLOCK):
                part = x[first : first + BLOCK]
                mean, deviation = self.outlook.predicted(self.goals.names, part, single=single)
                value = self.of(torch.as_tensor(mean), torch.as_tensor(deviation))
                found[first : first + BLOCK] = value.numpy() + self.outlook.log_chance(part)
        return np.nan_to_num(found, nan=-np.inf)

    def tensor(self, x: Tensor) -> Tensor:
        value = self.of(*self.outlook.marginals(self.goals.names, x))
        for model in self.outlook.chances:
            value = value + model.log_chance(x)
        return value

    def of(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """The value at marginals (q, P), without the chance of success: shape (q,)."""
        deviation = deviation.clamp_min(DEVIATION)
        found: Tensor = getattr(self, f"_{self.measure}")(mean, deviation)
        if self.measure == "feasible" or not self.goals.problem.constraints:
            return found
        return found + self.goals.log_feasible(mean, deviation)

    # The measures.

    def _feasible(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Nothing feasible is known: what most probably is; ties go to what is least known."""
        curious = 1e-3 * torch.log1p(deviation.sum(dim=-1))
        return self.goals.log_feasible(mean, deviation) + curious

    def _curiosity(self, mean: Tensor, deviation: Tensor) -> Tensor:  # noqa: ARG002 - all means are alike
        return deviation.log().mean(dim=-1)

    def _improvement(self, mean: Tensor, deviation: Tensor) -> Tensor:
        best = float(self.reached.values.max())
        if not (self.goals.linear and self.goals.single):
            gain = self.goals.values(self._samples(mean, deviation))[..., 0] - best
            return logmeanexp(log_fatplus(gain, tau=TAU), dim=0)
        values = self.goals.values(mean)[..., 0]
        scale = float(self.goals.scale[0])
        pairs = torch.stack([values, deviation[:, 0] / scale], dim=-1).unsqueeze(-2)
        value: Tensor = LogExpectedImprovement(_Predicted(), best_f=best)(pairs)
        return value

    def _hypervolume(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Expected gain of hypervolume, by cells that no known point dominates.

        Source:
            Daulton, Balandat & Bakshy, Adv. Neural Inf. Process. Syst. 33, 9851 (2020), for one candidate.
        """
        values = self.goals.values(self._samples(mean, deviation))  # (S, q, m)
        lower, upper = self._cells
        reach = log_fatplus(values.unsqueeze(-2) - lower, tau=TAU)
        length = (upper - lower).clamp_max(1e10).log()
        log_volume = torch.minimum(reach, length).sum(dim=-1)  # (S, q, cells)
        return logmeanexp(logsumexp(log_volume, dim=-1), dim=0)

    def _bound(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Upper confidence bound, as a logarithm over a floor so that chances can weigh it.

        Source:
            Srinivas et al., IEEE Trans. Inf. Theory 58, 3250 (2012); Wilson et al., arXiv:1712.00424 (by samples).
        """
        if self.goals.linear and self.goals.single:
            bound = self.goals.values(mean)[..., 0] + self.beta * deviation[:, 0] / float(self.goals.scale[0])
        else:
            samples = self.goals.values(self._samples(mean, deviation))[..., 0]
            middle = samples.mean(dim=0)
            bound = middle + self.beta * np.sqrt(np.pi / 2.0) * (samples - middle).abs().mean(dim=0)
        floor = float(np.median(self.reached.values)) if len(self.reached.values) else 0.0
        return log_fatplus(bound - floor, tau=1.0)

    def _sample(self, mean: Tensor, deviation: Tensor) -> Tensor:  # noqa: ARG002 - a function that was drawn
        values = self.goals.values(mean)
        if values.shape[-1] > 1 and len(self.reached.values):
            lower, upper = self._cells
            sides = torch.minimum(values.unsqueeze(-2), upper) - lower
            gain = sides.clamp_min(0.0).prod(dim=-1).sum(dim=-1)
            # Where nothing is gained, the nearer to the front the better.
            return torch.where(gain > 0.0, gain, -1.0 + 0.1 * values.sum(dim=-1).tanh())
        return values.sum(dim=-1)

    def _samples(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Shape (S, q, P): the same quasi-random normals for every candidate."""
        return mean + deviation * self._normals[:, None, :]

    @cached_property
    def _normals(self) -> Tensor:
        engine = NormalQMCEngine(d=len(self.goals.names), seed=self.seed % 2**31)
        drawn = torch.empty(self.samples, len(self.goals.names), dtype=torch.float64)
        engine.draw(self.samples, out=drawn, dtype=torch.float64)
        return drawn

    @cached_property
    def _cells(self) -> tuple[Tensor, Tensor]:
        """Lower and upper corners (cells, m) of the region that no known point dominates."""
        values = torch.as_tensor(self.reached.values)
        if self.reached.reference is not None:
            reference = torch.as_tensor(self.reached.reference)
        else:
            reference = torch.as_tensor(inferred_reference(self.reached.values))
        partitioning = FastNondominatedPartitioning(ref_point=reference, Y=values)
        lower, upper = partitioning.get_hypercell_bounds()
        return lower, upper
