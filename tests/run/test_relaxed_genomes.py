"""Trials have the genome of what they became: stored, inherited by children, copied with results, and lost with them."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import invdesign.evaluation
import invdesign.history
from invdesign.campaign.priors import run_table
from invdesign.candidate import Genome, Proposal, Status, canonical, genome_key, to_json
from invdesign.cli.describe import describe_candidate
from invdesign.optimizers.bayesian.priors import PriorTable, read_priors
from invdesign.optimizers.common import inherited_genome
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.spaces.crystal import CrystalSpace
from invdesign.store import schema
from invdesign.testing import MemoryHistory
from tests.plugins.crystals import read_lines, tell_settled
from tests.run.test_kill import same
from tests.support import CRYSTALS, Data, campaign, finished, relaxing

GENETIC = {"kind": "genetic", "population": 4, "founders": 1}
SETTLED = {f"{CRYSTALS}:Settling": {}}
DFT = {"role": "dft", "start": "relaxed", "energy": "dft_energy_per_atom"}


def space(**fields: Any) -> Data:
    """One or two formula units of MgO."""
    return {"kind": f"{CRYSTALS}:SpyingSpace", "formula": "MgO", "formula_units": [1, 2], **fields}


def search(candidates: int = 12, **changes: Any) -> Data:
    """A search of crystals that all settle."""
    return relaxing(candidates, **{"space": space(), "evaluate": [SETTLED], **changes})


def settling(**fields: Any) -> list[Data]:
    """Stages of a search: one, with these settings."""
    return [{f"{CRYSTALS}:Settling": fields}]


def relaxed(run: Run) -> dict[int, Genome]:
    """Relaxed genomes by number of the trial."""
    found = {id: run.history.relaxed_genome(id) for id in range(len(run.history))}
    return {id: genome for id, genome in found.items() if genome is not None}


def adopted(run: Run, id: int, role: str = "relaxed") -> Any:
    """What the space makes of a stored structure."""
    space = cast("Any", run.campaign.space)
    return canonical(space.canonical(space.adopt(run.structure(id, role), run.trial(id).genome)))


def rows(run: Run, *names: str) -> list[tuple[Any, ...]]:
    """Columns of all evaluations, by candidate."""
    found = [tuple(row) for row in run.store.read_rows(schema.evaluations, ("candidate", *names))]
    return sorted(found, key=lambda row: int(row[0]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished search whose operators and adoptions were written down beside it."""
    folder = tmp_path_factory.mktemp("crystals")
    spied = space(bred=str(folder / "bred"), adopted=str(folder / "adopted"))
    return finished(search(24, space=spied), folder / "run")


# What is stored.


def test_relaxed_genomes_are_what_the_space_adopts(run: Run) -> None:
    """Each trial has the genome of its stored structure, in the history of this run and of one that is opened."""
    found = relaxed(run)
    assert list(found) == list(range(24))
    assert all(found[id] == adopted(run, id) for id in found)
    assert all(run.campaign.space.build(genome) for genome in found.values())
    again = Run.open(run.folder, trust_code=True)
    assert relaxed(again) == found
    assert [to_json(canonical(found[id])) for id in found] == [
        row[1] for row in rows(again, "relaxed_genome")
    ]


