"""Time of one interface reaction and of one window, beside pymatgen in the same process.

`python benchmarks/stability_speed.py`: CPU milliseconds of one thread, in turns. `phases_200` is a made-up set of six elements with 200 phases,
and ten pairs of compositions of all six; `battery_phases` the shipped set with five pairs of phases. `worst` is
`find_worst_reaction`, `kinks` is `list_kinks`; pymatgen's are `InterfacialReactivity.get_kinks` and `get_element_profile` with the
phase diagram at hand (`pymatgen`) and with its construction (`pymatgen with diagram`). A set's arrays are tabulated once before, as in
a run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from common import Row, print_table, row_of, write_results
from pymatgen.analysis.interface_reactions import InterfacialReactivity
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from surrogates.stability.interface import find_worst_reaction, list_kinks
from surrogates.stability.mutual_reaction import Reactant
from surrogates.stability.phase_arrays import tabulate_phases
from surrogates.stability.reference import (
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    RelaxationRecord,
    load_shipped_set,
    make_reference,
)
from surrogates.stability.windows import electrochemical_window

SHIPPED = "battery-phases"
SYMBOLS = ("Li", "Co", "O", "P", "S", "Cl")
COUNT = 200
PAIRS = (
    ("LiCoO2", "Li6PS5Cl"), ("LiCoO2", "Li3PS4"), ("Co3O4", "Li2S"), ("LiCoPO4", "Li3PS4"), ("Li4P2O7", "CoS2"),
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """A set with pairs of compositions in it.

    Attributes:
        name: of the task.
        reference: the phases.
        pairs: of compositions.
    """

    name: str
    reference: ReferenceSet
    pairs: tuple[tuple[Composition, Composition], ...]


def make_up_phases(rng: np.random.Generator) -> Iterator[Phase]:
    """Elements, a compound of every pair, and compounds of two to four elements with random energies of formation."""
    elements = dict(zip(SYMBOLS, (-1.9, -7.1, -4.9, -5.4, -4.1, -1.8), strict=True))
    amounts = [{symbol: 1} for symbol in SYMBOLS]
    amounts += [{a: 1, b: 1} for i, a in enumerate(SYMBOLS) for b in SYMBOLS[:i]]
    while len(amounts) < COUNT:
        chosen = rng.choice(SYMBOLS, size=rng.integers(2, 5), replace=False)
        amounts.append({str(symbol): int(rng.integers(1, 6)) for symbol in chosen})
    for number, item in enumerate(amounts):
        n = sum(item.values())
        bare = sum(count * elements[symbol] for symbol, count in item.items())
        species = tuple(symbol for symbol, count in item.items() for _ in range(count))
        cell = Cell(
            lattice=((2.0 * n, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 2.0)),
            species=species,
            positions=tuple((at / n, 0.0, 0.0) for at in range(n)),
        )
        gain = 0.0 if len(item) == 1 else n * float(rng.uniform(0.1, 1.2))
        formula = Composition(item).reduced_formula
        yield Phase(
            name=f"{formula} {number}", formula=formula, energy=bare - gain, source="made up", cell=cell
        )


def list_systems() -> list[System]:
    """The made-up set and the shipped one."""
    rng = np.random.default_rng(0)
    made = make_reference(
        name="made up",
        potential=PotentialRecord(label="none", fingerprint="none", settings={}),
        relaxation=RelaxationRecord(fmax=0.01, smax=0.05, steps=500),
        phases=list(make_up_phases(rng)),
        versions={},
    )
    mixed = [
        Composition(dict(zip(SYMBOLS, rng.integers(1, 9, size=6).tolist(), strict=True))) for _ in range(20)
    ]
    real = load_shipped_set(SHIPPED)
    return [
        System("phases_200", made, tuple(zip(mixed[::2], mixed[1::2], strict=True))),
        System("battery_phases", real, tuple((Composition(a), Composition(b)) for a, b in PAIRS)),
    ]


def measure(system: System, repeats: int) -> list[Row]:
    """Medians over the pairs of a system.

    Args:
        system: the set and the pairs.
        repeats: turns of every pair.
    """
    times: dict[tuple[str, str], list[float]] = {}

    def clock(method: str, metric: str, call: Callable[[], object]) -> None:
        began = time.process_time()
        call()
        times.setdefault((method, metric), []).append(1e3 * (time.process_time() - began))

    for first, second in system.pairs:
        symbols = {e.symbol for c in (first, second) for e in c}
        entries = [
            PDEntry(Composition(p.composition), p.energy) for p in system.reference.select_phases(symbols)
        ]
        diagram = PhaseDiagram(entries)
        tabulate_phases(system.reference, symbols)
        tabulate_phases(system.reference, [e.symbol for e in first])
        ends = Reactant(first), Reactant(second)
        energy = float(diagram.get_hull_energy_per_atom(first))
        own = [e for e in entries if set(e.composition) <= set(first)]
        profile = PhaseDiagram(own)
        for _ in range(repeats):
            clock("invdesign", "worst_ms", lambda e=ends: find_worst_reaction(system.reference, *e))
            clock("invdesign", "kinks_ms", lambda e=ends: list_kinks(system.reference, *e))
            clock(
                "pymatgen",
                "kinks_ms",
                lambda a=first, b=second, d=diagram: InterfacialReactivity(
                    a, b, d, use_hull_energy=True
                ).get_kinks(),
            )
            clock(
                "pymatgen with diagram",
                "kinks_ms",
                lambda a=first, b=second, e=entries: InterfacialReactivity(
                    a, b, PhaseDiagram(e), use_hull_energy=True
                ).get_kinks(),
            )
            if "Li" not in first or len(first) == 1:
                continue
            clock(
                "invdesign",
                "window_ms",
                lambda c=first, e=energy: electrochemical_window(system.reference, c, e, "Li"),
            )
            clock("pymatgen", "window_ms", lambda d=profile, c=first: d.get_element_profile(Element("Li"), c))
            clock(
                "pymatgen with diagram",
                "window_ms",
                lambda e=own, c=first: PhaseDiagram(e).get_element_profile(Element("Li"), c),
            )
    return [
        row_of("stability_speed", system.name, method, metric, found, "ms")
        for (method, metric), found in times.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    rows = [row for system in list_systems() for row in measure(system, chosen.repeats)]
    write_results("stability_speed", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
