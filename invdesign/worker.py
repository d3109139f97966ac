"""Code of a worker process: builds designs and evaluators from its setup, and executes tasks."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.artifacts import Content, find_artifacts, use_folder
from invdesign.beside import ANY_MODULE, allow_module, trust_folders
from invdesign.candidate import (
    Candidate,
    Design,
    Evaluation,
    Failure,
    Genome,
    Input,
    Proposal,
    canonical,
    clean_detail,
)
from invdesign.errors import Infeasible, InvdesignError, PluginError, RunError
from invdesign.functions import FitnessFunction
from invdesign.processes import start_child
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import (
    Evaluator,
    FolderEvaluator,
    InheritingSpace,
    ReferencedSpace,
    SearchSpace,
    design_of,
)
from invdesign.registry import FOREIGN_ERRORS
from invdesign.settings import STORED_FOLDER, load
from invdesign.structures.files import compress_text, decompress_text, structure_from_json, structure_to_json
from invdesign.structures.site_labels import carry_labels, has_labels

if TYPE_CHECKING:
    from pymatgen.core import Structure

REFERENCES_KEPT = 1_000  # reference structures of designs whose hashes are kept (chosen)
DESIGNS_KEPT = 256  # in memory: a candidate's stages often follow each other on one worker (chosen)
BUILD = "build"
ADOPT = "build: adopt"  # stage of tasks that adopt structures from outside; no name of a user's stage
WORK_FOLDER = "work"  # folder in the run's folder for files of evaluators, by stage
NOT_OF_THE_SPACE = "the structure is none of the space"
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """All data from which a worker is made.

    It is pickled for workers that the run started, over their pipe; nothing of it is ever written to disk.

    Attributes:
        plan: space and evaluators, as JSON.
        functions: fitness functions that are at hand, by stage.
        folder: of the run; None where there is no run.
        code: folders of code the user trusts.
        contents: of artifacts, where workers cannot read them in the folder.
    """

    plan: str
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    folder: Path | None = None
    code: tuple[str, ...] = ()
    contents: tuple[Content, ...] = ()

    @classmethod
    def from_plugins(
        cls, space: Any, evaluators: Mapping[str, Any], code: Sequence[str] = (), folder: Path | None = None
    ) -> Setup:
        """Setup of workers for a space and evaluators.

        Args:
            space: of the run.
            evaluators: by name of the stage.
            code: folders of code the user trusts.
            folder: of the run; None where there is no run.

        Raises:
            ArtifactError: the content of an artifact is nowhere.
        """
        stages = {name: evaluator.model_dump(mode="json") for name, evaluator in evaluators.items()}
        functions = {
            name: evaluator.function
            for name, evaluator in evaluators.items()
            if isinstance(evaluator, FitnessFunction) and evaluator.function is not None
        }
        plan = {"space": space.model_dump(mode="json"), "stages": stages}
        place = None if folder is None else folder.resolve()
        setup = cls(json.dumps(plan), functions, place, tuple(code))
        return setup if folder is not None else setup.with_contents()

    def with_contents(self) -> Setup:
        """Copy that carries the contents of artifacts, for workers that cannot read the folder of the run.

        Raises:
            ArtifactError: one is nowhere.
        """
        contents = tuple(artifact.find() for artifact in find_artifacts(json.loads(self.plan)))
        return replace(self, contents=contents)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle functions by value, unless a module holds them: the worker then imports it.

        Raises:
            RunError: a function cannot be sent.
        """
        import cloudpickle

        stages = json.loads(self.plan)["stages"]
        packed = {}
        for name, function in self.functions.items():
            if stages[name]["path"] is not None:
                continue
            try:
                packed[name] = cloudpickle.dumps(function)
            except Exception as error:  # captured objects may refuse to be pickled with any exception
                raise RunError(
                    f"the function '{stages[name]['name']}' cannot be sent to worker processes: {_one_line(error)}. "
                    "Objects that cannot be sent (an open file, a lock, a connection) must not be captured: make them "
                    "inside the function, or work in this process with workers=0"
                ) from error
        return _rebuild_setup, (self.plan, packed, self.folder, self.code, self.contents)


def _rebuild_setup(
    plan: str,
    packed: Mapping[str, bytes],
    folder: Path | None,
    code: tuple[str, ...],
    contents: tuple[Content, ...],
) -> Setup:
    """Rebuild a pickled setup in the worker."""
    trust_folders(code)
    with allow_module(ANY_MODULE):  # they may refer to a module beside the campaign
        functions = {name: pickle.loads(data) for name, data in packed.items()}  # noqa: S301 - from who started us
    return Setup(plan, functions, folder, code, contents)


