"""Training of the refiner."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from invdesign.errors import Infeasible
from invdesign.generators.network.canonical import Written
from invdesign.generators.network.reading import count_atoms
from invdesign.generators.network.refine import Refiner, RefinerSizes, Sites, list_sites, measure_refiner
from invdesign.rng import derived_seed, rng_for
from invdesign.settings import Frozen
from invdesign.structures.combinations import make_combination
from invdesign.structures.sited import SitedCrystal

MOST_ATOMS = 24  # of a crystal that the refiner learns from (chosen)
CLIP = 1.0  # largest norm of a gradient (chosen)
WARM_UP = 0.03  # share of training in which the learning rate rises (chosen)


class RefinerSchedule(Frozen):
    """Settings of the refiner's training."""

    steps: int = 10_000
    """Steps of the optimizer."""
    minutes: float | None = None
    """Most CPU minutes; the schedule is compressed to fit."""
    batch: int = 32
    """Crystals per step."""
    rate: float = 3e-3
    """Highest learning rate."""
    seed: int = 0


def place_written(written: Written) -> tuple[tuple[str, ...], SitedCrystal]:
    """Symbols and crystal of what is written in a chosen setting."""
    symbols = tuple(sorted({name for name, _ in written.sites}))
    sites = [(symbols.index(name), letter) for name, letter in written.sites]
    # Orbits of one element and letter keep their order, as those of a combination do.
    order = sorted(range(len(sites)), key=lambda place: sites[place][0])
    combination = make_combination(written.group, sites)
    pieces = [written.coordinates[place] for place in order]
    return symbols, SitedCrystal(combination, written.cell, np.concatenate([*pieces, np.empty(0)]))


def list_learnt(crystals: Sequence[Written]) -> list[Sites]:
    """Atoms of the crystals that the refiner learns from."""
    found = []
    for written in crystals:
        if sum(count_atoms(written).values()) > MOST_ATOMS:
            continue
        try:
            found.append(list_sites(*place_written(written)))
        except (np.linalg.LinAlgError, Infeasible):  # a cell without volume teaches nothing
            continue
    return found


def train_refiner(
    learnt: Sequence[Sites],
    sizes: RefinerSizes,
    schedule: RefinerSchedule,
    report: Callable[[float, float], None] = lambda _share, _loss: None,
) -> Refiner:
    """Train a refiner on known crystals.

    Args:
        learnt: crystals.
        sizes: of the network.
        schedule: of training.
        report: is called with the share that is done and the mean loss, now and then.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(schedule.seed, "refiner") % 2**63)
        network = Refiner(sizes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=0.01)
    started, mean = time.process_time(), 0.0
    for step in range(schedule.steps):
        done = step / schedule.steps
        if schedule.minutes:
            done = max(done, (time.process_time() - started) / (60.0 * schedule.minutes))
        if done >= 1.0:
            break
        rate = schedule.rate * min(done / WARM_UP, 0.5 * (1.0 + float(np.cos(np.pi * done))))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-6)
        rng = rng_for(schedule.seed, step, "refiner")
        batch = [learnt[row] for row in rng.integers(len(learnt), size=schedule.batch)]
        loss = measure_refiner(network, batch, rng)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        mean += (float(loss.detach()) - mean) * max(0.01, 1.0 / (step + 1))
        if step % 100 == 0:
            report(done, mean)
    return network.train(mode=False)
