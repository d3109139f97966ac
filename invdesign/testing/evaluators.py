"""Contract of evaluators as code."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from invdesign import settings
from invdesign.candidate import (
    DETAIL_LENGTH,
    Candidate,
    Design,
    Evaluation,
    Failure,
    Input,
    Proposal,
    clean_detail,
    genome_key,
    to_json,
)
from invdesign.properties import STRUCTURE_PREFIX, describe_property, is_structure
from invdesign.protocols import Evaluator, find_side_structures
from invdesign.structures.files import structure_to_json
from invdesign.structures.site_labels import INNER, LAYER, NATIVE, SIDE, LabelValue, set_labels
from invdesign.testing.common import check_settings, expect, reload_plugin

if TYPE_CHECKING:
    from pymatgen.core import Structure

FAILURES = frozenset({"error", "not_finite", "timeout", "crash", "memory", "missing", "infeasible"})
_DESIGN = frozenset(
    {"parameters", "composition"}
)  # parts of a design that may be required besides structures


def check_evaluator(
    evaluator: Any,
    inputs: Sequence[Input] | None = None,
    *,
    cost_only: Collection[str] = (),
    tolerance: float = 1e-6,
) -> None:
    """Check that `evaluator` keeps the contract of `Evaluator`.

    Args:
        evaluator: a plug-in of the group `evaluators`.
        inputs: two or more to try it on; `example_inputs(evaluator)` where not given.
        cost_only: settings that cannot change a number, and so need not change the fingerprint.
        tolerance: largest difference of numbers between batches (relative above 1, absolute below).

    Raises:
        AssertionError: a rule is broken; the message names it.

    Examples:
        >>> from invdesign.settings import load
        >>> check_evaluator(load("evaluators", {"kind": "landscape", "function": "zdt2"}))
    """
    check_settings("evaluators", evaluator)
    _check_declarations(evaluator)
    _check_fingerprint(evaluator, cost_only)
    if evaluator.external:
        return  # its results come from outside: nothing can be tried
    inputs = list(inputs if inputs is not None else example_inputs(evaluator))
    expect(len(inputs) > 1, f"the check needs two inputs or more, got {len(inputs)}")
    evaluator.prepare()
    before = [_input_as_text(item) for item in inputs]
    whole = evaluator.evaluate(inputs)
    expect([_input_as_text(item) for item in inputs] == before, "evaluate must not change its inputs")
    expect(len(whole) == len(inputs), f"one evaluation per input: {len(inputs)}, got {len(whole)}")
    for evaluation in whole:
        _check_evaluation(evaluator, evaluation)
    failures = [evaluation.failure for evaluation in whole if evaluation.failure is not None]
    expect(len(failures) < len(whole), f"no input could be evaluated; give `inputs` that can: {failures[:1]}")
    _check_batches(evaluator, inputs, whole, tolerance)


def example_inputs(evaluator: Evaluator, count: int = 3) -> list[Input]:
    """Make inputs with everything that `evaluator` requires.

    Parameters are x and y in [0, 1]; structures are cubic anti-perovskites Li3OCl, Li3OBr, Na3OCl, with labels of sites as an interface has them; a required property begins
    at 0.1 and grows a little from input to input.

    Args:
        evaluator: decides on the content.
        count: number of inputs.
    """
    structures = _example_structures() if evaluator.requires - {"parameters"} else ()
    inputs = []
    for number in range(count):
        structure = structures[number % len(structures)] if structures else None
        roles = [
            name.removeprefix(STRUCTURE_PREFIX) for name in sorted(evaluator.requires) if is_structure(name)
        ]
        held = {role: structure for role in roles if structure is not None}
        genome = {"number": number}
        design = Design(
            parameters={"x": 0.2 + 0.1 * number, "y": 0.7 - 0.2 * number},
            composition=structure.composition if structure is not None else None,
            structures={"initial": structure} if structure is not None else {},
        )
        named = sorted(name for name in evaluator.requires - _DESIGN if not is_structure(name))
        properties = dict.fromkeys(named, 0.1 + 0.01 * number)
        inputs.append(
            Input(_make_candidate(number, genome), design, properties, {**design.structures, **held}, 7)
        )
    return inputs


def _make_candidate(number: int, genome: dict[str, Any]) -> Candidate:
    return Candidate(number, genome_key(genome), Proposal(genome))


def _example_structures() -> tuple[Structure, ...]:
    """Cubic anti-perovskites, space group 221; lattice constants in Å, near experiment."""
    from pymatgen.core import Lattice, Structure

    positions = [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    kinds = (("Li", "Cl", 3.91), ("Li", "Br", 3.99), ("Na", "Cl", 4.50))
    # Labels of sites, for evaluators of interfaces: two layers, one of each side.
    film = [place[2] > 0 for place in positions]
    labels: dict[str, list[LabelValue]] = {
        SIDE: ["film" if upper else "substrate" for upper in film],
        LAYER: [1] * len(film),
        INNER: [False] * len(film),
    }
    found = []
    for ion, halide, a in kinds:
        species = ["O", halide, ion, ion, ion]
        crystal = Structure(Lattice.cubic(a), species, positions)
        set_labels(crystal, {**labels, NATIVE: [*species]})
        found.append(crystal)
    return tuple(found)


def _check_declarations(evaluator: Evaluator) -> None:
    """Check what an evaluator declares before it is asked to evaluate."""
    provides = dict(evaluator.provides)
    expect(provides, "an evaluator provides at least one property or structure")
    for name in [*evaluator.requires, *provides]:
        expect(
            name.removeprefix(STRUCTURE_PREFIX).isidentifier(),
            f"names are like oxidation_limit, got {name!r}",
        )
    for name, unit in provides.items():
        known = "" if is_structure(name) else describe_property(name, unit).unit
        expect(unit == known, f"'{name}' is in {known or 'no unit'} by the vocabulary, got {unit!r}")
    expect(isinstance(evaluator.requires, frozenset), "requires is a frozenset of names")
    expect(
        evaluator.requires or evaluator.external,
        "an evaluator that requires nothing gets one cached result for all candidates",
    )
    expect(not evaluator.requires & set(provides), "what it provides it cannot require")
    expect(
        find_side_structures(evaluator) <= {name for name in provides if is_structure(name)},
        "side_structures are names of structures that it provides",
    )
    expect(evaluator.batch.size > 0, f"batch.size is 1 or more, got {evaluator.batch.size}")
    expect(evaluator.potential_id is None or evaluator.potential_id, "potential_id is a fingerprint or None")
    for gate in evaluator.gates:
        expect(gate.property in provides, f"a gate is on a property of its own, got '{gate.property}'")


def _check_fingerprint(evaluator: Any, cost_only: Collection[str]) -> None:
    """Check that the fingerprint is the same elsewhere, and changes with every setting that matters."""
    expect(evaluator.fingerprint, "the fingerprint names what made the numbers; got an empty one")
    expect(
        reload_plugin("evaluators", evaluator).fingerprint == evaluator.fingerprint,
        "the fingerprint must be the same in every process: no ids, addresses or times",
    )
    dump = evaluator.model_dump(mode="json")
    for name in dump.keys() - {"kind", *cost_only}:
        for value in _nearby_values(dump[name]):
            try:
                other = settings.load("evaluators", {**dump, name: value}, trust_code=True)
            except ValidationError:
                continue  # not an allowed value
            expect(
                other == evaluator or other.fingerprint != evaluator.fingerprint,
                f"the fingerprint must change with '{name}' ({dump[name]!r} to {value!r}), or a cached result of "
                "one would serve the other; name it in cost_only if it cannot change a number",
            )


def _nearby_values(value: object) -> Sequence[object]:
    """Values near `value` that a setting of its type might allow."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, value - 1)
    if isinstance(value, float):
        return (value * 1.01, value + 0.01)
    return ()


