"""All charge-neutral compositions under given rules, in a fixed order, counted before they are listed.

Elements with the same demands are one *kind*. Element sets with as many elements of each kind are one *class*: they have the same
counts, which are counted, and listed, once for the class.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate

import numpy as np

from invdesign.arrays import IntArray
from invdesign.structures.compositions.counting import can_balance, count_reduced
from invdesign.structures.compositions.rules import CompositionRules, Slot
from invdesign.structures.compositions.vectors import CountArray, iterate_vector_blocks

MAX_COMPOSITIONS = 10**13  # a day of screening at a hundred million per second (chosen)
MAX_CLASSES = 300_000  # of element sets; counting them takes minutes (chosen)
KEPT_ROWS = 200_000  # counts of a class kept in memory, 2 MB; larger ones are listed anew (chosen)
LISTED_ROWS = 20_000  # counts listed to find one of them (chosen)
KEPT_CLASSES = 64  # chosen
KEPT_SPLITS = 4096  # chosen


@dataclass(frozen=True)
class Kind:
    """Allowed elements with the same demands and in the same required groups.

    Attributes:
        slot: their demands.
        groups: numbers of the required groups they are in.
        members: their numbers among the allowed elements, ascending.
    """

    slot: Slot
    groups: frozenset[int]
    members: tuple[int, ...]


@dataclass(frozen=True)
class SetClass:
    """Element sets with as many elements of each kind.

    Attributes:
        taken: (number of the kind, elements taken of it), ascending.
        slots: demands on each element, in the order of the counts.
        n_sets: number of element sets.
        n_vectors: number of compositions of each of them.
        first_set: number of its first element set.
        first: number of its first composition.
    """

    taken: tuple[tuple[int, int], ...]
    slots: tuple[Slot, ...]
    n_sets: int
    n_vectors: int
    first_set: int = 0
    first: int = 0

    @property
    def n_compositions(self) -> int:
        """Number of compositions of all its element sets."""
        return self.n_sets * self.n_vectors


@dataclass(frozen=True)
class ElementSet:
    """One set of elements with its compositions.

    Attributes:
        number: from 0, in the order of all sets.
        elements: symbols, in the order of the counts.
        slots: demands on each of them; equal slots have equal counts.
        first: number of its first composition.
        n_compositions: number of its compositions.
    """

    number: int
    elements: tuple[str, ...]
    slots: tuple[Slot, ...]
    first: int
    n_compositions: int


class NeutralCompositions:
    """All charge-neutral compositions under given rules; each reduced formula is one of them.

    The order is that of the classes (by number of elements, then by kinds), then of the element sets, then of the counts.

    Raises:
        ValueError: there is none, with the rule that excludes all; or there are more than 1e13.

    Examples:
        >>> listed = NeutralCompositions(CompositionRules({"Li": (1,), "O": (-2,)}))
        >>> listed.count(), sorted(listed.unrank(0).items())
        (1, [('Li', 2), ('O', 1)])
    """

    def __init__(self, rules: CompositionRules) -> None:
        self.rules = rules
        self.kinds = _sort_into_kinds(rules)
        self._kind_of = {member: number for number, kind in enumerate(self.kinds) for member in kind.members}
        self._numbers = {name: number for number, name in enumerate(rules.elements)}
        self.classes = self._count_classes()
        if self.count() > MAX_COMPOSITIONS:
            raise ValueError(
                f"the rules allow {self.count():,} compositions, and {MAX_COMPOSITIONS:,} at most can be enumerated; "
                "allow fewer elements, or lower max_count, max_atoms or the elements per formula"
            )

    def count(self) -> int:
        """Number of compositions, exactly."""
        return self.classes[-1].first + self.classes[-1].n_compositions

    @property
    def n_sets(self) -> int:
        """Number of element sets with any composition."""
        return self.classes[-1].first_set + self.classes[-1].n_sets

    def _count_classes(self) -> tuple[SetClass, ...]:
        """List the classes that hold compositions, with their numbers."""
        low, high = self.rules.elements_per_formula
        drawn = [own for size in range(low, high + 1) for own in self._list_classes(size)]
        if not drawn:
            raise ValueError(_explain_no_sets(self.rules))
        numbers = count_reduced({own.slots for own in drawn}, self.rules.most_atoms)
        found: list[SetClass] = []
        first_set = first = 0
        for own in drawn:
            if numbers[own.slots]:
                found.append(replace(own, n_vectors=numbers[own.slots], first_set=first_set, first=first))
                first_set += own.n_sets
                first += found[-1].n_compositions
        if not found:
            raise ValueError(_explain_no_compositions(self.rules))
        return tuple(found)

    def _list_classes(self, size: int) -> list[SetClass]:
        """List the classes of sets of `size` elements whose charges may balance, uncounted."""
        found: list[SetClass] = []
        for taken in _take_from_kinds([len(kind.members) for kind in self.kinds], size):
            held = frozenset().union(*(self.kinds[kind].groups for kind, _ in taken))
            slots = tuple(self.kinds[kind].slot for kind, number in taken for _ in range(number))
            if len(held) == len(self.rules.required) and can_balance(slots):
                n_sets = math.prod(math.comb(len(self.kinds[kind].members), number) for kind, number in taken)
                found.append(SetClass(taken, slots, n_sets, 0))
                if len(found) > MAX_CLASSES:
                    raise ValueError(
                        f"the lists of states differ in more than {MAX_CLASSES:,} combinations of {size} elements; "
                        "allow fewer elements per formula, or give like elements the same states"
                    )
        return found

    def sets(self, first: int = 0, last: int | None = None) -> Iterator[ElementSet]:
        """Iterate over the element sets numbered from `first` up to, but not including, `last`.

        All sets of a class follow each other, so that their counts need to be listed once only.
        """
        last = self.n_sets if last is None else min(last, self.n_sets)
        while first < last:
            own = self.classes[self._find_class_of_set(first)]
            end = min(last, own.first_set + own.n_sets, first + 100_000)
            members = self.list_members(own, first - own.first_set, end - own.first_set)
            for number, row in enumerate(members.tolist(), start=first):
                yield ElementSet(
                    number,
                    tuple(self.rules.elements[member] for member in row),
                    own.slots,
                    own.first + (number - own.first_set) * own.n_vectors,
                    own.n_vectors,
                )
            first = end

    def list_members(self, own: SetClass, first: int, last: int) -> IntArray:
        """List element sets of a class as numbers of allowed elements.

        Args:
            own: the class.
            first: first set, from 0 within the class.
            last: first set that is not listed.

        Returns:
            Shape (last - first, k), in the order of the counts.
        """
        return self.pick_members(own, np.arange(first, last, dtype=np.int64))

    def pick_members(self, own: SetClass, numbers: IntArray) -> IntArray:
        """Pick element sets of a class by their `numbers` (n,), from 0 within it; see `list_members`."""
        left = numbers.copy()
        columns: list[IntArray] = []
        for kind, number in reversed(own.taken):
            members = np.array(self.kinds[kind].members, dtype=np.int64)
            ways = math.comb(len(members), number)
            columns.insert(0, members[_unrank_choices(left % ways, len(members), number)])
            left //= ways
        return np.concatenate(columns, axis=1)

    def list_vectors(self, slots: tuple[Slot, ...]) -> Iterator[CountArray]:
        """Iterate over the counts of a class in blocks, each of shape (m, k), in order.

        Args:
            slots: of an element set or of a class.
        """
        if slots in self._small:
            yield _keep_vectors(slots, self.rules.most_atoms)
        else:
            yield from iterate_vector_blocks(slots, self.rules.most_atoms)

    @cached_property
    def _small(self) -> frozenset[tuple[Slot, ...]]:
        """Classes whose counts are kept for a while."""
        return frozenset(own.slots for own in self.classes if own.n_vectors <= KEPT_ROWS)

    def unrank(self, index: int) -> dict[str, int]:
        """Composition number `index`: counts by element.

        Raises:
            IndexError: there are not as many.
        """
        if not 0 <= index < self.count():
            raise IndexError(f"composition {index} of {self.count()}")
        own = self.classes[bisect_right(self._firsts, index) - 1]
        number, row = divmod(index - own.first, own.n_vectors)
        members = self.list_members(own, number, number + 1)[0].tolist()
        counts = self._find_vector(own, row)
        return {
            self.rules.elements[member]: count for member, count in zip(members, counts.tolist(), strict=True)
        }

    def _find_vector(self, own: SetClass, row: int) -> CountArray:
        """Counts number `row` of a class, shape (k,)."""
        slots, number = own.slots, own.n_vectors
        while number > LISTED_ROWS:
            parts = _split_class(slots, self.rules.most_atoms)
            ends = list(accumulate(ways for _, ways in parts))
            place = bisect_right(ends, row)
            slots, number = parts[place]
            row -= ends[place] - number
        found: CountArray = _keep_vectors(slots, self.rules.most_atoms)[row]
        return found

    def rank(self, counts: Mapping[str, int]) -> int:
        """Number of a composition: the inverse of `unrank`.

        Args:
            counts: atoms by element, without a common divisor, in any order.

        Raises:
            ValueError: the composition is none of these, with the reason.
        """
        reason = self.rules.explain_exclusion(counts)
        if reason:
            raise ValueError(reason)
        members = self._sort_members(counts)
        own = self.classes[self._class_numbers[self._count_kinds(members)]]
        number = 0
        for kind, chosen in zip(own.taken, self._split_members(own, members), strict=True):
            known = {member: place for place, member in enumerate(self.kinds[kind[0]].members)}
            places = [known[member] for member in chosen]
            number *= math.comb(len(known), kind[1])
            number += sum(math.comb(place, i + 1) for i, place in enumerate(places))
        vector = np.array([counts[self.rules.elements[member]] for member in members], dtype=np.int16)
        return own.first + number * own.n_vectors + self._find_row(own, vector)

    def _split_members(self, own: SetClass, members: Sequence[int]) -> list[Sequence[int]]:
        """Split the members of a set by kind."""
        ends = list(accumulate(number for _, number in own.taken))
        return [members[end - number : end] for (_, number), end in zip(own.taken, ends, strict=True)]

    def _find_row(self, own: SetClass, vector: CountArray) -> int:
        """Find the row of counts `vector` (k,) among those of its class."""
        slots, number, before = own.slots, own.n_vectors, 0
        while number > LISTED_ROWS:
            parts = _split_class(slots, self.rules.most_atoms)
            place = next(i for i, (part, _) in enumerate(parts) if _allows(part, vector))
            before += sum(ways for _, ways in parts[:place])
            slots, number = parts[place]
        rows = _keep_vectors(slots, self.rules.most_atoms)
        return before + int(np.flatnonzero((rows == vector).all(axis=1))[0])

    def contains(self, counts: Mapping[str, int]) -> bool:
        """True if a composition is one of these; its counts have no common divisor."""
        return not self.rules.explain_exclusion(counts)

    def find_class(self, elements: Iterable[str]) -> tuple[SetClass, tuple[str, ...]] | None:
        """Find the class of an element set, and the elements in the order of the counts.

        Returns None where no composition holds exactly these elements.
        """
        members = self._sort_members(elements)
        own = self._class_numbers.get(self._count_kinds(members))
        if own is None:
            return None
        return self.classes[own], tuple(self.rules.elements[member] for member in members)

    def _sort_members(self, elements: Iterable[str]) -> list[int]:
        """Numbers of allowed elements in the order of the counts."""
        return sorted((self._numbers[name] for name in elements), key=lambda m: (self._kind_of[m], m))

    def _count_kinds(self, members: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Number of elements of each kind, as (kind, number)."""
        kinds = [self._kind_of[member] for member in members]
        return tuple((kind, kinds.count(kind)) for kind in sorted(set(kinds)))

    @cached_property
    def _firsts(self) -> list[int]:
        return [own.first for own in self.classes]

    @cached_property
    def _first_sets(self) -> list[int]:
        return [own.first_set for own in self.classes]

    @cached_property
    def _class_numbers(self) -> dict[tuple[tuple[int, int], ...], int]:
        return {own.taken: number for number, own in enumerate(self.classes)}

    def _find_class_of_set(self, number: int) -> int:
        """Find the class of element set `number`."""
        return bisect_right(self._first_sets, number) - 1


