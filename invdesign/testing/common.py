"""Shared parts of the checks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import BaseModel

from invdesign import settings
from invdesign.candidate import Genome, canonical, to_json
from invdesign.errors import Infeasible
from invdesign.protocols import OpenSpace, SearchSpace, VectorSpace


def expect(condition: object, rule: str) -> None:
    """Raise AssertionError with `rule` unless `condition` holds.

    Unlike `assert`, it also works under `python -O`.
    """
    if not condition:
        raise AssertionError(rule)


def check_settings(group: str, plugin: Any) -> None:
    """Check that a plug-in of a `group` can be built again from its JSON.

    Workers, resumed runs and other machines do so.

    Args:
        group: of the registry.
        plugin: to be checked.

    Raises:
        AssertionError: a rule is broken.
    """
    name = type(plugin).__name__
    expect(isinstance(plugin, BaseModel), f"{name}: derive plug-ins from invdesign.settings.Settings")
    expect("<locals>" not in type(plugin).__qualname__, f"{name}: define plug-ins at the top of a module")
    dump = plugin.model_dump(mode="json")
    again = settings.load(group, json.loads(json.dumps(dump)), trust_code=True)
    expect(
        again == plugin, f"{name}: settings.load('{group}', {dump}) must give an equal plug-in, got {again!r}"
    )


def reload_plugin(group: str, plugin: Any) -> Any:
    """Build a plug-in of a `group` anew from its JSON, as another process would.

    Args:
        group: of the registry.
        plugin: unchanged.
    """
    return settings.load(group, plugin.model_dump(mode="json"), trust_code=True)


def check_genome(genome: Genome, maker: str) -> None:
    """Check that a `genome` is canonical JSON.

    Otherwise one candidate could have two keys, or change on its way through the store.

    Args:
        genome: to be checked.
        maker: of the genome, for the message.

    Raises:
        AssertionError: it is not.
    """
    text = to_json(genome)
    wanted = to_json(canonical(genome))
    expect(text == wanted, f"{maker} must give canonical genomes: {wanted}, got {text}")


def make_outside_genomes(space: SearchSpace, genome: Genome) -> Iterator[Genome]:
    """Make genomes outside an open vector space from one of its own.

    A number is moved beyond its limit, or between steps. If that breaks a sum, another number makes up for it.

    Args:
        space: one that is not an open vector space gives none.
        genome: of the space.
    """
    if not isinstance(space, OpenSpace) or not isinstance(space, VectorSpace):
        return
    cells = dict(space.to_cells(genome))
    sizes = {
        item.name: item.high - item.low for item in space.domain().dimensions if item.kind != "categorical"
    }
    numbers = [name for name in sizes if isinstance(cells.get(name), float | int)]
    for name in numbers:
        for share in (1.2, 0.0137):
            change = share * sizes[name]
            for other in (None, *(other for other in numbers if other != name)):
                changed = {**cells, name: float(cells[name]) + change}
                if other is not None:
                    changed[other] = float(cells[other]) - change
                written = {
                    key: f"{value:.12g}" if key in numbers else str(value) for key, value in changed.items()
                }
                try:
                    placement = space.place(space.from_cells(written), {})
                except Infeasible:
                    continue
                if placement.outside:
                    yield placement.genome
                break


@contextmanager
def expect_untouched_globals(maker: str) -> Iterator[None]:
    """Check that the global random generators are unchanged after the block.

    Other code draws from them too.

    Args:
        maker: runs within the block; named in the message.

    Raises:
        AssertionError: one of them was used.
    """
    python_state, numpy_state = random.getstate(), _numpy_state()
    yield
    calm = random.getstate() == python_state and _numpy_state() == numpy_state
    expect(
        calm, f"{maker} must not draw from the global random or numpy.random: use the generator it is given"
    )


def _numpy_state() -> tuple[bytes, int]:
    state = np.random.get_state()  # noqa: NPY002 - the legacy global is what is watched
    assert isinstance(state, tuple)
    return state[1].tobytes(), state[2]
