"""Small data sets with a known law, for tests of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from surrogates.regression.material import Dataset, Material, Source, Target
from surrogates.regression.models.contract import Candidate
from surrogates.regression.training import Recipe

METALS = ("Na", "Mg", "Al", "K", "Ca", "Ti", "Fe", "Zn")
HELD_BACK = "Zr"
"""Element that no synthetic data set holds."""
LINEAR = Candidate(("element_fractions",), "ridge")
TREES = Candidate(("element_statistics",), "extra_trees", {"trees": 10})
RECIPE = Recipe((LINEAR, TREES), folds=3)


def make_data(groups: int = 30, size: int = 3, seed: int = 0, threshold: float | None = None) -> Dataset:
    """Oxides of three metals whose value is linear in the amounts, with noise and an offset per group."""
    rng = np.random.default_rng(seed)
    slopes = np.linspace(-2.0, 2.0, len(METALS))
    materials, y, label, families = [], [], [], []
    for group in range(groups):
        offset = rng.normal(scale=0.2)
        for _ in range(size):
            picked = rng.choice(len(METALS), 3, replace=False)
            amounts = rng.integers(1, 5, 3)
            composition = {METALS[place]: float(n) for place, n in zip(picked, amounts, strict=True)} | {
                "O": 6.0
            }
            total = sum(composition.values())
            materials.append(Material("".join(f"{el}{n:g}" for el, n in composition.items()), composition))
            y.append(4.0 * float(slopes[picked] @ amounts) / total + offset + rng.normal(scale=0.1))
            label.append(group)
            families.append(METALS[int(picked.min())])
    n = len(y)
    return Dataset(
        Source("synthetic.csv", "0" * 64, "CC0"),
        Target("hardness", "GPa", threshold),
        tuple(materials),
        np.array(y),
        np.zeros(n, dtype=np.int64),
        np.array(label, dtype=np.int64),
        ("series",),
        tuple(families),
        tuple(range(n)),
    )


def censor_below(data: Dataset, limit: float) -> Dataset:
    """Turn values below `limit` to that limit, as an instrument does."""
    low = data.y < limit
    return replace(data, y=np.where(low, limit, data.y), censoring=np.where(low, -1, 0).astype(np.int64))
