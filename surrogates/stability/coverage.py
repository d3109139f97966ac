"""Coverage of a reference set: gaps in chemical systems where compounds are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import combinations
from typing import Final

from invdesign.errors import MissingReferenceError
from invdesign.structures.formulas import tidy_formula
from invdesign.wording import list_first
from surrogates.stability.reference import ReferenceSet, Skipped

COMPOUND_TABLE: Final = "known_compounds.tsv"
LISTED_SYSTEMS: Final = 10  # chemical systems in a note; `invdesign reference show` lists all; chosen

FORMER_SETS: Final = frozenset({"527b3f6d39fc01857be30513a67455e6"})
"""Hashes of shipped sets from before the table. `is_required_by_former_rule` judges them, so that a resumed run says what it would have
said: their phases were chosen by that rule, and their energies never change."""

IONIC_DIFFERENCE: Final = 1.0  # of Pauling electronegativities; of the former rule
BINARY_FORMERS: Final = frozenset({"O", "S", "Se", "Te", "F", "Cl", "Br", "I"})

System = tuple[str, ...]
"""Symbols of a chemical system, sorted."""


@dataclass(frozen=True, slots=True)
class KnownCompound:
    """A compound of the table.

    Attributes:
        formula: reduced, or the substance's name where the source gives no formula.
        source: where it is from, as `Materials Project mp-736`.
    """

    formula: str
    source: str

    def __str__(self) -> str:
        return f"{self.formula} ({self.source})"


@cache
def known_compounds() -> Mapping[System, tuple[KnownCompound, ...]]:
    """Known compounds by chemical system of two or three elements.

    The best known come first.

    Source:
        The head of `references/known_compounds.tsv`, which `benchmarks/known_compounds.py` made.
    """
    text = files("surrogates").joinpath("references", COMPOUND_TABLE).read_text(encoding="utf-8")
    lines = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {tuple(system.split()): tuple(map(_parse_compound, named)) for system, *named in lines}


def _parse_compound(text: str) -> KnownCompound:
    formula, source = text.split(" ", 1)
    kind, _, number = source.partition(":")
    if source == "mp" or source.startswith("mp-"):
        source = "Materials Project" + source.removeprefix("mp").replace("-", " mp-", 1)
    elif kind in {"cas", "aflow"}:
        source = f"CRC Handbook, CAS {number}" if kind == "cas" else f"AFLOW prototype {number}"
    return KnownCompound(formula.replace("_", " "), source)


@dataclass(frozen=True, slots=True)
class Gap:
    """A chemical system with known compounds, but none in the reference set.

    Attributes:
        system: two or three elements.
        known: compounds of exactly these elements; empty where a former rule asks.
    """

    system: System
    known: tuple[KnownCompound, ...] = ()

    def __str__(self) -> str:
        *first, last = self.system
        kind = "a binary compound" if len(self.system) == 2 else "a compound"
        known = f" (known: {'; '.join(map(str, self.known[:1]))})" if self.known else ""
        return f"{kind} of {', '.join(first)} and {last}{known}"


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps of a reference set in some chemical systems.

    Attributes:
        elements: without an elemental phase, sorted.
        binaries: pairs without a phase.
        ternaries: triples without a phase.
        phases: single phases left out of the set, with the reason: known ones without a source, and those that did not relax.
    """

    elements: tuple[str, ...]
    binaries: tuple[Gap, ...]
    ternaries: tuple[Gap, ...]
    phases: tuple[Skipped, ...]

    def without(self, others: Gaps) -> Gaps:
        """Gaps that are not among `others`."""
        return Gaps(
            tuple(item for item in self.elements if item not in others.elements),
            tuple(item for item in self.binaries if item not in others.binaries),
            tuple(item for item in self.ternaries if item not in others.ternaries),
            tuple(item for item in self.phases if item not in others.phases),
        )


def find_gaps(reference: ReferenceSet, elements: Iterable[str] | None = None) -> Gaps:
    """Everything that a reference set lacks in a chemical system.

    Args:
        reference: the set.
        elements: symbols of the system; None for the systems that the set is made for, or that of all its elements.
    """
    if elements is not None:
        systems = [frozenset(elements)]
    else:
        systems = [frozenset(system.split("-")) for system in reference.systems] or [
            _held_elements(reference)
        ]
    return Gaps(
        tuple(sorted({gap for system in systems for gap in missing_elements(reference, system)})),
        tuple(dict.fromkeys(gap for system in systems for gap in missing_binaries(reference, system))),
        tuple(dict.fromkeys(gap for system in systems for gap in missing_ternaries(reference, system))),
        tuple(item for item in reference.skipped if _is_of_systems(item, systems)),
    )


def _held_elements(reference: ReferenceSet) -> frozenset[str]:
    """Elements of all phases."""
    return frozenset(element for phase in reference.phases for element in phase.composition)


def _is_of_systems(item: Skipped, systems: Iterable[frozenset[str]]) -> bool:
    """True if a phase that was left out belongs to one of some systems, or if its formula is not known."""
    from pymatgen.core import Composition

    if not item.formula:
        return True
    elements = {element.symbol for element in Composition(item.formula)}
    return any(elements <= system for system in systems)


def missing_elements(reference: ReferenceSet, elements: Iterable[str]) -> list[str]:
    """Elements without an elemental phase in the set, sorted.

    Args:
        reference: the set.
        elements: symbols of the chemical system.
    """
    return sorted(set(elements) - reference.elements)


