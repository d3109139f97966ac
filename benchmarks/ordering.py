"""Li/vacancy orderings of LixNiO2: how many evaluations until the lowest ordering of a composition is found.

Run it with `python benchmarks/ordering.py linio2_dft.json.gz`: a gzipped list of pymatgen's entries of ordered
LixNiO2 cells with DFT energies (those of the smol project's examples). It prints a table and writes
`benchmarks/results/ordering.json`.

The energies: a cluster expansion, fitted by ridge regression on the entries that are orderings of the O3 lattice.
Penalties grow with a power of the clusters' size; power and strength are those of least leave-one-out error, which is
therefore somewhat optimistic. It is evaluated for every symmetry-distinct ordering of a
supercell at each composition with a choice. The supercell is a multiple of the cell of the lowest entry at that
composition, so that the lowest known ordering is among those searched. The target is the lowest of all of them.

The methods: `random` draws without replacement. `genetic` knows nothing of energies; `genetic, electrostatics`
has starts that formal charges favour; `invdesign` also breeds on models of what it has evaluated, which see a third
of the pairs and none of the triplets that the energies are made of; with `full basis` they see all of them.
Settings are the defaults; none was tuned on these cases.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Row, print_table, row_of, write_results
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.candidate import genome_key
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.structures.prototypes import find_prototype
from invdesign.testing import MemoryHistory

Matrix = list[list[int]]

SEEDS = 20
TRUTH = {"pairs": 12, "triplets": 4}
POORER = {"pairs": 4, "triplets": 0}
PENALTIES = np.logspace(-5, 3, 17)
POWERS = (0.0, 2.0, 4.0, 6.0)
SUPERCELLS = {
    1: (3, 2, 1),
    2: (2, 2, 1),
    5: (3, 2, 1),
}  # by lithium per six nickel; at most 50,000 orderings each
SAME = 1e-7  # eV per formula unit: orderings that near in energy are equally good
WAVE = 200  # how many random draws are asked for at a time

METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random": ({"kind": "random"}, {"electrostatics": False}),
    "genetic": ({"kind": "genetic"}, {"electrostatics": False}),
    "genetic, electrostatics": ({"kind": "genetic"}, {}),
    "invdesign": ({"kind": "genetic", "prescreen": True}, {"clusters": POORER}),
    "invdesign, full basis": ({"kind": "genetic", "prescreen": True}, {}),
}


@dataclass(frozen=True)
class Entry:
    """A calculated ordering of the O3 lattice with six nickel atoms.

    Attributes:
        lithium: 1 to 6 atoms.
        energy: eV per formula unit.
        matrix: its cell in the primitive cell of the prototype.
        features: shape (d,), cluster correlations.
    """

    lithium: int
    energy: float
    matrix: Matrix
    features: FloatArray


def space_of(matrix: Matrix, lithium: object, **more: Any) -> Any:
    """Orderings of lithium and vacancies in a supercell of layered NiO2."""
    amounts = {"Li": lithium, "vacancy": "rest"}
    cell = {"kind": "ordering", "parent": "layered", "primitive": True, "cell": matrix}
    return settings.load("spaces", {**cell, "sites": {"A": amounts, "M": ["Ni"]}, **more})


def read_entries(path: Path) -> list[Entry]:
    """The entries whose NiO2 framework is that of the prototype, without the empty one."""
    host = find_prototype("layered").build_structure(primitive=True)
    host.replace_species({"Co": "Ni"})
    host.remove_species(["Li"])
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=15, primitive_cell=False, attempt_supercell=True)
    entries = []
    for data in json.loads(gzip.decompress(path.read_bytes())):
        structure = Structure.from_dict(data["structure"])
        structure.remove_oxidation_states()
        lithium = round(structure.composition["Li"])
        framework = structure.copy()
        framework.remove_species(["Li"])
        matrix = matcher.get_supercell_matrix(framework, host)
        if matrix is None or not lithium:
            continue
        cell = np.round(matrix).astype(int).tolist()
        space = space_of(cell, {"min": 0, "max": 6}, clusters=TRUTH, electrostatics=False)
        genome = space.adopt(structure, None)
        if genome is not None:
            entries.append(Entry(lithium, data["energy"] / 6.0, cell, space.features([genome])[0]))
    return entries


@dataclass(frozen=True)
class Expansion:
    """A cluster expansion: free terms 1, x, x^2 of the composition, penalised ones of pairs and more.

    Attributes:
        coefficients: eV per formula unit.
        error: leave-one-out root mean square, eV per formula unit.
        without: the same of the free terms alone.
    """

    coefficients: FloatArray
    error: float
    without: float

    @classmethod
    def fitted(cls, entries: Sequence[Entry], sizes: FloatArray) -> Expansion:
        """By ridge regression, with the penalties of least leave-one-out error.

        Args:
            entries: to fit to.
            sizes: shape (d - 1,), longest side of each cluster but the point, relative to the shortest.
        """
        rows = _terms(np.stack([entry.features for entry in entries]))
        y = np.array([entry.energy for entry in entries])
        free = np.zeros(3)
        options = [np.append(free, scale * sizes**power) for power in POWERS for scale in PENALTIES]
        errors = [_left_out(rows, y, penalties) for penalties in options]
        best = int(np.argmin(errors))
        without = _left_out(rows, y, np.append(free, np.full(len(sizes), 1e9)))
        return cls(_ridge(rows, y, options[best]), errors[best], without)

    def energies(self, features: FloatArray) -> FloatArray:
        """Shape (n,), eV per formula unit, of features (n, d)."""
        energies: FloatArray = _terms(features) @ self.coefficients
        return energies


def _terms(features: FloatArray) -> FloatArray:
    """1, x and x^2 of the point correlation, and the other correlations less what a random ordering has of them."""
    point = features[:, :1]
    return np.hstack([np.ones_like(point), point, point**2, features[:, 1:] - point**2])


def _ridge(rows: FloatArray, y: FloatArray, penalties: FloatArray) -> FloatArray:
    """Coefficients (t,) for rows (n, t)."""
    weights = np.diag(np.sqrt(penalties))
    solution = np.linalg.lstsq(np.vstack([rows, weights]), np.append(y, np.zeros(len(weights))), rcond=None)
    return np.asarray(solution[0], dtype=np.float64)


def _left_out(rows: FloatArray, y: FloatArray, penalties: FloatArray) -> float:
    """Root mean square error for entries left out one at a time."""
    errors = [
        y[i] - rows[i] @ _ridge(np.delete(rows, i, axis=0), np.delete(y, i), penalties) for i in range(len(y))
    ]
    return float(np.sqrt(np.mean(np.square(errors))))


def cluster_sizes() -> FloatArray:
    """Shape (d - 1,): longest side of each kind of cluster but the point, relative to the shortest pair."""
    kinds = space_of(
        [[2, 0, 0], [0, 2, 0], [0, 0, 1]], "rest", clusters=TRUTH, electrostatics=False
    ).list_cluster_kinds()
    pairs = [distance for distance, _, _ in kinds.shells]
    triplets = [max(pairs[side] for side in sides) for sides in kinds.triangles]
    return np.asarray([*pairs, *triplets], dtype=np.float64) / float(pairs[0])


@dataclass(frozen=True)
class Task:
    """One composition in one supercell.

    Attributes:
        name: of the rows.
        matrix: the supercell.
        atoms: of lithium.
        energies: eV per formula unit by key of the genome, of all distinct orderings.
        known: energy of the lowest known ordering.
    """

    name: str
    matrix: Matrix
    atoms: int
    energies: Mapping[str, float]
    known: float


def task_of(lithium: int, entries: Sequence[Entry], expansion: Expansion) -> Task:
    """The search at one composition: all orderings of a multiple of the lowest entry's cell."""
    lowest = min((entry for entry in entries if entry.lithium == lithium), key=lambda entry: entry.energy)
    matrix = (np.diag(SUPERCELLS[lithium]) @ np.array(lowest.matrix)).tolist()
    atoms = lithium * int(np.prod(SUPERCELLS[lithium]))
    space = space_of(matrix, atoms, clusters=TRUTH, electrostatics=False)
    features = np.vstack([block for _, block in space.blocks(1000)])
    keys = [genome_key(space.genome(index)) for index in range(len(space))]
    energies = dict(zip(keys, expansion.energies(features).tolist(), strict=True))
    known = float(expansion.energies(lowest.features[None, :])[0])
    return Task(f"Li{lithium}/6NiO2", matrix, atoms, energies, known)


