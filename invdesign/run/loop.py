"""Ask, evaluate, commit, tell: one session's work on a run, every step of it in a transaction."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from invdesign.campaign.model import Campaign
from invdesign.candidate import Candidate, Json, Proposal, Status, genome_key, to_json
from invdesign.errors import RunError
from invdesign.evaluation import Wave
from invdesign.history import RunHistory
from invdesign.protocols import Context, Engine
from invdesign.run.status import RunStatus, failure_counts, snapshot
from invdesign.steps import Step
from invdesign.store.store import Store

POLL = 0.2  # seconds between looks at signals and the display while evaluations run
STATUS_EVERY = 1.0
FAILURES_AFTER = 20  # a rate of failures means something from here on
BUDGET_REACHED = "budget reached"
EXHAUSTED = "space exhausted: every candidate was proposed"
STOPPED = "stopped"
Observer = Callable[[RunStatus], None]


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
        self._next_task = self.store.next_task()
        last = self.store.last_event()
        self._state: Json
        self._event, kind, self._state = last or (-1, "", None)
        self._wave = self._restored_wave() if kind == "ask" else None

    def work(self) -> str:
        """Go on until the run ends or is stopped; why it did.

        Raises:
            RunError: no worker can be set up, or too many candidates fail.
            StoreError: the store cannot be written; everything up to the last step is kept.
        """
        if self._event < 0:
            self._write_event("start", None, self.campaign.optimizer.start(self._context()))
        if self._wave is not None:
            for task in self._wave.in_flight():
                self.engine.submit(task)
            self._commit(self._wave.step())
        while not self.stop.is_set():
            if self._wave is None:
                reason = self._ask()
                if reason:
                    return reason
            if not self._evaluate():
                return STOPPED
            self._tell()
            self._check_failures()
        return STOPPED

    # Ask.

    def _ask(self) -> str:
        """Open a wave; why there is none, where the run is at its end."""
        n = self._allowed()
        if n <= 0:
            return BUDGET_REACHED
        proposals, state = self.campaign.optimizer.ask(self._context(), self._state, n)
        first = len(self.history)
        new = enumerate(self._new(proposals).items())
        asked = [Candidate(first + number, key, proposal) for number, (key, proposal) in new]
        if not asked:
            return EXHAUSTED
        self._wave = self._new_wave(asked)
        step = self._wave.step()
        self._write_event("ask", {"n": n, "first": first, "count": len(asked)}, state, asked, step)
        for candidate in asked:
            self.history.add(candidate.id, candidate.key, candidate)
        self._take(step)
        return ""

    def _new(self, proposals: Sequence[Proposal]) -> dict[str, Proposal]:
        """Proposals never asked before, by key: an optimizer that repeats itself costs no evaluation."""
        fresh: dict[str, Proposal] = {}
        for proposal in proposals:
            key = genome_key(proposal.genome)
            if key not in self.history:
                fresh.setdefault(key, proposal)
        return fresh

    def _context(self) -> Context:
        return Context(
            space=self.campaign.space,
            problem=self.campaign.problem,
            history=self.history,
            seed=self.campaign.seed,
            event=self._event + 1,
            seeds=self.campaign.seeds,
            cache=self._cache,
        )

    def _allowed(self) -> int:
        """How many candidates to ask for: the optimizer's batch, as far as the budget reaches."""
        budget = self.campaign.budget
        left = [self.campaign.optimizer.batch]
        if budget.candidates is not None:
            left.append(budget.candidates - len(self.history))
        if budget.evaluations is not None:
            before_last = len(self.campaign.funnel) - 1
            left.append(budget.evaluations - int((self.history.depth() >= before_last).sum()))
        if budget.hours is not None and self.elapsed() >= 3600 * budget.hours:
            left.append(0)
        return min(left)

    # Evaluate and commit.

    def _new_wave(self, asked: Sequence[Candidate]) -> Wave:
        return Wave(asked, self.campaign.funnel, self.store.cached, self._next_task)

    def _restored_wave(self) -> Wave:
        """The wave under way when the last session ended; a finished one still has to be told."""
        rest = self.store.unfinished_event(self._event)
        wave = self._new_wave(rest.asked)
        wave.restore(rest)
        return wave

    def _evaluate(self) -> bool:
        """See the wave through; False where the run was told to stop."""
        assert self._wave is not None
        while not self._wave.done:
            if self.stop.is_set():
                return False
            results = self.engine.next_done(POLL)
            if self.stop.is_set():
                # Whoever stopped us may have signalled the workers too: their end says nothing of the candidates.
                results = [result for result in results if result.lost is None]
            if results:
                self._commit(self._wave.step(results))
            self._look()
        return True

    def _commit(self, step: Step) -> None:
        if step:
            self.store.write_step(step)
            self._take(step)

    def _take(self, step: Step) -> None:
        assert self._wave is not None
        self.history.apply(step)
        for planned in step.planned:
            self.engine.submit(self._wave.task(planned))

    # Tell.

    def _tell(self) -> None:
        assert self._wave is not None
        ids = self._wave.ids
        self._next_task = self._wave.next_task
        self._wave = None
        state = self.campaign.optimizer.tell(self._context(), self._state, ids)
        self._write_event("tell", {"first": ids[0], "count": len(ids)}, state)

    def _write_event(
        self, kind: str, detail: Json, state: Json, asked: Sequence[Candidate] = (), step: Step | None = None
    ) -> None:
        text = to_json(state)
        self.store.write_event(self._event + 1, kind, detail, text, asked, step)
        self._event += 1
        self._state = json.loads(text)  # exactly what a resumed run would read

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
        now_in = self._wave.at_stage() if self._wave else None
        return snapshot(
            self.campaign, self.history, state=state, reason=reason, elapsed=self.elapsed(), now_in=now_in
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
