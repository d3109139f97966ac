"""A fitness function: a user's own Python function as an evaluator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from invdesign.candidate import Design, Evaluation, Failure, Input
from invdesign.errors import CampaignChangedError, PluginError, RunError
from invdesign.functions.answers import BadAnswerError, parse_answer, parse_batch_answer
from invdesign.functions.modules import hash_module, import_function, module_file
from invdesign.functions.source import list_differences, unwrap_function
from invdesign.properties import STRUCTURE, Unit, check_unit
from invdesign.protocols import Batch, EvaluatorSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
DESIGN = frozenset({"parameters", "composition"})


def _drop_own_fields(schema: dict[str, Any]) -> None:
    """In a campaign file the module is asked for the rest."""
    for key in ("name", "folder", "source"):
        schema["properties"].pop(key, None)
    schema["required"] = ["path"]


class FitnessFunction(EvaluatorSettings):
    """A Python function of a candidate, or of a batch of them.

    These settings are all about the function but the function itself, so that a run can be read without it. Where a
    module holds it, `prepare` imports it; any other is handed in (`with_function`).
    """

    model_config = ConfigDict(serialize_by_alias=True, json_schema_extra=_drop_own_fields)

    name: Name
    """What it is called."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`module:function`; none of a function that no module holds: a closure, one of a notebook or a script."""
    folder: str | None = None
    """Where the module is; none of an installed one."""
    provides_: dict[str, Unit] = Field(alias="provides", min_length=1)
    """Unit by property it returns: `{hardness: GPa}`; an empty unit for pure numbers."""
    requires_: tuple[str, ...] | None = Field(default=None, alias="requires")
    """What it reads of a candidate: `parameters`, `composition`, `structure:ROLE`, properties of earlier stages; by default all there is."""
    batch_size: Annotated[int, Field(ge=1)] = Field(default=1, alias="batch")
    """Candidates it is called with at a time; above 1 it gets a list of them, and returns as many answers."""
    own_version: str | None = Field(default=None, alias="version")
    """The user's own mark, which then stands for the source: another one when the numbers change."""
    source: dict[str, str] = Field(default_factory=dict)
    """Hashes of its source and of what it captures, by part; not for campaign files."""

    _function: Callable[..., Any] | None = PrivateAttr(default=None)

    @field_validator("provides_")
    @classmethod
    def _check_units(cls, provides: dict[str, Unit]) -> dict[str, Unit]:
        for name, unit in provides.items():
            if not name.removeprefix(STRUCTURE).isidentifier():
                raise ValueError(f"a property is called like band_gap, got '{name}'")
            check_unit(name, unit)
        return provides

    @field_validator("requires_")
    @classmethod
    def _check_requirements(cls, requires: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in requires or ():
            if not name.removeprefix(STRUCTURE).isidentifier():
                raise ValueError(
                    f"'{name}' cannot be required: parameters, composition, structure:ROLE and properties can"
                )
        if requires is not None and not requires:
            raise ValueError("a function that requires nothing says the same of every candidate")
        return tuple(sorted(set(requires))) if requires is not None else None

    def __eq__(self, other: object) -> bool:
        """By what it says of itself: whether the function is at hand makes no other evaluator."""
        return type(self) is type(other) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    # The contract.

    @property
    def requires(self) -> frozenset[str]:
        return frozenset(self.requires_ or ())

    @property
    def provides(self) -> Mapping[str, Unit]:
        return self.provides_

    @property
    def batch(self) -> Batch:
        return Batch(self.batch_size)

    @property
    def essence(self) -> dict[str, Any]:
        """What decides its numbers: where the file lies does not; a version of the user's own stands for the source."""
        fields = self.model_dump(mode="json", exclude={"folder"})
        return fields if self.own_version is None else {**fields, "source": {}}

    @property
    def fingerprint(self) -> str:
        text = json.dumps([self.essence, self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def prepare(self) -> None:
        """Import it, where it is not held.

        Raises:
            PluginError: it cannot be imported.
            CampaignChangedError: its file is another than the run began with.
            RunError: nobody handed it in.
        """
        self.check_source()
        if self._function is not None:
            return
        if self.path is None:
            raise RunError(f"the function '{self.name}' is in no module and was not handed in")
        function = import_function(self.path, Path(self.folder) if self.folder else None)
        self._function = (
            getattr(function, "__wrapped__", function) if hasattr(function, "evaluator") else function
        )

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        self.prepare()
        candidates = [self._restrict_input(item) for item in inputs]
        if self.batch_size == 1:
            return [self._evaluate_one(candidate) for candidate in candidates]
        try:
            answer = self._call_function(candidates)
        except Exception as error:
            if len(inputs) > 1:
                raise  # the worker finds out whose fault it is
            return [self._to_failure(error)]
        try:
            return parse_batch_answer(answer, self.provides, len(inputs))
        except (
            BadAnswerError
        ) as error:  # whose number is whose, nobody can say: not of smaller batches either
            return [self._to_failure(error)] * len(inputs)

    def _evaluate_one(self, candidate: Input) -> Evaluation:
        try:
            answer = self._call_function(candidate)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            return self._to_failure(error)
        return parse_answer(answer, self.provides)

    def _call_function(self, argument: Any) -> Any:
        assert self._function is not None
        return self._function(argument)

    def _to_failure(self, error: BaseException) -> Evaluation:
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, BadAnswerError):
            return Evaluation(failure=Failure(error.kind, "", str(error)))
        said = " ".join(str(error).split())[:400]
        line = _raising_line(error, self._function)
        where = f" (line {line} of {self.name})" if line is not None else ""
        return Evaluation(
            failure=Failure("error", "", f"{type(error).__name__}{': ' if said else ''}{said}{where}")
        )

    def _restrict_input(self, item: Input) -> Input:
        """The candidate with what is required alone, which its cache key holds, and safe from changes."""
        requires = self.requires
        design = item.design
        return replace(
            item,
            design=Design(
                MappingProxyType(dict(design.parameters) if "parameters" in requires else {}),
                design.composition if "composition" in requires else None,
                _CopiedStructures({r: s for r, s in design.structures.items() if STRUCTURE + r in requires}),
            ),
            properties=MappingProxyType(
                {name: value for name, value in item.properties.items() if name in requires}
            ),
            structures=_CopiedStructures(
                {r: s for r, s in item.structures.items() if STRUCTURE + r in requires}
            ),
        )

    # Handing it in, and knowing it again.

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function itself, where it is at hand."""
        return self._function

    def with_function(self, function: Callable[..., Any]) -> Self:
        """The same with the function at hand."""
        copy = self.model_copy()
        copy._function = function  # noqa: SLF001 - a private attribute of its own class
        return copy

    def with_requirements(self, names: frozenset[str]) -> Self:
        """The same, requiring these names where it does not say what it requires."""
        if self.requires_ is not None:
            return self
        return self.model_copy(update={"requires_": tuple(sorted(names - self.provides.keys()))})

    @property
    def file(self) -> Path | None:
        """The file of its module, where that is beside a campaign or a script."""
        if self.path is None or self.folder is None:
            return None
        return module_file(Path(self.folder), self.path.partition(":")[0])

    def list_changes(self, source: Mapping[str, str], version: str | None = None) -> list[str]:
        """What is different of a function with this source and version, in words; nothing of the same one."""
        if self.own_version is not None or version is not None:
            mine, other = self.own_version or "none", version or "none"
            return [] if mine == other else [f"its version (from {mine} to {other})"]
        return list_differences(self.source, source)

    def check_source(self) -> None:
        """Whether the file of its module still says what it said.

        Raises:
            CampaignChangedError: it does not.
            PluginError: the file is gone.
        """
        if self._function is not None or self.path is None or self.folder is None:
            return
        file = self.file
        if file is None:
            raise PluginError(
                f"the module of the function '{self.name}', {self.path.partition(':')[0]}, is no longer in {self.folder}"
            )
        changed = self.list_changes(hash_module(file), self.own_version)
        if changed and self.source:
            raise CampaignChangedError(self.describe_changes(changed))

    def describe_changes(self, changed: Sequence[str]) -> str:
        """That it changed, in what, and how to go on."""
        of = f" of {self.file}" if self.file else ""
        return (
            f"the function '{self.name}'{of} is another than the run began with; changed: {', '.join(changed)}. "
            "Undo the change, start a new run, or take what it evaluated into one: invdesign fork DIR NEW --campaign FILE"
        )


class _CopiedStructures(Mapping[str, Any]):
    """Structures by role; each is a copy, since the one at hand serves later stages too."""

    def __init__(self, structures: Mapping[str, Structure]) -> None:
        self._structures = structures
        self._copied: dict[str, Structure] = {}

    def __getitem__(self, role: str) -> Structure:
        if role not in self._copied:
            self._copied[role] = self._structures[role].copy()
        return self._copied[role]

    def __iter__(self) -> Any:
        return iter(self._structures)

    def __len__(self) -> int:
        return len(self._structures)


def _raising_line(error: BaseException, function: Any) -> int | None:
    """Where in the user's function it was raised, counted from its first line."""
    code = getattr(unwrap_function(function), "__code__", None)
    line = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is code:
            line = step.tb_lineno - code.co_firstlineno + 1
        step = step.tb_next
    return line
