"""Library of battery prototypes, each with its published source."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from invdesign.errors import PluginError, nearest
from invdesign.structures.crystallography import Crystal, read_crystals

FORMER_NAMES: Mapping[str, str] = {"halide": "Na3YCl6"}
"""Names that campaign files and stored runs may still use."""


def load_prototypes() -> dict[str, Crystal]:
    """All prototypes by name, sorted."""
    found = read_crystals(files("invdesign.structures") / "prototypes.yaml")
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def list_prototype_names() -> tuple[str, ...]:
    """Names of all prototypes, sorted."""
    return tuple(load_prototypes())


def find_prototype(name: str) -> Crystal:
    """Find the prototype of a current or former `name`.

    Raises:
        PluginError: there is none; the message lists all and the nearest.
    """
    known = load_prototypes()
    name = FORMER_NAMES.get(name, name)
    if name not in known:
        hint = nearest(name, known)
        raise PluginError(
            f"there is no prototype '{name}'.{' ' + hint if hint else ''} Known: {', '.join(known)}."
        )
    return known[name]
