"""Contracts of generators: a condition in, crystals out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, overload, runtime_checkable

from invdesign.arrays import FloatArray
from invdesign.rng import Rng
from invdesign.settings import Settings

if TYPE_CHECKING:
    from pymatgen.core import Structure

ORIGIN = "origin"
"""Key of `Structure.properties` under which a sample says where it came from, as a JSON mapping."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A soft part of a condition: what a property should be.

    Attributes:
        property: name of the property.
        target: value to come close to; None where there is a window or a direction.
        window: lowest and highest value; None where there is none.
        direction: `minimize` or `maximize`; None where there is none.
    """

    property: str
    target: float | None = None
    window: tuple[float, float] | None = None
    direction: Literal["minimize", "maximize"] | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """Requirements on generated crystals.

    All samples keep every part but the wishes. `structures.conditions` makes conditions from words, and finds contradictions.

    Attributes:
        elements: allowed ones, sorted; empty allows all that a generator knows.
        required: elements that every crystal holds, sorted; all of a formula are.
        formula: atoms by element in one formula unit, sorted by element; empty where any composition is allowed.
        formula_units: fewest and most formula units in the primitive cell; None allows any number.
        space_groups: international numbers, sorted; empty allows all.
        atoms: fewest and most atoms in the primitive cell; None allows any number.
        neutral: True if charges must balance by the rule of the package (`structures.charges`).
        wishes: soft parts; a generator that cannot meet them says so (`Samples.reason`).
    """

    elements: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    formula: tuple[tuple[str, int], ...] = ()
    formula_units: tuple[int, int] | None = None
    space_groups: tuple[int, ...] = ()
    atoms: tuple[int, int] | None = None
    neutral: bool = False
    wishes: tuple[Wish, ...] = ()

    def allows_atoms(self, count: int) -> bool:
        """True if a primitive cell may hold `count` atoms."""
        if self.atoms is not None and not self.atoms[0] <= count <= self.atoms[1]:
            return False
        size = sum(number for _, number in self.formula)
        if not size or self.formula_units is None:
            return size == 0 or count % size == 0
        return count % size == 0 and self.formula_units[0] <= count // size <= self.formula_units[1]

    def allows_group(self, number: int) -> bool:
        """True if a crystal may have the space group `number`."""
        return not self.space_groups or number in self.space_groups


def find_allowed_elements(space: object) -> frozenset[str] | None:
    """Elements that the candidates of a space may have.

    By the condition that generated starts keep there, or its own `elements`, a frozenset. None where the space has neither,
    or allows every element.

    Args:
        space: a search space.
    """
    condition = getattr(space, "condition", None)
    found = (
        frozenset(condition.elements)
        if isinstance(condition, Condition)
        else getattr(space, "elements", None)
    )
    return found if isinstance(found, frozenset) and found else None


@dataclass(frozen=True, slots=True)
class Samples(Sequence["Structure"]):
    """Crystals that a generator made.

    Attributes:
        structures: primitive cells; `Structure.properties["origin"]` says where each came from.
        reason: why there are fewer than were asked for, or which wishes had no effect; empty otherwise.
        tried: number of crystals that were drawn for them.
        refused: numbers of drawn crystals that were left out, by reason.
    """

    structures: tuple[Structure, ...]
    reason: str = ""
    tried: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.structures)

    @overload
    def __getitem__(self, index: int) -> Structure: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Structure]: ...

    def __getitem__(self, index: int | slice) -> Structure | Sequence[Structure]:
        return self.structures[index]


@runtime_checkable
class Generator(Protocol):
    """Makes crystals that keep a condition."""

    @property
    def is_heavy(self) -> bool:
        """True if a sample takes more than a few milliseconds: a network."""
        ...

    def prepare(self) -> None:
        """Load weights or a library, once per process."""
        ...

    def refusal(self, condition: Condition) -> str:
        """Reason why nothing can be made under `condition`; empty if something may be."""
        ...

    def sample(self, rng: Rng, n: int, condition: Condition) -> Samples:
        """Make up to `n` crystals that keep the condition.

        They are a function of the arguments, the settings and the weights alone.

        Args:
            rng: the only source of randomness.
            n: number of crystals.
            condition: every part but the wishes is kept by all crystals.
        """
        ...


@runtime_checkable
class LatentGenerator(Generator, Protocol):
    """A generator with a space of codes that can be searched."""

    @property
    def dimension(self) -> int:
        """Number of numbers in a code."""
        ...

    def draw_codes(self, rng: Rng, n: int) -> FloatArray:
        """Draw codes from the prior, shape (n, dimension)."""
        ...

    def encode(self, structures: Sequence[Structure]) -> FloatArray:
        """Codes of `structures`, shape (n, dimension); NaN in the rows of those that have none."""
        ...

    def decode(self, x: FloatArray, condition: Condition) -> Sequence[Structure | None]:
        """Crystals at codes `x` (n, dimension), always the same; None where there is none under the condition."""
        ...


@dataclass(frozen=True, slots=True)
class KnownCrystal:
    """A crystal to learn from.

    Attributes:
        name: of the crystal in its source.
        structure: ordered.
        properties: numbers in the other columns of its row, by heading.
    """

    name: str
    structure: Structure
    properties: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Crystals to learn from, of one source or several.

    Attributes:
        crystals: ordered ones.
        left_out: name and reason of each crystal that was not read.
        sources: name and SHA-256 of each file.
        about: text on source and licence, for the card of a model.
    """

    crystals: tuple[KnownCrystal, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    about: str = ""


@runtime_checkable
class TrainableGenerator(Protocol):
    """A class of generators whose model a user can train."""

    @classmethod
    def train(
        cls,
        training: TrainingSet,
        folder: Path,
        *,
        minutes: float | None = None,
        report: Callable[[str], None] = ...,
    ) -> None:
        """Train a model and write its folder, which the setting `model` names then.

        An interruption (Ctrl-C) leaves a model of what was learnt until then.

        Args:
            training: crystals.
            folder: of the model.
            minutes: most CPU minutes; None for as long as the generator holds right.
            report: takes sentences on the progress.

        Raises:
            InvdesignError: nothing can be learnt from these crystals.
        """
        ...


class GeneratorSettings(Settings):
    """Base class of generators, with the defaults of the contract."""

    @property
    def is_heavy(self) -> bool:
        """Return False: a sample takes a few milliseconds at most."""
        return False

    def prepare(self) -> None:
        """Do nothing: there is nothing to load."""

    def refusal(self, condition: Condition) -> str:  # noqa: ARG002 - the contract's signature
        """Return nothing: something may be made under any condition."""
        return ""