def evaluations(method: str, task: Task, space: Any, seed: int) -> int:
    """How many evaluations until an ordering of the lowest energy is found."""
    plugin: Any = settings.load("optimizers", METHODS[method][0])
    target = min(task.energies.values()) + SAME
    problem = Problem((Objective("energy", "minimize"),))
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    state = plugin.start(Context(space, problem, history, seed, 0, (), cache))
    wave = WAVE if method == "random" else plugin.batch
    for event in range(1, 1_000_000, 2):
        proposals, state = plugin.ask(Context(space, problem, history, seed, event, (), cache), state, wave)
        if not proposals:
            break
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            energy = task.energies[history.candidate(id).key]
            history.finish(id, {"energy": energy})
            if energy <= target:
                return id + 1
        state = plugin.tell(Context(space, problem, history, seed, event + 1, (), cache), state, ids)
    raise RuntimeError(f"{method} ended before the lowest ordering of {task.name} was found")


def rows_of(tasks: Sequence[Task], seeds: int) -> list[Row]:
    """Evaluations and their ratio to random search, by composition and in the mean over compositions."""
    rows: list[Row] = []
    ratios: dict[str, list[FloatArray]] = {method: [] for method in METHODS}
    for task in tasks:
        typical = np.nan
        for method, (_, options) in METHODS.items():
            began = time.perf_counter()
            space = space_of(task.matrix, task.atoms, **options)
            found = np.array(
                [evaluations(method, task, space, seed) for seed in range(seeds)], dtype=np.float64
            )
            typical = float(np.median(found)) if method == "random" else typical
            ratios[method].append(found / typical)
            rows.append(row_of("ordering", task.name, method, "evaluations", found.tolist(), "evaluations"))
            rows.append(
                row_of("ordering", task.name, method, "ratio_to_random", (found / typical).tolist(), "")
            )
            print_table(rows[-2:])
            print(f"{'':24} {(time.perf_counter() - began) / seeds:.1f} s per search")
    for method, by_task in ratios.items():
        mean = np.mean(by_task, axis=0)
        rows.append(row_of("ordering", "linio2", method, "ratio_to_random", mean.tolist(), ""))
    return rows


