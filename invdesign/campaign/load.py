"""Turn a document into a campaign, collecting all mistakes in one pass."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from invdesign import registry
from invdesign.beside import trust_folders
from invdesign.campaign.derivations import explain_underived, explain_unfit
from invdesign.campaign.document import Document, Place, read_document
from invdesign.campaign.functions import (
    LONG_FORM,
    FunctionEntry,
    describe_missing_module,
    function_settings,
    is_function,
)
from invdesign.campaign.mistakes import COMMON, describe_errors, has_step, is_wrong_form, quote_value
from invdesign.campaign.model import Budget, Campaign, Common, Header
from invdesign.campaign.objectives import Limits, named_properties, read_objectives
from invdesign.campaign.priors import embed_priors
from invdesign.campaign.roles import (
    OpenRoles,
    check_roles,
    list_makers,
    name_structures,
    resolve_latest,
    roles_in,
)
from invdesign.candidate import Genome, canonical, genome_key
from invdesign.errors import CampaignError, InvdesignError, PluginError, nearest
from invdesign.evaluation import Stage
from invdesign.functions import FitnessFunction
from invdesign.problem import Constraint, Problem, Scalarize
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import (
    AnyOptimizer,
    Derivation,
    Evaluator,
    OptimizerSettings,
    ReadingEvaluator,
    ReferencedSpace,
    SearchSpace,
    StructureSpace,
)
from invdesign.rng import rng_for
from invdesign.roles import INITIAL, roles_by_path
from invdesign.settings import InputFile, holds_code, load
from invdesign.suffixed import Suffixed

PROBED_ATTRIBUTES = ("requires", "provides", "gates", "batch", "external", "potential_id", "remarks")
M = TypeVar("M", bound=BaseModel)
DESIGN = frozenset(
    {"composition", "parameters", f"{STRUCTURE_PREFIX}initial"}
)  # what a design itself may give


def load_campaign(path: str | Path, *, trust_code: bool = False) -> Campaign:
    """Load a campaign from a YAML file.

    Args:
        path: the file; relative paths in it start from its folder.
        trust_code: true if code in that folder may be imported: `module:Class` at once, functions when the run works.

    Raises:
        CampaignError: with every mistake, its line, what is allowed and the nearest valid name.

    Examples:
        >>> import invdesign
        >>> campaign = invdesign.load_campaign("campaigns/toy.yaml")
        >>> [objective.property for objective in campaign.problem.objectives]
        ['f1', 'f2']
    """
    path = Path(path)
    return read_campaign(read_document(path), path.resolve().parent, trust_code=trust_code)


def campaign_from(data: Mapping[str, Any], *, folder: str | Path = ".", trust_code: bool = False) -> Campaign:
    """Make a campaign from a mapping, as in a file.

    Args:
        data: the mapping.
        folder: where relative paths start.
        trust_code: as for `load_campaign`.

    Raises:
        CampaignError: as for `load_campaign`, without lines.

    Examples:
        >>> import invdesign
        >>> campaign = invdesign.campaign_from(
        ...     {
        ...         "version": 1,
        ...         "name": "two variables",
        ...         "space": {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}, "n": {"integer": [1, 4]}}},
        ...         "evaluate": [{"experiment": {"provides": {"capacity": "mAh/g"}}}],
        ...         "objectives": [{"maximize": "capacity"}],
        ...         "optimizer": {"kind": "random"},
        ...         "budget": {"candidates": 20},
        ...     }
        ... )
        >>> campaign.units()
        {'capacity': 'mAh/g'}
    """
    return read_campaign(Document(dict(data)), Path(folder).resolve(), trust_code=trust_code)


def read_campaign(
    document: Document, folder: Path, *, trust_code: bool = False, made: Mapping[Place, Any] | None = None
) -> Campaign:
    """Turn a document into a campaign; see `load_campaign`.

    Args:
        document: the parsed file.
        folder: where relative paths start.
        trust_code: true if code in `folder` may be imported.
        made: plug-ins made in Python, by the place in the document of their settings.

    Raises:
        CampaignError: with every mistake.
    """
    reader = _Reader(document, folder, trust_code, made or {})
    campaign = reader.read_campaign()
    if campaign is None or reader.mistakes:
        mistakes = sorted(reader.mistakes, key=lambda mistake: mistake.line or 0)
        raise CampaignError(mistakes, document.source, f"invdesign validate {document.source}")
    return campaign


@dataclass
class _Reader:
    document: Document
    folder: Path
    trust_code: bool
    made: Mapping[Place, Any] = field(default_factory=dict)
    mistakes: list[Any] = field(default_factory=list)
    all_stages_read: bool = True
    all_derivations_read: bool = True
    derivations: list[Derivation] = field(default_factory=list)

    def add_mistake(self, place: Place, message: str, hint: str = "") -> None:
        self.mistakes.append(self.document.mistake(place, message, hint))

    def read_campaign(self) -> Campaign | None:
        data = self.document.value
        if not isinstance(data, dict):
            self.add_mistake((), f"expected keys such as name, space and evaluate, got {data!r:.60}")
            return None
        if self.trust_code:
            trust_folders([str(self.folder)])
        header = self._read_model(Header, data, ())
        space = self._read_plugin("spaces", data.get("space"), ("space",)) if "space" in data else None
        optimizer = self._read_plugin(
            "optimizers", self._embed_priors(data.get("optimizer", "auto")), ("optimizer",)
        )
        if space is not None and isinstance(optimizer, OptimizerSettings):
            optimizer = optimizer.suit_space(space)
        engine = self._read_plugin("engines", data.get("engine", "local"), ("engine",))
        stages = self._read_stages(data.get("evaluate"))
        self._read_derivations(data.get("derive"), stages)
        problem = self._read_problem(data, stages)
        opened: OpenRoles = {}
        if space is not None and self.all_stages_read:
            of_design = _design_roles(space, stages)
            stages = name_structures(self._resolve_requirements(stages, space), space)
            stages, opened = resolve_latest(stages, of_design)
            check_roles(stages, of_design, self._add_stage_mistake)
            self._check_requirements(stages)
            self._check_designs(stages, space)
        if space is not None and optimizer is not None and problem.objectives:
            self._check_optimizer(optimizer, space, problem)
        seeds = self._read_seeds(data.get("seeds"), space) if space is not None else ()
        if header is None or self.mistakes or space is None or optimizer is None or engine is None:
            return None
        campaign = Campaign(
            name=header.name,
            seed=header.seed,
            space=space,
            stages=tuple(stages),
            problem=problem,
            optimizer=optimizer,
            budget=Budget.model_validate(header.budget),
            engine=engine,
            seeds=seeds,
            derivations=tuple(self.derivations),
            max_failure_rate=header.max_failure_rate,
            description=header.description,
            opened=opened,
            text=self.document.text,
            trusted=self.trust_code,
            file=self.document.source if self.document.text else "",
        )
        imported = [
            campaign.space,
            campaign.optimizer,
            campaign.engine,
            *campaign.evaluators.values(),
            *campaign.derivations,
        ]
        return (
            replace(campaign, code=(str(self.folder),))
            if holds_code(imported) or _refers_to_code(campaign.dump())
            else campaign
        )

    # Models and plug-ins.

    def _read_model(self, model: type[M], data: Any, place: Place) -> M | None:
        try:
            return model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            self._add_validation_errors(error, model, place)
            return None

    def _embed_priors(self, value: Any) -> Any:
        """Optimizer's settings, with earlier runs as tables."""
        settings, mistakes = embed_priors(value, self.folder)
        for place, message in mistakes:
            self.add_mistake(("optimizer", *place), message)
        return settings

    def _read_plugin(self, group: str, value: Any, place: Place) -> Any:
        settings = {"kind": value} if isinstance(value, str) else value
        if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
            known = ", ".join(registry.names(group))
            self.add_mistake(
                place,
                f"expected a name or a mapping with 'kind', got {quote_value(value)}.",
                f"Known: {known}.",
            )
            return None
        at = (*place, "kind") if isinstance(value, dict) else place
        return self._load_plugin(group, settings["kind"], settings, at, place)

    def _load_plugin(
        self, group: str, kind: str, settings: Mapping[str, Any], at: Place, place: Place
    ) -> Any:
        if place in self.made:
            for name in sorted(settings.keys() - {"kind"}):  # it was made with its settings
                hint = nearest(name, COMMON) or f"Allowed: {', '.join(COMMON)}."
                self.add_mistake((*place, name), "unknown key.", hint)
            return self.made[place]
        try:
            plugin = registry.load(group, kind, trust_code=self.trust_code)
        except PluginError as error:
            self.add_mistake(at, str(error))
            return None
        try:
            return self._probe_plugin(
                load(group, {**settings, "kind": kind}, folder=self.folder, trust_code=self.trust_code)
            )
        except ValidationError as error:
            self._add_validation_errors(error, plugin, place)
        except InvdesignError as error:
            self.add_mistake(place, str(error))
        except Exception as error:
            if kind in registry.names(group) and registry.is_built_in(group, kind):
                raise
            self.add_mistake(place, f"'{kind}' fails on its settings: {type(error).__name__}: {error}")
        return None

    def _probe_plugin(self, plugin: Any) -> Any:
        """Read a plug-in's properties once, so that faulty ones fail here."""
        for name in PROBED_ATTRIBUTES:
            getattr(plugin, name, None)
        return plugin

    def _add_validation_errors(self, error: ValidationError, model: type, place: Place) -> None:
        found: dict[Place, list[Any]] = {}
        for item in error.errors(include_url=False):
            found.setdefault(self._place_in_file(place, item), []).append(item)
        for where, items in found.items():
            if any(_is_within(other, where) for other in found) and all(map(is_wrong_form, items)):
                continue  # another form of the value fits, and what is wrong within it is said
            for message, hint in describe_errors(items, model, where, self._value_at(place)):
                if self.document.mistake((*place, *where), message, hint) not in self.mistakes:
                    self.add_mistake((*place, *where), message, hint)

    def _place_in_file(self, place: Place, item: Any) -> Place:
        """Place of an error in the file.

        Pydantic's paths also name validators and members of unions.
        """
        value = self._value_at(place)
        where: list[str | int] = []
        for step in item["loc"]:
            if has_step(value, step):
                where.append(step)
                value = value[step]
        return (*where, item["loc"][-1]) if item["type"] == "missing" else tuple(where)

    def _value_at(self, place: Place) -> Any:
        """Value at a place of the file.

        None if there is none.
        """
        value: Any = self.document.value
        for step in place:
            value = value[step] if has_step(value, step) else None
        return value

    # Stages.

    def _read_stages(self, items: Any) -> list[Stage]:
        if not isinstance(items, list):
            return []
        stages: list[Stage] = []
        for number, item in enumerate(items):
            stage = self._read_stage(item, ("evaluate", number), stages)
            if stage is None:
                self.all_stages_read = False
                continue
            if stage.name in {"build", *(other.name for other in stages)}:
                hint = "Give it a name of its own: {name: ...}."
                self.add_mistake(("evaluate", number), f"there is a stage '{stage.name}' already.", hint)
            self._check_on_demand(stage, stages, ("evaluate", number))
            stages.append(stage)
        return stages

    def _add_stage_mistake(self, number: int, path: Place, message: str, hint: str) -> None:
        """Add a mistake in a field of a stage's evaluator."""
        item = self._value_at(("evaluate", number))
        kind = tuple(item)[:1] if isinstance(item, dict) else ()
        if path[:1] == ("evaluator",) and "suffix" in (self._value_at(("evaluate", number, *kind)) or ()):
            path = path[1:]  # the file has the settings of a stage with a suffix beside it
        self.add_mistake(("evaluate", number, *kind, *path), message, hint)

    def _check_on_demand(self, stage: Stage, before: list[Stage], place: Place) -> None:
        """Check that stages on demand come last and leave some for the search."""
        on_demand = [other.name for other in before if other.on_demand]
        if on_demand and not stage.on_demand:
            self.add_mistake(
                place,
                f"{stage.name} comes after {on_demand[-1]}, which is on demand: the search would never get there.",
                f"Put stages with on_demand last, or let {stage.name} be on demand too.",
            )
        if stage.on_demand and not before:
            self.add_mistake(
                place, "the first stage cannot be on demand: nothing would be left for the search to do."
            )

    def _read_stage(self, item: Any, place: Place, before: Sequence[Stage]) -> Stage | None:
        if isinstance(item, str):
            item = {item: {}}
        if not isinstance(item, dict) or len(item) != 1:
            self.add_mistake(
                place, f"expected an evaluator, as 'relax' or 'relax: {{...}}', got {quote_value(item)}"
            )
            return None
        ((kind, settings),) = item.items()
        place = (*place, kind)
        settings = {} if settings is None else _expand_main_setting(kind, settings)
        if not isinstance(settings, dict):
            self.add_mistake(place, f"expected settings as 'key: value', got {quote_value(settings)}")
            return None
        own = {key: value for key, value in settings.items() if key not in COMMON}
        common = self._read_model(Common, {key: settings[key] for key in COMMON if key in settings}, place)
        evaluator = self._read_evaluator(kind, own, place)
        if evaluator is None or common is None:
            return None
        if common.suffix is not None:
            evaluator = self._add_suffix(evaluator, common.suffix, place)
            kind = f"{kind}_{common.suffix}"
        if evaluator is None:
            return None
        if isinstance(evaluator, ReadingEvaluator):
            known = [name for s in before if s.evaluator is not None for name in s.evaluator.provides]
            evaluator = evaluator.reading_from(known)
        gates = [Constraint(name, bounds.min, bounds.max) for name, bounds in common.gate.items()]
        beside = isinstance(evaluator, FitnessFunction) and (":" in kind or kind == LONG_FORM)
        own_name = evaluator.name if beside else kind.rpartition(":")[2]
        name = common.name or own_name
        return Stage(name, evaluator, (*evaluator.gates, *gates), common.timeout, common.on_demand)

    def _add_suffix(self, evaluator: Any, suffix: str, place: Place) -> Any:
        """Evaluator whose properties carry a suffix."""
        try:
            return Suffixed(suffix=suffix, evaluator=evaluator)
        except ValidationError as error:
            self._add_validation_errors(error, Suffixed, (*place, "suffix"))
            return None

    # Derivations.

    def _read_derivations(self, items: Any, stages: list[Stage]) -> None:
        """Read the derivations in order, and check each against the stages."""
        for number, item in enumerate(items if isinstance(items, list) else []):
            place: Place = ("derive", number)
            derivation = self._read_derivation(item, place)
            if derivation is None:
                self.all_derivations_read = False
                continue
            if self.all_stages_read:
                for message, hint in explain_unfit(derivation, stages, self.derivations):
                    self.add_mistake(place, message, hint)
            self.derivations.append(derivation)

    def _read_derivation(self, item: Any, place: Place) -> Any:
        if isinstance(item, str):
            return self._load_plugin("derivations", item, {}, place, place)
        if not isinstance(item, dict) or len(item) != 1:
            self.add_mistake(
                place, f"expected a derivation, as 'hull' or 'hull: {{...}}', got {quote_value(item)}"
            )
            return None
        ((kind, settings),) = item.items()
        if not isinstance(settings, dict | None):
            self.add_mistake(
                (*place, kind), f"expected settings as 'key: value', got {quote_value(settings)}"
            )
            return None
        return self._load_plugin("derivations", kind, settings or {}, (*place, kind), (*place, kind))

    # Functions beside the campaign.

    def _read_evaluator(self, kind: str, own: dict[str, Any], place: Place) -> Any:
        """Evaluator of a stage.

        For a function beside the campaign, from its file's text.
        """
        path = own.get("path") if kind == LONG_FORM else kind
        if place in self.made or (":" not in kind and kind != LONG_FORM):
            return self._load_plugin("evaluators", kind, own, place, place)
        if not isinstance(path, str) or ":" not in path:
            self.add_mistake(place, f"expected {{path: 'module:function'}}, got {quote_value(own)}.")
            return None
        said = {key: value for key, value in own.items() if key != "path" or kind != LONG_FORM}
        try:
            return self._read_function(path, said, place)
        except PluginError as error:
            self.add_mistake(place, str(error))
            return None

    def _read_function(self, path: str, said: dict[str, Any], place: Place) -> Any:
        lost = describe_missing_module(path, self.folder)
        if lost:
            raise PluginError(lost)
        if not is_function(
            path, self.folder, said
        ):  # a class, which to know is to import it; or of an installed module
            return self._load_plugin("evaluators", path, said, place, place)
        entry = self._read_model(FunctionEntry, said, place)
        if entry is None:
            return None
        try:
            settings = function_settings(path, self.folder, entry)
            return FitnessFunction.model_validate_json(json.dumps(settings))
        except ValidationError as error:
            self._add_validation_errors(error, FitnessFunction, place)
            return None

    def _resolve_requirements(self, stages: list[Stage], space: SearchSpace) -> list[Stage]:
        """Let functions without declared requirements require everything.

        So their cache keys are complete.
        """
        if not any(
            isinstance(s.evaluator, FitnessFunction) and s.evaluator.requires_ is None for s in stages
        ):
            return stages
        given = _parts_of_design(space)
        known = set(_DESIGN_PARTS) if given is None else set(given)
        found = []
        for stage in stages:
            evaluator = stage.evaluator
            if isinstance(evaluator, FitnessFunction):
                stage = replace(stage, evaluator=evaluator.with_requirements(frozenset(known)))  # noqa: PLW2901 - the same stage
            found.append(stage)
            known |= set(evaluator.provides) if evaluator is not None else set()
        return found

    def _check_requirements(self, stages: list[Stage]) -> None:
        """Check that stages find what they require, from one potential.

        Energies of two potentials must not meet.
        """
        known: dict[str, Stage] = {}
        for number, stage in enumerate(stages):
            evaluator = stage.evaluator
            assert evaluator is not None
            place: Place = ("evaluate", number)
            for name in sorted(evaluator.requires - DESIGN - known.keys()):
                if not is_structure(name):  # `check_roles` tells of those
                    self.add_mistake(
                        place, f"{stage.name} needs {name}, which {_suggest_provider(name, stages[number:])}."
                    )
            derived = {name for derivation in self.derivations for name in derivation.provides}
            for gate in stage.gates:
                if gate.property in derived:
                    self.add_mistake(
                        place,
                        f"gate on {gate.property}, which is derived when candidates have ended.",
                        "Give a constraint instead.",
                    )
                elif gate.property not in {**evaluator.provides, **dict.fromkeys(known)}:
                    hint = nearest(gate.property, evaluator.provides)
                    self.add_mistake(
                        place, f"gate on {gate.property}, which is not known at {stage.name}.", hint
                    )
            self._check_one_potential(stage, known, place)
            known.update(dict.fromkeys(evaluator.provides, stage))

    def _check_designs(self, stages: list[Stage], space: SearchSpace) -> None:
        """Check that candidates have what stages require of a design.

        Build one in case of doubt.
        """
        sure = {"composition", f"{STRUCTURE_PREFIX}initial"} if isinstance(space, StructureSpace) else set()
        made: set[str] = set()
        asked: list[tuple[int, str, str]] = []
        for number, stage in enumerate(stages):
            assert stage.evaluator is not None
            needed = (stage.evaluator.requires & DESIGN) - sure - made
            asked += [(number, stage.name, name) for name in sorted(needed)]
            made.update(stage.evaluator.provides)
        given = _parts_of_design(space) if asked else None
        if given is None:
            return
        for number, stage_name, name in asked:
            if name not in given:
                self.add_mistake(
                    ("evaluate", number),
                    f"{stage_name} needs {_DESIGN_PARTS[name]}, and candidates of this space have {_list_parts(given)}.",
                    "Use another evaluator, or let the space give it.",
                )

    def _check_one_potential(self, stage: Stage, known: Mapping[str, Stage], place: Place) -> None:
        evaluator = stage.evaluator
        assert evaluator is not None
        if evaluator.potential_id is None:
            return
        for name in sorted(evaluator.requires & known.keys()):
            source = None if is_structure(name) else known[name].evaluator  # a structure is no energy
            if source is not None and source.potential_id not in {None, evaluator.potential_id}:
                self.add_mistake(
                    place,
                    f"{stage.name} works with energies of {evaluator.potential_id}, but {name} comes from "
                    f"{known[name].name} with {source.potential_id}: energies of two potentials must not meet.",
                    "Use the same potential, or build a reference set for yours: invdesign reference build --help",
                )

    def _check_optimizer(self, optimizer: AnyOptimizer, space: SearchSpace, problem: Problem) -> None:
        """Check that the optimizer can search this space.

        Otherwise name those that can.
        """
        name = registry.name_of(type(optimizer))
        try:
            refusal = optimizer.refusal(space, problem)
        except Exception as error:
            if name in registry.names("optimizers") and registry.is_built_in("optimizers", name):
                raise
            refusal = f"fails on it: {type(error).__name__}: {error}"
        if not refusal:
            return
        able = []
        for kind, other in registry.load_working("optimizers"):
            with suppress(Exception):  # one that needs settings, or a fault of a plug-in's
                if not other().refusal(space, problem):
                    able.append(kind)
        hint = f"Optimizers that can: {', '.join(able)}." if able else "No optimizer can."
        self.add_mistake(("optimizer",), f"'{name}' cannot search this: it {refusal}.", hint)

    # Objectives, constraints, seeds.

    def _read_problem(self, data: Mapping[str, Any], stages: list[Stage]) -> Problem:
        """Objectives and constraints; no objectives if one has a mistake."""
        items = _keep_dicts(data.get("objectives"))
        for number, item in enumerate(items):
            for place, name in named_properties(item):
                self._check_property(name, stages, ("objectives", number, *place))
        scalarize: Scalarize | None = "desirability" if data.get("scalarize") == "desirability" else None
        objectives, complaints = read_objectives(items, scalarize)
        for place, message, hint in complaints:
            self.add_mistake(("objectives", *place), message, hint)
        constraints = []
        for number, item in enumerate(_keep_dicts(data.get("constraints"))):
            for name, bounds in item.items():
                self._check_property(name, stages, ("constraints", number, name))
                with suppress(ValidationError):  # the header's own check has told of it
                    limits = Limits.model_validate_json(json.dumps(bounds))
                    constraints.append(Constraint(name, limits.min, limits.max, limits.scale))
        return Problem(objectives, tuple(constraints), scalarize if objectives else None)

    def _check_property(self, name: str, stages: list[Stage], place: Place) -> None:
        known = _provided_properties(stage.evaluator for stage in stages if not stage.on_demand)
        provided = sorted(known.union(*(derivation.provides for derivation in self.derivations)))
        for stage in stages:
            if stage.on_demand and name not in provided and name in _provided_properties([stage.evaluator]):
                self.add_mistake(
                    place,
                    f"'{name}' is known only of candidates that you promote to {stage.name}, which is on demand: "
                    "the search cannot go by it.",
                    f"Rank by a property of an earlier stage, or take on_demand from {stage.name}.",
                )
                return
        if name in provided:
            return
        hint = explain_underived(name) if self.all_derivations_read else ""
        hint = hint or nearest(name, provided)
        # A stage with a mistake of its own may provide the name: then only a near miss is surely another mistake.
        if hint or (self.all_stages_read and self.all_derivations_read and provided):
            hint = hint or f"Provided are: {', '.join(provided)}."
            self.add_mistake(place, f"no evaluator of this campaign provides '{name}'.", hint)

    def _read_seeds(self, items: Any, space: SearchSpace) -> tuple[Genome, ...]:
        genomes: dict[str, Genome] = {}
        for number, item in enumerate(items if isinstance(items, list) else []):
            try:
                genome = self._read_seed(item, space)
                space.build(genome)
                genomes.setdefault(genome_key(genome), cast("Genome", canonical(genome)))
            except InvdesignError as error:
                self.add_mistake(("seeds", number), str(error))
            except ValidationError as error:
                self._add_validation_errors(error, InputFile, ("seeds", number))
        return tuple(genomes.values())

    def _read_seed(self, item: Any, space: SearchSpace) -> Genome:
        if isinstance(item, dict):
            return space.canonical(item)
        if not isinstance(item, str):
            raise InvdesignError(
                f"expected a structure file, or a genome as 'key: value', got {quote_value(item)}"
            )
        from invdesign.structures.files import parse_structure

        context = {"folder": self.folder, "trust_code": self.trust_code}
        structure = parse_structure(InputFile.model_validate(item, context=context))
        genome = space.adopt(structure, None) if isinstance(space, StructureSpace) else None
        if genome is None:
            raise InvdesignError(f"the structure in {item} is not one of this search space")
        return genome


