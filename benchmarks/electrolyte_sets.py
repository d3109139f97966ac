"""Reference sets of the campaigns of halide and sulfide electrolytes: phases of `battery-phases`, and models that it lacks.

`python benchmarks/electrolyte_sets.py` writes `campaigns/data/halide-electrolytes.json` and `sulfide-electrolytes.json` in a minute. Where
a known compound is missing, whatever holds its elements looks too stable: without ZrBr4, for example, bromides of Li and Zr would lie
0.1 eV/atom below the hull. No coordinates of six such compounds were at hand. Each is a model here: the crystal of a compound of
the same type, or of a near one, with other elements. Relaxed by CHGNet 0.3.0 as all phases are, its energy is an upper bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from invdesign.settings import load
from surrogates.stability.reference import ReferenceSet, load_reference, make_reference
from surrogates.stability.reference_build import build_reference
from surrogates.stability.reference_sources import PublishedCrystal

BASE = "battery-phases"
FOLDER = Path(__file__).parents[1] / "campaigns" / "data"


@dataclass(frozen=True, slots=True)
class Model:
    """A known compound with the coordinates of another one.

    Attributes:
        formula: of the compound.
        relative: phase of `battery-phases` whose crystal it takes.
        exchange: its element by element of the relative.
        remark: how near the relative's structure type is, with its source.
    """

    formula: str
    relative: str
    exchange: dict[str, str]
    remark: str


CADMIUM_IODIDE = (
    "both of CdI2 type (R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (Interscience, New York, 1963))"
)
HALIDES = (
    Model("ZrBr4", "ZrCl4-P2/c", {"Cl": "Br"}, "ZrBr4 itself is molecular, of SnI4 type"),
    Model(
        "ZrCl3",
        "ZrBr3-P6_3/mcm",
        {"Br": "Cl"},
        "both of ZrI3 type (L. F. Dahl et al., Inorg. Chem. 3, 1236 (1964))",
    ),
)
INDIDES = (
    Model("ZrIn3", "TiAl3-I4/mmm", {"Ti": "Zr", "Al": "In"}, "known beside ZrIn2 (doi:10.1155/2016/2536945)"),
    Model(
        "YIn3",
        "TiCo3-Pm-3m",
        {"Ti": "Y", "Co": "In"},
        "of AuCu3 type as TiCo3 and the indides of other rare earths",
    ),
)
COBALT_HALIDES = (
    Model("CoBr2", "TiCl2-P-3m1", {"Ti": "Co", "Cl": "Br"}, CADMIUM_IODIDE),
    Model("CoI2", "TiCl2-P-3m1", {"Ti": "Co", "Cl": "I"}, CADMIUM_IODIDE),
)
SETS = {
    "halide-electrolytes": (("Li", "Y", "In", "Zr", "Sc", "Cl", "Br"), HALIDES + INDIDES),
    "sulfide-electrolytes": (("Li", "P", "S", "O", "Cl", "Br", "I", "Co"), COBALT_HALIDES),
}
"""Elements and models by set."""


def build_set(base: ReferenceSet, name: str) -> ReferenceSet:
    """The phases of the elements of a set, with its models relaxed.

    Args:
        base: set that the phases come from.
        name: of the set, one of `SETS`.
    """
    elements, models = SETS[name]
    potential = load("potentials", base.potential.settings)
    assert base.relaxation is not None
    built = build_reference(
        [make_crystal(base, model) for model in models], potential, name=name, relaxation=base.relaxation
    )
    assert built.potential == base.potential
    return make_reference(
        name=name,
        title=f"{', '.join(elements)}: phases of {base.name}, and models of {', '.join(m.formula for m in models)}",
        potential=base.potential,
        relaxation=base.relaxation,
        phases=[*base.select_phases(elements), *built.phases],
        versions=built.versions,
        skipped=built.skipped,
    )


def make_crystal(base: ReferenceSet, model: Model) -> PublishedCrystal:
    """The relaxed crystal of the relative with the elements of the model, in its volume.

    Args:
        base: set with the relative.
        model: to build.
    """
    (relative,) = (phase for phase in base.phases if phase.name == model.relative)
    structure = relative.cell.build_structure()
    structure.replace_species(model.exchange)
    source = f"Model: {relative.formula} ({relative.source}) with other elements; {model.remark}"
    return PublishedCrystal(f"{model.formula}-model", model.formula, structure, source)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default=BASE, help="set that the phases come from, shipped or a file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the sets are written")
    chosen = parser.parse_args(arguments)
    base = load_reference(chosen.base)
    for name in SETS:
        reference = build_set(base, name)
        (chosen.folder / f"{name}.json").write_text(reference.to_json(), encoding="utf-8")
        print(f"{name}: {len(reference.phases)} phases, hash {reference.hash}", flush=True)
        for phase in reference.phases[-len(SETS[name][1]) :]:
            print(f"  {phase.name}: {phase.energy_per_atom:.4f} eV/atom", flush=True)


if __name__ == "__main__":
    main()
