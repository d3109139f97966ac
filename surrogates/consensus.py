"""Agreement of several sources on one property: mean, spread, lowest and highest value."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from invdesign.candidate import Evaluation, Input
from invdesign.errorbars import value_text
from invdesign.properties import Unit, check_unit, describe_property
from invdesign.protocols import EvaluatorSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Suffix = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Consensus(EvaluatorSettings):
    """Mean, spread, lowest and highest value of a property that several stages predict.

    One stage provides it under its own name, the others with a suffix: two potentials, each with its reference set. The
    spread is the standard deviation of the values (n - 1 in the denominator), so that it stands beside the systematic error
    of one source, a standard deviation too. Sources may err together, so the mean's systematic error is never taken to be
    smaller than that of one: it is the larger one of `systematic` and the spread.
    """

    of: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Properties to compare: `[decomposition_energy, oxidation_limit]`."""
    suffixes: Annotated[tuple[Suffix, ...], Field(min_length=1)]
    """Suffixes of the other stages: `[7net]` compares `decomposition_energy` and `decomposition_energy_7net`."""
    systematic: dict[Name, Deviation] = Field(default_factory=dict)
    """Systematic error of one source, by property: `{decomposition_energy: 0.05}`."""
    units: dict[Name, Unit] = Field(default_factory=dict)
    """Unit by property, where the vocabulary does not list it: `{hardness: GPa}`."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for what, names in (("of", self.of), ("suffixes", self.suffixes)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} names one entry twice: {', '.join(names)}")
        for what, named in (("systematic", self.systematic), ("units", self.units)):
            unknown = sorted(set(named) - set(self.of))
            if unknown:
                raise ValueError(
                    f"{what} names {', '.join(unknown)}, which is not among 'of': {', '.join(self.of)}"
                )
        for name, unit in self.units.items():
            check_unit(name, unit)
        return self

    @property
    def requires(self) -> frozenset[str]:
        return frozenset(source for name in self.of for source in self._list_sources(name))

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {
            f"{name}_{part}": self.units.get(name, describe_property(name).unit)
            for name in self.of
            for part in ("mean", "spread", "lowest", "highest")
        }

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._compare_sources(item) for item in inputs]

    def _list_sources(self, name: str) -> Iterator[str]:
        """Names of a property at all stages that predict it, the one without suffix first."""
        yield name
        yield from (f"{name}_{suffix}" for suffix in self.suffixes)

    def _compare_sources(self, item: Input) -> Evaluation:
        properties: dict[str, float] = {}
        systematic: dict[str, float] = {}
        details: dict[str, str] = {}
        for name in self.of:
            sources = list(self._list_sources(name))
            values = [item.properties[source] for source in sources]
            spread = statistics.stdev(values)
            properties[f"{name}_mean"] = statistics.fmean(values)
            properties[f"{name}_spread"] = spread
            properties[f"{name}_lowest"], properties[f"{name}_highest"] = min(values), max(values)
            own = self.systematic.get(name)
            systematic[f"{name}_mean"] = max(spread, own or 0.0)
            if own is not None:
                systematic |= dict.fromkeys((f"{name}_lowest", f"{name}_highest"), own)
            details[f"{name}_mean"] = self._describe_values(name, values, spread)
            details |= {
                f"{name}_{part}": f"that of {sources[values.index(extreme)]}"
                for part, extreme in (("lowest", min(values)), ("highest", max(values)))
            }
        return Evaluation(properties=properties, systematic=systematic, details=details)

    def _describe_values(self, name: str, values: Sequence[float], spread: float) -> str:
        """Sentence with the value of each source, their spread and the systematic error of one."""
        unit = self.units.get(name, describe_property(name).unit)
        own = self.systematic.get(name)
        labels = ("", *(f" ({suffix})" for suffix in self.suffixes))
        texts = [value_text(value, systematic=own, unit=unit).partition(" ")[0] for value in values]
        listed = ", ".join(text + label for text, label in zip(texts, labels, strict=True))
        error = "" if own is None else f"; systematic error of one {own:.2g}"
        return f"{listed}: standard deviation {spread:.2g}{error} {unit}".rstrip()