def test_relaxed_genomes_are_read_again_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that keeps two in memory breeds the same children as one that keeps all."""
    whole = finished(search(16), tmp_path / "whole")
    monkeypatch.setattr(invdesign.history, "CANDIDATES_KEPT", 2)
    run = finished(search(16), tmp_path / "run")
    same(run, whole)
    assert relaxed(run) == relaxed(Run.open(run.folder, trust_code=True)) == relaxed(whole)


def test_the_asked_genome_stays(run: Run) -> None:
    """Key, design and lineage are those of what was asked; what it became is another genome."""
    for id, genome in relaxed(run).items():
        trial = run.trial(id)
        assert trial.candidate.key == genome_key(trial.genome) != genome_key(genome)
        assert run.design(id).structures["initial"].volume != pytest.approx(
            run.structure(id, "relaxed").volume,  # type: ignore[union-attr]  # there is one
            rel=1e-6,
        )
        assert all(parent < id for parent in trial.candidate.proposal.parents)


def test_children_inherit_relaxed_genomes(run: Run) -> None:
    """Operators get the relaxed genomes of the recorded parents, and never those that were asked."""
    made: dict[str, list[str]] = {}
    for _, parents, child in read_lines(run.folder.parent / "bred"):
        made.setdefault(child, parents)
    of_trial = {id: genome_key(genome) for id, genome in relaxed(run).items()}

    def roots(key: str) -> set[str]:
        """Genomes a child was made of, through mutations after a crossover."""
        found: set[str] = set()
        for parent in made[key]:
            found |= roots(parent) if parent in made and parent not in of_trial.values() else {parent}
        return found

    bred = 0
    for id in of_trial:
        candidate = run.trial(id).candidate
        assert roots(candidate.key) == {of_trial[parent] for parent in candidate.proposal.parents}
        bred += bool(candidate.proposal.parents)
    assert bred > 8


def test_relaxed_genomes_are_not_relaxed_again(run: Run) -> None:
    """No candidate is the relaxed genome of an earlier one."""
    known = {genome_key(genome) for genome in relaxed(run).values()}
    assert known.isdisjoint(run.trial(id).candidate.key for id in range(len(run.history)))


@pytest.mark.parametrize("optimizer", [GENETIC, {**GENETIC, "mode": "steady_state"}])
def test_workers_adopt(optimizer: Data, tmp_path: Path) -> None:
    """With workers this process adopts nothing, and the run is the same to the last digit."""
    log = tmp_path / "adopted"
    here = finished(search(space=space(adopted=str(log)), optimizer=optimizer), tmp_path / "here")
    assert set(read_lines(log)) == {os.getpid()}
    log.unlink()
    there = finished(
        search(space=space(adopted=str(log)), optimizer=optimizer), tmp_path / "there", workers=2
    )
    assert len(read_lines(log)) == 12
    assert os.getpid() not in read_lines(log)
    same(here, there)
    assert relaxed(here) == relaxed(there)


def test_members_of_a_portfolio_inherit(tmp_path: Path) -> None:
    """The genetic member breeds from relaxed genomes, with the names of operators and ids that it knows as its own."""
    members = {"kind": "portfolio", "members": [GENETIC, "random"], "at_once": 3}
    spied = space(bred=str(tmp_path / "bred"))
    run = finished(search(30, space=spied, optimizer=members), tmp_path / "run")
    known = {genome_key(genome) for genome in relaxed(run).values()}
    made = {child for _, _, child in read_lines(tmp_path / "bred")}
    parents = {key for _, keys, _ in read_lines(tmp_path / "bred") for key in keys}
    assert parents
    assert parents <= known | made  # the latter between crossover and mutation
    assert parents & known
    assert parents.isdisjoint(run.trial(id).candidate.key for id in range(len(run.history)))


MODELLED: dict[str, Data] = {
    "pre-screen": {**GENETIC, "prescreen": {"models": ["linear"]}},
    "bayesian": {"kind": "bayesian", "initial": 8, "batch": 4, "effort": 0.05},
}


@pytest.mark.parametrize("name", ["pre-screen", pytest.param("bayesian", marks=pytest.mark.slow)])
def test_models_learn_from_what_was_asked(name: str, tmp_path: Path) -> None:
    """Their features are of asked genomes; children descend from relaxed ones, which are never asked themselves."""
    asked: set[str] = set()

    features = CrystalSpace.features

    def note(self: CrystalSpace, genomes: Any) -> Any:
        asked.update(map(genome_key, genomes))
        return features(self, genomes)

    spied = space(bred=str(tmp_path / "bred"))
    read = campaign(search(24, space=spied, optimizer=MODELLED[name]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrystalSpace, "features", note)
        run = finished(read, tmp_path / "run")
    known = {genome_key(genome) for genome in relaxed(run).values()}
    own = {run.trial(id).candidate.key for id in range(len(run.history))}
    lines = read_lines(tmp_path / "bred")
    parents, made = {key for _, keys, _ in lines for key in keys}, {child for _, _, child in lines}
    assert parents & known
    assert parents <= known | made
    assert known.isdisjoint(own)
    assert len(asked & own) >= 20  # rows of the training data


# What is refused.

REFUSED = {
    "collapse": "the volume must be between",
    "explode": "the volume must be between",
    "fall apart": "the crystal falls apart",
    "lose an atom": "the atoms changed",
    "change an element": "the structure holds Xe",
}
FAULTY = {
    "raise": "ZeroDivisionError: this space has a fault",
    "exit": "SystemExit: 3",
    "none": "the structure is none of the space",
    "list": "",
    "number": "",
    "nan": "",
    "another": "",
}


@pytest.mark.parametrize("fate", REFUSED)
def test_what_is_none_of_the_space_breeds_nothing(fate: str, tmp_path: Path) -> None:
    """The evaluation stays valid, the trial says why it has no relaxed genome, and no child descends from it."""
    spied = space(bred=str(tmp_path / "bred"))
    data = search(20, space=spied, evaluate=settling(fate=fate, half=True))
    run = finished(data, tmp_path / "run")
    found, trials = relaxed(run), [run.trial(id) for id in range(20)]
    barren = {trial.id for trial in trials if trial.adoption_refused}
    assert len(barren) >= 4
    assert len(found) >= 4
    assert barren.isdisjoint(found)
    assert len(barren) + len(found) == 20
    assert all(trial.status is Status.COMPLETE and trial.structures == ("relaxed",) for trial in trials)
    assert all(np.isfinite(trial.properties["energy_per_atom"]) for trial in trials)
    reasons = {trials[id].adoption_refused for id in barren}
    assert any(REFUSED[fate] in reason for reason in reasons)
    allowed = (REFUSED[fate], "the volume")  # which a slab may break as well
    assert all(any(words in reason for words in allowed) for reason in reasons)
    assert barren.isdisjoint(parent for trial in trials for parent in trial.candidate.proposal.parents)
    shown = [any("breeds nothing: " in line for line in describe_candidate(run, id)) for id in range(20)]
    assert shown == [id in barren for id in range(20)]
    again = Run.open(run.folder, trust_code=True)
    assert [again.trial(id).adoption_refused for id in range(20)] == [t.adoption_refused for t in trials]


@pytest.mark.parametrize("adopting", FAULTY)
def test_a_space_that_fails_to_adopt(adopting: str, tmp_path: Path) -> None:
    """Whatever `adopt` raises or returns: valid evaluations, the reason in one line, a run to its end and its reopening."""
    run = finished(search(6, space=space(adopting=adopting)), tmp_path / "run")
    for opened in (run, Run.open(run.folder, trust_code=True)):
        trials = [opened.trial(id) for id in range(6)]
        assert all(trial.status is Status.COMPLETE for trial in trials)
        assert all(trial.adoption_refused and "\n" not in trial.adoption_refused for trial in trials)
        assert all(FAULTY[adopting] in trial.adoption_refused for trial in trials)
        assert not relaxed(opened)
        assert all(not trial.candidate.proposal.parents for trial in trials)


def test_a_hanging_adoption_meets_the_deadline(tmp_path: Path) -> None:
    """It ends with its stage's deadline: failed candidates with their cause, and a run that comes to its end."""
    stage = {f"{CRYSTALS}:Settling": {"timeout": 1.5}}
    data = search(2, space=space(adopting="hang"), evaluate=[stage], max_failure_rate=1.0)
    run = finished(data, tmp_path / "run", workers=1)
    for id in range(2):
        failure = run.trial(id).failure
        assert failure is not None
        assert (failure.kind, failure.stage) == ("timeout", "Settling")


