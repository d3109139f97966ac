"""Registry of plug-ins: finds classes by entry-point name, and imports them when asked."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from invdesign.beside import OWN_PACKAGES, import_campaign_object
from invdesign.errors import PluginError, nearest

GROUP_PREFIX = "invdesign."
GROUPS = (
    "evaluators",
    "derivations",
    "potentials",
    "spaces",
    "optimizers",
    "generators",
    "engines",
    "commands",
)
CONTRACT = {
    "spaces": ("build", "canonical", "count", "size"),
    "evaluators": ("evaluate", "external", "needs_trust"),
    "derivations": ("derive", "requires", "provides", "potential_id", "prepare"),
    "potentials": ("compute", "label", "prepare"),
    "optimizers": ("ask",),
    "generators": ("sample", "refusal", "prepare", "is_heavy"),
    "engines": ("open",),
}
"""Members that every plug-in of a group has: first the method that tells the group."""
BASES = {
    "spaces": "invdesign.protocols.SpaceSettings",
    "evaluators": "invdesign.protocols.EvaluatorSettings",
    "derivations": "invdesign.protocols.DerivationSettings",
    "potentials": "invdesign.protocols.PotentialSettings",
    "generators": "invdesign.protocols.GeneratorSettings",
}
"""Class with defaults of all members but the first, by group."""
FOREIGN_ERRORS = (Exception, SystemExit)  # exceptions of foreign code: some libraries call sys.exit


@runtime_checkable
class PluginSource(Protocol):
    """An object that stands for a class of settings, as a decorated function does."""

    def as_plugin(self) -> type:
        """Class that the registry loads in its place."""
        ...


@cache
def _entries_by_name(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points of a group by name.

    There are several of one name if packages compete for it; built-in ones come first.
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(
        entry_points(group=GROUP_PREFIX + group), key=lambda entry: (entry.name, entry.value)
    ):
        same = found.setdefault(entry.name, [])
        if entry.value not in [other.value for other in same]:
            same.append(entry)
    for same in found.values():
        same.sort(key=lambda entry: not _is_ours(entry))
    return {name: tuple(same) for name, same in found.items()}


def _is_ours(entry: EntryPoint) -> bool:
    return entry.value.partition(".")[0] in OWN_PACKAGES


def _distribution_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def is_built_in(group: str, name: str) -> bool:
    """True if the plug-in `name` of a `group` comes with this package."""
    return _is_ours(_entries_by_name(group)[name][0])


def is_built_in_class(plugin: type) -> bool:
    """True if the class of a plug-in comes with this package."""
    return plugin.__module__.partition(".")[0] in OWN_PACKAGES


def is_installed(plugin: type) -> bool:
    """True if a class is found by the name of an entry point, not by `module:Class` alone."""
    return ":" not in name_of(plugin)


def name_distributions(group: str, name: str) -> str:
    """Name the distributions that provide a plug-in.

    Args:
        group: one of `GROUPS`.
        name: of the plug-in.
    """
    return ", ".join(_distribution_of(entry) for entry in _entries_by_name(group)[name])


def explain_rejected(group: str, name: str) -> str:
    """Explain which entry points lose their name to a built-in plug-in; else empty.

    Args:
        group: one of `GROUPS`.
        name: of the plug-in.
    """
    entries = _entries_by_name(group)[name]
    if len(entries) < 2 or not _is_ours(entries[0]):
        return ""
    others = ", ".join(f"{entry.value} of {_distribution_of(entry)}" for entry in entries[1:])
    return f"'{name}' is a built-in plug-in; not used: {others}"


def load_working(group: str) -> Iterator[tuple[str, type]]:
    """Iterate over (name, class) of the plug-ins of a `group` that can be loaded.

    `invdesign doctor` names the others.
    """
    for name in names(group):
        try:
            yield name, load(group, name)
        except PluginError:
            continue


def names(group: str) -> tuple[str, ...]:
    """Sorted names of the installed plug-ins of `group`."""
    return tuple(_entries_by_name(group))


def load(group: str, name: str, *, trust_code: bool = False) -> type:
    """Load the class of a plug-in.

    For a decorated function it is the class that the function stands for (`Decorated.as_plugin`).

    Args:
        group: one of `GROUPS`.
        name: an installed plug-in, or `module:Class` where code beside the campaign is trusted.
        trust_code: whether `module:Class` may be imported.

    Raises:
        PluginError: the name is unknown or untrusted, what it needs is not installed, or a member of the contract is missing.
    """
    if ":" in name:
        if not trust_code:
            raise PluginError(
                f"'{name}' is code that is not installed as a plug-in, and importing it runs it. "
                "If you trust it, say so with --trust-code."
            )
        return _load_path(group, name)
    entries = _entries_by_name(group)
    if name not in entries:
        singular = group.removesuffix("s")
        known = ", ".join(entries) or "none is installed"
        raise PluginError(
            f"there is no {singular} '{name}'. {nearest(name, entries)} Known: {known}.".replace("  ", " ")
        )
    first, *others = entries[name]
    if others and not _is_ours(first):
        raise PluginError(
            f"several installed packages have a plug-in '{name}': {name_distributions(group, name)}. Uninstall all but one."
        )
    return _load_entry(group, first)


def _load_entry(group: str, entry: EntryPoint) -> type:
    try:
        found = _class_of(entry.load())
    except FOREIGN_ERRORS as error:
        raise PluginError(
            f"the plug-in '{entry.name}' of {_distribution_of(entry)} cannot be loaded: {_describe_cause(error)}."
        ) from error
    if group in CONTRACT and not (isinstance(found, type) and hasattr(found, "model_validate_json")):
        raise PluginError(
            f"the plug-in '{entry.name}' of {_distribution_of(entry)} is no class of settings: {entry.value} is {found!r:.60}."
        )
    missing = describe_missing_member(group, found)
    if missing:
        raise PluginError(
            f"the plug-in '{entry.name}' of {_distribution_of(entry)} is none of the {group}: {missing}"
        )
    if group == "commands" and not hasattr(found, "registered_commands"):
        raise PluginError(
            f"the plug-in '{entry.name}' of {_distribution_of(entry)} is no typer app: it is {found!r:.60}."
        )
    plugin: type = found
    return plugin


def belongs_to(group: str, plugin: object) -> bool:
    """True if the plug-in has the method that defines its `group`.

    Args:
        group: one with a contract.
        plugin: a class of settings, or an instance of one.
    """
    return hasattr(plugin, CONTRACT[group][0])


def describe_missing_member(group: str, plugin: type) -> str:
    """Sentence on the first member of a contract that a class lacks.

    Args:
        group: its contract is checked.
        plugin: a class of settings.

    Returns:
        Empty if no member is missing.
    """
    if group not in CONTRACT:
        return ""
    if not belongs_to(group, plugin):
        return f"it has no {CONTRACT[group][0]}()."
    fields = getattr(plugin, "model_fields", {})  # pydantic keeps fields without a default out of the class
    for name in CONTRACT[group]:
        if name not in fields and not hasattr(plugin, name):
            return f"it has no '{name}'; a class derived from {BASES[group]} has one."
    return ""


def _load_path(group: str, path: str) -> type:
    try:
        found = import_campaign_object(path)
    except FOREIGN_ERRORS as error:
        raise PluginError(f"'{path}' cannot be loaded: {_describe_cause(error)}.") from error
    found = _class_of(found)
    if not hasattr(found, "model_validate_json"):
        raise PluginError(
            f"'{path}' is not a plug-in: make it a class derived from invdesign.settings.Settings."
        )
    missing = describe_missing_member(group, found)
    if missing:
        raise PluginError(f"'{path}' is none of the {group}: {missing}")
    plugin: type = found
    return plugin


def _class_of(found: Any) -> Any:
    """Class that an imported object stands for, as a fitness function does; else the object."""
    return found.as_plugin() if isinstance(found, PluginSource) and not isinstance(found, type) else found


def _describe_cause(error: BaseException) -> str:
    """Describe an error of foreign code in one line."""
    return (
        str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
    )


def name_of(plugin: type) -> str:
    """Name by which `load` finds the class `plugin`.

    It is an entry point's name, or `module:Class`.
    """
    path = f"{plugin.__module__}:{plugin.__qualname__}"
    for group in GROUPS:
        for name, entries in _entries_by_name(group).items():
            if entries[0].value == path:
                return name
    return path


def require_extra(module: str, extra: str, purpose: str) -> None:
    """Refuse to go on without an optional dependency.

    Args:
        module: the dependency.
        extra: of this package, which installs it.
        purpose: begins the message.

    Raises:
        PluginError: `module` cannot be imported; the message names the extra to install.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise PluginError(
            f"{purpose} needs {module}: install it with `pip install 'invdesign[{extra}]'`."
        ) from error
