"""A run in its folder: made, opened, executed, and read."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from invdesign import __version__, pareto
from invdesign.campaign.model import Budget, Campaign
from invdesign.candidate import Design, Genome, Input, Json, Status, Trial, canonical, to_json
from invdesign.environment import environment
from invdesign.errors import CampaignChangedError, RunError, StoreError, together
from invdesign.history import RunHistory
from invdesign.measurements import Measurement
from invdesign.protocols import Context, Engine, PreparedSpace, notes_of
from invdesign.rng import derived_seed
from invdesign.run import requests
from invdesign.run.changes import handed_out, refusal_of, told_detail
from invdesign.run.loop import MEASURING, STOPPED, Loop, Observer
from invdesign.run.notebook import is_interactive
from invdesign.run.requests import Request, new_request
from invdesign.run.status import FILE as STATUS_FILE
from invdesign.run.status import RunStatus, read_status, snapshot
from invdesign.run.table import trials_table
from invdesign.run.told import Taken, Told
from invdesign.run.work import settle
from invdesign.store.database import clear_errors, on_network
from invdesign.store.lock import is_held, run_lock
from invdesign.store.store import FILE, Store
from invdesign.structures.files import structure_from_json, unpack
from invdesign.worker import Setup

if TYPE_CHECKING:
    from pandas import DataFrame
    from pymatgen.core import Structure

    from invdesign.recommendation.values import Recommendation

T = TypeVar("T")
_NEVER = (-1, -1, -1)  # no store has this mark


class Run:
    """One run: looked at by anyone, executed by one process at a time.

    Make one with `Run.create`, or `Run.open` one that exists; `execute` works on it until the budget is
    reached, the space is exhausted, or it is told to stop. All else only reads.
    """

    def __init__(self, folder: Path, store: Store, campaign: Campaign) -> None:
        self.folder = folder
        self.campaign = campaign
        self.store = store
        self._mark = store.mark()  # before loading: what is written meanwhile shows as a change
        self._history = self._loaded(store)
        self._stop = threading.Event()
        self.ask_ended = ""  # why the last `ask` gave fewer than it was asked for
        self._recommended: tuple[tuple[object, ...], Recommendation] | None = None

    # Making and opening.

    @classmethod
    def create(cls, campaign: Campaign, folder: str | Path) -> Run:
        """A new run in `folder`, which may exist but must not hold a run.

        Raises:
            RunError: there is a run already, or a function of the campaign needs trust.
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        campaign.check_usable(
            f"invdesign run {campaign.file} --trust-code" if campaign.file else "load it with trust_code=True"
        )
        with clear_errors(folder / FILE):
            folder.mkdir(parents=True, exist_ok=True)
        with run_lock(folder):  # of two processes that start here at once, one makes the run
            if (folder / FILE).exists():
                raise RunError(
                    f"{folder} holds a run already. Go on with it: invdesign resume {folder}; "
                    "or choose another folder with --run-dir"
                )
            Store.create(folder / FILE, run_entries(campaign))
        return cls.open(folder, trust_code=True, functions=campaign.held_functions)

    @classmethod
    def open(cls, folder: str | Path, *, trust_code: bool = False, functions: Iterable[Any] = ()) -> Run:
        """The run in `folder`, for reading; `execute` takes hold of it.

        Args:
            trust_code: whether code beside its campaign may be imported, which runs it: classes at once, functions
                when the run works.
            functions: fitness functions that no module holds, to work with them again.

        Raises:
            StoreError: there is none, or it is damaged.
            RunError: it needs code that is not trusted, or has no such function.
            CampaignChangedError: a function is not the one it began with.
        """
        folder = Path(folder)
        store = Store.open(folder / FILE, writable=False)
        try:
            data = json.loads(store.entry("campaign"))
            if data["code"] and not trust_code:
                raise RunError(
                    f"{folder} imports code from {', '.join(data['code'])}, and importing it runs it. "
                    "If you trust it, say so with --trust-code."
                )
            campaign = Campaign.from_dump(data, trusted=trust_code)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the campaign stored in {folder} cannot be read by invdesign {__version__} "
                f"(it was made by {store.entry('created_by') or 'another version'}): {_brief(error)}"
            ) from error
        return cls(folder, store, campaign.with_functions(functions))

    def change(self, campaign: Campaign | None = None, budget: Mapping[str, float] | None = None) -> None:
        """Go on under a changed budget or engine; any other change is refused.

        Args:
            campaign: the campaign as it reads now.
            budget: limits that replace the campaign's, by name.

        Raises:
            CampaignChangedError: the campaign differs in more than that; the message is the difference.
        """
        new = campaign or self.campaign
        differences = self.campaign.changes(new)
        if differences:
            listed = "\n  ".join(differences)
            raise CampaignChangedError(
                f"the campaign was changed since {self.folder} was started:\n  {listed}\n"
                "A run goes on under the campaign it began with; only budget and engine may change. "
                "Undo the change, or take what it evaluated into a new run under the changed one: "
                f"invdesign fork {self.folder} NEW --campaign FILE"
            )
        dump: dict[str, Any] = new.dump()
        dump["budget"] = Budget.model_validate({**dump["budget"], **(budget or {})}).model_dump(mode="json")
        with run_lock(self.folder), _writable(self.folder) as store:
            store.set_entry("campaign", to_json(dump))
            if new.text:
                store.set_entry("campaign_text", new.text)
        changed = Campaign.from_dump(dump, trusted=self.campaign.trusted or new.trusted)
        self.campaign = changed.with_functions([*self.campaign.held_functions, *new.held_functions])

    def use_workers(self, workers: int) -> None:
        """Work with this many processes in this session; 0 evaluates in this one."""
        engine = self.campaign.engine.model_copy(update={"workers": workers})
        self.campaign = replace(self.campaign, engine=engine)

    # Working.

    def execute(self, observer: Observer | None = None) -> RunStatus:
        """Work on the run until it ends or is stopped (`stop`, SIGINT, SIGTERM).

        Args:
            observer: called with the status about five times a second.

        Raises:
            RunLockedError: another process holds the run.
            RunError: no worker can be set up, or too many candidates fail.
            StoreError: the store cannot be written; everything up to the last step is kept.
        """
        self._stop.clear()
        reason = self._working(lambda loop: loop.work(), str, observer)
        status = self._snapshot(_state(reason, ended=True, held=False), reason)
        with suppress(OSError):  # a copy for readers on network file systems; the store has it all
            status.write(self.folder)
        if observer is not None:
            observer(status)
        return status

    def _working(
        self, work: Callable[[Loop], T], reason: Callable[[T], str], observer: Observer | None = None
    ) -> T:
        """Hold the run while `work` is done on it, and note why it ended."""
        self.campaign.check_usable(f"invdesign resume {self.folder} --trust-code", self.folder)
        began = time.time_ns()
        with run_lock(self.folder), _writable(self.folder) as store, self._signals_handled():
            requests.forget_stops(self.folder, began)
            store.begin_session({**environment(Path.cwd()), "evaluators": self._identities()})
            try:
                result = self._session(store, observer, work)
            except KeyboardInterrupt:
                _end_session(store, STOPPED)
                raise
            except BaseException as error:
                _end_session(store, f"failed: {error}")
                raise
            _end_session(store, reason(result))
        self._seen_again()
        return result

    def _seen_again(self) -> None:
        """Read the store as it is now: an older one was brought to the present schema meanwhile."""
        if self.store.is_copy:
            self.store.close()
            self.store = Store.open(self.folder / FILE, writable=False)
        self._mark, self._history = self.store.mark(), self._up_to_date(self.store)

    def _session(self, store: Store, observer: Observer | None, work: Callable[[Loop], T]) -> T:
        self._history = self._up_to_date(store)
        if isinstance(self.campaign.space, PreparedSpace):
            self.campaign.space.prepare()  # a pool whose file changed fails here, not every candidate in the workers
        settle(self.folder, self._has_ended())  # before a worker may look
        campaign = self.campaign
        setup = Setup.of(campaign.space, campaign.evaluators, campaign.code, self.folder)
        engine: Engine = self.campaign.engine.open(setup)  # type: ignore[attr-defined]  # engines open for a setup
        try:
            self._mark = _NEVER  # until the loop has ended in good order, nobody knows what the history lacks
            loop = Loop(
                self.campaign,
                store,
                self._history,
                self.folder,
                engine,
                observer,
                self._stop,
                store.seconds(),
            )
            result = work(loop)
            self.campaign = replace(self.campaign, budget=loop.campaign.budget)
            self._mark = store.mark() if loop.settled else _NEVER
        finally:
            engine.close()
        settle(self.folder, self._has_ended())
        return result

    def _has_ended(self) -> Callable[[int], bool]:
        """What says of a candidate's number whether the run knows its end."""
        known, pending = len(self._history), set(self._history.pending())
        return lambda number: number < known and number not in pending

    # What users do: with results from outside, and with a run on its way.

    def ask(self, n: int = 1) -> list[int]:
        """Numbers of n candidates that wait for a measurement and were handed out to nobody before.

        New ones are asked for as needed, and go through the stages before; fewer where budget or space end.

        Raises:
            RunError: no stage of the campaign is measured outside.
        """
        if not self.campaign.measured_outside:
            raise RunError(
                f"nothing in {self.folder} is measured: no stage takes results from outside. "
                f"Go on with it: invdesign resume {self.folder}"
            )
        if n < 1:
            raise RunError(f"ask for at least one candidate, got {n}")
        self._stop.clear()
        given, self.ask_ended = self._working(lambda loop: loop.hand_out(n), lambda _: MEASURING)
        return given

    def tell(self, results: Sequence[Told], *, replace: bool = False) -> Taken:
        """Take up results from outside: all of them, or none where one is wrong.

        Results that were told before, word by word, change nothing. Several of one candidate are averaged.

        Args:
            results: of candidates by their numbers, or of genomes nobody asked for.
            replace: whether they stand in for what was told of these candidates before; that is kept as history.

        Raises:
            RunError: something is wrong with a result; the message says it of all.
        """
        if not results:
            return Taken()
        return self.apply(new_request("tell", told_detail(results, replace=replace)))

    def add(self, genomes: Sequence[Genome], until: str | None = None) -> list[int]:
        """Evaluate these genomes next; numbers of the new candidates.

        Args:
            until: the last stage they run; known ones that ended before it are taken further.

        Raises:
            RunError: a genome is none of the space's, or all are known already.
        """
        refused = [refusal_of(self.campaign.space, genome) for genome in genomes]
        complaints = [f"genome {n}: {said}" for n, said in enumerate(refused, 1) if said]
        if complaints:
            raise RunError(f"{together(complaints)}. Nothing was added.")
        detail: dict[str, Json] = {"genomes": [canonical(genome) for genome in genomes], "until": until}
        return list(self.apply(new_request("add", detail)).added)

    def promote(self, ids: Sequence[int], stage: str) -> list[int]:
        """Send complete candidates on to a further stage; numbers of the trials that do it.

        Raises:
            RunError: there is no such stage, or a candidate is not complete.
        """
        return self.add([self.trial(id).genome for id in ids], until=stage)

    def withdraw(
        self, ids: Sequence[int], reason: str, *, again: bool = False, measurements: Sequence[int] = ()
    ) -> None:
        """Take back what is known of candidates, with a reason; the history is kept.

        Args:
            again: whether they are evaluated anew, or wait to be measured again; else they count no more.
            measurements: numbers of those that are taken back; by default all that is known.

        Raises:
            RunError: there is no such candidate or measurement.
        """
        detail: dict[str, Json] = {"ids": list(ids), "reason": reason, "again": again}
        self.apply(new_request("withdraw", {**detail, "measurements": list(measurements)}))

    def apply(self, request: Request) -> Taken:
        """Do what a request says, and all that follows from it without the user.

        Raises:
            RunError: it cannot be done; nothing was changed.
            RunLockedError: another process works on the run: leave the request for it.
        """

        def work(loop: Loop) -> Taken:
            loop.take_up()
            taken = loop.carry_out(request)
            requests.done(self.folder, request)
            return taken

        self._stop.clear()
        rows = self.store.session_rows()
        before = rows[-1]["reason"] if rows and rows[-1]["ended"] else ""  # a finished run stays one
        return self._working(
            work, lambda _: MEASURING if self.campaign.measured_outside else before or STOPPED
        )

    def waiting(self) -> dict[str, list[int]]:
        """Numbers of the candidates that wait for results from outside, by stage."""
        found: dict[str, list[int]] = {}
        if not any(stage.external for stage in self.campaign.stages):
            return found
        for id in self._history.pending():
            stage = self._waits_at(id)
            if stage:
                found.setdefault(stage, []).append(id)
        return found

    def _waits_at(self, id: int) -> str:
        known = {result.stage for result in self.store.results(id)}
        if not self.store.is_built(id):
            return ""
        stage = next((stage for stage in self.campaign.stages if stage.name not in known), None)
        if stage is None or not stage.external:
            return ""
        return "" if self.store.measured([self._history.candidate(id).key], stage.name) else stage.name

    def handed_out(self) -> list[int]:
        """Of the candidates that wait, those that were handed out."""
        given = handed_out(self.store.user_events())
        return [id for ids in self.waiting().values() for id in ids if id in given]

    def measurements(self, id: int | None = None) -> list[Measurement]:
        """What was told from outside, with what was taken back; of all genomes, or of one candidate's."""
        return self.store.measurements(None if id is None else [self.trial(id).candidate.key])

    def inputs(self, ids: Sequence[int], stage: str) -> list[Input]:
        """What a stage's evaluator sees of these candidates: their designs, and what earlier stages found."""
        found = []
        for id in ids:
            trial, design = self.trial(id), self.design(id)
            made = {role: self.structure(id, role) for role in trial.structures}
            structures = {**design.structures, **{r: s for r, s in made.items() if s is not None}}
            seed = derived_seed(f"{trial.candidate.key} {stage}") >> 1
            found.append(Input(trial.candidate, design, trial.properties, structures, seed))
        return found

    def _up_to_date(self, store: Store) -> RunHistory:
        """The history as the store has it now: loading takes seconds for 100,000 trials, so not without need."""
        if store.mark() != self._mark:
            return self._loaded(store)
        self._history.fetch = store.candidate
        return self._history

    def _loaded(self, store: Store) -> RunHistory:
        return store.load_history(RunHistory(self.campaign.problem, store.candidate, self.campaign.all_views))

    def _identities(self) -> dict[str, dict[str, str | None]]:
        """Which model, weights and settings every stage works with."""
        return {
            name: {"fingerprint": evaluator.fingerprint, "potential": evaluator.potential_id}
            for name, evaluator in self.campaign.evaluators.items()
        }

    def stop(self) -> None:
        """Ask `execute`, in another thread, to finish its transaction and return."""
        self._stop.set()

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM lets the transaction finish; a second SIGINT leaves at once.

        Where somebody types at this Python, what it holds outlives that.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[int] = []

        def handle(number: int, _frame: object) -> None:
            received.append(number)
            self._stop.set()
            if len(received) > 1 and number == signal.SIGINT:
                if is_interactive():
                    raise KeyboardInterrupt
                os._exit(130)  # a transaction under way is rolled back when the store is opened again

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # Reading.

    @property
    def history(self) -> RunHistory:
        """Every trial."""
        return self._history

    def status(self) -> RunStatus:
        """Where the run stands, also while another process works on it."""
        rows = self.store.session_rows()
        state, reason = "new", ""
        if rows:
            reason = rows[-1]["reason"] or ""
            state = _state(reason, ended=rows[-1]["ended"] is not None, held=is_held(self.folder))
        return self._snapshot(state, reason)

    def _snapshot(self, state: str, reason: str) -> RunStatus:
        elapsed = self.store.seconds()
        _, left = self.store.last_event() or (-1, None)
        notes = (*self._origin(), *notes_of(left).values())
        waiting = {stage: len(ids) for stage, ids in self.waiting().items()}
        return snapshot(
            self.campaign,
            self._history,
            state=state,
            reason=reason,
            elapsed=elapsed,
            notes=notes,
            waiting=waiting,
        )

    def _origin(self) -> tuple[str, ...]:
        """A sentence of where the run was forked from, if it was."""
        text = self.store.entry("forked_from")
        return (json.loads(text)["note"],) if text else ()

    def trial(self, id: int) -> Trial:
        """One trial.

        Raises:
            RunError: there is no such candidate.
        """
        if not 0 <= id < len(self._history):
            raise RunError(
                f"there is no candidate {id}; this run has {len(self._history)} (0 to {len(self._history) - 1})"
            )
        return self._history.trial(id)

    def design(self, id: int) -> Design:
        """What a candidate's genome stands for, built again."""
        return self.campaign.space.build(self.trial(id).genome)

    def structure(self, id: int, role: str = "") -> Structure | None:
        """A candidate's structure.

        Args:
            role: "relaxed", "initial", ...; by default the last one an evaluator made, else the initial one.
        """
        trial = self.trial(id)
        role = role or (trial.structures[-1] if trial.structures else "initial")
        if role in trial.structures:
            blob = self.store.structure(id, role)
            if blob is not None:
                return structure_from_json(unpack(blob))
        if trial.status is Status.INFEASIBLE:
            return None
        return self.design(id).structures.get(role)

    def ranking(self) -> Sequence[int]:
        """Numbers of all trials, best first: feasible by Pareto rank or score, then by violation, gated, failed."""
        scores = self._history.scores()
        return [int(id) for id in scores.ids[scores.order()]]

    def front(self) -> Sequence[int]:
        """Numbers of the feasible trials no other dominates, in the order of the first objective.

        Of one objective, or of objectives combined to one score, these are the best trial and its equals.
        """
        standing = self._history.standing()
        if not standing.feasible:
            return []
        return [int(id) for id in standing.front[np.argsort(standing.values[:, 0], kind="stable")]]

    def front_table(self) -> DataFrame:
        """The front's members as rows, in the order of `front`; columns as in `table`."""
        return self.table().iloc[list(self.front())].reset_index(drop=True)

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """How much of the space of several objectives the front dominates, up to a reference point.

        Args:
            reference: coordinate by property, in its unit (of a target or window the distance from it), the same
                for all runs that are compared. By default the campaign's own, or else a point a tenth of the
                range beyond the worst feasible value of each objective, which is the run's own; `status` says it.

        Returns:
            Volume in the product of the objectives' units, 0 where no feasible trial beats the reference. Where
            candidates are ranked by one number there is no volume, and this is the best so far: the property of
            the single objective, in its unit, or the desirability; NaN while no trial is feasible.

        Raises:
            RunError: the reference does not name every objective.

        Source:
            Zitzler & Thiele, IEEE Trans. Evol. Comput. 3, 257 (1999).
        """
        problem, standing = self.campaign.problem, self._history.standing()
        try:
            given = problem.reference if reference is None else problem.point(reference)
        except ValueError as error:
            raise RunError(f"the reference point of a hypervolume {error}") from error
        if problem.n_values == 1:
            best = self.status().best[0].value
            return float("nan") if best is None else best
        point = standing.reference() if given is None else given
        return 0.0 if point is None or not standing.feasible else pareto.hypervolume(standing.values, point)

    def desirability(self) -> NDArray[np.float64] | None:
        """Shape (n,), between 0 and 1, NaN where unknown; None where the objectives have no scale to judge by."""
        problem = self.campaign.problem
        return problem.desirability(problem.minimised(self._history.column)) if problem.judged else None

    def top(self, n: int = 10) -> list[dict[str, Any]]:
        """The n best complete trials as plain mappings, best first; a genome taken further only as it ended."""
        status, earlier = self._history.status(), set(self._history.superseded())
        complete = [id for id in self.ranking() if status[id] == Status.COMPLETE and id not in earlier][:n]
        front = set(self.front())
        judged = self.desirability()
        rows = [
            {"rank": rank, **self.row(id), "on_front": id in front} for rank, id in enumerate(complete, 1)
        ]
        if judged is not None:
            for row in rows:
                value = float(judged[row["candidate"]])
                row["desirability"] = None if np.isnan(value) else value
        return rows

    def row(self, id: int) -> dict[str, Any]:
        """One trial as a plain mapping."""
        trial = self._history.trial(id)
        return {
            "candidate": id,
            "formula": self.store.formula(id),
            "status": trial.status.name.lower(),
            "properties": dict(trial.properties),
            "uncertainties": dict(trial.uncertainties),
            "passed": self._history.reached_by(id),
            "earlier": [list(found) for found in self._history.earlier(id)],
            "operator": trial.candidate.proposal.operator,
            "parents": list(trial.candidate.proposal.parents),
            "genome": dict(trial.genome),
            "gate": trial.gate,
            "failure": [trial.failure.kind, trial.failure.stage, trial.failure.message]
            if trial.failure
            else None,
        }

    def table(self) -> DataFrame:
        """Every trial as a row: number, formula, status, properties, uncertainties, lineage, genome, cause."""
        return trials_table(self.store, self._history, self.desirability())

    def recommend(self, properties: Sequence[str] = ()) -> Recommendation:
        """What to take from the run: the best or the front with credible intervals, and how far to trust the models.

        Models are fitted anew, whatever the optimizer was, which takes seconds; asked again, the answer is kept.

        Args:
            properties: those whose models are judged and explained; by default all the objectives and constraints
                read.

        Raises:
            RecommendationError: the run knows no such property.
        """
        from invdesign.recommendation.recommend import Names, recommend

        asked = (len(self._history), len(self._history.pending()), tuple(properties))
        if self._recommended is None or self._recommended[0] != asked:
            campaign = self.campaign
            context = Context(
                campaign.space, campaign.problem, self._history, campaign.seed, stages=campaign.views
            )
            found = recommend(
                context,
                Names(self.store.formula, campaign.units()),
                optimizer=campaign.optimizer,
                properties=properties,
                notes=self.status().notes,
            )
            self._recommended = asked, found
        return self._recommended[1]

    def digest(self) -> str:
        """Hash of everything the search found and decided; equal runs have equal digests."""
        return self.store.digest()

    def _repr_html_(self) -> str:
        from invdesign.run.card import run_html

        return run_html(self)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


