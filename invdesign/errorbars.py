"""Values with their errors in words: the noise of one evaluation, and the error of its method."""

from __future__ import annotations

import math

METHOD = "(method)"
EXPLAINED = (
    "± is one standard deviation of repeating the evaluation; ± with (method) is that of its method, an error that candidates "
    "of one chemistry share."
)


def known_error(error: float | None) -> float:
    """An error as a positive number; NaN where it is unknown, zero or not finite."""
    return error if error is not None and math.isfinite(error) and error > 0 else math.nan


def method_text(systematic: float | None) -> str:
    """` ± 0.05 (method)`; empty where no error of the method is known."""
    error = known_error(systematic)
    return "" if math.isnan(error) else f" ± {error:.2g} {METHOD}"
