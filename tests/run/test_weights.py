"""Runs with trained weights: the contents lie in their folders, go to workers, and are missed by name."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from invdesign.artifacts import Artifact, contents, find_artifacts, place_of
from invdesign.campaign.load import load_campaign
from invdesign.errors import (
    ArtifactError,
    CampaignChangedError,
    CampaignError,
    LostRunError,
    RunError,
    StoreError,
)
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.run.status import RunStatus
from invdesign.store.store import STORE_FILE
from invdesign.worker import Setup, Worker
from tests.plugins.weights import write_linear
from tests.support import WEIGHTS, Data, campaign, cli, finished, here, scripted, written

WEIGHTED = f"{WEIGHTS}:Weighted"
SHIFTING = f"{WEIGHTS}:Shifting"


def weighted(weights: Path | str, delay: float = 0.0, **changes: Any) -> Data:
    """A search by a linear model."""
    return {
        "version": 1,
        "name": "weighted",
        "seed": 5,
        "space": {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in ("x", "y")}},
        "evaluate": [{WEIGHTED: {"weights": str(weights), "delay": delay}}],
        "objectives": [{"maximize": "height"}],
        "optimizer": {"kind": "genetic", "population": 4},
        "budget": {"candidates": 12},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }


def decoding(weights: Path | str, **changes: Any) -> Data:
    """The same with a space that needs weights, too."""
    return weighted(weights, space={"kind": SHIFTING, "weights": str(weights)}, **changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with two weights."""
    return write_linear(tmp_path / "model", [0.5, 2.0])


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """No folder of an earlier test is looked at."""
    contents._folders.clear()


def opened(folder: Path) -> Run:
    """The run as a new process finds it: with nothing in memory, and no folder known."""
    gc.collect()
    contents._folders.clear()
    run = Run.open(folder, trust_code=True)
    assert all(contents.find_in_use(item.sha256) is None for item in run.campaign.artifacts)
    run.use_workers(0)
    return run


def place_in(folder: Path) -> Path:
    """The only content in the folder of a run."""
    (path,) = (folder / "artifacts").iterdir()
    return path


def test_contents_lie_in_the_folder_of_the_run(model: Path, tmp_path: Path) -> None:
    """Written before the first event; the store holds the hash alone, and the model may go."""
    run = Run.create(campaign(decoding(model)), tmp_path / "run")
    artifact = Artifact.read(model)
    (found,) = run.campaign.artifacts
    assert found == artifact
    assert place_in(run.folder) == place_of(artifact, run.folder)
    assert place_in(run.folder).read_bytes() == (model / "model.safetensors").read_bytes()
    stored = json.loads(run.store.read_entry("campaign"))
    assert find_artifacts(stored) == (artifact,)
    assert len(json.dumps(stored["stages"])) < 600
    run.close()
    del run, artifact, found
    shutil.rmtree(model)
    status = opened(tmp_path / "run").execute()
    assert (status.state, status.counts["complete"]) == ("finished", 12)


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_read_them(workers: int, model: Path, tmp_path: Path) -> None:
    """In this process and in another one the same numbers come out."""
    log = tmp_path / "log"
    data = decoding(model)
    data["evaluate"][0][WEIGHTED]["log"] = str(log)
    run = finished(data, tmp_path / "run", workers)
    assert run.status().counts["complete"] == 12
    for trial in map(run.trial, range(12)):
        x, y = trial.genome["x"], trial.genome["y"]
        assert trial.properties["height"] == pytest.approx(0.25 * x + 4.0 * y, rel=1e-9)
    assert len(log.read_text().splitlines()) == 1


def test_a_worker_without_a_run(model: Path) -> None:
    """Where there is no folder the contents go through the pipe, and live as long as the plug-ins."""
    import pickle

    found = campaign(decoding(model))
    packed = pickle.dumps(Setup.from_plugins(found.space, found.evaluators, found.code))
    sha256 = found.artifacts[0].sha256
    del found
    gc.collect()
    assert contents.find_in_use(sha256) is None
    worker = Worker.from_setup(pickle.loads(packed))
    worker.prepare()
    gc.collect()
    member = {
        "id": 0,
        "key": "k",
        "genome": {"x": 1.0, "y": 0.5},
        "properties": {},
        "structures": {},
        "seed": 1,
    }
    for stage in ("build", "Weighted"):
        (answer,) = json.loads(worker.execute(json.dumps({"stage": stage, "members": [member]})))
    assert answer["properties"] == {"height": 0.25 + 2.0}


def stop_early(run: Run) -> None:
    """Work on the run until some candidates have ended."""

    def watch(status: RunStatus) -> None:
        if status.counts["complete"] >= 3:
            run.stop()

    run.use_workers(0)
    assert run.execute(watch).state == "stopped"
    run.close()


