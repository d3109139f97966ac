"""Evaluators of compositions for screens: a linear model on elemental statistics, and curved ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import BlockScorer, EvaluatorSettings, Judgement
from invdesign.structures.charges import element_symbols
from invdesign.structures.descriptors import elemental_properties
from surrogates.regression.linear_blocks import StatisticsModel

HEAVIEST = 94


def random_model(seed: int) -> StatisticsModel:
    """A linear model with random weights on standardised properties."""
    table = elemental_properties()[1 : HEAVIEST + 1]
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=table.shape[1]) for _ in range(4)]
    weights[1][::3] = 0.0  # as of a sparse model
    return StatisticsModel(
        tuple(element_symbols()[:HEAVIEST]),
        table,
        *weights,
        fractions=rng.normal(size=HEAVIEST),
        intercept=0.3,
    )


class _Block:
    def __init__(self, block: BlockScorer, name: str) -> None:
        self._block = block
        self._name = name

    def score_sets(self, members: IntArray) -> Mapping[str, FloatArray]:
        return {self._name: self._block.score(members)}


class Plain(EvaluatorSettings):
    """A linear model that is evaluated one composition after the other, and fails for compositions with an element."""

    seed: int = 0
    failing: str = ""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"composition"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"value": "eV"}

    @property
    def fingerprint(self) -> str:
        return f"{type(self).__name__} {self.model_dump_json()}"

    @cached_property
    def model(self) -> StatisticsModel:
        return random_model(self.seed)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._evaluate_one(item) for item in inputs]

    def _evaluate_one(self, item: Input) -> Evaluation:
        amounts = {str(name): float(amount) for name, amount in item.composition.as_dict().items()}
        if self.failing in amounts:
            formula = item.composition.reduced_formula
            return Evaluation(failure=Failure("error", "", f"{formula} holds {self.failing}"))
        return Evaluation(properties={"value": float(self.model.score([amounts])[0])})


class Linear(Plain):
    """The same for whole element sets."""

    refused: dict[str, str] = Field(default_factory=dict)
    fast: bool = True
    delay: float = 0.0

    def refuse_elements(self, elements: Sequence[str]) -> Mapping[str, str]:
        return {name: reason for name, reason in self.refused.items() if name in elements}

    def prepare_counts(
        self, elements: Sequence[str], counts: IntArray, names: Collection[str]
    ) -> BlockScorer | None:
        time.sleep(self.delay)
        return _Block(self.model.prepare_counts(elements, counts), "value") if self.fast else None

    def score_compositions(
        self, compositions: Sequence[Mapping[str, float]], names: Collection[str]
    ) -> Mapping[str, FloatArray]:
        return {"value": self.model.score(compositions)}

    def judge_compositions(self, compositions: Sequence[Mapping[str, float]]) -> Sequence[Judgement]:
        return [
            Judgement(
                {"value": value - 1}, {"value": value + 1}, "F" in amounts, ("far away",), "Na" in amounts
            )
            for amounts, value in zip(compositions, self.model.score(compositions), strict=True)
        ]


class Curved(Linear):
    """The absolute value of a linear model: no sum over elements."""

    fast: bool = False

    def score_compositions(
        self, compositions: Sequence[Mapping[str, float]], names: Collection[str]
    ) -> Mapping[str, FloatArray]:
        return {"value": np.abs(self.model.score(compositions))}
