"""Charge-balanced decorations of a framework, distinct up to symmetry.

A decoration is an array of codes, one per variable: the position of the variable's species among its options.
A variable is one site, or all sites of a group that takes a single species.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import add, sub

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.structures.charges import charge_imbalance
from invdesign.structures.symmetry import are_smallest_images, count_cycle_types, find_smallest_image

Key = tuple[int, ...]  # total charge of single-valent ions, then the number of atoms of each mixed-valent ion

MAX_COUNT_STEPS = 1_000_000  # chosen; additions of one count, about a second
MAX_FILLS = 2_000_000  # chosen; decorations, symmetric images included, that are tested one by one
MAX_SYMMETRY_WORK = 1_000_000_000  # chosen; fills x symmetry operations x variables, about five seconds
MAX_LISTED = 200_000  # chosen; distinct decorations kept in memory


@dataclass(frozen=True, slots=True)
class Ion:
    """Element with the oxidation states it may take.

    `states` is empty where charges do not matter.
    """

    element: str
    states: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """One position of a genome: the sites it decides and their options.

    Attributes:
        group: name of the site group.
        sites: of the framework; more than one where the group takes a single species.
        options: ions to choose from, in the order that variables with the same ones share.
    """

    group: str
    sites: tuple[int, ...]
    options: tuple[Ion, ...]


@dataclass(frozen=True, eq=False)
class Decorations:
    """All decorations of a framework.

    Attributes:
        variables: n of them, at least one.
        fixed: ions that never change, with their number of atoms.
        permutations: shape (g, n), the group of permutations that symmetry allows.
        charge_neutral: whether charges must balance.
    """

    variables: tuple[Variable, ...]
    fixed: tuple[tuple[Ion, int], ...]
    permutations: IntArray
    charge_neutral: bool

    @cached_property
    def radices(self) -> tuple[int, ...]:
        """Number of options of each variable."""
        return tuple(len(variable.options) for variable in self.variables)

    @cached_property
    def fills(self) -> int:
        """Number of decorations, symmetric images and unbalanced ones included."""
        return math.prod(self.radices)

    @cached_property
    def ions(self) -> tuple[Ion, ...]:
        """All ions of options and fixed sites, without repeats."""
        options = [ion for variable in self.variables for ion in variable.options]
        return tuple(dict.fromkeys([*options, *(ion for ion, _ in self.fixed)]))

    @cached_property
    def _mixed_valent_ions(self) -> tuple[Ion, ...]:
        """Ions with a choice of charge.

        A charge balance depends on the number of atoms of each of these, and on the total charge of all others.
        """
        return tuple(ion for ion in self.ions if len(ion.states) > 1)

    def _build_ion_key(self, ion: Ion, count: int) -> Key:
        """Key of `count` atoms of one ion."""
        if len(ion.states) == 1:
            return (ion.states[0] * count, *([0] * len(self._mixed_valent_ions)))
        return (0, *(count if ion == other else 0 for other in self._mixed_valent_ions))

    @cached_property
    def _fixed_key(self) -> Key:
        """Key of the sites that do not vary."""
        total: Key = (0,) * (1 + len(self._mixed_valent_ions))
        for ion, count in self.fixed:
            total = _add_keys(total, self._build_ion_key(ion, count))
        return total

    @cached_property
    def _option_keys(self) -> tuple[tuple[Key, ...], ...]:
        """Key contributed by each option of each variable."""
        return tuple(
            tuple(self._build_ion_key(ion, len(variable.sites)) for ion in variable.options)
            for variable in self.variables
        )

    @cached_property
    def _imbalance_cache(self) -> dict[Key, int]:
        return {}

    def _find_key_imbalance(self, key: Key) -> int:
        """Smallest |total charge| of atoms with this key.

        0 where charges do not matter.
        """
        if not self.charge_neutral:
            return 0
        if key not in self._imbalance_cache:
            counts = {"": 1, **{str(i): count for i, count in enumerate(key[1:])}}
            states = {"": (key[0],), **{str(i): ion.states for i, ion in enumerate(self._mixed_valent_ions)}}
            self._imbalance_cache[key] = charge_imbalance(counts, states)
        return self._imbalance_cache[key]

    def _sum_key(self, codes: Sequence[int]) -> Key:
        """Key of a whole decoration."""
        chosen = (deltas[code] for deltas, code in zip(self._option_keys, codes, strict=True))
        return tuple(map(sum, zip(self._fixed_key, *chosen, strict=True)))

    def find_imbalance(self, codes: IntArray) -> int:
        """Smallest distance of a decoration's charges from balance, in elementary charges.

        Args:
            codes: the decoration, shape (n,).
        """
        return self._find_key_imbalance(self._sum_key(codes.tolist()))

    def to_canonical(self, codes: IntArray) -> IntArray:
        """Smallest symmetric image of the decoration `codes`, shape (n,)."""
        return find_smallest_image(codes, self.permutations, max(self.radices))

    def balance_charges(self, codes: IntArray, cost: FloatArray) -> IntArray | None:
        """Find a charge-neutral decoration near `codes`.

        Changes one variable at a time: the one that brings the charge nearest to balance, the cheapest among equals.
        Where no single change helps, each variable in turn takes its cheapest choice that can still be balanced.

        Args:
            codes: shape (n,).
            cost: shape (n, most options); price of choosing an option, infinite where it must not change.

        Returns:
            Shape (n,), or None where none is found.
        """
        chosen = codes.tolist()
        key = self._sum_key(chosen)
        now = self._find_key_imbalance(key)
        while now:
            step = self._find_best_step(chosen, key, cost)
            if step is None or step[0] >= now:
                return self._fill_in_turn(codes, cost)
            now, variable, code, key = step
            chosen[variable] = code
        return np.asarray(chosen, dtype=np.int64)

    def _find_best_step(
        self, chosen: Sequence[int], key: Key, cost: FloatArray
    ) -> tuple[int, int, int, Key] | None:
        """Best single change: (imbalance after, variable, code, key after).

        The cheapest among equals. Variables of one class and with one code change the key alike, so that only their
        prices are compared.
        """
        members: dict[tuple[int, int], list[int]] = {}
        for variable, pair in enumerate(zip(self.classes, chosen, strict=True)):
            members.setdefault(pair, []).append(variable)
        steps: dict[int, list[tuple[list[int], int, Key]]] = {}
        for (kind, old), variables in members.items():
            deltas = self._class_option_keys[kind]
            rest = tuple(map(sub, key, deltas[old]))
            for code, delta in enumerate(deltas):
                if delta != deltas[old]:
                    after = _add_keys(rest, delta)
                    steps.setdefault(self._find_key_imbalance(after), []).append((variables, code, after))
        for imbalance in sorted(steps):
            found = [
                (float(prices.min()), variables[int(prices.argmin())], code, after)
                for variables, code, after in steps[imbalance]
                for prices in (cost[variables, code],)
            ]
            price, variable, code, after = min(found)
            if price < math.inf:
                return imbalance, variable, code, after
        return None

    @cached_property
    def _completions(self) -> tuple[dict[Key, int], ...] | None:
        """Ways to complete each key to balance, by number of decided variables.

        None where that would take too many steps.
        """
        reached: list[dict[Key, int]] = [{self._fixed_key: 1}]
        steps = 0
        for deltas in self._option_keys:
            steps += len(reached[-1]) * len(deltas)
            if steps > MAX_COUNT_STEPS:
                return None
            reached.append({_add_keys(key, delta): 1 for key in reached[-1] for delta in deltas})
        # Counted backwards from the balanced totals, only for keys that the first variables can reach.
        ways = [{key: 1 for key in reached[-1] if self._find_key_imbalance(key) == 0}]
        for keys, deltas in zip(reached[-2::-1], reversed(self._option_keys), strict=True):
            later = ways[-1]
            counts = {key: sum(later.get(_add_keys(key, delta), 0) for delta in deltas) for key in keys}
            ways.append({key: count for key, count in counts.items() if count})
        return tuple(reversed(ways))

    def _fill_in_turn(self, codes: IntArray, cost: FloatArray) -> IntArray | None:
        """Take the cheapest choice that can still be balanced, variable by variable."""
        if self._completions is None:
            return None
        key, filled = self._fixed_key, []
        for variable, deltas in enumerate(self._option_keys):
            price = cost[variable].tolist()
            price[codes[variable]] = -1.0  # keeping the present code is cheapest
            order = sorted((p, code) for code, p in enumerate(price[: len(deltas)]) if p < math.inf)
            later = self._completions[variable + 1]
            code = next((c for _, c in order if _add_keys(key, deltas[c]) in later), None)
            if code is None:
                return None
            key = _add_keys(key, deltas[code])
            filled.append(code)
        return np.asarray(filled, dtype=np.int64)

    def sample(self, rng: Rng) -> IntArray | None:
        """Draw a neutral decoration (n,) with the generator `rng`.

        Every one is equally likely, symmetric images counted as different. Where the ways to balance are too many to count, a
        random fill is drawn and its charges are balanced; None where that fails.
        """
        if self._completions is None:
            codes = np.asarray([int(rng.random() * radix) for radix in self.radices], dtype=np.int64)
            return self.balance_charges(codes, rng.random((len(codes), max(self.radices))))
        key = self._fixed_key
        drawn: list[int] = []
        for deltas, later in zip(self._option_keys, self._completions[1:], strict=True):
            ways = [later.get(_add_keys(key, delta), 0) for delta in deltas]
            # Counts may exceed the range of floats, so the draw is made in whole numbers, from 53 random bits.
            draw = (int(rng.random() * 2**53) * sum(ways)) >> 53
            code = 0
            while draw >= ways[code]:
                draw -= ways[code]
                code += 1
            drawn.append(code)
            key = _add_keys(key, deltas[code])
        return np.asarray(drawn, dtype=np.int64)

    @cached_property
    def example(self) -> IntArray | None:
        """One neutral decoration (n,); None where none is found.

        In a very large space one may exist all the same.
        """
        rng = np.random.Generator(np.random.Philox(key=0))
        if self._completions is not None:
            return self.sample(rng) if self._completions[0] else None
        tries = (self.sample(rng) for _ in range(100))
        return next((codes for codes in tries if codes is not None), None)

    @cached_property
    def size(self) -> int | None:
        """Exact number of distinct neutral decorations, by Burnside's lemma.

        A permutation leaves those decorations as they are that are constant on its cycles; these are counted by
        charge and number of mixed-valent ions. None where that would take more than `MAX_COUNT_STEPS` additions.
        """
        steps = total = 0
        for cycles, times in count_cycle_types(self.permutations, self.classes).items():
            fixed = {self._fixed_key: 1}
            for number, length in cycles:
                deltas = [tuple(length * part for part in delta) for delta in self._class_option_keys[number]]
                steps += len(fixed) * len(deltas)
                if steps > MAX_COUNT_STEPS:
                    return None
                fixed = _add_options(fixed, deltas)
            total += times * sum(count for key, count in fixed.items() if self._find_key_imbalance(key) == 0)
        return total // len(self.permutations)

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """Class number of each variable.

        Variables of one class have the same options and as many sites.
        """
        numbers: dict[tuple[tuple[Ion, ...], int], int] = {}
        kinds = [(variable.options, len(variable.sites)) for variable in self.variables]
        return tuple(numbers.setdefault(kind, len(numbers)) for kind in kinds)

    @cached_property
    def _class_option_keys(self) -> dict[int, tuple[Key, ...]]:
        return dict(zip(self.classes, self._option_keys, strict=True))

    @cached_property
    def countable(self) -> bool:
        """True if the distinct decorations fit the limits of memory and time."""
        work = self.fills * len(self.permutations) * len(self.variables)
        if self.fills > MAX_FILLS or work > MAX_SYMMETRY_WORK:
            return False
        return self.size is not None and self.size <= MAX_LISTED

    @cached_property
    def _weights(self) -> IntArray:
        """Place values that pack a decoration into one number, shape (n,).

        Packed numbers are in lexicographic order of the decorations; the number of fills must be small.
        """
        after = [math.prod(self.radices[i + 1 :]) for i in range(len(self.radices))]
        return np.asarray(after, dtype=np.int64)

    @cached_property
    def packed_decorations(self) -> IntArray:
        """All distinct neutral decorations, packed and ascending.

        Only where `countable`.
        """
        kept = [self._list_distinct(start) for start in range(0, self.fills, ROWS_PER_BLOCK)]
        return np.concatenate(kept)

    def unpack(self, packed: IntArray) -> IntArray:
        """Decorations (m, n) from their `packed` numbers (m,)."""
        radices = np.asarray(self.radices, dtype=np.int64)
        codes: IntArray = packed[:, None] // self._weights[None, :] % radices[None, :]
        return codes

    def _list_distinct(self, start: int) -> IntArray:
        """Distinct neutral decorations of one block, packed."""
        packed = np.arange(start, min(start + ROWS_PER_BLOCK, self.fills), dtype=np.int64)
        codes = self.unpack(packed)
        if self.charge_neutral:
            neutral = self._are_neutral(codes)
            packed, codes = packed[neutral], codes[neutral]
        return packed[are_smallest_images(codes, self.permutations, self._weights)]

    def _are_neutral(self, codes: IntArray) -> NDArray[np.bool_]:
        """Check which decorations (m, n) are neutral, shape (m,)."""
        keys = np.tile(np.asarray(self._fixed_key, dtype=np.int64), (len(codes), 1))
        for variable, deltas in enumerate(self._option_keys):
            keys += np.asarray(deltas, dtype=np.int64)[codes[:, variable]]
        different, which = np.unique(keys, axis=0, return_inverse=True)
        balanced = [self._find_key_imbalance(tuple(key)) == 0 for key in different.tolist()]
        return np.asarray(balanced, dtype=np.bool_)[which.ravel()]


ROWS_PER_BLOCK = 200_000  # chosen; decorations tested at once


def _add_keys(a: Key, b: Key) -> Key:
    return tuple(map(add, a, b))


def _add_options(counts: dict[Key, int], deltas: Sequence[Key]) -> dict[Key, int]:
    """Numbers of ways to reach each key after one more choice."""
    found: dict[Key, int] = {}
    for key, count in counts.items():
        for delta in deltas:
            total = _add_keys(key, delta)
            found[total] = found.get(total, 0) + count
    return found
