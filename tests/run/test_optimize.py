"""A search in one call: made, stopped, gone on with, and every mistake told in the call's own words."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import invdesign
from invdesign.candidate import Input
from invdesign.errors import CampaignChangedError, CampaignError, InvdesignError, RunLockedError
from invdesign.optimizers.genetic import Genetic
from invdesign.run.run import Run
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.store.lock import lock_run
from surrogates.tabulated.landscape import Landscape
from tests.plugins.steps import Picky
from tests.support import environment

SPACE = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "y": {"real": [0, 1]}}}
GENETIC = {"kind": "genetic", "population": 5}
PEROVSKITES = {
    "kind": "substitution",
    "parent": "antiperovskite",
    "sites": {"A": ["Li"], "X": ["Cl", "Br"], "O": ["O", "S"]},
}
Arguments = dict[str, Any]


def bowl(centre: float, seen: list[int]) -> Any:
    """A fitness function that no module holds: it captures where its bowl is, and a list it writes to."""

    @invdesign.fitness(provides={"depth": "mm"}, requires=["parameters"])
    def depth(candidate: Input) -> tuple[float, float]:
        seen.append(candidate.id)
        x, y = float(candidate.parameters["x"]), float(candidate.parameters["y"])
        return (x - centre) ** 2 + y, 0.01

    return depth


def asked(folder: Path, function: Any, **changes: Any) -> Arguments:
    """A call for a small run."""
    plain: Arguments = {
        "space": SPACE,
        "fitness": function,
        "minimize": "depth",
        "optimizer": GENETIC,
        "budget": 16,
        "workers": 0,
        "run_dir": folder,
    }
    return plain | changes


# What comes of it.


def test_a_closure_on_one_process_and_on_two(tmp_path: Path) -> None:
    """What a function captures goes with it to the workers, and the number of processes changes nothing."""
    function = bowl(0.3, [])
    here = invdesign.optimize(**asked(tmp_path / "here", function))
    there = invdesign.optimize(**asked(tmp_path / "there", function, workers=2))
    assert there.status().state == here.status().state == "finished"
    assert there.digest() == here.digest()
    best = here.trial(here.ranking()[0])
    assert best.properties["depth"] == pytest.approx((best.genome["x"] - 0.3) ** 2 + best.genome["y"])
    assert best.noise == {"depth": 0.01}
    assert here.campaign.units() == {"depth": "mm"}


def test_the_same_call_goes_on(tmp_path: Path) -> None:
    """A finished run is given back at once, a larger budget continues it, and nothing is evaluated twice."""
    seen: list[int] = []
    function = bowl(0.3, seen)
    first = invdesign.optimize(**asked(tmp_path / "run", function))
    again = invdesign.optimize(**asked(tmp_path / "run", function))
    assert seen == list(range(16))
    assert again.digest() == first.digest()
    assert len(again.store.session_rows()) == 1
    more = invdesign.optimize(**asked(tmp_path / "run", function, budget=26))
    assert seen == list(range(26))
    whole = invdesign.optimize(**asked(tmp_path / "whole", function, budget=26))
    assert more.digest() == whole.digest()


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends the call in good order; `execute` goes on with the function at hand, to the same end."""
    seen: list[int] = []

    @invdesign.fitness(provides={"depth": "mm"})
    def depth(candidate: Input) -> float:
        seen.append(candidate.id)
        if len(seen) == 7:
            signal.raise_signal(signal.SIGINT)
        return float(candidate.parameters["x"])

    run = invdesign.optimize(**asked(tmp_path / "run", depth))
    assert run.status().state == "stopped"
    assert "run.execute()" in run._repr_html_()
    assert run.execute().state == "finished"
    assert seen == list(range(16))
    whole = invdesign.optimize(**asked(tmp_path / "whole", depth))
    assert run.digest() == whole.digest()


