"""What a worker process makes of a task: answers for each member, whatever its evaluator does."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from invdesign import worker as workers
from invdesign.candidate import (
    DETAIL_LENGTH,
    Candidate,
    Evaluation,
    Failure,
    Genome,
    Input,
    Proposal,
    genome_key,
)
from invdesign.errors import PluginError
from invdesign.properties import Unit
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.worker import Setup, Worker
from tests.support import ROOT, campaign, environment, funnel

SPACE = ParameterSpace.model_validate({"parameters": {"x": {"real": [0.0, 9.0]}}})


class Says(EvaluatorSettings):
    """Says what a function of the test says."""

    def __init__(self, say: Callable[[Input], Any], **fields: Any) -> None:
        super().__init__(**fields)
        object.__setattr__(self, "say", say)
        object.__setattr__(self, "asked", [])

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"height": "m", "structure:relaxed": ""}

    @property
    def batch(self) -> Batch:
        return Batch(8)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        self.asked.append([item.candidate.id for item in inputs])  # type: ignore[attr-defined]  # set in __init__
        return [self.say(item) for item in inputs]  # type: ignore[attr-defined]


def structure() -> Any:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice.cubic(1 / 3), ["Li"], [[0.1, 0.2, 1 / 7]])


def good(**properties: Any) -> Evaluation:
    return Evaluation(properties={"height": 1.0, **properties}, structures={"relaxed": structure()})


def member(id: int, **genome: Any) -> dict[str, Any]:
    genome = genome or {"x": float(id)}
    return {
        "id": id,
        "key": genome_key(genome),
        "genome": genome,
        "properties": {},
        "structures": {},
        "seed": 7 + id,
    }


def answers(say: Callable[[Input], Any], count: int = 1) -> list[dict[str, Any]]:
    worker = Worker(SPACE, {"s": Says(say)})
    found: list[dict[str, Any]] = json.loads(
        worker.execute(json.dumps({"stage": "s", "members": [member(n) for n in range(count)]}))
    )
    assert len(found) == count
    return found


def failure(say: Callable[[Input], Any]) -> list[str]:
    found: list[str] = answers(say)[0]["failure"]
    return found


def test_an_answer() -> None:
    """Numbers come back as they are, structures to the last digit, with what it cost."""
    import base64

    from invdesign.structures.files import decompress_text, structure_from_json

    def say(item: Input) -> Evaluation:
        return Evaluation(
            {"height": 0.1 + 0.2},
            {"height": 1e-300},
            {"height": 0.5},
            {"relaxed": structure()},
            {"potential_calls": 3},
            {"height": "of the\n upper\x1b[31m edge " + "x" * 999},
        )

    (answer,) = answers(say)
    assert answer["properties"] == {"height": 0.1 + 0.2}
    assert (answer["noise"], answer["systematic"]) == ({"height": 1e-300}, {"height": 0.5})
    assert answer["details"]["height"].startswith("of the upper [31m edge xxx")  # one printable line
    assert answer["details"]["height"].endswith("xx...")
    assert len(answer["details"]["height"]) == DETAIL_LENGTH
    assert answer["cost"]["potential_calls"] == 3
    assert answer["cost"]["seconds"] >= 0
    assert (
        structure_from_json(decompress_text(base64.b64decode(answer["structures"]["relaxed"]))) == structure()
    )


def test_numbers_of_numpy_are_numbers() -> None:
    """A model's float32 is taken."""
    import numpy as np

    assert answers(lambda item: good(height=np.float32(0.5)))[0]["properties"] == {"height": 0.5}
    assert answers(lambda item: good(height=np.array(0.5)))[0]["properties"] == {"height": 0.5}


