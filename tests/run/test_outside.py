"""Results from outside: candidates wait, go on with what is told, in any order; history is kept and resume exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Genome
from invdesign.errors import RunError
from invdesign.run import requests
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.store.store import Store
from tests.support import STEPS, Data, campaign, finished, funnel

REALS = {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in ("x", "y")}}
HEIGHT = {f"{STEPS}:Height": {"gate": {"height": {"max": 1.7}}}}
OUTSIDE = {f"{STEPS}:Outside": {"noise": {"strength": 0.2}}}


def measured(optimizer: Any = "random", evaluate: Any = None, objectives: Any = None, **changes: Any) -> Data:
    """A gate, then a measurement, then batches of two computed from it all."""
    stages = [HEIGHT, OUTSIDE, f"{STEPS}:Crystal", {f"{STEPS}:Density": {"batch_size": 2}}]
    return funnel(
        30,
        space=REALS,
        evaluate=evaluate or stages,
        optimizer=optimizer,
        objectives=objectives or [{"maximize": "strength"}, {"maximize": "density"}],
        constraints=[],
        engine={"kind": "local", "workers": 0},
        **changes,
    )


def strength(genome: Genome) -> float:
    return round(5.0 - (float(genome["x"]) - 0.4) ** 2 - float(genome["y"]), 6)  # type: ignore[arg-type]


def told(run: Run, *ids: int, **changes: Any) -> list[Told]:
    return [Told(id, properties={"strength": strength(run.trial(id).genome)}, **changes) for id in ids]


def days(run: Run, again: Callable[[Run], Run]) -> Run:
    """Everything that happens in a laboratory; `again` may close and open the run between any two steps."""
    first = run.ask(4)
    run = again(run)
    second = run.ask(3)
    run = again(run)
    run.tell(told(run, *second))  # out of order
    run = again(run)
    run.tell(told(run, *first[:2]))
    run = again(run)
    run.tell([Told(first[0], properties={"strength": 4.0}, label="repeat")])
    run = again(run)
    run.tell([Told(first[1], properties={"strength": 3.0})], replace=True)
    run = again(run)
    run.tell([Told(first[2], failure="it cracked"), Told(None, {"x": 0.25, "y": 0.125}, {"strength": 4.5})])
    run = again(run)
    run.withdraw([second[0]], "the oven was off")
    run = again(run)
    run.withdraw([second[1]], "a wrong sample", again=True)
    run = again(run)
    third = run.ask(3)
    assert second[1] in third
    run = again(run)
    run.tell(told(run, *third))
    return again(run)


def opened_anew(run: Run) -> Run:
    run.close()
    return Run.open(run.folder, trust_code=True)


@pytest.mark.parametrize(
    "optimizer",
    [
        "random",
        {"kind": "genetic", "population": 6},
        {"kind": "genetic", "mode": "steady_state", "population": 6},
    ],
    ids=["random", "generational", "overlapping"],
)
def test_invocations_end_as_one_go(optimizer: Any, tmp_path: Path) -> None:
    """Whether each step is a process of its own, or all happen in one, changes nothing."""
    data = measured(optimizer)
    one = days(Run.create(campaign(data), tmp_path / "one"), lambda run: run)
    many = days(Run.create(campaign(data), tmp_path / "many"), opened_anew)
    assert many.digest() == one.digest()
    values = many.history.column("strength")
    np.testing.assert_array_equal(values, one.history.column("strength"))
    np.testing.assert_array_equal(many.history.status_by_trial(), one.history.status_by_trial())
    np.testing.assert_array_equal(many.history.column("density"), one.history.column("density"))
    loaded = Run.open(tmp_path / "one", trust_code=True).history
    np.testing.assert_array_equal(loaded.column("strength"), values)
    np.testing.assert_array_equal(loaded.status_by_trial(), one.history.status_by_trial())
    assert list(loaded.superseded()) == list(one.history.superseded())


def test_what_is_told_counts(tmp_path: Path) -> None:
    """Values are averaged with their noise; what was replaced or withdrawn is history; the unasked has a number."""
    run = Run.create(campaign(measured()), tmp_path / "run")
    ids = run.ask(3)
    assert run.waiting() == {"Outside": ids}
    assert run.handed_out() == ids
    assert run.status().waiting == {"Outside": 3}
    run.tell(told(run, ids[0]))
    run.tell([Told(ids[0], properties={"strength": 1.0}, label="second")])
    mean = (strength(run.trial(ids[0]).genome) + 1.0) / 2
    assert run.trial(ids[0]).properties["strength"] == pytest.approx(mean)
    assert run.trial(ids[0]).noise["strength"] > 0.2  # the two disagree by more than their noise
    taken = run.tell([Told(None, {"x": 0.5, "y": 0.5}, {"strength": 9.0}, {"strength": 0.5})])
    (new,) = taken.added
    assert run.trial(new).candidate.proposal.operator == "user"
    assert dict(run.trial(new).noise)["strength"] == 0.5
    assert run.tell([Told(None, {"x": 0.5, "y": 0.5}, {"strength": 9.0}, {"strength": 0.5})]).known == 1
    run.withdraw([new], "misread")
    assert run.trial(new).status.name == "WITHDRAWN"
    assert [m.withdrawn is None for m in run.measurements(new)] == [False]
    assert new not in run.front()
    run.tell([Told(new, properties={"strength": 8.0})])
    assert run.trial(new).properties["strength"] == 8.0
    assert run.ask(1) != [new]


def test_told_before_the_gate(tmp_path: Path) -> None:
    """What never comes to its stage is said so; its measurement is kept."""
    run = Run.create(campaign(measured()), tmp_path / "run")
    taken = run.tell([Told(None, {"x": 1.0, "y": 1.0}, {"strength": 1.0})])
    assert "gated before Outside" in taken.stopped[0]
    assert len(run.measurements()) == 1


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Told(99, properties={"strength": 1.0}), "candidates 0 to 1"),
        (Told(0, properties={"strength": float("nan")}), "not a finite number"),
        (
            Told(0, properties={"stronk": 1.0}),
            "no stage has just stronk; a result has all the properties of one stage",
        ),
        (Told(0), "a failure and no values"),
        (Told(0, properties={"strength": 1.0}, failure="broke"), "and a failure"),
        (Told(0, properties={"strength": 1.0}, noise={"strength": -1.0}), "not negative"),
        (Told(0, properties={"strength": 1.0}, stage="Outsider"), "Did you mean 'Outside'"),
        (Told(None, {"z": 1.0}, {"strength": 1.0}), "result 2: "),
        (Told(properties={"strength": 1.0}), "neither a candidate nor a genome"),
    ],
)
def test_a_wrong_result_takes_nothing(result: Told, says: str, tmp_path: Path) -> None:
    """Beside a good one, too: all or nothing."""
    run = Run.create(campaign(measured()), tmp_path / "run")
    ids = run.ask(2)
    before = run.digest()
    with pytest.raises(RunError, match="Nothing was changed") as caught:
        run.tell([*told(run, ids[0]), result])
    assert says in str(caught.value)
    assert run.digest() == before


def test_known_results_stand_in(tmp_path: Path) -> None:
    """A stage that would be computed is not, where its result was told before, also for a promotion of the genome."""
    run = finished(funnel(12), tmp_path / "run")
    genome = {"x": 0.25, "y": 0.25, "n": 1}
    taken = run.tell([Told(None, genome, {"height": 1.3125})])
    trial = run.trial(taken.added[0])
    assert trial.properties["height"] == 1.3125
    assert trial.status.name == "COMPLETE"
    assert run.status().state == "finished"


def test_a_bad_evaluation_is_taken_back(tmp_path: Path) -> None:
    """It counts no more, or is evaluated anew and says the same; the search goes on either way."""
    run = finished(funnel(36), tmp_path / "run")
    first, second = run.top(2)[0]["candidate"], run.top(2)[1]["candidate"]
    before = dict(run.trial(second).properties)
    run.withdraw([first], "a wrong structure")
    run.withdraw([second], "a doubt", again=True)
    assert run.top(1)[0]["candidate"] != first
    assert dict(run.trial(second).properties) == pytest.approx(before)  # batches change last digits
    run.change(budget={"candidates": 48})
    run.use_workers(0)
    assert run.execute().counts["asked"] == 48
    assert run.status().counts["withdrawn"] == 1


@pytest.mark.parametrize(
    ("ids", "options", "says"),
    [
        ([99], {}, "no candidate 99"),
        ([], {}, "nothing to withdraw"),
        ([0], {"measurements": [7]}, "measurement 7"),
    ],
)
def test_wrong_withdrawals(ids: list[int], options: dict[str, Any], says: str, tmp_path: Path) -> None:
    """Nothing is changed by them."""
    run = finished(funnel(12), tmp_path / "run")
    with pytest.raises(RunError, match=says):
        run.withdraw(ids, "why not", **options)


def test_only_what_is_measured_is_asked_for(tmp_path: Path) -> None:
    """A run whose stages are all computed hands nothing out."""
    run = finished(funnel(12), tmp_path / "run")
    with pytest.raises(RunError, match="invdesign resume"):
        run.ask(2)


def test_nothing_is_lost_of_a_first_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the optimizer was told of those a gate stopped, before any was handed out."""
    data = measured({"kind": "genetic", "population": 6}, seed=5)
    data["evaluate"] = [{f"{STEPS}:Height": {"gate": {"height": {"max": 0.8}}}}, OUTSIDE]
    data["objectives"] = [{"maximize": "strength"}]
    whole = Run.create(campaign(data), tmp_path / "whole")
    whole.ask(4)
    run = Run.create(campaign(data), tmp_path / "run")
    write = Store.write_event

    def dying(store: Store, number: int, kind: str, *rest: Any, **more: Any) -> None:
        if kind == "hand_out":
            raise KeyboardInterrupt
        write(store, number, kind, *rest, **more)

    monkeypatch.setattr(Store, "write_event", dying)
    with pytest.raises(KeyboardInterrupt):
        run.ask(4)
    monkeypatch.undo()
    run = opened_anew(run)
    assert any(trial.status.name == "GATED" for trial in map(run.trial, range(len(run.history))))
    assert run.ask(4) == whole.handed_out()
    assert run.digest() == whole.digest()


