"""The contracts between the rooms. A plug-in that keeps one (see `invdesign.testing`) is the equal of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

import numpy as np

from invdesign import registry
from invdesign.arrays import FloatArray
from invdesign.candidate import (
    Candidate,
    Design,
    Evaluation,
    Failure,
    Genome,
    Input,
    Json,
    Proposal,
    Status,
    Trial,
)
from invdesign.problem import Constraint, Problem, Scores
from invdesign.properties import Unit
from invdesign.rng import Rng, derived_seed, rng_for
from invdesign.settings import Settings

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

REACH = 1.0  # ranges of a variable beyond its limits from which models still learn; farther off, a stationary model
# says nothing of the space, and the scales it would learn are not the space's (chosen)


class Operator(Protocol):
    """Makes a genome from `arity` others: start (0), mutation (1), crossover (2)."""

    @property
    def arity(self) -> int: ...
    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """A canonical genome of the space, or None where it finds none."""
        ...


@runtime_checkable
class SearchSpace(Protocol):
    """Everything that may be proposed."""

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name; at least one has arity 0."""
        ...

    def build(self, genome: Genome) -> Design:
        """What the genome stands for; a pure function of it.

        Raises:
            Infeasible: the genome stands for nothing that can be evaluated.
        """
        ...

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d): numbers a model can learn from."""
        ...

    def canonical(self, genome: Genome) -> Genome:
        """The genome that stands for every way to write the same candidate.

        Raises:
            Infeasible: the genome is malformed.
        """
        ...

    def count(self) -> int | None:
        """Number of genomes, where the space can be counted through (a `FiniteSpace`); else None."""
        ...


class SpaceSettings(Settings):
    """A convenient base for spaces: the defaults of the contract."""

    def canonical(self, genome: Genome) -> Genome:
        """The genome itself: there is one way to write each candidate."""
        return dict(genome)

    def count(self) -> int | None:
        """None: the space cannot be counted through."""
        return None


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of a vector space.

    Attributes:
        kind: `real`, `integer`, `ordinal` (choices in an order) or `categorical` (choices in none).
        low, high: bounds, inclusive, for real and integer.
        choices: options of an ordinal or categorical dimension.
    """

    name: str
    kind: Literal["real", "integer", "ordinal", "categorical"]
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinearRule:
    """What points of the unit cube keep: sum(weight * x[column]) <= limit, or == limit.

    Attributes:
        weights: (column, weight), for the columns it is about.
        equal: whether the sum must be the limit.
    """

    weights: tuple[tuple[int, float], ...]
    limit: float
    equal: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """The dimensions of a vector space, in the order of its columns, and what is known of its genomes' codes.

    The rules and choices tell a search where genomes lie, so that it can go there directly. A space may say less
    than all: what it leaves out is a matter of `decode`.

    Attributes:
        rules: what the codes of all canonical genomes keep, to rounding.
        sparse: groups of columns of which some are 0 (absent) and which those are is a choice: at most 4 of 15.
        least: (column, smallest coordinate above 0), for columns of `sparse` that are 0 or at least so much.
        conditional: columns of dimensions that not every genome has; where it is lacking, the coordinate says nothing.
        climbable: whether points near each other stand for similar candidates, so that models learn from the points
            themselves and a search climbs in them; False where points are only a way to write a structure down.
    """

    dimensions: tuple[Dimension, ...]
    rules: tuple[LinearRule, ...] = ()
    sparse: tuple[tuple[int, ...], ...] = ()
    least: tuple[tuple[int, float], ...] = ()
    conditional: tuple[int, ...] = ()
    climbable: bool = True


@runtime_checkable
class VectorSpace(SearchSpace, Protocol):
    """A space whose genomes are points of the unit cube."""

    def domain(self) -> Domain: ...
    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d), within [0, 1]."""
        ...

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Canonical genomes for points (n, d); repairs. `decode(encode(g)) == g` for canonical g."""
        ...


@runtime_checkable
class StructureSpace(SearchSpace, Protocol):
    """A space that recognises a structure as one of its own."""

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """The genome a relaxed, seeded or generated structure stands for, or None where it is none of ours."""
        ...


class FiniteSpace(SearchSpace, Protocol):
    """A space small enough to be counted through: `count` gives a number. `is_finite` tells."""

    def __len__(self) -> int:
        """The number that `count` gives."""
        ...

    def genome(self, index: int) -> Genome: ...
    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """(index of the first row, features (<= size, d)), streamed."""
        ...


