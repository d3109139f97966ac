"""Calls of the potential that a climbing band needs, beside ASE's from the same ends and path.

Systems: vacancies in copper, aluminium, nickel and platinum and adatoms on Cu(111) and Al(100) with effective medium theory;
vacancies of lithium in Li3OCl, LiCoO2, Li2O and LiFePO4 with CHGNet 0.3.0 (prototypes of the package, relaxed). All bands have
five images between ends relaxed to 0.02 eV/Å (0.05 with CHGNet), start from the path of `interpolate_path`, and end where no
force is above 0.05 eV/Å: across the path for all images, and along it too for the climbing one.

ASE runs `NEB(climb=True, method='improvedtangent')` with BFGS and with FIRE, at their defaults; the one that needs fewer calls
stands for it. With CHGNet only BFGS is run, which needed fewer in each of the six systems with effective medium theory. `invdesign` uses the symmetry that reverses a hop where there is one, `invdesign, no symmetry` never.

`calls_ratio_to_ase` is the median over the systems, with its bootstrap interval; `barrier_difference_mev` the largest
difference of the barrier from ASE's; `path_distance_a` the largest distance of an image from ASE's path, as displacement of one
atom, median over the systems. `python benchmarks/neb.py --cache FILE` can be run in pieces.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Records, Row, measured, merge_results, one_thread, print_table, row_of

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Potential, potential_of
from invdesign.settings import load
from invdesign.structures.prototypes import find_prototype
from surrogates.relaxation.relax import relax_structure
from surrogates.transport.neb.band import Band, relax_band
from surrogates.transport.neb.defects import Defects, Mirror
from surrogates.transport.neb.hops import find_hops
from surrogates.transport.neb.lattices import Crystal, smallest_supercell
from surrogates.transport.neb.path import interpolate_path

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

IMAGES, FMAX, STEPS = 5, 0.05, 300
OURS, PLAIN, BFGS_PEER, FIRE_PEER = "invdesign", "invdesign, no symmetry", "ase BFGS", "ase FIRE"
METALS = {"Cu": 3.58, "Al": 4.0, "Ni": 3.49, "Pt": 3.92}  # Å, near the minima of effective medium theory
LITHIUM = {"antiperovskite": 8.0, "layered": 8.0, "antifluorite": 8.0, "olivine": 6.0}  # Å between images


@dataclass(frozen=True)
class Task:
    """Two ends of a band, with what computes it."""

    name: str
    potential: Potential
    start: FloatArray
    end: FloatArray
    energies: tuple[float, float]
    numbers: IntArray
    cell: FloatArray
    mirror: Mirror | None = None

    def compute(self, places: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies and forces of arrangements."""
        found = self.potential.compute([self.to_atoms(p) for p in places], frozenset({"energy", "forces"}))
        return np.array([item.energy for item in found]), np.array([item.forces for item in found])

    def to_atoms(self, places: FloatArray) -> Atoms:
        """An arrangement as ASE's object."""
        from ase import Atoms

        return Atoms(numbers=self.numbers, positions=places, cell=self.cell, pbc=True)

    @property
    def path(self) -> FloatArray:
        """The first guess that all methods start from."""
        return interpolate_path(self.start, self.end, self.cell, IMAGES)


def effective_medium() -> Potential:
    """ASE's EMT."""
    return potential_of(load("potentials", {"kind": "ase", "calculator": "emt"}))


def vacancy(
    name: str, structure: Structure, ion: str, potential: Potential, apart: float, fmax: float
) -> Task:
    """The shortest hop of a vacancy."""
    from pymatgen.core import Element

    crystal = Crystal.from_structure(structure)
    sites = crystal.positions[crystal.numbers == Element(ion).Z]
    hop = find_hops(crystal, sites, 4.0)[0]
    supercell = smallest_supercell(crystal, apart)
    defects = Defects(crystal, sites, Element(ion).Z, "vacancy", supercell, potential, fmax, 300)
    ends = defects.find_ends(hop.hop, hop.reversals)
    mirror = ends.mirrors[0] if ends.mirrors else None
    return Task(name, potential, ends.start, ends.end, ends.energies, ends.numbers, ends.cell, mirror)


