"""Screens: equal to brute force, exact after any interruption, and clear about what they cannot do."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.errors import InvdesignError, RunError, RunLockedError, StoreError
from invdesign.screening.best import Best, Kept, round_scores
from invdesign.screening.known import read_known, reduce_formula
from invdesign.screening.scanning import Bins
from invdesign.screening.screen import Options, Outcome, Screen, StoppedError
from invdesign.screening.tiers import list_tiers
from invdesign.screening.writing import write_outputs
from tests.examples import PROPERTY_MODEL
from tests.plugins.scorers import Curved, Linear
from tests.support import PATIENCE, ROOT, campaign, written

SCORERS = "tests.plugins.scorers"
STATES = {
    "Li": [1], "Na": [1], "Mg": [2], "Al": [3], "Fe": [2, 3], "Si": [4], "P": [3, 5],
    "O": [-2], "S": [-2], "F": [-1], "Cl": [-1],
}  # fmt: skip
SMALL = Options(keep=400, top=40, workers=0, checkpoint=0.0, fast_unit=700, slow_unit=90)


def screened(*stages: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A campaign over some thousand compositions, screened by `stages`; by default a fast linear one."""
    return {
        "version": 1,
        "name": "screened",
        "space": {
            "kind": "composition",
            "elements": STATES,
            "required": [["Li", "Na"]],
            "elements_per_formula": [2, 4],
            "max_count": 5,
        },
        "evaluate": list(stages) or [{f"{SCORERS}:Linear": {}}],
        "objectives": [{"maximize": "value"}],
        "optimizer": "random",
        "budget": {"candidates": 10},
        **changes,
    }


