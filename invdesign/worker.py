"""What runs inside a worker process: it builds designs and evaluators from its setup and executes tasks."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.beside import ANY_MODULE, allow_module, trust_folders
from invdesign.candidate import Candidate, Design, Evaluation, Failure, Input, Proposal, clean_detail
from invdesign.errors import Infeasible, PluginError, RunError
from invdesign.functions import FitnessFunction
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import Evaluator, FolderEvaluator, SearchSpace, design_of
from invdesign.settings import STORED_FOLDER, load
from invdesign.structures.files import compress_text, decompress_text, structure_from_json, structure_to_json

if TYPE_CHECKING:
    from pymatgen.core import Structure

DESIGNS_KEPT = 256  # a candidate's stages often follow each other on one worker
BUILD = "build"
FOREIGN_ERRORS = (Exception, SystemExit)  # what foreign code may raise: some libraries give up with sys.exit
WORK_FOLDER = "work"  # in the run's folder: where evaluators keep files, by stage
SAFE_PATH = (
    "PYTHONSAFEPATH"  # python.org/3.11: any value keeps the working folder out of a new process's path
)
SAFE_PATH_MARK = "invdesign"  # the value where it was set for a worker, and not by the user
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a worker is made of.

    It is pickled to cross to workers that we started, over their pipe; nothing of it is ever written to disk.

    Attributes:
        plan: space and evaluators, as JSON.
        functions: fitness functions that are at hand, by stage.
        folder: the run's; None where there is no run.
        code: folders of code the user trusts.
    """

    plan: str
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    folder: Path | None = None
    code: tuple[str, ...] = ()

    @classmethod
    def from_plugins(
        cls, space: Any, evaluators: Mapping[str, Any], code: Sequence[str] = (), folder: Path | None = None
    ) -> Setup:
        """The setup for a space and its stages' evaluators."""
        stages = {name: evaluator.model_dump(mode="json") for name, evaluator in evaluators.items()}
        functions = {
            name: evaluator.function
            for name, evaluator in evaluators.items()
            if isinstance(evaluator, FitnessFunction) and evaluator.function is not None
        }
        plan = json.dumps({"space": space.model_dump(mode="json"), "stages": stages})
        return cls(plan, functions, None if folder is None else folder.resolve(), tuple(code))

    def __reduce__(self) -> tuple[Any, ...]:
        """Functions travel by value, unless a module holds them: then the worker imports it.

        Raises:
            RunError: one cannot be sent.
        """
        import cloudpickle

        stages = json.loads(self.plan)["stages"]
        packed = {}
        for name, function in self.functions.items():
            if stages[name]["path"] is not None:
                continue
            try:
                packed[name] = cloudpickle.dumps(function)
            except Exception as error:  # whatever it captures may refuse, in its own way
                raise RunError(
                    f"the function '{stages[name]['name']}' cannot be sent to worker processes: {_one_line(error)}. "
                    "Take out of it what it captures and cannot travel (an open file, a lock, a connection), make that "
                    "inside the function, or work in this process with workers=0"
                ) from error
        return _rebuild_setup, (self.plan, packed, self.folder, self.code)


def _rebuild_setup(
    plan: str, packed: Mapping[str, bytes], folder: Path | None, code: tuple[str, ...]
) -> Setup:
    trust_folders(code)
    with allow_module(ANY_MODULE):  # what they refer to may be of a module beside the campaign
        functions = {name: pickle.loads(data) for name, data in packed.items()}  # noqa: S301 - from who started us
    return Setup(plan, functions, folder, code)