def metal(symbol: str) -> Task:
    """A vacancy in a metal."""
    from pymatgen.core import Lattice, Structure

    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * METALS[symbol] / 2
    structure = Structure(Lattice(cell), [symbol], [(0, 0, 0)])
    return vacancy(f"vacancy in {symbol}", structure, symbol, effective_medium(), 7.0, 0.02)


def adatom(surface: str) -> Task:
    """An atom that hops on a metal."""
    from ase.build import add_adsorbate, fcc100, fcc111

    slab = fcc111("Cu", (3, 3, 3), vacuum=6.0) if surface == "Cu111" else fcc100("Al", (3, 3, 3), vacuum=6.0)
    slab.pbc = True
    ends = [slab.copy(), slab.copy()]
    if surface == "Cu111":
        add_adsorbate(ends[0], "Cu", 1.8, "fcc")
        add_adsorbate(ends[1], "Cu", 1.8, "hcp")
    else:
        for end in ends:
            add_adsorbate(end, "Au", 1.7, "hollow")
        ends[1].positions[-1] += slab.cell.array[0] / 3
    potential = effective_medium()
    relaxed = [relaxed_atoms(end, potential) for end in ends]
    (start, low), (end, high) = relaxed
    name = "Cu on Cu(111)" if surface == "Cu111" else "Au on Al(100)"
    return Task(name, potential, start, end, (low, high), ends[0].numbers, slab.cell.array)


def relaxed_atoms(atoms: Atoms, potential: Potential) -> tuple[FloatArray, float]:
    """Positions and energy of atoms relaxed in their cell."""
    from pymatgen.core import Structure

    structure = Structure(
        atoms.cell.array, atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True
    )
    found = relax_structure(structure, potential, fmax=0.02, cell=False)
    return np.array(found.structure.cart_coords), found.energy


def lithium(prototype: str) -> Task:
    """A vacancy of lithium in a relaxed prototype."""
    potential = potential_of(load("potentials", "chgnet"))
    built = find_prototype(prototype).build_structure(primitive=True)
    relaxed = relax_structure(built, potential, fmax=0.02, smax=0.1).structure
    name = f"vacancy in {relaxed.composition.reduced_formula}"
    return vacancy(name, relaxed, "Li", potential, LITHIUM[prototype], 0.05)


TASKS: list[Callable[[], Task]] = [
    *[lambda symbol=symbol: metal(symbol) for symbol in METALS],
    *[lambda surface=surface: adatom(surface) for surface in ("Cu111", "Al100")],
    *[lambda name=name: lithium(name) for name in LITHIUM],
]
CHEAP_TASKS = len(METALS) + 2


def run_ours(task: Task, mirror: Mirror | None) -> dict[str, Any]:
    """Our band."""
    band: Band = relax_band(task.path, task.energies, task.compute, fmax=FMAX, steps=STEPS, mirror=mirror)
    return described(task, band.path, band.energies, band.calls, band.converged)


def run_ase(task: Task, optimizer: str) -> dict[str, Any]:
    """ASE's band."""
    from ase.mep import NEB
    from ase.optimize import BFGS, FIRE

    from surrogates.potentials.calculator import PotentialCalculator

    images = [task.to_atoms(places) for places in task.path]
    for image in images:
        image.calc = PotentialCalculator(task.potential, stress=False)
    runner = {"BFGS": BFGS, "FIRE": FIRE}[optimizer]
    converged = runner(NEB(images, climb=True, method="improvedtangent"), logfile=None).run(
        fmax=FMAX, steps=STEPS
    )
    energies = np.array([image.get_potential_energy() for image in images])
    calls = sum(image.calc.calls for image in images[1:-1])
    return described(task, np.array([image.positions for image in images]), energies, calls, bool(converged))