def is_finite(space: SearchSpace) -> TypeGuard[FiniteSpace]:
    """True if the space can be counted through; depends on its settings, not on its class."""
    return space.count() is not None


@runtime_checkable
class TypedSpace(SearchSpace, Protocol):
    """A space whose structures are all of one type."""

    @property
    def structure_type(self) -> str:
        """Name of the type, for people: `argyrodite`; empty where it has none."""
        ...


@runtime_checkable
class RowSpace(SearchSpace, Protocol):
    """A space whose candidates are the rows of a table."""

    @property
    def id(self) -> str | None:
        """Name of the column that identifies the rows; None where they are numbered."""
        ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of rows left out, by reason."""
        ...


@runtime_checkable
class PreparedSpace(SearchSpace, Protocol):
    """A space that reads files of its own."""

    def prepare(self) -> None:
        """Read and check them, once per process: what is wrong ends the run before anything is proposed."""
        ...


@runtime_checkable
class TabledSpace(SearchSpace, Protocol):
    """A space whose genomes a person can write as the row of a table: an amount or a choice per column."""

    def table_columns(self) -> Sequence[str]:
        """Names of the columns, in the order a person reads them; no two are the same."""
        ...

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """What stands in the columns; what the genome has no value for is left out."""
        ...

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """The genome that filled cells stand for; what is wrong with it, `build` says."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """A candidate that was made, as its space sees it.

    Attributes:
        genome: as the space writes it; what misses a rule by rounding alone is put right.
        outside: the rules of the space that it breaks, in words; empty where it keeps all.
    """

    genome: Genome
    outside: str = ""


@runtime_checkable
class OpenSpace(TabledSpace, Protocol):
    """A tabled space that describes candidates made outside it: what was made is not what was designed.

    `features`, and `encode` of a vector space, take such genomes too; their coordinates may lie beyond [0, 1].
    Operators never see them.
    """

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """By column, how far the number in a cell may be off as it is written (`candidate.rounding_of`)."""
        ...

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Where a genome lies that somebody wrote down.

        Args:
            genome: of any form.
            rounding: of the cells it was written in; nothing for a genome of exact numbers.

        Raises:
            Infeasible: it is nothing that can be made: a name is unknown, something is missing or no number.
        """
        ...

    def build_made(self, genome: Genome) -> Design:
        """The design of a genome that `place` gave, inside or outside."""
        ...


def place_genome(
    space: SearchSpace, genome: Genome, rounding: Mapping[str, float] | None = None
) -> Placement:
    """Where a candidate that was made lies: the one place where inside and outside are told apart.

    Args:
        space: of the run; a closed one has no outside.
        genome: of any form.
        rounding: by column, how far its number may be off as it was written (`OpenSpace.rounding`).

    Raises:
        Infeasible: it is no candidate, not even one outside.

    Examples:
        >>> from invdesign.settings import load
        >>> space = load("spaces", {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}})
        >>> place_genome(space, {"x": 0.5})
        Placement(genome={'x': 0.5}, outside='')
        >>> place_genome(space, {"x": 1.5}).outside
        'x must be a number in [0, 1], got 1.5'
    """
    if isinstance(space, OpenSpace):
        return space.place(genome, rounding or {})
    space.build(genome)
    written = getattr(space, "canonical", dict)(genome)  # a space may write one candidate in several ways
    return Placement(written)


def design_of(space: SearchSpace, genome: Genome, *, outside: bool = False) -> Design:
    """What the genome of a candidate stands for.

    Args:
        space: of the run.
        genome: the candidate's.
        outside: whether it was made outside the space (`Candidate.outside`).

    Raises:
        Infeasible: the genome stands for nothing that can be evaluated.
    """
    return space.build_made(genome) if outside and isinstance(space, OpenSpace) else space.build(genome)


