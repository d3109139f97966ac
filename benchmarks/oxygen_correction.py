"""The correction for covalently bonded oxygen, from crystals and measured enthalpies to coefficients.

    python benchmarks/oxygen_correction.py relax --crystals ../shared/data   # once, from published crystals
    python benchmarks/oxygen_correction.py relax                             # again, from the cells of the set
    python benchmarks/oxygen_correction.py enthalpies                        # from the package chemicals
    python benchmarks/oxygen_correction.py fit                               # compares forms, writes the correction

`relax` can be interrupted and goes on where it was. The three files lie in `surrogates/corrections/`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import Row, merge_results
from pymatgen.core import Element, Structure

from surrogates.potentials.chgnet import CHGNet
from surrogates.potentials.correction import CORRECTION_SUFFIX, write_correction
from surrogates.stability.oxygen_fit import (
    COMPOUNDS_FILE,
    CORRECTION_NAME,
    ENTHALPIES_FILE,
    Fit,
    Sample,
    fit_prediction,
    leave_one_out,
    load_compounds,
    make_correction,
    shipped_samples,
)
from surrogates.stability.reference import load_shipped_set, make_reference
from surrogates.stability.reference_build import Progress, build_reference
from surrogates.stability.reference_sources import PublishedCrystal, read_structures

FOLDER = Path(__file__).parents[1] / "surrogates" / "corrections"
PUBLISHED = Path(__file__).with_name("oxygen_compounds.yaml")
PARTIAL = Path(__file__).parents[1] / "oxygen_compounds.partial.jsonl"
SOURCE = (
    "enthalpies: CRC Handbook (95th ed., 2014) by way of the package chemicals, and papers named beside them in "
    f"{ENTHALPIES_FILE}; crystals: Materials Project (CC BY 4.0) and papers named in {COMPOUNDS_FILE}; fitted by "
    "benchmarks/oxygen_correction.py"
)

BASE_SET = "lithium-chalcohalides"
FROM_BASE = (
    "Li", "H2", "O2-alpha", "O2-epsilon", "S", "Se", "Te", "Cl2", "Br2", "I2", "Li2O", "Li2O2", "LiH", "Li2S", "Li2Se",
    "LiCl", "LiBr", "LiI", "I2O5", "SO3", "H2O", "SO2", "SeO2", "TeO2-alpha", "LiOH", "LiIO3", "Li2SO4", "LiClO4",
    "H2SO4", "HIO3",
)  # fmt: skip
"""Phases that the shipped set has already, at the same limits; they are not relaxed again."""

MATERIALS_PROJECT = {
    "Na2SO4": "mp-3143", "CaSO4": "mp-3082", "MgSeO4": "mp-12630", "NaClO4": "mp-561368", "KClO4": "mp-546633",
    "RbClO4": "mp-550759", "NaClO3": "mp-23330", "KClO3": "mp-550506", "KBrO3": "mp-22958", "KIO3": "mp-1080058",
    "LiNO3": "mp-8180", "KNO3": "mp-9475", "KNO2": "mp-29200", "HNO3": "mp-1199435", "Rb2CO3": "mp-555692",
    "SrCO3": "mp-38035", "BaCO3": "mp-4559", "K2C2O4": "mp-560616", "Li3PO4": "mp-13725", "K3PO4": "mp-557753",
    "AlPO4": "mp-3955", "KH2PO4": "mp-24262", "LiBO2": "mp-3635", "H3BO3": "mp-759069", "Li2SiO3": "mp-5012",
    "Zn2SiO4": "mp-1020594", "GeO2": "mp-1072104", "NaOH": "mp-23940", "KOH": "mp-626785", "Sr(OH)2": "mp-625184",
    "Be(OH)2": "mp-697136", "Zn(OH)2": "mp-625830",
}  # fmt: skip
"""Of `crystals/`. Where the form that was measured is not there, the nearest one stands in for it: the cubic form of KClO4
and RbClO4, that of KBrO3 for KClO3, of calcite for SrCO3 and BaCO3 (distorted), of olivine for Zn2SiO4, of quartz for
CaSO4, a monoclinic one of KH2PO4."""

PHASES = {
    "P2O5": "P2O5_Pnma", "B2O3": "B2O3_P3121", "SiO2": "SiO2_P3121", "Na2SiO3": "Na2SiO3_Cmc21",
    "ZrSiO4": "ZrSiO4_I41-amd", "Na2O": "Na2O_Fm-3m", "Al2O3": "Al2O3_R-3c", "C": "C_P63-mmc", "P": "P_Cmce",
    "B": "B_R-3m", "N2": "N2_Pa-3", "Si": "Si_Fd-3m", "Ge": "Ge_Fd-3m", "Na": "Na_Im-3m", "K": "K_Im-3m",
    "Mg": "Mg_P63-mmc", "Al": "Al_Fm-3m", "Zr": "Zr_P63-mmc",
}  # fmt: skip
"""Of `phases/cif/`."""

WAYS = {
    "textbook": "R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (Interscience, New York, 1963)",
    "matbench": "Materials Project, by way of Matbench's matbench_dielectric (CC BY 4.0)",
    "matcalc": "Materials Project, by way of MatCalc (CC BY 4.0)",
    "elastic_tensor": "Materials Project, by way of the elastic tensors of 2015 (CC BY 4.0)",
}
"""Sources of `phases/index.csv` in the words of a reference set."""

CAS = {
    "Li2SO4": "10377-48-7", "Na2SO4": "7757-82-6", "K2SO4": "7778-80-5", "CaSO4": "7778-18-9", "BaSO4": "7727-43-7",
    "H2SO4": "7664-93-9", "Na2SO3": "7757-83-7", "SO3": "7446-11-9", "SeO2": "7446-08-4", "MgSeO4": "14986-91-5",
    "TeO2-alpha": "7446-07-3", "LiClO4": "7791-03-9", "NaClO4": "7601-89-0", "KClO4": "7778-74-7",
    "RbClO4": "13510-42-4", "NaClO3": "7775-09-9", "KClO3": "3811-04-9", "KBrO3": "7758-01-2", "KIO3": "7758-05-6",
    "HIO3": "7782-68-5", "LiNO3": "7790-69-4", "NaNO3": "7631-99-4", "KNO3": "7757-79-1", "KNO2": "7758-09-0",
    "HNO3": "7697-37-2", "Li2CO3": "554-13-2", "MgCO3": "546-93-0", "CaCO3": "471-34-1", "SrCO3": "1633-05-2",
    "BaCO3": "513-77-9", "Rb2CO3": "584-09-8", "K2C2O4": "583-52-8", "Li3PO4": "10377-52-3", "K3PO4": "7778-53-2",
    "AlPO4": "7784-30-7", "KH2PO4": "7778-77-0", "B2O3": "1303-86-2", "LiBO2": "13453-69-5", "H3BO3": "10043-35-3",
    "SiO2": "14808-60-7", "Li2SiO3": "10102-24-6", "Na2SiO3": "6834-92-0", "Zn2SiO4": "13597-65-4",
    "ZrSiO4": "10101-52-7", "GeO2": "1310-53-8", "H2O": "7732-18-5", "LiOH": "1310-65-2", "NaOH": "1310-73-2",
    "KOH": "1310-58-3", "Mg(OH)2": "1309-42-8", "Ca(OH)2": "1305-62-0", "Sr(OH)2": "18480-07-4",
    "Be(OH)2": "13327-32-7", "Zn(OH)2": "20427-58-1", "Li2O": "12057-24-8", "Na2O": "1313-59-3", "K2O": "12136-45-7",
    "MgO": "1309-48-4", "CaO": "1305-78-8", "Al2O3": "1344-28-1", "Li2O2": "12031-80-0",
}  # fmt: skip
"""CAS numbers of phases whose enthalpy `chemicals` knows, as a solid, or as a liquid with its enthalpy of fusion."""

WAGMAN = "D. D. Wagman et al., J. Phys. Chem. Ref. Data 11, Suppl. 2 (1982)"
PAPERS = {
    "LiIO3": (-503.38, WAGMAN),
    "I2O5": (-158.07, WAGMAN),
    "P2O5": (-1492.0, f"{WAGMAN}, half of P4O10"),
    "SO2": (
        -320.5 - 7.40,
        "liquid: CRC Handbook; fusion: W. F. Giauque and C. C. Stephenson, J. Am. Chem. Soc. 60, 1389 (1938)",
    ),
    "CO2": (
        -393.5 - 25.23,
        "gas: CRC Handbook; sublimation: W. F. Giauque and C. J. Egan, J. Chem. Phys. 5, 45 (1937)",
    ),
    "P": (
        -21.2,
        "black against white: P. A. G. O'Hare, B. M. Lewis and I. Shirotani, Thermochim. Acta 129, 57 (1988)",
    ),
}
"""kJ/mol of the formula, and source, of what `chemicals` does not know as a solid."""


# --- relaxing ----------------------------------------------------------------------------------------------


def gather_crystals(data: Path | None) -> list[PublishedCrystal]:
    """Starts, small cells first: published crystals, or the relaxed cells of the set where `data` is None."""
    if data is None:
        known = set(FROM_BASE)
        found = [
            PublishedCrystal(p.name, p.formula, p.cell.build_structure(), p.source, p.title)
            for p in load_compounds().phases
            if p.name not in known
        ]
    else:
        found = [
            *_from_tables(data / "crystals"),
            *_from_phases(data / "phases"),
            *(item for item in read_structures(PUBLISHED) if isinstance(item, PublishedCrystal)),
        ]
    return sorted(found, key=lambda crystal: len(crystal.structure))


def _from_tables(folder: Path) -> list[PublishedCrystal]:
    names = {number: name for name, number in MATERIALS_PROJECT.items()}
    found = {}
    for file in ("mp20_binary_ternary.csv.gz", "mpts52.csv.gz"):
        with gzip.open(folder / file, "rt", encoding="utf-8") as stream:
            for line in csv.DictReader(stream):
                number = line.get("material_id") or line.get("_material_id") or ""
                if number in names and number not in found:
                    cell = Structure.from_str(line["cif"], fmt="cif").get_primitive_structure()
                    source = f"Materials Project {number} (CC BY 4.0)"
                    found[number] = PublishedCrystal(names[number], names[number], cell, source)
    return list(found.values())


def _from_phases(folder: Path) -> list[PublishedCrystal]:
    with (folder / "index.csv").open(encoding="utf-8") as stream:
        index = {line["file"]: line["source"].split(";")[0] for line in csv.DictReader(stream)}
    found = []
    for name, file in PHASES.items():
        source = index[f"cif/{file}.cif"]
        source = next((words for key, words in WAYS.items() if key in source), f"{source} (CC BY 4.0)")
        cell = Structure.from_file(folder / "cif" / f"{file}.cif").get_primitive_structure()
        found.append(PublishedCrystal(name, name, cell, source))
    return found


def relax_compounds(data: Path | None) -> None:
    """Relax every crystal and write the set of compounds."""
    base = load_shipped_set(BASE_SET)
    kept = [phase for phase in base.phases if phase.name in FROM_BASE]
    built = build_reference(gather_crystals(data), CHGNet(), name="compounds", partial=PARTIAL, report=_say)
    compounds = make_reference(
        name="covalent-oxygen-compounds",
        title="Covalent oxides, oxoanion salts, ionic oxides and their elements",
        potential=built.potential,
        relaxation=built.relaxation,
        phases=[*kept, *built.phases],
        versions=built.versions,
        skipped=built.skipped,
    )
    (FOLDER / COMPOUNDS_FILE).write_text(compounds.to_json(), encoding="utf-8")
    PARTIAL.unlink()
    print(f"{len(compounds.phases)} phases, hash {compounds.hash}")


def _say(progress: Progress) -> None:
    outcome = getattr(progress.result, "reason", "relaxed")
    print(
        f"{progress.number}/{progress.total} {progress.result.name}: {outcome}, {progress.seconds:.0f} s",
        flush=True,
    )


# --- enthalpies --------------------------------------------------------------------------------------------


def write_enthalpies() -> None:
    """Look every enthalpy up and write the table."""
    found = {**{name: look_up_enthalpy(number) for name, number in CAS.items()}, **PAPERS}
    with (FOLDER / ENTHALPIES_FILE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("phase", "cas", "kj_per_mol", "source"))
        for name, (value, source) in found.items():
            table.writerow((name, CAS.get(name, ""), f"{value:.2f}", source))
    print(f"{len(found)} enthalpies of formation")


def look_up_enthalpy(number: str) -> tuple[float, str]:
    """(kJ/mol, source) of a solid; of a liquid less its enthalpy of fusion."""
    try:
        from chemicals import Hfus, heat_capacity
    except ImportError as error:
        raise SystemExit(
            "enthalpies of formation need the package chemicals: pip install 'invdesign[dev]', or 'chemicals>=1.3'"
        ) from error
    line = heat_capacity.CRC_standard_data.loc[number]
    if line["Hfs"] == line["Hfs"]:
        return line["Hfs"] / 1e3, "CRC Handbook 2014"
    fusion = Hfus(number, method="CRC")
    return (line["Hfl"] - fusion) / 1e3, "CRC Handbook 2014, liquid less fusion"


# --- fitting -----------------------------------------------------------------------------------------------

Features = Callable[[Sample], Sequence[float]]


def fit_features(features: Features) -> Fit:
    """Ordinary least squares in some features (minimum norm, where an element has no compound left)."""

    def fit(samples: Sequence[Sample]) -> Callable[[Sample], float]:
        design = np.array([features(sample) for sample in samples])
        found = np.linalg.lstsq(design, np.array([sample.error for sample in samples]), rcond=None)[0]
        return lambda sample: float(np.dot(found, features(sample)))

    return fit


def compare_forms(samples: Sequence[Sample]) -> list[tuple[str, int, Fit]]:
    """(description, parameters, fit) of every form that was tried."""
    elements = sorted({element for sample in samples for element in sample.elements})

    def mean(sample: Sample, of: Callable[[dict[str, float]], float]) -> float:
        return float(np.mean([of(dict(valence)) if valence else 0.0 for valence in sample.valences]))

    def x(valence: dict[str, float]) -> float:
        return sum(v * Element(e).X for e, v in valence.items())

    def total(valence: dict[str, float]) -> float:
        return sum(valence.values())

    def per_class(sample: Sample) -> list[float]:
        return [mean(sample, lambda v, e=e: v.get(e, 0.0) / total(v)) for e in elements]

    def by_class(sample: Sample) -> list[float]:
        return [mean(sample, lambda v, e=e: v.get(e, 0.0)) for e in elements]

    n = len(elements)
    return [
        ("none", 0, lambda _: lambda _: 0.0),
        ("a constant", 1, fit_features(lambda s: [mean(s, lambda _: 1.0)])),
        ("a constant per element", n, fit_features(per_class)),
        (
            "electronegativity",
            2,
            fit_features(lambda s: [mean(s, lambda _: 1.0), mean(s, lambda v: x(v) / total(v))]),
        ),
        ("valence", 1, fit_features(lambda s: [mean(s, total)])),
        ("valence, electronegativity", 2, fit_features(lambda s: [mean(s, total), mean(s, x)])),
        ("valence by element", n, fit_features(by_class)),
        (
            "squared valence by element",
            n,
            fit_features(lambda s: [mean(s, lambda v, e=e: v.get(e, 0.0) * total(v)) for e in elements]),
        ),
        (
            "valence, its square, electronegativity",
            3,
            fit_features(lambda s: [mean(s, lambda v: total(v) ** 2), mean(s, total), mean(s, x)]),
        ),
        (
            "the same, hydrogen apart",
            4,
            fit_features(
                lambda s: [
                    mean(s, lambda v: total(v) ** 2),
                    mean(s, total),
                    mean(s, x),
                    mean(s, lambda v: v.get("H", 0.0)),
                ]
            ),
        ),
        ("shipped: the same, elements apart, shrunk", n + 3, fit_prediction),
    ]


def fit_correction() -> None:
    """Compare the forms with each compound, and each family, left out; write the shipped one."""
    compounds, samples = load_compounds(), shipped_samples()
    used = [sample for sample in samples if sample.covalent]
    print(f"{len(used)} compounds with covalently bonded oxygen, {len(samples) - len(used)} without")
    rows = []
    for name, parameters, fit in compare_forms(used):
        left, family = leave_one_out(used, fit), leave_family_out(used, fit)
        print(
            f"{name:44s} {parameters:3d}  one out {np.abs(left).mean():.3f} {_rms(left):.3f}"
            f"  family out {np.abs(family).mean():.3f} {_rms(family):.3f}"
        )
        for metric, values in (
            ("mae_left_out_ev_per_oxygen", left),
            ("mae_family_out_ev_per_oxygen", family),
        ):
            value = float(np.abs(values).mean())
            rows.append(Row("oxygen_correction", "forms", name, metric, value, "eV", len(used), 0.0))
    merge_results("oxygen_correction", rows)
    correction = make_correction(samples, compounds, SOURCE)
    (FOLDER / f"{CORRECTION_NAME}{CORRECTION_SUFFIX}").write_text(
        write_correction(correction), encoding="utf-8"
    )
    print(f"{'compound':12s} {'computed':>9s} {'measured':>9s} {'eV/O':>7s} {'left':>7s}")
    for sample, left in zip(used, leave_one_out(used), strict=True):
        print(
            f"{sample.formula:12s} {sample.computed:9.3f} {sample.measured:9.3f} {sample.error:7.3f} {left:7.3f}"
        )
    for sample in samples:
        if not sample.covalent:
            print(f"{sample.formula:12s} {sample.computed:9.3f} {sample.measured:9.3f} {sample.error:7.3f}")
    print(write_correction(correction))


def leave_family_out(samples: Sequence[Sample], fit: Fit) -> np.ndarray:
    """Errors left by a fit to the compounds of other elements, shape (n,), eV per oxygen."""
    return np.array(
        [s.error - fit([other for other in samples if other.elements != s.elements])(s) for s in samples]
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("relax", "enthalpies", "fit"))
    parser.add_argument("--crystals", type=Path, help="folder with crystals/ and phases/, for relax")
    options = parser.parse_args()
    if options.step == "relax":
        relax_compounds(options.crystals)
    elif options.step == "enthalpies":
        write_enthalpies()
    else:
        fit_correction()
