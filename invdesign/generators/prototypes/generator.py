"""Generator `prototypes`: known crystals with other elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from invdesign.artifacts import Artifact, of_kind
from invdesign.generators.models import MODELS
from invdesign.generators.prototypes.candidates import Candidate
from invdesign.generators.prototypes.library import Library, unpack_library
from invdesign.generators.prototypes.matching import list_candidates
from invdesign.generators.prototypes.ranking import ElementScale
from invdesign.generators.prototypes.swaps import Swapper
from invdesign.generators.prototypes.writing import KIND, VERSION, unpack_scale
from invdesign.protocols import Condition, GeneratorSettings, Samples, TrainingSet
from invdesign.rng import Rng
from invdesign.structures.conditions import write_counts
from invdesign.structures.guard_rails import BREACH, is_found_anew, keeps_condition

if TYPE_CHECKING:
    from pymatgen.core import Structure

CONDITIONS_KEPT = 64  # whose candidates are remembered (chosen)
MOST_DRAWS = 5  # draws for one crystal until those that came before are taken as all there are (chosen)


class PrototypeGenerator(GeneratorSettings):
    """Known crystals with other elements.

    Of a formula, the frameworks of crystals with the same ratios are ranked by how near their elements are to those of the formula,
    by distances of elements that were learnt from the crystals. Without a formula, elements of random crystals are swapped for
    near ones. Volumes follow from fitted volumes of atoms.

    Source:
        Hautier et al., Inorg. Chem. 50, 656 (2011), for the exchange of elements; the shipped library is of the Materials Project
        (Jain et al., APL Mater. 1, 011002 (2013)), CC BY 4.0.
    """

    model: Annotated[Artifact, MODELS.field, of_kind(KIND, VERSION)] = Field(
        default_factory=lambda: MODELS.read(KIND), validate_default=True
    )
    """Library of known crystals: the shipped one, or a folder that `invdesign generator train` wrote."""
    temperature: float = Field(default=0.5, ge=0.0, le=10.0, allow_inf_nan=False)
    """0 gives the likeliest frameworks of a formula; 1 draws them by their probability; higher values mix more."""

    @classmethod
    def train(
        cls,
        training: TrainingSet,
        folder: Path,
        *,
        minutes: float | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make a library of crystals and write its model folder.

        Args:
            training: crystals; the column `e_above_hull` (eV/atom) is used where it is there.
            folder: of the model.
            minutes: not needed; the distances of elements are learnt in a minute.
            report: takes sentences on the progress.
        """
        del minutes
        from invdesign.generators.prototypes.training import train_prototypes

        train_prototypes(training, folder, report)

    @cached_property
    def known(self) -> Library:
        """Known crystals.

        Raises:
            InvdesignError: the library is damaged.
        """
        return unpack_library(self.model.tensors())

    def build_known(self) -> list[Structure]:
        """Build the known crystals as they are."""
        made = (Candidate(template, template.elements, float("nan")) for template in self.known.templates)
        return [candidate.build(self.scale) for candidate in made]

    @cached_property
    def scale(self) -> ElementScale:
        """Distances of elements and volumes of atoms.

        Raises:
            InvdesignError: the library is damaged.
        """
        return unpack_scale(self.model)

    @cached_property
    def _ranked(self) -> dict[Condition, list[Candidate]]:
        return {}

    @cached_property
    def _swappers(self) -> dict[Condition, Swapper]:
        return {}

    def prepare(self) -> None:
        """Load the library.

        Raises:
            InvdesignError: it is damaged.
        """
        _ = self.known, self.scale

    def refusal(self, condition: Condition) -> str:
        """Reason why nothing can be made under `condition`: an unknown element, or no framework."""
        formula = dict(condition.formula)
        asked = formula or dict.fromkeys((*condition.required, *condition.elements))
        unknown = [name for name in asked if name not in self.known.elements]
        if unknown:
            return f"the library of prototypes holds no crystal with {', '.join(unknown)}"
        if formula:
            if self._rank(condition):
                return ""
            return f"the library of prototypes has no framework for {write_counts(formula)} that keeps the condition"
        if not self._find_swapper(condition).templates:
            return "the library of prototypes has no crystal of the required size, space group and number of elements"
        return ""

    def sample(self, rng: Rng, n: int, condition: Condition) -> Samples:
        """Make up to `n` crystals that keep the condition, of a formula the likeliest first."""
        reason = self.refusal(condition)
        if reason:
            return Samples((), reason)
        found = (
            self._sample_formula(rng, n, condition)
            if condition.formula
            else self._sample_swaps(rng, n, condition)
        )
        if not condition.wishes:
            return found
        names = ", ".join(dict.fromkeys(wish.property for wish in condition.wishes))
        told = f"prototypes knows no properties, so the wishes for {names} had no effect"
        return replace(found, reason=f"{found.reason}; {told}" if found.reason else told)

    def _rank(self, condition: Condition) -> list[Candidate]:
        """List candidates for the formula of a condition; remembered."""
        if condition not in self._ranked:
            if len(self._ranked) >= CONDITIONS_KEPT:
                self._ranked.clear()
            self._ranked[condition] = list_candidates(condition, self.known, self.scale)
        return self._ranked[condition]

    def _find_swapper(self, condition: Condition) -> Swapper:
        if condition not in self._swappers:
            if len(self._swappers) >= CONDITIONS_KEPT:
                self._swappers.clear()
            self._swappers[condition] = Swapper(condition, self.known, self.scale)
        return self._swappers[condition]

    def _sample_formula(self, rng: Rng, n: int, condition: Condition) -> Samples:
        """Draw candidates of a formula without replacement, and order them by probability."""
        candidates = self._rank(condition)
        logs = np.array([candidate.log_probability for candidate in candidates])
        # Gumbel noise: the highest n are a draw without replacement.
        keys = logs + self.temperature * rng.gumbel(size=len(logs))
        drawn = (candidates[place] for place in np.argsort(-keys, kind="stable").tolist())
        made = _build_crystals(drawn, n, self.scale, condition)
        made.pairs.sort(key=lambda pair: -pair[0].log_probability)
        return made.report(n, "are all the crystals that fit")

    def _sample_swaps(self, rng: Rng, n: int, condition: Condition) -> Samples:
        """Draw different swaps."""
        swapper = self._find_swapper(condition)
        draws = iter(partial(swapper.draw, rng), None)  # ends where nothing can be drawn
        different = _list_different(islice(draws, MOST_DRAWS * n))
        made = _build_crystals(different, n, self.scale, condition)
        return made.report(n, f"different ones were found in {MOST_DRAWS * n} draws")


