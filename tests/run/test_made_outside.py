"""What was made is not what was designed: data of the run all the same, and never a proposal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.candidate import genome_key
from invdesign.errors import ResultsError, RunError
from invdesign.protocols import Placement, place_genome
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.sheets.results import Results, read_results
from tests.support import Data, campaign, here, written

PARAMETERS = {
    "kind": "parameters",
    "parameters": {
        "heat": {"real": [300.0, 420.0]},
        "salt": {"real": [0.4, 1.2]},
        "binder": {"ordinal": [2, 4, 6]},
        "solvent": {"categorical": ["EC", "DMC"]},
    },
}
MIXTURE = {
    "kind": "mixture",
    "mixtures": {
        "salt": {
            "components": {"A": [0.05, 0.7], "B": {}, "C": {"max": 0.4}, "D": {"max": 0.4}},
            "at_most": 3,
        }
    },
}


def measured(space: Data = PARAMETERS, **changes: Any) -> Data:
    """A campaign of one measurement."""
    return {
        "version": 1,
        "name": "made",
        "seed": 5,
        "space": space,
        "evaluate": [{"experiment": {"provides": {"gain": "dB"}}}],
        "objectives": [{"maximize": "gain"}],
        "optimizer": {"kind": "genetic", "population": 4},
        "budget": {"candidates": 40},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }


def recipe(**changes: Any) -> dict[str, Any]:
    return {"heat": 350.0, "salt": 1.0, "binder": 4, "solvent": "EC", **changes}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Four candidates wait; nothing was told."""
    opened = Run.create(campaign(measured()), tmp_path / "run")
    opened.ask(4)
    yield opened
    opened.close()


def read(run: Run, text: str, folder: Path) -> Results:
    (folder / "results.csv").write_text(text, encoding="utf-8")
    return read_results(run, folder / "results.csv")


# Taken, and marked.


def test_it_is_told_and_shown(run: Run, tmp_path: Path) -> None:
    """With a remark, as a candidate of its own that is marked wherever candidates are listed."""
    found = read(run, "heat,salt,binder,solvent,gain\n350,1.26,4,EC,9\n351,1,5,EC,1\n", tmp_path)
    assert found.remarks[0].startswith(
        "line 2: made outside the space (salt must be a number in [0.4, 1.2], got 1.26)"
    )
    taken = run.tell(found.told)
    assert taken.outside == {
        4: "salt must be a number in [0.4, 1.2], got 1.26",
        5: "binder must be one of 2, 4, 6, got 5",
    }
    assert run.table()["outside"].tolist() == [False] * 4 + [True] * 2
    assert run.row(4)["outside"] == taken.outside[4]
    assert run.design(4).parameters == recipe(salt=1.26)
    run.tell([Told(0, properties={"gain": 3.0})])
    assert list(run.front()) == [0]
    assert [row["candidate"] for row in run.top()] == [0, 4, 5]
    notes = run.status().notes
    assert "candidates 4, 5 were made outside the space: they are data for the models" in notes[-2]
    assert (
        "candidate 4, outside the space, is better than the best within it: to search there, widen"
        in notes[-1]
    )


def test_the_command_line_says_so(tmp_path: Path) -> None:
    """`tell` remarks on it by its line; `top` and `show` mark it; `add` refuses to propose it."""
    written(measured(), tmp_path / "made.yaml")
    here("ask", "run", "--campaign", "made.yaml", "-n", 1, "--output", "batch.csv", cwd=tmp_path)
    (tmp_path / "own.csv").write_text("heat,salt,binder,solvent,gain\n433,1,4,EC,2\n")
    said = here("tell", "run", "own.csv", cwd=tmp_path).stdout
    assert (
        "own.csv, line 2: made outside the space (heat must be a number in [300, 420], got 433): it is data"
        in said
    )
    assert "Not asked for, added to the run: candidate 1." in said
    assert here("top", "run", cwd=tmp_path).stdout.splitlines()[1].endswith("outside the space")
    assert "outside the space: heat must be" in here("show", "run", 1, cwd=tmp_path).stdout
    (tmp_path / "wish.csv").write_text("heat,salt,binder,solvent\n433,1,4,DMC\n")
    refused = here("add", "run", "wish.csv", cwd=tmp_path)
    assert refused.returncode == 2
    assert "must be a number in [300, 420]" in refused.stderr


