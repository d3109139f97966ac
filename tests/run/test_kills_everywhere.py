"""Every kind of run and of request, killed again and again, ends as if it had not been: more than 300 kills in all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.run.test_experiments import recipes, with_models
from tests.support import CRYSTALS, STEPS, WEIGHTS, Data, funnel, promoting, relaxing, scripted, written

KILLS = 15  # of every piece at least
REALS = {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in ("x", "y", "z")}}
HERE = {"kind": "local", "workers": 0}
MIXTURE = {
    "kind": "mixture",
    "mixtures": {"X": ["Cl", "Br", "I"], "B": {"components": {"O": [0.5, 1], "S": [0, 0.5]}}},
}
COMPOSITION = {
    "kind": "composition",
    "elements": {"Li": 1, "Fe": [2, 3], "P": 5, "S": -2, "Cl": -1},
    "required": ["Li"],
}
ORDERING = {
    "kind": "ordering",
    "parent": "layered",
    "primitive": True,
    "cell": [3, 2, 1],
    "sites": {"A": {"Li": 0.5, "vacancy": 0.5}},
}
SUBSTITUTION = {
    "kind": "substitution",
    "parent": "antiperovskite",
    "sites": {"A": ["Li", "Na"], "B": ["O", "S", "Se"], "X": ["F", "Cl", "Br", "I"]},
}
BAYESIAN = {"kind": "bayesian", "initial": 8, "batch": 4, "asks": 2, "effort": 0.05}
DENSE = {"objectives": [{"maximize": "density"}]}


def geometry(space: Any, optimizer: Any, candidates: int = 16) -> Data:
    """A search of crystals by what geometry says of them."""
    return {
        "version": 1,
        "name": "geometry",
        "seed": 3,
        "space": space,
        "evaluate": [
            {"minimum_distance": {"gate": {"minimum_distance_ratio": {"min": 0.1}}}},
            {"bottleneck_radius": {"ion": "Li"}},
        ],
        "objectives": [{"maximize": "bottleneck_radius"}],
        "optimizer": optimizer,
        "budget": {"candidates": candidates},
        "engine": HERE,
    }


def pool(folder: Path) -> Data:
    """A table of compositions with a number to be looked up."""
    rows = [
        f"{a}{b},{i},{(7 * i) % 11}"
        for i, (a, b) in enumerate((a, b) for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I"))
    ]
    (folder / "pool.csv").write_text("\n".join(["formula,place,worth", *rows]) + "\n", encoding="utf-8")
    source = str(folder / "pool.csv")
    return {
        "version": 1,
        "name": "pool",
        "seed": 3,
        "space": {"kind": "pool", "source": source, "composition": "formula", "columns": ["place"]},
        "evaluate": [{"table": {"file": source, "key": ["place"], "provides": {"worth": "S/cm"}}}],
        "objectives": [{"maximize": "worth"}],
        "optimizer": {"kind": "genetic", "population": 4},
        "budget": {"candidates": 14},
        "engine": HERE,
    }


def mixed() -> Data:
    return funnel(
        20, space=MIXTURE, evaluate=[f"{STEPS}:Height"], objectives=[{"minimize": "height"}], constraints=[]
    )


def compositions() -> Data:
    """A search of compositions by a function of them."""
    return {
        **geometry(COMPOSITION, {"kind": "genetic", "population": 5}),
        "evaluate": ["charge_neutrality", "tests.plugins.compositions:height"],
        "objectives": [{"maximize": "height"}],
    }


def on_demand() -> Data:
    data = funnel(12, space=REALS, constraints=[], objectives=[{"minimize": "height"}])
    height, crystal, _ = data["evaluate"]
    ((kind, settings),) = crystal.items()
    return {**data, "evaluate": [height, {kind: {**settings, "on_demand": True}}]}


def phases() -> Data:
    """A hull of crystals of unknown composition."""
    return relaxing(
        20,
        optimizer={"kind": "genetic", "population": 6, "mode": "steady_state"},
        evaluate=[f"{CRYSTALS}:Settling"],
        space={
            "kind": "crystal",
            "elements": {"Mg": [0, 2], "Ti": [0, 1], "O": [1, 4]},
            "oxidation_states": {"Mg": 2, "Ti": 4, "O": -2},
        },
        derive=["hull"],
        objectives=[{"minimize": "distance_to_hull"}],
    )


SEARCHES: dict[str, Data] = {
    "random": funnel(20, optimizer="random"),
    "genetic": funnel(20, population=6),
    "steady state": funnel(20, optimizer={"kind": "genetic", "mode": "steady_state", "population": 6}),
    "several asks": funnel(20, optimizer={"kind": f"{STEPS}:OverlappingSearch", "batch": 3}),
    "swarm": funnel(20, space=REALS, optimizer={"kind": "swarm", "mode": "asynchronous", "particles": 6}),
    "cma": funnel(20, space=REALS, optimizer="cma", **DENSE),
    "bayesian": funnel(16, space=REALS, optimizer=BAYESIAN),
    "portfolio": funnel(
        20, space=REALS, optimizer={"kind": "portfolio", "members": ["genetic", "swarm"], "at_once": 4}
    ),
    "promotions": promoting(20),
    "mixture": mixed(),
    "compositions": compositions(),
    "ordering": geometry(ORDERING, {"kind": "genetic", "population": 4}, 12),
    "substitution": geometry(SUBSTITUTION, {"kind": "genetic", "population": 5}),
    "crystals, generations": relaxing(20, optimizer={"kind": "genetic", "population": 6}),
    "crystals, generated starts": relaxing(
        20,
        space={"kind": "crystal", "formula": "MgO", "formula_units": [1, 2], "generators": ["prototypes"]},
    ),
    "crystals, starts of a network": relaxing(
        20,
        space={"kind": "crystal", "formula": "MgO", "formula_units": [1, 2], "generators": ["crystal_vae"]},
    ),
    "codes of a network": relaxing(
        20, space={"kind": "latent", "generator": "crystal_vae", "formula": "MgO", "formula_units": [1, 2]}
    ),
    "crystals, steady state": relaxing(
        20, optimizer={"kind": "genetic", "population": 6, "mode": "steady_state"}
    ),
    "crystals, portfolio": relaxing(
        20,
        optimizer={
            "kind": "portfolio",
            "members": [{"kind": "genetic", "population": 4}, "random"],
            "at_once": 3,
        },
    ),
    "phases": phases(),
}
WEIGHTED: Data = {
    "version": 1,
    "name": "weighted",
    "seed": 5,
    "space": {"kind": f"{WEIGHTS}:Shifting", "weights": "default"},
    "evaluate": [f"{WEIGHTS}:Weighted"],
    "objectives": [{"maximize": "height"}],
    "optimizer": {"kind": "genetic", "population": 6},
    "budget": {"candidates": 14},
    "engine": HERE,
}
PIECES: dict[str, tuple[str, Any, int]] = {
    **{name: ("search", data, 110) for name, data in SEARCHES.items()},
    "pool": ("search", pool, 90),
    "weights": ("search", WEIGHTED, 90),
    "fork with weights": ("forked", WEIGHTED, 110),
    "requests, genetic": ("requests", funnel(14, population=6), 140),
    "requests, several asks": (
        "requests",
        funnel(14, optimizer={"kind": f"{STEPS}:OverlappingSearch", "batch": 3}),
        140,
    ),
    "steered, genetic": ("steered", funnel(14, population=6), 160),
    "steered, steady state": (
        "steered",
        funnel(14, optimizer={"kind": "genetic", "mode": "steady_state", "population": 6}),
        160,
    ),
    "week": ("week", recipes(), 150),
    "bench, measured alone": ("bench", recipes(), 150),
    "bench, between models": ("bench", with_models(), 150),
    "fork": ("forked", funnel(14, population=6), 150),
    "promoted by the user": ("promoted", on_demand(), 150),
    "fork of crystals": ("forked", relaxing(14, optimizer={"kind": "genetic", "population": 6}), 150),
    "crystals, relaxed outside": (
        "relaxed outside",
        relaxing(20, evaluate=[f"{CRYSTALS}:Measured"]),
        160,
    ),
}


def killed(piece: str, folder: Path, kills: int) -> dict[str, Any]:
    """Kill the work of a piece so often."""
    work, data, most = PIECES[piece]
    campaign = written(data(folder) if callable(data) else data, folder / "campaign.yaml")
    return scripted("tests.plugins.everywhere", work, campaign, folder / "runs", 1, most, kills, timeout=1500)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("piece", PIECES)
def test_killed_everywhere(piece: str, tmp_path: Path) -> None:
    """SIGKILL at statements, file operations and moments: every run ends with the digest of one never interrupted."""
    report = killed(piece, tmp_path, KILLS)
    assert report["differences"] == 0, report
    assert report["kills"] >= KILLS


def test_there_are_three_hundred_kills() -> None:
    """All pieces together kill more than 300 processes."""
    assert KILLS * len(PIECES) >= 300
