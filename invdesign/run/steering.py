"""Steering a run that somebody may be working on: requests are left for whoever holds it, or applied at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from invdesign.candidate import Genome, Json, genome_key
from invdesign.errors import RunError, RunLockedError, StoreError
from invdesign.protocols import Context
from invdesign.run.requests import Request, done, is_waiting, leave, refusal
from invdesign.run.run import Run
from invdesign.store.lock import is_held
from invdesign.store.store import FILE

PATIENCE = 30.0  # seconds: a step ends when an evaluation does
LOOK_EVERY = 0.1
Opener = Callable[[Path], Run]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        state: `applied` here, since nobody worked on the run; `taken` up by the process that does; still `waiting`.
        live: whether a process works on the run.
        answer: what the run said of it where it was applied here (of results that were told, `Taken`).
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
    """Leave a request for the process that holds the run, and wait until it was taken up; or apply it.

    Args:
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
            answer = _apply(run, outcome.request)
        except RunLockedError:  # somebody began to work on it this very moment: theirs to take up
            outcome = _awaited(folder, outcome.request, wait)
            continue
        except BaseException:
            done(folder, outcome.request)  # whoever asked hears of it: a resume must not try it again
            raise
        finally:
            run.close()
        done(folder, outcome.request)
        return Outcome("applied", outcome.request, live=False, answer=answer)
    return outcome


def _apply(run: Run, request: Request) -> object:
    if request.kind == "budget":  # nothing has to be evaluated for it
        run.change(budget={name: cast("float", limit) for name, limit in request.detail.items()})
        return None
    return run.apply(request)


def leave_for_holder(
    folder: Path, kind: str, detail: Mapping[str, Json], *, wait: float = PATIENCE
) -> Outcome:
    """Leave a request, and wait until the process that holds the run took it up.

    Where none does, it is taken up when the run goes on.

    Raises:
        RunError: it was refused; the message is the reason.
        StoreError: there is no run in `folder`.
    """
    _must_hold_a_run(folder)
    try:
        request = leave(folder, kind, detail)
    except ValueError as error:
        raise RunError(f"{error}. Nothing was changed.") from error
    return _awaited(folder, request, wait)


def _awaited(folder: Path, request: Request, wait: float) -> Outcome:
    deadline = time.monotonic() + wait
    while is_waiting(folder, request):
        live = is_held(folder)
        if not is_waiting(folder, request):
            break
        if not live or time.monotonic() >= deadline:
            return Outcome("waiting", request, live)
        time.sleep(LOOK_EVERY)
    reason = refusal(folder, request)
    if reason:
        raise RunError(reason)
    return Outcome("taken", request)


def new_ones(run: Run, genomes: Sequence[Genome], until: str = "") -> tuple[list[Genome], list[int]]:
    """Genomes the run does not know, or that go on to the stage named; and the numbers of the others."""
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


def numbers_of(run: Run, genomes: Sequence[Genome]) -> list[int]:
    """Numbers of the candidates of these genomes, as far as the run knows them."""
    found = [run.history.id_of(genome_key(genome)) for genome in genomes]
    return [id for id in found if id is not None]


def withdraws_at_once(run: Run, ids: Sequence[int], measurements: Sequence[int], *, again: bool) -> bool:
    """Whether nothing has to be evaluated to take these candidates or measurements back.

    Evaluated anew is what an evaluator of the campaign said; what was told of an external stage is waited for again.
    """
    waiting = {id for ids_there in run.waiting().values() for id in ids_there}
    if not set(run.history.pending()) <= waiting:  # an interrupted run sees them through first
        return False
    if not again:
        return True
    external = {stage.name for stage in run.campaign.stages if stage.external}
    told = [item for item in run.measurements() if item.withdrawn is None]
    measured = {item.key for item in told if item.stage in external}
    keys = {run.history.candidate(id).key for id in set(ids) - waiting}
    keys |= {item.key for item in told if item.id in measurements}
    return keys <= measured


def stop(folder: Path, wait: float = PATIENCE) -> bool | None:
    """Ask the process that works on the run to stop in good order, and wait until it let go of it.

    Returns:
        Whether it did in time; None where nobody works on it.

    Raises:
        StoreError: there is no run in `folder`.
    """
    _must_hold_a_run(folder)
    if not is_held(folder):
        return None
    request = leave(folder, "stop", {})
    deadline = time.monotonic() + wait
    while is_held(folder):
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY)
    done(folder, request)  # where it ended by itself: the next session must not stop for it
    return True


def _must_hold_a_run(folder: Path) -> None:
    if not (folder / FILE).is_file():
        raise StoreError(f"{folder} holds no run ({FILE} is missing)")
