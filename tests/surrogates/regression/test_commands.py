"""The commands of trained models: train, predict, show, list, evaluate."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from surrogates.regression import console
from surrogates.regression.commands import surrogate
from surrogates.regression.material import Material
from surrogates.regression.predicting import load_predictor
from tests.surrogates.regression.salts import MODEL, write_salts

TRAIN = (
    "--target",
    "metal content",
    "--property",
    "metal_content",
    "--features",
    "element_fractions",
    "--model",
    "ridge",
)


def invoke(*arguments: object) -> Result:
    """Run a command of `invdesign surrogate`."""
    return CliRunner().invoke(surrogate, [str(item) for item in arguments])


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def salts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of metal contents."""
    return write_salts(tmp_path_factory.mktemp("data") / "salts.csv")


@pytest.fixture(scope="module")
def trained(salts: Path) -> Path:
    """A model of the salts, trained on the command line."""
    folder = salts.parent / "mass"
    done = invoke("train", salts, *TRAIN, "--threshold", 500, "--shuffles", 0, "--output", folder)
    assert done.exit_code == 0, done.output
    assert f"Wrote {folder}" in done.output
    return folder


def test_training_again_gives_the_same_arrays(trained: Path, salts: Path, tmp_path: Path) -> None:
    """The same table, options and seed: byte by byte."""
    assert (
        invoke("train", salts, *TRAIN, "--threshold", 500, "--shuffles", 0, "-o", tmp_path / "m").exit_code
        == 0
    )
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert {path.name for path in trained.iterdir()} == {"model.safetensors", "config.json", "card.md"}


def test_predictions_keep_every_row(trained: Path, tmp_path: Path) -> None:
    """With interval, probability, domain and overlap; a row that fails has its reason in place of numbers."""
    table = tmp_path / "in.csv"
    table.write_text("name,formula\na,LiF\nb,K3OCl\nc,LixO\nd,FeO\n=e,CsI\n", encoding="utf-8")
    done = invoke("predict", trained, table, "--output", tmp_path / "out.csv")
    assert done.exit_code == 0
    assert (
        "4 of 5 rows predicted by mass, 2 outside its domain, 2 with a composition of its training data"
        in done.stderr
    )
    rows = read_rows(tmp_path / "out.csv")
    assert [row["name"] for row in rows] == ["a", "b", "c", "d", "'=e"]
    for row in (rows[0], rows[1]):
        assert (
            float(row["lower_90 [g/kg]"]) < float(row["metal_content [g/kg]"]) < float(row["upper_90 [g/kg]"])
        )
    assert [row["in_training"] for row in rows] == ["1", "0", "", "0", "1"]
    assert [row["out_of_domain"] for row in rows] == ["0", "1", "", "1", "0"]
    assert "it has 3 elements, and every training row has 2" in rows[1]["reasons"]
    assert "no training row holds Fe" in rows[3]["reasons"]
    assert "its amounts are not fixed" in rows[2]["failure"]
    assert rows[2]["metal_content [g/kg]"] == ""
    assert float(rows[4]["probability_of_500_or_more"]) > float(rows[0]["probability_of_500_or_more"])


def test_intervals_cover_most_rows(trained: Path, salts: Path, tmp_path: Path) -> None:
    """Of the training data, which are no harder than new groups, at least the stated share but for one row in ten."""
    assert invoke("predict", trained, salts, "-o", tmp_path / "out.csv").exit_code == 0
    values = [float(row["metal content (g/kg)"]) for row in read_rows(salts)]
    rows = read_rows(tmp_path / "out.csv")
    covered = [
        float(row["lower_90 [g/kg]"]) <= value <= float(row["upper_90 [g/kg]"])
        for row, value in zip(rows, values, strict=True)
    ]
    assert sum(covered) >= 0.8 * len(covered)


def test_predictions_fail_if_nothing_can_be_predicted(trained: Path, tmp_path: Path) -> None:
    """The table with the reasons is written all the same."""
    table = tmp_path / "in.csv"
    table.write_text("formula\nLixO\n", encoding="utf-8")
    done = invoke("predict", trained, table, "-o", tmp_path / "out.csv")
    assert done.exit_code == 1
    assert "0 of 1 row predicted" in done.stderr
    assert "not fixed" in read_rows(tmp_path / "out.csv")[0]["failure"]


