"""The contract of derivations as code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invdesign.candidate import Candidate, Failure, Proposal, Status, genome_key
from invdesign.history import RunHistory
from invdesign.problem import Objective, Problem
from invdesign.properties import check_unit
from invdesign.protocols import Derivation
from invdesign.steps import Built, Finished, StageResult, Step
from invdesign.testing.common import check_settings, expect, reload_plugin

STAGE = "evaluate"
Known = tuple[str, Mapping[str, float]]
"""Reduced formula and properties of a complete trial."""


def check_derivation(derivation: Derivation, trials: Sequence[Known], seed: int = 0) -> None:
    """Check that a derivation keeps its contract.

    Args:
        derivation: to be checked.
        trials: formula and properties of at least three complete trials; some should change the values of others.
        seed: of the orders in which trials end.

    Raises:
        AssertionError: a rule is broken.

    Examples:
        >>> from invdesign.registry import load
        >>> hull = load("derivations", "hull")()
        >>> check_derivation(hull, [(s, {"energy_per_atom": e}) for s, e in (("Li", -1.9), ("LiSi", -4.0), ("Si", -5.4))])
    """
    name = type(derivation).__name__
    check_settings("derivations", derivation)
    for label, unit in derivation.provides.items():
        check_unit(label, unit)
    expect(derivation.provides, f"{name}: `provides` names no property")
    expect(
        not derivation.requires & derivation.provides.keys(),
        f"{name}: it requires what it provides: {sorted(derivation.requires & derivation.provides.keys())}",
    )
    at_once = _make_history(derivation, trials)
    found = derivation.derive(at_once, range(len(trials)), {})  # its own errors come through here
    expect(
        found.columns.keys() == derivation.provides.keys(), f"{name}: it gives other columns than it provides"
    )
    _check_orders(derivation, trials, at_once, seed)
    _check_losses(derivation, trials)


def _check_orders(derivation: Derivation, trials: Sequence[Known], at_once: RunHistory, seed: int) -> None:
    """Check that values follow from the set of ended trials, not from their order and not from pending ones."""
    name, rng = type(derivation).__name__, np.random.default_rng(seed)
    again = reload_plugin("derivations", derivation)
    for _ in range(3):
        order = rng.permutation(len(trials)).tolist()
        history = _make_history(again, [])
        for place in order:
            _add_trial(history, trials[place])
            for label in derivation.provides:
                history.column(label)  # derives what is due
        _add_trial(history, trials[0], Status.PENDING)
        for label in derivation.provides:
            values = history.column(label)
            expect(np.isnan(values[-1]), f"{name}: a pending trial has a {label}")
            expect(
                np.array_equal(values[:-1], at_once.column(label)[order], equal_nan=True),
                f"{name}: {label} must be the same for every order in which trials end; say `whole` where others change",
            )
        for at, place in enumerate(order):
            same = history.trial(at).details == at_once.trial(place).details
            expect(same, f"{name}: details must be the same for every order in which trials end")


def _check_losses(derivation: Derivation, trials: Sequence[Known]) -> None:
    """Check that a trial which has lost its results has no part in the values of others."""
    name = type(derivation).__name__
    for place in range(len(trials)):
        history = _make_history(derivation, trials)
        rest = _make_history(derivation, [known for at, known in enumerate(trials) if at != place])
        for label in derivation.provides:
            history.column(label)
        history.reset_trial(place)
        history.finish_trial(Finished(place, Status.WITHDRAWN, 0, Failure("withdrawn", "", "as told")))
        for label in derivation.provides:
            expect(
                np.array_equal(np.delete(history.column(label), place), rest.column(label), equal_nan=True),
                f"{name}: {label} still depends on a trial that was withdrawn; keep state in `memory` alone",
            )


def _make_history(derivation: Derivation, trials: Sequence[Known]) -> RunHistory:
    """History of complete trials."""
    problem = Problem((Objective(next(iter(derivation.provides)), "minimize"),))
    history = RunHistory(problem, _make_candidate, derivations=[derivation])
    for known in trials:
        _add_trial(history, known)
    return history


def _make_candidate(id: int) -> Candidate:
    genome = {"number": id}
    return Candidate(id, genome_key(genome), Proposal(genome))


def _add_trial(history: RunHistory, known: Known, status: Status = Status.COMPLETE) -> None:
    """Add a trial with its results."""
    id, (formula, properties) = len(history), known
    history.add_candidate(id, _make_candidate(id).key)
    ended = [] if status is Status.PENDING else [Finished(id, status, 2)]
    history.apply_step(Step([Built(id, formula, {})], [StageResult(id, STAGE, properties)], ended))
