"""Write the list of battery phases from published crystals: one YAML file, every phase with its source.

`python benchmarks/reference_lists.py SHARED` writes `surrogates/references/battery-phases.yaml`. SHARED is a folder with
`phases/` (symmetrised files of ordered crystals, `index.csv` with their sources), `crystals/` (Materials Project, CC BY 4.0, with
energies above its hull) and `elasticity/` (the same, binary compounds). A phase of one of `SYSTEMS` is taken

- from `phases/`, unless its origin cannot be named (`UNTRACED`);
- from the package's prototypes (`PROTOTYPES`) and those of the AFLOW library (`AFLOW`), where they are the measured crystal itself;
- from `crystals/`, if it was measured and is at most `MAX_ABOVE` above the hull, the lowest `POLYMORPHS` of a formula; or if
  `NAMED` names it;
- from `elasticity/`, which knows no hull, up to `FILLERS` of a formula, if it was measured and no other source has a phase of the
  formula within `STABLE` of the hull.

A crystal that is there twice, or in the set that this one extends, is left out. Every entry is built again from its text and
compared with the crystal it was made from. `LACKING` names phases that are known, but without a source of coordinates.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pymatgen.analysis.prototypes
from known_compounds import is_of_first_releases
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from reference_systems import AFLOW, FORMULAS, LACKING, MODELS, NAMED, PROTOTYPES, SYSTEMS

from invdesign.errors import InvdesignError
from invdesign.structures.crystallography import Crystal, Site, read_crystals
from invdesign.structures.symmetry import symmetry_dataset

REFERENCES = files("surrogates").joinpath("references")
OUTPUT = Path(str(REFERENCES)) / "battery-phases.yaml"
BASE = "lithium-chalcohalides.yaml"
HANDMADE = Path(__file__).with_name("reference_models.yaml")
MAX_ABOVE = (
    0.05  # eV/atom above the hull of the Materials Project: what a potential may place on its own hull
)
POLYMORPHS = {
    1: 1,
    2: 2,
}  # crystals of one formula from tables, lowest first, by number of elements; 2 for more
FILLERS = 4  # crystals of one formula from a table that knows no hull: the potential finds the lowest
STABLE = 0.005  # eV/atom above the hull: the form of ambient conditions may be another beyond it
MAX_ATOMS = 80  # in the primitive cell, of crystals from tables: a relaxation of more takes minutes
TOLERANCES = (0.01, 0.05, 0.1)  # Å, for symmetry; the first that gives the stated space group
UNTRACED = ("njszym", "zjyyy88", "lgps.cif")
"""Files of which no origin can be named: two repositories, and an ordered cell of Li10GeP2S12."""

HEADER = """\
# Competing phases of battery chemistries: published crystallography, one position per orbit of the standard setting (origin
# choice 1, hexagonal axes). Made by benchmarks/reference_lists.py; do not edit, but change the script. Positions from the
# Materials Project (A. Jain et al., APL Mater. 1, 011002 (2013), CC BY 4.0), from tables made of it (named with them) and from
# OBELiX (F. Therrien et al., arXiv:2502.14234 (2025), CC BY 4.0) were symmetrised and rounded. `Model` marks a phase known to exist
# whose coordinates were taken from a related compound: an upper bound for its energy. The set extends lithium-chalcohalides, whose
# phases are not repeated here.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A crystal that may enter the list.

    Attributes:
        structure: ordered.
        source: for people.
        group: stated number of the space group; None where the file states none.
        mp_id: of the Materials Project, where known.
        above: eV/atom above its hull, where known.
        title: a line for people.
        filler: True if it is wanted only where no stable crystal has its formula.
    """

    structure: Structure
    source: str
    group: int | None = None
    mp_id: str = ""
    above: float | None = None
    title: str = ""
    filler: bool = False

    @property
    def formula(self) -> str:
        return str(self.structure.composition.reduced_formula)

    @property
    def is_stable(self) -> bool:
        """True unless it is a filler, or known to be unstable."""
        return not self.filler and (self.above or 0.0) <= STABLE

    @property
    def elements(self) -> frozenset[str]:
        return frozenset(element.symbol for element in self.structure.composition)


# --- sources ---------------------------------------------------------------------------------------------


def read_files(shared: Path) -> Iterator[Found]:
    """Crystals of `phases/` with a source that can be named."""
    with (shared / "phases" / "index.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"]]
    for row in rows:
        if not any(name in row["source"] for name in UNTRACED):
            yield Found(
                Structure.from_file(shared / "phases" / row["file"]),
                describe_source(row["source"]),
                int(row["spacegroup"]),
                _first_id(row["source"]),
            )


def describe_source(text: str) -> str:
    """The source of a file as the list gives it: where the crystal is from, not the way it came."""
    if mp_id := _first_id(text):
        return f"Materials Project {mp_id} (CC BY 4.0)"
    tables = {
        "matbench_dielectric": "matbench_dielectric (A. Dunn et al., doi:10.1038/s41524-020-00406-3)",
        "matbench_phonons": "matbench_phonons (A. Dunn et al., doi:10.1038/s41524-020-00406-3)",
        "elastic_tensor_2015": "elastic_tensor_2015 of matminer",
        "MP-PBE-Element-Refs": "elemental references of MatCalc",
    }
    for name, table in tables.items():
        if name in text:
            return f"Materials Project (CC BY 4.0), table {table}"
    if "JVASP-21031" in text:
        return "JARVIS-DFT JVASP-21031 (NIST)"
    if text.startswith("OBELiX"):
        return f"{text} (CC BY 4.0, arXiv:2502.14234)"
    if text.startswith("textbook: "):
        return "R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (Interscience, New York, 1963)"
    raise ValueError(f"no source in {text}")


def _first_id(text: str) -> str:
    found = re.search(r"mp-\d+", text)
    return found[0] if found else ""


def read_prototypes() -> Iterator[Found]:
    """Prototypes of the package that are measured crystals of a phase themselves."""
    prototypes = read_crystals(files("invdesign").joinpath("structures", "prototypes.yaml"))
    for name in PROTOTYPES:
        crystal = prototypes[name]
        structure = crystal.build_structure()
        structure.remove_oxidation_states()
        yield Found(
            Structure(structure.lattice, [site.specie for site in structure], structure.frac_coords),
            crystal.source,
            crystal.spacegroup,
            _first_id(crystal.source),
        )
    with gzip.open(
        Path(pymatgen.analysis.prototypes.__file__).parent / "aflow_prototypes.json.gz", "rt"
    ) as stream:
        items = {item["tags"]["aflow"]: item["snl"] for item in json.load(stream)}
    for label, paper in AFLOW.items():
        source = f"{paper}; AFLOW Library of Crystallographic Prototypes {label}"
        yield Found(_strip(Structure.from_dict(items[label])), source, int(label.split("_")[2]))


def read_tables(shared: Path, systems: Sequence[frozenset[str]]) -> Iterator[Found]:
    """Crystals of the Materials Project in one of `systems`: measured ones, and those of `NAMED`."""
    folder = shared / "crystals"
    for name in ("mpts52.csv.gz", "mp20_binary_ternary.csv.gz"):
        with gzip.open(folder / name, "rt") as stream:
            for row in csv.DictReader(stream):
                mp_id, above = row["material_id"], float(row["e_above_hull"])
                known = row["theoretical"] == "False" if "theoretical" in row else is_of_first_releases(mp_id)
                named = mp_id in NAMED
                elements = _elements_of(row["cif"])
                if (named or (known and above <= MAX_ABOVE)) and _is_within(elements, systems):
                    yield Found(
                        Structure.from_str(row["cif"], fmt="cif"),
                        f"Materials Project {mp_id} (CC BY 4.0)",
                        None,
                        mp_id,
                        above,
                        NAMED[mp_id] if named and not known else "",
                    )
    with gzip.open(shared / "elasticity" / "binaries.json.gz", "rt") as stream:
        for item in json.load(stream):
            elements = frozenset(re.findall(r"[A-Z][a-z]?", item["formula"]))
            if is_of_first_releases(item["mp_id"]) and _is_within(elements, systems):
                yield Found(
                    Structure.from_dict(item["structure"]),
                    f"Materials Project {item['mp_id']} (CC BY 4.0)",
                    mp_id=item["mp_id"],
                    filler=True,
                )


def _elements_of(cif: str) -> frozenset[str]:
    found = re.search(r"^data_(\S+)", cif, re.MULTILINE)
    assert found is not None
    return frozenset(element.symbol for element in Composition(found[1]))


def _is_within(elements: frozenset[str], systems: Iterable[frozenset[str]]) -> bool:
    return any(elements <= system for system in systems)


# --- the choice ------------------------------------------------------------------------------------------


def choose_phases(
    candidates: Iterable[Found], base: Sequence[Found], systems: Sequence[frozenset[str]]
) -> list[Found]:
    """Crystals of the systems, none twice.

    Args:
        candidates: those that come first win over later ones of the same structure.
        base: crystals of the set that is extended.
        systems: elements of each.
    """
    matcher = StructureMatcher()
    kept: dict[str, list[Found]] = defaultdict(list)
    for item in base:
        kept[item.formula].append(item)
    chosen = []
    for item in candidates:
        same = kept[item.formula]
        if item.filler and any(other.is_stable for other in same):
            continue
        if len(item.elements) == 1 and same and same[0] in base:
            continue
        if not _is_within(item.elements, systems) or (
            item.mp_id and any(item.mp_id in s.source for s in same)
        ):
            continue
        if any(matcher.fit(item.structure, other.structure) for other in same):
            continue
        same.append(item)
        chosen.append(item)
    return chosen


def sort_crystals(crystals: Iterable[Crystal], systems: Sequence[frozenset[str]]) -> list[Crystal]:
    """Crystals by the first system that holds them, then by number of elements and formula; those of no system are left out."""

    def place(crystal: Crystal) -> tuple[int, int, str]:
        elements = {site.element for site in crystal.sites}
        first = next((number for number, system in enumerate(systems) if elements <= system), -1)
        return first, len(elements), str(Composition(crystal.formula).reduced_formula)

    return sorted((crystal for crystal in crystals if place(crystal)[0] >= 0), key=place)


def limit_tables(found: Iterable[Found]) -> list[Found]:
    """The lowest polymorphs of every formula in the tables."""
    by_formula: dict[str, list[Found]] = defaultdict(list)
    seen: set[str] = set()
    for item in sorted(found, key=lambda item: (item.above is None, item.above or 0.0)):
        small = len(item.structure.get_primitive_structure()) <= MAX_ATOMS
        if item.mp_id not in seen and small:
            by_formula[item.formula].append(item)
            seen.add(item.mp_id)
    kept: list[Found] = []
    for items in by_formula.values():
        known = [item for item in items if not item.filler]
        fillers = [item for item in items if item.filler]
        kept += [*known[: POLYMORPHS.get(len(items[0].elements), 2)], *fillers[:FILLERS]]
    return kept


def read_base() -> list[Found]:
    """Crystals of the set that the list extends."""
    crystals = read_crystals(REFERENCES.joinpath(BASE))
    return [Found(_strip(crystal.build_structure()), crystal.source) for crystal in crystals.values()]


def _strip(structure: Structure) -> Structure:
    return Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)


def make_models(chosen: Iterable[Found]) -> Iterator[tuple[str, Found]]:
    """Crystals of a known type by exchange of elements, with their names."""
    pool = list(chosen)
    for name, model in MODELS.items():
        parent = next(
            (item for item in pool if item.formula == model.relative and model.words in item.source), None
        )
        if parent is None:  # of no system of the list
            continue
        structure = parent.structure.copy()
        structure.replace_species(dict(model.exchange))
        exchanged = " and ".join(f"{new} for {old}" for old, new in model.exchange.items())
        remark = f"; {model.remark}" if model.remark else ""
        source = f"Model: {model.relative} ({parent.source}) with {exchanged}{remark}"
        yield name, Found(structure, source, parent.group)


# --- the text --------------------------------------------------------------------------------------------


def describe_crystal(name: str, item: Found) -> Crystal:
    """One position per orbit of the standard setting, checked against the crystal it was made from."""
    dataset = find_symmetry(item)
    lattice = Lattice(dataset.std_lattice)
    again = symmetry_dataset(dataset.std_lattice, dataset.std_positions, dataset.std_types, TOLERANCES[0])
    symbols = _symbols_by_number(item.structure)
    orbits: dict[int, list[int]] = defaultdict(list)
    for place, orbit in enumerate(again.crystallographic_orbits.tolist()):
        orbits[orbit].append(place)
    elements = [symbols[int(dataset.std_types[first])] for first in orbits]
    counted: Counter[str] = Counter()
    sites = []
    for (first, members), symbol in zip(orbits.items(), elements, strict=True):
        counted[symbol] += 1
        label = symbol if elements.count(symbol) == 1 else f"{symbol}{counted[symbol]}"
        position = tuple(_round_fraction(float(x)) for x in dataset.std_positions[first])
        sites.append(
            Site(
                label=label,
                element=symbol,
                wyckoff=f"{len(members)}{again.wyckoffs[first]}",
                position=position,
            )
        )
    crystal = Crystal(
        name=name,
        formula=FORMULAS.get(item.formula, item.formula),
        title=item.title,
        spacegroup=int(dataset.number),
        cell=tuple(round(float(x), 4) for x in lattice.parameters),
        sites=tuple(sites),
        source=item.source,
    )
    require_same(crystal, item)
    return crystal


def find_symmetry(item: Found) -> Any:
    """Dataset of spglib at the first tolerance that gives the stated space group; the tightest where none is stated."""
    numbers = [site.specie.Z for site in item.structure]
    cell = (item.structure.lattice.matrix, item.structure.frac_coords, numbers)
    sets = [symmetry_dataset(*cell, tolerance) for tolerance in TOLERANCES]
    return next((found for found in sets if found.number == item.group), sets[0 if item.group else 1])


def _symbols_by_number(structure: Structure) -> dict[int, str]:
    return {site.specie.Z: site.specie.symbol for site in structure}


def _round_fraction(value: float) -> float:
    return round(value % 1.0, 5) % 1.0 + 0.0


def require_same(crystal: Crystal, item: Found) -> None:
    """Refuse an entry that does not give the crystal it was made from."""
    structure = _strip(crystal.build_structure(primitive=True))
    original = item.structure.get_primitive_structure()
    found = symmetry_dataset(
        structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure]
    ).number
    if found != crystal.spacegroup or not StructureMatcher().fit(structure, original):
        raise ValueError(f"{crystal.name}: the entry gives another crystal (space group {found})")


def name_phase(item: Found, taken: Iterable[str]) -> str:
    """Formula and space group; with the number of the source where a name is taken."""
    group = find_symmetry(item).international
    formula = FORMULAS.get(item.formula, item.formula)
    name = f"{formula}-{group}"
    if name not in taken:
        return name
    others = (f"{name}-{n}" for n in range(2, 100))
    return f"{name}-{item.mp_id}" if item.mp_id else next(other for other in others if other not in taken)


def write_entry(crystal: Crystal) -> str:
    """The YAML of one crystal, in the form of the other lists."""
    lines = [f"  - name: {crystal.name}", f"    formula: {crystal.formula}"]
    if crystal.title:
        lines.append(f"    title: {crystal.title}")
    numbers = ", ".join(f"{x:g}" if x == round(x) else f"{x:.4f}" for x in crystal.cell)
    lines += [f"    spacegroup: {crystal.spacegroup}", f"    cell: [{numbers}]", "    sites:"]
    for site in crystal.sites:
        position = ", ".join(f"{x:.5f}".rstrip("0").rstrip(".") for x in site.position)
        lines.append(
            f"      - {{label: {site.label}, element: {site.element}, wyckoff: {site.wyckoff}, position: [{position}]}}"
        )
    return "\n".join([*lines, f"    source: {json.dumps(crystal.source, ensure_ascii=False)}"])


def write_list(shared: Path) -> str:
    """The whole file."""
    systems = [frozenset(system.split("-")) for system in SYSTEMS]
    base = read_base()
    tables = limit_tables(read_tables(shared, systems))
    chosen = choose_phases([*read_files(shared), *read_prototypes(), *tables], base, systems)
    named: dict[str, Found] = {}
    for item in chosen:
        named[name_phase(item, named)] = item
    crystals = []
    for name, item in [*named.items(), *make_models(chosen)]:
        try:
            crystals.append(describe_crystal(name, item))
        except (InvdesignError, ValueError) as error:
            print(f"left out: {name} ({item.source}): {error}", file=sys.stderr)
    crystals += read_crystals(HANDMADE).values()
    lacking = [
        f"  - {{name: {json.dumps(name)}, reason: {json.dumps(reason)}}}"
        for name, reason in LACKING.items()
        if _is_within(frozenset(Composition(name.partition(" ")[0]).as_dict()), systems)
    ]
    return "\n".join(
        [
            HEADER.rstrip(), "systems:", *(f"  - {system}" for system in SYSTEMS), "lacking:", *lacking, "phases:",
            *map(write_entry, sort_crystals(crystals, systems)), "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    csv.field_size_limit(1 << 30)
    warnings.filterwarnings("ignore")
    OUTPUT.write_text(write_list(Path(sys.argv[1])), encoding="utf-8")
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes")