def test_spaces_that_do_not_inherit(tmp_path: Path) -> None:
    """Their trials have structures and no relaxed genome; children inherit what was asked."""
    substitution = {
        "kind": "substitution",
        "parent": "antiperovskite",
        "sites": {"A": ["Li", "Na"], "B": ["O", "S", "Se"], "X": ["F", "Cl", "Br", "I"]},
    }
    run = finished(search(10, space=substitution), tmp_path / "run")
    assert not relaxed(run)
    assert all(run.trial(id).structures == ("relaxed",) for id in range(10))
    context = Context(run.campaign.space, run.campaign.problem, run.history, 0, 0)
    assert all(inherited_genome(context, id) == run.trial(id).genome for id in range(10))


# Several stages.


def test_the_last_stage_that_gave_one_counts(tmp_path: Path) -> None:
    """A second relaxation replaces the genome of the first, unless what it made is none of the space's."""
    second = {f"{CRYSTALS}:Settling": {"name": "second", "fate": "collapse", "half": True, **DFT}}
    data = search(evaluate=[SETTLED, second])
    run = finished(data, tmp_path / "run")
    for opened in (run, Run.open(run.folder, trust_code=True)):
        found = relaxed(opened)
        assert len(found) == 12
        stages = {id: [] for id in found}  # type: dict[int, list[str]]
        for id, stage, genome in rows(opened, "stage", "relaxed_genome"):
            if genome is not None:
                stages[id].append(stage)
        roles = {id: "dft" if "second" in given else "relaxed" for id, given in stages.items()}
        assert set(roles.values()) == {"dft", "relaxed"}
        assert all(found[id] == adopted(opened, id, roles[id]) for id in found)
        assert not any(opened.trial(id).adoption_refused for id in found)  # it breeds


