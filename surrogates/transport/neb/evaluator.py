"""Evaluator of migration barriers by nudged elastic bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Failure, Input, clean_detail
from invdesign.properties import Unit
from invdesign.structures.charges import ElementSymbol
from surrogates.potentials.evaluator import PotentialEvaluator, find_known_error
from surrogates.transport.errors import BARRIER_ERRORS
from surrogates.transport.neb.barriers import HopBarrier, Method, Migration, find_migration_barriers
from surrogates.transport.neb.defects import Mechanism

if TYPE_CHECKING:
    from pymatgen.core import Structure

Length = Annotated[float, Field(gt=0, le=40)]


class NebBarrier(PotentialEvaluator):
    """Migration barriers of an ion by climbing-image nudged elastic bands."""

    ion: ElementSymbol
    """The ion that moves."""
    mechanism: Mechanism = "vacancy"
    """`vacancy`: an ion hops into the empty site of a neighbour; `interstitial`: an extra ion hops between empty places."""
    images: Annotated[int, Field(ge=1, le=25)] = 5
    """Images of a band between its ends; an odd number lets symmetry give half of them."""
    supercell: Length = 8.0
    """Shortest distance between the moving ion and its periodic images, Å."""
    reach: Length = 4.5
    """Longest hop, Å."""
    directions: Literal[1, 2, 3] = 3
    """Directions up to which barriers are asked: 1 gives `migration_barrier_1d` alone, for channels."""
    hops: Annotated[int, Field(ge=1)] = 8
    """Most symmetry-distinct hops that are computed, shortest first."""
    fmax: Annotated[float, Field(gt=0)] = 0.05
    """Largest force left on an atom, at the ends and across the path, eV/Å."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Most rounds of moves of a band."""
    rattle: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Displacements (standard deviation, Å) that look for a lower state of each defect than the symmetric one; 0 for none."""
    unconverged: Literal["fail", "keep"] = "fail"
    """Treatment of a candidate with a band that does not converge in `steps` and bears on a barrier."""

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Barriers to endless travel in so many directions, and the highest arrangement on the way."""
        return dict.fromkeys(self._names, "eV") | {"structure:saddle": ""}

    @property
    def side_structures(self) -> frozenset[str]:
        """The highest arrangement on the way is not the candidate."""
        return frozenset({"structure:saddle"})

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"migration_barrier_{n}d" for n in range(1, self.directions + 1))

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the barriers of each of `inputs`; a failure says what was found and the remedy."""
        return self._evaluate_each(inputs, self._evaluate_structure)

    def _evaluate_structure(self, structure: Structure) -> Evaluation:
        found = find_migration_barriers(structure, self.ion, self._potential, self._method)
        cost = {"potential_calls": float(found.calls), "images": float(found.images)}
        if found.unconverged and self.unconverged == "fail":
            return Evaluation(failure=Failure("error", "", self._describe_unconverged(found)), cost=cost)
        known = find_known_error(self._potential, BARRIER_ERRORS)
        values = dict(zip(self._names, map(float, found.barriers), strict=True))
        return Evaluation(
            values,
            systematic={} if known is None else dict.fromkeys(values, known),
            structures={"saddle": found.decisive_hop(1).saddle},
            cost=cost,
            details={name: self._describe_barrier(found, n) for n, name in enumerate(self._names, 1)},
        )

    @property
    def _method(self) -> Method:
        return Method(
            mechanism=self.mechanism,
            images=self.images,
            supercell=self.supercell,
            reach=self.reach,
            hops=self.hops,
            directions=self.directions,
            fmax=self.fmax,
            steps=self.steps,
            rattle=self.rattle,
        )

    def _describe_unconverged(self, found: Migration) -> str:
        worst = max(found.unconverged, key=lambda hop: hop.residual)
        return (
            f"the band of the hop of {worst.hop.length:.2f} Å is not converged after {self.steps} steps: "
            f"{worst.residual:.2g} eV/Å left (limit {self.fmax:g}), {worst.height - found.lowest:.2f} eV high; raise "
            "'steps', or set 'unconverged: keep'"
        )

    def _describe_barrier(self, found: Migration, direction: int) -> str:
        """Sentences on the hop that decides, its path, and the effort."""
        hop = found.decisive_hop(direction)
        path = ", ".join(f"{energy - found.lowest:.3f}" for energy in hop.energies)
        several = len(found.hops) > 1
        effort = f"{self.images} images, {found.calls} calls of the potential"
        said = [
            f"{self.mechanism} of {self.ion}, {found.atoms} atoms",
            f"{'decided by' if several else 'by'} the hop of {hop.hop.length:.2f} Å, energies along it {path} eV",
            f"{len(found.hops)} distinct hop{'s' if several else ''}, {effort}",
        ]
        said += _list_remarks(found, hop)
        return clean_detail("; ".join(said))


def _list_remarks(found: Migration, hop: HopBarrier) -> list[str]:
    """Remarks on what may make the barrier wrong."""
    remarks = []
    if hop.state == "unconverged":
        remarks.append(f"not converged, {hop.residual:.2g} eV/Å left")
    inner = hop.energies[1:-1]
    if np.any(inner < np.minimum(hop.energies[:-2], hop.energies[2:]) - 1e-3):
        below = min(hop.energies[0], hop.energies[-1]) - inner.min()
        deep = f", {below:.3f} eV below its ends" if below > 1e-3 else ""
        remarks.append(f"the path passes an intermediate minimum{deep}")
    if found.skipped:
        remarks.append(f"{found.skipped} longer hops were not computed and count as closed")
    return remarks
