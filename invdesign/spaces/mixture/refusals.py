"""Explanations in words: no mixture keeps the rules, or one does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.spaces.linear import LinearConstraint, find_contradiction, format_sum
from invdesign.spaces.mixture.cells import Multiple
from invdesign.spaces.mixture.fields import Listed
from invdesign.spaces.mixture.model import Model

MAX_TRIED_CELLS = 64  # unit cells up to which a sufficient supercell is sought (chosen)


def check_model(model: Model) -> None:
    """Refuse a `model` with rules that no mixture keeps.

    Raises:
        ValueError: with the smallest contradicting set that was found.
    """
    _check_known_charges(model)
    _check_linear(model)
    _check_charges(model)
    y = 0.5 * (model.rule_system.rules.lower + model.rule_system.rules.upper)
    solved = model.rule_system.solve_nearest(y)
    if solved is None:
        raise ValueError(_explain_counts(model, y))
    if model.request.framework is not None and not model.request.framework.multiples:
        unit = model.request.framework.unit
        raise ValueError(f"the unit cell of {unit.name} has {len(unit)} atoms already; raise max_atoms")
    if model.lattices and all(lattice.solve_nearest(solved) is None for lattice in model.lattices):
        raise ValueError(_explain_cells(model, solved))
    if isinstance(model.field, Listed) and len(model.field.points) == 1:
        only = model.describe_fractions(model.field.points[0])
        raise ValueError(f"only one mixture keeps all rules, so there is nothing to search: {only}")


def _check_known_charges(model: Model) -> None:
    """Refuse electrostatic arrangement without all charges."""
    framework = model.request.framework
    if framework is None or framework.options.arrange != "electrostatics":
        return
    known = (species for species, _ in (*model.amounts, *model.fixed))
    unknown = sorted({species.name for species in known if species.charge is None} - set(model.request.mixed))
    if unknown:
        raise ValueError(
            f"electrostatics needs charges, and those of {', '.join(unknown)} are not known: give "
            f"oxidation_states, such as {{{unknown[0]}: 3}}, or arrange: quasirandom"
        )


def _check_linear(model: Model) -> None:
    """Refuse linear rules that contradict each other within the bounds."""
    limits = {
        name: (float(a), float(b)) for name, a, b in zip(model.names, model.lower, model.upper, strict=True)
    }
    rules, spoken = [], {}
    for words, weights, low, high in model.stated_rules:
        terms = {name: float(w) for name, w in zip(model.names, weights, strict=True) if w}
        if not terms:
            continue
        fields: dict[str, float] = {"equal": low} if low == high else {}
        if low != high:
            fields |= {"min": low} if np.isfinite(low) else {}
            fields |= {"max": high} if np.isfinite(high) else {}
        rules.append(LinearConstraint(sum=terms, **fields))
        if words.startswith("the fractions of"):
            spoken[format_sum(terms)] = words.replace("the fractions", "the sum").removesuffix(" add up")
    found = find_contradiction(limits, rules)
    if not found:
        return
    said = [_reword_statement(statement, spoken) for statement in found]
    listed_ = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    raise ValueError(f"no mixture meets {listed_}{' together' if len(said) > 1 else ''}; loosen one of them")


def _check_charges(model: Model) -> None:
    """Refuse bounds within which charges cannot balance."""
    rule = model.neutrality
    if rule is None:
        return
    from scipy.optimize import linprog

    ends = []
    for weights, sign in ((rule.low, 1.0), (rule.high, -1.0)):
        rows = [(row, low, high) for _, row, low, high in model.stated_rules]
        upper = [(row, high) for row, _, high in rows if np.isfinite(high)]
        upper += [(-row, -low) for row, low, _ in rows if np.isfinite(low)]
        answer = linprog(
            sign * weights,
            A_ub=np.array([row for row, _ in upper]) if upper else None,
            b_ub=np.array([limit for _, limit in upper]) if upper else None,
            bounds=np.column_stack([model.lower, model.upper]),
        )
        ends.append(sign * float(answer.fun))
    low, high = ends[0] + rule.fixed_low, ends[1] + rule.fixed_high
    if low > 1e-9 or high < -1e-9:
        mixed = "" if model.request.mixed else ", or let one element be mixed-valent"
        raise ValueError(
            f"charges cannot balance: within the bounds they add up to between {low:+g} and {high:+g} per "
            f"{'unit cell' if model.request.framework else 'formula unit'}; widen the bounds of an ion{mixed}"
        )


def _explain_counts(model: Model, y: FloatArray) -> str:
    """Explain that the counts cannot be met, with counts that can."""
    counted = [name for name, mixture in model.request.mixtures.items() if model.build_group(name).is_counted]
    named = " and ".join(f"'{name}'" for name in counted)
    for more in range(1, max(model.widths)):
        groups = tuple(
            replace(group, at_most=min(group.at_most + more, len(group.members)))
            for group in model.rule_system.groups
        )
        if replace(model.rule_system, groups=groups).solve_nearest(y) is not None:
            most = [
                f"at_most: {groups[i].at_most} for '{name}'"
                for i, name in enumerate(model.request.mixtures)
                if groups[i].at_most != model.rule_system.groups[i].at_most
            ]
            return (
                f"the rules can be met, but not by so few components of {named}; {' and '.join(most)} would do, "
                "or loosen a rule"
            )
    return (
        f"the rules can be met, but not with at_least, at_most and present_from of {named or 'these mixtures'}; "
        "loosen one of them"
    )


def _explain_cells(model: Model, solved: FloatArray) -> str:
    """Explain that no supercell holds such a mixture, with the nearest that one holds."""
    framework = model.request.framework
    if framework is None:
        return _explain_steps(model, solved)
    allowed = framework.options.cell
    cells = f"at most {allowed.max_atoms} atoms" if allowed.max_atoms else "the multiples given"
    close = _find_nearest_in_cells(model, solved)
    words = f"no supercell of {cells} can hold such a mixture."
    if close is not None:
        x, multiple = close
        words += f" The nearest fractions that one of them holds are {model.describe_fractions(x)} (cell {list(multiple)})."
    for count in range(1, MAX_TRIED_CELLS + 1):
        multiple = framework.find_compact_multiple(count)
        if model.system_in_cell(multiple).solve_nearest(solved) is not None:
            atoms = count * len(framework.unit)
            way = f"allow max_atoms: {atoms}" if allowed.max_atoms else "add it to the multiples"
            return (
                f"{words} The smallest supercell that can is {list(multiple)} with {atoms} atoms: {way}, or widen "
                "the bounds"
            )
    return f"{words} Nor can any of up to {MAX_TRIED_CELLS} unit cells; widen the bounds"


def _find_nearest_in_cells(model: Model, solved: FloatArray) -> tuple[FloatArray, Multiple] | None:
    """Find the fractions nearest to `solved` that an allowed cell holds.

    The bounds of single components are left aside.
    """
    assert model.request.framework is not None
    rules = model.rule_system.rules
    loose = replace(rules, lower=np.zeros_like(rules.lower), upper=np.ones_like(rules.upper))
    offers = [
        (found, multiple)
        for lattice, multiple in zip(model.lattices, model.request.framework.multiples, strict=True)
        if (found := replace(lattice, rules=loose).solve_nearest(solved)) is not None
    ]
    return min(offers, key=lambda offer: round(float(np.abs(offer[0] - solved).sum()), 9), default=None)


def _explain_steps(model: Model, solved: FloatArray) -> str:
    """Explain that no fractions in these steps keep all rules, with steps that do."""
    for name, mixture in model.request.mixtures.items():
        low, high = model.total_limits(name)
        if mixture.step is None or low != high or any(part.step for part in mixture.components.values()):
            continue
        parts = Fraction(str(low)) / Fraction(str(mixture.step))
        if parts.denominator != 1:
            finer, coarser = low / (int(parts) + 1), low / max(int(parts), 1)
            return (
                f"steps of {mixture.step:g} do not add up to the total of '{name}', {low:g}; "
                f"steps of {finer:g} or {coarser:g} do"
            )
    steps = model.lattices[0].steps
    for divisor in (2, 4, 5, 10, 20, 100):
        if replace(model.rule_system, steps=steps / divisor).solve_nearest(solved) is not None:
            return f"no fractions in these steps keep all rules; steps {divisor} times as fine would do"
    return "no fractions in these steps keep all rules; make the steps finer or widen the bounds"


def list_violations(model: Model, values: FloatArray) -> list[str]:
    """List the rules of `model` that `values` (n,) break, in words.

    The values are in the file's units.
    """
    found = []
    for name, value, low, high in zip(model.names, values, model.lower, model.upper, strict=True):
        if not low - 1e-9 * model.scale <= value <= high + 1e-9 * model.scale:
            found.append(f"{name} must lie in [{low:g}, {high:g}], got {value:g}")
    for words, weights, low, high in model.stated_rules:
        value = float(weights @ values)
        slack = 1e-9 * model.scale * max(1.0, float(np.abs(weights).sum()))
        if not low - slack <= value <= high + slack:
            wanted = f"{low:g}" if low == high else f"between {low:g} and {high:g}"
            found.append(
                f"{words} to {value:.12g}, must be {wanted}" if "add up" in words else f"{words} is broken"
            )
    rule = model.neutrality
    if rule is not None:
        low, high = float(rule.low @ values) + rule.fixed_low, float(rule.high @ values) + rule.fixed_high
        slack = 1e-9 * model.scale * max(1.0, float(np.abs(rule.high).sum()))
        if low > slack or high < -slack:
            found.append(f"charges add up to {low if low > 0 else high:+.6g}")
    if model.steps.any():
        size = np.where(model.steps > 0, model.steps, 1.0)
        off = np.where(model.steps > 0, np.abs(values - np.rint(values / size) * size), 0.0)
        uneven = [model.names[i] for i in np.flatnonzero(off > 1e-9 * model.scale)]
        if uneven:
            found.append(f"{', '.join(uneven)} must be a multiple of its step")
    if not model.rule_system.meets_counts(np.asarray(values) / model.scale):
        found.append("too many, too few or too little of some components are present")
    return found


def _reword_statement(statement: str, spoken: Mapping[str, str]) -> str:
    """Replace a sum of fractions at the start of a statement by the name of its mixture."""
    for words, instead in spoken.items():
        for sign in (" = ", " >= ", " <= "):
            if statement.startswith(words + sign):
                return instead + statement[len(words) :]
    return statement
