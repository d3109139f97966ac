"""SevenNet beside CHGNet: CPU time per call, the laws that energies keep, lattice constants of salts, and insertion voltages.

    python benchmarks/second_potential.py time | laws | lattices | voltages

Needs the extra `sevennet`. Crystals are those of the shipped reference set, with their published cells.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from ase import Atoms
from common import Row, merge_results
from truth_windows import mean_row

from invdesign.arrays import FloatArray
from invdesign.structures.crystallography import Crystal, read_entries
from surrogates.potentials.chgnet import CHGNet
from surrogates.potentials.sevennet import SevenNet
from surrogates.relaxation.relax import relax_structure, to_atoms

WANT = frozenset({"energy", "forces", "stress"})
POTENTIALS: dict[str, Callable[[], Any]] = {
    "chgnet": lambda: CHGNet(device="cpu"),
    "7net-0": lambda: SevenNet(device="cpu"),
    "7net-mf-0 PBE": lambda: SevenNet(model="7net-mf-0", modal="PBE", device="cpu"),
    "7net-l3i5": lambda: SevenNet(model="7net-l3i5", device="cpu"),
}
LATTICE_CONSTANTS = {"Li": 3.509, "LiF": 4.03, "LiCl": 5.14, "Li2O": 4.619, "Li2S": None}
"""Å, measured. Sources: lithium, R. W. G. Wyckoff, Crystal Structures, vol. 1 (1963); LiF and LiCl, K. S. Song and R. T. Williams,
Self-Trapped Excitons (1996), table 5.7; Li2O, E. Zintl, A. Harder and B. Dauth, Z. Elektrochem. 40, 588 (1934). None for Li2S: its cell is PBE's."""
CALLS = 7  # of which the least counts
STEP, STRAIN = 0.01, 2e-3  # Å and strain of central differences


def published() -> dict[str, Crystal]:
    """Crystals of the shipped reference set, by name."""
    text = files("surrogates").joinpath("references", "lithium-chalcohalides.yaml").read_text("utf-8")
    return {name: item for name, item in read_entries(text) if isinstance(item, Crystal)}


def crystals() -> dict[str, Atoms]:
    """Four crystals of 2 to 28 atoms, off their symmetric positions."""
    known = published()
    found = {}
    for name in ("LiCl", "Li2O", "Li2SO4"):
        atoms = to_atoms(known[name].build_structure(primitive=True))
        atoms.rattle(0.03, seed=2)
        found[name] = atoms
    places = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5,) * 3, (0,) * 3]
    mixed = Atoms("Li3OCl", scaled_positions=places, cell=[3.9] * 3, pbc=True).repeat((1, 1, 2))
    mixed.rattle(0.05, seed=3)
    return {**found, "Li6O2Cl2": mixed}


def time_calls() -> None:
    """Milliseconds of CPU per call, the least of `CALLS`."""
    for kind, make in POTENTIALS.items():
        potential = make()
        began = time.perf_counter()
        potential.prepare()
        loaded = time.perf_counter() - began
        cells = []
        for name, atoms in crystals().items():
            for _ in range(3):  # the first calls compile
                potential.compute([atoms], WANT)
            spent = []
            for seed in range(CALLS):
                moved = atoms.copy()
                moved.rattle(0.001, seed=seed)
                began = time.process_time()
                potential.compute([moved], WANT)
                spent.append(time.process_time() - began)
            cells.append(f"{name} ({len(atoms)}) {1000 * min(spent):.0f} ms")
        print(f"{kind}: loaded in {loaded:.0f} s; {', '.join(cells)}")


def slope_errors(potential: Any, atoms: Atoms) -> tuple[float, float]:
    """Errors of a force (eV/Å) and of a stress (eV/Å^3) against central differences of the energy."""
    rng = np.random.default_rng(0)
    found = potential.compute([atoms], WANT)[0]
    direction = rng.normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)

    def energy(moved: float, strained: float) -> float:
        changed = atoms.copy()
        changed.positions += moved * direction
        changed.set_cell(changed.cell.array @ (np.eye(3) + strained * strain), scale_atoms=True)
        return float(potential.compute([changed], WANT)[0].energy)

    force = (energy(-STEP, 0) - energy(STEP, 0)) / (2 * STEP)
    stress = (energy(0, STRAIN) - energy(0, -STRAIN)) / (2 * STRAIN) / atoms.get_volume()
    return (
        abs(force - float((found.forces * direction).sum())),
        abs(stress - float((found.stress * strain).sum())),
    )


