"""Data of a report as plain values: read from the run once, counted and grouped."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from invdesign import registry
from invdesign.arrays import FloatArray, IntArray
from invdesign.campaign.document import parse_yaml
from invdesign.campaign.model import Campaign
from invdesign.candidate import ORIGINS, Json, Status, describe_origin
from invdesign.errors import InvdesignError
from invdesign.problem import Constraint, Merit, Objective, Scores
from invdesign.properties import (
    STRUCTURE_KEPT,
    STRUCTURE_PREFIX,
    describe_property,
    is_structure,
    structure_fate,
    words_beside,
)
from invdesign.protocols import candidate_name
from invdesign.report.text import (
    SETTING_UNITS,
    axis_label,
    format_measured,
    pretty_unit,
    shorten_setting,
    with_unit,
)
from invdesign.run.run import Run
from invdesign.run.status import RunStatus
from invdesign.store import schema
from invdesign.structures.formulas import order_formula
from invdesign.suffixed import Suffixed

MAX_TREE_DEPTH = 5  # generations; chosen
MAX_TREE_NODES = 40  # candidates in a family tree; chosen
MAX_EXAMPLES = 12  # candidate numbers beside a cause of failure; chosen
MAX_SETTING_LETTERS = 800  # of a setting in "What was asked"; chosen
MAX_DUMPED_LETTERS = 2000  # a dump replaces longer texts by their length; chosen


@dataclass(frozen=True)
class Facts:
    """Data of a run's candidates for a report, as one snapshot.

    Another process may work on the run meanwhile.

    Attributes:
        run: the run.
        status: its status.
        scores: of all n candidates.
        columns, noise, systematic: shape (n,) by property; NaN where unknown.
        details: sentences by property, by candidate.
        minimised: shape (n, m), every objective as a number of which smaller is better.
        desirability: shape (n,), NaN where unknown; None if the objectives have no scale to judge by.
        units: by property.
        formulas, operators, parents: of all n candidates.
        ranking: numbers of the complete candidates, best first.
        front: numbers of the front's members, by the first objective.
        outside: numbers of the candidates made outside the space.
        structures: by property, the role of the structure it was measured on.
    """

    run: Run
    status: RunStatus
    scores: Scores
    columns: Mapping[str, FloatArray]
    noise: Mapping[str, FloatArray]
    systematic: Mapping[str, FloatArray]
    details: Mapping[int, Mapping[str, str]]
    minimised: FloatArray
    desirability: FloatArray | None
    units: Mapping[str, str]
    formulas: Sequence[str]
    operators: Sequence[str]
    parents: Sequence[tuple[int, ...]]
    ranking: IntArray
    front: IntArray
    outside: frozenset[int] = frozenset()
    structures: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.formulas)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Objectives of the campaign."""
        return self.run.campaign.problem.objectives

    @property
    def ranked_by(self) -> int:
        """Number of values that rank candidates: 1, or the number of objectives."""
        return self.run.campaign.problem.n_values

    @property
    def scalarized(self) -> bool:
        """True if the objectives are combined to one score."""
        return self.run.campaign.problem.scalarize is not None

    def value_text(self, name: str, id: int) -> str:
        """Value of property `name` of candidate `id` with its errors, or an empty text."""
        errors = float(self.noise[name][id]), float(self.systematic[name][id])
        return format_measured(float(self.columns[name][id]), *errors, unit=self.units[name])

    def mark_words(self, name: str, id: int) -> str:
        """Words beside property `name` of candidate `id`; mostly none."""
        return words_beside(
            name, lambda flag: float(self.columns[flag][id]) if flag in self.columns else None
        )

    def cell_text(self, name: str, id: int) -> str:
        """Table cell of property `name` of candidate `id`, without unit."""
        return f"{self.value_text(name, id)} {self.mark_words(name, id)}".rstrip()

    def detail_text(self, name: str, id: int) -> str:
        """Detail of property `name` of candidate `id`, or an empty text."""
        return self.details.get(id, {}).get(name, "")

    def full_text(self, name: str, id: int) -> str:
        """Value of property `name` of candidate `id` with errors, unit and words."""
        return f"{with_unit(self.value_text(name, id), pretty_unit(self.units[name]))} {self.mark_words(name, id)}".rstrip()

    def property_heading(self, name: str) -> str:
        """Label of property `name` with its unit and structure."""
        return axis_label(name, self.units[name], self.structures.get(name, ""))

    def name_of(self, id: int) -> str:
        """Name that the space gives candidate `id`; empty where it gives none."""
        found = self.run.history.candidate(id)
        return candidate_name(self.run.campaign.space, found.genome, outside=found.outside)

    def describe_fate(self, id: int) -> tuple[bool, str]:
        """True if candidate `id` lost its structure, and a few words on it.

        An example is `no longer an anti-perovskite`.
        """
        known = (
            {STRUCTURE_KEPT: float(self.columns[STRUCTURE_KEPT][id])}
            if STRUCTURE_KEPT in self.columns
            else {}
        )
        return structure_fate(known, self.details.get(id, {}))

    def known_properties(self, id: int) -> list[str]:
        """Names of the known properties of candidate `id`, the problem's first."""
        return [name for name in self.columns if not np.isnan(self.columns[name][id])]

    def feasible_ids(self) -> IntArray:
        """Numbers of the feasible candidates, ascending."""
        ids: IntArray = self.scores.ids[self.scores.merit == Merit.FEASIBLE]
        return ids


