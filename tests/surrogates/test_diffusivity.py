"""The evaluator of diffusivity: its numbers, its failures, and evaluations that were killed on the way."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.diskfiles import temporary_name
from invdesign.properties import describe_property
from invdesign.protocols import FolderEvaluator
from invdesign.run.run import Run
from invdesign.run.work import settle_folders
from invdesign.settings import load
from surrogates.transport.dynamics.measurement import build_supercell
from tests.plugins.dynamics_kills import SETTINGS, as_text, crystal, evaluate
from tests.plugins.hopping import Hopping
from tests.support import PATIENCE, ROOT, campaign, finished

LOGGER = "surrogates.transport.dynamics.checkpoint"


class Interruption(BaseException):
    """Ends an evaluation from within, where nothing may catch it."""


@pytest.fixture(autouse=True)
def _no_fuse() -> Iterator[None]:
    """Calls are counted from 0, and nothing interrupts them."""
    Hopping.calls, Hopping.before_call = 0, None
    yield
    Hopping.before_call = None


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """An evaluation that nothing interrupts."""
    return as_text(evaluate(None))


def interrupted(folder: Path, call: int) -> bool:
    """Evaluate until a call of the potential; True if it came to that."""

    def stop(number: int) -> None:
        if number >= call:
            raise Interruption

    Hopping.calls, Hopping.before_call = 0, stop
    try:
        evaluate(folder)
    except Interruption:
        return True
    finally:
        Hopping.before_call = None
    return False


def test_the_numbers_agree_with_each_other() -> None:
    """Conductivity follows from diffusivity by Nernst and Einstein; noise is there, intervals stand in the details."""
    found = evaluate(None)
    assert found.failure is None
    values = found.properties
    assert values["diffusion_converged"] == 1
    assert 0 < values["activation_energy"] < 0.5
    density = 1 / 64.0
    factor = density * 1e24 * 1.602176634e-19 / (8.617333262e-5 * 298.15)
    assert values["conductivity_298"] - values["diffusivity_298"] == pytest.approx(math.log10(factor))
    assert all(found.noise[name] > 0 for name in ("activation_energy", "diffusivity_298", "conductivity_298"))
    assert not found.systematic  # no error of this potential is known
    assert "95 % interval" in found.details["activation_energy"]
    assert "at 1100 K" in found.details["activation_energy"]
    assert "Haven ratio of 1" in found.details["conductivity_298"]
    assert found.cost["potential_calls"] == 3 * 451


def test_units_are_those_of_the_vocabulary() -> None:
    """Every property has a label and, but for the flag, a caveat."""
    for name, unit in load("evaluators", SETTINGS, trust_code=True).provides.items():
        known = describe_property(name)
        assert known.unit == unit
        assert known.caveat or name == "diffusion_converged"


def test_the_error_of_chgnet_is_systematic() -> None:
    """An activation energy that is wrong by 0.29 eV moves the extrapolation by 4.9 decades."""
    evaluator: Any = load("evaluators", {**SETTINGS, "potential": "chgnet"})
    errors = evaluator._method_errors()
    assert errors["activation_energy"] == 0.29
    assert errors["conductivity_298"] == pytest.approx(4.902, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperatures": [800.0, 1000.0]}, "at least 3"),
        ({"temperatures": [800.0, 1000.0, 800.0]}, "three different temperatures"),
        ({"duration": 0.1}, "50 steps of 2 fs; at least 200"),
        ({"ion": "Xe"}, "'Li', 'Na'"),
        ({"timestep": 20.0}, "less than or equal to 5"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    """Each is refused with the limit."""
    with pytest.raises(ValidationError, match=words):
        load("evaluators", {**SETTINGS, **changes}, trust_code=True)


def test_the_cell_is_repeated_until_its_faces_are_far_enough() -> None:
    """Heights count, not lengths: of a rhombohedral cell more images are taken."""
    cubic = build_supercell(crystal(), 8.0)
    assert len(cubic) == 16
    slanted = Structure(Lattice.rhombohedral(5.0, 40.0), ["Li"], [(0, 0, 0)])
    cell = build_supercell(slanted, 8.0).cell.array
    assert (1 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min() >= 8.0


def failure_of(structure: Structure | None = None, **changes: Any) -> tuple[str, str]:
    """Kind and message of the failure."""
    found = evaluate(None, structure, **changes)
    assert found.failure is not None
    return found.failure.kind, found.failure.message


def test_without_the_ion_there_is_nothing_to_follow() -> None:
    """An ion that is absent, and a crystal of nothing else, are missing results; partly occupied sites are an error."""
    assert failure_of(ion="Na")[0] == "missing"
    assert "no Na" in failure_of(ion="Na")[1]
    metal = Structure(Lattice.cubic(3.5), ["Li"], [(0, 0, 0)])
    assert "nothing but Li" in failure_of(metal)[1]
    partial = Structure(Lattice.cubic(4.0), [{"Li": 0.5}, "Cl"], [(0.5, 0.5, 0.5), (0, 0, 0)])
    kind, message = failure_of(partial)
    assert kind == "error"
    assert "partly occupied" in message


def test_too_little_diffusion_is_a_failure_with_an_upper_bound() -> None:
    """Behind high barriers the ion rattles: the message has its displacement, the limit, a bound and the remedy."""
    deep = {**SETTINGS["potential"], "arguments": {"divisions": 4, "mobile": 4.0}}
    kind, message = failure_of(potential=deep)
    assert kind == "error"
    assert "Li moves too little at 1100 K" in message
    assert "at least 10 Å^2" in message
    bound = float(message.split("D is below ")[1].split()[0])
    assert 0 < bound < 1e-3
    assert "raise the temperatures" in message
    assert Hopping.calls == 451  # the hottest temperature tells, and the others are spared


def test_unconverged_candidates_are_kept_where_asked() -> None:
    """Short runs below 10 Å^2 fail, or carry the flag 0 and say why."""
    slow = {
        "potential": {**SETTINGS["potential"], "arguments": {"divisions": 4, "mobile": 0.12}},
    }
    assert "moves too little" in failure_of(**slow)[1]
    kept = evaluate(None, unconverged="keep", **slow)
    assert kept.failure is None
    assert kept.properties["diffusion_converged"] == 0
    assert "moves too little at 700 K" in kept.details["diffusion_converged"]


def test_ions_that_move_no_faster_when_it_is_hotter_have_no_activation_energy() -> None:
    """Three temperatures so close that chance decides."""
    close = {"temperatures": [1100.0, 1101.0, 1103.0]}
    assert "Li does not rise with temperature: 1.36e-03 at 1103 K" in failure_of(**close)[1]
    kept = evaluate(None, unconverged="keep", **close)
    assert kept.properties["activation_energy"] < 0
    assert kept.properties["diffusion_converged"] == 0


def test_a_framework_that_melts_is_a_failure() -> None:
    """Chlorine on a flat landscape leaves its sites at once."""
    flat = {**SETTINGS["potential"], "arguments": {"divisions": 4, "framework": 0.02}}
    kind, message = failure_of(potential=flat)
    assert kind == "error"
    assert "the framework melted at 1100 K" in message
    assert "lower temperatures" in message


def test_dynamics_that_explodes_is_a_failure() -> None:
    """Springs too stiff for the time step: the message names time and temperature."""
    stiff = {**SETTINGS["potential"], "arguments": {"divisions": 4, "framework": 400.0}}
    assert "lower 'timestep'" in failure_of(potential=stiff, timestep=4.0, duration=1.0)[1]


@given(calls=st.lists(st.integers(1, 1300), min_size=1, max_size=3))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_evaluation_stopped_at_any_step_ends_the_same(
    calls: list[int], tmp_path_factory: pytest.TempPathFactory, undisturbed: str
) -> None:
    """However often it is interrupted, the result is that of an undisturbed one, bit for bit, and no checkpoint is left."""
    folder = tmp_path_factory.mktemp("work")
    before = 0
    for call in calls:
        interrupted(folder, call)
        before += Hopping.calls
    Hopping.calls = 0
    assert as_text(evaluate(folder)) == undisturbed
    assert (
        Hopping.calls <= 3 * 451 - before + (len(calls) + 1) * 102
    )  # at most a hundred steps are done twice
    assert not list(folder.rglob("*.npz"))
    Hopping.calls = 0
    assert as_text(evaluate(folder)) == undisturbed  # read from the folder until the run has stored it
    assert Hopping.calls == 0


def checkpoint_in(folder: Path) -> Path:
    """The one checkpoint of an interrupted evaluation."""
    (found,) = folder.rglob("*.npz")
    return found


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle", "folder"])
def test_a_damaged_checkpoint_is_refused(
    damage: str, tmp_path: Path, undisturbed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in a warning, the simulation starts anew, and the result is the same."""
    assert interrupted(tmp_path, 350)
    path = checkpoint_in(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.savez(path, key=np.array([object()], dtype=object))
    else:
        path.unlink()
        path.mkdir()
    with caplog.at_level(logging.WARNING, LOGGER):
        assert as_text(evaluate(tmp_path)) == undisturbed
    assert "is not used, and the simulation starts anew" in caplog.text


def test_a_foreign_checkpoint_is_refused(
    tmp_path: Path, undisturbed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That of other settings, put in place of its own, belongs to another calculation."""
    other = tmp_path / "other"
    Hopping.before_call = _stop_at(350)
    with pytest.raises(Interruption):
        evaluate(other, duration=1.0)
    Hopping.before_call = None
    here = tmp_path / "here"
    assert interrupted(here, 350)
    checkpoint_in(here).write_bytes(checkpoint_in(other).read_bytes())
    with caplog.at_level(logging.WARNING, LOGGER):
        assert as_text(evaluate(here)) == undisturbed
    assert "belongs to other settings" in caplog.text


def _stop_at(call: int) -> Any:
    def stop(number: int) -> None:
        if number >= call:
            raise Interruption

    return stop


def test_checkpoints_are_of_a_folder_evaluator() -> None:
    """The run gives it a folder, and removes what is left there when the candidate has ended: all is called job.*."""
    assert isinstance(load("evaluators", SETTINGS, trust_code=True), FolderEvaluator)


def campaign_of(**changes: Any) -> dict[str, Any]:
    """A campaign of two candidates with this stage alone."""
    settings = {name: value for name, value in SETTINGS.items() if name != "kind"}
    return {
        "version": 1,
        "name": "hopping",
        "seed": 1,
        "space": {"kind": "substitution", "parent": "antiperovskite", "sites": {"X": ["Cl", "Br"]}},
        "evaluate": [{"diffusivity": {**settings, "supercell": 0.0, "unconverged": "keep", **changes}}],
        "objectives": [{"maximize": "conductivity_298"}],
        "optimizer": "random",
        "budget": {"candidates": 2},
        "max_failure_rate": 1.0,
    }


def test_a_run_that_stopped_within_an_evaluation_goes_on_there(tmp_path: Path) -> None:
    """Its digest is that of a run without interruption, and the work that was done is not done again."""
    whole = finished(campaign_of(), tmp_path / "whole")
    calls = Hopping.calls
    Hopping.calls, Hopping.before_call = 0, _stop_at(1000)
    run = Run.create(campaign(campaign_of()), tmp_path / "stopped")
    run.use_workers(0)
    with pytest.raises(Interruption):
        run.execute()
    run.close()
    Hopping.before_call = None
    run = Run.open(tmp_path / "stopped", trust_code=True)
    run.use_workers(0)
    run.execute()
    assert run.digest() == whole.digest()
    assert Hopping.calls <= calls + 102
    assert not (tmp_path / "stopped" / "work").exists()


def test_the_deadline_fails_the_candidate_alone(tmp_path: Path) -> None:
    """It is failed with that cause, the run goes on with the next, and no checkpoint is left."""
    run = finished(campaign_of(duration=4000.0, timeout=3.0), tmp_path / "run", workers=1)
    for trial in (run.trial(0), run.trial(1)):
        assert trial.failure is not None
        assert trial.failure.kind == "timeout"
    assert not (tmp_path / "run" / "work").exists()


def test_a_half_written_checkpoint_goes_with_its_folder(tmp_path: Path) -> None:
    """A process that the deadline ends may leave the file that it was writing under its temporary name."""
    interrupted(tmp_path / "work" / "diffusivity", 350)
    (checkpoint,) = tmp_path.rglob("*.npz")
    temporary_name(checkpoint).write_bytes(b"half")
    settle_folders(tmp_path, lambda _number: True)
    assert not list(tmp_path.iterdir())


def test_checkpoints_are_called_as_the_run_expects(tmp_path: Path) -> None:
    """An evaluation that the deadline kills leaves files that the run removes with the folder."""
    interrupted(tmp_path, 350)
    assert {path.name.partition(".")[0] for path in tmp_path.rglob("*") if path.is_file()} == {"job"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_processes_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at calls of the potential and at file operations, in real processes: not one bit differs, nothing is left."""
    command = [sys.executable, "-m", "tests.plugins.dynamics_kills", str(tmp_path), "1", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=3 * PATIENCE)
    report = json.loads(done.stdout)
    assert report["differences"] == 0
    assert sum(report["deaths"].values()) >= 10
    assert len(report["deaths"]) > 2
    assert report["left"] == ["job.json", "job.lock"]
