"""Distances between distributions of generated and known crystals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.generators.metrics.intervals import Figure, measure_distance
from invdesign.structures.wyckoff import GROUPS


def measure_wasserstein(samples: Sequence[float], reference: Sequence[float]) -> Figure:
    """Wasserstein distance of order 1 between two samples of a property, in its unit.

    Args:
        samples: numbers of generated crystals, such as densities in g/cm3, elements per crystal, or eV/atom.
        reference: the same of known crystals.

    Source:
        Xie et al., ICLR 2022 (arXiv:2110.06197), appendix on metrics: density, number of elements, formation energy.
    """
    from scipy.stats import wasserstein_distance

    return measure_distance(lambda own, other: float(wasserstein_distance(own, other)), samples, reference)


def measure_jensen_shannon(samples: Sequence[int], reference: Sequence[int]) -> Figure:
    """Jensen-Shannon distance between two distributions of space groups.

    It is the square root of the divergence with logarithms to base 2: 0 for equal distributions, 1 for those with no group in
    common. With base e, scipy's default, it would be smaller by a factor of 0.833.

    Args:
        samples: numbers of the space groups of generated crystals.
        reference: those of known crystals.

    Source:
        J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991).
    """
    return measure_distance(_compare_groups, samples, reference)


def _compare_groups(samples: FloatArray, reference: FloatArray) -> float:
    """Jensen-Shannon distance of two samples of space groups."""
    own, other = (
        np.bincount(groups.astype(np.int64), minlength=len(GROUPS) + 1) / len(groups)
        for groups in (samples, reference)
    )
    middle = (own + other) / 2
    divergence = (_relative_entropy(own, middle) + _relative_entropy(other, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def _relative_entropy(own: FloatArray, other: FloatArray) -> float:
    """Relative entropy in bits; terms where the first is 0 are 0."""
    seen = own > 0
    return float((own[seen] * np.log2(own[seen] / other[seen])).sum())
