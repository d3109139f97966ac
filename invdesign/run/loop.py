"""Ask, evaluate, commit, tell: one session's work on a run, every step of it in a transaction."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from invdesign.campaign.model import Campaign
from invdesign.candidate import Candidate, Json, Proposal, Status, genome_key, to_json
from invdesign.errors import RefusedError, RunError
from invdesign.evaluation import Wave
from invdesign.history import RunHistory
from invdesign.protocols import Context, Engine, InheritingSpace, collect_notes
from invdesign.run import budgets, requests
from invdesign.run.changes import Change, find_handed_out, plan_change
from invdesign.run.requests import Request
from invdesign.run.status import (
    RunStatus,
    counted_failures,
    describe_origin,
    failure_counts,
    take_snapshot,
)
from invdesign.run.told import Taken
from invdesign.run.work import settle_folders
from invdesign.steps import Step, Unfinished, UserEvent
from invdesign.store.lock import holding_session
from invdesign.store.store import Store

POLL_SECONDS = 0.2  # between looks at signals and the display (chosen)
STATUS_SECONDS = 1.0  # between writes of the status file (chosen)
MIN_CANDIDATES_FOR_RATE = 20  # below this, a rate of failures means nothing (chosen)
BUDGET_REACHED = "budget reached"
EXHAUSTED = "space exhausted: every candidate was proposed"
NEEDS_RESULTS = (
    "nothing new: the optimizer wants results of some that wait first, or every candidate was proposed"
)
STOPPED = "stopped"
WAITS_FOR_MEASUREMENTS = "waiting for measurements"
LOGGER = logging.getLogger("invdesign.run")
Observer = Callable[[RunStatus], None]


@dataclass(slots=True)
class _Flight:
    """A wave under way, with steps the optimizer must not see yet.

    Attributes:
        by_user: true if the user started it, not the optimizer.
        parted: whether its candidates are told one by one.
        event: number of the event that set it on its way: several that go on at once do so in this order.
        told: those of its candidates the optimizer was told of.
    """

    wave: Wave
    held: list[Step] = field(default_factory=list)
    by_user: bool = False
    parted: bool = False
    event: int = 0
    told: set[int] = field(default_factory=set)

    @property
    def untold_ids(self) -> list[int]:
        """Candidates that ended since the optimizer was last told."""
        return [id for id in self.wave.ended if id not in self.told]


@dataclass
class Loop:
    """State of a run while a process works on it.

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
        self._numbers = _TaskNumbers(self.store.next_task_number())
        self._state: Json
        self._event, self._state = self.store.last_event() or (-1, None)
        self._stages = self.campaign.views
        self._said = set(collect_notes(self._state))
        self._origin = describe_origin(self.store)
        # Results of one wave are seen at once; of several under way each when it is told, since an optimizer
        # that saw what happened to be finished would not repeat itself.
        outside = any(stage.external or stage.on_demand for stage in self.campaign.stages)
        self._holds = self.campaign.optimizer.overlap > 1 or outside
        self._flights = deque(self._restore_flight(rest) for rest in self.store.load_unfinished())
        self._aside: list[_Flight] = []  # waves that wait for the user
        self._session = holding_session(self.folder)
        self._later: set[str] = set()  # requests that are taken up between two waves

    def run_until_end(self) -> str:
        """Work until the run ends or is stopped, and return the reason.

        Raises:
            RunError: no worker can be set up, or too many candidates fail.
            StoreError: the store cannot be written; everything up to the last step is kept.
        """
        self.restore_session()
        while not self.stop.is_set():
            self.apply_requests()
            if self.stop.is_set():
                break
            reason = WAITS_FOR_MEASUREMENTS if self.campaign.measured_outside else self._open_waves()
            if not self._flights:
                return reason
            if not self._finish_oldest_wave():
                return STOPPED
            self._tell_oldest_wave()
            self._check_failures()
        return STOPPED

    def restore_session(self) -> None:
        """Begin the run, or go on where the last session ended.

        Changes by the user that were under way are finished first.
        """
        if self._event < 0:
            self._write_event("start", None, self.campaign.optimizer.start(self._make_context()))
        by_user = self.campaign.measured_outside
        for flight in list(self._flights):
            for task in flight.wave.list_unfinished_tasks():
                self.engine.submit(task)
            self._commit_step(flight, flight.wave.apply_results())
            if flight.wave.idle and not flight.untold_ids:
                self._flights.remove(flight)
                self._put_aside(flight)
            else:
                by_user |= flight.by_user
        if by_user:
            self.finish_waves()

    def finish_waves(self) -> bool:
        """Finish all waves as far as they go without the user.

        False if the run was told to stop.
        """
        while self._flights:
            if not self._finish_oldest_wave():
                return False
            self._tell_oldest_wave()
        return True

    @property
    def is_settled(self) -> bool:
        """True if the history holds all that the store holds."""
        return not (self._holds and self._flights)

    # What users do.

    def waiting_candidates(self) -> dict[int, str]:
        """External stage by number of the candidate that waits there."""
        return {id: stage for flight in self._aside for id, stage in flight.wave.list_waiting().items()}

    def hand_out(self, n: int) -> tuple[list[int], str]:
        """Hand out `n` candidates for measurement, asking for new ones as needed.

        Returns:
            Their numbers, and why there are fewer than n, if so.
        """
        self.restore_session()
        self.apply_requests()
        given, reason = find_handed_out(self.store.user_events()), ""
        fresh = [id for id in sorted(self.waiting_candidates()) if id not in given]
        while len(fresh) < n and not reason:
            reason = self._open_wave(n - len(fresh)) if not self.stop.is_set() else STOPPED
            if not reason and not self.finish_waves():
                reason = STOPPED
            fresh = [id for id in sorted(self.waiting_candidates()) if id not in given]
            self._check_failures()
        if fresh and reason != STOPPED:
            self._write_event("hand_out", {"ids": list(fresh[:n])}, self._state)
        return ([] if reason == STOPPED else fresh[:n]), reason

    def apply_request(self, request: Request) -> Taken:
        """Apply a `request` of the user as an event, with all that follows.

        Raises:
            InvdesignError: it cannot be done; nothing was changed.
        """
        if request.kind == "stop":
            if requests.is_meant(request, self._session) or "session" not in request.detail:
                self.stop.set()
            return Taken()
        if request.kind == "budget":
            budget = budgets.change_by_request(self.store, request)
            self.campaign = budgets.replace_budget(self.campaign, budget)
            return Taken()
        if not self.finish_waves():
            raise RunError("the run was stopped before it could take this up")
        if self.store.has_taken_up(request.id):
            LOGGER.info(
                "Request %s was taken up before, and is not again; a new one needs a new name.", request.id
            )
            return Taken()
        change = plan_change(request, self.campaign, self.history, self.store, self.waiting_candidates())
        if change.is_empty:
            return change.describe_outcome(self.history, self.campaign.funnel)
        self._write_change(change)
        self.finish_waves()
        return change.describe_outcome(self.history, self.campaign.funnel)

    def _write_change(self, change: Change) -> None:
        """Write a change by the user, and start what follows from it."""
        for flight in self._aside:
            for id in change.released & flight.wave.list_waiting().keys():
                flight.wave.release_candidate(id)
                flight.told.add(id)
        for candidate in change.added:
            self.history.add_candidate(candidate.id, candidate.key, candidate)
        for ending, _ in change.event.withdrawn:
            self.history.reset_trial(ending.candidate)
            self.history.finish_trial(ending)
        state = self._state
        if change.untold:
            state = self._tell_optimizer(state, sorted(change.untold))
        event = self._event + 1
        settle_folders(self.folder, {id for id, _ in change.event.reopened}.__contains__)
        self._write_event(change.kind, change.detail, state, change.added, user=change.event)
        for id, _ in change.event.reopened:
            self.history.reopen_trial(id, self.store.load_results(id))
        waiting, self._aside = sorted(self._aside, key=lambda flight: flight.event), []
        for flight in waiting:
            step = flight.wave.apply_results()
            if step:
                self._hold_results(flight)
                self._commit_step(flight, step)
                self._flights.append(flight)
            elif not flight.wave.done:
                self._aside.append(flight)
        if change.added or change.event.reopened:
            flight = self._restore_flight(self.store.load_opened(event))
            self._flights.append(flight)
            self._commit_step(flight, flight.wave.apply_results())

    def _hold_results(self, flight: _Flight) -> None:
        """Hold the known results of a wave until it is told, as after a restart."""
        if self._holds:
            for id in set(flight.wave.ids) - flight.told:
                known = self.store.load_results(id)
                self.history.reset_trial(id)
                flight.held.append(Step(results=known))

    def apply_requests(self, before: Request | None = None, skip: Collection[str] = ()) -> None:
        """Apply the requests in the run's folder, in order.

        Args:
            before: only what was left before this request.
            skip: ids of requests that go on waiting.
        """
        for request in requests.waiting_requests(self.folder, skip):
            if self.stop.is_set():
                return
            if before is not None and requests.sort_key(request.id) >= requests.sort_key(before.id):
                continue
            if requests.is_waiting(self.folder, request):  # else taken up at once, on the way of one before
                self._try_request(request)

    def _apply_urgent_requests(self) -> None:
        """Apply requests that need not wait for a wave: stop, and budget."""
        for request in requests.waiting_requests(self.folder, skip=self._later):
            if request.kind in {"stop", "budget"}:
                self._try_request(request)
            else:
                self._later.add(request.id)

    def _try_request(self, request: Request) -> None:
        """Apply a request and remove it; set it aside if that fails."""
        try:
            self.apply_request(request)
        except RefusedError as error:
            requests.set_refused(self.folder, request, str(error))
        except RunError:
            if not self.stop.is_set():  # else it waits for the next session
                raise
        else:
            requests.remove_request(self.folder, request)

    # Ask.

    def _open_waves(self) -> str:
        """Open waves up to the optimizer's overlap; returns why there are fewer."""
        while len(self._flights) < self.campaign.optimizer.overlap:
            reason = self._open_wave()
            if reason:
                return reason
        return ""

    def _open_wave(self, wanted: int | None = None) -> str:
        """Open a wave; returns the reason if budget or optimizer give none.

        Args:
            wanted: how many candidates; the optimizer's batch where not given.
        """
        n = self._limit_to_budget(self.campaign.optimizer.batch if wanted is None else wanted)
        if n <= 0:
            return BUDGET_REACHED
        context = self._make_context()
        proposals, state = self.campaign.optimizer.ask(context, self._state, n)
        first = len(self.history)
        new = enumerate(admit_proposals(context, proposals).items())
        asked = [Candidate(first + number, key, proposal) for number, (key, proposal) in new]
        if not asked:
            return NEEDS_RESULTS if self._aside and self.campaign.measured_outside else EXHAUSTED
        told = self._flights[0].wave.ids[0] if self._flights else first
        flight = _Flight(self._make_wave(asked, told), event=self._event + 1)
        task = self._numbers.following
        step = flight.wave.apply_results()
        detail: Json = {"n": n, "first": first, "count": len(asked), "told": told}
        self._write_event("ask", detail, state, asked, step, task=task)
        for candidate in asked:
            self.history.add_candidate(candidate.id, candidate.key, candidate)
        self._flights.append(flight)
        self._apply_step(flight, step)
        return ""

    def _make_wave(self, asked: Sequence[Candidate], told: int) -> Wave:
        space = self.campaign.space
        found = self.store.find_cached, self._numbers, told, self.store.combine_measurements
        roles = space.inherits_from if isinstance(space, InheritingSpace) else ()
        return Wave(asked, self.campaign.funnel, *found, inherits_from=roles)

    def _make_context(self) -> Context:
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

    def _limit_to_budget(self, wanted: int) -> int:
        """Number of candidates to ask for, within the budget."""
        budget = self.campaign.budget
        left = [wanted]
        if budget.candidates is not None:
            left.append(budget.candidates - len(self.history))
        if budget.evaluations is not None:
            before_last = len(self.campaign.views)
            under_way = sum(
                flight.wave.count_for_last_stage(flight.told) for flight in (*self._flights, *self._aside)
            )
            stopped = (self.history.status_by_trial() == Status.COMPLETE) & (
                self.history.depth_by_trial() == before_last
            )
            entered = int(((self.history.depth_by_trial() >= before_last) & ~stopped).sum())
            left.append(budget.evaluations - entered - under_way)
        if budget.hours is not None and self.elapsed() >= 3600 * budget.hours:
            left.append(0)
        return min(left)

    # Evaluate and commit.

    def _restore_flight(self, rest: Unfinished) -> _Flight:
        """Restore a wave of the last session; a finished one is still to be told."""
        wave = self._make_wave(rest.asked, rest.told)
        wave.restore(rest)
        flight = _Flight(wave, by_user=rest.by_user, parted=rest.parted, event=rest.event)
        if self._holds:
            for candidate in rest.asked:
                self.history.reset_trial(candidate.id)
            flight.held.append(Step(results=list(rest.results), finished=list(rest.finished)))
        return flight

    def _finish_oldest_wave(self) -> bool:
        """Finish the oldest wave as far as it goes.

        False if the run was told to stop.
        """
        oldest = self._flights[0]
        while not oldest.wave.done and not oldest.wave.idle:
            if self.stop.is_set():
                return False
            results = self.engine.next_done(POLL_SECONDS)
            if self.stop.is_set():
                # The signal that stopped us may have reached the workers too: their end says nothing of the candidates.
                results = [result for result in results if result.lost is None]
            for flight in self._flights if results else ():
                of_its = [result for result in results if flight.wave.awaits_task(result.id)]
                if of_its:
                    self._commit_step(flight, flight.wave.apply_results(of_its))
            self._poll_and_show()
        return True

    def _commit_step(self, flight: _Flight, step: Step) -> None:
        if step:
            self.store.write_step(step)
            self._apply_step(flight, step)

    def _apply_step(self, flight: _Flight, step: Step) -> None:
        if self._holds:
            flight.held.append(step)
        else:
            self.history.apply_step(step)
        for planned in step.planned:
            self.engine.submit(flight.wave.encode_task(planned))

    # Tell.

    def _tell_oldest_wave(self) -> None:
        """Tell the optimizer the ended candidates of the oldest wave.

        The rest of the wave waits for the user.
        """
        flight = self._flights.popleft()
        for step in flight.held:
            self.history.apply_step(step)
        flight.held.clear()
        ids = flight.untold_ids
        if ids:
            state = self._tell_optimizer(self._state, ids)
            flight.parted |= flight.by_user or len(ids) < len(flight.wave.ids)
            whole = not flight.parted
            detail: Json = {"first": ids[0], "count": len(ids)} if whole else {"ids": list(ids)}
            self._write_event("tell", detail, state)
            flight.told.update(ids)
        self._put_aside(flight)

    def _tell_optimizer(self, state: Json, ids: Sequence[int]) -> Json:
        """State of the optimizer after a tell.

        It is not told of candidates made outside the space.
        """
        outside = set(self.history.outside())
        inside = [id for id in ids if id not in outside]
        return self.campaign.optimizer.tell(self._make_context(), state, inside) if inside else state

    def _put_aside(self, flight: _Flight) -> None:
        if not flight.wave.done:
            for step in flight.held:  # of those that wait, what earlier stages said may be seen
                self.history.apply_step(step)
            flight.held.clear()
            self._aside.append(flight)

    def _write_event(
        self,
        kind: str,
        detail: Json,
        state: Json,
        asked: Sequence[Candidate] = (),
        step: Step | None = None,
        *,
        task: int | None = None,
        user: UserEvent | None = None,
    ) -> None:
        text = to_json(state)
        task = self._numbers.following if task is None else task
        self.store.write_event(self._event + 1, kind, detail, text, asked, step, task=task, user=user)
        self._event += 1
        self._state = json.loads(text)  # exactly what a resumed run would read
        self._log_notes()

    def _log_notes(self) -> None:
        """Log each note of the optimizer once in the run."""
        for code, sentence in collect_notes(self._state).items():
            if code not in self._said:
                self._said.add(code)
                LOGGER.info("%s", sentence)

    def _check_failures(self) -> None:
        status = self.history.status_by_trial()
        failed = int((status == Status.FAILED).sum())
        if len(status) < MIN_CANDIDATES_FOR_RATE or failed <= self.campaign.max_failure_rate * len(status):
            return
        causes = list(failure_counts(self.history).items())[:3]
        listed = ", ".join(f"{cause} ({count})" for cause, count in causes)
        example = next(iter(counted_failures(self.history).values())).message
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
        """Status of the run now.

        Args:
            state: see `RunStatus`.
            reason: why it is not running.
        """
        flights = (*self._flights, *self._aside)
        now_in = [sum(counts) for counts in zip(*(f.wave.count_by_stage() for f in flights), strict=True)]
        return take_snapshot(
            self.campaign,
            self.history,
            state=state,
            reason=reason,
            elapsed=self.elapsed(),
            now_in=now_in or None,
            notes=(*self._origin, *collect_notes(self._state).values()),
            waiting=Counter(self.waiting_candidates().values()),
        )

    def _poll_and_show(self) -> None:
        now = time.monotonic()
        if now - self._last_look < POLL_SECONDS:
            return
        self._last_look = now
        self.store.check_place()
        self._apply_urgent_requests()
        if self.observer is None and now - self._last_write < STATUS_SECONDS:
            return
        status = self.status("running")
        if self.observer is not None:
            self.observer(status)
        if now - self._last_write >= STATUS_SECONDS:
            with suppress(OSError):  # a copy for readers on network file systems; the store has it all
                status.write(self.folder)
            self._last_write = now


class _TaskNumbers:
    """Numbers of tasks, with a look at the next one."""

    def __init__(self, first: int) -> None:
        self.following = first

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        self.following += 1
        return self.following - 1


def admit_proposals(context: Context, proposals: Sequence[Proposal]) -> dict[str, Proposal]:
    """Keep `proposals` of new genomes and promotions, by key.

    An optimizer that repeats itself costs no evaluation. `context` knows what is new.
    """
    fresh: dict[str, Proposal] = {}
    for proposal in proposals:
        key = genome_key(proposal.genome)
        if context.admits(key, proposal.until):
            fresh.setdefault(key, proposal)
    return fresh
