"""A screen: passes of the tiers over all candidates of a campaign, resumable and exact."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.arrays import IntArray
from invdesign.campaign.model import Campaign
from invdesign.engines.local import usable_cores
from invdesign.errors import INTERRUPTED, RunError
from invdesign.processes import stop_at_signals
from invdesign.protocols import PreparedSpace
from invdesign.screening.best import Best, Kept
from invdesign.screening.crew import Crew, read_result
from invdesign.screening.folder import (
    FORMAT,
    PassState,
    lock_folder,
    open_folder,
    read_state,
    state_file,
    write_state,
)
from invdesign.screening.scanning import Bins, Described, Tally, list_columns
from invdesign.screening.streams import CompositionStream
from invdesign.screening.tiers import Tier, list_tiers
from invdesign.spaces.composition.space import CompositionSpace
from invdesign.worker import Setup

DEFAULT_KEEP = 1_000_000  # candidates that go on to the next tier (chosen)
DEFAULT_TOP = 1_000  # candidates in the table (chosen)
MAX_KEEP = 20_000_000  # some gigabyte of memory (chosen)
FAST_UNIT = 2**23  # compositions in a work unit scored by whole sets, about a second (chosen)
SLOW_UNIT = 2**13  # candidates in a work unit scored one by one, about a second (chosen)
MOST_UNITS = 2**20  # of a pass: a bit each is written with the state (chosen)
CHECKPOINT_SECONDS = 5.0  # between two states on disk (chosen)
POLL_SECONDS = 0.2  # between looks at signals (chosen)
RESCORED, RESCORED_MORE = (
    2,
    1_000,
)  # times the table, and more: scores of both ways differ by rounding alone (chosen)
ATTEMPTS = 2  # of a unit whose process died: another program may have taken the memory (chosen)
# Aspects of a campaign that decide the results of a screen.
DECIDING = ("space", "stages", "objectives", "constraints", "scalarize")


@dataclass(frozen=True)
class Options:
    """Options of a screen.

    Attributes:
        keep: candidates that go on from one tier to the next.
        top: candidates in the table.
        workers: processes; None for one per core, 0 for none but this one.
        checkpoint: seconds between two states on disk.
        fast_unit, slow_unit: candidates in a work unit that is scored by whole element sets, or one by one.
    """

    keep: int = DEFAULT_KEEP
    top: int = DEFAULT_TOP
    workers: int | None = None
    checkpoint: float = CHECKPOINT_SECONDS
    fast_unit: int = FAST_UNIT
    slow_unit: int = SLOW_UNIT


@dataclass(frozen=True)
class Progress:
    """Progress of a screen.

    Attributes:
        tier: name of the tier at work.
        number: of the pass, from 1.
        passes: number of passes.
        done, total: candidates of this pass.
        rate: candidates per second in this session; NaN at first.
        left: seconds to the end of this pass; NaN at first.
    """

    tier: str
    number: int
    passes: int
    done: int
    total: int
    rate: float
    left: float


@dataclass(frozen=True)
class Pass:
    """One pass over candidates.

    Attributes:
        tier: number of the tier.
        keep: number of candidates kept.
        by_sets: True if whole element sets are scored at once.
        from_kept: True if the candidates are those that the pass before kept.
    """

    tier: int
    keep: int
    by_sets: bool
    from_kept: bool


@dataclass(frozen=True, eq=False)
class PassFacts:
    """Outcome of one pass: what it was, its state, and its number of candidates."""

    own: Pass
    state: PassState
    total: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outcome of a screen.

    Attributes:
        size: number of candidates.
        passes: in order.
        best: candidates of the table, best first.
        described: the same, described.
    """

    size: int
    passes: tuple[PassFacts, ...]
    best: Kept
    described: tuple[Described, ...]


class StoppedError(RunError):
    """The screen was stopped in good order."""

    exit_code = INTERRUPTED


Observer = Callable[[Progress], None]


