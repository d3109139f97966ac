"""Charge balance of compositions: the best oxidation states, and the remaining charge.

Every element takes one form: an oxidation state, or a unit such as peroxide or azide that all its atoms belong to. At
most one metal is mixed-valent, at any mean between two neighbouring states. Positive nonmetals need partners that are
more electronegative and carry enough charge; beside a metal, halogens and nitrogen need one charge more, since they
are found in oxoanions (ClO4-, IO3-, NO3-) and anions like them (ICl2-, BrF4-).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise, product
from math import gcd, prod

from invdesign.structures.ions import (
    CHALCOGENS,
    HALOGENS,
    UNIT_DEMERIT,
    Form,
    anion_forms,
    cation_forms,
    electronegativity,
    group_valences,
    is_electropositive,
    is_metal,
    is_metalloid,
    is_salt_forming_metal,
    metal_states,
    oxidation_range,
    tetrahedral_states,
)

Counts = tuple[tuple[str, int], ...]
Given = tuple[tuple[str, tuple[int, ...]], ...]
States = dict[str, Fraction]

MAX_LONE_PAIR_OXYGEN = 3  # oxygen per atom in the oxoanions XO3 of nonmetals two below their group's valence
# Oxygen or nitrogen atoms around a metal in a state that is known in such groups alone.
TETRAHEDRAL_NEIGHBOURS = 4
HYDRIDES_PER_BORON = 4  # in BH4-, beside nitrogen with positive hydrogen
ANY_STATE_GAP = 99  # between states that the campaign gives: no limit
MAX_ASSIGNMENTS = 3_000  # combinations of forms of nonmetals to try, 0.1 s; chosen


@dataclass(frozen=True)
class Balance:
    """Best charge balance of a composition.

    Attributes:
        imbalance: |total charge| per formula unit of the counts, in elementary charges.
        states: mean oxidation state by element.
    """

    imbalance: Fraction
    states: Mapping[str, Fraction]


def balance_charges(counts: Mapping[str, int], given: Mapping[str, Sequence[int]] | None = None) -> Balance:
    """Find the forms of all elements with the smallest total charge.

    Among equal ones those with the fewest rare states and units are preferred, then those in which the more
    electronegative elements are the more negative.

    Args:
        counts: atoms by element symbol; zero counts are ignored.
        given: states of some elements, in place of their forms.

    Raises:
        ValueError: no oxidation state of an element is known.
    """
    present = {name: n for name, n in counts.items() if n > 0}
    common = gcd(*present.values()) if present else 1
    key = tuple(sorted((name, n // common) for name, n in present.items()))
    allowed = tuple(
        sorted((name, tuple(sorted(set(s)))) for name, s in (given or {}).items() if name in present)
    )
    found = _find_balance(key, allowed)
    return Balance(found.imbalance * common, found.states)


@lru_cache(maxsize=50_000)
def _find_balance(counts: Counts, given: Given) -> Balance:
    """Balance counts without a common divisor."""
    if len(counts) < 2:
        return Balance(Fraction(0), {name: Fraction(0) for name, _ in counts})
    if not given and (molecule := _balance_molecule(counts)):
        return molecule
    problem = _Problem.from_counts(counts, given)
    assignments = list(problem.iterate_assignments(strict=True)) or list(
        problem.iterate_assignments(strict=False)
    )
    return problem.find_best_balance(assignments)


def _balance_molecule(counts: Counts) -> Balance | None:
    """Balance a molecule of two nonmetals.

    They share electrons in many ratios (CO, P4S3). The more electronegative element has its usual state. Beside
    halogens the other state is one of a molecule with closed shells (PCl5, PCl3, P2Cl4, S2Cl2). Beside hydrogen of 1+
    any state is possible (N2H4, C2H6).
    """
    names = [name for name, _ in counts]
    if len(names) != 2 or any(is_metal(name) or is_metalloid(name) for name in names):
        return None
    atoms = dict(counts)
    first, second = sorted(names, key=electronegativity)
    low, high = oxidation_range(second)[0], oxidation_range(first)[1]
    state = Fraction(-low * atoms[second], atoms[first])
    closed = second not in HALOGENS or state <= 2 or (state - oxidation_range(first)[1]) % 2 == 0
    if low < 0 < high and 0 < state <= high and closed:
        return Balance(Fraction(0), {first: state, second: Fraction(low)})
    state = Fraction(-high * atoms[first], atoms[second])
    if first == "H" and low <= state < 0:
        return Balance(Fraction(0), {first: Fraction(high), second: state})
    return None


def _list_metal_states(name: str, atoms: Mapping[str, int]) -> tuple[tuple[int, float], ...]:
    """List states of a metal with demerits.

    Those of MO4 and MN4 groups need enough O and N.
    """
    hosts = sum(n for other, n in atoms.items() if is_metal(other) and not is_salt_forming_metal(other))
    enough = atoms.get("O", 0) + atoms.get("N", 0) >= TETRAHEDRAL_NEIGHBOURS * hosts
    known = metal_states(name, frozenset(atoms) - {name})
    return tuple(pair for pair in known if enough or pair[0] not in tetrahedral_states(name))


def _split_hydrogen(name: str, atoms: Mapping[str, int]) -> tuple[Form, ...]:
    """Form of hydrogen beside both boron and nitrogen.

    It is hydride in BH4- and positive in NH3, NH2- or NH4+. Examples are Li4BN3H10 and NH4BH4.
    """
    hydride = HYDRIDES_PER_BORON * atoms.get("B", 0)
    if name != "H" or "N" not in atoms or not 0 < hydride < atoms["H"]:
        return ()
    state = Fraction(atoms["H"] - 2 * hydride, atoms["H"])
    return (Form(state, UNIT_DEMERIT, (("B", Fraction(0), 3), ("N", Fraction(0), -3))),)


def _drop_rare_forms(forms: Mapping[str, tuple[Form, ...]]) -> Mapping[str, tuple[Form, ...]]:
    """Drop the rarest forms until few enough combinations remain."""
    kept = {name: list(own) for name, own in forms.items()}
    while prod(map(len, kept.values())) > MAX_ASSIGNMENTS:
        longest = max(kept.values(), key=len)
        longest.remove(max(longest, key=lambda form: form.demerit))
    return {name: tuple(own) for name, own in kept.items()}


@dataclass(frozen=True)
class _Metal:
    """A metal with a state that depends on charge alone.

    Attributes:
        name: symbol.
        count: number of atoms.
        states: (state, demerit), ascending.
        ranges: pairs of states that the mean may lie between, each with its demerit.
    """

    name: str
    count: int
    states: tuple[tuple[int, float], ...]
    ranges: tuple[tuple[tuple[int, float], tuple[int, float]], ...]


@dataclass(frozen=True)
class _Assignment:
    """Forms of all elements but plain metals, with charge and demerit."""

    states: States
    charge: Fraction
    cost: tuple[float, float]


@dataclass(frozen=True)
class _Problem:
    """Metals and forms of the other elements in one composition."""

    counts: Mapping[str, int]
    metals: tuple[_Metal, ...]
    forms: Mapping[str, tuple[Form, ...]]

    @classmethod
    def from_counts(cls, counts: Counts, given: Given) -> _Problem:
        """Sort the elements into metals of free state and elements with listed forms."""
        atoms, stated = dict(counts), dict(given)
        alone = sum(is_metal(name) or is_metalloid(name) for name in atoms) == 1
        metals: list[_Metal] = []
        forms: dict[str, tuple[Form, ...]] = {}
        for name, count in counts:
            others = frozenset(atoms) - {name}
            if name in stated:
                own: tuple[tuple[int, float], ...] = tuple((state, 0.0) for state in stated[name])
                metals.append(_Metal(name, count, own, _find_mixed_ranges(own, ANY_STATE_GAP)))
                continue
            negative = (*anion_forms(name, others), *_split_hydrogen(name, atoms))
            own = _list_metal_states(name, atoms) if is_metal(name) else ()
            if own and not negative:
                mixable = tuple(pair for pair in own if pair[0] not in tetrahedral_states(name))
                metals.append(_Metal(name, count, own, _find_mixed_ranges(mixable, 2 if alone else 1)))
                continue
            positive = () if is_metal(name) else cation_forms(name, others)
            stated_forms = tuple(Form(Fraction(state), demerit) for state, demerit in own)
            forms[name] = (*negative, *stated_forms, *positive)
            if not forms[name]:
                raise ValueError(
                    f"no oxidation state of {name} is known; give some as oxidation_states: {{{name}: [...]}}"
                )
        return cls(atoms, tuple(metals), _drop_rare_forms(forms))

    def iterate_assignments(self, *, strict: bool) -> Iterator[_Assignment]:
        """Yield all choices of forms.

        With `strict` only those that hold the partners they need.
        """
        for chosen in product(*self.forms.values()):
            picked = dict(zip(self.forms, chosen, strict=True))
            if strict and not self._is_plausible(picked):
                continue
            states = {name: form.state for name, form in picked.items()}
            charge = sum((state * self.counts[name] for name, state in states.items()), Fraction(0))
            rare = sum(form.demerit * self.counts[name] for name, form in picked.items())
            yield _Assignment(states, charge, (rare, self._weigh_electronegativity(states)))

    def _weigh_electronegativity(self, states: Mapping[str, Fraction]) -> float:
        """Sum of charge times electronegativity.

        Low where electronegative elements are negative.
        """
        return sum(float(s) * self.counts[name] * electronegativity(name) for name, s in states.items())

    def _is_plausible(self, picked: Mapping[str, Form]) -> bool:
        """True if these forms are chemically possible together."""
        if not self._is_hydride_plausible(picked):
            return False
        return all(
            self._has_partners(name, form, picked)
            and (form.state.numerator <= 0 or self._is_charge_covered(name, picked))
            for name, form in picked.items()
        )

    def _is_hydride_plausible(self, picked: Mapping[str, Form]) -> bool:
        """False for hydride beside peroxide or an incompatible oxide.

        Oxide is compatible without metals, or with electropositive ones alone.
        """
        if "H" not in picked or picked["H"].state >= 0:
            return True
        chalcogens = [form.state for name, form in picked.items() if name in CHALCOGENS]
        if any(-2 < state < 0 for state in chalcogens):
            return False
        metals = [name for name in self.counts if is_metal(name)]
        return "O" not in picked or all(map(is_electropositive, metals)) or not metals

    def _has_partners(self, name: str, form: Form, picked: Mapping[str, Form]) -> bool:
        """True if a unit's other atoms are present in the right states.

        Water or ammonia may come besides.
        """
        if not form.partners:
            return True
        count = self.counts[name]
        needed = {partner: ratio * count for partner, ratio, _ in form.partners}
        hydrogen = max(self.counts.get("H", 0) - needed.get("H", Fraction(0)), Fraction(0))
        beside = {"O": hydrogen / 2, "N": hydrogen / 3, "H": hydrogen}  # water, ammonia
        for partner, _, state in form.partners:
            excess = self.counts.get(partner, 0) - needed[partner]
            if excess < 0 or (partner in picked and picked[partner].state != state):
                return False
            if form.exact and excess > beside.get(partner, 0):
                return False
        return "O" not in needed or "H" not in picked or picked["H"].state > 0

    def _is_charge_covered(self, name: str, picked: Mapping[str, Form]) -> bool:
        """True if more electronegative anions balance a positive nonmetal.

        They must carry the charges of all nonmetals at least as electronegative, too. No anion is less
        electronegative than a positive nonmetal: there is no phosphide beside iodate.
        """
        if is_metal(name):
            return True
        in_units = {name for form in picked.values() for name, *_ in form.partners}
        in_units |= {other for other, form in picked.items() if form.partners}
        if name in in_units:
            return True
        if not self._is_oxygen_plausible(name, picked[name].state):
            return False
        own = _anion_rank(name)
        if name != "H" and not is_metalloid(name):
            reducing = (
                other for other, form in picked.items() if form.state.numerator < 0 and not form.partners
            )
            if any(_anion_rank(other) < own for other in reducing):
                return False
        anions = [
            other for other, form in picked.items() if form.state.numerator < 0 and _anion_rank(other) > own
        ]
        if name in HALOGENS or name in {"S", "Se", "N"}:
            anions = [other for other in anions if other in HALOGENS or other == "O"]
        carried = -sum(picked[other].state * self.counts[other] for other in anions)
        asked, salt = Fraction(0), any(map(is_metal, self.counts))
        for other, form in picked.items():
            charged = form.state.numerator > 0 and not is_metal(other)
            if charged and other not in in_units and _anion_rank(other) >= own:
                spare = 1 if salt and (other == "N" or other in HALOGENS) else 0
                asked += (form.state + spare) * self.counts[other]
        return carried >= asked

    def _is_oxygen_plausible(self, name: str, state: Fraction) -> bool:
        """False for oxide ions beside a nonmetal that would bind them.

        With salt-forming metals alone the lower oxoanions end at XO3 (sulfite, selenite, arsenite), those of halogens
        at ClO-, ClO2-, ClO3-: more oxygen belongs to the higher ones. Phosphorus at 3+ needs its own units
        (phosphonate) where there is a metal, and oxygen alone where there is none.
        """
        metals = [other for other in self.counts if is_metal(other)]
        oxygen = self.counts.get("O", 0)
        if name == "P" and state == 3:
            return not metals and (not oxygen or len(self.counts) == 2)
        top = group_valences(name)[0] if group_valences(name) else state
        if (
            state == top
            or name in {"N", "Te"}
            or "H" in self.counts
            or not (metals and all(map(is_salt_forming_metal, metals)))
        ):
            return True
        if state < 4 and name in CHALCOGENS:
            return False
        most = (state + 1) / 2 if name in HALOGENS else MAX_LONE_PAIR_OXYGEN
        return oxygen <= most * self.counts[name]

    def find_best_balance(self, assignments: Sequence[_Assignment]) -> Balance:
        """Find the assignment with the smallest total charge.

        Args:
            assignments: forms of the other elements to choose from.
        """
        whole = _sum_charges(self.metals)
        partial = [
            (metal, _sum_charges([other for other in self.metals if other is not metal]))
            if metal.ranges
            else None
            for metal in self.metals
        ]
        found: tuple[tuple[Fraction, float, float], States] | None = None
        for assignment in assignments:
            options = _rank_single_states(assignment, whole)
            for part in filter(None, partial):
                options = [*options, *_rank_mixed_valence(assignment, *part)]
            for rank, states in options:
                if found is None or rank < found[0]:
                    found = rank, {**assignment.states, **states}
        if found is None:
            raise ValueError(f"no oxidation states of {', '.join(self.counts)} are known")
        return Balance(found[0][0], {name: found[1][name] for name in self.counts})


Sums = Mapping[int, tuple[tuple[float, float], tuple[tuple[str, int], ...]]]
Ranked = tuple[tuple[Fraction, float, float], States]


def _anion_rank(name: str) -> float:
    """Rank of an anion by electronegativity.

    Metalloids count as less electronegative than every nonmetal and tellurium.
    """
    value = electronegativity(name)
    return value if not is_metalloid(name) or name == "Te" else min(value, 2.0)


def _find_mixed_ranges(
    states: Sequence[tuple[int, float]], widest: int
) -> tuple[tuple[tuple[int, float], tuple[int, float]], ...]:
    """Neighbouring states of one sign at most `widest` apart."""
    return tuple(
        (low, high) for low, high in pairwise(states) if low[0] * high[0] > 0 and high[0] - low[0] <= widest
    )


def _sum_charges(metals: Sequence[_Metal]) -> Sums:
    """Total charges of metals in single states.

    Each has the least demerit and the states that give it.
    """
    sums: dict[int, tuple[tuple[float, float], tuple[tuple[str, int], ...]]] = {0: ((0.0, 0.0), ())}
    for metal in metals:
        wider: dict[int, tuple[tuple[float, float], tuple[tuple[str, int], ...]]] = {}
        pull = electronegativity(metal.name)
        for total, ((rare, pulled), states) in sums.items():
            for state, demerit in metal.states:
                charge = total + state * metal.count
                cost = rare + demerit * metal.count, pulled + state * metal.count * pull
                if charge not in wider or cost < wider[charge][0]:
                    wider[charge] = cost, (*states, (metal.name, state))
        sums = wider
    return sums


def _rank_single_states(assignment: _Assignment, sums: Sums) -> list[Ranked]:
    """Rank an assignment with every metal in a single state."""
    found = []
    for total, (cost, states) in sums.items():
        rank = _add_costs(abs(assignment.charge + total), assignment.cost, cost)
        found.append((rank, {name: Fraction(state) for name, state in states}))
    return found


def _rank_mixed_valence(assignment: _Assignment, metal: _Metal, sums: Sums) -> list[Ranked]:
    """Rank an assignment with one mixed-valent metal."""
    found = []
    for total, (cost, states) in sums.items():
        wanted = -(assignment.charge + total) / metal.count
        for (low, first), (high, second) in metal.ranges:
            mean = min(max(wanted, Fraction(low)), Fraction(high))
            share = float((mean - low) / (high - low))
            pull = float(mean) * metal.count * electronegativity(metal.name)
            own = cost[0] + ((1 - share) * first + share * second) * metal.count, cost[1] + pull
            rank = _add_costs(abs(mean - wanted) * metal.count, assignment.cost, own)
            found.append((rank, {**{name: Fraction(state) for name, state in states}, metal.name: mean}))
    return found


def _add_costs(
    left: Fraction, first: tuple[float, float], second: tuple[float, float]
) -> tuple[Fraction, float, float]:
    """Rank of a balance: remaining charge, then demerit, then electronegativity."""
    return left, round(first[0] + second[0], 9), round(first[1] + second[1], 9)