def test_a_second_interrupt_where_somebody_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up the evaluation under way and keeps Python alive; that evaluation is repeated."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    seen: list[int] = []

    @invdesign.fitness(provides={"depth": "mm"})
    def depth(candidate: Input) -> float:
        seen.append(candidate.id)
        for _ in range(2 if len(seen) == 7 else 0):
            signal.raise_signal(signal.SIGINT)
        return float(candidate.parameters["x"])

    with pytest.raises(KeyboardInterrupt):
        invdesign.optimize(**asked(tmp_path / "run", depth))
    assert Run.open(tmp_path / "run").status().state == "stopped"
    run = invdesign.optimize(**asked(tmp_path / "run", depth))
    assert seen == [*range(7), *range(6, 16)]
    whole = invdesign.optimize(**asked(tmp_path / "whole", depth))
    assert run.digest() == whole.digest()


def test_a_run_is_only_made(tmp_path: Path) -> None:
    """`execute=False` makes it; it works later, also after it was opened with its function."""
    function = bowl(0.3, [])
    made = invdesign.optimize(**asked(tmp_path / "run", function, execute=False))
    assert made.status().state == "new"
    assert Run.open(tmp_path / "run", functions=[function]).execute().state == "finished"


def test_functions_and_evaluators_together(tmp_path: Path) -> None:
    """Built-in evaluators stand beside functions; a later function reads what they said."""

    @invdesign.fitness(provides={"slope": "", "total": "mm"}, requires=["height", "depth"])
    def both(candidate: Input) -> dict[str, float]:
        height, depth = candidate.properties["height"], candidate.properties["depth"]
        return {"slope": height, "total": height + depth}

    function = bowl(0.3, [])
    run = invdesign.optimize(
        SPACE,
        [{function: {"gate": {"depth": {"max": 0.6}}}}, Landscape(function="sphere"), both],
        minimize=[function, "total"],
        constraints={"slope": {"max": 1.5}},
        optimizer=Genetic(population=6),
        budget=18,
        workers=0,
        run_dir=tmp_path / "run",
    )
    assert [stage.name for stage in run.campaign.funnel] == ["build", "depth", "landscape", "both"]
    assert run.status().counts["gated"] > 0
    best = run.trial(run.front()[0]).properties
    assert best["total"] == pytest.approx(best["height"] + best["depth"])


def test_the_funnel_is_completed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The evaluator that gives what another requires is put before it, and that is said."""
    caplog.set_level(logging.INFO, "invdesign.run")
    common: Arguments = {"minimize": "energy_above_hull", "execute": False}

    @invdesign.fitness(provides={"price": "EUR/kg"}, requires=["composition"])
    def price(candidate: Input) -> float:
        return len(candidate.composition)

    run = invdesign.optimize(PEROVSKITES, [price, "energy_above_hull"], run_dir=tmp_path / "run", **common)
    assert [stage.name for stage in run.campaign.stages] == ["price", "relax", "energy_above_hull"]
    said = "relax was put before energy_above_hull, which needs its energy_per_atom."
    assert run.campaign.description == said
    assert said in caplog.messages
    assert said in run._repr_html_()
    fitness = ["energy_per_atom", "relax", price, "energy_above_hull"]
    other = invdesign.optimize(PEROVSKITES, fitness, run_dir=tmp_path / "other", **common)
    assert [stage.name for stage in other.campaign.stages] == ["relax", "price", "energy_above_hull"]


def test_plugins_made_in_python(tmp_path: Path) -> None:
    """A space of a module of one's own is found by the workers, and asks for trust when it is opened from its store."""
    run = invdesign.optimize(**asked(tmp_path / "run", bowl(0.3, []), space=Picky(), workers=1))
    assert run.status().counts["complete"] > 0
    with pytest.raises(InvdesignError, match="trust"):
        Run.open(tmp_path / "run")
    plain = ParameterSpace.model_validate(
        {"parameters": {"x": {"real": [0.0, 1.0]}, "y": {"integer": [0, 3]}}}
    )
    made = invdesign.optimize(**asked(tmp_path / "made", bowl(0.3, []), space=plain))
    assert made.campaign.code == ()


def test_runs_have_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named after the first function, or as the caller says."""
    monkeypatch.chdir(tmp_path)
    for extra in ({}, {"name": "Slurry: 2nd try"}):
        arguments = asked(
            tmp_path, [{"landscape": {"function": "sphere"}}, bowl(0.3, [])], execute=False, **extra
        )
        del arguments["run_dir"]
        invdesign.optimize(**arguments)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["Slurry-2nd-try", "depth"]


SCRIPT = """
import invdesign

scale = 2.0

