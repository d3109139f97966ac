"""Training of the network `crystal_vae` (with its GAN) on the shared crystals, by the split of all figures or on all of them.

`OMP_NUM_THREADS=1 python benchmarks/generator_network.py --output DIR` trains on the part to learn from;
`OMP_NUM_THREADS=1 python benchmarks/generator_network.py --all --output invdesign/generators/models/crystal_vae` makes the shipped
model. `--minutes` bounds the CPU time of training (25); reading the crystals comes on top, a few minutes.

Crystals of the first file are imitated; those of the second, up to 20 atoms and 10 occupied positions, help to learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from generator_data import FILES, MINUTES, Record, hash_data, load_crystals, read_rows, split

from invdesign.generators.network.canonical import write_crystal
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.examples import EXTRA, MAIN
from invdesign.generators.network.refine_training import RefinerSchedule
from invdesign.generators.network.train import (
    MOST_EPOCHS,
    MOST_STEPS,
    Lesson,
    TrainingSettings,
    train_model,
)
from invdesign.generators.network.training import Schedule

ABOUT = """Materials Project (CC BY 4.0), as split in WyckoffTransformer (Apache-2.0): {files}.
{part}. Crystals of the first file are imitated, those of the second help to learn."""


def make_lessons(records: Sequence[Record]) -> list[Lesson]:
    """Crystals of the shared data in their chosen settings, with energies and band gaps where known."""
    order, lessons = list_elements(), []
    for record, row in zip(records, read_rows(records), strict=True):
        if row is None:
            continue
        values = {
            "formation_energy_per_atom": record.formation_energy_per_atom,
            "e_above_hull": record.e_above_hull,
            "band_gap": record.band_gap,
        }
        domain = MAIN if record.source == FILES[0] else EXTRA
        known = {name: value for name, value in values.items() if value == value}  # noqa: PLR0124 - NaN
        lessons.append(Lesson(write_crystal(row.elements, row.sited, order), known, domain))
    return lessons


def make_settings(minutes: float, seed: int = 0) -> TrainingSettings:
    """Settings of the one configuration of all figures."""
    return TrainingSettings(
        minutes=minutes,
        schedule=Schedule(epochs=MOST_EPOCHS, seed=seed),
        refiner=RefinerSchedule(steps=10 * MOST_STEPS, seed=seed),
    )


def main() -> None:
    """Train a model and write its folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="learn from all crystals, none kept back")
    given = parser.parse_args()
    records = load_crystals() if given.all else split()[0]
    part = "All crystals" if given.all else "The part to learn from, by the hash of the reduced formula"
    files = ", ".join(f"{name}.csv.gz (SHA-256 {digest})" for name, digest in hash_data().items())
    about = ABOUT.format(files=files, part=f"{part}: {len(records)} crystals")
    train_model(make_lessons(records), given.output, make_settings(given.minutes, given.seed), about, print)


if __name__ == "__main__":
    main()
