"""Contract of optimizers as code, on a simulated run.

Trials fail, are gated, end late or are amended, as in a real run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from invdesign import settings
from invdesign.candidate import OUTSIDE, Genome, Proposal, Status, genome_key, to_json
from invdesign.errors import Infeasible
from invdesign.optimizers.common import finite_space
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, OpenSpace, SearchSpace
from invdesign.rng import borrowed_globals, rng_for
from invdesign.testing.common import (
    check_genome,
    check_settings,
    expect,
    expect_untouched_globals,
    make_outside_genomes,
    reload_plugin,
)
from invdesign.testing.history import MemoryHistory

TWO_OBJECTIVES = Problem(
    objectives=(Objective("near", "minimize"), Objective("far", "maximize")),
    constraints=(Constraint("near", max=0.3),),
)
ONE_OBJECTIVE = Problem((Objective("near", "minimize"),), TWO_OBJECTIVES.constraints)
MANY_OBJECTIVES = Problem(tuple(Objective(f"goal_{number}", "minimize") for number in range(5)))
MOST_EXHAUSTED = 500  # genomes of a space that the check exhausts (chosen)
MALFORMED: Genome = {"no such key": 1}
_MIXED = {
    "x": {"real": [-5.0, 5.0]},
    "y": {"real": [0.0, 1e-3]},
    "n": {"integer": [1, 8]},
    "solvent": {"categorical": ["EC", "DMC", "EMC"]},
}
_REAL = {name: {"real": [-5.0, 5.0]} for name in ("x", "y", "z")}
_SMALL = {"n": {"integer": [0, 5]}, "solvent": {"categorical": ["EC", "DMC", "EMC", "PC"]}}


def check_optimizer(
    optimizer: Any,
    space: SearchSpace | None = None,
    *,
    problem: Problem | None = None,
    rounds: int = 12,
    trials: int = 300,
    exhausts: bool = True,
    seed: int = 0,
) -> None:
    """Check that `optimizer` keeps the contract of `Optimizer`.

    Args:
        optimizer: a plug-in of the group `optimizers`.
        space: to search; where not given, real, integer and categorical parameters, or reals alone for an optimizer that
            refuses the others.
        problem: objectives and constraints; the properties get analytic values of the space's features. Where not given, two
            objectives, or one for an optimizer that refuses two.
        rounds: length of the simulated runs, in asks.
        trials: finished trials after which its state must have stopped growing.
        exhausts: whether it must propose all of a small finite space.
        seed: of the simulated runs.

    Raises:
        AssertionError: a rule is broken; the message names it.

    Examples:
        >>> from invdesign.settings import load
        >>> check_optimizer(load("optimizers", {"kind": "random"}), rounds=2, trials=20)
    """
    check_settings("optimizers", optimizer)
    for name in ("batch", "overlap"):
        count = getattr(optimizer, name, None)
        expect(isinstance(count, int) and count > 0, f"{name} is a whole number above 0, got {count!r}")
    spaces = (_parameter_space(_MIXED), _parameter_space(_REAL)) if space is None else (space,)
    problems = (TWO_OBJECTIVES, ONE_OBJECTIVE) if problem is None else (problem,)
    space, problem = _find_accepted(optimizer, spaces, problems)
    _check_repeatable(optimizer, space, problem, rounds, seed)
    _check_seeds(optimizer, space, problem, seed)
    _check_state(optimizer, space, problem, trials, seed)
    if not optimizer.refusal(space, MANY_OBJECTIVES):
        _check_resume(optimizer, space, MANY_OBJECTIVES, rounds // 2, seed)
    if exhausts:
        finite = finite_space(space)
        small = [_parameter_space(_SMALL)] if finite is None or len(finite) > MOST_EXHAUSTED else [finite]
        for item in small:
            if not optimizer.refusal(item, problem):
                _check_exhaustion(optimizer, item, problem, seed)


def _find_accepted(
    optimizer: Any, spaces: Sequence[SearchSpace], problems: Sequence[Problem]
) -> tuple[SearchSpace, Problem]:
    """First pair of space and problem that the optimizer does not refuse."""
    refusals = []
    for space in spaces:
        for problem in problems:
            refusal = optimizer.refusal(space, problem)
            expect(
                isinstance(refusal, str), f"refusal says in words why not, or nothing at all; got {refusal!r}"
            )
            if not refusal:
                return space, problem
            refusals.append(refusal)
    raise AssertionError(f"the optimizer refuses all it could be checked on: {'; '.join(refusals)}")


def _parameter_space(parameters: Mapping[str, object]) -> Any:
    return settings.load("spaces", {"kind": "parameters", "parameters": parameters})


class Simulation:
    """A run in memory, with numbered events and trials that end in every way.

    Args:
        optimizer: to be checked.
        space: it searches.
        problem: objectives and constraints.
        seed: of the run.
        seeds: genomes to be proposed first.
        restarting: before every event, build the optimizer anew, send its state through JSON and empty the cache.
    """

    def __init__(
        self,
        optimizer: Any,
        space: SearchSpace,
        problem: Problem,
        seed: int,
        *,
        seeds: Sequence[Genome] = (),
        restarting: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.space = space
        self.problem = problem
        self.seed = seed
        self.seeds = tuple(seeds)
        self.restarting = restarting
        self.history = MemoryHistory(problem)
        self.cache: dict[str, object] = {}
        self.event = 0
        self.transcript: list[str] = []
        self.state: Any = optimizer.start(self._next_context())

    def _next_context(self) -> Context:
        if self.restarting:
            self.optimizer = reload_plugin("optimizers", self.optimizer)
            self.cache = {}
        self.event += 1
        return Context(self.space, self.problem, self.history, self.seed, self.event, self.seeds, self.cache)

    def _record_event(self, proposals: Sequence[Proposal]) -> None:
        """Send the state through JSON, and add the event to the transcript."""
        text = to_json(self.state)
        again = json.loads(text)
        expect(
            again == self.state,
            f"the state must be plain JSON, equal after the store: {self.state!r}, {again!r}",
        )
        self.state = again if self.restarting else self.state
        self.transcript.append(to_json([[_proposal_row(proposal) for proposal in proposals], again]))

    def ask(self, n: int) -> list[int]:
        """Ask for at most n proposals and check them; return the numbers of the new trials."""
        context = self._next_context()
        before = to_json(self.state)
        with expect_untouched_globals("ask"):
            proposals, state = self.optimizer.ask(context, self.state, n)
        expect(to_json(self.state) == before, "ask must return a new state and leave the old one alone")
        self.state = state
        expect(len(proposals) <= n, f"ask({n}) may give {n} proposals at most, got {len(proposals)}")
        ids = [self._check_and_add(proposal) for proposal in proposals]
        self._record_event(proposals)
        return ids

    def _check_and_add(self, proposal: Proposal) -> int:
        """Check a proposal and add its trial."""
        if proposal.operator != "seed":
            check_genome(proposal.genome, "ask")
        key = genome_key(proposal.genome)
        expect(key not in self.history, f"ask must not propose what was asked before: {proposal.genome}")
        strange = [id for id in proposal.parents if not 0 <= id < len(self.history)]
        expect(not strange, f"parents are numbers of trials, got {strange} of {len(self.history)}")
        made = sorted(set(proposal.parents) & set(self.history.outside()))
        expect(not made, f"what was made outside the space is no parent, got {made}")
        if proposal.operator != "seed" and isinstance(self.space, OpenSpace):
            outside = self.space.place(proposal.genome, {}).outside
            expect(not outside, f"ask must stay within the space: {proposal.genome}; {outside}")
        expect(proposal.operator, "a proposal names the operator that made it")
        return self.history.add(proposal)

    def tell(self, ids: Sequence[int]) -> None:
        """Tell the optimizer that trials `ids` have ended, and check its answer."""
        context = self._next_context()
        before = to_json(self.state)
        with expect_untouched_globals("tell"):
            state = self.optimizer.tell(context, self.state, list(ids))
        expect(to_json(self.state) == before, "tell must return a new state and leave the old one alone")
        self.state = state
        self._record_event(())

    def finish_trials(self, ids: Sequence[int], *, shift: float = 0.0) -> None:
        """End trials, each in a way that depends on its genome.

        Most are complete; some are gated, refused or failed.

        Args:
            ids: numbers of the trials.
            shift: moves the values, as if results were amended.
        """
        for id in ids:
            trial = self.history.trial(id)
            fate = int(trial.candidate.key[:6], 16) % 10
            if not self._is_buildable(trial.genome):
                self.history.finish(id, status=Status.INFEASIBLE, depth=0)
            elif fate in {0, 1}:
                self.history.finish(id, status=(Status.FAILED, Status.INFEASIBLE)[fate], depth=fate)
            elif fate == 2:
                self.history.finish(id, status=Status.GATED, depth=int(trial.candidate.key[6], 16) % 3)
            else:
                self.history.finish(id, self._evaluate_genome(trial.genome, shift))

    def _is_buildable(self, genome: Genome) -> bool:
        try:
            self.space.build(genome)
        except Infeasible:
            return False
        return True

    def _evaluate_genome(self, genome: Genome, shift: float) -> dict[str, float]:
        """Mean square distance of the features to one point per property."""
        features = np.asarray(self.space.features([genome])[0])
        names = self.problem.properties
        goals = np.linspace(0.25, 0.75, len(names)) + shift
        return {name: float(np.mean((features - goal) ** 2)) for name, goal in zip(names, goals, strict=True)}

    def add_foreign(self, count: int) -> list[int]:
        """Add `count` new trials of another optimizer; fewer if the space gives no more."""
        start = next(op for _, op in sorted(self.space.operators().items()) if op.arity == 0)
        rng = rng_for(self.seed, self.event, "foreign")
        fresh: dict[str, Genome] = {}
        for _ in range(10 * count):
            genome = start.apply((), rng)
            if genome is not None and (key := genome_key(genome)) not in self.history:
                fresh[key] = genome
            if len(fresh) == count:
                break
        return [self.history.add(Proposal(genome, operator="foreign")) for genome in fresh.values()]

    def add_outside(self, count: int) -> list[int]:
        """Add at most `count` finished trials made outside the space; none if it is closed.

        The optimizer is not told of them. It may learn from them, and must neither propose them nor use them as parents.
        """
        rng = rng_for(self.seed, self.event, "outside")
        start = next(op for _, op in sorted(self.space.operators().items()) if op.arity == 0)
        genome = start.apply((), rng)
        ids: list[int] = []
        for made in make_outside_genomes(self.space, genome) if genome is not None else ():
            if len(ids) < count and genome_key(made) not in self.history:
                ids.append(self.history.add(Proposal(made, operator=OUTSIDE)))
                self.history.finish(ids[-1], self._evaluate_genome(made, -1.0))
        return ids


def _proposal_row(proposal: Proposal) -> list[Any]:
    return [dict(proposal.genome), list(proposal.parents), proposal.operator, proposal.memo, proposal.until]


def _batch_sizes(batch: int) -> Iterator[int]:
    while True:
        yield from (batch, 1, 3, 2 * batch + 1)


def _simulate_run(simulation: Simulation, rounds: int) -> list[str]:
    """Simulate `rounds` asks with late results, foreign trials and amended values."""
    sizes = _batch_sizes(simulation.optimizer.batch)
    late: list[int] = []
    for number in range(rounds):
        if number % 4 == 0:
            simulation.add_outside(2)
        asked = simulation.ask(next(sizes))
        if number % 3 == 1:
            asked += simulation.ask(next(sizes))  # a second ask without a tell in between
        if number % 4 == 2:
            asked += simulation.add_foreign(3)
        now = [*late, *(id for id in asked if id % 4 != 3)][::-1]
        late = [id for id in asked if id % 4 == 3]
        simulation.finish_trials(now)
        for start in range(0, len(now), 5):
            simulation.tell(now[start : start + 5])
        if number == rounds // 2:  # as if a hull had moved, or results were amended
            simulation.finish_trials(
                [id for id in range(len(simulation.history)) if id not in late], shift=0.2
            )
            simulation.tell(now[:1])
    return simulation.transcript


def _check_repeatable(optimizer: Any, space: SearchSpace, problem: Problem, rounds: int, seed: int) -> None:
    """Check that equal seeds give equal runs, and other seeds other runs."""
    with borrowed_globals(1):
        first = _simulate_run(Simulation(optimizer, space, problem, seed), rounds)
    with borrowed_globals(2):  # the state of the global generators must not matter
        again = _simulate_run(Simulation(optimizer, space, problem, seed), rounds)
    _expect_equal(first, again, "with the same seed, it must propose the same")
    _check_resume(optimizer, space, problem, rounds, seed, first)
    other = _simulate_run(Simulation(optimizer, space, problem, seed + 1), rounds)
    expect(
        first != other, "another seed must give another run: draw from context.rng or context.derived_seed"
    )


def _check_resume(
    optimizer: Any,
    space: SearchSpace,
    problem: Problem,
    rounds: int,
    seed: int,
    first: Sequence[str] | None = None,
) -> None:
    """Check that a run restarted at every event proposes the same."""
    whole = first or _simulate_run(Simulation(optimizer, space, problem, seed), rounds)
    resumed = _simulate_run(Simulation(optimizer, space, problem, seed, restarting=True), rounds)
    _expect_equal(
        whole, resumed, "resumed from its state at every step, without cache, it must go on the same"
    )


def _expect_equal(first: Sequence[str], second: Sequence[str], rule: str) -> None:
    for event, (a, b) in enumerate(zip(first, second, strict=False)):
        expect(a == b, f"{rule}; event {event} gave\n  {a[:500]}\nand then\n  {b[:500]}")
    expect(len(first) == len(second), f"{rule}; {len(first)} events, then {len(second)}")


def _check_seeds(optimizer: Any, space: SearchSpace, problem: Problem, seed: int) -> None:
    """Check that the user's genomes come first, each once, and that a malformed one does no harm."""
    given = [simulated.genome for simulated in _start_trials(optimizer, space, problem, seed)]
    seeds = [given[0], MALFORMED, given[1], given[0]]
    simulation = Simulation(optimizer, space, problem, seed, seeds=seeds)
    asked: list[int] = []
    for size in (1, 1, optimizer.batch + 2, optimizer.batch, optimizer.batch):
        ids = simulation.ask(size)
        simulation.finish_trials(ids)
        simulation.tell(ids)
        asked += ids
    found = [dict(simulation.history.trial(id).genome) for id in asked[:3]]
    wanted = [dict(genome) for genome in (given[0], MALFORMED, given[1])]
    expect(found == wanted, f"seeds come first, in their order, each once: {wanted}, got {found}")


