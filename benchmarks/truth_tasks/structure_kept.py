"""How many of the quickstart's relaxed candidates are still anti-perovskites, over all and on the front.

The shipped campaign runs to its end for three seeds, in `runs/truth-structure-kept`, and goes on where it was stopped. The
control is `benchmarks/antiperovskites.yaml`: any anion on any site, no word on the structure. Octahedra on the front are
counted a second time by CrystalNN of pymatgen, which knows nothing of the rule here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Row, row_of

from invdesign.campaign.document import read_document
from invdesign.campaign.load import campaign_from
from invdesign.run.run import Run
from surrogates.relaxation.kept import StructureKept, compare_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "runs" / "truth-structure-kept"
CAMPAIGNS = {
    "quickstart": ROOT / "campaigns" / "antiperovskite_electrolyte.yaml",
    "any anion on any site": ROOT / "benchmarks" / "antiperovskites.yaml",
}
SEEDS = {"quickstart": (7, 8, 9), "any anion on any site": (7,)}  # the shipped seed first
OCTAHEDRON = 6


def finished_run(method: str, seed: int) -> Run:
    """The run of a campaign under a seed; about half a minute of two cores where it is not there yet."""
    folder = RUNS / f"{method.split(maxsplit=1)[0]}-{seed}"
    if (folder / "run.sqlite").exists():
        run = Run.open(folder)
    else:
        data: Any = read_document(CAMPAIGNS[method]).value
        run = Run.create(campaign_from(data | {"seed": seed}), folder)
    if run.status().state != "finished":
        run.execute()
    return run


def count_kept(method: str, seed: int) -> Mapping[str, float]:
    """Sizes and shares (%) of one run."""
    run = finished_run(method, seed)
    relaxed = [id for id in range(len(run.history)) if "relaxed" in run.trial(id).structures]
    pairs = {id: (run.structure(id, "initial"), run.structure(id, "relaxed")) for id in relaxed}
    rule = StructureKept()
    kept = {
        id
        for id, (before, after) in pairs.items()
        if before is not None
        and after is not None
        and not rule.list_losses(compare_structures(before, after))
    }
    front = [int(id) for id in run.front()]
    octahedral = [id for id in front if has_octahedra(pairs[id][1])]
    run.close()
    return {
        "candidates_kept_percent": 100 * len(kept) / len(relaxed),
        "front_kept_percent": 100 * len(kept & set(front)) / len(front),
        "front_octahedra_crystalnn_percent": 100 * len(octahedral) / len(front),
        "front_size": len(front),
    }


def has_octahedra(structure: Structure | None) -> bool:
    """True if CrystalNN finds two anions with six lithium neighbours in ten atoms of Li3BX."""
    from pymatgen.analysis.local_env import CrystalNN

    if structure is None:
        return False
    finder, found = CrystalNN(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no oxidation states are given
        for k, site in enumerate(structure):
            if site.specie.symbol != "Li":
                near = finder.get_nn_info(structure, k)
                found += sum(item["site"].specie.symbol == "Li" for item in near) == OCTAHEDRON
    return found >= 2


def measure() -> list[Row]:
    """Medians over the seeds of each campaign."""
    rows = []
    for method, seeds in SEEDS.items():
        counts = [count_kept(method, seed) for seed in seeds]
        for name in counts[0]:
            unit = "%" if name.endswith("percent") else ""
            values = [found[name] for found in counts]
            rows.append(
                row_of(
                    "truth",
                    "structure_kept",
                    "invdesign" if method == "quickstart" else "no constraint",
                    f"{'quickstart' if method == 'quickstart' else 'control'}_{name}",
                    values,
                    unit,
                )
            )
    return rows
