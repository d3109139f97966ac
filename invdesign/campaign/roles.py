"""Structures that stages read: which role each stage works on, and each property is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from invdesign import registry
from invdesign.errors import nearest
from invdesign.evaluation import Stage
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import SearchSpace, TypedSpace, find_side_structures
from invdesign.roles import INITIAL, LATEST, Path, find_open_roles, find_open_types, roles_by_path, with_roles

OpenRoles = Mapping[str, tuple[Path, ...]]
Complain = Callable[[int, Path, str, str], None]


def roles_in(names: Iterable[str]) -> list[str]:
    """Roles of structures, in order.

    Args:
        names: of properties and structures (`structure:relaxed`), as an evaluator requires or provides them.
    """
    return [name.removeprefix(STRUCTURE_PREFIX) for name in names if is_structure(name)]


def resolve_latest(stages: Sequence[Stage], of_design: Sequence[str]) -> tuple[list[Stage], OpenRoles]:
    """Replace `latest` by the role of the structure made last before.

    A structure that the stage makes itself does not count: a second relaxation starts from what the first one did. Nor does one
    that is not the candidate, as a saddle.

    Args:
        stages: the funnel after the build stage.
        of_design: roles of the structures the space builds.

    Returns:
        The stages, and by stage the fields that said `latest`.
    """
    made = list(of_design) or [INITIAL]
    resolved: list[Stage] = []
    opened: dict[str, tuple[Path, ...]] = {}
    for stage in stages:
        own = roles_in(stage.evaluator.provides) if stage.evaluator is not None else []
        paths = find_open_roles(stage.evaluator) if isinstance(stage.evaluator, BaseModel) else ()
        if paths:
            latest = next((role for role in reversed(made) if role not in own), INITIAL)
            resolved.append(_with_roles(stage, dict.fromkeys(paths, latest)))
            opened[stage.name] = paths
        else:
            resolved.append(stage)
        aside = find_side_roles([stage])
        made += [role for role in own if role not in aside]
    return resolved, opened


def find_side_roles(stages: Iterable[Stage]) -> frozenset[str]:
    """Roles of structures that stages make and that are not the candidate.

    Examples are a saddle, and a crystal with an ion less.

    Args:
        stages: of a funnel.
    """
    evaluators = [stage.evaluator for stage in stages if stage.evaluator is not None]
    return frozenset(role for item in evaluators for role in roles_in(find_side_structures(item)))


def name_structures(stages: Sequence[Stage], space: SearchSpace) -> list[Stage]:
    """Tell stages the space's `structure_type`, if it has one.

    Args:
        stages: the funnel after the build stage.
        space: of the campaign.
    """
    noun = space.structure_type if isinstance(space, TypedSpace) else ""
    evaluators = [stage.evaluator for stage in stages]
    paths = [find_open_types(item) if isinstance(item, BaseModel) and noun else () for item in evaluators]
    return [
        _with_roles(stage, dict.fromkeys(found, noun)) for stage, found in zip(stages, paths, strict=True)
    ]


def adopt_roles(stages: Sequence[Stage], opened: OpenRoles, stored: Sequence[Stage]) -> tuple[Stage, ...]:
    """Use roles stored by an earlier reading for fields that say `latest`.

    Earlier versions read `initial` where a file names no structure; a run that began so goes on so.

    Args:
        stages: of the campaign as it reads now.
        opened: by stage, the fields that said `latest`.
        stored: the stages of the run.
    """
    before = {stage.name: stage.evaluator for stage in stored}
    return tuple(_adopt_stage(stage, opened.get(stage.name, ()), before.get(stage.name)) for stage in stages)


def _adopt_stage(stage: Stage, paths: Sequence[Path], before: object) -> Stage:
    if type(before) is not type(stage.evaluator) or not isinstance(before, BaseModel):
        return stage
    known = roles_by_path(before)
    return _with_roles(stage, {path: known[path] for path in paths if path in known})


def _with_roles(stage: Stage, roles: Mapping[Path, str]) -> Stage:
    evaluator: Any = stage.evaluator
    return replace(stage, evaluator=with_roles(evaluator, roles)) if roles else stage


# Mistakes.


def check_roles(stages: Sequence[Stage], of_design: Sequence[str], complain: Complain) -> None:
    """Complain about structures that a stage reads and no earlier stage makes.

    Args:
        stages: the funnel after the build stage, `latest` resolved.
        of_design: roles of the structures the space builds.
        complain: takes the number of a stage, the path of the field, what is wrong and what to do.
    """
    made = list(dict.fromkeys(of_design))
    for number, stage in enumerate(stages):
        if stage.evaluator is None:
            continue
        own = roles_in(stage.evaluator.provides)
        tell = partial(complain, number)
        for role in roles_in(sorted(stage.evaluator.requires)):
            if role in own:
                tell(
                    (),
                    f"{stage.name} makes the structure '{role}' itself and cannot start from it.",
                    _list_roles(made),
                )
            elif role not in (*made, INITIAL):
                later = [other.name for other in stages[number + 1 :] if _makes_role(other, role)]
                tell(_find_field(stage, role), *_describe_missing_role(stage.name, role, made, later))
        if LATEST in own:
            tell(
                (), f"no structure can be called '{LATEST}': this is how a stage names the one made last.", ""
            )
        made += [role for role in own if role not in made]


def _describe_missing_role(
    stage: str, role: str, made: Sequence[str], later: Sequence[str]
) -> tuple[str, str]:
    if later:
        return (
            f"{stage} needs the structure '{role}', which '{later[0]}' provides only later: put {later[0]} before it.",
            "",
        )
    makers = list_makers(STRUCTURE_PREFIX + role)
    hint = f"'{makers[0]}' makes it." if makers else nearest(role, made)
    return (
        f"{stage} needs the structure '{role}', which nothing before it makes.",
        f"{hint} {_list_roles(made)}".strip(),
    )


def list_makers(name: str) -> list[str]:
    """Kinds of evaluators that provide a property or structure by default.

    Args:
        name: as evaluators provide it: `density`, `structure:relaxed`.
    """
    found = []
    for kind, evaluator in registry.load_working("evaluators"):
        with suppress(Exception):  # one that needs settings, or a fault of a plug-in's
            if name in evaluator().provides:
                found.append(kind)
    return found


def _list_roles(made: Sequence[str]) -> str:
    return f"Structures before it: {', '.join(made) or 'none'}."


def _makes_role(stage: Stage, role: str) -> bool:
    return stage.evaluator is not None and role in roles_in(stage.evaluator.provides)


def _find_field(stage: Stage, role: str) -> Path:
    """Path of the field that names a role.

    Empty where only the requirements do.
    """
    evaluator = stage.evaluator
    found: Mapping[Path, str] = roles_by_path(evaluator) if isinstance(evaluator, BaseModel) else {}
    return next((path for path, own in found.items() if own == role), ())


# On what properties were measured.


def map_measured_roles(stages: Sequence[Stage]) -> dict[str, dict[str, str]]:
    """Map each property to the structure it describes, by stage.

    It is the structure that the stage makes, if that is the candidate; else the latest of those it reads; else that of the properties it
    requires. Properties of compositions and of parameters alone are left out.

    Args:
        stages: the funnel after the build stage, `latest` resolved.
    """
    order: list[str] = [INITIAL]
    made_before: set[str] = set()
    known: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for stage in stages:
        evaluator = stage.evaluator
        if evaluator is None:
            continue
        aside = find_side_roles([stage])
        made = [role for role in roles_in(evaluator.provides) if role not in aside]
        read = roles_in(sorted(evaluator.requires))
        # Roles that no stage made are references of the space: they stand before `initial`, which is the candidate.
        given = [role for role in read if role not in order and role not in made_before]
        order = [*given, *order, *(role for role in (*read, *made) if role not in {*order, *given})]
        made_before.update(roles_in(evaluator.provides))
        by = made[-1:] or read or [known[name] for name in sorted(evaluator.requires) if name in known]
        names = [name for name in evaluator.provides if not is_structure(name)]
        if by:
            found[stage.name] = dict.fromkeys(names, max(by, key=order.index))
        known = {name: role for name, role in known.items() if name not in names} | found.get(stage.name, {})
    return found


def describe_mixed_roles(roles: Mapping[str, str]) -> str:
    """Sentence on objectives that describe different structures.

    Empty if they describe one.

    Args:
        roles: role of the structure by property.
    """
    by_role: dict[str, list[str]] = {}
    for name, role in roles.items():
        by_role.setdefault(role, []).append(name)
    if len(by_role) < 2:
        return ""
    parts = [f"{' and '.join(names)} on '{role}'" for role, names in by_role.items()]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return (
        f"the objectives are measured on different structures: {listed}. Put the stages after the one that makes the "
        "structure you mean, or name it: {structure: ROLE}"
    )