def test_measured_again(run: Run) -> None:
    """A second measurement of it is averaged with the first; told twice it is known; taken back it counts no more."""
    told = [Told(None, recipe(salt=1.3), {"gain": 2.0})]
    run.tell(told)
    assert run.tell(told).known == 1
    run.tell([Told(4, properties={"gain": 4.0}, label="second")])
    assert run.trial(4).properties["gain"] == 3.0
    with pytest.raises(
        RunError, match="candidate 4 was made outside the space: nothing evaluates it further"
    ):
        run.promote([4], "experiment")
    run.withdraw([4], "mixed up")
    assert not any("made outside" in note for note in run.status().notes)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown choice": (recipe(solvent="EMC"), "parameter 'solvent' must be one of EC, DMC"),
    "a missing parameter": ({"heat": 350.0, "salt": 1.0, "binder": 4}, "lacks the parameter 'solvent'"),
    "text": (recipe(heat="hot"), "parameter 'heat' must be a number"),
    "true": (recipe(salt=True), "parameter 'salt' must be a number"),
    "no number": (recipe(salt=float("nan")), "a genome holds finite numbers only, got nan"),
    "without end": (recipe(heat=float("inf")), "a genome holds finite numbers only, got inf"),
    "another name": (recipe(humidity=0.4), "no parameter 'humidity'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_is_refused(run: Run, name: str) -> None:
    """And nothing is recorded, not even of the others."""
    genome, message = BAD[name]
    with pytest.raises(RunError, match=message):
        run.tell([Told(0, properties={"gain": 1.0}), Told(None, genome, {"gain": 1.0})])
    assert run.measurements() == []


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_no_number_is_no_design(run: Run, number: str, tmp_path: Path) -> None:
    """What is not finite was not made."""
    with pytest.raises(ResultsError, match="parameter 'salt' must be a number"):
        read(run, f"heat,salt,binder,solvent,gain\n350,{number},4,EC,9\n", tmp_path)


# Resume.


def week(run: Run, again: Callable[[Run], Run]) -> Run:
    """Batches with samples in between that missed their recipe; `again` may close and open the run at any time."""
    for day in range(2):
        run = again(run)
        ids = run.ask(3)
        run = again(run)
        solvent = {"solvent": 0} if isinstance(run.trial(0).genome["solvent"], int) else {}
        run.tell([Told(None, recipe(heat=430.0 + day, **solvent), {"gain": 9.0 + day})])
        run = again(run)
        run.tell([Told(id, properties={"gain": 2.0 - float(run.trial(id).genome["salt"])}) for id in ids])  # type: ignore[arg-type]
    return run


@pytest.mark.parametrize(
    "optimizer",
    [
        "genetic",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("swarm", "cma", "random", "auto", "bayesian")
        ),
    ],
)
def test_resume_is_exact(optimizer: str, tmp_path: Path) -> None:
    """Days apart or in one go, the run is the same; and no proposal comes from, or lies, outside."""

    def anew(run: Run) -> Run:
        run.close()
        return Run.open(run.folder)

    choices = {"solvent": {"integer": [0, 3]}} if optimizer == "cma" else {}
    space = {**PARAMETERS, "parameters": {**PARAMETERS["parameters"], **choices}}  # type: ignore[dict-item]
    data = measured(space, optimizer=optimizer)
    one = week(Run.create(campaign(data), tmp_path / "one"), lambda run: run)
    many = week(Run.create(campaign(data), tmp_path / "many"), anew)
    assert one.digest() == many.digest()
    outside = set(one.history.outside())
    assert len(outside) == 2
    assert list(Run.open(tmp_path / "one").history.outside()) == sorted(outside)
    for id in set(range(len(one.history))) - outside:
        candidate = one.history.candidate(id)
        one.campaign.space.build(candidate.genome)
        assert not outside & set(candidate.proposal.parents)
    assert not outside & set(one.front())


