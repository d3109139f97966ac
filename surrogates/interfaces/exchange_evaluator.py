"""The evaluator `exchange_energy`: the exchanges of a candidate, each between the two bulk solids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from invdesign.candidate import Evaluation, Input, clean_detail
from invdesign.properties import Unit
from invdesign.roles import required_structure
from invdesign.structures.charges import ElementSymbol
from invdesign.structures.site_labels import SIDES
from surrogates.interfaces.energies import SOLIDS
from surrogates.interfaces.exchange import (
    Compensation,
    Exchange,
    Method,
    count_exchanges,
    find_exchange_energy,
)
from surrogates.potentials.evaluator import PotentialEvaluator
from surrogates.relaxation.references import Treatment, relax_reference

EXCHANGE = "bulk_exchange_energy"


class ExchangeEnergy(PotentialEvaluator):
    """Energy of a candidate's exchanges between the two bulk solids, without their interface.

    Each kind of exchange is computed once per process: one atom of each in the other's supercell, and ions that may follow the
    charge from one solid to the other (`exchange.find_exchange_energy`). A candidate has the sum over its exchanges, and 0 without
    any. Negative means that the two bulks would rather exchange. Depleted ions of the candidate are not counted.
    It needs no relaxed candidate, so it may stand before the relaxation.
    """

    ion: ElementSymbol = "Li"
    """Ion that may follow the charge of an exchange from one solid to the other."""
    compensation: Compensation = "lowest"
    """`always` moves as many ions as keep all oxidation states, `never` none, `lowest` whichever number up to that gives the lowest
    energy; electrons make up for ions that stay."""
    supercell: Annotated[float, Field(gt=0, le=40)] = 8.0
    """Shortest distance of an exchanged atom from its periodic images, Å."""
    tries: Annotated[int, Field(ge=1, le=20)] = 3
    """Arrangements of site and ions relaxed on each side, the lowest in formal-charge electrostatics first."""
    fmax: Annotated[float, Field(gt=0)] = 0.05
    """Largest force left on an atom, eV/Å."""
    smax: Annotated[float, Field(gt=0)] = 0.1
    """Largest stress component left in the bulk of a solid, GPa."""
    steps: Annotated[int, Field(ge=1)] = 500
    """Most moves of each relaxation."""

    @property
    def requires(self) -> frozenset[str]:
        """The structure, whose labels tell the exchanges, and both solids."""
        return frozenset(map(required_structure, (self.structure, *SOLIDS.values())))

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Energy of all exchanges of the candidate."""
        return {EXCHANGE: "eV"}

    @property
    def potential_id(self) -> str:
        """Fingerprint of the potential of all energies."""
        return self._potential.fingerprint

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the energy of each candidate's exchanges; a failure names the exchange and the reason."""
        return self._evaluate_inputs(inputs, self._sum_exchanges)

    def _sum_exchanges(self, item: Input) -> Evaluation:
        counts = count_exchanges(self.structure_of(item))
        if not counts:
            return Evaluation({EXCHANGE: 0.0}, details={EXCHANGE: "no exchange"})
        treatment = Treatment(True, self.fmax, self.smax, self.steps)
        solids = [
            relax_reference(
                item.structures[SOLIDS[side]], self._potential, treatment, f"the bulk of the {side}"
            ).structure
            for side in SIDES
        ]
        found = [
            (count, find_exchange_energy(solids[0], solids[1], kind, self._potential, self._method))
            for kind, count in sorted(counts.items())
        ]
        total = sum(count * exchange.energy for count, exchange in found)
        words = "; ".join(self._describe(count, exchange) for count, exchange in found)
        return Evaluation({EXCHANGE: total}, details={EXCHANGE: clean_detail(words)})

    @property
    def _method(self) -> Method:
        return Method(self.ion, self.compensation, self.supercell, self.tries, self.fmax, self.steps)

    def _describe(self, count: int, exchange: Exchange) -> str:
        """Say what one exchange costs and which ions move.

        An example is `2 × Co/P at -3.25 eV each (1 Li to the film: -2.40)`.
        """
        others = [
            f"{self._describe_moved(number)}: {energy:+.2f}"
            for number, energy in exchange.levels.items()
            if number != exchange.moved
        ]
        more = f" ({', '.join(others)})" if others else ""
        moved = (
            f", {self._describe_moved(exchange.moved)}" if len(exchange.levels) > 1 or exchange.moved else ""
        )
        cells = " and ".join(map(str, exchange.atoms))
        return f"{count} × {exchange.kind} at {exchange.energy:+.2f} eV each{moved}{more}; bulk cells of {cells} atoms"

    def _describe_moved(self, number: int) -> str:
        """Say where ions go: `2 Li to the film`."""
        if not number:
            return f"no {self.ion} moved"
        return f"{abs(number)} {self.ion} to the {'film' if number > 0 else 'substrate'}"
