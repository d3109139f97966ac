"""Small evaluators and an optimizer for funnels: fast, exact, and some of them leaking what they must not."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Evaluation, Failure, Genome, Input, Proposal
from invdesign.errors import Infeasible
from invdesign.optimizers.common import Draft
from invdesign.optimizers.random import RandomSearch
from invdesign.problem import Constraint, Problem
from invdesign.properties import Unit
from invdesign.protocols import (
    Batch,
    Context,
    EvaluatorSettings,
    Operator,
    SearchSpace,
    SpaceSettings,
    is_finite,
)
from invdesign.rng import rng_for
from invdesign.settings import Settings
from invdesign.spaces.parameters.space import ParameterSpace


class Picky(SpaceSettings):
    """Two reals and a bit; it refuses to build where x is above 0.75, and is broken where it is above 0.9."""

    @cached_property
    def _inner(self) -> ParameterSpace:
        unit = {"real": [0.0, 1.0]}
        return ParameterSpace.model_validate({"parameters": {"x": unit, "y": unit, "n": {"integer": [0, 1]}}})

    def operators(self) -> Mapping[str, Operator]:
        return self._inner.operators()

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return self._inner.features(genomes)

    def build(self, genome: Genome) -> Design:
        design = self._inner.build(genome)
        x = float(design.parameters["x"])
        if x > 0.9:
            raise ZeroDivisionError("this space has a fault")
        if x > 0.75:
            raise Infeasible(f"x is {x:.2f}, more than 0.75")
        return design


def _numbers(item: Input) -> np.ndarray:
    return np.array([float(v) for v in item.design.parameters.values() if not isinstance(v, str)])


class _Step(EvaluatorSettings):
    delay: float = Field(default=0.0, ge=0)
    """Seconds one candidate takes."""
    batch_size: int = Field(default=1, ge=1)
    """Candidates evaluated at a time."""
    mark: str = ""
    """A file made when an evaluation begins, so that a test can act while it runs."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def batch(self) -> Batch:
        return Batch(size=self.batch_size)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        if self.mark:
            Path(self.mark).touch()
        time.sleep(self.delay * len(inputs))
        return [self.one(item, inputs) for item in inputs]

    def one(self, item: Input, together: Sequence[Input]) -> Evaluation:
        """The evaluation of one of those evaluated together."""
        raise NotImplementedError


class Height(_Step):
    """`height`, the sum of squares of the parameters; optionally leaking something of this process into it."""

    leak: Literal["", "global random", "order of completion"] = ""
    """What gets into the number that must not."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"height": "m"}

    def one(self, item: Input, together: Sequence[Input]) -> Evaluation:
        x = _numbers(item)
        extra = {
            "": lambda: 0.0,
            "global random": random.random,
            "order of completion": lambda: next(_COUNTER),
        }
        return Evaluation(properties={"height": float(x @ x) + 1e-6 * extra[self.leak]()})


_COUNTER = itertools.count()


class Crystal(_Step):
    """A rocksalt-like cell as `structure:relaxed`, its edge from `height`, its positions from the task's seed."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters", "height"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"edge": "Å", "structure:relaxed": ""}

    def one(self, item: Input, together: Sequence[Input]) -> Evaluation:
        from pymatgen.core import Lattice, Structure

        edge = 3.0 + item.properties["height"]
        shift = np.random.default_rng(item.seed).uniform(-0.01, 0.01, 3)
        structure = Structure(Lattice.cubic(edge), ["Li", "Cl"], [shift, [0.5, 0.5, 0.5]])
        return Evaluation(properties={"edge": edge}, structures={"relaxed": structure}, noise={"edge": 0.01})


class Density(_Step):
    """`density` of the relaxed structure, changed in its last digits by the neighbours in the batch.

    As a neural network's numbers are. Some candidates fail, in each of the ways a value can be missing.
    """

    sickly: bool = True
    """Whether some candidates fail."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"structure:relaxed", "edge"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"density": "g/cm^3", "dipole": ""}

    def one(self, item: Input, together: Sequence[Input]) -> Evaluation:
        structure = item.structures["relaxed"]
        edges = [other.properties["edge"] for other in together]
        luck = int(structure.lattice.a * 1e6) % 12 if self.sickly else 0
        if luck == 7:
            raise ArithmeticError("did not converge")
        if luck == 8:
            return Evaluation(failure=Failure("missing", "", "no reference for Cl"))
        noise = 1e-9 * edges.index(item.properties["edge"]) + 1e-10 * sum(edges)
        dipole = float(np.abs(structure.frac_coords[0]).sum())
        return Evaluation(
            properties={"dipole": dipole if luck != 9 else float("nan"), "density": structure.density + noise}
        )


class Sketch(_Step):
    """A guess of the `density`, with what it may be off by: `Density` decides."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"density": "g/cm^3"}

    def one(self, item: Input, together: Sequence[Input]) -> Evaluation:
        x = _numbers(item)
        return Evaluation(properties={"density": 2.0 - float(x @ x)}, noise={"density": 0.25})


