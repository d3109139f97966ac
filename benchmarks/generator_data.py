"""Crystals that generators learn from and are tested on: one split for every figure, and their occupied sites, cached.

`python benchmarks/generator_data.py` reads the sites of all crystals once (minutes) and keeps them in a cache folder
(`--cache`, by default `~/.cache/invdesign`), in a file named after the data's hash.

The part to test on is of the first file only: its crystals in the order of the hash of their reduced formula, the first
`LEARN_CRYSTALS` to learn from, and no formula on both sides. Of the second file nothing is learnt whose formula is tested.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import Infeasible, InvdesignError
from invdesign.structures.combinations import Combination
from invdesign.structures.sited import SitedCrystal
from invdesign.structures.sites import find_sites

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.arrays import FloatArray

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("INVDESIGN_BENCHMARK_DATA", ROOT.parent / "shared" / "data")) / "crystals"
FILES = ("mp20_binary_ternary", "mpts52")
CACHE = Path.home() / ".cache" / "invdesign"
MINUTES = 17.5  # CPU time of the network's training
LEARN_CRYSTALS = 6_000  # of the first file; the rest is the part to test on


@dataclass(frozen=True)
class Record:
    """One crystal of the shared data.

    Attributes:
        material_id: of the Materials Project.
        source: name of the file.
        formula: reduced formula.
        cif: text, with all atoms of the cell in space group 1.
        e_above_hull: eV/atom.
        formation_energy_per_atom: eV/atom.
        band_gap: eV; NaN where the file has none.
    """

    material_id: str
    source: str
    formula: str
    cif: str
    e_above_hull: float
    formation_energy_per_atom: float
    band_gap: float

    @cached_property
    def atoms(self) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
        """(cell (3, 3) with vectors as rows, Å; fractional positions (n, 3); n symbols)."""
        from pymatgen.core import Lattice

        lines = [line.split() for line in self.cif.splitlines()]
        values = {words[0]: words[1] for words in lines if len(words) == 2}
        names = [f"_cell_length_{axis}" for axis in "abc"]
        names += [f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")]
        cell = Lattice.from_parameters(*(float(values[name]) for name in names)).matrix
        sites = [words for words in lines if len(words) == 7 and not words[0].startswith("_")]
        positions = np.array([[float(word) for word in words[3:6]] for words in sites])
        return np.array(cell), positions, tuple(words[0].rstrip("+-0123456789") for words in sites)

    @property
    def structure(self) -> Structure:
        """Structure as pymatgen has it."""
        from pymatgen.core import Structure

        cell, positions, symbols = self.atoms
        return Structure(cell, symbols, positions)


@dataclass(frozen=True, eq=False)
class Row:
    """A crystal as occupied Wyckoff positions.

    Attributes:
        elements: symbols, sorted; the species of `sited` are their places.
        sited: space group, occupied positions, cell, free coordinates.
    """

    elements: tuple[str, ...]
    sited: SitedCrystal


@cache
def find_folder() -> Path:
    """Folder of the shared crystals.

    Raises:
        InvdesignError: it is not on this machine.
    """
    if DATA.is_dir():
        return DATA
    raise InvdesignError(
        f"the shared crystals are not in {DATA}; name the folder of the shared data in the variable "
        "INVDESIGN_BENCHMARK_DATA"
    )


@cache
def hash_data() -> Mapping[str, str]:
    """SHA-256 of each file of the data."""
    folder = find_folder()
    return {name: hashlib.sha256((folder / f"{name}.csv.gz").read_bytes()).hexdigest() for name in FILES}


@cache
def load_crystals() -> tuple[Record, ...]:
    """Load all shared crystals, those of the first file first."""
    return tuple(record for name in FILES for record in _read_file(name))


def _read_file(name: str) -> Iterable[Record]:
    """Read the crystals of one file."""
    text = gzip.decompress((find_folder() / f"{name}.csv.gz").read_bytes()).decode()
    for row in csv.DictReader(io.StringIO(text)):
        cif = row["cif"]
        formula = next(line for line in cif.splitlines() if line.startswith("_chemical_formula_structural"))
        yield Record(
            material_id=row["material_id"],
            source=name,
            formula=formula.split()[1].strip("'"),
            cif=cif,
            e_above_hull=float(row["e_above_hull"]),
            formation_energy_per_atom=float(row["formation_energy_per_atom"]),
            band_gap=float(row.get("band_gap") or math.nan),
        )


def hash_formula(formula: str) -> str:
    """Hash by which formulas are ordered, the same on every machine."""
    return hashlib.blake2b(formula.encode(), digest_size=8).hexdigest()


@cache
def split(learn: int = LEARN_CRYSTALS) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Split the crystals by formula.

    Args:
        learn: number of crystals of the first file to learn from; a formula is never divided.

    Returns:
        (crystals to learn from, of both files; crystals to test on, of the first file).
    """
    records = load_crystals()
    first = sorted(
        (record for record in records if record.source == FILES[0]),
        key=lambda record: (hash_formula(record.formula), record.formula, record.material_id),
    )
    border = hash_formula(first[learn].formula)
    tested = {record.formula for record in first if hash_formula(record.formula) >= border}
    return (
        tuple(record for record in records if record.formula not in tested),
        tuple(record for record in first if record.formula in tested),
    )


