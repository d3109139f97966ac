"""Entry-point name -> plug-in class. Nothing is imported until it is asked for."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from invdesign.errors import PluginError, nearest

PREFIX = "invdesign."
GROUPS = ("evaluators", "potentials", "spaces", "optimizers", "generators", "engines", "commands")


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=PREFIX + group), key=lambda e: e.name)}


def names(group: str) -> tuple[str, ...]:
    """Names of the installed plug-ins of `group`, sorted."""
    return tuple(_entries(group))


def load(group: str, name: str, *, trust_code: bool = False) -> type:
    """The class behind `name`; of a decorated function the one it stands for (`Decorated.as_plugin`).

    Args:
        group: one of `GROUPS`.
        name: an installed plug-in, or `module:Class` where code beside the campaign is trusted.
        trust_code: whether `module:Class` may be imported.

    Raises:
        PluginError: the name is unknown, untrusted, or what it needs is not installed.
    """
    if ":" in name:
        if not trust_code:
            raise PluginError(
                f"'{name}' is code that is not installed as a plug-in, and importing it runs it. "
                "If you trust it, say so with --trust-code."
            )
        return _from_path(name)
    entries = _entries(group)
    if name not in entries:
        singular = group.removesuffix("s")
        known = ", ".join(entries) or "none is installed"
        raise PluginError(
            f"there is no {singular} '{name}'. {nearest(name, entries)} Known: {known}.".replace("  ", " ")
        )
    return _loaded(entries[name])


def _loaded(entry: EntryPoint) -> type:
    try:
        found = entry.load()
        plugin: type = _class_of(found)
    except Exception as error:  # foreign code may raise anything while it is imported
        source = entry.dist.name if entry.dist else "its package"
        raise PluginError(
            f"the plug-in '{entry.name}' of {source} cannot be loaded: {_cause(error)}."
        ) from error
    return plugin


def _from_path(path: str) -> type:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the user's code may raise anything while it is imported
        raise PluginError(f"'{path}' cannot be loaded: {_cause(error)}.") from error
    found = _class_of(found)
    if not hasattr(found, "model_validate_json"):
        raise PluginError(
            f"'{path}' is not a plug-in: make it a class derived from invdesign.settings.Settings."
        )
    plugin: type = found
    return plugin


def _class_of(found: Any) -> Any:
    """A fitness function says by itself which class it stands for: this module knows of none."""
    return found.as_plugin() if hasattr(found, "as_plugin") and not isinstance(found, type) else found


def _cause(error: Exception) -> str:
    return (
        str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
    )


def name_of(plugin: type) -> str:
    """The name `load` finds this class by: its entry point's, or `module:Class`."""
    path = f"{plugin.__module__}:{plugin.__qualname__}"
    for group in GROUPS:
        for name, entry in _entries(group).items():
            if entry.value == path:
                return name
    return path


def require_extra(module: str, extra: str, purpose: str) -> None:
    """Raise a clear error where an optional dependency is missing.

    Raises:
        PluginError: `module` cannot be imported; the message names the extra to install.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise PluginError(
            f"{purpose} needs {module}: install it with `pip install 'invdesign[{extra}]'`."
        ) from error