def _sort_into_kinds(rules: CompositionRules) -> tuple[Kind, ...]:
    """Sort the allowed elements into kinds; those with several states come first."""
    members: dict[tuple[bool, Slot, tuple[int, ...]], list[int]] = {}
    for number, name in enumerate(rules.elements):
        slot = rules.slot(name)
        groups = tuple(i for i, group in enumerate(rules.required) if name in group)
        members.setdefault((slot.is_single, slot, groups), []).append(number)
    return tuple(Kind(key[1], frozenset(key[2]), tuple(members[key])) for key in sorted(members))


def _take_from_kinds(sizes: Sequence[int], wanted: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Iterate over the ways to take `wanted` elements from kinds of given sizes, as (kind, number)."""

    def extend(kind: int, left: int) -> Iterator[tuple[tuple[int, int], ...]]:
        if left == 0:
            yield ()
            return
        if kind == len(sizes) or sum(sizes[kind:]) < left:
            return
        for number in range(min(left, sizes[kind]), -1, -1):
            for rest in extend(kind + 1, left - number):
                yield ((kind, number), *rest) if number else rest

    return extend(0, wanted)


def _unrank_choices(numbers: IntArray, size: int, taken: int) -> IntArray:
    """Choices of `taken` from `size` things by their colexicographic `numbers`, shape (m, taken), ascending."""
    found = np.zeros((len(numbers), taken), dtype=np.int64)
    left = numbers.copy()
    for place in range(taken, 0, -1):
        ways = np.array([math.comb(i, place) for i in range(size + 1)], dtype=np.int64)
        found[:, place - 1] = np.searchsorted(ways, left, side="right") - 1
        left -= ways[found[:, place - 1]]
    return found


@lru_cache(maxsize=KEPT_CLASSES)
def _keep_vectors(slots: tuple[Slot, ...], max_atoms: int) -> CountArray:
    """All counts of one class, shape (m, k), read-only."""
    found = np.concatenate(list(iterate_vector_blocks(slots, max_atoms)))
    found.setflags(write=False)
    return found


def _allows(slots: Sequence[Slot], vector: CountArray) -> bool:
    """True if counts (k,) lie within those of the slots."""
    return all(
        slot.counts[0] <= count <= slot.counts[1] for slot, count in zip(slots, vector.tolist(), strict=True)
    )


@lru_cache(maxsize=KEPT_SPLITS)
def _split_class(slots: tuple[Slot, ...], max_atoms: int) -> tuple[tuple[tuple[Slot, ...], int], ...]:
    """Split the counts of a class by those of its first element with several, in order, with the number of each part."""
    place = next(place for place, slot in enumerate(slots) if slot.counts[0] < slot.counts[1])
    low, high = slots[place].counts
    parts = [
        (*slots[:place], replace(slots[place], counts=(count, count)), *slots[place + 1 :])
        for count in range(low, high + 1)
    ]
    numbers = count_reduced(parts, max_atoms)
    return tuple((part, numbers[part]) for part in parts if numbers[part])


def _explain_no_sets(rules: CompositionRules) -> str:
    """Say why no set of allowed elements can hold a neutral formula."""
    low, high = rules.elements_per_formula
    states = [state for own in rules.states.values() for state in own]
    if not any(state < 0 for state in states):
        return (
            "no composition is neutral: no allowed element has a negative state; add an anion such as O: [-2]"
        )
    if not any(state > 0 for state in states):
        return (
            "no composition is neutral: no allowed element has a positive state; add a cation such as Li: [1]"
        )
    return (
        f"no composition is possible: no set of {low} to {high} elements holds "
        + ", ".join(" or ".join(group) for group in rules.required)
        + (" and " if rules.required else "")
        + "charges of both signs; allow more elements per formula, or require fewer"
    )


def _explain_no_compositions(rules: CompositionRules) -> str:
    """Say which rule on counts excludes every composition."""
    remedies: list[tuple[CompositionRules, str]] = []
    if rules.max_atoms is not None:
        remedies.append(
            (replace(rules, max_atoms=None), f"max_atoms {rules.max_atoms} excludes all; raise it")
        )
    if rules.counts:
        remedies.append(
            (
                replace(rules, counts={}, max_atoms=None),
                "the counts of single elements exclude all; widen them",
            )
        )
    if rules.max_count < 2 * 12:
        wider = replace(rules, max_count=2 * 12, max_atoms=None)
        remedies.append((wider, f"max_count {rules.max_count} excludes all; raise it"))
    for wider, reason in remedies:
        try:
            NeutralCompositions(wider)
        except ValueError as error:
            if "can be enumerated" not in str(error):
                continue
        return f"no composition is neutral: {reason}"
    return "no composition is neutral with these states and counts; add states, or widen the counts"
