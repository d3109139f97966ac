"""Changes of neutral compositions that give neutral ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from invdesign.rng import Rng
from invdesign.spaces.composition.nearest import Counts, find_nearest_counts
from invdesign.spaces.operators import find_settled
from invdesign.structures.compositions import NeutralCompositions

TRIES = 200  # of one change (chosen)
LARGEST_STEP = 3  # of one count in a mutation (chosen)
Maker = Callable[[Sequence[Counts], NeutralCompositions, Rng], Counts | None]


def draw_start(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts:  # noqa: ARG001 - the signature
    """Draw any composition, each equally often."""
    return listed.unrank(int(rng.integers(listed.count())))


def change_counts(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts | None:
    """Change the counts of two or three elements by a little."""
    parent = parents[0]
    names = list(parent)

    def draw() -> Iterator[Counts]:
        for _ in range(TRIES):
            chosen = rng.permutation(len(names))[: int(rng.integers(2, 4))].tolist()
            steps = rng.integers(-LARGEST_STEP, LARGEST_STEP + 1, size=len(chosen)).tolist()
            child = dict(parent)
            for place, step in zip(chosen, steps, strict=True):
                child[names[place]] += step
            yield child

    return _find_new(draw(), parent, listed)


def replace_element(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts | None:
    """Replace an element by another one that keeps the charges balanced with the same counts."""
    parent = parents[0]
    others = [name for name in listed.rules.elements if name not in parent]
    pairs = [(old, new) for old in parent for new in others]
    ordered = [pairs[place] for place in rng.permutation(len(pairs)).tolist()]
    drawn = ({new if name == old else name: n for name, n in parent.items()} for old, new in ordered)
    return _find_new(drawn, parent, listed)


def exchange_counts(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts | None:
    """Exchange the counts of two elements."""
    parent = parents[0]
    names = list(parent)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    ordered = [pairs[place] for place in rng.permutation(len(pairs)).tolist()]
    return _find_new(({**parent, a: parent[b], b: parent[a]} for a, b in ordered), parent, listed)


def change_elements(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts | None:
    """Add or leave out an element, with the nearest counts that balance the charges."""
    parent = parents[0]
    total = sum(parent.values())
    shares = {name: count / total for name, count in parent.items()}
    low, high = listed.rules.elements_per_formula
    others = [name for name in listed.rules.elements if name not in parent]
    fewer = [tuple(kept for kept in parent if kept != name) for name in parent] if len(parent) > low else []
    more = [(*parent, name) for name in others] if len(parent) < high else []
    sets = more if more and (not fewer or rng.random() < 0.5) else fewer
    for place in rng.permutation(len(sets)).tolist():
        # A new element starts with a share of its own, up to that of the others.
        own = {name: shares.get(name, float(rng.random()) / len(sets[place])) for name in sets[place]}
        scale = sum(own.values())
        found = find_nearest_counts(listed, sets[place], {name: n / scale for name, n in own.items()})
        if found is not None:
            return found
    return None


def cross_over(parents: Sequence[Counts], listed: NeutralCompositions, rng: Rng) -> Counts | None:
    """Blend two compositions: elements of both, with counts near a mean of both."""
    weight = float(rng.random())
    shares: dict[str, float] = {}
    for parent, part in zip(parents, (weight, 1.0 - weight), strict=True):
        total = sum(parent.values())
        for name, count in parent.items():
            shares[name] = shares.get(name, 0.0) + part * count / total
    low, high = listed.rules.elements_per_formula
    names = sorted(shares)
    for _ in range(TRIES):
        size = int(rng.integers(min(low, len(names)), min(high, len(names)) + 1))
        chosen = [names[place] for place in sorted(rng.permutation(len(names))[:size].tolist())]
        scale = sum(shares[name] for name in chosen)
        if scale <= 0:
            continue
        found = find_nearest_counts(listed, chosen, {name: shares[name] / scale for name in chosen})
        if found is not None and found not in parents:
            return found
    return None


def _find_new(drawn: Iterator[Counts], parent: Counts, listed: NeutralCompositions) -> Counts | None:
    """First drawn composition of the space that is another than the parent."""

    def settle(counts: Counts) -> Counts | None:
        return counts if counts != parent and listed.contains(counts) else None

    return find_settled(drawn, settle)


MAKERS: Mapping[str, tuple[int, Maker]] = {
    "start": (0, draw_start),
    "counts": (1, change_counts),
    "replace": (1, replace_element),
    "exchange": (1, exchange_counts),
    "elements": (1, change_elements),
    "blend": (2, cross_over),
}
