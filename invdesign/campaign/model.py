"""The validated, frozen campaign."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from invdesign import registry
from invdesign.artifacts import Artifact, find_artifacts
from invdesign.beside import trust_folders
from invdesign.campaign.functions import (
    attach_functions,
    check_usable,
    fitness_functions,
    list_unimported,
    note_unstored_functions,
    stages_running_code,
)
from invdesign.campaign.objectives import (
    Aim,
    Bounds,
    Limits,
    One,
    dump_constraint,
    dump_objective,
    load_objective,
)
from invdesign.campaign.roles import OpenRoles, adopt_roles, describe_mixed_roles, map_measured_roles
from invdesign.candidate import Genome, Json, canonical
from invdesign.engines import EngineSettings
from invdesign.evaluation import BUILD_STAGE, Stage
from invdesign.functions import FitnessFunction
from invdesign.problem import Constraint, Problem, Scalarize
from invdesign.protocols import (
    AnyOptimizer,
    Derivation,
    Evaluator,
    SearchSpace,
    StageView,
    find_allowed_elements,
)
from invdesign.settings import STORED_FOLDER, Frozen, Settings, load
from invdesign.suffixed import Suffix
from invdesign.wording import shorten_text

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
StageName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Budget(Frozen):
    """Limits at which the search ends; the first one reached counts."""

    candidates: Annotated[PositiveInt, Field(lt=2**63)] | None = None
    """Candidates proposed."""
    evaluations: Annotated[PositiveInt, Field(lt=2**63)] | None = None
    """Candidates that entered the last stage."""
    hours: Annotated[Positive, Field(allow_inf_nan=False)] | None = None
    """Hours of work, over all sessions of the run."""

    @property
    def most(self) -> int | None:
        """Largest number of candidates that can be evaluated completely.

        None if only hours limit it.
        """
        counts = [count for count in (self.candidates, self.evaluations) if count is not None]
        return min(counts, default=None)

    @model_validator(mode="after")
    def _check_any_limit(self) -> Self:
        if self.candidates is None and self.evaluations is None and self.hours is None:
            raise ValueError("give at least one of candidates, evaluations, hours")
        return self


class Common(Frozen):
    """Settings of a stage beside those of its evaluator."""

    name: StageName | None = None
    """Name of the stage, where one evaluator is used twice."""
    gate: dict[str, Bounds] = Field(default_factory=dict)
    """What a candidate must satisfy to go on, by property."""
    timeout: Positive = 600.0
    """Seconds one candidate may take."""
    on_demand: bool = False
    """The search sends nothing there: only candidates you promote enter (`invdesign promote`)."""
    suffix: Suffix | None = None
    """What the names of its properties and structures end with, where one evaluator is asked twice, of two potentials."""


class Header(Frozen):
    """Keys of a campaign file.

    Plug-ins are checked by their own settings.
    """

    version: Literal[1]
    """Version of the campaign format."""
    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What the campaign is called in reports."""
    description: str = ""
    """A sentence or two for readers of the report."""
    seed: Seed = 0
    """The same seed gives the same run."""
    space: Any
    """The search space: everything that may be proposed."""
    evaluate: Annotated[list[Any], Field(min_length=1)]
    """Evaluators, from cheap to costly: the stages of the funnel."""
    derive: list[Any] = Field(default_factory=list)
    """Derivations: properties that follow from the results of all candidates together, such as `hull`."""
    objectives: Annotated[list[Aim], Field(min_length=1)]
    """Properties to minimize or maximize, to bring to a target or to keep in a window."""
    scalarize: Scalarize | None = None
    """Combine the objectives to one score; without it, several objectives give a Pareto front."""
    constraints: list[Annotated[dict[str, Limits], One]] = Field(default_factory=list)
    """Properties with bounds; candidates outside rank behind those inside."""
    optimizer: Any = "auto"
    """What proposes candidates; chosen from the rest of the campaign where not given."""
    budget: Budget
    """When the search ends."""
    seeds: list[Any] = Field(default_factory=list)
    """Candidates to evaluate first: structure files, or genomes."""
    engine: Any = "local"
    """Where evaluations run."""
    max_failure_rate: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The run stops when a larger share of at least 20 evaluated candidates failed."""


class StoredStage(Frozen):
    """A stage as stored."""

    name: StageName
    evaluator: dict[str, Any]
    gates: list[tuple[str, Finite | None, Finite | None]]
    timeout: Positive
    on_demand: bool = False


class StoredHeader(BaseModel):
    """A stored campaign without its plug-ins and problem.

    A store is not trusted.
    """

    model_config = ConfigDict(strict=True)

    name: str
    seed: Seed
    stages: Annotated[list[StoredStage], Field(min_length=1)]
    budget: Budget
    seeds: list[dict[str, Any]]
    derive: list[dict[str, Any]] = Field(default_factory=list)
    max_failure_rate: Annotated[float, Field(gt=0, le=1)]
    description: str
    code: list[str]


@dataclass(frozen=True)
class Campaign:
    """A complete description of a search.

    Attributes:
        stages: the funnel after the build stage.
        seeds: genomes to evaluate first.
        derivations: make properties of all ended candidates together, in order.
        code: folders of trusted code that was imported to read the campaign; usually empty.
        opened: by stage, the settings that left their structure to the funnel (`latest`); never stored.
        text: the file as the user wrote it, for the report; empty for a campaign made in Python.
        trusted: true if functions beside the campaign may be imported; never stored.
        file: name of the file; never stored.
    """

    name: str
    seed: int
    space: SearchSpace
    stages: tuple[Stage, ...]
    problem: Problem
    optimizer: AnyOptimizer
    budget: Budget
    engine: EngineSettings
    seeds: tuple[Genome, ...] = ()
    derivations: tuple[Derivation, ...] = ()
    max_failure_rate: float = 0.9
    description: str = ""
    code: tuple[str, ...] = ()
    opened: OpenRoles = field(default_factory=dict, compare=False, repr=False)
    text: str = field(default="", compare=False, repr=False)
    trusted: bool = field(default=False, compare=False)
    file: str = field(default="", compare=False)

    @property
    def funnel(self) -> tuple[Stage, ...]:
        """All stages, the build stage first."""
        return (BUILD_STAGE, *self.stages)

    @property
    def views(self) -> tuple[StageView, ...]:
        """Stages after the build stage, without those on demand."""
        return tuple(view for view in self.all_views if not view.on_demand)

    @property
    def all_views(self) -> tuple[StageView, ...]:
        """Stages after the build stage."""
        return tuple(stage.view for stage in self.stages)

    @property
    def measured_outside(self) -> bool:
        """True if the search waits for results from outside.

        Its candidates are asked for, not evaluated.
        """
        return any(stage.external and not stage.on_demand for stage in self.stages)

    @property
    def evaluators(self) -> dict[str, Evaluator]:
        """Evaluator by stage name."""
        return {stage.name: stage.evaluator for stage in self.stages if stage.evaluator is not None}

    def count_space(self) -> int | None:
        """Distinct candidates of a countable space.

        None where it has no end or cannot be counted.
        """
        return self.space.size()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that readers of the run should know, each once.

        A remark begins with the places that make it, as in `decomposition_energy, stability_window: ...`.
        """
        derivations = {registry.name_of(type(plugin)): plugin for plugin in self.derivations}
        named = {"space": self.space, **self.evaluators, **derivations, "optimizer": self.optimizer}
        elements = find_allowed_elements(self.space)
        places: dict[str, list[str]] = {}  # several stages with one reference set share its remarks
        for place, plugin in named.items():
            for remark in plugin.remarks_on(elements) if isinstance(plugin, Settings) else ():
                places.setdefault(remark, []).append(place)
        remarks = (f"{', '.join(found)}: {remark}" for remark, found in places.items())
        mixed = describe_mixed_roles(
            {o.property: role for o in self.problem.objectives if (role := self.measured_on.get(o.property))}
        )
        return (*note_unstored_functions(self.evaluators), *remarks, *([mixed] if mixed else []))

    @property
    def measured_on(self) -> dict[str, str]:
        """Role of the structure that each property describes.

        Without properties of compositions and parameters.
        """
        by_stage = map_measured_roles(self.stages)
        # As in a history: where a stage on demand provides a property again, that of the search's own stages counts.
        order = sorted(self.stages, key=lambda stage: not stage.on_demand)
        found = {name: role for stage in order for name, role in by_stage.get(stage.name, {}).items()}
        for derivation in self.derivations:
            roles = {found[name] for name in derivation.requires if name in found}
            if len(roles) == 1:
                found |= dict.fromkeys(derivation.provides, *roles)
        return found

    @property
    def held_functions(self) -> tuple[FitnessFunction, ...]:
        """Fitness functions whose Python function is at hand."""
        return tuple(
            item for item in fitness_functions(self.evaluators).values() if item.function is not None
        )

    def with_functions(self, functions: Iterable[Any]) -> Campaign:
        """Copy that holds `functions`, matched by name.

        Raises:
            RunError: one is no fitness function, or none of the campaign's.
            CampaignChangedError: one has changed.
        """
        held = attach_functions(self.evaluators, functions)
        stages = tuple(replace(s, evaluator=held.get(s.name, s.evaluator)) for s in self.stages)
        return replace(self, stages=stages)

    def with_roles_of(self, stored: Campaign) -> Campaign:
        """Copy with the `stored` campaign's structures, where no role is named."""
        return replace(self, stages=adopt_roles(self.stages, self.opened, stored.stages))

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Artifacts of the plug-ins, one per content."""
        dump = self.dump()
        return find_artifacts([dump.get(key) for key in ("space", "stages", "derive", "optimizer", "engine")])

    @property
    def wants_trust(self) -> bool:
        """True if working imports code or runs programs of the campaign."""
        return bool(self.code or list_unimported(self.evaluators) or stages_running_code(self.evaluators))

    def check_usable(self, how: str, folder: Path | None = None) -> None:
        """Check that every function and program can be run.

        Args:
            how: command that expresses trust, for the message.
            folder: the run's.

        Raises:
            RunError: a function must be passed in, or needs trust.
            CampaignChangedError: the module of a function has changed.
        """
        check_usable(self.evaluators, trusted=self.trusted, how=how, folder=folder)

    def units(self) -> dict[str, str]:
        """Unit by property name."""
        makers: tuple[Evaluator | Derivation, ...] = (*self.evaluators.values(), *self.derivations)
        return {name: unit for maker in makers for name, unit in maker.provides.items()}

    def dump(self) -> dict[str, Json]:
        """Write the campaign as plain JSON, for `from_dump`."""
        stages: list[Json] = [
            {
                "name": stage.name,
                "evaluator": _dump_plugin(stage.evaluator),
                "gates": [[g.property, g.min, g.max] for g in stage.gates],
                "timeout": stage.timeout,
                # Only where it is so: campaigns without it keep the hash they had before there was one.
                **({"on_demand": True} if stage.on_demand else {}),
            }
            for stage in self.stages
        ]
        return {
            "version": 1,
            "name": self.name,
            "description": self.description,
            "seed": self.seed,
            "space": _dump_plugin(self.space),
            "stages": stages,
            # Only where there are some: campaigns without them keep the hash they had before there were any.
            **({"derive": [_dump_plugin(item) for item in self.derivations]} if self.derivations else {}),
            "objectives": [dump_objective(objective) for objective in self.problem.objectives],
            "constraints": [dump_constraint(constraint) for constraint in self.problem.constraints],
            # Only where it is said: campaigns without it keep the hash they had before there was one.
            **({"scalarize": self.problem.scalarize} if self.problem.scalarize else {}),
            "optimizer": _dump_plugin(self.optimizer),
            "budget": self.budget.model_dump(mode="json"),
            "engine": _dump_plugin(self.engine),
            "seeds": [canonical(genome) for genome in self.seeds],
            "max_failure_rate": self.max_failure_rate,
            "code": list(self.code),
        }

    @classmethod
    def from_dump(cls, data: Mapping[str, Any], *, trusted: bool = False) -> Campaign:
        """Read a campaign that `dump` wrote.

        Python functions must be attached again.

        Args:
            data: the dump.
            trusted: true if functions beside the campaign may be imported.
        """
        stored = StoredHeader.model_validate_json(json.dumps(data))
        imported = bool(stored.code)
        trust_folders(stored.code)
        stages = tuple(
            Stage(
                row.name,
                load("evaluators", row.evaluator, folder=STORED_FOLDER, trust_code=imported),
                tuple(Constraint(*gate) for gate in row.gates),
                row.timeout,
                row.on_demand,
            )
            for row in stored.stages
        )
        problem = Problem(
            tuple(load_objective(row) for row in data["objectives"]),
            tuple(Constraint(*row) for row in data["constraints"]),
            data.get("scalarize"),
        )
        return cls(
            name=stored.name,
            seed=stored.seed,
            space=load("spaces", data["space"], folder=STORED_FOLDER, trust_code=imported),
            stages=stages,
            problem=problem,
            optimizer=load("optimizers", data["optimizer"], folder=STORED_FOLDER, trust_code=imported),
            budget=stored.budget,
            engine=load("engines", data["engine"], folder=STORED_FOLDER, trust_code=imported),
            seeds=tuple(stored.seeds),
            derivations=tuple(
                load("derivations", item, folder=STORED_FOLDER, trust_code=imported) for item in stored.derive
            ),
            max_failure_rate=stored.max_failure_rate,
            description=stored.description,
            code=tuple(stored.code),
            trusted=trusted or imported,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the results.

        That is all but budget, engine, failure rate and description.
        """
        return hashlib.blake2b(
            json.dumps(self._dump_essential(), sort_keys=True).encode(), digest_size=16
        ).hexdigest()

    def _dump_essential(self) -> dict[str, Json]:
        free = {"budget", "engine", "description", "max_failure_rate"}
        found = {key: value for key, value in self.dump().items() if key not in free}
        for stage, row in zip(self.stages, cast("list[Any]", found["stages"]), strict=True):
            if isinstance(stage.evaluator, FitnessFunction):  # where its file lies is no matter
                row["evaluator"] = stage.evaluator.essence
        return found

    def changes(self, other: Campaign) -> list[str]:
        """List the differences to an `other` campaign, a line each.

        Budget, engine, description and failure rate are free to change. Files are compared by their contents, functions by
        their source or their own version.
        """
        mine, theirs = _flatten_json(self._dump_essential()), _flatten_json(other._dump_essential())
        return [
            _describe_difference(path, mine.get(path), theirs.get(path))
            for path in sorted(mine.keys() | theirs.keys())
            if mine.get(path) != theirs.get(path)
        ]


def _dump_plugin(plugin: Any) -> dict[str, Json]:
    dump: dict[str, Json] = plugin.model_dump(mode="json")
    return dump


def _flatten_json(value: Json, path: str = "") -> dict[str, Json]:
    if isinstance(value, dict):
        return {
            p: v
            for key, item in value.items()
            for p, v in _flatten_json(item, f"{path}.{key}" if path else key).items()
        }
    if isinstance(value, list):
        return {p: v for n, item in enumerate(value) for p, v in _flatten_json(item, f"{path}[{n}]").items()}
    return {path: value}


def _describe_difference(path: str, mine: Json, theirs: Json) -> str:
    place, source, part = path.partition(".evaluator.source.")
    if source:  # hashes tell a person nothing
        return f"{place}.evaluator: {part} {'is new' if mine is None else 'is gone' if theirs is None else 'changed'}"
    return f"{path}: {_shorten_value(mine)} -> {_shorten_value(theirs)}"


def _shorten_value(value: Json) -> str:
    if value is None:
        return "(nothing)"
    return shorten_text(str(value), 60)
