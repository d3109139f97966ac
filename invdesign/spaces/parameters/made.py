"""What was made and is not what may be proposed: values beyond bounds, between steps, or against a constraint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from invdesign.candidate import Genome, rounded
from invdesign.errors import Infeasible
from invdesign.spaces.parameters.conditions import Tree
from invdesign.spaces.parameters.kinds import Integer, Parameter, Value
from invdesign.spaces.parameters.rules import Rules

PER_CENT = 0.05  # relative: a sum of so nearly 100 times its limit is one of per cent

Values = Mapping[str, Value]


@dataclass(frozen=True)
class Made:
    """Values that somebody had, beside those that the space allows.

    Attributes:
        parameters: all of the space, in natural order.
        tree: which of them exist.
        rules: the constraints; None where there are none.
        settled: values of the space near such that break a constraint.
    """

    parameters: Mapping[str, Parameter]
    tree: Tree
    rules: Rules | None
    settled: Callable[[Values], Values]

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> tuple[dict[str, Value], str]:
        """The values of a genome with all names right, and in words what they break of the space.

        Args:
            genome: its names are those of the parameters that exist.
            rounding: how far each number may be off as it was written.

        Raises:
            Infeasible: a value is nothing that can be made.
        """
        broken: list[str] = []
        values: dict[str, Value] = {}
        for name in self.tree.order:
            if name in genome:
                values[name] = self._taken(name, genome, rounding)
                refusal = self.parameters[name].refusal(values[name])
                broken += (
                    [f"{name} must be {refusal.removesuffix('.')}, got {values[name]:.12g}"]
                    if refusal
                    else []
                )
        if self.rules is None:
            return values, "; ".join(broken)
        near = values if broken or not self.rules.broken(values) else self._near(values, rounding)
        return dict(near), "; ".join([*broken, *self._constraints(near)])

    def _taken(self, name: str, genome: Genome, rounding: Mapping[str, float]) -> Value:
        """A parameter's value: the allowed one where it was meant, else a number that can be measured.

        Raises:
            Infeasible: it is neither.
        """
        value, parameter = genome[name], self.parameters[name]
        refusal = parameter.refusal(value)
        if refusal and not parameter.is_measurable(value):
            raise Infeasible(f"parameter '{name}' must be {refusal}, got {value!r}")
        assert isinstance(value, float | int | str)  # what both accept
        if refusal:
            value = parameter.near_allowed(value, self._tolerance(name, float(value), rounding))
        if isinstance(value, str) or not parameter.refusal(value):
            return float(value) if parameter.size is None and not isinstance(value, str) else value
        return (
            int(value)
            if isinstance(parameter, Integer) and float(value).is_integer()
            else rounded(float(value))
        )

    def _tolerance(self, name: str, value: float, rounding: Mapping[str, float]) -> float:
        return max(rounding.get(name, 0.0), self.parameters[name].slack(value))

    def _near(self, values: Values, rounding: Mapping[str, float]) -> Values:
        """The values of the space that are meant; `values` where none are so near."""
        found = self.settled(values)
        for name, value in values.items():
            other = found.get(name)
            if isinstance(value, str) or isinstance(other, str) or other is None:
                if value != other:
                    return values
            elif abs(other - value) > self._tolerance(name, float(value), rounding):
                return values
        return found if found.keys() == values.keys() else values

    def _constraints(self, values: Values) -> list[str]:
        """Constraints that values break, in words.

        Raises:
            Infeasible: fractions are given in per cent.
        """
        assert self.rules is not None
        found = []
        for constraint in self.rules.applicable(values):
            numbers = {name: float(values[name]) for name in constraint.sum}
            reached = constraint.value(numbers)
            width = sum(abs(weight) * self.parameters[name].extent for name, weight in constraint.sum.items())
            if constraint.violation(numbers) <= 1e-9 * width:
                continue
            found.append(f"{constraint} (the sum is {reached:.6g})")
            if constraint.equal and abs(reached / (100.0 * constraint.equal) - 1.0) < PER_CENT:
                raise Infeasible(f"{found[-1]}: these look like per cent; divide by 100")
        missed = self.rules.missed(values)
        found += [e.text for e, off in zip(self.rules.expressions, missed, strict=True) if off > 0.0]
        return [f"the constraint is not met: {words}" for words in found]
