"""Laws of the reader: crystals of all space groups come back, as pymatgen reads them, and mutations never break it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invdesign.structures.prototypes import find_prototype, list_prototype_names
from invdesign.structures.reading.raw import StructureFileError
from tests.fuzz.cif import check_text, mutate_texts
from tests.structures.reading.crystals import SETTINGS, count_atoms, find_deviation, make_crystal, write_cif
from tests.structures.reading.texts import read_one


def _check_return(index: int, seed: int, digits: int) -> None:
    """A random crystal comes back from its operations and from the full name of its setting."""
    crystal = make_crystal(SETTINGS[index], seed)
    assume(
        crystal.rows and max(crystal.cell[:3]) * 10.0**-digits < 0.2
    )  # coarser digits leave atoms in doubt
    tolerance = 30 * 10.0**-digits + 1e-3
    for text in (
        write_cif(crystal, digits=digits),
        write_cif(crystal, digits=digits, name=SETTINGS[index].xhm(), operations=False),
    ):
        read = read_one(text)
        assert count_atoms(read) == crystal.amounts
        assert find_deviation(read, crystal) < tolerance


def _check_open_name(index: int, seed: int) -> None:
    """From a name that leaves the setting open, the same crystal comes back or it is refused as open."""
    crystal = make_crystal(SETTINGS[index], seed)
    assume(crystal.rows)
    try:
        read = read_one(write_cif(crystal, digits=5, name=SETTINGS[index].hm, operations=False))
    except StructureFileError as error:
        assert "several ways" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert count_atoms(read) == crystal.amounts
        assert find_deviation(read, crystal) < 0.01


OPEN = [k for k, setting in enumerate(SETTINGS) if setting.ext in {"1", "2", "H", "R"}]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(0, len(SETTINGS) - 1), st.integers(0, 10**6), st.sampled_from([2, 3, 4, 6]))
def test_crystals_return(index: int, seed: int, digits: int) -> None:
    """Random crystals of random settings come back, whatever digits their coordinates have."""
    _check_return(index, seed, digits)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.sampled_from(OPEN), st.integers(0, 10**6))
def test_open_names(index: int, seed: int) -> None:
    """Never another crystal by a name that leaves axes or origin open."""
    _check_open_name(index, seed)


@pytest.mark.slow
@settings(max_examples=3_000, derandomize=True, deadline=None)
@given(st.integers(0, len(SETTINGS) - 1), st.integers(0, 10**6), st.sampled_from([2, 3, 4, 6]))
def test_many_crystals_return(index: int, seed: int, digits: int) -> None:
    """The same of thousands."""
    _check_return(index, seed, digits)


@pytest.mark.slow
@settings(max_examples=1_000, derandomize=True, deadline=None)
@given(st.sampled_from(OPEN), st.integers(0, 10**6))
def test_many_open_names(index: int, seed: int) -> None:
    """The same of a thousand."""
    _check_open_name(index, seed)


def _check_as_pymatgen(text: str) -> None:
    """The cell and all atoms are those that pymatgen's reader gives for a well-formed file."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Structure.from_str(text, fmt="cif")
    read = read_one(text)
    np.testing.assert_allclose(read.lattice, expected.lattice.matrix, atol=1e-6)
    assert len(read.sites) == len(expected)
    positions = np.array([site.position for site in read.sites])
    for site in expected:
        delta = positions - site.frac_coords
        distances = np.linalg.norm((delta - np.rint(delta)) @ np.array(read.lattice), axis=1)
        found = read.sites[int(distances.argmin())]
        assert distances.min() < 0.01
        assert {e.symbol: v for e, v in site.species.element_composition.items()} == pytest.approx(
            dict(found.occupancies)
        )


@pytest.mark.parametrize("precision", [None, 0.01])
def test_prototypes_as_pymatgen(precision: float | None) -> None:
    """CIFs that pymatgen writes of the prototypes are read as pymatgen reads them."""
    from pymatgen.io.cif import CifWriter

    for name in list_prototype_names()[::2]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = str(CifWriter(find_prototype(name).build_structure(), symprec=precision))
        _check_as_pymatgen(text)


def test_phases_as_pymatgen(shared_data: Path) -> None:
    """CIFs of measured phases are read as pymatgen reads them."""
    files = sorted((shared_data / "phases" / "cif").glob("*.cif"))
    for file in files[::12]:
        _check_as_pymatgen(file.read_text())


def test_mutations() -> None:
    """Mutated files are refused with a reason or read as crystals that keep the reader's promises."""
    read = sum(bool(check_text(text)) for text in mutate_texts(seed=1, count=400))
    assert 40 < read < 360


@pytest.mark.slow
def test_many_mutations() -> None:
    """The same of ten thousand."""
    for text in mutate_texts(seed=2, count=10_000):
        check_text(text)
