"""Formula units, space groups and occupied positions drawn from the network under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.generators.network.drafts import Draft, draw_masked, log_softmax, order_randomly, to_numpy
from invdesign.generators.network.examples import MOST_UNITS
from invdesign.generators.network.model import CrystalNetwork
from invdesign.generators.network.positions import MOST_LETTERS, load_positions
from invdesign.generators.network.rooms import Room, can_hold, find_room, list_units
from invdesign.protocols.generators import Condition
from invdesign.rng import Rng
from invdesign.structures.wyckoff import GROUPS


@dataclass(eq=False)
class _Placing:
    """Placement of the atoms of one draft, orbit by orbit."""

    draft: Draft
    room: Room
    rng: Rng
    element: int = 0
    left: int = 0
    letter: int = 0
    used: int = 0
    previous: int = -1
    likelihood: float = 0.0
    species: list[int] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.left == 0

    def place(self, logits: FloatArray, temperature: float) -> None:
        """Draw the next position among those that leave the rest a place."""
        options = {
            row[0]: row for row in self.room.list_open(self.element, self.left, self.letter, self.used)
        }
        allowed = np.zeros(MOST_LETTERS, dtype=bool)
        allowed[list(options)] = True
        pick, likelihood = draw_masked(logits, allowed, self.rng, temperature)
        self.likelihood += likelihood
        self.species.append(self.element)
        self.letters.append(pick)
        self.previous = int(load_positions().start[self.draft.group]) + pick
        _, self.left, self.letter, self.used = options[pick]
        if not self.left and self.element + 1 < len(self.room.counts):
            self.element += 1
            self.left, self.letter = self.room.counts[self.element], 0


def read_compositions(network: CrystalNetwork, drafts: Sequence[Draft]) -> tuple[Tensor, Tensor]:
    """Tokens of the elements (b, k, d) and their mean (b, d)."""
    kinds = max(len(draft.elements) for draft in drafts)
    elements, counts = np.zeros((2, len(drafts), kinds), dtype=np.int64)
    for row, draft in enumerate(drafts):
        elements[row, : len(draft.elements)] = draft.elements
        counts[row, : len(draft.counts)] = draft.counts
    read, pooled = network.reader(network.words, torch.from_numpy(elements), torch.from_numpy(counts))
    return read, pooled


@torch.no_grad()
def draw_sites(
    network: CrystalNetwork,
    context: Tensor,
    drafts: Sequence[Draft],
    condition: Condition,
    rngs: Sequence[Rng],
    temperature: float,
) -> list[Draft | None]:
    """Draw formula units, a space group and occupied positions per draft.

    Args:
        network: with weights.
        context: shape (b, d).
        drafts: b compositions.
        condition: what crystals must be.
        rngs: one generator per row.
        temperature: of all choices; 0 takes the most likely.

    Returns:
        Drafts with occupied positions; None where no number of units and no group fits.
    """
    read, pooled = read_compositions(network, drafts)
    context = context + pooled
    begun = _draw_units(network, context, drafts, condition, rngs, temperature)
    begun = _draw_groups(network, context, begun, condition, rngs, temperature)
    rows = [row for row, draft in enumerate(begun) if draft is not None]
    if not rows:
        return list(begun)
    placed = _place_atoms(
        network,
        context[rows],
        read[rows],
        [draft for draft in begun if draft is not None],
        [rngs[row] for row in rows],
        temperature,
    )
    found: list[Draft | None] = [None] * len(drafts)
    for row, draft in zip(rows, placed, strict=True):
        found[row] = draft
    return found


def _draw_units(
    network: CrystalNetwork,
    context: Tensor,
    drafts: Sequence[Draft],
    condition: Condition,
    rngs: Sequence[Rng],
    temperature: float,
) -> list[Draft | None]:
    """Draw the number of formula units; one beyond the network's range is taken where it alone is allowed."""
    logits = to_numpy(network.sites.choose_units(context))
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    found: list[Draft | None] = []
    for draft, row, rng in zip(drafts, logits, rngs, strict=True):
        if draft.counts not in known:
            known[draft.counts] = list_units(draft.counts, condition, MOST_UNITS)
        allowed = np.zeros(MOST_UNITS + 1, dtype=bool)
        allowed[list(known[draft.counts])] = True
        if not allowed.any():
            found.append(None)
            continue
        units, likelihood = draw_masked(row, allowed, rng, temperature)
        found.append(replace(draft, units=units, likelihood=likelihood))
    return found


def _draw_groups(
    network: CrystalNetwork,
    context: Tensor,
    drafts: Sequence[Draft | None],
    condition: Condition,
    rngs: Sequence[Rng],
    temperature: float,
) -> list[Draft | None]:
    """Draw space groups that can hold the atoms."""
    units = torch.tensor([draft.units if draft else 1 for draft in drafts])
    logits = to_numpy(network.sites.choose_group(network.words, context, units)).copy()
    groups = np.zeros(231, dtype=bool)
    groups[list(condition.space_groups or GROUPS)] = True
    logits[:, ~groups] = -np.inf
    likelihoods = log_softmax(logits)
    found: list[Draft | None] = []
    for draft, row, own, rng in zip(drafts, logits, likelihoods, rngs, strict=True):
        if draft is None:
            found.append(None)
            continue
        ranked = order_randomly(row, rng, temperature)[: int(groups.sum())]
        # The first that fits, in the order of draws without replacement, is a draw among those that fit.
        group = next((int(number) for number in ranked if can_hold(int(number), draft.atoms)), 0)
        changed = replace(draft, group=group, likelihood=draft.likelihood + float(own[group]))
        found.append(changed if group else None)
    return found


def _place_atoms(
    network: CrystalNetwork,
    context: Tensor,
    read: Tensor,
    drafts: Sequence[Draft],
    rngs: Sequence[Rng],
    temperature: float,
) -> list[Draft]:
    """Draw occupied positions of drafts with a group, all rows at once and orbit by orbit."""
    decoder, words = network.sites, network.words
    group = torch.tensor([draft.group for draft in drafts])
    units = torch.tensor([draft.units for draft in drafts])
    total = torch.tensor([sum(draft.atoms) for draft in drafts])
    state = decoder.begin(words, context, units, group)
    placings = [
        _Placing(draft, find_room(draft.group, draft.atoms), rng, left=draft.atoms[0])
        for draft, rng in zip(drafts, rngs, strict=True)
    ]
    rows = list(range(len(placings)))
    while rows:
        at = torch.tensor(rows)
        active = [placings[row] for row in rows]
        element = read[at, torch.tensor([one.element for one in active])]
        inputs = decoder.describe(
            words,
            torch.tensor([one.previous for one in active]),
            element,
            torch.tensor([one.left for one in active]),
            total[at],
            group[at],
        )
        moved = decoder.step(inputs.unsqueeze(1), state[at].unsqueeze(0))[0].squeeze(1)
        state[at] = moved
        logits = to_numpy(decoder.choose_letter(words, moved, element, group[at]))
        for one, row in zip(active, logits, strict=True):
            one.place(row, temperature)
        rows = [row for row in rows if not placings[row].is_done]
    return [one.draft.occupy(one.species, one.letters, one.likelihood) for one in placings]