def missing_binaries(reference: ReferenceSet, elements: Iterable[str]) -> list[Gap]:
    """Pairs of elements with a known binary compound and none in the set.

    Args:
        reference: the set; one of `FORMER_SETS` is judged by the rule of its time.
        elements: symbols of the chemical system.
    """
    pairs = (
        pair for pair in combinations(sorted(set(elements)), 2) if frozenset(pair) not in reference.binaries
    )
    if reference.hash in FORMER_SETS:
        return [Gap(pair) for pair in pairs if is_required_by_former_rule(*pair)]
    known = known_compounds()
    return [Gap(pair, known[pair]) for pair in pairs if pair in known]


def missing_ternaries(reference: ReferenceSet, elements: Iterable[str]) -> list[Gap]:
    """Triples of elements with a known ternary compound and none in the set.

    Args:
        reference: the set.
        elements: symbols of the chemical system.
    """
    allowed = set(elements)
    held = {tuple(sorted(phase.composition)) for phase in reference.phases}
    return [
        Gap(system, known)
        for system, known in known_compounds().items()
        if len(system) == 3 and allowed.issuperset(system) and system not in held
    ]


def require_coverage(reference: ReferenceSet, elements: Iterable[str]) -> None:
    """Refuse a chemical system whose hull lacks an element or binary edge.

    A binary edge is required where a compound of the two elements is known, stable or not: without one,
    everything on that edge would look stable against the bare elements. Ternary compounds are not required
    (`missing_ternaries`).

    Args:
        reference: the set.
        elements: symbols of the chemical system.

    Raises:
        MissingReferenceError: names the gap, a known compound with its source, and the remedy.
    """
    wanted = sorted(set(elements))
    missing = [f"the element {element}" for element in missing_elements(reference, wanted)]
    missing += [str(gap) for gap in missing_binaries(reference, wanted)]
    if missing:
        raise MissingReferenceError(
            f"the reference set '{reference.name}' lacks {', '.join(missing)}: a distance to its hull would mean "
            "nothing here. Leave an element out of the search space, or build a set that has such a phase "
            "(`invdesign reference build`)"
        )


@lru_cache(maxsize=4096)
def is_required_by_former_rule(first: str, second: str) -> bool:
    """True if the rule before the table requires a compound of two elements.

    That is metal with chalcogen or halogen, or Pauling electronegativities that differ by 1.

    Args:
        first: symbol of one element.
        second: symbol of the other.
    """
    from pymatgen.core import Element

    a, b = Element(first), Element(second)
    if (a.is_metal and second in BINARY_FORMERS) or (b.is_metal and first in BINARY_FORMERS):
        return True
    return bool(abs(a.X - b.X) >= IONIC_DIFFERENCE)


@lru_cache(maxsize=64)
def coverage_notes(
    reference: ReferenceSet, elements: frozenset[str] | None = None, told: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Sentences on the gaps of `reference` in a chemical system.

    They name candidates that fail, and those that may look too stable.

    Args:
        reference: the set.
        elements: of the search space; None where they are not known.
        told: elements of a system whose gaps are told elsewhere, and left out here.
    """
    if elements is None and not reference.systems:
        elements = reference.elements
    gaps = find_gaps(reference, elements)
    if told:
        gaps = gaps.without(find_gaps(reference, told))
    bare = set(gaps.elements)
    refused = {frozenset(gap.system) for gap in gaps.binaries}
    open_ternaries = [
        gap
        for gap in gaps.ternaries
        if bare.isdisjoint(gap.system) and not any(pair <= set(gap.system) for pair in refused)
    ]
    edges = [gap for gap in gaps.binaries if bare.isdisjoint(gap.system)]
    binaries, ternaries = (_sort_by_abundance(reference, found) for found in (edges, open_ternaries))
    lacking = [item.name for item in gaps.phases if item.formula]
    notes = []
    if bare:
        notes.append(
            f"the reference set '{reference.name}' has no elemental phase of {', '.join(sorted(bare))}: candidates with "
            f"{'it' if len(bare) == 1 else 'one of them'} fail"
        )
    if binaries:
        pairs = list_first(
            [f"{' and '.join(gap.system)}{_describe_example(gap)}" for gap in binaries], LISTED_SYSTEMS
        )
        notes.append(
            f"the reference set '{reference.name}' has no compound of {pairs}: candidates with both elements fail"
        )
    if ternaries:
        named = list_first([tidy_formula(gap.known[0].formula) for gap in ternaries], LISTED_SYSTEMS)
        notes.append(
            f"these known compounds are not in the set: {named}. The reference set '{reference.name}' holds no compound of the "
            "same three elements, so candidates that hold all three may look more stable than they are; `invdesign reference show` "
            "lists sources"
        )
    if lacking:
        notes.append(
            f"the reference set '{reference.name}' lacks these phases: {list_first(lacking, LISTED_SYSTEMS)}. Candidates that "
            "would decompose into them may look more stable than they are; `invdesign reference show` gives the reasons"
        )
    return tuple(notes)


def _describe_example(gap: Gap) -> str:
    return f" ({tidy_formula(gap.known[0].formula)} is known)" if gap.known else ""


def _sort_by_abundance(reference: ReferenceSet, gaps: Sequence[Gap]) -> list[Gap]:
    """Sort the gaps, those between elements of most phases first.

    A set of lithium phases is for lithium compounds.
    """
    counts = Counter(element for phase in reference.phases for element in phase.composition)
    return sorted(gaps, key=lambda gap: -sum(counts[element] for element in gap.system))
