"""Exports: all candidates as a table, or structures with their properties, best first."""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.candidate import Status
from invdesign.errors import InvdesignError, nearest
from invdesign.properties import describe_property, sentence_beside, words_beside
from invdesign.report.files import OutputError, replace_file, replace_folder
from invdesign.run.run import Run
from invdesign.structures.files import structure_to_cif
from invdesign.structures.site_labels import COLUMN_PREFIX, read_labels
from invdesign.tables.guard import guard_cell
from invdesign.wording import join_words

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

INDEX_FILE = "index.csv"  # lists the files of a CIF export; a folder with it may be replaced
INDEX_HEAD = ("rank", "candidate", "formula", "file")
OWN_KEYS = frozenset({"candidate", "rank", "noise", "systematic"})
EXTXYZ_KEYS = frozenset({"lattice", "properties", "virial", "polarization", "dielectric_tensor"})
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ExportError(InvdesignError):
    """The run has nothing to export in this format, or the format is unknown."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """A complete candidate with its rank and structure."""

    rank: int
    id: int
    formula: str
    structure: Structure
    properties: Mapping[str, float]
    noise: Mapping[str, float]
    systematic: Mapping[str, float]
    details: Mapping[str, str]


def export_run(run: Run, format: str, output: Path, top: int | None = None) -> int:
    """Write candidates to a file or folder; return their number.

    Args:
        run: to export.
        format: `csv` (every candidate, in the order of their numbers; with `top` the best, in order), `cif` (a
            folder of files and an index), `extxyz` or `ase-db` (complete candidates, best first).
        output: replaced at once where it exists; a folder only if an earlier export made it.
        top: only the n best complete candidates.

    Raises:
        ExportError: there is no such format, or the run has no structures to write.
        OutputError: the output cannot be written.
        StoreError: the run's store cannot be read.
    """
    writers: dict[str, Callable[[Run, Path, int | None], int]] = {
        "csv": _write_csv,
        "cif": _write_cifs,
        "extxyz": _write_extxyz,
        "ase-db": _write_ase_db,
    }
    if format not in writers:
        known = ", ".join(writers)
        raise ExportError(f"there is no export format '{format}'. {nearest(format, writers)} Known: {known}.")
    if top is not None and top < 1:
        raise ExportError(f"top must be at least 1, got {top}")
    return writers[format](run, Path(output), top)


def _write_csv(run: Run, output: Path, top: int | None) -> int:
    table = run.table()
    if top is not None:
        table = table.iloc[_rank_complete(run, top)]
    with replace_file(output) as temporary:
        # Names may come from foreign tables; a spreadsheet must not read one as a formula.
        text = {
            name: table[name].map(guard_cell) for name in table.select_dtypes(include=["object", "string"])
        }
        table.assign(**text).rename(columns=guard_cell).to_csv(temporary, index=False)
    return len(table)


def _rank_complete(run: Run, top: int | None) -> list[int]:
    """Numbers of the complete candidates, best first."""
    status = run.history.status_by_trial()
    return [id for id in run.ranking() if status[id] == Status.COMPLETE][:top]


def iterate_ranked(run: Run, top: int | None = None) -> Iterator[Ranked]:
    """Iterate over complete candidates with a structure, best first.

    Args:
        run: to export.
        top: only the n best complete candidates.

    Raises:
        ExportError: no candidate is complete, or none has a structure.
    """
    ids = _rank_complete(run, top)
    if not ids:
        raise ExportError("no candidate of this run is complete yet, so there is no structure to export")
    found = False
    for rank, id in enumerate(ids, 1):
        structure = run.structure(id)
        if structure is None:
            continue
        found = True
        trial = run.trial(id)
        said = trial.properties, trial.noise, trial.systematic, trial.details
        yield Ranked(rank, id, run.store.display_formula(id), structure, *said)
    if not found:
        raise ExportError(
            "the candidates of this run have no structures, only parameters. Export them as a table: --format csv"
        )


# CIF.


def _write_cifs(run: Run, output: Path, top: int | None) -> int:
    _check_replaceable(output)
    units = run.campaign.units()
    rows = []
    with replace_folder(output) as folder:
        for item in iterate_ranked(run, top):
            name = f"{item.id:04d}_{_file_name_part(item.formula)}.cif"
            (folder / name).write_text(cif_text(item, units), encoding="utf-8")
            rows.append((item.rank, item.id, item.formula, name))
        with (folder / INDEX_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([INDEX_HEAD, *(tuple(map(guard_cell, row)) for row in rows)])
    return len(rows)


def _check_replaceable(output: Path) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    if not output.exists():
        return
    if not output.is_dir():
        raise OutputError(f"{output} is a file; name a folder for the CIF files")
    present = {path.name for path in output.iterdir()}
    strangers = sorted(present - _read_index(output / INDEX_FILE))
    if strangers:
        shown = ", ".join(strangers[:3]) + (" and more" if len(strangers) > 3 else "")
        raise OutputError(f"{output} holds files that no export made ({shown}); choose another folder")


def _read_index(index: Path) -> set[str]:
    """Names of files in an export's index, with its own; empty if it is none."""
    try:
        with index.open(newline="", encoding="utf-8") as file:
            head, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()
    if tuple(head) != INDEX_HEAD:
        return set()
    return {index.name, *(row[3] for row in rows if len(row) == len(INDEX_HEAD))}


