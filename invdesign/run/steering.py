"""Commands to a run that another process may work on: leave a request for it, or apply it at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from invdesign.candidate import Genome, Json, genome_key
from invdesign.errors import RefusedError, RunError, RunLockedError, StoreError
from invdesign.protocols import Context
from invdesign.run import budgets, requests
from invdesign.run.requests import Request, is_waiting, read_refusal, remove_request
from invdesign.run.run import Run
from invdesign.run.since import is_same, resolve_request
from invdesign.store.lock import holding_session, is_held
from invdesign.store.store import STORE_FILE, Store

PATIENCE = 30.0  # seconds: a step ends when an evaluation does
LOOK_EVERY = 0.1  # seconds between looks at a request (chosen)
Opener = Callable[[Path], Run]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a request.

    Attributes:
        state: `applied` here, since no process worked on the run; `taken` up by the process that does; still `waiting`.
        live: true if a process works on the run.
        answer: result of the request where it was applied here (`Taken` for results that were told).
    """

    state: Literal["applied", "taken", "waiting"]
    request: Request
    live: bool = True
    answer: object = None


def leave_or_apply(
    folder: Path,
    kind: str,
    detail: Mapping[str, Json],
    *,
    wait: float = PATIENCE,
    trust_code: bool = False,
    open_run: Opener | None = None,
) -> Outcome:
    """Leave a request for the process that holds the run, or apply it.

    It waits until the process has taken it up.

    Where it is applied here, requests that were left before it are taken up first.

    Args:
        folder: the run's.
        kind: what is wanted.
        detail: what `kind` needs.
        wait: seconds.
        trust_code: whether code beside the run's campaign may be imported.
        open_run: opens the run where it is to be applied here; by default `Run.open`.

    Raises:
        RunError: it was refused; the message is the reason.
        StoreError: there is no run in `folder`.
    """
    outcome = leave_for_holder(folder, kind, detail, wait=wait)
    while outcome.state == "waiting" and not outcome.live:
        run = open_run(folder) if open_run else Run.open(folder, trust_code=trust_code)
        try:
            answer = _apply_request(run, outcome.request)
        except (
            RunLockedError
        ):  # another process began to work on it this very moment: it takes the request up
            outcome = _wait_for_outcome(folder, outcome.request, wait)
            continue
        except BaseException:
            remove_request(folder, outcome.request)  # its author hears of it: a resume must not try it again
            raise
        finally:
            run.close()
        remove_request(folder, outcome.request)
        return Outcome("applied", outcome.request, live=False, answer=answer)
    return outcome


def _apply_request(run: Run, request: Request) -> object:
    if request.kind != "budget":
        before = [found for found in requests.waiting_requests(run.folder) if found.id != request.id]
        return run.apply(request, skip=_postponable_ids(run, [*before, request]))
    run.take_up_budgets()  # nothing has to be evaluated for it
    reason = read_refusal(run.folder, request)
    if reason:
        raise RunError(reason)
    return None


def leave_for_holder(
    folder: Path, kind: str, detail: Mapping[str, Json], *, wait: float = PATIENCE
) -> Outcome:
    """Leave a request and wait until the holder has taken it up.

    If no process holds the run, it is taken up when the run goes on. A request that waits already is not left a second
    time: a user whose command was killed after leaving it may give it again.

    Args:
        folder: the run's.
        kind: what is wanted.
        detail: what `kind` needs.
        wait: seconds.

    Raises:
        RunError: it was refused; the message is the reason.
        StoreError: there is no run in `folder`.
    """
    _check_holds_run(folder)
    try:
        request = leave_once(folder, kind, detail)
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{error}. Nothing was changed.") from error
    return _wait_for_outcome(folder, request, wait)


def leave_once(folder: Path, kind: str, detail: Mapping[str, Json]) -> Request:
    """Leave a request unless the last waiting one is the same.

    Args:
        folder: the run's.
        kind: what is wanted.
        detail: what `kind` needs.

    Raises:
        ValueError: it is no request.
        StoreError: the run cannot be read.
    """
    before = requests.waiting_requests(folder)
    store = Store.open(folder / STORE_FILE, writable=False)
    try:
        names = [request.id for request in before]
        whole, seen = resolve_request(store, kind, detail, names, store.read_entry(budgets.CHANGE_KEY))
    finally:
        store.close()
    if before and is_same(before[-1], kind, whole):
        return before[-1]
    return requests.write_request(folder, kind, whole, seen=seen)


def _wait_for_outcome(folder: Path, request: Request, wait: float) -> Outcome:
    deadline = time.monotonic() + wait
    while is_waiting(folder, request):
        live = is_held(folder)
        if not is_waiting(folder, request):
            break
        if not live or time.monotonic() >= deadline:
            return Outcome("waiting", request, live)
        time.sleep(LOOK_EVERY)
    reason = read_refusal(folder, request)
    if reason:
        raise RunError(reason)
    return Outcome("taken", request)


