"""Stages whose properties are measured: the run hands out candidates and waits for results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from invdesign.candidate import Evaluation, Input
from invdesign.errors import RunError, nearest
from invdesign.properties import STRUCTURE_PREFIX, Unit, check_unit, is_structure
from invdesign.protocols import EvaluatorSettings

# Columns of batch and result files that are no properties.
RESERVED_COLUMNS = frozenset(
    {"candidate", "stage", "formula", "structure", "failure", "measurement", "note", "genome"}
)
# Endings of columns with the noise of a property: today's, and that of earlier versions.
NOISE_SUFFIXES = ("_noise", "_uncertainty")


class Experiment(EvaluatorSettings):
    """A stage whose results come from outside.

    `invdesign ask` hands candidates out, `invdesign tell` brings results. Nothing is computed. A candidate that
    reaches the stage waits there, for days if need be, and goes on through later stages when its result was
    told.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    provides_: dict[str, Unit] = Field(alias="provides", min_length=1)
    """Unit by property that is measured: `{conductivity: S/cm, uniformity: ""}`."""
    instructions: str = ""
    """Instructions for the person who measures; shown with every batch."""
    noise: dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] = Field(default={})
    """Standard deviation of a single measurement, by property, where a result does not state its own."""
    requires_: tuple[str, ...] = Field(alias="requires", default=(), strict=False)
    """Starting material of the work, where that is not the design alone: `[structure:relaxed]`, or an earlier property."""

    @field_validator("provides_")
    @classmethod
    def _check_provides(cls, provides: dict[str, Unit]) -> dict[str, Unit]:
        for name, unit in provides.items():
            _check_name(name)
            others = provides.keys() - {name}
            if name in RESERVED_COLUMNS or any(
                name.removesuffix(ending) in others for ending in NOISE_SUFFIXES
            ):
                raise ValueError(f"'{name}' is the name of another column of batch files; choose another")
            check_unit(name, unit)
        return provides

    @field_validator("requires_")
    @classmethod
    def _check_requires(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            _check_name(name.removeprefix(STRUCTURE_PREFIX))
        return names

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for name in self.noise:
            if name not in self.provides_:
                hint = nearest(name, self.provides_) or f"Measured are: {', '.join(self.provides_)}."
                raise ValueError(f"noise is given of '{name}', which is not measured. {hint}")
        twice = sorted(set(self.requires_) & set(self.provides_))
        if twice:
            raise ValueError(f"{twice[0]} is measured here, so that it cannot be required before")
        return self

    @property
    def requires(self) -> frozenset[str]:
        """The listed structures and properties.

        Nothing of the design by name, since every candidate can be made.
        """
        return frozenset(self.requires_)

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Units of the measured properties."""
        return dict(self.provides_)

    @property
    def external(self) -> bool:
        """True: results come from outside."""
        return True

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Refuse to compute `inputs`.

        Raises:
            RunError: always.
        """
        raise RunError(
            f"an experiment is not computed: candidates {', '.join(str(item.id) for item in inputs)} wait "
            "to be measured. Hand them out with invdesign ask, bring results with invdesign tell"
        )


def _check_name(name: str) -> None:
    if is_structure(name):
        raise ValueError(f"an experiment gives numbers, and '{name}' is a structure")
    if not name.isidentifier():
        raise ValueError(f"names are like conductivity or grain_size, got '{name}'")
