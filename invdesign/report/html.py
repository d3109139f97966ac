"""The report: one HTML file that opens offline, with the question, the results and how to repeat the run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from invdesign.candidate import Json, Status, describe_origin
from invdesign.errorbars import ERRORS_EXPLAINED
from invdesign.errors import InvdesignError
from invdesign.problem import Merit
from invdesign.properties import describe_property
from invdesign.report import advice as advising
from invdesign.report import figures as drawing
from invdesign.report import fronts, hulls, labelled, phases, plots, results, structure, tables
from invdesign.report.bicrystals import build_labelled_scene
from invdesign.report.differences import describe_differences, describe_unknown_errors
from invdesign.report.figures import Figure, ShownCandidates
from invdesign.report.files import replace_file
from invdesign.report.growth import hypervolume_growth
from invdesign.report.marks import own_value_sentences
from invdesign.report.next_steps import list_next_steps
from invdesign.report.tables import Facts, read_facts
from invdesign.report.text import (
    format_measured,
    format_number,
    formula_html,
    pretty_unit,
    shorten_setting,
)
from invdesign.run.run import Run
from invdesign.version import __version__
from invdesign.wording import format_duration, join_words

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_CARDS = 9  # candidates with picture and properties; chosen
FLAG_LABEL = "1 where "  # begins the labels of properties that are 1 or 0; a candidate's table says yes or no
MAX_CHOICE_LETTERS = 160  # of a genome that tells candidates of one formula apart; chosen
MAX_TREES = 12  # members of the front with a family tree; chosen
SECTIONS = (
    ("summary", "Result"),
    ("asked", "What was asked"),
    ("convergence", "Convergence"),
    ("front", "Ranking"),
    ("phases", "Distinct phases"),
    ("interface", "Interface"),
    ("defects", "Defects"),
    ("hull", "Convex hull"),
    ("best", "Best candidates"),
    ("recommendation", "Recommendation"),
    ("funnel", "Funnel"),
    ("failures", "Failures"),
    ("origins", "Origins"),
    ("lineage", "Lineage"),
    ("reproducibility", "Reproducibility"),
)


def write_report(run: Run, path: Path, *, model: bool = True) -> Path:
    """Write the report of a run in any state; return its path.

    Args:
        run: to report.
        path: the HTML file; folders on the way are made. It appears under its name when it is complete.
        model: fit models for the recommendation, which takes seconds.

    Raises:
        OutputError: the file cannot be written.
        StoreError: the run's store cannot be read.
    """
    path = Path(path)
    page = render_report(run, model=model)
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")  # a path need not be text
    return path


def render_report(run: Run, *, model: bool = True) -> str:
    """Render the report of `run` as HTML text; `model` as in `write_report`."""
    from plotly.offline import get_plotlyjs

    facts = read_facts(run)
    shown = drawing.choose_shown(facts)
    figures: dict[str, Figure] = {}
    distinct = phases.view_phases(facts)
    parts = {
        **_head_values(facts),
        **_asked_values(facts),
        **_convergence_values(facts, shown, figures),
        **_front_values(facts, shown, figures),
        "phases": distinct,
        "interface": labelled.view_interfaces(facts, figures),
        "defects": labelled.view_defects(facts),
        "hulls": _hull_values(facts, shown, figures),
        "best_candidates": [
            _candidate_card(facts, rank, id, figures) for rank, id in _choose_cards(facts, distinct)
        ],
        "advice": advising.build_advice(facts, run.recommend(), figures)
        if model
        else advising.advice_of_notes(advising.optimizer_notes(facts, facts.status.notes)),
        **_count_values(facts, figures),
        **_reproducibility_values(facts),
    }
    plotly, script = str(get_plotlyjs()), _read_resource("report.js")
    page = (
        _jinja_environment()
        .get_template("report.html")
        .render(
            **parts,
            sections=_section_links(facts, parts),
            policy=content_policy((plotly, script)),
            css=Markup(_read_resource("report.css")),  # noqa: S704 - our own file
            plotly=Markup(plotly),  # noqa: S704 - Plotly's own file
            script=Markup(script),  # noqa: S704 - our own file
            figures=script_json({"figures": figures, "hover": drawing.hover_texts(facts, shown)}),
            formula=formula_html,
            model_heads=advising.MODEL_HEADS,
            duration=partial(format_duration, fine=True),
            version=__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )
    return str(page)


def _section_links(facts: Facts, parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(anchor, name) of the sections in the report."""
    words = dict(SECTIONS) | {"front": "Pareto front" if facts.ranked_by > 1 else "Ranking"}
    return [(anchor, word) for anchor, word in words.items() if _is_present(anchor, parts)]


