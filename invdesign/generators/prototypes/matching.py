"""Candidates for a formula, the likeliest first: known frameworks, and frameworks derived from them."""

from __future__ import annotations

import numpy as np

from invdesign.generators.prototypes.candidates import Candidate, pick_candidates, score_formula
from invdesign.generators.prototypes.derived import list_derived
from invdesign.generators.prototypes.library import Library
from invdesign.generators.prototypes.ranking import ElementScale
from invdesign.protocols import Condition

# Logarithm of the sum of votes of a formula whose ratios no crystal has: as of one template some distance off (chosen).
NO_VOTES = -5.0
ENOUGH_KNOWN = 20  # candidates with known frameworks, beside which none are derived (chosen)


def list_candidates(condition: Condition, library: Library, scale: ElementScale) -> list[Candidate]:
    """List the candidates for the formula of a condition, the likeliest first.

    Frameworks are derived where few are known: they take a second, and where many are known they gained nothing on formulas held
    out of the data to learn from.

    Args:
        condition: with a formula.
        library: known crystals.
        scale: of the elements.
    """
    family = library.find_family(count for _, count in condition.formula)
    found: list[Candidate] = []
    normaliser = NO_VOTES
    if family is not None:
        scores, symbols = score_formula(condition, family, scale)
        if np.isfinite(scores).any():
            found = pick_candidates(scores, family, symbols)
            normaliser = float(np.logaddexp.reduce(scores, axis=None))
    if len(found) < ENOUGH_KNOWN:
        found += list_derived(condition, library, scale, normaliser)
    return sorted(found, key=lambda candidate: -candidate.log_probability)