def test_a_worker_that_cannot_read_the_folder(model: Path, tmp_path: Path) -> None:
    """An engine on another machine sends the contents along."""
    run = Run.create(campaign(decoding(model)), tmp_path / "run")
    plugins = run.campaign.space, run.campaign.evaluators, run.campaign.code
    setup = Setup.from_plugins(*plugins, run.folder)
    assert setup.contents == ()
    (content,) = setup.with_contents().contents
    assert content.sha256 == run.campaign.artifacts[0].sha256


def test_a_folder_that_was_moved(model: Path, tmp_path: Path) -> None:
    """On another machine, with nothing but the folder, a run goes on to the end it would have had."""
    data = decoding(model, delay=0.1)
    whole = finished(data, tmp_path / "whole").digest()
    stop_early(Run.create(campaign(data), tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "whole")
    again = opened(tmp_path / "moved")
    assert again.design(0).parameters
    assert again.execute().state == "finished"
    assert again.digest() == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_a_new_process_goes_on(workers: int, model: Path, tmp_path: Path) -> None:
    """The command line has nothing but the folder, which was moved, and its workers neither."""
    stop_early(Run.create(campaign(decoding(model, delay=0.05)), tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.rmtree(model)
    done = cli("resume", tmp_path / "moved", "--trust-code", "--workers", workers)
    assert done.returncode == 0, done.stderr
    assert opened(tmp_path / "moved").status().counts["complete"] == 12


def test_a_fork_takes_them_along(model: Path, tmp_path: Path) -> None:
    """Also a fork of a fork, after the source is gone, and a genome is built in the old and the new space."""
    finished(decoding(model), tmp_path / "run").close()
    shutil.rmtree(model)
    opened(tmp_path / "run").close()
    made = fork(tmp_path / "run", tmp_path / "new", candidates=16, trust_code=True)
    assert made.evaluations == 12
    made.run.close()
    del made
    shutil.rmtree(tmp_path / "run")
    run = opened(tmp_path / "new")
    assert run.execute().counts["complete"] == 16


def test_a_fork_to_other_weights(model: Path, tmp_path: Path) -> None:
    """Nothing that the old weights said is found again."""
    finished(weighted(model), tmp_path / "run").close()
    other = write_linear(tmp_path / "other", [1.0, 1.0])
    made = fork(
        tmp_path / "run",
        tmp_path / "new",
        campaign(weighted(other, budget={"candidates": 30})),
        trust_code=True,
    )
    assert (made.evaluations, dict(made.reused)) == (0, {"Weighted": False})
    assert place_in(tmp_path / "new").name != place_in(tmp_path / "run").name


def test_other_weights_are_another_campaign(model: Path, tmp_path: Path) -> None:
    """A run is not gone on with under weights that were trained anew."""
    run = finished(weighted(model), tmp_path / "run")
    write_linear(model, [0.5, 2.5])
    with pytest.raises(CampaignChangedError, match=r"stages\[0\]\.evaluator\.weights\.sha256: "):
        run.change(campaign(weighted(model, budget={"candidates": 20})))


# Missing and damaged contents.


@pytest.mark.parametrize("damage", ["missing", "damaged", "truncated"])
def test_contents_that_are_gone(damage: str, model: Path, tmp_path: Path) -> None:
    """Named with the file and the hash that is expected; put back, the run goes on."""
    run = Run.create(campaign(decoding(model)), tmp_path / "run")
    artifact, path = Artifact.read(model), place_in(tmp_path / "run")
    whole = path.read_bytes()
    run.close()
    del run, artifact
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] if damage == "truncated" else whole[:-1] + b"?")
    again = opened(tmp_path / "run")
    assert again.status().state == "new"  # to look at it needs no weights
    said = (
        "there is no such file"
        if damage == "missing"
        else f"is damaged: expected is the SHA-256 hash {path.stem}, found"
    )
    with pytest.raises(ArtifactError, match=said) as caught:
        again.execute()
    assert f"Put the file back, {len(whole)} bytes" in str(caught.value)
    assert f"cp MODEL {path}" in str(caught.value)
    assert again.status().state == "new"
    done = here("doctor", tmp_path / "run")
    assert f"problem artifact model: {'there is' if damage == 'missing' else path}" in " ".join(
        done.stdout.split()
    )
    shutil.copy(model / "model.safetensors", path)
    assert again.execute().state == "finished"
    assert "fine artifact model: 7" in " ".join(here("doctor", tmp_path / "run").stdout.split())


def test_contents_come_back_with_the_campaign(model: Path, tmp_path: Path) -> None:
    """The campaign that the run began with brings them, if its model is still the same."""
    path = written(weighted(model), tmp_path / "campaign.yaml")
    Run.create(load_campaign(path, trust_code=True), tmp_path / "run").close()
    gc.collect()
    place_in(tmp_path / "run").unlink()
    failed = here("resume", tmp_path / "run", "--trust-code", "--workers", 0)
    assert failed.returncode == 3
    assert "cannot be worked on without its artifact 'model'" in " ".join(failed.stderr.split())
    done = here("resume", tmp_path / "run", "--trust-code", "--workers", 0, "--campaign", path)
    assert done.returncode == 0, done.stderr
    assert place_in(tmp_path / "run").read_bytes() == (model / "model.safetensors").read_bytes()


def test_shipped_contents_come_back_by_themselves(tmp_path: Path) -> None:
    """The package has them."""
    Run.create(campaign(weighted("default")), tmp_path / "run").close()
    place_in(tmp_path / "run").write_bytes(b"damaged")
    run = Run.open(tmp_path / "run", trust_code=True)
    assert run.execute().state == "finished"
    assert place_in(tmp_path / "run").stat().st_size == run.campaign.artifacts[0].size


def test_nothing_is_left_of_a_run_that_was_not_made(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full while the store is written, or an artifact that nobody has."""

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("no room")

    made = campaign(weighted(model))
    with monkeypatch.context() as patch:
        patch.setattr("invdesign.store.store.create_store", refuse)
        with pytest.raises(StoreError, match="no room"):
            Run.create(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    card = {**Artifact.read(model).model_dump(mode="json"), "sha256": "0" * 64}
    data = weighted(model)
    data["evaluate"] = [{WEIGHTED: {"weights": card}}]
    with pytest.raises(ArtifactError, match="the content of the artifact 'model' was not found"):
        Run.create(campaign(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the contents are written, the message is that of any other file of a new run."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    made = campaign(weighted(model))
    with monkeypatch.context() as patch:
        patch.setattr("invdesign.artifacts.keeping.replace_atomically", refuse)
        with pytest.raises(StoreError, match=r"No space left on device\. Nothing is left of"):
            Run.create(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    finished(weighted(model), tmp_path / "run").close()


def test_a_link_in_the_place_of_the_contents(model: Path, tmp_path: Path) -> None:
    """A run writes nothing through links."""
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "artifacts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="artifacts is a symbolic link"):
        Run.create(campaign(weighted(model)), tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("how", ["folder deleted", "store deleted", "folder renamed"])
def test_a_run_that_is_lost(how: str, model: Path, tmp_path: Path) -> None:
    """What is saved of a run whose folder is gone is saved with its contents."""
    folder = tmp_path / "run"
    run = Run.create(campaign(weighted(model, 0.1)), folder)
    run.use_workers(0)

    def watch(status: RunStatus) -> None:
        if status.counts["complete"] < 3 or not (folder / STORE_FILE).exists():
            return
        if how == "folder deleted":
            shutil.rmtree(folder)
        elif how == "folder renamed":
            folder.rename(tmp_path / "renamed")
        else:
            for file in folder.glob(f"{STORE_FILE}*"):
                file.unlink()

    with pytest.raises(LostRunError) as caught:
        run.execute(watch)
    place = caught.value.place
    assert place is not None
    run.close()
    del run, caught
    shutil.rmtree(model)
    assert opened(place).execute().state == "finished"


def test_a_mistake_in_a_campaign(model: Path, tmp_path: Path) -> None:
    """A pickle, and a model that is not there, at their places."""
    (model / "old.pt").write_bytes(b"")
    with pytest.raises(CampaignError, match=r"weights: model: old\.pt is a pickle by its name"):
        campaign(weighted(model))
    with pytest.raises(CampaignError, match=r"weights: there is no such file \(looked for "):
        campaign(weighted(tmp_path / "nowhere"))


def test_requests_need_them_too(model: Path, tmp_path: Path) -> None:
    """Whatever works on a run says what is missing, and changes nothing."""
    finished(weighted(model), tmp_path / "run").close()
    shutil.rmtree(tmp_path / "run" / "artifacts")
    run = opened(tmp_path / "run")
    digest = run.digest()
    with pytest.raises(ArtifactError, match="cannot be worked on without its artifact"):
        run.add([{"x": 0.5, "y": 0.5}])
    assert run.digest() == digest
    assert not issubclass(ArtifactError, RunError)


def test_killed_between(tmp_path: Path) -> None:
    """Killed at statements and file operations, also while contents are written: the same end each time."""
    path = written(decoding("default", budget={"candidates": 8}), tmp_path / "campaign.yaml")
    report = scripted("tests.plugins.everywhere", "search", path, tmp_path / "runs", 1, 40, 12)
    assert report["differences"] == 0, report
    assert report["kills"] >= 12