def check_laws() -> None:
    """Determinism, slopes of the energy, and what a turned, renumbered and doubled cell changes."""
    for kind, make in list(POTENTIALS.items())[1:]:
        potential = make()
        for name, atoms in crystals().items():
            one, again = (potential.compute([atoms], WANT)[0] for _ in range(2))
            other = atoms.copy()
            other.translate([0.3, 0.7, 1.1])
            other.rotate(37, (1, 2, 3), rotate_cell=True)
            other = other[::-1].repeat((1, 1, 2))
            turned = potential.compute([other], WANT)[0]
            force, stress = slope_errors(potential, atoms)
            same = one.energy == again.energy and bool((one.forces == again.forces).all())
            print(
                f"{kind}, {name}: repeats {'equal' if same else 'differ'}; force {1000 * force:.2f} meV/Å, stress "
                f"{1000 * stress:.3f} meV/Å^3 off the slope; other cell "
                f"{1e6 * abs(turned.energy / 2 - one.energy) / len(atoms):.2f} µeV/atom"
            )


def relax_salts() -> None:
    """Lattice constants after relaxation beside the published ones."""
    known = published()
    for kind in ("chgnet", "7net-0", "7net-l3i5"):
        potential = POTENTIALS[kind]()
        for name, measured in LATTICE_CONSTANTS.items():
            crystal = known[name]
            start = crystal.build_structure(primitive=True)
            found = relax_structure(start, potential, fmax=0.01, smax=0.05)
            a = crystal.cell[0] * (found.structure.volume / start.volume) ** (1 / 3)
            beside = (
                "" if measured is None else f", measured {measured:.3f} Å, {100 * (a / measured - 1):+.1f} %"
            )
            print(f"{kind}, {name}: {a:.3f} Å, start {crystal.cell[0]:.3f} Å{beside}, {found.calls} calls")


def measure_voltages() -> None:
    """Errors of nine average voltages by both potentials, and what they have in common; a quarter of an hour."""
    from truth_tasks.voltage_couples import COUPLES, TASK, evaluate_couples

    measured = np.array([couple.measured for couple in COUPLES])
    voltages = {
        name: np.array([item.properties["average_voltage"] for item in evaluate_couples(kind)])
        for name, kind in (("chgnet", "chgnet"), ("7net-0", "sevennet"))
    }
    for couple, ours, other in zip(COUPLES, *voltages.values(), strict=True):
        print(f"{couple.name}: measured {couple.measured:.2f} V, chgnet {ours:.2f}, 7net-0 {other:.2f}")
    merge_results("truth", compare_voltages(TASK, measured, voltages["chgnet"], voltages["7net-0"]))


def compare_voltages(task: str, measured: FloatArray, ours: FloatArray, other: FloatArray) -> list[Row]:
    """Rows on the voltages of two potentials, shape (n,) each, V."""
    errors, others = ours - measured, other - measured
    both, apart = (errors + others) / 2, np.abs(errors - others)
    return [
        mean_row(task, "7net-0", "mae_to_experiment_v", np.abs(others).tolist(), "V"),
        mean_row(task, "7net-0", "rms_to_experiment_v", [float(np.sqrt(np.mean(others**2)))], "V"),
        mean_row(task, "chgnet and 7net-0", "mae_of_mean_v", np.abs(both).tolist(), "V"),
        _row(task, "correlation_of_errors", float(np.corrcoef(errors, others)[0, 1]), len(errors)),
        _row(
            task,
            "correlation_of_distance_and_error",
            float(np.corrcoef(apart, np.abs(both))[0, 1]),
            len(errors),
        ),
    ]


def _row(task: str, metric: str, value: float, n: int) -> Row:
    return Row("truth", task, "chgnet and 7net-0", metric, value, "", n, 0.0, None, None)


TASKS: dict[str, Callable[[], None]] = {
    "time": time_calls,
    "laws": check_laws,
    "lattices": relax_salts,
    "voltages": measure_voltages,
}


def main(names: Sequence[str]) -> None:
    for name in names or TASKS:
        TASKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
