"""Fronts, hypervolumes and desirabilities of a run: in the status, in its file, on the screen and in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invdesign import pareto
from invdesign.cli.describe import describe_campaign, describe_status, format_table
from invdesign.errors import RunError
from invdesign.run.notebook import status_line
from invdesign.run.run import Run
from invdesign.run.status import FILE, Best, read_status
from tests.support import campaign, finished, here


def numbers(*objectives: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A campaign over two numbers: `f1`, `f2`, and `height` from a second stage."""
    return {
        "version": 1,
        "name": "numbers",
        "space": {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}}},
        "evaluate": [{"landscape": {"function": "zdt1"}}, {"landscape": {"function": "sphere", "name": "s"}}],
        "objectives": list(objectives),
        "optimizer": {"kind": "random", "batch": 10},
        "budget": {"candidates": 40},
        **changes,
    }


PLAIN = ({"minimize": "f1", "reference": 1.0}, {"maximize": "height", "reference": 0.25})
AIMED = ({"target": {"f1": 0.5}}, {"window": {"f2": {"min": 1, "max": 2}}})
JUDGED = (
    {"minimize": "f1", "best": 0, "worst": 1},
    {"minimize": "f2", "best": 0, "worst": 4, "weight": 2},
    {"target": {"height": 0.5}, "tolerance": 1},
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two objectives with a reference point."""
    return finished(numbers(*PLAIN), tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def aimed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A target and a window, no reference point."""
    return finished(numbers(*AIMED), tmp_path_factory.mktemp("aimed") / "run")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three objectives combined to one score."""
    data = numbers(*JUDGED, scalarize="desirability")
    return finished(data, tmp_path_factory.mktemp("judged") / "run")


def test_the_volume_up_to_the_reference_given(plain: Run) -> None:
    """By hand from all values; the same in status and API, and another reference gives another volume."""
    table = plain.table()
    values = np.stack([table["f1"], -table["height"]], axis=1)
    expected = pareto.hypervolume(values, np.array([1.0, -0.25]))
    volume = plain.status().hypervolume
    assert volume is not None
    assert volume.given
    assert volume.reference == {"f1": 1.0, "height": 0.25}
    assert volume.value == plain.hypervolume() == pytest.approx(expected)
    assert plain.hypervolume({"f1": 2.0, "height": 0.0}) > expected
    assert plain.hypervolume({"f1": 0.0, "height": 9.0}) == 0.0


def test_without_a_reference_it_lies_beyond_the_worst(aimed: Run) -> None:
    """A tenth of the range of distances beyond the largest, so that every candidate counts."""
    table = aimed.table()
    distances = np.stack(
        [np.abs(table["f1"] - 0.5), np.maximum(0, np.maximum(1 - table["f2"], table["f2"] - 2))], axis=1
    )
    worst, best = distances.max(axis=0), distances.min(axis=0)
    volume = aimed.status().hypervolume
    assert volume is not None
    assert not volume.given
    assert list(volume.reference.values()) == pytest.approx((worst + 0.1 * (worst - best)).tolist())
    assert volume.value == aimed.hypervolume() == pytest.approx(aimed.hypervolume(volume.reference))
    assert volume.value == pytest.approx(
        pareto.hypervolume(distances, np.array([*volume.reference.values()]))
    )


def test_the_best_of_a_target_is_the_closest(aimed: Run) -> None:
    """Its value is that of the property, not the distance."""
    f1 = aimed.table()["f1"].to_numpy()
    best, window = aimed.status().best
    assert best == Best("f1", "target", "", float(f1[np.abs(f1 - 0.5).argmin()]), best.candidate, "0.5")
    assert (window.direction, window.goal) == ("window", "1 to 2")
    assert window.value is not None
    assert 1 <= window.value <= 2


def test_the_front_as_a_table(aimed: Run) -> None:
    """Its members in the order of the first objective, with every column of the whole table."""
    table = aimed.front_table()
    assert table["candidate"].tolist() == list(aimed.front())
    assert list(table.columns) == list(aimed.table().columns)
    assert (np.diff(np.abs(table["f1"] - 0.5)) >= 0).all()
    assert len(table) == aimed.status().front_size


def test_a_combined_score(judged: Run) -> None:
    """The best candidate by desirability comes first, with the values of its objectives; there is no volume."""
    status = judged.status()
    table = judged.table()
    reached = np.stack([1 - table["f1"], 1 - table["f2"] / 4, 1 - np.abs(table["height"] - 0.5)], axis=1)
    expected = np.prod(np.clip(reached, 0, 1) ** np.array([0.25, 0.5, 0.25]), axis=1)
    assert table["desirability"].to_numpy() == pytest.approx(expected)
    first, *others = status.best
    winner = int(expected.argmax())
    assert (first.property, first.candidate) == ("desirability", winner)
    assert first.value == pytest.approx(expected.max())
    assert judged.hypervolume() == first.value
    assert [best.value for best in others] == [table[best.property][winner] for best in others]
    assert (status.hypervolume, status.ranked_by, status.front_size) == (None, 1, 1)
    assert judged.top(1)[0]["desirability"] == pytest.approx(expected.max())
    ranked = [row["desirability"] for row in judged.top(40)]
    assert ranked == sorted(ranked, reverse=True)


def test_one_objective_has_a_best_instead_of_a_volume(tmp_path: Path) -> None:
    """In the property's own sign; before anything is found it is not a number."""
    run = Run.create(campaign(numbers({"maximize": "height"})), tmp_path / "run")
    assert np.isnan(run.hypervolume())
    run.use_workers(0)
    run.execute()
    assert run.hypervolume() == run.table()["height"].max()
    assert run.status().hypervolume is None


def test_an_empty_run_of_several_objectives(tmp_path: Path) -> None:
    """No volume yet: nothing beats any reference."""
    run = Run.create(campaign(numbers(*AIMED)), tmp_path / "run")
    assert run.hypervolume() == 0.0
    assert run.hypervolume({"f1": 1.0, "f2": 1.0}) == 0.0
    assert (run.status().hypervolume, run.front(), len(run.front_table())) == (None, [], 0)


@pytest.mark.parametrize("reference", [{"f1": 1.0}, {"f1": 1.0, "f3": 1.0}, {"f1": 1.0, "height": np.inf}])
def test_a_reference_must_name_every_objective(plain: Run, reference: dict[str, float]) -> None:
    """Else the message says which there are."""
    with pytest.raises(RunError, match=r"reference point .* each of f1, height, got"):
        plain.hypervolume(reference)


@pytest.mark.parametrize("which", ["plain", "aimed", "judged"])
def test_the_status_file_is_read_as_written(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Every number comes back; a file of an earlier version lacks some, and is read all the same."""
    status = request.getfixturevalue(which).status()
    status.write(tmp_path)
    assert read_status(tmp_path) == status
    data = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    for name in ("hypervolume", "ranked_by"):
        del data[name]
    for row in data["best"]:
        del row["goal"]
    (tmp_path / FILE).write_text(json.dumps(data), encoding="utf-8")
    assert read_status(tmp_path).hypervolume is None


def test_what_a_person_reads(plain: Run, aimed: Run, judged: Run) -> None:
    """Goals in words, the volume with its reference point and where that comes from, the score's objectives."""
    text = "\n".join(describe_status(plain.status()))
    assert "up to f1 1, height 0.25 (as given)" in text
    assert "hypervolume" in status_line(plain.status())
    text = "\n".join(describe_status(aimed.status()))
    assert "bring f1 to 0.5: 0." in text
    assert "keep f2 at 1 to 2: 1." in text
    assert " off (a tenth beyond the worst found)" in text
    assert "hypervolume" not in status_line(aimed.status())
    lines = describe_status(judged.status())
    assert [line[:12].strip() for line in lines[3:7]] == ["best", "its", "its", "its"]
    assert lines[3].startswith("best        maximize desirability: 0.")
    assert not any(line.startswith(("front", "hypervolume")) for line in lines)
    asked = describe_campaign(judged.campaign)
    assert "  objective: minimize f2 (best 0, worst 4, weight 2)" in asked
    assert "  objective: bring height to 0.5 (tolerance 1)" in asked
    assert "  combined to one score: desirability" in asked
    head = format_table(judged.top(2), judged.campaign)[0].split()
    assert head[:4] == ["rank", "candidate", "formula", "desirability"]


def test_status_on_the_command_line(plain: Run) -> None:
    """As JSON, a program finds value, unit, reference and whose it is."""
    done = here("status", plain.folder, "--json", "--trust-code")
    assert json.loads(done.stdout)["hypervolume"] == {
        "value": plain.hypervolume(),
        "unit": "",
        "reference": {"f1": 1.0, "height": 0.25},
        "given": True,
    }


def test_files_of_a_campaign_are_named(tmp_path: Path) -> None:
    """What a campaign would do says which table it learns from, not all that is in it."""
    (tmp_path / "known.csv").write_text("x,y,height\n0.25,0,7.0\n0.5,0,8.0\n")
    document = numbers({"maximize": "height"})
    document["optimizer"] = {"kind": "bayesian", "prior": [{"table": str(tmp_path / "known.csv")}]}
    (line,) = [line for line in describe_campaign(campaign(document)) if line.startswith("  optimizer: ")]
    assert "'known.csv'" in line
    assert "0.25" not in line