def _is_present(anchor: str, parts: Mapping[str, Any]) -> bool:
    needs = {
        "convergence": "convergence",
        "front": "fronts",
        "phases": "phases",
        "interface": "interface",
        "defects": "defects",
        "hull": "hulls",
        "best": "best_candidates",
        "recommendation": "advice",
        "origins": "operators",
        "lineage": "trees",
    }
    return anchor not in needs or bool(parts[needs[anchor]])


@cache
def _read_resource(name: str) -> str:
    return (files("invdesign.report") / "template" / name).read_text(encoding="utf-8")


@cache
def _jinja_environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_read_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def content_policy(scripts: Sequence[str]) -> str:
    """Content security policy that allows exactly these `scripts` and no network."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> Markup:
    """Serialise `value` to JSON that is safe inside a script element.

    Nothing in it can close the element or open a comment.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - see above


# The question and the result.


@dataclass(frozen=True, slots=True)
class Caveat:
    """Limits of properties to know before their values are believed."""

    names: str
    text: str


def list_caveats(facts: Facts) -> list[Caveat]:
    """List caveats of the ranking properties of `facts`, each text once."""
    labels: dict[str, list[str]] = {}
    for name in facts.run.campaign.problem.properties:
        item = describe_property(name)
        if item.remark:
            labels.setdefault(item.remark, []).append(item.label)
    return [Caveat(", ".join(names), text) for text, names in labels.items()]


def _head_values(facts: Facts) -> dict[str, Any]:
    status, counts = facts.status, facts.status.counts
    several = facts.ranked_by > 1
    row: list[tuple[str, object, str]] = [
        ("asked", counts["asked"], ""),
        ("complete", counts["complete"], ""),
    ]
    row.append(("feasible", len(facts.feasible_ids()), "meet every constraint"))
    failed = set(np.flatnonzero(facts.run.history.status_by_trial() == Status.FAILED).tolist())
    lost = [
        words for gone, words in map(facts.describe_fate, sorted(set(range(len(facts))) - failed)) if gone
    ]
    if lost:
        row.append(("in another structure", len(lost), max(set(lost), key=lost.count)))
    row.append(("gated", counts["gated"], "stopped early on purpose"))
    if counts["infeasible"]:
        row.append(("not built", counts["infeasible"], "the space refused them"))
    row.append(("failed", counts["failed"], ""))
    if counts.get("withdrawn"):
        row.append(("withdrawn", counts["withdrawn"], "taken back by a user"))
    waiting = sum(status.waiting.values())
    if waiting:
        row.append(("waiting", waiting, "for results from outside"))
    if counts["pending"] > waiting:
        row.append(("under way", counts["pending"] - waiting, ""))
    if several:
        row.append(("on the front", status.front_size, ""))
    sessions = facts.run.store.session_rows()
    return {
        "campaign": facts.run.campaign,
        "status": status,
        "reason": "" if status.state == "interrupted" else status.reason,
        "elapsed": format_duration(status.elapsed, fine=True),
        "started": sessions[0]["started"].replace("T", " ")[:16] if sessions else "",
        "figures_row": row,
        "notice": _state_notice(facts),
        "bests": results.best_values(facts),
        "scalarized": facts.scalarized,
        "several": several,
        "caveats": list_caveats(facts),
        "trust_notes": tables.trust_notes(facts),
        "own": own_value_sentences(facts),
        "differences": describe_differences(facts),
        "next_steps": list_next_steps(facts),
        "front_size": len(facts.front),
        "front_word": "on the front" if several else "best",
        "has_noise": any(
            not np.isnan(facts.noise[o.property][facts.front]).all()
            for o in facts.run.campaign.problem.objectives
        )
        and len(facts.front) > 0,
        "errors": join_words(
            ERRORS_EXPLAINED if _has_method_errors(facts) else "", describe_unknown_errors(facts)
        ),
    }


def _state_notice(facts: Facts) -> str:
    """First sentence on an unfinished or empty run; else empty."""
    state, folder = facts.status.state, facts.run.folder
    if state == "new":
        return "The run was not started yet."
    if not len(facts.ranking):
        return "No candidate is complete yet. The funnel and the failures below say where candidates stopped."
    if not len(facts.feasible_ids()):
        return (
            "No complete candidate meets every constraint; candidates are ranked by how far they are outside."
        )
    if state in {"interrupted", "stopped", "failed"}:
        return f"The run is not finished. Nothing is lost; go on with: invdesign resume {folder}"
    return ""


