"""Covariance functions over numbers and categories, of one or several sources.

GPyTorch's kernels compute the same; a fit calls them a hundred times, and here they cost a quarter of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Smoothness = Literal["matern", "rbf"]

MEAN_VARIANCE = 1.0  # prior variance of the unknown mean of scaled outcomes (chosen)
OFFSET_VARIANCE = 1.0  # prior variance of another source's offset from that mean (chosen)
CATEGORY_WIDTH = 1.5  # of the prior of log lengthscales of categories (chosen)
CATEGORY_TOLERANCE = 1e-6  # codes of a category that differ less are the same (chosen)
# Logarithm of the cube's side in standard deviations of a uniform column
LOG_CUBE_SIDE = 0.5 * float(np.log(12.0))
# Distance from the cube's faces within which warping would have an infinite slope (chosen)
WARP_MARGIN = 1e-6


@dataclass(frozen=True)
class Group:
    """Columns that share a kernel: positions among numbers and among categories."""

    name: str
    numbers: tuple[int, ...]
    categories: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Structure of a kernel; with parameters it is a covariance function.

    Attributes:
        smoothness: of the kernel of numbers.
        groups: of the sum; one group holds everything unless the kernel is additive.
        d_numbers, d_categories: number of columns of each kind.
        sources: number of sources.
        warp: True if numbers (of the unit cube) are warped, but for periodic ones.
        periodic: positions of numbers of the unit cube whose ends are one point.
    """

    smoothness: Smoothness
    groups: tuple[Group, ...]
    d_numbers: int
    d_categories: int
    sources: int = 1
    warp: bool = False
    periodic: tuple[int, ...] = ()

    @property
    def blocks(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every block of parameters, by name."""
        s, g = self.sources, len(self.groups)
        mixed = any(group.numbers and group.categories for group in self.groups)
        blocks: dict[str, tuple[int, ...]] = {
            "length": (s, self.d_numbers),
            "category": (s, self.d_categories),
            "scale": (s, g),
            "mix": (s, g) if mixed else (0,),
            "share": (s - 1,),
            "warp": (2, self.d_numbers) if self.warp else (0,),
            "noise": (s,),
            "extra": (1,),
        }
        return blocks

    def wound_columns(self, group: Group) -> tuple[int, ...]:
        """Columns of a `group` after `wind_periodic`."""
        sines = (
            self.d_numbers + place for place, column in enumerate(self.periodic) if column in group.numbers
        )
        return (*group.numbers, *sines)


Parameters = Mapping[str, Tensor]
Prepared = Sequence[tuple[Tensor, Tensor]]


def cast_points(prepared: Prepared, dtype: torch.dtype) -> Prepared:
    """Convert `prepared` points to another precision `dtype`."""
    return [(numbers.to(dtype), categories.to(dtype)) for numbers, categories in prepared]


class _Matern(torch.autograd.Function):
    """Matérn 5/2 correlation of squared scaled distances, differentiable at 0.

    Automatic differentiation would give NaN there, through the derivative of the square root.
    """

    @staticmethod
    def forward(ctx: Any, squares: Tensor) -> Tensor:
        root = (5.0 * squares).sqrt_()
        decay = torch.exp(-root)
        slope = (1.0 + root).mul_(decay)
        ctx.save_for_backward(slope)
        return slope + (squares * (5.0 / 3.0)).mul_(decay)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return grads[0] * slope * (-5.0 / 6.0)


def distance_correlation(squares: Tensor, smoothness: Smoothness) -> Tensor:
    """Correlation at squared scaled distances, of any shape.

    Args:
        squares: squared distances in lengthscales; overwritten where no gradient is wanted.
        smoothness: of the kernel.
    """
    if smoothness == "rbf":
        return torch.exp(-0.5 * squares)
    if squares.requires_grad:
        return _Matern.apply(squares)  # type: ignore[no-any-return, no-untyped-call]  # torch leaves it untyped
    root = squares.mul_(5.0).sqrt()
    squares.mul_(1.0 / 3.0).add_(root).add_(1.0)
    return squares.mul_(root.neg_().exp_())


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (…, n, q) between points `a` (…, n, d) and `b` (…, q, d)."""
    rows, columns = (a * a).sum(dim=-1), (b * b).sum(dim=-1)
    product = a @ b.transpose(-1, -2)
    if product.requires_grad:
        return (rows.unsqueeze(-1) + columns.unsqueeze(-2) - 2.0 * product).clamp_min(0.0)
    return product.mul_(-2.0).add_(rows.unsqueeze(-1)).add_(columns.unsqueeze(-2)).clamp_(min=0.0)


def category_correlation(a: Tensor, b: Tensor, length: Tensor) -> Tensor:
    """Correlation of categories: exp(-mean of [differ] / length).

    Args:
        a: shape (…, n, d).
        b: shape (…, q, d).
        length: shape (d,), lengthscales.

    Returns:
        Shape (…, n, q).

    Source:
        Hutter, Hoos & Leyton-Brown, LION 5 (2011); `botorch.models.kernels.CategoricalKernel`.
    """
    total = torch.zeros((), dtype=a.dtype)
    for column in range(a.shape[-1]):
        differ = (a[..., :, None, column] - b[..., None, :, column]).abs() > CATEGORY_TOLERANCE
        total = total + differ * (1.0 / (length[column] * a.shape[-1])).to(a.dtype)
    return torch.exp(-total)


def warp_inputs(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Warp coordinates `x` of the unit cube by 1 - (1 - x^a)^b.

    Args:
        x: shape (…, d).
        a: shape (d,), exponents.
        b: shape (d,), exponents.

    Source:
        Kumaraswamy, J. Hydrol. 46, 79 (1980); Snoek et al., ICML 2014 (as input warping).
    """
    inside = x.clamp(WARP_MARGIN, 1.0 - WARP_MARGIN)
    return 1.0 - (1.0 - inside**a) ** b


def wind_periodic(x: Tensor, lengths: Tensor, periodic: tuple[int, ...]) -> Tensor:
    """Scale coordinates by lengthscales, and wind periodic ones into circles of circumference 1.

    The distance of two coordinates becomes the chord, which is that on the axis where they are near.

    Args:
        x: shape (…, d), of the unit cube where `periodic` names any.
        lengths: shape (d,), lengthscales.
        periodic: k positions of periodic coordinates.

    Returns:
        Shape (…, d + k): the cosine of a periodic coordinate stands in its place, its sine after all others.

    Source:
        MacKay, Introduction to Gaussian processes (1998), section 5.2 (periodic kernels by a warped input).
    """
    if not periodic:
        return x / lengths
    columns = list(periodic)
    angles = 2.0 * math.pi * x[..., columns]
    radius = 0.5 / math.pi
    wound = x.clone()
    wound[..., columns] = radius * torch.cos(angles)
    return torch.cat([wound / lengths, radius * torch.sin(angles) / lengths[columns]], dim=-1)


@dataclass(frozen=True)
class Kernel:
    """Covariance function: a plan and its parameters, on their natural scales.

    The values of source 0 are f_0 = mean + sum of the groups' components. Those of source s are
    share_s * f_0 + g_s + offset_s, where g_s has lengthscales and outputscales of its own: the share is learned, and a
    source that tells nothing of f_0 gets a share near 0.

    Source:
        Kennedy & O'Hagan, Biometrika 87, 1 (2000), turned round; Goovaerts, Geostatistics for Natural Resources
        Evaluation (1997), linear coregionalisation; Duvenaud, Nickisch & Rasmussen, NeurIPS 2011 (additive);
        Ru et al., ICML 2020 (mixture of sum and product over numbers and categories).
    """

    plan: Plan
    parameters: Parameters

    def prepare_points(self, numbers: Tensor, categories: Tensor, source: int) -> Prepared:
        """Prepare points for a component: numbers in its lengthscales, per group.

        Args:
            numbers: shape (…, d_n).
            categories: shape (…, d_c).
            source: whose component.
        """
        plan, p = self.plan, self.parameters
        if plan.warp and plan.d_numbers:
            warped = warp_inputs(numbers, p["warp"][0], p["warp"][1])
            rings = torch.tensor([column in plan.periodic for column in range(plan.d_numbers)])
            numbers = torch.where(rings, numbers, warped) if plan.periodic else warped
        numbers = wind_periodic(numbers, p["length"][source], plan.periodic)
        width = plan.d_numbers + len(plan.periodic)
        return [
            (
                _select_columns(numbers, plan.wound_columns(group), width),
                _select_columns(categories, group.categories, plan.d_categories),
            )
            for group in plan.groups
        ]

    def group_covariance(self, a: Prepared, b: Prepared, source: int, position: int) -> Tensor:
        """Covariance of one group's component, shape (…, n, q).

        Args:
            a: n prepared points.
            b: q prepared points.
            source: whose component.
            position: of the group.
        """
        p = self.parameters
        (numbers_a, categories_a), (numbers_b, categories_b) = a[position], b[position]
        dtype = numbers_a.dtype
        scale = p["scale"][source, position].to(dtype)
        group = self.plan.groups[position]
        if not group.categories:
            if not group.numbers:
                shape = (*numbers_a.shape[:-1], numbers_b.shape[-2])
                return scale * torch.ones(shape, dtype=dtype)
            near = distance_correlation(squared_distances(numbers_a, numbers_b), self.plan.smoothness)
            return scale * near if near.requires_grad or scale.requires_grad else near.mul_(scale)
        same = category_correlation(categories_a, categories_b, p["category"][source, list(group.categories)])
        if not group.numbers:
            return scale * same
        near = distance_correlation(squared_distances(numbers_a, numbers_b), self.plan.smoothness)
        # A product alone would share nothing between different categories, a sum alone would model no interaction.
        mix = p["mix"][source, position].to(dtype)
        return scale * ((1.0 - mix) * 0.5 * (near + same) + mix * near * same)

    def component_covariance(self, a: Prepared, b: Prepared, source: int) -> Tensor:
        """Covariance of f_0 (source 0) or of g_s, shape (…, n, q).

        Without means and shares.

        Args:
            a: n prepared points.
            b: q prepared points.
            source: whose component.
        """
        total = self.group_covariance(a, b, source, 0)
        for position in range(1, len(self.plan.groups)):
            total = total + self.group_covariance(a, b, source, position)
        return total

    def source_share(self, source: int) -> Tensor:
        """Share of f_0 in the values of `source`."""
        if source == 0:
            return torch.ones((), dtype=torch.float64)
        return self.parameters["share"][source - 1]

    def prior_variance(self, source: int) -> Tensor:
        """Prior variance of a value of `source`, the same everywhere."""
        scale = self.parameters["scale"]
        own = scale[source].sum() + OFFSET_VARIANCE if source else 0.0
        return self.source_share(source) ** 2 * scale[0].sum() + MEAN_VARIANCE + own

    def row_shares(self, sources: Tensor) -> Tensor:
        """Share of f_0 in each row, by its source in `sources` (n,)."""
        return torch.stack([self.source_share(source) for source in range(self.plan.sources)])[sources]

    def row_covariance(self, numbers: Tensor, categories: Tensor, sources: Tensor) -> Tensor:
        """Covariance (n, n) of training rows of any sources, without noise.

        Args:
            numbers: shape (n, d_n).
            categories: shape (n, d_c).
            sources: shape (n,).
        """
        base = self.prepare_points(numbers, categories, 0)
        total = self.component_covariance(base, base, 0)
        if self.plan.sources > 1:
            shares = self.row_shares(sources)
            total = total * shares[:, None] * shares[None, :]
            for source in range(1, self.plan.sources):
                total = self._add_source_component(total, numbers, categories, sources, source)
        return total + MEAN_VARIANCE

    def _add_source_component(
        self, total: Tensor, numbers: Tensor, categories: Tensor, sources: Tensor, source: int
    ) -> Tensor:
        """Add the component and offset of one source to the covariance of its rows."""
        index = torch.nonzero(sources == source).reshape(-1)
        if not len(index):
            return total
        rows = self.prepare_points(numbers[index], categories[index], source)
        own = self.component_covariance(rows, rows, source) + OFFSET_VARIANCE
        return total.index_put((index[:, None], index[None, :]), own, accumulate=True)


def _select_columns(x: Tensor, columns: tuple[int, ...], of: int) -> Tensor:
    """Select columns of points; all of them without a copy."""
    return x if len(columns) == of else x[..., list(columns)]


def to_tensors(values: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> dict[str, Tensor]:
    """Convert parameter `values` to tensors, block by block."""
    return {name: torch.from_numpy(np.array(value, dtype=np.float64)) for name, value in values.items()}
