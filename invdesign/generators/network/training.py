"""Training of the network: losses, a held-out part, a schedule, checkpoints."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.network.examples import MAIN, Batch, Example, join_examples
from invdesign.generators.network.layers import Sizes
from invdesign.generators.network.model import CrystalNetwork, Tensors, to_tensors
from invdesign.generators.network.relatives import learn_similarity
from invdesign.rng import derived_seed, rng_for
from invdesign.settings import Frozen

CLIP = 1.0  # largest norm of a gradient (chosen)
AVERAGED_EVERY = 4  # steps (chosen)
AVERAGING = 0.985  # share of the older weights in their average (chosen)
EVALUATED = 512  # crystals of the held-out part per batch (chosen)


class Schedule(Frozen):
    """Settings of training."""

    epochs: int = 60
    """Times that each crystal is seen."""
    minutes: float | None = None
    """Most CPU minutes; the schedule is compressed to fit."""
    batch: int = 48
    """Crystals per step."""
    rate: float = 1.5e-3
    """Highest learning rate."""
    decay: float = 0.02
    """Weight decay."""
    divergence: float = 0.03
    """Weight of the divergence of codes from the normal distribution."""
    free: float = 0.02
    """Divergence per number of a code that costs nothing, nats."""
    dropped: float = 0.4
    """Share of crystals decoded without their code."""
    relatives: float = 0.5
    """Share of crystals in whose place a relative is learnt."""
    jitter: float = 0.0
    """Standard deviation of noise on free coordinates, and on the numbers of the cell."""
    properties: float = 20.0
    """Weight of the error of properties predicted from codes."""
    held_out: float = 0.04
    """Share of the formulas that are held out to choose the best epoch."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and deviation of properties, shape (d,)."""

    names: tuple[str, ...]
    mean: FloatArray
    spread: FloatArray


@dataclass(eq=False)
class Progress:
    """State of a training run.

    Attributes:
        epoch: number of finished epochs.
        seconds: CPU seconds used.
        best: lowest held-out loss.
        weights: averaged weights of that epoch.
        log: figures by epoch.
    """

    epoch: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    weights: dict[str, Tensor] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)


def is_held_out(elements: IntArray, counts: IntArray, share: float) -> bool:
    """True for a fixed share of the reduced formulas."""
    text = ",".join(f"{e}:{n}" for e, n in zip(elements.tolist(), counts.tolist(), strict=True))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def measure_scale(examples: Sequence[Example]) -> Scale:
    """Mean and deviation of the properties that vary and are known of at least `FEWEST_KNOWN` crystals."""
    names, means, spreads = [], [], []
    for name in sorted({name for example in examples for name in example.targets}):
        values = np.array([example.targets.get(name, np.nan) for example in examples])
        values = values[np.isfinite(values)]
        if len(values) >= FEWEST_KNOWN and values.std() > 0.0:
            names.append(name)
            means.append(values.mean())
            spreads.append(values.std())
    return Scale(tuple(names), np.array(means), np.array(spreads))


