"""Changes that a user's request makes in a run, planned as a whole before anything is written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from invdesign.campaign.model import Campaign
from invdesign.candidate import (
    OUTSIDE,
    PROMOTION,
    Candidate,
    Failure,
    Genome,
    Json,
    Proposal,
    Status,
    canonical,
    clean_detail,
    genome_key,
)
from invdesign.errors import (
    InvdesignError,
    RefusedError,
    StoreError,
    candidates_text,
    join_complaints,
    nearest,
)
from invdesign.evaluation import Stage
from invdesign.history import RunHistory
from invdesign.measurements import Measurement
from invdesign.properties import STRUCTURE_PREFIX, is_structure
from invdesign.protocols import MeasuredEvaluator, SearchSpace, place_genome
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.requests import Request
from invdesign.run.since import ChangesSince, find_changes_since
from invdesign.run.told import Taken, Told
from invdesign.steps import Finished, UserEvent
from invdesign.store.store import Store
from invdesign.structures.files import compress_text, structure_from_json, structure_to_json
from invdesign.structures.reading.raw import StructureFileError

BY_USER = "user"  # operator of candidates that the user adds
MAX_LISTED = 10  # complaints in one message (chosen)


@dataclass(slots=True)
class Change:
    """A user's event before it is written.

    Attributes:
        kind: `add`, `measure` or `withdraw`.
        detail: content of the event in the journal.
        added: new candidates.
        released: candidates that wait no more where they did: they go their way again, or were withdrawn.
        untold: withdrawn candidates the optimizer was never told of.
        known: how many results had been told before.
        touched: candidates results were told of, by stage.
        stopped: why, of those that never come to that stage.
        outside: rules of the space that new candidates break.
    """

    kind: str
    detail: dict[str, Json]
    event: UserEvent
    added: list[Candidate] = field(default_factory=list)
    released: set[int] = field(default_factory=set)
    untold: set[int] = field(default_factory=set)
    known: int = 0
    touched: dict[int, str] = field(default_factory=dict)
    stopped: dict[int, str] = field(default_factory=dict)
    outside: dict[int, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True if it changes nothing."""
        event = self.event
        return not (self.added or event.measurements or event.taken_back or event.reopened or event.withdrawn)

    def describe_outcome(self, history: RunHistory, funnel: Sequence[Stage]) -> Taken:
        """Outcome of the change for the user.

        Args:
            history: of the run, after the change.
            funnel: all stages, the build stage first.
        """
        ended, stopped = {}, dict(self.stopped)
        for id, stage in self.touched.items():
            trial = history.trial(id)
            number = _stage_number(funnel, stage)
            if trial.status is Status.PENDING:
                continue
            if trial.depth < number and id not in stopped:
                cause = trial.gate or (trial.failure.message if trial.failure else "")
                stopped[id] = f"{trial.status.name.lower()} before {stage}: {cause}"
            elif id not in stopped:
                ended[id] = trial.status.name.lower()
        return Taken(
            recorded=len(self.event.measurements),
            known=self.known,
            added=tuple(candidate.id for candidate in self.added),
            ended=ended,
            stopped=stopped,
            outside=self.outside,
        )


def plan_change(
    request: Request, campaign: Campaign, history: RunHistory, store: Store, waiting: Mapping[int, str]
) -> Change:
    """Plan the change that a request to add, tell or withdraw makes.

    Args:
        request: of the kind `add`, `tell` or `withdraw`.
        campaign: of the run.
        history: of the run.
        store: of the run.
        waiting: external stage by number of the candidate that waits there; all other trials have ended.

    Raises:
        RefusedError: it cannot be done; the message says everything that is wrong with it.
    """
    planner = _Planner(
        campaign, history, store, waiting, request, find_changes_since(request.seen, store, history)
    )
    try:
        return {
            "add": planner.plan_addition,
            "tell": planner.plan_recording,
            "withdraw": planner.plan_withdrawal,
        }[request.kind]()
    except (StoreError, RefusedError):
        raise
    except FOREIGN_ERRORS as error:
        # A request is a file that anybody may have written: whatever it holds must not end the run.
        raise RefusedError(
            f"the request cannot be read: {type(error).__name__}: {error}. Nothing was changed."
        ) from error


