"""Energies of exchanges between two bulk solids.

One atom of each in the other's supercell, with ions that may follow the charge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from invdesign.structures.charges import assign_oxidation_states
from invdesign.structures.electrostatics import Electrostatics
from invdesign.structures.exchanges import tally_exchanges
from invdesign.structures.site_labels import NATIVE, SIDE, SIDES, Side
from invdesign.structures.symmetry import LOOSE_SYMPREC, call_spglib, symmetry_dataset
from invdesign.structures.voids import find_voids
from surrogates.interfaces.balance import Solid
from surrogates.relaxation.references import (
    Memory,
    ReferenceStructureError,
    Treatment,
    hash_reference,
    relax_reference,
)
from surrogates.transport.neb.lattices import Crystal, smallest_supercell

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME_LEVEL = 3  # decimals of electrostatic energies (eV) that symmetric places share; chosen
BEAM = 300  # sets of places that are extended by a further ion; chosen: of up to 60 voids all pairs are looked at
MAX_KINDS = 64  # results kept per process; chosen: more kinds than two solids have
WHOLE = 1e-6  # numbers of ions; chosen: states are ratios of small whole numbers


Compensation = Literal["lowest", "always", "never"]
"""Ions that move with an exchange: as many as balance formal charges, none, or whichever number is lowest."""


class ExchangeError(InvdesignError):
    """An exchange has no energy; the message names the reason and the remedy."""


class Kind(NamedTuple):
    """A kind of exchange: an element of the substrate with one of the film."""

    substrate: str
    film: str

    def __str__(self) -> str:
        return f"{self.substrate}/{self.film}"


@dataclass(frozen=True, slots=True)
class Method:
    """Settings of exchange energies.

    Attributes:
        ion: element that may move between the solids with the charge of an exchange.
        compensation: numbers of ions that are looked at.
        supercell: Å, least distance of an exchanged atom from its images.
        tries: arrangements of site and ions that are relaxed on each side, the lowest in formal-charge electrostatics.
        fmax: largest force left, eV/Å.
        steps: most moves of a relaxation.
        rattle: Å, displacements of all starts.
    """

    ion: str = "Li"
    compensation: Compensation = "lowest"
    supercell: float = 8.0
    tries: int = 3
    fmax: float = 0.05
    steps: int = 500
    rattle: float = 0.05

    @property
    def treatment(self) -> Treatment:
        """Relaxation of supercells, in the cell of the perfect crystal."""
        return Treatment(False, self.fmax, 0.0, self.steps, self.rattle)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Energy of one exchange.

    Attributes:
        kind: of the exchange.
        levels: energy in eV by the number of ions that go from the substrate to the film; negative numbers for the other way. A
            negative energy says that the two bulks gain by it.
        atoms: of the perfect supercells of substrate and film.
    """

    kind: Kind
    levels: Mapping[int, float]
    atoms: tuple[int, int]

    @property
    def moved(self) -> int:
        """Number of ions of the lowest level."""
        return min(self.levels, key=lambda number: self.levels[number])

    @property
    def energy(self) -> float:
        """Energy of the lowest level, eV."""
        return self.levels[self.moved]


def count_exchanges(structure: Structure) -> Counter[Kind]:
    """Count the exchanges of an interface by the labels of its sites.

    An element of the substrate on a site of the film belongs to an element of the film on a site of the substrate. Ions on voids, and
    empty sites, are no exchange.

    Args:
        structure: sites have the labels `side` and `native`.

    Raises:
        ExchangeError: labels are missing, or foreign atoms of one side have no counterpart on the other.
    """
    if any(SIDE not in site.properties or NATIVE not in site.properties for site in structure):
        raise ExchangeError(
            f"the sites have no labels '{SIDE}' and '{NATIVE}', which tell exchanged atoms: take structures of the space 'interface'"
        )
    found = tally_exchanges(structure)
    substrate, film = (Counter({Kind(*kind): n for kind, n in found[side].items()}) for side in SIDES)
    if substrate != film:
        alone = [
            f"{kind.film} on {kind.substrate} of the substrate" for kind in (substrate - film).elements()
        ]
        alone += [f"{kind.substrate} on {kind.film} of the film" for kind in (film - substrate).elements()]
        raise ExchangeError(
            f"foreign atoms without a counterpart on the other side: {', '.join(alone)}; the energy of an exchange is that of two atoms "
            "that change places, so use it with 'exchange' of the space, which moves both"
        )
    return substrate


