"""Requests to generators: light ones in this process, heavy and foreign ones in a process with a time limit."""

from __future__ import annotations

import atexit
import json
import logging
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from invdesign import registry
from invdesign.artifacts import find_artifacts
from invdesign.beside import list_trusted_folders, trust_folders
from invdesign.processes import start_child, start_pool
from invdesign.protocols import Condition, Generator, Wish
from invdesign.registry import FOREIGN_ERRORS
from invdesign.rng import rng_for
from invdesign.settings import STORED_FOLDER, Settings, load
from invdesign.structures.files import structure_from_json, structure_to_json

if TYPE_CHECKING:
    from pebble import ProcessPool
    from pymatgen.core import Structure

SECONDS = 60.0  # one request may take (chosen)
LOAD_SECONDS = 120.0  # more for the first request, which loads the generator (chosen)
MAX_FAILURES = 3  # in a row, after which a generator is asked no more (chosen)

logger = logging.getLogger("invdesign.run")


class Sampler(Protocol):
    """Answers requests for crystals of one generator."""

    @property
    def is_hopeless(self) -> bool:
        """True if the generator failed too often to be asked again."""
        ...

    def request(self, seed: int, n: int, condition: Condition) -> Sequence[Structure]:
        """Crystals of the generator, always the same for one seed; none where it fails."""
        ...


class DirectSampler:
    """Asks a generator in this process."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._failures = _Failures(generator)

    @property
    def is_hopeless(self) -> bool:
        return self._failures.is_hopeless

    def request(self, seed: int, n: int, condition: Condition) -> Sequence[Structure]:
        try:
            found = self._generator.sample(rng_for(seed, 0, "sample"), n, condition)
        except FOREIGN_ERRORS as error:
            self._failures.count(f"{type(error).__name__}: {error}")
            return ()
        self._failures.forget()
        return found


class ProcessSampler:
    """Asks a generator in a process of its own, which is replaced where a request takes too long or the process dies."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._failures = _Failures(generator)
        self._pool: ProcessPool | None = None
        self._owner = os.getpid()
        self._loaded = False

    @property
    def is_hopeless(self) -> bool:
        return self._failures.is_hopeless

    def request(self, seed: int, n: int, condition: Condition) -> Sequence[Structure]:
        from pebble import ProcessExpired

        if self.is_hopeless:
            return ()
        limit = SECONDS if self._loaded else SECONDS + LOAD_SECONDS
        try:
            future = self._find_pool().schedule(
                answer_request, args=(seed, n, asdict(condition)), timeout=limit
            )
            texts = future.result()
        except FutureTimeoutError:
            self._loaded = False
            self._failures.count(f"no answer after {limit:g} s")
            return ()
        except ProcessExpired as error:
            self._loaded = False
            self._failures.count(f"its process ended with code {error.exitcode}")
            return ()
        except FOREIGN_ERRORS as error:
            self._failures.count(f"{type(error).__name__}: {error}")
            return ()
        self._loaded = True
        self._failures.forget()
        return [structure_from_json(text) for text in texts]

    def _find_pool(self) -> ProcessPool:
        """Pool of one process, started with the first request.

        A copy of this process by fork starts its own: the threads of the pool exist in the original alone.
        """
        if self._owner != os.getpid():
            self._pool, self._owner = None, os.getpid()
        if self._pool is None:
            settings = cast("Settings", self._generator).model_dump(mode="json")
            contents = [artifact.find() for artifact in find_artifacts(settings)]
            trusted = not registry.is_installed(
                type(self._generator)
            )  # named by a campaign that may import it
            setup = pickle.dumps((json.dumps(settings), contents, list_trusted_folders(), trusted))
            self._pool = start_pool(1, prepare_process, (setup,))
            atexit.register(self.close)
        return self._pool

    def close(self) -> None:
        """End the process, unless another process started it."""
        if self._pool is not None and self._owner == os.getpid():
            self._pool.stop()
            self._pool.join()
            self._pool = None


@dataclass
class _Failures:
    """Failures of a generator in a row, each told once."""

    generator: Generator
    number: int = 0
    told: str = ""

    @property
    def is_hopeless(self) -> bool:
        return self.number >= MAX_FAILURES

    def count(self, cause: str) -> None:
        self.number += 1
        text = " ".join(cause.split())[:300]
        if text != self.told:
            name = registry.name_of(type(self.generator))
            end = "; it is asked no more" if self.is_hopeless else ""
            logger.warning("the generator '%s' made no crystal: %s%s", name, text, end)
            self.told = text

    def forget(self) -> None:
        self.number = 0


_samplers: dict[str, Sampler] = {}


def find_sampler(generator: Generator) -> Sampler:
    """Sampler of a generator, one for equal settings in this process."""
    settings = cast("Settings", generator)
    key = settings.fingerprint
    if key not in _samplers:
        light = not generator.is_heavy and registry.is_built_in_class(type(generator))
        _samplers[key] = DirectSampler(generator) if light else ProcessSampler(generator)
    return _samplers[key]


# The process of a ProcessSampler.

_generator: Generator | None = None
_broken = ""


def prepare_process(setup: bytes) -> None:
    """Load the generator in a process of its own.

    Args:
        setup: settings as JSON, contents of their artifacts, trusted folders, and whether code beside the campaign is trusted;
            pickled by the process that started this one.
    """
    global _generator, _broken  # noqa: PLW0603 - one generator per process, by construction
    start_child()
    text, contents, folders, trusted = pickle.loads(setup)  # noqa: S301 - from who started us
    _held.extend(contents)
    trust_folders(folders)
    try:
        made = load("generators", json.loads(text), folder=STORED_FOLDER, trust_code=trusted)
        made.prepare()
        _generator = made
    except (
        FOREIGN_ERRORS
    ) as error:  # kept for the requests: a pool whose initializer raises dies without a message
        _broken = f"{type(error).__name__}: {error}"


_held: list[Any] = []
"""Contents of artifacts, which are found by hash as long as they are in memory."""


def answer_request(seed: int, n: int, condition: dict[str, Any]) -> list[str]:
    """Make crystals in this process; as JSON.

    Raises:
        RuntimeError: the generator could not be loaded.
    """
    if _generator is None:
        raise RuntimeError(_broken or "the generator was not loaded")
    wishes = tuple(Wish(**wish) for wish in condition.pop("wishes"))
    found = _generator.sample(rng_for(seed, 0, "sample"), n, Condition(**condition, wishes=wishes))
    return [structure_to_json(structure) for structure in found]