def _start_trials(optimizer: Any, space: SearchSpace, problem: Problem, seed: int) -> list[Any]:
    simulation = Simulation(optimizer, space, problem, seed)
    return [simulation.history.trial(id) for id in simulation.add_foreign(2)]


def _check_state(optimizer: Any, space: SearchSpace, problem: Problem, trials: int, seed: int) -> None:
    """Check that the state does not grow with the history."""
    simulation = Simulation(optimizer, space, problem, seed)
    simulation.finish_trials(ids := simulation.ask(optimizer.batch))
    simulation.tell(ids)
    early = _largest_state(simulation, trials)
    late = _largest_state(simulation, 10 * trials)
    expect(
        late <= 1.5 * early + 200,
        f"the state must not grow with the history: {early} characters up to {trials} trials, "
        f"{late} up to {10 * trials}",
    )


def _largest_state(simulation: Simulation, trials: int) -> int:
    """Length of the longest state until that many trials, or the end of a small space."""
    largest = 0
    while len(simulation.history) < trials and (ids := simulation.add_foreign(50)):
        simulation.finish_trials(ids)
        simulation.tell(ids)
        largest = max(largest, len(to_json(simulation.state)))
    return largest


def _check_exhaustion(optimizer: Any, space: Any, problem: Problem, seed: int) -> None:
    """Check that all of a finite space is proposed, each genome once, and then nothing."""
    simulation = Simulation(optimizer, space, problem, seed)
    stalled = 0
    for size in _batch_sizes(optimizer.batch):
        ids = simulation.ask(size)
        simulation.finish_trials(ids)
        if ids:
            simulation.tell(ids)
        stalled = 0 if ids else stalled + 1
        if stalled > 2:
            break
    found = len(simulation.history)
    expect(found == len(space), f"a finite space of {len(space)} must be proposed whole, got {found}")
