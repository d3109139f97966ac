"""Contract of derivations: properties that follow from all trials of a run together."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from invdesign.arrays import FloatArray
from invdesign.properties import Unit
from invdesign.protocols.optimizers import History
from invdesign.settings import Settings


@dataclass(frozen=True, slots=True)
class Derived:
    """Values that a derivation gives to n trials.

    Attributes:
        columns: shape (n,) by property, NaN where unknown.
        details: sentences by number of the trial, by property.
        whole: True if values of other trials changed too, so that all are to be derived again.
        systematic: shape (n,) by property, standard deviation of the method behind `columns`, NaN where unknown; properties without
            any are left out.
    """

    columns: Mapping[str, FloatArray]
    details: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    whole: bool = False
    systematic: Mapping[str, FloatArray] = field(default_factory=dict)


class Derivation(Protocol):
    """Derives properties of trials from the results of all ended trials.

    Its values are a function of the set of ended trials, whatever the order in which they ended. So nothing of it is stored: a
    resumed run derives the same numbers.
    """

    @property
    def requires(self) -> frozenset[str]:
        """Names of the properties it reads."""
        ...

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Unit by property name."""
        ...

    @property
    def potential_id(self) -> str | None:
        """Fingerprint of the potential whose energies it needs; None where the run's own are enough."""
        ...

    def prepare(self) -> None:
        """Read its files; called before a run goes on.

        Raises:
            InvdesignError: a file is not the one that the run began with.
        """
        ...

    def derive(self, history: History, ids: Sequence[int], memory: MutableMapping[str, object]) -> Derived:
        """Derive the properties of trials.

        Args:
            history: all trials of the run.
            ids: numbers, ascending, of n trials that ended since the last call; all ended ones where `memory` is empty, and
                after a call that changed the values of others.
            memory: kept from one call to the next; the run empties it after a trial has lost results.
        """
        ...


class DerivationSettings(Settings):
    """Base class of derivations, with the defaults of the contract."""

    @property
    def potential_id(self) -> str | None:
        return None

    def prepare(self) -> None:
        """Do nothing: there is no file to read."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Lowest phase of one composition.

    Attributes:
        formula: reduced.
        energy: eV/atom.
        distance: to the hull of all phases, eV/atom; 0 on it, NaN where it is unknown.
        candidate: number of the trial; None for a phase of a reference set.
        name: of a phase of a reference set.
        missing: elements without a competing phase, where the distance is unknown.
    """

    formula: str
    energy: float
    distance: float
    candidate: int | None = None
    name: str = ""
    missing: tuple[str, ...] = ()


@runtime_checkable
class PhaseDerivation(Derivation, Protocol):
    """A derivation that knows the phases of a run, for a table and a plot of the hull."""

    def list_phases(self, history: History) -> Sequence[Phase]:
        """Lowest phases of all compositions in `history`, by formula."""
        ...

    @property
    def energy_property(self) -> str:
        """Name of the property that holds the energies, in eV/atom."""
        ...