def _asked_values(facts: Facts) -> dict[str, Any]:
    campaign = facts.run.campaign
    limits = campaign.budget.model_dump(exclude_none=True)
    written = tables.list_written_texts(facts.run)
    return {
        "objectives": results.objective_texts(facts),
        "constraints": [tables.bounds_text(item, facts.units) for item in campaign.problem.constraints],
        "structures": tables.structure_rows(campaign),
        "space": _plugin_values(campaign.space, written),
        "searched": tables.searched_text(facts),
        "campaign_notes": tables.other_notes(facts),
        "optimizer": _plugin_values(campaign.optimizer, written),
        "stages": [
            {"name": stage.name, "on_demand": stage.on_demand, **_plugin_values(stage.evaluator, written)}
            for stage in campaign.stages
        ],
        "derivations": [_plugin_values(item, written) for item in campaign.derivations],
        "budget": ", ".join(f"{value:,} {name}" for name, value in limits.items()),
    }


def _plugin_values(plugin: object, written: Sequence[str]) -> dict[str, Any]:
    return {"kind": tables.plugin_kind(plugin), "settings": tables.plugin_settings(plugin, written)}


# Figures.


def _convergence_values(facts: Facts, shown: ShownCandidates, figures: dict[str, Figure]) -> dict[str, Any]:
    wanted: list[tuple[int | None, str]] = [
        (place, results.property_label(item.property, facts.units))
        for place, item in enumerate(facts.objectives)
    ]
    if facts.scalarized:
        wanted = [(None, "Desirability"), *wanted]
    drawn = []
    for panel, (place, label) in enumerate(wanted):
        figure = plots.convergence_figure(facts, shown, place)
        if figure["data"]:
            figures[f"convergence{panel}"] = figure
            drawn.append((f"convergence{panel}", f"{label} by candidate number"))
    growth = hypervolume_growth(facts)
    if growth is not None:
        figures["hypervolume"] = plots.hypervolume_figure(growth)
    out_of_reach = facts.ranked_by > 1 and len(facts.front) > 0
    return {
        "convergence": drawn,
        "convergence_legend": drawing.legend_entries([figures[id] for id, _ in drawn]),
        "thinned": shown.thinning_note(facts),
        "growth": growth and results.growth_text(facts, growth),
        "growth_note": "A front of this size in so many objectives is too costly to measure by hypervolume."
        if out_of_reach
        else "",
    }


def _front_values(facts: Facts, shown: ShownCandidates, figures: dict[str, Figure]) -> dict[str, Any]:
    drawn = []
    for place, item in enumerate(fronts.front_figures(facts, shown) if len(facts.ranking) else []):
        if item.figure["data"]:
            figures[f"front{place}"] = item.figure
            drawn.append((f"front{place}", item.title, item.wide))
    return {
        "fronts": drawn,
        "front_legend": drawing.legend_entries([figures[id] for id, _, _ in drawn]),
        "ranking": results.ranking_table(facts),
        "ranked_count": min(drawing.MAX_RANKED, len(facts.ranking)),
    }


def _hull_values(
    facts: Facts, shown: ShownCandidates, figures: dict[str, Figure]
) -> list[tuple[str, hulls.HullView]]:
    """Name of its figure, empty if there is none, and view of each hull."""
    found = []
    for place, view in enumerate(hulls.view_hulls(facts, shown)):
        name = "" if view.figure is None else f"hull{place}"
        if view.figure is not None:
            figures[name] = view.figure
        found.append((name, view))
    return found


def _count_values(facts: Facts, figures: dict[str, Figure]) -> dict[str, Any]:
    rows = tables.stage_rows(facts)
    figures["funnel"] = plots.funnel_figure(rows)
    return {
        "funnel": rows,
        "causes": tables.group_failures(facts),
        "lost": tables.count_lost_tasks(facts),
        "operators": tables.operator_rows(facts),
        "trees": [tables.build_ancestry(facts, int(id)) for id in facts.front[:MAX_TREES]]
        if any(facts.parents[id] for id in facts.front)
        else [],
    }


# The best candidates.


def _choose_cards(facts: Facts, distinct: phases.PhasesView | None) -> list[tuple[int, int]]:
    """(rank, number) of the best candidates.

    Where phases are known, of the best one of each phase.
    """
    ranks = {int(id): rank for rank, id in enumerate(facts.ranking, 1)}
    known = [phase.id for phase in distinct.phases] if distinct else []
    return [(ranks[id], id) for id in (known or list(ranks))[:MAX_CARDS]]