def read_facts(run: Run) -> Facts:
    """Read all data of a `run` for its report.

    Raises:
        StoreError: the store cannot be read.
    """
    history = run.history
    n = len(history)
    scores = history.scores()
    names = dict.fromkeys((*run.campaign.problem.properties, *history.property_names()))
    units = run.campaign.units()
    columns = ("id", "formula", "operator", "parents")
    rows = [row for row in run.store.read_rows(schema.candidates, columns) if row.id < n]
    order = scores.ids[scores.order()]
    positions = scores.front()
    by_first = np.argsort(scores.values[positions, 0], kind="stable")
    problem, known = run.campaign.problem, {name: history.column(name) for name in names}
    minimised = problem.minimise_columns(known.__getitem__)
    return Facts(
        run=run,
        status=run.status(),
        scores=scores,
        columns=known,
        noise={name: history.noise(name) for name in names},
        systematic={name: history.systematic(name) for name in names},
        details=history.details_by_trial(),
        minimised=minimised,
        desirability=problem.desirability(minimised) if problem.has_scales else None,
        units={name: units.get(name) or describe_property(name).unit for name in names},
        formulas=[order_formula(row.formula or "") for row in rows],
        operators=[row.operator or "unnamed" for row in rows],
        parents=[tuple(json.loads(row.parents)) for row in rows],
        ranking=order[history.status_by_trial()[order] == Status.COMPLETE],
        front=scores.ids[positions[by_first]],
        outside=frozenset(history.outside()),
        structures=run.campaign.measured_on,
    )