class Screen:
    """A screen of a campaign, in a folder.

    Args:
        campaign: to be screened.
        folder: new, empty, or that of the same screen.
        options: sizes and workers.
        source: name of the campaign's file, for messages.

    Raises:
        ScreenError: the campaign cannot be screened.
        RunError: an option is out of range.
    """

    def __init__(
        self, campaign: Campaign, folder: str | Path, options: Options | None = None, source: str = ""
    ) -> None:
        self.campaign = campaign
        self.folder = Path(folder)
        self.options = options or Options()
        if isinstance(campaign.space, PreparedSpace):
            campaign.space.prepare()
        self.tiers: tuple[Tier, ...] = list_tiers(campaign, source or campaign.file or "campaign")
        for name, number in (("keep", self.options.keep), ("top", self.options.top)):
            if not 1 <= number <= MAX_KEEP:
                raise RunError(f"--{name} must lie between 1 and {MAX_KEEP}, got {number}")
        if self.options.top > self.options.keep:
            raise RunError(
                f"--top must be --keep ({self.options.keep}) at most, got {self.options.top}; raise --keep"
            )
        self.columns = list_columns(self.tiers)
        self._stop = threading.Event()

    @cached_property
    def size(self) -> int:
        """Number of candidates."""
        number = len(self.stream) if self.stream is not None else self.campaign.space.count()
        assert number is not None  # `list_tiers` refuses spaces without
        return number

    @cached_property
    def stream(self) -> CompositionStream | None:
        """Compositions of the space; None for other spaces."""
        space = self.campaign.space
        return CompositionStream(space.compositions) if isinstance(space, CompositionSpace) else None

    def stop(self) -> None:
        """Ask `run`, in another thread, to write its state and end."""
        self._stop.set()

    def plan(self) -> dict[str, Any]:
        """Everything that decides the results, as JSON."""
        dump = self.campaign.dump()
        own = {name: dump[name] for name in DECIDING if name in dump}
        options = self.options
        units = [options.fast_unit, options.slow_unit]
        return {"format": FORMAT, "units": units, "keep": options.keep, "top": options.top, "campaign": own}

    def run(self, observer: Observer | None = None) -> Outcome:
        """Work until the screen has ended; go on where an earlier session stopped.

        Args:
            observer: is told the progress now and then.

        Raises:
            StoppedError: a signal or `stop` ended it; all finished units are kept.
            RunError: the folder holds another screen, or a worker died.
        """
        campaign, watch = self.campaign, observer or (lambda _: None)
        evaluators = {tier.name: tier.evaluator for tier in self.tiers}
        workers = usable_cores() if self.options.workers is None else self.options.workers
        with lock_folder(self.folder), stop_at_signals(self._stop):
            open_folder(self.folder, self.plan())
            setup = Setup.from_plugins(campaign.space, evaluators, campaign.code)
            with Crew(setup, campaign.problem, self.tiers, workers) as crew:
                return self._run_passes(crew, watch)

    def _run_passes(self, crew: Crew, watch: Observer) -> Outcome:
        passes = self._list_passes(by_sets=crew.call("is_fast"))
        found: list[PassFacts] = []
        for number, own in enumerate(passes):
            kept = found[-1].state.kept if own.from_kept else None
            total = len(kept) if kept is not None else self.size
            state = _PassWork(self, number, own, kept, crew, watch, len(passes)).finish()
            found.append(PassFacts(own, state, total))
        best = found[-1].state.kept.rank()
        described = crew.call("describe", passes[-1].tier, best.indices)
        return Outcome(self.size, tuple(found), best, tuple(described))

    def _list_passes(self, *, by_sets: bool) -> tuple[Pass, ...]:
        """Plan the passes: each tier once.

        A single fast tier scores what it kept once more, composition by composition.

        So the table holds the numbers that the evaluator itself gives.
        """
        rest = list(range(1, len(self.tiers)))
        keep, top = self.options.keep, self.options.top
        if by_sets and not rest:
            rest, keep = [0], min(keep, RESCORED * top + RESCORED_MORE)
        ends = [*[keep] * len(rest), top]
        first = Pass(0, ends[0], by_sets=by_sets, from_kept=False)
        return (first, *(Pass(tier, end, False, True) for tier, end in zip(rest, ends[1:], strict=True)))

    @property
    def stopping(self) -> bool:
        """True if the screen was asked to stop."""
        return self._stop.is_set()