def run_entries(campaign: Campaign) -> dict[str, str]:
    """What a new run's store says of it."""
    return {
        "campaign": to_json(campaign.dump()),
        "campaign_text": campaign.text,
        "fingerprint": campaign.fingerprint,
        "created_by": __version__,
    }


@contextmanager
def _writable(folder: Path) -> Iterator[Store]:
    store = Store.open(folder / FILE)
    try:
        yield store
    finally:
        store.close()


def _brief(error: Exception) -> str:
    """The first line a person needs of an error; pydantic's has many more."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())


def _end_session(store: Store, reason: str) -> None:
    """Note the end; where the disk is full not even that can be written, and the next start checks the store."""
    try:
        store.end_session(reason)
    except StoreError:
        if not reason.startswith("failed"):
            raise


def _state(reason: str, *, ended: bool, held: bool) -> str:
    if held:
        return "running"
    if not ended:
        return "interrupted"
    if reason.startswith("failed"):
        return "failed"
    if reason == MEASURING:
        return "waiting"
    return "stopped" if reason == STOPPED else "finished"


def run_status(folder: str | Path, *, trust_code: bool = False) -> RunStatus:
    """Where the run in `folder` stands, also while another process works on it; see `Run.open`.

    Raises:
        StoreError: there is no run, or it cannot be read.
    """
    folder = Path(folder)
    if on_network(folder) and is_held(folder) and (folder / STATUS_FILE).is_file():
        return read_status(folder)  # the store itself is locked there
    return Run.open(folder, trust_code=trust_code).status()
