"""Relaxations of benchmarks, each done once and kept in a file of JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invdesign.candidate import Genome
from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates.relaxation.relax import relax_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

FMAX, SMAX, STEPS = 0.1, 0.5, 300  # eV/Å; GPa; moves

Describe = Callable[["Structure"], Mapping[str, Any]]


class RelaxedCells:
    """Relaxed cells by key, one JSON line each.

    Args:
        path: the file that lines are added to.
        idle: True to relax nothing that is not in the file.
    """

    def __init__(self, path: Path, *, idle: bool = False) -> None:
        self._path = path
        self._idle = idle
        self._found: dict[str, dict[str, Any]] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                self._found[record["key"]] = record

    def relax(
        self,
        key: str,
        space: Any,
        genome: Genome,
        *,
        cell: Literal[False, "normal"],
        describe: Describe = lambda _: {},
    ) -> dict[str, Any]:
        """Relax the cell of a genome with CHGNet, unless the file holds it.

        Args:
            key: names what is relaxed, under all settings that matter.
            space: of the genome.
            genome: of the space.
            cell: False for a fixed cell, `normal` for one that may change along its normal.
            describe: further values of the relaxed cell.

        Returns:
            `energy` in eV, None where the relaxation failed; `calls`, `seconds`, `converged`, and those of `describe`.

        Raises:
            LookupError: nothing is to be relaxed, and the file does not hold it.
        """
        if key not in self._found:
            if self._idle:
                raise LookupError(key)
            record = {"key": key, "genome": dict(genome), **_relax_cell(space, genome, cell, describe)}
            self._found[key] = record
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            print(f"{key}: {record['energy']} eV", flush=True)
        return self._found[key]


@cache
def _load_potential() -> Any:
    return load("potentials", "chgnet")


def _relax_cell(
    space: Any, genome: Genome, cell: Literal[False, "normal"], describe: Describe
) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        structure = space.build(genome).structures["initial"]
        found = relax_structure(structure, _load_potential(), fmax=FMAX, smax=SMAX, steps=STEPS, cell=cell)
    except InvdesignError as error:
        return {"energy": None, "why": str(error)}
    return {
        "energy": round(found.energy, 6),
        "calls": found.calls,
        "seconds": round(time.perf_counter() - start, 2),
        "converged": found.converged,
        **describe(found.structure),
    }
