"""Rigid registry: how many evaluations until two solids, as they are, stick together nearly as well as they can.

`python benchmarks/interface_registry.py table` computes rigid energies with CHGNet for every match of three pairs of solids on a grid of
shifts, each at the best of some gaps, and writes `benchmarks/registry_energies.json`. `python benchmarks/interface_registry.py search`
searches that table, between its points by periodic cubic splines, with optimizers in the space `interface` (match and shift vary), and
adds to `benchmarks/results/interfaces.json`.

The energy is that of the bicrystal with a vacuum, less that of both slabs alone, per area: none is relaxed. A search ends at an energy
within 10 meV/Å² of the lowest on a fine grid over all matches. `ratio_to_random` is the number of evaluations over the median of random
search. Settings are the defaults; none was tuned on these cases.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from common import Row, merge_results, print_table, row_of
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.structures.bicrystals import (
    Bicrystal,
    Match,
    build_bicrystal,
    list_matches,
    list_slabs,
    make_solid,
)
from invdesign.testing import MemoryHistory

TABLE = Path(__file__).parent / "registry_energies.json"
VACUUM = 10.0  # Å
SPACING = 0.8  # Å, largest distance of shifts in the table
FINEST = 48  # points along each vector of the grid that gives the lowest energy
GAPS = (1.0, 1.5, 2.0, 2.6, 3.4)  # Å
NEAR = 10.0  # meV/Å² above the lowest energy at which a search ends
SEEDS = 20
MOST = 2_000  # evaluations of a search
CUBIC = ((1, 0, 0), (1, 1, 0), (1, 1, 1))

PROBLEMS: dict[str, dict[str, Any]] = {
    "Li|Li2O": {
        "substrate": {"parent": "antifluorite", "planes": CUBIC, "thickness": 5.0},
        "film": {"metal": "Li", "planes": CUBIC, "thickness": 5.0},
        "match": {"max_area": 100.0, "max_strain": 0.05, "max_atoms": 80},
    },
    "Li|Li3N": {
        "substrate": {
            "parent": "lithium_nitride",
            "planes": ((0, 0, 1), (1, 0, 0), (1, 1, 0)),
            "thickness": 5.0,
        },
        "film": {"metal": "Li", "planes": CUBIC, "thickness": 5.0},
        "match": {"max_area": 100.0, "max_strain": 0.05, "max_atoms": 80},
    },
    "LiCoO2|Li3PS4": {
        "substrate": {"parent": "layered", "planes": ((1, 1, 0), (1, 0, 4)), "layers": 2},
        "film": {"parent": "Li3PS4_gamma", "planes": ((0, 1, 0), (1, 0, 0)), "layers": 1},
        "match": {"max_area": 95.0, "max_strain": 0.05, "max_atoms": 100},
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "random": {"kind": "random"},
    "genetic": {"kind": "genetic"},
    "genetic, prescreen": {"kind": "genetic", "prescreen": True},
    "swarm": {"kind": "swarm"},
    "bayesian": {"kind": "bayesian"},
}


def list_problem_matches(problem: Mapping[str, Any]) -> list[Match]:
    """Matches of a problem: those that the space `interface` has with the same settings."""
    sides = []
    for choice in (problem["substrate"], problem["film"]):
        solid = make_solid("lithium" if choice.get("metal") == "Li" else choice["parent"])
        sides.append(
            [
                slab
                for plane in choice["planes"]
                for slab in list_slabs(
                    solid, plane, layers=choice.get("layers"), thickness=choice.get("thickness")
                )
            ]
        )
    return list_matches(*sides, **problem["match"])


def compute_energies(atoms: Sequence[Atoms]) -> FloatArray:
    """Energies of CHGNet, eV, shape (n,)."""
    from surrogates.potentials.chgnet import CHGNet

    found = CHGNet().compute(list(atoms), frozenset({"energy"}))
    return np.array([one.energy for one in found])


def tabulate_match(match: Match) -> FloatArray:
    """Rigid energies (m, k) of a match at shifts i/m, j/k, meV/Å²."""
    bicrystal = build_bicrystal(match, boundary="vacuum", vacuum=VACUUM)
    lengths = np.linalg.norm(bicrystal.displacement_cell, axis=1)
    shape = tuple(int(max(4, np.ceil(length / SPACING))) for length in lengths)
    found = np.empty(shape)
    known: dict[tuple[float, ...], float] = {}
    alone = _energy_alone(bicrystal)
    for place in np.ndindex(*shape):
        shift = bicrystal.canonical_shift(np.array(place) / shape)[0]
        key = tuple(np.round(shift, 5).tolist())
        if key not in known:
            known[key] = _best_gap(bicrystal, shift) - alone
        found[place] = 1000 * known[key] / match.area
    return found


def _energy_alone(bicrystal: Bicrystal) -> float:
    """Energy of both slabs without each other, eV."""
    parts = []
    for side in ("substrate", "film"):
        cell, sites, positions = bicrystal.place_slab(side, VACUUM)  # type: ignore[arg-type]
        symbols = [bicrystal.elements[site] for site in sites]
        parts.append(Atoms(symbols, positions=positions, cell=cell, pbc=True))
    return float(compute_energies(parts).sum())


def _best_gap(bicrystal: Bicrystal, shift: FloatArray) -> float:
    """Lowest energy over gaps at one shift, eV."""
    energies = compute_energies(
        [
            Atoms(list(bicrystal.elements), positions=positions, cell=cell, pbc=True)
            for cell, positions in (bicrystal.place(shift, gap) for gap in GAPS)
        ]
    )
    return float(CubicSpline(GAPS, energies)(np.linspace(GAPS[0], GAPS[-1], 200)).min())


def write_table(names: Sequence[str]) -> None:
    """Compute the energies of some problems; those of the others stay."""
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.is_file() else {}
    for name in names:
        start = time.perf_counter()
        matches = list_problem_matches(PROBLEMS[name])
        rows = table.setdefault(name, {})
        for number, match in enumerate(matches, start=1):
            if match.name in rows:
                continue
            rows[match.name] = np.round(tabulate_match(match), 2).tolist()
            TABLE.write_text(json.dumps(table, indent=None) + "\n", encoding="utf-8")
            print(
                f"{name} {number}/{len(matches)} {match.name}: {match.atoms} atoms, lowest {np.min(rows[match.name]):.1f} meV/Å², "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )


class Energies:
    """Rigid energies of a problem at any match and shift."""

    def __init__(self, name: str) -> None:
        rows = json.loads(TABLE.read_text(encoding="utf-8"))[name]
        self.tables = {match: np.array(values) for match, values in rows.items()}

    def at(self, match: str, shifts: FloatArray) -> FloatArray:
        """Energies (n,) at shifts (n, 2) of a match, meV/Å²."""
        table = self.tables[match]
        places = np.asarray(shifts, dtype=np.float64) * table.shape
        found: FloatArray = map_coordinates(table, places.T, order=3, mode="grid-wrap")
        return found

    @property
    def lowest(self) -> float:
        """Lowest energy over all matches on a fine grid."""
        axis = np.arange(FINEST) / FINEST
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        return min(float(self.at(match, grid).min()) for match in self.tables)


@cache
def load_space(name: str) -> Any:
    """Space of a problem, with match and shift free."""
    return settings.load(
        "spaces", {"kind": "interface", "boundary": "vacuum", "gap": 2.0, "region": 1.0, **PROBLEMS[name]}
    )


def count_evaluations(method: str, name: str, energies: Energies, goal: float, seed: int) -> int:
    """Count evaluations until an energy is at the goal or below; `MOST` where none is."""
    plugin: Any = settings.load("optimizers", METHODS[method])
    space = load_space(name)
    problem = Problem((Objective("energy", "minimize"),))
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    state = plugin.start(Context(space, problem, history, seed, 0, (), cache))
    for event in range(1, 1_000_000, 2):
        proposals, state = plugin.ask(
            Context(space, problem, history, seed, event, (), cache), state, plugin.batch
        )
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            genome: Any = history.candidate(id).genome
            energy = float(energies.at(genome["match"], np.array([genome["shift"]]))[0])
            history.finish(id, {"energy": energy})
            if energy <= goal or id + 1 >= MOST:
                return id + 1
        state = plugin.tell(Context(space, problem, history, seed, event + 1, (), cache), state, ids)
    return MOST


def search(names: Sequence[str], methods: Sequence[str], seeds: int) -> list[Row]:
    """Rows of all searches."""
    rows: list[Row] = []
    for name in names:
        energies = Energies(name)
        goal = energies.lowest + NEAR
        typical = np.nan
        for method in methods:
            start = time.perf_counter()
            found = np.array(
                [count_evaluations(method, name, energies, goal, seed) for seed in range(seeds)], float
            )
            typical = float(np.median(found)) if method == "random" else typical
            task = f"registry {name}"
            rows.append(row_of("interfaces", task, method, "evaluations", found.tolist(), "evaluations"))
            rows.append(row_of("interfaces", task, method, "ratio_to_random", (found / typical).tolist(), ""))
            print_table(rows[-2:])
            print(f"{(time.perf_counter() - start) / seeds:.2f} s per search", flush=True)
    return rows


def main() -> None:
    """Compute the table, or search it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=["table", "search"])
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    if options.task == "table":
        write_table(options.problems)
    else:
        merge_results("interfaces", search(options.problems, options.methods, options.seeds))


if __name__ == "__main__":
    main()
