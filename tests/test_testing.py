"""The checks find what they are for: one broken plug-in per rule, and the history they run on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Candidate, Design, Evaluation, Failure, Genome, Input, Proposal, Status
from invdesign.errors import Infeasible
from invdesign.optimizers.random import RandomSearch
from invdesign.problem import Constraint, Merit, Objective, Problem
from invdesign.protocols import Batch, Descriptor, EvaluatorSettings, History, Placement
from invdesign.settings import Settings
from invdesign.spaces.crystal import CrystalSpace
from invdesign.spaces.operators import GenomeOperator
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import MemoryHistory, check_evaluator, check_optimizer, check_space
from surrogates.tabulated.landscape import Landscape

REALS = {"parameters": {"x": {"real": (-5.0, 5.0)}, "y": {"real": (0.0, 1.0)}}}
WHOLES = {"parameters": {"n": {"integer": (1, 6)}, "c": {"categorical": ("a", "b")}}}


# Spaces


class NoStart(ParameterSpace):
    """Knows mutations only."""

    def operators(self) -> Any:
        return {name: op for name, op in super().operators().items() if op.arity}


class _Replaced(ParameterSpace):
    """Has one more operator."""

    def operators(self) -> Any:
        return {**super().operators(), "zebra": GenomeOperator(1, self._zebra)}

    def _zebra(self, parents: Sequence[Any], rng: Any) -> Any:
        raise NotImplementedError


class GlobalDraw(_Replaced):
    """Draws from the global generator."""

    def _zebra(self, parents: Sequence[Any], rng: Any) -> Any:
        return {**parents[0], "y": round(random.random(), 6)}


class EatsParents(_Replaced):
    """Makes the child out of the parent itself."""

    def _zebra(self, parents: Sequence[Any], rng: Any) -> Any:
        parents[0]["y"] = 0.125
        return parents[0]


class Forgetful(_Replaced):
    """Gives something else at every call."""

    def _zebra(self, parents: Sequence[Any], rng: Any) -> Any:
        CALLS.append(1)
        return {**parents[0], "y": len(CALLS) / 1024}


class TooManyDigits(_Replaced):
    """Gives a third with all its digits."""

    def _zebra(self, parents: Sequence[Any], rng: Any) -> Any:
        return {**parents[0], "y": 1 / 3}


class LosesDigits(ParameterSpace):
    """Decodes to three digits only."""

    def decode(self, x: Any) -> Any:
        return [{name: round(value, 3) for name, value in genome.items()} for genome in super().decode(x)]


class RaisesKeyError(ParameterSpace):
    """Trusts its genomes."""

    def build(self, genome: Genome) -> Design:
        return Design(parameters={name: genome[name] for name in self.parameters})  # type: ignore[misc]


class AcceptsAnything(ParameterSpace):
    """Builds whatever it is given."""

    def build(self, genome: Genome) -> Design:
        return Design()


class Moody(ParameterSpace):
    """Builds another design each time."""

    def build(self, genome: Genome) -> Design:
        super().build(genome)
        CALLS.append(1)
        return Design(parameters={"x": float(len(CALLS))})


class Sociable(ParameterSpace):
    """Scales features by the batch."""

    def features(self, genomes: Sequence[Genome]) -> Any:
        found = super().features(genomes)
        return found / max(float(found.max()), 1e-9)


class Silent(ParameterSpace):
    """Describes one feature less than it has."""

    def descriptors(self) -> Any:
        return super().descriptors()[1:]


class Lenient(ParameterSpace):
    """Calls outside what it builds."""

    def place(self, genome: Genome, rounding: Any) -> Placement:
        placement = super().place(genome, rounding)
        return Placement(placement.genome, placement.outside or "a feeling")


class Narrow(ParameterSpace):
    """Describes only what it may propose."""

    def features(self, genomes: Sequence[Genome]) -> Any:
        found = super().features(genomes)
        return np.where(found > 1.0, np.nan, found)


class Namesakes(ParameterSpace):
    """Calls all its features the same."""

    def descriptors(self) -> Any:
        return [Descriptor("x", descriptor.group) for descriptor in super().descriptors()]


class Repeats(ParameterSpace):
    """Gives the same genome for two indices."""

    def genome(self, index: int) -> Any:
        return super().genome(index // 2 if 0 <= index < len(self) else index)


class Incomplete(ParameterSpace):
    """Counts one genome less than its operators make."""

    def count(self) -> int:
        return (super().count() or 0) - 1


class Oversized(ParameterSpace):
    """Gives a size of one genome more than it counts."""

    def count(self) -> int | None:
        return super().size()

    def size(self) -> int:
        return (super().size() or 0) + 1


class WrongBlocks(ParameterSpace):
    """Streams its features backwards."""

    def blocks(self, size: int) -> Iterator[tuple[int, Any]]:
        for start, block in super().blocks(size):
            yield start, block[::-1]


CALLS: list[int] = []


CRYSTALS = {"formula": "MgO", "formula_units": 1}


class Blind(CrystalSpace):
    """Takes distances from the origin of the cell, not from atom to atom."""

    def fingerprints(self, genomes: Sequence[Genome]) -> Any:
        return np.array([np.array(genome["positions"]).sum(axis=0) for genome in genomes])


class Crowded(CrystalSpace):
    """Depends on the genomes beside a crystal."""

    def fingerprints(self, genomes: Sequence[Genome]) -> Any:
        return super().fingerprints(genomes) + len(genomes)


class Forgets(CrystalSpace):
    """Adopts every structure as one crystal."""

    def adopt(self, structure: Any, parent: Genome | None) -> Any:
        salt = {"cell": [3.0, 0.0, 3.0, 0.0, 0.0, 3.0], "counts": {"Mg": 1, "O": 1}}
        return {**salt, "positions": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]}


class Refuses(CrystalSpace):
    """Adopts nothing."""

    def adopt(self, structure: Any, parent: Genome | None) -> Any:
        raise Infeasible("not today")


class Strict(CrystalSpace):
    """Builds other crystals than its operators make."""

    def build(self, genome: Genome) -> Design:
        if len(genome) == 3 and genome["cell"] and genome["cell"][0] > 2.5:
            raise Infeasible("too long")
        return super().build(genome)


class Heirless(CrystalSpace):
    """Names no role of a structure."""

    @property
    def inherits_from(self) -> Any:
        return ()


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Blind, "fingerprints must not depend on the origin|adopt must give the crystal that was built"),
        (Crowded, "the fingerprint of a genome must not depend on its neighbours"),
        (Forgets, "adopt must give the crystal that was built"),
        (Refuses, "adopt must take the structure built from"),
        (Strict, "operators must keep composition, distances and bounds: build refused .* too long"),
        (Heirless, "inherits_from names roles of structures"),
    ],
)
def test_broken_spaces_of_crystals_are_found(kind: type[CrystalSpace], rule: str) -> None:
    """Each rule of spaces that inherit and recognise crystals has a space that breaks it."""
    with pytest.raises(AssertionError, match=rule):
        check_space(kind.model_validate(CRYSTALS), samples=3)


@pytest.mark.parametrize(
    ("kind", "fields", "rule"),
    [
        (NoStart, REALS, "needs an operator of arity 0"),
        (GlobalDraw, REALS, "operator 'zebra' must not draw from the global random"),
        (EatsParents, REALS, "operator 'zebra' must not change its parents"),
        (Forgetful, REALS, "operator 'zebra' must repeat itself"),
        (TooManyDigits, REALS, "operator 'zebra' must give canonical genomes"),
        (LosesDigits, REALS, r"decode\(encode\(genome\)\) must be the genome itself"),
        (RaisesKeyError, REALS, r"build must raise Infeasible for \{\}, got KeyError"),
        (AcceptsAnything, REALS, r"build must raise Infeasible for \{\}, got a design"),
        (Moody, REALS, "build must give equal designs"),
        (Sociable, REALS, "must not depend on its neighbours"),
        (Silent, REALS, "descriptors gives one per feature: 2, got 1"),
        (Lenient, REALS, "place must find genomes of the space inside it"),
        (Narrow, REALS, "features must be finite, of .* too"),
        (Namesakes, REALS, "descriptors must have different names, got more than one x"),
        (Repeats, WHOLES, "12 indices gave 6 different genomes"),
        (Incomplete, WHOLES, "genomes that counting through never meets"),
        (WrongBlocks, WHOLES, "of blocks must equal its features"),
        (Oversized, WHOLES, "size and count must agree: 13 and 12"),
    ],
)
def test_broken_spaces_are_found(kind: type[ParameterSpace], fields: Any, rule: str) -> None:
    """Each rule of the contract of spaces has a space that breaks only it."""
    with pytest.raises(AssertionError, match=rule):
        check_space(kind.model_validate(fields))


# Optimizers


class Remembers(RandomSearch):
    """Keeps the number of every trial."""

    def start(self, context: Any) -> Any:
        return {**super().start(context), "all": []}

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, new = super().ask(context, state, n)
        return proposals, {**new, "all": state["all"]}

    def tell(self, context: Any, state: Any, ids: Sequence[int]) -> Any:
        return {**state, "all": [*state["all"], *ids]}


class Stutters(RandomSearch):
    """Proposes the first of a batch twice."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, state = super().ask(context, state, max(n - 1, 1))
        return [*proposals, proposals[0]][:n] if proposals else proposals, state