def _file_name_part(formula: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", formula).strip("-") or "structure"


def cif_text(item: Ranked, units: Mapping[str, str]) -> str:
    """Write a CIF without symmetry, with properties as comments above.

    Positions are as computed.

    Args:
        item: the candidate.
        units: by property.
    """
    lines = [f"candidate {item.id}, rank {item.rank}, {item.formula}"]
    for name, value in item.properties.items():
        unit = units.get(name) or describe_property(name).unit
        words = words_beside(name, item.properties.get)
        lines.append(join_words(f"{name} = {value!r}", unit, words))
        for what, said in (("noise", item.noise), ("systematic", item.systematic)):
            if name in said:
                lines.append(f"{name}_{what} = {said[name]:.6g} {unit}".rstrip())
        if name in item.details:
            lines.append(f"{name}_detail = {item.details[name]}")
    lines += [f"note: {text}" for text in _list_caveats(item.properties)]
    head = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return head + structure_to_cif(item.structure)


def _list_caveats(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in (describe_property(name).remark for name in names) if text))


# ASE.


def to_atoms(item: Ranked) -> Atoms:
    """Convert the structure of `item` to ASE, keeping the order of its atoms.

    Labels of sites (`site_labels`) become arrays.

    Raises:
        OutputError: sites are partly occupied.
    """
    from ase import Atoms

    if not item.structure.is_ordered:
        raise OutputError(
            f"candidate {item.id} ({item.formula}) has partly occupied sites, which this format does not hold; export cif"
        )
    atoms = Atoms(
        symbols=[site.specie.symbol for site in item.structure],
        scaled_positions=item.structure.frac_coords,
        cell=item.structure.lattice.matrix,
        pbc=True,
    )
    for name, values in read_labels(item.structure).items():
        # A column of extended XYZ cannot be empty: X is ASE's symbol of no element.
        atoms.set_array(COLUMN_PREFIX + name, np.array([value if value != "" else "X" for value in values]))
    return atoms


def _write_extxyz(run: Run, output: Path, top: int | None) -> int:
    from ase.io.extxyz import write_extxyz

    keys = ase_keys(run.history.property_names())
    count = 0
    with replace_file(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in iterate_ranked(run, top):
            atoms = to_atoms(item)
            atoms.info.update({**_ase_numbers(item, keys), **_ase_texts(item, keys)})
            write_extxyz(file, [atoms])
            count += 1
    return count


def _write_ase_db(run: Run, output: Path, top: int | None) -> int:
    from ase.db import connect

    keys = ase_keys(run.history.property_names())
    count = 0
    try:
        with replace_file(output) as temporary:
            database = connect(temporary, type="db", append=False, use_lock_file=False)
            with database:  # one transaction, since single rows take 25 ms each
                for item in iterate_ranked(run, top):
                    data = {
                        "formula": item.formula,
                        "genome": dict(run.trial(item.id).genome),
                        **_ase_texts(item, keys),
                    }
                    labels = read_labels(item.structure)
                    if labels:
                        data["site_labels"] = labels
                    database.write(to_atoms(item), key_value_pairs=_ase_numbers(item, keys), data=data)
                    count += 1
    except sqlite3.Error as error:
        raise OutputError(f"{output} cannot be written: {error}") from error
    return count


def _ase_numbers(item: Ranked, keys: Mapping[str, str]) -> dict[str, float | int]:
    values: dict[str, float | int] = {"candidate": item.id, "rank": item.rank}
    values |= {keys[name]: value for name, value in item.properties.items()}
    sigmas = {
        f"{keys[name]}_{what}": value
        for what, said in (("noise", item.noise), ("systematic", item.systematic))
        for name, value in said.items()
        if name in keys
    }
    return values | {key: float(value) for key, value in sigmas.items() if np.isfinite(value)}


def _ase_texts(item: Ranked, keys: Mapping[str, str]) -> dict[str, str]:
    """Details and marks of a candidate's properties, by key."""
    said = {
        f"{keys[name]}_detail": sentence_beside(name, item.properties.get, item.details.get(name, ""))
        for name in item.properties
    }
    return {key: text for key, text in said.items() if text}


def ase_keys(names: Sequence[str]) -> dict[str, str]:
    """Keys by property for `names`, in a form that ASE's formats allow.

    Characters other than letters, digits and underscores become underscores; a name with another meaning in ASE
    (`energy`, `V`, `id`) is prefixed by `property_`.
    """
    from ase.db.core import reserved_keys

    taken: set[str] = set()
    keys = {}
    for name in names:
        key = re.sub(r"[^A-Za-z0-9_]", "_", name)
        forbidden = reserved_keys | OWN_KEYS
        if (
            not _IDENTIFIER.fullmatch(key)
            or key in forbidden
            or key.lower() in EXTXYZ_KEYS
            or _is_formula(key)
        ):
            key = f"property_{key}"
        while key in taken:
            key += "_"
        taken.add(key)
        keys[name] = key
    return keys


def _is_formula(key: str) -> bool:
    from ase.formula import Formula

    try:
        Formula(key, strict=True)
    except ValueError:
        return False
    return True
