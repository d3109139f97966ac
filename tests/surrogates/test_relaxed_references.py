"""Reference structures: relaxed once, the same in every process, with clear failures."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from surrogates.potentials.ase import ASECalculator
from surrogates.relaxation.references import (
    ReferenceStructureError,
    Treatment,
    forget_references,
    relax_reference,
)
from surrogates.relaxation.relax import CallCounter

EMT = ASECalculator(calculator="emt")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_references()


def copper(stretch: float = 1.0) -> Structure:
    half = 3.6 * stretch / 2
    return Structure(
        Lattice([[half * 2**0.5, 0, 0], [0, half * 2**0.5, 0], [0, 0, 3.6]]),
        ["Cu", "Cu"],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
    )


def test_a_reference_is_computed_once_whatever_its_labels() -> None:
    counted = CallCounter(EMT)
    first = relax_reference(copper(), counted, Treatment("normal"))
    calls = counted.calls
    labelled = copper()
    labelled.add_site_property("side", ["film", "film"])
    again = relax_reference(labelled, counted, Treatment("normal"))
    assert counted.calls == calls == first.calls
    assert again.energy == first.energy


def test_freedom_of_the_cell_orders_the_energies() -> None:
    fixed, normal, free = (
        relax_reference(copper(1.02), EMT, Treatment(cell)).energy for cell in (False, "normal", True)
    )
    assert free < normal < fixed


def test_along_the_normal_keeps_the_plane() -> None:
    found = relax_reference(copper(1.02), EMT, Treatment("normal"))
    assert (found.structure.lattice.matrix[:2] == copper(1.02).lattice.matrix[:2].round(8)).all()


def test_a_failed_reference_names_itself_and_is_not_tried_again() -> None:
    counted = CallCounter(EMT)
    for _ in range(2):
        with pytest.raises(
            ReferenceStructureError, match=r"the bulk of the film \(Cu, 2 atoms\).*raise 'steps'"
        ):
            relax_reference(copper(1.02), counted, Treatment(True, steps=1), "the bulk of the film")
    assert counted.calls == 2