def write_tell_detail(results: Sequence[Told], *, replace: bool) -> dict[str, Json]:
    """Write the detail of a request that tells `results`.

    With `replace` they take the place of earlier ones.
    """
    return {"results": [_result_to_json(item) for item in results], "replace": replace}


def _result_to_json(item: Told) -> Json:
    whole: dict[str, Json] = {
        "candidate": item.candidate,
        "genome": None if item.genome is None else canonical(item.genome),
        "properties": dict(item.properties),
        "noise": dict(item.noise),
        "systematic": dict(item.systematic),
        "details": dict(item.details),
        "failure": item.failure,
        "stage": item.stage,
        "label": item.label,
        "note": item.note,
        "structures": {role: structure_to_json(found) for role, found in item.structures.items()},
    }
    return {key: value for key, value in whole.items() if value not in (None, "", {})}


def find_handed_out(events: Sequence[tuple[str, Mapping[str, Any]]]) -> set[int]:
    """Candidates handed out by these `events` and not reopened since."""
    given: set[int] = set()
    for kind, detail in events:
        if kind == "hand_out":
            given.update(detail["ids"])
        given.difference_update(id for id, _ in detail.get("reopened", ()))
    return given


def _stage_number(funnel: Sequence[Stage], name: str) -> int:
    return next(number for number, stage in enumerate(funnel) if stage.name == name)


def _provided_properties(stage: Stage) -> set[str]:
    assert stage.evaluator is not None
    return {name for name in stage.evaluator.provides if not is_structure(name)}


def _provided_roles(stage: Stage) -> set[str]:
    assert stage.evaluator is not None
    return {name.removeprefix(STRUCTURE_PREFIX) for name in stage.evaluator.provides if is_structure(name)}