def test_a_gate_still_holds_for_what_comes_again(tmp_path: Path) -> None:
    """Taken back and evaluated anew, a gated candidate is gated."""
    run = Run.create(campaign(measured()), tmp_path / "run")
    run.tell([Told(None, {"x": 1.0, "y": 1.0}, {"strength": 1.0})])
    run.withdraw(0, "a doubt", again=True)
    assert run.trial(0).status.name == "GATED"
    assert run.waiting() == {}


def test_results_of_two_stages_at_once(tmp_path: Path) -> None:
    """The earlier of them decides from where a candidate goes its way again."""
    run = Run.create(campaign(measured()), tmp_path / "run")
    (id,) = run.ask(1)
    run.tell(told(run, id))
    results = [
        Told(id, properties={"strength": 3.0}, label="b"),
        Told(id, properties={"height": 0.5}, stage="Height"),
    ]
    with pytest.raises(RunError, match="was evaluated: Height says height"):
        run.tell(results)
    assert run.status().state == "waiting"  # a refusal is no failure of the run
    run.tell(results, replace=True)
    assert run.trial(id).properties["height"] == 0.5
    assert run.trial(id).properties["strength"] == 3.0


def test_a_genome_counts_once_after_withdrawals(tmp_path: Path) -> None:
    """Of a chain of promotions the middle may go; what was taken further is not withdrawn itself."""
    run = Run.create(campaign(funnel(30, space=REALS)), tmp_path / "run")
    run.use_workers(0)
    (first,) = run.add([{"x": 0.5, "y": 0.5}], until="Height")
    (second,) = run.promote([first], "Crystal")
    (third,) = run.promote([second], "Density")
    with pytest.raises(RunError, match=f"taken further by candidate {third}"):
        run.withdraw(second, "a doubt")
    assert run.history.superseded() == [first, second]
    run.withdraw(third, "a doubt")
    assert run.history.superseded() == [first]
    assert Run.open(run.folder, trust_code=True).history.superseded() == [first]


@pytest.mark.parametrize(
    "result",
    [
        {"candidate": "0", "properties": {"height": 1.0}, "stage": "Height"},
        {"candidate": 0, "properties": [1], "stage": "Height"},
        {"genome": {"nonsense": 1}, "properties": {"height": 1.0}},
    ],
)
def test_a_request_nobody_can_read_ends_nothing(result: Any, tmp_path: Path) -> None:
    """It is refused, and the run goes on."""
    run = Run.create(campaign(funnel(12)), tmp_path / "run")
    run.use_workers(0)
    request = requests.write_request(run.folder, "tell", {"results": [result], "replace": False})
    assert run.execute().state == "finished"
    assert "Nothing was changed" in requests.read_refusal(run.folder, request)


def test_models_see_what_was_replaced(tmp_path: Path) -> None:
    """A recommendation is made anew when what it rests on has changed."""
    run = Run.create(
        campaign(measured(evaluate=[OUTSIDE], objectives=[{"maximize": "strength"}])), tmp_path / "run"
    )
    ids = run.ask(8)
    run.tell(told(run, *ids))
    before = run.recommend()
    assert run.recommend() is before
    run.tell([Told(ids[0], properties={"strength": 0.5})], replace=True)
    assert run.recommend() is not before