def test_a_stage_on_demand_copies_and_does_not_decide(tmp_path: Path) -> None:
    """A promotion's earlier stages are copies with their relaxed genome; the search's own stages decide, as for values."""
    second = {f"{CRYSTALS}:Settling": {"name": "second", "on_demand": True, **DFT}}
    data = search(6, evaluate=[SETTLED, second])
    run = finished(data, tmp_path / "run")
    first = relaxed(run)
    run.change(budget={"candidates": 9})
    (later,) = run.promote([2], "second")
    assert run.trial(later).structures == ("relaxed", "dft")
    copied = {row[1]: row for row in rows(run, "stage", "source", "relaxed_genome") if row[0] == later}
    assert copied["Settling"][2] is not None
    assert copied["second"][2] is None
    assert copied["Settling"][3] == to_json(canonical(first[2])) != copied["second"][3]
    assert run.history.relaxed_genome(later) == first[2]


# Forks.


def test_a_fork_copies_relaxed_genomes(run: Run, tmp_path: Path) -> None:
    """In the same space they come with the evaluations, and nothing is adopted or evaluated again."""
    data = search(26, space=run.campaign.dump()["space"], objectives=[{"maximize": "energy_per_atom"}])
    log = run.folder.parent / "adopted"
    before = len(read_lines(log))
    made = fork(run.folder, tmp_path / "new", campaign(data), trust_code=True)
    made.run.execute()
    assert relaxed(made.run).keys() == set(range(26))
    assert [relaxed(made.run)[id] for id in range(24)] == list(relaxed(run).values())
    assert len(read_lines(log)) == before + 2  # of new candidates


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fork_into_another_space_adopts_anew(run: Run, workers: int, tmp_path: Path) -> None:
    """Structures that come from the source are adopted by a worker, by the rules of the new space."""
    log = tmp_path / "adopted"
    other = space(edition=1, adopted=str(log), volume_per_atom=[9.0, 11.5])
    made = fork(run.folder, tmp_path / "new", campaign(search(24, space=other)), trust_code=True)
    made.run.use_workers(workers)
    made.run.execute()
    taken = [run.history.id_of(made.run.trial(id).candidate.key) for id in range(len(made.taken))]
    assert 3 < len(taken) < 24
    assert len(read_lines(log)) == 24
    assert (os.getpid() in read_lines(log)) is (workers == 0)
    for id, old in enumerate(taken):
        assert old is not None
        known, refused = made.run.history.relaxed_genome(id), made.run.trial(id).adoption_refused
        assert (known is None) is bool(refused)
        assert known is None or known == relaxed(run)[old]


# Changes by users.


def test_a_reopened_trial_loses_its_relaxed_genome(tmp_path: Path) -> None:
    """It has none until it is evaluated again, and then that of the new evaluation."""
    run = finished(search(6), tmp_path / "run")
    before = relaxed(run)
    run.withdraw([1], "a doubt")
    run.withdraw([2], "a doubt", again=True)
    for opened in (run, Run.open(run.folder, trust_code=True)):
        assert opened.trial(1).status is Status.WITHDRAWN
        assert relaxed(opened) == {id: genome for id, genome in before.items() if id != 1}
        assert opened.history.relaxed_genome(2) == before[2]
    known = [row for row in rows(run, "withdrawn", "relaxed_genome") if row[0] in (1, 2)]
    assert [(row[0], row[1] is None) for row in known] == [(1, False), (2, False), (2, True)]
    assert all(row[2] for row in known)  # what was withdrawn is kept


def told(run: Run, ids: list[int], fate: Any = "settle") -> None:
    """Tell a run what became of candidates, as somebody outside would find it."""
    run.tell([tell_settled(run, id, fate) for id in ids])


def outside(folder: Path, workers: int = 0, **fields: Any) -> Run:
    """A run whose results come from outside."""
    data = search(20, space=space(**fields), evaluate=[{f"{CRYSTALS}:Measured": {}}])
    run = Run.create(campaign(data), folder)
    run.use_workers(workers)
    return run


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_adopts_what_is_told(workers: int, tmp_path: Path) -> None:
    """Relaxed genomes of structures from outside are made by a worker; children inherit them; a withdrawal takes them."""
    log = tmp_path / "adopted"
    run = outside(tmp_path / "run", workers, adopted=str(log), bred=str(tmp_path / "bred"))
    ids = run.ask(5)
    told(run, ids[:4])
    assert len(read_lines(log)) == 4
    assert (os.getpid() in read_lines(log)) is (workers == 0)
    told(run, ids[4:], "collapse")
    assert relaxed(run) == {id: adopted(run, id) for id in ids[:4]}
    assert "volume" in run.trial(4).adoption_refused
    assert run.trial(4).status is Status.COMPLETE
    run.ask(3)
    known = {genome_key(genome) for genome in relaxed(run).values()}
    assert any(set(parents) & known for _, parents, _ in read_lines(tmp_path / "bred"))
    run.withdraw(ids[0], "a broken diffractometer", again=True)
    run.withdraw(ids[4], "a broken diffractometer", again=True)
    for opened in (run, Run.open(run.folder, trust_code=True)):
        assert list(relaxed(opened)) == ids[1:4]
        assert opened.trial(4).adoption_refused == ""
    told(run, [ids[4]])
    assert run.history.relaxed_genome(4) == adopted(run, 4)


