"""Published results that campaigns find again, one or more per shipped property.

Each campaign is a file in `benchmarks/literature` or `campaigns`, run as a user runs it, in `runs/truth-literature`; a run that
is finished is read, one that was stopped goes on. About three minutes of CPU for all. What was published stands here as
numbers with its source; the table with the sources is in `docs/truth.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Row
from scipy.stats import spearmanr
from truth_windows import NoDatumError, mean_row, measured_limit

from invdesign.campaign.load import load_campaign
from invdesign.run.run import Run

if TYPE_CHECKING:
    from pandas import DataFrame
    from pymatgen.core import Structure

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs" / "truth-literature"
METHOD = "invdesign"

LATTICE_CONSTANTS = {
    "LiF": 4.03, "LiCl": 5.14, "LiBr": 5.50, "LiI": 6.00, "NaF": 4.63, "NaCl": 5.64, "NaBr": 5.98, "NaI": 6.47,
    "KF": 5.35, "KCl": 6.29, "KBr": 6.60, "KI": 7.07,
}  # fmt: skip
"""Å, measured. Source: K. S. Song and R. T. Williams, Self-Trapped Excitons, 2nd ed. (Springer, Berlin, 1996), table 5.7."""

ANTIPEROVSKITES = {("O", "Cl"), ("O", "Br"), ("H", "S"), ("H", "Se"), ("H", "Te")}
"""Made, as (octahedral, large) anion of Li3BX. Sources: Y. Zhao and L. L. Daemen, J. Am. Chem. Soc. 134, 15042 (2012),
doi:10.1021/ja305709z; S. Gao et al., Nat. Commun. 12, 201 (2021), doi:10.1038/s41467-020-20370-2."""

LI3OCL_LIMIT = 2.5
"""V, above which Li3OCl turns to Li2O2, LiCl and LiClO4, computed with density functional theory.
Source: A. Emly, E. Kioupakis and A. Van der Ven, Chem. Mater. 25, 4663 (2013), doi:10.1021/cm4016222."""

LIFEPO4_ALONG, LIFEPO4_ACROSS = 0.27, 2.5
"""eV, barriers along and across the tunnels of LiFePO4, computed with density functional theory; those of LiMnPO4, LiCoPO4 and
LiNiPO4 were found one-dimensional too. Source: D. Morgan, A. Van der Ven and G. Ceder, Electrochem. Solid-State Lett. 7, A30
(2004), doi:10.1149/1.1633511."""

CONDUCTIVITIES = {"La": 1e-3, "Pr": 1e-6, "Nd": 8e-8, "Sm": 2e-7}
"""S/cm at room temperature, of about Li0.35Ln0.55TiO3. Sources: rows sv7, kxh, 3we and i6k of OBELiX (CC BY 4.0, arXiv:2502.14234),
of doi:10.1016/0167-2738(94)90309-3 and doi:10.1016/0167-2738(94)90310-7. That smaller lanthanides lower the conductivity is
the summary of S. Stramare, V. Thangadurai and W. Weppner, Chem. Mater. 15, 3974 (2003)."""

CUBIC = {"Li3HS": True, "Li3HSe": True, "Li3HTe": True, "Na3HS": False, "Na3HSe": True, "Na3HTe": True}
"""Whether the crystal is cubic, as measured; Na3HS is orthorhombic.
Source: S. Gao et al., Nat. Commun. 12, 201 (2021), doi:10.1038/s41467-020-20370-2."""

LI_HALF_COO2 = (4.865, 2.809, 5.063, 108.68)
"""Å and degrees: P2/m cell of Li0.5CoO2, with lithium in every other row of a layer: J. N. Reimers and J. R. Dahn, J.
Electrochem. Soc. 139, 2091 (1992), doi:10.1149/1.2221184; by electron diffraction Y. Shao-Horn et al., J. Electrochem. Soc. 150,
A366 (2003). Cell, and rows on 1g and 1f in turn in successive layers (P2_1/m in the doubled cell): H. Ben Yahia, M. Shikano and
H. Kobayashi, Phase Transition Mechanisms in LixCoO2 (0.25 <= x <= 1) Based on Group-Subgroup Transformations, Chem. Mater.
(2013)."""

ATOMS_PER_UNIT = 3.5
"""Of Li0.5CoO2."""

CUBIC_GROUP = 195
"""Number of the first cubic space group."""


@contextmanager
def finished_run(file: Path) -> Iterator[Run]:
    """The run of a campaign file, in a folder of its own for every version of the file."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    folder = RUNS / f"{file.stem}-{digest}"
    exists = (folder / "run.sqlite").exists()
    with Run.open(folder) if exists else Run.create(load_campaign(file), folder) as run:
        if run.status().state != "finished":
            run.execute()
        yield run


@cache
def read_table(name: str) -> DataFrame:
    """All candidates of a campaign of `benchmarks/literature`."""
    with finished_run(ROOT / "benchmarks" / "literature" / f"{name}.yaml") as run:
        return run.table()


def genome_of(row: Any) -> Mapping[str, Sequence[str]]:
    """The decoration of a row of a table."""
    found: Mapping[str, Sequence[str]] = json.loads(row.genome)
    return found


