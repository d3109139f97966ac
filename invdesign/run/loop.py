"""Ask, evaluate, commit, tell: one session's work on a run, every step of it in a transaction."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from invdesign.campaign.model import Campaign
from invdesign.candidate import Candidate, Json, Proposal, Status, genome_key, to_json
from invdesign.errors import RunError
from invdesign.evaluation import Wave
from invdesign.history import RunHistory
from invdesign.protocols import Context, Engine, notes_of
from invdesign.run.status import RunStatus, failure_counts, snapshot
from invdesign.steps import Step, Unfinished
from invdesign.store.store import Store

POLL = 0.2  # seconds between looks at signals and the display while evaluations run
STATUS_EVERY = 1.0
FAILURES_AFTER = 20  # a rate of failures means something from here on
BUDGET_REACHED = "budget reached"
EXHAUSTED = "space exhausted: every candidate was proposed"
STOPPED = "stopped"
LOGGER = logging.getLogger("invdesign.run")
Observer = Callable[[RunStatus], None]


@dataclass(slots=True)
class _Flight:
    """A wave under way, and its steps that the optimizer must not see before it is told."""

    wave: Wave
    held: list[Step] = field(default_factory=list)


@dataclass
class Loop:
    """The state of a run while a process works on it.

    Args:
        folder: where the status file goes.
        engine: where evaluations run.
        observer: called with the status about five times a second.
        stop: set from outside to end after the current transaction.
        earlier: seconds of work in earlier sessions.
    """

    campaign: Campaign
    store: Store
    history: RunHistory
    folder: Path
    engine: Engine
    observer: Observer | None
    stop: threading.Event
    earlier: float
    _cache: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._last_look = 0.0
        self._last_write = 0.0
        self._numbers = itertools.count(self.store.next_task())
        self._state: Json
        self._event, self._state = self.store.last_event() or (-1, None)
        self._stages = self.campaign.views
        self._said = set(notes_of(self._state))
        # Results of one wave are seen at once; of several under way each when it is told, since an optimizer
        # that saw what happened to be finished would not repeat itself.
        self._holds = self.campaign.optimizer.overlap > 1
        self._flights = deque(self._restored(rest) for rest in self.store.unfinished())

    def work(self) -> str:
        """Go on until the run ends or is stopped; why it did.

        Raises:
            RunError: no worker can be set up, or too many candidates fail.
            StoreError: the store cannot be written; everything up to the last step is kept.
        """
        if self._event < 0:
            self._write_event("start", None, self.campaign.optimizer.start(self._context()))
        for flight in self._flights:
            for task in flight.wave.in_flight():
                self.engine.submit(task)
            self._commit(flight, flight.wave.step())
        while not self.stop.is_set():
            reason = self._fill()
            if not self._flights:
                return reason
            if not self._evaluate():
                return STOPPED
            self._tell()
            self._check_failures()
        return STOPPED

    @property
    def settled(self) -> bool:
        """Whether the history holds all that the store does."""
        return not (self._holds and self._flights)

    # Ask.

    def _fill(self) -> str:
        """Ask until as many waves are under way as the optimizer allows; why there are not more."""
        while len(self._flights) < self.campaign.optimizer.overlap:
            reason = self._ask()
            if reason:
                return reason
        return ""

    def _ask(self) -> str:
        """Open a wave; why there is none, where the budget or the optimizer gives no more."""
        n = self._allowed()
        if n <= 0:
            return BUDGET_REACHED
        context = self._context()
        proposals, state = self.campaign.optimizer.ask(context, self._state, n)
        first = len(self.history)
        new = enumerate(admitted(context, proposals).items())
        asked = [Candidate(first + number, key, proposal) for number, (key, proposal) in new]
        if not asked:
            return EXHAUSTED
        told = self._flights[0].wave.ids[0] if self._flights else first
        flight = _Flight(Wave(asked, self.campaign.funnel, self.store.cached, self._numbers, told))
        step = flight.wave.step()
        detail: Json = {"n": n, "first": first, "count": len(asked), "told": told}
        self._write_event("ask", detail, state, asked, step)
        for candidate in asked:
            self.history.add(candidate.id, candidate.key, candidate)
        self._flights.append(flight)
        self._take(flight, step)
        return ""

    def _context(self) -> Context:
        return Context(
            space=self.campaign.space,
            problem=self.campaign.problem,
            history=self.history,
            seed=self.campaign.seed,
            event=self._event + 1,
            seeds=self.campaign.seeds,
            cache=self._cache,
            stages=self._stages,
            budget=self.campaign.budget.most,
        )

    def _allowed(self) -> int:
        """How many candidates to ask for: the optimizer's batch, as far as the budget reaches."""
        budget = self.campaign.budget
        left = [self.campaign.optimizer.batch]
        if budget.candidates is not None:
            left.append(budget.candidates - len(self.history))
        if budget.evaluations is not None:
            before_last = len(self.campaign.funnel) - 1
            under_way = sum(flight.wave.bound_for_the_last for flight in self._flights)
            stopped = (self.history.status() == Status.COMPLETE) & (self.history.depth() == before_last)
            entered = int(((self.history.depth() >= before_last) & ~stopped).sum())
            left.append(budget.evaluations - entered - under_way)
        if budget.hours is not None and self.elapsed() >= 3600 * budget.hours:
            left.append(0)
        return min(left)

    # Evaluate and commit.

    def _restored(self, rest: Unfinished) -> _Flight:
        """A wave under way when the last session ended; a finished one still has to be told."""
        wave = Wave(rest.asked, self.campaign.funnel, self.store.cached, self._numbers, rest.told)
        wave.restore(rest)
        flight = _Flight(wave)
        if self._holds:
            for candidate in rest.asked:
                self.history.forget(candidate.id)
            flight.held.append(Step(results=list(rest.results), finished=list(rest.finished)))
        return flight

    def _evaluate(self) -> bool:
        """See the oldest wave through; False where the run was told to stop."""
        oldest = self._flights[0]
        while not oldest.wave.done:
            if self.stop.is_set():
                return False
            results = self.engine.next_done(POLL)
            if self.stop.is_set():
                # Whoever stopped us may have signalled the workers too: their end says nothing of the candidates.
                results = [result for result in results if result.lost is None]
            for flight in self._flights if results else ():
                of_its = [result for result in results if flight.wave.holds(result.id)]
                if of_its:
                    self._commit(flight, flight.wave.step(of_its))
            self._look()
        return True

    def _commit(self, flight: _Flight, step: Step) -> None:
        if step:
            self.store.write_step(step)
            self._take(flight, step)

    def _take(self, flight: _Flight, step: Step) -> None:
        if self._holds:
            flight.held.append(step)
        else:
            self.history.apply(step)
        for planned in step.planned:
            self.engine.submit(flight.wave.task(planned))

    # Tell.

    def _tell(self) -> None:
        flight = self._flights.popleft()
        for step in flight.held:
            self.history.apply(step)
        ids = flight.wave.ids
        state = self.campaign.optimizer.tell(self._context(), self._state, ids)
        self._write_event("tell", {"first": ids[0], "count": len(ids)}, state)

    def _write_event(
        self, kind: str, detail: Json, state: Json, asked: Sequence[Candidate] = (), step: Step | None = None
    ) -> None:
        text = to_json(state)
        self.store.write_event(self._event + 1, kind, detail, text, asked, step)
        self._event += 1
        self._state = json.loads(text)  # exactly what a resumed run would read
        self._announce()

    def _announce(self) -> None:
        """Log what the optimizer has to say, each of it once in the run."""
        for code, sentence in notes_of(self._state).items():
            if code not in self._said:
                self._said.add(code)
                LOGGER.info("%s", sentence)

    def _check_failures(self) -> None:
        status = self.history.status()
        failed = int((status == Status.FAILED).sum())
        if len(status) < FAILURES_AFTER or failed <= self.campaign.max_failure_rate * len(status):
            return
        causes = list(failure_counts(self.history).items())[:3]
        listed = ", ".join(f"{cause} ({count})" for cause, count in causes)
        example = next(iter(self.history.failures().values())).message
        raise RunError(
            f"{failed} of {len(status)} candidates failed, more than max_failure_rate allows "
            f"({self.campaign.max_failure_rate:g}). Causes: {listed}; for example: {example}. "
            f"Look closer with: invdesign report {self.folder}"
        )

    # Display.

    def elapsed(self) -> float:
        """Seconds of work over all sessions."""
        return self.earlier + time.monotonic() - self._began

    def status(self, state: str, reason: str = "") -> RunStatus:
        """Where the run stands now."""
        now_in = [sum(counts) for counts in zip(*(f.wave.at_stage() for f in self._flights), strict=True)]
        return snapshot(
            self.campaign,
            self.history,
            state=state,
            reason=reason,
            elapsed=self.elapsed(),
            now_in=now_in or None,
            notes=tuple(notes_of(self._state).values()),
        )

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._last_look < POLL:
            return
        self._last_look = now
        if self.observer is None and now - self._last_write < STATUS_EVERY:
            return
        status = self.status("running")
        if self.observer is not None:
            self.observer(status)
        if now - self._last_write >= STATUS_EVERY:
            with suppress(OSError):  # a copy for readers on network file systems; the store has it all
                status.write(self.folder)
            self._last_write = now


def admitted(context: Context, proposals: Sequence[Proposal]) -> dict[str, Proposal]:
    """Proposals of new genomes, and promotions, by key: an optimizer that repeats itself costs no evaluation."""
    fresh: dict[str, Proposal] = {}
    for proposal in proposals:
        key = genome_key(proposal.genome)
        if context.admits(key, proposal.until):
            fresh.setdefault(key, proposal)
    return fresh