# The funnel.


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of the funnel.

    Attributes:
        name, kind: of the stage and its evaluator.
        entered, passed, gated, failed: numbers of candidates.
        evaluated: evaluations that ran.
        cached: evaluations taken from earlier ones.
        seconds, total: median and sum of the time of an evaluation; NaN where none was recorded.
        gates: of the stage, in words.
    """

    name: str
    kind: str
    entered: int
    passed: int
    gated: int
    failed: int
    evaluated: int
    cached: int
    seconds: float
    total: float
    gates: tuple[str, ...]


def stage_rows(facts: Facts) -> list[StageRow]:
    """Rows of the funnel of `facts`, the build stage first."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    cached: defaultdict[str, int] = defaultdict(int)
    for row in facts.run.store.read_rows(schema.evaluations, ("candidate", "stage", "cost", "source")):
        if row.candidate >= len(facts):
            continue
        if row.source is None:
            seconds[row.stage].append(json.loads(row.cost).get("seconds", np.nan))
        else:
            cached[row.stage] += 1
    rows = []
    for stage, counts in zip(facts.run.campaign.funnel, facts.status.stages, strict=True):
        times = np.array(seconds[stage.name])
        times = times[np.isfinite(times)]
        rows.append(
            StageRow(
                name=stage.name,
                kind=plugin_kind(stage.evaluator or facts.run.campaign.space),
                entered=counts.entered,
                passed=counts.passed,
                gated=counts.gated,
                failed=counts.failed,
                evaluated=len(seconds[stage.name]),
                cached=cached[stage.name],
                seconds=float(np.median(times)) if len(times) else np.nan,
                total=float(times.sum()) if len(times) else np.nan,
                gates=tuple(bounds_text(gate, facts.units) for gate in stage.gates),
            )
        )
    return rows


def bounds_text(constraint: Constraint, units: Mapping[str, str]) -> str:
    """Bounds of a `constraint` with its property's name and unit.

    Args:
        constraint: to write.
        units: by property.
    """
    name = constraint.property
    unit = units.get(name) or describe_property(name).unit
    low = f"{constraint.min:g} ≤ " if constraint.min is not None else ""
    high = f" ≤ {constraint.max:g}" if constraint.max is not None else ""
    return with_unit(f"{low}{name}{high}".replace("-", "−"), pretty_unit(unit))


# Failures.


@dataclass(frozen=True, slots=True)
class Cause:
    """Candidates with the same kind of failure.

    Attributes:
        stage, kind: of the failure.
        count: number of candidates.
        example: message of the first of them.
        candidates: numbers of the first few.
    """

    stage: str
    kind: str
    count: int
    example: str
    candidates: tuple[int, ...]


def group_failures(facts: Facts) -> list[Cause]:
    """Group the failures of `facts` by stage and kind, most frequent first."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    failures = facts.run.history.failures_by_trial()
    for id in sorted(failures):
        groups[failures[id].stage, failures[id].kind].append(id)
    found = [
        Cause(stage, kind, len(ids), failures[ids[0]].message, tuple(ids[:MAX_EXAMPLES]))
        for (stage, kind), ids in groups.items()
    ]
    return sorted(found, key=lambda cause: (-cause.count, cause.stage, cause.kind))


def count_lost_tasks(facts: Facts) -> int:
    """Count tasks of `facts` whose worker died, hung or ran out of memory.

    Tasks that succeeded when they were tried again are included.
    """
    return sum(1 for _ in facts.run.store.read_rows(schema.tasks, ("id",), schema.tasks.c.status == "lost"))


# Lineage.


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A candidate in a family tree.

    Attributes:
        parents: its parents within the tree.
        repeated: True if it is in the tree already, with its parents there.
        cut: True if its parents have no room in the tree.
    """

    id: int
    formula: str
    origin: str
    value: str
    parents: tuple[Ancestor, ...] = ()
    repeated: bool = False
    cut: bool = False


def build_ancestry(
    facts: Facts, id: int, depth: int = MAX_TREE_DEPTH, nodes: int = MAX_TREE_NODES
) -> Ancestor:
    """Build the family tree of a candidate.

    Args:
        facts: of the run.
        id: number of the candidate.
        depth: most generations.
        nodes: about how many candidates the tree may have.
    """
    seen: set[int] = set()
    first = facts.run.campaign.problem.objectives[0].property

    def build_node(id: int, depth: int) -> Ancestor:
        repeated = id in seen
        seen.add(id)
        parents = facts.parents[id]
        room = depth > 0 and len(seen) < nodes
        return Ancestor(
            id=id,
            formula=facts.formulas[id],
            origin=describe_origin(facts.operators[id]),
            value=facts.full_text(first, id),
            parents=()
            if repeated or not room
            else tuple(build_node(parent, depth - 1) for parent in parents),
            repeated=repeated and bool(parents),
            cut=bool(parents) and not room and not repeated,
        )

    return build_node(id, depth)


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """Counts of one operator's proposals."""

    name: str
    proposed: int
    complete: int
    feasible: int
    front: int


