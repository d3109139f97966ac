"""Frozen values of a run: genomes, proposals, candidates, designs, evaluations, trials."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, Union

from invdesign.properties import find_latest_role

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure


Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]
Genome: TypeAlias = Mapping[str, Json]
SIGNIFICANT_DIGITS = 12  # of numbers in a genome (chosen)
PROMOTION = "promotion"  # operator of a proposal that takes a known genome further
OUTSIDE = "outside"  # operator of a candidate made outside the space, told with its results
START = "start"  # operator of most spaces that needs no parents
SEED = "seed"  # operator of a genome the user gave
UNASKED = "unasked"  # operator of a genome taken from what is left of a finite space
ORIGINS = {
    PROMOTION: "taken further",
    OUTSIDE: "reported from outside the space",
    SEED: "given by the user",
    UNASKED: "chosen among candidates not asked before",
    START: "drawn from the space",
}
"""Words in place of "made by", for operators that make no genome of their own."""

DETAIL_LENGTH = 500  # characters of a detail: a few sentences (chosen)
# Range of values from which on a number without decimals may be a rounded one (chosen).
ROUNDED_INTEGER_EXTENT = 20.0
_NUMBER_TEXT = re.compile(
    r"[+-]?(?P<whole>\d*)(\.(?P<decimals>\d*))?(e(?P<exponent>[+-]?\d+))?", re.IGNORECASE
)


def describe_origin(operator: str) -> str:
    """Say in words where a candidate of an `operator` came from.

    Examples:
        >>> describe_origin("mutation"), describe_origin("seed")
        ('made by mutation', 'given by the user')
    """
    return ORIGINS.get(operator) or f"made by {operator}"


def round_number(number: float) -> float:
    """Round `number` to 12 significant digits; -0.0 becomes 0.0.

    Two genomes whose numbers agree after rounding are one genome.

    Raises:
        ValueError: the number is not finite.
    """
    if not math.isfinite(number):
        raise ValueError(f"a genome holds finite numbers only, got {number}")
    return float(f"{number:.{SIGNIFICANT_DIGITS}g}") + 0.0


def half_last_digit(text: str, extent: float = math.inf) -> float:
    """Half a unit of the last digit of the number in `text`.

    The number that was meant may differ from the written one by that much: 0.33 stands for anything from 0.325 to 0.335.

    Args:
        text: a number as it is written.
        extent: range of the values that the number may have. A whole number counts as rounded only where half a unit is at
            most a 40th of it: a temperature of 351 may be 350.6, while a fraction of 1 or 0 is exact.

    Returns:
        0 where the number is exact, or `text` is no number.
    """
    found = _NUMBER_TEXT.fullmatch(text.strip())
    if found is None or not (found["whole"] or found["decimals"]):
        return 0.0
    decimals = len(found["decimals"] or "") - int(found["exponent"] or 0)
    if decimals > 0:
        return float(0.5 * 10.0 ** -min(decimals, 300))
    return 0.5 if extent >= ROUNDED_INTEGER_EXTENT else 0.0


def canonical(value: Json | Genome) -> Json:
    """Convert `value` to plain JSON types: keys sorted, floats to 12 significant digits.

    Whole floats stay floats: 1.0 and 1 are different genomes, as a real and an integer dimension are.

    Raises:
        TypeError: a value is of no JSON type.
        ValueError: a number is not finite.

    Examples:
        >>> canonical({"y": 0.1 + 0.2, "x": (1, 1.0)})
        {'x': [1, 1.0], 'y': 0.3}
    """
    kind = type(value)
    if kind is float:  # most of a genome is floats, and a check by abstract class takes ten times as long
        return round_number(value)  # type: ignore[arg-type]  # known by its type
    if kind is str or kind is int:
        return value  # type: ignore[return-value]  # known by its type
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [round_number(item) if type(item) is float else canonical(item) for item in value]
    if isinstance(value, float):
        return round_number(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a genome holds JSON values only, got {type(value).__name__}: {value!r}")


def to_json(value: Json | Genome) -> str:
    """Write `value` as compact JSON with sorted keys.

    Floats have their shortest exact form; NaN is refused.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def clean_detail(text: str) -> str:
    """Convert `text` to one line of at most `DETAIL_LENGTH` printable characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= DETAIL_LENGTH else f"{line[: DETAIL_LENGTH - 3].rstrip()}..."


def genome_key(genome: Genome) -> str:
    """Key of a `genome`: 32 hexadecimal digits of a hash of its canonical form.

    Examples:
        >>> genome_key({"x": 0.3}) == genome_key({"x": 0.1 + 0.2})
        True
    """
    return hashlib.blake2b(to_json(canonical(genome)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genome with its lineage.

    Attributes:
        genome: the optimizer's view of one candidate.
        parents: numbers of the candidates it was made from.
        operator: name of the operator that made it.
        memo: the optimizer's own note, written once and handed back in the trial.
        until: last stage to run; None runs all.
    """

    genome: Genome
    parents: tuple[int, ...] = ()
    operator: str = ""
    memo: Json = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An asked proposal, with its number in the run (from 0) and its key."""

    id: int
    key: str
    proposal: Proposal

    @property
    def genome(self) -> Genome:
        """The proposal's genome."""
        return self.proposal.genome

    @property
    def outside(self) -> bool:
        """True if it was made outside the space.

        It is then data for models, never a proposal or a parent.
        """
        return self.proposal.operator == OUTSIDE


