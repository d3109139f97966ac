"""Genomes of crystals on occupied sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from invdesign.candidate import Genome, Json
from invdesign.errors import Infeasible
from invdesign.structures.combinations import parse_combination
from invdesign.structures.sited import SitedCrystal, round_sited

KEYS = ("sites", "cell", "coordinates")
MAX_NUMBER = 1000.0  # Å, degrees or fractions of a genome (chosen)


def write_sited(sited: SitedCrystal, elements: Sequence[str]) -> dict[str, Json]:
    """Write a crystal as a genome."""
    return {
        "sites": sited.combination.write(elements),
        "cell": list(sited.cell),
        "coordinates": cast("list[Json]", sited.coordinates.tolist()),
    }


def read_sited(genome: Genome, elements: tuple[str, ...]) -> SitedCrystal:
    """Read a genome, rounded.

    Raises:
        Infeasible: it is malformed; the message names the part.
    """
    wrong = sorted(set(genome) ^ set(KEYS))
    if wrong:
        raise Infeasible(f"a genome has the keys {', '.join(KEYS)}; {wrong[0]!r} is wrong")
    sites = genome["sites"]
    if not isinstance(sites, str):
        raise Infeasible(f"sites are written as '221: O c, Sr a, Ti b', got {sites!r:.100}")
    try:
        combination = parse_combination(sites, elements)
    except ValueError as error:
        raise Infeasible(str(error)) from error
    system = combination.space_group.system
    cell = _read_numbers(genome["cell"], "cell", system.free_lengths + system.free_angles)
    if min(cell) <= 0.0:
        raise Infeasible(f"cell needs lengths and angles above 0, got {cell}")
    coordinates = _read_numbers(genome["coordinates"], "coordinates", combination.free)
    return round_sited(combination, cell, np.array(coordinates, dtype=np.float64))


def _read_numbers(value: Json, name: str, size: int) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != size:
        found = len(value) if isinstance(value, list | tuple) else f"{value!r:.100}"
        raise Infeasible(f"{name} must hold {size} numbers for these sites, got {found}")
    for item in value:
        if type(item) not in (float, int) or not abs(cast("float", item)) <= MAX_NUMBER:
            raise Infeasible(f"{name} must hold numbers up to {MAX_NUMBER:g}, got {item!r:.100}")
    return [float(cast("float", item)) for item in value]
