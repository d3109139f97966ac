"""SevenNet beside CHGNet: CPU time per call, the laws that energies keep, lattice constants of salts, insertion voltages, and phases.

    python benchmarks/second_potential.py time | laws | lattices | voltages | phases

Needs the extra `sevennet`. Crystals are those of the shipped reference sets, with their published cells. `phases` relaxes those of
Li, P, S, Cl, Br and I as the shipped set was (half an hour on one core), keeps each finished one in `runs/`, and writes the set
`campaigns/data/sulfides-7net.json`.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from common import Row, merge_results
from truth_enthalpies import Pair, pair_phases
from truth_tasks.hull_leave_one_out import (
    ON,
    area_under_curve,
    decomposition_without,
    interval,
    read_distances,
)
from truth_tasks.window_sulfides import list_limits
from truth_windows import mean_row

from invdesign.arrays import FloatArray
from invdesign.settings import load
from invdesign.structures.crystallography import Crystal, read_crystals
from surrogates.potentials.chgnet import CHGNet
from surrogates.potentials.sevennet import SevenNet
from surrogates.relaxation.relax import relax_structure, to_atoms
from surrogates.stability.reference import ReferenceSet, load_shipped_set
from surrogates.stability.reference_build import Progress, build_reference
from surrogates.stability.reference_sources import PublishedCrystal, read_structures

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
BOTH = "chgnet and 7net-0"
PHASES = "second_potential_phases"
SECOND_SET = Path(__file__).resolve().parents[1] / "campaigns" / "data" / "sulfides-7net.json"
SYSTEM = ("Li", "P", "S", "Cl", "Br", "I")
CALLS = 7  # of which the least counts
STEP, STRAIN = 0.01, 2e-3  # Å and strain of central differences


def published() -> Mapping[str, Crystal]:
    """Crystals of the shipped reference set, by name."""
    return read_crystals(files("surrogates").joinpath("references", "lithium-chalcohalides.yaml"))


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
        mean_row(task, BOTH, "mae_of_mean_v", np.abs(both).tolist(), "V"),
        _row(task, "correlation_of_errors", float(np.corrcoef(errors, others)[0, 1]), len(errors)),
        _row(
            task,
            "correlation_of_distance_and_error",
            float(np.corrcoef(apart, np.abs(both))[0, 1]),
            len(errors),
        ),
    ]


def compare_phases() -> None:
    """Energies of formation, windows and leave-one-out hulls of one chemical system by both potentials."""
    sets = {"chgnet": select_system(load_shipped_set("battery-phases")), "7net-0": build_second_set()}
    SECOND_SET.write_text(sets["7net-0"].to_json(), encoding="utf-8")
    rows = compare_formation({name: pair_phases(reference) for name, reference in sets.items()})
    for name, reference in sets.items():
        limits = list(list_limits(reference))
        errors = [abs(value - published) for *_, value, published in limits]
        for formula, limit, value, published in limits:
            print(f"{name}: {formula} {limit} at {value:.2f} V, published {published:.2f} V")
        rows.append(Row("truth", PHASES, name, "window_max_error_v", max(errors), "V", len(errors), 0.0))
    merge_results("truth", [*rows, *compare_hulls(sets)])


def select_system(reference: ReferenceSet) -> ReferenceSet:
    """The phases of a set that consist of the elements of SYSTEM."""
    return reference.model_copy(update={"phases": tuple(reference.select_phases(SYSTEM))})


def build_second_set() -> ReferenceSet:
    """The published crystals of SYSTEM relaxed by 7net-0."""
    folder = Path(str(files("surrogates"))) / "references"
    crystals = [
        crystal
        for name in ("lithium-chalcohalides.yaml", "battery-phases.yaml")
        for crystal in read_structures(folder / name)
        if isinstance(crystal, PublishedCrystal)
        and {e.symbol for e in crystal.structure.elements} <= set(SYSTEM)
    ]
    partial = Path(__file__).resolve().parents[1] / "runs" / "second_potential_phases.jsonl"
    partial.parent.mkdir(exist_ok=True)
    return build_reference(
        crystals,
        load("potentials", "sevennet"),
        name=SECOND_SET.stem,
        title="Li, P, S, Cl, Br, I by 7net-0",
        systems=("-".join(SYSTEM),),
        partial=partial,
        report=_print_progress,
    )


def compare_formation(pairs: Mapping[str, Sequence[Pair]]) -> list[Row]:
    """Rows on errors of energies of formation by potential, and on what they have in common."""
    rows = []
    for name, found in pairs.items():
        errors = [pair.error for pair in found]
        rows += [
            mean_row(PHASES, name, "formation_mae_ev_per_atom", [abs(error) for error in errors], "eV/atom"),
            mean_row(PHASES, name, "formation_bias_ev_per_atom", errors, "eV/atom"),
        ]
    ours, others = (np.array([pair.error for pair in found]) for found in pairs.values())
    for one, other in zip(*pairs.values(), strict=True):
        assert one.formula == other.formula, (one, other)
        print(
            f"{one.formula}: measured {one.measured:.3f} eV/atom, chgnet {one.error:+.3f}, 7net-0 {other.error:+.3f}"
        )
    both = np.abs(ours + others) / 2
    return [
        *rows,
        mean_row(PHASES, BOTH, "formation_mae_of_mean_ev_per_atom", both.tolist(), "eV/atom"),
        _row(PHASES, "correlation_of_errors", float(np.corrcoef(ours, others)[0, 1]), len(ours)),
        _row(
            PHASES,
            "correlation_of_distance_and_error",
            float(np.corrcoef(np.abs(ours - others), both)[0, 1]),
            len(ours),
        ),
    ]


def compare_hulls(sets: Mapping[str, ReferenceSet]) -> list[Row]:
    """Rows on how far a phase lies from the hull of all others, by potential and by the mean of both."""
    distances = read_distances()
    named = {name: {phase.name: phase for phase in reference.phases} for name, reference in sets.items()}
    scores: list[list[float]] = []
    labels: list[float] = []
    for phase in sets["chgnet"].phases:
        mp_id = re.search(r"mp-\d+", phase.source)
        if (
            not mp_id
            or mp_id[0] not in distances
            or len(phase.composition) == 1
            or phase.name not in named["7net-0"]
        ):
            continue
        found = [decomposition_without(sets[name], named[name][phase.name]) for name in sets]
        if None not in found:
            scores.append([value for value in found if value is not None])
            labels.append(float(distances[mp_id[0]] <= ON))
    ours, others = np.array(scores).T
    truth = np.array(labels)
    print(f"{len(truth)} phases, {int(truth.sum())} on the hull of the Materials Project")
    methods = {"chgnet": ours, "7net-0": others, BOTH: (ours + others) / 2}
    rows = [
        Row(
            "truth", PHASES, name, "leave_one_out_auc", area_under_curve(values, truth), "", len(truth), 0.0,
            *interval(values, truth),
        )
        for name, values in methods.items()
    ]  # fmt: skip
    apart = (1000 * np.abs(ours - others)).tolist()
    return [
        *rows,
        mean_row(PHASES, BOTH, "distance_of_decomposition_energies_mev_per_atom", apart, "meV/atom"),
        _row(
            PHASES,
            "correlation_of_decomposition_energies",
            float(np.corrcoef(ours, others)[0, 1]),
            len(truth),
        ),
    ]


def _row(task: str, metric: str, value: float, n: int) -> Row:
    return Row("truth", task, BOTH, metric, value, "", n, 0.0, None, None)


def _print_progress(progress: Progress) -> None:
    print(f"[{progress.number}/{progress.total}] {progress.result.name} {progress.seconds:.0f} s", flush=True)


TASKS: dict[str, Callable[[], None]] = {
    "time": time_calls,
    "laws": check_laws,
    "lattices": relax_salts,
    "voltages": measure_voltages,
    "phases": compare_phases,
}


def main(names: Sequence[str]) -> None:
    for name in names or TASKS:
        TASKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
