"""Base of evaluators that exchange ions of a host, and the errors of their voltages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from invdesign.protocols import Potential
from surrogates.electrode.insertion import HostRule, Limits
from surrogates.potentials.evaluator import PotentialEvaluator, find_known_error

VOLTAGE_ERRORS = {"chgnet-0.3.0": 0.33}
"""V, by the beginning of the potential's fingerprint: root mean square error of nine average voltages against measured ones
(docs/truth.md)."""
ENERGY_SCATTER = 2e-4
"""eV/atom: relaxations of one phase that were started differently end within it of each other (as `windows.ON_HULL`)."""
Positive = Annotated[float, Field(gt=0)]


class ExchangeEvaluator(PotentialEvaluator):
    """Base of evaluators that relax a host before and after an exchange of ions."""

    host_changed: HostRule = "fail"
    """Treatment of a candidate whose host moves by more than 1.5 Å or forms bonds between anions: `fail`, or `flag`."""
    fmax: Positive = 0.05
    """Largest force left on an atom, eV/Å."""
    smax: Positive = 0.1
    """Largest stress component left, GPa."""
    relaxation_steps: Annotated[int, Field(ge=0)] = 500
    """Most moves of a relaxation."""
    rattle: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Random displacement of each coordinate before a relaxation, Å (standard deviation); always the same one."""

    @property
    def potential_id(self) -> str:
        """Fingerprint of the potential."""
        return self._potential.fingerprint

    @property
    def _limits(self) -> Limits:
        return Limits(self.fmax, self.smax, self.relaxation_steps, self.rattle)


def describe_voltage_error(potential: Potential, errors: Mapping[str, float] = VOLTAGE_ERRORS) -> str:
    """Say that the error of a potential's voltages is unknown; nothing where it was measured."""
    if find_known_error(potential, errors) is not None:
        return ""
    return f"the error of voltages by {potential.label} was not measured"
