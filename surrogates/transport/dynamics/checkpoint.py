"""Checkpoints of a simulation: npz files that replace each other atomically and belong to one calculation alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.artifacts import read_arrays
from invdesign.diskfiles import replace_atomically
from invdesign.errors import InvdesignError
from invdesign.textfiles import read_bytes
from surrogates.transport.dynamics.integrator import Schedule, Trajectory

logger = logging.getLogger(__name__)

KEY = "key"
MAX_BYTES = 400_000_000  # of one file; chosen: 1000 frames of 16,000 atoms


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Checkpoint file of one simulation.

    Attributes:
        path: the file; it need not exist.
        key: hash of all that the simulation depends on: settings, potential, structure, seed, temperature.
    """

    path: Path
    key: str

    def write(self, run: Trajectory, schedule: Schedule) -> None:
        """Replace the checkpoint by the state of `run`, synced to disk.

        A disk that refuses is a warning: the simulation does not depend on its checkpoint.
        """
        arrays = {KEY: np.array(self.key), **run.to_arrays(schedule)}
        try:
            with replace_atomically(self.path, durable=True) as fresh, fresh.open("wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's own keyword takes a bool
        except (OSError, InvdesignError) as error:
            logger.warning(
                "the checkpoint %s cannot be written, and a kill would lose it: %s", self.path, error
            )

    def read(self, schedule: Schedule, n: int) -> Trajectory | None:
        """Restore the trajectory of `n` atoms; None without a checkpoint.

        A file that is damaged, or of another calculation, is refused with a warning, and None is returned.
        """
        if not self.path.exists():
            return None
        try:
            arrays = read_arrays(read_bytes(self.path, MAX_BYTES), self.path.name)
            self._check_key(arrays)
            return Trajectory.from_arrays(arrays, schedule, n)
        except (InvdesignError, OSError, ValueError) as error:
            logger.warning(
                "the checkpoint %s is not used, and the simulation starts anew: %s", self.path, error
            )
            return None

    def _check_key(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Refuse a checkpoint of another calculation.

        Raises:
            ValueError: it is of another one, or none.
        """
        found = arrays.get(KEY)
        if found is None or found.shape != () or str(found) != self.key:
            raise ValueError("it belongs to other settings, another structure or another potential")