class Pushy(RandomSearch):
    """Gives more than was asked for."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        return super().ask(context, state, n + 1)


class Hidden(RandomSearch):
    """Keeps part of its state in the object, where a resume loses it."""

    @cached_property
    def _asked(self) -> list[int]:
        return []

    def ask(self, context: Any, state: Any, n: int) -> Any:
        self._asked.append(n)
        return super().ask(context, state, max(n - len(self._asked) % 2, 0))


class Cached(RandomSearch):
    """Lets the cache decide."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        count = context.cache.setdefault("asked", [])
        count.append(n)
        return super().ask(context, state, max(n - len(count) % 2, 0))


class Global(RandomSearch):
    """Shuffles with the global generator."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, state = super().ask(context, state, n)
        random.shuffle(list(proposals))
        return proposals, state


class Constant(RandomSearch):
    """Ignores the seed of the run."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        fixed = type(context)(
            context.space, context.problem, context.history, 0, context.event, context.seeds
        )
        return super().ask(fixed, state, n)


class Unseeded(RandomSearch):
    """Passes over the user's genomes."""

    def start(self, context: Any) -> Any:
        return {"seeds": len(context.seeds), "position": 0}


class Impatient(RandomSearch):
    """Gives up before a space is exhausted."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        return super().ask(context, state, n) if len(context.history) < 20 else ((), state)


class Tuples(RandomSearch):
    """Has a state that comes back from JSON as something else."""

    def start(self, context: Any) -> Any:
        return {**super().start(context), "pair": (1, 2)}

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, new = super().ask(context, state, n)
        return proposals, {**new, "pair": (1, 2)}


class Edits(RandomSearch):
    """Changes the state it was given."""

    def tell(self, context: Any, state: Any, ids: Sequence[int]) -> Any:
        state["position"] += 1
        return state


class Trusting(RandomSearch):
    """Reads all that is told as if it were complete."""

    def tell(self, context: Any, state: Any, ids: Sequence[int]) -> Any:
        for id in ids:
            assert context.history.trial(id).properties["near"] >= 0, "KeyError before this"
        return state


class Nameless(RandomSearch):
    """Does not say which operator made a genome."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, state = super().ask(context, state, n)
        return [Proposal(proposal.genome) for proposal in proposals], state


