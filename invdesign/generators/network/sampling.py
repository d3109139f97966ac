"""Crystals drawn from a model under a condition: codes, compositions, positions, geometries, checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.compose import Menu, draw_compositions, make_menu
from invdesign.generators.network.drafts import Draft
from invdesign.generators.network.examples import MAIN
from invdesign.generators.network.model_folder import CrystalModel
from invdesign.generators.network.occupy import draw_sites
from invdesign.generators.network.priors import FAMILIES, make_labels
from invdesign.generators.network.refine import list_sites, refine
from invdesign.generators.network.shape import Shape, build_shapes, draw_shapes, rank_shapes
from invdesign.protocols.generators import Condition
from invdesign.rng import Rng
from invdesign.structures.distances import find_shortest_distances
from invdesign.structures.geometry import find_closest_pair
from invdesign.structures.guard_rails import BREACH, crystal_keeps, is_found_anew
from invdesign.structures.sited import SitedCrystal

Prior = Literal["normal", "mixture", "gan"]
ROUNDS = 16  # of drawing until enough crystals are found (chosen)
WARMTH = 1.15  # of positions where the composition is free (chosen): more frameworks that are not known
BATCH = 128  # rows of one forward pass (chosen)
FORMULA_DRAWS = 4  # drafts of a formula per crystal asked for: the likeliest different ones are kept (chosen)
LEAST_DRAWS = 48  # drafts of a formula at least (chosen)
SHAPE_ROUNDS = 3  # of drawing geometries, further ones for drafts whose atoms are too close (chosen)
TOO_CLOSE = "atoms too close"


Choice = tuple[SitedCrystal, float]  # a geometry, and the move in Å that the refiner would still make


@dataclass(frozen=True)
class Manner:
    """Settings of drawing crystals.

    Attributes:
        prior: distribution of codes.
        composition: temperature of elements and counts.
        sites: temperature of units, groups and positions.
        shapes: temperatures of the geometries of a draft, of which the best is taken.
        moves: moves of the refiner; 0 leaves geometries as drawn.
        share: of the way back that the refiner goes in a move.
        checked: True if crystals with short distances are left out.
        stable: label for the GAN: 1 asks for crystals near the hull.
    """

    prior: Prior = "mixture"
    composition: float = 1.0
    sites: float = 1.0
    shapes: tuple[float, ...] = (0.3, 0.6, 0.9)
    moves: int = 8
    share: float = 0.5
    checked: bool = True
    stable: float = 1.0


@dataclass(frozen=True, eq=False)
class Made:
    """A crystal with its origin.

    Attributes:
        draft: composition and occupied positions.
        crystal: in free numbers.
        left: move that the refiner would still make, Å; NaN where it was not used.
        code: point of the latent space; None where none was used.
    """

    draft: Draft
    crystal: SitedCrystal
    left: float
    code: FloatArray | None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the crystal's species."""
        return tuple(sorted(self.draft.symbols))


@dataclass(eq=False)
class Yield:
    """Crystals that were made, and what was refused."""

    made: list[Made] = field(default_factory=list)
    tried: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def draw_codes(model: CrystalModel, n: int, rng: Rng, manner: Manner, families: Sequence[int]) -> FloatArray:
    """Draw codes from the prior, shape (n, l).

    Args:
        model: trained.
        n: number of codes.
        rng: source of randomness.
        manner: names the prior.
        families: families of compositions for the GAN, one of which is drawn per code.
    """
    if manner.prior == "normal":
        return rng.normal(size=(n, model.network.sizes.latent))
    if manner.prior == "gan" and model.gan is not None:
        labels = make_labels(rng.choice(np.asarray(families), size=n), np.full(n, manner.stable))
        return model.gan.draw(labels, rng)
    return model.mixture.draw(n, rng)


def spawn(rng: Rng, n: int) -> list[Rng]:
    """Make generators for n rows, so that no row depends on the others."""
    return [np.random.Generator(np.random.Philox(key=int(seed))) for seed in rng.integers(2**63, size=n)]


def make_formula_draft(formula: Mapping[str, int]) -> Draft:
    """Draft with the composition of a reduced formula."""
    order = list_elements()
    names = sorted(formula, key=order.index)
    return Draft(tuple(order.index(name) for name in names), tuple(formula[name] for name in names))