@dataclass
class Worker:
    """Space and evaluators of one run, in one process."""

    space: SearchSpace
    evaluators: Mapping[str, Evaluator]

    def __post_init__(self) -> None:
        self._designs: OrderedDict[str, Design] = OrderedDict()
        self._reference_roles = (
            self.space.reference_structures if isinstance(self.space, ReferencedSpace) else ()
        )
        self._references: dict[int, tuple[Structure, str]] = {}

    @classmethod
    def from_setup(cls, setup: Setup) -> Worker:
        """Make a worker from its `setup`; `prepare` is still to be called."""
        trust_folders(setup.code)
        if setup.folder is not None:
            use_folder(setup.folder)
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
        """Load the models of the evaluators, before any deadline starts."""
        for evaluator in self.evaluators.values():
            evaluator.prepare()

    def execute(self, payload: str) -> str:
        """Answers to the members of a task, in their order, as JSON.

        Args:
            payload: of a `Task`.
        """
        task = json.loads(payload)
        if task["stage"] == BUILD:
            return json.dumps([self._answer_build(member) for member in task["members"]])
        if task["stage"] == ADOPT:
            return json.dumps([self._answer_adoption(member) for member in task["members"]])
        return json.dumps(self._evaluate_members(task["stage"], task["members"]))

    def _build_design(self, member: Answer) -> Design:
        """Design of a member, kept for its later stages."""
        key = member["key"]
        if key not in self._designs:
            self._designs[key] = design_of(self.space, member["genome"], outside=member.get("outside", False))
            if len(self._designs) > DESIGNS_KEPT:
                self._designs.popitem(last=False)
        self._designs.move_to_end(key)
        return self._designs[key]

    def _answer_build(self, member: Answer) -> Answer:
        """Answer to a member of a build task."""
        started = time.perf_counter()
        try:
            design = self._build_design(member)
        except Infeasible as error:
            return _encode_failure(Failure("infeasible", BUILD, _one_line(error)))
        except FOREIGN_ERRORS as error:  # a space may raise anything; the candidate carries the cause
            return _encode_failure(_failure_from(error, BUILD))
        return {
            "design": self._hash_design(design),
            "formula": design.composition.reduced_formula if design.composition is not None else "",
            "cost": {"seconds": time.perf_counter() - started},
        }

    def _hash_design(self, design: Design) -> dict[str, str]:
        """Hashes of everything that evaluators may require of a design, by name, for cache keys."""
        hashes = {
            STRUCTURE_PREFIX + role: self._hash_structure(role, s) for role, s in design.structures.items()
        }
        hashes["parameters"] = _hash_text(json.dumps(dict(design.parameters), sort_keys=True))
        if design.composition is not None:
            hashes["composition"] = _hash_text(design.composition.formula)
        return hashes

    def _hash_structure(self, role: str, structure: Structure) -> str:
        """Hash of a structure of a design.

        Designs share their reference structures, so that these are hashed once; keeping them keeps their identity.
        """
        if role not in self._reference_roles:
            return _hash_text(structure_to_json(structure))
        known = self._references.get(id(structure))
        if known is None:
            if len(self._references) >= REFERENCES_KEPT:
                self._references.clear()
            known = self._references[id(structure)] = structure, _hash_text(structure_to_json(structure))
        return known[1]

    def _answer_adoption(self, member: Answer) -> Answer:
        """Answer to a member of an adoption task."""
        try:
            structures = {role: _decode_structure(blob) for role, blob in member["structures"].items()}
        except FOREIGN_ERRORS as error:  # the structure came from outside the run
            return {"adoption_refused": _describe_error(error)}
        return self._adopt_structure(structures, member["genome"])

    def _adopt_structure(self, structures: Mapping[str, Structure], genome: Genome) -> Answer:
        """Relaxed genome of the structure that children inherit, or the reason why it has none.

        Args:
            structures: that an evaluation made, by role.
            genome: that was asked.

        Returns:
            Empty where the space inherits from none of the structures.
        """
        if not isinstance(self.space, InheritingSpace):
            return {}
        roles = [role for role in self.space.inherits_from if role in structures]
        if not roles:
            return {}
        try:
            adopted = self.space.adopt(structures[roles[-1]], genome)
            if adopted is None:
                return {"adoption_refused": NOT_OF_THE_SPACE}
            found = canonical(self.space.canonical(adopted))
        except FOREIGN_ERRORS as error:  # a space may raise anything; the evaluation stays valid
            return {"adoption_refused": _describe_error(error)}
        return {"relaxed_genome": found}

    def _evaluate_members(self, stage: str, members: Sequence[Answer]) -> list[Answer]:
        """Answers to the members of an evaluation task."""
        evaluator = self.evaluators[stage]
        try:
            inputs = [self._read_input(member) for member in members]
        except FOREIGN_ERRORS as error:  # the design was built before: only an impure space fails now
            return [_encode_failure(_failure_from(error, stage)) for _ in members]
        started = time.perf_counter()
        evaluations = _evaluate_by_halves(evaluator, inputs, stage)
        seconds = (time.perf_counter() - started) / len(inputs)
        answers = [_encode_or_fail(evaluation, evaluator, stage, seconds) for evaluation in evaluations]
        for member, evaluation, answer in zip(members, evaluations, answers, strict=True):
            if "failure" not in answer:
                answer |= self._adopt_structure(evaluation.structures, member["genome"])  # noqa: PLW2901 - in place
        return answers

    def _read_input(self, member: Answer) -> Input:
        """Input of an evaluator for one member."""
        design = self._build_design(member)
        made = {role: _decode_structure(blob) for role, blob in member["structures"].items()}
        return Input(
            candidate=Candidate(member["id"], member["key"], Proposal(member["genome"])),
            design=design,
            properties=member["properties"],
            structures={**design.structures, **made},
            seed=member["seed"],
        )


