"""Roles of structures in settings: fields that choose a candidate's structure for an evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, Field

from invdesign.candidate import Input
from invdesign.properties import STRUCTURE_PREFIX
from invdesign.protocols import EvaluatorSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

INITIAL = "initial"  # the structure a search space builds
LATEST = (
    "latest"  # the structure made last before a stage; reading the campaign replaces it by that one's role
)
M = TypeVar("M", bound=BaseModel)
Path = tuple[str, ...]  # names of fields, from the settings inwards


class _Resolved:
    """Marks fields in which a campaign replaces `latest`."""


RESOLVED = _Resolved()
StructureRole = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), RESOLVED]
"""A field that names a structure: `initial`, one that an earlier stage made (`relaxed`, `dft`), or `latest`."""


OF_SPACE = object()
StructureType = Annotated[str | None, Field(min_length=1), OF_SPACE]
"""A field for a noun with its article, `an anti-perovskite`: that of the search space where a campaign says nothing."""


class StructureEvaluator(EvaluatorSettings):
    """Base of evaluators that look at one structure of a candidate."""

    structure: StructureRole = LATEST
    """Which structure: `initial`, one an earlier stage made (`relaxed`), or `latest`, the last one made before this stage."""

    @property
    def requires(self) -> frozenset[str]:
        """Name of the structure to look at."""
        return frozenset({required_structure(self.structure)})

    def structure_of(self, item: Input) -> Structure:
        """Structure of `item` that the setting `structure` names."""
        return find_structure(item, self.structure)


def required_structure(role: str) -> str:
    """Name under which an evaluator requires a structure: `structure:relaxed`.

    Args:
        role: outside a funnel, `latest` is the initial one.
    """
    return STRUCTURE_PREFIX + (INITIAL if role == LATEST else role)


def find_open_types(settings: BaseModel) -> tuple[Path, ...]:
    """Paths of the fields that leave the type of structure to the search space.

    Args:
        settings: of an evaluator.
    """
    found: list[Path] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if OF_SPACE in field.metadata and value is None:
            found.append((name,))
        elif isinstance(value, BaseModel):
            found += [(name, *path) for path in find_open_types(value)]
    return tuple(found)


def find_structure(item: Input, role: str) -> Structure:
    """Find the structure of one role.

    Args:
        item: the candidate as an evaluator sees it.
        role: `latest` is the one made last.

    Raises:
        LookupError: the candidate has none of this role.
    """
    return item.structure if role == LATEST else item.structures[role]


def find_open_roles(settings: BaseModel) -> tuple[Path, ...]:
    """Paths of the fields in `settings` that are `latest`."""
    return tuple(path for path, role in roles_by_path(settings).items() if role == LATEST)


def roles_by_path(settings: BaseModel) -> dict[Path, str]:
    """Roles in `settings` and in settings within them, by path of the field."""
    return dict(_walk_roles(settings))


def with_roles(settings: M, roles: Mapping[Path, str]) -> M:
    """Copy settings with other roles.

    Args:
        settings: unchanged; values they hold beside their fields (a function at hand) are kept.
        roles: by the path of their field.
    """
    changes: dict[str, object] = {}
    for name in dict.fromkeys(path[0] for path in roles):
        inner = {path[1:]: role for path, role in roles.items() if path[0] == name}
        own = inner.pop((), None)
        changes[name] = own if own is not None else with_roles(getattr(settings, name), inner)
    copy = settings.model_copy(update=changes)
    for name in copy.__dict__.keys() - type(copy).model_fields.keys():
        del copy.__dict__[name]  # a cached property belongs to the old roles
    return copy


def _walk_roles(settings: BaseModel) -> Iterator[tuple[Path, str]]:
    """Iterate over path and role of every field that names a structure."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, str) and RESOLVED in field.metadata:
            yield (name,), value
        elif isinstance(value, BaseModel):
            yield from (((name, *path), role) for path, role in _walk_roles(value))