def _list_different(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Iterate over candidates, each once."""
    seen: set[tuple[object, ...]] = set()
    for candidate in candidates:
        key = (id(candidate.template), candidate.elements)
        if key not in seen:
            seen.add(key)
            yield candidate


@dataclass
class Built:
    """Crystals of candidates, and what was left out by reason."""

    pairs: list[tuple[Candidate, Structure]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def report(self, n: int, fewer: str) -> Samples:
        """Samples, of which `n` were asked for; `fewer` says in words what fewer are."""
        structures = tuple(structure for _, structure in self.pairs)
        reason = "" if len(structures) == n else f"{len(structures)} {fewer}"
        return Samples(structures, reason, len(structures) + self.refused.total(), dict(self.refused))


def _build_crystals(
    candidates: Iterable[Candidate], n: int, scale: ElementScale, condition: Condition
) -> Built:
    """Build up to n crystals; those are left out whose cells collapse, or whose symmetry is another with these elements."""
    found = Built()
    for candidate in candidates:
        if len(found.pairs) == n:
            break
        try:
            structure = candidate.build(scale)
        except np.linalg.LinAlgError:
            found.refused["the cell has no volume"] += 1
            continue
        if is_found_anew(condition) and not keeps_condition(structure, condition):
            found.refused[BREACH] += 1
            continue
        found.pairs.append((candidate, structure))
    return found
