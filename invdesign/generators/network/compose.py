"""Compositions drawn from the network under a condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import BoolArray
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.drafts import Draft, draw_masked, order_randomly, to_numpy
from invdesign.generators.network.examples import MOST_COUNT, MOST_ELEMENTS
from invdesign.generators.network.model import CrystalNetwork
from invdesign.generators.network.rooms import MOST_ATOMS, Patterns, list_units
from invdesign.protocols.generators import Condition
from invdesign.rng import Rng
from invdesign.structures.charges import is_neutral

# Temperature of counts over that of elements (chosen): 88.6 % of formulas are valid by SMACT's rule, 87.4 % without it.
COUNT_COOLING = 0.7
PREFER_NEUTRAL = 0.6  # share of formulas whose last count is a neutral one, if a likely one is (chosen)
PREFERRED_TRIES = 5  # counts that are likely enough for that (chosen)
NEUTRAL_TRIES = 16  # most likely counts of the last element among which a neutral formula is sought (chosen)


@dataclass(frozen=True, eq=False)
class Menu:
    """Elements and counts that a condition allows.

    Attributes:
        allowed: places of elements, ascending.
        required: places of elements, ascending.
        patterns: formulas that fit atoms and space groups; None where all do.
        neutral: True if charges must balance.
        most: largest number of atoms in a reduced formula.
    """

    allowed: tuple[int, ...]
    required: tuple[int, ...]
    patterns: Patterns | None
    neutral: bool
    most: int

    def list_kinds(self) -> BoolArray:
        """True for numbers of elements that are possible, shape (MOST_ELEMENTS + 1,)."""
        found = np.zeros(MOST_ELEMENTS + 1, dtype=bool)
        for kinds in range(max(1, len(self.required)), min(MOST_ELEMENTS, len(self.allowed)) + 1):
            found[kinds] = self.patterns is None or kinds in self.patterns.kinds
        return found

    def list_elements(self, last: int, to_come: int) -> BoolArray:
        """True for elements that may be next and leave the rest possible, shape (e,).

        Args:
            last: place of the element before, -1 at the start.
            to_come: elements still to be placed.
        """
        found = np.zeros(len(list_elements()), dtype=bool)
        later = [place for place in self.allowed if place > last]
        needed = [place for place in self.required if place > last]
        room = later[: len(later) - to_come + 1]
        if len(needed) == to_come:
            room = needed[:1]
        elif needed:
            room = [place for place in room if place <= needed[0]]
        found[room] = True
        return found

    def list_counts(self, kinds: int, counts: Sequence[int]) -> BoolArray:
        """True for counts that may be next, shape (MOST_COUNT + 1,)."""
        found = np.zeros(MOST_COUNT + 1, dtype=bool)
        if self.patterns is not None:
            found[sorted(self.patterns.list_counts(kinds, counts))] = True
            return found
        to_come = kinds - len(counts)
        most = min(MOST_COUNT, self.most - sum(counts) - (to_come - 1))
        found[1 : max(most, 1) + 1] = True
        if to_come == 1:
            common = math.gcd(*counts)
            found &= np.gcd(np.arange(MOST_COUNT + 1), common) == 1
        return found


def make_menu(condition: Condition, known: Sequence[str], patterns: frozenset[tuple[int, ...]]) -> Menu:
    """Make the menu of a condition without a formula.

    Args:
        condition: what crystals must be.
        known: elements of the training data.
        patterns: reduced formulas without their elements that crystals have.
    """
    order = list_elements()
    allowed = [
        name for name in order if name in known and (name in condition.elements or not condition.elements)
    ]
    fitting = None
    if condition.atoms or condition.space_groups:
        fitting = Patterns(
            frozenset(pattern for pattern in patterns if list_units(pattern, condition, MOST_ATOMS))
        )
    return Menu(
        tuple(order.index(name) for name in allowed),
        tuple(sorted(order.index(name) for name in condition.required)),
        fitting,
        condition.neutral,
        condition.atoms[1] if condition.atoms else MOST_ATOMS,
    )


@torch.no_grad()
def draw_compositions(
    network: CrystalNetwork, context: Tensor, menu: Menu, rngs: Sequence[Rng], temperature: float
) -> list[Draft | None]:
    """Draw one composition per row.

    Args:
        network: with weights.
        context: shape (b, d).
        menu: what is allowed.
        rngs: one generator per row.
        temperature: of elements and counts; 0 takes the most likely.

    Returns:
        Drafts with elements and counts; None where no neutral formula was found.
    """
    decoder, words = network.compositions, network.words
    state = decoder.begin(context)
    possible = menu.list_kinds()
    kinds = [
        draw_masked(row, possible, rng, temperature)[0]
        for row, rng in zip(to_numpy(decoder.kinds(state)), rngs, strict=True)
    ]
    embedded = words.elements
    chosen: list[list[int]] = [[] for _ in rngs]
    counts: list[list[int]] = [[] for _ in rngs]
    word = torch.zeros(len(rngs), embedded.shape[1])
    for step in range(max(kinds)):
        to_come = torch.tensor([max(number - step, 0) for number in kinds])
        state = decoder.advance(state, word, to_come)
        logits = to_numpy(decoder.choose_element(state, words))
        active = [row for row in range(len(rngs)) if kinds[row] > step]
        for row in active:
            last = chosen[row][-1] if chosen[row] else -1
            options = menu.list_elements(last, kinds[row] - step)
            chosen[row].append(draw_masked(logits[row], options, rngs[row], temperature)[0])
        latest = torch.tensor([own[-1] for own in chosen])
        amounts = to_numpy(decoder.choose_amount(state, embedded[latest]))
        for row in active:
            cooled = COUNT_COOLING * temperature
            counts[row].append(
                _draw_count(menu, kinds[row], chosen[row], counts[row], amounts[row], rngs[row], cooled)
            )
        word = embedded[latest] + words.count_names(torch.tensor([max(own[-1], 0) for own in counts]))
    return [
        Draft(tuple(own), tuple(number)) if min(number) > 0 else None
        for own, number in zip(chosen, counts, strict=True)
    ]


def _draw_count(
    menu: Menu,
    kinds: int,
    elements: Sequence[int],
    counts: Sequence[int],
    logits: np.ndarray,
    rng: Rng,
    temperature: float,
) -> int:
    """Draw the count of an element; 0 where none makes the formula neutral."""
    if min(counts, default=1) == 0:
        return 0
    options = menu.list_counts(kinds, counts)
    if len(counts) + 1 < kinds or not (menu.neutral or (temperature > 0.0 and rng.random() < PREFER_NEUTRAL)):
        return draw_masked(logits, options, rng, temperature)[0]
    order = list_elements()
    ranked = order_randomly(np.where(options, logits, -np.inf), rng, temperature)
    tries = NEUTRAL_TRIES if menu.neutral else PREFERRED_TRIES
    for count in ranked[: min(tries, int(options.sum()))]:
        atoms = {order[place]: number for place, number in zip(elements, (*counts, int(count)), strict=True)}
        if is_neutral(atoms):
            return int(count)
    return 0 if menu.neutral else int(ranked[0])