def _check_evaluation(evaluator: Evaluator, evaluation: Evaluation) -> None:
    _check_numbers("cost", evaluation.cost)
    expect(
        all(value >= 0 for value in evaluation.cost.values()), f"costs are not negative: {evaluation.cost}"
    )
    if evaluation.failure is not None:
        _check_failure(evaluation, evaluation.failure)
        return
    provided = {name for name in evaluator.provides if not is_structure(name)}
    found = set(evaluation.properties)
    expect(
        found == provided, f"exactly what is promised, or a failure: {sorted(provided)}, got {sorted(found)}"
    )
    _check_numbers("property", evaluation.properties)
    roles = {name.removeprefix(STRUCTURE_PREFIX) for name in evaluator.provides if is_structure(name)}
    made = set(evaluation.structures)
    expect(made == roles, f"exactly the structures promised: {sorted(roles)}, got {sorted(made)}")
    for what, told in (("noise", evaluation.noise), ("systematic", evaluation.systematic)):
        _check_numbers(what, told)
        expect(set(told) <= found, f"{what} belongs to a property of the same evaluation, got {sorted(told)}")
        expect(all(value >= 0 for value in told.values()), f"{what} is 0 or more, got {dict(told)}")
    _check_details(evaluation)


def _check_details(evaluation: Evaluation) -> None:
    named = sorted(evaluation.details)
    expect(
        set(named) <= set(evaluation.properties),
        f"a detail belongs to a property of the same evaluation, got {named}",
    )
    for name, text in evaluation.details.items():
        expect(isinstance(text, str), f"the detail of '{name}' is a text, got {type(text).__name__}")
        expect(
            text == clean_detail(text),
            f"the detail of '{name}' is one line of at most {DETAIL_LENGTH} printable characters, got {text[:80]!r}",
        )


