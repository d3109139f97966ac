"""Ranking of known crystals for other elements: which framework a formula is likely to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.generators.prototypes.library import Family, Template, atomic_numbers

MAX_HULL = 0.3  # eV/atom, beyond which a template is not less likely still (chosen)


@dataclass(frozen=True, eq=False)
class ElementScale:
    """Distances of elements, and volumes of atoms, learnt from known crystals.

    The score of a template for a formula is minus the sum over slots of weight times distance, the weight being
    `scale * (share of the slot's atoms * number of slots) ** power`, less `hull` times the template's distance to the hull, plus
    `size` times the logarithm of its number of atoms. The exponential of the score is the template's vote for its framework.

    Source:
        A nearest-neighbour classifier with a learnt metric: Goldberger et al., NeurIPS 17 (2004). Distances of elements by
        exchange in crystals: Hautier et al., Inorg. Chem. 50, 656 (2011).

    Attributes:
        apart: shape (z, z), distances by atomic number; row 0 is unused.
        volumes: shape (z,), Å³ per atom by atomic number.
        scale, power, hull, size: as above; hull in atom/eV.
    """

    apart: FloatArray
    volumes: FloatArray
    scale: float
    power: float
    hull: float
    size: float

    def score_templates(self, target: IntArray, family: Family) -> FloatArray:
        """Scores of all templates of a family for a formula, shape (m, p).

        Args:
            target: shape (k,), atomic numbers in the order of the family's ratios.
            family: crystals with these ratios; column p is for its slots in order p.
        """
        share = np.array(family.ratios, dtype=np.float64)
        weights = self.scale * (share / share.sum() * len(share)) ** self.power
        distances = self.apart[target[None, None, :], family.elements[:, family.orders]] @ weights
        bias = self.size * np.log(family.sizes) - self.hull * np.clip(family.hulls, 0.0, MAX_HULL)
        scores: FloatArray = bias[:, None] - distances
        return scores

    def estimate_volume(self, counts: Mapping[str, int]) -> float:
        """Sum of the volumes of atoms, Å³."""
        numbers = atomic_numbers()
        return float(sum(count * self.volumes[numbers[name]] for name, count in counts.items()))

    @cached_property
    def nearness(self) -> FloatArray:
        """Weights with which an element takes the place of another, shape (z, z)."""
        found: FloatArray = np.exp(-self.scale * self.apart)
        return found


def sum_votes(scores: FloatArray, frameworks: IntArray) -> FloatArray:
    """Logarithms of the probabilities of frameworks, from the votes of their templates.

    Args:
        scores: shape (m, p).
        frameworks: shape (m, p), number of the framework of each.

    Returns:
        Shape (number of frameworks,).
    """
    top = float(scores.max())
    votes = np.bincount(frameworks.ravel(), np.exp(scores.ravel() - top))
    with np.errstate(divide="ignore"):
        logs: FloatArray = np.log(votes / votes.sum())
    return logs


def fit_volumes(templates: Sequence[Template], size: int) -> FloatArray:
    """Fit volumes of atoms to those of crystals, by least squares without negative ones.

    Args:
        templates: known crystals.
        size: number of rows of the result, above the highest atomic number.

    Returns:
        Shape (size,), Å³; elements that no crystal holds have the median of the others.
    """
    from scipy.optimize import nnls

    numbers = atomic_numbers()
    counts = np.zeros((len(templates), size))
    for row, template in zip(counts, templates, strict=True):
        for name, count in zip(template.elements, template.counts, strict=True):
            row[numbers[name]] = count
    volumes = np.array([template.sited.crystal.volume for template in templates])
    atoms = counts.sum(axis=1)
    found, _ = nnls(counts / atoms[:, None], volumes / atoms)
    known = counts.any(axis=0) & (found > 0)
    if not known.any():
        raise InvdesignError("the crystals of the library have no volumes")
    fitted: FloatArray = np.where(known, found, np.median(found[known]))
    return fitted
