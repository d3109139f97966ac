"""Agreement of several sources on one property: mean, spread, lowest and highest value."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from invdesign.candidate import Evaluation, Input
from invdesign.errorbars import value_text
from invdesign.properties import Unit, check_unit, describe_property, words_beside
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
    flags: tuple[Name, ...] = ()
    """Flags of the sources that are read (`window_of_products`), so that their words stand beside the mean and the extremes too; a
    campaign sets those that earlier stages provide."""

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

    def reading_from(self, known: Collection[str]) -> Consensus:
        """Copy that reads the flags of its sources among the `known` properties."""
        marks = (describe_property(source).mark for name in self.of for source in self._list_sources(name))
        flags = dict.fromkeys(mark.flag for mark in marks if mark is not None and mark.flag in known)
        return self.model_copy(update={"flags": tuple(flags)})

    @property
    def requires(self) -> frozenset[str]:
        return frozenset((*self.flags, *(source for name in self.of for source in self._list_sources(name))))

    @property
    def provides(self) -> Mapping[str, Unit]:
        values = {
            f"{name}_{part}": self.units.get(name, describe_property(name).unit)
            for name in self.of
            for part in ("mean", "spread", "lowest", "highest")
        }
        flags = (self._find_flag(name, part) for name in self.of for part in ("mean", "lowest", "highest"))
        return {**values, **{flag: "" for flag in flags if flag is not None}}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._compare_sources(item) for item in inputs]

    def _list_sources(self, name: str) -> Iterator[str]:
        """Names of a property at all stages that predict it, the one without suffix first."""
        yield name
        yield from (f"{name}_{suffix}" for suffix in self.suffixes)

    def _find_flag(self, name: str, part: str) -> str | None:
        """Flag of the mean or of an extreme of a property; None where no flag of its sources is read."""
        own = describe_property(f"{name}_{part}").mark
        marks = (describe_property(source).mark for source in self._list_sources(name))
        read = any(mark is not None and mark.flag in self.flags for mark in marks)
        return own.flag if own is not None and read else None

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
            words = [words_beside(source, item.properties.get) for source in sources]
            details[f"{name}_mean"] = self._describe_values(name, values, words, spread)
            behind = {"mean": range(len(values))}
            for part, extreme in (("lowest", min(values)), ("highest", max(values))):
                place = values.index(extreme)
                behind[part] = range(place, place + 1)
                details[f"{name}_{part}"] = f"that of {sources[place]}"
            for part, places in behind.items():
                if (flag := self._find_flag(name, part)) is not None:  # several properties may share it
                    marked = float(any(words[place] for place in places))
                    properties[flag] = max(marked, properties.get(flag, 0.0))
        return Evaluation(properties=properties, systematic=systematic, details=details)

    def _describe_values(
        self, name: str, values: Sequence[float], words: Sequence[str], spread: float
    ) -> str:
        """Sentence with the value of each source and the `words` beside it, their spread and the systematic error of one."""
        unit = self.units.get(name, describe_property(name).unit)
        own = self.systematic.get(name)
        labels = ("", *(f" ({suffix})" for suffix in self.suffixes))
        texts = [value_text(value, systematic=own, unit=unit).partition(" ")[0] for value in values]
        beside = (f" {said}" if said else "" for said in words)
        listed = ", ".join(map("".join, zip(texts, labels, beside, strict=True)))
        error = "" if own is None else f"; systematic error of one {own:.2g}"
        return f"{listed}: standard deviation {spread:.2g}{error} {unit}".rstrip()
