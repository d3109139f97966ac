"""VASP: inputs compatible with the Materials Project, outputs read and checked."""

from __future__ import annotations

import gzip
import lzma
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from invdesign.candidate import Evaluation, Input
from invdesign.errors import PluginError
from invdesign.properties import Unit
from surrogates.external.dft import (
    CORRECTED_ENERGY,
    HALF_OCCUPATION,
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
from surrogates.external.jobs import Plan

if TYPE_CHECKING:
    from typing import Self

    from pymatgen.core import Structure
    from pymatgen.io.vasp.outputs import Vasprun
    from pymatgen.io.vasp.sets import VaspInputSet

InputSet = Literal[
    "MPRelaxSet",
    "MPStaticSet",
    "MPMetalRelaxSet",
    "MPScanRelaxSet",
    "MPScanStaticSet",
    "MP24RelaxSet",
    "MP24StaticSet",
    "MatPESRelaxSet",
    "MatPESStaticSet",
    "MPHSERelaxSet",
]
Library = Literal["PBE", "PBE_52", "PBE_54", "PBE_64"]
OUTPUT_FILES = ("vasprun.xml", "vasprun.xml.gz", "vasprun.xml.bz2", "vasprun.xml.xz")
CORRECTABLE_SETS = frozenset({"MPRelaxSet", "MPStaticSet"})  # sets the 2020 corrections were fitted to
GPA_PER_KBAR = 0.1  # GPa
# Tags that decide the numbers, with VASP's defaults (PBE potentials, no U, no dispersion).
DECIDING_TAGS: Mapping[str, object] = {
    "GGA": "PE",
    "METAGGA": "--",
    "LHFCALC": False,
    "AEXX": 0.25,
    "HFSCREEN": 0.0,
    "IVDW": 0,
    "LUSE_VDW": False,
    "LSORBIT": False,
    "ENCUT": None,
    "ISPIN": 1,
    "PSTRESS": 0.0,
    "LDAU": False,
    "LDAUU": (),
    "LDAUJ": (),
}
FUNCTIONAL_TAGS = frozenset({"GGA", "METAGGA", "LHFCALC", "LDAU", "LDAUU", "LDAUJ", "LDAUL", "IVDW", "ENCUT"})
# lxml's error over XML that ends too early is a SyntaxError.
HALF_WRITTEN_ERRORS = (SyntaxError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


class Vasp(DensityFunctional):
    """VASP with an input set of the Materials Project.

    The set decides between a relaxation and a single point.
    """

    input_set: InputSet = "MPRelaxSet"
    """Name of one of pymatgen's input sets."""
    user_incar: dict[str, bool | int | float | str | list[Any] | dict[str, Any]] = Field(default_factory=dict)
    """INCAR tags that replace the set's."""
    kpoint_density: Annotated[int, Field(gt=0)] | None = None
    """k points per reciprocal volume, in place of the set's mesh or spacing."""
    potcars: dict[str, str] = Field(default_factory=dict)
    """Pseudopotential by element, in place of the set's: `{Li: Li}`."""
    potcar_functional: Library | None = None
    """Release of the pseudopotentials, if yours is not the set's."""
    corrections: bool = True
    """True to give energies of `MPRelaxSet` and `MPStaticSet` also with the Materials Project's corrections."""

    @field_validator("user_incar")
    @classmethod
    def _check_capitals(cls, tags: dict[str, Any]) -> dict[str, Any]:
        for tag in tags:
            if tag != tag.upper():
                raise ValueError(f"INCAR tags are written in capitals: '{tag.upper()}', not '{tag}'")
        return tags

    @model_validator(mode="after")
    def _check_one_mesh(self) -> Self:
        if self.kpoint_density is not None and "KSPACING" in self.user_incar:
            raise ValueError("give kpoint_density or KSPACING in user_incar, not both")
        return self

    @property
    def relaxes(self) -> bool:
        """True if atoms move."""
        return bool(self.user_incar.get("NSW", 0 if self.input_set.endswith("StaticSet") else 1))

    @property
    def corrected(self) -> bool:
        """True if the 2020 corrections apply to these settings."""
        return (
            self.corrections
            and self.input_set in CORRECTABLE_SETS
            and not FUNCTIONAL_TAGS & self.user_incar.keys()
        )

    @property
    def provides(self) -> Mapping[str, Unit]:
        return provided_units(relaxed=self.relaxes, corrected=self.corrected)

    def prepare(self) -> None:
        """Refuse a missing program and missing pseudopotentials before the first candidate.

        Raises:
            PluginError: one of them is missing.
        """
        super().prepare()
        if self.command is None:
            return
        from pymatgen.core import SETTINGS

        if not SETTINGS.get("PMG_VASP_PSP_DIR"):
            raise PluginError(
                "VASP needs POTCAR files, which are licensed: set PMG_VASP_PSP_DIR to the folder of your library "
                "('pmg config -p YOUR_POTCARS LIBRARY' makes one, 'pmg config --add PMG_VASP_PSP_DIR LIBRARY' names it). "
                "Or leave 'command' out of the stage to have the inputs written"
            )

    def _plan_job(self, item: Input, command: Sequence[str]) -> Plan:
        plan = super()._plan_job(item, command)
        return replace(plan, again=plan.command, copy={"CONTCAR": "POSCAR"}) if self.relaxes else plan

    # Writing.

    def _build_input_set(self, structure: Structure) -> VaspInputSet:
        from pymatgen.io.vasp import sets

        options: dict[str, Any] = {"user_incar_settings": dict(self.user_incar)}
        if self.kpoint_density is not None:
            options["user_kpoints_settings"] = {"reciprocal_density": self.kpoint_density}
        if self.potcars:
            options["user_potcar_settings"] = dict(self.potcars)
        if self.potcar_functional is not None:
            options["user_potcar_functional"] = self.potcar_functional
        made: VaspInputSet = getattr(sets, self.input_set)(structure, **options)
        return made

    def write_inputs(self, item: Input, folder: Path) -> None:
        """Write the inputs of VASP for `item` into `folder`.

        These are INCAR, KPOINTS where there is one, POSCAR, POTCAR or POTCAR.spec, and a note on how to run it.
        """
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            inputs = self._build_input_set(self.structure_of(item))
            lacking = _explain_missing_potcar(inputs)
            inputs.write_input(str(folder), potcar_spec=bool(lacking))
        text = _compose_note(item, self.input_set, inputs, lacking)
        remarks = dict.fromkeys(
            " ".join(str(w.message).split()) for w in said if issubclass(w.category, UserWarning)
        )
        text += "".join(f"\npymatgen remarks: {remark}\n" for remark in remarks)
        (folder / NOTE_FILE).write_text(text, encoding="utf-8")

    # Reading.

    def read_outputs(self, item: Input, folder: Path) -> Evaluation | None:
        """Read `vasprun.xml` of `item` in `folder`, also compressed.

        Returns None while missing or incomplete.
        """
        file = next((folder / name for name in OUTPUT_FILES if (folder / name).is_file()), None)
        if file is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the relevant ones are checked below
                run = _parse_vasprun(file)
                outcome = self._parse_outcome(self.structure_of(item), run)
        except HALF_WRITTEN_ERRORS:
            return None  # VASP writes it as it goes
        except OutputError as error:
            return failed_evaluation(str(error))
        except Exception as error:  # noqa: BLE001 - pymatgen raises any error on a broken file
            return failed_evaluation(f"{file.name} cannot be read: {type(error).__name__}: {error}")
        return outcome.to_evaluation(relaxed=self.relaxes)

    def _parse_outcome(self, structure: Structure, run: Vasprun) -> Outcome:
        """Parse the output and check it against the inputs.

        Raises:
            OutputError: the output is not usable.
        """
        inputs = self._build_input_set(structure)
        written = inputs.structure
        assert written is not None
        check_start(written, run.initial_structure, relaxes=self.relaxes)
        check_parameters(_expected_parameters(inputs), _run_parameters(run))
        _check_converged(run)
        last = run.ionic_steps[-1]
        if "forces" not in last or "stress" not in last:
            raise OutputError("vasprun.xml holds no forces or no stress (ISIF = 0 leaves stress out)")
        energy = float(run.final_energy)
        more = (
            {CORRECTED_ENERGY: (energy + _correction_energy(run)) / len(structure)} if self.corrected else {}
        )
        # Sites were sorted by electronegativity for VASP; the candidate keeps its own order.
        order = np.argsort(sorted(range(len(structure)), key=lambda index: structure[index]))
        return Outcome(
            structure=_reorder_sites(run.final_structure, order.tolist()),
            energy=energy,
            forces=np.asarray(last["forces"]),
            stress=np.asarray(last["stress"]) * GPA_PER_KBAR,
            gap=_read_band_gap(run),
            more=more,
        )


def _explain_missing_potcar(inputs: VaspInputSet) -> str:
    """Reason why POTCAR cannot be written.

    Returns an empty text if it can.
    """
    from pymatgen.io.vasp.inputs import PmgVaspPspDirError

    try:
        assert inputs.potcar is not None
    except (PmgVaspPspDirError, FileNotFoundError, ValueError) as error:
        return " ".join(str(error).split())
    return ""


def _compose_note(item: Input, name: str, inputs: VaspInputSet, lacking: str) -> str:
    from importlib.metadata import version

    made = f"Inputs of pymatgen's {name} (pymatgen-core {version('pymatgen-core')})"
    lines = [f"Candidate {item.id}. {made}.", ""]
    if lacking:
        symbols = " ".join(inputs.potcar_symbols)
        lines += [
            f"POTCAR was not written, since it is licensed and no library was found ({lacking})",
            f"Make it from these files of the release {inputs.user_potcar_functional}, in this order (POTCAR.spec lists them):",
            f"    {symbols}",
            f"With a library: pmg potcar --functional {inputs.user_potcar_functional} --symbols {symbols}",
            "",
        ]
    lines += [
        "Run VASP in this folder, so that vasprun.xml (or vasprun.xml.gz) lies in it when it has ended. Parallelization and",
        "the way to convergence (NCORE, KPAR, ALGO, mixing) are yours to change; functional, cutoff, U, spin, pressure",
        "and pseudopotentials are checked against what is written here.",
        "Then, with the folder of the run: invdesign collect DIR",
        "",
    ]
    return "\n".join(lines)


def _parse_vasprun(file: Path) -> Vasprun:
    from pymatgen.io.vasp.outputs import Vasprun

    return Vasprun(file, parse_dos=False, parse_potcar_file=False)


def _expected_parameters(inputs: VaspInputSet) -> dict[str, object]:
    asked = {tag: inputs.incar.get(tag, value) for tag, value in DECIDING_TAGS.items()}
    return {
        **_normalise_tags(asked),
        "pseudopotentials": [f"PAW_PBE {symbol}" for symbol in inputs.potcar_symbols],
    }


def _run_parameters(run: Vasprun) -> dict[str, object]:
    ran = {tag: run.incar.get(tag, value) for tag, value in DECIDING_TAGS.items()}
    return {
        **_normalise_tags(ran),
        "pseudopotentials": [" ".join(title.split()[:2]) for title in run.potcar_symbols],
    }


def _normalise_tags(tags: dict[str, Any]) -> dict[str, object]:
    """Write tags that mean the same in one way."""
    if not tags["LDAU"]:
        tags |= {"LDAU": False, "LDAUU": (), "LDAUJ": ()}
    if str(tags["METAGGA"]).upper() in {"--", "NONE", "FALSE"}:
        tags["METAGGA"] = "--"
    if tags["GGA"] == "--":
        tags["GGA"] = "PE"
    return tags


def _check_converged(run: Vasprun) -> None:
    if not run.ionic_steps:
        raise OutputError("vasprun.xml holds no ionic step")
    if not run.converged_electronic:
        raise OutputError(
            f"the electronic steps did not converge within NELM = {run.parameters.get('NELM')}: "
            "try another ALGO or mixing"
        )
    steps, limit = len(run.ionic_steps), run.parameters.get("EDIFFG", 0.0)
    if not run.converged_ionic:
        raise OutputError(
            f"the relaxation did not converge within NSW = {run.parameters.get('NSW')}: go on from CONTCAR"
        )
    moved = run.parameters.get("NSW", 0) > 1 and run.parameters.get("IBRION") in {1, 2, 3}
    if moved and limit < 0 and "forces" in run.ionic_steps[-1]:
        # Fewer steps than NSW are also those of a run that was stopped (STOPCAR): only the forces tell.
        left = float(np.linalg.norm(run.ionic_steps[-1]["forces"], axis=1).max())
        if left > abs(limit) * 1.01:
            raise OutputError(
                f"the relaxation was stopped after {steps} steps with forces of {left:.3g} eV/Å, above EDIFFG = {limit:g}"
            )


def _read_band_gap(run: Vasprun) -> float:
    if not run.eigenvalues:
        raise OutputError("vasprun.xml holds no eigenvalues")
    channels = list(run.eigenvalues.values())
    return band_gap([c[..., 0] for c in channels], [c[..., 1] > HALF_OCCUPATION for c in channels])


def _correction_energy(run: Vasprun) -> float:
    """Energy of the Materials Project's 2020 corrections, eV per cell.

    Raises:
        OutputError: the corrections do not apply to this run.

    Source:
        Wang et al., Sci. Rep. 11, 15496 (2021); the parameters come with pymatgen.
    """
    from pymatgen.entries.compatibility import CompatibilityError, MaterialsProject2020Compatibility

    entry = run.get_computed_entry(entry_id="candidate")
    # pymatgen calls a run PBE where INCAR names the functional, and GGA where the pseudopotentials do: they are one.
    entry.parameters["run_type"] = entry.parameters["run_type"].replace("PBE", "GGA")
    try:
        found = MaterialsProject2020Compatibility().get_adjustments(entry)
    except (CompatibilityError, ValueError, KeyError) as error:
        raise OutputError(
            f"the Materials Project's corrections do not hold for it ({str(error)[:150]}); "
            "say 'corrections: false' to go without"
        ) from error
    return float(sum(adjustment.value for adjustment in found))


def _reorder_sites(structure: Structure, order: Sequence[int]) -> Structure:
    from invdesign.structures.reading.raw import StructureFileError
    from invdesign.structures.reading.read import make_crystal

    species = [structure[index].specie.symbol for index in order]
    try:
        return make_crystal(
            structure.lattice.matrix, species, structure.cart_coords[order], "the last structure"
        )
    except StructureFileError as error:
        raise OutputError(str(error)) from error