def operator_rows(facts: Facts) -> list[OperatorRow]:
    """Counts of proposals of `facts` by operator, the most used first."""
    names, index = np.unique(np.array(facts.operators, dtype=object).astype(str), return_inverse=True)
    if len(names) == 0:
        return []

    def count_by_operator(ids: NDArray[Any]) -> IntArray:
        return np.bincount(index[ids], minlength=len(names))

    proposed, complete = count_by_operator(np.arange(len(facts))), count_by_operator(facts.ranking)
    feasible, front = count_by_operator(facts.feasible_ids()), count_by_operator(facts.front)
    rows = [
        OperatorRow(
            ORIGINS.get(str(name), str(name)),
            int(proposed[k]),
            int(complete[k]),
            int(feasible[k]),
            int(front[k]),
        )
        for k, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (-row.proposed, row.name))


# Settings.


def structure_rows(campaign: Campaign) -> list[tuple[str, str]]:
    """Roles of structures in properties of the `campaign` in the order in which they are made, each with its maker."""
    makers = {
        name.removeprefix(STRUCTURE_PREFIX): f"stage {stage.name} leaves it"
        for stage in campaign.stages
        for name in (stage.evaluator.provides if stage.evaluator is not None else ())
        if is_structure(name)
    }
    order = list(makers)
    roles = sorted(
        set(campaign.measured_on.values()), key=lambda role: order.index(role) if role in makers else -1
    )
    return [(role, makers.get(role, "the search space builds it")) for role in roles]


def count_searched(facts: Facts) -> tuple[int, int] | None:
    """Distinct candidates that were asked, and the size of the space.

    None where it cannot be counted.

    Args:
        facts: of the run.
    """
    try:
        size = facts.run.campaign.count_space()
    except InvdesignError:  # files of the space are gone
        return None
    distinct = len(facts) - len({*facts.outside, *facts.run.history.superseded()})
    return None if size is None else (distinct, size)


def searched_text(facts: Facts) -> str:
    """Searched part of a countable space, or an empty text.

    An example is `64 of 108 candidates were asked`.

    Args:
        facts: of the run.
    """
    searched = count_searched(facts)
    return "" if searched is None else f"{searched[0]:,} of {searched[1]:,} candidates were asked"


def trust_notes(facts: Facts) -> list[str]:
    """Notes of the evaluators and derivations of `facts`, such as gaps of reference sets."""
    return [note for note in facts.run.campaign.notes if _is_of_values(facts, note)]


def other_notes(facts: Facts) -> list[str]:
    """Notes of the campaign of `facts` on files, functions and structures."""
    return [note for note in facts.run.campaign.notes if not _is_of_values(facts, note)]


def _is_of_values(facts: Facts, note: str) -> bool:
    """True if a `note` is made by evaluators or derivations."""
    campaign = facts.run.campaign
    makers = {*campaign.evaluators, *map(plugin_kind, campaign.derivations)}
    return makers.issuperset(note.partition(": ")[0].split(", "))


def plugin_kind(plugin: Any) -> str:
    """Name of a `plugin` in campaign files.

    Of one with a suffix, that of the evaluator inside.
    """
    plugin = plugin.evaluator if isinstance(plugin, Suffixed) else plugin
    return str(plugin.model_dump(mode="json", include=set()).get("kind") or registry.name_of(type(plugin)))