def raising(error: BaseException) -> Callable[[Input], Any]:
    def say(item: Input) -> Any:
        raise error

    return say


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (raising(ValueError("two\n  lines")), ["error", "s", "ValueError: two lines"]),
        (raising(KeyError()), ["error", "s", "KeyError"]),
        (raising(RecursionError("deep")), ["error", "s", "RecursionError: deep"]),
        (raising(SystemExit(3)), ["error", "s", "SystemExit: 3"]),
        (raising(ValueError("x" * 9999)), ["error", "s", "ValueError: " + "x" * 500]),
        (raising(ValueError("\udce9")), ["error", "s", "ValueError: ?"]),
        (raising(MemoryError()), ["memory", "s", "ran out of the memory one worker may use"]),
        (raising(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")), ["memory", "s", "DefaultCPUAllocator: can't allocate memory: you tried"]),
        (lambda item: Evaluation(failure=Failure("missing", "elsewhere", "no Xe")), ["missing", "s", "no Xe"]),
        (lambda item: good(height=float("nan")), ["not_finite", "s", "height is nan, not a finite number"]),
        (lambda item: good(height=None), ["not_finite", "s", "height is None, not a finite number"]),
        (lambda item: good(height="3"), ["not_finite", "s", "height is '3', not a finite number"]),
        (lambda item: good(height=1j), ["error", "s", "TypeError: float() argument must be a string or a real number, not 'complex'"]),
        (lambda item: good(width=1.0), ["error", "s", "returned width, which it does not declare"]),
        (lambda item: Evaluation({"height": 1.0}), ["error", "s", "did not return relaxed"]),
        (lambda item: Evaluation(structures={"relaxed": structure()}), ["error", "s", "did not return height"]),
        (lambda item: Evaluation({"height": 1.0}, structures={"relaxed": structure(), "x": structure()}), ["error", "s", "returned x, which it does not declare"]),
        (lambda item: Evaluation({"height": float("nan")}, {"height": 0.1}, structures={"relaxed": structure()}), ["not_finite", "s", "height is nan, not a finite number"]),
        (lambda item: Evaluation({"height": 1.0}, {"height": float("inf")}, structures={"relaxed": structure()}), ["not_finite", "s", "height is inf, not a finite number"]),
        (lambda item: Evaluation({"height": 1.0}, {"width": 0.1}, structures={"relaxed": structure()}), ["error", "s", "returned width, which it does not declare"]),
        (lambda item: Evaluation({"height": 1.0}, {"height": -0.1}, structures={"relaxed": structure()}), ["error", "s", "the noise of height is -0.1, must not be negative"]),
        (lambda item: Evaluation({"height": 1.0}, {}, {"height": -0.1}, {"relaxed": structure()}), ["error", "s", "the systematic error of height is -0.1, must not be negative"]),
        (lambda item: Evaluation({"height": 1.0}, structures={"relaxed": structure()}, details={"width": "wide"}), ["error", "s", "returned width, which it does not declare"]),
        (lambda item: Evaluation({"height": 1.0}, structures={"relaxed": structure()}, details={"height": 3}), ["error", "s", "the detail of height is '3', must be a text"]),  # type: ignore[dict-item]
        (lambda item: Evaluation({"height": 1.0}, structures={"relaxed": "LiF"}), ["error", "s", "AttributeError: 'str' object has no attribute 'properties'"]),  # type: ignore[dict-item]
        (lambda item: None, ["error", "s", "AttributeError: 'NoneType' object has no attribute 'cost'"]),
    ],
)  # fmt: skip
def test_whatever_an_evaluator_does(say: Callable[[Input], Any], expected: list[str]) -> None:
    """Raising, breaking its promise or talking nonsense is a failure with a cause, in one line of text."""
    assert failure(say) == expected


def test_one_fault_is_ones_own() -> None:
    """A batch that raises is halved until the culprit is alone; the others have their results."""

    def say(item: Input) -> Evaluation:
        if item.candidate.id in {2, 5}:
            raise ValueError(f"not {item.candidate.id}")
        return good(height=float(item.candidate.id))

    found = answers(say, 8)
    assert [n for n, answer in enumerate(found) if "failure" in answer] == [2, 5]
    assert found[5]["failure"] == ["error", "s", "ValueError: not 5"]
    assert [answer["properties"]["height"] for n, answer in enumerate(found) if n not in {2, 5}] == [
        0,
        1,
        3,
        4,
        6,
        7,
    ]


def test_what_an_evaluator_sees() -> None:
    """The candidate, its design, what earlier stages found, their structures beside the design's, and its seed."""
    seen: list[Input] = []

    def say(item: Input) -> Evaluation:
        seen.append(item)
        return good()

    worker = Worker(SPACE, {"s": Says(say)})
    packed = workers._encode_structure(structure())
    full = member(3) | {"properties": {"width": 2.0}, "structures": {"charged": packed}}
    worker.execute(json.dumps({"stage": "s", "members": [full]}))
    (item,) = seen
    assert item.candidate == Candidate(3, genome_key({"x": 3.0}), Proposal({"x": 3.0}))
    assert dict(item.design.parameters) == {"x": 3.0}
    assert (dict(item.properties), item.seed) == ({"width": 2.0}, 10)
    assert item.structures == {"charged": structure()}


class Counting(ParameterSpace):
    """Counts how often it builds."""

    def build(self, genome: Genome) -> Any:
        BUILT.append(dict(genome))
        if genome["x"] == 5.0:
            raise ZeroDivisionError("space")
        return super().build(genome)


BUILT: list[Any] = []


def test_designs_are_built_once() -> None:
    """The stages of a candidate share its design; a genome that cannot be built is asked about each time."""
    BUILT.clear()
    space = Counting.model_validate({"parameters": {"x": {"real": [0.0, 9.0]}}})
    worker = Worker(space, {"s": Says(lambda item: good())})
    members = [member(1), member(2)]
    for stage in ("build", "s", "s"):
        worker.execute(json.dumps({"stage": stage, "members": members}))
    assert BUILT == [{"x": 1.0}, {"x": 2.0}]
    (answer,) = json.loads(worker.execute(json.dumps({"stage": "s", "members": [member(5)]})))
    assert answer["failure"] == ["error", "s", "ZeroDivisionError: space"]


