"""Vacancies and interstitials in a supercell.

Relaxed states, and the two ends of a hop between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Potential
from invdesign.structures.cells import match_points
from surrogates.relaxation.relax import relax_structure
from surrogates.transport.neb.hops import Hop
from surrogates.transport.neb.lattices import Crystal, MigrationError, Operation, list_cells

if TYPE_CHECKING:
    from pymatgen.core import Structure

Mechanism = Literal["vacancy", "interstitial"]
SAME_PLACE = (
    0.01  # Å: states that symmetry maps onto each other to within this are images of each other; chosen
)
SAME_ENERGY = 1e-3  # eV, as `SAME_PLACE`
LOWER_ENERGY = (
    5e-3  # eV by which a shaken state must be lower to count as another one; chosen: forces left cost less
)


class WandererError(MigrationError):
    """An atom leaves its site as a defect relaxes."""


@dataclass(frozen=True, slots=True)
class State:
    """A relaxed supercell with one defect.

    Attributes:
        host: shape (N, 3), displacements of the host's atoms from their sites, Å; zero for a vacant site.
        ion: shape (3,), displacement of an interstitial ion from its site, Å; zero for a vacancy.
        energy: eV.
    """

    host: FloatArray
    ion: FloatArray
    energy: float


@dataclass(frozen=True, slots=True)
class Mirror:
    """A symmetry that exchanges the two ends of a hop.

    Attributes:
        rotation: shape (3, 3).
        order: shape (n,), atom onto whose place each one moves.
        sites: shape (n, 3), Å, the places that the symmetry moves onto each other; the middle of the hop for the ion.
    """

    rotation: FloatArray
    order: IntArray
    sites: FloatArray

    def __call__(self, places: FloatArray) -> FloatArray:
        """Move an arrangement, shape (n, 3), Å."""
        moved = np.empty_like(places)
        moved[self.order] = (places - self.sites) @ self.rotation.T
        return moved + self.sites


@dataclass(frozen=True, slots=True)
class Ends:
    """The two minima of a hop, as arrangements of the same atoms.

    Attributes:
        start, end: shape (n, 3), Å, the moving ion last.
        energies: of both, eV.
        numbers: shape (n,), atomic numbers.
        cell: shape (3, 3), Å.
        mirrors: symmetries that reverse the hop.
    """

    start: FloatArray
    end: FloatArray
    energies: tuple[float, float]
    numbers: IntArray
    cell: FloatArray
    mirrors: tuple[Mirror, ...]


@dataclass(slots=True)
class Defects:
    """Defects of one kind in a supercell of a crystal, relaxed as they are asked for.

    Attributes:
        crystal: the perfect crystal.
        sites: shape (s, 3), places of the defects in one cell, Å: the ion's own sites for vacancies.
        ion: atomic number of the ion that moves.
        mechanism: `vacancy` or `interstitial`.
        supercell: shape (3, 3), whole numbers.
        potential: relaxes the states.
        fmax: largest force left, eV/Å.
        steps: most moves of a relaxation.
        rattle: Å, standard deviation of the displacements that look for a lower state of less symmetry; 0 for none.
        calls: arrangements computed by relaxations so far.
    """

    crystal: Crystal
    sites: FloatArray
    ion: int
    mechanism: Mechanism
    supercell: IntArray
    potential: Potential
    fmax: float
    steps: int
    rattle: float = 0.1
    calls: int = 0
    cell: FloatArray = field(init=False)
    host: FloatArray = field(init=False)
    numbers: IntArray = field(init=False)
    _cells: IntArray = field(init=False)
    _relaxed: dict[int, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cells = list_cells(self.supercell)
        self.cell = self.supercell @ self.crystal.cell
        shifts = (self._cells @ self.crystal.cell)[:, None]
        self.host = (self.crystal.positions + shifts).reshape(-1, 3)
        self.numbers = np.tile(self.crystal.numbers, len(self._cells))

    def find_ends(self, hop: Hop, reversals: Sequence[int] = ()) -> Ends:
        """Relax both ends of a hop.

        Args:
            hop: between two sites.
            reversals: numbers of the crystal's operations that reverse it.

        Raises:
            WandererError: an atom leaves its site as an end relaxes.
            MigrationError: an end does not relax.
        """
        one = self.sites[hop.start]
        two = self.sites[hop.end] + np.array(hop.cells) @ self.crystal.cell
        vacancy = self.mechanism == "vacancy"
        pair, _ = (
            match_points(np.array([one, two]), self.host, self.cell) if vacancy else (np.empty(0, int), None)
        )
        fixed = np.setdiff1d(np.arange(len(self.host)), pair)
        # The vacancy is where the ion is not.
        at_start, at_end = (two, one) if vacancy else (one, two)

        def arrange(state: State, ion_at: FloatArray, own: int) -> FloatArray:
            moved = state.host[pair[own]] if vacancy else state.ion
            return np.vstack([self.host[fixed] + state.host[fixed], ion_at + moved])

        first = self._states_at(hop.end if vacancy else hop.start, at_start)[0]
        start = arrange(first, one, 0)
        others = self._states_at(hop.start if vacancy else hop.end, at_end)
        mirrors = [self._make_mirror(number, fixed, one, two) for number in reversals]
        ends = [arrange(state, two, -1) for state in others] + [mirror(start) for mirror in mirrors]
        # Of several symmetric images of the relaxed state, the nearest: no atom moves that need not.
        end = min(ends, key=lambda places: round(float(((places - start) ** 2).sum()), 6))
        numbers = np.append(self.numbers[fixed], self.ion)
        start, low = self._settle(start, numbers)
        end, high = self._settle(end, numbers)
        held = tuple(
            m for m in mirrors if np.abs(m(start) - end).max() < SAME_PLACE and abs(high - low) < SAME_ENERGY
        )
        return Ends(start, end, (low, high), numbers, self.cell, held)

    def _settle(self, places: FloatArray, numbers: IntArray) -> tuple[FloatArray, float]:
        """Relax an arrangement that symmetry says is relaxed: one call, more where symmetry holds only nearly."""
        relaxed, energy = self._relax(places, numbers)
        if np.abs(relaxed - places).max() > 1e-9:
            self._refuse_wanderers(relaxed, places, numbers)
        return relaxed, energy

    def _states_at(self, site: int, place: FloatArray) -> list[State]:
        """All symmetric images of a site's relaxed state at one `place` in the supercell."""
        first, images = self._find_images(site)
        state = self._relaxed_state(first)
        found = []
        for operation, moved in images:
            # the operation, and a translation by whole cells to the place that is asked
            cells = np.rint((place - moved) @ np.linalg.inv(self.crystal.cell))
            shift = cells @ self.crystal.cell
            found.append(self._turn_state(state, operation, shift))
        return found

    def _find_images(self, site: int) -> tuple[int, list[tuple[Operation, FloatArray]]]:
        """First of the sites equivalent to `site`, and the operations from it with the places they lead to."""
        for first in range(site + 1):
            moved = [
                operation.move_points(self.sites[first : first + 1]) for operation in self.crystal.operations
            ]
            there = self.sites[site : site + 1]
            images = [
                (operation, place[0])
                for operation, place in zip(self.crystal.operations, moved, strict=True)
                if match_points(place, there, self.crystal.cell)[1][0] < 2 * self.crystal.symprec
            ]
            if images:
                break
        return first, images

    def drop_unstable_sites(self) -> None:
        """Leave out the sites that a defect leaves as it relaxes, with all their equivalents.

        Raises:
            WandererError: none is left.
        """
        first = [self._find_images(site)[0] for site in range(len(self.sites))]
        failure: WandererError | None = None
        stable = set()
        for site in dict.fromkeys(first):
            try:
                self._relaxed_state(site)
                stable.add(site)
            except WandererError as error:
                failure = error
        if failure is not None and not stable:
            raise failure
        kept = [site for site in range(len(self.sites)) if first[site] in stable]
        self._relaxed = {kept.index(site): state for site, state in self._relaxed.items()}
        self.sites = self.sites[kept]

    def _turn_state(self, state: State, operation: Operation, shift: FloatArray) -> State:
        image, _ = match_points(operation.move_points(self.host) + shift, self.host, self.cell)
        host = np.zeros_like(state.host)
        host[image] = state.host @ operation.rotation.T
        return State(host, state.ion @ operation.rotation.T, state.energy)

    def _relaxed_state(self, site: int) -> State:
        """Relax the defect at a site of the first cell."""
        if site not in self._relaxed:
            self._relaxed[site] = self._relax_state(site)
        return self._relaxed[site]

    def _relax_state(self, site: int) -> State:
        vacancy = self.mechanism == "vacancy"
        if vacancy:
            own, _ = match_points(self.sites[site : site + 1], self.host, self.cell)
            kept = np.delete(np.arange(len(self.host)), own)
            places, numbers, empty = self.host[kept], self.numbers[kept], self.host[own]
        else:
            kept = np.arange(len(self.host))
            places, numbers = np.vstack([self.host, self.sites[site]]), np.append(self.numbers, self.ion)
            others = (self.sites + (self._cells @ self.crystal.cell)[:, None]).reshape(-1, 3)
            empty = others[match_points(others, self.sites[site : site + 1], self.cell)[1] > SAME_PLACE]
        relaxed, energy = self._relax_twice(places, numbers, empty)
        host = np.zeros_like(self.host)
        host[kept] = relaxed[: len(kept)] - self.host[kept]
        return State(host, np.zeros(3) if vacancy else relaxed[-1] - self.sites[site], energy)

    def _relax_twice(
        self, places: FloatArray, numbers: IntArray, empty: FloatArray
    ) -> tuple[FloatArray, float]:
        """Relax a defect as it is and once more shaken, since symmetry may hold it above its minimum.

        The state without symmetry counts only where it is lower: the other one saves half of the images.
        """
        relaxed, energy = self._relax(places, numbers)
        self._refuse_wanderers(relaxed, places, numbers, empty)
        if not self.rattle:
            return relaxed, energy
        # The same displacements for each candidate: results depend on the crystal alone.
        shifts = self.rattle * np.random.default_rng(0).standard_normal(relaxed.shape)
        shaken, lower = self._relax(relaxed + shifts - shifts.mean(axis=0), numbers)
        if energy - lower < LOWER_ENERGY:
            return relaxed, energy
        shaken = shaken - (shaken - places).mean(axis=0)
        self._refuse_wanderers(shaken, places, numbers, empty)
        return shaken, lower

    def _relax(self, places: FloatArray, numbers: IntArray) -> tuple[FloatArray, float]:
        """Relax an arrangement in its cell; positions (n, 3) in Å and the energy in eV."""
        from pymatgen.core import Structure

        structure = Structure(self.cell, numbers.tolist(), places, coords_are_cartesian=True)
        found = relax_structure(structure, self.potential, fmax=self.fmax, steps=self.steps, cell=False)
        self.calls += found.calls
        if not found.converged:
            raise MigrationError(
                f"the {self.mechanism} is not relaxed after {found.steps} steps: {found.max_force:.2g} eV/Å left "
                f"(limit {self.fmax:g}); raise 'steps' or 'fmax'"
            )
        return np.array(found.structure.cart_coords), found.energy

    def _refuse_wanderers(
        self, relaxed: FloatArray, places: FloatArray, numbers: IntArray, empty: FloatArray | None = None
    ) -> None:
        """Refuse a state in which an atom is nearer to another place than to its own."""
        from pymatgen.core import Element

        every = places if empty is None else np.vstack([places, empty])
        nearest, _ = match_points(relaxed, every, self.cell)
        left = np.flatnonzero(nearest != np.arange(len(places)))
        if len(left):
            k = int(left[np.argmax(np.linalg.norm(relaxed[left] - places[left], axis=1))])
            far = float(np.linalg.norm(relaxed[k] - places[k]))
            raise WandererError(
                f"{Element.from_Z(int(numbers[k])).symbol} leaves its site as the {self.mechanism} relaxes: it moves by "
                f"{far:.2f} Å and is then nearer to another site, so the end of the hop is no minimum. Relax the crystal "
                "before, or use another mechanism"
            )

    def _make_mirror(self, number: int, fixed: IntArray, one: FloatArray, two: FloatArray) -> Mirror:
        """Make the map of arrangements by an operation that exchanges two places."""
        operation = self.crystal.operations[number]
        # A translation by whole cells follows the operation, so that it maps the one place onto the other.
        cells = np.rint((two - operation.move_points(one[None])[0]) @ np.linalg.inv(self.crystal.cell))
        image, _ = match_points(
            operation.move_points(self.host[fixed]) + cells @ self.crystal.cell, self.host[fixed], self.cell
        )
        sites = np.vstack([self.host[fixed], (one + two) / 2])
        return Mirror(operation.rotation, np.append(image, len(fixed)), sites)

    def to_structure(self, places: FloatArray, numbers: IntArray) -> Structure:
        """Convert an arrangement of the supercell to a crystal.

        Args:
            places: shape (n, 3), Å.
            numbers: shape (n,), atomic numbers.
        """
        from pymatgen.core import Structure

        return Structure(self.cell, numbers.tolist(), places, coords_are_cartesian=True)
