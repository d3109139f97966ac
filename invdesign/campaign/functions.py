"""Fitness functions of a campaign: read from files, passed in from Python, and checked before use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from invdesign.beside import is_taken
from invdesign.errors import CampaignChangedError, PluginError, RunError, nearest
from invdesign.functions import Decorated, FitnessFunction
from invdesign.functions.modules import hash_module, list_modules, module_file
from invdesign.functions.reading import read_function
from invdesign.properties import Unit
from invdesign.protocols import Evaluator
from invdesign.settings import Frozen

LONG_FORM = "function"


class FunctionEntry(Frozen):
    """Settings of a function in a module beside the campaign."""

    provides: Annotated[dict[str, Unit], Field(min_length=1)] | None = None
    """Unit by property it returns, if the function is not decorated or its decorator computes it."""
    requires: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What it reads of a candidate: `parameters`, `composition`, `structure:ROLE`, properties of earlier stages; by default all."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Candidates it is called with at a time."""
    version: str | None = None
    """A version of your own that replaces the hash of the source."""


def is_function(path: str, folder: Path, said: Mapping[str, Any]) -> bool:
    """True if `module:name` is a function below `folder`, not a class.

    A name that is assigned or imported counts as a function if the campaign declares what it provides.

    Args:
        path: `module:name`.
        folder: the campaign's.
        said: settings in the campaign.

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
    """Settings of a `FitnessFunction`, from its module's text and the campaign.

    Args:
        path: `module:function`.
        folder: the campaign's.
        entry: settings in the campaign, which come first.

    Raises:
        PluginError: the text leaves something open that must be known.
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
            f"the decorator ({where}) computes {', '.join(missing)}, and the module is not imported to read it: write the "
            "value out there, or give it here."
        )
    settings = {"name": name, **read.settings, **own}
    if "provides" not in settings:
        raise PluginError(
            f"'{name}' ({where}) does not declare what it provides. Decorate it with invdesign.fitness(provides=...), or "
            f"give it here: {{provides: {{{name}: UNIT}}}}."
        )
    if read.settings.get("provides", settings["provides"]) != settings["provides"]:
        raise PluginError(
            f"its decorator ({where}) declares that it provides {read.settings['provides']}: leave provides out here."
        )
    return {**settings, "path": path, "folder": str(folder), "source": hash_module(file)}


def describe_missing_module(path: str, folder: Path) -> str:
    """Message that no file holds a module, with the nearest name.

    Args:
        path: `module:function`.
        folder: the campaign's.

    Returns:
        The message; empty if the file exists, or Python may find the module elsewhere.

    Raises:
        PluginError: `path` names no function.
    """
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
    """The fitness functions among `evaluators`, by stage."""
    return {name: item for name, item in evaluators.items() if isinstance(item, FitnessFunction)}


def note_unstored_functions(evaluators: Mapping[str, Any]) -> tuple[str, ...]:
    """Note on functions among `evaluators` that are not stored."""
    lost = [item.name for item in fitness_functions(evaluators).values() if item.path is None]
    if not lost:
        return ()
    named, are, them = _list_functions(lost)
    note = (
        f"{named[0].upper()}{named[1:]} {are} in no module and so not stored with the run: to go on in another session, "
        f"hand {them} in again, invdesign.Run.open(FOLDER, functions=[{', '.join(lost)}])."
    )
    return (note,)


def list_unimported(evaluators: Mapping[str, Any]) -> list[FitnessFunction]:
    """Functions among `evaluators` that are in a module and not imported yet."""
    found = fitness_functions(evaluators).values()
    return [item for item in found if item.path is not None and item.function is None]


def stages_running_code(evaluators: Mapping[str, Evaluator]) -> list[str]:
    """Stages whose `evaluators` run the campaign's code or programs (`needs_trust`)."""
    return [stage for stage, evaluator in evaluators.items() if evaluator.needs_trust]


def attach_functions(evaluators: Mapping[str, Any], functions: Iterable[Any]) -> dict[str, FitnessFunction]:
    """Attach Python functions to fitness functions of the same name.

    Args:
        evaluators: of the campaign, by stage.
        functions: decorated functions, or their evaluators.

    Returns:
        All fitness functions of the campaign, by stage.

    Raises:
        RunError: one is no fitness function, or none of the campaign's.
        CampaignChangedError: one has changed.
    """
    mine = fitness_functions(evaluators)
    names = sorted({item.name for item in mine.values()})
    for given in functions:
        new = given.evaluator if isinstance(given, Decorated) else given
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
    """Check that every function and program can be run.

    Args:
        evaluators: of the campaign, by stage.
        trusted: true if programs named by the campaign may run, and modules beside it be imported.
        how: command that expresses trust, for the message.
        folder: the run's.

    Raises:
        RunError: a function must be passed in, or needs trust.
        CampaignChangedError: the module of a function has changed.
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
    unread = list_unimported(evaluators)
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