class _PassWork:
    """Work on one pass.

    Args:
        screen: that the pass belongs to.
        number: of the pass, from 0.
        own: the pass.
        kept: candidates of the pass, by number; None for all.
        crew: does the work.
        watch: is told the progress.
        passes: number of passes.
    """

    def __init__(
        self,
        screen: Screen,
        number: int,
        own: Pass,
        kept: Kept | None,
        crew: Crew,
        watch: Observer,
        passes: int,
    ) -> None:
        self.screen, self.number, self.own, self.kept = screen, number, own, kept
        self.crew, self.watch, self.passes = crew, watch, passes
        self.total = len(kept) if kept is not None else screen.size
        self.limits = self._plan_units()
        self.path = state_file(screen.folder, number)
        self.state = read_state(self.path) or self._start()
        if len(self.state.done) != len(self.limits) - 1:
            raise RunError(
                f"{self.path} belongs to another screen; remove it, and start the same command again"
            )
        self.best = Best(own.keep, len(screen.columns), self.state.threshold)
        self.best.add(self.state.kept)
        self.began = self.saved = time.monotonic()
        self.seen_before = self.state.tally.seen
        self.wall_before = self.state.wall

    def _plan_units(self) -> IntArray:
        """Limits of the work units: numbers of element sets, or of candidates."""
        options = self.screen.options
        if self.own.by_sets:
            assert self.screen.stream is not None  # only compositions are scored by sets
            return self.screen.stream.plan_units(max(options.fast_unit, -(-self.total // MOST_UNITS)))
        size = max(options.slow_unit, -(-self.total // MOST_UNITS))
        return np.append(np.arange(0, self.total, size, dtype=np.int64), self.total)

    def _start(self) -> PassState:
        low, high = (
            self.crew.call("sample_scores", self.own.tier, self.kept) if self.total else (math.nan, math.nan)
        )
        bins = Bins.around(*((0.0, 1.0) if math.isnan(low) else (low, high)))
        done = np.zeros(len(self.limits) - 1, dtype=np.bool_)
        tally = Tally(np.zeros(bins.number + 2, dtype=np.int64))
        return PassState(bins, done, tally, Kept.empty(len(self.screen.columns)), math.inf)

    def finish(self) -> PassState:
        """Work on all units that are left.

        Raises:
            StoppedError: the screen was asked to stop.
        """
        if self.state.done.all() and self.path.is_file():
            return self.state
        units = (unit for unit in _spread_out(len(self.state.done)) if not self.state.done[unit])
        pending: dict[Future[Any], int] = {}
        attempts: dict[int, int] = {}
        self._tell()
        try:
            while True:
                while len(pending) < self.crew.slots and not self.screen.stopping:
                    unit = next(units, None)
                    if unit is None:
                        break
                    pending[self._submit(unit)] = unit
                if self.screen.stopping or not pending:
                    break
                for future in wait(pending, POLL_SECONDS, FIRST_COMPLETED).done:
                    self._collect(future, pending, attempts)
                if time.monotonic() - self.saved >= self.screen.options.checkpoint:
                    self._save()
        finally:
            for future in pending:
                future.cancel()
            self._save()
        if self.screen.stopping and not self.state.done.all():
            raise StoppedError(
                f"Stopped; everything finished is kept in {self.screen.folder}. Start the same command again to go on"
            )
        return self.state

    def _submit(self, unit: int) -> Future[Any]:
        first, last = int(self.limits[unit]), int(self.limits[unit + 1])
        rest = self.state.bins, self.own.keep, self.best.threshold
        if self.kept is not None:
            some = self.kept.select(np.arange(first, last))
            return self.crew.submit("scan_kept", self.own.tier, some, *rest)
        return self.crew.submit("scan_sets" if self.own.by_sets else "scan_range", first, last, *rest)

    def _collect(
        self, future: Future[Any], pending: dict[Future[Any], int], attempts: dict[int, int]
    ) -> None:
        """Add the result of a unit; one whose process died is tried again."""
        from pebble import ProcessExpired

        unit = pending.pop(future)
        if isinstance(future.exception(), ProcessExpired) and attempts.get(unit, 0) + 1 < ATTEMPTS:
            attempts[unit] = attempts.get(unit, 0) + 1
            pending[self._submit(unit)] = unit
            return
        result = read_result(future.result)
        self.state.tally.add(result.tally)
        self.best.add(result.kept)
        self.state.done[unit] = True
        self._tell()

    def _save(self) -> None:
        """Write the state to disk."""
        self.state.kept = self.best.list_kept()
        self.state.threshold = self.best.threshold
        self.state.wall = self.wall_before + time.monotonic() - self.began
        write_state(self.path, self.state)
        self.saved = time.monotonic()

    def _tell(self) -> None:
        seen = self.state.tally.seen
        elapsed = time.monotonic() - self.began
        rate = (seen - self.seen_before) / elapsed if seen > self.seen_before else math.nan
        name = self.screen.tiers[self.own.tier].name
        self.watch(
            Progress(name, self.number + 1, self.passes, seen, self.total, rate, (self.total - seen) / rate)
        )


def _spread_out(number: int) -> Iterator[int]:
    """Iterate over 0 to `number` - 1 in strides by the golden ratio.

    Each beginning is spread evenly over the whole, so that scores of the best are soon those of all, and rates are typical.
    """
    stride = max(round(number * (math.sqrt(5) - 1) / 2), 1)
    while math.gcd(stride, number) != 1:
        stride += 1
    place = 0
    for _ in range(number):
        yield place
        place = (place + stride) % number