class Follows(RandomSearch):
    """Breeds from the last trial, whatever that is."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, state = super().ask(context, state, n)
        parents = tuple(context.history.outside()[-1:])
        return [Proposal(proposal.genome, parents, "follow") for proposal in proposals], state


class Strays(RandomSearch):
    """Proposes a step away from what was made outside the space."""

    def ask(self, context: Any, state: Any, n: int) -> Any:
        proposals, state = super().ask(context, state, n)
        for id in context.history.outside()[-1:]:
            genome = dict(context.history.candidate(id).genome)
            near = Proposal({**genome, "x": genome["x"] + 0.5**context.event}, operator="stray")
            proposals = [near, *proposals[1:]]
        return proposals, state


class Shy(RandomSearch):
    """Refuses everything."""

    def refusal(self, space: Any, problem: Any) -> str:
        return "needs more time"


class Timeless(RandomSearch):
    """Has no asks under way."""

    @property
    def overlap(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Shy, "refuses all it could be checked on: needs more time"),
        (Timeless, "overlap is a whole number above 0, got 0"),
        (Remembers, "state must not grow with the history"),
        (Stutters, "must not propose what was asked before"),
        (Pushy, "may give 4 proposals at most, got 5"),
        (Hidden, "resumed from its state at every step"),
        (Cached, "resumed from its state at every step"),
        (Global, "ask must not draw from the global random"),
        (Constant, "another seed must give another run"),
        (Unseeded, "seeds come first"),
        (Impatient, "a finite space of 24 must be proposed whole, got 2"),
        (Tuples, "the state must be plain JSON"),
        (Edits, "tell must return a new state and leave the old one alone"),
        (Nameless, "names the operator"),
        (Follows, "what was made outside the space is no parent"),
        (Strays, "ask must stay within the space"),
    ],
)
def test_broken_optimizers_are_found(kind: type[RandomSearch], rule: str) -> None:
    """Each rule of the contract of optimizers has an optimizer that breaks only it."""
    with pytest.raises(AssertionError, match=rule):
        check_optimizer(kind(batch=4), trials=60)


def test_optimizers_meet_trials_of_every_kind() -> None:
    """An optimizer that takes every trial for complete does not come through."""
    with pytest.raises(KeyError, match="near"):
        check_optimizer(Trusting(batch=4), trials=60)


# Evaluators


class WrongUnit(Landscape):
    """Gives a known property in a unit of its own."""

    @property
    def provides(self) -> Mapping[str, str]:
        return {"decomposition_energy": "meV/atom"}


class Ungated(Landscape):
    """Gates on what it does not provide."""

    @property
    def gates(self) -> Sequence[Constraint]:
        return (Constraint("volume_per_atom", max=1.0),)


class SameFingerprint(Landscape):
    """Has one fingerprint whatever its settings."""

    @property
    def fingerprint(self) -> str:
        return "landscape"


class RandomFingerprint(Landscape):
    """Has another fingerprint in every process."""

    @property
    def fingerprint(self) -> str:
        return str(id(self))


class _Changed(Landscape):
    """Changes what the landscape found."""

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [
            self._change(item, evaluation, len(inputs))
            for item, evaluation in zip(inputs, super().evaluate(inputs), strict=True)
        ]

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        raise NotImplementedError


class Short(Landscape):
    """Drops what it cannot do."""

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return super().evaluate(inputs[1:])


class Chatty(_Changed):
    """Gives more than it promised."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(properties={**evaluation.properties, "depth": 1.0})


