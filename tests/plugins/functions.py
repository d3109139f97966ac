"""Fitness functions that a module holds, as an installed package or a user's file would."""

from __future__ import annotations

from typing import Any

import invdesign

CALLS: list[int] = []


@invdesign.fitness(provides={"height": "m"}, requires=["parameters"])
def height(candidate: Any) -> Any:
    """Some number of x and y."""
    CALLS.append(candidate.id)
    return candidate.parameters["x"] - 0.3 * candidate.parameters["y"], 0.1


@invdesign.fitness(provides={"width": "m", "depth": ""}, requires=["parameters", "height"], batch=4)
def sizes(candidates: Any) -> Any:
    """Of a batch, by property."""
    return {
        "width": [2 * item.properties["height"] for item in candidates],
        "depth": [item.parameters["x"] for item in candidates],
    }
