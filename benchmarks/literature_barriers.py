"""Compounds with migration barriers in the literature, and crystals that stand for them.

The list is `barriers/literature.csv` of the folder that INVDESIGN_BENCHMARK_DATA names (`../shared/data` by default), a
computed barrier per row. A compound is a formula with a space group; its barrier is the lowest of its rows, whatever path,
charge or number of vacancies they are for. A compound is compared where

- it holds lithium, sodium or potassium in its own formula (a dilute ion in a charged host, `Mn2O4(Li)`, has no cell here),
- and a crystal has the same composition and the same space group number: one of the crystals or reference phases in that
  folder (symmetry found within 0.1 Å; of several the lowest above the hull), or else a prototype of the package of that
  space group, each element replaced by the one in the same amount that is most like it, built as the space `substitution`
  builds it: cell lengths follow the ionic radii.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.settings import load
from invdesign.structures.charges import oxidation_states
from invdesign.structures.crystallography import Crystal
from invdesign.structures.prototypes import load_prototypes

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

DATA = Path(
    os.environ.get("INVDESIGN_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
IONS = ("Li", "Na", "K")
SYMPREC = 0.1  # Å
POLYMORPH = re.compile(r"^(a1|a|b|g|d|e|O3|O)-(?=[A-Z])")
REMARK = re.compile(r"\((MV|DV|mono|hex|in-plane|out-of_plane|Pmn21)\)", re.IGNORECASE)
PAIR = re.compile(r"\(DV\)", re.IGNORECASE)  # a pair of vacancies
GUEST = re.compile(r"[(_](Li|Na|K|Mg|Ca|Zn|Al|Sr)\)?$", re.IGNORECASE)
SPELLINGS = {"I42d": "I-42d", "Pbnm": "Pnma", "P21m": "P21/m", "P2/b": "P2/c", "CmCm": "Cmcm"}
OTHER_TYPES = {
    "MARICITE"
}  # families whose compounds share formula and space group with a prototype of another type
SUM = re.compile(r"_chemical_formula_sum\s+'?([^'\n]+)'?")


@dataclass(frozen=True, slots=True)
class Compound:
    """A compound of the literature.

    Attributes:
        formula: reduced.
        spacegroup: its number.
        family: class in the literature's list.
        ion: the one that moves.
        barrier: lowest of its paths, eV.
        hop: eV, where one hop is published, not counting those of pairs of vacancies; else None.
        rows: how many there are.
    """

    formula: str
    spacegroup: int
    family: str
    ion: str
    barrier: float
    hop: float | None
    rows: int

    @property
    def key(self) -> str:
        """`LiCoO2 166`."""
        return f"{self.formula} {self.spacegroup}"


@dataclass(frozen=True, slots=True)
class Match:
    """A compound with the crystal that stands for it; `source` says where that is from, `built` that it was substituted."""

    compound: Compound
    structure: Structure
    source: str
    built: bool


def read_compounds(folder: Path = DATA) -> list[Compound]:
    """All compounds of lithium, sodium and potassium, in the order of the list."""
    rows: dict[tuple[str, int], list[tuple[str, float, bool]]] = {}
    with (folder / "barriers" / "literature.csv").open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            composition, spacegroup = _composition(row["COMPOSITION"]), _spacegroup(row["SPACE GROUP"])
            if composition is None or not spacegroup or not any(ion in composition for ion in IONS):
                continue
            barrier = float(row["MIGRATION BARRIER(eV)"])
            found = rows.setdefault((composition.reduced_formula, spacegroup), [])
            found.append((row["CLASS"].strip(), barrier, PAIR.search(row["COMPOSITION"]) is not None))
    return [_join_rows(formula, spacegroup, found) for (formula, spacegroup), found in rows.items()]


def _join_rows(formula: str, spacegroup: int, rows: Sequence[tuple[str, float, bool]]) -> Compound:
    """One compound from its (class, barrier, of a pair of vacancies)."""
    from pymatgen.core import Composition

    composition = Composition(formula)
    ion = next(ion for ion in IONS if ion in composition)
    hops = [barrier for _, barrier, pair in rows if not pair]
    hop = hops[0] if len(hops) == 1 else None
    return Compound(
        formula, spacegroup, rows[0][0], ion, min(barrier for _, barrier, _ in rows), hop, len(rows)
    )


def count_rows(folder: Path = DATA) -> int:
    """Number of barriers in the list."""
    with (folder / "barriers" / "literature.csv").open(encoding="utf-8-sig", newline="") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def _composition(text: str) -> Composition | None:
    """Composition of a compound as the list writes it; None for a guest in a host, or what is no formula."""
    from pymatgen.core import Composition

    plain = POLYMORPH.sub("", REMARK.sub("", text).strip().rstrip("."))
    if GUEST.search(plain):
        return None
    try:
        found = Composition(plain)
        found.reduced_formula  # noqa: B018 - fails for amounts that are letters
    except (ValueError, KeyError):
        return None
    return found if all(e.symbol for e in found) and found.valid else None


@cache
def _spacegroup(symbol: str) -> int:
    """International Tables number; 0 where the symbol is none."""
    from pymatgen.symmetry.groups import SpaceGroup

    plain = SPELLINGS.get(symbol.strip(), symbol.strip())
    try:
        return int(SpaceGroup(plain).int_number)
    except ValueError:
        return 0


def match_compounds(folder: Path = DATA) -> list[Match]:
    """All compounds for which a crystal stands, the classes in turn and small cells first within each."""
    compounds = read_compounds(folder)
    crystals = _shared_crystals({c.formula for c in compounds}, folder)
    found = []
    for compound in compounds:
        structure, source = crystals.get(compound.key, (None, ""))
        built = structure is None
        if built and compound.family not in OTHER_TYPES:
            structure, source = _decorated(compound)
        if structure is not None:
            found.append(Match(compound, structure, source, built))
    found.sort(key=lambda match: len(match.structure))
    turn: dict[str, int] = {}
    order = []
    for match in found:
        turn[match.compound.family] = turn.get(match.compound.family, 0) + 1
        order.append((turn[match.compound.family], len(match.structure)))
    return [match for _, match in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]


def _shared_crystals(formulas: set[str], folder: Path) -> dict[str, tuple[Structure, str]]:
    """(primitive cell, source) by key of the compound."""
    found: dict[str, tuple[Structure, str]] = {}
    for structure, source in _candidates(formulas, folder):
        number = structure.get_space_group_info(SYMPREC)[1]
        key = f"{structure.composition.reduced_formula} {number}"
        found.setdefault(key, (structure.get_primitive_structure(), source))
    return found


def _candidates(formulas: set[str], folder: Path) -> Iterator[tuple[Structure, str]]:
    """Crystals of some formulas, those lowest above the hull first, reference phases last."""
    import pandas as pd
    from pymatgen.core import Composition

    from invdesign.structures.reading.read import read_structure

    for name in ("mp20_binary_ternary", "mpts52"):
        table = pd.read_csv(folder / "crystals" / f"{name}.csv.gz").sort_values("e_above_hull", kind="stable")
        sums = table["cif"].map(lambda text: SUM.search(text).group(1))  # type: ignore[union-attr]  # each has one
        kept = sums.map(lambda text: Composition(text).reduced_formula).isin(formulas)
        for row in table[kept].itertuples():
            yield read_structure(row.cif, f"{row.material_id}.cif").structure, str(row.material_id)
    for path in sorted((folder / "phases" / "cif").glob("*.cif")):
        structure = read_structure(path.read_text(encoding="utf-8"), path.name).structure
        if structure.composition.reduced_formula in formulas:
            yield structure, path.name


def _decorated(compound: Compound) -> tuple[Structure | None, str]:
    """A prototype of the same space group with the compound's elements; None where there is none."""
    from pymatgen.core import Composition

    wanted = Composition(compound.formula).get_el_amt_dict()
    for name, parent in load_prototypes().items():
        if parent.spacegroup == compound.spacegroup:
            swaps = _replacements(parent, wanted)
            if swaps is not None:
                return _substituted(name, parent, swaps), name
    return None, ""


