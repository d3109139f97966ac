"""Writes `docs/benchmarks.md` from `results/*.json`: the tables say what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each table is made by `python benchmarks/tables.py` from the result files that the scripts beside it wrote; run a script
again to check a figure on your machine. Values are medians over n seeds or repetitions, with the 95 % bootstrap interval of
the median where n is at least 5; the spread is the distance between the quartiles. Our method is `invdesign`, with what it
was set to in brackets where it is not the default; peers stand under their own names. `pip install -e ".[peers]"` installs
them.
"""
TAIL = """## compare_checkouts
`python benchmarks/compare_checkouts.py BEFORE AFTER` measures nothing: it checks that a refactoring changed no result. Both
checkouts run the same campaigns (shipped ones, those on pages, every optimizer in every space), commands, interrupted runs and kept
stores. Rows of the stores, JSON output, options of commands and the JSON Schema must be equal; sentences and times may differ.
Results are kept by commit.
"""
ELSEWHERE = frozenset({"truth"})  # has a page of its own, docs/truth.md
SHOWN = ("regret_at_20", "regret_at_50", "regret_at_100", "regret_at_150")  # of a pool's regret curve
ABOUT = {
    "surrogates": "`python benchmarks/surrogate_models.py DATA` for the property models, `python benchmarks/chgnet_features.py DATA` for the "
    "features of the network, `python benchmarks/surrogate_networks.py DATA` for their use on conductivities (`conductivity_crystals`). "
    "Tasks named `_family` leave out whole structure families, `_each_family` one at a time, `_random` give the folds equal numbers of "
    "groups in place of rows. Five balanced folds of whole groups, three splits; the recipe chooses its models inside each training part, by "
    "three folds and one split, and so is the baseline trained, extra trees on statistics of element properties. Figures pool the folds of a "
    "split and are means over the splits, n is the number of rows, intervals are from resampled groups, the spread is between the splits. "
    "Seconds are CPU seconds of one thread for 10,000 materials with other compositions than the data's, features included.",
    "loop": "`python benchmarks/loop.py`: the loop's own cost with a free evaluator, everything but the evaluator "
    "counted (wall time); memory of the coordinating process; opening the finished run again.",
    "store_open": "`python benchmarks/store_open.py`: CPU seconds to open a run of 10,000 candidates and load its history, "
    "with and without the checksum of every row and the count of all rows, in turns.",
    "stability_speed": "`python benchmarks/stability_speed.py`: CPU milliseconds of one thread for one interface reaction (`worst`), its whole "
    "profile (`kinks`) and one electrochemical window, beside pymatgen's `InterfacialReactivity` and `get_element_profile` in the same "
    "process, in turns; with the phase diagram at hand, and with its construction. `phases_200` is a made-up set of six elements and "
    "compositions of all six; `battery_phases` the shipped set, of which the phases of a pair's elements take part, 26 to 77.",
    "front_recall": "`python benchmarks/truth_table.py`: 64 proposals in a space of 700 anti-perovskites, "
    "replayed from a table of all of them; how many points of the true Pareto front were proposed, and the share of "
    "its hypervolume. `invdesign_screened` is genetic with its pre-screen.",
    "continuous": "`python benchmarks/continuous.py`: shifted and rotated test functions of ten variables, 5,000 "
    "evaluations; the best value found above the optimum. Settings were chosen on other functions.",
    "hypervolume": "`python benchmarks/hypervolume.py`: share of the true front's hypervolume, six variables, two "
    "objectives. After 100 evaluations `invdesign` is bayesian in batches of 4, `invdesign_screened` genetic with its "
    "pre-screen, `invdesign_genetic` without; after 5,000 `invdesign` is genetic. `botorch` is qLogNEHVI by hand.",
    "pool": "`python benchmarks/pool.py`: known tables replayed, one evaluation after the other, 10 initial ones "
    "included. `median_evaluations_to_best`: until a conductivity within 0.3 log units of the best (`obelix`, 391 "
    "compositions), the very best of 1,408 molecules (`redoxmers`) or the best three of 302 compositions (`barriers`) "
    "were found; 151 stands for not within 150. `invdesign` is bayesian, `invdesign_sites` the same with categorical "
    "parameters, `invdesign_screened` genetic with its pre-screen. Regret of slow peers (`optuna_gp`, `botorch`, "
    "`forest_ucb`) stays at what it was when they had found it.",
    "failing_region": "`python benchmarks/failing_region.py`: four variables, 40 trials, the best values in a region "
    "where every evaluation fails: failures among the last 20 trials, and how far the best value found is above the "
    "best that can be evaluated. `invdesign` is bayesian; `optuna_tpe_penalty` is told a penalty for a failure.",
    "bayesian_cost": "`python benchmarks/bayesian_cost.py`: CPU seconds of one thread and peak memory of the process, "
    "each task in a process of its own. `ask_N`: the next 4 proposals after N points of six variables, at once in a new "
    "process (`first`, with the fit) and after 4 more results (`next`). `pool_million`: the next 4 of 1,000,000 rows "
    "of 20 features after 1,000. `simplex_batch`: 8 mixtures of fifteen components, at most four present, under two "
    "linear constraints. `botorch` is qLogEI by hand.",
    "tavorite": "`python benchmarks/tavorite.py`: evaluations until the decoration with the lowest barrier is found, of all 320 "
    "of the tavorite campaign, replayed from a table. The crystals of the table are not relaxed, so this is a benchmark of "
    "optimizers and no statement on tavorites.",
    "electrode": "`python benchmarks/voltage_profile.py`: voltage profile and capacity from the energies of all orderings, without "
    "their relaxations, beside pymatgen in one process.",
    "transport": "`python benchmarks/neb.py`: calls of the potential that a climbing band needs, over those of ASE's "
    "(`NEB(climb=True, method='improvedtangent')` with BFGS or FIRE, whichever needs fewer), from the same ends and the same "
    "path of five images, until no force is above 0.05 eV/Å. Vacancies and adatoms of metals with effective medium theory, vacancies of "
    "lithium with CHGNet. `barrier_difference_mev` is the largest difference of a barrier from ASE's; `path_distance_a` the "
    "largest distance of an image from ASE's path.",
    "auto": "`python benchmarks/auto.py`: mean rank of the final regret over all tasks.",
    "multi_fidelity": "`python benchmarks/multi_fidelity.py`: cost to reach 95 % of the optimum, as a share of what "
    "the same optimizer needs without the cheap fidelity.",
    "mixture": "`python benchmarks/mixture.py`: 10,000 proposals of mixtures of fifteen components, at most four "
    "present, under two linear constraints.",
    "defects": "`python benchmarks/defects.py`: two nitrogen atoms on oxygen sites and an oxygen vacancy in 64 atoms of Li3PO4, relaxed with "
    "CHGNet in a fixed cell, 100 relaxations per seed. `best_at_100_ev`: the lowest cell of a seed above the lowest of all (eV per cell). "
    "`quantile_of_random`: share of all relaxations of `random` that are as low or lower. `bridging`: share of relaxed cells in which nitrogen "
    "joins two phosphorus atoms. `starts` draws the space's starts without a search; `random` puts the defects on random sites.",
    "interfaces": "`python benchmarks/interfaces.py bicrystals`: all matches of twelve pairs of solids, eight with a member of low "
    "symmetry, up to 120 Å² (more where nothing matches) and 5 %, beside pymatgen's `CoherentInterfaceBuilder` with `label_index=True`. "
    "`correct_percent` pass independent checks; `duplicates` are congruent with an earlier one at some shift, mirror images included; of "
    "pymatgen's lists the first 200 are compared. Sums over the pairs, medians of times; `build_ms` with all symmetry, per 100 atoms. "
    "`python benchmarks/interface_registry.py search`: evaluations until a rigid energy of CHGNet is within 10 meV/Å² of the lowest of all "
    "matches and shifts.",
    "ordering": "`python benchmarks/ordering.py`: evaluations until the lowest Li/vacancy ordering of LixNiO2 at given "
    "composition is found, as a share of what random search needs.",
    "optimizer_overhead": "`python benchmarks/optimizer_overhead.py`: ask, tell and commit per candidate, everything "
    "but the evaluator counted (wall time), ten variables, two objectives.",
    "oxygen_correction": "`python benchmarks/oxygen_correction.py fit`: forms of the correction for covalently bonded "
    "oxygen, the mean absolute error of 59 compounds, each left out of the fit, or all compounds of its elements.",
    "structure_search": "`python benchmarks/structure_search.py`: crystals with known ground states, searched from scratch "
    "with classical potentials and one relaxer for everybody (`pedone`, `ma`), or with CHGNet. `ert_relaxations` is the number "
    "of relaxations of all seeds over the number of seeds that found the ground state (within 2 meV/atom) or, of `SrO-TiO2` and "
    "`MgO-TiO2`, all three phases; `calls_per_solution` the same of evaluations of the potential, both with the bootstrap "
    "interval of the ratio. `Z1-4` means 1 to 4 formula units. `overhead_ms_per_candidate` is CPU time beside the relaxations; "
    "`overhead_N` is that of N candidates of MgAl2O4 whose relaxation costs nothing. `invdesign` is genetic in the space "
    "`crystal`; `asked genomes`: children inherit nothing of relaxations; `sites`: the space `crystal_sites`. Peers: ase-ga 1.0.3, "
    "CrySPY 1.5 with starts rattled by 0.08 Å.",
    "generators": "`python benchmarks/generators.py`, `generator_relaxation.py`, `generator_search.py`, `generator_codes.py`: 6,000 crystals of MP-20 and "
    "those of MPTS-52 with other formulas to learn from, 1,140 to test on, no formula on both sides. `invdesign` is the default "
    "generator, `prototypes` the plain rule (frameworks of the 6,000, nearest first by tabulated properties of elements), "
    "`crystal_vae` the network, trained once per seed, `pyxtal` random crystals (pyxtal 1.1.5), `known` known crystals themselves. `formula`: share of 500 formulas for which one of the first k "
    "proposals matches a known polymorph, unrelaxed (StructureMatcher 0.3, 0.5, 10°). `unconditional`: 10,000 raw samples of the "
    "network, of the others as they come. `conditions`: requests for 10 crystals each, by the systems, formulas, space groups and "
    "numbers of atoms of crystals kept back. `relaxation` and `formula_relaxed`: CHGNet 0.3.0, 0.05 eV/Å, 120 steps, up to 12 atoms; "
    "a formula is solved at most 10 meV/atom above its known phase. `priors`: 2,000 raw samples by distribution of codes. `property`: "
    "formation energies of crystals kept back, from their codes. `latent`: candidates until the best of 2,000 codes of the prior is "
    "reached, 201 where it is not within 200; `invdesign` is `bayesian`. `latent_battery`: Li-O-Cl, 60 candidates relaxed with "
    "CHGNet, hypervolume from 500 meV/atom above the hull and 0 Å of channel. `search`: relaxations until the ground state "
    "is found, with generated starts over without (geometric mean over tasks), all crystals of the task's elements taken out of "
    "the library. Metrics: [definitions](generator_metrics.md).",
    "screening": "`python benchmarks/screening.py`: all charge-neutral compositions of lithium with up to four of 43 other elements, by a ridge "
    "regression on twenty elemental properties (least and largest value, mean, deviation) and fractions, trained on OBELiX; two workers, "
    "everything counted. `ratio_to_row_by_row`: per CPU second, over features of one composition at a time as the evaluator computes them; "
    "`ratio_to_plain_rows`: over ten lines of NumPy for exactly this model. `top_k_equals_brute_force`: the thousand best of 1.3e8, in order. "
    "`enrichment_top_1_percent`, `false_positives_top_100`: the second tier of `campaigns/conductor_screen.yaml` on measured rows whose publication "
    "its training left out: share of conductors (1e-4 S/cm) in the first percent over that of all (`enrichment_possible`: at most), and rows below "
    "1e-6 S/cm among the first 100 (`poor_share`: among all). "
    "`trees_per_second`: extra trees on the same features.",
    "generation": "`python benchmarks/generation.py`: one generation of NSGA-II, two objectives.",
}


def section(name: str, rows: list[dict[str, Any]]) -> str:
    """One benchmark's table."""
    lines = [
        f"\n## {name}",
        ABOUT.get(name, ""),
        "",
        "| task | method | metric | median | 95 % interval | spread | unit | n |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if name == "pool" and row["metric"].startswith("regret") and row["metric"] not in SHOWN:
            continue
        low, high = row.get("low"), row.get("high")
        interval = "" if low is None else f"{low:.4g} to {high:.4g}"
        cells = [row["task"], row["method"], row["metric"], f"{row['value']:.4g}", interval]
        cells.append(f"{row['spread']:.2g}")
        lines.append("| " + " | ".join([*cells, row["unit"], str(row["n"])]) + " |")
    lines.append(f"\n{rows[0]['date']}, {rows[0]['machine']}.")
    return "\n".join(lines)


def main() -> None:
    text = HEAD
    for file in sorted(RESULTS.glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        if file.stem in ELSEWHERE:
            continue
        if isinstance(rows, list) and rows and "benchmark" in rows[0]:  # tables of truths lie beside them
            text += section(file.stem, rows) + "\n"
    PAGE.write_text(text + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main()
