"""Write the table of known compounds that says which binary edges a reference set must have.

`python benchmarks/known_compounds.py CHEMICALS SHARED` writes `surrogates/references/known_compounds.tsv`. CHEMICALS is the
folder `chemicals` of the package of that name (1.5.2, MIT; `pip download --no-deps chemicals`, then unpack the wheel), SHARED a
folder with `crystals/`, `elasticity/` and `phases/` (Materials Project, CC BY 4.0) and `obelix/`. Sources, in this order:

- crystals of the Materials Project that are measured: those marked so (`theoretical` false), and those with numbers of its first
  releases, which were filled from the Inorganic Crystal Structure Database (`FIRST_RELEASES`);
- solid electrolytes of OBELiX (CC BY 4.0), whose conductivity was measured;
- the prototypes of the AFLOW Library of Crystallographic Prototypes, as pymatgen ships them (MIT), each a measured crystal;
- substances of the CRC Handbook of Chemistry and Physics ("Physical Constants of Inorganic Compounds", and "Standard
  Thermodynamic Properties" where solid or liquid), by their CAS numbers, as `chemicals` has them. Of a substance whose formula
  `chemicals` does not know the name tells the two elements, and stands for it;
- `TEXTBOOK`: compounds that none of these has.

Compounds that were only ever computed are left out: nobody would find them, and a hull without them is that of measured phases.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pymatgen.core import Composition, Element

OUTPUT = Path(__file__).parents[1] / "surrogates" / "references" / "known_compounds.tsv"
ELEMENTS = frozenset(Element.from_Z(z).symbol for z in range(1, 95))
FIRST_RELEASES = ((1, 32_000), (500_000, 700_000))
FAR = 0.2  # eV/atom above the hull of the Materials Project: high-pressure phases, radicals, faulty entries
WHOLE = 1e-6  # of an amount in a formula
STABLE = 0.01  # eV/atom above that hull, at most, of compounds that are named first
KEPT = {2: 3, 3: 2}  # compounds per chemical system, by its number of elements

GREENWOOD = "N. N. Greenwood and A. Earnshaw, Chemistry of the Elements, 2nd ed. (1997), chapter"
ZINTL = "E. Zintl and G. Brauer, Z. phys. Chem. B 20, 245 (1933)"
TEXTBOOK = {
    "Li2Se": f"{GREENWOOD} 16", "Li2Te": f"{GREENWOOD} 16", "SiSe2": f"{GREENWOOD} 9", "B2Se3": f"{GREENWOOD} 6",
    "SbH3": f"{GREENWOOD} 13", "ZnH2": f"{GREENWOOD} 3", "GdH2": f"{GREENWOOD} 3", "NI3": f"{GREENWOOD} 11",
    "KC8": f"{GREENWOOD} 8", "RbC8": f"{GREENWOOD} 8", "CsC8": f"{GREENWOOD} 8", "Cu2C2": f"{GREENWOOD} 8",
    "Ag2C2": f"{GREENWOOD} 8", "KSi": f"{GREENWOOD} 9", "CsSi": f"{GREENWOOD} 9", "NaGe": f"{GREENWOOD} 10",
    "CsGe": f"{GREENWOOD} 10", "SmN": f"{GREENWOOD} 30", "LaSe": f"{GREENWOOD} 30", "CeTe": f"{GREENWOOD} 30",
    "NaIn": ZINTL, "Ag3Sn": "C. W. Fairhurst and J. B. Cohen, Acta Cryst. B 28, 371 (1972)",
    "TaP": "J.-O. Willerström, J. Less-Common Met. 99, 273 (1984)",
}  # fmt: skip
"""Known compounds of pairs that the other sources lack: formula and source."""

ORDER = ("crystals", "phases", "elasticity", "prototypes", "electrolytes", "substances", "textbook", "names")
"""Kinds of sources, those with a structure first."""

HEADER = """\
# Known compounds of two and three elements: facts, one chemical system a line, stable and well-known compounds first.
# mp-..., mp: Materials Project, A. Jain et al., APL Mater. 1, 011002 (2013), CC BY 4.0; measured crystals only.
# doi:...: solid electrolytes measured there, as OBELiX lists them, F. Therrien et al., arXiv:2502.14234 (2025), CC BY 4.0.
# cas:...: CRC Handbook of Chemistry and Physics, by CAS number, through the package chemicals 1.5.2 (MIT).
# aflow:...: AFLOW Library of Crystallographic Prototypes, M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017).
# Other sources are written out. Made by benchmarks/known_compounds.py.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """One statement that a compound is known.

    Attributes:
        formula: the substance's name where only that is known.
        system: its elements, sorted.
        source: where the statement is from.
        kind: of the source.
        above: eV/atom above the hull of the Materials Project; None where not known.
    """

    formula: str
    system: tuple[str, ...]
    source: str
    kind: str
    above: float | None = None

    @property
    def reduced(self) -> str:
        """What is the same for all statements on the same compound."""
        return self.formula if "_" in self.formula else str(Composition(self.formula).reduced_formula)


def _known(formula: str, source: str, kind: str, above: float | None = None) -> Known | None:
    try:
        composition = Composition(formula)
        amounts = composition.get_el_amt_dict()
    except ValueError:
        return None
    if not 2 <= len(amounts) <= 3 or not amounts.keys() <= ELEMENTS:
        return None
    return Known(_spelled(formula, kind), tuple(sorted(amounts)), source, kind, above)


def _spelled(formula: str, kind: str) -> str:
    """The formula as the field writes it: of a molecule's own size where a handbook has it, reduced elsewhere."""
    if kind == "textbook":
        return formula
    composition = Composition(formula)
    if kind == "substances":
        text = composition.hill_formula if composition.chemical_system == "C-H" else composition.formula
        return re.sub(r"(?<=[A-Za-z])1(?= |$)", "", text).replace(" ", "")
    return str(composition.reduced_formula)


