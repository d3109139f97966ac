"""Fractions as users write them: sums that miss their total by rounding, and sums in per cent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import half_last_digit
from invdesign.errors import Infeasible
from invdesign.spaces.mixture.model import Model

EXACT_SUM = (
    1e-5  # relative: a sum that misses its total by less is that total, however it was written (chosen)
)
MAX_ROUNDING = 0.05  # relative: a sum that misses its total by more is not explained by rounding (chosen)
PER_CENT_TOLERANCE = 0.05  # relative: a sum so near to 100 times its total is one of per cent (chosen)


def scale_to_totals(model: Model, values: FloatArray, rounding: Mapping[str, float]) -> FloatArray:
    """Scale fractions so that the sums are the totals of their mixtures.

    Args:
        model: the mixtures.
        values: shape (n,), as they were written.
        rounding: rounding error by column; where not given, that of the number as Python writes it.

    Raises:
        Infeasible: a fraction is negative, or a sum misses its total by more than its digits allow.
    """
    if (values < 0.0).any():
        worst = int(np.argmin(values))
        raise Infeasible(f"the fraction of {model.names[worst]} cannot be negative, got {values[worst]:g}")
    found, start = values.copy(), 0
    for name, width in zip(model.request.mixtures, model.widths, strict=True):
        own = slice(start, start + width)
        start += width
        low, high = model.total_limits(name)
        total = float(values[own].sum())
        if model.request.mixtures[name].total == "free" and model.request.framework is None:
            continue
        _check_unit(name, total, low, high)
        if low != high:
            continue
        allowed = sum(
            _rounding_allowance(model, column, values, rounding) for column in range(own.start, own.stop)
        )
        if abs(total - high) > max(min(allowed, MAX_ROUNDING * high) * (1.0 + 1e-9), EXACT_SUM * high):
            raise Infeasible(
                f"the fractions of '{name}' add up to {total:.6g}, must be {high:g}: complete them, or divide each by "
                "their sum"
            )
        found[own] *= high / total
    return found


def _check_unit(name: str, total: float, low: float, high: float) -> None:
    """Refuse fractions in per cent."""
    if (
        not low <= total <= high
        and (1.0 - PER_CENT_TOLERANCE) * low <= total / 100.0 <= (1.0 + PER_CENT_TOLERANCE) * high
        and total > 0
    ):
        wanted = f"{high:g}" if low == high else f"between {low:g} and {high:g}"
        raise Infeasible(
            f"the fractions of '{name}' add up to {total:.6g}, must be {wanted}: these look like per cent; divide by 100"
        )


def _rounding_allowance(
    model: Model, column: int, values: FloatArray, rounding: Mapping[str, float]
) -> float:
    """Rounding error of one fraction, as it was written."""
    value = float(values[column])
    if not rounding:  # not from a table: take the digits that Python writes
        return half_last_digit(repr(value), 0.0) if value else 0.0
    return rounding.get(model.names[column], 0.0)
