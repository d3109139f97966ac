"""Acquisition functions over the marginal distributions of modelled properties.

The candidates of one ask are chosen one after the other. Each is chosen under models conditioned on their own
predictions at the earlier ones and at all pending candidates, so only the value of a single candidate is ever
needed. It can be evaluated on a million rows of a pool, on the children of crystals, and with gradients in the
unit cube.

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
from invdesign.learning.contracts import Regressor
from invdesign.optimizers.bayesian.goals import DEVIATION_FLOOR, Goals

Measure = Literal["improvement", "hypervolume", "bound", "sample", "feasible", "curiosity"]

UNREFERENCED_MEASURES = frozenset({"bound", "sample", "curiosity"})  # measures that need no incumbent
CANDIDATES_PER_BLOCK = 16_384  # candidates that are evaluated together (chosen)
N_SAMPLES = 64  # quasi-random samples of the properties (chosen)
# Share of the loss in other objectives, in their spreads, that an extreme point must gain (chosen)
LEAST_TRADE_OFF = 0.1
# Distance of the reference behind the nadir, as a share of the range; Ishibuchi et al. (2018)
REFERENCE_MARGIN = 0.1
SMOOTHING = 1e-3  # of max(0, x), for values that spread over about 1 (chosen)


class SuccessModel(Protocol):
    """Model of the probability that an evaluation succeeds."""

    def predict_probability(self, x: FloatArray) -> FloatArray:
        """Probability of success at `x` (q, d), shape (q,)."""
        ...

    def success_weight(self, x: FloatArray) -> FloatArray:
        """Sharpened probability at `x` (q, d), shape (q,), a factor on the acquisition."""
        ...

    def log_success_weight(self, x: Tensor) -> Tensor:
        """Logarithm of the weight at `x` (q, d), shape (q,), with gradients."""
        ...


class _KnownMarginals(Model):
    """BoTorch model that returns its inputs (..., 1, 2) as mean and standard deviation."""

    @property
    def num_outputs(self) -> int:
        return 1

    def posterior(self, X: Tensor, *_: Any, **__: Any) -> GPyTorchPosterior:  # noqa: N803 - BoTorch's name
        """Return a normal distribution of mean `X[..., 0]` and deviation `X[..., 1]`."""
        variance = DiagLinearOperator(X[..., 1].square())
        return GPyTorchPosterior(MultivariateNormal(X[..., 0], variance))


@dataclass(frozen=True, eq=False)
class ModelSet:
    """Models of all properties and of success, at one event.

    Attributes:
        regressors: models of the properties, by name.
        success_models: models of success; their product counts.
    """

    regressors: Mapping[str, Regressor]
    success_models: tuple[SuccessModel, ...] = ()

    @property
    def differentiable(self) -> bool:
        """True if all regressors pass gradients."""
        return all(regressor.differentiable for regressor in self.regressors.values())

    def predict(
        self, names: Sequence[str], x: FloatArray, *, single: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Predict means and standard deviations of several properties.

        Args:
            names: P properties.
            x: shape (q, d), inputs.
            single: True for single precision, where a model has it.

        Returns:
            Two arrays of shape (q, P).
        """
        found = [self.regressors[name].predict(x, single=single) for name in names]
        return np.stack([mean for mean, _ in found], axis=1), np.stack([width for _, width in found], axis=1)

    def predict_with_gradients(self, names: Sequence[str], x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict means and standard deviations, with gradients.

        Args:
            names: P properties.
            x: shape (q, d), inputs.

        Returns:
            Two tensors of shape (q, P).
        """
        posteriors = [self._botorch_models[name].posterior(x.unsqueeze(-2)) for name in names]
        mean = torch.stack([posterior.mean[..., 0, 0] for posterior in posteriors], dim=-1)
        variance = torch.stack([posterior.variance[..., 0, 0] for posterior in posteriors], dim=-1)
        return mean, variance.clamp_min(1e-30).sqrt()

    @cached_property
    def _botorch_models(self) -> dict[str, Any]:
        return {name: regressor.to_botorch() for name, regressor in self.regressors.items()}

    def condition_on(self, x: FloatArray) -> ModelSet:
        """Condition all regressors on their own predictions at pending candidates.

        Args:
            x: shape (k, d), inputs of the candidates.
        """
        if not len(x):
            return self
        found = {name: regressor.condition_on(x) for name, regressor in self.regressors.items()}
        return ModelSet(found, self.success_models)

    def success_probability(self, x: FloatArray) -> FloatArray:
        """Probability of success at `x` (q, d), shape (q,)."""
        found: FloatArray = np.prod(
            [np.ones(len(x)), *(m.predict_probability(x) for m in self.success_models)], axis=0
        )
        return found

    def log_success_weight(self, x: FloatArray) -> FloatArray:
        """Logarithm of the success weight at `x` (q, d), shape (q,)."""
        total = np.zeros(len(x))
        for model in self.success_models:
            total += np.log(np.maximum(model.success_weight(x), 1e-300))
        return total


def infer_reference_point(values: FloatArray) -> FloatArray:
    """Infer a reference point somewhat below the worst acceptable trade-off.

    The best value of one objective counts only as far as it does not cost much in the others. A point that gains next
    to nothing in one objective and loses all in another would pull the reference away, and with it the search, to the
    ends of the front.

    Args:
        values: shape (n, m), maximised values.

    Returns:
        Shape (m,).

    Source:
        Ishibuchi et al., Evol. Comput. 26, 411 (2018) (a tenth of the range); Miettinen, Nonlinear Multiobjective
        Optimization (1999), section 2.4.2 (estimates of the nadir point and their trouble with such points).
    """
    others = values.sum(axis=1, keepdims=True) - values
    ends = np.argmax(values + LEAST_TRADE_OFF * others / max(values.shape[1] - 1, 1), axis=0)
    nadir, ideal = values[ends].min(axis=0), values.max(axis=0)
    extent = ideal - nadir
    margin = REFERENCE_MARGIN * np.where(extent > 0.0, extent, 1.0)
    reference: FloatArray = nadir - margin
    return reference


@dataclass(frozen=True)
class Incumbents:
    """Values reached so far, in the form of `Goals.objective_values`.

    Attributes:
        values: shape (n, m), of the trials that meet the constraints; n may be 0.
        reference: shape (m,), the user's reference point; None infers one.
    """

    values: FloatArray
    reference: FloatArray | None = None


class MarginalAcquisition:
    """Acquisition function of the marginal distributions of the properties.

    Args:
        model_set: the models, conditioned on the pending candidates.
        goals: objectives and constraints.
        incumbents: values reached so far; pending candidates count with their predicted values.
        measure: `improvement` (log EI), `hypervolume` (log EHVI), `bound` (UCB), `sample` (posterior mean of a
            drawn function), `feasible` (feasibility probability), `curiosity` (predictive uncertainty).
        beta: standard deviations of the upper confidence bound.
        seed: of the quasi-random samples.
        samples: number of quasi-random samples.
    """

    def __init__(
        self,
        model_set: ModelSet,
        goals: Goals,
        incumbents: Incumbents,
        measure: Measure,
        *,
        beta: float = 2.0,
        seed: int = 0,
        samples: int = N_SAMPLES,
    ) -> None:
        self.model_set = model_set
        self.goals = goals
        self.incumbents = incumbents
        self.measure = measure if len(incumbents.values) or measure in UNREFERENCED_MEASURES else "feasible"
        self.beta = beta
        self.seed = seed
        self.samples = samples

    @property
    def differentiable(self) -> bool:
        """True if all models pass gradients."""
        return self.model_set.differentiable

    def evaluate(self, x: FloatArray) -> FloatArray:
        """Acquisition values at `x` (q, d), shape (q,), without gradients."""
        return self._evaluate_blocks(x, single=False)

    def evaluate_rough(self, x: FloatArray) -> FloatArray:
        """Acquisition values at `x` (q, d), from predictions in single precision."""
        return self._evaluate_blocks(x, single=True)

    def _evaluate_blocks(self, x: FloatArray, *, single: bool) -> FloatArray:
        """Evaluate candidates in blocks; undefined values become minus infinity."""
        found = np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), CANDIDATES_PER_BLOCK):
                part = x[first : first + CANDIDATES_PER_BLOCK]
                mean, deviation = self.model_set.predict(self.goals.names, part, single=single)
                value = self.evaluate_marginals(torch.as_tensor(mean), torch.as_tensor(deviation))
                found[first : first + CANDIDATES_PER_BLOCK] = (
                    value.numpy() + self.model_set.log_success_weight(part)
                )
        return np.nan_to_num(found, nan=-np.inf)

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Acquisition values at `x` (q, d), shape (q,), with gradients."""
        value = self.evaluate_marginals(*self.model_set.predict_with_gradients(self.goals.names, x))
        for model in self.model_set.success_models:
            value = value + model.log_success_weight(x)
        return value

    def evaluate_marginals(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Evaluate the acquisition without the success weight.

        Args:
            mean: shape (q, P), predicted means.
            deviation: shape (q, P), predicted standard deviations.

        Returns:
            Shape (q,).
        """
        deviation = deviation.clamp_min(DEVIATION_FLOOR)
        found: Tensor = getattr(self, f"_measure_{self.measure}")(mean, deviation)
        if self.measure == "feasible" or not self.goals.problem.constraints:
            return found
        return found + self.goals.log_feasibility(mean, deviation)

    # Measures.

    def _measure_feasible(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Log feasibility probability; ties go to the most uncertain candidate."""
        curious = 1e-3 * torch.log1p(deviation.sum(dim=-1))
        return self.goals.log_feasibility(mean, deviation) + curious

    def _measure_curiosity(self, mean: Tensor, deviation: Tensor) -> Tensor:  # noqa: ARG002 - all means are alike
        """Mean log standard deviation of the properties."""
        return deviation.log().mean(dim=-1)

    def _measure_improvement(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Log expected improvement over the incumbent.

        Closed form where the one value is a property or its negative, else averaged over samples.
        """
        best = float(self.incumbents.values.max())
        if not (self.goals.linear and self.goals.single):
            gain = self.goals.objective_values(self._draw_samples(mean, deviation))[..., 0] - best
            return logmeanexp(log_fatplus(gain, tau=SMOOTHING), dim=0)
        values = self.goals.objective_values(mean)[..., 0]
        scale = float(self.goals.scale[0])
        pairs = torch.stack([values, deviation[:, 0] / scale], dim=-1).unsqueeze(-2)
        value: Tensor = LogExpectedImprovement(_KnownMarginals(), best_f=best)(pairs)
        return value

    def _measure_hypervolume(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Log expected hypervolume improvement, summed over nondominated cells.

        Source:
            Daulton, Balandat & Bakshy, Adv. Neural Inf. Process. Syst. 33, 9851 (2020), for one candidate.
        """
        values = self.goals.objective_values(self._draw_samples(mean, deviation))  # (S, q, m)
        lower, upper = self._nondominated_cells
        # Volumes of cells as logarithms: the smoothed max(0, x) keeps slopes where nothing is gained.
        reach = log_fatplus(values.unsqueeze(-2) - lower, tau=SMOOTHING)
        length = (upper - lower).clamp_max(1e10).log()  # cells may be unbounded
        log_volume = torch.minimum(reach, length).sum(dim=-1)  # (S, q, cells)
        return logmeanexp(logsumexp(log_volume, dim=-1), dim=0)

    def _measure_bound(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Upper confidence bound, as a logarithm over a floor.

        The logarithm lets the success weight and the feasibility probability multiply it.

        Source:
            Srinivas et al., IEEE Trans. Inf. Theory 58, 3250 (2012); Wilson et al., arXiv:1712.00424 (by samples).
        """
        if self.goals.linear and self.goals.single:
            bound = self.goals.objective_values(mean)[..., 0] + self.beta * deviation[:, 0] / float(
                self.goals.scale[0]
            )
        else:
            samples = self.goals.objective_values(self._draw_samples(mean, deviation))[..., 0]
            middle = samples.mean(dim=0)
            bound = middle + self.beta * np.sqrt(np.pi / 2.0) * (samples - middle).abs().mean(dim=0)
        floor = float(np.median(self.incumbents.values)) if len(self.incumbents.values) else 0.0
        return log_fatplus(bound - floor, tau=1.0)

    def _measure_sample(self, mean: Tensor, deviation: Tensor) -> Tensor:  # noqa: ARG002 - a function that was drawn
        """Value, or hypervolume gain, of a function drawn from the models."""
        values = self.goals.objective_values(mean)
        if values.shape[-1] > 1 and len(self.incumbents.values):
            lower, upper = self._nondominated_cells
            sides = torch.minimum(values.unsqueeze(-2), upper) - lower
            gain = sides.clamp_min(0.0).prod(dim=-1).sum(dim=-1)
            # Without a gain, larger values are better: that leads towards the front.
            return torch.where(gain > 0.0, gain, -1.0 + 0.1 * values.sum(dim=-1).tanh())
        return values.sum(dim=-1)

    def _draw_samples(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Samples of the properties (S, q, P), from the same normals for every candidate."""
        return mean + deviation * self._base_samples[:, None, :]

    @cached_property
    def _base_samples(self) -> Tensor:
        """Quasi-random standard normals (S, P)."""
        engine = NormalQMCEngine(d=len(self.goals.names), seed=self.seed % 2**31)
        drawn = torch.empty(self.samples, len(self.goals.names), dtype=torch.float64)
        engine.draw(self.samples, out=drawn, dtype=torch.float64)
        return drawn

    @cached_property
    def _nondominated_cells(self) -> tuple[Tensor, Tensor]:
        """Lower and upper corners (cells, m) of the nondominated region."""
        values = torch.as_tensor(self.incumbents.values)
        if self.incumbents.reference is not None:
            reference = torch.as_tensor(self.incumbents.reference)
        else:
            reference = torch.as_tensor(infer_reference_point(self.incumbents.values))
        partitioning = FastNondominatedPartitioning(ref_point=reference, Y=values)
        lower, upper = partitioning.get_hypercell_bounds()
        return lower, upper
