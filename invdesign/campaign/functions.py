"""Fitness functions of a campaign: read from files, handed in from Python, and what has to be there to run them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from invdesign.beside import is_taken
from invdesign.errors import CampaignChangedError, PluginError, RunError, nearest
from invdesign.functions import FitnessFunction
from invdesign.functions.modules import hash_module, list_modules, module_file
from invdesign.functions.reading import read_function
from invdesign.properties import Unit
from invdesign.settings import Frozen

LONG_FORM = "function"


class FunctionEntry(Frozen):
    """What a campaign file may say of a function of a module beside it."""

    provides: Annotated[dict[str, Unit], Field(min_length=1)] | None = None
    """Unit by property it returns; where the function is not decorated, or says something computed."""
    requires: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What it reads of a candidate: `parameters`, `composition`, `structure:ROLE`, properties of earlier stages; by default all."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Candidates it is called with at a time."""
    version: str | None = None
    """A mark of your own that stands for the source."""


def is_function(path: str, folder: Path, said: Mapping[str, Any]) -> bool:
    """Whether `module:name` is a function below `folder`, and no class.

    A name that is assigned or imported is one where the campaign says what it provides.

    Raises:
        PluginError: the module's file has no such name, or cannot be read.
    """
    module, _, name = path.partition(":")
    file = module_file(folder, module)
    if file is None:
        return False
    kind = read_function(file, name).kind
    return kind == "function" or (kind == "other" and "provides" in said)


def function_settings(path: str, folder: Path, entry: FunctionEntry) -> dict[str, Any]:
    """Settings of the `FitnessFunction` for `module:function`, from its module's text and what the campaign says.

    Raises:
        PluginError: the text leaves open what must be known.
    """
    module, _, name = path.partition(":")
    file = module_file(folder, module)
    assert file is not None  # `is_function` found it
    top = module.partition(".")[0]
    if is_taken(top, folder):
        raise PluginError(
            f"'{top}' is also the name of an installed module, which Python may take instead: rename it."
        )
    read = read_function(file, name)
    own = {key: value for key, value in entry.model_dump(mode="json").items() if value is not None}
    where = f"line {read.line} of {file.name}"
    missing = [key for key in read.unread if key not in own]
    if missing:
        raise PluginError(
            f"what its decorator says of {', '.join(missing)} is computed ({where}), and nothing is imported to read "
            f"it: write it out there, or say it here."
        )
    settings = {"name": name, **read.settings, **own}
    if "provides" not in settings:
        raise PluginError(
            f"what '{name}' ({where}) provides is nowhere said. Decorate it with invdesign.fitness(provides=...), or "
            f"say it here: {{provides: {{{name}: UNIT}}}}."
        )
    if read.settings.get("provides", settings["provides"]) != settings["provides"]:
        raise PluginError(
            f"its decorator ({where}) says that it provides {read.settings['provides']}: leave provides out here."
        )
    return {**settings, "path": path, "folder": str(folder), "source": hash_module(file)}


def describe_missing_module(path: str, folder: Path) -> str:
    """That there is no file for `module:function`, with the nearest one; empty where Python may find the module elsewhere."""
    from importlib.util import find_spec

    module = path.partition(":")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise PluginError(f"'{path}' names no function: write module:function, as in my_scores:price.")
    if module_file(folder, module) is not None:
        return ""
    try:
        known = find_spec(module.partition(".")[0]) is not None
    except (ValueError, ImportError):
        known = False
    hint = nearest(module, list_modules(folder))
    if known and not hint:
        return ""
    file = Path(*module.split(".")).with_suffix(".py")
    return f"there is no {file} beside the campaign, in {folder}. {hint}".strip()


# Of a campaign's evaluators.


def fitness_functions(evaluators: Mapping[str, Any]) -> dict[str, FitnessFunction]:
    """The fitness functions among a campaign's evaluators, by stage."""
    return {name: item for name, item in evaluators.items() if isinstance(item, FitnessFunction)}


def note_unstored_functions(evaluators: Mapping[str, Any]) -> tuple[str, ...]:
    """What somebody who finds the run has to know of its functions."""
    lost = [item.name for item in fitness_functions(evaluators).values() if item.path is None]
    if not lost:
        return ()
    named, are, them = _list_functions(lost)
    note = (
        f"{named[0].upper()}{named[1:]} {are} in no module and so not stored with the run: to go on in another session, "
        f"hand {them} in again, invdesign.Run.open(FOLDER, functions=[{', '.join(lost)}])."
    )
    return (note,)


