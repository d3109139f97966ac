"""Energies of one candidate relaxed from two starts: how far apart they end.

Candidates are drawn at random from the quickstart's space, each built without its rattle and then displaced twice by 0.05 Å
(standard deviation of each coordinate). Both are relaxed with CHGNet 0.3.0, once to `fmax: 0.02` and `smax: 0.05` and once to
`fmax: 0.05` and the same `smax`. `kept` are candidates that the evaluator `structure_kept` calls kept from both starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Row, one_thread

from invdesign.campaign.document import read_document
from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates.relaxation.kept import StructureKept, compare_structures
from surrogates.relaxation.relax import relax_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

CAMPAIGN = Path(__file__).resolve().parents[2] / "campaigns" / "antiperovskite_electrolyte.yaml"
CANDIDATES = 40
RATTLE = 0.05  # Å
LIMITS = (0.02, 0.05)  # eV/Å
SMAX, STEPS = 0.05, 500
SEED = 11


def displace(structure: Structure, rng: np.random.Generator) -> Structure:
    """Move every site by RATTLE, as spaces do, without the mean."""
    from pymatgen.core import Structure

    moves = rng.normal(scale=RATTLE, size=(len(structure), 3))
    positions = structure.cart_coords + moves - moves.mean(axis=0)
    return Structure(structure.lattice, structure.species, positions, coords_are_cartesian=True)


def compare_starts(starts: list[Structure], potential: Any, fmax: float) -> tuple[float, bool]:
    """Return the difference in energy (meV/atom), and whether both ends are kept.

    Raises:
        InvdesignError: a relaxation failed.
    """
    judge = StructureKept()
    energies, kept = [], True
    for start in starts:
        found = relax_structure(start, potential, fmax=fmax, smax=SMAX, steps=STEPS)
        energies.append(1000 * found.energy / len(start))
        kept = kept and not judge.list_losses(compare_structures(start, found.structure))
    return abs(energies[0] - energies[1]), kept


def figures(name: str, apart: np.ndarray[Any, Any]) -> list[Row]:
    """Median, most, and the share within 1 meV/atom."""
    task = f"relaxed_twice: {name}"
    found = {"median": float(np.median(apart)), "most": float(apart.max())}
    rows = [Row("truth", task, "invdesign", key, v, "meV/atom", len(apart), 0.0) for key, v in found.items()]
    share = float((apart < 1.0).mean())
    return [*rows, Row("truth", task, "invdesign", "within_1_mev", share, "", len(apart), 0.0)]


def measure() -> list[Row]:
    """Figures at both limits, over all candidates and over those that are kept."""
    one_thread()
    data: Any = read_document(CAMPAIGN).value
    space: Any = load("spaces", {**data["space"], "rattle": 0.0})
    potential = load("potentials", "chgnet")
    potential.prepare()
    rng = np.random.default_rng(SEED)
    found: dict[float, list[tuple[float, bool]]] = {limit: [] for limit in LIMITS}
    for number in rng.permutation(space.size())[:CANDIDATES]:
        built = space.build(space.genome_at_index(int(number))).structures["initial"]
        starts = [displace(built, rng) for _ in range(2)]
        for limit in LIMITS:
            try:
                found[limit].append(compare_starts(starts, potential, limit))
            except InvdesignError as error:
                print(f"{built.composition.reduced_formula}: {error}")
        print(built.composition.formula, [found[limit][-1] for limit in LIMITS], flush=True)
    rows = []
    for limit, pairs in found.items():
        apart = np.array([apart for apart, _ in pairs])
        kept = np.array([kept for _, kept in pairs])
        rows += [*figures(f"fmax {limit:g}", apart), *figures(f"fmax {limit:g}, kept", apart[kept])]
    return rows