def sample_formula(model: CrystalModel, rng: Rng, n: int, condition: Condition, manner: Manner) -> Yield:
    """Crystals of one formula, each on other positions, the likeliest first."""
    found = Yield()
    base = make_formula_draft(dict(condition.formula))
    seen: set[object] = set()
    for _ in range(ROUNDS):
        missing = n - len(found.made)
        if missing <= 0:
            break
        size = max(LEAST_DRAWS, FORMULA_DRAWS * missing)
        context = set_plain_context(model, size)
        drafts = draw_sites(model.network, context, [base] * size, condition, spawn(rng, size), manner.sites)
        new = {draft.gene: draft for draft in drafts if draft is not None and draft.gene not in seen}
        seen |= new.keys()
        if not new:
            break
        ranked = sorted(new.values(), key=lambda draft: -draft.likelihood)[:missing]
        shape_drafts(model, context[: len(ranked)], ranked, spawn(rng, len(ranked)), condition, manner, found)
    return found


def set_plain_context(model: CrystalModel, n: int) -> Tensor:
    """Context of n rows without a code."""
    with torch.no_grad():
        return model.network.set_context(None, torch.full((n,), MAIN, dtype=torch.long))


def set_code_context(model: CrystalModel, codes: FloatArray) -> Tensor:
    """Context of the rows of codes (m, l)."""
    with torch.no_grad():
        return model.network.set_context(
            torch.from_numpy(codes).float(), torch.full((len(codes),), MAIN, dtype=torch.long)
        )


def sample_freely(
    model: CrystalModel,
    rng: Rng,
    n: int,
    condition: Condition,
    manner: Manner,
    codes: Iterator[FloatArray] | None = None,
) -> Yield:
    """Crystals of codes of the prior, or of `codes`, under a condition without a formula, each on other positions."""
    found = Yield()
    seen: set[object] = set()
    menu = make_menu(condition, model.known, model.patterns)
    families = list_families(condition)
    for _ in range(ROUNDS):
        missing = n - len(found.made)
        if missing <= 0:
            break
        for start in range(0, missing, BATCH):
            size = min(BATCH, missing - start)
            drawn = draw_codes(model, size, rng, manner, families) if codes is None else next(codes)
            add_crystals(model, drawn, menu, spawn(rng, len(drawn)), condition, manner, found, seen)
    found.made = found.made[:n]
    return found


def add_crystals(
    model: CrystalModel,
    codes: FloatArray,
    menu: Menu,
    rngs: Sequence[Rng],
    condition: Condition,
    manner: Manner,
    found: Yield,
    seen: set[object],
) -> None:
    """Decode codes (m, l) and add the crystals that keep the condition.

    Args:
        model: trained.
        codes: shape (m, l).
        menu: of compositions.
        rngs: one generator per row.
        condition: what crystals must be.
        manner: of drawing.
        found: takes what is made and refused.
        seen: occupied positions that were drawn before, which are left out; takes the new ones.
    """
    context = set_code_context(model, codes)
    composed = draw_compositions(model.network, context, menu, rngs, manner.composition)
    rows = [row for row, draft in enumerate(composed) if draft is not None]
    _refuse(found, "no neutral formula", len(composed) - len(rows))
    if not rows:
        return
    drafts = [draft for draft in composed if draft is not None]
    placed = draw_sites(
        model.network, context[rows], drafts, condition, [rngs[row] for row in rows], WARMTH * manner.sites
    )
    new: dict[object, int] = {}
    for place, draft in enumerate(placed):
        if draft is not None and draft.gene not in seen:
            new.setdefault(draft.gene, place)
    seen |= new.keys()
    kept = list(new.values())
    fitting = sum(draft is not None for draft in placed)
    _refuse(found, "no positions fit", len(placed) - fitting)
    _refuse(found, "drawn before", fitting - len(kept))
    if kept:
        at = [rows[place] for place in kept]
        shape_drafts(
            model,
            context[at],
            [draft for place in kept if (draft := placed[place]) is not None],
            [rngs[row] for row in at],
            condition,
            manner,
            found,
            codes[at],
        )


def _refuse(found: Yield, reason: str, number: int) -> None:
    """Count drawn rows that came to nothing."""
    if number:
        found.tried += number
        found.refused[reason] += number


def list_families(condition: Condition) -> list[int]:
    """Families of compositions that a condition leaves open, for the GAN."""
    if not condition.elements:
        return list(range(len(FAMILIES)))
    from invdesign.generators.network.priors import find_family

    return sorted({find_family([name]) for name in condition.elements} | {len(FAMILIES) - 1})


