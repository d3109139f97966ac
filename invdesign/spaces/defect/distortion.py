"""Local distortion of a defect.

Bonds stretched or shortened, an atom turned into the gap beside it, small displacements.

Relaxation from the perfect sites often ends in a local minimum. Distorted starts lead to lower ones.

Source:
    Mosquera-Lois, Kavanagh, Walsh and Scanlon, npj Comput. Mater. 9, 25 (2023) (ShakeNBreak), for stretched bonds and
    displacements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from invdesign.candidate import Genome, Json
from invdesign.errors import Infeasible
from invdesign.rng import Rng
from invdesign.settings import Frozen

BOND, TOWARD, PAIR, SEED = "bond", "toward", "pair", "seed"
DIGITS = (
    2  # chosen; of the numbers of a distortion: a hundredth of a bond is less than a relaxation tells apart
)
SEEDS = 100  # chosen; different patterns of small displacements, of which 0 has none
MAX_PAIRS = 6  # chosen; gaps that atoms can be turned into, the most likely ones
PLAIN_PROBABILITY = 0.25  # chosen; of a start without one of the distortions
MOST_WAY = 0.8  # chosen; in Li3PO4 seven of eight nitrogen atoms stayed a bridge from there, from 0.7 on five
STEP = 0.15  # chosen; standard deviation of a changed number, over its range


class Distort(Frozen):
    """Limits of distortions."""

    bonds: float = Field(default=0.6, ge=0.0, le=0.6)
    """Largest share by which bonds at a defect are stretched or shortened; ShakeNBreak takes 0.6."""
    toward: bool = True
    """Whether an atom may move from its site towards a vacancy beside it, up to halfway between their two centres."""
    rattle: float = Field(default=0.1, ge=0.0, le=0.5)
    """Standard deviation of small displacements around the defects, Å."""


@dataclass(frozen=True)
class Distortion:
    """A distortion of one arrangement of defects.

    Attributes:
        bond: share by which bonds at the defects are longer, -0.6 to 0.6.
        toward: share of the way that an atom goes from its site to the middle between two centres, 0 to 1.
        pair: number of the atom with its gap, the most likely one first; 0 where none moves.
        seed: of the pattern of small displacements; 0 for none.
    """

    bond: float = 0.0
    toward: float = 0.0
    pair: int = 0
    seed: int = 0

    def settle(self, rules: Distort, pairs: int) -> Distortion:
        """Distortion within the rules, written in one way.

        Args:
            rules: of the space.
            pairs: number of atoms with a gap.
        """
        bond = round(min(max(self.bond, -rules.bonds), rules.bonds), DIGITS) + 0.0
        toward = round(min(max(self.toward, 0.0), 1.0), DIGITS) + 0.0 if rules.toward and pairs else 0.0
        pair = min(max(self.pair, 0), pairs - 1) if toward else 0
        seed = min(max(self.seed, 0), SEEDS - 1) if rules.rattle else 0
        return Distortion(bond, toward, pair, seed)

    def to_json(self) -> dict[str, Json]:
        """Numbers by name, as a genome holds them."""
        return {BOND: self.bond, TOWARD: self.toward, PAIR: self.pair, SEED: self.seed}


def parse_distortion(value: object) -> Distortion:
    """Read the distortion of a genome.

    Raises:
        Infeasible: a number is missing, or none.
    """
    names = (BOND, TOWARD, PAIR, SEED)
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise Infeasible(f"distortion holds the numbers {', '.join(names)}, got {value!r}")
    for name in names:
        number = value[name]
        allowed = int if name in {PAIR, SEED} else int | float
        if isinstance(number, bool) or not isinstance(number, allowed):
            raise Infeasible(f"distortion: {name} is a number, got {number!r}")
    return Distortion(float(value[BOND]), float(value[TOWARD]), int(value[PAIR]), int(value[SEED]))


def draw_distortion(rules: Distort, pairs: int, rng: Rng, *, facing: int | None = None) -> Distortion:
    """Draw a random distortion.

    Args:
        rules: of the space.
        pairs: number of atoms with a gap.
        rng: random generator.
        facing: number of an atom that goes most of its way at least; None for any or none.
    """
    # Small changes of bonds are likelier than large ones, which may break groups that a relaxation does not mend.
    size = 0.0 if rng.random() < PLAIN_PROBABILITY else rng.random() * rules.bonds
    bond = size * (2.0 * rng.random() - 1.0)
    toward = 0.0 if rng.random() < PLAIN_PROBABILITY else rng.random()
    pair = int(rng.random() * max(pairs, 1))
    seed = int(rng.random() * SEEDS)
    drawn = Distortion(bond, toward, pair, seed)
    if facing is not None:
        drawn = replace(drawn, toward=MOST_WAY + (1.0 - MOST_WAY) * rng.random(), pair=facing)
    return drawn.settle(rules, pairs)


def change_distortion(old: Distortion, rules: Distort, pairs: int, rng: Rng) -> Distortion:
    """Change one number of a distortion, sometimes more.

    Args:
        old: the distortion.
        rules: of the space.
        pairs: number of atoms with a gap.
        rng: random generator.
    """
    new = old
    options = (
        [BOND] * bool(rules.bonds) + [TOWARD] * bool(rules.toward and pairs) + [SEED] * bool(rules.rattle)
    )
    while options:
        which = options.pop(int(rng.random() * len(options)))
        if which == BOND:
            new = replace(new, bond=new.bond + 2.0 * rules.bonds * STEP * float(rng.normal()))
        elif which == SEED:
            new = replace(new, seed=int(rng.random() * SEEDS))
        else:
            pair = int(rng.random() * pairs) if rng.random() < 0.5 else new.pair
            new = replace(new, toward=new.toward + STEP * float(rng.normal()), pair=pair)
        if rng.random() < 0.5:
            break
    return new.settle(rules, pairs)


def mix_distortions(first: Distortion, second: Distortion, rng: Rng) -> Distortion:
    """Take each number from either of two distortions.

    The atom goes with its share of the way.
    """
    bond, seed = (first.bond, second.bond)[rng.random() < 0.5], (first.seed, second.seed)[rng.random() < 0.5]
    way = first if rng.random() < 0.5 else second
    return Distortion(bond, way.toward, way.pair, seed)


def parse_sites(name: str, value: object) -> list[int]:
    """Read the sites of one kind of defect from a genome.

    Args:
        name: of the kind.
        value: list of whole numbers.

    Raises:
        Infeasible: it is none, or names a site twice.
    """
    sites: list[Any] = list(value) if isinstance(value, list | tuple) else [None]
    if any(isinstance(site, bool) or not isinstance(site, int) for site in sites):
        raise Infeasible(f"'{name}' must be a list of sites, got {value!r}")
    if len(set(sites)) < len(sites):
        raise Infeasible(f"'{name}' names a site twice: {sites}")
    return sites


def read_sites(genome: Genome, names: tuple[str, ...]) -> dict[str, list[int]]:
    """Sites of each kind of defect in a genome.

    Args:
        genome: of the space.
        names: of the kinds.

    Raises:
        Infeasible: a kind is missing or malformed.
    """
    return {name: parse_sites(name, genome.get(name)) for name in names}