@dataclass
class _Planner:
    campaign: Campaign
    history: RunHistory
    store: Store
    waiting: Mapping[int, str]
    request: Request
    since: ChangesSince

    def __post_init__(self) -> None:
        self.funnel = self.campaign.funnel
        self.added: dict[str, Candidate] = {}
        self.complaints: list[str] = []
        self.reopened: dict[int, int] = {}  # stage from which it goes its way again, by candidate
        self.released: set[int] = set()
        self.outside: dict[int, str] = {}  # rules of the space that new candidates break

    # Candidates.

    def plan_addition(self) -> Change:
        """Plan new candidates, or known ones that run a further stage."""
        detail = self.request.detail
        until = str(detail.get("until") or "")
        if until:
            self._find_stage(until)
        known = []
        for number, given in enumerate(cast("list[Genome]", detail["genomes"]), 1):
            where = f"genome {number}"
            if detail.get("made"):  # of a fork: what was made outside the space goes along with its results
                self._place_made(given, where)
                continue
            genome = self._admit_genome(given, where)
            if genome is None:
                continue
            key = genome_key(genome)
            found = self.history.id_of(key)
            if key in self.added:
                continue
            if found is None:
                self._add_candidate(genome, until or None)
            elif until and self._can_go_on(found, until):
                self._add_candidate(genome, until, parents=(found,), operator=PROMOTION)
            else:
                known.append(found)
        self._raise_complaints()
        if not self.added and known:
            listed = ", ".join(map(str, known[:MAX_LISTED]))
            word = "candidates" if len(known) > 1 else "candidate"
            raise RefusedError(f"nothing was added: the run knows all of them already ({word} {listed})")
        return self._build_change("add", UserEvent(request=self.request.id), known=len(known))

    def _can_go_on(self, id: int, until: str) -> bool:
        trial = self.history.trial(id)
        if trial.candidate.outside:
            self.complaints.append(promotion_refusal(id))
            return False
        if trial.status is not Status.COMPLETE and id not in self.waiting:
            self.complaints.append(f"candidate {id} is {trial.status.name.lower()}: only complete ones go on")
            return False
        return id not in self.waiting and trial.depth <= _stage_number(self.funnel, until)

    def _add_candidate(
        self, genome: Genome, until: str | None, parents: tuple[int, ...] = (), operator: str = BY_USER
    ) -> Candidate:
        written = cast("Genome", canonical(genome))
        key = genome_key(written)
        id = len(self.history) + len(self.added)
        self.added[key] = Candidate(id, key, Proposal(written, parents, operator, until=until))
        return self.added[key]

    def _find_stage(self, name: str) -> Stage | None:
        for stage in self.funnel[1:]:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.funnel[1:]]
        self.complaints.append(
            f"there is no stage '{name}'. {nearest(name, names)} Stages: {', '.join(names)}".replace(
                "  ", " "
            )
        )
        return None

    # Results.

    def plan_recording(self) -> Change:
        """Plan the recording of results, and the reopening of their candidates."""
        items = cast("list[dict[str, Any]]", self.request.detail["results"])
        new = [item for number, row in enumerate(items, 1) if (item := self._read_measurement(row, number))]
        self._raise_complaints()
        before = self.store.load_measurements({item.key for item in new}, withdrawn=False)
        old: dict[tuple[str, str], list[Measurement]] = {}
        for measurement in before:
            old.setdefault((measurement.key, measurement.stage), []).append(measurement)
        self._check_computed(new, old)
        self._check_as_seen(new, before)
        self._raise_complaints()
        taken_back: list[int] = []
        since = [_measurement_identity(item) for item in self.since.told]
        recorded, known = [], 0
        for place in dict.fromkeys((item.key, item.stage) for item in new):
            mine = [item for item in new if (item.key, item.stage) == place]
            theirs = old.get(place, [])
            # What was told since the request was made is known, also where it was taken back: told once, late or twice.
            said = [*(_measurement_identity(item) for item in theirs), *since]
            fresh = [item for item in mine if _measurement_identity(item) not in said]
            if self.request.detail.get("replace") and (fresh or len(mine) < len(theirs)):
                kept = [_measurement_identity(item) for item in mine]
                taken_back += [item.id for item in theirs if _measurement_identity(item) not in kept]
            known += len(mine) - len(fresh)
            recorded += fresh
        changed = {(item.key, item.stage) for item in recorded}
        changed |= {(item.key, item.stage) for item in before if item.id in taken_back}
        stopped = dict(filter(None, (self._continue_trial(key, stage) for key, stage in sorted(changed))))
        event = UserEvent(recorded, taken_back, self._reopened_stages(), request=self.request.id)
        change = self._build_change("measure", event, known=known)
        change.detail |= {"measurements": len(recorded), "taken_back": list(taken_back)}
        change.stopped = stopped
        for item in new:
            id = self.added[item.key].id if item.key in self.added else self.history.id_of(item.key)
            assert id is not None
            change.touched[id] = item.stage
        return change

    def _read_measurement(self, row: Mapping[str, Any], number: int) -> Measurement | None:
        where = f"result {number}"
        if row.get("candidate") is not None:
            where += f" (candidate {row['candidate']})"
        before = len(self.complaints)
        key = self._find_key(row, where)
        stage = self._stage_of_result(row, where)
        if stage is None or key is None or len(self.complaints) > before:
            return None
        self._check_numbers(row, stage, where)
        texts = {role: str(text) for role, text in row.get("structures", {}).items()}
        blobs, hashes = {}, {}
        for role, text in texts.items():
            try:
                blob = compress_text(structure_to_json(structure_from_json(text)))
            except StructureFileError as error:
                self.complaints.append(f"{where}: structure '{role:.40}': {error}")
                return None
            hashes[role] = hashlib.blake2b(blob, digest_size=16).hexdigest()
            blobs[hashes[role]] = blob
        usual = stage.evaluator.noise if isinstance(stage.evaluator, MeasuredEvaluator) else {}
        properties = {name: float(value) for name, value in row.get("properties", {}).items()}
        own = {name: float(value) for name, value in _noise_of_result(row).items()}
        failure = str(row.get("failure", ""))
        return Measurement(
            key=key,
            stage=stage.name,
            properties=properties,
            noise={**{name: usual[name] for name in properties if name in usual}, **own},
            systematic={name: float(value) for name, value in row.get("systematic", {}).items()},
            details={
                name: line for name, text in row.get("details", {}).items() if (line := clean_detail(text))
            },
            structures=hashes,
            blobs=blobs,
            failure=Failure("told", stage.name, failure) if failure else None,
            label=str(row.get("label", "")),
            note=str(row.get("note", "")),
        )

    def _check_computed(self, new: Sequence[Measurement], old: Collection[tuple[str, str]]) -> None:
        """Complain of results that would replace evaluations, unless the request asks for it."""
        if self.request.detail.get("replace"):
            return
        for item in new:
            id = self.history.id_of(item.key)
            number = _stage_number(self.funnel, item.stage)
            if id is None or (item.key, item.stage) in old or self.funnel[number].external:
                continue
            computed = {
                name: self.history.column(name, item.stage)[id]
                for name in sorted(item.properties)
                if np.isfinite(self.history.column(name, item.stage)[id])
            }
            if computed:
                values = ", ".join(f"{name} {value:.4g}" for name, value in computed.items())
                self.complaints.append(
                    f"candidate {id} was evaluated: {item.stage} says {values}. To put what is told in its place, say "
                    "so (--replace; in Python, replace=True)"
                )

    def _check_as_seen(self, new: Sequence[Measurement], counted: Sequence[Measurement]) -> None:
        """Complain of results and candidates that changed since the request was made."""
        words = {_measurement_identity(item) for item in new}
        recorded = {_measurement_identity(item) for item in self.since.told}
        for key in dict.fromkeys(item.key for item in new if _measurement_identity(item) not in recorded):
            id = self.history.id_of(key)
            event = None if id is None else self.since.touched.get(id)
            if id is not None and event is not None and self.history.trial(id).status is Status.WITHDRAWN:
                self._complain_of_outdated(id, event)
        if self.request.detail.get("replace"):
            places = {(item.key, item.stage) for item in new}
            self._check_takes(
                i for i in counted if (i.key, i.stage) in places and _measurement_identity(i) not in words
            )

    def _check_takes(self, measurements: Iterable[Measurement]) -> None:
        takes = self.request.detail.get("takes")
        for number in (
            [] if takes is None else self.since.unseen_measurements([*measurements], cast("list[int]", takes))
        ):
            self.complaints.append(
                f"this request is out of date: measurement {number} was told since it was made; "
                "if it still holds, give it again"
            )

    def _complain_of_outdated(self, id: int, event: int) -> None:
        self.complaints.append(
            f"this request is out of date: candidate {id} was changed since it was made (event {event}); "
            "if it still holds, give it again"
        )

    def _find_key(self, row: Mapping[str, Any], where: str) -> str | None:
        """Key of the genome that a result is about.

        An unknown genome becomes a candidate.
        """
        id = row.get("candidate")
        if id is not None:
            if not isinstance(id, int) or isinstance(id, bool):
                self.complaints.append(f"{where}: a candidate is a whole number, got {id!r:.40}")
                return None
            if not 0 <= id < len(self.history):
                has = f"candidates 0 to {len(self.history) - 1}" if len(self.history) else "no candidates yet"
                self.complaints.append(f"{where}: the run has {has}")
                return None
            return self.history.candidate(id).key
        if "genome" not in row:
            self.complaints.append(f"{where}: it names neither a candidate nor a genome")
            return None
        return self._place_made(cast("Genome", row["genome"]), where)

    def _place_made(self, genome: Genome, where: str) -> str | None:
        """Key of a genome that the user made.

        An unknown one becomes a candidate, inside the space or outside.
        """
        key = genome_key(genome)
        if key in self.history:
            return key
        try:
            placement = place_genome(self.campaign.space, genome)
        except FOREIGN_ERRORS as error:  # a genome of any form may trip any space
            self.complaints.append(f"{where}: {_describe_refusal(error)}")
            return None
        key = genome_key(placement.genome)
        if key not in self.history and key not in self.added:
            new = self._add_candidate(
                placement.genome, None, operator=OUTSIDE if placement.outside else BY_USER
            )
            if placement.outside:
                self.outside[new.id] = placement.outside
        return key

    def _admit_genome(self, genome: Genome, where: str) -> Genome | None:
        """Genome in the space's form; None, with a complaint, if it is none."""
        if genome_key(genome) in self.history:
            return genome
        refused = explain_refused_genome(self.campaign.space, genome)
        if refused:
            self.complaints.append(f"{where}: {refused}")
            return None
        return self.campaign.space.canonical(genome)

    def _stage_of_result(self, row: Mapping[str, Any], where: str) -> Stage | None:
        if row.get("stage"):
            return self._find_stage(str(row["stage"]))
        names = set(row.get("properties", ()))
        options = [
            stage
            for stage in self.funnel[1:]
            if (_provided_properties(stage) == names if names else stage.external)
        ]
        if len(options) == 1:
            return options[0]
        stages = "; ".join(
            f"{stage.name}: {', '.join(sorted(_provided_properties(stage)))}" for stage in self.funnel[1:]
        )
        said = (
            f"no stage has just {', '.join(sorted(names))}"
            if names
            else "it does not say which stage it is about"
        )
        self.complaints.append(f"{where}: {said}; a result has all the properties of one stage ({stages})")
        return None

    def _check_numbers(self, row: Mapping[str, Any], stage: Stage, where: str) -> None:
        given, wanted = set(row.get("properties", ())), _provided_properties(stage)
        failed = bool(row.get("failure"))
        if failed == bool(given) or (given and given != wanted):
            self.complaints.append(
                f"{where}: {stage.name} has {', '.join(sorted(wanted))}, or a failure and no values; "
                f"got {', '.join(sorted(given)) or 'none'}{' and a failure' if failed else ''}"
            )
        spreads = {"noise": _noise_of_result(row), "systematic error": row.get("systematic", {})}
        for what, told in {**spreads, "detail": row.get("details", {})}.items():
            extra = set(told) - given
            if extra:
                self.complaints.append(f"{where}: a {what} of {', '.join(sorted(extra))}, but no value")
        for name, value in {**row.get("properties", {})}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                self.complaints.append(f"{where}: {name} is {value!r}, not a finite number")
        for what, name, value in [(what, *item) for what, told in spreads.items() for item in told.items()]:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                self.complaints.append(
                    f"{where}: the {what} of {name} is {value!r}, must be finite and not negative"
                )
        for name, text in {**row.get("details", {})}.items():
            if not isinstance(text, str):
                self.complaints.append(f"{where}: the detail of {name} is {text!r:.60}, must be a text")
        roles = set(row.get("structures", ()))
        if not failed and roles != _provided_roles(stage):
            self.complaints.append(
                f"{where}: {stage.name} gives structures {', '.join(sorted(_provided_roles(stage))) or '(none)'}, "
                f"got {', '.join(sorted(roles)) or 'none'}"
            )

    def _continue_trial(self, key: str, stage: str) -> tuple[int, str] | None:
        """Let the trial of a genome go on with its results.

        Returns its number and the reason where it ended too early for that.
        """
        id = self.history.id_of(key)
        if id is None or self.waiting.get(id) == stage:
            return None
        number = _stage_number(self.funnel, stage)
        if id in self.waiting:
            if _stage_number(self.funnel, self.waiting[id]) > number:
                self._reopen_trial(id, number)
            return None
        trial = self.history.trial(id)
        if trial.status is Status.WITHDRAWN:
            self._reopen_trial(id, 1)
        elif trial.status is Status.INFEASIBLE or trial.depth < number:
            return None  # `Change.describe_outcome` tells it, with its cause
        elif trial.status is Status.COMPLETE and trial.depth == number:
            return id, f"complete before {stage}; send it there with invdesign promote"
        else:
            self._reopen_trial(id, number)
        return None

    def _reopen_trial(self, id: int, number: int) -> None:
        """Let a trial run again from a stage, or from its end if earlier."""
        trial = self.history.trial(id)
        if trial.status is not Status.PENDING:
            number = min(number, 1 if trial.status is Status.WITHDRAWN else max(trial.depth, 1))
        self.reopened[id] = min(number, self.reopened.get(id, number))
        if id in self.waiting:
            self.released.add(id)

    # Taking back.

    def plan_withdrawal(self) -> Change:
        """Plan to withdraw candidates, or some of their measurements."""
        detail = self.request.detail
        again = bool(detail.get("again"))
        numbers = cast("list[int]", detail.get("measurements") or [])
        ids = cast("list[int]", detail.get("ids") or [])
        gone: dict[int, int] = {}  # measurements taken back -> candidate
        for id in ids:
            if not 0 <= id < len(self.history):
                self.complaints.append(f"there is no candidate {id}; {candidates_text(len(self.history))}")
        if not ids and not numbers:
            self.complaints.append("nothing to withdraw: give candidates or measurements")
        self._raise_complaints()
        dropped = self._withdraw_measurements(numbers, ids, gone, again=again)
        for id in [] if numbers else ids:
            self._withdraw_candidate(id, gone, dropped, again=again)
        self._raise_complaints()
        reason = str(detail["reason"])
        endings = [
            (Finished(id, Status.WITHDRAWN, 0, Failure("withdrawn", BY_USER, reason)), self._stages_from(1))
            for id in sorted(dropped)
        ]
        event = UserEvent((), sorted(gone), self._reopened_stages(), endings, self.request.id)
        change = self._build_change("withdraw", event)
        change.detail |= {
            "withdrawn": list[Json](sorted(dropped)),
            "measurements": list[Json](sorted(gone)),
            "reason": reason,
            "again": again,
        }
        change.untold = {id for id in dropped if id in self.waiting}
        return change

    def _withdraw_measurements(
        self, numbers: Collection[int], ids: Collection[int], gone: dict[int, int], *, again: bool
    ) -> set[int]:
        """Withdraw measurements; returns candidates that have none left and end."""
        dropped: set[int] = set()
        known = {item.id: item for item in self.store.load_measurements(withdrawn=False)} if numbers else {}
        for number in numbers:
            id = self.history.id_of(known[number].key) if number in known else None
            if id is None or (ids and id not in ids):
                whose = f" of candidate {', '.join(map(str, ids))}" if ids else ""
                self.complaints.append(f"there is no measurement {number}{whose} that counts")
                continue
            gone[number] = id
        for id in dict.fromkeys(gone.values()):
            key = self.history.candidate(id).key
            mine = [item for item in known.values() if item.key == key]
            stages = {item.stage for item in mine if item.id in gone}
            lost = {s for s in stages if all(item.id in gone for item in mine if item.stage == s)}
            if lost and not again:
                self._drop_trial(id, dropped, measured=True)
                continue
            first = min(_stage_number(self.funnel, stage) for stage in stages)
            if id not in self.waiting or first < _stage_number(self.funnel, self.waiting[id]):
                self._reopen_trial(id, first)
        return dropped

    def _withdraw_candidate(self, id: int, gone: dict[int, int], dropped: set[int], *, again: bool) -> None:
        """Withdraw all measurements of a candidate, or all its evaluations."""
        trial = self.history.trial(id)
        if id in self.since.touched:
            self._complain_of_outdated(id, self.since.touched[id])
            return
        if trial.status in {Status.INFEASIBLE, Status.WITHDRAWN} and not (
            again and trial.status is Status.WITHDRAWN
        ):
            self.complaints.append(
                f"candidate {id} is {trial.status.name.lower()}: there is nothing to take back"
            )
            return
        latest = self.history.id_of(trial.candidate.key)
        if latest is not None and latest != id and id in self.history.superseded():
            self.complaints.append(
                f"candidate {id} was taken further by candidate {latest}: withdraw that one"
            )
            return
        told = self.store.load_measurements([trial.candidate.key], withdrawn=False)
        self._check_takes(told)
        gone.update((item.id, id) for item in told)
        if not again:
            self._drop_trial(id, dropped, measured=bool(told))
            return
        self._reopen_trial(id, min((_stage_number(self.funnel, item.stage) for item in told), default=1))

    def _drop_trial(self, id: int, dropped: set[int], *, measured: bool) -> None:
        """Let a trial count no more.

        So do earlier trials of its genome, if it was measured.
        """
        dropped.add(id)
        if id in self.waiting:
            self.released.add(id)
        for other in self.history.trials_of(id) if measured else ():
            if self.history.trial(other).status not in {Status.WITHDRAWN, Status.PENDING}:
                dropped.add(other)

    # Together.

    def _reopened_stages(self) -> list[tuple[int, Sequence[str]]]:
        return [(id, self._stages_from(number)) for id, number in sorted(self.reopened.items())]

    def _stages_from(self, number: int) -> list[str]:
        """Names of the stages from `number` on."""
        return [stage.name for stage in self.funnel[max(number, 1) :]]

    def _build_change(self, kind: str, event: UserEvent, known: int = 0) -> Change:
        first = len(self.history)
        detail: dict[str, Json] = {"told": first, "first": first, "count": len(self.added)}
        detail["reopened"] = [[id, number] for id, number in sorted(self.reopened.items())]
        added = list(self.added.values())
        return Change(kind, detail, event, added, self.released, known=known, outside=self.outside)

    def _raise_complaints(self) -> None:
        if self.complaints:
            more = len(self.complaints) - MAX_LISTED
            shown = self.complaints[:MAX_LISTED] + ([f"and {more} more"] if more > 0 else [])
            raise RefusedError(f"{join_complaints(shown).removesuffix('.')}. Nothing was changed.")


