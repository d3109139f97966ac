"""Starts and operators of a space of crystals by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from invdesign.rng import Rng
from invdesign.spaces.crystal.changes import add_atoms, remove_atoms, repeat, transmute
from invdesign.spaces.crystal.fresh import (
    START_SHARES,
    draw_anew,
    draw_like,
    draw_repeated,
    draw_symmetric_like,
    draw_symmetric_start,
)
from invdesign.spaces.crystal.operators import change_lattice, permute, rattle, splice, strain
from invdesign.spaces.crystal.rules import CrystalRules
from invdesign.spaces.crystal.starts import draw_p1
from invdesign.structures.geometry import Crystal

Maker: TypeAlias = Callable[[Sequence[Crystal], CrystalRules, Rng], Crystal | None]
"""Makes a settled crystal from others by the rules of the space; None where it finds none."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make a crystal.

    Attributes:
        arity: number of parents.
        maker: its function.
        share: how often it is used at first, against others of its kind.
    """

    arity: int
    maker: Maker
    share: float = 1.0


STARTS: Mapping[str, Way] = {
    "random": Way(0, draw_p1, START_SHARES["random"]),
    "repeated": Way(0, draw_repeated, START_SHARES["repeated"]),
    "symmetric": Way(0, draw_symmetric_start, START_SHARES["symmetric"]),
}
OPERATORS: Mapping[str, Way] = {
    "lattice": Way(1, change_lattice, 0.3),
    "like": Way(1, draw_like, 0.5),
    "permute": Way(1, permute),
    "rattle": Way(1, rattle, 0.5),
    "splice": Way(2, splice),
    "strain": Way(1, strain, 0.5),
    "symmetric_like": Way(1, draw_symmetric_like),
}
CHANGES: Mapping[str, Way] = {
    "add": Way(1, add_atoms, 0.5),
    "anew": Way(1, draw_anew, 4.0),
    "remove": Way(1, remove_atoms, 0.5),
    "repeat": Way(1, repeat, 0.5),
    "transmute": Way(1, transmute, 0.5),
}


def list_ways(rules: CrystalRules) -> Mapping[str, Way]:
    """Starts and operators by name, without those that can make nothing by these rules."""
    rows = rules.compositions.rows
    found = {**STARTS, **OPERATORS, **(CHANGES if len(rows) > 1 else {})}
    idle = set()
    if len(rules.elements) == 1:
        idle |= {"permute"}
    if (np.gcd.reduce(rows, axis=1) == 1).all():  # no cell holds a smaller one
        idle |= {"repeated", "repeat"}
    if rows.sum(axis=1).max() == 1:  # a displaced atom alone is the same crystal
        idle |= {"rattle"}
    if rules.cell is not None:
        idle |= {"strain", "lattice", "repeated", "symmetric", "symmetric_like", "repeat"}
    if rules.compositions.is_single:
        idle |= {"transmute"}
    return {name: way for name, way in found.items() if name not in idle}
