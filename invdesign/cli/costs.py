"""Sizes of candidates and the time that their evaluation takes, told before a run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.protocols import EstimatingEvaluator, SearchSpace, StructureSpace
from invdesign.rng import rng_for
from invdesign.roles import INITIAL
from invdesign.wording import format_duration

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.campaign.model import Campaign

DRAWN_CANDIDATES = 12  # candidates drawn to learn sizes (chosen)
TIMED_ATOMS = (
    40  # smaller cells take seconds, and to load a potential for `validate` would take longer (chosen)
)
SECONDS_PER_HOUR = 3_600.0


def describe_costs(campaign: Campaign) -> list[str]:
    """Sentences on the atoms of candidates and the evaluations per hour, for large cells.

    One call of the potential is timed on the largest of a few candidates.

    Args:
        campaign: one that runs code of its own is not timed.
    """
    if not isinstance(campaign.space, StructureSpace) or campaign.wants_trust:
        return []
    drawn = _draw_structures(campaign.space)
    largest = max(drawn, key=len, default=None)
    if largest is None or len(largest) < TIMED_ATOMS:
        return []
    fewest = min(map(len, drawn))
    atoms = f"{fewest} to {len(largest)} atoms" if fewest < len(largest) else f"{fewest} atoms"
    lines = [f"cells of {atoms}"]
    for stage in campaign.funnel:
        if isinstance(stage.evaluator, EstimatingEvaluator):
            with suppress(InvdesignError):  # a potential that is not installed is told of when the run starts
                seconds = stage.evaluator.estimate_seconds(largest)
                lines.append(
                    f"{stage.name}: about {format_duration(seconds)} for the largest on this machine, "
                    f"so {float(f'{SECONDS_PER_HOUR / seconds:.2g}'):,.0f} an hour on each worker"
                )
    return lines


def _draw_structures(space: SearchSpace) -> list[Structure]:
    """Structures of some candidates of the space's first operator without parents.

    That is one of the space's own: starts by generators come after it, and may load a network.
    """
    start = next(operator for operator in space.operators().values() if operator.arity == 0)
    found = []
    for number in range(DRAWN_CANDIDATES):
        with suppress(InvdesignError):
            genome = start.apply((), rng_for(0, number, "costs"))
            if genome is not None:
                found.append(space.build(genome).structures[INITIAL])
    return found