def list_untrusted(evaluators: Mapping[str, Any]) -> list[FitnessFunction]:
    """Functions that have to be imported from beside the campaign."""
    found = fitness_functions(evaluators).values()
    return [item for item in found if item.path is not None and item.function is None]


def stages_running_code(evaluators: Mapping[str, Any]) -> list[str]:
    """Stages whose evaluators run what the campaign says: their property `needs_trust` is true."""
    return [stage for stage, evaluator in evaluators.items() if getattr(evaluator, "needs_trust", False)]


def attach_functions(evaluators: Mapping[str, Any], functions: Iterable[Any]) -> dict[str, FitnessFunction]:
    """The campaign's functions by stage, with those at hand that are given.

    Raises:
        RunError: one is no fitness function, or none of the campaign's.
        CampaignChangedError: one is not what it was.
    """
    mine = fitness_functions(evaluators)
    names = sorted({item.name for item in mine.values()})
    for given in functions:
        new = given if isinstance(given, FitnessFunction) else getattr(given, "evaluator", None)
        if not isinstance(new, FitnessFunction) or new.function is None:
            raise RunError(
                f"functions are those decorated with invdesign.fitness(...), got {getattr(given, '__name__', given)!r:.60}"
            )
        if new.name not in names:
            known = f"It has: {', '.join(names)}." if names else "It has none."
            raise RunError(f"this run has no function '{new.name}'. {nearest(new.name, names) or known}")
        for stage, old in mine.items():
            if old.name == new.name:
                _check_same(old, new)
                mine[stage] = old.with_function(new.function)
    return mine


def _check_same(old: FitnessFunction, new: FitnessFunction) -> None:
    changed = []
    if dict(old.provides) != dict(new.provides):
        changed.append("what it provides")
    if new.requires_ is not None and old.requires_ != new.requires_:
        changed.append("what it requires")
    if old.batch_size != new.batch_size:
        changed.append("its batch")
    if (old.path is None) != (new.path is None) and old.own_version is None:
        changed.append(f"where it is ({old.path or 'in no module'}, now {new.path or 'in none'})")
    else:
        changed += old.list_changes(new.source, new.own_version)
    if changed:
        raise CampaignChangedError(old.describe_changes(changed))


def check_usable(
    evaluators: Mapping[str, Any], *, trusted: bool, how: str, folder: Path | None = None
) -> None:
    """Whether every function can be called, and every program run.

    Args:
        trusted: whether programs that the campaign names may be run, and modules beside the campaign may be imported.
        how: what to type to trust them.
        folder: of the run.

    Raises:
        RunError: one has to be handed in, or needs trust.
        CampaignChangedError: the module of one changed.
    """
    functions = list(fitness_functions(evaluators).values())
    lost = [item.name for item in functions if item.function is None and item.path is None]
    if lost:
        named, are, them = _list_functions(lost)
        raise RunError(
            f"{named} {are} not stored with the run, since no module holds {them}. Hand {them} in again, in Python:\n"
            f"  run = invdesign.Run.open({str(folder or 'FOLDER')!r}, functions=[{', '.join(lost)}])\n"
            "  run.execute()"
        )
    unread = list_untrusted(evaluators)
    if unread and not trusted:
        files: dict[str, list[str]] = {}
        for item in unread:
            files.setdefault(str(item.file or item.path), []).append(f"'{item.name}'")
        listed = " and ".join(f"{', '.join(names)} of {file}" for file, names in files.items())
        raise RunError(
            f"the campaign calls {listed}, and to import a file is to run it. If you trust the code, say so: {how}"
        )
    stages = stages_running_code(evaluators)
    if stages and not trusted:
        these = f"stages {' and '.join(stages)}" if len(stages) > 1 else f"stage {stages[0]}"
        raise RunError(
            f"the {these} of the campaign {'start' if len(stages) > 1 else 'starts'} programs on this machine. "
            f"If you trust what the campaign runs, say so: {how}"
        )
    for item in functions:
        item.check_source()


def _list_functions(names: list[str]) -> tuple[str, str, str]:
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        (f"the function {listed}", "is", "it")
        if len(names) == 1
        else (f"the functions {listed}", "are", "them")
    )
