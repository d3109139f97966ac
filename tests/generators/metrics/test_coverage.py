"""Fingerprints are matminer's, and coverage has CDVAE's formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from invdesign.generators.metrics.coverage import Fingerprints, measure_coverage, scale_compositions
from invdesign.generators.metrics.fingerprints import fingerprint_compositions, fingerprint_structures
from tests.generators.metrics.crystals import REFERENCE, reference_crystals, rock_salt


def make_fingerprints(structures: list[list[float]], compositions: list[list[float]]) -> Fingerprints:
    """Fingerprints of chosen numbers."""
    return Fingerprints(np.array(structures), np.array(compositions))


def test_fingerprints_are_those_of_matminer() -> None:
    """Both fingerprints of ten crystals agree with the recorded ones to eight digits."""
    crystals = reference_crystals()
    recorded = np.array([entry["sites"] for entry in REFERENCE["crystals"]])
    assert_allclose(fingerprint_structures(crystals), recorded, atol=1e-6)
    statistics = np.array([entry["composition"] for entry in REFERENCE["crystals"]])
    assert_allclose(fingerprint_compositions(crystals), statistics, rtol=1e-9, atol=1e-8)


def test_fingerprint_of_rock_salt() -> None:
    """Both kinds of sites are six-fold and octahedral, in any cell."""
    salt = rock_salt()
    rows = fingerprint_structures([salt, salt.get_primitive_structure()])
    assert_allclose(rows[0], rows[1], atol=1e-6)
    octahedral = (
        2 + 6 + 4 + 6 + 4 + 2
    )  # entries of the coordination numbers 1 to 5, the weight of 6, and its first motif
    assert rows[0, octahedral] > 0.8


def test_crystals_without_a_fingerprint() -> None:
    """Overlapping atoms and a cell without room have none; an element without a value leaves a gap that is scaled to 0."""
    twice = Structure(Lattice.cubic(4.0), ["Li", "Li"], [[0, 0, 0], [0, 0, 0.01]])
    dense = Structure(Lattice.cubic(0.9), ["Li"], [[0, 0, 0]])
    assert np.isnan(fingerprint_structures([twice, dense])).all()
    helium = fingerprint_compositions([Structure(Lattice.cubic(4.0), ["He"], [[0, 0, 0]])])
    assert np.isnan(helium).any()
    assert np.isfinite(scale_compositions(helium)).all()


def test_coverage_of_chosen_numbers() -> None:
    """Structure and composition may be near different crystals; a sample without a fingerprint counts as not covered."""
    known = make_fingerprints([[0.0], [1.0], [2.0]], [[0.0], [100.0], [200.0]])
    samples = make_fingerprints([[0.1], [1.3], [5.0], [np.nan]], [[105.0], [95.0], [0.0], [0.0]])
    found = measure_coverage(samples, known)
    # Known: structures 0 and 1 are near samples, compositions 0 and 1 are; samples: structures 0 and 1, all compositions.
    assert found.recall.value == pytest.approx(200 / 3)
    assert found.precision.value == pytest.approx(50.0)
    assert (found.failed, found.failed_known, found.precision.n) == (1, 0, 4)


def test_coverage_by_nothing() -> None:
    """Samples without any fingerprint cover nothing."""
    known = make_fingerprints([[0.0], [np.nan]], [[0.0], [0.0]])
    found = measure_coverage(make_fingerprints([[np.nan]], [[0.0]]), known)
    assert (found.recall.value, found.precision.value, found.failed_known) == (0.0, 0.0, 1)


def test_known_crystals_cover_themselves() -> None:
    """A set of crystals covers itself wholly."""
    prints = Fingerprints.from_structures(reference_crystals()[:4])
    found = measure_coverage(prints, prints)
    assert (found.recall.value, found.precision.value, len(prints)) == (100.0, 100.0, 4)
