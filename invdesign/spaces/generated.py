"""Start operators of spaces of structures that ask generators for crystals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, model_serializer, model_validator
from pydantic_core import CoreSchema

from invdesign import registry
from invdesign.candidate import Genome
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import Condition, Generator
from invdesign.rng import Rng
from invdesign.settings import STORED_FOLDER, Frozen, GeneratorField, validation_context
from invdesign.spaces.sampler import find_sampler

if TYPE_CHECKING:
    from pymatgen.core import Structure

TRIES = 5  # requests of one start until a crystal is of the space (chosen)
# Crystals of one request, which are tried in random order: the likeliest alone would be proposed again and again (chosen).
AT_ONCE = 4
START_WEIGHT = 1.0  # beside weights of the other starts, which sum to 1 (chosen)


class GeneratorUse(Frozen):
    """A generator as a source of starts: `prototypes`, or `{kind: crystal_vae, weight: 0.3}`."""

    generator: GeneratorField
    """The generator."""
    weight: Annotated[float, Field(gt=0.0, le=1e6, allow_inf_nan=False)] = START_WEIGHT
    """How often it starts a crystal at first, beside 1 of all other starts together; later by its success."""

    @model_validator(mode="before")
    @classmethod
    def _split_weight(cls, value: object) -> object:
        """Take the weight out of the settings of the generator."""
        if isinstance(value, str):
            return {"generator": value}
        if isinstance(value, Mapping) and "kind" in value:
            rest = {key: item for key, item in value.items() if key != "weight"}
            return {"generator": rest, **({"weight": value["weight"]} if "weight" in value else {})}
        return value

    @model_serializer
    def _join_weight(self) -> dict[str, Any]:
        """Settings of the generator with the weight, as a campaign has them."""
        return {**self.generator.model_dump(mode="json"), "weight": self.weight}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        weight = {"type": "number", "exclusiveMinimum": 0, "default": START_WEIGHT}
        return {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"kind": {"type": "string"}, "weight": weight},
                    "required": ["kind"],
                },
            ],
            "description": "A generator by name, or a mapping with kind, weight and its settings.",
        }


Generators = Annotated[tuple[GeneratorUse, ...], Field(strict=False)]


@dataclass(frozen=True, eq=False)
class GeneratorStart:
    """A start operator that takes crystals of a generator into a space.

    Attributes:
        generator: of the crystals.
        condition: that the crystals keep.
        share: how often it is used at first, against others of its kind.
        adopt: makes a genome of a crystal; None, or an `Infeasible`, where it is none of the space's.
    """

    generator: Generator
    condition: Condition
    share: float
    adopt: Callable[[Structure], Genome | None]
    arity: int = field(default=0, init=False)

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Make a genome of a generated crystal; None if none of `TRIES` requests gives one.

        Args:
            parents: none.
            rng: the only source of randomness.
        """
        del parents
        sampler = find_sampler(self.generator)
        for _ in range(TRIES):
            structures = sampler.request(int(rng.integers(2**63)), AT_ONCE, self.condition)
            for place in rng.permutation(len(structures)).tolist():
                genome = self._try_adopt(structures[place])
                if genome is not None:
                    return genome
            if not structures and sampler.is_hopeless:
                return None
        return None

    def _try_adopt(self, structure: Structure) -> Genome | None:
        try:
            return self.adopt(structure)
        except Infeasible:
            return None


def list_generator_starts(
    uses: Sequence[GeneratorUse], condition: Condition, adopt: Callable[[Structure], Genome | None]
) -> dict[str, GeneratorStart]:
    """List start operators by name for the generators of a space.

    Args:
        uses: of the campaign.
        condition: that the crystals keep.
        adopt: makes a genome of a crystal.
    """
    found: dict[str, GeneratorStart] = {}
    for use in uses:
        kind = registry.name_of(type(use.generator)).rpartition(":")[2]
        name = kind if kind not in found else f"{kind} {sum(other.startswith(kind) for other in found) + 1}"
        found[name] = GeneratorStart(cast("Generator", use.generator), condition, use.weight, adopt)
    return found


def check_generators(
    uses: Sequence[GeneratorUse], condition: Callable[[], Condition], info: ValidationInfo
) -> None:
    """Refuse generators that can make nothing under a condition.

    Settings from a store were checked when the campaign was read: their models need not be at hand to read results.

    Args:
        uses: of a space.
        condition: gives the condition of the space.
        info: of the validation.

    Raises:
        ValueError: with the reason.
    """
    if not uses or validation_context(info)[0] == STORED_FOLDER:
        return
    asked = condition()
    for use in uses:
        generator = cast("Generator", use.generator)
        try:
            reason = generator.refusal(asked)
        except InvdesignError as error:
            reason = str(error)
        if reason:
            raise ValueError(
                f"the generator '{registry.name_of(type(generator))}' can make nothing here: {reason}"
            )
