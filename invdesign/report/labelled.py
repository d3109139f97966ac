"""Sections of a report on structures with labelled sites: interfaces, and defects with their surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from invdesign.errors import InvdesignError
from invdesign.report.bicrystals import build_labelled_scene
from invdesign.report.figures import Figure
from invdesign.report.interfaces import (
    MAX_KINDS,
    GroupRow,
    Interface,
    Interfaces,
    MatchRow,
    describe_control,
    draw_exchanges,
    draw_matches,
    list_exchange_rows,
    list_legend,
    list_match_rows,
    read_interfaces,
)
from invdesign.report.layers import LayersView, view_layers
from invdesign.report.structure import draw_svg, element_legend, last_structure, scene_figure
from invdesign.report.surroundings import Environment, is_defective, view_surroundings
from invdesign.report.tables import Facts
from invdesign.roles import INITIAL
from invdesign.structures.exchanges import describe_exchanges

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_DEFECTIVE = 3  # candidates whose defects are shown; chosen
SLABS = ("substrate_slab", "film_slab")  # roles of both unmixed slabs in a design
HOST_ROLE = "host"  # role of the perfect supercell in a design


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn structure.

    Attributes:
        id: number of the candidate.
        words: heading of the picture.
        note: sentence below it.
        svg: the picture; None where it is too large.
        figure: name of the figure that turns; empty where there is none.
    """

    id: int
    words: str
    note: str
    svg: Markup | None
    figure: str = ""


@dataclass(frozen=True, slots=True)
class InterfaceSection:
    """Everything the report shows of interfaces.

    Attributes:
        heading: of the compared property, with unit.
        pictures: the best candidate with exchanges, and the best unmixed one of its match.
        elements: (element, colour) of the pictures.
        missing: sentence on a picture that there is none of; mostly empty.
        has_voids, has_region: True if pictures show atoms in voids, limits of the region.
        control: sentences.
        left_out, unread: numbers of complete candidates that are not compared.
        legend: of the figures.
        exchanges: (name of its figure, label) by kind of exchange.
        exchange_rows: numbers by kind and count.
        more_kinds: number of kinds without a figure.
        matches: name of the figure by match; empty where there is a single match.
        match_rows: numbers by match.
        layers: profile of the candidate of the first picture.
        layers_figure: name of its figure.
    """

    heading: str
    pictures: Sequence[Picture]
    elements: Sequence[tuple[str, str]]
    missing: str
    has_voids: bool
    has_region: bool
    control: Sequence[str]
    left_out: int
    unread: int
    legend: Sequence[tuple[str, str, str]]
    exchanges: Sequence[tuple[str, str]]
    exchange_rows: Sequence[GroupRow]
    more_kinds: int
    matches: str
    match_rows: Sequence[MatchRow]
    layers: LayersView | None
    layers_figure: str = ""


def view_interfaces(facts: Facts, figures: dict[str, Figure]) -> InterfaceSection | None:
    """View of a run over interfaces; None where its candidates are none.

    Args:
        facts: of the run.
        figures: of the report by name, to which those of the section are added.
    """
    found = read_interfaces(facts)
    if found is None or not found.rows:
        return None
    heading = facts.property_heading(found.name)
    chosen, missing = _choose_pictures(found)
    crystals = [last_structure(facts.run, row.id)[0] for row in chosen]
    pictures = [
        _draw_picture(facts, found.name, row, crystal, figures)
        for row, crystal in zip(chosen, crystals, strict=True)
        if crystal is not None
    ]
    scenes = [
        scene for crystal in crystals if crystal is not None and (scene := build_labelled_scene(crystal))
    ]
    elements = dict(entry for scene in scenes for entry in element_legend(scene))
    drawn = []
    for place, kind in enumerate(found.kinds[:MAX_KINDS]):
        figures[f"exchange{place}"] = draw_exchanges(facts, found, kind)
        drawn.append((f"exchange{place}", f"{heading} by number of exchanges: {kind}"))
    matches = ""
    if len([name for name in found.matches if name]) > 1:
        matches = "matches"
        figures[matches] = draw_matches(facts, found)
    layers = None if crystals[0] is None else view_layers(crystals[0], _find_slabs(facts, chosen[0].id))
    if layers is not None:
        figures["layers"] = layers.figure
    marks = [scene.marks for scene in scenes if scene.marks is not None]
    return InterfaceSection(
        heading=heading,
        pictures=pictures,
        elements=list(elements.items()),
        missing=missing,
        has_voids=any("void" in item.rings for item in marks),
        has_region=any(item.limits for item in marks),
        control=describe_control(facts, found),
        left_out=found.left_out,
        unread=found.unread,
        legend=list_legend(found),
        exchanges=drawn,
        exchange_rows=list_exchange_rows(found),
        more_kinds=max(len(found.kinds) - MAX_KINDS, 0),
        matches=matches,
        match_rows=list_match_rows(facts, found),
        layers=layers,
        layers_figure="layers" if layers is not None else "",
    )


