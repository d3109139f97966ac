"""Training of a whole model: network, refiner, priors; written as a model folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invdesign.arrays import FloatArray
from invdesign.artifacts import write_model
from invdesign.errors import Infeasible, InvdesignError
from invdesign.generators.network.canonical import Written
from invdesign.generators.network.card import write_card
from invdesign.generators.network.checkpoints import FOLDER, hash_training, read_checkpoint, write_checkpoint
from invdesign.generators.network.chemistry import fit_volumes, list_elements
from invdesign.generators.network.examples import (
    MAIN,
    Batch,
    Example,
    is_learnable,
    make_example,
)
from invdesign.generators.network.layers import Sizes
from invdesign.generators.network.model import CrystalNetwork, to_tensors
from invdesign.generators.network.model_folder import CrystalModel, Target, pack_model
from invdesign.generators.network.priors import (
    STABLE,
    CodeGan,
    GanSizes,
    find_family,
    fit_mixture,
    make_labels,
    train_gan,
)
from invdesign.generators.network.reading import count_atoms, measure_volume, write_structure
from invdesign.generators.network.refine import Refiner, RefinerSizes
from invdesign.generators.network.refine_training import RefinerSchedule, list_learnt, train_refiner
from invdesign.generators.network.rooms import list_small_patterns
from invdesign.generators.network.training import Scale, Schedule, Trainer, measure_scale
from invdesign.protocols import TrainingSet
from invdesign.rng import rng_for
from invdesign.settings import Frozen
from invdesign.threads import one_thread

SHARES = (0.74, 0.2, 0.06)  # of the minutes for network, refiner and GAN (chosen)
SMALL_PATTERNS = (
    (1, 2, 3),
    8,
)  # numbers of elements, atoms of each: formulas that are always possible (chosen)
CHECKPOINT_SECONDS = 20.0  # CPU time between two checkpoints at least (chosen)
STABILITY = "e_above_hull"  # property by which the GAN tells stable crystals
FEWEST = 10  # crystals that can be learnt from
REPORTED_EVERY = 500  # crystals (chosen)
MOST_EPOCHS = 400  # of a training that is bounded by minutes; chosen: few crystals are learnt by heart before
MOST_STEPS = 20_000  # of the refiner, where minutes bound it (chosen)


@dataclass(frozen=True, eq=False)
class Lesson:
    """One crystal to learn from.

    Attributes:
        written: the crystal in its chosen setting.
        targets: properties by name.
        domain: MAIN, or EXTRA for crystals that help and are not imitated.
    """

    written: Written
    targets: dict[str, float]
    domain: int = MAIN


class TrainingSettings(Frozen):
    """Settings of a training."""

    minutes: float | None = None
    """Most CPU minutes of all of it; None trains all epochs and steps."""
    sizes: Sizes = Sizes()
    schedule: Schedule = Schedule()
    refiner: RefinerSchedule = RefinerSchedule()
    gan: GanSizes = GanSizes()
    extra_atoms: int = 20
    """Most atoms in the primitive cell of an extra crystal."""
    extra_orbits: int = 10
    """Most orbits of an extra crystal."""


def make_examples(
    lessons: Sequence[Lesson], volumes: dict[str, float], settings: TrainingSettings
) -> list[Example]:
    """Arrays of the crystals that are within the sizes of the network."""
    order = list_elements()
    found = []
    for lesson in lessons:
        example = make_example(lesson.written, order, volumes, lesson.domain, lesson.targets)
        atoms = int(example.counts.sum()) * example.units
        small = atoms <= settings.extra_atoms and len(example.species) <= settings.extra_orbits
        if is_learnable(example) and (lesson.domain == MAIN or small):
            found.append(example)
    return found


def scale_targets(examples: Sequence[Example], scale: Scale) -> list[Example]:
    """Examples with properties in deviations from the mean."""
    spans = {
        name: (mean, spread) for name, mean, spread in zip(scale.names, scale.mean, scale.spread, strict=True)
    }
    return [
        replace(
            one,
            targets={
                name: (one.targets[name] - mean) / spread
                for name, (mean, spread) in spans.items()
                if name in one.targets
            },
        )
        for one in examples
    ]


@one_thread()
def train_model(
    lessons: Sequence[Lesson],
    folder: Path,
    settings: TrainingSettings,
    about: str,
    report: Callable[[str], None] = lambda _: None,
) -> CrystalModel:
    """Train a model and write its folder.

    A training that was killed continues from its checkpoint, if data and settings are the same. An interruption (Ctrl-C) ends
    the training of the network; the model is made of what was learnt until then.

    Args:
        lessons: crystals to learn from.
        folder: of the model.
        settings: of training.
        about: data with hash, licence and split, for the card.
        report: takes lines on the progress.

    Raises:
        InvdesignError: there are too few crystals.
        ArtifactError: the folder cannot be written.
    """
    started = time.process_time()
    compositions = [count_atoms(lesson.written) for lesson in lessons]
    volumes = (
        fit_volumes(compositions, [measure_volume(lesson.written) for lesson in lessons]) if lessons else {}
    )
    examples = make_examples(lessons, volumes, settings)
    if len(examples) < FEWEST:
        raise InvdesignError(
            f"{len(examples)} of {len(lessons)} crystals can be learnt from, and {FEWEST} are needed: "
            "ordered ones of up to 8 elements and 20 occupied positions"
        )
    scale = measure_scale(examples)
    trainer = Trainer(
        scale_targets(examples, scale),
        settings.sizes.model_copy(update={"targets": scale.names}),
        _limit(settings.schedule, settings, 0),
    )
    key = hash_training(
        [lesson.written for lesson in lessons],
        [lesson.targets for lesson in lessons],
        settings.model_dump(mode="json"),
    )
    try:
        finished = _train_network(trainer, folder, key, report)
        report("refiner of geometries")
        refiner = _train_refiner(lessons, settings, finished, report)
    except KeyboardInterrupt:
        report("interrupted: the model is made of what was learnt so far")
        finished = False
        refiner = None
    network = trainer.network
    network.load_state_dict(trainer.progress.weights or trainer.average)
    network.train(mode=False)
    model = _fit_priors(network, refiner, trainer, scale, volumes, settings, with_gan=finished)
    figures = {
        "crystals": len(examples),
        "epochs": trainer.progress.epoch,
        "cpu_minutes": round((time.process_time() - started) / 60.0, 1),
        "finished": finished,
        "held_out": _pick_figures(trainer),
    }
    write_folder(folder, model, about, figures, trainer.progress.log)
    if finished:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return model


def train_on_crystals(
    training: TrainingSet, folder: Path, minutes: float, report: Callable[[str], None]
) -> CrystalModel:
    """Train a model on crystals of a user.

    Args:
        training: crystals; those without symmetry or shared by elements are left out.
        folder: of the model.
        minutes: most CPU minutes of the training, after the crystals were read.
        report: takes sentences on the progress.

    Raises:
        InvdesignError: nothing can be learnt from these crystals.
    """
    lessons, left_out = [], list(training.left_out)
    for number, crystal in enumerate(training.crystals, 1):
        try:
            lessons.append(Lesson(write_structure(crystal.structure), dict(crystal.properties)))
        except Infeasible as error:
            left_out.append((crystal.name, str(error)))
        if number % REPORTED_EVERY == 0:
            report(f"{number} of {len(training.crystals)} crystals read")
    sources = ", ".join(f"{name} (SHA-256 {digest})" for name, digest in training.sources)
    about = f"{training.about}\n{sources}. {len(lessons)} crystals, {len(left_out)} left out.".strip()
    settings = TrainingSettings(
        minutes=minutes, schedule=Schedule(epochs=MOST_EPOCHS), refiner=RefinerSchedule(steps=MOST_STEPS)
    )
    return train_model(lessons, folder, settings, about, report)


def _limit(schedule: Schedule, settings: TrainingSettings, part: int) -> Schedule:
    """Schedule within its share of the minutes."""
    if settings.minutes is None:
        return schedule
    return schedule.model_copy(update={"minutes": SHARES[part] * settings.minutes})


def _train_network(trainer: Trainer, folder: Path, key: str, report: Callable[[str], None]) -> bool:
    """Train the network from its checkpoint, if there is one; True when it is finished."""
    if read_checkpoint(folder, trainer, key):
        report(f"continues after epoch {trainer.progress.epoch}")
    written = trainer.progress.seconds
    while trainer.share_done < 1.0:
        figures = trainer.train_epoch()
        if trainer.progress.seconds - written > CHECKPOINT_SECONDS or trainer.share_done >= 1.0:
            write_checkpoint(folder, trainer, key)
            written = trainer.progress.seconds
        report(_describe_epoch(trainer, figures))
    return True


def _describe_epoch(trainer: Trainer, figures: dict[str, float]) -> str:
    """One line on an epoch."""
    held = figures.get("held out total")
    tail = "" if held is None else f", held out {held:.2f}"
    return (
        f"epoch {trainer.progress.epoch}, {trainer.share_done:.0%}, {trainer.progress.seconds:.0f} s: "
        f"loss {figures.get('total', float('nan')):.2f}{tail}"
    )


def _train_refiner(
    lessons: Sequence[Lesson], settings: TrainingSettings, finished: bool, report: Callable[[str], None]
) -> Refiner:
    """Train the refiner within its share of the minutes."""
    schedule = settings.refiner
    if settings.minutes is not None:
        schedule = schedule.model_copy(update={"minutes": SHARES[1] * settings.minutes})
    learnt = list_learnt([lesson.written for lesson in lessons])
    if not finished or not learnt:
        return Refiner(RefinerSizes()).train(mode=False)

    def tell(done: float, loss: float) -> None:
        report(f"refiner {done:.0%}: loss {loss:.3f}")

    return train_refiner(learnt, RefinerSizes(), schedule, tell)


def _fit_priors(
    network: CrystalNetwork,
    refiner: Refiner | None,
    trainer: Trainer,
    scale: Scale,
    volumes: dict[str, float],
    settings: TrainingSettings,
    *,
    with_gan: bool,
) -> CrystalModel:
    """Fit the distributions of the codes of the main crystals, and judge the regressor."""
    main = [row for row, domain in enumerate(trainer.learnt.domain) if domain == MAIN]
    batch = trainer.learnt.take(np.array(main or range(len(trainer.learnt))))
    means, spreads = encode_batch(network, batch)
    mixture = fit_mixture(means, spreads, rng_for(settings.schedule.seed, 0, "mixture"))
    gan = _fit_gan(batch, means, spreads, scale, settings) if with_gan else None
    kinds, most = SMALL_PATTERNS
    patterns = frozenset(
        tuple(int(count) for count in row if count) for row in trainer.learnt.counts
    ) | frozenset(list_small_patterns(kinds, most))
    return CrystalModel(
        network, refiner, mixture, gan, volumes, patterns, judge_targets(network, trainer.kept, scale)
    )


def _fit_gan(
    batch: Batch, means: FloatArray, spreads: FloatArray, scale: Scale, settings: TrainingSettings
) -> CodeGan:
    """Train the GAN on the codes, with the family and the stability of each crystal."""
    order = list_elements()
    families = np.array(
        [
            find_family([order[place] for place, count in zip(own, counts, strict=True) if count])
            for own, counts in zip(batch.elements, batch.counts, strict=True)
        ]
    )
    stable = np.ones(len(batch))
    if STABILITY in scale.names:
        column = scale.names.index(STABILITY)
        above = batch.targets[:, column] * scale.spread[column] + scale.mean[column]
        stable = (np.nan_to_num(above, nan=1.0) <= STABLE).astype(np.float64)
    return train_gan(means, spreads, make_labels(families, stable), settings.gan, settings.schedule.seed)


@torch.no_grad()
def encode_batch(network: CrystalNetwork, batch: Batch) -> tuple[FloatArray, FloatArray]:
    """Means and log variances of codes, each (n, l)."""
    means, spreads = [], []
    for start in range(0, len(batch), 256):
        rows = np.arange(start, min(start + 256, len(batch)))
        mean, spread = network.encode(to_tensors(batch.take(rows)))
        means.append(mean.numpy().astype(np.float64))
        spreads.append(spread.numpy().astype(np.float64))
    return np.concatenate(means), np.concatenate(spreads)


@torch.no_grad()
def judge_targets(network: CrystalNetwork, kept: Batch | None, scale: Scale) -> tuple[Target, ...]:
    """Properties with the error of their prediction on held-out crystals."""
    errors = np.full(len(scale.names), np.nan)
    if kept is not None and len(scale.names):
        means, _ = encode_batch(network, kept)
        predicted = network.regressor(torch.from_numpy(means).float()).numpy()
        errors = np.nanmean(np.abs(predicted - kept.targets), axis=0) * scale.spread
    return tuple(
        Target(name, float(mean), float(spread), float(error))
        for name, mean, spread, error in zip(scale.names, scale.mean, scale.spread, errors, strict=True)
    )


def _pick_figures(trainer: Trainer) -> dict[str, float]:
    """Held-out figures of the epoch that was kept."""
    log = [figures for figures in trainer.progress.log if "held out total" in figures]
    best = min(log, key=lambda figures: figures["held out total"], default={})
    return {name: round(value, 4) for name, value in best.items() if name.startswith("held out")}


def write_folder(
    folder: Path,
    model: CrystalModel,
    about: str,
    figures: dict[str, Any],
    log: Sequence[dict[str, float]] = (),
) -> None:
    """Write a model as a folder with its card."""
    tensors, config = pack_model(model)
    config["training"] = figures
    config["about"] = about
    write_model(folder, tensors, config, write_card(model, about, figures, log))