def main() -> None:
    """Fit, list, search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="gzipped JSON list of pymatgen's ComputedStructureEntry")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--dry", action="store_true", help="do not write the results")
    options = parser.parse_args()
    entries = read_entries(options.data)
    expansion = Expansion.fitted(entries, cluster_sizes())
    print(
        f"{len(entries)} orderings of the O3 lattice; leave-one-out error {1e3 * expansion.error:.1f} meV per "
        f"formula unit, {1e3 * expansion.without:.1f} by composition alone"
    )
    tasks = [task_of(lithium, entries, expansion) for lithium in SUPERCELLS]
    for task in tasks:
        energies = np.array(list(task.energies.values()))
        lowest = energies.min()
        print(  # what the expansion says of orderings that nobody calculated, at its own error
            f"{task.name}: {len(energies)} distinct orderings, {np.sum(energies <= lowest + SAME)} of them lowest; "
            f"the lowest known one lies {1e3 * (task.known - lowest):.1f} meV per formula unit above, and "
            f"{np.sum(energies < task.known - SAME)} between"
        )
    rows = rows_of(tasks, options.seeds)
    print_table(rows)
    error = [1e3 * expansion.error, 1e3 * expansion.without]
    for method, value in zip(("cluster expansion", "composition alone"), error, strict=True):
        rows.append(row_of("ordering", "linio2_fit", method, "leave_one_out_error", [value], "meV/f.u."))
    if not options.dry:
        write_results("ordering", rows)


if __name__ == "__main__":
    main()
