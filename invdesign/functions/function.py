"""A Python function of the user as an evaluator."""

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
from invdesign.properties import STRUCTURE_PREFIX, Unit, check_unit
from invdesign.protocols import Batch, EvaluatorSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _drop_own_fields(schema: dict[str, Any]) -> None:
    """Drop the fields that are read from the module."""
    for key in ("name", "folder", "source"):
        schema["properties"].pop(key, None)
    schema["required"] = ["path"]


class FitnessFunction(EvaluatorSettings):
    """A Python function of candidates as an evaluator.

    The settings describe the function without holding it, so that a run can be read without the function. `prepare`
    imports a function that lies in a module; any other is passed in with `with_function`.
    """

    model_config = ConfigDict(serialize_by_alias=True, json_schema_extra=_drop_own_fields)

    name: Name
    """Name of the function."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`module:function`; none for a function that no module holds: a closure, or one of a notebook or script."""
    folder: str | None = None
    """Folder of the module; none if it is installed."""
    provides_: dict[str, Unit] = Field(alias="provides", min_length=1)
    """Unit by property it returns: `{hardness: GPa}`; an empty unit for pure numbers."""
    requires_: tuple[str, ...] | None = Field(default=None, alias="requires")
    """What it reads of a candidate: `parameters`, `composition`, `structure:ROLE`, properties of earlier stages; by default all there is."""
    batch_size: Annotated[int, Field(ge=1)] = Field(default=1, alias="batch")
    """Candidates it is called with at a time; above 1 it gets a list of them, and returns as many answers."""
    own_version: str | None = Field(default=None, alias="version")
    """A version of your own that replaces the hash of the source: raise it when the numbers change."""
    source: dict[str, str] = Field(default_factory=dict)
    """Hashes of its source and of what it captures, by part; not for campaign files."""

    _function: Callable[..., Any] | None = PrivateAttr(default=None)

    @field_validator("provides_")
    @classmethod
    def _check_units(cls, provides: dict[str, Unit]) -> dict[str, Unit]:
        for name, unit in provides.items():
            if not name.removeprefix(STRUCTURE_PREFIX).isidentifier():
                raise ValueError(f"a property is called like band_gap, got '{name}'")
            check_unit(name, unit)
        return provides

    @field_validator("requires_")
    @classmethod
    def _check_requirements(cls, requires: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in requires or ():
            if not name.removeprefix(STRUCTURE_PREFIX).isidentifier():
                raise ValueError(
                    f"'{name}' cannot be required: parameters, composition, structure:ROLE and properties can"
                )
        if requires is not None and not requires:
            raise ValueError(
                "a function that requires nothing returns the same for every candidate: name what it reads"
            )
        return tuple(sorted(set(requires))) if requires is not None else None

    def __eq__(self, other: object) -> bool:
        """Compare settings alone: holding the function makes no other evaluator."""
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
        """Settings that decide the numbers.

        They hold no folder, and no hashes of the source where there is a version.
        """
        fields = self.model_dump(mode="json", exclude={"folder"})
        return fields if self.own_version is None else {**fields, "source": {}}

    @property
    def fingerprint(self) -> str:
        text = json.dumps([self.essence, self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def prepare(self) -> None:
        """Import the function unless it is held already.

        Raises:
            PluginError: it cannot be imported.
            CampaignChangedError: its file has changed since the run began.
            RunError: no module holds it, and it was not passed in.
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
            return [self._failed_evaluation(error)]
        try:
            return parse_batch_answer(answer, self.provides, len(inputs))
        except BadAnswerError as error:  # the numbers belong to no candidate, in smaller batches neither
            return [self._failed_evaluation(error)] * len(inputs)

    def _evaluate_one(self, candidate: Input) -> Evaluation:
        try:
            answer = self._call_function(candidate)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            return self._failed_evaluation(error)
        return parse_answer(answer, self.provides)

    def _call_function(self, argument: Any) -> Any:
        assert self._function is not None
        return self._function(argument)

    def _failed_evaluation(self, error: BaseException) -> Evaluation:
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
        """Restrict a candidate to what is required, read-only.

        The cache key holds just this.
        """
        requires = self.requires
        design = item.design
        return replace(
            item,
            design=Design(
                MappingProxyType(dict(design.parameters) if "parameters" in requires else {}),
                design.composition if "composition" in requires else None,
                _CopiedStructures(
                    {r: s for r, s in design.structures.items() if STRUCTURE_PREFIX + r in requires}
                ),
            ),
            properties=MappingProxyType(
                {name: value for name, value in item.properties.items() if name in requires}
            ),
            structures=_CopiedStructures(
                {r: s for r, s in item.structures.items() if STRUCTURE_PREFIX + r in requires}
            ),
        )

    # Handing it in, and knowing it again.

    @property
    def function(self) -> Callable[..., Any] | None:
        """The Python function; None where it is not at hand."""
        return self._function

    def with_function(self, function: Callable[..., Any]) -> Self:
        """Copy that holds `function`."""
        copy = self.model_copy()
        copy._function = function  # noqa: SLF001 - a private attribute of its own class
        return copy

    def with_requirements(self, names: frozenset[str]) -> Self:
        """Copy that requires `names`, unless the function declares its own."""
        if self.requires_ is not None:
            return self
        return self.model_copy(update={"requires_": tuple(sorted(names - self.provides.keys()))})

    @property
    def file(self) -> Path | None:
        """File of the function's module beside a campaign or script."""
        if self.path is None or self.folder is None:
            return None
        return module_file(Path(self.folder), self.path.partition(":")[0])

    def list_changes(self, source: Mapping[str, str], version: str | None = None) -> list[str]:
        """List differences from another version of the function, in words.

        Args:
            source: hashes of that state, by part.
            version: the user's version of that state; versions are compared where either has one.
        """
        if self.own_version is not None or version is not None:
            mine, other = self.own_version or "none", version or "none"
            return [] if mine == other else [f"its version (from {mine} to {other})"]
        return list_differences(self.source, source)

    def check_source(self) -> None:
        """Check that the file of the function's module has not changed.

        Raises:
            CampaignChangedError: the file has changed.
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
        """Message that the function has `changed`, with ways to go on."""
        of = f" of {self.file}" if self.file else ""
        return (
            f"the function '{self.name}'{of} has changed since the run began; changed: {', '.join(changed)}. "
            "Undo the change, start a new run, or take what it evaluated into one: invdesign fork DIR NEW --campaign FILE"
        )


class _CopiedStructures(Mapping[str, Any]):
    """Structures by role, copied when read: later stages use the originals."""

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
    """Line that raised `error`, counted from the function's first line."""
    code = getattr(unwrap_function(function), "__code__", None)
    line = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is code:
            line = step.tb_lineno - code.co_firstlineno + 1
        step = step.tb_next
    return line
