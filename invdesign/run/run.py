"""A run in its folder: made, opened, executed, and read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from invdesign.artifacts import keep_contents, kept_contents, load_contents, move_contents, use_folder
from invdesign.campaign.model import Campaign
from invdesign.candidate import Genome, Json, canonical, to_json
from invdesign.environment import describe_environment
from invdesign.errors import (
    CampaignChangedError,
    InvdesignError,
    LostRunError,
    RefusedError,
    RunError,
    StoreError,
    join_complaints,
)
from invdesign.history import RunHistory
from invdesign.processes import stop_at_signals
from invdesign.protocols import PreparedSpace
from invdesign.run import budgets, requests
from invdesign.run.card import run_html
from invdesign.run.changes import explain_refused_genome, promotion_refusal, write_tell_detail
from invdesign.run.loop import STOPPED, WAITS_FOR_MEASUREMENTS, Loop, Observer
from invdesign.run.notebook import Panel, is_notebook
from invdesign.run.reading import Reading, state_of
from invdesign.run.requests import Request, new_request
from invdesign.run.status import FILE as STATUS_FILE
from invdesign.run.status import RunStatus, read_status
from invdesign.run.told import Taken, Told
from invdesign.run.work import settle_folders
from invdesign.store.checksums import describe_row
from invdesign.store.database import is_on_network, resume_advice, translate_database_errors, unwritable_error
from invdesign.store.lock import LOCK_FILE, is_held, lock_run
from invdesign.store.schema import meta
from invdesign.store.store import STORE_FILE, Store
from invdesign.store.values import parse_bounded_json, translate_value_errors
from invdesign.version import __version__
from invdesign.worker import Setup

T = TypeVar("T")
_NEVER = (-1, -1, -1)  # no store has this mark


class Run(Reading):
    """One run: read by anyone, changed by one process at a time.

    Make one with `Run.create`, or `Run.open` one that exists; `execute` works on it until the budget is
    reached, the space is exhausted, or it is told to stop. `ask`, `tell`, `add`, `promote`, `withdraw`, `apply`, `change` and
    `take_up_budgets` write to it, too. All else only reads.

    Examples:
        >>> import invdesign
        >>> campaign = invdesign.load_campaign("campaigns/toy.yaml")
        >>> run = invdesign.Run.create(campaign, "runs/toy")
        >>> run.status().state
        'new'
        >>> invdesign.Run.open("runs/toy").campaign.name
        'toy'
    """

    def __init__(self, folder: Path, store: Store, campaign: Campaign) -> None:
        super().__init__(folder, store, campaign)
        self._stop = threading.Event()
        self.ask_ended = ""  # why the last `ask` gave fewer than it was asked for

    def _repr_html_(self) -> str:
        return run_html(self)

    # Making and opening.

    @classmethod
    def create(cls, campaign: Campaign, folder: str | Path) -> Run:
        """Create a run in `folder`, which may exist but must hold no run.

        Args:
            campaign: what to search.
            folder: of the run.

        Raises:
            RunError: there is a run already, or a function of the campaign needs trust.
            ArtifactError: the content of an artifact is nowhere.
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        campaign.check_usable(
            f"invdesign run {campaign.file} --trust-code" if campaign.file else "load it with trust_code=True"
        )
        start = f"invdesign run {campaign.file} --run-dir {folder}" if campaign.file else "the same call"
        advice = f"Nothing is left of the new run; make room, and start it again: {start}"
        with (
            create_folder(folder, advice),
            lock_run(folder),
        ):  # of two processes that start here at once, one makes the run
            if (folder / STORE_FILE).exists():
                raise RunError(
                    f"{folder} holds a run already. Go on with it: invdesign resume {folder}; "
                    "or choose another folder with --run-dir"
                )
            with (
                translate_database_errors(folder / STORE_FILE, advice),
                kept_contents(campaign.artifacts, folder),
            ):
                Store.create(folder / STORE_FILE, initial_entries(campaign), advice=advice)
        return cls.open(folder, trust_code=True, functions=campaign.held_functions)

    @classmethod
    def open(cls, folder: str | Path, *, trust_code: bool = False, functions: Iterable[Any] = ()) -> Run:
        """Open the run in `folder` for reading; `execute` works on it.

        Args:
            folder: of the run.
            trust_code: whether code beside its campaign may be imported, which runs it: classes at once, functions
                when the run works.
            functions: fitness functions that no module holds, to work with them again.

        Raises:
            StoreError: there is none, or it is damaged.
            RunError: it needs code that is not trusted, or has no such function.
            CampaignChangedError: a function is not the one it began with.
        """
        folder = Path(folder)
        use_folder(folder)
        store = Store.open(folder / STORE_FILE, writable=False)
        try:
            return cls(
                folder, store, _load_stored_campaign(store, folder, trust_code).with_functions(functions)
            )
        except BaseException:
            store.close()
            raise

    def change(self, campaign: Campaign | None = None, budget: Mapping[str, float] | None = None) -> None:
        """Change budget, engine, description or failure rate of the campaign.

        A campaign with any other change is refused as a whole.

        A limit that the campaign does not say differently than before stays as it was set since. Requests for
        another budget that wait are taken up first.

        Args:
            campaign: the campaign as it reads now.
            budget: limits that replace the campaign's, by name.

        Raises:
            CampaignChangedError: the campaign differs in more than that, and the message is the difference; or a file of
                the space has changed.
            RefusedError: the limits are no budget.
        """
        campaign = campaign and campaign.with_roles_of(self.campaign)
        differences = self.campaign.changes(campaign) if campaign is not None else []
        if differences:
            listed = "\n  ".join(differences)
            raise CampaignChangedError(
                f"the campaign was changed since {self.folder} was started:\n  {listed}\n"
                "A run goes on under the campaign it began with; only budget and engine may change. "
                f"Undo the change, or {self._fork_advice()}"
            )
        self._prepare_space()
        budgets.replace_limits(
            (campaign or self.campaign).budget, budget or {}
        )  # refused before anything is written
        with lock_run(self.folder), Store.open(self.folder / STORE_FILE) as store:
            self._take_up_budgets(store)
            held = (
                budgets.stored_budget(store) if campaign is None else budgets.write_campaign(store, campaign)
            )
            held = budgets.write_limits(store, budget) if budget else held
        new = budgets.replace_budget(campaign or self.campaign, held)
        changed = replace(new, trusted=self.campaign.trusted or new.trusted)
        known = {function.name for function in new.held_functions}
        mine = [function for function in self.campaign.held_functions if function.name not in known]
        self.campaign = changed.with_functions(mine)

    def take_up_budgets(self) -> None:
        """Apply waiting requests for another budget; nothing is evaluated.

        Raises:
            RunLockedError: another process works on the run, and takes them up.
        """
        with lock_run(self.folder), Store.open(self.folder / STORE_FILE) as store:
            self._take_up_budgets(store)

    def _take_up_budgets(self, store: Store) -> None:
        for request in requests.waiting_requests(self.folder):
            if request.kind != "budget":
                continue
            try:
                budgets.change_by_request(store, request)
            except RefusedError as error:
                requests.set_refused(self.folder, request, str(error))
            else:
                requests.remove_request(self.folder, request)
        self.campaign = budgets.replace_budget(self.campaign, budgets.stored_budget(store))

    def _prepare_space(self) -> None:
        """Let the space read its file, so that a changed one fails here."""
        if not isinstance(self.campaign.space, PreparedSpace):
            return
        try:
            self.campaign.space.prepare()
        except InvdesignError as error:
            raise CampaignChangedError(
                f"{str(error).removesuffix('.')}. Nothing was changed. You may also {self._fork_advice()}"
            ) from error

    def _prepare_derivations(self) -> None:
        """Let the derivations read their files, so that changed ones fail here."""
        for derivation in self.campaign.derivations:
            try:
                derivation.prepare()
            except InvdesignError as error:
                raise CampaignChangedError(f"{str(error).removesuffix('.')}. Nothing was changed.") from error

    def _fork_advice(self) -> str:
        return (
            "take what it evaluated into a new run under the changed one: "
            f"invdesign fork {self.folder} NEW --campaign FILE"
        )

    def use_workers(self, workers: int) -> None:
        """Use this number of `workers` in this session; 0 evaluates in this process."""
        engine = self.campaign.engine.model_copy(update={"workers": workers})
        self.campaign = replace(self.campaign, engine=engine)

    # Working.

    def execute(self, observer: Observer | None = None) -> RunStatus:
        """Work until the run ends or is stopped (`stop`, SIGINT, SIGTERM).

        Args:
            observer: called with the status about five times a second; a notebook shows a panel by default.

        Raises:
            RunLockedError: another process holds the run.
            RunError: no worker can be set up, or too many candidates fail.
            StoreError: the store cannot be written; everything up to the last step is kept.
            ArtifactError: the content of an artifact is missing or damaged.
        """
        self._stop.clear()
        observer = Panel(self.folder) if observer is None and is_notebook() else observer
        try:
            reason = self._hold_and_work(lambda loop: loop.run_until_end(), str, observer)
        except BaseException:
            if isinstance(observer, Panel):  # else it would say for ever that the run is at work
                observer(self.status())
            raise
        status = self._describe_state(state_of(reason, ended=True, held=False), reason)
        with suppress(OSError):  # a copy for readers on network file systems; the store has it all
            status.write(self.folder)
        if observer is not None:
            observer(status)
        return status

    def _hold_and_work(
        self, work: Callable[[Loop], T], reason: Callable[[T], str], observer: Observer | None = None
    ) -> T:
        """Hold the run during `work`, and note why it ended."""
        self.campaign.check_usable(f"invdesign resume {self.folder} --trust-code", self.folder)
        contents = load_contents(self.campaign.artifacts, self.folder)  # held in memory as long as it works
        self._prepare_space()
        self._prepare_derivations()
        with (
            lock_run(self.folder),
            Store.open(self.folder / STORE_FILE) as store,
            stop_at_signals(self._stop),
        ):
            store.check_for_damage()  # what is damaged must not be built upon
            with translate_database_errors(store.path):
                keep_contents(contents)
            requests.remove_leftovers(self.folder)
            self.campaign = budgets.replace_budget(self.campaign, budgets.stored_budget(store))
            store.begin_session(
                {**describe_environment(Path.cwd()), "evaluators": self._stage_fingerprints()}
            )
            try:
                result = self._run_session(store, observer, work)
            except KeyboardInterrupt:
                _end_session(store, STOPPED)
                raise
            except OSError as error:  # a full disk, met by something else than the store
                _end_session(store, f"failed: {error}")
                raise unwritable_error(
                    Path(error.filename or self.folder), error, resume_advice(self.folder)
                ) from error
            except BaseException as error:
                if isinstance(error, LostRunError) and error.place is not None:
                    with suppress(OSError):  # the next session says what is missing
                        keep_contents(move_contents(contents, error.place))
                _end_session(store, f"failed: {error}")
                raise
            _end_session(store, reason(result))
        self._reread_store()
        return result

    def _reread_store(self) -> None:
        """Read the store again, which may have been brought to the present schema."""
        if self.store.is_copy:
            self.store.close()
            self.store = Store.open(self.folder / STORE_FILE, writable=False)
        self._mark, self._history = self.store.history_version(), self._current_history(self.store)

    def _run_session(self, store: Store, observer: Observer | None, work: Callable[[Loop], T]) -> T:
        self._history = self._current_history(store)
        settle_folders(self.folder, self._end_check())  # before a worker may look
        campaign = self.campaign
        setup = Setup.from_plugins(campaign.space, campaign.evaluators, campaign.code, self.folder)
        engine = self.campaign.engine.open(setup)
        try:
            self._mark = _NEVER  # until the loop has ended in good order, the history may lack something
            loop = Loop(
                self.campaign,
                store,
                self._history,
                self.folder,
                engine,
                observer,
                self._stop,
                store.worked_seconds(),
            )
            result = work(loop)
            self.campaign = replace(self.campaign, budget=loop.campaign.budget)
            self._mark = store.history_version() if loop.is_settled else _NEVER
        finally:
            engine.close()
        settle_folders(self.folder, self._end_check())
        return result

    def _end_check(self) -> Callable[[int], bool]:
        """Function of a candidate's number: true if the run knows its end."""
        known, pending = len(self._history), set(self._history.pending())
        return lambda number: number < known and number not in pending

    # What users do: with results from outside, and with a run on its way.

    def ask(self, n: int = 1) -> list[int]:
        """Hand out `n` new candidates for measurement; returns their numbers.

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
        given, self.ask_ended = self._hold_and_work(
            lambda loop: loop.hand_out(n), lambda _: WAITS_FOR_MEASUREMENTS
        )
        return given

    def tell(self, results: Sequence[Told], *, replace: bool = False) -> Taken:
        """Record results from outside: all of them, or none if one is wrong.

        Results that were told before, word by word, change nothing. Several of one candidate are averaged.

        Args:
            results: of candidates by their numbers, or of new genomes.
            replace: whether they stand in for what was told of these candidates before; that is kept as history.

        Raises:
            RunError: something is wrong with a result; the message says it of all.
        """
        for item in results:
            if not isinstance(item, Told):
                raise RefusedError(f"results are invdesign.Told(...), got {item!r:.60}. Nothing was changed.")
        if not results:
            return Taken()
        try:
            detail = write_tell_detail(results, replace=replace)
        except (TypeError, ValueError) as error:  # a genome with what JSON does not hold: NaN, an array
            raise RefusedError(f"a result cannot be taken: {error}. Nothing was changed.") from error
        return self.apply(new_request("tell", detail))

    def add(self, genomes: Sequence[Genome], until: str | None = None) -> list[int]:
        """Add `genomes` to evaluate next; returns the new candidates' numbers.

        Args:
            genomes: of the space.
            until: the last stage they run; known ones that ended before it are taken further.

        Raises:
            RunError: a genome is none of the space's, or all are known already.
        """
        refused = [explain_refused_genome(self.campaign.space, genome) for genome in genomes]
        complaints = [f"genome {n}: {said}" for n, said in enumerate(refused, 1) if said]
        if complaints:
            raise RunError(f"{join_complaints(complaints)}. Nothing was added.")
        detail: dict[str, Json] = {"genomes": [canonical(genome) for genome in genomes], "until": until}
        return list(self.apply(new_request("add", detail)).added)

    def promote(self, ids: Sequence[int], stage: str) -> list[int]:
        """Send complete candidates on to a further stage.

        Args:
            ids: numbers of the candidates.
            stage: name of the stage.

        Returns:
            Numbers of the trials that do it.

        Raises:
            RunError: there is no such stage, or a candidate is not complete or was made outside the space.
        """
        for id in ids:
            if self.trial(id).candidate.outside:
                raise RunError(f"{promotion_refusal(id)}. Nothing was added.")
        return self.add([self.trial(id).genome for id in ids], until=stage)

    def withdraw(
        self, ids: Sequence[int] | int, reason: str, *, again: bool = False, measurements: Sequence[int] = ()
    ) -> None:
        """Withdraw results of candidates, with a reason; the history is kept.

        Args:
            ids: numbers of the candidates.
            reason: a sentence, which the run keeps.
            again: whether they are evaluated anew, or wait to be measured again; else they count no more.
            measurements: numbers of those that are taken back; by default all that is known.

        Raises:
            RunError: there is no such candidate or measurement.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise RefusedError("say why: withdraw(ids, reason). Nothing was changed.")
        ids = [ids] if isinstance(ids, int) else ids
        detail: dict[str, Json] = {"ids": list(ids), "reason": reason, "again": again}
        self.apply(new_request("withdraw", {**detail, "measurements": list(measurements)}))

    def apply(self, request: Request, skip: Collection[str] = ()) -> Taken:
        """Apply a request, after all earlier ones, and what follows from it.

        Args:
            request: left in the run's folder or not.
            skip: ids of requests that go on waiting.

        Raises:
            RunError: it cannot be done; nothing was changed.
            RunLockedError: another process works on the run: leave the request for it.
        """
        refused: list[RefusedError] = []

        def work(loop: Loop) -> Taken:
            loop.restore_session()
            loop.apply_requests(before=request, skip=skip)
            try:
                taken = loop.apply_request(request)
            except RefusedError as error:  # that is no failure of the run
                refused.append(error)
                return Taken()
            requests.remove_request(self.folder, request)
            return taken

        self._stop.clear()
        rows = self.store.session_rows()
        before = rows[-1]["reason"] if rows and rows[-1]["ended"] else ""  # a finished run stays one
        ended = WAITS_FOR_MEASUREMENTS if self.campaign.measured_outside else before or STOPPED
        taken = self._hold_and_work(work, lambda _: ended)
        if refused:
            raise refused[0]
        return taken

    def _current_history(self, store: Store) -> RunHistory:
        """History as the store has it now, reloaded only if needed.

        Loading takes seconds for 100,000 trials.
        """
        if store.history_version() != self._mark:
            return self._load_history(store)
        self._history.fetch = store.load_candidate
        return self._history

    def _stage_fingerprints(self) -> dict[str, dict[str, str | None]]:
        """Fingerprint of every stage's evaluator."""
        return {
            name: {"fingerprint": evaluator.fingerprint, "potential": evaluator.potential_id}
            for name, evaluator in self.campaign.evaluators.items()
        }

    def stop(self) -> None:
        """Ask `execute`, in another thread, to finish its transaction and return."""
        self._stop.set()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def initial_entries(campaign: Campaign) -> dict[str, str]:
    """Entries that describe a new run of `campaign` in its store."""
    return {
        "campaign": to_json(campaign.dump()),
        "campaign_text": campaign.text,
        "fingerprint": campaign.fingerprint,
        "created_by": __version__,
    }


