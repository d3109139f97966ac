"""What tests of hulls share: histories of phases, and campaigns of oxides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invdesign.candidate import Candidate, Proposal, Status, genome_key
from invdesign.history import RunHistory
from invdesign.problem import Objective, Problem
from invdesign.protocols import Derivation, StageView
from invdesign.steps import Built, Finished, StageResult, Step
from surrogates.stability.hull import Hull

OXIDES = "tests.plugins.oxides"
KNOWN = (("SrO", -6.65983), ("SrTiO3", -12.18683), ("TiO2", -15.59926))
DISTANCE = "distance_to_hull"


def candidate(id: int) -> Candidate:
    genome = {"number": id}
    return Candidate(id, genome_key(genome), Proposal(genome))


def history(
    phases: Sequence[tuple[str, float]],
    derivations: Sequence[Derivation] = (Hull(),),
    potential: str | None = None,
) -> RunHistory:
    """A history in which these phases were found, one trial each, relaxed by this potential."""
    made = RunHistory(
        Problem((Objective(DISTANCE, "minimize"),)),
        candidate,
        (StageView("relax", frozenset({"energy_per_atom"})),),
        derivations=derivations,
        potential_at=lambda _: potential,
    )
    for formula, energy in phases:
        find(made, formula, energy)
    return made


def find(made: RunHistory, formula: str, energy: float | None, status: Status = Status.COMPLETE) -> int:
    """A further trial of a history; its number."""
    id = len(made)
    made.add_candidate(id, candidate(id).key)
    told = [] if energy is None else [StageResult(id, "relax", {"energy_per_atom": energy})]
    ended = [] if status is Status.PENDING else [Finished(id, status, 2)]
    made.apply_step(Step(built=[Built(id, formula, {})], results=told, finished=ended))
    return id


def oxides(candidates: int = 60, **changes: Any) -> dict[str, Any]:
    """A campaign that minimises the distance to the hull of SrO and TiO2."""
    return {
        "version": 1,
        "name": "oxides",
        "seed": 3,
        "space": f"{OXIDES}:Oxides",
        "evaluate": [{f"{OXIDES}:OxideEnergy": {}}],
        "derive": ["hull"],
        "objectives": [{"minimize": DISTANCE}],
        "optimizer": {"kind": "genetic", "population": 10},
        "budget": {"candidates": candidates},
        **changes,
    }
