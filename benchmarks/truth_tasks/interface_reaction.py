"""Reactions known to happen, or not, between electrodes and electrolytes: sign and order, with the energies.

Three statements, each by the energies of the mutual reaction over all mixing ratios in a closed system:
LiCoO2 reacts far more with the sulfide Li6PS5Cl than with the phosphate Li3PO4; with the phosphate it gains less than the deviation
of the energies; and Li reduces Li3PS4. The charged cathode is shown beside the discharged one. The energies are those of
CHGNet 0.3.0 in the shipped set `battery-phases`.

Source of the statements: Richards et al., Chem. Mater. 28, 266 (2016); Zhu, He, Mo, J. Mater. Chem. A 4, 3253 (2016); Xiao et al., Joule
3, 1252 (2019).
"""

from __future__ import annotations

from common import Row

from surrogates.stability.evaluators import relative_energy_error
from surrogates.stability.interface import Counterpart, find_worst_reaction
from surrogates.stability.mutual_reaction import MutualReaction
from surrogates.stability.reference import ReferenceSet, load_shipped_set

PAIRS = (
    ("LiCoO2", "Li6PS5Cl"),
    ("Li0.5CoO2", "Li6PS5Cl"),
    ("LiCoO2", "Li3PS4"),
    ("Li0.5CoO2", "Li3PS4"),
    ("LiCoO2", "Li3PO4"),
    ("Li0.5CoO2", "Li3PO4"),
    ("Li", "Li3PS4"),
    ("Li", "Li6PS5Cl"),
    ("Li", "Li3PO4"),
)
SHIPPED = "battery-phases"
FAR_MORE = 3.0  # times; chosen
TASK = "interface_reaction"


def measure() -> list[Row]:
    """The number of statements that hold, and the energies, total and mutual."""
    reference = load_shipped_set(SHIPPED)
    found = {pair: react(reference, *pair) for pair in PAIRS}
    for (first, second), reaction in found.items():
        print(
            f"| {first} | {second} | {1000 * reaction.total:.0f} | {1000 * reaction.mutual:.0f} | {reaction.ratio:.2f} | "
            f"{reaction} |"
        )
    held = judge(found, relative_energy_error(reference))
    rows = [Row("truth", TASK, "invdesign", "statements_held", sum(held), "", len(held), 0.0)]
    for (first, second), reaction in found.items():
        for part, value in (("mutual", reaction.mutual), ("total", reaction.total)):
            metric = f"{part}_{first}_{second}_mev_per_atom"
            rows.append(Row("truth", TASK, "invdesign", metric, 1000 * value, "meV/atom", 1, 0.0))
    return rows


def react(reference: ReferenceSet, first: str, second: str) -> MutualReaction:
    """The worst reaction of two formulas, in a closed system."""
    ends = (Counterpart(formula=formula).to_reactant(reference) for formula in (first, second))
    return find_worst_reaction(reference, *ends)


def judge(found: dict[tuple[str, str], MutualReaction], error: float) -> list[bool]:
    """Tell which of the three statements hold.

    Args:
        found: reactions by pair.
        error: eV/atom, deviation of the energies.
    """
    sulfide, phosphate = found["LiCoO2", "Li6PS5Cl"].mutual, found["LiCoO2", "Li3PO4"].mutual
    reduced = found["Li", "Li3PS4"]
    return [
        sulfide < -error and sulfide < FAR_MORE * phosphate,
        phosphate > -error,
        reduced.mutual < -error and {"Li2S", "Li3P"} <= {reduced.formulas[name] for name in reduced.products},
    ]
