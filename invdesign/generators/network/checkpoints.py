"""Checkpoints of training: written whole after an epoch, so that a killed training can be continued."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invdesign.artifacts import Artifact, write_model
from invdesign.generators.network.canonical import Written
from invdesign.generators.network.training import Progress, Trainer

KIND, VERSION = "crystal_vae_checkpoint", 1
FOLDER = "checkpoint"


def hash_training(
    crystals: Sequence[Written], targets: Sequence[Mapping[str, float]], settings: Mapping[str, Any]
) -> str:
    """Hash of the crystals and settings of a training, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for written, own in zip(crystals, targets, strict=True):
        numbers = np.concatenate([np.array(written.cell), *written.coordinates]).round(6)
        digest.update(repr((written.group, written.sites, sorted(own.items()))).encode() + numbers.tobytes())
    digest.update(repr(sorted(settings.items())).encode())
    return digest.hexdigest()


def write_checkpoint(folder: Path, trainer: Trainer, key: str) -> None:
    """Write the state of a training into its folder; the old state or the new one is whole at any time.

    Args:
        folder: of the model.
        trainer: after an epoch.
        key: hash of data and settings.
    """
    groups: dict[str, Mapping[str, torch.Tensor]] = {
        "network": trainer.network.state_dict(),
        "average": trainer.average,
        "best": trainer.progress.weights,
    }
    for name in ("exp_avg", "exp_avg_sq"):
        groups[name] = {
            str(number): state[name] for number, state in trainer.optimizer.state_dict()["state"].items()
        }
    tensors: dict[str, NDArray[Any]] = {
        f"{group}.{name}": value.detach().numpy().copy()
        for group, own in groups.items()
        for name, value in own.items()
    }
    progress = trainer.progress
    config = {
        "kind": KIND,
        "version": VERSION,
        "key": key,
        "epoch": progress.epoch,
        "steps": trainer.steps,
        "seconds": progress.seconds,
        "best": progress.best,
        "log": progress.log,
    }
    write_model(folder / FOLDER, tensors, config, "Checkpoint of a training that is not finished.\n")


def read_checkpoint(folder: Path, trainer: Trainer, key: str) -> bool:
    """Continue a training from the checkpoint in its folder.

    Args:
        folder: of the model.
        trainer: at the start; it takes over the state.
        key: hash of data and settings; a checkpoint of others is not used.

    Returns:
        True if there was one.

    Raises:
        pydantic.ValidationError: it is damaged.
    """
    if not (folder / FOLDER).is_dir():
        return False
    artifact = Artifact.read(folder / FOLDER)
    artifact.check_kind(KIND, VERSION)
    card = artifact.card
    if card["key"] != key:
        return False
    arrays = {name: torch.from_numpy(np.array(value)).clone() for name, value in artifact.tensors().items()}

    def pick(group: str) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix(f"{group}."): value
            for name, value in arrays.items()
            if name.startswith(f"{group}.")
        }

    trainer.network.load_state_dict(pick("network"))
    trainer.average = pick("average")
    trainer.steps = int(card["steps"])
    state = trainer.optimizer.state_dict()
    first, second = pick("exp_avg"), pick("exp_avg_sq")
    state["state"] = {
        int(number): {
            "step": torch.tensor(float(trainer.steps)),
            "exp_avg": first[number],
            "exp_avg_sq": second[number],
        }
        for number in first
    }
    trainer.optimizer.load_state_dict(state)
    trainer.progress = Progress(
        int(card["epoch"]), float(card["seconds"]), float(card["best"]), pick("best"), list(card["log"])
    )
    return True