# Forks.


def test_forks_take_it_along(run: Run, tmp_path: Path) -> None:
    """Outside the same space it stays what it was; in a wider one it is a candidate like others."""
    run.tell([Told(None, recipe(salt=1.3), {"gain": 2.0}), Told(None, recipe(heat=500.0), {"gain": 3.0})])
    run.close()
    same = fork(run.folder, tmp_path / "same")
    same.run.execute()
    assert [same.run.history.column("gain")[id] for id in same.run.history.outside()] == [2.0, 3.0]
    wide = {**PARAMETERS, "parameters": {**PARAMETERS["parameters"], "salt": {"real": [0.4, 1.5]}}}  # type: ignore[dict-item]
    made = fork(run.folder, tmp_path / "wide", campaign(measured(wide)))
    made.run.execute()
    history = made.run.history
    inside = history.id_of(genome_key(recipe(salt=1.3)))
    assert inside is not None
    assert [history.candidate(id).genome["heat"] for id in history.outside()] == [500.0]
    assert history.column("gain")[inside] == 2.0
    assert list(made.run.front()) == [inside]
    assert (made.left_out, made.unmeasured) == ({}, {})


# Rounded designs.


@pytest.fixture(scope="module", params=[PARAMETERS, MIXTURE], ids=["parameters", "mixture"])
def waiting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Eight candidates in the laboratory."""
    opened = Run.create(
        campaign(measured(request.param, optimizer="random")), tmp_path_factory.mktemp("w") / "run"
    )
    opened.ask(8)
    yield opened
    opened.close()


@settings(max_examples=20, deadline=None)
@given(id=st.integers(0, 7), digits=st.integers(1, 7))
def test_a_design_within_its_written_digits_is_found(
    waiting: Run, id: int, digits: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the digits, a rounded row is the candidate it was rounded from, or several are named with it."""
    space: Any = waiting.campaign.space
    shown = space.to_cells(waiting.trial(id).genome)
    cells = {name: f"{v:.{digits}f}" if isinstance(v, float) and v else str(v) for name, v in shown.items()}
    text = ",".join([*cells, "gain"]) + "\n" + ",".join([*cells.values(), "1"]) + "\n"
    try:
        (told,) = read(waiting, text, tmp_path_factory.mktemp("rounded")).told
    except ResultsError as error:
        named = str(error).split("with so few digits, this may be any of the candidates ")[1].split(".")[0]
        assert str(id) in named.split(", ")
    else:
        assert genome_key(told.genome or {}) == waiting.trial(id).candidate.key


def test_a_rounded_row_told_twice_is_known(run: Run, tmp_path: Path) -> None:
    """The candidate it was matched to waits no more; the row still means it, and records nothing again."""
    genome = run.trial(2).genome
    row = f"{genome['heat']:.1f},{genome['salt']:.2f},{genome['binder']},{genome['solvent']},7\n"
    text = f"heat,salt,binder,solvent,gain\n{row}"
    found = read(run, text, tmp_path)
    assert found.remarks == ("line 2: its design, as far as it is written, is that of candidate 2.",)
    assert run.tell(found.told).recorded == 1
    again = run.tell(read(run, text, tmp_path).told)
    assert (again.recorded, again.known, again.added) == (0, 1, ())