def list_written_texts(run: Run) -> list[str]:
    """Texts in the campaign file of a `run`, to find paths as the user wrote them."""
    try:
        document = parse_yaml(run.store.read_entry("campaign_text"))
    except InvdesignError:  # made in Python, or of another version
        return []
    found, left = [], [document.value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return found


def restore_paths(value: Json, written: Sequence[str]) -> Json:
    """Write absolute paths in a dumped `value` as the campaign file has them, else as the name of the file.

    Args:
        value: of settings, as JSON.
        written: texts in the campaign file.
    """
    if isinstance(value, list):
        return [restore_paths(item, written) for item in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Json] = {key: restore_paths(item, written) for key, item in value.items()}
    path = value.get("path")
    if isinstance(path, str) and Path(path).is_absolute():
        alike = [text for text in written if Path(text).name == Path(path).name]
        found["path"] = max(alike, key=lambda text: _count_shared_parts(text, path), default=Path(path).name)
    return found


def _count_shared_parts(written: str, path: str) -> int:
    """Number of parts at the end of a `written` path that are those of the absolute `path`."""
    pairs = zip(reversed(Path(written).parts), reversed(Path(path).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def plugin_settings(plugin: Any, written: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Settings of a `plugin` that differ from their defaults, each in one line.

    Args:
        plugin: to be described.
        written: texts in the campaign file, from `list_written_texts`.
    """
    if isinstance(
        plugin, Suffixed
    ):  # as the campaign file has it: the suffix beside the evaluator's own settings
        return [("suffix", plugin.suffix), *plugin_settings(plugin.evaluator, written)]
    dump = cast(
        "dict[str, Json]", restore_paths(plugin.model_dump(mode="json", exclude_defaults=True), written)
    )
    return [
        (
            key,
            with_unit(
                shorten_setting(value, MAX_SETTING_LETTERS),
                SETTING_UNITS.get(key, "") if _is_number(value) else "",
            ),
        )
        for key, value in dump.items()
        if key != "kind"
    ]


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shorten_texts(value: Json) -> Json:
    """Replace the longest texts in a dumped `value` by their length.

    These are structure files and reference sets.
    """
    if isinstance(value, str) and len(value) > MAX_DUMPED_LETTERS:
        return f"({len(value)} characters: {value[:60]} ...)"
    if isinstance(value, list):
        return [shorten_texts(item) for item in value]
    if isinstance(value, dict):
        return {key: shorten_texts(item) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class StageIdentity:
    """Origin of a stage's numbers: its evaluator's fingerprint and its potential."""

    stage: str
    kind: str
    fingerprint: str
    potential: str


def stage_identities(facts: Facts) -> list[StageIdentity]:
    """Identities of the evaluators of `facts`, as the last session recorded them."""
    rows = facts.run.store.session_rows()
    recorded = rows[-1]["environment"].get("evaluators", {}) if rows else {}
    return [
        StageIdentity(
            name,
            plugin_kind(evaluator),
            recorded.get(name, {}).get("fingerprint") or "",
            recorded.get(name, {}).get("potential") or "",
        )
        for name, evaluator in facts.run.campaign.evaluators.items()
    ]


@dataclass(frozen=True, slots=True)
class Versions:
    """An environment and the sessions that ran in it."""

    sessions: tuple[int, ...]
    facts: Mapping[str, str]
    packages: Mapping[str, str]


def distinct_environments(sessions: Sequence[Mapping[str, Any]]) -> list[Versions]:
    """Distinct environments of `sessions`, in the order they first occurred."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in sessions:
        same = {key: value for key, value in row["environment"].items() if key != "process"}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(row)
    found = []
    for text, rows in groups.items():
        same = json.loads(text)
        packages = dict(sorted(same.pop("packages", {}).items()))
        same.pop("evaluators", None)  # they have a table of their own
        found.append(
            Versions(
                tuple(row["id"] for row in rows),
                {key: str(value) for key, value in same.items() if value is not None},
                packages,
            )
        )
    return found