class NotANumber(_Changed):
    """Gives NaN."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(properties={"height": float("nan")})


class NumpyNumber(_Changed):
    """Gives single precision."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(properties={"height": np.float32(1.0)})  # type: ignore[dict-item]


class Negative(_Changed):
    """Says a negative standard deviation."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(evaluation.properties, systematic={"height": -1.0})


class Strange(_Changed):
    """Says the noise of a property of others."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(evaluation.properties, noise={"depth": 1.0})


class Wordy(_Changed):
    """Says a detail over two lines."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(evaluation.properties, details={"height": "first\nsecond"})


class BothAtOnce(_Changed):
    """Fails, with results."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        failure = Failure("error", "x", "a reason") if item.candidate.id == 0 else None
        return Evaluation(properties=evaluation.properties, failure=failure)


class Mumbles(_Changed):
    """Fails with a cause nobody knows."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        failure = Failure("bad luck", "x", "a reason") if item.candidate.id == 0 else None
        return Evaluation(failure=failure) if failure else evaluation


class Hopeless(_Changed):
    """Always fails."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(failure=Failure("error", "x", "a reason"))


class BatchSized(_Changed):
    """Depends on how many are evaluated at once."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(properties={"height": float(count)})


class Curious(_Changed):
    """Reads what it did not require."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        return Evaluation(properties={"height": float(item.candidate.id)})