def promotion_refusal(id: int) -> str:
    """Message that candidate `id`, made outside the space, cannot be promoted."""
    return f"candidate {id} was made outside the space: nothing evaluates it further"


def explain_refused_genome(space: SearchSpace, genome: Genome) -> str:
    """Reason why a `genome` does not belong to the `space`; empty if it does."""
    try:
        space.build(genome)
    except Exception as error:  # noqa: BLE001 - a genome of any form may trip any space
        return _describe_refusal(error)
    return ""


def _describe_refusal(error: BaseException) -> str:
    if isinstance(error, InvdesignError):
        return str(error)
    return f"it is no genome of this space: {type(error).__name__}: {error}"


def _noise_of_result(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Noise in a result; earlier versions called it uncertainties."""
    found: Mapping[str, Any] = row.get("noise", row.get("uncertainties", {}))
    return found


def _measurement_identity(item: Measurement) -> tuple[object, ...]:
    """Everything that makes two measurements the same."""
    failure = item.failure.message if item.failure else ""
    numbers = _sorted_items(item.properties), _sorted_items(item.noise), _sorted_items(item.structures)
    return (
        item.key,
        item.stage,
        item.label,
        *numbers,
        _sorted_items(item.systematic),
        _sorted_items(item.details),
        failure,
    )


def _sorted_items(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))
