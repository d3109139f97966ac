"""Quantum ESPRESSO: inputs of pw.x written by ASE, outputs read by ASE and checked."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from invdesign.candidate import Evaluation, Input
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from surrogates.external.dft import (
    NOTE_FILE,
    DensityFunctional,
    Outcome,
    OutputError,
    band_gap,
    check_parameters,
    check_start,
    failed_evaluation,
    provided_units,
)
from surrogates.external.folders import STDOUT
from surrogates.external.jobs import Plan

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

Positive = Annotated[float, Field(gt=0)]
Value = bool | int | float | str
INPUT_FILE, OUTPUT_FILE = "espresso.pwi", "espresso.pwo"
NAMELISTS = ("control", "system", "electrons", "ions", "cell")
RESERVED_KEYS = {  # keys set by settings (by name), or needed to read the output (empty)
    "calculation": "calculation",
    "pseudo_dir": "pseudo_dir",
    "ecutwfc": "ecutwfc",
    "ecutrho": "ecutrho",
    "verbosity": "",
    "tprnfor": "",
    "tstress": "",
    "ibrav": "",
    "nat": "",
    "ntyp": "",
}
FERMI_TOLERANCE = 1e-3  # eV; chosen: energies are printed to four decimals
ERROR_PATTERN = re.compile(r"%{20,}\s*Error in routine\s+(.*?)\s*:?\s*\n(.*?)%{20,}", re.DOTALL)
POTENTIAL_PATTERN = re.compile(r"PseudoPot\. #\s*\d+ for\s+(\S+)\s+read from file:\s+(\S+)")
CUTOFF_PATTERNS = (r"kinetic-energy cutoff\s*=\s*([0-9.]+)", r"charge density cutoff\s*=\s*([0-9.]+)")
RELAXED_PATTERN = re.compile(r"bfgs converged in|convergence achieved", re.IGNORECASE)


class Espresso(DensityFunctional):
    """pw.x of Quantum ESPRESSO, for relaxations and single points."""

    pseudopotentials: Annotated[dict[str, str], Field(min_length=1)]
    """File by element: `{Li: Li.pbesol-s-kjpaw_psl.0.2.1.UPF}`."""
    pseudo_dir: str | None = None
    """Folder of these files on the machine that runs pw.x; where it looks by itself if not given."""
    calculation: Literal["vc-relax", "relax", "scf"] = "vc-relax"
    """`vc-relax` moves atoms and cell, `relax` atoms, `scf` nothing."""
    ecutwfc: Positive
    """Cutoff of wave functions, Ry: the largest that your pseudopotentials ask for."""
    ecutrho: Positive | None = None
    """Cutoff of the density, Ry; eight times `ecutwfc` if not given."""
    kspacing: Positive = 0.15
    """Largest distance of k points, 1/Å, with the factor 2π as in VASP's KSPACING."""
    input_data: dict[str, dict[str, Value]] = Field(default_factory=dict)
    """More of pw.x's input, by namelist: `{system: {nspin: 2}}`."""

    @field_validator("input_data")
    @classmethod
    def _check_namelists(cls, data: dict[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
        for name, keys in data.items():
            if name not in NAMELISTS:
                raise ValueError(f"'{name}' is not a namelist of pw.x; known are {', '.join(NAMELISTS)}")
            for key in keys:
                if key.lower() in RESERVED_KEYS:
                    own = RESERVED_KEYS[key.lower()]
                    raise ValueError(
                        f"{key} cannot be given here: "
                        + (f"it is the setting '{own}'" if own else "reading the output relies on it")
                    )
        return data

    @property
    def provides(self) -> Mapping[str, Unit]:
        return provided_units(relaxed=self.calculation != "scf")

    @property
    def _density_cutoff(self) -> float:
        return self.ecutrho or 8 * self.ecutwfc

    def prepare(self) -> None:
        """Refuse a missing program and missing pseudopotentials before the first candidate.

        Raises:
            PluginError: there is no such program.
            InvdesignError: a pseudopotential file is missing.
        """
        super().prepare()
        if self.command is None or self.pseudo_dir is None:
            return
        folder = Path(self.pseudo_dir).expanduser()
        missing = [name for name in self.pseudopotentials.values() if not (folder / name).is_file()]
        if folder.is_absolute() and missing:
            raise InvdesignError(
                f"there is no pseudopotential '{missing[0]}' in {folder}: check pseudo_dir and pseudopotentials"
            )

    def _plan_job(self, item: Input, command: Sequence[str]) -> Plan:
        return super()._plan_job(item, [*command, "-in", INPUT_FILE])

    # Writing.

    def write_inputs(self, item: Input, folder: Path) -> None:
        """Write the input of pw.x for `item` into `folder`.

        A note on how to run it lies beside.

        Raises:
            InvdesignError: an element has no pseudopotential.
        """
        from ase.io.espresso import write_espresso_in

        from surrogates.relaxation.relax import to_atoms

        structure = self.structure_of(item)
        lacking = sorted({site.specie.symbol for site in structure} - self.pseudopotentials.keys())
        if lacking:
            raise InvdesignError(
                f"the setting 'pseudopotentials' has no file for {', '.join(lacking)}: name one for every element"
            )
        text = io.StringIO()
        write_espresso_in(
            text,
            to_atoms(structure),
            input_data=self._fill_namelists(len(structure)),
            pseudopotentials=dict(self.pseudopotentials),
            kspacing=self.kspacing / (2 * math.pi),
        )
        (folder / INPUT_FILE).write_text(text.getvalue(), encoding="utf-8")
        (folder / NOTE_FILE).write_text(
            f"Candidate {item.id}. Input of pw.x (Quantum ESPRESSO).\n\n"
            f"Run it in this folder: pw.x -in {INPUT_FILE} > {OUTPUT_FILE}\n"
            f"The pseudopotentials {', '.join(self.pseudopotentials.values())} must lie in "
            f"{self.pseudo_dir or 'the folder that ESPRESSO_PSEUDO names'}. Scratch files may go elsewhere (outdir);\n"
            "cutoffs and pseudopotentials are checked against what is written here.\n"
            "Then, with the folder of the run: invdesign collect DIR\n",
            encoding="utf-8",
        )

    def _fill_namelists(self, n: int) -> dict[str, dict[str, Value]]:
        """Namelists for `n` atoms.

        Thresholds and smearing are those of the moderate protocol of aiida-quantumespresso.
        """
        data: dict[str, dict[str, Value]] = {
            "control": {
                "calculation": self.calculation,
                "verbosity": "high",
                "tprnfor": True,
                "tstress": True,
                "outdir": "./scratch",
                "disk_io": "nowf",  # wave functions fill disks, and nothing here reads them
                "prefix": "pw",
                "etot_conv_thr": 1e-5 * n,
                "forc_conv_thr": 1e-4,
                **({"pseudo_dir": str(Path(self.pseudo_dir).expanduser())} if self.pseudo_dir else {}),
            },
            "system": {
                "ecutwfc": self.ecutwfc,
                "ecutrho": self._density_cutoff,
                "occupations": "smearing",
                "smearing": "cold",
                "degauss": 0.02,
            },
            "electrons": {"conv_thr": 2e-10 * n, "mixing_beta": 0.4},
        }
        for name, keys in self.input_data.items():
            data.setdefault(name, {}).update({key.lower(): value for key, value in keys.items()})
        return data

    # Reading.

    def read_outputs(self, item: Input, folder: Path) -> Evaluation | None:
        """Read the results of pw.x for `item` from `folder`.

        Returns None while missing or incomplete.
        """
        file = next((folder / name for name in (OUTPUT_FILE, STDOUT) if (folder / name).is_file()), None)
        if file is None:
            return None
        text = file.read_text(encoding="utf-8", errors="replace")
        stopped = ERROR_PATTERN.search(text)
        if stopped:
            return failed_evaluation(f"pw.x stopped in {stopped[1]}: {' '.join(stopped[2].split())}")
        if "JOB DONE" not in text:
            return None
        try:
            outcome = self._parse_outcome(self.structure_of(item), text)
        except OutputError as error:
            return failed_evaluation(str(error))
        except Exception as error:  # noqa: BLE001 - ASE raises any error on a broken file
            return failed_evaluation(f"{file.name} cannot be read: {type(error).__name__}: {error}")
        return outcome.to_evaluation(relaxed=self.calculation != "scf")

    def _parse_outcome(self, structure: Structure, text: str) -> Outcome:
        """Parse the output and check it against the inputs.

        Raises:
            OutputError: the output is not usable.
        """
        from ase.io.espresso import parse_pwo_start, read_espresso_out
        from ase.units import GPa

        start = _to_crystal(parse_pwo_start(text.splitlines())["atoms"])
        check_start(structure, start, relaxes=self.calculation != "scf")
        self._check_parameters(structure, text)
        self._check_converged(text)
        # The last with results: vc-relax takes the final structure's anew, with plane waves of its own cell.
        (last,) = read_espresso_out(io.StringIO(text), index=slice(-1, None))
        return Outcome(
            structure=_to_crystal(last),
            energy=float(last.get_potential_energy()),
            forces=last.get_forces(),
            stress=last.get_stress(voigt=False) / GPa,
            gap=_read_band_gap(last),
        )

    def _check_parameters(self, structure: Structure, text: str) -> None:
        elements = {site.specie.symbol for site in structure}
        asked = {f"the pseudopotential of {el}": self.pseudopotentials.get(el) for el in sorted(elements)}
        used = {
            f"the pseudopotential of {el.rstrip('0123456789')}": Path(name).name
            for el, name in POTENTIAL_PATTERN.findall(text)
        }
        cutoffs = [re.findall(pattern, text) for pattern in CUTOFF_PATTERNS]
        ran = {
            name: float(found[-1])
            for name, found in zip(("ecutwfc", "ecutrho"), cutoffs, strict=True)
            if found
        }
        check_parameters(
            {**asked, "ecutwfc": self.ecutwfc, "ecutrho": self._density_cutoff},
            {**used, **ran},
        )

    def _check_converged(self, text: str) -> None:
        if text.rfind("convergence NOT achieved") > text.rfind("convergence has been achieved"):
            raise OutputError("the electronic steps did not converge: try a smaller mixing_beta")
        if "Maximum CPU time exceeded" in text:
            raise OutputError("pw.x stopped at max_seconds before it was done")
        if self.calculation == "scf":
            return
        if "The maximum number of steps has been reached" in text or not RELAXED_PATTERN.search(text):
            raise OutputError(
                "the relaxation did not converge: go on from its last structure (nstep says how many steps it may take)"
            )


def _to_crystal(atoms: Atoms) -> Structure:
    from invdesign.structures.reading.raw import StructureFileError
    from invdesign.structures.reading.read import make_crystal

    try:
        return make_crystal(atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, "the output")
    except StructureFileError as error:
        raise OutputError(str(error)) from error


def _read_band_gap(atoms: Atoms) -> float:
    calculator: Any = atoms.calc
    points = calculator.kpts
    if not points or calculator.eFermi is None:
        raise OutputError("the output holds no eigenvalues or no Fermi energy")
    spins = sorted({point.s for point in points})
    energies = [np.array([point.eps_n for point in points if point.s == spin]) for spin in spins]
    return band_gap(energies, [channel <= calculator.eFermi + FERMI_TOLERANCE for channel in energies])
