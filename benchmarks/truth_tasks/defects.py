"""Vacancies, Frenkel and Schottky pairs of LiH, LiF and Li2O with CHGNet 0.3.0, in neutral cells of two sizes.

Hosts are the phases of the reference set `battery-phases`, in supercells whose lattice stays. Every defective cell starts displaced by 0.05 Å
and is relaxed to `fmax: 0.03`. Lithium interstitials go to the widest void of `find_voids`. A near pair has its members on the closest places
from which an interstitial does not fall into the vacancy, a far one on the places farthest apart. Energies are those of the evaluator `defect_energy`: of
vacancies and the interstitial at both limits of lithium, of pairs without any chemical potential. The checkpoint of CHGNet that was trained on
r2SCAN calculations votes on pairs, in the lattice of the other one. Published values:

- LiH, Schottky pair: 2.3 +/- 0.3 eV from ionic conductivity (J. Phys. Soc. Jpn. 42, 168 (1977)); 1.7 eV as the sum of two charged vacancies of
  0.85 eV each, by density functional theory ("LiH as a Li+ and H- ion provider", arXiv:1309.3171).
- Li2O, lithium Frenkel pair: 1.8, 2.1 and 2.53 eV measured, as listed by P. C. M. Fossati, A. Chartier and A. Boulle, Front. Chem. 9, 723507
  (2021), table 4.
- LiF: none that could be looked up here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Row, one_thread

from invdesign.arrays import FloatArray
from invdesign.candidate import Candidate, Design, Input, Proposal, genome_key
from invdesign.settings import load
from invdesign.structures.cells import match_points
from invdesign.structures.site_labels import NATIVE, SIDE, set_labels
from invdesign.structures.voids import find_voids
from surrogates.relaxation.relax import relax_structure
from surrogates.stability.reference import load_reference

if TYPE_CHECKING:
    from pymatgen.core import Structure

FMAX = 0.03  # eV/Å
SECOND = "r2scan"  # checkpoint of CHGNet trained on another functional, for pairs in the smaller cells
RATTLE = 0.05  # Å
SEED = 18
JOINED = 0.2  # eV, below which an interstitial has gone into the vacancy
MAX_SHELLS = 4  # distances that are tried for a near pair
SYMPREC = (
    0.3  # Å; the potential distorts LiH by 0.1 Å and 1 meV/atom, and the cell is that of the cubic crystal
)
Places = tuple[tuple[str, int], ...]  # (kind, number of the site or void)


@dataclass(frozen=True)
class Compound:
    """A host and its supercells.

    Attributes:
        formula: of a phase of the set.
        anion: symbol.
        primitive: True for multiples of the primitive cell, else of the conventional one.
        sizes: multiples of the cell along each axis.
    """

    formula: str
    anion: str
    primitive: bool
    sizes: tuple[int, int]


COMPOUNDS = (
    Compound("LiH", "H", False, (2, 3)),
    Compound("LiF", "F", False, (2, 3)),
    Compound("Li2O", "O", True, (3, 4)),
)
# (pair or single, published values in eV)
PUBLISHED = {
    ("LiH", "schottky"): "2.3 ± 0.3, 2.33 (measured); 1.7 (DFT)",
    ("Li2O", "frenkel"): "1.8, 2.1, 2.53 (measured)",
}


@dataclass(frozen=True)
class Host:
    """A supercell with its sites and voids.

    Attributes:
        compound: its host.
        structure: the perfect supercell.
    """

    compound: Compound
    structure: Structure

    @classmethod
    def build(cls, compound: Compound, multiple: int) -> Host:
        """Build the supercell of a compound."""
        from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

        phases = [p for p in load_reference("battery-phases").phases if p.formula == compound.formula]
        phase = min(phases, key=lambda phase: phase.energy_per_atom)
        found = SpacegroupAnalyzer(phase.cell.build_structure(), symprec=SYMPREC)
        cell = (
            found.get_primitive_standard_structure()
            if compound.primitive
            else found.get_conventional_standard_structure()
        )
        structure = cell.make_supercell([multiple] * 3, in_place=False).remove_oxidation_states()
        names = [site.specie.symbol for site in structure]
        set_labels(structure, {SIDE: ["host"] * len(names), NATIVE: names})
        return cls(compound, structure)

    def list_sites(self, symbol: str) -> list[int]:
        """Numbers of the sites of an element."""
        return [i for i, site in enumerate(self.structure) if site.specie.symbol == symbol]

    @cached_property
    def voids(self) -> FloatArray:
        """Positions of the widest voids, Å."""
        structure = self.structure
        found = find_voids(
            structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure]
        )
        return found.points[found.orbits == found.orbits[0]]

    def place(self, kind: str, number: int) -> FloatArray:
        """Position of a defect, Å."""
        at: FloatArray = self.voids[number] if kind == "interstitial" else self.structure[number].coords
        return at

    def measure(self, first: tuple[str, int], second: tuple[str, int]) -> float:
        """Distance of two defects, Å."""
        matrix = self.structure.lattice.matrix
        distance = match_points(self.place(*first)[None], self.place(*second)[None], matrix)[1]
        return float(distance[0])

    def build_defects(self, places: Places) -> Structure:
        """Build the cell with some sites empty and some voids filled, displaced."""
        from pymatgen.core import Structure

        vacant = {number for kind, number in places if kind == "vacancy"}
        rows = [
            (site.specie.symbol, site.coords, site.specie.symbol)
            for i, site in enumerate(self.structure)
            if i not in vacant
        ]
        rows += [("Li", self.voids[number], "") for kind, number in places if kind == "interstitial"]
        moves = np.random.default_rng(SEED).normal(scale=RATTLE, size=(len(rows), 3))
        found = Structure(
            self.structure.lattice,
            [row[0] for row in rows],
            np.array([row[1] for row in rows]) + moves,
            coords_are_cartesian=True,
        )
        set_labels(found, {NATIVE: [row[2] for row in rows]})
        return found

    def list_complexes(self) -> Iterator[tuple[str, list[Places]]]:
        """Name and places of each defect; of a near pair all places to try, the closest first."""
        lithium, anions = self.list_sites("Li"), self.list_sites(self.compound.anion)
        yield "vacancy Li", [(("vacancy", lithium[0]),)]
        yield f"vacancy {self.compound.anion}", [(("vacancy", anions[0]),)]
        yield "interstitial Li", [(("interstitial", 0),)]
        frenkel = [(("interstitial", 0), ("vacancy", i)) for i in lithium]
        yield from self._pair_up("frenkel", frenkel)
        if self.compound.formula == "Li2O":
            first = ("vacancy", anions[0])
            near = sorted(lithium, key=lambda i: (round(self.measure(first, ("vacancy", i)), 2), i))
            yield "schottky near", [(first, ("vacancy", near[0]), ("vacancy", near[1]))]
            ends = near[-len(near) // 4 :]  # of these the two farthest from each other
            far = max(
                ((i, j) for i in ends for j in ends if i < j),
                key=lambda pair: round(self.measure(("vacancy", pair[0]), ("vacancy", pair[1])), 2),
            )
            yield "schottky far", [(first, ("vacancy", far[0]), ("vacancy", far[1]))]
        else:
            yield from self._pair_up("schottky", [(("vacancy", anions[0]), ("vacancy", i)) for i in lithium])

    def _pair_up(self, name: str, pairs: Sequence[Places]) -> Iterator[tuple[str, list[Places]]]:
        ordered = sorted(pairs, key=lambda pair: round(self.measure(*pair), 2))
        shells: dict[float, Places] = {}
        for pair in ordered:
            shells.setdefault(round(self.measure(*pair), 2), pair)
        yield f"{name} near", list(shells.values())[:MAX_SHELLS]
        yield f"{name} far", [list(shells.values())[-1]]


def evaluate_defect(
    evaluator: Any, host: Structure, structure: Structure, energy: float
) -> tuple[float, str]:
    """Energy of a relaxed cell by the evaluator, eV, with its detail."""
    genome: dict[str, Any] = {"defect": structure.composition.formula}
    candidate = Candidate(0, genome_key(genome), Proposal(genome))
    item = Input(
        candidate,
        Design(composition=structure.composition, structures={"host": host, "initial": structure}),
        {"energy_per_atom": energy / len(structure)},
        {"host": host, "initial": structure},
        SEED,
    )
    found = evaluator.evaluate([item])[0]
    if found.failure is not None:
        raise RuntimeError(found.failure.message)
    return found.properties["defect_energy"], found.details["defect_energy"]


def measure_host(host: Host, model: str, *, alone: bool) -> Iterator[tuple[str, float]]:
    """Name and energy (eV) of each defect of a host.

    Args:
        host: the supercell.
        model: checkpoint of CHGNet.
        alone: True for single defects too, which need a reference set of this checkpoint.
    """
    settings = {"kind": "chgnet", "model": model}
    potential = load("potentials", settings)
    conditions: dict[str, Any] = {"none": None}
    if alone:
        conditions |= {end: {"limits": {"Li": end}} for end in ("rich", "poor")}
    evaluators: dict[str, Any] = {
        name: load(
            "evaluators",
            {"kind": "defect_energy", "potential": settings, "conditions": where, "fmax": FMAX},
        )
        for name, where in conditions.items()
    }
    for name, tries in host.list_complexes():
        single = len(tries[0]) == 1
        if single and not alone:
            continue
        found: dict[str, float] = {}
        for places in tries:
            began = time.monotonic()
            start = host.build_defects(places)
            relaxed = relax_structure(start, potential, fmax=FMAX, steps=300, cell=False)
            apart = "" if single else f", {host.measure(*places[:2]):.1f} Å apart"
            for end in ("rich", "poor") if single else ("none",):
                found[end], detail = evaluate_defect(
                    evaluators[end], host.structure, relaxed.structure, relaxed.energy
                )
                print(
                    f"{host.compound.formula} {len(host.structure)} {name}{apart}, Li-{end}, {model}: {found[end]:.3f} eV ({detail}; "
                    f"{relaxed.calls} calls, converged {relaxed.converged}, {time.monotonic() - began:.0f} s)",
                    flush=True,
                )
            if not name.startswith("frenkel") or found["none"] > JOINED:
                break
        for end, energy in found.items():
            yield (name if end == "none" else f"{name}, Li-{end}"), energy


def summarise_sizes(rows: Sequence[Row]) -> list[Row]:
    """Changes from the smaller to the larger cell: of balanced pairs, and of single defects, whose cells hold an electron more or less."""
    table: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        table.setdefault((row.task.partition(",")[0], row.metric), []).append(row.value)
    found = []
    for kind in ("balanced", "unbalanced"):
        # The change is the same at both limits.
        names = {
            name
            for _, name in table
            if (name.endswith("Li-rich") if kind == "unbalanced" else "Li-" not in name)
        }
        changes = [abs(b - a) for (_, name), (a, b) in table.items() if name in names]
        for metric, value in (("median", float(np.median(changes))), ("largest", max(changes))):
            name = f"size_change_{kind}_{metric}"
            found.append(Row("truth", "defects", "invdesign", name, value, "eV", len(changes), 0.0))
    return found


def print_comparison(rows: Sequence[Row]) -> None:
    """Print the table of the page."""
    table: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        cell = row.task.partition(": ")[2]
        formula, _, atoms = cell.partition(", ")
        table.setdefault((formula, row.metric), []).append(
            f"{row.value:.2f} ({atoms.removesuffix(' atoms')})"
        )
    print(
        "| compound | defect | smaller cell | larger cell | r2SCAN | published |\n| --- | --- | --- | --- | --- | --- |"
    )
    for (formula, name), values in table.items():
        cells = " | ".join([*values, ""][:3])
        print(f"| {formula} | {name} | {cells} | {PUBLISHED.get((formula, name.split()[0]), '')} |")


def measure() -> list[Row]:
    """Energies by compound and size, their change between the sizes, and pairs by the checkpoint trained on r2SCAN."""
    one_thread()
    rows: list[Row] = []
    second: list[Row] = []
    for compound in COMPOUNDS:
        for multiple in compound.sizes:
            host = Host.build(compound, multiple)
            task = f"defects: {compound.formula}, {len(host.structure)} atoms"
            for name, energy in measure_host(host, "0.3.0", alone=True):
                rows.append(Row("truth", task, "invdesign", name, energy, "eV", 1, 0.0))
        host = Host.build(compound, compound.sizes[0])
        task = f"defects: {compound.formula}, {len(host.structure)} atoms"
        for name, energy in measure_host(host, SECOND, alone=False):
            second.append(Row("truth", task, f"invdesign, CHGNet {SECOND}", name, energy, "eV", 1, 0.0))
    print_comparison([*rows, *second])
    return [*rows, *second, *summarise_sizes(rows)]
