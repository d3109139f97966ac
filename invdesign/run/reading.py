"""All that only reads a run, also while another process works on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign import pareto
from invdesign.campaign.model import Campaign
from invdesign.campaign.roles import find_side_roles
from invdesign.candidate import Design, Input, Status, Trial
from invdesign.errors import RunError, candidates_text
from invdesign.history import RunHistory
from invdesign.measurements import Measurement
from invdesign.problem import Merit
from invdesign.properties import words_beside
from invdesign.protocols import Context, candidate_name, collect_notes, design_of
from invdesign.rng import derived_seed
from invdesign.roles import INITIAL
from invdesign.run.changes import find_handed_out
from invdesign.run.loop import STOPPED, WAITS_FOR_MEASUREMENTS
from invdesign.run.status import RunStatus, describe_origin, take_snapshot
from invdesign.run.table import trials_table
from invdesign.run.told import broken_rules
from invdesign.store.database import damaged_store_error
from invdesign.store.lock import is_held
from invdesign.store.store import Store
from invdesign.store.values import translate_value_errors
from invdesign.structures.files import decompress_text, structure_from_json

if TYPE_CHECKING:
    from pandas import DataFrame
    from pymatgen.core import Structure

    from invdesign.recommendation.values import Recommendation


class Reading:
    """A run's folder, for reading.

    Args:
        folder: the run's.
        store: open for reading.
        campaign: what the store says it is.
    """

    def __init__(self, folder: Path, store: Store, campaign: Campaign) -> None:
        self.folder = folder
        self.campaign = campaign
        self.store = store
        self._mark = store.history_version()  # before loading: what is written meanwhile shows as a change
        self._history = self._load_history(store)
        self._recommended: tuple[tuple[object, ...], Recommendation] | None = None

    def _load_history(self, store: Store) -> RunHistory:
        return store.load_history(
            RunHistory(
                self.campaign.problem,
                store.load_candidate,
                self.campaign.all_views,
                store.load_relaxed_genome,
                self.campaign.derivations,
                lambda stage: self.campaign.evaluators[stage].potential_id,
            )
        )

    @property
    def history(self) -> RunHistory:
        """All trials."""
        return self._history

    def status(self) -> RunStatus:
        """Status of the run, also while another process works on it."""
        rows = self.store.session_rows()
        state, reason = "new", ""
        if rows:
            reason = rows[-1]["reason"] or ""
            state = state_of(reason, ended=rows[-1]["ended"] is not None, held=is_held(self.folder))
        return self._describe_state(state, reason)

    def _describe_state(self, state: str, reason: str) -> RunStatus:
        elapsed = self.store.worked_seconds()
        _, left = self.store.last_event() or (-1, None)
        notes = (*describe_origin(self.store), *collect_notes(left).values())
        waiting = {stage: len(ids) for stage, ids in self.waiting().items()}
        return take_snapshot(
            self.campaign,
            self._history,
            state=state,
            reason=reason,
            elapsed=elapsed,
            notes=notes,
            waiting=waiting,
        )

    def trial(self, id: int) -> Trial:
        """Trial number `id`.

        Raises:
            RunError: there is no such candidate.
        """
        if not 0 <= id < len(self._history):
            raise RunError(f"there is no candidate {id}; {candidates_text(len(self._history))}")
        return self._history.trial(id)

    def design(self, id: int) -> Design:
        """Design of candidate `id`, built again from its genome."""
        candidate = self.trial(id).candidate
        return design_of(self.campaign.space, candidate.genome, outside=candidate.outside)

    def structure(self, id: int, role: str = "") -> Structure | None:
        """Structure of candidate `id`.

        Args:
            id: number of the candidate.
            role: "relaxed", "initial", ...; by default that of `structure_role`.
        """
        trial = self.trial(id)
        role = role or self.structure_role(id)
        if role in trial.structures:
            blob = self.store.load_structure(id, role)
            if blob is not None:
                return self._unpack_structure(blob, id, role)
            if (
                self.store.history_version() == self._mark
            ):  # else it was taken back since the history was loaded
                raise damaged_store_error(
                    self.store.path, f"structure {role!r:.40} of candidate {id} cannot be found"
                )
        if trial.status is Status.INFEASIBLE:
            return None
        return self.design(id).structures.get(role)

    def structure_role(self, id: int) -> str:
        """Role of the structure of candidate `id` that an evaluator made last, `initial` if none did.

        A structure that is not the candidate, as a saddle, does not count.
        """
        aside = find_side_roles(self.campaign.funnel)
        return next((role for role in reversed(self.trial(id).structures) if role not in aside), INITIAL)

    def _unpack_structure(self, blob: bytes, id: int, role: str) -> Structure:
        with translate_value_errors(
            self.store.path, f"structure {role!r:.40} of candidate {id} (table structures)"
        ):
            return structure_from_json(decompress_text(blob))

    def ranking(self) -> Sequence[int]:
        """Numbers of all trials, best first.

        Feasible ones by Pareto rank or score, then by violation, gated, failed.
        """
        scores = self._history.scores()
        return [int(id) for id in scores.ids[scores.order()]]

    def front(self) -> Sequence[int]:
        """Numbers of non-dominated feasible trials, by the first objective.

        Of one objective, or of objectives combined to one score, these are the best trial and its equals.
        """
        standing = self._history.update_standing()
        if not standing.feasible:
            return []
        return [int(id) for id in standing.front[np.argsort(standing.values[:, 0], kind="stable")]]

    def front_table(self) -> DataFrame:
        """Members of the front as rows, in its order; columns as in `table`."""
        return self.table().iloc[list(self.front())].reset_index(drop=True)

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """Hypervolume that the front dominates, up to a reference point.

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
        problem, standing = self.campaign.problem, self._history.update_standing()
        try:
            given = problem.reference if reference is None else problem.to_minimised_point(reference)
        except ValueError as error:
            raise RunError(f"the reference point of a hypervolume {error}") from error
        if problem.n_values == 1:
            best = self.status().best[0].value
            return float("nan") if best is None else best
        point = standing.reference_point() if given is None else given
        return 0.0 if point is None or not standing.feasible else pareto.hypervolume(standing.values, point)

    def desirability(self) -> NDArray[np.float64] | None:
        """Desirability, shape (n,), between 0 and 1, NaN where unknown.

        None if the objectives have no scale.
        """
        problem = self.campaign.problem
        return (
            problem.desirability(problem.minimise_columns(self._history.column))
            if problem.has_scales
            else None
        )

    def top(self, n: int = 10) -> list[dict[str, Any]]:
        """The `n` best complete trials as mappings, best first.

        A genome that was taken further appears as it ended. `feasible` is False where a constraint is violated.
        """
        status, earlier = self._history.status_by_trial(), set(self._history.superseded())
        complete = [id for id in self.ranking() if status[id] == Status.COMPLETE and id not in earlier][:n]
        front = set(self.front())
        judged, scores = self.desirability(), self._history.scores()
        feasible = set(scores.ids[scores.merit == Merit.FEASIBLE].tolist())
        rows = [
            {"rank": rank, **self.row(id), "on_front": id in front, "feasible": id in feasible}
            for rank, id in enumerate(complete, 1)
        ]
        if judged is not None:
            for row in rows:
                value = float(judged[row["candidate"]])
                row["desirability"] = None if np.isnan(value) else value
        return rows

    def row(self, id: int) -> dict[str, Any]:
        """Trial number `id` as a plain mapping."""
        trial = self._history.trial(id)
        return {
            "candidate": id,
            "formula": self.store.display_formula(id),
            "name": candidate_name(self.campaign.space, trial.genome, outside=trial.candidate.outside),
            "status": trial.status.name.lower(),
            "properties": dict(trial.properties),
            "noise": dict(trial.noise),
            "systematic": dict(trial.systematic),
            "details": dict(trial.details),
            "words": {
                name: words
                for name in trial.properties
                if (words := words_beside(name, trial.properties.get))
            },
            "passed": self._history.last_stage_of(id),
            "earlier": [list(found) for found in self._history.earlier_values(id)],
            "operator": trial.candidate.proposal.operator,
            "parents": list(trial.candidate.proposal.parents),
            "genome": dict(trial.genome),
            "outside": broken_rules(self.campaign.space, trial.candidate),
            "gate": trial.gate,
            "failure": [trial.failure.kind, trial.failure.stage, trial.failure.message]
            if trial.failure
            else None,
        }

    def table(self) -> DataFrame:
        """Every trial as a row.

        Number, formula, status, properties and their errors, lineage, genome, cause.
        """
        return trials_table(self.store, self._history, self.desirability())

    def recommend(self, properties: Sequence[str] = ()) -> Recommendation:
        """Recommend candidates, with credible intervals and calibration of the models.

        Models are fitted anew, whatever the optimizer was, which takes seconds; asked again, the answer is kept.

        Args:
            properties: those whose models are judged and explained; by default all the objectives and constraints
                read.

        Raises:
            RecommendationError: the run knows no such property.
        """
        from invdesign.recommendation.recommend import Names, recommend

        asked = (self.store.history_version(), tuple(properties))
        if self._recommended is None or self._recommended[0] != asked:
            campaign = self.campaign
            context = Context(
                campaign.space, campaign.problem, self._history, campaign.seed, stages=campaign.views
            )
            found = recommend(
                context,
                Names(self.store.display_formula, campaign.units()),
                optimizer=campaign.optimizer,
                properties=properties,
                notes=self.status().notes,
            )
            self._recommended = asked, found
        return self._recommended[1]

    def digest(self) -> str:
        """Hash of everything the search found and decided.

        Equal runs have equal digests.
        """
        return self.store.digest()

    # What waits, and what was told.

    def waiting(self) -> dict[str, list[int]]:
        """Numbers of candidates that wait for results from outside, by stage."""
        found: dict[str, list[int]] = {}
        if not any(stage.external for stage in self.campaign.stages):
            return found
        for id in self._history.pending():
            stage = self._waits_at(id)
            if stage:
                found.setdefault(stage, []).append(id)
        return found

    def _waits_at(self, id: int) -> str:
        known = {result.stage for result in self.store.load_results(id)}
        if not self.store.is_built(id):
            return ""
        stage = next((stage for stage in self.campaign.stages if stage.name not in known), None)
        if stage is None or not stage.external:
            return ""
        return (
            ""
            if self.store.combine_measurements([self._history.candidate(id).key], stage.name)
            else stage.name
        )

    def handed_out(self) -> list[int]:
        """Waiting candidates that were handed out."""
        given = find_handed_out(self.store.user_events())
        return [id for ids in self.waiting().values() for id in ids if id in given]

    def measurements(self, id: int | None = None) -> list[Measurement]:
        """Measurements of all genomes, or of candidate `id`, including withdrawn ones."""
        return self.store.load_measurements(None if id is None else [self.trial(id).candidate.key])

    def inputs(self, ids: Sequence[int], stage: str) -> list[Input]:
        """Inputs of candidates as a stage's evaluator sees them.

        Args:
            stage: name of the stage.
            ids: numbers of the candidates.
        """
        found = []
        for id in ids:
            trial, design = self.trial(id), self.design(id)
            made = {role: self.structure(id, role) for role in trial.structures}
            structures = {**design.structures, **{r: s for r, s in made.items() if s is not None}}
            seed = derived_seed(f"{trial.candidate.key} {stage}") >> 1
            found.append(Input(trial.candidate, design, trial.properties, structures, seed))
        return found


def state_of(reason: str, *, ended: bool, held: bool) -> str:
    """State of a run, as `RunStatus.state`.

    Args:
        reason: why the last session ended.
        ended: true if there is no session that is still open.
        held: true if a process works on the run.
    """
    if held:
        return "running"
    if not ended:
        return "interrupted"
    if reason.startswith("failed"):
        return "failed"
    if reason == WAITS_FOR_MEASUREMENTS:
        return "waiting"
    return "stopped" if reason == STOPPED else "finished"