def read_rows(records: Sequence[Record], cache_folder: Path = CACHE) -> list[Row | None]:
    """Occupied positions of crystals, in their order; None where no symmetry is found.

    Args:
        records: of the shared data.
        cache_folder: where the positions of all shared crystals lie; they are read and kept where they are missing.
    """
    found = _load_rows(cache_folder)
    return [found[record.source, record.material_id] for record in records]


@cache
def _load_rows(cache_folder: Path) -> Mapping[tuple[str, str], Row | None]:
    """Load the cached positions of all crystals, and make the cache where there is none."""
    key = hashlib.blake2b("".join(hash_data().values()).encode(), digest_size=6).hexdigest()
    path = cache_folder / f"generator_rows_{key}.npz"
    records = load_crystals()
    if not path.exists():
        cache_folder.mkdir(parents=True, exist_ok=True)
        _write_rows(path, [_read_row(record) for record in records])
    rows = _unpack_rows(path)
    return {(record.source, record.material_id): row for record, row in zip(records, rows, strict=True)}


def _read_row(record: Record) -> Row | None:
    """Find the occupied positions of one crystal."""
    cell, positions, symbols = record.atoms
    elements = tuple(sorted(set(symbols)))
    try:
        sited = find_sites(cell, positions, [elements.index(symbol) for symbol in symbols])
    except Infeasible:
        return None
    return Row(elements, sited)


def _write_rows(path: Path, rows: Sequence[Row | None]) -> None:
    """Write occupied positions as flat arrays of text and numbers; replaced as a whole."""
    texts = [row.sited.combination.write(row.elements) if row else "" for row in rows]
    sited = [row.sited for row in rows if row]
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        sites=np.frombuffer("\n".join(texts).encode(), dtype=np.uint8),
        cells=np.array([number for one in sited for number in one.cell]),
        coordinates=np.concatenate([one.coordinates for one in sited]),
    )
    partial.replace(path)


def _unpack_rows(path: Path) -> list[Row | None]:
    """Read what `_write_rows` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        texts = arrays["sites"].tobytes().decode().split("\n")
        cells, coordinates = arrays["cells"], arrays["coordinates"]
    rows: list[Row | None] = []
    at_cell = at_coordinate = 0
    for text in texts:
        row = _parse_row(text)
        if row is None:
            rows.append(None)
            continue
        elements, combination = row
        system = combination.space_group.system
        size = system.free_lengths + system.free_angles
        cell = tuple(float(number) for number in cells[at_cell : at_cell + size])
        own = coordinates[at_coordinate : at_coordinate + combination.free]
        rows.append(Row(elements, SitedCrystal(combination, cell, own)))
        at_cell, at_coordinate = at_cell + size, at_coordinate + combination.free
    return rows


def _parse_row(text: str) -> tuple[tuple[str, ...], Combination] | None:
    """Parse `221: O c, Sr a, Ti b`; None where it is empty."""
    if not text:
        return None
    number, sites = text.split(": ")
    entries = [entry.split() for entry in sites.split(", ")]
    elements = tuple(name for name, _ in entries)
    own = tuple((species, letter) for species, (_, letters) in enumerate(entries) for letter in letters)
    return elements, Combination(int(number), own)


def main() -> None:
    """Read all crystals into the cache and print the sizes of the split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE)
    given = parser.parse_args()
    learn, test = split()
    rows = read_rows([*learn, *test], given.cache)
    for name in FILES:
        print(f"{name}: {sum(record.source == name for record in learn)} crystals to learn from")
    print(f"{len(test)} to test on; {rows.count(None)} without sites")


if __name__ == "__main__":
    main()