def test_a_hanging_adoption_of_what_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result counts, and says that its structure was not adopted in time."""
    monkeypatch.setattr(invdesign.evaluation, "BUILD_TIMEOUT", 1.5)
    run = outside(tmp_path / "run", 1, adopting="hang")
    told(run, run.ask(1))
    trial = run.trial(0)
    assert (trial.status, trial.properties) == (Status.COMPLETE, {"energy_per_atom": 0.0})
    assert "1.5 s" in trial.adoption_refused, trial.adoption_refused
    assert not relaxed(run)


@pytest.mark.parametrize("adopting", ["die", "die once"])
def test_a_worker_lost_in_an_adoption(adopting: str, tmp_path: Path) -> None:
    """It is tried once more, as every task; then the result counts without a relaxed genome, and says why."""
    log = tmp_path / "adopted"
    run = outside(tmp_path / "run", 1, adopting=adopting, adopted=str(log))
    told(run, run.ask(1))
    assert len(read_lines(log)) == 2
    trial = run.trial(0)
    assert trial.status is Status.COMPLETE
    assert ("exit" in trial.adoption_refused) is (adopting == "die")
    assert (run.history.relaxed_genome(0) is None) is (adopting == "die")


def test_killed_before_an_adoption_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that ends between the plan of an adoption and its answer leaves it to the next: the same run."""
    whole = outside(tmp_path / "whole")
    told(whole, whole.ask(3))
    told(whole, whole.ask(3))
    run = outside(tmp_path / "run")
    ids = run.ask(3)

    class Killed(BaseException):
        """The end of a process."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(invdesign.evaluation.Wave, "_apply_adoption", die)
        with pytest.raises(Killed):
            told(run, ids)
    planned = [tuple(row) for row in run.store.read_rows(schema.tasks, ("stage", "status"))]
    assert ("build: adopt", "planned") in planned
    run.close()
    run = Run.open(run.folder, trust_code=True)
    assert run.history.relaxed_genome(0) is None
    run.use_workers(0)
    told(run, run.ask(3))
    same(run, whole)
    assert relaxed(run) == relaxed(whole)
    assert len(relaxed(run)) == 6


# Histories of others.


def test_the_table_of_a_run_has_relaxed_genomes(run: Run) -> None:
    """A prior made of a run holds what its trials became, and is read as before: features are of what was asked."""
    table = run_table(run.folder)
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert [line["relaxed_genome"] for line in lines] == [
        to_json(canonical(genome)) for genome in relaxed(run).values()
    ]
    (prior,) = read_priors([PriorTable(table=table)], run.campaign.space, ["energy_per_atom"])
    assert list(prior.genomes) == [run.trial(id).genome for id in range(24)]
    assert prior.values["energy_per_atom"].tolist() == run.history.column("energy_per_atom").tolist()


def test_the_table_of_a_run_without_relaxed_genomes(tmp_path: Path) -> None:
    """A run without any has no such column."""
    run = finished(search(3, space=space(adopting="none")), tmp_path / "run")
    assert run_table(run.folder).text.splitlines()[0] == "genome,energy_per_atom"


def test_the_history_in_memory() -> None:
    """It gives the relaxed genome that a trial was finished with, and forgets it with an amendment."""
    history = MemoryHistory(Problem((Objective("f", "minimize"),)))
    id = history.add(Proposal({"n": 0}))
    assert history.relaxed_genome(id) is None
    history.finish(id, {"f": 1.0}, structures=["relaxed"], relaxed_genome={"n": 1})
    assert history.relaxed_genome(id) == {"n": 1}
    assert history.trial(id).structures == ("relaxed",)
    history.finish(id, {"f": 1.0}, structures=["relaxed"], adoption_refused="it fell apart")
    assert history.relaxed_genome(id) is None
    assert history.trial(id).adoption_refused == "it fell apart"
