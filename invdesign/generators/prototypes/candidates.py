"""Candidates for a formula: known frameworks with its elements, the likeliest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.generators.prototypes.library import Family, Template, atomic_numbers
from invdesign.generators.prototypes.ranking import ElementScale, sum_votes
from invdesign.protocols import ORIGIN, Condition

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_CANDIDATES = 400  # frameworks of one formula (chosen)
# Probability that a further crystal of the same framework, with its own cell and coordinates, is right where the first is not;
# chosen: more than unlikely frameworks have.
VARIANT_SHARE = 0.003
MAX_VARIANTS = 4  # crystals of one framework (chosen)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A known crystal with other elements.

    Attributes:
        template: the known crystal.
        elements: symbols in the order of the template's elements.
        log_probability: logarithm of the probability that this is the crystal of its formula, among all candidates.
        derived_from: formula of the known crystal, where sites of it were joined or divided for other ratios.
    """

    template: Template
    elements: tuple[str, ...]
    log_probability: float
    derived_from: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Atoms by element in the primitive cell, sorted."""
        return dict(sorted(zip(self.elements, self.template.counts, strict=True)))

    def build(self, scale: ElementScale) -> Structure:
        """Build the crystal, its volume scaled by the volumes of its atoms."""
        from pymatgen.core import Lattice, Structure

        template = self.template
        crystal = template.sited.crystal
        before = scale.estimate_volume(dict(zip(template.elements, template.counts, strict=True)))
        stretch = (scale.estimate_volume(self.counts) / before) ** (1.0 / 3.0)
        symbols = [self.elements[species] for species in crystal.species.tolist()]
        built = Structure(Lattice(crystal.cell * stretch), symbols, crystal.positions)
        built.properties[ORIGIN] = self.describe_origin()
        return built

    def describe_origin(self) -> dict[str, object]:
        """Describe where the crystal comes from."""
        swapped = {
            before: after
            for before, after in zip(self.template.elements, self.elements, strict=True)
            if before != after
        }
        return {
            "generator": "prototypes",
            "template": self.template.source,
            "formula": self.derived_from or self.template.formula,
            "swapped": swapped,
            "space_group": self.template.sited.combination.group,
            "probability": round(float(np.exp(self.log_probability)), 4),
        }


def score_formula(
    condition: Condition, family: Family, scale: ElementScale
) -> tuple[FloatArray, tuple[str, ...]]:
    """Score the templates of a family for the formula of a condition.

    Args:
        condition: with a formula.
        family: crystals with its ratios.
        scale: of the elements.

    Returns:
        (scores (m, p), minus infinity where the condition forbids size or space group; symbols in the order of the ratios).
    """
    symbols = tuple(name for name, _ in sorted(condition.formula, key=lambda entry: (entry[1], entry[0])))
    numbers = atomic_numbers()
    scores = scale.score_templates(np.array([numbers[name] for name in symbols]), family)
    for row, (size, group) in enumerate(zip(family.sizes.tolist(), family.groups.tolist(), strict=True)):
        if not condition.allows_atoms(size) or not condition.allows_group(group):
            scores[row] = -np.inf
    return scores, symbols


def pick_candidates(scores: FloatArray, family: Family, symbols: Sequence[str]) -> list[Candidate]:
    """Pick the best templates of every framework.

    Every framework has its nearest template; further templates of it have a lower probability.

    Args:
        scores: shape (m, p), not all of them minus infinity.
        family: of the templates.
        symbols: in the order of the family's ratios.
    """
    votes = sum_votes(scores, family.frameworks)
    flat, frameworks = scores.ravel(), family.frameworks.ravel()
    used: dict[int, set[int]] = {}
    found = []
    likely = set(np.argsort(-votes, kind="stable")[:MAX_CANDIDATES].tolist())
    for place in np.argsort(-flat, kind="stable").tolist():
        framework = int(frameworks[place])
        row, order = divmod(place, len(family.orders))
        rows = used.setdefault(framework, set())
        rank = len(rows)
        if not np.isfinite(flat[place]) or rank == MAX_VARIANTS or row in rows or framework not in likely:
            continue
        rows.add(row)
        log_probability = float(votes[framework]) + rank * float(np.log(VARIANT_SHARE))
        elements = assign_elements(family, row, order, symbols)
        found.append(Candidate(family.templates[row], elements, log_probability))
    return found


def assign_elements(family: Family, row: int, order: int, symbols: Sequence[str]) -> tuple[str, ...]:
    """Symbols in the order of a template's elements, given those in the order of the family's ratios."""
    assigned: Mapping[int, str] = {
        int(family.slots[row, slot]): symbol
        for slot, symbol in zip(family.orders[order].tolist(), symbols, strict=True)
    }
    return tuple(assigned[place] for place in range(len(symbols)))