def is_near(space: SearchSpace, genome: Genome) -> bool:
    """Whether models of the space may learn from a genome made outside it: it lies no farther off than `REACH`."""
    if not isinstance(space, VectorSpace):
        return True
    point = np.asarray(space.encode([genome]), dtype=np.float64)
    return bool(((point >= -REACH) & (point <= 1.0 + REACH)).all())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One column of a space's features, as a person knows it.

    Attributes:
        name: of the column, of no other.
        group: columns of one group belong together: what is learned may be a sum over the groups.
        kind: `category` where two different values are only different.
    """

    name: str
    group: str
    kind: Literal["number", "category"] = "number"


@runtime_checkable
class DescribedSpace(SearchSpace, Protocol):
    """A space that says what its features are."""

    def descriptors(self) -> Sequence[Descriptor]:
        """One per column of `features`, in order; their names differ."""
        ...


def descriptors_of(space: SearchSpace, width: int) -> tuple[Descriptor, ...]:
    """What the `width` features of a space are called: `feature 1` and so on where it does not say.

    Raises:
        ValueError: the space describes another number of features.
    """
    if not isinstance(space, DescribedSpace):
        return tuple(Descriptor(f"feature {number}", f"feature {number}") for number in range(1, width + 1))
    found = tuple(space.descriptors())
    if len(found) != width:
        raise ValueError(
            f"{type(space).__name__} has {width} features and describes {len(found)}: `descriptors` gives one each"
        )
    return found


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage of the funnel as an optimizer sees it.

    Attributes:
        provides: names of the properties and structures it gives; where several stages give the same property, the
            last one's is the property's value, and the others' are `History.column(name, stage)`.
        on_demand: whether only promotions by the user enter it; optimizers see no such stage.
        external: whether its results come from outside: costly, however long they take.
    """

    name: str
    provides: frozenset[str]
    on_demand: bool = False
    external: bool = False


class History(Protocol):
    """Every trial of the run, pending ones included."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object) -> bool:
        """Whether a candidate with this key was asked."""
        ...

    def id_of(self, key: str) -> int | None:
        """Number of the latest trial with this key: of a genome that was taken further, the one that did."""
        ...

    def superseded(self) -> Sequence[int]:
        """Numbers, ascending, of trials whose genome a later trial took further and has ended.

        All they know the later trial knows too, and the genome stands where that one stands.
        """
        ...

    def outside(self) -> Sequence[int]:
        """Numbers, ascending, of candidates that were made outside the space and told with their results.

        Models may learn from their columns. To a search they are as pending ones in `scores`: none is a parent, none
        the best so far; nor is an optimizer told of them.
        """
        ...

    def candidate(self, id: int) -> Candidate:
        """What was proposed under this number: cheaper than the whole trial."""
        ...

    def trial(self, id: int) -> Trial: ...
    def pending(self) -> Sequence[int]:
        """Numbers of trials asked and not finished, ascending."""
        ...

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), NaN where unknown; of the funnel's last stage that provides it, or of `stage`.

        A trial that ended before that last stage has none, whatever earlier stages said.
        """
        ...

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), one standard deviation of repeating what `column` gives, NaN where unknown."""
        ...

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        """Shape (n,), one standard deviation of the method that gave `column`, NaN where unknown.

        An error that the candidates of a chemistry share: to be shown, never to be learned from.
        """
        ...

    def seconds(self, stage: str) -> FloatArray:
        """Shape (n,), what the stage took for every trial it ran for; NaN where it did not, or the cache knew."""
        ...

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        """Of all trials, or of `ids` in their order: cost proportional to what is asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an optimizer sees at one event.

    Attributes:
        event: number of the event; randomness comes from `(seed, event, stream)` alone.
        seeds: genomes the user wants evaluated first.
        cache: may be dropped at any time without changing a result.
        stages: the funnel after the build stage, in order; empty where nobody says.
        budget: how many candidates the run may hold in all as its budget says now, None where only hours limit it.
            It may change at a resume: who reads it does so once, and journals what followed.
    """

    space: SearchSpace
    problem: Problem
    history: History
    seed: int
    event: int = 0
    seeds: tuple[Genome, ...] = ()
    cache: MutableMapping[str, object] = field(default_factory=dict)
    stages: tuple[StageView, ...] = ()
    budget: int | None = None

    def admits(self, key: str, until: str | None = None) -> bool:
        """Whether a genome may be proposed to run until that stage: a new one, or a promotion.

        A promotion takes a known genome further: its latest trial is complete and ended before `until`. What was made
        outside the space is never proposed.
        """
        if key not in self.history:
            return True
        latest = self.history.id_of(key)
        if latest is None or not self.stages:
            return False
        trial = self.history.trial(latest)
        if trial.candidate.outside:
            return False
        return trial.status is Status.COMPLETE and trial.depth < depth_until(self.stages, until)

    def rng(self, stream: str) -> Rng:
        """The generator of one purpose within this event."""
        return rng_for(self.seed, self.event, stream)

    def derived_seed(self, stream: str) -> int:
        """A seed of one purpose within this event, for `borrowed_globals`."""
        return derived_seed(self.seed, self.event, stream)


def depth_until(stages: Sequence[StageView], until: str | None) -> int:
    """How many stages, the build stage included, a candidate passes that runs `until` this one; all for None."""
    names = [stage.name for stage in stages]
    return names.index(until) + 2 if until in names else len(names) + 1


def notes_of(state: Json) -> dict[str, str]:
    """What an optimizer's state has to tell the user, sentence by code.

    They stand under `notes`; those of the states under `members` (a mapping or a list) count too, each with its
    member's name before the code.
    """
    if not isinstance(state, dict):
        return {}
    own = state.get("notes")
    found = {str(code): str(said) for code, said in own.items()} if isinstance(own, dict) else {}
    members = state.get("members")
    named = (
        members.items()
        if isinstance(members, dict)
        else enumerate(members or ())
        if isinstance(members, list)
        else ()
    )
    for name, member in named:
        found.update({f"{name}.{code}": said for code, said in notes_of(member).items()})
    return found


S = TypeVar("S", bound=Json)


class Optimizer(Protocol[S]):
    """A frozen configuration. Its state is a JSON value: ids, counters and credit, never genomes or values.

    A state that is a mapping may hold `notes`: what the user should hear once, a sentence by code (`notes_of`).
    """

    @property
    def batch(self) -> int:
        """How many candidates it likes to be asked for at a time; never depends on the machine."""
        ...

    @property
    def overlap(self) -> int:
        """How many asks may be under way at once: 1 is synchronous; never depends on the machine."""
        ...

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        """Why it cannot search this space for these objectives, as in "swarm REFUSAL"; empty where it can."""
        ...

    def start(self, context: Context) -> S: ...
    def ask(self, context: Context, state: S, n: int) -> tuple[Sequence[Proposal], S]:
        """At most n proposals that `context.admits`: new ones, and promotions; no genome twice in one answer."""
        ...

    def tell(self, context: Context, state: S, ids: Sequence[int]) -> S:
        """Take note that these trials finished, whoever asked for them."""
        ...


class OptimizerSettings(Settings):
    """A convenient base for optimizers: the defaults of the contract."""

    @property
    def overlap(self) -> int:
        return 1

    def refusal(self, space: SearchSpace, problem: Problem) -> str:  # noqa: ARG002 - it searches anything
        return ""


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


@dataclass(frozen=True, slots=True)
class Forces:
    """What a potential says of one arrangement of n atoms.

    Attributes:
        energy: eV, whole cell.
        forces: shape (n, 3), eV/Å.
        stress: shape (3, 3), eV/Å^3, ASE's sign (positive is under tension); None where not asked for.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None