def split_new_genomes(run: Run, genomes: Sequence[Genome], until: str = "") -> tuple[list[Genome], list[int]]:
    """Split genomes into new ones and numbers of known ones.

    Args:
        run: to look in.
        genomes: of the space.
        until: last stage; a known genome that ended before it counts as new.
    """
    context = Context(
        run.campaign.space,
        run.campaign.problem,
        run.history,
        run.campaign.seed,
        stages=run.campaign.all_views,
    )
    new, known = [], []
    for genome in genomes:
        id = run.history.id_of(genome_key(genome))
        if id is None or (until and context.admits(genome_key(genome), until)):
            new.append(genome)
        else:
            known.append(id)
    return new, known


def find_numbers(run: Run, genomes: Sequence[Genome]) -> list[int]:
    """Numbers of the candidates of these `genomes` that the `run` knows."""
    found = [run.history.id_of(genome_key(genome)) for genome in genomes]
    return [id for id in found if id is not None]


def is_quick_withdrawal(run: Run, ids: Sequence[int], measurements: Sequence[int], *, again: bool) -> bool:
    """True if withdrawing these needs no evaluation.

    Results of the campaign's evaluators would have to be evaluated anew; results of external stages are waited for.

    Args:
        run: to look in.
        ids: numbers of candidates.
        measurements: numbers of measurements.
        again: true if they are evaluated anew.
    """
    before = requests.waiting_requests(run.folder)
    later = _postponable_ids(run, before)
    quick = all(request.id in later or _is_quick(run, request) for request in before)
    return quick and _needs_no_evaluation(run, ids, measurements, again)


def apply_quick_requests(run: Run) -> None:
    """Apply waiting requests of a `run` that need no evaluation, in order.

    Raises:
        RunLockedError: another process works on the run, and takes them up.
    """
    found = requests.waiting_requests(run.folder)
    later = _postponable_ids(run, found)
    for request in found:
        if request.kind == "stop" or request.id in later:
            continue
        if not _is_quick(run, request):
            return
        try:
            run.take_up_budgets() if request.kind == "budget" else run.apply(request, skip=later)
        except RunLockedError:
            raise
        except RefusedError as error:
            requests.set_refused(run.folder, request, str(error))


def _postponable_ids(run: Run, found: Sequence[Request]) -> frozenset[str]:
    """Ids of requests that may be applied after later ones.

    These are candidates the run does not know, where all else is by the numbers of others: nothing of it can concern them.
    """
    told = [row for request in found if request.kind == "tell" for row in _read_rows(request, "results")]
    if any(row.get("candidate") is None for row in told):
        return frozenset()
    adds = [request for request in found if request.kind == "add"]
    return frozenset(add.id for add in adds if not find_numbers(run, _read_rows(add, "genomes")))


def _read_rows(request: Request, name: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", request.detail[name])


def _is_quick(run: Run, request: Request) -> bool:
    """True if a request needs no evaluation."""
    if request.kind in {"stop", "budget"}:
        return True
    if request.kind == "tell":
        return all(stage.external for stage in run.campaign.stages)
    detail = cast("dict[str, Any]", request.detail)
    numbers = detail.get("ids") or [], detail.get("measurements") or []
    return request.kind == "withdraw" and _needs_no_evaluation(run, *numbers, again=bool(detail.get("again")))


def _needs_no_evaluation(run: Run, ids: Sequence[int], measurements: Sequence[int], again: bool) -> bool:
    waiting = {id for ids_there in run.waiting().values() for id in ids_there}
    if not set(run.history.pending()) <= waiting:  # an interrupted run sees them through first
        return False
    if not again:
        return True
    external = {stage.name for stage in run.campaign.stages if stage.external}
    told = [item for item in run.measurements() if item.withdrawn is None]
    measured = {item.key for item in told if item.stage in external}
    known = {id for id in ids if 0 <= id < len(run.history)}
    keys = {run.history.candidate(id).key for id in known - waiting}
    keys |= {item.key for item in told if item.id in measurements}
    return keys <= measured


def stop_run(folder: Path, wait: float = PATIENCE) -> bool | None:
    """Ask the process that works on the run to stop, and wait for it.

    Args:
        folder: the run's.
        wait: seconds.

    Returns:
        True if it did in time; None where no process works on it.

    Raises:
        StoreError: there is no run in `folder`.
    """
    _check_holds_run(folder)
    if not is_held(folder):
        return None
    request = requests.write_request(folder, "stop", {"session": holding_session(folder)})
    deadline = time.monotonic() + wait
    while is_held(folder):
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY)
    remove_request(folder, request)  # where it ended by itself: the next session must not stop for it
    return True


def _check_holds_run(folder: Path) -> None:
    if not (folder / STORE_FILE).is_file():
        raise StoreError(f"{folder} holds no run ({STORE_FILE} is missing)")
