"""Evaluators that are sick where a candidate's parameters say so."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import Batch, EvaluatorSettings

HEALTHY = "healthy"


def _raise() -> Any:
    raise ValueError("no atoms,\nno fun")


def _sleep() -> Any:
    time.sleep(3600)


def _spin() -> Any:
    while True:
        pass


def _exit() -> Any:
    os._exit(3)


def _system_exit() -> Any:
    sys.exit("the library gave up")


def _kill() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _eat() -> Any:
    return Evaluation(properties={"health": float(len([np.zeros(25_000_000) for _ in range(10**4)]))})


def _named(**properties: Any) -> Any:
    return lambda: Evaluation(properties=properties)


SICKNESSES: Mapping[str, Any] = {
    HEALTHY: _named(health=1.0),
    "raises": _raise,
    "nan": _named(health=math.nan),
    "infinite": _named(health=-math.inf),
    "half_known": lambda: Evaluation(properties={"health": math.nan}, noise={"health": 0.1}),
    "text": _named(health="1.0"),
    "none": _named(health=None),
    "nothing": lambda: None,
    "misnamed": _named(wealth=1.0),
    "talkative": _named(health=1.0, wealth=1.0),
    "surrogate": lambda: Evaluation(failure=Failure("error", "", "cannot read \udce9")),
    "refuses": lambda: Evaluation(failure=Failure("missing", "", "no reference for Xe")),
    "sleeps": _sleep,
    "spins": _spin,
    "exits": _exit,
    "system_exit": _system_exit,
    "killed": _kill,
    "eats": _eat,
}


class Sick(EvaluatorSettings):
    """Healthy where `parameters.sickness` is "healthy"; otherwise what that word says."""

    batch_size: int = Field(default=1, ge=1)
    """Candidates evaluated at a time."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"health": ""}

    @property
    def batch(self) -> Batch:
        return Batch(size=self.batch_size)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [SICKNESSES[str(item.design.parameters["sickness"])]() for item in inputs]


class Miscounts(Sick):
    """Answers for one candidate fewer than it was asked about, where any of them is "forgotten"."""

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        words = [str(item.design.parameters["sickness"]) for item in inputs]
        return [Evaluation(properties={"health": 1.0}) for word in words if word != "forgotten"]


class Unprepared(Sick):
    """Cannot load what it needs: raises, leaves, or dies, as `how` says."""

    how: str = "raises"
    """A sickness of `prepare`."""

    def prepare(self) -> None:
        if self.how == "raises":
            raise FileNotFoundError("there is no weights.pt")
        SICKNESSES[self.how]()


class UnpreparedOnce(Sick):
    """Dies in its first preparation only; `mark` is a file that remembers."""

    mark: str
    """Path of the file."""

    def prepare(self) -> None:
        try:
            with open(self.mark, "x"):  # noqa: PTH123 - exclusive creation in one call
                os._exit(9)
        except FileExistsError:
            return