def run(
    data: Mapping[str, Any], folder: Path, options: Options = SMALL
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Table and facts of a screen, run to its end."""
    screen = Screen(campaign(data), folder, options)
    facts = write_outputs(screen, screen.run(), None)
    with (folder / "top.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream)), facts


def brute_force(data: Mapping[str, Any], options: Options = SMALL) -> list[tuple[str, str]]:
    """Formula and value of the best, from the list of all compositions, through all tiers in turn."""
    space: Any = campaign(data).space
    left = [dict(space.compositions.unrank(number)) for number in range(space.compositions.count())]
    stages = [(next(iter(stage)), next(iter(stage.values()))) for stage in data["evaluate"]]
    for number, (kind, settings) in enumerate(stages):
        evaluator = (Curved if kind.endswith("Curved") else Linear)(
            **{k: v for k, v in settings.items() if k != "gate"}
        )
        left = [amounts for amounts in left if not evaluator.refuse_elements(list(amounts))]
        values = evaluator.score_compositions(left, ["value"])["value"]
        low = settings.get("gate", {}).get("value", {}).get("min", -np.inf)
        order = [
            row for row in np.argsort(round_scores(-values), kind="stable").tolist() if values[row] >= low
        ]
        end = options.top if number == len(stages) - 1 else options.keep
        chosen = order[:end] if number == len(stages) - 1 else sorted(order[:end])
        left, values = [left[row] for row in chosen], values[chosen]
    return [
        (reduce_formula(amounts), f"{value:.10g}")
        for amounts, value in zip(left, values.tolist(), strict=True)
    ]


def shown(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Formula and value of the rows of a table."""
    from pymatgen.core import Composition

    return [
        (
            reduce_formula({str(k): v for k, v in Composition(row["formula"]).as_dict().items()}),
            row["value (eV)"],
        )
        for row in rows
    ]


FUNNELS = {
    "linear": [{f"{SCORERS}:Linear": {}}],
    "slow": [{f"{SCORERS}:Linear": {"fast": False}}],
    "gated": [{f"{SCORERS}:Linear": {"gate": {"value": {"min": 1.0}}, "refused": {"Al": "Al is unknown"}}}],
    "two tiers": [
        {f"{SCORERS}:Linear": {"refused": {"F": "F is unknown"}}},
        {f"{SCORERS}:Curved": {"seed": 3}},
    ],
}


@pytest.mark.parametrize("name", FUNNELS)
def test_the_table_is_that_of_brute_force(name: str, tmp_path: Path) -> None:
    data = screened(*FUNNELS[name])
    rows, _ = run(data, tmp_path / "screen")
    assert shown(rows) == brute_force(data)
    assert len(rows) == SMALL.top


def test_a_constraint_of_a_later_tier_is_not_asked_of_the_first() -> None:
    """Fast forms give the objective alone, so a domain that the last tier judges does not slow the first."""
    model = {"model": PROPERTY_MODEL}
    data = screened(
        {"surrogate": {**model, "name": "first"}},
        {"surrogate": {**model, "name": "last"}},
        objectives=[{"maximize": "metal_content"}],
        constraints=[{"metal_content_extrapolated": {"max": 0}}],
    )
    first, last = list_tiers(campaign(data), "here")
    assert first.carried == ("metal_content",)
    assert set(last.carried) == {"metal_content", "metal_content_extrapolated"}
    assert [str(own) for own in (*first.conditions, *last.conditions)] == ["metal_content_extrapolated <= 0"]


def test_an_evaluator_without_fast_scores_gives_the_same_table(tmp_path: Path) -> None:
    options = Options(keep=100, top=30, workers=0)
    plain, facts = run(screened({f"{SCORERS}:Plain": {}}), tmp_path / "plain", options)
    fast, _ = run(screened(), tmp_path / "fast", options)
    assert shown(plain) == shown(fast)
    assert facts["passes"][0]["scored_by"] == "candidates"


def test_every_candidate_is_counted_once(tmp_path: Path) -> None:
    stage = {"refused": {"Al": "Al is unknown"}, "gate": {"value": {"max": 2.0}}}
    data = screened({f"{SCORERS}:Linear": stage})
    space: Any = campaign(data).space
    _, facts = run(data, tmp_path / "screen")
    first = facts["passes"][0]
    reasons = {row["reason"]: row for row in first["refused_by_reason"]}
    with_aluminium = sum("Al" in space.compositions.unrank(n) for n in range(space.compositions.count()))
    assert reasons["Al is unknown"]["count"] == with_aluminium
    assert "Al" in reasons["Al is unknown"]["example"]
    assert set(reasons) == {"Al is unknown", "not value <= 2"}
    histogram = first["histogram"]
    counted = sum(histogram["counts"]) + histogram["below"] + histogram["above"]
    assert first["refused"] + counted == first["seen"] == facts["candidates"] == space.compositions.count()


def test_a_failure_is_a_reason_without_the_formula(tmp_path: Path) -> None:
    data = screened({f"{SCORERS}:Plain": {"failing": "Mg"}})
    _, facts = run(data, tmp_path / "screen", Options(keep=50, top=5, workers=0))
    (reason,) = facts["passes"][0]["refused_by_reason"]
    assert reason["reason"] == "Plain failed: the composition holds Mg"
    assert reason["count"] > 100


def files_of(folder: Path) -> tuple[bytes, Any]:
    """The table and all facts that do not tell a time."""
    facts = json.loads((folder / "screen.json").read_text(encoding="utf-8"))
    for own in facts["passes"]:
        for name in ("seconds", "worker_seconds", "candidates_per_second", "candidates_per_worker_second"):
            own.pop(name)
    return (folder / "top.csv").read_bytes(), facts


def test_two_workers_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    data = screened(*FUNNELS["two tiers"])
    for workers in (0, 2):
        changed = Options(400, 40, workers, 0.0, SMALL.fast_unit, SMALL.slow_unit)
        run(data, tmp_path / str(workers), changed)
    assert files_of(tmp_path / "0") == files_of(tmp_path / "2")


@pytest.mark.parametrize("stops", [1, 4])
def test_a_stopped_screen_goes_on_to_the_same_end(stops: int, tmp_path: Path) -> None:
    data = screened(*FUNNELS["two tiers"])
    run(data, tmp_path / "whole")
    sessions = 0
    while True:
        screen = Screen(campaign(data), tmp_path / "parts", SMALL)
        told: list[int] = []

        def stop_soon(progress: object, screen: Screen = screen, told: list[int] = told) -> None:
            told.append(1)
            if len(told) > stops:
                screen.stop()

        try:
            outcome: Outcome = screen.run(stop_soon)
        except StoppedError:
            sessions += 1
            continue
        write_outputs(screen, outcome, None)
        break
    assert sessions > 1
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_a_killed_screen_goes_on_to_the_same_end(tmp_path: Path) -> None:
    data = screened({f"{SCORERS}:Linear": {"delay": 0.02}})
    run(data, tmp_path / "whole")
    script = (
        "import json, sys; from pathlib import Path; from tests.screening.test_screen import run, SMALL\n"
        "run(json.loads(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", script, json.dumps(data), str(tmp_path / "killed")]
    state, kills = tmp_path / "killed" / "pass-1.npz", 0
    while True:
        before = state.stat().st_mtime_ns if state.is_file() else 0
        process = subprocess.Popen(arguments, cwd=ROOT)
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and kills < 3 and time.monotonic() < deadline:
            if state.is_file() and state.stat().st_mtime_ns != before:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        if process.wait(PATIENCE) == 0:
            break
    assert kills > 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_finished_screen_only_writes_its_outputs_again(tmp_path: Path) -> None:
    data = screened()
    run(data, tmp_path / "screen")
    before = files_of(tmp_path / "screen")
    (tmp_path / "screen" / "top.csv").unlink()
    run(data, tmp_path / "screen")
    assert files_of(tmp_path / "screen") == before


def test_judgements_and_known_compounds_stand_beside_the_values(tmp_path: Path) -> None:
    data = screened()
    screen = Screen(campaign(data), tmp_path / "screen", SMALL)
    outcome = screen.run()
    first = outcome.described[0].amounts
    (tmp_path / "known.txt").write_text(f"formula\n# by hand\n{reduce_formula(first)}\n", encoding="utf-8")
    write_outputs(screen, outcome, read_known(tmp_path / "known.txt"))
    with (tmp_path / "screen" / "top.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["known"] for row in rows] == ["yes"] + ["no"] * (len(rows) - 1)
    for row, described in zip(rows, outcome.described, strict=True):
        assert (row["outside_domain"] == "yes") == ("F" in described.amounts)
        assert (row["in_training"] == "yes") == ("Na" in described.amounts)
        assert (
            float(row["value lower 90 % (eV)"])
            < float(row["value (eV)"])
            < float(row["value upper 90 % (eV)"])
        )


POOL = "name,formula\na,Li2O\nb,LiF\nc,Na2S\nd,NaCl\ne,MgO\n"


def test_a_pool_is_screened_by_its_rows(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text(POOL, encoding="utf-8")
    space = {"kind": "pool", "source": str(tmp_path / "pool.csv"), "id": "name", "composition": "formula"}
    rows, facts = run(screened(space=space), tmp_path / "fast")
    plain, _ = run(screened({f"{SCORERS}:Plain": {}}, space=space), tmp_path / "plain")
    assert facts["candidates"] == 5
    assert [(row["genome"], row["value (eV)"]) for row in rows] == [
        (row["genome"], row["value (eV)"]) for row in plain
    ]
    assert {row["formula"] for row in rows} == {"Li2O", "LiF", "Na2S", "NaCl", "MgO"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "space": {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}}},
                "evaluate": [{"landscape": {"function": "zdt2"}}],
                "objectives": [{"minimize": "f1"}],
            },
            "cannot be numbered",
        ),
        ({"evaluate": [{f"{SCORERS}:Linear": {}}, {"minimum_distance": {}}]}, "structure"),
        ({"objectives": [{"maximize": "value"}, {"minimize": "value"}]}, "ranks by one number|twice"),
        (
            {
                "evaluate": [{"charge_neutrality": {}}, {f"{SCORERS}:Linear": {}}],
            },
            "the first tier .charge_neutrality. must provide value",
        ),
        (
            {"evaluate": [{f"{SCORERS}:Linear": {}}, {"experiment": {"provides": {"capacity": "mAh/g"}}}]},
            "on_demand",
        ),
    ],
)
def test_a_campaign_that_cannot_be_screened_says_why(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvdesignError, match=message):
        Screen(campaign(screened(**changes)), tmp_path / "screen", SMALL)
    assert not (tmp_path / "screen").exists()


