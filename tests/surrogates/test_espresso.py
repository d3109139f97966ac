"""Quantum ESPRESSO: inputs, and outputs that pw.x itself wrote (see tests/data/dft)."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ase.io.espresso import read_espresso_in
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.errors import InvdesignError, PluginError
from surrogates.external.espresso import Espresso

DATA = Path(__file__).parents[1] / "data" / "dft"
HERE = Path("/usr/share/espresso/pseudo")  # where Debian's package has them
A = 4.55
POTENTIALS = {"Li": "Li.pbesol-s-kjpaw_psl.0.2.1.UPF", "O": "O.pbesol-n-kjpaw_psl.0.1.UPF"}
SETTINGS: dict[str, Any] = {
    "pseudopotentials": POTENTIALS,
    "pseudo_dir": str(HERE),
    "ecutwfc": 45.0,
    "ecutrho": 360.0,
    "kspacing": 0.9,
}


def item(a: float = A, metal: str = "Li") -> Input:
    """Antifluorite Li2O."""
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    structure = Structure(lattice, ["O", metal, metal], [[0.0] * 3, [0.25] * 3, [0.75] * 3])
    return Input(Candidate(3, "0" * 32, Proposal({})), Design(), {}, {"initial": structure}, 1)


def made(**changes: Any) -> Espresso:
    return Espresso.model_validate({**SETTINGS, **changes})


def output(name: str) -> str:
    """What pw.x printed."""
    return gzip.decompress((DATA / f"li2o_{name}.pwo.gz").read_bytes()).decode()


def read(evaluator: Espresso, folder: Path, text: str, of: Input | None = None) -> Evaluation | None:
    (folder / "espresso.pwo").write_text(text)
    return evaluator.read_outputs(of or item(), folder)


def cause(found: Evaluation | None) -> str:
    assert found is not None
    assert found.failure is not None
    return found.failure.message


def test_the_input_says_what_was_asked_for(tmp_path: Path) -> None:
    """ASE reads back the crystal; thresholds grow with the atoms; the user's own keys have the last word."""
    evaluator = made(input_data={"system": {"degauss": 0.005, "nspin": 2}, "ions": {"upscale": 50.0}})
    evaluator.write_inputs(item(), tmp_path)
    text = (tmp_path / "espresso.pwi").read_text()
    with (tmp_path / "espresso.pwi").open() as file:
        atoms = read_espresso_in(file)
    assert atoms.get_chemical_symbols() == ["O", "Li", "Li"]
    assert atoms.cell.lengths() == pytest.approx([A / 2**0.5] * 3)
    for line in (
        "calculation      = 'vc-relax'",
        "ecutrho          = 360.0",
        "degauss          = 0.005",
        "conv_thr         = 6e-10",
        "nspin            = 2",
        "upscale          = 50.0",
        f" 6.94 {POTENTIALS['Li']}",
        "3 3 3  0 0 0",  # 0.9/Å, with the factor 2π, of reciprocal vectors of 2.39/Å
    ):
        assert line in text
    assert "pw.x -in espresso.pwi > espresso.pwo" in (tmp_path / "HOW_TO_RUN.txt").read_text()
    assert evaluator.read_outputs(item(), tmp_path) is None
    with pytest.raises(InvdesignError, match="no file for Na"):
        evaluator.write_inputs(item(metal="Na"), tmp_path)


def test_a_relaxation_by_pw_x_is_read(tmp_path: Path) -> None:
    """The last point is the one taken anew in the final cell."""
    found = read(made(), tmp_path, output("vc-relax"))
    assert found is not None
    values = found.properties
    assert values.keys() | {"structure:dft"} == made().provides.keys()
    assert values["dft_energy_per_atom"] == pytest.approx(-323.140647, abs=1e-5)
    assert values["dft_band_gap"] == pytest.approx(5.7274, abs=1e-4)
    assert values["dft_max_stress"] == pytest.approx(0.147, abs=1e-3)
    assert found.structures["dft"].lattice.a == pytest.approx(3.207634, abs=1e-5)
    assert values["dft_volume_per_atom"] == pytest.approx(found.structures["dft"].volume / 3)


def test_a_single_point_makes_no_structure(tmp_path: Path) -> None:
    found = read(made(calculation="scf"), tmp_path, output("scf"))
    assert found is not None
    assert not found.structures
    assert found.properties["dft_band_gap"] == pytest.approx(5.6361, abs=1e-4)