class Energy(EvaluatorSettings):
    """An energy of a named potential."""

    potential: str
    """Which."""
    cutoff: float = 1.0
    """Gate on the energy, eV/atom."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"energy_per_atom": "eV/atom"}

    @property
    def gates(self) -> Sequence[Constraint]:
        return (Constraint("energy_per_atom", max=self.cutoff),)

    @property
    def potential_id(self) -> str:
        return f"potential-{self.potential}"

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [Evaluation(properties={"energy_per_atom": float(_numbers(item).sum())}) for item in inputs]


class Hull(Energy):
    """Distance to a hull of a named potential's energies."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"energy_per_atom"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"decomposition_energy": "eV/atom"}

    @property
    def gates(self) -> Sequence[Constraint]:
        return ()

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [
            Evaluation(properties={"decomposition_energy": item.properties["energy_per_atom"]})
            for item in inputs
        ]


class ForgetfulSearch(RandomSearch):
    """Random search with a generator of its own, whose state no store keeps: what resume would not repeat."""

    def ask(self, context: Context, state: Any, n: int) -> tuple[Sequence[Proposal], Any]:
        operator = context.space.operators()["start"]
        genomes = [operator.apply((), _FORGETFUL) for _ in range(n)]
        return [Proposal(genome) for genome in genomes if genome is not None], state


_FORGETFUL = np.random.default_rng(7)


class OverlappingSearch(RandomSearch):
    """Three asks under way at once, each decided by all that can be seen of the run: order and timing would show."""

    @property
    def overlap(self) -> int:
        return 3

    def ask(self, context: Context, state: Any, n: int) -> tuple[Sequence[Proposal], Any]:
        history = context.history
        scores = history.scores()
        seen = [len(history), list(history.pending()), scores.merit.tolist(), scores.depth.tolist()]
        rows = [sorted(history.trial(id).properties.items()) for id in range(len(history))]
        rng = rng_for(context.seed, context.event, repr([seen, rows, scores.values.tolist()]))
        operator = context.space.operators()["start"]
        genomes = [operator.apply((), rng) for _ in range(n)]
        return [Proposal(genome, operator="start") for genome in genomes if genome is not None], state


class PromotingSearch(RandomSearch):
    """Takes the two that look best of all that were sketched further, and sketches new genomes beside them."""

    def ask(self, context: Context, state: Any, n: int) -> tuple[Sequence[Proposal], Any]:
        draft = Draft(context, min(n, 2))
        history, early = context.history, context.stages[0].name
        sketched = history.column("density", early)
        for id in np.argsort(-np.nan_to_num(sketched, nan=-np.inf), kind="stable").tolist():
            if draft.missing and np.isfinite(sketched[id]) and id not in set(history.superseded()):
                draft.add_genome(history.candidate(id).genome, "promotion", (id,))
        draft.n = n
        operator, rng = context.space.operators()["start"], context.rng("start")
        while draft.missing:
            draft.add_genome(operator.apply((), rng), "start", until=early)
        sigmas = history.noise("density", early)
        known = sigmas[np.isfinite(sigmas)]
        notes = {"sketches": f"{early} says the density to {known.max():g}."} if len(known) else {}
        return draft.proposals, {"notes": notes, "seen": len(known)}


class ChoosySearch(RandomSearch):
    """Searches countable spaces alone."""

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        return "" if is_finite(space) else "needs a space that can be counted through"


class RepeatingSearch(RandomSearch):
    """Proposes the same genome over and over."""

    def ask(self, context: Context, state: Any, n: int) -> tuple[Sequence[Proposal], Any]:
        return [Proposal({"x": 0.25, "y": 0.25})] * n, state


class NotSettings:
    """A class that is no plug-in."""


class Lossy(Settings):
    """Settings that are no optimizer."""


class Uncounted(Settings):
    """A space that does not say whether it can be counted through, nor which genome stands for a candidate."""

    def build(self, genome: Genome) -> Design:
        return Design(parameters=dict(genome))  # type: ignore[arg-type]  # never called


class Outside(_Step):
    """Somebody else says how strong a candidate is."""

    noise: dict[str, float] = Field(default_factory=dict)
    """Standard deviation of one measurement that comes without."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"strength": "MPa"}

    @property
    def external(self) -> bool:
        return True

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        raise AssertionError("nobody may evaluate this")
