"""Text of values with their errors: noise of the evaluation, error of the method."""

from __future__ import annotations

import math

METHOD_MARK = "(method)"
FINEST_DECIMALS = {"V": 3}  # of a voltage whose method has an error: cells are measured to a millivolt
MOST_DECIMALS, LARGEST_WITH_DECIMALS = 6, 1e6  # beyond these, four significant digits are written (chosen)
ERRORS_EXPLAINED = (
    "± is one standard deviation of repeating the evaluation; ± with (method) is that of its method, an error that candidates "
    "of one chemistry share."
)


def known_error(error: float | None) -> float:
    """Return `error` if it is positive and finite; else NaN."""
    return error if error is not None and math.isfinite(error) and error > 0 else math.nan


def count_decimals(
    value: float, noise: float | None = None, systematic: float | None = None, unit: str = ""
) -> int | None:
    """Decimals to write a value with; None where four significant digits suffice.

    Two digits of the noise decide, but no digit is written that lies far below a method's error. Of that error, which
    neighbours in a ranking share, one more digit than two is kept to tell them apart: tenths of a meV of energies per atom,
    millivolts of voltages.

    Args:
        value: in `unit`.
        noise: standard deviation of repeating the evaluation.
        systematic: standard deviation of the method.
        unit: decides on digits alone.
    """
    own, shared = known_error(noise), known_error(systematic)
    allowed = [1 - math.floor(math.log10(own))] if not math.isnan(own) else []
    if not math.isnan(shared):
        allowed.append(min(2 - math.floor(math.log10(shared)), FINEST_DECIMALS.get(unit, MOST_DECIMALS)))
    if allowed:
        decimals = min(allowed)
    elif unit == "eV/atom" and abs(value) >= 1:
        decimals = 4
    else:
        return None
    return decimals if 0 <= decimals <= MOST_DECIMALS and abs(value) < LARGEST_WITH_DECIMALS else None


def value_text(
    value: float, noise: float | None = None, systematic: float | None = None, unit: str = ""
) -> str:
    """Write a value with its errors: `1.230 ± 0.045 ± 0.2 (method)`.

    Args:
        value: in `unit`.
        noise: standard deviation of repeating the evaluation.
        systematic: standard deviation of the method.
        unit: decides on digits alone; it is not written.

    Examples:
        >>> value_text(1.2301, noise=0.045, systematic=0.2)
        '1.230 ± 0.045 ± 0.2 (method)'
    """
    error, decimals = known_error(noise), count_decimals(value, noise, systematic, unit)
    own = f"{value:z.4g}" if decimals is None else f"{value:z.{decimals}f}"
    return own + noise_text(error, decimals) + method_text(systematic)


def noise_text(noise: float, decimals: int | None) -> str:
    """Write the `noise` as ` ± 0.045`; empty where it is unknown.

    Args:
        noise: standard deviation of repeating the evaluation, or NaN.
        decimals: of the value; where they hold fewer than two digits of the noise, it is written with two digits.
    """
    if math.isnan(noise):
        return ""
    short = decimals is None or decimals < 1 - math.floor(math.log10(noise))
    return f" ± {float(f'{noise:.2g}'):.4g}" if short else f" ± {noise:.{decimals}f}"


def method_text(systematic: float | None) -> str:
    """Write the `systematic` error with two digits as ` ± 0.05 (method)`; empty where it is unknown."""
    error = known_error(systematic)
    return "" if math.isnan(error) else f" ± {float(f'{error:.2g}'):.4g} {METHOD_MARK}"
