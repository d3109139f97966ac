"""Contracts of evaluators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, runtime_checkable

from invdesign import registry
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Evaluation, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.settings import Settings

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class Batch:
    """Preferred number of inputs per task, and the resource they need."""

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
        """Conditions on its own properties that candidates must meet to go on; often empty."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash that changes whenever the numbers may: with the model, its weights, the settings."""
        ...

    @property
    def potential_id(self) -> str | None:
        """Fingerprint of the potential whose energies it makes or needs; None without one."""
        ...

    @property
    def batch(self) -> Batch:
        """Preferred batch; never depends on the machine."""
        ...

    @property
    def external(self) -> bool:
        """True if results come from outside the run: measurements, or jobs run elsewhere.

        `evaluate` is then never called.
        """
        ...

    @property
    def needs_trust(self) -> bool:
        """True if it runs programs or code that the campaign names.

        A run of it then needs `--trust-code`.
        """
        ...

    def prepare(self) -> None:
        """Load the model; called once per worker, before any deadline starts."""
        ...

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Evaluate `inputs`: one evaluation per input, in order.

        A failure of one input is a value (`Evaluation.failure`); an exception fails the whole batch.
        """
        ...


class EvaluatorSettings(Settings):
    """Base class of evaluators, with the defaults of the contract."""

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

    @property
    def side_structures(self) -> frozenset[str]:
        """Names of structures it makes that are not the candidate.

        Examples are a saddle, and a crystal with an ion less.
        """
        return frozenset()

    def prepare(self) -> None:
        """Do nothing: there is no model to load."""


def find_side_structures(evaluator: Evaluator) -> frozenset[str]:
    """Names of structures that an evaluator makes and that are not the candidate.

    No stage reads them as `latest`.
    """
    return frozenset(getattr(evaluator, "side_structures", ()))


def is_evaluator(plugin: object) -> TypeGuard[Evaluator]:
    """True if `plugin` is an evaluator; False for its class."""
    return not isinstance(plugin, type) and registry.belongs_to("evaluators", plugin)


@runtime_checkable
class MeasuredEvaluator(Evaluator, Protocol):
    """An `external` evaluator whose properties are measured by people."""

    @property
    def instructions(self) -> str:
        """Instructions for the measurement, shown with every batch."""
        ...

    @property
    def noise(self) -> Mapping[str, float]:
        """Standard deviation of one measurement by property, for results without their own."""
        ...


@runtime_checkable
class ReadingEvaluator(Protocol):  # alone, so that asking for it touches no property of a plug-in
    """An evaluator that reads more properties where earlier stages of the campaign provide them."""

    def reading_from(self, known: Collection[str]) -> Evaluator:
        """Copy that requires what it can use of the `known` properties."""
        ...


@runtime_checkable
class FolderEvaluator(Evaluator, Protocol):
    """An evaluator that keeps files, such as inputs and outputs of a program."""

    def use_folder(self, folder: Path) -> None:
        """Set the `folder` for files: `work/STAGE` in the run's folder.

        Called once per worker, before `prepare`. A subfolder whose name begins with a candidate's number and a hyphen, and that
        holds a `job.json`, belongs to a job. When the candidate has ended, the run removes it if it holds no files but `job.*`;
        else the run writes the marker `job.settled.json` into it, so that its results are not read a second time.
        """
        ...


@runtime_checkable
class JobEvaluator(Evaluator, Protocol):
    """An evaluator whose jobs can run outside: inputs are written, outputs read.

    This is how it works where it is `external`.
    """

    def write_inputs(self, item: Input, folder: Path) -> None:
        """Write the inputs of the job.

        Args:
            item: the candidate.
            folder: exists, and belongs to this candidate alone.
        """
        ...

    def read_outputs(self, item: Input, folder: Path) -> Evaluation | None:
        """Read the result of the job; None while its outputs are missing.

        Args:
            item: the candidate.
            folder: the one that `write_inputs` wrote to.
        """
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """Statements of a model about its prediction for one composition.

    Attributes:
        lower, upper: ends of the 90 % prediction interval, by property; empty without one.
        outside: True if the composition lies outside the domain of the model.
        reasons: sentences that say why.
        trained: True if the model learnt from this composition; None if it does not know.
    """

    lower: Mapping[str, float] = field(default_factory=dict)
    upper: Mapping[str, float] = field(default_factory=dict)
    outside: bool = False
    reasons: tuple[str, ...] = ()
    trained: bool | None = None


class BlockScorer(Protocol):
    """Predicts properties of compositions that share their amounts: m count vectors for every element set."""

    def score_sets(self, members: IntArray) -> Mapping[str, FloatArray]:
        """Predict properties of the compositions of s element sets, by name, each shape (s, m).

        Args:
            members: shape (s, k), places of the elements in the list given at the start, in the order of the count vectors.
        """
        ...


@runtime_checkable
class EstimatingEvaluator(Protocol):
    """An evaluator that knows beforehand how long a structure takes."""

    def estimate_seconds(self, structure: Structure) -> float:
        """Estimate the time of one evaluation on this machine, s.

        Args:
            structure: of a candidate, as the space builds it.

        Raises:
            InvdesignError: the evaluator cannot compute here.
        """
        ...


@runtime_checkable
class CompositionScorer(Protocol):
    """An evaluator that predicts properties of many compositions at once, for screens.

    Its numbers are those of `evaluate`, without their intervals.
    """

    def refuse_elements(self, elements: Sequence[str]) -> Mapping[str, str]:
        """Reasons by element, for those that no scored composition may hold."""
        ...

    def prepare_counts(
        self, elements: Sequence[str], counts: IntArray, names: Collection[str]
    ) -> BlockScorer | None:
        """Prepare a fast scorer of element sets.

        None if the model has none for all these properties.

        Its numbers may differ from those of `score_compositions` by rounding.

        Args:
            elements: symbols that the sets are taken from; refused ones are in none of them.
            counts: shape (m, k), all above 0: atoms of each element, by composition.
            names: of the properties.
        """
        ...

    def score_compositions(
        self, compositions: Sequence[Mapping[str, float]], names: Collection[str]
    ) -> Mapping[str, FloatArray]:
        """Predict properties of n compositions, by name, each shape (n,).

        Numbers of a row depend on the other rows by rounding only.

        Args:
            compositions: amounts by element symbol; none holds a refused element.
            names: of the properties; there may be more in the answer.
        """
        ...

    def judge_compositions(self, compositions: Sequence[Mapping[str, float]]) -> Sequence[Judgement]:
        """Intervals and domain of the predictions, one `Judgement` per composition, in order."""
        ...
