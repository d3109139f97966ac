"""All metrics of a small set add up, and known crystals have the figures known crystals should have."""

from __future__ import annotations

import csv
import gzip
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.errors import InvdesignError
from invdesign.generators.metrics.distinct import KnownCrystals
from invdesign.generators.metrics.evaluate import Energies, evaluate_structures, list_rows
from tests.generators.metrics.crystals import caesium_chloride, rock_salt, zinc_blende


def test_metrics_of_a_small_set() -> None:
    """Five samples: a copy, the copy again, a new polymorph, a charged one, and one whose atoms overlap."""
    overlap = Structure(Lattice.cubic(5.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.05]])
    charged = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.46), ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    samples = [rock_salt(), rock_salt(edge=5.7), caesium_chloride(), charged, overlap]
    found = evaluate_structures(
        samples,
        [rock_salt(), zinc_blende()],
        energies=Energies([-2.0, -2.0, math.nan], [-1.5, -1.5]),
        coverage_samples=5,
    )
    values = {row.metric: (row.value, row.n) for row in list_rows(found)}
    assert values["structure_valid_percent"] == (80.0, 5)
    assert values["composition_valid_percent"] == (80.0, 5)
    assert values["valid_percent"] == (60.0, 5)
    assert values["unique_percent"] == (75.0, 4)
    assert values["new_percent"] == (50.0, 4)
    assert values["new_frameworks_percent"] == (50.0, 4)
    assert values["valid_unique_new_percent"] == (20.0, 5)
    assert values["p1_percent"] == (0.0, 4)
    assert values["wasserstein_elements"] == (0.0, 3)
    assert values["wasserstein_energy"] == (pytest.approx(0.5), 2)
    assert values["cov_r_percent"][1] == 2
    assert values["cov_p_percent"][1] == 5
    assert found.coverage is not None
    assert found.coverage.failed == 1
    assert (found.omitted.comparisons, found.omitted.symmetries, found.omitted.energies) == (0, 0, 1)
    assert all(row.low <= row.value <= row.high for row in list_rows(found))


def test_metrics_that_were_not_asked_for() -> None:
    """Coverage and energies are left out of the rows."""
    found = evaluate_structures([rock_salt()], KnownCrystals([rock_salt()]), coverage_samples=0)
    assert found.coverage is None
    names = [row.metric for row in list_rows(found)]
    assert not {"cov_r_percent", "wasserstein_energy"} & set(names)
    assert found == evaluate_structures([rock_salt()], [rock_salt()], coverage_samples=0)


def test_distributions_are_beside_crystals_kept_back() -> None:
    """Densities and space groups are compared with the part kept back where there is one."""
    found = evaluate_structures([rock_salt()], [rock_salt()], [zinc_blende()], coverage_samples=0)
    assert found.space_groups.value == pytest.approx(1.0)
    assert found.density.value == pytest.approx(abs(rock_salt().density - zinc_blende().density))


def test_nothing_to_measure() -> None:
    """No samples or no learned crystals are refused; samples that all overlap have no figures."""
    with pytest.raises(InvdesignError, match="got 0 and 1"):
        evaluate_structures([], [rock_salt()])
    overlap = Structure(Lattice.cubic(5.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.05]])
    found = evaluate_structures([overlap], [rock_salt()], coverage_samples=1)
    assert found.structure_valid.value == 0.0
    assert math.isnan(found.unique.value)
    assert math.isnan(found.density.value)


@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 1e3, 1e9])
def test_any_cell_is_measured(size: float) -> None:
    """Flat, tiny, long and huge cells are measured without an error or a search without end."""
    cell = Lattice(np.diag([size, 2.0 + size, 3.0]))
    strange = Structure(cell, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = evaluate_structures([strange, strange.copy()], [rock_salt()], coverage_samples=2)
    assert found.n == 2
    assert found.coverage is not None


def test_known_crystals(shared_data: Path) -> None:
    """Known crystals are valid and unique, not seen before, and distributed like the others."""
    with gzip.open(shared_data / "crystals" / "mp20_binary_ternary.csv.gz", "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = np.random.default_rng(0).permutation(len(rows))[:500]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Issues encountered while parsing CIF", UserWarning)
        crystals = [Structure.from_str(rows[place]["cif"], fmt="cif") for place in chosen]
    found = evaluate_structures(crystals[:200], crystals[200:], coverage_samples=0)
    assert found.structure_valid.value == 100.0
    assert found.composition_valid.low < 90.0 < found.composition_valid.high + 3
    assert found.neutral.value > 92.0
    assert found.unique.value > 99.0
    assert found.new.value > 95.0
    assert found.elements.value < 0.1
    assert found.space_groups.value < 0.45
