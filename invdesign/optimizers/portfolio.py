"""Several optimizers that share one run; the most successful is asked most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Self

from pydantic import Field, model_validator

from invdesign.candidate import Proposal
from invdesign.optimizers import bandit
from invdesign.optimizers.common import Draft, State, propose_seeds
from invdesign.optimizers.members import (
    OptimizerField,
    find_asker,
    member_context,
    name_members,
    sign_proposal,
)
from invdesign.problem import Problem
from invdesign.protocols import AnyOptimizer, Context, OptimizerSettings, SearchSpace
from invdesign.settings import Settings, load

DEFAULT_MEMBERS = ("bayesian", "genetic", "cma", "swarm")
PLACE = "portfolio"


def _default_members() -> tuple[Settings, ...]:
    return tuple(load("optimizers", kind) for kind in DEFAULT_MEMBERS)


class Portfolio(OptimizerSettings):
    """Several optimizers in one run, asked in turn by their recent gains.

    All are told of every result.

    What a batch adds to the run (`bandit.measure_gain`) takes its place among the gains of late, and the member that asked
    is credited with that. Members that refuse the space are left out; one that has nothing to propose gives
    its turn to the next.

    Source:
        Hoffman, Brochu & de Freitas, UAI 2011, 327 (portfolios in Bayesian optimization); Fialho, PhD thesis, Université Paris-Sud
        XI (2010) (rank-based credit); Raj & Kalyani, arXiv:1707.09727 (2017) (discounted Thompson sampling).
    """

    members: tuple[OptimizerField, ...] = Field(default_factory=_default_members, strict=False)
    """Optimizers by name, or as mappings with `kind` and settings; at least two."""
    half_life: float = Field(default=8.0, gt=0.0)
    """Batches after which what a member earned counts half."""
    least: float = Field(default=0.05, ge=0.0, le=0.5)
    """Share of the batches that every member gets, however little it earns."""
    at_once: int = Field(default=10, ge=1)
    """Candidates asked for at a time, at most; a member that likes fewer gives fewer."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.members) < 2:
            raise ValueError(f"a portfolio needs two members or more, got {len(self.members)}")
        if self.least * len(self.members) > 1.0:
            raise ValueError(
                f"least must be 1 / {len(self.members)} or less for {len(self.members)} members, got {self.least:g}"
            )
        return self

    def suit_space(self, space: SearchSpace) -> Self:
        """Copy whose members have the hints of `space`."""
        suited = tuple(
            member.suit_space(space) if isinstance(member, OptimizerSettings) else member
            for member in self.members
        )
        return self.model_copy(update={"members": suited})

    @property
    def batch(self) -> int:
        """Largest batch of any member, within the limit."""
        return min(max(member.batch for member in name_members(self.members).values()), self.at_once)

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        refusals = self._member_refusals(space, problem)
        if not all(refusals.values()):
            return ""
        return "has no member that can: " + "; ".join(f"{name} {why}" for name, why in refusals.items())

    def _member_refusals(self, space: SearchSpace, problem: Problem) -> dict[str, str]:
        """Reason why each member cannot search this; empty if it can."""
        return {name: member.refusal(space, problem) for name, member in name_members(self.members).items()}

    def start(self, context: Context) -> State:
        """Members' states without credit, and notes on members left out."""
        refusals = self._member_refusals(context.space, context.problem)
        able = self._members_called([name for name, why in refusals.items() if not why])
        notes = {
            f"without {name}": f"portfolio goes on without {name}: it {why}"
            for name, why in refusals.items()
            if why
        }
        return {
            "seeds": 0,
            "members": {
                name: member.start(member_context(name, context, PLACE)) for name, member in able.items()
            },
            "credit": {name: [0.0, 0.0] for name in able},
            "asked": dict.fromkeys(able, 0),
            "elite": [],
            "recent": [],
            "gains": [],
            "notes": notes,
        }

    def _members_called(self, names: Sequence[str] | Mapping[str, object]) -> dict[str, AnyOptimizer]:
        return {name: member for name, member in name_members(self.members).items() if name in names}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        state = {**state, "seeds": propose_seeds(draft, state["seeds"])}
        if draft.proposals:
            return draft.proposals, state
        able, states = self._members_called(state["members"]), dict(state["members"])
        for name in bandit.sample_order(state["credit"], self.least, context.rng(PLACE)):
            wanted = min(n, able[name].batch, self.at_once)
            found, states[name] = able[name].ask(member_context(name, context, PLACE), states[name], wanted)
            if found:
                asked = {**state["asked"], name: state["asked"][name] + len(found)}
                proposals = [sign_proposal(proposal, name) for proposal in found]
                return proposals, {**state, "members": states, "asked": asked}
        return [], {**state, "members": states}

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Tell all members, and credit those that asked."""
        states = {
            name: member.tell(member_context(name, context, PLACE), state["members"][name], ids)
            for name, member in self._members_called(state["members"]).items()
        }
        state = {**state, "members": states}
        history = context.history
        asked = [(find_asker(history.candidate(id).proposal), id) for id in sorted(set(ids))]
        for name, group in groupby(asked, key=itemgetter(0)):
            state = self._credit_member(context, state, name, [id for _, id in group])
        return state

    def _credit_member(self, context: Context, state: State, name: str, ids: Sequence[int]) -> State:
        """State after trials that one member asked for, or the user (no name)."""
        history = context.history
        new = [id for id in ids if id not in state["elite"] and id not in state["recent"]]
        if not new:
            return state
        known = list(dict.fromkeys([*state["elite"], *state["recent"]]))
        gained = bandit.measure_gain(history, known, new) / len(new)
        credit, gains = state["credit"], state["gains"]
        if name in credit:
            kept = 0.5 ** (1.0 / self.half_life)
            credit = bandit.credit_member(credit, name, bandit.rank_gain(gained, gains), kept)
            gains = [*gains, float(f"{gained:.{bandit.STATE_DIGITS}g}")][-bandit.REMEMBERED_GAINS :]
        return {
            **state,
            "credit": credit,
            "gains": gains,
            "elite": bandit.choose_elite(history, state["elite"], new),
            "recent": [*state["recent"], *new][-bandit.RECENT_TRIALS :],
        }
