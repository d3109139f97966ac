"""A new run under a changed campaign that takes along what an earlier run found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from invdesign.artifacts import kept_contents, use_folder
from invdesign.campaign.model import Budget, Campaign
from invdesign.candidate import Candidate, Design, Genome, Json, Status, canonical, genome_key
from invdesign.errors import RunError, escape_control_characters
from invdesign.protocols import SearchSpace, design_of, place_genome
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.requests import FOLDER as REQUESTS
from invdesign.run.requests import write_request
from invdesign.run.run import Run, create_folder, initial_entries
from invdesign.store.database import translate_database_errors
from invdesign.store.inheritance import Selection, copy_selection, copy_store, measured_stages
from invdesign.store.lock import lock_run
from invdesign.store.store import STORE_FILE, Store
from invdesign.structures.files import structure_to_json

SNAPSHOT = "fork.tmp"  # within the new folder, until the new run is whole
FIRST = "00000000000000000000-fork"  # its requests come before all others, under the same names however often they are left
Take = Literal["all", "front", "none"]


@dataclass(frozen=True, slots=True)
class Fork:
    """Result of a fork: the new run, and what was taken over.

    Attributes:
        run: the new run, on which nothing was worked yet.
        reused: by stage of the new run, whether the source had one with the same evaluator.
        evaluations: how many of the source's evaluations are found again.
        measurements: how many of its measurements hold.
        taken: numbers, in the source, of candidates that are evaluated first.
        left_out: why by number in the source, of chosen candidates that are not.
        unmeasured: why by key of the genome, of genomes whose measurements do not hold.
    """

    run: Run
    reused: Mapping[str, bool]
    evaluations: int
    measurements: int
    taken: Sequence[int]
    left_out: Mapping[int, str] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def fork(
    source: str | Path,
    folder: str | Path,
    campaign: Campaign | None = None,
    *,
    take: Take = "all",
    top: int | None = None,
    candidates: int | None = None,
    trust_code: bool = False,
) -> Fork:
    """Create a run that reuses the evaluations of another one.

    The source may be worked on meanwhile.

    An evaluation is found again where the stage's evaluator and all that it requires are the same; measurements hold
    where the evaluator is the same and the genome stands for the same design.

    Args:
        source: folder of the run to fork.
        folder: of the new run.
        campaign: what the new run is to search; by default what the source does.
        take: which of its finished candidates the new run evaluates first.
        top: only the best so many.
        candidates: budget of the new run, instead of its campaign's.
        trust_code: whether code beside the source's campaign may be imported.

    Raises:
        RunError: there is a run in `folder`, the budget leaves no room, or the source needs trust.
        StoreError: there is no run in `source`, or the new one cannot be written.
    """
    source, folder = Path(source), Path(folder)
    if campaign is not None:
        how = f"invdesign fork {source} {folder} --campaign {campaign.file} --trust-code"
        campaign.check_usable(how if campaign.file else "load it with trust_code=True")
    Store.open(
        source / STORE_FILE, writable=False
    ).close()  # says what is wrong with it, before anything is made
    with create_folder(folder, _retry_advice(source, folder)), lock_run(folder):
        if (folder / STORE_FILE).exists():
            raise RunError(f"{folder} holds a run already; choose another folder for the fork")
        with _copy_store(source, folder) as old:
            run = _open_source(old, source, trust_code)
            campaign = _with_budget(campaign or _campaign_of_source(run), candidates)
            try:
                return _create_fork(run, source, folder, campaign, take, top)
            finally:
                run.close()


@contextmanager
def _copy_store(source: Path, folder: Path) -> Iterator[Path]:
    """Copy the source's store, in the present schema and checked for damage.

    Yields the folder with the copy, which is removed in the end.
    """
    place = folder / SNAPSHOT
    try:
        with translate_database_errors(folder / STORE_FILE, _retry_advice(source, folder)):
            shutil.rmtree(place, ignore_errors=True)  # of a fork that was killed
            place.mkdir()
        copy_store(source / STORE_FILE, place / STORE_FILE)
        with Store.open(place / STORE_FILE) as store:
            store.check_for_damage()
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _retry_advice(source: Path, folder: Path) -> str:
    """Advice for a full disk."""
    return f"Nothing is left of the new run; make room, and fork again: invdesign fork {source} {folder}"


def _open_source(snapshot: Path, source: Path, trust_code: bool) -> Run:
    use_folder(source)  # the snapshot is of the store alone
    try:
        return Run.open(snapshot, trust_code=trust_code)
    except RunError as error:
        raise RunError(str(error).replace(str(snapshot), str(source))) from error


def _campaign_of_source(run: Run) -> Campaign:
    return replace(run.campaign, text=run.store.read_entry("campaign_text"))


def _with_budget(campaign: Campaign, candidates: int | None) -> Campaign:
    if candidates is None:
        return campaign
    limits = {**campaign.budget.model_dump(mode="json"), "candidates": candidates}
    return replace(campaign, budget=Budget.model_validate(limits))


def _create_fork(
    run: Run, source: Path, folder: Path, campaign: Campaign, take: Take, top: int | None
) -> Fork:
    same = _match_stages(run.campaign, campaign)
    same_space = run.campaign.dump()["space"] == campaign.dump()["space"]
    entrance = _Admission(run.campaign, campaign, same, same_space)
    taken: list[int] = []
    genomes: dict[tuple[str | None, bool], list[Genome]] = {}
    left_out: dict[int, str] = {}
    for id in _choose_candidates(run, take, top):
        try:
            candidate = run.history.candidate(id)
            genome, until = entrance.admit_candidate(candidate)
        except _Refused as error:
            left_out[id] = str(error)
            continue
        taken.append(id)
        genomes.setdefault((until, candidate.outside), []).append(genome)
    _check_budget(campaign, run, taken)
    keys, unmeasured = _translate_measured_keys(run, entrance, same)
    internal = {stage.name for stage in run.campaign.stages if not stage.external}
    selection = Selection(same.keys() & internal, same, keys, same_space)
    _write_requests(folder, genomes)
    counts: list[int] = []
    advice = _retry_advice(source, folder)

    def fill_store(unfinished: Path) -> None:
        counts.extend(copy_selection(unfinished, run.folder / STORE_FILE, selection, advice))
        run.close()
        # Before there is a new run: a fork that is killed after that leaves nothing to be done.
        shutil.rmtree(run.folder, ignore_errors=True)

    entries = {**initial_entries(campaign), "forked_from": json.dumps(_origin_entry(run, source))}
    try:
        with (
            translate_database_errors(folder / STORE_FILE, advice),
            kept_contents(campaign.artifacts, folder),
        ):
            Store.create(folder / STORE_FILE, entries, fill_store, advice)
    except BaseException:
        _remove_requests(folder)
        raise
    return Fork(
        run=Run.open(
            folder,
            trust_code=campaign.trusted or bool(campaign.code),  # code was imported already
            functions=campaign.held_functions,
        ),
        reused={s.name: any(s.name in names for names in same.values()) for s in campaign.stages},
        evaluations=counts[0],
        measurements=counts[1],
        taken=taken,
        left_out=left_out,
        unmeasured=unmeasured,
    )


def _match_stages(old: Campaign, new: Campaign) -> dict[str, list[str]]:
    """New stages by old ones that have the same evaluator."""
    found = {
        name: [n for n, other in new.evaluators.items() if other.fingerprint == evaluator.fingerprint]
        for name, evaluator in old.evaluators.items()
    }
    return {name: stages for name, stages in found.items() if stages}


def _choose_candidates(run: Run, take: Take, top: int | None) -> list[int]:
    """Numbers of finished candidates to take; of each genome the latest."""
    status, superseded = run.history.status_by_trial(), set(run.history.superseded())
    finished = {
        id
        for id in range(len(run.history))
        if status[id] in {Status.COMPLETE, Status.GATED} and id not in superseded
    }
    if top is not None:
        return sorted([id for id in run.ranking() if id in finished][:top])
    if take == "none":
        return []
    return sorted(finished & set(run.front()) if take == "front" else finished)


class _Refused(Exception):  # noqa: N818 - a statement about a candidate, not a fault
    """A candidate has no place in the new run."""


@dataclass(frozen=True, slots=True)
class _Admission:
    """Decides which candidates belong to the new run, and how far they go."""

    old: Campaign
    new: Campaign
    same: Mapping[str, Sequence[str]]
    same_space: bool

    def admit_candidate(self, candidate: Candidate) -> tuple[Genome, str | None]:
        """Genome of a `candidate` in the new space, and its last stage.

        Raises:
            _Refused: it has no place in the new run.
        """
        return self.translate_genome(candidate), self._last_stage(candidate.proposal.until)

    def _last_stage(self, until: str | None) -> str | None:
        if until is None or until in self.new.evaluators:
            return until
        if until not in self.same:
            raise _Refused(f"it was to stop at {until}, a stage the new campaign lacks")
        return self.same[until][0]

    def translate_genome(self, candidate: Candidate) -> Genome:
        """Genome of a `candidate` in the new space's form.

        One that was made outside the old space may lie outside this one too.

        Raises:
            _Refused: it is none of the new space.
        """
        return candidate.genome if self.same_space else _build_design(self.new.space, candidate)[0]

    def translate_measured(self, candidate: Candidate) -> Genome:
        """Genome of a measured `candidate`, which must stand for the same design.

        Raises:
            _Refused: it does not.
        """
        if self.same_space:
            return candidate.genome
        written, design = _build_design(self.new.space, candidate)
        if _describe_design(design) != _describe_design(_build_design(self.old.space, candidate)[1]):
            raise _Refused("it stands for another design in the new space")
        return written


def _build_design(space: SearchSpace, candidate: Candidate) -> tuple[Genome, Design]:
    genome = candidate.genome
    try:
        if candidate.outside:
            placement = place_genome(space, genome)
            made = cast("Genome", canonical(placement.genome))
            return made, design_of(space, made, outside=bool(placement.outside))
        written = cast("Genome", canonical(space.canonical(genome)))
        return written, space.build(written)
    except FOREIGN_ERRORS as error:  # a foreign genome may trip a space in any way
        raise _Refused(" ".join(str(error).split()) or type(error).__name__) from error


def _describe_design(design: Design) -> tuple[object, ...]:
    composition = None if design.composition is None else design.composition.formula
    structures = {role: structure_to_json(structure) for role, structure in design.structures.items()}
    return dict(design.parameters), composition, structures


def _check_budget(campaign: Campaign, run: Run, taken: Sequence[int]) -> None:
    """Check that the budget exceeds the candidates taken over."""
    last = {None, campaign.stages[-1].name}
    counts = {
        "candidates": len(taken),
        "evaluations": sum(run.history.candidate(id).proposal.until in last for id in taken),
    }
    for name, count in counts.items():
        limit = getattr(campaign.budget, name)
        if limit is not None and count >= limit:
            raise RunError(
                f"the budget of {limit} {name} leaves no room: {count} candidates are taken over, and they count. "
                f"Allow more ({'--candidates, or ' if name == 'candidates' else ''}budget.{name} in the campaign), or "
                "take fewer: --take front, --top N, or --take none, with which they are evaluated at no cost where "
                "the search proposes them again."
            )


def _translate_measured_keys(
    run: Run, entrance: _Admission, same: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Translate keys of measured genomes; reasons for those that do not hold."""
    keys: dict[str, str] = {}
    refused: dict[str, str] = {}
    for key, stages in measured_stages(run.folder / STORE_FILE).items():
        if not stages & same.keys():
            refused[key] = f"the evaluator of {', '.join(sorted(stages))} is another"
            continue
        id = run.history.id_of(key)
        assert id is not None  # only candidates are measured
        try:
            keys[key] = genome_key(entrance.translate_measured(run.history.candidate(id)))
        except _Refused as error:
            refused[key] = str(error)
    return keys, refused


def _write_requests(folder: Path, genomes: Mapping[tuple[str | None, bool], list[Genome]]) -> None:
    with translate_database_errors(folder / STORE_FILE):
        _remove_requests(folder)  # of a fork that was killed before there was a run
        for number, ((until, made), chosen) in enumerate(genomes.items()):
            detail: dict[str, Json] = {"genomes": [dict(genome) for genome in chosen], "until": until}
            if made:
                detail["made"] = True
            write_request(folder, "add", detail, id=f"{FIRST}-{number:04d}")


def _remove_requests(folder: Path) -> None:
    for left in (folder / REQUESTS).glob(f"{FIRST}*.json"):
        left.unlink()
    with suppress(OSError):  # there is none, or it holds others
        (folder / REQUESTS).rmdir()


def _origin_entry(run: Run, source: Path) -> dict[str, str]:
    digest = run.digest()
    note = f"forked from {source}, which had {len(run.history)} candidates then (digest {digest[:12]})"
    return {
        "folder": escape_control_characters(str(source.resolve())),  # a path need not be text
        "fingerprint": run.campaign.fingerprint,
        "digest": digest,
        "note": escape_control_characters(note),
    }