def measure_volumes() -> list[Row]:
    """Lattice constants of alkali halides, as relaxed."""
    table = read_table("alkali_halides")
    here, there = [], []
    for row in table.itertuples():
        formula = "".join(genome_of(row)["M"] + genome_of(row)["X"])
        here.append((8 * row.volume_per_atom) ** (1 / 3))  # eight atoms in the cube
        there.append(LATTICE_CONSTANTS[formula])
        print(f"a of {formula}: {here[-1]:.3f} here, {there[-1]:.2f} measured (Å)")
    errors = [100 * (found / value - 1) for found, value in zip(here, there, strict=True)]
    return [
        mean_row("literature_volume_per_atom", METHOD, "lattice_constant_mean_error", errors, "%"),
        _row("volume_per_atom", "lattice_constant_largest_error", [max(errors, key=abs)], "%", len(errors)),
        _row("volume_per_atom", "rank_correlation", [_rank(here, there)], "", len(errors)),
    ]


def measure_stability() -> list[Row]:
    """Place of the anti-perovskites that were made among all that stay anti-perovskites, and Li3OCl itself."""
    table = read_table("antiperovskites")
    kept = table[table.structure_kept == 1].sort_values("decomposition_energy")
    pairs = [(genome_of(row)["B"][0], genome_of(row)["X"][0]) for row in kept.itertuples()]
    for (b, x), energy in zip(pairs, kept.decomposition_energy, strict=True):
        print(f"Li3{b}{x}: {1000 * energy:.0f} meV/atom{', made' if (b, x) in ANTIPEROVSKITES else ''}")
    lowest = len(ANTIPEROVSKITES & set(pairs[: len(ANTIPEROVSKITES)]))
    chloride = kept.iloc[pairs.index(("O", "Cl"))]
    print(f"Li3OCl: {chloride.oxidation_limit_detail}; {chloride.reduction_limit_detail}")
    return [
        _row(
            "decomposition_energy", "made_among_the_lowest", [lowest], f"of {len(ANTIPEROVSKITES)}", len(kept)
        ),
        _row("decomposition_energy", "li3ocl", [1000 * chloride.decomposition_energy], "meV/atom"),
        _row("oxidation_limit", "li3ocl_error", [chloride.oxidation_limit - LI3OCL_LIMIT], "V"),
    ]


def measure_limits() -> list[Row]:
    """Limits of known phases against the voltages of the same reactions from measured enthalpies."""
    rows = []
    table = read_table("known_phases")
    for side in ("oxidation", "reduction"):
        errors = []
        for row in table.itertuples():
            voltage = measured_voltage(getattr(row, f"{side}_limit_detail"), row.formula)
            if voltage is not None:
                errors.append(getattr(row, f"{side}_limit") - voltage)
                print(f"{side} of {row.formula}: {errors[-1] + voltage:.2f} V here, {voltage:.2f} V measured")
        name = f"literature_{side}_limit"
        rows += [
            mean_row(name, METHOD, "mae", [abs(error) for error in errors], "V"),
            mean_row(name, METHOD, "mean_error", errors, "V"),
        ]
    stopped = int((table.status != "complete").sum())
    return [*rows, _row("filters", "known_phases_stopped", [stopped], f"of {len(table)}", len(table))]


def measured_voltage(detail: str, formula: str) -> float | None:
    """Voltage of the reaction in the sentence of a limit, from enthalpies; None without data, or if others react."""
    from pymatgen.core import Composition

    sentence = detail.removeprefix("of its decomposition products; ").split(" at ")[0]
    if " -> " not in sentence:
        return None
    amounts: dict[str, float] = {}
    for sign, side in zip((-1, 1), sentence.split(" -> "), strict=True):
        for term in side.split(" + "):
            *number, name = term.split()
            plain = "LiOH" if name == "LiHO" else name
            amounts[plain] = amounts.get(plain, 0.0) + sign * _fraction(number)
    reduced = Composition(formula).reduced_formula
    if not any(units < 0 and Composition(name).reduced_formula == reduced for name, units in amounts.items()):
        return None
    try:
        return measured_limit(amounts).value
    except (NoDatumError, ValueError):
        return None


def measure_barriers() -> list[Row]:
    """Barriers along and across the tunnels of olivines."""
    table = read_table("olivines").set_index("formula")
    for formula, row in table.iterrows():
        along, plane, space = (row[f"migration_barrier_{n}d"] for n in (1, 2, 3))
        print(f"{formula}: {along:.2f}, {plane:.2f}, {space:.2f} eV in one, two, three directions")
    iron = table.loc["LiFePO4"]
    tunnels = int((table.migration_barrier_2d - table.migration_barrier_1d > 1).sum())
    return [
        _row("migration_barrier_1d", "lifepo4_error", [iron.migration_barrier_1d - LIFEPO4_ALONG], "eV"),
        _row("migration_barrier_2d", "lifepo4_error", [iron.migration_barrier_2d - LIFEPO4_ACROSS], "eV"),
        _row("migration_barrier_2d", "olivines_with_tunnels", [tunnels], f"of {len(table)}", len(table)),
    ]


