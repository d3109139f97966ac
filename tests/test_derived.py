"""Derived properties of a history: when they are computed, from what, and the contract as code."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign.candidate import Status
from invdesign.optimizers.members import MemberHistory
from invdesign.problem import Objective, Problem
from invdesign.testing import MemoryHistory, check_derivation
from surrogates.stability.hull import Hull
from tests.hulls import DISTANCE, KNOWN, find, history
from tests.plugins.derivations import FromRank, Misshapen, Rank, Remembering, Silent

TRIALS = [
    (formula, {"energy_per_atom": energy}) for formula, energy in (*KNOWN, ("SrTiO3", -12.0), ("TiO2", -15.0))
]


def test_derivations_read_each_other() -> None:
    """A later one has what earlier ones give, also where that changed for all."""
    run = history([("Li", -1.0), ("Li", -3.0)], [Rank(), FromRank()])
    assert run.column("score").tolist() == [-1.0, 0.0]
    find(run, "Li", -2.0)
    assert run.column("rank").tolist() == [2.0, 0.0, 1.0]
    assert run.column("score").tolist() == [-2.0, 0.0, -1.0]
    assert run.property_names() == ("energy_per_atom", "rank", "score")
    assert dict(run.trial(2).properties) == {"energy_per_atom": -2.0, "rank": 1.0, "score": -1.0}


def test_values_are_unknown_until_trials_end() -> None:
    """A pending trial has no derived value and no formula, whatever its stages said."""
    run = history(KNOWN)
    id = find(run, "SrTiO3", -13.0, Status.PENDING)
    assert run.formula_of(id) == ""
    assert np.isnan(run.value_of(DISTANCE, id))
    assert run.value_of(DISTANCE, 1) == 0.0
    assert run.formula_of(1) == "SrTiO3"


def test_every_history_knows_formulas() -> None:
    """A member of a portfolio and the history of tests give the same as that of a run."""
    run = history(KNOWN)
    member = MemberHistory(run, "genetic")
    assert [member.formula_of(id) for id in range(3)] == ["SrO", "SrTiO3", "TiO2"]
    assert member.status_by_trial().tolist() == [Status.COMPLETE] * 3
    memory = MemoryHistory(Problem((Objective("energy_per_atom", "minimize"),)))
    for id in range(3):
        memory.add(run.candidate(id).proposal)
    memory.finish(0, {"energy_per_atom": -6.0}, formula="SrO")
    assert [memory.formula_of(id) for id in range(3)] == ["SrO", "", ""]
    assert memory.status_by_trial().tolist() == [Status.COMPLETE, Status.PENDING, Status.PENDING]


@pytest.mark.parametrize(
    "derivation", [Hull(), Hull(end_members=("SrO", "TiO2")), Rank()], ids=["hull", "ends", "rank"]
)
def test_contract_is_kept(derivation: Rank | Hull) -> None:
    """Ours pass the check offered to others."""
    check_derivation(derivation, TRIALS)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Silent(), "say `whole` where others change"),
        (Misshapen(), "must be the same for every order|columns of shapes"),
        (Remembering(), "must be the same for every order|still depends on a trial that was withdrawn"),
    ],
    ids=["silent", "misshapen", "remembering"],
)
def test_broken_contracts_are_named(broken: Rank, rule: str) -> None:
    """Each broken rule is named."""
    with pytest.raises(AssertionError, match=rule):
        check_derivation(broken, TRIALS)
