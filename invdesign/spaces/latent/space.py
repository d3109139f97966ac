"""Search space of the codes of a generator: every code is decoded to a crystal under one condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated, Self, cast

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible
from invdesign.protocols import (
    Condition,
    Descriptor,
    Dimension,
    Domain,
    LatentGenerator,
    Operator,
    SpaceSettings,
)
from invdesign.rng import Rng
from invdesign.settings import GeneratorField
from invdesign.spaces.generated import GeneratorUse, check_generators
from invdesign.spaces.operators import GenomeOperator
from invdesign.structures.conditions import make_condition
from invdesign.structures.guard_rails import GuardRails, find_fault

DECIMALS = 3  # of a code; chosen: the decoder changes nothing at smaller differences
REACH = 4.0  # standard deviations of the prior, beyond which codes are cut off (chosen)
STEPS = (0.1, 0.8)  # standard deviations of a mutation's steps, drawn evenly (chosen)
MOVED_SHARE = (0.1, 1.0)  # of the numbers that a mutation moves, drawn evenly (chosen)

Span = Annotated[tuple[int, int], Field(strict=False)]


class LatentSpace(SpaceSettings):
    """Codes of a generator, each of which is decoded to a crystal that keeps the condition.

    A genome holds the numbers of a code: `{"code": [0.31, -1.2, ...]}`. The generator decodes it in a worker, always to the same
    crystal. On the unit cube, codes of the normal distribution are spread evenly.
    """

    generator: GeneratorField
    """Generator with codes: `crystal_vae`, or a mapping with its settings."""
    formula: str | None = None
    """Formula of the crystals; without it any composition that the condition allows."""
    formula_units: Span | None = None
    """Fewest and most formula units in the primitive cell."""
    elements: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Allowed elements; by default all that the generator knows."""
    required: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Elements that every crystal holds."""
    space_groups: Annotated[tuple[int | str, ...], Field(strict=False)] = ()
    """Allowed space groups: international numbers and ranges, `[62, 195-230]`."""
    atoms: Span | None = None
    """Fewest and most atoms in the primitive cell."""
    neutral: bool = True
    """Whether charges must balance."""

    @model_validator(mode="after")
    def _check_generator(self, info: ValidationInfo) -> Self:
        if not isinstance(self.generator, LatentGenerator):
            raise ValueError(  # noqa: TRY004 - pydantic's
                f"the generator '{self.generator.model_dump()['kind']}' has no codes to search; take crystal_vae"
            )
        check_generators([GeneratorUse(generator=self.generator)], lambda: self.condition, info)
        return self

    @cached_property
    def condition(self) -> Condition:
        """Condition that all crystals keep."""
        return make_condition(
            elements=self.elements,
            required=self.required,
            formula=self.formula,
            formula_units=self.formula_units,
            space_groups=self.space_groups,
            atoms=self.atoms,
            neutral=self.neutral,
        )

    @property
    def _source(self) -> LatentGenerator:
        return cast("LatentGenerator", self.generator)

    # SearchSpace.

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome with rounded numbers within `REACH`.

        Raises:
            Infeasible: it is malformed.
        """
        return write_code(read_code(genome, self._source.dimension))

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        size = self._source.dimension
        return {
            "start": GenomeOperator(0, partial(draw_start, generator=self._source)),
            "step": GenomeOperator(1, partial(step, size=size)),
            "blend": GenomeOperator(2, partial(blend, size=size)),
        }

    def operators(self) -> Mapping[str, Operator]:
        """`start` by the prior, `step` and `blend`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Decode the crystal as structure `initial`.

        Raises:
            Infeasible: the genome is malformed, or decodes to no crystal that passes the guard rails.
        """
        code = read_code(genome, self._source.dimension)
        (crystal,) = self._source.decode(code[None], self.condition)
        if crystal is None:
            raise Infeasible("the code decodes to no crystal under the condition of the space")
        fault = find_fault(crystal, self.condition, GuardRails())
        if fault:
            raise Infeasible(f"the code decodes to a crystal that is refused: {fault}")
        return Design(composition=crystal.composition, structures={"initial": crystal})

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Codes, shape (n, d)."""
        size = self._source.dimension
        return np.array([read_code(genome, size) for genome in genomes]).reshape(len(genomes), size)

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the numbers of a code."""
        return [Descriptor(name, "code") for name in self._names]

    @property
    def _names(self) -> list[str]:
        return [f"code {number}" for number in range(1, self._source.dimension + 1)]

    # VectorSpace.

    def domain(self) -> Domain:
        """Unit cube, on which the prior is even."""
        return Domain(tuple(Dimension(name, "real") for name in self._names))

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points of `genomes`, shape (n, d): cumulated shares of a normal distribution."""
        from scipy.special import ndtr

        low = float(ndtr(-REACH))
        points: FloatArray = (ndtr(self.features(genomes)) - low) / (1.0 - 2.0 * low)
        return np.clip(points, 0.0, 1.0)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d)."""
        from scipy.special import ndtr, ndtri

        low = float(ndtr(-REACH))
        return [write_code(row) for row in ndtri(low + np.asarray(x, dtype=np.float64) * (1.0 - 2.0 * low))]

    # PreparedSpace.

    def prepare(self) -> None:
        """Check that the generator's model is whole.

        Raises:
            InvdesignError: it is missing or damaged.
        """
        self._source.prepare()


def write_code(code: FloatArray) -> dict[str, Json]:
    """Write a code (d,) as a genome: rounded, within `REACH`."""
    rounded = np.round(np.clip(code, -REACH, REACH), DECIMALS) + 0.0
    return {"code": cast("list[Json]", rounded.tolist())}


def read_code(genome: Genome, size: int) -> FloatArray:
    """Read the code of a genome, shape (d,).

    Raises:
        Infeasible: it is malformed.
    """
    values = genome.get("code") if set(genome) == {"code"} else None
    if not isinstance(values, list | tuple) or len(values) != size:
        raise Infeasible(f"a genome is {{'code': {size} numbers}}, got {genome!r:.100}")
    if any(type(value) not in (int, float) for value in values):
        raise Infeasible(f"a code holds numbers, got {values!r:.100}")
    code = np.array(values, dtype=np.float64)
    if not np.isfinite(code).all():
        raise Infeasible("a code holds finite numbers")
    return code


def draw_start(parents: Sequence[Genome], rng: Rng, *, generator: LatentGenerator) -> dict[str, Json]:
    """Draw a code from the prior of the generator."""
    del parents
    return write_code(generator.draw_codes(rng, 1)[0])


def step(parents: Sequence[Genome], rng: Rng, *, size: int) -> dict[str, Json]:
    """Move some numbers of a code by normal steps."""
    code = read_code(parents[0], size)
    moved = rng.random(size) < rng.uniform(*MOVED_SHARE)
    moved[int(rng.integers(size))] = True
    return write_code(code + moved * rng.normal(0.0, rng.uniform(*STEPS), size))


def blend(parents: Sequence[Genome], rng: Rng, *, size: int) -> dict[str, Json]:
    """Take numbers of two codes, each from one or between both.

    Half of the children lie on the arc between the parents, where codes stay as long as those of the prior.
    """
    first, second = (read_code(parent, size) for parent in parents)
    if rng.random() < 0.5:
        return write_code(np.where(rng.random(size) < 0.5, first, second))
    share = rng.random()
    mixed = share * first + (1.0 - share) * second
    length = share * np.linalg.norm(first) + (1.0 - share) * np.linalg.norm(second)
    return write_code(mixed * length / max(float(np.linalg.norm(mixed)), 1e-9))
