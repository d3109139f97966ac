"""The neutral composition nearest to given fractions of the elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.compositions import CompositionRules, NeutralCompositions

Counts = dict[str, int]
EXACT = 1e-9  # distance of counts from whole numbers, from rounding (chosen)
MAX_SETS_TRIED = 200  # element sets tried before any composition is taken (chosen)


def find_nearest(listed: NeutralCompositions, fractions: FloatArray) -> Counts:
    """Composition near given fractions; exactly the one that has them.

    The elements are chosen first, largest fractions before others, then the nearest counts of these elements.

    Args:
        listed: all compositions.
        fractions: shape (n,), of the allowed elements, with any sum.
    """
    total = float(fractions.sum())
    shares = dict(
        zip(listed.rules.elements, (fractions / total if total > 0 else fractions).tolist(), strict=True)
    )
    exact = _find_whole_counts(listed.rules, {name: share for name, share in shares.items() if share > 0})
    if exact is not None:
        return exact
    wanted = sum(share > 0.5 / listed.rules.most_atoms for share in shares.values())
    for elements in _choose_elements(listed.rules, shares, wanted):
        found = find_nearest_counts(listed, elements, shares)
        if found is not None:
            return found
    return listed.unrank(int(fractions.mean() * (listed.count() - 1)))


def find_nearest_counts(
    listed: NeutralCompositions, elements: Sequence[str], shares: Mapping[str, float]
) -> Counts | None:
    """Composition of exactly these elements with the nearest fractions; None where there is none.

    Args:
        listed: all compositions.
        elements: different allowed ones.
        shares: fractions by element, 0 where not named.
    """
    found = listed.find_class(elements)
    if found is None:
        return None
    own, ordered = found
    target = np.array([shares.get(name, 0.0) for name in ordered])
    best, counts = np.inf, None
    for block in listed.list_vectors(own.slots):
        distances = np.square(block / block.sum(axis=1, keepdims=True) - target).sum(axis=1)
        row = int(distances.argmin())
        if distances[row] < best:
            best, counts = float(distances[row]), block[row]
    assert counts is not None
    return dict(zip(ordered, counts.tolist(), strict=True))


def _find_whole_counts(rules: CompositionRules, shares: Mapping[str, float]) -> Counts | None:
    """Composition with exactly these fractions; None where there is none."""
    if not rules.elements_per_formula[0] <= len(shares) <= rules.elements_per_formula[1]:
        return None
    sizes = np.arange(1, rules.most_atoms + 1)[:, None]
    amounts = sizes * np.array(list(shares.values()))
    whole = np.flatnonzero((np.abs(amounts - np.rint(amounts)) < EXACT * sizes).all(axis=1))
    if not len(whole):
        return None
    counts = dict(zip(shares, np.rint(amounts[whole[0]]).astype(int).tolist(), strict=True))
    return None if 0 in counts.values() or rules.explain_exclusion(counts) else counts


def _choose_elements(
    rules: CompositionRules, shares: Mapping[str, float], wanted: int
) -> Sequence[tuple[str, ...]]:
    """Choose element sets to try, large fractions first.

    Every set holds an element of each required group.

    Args:
        rules: of the compositions.
        shares: fractions by element.
        wanted: preferred number of elements.
    """
    ordered = sorted(shares, key=lambda name: -shares[name])
    needed: list[str] = []
    for group in rules.required:
        if not set(group) & set(needed):
            needed.append(min(group, key=ordered.index))
    low, high = rules.elements_per_formula
    size = min(max(wanted, low, len(needed)), high)
    rest = [name for name in ordered if name not in needed]
    chosen = needed + rest[: size - len(needed)]
    others = rest[size - len(needed) :]
    found = [tuple(chosen)]
    # Replace the smallest fractions first, each by the largest fractions that were left out.
    for place in range(len(chosen) - 1, len(needed) - 1, -1):
        found += [(*chosen[:place], other, *chosen[place + 1 :]) for other in others]
    sizes = [number for number in range(low, high + 1) if number != size and number >= len(needed)]
    found += [tuple(needed + rest[: number - len(needed)]) for number in sizes]
    for number in sizes:
        kept = needed + rest[: number - len(needed) - 1]
        found += [(*kept, other) for other in ordered if other not in kept and len(kept) == number - 1]
    return found[:MAX_SETS_TRIED]
