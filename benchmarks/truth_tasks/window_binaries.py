"""Oxidation limits of nine lithium salts against the enthalpies of the reactions that set them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from common import Row
from truth_windows import Comparison, compare_limit, mean_row, print_comparisons

from invdesign.settings import load
from surrogates.stability.reference import ReferenceSet, load_shipped_set
from surrogates.stability.reference_build import build_reference
from surrogates.stability.reference_sources import read_structures

SHIPPED = "lithium-chalcohalides"
SALTS = ("LiF", "LiCl", "LiBr", "LiI", "Li2O", "Li2S", "Li2Se", "LiH")
NITRIDES = Path(__file__).parents[1] / "window_nitrides.yaml"
"""Phases of Li-N, which the shipped set does not have."""


@cache
def compare_limits(name: str = SHIPPED) -> tuple[Comparison, ...]:
    """The oxidation limit of every salt by a shipped set."""
    reference = load_shipped_set(name)
    nitrides = relax_nitrides(name)
    return (*(compare_limit(reference, salt) for salt in SALTS), compare_limit(nitrides, "Li3N"))


@cache
def relax_nitrides(name: str) -> ReferenceSet:
    """Li, N2 and Li3N, relaxed by the potential of a shipped set; seconds."""
    potential = load("potentials", load_shipped_set(name).potential.settings)
    return build_reference(read_structures(NITRIDES), potential, name="nitrides")


def measure() -> list[Row]:
    """Mean and largest error, and the mean one against Gibbs energies, where they are known."""
    found = compare_limits()
    print_comparisons(found)
    errors = {
        "mae_v": [abs(item.error) for item in found],
        "largest_error_v": [max(abs(item.error) for item in found)],
        "mae_gibbs_v": [abs(item.value - item.gibbs) for item in found if item.gibbs is not None],
    }
    return [
        mean_row("window_binaries", "invdesign", metric, values, "V") for metric, values in errors.items()
    ]
