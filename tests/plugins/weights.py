"""An evaluator and a space with trained weights, as artifacts: of the user's own, or shipped with these tests."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.artifacts import Artifact, Shelf, of_kind, write_model
from invdesign.candidate import Design, Evaluation, Genome, Input
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings, Operator, SpaceSettings
from invdesign.spaces.parameters.space import ParameterSpace

MODELS = Shelf("tests", "data/models")  # `default` is `write_linear(..., [1.0, -0.25])`
KIND, VERSION = "linear", 1
SHIPPED = Path(__file__).parents[1] / "data" / "models" / "default"


def write_linear(folder: Path, weights: Sequence[float], **config: Any) -> Path:
    """Write a model of `Weighted`."""
    tensors = {"weights": np.array(weights, dtype=np.float16)}
    write_model(folder, tensors, {"kind": KIND, "version": VERSION, **config}, "# A linear model\n")
    return folder


class Weighted(EvaluatorSettings):
    """`height`, a weighted sum of the parameters."""

    weights: Annotated[Artifact, MODELS.field, of_kind(KIND, VERSION)] = Field(
        default_factory=MODELS.default, validate_default=True
    )
    """Weights of the parameters."""
    delay: float = 0.0
    """Seconds one candidate takes."""
    log: str = ""
    """File that gets the number of each process that loads the weights."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"height": "m"}

    @cached_property
    def _loaded(self) -> FloatArray:
        if self.log:
            with Path(self.log).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
        return self.weights.tensors()["weights"].astype(np.float64)

    def prepare(self) -> None:
        assert self._loaded.size

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        time.sleep(self.delay * len(inputs))
        return [Evaluation(properties={"height": float(self._loaded @ _numbers(item))}) for item in inputs]


def _numbers(item: Input) -> FloatArray:
    return np.array([float(value) for value in item.design.parameters.values()])


class Shifting(SpaceSettings):
    """Two reals, which `build` multiplies with the weights of a model."""

    weights: Annotated[Artifact, MODELS.field]
    """Weights of the parameters."""

    @cached_property
    def _inner(self) -> ParameterSpace:
        unit = {"real": [0.0, 1.0]}
        return ParameterSpace.model_validate({"parameters": {"x": unit, "y": unit}})

    def operators(self) -> Mapping[str, Operator]:
        return self._inner.operators()

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return self._inner.features(genomes)

    def build(self, genome: Genome) -> Design:
        weights = self.weights.tensors()["weights"].astype(np.float64)
        found = self._inner.build(genome).parameters
        scaled = {
            key: float(value) * float(w) for (key, value), w in zip(found.items(), weights, strict=True)
        }
        return Design(parameters=scaled)
