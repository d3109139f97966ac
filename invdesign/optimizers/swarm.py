"""Particle swarm: candidates that move through the unit cube towards good places.

The arithmetic of a move is pyswarms' (`swarm_backend`); leaders, best places and memory are here. Positions and
velocities travel, unrounded, in the memo of the candidate that was made there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal
from invdesign.optimizers import archive
from invdesign.optimizers.common import (
    MAX_TRIES,
    Draft,
    State,
    draw_operator,
    finite_space,
    operators_by_arity,
    propose_seeds,
    propose_unasked,
)
from invdesign.optimizers.swarm_backend import Boundary, Flock, Rules, VelocityRule, move_flock
from invdesign.optimizers.swarm_schedules import Schedule, schedule_weights
from invdesign.optimizers.swarm_state import Places, Standings, initial_particles, note_finished
from invdesign.periodic import periodic_mask, take_shortest_way, wrap_into_cube
from invdesign.problem import Problem
from invdesign.protocols import Context, OptimizerSettings, SearchSpace, VectorSpace
from invdesign.rng import Rng

MOVE, JUMP = "move", "jump"  # operators: it went where it was drawn, or was thrown for want of a new genome
MAX_JUMPS = 20  # throws, each wider than the last, before a particle takes whatever is left (chosen)
FIRST_JUMP_DEVIATION = 0.01  # standard deviation of the first throw, as a share of the range (chosen)
MAX_FRAME_DIMENSIONS = (
    100  # ordered dimensions up to which a frame is turned: larger ones cost too much (chosen)
)
DEFAULT_IN_FLIGHT = 8  # particles under way at once in asynchronous mode, where not given (chosen)


class Swarm(OptimizerSettings):
    """Particle swarm for spaces of points: one or several objectives, optionally asynchronous.

    Every particle starts from one of the space's start operators. It moves by its inertia, towards the place where
    it did best, and towards the best place of its neighbourhood (`ring`) or of all (`global`); with several
    objectives towards a member of an archive of non-dominated trials. The random weights of a move are drawn along
    the principal axes of the swarm's best places, so that a narrow valley is followed in whatever direction it lies.
    Failed, refused and gated candidates are never a best place; feasible ones beat those that violate a constraint.
    Trials of others, and the user's seeds, take the place of the worst best place where they are better.

    A particle without a better place for `patience` moves starts anew, unless it holds the best of all. Where a move
    leads to a genome that was asked before, the particle is thrown, ever wider; then a countable space gives any
    genome that is left, and another space a new start.

    Source:
        Kennedy & Eberhart, Proc. IEEE ICNN 1995, 1942; Shi & Eberhart, Proc. IEEE CEC 1998, 69; Kennedy & Mendes,
        Proc. IEEE CEC 2002, 1671 (rings); Coello, Pulido & Lechuga, IEEE Trans. Evol. Comput. 8, 256 (2004)
        (archive); Guo & Yang, IEEE Trans. Evol. Comput. 19, 31 (2015) (principal axes); Miranda, J. Open Source Softw. 3, 433
        (2018) (pyswarms).
    """

    particles: int = Field(default=30, ge=2)
    """How many particles there are."""
    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """`synchronous`: all move at once; `asynchronous`: one moves as soon as its last result is told."""
    in_flight: int | None = Field(default=None, ge=1)
    """Asynchronous: how many particles are under way at once; 8, or all where there are fewer, if not given."""
    topology: Literal["ring", "global"] = "ring"
    """Whose best place draws a particle: its neighbourhood's (`ring`) or the swarm's (`global`)."""
    neighbours: int = Field(default=3, ge=1)
    """Ring: neighbours on each side."""
    frame: Literal["principal", "random", "axes"] = "principal"
    """Along what the random weights are drawn: the principal axes of the best places, random axes, or the space's."""
    schedule: Schedule = "constant"
    """How the inertia changes: `constant`, `linear`, `chaotic`, `adaptive` or `constriction`."""
    inertia: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Weight of the velocity a particle has; where a schedule starts. Constriction has its own."""
    final_inertia: float = Field(default=0.4, ge=0.0, lt=1.0)
    """Where a linear or chaotic schedule ends, and an adaptive one lies while nothing improves."""
    horizon: int = Field(default=2000, ge=1)
    """Candidates after which a linear or chaotic schedule has come to its end."""
    cognitive: float | None = Field(default=None, ge=0.0, le=4.0)
    """Pull of a particle's own best place; 1.4, or 2.05 with constriction."""
    social: float | None = Field(default=None, ge=0.0, le=4.0)
    """Pull of the leader; 1.4, or 2.05 with constriction."""
    boundary: Boundary = "reflective"
    """What becomes of a particle that would leave the space: `nearest`, `reflective`, `periodic`, `random`, `intermediate` or `shrink`."""
    velocity: VelocityRule = "invert"
    """What becomes of its velocity: `unmodified`, `adjust` (the step taken), `invert` (halved) or `zero`."""
    clamp: float | None = Field(default=None, gt=0.0)
    """Largest component of a velocity, as a share of the range; no limit where not given."""
    patience: int | None = Field(default=30, ge=1)
    """Moves without a better place after which a particle starts anew; never with null."""
    archive: int = Field(default=100, ge=2)
    """Several objectives: how many non-dominated trials may lead."""
    leader: Literal["crowding", "sigma"] = "crowding"
    """Several objectives: whom to follow, the less crowded of two or the one in the particle's own direction."""

    @model_validator(mode="after")
    def _consistent(self) -> Swarm:
        if self.schedule == "constriction" and sum(self.base_pulls) <= 4.0:
            raise ValueError(
                f"constriction needs cognitive + social above 4, got {sum(self.base_pulls):g}; 2.05 each are usual"
            )
        if self.in_flight is not None and self.mode != "asynchronous":
            raise ValueError("in_flight is for mode: asynchronous; else all particles are under way")
        if self.in_flight is not None and self.in_flight > self.particles:
            raise ValueError(
                f"in_flight must not exceed the number of particles ({self.particles}), got {self.in_flight}"
            )
        return self

    @property
    def base_pulls(self) -> tuple[float, float]:
        """Weights of a particle's own best place and of its leader, before schedules."""
        usual = 2.05 if self.schedule == "constriction" else 1.4
        return (
            usual if self.cognitive is None else self.cognitive,
            usual if self.social is None else self.social,
        )

    @property
    def batch(self) -> int:
        """All particles, or one in asynchronous mode."""
        return self.particles if self.mode == "synchronous" else 1

    @property
    def overlap(self) -> int:
        return 1 if self.mode == "synchronous" else self.in_flight or min(DEFAULT_IN_FLIGHT, self.particles)

    def refusal(self, space: SearchSpace, problem: Problem) -> str:  # noqa: ARG002 - any objectives will do
        return "" if isinstance(space, VectorSpace) else "needs a space of points, and this space has none"

    def start(self, context: Context) -> State:  # noqa: ARG002 - the contract's signature
        """All particles free to start, without results."""
        return {"seeds": 0, "position": 0, **initial_particles(self.particles)}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        state = {**state, "seeds": propose_seeds(draft, state["seeds"]), "moves": list(state["moves"])}
        return draft.proposals, _SwarmAsk(self, draft, state).fill_draft()

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Record arrivals and better places; restart particles that stagnate."""
        state = note_finished(context, state, ids, self.patience)
        if context.problem.n_values > 1:
            state["archive"] = archive.extend_archive(context.history, state["archive"], ids, self.archive)
        return state


class _SwarmAsk:
    """One ask: free particles start or move, each to a new genome."""

    def __init__(self, settings: Swarm, draft: Draft, state: State) -> None:
        self.settings = settings
        self.draft = draft
        self.context = draft.context
        self.state = state
        self.space = cast("VectorSpace", draft.context.space)
        self.rng = draft.context.rng("swarm")
        self.places = Places(draft.context)
        self.standings = Standings(draft.context, state["best"])
        self.starts = operators_by_arity(self.space)[0]
        self.periodic = periodic_mask(self.space.domain().dimensions)

    def fill_draft(self) -> State:
        """Propose for as many free particles as wanted; returns the new state."""
        free = self.state["free"][: self.draft.missing]
        new = [i for i in free if self.state["last"][i] < 0]
        old = [i for i in free if self.state["last"][i] >= 0]
        gone = {i for i in new if self._start_particle(i)} | set(self._move_particles(old))
        return {
            **self.state,
            "free": [i for i in self.state["free"] if i not in gone],
            "chaos": self.next_chaos if old else self.state["chaos"],
        }

    @property
    def next_chaos(self) -> float:
        """Next number of the logistic map, for the chaotic schedule."""
        z: float = self.state["chaos"]
        return 4.0 * z * (1.0 - z)

    def _start_particle(self, i: int) -> bool:
        """Give particle `i` a first place by start operators, or a leftover genome.

        True if there was one.
        """
        for _ in range(MAX_TRIES):
            name, operator = draw_operator(self.starts, self.rng)
            genome = operator.apply((), self.rng)
            if self.draft.add_genome(genome, name):
                return self._assign_last_proposal(i)
        return self._assign_leftover(i)

    def _assign_leftover(self, i: int) -> bool:
        """Give particle `i` any new genome of a countable space."""
        finite = finite_space(self.space)
        if finite is None:
            return False
        before, wanted = len(self.draft.proposals), self.draft.n
        self.draft.n = before + 1
        self.state["position"] = propose_unasked(self.draft, finite, self.state["position"])
        self.draft.n = wanted
        return len(self.draft.proposals) > before and self._assign_last_proposal(i)

    def _assign_last_proposal(self, i: int) -> bool:
        """Assign the last proposal to particle `i`, with a velocity of its own."""
        proposal = self.draft.proposals[-1]
        x = self.space.encode([proposal.genome])[0]
        drawn = self.rng.random(len(x))
        velocity = (drawn - x) / 2.0  # Clerc's half-difference: it leads to a point of the cube
        if self.periodic is not None:  # along a ring every difference is as likely, wherever the particle is
            velocity = np.where(self.periodic, (drawn - 0.5) / 2.0, velocity)
        self.draft.proposals[-1] = Proposal(
            proposal.genome, proposal.parents, proposal.operator, self._particle_memo(i, x, velocity)
        )
        return True

    def _particle_memo(self, i: int, x: FloatArray, velocity: FloatArray) -> dict[str, Any]:
        """Memo of a candidate: its particle, move, position and velocity."""
        self.state["moves"][i] += 1
        return {"particle": i, "move": self.state["moves"][i], "x": x.tolist(), "v": velocity.tolist()}

    def _move_particles(self, particles: Sequence[int]) -> list[int]:
        """Move particles; returns those for which a new genome was found."""
        if not particles:
            return []
        position, velocity = self.places.load_places([self.state["last"][i] for i in particles])
        leaders = self._choose_leaders(particles)
        flock = Flock(
            position, velocity, self._best_places(particles, position), self._places_or_own(leaders, position)
        )
        x, v = move_flock(flock, self._move_rules(), self.context.derived_seed("pyswarms"))
        gone = []
        for row, (i, genome) in enumerate(zip(particles, self.space.decode(x), strict=True)):
            ids = (self.state["last"][i], self.state["best"][i], leaders[row])
            parents = tuple(dict.fromkeys(id for id in ids if id >= 0))
            memo = {
                "particle": i,
                "move": self.state["moves"][i] + 1,
                "x": x[row].tolist(),
                "v": v[row].tolist(),
            }
            if self.draft.add_genome(genome, MOVE, parents, memo):
                self.state["moves"][i] += 1
                gone.append(i)
            elif self._throw_particle(i, x[row], v[row], parents) or self._start_particle(i):
                gone.append(i)
        return gone

    def _throw_particle(self, i: int, x: FloatArray, velocity: FloatArray, parents: tuple[int, ...]) -> bool:
        """Throw particle `i` beside a taken place, ever farther.

        True if a new genome was found there.
        """
        for scale in np.geomspace(FIRST_JUMP_DEVIATION, 1.0, MAX_JUMPS):
            thrown = x + scale * self.rng.standard_normal(len(x))
            landed = np.mod(thrown, 2.0)
            landed = np.where(landed > 1.0, 2.0 - landed, landed)
            if self.periodic is not None:
                landed = np.where(self.periodic, wrap_into_cube(thrown, self.periodic), landed)
            (genome,) = self.space.decode(landed[None])
            memo = {
                "particle": i,
                "move": self.state["moves"][i] + 1,
                "x": landed.tolist(),
                "v": velocity.tolist(),
            }
            if self.draft.add_genome(genome, JUMP, parents, memo):
                self.state["moves"][i] += 1
                return True
        return False

    def _best_places(self, particles: Sequence[int], position: FloatArray) -> FloatArray:
        """Best place of each particle, (m, d); its position if it has none."""
        ids = [self.standings.best[i] for i in particles]
        return self._places_or_own(ids, position)

    def _places_or_own(self, ids: Sequence[int], position: FloatArray) -> FloatArray:
        """Positions of trials, (m, d); the particle's own where the id is -1."""
        places = position.copy()
        known = [row for row, id in enumerate(ids) if id >= 0]
        if known:
            places[known] = self.places.load_places([ids[row] for row in known])[0]
        return places

    def _choose_leaders(self, particles: Sequence[int]) -> list[int]:
        """Number of the trial that leads each particle; -1 for none."""
        if self.state["archive"]:
            return self._leaders_from_archive(particles)
        order = self.standings.order
        count = len(order)
        if self.settings.topology == "global" or 2 * self.settings.neighbours + 1 >= count:
            first = int(np.argmin(order))
            return [self.standings.best[first]] * len(particles)
        around = np.arange(-self.settings.neighbours, self.settings.neighbours + 1)
        ring = (np.array(particles)[:, None] + around[None]) % count
        chosen = ring[np.arange(len(ring)), np.argmin(order[ring], axis=1)]
        return [self.standings.best[i] for i in chosen]

    def _leaders_from_archive(self, particles: Sequence[int]) -> list[int]:
        members = self.state["archive"]
        values = self.context.history.scores(members).values
        if self.settings.leader == "crowding":
            rows = archive.choose_by_crowding(values, len(particles), self.rng)
        else:
            own = self.context.history.scores([self.state["last"][i] for i in particles]).values
            rows = archive.choose_by_sigma(values, own)
        return [members[row] for row in rows]

    def _move_rules(self) -> Rules:
        settings = self.settings
        inertia, cognitive, social = schedule_weights(
            settings.schedule,
            (settings.inertia, settings.final_inertia),
            settings.base_pulls,
            progress=min(self.state["told"] / settings.horizon, 1.0),
            improving=float(np.mean([count == 0 for count in self.state["idle"]])),
            chaos=self.next_chaos,
        )
        return Rules(
            inertia=inertia,
            cognitive=cognitive,
            social=social,
            boundary=settings.boundary,
            velocity=settings.velocity,
            clamp=settings.clamp,
            frame=self._rotated_frame(),
            periodic=self.periodic,
        )

    def _rotated_frame(self) -> FloatArray | None:
        """Orthogonal axes (d, d), rotated among the ordered dimensions.

        None for the space's own axes.
        """
        dimensions = self.space.domain().dimensions
        ordered = [k for k, dimension in enumerate(dimensions) if dimension.kind != "categorical"]
        if self.settings.frame == "axes" or not 2 <= len(ordered) <= MAX_FRAME_DIMENSIONS:
            return None
        turned = (
            self._principal_axes(ordered)
            if self.settings.frame == "principal"
            else _random_rotation(len(ordered), self.rng)
        )
        if turned is None:
            return None
        frame = np.eye(len(dimensions))
        frame[np.ix_(ordered, ordered)] = turned
        return frame

    def _principal_axes(self, ordered: Sequence[int]) -> FloatArray | None:
        """Principal axes of the swarm's best places, as columns."""
        known = [id for id in self.standings.best if id >= 0]
        if len(known) < 2:
            return None
        places = self.places.load_places(known)[0]
        if self.periodic is not None:  # seen from the best of them, so that no end of an axis lies between
            first = int(
                np.argmin([self.standings.order[i] for i, id in enumerate(self.standings.best) if id >= 0])
            )
            places = take_shortest_way(places - places[first], self.periodic)
        places = places[:, ordered]
        axes: FloatArray = np.linalg.eigh(np.cov(places.T))[1]
        return axes


def _random_rotation(count: int, rng: Rng) -> FloatArray:
    """Draw a random orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((count, count)))
    turned: FloatArray = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return turned