def test_predictions_are_printed_for_programs(trained: Path, tmp_path: Path) -> None:
    """JSON on standard output, counts on standard error."""
    table = tmp_path / "in.csv"
    table.write_text("formula\nLiF\nAb\n", encoding="utf-8")
    done = invoke("predict", trained, table, "--json")
    first, second = json.loads(done.stdout)
    assert first["lower"] < first["metal_content"] < first["upper"]
    assert second["metal_content"] is None
    assert "Ab" in second["failure"]


def test_models_are_measured_on_other_data(trained: Path, salts: Path, tmp_path: Path) -> None:
    """Errors and coverage in the model's unit; rows that the training data hold are said, and left out in a second table."""
    other = tmp_path / "other.csv"
    lines = salts.read_text(encoding="utf-8").replace("(g/kg)", "(mg/kg)").splitlines()
    known = [
        ",".join([f, f"{1000 * float(v):.2f}", *rest]) for f, v, *rest in (x.split(",") for x in lines[1:6])
    ]
    new = ["Li2Te,98000,x,", "Na2Te,264900,x,", "K2Te,379900,x,"]  # by standard atomic weights
    other.write_text("\n".join([lines[0], *known, *new]) + "\n", encoding="utf-8")
    done = invoke("evaluate", trained, other, "--target", "metal content")
    assert done.exit_code == 0, done.exception
    assert "converted from mg/kg to g/kg" in done.stderr
    assert (
        "5 of 8 rows have a composition of the training data: the figures above flatter the model"
        in done.stdout
    )
    assert "without these, 3 rows:" in done.stdout
    found = json.loads(invoke("evaluate", trained, other, "--target", "metal content", "--json").stdout)
    assert (found["rows"], found["in_training"]) == (8, 5)
    metrics = {row["metric"]: row["unit"] for row in found["figures"]["figures"]}
    assert metrics["mae"] == "g/kg"
    other.write_text("formula,metal content (V)\nLiF,1\nLiCl,2\n", encoding="utf-8")
    done = invoke("evaluate", trained, other, "--target", "metal content")
    assert "is in V, and metal_content is in g/kg" in str(done.exception)


def test_the_card_holds_the_figures_of_cross_validation(salts: Path, tmp_path: Path) -> None:
    """Also importances, a learning curve and a baseline on request."""
    done = invoke("train", salts, *TRAIN, "--folds", 3, "--details", "-o", tmp_path / "m", "--json")
    assert done.exit_code == 0, done.exception
    about = json.loads(done.stdout)["about"]
    assert "3 folds by groups, 1 shuffle" in about["figures"]["split"]
    assert {"mae", "coverage_90"} <= {row["metric"] for row in about["figures"]["figures"]}
    assert about["importances"]["sets"]
    assert about["baselines"]
    assert "mae" in (tmp_path / "m" / "card.md").read_text(encoding="utf-8").lower()


def test_a_known_composition_is_recognised_on_any_scale(trained: Path) -> None:
    """Also of a crystal with rounded occupancies; another composition of the same elements is new."""
    predictor = load_predictor(str(trained))
    amounts = ({"Li": 4.0, "F": 4.0}, {"Li": 3.99, "F": 4.0}, {"Li": 3.9, "F": 4.0}, {"Li": 1.0, "Sr": 1.0})
    assert [predictor.is_known(Material("", own)) for own in amounts] == [True, True, False, False]


