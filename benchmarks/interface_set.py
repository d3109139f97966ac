"""Reference set of a cathode, a sulfide electrolyte and coatings between them: Li, Co, O, P, S, Cl with Al, Zr, Nb.

`python benchmarks/interface_set.py` relaxes the crystals of `interface_phases.csv` with CHGNet 0.3.0 (two starts each, half an
hour on one core), adds the phases of Li, O, S and Cl of the shipped set, and writes `campaigns/data/cathode-sulfide.json`. It
can be stopped, and goes on where it was. `--coatings` writes `campaigns/data/coatings.csv` alone: the published crystals of lithium
compounds that may coat a cathode, and relaxes nothing.

The crystals are not part of the package: the folder that INVDESIGN_BENCHMARK_DATA names (`../shared/data` by default) holds them
(`phases/cif`, and crystals of the Materials Project, CC BY 4.0). Three forms are models: compounds known to exist, with the
coordinates of an isotypic one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pymatgen.core import Composition, Structure

from invdesign.settings import load
from surrogates.stability.reference import ReferenceSet, load_shipped_set, make_reference
from surrogates.stability.reference_build import Progress, build_reference
from surrogates.stability.reference_sources import PublishedCrystal

HERE = Path(__file__).parent
LIST = HERE / "interface_phases.csv"
OUTPUT = HERE.parent / "campaigns" / "data" / "cathode-sulfide.json"
DATA = Path(os.environ.get("INVDESIGN_BENCHMARK_DATA", HERE.parents[1] / "shared" / "data"))
SHIPPED = "lithium-chalcohalides"
SHARED_ELEMENTS = ("Li", "O", "S", "Cl")
TITLE = "Li, Co, O, P, S, Cl with Al, Zr, Nb: cathode, sulfide electrolyte and coatings"
COATINGS = OUTPUT.with_name("coatings.csv")
COATED = (
    "Li3PO4 mp-13725", "Li4P2O7 mp-28450", "LiCoPO4 model", "LiAlO2 P41212", "LiAlO2 R-3m", "Li2ZrO3 C2-c",
    "LiNbO3 mp-3731", "Li3NbO4 I-43m", "Li6PO5Cl mp-1104386", "LiAlS2 mp-1106183", "LiAlP2S6 mp-1188124",
    "LiZr2S4 mp-1222722", "Li3PS4 Pmn21", "Li5CoO4 mp-754280",
)  # fmt: skip
"""Lithium compounds of the list, and one other form of LiAlO2; `LiCl`, `Li2O`, `Li2S` and `Li2SO4` come from the shipped set."""
FROM_SHIPPED = ("LiCl", "Li2O", "Li2S", "Li2SO4")
SYMMETRY = 0.02  # Å; for the primitive cell


def read_crystals() -> Iterator[PublishedCrystal]:
    """The crystals of the list, in primitive cells."""
    with LIST.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            structure = read_structure(row["crystal"])
            if row["exchange"]:
                structure.replace_species(dict(pair.split(":") for pair in row["exchange"].split()))
            structure = structure.get_primitive_structure(SYMMETRY)
            composition = Composition(row["formula"])
            assert structure.composition.reduced_formula == composition.reduced_formula, row
            yield PublishedCrystal(row["name"], row["formula"], structure, row["source"])


def read_structure(place: str) -> Structure:
    """A crystal of the shared data.

    Args:
        place: `cif/NAME` in `phases`, or `mp20_binary_ternary`, `mpts52`, `elasticity` with a number: `mpts52/mp-550468`.
    """
    folder, name = place.split("/")
    if folder == "cif":
        return Structure.from_file(DATA / "phases" / "cif" / f"{name}.cif")
    if folder == "elasticity":
        return Structure.from_dict(_elastic()[name])
    return Structure.from_str(_texts(folder)[name], fmt="cif")


@cache
def _texts(name: str) -> Mapping[str, str]:
    csv.field_size_limit(10**7)
    with gzip.open(DATA / "crystals" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return {row["material_id"]: row["cif"] for row in csv.DictReader(file)}


@cache
def _elastic() -> Mapping[str, Any]:
    with gzip.open(DATA / "elasticity" / "binaries.json.gz", "rt", encoding="utf-8") as file:
        return {row["mp_id"]: row["structure"] for row in json.load(file)}


def join_shipped(built: ReferenceSet, name: str) -> ReferenceSet:
    """The relaxed phases with those of the shipped set that consist of Li, O, S and Cl.

    Args:
        built: the relaxed phases, by the potential and the limits of the shipped set.
        name: of the joined set.
    """
    shipped = load_shipped_set(SHIPPED)
    assert (built.potential, built.relaxation) == (shipped.potential, shipped.relaxation)
    return make_reference(
        name=name,
        title=TITLE,
        potential=shipped.potential,
        relaxation=shipped.relaxation,
        phases=[*shipped.select_phases(SHARED_ELEMENTS), *built.phases],
        versions=built.versions,
        skipped=built.skipped,
    )


def write_coatings(path: Path) -> None:
    """Write the crystals of the coatings as a table for the space `pool`.

    Args:
        path: of the table.
    """
    crystals = {c.name: c for c in read_crystals()}
    other = read_structure("cif/LiAlO2_R-3m").get_primitive_structure(SYMMETRY)
    crystals["LiAlO2 R-3m"] = PublishedCrystal(
        "LiAlO2 R-3m",
        "LiAlO2",
        other,
        "Materials Project (CC BY 4.0), in matbench_dielectric (doi:10.1038/s41524-020-00406-3)",
    )
    rows = [(c.name, c.formula, c.source, c.structure) for c in map(crystals.__getitem__, COATED)]
    phases = {phase.name: phase for phase in load_shipped_set(SHIPPED).phases}
    rows += [
        (p.name, p.formula, p.source, p.cell.build_structure()) for p in map(phases.__getitem__, FROM_SHIPPED)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "formula", "source", "cif"])
        writer.writerows((name, formula, source, s.to(fmt="cif")) for name, formula, source, s in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Relax, join, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--partial", type=Path, help="file of finished phases; by default beside the output")
    parser.add_argument(
        "--coatings", action="store_true", help="write the table of coatings, and relax nothing"
    )
    chosen = parser.parse_args(arguments)
    if chosen.coatings:
        write_coatings(COATINGS)
        return
    partial = chosen.partial or chosen.output.with_suffix(".partial.jsonl")
    potential = load("potentials", load_shipped_set(SHIPPED).potential.settings)
    built = build_reference(
        list(read_crystals()), potential, name=chosen.output.stem, partial=partial, report=_print_progress
    )
    chosen.output.write_text(join_shipped(built, chosen.output.stem).to_json(), encoding="utf-8")


def _print_progress(progress: Progress) -> None:
    print(f"[{progress.number}/{progress.total}] {progress.result.name} {progress.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
