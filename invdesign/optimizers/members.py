"""Optimizers within an optimizer: their fields, names and view of the shared run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, TypeAlias, cast

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from invdesign import registry
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Candidate, Genome, Json, Proposal, Trial
from invdesign.errors import PluginError
from invdesign.problem import Scores
from invdesign.protocols import AnyOptimizer, Context, History
from invdesign.rng import derived_seed
from invdesign.settings import Settings, load, validation_context

BY, MEMO = "by", "memo"  # keys of a shared run's memos: who asked, and what it noted


def _load_optimizer(value: object, info: ValidationInfo) -> object:
    """Load the plug-in of a name or mapping; errors in settings keep their places."""
    if isinstance(value, Settings):
        return value
    folder, trust_code = validation_context(info)
    try:
        return load("optimizers", value, folder=folder, trust_code=trust_code)
    except PluginError as error:
        raise ValueError(str(error)) from error


OptimizerField: TypeAlias = Annotated[SerializeAsAny[Settings], BeforeValidator(_load_optimizer)]
"""A field that names an optimizer: `genetic`, or `{kind: genetic, population: 20}`."""


def name_members(optimizers: Iterable[Settings]) -> dict[str, AnyOptimizer]:
    """Name `optimizers` by kind, with `genetic 2` for the second of a kind."""
    found: dict[str, AnyOptimizer] = {}
    for optimizer in optimizers:
        kind = registry.name_of(type(optimizer)).rpartition(":")[2]
        name, number = kind, 1
        while name in found:
            number += 1
            name = f"{kind} {number}"
        found[name] = cast("AnyOptimizer", optimizer)
    return found


def sign_proposal(proposal: Proposal, name: str) -> Proposal:
    """Add the name of the asking member to a `proposal`'s memo.

    Args:
        proposal: of the member.
        name: of the member.
    """
    memo: dict[str, Json] = {BY: name, MEMO: proposal.memo}
    return replace(proposal, memo=memo)


def find_asker(proposal: Proposal) -> str:
    """Name of the member that made a `proposal`; empty if none did."""
    memo = proposal.memo
    return str(memo[BY]) if isinstance(memo, dict) and memo.keys() == {BY, MEMO} else ""


def member_context(name: str, context: Context, place: str) -> Context:
    """Context as a member sees it.

    Its randomness is its own, independent of the others', and so is its cache. Of trials that others asked for it
    knows everything but what they noted. The user's seeds are the whole run's affair, proposed before any member is
    asked.

    Args:
        name: of the member.
        context: of the run.
        place: what the members belong to: two of them may be nested.
    """
    caches = cast("dict[str, object]", context.cache)
    own = cast("dict[str, object]", caches.setdefault(f"{place} {name}", {}))
    return replace(
        context,
        history=MemberHistory(context.history, name),
        seed=derived_seed(context.seed, place, name),
        seeds=(),
        cache=own,
    )


class MemberHistory:
    """History as one member sees it: with its own memos only."""

    def __init__(self, history: History, name: str) -> None:
        self._history = history
        self._name = name

    def __len__(self) -> int:
        return len(self._history)

    def __contains__(self, key: object) -> bool:
        return key in self._history

    def id_of(self, key: str) -> int | None:
        return self._history.id_of(key)

    def superseded(self) -> Sequence[int]:
        return self._history.superseded()

    def outside(self) -> Sequence[int]:
        return self._history.outside()

    def candidate(self, id: int) -> Candidate:
        return self._own_view(self._history.candidate(id))

    def trial(self, id: int) -> Trial:
        trial = self._history.trial(id)
        return replace(trial, candidate=self._own_view(trial.candidate))

    def relaxed_genome(self, id: int) -> Genome | None:
        return self._history.relaxed_genome(id)

    def formula_of(self, id: int) -> str:
        return self._history.formula_of(id)

    def status_by_trial(self) -> IntArray:
        return self._history.status_by_trial()

    def pending(self) -> Sequence[int]:
        return self._history.pending()

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        return self._history.column(name, stage)

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        return self._history.noise(name, stage)

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        return self._history.systematic(name, stage)

    def potential_of(self, name: str) -> str | None:
        return self._history.potential_of(name)

    def seconds(self, stage: str) -> FloatArray:
        return self._history.seconds(stage)

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        return self._history.scores(ids)

    def _own_view(self, candidate: Candidate) -> Candidate:
        proposal = candidate.proposal
        if proposal.memo is None:
            return candidate
        memo = proposal.memo
        own = memo[MEMO] if isinstance(memo, dict) and find_asker(proposal) == self._name else None
        return replace(candidate, proposal=replace(proposal, memo=own))
