"""Quasi-random arrangements: pairs as in a random alloy, repeatably."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from invdesign.rng import rng_for
from invdesign.structures.quasirandom import Sublattice


def cubic(*repeats: int) -> Sublattice:
    """Primitive cubic sites in a supercell."""
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    return Sublattice(np.diag(np.array(repeats) * 3.9), steps / np.array(repeats))


def test_shells_have_the_coordination_numbers_of_the_lattice() -> None:
    """A primitive cubic site has 6, 12, 8 and 6 neighbours, images of itself included."""
    for sublattice in (cubic(1, 1, 1), cubic(2, 2, 2), cubic(3, 3, 2)):
        assert (sublattice.pairs.sum(axis=2) == np.array([[6], [12], [8], [6]])).all()


def test_a_large_cell_matches_every_shell() -> None:
    """In 64 sites at equal parts the pairs of four shells can be those of the random alloy exactly, and are."""
    sublattice = cubic(4, 4, 4)
    assert sublattice.measure_misfit(sublattice.anneal_species([32, 32], rng_for(0, 0, "sqs")), 2) < 1e-12


def test_small_cells_give_the_best_filling_there_is() -> None:
    """Beside all 420 fillings of 8 sites by three species, none is more random."""
    sublattice = cubic(2, 2, 2)
    found = sublattice.measure_misfit(sublattice.anneal_species([4, 3, 1], rng_for(1, 0, "sqs")), 3)
    fillings = set(itertools.permutations([0, 0, 0, 0, 1, 1, 1, 2]))
    best = min(sublattice.measure_misfit(np.array(filling), 3) for filling in sorted(fillings))
    assert found == pytest.approx(best, abs=1e-12)


def test_the_misfit_of_swaps_is_kept_exactly() -> None:
    """What the search believes of its filling is what the filling has: no error gathers over thousands of swaps."""
    from invdesign.structures.quasirandom import _Annealing

    sublattice = cubic(3, 3, 3)
    start = rng_for(2, 0, "start").permutation(np.repeat([0, 1, 2], [10, 10, 7]))
    search = _Annealing(sublattice, start.astype(np.int64), 3)
    search.run(3_000, rng_for(2, 0, "run"))
    assert search.misfit == pytest.approx(sublattice.measure_misfit(search.species, 3), abs=1e-12)


def test_arrangements_repeat_and_hold_what_was_asked() -> None:
    """The same generator gives the same filling, with the counts asked for."""
    sublattice = cubic(2, 2, 4)
    first, second = (sublattice.anneal_species([7, 5, 4], rng_for(3, 0, "sqs")) for _ in range(2))
    assert (first == second).all()
    assert np.bincount(first).tolist() == [7, 5, 4]


def test_one_species_alone_fills_all_sites() -> None:
    """There is nothing to arrange, and no error."""
    assert (cubic(2, 1, 1).anneal_species([0, 2], rng_for(0, 0, "sqs")) == 1).all()


def test_counts_that_do_not_fill_the_sites_are_refused() -> None:
    """Seven atoms on eight sites need a vacancy as a species of its own."""
    with pytest.raises(ValueError, match=r"\[4, 3\] must fill 8 sites"):
        cubic(2, 2, 2).anneal_species([4, 3], rng_for(0, 0, "sqs"))