def test_options_have_limits(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="raise --keep"):
        Screen(campaign(screened()), tmp_path / "screen", Options(keep=10, top=20))


def test_a_folder_holds_one_screen(tmp_path: Path) -> None:
    run(screened(), tmp_path / "screen")
    other = screened(objectives=[{"minimize": "value"}])
    with pytest.raises(RunError, match="maximize there, minimize now"):
        run(other, tmp_path / "screen")
    with pytest.raises(RunError, match="keep: 400 there, 300 now"):
        run(screened(), tmp_path / "screen", Options(300, 40, 0, 0.0, 700, 90))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match=r"not empty \(thesis.txt\)"):
        run(screened(), tmp_path / "full")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    run(screened(), tmp_path / "screen")
    state = tmp_path / "screen" / "pass-1.npz"
    state.write_bytes(state.read_bytes()[:-200])
    with pytest.raises(StoreError, match=r"pass-1\.npz is damaged.*Remove it"):
        run(screened(), tmp_path / "screen")


def test_one_process_works_on_a_screen(tmp_path: Path) -> None:
    from invdesign.screening.folder import lock_folder

    with lock_folder(tmp_path / "screen"), pytest.raises(RunLockedError, match="another process works"):
        run(screened(), tmp_path / "screen")


def test_mistakes_of_a_list_of_known_compounds_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("Li2O\nNaCl?\nXyO\n", encoding="utf-8")
    with pytest.raises(InvdesignError, match=r"(?s)2 mistakes.*known.txt:2.*known.txt:3"):
        read_known(tmp_path / "known.txt")


