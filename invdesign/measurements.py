"""Results from outside a run: measured, computed elsewhere, known before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from invdesign.candidate import Failure


@dataclass(frozen=True, slots=True)
class Measurement:
    """One result from outside, for one genome at one stage.

    Attributes:
        key: hash of the genome (`genome_key`): the result holds for every trial of it.
        stage: name of the stage whose properties these are.
        properties: all that the stage provides; none where it failed.
        noise: standard deviation of repeating the measurement, by property, where known.
        systematic: standard deviation of the method, by property, where known.
        details: a short sentence by property name.
        structures: role -> hash of the structures that came with it.
        blobs: hash -> compressed structure.
        failure: set instead of results.
        label: the user's own name of the measurement; it distinguishes measurements with the same numbers.
        note: the user's remark.
        id: its number in the run; -1 before it has one.
        event: number of the event that recorded it; -1 before.
        withdrawn: number of the event that took it back; None while it counts.
    """

    key: str
    stage: str
    properties: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    failure: Failure | None = None
    label: str = ""
    note: str = ""
    id: int = -1
    event: int = -1
    withdrawn: int | None = None


def combine_measurements(told: Sequence[Measurement]) -> Measurement:
    """Combine several measurements of one genome at one stage to one.

    Values are averaged. Where all measurements of a property have a noise, the weights are its inverse squares; where the values
    scatter more than that, the result's noise grows by the root of the reduced chi-square. Where a noise is missing, the result's
    noise is the standard error of the mean; it is unknown for a single measurement and for several equal ones. An error of the
    method does not average out: the largest stays. A failure counts only where all failed. Structures and details are those
    that came last.

    Args:
        told: the measurements that count (not withdrawn), at least one.

    Source:
        Particle Data Group, Review of Particle Physics, section 5.2.2 (scale factor).
    """
    if len(told) == 1:
        return told[0]
    ordered = sorted(told, key=_sort_key)
    good = [item for item in ordered if item.failure is None]
    if len(good) < 2:
        return (good or ordered)[-1]
    values: dict[str, float] = {}
    noise: dict[str, float] = {}
    systematic: dict[str, float] = {}
    details: dict[str, str] = {}
    for name in sorted(set().union(*(item.properties for item in good))):
        having = [item for item in good if name in item.properties]
        sigmas = [item.noise.get(name) for item in having]
        value, sigma = _average_values([item.properties[name] for item in having], sigmas)
        values[name] = value
        if sigma is not None:
            noise[name] = sigma
        errors = [item.systematic[name] for item in having if name in item.systematic]
        if errors:
            systematic[name] = max(errors)
        if remarks := [item.details[name] for item in having if name in item.details]:
            details[name] = remarks[-1]
    last = next((item for item in reversed(good) if item.structures), good[-1])
    return Measurement(
        key=last.key,
        stage=last.stage,
        properties=values,
        noise=noise,
        systematic=systematic,
        details=details,
        structures=last.structures,
        blobs=last.blobs,
    )


def _sort_key(item: Measurement) -> tuple[object, ...]:
    """Sort key of a measurement: its number, else its content.

    The order in which measurements were reported then does not matter.
    """
    failure = item.failure.message if item.failure is not None else ""
    said = (
        sorted(item.properties.items()),
        sorted(item.noise.items()),
        sorted(item.systematic.items()),
        sorted(item.details.items()),
        sorted(item.structures.items()),
    )
    return (item.id, *said, failure, item.label, item.note)


def _average_values(values: Sequence[float], sigmas: Sequence[float | None]) -> tuple[float, float | None]:
    """Mean of values and its noise, None where that is unknown.

    Sums are exact, so that their order does not matter.
    """
    known = [sigma for sigma in sigmas if sigma is not None]
    if len(known) == len(values) and 0.0 in known:  # exact values outweigh all others
        values, known = [x for x, sigma in zip(values, known, strict=True) if sigma == 0.0], []
        if len(set(values)) == 1:
            return values[0], 0.0
    count = len(values)
    if len(known) < count:
        mean = math.fsum(values) / count
        spread = math.hypot(*(x - mean for x in values))
        return mean, spread / math.sqrt((count - 1) * count) if spread else None
    finest = min(known)  # weights relative to it, so that no square overflows
    weights = [(finest / sigma) ** 2 for sigma in known]
    total = math.fsum(weights)
    mean = math.fsum(w * x for w, x in zip(weights, values, strict=True)) / total
    chi = math.hypot(*((x - mean) / sigma for x, sigma in zip(values, known, strict=True)))
    growth = max(chi / math.sqrt(count - 1), 1.0) if count > 1 else 1.0
    return mean, finest / math.sqrt(total) * growth