def test_building() -> None:
    """The build stage tells what the design is made of, as hashes; refusals and faults are told apart."""
    worker = Worker(Counting.model_validate({"parameters": {"x": {"real": [0.0, 9.0]}}}), {})
    members = [member(1), member(2), member(3, x=99.0), member(5)]
    first, second, refused, broken = json.loads(
        worker.execute(json.dumps({"stage": "build", "members": members}))
    )
    assert first["design"].keys() == {"parameters"}
    assert first["design"] != second["design"]
    assert refused["failure"] == ["infeasible", "build", "parameter 'x' must be a number in [0, 9], got 99.0"]
    assert broken["failure"] == ["error", "build", "ZeroDivisionError: space"]


def test_setup_travels_as_text() -> None:
    """Space and evaluators are rebuilt from plain JSON: equal plug-ins, in any process."""
    found = campaign(funnel())
    setup = Setup.from_plugins(found.space, found.evaluators, found.code)
    worker = Worker.from_setup(setup)
    assert worker.space == found.space
    assert dict(worker.evaluators) == found.evaluators
    with pytest.raises(PluginError, match="importing it runs it"):
        Worker.from_setup(Setup.from_plugins(found.space, found.evaluators))


def test_evaluators_that_keep_files_get_a_folder(tmp_path: Path) -> None:
    """`work/STAGE` in the run's folder, before they prepare; nowhere where there is no run."""
    filing = {"kind": "tests.test_worker:Filing"}
    plan = json.dumps({"space": SPACE.model_dump(mode="json"), "stages": {"one": filing, "two": filing}})
    setup = Setup(plan, folder=tmp_path, code=(str(ROOT),))
    assert pickle.loads(pickle.dumps(setup)) == setup
    FOLDERS.clear()
    Worker.from_setup(setup).prepare()
    assert list(FOLDERS) == [tmp_path / "work" / "one", tmp_path / "work" / "two", None, None]
    FOLDERS.clear()
    Worker.from_setup(Setup(plan, code=(str(ROOT),))).prepare()
    assert list(FOLDERS) == [None, None]


class Filing(EvaluatorSettings):
    """Notes the folder it is given, and when it prepares."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"height": "m"}

    def use_folder(self, folder: Path) -> None:
        FOLDERS.append(folder)

    def prepare(self) -> None:
        FOLDERS.append(None)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [Evaluation({"height": 1.0})] * len(inputs)


FOLDERS: list[Path | None] = []


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as it was, whatever `initialize` does to it."""
    monkeypatch.setattr(workers, "_worker", None)
    monkeypatch.setattr(workers, "_broken", "")
    monkeypatch.setattr("invdesign.processes.follow_parent", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("process")
def test_an_error_at_the_start_is_answered_to_every_task() -> None:
    """A worker that could not be set up says why, instead of dying without a word, and evaluates nothing."""
    with pytest.raises(PluginError, match="the worker was not initialized"):
        workers.execute("{}")
    data = funnel(
        evaluate=[{"tests.plugins.faults:Unprepared": {}}],
        objectives=[{"maximize": "health"}],
        constraints=[],
    )
    found = campaign(data)
    workers.initialize(pickle.dumps(Setup.from_plugins(found.space, found.evaluators, found.code)), None)
    for _ in range(2):
        with pytest.raises(PluginError, match=r"^FileNotFoundError: there is no weights\.pt$"):
            workers.execute(json.dumps({"stage": "Unprepared", "members": []}))


def test_a_worker_uses_one_thread() -> None:
    """Numerical libraries start no threads of their own in a worker, also those loaded before its first line."""
    code = f"""
import json, os
from invdesign.engines.local import LocalEngine
from invdesign.protocols import Task
from invdesign.worker import Setup
from invdesign.spaces.parameters.space import ParameterSpace
from tests.test_worker import Threads
if __name__ == "__main__":
    space = ParameterSpace.model_validate({{"parameters": {{"x": {{"real": [0.0, 9.0]}}}}}})
    engine = LocalEngine(workers=1).open(Setup.from_plugins(space, {{"s": Threads()}}, [{str(ROOT)!r}]))
    member = {{"id": 0, "key": "0", "genome": {{"x": 1.0}}, "properties": {{}}, "structures": {{}}, "seed": 1}}
    engine.submit(Task(0, json.dumps({{"stage": "s", "members": [member]}}), 60.0))
    (result,) = engine.next_done(60)
    engine.close()
    print(result.payload)
"""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    plain = {name: value for name, value in environment().items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=plain, check=True
    )
    (answer,) = json.loads(done.stdout)
    assert answer["properties"] == {"threads": 1.0}


class Threads(Says):
    """How many threads the numerical libraries of this process may use."""

    def __init__(self) -> None:
        super().__init__(lambda item: item)

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"threads": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        import scipy.linalg  # noqa: F401 - brings a library of its own
        import threadpoolctl

        most = max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
        return [Evaluation(properties={"threads": float(most)})] * len(inputs)
