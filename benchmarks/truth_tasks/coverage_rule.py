"""Coverage of reference sets: is a known compound that a set lacks noticed?

Every case is a chemical system of batteries with one known compound, named by a textbook or paper that the package's table
of known compounds does not draw on for that pair. The reference set of a case has the elements and nothing of the compound's
own elements together; noticed is what the rule asks for (two elements) or names in a note (three). The former rule asked by
electronegativity.
"""

from __future__ import annotations

from collections.abc import Mapping

from common import Row
from pymatgen.core import Composition

from surrogates.stability.coverage import is_required_by_former_rule, missing_binaries, missing_ternaries
from surrogates.stability.reference import (
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    RelaxationRecord,
    make_reference,
)

GREENWOOD = "N. N. Greenwood and A. Earnshaw, Chemistry of the Elements, 2nd ed. (1997), chapter"

BINARIES: Mapping[tuple[str, str], str] = {
    ("Li P S", "P2S5"): f"{GREENWOOD} 12",
    ("Li Ge P S", "GeS2"): f"{GREENWOOD} 10",
    ("Li Si", "Li15Si4"): "M. N. Obrovac and L. Christensen, Electrochem. Solid-State Lett. 7, A93 (2004)",
    ("Li Al", "LiAl"): "E. Zintl and G. Brauer, Z. phys. Chem. B 20, 245 (1933)",
    ("Li Sn", "Li17Sn4"): "C. Lupu et al., Inorg. Chem. 42, 3765 (2003)",
    ("Li Ge", "Li15Ge4"): "Q. Johnson, G. S. Smith and D. Wood, Acta Cryst. 18, 131 (1965)",
    ("Li In", "LiIn"): "E. Zintl and G. Brauer, Z. phys. Chem. B 20, 245 (1933)",
    ("Li Zn", "LiZn"): "E. Zintl and G. Brauer, Z. phys. Chem. B 20, 245 (1933)",
    ("Li C", "LiC6"): f"{GREENWOOD} 8",
    ("Li N", "Li3N"): f"{GREENWOOD} 11",
    ("Mg Si", "Mg2Si"): f"{GREENWOOD} 9",
    ("Li Fe P O", "Fe2P"): f"{GREENWOOD} 12",
    ("Li Co P O", "Co2P"): f"{GREENWOOD} 12",
    ("Li S O", "SO3"): f"{GREENWOOD} 15",
    ("Li C O", "CO2"): f"{GREENWOOD} 8",
    ("Li N O", "N2O5"): f"{GREENWOOD} 11",
    ("Li I O", "I2O5"): f"{GREENWOOD} 17",
    ("Li Cl O", "Cl2O7"): f"{GREENWOOD} 17",
    ("Li P O N", "P3N5"): f"{GREENWOOD} 12",
    ("Li P S Cl", "PCl3"): f"{GREENWOOD} 12",
    ("Li P F", "PF5"): f"{GREENWOOD} 12",
    ("Li Si S", "SiS2"): f"{GREENWOOD} 9",
    ("Li B S", "B2S3"): f"{GREENWOOD} 6",
    ("Li As S", "As2S3"): f"{GREENWOOD} 13",
    ("Li Sb S", "Sb2S3"): f"{GREENWOOD} 13",
    ("Li B H", "B2H6"): f"{GREENWOOD} 6",
    ("Li N H", "NH3"): f"{GREENWOOD} 11",
    ("Na Sn", "Na15Sn4"): "V. L. Chevrier and G. Ceder, J. Electrochem. Soc. 158, A1011 (2011)",
    ("Na Sn P", "Sn4P3"): f"{GREENWOOD} 12",
    ("Li Ni Mn O", "NiO"): f"{GREENWOOD} 27",
}
"""Source by chemical system and the compound left out."""

TERNARIES: Mapping[tuple[str, str], str] = {
    ("Li P S", "Li3PS4"): "R. Mercier et al., Acta Cryst. B 38, 1887 (1982)",
    ("Li Ge P S", "Li4GeS4"): "M. Murayama et al., Solid State Ionics 154-155, 789 (2002)",
    ("Li P O", "Li3PO4"): f"{GREENWOOD} 12",
    ("Li C O", "Li2CO3"): f"{GREENWOOD} 4",
    ("Li S O", "Li2SO4"): f"{GREENWOOD} 15",
    ("Li N H", "LiNH2"): f"{GREENWOOD} 4",
    ("Li B H", "LiBH4"): f"{GREENWOOD} 6",
    ("Li Co O", "LiCoO2"): "K. Mizushima et al., Mater. Res. Bull. 15, 783 (1980)",
    ("Li Fe P O", "FePO4"): "A. K. Padhi et al., J. Electrochem. Soc. 144, 1188 (1997)",
    ("Li Si O", "Li2SiO3"): f"{GREENWOOD} 9",
    ("Li Al Cl", "LiAlCl4"): f"{GREENWOOD} 7",
    ("Li In Cl", "Li3InCl6"): "X. Li et al., Energy Environ. Sci. 12, 2665 (2019)",
    ("Li Y Cl", "Li3YCl6"): "T. Asano et al., Adv. Mater. 30, 1803075 (2018)",
    ("Li P N", "LiPN2"): "R. Marchand, P. L'Haridon and Y. Laurent, J. Solid State Chem. 43, 126 (1982)",
    ("Na P S", "Na3PS4"): "M. Jansen and U. Henseler, J. Solid State Chem. 99, 110 (1992)",
}


def measure() -> list[Row]:
    """Share of the cases that are noticed, by the table and by the former rule."""
    pairs = [(system.split(), sorted(_symbols(formula))) for system, formula in BINARIES]
    triples = [(system.split(), sorted(_symbols(formula))) for system, formula in TERNARIES]
    asked = [any(list(gap.system) == pair for gap in missing_binaries(_bare(s), s)) for s, pair in pairs]
    formerly = [is_required_by_former_rule(*pair) for _, pair in pairs]
    named = [any(list(gap.system) == three for gap in missing_ternaries(_bare(s), s)) for s, three in triples]
    return [
        _row("invdesign", "noticed_percent", asked),
        _row("electronegativity", "noticed_percent", formerly),
        _row("invdesign", "noticed_ternaries_percent", named),
        _row("electronegativity", "noticed_ternaries_percent", [False] * len(triples)),
    ]


def _row(method: str, metric: str, noticed: list[bool]) -> Row:
    share = 100 * sum(noticed) / len(noticed)
    return Row("truth", "coverage_rule", method, metric, share, "%", len(noticed), 0.0)


def _symbols(formula: str) -> set[str]:
    return {element.symbol for element in Composition(formula)}


def _bare(symbols: list[str]) -> ReferenceSet:
    """A set of elemental phases alone; rules look at compositions, so that energies and cells do not matter."""
    cell = ((3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 3.0))
    phases = [
        Phase(
            name=symbol,
            formula=symbol,
            energy=0.0,
            source="none: energies do not matter here",
            cell=Cell(lattice=cell, species=(symbol,), positions=((0.0, 0.0, 0.0),)),
        )
        for symbol in symbols
    ]
    return make_reference(
        name="bare",
        potential=PotentialRecord(label="none", fingerprint="none", settings={}),
        relaxation=RelaxationRecord(fmax=0.01, smax=0.05, steps=1),
        phases=phases,
        versions={},
    )