def shape_drafts(
    model: CrystalModel,
    context: Tensor,
    drafts: Sequence[Draft],
    rngs: Sequence[Rng],
    condition: Condition,
    manner: Manner,
    found: Yield,
    codes: FloatArray | None = None,
) -> None:
    """Give drafts geometries, and add the crystals that keep the condition.

    Args:
        model: trained.
        context: shape (b, d).
        drafts: b drafts with occupied positions.
        rngs: one generator per row.
        condition: what crystals must be.
        manner: of drawing.
        found: takes what is made and refused.
        codes: of the drafts, shape (b, l); None where none were used.
    """
    chosen: list[Choice | None] = [None] * len(drafts)
    reasons = [""] * len(drafts)
    rows = list(range(len(drafts)))
    for _ in range(SHAPE_ROUNDS):
        drawn = _draw_geometries(
            model, context[rows], [drafts[row] for row in rows], [rngs[row] for row in rows], manner
        )
        for row, own in zip(rows, drawn, strict=True):
            choice, reasons[row] = _choose_geometry(drafts[row], own, condition, checked=manner.checked)
            chosen[row] = choice or chosen[row]
        rows = [row for row in rows if reasons[row]]
        if not rows:
            break
    for row, (draft, choice) in enumerate(zip(drafts, chosen, strict=True)):
        found.tried += 1
        if choice is None:
            found.refused[reasons[row]] += 1
        else:
            found.made.append(Made(draft, *choice, None if codes is None else codes[row]))


def _draw_geometries(
    model: CrystalModel, context: Tensor, drafts: Sequence[Draft], rngs: Sequence[Rng], manner: Manner
) -> list[list[Choice]]:
    """Draw geometries of drafts, and refine the best of each, and the next where that one has atoms too close.

    Returns:
        Per draft the refined ones, then those that were drawn.
    """
    shapes = draw_shapes(model.network, context, drafts, rngs, manner.shapes)
    options = [_order_crystals(model, draft, own) for draft, own in zip(drafts, shapes, strict=True)]
    refined = _refine_best(model, drafts, [own[:1] for own in options], manner)
    second = [
        own[1:2] if first is not None and _is_close(draft, first[0]) else []
        for draft, first, own in zip(drafts, refined, options, strict=True)
    ]
    again = _refine_best(model, drafts, second, manner)
    return [
        [
            *(choice for choice in (two, one) if choice is not None),
            *((crystal, float("nan")) for crystal in own),
        ]
        for two, one, own in zip(again, refined, options, strict=True)
    ]


def _choose_geometry(
    draft: Draft, choices: Sequence[Choice], condition: Condition, *, checked: bool
) -> tuple[Choice | None, str]:
    """Choose the first geometry of a draft that breaks nothing.

    Returns:
        (the geometry, empty). Where there is none: the first with atoms too close, if distances are not checked, or None; and the
        reason.
    """
    reason, close = "no cell", None
    for choice in choices:
        reason = find_fault(draft, choice[0], condition, checked=checked)
        if not reason:
            return choice, ""
        if reason == TOO_CLOSE and not checked and close is None:
            close = choice
    return close, reason


def _is_close(draft: Draft, crystal: SitedCrystal) -> bool:
    """True if atoms of a crystal are closer than crystals allow, or it has no cell."""
    try:
        shortest = find_shortest_distances(sorted(draft.symbols), {})
        return find_closest_pair(crystal.crystal, shortest) is not None
    except (np.linalg.LinAlgError, ValueError):
        return True


def _order_crystals(model: CrystalModel, draft: Draft, shapes: Sequence[Shape]) -> list[SitedCrystal]:
    """Crystals of a draft's geometries, the best first."""
    crystals = build_shapes(draft, shapes, model.volumes)
    return [crystals[number] for number in rank_shapes(draft, shapes, crystals)]


def _refine_best(
    model: CrystalModel, drafts: Sequence[Draft], options: Sequence[Sequence[SitedCrystal]], manner: Manner
) -> list[tuple[SitedCrystal, float] | None]:
    """Refine the first crystal of each draft; None where there is none."""
    rows = [row for row, own in enumerate(options) if own]
    refined: list[tuple[SitedCrystal, float] | None] = [None] * len(drafts)
    if not rows or not manner.moves or model.refiner is None:
        return refined
    sites = [list_sites(sorted(drafts[row].symbols), options[row][0]) for row in rows]
    moved, left = refine(model.refiner, sites, manner.moves, manner.share)
    for row, one, rest in zip(rows, moved, left, strict=True):
        refined[row] = (one.crystal, float(rest))
    return refined


def find_fault(draft: Draft, crystal: SitedCrystal, condition: Condition, *, checked: bool) -> str:
    """Find what a crystal breaks, in words; empty if it may stand.

    Args:
        draft: of the crystal.
        crystal: in free numbers.
        condition: what it must be.
        checked: True if a crystal with atoms too close need not keep the condition, as it is left out anyway.
    """
    try:
        atoms = crystal.crystal
    except (np.linalg.LinAlgError, ValueError):
        return "no cell"
    close = _is_close(draft, crystal)
    if close and checked:
        return TOO_CLOSE
    names = sorted(draft.symbols)
    if is_found_anew(condition) and not crystal_keeps(atoms, names, condition):
        return BREACH
    return TOO_CLOSE if close else ""