@dataclass
class Worker:
    """The space and the stages' evaluators of one run, in one process."""

    space: SearchSpace
    evaluators: Mapping[str, Evaluator]

    def __post_init__(self) -> None:
        self._designs: OrderedDict[str, Design] = OrderedDict()

    @classmethod
    def from_setup(cls, setup: Setup) -> Worker:
        """A worker that is described by its setup, and not prepared yet."""
        trust_folders(setup.code)
        plan, trust = json.loads(setup.plan), bool(setup.code)
        evaluators = {
            name: load("evaluators", settings, folder=STORED_FOLDER, trust_code=trust)
            for name, settings in plan["stages"].items()
        }
        for name, function in setup.functions.items():
            evaluators[name] = evaluators[name].with_function(function)
        if setup.folder is not None:
            for name, evaluator in evaluators.items():
                if isinstance(evaluator, FolderEvaluator):
                    evaluator.use_folder(setup.folder / WORK_FOLDER / name)
        return cls(load("spaces", plan["space"], folder=STORED_FOLDER, trust_code=trust), evaluators)

    def prepare(self) -> None:
        """Load what the evaluators need, before any deadline counts."""
        for evaluator in self.evaluators.values():
            evaluator.prepare()

    def execute(self, payload: str) -> str:
        """Answers, as JSON, to the members of a task, in their order."""
        task = json.loads(payload)
        if task["stage"] == BUILD:
            return json.dumps([self._answer_build(member) for member in task["members"]])
        return json.dumps(self._evaluate_members(task["stage"], task["members"]))

    def _build_design(self, member: Answer) -> Design:
        key = member["key"]
        if key not in self._designs:
            self._designs[key] = design_of(self.space, member["genome"], outside=member.get("outside", False))
            if len(self._designs) > DESIGNS_KEPT:
                self._designs.popitem(last=False)
        self._designs.move_to_end(key)
        return self._designs[key]

    def _answer_build(self, member: Answer) -> Answer:
        started = time.perf_counter()
        try:
            design = self._build_design(member)
        except Infeasible as error:
            return _encode_failure(Failure("infeasible", BUILD, _one_line(error)))
        except FOREIGN_ERRORS as error:  # a space may raise anything; the candidate carries the cause
            return _encode_failure(_failure_from(error, BUILD))
        return {
            "design": _hash_design(design),
            "formula": design.composition.reduced_formula if design.composition is not None else "",
            "cost": {"seconds": time.perf_counter() - started},
        }

    def _evaluate_members(self, stage: str, members: Sequence[Answer]) -> list[Answer]:
        evaluator = self.evaluators[stage]
        try:
            inputs = [self._read_input(member) for member in members]
        except FOREIGN_ERRORS as error:  # building again cannot fail unless the space is impure
            return [_encode_failure(_failure_from(error, stage)) for _ in members]
        started = time.perf_counter()
        evaluations = _evaluate_by_halves(evaluator, inputs, stage)
        seconds = (time.perf_counter() - started) / len(inputs)
        return [_encode_or_fail(evaluation, evaluator, stage, seconds) for evaluation in evaluations]

    def _read_input(self, member: Answer) -> Input:
        design = self._build_design(member)
        made = {role: _decode_structure(blob) for role, blob in member["structures"].items()}
        return Input(
            candidate=Candidate(member["id"], member["key"], Proposal(member["genome"])),
            design=design,
            properties=member["properties"],
            structures={**design.structures, **made},
            seed=member["seed"],
        )


def _evaluate_by_halves(evaluator: Evaluator, inputs: Sequence[Input], stage: str) -> list[Evaluation]:
    """Evaluate the batch; where it raises, its halves, so that one member's fault stays its own."""
    try:
        evaluations = list(evaluator.evaluate(inputs))
    except FOREIGN_ERRORS as error:  # an evaluator may raise anything; the candidate carries the cause
        if len(inputs) == 1:
            return [Evaluation(failure=_failure_from(error, stage))]
        middle = len(inputs) // 2
        return _evaluate_by_halves(evaluator, inputs[:middle], stage) + _evaluate_by_halves(
            evaluator, inputs[middle:], stage
        )
    if len(evaluations) != len(inputs):
        message = f"returned {len(evaluations)} evaluations for {len(inputs)} inputs"
        return [Evaluation(failure=Failure("error", stage, message))] * len(inputs)
    return evaluations


def _one_line(error: BaseException) -> str:
    """The message as the store can hold it: a file name that is no UTF-8 puts half characters into one."""
    return " ".join(str(error).split())[:500].encode(errors="replace").decode()