def is_of_first_releases(mp_id: str) -> bool:
    """True for numbers of the Materials Project's first releases."""
    prefix, _, number = mp_id.partition("-")
    return prefix == "mp" and any(low <= int(number) < high for low, high in FIRST_RELEASES)


def read_crystals(shared: Path) -> Iterator[Known | None]:
    """Measured crystals of the Materials Project."""
    with gzip.open(shared / "crystals" / "mpts52.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            above = float(row["e_above_hull"])
            if row["theoretical"] == "False" and above <= FAR:
                formula = re.search(r"^data_(\S+)", row["cif"], re.MULTILINE)
                assert formula is not None
                yield _known(formula[1], row["material_id"], "crystals", above)
    with gzip.open(shared / "crystals" / "mp20_binary_ternary.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            above = float(row["e_above_hull"])
            if is_of_first_releases(row["material_id"]):
                yield _known(row["pretty_formula"], row["material_id"], "crystals", above)
    with (shared / "phases" / "index.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found = re.search(r"mp-\d+", row["source"])
            if found is not None and " in mp20" not in row["source"]:
                yield _known(row["formula"], found[0], "phases")
            elif re.match("github:(materialsproject|materialsvirtuallab|CompRhys)/", row["source"]):
                yield _known(row["formula"], "mp", "phases")
    with gzip.open(shared / "elasticity" / "binaries.json.gz", "rt") as stream:
        for item in json.load(stream):
            if is_of_first_releases(item["mp_id"]):
                yield _known(item["formula"], item["mp_id"], "elasticity")


def read_electrolytes(shared: Path) -> Iterator[Known | None]:
    """Solid electrolytes with a measured conductivity and whole amounts."""
    with (shared / "obelix" / "train.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            amounts = Composition(row["Reduced Composition"]).get_el_amt_dict().values()
            if row["DOI"] and all(abs(amount - round(amount)) < WHOLE for amount in amounts):
                yield _known(row["Reduced Composition"], f"doi:{row['DOI'].split('|')[0]}", "electrolytes")


def read_prototypes() -> Iterator[Known | None]:
    """Crystals after which structure types are named."""
    import pymatgen.analysis.prototypes as home

    path = Path(home.__file__).parent / "aflow_prototypes.json.gz"
    with gzip.open(path, "rt") as stream:
        for item in json.load(stream):
            species = [site["species"] for site in item["snl"]["sites"]]
            if any(len(part) > 1 or part[0]["occu"] != 1 for part in species):
                continue
            counts: dict[str, int] = defaultdict(int)
            for part in species:
                counts[part[0]["element"]] += 1
            formula = "".join(f"{symbol}{count}" for symbol, count in counts.items())
            yield _known(formula, f"aflow:{item['tags']['aflow']}", "prototypes")


def read_substances(chemicals: Path) -> Iterator[Known | None]:
    """Substances of the CRC Handbook."""
    formulas = _formulas(chemicals / "Identifiers")
    handbook = chemicals / "Misc" / "Physical Constants of Inorganic Compounds.csv"
    thermodynamic = (
        chemicals / "Heat Capacity" / "CRC Standard Thermodynamic Properties of Chemical Substances.tsv"
    )
    condensed = [row for row in _rows(thermodynamic) if row["Hfs"] or row["Hfl"]]
    for row in (*_rows(handbook), *condensed):
        source = f"cas:{row['CAS']}"
        formula = formulas.get(row["CAS"])
        if formula is None:
            yield _named(row["Chemical"], source)
        elif not re.search(r"[+-]", formula):
            yield _known(formula, source, "substances")


def _formulas(folder: Path) -> dict[str, str]:
    """Formulas by CAS number."""
    found: dict[str, str] = {}
    for name in ("chemical identifiers pubchem large", "chemical identifiers pubchem small", "Inorganic db"):
        for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
            fields = line.split("\t")
            found.setdefault(fields[1], fields[2])
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


ANIONS = {
    "hydride": "H", "boride": "B", "carbide": "C", "nitride": "N", "azide": "N", "oxide": "O", "peroxide": "O",
    "superoxide": "O", "fluoride": "F", "silicide": "Si", "phosphide": "P", "sulfide": "S", "chloride": "Cl",
    "arsenide": "As", "selenide": "Se", "bromide": "Br", "stannide": "Sn", "antimonide": "Sb", "telluride": "Te",
    "iodide": "I",
}  # fmt: skip
NAME = re.compile(
    rf"(\w+)(?:\([IVX,]+\))? (?:mono|di|tri|tetra|penta|hexa|sesqui)?({'|'.join(ANIONS)})(?: \(\w+\))?",
    re.IGNORECASE,
)


def _named(name: str, source: str) -> Known | None:
    """A substance known by its name alone, as `Boron sulfide`."""
    symbols = {Element.from_Z(z).long_name: Element.from_Z(z).symbol for z in range(1, 84)}
    symbols |= {"Aluminum": "Al", "Cesium": "Cs", "Sulfur": "S"}
    found = NAME.fullmatch(name)
    if found is None or found[1] not in symbols:
        return None
    system = tuple(sorted({symbols[found[1]], ANIONS[found[2].lower()]}))
    return Known(name.replace(" ", "_"), system, source, "names") if len(system) == 2 else None


def read_textbook() -> Iterator[Known | None]:
    """Compounds from textbooks."""
    for formula, source in TEXTBOOK.items():
        yield _known(formula, source, "textbook")


def sort_statements(statements: Iterable[Known]) -> list[Known]:
    """One statement per compound of a system: stable compounds, those that most sources name, simple ones."""
    by_formula: dict[str, list[Known]] = defaultdict(list)
    for item in statements:
        by_formula[item.reduced].append(item)

    def place(items: list[Known]) -> tuple[bool, int, float, int]:
        above = min((item.above for item in items if item.above is not None), default=None)
        kinds = {item.kind for item in items}
        late = len(kinds - {"names", "textbook"}) == 0 or (above is not None and above > STABLE)
        return late, -len(kinds), 0.0 if above is None else above, len(items[0].reduced)

    def best(items: list[Known]) -> Known:
        first = min(items, key=lambda item: (ORDER.index(item.kind), item.above or 0.0))
        spelled = min(items, key=lambda item: item.kind != "substances").formula
        return replace(first, formula=spelled)

    return [best(items) for items in sorted(by_formula.values(), key=place)]


def make_table(chemicals: Path, shared: Path) -> str:
    """The table's text: a line per system, pairs first."""
    everything = (
        *read_crystals(shared),
        *read_prototypes(),
        *read_electrolytes(shared),
        *read_substances(chemicals),
        *read_textbook(),
    )
    by_system: dict[tuple[str, ...], list[Known]] = defaultdict(list)
    for item in everything:
        if item is not None:
            by_system[item.system].append(item)
    lines = []
    for system in sorted(by_system, key=lambda system: (len(system), system)):
        named = sort_statements(by_system[system])[: KEPT[len(system)]]
        lines.append("\t".join([" ".join(system), *(f"{item.formula} {item.source}" for item in named)]))
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    csv.field_size_limit(1 << 30)
    warnings.filterwarnings("ignore", message="No Pauling electronegativity")
    OUTPUT.write_text(make_table(Path(sys.argv[1]), Path(sys.argv[2])), encoding="utf-8")
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes")