@dataclass(frozen=True, slots=True)
class Design:
    """Structures, composition and parameters that a genome describes.

    Attributes:
        parameters: process variables or composition variables by name.
        composition: overall composition; None without one.
        structures: by role: `initial`, or `film` and `host`.
    """

    parameters: Mapping[str, float | str] = field(default_factory=dict)
    composition: Composition | None = None
    structures: Mapping[str, Structure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """Input of an evaluator: the design and the results of earlier stages.

    Attributes:
        properties: values from earlier stages, by name.
        structures: by role, those of the design and those that earlier stages made (`relaxed`).
        seed: for evaluators that draw random numbers; follows from what they require, not from the run.
    """

    candidate: Candidate
    design: Design
    properties: Mapping[str, float]
    structures: Mapping[str, Structure]
    seed: int

    @property
    def id(self) -> int:
        """The candidate's number in the run."""
        return self.candidate.id

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """The design's parameters."""
        return self.design.parameters

    @property
    def composition(self) -> Composition:
        """The design's composition.

        Raises:
            LookupError: candidates of this space have none.
        """
        if self.design.composition is None:
            raise LookupError("this candidate has no composition")
        return self.design.composition

    @property
    def structure(self) -> Structure:
        """Structure of the candidate that an earlier stage made last, else the one the space built.

        Saddles and cells with ions less or more are not the candidate's own (`properties.OTHER_STATES`).

        Raises:
            LookupError: candidates of this space have none.
        """
        if not self.structures:
            raise LookupError("this candidate has no structure")
        made = list(self.structures)
        return self.structures[find_latest_role(made) or made[-1]]


@dataclass(frozen=True, slots=True)
class Failure:
    """Cause of a missing result.

    Attributes:
        kind: one of `error`, `not_finite`, `timeout`, `crash`, `memory`, `missing`, `infeasible`; `told` if a user reported
            the failure, `withdrawn` if a user took the result back.
        stage: name of the stage it happened in (`build` for the space itself).
        message: one line for a person.
    """

    kind: str
    stage: str
    message: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of one evaluator for one input, or a failure with its cause.

    Attributes:
        properties: finite numbers by property name, in the units the evaluator declares.
        noise: standard deviation of repeating the evaluation, by property, where known. Models learn from it.
        systematic: standard deviation of the method, by property, where known: an error that all candidates of a chemistry
            share. It is shown beside the value, and no model learns from it.
        structures: structures it made, by role.
        cost: `seconds`, `potential_calls`; not part of the result.
        details: a short sentence by property name, for what a number alone does not say.
        failure: set instead of results; never both.
    """

    properties: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    structures: Mapping[str, Structure] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None


class Status(IntEnum):
    """Status of a trial.

    The numbers are stored, so they never change meaning.
    """

    PENDING = 0
    COMPLETE = 1
    GATED = 2
    INFEASIBLE = 3
    FAILED = 4
    WITHDRAWN = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate with its status and results.

    Attributes:
        depth: number of stages it has passed.
        properties: value of the last stage that provided each property.
        noise, systematic, details: from that stage (see `Evaluation`).
        structures: roles of the structures kept for it (read with `Run.structure`).
        gate: for a gated trial, the condition it failed, in words.
        adoption_refused: reason why the structure it became has no genome, so that it breeds nothing.
    """

    candidate: Candidate
    status: Status
    depth: int
    properties: Mapping[str, float]
    noise: Mapping[str, float] = field(default_factory=dict)
    systematic: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    structures: tuple[str, ...] = ()
    failure: Failure | None = None
    gate: str = ""
    adoption_refused: str = ""

    @property
    def id(self) -> int:
        """The candidate's number."""
        return self.candidate.id

    @property
    def genome(self) -> Genome:
        """The candidate's genome."""
        return self.candidate.genome