def test_the_command_prints_counts_and_writes_the_table(tmp_path: Path) -> None:
    file = written(screened(), tmp_path / "campaign.yaml")
    command = [sys.executable, "-m", "invdesign", "screen", str(file), "--output", str(tmp_path / "screen")]
    found = subprocess.run(
        [*command, "--top", "5", "--workers", "0", "--trust-code"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert "Screened " in found.stdout
    assert "top.csv" in found.stdout
    assert (tmp_path / "screen" / "top.csv").read_text(encoding="utf-8").count("\n") == 6


SCORES = st.lists(
    st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]) | st.floats(-5, 5), min_size=1, max_size=60
)


@given(SCORES, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_best_do_not_depend_on_their_order(scores: list[float], most: int, random: Any) -> None:
    rounded = round_scores(np.array(scores))
    expected = np.lexsort((np.arange(len(scores)), rounded))[:most]
    order = list(range(len(scores)))
    random.shuffle(order)
    best = Best(most, 1)
    while order:
        size = random.randint(1, len(order))
        rows, order = np.array(order[:size]), order[size:]
        rows = rows[best.find_candidates(np.array(scores)[rows])]
        best.add(Kept(rounded[rows], rows.astype(np.int64), rounded[rows][:, None]))
    kept = best.list_kept().rank()
    assert kept.indices.tolist() == expected.tolist()
    assert kept.values[:, 0].tolist() == rounded[expected].tolist()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_bins_hold_their_sample(values: list[float]) -> None:
    bins = Bins.around(min(values), max(values))
    counts = bins.count(np.array(values))
    assert counts.sum() == len(values)
    assert counts[0] == counts[-1] == 0
    assert bins.number <= 210
