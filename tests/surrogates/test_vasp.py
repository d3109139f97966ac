"""VASP: inputs as the Materials Project's, outputs that are believed, and those that are not."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import ase.test
import pymatgen.core
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Poscar

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.errors import PluginError
from invdesign.protocols import FolderEvaluator, JobEvaluator
from surrogates.external.vasp import Vasp
from tests.surrogates.dft_outputs import half, other_elements, vasprun

SITES = [[0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.02, 0.5, 0.5]]
PUBLISHED = Path(ase.test.__file__).parent / "testdata" / "vasp" / "vasprun_dfpt.xml"


def item(structure: Structure | None = None, role: str = "initial") -> Input:
    """Li3OCl with its sites in no order that VASP would keep."""
    structure = structure or Structure(Lattice.cubic(3.91), ["O", "Li", "Cl", "Li", "Li"], SITES)
    candidate = Candidate(12, "0" * 32, Proposal({}))
    return Input(
        candidate, Design(composition=structure.composition, structures={}), {}, {role: structure}, 1
    )


@pytest.fixture(autouse=True)
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)


def written(folder: Path, **settings: Any) -> Vasp:
    """The evaluator, its inputs written."""
    evaluator = Vasp.model_validate(settings)
    evaluator.write_inputs(item(), folder)
    return evaluator


def read(evaluator: Vasp, folder: Path, text: str | None = None, **changes: Any) -> Evaluation | None:
    """What is read of a calculation that ended as `changes` say."""
    (folder / "vasprun.xml").write_text(vasprun(folder, **changes) if text is None else text)
    return evaluator.read_outputs(item(), folder)


def cause(found: Evaluation | None) -> str:
    assert found is not None
    assert found.failure is not None
    assert not found.properties
    return found.failure.message


def test_the_inputs_are_those_of_the_materials_project(tmp_path: Path) -> None:
    """INCAR and KPOINTS of the set, sites grouped by element; licensed files are named, and the note says what to do."""
    evaluator = written(tmp_path, user_incar={"ALGO": "Normal"})
    assert isinstance(evaluator, JobEvaluator)
    assert isinstance(evaluator, FolderEvaluator)
    incar = Incar.from_file(tmp_path / "INCAR")
    assert (incar["ENCUT"], incar["ISIF"], incar["ALGO"]) == (520, 3, "Normal")
    assert (tmp_path / "KPOINTS").is_file()
    assert Poscar.from_file(tmp_path / "POSCAR").site_symbols == ["Li", "Cl", "O"]
    assert (tmp_path / "POTCAR.spec").read_text().split() == ["Li_sv", "Cl", "O"]
    note = (tmp_path / "HOW_TO_RUN.txt").read_text()
    assert "pmg potcar --functional PBE --symbols Li_sv Cl O" in note
    assert "invdesign collect" in note
    assert evaluator.read_outputs(item(), tmp_path) is None


@pytest.mark.parametrize("input_set", ["MPScanRelaxSet", "MatPESStaticSet", "MPHSERelaxSet", "MP24StaticSet"])
def test_each_set_is_written_and_read(input_set: str, tmp_path: Path) -> None:
    """What is written is what is asked for when the output is read; a single point makes no structure."""
    evaluator = written(tmp_path, input_set=input_set)
    found = read(evaluator, tmp_path, steps=1 if "Static" in input_set else 3)
    assert found is not None
    assert found.failure is None
    assert found.properties.keys() | {f"structure:{r}" for r in found.structures} == evaluator.provides.keys()
    assert ("structure:dft" in evaluator.provides) == ("Static" not in input_set)


def test_a_calculation_is_read(tmp_path: Path) -> None:
    """Per atom and in the vocabulary's units; the structure in the candidate's own order of sites."""
    evaluator = written(tmp_path)
    found = read(evaluator, tmp_path, energy=-4.2, strain=0.01, force=0.004, gap=2.5)
    assert found is not None
    values = found.properties
    assert values["dft_energy_per_atom"] == pytest.approx(-4.2)
    assert values["dft_volume_per_atom"] == pytest.approx(3.91**3 * 1.01**3 / 5)
    assert values["dft_band_gap"] == pytest.approx(2.5)
    assert values["dft_max_force"] == pytest.approx(0.004)
    assert values["dft_max_stress"] == pytest.approx(0.3)  # 3 kbar
    # Anion corrections of the 2020 scheme: one O (-0.687 eV) and one Cl (-0.614 eV) in five atoms.
    assert values["dft_corrected_energy_per_atom"] == pytest.approx(-4.2 - (0.687 + 0.614) / 5)
    final, start = found.structures["dft"], item().structures["initial"]
    assert [site.specie for site in final] == [site.specie for site in start]
    assert final[4].frac_coords == pytest.approx(SITES[4])


def test_a_compressed_output_is_read_too(tmp_path: Path) -> None:
    """As custodians leave it on clusters."""
    evaluator = written(tmp_path)
    text = vasprun(tmp_path, gap=-1)
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
    found = evaluator.read_outputs(item(), tmp_path)
    assert found is not None
    assert found.properties["dft_band_gap"] == 0
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode())[:-500])
    assert evaluator.read_outputs(item(), tmp_path) is None


def test_an_output_of_vasp_itself_is_read(tmp_path: Path) -> None:
    """Of NaCl, from ASE's own tests; and what differs from the input set is told."""
    a = 2.72739551
    salt = Structure(Lattice([[0, a, a], [a, 0, a], [a, a, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "vasprun.xml").write_bytes(PUBLISHED.read_bytes())
    as_it_was = {"ENCUT": 400, "ISPIN": 1}
    evaluator = Vasp.model_validate(
        {"input_set": "MPStaticSet", "user_incar": as_it_was, "potcars": {"Na": "Na"}}
    )
    found = evaluator.read_outputs(item(salt), tmp_path)
    assert found is not None
    assert found.properties["dft_energy_per_atom"] == pytest.approx(-6.74587304 / 2)
    assert found.properties["dft_band_gap"] == pytest.approx(5.4988)
    assert found.properties["dft_max_stress"] == pytest.approx(3.608907525)
    told = cause(Vasp.model_validate({"input_set": "MPStaticSet"}).read_outputs(item(salt), tmp_path))
    assert "ENCUT 400 instead of 520" in told
    assert "PAW_PBE Na PAW_PBE Cl instead of PAW_PBE Na_pv PAW_PBE Cl" in told


def test_what_is_half_written_is_not_there_yet(tmp_path: Path) -> None:
    """VASP writes its output as it goes: nothing is lost by looking too early."""
    evaluator = written(tmp_path)
    assert read(evaluator, tmp_path, half(vasprun(tmp_path))) is None
    assert read(evaluator, tmp_path, "") is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "electrons": ({"electronic": 100}, "electronic steps did not converge within NELM = 100"),
    "ions": ({"steps": 99}, "did not converge within NSW = 99"),
    "stopped": ({"tags": {"EDIFFG": -0.02}, "force": 0.3}, "stopped after 3 steps with forces of 0.3 eV/Å"),
    "cutoff": ({"tags": {"ENCUT": 400.0}}, "ENCUT 400 instead of 520"),
    "functional": ({"tags": {"GGA": "PS"}}, "GGA Ps instead of PE"),
    "hubbard": (
        {"tags": {"LDAU": True, "LDAUU": [3.0, 0.0, 0.0]}},
        "LDAU True instead of False, LDAUU 3 0 0 ",
    ),
    "spin": ({"tags": {"ISPIN": 1}}, "ISPIN 1 instead of 2"),
    "potentials": ({"potcars": ["Li", "Cl", "O"]}, "pseudopotentials PAW_PBE Li PAW_PBE Cl"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_believed_is_a_failure(case: str, tmp_path: Path) -> None:
    """Not converged, or not what was asked for: the cause says which."""
    changes, told = WRONG[case]
    evaluator = written(tmp_path)
    assert told in cause(read(evaluator, tmp_path, **changes))


def test_another_candidates_output_is_refused(tmp_path: Path) -> None:
    """By its elements, or by where it started, which for a relaxation may be where an interrupted one had come to."""
    evaluator = written(tmp_path)
    text = vasprun(tmp_path)
    bromide = other_elements(text, "Cl", "Br")
    assert "another candidate's output" in cause(read(evaluator, tmp_path, bromide))
    elsewhere = text.replace("0.02000000", "0.42000000")
    assert "positions by 1.56 Å" in cause(read(evaluator, tmp_path, elsewhere))
    gone_on = read(evaluator, tmp_path, text.replace("0.02000000", "0.00000000"))
    assert gone_on is not None
    assert gone_on.failure is None
    assert "cannot be read" in cause(read(evaluator, tmp_path, "<modeling></modeling>"))


def test_corrections_stay_away_where_they_do_not_hold() -> None:
    """They were fitted to PBE with the project's U: other functionals have no corrected energy."""
    assert "dft_corrected_energy_per_atom" in Vasp().provides
    for settings in ({"input_set": "MPScanRelaxSet"}, {"user_incar": {"GGA": "PS"}}, {"corrections": False}):
        assert "dft_corrected_energy_per_atom" not in Vasp.model_validate(settings).provides


def test_mistakes_in_settings_are_told() -> None:
    """Before anything runs."""
    with pytest.raises(ValidationError, match="'ENCUT', not 'encut'"):
        Vasp(user_incar={"encut": 400})
    with pytest.raises(ValidationError, match="kpoint_density or KSPACING"):
        Vasp(user_incar={"KSPACING": 0.3}, kpoint_density=100)
    with pytest.raises(ValidationError, match="MPRelaxSet"):
        Vasp.model_validate({"input_set": "MPRelax"})


def test_a_command_needs_its_program_and_its_pseudopotentials() -> None:
    """What is missing is told once, with the way to do without."""
    assert Vasp().external
    Vasp().prepare()
    with_command = Vasp(command="no_such_vasp -n 4")
    assert not with_command.external
    assert with_command.fingerprint == Vasp().fingerprint
    with pytest.raises(PluginError, match=r"no program 'no_such_vasp'.*leave 'command' out"):
        with_command.prepare()
    with pytest.raises(PluginError, match="PMG_VASP_PSP_DIR"):
        Vasp(command="true").prepare()