def evaluate_inputs(evaluator: Evaluator, inputs: Sequence[Input], stage: str) -> list[Evaluation]:
    """Evaluate a batch; errors and evaluations that break the contract become failures of their members."""
    found = _evaluate_by_halves(evaluator, inputs, stage)
    broken = [item.failure or _find_broken_promise(item, evaluator) for item in found]
    return [
        item if failure is None else Evaluation(failure=replace(failure, stage=stage))
        for item, failure in zip(found, broken, strict=True)
    ]


def _evaluate_by_halves(evaluator: Evaluator, inputs: Sequence[Input], stage: str) -> list[Evaluation]:
    """Evaluate a batch; if it raises, evaluate its halves.

    So one member's failure stays its own.
    """
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
    return [_restore_labels(evaluation, item) for evaluation, item in zip(evaluations, inputs, strict=True)]


def _restore_labels(evaluation: Evaluation, item: Input) -> Evaluation:
    """Give structures of an evaluation the labels of the sites they were made from.

    Outside programs and functions know no labels: they return the same species in the same order, without them.
    """
    labelled = [structure for structure in item.structures.values() if has_labels(structure)]
    if not labelled or not isinstance(evaluation, Evaluation) or not evaluation.structures:
        return evaluation
    from pymatgen.core import Structure

    found = dict(evaluation.structures)
    for source in labelled:
        found = {
            role: carry_labels(source, made) if isinstance(made, Structure) else made
            for role, made in found.items()
        }
    return replace(evaluation, structures=found)


def _one_line(error: BaseException) -> str:
    """Message of an error in one line that the store can hold.

    A file name that is no UTF-8 puts half characters into a message.
    """
    return " ".join(str(error).split())[:500].encode(errors="replace").decode()


def _describe_error(error: BaseException) -> str:
    """Reason of a refusal, or the type and message of any other error."""
    text = _one_line(error)
    return text if isinstance(error, InvdesignError) and text else _name_error(error, text)


def _name_error(error: BaseException, text: str) -> str:
    """Type of an error, with its message if it has one."""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _failure_from(error: BaseException, stage: str) -> Failure:
    """Failure that stands for an exception."""
    text = _one_line(error)
    # Torch reports a failed allocation as RuntimeError.
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return Failure("memory", stage, text or "ran out of the memory one worker may use")
    return Failure("error", stage, _name_error(error, text))


def _encode_failure(failure: Failure) -> Answer:
    """Encode a failure as an answer."""
    return {"failure": [failure.kind, failure.stage, failure.message]}


def _encode_or_fail(evaluation: Evaluation, evaluator: Evaluator, stage: str, seconds: float) -> Answer:
    """Encode an evaluation; one that cannot be encoded becomes a failure."""
    try:
        return _encode_evaluation(evaluation, evaluator, stage, seconds)
    except FOREIGN_ERRORS as error:  # such as None for an evaluation, or a word for a number
        return _encode_failure(_failure_from(error, stage))


def _encode_evaluation(evaluation: Evaluation, evaluator: Evaluator, stage: str, seconds: float) -> Answer:
    """Encode an evaluation, or the failure of one that breaks the contract."""
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
    """Find the first difference between an evaluation and the evaluator's declaration."""
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
    """Compress a structure to text."""
    return base64.b64encode(compress_text(structure_to_json(structure))).decode()


def _decode_structure(blob: str) -> Structure:
    """Structure from its compressed text."""
    return structure_from_json(decompress_text(base64.b64decode(blob)))


def _hash_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_worker: Worker | None = None
_broken: str = ""


def initialize(setup: bytes, memory_bytes: int | None) -> None:
    """Make this process a worker; called before any deadline starts.

    An error here is kept and answered to every task: a pool whose initializer raises dies without a message.

    Args:
        setup: a `Setup`, pickled by the process that started this one.
        memory_bytes: limit of its memory; None for none.
    """
    global _worker, _broken  # noqa: PLW0603 - one worker per process, by construction
    start_child()
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    try:
        worker = Worker.from_setup(pickle.loads(setup))  # noqa: S301 - from who started us
        worker.prepare()
        _worker = worker  # only now: a worker that is half prepared must not answer
    except FOREIGN_ERRORS as error:  # kept for `execute`
        _broken = f"{type(error).__name__}: {' '.join(str(error).split())}"


def execute(payload: str) -> str:
    """Execute one task in this process; see `Worker.execute`.

    Args:
        payload: of a `Task`.

    Raises:
        PluginError: `initialize` failed.
    """
    if _worker is None:
        raise PluginError(_broken or "the worker was not initialized")
    return _worker.execute(payload)


def _limit_memory(limit: int) -> None:
    """Refuse allocations beyond `limit` bytes, so that an evaluation without enough memory fails alone."""
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    except (ImportError, ValueError, OSError):
        return  # not a POSIX system, or limits are managed elsewhere; the deadline remains
