"""Small derivations: one that keeps its contract, one that reads it, and some that break a rule each."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from invdesign.candidate import Status
from invdesign.properties import Unit
from invdesign.protocols import DerivationSettings, Derived, History


class Rank(DerivationSettings):
    """`rank`: number of complete trials with less energy; every new trial may change it for all."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"energy_per_atom"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"rank": ""}

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        whole = "told" in memory and len(ids) < memory["told"]  # type: ignore[operator]
        values = history.column("energy_per_atom")
        complete = values[history.status_by_trial() == Status.COMPLETE]
        memory["told"] = len(complete)
        ranks = [float((complete < values[id]).sum()) if not np.isnan(values[id]) else np.nan for id in ids]
        return Derived({"rank": np.array(ranks)}, whole=whole)


class FromRank(DerivationSettings):
    """`score`: the negative rank, from another derivation."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"rank"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"score": ""}

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        return Derived({"score": -history.column("rank")[list(ids)]})


class Silent(Rank):
    """Does not say that others changed."""

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        return Derived(super().derive(history, ids, {}).columns)


class Misshapen(Rank):
    """One value too few."""

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        return Derived({"rank": np.zeros(len(ids) - 1)})


KEPT: list[int] = []


class Remembering(Rank):
    """Keeps outside its memory what it was told, so that what is withdrawn still counts."""

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        KEPT.extend(ids)
        return Derived({"rank": np.full(len(ids), float(len(KEPT)))})
