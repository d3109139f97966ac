"""Chemical systems of the list of battery phases, and the phases named one by one; read by `reference_lists.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SYSTEMS = (
    "Li-P-S-Cl-Br-I",
    "Li-P-O-N",
    "Li-B-O",
    "Li-Y-Cl-Br",
    "Li-In-Cl-Br",
    "Li-Zr-Cl-Br",
    "Li-Sc-Cl-Br",
    "Li-Co-Ni-Mn-O",
    "Li-Fe-P-O",
    "Li-La-Zr-O",
    "Li-Al-Ti-P-O",
    "Li-Ge-P-S",
    "Li-Si",
    "Li-Sn",
    "Li-Al",
    "Li-C",
    "Na-O-S-P-Cl-Br",
    # Electrodes and coatings beside sulfide and chloride electrolytes; coatings beside LiCoO2, some with a sulfide behind them.
    "Li-Co-O-P-S-Cl",
    "Li-Ni-O-P-S-Cl",
    "Li-Mn-O-P-S-Cl",
    "Li-Fe-O-P-S-Cl",
    "Li-Nb-O-P-S-Cl",
    "Li-Zr-O-P-S-Cl",
    "Li-Al-O-P-S-Cl",
    "Li-Ti-O-P-S-Cl",
    "Li-Co-Nb-O-P-S-Cl",
    "Li-Co-Zr-O-P-S-Cl",
    "Li-Co-Y-O-Cl",
    "Li-Co-In-O-Cl",
    "Li-Co-Al-O-P-S-Cl",
    "Li-Co-B-O",
    "Li-Co-Ti-O",
    # Mixed halides, and argyrodites beside LiCoO2.
    "Li-Y-In-Zr-Sc-Cl-Br",
    "Li-Co-P-S-O-Cl-Br-I",
)
"""In the order of the list and of the build."""

PROTOTYPES = (
    "lithium_nitride", "layered", "lithium_rich_layered", "spinel", "olivine", "nasicon", "garnet",
    "argyrodite",
)  # fmt: skip
"""Prototypes of the package that are the measured crystal of a phase."""

NOT_STATED = "the source does not say if it was measured"

NAMED = {
    "mp-1272749": "computed",  # CoO2, which charging of LiCoO2 makes
    "mp-754280": NOT_STATED,  # Li5CoO4, and other coatings of a cathode and what they may form
    "mp-755926": NOT_STATED,  # Li3CoO3
    "mp-1106183": NOT_STATED,  # LiAlS2
    "mp-1222722": NOT_STATED,  # LiZr2S4
    "mp-1104131": NOT_STATED,  # NbPO5
    "mp-1025567": NOT_STATED,  # NbOCl2
    "mp-1210753": NOT_STATED,  # Li2Al
}
"""Materials Project entries that are wanted though the tables do not call them measured, with their titles."""

AFLOW = {"AB2_oF72_43_ab_3b": "W. H. Zachariasen, J. Chem. Phys. 4, 618 (1936)"}
"""Prototypes of the AFLOW library, as pymatgen ships them, that are the measured crystal of a phase, with their papers."""

FORMULAS = {
    "Li10Ge(PS6)2": "Li10GeP2S12", "Li3ClO": "Li3OCl", "Na3ClO": "Na3OCl", "Li3BrO": "Li3OBr", "PCl3O": "POCl3",
    "SCl2O": "SOCl2", "Li14P2(N2O)3": "Li14P2O3N6", "Li2PNO2": "Li2PO2N", "Li(CoO2)2": "LiCo2O4",
    "Li(NiO2)2": "LiNi2O4", "Na(CoO2)2": "NaCo2O4", "Li(ZrS2)2": "LiZr2S4", "NbCl2O": "NbOCl2", "Li6PBrO5": "Li6PO5Br",
}  # fmt: skip
"""Formulas as people write them, by pymatgen's reduced ones."""


@dataclass(frozen=True, slots=True)
class Model:
    """A phase known to exist, with the crystal of a relative.

    Attributes:
        relative: formula of the relative, a phase of the list.
        words: of the relative's source, to tell its forms apart.
        exchange: element of the phase by element of the relative.
        remark: how near the structure types are, with the source; empty where they are one type.
    """

    relative: str
    words: str
    exchange: Mapping[str, str]
    remark: str = ""


