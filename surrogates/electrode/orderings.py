"""Arrangements of ions on the sites of a host, ranked by their electrostatic energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.rng import rng_for
from invdesign.structures.charges import assign_oxidation_states, is_metallic
from invdesign.structures.electrostatics import Electrostatics, Filling
from invdesign.structures.symmetry import find_smallest_image, site_permutations
from surrogates.electrode.sites import InsertionError, IonSites
from surrogates.stability.windows import CHARGES

MAX_ENUMERATED = (
    20_000  # arrangements that are all computed, 0.1 s; of more some are found by descents; chosen
)
DESCENTS = 8  # per ordering that is wanted; chosen: most descents end in one of the few lowest
# Å between two ions; chosen: below every distance of lithium ions in solids, above that of face-sharing sites and split ones.
MIN_ION_DISTANCE = 1.9
ENERGY_DIGITS = 6  # eV, of electrostatic energies that order arrangements; chosen, far above rounding


def rank_orderings(
    sites: IonSites, count: int, wanted: int, among: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Rank arrangements of ions by electrostatic energy, symmetric copies once.

    Formal charges stand on the host's atoms, those of the composition; where atoms are no ions (graphite, alloys), the ions alone
    repel each other before a uniform background.

    Args:
        sites: host and sites of one cell.
        count: number of ions.
        wanted: largest number of arrangements.
        among: numbers of the sites that may be filled; by default those that hold an ion, and where these do not suffice, all.

    Returns:
        At most `wanted` arrangements, each the numbers of its filled sites, the lowest energy first.

    Raises:
        InsertionError: there are too few sites, or they are too close to each other.
    """
    open_sites = list(
        among if among is not None else range(sites.occupied if count <= sites.occupied else len(sites))
    )
    if count > len(open_sites):
        raise InsertionError(
            f"there is no room for {count} {sites.ion} in {sites.host.composition.formula.replace(' ', '')}: it has "
            f"{len(open_sites)} sites wide enough; ask for a smaller share"
        )
    if count in {0, sites.occupied, len(open_sites)} and count <= sites.occupied == len(open_sites):
        return [tuple(open_sites[:count])]  # as given, or empty
    energies, pairs, field = _quadratic_form(sites, count, open_sites)
    close = _find_close_pairs(sites, open_sites)
    found = sorted(
        (round(float(energy), ENERGY_DIGITS), chosen)
        for chosen, energy in _list_arrangements(count, pairs, field, wanted, energies)
        if not close[np.ix_(chosen, chosen)].any()
    )
    if not found:
        raise InsertionError(
            f"there is no room for {count} {sites.ion} in {sites.host.composition.formula.replace(' ', '')}: of its "
            f"{len(open_sites)} sites two would be filled less than {MIN_ION_DISTANCE:g} Å apart; ask for a smaller share"
        )
    permutations = _permute_sites(sites, open_sites)
    seen: set[bytes] = set()
    kept: list[tuple[int, ...]] = []
    for _, chosen in found:
        codes = np.zeros(len(open_sites), dtype=np.int64)
        codes[list(chosen)] = 1
        image = find_smallest_image(codes, permutations, 2).tobytes()
        if image in seen:
            continue
        seen.add(image)
        kept.append(tuple(open_sites[k] for k in chosen))
        if len(kept) == wanted:
            break
    return kept


def _formal_charges(sites: IonSites, count: int) -> Mapping[str, float]:
    """Formal charge by element; empty where atoms are no ions."""
    held = sites.host_amounts.get(sites.ion, 0.0)  # of a host that is an intact crystal
    amounts = {**sites.host_amounts, sites.ion: held + count}
    if is_metallic(amounts) or len(sites.host_amounts) == 1:
        return {}
    try:
        states = assign_oxidation_states(tuple(sorted(amounts.items())))
    except ValueError:  # an element without any known state
        return {}
    return states if states[sites.ion] == CHARGES[sites.ion] else {}


def _quadratic_form(
    sites: IonSites, count: int, open_sites: Sequence[int]
) -> tuple[Electrostatics, FloatArray, FloatArray]:
    """Energy of ions on k open sites, less a constant.

    Returns:
        Electrostatics of these sites, the interactions (k, k) in eV, and the potential of the host (k,) in eV, both for ions of
            their charge.
    """
    n = len(sites.host)
    charges = _formal_charges(sites, count)
    places = np.vstack([sites.host.frac_coords, sites.positions[list(open_sites)]])
    whole = Electrostatics(np.asarray(sites.host.lattice.matrix, dtype=np.float64), places)
    matrix = whole.matrix
    own = np.array([charges.get(site.specie.symbol, 0.0) for site in sites.host])
    charge = float(CHARGES[sites.ion])
    return whole, charge**2 * matrix[n:, n:], 2.0 * charge * (matrix[n:, :n] @ own)


def _list_arrangements(
    count: int, pairs: FloatArray, field: FloatArray, wanted: int, whole: Electrostatics
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield arrangements and their energies: all, or those that descents from random starts reach.

    Args:
        count: number of ions.
        pairs: shape (k, k), interactions, eV.
        field: shape (k,), eV.
        wanted: number of arrangements that is asked for.
        whole: electrostatics of the host and the k sites, for descents.
    """
    k = len(field)
    if comb(k, count) <= MAX_ENUMERATED:
        chosen = np.array(list(combinations(range(k), count)), dtype=np.int64)
        energies = field[chosen].sum(axis=1) + pairs[chosen[:, :, None], chosen[:, None, :]].sum(axis=(1, 2))
        yield from zip(map(tuple, chosen.tolist()), energies.tolist(), strict=True)
        return
    form = _IonEnergies(whole.lattice, whole.frac_coords[-k:], pairs + np.diag(field))
    filling = Filling(tuple(range(k)), (count, k - count), (1.0, 0.0))
    rng = rng_for(0, count, "orderings")
    seen = set()
    for _ in range(DESCENTS * wanted):
        arrangement = form.arrange_species([filling], rng, starts=1)
        found = tuple(np.flatnonzero(arrangement.species[0] == 0).tolist())
        if found not in seen:
            seen.add(found)
            yield found, arrangement.energy


@dataclass(frozen=True, eq=False)
class _IonEnergies(Electrostatics):
    """Energies of ions in the potential of their host.

    Attributes:
        form: shape (k, k), eV; the potential of the host stands on the diagonal, since a site holds one ion or none.
    """

    form: FloatArray

    @cached_property
    def matrix(self) -> FloatArray:
        """Quadratic form of the occupancies."""
        return self.form


def _find_close_pairs(sites: IonSites, open_sites: Sequence[int]) -> NDArray[np.bool_]:
    """True for pairs of open sites that no two ions share, shape (k, k)."""
    lattice = sites.host.lattice
    places = sites.positions[list(open_sites)]
    distances = np.asarray(lattice.get_all_distances(places, places))
    np.fill_diagonal(distances, np.inf)
    close: NDArray[np.bool_] = distances < MIN_ION_DISTANCE
    return close


def _permute_sites(sites: IonSites, open_sites: Sequence[int]) -> IntArray:
    """Permutations of the open sites by the symmetry of the host, shape (g, k)."""
    colours = [site.specie.symbol for site in sites.host] + ["ion site"] * len(open_sites)
    places = np.vstack([sites.host.frac_coords, sites.positions[list(open_sites)]])
    numbers = list(range(len(sites.host), len(places)))
    try:
        return site_permutations(np.asarray(sites.host.lattice.matrix), places, colours, numbers)
    except InvdesignError:  # no symmetry is found: symmetric copies are then relaxed more than once
        return np.arange(len(open_sites))[None, :]
