"""Operators of the space by name: starts, mutations and crossovers of crystals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from invdesign.rng import Rng
from invdesign.spaces.crystal.geometry import Crystal
from invdesign.spaces.crystal.rules import CrystalRules
from invdesign.spaces.crystal.starts import draw_p1

Maker: TypeAlias = Callable[[Sequence[Crystal], CrystalRules, Rng], Crystal | None]
"""Makes a settled crystal from others by the rules of the space; None where it finds none."""


@dataclass(frozen=True, slots=True)
class WithRules:
    """A maker with its rules.

    It is an object, so that a space with its operators can be pickled.
    """

    maker: Maker
    rules: CrystalRules

    def __call__(self, parents: Sequence[Crystal], rng: Rng) -> Crystal | None:
        return self.maker(parents, self.rules, rng)


def list_makers(rules: CrystalRules) -> Mapping[str, tuple[int, Maker]]:
    """Number of parents and maker by name, of those that suit the rules."""
    del rules
    return {"random": (0, draw_p1)}