@invdesign.fitness(provides={"depth": "mm"}, requires=["parameters"])
def depth(candidate):
    return scale * candidate.parameters["x"]

space = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}}
run = invdesign.optimize(space, depth, minimize="depth", optimizer={"kind": "genetic", "population": 5}, budget=10, workers=2)
print(run.status().state, run.status().counts["complete"], run.folder)
"""


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    """Functions of a script reach its workers, which do not run the script again; nothing but its own words is printed."""
    (tmp_path / "search.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "search.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["finished", "10", "runs/depth"], "")


# What is there already.


def test_another_search_in_the_same_place(tmp_path: Path) -> None:
    """What differs is said, with the ways out, and nothing is touched."""
    function = bowl(0.3, [])
    first = invdesign.optimize(**asked(tmp_path / "run", function))
    changed = asked(tmp_path / "run", function, minimize=(), maximize="depth", seed=3, budget=99)
    with pytest.raises(CampaignChangedError) as refused:
        invdesign.optimize(**changed)
    said = str(refused.value)
    assert "seed: 0 -> 3" in said
    assert "minimize -> maximize" in said
    assert "give another run_dir (or name)" in said
    assert Run.open(tmp_path / "run").digest() == first.digest()
    assert Run.open(tmp_path / "run").campaign.budget.candidates == 16


def test_a_changed_function_is_noticed(tmp_path: Path) -> None:
    """Another captured number is another function; the message says which."""
    invdesign.optimize(**asked(tmp_path / "run", bowl(0.3, []), budget=5))
    with pytest.raises(CampaignChangedError, match="the captured value 'centre'"):
        invdesign.optimize(**asked(tmp_path / "run", bowl(0.4, []), budget=10))


def test_a_run_at_work_elsewhere(tmp_path: Path) -> None:
    """One process works on a run; the second is told who does."""
    function = bowl(0.3, [])
    invdesign.optimize(**asked(tmp_path / "run", function, execute=False))
    with lock_run(tmp_path / "run"), pytest.raises(RunLockedError, match="is in use by process"):
        invdesign.optimize(**asked(tmp_path / "run", function))


# Mistakes.


def plain(candidate: Input) -> float:
    return 1.0


@invdesign.fitness(provides={"a": "GPa", "b": ""}, requires=["parameters"])
def two(candidate: Input) -> dict[str, float]:
    return {"a": 1.0, "b": 2.0}


class Nested:
    """A class that holds another."""

    class Space(ParameterSpace):
        """Which no worker can import by its name."""


SPHERE = {"landscape": {"function": "sphere"}}
MISTAKES: list[tuple[Arguments, str]] = [
    ({"fitness": plain}, 'fitness: plain is a plain function, which does not say what it provides. Decorate it with @invdesign.fitness(provides={"plain": "UNIT"}).'),
    ({"fitness": [two, lambda c: 1.0]}, 'provides={"my_property": "UNIT"}'),
    ({"fitness": [two, 3]}, "fitness[1]: expected a fitness function or the name of an evaluator, got 3 (int)."),
    ({"fitness": []}, "fitness: nothing is to be evaluated."),
    ({"fitness": "landscap"}, "fitness.landscap: there is no evaluator 'landscap'. Did you mean 'landscape'?"),
    ({"fitness": Landscape}, "fitness: Landscape is a class: give an instance, Landscape(...)."),
    ({"fitness": "my_module:hardness"}, "Import it and give the function itself: from my_module import hardness."),
    ({"fitness": [two, two]}, "fitness[1]: there is a stage 'two' already."),
    ({"fitness": [{two: {"tiemout": 3}}]}, "fitness[0].tiemout: unknown key. Did you mean 'timeout'?"),
    ({"fitness": [{two: {"speed": 3}}]}, "fitness[0].speed: unknown key. Allowed: name, gate, timeout, on_demand, suffix."),
    ({"fitness": [{two: 3}]}, "fitness[0]: expected settings as 'key: value', got 3"),
    ({"fitness": [{two: {}, "landscape": {}}]}, "fitness[0]: expected an evaluator, as 'relax' or 'relax: {...}', got {\"two\": {}, \"landscape\": {}}"),
    ({"fitness": {"landscape": 3}}, "fitness.landscape: expected settings as 'key: value', got 3"),
    ({"fitness": {}}, "fitness: expected an evaluator"),
    ({"fitness": [{two: {"timeout": -3}}]}, "fitness[0].timeout: must be greater than 0, got -3"),
    ({"fitness": [{"landscape": {"function": "zdt3"}}]}, "fitness[0].landscape.function: expected 'sphere'"),
    ({"fitness": "energy_above_hull"}, "fitness (relax, which was put before others): relax needs a structure"),
    ({"minimize": ()}, "maximize, minimize: nothing says what is wanted. Provided are: a (GPa), b."),
    ({"minimize": "c"}, "minimize: no evaluator of this campaign provides 'c'. Provided are: a, b."),
    ({"minimize": ["a", "c"]}, "minimize[1]: no evaluator of this campaign provides 'c'."),
    ({"minimize": two}, "It provides a, b: name one."),
    ({"minimize": "a", "maximize": ["a"]}, "a is an objective twice"),
    ({"target": 3}, "target: must be written as 'key: value', got 3"),
    ({"target": {"b": "high"}}, 'target.b: must be a number, got "high"'),
    ({"window": {"b": {"min": 3, "max": 2}}}, "window.b: min (3) is above max (2)"),
    ({"objectives": {"minimize": "b"}}, "objectives: must be a list, got {\"minimize\": \"b\"}"),
    ({"constraints": {"b": {"mx": 3}}}, "constraints.b.mx: unknown key. Did you mean 'max'?"),
    ({"scalarize": "sum"}, "scalarize: expected 'desirability', got \"sum\""),
    ({"optimizer": "genetik"}, "optimizer: there is no optimizer 'genetik'. Did you mean 'genetic'?"),
    ({"optimizer": Genetic}, "optimizer: Genetic is a class: give an instance, Genetic(...)."),
    ({"space": None}, "space: expected a name, a mapping with 'kind' or a plug-in, got None (NoneType)."),
    ({"space": {"kind": "parameters"}}, "space.parameters: this key is required."),
    ({"space": "my_spaces:Mine"}, "Import it and make one: from my_spaces import Mine."),
    ({"space": Nested.Space.model_validate({"parameters": {"x": {"real": [0.0, 1.0]}}})}, "space: Nested.Space is defined where worker processes cannot import it."),
    ({"budget": 0}, "budget: must be greater than 0, got 0"),
    ({"budget": "many"}, 'budget: must be a whole number, got "many"'),
    ({"budget": {"days": 3}}, "budget.days: unknown key."),
    ({"workers": -1}, "workers: must be greater than or equal to 0, got -1"),
    ({"seed": -1}, "seed: must be greater than or equal to 0, got -1"),
    ({"seeds": [{"x": 2, "y": 0}]}, "seeds[0]: parameter 'x' must be a number in [0, 1], got 2"),
    ({"constraints": {"b": {"max": float("nan")}}}, "constraints: must be finite, got nan"),
    ({"run_dir": 3}, "run_dir: expected a folder, got 3 (int)."),
    ({"observer": "yes"}, "observer: expected a function of the status, got 'yes' (str)."),
    ({"scalarize": {3}}, "scalarize: expected numbers, text, lists and mappings, got {3} (set)"),
    ({"name": ""}, 'name: must not be empty, got ""'),
    ({"max_failure_rate": 2}, "max_failure_rate: must be less than or equal to 1, got 2"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_mistakes(arguments: Arguments, message: str, tmp_path: Path) -> None:
    """Each is told once, at its argument, and nothing is made."""
    good: Arguments = {"space": SPACE, "fitness": two, "minimize": "a", "run_dir": tmp_path / "run"}
    with pytest.raises(CampaignError) as refused:
        invdesign.optimize(**(good | arguments))
    assert str(refused.value).count(message) == 1, str(refused.value)
    assert refused.value.__cause__ is None
    assert not (tmp_path / "run").exists()


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """As in a campaign file."""
    with pytest.raises(CampaignError) as refused:
        invdesign.optimize(
            SPACE, [two, plain, SPHERE], maximize=["a", "c"], budget=-1, run_dir=tmp_path / "run"
        )
    assert [mistake.path for mistake in refused.value.mistakes] == ["fitness[1]", "budget", "maximize[1]"]
