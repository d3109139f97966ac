"""Random search, the baseline of every optimizer, and space-filling designs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal
from invdesign.optimizers.common import (
    MAX_TRIES,
    Draft,
    State,
    finite_space,
    propose_seeds,
    propose_started,
    propose_unasked,
)
from invdesign.problem import Problem
from invdesign.protocols import Context, OptimizerSettings, SearchSpace, VectorSpace
from invdesign.rng import derived_seed, rng_for

MOST_SOBOL_DIMENSIONS = 21_201  # direction numbers of Joe & Kuo (2008), as far as scipy ships them


class RandomSearch(OptimizerSettings):
    """Draws different candidates at random or along a space-filling design.

    By default from a countable space without replacement, every genome equally likely, until it is exhausted; from
    others by their start operators, until 100 draws in a row gave nothing new.

    A design draws points of the unit cube instead and lets the space decode them: a scrambled Sobol sequence, or
    one Latin hypercube of `batch` points after another. Points whose genome was asked before are skipped; after
    100 of them in a row it goes on as without a design.

    Source:
        Sobol, USSR Comput. Math. Math. Phys. 7, 86 (1967); Owen, J. Complexity 14, 466 (1998) (scrambling);
        McKay, Beckman & Conover, Technometrics 21, 239 (1979) (Latin hypercubes); scipy.stats.qmc.
    """

    batch: int = Field(default=16, ge=1)
    """Candidates asked for at a time; the size of one Latin hypercube."""
    design: Literal["random", "sobol", "latin_hypercube"] = "random"
    """How candidates are drawn: `random`, `sobol` or `latin_hypercube`."""

    def refusal(self, space: SearchSpace, problem: Problem) -> str:  # noqa: ARG002 - any objectives will do
        if self.design == "random":
            return ""
        if not isinstance(space, VectorSpace):
            return f"needs a space of points for design {self.design}; design random searches any space"
        count = len(space.domain().dimensions)
        if self.design == "sobol" and count > MOST_SOBOL_DIMENSIONS:
            return (
                f"needs a space of {MOST_SOBOL_DIMENSIONS} dimensions or fewer for design sobol, and this one has "
                f"{count}; use design latin_hypercube"
            )
        return ""

    def start(self, context: Context) -> State:  # noqa: ARG002 - the contract's signature
        """Counters of seeds, of the finite space's genomes and of a design's points."""
        state: State = {"seeds": 0, "position": 0}
        return state if self.design == "random" else {**state, "drawn": 0}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        return draft.proposals, self.fill_draft(draft, state)

    def fill_draft(self, draft: Draft, state: State) -> State:
        """Fill a `draft` until it is full or nothing is left.

        Args:
            draft: takes the proposals.
            state: counters.

        Returns:
            The state to go on with.
        """
        context = draft.context
        state = {**state, "seeds": propose_seeds(draft, state["seeds"])}
        if self.design != "random":
            state["drawn"] = self._propose_design(draft, state["drawn"])
        finite = finite_space(context.space)
        if finite is not None:
            state["position"] = propose_unasked(draft, finite, state["position"])
        elif draft.missing:
            propose_started(draft, context.rng("random"))
        return state

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:  # noqa: ARG002
        """Learn nothing."""
        return state

    def _propose_design(self, draft: Draft, drawn: int) -> int:
        """Propose the design's points from number `drawn` on.

        Returns the number to go on with.
        """
        space = cast("VectorSpace", draft.context.space)
        failures = 0
        while draft.missing and failures < MAX_TRIES:
            block = self._design_block(draft.context, drawn // self._block_size)
            first = drawn % self._block_size
            points = block[first : first + draft.missing]
            for genome in space.decode(points):
                failures = 0 if draft.add_genome(genome, self.design) else failures + 1
            drawn += len(points)
        return drawn

    @property
    def _block_size(self) -> int:
        """Points per block; a power of two for Sobol, whose blocks then are balanced."""
        return self.batch if self.design == "latin_hypercube" else 1 << (self.batch - 1).bit_length()

    def _design_block(self, context: Context, number: int) -> FloatArray:
        """Block `number` of the design, shape (size, d), from the run's seed.

        The last block is kept in the cache.
        """
        name = f"{self.design} in blocks of {self._block_size}"
        kept = cast("tuple[int, FloatArray] | None", context.cache.get(name))
        if kept is not None and kept[0] == number:
            return kept[1]
        make = self._latin_hypercube if self.design == "latin_hypercube" else self._sobol_points
        block = make(context, number, len(cast("VectorSpace", context.space).domain().dimensions))
        context.cache[name] = (number, block)
        return block

    def _latin_hypercube(self, context: Context, number: int, dimensions: int) -> FloatArray:
        """Latin hypercube: one point per slice of each dimension, paired at random."""
        rng = rng_for(context.seed, 0, f"latin hypercube {number}")
        slices = np.argsort(rng.random((self._block_size, dimensions)), axis=0)
        points: FloatArray = (slices + rng.random((self._block_size, dimensions))) / self._block_size
        return points

    def _sobol_points(self, context: Context, number: int, dimensions: int) -> FloatArray:
        """Points of the Sobol sequence after the last block.

        The sequence is wound forward if needed.
        """
        from scipy.stats import qmc

        name = "sobol sequence"
        kept = context.cache.get(name)
        wanted = number * self._block_size
        if kept is None or kept.num_generated != wanted:  # type: ignore[attr-defined]  # scipy has no types
            seed = derived_seed(context.seed, 0, name)
            kept = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
            if wanted:
                kept.fast_forward(wanted)
            context.cache[name] = kept
        points: FloatArray = kept.random(self._block_size)  # type: ignore[attr-defined]
        return points