def test_what_is_not_complete_is_not_there_yet(tmp_path: Path) -> None:
    """pw.x says when it is done."""
    text = output("vc-relax")
    for length in (0, 3000, len(text) // 2, len(text) - 200):
        assert read(made(), tmp_path, text[:length]) is None


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "electrons": ("unconverged", {"calculation": "scf"}, "electronic steps did not converge"),
    "ions": ("steps", {}, "the relaxation did not converge"),
    "potential": (
        "missing",
        {"calculation": "scf"},
        "pw.x stopped in readpp (1): file /usr/share/espresso/pseudo/O.pbesol-missing.UPF not found",
    ),
    "cutoff": ("vc-relax", {"ecutwfc": 60.0}, "ecutwfc 45 instead of 60"),
    "other potential": ("scf", {"pseudopotentials": {**POTENTIALS, "Li": "Li.UPF"}}, "instead of Li.UPF"),
    "other calculation": ("scf", {}, "the relaxation did not converge"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_believed_is_a_failure(case: str, tmp_path: Path) -> None:
    """As pw.x tells it, or because it is not what was asked for."""
    name, changes, told = WRONG[case]
    assert told in cause(read(made(**changes), tmp_path, output(name)))


def test_another_candidates_output_is_refused(tmp_path: Path) -> None:
    """By elements, or by where it started, which for a relaxation may be where an interrupted one had come to."""
    text = output("vc-relax")
    assert "another candidate's output" in cause(read(made(), tmp_path, text, item(metal="Na")))
    assert "started from another structure" in cause(read(made(), tmp_path, text, item(a=5.5)))
    gone_on = read(made(), tmp_path, text, item(a=4.6))
    assert gone_on is not None
    assert gone_on.failure is None
    point = made(calculation="scf")
    assert "started from another structure" in cause(read(point, tmp_path, output("scf"), item(a=4.6)))
    broken = re.sub(r"(!    total energy +=) +\S+", r"\1 *******", text)
    assert "cannot be read" in cause(read(made(), tmp_path, broken))


def test_mistakes_in_settings_are_told(tmp_path: Path) -> None:
    """Keys that settings stand for, namelists there are none of, and what is missing on this machine."""
    with pytest.raises(ValidationError, match="it is the setting 'ecutwfc'"):
        made(input_data={"system": {"ecutwfc": 30.0}})
    with pytest.raises(ValidationError, match="reading the output relies on it"):
        made(input_data={"control": {"verbosity": "low"}})
    with pytest.raises(ValidationError, match="not a namelist"):
        made(input_data={"cards": {"x": 1}})
    with pytest.raises(PluginError, match="leave 'command' out"):
        made(command="no_such_pw.x").prepare()
    with pytest.raises(InvdesignError, match=r"no pseudopotential 'Li\.pbesol"):
        made(command="true", pseudo_dir=str(tmp_path)).prepare()


@pytest.mark.skipif(
    shutil.which("pw.x") is None or not (HERE / "Si.pz-vbc.UPF").is_file(),
    reason="needs Quantum ESPRESSO with its examples' pseudopotentials (Debian: quantum-espresso)",
)
def test_pw_x_itself_is_run(tmp_path: Path) -> None:
    """Silicon, as written, run and read here; a pseudopotential that is not there is told in pw.x's own words."""
    a = 5.43 / 2
    silicon = Structure(Lattice([[0, a, a], [a, 0, a], [a, a, 0]]), ["Si", "Si"], [[0.0] * 3, [0.25] * 3])
    job = Input(Candidate(0, "0" * 32, Proposal({})), Design(), {}, {"initial": silicon}, 1)
    settings = {"pseudo_dir": str(HERE), "calculation": "scf", "ecutwfc": 12.0, "ecutrho": 48.0}
    evaluator = Espresso.model_validate(
        {**settings, "pseudopotentials": {"Si": "Si.pz-vbc.UPF"}, "kspacing": 0.9, "command": "pw.x"}
    )
    evaluator.use_folder(tmp_path)
    evaluator.prepare()
    (found,) = evaluator.evaluate([job])
    assert found.failure is None
    assert found.properties["dft_energy_per_atom"] == pytest.approx(-107, abs=2)
    assert 0 < found.properties["dft_band_gap"] < 1
    assert list(tmp_path.glob("000000-*/espresso.pwi"))
    wrong = evaluator.model_copy(update={"pseudopotentials": {"Si": "Si.missing.UPF"}})
    wrong.use_folder(tmp_path)
    assert "Si.missing.UPF not found" in cause(wrong.evaluate([job])[0])