def test_a_model_moves_with_its_folder(trained: Path, tmp_path: Path) -> None:
    """Nothing in it names its place."""
    shutil.copytree(trained, tmp_path / "elsewhere")
    first, second = load_predictor(str(trained)), load_predictor(str(tmp_path / "elsewhere"))
    assert first.model.config == second.model.config
    assert str(trained) not in (trained / "config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("weights", "does not match its card"),
        ("pickle", "weights.pkl is a pickle by its name"),
        ("kind", "expected is a model folder of the kind 'property_model'"),
        ("features", "other columns of the feature set element_fractions"),
    ],
)
def test_damaged_models_are_refused(trained: Path, tmp_path: Path, damage: str, words: str) -> None:
    """A hash that differs, a pickle, another kind, features of another version."""
    folder = tmp_path / "mass"
    shutil.copytree(trained, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if damage == "weights":
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(bytes(data))
    elif damage == "pickle":
        (folder / "weights.pkl").write_bytes(b"\x80\x04.")
    else:
        config |= {"kind": "linear"} if damage == "kind" else {}
        if damage == "features":
            config["features"]["element_fractions"]["columns"] = "0" * 16
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    table = tmp_path / "in.csv"
    table.write_text("formula\nLiF\n", encoding="utf-8")
    done = invoke("predict", folder, table)
    assert done.exit_code
    assert words in str(done.exception)


def test_a_folder_with_something_else_is_not_overwritten(salts: Path, tmp_path: Path) -> None:
    """It is refused before anything is computed."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    done = invoke("train", salts, *TRAIN, "-o", tmp_path)
    assert "holds something else than a model" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_wrong_names_of_features_and_models_are_told_together(salts: Path, tmp_path: Path) -> None:
    """With the nearest and all that there are."""
    done = invoke(
        "train",
        salts,
        "--target",
        "metal content",
        "--features",
        "element_fraction",
        "--model",
        "forest",
        "-o",
        tmp_path / "m",
    )
    assert "there is no feature set 'element_fraction'" in str(done.exception)
    assert "Did you mean 'element_fractions'?" in str(done.exception)
    assert "there is no kind of model 'forest'" in str(done.exception)


def test_an_interrupted_training_leaves_nothing(
    salts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends with the code of shells."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "read_dataset", interrupt)
    done = invoke("train", salts, *TRAIN, "-o", tmp_path / "m")
    assert done.exit_code == 130
    assert "Stopped" in done.stderr
    assert not list(tmp_path.iterdir())


def test_models_are_shown_and_listed() -> None:
    """The card for people, the configuration for programs."""
    assert "metal_content" in invoke("show", MODEL).output
    shown = json.loads(invoke("show", MODEL, "--json").output)
    assert shown["about"]["data"]["rows"] == 47
    assert shown["target"] == {"name": "metal_content", "unit": "g/kg", "threshold": 500.0}
    assert isinstance(json.loads(invoke("list", "--json").output), list)
    done = invoke("show", "nowhere")
    assert "neither a shipped model" in str(done.exception)


def test_predictions_do_not_replace_their_input(trained: Path, tmp_path: Path) -> None:
    """The table of the user would be lost."""
    table = tmp_path / "in.csv"
    table.write_text("formula,note\nLiF,mine\n", encoding="utf-8")
    done = invoke("predict", trained, table, "--output", table)
    assert "is the input itself" in str(done.exception)
    assert "mine" in table.read_text(encoding="utf-8")


def test_strict_needs_a_scatter(salts: Path, tmp_path: Path) -> None:
    """Without one nothing would be refused."""
    done = invoke("train", salts, *TRAIN, "--strict", "--output", tmp_path / "mass")
    assert "--strict needs --scatter" in str(done.exception)


def test_a_group_of_most_rows_is_told_by_the_fold_that_fails(tmp_path: Path) -> None:
    """The rows left are too few for a training, not those of the file."""
    lines = [f"Li{n}F{n + 1},{n},{'large' if n <= 20 else n}" for n in range(1, 31)]
    table = tmp_path / "large.csv"
    table.write_text("\n".join(["formula,mass (g),lab", *lines]) + "\n", encoding="utf-8")
    options = ("--target", "mass", "--features", "element_fractions", "--model", "ridge", "--groups", "lab")
    done = invoke("train", table, *options, "--output", tmp_path / "mass")
    assert "one group holds 20 of 30 rows" in done.output
    text = str(done.exception)
    assert "cross-validation, shuffle 1 of 1, fold" in text
    assert "10 rows with a known value" in text
    assert not (tmp_path / "mass").exists()