def measure_bottlenecks() -> list[Row]:
    """Width of the way of lithium in Li0.5Ln0.5TiO3 against measured conductivities."""
    table = read_table("titanates")
    radii = {}
    for row in table.itertuples():
        radii[next(element for element in genome_of(row)["A"] if element != "Li")] = row.bottleneck_radius
    lanthanides = sorted(radii, key=lambda element: -radii[element])
    print("widest first: " + ", ".join(f"{element} {radii[element]:.4f} Å" for element in lanthanides))
    here, there = [radii[e] for e in lanthanides], [CONDUCTIVITIES[e] for e in lanthanides]
    return [
        _row("bottleneck_radius", "rank_correlation_conductivity", [_rank(here, there)], "", len(radii)),
        _row("bottleneck_radius", "narrowing_la_to_sm", [radii["La"] - radii["Sm"]], "Å", len(radii)),
    ]


def measure_symmetry() -> list[Row]:
    """Hydride anti-perovskites that leave the cubic cell, and what they gain by it, against measured ones."""
    table, cubic_cells = read_table("hydride_antiperovskites"), read_table("hydride_antiperovskites_cubic")
    energies = {row.genome: row.energy_per_atom for row in cubic_cells.itertuples()}
    right, gains = 0, {}
    for row in table.itertuples():
        formula = f"{genome_of(row)['A']}3H{genome_of(row)['X']}"
        cubic = row.space_group_after >= CUBIC_GROUP
        right += cubic == CUBIC[formula]
        gains[formula] = 1000 * (energies[row.genome] - row.energy_per_atom)
        print(
            f"{formula}: space group {row.space_group_after:.0f}, {gains[formula]:.1f} meV/atom below cubic"
        )
    distorted = gains.pop("Na3HS")
    return [
        _row("structure_kept", "symmetry_as_measured", [right], f"of {len(table)}", len(table)),
        _row("structure_kept", "gain_of_na3hs", [distorted], "meV/atom"),
        _row("structure_kept", "most_gain_of_measured_cubic", [max(gains.values())], "meV/atom", len(gains)),
    ]


def measure_ordering() -> list[Row]:
    """Places of rows of lithium in Li0.5CoO2, alternating from layer to layer or not, among all orderings."""
    with finished_run(ROOT / "benchmarks" / "literature" / "lithium_ordering.yaml") as run:
        table = run.table()
        kept = table[table.structure_kept == 1].sort_values("energy_per_atom")
        built = {id: run.structure(id, "initial") for id in kept.candidate}
    rows = []
    for name, alternate in (("alternating", True), ("equal", False)):
        published = build_rows(alternate=alternate)
        id = next(id for id, structure in built.items() if is_ordering(structure, published))
        place = list(kept.candidate).index(id)
        above = 1000 * ATOMS_PER_UNIT * (kept.energy_per_atom.iloc[place] - kept.energy_per_atom.iloc[0])
        print(
            f"{name} rows: candidate {id}, place {place + 1} of {len(kept)}, {above:.1f} meV above the lowest"
        )
        rows += [
            _row("energy_per_atom", f"place_of_{name}_rows", [place + 1], f"of {len(kept)}", len(kept)),
            _row("energy_per_atom", f"{name}_rows_above_lowest", [above], "meV/formula unit", len(kept)),
        ]
        if alternate:
            rows.append(
                _row("energy_per_atom", "alternating_rows_found_after", [id + 1], "candidates", len(kept))
            )
    return rows


def build_rows(*, alternate: bool) -> Structure:
    """Cations of Li0.5CoO2 with lithium in every other row: on 1g of P2/m, or on 1g and 1f of it in turn, layer by layer."""
    from pymatgen.core import Lattice, Structure

    a, b, c, beta = LI_HALF_COO2
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0.5], [0.5, 0, 0.25], [0.5, 0, 0.75]]
    if alternate:
        sites[-1] = [0, 0.5, 0.75]
    return Structure(Lattice.monoclinic(a, b, 2 * c, beta), [*["Co"] * 4, *["Li"] * 2], sites)


def is_ordering(structure: Structure, published: Structure) -> bool:
    """True if the cations of a candidate, as built, are those of a published ordering."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    cations = structure.copy().remove_species(["O"])
    return bool(StructureMatcher(ltol=0.1, stol=0.1, angle_tol=3).fit(published, cations))


def _row(name: str, metric: str, values: Sequence[float], unit: str, n: int = 1) -> Row:
    return Row("truth", f"literature_{name}", METHOD, metric, float(values[0]), unit, n, 0.0)


def _rank(here: Sequence[float], there: Sequence[float]) -> float:
    return float(spearmanr(here, there).statistic)


def _fraction(number: Sequence[str]) -> float:
    return float(Fraction(number[0])) if number else 1.0


def measure() -> list[Row]:
    """All of them."""
    parts = (
        measure_volumes,
        measure_stability,
        measure_limits,
        measure_barriers,
        measure_bottlenecks,
        measure_symmetry,
        measure_ordering,
    )
    return [row for part in parts for row in part()]
