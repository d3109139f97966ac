"""Contracts of evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeGuard, runtime_checkable

from invdesign import registry
from invdesign.candidate import Evaluation, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.settings import Settings


@dataclass(frozen=True, slots=True)
class Batch:
    """How an evaluator likes its inputs: how many at a time, and on which resource."""

    size: int = 1
    resource: Literal["cpu", "gpu"] = "cpu"


class Evaluator(Protocol):
    """Predicts named properties of a batch of inputs."""

    @property
    def requires(self) -> frozenset[str]:
        """Names of properties, `structure:ROLE`, `composition` or `parameters` it reads."""
        ...

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Unit by property name; structures it makes as `structure:ROLE` with an empty unit."""
        ...

    @property
    def gates(self) -> Sequence[Constraint]:
        """What a candidate must satisfy to go on, in its own properties; empty for most."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the numbers may: model, weights, settings."""
        ...

    @property
    def potential_id(self) -> str | None:
        """Fingerprint of the potential whose energies it makes or needs; None where it has to do with none."""
        ...

    @property
    def batch(self) -> Batch: ...
    @property
    def external(self) -> bool:
        """Whether results come from outside: somebody measures, or runs a job, and tells the run. Nothing evaluates."""
        ...

    @property
    def needs_trust(self) -> bool:
        """True if it runs programs or code that the campaign names: a run of it then wants `--trust-code`."""
        ...

    def prepare(self) -> None:
        """Load what `evaluate` needs (a model); called once per worker, before any deadline runs."""
        ...

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """One evaluation per input, in order; a failure is a value, an exception fails the whole batch."""
        ...


class EvaluatorSettings(Settings):
    """A convenient base for evaluators: the defaults of the contract."""

    @property
    def gates(self) -> Sequence[Constraint]:
        return ()

    @property
    def potential_id(self) -> str | None:
        return None

    @property
    def batch(self) -> Batch:
        return Batch()

    @property
    def external(self) -> bool:
        return False

    @property
    def needs_trust(self) -> bool:
        return False

    def prepare(self) -> None:
        """Nothing to load."""


def is_evaluator(plugin: object) -> TypeGuard[Evaluator]:
    """True if `plugin` is an evaluator, not its class."""
    return not isinstance(plugin, type) and registry.belongs_to("evaluators", plugin)


@runtime_checkable
class MeasuredEvaluator(Evaluator, Protocol):
    """An `external` evaluator whose properties somebody measures."""

    @property
    def instructions(self) -> str:
        """What to know for measuring; shown with every batch."""
        ...

    @property
    def noise(self) -> Mapping[str, float]:
        """Standard deviation of one measurement by property, where a result does not give its own."""
        ...


@runtime_checkable
class FolderEvaluator(Evaluator, Protocol):
    """An evaluator that keeps files: inputs and outputs of a program it runs."""

    def use_folder(self, folder: Path) -> None:
        """Where it may keep files: `work/STAGE` in the run's folder; called once per worker, before `prepare`.

        A folder in it that is called by a candidate's number and a hyphen, and holds a `job.json`, is a job's: when the
        candidate has ended, the run removes it where it holds no files but `job.*`, and else makes the marker
        `job.settled.json`, so that nobody takes what it says for a result that is still to be written down.
        """
        ...


@runtime_checkable
class JobEvaluator(Evaluator, Protocol):
    """An evaluator whose jobs somebody else may run: where it is `external`, its inputs are written and its outputs read."""

    def write_inputs(self, item: Input, folder: Path) -> None:
        """Write what the job needs into `folder`, which exists and is the candidate's own."""
        ...

    def read_outputs(self, item: Input, folder: Path) -> Evaluation | None:
        """What the job said; None while its outputs are not there yet."""
        ...