def _replacements(parent: Crystal, wanted: Mapping[str, float]) -> Mapping[str, str] | None:
    """New element by the parent's own, in the same amounts; those most alike in charge and electronegativity."""
    from pymatgen.core import Composition, Element

    own = Composition(parent.formula).get_el_amt_dict()
    if sorted(own.values()) != sorted(wanted.values()):
        return None

    def unlike(pair: tuple[str, str]) -> float:
        old, new = pair
        nearest = min(abs(a - b) for a in _states(parent, old) for b in oxidation_states(new))
        return nearest + abs(float(Element(old).X) - float(Element(new).X))

    options = [
        dict(zip(own, order, strict=True))
        for order in permutations(wanted)
        if all(own[old] == wanted[new] for old, new in zip(own, order, strict=True))
    ]
    if not options:
        return None
    return min(options, key=lambda option: sum(map(unlike, option.items())))


def _states(parent: Crystal, element: str) -> set[int]:
    """Charges of an element in a prototype, or its common ones where it gives none."""
    given = {site.oxidation_state for site in parent.sites if site.element == element}
    return {state for state in given if state is not None} or set(oxidation_states(element))


def _substituted(name: str, parent: Crystal, swaps: Mapping[str, str]) -> Structure:
    """The primitive cell as the space `substitution` builds it."""
    sites = {
        site.label: {"species": list(dict.fromkeys([swaps[site.element], site.element])), "mixed": False}
        for site in parent.sites
    }
    if all(old == new for old, new in swaps.items()):
        return parent.build_structure(primitive=True)
    fields = {"kind": "substitution", "parent": name, "primitive": True, "charge_neutral": False}
    space = load("spaces", {**fields, "sites": sites})
    genome = {label: options["species"][0] for label, options in sites.items() if len(options["species"]) > 1}
    return space.build(genome).structures["initial"]