def test_digits_of_a_numbered_row_must_not_contradict(run: Run, tmp_path: Path) -> None:
    """Fewer digits agree with the candidate; another value is refused, with what to do."""
    genome = run.trial(1).genome
    salt = float(genome["salt"])  # type: ignore[arg-type]
    (told,) = read(run, f"candidate,salt,gain\n1,{salt:.1f},2\n", tmp_path).told
    assert told.candidate == 1
    with pytest.raises(ResultsError, match="clear the cells candidate and genome"):
        read(run, f"candidate,salt,gain\n1,{salt + 0.02:.2f},2\n", tmp_path)


# Where it lies.


@pytest.mark.parametrize("beyond", [1e-8, 3e-7])
def test_a_limit_missed_by_rounding_is_the_limit(beyond: float) -> None:
    """On either side, and of a sum too: the same candidate, not one outside."""
    space: Any = campaign(measured()).space
    assert place_genome(space, recipe(salt=1.2 + beyond)) == Placement(recipe(salt=1.2))
    assert place_genome(space, recipe(salt=0.4 - beyond)) == Placement(recipe(salt=0.4))
    assert place_genome(space, recipe(binder=4.0 - beyond)) == Placement(recipe(binder=4))
    mixture: Any = campaign(measured(MIXTURE)).space
    assert not place_genome(mixture, {"salt": {"A": 0.7 + beyond, "B": 0.3}}).outside


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ("0.3333,0.6666,0,0", {"A": 0.333333333333, "B": 0.666666666667}),
        ("0.33,0.33,0.33,0", {"A": 1 / 3, "B": 1 / 3, "C": 1 / 3}),
        ("0.143,0.429,0.286,0.143", "too many, too few or too little"),
        ("0.01,0.99,,", "A must lie in [0.05, 0.7], got 0.01"),
        ("0.5,,0.5,0", "C must lie in [0, 0.4], got 0.5"),
    ],
)
def test_fractions_as_they_are_written(cells: str, found: Any) -> None:
    """Sums within the digits written are scaled; bounds and counts of components may be missed."""
    space: Any = campaign(measured(MIXTURE)).space
    row = {name: cell for name, cell in zip("ABCD", cells.split(","), strict=True) if cell}
    placement = place_genome(space, space.from_cells(row), space.rounding(row))
    if isinstance(found, dict):
        assert not placement.outside
        assert placement.genome["salt"] == pytest.approx(found)
    else:
        assert found in placement.outside


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("30,60,10,0", "add up to 100, must be 1: these look like per cent; divide by 100"),
        ("0.3,0.6,0,0", "add up to 0.9, must be 1: complete them, or divide each by their sum"),
        ("0.3333,0.6656,0,0", "add up to 0.9989, must be 1"),
        ("0.8,0.3,-0.1,0", "the fraction of C cannot be negative, got -0.1"),
    ],
)
def test_sums_that_are_no_rounding_are_refused(cells: str, message: str, tmp_path: Path) -> None:
    """With the sum, and the remedy."""
    run = Run.create(campaign(measured(MIXTURE)), tmp_path / "run")
    with pytest.raises(ResultsError, match=message):
        read(run, f"A,B,C,D,gain\n{cells},1\n", tmp_path)


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3), digits=st.integers(2, 6))
def test_rounded_fractions_are_the_mixture(parts: list[float], digits: int) -> None:
    """Three shares written with their digits are accepted, and lie no farther off than these."""
    space: Any = campaign(measured(MIXTURE)).space
    share = np.array(parts) / np.sum(parts)
    row = {name: f"{value:.{digits}f}" for name, value in zip("BAC", share, strict=True)}
    placement = place_genome(space, space.from_cells(row), space.rounding(row))
    own: Any = placement.genome["salt"]
    assert sum(own.values()) == pytest.approx(1.0, abs=1e-10)
    off = [abs(own.get(name, 0.0) - value) for name, value in zip("BAC", share, strict=True)]
    assert max(off) <= 2.5 * 10.0**-digits
