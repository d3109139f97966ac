"""Codes of structures, and the crystals at given codes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from invdesign.arrays import FloatArray
from invdesign.errors import Infeasible
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.compose import Menu, make_menu
from invdesign.generators.network.drafts import Draft
from invdesign.generators.network.examples import Example, is_learnable, join_examples, make_example
from invdesign.generators.network.model import to_tensors
from invdesign.generators.network.model_folder import CrystalModel
from invdesign.generators.network.occupy import draw_sites
from invdesign.generators.network.reading import write_structure
from invdesign.generators.network.sampling import (
    Made,
    Manner,
    Yield,
    add_crystals,
    make_formula_draft,
    set_code_context,
    shape_drafts,
)
from invdesign.protocols.generators import Condition
from invdesign.rng import Rng, derived_seed

if TYPE_CHECKING:
    from pymatgen.core import Structure

DECODED_DECIMALS = 6  # of a code, which decide what it decodes to
ENCODED = 256  # structures of one forward pass (chosen)
# Temperatures of composition and positions, tried in turn: the likeliest choices first, others where those break the condition, as
# a composition whose charges do not balance (chosen).
DECODED_WARMTHS = (0.0, 0.4, 0.7, 1.0, 1.3)
DECODED_SHAPES = (0.0, 0.4, 0.7)  # temperatures of the geometries of a code (chosen)


def encode_structures(model: CrystalModel, structures: Sequence[Structure]) -> FloatArray:
    """Codes of structures, shape (n, l); NaN in the rows of those that cannot be read.

    Args:
        model: trained.
        structures: n crystals.
    """
    codes = np.full((len(structures), model.network.sizes.latent), np.nan)
    read = [(row, _read_example(model, structure)) for row, structure in enumerate(structures)]
    known = [(row, example) for row, example in read if example is not None]
    for start in range(0, len(known), ENCODED):
        part = known[start : start + ENCODED]
        with torch.no_grad():
            mean, _ = model.network.encode(to_tensors(join_examples([example for _, example in part])))
        codes[[row for row, _ in part]] = mean.numpy()
    return codes


def _read_example(model: CrystalModel, structure: Structure) -> Example | None:
    """Arrays of a structure; None where the model cannot take it."""
    try:
        written = write_structure(structure)
    except Infeasible:
        return None
    if any(name not in model.volumes for name, _ in written.sites):
        return None
    example = make_example(written, list_elements(), model.volumes)
    return example if is_learnable(example) else None


def decode_codes(
    model: CrystalModel, codes: FloatArray, condition: Condition, manner: Manner
) -> list[Made | None]:
    """Decode codes (n, l) one by one, always to the same crystals; None where there is none."""
    menu = None if condition.formula else make_menu(condition, model.known, model.patterns)
    calm = [
        replace(manner, composition=warmth, sites=warmth, shapes=DECODED_SHAPES) for warmth in DECODED_WARMTHS
    ]
    tried = ((_decode_code(model, code, menu, condition, own) for own in calm) for code in codes)
    return [next((made for made in own if made is not None), None) for own in tried]


def _decode_code(
    model: CrystalModel, code: FloatArray, menu: Menu | None, condition: Condition, manner: Manner
) -> Made | None:
    """Decode one code (l,); alone in its batch, so that its digits depend on nothing else.

    Args:
        model: trained.
        code: rounded before it is decoded.
        menu: compositions; None where the condition has a formula.
        condition: to be kept.
        manner: of drawing.
    """
    rounded = np.round(code, DECODED_DECIMALS)
    if not np.isfinite(rounded).all():
        return None
    text = hashlib.blake2b((rounded + 0.0).tobytes(), digest_size=8).hexdigest()
    rng: Rng = np.random.Generator(np.random.Philox(key=derived_seed(text, "decode")))
    found = Yield()
    row = rounded[None]
    if menu is None:
        draft = make_formula_draft(dict(condition.formula))
        _decode_formula(model, row, draft, rng, condition, manner, found)
    else:
        add_crystals(model, row, menu, [rng], condition, manner, found, set())
    return found.made[0] if found.made else None


def _decode_formula(
    model: CrystalModel,
    row: FloatArray,
    draft: Draft,
    rng: Rng,
    condition: Condition,
    manner: Manner,
    found: Yield,
) -> None:
    """Decode a code (1, l) to a crystal of a given composition."""
    context = set_code_context(model, row)
    placed = [
        one for one in draw_sites(model.network, context, [draft], condition, [rng], manner.sites) if one
    ]
    if placed:
        shape_drafts(model, context, placed, [rng], condition, manner, found, row)