class Scribbles(_Changed):
    """Leaves notes in its inputs."""

    def _change(self, item: Input, evaluation: Evaluation, count: int) -> Evaluation:
        item.properties["note"] = 1.0  # type: ignore[index]
        return evaluation


class Ordered(Landscape):
    """Depends on the place in the batch."""

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        found = super().evaluate(inputs)
        if len(found) > 1:
            first = found[0].properties["height"] + (inputs[0].candidate.id > 0)
            found = [Evaluation(properties={"height": first}), *found[1:]]
        return found


class Aloof(Landscape):
    """Requires nothing."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset()


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Aloof, "requires nothing gets one cached result for all"),
        (WrongUnit, "'decomposition_energy' is in eV/atom by the vocabulary, got 'meV/atom'"),
        (Ungated, "a gate is on a property of its own, got 'volume_per_atom'"),
        (SameFingerprint, "fingerprint must change with"),
        (RandomFingerprint, "fingerprint must be the same in every process"),
        (Short, "one evaluation per input: 3, got 2"),
        (Chatty, "exactly what is promised"),
        (NotANumber, "'height' must be a finite Python number"),
        (NumpyNumber, "'height' must be a finite Python number"),
        (Negative, "systematic is 0 or more"),
        (Strange, "noise belongs to a property of the same evaluation"),
        (Wordy, "the detail of 'height' is one line"),
        (BothAtOnce, "a failure comes without results"),
        (Mumbles, "kind is one of .* got 'bad luck'"),
        (Hopeless, "no input could be evaluated"),
        (BatchSized, "a batch of one must give what a batch of many does"),
        (Curious, "may read only what it requires"),
        (Scribbles, "must not change its inputs"),
        (Ordered, "order within a batch must not matter"),
    ],
)
def test_broken_evaluators_are_found(kind: type[Landscape], rule: str) -> None:
    """Each rule of the contract of evaluators has an evaluator that breaks only it."""
    with pytest.raises(AssertionError, match=rule):
        check_evaluator(kind(function="sphere"))


def test_settings_that_only_cost_may_share_a_fingerprint() -> None:
    """What cannot change a number, such as the batch size, is excused by name."""
    check_evaluator(SameFingerprint(function="sphere"), cost_only=("delay", "batch_size"))


class Bond(EvaluatorSettings):
    """The shortest distance and the structure itself: an evaluator of structures, in few lines."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"structure:initial", "composition", "energy_per_atom"})

    @property
    def provides(self) -> Mapping[str, str]:
        return {"shortest": "Å", "structure:same": ""}

    @property
    def batch(self) -> Batch:
        return Batch(2)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [
            Evaluation(
                properties={"shortest": float(np.unique(item.structures["initial"].distance_matrix)[1])},
                structures={"same": item.structures["initial"]},
            )
            for item in inputs
        ]


def test_evaluators_of_structures_get_structures() -> None:
    """Without inputs of the author's, the check makes crystals, compositions and properties that are required."""
    check_evaluator(Bond())


