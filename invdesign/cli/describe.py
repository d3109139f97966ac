"""Output of the commands, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invdesign import registry
from invdesign.artifacts import label_artifact
from invdesign.campaign.roles import map_measured_roles
from invdesign.candidate import describe_origin
from invdesign.cli.costs import describe_costs
from invdesign.errorbars import ERRORS_EXPLAINED, METHOD_MARK, value_text
from invdesign.optimizers.choice import ChoosingOptimizer
from invdesign.properties import describe_property, structure_fate, words_beside
from invdesign.protocols import RowSpace
from invdesign.wording import align_columns, format_duration, join_words

if TYPE_CHECKING:
    from invdesign.campaign.model import Campaign
    from invdesign.evaluation import Stage
    from invdesign.problem import Objective
    from invdesign.run.run import Run
    from invdesign.run.status import RunStatus, Volume


def small_space_warning(campaign: Campaign) -> str:
    """Warning if the budget of `campaign` exceeds its space; else empty."""
    size, budget = campaign.count_space(), campaign.budget.candidates
    if size is None or budget is None or budget <= size:
        return ""
    return f"The budget of {budget} candidates is larger than the space of {size}: the run ends when all are proposed."


def describe_campaign(campaign: Campaign) -> list[str]:
    """Describe what a `campaign` would do."""
    size = campaign.count_space()
    kind = campaign.space.model_dump(mode="json")["kind"]  # type: ignore[attr-defined]  # spaces are settings
    counted = f"{size} distinct candidates" if size is not None else "not counted: continuous, or too large"
    lines = [f"{campaign.name}", f"  space: {kind}, {counted}"]
    left_out = campaign.space.left_out if isinstance(campaign.space, RowSpace) else {}
    lines += [f"    left out: {count} ({reason})" for reason, count in left_out.items()]
    lines.append("  stages: " + " -> ".join(_stage_label(stage) for stage in campaign.funnel))
    lines += [f"    {line}" for line in (*_deciding_stages(campaign), *describe_costs(campaign))]
    lines += [
        f"  derived: {', '.join(item.provides)} by {registry.name_of(type(item))}"
        for item in campaign.derivations
    ]
    lines += [
        f"  objective: {objective}{_objective_scale(objective)}" for objective in campaign.problem.objectives
    ]
    if campaign.problem.scalarize:
        lines.append(f"  combined to one score: {campaign.problem.scalarize}")
    lines += [f"  constraint: {constraint}" for constraint in campaign.problem.constraints]
    optimizer: Mapping[str, Any] = campaign.optimizer.model_dump(mode="json")  # type: ignore[attr-defined]  # settings
    settings = ", ".join(
        f"{key} {_shorten_setting(value)}"
        for key, value in optimizer.items()
        if key != "kind" and value is not None
    )
    lines.append(f"  optimizer: {optimizer['kind']} ({settings})")
    lines += [f"    {line}" for line in _foreseen_choice(campaign)]
    limits = campaign.budget.model_dump(exclude_none=True)
    lines.append("  budget: " + ", ".join(f"{value} {name}" for name, value in limits.items()))
    if campaign.seeds:
        lines.append(f"  seeds: {len(campaign.seeds)}")
    notes = [small_space_warning(campaign), *_list_unimported_functions(campaign), *campaign.notes]
    return _escape_newlines([*lines, *(f"  note: {note}" for note in notes if note)])


def _escape_newlines(lines: Sequence[str]) -> list[str]:
    """Escape newlines in names, so that every line stays one."""
    return [line.replace("\n", "\\n") for line in lines]


def _list_unimported_functions(campaign: Campaign) -> list[str]:
    """Sentences on functions to be imported from beside the campaign."""
    from invdesign.campaign.functions import list_unimported

    return [
        f"{item.name} is a function of {item.file}: its text was read, nothing of it ran. Running needs --trust-code."
        for item in list_unimported(campaign.evaluators)
    ]


def _stage_label(stage: Stage) -> str:
    """Name of a stage, with `on demand` and `external`."""
    marks = [word for word, is_so in (("on demand", stage.on_demand), ("external", stage.external)) if is_so]
    return f"{stage.name} ({', '.join(marks)})" if marks else stage.name


def _shorten_setting(value: object) -> str:
    """Write a setting; nested optimizers by kind, embedded files by name."""
    value = _replace_files(value)
    members = value if isinstance(value, list) else []
    kinds = [str(item["kind"]) for item in members if isinstance(item, dict) and "kind" in item]
    return " + ".join(kinds) if kinds and len(kinds) == len(members) else str(value)


def _replace_files(value: Any) -> Any:
    """Replace embedded files and artifacts in a setting by their names."""
    if isinstance(value, dict):
        if value.keys() == {"name", "text"}:
            return value["name"]
        return label_artifact(value) or {key: _replace_files(item) for key, item in value.items()}
    return [_replace_files(item) for item in value] if isinstance(value, list) else value


def _foreseen_choice(campaign: Campaign) -> list[str]:
    """Choice of an optimizer that chooses another, if known before evaluations."""
    if not isinstance(campaign.optimizer, ChoosingOptimizer):
        return []
    choice = campaign.optimizer.foreseen(campaign.space, campaign.problem, campaign.budget.most)
    return [
        f"chooses {choice.reason}" if choice else "chooses after the first candidates: their cost decides"
    ]


def _deciding_stages(campaign: Campaign) -> list[str]:
    """Name the deciding stage of each property that several provide."""
    makers = {
        name: [s.name for s in campaign.views if name in s.provides] for name in campaign.problem.properties
    }
    return [
        f"{name}: as {stages[-1]} says; {', '.join(stages[:-1])} {'says' if len(stages) == 2 else 'say'} it earlier"
        for name, stages in makers.items()
        if len(stages) > 1
    ]


def _objective_scale(objective: Objective) -> str:
    """Scale and weight of an objective, in words."""
    parts = [
        f"{name} {value:g}"
        for name in ("best", "worst", "tolerance", "reference")
        if (value := getattr(objective, name)) is not None
    ]
    parts += [f"weight {objective.weight:g}"] if objective.weight != 1 else []
    return f" ({', '.join(parts)})" if parts else ""


def describe_status(status: RunStatus) -> list[str]:
    """Describe the `status` of a run, its name first."""
    counts = status.counts
    budget = ", ".join(f"{value:g} {name}" for name, value in status.budget.items() if value is not None)
    lines = [
        f"{status.name}",
        f"state       {status.state}" + (f" ({status.reason})" if status.reason else ""),
        (
            f"candidates  {counts['asked']} asked, {counts['complete']} complete{_feasible_text(status)}, "
            f"{counts['gated']} gated, {counts['infeasible']} not built, {counts['failed']} failed"
            f"{_withdrawn_text(counts)}; budget {budget}"
        ),
        *(f"waiting     {count} for results of {stage}" for stage, count in status.waiting.items()),
    ]
    combined = status.ranked_by < len(status.best)
    for place, best in enumerate(status.best):
        whose = "" if best.value is None or (combined and place) else f" (candidate {best.candidate})"
        lines.append(f"{'its' if combined and place else 'best':<12}{best}: {best.format_value()}{whose}")
    if status.ranked_by > 1:
        lines.append(f"front       {status.front_size} candidates")
    if status.hypervolume is not None:
        lines.append(f"hypervolume {_format_hypervolume(status, status.hypervolume)}")
    lines.append("stages      " + _stage_counts(status))
    if status.failures:
        causes = ", ".join(f"{cause} {count}" for cause, count in status.failures.items())
        lines.append(f"failures    {causes}")
    pace = f"{status.candidates_per_hour:.0f} candidates/hour" if status.elapsed > 0 else ""
    left = (
        f", about {format_duration(status.time_left)} left"
        if status.time_left and status.state == "running"
        else ""
    )
    lines.append(f"time        {format_duration(status.elapsed)}, {pace}{left}")
    return _escape_newlines([*lines, *(f"note        {sentence}" for sentence in status.notes)])


def _feasible_text(status: RunStatus) -> str:
    """Number of candidates that meet the constraints, if there are any."""
    return "" if status.feasible is None else f" ({status.feasible} of them feasible)"


def _withdrawn_text(counts: Mapping[str, int]) -> str:
    return f", {counts['withdrawn']} withdrawn" if counts.get("withdrawn") else ""


def _format_hypervolume(status: RunStatus, volume: Volume) -> str:
    found = (
        "not measured (too costly)" if volume.value is None else f"{volume.value:.4g} {volume.unit}".rstrip()
    )
    units = {best.property: f" {best.unit}".rstrip() for best in status.best}
    off = {best.property: " off" for best in status.best if best.goal}
    reference = ", ".join(
        f"{name} {value:.4g}{units[name]}{off.get(name, '')}" for name, value in volume.reference.items()
    )
    origin = "as given" if volume.given else "a tenth beyond the worst found"
    return f"{found} up to {reference} ({origin})"


def _stage_counts(status: RunStatus) -> str:
    parts = []
    for stage in status.stages:
        stopped = [f"{n} {word}" for n, word in ((stage.gated, "gated"), (stage.failed, "failed")) if n]
        parts.append(
            f"{stage.name} {stage.passed}/{stage.entered}" + (f" ({', '.join(stopped)})" if stopped else "")
        )
    return " | ".join(parts)


def format_property(row: Mapping[str, Any], name: str, unit: str = "") -> str:
    """Format a property of a candidate with errors, unit and remarks.

    Args:
        row: row of the candidate (`Run.row`).
        name: of the property.
        unit: its unit; not appended if empty.

    Returns:
        A dash if the candidate has no such property.
    """
    if name not in row["properties"]:
        return "-"
    errors = row["noise"].get(name), row["systematic"].get(name)
    own = value_text(row["properties"][name], *errors, unit or describe_property(name).unit)
    return join_words(own, unit, words_beside(name, row["properties"].get))


def format_table(rows: Sequence[Mapping[str, Any]], campaign: Campaign) -> list[str]:
    """Format the best candidates as a table, with notes on the properties.

    Args:
        rows: rows of candidates, best first.
        campaign: of the run.
    """
    names = list(campaign.problem.properties)
    units, measured = campaign.units(), campaign.measured_on
    judged, named = campaign.problem.has_scales, any(row["name"] for row in rows)
    head = [
        "rank",
        "candidate",
        "formula",
        *(["name"] if named else []),
        *(["desirability"] if judged else []),
        *(_column_title(n, units.get(n, ""), measured.get(n, "")) for n in names),
        "front",
    ]
    cells = [
        [
            str(row["rank"]),
            str(row["candidate"]),
            row["formula"] or "-",
            *([row["name"] or "-"] if named else []),
            *([_format_or_dash(row["desirability"])] if judged else []),
            *(format_property(row, n) for n in names),
            _row_marks(row),
        ]
        for row in rows
    ]
    lines = align_columns([head, *cells])
    if not rows:
        lines.append("(no candidate is complete yet)")
    said = explain_errors(cell for line in cells for cell in line)
    return _escape_newlines([*lines, *said, *(f"note: {text}" for text in property_caveats(names))])


def _row_marks(row: Mapping[str, Any]) -> str:
    """Marks of a candidate: a star on the front, violated constraints, changed structures."""
    lost, words = structure_fate(row["properties"], row["details"])
    said = [
        *(["outside the space"] if row["outside"] and not row["on_front"] else []),
        *([] if row["feasible"] or row["outside"] else ["violates a constraint"]),
        *([words] if lost else []),
    ]
    return " ".join(filter(None, ["*" if row["on_front"] else "", ", ".join(said)]))


def explain_errors(cells: Iterable[str]) -> list[str]:
    """Explain systematic errors, if any of `cells` shows one."""
    return [f"note: {ERRORS_EXPLAINED}"] if any(METHOD_MARK in cell for cell in cells) else []


def _column_title(name: str, unit: str, role: str) -> str:
    """Title of a property's column: `bottleneck_radius [Å, relaxed]`."""
    beside = ", ".join(filter(None, [unit, role]))
    return f"{name} [{beside}]" if beside else name


