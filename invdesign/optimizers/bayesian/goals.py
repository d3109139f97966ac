"""Objectives and constraints in torch: maximised values and feasibility probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.problem import Constraint, Objective, Problem

DESIRABILITY_FLOOR = 1e-12  # so that the logarithm of a desirability exists (chosen)
DEVIATION_FLOOR = 1e-10  # least standard deviation, as a share of the spread of the values (chosen)


@dataclass(frozen=True)
class Goals:
    """Objectives and constraints on P modelled properties.

    Values are maximised, and scaled so that those of the trials spread over about 1.

    Attributes:
        problem: objectives and constraints on properties among `names`.
        names: the P properties, in order.
        centre, scale: shape (m,), of the minimised values (`Problem.n_values` of them).
        weights: shape (m,), of a Chebyshev scalarization to one value; None keeps the m values.
    """

    problem: Problem
    names: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray
    weights: FloatArray | None = field(default=None)

    @property
    def single(self) -> bool:
        """True if there is one value to maximise."""
        return self.problem.n_values == 1 or self.weights is not None

    @property
    def linear(self) -> bool:
        """True if the one value is a property itself, or its negative."""
        plain = len(self.problem.objectives) == 1 and self.problem.scalarize is None
        return plain and self.problem.objectives[0].direction in {"minimize", "maximize"}

    def scale_minimised(self, minimised: FloatArray) -> FloatArray:
        """Convert minimised values to the form of `objective_values`.

        Args:
            minimised: shape (n, m), as the problem scores them.

        Returns:
            Shape (n, m) or (n, 1).
        """
        found = torch.as_tensor(-(minimised - self.centre) / self.scale)
        result: FloatArray = self._scalarize_values(found).numpy()
        return result

    def objective_values(self, samples: Tensor) -> Tensor:
        """Convert `samples` of properties (..., P) to maximised values (..., m).

        Shape (..., 1) where they are combined.
        """
        columns = [self._minimised_values(objective, samples) for objective in self.problem.objectives]
        minimised = torch.stack(columns, dim=-1)
        if self.problem.scalarize is not None:
            minimised = self._desirability_score(minimised)
        return self._scalarize_values(
            -(minimised - torch.as_tensor(self.centre)) / torch.as_tensor(self.scale)
        )

    def log_feasibility(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Log feasibility probability of marginals `mean` and `deviation` (..., P).

        Shape (...). Properties count as independent of each other.
        """
        from botorch.utils.probability.utils import log_ndtr, log_prob_normal_in

        total = torch.zeros_like(mean[..., 0])
        for constraint in self.problem.constraints:
            column = self.names.index(constraint.property)
            centre, width = mean[..., column], deviation[..., column]
            if constraint.min is not None and constraint.max is not None:
                low, high = (constraint.min - centre) / width, (constraint.max - centre) / width
                # An interval without width would have a probability of 0.
                total = total + log_prob_normal_in(low, torch.maximum(high, low + 1e-6))
            elif constraint.max is not None:
                total = total + log_ndtr((constraint.max - centre) / width)
            elif constraint.min is not None:
                total = total + log_ndtr((centre - constraint.min) / width)
        return total

    def _minimised_values(self, objective: Objective, samples: Tensor) -> Tensor:
        """Minimised values of one objective: the property, its negative, or its distance outside a window."""
        values = samples[..., self.names.index(objective.property)]
        if objective.direction == "minimize":
            return values
        if objective.direction == "maximize":
            return -values
        outside = torch.zeros_like(values)
        if objective.min is not None:
            outside = torch.maximum(outside, objective.min - values)
        if objective.max is not None:
            outside = torch.maximum(outside, values - objective.max)
        return outside

    def _desirability_score(self, minimised: Tensor) -> Tensor:
        """Score of combined objectives as `Problem` defines it, (..., m) to (..., 1)."""
        extents = np.array(
            [objective.minimised_scale() for objective in self.problem.objectives], dtype=np.float64
        )
        best, worst = torch.as_tensor(extents[:, 0]), torch.as_tensor(extents[:, 1])
        shares = torch.tensor(
            [objective.weight for objective in self.problem.objectives], dtype=torch.float64
        )
        shares = shares / shares.sum()
        reached = (worst - minimised) / (worst - best)
        overall = torch.exp((reached.clamp(DESIRABILITY_FLOOR, 1.0).log() * shares).sum(dim=-1))
        lacking = ((-reached).clamp_min(0.0) * shares).sum(dim=-1)
        # Where one desirability is 0 their product would be flat: there the score grows with what is lacking.
        none = (reached <= 0.0).any(dim=-1)
        return torch.where(none, 1.0 + lacking, 1.0 - overall).unsqueeze(-1)

    def _scalarize_values(self, values: Tensor) -> Tensor:
        """Augmented Chebyshev scalarization of values (..., m) to (..., 1), if there are weights.

        Source:
            Knowles, IEEE Trans. Evol. Comput. 10, 50 (2006).
        """
        if self.weights is None:
            return values
        weighted = values * torch.as_tensor(self.weights)
        return (weighted.min(dim=-1).values + 0.05 * weighted.sum(dim=-1)).unsqueeze(-1)


def goals_for(
    problem: Problem, known: Sequence[str], minimised: FloatArray, weights: FloatArray | None = None
) -> Goals:
    """Build the goals over the constraints whose property is modelled.

    Args:
        problem: of the run.
        known: properties with a model.
        minimised: shape (n, m), minimised values of the trials; they set the scale.
        weights: shape (m,), of a Chebyshev scalarization; None for none.
    """
    constraints: tuple[Constraint, ...] = tuple(c for c in problem.constraints if c.property in known)
    kept = Problem(problem.objectives, constraints, problem.scalarize)
    finite = minimised[np.isfinite(minimised).all(axis=1)]
    if not len(finite):
        finite = np.zeros((1, problem.n_values))
    # A Chebyshev scalarization measures from the ideal point, in units of the range.
    centre = np.median(finite, axis=0) if weights is None else finite.min(axis=0)
    spread = finite.std(axis=0) if weights is None else np.ptp(finite, axis=0)
    scale = np.where(spread > 1e-12 * (1.0 + np.abs(centre)), spread, 1.0)
    return Goals(kept, kept.properties, centre, scale, weights)
