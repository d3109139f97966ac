"""Settings of every built-in plug-in, by kind: what the contracts are checked on."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

ANIONS = ["H", "F", "Cl", "Br", "I", "O", "S", "Se", "Te"]
REFERENCE = "lithium-chalcohalides"

SPACES: dict[str, list[Example]] = {
    "mixture": [],
    "ordering": [],
    "pool": [],
    "parameters": [
        {
            "parameters": {
                "x": {"real": [-5, 5]},
                "n": {"integer": [1, 8]},
                "c": {"categorical": ["EC", "DMC"]},
            }
        },
        {"parameters": {"n": {"integer": [1, 8]}, "c": {"categorical": ["EC", "DMC", "EMC"]}}},
        {"parameters": {f"x{i}": {"real": [0, 1]} for i in range(1, 13)}},
    ],
    "substitution": [
        {
            "parent": "antiperovskite",
            "cell": [1, 1, 2],
            "rattle": 0.05,
            "sites": {"A": ["Li"], "B": ANIONS, "X": ANIONS},
        },
    ],
}

OPTIMIZERS: dict[str, list[Example]] = {
    "cma": [],
    "swarm": [],
    "random": [{}, {"batch": 3}],
    "genetic": [{}, {"population": 4, "offspring": 3}, {"population": 10, "crossover": 1.0, "fresh": 0.0}],
}

EVALUATORS: dict[str, list[Example]] = {
    "charge_neutrality": [{}],
    "table": [],
    "minimum_distance": [{"scale": 0.6}],
    "bottleneck_radius": [{"ion": "Li"}],
    "relax": [{"potential": "chgnet", "fmax": 0.02}],
    "decomposition_energy": [{"reference": REFERENCE}],
    "energy_above_hull": [{"reference": REFERENCE}],
    "stability_window": [{"reference": REFERENCE, "ion": "Li"}],
    "landscape": [{"function": "sphere"}, {"function": "zdt1"}, {"function": "dtlz2", "batch_size": 2}],
}

BY_GROUP = {"spaces": SPACES, "optimizers": OPTIMIZERS, "evaluators": EVALUATORS}

SLOW = frozenset({"relax"})  # kinds whose check takes more than seconds


def examples(group: str) -> list[tuple[str, Example]]:
    """(kind, settings with kind) of every example of a group."""
    return [(kind, {"kind": kind, **fields}) for kind, items in BY_GROUP[group].items() for fields in items]
