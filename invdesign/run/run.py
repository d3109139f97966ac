"""A run in its folder: made, opened, executed, and read."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from invdesign import __version__, pareto
from invdesign.campaign.model import Budget, Campaign
from invdesign.candidate import Design, Status, Trial, to_json
from invdesign.environment import environment
from invdesign.errors import CampaignChangedError, RunError, StoreError
from invdesign.history import RunHistory
from invdesign.protocols import Context, Engine, PreparedSpace, notes_of
from invdesign.run.loop import STOPPED, Loop, Observer
from invdesign.run.status import FILE as STATUS_FILE
from invdesign.run.status import RunStatus, read_status, snapshot
from invdesign.run.table import trials_table
from invdesign.store.database import clear_errors, on_network
from invdesign.store.lock import is_held, run_lock
from invdesign.store.store import FILE, Store
from invdesign.structures.files import structure_from_json, unpack
from invdesign.worker import setup_json

if TYPE_CHECKING:
    from pandas import DataFrame
    from pymatgen.core import Structure

    from invdesign.recommendation.values import Recommendation

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
        self._recommended: tuple[tuple[object, ...], Recommendation] | None = None

    # Making and opening.

    @classmethod
    def create(cls, campaign: Campaign, folder: str | Path) -> Run:
        """A new run in `folder`, which may exist but must not hold a run.

        Raises:
            RunError: there is a run already.
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        entries = {
            "campaign": to_json(campaign.dump()),
            "campaign_text": campaign.text,
            "fingerprint": campaign.fingerprint,
            "created_by": __version__,
        }
        with clear_errors(folder / FILE):
            folder.mkdir(parents=True, exist_ok=True)
        with run_lock(folder):  # of two processes that start here at once, one makes the run
            if (folder / FILE).exists():
                raise RunError(
                    f"{folder} holds a run already. Go on with it: invdesign resume {folder}; "
                    "or choose another folder with --run-dir"
                )
            Store.create(folder / FILE, entries)
        return cls.open(folder, trust_code=True)

    @classmethod
    def open(cls, folder: str | Path, *, trust_code: bool = False) -> Run:
        """The run in `folder`, for reading; `execute` takes hold of it.

        Args:
            trust_code: whether code beside its campaign may be imported, which runs it.

        Raises:
            StoreError: there is none, or it is damaged.
            RunError: it needs code that is not trusted.
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
            campaign = Campaign.from_dump(data)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the campaign stored in {folder} cannot be read by invdesign {__version__} "
                f"(it was made by {store.entry('created_by') or 'another version'}): {_brief(error)}"
            ) from error
        return cls(folder, store, campaign)

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
                "Undo the change, or start a new run with --run-dir."
            )
        dump: dict[str, Any] = new.dump()
        dump["budget"] = Budget.model_validate({**dump["budget"], **(budget or {})}).model_dump(mode="json")
        with run_lock(self.folder), _writable(self.folder) as store:
            store.set_entry("campaign", to_json(dump))
            if new.text:
                store.set_entry("campaign_text", new.text)
        self.campaign = Campaign.from_dump(dump)

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
        with run_lock(self.folder), _writable(self.folder) as store, self._signals_handled():
            store.begin_session({**environment(Path.cwd()), "evaluators": self._identities()})
            try:
                reason = self._session(store, observer)
            except BaseException as error:
                _end_session(store, f"failed: {error}")
                raise
            _end_session(store, reason)
        self._mark, self._history = self.store.mark(), self._up_to_date(self.store)
        status = self._snapshot(_state(reason, ended=True, held=False), reason)
        with suppress(OSError):  # a copy for readers on network file systems; the store has it all
            status.write(self.folder)
        if observer is not None:
            observer(status)
        return status

    def _session(self, store: Store, observer: Observer | None) -> str:
        self._history = self._up_to_date(store)
        if isinstance(self.campaign.space, PreparedSpace):
            self.campaign.space.prepare()  # a pool whose file changed fails here, not every candidate in the workers
        setup = setup_json(self.campaign.space, self.campaign.evaluators, self.campaign.code)
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
            reason = loop.work()
            self._mark = store.mark() if loop.settled else _NEVER
            return reason
        finally:
            engine.close()

    def _up_to_date(self, store: Store) -> RunHistory:
        """The history as the store has it now: loading takes seconds for 100,000 trials, so not without need."""
        if store.mark() != self._mark:
            return self._loaded(store)
        self._history.fetch = store.candidate
        return self._history

    def _loaded(self, store: Store) -> RunHistory:
        return store.load_history(RunHistory(self.campaign.problem, store.candidate, self.campaign.views))

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
        """The first SIGINT or SIGTERM lets the transaction finish; a second SIGINT leaves at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[int] = []

        def handle(number: int, _frame: object) -> None:
            received.append(number)
            self._stop.set()
            if len(received) > 1 and number == signal.SIGINT:
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
        notes = tuple(notes_of(left).values())
        return snapshot(
            self.campaign, self._history, state=state, reason=reason, elapsed=elapsed, notes=notes
        )

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
        status = self.status()
        head = f"{escape(status.name)}: {status.state}, {status.counts['asked']} candidates, front of {status.front_size}"
        names = [objective.property for objective in self.campaign.problem.objectives]
        cells = "".join(f"<th>{escape(name)}</th>" for name in ["candidate", "formula", *names])
        body = ""
        for row in self.top(5):
            values = "".join(f"<td>{row['properties'].get(name, float('nan')):.4g}</td>" for name in names)
            body += f"<tr><td>{row['candidate']}</td><td>{escape(row['formula'])}</td>{values}</tr>"
        return f"<p><b>{head}</b></p><table><tr>{cells}</tr>{body}</table>"

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


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