def _format_or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def property_caveats(names: Sequence[str]) -> list[str]:
    """Caveats of the properties called `names`, once each."""
    return list(dict.fromkeys(text for text in (describe_property(name).remark for name in names) if text))


def _in_brackets(role: str | None) -> str:
    return f" ({role})" if role else ""


def describe_candidate(run: Run, id: int) -> list[str]:
    """Describe everything known of candidate `id` of a `run`."""
    row = run.row(id)
    units, measured = run.campaign.units(), map_measured_roles(run.campaign.stages)
    roles = run.campaign.measured_on
    parents = ", ".join(map(str, row["parents"])) or "none"
    lines = [
        f"candidate {id}: {row['formula'] or '(no formula)'}, {row['status']}",
        *([f"  name: {row['name']}"] if row["name"] else []),
        f"  genome: {row['genome']}",
        f"  origin: {describe_origin(row['operator'] or 'an unnamed operator')}; parents: {parents}",
    ]
    if row["outside"]:
        lines.append(f"  outside the space: {row['outside']}")
    latest = run.history.id_of(run.history.candidate(id).key)
    if latest is not None and latest != id:
        status = run.history.trial(latest).status.name.lower()
        lines.append(
            f"  taken further by: candidate {latest}, {'waiting' if status == 'pending' else status}"
        )
    for name in row["properties"]:
        lines.append(
            f"  {name}: {format_property(row, name, units.get(name, ''))}{_in_brackets(roles.get(name))}"
        )
        if name in row["details"]:
            lines.append(f"    {row['details'][name]}")
    derived = {name for item in run.campaign.derivations for name in item.provides}
    lines += [
        f"  {name}: {row['details'][name]}"
        for name in sorted((derived & row["details"].keys()) - row["properties"].keys())
    ]
    for name, stage, value in row["earlier"]:
        same = {flag: other for flag, at, other in row["earlier"] if at == stage}
        unit = units.get(name, "")
        text = join_words(value_text(value, unit=unit), unit, words_beside(name, same.get))
        lines.append(f"  {name} at {stage}: {text}" + _in_brackets(measured.get(stage, {}).get(name)))
    searched = [stage.name for stage in run.campaign.funnel if not stage.on_demand]
    if row["status"] == "complete" and row["passed"] in searched[:-1]:
        lines.append(f"  stopped after: {row['passed']}")
    if row["gate"]:
        lines.append(f"  gated: {row['gate']}")
    if row["failure"]:
        kind, stage, message = row["failure"]
        withdrawn = row["status"] == "withdrawn"
        lines.append(f"  withdrawn: {message}" if withdrawn else f"  failed in {stage} ({kind}): {message}")
    structure = run.structure(id)
    if structure is not None:
        lattice = ", ".join(f"{value:.4f}" for value in (*structure.lattice.abc, *structure.lattice.angles))
        lines.append(
            f"  structure ({run.structure_role(id)}): {len(structure)} atoms, a b c α β γ = {lattice}"
        )
    refused = run.trial(id).adoption_refused
    if refused:
        lines.append(f"  breeds nothing: {refused}")
    said = [f"  {text}" for text in explain_errors(lines)]
    return _escape_newlines(
        [*lines, *said, *(f"  note: {text}" for text in property_caveats(list(row["properties"])))]
    )
