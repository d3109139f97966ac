"""A search in one call: from Python functions and names to a run, made or gone on with."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from invdesign.campaign.functions import fitness_functions, stages_running_code
from invdesign.campaign.model import Campaign
from invdesign.errors import CampaignChangedError
from invdesign.run.arguments import Arguments
from invdesign.run.loop import Observer
from invdesign.run.notebook import default_observer
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE

LOGGER = logging.getLogger("invdesign.run")
HOME = Path("runs")  # where runs go that have no folder of their own


def optimize(
    space: Any,
    fitness: Any,
    *,
    maximize: Any = (),
    minimize: Any = (),
    target: Mapping[str, float] | None = None,
    window: Mapping[str, Mapping[str, float]] | None = None,
    constraints: Any = None,
    derive: Any = (),
    objectives: Sequence[Mapping[str, Any]] | None = None,
    scalarize: str | None = None,
    optimizer: Any = "auto",
    budget: float | Mapping[str, float] = 200,
    seed: int = 0,
    seeds: Sequence[Any] = (),
    name: str | None = None,
    run_dir: str | Path | None = None,
    workers: int | None = None,
    max_failure_rate: float = 0.9,
    observer: Observer | None = None,
    execute: bool = True,
) -> Run:
    """Search a space for the best candidates by your own and built-in evaluators.

    The run is stored like any other. The same call again goes on where it was left, by Ctrl-C, a crash or a
    restart, and gives back a finished run at once.

    Args:
        space: what may be proposed: a mapping as in a campaign file, a plug-in's name, or a plug-in.
        fitness: what candidates are judged by, from cheap to costly: functions decorated with `fitness`, names of
            evaluators or of properties, mappings such as `{"relax": {"fmax": 0.05}}`, evaluators. What a name needs
            and no other gives is put before it, where one installed evaluator gives it without settings.
        maximize, minimize: properties, by name or by the function that provides it.
        target: property and the value it should come close to.
        window: property and the interval it should lie in: `{"band_gap": {"min": 3.0, "max": 4.2}}`.
        constraints: property and its bounds: `{"energy_above_hull": {"max": 0.05}}`; or a list as in a file.
        derive: derivations, which make properties of all candidates together: `hull`, or `{"hull": {"end_members": [...]}}`.
        objectives: further ones as a campaign file writes them, with scales, weights and references.
        scalarize: `desirability` combines the objectives to one score.
        optimizer: a name, a mapping as in a campaign file, or a plug-in.
        budget: candidates, or limits by name: `{"hours": 8}`.
        seed: the same seed gives the same run.
        seeds: candidates to evaluate first: genomes or structure files.
        name: of the run; by default that of the first function.
        run_dir: where the run is; by default `runs/NAME`.
        workers: processes; one per core by default, 0 evaluates in this one.
        max_failure_rate: the run stops when a larger share of its candidates failed.
        observer: called with the status about five times a second. By default a notebook shows a panel and a
            terminal some lines.
        execute: whether to work on it; without, the run is only made.

    Returns:
        The run, finished or stopped; `run.execute()` goes on with a stopped one.

    Raises:
        CampaignError: with every mistake in the arguments.
        CampaignChangedError: there is a run that searches for something else.
        RunLockedError: another process works on it.
        RunError: no worker can be set up, or too many candidates fail.
        StoreError: the run cannot be written.

    Examples:
        >>> import invdesign
        >>> @invdesign.fitness(provides={"conductivity": "mS/cm"})
        ... def conductivity(candidate):
        ...     salt = candidate.parameters["salt"]
        ...     return 12.0 * salt * (1.1 - 0.5 * salt)
        >>> space = {"kind": "parameters", "parameters": {"salt": {"real": [0.2, 2.0]}}}
        >>> run = invdesign.optimize(
        ...     space, conductivity, maximize="conductivity", optimizer="random", budget=8, workers=0
        ... )
        >>> run.status().state, len(run.table())
        ('finished', 8)
    """
    arguments = Arguments(
        space=space,
        fitness=fitness,
        maximize=maximize,
        minimize=minimize,
        target=target,
        window=window,
        constraints=constraints,
        derive=derive,
        objectives=objectives,
        scalarize=scalarize,
        optimizer=optimizer,
        budget=budget,
        seed=seed,
        seeds=seeds,
        name=name,
        workers=workers,
        max_failure_rate=max_failure_rate,
        run_dir=run_dir,
        observer=observer,
    )
    campaign = _trust_programs(arguments.build_campaign())
    for sentence in arguments.completed:
        LOGGER.info("%s", sentence)
    folder = HOME / _folder_name(campaign.name) if run_dir is None else Path(run_dir)
    if not (folder / STORE_FILE).exists():
        run, finished = Run.create(campaign, folder), False
    else:
        run, finished = _continue_run(folder, campaign)
    if execute and not finished:
        run.execute(observer or default_observer(folder))
    return run


def _continue_run(folder: Path, campaign: Campaign) -> tuple[Run, bool]:
    """Open the existing run with this call's budget and workers.

    Also returns whether nothing is left to do.
    """
    run = Run.open(folder, trust_code=bool(campaign.code))
    campaign = campaign.with_roles_of(run.campaign)
    mine = {function.name for function in fitness_functions(run.campaign.evaluators).values()}
    try:
        run.campaign = run.campaign.with_functions([f for f in campaign.held_functions if f.name in mine])
    except CampaignChangedError as error:
        raise CampaignChangedError(f"{error}\nFor a new run give another run_dir (or name).") from None
    differences = run.campaign.changes(campaign)
    if differences:
        listed = "\n  ".join(differences)
        raise CampaignChangedError(
            f"{folder} holds a run that searches for something else:\n  {listed}\n"
            "Only budget and workers may change. For a new run give another run_dir (or name); "
            f"to go on with the one that is there, undo the change, or call Run.open({str(folder)!r}).execute()."
        )
    run.campaign = _trust_programs(run.campaign)
    if run.status().state == "finished" and run.campaign.budget == campaign.budget:
        return run, True
    if run.campaign.dump() != campaign.dump():
        run.change(campaign)
    return run, False


def _trust_programs(campaign: Campaign) -> Campaign:
    """Trust the campaign's programs: the author of the call named them."""
    return replace(campaign, trusted=True) if stages_running_code(campaign.evaluators) else campaign


def _folder_name(name: str) -> str:
    """Write a name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