def _is_within(inner: Place, outer: Place) -> bool:
    """True if one place lies below another."""
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _provided_properties(evaluators: Iterable[Evaluator | None]) -> set[str]:
    return {name for e in evaluators if e is not None for name in e.provides if not is_structure(name)}


_DESIGN_PARTS = {
    "composition": "a composition",
    "parameters": "parameters",
    f"{STRUCTURE_PREFIX}initial": "a structure",
}


def _parts_of_design(space: SearchSpace) -> list[str] | None:
    """Parts of a design of the space, under the names stages require.

    None if no design can be built.
    """
    rng = rng_for(0, 0, "design")
    for operator in [found for found in space.operators().values() if found.arity == 0] * 3:
        design = None
        with suppress(Exception):  # a fault of a plug-in's: the run tells of it, candidate by candidate
            genome = operator.apply((), rng)
            design = None if genome is None else space.build(genome)
        if design is not None:
            given = [STRUCTURE_PREFIX + role for role in design.structures]
            given += ["parameters"] if design.parameters else []
            return given + (["composition"] if design.composition is not None else [])
    return None


def _design_roles(space: SearchSpace, stages: Sequence[Stage]) -> list[str]:
    """Roles of the structures in a space's designs.

    Builds one if needed.
    """
    if isinstance(space, StructureSpace):
        return [*(space.reference_structures if isinstance(space, ReferencedSpace) else ()), INITIAL]
    if not any(_asks_for_structure(stage.evaluator) for stage in stages):
        return []
    given = _parts_of_design(space)
    return [INITIAL] if given is None else roles_in(given)


