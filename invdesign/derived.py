"""Derived properties of a run, brought up to date when they are read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import IntArray
from invdesign.candidate import Status
from invdesign.protocols import Derivation, Derived, History

LOGGER = logging.getLogger("invdesign.run")


@dataclass(frozen=True, slots=True)
class Update:
    """Derived values to write into a history.

    Attributes:
        ids: numbers of the n trials that `derived` is about.
        whole: True if the values of trials that had some have changed.
    """

    ids: IntArray
    derived: Derived
    whole: bool


class Deriver:
    """Calls the derivations of a run for the trials that ended since the last call.

    Where a trial lost results, and where a derivation says that other values changed, all ended trials are derived at once.

    Args:
        derivations: in order; each may require what those before it provide.
    """

    def __init__(self, derivations: Sequence[Derivation]) -> None:
        self._derivations = tuple(derivations)
        self._memories: list[dict[str, object]] = [{} for _ in derivations]
        self._new: set[int] = set()
        self._derived: set[int] = set()
        self._starts_anew = False
        self._said: set[str] = set()

    def note_result(self, id: int) -> None:
        """Note that trial `id` has a new result, or has ended."""
        if self._derivations:
            self._new.add(id)
            self._starts_anew |= id in self._derived

    def note_loss(self, id: int) -> None:
        """Note that trial `id` has lost its results."""
        self._new.discard(id)
        self._starts_anew |= id in self._derived

    def derive_due(self, history: History) -> Iterator[Update]:
        """Derive what is due; each update is to be written before the next one is asked for.

        Args:
            history: of the run.
        """
        if not self._new and not self._starts_anew:
            return
        ended = history.status_by_trial() != Status.PENDING
        anew, self._starts_anew = self._starts_anew, False
        fresh = np.array(sorted(id for id in self._new if ended[id]), dtype=np.int64)
        self._new.difference_update(fresh.tolist())
        every = np.flatnonzero(ended)
        if anew:
            self._derived.clear()
        self._derived.update((every if anew else fresh).tolist())
        changed: set[str] = set()  # properties of which trials not in `fresh` have new values
        for derivation, memory in zip(self._derivations, self._memories, strict=True):
            if anew:
                memory.clear()
            whole = anew or bool(changed & derivation.requires)
            ids = every if whole else fresh
            if not len(ids):
                continue
            found = self._call(derivation, history, ids, memory)
            if found.whole and not whole:
                whole, ids = True, every
                found = self._call(derivation, history, ids, memory)
            changed |= set(derivation.provides) if whole else set()
            yield Update(ids, found, whole)

    def _call(
        self, derivation: Derivation, history: History, ids: IntArray, memory: dict[str, object]
    ) -> Derived:
        """Call a derivation; one that fails gives unknown values, and the reason as their detail."""
        try:
            found = derivation.derive(history, ids.tolist(), memory)
            _check_promises(derivation, found, ids)
        except Exception as error:  # noqa: BLE001 - foreign code; the run goes on, and says so
            memory.clear()
            reason = f"{type(derivation).__name__} fails: {type(error).__name__}: {error}"
            if reason not in self._said:
                self._said.add(reason)
                LOGGER.warning("%s", reason)
            return Derived(
                {name: np.full(len(ids), np.nan) for name in derivation.provides},
                {name: dict.fromkeys(ids.tolist(), reason) for name in derivation.provides},
            )
        return found


def _check_promises(derivation: Derivation, found: Derived, ids: IntArray) -> None:
    """Refuse values of other properties, trials or types than promised."""
    shapes = {name: np.shape(column) for name, column in found.columns.items()}
    wanted = dict.fromkeys(derivation.provides, (len(ids),))
    if shapes != wanted:
        raise ValueError(f"it gives columns of shapes {shapes}, and promises {wanted}")
    errors = {name: np.shape(column) for name, column in found.systematic.items()}
    if not errors.items() <= wanted.items():
        raise ValueError(f"it gives systematic errors of shapes {errors}, and promises columns {wanted}")
    for name, said in found.details.items():
        if name not in wanted or not said.keys() <= set(ids.tolist()):
            raise ValueError(f"it gives details of {name} for other trials or properties than promised")
