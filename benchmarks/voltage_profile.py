"""Voltage profiles from energies that are there: milliseconds, beside pymatgen's `InsertionElectrode`, in one process.

Olivine LiFePO4 with 0 to 4 of 4 lithium ions, up to six orderings each, energies drawn at random; the relaxations are not part of it.
pymatgen takes one entry per composition, so the lowest of each is chosen before, on both sides within the measured time.
`python benchmarks/voltage_profile.py` writes `results/electrode.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations

import numpy as np
from common import Row, print_table, row_of, write_results
from pymatgen.apps.battery.insertion_battery import InsertionElectrode
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from invdesign.structures.prototypes import find_prototype
from surrogates.electrode.capacity import find_capacity
from surrogates.electrode.sites import find_ion_sites
from surrogates.electrode.voltage import Profile, find_profile

REPEATS = 200
METAL = -1.9  # eV/atom
TASK = "profile of 5 compositions, 16 orderings"


def make_entries() -> tuple[list[ComputedStructureEntry], ComputedStructureEntry]:
    """Entries of all orderings, and of the metal."""
    rng = np.random.default_rng(1)
    sites = find_ion_sites(find_prototype("olivine").build_structure(), "Li", empty=False)
    entries = [
        ComputedStructureEntry(
            sites.fill(chosen), -190.0 - 5.3 * count + rng.normal(scale=0.2), entry_id=f"{count}-{number}"
        )
        for count in range(5)
        for number, chosen in enumerate(combinations(range(4), count))
    ]
    metal = Structure(Lattice.cubic(3.5093), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return entries, ComputedStructureEntry(metal, 2 * METAL, entry_id="Li")


def profile_here(entries: list[ComputedStructureEntry]) -> tuple[Profile, float]:
    """Profile and gravimetric capacity by this package."""
    energies: dict[int, list[float]] = {}
    ends: dict[int, ComputedStructureEntry] = {}
    for entry in entries:
        count = int(entry.composition["Li"])
        energies.setdefault(count, []).append(entry.energy)
        if count not in ends or entry.energy < ends[count].energy:
            ends[count] = entry
    low, high = ends[min(ends)], ends[max(ends)]
    capacity = find_capacity(
        max(ends) - min(ends), 1, high.composition.weight, low.composition.weight, high.structure.volume
    )
    return find_profile(energies, METAL), capacity.per_discharged_mass


def profile_of_pymatgen(
    entries: list[ComputedStructureEntry], metal: ComputedStructureEntry
) -> tuple[list[float], float]:
    """Profile and gravimetric capacity by pymatgen."""
    lowest: dict[float, ComputedStructureEntry] = {}
    for entry in entries:
        count = entry.composition["Li"]
        if count not in lowest or entry.energy < lowest[count].energy:
            lowest[count] = entry
    electrode = InsertionElectrode.from_entries(list(lowest.values()), metal)
    return [pair.voltage for pair in electrode.voltage_pairs], electrode.get_capacity_grav()


def time_calls(call: Callable[[], object]) -> list[float]:
    """Milliseconds of each of `REPEATS` calls."""
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        found.append(1000.0 * (time.perf_counter() - began))
    return found


def measure() -> list[Row]:
    """Both on the same entries; their plateaus and capacities agree."""
    entries, metal = make_entries()
    (ours, capacity), (theirs, other) = profile_here(entries), profile_of_pymatgen(entries, metal)
    np.testing.assert_allclose([step.voltage for step in ours.steps], theirs, atol=1e-9)
    np.testing.assert_allclose(capacity, other, rtol=1e-6)
    return [
        row_of("electrode", TASK, "invdesign", "profile_ms", time_calls(lambda: profile_here(entries)), "ms"),
        row_of(
            "electrode",
            TASK,
            "pymatgen InsertionElectrode",
            "profile_ms",
            time_calls(lambda: profile_of_pymatgen(entries, metal)),
            "ms",
        ),
    ]


if __name__ == "__main__":
    rows = measure()
    print_table(rows)
    write_results("electrode", rows)