_KINDS: Memory[Exchange | str] = Memory(MAX_KINDS)


def find_exchange_energy(
    substrate: Structure, film: Structure, kind: Kind, potential: Potential, method: Method
) -> Exchange:
    """Energy to exchange one atom between two bulk solids, once per process and kind.

    It is E(substrate with B for A, ions less) + E(film with A for B, ions more) - E(substrate) - E(film), all relaxed in the cells of
    the perfect solids, which are neutral. Where A and B differ in charge, ions may follow it from one solid to the other: as many as
    keep all oxidation states. With fewer, electrons make up for the rest: P for Co in LiCoO2 reduces two other Co, and Co for P
    in Li3PS4 takes electrons from S. The lowest of several arrangements of site and ions on each side counts; the two sides
    do not touch, so strain, interface and space charge are not in it.

    Args:
        substrate, film: fully relaxed bulks.
        kind: of the exchange.
        potential: of all energies.
        method: settings.

    Raises:
        ExchangeError: the elements are not there, no ions can balance the charges, or no arrangement relaxes.

    Source:
        The mixing of cations between electrode and electrolyte as in Haruyama et al., ACS Appl. Mater. Interfaces 9, 286 (2017).
    """
    pair = hash_reference(substrate, potential, "substrate") + hash_reference(film, potential, "film")

    def compute() -> Exchange | str:
        try:
            return _compute_exchange(substrate, film, kind, potential, method)
        except InvdesignError as error:
            return str(error)

    found = _KINDS.recall(f"{pair} {kind} {method}", compute)
    if isinstance(found, str):
        raise ExchangeError(f"the exchange {kind} has no energy: {found}")
    return found


def forget_exchanges() -> None:
    """Empty the cache of this process."""
    _KINDS.clear()


def _compute_exchange(
    substrate: Structure, film: Structure, kind: Kind, potential: Potential, method: Method
) -> Exchange:
    hosts = [Host.expand(side, solid, method) for side, solid in zip(SIDES, (substrate, film), strict=True)]
    for host, symbol in zip(hosts, kind, strict=True):
        if symbol not in host.states:
            raise ExchangeError(f"{host.formula} has no {symbol}")
    levels: dict[int, float] = {}
    reasons: list[str] = []
    for moved in _list_moved_ions(hosts, kind, method):
        try:
            levels[moved] = sum(
                _find_defect_energy(host, Defect(own, guest, charge, ions), potential, method)
                for host, own, guest, charge, ions in zip(
                    hosts, kind, reversed(kind), _charges_of(hosts, kind)[::-1], (-moved, moved), strict=True
                )
            )
        except InvdesignError as error:
            reasons.append(str(error))
    if not levels:
        raise ExchangeError(reasons[0])
    return Exchange(kind, levels, (len(hosts[0].structure), len(hosts[1].structure)))


def _charges_of(hosts: Sequence[Host], kind: Kind) -> tuple[float, float]:
    """Formal charges of the two elements, each in its own solid."""
    return hosts[0].states[kind.substrate], hosts[1].states[kind.film]


def _list_moved_ions(hosts: Sequence[Host], kind: Kind, method: Method) -> list[int]:
    """Numbers of ions to look at, from none to those that balance the charge.

    Raises:
        ExchangeError: ions have to balance the charge, and cannot.
    """
    if method.compensation == "never":
        return [0]
    own, guest = _charges_of(hosts, kind)
    try:
        most = _count_moved_ions(hosts, guest - own, method.ion)
    except ExchangeError:
        if method.compensation == "always":
            raise
        return [0]
    if method.compensation == "always":
        return [most]
    return list(range(most + 1)) if most >= 0 else list(range(0, most - 1, -1))


