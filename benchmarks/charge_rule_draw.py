"""Draw the compounds of `truth_tasks/charge_rule.py`: `python benchmarks/charge_rule_draw.py DATA`, DATA with the crystals.

Writes `charge_rule_compounds.csv`: ten compounds of each of ten classes, of up to four elements that batteries are made of,
and 500 more of any class and any elements, at random with a fixed seed. Crystals are those of the Materials Project that the ICSD holds, up to
25 meV/atom above the hull, from the split mpts52 (CC BY 4.0; A. Jain et al., APL Mater. 1, 011002 (2013)); electrodes are
the charged and discharged formulas of voltage/pairs.csv. Classes are defined by elements and bond lengths, not by charges.
"""

from __future__ import annotations

import csv
import gzip
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from pymatgen.core import Composition, Element, Structure

SEED = 20261203
EACH = 10
MORE = 500
NEAR = 0.025  # eV/atom
OUT = Path(__file__).with_name("charge_rule_compounds.csv")
# Elements that electrodes, electrolytes and their neighbours in the literature of batteries are made of.
BATTERY = {
    "H",
    "Li",
    "Be",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "Cl",
    "K",
    "Ca",
    "Sc",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Ga",
    "Ge",
    "As",
    "Se",
    "Br",
    "Rb",
    "Sr",
    "Y",
    "Zr",
    "Nb",
    "Mo",
    "Ag",
    "Cd",
    "In",
    "Sn",
    "Sb",
    "Te",
    "I",
    "Cs",
    "Ba",
    "La",
    "Hf",
    "Ta",
    "W",
    "Bi",
}
MOST_ELEMENTS = 4
HALOGENS = {"F", "Cl", "Br", "I"}
CHALCOGENS = {"S", "Se", "Te"}
CENTRES = {"B", "C", "N", "Si", "P", "As", "S", "Se", "Te", "Cl", "Br", "I"}
# Å, between atoms of one molecule or chain: O2 2-, S2 2-, Se2 2-, Te2 2-; C-C, C-N and N-N of multiple bonds.
BONDS = {("O", "O"): 1.60, ("S", "S"): 2.25, ("Se", "Se"): 2.60, ("Te", "Te"): 3.00}
SHORT = {("C", "C"): 1.35, ("C", "N"): 1.35, ("N", "N"): 1.35}


def kinds_of(elements: set[str]) -> tuple[set[str], set[str]]:
    """(metals, others); metalloids are others."""
    metals = {e for e in elements if Element(e).is_metal}
    return metals, elements - metals


def is_bonded(structure: Structure, lengths: dict[tuple[str, str], float]) -> bool:
    """True if two atoms are as close as one of these bonds."""
    first, second, _, distance = structure.get_neighbor_list(max(lengths.values()), exclude_self=True)
    symbols = [site.specie.symbol for site in structure]
    pairs = {tuple(sorted((symbols[i], symbols[j]))): 0.0 for i, j in zip(first, second, strict=True)}
    return any(
        d <= lengths.get(tuple(sorted((symbols[i], symbols[j]))), 0.0)  # type: ignore[call-overload]
        for i, j, d in zip(first, second, distance, strict=True)
    ) and bool(pairs)


def class_of(elements: set[str], read: Callable[[], Structure]) -> str | None:
    """The class of a crystal; None for those in none of them."""
    metals, others = kinds_of(elements)
    metalloids = {e for e in others if Element(e).is_metalloid}
    if not metals:
        return None
    if others == metalloids:
        return None if others & {"Te"} else "alloys and Zintl phases"
    if len(others) == 1 and others < {"O", "S", "Se", "Te"}:
        if is_bonded(read(), BONDS):
            return "peroxides and polychalcogenides"
        return "oxides" if others == {"O"} else "chalcogenides"
    if others <= CHALCOGENS | metalloids and others & CHALCOGENS:
        return "chalcogenides"
    if others <= HALOGENS:
        return "halides"
    if others <= {"N", "P"} and not is_bonded(read(), SHORT):
        return "nitrides and phosphides"
    if "H" in others and others <= {"H", "B", "N"} and (others != {"H", "N"}):
        return "hydrides"
    if ("C" in others and others <= {"C", "N"}) or others == {"N"}:
        return "acetylides, cyanides, azides" if is_bonded(read(), SHORT) else None
    if "O" in others and others & CENTRES and others <= {"O", "H"} | CENTRES:
        return "oxoanion salts"
    return None


def crystals(data: Path) -> Iterator[tuple[str, str, str]]:
    """(id, formula, CIF) of the known crystals near the hull."""
    csv.field_size_limit(10**9)
    with gzip.open(data / "crystals" / "mpts52.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["theoretical"] == "False" and float(row["e_above_hull"]) <= NEAR:
                formula = next(
                    line.split()[-1].strip("'")
                    for line in row["cif"].splitlines()
                    if line.startswith("_chemical_formula_structural")
                )
                yield row["material_id"], Composition(formula).reduced_formula, row["cif"]


def draw(data: Path) -> list[tuple[str, str, str]]:
    """(class, formula, source) of all compounds."""
    rng = random.Random(SEED)
    known: dict[str, tuple[str, str]] = {}
    for identity, formula, cif in crystals(data):
        known.setdefault(formula, (identity, cif))
    order = sorted(known)
    rng.shuffle(order)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for formula in order:
        identity, cif = known[formula]
        elements = set(Composition(formula).get_el_amt_dict())
        if not elements <= BATTERY or len(elements) > MOST_ELEMENTS:
            continue
        kind = class_of(elements, lambda cif=cif: Structure.from_str(cif, fmt="cif"))  # type: ignore[misc]
        if kind is not None and len(found.setdefault(kind, [])) < EACH:
            found[kind].append((kind, formula, identity))
        if len(found) == EACH - 1 and all(len(rows) == EACH for rows in found.values()):
            break
    rows = [row for kind in sorted(found) for row in found[kind]]
    with (data / "voltage" / "pairs.csv").open(encoding="utf-8") as file:
        pairs = [(row["formula_charge"], row["formula_discharge"]) for row in csv.DictReader(file)]
    electrodes = sorted({Composition(formula).reduced_formula for pair in pairs for formula in pair})
    rng.shuffle(electrodes)
    rows += [("electrodes", formula, "voltage_mining_model_demo") for formula in electrodes[:EACH]]
    taken = {formula for _, formula, _ in rows}
    more = [formula for formula in order if formula not in taken and len(Composition(formula)) > 1]
    rng.shuffle(more)
    return rows + [("any", formula, known[formula][0]) for formula in more[:MORE]]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with OUT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "formula", "source"))
        writer.writerows(draw(Path(sys.argv[1])))