def _asks_for_structure(evaluator: Any) -> bool:
    return bool(
        roles_in(evaluator.requires) or (isinstance(evaluator, BaseModel) and roles_by_path(evaluator))
    )


def _refers_to_code(dump: Any) -> bool:
    """True if a dump names `module:Class`, which reading would import."""
    if isinstance(dump, dict):
        kind = dump.get("kind")
        return (isinstance(kind, str) and ":" in kind) or any(_refers_to_code(item) for item in dump.values())
    return isinstance(dump, list) and any(_refers_to_code(item) for item in dump)


def _list_parts(given: Sequence[str]) -> str:
    names = [words for name, words in _DESIGN_PARTS.items() if name in given]
    return f"only {' and '.join(names)}" if names else "none of what evaluators read"


def _expand_main_setting(kind: str, settings: Any) -> Any:
    """Settings of an evaluator in place of the lone text that stands for its main one.

    All else as it is.
    """
    if not isinstance(settings, str) or kind not in registry.names("evaluators"):
        return settings
    main = getattr(registry.load("evaluators", kind), "main_setting", "")
    return {main: settings} if main else settings


def _suggest_provider(name: str, later: list[Stage]) -> str:
    for stage in later[1:]:
        if stage.evaluator is not None and name in stage.evaluator.provides:
            return f"'{stage.name}' provides only later: put {stage.name} before it"
    makers = list_makers(name)
    return (
        f"no earlier stage provides; '{makers[0]}' does"
        if makers
        else "no earlier stage and no design provides"
    )


def _keep_dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