def _count_moved_ions(hosts: Sequence[Host], surplus: float, ion: str) -> int:
    """Ions that leave the substrate for the film so that both stay neutral.

    Args:
        hosts: substrate and film.
        surplus: formal charge that the exchange brings to the substrate.
        ion: that moves.
    """
    if abs(surplus) < WHOLE:
        return 0
    known = [host.states[ion] for host in hosts if host.states.get(ion)]
    if not known:
        raise ExchangeError(
            f"it brings a charge of {surplus:+g} to the substrate, and neither solid has {ion} ions to balance it: name another 'ion'"
        )
    number = surplus / known[0]
    if abs(number - round(number)) > WHOLE:
        raise ExchangeError(
            f"it brings a charge of {surplus:+g} to the substrate, no whole number of {ion} with {known[0]:+g}: name another 'ion'"
        )
    return round(number)


@dataclass(frozen=True)
class Host:
    """Supercell of a perfect solid.

    Attributes:
        side: `substrate` or `film`.
        formula: of the solid.
        structure: N atoms.
        orbits: shape (N,), number of each atom's orbit.
        states: formal charge by element.
    """

    side: Side
    formula: str
    structure: Structure
    orbits: IntArray
    states: Mapping[str, float]

    @classmethod
    def expand(cls, side: Side, solid: Structure, method: Method) -> Host:
        """Make the smallest supercell whose images are far apart and which keeps the symmetry.

        Args:
            side: `substrate` or `film`.
            solid: relaxed; any cell of it.
            method: names the distance.
        """
        from pymatgen.core import Structure

        numbers = [site.specie.Z for site in solid]
        standard = call_spglib(
            "standardize_cell",
            (solid.lattice.matrix, solid.frac_coords, numbers),
            to_primitive=True,
            no_idealize=False,
            symprec=LOOSE_SYMPREC,
        )
        primitive = solid
        if standard is not None:
            cell, fractions, kinds = standard
            primitive = Structure(cell, list(kinds), fractions)
        matrix = smallest_supercell(Crystal.from_structure(primitive), method.supercell)
        found = primitive.make_supercell(matrix, in_place=False)
        dataset = symmetry_dataset(
            found.lattice.matrix, found.frac_coords, [site.specie.Z for site in found], symprec=LOOSE_SYMPREC
        )
        known = Solid.from_structure(side, solid)
        counts = tuple((symbol, float(amount)) for symbol, amount in known.amounts.items())
        states = assign_oxidation_states(counts) if len(counts) > 1 else {counts[0][0]: 0.0}
        return cls(side, known.formula, found, np.asarray(dataset.equivalent_atoms, dtype=np.int64), states)

    @property
    def symbols(self) -> list[str]:
        """Elements of all sites."""
        return [site.specie.symbol for site in self.structure]

    def list_distinct_sites(self, element: str) -> list[int]:
        """First site of each orbit of an `element`."""
        first: dict[int, int] = {}
        for site, symbol in enumerate(self.symbols):
            if symbol == element:
                first.setdefault(int(self.orbits[site]), site)
        return list(first.values())


@dataclass(frozen=True, slots=True)
class Defect:
    """A foreign atom in a supercell, with the ions that follow its charge.

    Attributes:
        own: element that leaves.
        guest: element that takes its place.
        charge: formal charge of the guest.
        ions: put into voids; negative for ions taken from their sites.
    """

    own: str
    guest: str
    charge: float
    ions: int


def _find_defect_energy(host: Host, defect: Defect, potential: Potential, method: Method) -> float:
    """Energy of the lowest arrangement with a guest and more or fewer ions, less that of the perfect supercell, eV.

    Args:
        host: supercell.
        defect: of one side.
        potential: of the energies.
        method: settings.
    """
    perfect = relax_reference(
        host.structure, potential, method.treatment, f"the supercell of the {host.side}"
    )
    energies, reasons = [], []
    name = f"{defect.guest} on {defect.own} in {host.formula}"
    for start in arrange_defects(host, defect, method):
        try:
            energies.append(relax_reference(start, potential, method.treatment, name).energy)
        except ReferenceStructureError as error:
            reasons.append(str(error))
    if not energies:
        raise ExchangeError(reasons[0])
    return min(energies) - perfect.energy