MODELS = {
    "InCl3-C2/m": Model("YCl3", "mp-27455", {"Y": "In"}),
    "ScBr3-R-3": Model("ScCl3", "matbench_dielectric", {"Cl": "Br"}),
    "LiMnPO4-Pnma": Model("LiFePO4", "Streltsov", {"Fe": "Mn"}),
    "LiCoPO4-Pnma": Model("LiFePO4", "Streltsov", {"Fe": "Co"}),
    "LiNiPO4-Pnma": Model("LiFePO4", "Streltsov", {"Fe": "Ni"}),
    "CoPO4-Pnma": Model("FePO4", "mp-20361", {"Fe": "Co"}),
    "CoCl2-R-3m": Model("NiCl2", "mp-27396", {"Ni": "Co"}),
    "MnCl2-R-3m": Model("NiCl2", "mp-27396", {"Ni": "Mn"}),
    "ZrBr4-P2/c": Model(
        "ZrCl4", "matbench_dielectric", {"Cl": "Br"}, "ZrBr4 itself is molecular, of SnI4 type"
    ),
    "ZrCl3-P6_3/mcm": Model(
        "ZrBr3",
        "mp-23247",
        {"Br": "Cl"},
        "both of ZrI3 type (L. F. Dahl et al., Inorg. Chem. 3, 1236 (1964))",
    ),
    "CoI2-P-3m1": Model(
        "CoBr2",
        "mp-30033",
        {"Br": "I"},
        "both of CdI2 type (R. W. G. Wyckoff, Crystal Structures, vol. 1, 2nd ed. (Interscience, New York, 1963))",
    ),
}
"""Phases known to exist, by name."""

NOT_FOUND = "no published coordinates at hand"
DISORDERED = "measured cells have mixed or partly occupied sites; no ordered cell with a source at hand"
NO_ORIGIN = "the cells at hand state no origin"

LACKING = {
    "Li7PN4": NOT_FOUND,
    "LiPO3": NOT_FOUND,
    "PNO": "only computed forms at hand",
    "Li18P6N16": NOT_FOUND,
    "Li3BO3": NOT_FOUND,
    "Li6B4O9": NOT_FOUND,
    "LiB3O5": NOT_FOUND,
    "Li3B7O12": NOT_FOUND,
    "Li2B8O13": NOT_FOUND,
    "Li3YCl6": DISORDERED,
    "Li3YBr6": DISORDERED,
    "Li3InCl6": "the ordered cell at hand states no origin",
    "Li2ZrCl6": DISORDERED,
    "Li3ScCl6": DISORDERED,
    "YBr3 (BiI3 type)": "only the AlCl3-type form at hand",
    "LiMnO2 (C2/m)": "only the Pmmn form at hand",
    "Mn2O3 (Ia-3)": f"only the Pbca form has a source; {NO_ORIGIN}",
    "Fe3O4 (Fd-3m at 298 K)": "only charge-ordered cells at hand",
    "Li3Fe2(PO4)3 (P2_1/n)": "only the rhombohedral form at hand",
    "Li6Zr2O7": NO_ORIGIN,
    "Li8ZrO6": NOT_FOUND,
    "La2Zr2O7": NO_ORIGIN,
    "LiLaO2": NO_ORIGIN,
    "Li2TiO3": NO_ORIGIN,
    "Li4TiO4": NO_ORIGIN,
    "LiTiO2": NO_ORIGIN,
    "Li4Ti5O12": DISORDERED,
    "Al2TiO5": NOT_FOUND,
    "GeS2 (P2_1/c)": "only other forms at hand",
    "Li10GeP2S12": f"measured cells have partly occupied sites; {NO_ORIGIN}",
    "Li2GeS3": NOT_FOUND,
    "GeP": NOT_FOUND,
    "GeP2": NOT_FOUND,
    "Li7Si3": DISORDERED,
    "Li17Si4": NOT_FOUND,
    "Li17Sn4": NOT_FOUND,
    "Na3P (P6_3cm)": "only the P6_3/mmc form at hand",
    "Na3OBr": NOT_FOUND,
    "Co9S8": NOT_FOUND,
    "Co3S4": NOT_FOUND,
    "Co(PO3)2": NOT_FOUND,
    "Li5AlS4": NOT_FOUND,
    "Li3AlS3": NOT_FOUND,
}
"""Phases that are known, by formula (and form, in parentheses), with the reason why they are not in the list."""
