"""Results that a user tells a run, and their outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invdesign.candidate import Candidate, Genome
from invdesign.protocols import SearchSpace, is_near, place_genome

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class Told:
    """One result from outside, for a candidate or for a new genome.

    Attributes:
        candidate: its number; None where `genome` says which it is.
        genome: canonical, of a candidate the run may not know yet.
        properties: all that the stage provides; none where it failed.
        noise: one standard deviation of repeating the measurement, same names and units, where known.
        systematic: one standard deviation of the method itself, same names and units, where known.
        details: a short sentence by property name.
        failure: why there is no result, in the user's words; empty where there is one.
        stage: whose properties these are; empty where they tell it themselves.
        label: the user's own name of the measurement: two with the same numbers are told apart by it.
        note: a remark.
        structures: structures that came with it, by role.

    Examples:
        >>> import invdesign
        >>> invdesign.Told(candidate=0, properties={"conductivity": 9.1}, noise={"conductivity": 0.2}).failure
        ''
        >>> invdesign.Told(candidate=1, failure="the cell leaked").properties
        {}
    """

    candidate: int | None = None
    genome: Genome | None = None
    properties: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    stage: str = ""
    label: str = ""
    note: str = ""
    structures: Mapping[str, Structure] = field(default_factory=dict)


def broken_rules(space: SearchSpace, candidate: Candidate) -> str:
    """Rules of the `space` that a `candidate` breaks, in words; empty if none."""
    return place_genome(space, candidate.genome).outside if candidate.outside else ""


def describe_outside(space: SearchSpace, genome: Genome) -> str:
    """Sentence on a candidate made outside the space.

    Args:
        space: of the run.
        genome: of the candidate.
    """
    if not is_near(space, genome):
        return "it is kept, but lies so far off that no model learns from it."
    return "it is data for the models, never a proposal or a parent, and not among the best."


@dataclass(frozen=True, slots=True)
class Taken:
    """Outcome of results that were told.

    Attributes:
        recorded: how many measurements are new.
        known: how many had been told before, word by word.
        added: numbers of candidates that were not asked for.
        ended: status by number, of the candidates that came to their end by it.
        outside: rules of the space, by number, that candidates break which were made outside it: data for the models, and
            never proposed, a parent or the best.
        stopped: why, by number, of told candidates that never reached the stage: its gates or failures came first.
    """

    recorded: int = 0
    known: int = 0
    added: tuple[int, ...] = ()
    ended: Mapping[int, str] = field(default_factory=dict)
    stopped: Mapping[int, str] = field(default_factory=dict)
    outside: Mapping[int, str] = field(default_factory=dict)