def arrange_defects(host: Host, defect: Defect, method: Method) -> list[Structure]:
    """Arrangements of a guest and its compensating ions, the lowest in formal-charge electrostatics.

    The best one of each distinct site comes first, then the next best of all.

    Args:
        host: supercell.
        defect: to arrange.
        method: names the ion and the number of arrangements.

    Raises:
        ExchangeError: there are too few ions to take, or no voids to put them in.
    """
    fractions = np.asarray(host.structure.frac_coords, dtype=np.float64)
    lattice = np.asarray(host.structure.lattice.matrix, dtype=np.float64)
    symbols, count, ions = host.symbols, len(host.structure), defect.ions
    voids = np.zeros((0, 3))
    if ions > 0:
        voids = find_voids(lattice, fractions, [site.specie.Z for site in host.structure]).fractions
    places = list(range(count, count + len(voids)))
    if ions < 0:
        places = [site for site, symbol in enumerate(symbols) if symbol == method.ion]
    if len(places) < abs(ions):
        had = f"{len(places)} voids for" if ions > 0 else f"{len(places)}"
        raise ExchangeError(
            f"{defect.guest} on {defect.own} in {host.formula} needs {abs(ions)} {method.ion} {'more' if ions > 0 else 'less'}, and the supercell has "
            f"{had} {method.ion}: enlarge 'supercell', or name another 'ion'"
        )
    field = Electrostatics(lattice, np.concatenate([fractions, voids]))
    base = np.array([host.states[symbol] for symbol in symbols] + [0.0] * len(voids))
    step = float(np.sign(ions)) * host.states.get(method.ion, 1.0)
    first, others = [], []
    for site in host.list_distinct_sites(defect.own):
        charges = base.copy()
        charges[site] = defect.charge
        free = [place for place in places if place != site]
        levels = _rank_places(field, charges, free, abs(ions), step)
        first.append((levels[0][0], site, levels[0][1]))
        others += [(energy, site, chosen) for energy, chosen in levels[1 : method.tries]]
    ranked = [*sorted(first), *sorted(others)][: method.tries]
    return [_build_defect(host, voids, defect, site, chosen, method.ion) for _, site, chosen in ranked]


def _rank_places(
    field: Electrostatics, charges: FloatArray, places: Sequence[int], number: int, step: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Sets of places for ions by electrostatic energy, one of each energy, the lowest first.

    Sets grow ion by ion from the best smaller ones, so that of many ions not all sets are looked at.

    Args:
        field: of all sites and voids.
        charges: shape (n,), before.
        places: that may change their charge.
        number: of places to change.
        step: change of charge on each.

    Returns:
        (energy in eV, rounded, places) of the sets.
    """
    matrix, base = field.matrix, float(field.energy(charges))
    slope = 2.0 * (matrix @ charges) * step + np.diag(matrix) * step**2
    levels: dict[tuple[int, ...], float] = {(): base}
    for _ in range(number):
        kept = sorted(levels.items(), key=lambda item: (round(item[1], SAME_LEVEL), item[0]))[:BEAM]
        levels = {
            tuple(sorted((*chosen, place))): energy
            + float(slope[place] + 2.0 * step**2 * matrix[place, list(chosen)].sum())
            for chosen, energy in kept
            for place in places
            if place not in chosen
        }
    found: dict[float, tuple[int, ...]] = {}
    for chosen, energy in sorted(levels.items(), key=lambda item: (round(item[1], SAME_LEVEL), item[0])):
        found.setdefault(round(energy, SAME_LEVEL), chosen)
    return list(found.items())


def _build_defect(
    host: Host,
    voids: FloatArray,
    defect: Defect,
    site: int,
    chosen: Sequence[int],
    ion: str,
) -> Structure:
    """Put a guest on a site, and ions into voids or out of their sites."""
    found = host.structure.copy()
    found.replace(site, defect.guest)
    if defect.ions < 0:
        found.remove_sites(list(chosen))
    for place in chosen if defect.ions > 0 else ():
        found.append(ion, voids[place - len(host.structure)])
    return found