def _check_numbers(what: str, numbers: Mapping[str, float]) -> None:
    for name, value in numbers.items():
        plain = isinstance(value, float | int) and not isinstance(value, bool)
        expect(
            plain and math.isfinite(value),
            f"{what} '{name}' must be a finite Python number (not of numpy, which JSON refuses), got {value!r}",
        )


def _check_failure(evaluation: Evaluation, failure: Failure) -> None:
    expect(failure.kind in FAILURES, f"a failure's kind is one of {sorted(FAILURES)}, got {failure.kind!r}")
    expect(
        failure.message.strip() and "\n" not in failure.message, f"one line for a person: {failure.message!r}"
    )
    expect(not evaluation.properties, f"a failure comes without results, got {sorted(evaluation.properties)}")


def _check_batches(
    evaluator: Evaluator, inputs: Sequence[Input], whole: Sequence[Evaluation], tolerance: float
) -> None:
    """Check that results depend on the required values alone.

    They must not depend on neighbours in the batch, on its order, or on anything else in the input.
    """

    def compare_results(rule: str, changed: Callable[[Sequence[Input]], Sequence[Evaluation]]) -> None:
        """Check that `changed` inputs give the results of the whole batch, or name the `rule`."""
        for number, (a, b) in enumerate(zip(whole, changed(inputs), strict=True)):
            difference = _describe_difference(a, b, tolerance)
            expect(not difference, f"{rule}; input {number}: {difference}")

    compare_results(
        "a batch of one must give what a batch of many does",
        lambda items: [evaluator.evaluate([item])[0] for item in items],
    )
    compare_results(
        "the order within a batch must not matter", lambda items: evaluator.evaluate(items[::-1])[::-1]
    )
    compare_results(
        "it may read only what it requires, since cached results are found by that",
        lambda items: evaluator.evaluate([_strip_input(evaluator, item) for item in items]),
    )


def _strip_input(evaluator: Evaluator, item: Input) -> Input:
    """Reduce `item` to what is required, under another candidate's name."""
    requires = evaluator.requires
    design = Design(
        parameters=item.design.parameters if "parameters" in requires else {},
        composition=item.design.composition if "composition" in requires else None,
        structures={r: s for r, s in item.design.structures.items() if STRUCTURE_PREFIX + r in requires},
    )
    return replace(
        item,
        candidate=_make_candidate(item.candidate.id + 1000, {"stranger": item.candidate.id}),
        design=design,
        properties={name: value for name, value in item.properties.items() if name in requires},
        structures={r: s for r, s in item.structures.items() if STRUCTURE_PREFIX + r in requires},
    )


def _describe_difference(a: Evaluation, b: Evaluation, tolerance: float) -> str:
    """Describe how two evaluations of one input differ; empty if they agree."""
    kinds = [evaluation.failure.kind if evaluation.failure else "none" for evaluation in (a, b)]
    if kinds[0] != kinds[1]:
        return f"failure {kinds[0]}, then {kinds[1]}"
    for name, value in a.properties.items():
        if abs(value - b.properties[name]) > tolerance * max(1.0, abs(value)):
            return f"{name} = {value}, then {b.properties[name]}"
    for role, structure in a.structures.items():
        other = b.structures[role]
        apart = [structure.lattice.matrix - other.lattice.matrix, structure.cart_coords - other.cart_coords]
        if max(float(np.abs(array).max()) for array in apart) > tolerance:
            return f"structure '{role}' differs by more than {tolerance} Å"
    return ""


def _input_as_text(item: Input) -> str:
    """Write all of an input as text, to detect changes."""
    structures = {
        f"{place} {role}": structure_to_json(structure)
        for place, held in (("design", item.design.structures), ("input", item.structures))
        for role, structure in held.items()
    }
    return to_json([dict(item.design.parameters), dict(item.properties), dict(structures)])