def described(
    task: Task, path: FloatArray, energies: FloatArray, calls: int, converged: bool
) -> dict[str, Any]:
    """What is kept of a band."""
    return {
        "system": task.name,
        "atoms": len(task.numbers),
        "calls": calls,
        "converged": converged,
        "barrier": float(energies.max() - energies[0]),
        "path": np.round(path, 4).tolist(),
    }


RUNS: Mapping[str, Callable[[Task], dict[str, Any]]] = {
    OURS: lambda task: run_ours(task, task.mirror),
    PLAIN: lambda task: run_ours(task, None),
    BFGS_PEER: lambda task: run_ase(task, "BFGS"),
    FIRE_PEER: lambda task: run_ase(task, "FIRE"),
}


def distance_between(path: FloatArray, other: FloatArray) -> float:
    """Largest displacement of an atom from each image of a path to the nearest point of the other, largest of all, Å."""
    shares = np.linspace(0.0, 1.0, 11)[:, None, None, None]
    points = (other[:-1] + shares * np.diff(other, axis=0)).reshape(-1, *other.shape[1:])
    return max(float(np.linalg.norm(points - image, axis=2).max(axis=1).min()) for image in path[1:-1])


def figures(records: Records) -> list[Row]:
    """Rows over all systems that every method has finished."""
    by_system = {method: {line["system"]: line for line in records.of("neb", method)} for method in RUNS}
    peers = {}
    for name in by_system[OURS]:
        found = [by_system[method].get(name) for method in (BFGS_PEER, FIRE_PEER)]
        done = [line for line in found if line is not None and line["converged"]]
        if done and name in by_system[PLAIN]:
            peers[name] = min(done, key=lambda line: line["calls"])
    rows = []
    for method in (OURS, PLAIN):
        pairs = [(by_system[method][name], peer) for name, peer in peers.items()]
        rows += ratio_rows(method, pairs)
    for method in (BFGS_PEER, FIRE_PEER):
        calls = [by_system[method][name]["calls"] for name in peers if name in by_system[method]]
        rows.append(row_of("transport", "neb", method, "calls", calls, ""))
    return rows


def ratio_rows(method: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[Row]:
    """Rows of one method of ours."""
    for own, peer in pairs:
        print(
            f"{method:24} {own['system']:22} {own['atoms']:4d} atoms {own['calls']:4d} calls, ASE {peer['calls']:4d}; barrier "
            f"{own['barrier']:.4f} eV, ASE {peer['barrier']:.4f}; converged {own['converged']}"
        )
    ratios = [own["calls"] / peer["calls"] for own, peer in pairs]
    apart = [1000 * abs(own["barrier"] - peer["barrier"]) for own, peer in pairs]
    paths = [distance_between(np.array(own["path"]), np.array(peer["path"])) for own, peer in pairs]
    return [
        row_of("transport", "neb", method, "calls_ratio_to_ase", ratios, ""),
        row_of("transport", "neb", method, "calls", [own["calls"] for own, _ in pairs], ""),
        Row("transport", "neb", method, "barrier_difference_mev", max(apart), "meV", len(apart), 0.0),
        row_of("transport", "neb", method, "path_distance_a", paths, "Å"),
    ]


def main() -> None:
    """Run what is not kept yet, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, help="file with a JSON line per finished band")
    parser.add_argument("--only-table", action="store_true", help="run nothing: write what the cache holds")
    options = parser.parse_args()
    one_thread()
    records = Records(options.cache)
    for number, make in enumerate(TASKS):
        wanted = {method: run for method, run in RUNS.items() if method != FIRE_PEER or number < CHEAP_TASKS}
        if options.only_table or all(("neb", method, number) in records for method in wanted):
            continue
        task = make()
        for method, run in wanted.items():
            measured(records, ("neb", method, number), lambda run=run, task=task: run(task))
    rows = figures(records)
    merge_results("transport", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
