"""A fitness function of the composition alone."""

from __future__ import annotations

from typing import Any

import invdesign


@invdesign.fitness(provides={"height": "m"}, requires=["composition"])
def height(candidate: Any) -> Any:
    """Fraction of lithium, less a little for every atom."""
    composition = candidate.composition
    return composition.get_atomic_fraction("Li") - 0.001 * composition.num_atoms
