"""Known crystals with other elements where no formula is given: similar elements take each other's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.prototypes.candidates import Candidate
from invdesign.generators.prototypes.library import Library, Template, atomic_numbers
from invdesign.generators.prototypes.ranking import ElementScale
from invdesign.protocols import Condition
from invdesign.rng import Rng
from invdesign.structures.charges import is_neutral

TRIES = 400  # templates drawn for one crystal (chosen)
FLATTENING = (
    0.5  # power of weights of templates, so that the nearest ones are not drawn again and again (chosen)
)
KEPT_SHARE = 0.3  # of the elements of a template that stay where nothing forbids them (chosen)


@dataclass(frozen=True, eq=False)
class Swapper:
    """Draws templates and other elements for them, under a condition without a formula.

    Attributes:
        condition: to be kept.
        library: known crystals.
        scale: of the elements.
    """

    condition: Condition
    library: Library
    scale: ElementScale

    @cached_property
    def allowed(self) -> tuple[str, ...]:
        """Symbols that may be placed."""
        known = set(self.library.elements)
        return tuple(name for name in self.condition.elements or self.library.elements if name in known)

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """Templates that can hold the required elements and no more than are allowed."""
        condition = self.condition
        return tuple(
            template
            for template in self.library.templates
            if len(condition.required) <= len(template.elements) <= len(self.allowed)
            and condition.allows_atoms(sum(template.counts))
            and condition.allows_group(template.sited.combination.group)
        )

    @cached_property
    def _numbers(self) -> IntArray:
        """Atomic numbers of the allowed symbols."""
        numbers = atomic_numbers()
        return np.array([numbers[name] for name in self.allowed], dtype=np.int64)

    @cached_property
    def _weights(self) -> FloatArray:
        """Cumulated weights of templates: with which its slots can be filled by allowed elements."""
        numbers = atomic_numbers()
        slots = [np.array([numbers[name] for name in template.elements]) for template in self.templates]
        if not self.condition.elements:
            return np.cumsum(np.ones(len(slots)))
        near = self.scale.nearness
        weights = [float(np.prod(near[self._numbers[:, None], own].sum(axis=0))) for own in slots]
        return np.cumsum(np.power(weights, FLATTENING))

    def draw(self, rng: Rng) -> Candidate | None:
        """Draw a candidate; None if none of `TRIES` templates can be filled."""
        for _ in range(TRIES):
            mark = rng.random() * self._weights[-1]
            template = self.templates[min(int(np.searchsorted(self._weights, mark)), len(self.templates) - 1)]
            elements = self._fill_template(template, rng)
            if elements is not None and elements != template.elements:
                return Candidate(template, elements, float("nan"))
        return None

    def _fill_template(self, template: Template, rng: Rng) -> tuple[str, ...] | None:
        """Fill the slots of a template, those for required elements first; None if charges cannot balance."""
        slots = len(template.elements)
        filled: dict[int, str] = {}
        required = [self.condition.required[k] for k in rng.permutation(len(self.condition.required))]
        for name in required:
            free = [slot for slot in range(slots) if slot not in filled]
            weights = [self._measure_nearness(name, template.elements[slot]) for slot in free]
            filled[free[_draw_weighted(weights, rng)]] = name
        open_slots = [slot for slot in rng.permutation(slots).tolist() if slot not in filled]
        for slot in open_slots[:-1] if self.condition.neutral else open_slots:
            name = next(self._order_elements(template.elements[slot], set(filled.values()), rng))
            filled[slot] = name
        if not self.condition.neutral:
            return _list_filled(filled)
        return self._balance(template, filled, open_slots[-1:], rng)

    def _balance(
        self, template: Template, filled: dict[int, str], last: Sequence[int], rng: Rng
    ) -> tuple[str, ...] | None:
        """Fill the last slot with an element that balances the charges; None if none does."""
        choices: Iterator[str | None] = iter([None])
        if last:
            choices = self._order_elements(template.elements[last[0]], set(filled.values()), rng)
        for name in choices:
            tried = filled if name is None else {**filled, last[0]: name}
            elements = _list_filled(tried)
            if is_neutral(dict(zip(elements, template.ratios, strict=True))):
                return elements
        return None

    def _measure_nearness(self, name: str, other: str) -> float:
        numbers = atomic_numbers()
        return float(self.scale.nearness[numbers[name], numbers[other]])

    def _order_elements(self, before: str, taken: set[str], rng: Rng) -> Iterator[str]:
        """Iterate over allowed elements for a slot in random order, near ones likelier first.

        Args:
            before: element of the template in that slot; it keeps the slot with a probability of `KEPT_SHARE` at least.
            taken: elements of other slots.
            rng: for the draws.
        """
        weights = self.scale.nearness[atomic_numbers()[before], self._numbers]
        # Exponential clocks ring in the order of a draw without replacement by weights.
        clocks = rng.exponential(size=len(weights)) / np.maximum(weights, 1e-300)
        order = [self.allowed[k] for k in np.argsort(clocks, kind="stable").tolist()]
        if before in self.allowed and rng.random() < KEPT_SHARE:
            order = [before, *(name for name in order if name != before)]
        yield from (name for name in order if name not in taken)


def _draw_weighted(weights: Sequence[float], rng: Rng) -> int:
    """Draw an index by weights, of which one at least is above 0."""
    ends = np.cumsum(weights)
    return min(int(np.searchsorted(ends, rng.random() * ends[-1])), len(weights) - 1)


def _list_filled(filled: dict[int, str]) -> tuple[str, ...]:
    """Elements by slot, in order."""
    return tuple(filled[slot] for slot in sorted(filled))
