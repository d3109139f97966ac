"""Mutated POSCAR, JSON and extended XYZ files, and stored structures: refused with a reason, or read as what they say."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ase.io import read
from pymatgen.core import Element, Structure
from pymatgen.io.vasp import Poscar

from invdesign.structures.files import structure_from_json
from invdesign.structures.reading.raw import LIMITS, StructureFileError
from invdesign.structures.reading.read import Reading, read_structures

POSCARS = (
    (
        "oxide\n1.0\n4.2 0.0 0.0\n0.0 4.2 0.1\n0.3 0.0 4.2\nMg O\n4 4\nDirect\n0 0 0\n0 0.5 0.5\n0.5 0 0.5\n0.5 0.5 0\n"
        "0.5 0.5 0.5\n0.5 0 0\n0 0.5 0\n0 0 0.5\n"
    ),
    (
        "phosphide\n-90.0\n1.0 0.0 0.0\n0.0 1.1 0.0\n0.0 0.0 0.9\nLi_sv P/12ab Li\n2 1 1\nSelective dynamics\nDirect\n"
        "0.0 0.0 0.0 T T T\n0.5 0.5 0.0 T T F\n0.0 0.5 0.5 F F F\n0.5 0.0 0.5 T T T\n\n0 0 0\n0 0 0\n0 0 0\n0 0 0\n"
    ),
    "iron\n2.0\n1.43 0 0\n0 1.43 0\n0 0 1.43\nFe\n2\nCartesian\n0.0 0.0 0.0 Fe\n0.715 0.715 0.715 Fe\n",
)
XYZS = (
    '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties=species:S:1:pos:R:3 energy=-3.0 pbc="T T T"\nCs 0 0 0\nCl 2.05 2.05 2.05\n',
    (
        '3\nLattice="0 2.9 2.9 2.9 0 2.9 2.9 2.9 0" Properties=species:S:1:pos:R:3:forces:R:3 name="a b"\n'
        "S 0 0 0 0.1 0 0\nLi 1.45 1.45 1.45 0 0 0\nLi 4.35 4.35 4.35 0 0 0\n"
        '1\nLattice="2.5 0 0 0 2.5 0 0 0 2.5" Properties=species:S:1:pos:R:3:Z:I:1\nFe 0.1 0.2 0.3 26\n'
    ),
)
SALT = Structure([[0, 2.6, 2.6], [2.6, 0, 2.6], [2.6, 2.6, 0]], ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MIXED = Structure(
    np.eye(3) * 3.9, [{"Li": 0.5, "Na": 0.25}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]], labels=["M1", "O1"]
)
DOCUMENTS = tuple(json.dumps(crystal.as_dict(), indent=1) for crystal in (SALT, MIXED))
STORED = (
    json.dumps(
        {
            "lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
            "species": ["Cs", "Cl"],
            "positions": [[0, 0, 0], [0.5, 0.5, 0.5]],
        }
    ),
    json.dumps(
        {
            "lattice": [[3.1, 0.5, 0], [0, 3.2, 0], [0, 0, 3.3]],
            "species": ["Fe2+"],
            "positions": [[0.1, 0.2, 0.3]],
        }
    ),
)
SEEDS: Mapping[str, Sequence[str]] = {"POSCAR": POSCARS, "a.xyz": XYZS, "a.json": DOCUMENTS, "stored": STORED}


def check_text(name: str, text: str) -> bool:
    """True if the text is read; its crystal must then be what another library reads of it, where that reads it.

    Raises:
        AssertionError: a refusal without a name or of several lines, a crystal that breaks a promise, or another crystal.
    """
    try:
        if name == "stored":
            _check_numbers(structure_from_json(text))
            return True
        found = read_structures(text, name)
    except StructureFileError as error:
        message = str(error)
    else:
        return _check_readings(name, text, found)
    assert message.startswith("the stored structure" if name == "stored" else name), message
    assert "\n" not in message
    return False


def _check_readings(name: str, text: str, found: Sequence[Reading]) -> bool:
    for reading in found:
        _check_crystal(reading)
    others = _read_elsewhere(name, text)
    if others is not None:
        assert len(others) == len(found), text
        for reading, other in zip(found, others, strict=True):
            left_out = [k for k, site in enumerate(other) if not site.species.num_atoms]
            assert not left_out or "occupancy 0" in " ".join(reading.remarks), text
            other.remove_sites(left_out)
            assert _agree(reading.structure, other), (text, reading.structure, other)
    return True


def _check_numbers(structure: Structure) -> None:
    assert np.isfinite(structure.frac_coords).all()
    assert np.isfinite(structure.lattice.matrix).all()


def _check_crystal(reading: Reading) -> None:
    structure = reading.structure
    _check_numbers(structure)
    low, high = LIMITS.volume_per_atom
    assert low <= structure.volume / structure.composition.num_atoms <= high
    assert np.abs(structure.frac_coords).max() <= LIMITS.coordinate
    assert all(isinstance(species, Element) for species in structure.composition)


def _by_pymatgen(text: str) -> list[Structure]:
    return [Poscar.from_str(text).structure]


def _by_ase(text: str) -> list[Structure]:
    frames = read(io.StringIO(text), index=":", format="extxyz")
    # Names in capitals are no columns to ASE, which then takes atoms of no element, or all at the origin.
    if any(0 in frame.numbers or (len(frame) > 1 and not frame.positions.any()) for frame in frames):
        raise ValueError("ASE found no column of elements or positions")
    return [
        Structure(frame.cell.array, frame.get_chemical_symbols(), frame.positions, coords_are_cartesian=True)
        for frame in frames
    ]


def _by_dictionary(text: str) -> list[Structure]:
    return [Structure.from_dict(json.loads(text)).remove_oxidation_states()]


LIBRARIES: Mapping[str, Callable[[str], list[Structure]]] = {
    "POSCAR": _by_pymatgen,
    "a.xyz": _by_ase,
    "a.json": _by_dictionary,
}


def _read_elsewhere(name: str, text: str) -> list[Structure] | None:
    """The structures as another library reads them; None where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LIBRARIES[name](text)
    except Exception:  # noqa: BLE001 - what another library does with a broken file is its own affair
        return None


def _agree(mine: Structure, other: Structure) -> bool:
    """True if elements, cell and distances from the first site are the same."""
    if len(mine) != len(other) or abs(mine.volume - other.volume) > 1e-3 * other.volume:
        return False
    shares = [
        all(abs(a.species[element] - b.species[element]) < 2e-3 for element in {*a.species, *b.species})
        for a, b in zip(mine, other, strict=True)
    ]
    distances = np.abs(mine.distance_matrix[0] - other.distance_matrix[0])
    return all(shares) and bool(distances.max() < 0.1)