def _candidate_card(facts: Facts, rank: int, id: int, figures: dict[str, Figure]) -> dict[str, Any]:
    ranked = set(facts.run.campaign.problem.properties)
    formula, judged = facts.formulas[id], facts.desirability
    score = [] if judged is None else [_desirability_entry(float(judged[id]))]
    card: dict[str, Any] = {
        "rank": rank,
        "id": id,
        "title": formula_html(formula) if formula else f"Candidate {id}",
        "on_front": id in set(facts.front.tolist()),
        "feasible": facts.scores.merit[id] == Merit.FEASIBLE,
        "outside": id in facts.outside,
        "lost": facts.describe_fate(id)[1] if facts.describe_fate(id)[0] else "",
        "name": facts.name_of(id),
        "asked": _describe_choice(facts, id),
        "barren": facts.run.history.adoption_refusal(id),
        "properties": score
        + [_property_entry(facts, name, id) for name in facts.known_properties(id) if name in ranked],
        "others": [
            _property_entry(facts, name, id) for name in facts.known_properties(id) if name not in ranked
        ],
        "origin": describe_origin(facts.operators[id]),
        "parents": [(parent, facts.formulas[parent]) for parent in facts.parents[id]],
        "svg": None,
        "note": "",
        "parameters": [],
    }
    return card | _candidate_picture(facts, id, figures)


def _describe_choice(facts: Facts, id: int) -> str:
    """Short genome of a candidate whose formula others share.

    Empty where the formula or nothing short tells it.
    """
    formula = facts.formulas[id]
    if not formula or facts.formulas.count(formula) < 2:
        return ""
    text = shorten_setting(dict(facts.run.trial(id).genome), MAX_CHOICE_LETTERS)
    return "" if text.endswith("…") else text


def _has_method_errors(facts: Facts) -> bool:
    """True if any complete candidate has a known systematic error."""
    return any(np.isfinite(facts.systematic[name][facts.ranking]).any() for name in facts.columns)


def _desirability_entry(value: float) -> dict[str, str]:
    return {
        "name": "desirability",
        "label": "Desirability",
        "structure": "",
        "value": format_number(value),
        "unit": "",
        "words": "",
        "detail": "",
    }


def _property_entry(facts: Facts, name: str, id: int) -> dict[str, str]:
    label, value = results.property_label(name, facts.units), facts.value_text(name, id)
    if label.startswith(FLAG_LABEL) and value in {"0", "1"}:
        label = label.removeprefix(FLAG_LABEL)
        label, value = label[0].upper() + label[1:], "yes" if value == "1" else "no"
    return {
        "name": name,
        "label": label,
        "structure": facts.structures.get(name, ""),
        "value": value,
        "unit": pretty_unit(facts.units[name]),
        "words": facts.mark_words(name, id),
        "detail": facts.detail_text(name, id),
    }


def _candidate_picture(facts: Facts, id: int, figures: dict[str, Figure]) -> dict[str, Any]:
    """Picture and figure of a candidate's structure, or else its parameters."""
    try:
        crystal, role = structure.last_structure(facts.run, id)
        parameters = _parameter_rows(facts.run, id) if crystal is None else []
    except InvdesignError as error:
        return {"note": f"It cannot be built here: {error}", "parameters": _genome_rows(facts.run, id)}
    if crystal is None:
        return {"parameters": parameters}
    note = ", ".join(
        filter(
            None, [f"{len(crystal)} atom{'s' if len(crystal) > 1 else ''}", role, facts.describe_fate(id)[1]]
        )
    )
    drawn = build_labelled_scene(crystal)
    if drawn is None:
        return {"note": f"{note}, too many to draw"}
    name = f"crystal{id}"
    figures[name] = structure.scene_figure(drawn)
    title = f"Structure of candidate {id}: {facts.formulas[id]}, {note}"
    return {
        "svg": structure.draw_svg(drawn, name, title),
        "legend": structure.element_legend(drawn),
        "figure": name,
        "note": note,
    }


def _parameter_rows(run: Run, id: int) -> list[tuple[str, str]]:
    parameters = run.design(id).parameters
    if not parameters:
        return _genome_rows(run, id)
    return [
        (name, value if isinstance(value, str) else format_measured(float(value)))
        for name, value in parameters.items()
    ]


def _genome_rows(run: Run, id: int) -> list[tuple[str, str]]:
    return [(name, shorten_setting(value)) for name, value in run.trial(id).genome.items()]


# Reproducibility.


def _reproducibility_values(facts: Facts) -> dict[str, Any]:
    run = facts.run
    sessions = run.store.session_rows()
    settings = tables.restore_paths(run.campaign.dump(), tables.list_written_texts(run))
    dump: Json = tables.shorten_texts(settings)
    return {
        "file_name": "FILE"
        if run.store.read_entry("campaign_text")
        else "FILE (the campaign was made in Python)",
        "folder": str(run.folder),
        "created_by": run.store.read_entry("created_by"),
        "created": run.store.read_entry("created").replace("T", " ")[:16],
        "fingerprint": run.store.read_entry("fingerprint"),
        "fingerprint_now": run.campaign.fingerprint,
        "digest": run.digest(),
        "identities": tables.stage_identities(facts),
        "sessions": sessions,
        "environments": tables.distinct_environments(sessions),
        "campaign_text": run.store.read_entry("campaign_text"),
        "dump": json.dumps(dump, indent=1, ensure_ascii=False),
    }
