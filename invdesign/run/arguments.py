"""From the arguments of `optimize` to a campaign, with every mistake found at once and told in the arguments' words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from invdesign import registry
from invdesign.campaign.document import Document, Place
from invdesign.campaign.load import read_campaign
from invdesign.campaign.mistakes import COMMON
from invdesign.campaign.model import Campaign
from invdesign.errors import CampaignError, Mistake
from invdesign.functions import Decorated, FitnessFunction
from invdesign.functions.modules import import_root, is_installed
from invdesign.properties import is_structure
from invdesign.protocols import is_evaluator
from invdesign.run.completing import Entry, complete_stages, find_makers, provided_units, try_evaluator
from invdesign.settings import Settings
from invdesign.wording import shorten_text

SOURCE = "optimize"
DECORATE = '@invdesign.fitness(provides={{"{name}": "UNIT"}})'


@dataclass
class Arguments:
    """Arguments of `optimize`, and the campaign they describe."""

    space: Any
    fitness: Any
    maximize: Any = ()
    minimize: Any = ()
    target: Any = None
    window: Any = None
    constraints: Any = None
    derive: Any = ()
    objectives: Any = None
    scalarize: Any = None
    optimizer: Any = "auto"
    budget: Any = 200
    seed: Any = 0
    seeds: Any = ()
    name: Any = None
    workers: Any = None
    max_failure_rate: Any = 0.9
    run_dir: Any = None
    observer: Any = None
    mistakes: list[Mistake] = field(default_factory=list)
    made: dict[Place, Any] = field(default_factory=dict)
    code: dict[str, None] = field(default_factory=dict)
    completed: list[str] = field(default_factory=list)

    def add_mistake(self, path: str, message: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(path, message, None, hint))

    def build_campaign(self) -> Campaign:
        """Build the campaign that the arguments describe.

        Raises:
            CampaignError: with every mistake; the paths are those of the arguments.
        """
        if self.run_dir is not None and not isinstance(self.run_dir, str | Path):
            self.add_mistake("run_dir", f"expected a folder, got {_quote_value(self.run_dir)}.")
        if self.observer is not None and not callable(self.observer):
            self.add_mistake(
                "observer", f"expected a function of the status, got {_quote_value(self.observer)}."
            )
        stages, self.completed = complete_stages(self._read_fitness())
        objectives, origins = self._read_objectives(stages)
        data = self._campaign_mapping(stages, objectives)
        if self.mistakes and not (stages and objectives):  # the rest would only be told to be missing
            raise CampaignError(self.mistakes, SOURCE)
        try:
            campaign = read_campaign(Document(data), Path.cwd(), made=self.made)
        except CampaignError as error:
            said = {mistake.path for mistake in self.mistakes}
            found = [self._at_argument(mistake, stages, origins) for mistake in error.mistakes]
            found = [mistake for mistake in found if mistake.path not in said]
            raise CampaignError(list(dict.fromkeys([*self.mistakes, *found])), SOURCE) from None
        if self.mistakes:
            raise CampaignError(self.mistakes, SOURCE)
        return replace(campaign, code=tuple(self.code))

    def _campaign_mapping(self, stages: list[Entry], objectives: list[Any]) -> dict[str, Any]:
        for number, stage in enumerate(stages):
            if stage.made is not None:
                self.made["evaluate", number, stage.kind] = stage.made
        data: dict[str, Any] = {
            "version": 1,
            "name": self._choose_name(stages),
            "description": " ".join(self.completed),
            "seed": self._to_plain_json(self.seed, "seed"),
            "space": self._plugin_settings(self.space, "space", "spaces"),
            "evaluate": [stage.item for stage in stages],
            "derive": self._read_derivations(),
            "objectives": objectives,
            "constraints": self._read_constraints(),
            "optimizer": self._plugin_settings(self.optimizer, "optimizer", "optimizers"),
            "budget": self._read_budget(),
            "seeds": self._to_plain_json(self.seeds, "seeds"),
            "engine": {"kind": "local", "workers": self._to_plain_json(self.workers, "workers")},
            "max_failure_rate": self._to_plain_json(self.max_failure_rate, "max_failure_rate"),
        }
        combined = self._to_plain_json(self.scalarize, "scalarize")
        return {**data, "scalarize": combined} if combined is not None else data

    # Space, optimizer, and the plain arguments.

    def _plugin_settings(self, value: Any, path: str, group: str) -> Any:
        """Settings as a file has them; an object made in Python stands for itself."""
        kind = value if isinstance(value, str) else value.get("kind") if isinstance(value, Mapping) else ""
        if self._refuse_code(kind, path, "make one"):
            return None
        if isinstance(value, str | Mapping):
            return self._to_plain_json(value, path)
        if self._refuse_class(value, path, group):
            return None
        if not isinstance(value, Settings) or not registry.belongs_to(group, value):
            self.add_mistake(
                path, f"expected a name, a mapping with 'kind' or a plug-in, got {_quote_value(value)}."
            )
            return None
        self._trust_class(type(value), path)
        self.made[path,] = value
        return {"kind": registry.name_of(type(value))}

    def _refuse_code(self, kind: Any, path: str, advice: str) -> bool:
        """Complain of `module:Name`, whose code would have to run.

        Returns true if it was given.
        """
        if not isinstance(kind, str) or ":" not in kind:
            return False
        module, _, name = kind.partition(":")
        self.add_mistake(
            path,
            f"'{kind}' is code, and a name is not a reason to run it.",
            f"Import it and {advice}: from {module} import {name}.",
        )
        return True

    def _refuse_class(self, value: Any, path: str, group: str) -> bool:
        """Complain of a plug-in's class in place of an instance.

        Returns true if it was given.
        """
        if not isinstance(value, type) or not registry.belongs_to(group, value):
            return False
        self.add_mistake(path, f"{value.__name__} is a class: give an instance, {value.__name__}(...).")
        return True

    def _trust_class(self, plugin: type, path: str) -> None:
        """Trust the folder from which workers import the plug-in's class."""
        if ":" not in registry.name_of(plugin):
            return
        import sys

        module = sys.modules.get(plugin.__module__)
        if module is None or plugin.__module__ == "__main__" or "." in plugin.__qualname__:
            self.add_mistake(
                path,
                f"{plugin.__qualname__} is defined where worker processes cannot import it.",
                "Put the class into a module of its own and import it from there.",
            )
            return
        root = None if is_installed(plugin.__module__) else import_root(module)
        self.code[str(root or Path.cwd())] = None

    def _choose_name(self, stages: list[Entry]) -> Any:
        if self.name is not None:
            return self._to_plain_json(self.name, "name")
        own = [stage.kind for stage in stages if stage.label and stage.made is not None]
        given = [stage.kind for stage in stages if stage.label]
        return next(iter([*own, *given]), "optimization")

    def _read_budget(self) -> Any:
        given = self._to_plain_json(self.budget, "budget")
        return given if isinstance(given, dict) else {"candidates": given}

    def _read_constraints(self) -> Any:
        given = self._to_plain_json(self.constraints, "constraints")
        if isinstance(given, dict):
            return [{name: bounds} for name, bounds in given.items()]
        return [] if given is None else given

    def _read_derivations(self) -> Any:
        """Derivations as in a file; an object made in Python stands for itself."""
        single = isinstance(self.derive, str | Mapping) or not isinstance(self.derive, Sequence)
        found: list[Any] = []
        for number, item in enumerate([self.derive] if single else self.derive):
            label = "derive" if single else f"derive[{number}]"
            name = next(iter(item), "") if isinstance(item, Mapping) else item
            if self._refuse_code(name, label, "make one") or self._refuse_class(item, label, "derivations"):
                continue
            if isinstance(item, Settings) and registry.belongs_to("derivations", item):
                self._trust_class(type(item), label)
                kind = registry.name_of(type(item))
                self.made["derive", len(found), kind] = item
                found.append({kind: {}})
            else:
                found.append(self._to_plain_json(item, label))
        return found

    def _to_plain_json(self, value: Any, path: str) -> Any:
        """Convert to JSON types, or complain and return None."""
        try:
            return _to_json_types(value)
        except ValueError as error:
            self.add_mistake(path, str(error))
            return None

    # The funnel.

    def _read_fitness(self) -> list[Entry]:
        """Entries of `fitness` in order, without unusable ones."""
        single = isinstance(self.fitness, str | Mapping) or not isinstance(self.fitness, Sequence)
        items = [self.fitness] if single else list(self.fitness)
        if not items:
            self.add_mistake(
                "fitness", "nothing is to be evaluated.", "Give functions, or names of evaluators."
            )
        labels = ["fitness"] if single else [f"fitness[{number}]" for number in range(len(items))]
        found = [self._read_entry(item, label) for item, label in zip(items, labels, strict=True)]
        return [entry for entry in found if entry is not None]

    def _read_entry(self, item: Any, label: str) -> Entry | None:
        if isinstance(item, str | Decorated):
            item = {item: {}}
        if isinstance(item, Mapping):
            return self._read_stage(item, label)
        if self._refuse_class(item, label, "evaluators"):
            return None
        if isinstance(item, Settings) and is_evaluator(item):
            if isinstance(item, FitnessFunction):
                return Entry(label, {item.name: {}}, item, item)
            name = registry.name_of(type(item)).rpartition(":")[2]
            self._trust_class(type(item), label)
            return Entry(label, {name: {}}, item, item)
        if callable(item):
            name = getattr(item, "__name__", type(item).__name__)
            known = name if name.isidentifier() else "my_property"
            self.add_mistake(
                label,
                f"{name} is a plain function, which does not say what it provides.",
                f"Decorate it with {DECORATE.format(name=known)}.",
            )
        else:
            self.add_mistake(
                label, f"expected a fitness function or the name of an evaluator, got {_quote_value(item)}."
            )
        return None

    def _read_stage(self, item: Mapping[Any, Any], label: str) -> Entry | None:
        """Read a stage: a function, an evaluator, or a property it provides."""
        functions = {key.evaluator.name: key.evaluator for key in item if isinstance(key, Decorated)}
        names = {key.evaluator.name if isinstance(key, Decorated) else key: item[key] for key in item}
        plain = self._to_plain_json(names, label)
        kind = next(iter(plain or {}), "")
        if plain is None or self._refuse_code(kind, label, "give the function itself"):
            return None
        if kind in functions:
            return Entry(label, plain, functions[kind], functions[kind])
        settings = plain.get(kind)
        if kind not in registry.names("evaluators"):
            able = find_makers(kind)
            if len(able) > 1:
                listed = ", ".join(name for name, _ in able)
                message = f"'{kind}' is a property that several evaluators provide: {listed}."
                self.add_mistake(label, message, "Name one.")
                return None
            if able and not settings:
                return Entry(label, {able[0][0]: {}}, None, able[0][1])
        own = settings if isinstance(settings, dict) else {}
        own = {key: value for key, value in own.items() if key not in COMMON}
        return Entry(label, plain, None, try_evaluator({**own, "kind": kind}))

    # Objectives.

    def _read_objectives(self, stages: list[Entry]) -> tuple[list[Any], list[tuple[str, bool]]]:
        """Objectives as in a file, with the arguments they come from.

        Also whether its own place adds to that.
        """
        items: list[Any] = []
        origins: list[tuple[str, bool]] = []
        for word in ("maximize", "minimize"):
            for label, name in self._named_properties(word):
                items.append({word: name})
                origins.append((label, False))
        for word in ("target", "window"):
            given = self._to_plain_json(getattr(self, word), word)
            wanted = [{name: value} for name, value in given.items()] if isinstance(given, dict) else [given]
            wanted = [item for item in wanted if item is not None]
            items += [{word: item} for item in wanted]
            origins += [("", True)] * len(wanted)
        listed = self._to_plain_json(self.objectives, "objectives")
        if listed is not None and not isinstance(listed, list):
            return listed, []  # the campaign's own check says that it must be a list
        items += listed or []
        origins += [(f"objectives[{number}]", True) for number in range(len(listed or []))]
        if not items and not self.mistakes:
            self._complain_of_directions(stages)
        return items, origins

    def _named_properties(self, word: str) -> list[tuple[str, str]]:
        """Properties with their arguments, given by name or by a function."""
        given = getattr(self, word)
        single = isinstance(given, str | Mapping) or not isinstance(given, Sequence)
        items = [given] if single else list(given)
        found = []
        for number, item in enumerate(items):
            label = word if single else f"{word}[{number}]"
            said = provided_units(item.evaluator if isinstance(item, Decorated) else item)
            provided = [name for name in said if not is_structure(name)]
            if isinstance(item, str):
                found.append((label, item))
            elif len(provided) == 1:
                found.append((label, provided[0]))
            else:
                hint = f"It provides {', '.join(provided)}: name one." if provided else ""
                self.add_mistake(label, f"expected the name of a property, got {_quote_value(item)}.", hint)
        return found

    def _complain_of_directions(self, stages: list[Entry]) -> None:
        units = {name: unit for stage in stages for name, unit in provided_units(stage.evaluator).items()}
        numbers = {name: unit for name, unit in units.items() if not is_structure(name)}
        listed = ", ".join(f"{name} ({unit})" if unit else name for name, unit in numbers.items())
        self.add_mistake(
            "maximize, minimize",
            f"nothing says what is wanted. Provided are: {listed}.",
            "Give maximize=[...], minimize=[...], target={...}, window={...} or objectives=[...].",
        )

    # Mistakes.

    def _at_argument(self, mistake: Mistake, stages: list[Entry], origins: list[tuple[str, bool]]) -> Mistake:
        """Move a mistake to the argument it comes from."""
        return replace(mistake, path=self._argument_path(mistake.path, stages, origins))

    def _argument_path(self, path: str, stages: list[Entry], origins: list[tuple[str, bool]]) -> str:
        listed = re.match(r"(evaluate|objectives|constraints)\[(\d+)\]\.?", path)
        rest = path[listed.end() :] if listed else ""
        if listed and listed[1] == "evaluate":
            stage = stages[int(listed[2])]
            label = stage.label or f"fitness ({stage.kind}, which was put before others)"
            rest = rest.removeprefix(stage.kind).removeprefix(".") if stage.made is not None else rest
            return f"{label}.{rest}" if rest else label
        if listed and listed[1] == "objectives":
            label, adds = origins[int(listed[2])]
            return ".".join(filter(None, [label, rest if adds else ""]))
        if listed and isinstance(self.constraints, Mapping):
            return f"constraints.{rest}"
        if path == "evaluate":
            return "fitness"
        if path.startswith("engine."):
            return "workers"
        return "budget" if path == "budget.candidates" and not isinstance(self.budget, Mapping) else path


def _to_json_types(value: Any) -> Any:
    """Convert numpy's numbers, tuples and paths to JSON types.

    Raises:
        ValueError: something in it has none.
    """
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _to_json_types(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return _to_json_types(value.tolist())
    if isinstance(value, list | tuple | range):
        return [_to_json_types(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be finite, got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"expected numbers, text, lists and mappings, got {_quote_value(value)}")


def _quote_value(value: object) -> str:
    return f"{shorten_text(repr(value), 60)} ({type(value).__name__})"
