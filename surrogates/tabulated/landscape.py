"""Analytic test functions of a design's numeric parameters, for examples, tests and benchmarks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit
from invdesign.protocols import Batch, EvaluatorSettings


def sphere(x: FloatArray) -> tuple[float, ...]:
    """Sum of the squares of `x`, shape (n,).

    The minimum is 0 at 0. De Jong, PhD thesis, University of Michigan (1975), function F1.
    """
    return (float(x @ x),)


def rastrigin(x: FloatArray) -> tuple[float, ...]:
    """Rastrigin's function of `x`, shape (n,): many regular local minima.

    The minimum is 0 at 0, the usual range [-5.12, 5.12]. Rastrigin (1974), in n dimensions by Mühlenbein,
    Schomisch & Born, Parallel Comput. 17, 619 (1991).
    """
    return (float(10.0 * len(x) + np.sum(x**2 - 10.0 * np.cos(2.0 * np.pi * x))),)


def rosenbrock(x: FloatArray) -> tuple[float, ...]:
    """Rosenbrock's function of `x`, shape (n,): a curved valley.

    The minimum is 0 at (1, ..., 1). Rosenbrock, Comput. J. 3, 175 (1960), chained over n variables.
    """
    return (float(np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)),)


def ackley(x: FloatArray) -> tuple[float, ...]:
    """Ackley's function of `x`, shape (n,): a funnel with ripples.

    The minimum is 0 at 0, the usual range [-32.768, 32.768]. Ackley, A Connectionist Machine for Genetic
    Hillclimbing (Kluwer, 1987).
    """
    funnel = -20.0 * np.exp(-0.2 * np.sqrt(np.mean(x**2)))
    return (float(funnel - np.exp(np.mean(np.cos(2.0 * np.pi * x))) + 20.0 + np.e),)


def zdt1(x: FloatArray) -> tuple[float, ...]:
    """ZDT1 of `x`, shape (n,): convex front f2 = 1 - sqrt(f1).

    Zitzler, Deb & Thiele, Evol. Comput. 8, 173 (2000).
    """
    g = 1.0 + 9.0 * float(np.mean(x[1:]))
    return float(x[0]), g * (1.0 - float(np.sqrt(x[0] / g)))


def zdt2(x: FloatArray) -> tuple[float, ...]:
    """ZDT2 of `x`, shape (n,): concave front f2 = 1 - f1^2.

    Zitzler, Deb & Thiele, Evol. Comput. 8, 173 (2000).
    """
    g = 1.0 + 9.0 * float(np.mean(x[1:]))
    return float(x[0]), g * (1.0 - (float(x[0]) / g) ** 2)


def dtlz2(x: FloatArray) -> tuple[float, ...]:
    """DTLZ2 of `x`, shape (n,): front a quarter circle, f1^2 + f2^2 = 1.

    On the front all but the first variable are 0.5. Deb, Thiele, Laumanns & Zitzler, Proc. CEC 2002, 825, with
    two objectives.
    """
    radius = 1.0 + float(np.sum((x[1:] - 0.5) ** 2))
    angle = 0.5 * np.pi * float(x[0])
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


@dataclass(frozen=True, slots=True)
class _Function:
    compute: Callable[[FloatArray], tuple[float, ...]]
    names: tuple[str, ...] = ("height",)
    least: int = 1  # smallest number of variables
    unit_cube: bool = False  # True if it is defined there only


_TWO_OBJECTIVES = ("f1", "f2")
_FUNCTIONS: Mapping[str, _Function] = {
    "sphere": _Function(sphere),
    "rastrigin": _Function(rastrigin),
    "rosenbrock": _Function(rosenbrock, least=2),
    "ackley": _Function(ackley),
    "zdt1": _Function(zdt1, _TWO_OBJECTIVES, least=2, unit_cube=True),
    "zdt2": _Function(zdt2, _TWO_OBJECTIVES, least=2, unit_cube=True),
    "dtlz2": _Function(dtlz2, _TWO_OBJECTIVES, least=2, unit_cube=True),
}


class Landscape(EvaluatorSettings):
    """A test function of the design's parameters, to be minimised.

    It gives `height`, or `f1` and `f2`. The parameters are taken in the order of the design, and every one must
    be a number; `zdt1`, `zdt2` and `dtlz2` expect them in [0, 1], and treat the first unlike the others.
    """

    function: Literal["sphere", "rastrigin", "rosenbrock", "ackley", "zdt1", "zdt2", "dtlz2"]
    """Name of the function."""
    delay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Seconds to sleep per evaluation, to stand for a costly one."""
    batch_size: int = Field(default=16, ge=1)
    """Candidates evaluated at a time."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return dict.fromkeys(_FUNCTIONS[self.function].names, "")

    @property
    def batch(self) -> Batch:
        return Batch(size=self.batch_size)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._evaluate_parameters(item) for item in inputs]

    def _evaluate_parameters(self, item: Input) -> Evaluation:
        start = time.perf_counter()
        time.sleep(self.delay)
        function = _FUNCTIONS[self.function]
        parameters = item.design.parameters
        refusal = _explain_refusal(self.function, function, parameters)
        if refusal is not None:
            return Evaluation(failure=refusal)
        x = np.array([float(value) for value in parameters.values()])
        with np.errstate(over="ignore", invalid="ignore"):
            found = function.compute(x)
        if not all(map(math.isfinite, found)):
            return Evaluation(failure=Failure("not_finite", "landscape", f"{self.function} overflows at {x}"))
        values = dict(zip(function.names, found, strict=True))
        return Evaluation(properties=values, cost={"seconds": time.perf_counter() - start})


def _explain_refusal(name: str, function: _Function, parameters: Mapping[str, float | str]) -> Failure | None:
    """Failure if the function has no value at `parameters`.

    Returns None if it has one.
    """
    words = [f"{key} = {value!r}" for key, value in parameters.items() if isinstance(value, str)]
    if words:
        return Failure("missing", "landscape", f"{name} is a function of numbers, got {', '.join(words)}")
    if len(parameters) < function.least:
        lack = f"{name} needs {function.least} or more numeric parameters, got {len(parameters)}"
        return Failure("missing", "landscape", lack)
    outside = [f"{key} = {value}" for key, value in parameters.items() if not 0.0 <= float(value) <= 1.0]
    if function.unit_cube and outside:
        return Failure("error", "landscape", f"{name} is defined on [0, 1], got {', '.join(outside)}")
    return None