def test_one_input_is_too_few() -> None:
    """A single input shows nothing about batches."""
    single = Input(Candidate(0, "k", Proposal({})), Design(parameters={"x": 1.0}), {}, {}, 0)
    with pytest.raises(AssertionError, match="two inputs or more, got 1"):
        check_evaluator(Landscape(function="sphere"), [single])


def test_plugins_are_found_again_by_their_module() -> None:
    """A class inside a function could not be built anew in a worker."""

    class Local(Settings):
        """Nobody else can import it."""

    with pytest.raises(AssertionError, match="define plug-ins at the top of a module"):
        check_space(Local())


# The history


def test_a_history_in_memory_is_a_history() -> None:
    """It counts, finds keys, tells what is pending, and scores by the problem."""
    problem = Problem((Objective("a", "maximize"),), (Constraint("b", max=1.0),))
    history = MemoryHistory(problem)
    typed: History = history
    ids = [history.add(Proposal({"n": n})) for n in range(4)]
    history.finish(0, {"a": 2.0, "b": 0.5})
    history.finish(1, {"a": 3.0, "b": 1.5})
    history.finish(2, status=Status.FAILED)
    assert (len(typed), list(typed.pending())) == (4, [3])
    assert typed.candidate(2).key in typed
    assert "another" not in typed
    assert typed.trial(2).failure is not None
    assert np.array_equal(typed.column("a"), [2.0, 3.0, np.nan, np.nan], equal_nan=True)
    scores = typed.scores([3, 1, 0])
    assert scores.ids.tolist() == [3, 1, 0]
    assert scores.merit.tolist() == [Merit.PENDING, Merit.VIOLATING, Merit.FEASIBLE]
    assert typed.scores().ids.tolist() == ids


def test_a_history_in_memory_may_have_stages() -> None:
    """What each stage said and took, with its uncertainty; without it, all evaluators are one stage."""
    history = MemoryHistory(Problem((Objective("a", "minimize"),)))
    for n in (0, 1, 2):
        history.add(Proposal({"n": n}))
    history.finish(0, {"a": 1.0}, noise={"a": 0.1}, systematic={"a": 0.3})
    said = {"cheap": {"a": 3.0}, "dear": {"a": 2.0}}
    history.finish(1, {"a": 2.0}, by_stage=said, noise_by_stage={"cheap": {"a": 0.5}}, seconds={"cheap": 1.0})
    history.finish(2, by_stage={"cheap": {"a": 4.0}}, seconds={"cheap": 2.0})
    nan = np.nan
    for found, expected in (
        (history.column("a"), [1.0, 2.0, nan]),
        (history.column("a", "cheap"), [1.0, 3.0, 4.0]),
        (history.column("a", "dear"), [1.0, 2.0, nan]),
        (history.noise("a"), [0.1, nan, nan]),
        (history.noise("a", "cheap"), [0.1, 0.5, nan]),
        (history.systematic("a"), [0.3, nan, nan]),
        (history.seconds("cheap"), [nan, 1.0, 2.0]),
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_promotion_in_memory() -> None:
    """The latest trial of a genome is found by its key, and counts once it has ended."""
    history = MemoryHistory(Problem((Objective("a", "minimize"),)))
    for until in ("cheap", None):
        history.add(Proposal({"n": 1}, until=until))
    history.finish(0, {"a": 1.0}, depth=2)
    assert (history.id_of(history.candidate(0).key), history.superseded()) == (1, [])
    history.finish(1, {"a": 1.0}, depth=3)
    assert history.superseded() == [0]
    assert history.scores().merit.tolist() == [Merit.VIOLATING, Merit.FEASIBLE]
    assert history.id_of("nothing") is None


def test_a_finished_trial_can_be_amended() -> None:
    """A second result replaces the first."""
    history = MemoryHistory(Problem((Objective("a", "minimize"),)))
    id = history.add(Proposal({}))
    history.finish(id, {"a": 1.0})
    history.finish(id, {"a": 2.0})
    assert history.scores().values.tolist() == [[2.0]]
