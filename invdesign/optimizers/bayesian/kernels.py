"""Covariance functions of Gaussian processes over numbers and categories, of one or several sources.

GPyTorch's kernels say the same; a fit calls them a hundred times, and here they cost a quarter of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Smoothness = Literal["matern", "rbf"]

MEAN_VARIANCE = 1.0  # variance of the unknown mean of scaled outcomes
OFFSET_VARIANCE = 1.0  # variance of the unknown difference between the mean of another source and it
CATEGORY_TOLERANCE = 1e-6  # codes of a category that differ less are the same
WARP_MARGIN = 1e-6  # distance from the cube's faces below which a warped coordinate has no finite slope


@dataclass(frozen=True)
class Group:
    """Positions, among a plan's numbers and among its categories, of columns that share a kernel."""

    name: str
    numbers: tuple[int, ...]
    categories: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What a kernel consists of; with parameters it is a covariance function.

    Attributes:
        smoothness: of the kernel of numbers.
        groups: what is added up; one holds everything unless the kernel is additive.
        d_numbers, d_categories: how many columns of each kind.
        sources: how many sources there are.
        warp: whether numbers (of the unit cube) are warped.
    """

    smoothness: Smoothness
    groups: tuple[Group, ...]
    d_numbers: int
    d_categories: int
    sources: int = 1
    warp: bool = False

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


Parameters = Mapping[str, Tensor]
Prepared = Sequence[tuple[Tensor, Tensor]]


def cast_points(prepared: Prepared, dtype: torch.dtype) -> Prepared:
    """Prepared points in another precision."""
    return [(numbers.to(dtype), categories.to(dtype)) for numbers, categories in prepared]


class _Matern(torch.autograd.Function):
    """Matérn kernel of smoothness 5/2 of squared scaled distances, with a slope that is finite at 0."""

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
    """Correlation at squared scaled distances, any shape; overwrites them where no gradient is wanted."""
    if smoothness == "rbf":
        return torch.exp(-0.5 * squares)
    if squares.requires_grad:
        return _Matern.apply(squares)  # type: ignore[no-any-return, no-untyped-call]  # torch leaves it untyped
    root = squares.mul_(5.0).sqrt()
    squares.mul_(1.0 / 3.0).add_(root).add_(1.0)
    return squares.mul_(root.neg_().exp_())


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Between points (…, n, d) and (…, q, d), shape (…, n, q)."""
    rows, columns = (a * a).sum(dim=-1), (b * b).sum(dim=-1)
    product = a @ b.transpose(-1, -2)
    if product.requires_grad:
        return (rows.unsqueeze(-1) + columns.unsqueeze(-2) - 2.0 * product).clamp_min(0.0)
    return product.mul_(-2.0).add_(rows.unsqueeze(-1)).add_(columns.unsqueeze(-2)).clamp_(min=0.0)


def category_correlation(a: Tensor, b: Tensor, length: Tensor) -> Tensor:
    """Correlation of categories (…, n, d) and (…, q, d): exp(-mean of [differ] / length), shape (…, n, q).

    Source:
        Hutter, Hoos & Leyton-Brown, LION 5 (2011); `botorch.models.kernels.CategoricalKernel`.
    """
    total = torch.zeros((), dtype=a.dtype)
    for column in range(a.shape[-1]):
        differ = (a[..., :, None, column] - b[..., None, :, column]).abs() > CATEGORY_TOLERANCE
        total = total + differ * (1.0 / (length[column] * a.shape[-1])).to(a.dtype)
    return torch.exp(-total)


def warp_inputs(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The distribution function 1 - (1 - x^a)^b of coordinates of the unit cube.

    Source:
        Kumaraswamy, J. Hydrol. 46, 79 (1980); Snoek et al., ICML 2014 (as input warping).
    """
    inside = x.clamp(WARP_MARGIN, 1.0 - WARP_MARGIN)
    return 1.0 - (1.0 - inside**a) ** b


@dataclass(frozen=True)
class Kernel:
    """A covariance function: a plan and its parameters, on their natural scales.

    The values of source 0 are f_0 = mean + sum of the groups' components. Those of source s are
    share_s * f_0 + g_s + offset_s, where g_s has length scales and variances of its own: how much a source says of
    what is sought is learned, and one that says nothing gets a share near 0.

    Source:
        Kennedy & O'Hagan, Biometrika 87, 1 (2000), turned round; Goovaerts, Geostatistics for Natural Resources
        Evaluation (1997), linear coregionalisation; Duvenaud, Nickisch & Rasmussen, NeurIPS 2011 (additive);
        Ru et al., ICML 2020 (mixture of sum and product over numbers and categories).
    """

    plan: Plan
    parameters: Parameters

    def prepare_points(self, numbers: Tensor, categories: Tensor, source: int) -> Prepared:
        """Per group: numbers in length scales, and categories, as the component of `source` sees them."""
        plan, p = self.plan, self.parameters
        if plan.warp and plan.d_numbers:
            numbers = warp_inputs(numbers, p["warp"][0], p["warp"][1])
        numbers = numbers / p["length"][source]
        return [
            (
                _select_columns(numbers, group.numbers, plan.d_numbers),
                _select_columns(categories, group.categories, plan.d_categories),
            )
            for group in plan.groups
        ]

    def group_covariance(self, a: Prepared, b: Prepared, source: int, position: int) -> Tensor:
        """Covariance of one group's component between points (…, n) and (…, q), shape (…, n, q)."""
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
        mix = p["mix"][source, position].to(dtype)
        return scale * ((1.0 - mix) * 0.5 * (near + same) + mix * near * same)

    def component_covariance(self, a: Prepared, b: Prepared, source: int) -> Tensor:
        """Covariance of f_0 (source 0) or of g_s, without means and shares, shape (…, n, q)."""
        total = self.group_covariance(a, b, source, 0)
        for position in range(1, len(self.plan.groups)):
            total = total + self.group_covariance(a, b, source, position)
        return total

    def source_share(self, source: int) -> Tensor:
        """What part of f_0 the values of a source hold."""
        if source == 0:
            return torch.ones((), dtype=torch.float64)
        return self.parameters["share"][source - 1]

    def prior_variance(self, source: int) -> Tensor:
        """Prior variance of the value of a source, the same everywhere."""
        scale = self.parameters["scale"]
        own = scale[source].sum() + OFFSET_VARIANCE if source else 0.0
        return self.source_share(source) ** 2 * scale[0].sum() + MEAN_VARIANCE + own

    def row_shares(self, sources: Tensor) -> Tensor:
        """`source_share` of every row's source, shape (n,)."""
        return torch.stack([self.source_share(source) for source in range(self.plan.sources)])[sources]

    def row_covariance(self, numbers: Tensor, categories: Tensor, sources: Tensor) -> Tensor:
        """Covariance of rows (n, d) of any sources, without noise, shape (n, n)."""
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
        index = torch.nonzero(sources == source).reshape(-1)
        if not len(index):
            return total
        rows = self.prepare_points(numbers[index], categories[index], source)
        own = self.component_covariance(rows, rows, source) + OFFSET_VARIANCE
        return total.index_put((index[:, None], index[None, :]), own, accumulate=True)


def _select_columns(x: Tensor, columns: tuple[int, ...], of: int) -> Tensor:
    return x if len(columns) == of else x[..., list(columns)]


def to_tensors(values: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> dict[str, Tensor]:
    """Parameters as tensors."""
    return {name: torch.from_numpy(np.array(value, dtype=np.float64)) for name, value in values.items()}
