"""One evaluator twice in a funnel: its properties and structures under names with a suffix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self, cast

from pydantic import Field, model_validator

from invdesign.candidate import Evaluation, Input
from invdesign.functions import FitnessFunction
from invdesign.problem import Constraint
from invdesign.properties import Unit, is_structure
from invdesign.protocols import Batch, Evaluator, EvaluatorSettings, FolderEvaluator, find_side_structures
from invdesign.settings import EvaluatorField

Suffix = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
"""Letters and digits, so that the name before the suffix can be read back."""


def add_suffix(name: str, suffix: str) -> str:
    """Name of a property or structure with a `suffix`: `energy_per_atom_7net`, `structure:relaxed_7net`."""
    return f"{name}_{suffix}"


class Suffixed(EvaluatorSettings):
    """An evaluator whose properties and structures carry a suffix in their names.

    A campaign writes it as a setting of the stage: `relax: {potential: sevennet, suffix: 7net}`.
    """

    suffix: Suffix
    """What the names of its properties and structures end with: `7net` makes `energy_per_atom_7net`."""
    evaluator: EvaluatorField
    """The evaluator."""
    reads: tuple[str, ...] = ()
    """Properties it requires that are read with the suffix too; in a campaign those that an earlier stage makes so."""

    @model_validator(mode="after")
    def _check_evaluator(self) -> Self:
        inner, kind = self._inner, self.evaluator.model_dump(mode="json", include={"kind"})["kind"]
        named_by_user = isinstance(inner, FitnessFunction | Suffixed)
        if named_by_user:
            raise ValueError(f"'{kind}' takes no suffix: it names its properties itself")
        if inner.external or isinstance(inner, FolderEvaluator):
            raise ValueError(
                f"'{kind}' takes no suffix: its results are files or measurements, under fixed names"
            )
        unknown = sorted(set(self.reads) - inner.requires)
        if unknown:
            raise ValueError(
                f"'{kind}' does not read {', '.join(unknown)}; it reads {', '.join(sorted(inner.requires))}"
            )
        return self

    @property
    def _inner(self) -> Evaluator:
        return cast("Evaluator", self.evaluator)

    def reading_from(self, known: Collection[str]) -> Suffixed:
        """Copy that reads every property under the suffix that is `known` under it."""
        reads = sorted(
            name
            for name in self._inner.requires
            if not is_structure(name) and add_suffix(name, self.suffix) in known
        )
        return self.model_copy(update={"reads": tuple(reads)})

    # The contract.

    @property
    def requires(self) -> frozenset[str]:
        return frozenset(
            add_suffix(name, self.suffix) if name in self.reads else name for name in self._inner.requires
        )

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {add_suffix(name, self.suffix): unit for name, unit in self._inner.provides.items()}

    @property
    def gates(self) -> Sequence[Constraint]:
        return [replace(gate, property=add_suffix(gate.property, self.suffix)) for gate in self._inner.gates]

    @property
    def potential_id(self) -> str | None:
        return self._inner.potential_id

    @property
    def batch(self) -> Batch:
        return self._inner.batch

    @property
    def needs_trust(self) -> bool:
        return self._inner.needs_trust

    @property
    def side_structures(self) -> frozenset[str]:
        """Names of structures that are not the candidate, with the suffix."""
        return frozenset(add_suffix(name, self.suffix) for name in find_side_structures(self._inner))

    @property
    def remarks(self) -> tuple[str, ...]:
        return self.evaluator.remarks

    def remarks_on(self, elements: frozenset[str] | None) -> tuple[str, ...]:
        return self.evaluator.remarks_on(elements)

    @property
    def fingerprint(self) -> str:
        """Hash of the suffix, the names read with it, and the evaluator's own fingerprint."""
        text = json.dumps([self.suffix, list(self.reads), self._inner.fingerprint, self.version])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def prepare(self) -> None:
        """Load the evaluator's model."""
        self._inner.prepare()

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        found = self._inner.evaluate([self._restore_names(item) for item in inputs])
        return [self._add_suffixes(evaluation) for evaluation in found]

    def _restore_names(self, item: Input) -> Input:
        """Give the evaluator the values it reads under the names it knows."""
        own = {name: item.properties[add_suffix(name, self.suffix)] for name in self.reads}
        return replace(item, properties={**item.properties, **own})

    def _add_suffixes(self, found: Evaluation) -> Evaluation:
        """Put results under the names with the suffix."""

        def rename(values: Mapping[str, Any]) -> dict[str, Any]:
            return {add_suffix(name, self.suffix): value for name, value in values.items()}

        return replace(
            found,
            properties=rename(found.properties),
            noise=rename(found.noise),
            systematic=rename(found.systematic),
            structures=rename(found.structures),
            details=rename(found.details),
        )