def list_batches(batch: Batch, size: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Rows of the batches of an epoch: random, crystals of similar size together."""
    orbits = (batch.position >= 0).sum(axis=1) + 2.0 * rng.random(len(batch))
    order = np.argsort(orbits)
    starts = np.arange(0, len(order), size)
    for start in rng.permutation(starts):
        yield order[start : start + size]


def measure_losses(
    network: CrystalNetwork, batch: Tensors, schedule: Schedule, noise: Tensor, dropped: Tensor
) -> dict[str, Tensor]:
    """Losses by part, means over a batch.

    Args:
        network: to train.
        batch: crystals.
        schedule: weights of the parts.
        noise: normal numbers, shape (b, latent).
        dropped: True for crystals that are decoded without their code, shape (b,).
    """
    mean, spread = network.encode(batch)
    codes = mean + noise * (0.5 * spread).exp()
    losses = {name: part.mean() for name, part in network.measure(batch, codes, dropped).items()}
    divergence = 0.5 * (mean**2 + spread.exp() - 1.0 - spread)
    losses["divergence"] = divergence.sum(1).mean()
    per_number = divergence.mean(0).clamp(min=schedule.free).sum()
    error = torch.zeros(())
    if batch.targets.shape[1]:
        known = ~torch.isnan(batch.targets)
        apart = functional.smooth_l1_loss(
            network.regressor(codes), torch.nan_to_num(batch.targets), reduction="none", beta=0.2
        )
        error = torch.where(known, apart, 0.0).sum() / known.sum().clamp(min=1)
    losses["properties"] = error
    parts = ("composition", "units", "group", "sites", "cells", "bins")
    total = sum((losses[name] for name in parts), torch.zeros(())) + 2.0 * losses["offsets"]
    losses["total"] = total + schedule.divergence * per_number + schedule.properties * error
    return losses


@torch.no_grad()
def evaluate(network: CrystalNetwork, batch: Batch, schedule: Schedule) -> dict[str, float]:
    """Losses of a held-out part with codes, and without (`alone ...`), means per crystal."""
    network.train(mode=False)
    generator = torch.Generator().manual_seed(derived_seed(schedule.seed, "evaluate") % 2**63)
    sums: dict[str, float] = {}
    for start in range(0, len(batch), EVALUATED):
        rows = np.arange(start, min(start + EVALUATED, len(batch)))
        part = to_tensors(batch.take(rows))
        noise = torch.randn(len(rows), network.sizes.latent, generator=generator)
        none = torch.zeros(len(rows), dtype=torch.bool)
        losses = measure_losses(network, part, schedule, noise, none)
        losses |= {f"alone {name}": part.mean() for name, part in network.measure(part, None).items()}
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(rows) / len(batch)
    network.train()
    return sums


@dataclass(eq=False)
class Trainer:
    """Trains a network on crystals, epoch by epoch.

    Attributes:
        examples: crystals to learn from, with scaled properties.
        sizes: of the network.
        schedule: of training.
    """

    examples: Sequence[Example]
    sizes: Sizes
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        share = self.schedule.held_out
        held = [is_held_out(one.elements, one.counts, share) for one in self.examples]
        main = [out and one.domain == MAIN for out, one in zip(held, self.examples, strict=True)]
        if sum(main) < MIN_HELD_OUT:  # too few: all are learnt, and the last epoch counts
            held = main = [False] * len(self.examples)
        self.lessons = [one for one, out in zip(self.examples, held, strict=True) if not out]
        self.learnt = self._join(self.lessons)
        self.similarity = learn_similarity(self.lessons)
        kept = [one for one, out in zip(self.examples, main, strict=True) if out]
        self.kept = self._join(kept) if kept else None
        self.steps = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.schedule.seed, "weights") % 2**63)
            self.network = CrystalNetwork(self.sizes)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.schedule.rate,
            weight_decay=self.schedule.decay,
            betas=(0.9, 0.98),
        )

    def _join(self, examples: Sequence[Example]) -> Batch:
        return join_examples(examples, self.sizes.targets)

    def _take(self, rows: IntArray, rng: np.random.Generator) -> Batch:
        """Crystals of some rows, relatives in the place of some."""
        swapped = rng.random(len(rows)) < self.schedule.relatives
        batch = self._join(
            [
                self.similarity.swap(self.lessons[row], rng) if swap else self.lessons[row]
                for row, swap in zip(rows, swapped, strict=True)
            ]
        )
        # Without noise coordinates are learnt by heart before compositions are learnt at all.
        free = (batch.free + rng.normal(0.0, self.schedule.jitter, batch.free.shape)) % 1.0
        cell = batch.cell + rng.normal(0.0, self.schedule.jitter, batch.cell.shape)
        return replace(batch, free=free, cell=cell)

    @property
    def share_done(self) -> float:
        """Share of training that is done, by epochs or by time, whichever is farther."""
        by_time = self.progress.seconds / (60.0 * self.schedule.minutes) if self.schedule.minutes else 0.0
        return max(self.progress.epoch / self.schedule.epochs, by_time)

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch; return its figures."""
        with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
            torch.manual_seed(derived_seed(self.schedule.seed, self.progress.epoch, "dropout") % 2**63)
            return self._train_epoch()

    def _train_epoch(self) -> dict[str, float]:
        """Train one epoch with seeded dropout."""
        started = time.process_time()
        epoch, before = self.progress.epoch, self.progress.seconds
        rng = rng_for(self.schedule.seed, epoch, "epoch")
        generator = torch.Generator().manual_seed(derived_seed(self.schedule.seed, epoch) % 2**63)
        batches = list(list_batches(self.learnt, self.schedule.batch, rng))
        sums: dict[str, float] = {}
        for number, rows in enumerate(batches):
            done = (epoch + number / len(batches)) / self.schedule.epochs
            if self.schedule.minutes:
                spent = before + time.process_time() - started
                done = max(done, spent / (60.0 * self.schedule.minutes))
            if done >= 1.0:
                break
            losses = self._step(to_tensors(self._take(rows, rng)), done, generator)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        figures = self._finish_epoch(sums)
        self.progress.seconds = before + time.process_time() - started
        figures["seconds"] = self.progress.seconds
        return figures

    def _step(self, batch: Tensors, done: float, generator: torch.Generator) -> dict[str, float]:
        """One step of the optimizer; `done` is the share of training behind it."""
        rate = self.schedule.rate * min(done / WARM_UP, 0.5 * (1.0 + float(np.cos(np.pi * min(done, 1.0)))))
        for group in self.optimizer.param_groups:
            group["lr"] = max(rate, 1e-6)
        size = len(batch.group)
        noise = torch.randn(size, self.sizes.latent, generator=generator)
        dropped = torch.rand(size, generator=generator) < self.schedule.dropped
        losses = measure_losses(self.network, batch, self.schedule, noise, dropped)
        self.optimizer.zero_grad()
        torch.autograd.backward(losses["total"])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.steps += 1
        if self.steps % AVERAGED_EVERY == 0:
            times = self.steps // AVERAGED_EVERY
            keep = min(AVERAGING, times / (times + 10.0))
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1.0 - keep)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _finish_epoch(self, sums: dict[str, float]) -> dict[str, float]:
        """Judge the averaged weights, and keep them if they are the best."""
        self.progress.epoch += 1
        figures = dict(sums)
        judged = -float(self.progress.epoch)
        if self.kept is not None:
            current = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.network.load_state_dict(self.average)
            held = evaluate(self.network, self.kept, self.schedule)
            self.network.load_state_dict(current)
            figures |= {f"held out {name}": value for name, value in held.items()}
            judged = held["total"] + sum(held[f"alone {name}"] for name in ("units", "group", "sites"))
        if judged < self.progress.best:
            self.progress.best = judged
            self.progress.weights = {name: value.clone() for name, value in self.average.items()}
        self.progress.log.append(figures)
        return figures

    def run(self, report: Callable[[dict[str, float]], None] = lambda _: None) -> CrystalNetwork:
        """Train to the end; return the network with its best weights."""
        while self.share_done < 1.0:
            report(self.train_epoch())
        self.network.load_state_dict(self.progress.weights)
        self.network.train(mode=False)
        return self.network


FEWEST_KNOWN = 10  # crystals of which a property is known, to be learnt (chosen)
MIN_HELD_OUT = 20  # crystals without which no part is held out (chosen)
WARM_UP = 0.03  # share of training in which the learning rate rises (chosen)