def _failure_from(error: BaseException, stage: str) -> Failure:
    text = _one_line(error)
    # Torch reports a failed allocation as RuntimeError.
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return Failure("memory", stage, text or "ran out of the memory one worker may use")
    return Failure("error", stage, f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _encode_failure(failure: Failure) -> Answer:
    return {"failure": [failure.kind, failure.stage, failure.message]}


def _encode_or_fail(evaluation: Evaluation, evaluator: Evaluator, stage: str, seconds: float) -> Answer:
    try:
        return _encode_evaluation(evaluation, evaluator, stage, seconds)
    except FOREIGN_ERRORS as error:  # None for an evaluation, a word for a number
        return _encode_failure(_failure_from(error, stage))


def _encode_evaluation(evaluation: Evaluation, evaluator: Evaluator, stage: str, seconds: float) -> Answer:
    cost = {"seconds": seconds, **{key: float(value) for key, value in evaluation.cost.items()}}
    failure = evaluation.failure or _find_broken_promise(evaluation, evaluator)
    if failure is not None:
        message = failure.message.encode(errors="replace").decode()
        return {**_encode_failure(replace(failure, stage=stage, message=message)), "cost": cost}
    return {
        "properties": {name: float(value) for name, value in evaluation.properties.items()},
        "noise": {name: float(value) for name, value in evaluation.noise.items()},
        "systematic": {name: float(value) for name, value in evaluation.systematic.items()},
        "details": {name: line for name, text in evaluation.details.items() if (line := clean_detail(text))},
        "structures": {
            role: _encode_structure(structure) for role, structure in evaluation.structures.items()
        },
        "cost": cost,
    }


def _find_broken_promise(evaluation: Evaluation, evaluator: Evaluator) -> Failure | None:
    promised = {name for name in evaluator.provides if not is_structure(name)}
    roles = {name.removeprefix(STRUCTURE_PREFIX) for name in evaluator.provides if is_structure(name)}
    missing = sorted(promised - evaluation.properties.keys()) + sorted(roles - evaluation.structures.keys())
    if missing:
        return Failure("error", "", f"did not return {', '.join(missing)}")
    spreads = {"noise": evaluation.noise, "systematic error": evaluation.systematic}
    named = evaluation.properties.keys() | evaluation.details.keys()
    named = named.union(*spreads.values())
    extra = sorted(named - promised) + sorted(evaluation.structures.keys() - roles)
    if extra:
        return Failure("error", "", f"returned {', '.join(extra)}, which it does not declare")
    for name, value in [item for told in (evaluation.properties, *spreads.values()) for item in told.items()]:
        if value is None or isinstance(value, str) or not math.isfinite(float(value)):
            return Failure("not_finite", "", f"{name} is {value!r}, not a finite number")
    for what, told in spreads.items():
        for name, value in told.items():
            if value < 0:
                return Failure("error", "", f"the {what} of {name} is {value:g}, must not be negative")
    for name, text in evaluation.details.items():
        if not isinstance(text, str):
            return Failure("error", "", f"the detail of {name} is {str(text)[:60]!r}, must be a text")
    return None


def _encode_structure(structure: Structure) -> str:
    return base64.b64encode(compress_text(structure_to_json(structure))).decode()


def _decode_structure(blob: str) -> Structure:
    return structure_from_json(decompress_text(base64.b64decode(blob)))


def _hash_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash_design(design: Design) -> dict[str, str]:
    """What a cache key is made of: one hash per thing an evaluator may require of the design."""
    hashes = {
        STRUCTURE_PREFIX + role: _hash_text(structure_to_json(s)) for role, s in design.structures.items()
    }
    hashes["parameters"] = _hash_text(json.dumps(dict(design.parameters), sort_keys=True))
    if design.composition is not None:
        hashes["composition"] = _hash_text(design.composition.formula)
    return hashes


_worker: Worker | None = None
_broken: str = ""


def initialize(setup: bytes, memory_bytes: int | None) -> None:
    """Set this process up; runs before any deadline counts, so that loading a model costs nobody's time.

    An error here is kept and answered to every task, since a pool whose initializer raises dies without a word.

    Args:
        setup: a `Setup`, pickled by the process that started this one.
        memory_bytes: how much it may allocate.
    """
    global _worker, _broken  # noqa: PLW0603 - one worker per process, by construction
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.environ.get(SAFE_PATH) == SAFE_PATH_MARK:
        del os.environ[SAFE_PATH]
    _one_thread()
    _follow_parent()
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    try:
        worker = Worker.from_setup(pickle.loads(setup))  # noqa: S301 - from who started us
        worker.prepare()
        _worker = worker  # only now: what is half prepared must not answer
    except FOREIGN_ERRORS as error:  # see above
        _broken = f"{type(error).__name__}: {' '.join(str(error).split())}"


def execute(payload: str) -> str:
    """Run one task in this process."""
    if _worker is None:
        raise PluginError(_broken or "the worker was not initialized")
    return _worker.execute(payload)


def _one_thread() -> None:
    """Two numerical threads per process were measured 20 times slower than one when all cores are taken."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _follow_parent() -> None:
    """End with the coordinating process, also when it was killed and could not say goodbye."""
    coordinator = multiprocessing.parent_process()
    # Who started us, not who is our parent now: it may have been killed while this process was still importing.
    parent = os.getppid() if coordinator is None or coordinator.pid is None else coordinator.pid

    def exit_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True, name="follow-parent").start()


def _limit_memory(limit: int) -> None:
    """Refuse allocations beyond `limit` bytes, so that a hungry evaluation fails alone and not the machine."""
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (ImportError, ValueError, OSError):
        return  # not a POSIX system, or limits are managed elsewhere: the deadline still holds
