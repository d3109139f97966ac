"""What somebody outside a run says of its candidates: measured, computed elsewhere, known before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from invdesign.candidate import Failure


@dataclass(frozen=True, slots=True)
class Measurement:
    """One result told from outside, of one genome at one stage.

    Attributes:
        key: of the genome (`genome_key`): what is told of a genome holds for every trial of it.
        stage: name of the stage whose properties these are.
        properties: all that the stage provides; none where it failed.
        uncertainties: one standard deviation, same names, where known.
        structures: role -> hash of the structures that came with it.
        blobs: hash -> compressed structure.
        failure: set instead of results.
        label: the user's own name of the measurement, told apart by it from another with the same numbers.
        note: the user's remark.
        id: its number in the run; -1 before it has one.
        event: number of the event that took it up; -1 before.
        withdrawn: number of the event that took it back; None while it counts.
    """

    key: str
    stage: str
    properties: Mapping[str, float] = field(default_factory=dict)
    uncertainties: Mapping[str, float] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    failure: Failure | None = None
    label: str = ""
    note: str = ""
    id: int = -1
    event: int = -1
    withdrawn: int | None = None


def combined(told: Sequence[Measurement]) -> Measurement:
    """Several measurements of one genome at one stage as one.

    Values are averaged. Where all of a property's measurements have an uncertainty, they are weighted by the inverse
    square of it, and where they scatter more than they say, the result's uncertainty grows by the root of the reduced
    chi-square; where not all have one, the uncertainty is the standard error of the mean, unknown of a single
    measurement. A failure counts only where all failed.

    Args:
        told: those that count (not withdrawn), at least one.

    Source:
        Particle Data Group, Review of Particle Physics, section 5.2.2 (scale factor).
    """
    raise NotImplementedError
