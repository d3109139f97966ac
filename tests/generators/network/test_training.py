"""Models are written whole, read as they were written, and survive interruptions of their training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydantic import ValidationError
from pymatgen.core import Structure

from invdesign.artifacts import Artifact
from invdesign.errors import InvdesignError
from invdesign.generators.crystal_vae import CrystalGan, CrystalVae
from invdesign.generators.network.checkpoints import FOLDER
from invdesign.generators.network.train import train_model
from invdesign.protocols import KnownCrystal, TrainingSet
from invdesign.structures.conditions import make_condition
from tests.generators.network.conftest import make_lessons, make_settings, make_structures


def test_a_model_reads_as_it_was_written(model_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(model_folder, copied)
    one, two = (CrystalVae.model_validate({"model": str(folder)}) for folder in (model_folder, copied))
    samples = [
        generator.sample(np.random.default_rng(3), 3, make_condition()).structures for generator in (one, two)
    ]
    assert samples[0] == samples[1]
    assert one.model.sha256 == two.model.sha256


def test_settings_are_read_from_their_own_json(generator: CrystalVae) -> None:
    again = CrystalVae.model_validate_json(json.dumps(_without_kind(generator)))
    assert again.fingerprint == generator.fingerprint


def _without_kind(generator: CrystalVae) -> dict[str, object]:
    return {name: value for name, value in generator.model_dump(mode="json").items() if name != "kind"}


def test_the_gan_draws_from_the_same_model(model_folder: Path) -> None:
    gan = CrystalGan.model_validate({"model": str(model_folder)})
    assert len(gan.sample(np.random.default_rng(0), 2, make_condition())) >= 1


def test_the_card_says_what_the_model_knows(model_folder: Path) -> None:
    card = (model_folder / "card.md").read_text()
    assert "a dozen textbook crystals" in card
    assert "Ti" in card
    assert sorted(path.name for path in model_folder.iterdir()) == [
        "card.md",
        "config.json",
        "model.safetensors",
    ]


def test_an_interrupted_training_leaves_a_model(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("epoch 3"):
            raise KeyboardInterrupt

    train_model(make_lessons(), tmp_path, make_settings(), "interrupted", interrupt)
    generator = CrystalVae.model_validate({"model": str(tmp_path)})
    assert generator.model.card["refiner"] is None
    assert len(generator.sample(np.random.default_rng(0), 2, make_condition())) == 2
    assert "interrupted before its end" in (tmp_path / "card.md").read_text()
    assert "without a GAN" in CrystalGan.model_validate({"model": str(tmp_path)}).refusal(make_condition())


def test_a_killed_training_continues_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invdesign.generators.network.train.CHECKPOINT_SECONDS", -1.0)

    class Killed(BaseException):
        """Stands for the end of the process."""

    def kill(line: str) -> None:
        if line.startswith("epoch 5"):
            raise Killed

    with pytest.raises(Killed):
        train_model(make_lessons(), tmp_path / "killed", make_settings(), "killed", kill)
    assert (tmp_path / "killed" / FOLDER).is_dir()
    lines: list[str] = []
    train_model(make_lessons(), tmp_path / "killed", make_settings(), "continued", lines.append)
    assert lines[0] == "continues after epoch 5"
    assert not (tmp_path / "killed" / FOLDER).exists()
    train_model(make_lessons(), tmp_path / "whole", make_settings(), "whole")
    one, two = (Artifact.read(tmp_path / name).tensors() for name in ("killed", "whole"))
    assert one.keys() == two.keys()
    for name in one:  # the last digits of sums depend on where arrays lie in memory
        assert_allclose(np.asarray(one[name], float), np.asarray(two[name], float), atol=5e-3, err_msg=name)


def test_a_checkpoint_of_other_data_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invdesign.generators.network.train.CHECKPOINT_SECONDS", -1.0)

    def interrupt(line: str) -> None:
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    train_model(make_lessons(), tmp_path, make_settings(), "some", interrupt)
    lines: list[str] = []
    train_model(make_lessons()[:11], tmp_path, make_settings(3), "fewer", lines.append)
    assert not any(line.startswith("continues") for line in lines)


def test_too_few_crystals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvdesignError, match="5 of 5 crystals can be learnt from, and 10 are needed"):
        train_model(make_lessons()[:5], tmp_path, make_settings(), "few")


def test_ten_crystals_are_enough(tmp_path: Path) -> None:
    train_model(make_lessons()[:10], tmp_path, make_settings(2), "ten")
    assert CrystalVae.model_validate({"model": str(tmp_path)}).known


def test_weights_of_another_version_are_refused(model_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(model_folder, old)
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").write_text(json.dumps({**config, "version": 0}))
    with pytest.raises(ValidationError, match="weights of version 0 of crystal_vae, and version 1 is read"):
        CrystalVae.model_validate({"model": str(old)})


def test_weights_that_do_not_match_their_card_are_refused(model_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValidationError, match="does not match its card"):
        CrystalVae.model_validate({"model": str(broken)})


def test_sizes_that_do_not_fit_the_weights_are_refused(model_folder: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(model_folder, strange)
    config = json.loads((strange / "config.json").read_text())
    config["network"]["hidden"] = 33
    (strange / "config.json").write_text(json.dumps(config))
    generator = CrystalVae.model_validate({"model": str(strange)})
    with pytest.raises(InvdesignError, match="do not belong together"):
        generator.prepare()


@pytest.mark.slow
def test_crystals_of_a_user_are_learnt_with_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invdesign.generators.network.train.MOST_EPOCHS", 2)
    monkeypatch.setattr("invdesign.generators.network.train.MOST_STEPS", 2)
    crystals = tuple(
        KnownCrystal(f"crystal {number}", structure, {"gap": float(number), "constant": 1.0})
        for number, structure in enumerate(make_structures())
    )
    shared = KnownCrystal("alloy", Structure(np.eye(3) * 4.0, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]))
    CrystalVae.train(TrainingSet((*crystals, shared), about="mine"), tmp_path, minutes=0.1)
    generator = CrystalVae.model_validate({"model": str(tmp_path)})
    assert [target["name"] for target in generator.model.card["targets"]] == ["gap"]
    assert "13 crystals, 1 left out" in (tmp_path / "card.md").read_text()