def _choose_pictures(found: Interfaces) -> tuple[list[Interface], str]:
    """Best candidate with exchanges and best unmixed one of its match, and a sentence if one of them is missing."""
    if not found.mixed:
        return [found.best_of(found.rows)], ""
    best = found.best_of(found.mixed)
    abrupt = [row for row in found.unmixed if row.match == best.match]
    if not abrupt:
        return [
            best
        ], "No candidate without exchanges is complete on this match, so there is none to draw beside it."
    return [best, found.best_of(abrupt)], ""


def _draw_picture(
    facts: Facts, name: str, row: Interface, crystal: Structure, figures: dict[str, Figure]
) -> Picture:
    said = describe_exchanges(crystal)
    words = f"With exchanges: {said}" if row.exchanges else "Unmixed"
    value = facts.full_text(name, row.id)
    note = f"{row.match}, {len(crystal)} atoms, {value}" if row.match else f"{len(crystal)} atoms, {value}"
    scene = build_labelled_scene(crystal)
    if scene is None:
        return Picture(row.id, words, f"{note}; too many atoms to draw", None)
    picture = f"bicrystal{row.id}"
    figures[picture] = scene_figure(scene)
    title = f"Candidate {row.id} seen along the plane of the interface: {note}"
    return Picture(row.id, words, note, draw_svg(scene, picture, title, fit=True), picture)


def _find_slabs(facts: Facts, id: int) -> list[Structure]:
    """Both unmixed slabs of a candidate's design; empty where it has none."""
    return [slab for role in SLABS if (slab := _find_structure(facts, id, role)) is not None]


def _find_structure(facts: Facts, id: int, role: str) -> Structure | None:
    """Structure of a candidate in some role.

    None where there is none, or it cannot be built here.
    """
    try:
        return facts.run.structure(id, role)
    except InvdesignError:
        return None


# Defects.


@dataclass(frozen=True, slots=True)
class DefectEntry:
    """Defects of one candidate.

    Attributes:
        rank, id, formula: of the candidate.
        said: foreign atoms by kind, in words.
        value: of the first objective, with unit.
        rows: neighbours of each defect.
        before, after: pictures in one frame; None where there are none.
        role: of the structure after relaxation; empty where nothing was relaxed.
        complexes: number of groups of near defects, of which the largest is drawn.
        elements: (element, colour) of the pictures.
        has_vacancies: True if a vacancy is drawn.
    """

    rank: int
    id: int
    formula: str
    said: str
    value: str
    rows: Sequence[Environment]
    before: Markup | None
    after: Markup | None
    role: str
    complexes: int
    elements: Sequence[tuple[str, str]]
    has_vacancies: bool


def view_defects(facts: Facts) -> list[DefectEntry]:
    """Views of the best candidates with point defects.

    Empty where the best candidate has no such labels.
    """
    entries: list[DefectEntry] = []
    for rank, id in enumerate(facts.ranking[:MAX_DEFECTIVE].tolist(), 1):
        before = _find_structure(facts, id, INITIAL)
        if before is None or not is_defective(before):
            return entries
        entry = _view_candidate(facts, rank, id, before)
        if entry is not None:
            entries.append(entry)
    return entries


def _view_candidate(facts: Facts, rank: int, id: int, before: Structure) -> DefectEntry | None:
    role = facts.run.structure_role(id)
    after = None if role == INITIAL else _find_structure(facts, id, role)
    found = view_surroundings(before, after, _find_structure(facts, id, HOST_ROLE))
    if found is None:
        return None
    scenes = [scene for scene in (found.before, found.after) if scene is not None]
    words = (f"before relaxation, candidate {id}", f"after relaxation, candidate {id}")
    pictures = [
        draw_svg(scene, f"defect{id}-{place}", f"Surroundings of the defects {words[place]}")
        for place, scene in enumerate(scenes)
    ]
    elements = dict(entry for scene in scenes for entry in element_legend(scene))
    return DefectEntry(
        rank=rank,
        id=id,
        formula=facts.formulas[id],
        said=describe_exchanges(before),
        value=facts.full_text(facts.objectives[0].property, id),
        rows=found.rows,
        before=pictures[0] if pictures else None,
        after=pictures[1] if len(pictures) > 1 else None,
        role=role if after is not None else "",
        complexes=found.complexes,
        elements=list(elements.items()),
        has_vacancies=any(scene.marks is not None and len(scene.marks.holes) > 0 for scene in scenes),
    )