def _load_stored_campaign(store: Store, folder: Path, trust_code: bool) -> Campaign:
    """Load the campaign from a store.

    Raises:
        StoreError: it is damaged, or made by a version that this one does not understand.
        RunError: it needs code that is not trusted.
    """
    with translate_value_errors(store.path, describe_row(meta, "campaign")):
        data = parse_bounded_json(store.read_entry("campaign"))
        if type(data) is not dict or type(data.get("seed")) is not int:
            raise ValueError("it is no campaign with a seed")
    try:
        if data["code"] and not trust_code:
            raise RunError(
                f"{folder} imports code from {', '.join(data['code'])}, and importing it runs it. "
                "If you trust it, say so with --trust-code."
            )
        return Campaign.from_dump(data, trusted=trust_code)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        raise StoreError(
            f"the campaign stored in {folder} cannot be read by invdesign {__version__} "
            f"(it was made by {store.read_entry('created_by')[:40] or 'another version'}): {_first_line(error)}"
        ) from error


@contextmanager
def create_folder(folder: Path, advice: str = "") -> Iterator[None]:
    """Create a folder for a new run; remove it if the run cannot be created.

    Args:
        folder: of the new run.
        advice: what to do where the disk is full.

    Raises:
        StoreError: it cannot be made.
    """
    existed = folder.exists()
    with translate_database_errors(folder / STORE_FILE, advice):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not existed and not (folder / STORE_FILE).exists():
            with suppress(OSError):
                (folder / LOCK_FILE).unlink(missing_ok=True)
                folder.rmdir()  # only if nothing else is in it
        raise


def _first_line(error: Exception) -> str:
    """First informative line of an error; pydantic's have many more."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())


def _end_session(store: Store, reason: str) -> None:
    """Note the end of a session.

    On a full disk not even that can be written; the next start then checks the store.
    """
    try:
        store.end_session(reason)
    except StoreError:
        if not reason.startswith("failed"):
            raise


def run_status(folder: str | Path, *, trust_code: bool = False) -> RunStatus:
    """Status of the run in `folder`, also while another process works.

    Args:
        folder: the run's.
        trust_code: see `Run.open`.

    Raises:
        StoreError: there is no run, or it cannot be read.
    """
    folder = Path(folder)
    if is_on_network(folder) and is_held(folder) and (folder / STATUS_FILE).is_file():
        return read_status(folder)  # the store itself is locked there
    with Run.open(folder, trust_code=trust_code) as run:
        return run.status()
