"""Speed of the feature set `chgnet`, beside the package's own prediction of the same crystals.

`python benchmarks/chgnet_features.py DATA`: crystals per second of one thread, in turns. DATA is the shared folder of data sets; every 37th
crystal of `elasticity/binaries.json.gz` is taken, 101 of them. Ours gives means and deviations over the atoms of the features after the
last two convolutions, in one forward pass without gradients. The package gives energy, forces, stress and magnetic moments
(`CHGNet.predict_structure` as it comes), crystal by crystal and in batches of 16, its default. Crystals are in memory; the graphs are
part of both times.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import merge_results, one_thread, print_table, row_of

from surrogates.regression.features.registry import compute_features
from surrogates.regression.material import Material

if TYPE_CHECKING:
    from pymatgen.core import Structure

STEP = 37  # every so many crystals
REPEATS = 5
TASK = "chgnet_features"


def read_crystals(data: Path) -> list[Structure]:
    """Every `STEP`th binary crystal with known moduli."""
    from pymatgen.core import Structure

    with gzip.open(data / "elasticity" / "binaries.json.gz", "rt", encoding="utf-8") as stream:
        entries = json.load(stream)
    return [Structure.from_dict(entry["structure"]) for entry in entries[::STEP]]


def list_methods(crystals: Sequence[Structure]) -> dict[str, Callable[[], object]]:
    """The compared calls, by name; networks are loaded before."""
    from chgnet.model import CHGNet

    package = CHGNet.load(verbose=False, use_device="cpu")
    materials = [
        Material(crystal.formula, crystal.composition.get_el_amt_dict(), crystal=crystal)
        for crystal in crystals
    ]
    methods: dict[str, Callable[[], object]] = {
        "invdesign": lambda: compute_features(["chgnet"], materials),
        "chgnet": lambda: [package.predict_structure(crystal) for crystal in crystals],
        "chgnet in batches": lambda: package.predict_structure(list(crystals)),
    }
    compute_features(["chgnet"], materials[:1])
    package.predict_structure(crystals[0])
    return methods


def measure_speeds(crystals: Sequence[Structure]) -> dict[str, list[float]]:
    """Crystals per CPU second of each method, once per repeat, in turns."""
    speeds: dict[str, list[float]] = {}
    methods = list_methods(crystals)
    for _ in range(REPEATS):
        for name, call in methods.items():
            started = time.process_time()
            call()
            speeds.setdefault(name, []).append(len(crystals) / (time.process_time() - started))
    return speeds


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="shared folder of data sets")
    arguments = parser.parse_args()
    one_thread()
    # The package turns volumes that have gradients into numbers, of which torch warns.
    warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad", category=UserWarning)
    speeds = measure_speeds(read_crystals(arguments.data))
    rows = [
        row_of("surrogates", TASK, name, "crystals_per_s", values, "1/s") for name, values in speeds.items()
    ]
    ours = speeds["invdesign"]
    for name in ("chgnet", "chgnet in batches"):
        ratios = [a / b for a, b in zip(ours, speeds[name], strict=True)]
        rows.append(row_of("surrogates", TASK, "invdesign", f"times_{name.replace(' ', '_')}", ratios, ""))
    print_table(rows)
    merge_results("surrogates", rows)


if __name__ == "__main__":
    main()
