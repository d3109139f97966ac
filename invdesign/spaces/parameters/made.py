"""Measured values outside the space: beyond bounds, between steps, or against a constraint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from invdesign.candidate import Json, round_number
from invdesign.errors import Infeasible
from invdesign.spaces.parameters.kinds import Integer, Parameter, Value
from invdesign.spaces.parameters.rules import Rules

PER_CENT_TOLERANCE = 0.05  # relative: a sum so near to 100 times its limit is one of per cent (chosen)

Values = Mapping[str, Value]


@dataclass(frozen=True)
class MeasuredValues:
    """Placement of measured values relative to the values that the space allows.

    Attributes:
        parameters: all of the space.
        rules: the constraints; None where there are none.
        settle: values of the space near values that break a constraint.
    """

    parameters: Mapping[str, Parameter]
    rules: Rules | None
    settle: Callable[[Values], Values]

    def place_values(
        self, values: dict[str, Value], rounding: Mapping[str, float]
    ) -> tuple[dict[str, Value], str]:
        """Write values as the space does, and describe the rules they break.

        Args:
            values: each as `accept_value` returned it.
            rounding: rounding error of each number as it was written.

        Returns:
            (values, broken rules in words; empty where none is).

        Raises:
            Infeasible: fractions are given in per cent.
        """
        refusals = {name: self.parameters[name].explain_refusal(value) for name, value in values.items()}
        broken = [
            f"{name} must be {refusal.removesuffix('.')}, got {values[name]:.12g}"
            for name, refusal in sorted(refusals.items())
            if refusal
        ]
        if self.rules is None:
            return values, "; ".join(broken)
        near = (
            values
            if broken or not self.rules.describe_broken(values)
            else self._find_meant_values(values, rounding)
        )
        return dict(near), "; ".join([*broken, *self._list_broken_constraints(near)])

    def accept_value(self, name: str, value: Json, rounding: Mapping[str, float]) -> Value:
        """Accept a parameter's value, allowed or measurable.

        It is the allowed value where that was meant.

        Args:
            name: of the parameter.
            value: as the genome holds it.
            rounding: rounding error of each number as it was written.

        Raises:
            Infeasible: it is neither.
        """
        parameter = self.parameters[name]
        refusal = parameter.explain_refusal(value)
        if refusal and not parameter.is_measurable(value):
            raise Infeasible(f"parameter '{name}' must be {refusal}, got {value!r}")
        assert isinstance(value, float | int | str)  # what both accept
        if refusal:
            value = parameter.snap_to_allowed(value, self._match_tolerance(name, float(value), rounding))
        if isinstance(value, str) or not parameter.explain_refusal(value):
            return float(value) if parameter.size is None and not isinstance(value, str) else value
        return (
            int(value)
            if isinstance(parameter, Integer) and float(value).is_integer()
            else round_number(float(value))
        )

    def _match_tolerance(self, name: str, value: float, rounding: Mapping[str, float]) -> float:
        """Distance within which a written number counts as an allowed one."""
        return max(rounding.get(name, 0.0), self.parameters[name].matching_tolerance(value))

    def _find_meant_values(self, values: Values, rounding: Mapping[str, float]) -> Values:
        """Find the nearby values of the space that are meant.

        Returns `values` where none are so near.
        """
        found = self.settle(values)
        for name, value in values.items():
            other = found.get(name)
            if isinstance(value, str) or isinstance(other, str) or other is None:
                if value != other:
                    return values
            elif abs(other - value) > self._match_tolerance(name, float(value), rounding):
                return values
        return found if found.keys() == values.keys() else values

    def _list_broken_constraints(self, values: Values) -> list[str]:
        """List the constraints that values break, in words.

        Raises:
            Infeasible: fractions are given in per cent.
        """
        assert self.rules is not None
        found = []
        for constraint in self.rules.list_applicable(values):
            numbers = {name: float(values[name]) for name in constraint.sum}
            reached = constraint.weighted_sum(numbers)
            width = sum(abs(weight) * self.parameters[name].extent for name, weight in constraint.sum.items())
            if constraint.measure_violation(numbers) <= 1e-9 * width:
                continue
            found.append(f"{constraint} (the sum is {reached:.6g})")
            if constraint.equal and abs(reached / (100.0 * constraint.equal) - 1.0) < PER_CENT_TOLERANCE:
                raise Infeasible(f"{found[-1]}: these look like per cent; divide by 100")
        missed = self.rules.measure_violations(values)
        found += [e.text for e, off in zip(self.rules.expressions, missed, strict=True) if off > 0.0]
        return [f"the constraint is not met: {words}" for words in found]