class Potential(Protocol):
    """Energy, forces and stress of atoms."""

    @property
    def fingerprint(self) -> str:
        """Name, version and a hash of the weights: energies of different fingerprints never meet."""
        ...

    @property
    def label(self) -> str:
        """Name for people: `CHGNet 0.3.0`."""
        ...

    def prepare(self) -> None:
        """Load what `compute` needs (weights); called once per worker, before any deadline runs."""
        ...

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        """One answer per arrangement; `want` holds `energy`, `forces`, `stress`."""
        ...


class PotentialSettings(Settings):
    """A convenient base for potentials: the defaults of the contract."""

    @property
    def label(self) -> str:
        return registry.name_of(type(self))

    def prepare(self) -> None:
        """Nothing to load."""


def potential_of(plugin: Settings) -> Potential:
    """The potential that a setting of the type `PotentialField` holds.

    Args:
        plugin: loaded from the group `potentials` alone, where the registry checks the contract.
    """
    return cast("Potential", plugin)


@dataclass(frozen=True, slots=True)
class Task:
    """A batch of one stage's inputs, as it crosses to a worker.

    Attributes:
        id: number in the run.
        payload: JSON text that `worker.execute` understands.
        deadline: seconds until the worker is replaced.
        resource: `cpu` or `gpu`.
    """

    id: int
    payload: str
    deadline: float
    resource: str = "cpu"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task: the worker's JSON text, or why there is none.

    Attributes:
        lost: set where the worker died, hung or ran out of memory; its `stage` is empty.
    """

    id: int
    payload: str | None
    lost: Failure | None = None


class Engine(Protocol):
    """Where tasks run."""

    def slots(self, resource: str) -> int:
        """How many tasks can run at once."""
        ...

    def submit(self, task: Task) -> None: ...
    def next_done(self, timeout: float) -> Sequence[TaskResult]:
        """Whatever finished, waiting up to `timeout` seconds for the first; empty when nothing did."""
        ...

    def close(self) -> None:
        """Stop the workers, at once."""
        ...


AnyOptimizer = Optimizer[Any]
